-- No piece of the API key or of the client secret stands in what the `leat` command prints, in its arguments or in
-- files that it leaves behind. With LEAT_CANARY set the output is printed, for spec/support/canary.sh, which also looks
-- for pieces that are encoded.
local command = dofile("spec/support/command.lua")
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")

local KEY, SECRET = secrets.key, secrets.secret
local PIECE = 8

local server, other_files
before_each(function()
  server = assert(sandbox.start { api_key = KEY, client_secret = SECRET, cards = { { value = "1" }, { value = "2" } } })
  other_files = {}
end)
after_each(function()
  server:stop()
  for _, path in ipairs(other_files) do
    os.remove(path)
  end
end)

-- Returns the path of a file with this text, which is removed after the test.
local function file(text)
  local path = os.tmpname()
  local handle = assert(io.open(path, "w"))
  handle:write(text)
  handle:close()
  other_files[#other_files + 1] = path
  return path
end

local function check_text(what, text)
  if os.getenv("LEAT_CANARY") then
    print(("leat, %s: %s"):format(what, text))
  end
  for _, secret in ipairs { KEY, SECRET } do
    for i = 1, #secret - PIECE + 1 do
      if text:find(secret:sub(i, i + PIECE - 1), 1, true) then
        error(("a piece of a secret, from its byte %d on, stands in %s"):format(i, what))
      end
    end
  end
end

local function check(result)
  check_text("standard output", result.stdout)
  check_text("standard error", result.stderr)
  check_text("the terminal", result.screen)
  return result
end

-- Runs a command with the variables `env` and the sandbox's URL. Returns the result, in which no secret stands.
local function leat(env, args)
  env.LEAT_BASE_URL = env.LEAT_BASE_URL or server.url
  return check(command.run { args = args, env = env })
end

local function read(path)
  local handle = io.open(path, "rb")
  local text = handle and handle:read("*a") or ""
  if handle then
    handle:close()
  end
  return text
end

-- The ways to give a key; the last element is what comes before the command's arguments.
local function ways()
  local path = file(KEY .. "\n")
  return {
    { "LEAT_API_KEY", { LEAT_API_KEY = KEY }, {} },
    { "LEAT_API_KEY_FILE", { LEAT_API_KEY_FILE = path }, {} },
    { "--api-key-file", {}, { "--api-key-file", path } },
    { "a client's id and secret", { LEAT_CLIENT_ID = server.client_id, LEAT_CLIENT_SECRET = SECRET }, {} },
  }
end

local function join(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, one in ipairs(list) do
      all[#all + 1] = one
    end
  end
  return all
end

it("shows no key that it uses, however it is given", function()
  for _, way in ipairs(ways()) do
    local name, env, first = way[1], way[2], way[3]
    assert.equal(4, leat(env, join(first, { "find", "1", "none", "-v" })).status, name)
    assert.equal(4, leat(env, join(first, { "find", "1", "none", "-v", "--json" })).status, name)
  end
end)

if command.has_proc then -- otherwise nobody can see them
  it("has no key in its arguments, nor in an open file's name", function()
    for _, way in ipairs(ways()) do
      way[2].LEAT_BASE_URL = server.url
      local process = command.start { args = join(way[3], { "find", "-", "-v" }), env = way[2], stdin = true }
      process:type("1\n")
      process:wait_for("stdout", "1: active")
      local arguments = read(("/proc/%s/cmdline"):format(process:pid())):gsub("%z", " ")
      assert.truthy(arguments:find("bin/leat .*find %- %-v"), arguments)
      check_text("its arguments", arguments)
      local pipe = assert(io.popen(("ls -l /proc/%s/fd"):format(process:pid())))
      check_text("its open files", pipe:read("*a"))
      pipe:close()
      process:end_input()
      assert.equal(0, check(process:wait()).status)
    end
  end)
end

it("shows no key that is refused", function()
  local short = KEY:sub(1, 12)
  local again = { "find", "1", "-v", "--timeout", "0.3" }
  for status, envs in pairs {
    [3] = {
      { LEAT_API_KEY = KEY .. "x" },
      { LEAT_CLIENT_ID = server.client_id, LEAT_CLIENT_SECRET = SECRET .. "x" },
      { LEAT_CLIENT_ID = server.client_id, LEAT_CLIENT_SECRET = SECRET .. "\1" },
      { LEAT_API_KEY_FILE = file("key = " .. KEY .. " \195\164") },
    },
    [2] = {
      { LEAT_API_KEY = KEY .. "\n" .. KEY }, { LEAT_API_KEY = KEY .. " \195\164 " }, { LEAT_API_KEY = KEY:rep(2000) },
      { LEAT_CLIENT_SECRET = SECRET },
      { LEAT_API_KEY = KEY, LEAT_RATE = "many" }, { LEAT_API_KEY = KEY, LEAT_BASE_URL = "nowhere" },
      { LEAT_API_KEY = KEY, LEAT_BASE_URL = "http://me:" .. SECRET .. "@127.0.0.1" },
      { LEAT_API_KEY_FILE = file("\n" .. KEY) }, { LEAT_API_KEY_FILE = file(short .. "\1" .. KEY) },
      { LEAT_API_KEY_FILE = "/" },
    },
  } do
    for i, env in ipairs(envs) do
      assert.equal(status, leat(env, again).status, i)
    end
  end
  assert.equal(2, leat({ LEAT_API_KEY = KEY }, { "find", "1", "--api-key-file", file("\n" .. KEY) }).status)
end)

it("shows no secret of a token endpoint that fails", function()
  for _, fault in ipairs { { kind = "server" }, { kind = "protocol" }, { kind = "connection" }, { kind = "timeout" },
    { kind = "unauthorized" }, { body = '{"message":"your secret ' .. SECRET:gsub('["\\]', "\\%0") .. ' is wrong"}',
      status = 400 } } do
    server:clear_faults()
    fault.operation, fault.times = "token", math.huge
    server:fault(fault)
    local env = { LEAT_CLIENT_ID = server.client_id, LEAT_CLIENT_SECRET = SECRET }
    local result = leat(env, { "create", "9", "-v", "--json", "--timeout", "0.3" })
    assert.is_true(result.status > 2, fault.kind)
    assert.equal(0, #server:requests("create"))
  end
end)

it("shows no key that a response repeats", function()
  local function respond(body)
    server:clear_faults()
    server:fault { operation = "find", status = 500, times = math.huge, body = body }
  end
  for _, body in ipairs { "<html>bearer " .. KEY .. "</html>", '{"message":"Bearer ' .. KEY .. ' is wrong"}' } do
    respond(body)
    assert.equal(5, leat({ LEAT_API_KEY = KEY }, { "find", "1", "-v", "--timeout", "0.3" }).status)
  end
end)

it("shows no password of a proxy", function()
  local result = leat({ LEAT_API_KEY = KEY, LEAT_BASE_URL = "https://127.0.0.1:1",
    https_proxy = "http://me:secret-12345@127.0.0.1:1" }, { "find", "1", "-v", "--timeout", "0.3" })
  assert.equal(5, result.status)
  assert.falsy(result.stderr:find("secret-12345", 1, true), result.stderr)
end)

it("leaves no file behind", function()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  leat({ LEAT_API_KEY = KEY, TMPDIR = folder, HOME = folder }, { "find", "1", "none", "-v" })
  local pipe = assert(io.popen("find " .. folder .. " -mindepth 1"))
  local left = pipe:read("*a")
  pipe:close()
  os.execute("rm -r " .. folder)
  assert.equal("", left)
end)
