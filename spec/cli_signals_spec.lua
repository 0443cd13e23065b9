-- The `leat` command that is interrupted, whose output nobody reads, or whose standard descriptors are closed.
local command = dofile("spec/support/command.lua")
local core = require("leat.core")
local sandbox = require("leat.sandbox")

local STATUS = { INT = 130, TERM = 143, HUP = 129 }

local server
before_each(function()
  server = assert(sandbox.start { cards = { { value = "1" }, { value = "2" }, { value = "3" } } })
end)
after_each(function()
  server:stop()
end)

local function start(args, more)
  local options = { args = args, server = server }
  for name, value in pairs(more or {}) do
    options[name] = value
  end
  return command.start(options)
end

-- Waits until the service has received so many requests of an operation.
local function wait_for_requests(operation, count)
  command.wait_until(function() return #server:requests(operation) >= count end)
end

-- Waits until the process catches signals.
local function wait_for_handlers(process)
  if not command.has_proc then
    return command.sleep(1)
  end
  local path = ("/proc/%s/status"):format(process:pid())
  command.wait_until(function()
    local file = io.open(path)
    local mask = file and file:read("*a"):match("SigCgt:%s*(%x+)")
    if file then
      file:close()
    end
    return mask and math.floor(tonumber(mask:sub(-4), 16) / 2 ^ 14) % 2 == 1 -- SIGTERM, the last one
  end)
end

-- Sends the signal, and returns the result of a process that it ended, and soon.
local function interrupt(process, name)
  local begun = core.now()
  process:signal(name)
  command.wait_until(function() return process:has_ended() end)
  local milliseconds = core.now() - begun
  local result = process:wait()
  assert.same({ name, STATUS[name] }, { result.signal, result.status }, result.stderr)
  assert.is_true(milliseconds < 5000, milliseconds)
  assert.falsy(result.stderr:find("traceback", 1, true), result.stderr)
  return result
end

local function lines(text)
  local all = {}
  for line in text:gmatch("[^\n]+") do
    all[#all + 1] = line
  end
  return all
end

local function is_canceled(line, value, unknown)
  assert.truthy(line and line:find(('^{"input":"%s","error":{"kind":"canceled",'):format(value)), line)
  assert.truthy(line:find('"outcome_unknown":' .. tostring(unknown), 1, true), line)
end

local function never(operation, value)
  server:fault { operation = operation, value = value, delay = math.huge, times = math.huge }
end

for name in pairs(STATUS) do
  describe("SIG" .. name, function()
    it("while standard input is read", function()
      local process = start({ "find", "-" }, { stdin = true })
      process:type("1\n2\n")
      process:wait_for("stdout", "2: active")
      local result = interrupt(process, name)
      assert.equal("1: active, no contact\n2: active, no contact\n", result.stdout)
    end)

    it("while a change is under way, whose outcome is unknown", function()
      never("create", "new")
      local process = start({ "create", "-", "--json", "--rate", "none" }, { stdin = "other\nnew\n" })
      wait_for_requests("create", 2)
      process:wait_for("stdout", '"input":"other"')
      local result = interrupt(process, name)
      local printed = lines(result.stdout)
      assert.equal(2, #printed)
      is_canceled(printed[2], "new", true)
    end)
  end)
end

describe("a signal", function()
  it("while finds are in flight: what is done is printed, the others are canceled", function()
    never("find", "2")
    local process = start { "find", "1", "2", "3", "--json", "--rate", "none", "-v" }
    wait_for_requests("find", 3)
    process:wait_for("stderr", "HTTP 200")
    process:wait_for("stderr", "HTTP 200")
    local printed = lines(interrupt(process, "INT").stdout)
    assert.equal(3, #printed)
    is_canceled(printed[2], "2", false)
    assert.truthy(printed[3]:find('^{"input":"3","value":"3"'), printed[3])
  end)

  it("while a delete is under way: values that were not begun are left alone", function()
    never("delete", "1")
    local process = start { "delete", "1", "2", "3", "--json", "--yes", "--concurrency", "1" }
    wait_for_requests("delete", 1)
    local printed = lines(interrupt(process, "TERM").stdout)
    assert.equal(1, #printed)
    is_canceled(printed[1], "1", true)
    assert.equal(1, #server:requests("delete"))
  end)

  it("as text: says that the outcome is unknown", function()
    never("delete", "1")
    local process = start { "delete", "1", "--yes" }
    wait_for_requests("delete", 1)
    local result = interrupt(process, "INT")
    assert.equal("", result.stdout)
    assert.truthy(result.stderr:find("leat: 1: canceled: canceled %[outcome unknown"), result.stderr)
  end)

  it("while values wait for the rate: they were not sent", function()
    local process = start({ "create", "-", "--json", "--rate", "0.1" }, { stdin = "4\n5\n" })
    process:wait_for("stdout", '"input":"4"')
    local printed = lines(interrupt(process, "INT").stdout)
    assert.equal(2, #printed)
    is_canceled(printed[2], "5", false)
    assert.equal(1, #server:requests())
  end)

  it("while a token is fetched", function()
    never("token")
    local process = command.start { args = { "create", "4", "--json" }, env = { LEAT_BASE_URL = server.url,
      LEAT_CLIENT_ID = server.client_id, LEAT_CLIENT_SECRET = server.client_secret } }
    wait_for_requests("token", 1)
    local printed = lines(interrupt(process, "INT").stdout)
    is_canceled(printed[1], "4", false)
    assert.equal(0, #server:requests("create"))
  end)

  it("while a change waits to be tried again", function()
    server:fault { operation = "create", kind = "maintenance", retry_after = 20, times = math.huge }
    local process = start { "create", "4", "--json", "-v" }
    process:wait_for("stderr", "next in ")
    local printed = lines(interrupt(process, "HUP").stdout)
    assert.equal(1, #printed)
    assert.truthy(printed[1]:find('"kind":"canceled"', 1, true), printed[1])
  end)

  it("while the command is loaded", function()
    local slow = [[local load = require
      function require(name)
        if name == "argparse" then
          io.stderr:write("loading\n")
          local begun = os.clock()
          while os.clock() - begun < 0.3 do end
        end
        return load(name)
      end]]
    local process = start({ "find", "-" }, { stdin = true, env = { LUA_INIT = slow } })
    process:wait_for("stderr", "loading\n")
    interrupt(process, "INT")
  end)

  it("while the body of a request is read", function()
    local process = start({ "request", "POST", "/contact-identifiers/create", "--body", "-" }, { stdin = true })
    wait_for_handlers(process)
    local result = interrupt(process, "TERM")
    assert.same({ "", "" }, { result.stdout, result.stderr })
    assert.same({}, server:requests())
  end)
end)

if command.has_terminals then
  describe("a signal at the question", function()
    local function ask()
      local process = start({ "delete", "1" }, { terminal = "012" })
      process:wait_for("screen", "[y/N] ")
      return process
    end
    local function check(result, name)
      assert.same({ name, STATUS[name] }, { result.signal, result.status }, result.screen)
      assert.equal(0, #server:requests("delete"))
    end

    it("deletes nothing", function()
      check(interrupt(ask(), "TERM"), "TERM")
    end)
    it("that Ctrl-C sends, deletes nothing", function()
      local process = ask()
      process:type("\3")
      check(process:wait(), "INT")
    end)
    it("that the end of the terminal sends, deletes nothing", function()
      local process = ask()
      process:end_input()
      check(process:wait(), "HUP")
    end)
  end)
end

it("under nohup, SIGHUP is ignored", function()
  local process = start({ "find", "-" }, { stdin = true, ignored = "HUP" })
  wait_for_handlers(process)
  process:signal("HUP")
  process:type("1\n")
  process:wait_for("stdout", "1: active")
  process:end_input()
  assert.equal(0, process:wait().status)
end)

-- ---- output that nobody reads -----------------------------------------------------------

-- Returns the text of so many lines.
local function many(count)
  return ("1\n"):rep(count)
end

it("a second SIGINT ends the command at once, even if its output is stuck", function()
  local open = os.tmpname() -- nothing is read while this file exists
  local reader = ("timeout 60 sh -c 'while [ -e %s ]; do sleep 0.05; done'"):format(open)
  local process = start({ "find", "-", "--json", "--rate", "none" }, { stdin = many(1200), pipe_to = reader })
  local seen = -1
  command.wait_until(function() -- more requests come until the pipe is full
    local before = seen
    seen = #server:requests()
    command.sleep(0.3)
    return seen > 100 and seen == before
  end)
  process:signal("INT")
  command.sleep(0.3)
  assert.is_false(process:has_ended())
  process:signal("INT")
  command.wait_until(function() return process:has_ended() end)
  os.remove(open)
  assert.equal("INT", process:wait().signal)
end)

describe("a closed pipe", function()
  for _, ignored in ipairs { false, "PIPE" } do
    it("ends the command quietly" .. (ignored and ", even if SIGPIPE is ignored" or ""), function()
      local process = start({ "-q", "find", "-", "--rate", "none" },
        { stdin = many(20000), pipe_to = "head -n 1", ignored = ignored or nil })
      local result = process:wait()
      assert.same({ "PIPE", 141 }, { result.signal, result.status })
      assert.same({ "1: active, no contact\n", "" }, { result.stdout, result.stderr })
    end)
  end
end)

describe("a full disk", function()
  for _, args in ipairs { { "find", "1" }, { "find", "1", "--json" }, { "create", "4" }, { "--help" }, { "help" },
    { "find", "--help" }, { "completion", "bash" }, { "version" }, { "--version" }, { "check" },
    { "request", "GET", "/contact-identifiers/find", "--query", "contact_identifier_value=1" } } do
    it("is an error: leat " .. table.concat(args, " "), function()
      local result = command.run { args = args, server = server, stdout = "/dev/full" }
      assert.is_true(result.status > 0 and result.status < 10, result.status)
      assert.truthy(result.stderr:find("No space left on device", 1, true), result.stderr)
    end)
  end

  it("does not hide a change that was made", function()
    local result = command.run { args = { "create", "4" }, server = server, stdout = "/dev/full" }
    assert.truthy(result.stderr:find("not written: 4: created", 1, true), result.stderr)
  end)

  it("does not hide a change that may have been made", function()
    server:fault { operation = "delete", value = "2", delay = 5 }
    local result = command.run { args = { "delete", "1", "2", "--yes", "--json", "--rate", "none" }, server = server,
      stdout = "/dev/full" }
    assert.equal(6, result.status)
    assert.truthy(result.stderr:find("leat: 2: [^\n]*outcome unknown"), result.stderr)
  end)

  it("ends the command: no more values are sent", function()
    local result = command.run { args = { "find", "-", "--rate", "none", "--concurrency", "2" }, server = server,
      stdin = many(1000), stdout = "/dev/full" }
    assert.is_true(result.status > 0)
    assert.is_true(#server:requests() < 10, #server:requests())
    local _, errors = result.stderr:gsub("No space left", "")
    assert.equal(1, errors, result.stderr)
  end)
end)

-- ---- closed descriptors -----------------------------------------------------------------

describe("a closed descriptor", function()
  local function run(args, closed)
    return command.run { args = args, server = server, closed = closed }
  end

  it("of standard input is a mistake if it is to be read", function()
    local result = run({ "find", "-" }, "0")
    assert.equal(2, result.status)
    assert.truthy(result.stderr:find("leat: can't read standard input", 1, true), result.stderr)
    assert.equal(0, run({ "find", "1" }, "0").status)
    assert.equal(2, run({ "request", "POST", "/x", "--body", "-" }, "0").status)
  end)

  it("of standard output is an error", function()
    for _, args in ipairs { { "find", "1" }, { "find", "1", "--json" }, { "help" } } do
      local result = run(args, "1")
      assert.is_true(result.status > 0)
      assert.truthy(result.stderr:find("leat: can't write to standard output", 1, true), result.stderr)
    end
  end)

  it("of standard error changes nothing but that", function()
    local result = run({ "find", "1", "2", "none", "-v" }, "2")
    assert.same({ 4, "1: active, no contact\n2: active, no contact\n" }, { result.status, result.stdout })
    for _, request in ipairs(server:requests()) do
      assert.equal("find", request.operation)
    end
  end)

  it("is not used for a connection", function()
    server:fault { delay = 0.5 }
    local process = start({ "find", "1", "2", "-v" }, { closed = "012" })
    wait_for_requests("find", 1)
    if command.has_proc then
      local pipe = assert(io.popen(("cd /proc/%s/fd && readlink 0 1 2"):format(process:pid())))
      local targets = pipe:read("*a")
      pipe:close()
      assert.equal(("/dev/null\n"):rep(3), targets)
    end
    assert.is_true(process:wait().status > 0)
    for _, request in ipairs(server:requests()) do
      assert.equal("find", request.operation)
    end
  end)
end)
