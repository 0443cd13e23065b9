-- The `leat` command on a terminal: what it asks, what it shows there, and what it refuses to do elsewhere.
local command = dofile("spec/support/command.lua")
local leat = require("leat")
local sandbox = require("leat.sandbox")

local KIM = "6cf1b5a5-9d27-4f7d-8b59-0a8c4ffb1f01"
local ALEX = "0f6c1c4e-1f9c-45f4-8f0c-9f6a1f0b7a02"

local unpack = table.unpack or unpack -- luacheck: ignore

if not command.has_terminals then
  io.stderr:write("cli_terminal_spec: this system has no pseudo-terminals: /dev/pts is not mounted\n")
  return
end

-- Starts a service that responds to the find of card 2 after some time.
local function start_slow(delay)
  local fault = { operation = "find", value = "2", delay = delay, times = math.huge }
  return assert(sandbox.start { cards = { { value = "1" }, { value = "2" } }, faults = { fault } })
end

-- A line of progress comes after ten seconds, which pass while the other tests run.
local slow_args = { "find", "1", "2", "--rate", "none" }
local slow, in_pipe, quiet
setup(function()
  slow = start_slow(10.5)
  in_pipe = command.start { args = slow_args, server = slow }
  quiet = command.start { args = { "-q", unpack(slow_args) }, server = slow }
end)
teardown(function()
  slow:stop()
end)

local server
after_each(function()
  if server then
    server:stop()
    server = nil
  end
end)

-- Starts a sandbox with cards of Kim's, and one without a contact.
local function start(values)
  local cards = { { value = "free" }, { value = "off", active = false } }
  for _, value in ipairs(values or { "1", "2", "3" }) do
    cards[#cards + 1] = { value = value, contact_uuid = KIM }
  end
  server = assert(sandbox.start { contacts = { { uuid = KIM }, { uuid = ALEX } }, cards = cards })
  return server
end

local function count_writes()
  return command.count_writes(server)
end

-- Runs a command on a terminal. `keys` are as for command.run.
local function on_terminal(args, keys, more)
  local options = { args = args, server = server, terminal = "012", keys = keys }
  for name, value in pairs(more or {}) do
    options[name] = value
  end
  return command.run(options)
end

local function count(text, piece)
  local found = 0
  for _ in text:gmatch((piece:gsub("%W", "%%%0"))) do
    found = found + 1
  end
  return found
end

describe("the question before a delete", function()
  it("is one question for all cards, of which it lists ten", function()
    local values = {}
    for i = 1, 12 do
      values[i] = "card " .. i
    end
    start(values)
    local result = on_terminal({ "delete", "--rate", "none", unpack(values) },
      { { "[y/N] ", "n\r" } })
    assert.equal(1, count(result.screen, "[y/N]"), result.screen)
    assert.truthy(result.screen:find("card 10: ", 1, true))
    assert.falsy(result.screen:find("card 11", 1, true))
    assert.truthy(result.screen:find("\n  and 2 more\nDelete these 12 cards? [y/N] ", 1, true), result.screen)
    assert.same({ 1, 0 }, { result.status, count_writes() })
  end)

  it("shows what is deleted, and y deletes it", function()
    start()
    local result = on_terminal({ "delete", "1" }, { { "[y/N] ", "y\r" } })
    assert.equal(("  1: active, contact %s\nDelete this card? [y/N] y\n1: deleted\n"):format(KIM), result.screen)
    assert.equal(0, result.status)
    assert.is_nil(server:card("1"))
  end)

  it("names a card once, even if it is given twice", function()
    start()
    local result = on_terminal({ "delete", "1", "1" }, { { "Delete this card? [y/N] ", "y\r" } })
    assert.same({ 0, 1 }, { result.status, count_writes() }, result.screen)
  end)

  it("lists an inactive card, and what is missing", function()
    start()
    local result = on_terminal({ "delete", "off", "none", "1" }, { { "[y/N] ", "yes\r" } },
      { env = { NO_COLOR = "1" } })
    assert.truthy(result.screen:find("none: not_found", 1, true), result.screen)
    assert.truthy(result.screen:find("  off: inactive", 1, true), result.screen)
    assert.truthy(result.screen:find("Delete these 2 cards?", 1, true), result.screen)
    assert.equal(4, result.status)
    assert.is_nil(server:card("off"))
    assert.is_nil(server:card("1"))
  end)

  for name, text in pairs { n = "n\r", Enter = "\r", ["Ctrl-D"] = "\4", ["something else"] = "yep\r" } do
    it("deletes nothing after " .. name, function()
      start()
      local result = on_terminal({ "delete", "1", "2" }, { { "[y/N] ", text } })
      assert.same({ 1, 0 }, { result.status, count_writes() })
      assert.truthy(result.screen:find("nothing was changed", 1, true), result.screen)
      assert.truthy(server:card("1"))
    end)
  end

  it("is not asked if there is no such card", function()
    start()
    local result = on_terminal { "delete", "none" }
    assert.equal(4, result.status)
    assert.falsy(result.screen:find("[y/N]", 1, true))
  end)

  it("is about what was shown: a card that changes meanwhile stays", function()
    start()
    local process = command.start { args = { "delete", "1", "free" }, server = server, terminal = "012" }
    process:wait_for("screen", "[y/N] ")
    local client = leat.new { api_key = server.api_key, base_url = server.url }
    local card = leat.assert(client.contact_identifiers:find("1"))
    leat.assert(card:unlink())
    leat.assert(card:link(ALEX))
    leat.assert(client.contact_identifiers:link("free", ALEX))
    client:close()
    process:type("y\r")
    local result = process:wait()
    assert.equal(1, result.status, result.screen)
    assert.equal(2, count(result.screen, "conflict"), result.screen)
    assert.equal(ALEX, server:card("1").contact.uuid)
    assert.equal(ALEX, server:card("free").contact.uuid)
  end)

  it("can be asked while the results go to a file", function()
    start()
    local result = on_terminal({ "delete", "1", "--json" }, { { "[y/N] ", "y\r" } }, { terminal = "02" })
    assert.truthy(result.stdout:find('^{"input":"1",[^\n]*"outcome":"deleted"}\n$'), result.stdout)
    assert.equal(0, result.status)
  end)

  it("is not asked with --yes", function()
    start()
    local result = on_terminal { "delete", "1", "--yes" }
    assert.equal("1: deleted\n", result.screen)
    assert.is_nil(server:card("1"))
  end)
end)

describe("unlink", function()
  it("asks before it unlinks several cards", function()
    start()
    local result = on_terminal({ "unlink", "1", "2" }, { { "[y/N] ", "n\r" } })
    assert.truthy(result.screen:find("Unlink these 2 cards? [y/N] ", 1, true), result.screen)
    assert.same({ 1, 0 }, { result.status, count_writes() })
    result = on_terminal({ "unlink", "1", "2" }, { { "[y/N] ", "y\r" } })
    assert.equal(0, result.status)
    assert.is_nil(server:card("1").contact)
    assert.is_nil(server:card("2").contact)
  end)

  -- Returns the words of a shell command line.
  local function split(line)
    local words = {}
    local pipe = assert(io.popen("for word in " .. line .. "; do printf '%s\\n' \"$word\"; done"))
    for word in pipe:lines() do
      words[#words + 1] = word
    end
    pipe:close()
    return words
  end

  for _, value in ipairs { "1", "it's $HOME", "-5" } do
    it("says how to undo it, of one card: " .. value, function()
      start { value }
      local result = on_terminal { "unlink", "--", value }
      assert.equal(0, result.status, result.screen)
      assert.falsy(result.screen:find("[y/N]", 1, true))
      assert.is_nil(server:card(value).contact)
      local line = result.screen:match("contact " .. KIM:gsub("%-", "%%-") .. ".-leat (link [^\n]+)")
      local undone = command.run { args = split(line or result.screen), server = server }
      assert.equal(0, undone.status, undone.stderr)
      assert.equal(KIM, server:card(value).contact.uuid)
    end)
  end

  it("says whose card it was if the outcome is unknown", function()
    start()
    server:fault { operation = "unlink", kind = "timeout", times = math.huge }
    local result = on_terminal { "unlink", "1", "--timeout", "0.5" }
    assert.equal(6, result.status, result.screen)
    assert.truthy(result.screen:find("to undo this: leat link 1 " .. KIM, 1, true), result.screen)
  end)

  it("says nothing about undoing with --yes", function()
    start()
    local result = on_terminal { "unlink", "1", "--yes" }
    assert.equal("1: unlinked, active, no contact\n", (result.screen:gsub("unlinked: ", "unlinked, ")))
  end)
end)

it("values that are typed are found one by one, until Ctrl-D", function()
  start()
  local process = command.start { args = { "find", "-" }, server = server, terminal = "012" }
  for _, value in ipairs { "1", "2" } do
    process:type(value .. "\r")
    process:wait_for("screen", ("\n%s: active, contact %s\n"):format(value, KIM))
  end
  process:type("\4")
  assert.equal(0, process:wait().status)
end)

describe("off a terminal", function()
  local ways = { ["everywhere"] = "", ["standard input"] = "12", ["standard error"] = "01" }
  for where, terminal in pairs(ways) do
    for _, args in ipairs { { "delete", "1" }, { "unlink", "1" }, { "unlink", "1", "2", "--expect", KIM } } do
      it(table.concat(args, " ") .. " needs --yes: " .. where, function()
        start()
        local result = command.run { args = args, server = server, terminal = terminal ~= "" and terminal or nil }
        assert.equal(2, result.status)
        assert.truthy((result.stderr .. result.screen):find(args[1] .. " needs --yes", 1, true))
        assert.same({}, server:requests())
      end)
    end
  end

  it("a list of values from a file needs --yes too, even on a terminal", function()
    start()
    local result = command.run { args = { "delete", "-" }, server = server, stdin = "1\n", terminal = "12" }
    assert.same({ 2, 0 }, { result.status, #server:requests() })
    result = command.run { args = { "delete", "-", "--yes" }, server = server, stdin = "1\n" }
    assert.same({ 0, "1: deleted\n" }, { result.status, result.stdout })
  end)

  it("--dry-run needs no --yes, and sends nothing that writes", function()
    start()
    for _, args in ipairs { { "delete", "1", "off" }, { "unlink", "1", "2" }, { "unlink", "1" } } do
      args[#args + 1] = "--dry-run"
      local result = command.run { args = args, server = server }
      assert.equal(0, result.status, result.stderr)
      assert.truthy(result.stdout:find("would be", 1, true), result.stdout)
    end
    assert.equal(0, count_writes())
  end)
end)

describe("colour", function()
  local function has_colour(options)
    options.args, options.server = options.args or { "find", "none" }, server
    local result = command.run(options)
    return (result.stdout .. result.stderr .. result.screen):find("\27[", 1, true) ~= nil
  end

  it("is used on a terminal only", function()
    start()
    assert.is_true(has_colour { terminal = "012" })
    assert.is_true(has_colour { terminal = "2" })
    assert.is_false(has_colour { terminal = "01" })
    assert.is_false(has_colour {})
    local update = { "update", "1", "--inactive" }
    assert.is_true(has_colour { args = update, terminal = "1" })
    assert.is_false(has_colour { args = update, terminal = "02" })
  end)

  it("is not used if the environment refuses it, nor in JSON", function()
    start()
    assert.is_false(has_colour { terminal = "012", env = { NO_COLOR = "1" } })
    assert.is_false(has_colour { terminal = "012", env = { TERM = "dumb" } })
    assert.is_true(has_colour { terminal = "012", env = { NO_COLOR = "" } })
    assert.is_false(has_colour { terminal = "012", args = { "find", "none", "--json" } })
  end)
end)

-- Returns the lines that a terminal shows at the end.
local function final_lines(screen)
  local lines, line, at = {}, "", 1
  for piece in screen:gsub("\27%[%d+m", ""):gsub("\27%[K", "\1"):gmatch("[\r\n\1]?[^\r\n\1]*") do
    local control, text = piece:match("^([\r\n\1]?)(.*)$")
    if control == "\n" then
      lines[#lines + 1], line, at = line, "", 1
    elseif control == "\r" then
      at = 1
    elseif control == "\1" then
      line = line:sub(1, at - 1)
    end
    line = line:sub(1, at - 1) .. text .. line:sub(at + #text)
    at = at + #text
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

describe("progress", function()
  local BAR = "[##########..........] 1 of 2 processed, 0 failed"

  it("is a bar on a terminal, which is erased", function()
    server = start_slow(1.6)
    local result = on_terminal(slow_args)
    assert.truthy(result.screen:find(BAR, 1, true), result.screen)
    assert.truthy(final_lines(result.screen):find("^leat: [^\n]*\n1: active, no contact\n2: active, no contact\n$"),
      final_lines(result.screen))
  end)

  it("is not shown with -q, nor for work that is done within a second", function()
    server = start_slow(1.6)
    local result = on_terminal { "-q", unpack(slow_args) }
    assert.equal("1: active, no contact\n2: active, no contact\n", result.screen)
    result = on_terminal { "find", "1", "1" }
    assert.truthy(result.screen:find("\n1: active, no contact\n", 1, true))
    assert.falsy(result.screen:find("processed", 1, true))
  end)

  it("does not erase what is being typed", function()
    start()
    local process = command.start { args = { "find", "-", "--rate", "none" }, server = server, terminal = "012" }
    command.sleep(2)
    process:type("1\r\4")
    local result = process:wait()
    assert.truthy(result.screen:find("1: active", 1, true), result.screen)
    assert.falsy(result.screen:find("processed", 1, true), result.screen)
  end)

  it("is a line every ten seconds in a pipe, but not with -q", function()
    local result = in_pipe:wait()
    assert.equal(1, count(result.stderr, "leat: 1 of 2 processed, 0 failed"), result.stderr)
    assert.falsy(result.stderr:find("[\r\27]"))
    assert.equal("1: active, no contact\n2: active, no contact\n", result.stdout)
    result = quiet:wait()
    assert.same({ "", "1: active, no contact\n2: active, no contact\n" }, { result.stderr, result.stdout })
  end)
end)
