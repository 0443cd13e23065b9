-- The clients to compare. A contender has a `name`, and a command for each thing that it can do:
--
--    one     finds %n times, one after the other
--    many    finds %n times, %k at a time
--    idle    prints what a poll costs with %k finds in flight, if it has one: see idle_bench.lua
--    bare    starts its interpreter, if it has one
--    start   the same, and loads the client
--    ready   the same, and makes a client, if that loads more
--
-- `env` precedes the command in the shell. Packaged peers are optional: the output names those that
-- are missing, and they are left out. A peer runs on the fastest Lua that can load it.
local contenders = { peers = {}, leat = {} }

local tools = os.getenv("BENCH_TOOLS")

local function says(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local said = pipe:read("*l")
  pipe:close()
  return said
end

contenders.plain = {
  name = "libcurl",
  one = tools .. "/easy_loop %n",
  many = tools .. "/multi_loop %n %k",
  idle = tools .. "/idle_multi %k",
  bare = "true",
  start = tools .. "/easy_loop 0",
}
contenders.best = {
  name = "libcurl, its best",
  one = tools .. "/easy_loop %n tuned",
  many = tools .. "/multi_loop %n %k tuned",
}
contenders.floor = { name = "bare sockets, epoll", many = tools .. "/epoll_loop %n %k" }

-- Adds leat on each Lua that it was built for.
for lua in os.getenv("BENCH_LUAS"):gmatch("%S+") do
  local env = says("make -s env LUA=" .. lua)
  if says(lua .. " -v 2>&1") and env then
    local run = lua .. " spec/bench/"
    table.insert(contenders.leat, {
      name = "leat, " .. lua,
      env = env:gsub("^export ", ""),
      one = run .. "find.lua %n",
      many = run .. "many.lua %n %k",
      idle = run .. "idle.lua %k",
      bare = lua .. " -e ''",
      start = lua .. [[ -e 'require("leat")']],
      ready = lua .. [[ -e 'require("leat").new { api_key = "k" }']],
    })
  end
end

-- Adds a peer, under the first Lua or Node in `runs` that can load it; prints its name if none can.
local function peer(name, runs, version, make)
  for _, run in ipairs(runs) do
    local said = says(run .. version)
    if said then
      local contender = make(run)
      contender.bare = run .. " -e ''"
      contender.name = ("%s %s, %s"):format(name, said:match("[%d.]+"), run:match("[^/ ]+$"))
      table.insert(contenders.peers, contender)
      return
    end
  end
  print(name .. " is not there")
end

local luas = { "luajit", "lua5.4", "lua5.3", "lua5.2", "lua5.1" }

peer("lua-curl on libcurl", luas, [[ -e 'print(require("curl").version_info().version)']], function(lua)
  return { one = lua .. " spec/bench/peers/lua_curl.lua %n", start = lua .. [[ -e 'require("curl")']] }
end)

peer("LuaSocket", luas, [[ -e 'require("socket.http") print(require("socket")._VERSION)']], function(lua)
  return { one = lua .. " spec/bench/peers/lua_socket.lua %n", start = lua .. [[ -e 'require("socket.http")']] }
end)

peer("lua-http", luas, [[ -e 'require("http.client") print(require("http.version").version)']], function(lua)
  return {
    one = lua .. " spec/bench/peers/lua_http.lua %n",
    many = lua .. " spec/bench/peers/lua_http.lua %n %k",
    start = lua .. [[ -e 'require("http.request")']],
  }
end)

peer("undici", { "node" }, [[ -p 'require("undici/package.json").version']], function(node)
  return {
    one = node .. " spec/bench/peers/undici.js %n",
    many = node .. " spec/bench/peers/undici.js %n %k",
    start = node .. [[ -e 'require("undici")']],
  }
end)

--- Returns the contenders in the lists that have a command for `what`, in their order.
-- @tparam string what a command, such as "one"
-- @param ... lists
function contenders.who_can(what, ...)
  local found = {}
  for _, list in ipairs { ... } do
    for _, contender in ipairs(list) do
      if contender[what] then
        table.insert(found, contender)
      end
    end
  end
  return found
end

return contenders
