-- Checks that event loops are not blocked while they carry the calls of tasks: luv, cqueues,
-- LuaSocket's select, poll, a game's tick and Neovim.
--    make test-hosts LUA=lua5.4
local interpreter = dofile("spec/support/interpreter.lua")
local tools = os.getenv("LEAT_TOOLS")

local COUNT, AT_ONCE, DELAY = 1000, 100, 0.1
local IDEAL = COUNT / AT_ONCE * DELAY

local function read(command)
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1"))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

-- Returns the output of a command that calls a slow server. The server ends when its input pipe is closed.
local function with_server(command)
  return read(([[
    set -e
    dir=$(mktemp -d) && mkfifo "$dir/port" "$dir/open"
    "%s/slow_server" %d <"$dir/open" >"$dir/port" & exec 9>"$dir/open"
    read -r port <"$dir/port"
    export LEAT_API_KEY=loops-spec-key LEAT_BASE_URL=http://127.0.0.1:$port
    %s || true
    exec 9>&- && rm -r "$dir"
  ]]):format(tools, DELAY * 1000, command))
end

local function beats(command)
  local output = with_server(command)
  local took, idle, busy = output:match("([%d.]+) ([%d.]+) ([%d.]+)%s*$")
  assert.truthy(took, output)
  return tonumber(took), tonumber(idle), tonumber(busy)
end

-- Takes the best of a few runs, because the machine may do other work.
local function check(command)
  local good, story
  for _ = 1, 5 do
    local took, idle, busy = beats(command)
    story = ("took %.3f, longest gap idle %.4f, busy %.4f"):format(took, idle, busy)
    good = took <= 1.3 * IDEAL and busy <= idle + 0.005
    if good then
      break
    end
  end
  assert.is_true(good, story)
end

describe("a thousand connections", function()
  it("carry ten thousand calls", function()
    local took = beats(("ulimit -n 4096 && %s spec/hosts/heartbeat.lua poll 10000 1000"):format(interpreter))
    assert.truthy(took < 10)
  end)

  it("that the system does not allow are an error that says so", function()
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write([[
      local leat, tasks = require("leat"), require("leat.tasks")
      local client = leat.new { api_key = os.getenv("LEAT_API_KEY"), base_url = os.getenv("LEAT_BASE_URL"),
        max_connections = 1000 }
      local kinds = { good = 0 }
      tasks.each(function() kinds.all = (kinds.all or 0) + 1 return kinds.all <= 200 or nil end, function()
        local card, err = client.contact_identifiers:find("1")
        local kind = card and "good" or err.kind
        kinds[kind] = (kinds[kind] or 0) + 1
        kinds.message = err and err.message or kinds.message
        return card
      end, { concurrency = 200 })
      local after = client.contact_identifiers:find("1")
      print(kinds.good > 0, kinds["local"] > 0, kinds.good + kinds["local"], kinds.message, after.value)
    ]])
    file:close()
    local output = with_server(("sh -c 'ulimit -n 64 && exec %s %s'"):format(interpreter, script))
    os.remove(script)
    assert.truthy(output:find("true\ttrue\t200\t[^\n]*may open no more descriptors[^\n]*\t1\n"), output)
  end)
end)

describe("the heart of a loop beats on:", function()
  for _, loop in ipairs { "luv", "cqueues", "select", "poll", "tick" } do
    it(loop, function()
      check(("%s spec/hosts/heartbeat.lua %s %d %d"):format(interpreter, loop, COUNT, AT_ONCE))
    end)
  end

  if _VERSION == "Lua 5.1" or _VERSION == "Lua 5.2" then -- Debian packages copas for these
    it("copas", function()
      check(("%s spec/hosts/heartbeat.lua copas %d %d"):format(interpreter, COUNT, AT_ONCE))
    end)
  end

  if rawget(_G, "jit") then -- Neovim's Lua is LuaJIT
    it("Neovim", function()
      check(([[nvim --headless -u NONE --cmd "lua arg = { [0] = '', 'luv', '%d', '%d' }" ]]
        .. [[-c "luafile spec/hosts/heartbeat.lua" -c "qa!"]]):format(COUNT, AT_ONCE))
    end)
  end

  it("and what fails before its first call is told", function()
    for _, script in ipairs {
      [[local uv = require("luv") require("leat.luv").attach(uv) fail() uv.run()]],
      [[local cq = require("cqueues").new() require("leat.cqueues").attach(cq) fail() assert(cq:loop())]],
    } do
      local output = read(("%s -e '%s'"):format(interpreter,
        [[local function fail() require("leat.tasks").spawn(function() error("at once") end) end ]] .. script))
      assert.truthy(output:find("at once", 1, true), script)
    end
  end)

  it("and a token that another driver's call gave is taken", function()
    for _, script in ipairs {
      [[local uv = require("luv") require("leat.luv").attach(uv) go() uv.run()]],
      [[local cq = require("cqueues").new() require("leat.cqueues").attach(cq) go() assert(cq:loop())]],
    } do
      local output = read(("timeout 10 %s -e '%s'"):format(interpreter, [[
        local leat, tasks = require("leat"), require("leat.tasks")
        local server = require("leat.sandbox").start { cards = { { value = "1" } } }
        local guard = leat.new { api_key = server.api_key, base_url = server.url }
        local guarded = leat.new { base_url = server.url, token = function()
          guard.contact_identifiers:find("1")
          return server.api_key
        end }
        local function go()
          tasks.spawn(function() print(leat.assert(guarded.contact_identifiers:find("1")).value) end)
        end ]] .. script))
      assert.equal("1\n", output, script)
    end
  end)

  local SERVED = [[
    local leat, tasks = require("leat"), require("leat.tasks")
    local server = require("leat.sandbox").start { cards = { { value = "1" } } }
    server:fault { operation = "find", delay = 0.05, times = math.huge }
    local client = leat.new { api_key = server.api_key, base_url = server.url }
    local function find() return client.contact_identifiers:find("1") end ]]

  it("with a limiter, whose store takes time", function()
    for _, script in ipairs {
      [[local uv = require("luv") require("leat.luv").attach(uv) go() uv.run()]],
      [[local cq = require("cqueues").new() require("leat.cqueues").attach(cq) go() assert(cq:loop())]],
    } do
      local output = read(("timeout 20 %s -e '%s'"):format(interpreter, [[
        local leat, tasks, core = require("leat"), require("leat.tasks"), require("leat.core")
        local server = require("leat.sandbox").start { cards = { { value = "1" } } }
        local store = dofile("spec/support/memory_store.lua")()
        store.back = 20
        local limiter = require("leat.limiter").new(store)
        local client = leat.new { api_key = server.api_key, base_url = server.url, rate = 20, limiter = limiter }
        local function find() io.write(leat.assert(client.contact_identifiers:find("1")).value) end
        local function go()
          for _ = 1, 8 do tasks.spawn(find) end
          tasks.spawn(function() for _ = 1, 3 do find() end end)
        end
        local began = core.now()
        ]] .. script .. [[
        local took = core.now() - began
        print(took > 490 and took < 1500 or took, tasks.poll(), limiter:is_idle()) ]]))
      assert.equal(("1"):rep(11) .. "true\t0\ttrue\n", output, script)
    end
  end)

  it("when it is attached twice", function()
    for _, script in ipairs {
      [[local uv = require("luv")
        for _ = 1, 3 do require("leat.luv").attach(uv) end
        local function run() uv.run() end ]],
      [[local cq = require("cqueues").new()
        for _ = 1, 3 do require("leat.cqueues").attach(cq) end
        local function run() assert(cq:loop()) end ]],
    } do
      local output = read(("timeout 10 %s -e '%s'; echo $?"):format(interpreter, SERVED .. script .. [[
        for _ = 1, 3 do
          for _ = 1, 3 do tasks.spawn(function() io.write(leat.assert(find()).value) find() end) end
          run()
          io.write(tasks.poll())
        end ]]))
      assert.equal("1110" .. "1110" .. "1110" .. "0\n", output, script)
    end
  end)

  it("and ends when the program closes all that libuv knows, with a call under way", function()
    for _, rest in ipairs {
      [[uv.walk(function(handle) handle:close() end) uv.run() client:close() uv.run()]],
      [[uv.walk(function(handle) handle:close() end) tasks.cancel() uv.run()]],
      [[client:close() uv.walk(function(handle) if not handle:is_closing() then handle:close() end end) uv.run()]],
    } do
      local output = read(("timeout 10 %s -e '%s'; echo $?"):format(interpreter, SERVED .. [[
        local uv = require("luv")
        require("leat.luv").attach(uv)
        local kind
        tasks.spawn(function() local _, err = find() kind = err.kind end)
        for _ = 1, 3 do uv.run("nowait") end
        ]] .. rest .. [[ print(kind, tasks.poll())
        tasks.spawn(function() print(leat.new { api_key = server.api_key, base_url = server.url }
          .contact_identifiers:find("1").value) end)
        uv.run() ]]))
      assert.equal("canceled\t0\n1\n0\n", output, rest)
    end
  end)

  it("when a task fails while others' calls are under way", function()
    local output = read(("timeout 10 %s -e '%s'"):format(interpreter, [[
      local leat, tasks = require("leat"), require("leat.tasks")
      local server = require("leat.sandbox").start { cards = { { value = "1" } } }
      server:fault { operation = "find", delay = 0.1, nth = 2 }
      local client = leat.new { api_key = server.api_key, base_url = server.url }
      local cq = require("cqueues").new()
      require("leat.cqueues").attach(cq)
      local function find() return leat.assert(client.contact_identifiers:find("1")).value end
      tasks.spawn(function() find() error("mine") end)
      local other = tasks.spawn(function() return find() .. find() end)
      local told
      repeat
        local fine, why = cq:step(1)
        told = told or not fine and why
      until told and other.done
      print(told)
      print(other:wait())]]))
    assert.truthy(output:find("mine", 1, true) and output:find("\n11\n$"), output)
  end)

  it("with calls that block it does not", function()
    local _, idle, busy = beats(interpreter .. " spec/hosts/heartbeat.lua blocking 3 1")
    assert.truthy(busy >= idle + 0.8 * DELAY)
  end)
end)
