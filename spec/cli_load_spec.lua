-- The `leat` command with many values on standard input, and with a service that is away for a while.
--    make soak      runs this with more values, and a service that is away for longer
local command = dofile("spec/support/command.lua")
local now = dofile("spec/support/clock.lua")
local reserve_port = dofile("spec/support/port.lua")
local sandbox = require("leat.sandbox")

local MANY = tonumber(os.getenv("LEAT_VALUES")) or 6000
local FEWER = math.floor(MANY / 5)
local MOST_GROWTH = 1024 -- kB: a busy machine collects garbage later. 4,800 values that were kept would be more
local INSTRUMENTED = (os.getenv("LD_PRELOAD") or ""):find("asan", 1, true) ~= nil -- keeps memory that was freed
local AWAY = tonumber(os.getenv("LEAT_AWAY")) or 2 -- seconds

local server
before_each(function()
  server = assert(sandbox.start { cards = { { value = "1" }, { value = "2" }, { value = "12" } } })
end)
after_each(function()
  server:stop()
end)

-- Returns so many values, each in a line.
local function values(count)
  local lines = {}
  for i = 1, count do
    lines[i] = ("value-%d\n"):format(i)
  end
  return table.concat(lines)
end

local function find_all(count)
  local result = command.run { args = { "find", "-", "--json", "--rate", "none" }, stdin = values(count),
    server = server }
  local i = 0
  for value in result.stdout:gmatch('{"input":"([^"]*)",[^\n]*}\n') do
    i = i + 1
    assert.equal("value-" .. i, value)
  end
  assert.equal(count, i)
  assert.equal(4, result.status)
  return result
end

it("many values: each is sent once, their order is kept, and memory does not grow", function()
  local before = find_all(FEWER).memory
  local most = find_all(MANY).memory
  assert.equal(FEWER + MANY, #server:requests("find"))
  assert.is_true(INSTRUMENTED or most - before <= MOST_GROWTH, ("%d kB, then %d kB"):format(before, most))
end)

it("the rate is kept", function()
  local COUNT, RATE, CONCURRENCY = 40, 20, 8
  local begun = now()
  local result = command.run { args = { "find", "-", "--rate", tostring(RATE) }, server = server,
    stdin = ("1\n"):rep(COUNT) }
  assert.equal(0, result.status, result.stderr)
  assert.is_true(now() - begun >= (COUNT - 1) / RATE, now() - begun)
  local requests = server:requests()
  assert.equal(COUNT, #requests)
  local most = RATE + CONCURRENCY -- in a second, if the command is late with all that are waiting
  for i = 1, COUNT - most do
    assert.is_true(requests[i + most].time - requests[i].time > 0.5) -- the service may be late too
  end
end)

it("a producer that is slow does not hold up what is in flight", function()
  server:fault { operation = "find", value = "2", delay = 0.3 }
  local process = command.start { args = { "find", "-" }, server = server, stdin = true }
  process:type("1\n2\n")
  process:wait_for("stdout", "1: active, no contact\n2: active, no contact\n")
  process:type("1")
  command.sleep(0.3)
  process:type("2\n1")
  process:wait_for("stdout", "12: active, no contact\n")
  process:end_input()
  process:wait_for("stdout", "1: active, no contact\n")
  assert.equal(0, process:wait().status)
end)

-- ---- lines ------------------------------------------------------------------------------

describe("a line", function()
  local function find(text)
    return command.run { args = { "find", "-", "--json" }, stdin = text, server = server }
  end

  it("may end with CR and LF, or with the input; empty ones and a byte order mark are skipped", function()
    local result = find("\239\187\1911\r\n\r\n\n2\n12")
    local inputs = {}
    for input in result.stdout:gmatch('{"input":"([^"]*)","value":') do
      inputs[#inputs + 1] = input
    end
    assert.same({ "1", "2", "12" }, inputs)
    assert.same({ 0, 3 }, { result.status, #server:requests() })
    assert.same({ 0, "" }, { find("").status, find("\r\n").stdout })
  end)

  it("that is no value fails alone, and nothing is sent for it", function()
    local result = find("1\na\0b\n\255x\n" .. ("x"):rep(65536) .. "\n2\n")
    local kinds = {}
    for line in result.stdout:gmatch("[^\n]+") do
      kinds[#kinds + 1] = line:match('"error":{"kind":"([%l_]+)"') or line:match('"outcome":"(%l+)"')
    end
    assert.same({ "found", "usage", "usage", "not_found", "found" }, kinds)
    assert.truthy(result.stdout:find('{"input":"a\\u0000b"', 1, true), result.stdout:sub(1, 500))
    assert.same({ 1, 3 }, { result.status, #server:requests() })
  end)

  it("that is too long is refused, once what is in flight is done", function()
    server:fault { operation = "find", value = "1", delay = 0.5 }
    local result = find("1\n" .. ("x"):rep(65537) .. "\n2\n")
    local found, refused = result.stdout:match('^({"input":"1",[^\n]*)\n(.*)$')
    assert.truthy(found, result.stdout)
    assert.truthy(refused:find("line 2 of standard input is longer than", 1, true), refused)
    assert.equal(1, result.status) -- not 2, because something was sent
    assert.equal(2, find(("x"):rep(65537)).status)
  end)

  it("that is too long does not hide that a change may have been made", function()
    server:fault { operation = "delete", kind = "timeout", times = math.huge }
    local result = command.run { args = { "delete", "-", "--yes", "--timeout", "0.5" }, server = server,
      stdin = "1\n" .. ("x"):rep(65537) }
    assert.equal(6, result.status, result.stderr)
  end)
end)

-- ---- a service that is away -------------------------------------------------------------

-- Starts a command that finds or creates the values 1 to 10.
local function start(name, url)
  local lines = {}
  for i = 1, 10 do
    lines[i] = i .. "\n"
  end
  return command.start { args = { name, "-", "--json", "--rate", "none" }, stdin = table.concat(lines),
    env = { LEAT_BASE_URL = url, LEAT_API_KEY = "sandbox" } }
end

local function check(process, outcome)
  local result = process:wait()
  local count = 0
  for input in result.stdout:gmatch('{"input":"(%d+)",[^\n]*"outcome":"' .. outcome .. '"}\n') do
    count = count + 1
    assert.equal(tostring(count), input)
  end
  assert.same({ 10, 0 }, { count, result.status }, result.stdout .. result.stderr)
end

it("a retry is mentioned after a second, once", function()
  local result = command.run { args = { "find", "1", "--timeout", "5" },
    env = { LEAT_BASE_URL = "http://127.0.0.1:" .. reserve_port(), LEAT_API_KEY = "sandbox" } }
  assert.equal(5, result.status)
  local _, notices = result.stderr:gsub("leat: connection: trying again until %-%-timeout", "")
  assert.equal(1, notices, result.stderr)
end)

it("nothing fails that still succeeds within the timeout", function()
  local cards = {}
  for i = 1, 10 do
    cards[i] = { value = tostring(i) }
  end
  local port = reserve_port()
  local servers, found, created = {}, {}, {}
  for i, kind in ipairs { "maintenance", "connection", "server" } do
    for name, list in pairs { find = found, create = created } do
      local one = assert(sandbox.start { cards = name == "find" and cards or nil,
        faults = { { kind = kind, times = math.huge } } })
      servers[#servers + 1] = one
      list[i] = start(name, one.url)
    end
  end
  found[#found + 1] = start("find", (server.url:gsub(":%d+", ":" .. port)))
  command.sleep(AWAY)
  servers[#servers + 1] = assert(sandbox.start { port = port, cards = cards })
  for _, one in ipairs(servers) do
    one:clear_faults()
  end
  for _, process in ipairs(found) do
    check(process, "found")
  end
  for _, process in ipairs(created) do
    check(process, "%l+")
  end
  for _, one in ipairs(servers) do
    assert.equal(10, #one:cards())
    one:stop()
  end
end)
