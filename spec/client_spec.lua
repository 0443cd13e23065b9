-- The Lua API against the sandbox, over real sockets and real TLS.
local cjson = require("cjson")
local leat = require("leat")
local reserve_port = dofile("spec/support/port.lua")
local sandbox = require("leat.sandbox")
local script = dofile("spec/support/script.lua")

local ANN, BOB = "8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11", "3f0f0f54-7d0e-4b0b-9f9e-6a1d7f1c2b22"
local KEY = dofile("spec/support/secrets.lua").key
local BASE = "/api/v3/oauth/clients/contact-identifiers"

local function serve(options)
  options = options or {}
  options.api_key = KEY
  options.contacts = { { uuid = ANN, email = "ann@example.org" }, { uuid = BOB } }
  local server = assert(sandbox.start(options))
  local client = leat.new { api_key = KEY, base_url = server.url, ca_file = server.ca_file, max_attempts = 1 }
  return server, client.contact_identifiers, client
end

-- Runs code as a user's chunk, so that the line of an error can be checked.
local function line_of(code, ...)
  local chunk = assert((loadstring or load)("local a, b, c = ...\n" .. code, "@user.lua"))
  local fine, message = pcall(chunk, ...)
  assert.is_false(fine)
  return message
end

for _, tls in ipairs { false, true } do
  describe("the six operations over " .. (tls and "HTTPS" or "HTTP"), function()
    local server, cards

    before_each(function()
      server, cards = serve { tls = tls }
    end)
    after_each(function()
      server:stop()
    end)

    it("finds what was created", function()
      local created = leat.assert(cards:create("0042", { name = "Gold", contact_uuid = ANN }))
      local found = leat.assert(cards:find("0042"))
      assert.same(created, found)
      assert.same({ value = "0042", name = "Gold", active = true,
        contact = { uuid = ANN, email = "ann@example.org" } }, found)
    end)

    it("leaves out what is null", function()
      local card = leat.assert(cards:create("0042"))
      assert.same({ value = "0042", name = "0042", active = true }, card) -- no contact
    end)

    it("links and unlinks, by value and by card", function()
      local card = leat.assert(cards:create("0042"))
      assert.equal(ANN, leat.assert(cards:link("0042", ANN)).contact.uuid)
      assert.is_nil(leat.assert(cards:unlink("0042")).contact)
      assert.equal(card, card:link(BOB))
      assert.equal(BOB, card.contact.uuid)
      assert.equal(card, card:unlink())
      assert.is_nil(card.contact) -- a field that is no longer in the response is removed
    end)

    it("updates what is given and nothing else", function()
      local card = leat.assert(cards:create("0042", { name = "Gold" }))
      assert.equal(card, card:update { active = false })
      assert.same({ value = "0042", name = "Gold", active = false }, card)
      assert.same({ value = "0042", name = "New", active = true },
        leat.assert(cards:update("0042", { name = "New", active = true })))
      local requests = server:requests()
      assert.same({ contact_identifier_value = "0042", contact_identifier_active = false },
        cjson.decode(requests[2].body))
    end)

    it("deletes", function()
      local card = leat.assert(cards:create("0042"))
      assert.is_true(card:delete())
      assert.equal("0042", card.value)
      local gone, err = cards:delete("0042")
      assert.is_nil(gone)
      assert.equal("not_found", err.kind)
    end)

    it("chains", function()
      local card = leat.assert(cards:create("0042", { contact_uuid = ANN }))
      assert.equal("X", card:unlink():link(BOB):update({ name = "X" }).name)
    end)

    it("tells more as a third result", function()
      local _, err, info = cards:create("0042")
      assert.is_nil(err)
      assert.same({ status = 200, attempts = 1, rate_limit = { limit = 5000, remaining = 4999 } }, info)
    end)

    it("goes on, call after call", function()
      leat.assert(cards:create("0042"))
      for _ = 1, 50 do
        leat.assert(cards:find("0042"))
      end
      assert.equal(51, #server:requests())
    end)
  end)
end

describe("requests, as the documentation has them", function()
  local server, cards

  setup(function()
    server, cards = serve()
    leat.assert(cards:create("0042", { name = "N", contact_uuid = ANN }))
    cards:find("0042")
    cards:unlink("0042")
    cards:link("0042", BOB)
    cards:update("0042", { name = "M", active = true })
    cards:delete("0042")
  end)
  teardown(function()
    server:stop()
  end)

  local value = { contact_identifier_value = "0042" }
  local wanted = {
    { "POST", BASE, { contact_identifier_value = "0042", contact_identifier_name = "N", contact_uuid = ANN } },
    { "GET", BASE .. "/find?contact_identifier_value=0042" },
    { "PUT", BASE .. "/unlink", value },
    { "PUT", BASE .. "/link", { contact_identifier_value = "0042", contact_uuid = BOB } },
    { "PUT", BASE,
      { contact_identifier_value = "0042", contact_identifier_name = "M", contact_identifier_active = true } },
    { "DELETE", BASE .. "?contact_identifier_value=0042", value },
  }
  for i, row in ipairs(wanted) do
    it(row[1] .. " " .. row[2], function()
      local request = server:requests()[i]
      assert.equal(row[1], request.method)
      assert.equal(row[2], request.target)
      assert.equal(200, request.status)
      assert.equal("[token]", request.headers["Authorization"]) -- the status was 200, so the token was right
      assert.equal("application/json", request.headers["Accept"])
      assert.equal("leat/" .. leat._VERSION, request.headers["User-Agent"])
      if row[3] then
        assert.same(row[3], cjson.decode(request.body))
        assert.equal("application/json", request.headers["Content-Type"])
      else
        assert.equal("", request.body)
        assert.is_nil(request.headers["Content-Type"])
      end
    end)
  end
end)

describe("values arrive exactly", function()
  local server, cards

  setup(function()
    server, cards = serve()
  end)
  teardown(function()
    server:stop()
  end)

  local values = {
    "0007", "a&b", "a=b", "a+b", "a%b", "%41", "a/b", "../x", "a?b", "a#b", " a b ", "a\tb\nc", '"\\', "é",
    "\240\159\152\128 emoji", "日本語", "a,b;c", "1e5", "null", ("x"):rep(10000), ("é&"):rep(3000), "\127",
  }
  for _, value in ipairs(values) do
    it(("%q"):format(#value > 40 and value:sub(1, 20) .. "..." or value), function()
      assert.equal(value, leat.assert(cards:create(value, { name = value })).name)
      assert.equal(value, leat.assert(cards:find(value)).value)
      assert.equal(value, leat.assert(cards:update(value, { active = true })).value)
      assert.is_true(leat.assert(cards:delete(value)))
    end)
  end
end)

describe("errors", function()
  local server, cards, client

  before_each(function()
    server, cards, client = serve {
      cards = { { value = "off", active = false }, { value = "on", contact_uuid = ANN }, { value = "free" } },
    }
  end)
  after_each(function()
    server:stop()
  end)

  local function check(kind, code, status, value, err)
    assert.is_nil(value)
    assert.equal(kind, err.kind)
    assert.equal(code, err.code)
    assert.equal(status, err.status)
    assert.is_false(err.outcome_unknown)
    return err
  end

  it("decode the service's codes", function()
    check("not_found", 60003, 400, cards:find("none"))
    check("not_found", 60003, 400, cards:link("none", ANN))
    check("not_found", 60003, 400, cards:unlink("none"))
    check("not_found", 60003, 400, cards:update("none", { name = "x" }))
    check("inactive", 60004, 400, cards:find("off"))
    check("inactive", 60004, 400, cards:link("off", ANN))
    check("inactive", 60004, 400, cards:unlink("off"))
    check("already_exists", 60006, 400, cards:create("on"))
    check("already_linked", 60014, 400, cards:link("on", BOB))
    check("not_linked", 60011, 400, cards:unlink("free"))
    check("contact_not_found", 55031, 400, cards:link("free", "nobody"))
    check("contact_not_found", 55031, 400, cards:create("new", { contact_uuid = "nobody" }))
  end)

  it("read as one line", function()
    local _, err = cards:find("none")
    assert.equal("leat: contact_identifiers.find: not_found (60003, HTTP 400): Contact identifier not found.",
      tostring(err))
    assert.equal("x " .. tostring(err), "x " .. err)
    assert.equal(tostring(err) .. " x", err .. " x")
    assert.equal("contact_identifiers.find", err.operation)
    assert.equal("maybe", err.sent)
    assert.equal(1, err.attempts)
  end)

  it("leave the card as it was", function()
    local card = leat.assert(cards:find("on"))
    local before = cjson.encode(card)
    check("already_linked", 60014, 400, card:link(BOB))
    assert.equal(before, cjson.encode(card))
  end)

  it("say when the key is wrong", function()
    local other = leat.new { api_key = "other-key", base_url = server.url }
    local err = check("unauthorized", nil, 401, other.contact_identifiers:find("on"))
    assert.truthy(tostring(err):find("API key", 1, true))
  end)

  it("say when base_url is wrong", function()
    local other = leat.new { api_key = KEY, base_url = server.url .. "/v9" }
    check("config", nil, 404, other.contact_identifiers:find("on"))
  end)

  it("say when nobody listens", function()
    local gone, unreachable = serve { port = reserve_port() }
    gone:stop()
    local err = check("connection", nil, nil, unreachable:create("x"))
    assert.equal("no", err.sent)
  end)

  it("verify TLS", function()
    local secure = assert(sandbox.start { tls = true })
    local other = leat.new { api_key = KEY, base_url = secure.url }
    local err = check("tls", nil, nil, other.contact_identifiers:create("x"))
    assert.equal("no", err.sent)
    assert.truthy(err.message:find("ca_file", 1, true))
    assert.equal(0, #secure:requests())
    secure:stop()
  end)

  it("say when http meets TLS", function()
    local secure = assert(sandbox.start { tls = true })
    local other = leat.new { api_key = KEY, base_url = (secure.url:gsub("^https", "http")), timeout = 2 }
    local _, err = other.contact_identifiers:find("x")
    assert.truthy(err.kind == "protocol" or err.kind == "connection")
    secure:stop()
  end)

  it("never show the key", function()
    local other = leat.new { api_key = "other-key-with-some-length", base_url = server.url }
    local texts = { tostring(client), tostring(cards), tostring(server), tostring(other) }
    for _, resource in ipairs { cards, other.contact_identifiers } do
      local _, err = resource:find("none")
      texts[#texts + 1] = tostring(err)
      for _, value in pairs(err) do
        texts[#texts + 1] = tostring(value)
      end
    end
    local _, message = pcall(leat.new, { api_key = KEY .. "\n" })
    texts[#texts + 1] = message
    local all = table.concat(texts, "\n")
    assert.is_nil(all:find(KEY:sub(1, 8), 1, true))
    assert.is_nil(all:find(KEY:sub(-8), 1, true))
    assert.is_nil(all:find("with-some", 1, true))
  end)

  it("are raised by leat.assert, with their fields where Lua can show them", function()
    assert.equal("on", leat.assert(cards:find("on")).value)
    local _, err = pcall(function()
      leat.assert(cards:find("none"))
    end)
    assert.truthy(tostring(err):find("not_found (60003", 1, true))
    if _VERSION ~= "Lua 5.1" then
      assert.equal("not_found", err.kind)
    end
    assert.has_error(function()
      leat.assert(false)
    end)
  end)

  it("that leat.assert raised and nobody caught show the file and the line", function()
    local output, path = script.run(([[
      local leat = require("leat")
      local client = leat.new { api_key = %q, base_url = %q }
      leat.assert(client.contact_identifiers:find("none"))
    ]]):format(KEY, server.url))
    local told = path:match("[^/]+$") .. ":3: leat: contact_identifiers.find: not_found (60003"
    assert.truthy(output:find(told, 1, true), output)
  end)
end)

describe("misuse is raised at the caller's line", function()
  local client, cards, card

  setup(function()
    client = leat.new { api_key = KEY, base_url = "http://127.0.0.1:1" }
    cards = client.contact_identifiers
    card = cards:wrap { value = "1" }
  end)

  local rows = {
    { "a:find()", "value is missing" },
    { "a:find(nil)", "value is missing" },
    { "a:find(42)", "must be a string, not a number" },
    { "a:find('')", "value is empty" },
    { "a:find('a\\0b')", "NUL" },
    { "a:find('\\255')", "not UTF-8" },
    { "a:find('1', { name = 'x' })", "option 'name' is unknown (known: max_age)" },
    { "a:find('1', 'usage')", "too many arguments: there are no options" },
    { "a:find('1', {}, {})", "too many arguments" },
    { "a.find('1')", "with a colon" },
    { "a:create('1', 'Name')", "options must be a table" },
    { "a:create('1', { nmae = 'x' })", "'nmae' is unknown (known: contact_uuid, name)" },
    { "a:create('1', { name = 1 })", "name must be a string" },
    { "a:create('1', { name = '' })", "name is empty" },
    { "a:create('1', { contact_uuid = false })", "contact_uuid must be a string" },
    { "a:link('1')", "contact_uuid is missing" },
    { "a:link('1', {})", "contact_uuid must be a string" },
    { "a:update('1', { active = 'yes' })", "active must be true or false" },
    { "a:update('1', { 'x' })", "is unknown" },
    { "a:update('1')", "update: there is nothing to change: set a name" },
    { "a:update('1', {})", "update: there is nothing to change" },
    { "a:update('1', { name = nil })", "update: there is nothing to change" },
    { "b:update()", "update: there is nothing to change" },
    { "b:update {}", "update: there is nothing to change" },
    { "a:create { value = '1' }", "value must be a string, not a table: it stands alone" },
    { "a:find { '1' }", "value must be a string, not a table: it stands alone" },
    { "a:link('1', { uuid = 'ann' })", "is it a contact? contact.uuid" },
    { "a:get('1')", "contact_identifiers has no 'get': did you mean 'find'? There are: create, delete, ensure, find" },
    { "a:Find('1')", "did you mean 'find'?" },
    { "a:unlnik('1')", "did you mean 'unlink'?" },
    { "a:quux('1')", "contact_identifiers has no 'quux': There are: create" },
    { "return a.remove", "did you mean 'delete'?" },
    { "c:find('1')", "client has no 'find': did you mean client.contact_identifiers:find(...)?" },
    { "c:add('1')", "did you mean client.contact_identifiers:create(...)?" },
    { "c.cards:find('1')", "client has no 'cards': There are: cache_stats, check, close, contact_identifiers" },
    { "c.contact_identifier:find('1')", "did you mean 'contact_identifiers'?" },
    { "c:with({ timeout = 1 }):requets('GET', '/')", "did you mean 'request'?" },
    { "b:link()", "contact_uuid is missing" },
    { "b.unlink()", "with a colon" },
    { "b:update('x')", "options must be a table: such as { name" },
    { "a:list('x')", "options must be a table: such as { contact_uuid" },
    { "a:delete(b)", "card.value" },
  }
  for _, row in ipairs(rows) do
    it(row[1], function()
      local message = line_of("\n" .. row[1] .. "\n", cards, card, client)
      assert.truthy(message:find("^user.lua:3: leat: "), message)
      assert.truthy(message:find(row[2], 1, true), message)
    end)
  end

  local options = {
    { "a.new()", "in a table" },
    { "a.new {}", "api_key is missing" },
    { "a.new { api_key = '' }", "api_key is empty" },
    { "a.new { api_key = 'Bearer k' }", "the key alone" },
    { [[a.new { api_key = '"k"' }]], "api_key is enclosed in quotes" },
    { [[a.new { api_key = "'k'" }]], "api_key is enclosed in quotes" },
    { "a:new { api_key = 'k' }", "with a dot" },
    { "a.new { api_key = 'a\\n' }", "control character" },
    { "a.new { api_key = ' a' }", "a space at its end" },
    { "a.new { api_key = 'k', max_body = 1.5 }", "whole" },
    { "a.new { api_key = 'k', max_body = 1e300 }", "whole" },
    { "a.new { api_key = 'k', max_connections = 2.5 }", "whole" },
    { "a.new { api_key = 'k', max_connections = 0 }", "greater than 0" },
    { "a.new { api_key = 'k', max_connections = 1e6 }", "max_connections" },
    { "a.new { api_key = 'k', proxy = 'foo://x:hunter2@h' }", "proxy must be a URL" },
    { "a.new { api_key = 'k', driver = {} }", "no method perform" },
    { "a.new { api_key = 'k', ca_file = 'x', driver = { perform = print } }", "driver is given" },
    { "a.new(setmetatable({ api_key = 'k' }, { __index = function(_, k) return k == 'proxy' and 42 or nil end }))",
      "proxy must be a string" },
    { "a.new { api_key = 'k', timeout = 0/0 }", "greater than 0" },
    { "a.new { api_key = 'a\\0b' }", "NUL" },
    { "a.new { api_key = 'k', access_token = 't' }", "set exactly one" },
    { "a.new { api_kye = 'k' }", "'api_kye' is unknown: did you mean 'api_key'?" },
    { "a.new { api_key = 42 }", "api_key must be a string" },
    { "a.new { api_key = 'k', timeout = '5' }", "timeout must be a number" },
    { "a.new { api_key = 'k', timeout = -1 }", "greater than 0" },
    { "a.new { api_key = 'k', timeout = 1e9 }", "timeout" },
    { "a.new { api_key = 'k', base_url = 'http://api.piggy.eu' }", "cleartext" },
    { "a.new { api_key = 'k', base_url = '' }", "base_url is empty" },
    { "a.new { api_key = 'k', base_url = 'https://h/?q' }", "query" },
    { "a.new { api_key = 'k', base_url = 'https://h/\\r\\nX: y' }", "path" },
  }
  for _, row in ipairs(options) do
    it(row[1], function()
      local message = line_of(row[1] .. "\n", leat)
      assert.truthy(message:find("^user.lua:2: leat.new: "), message)
      assert.truthy(message:find(row[2], 1, true), message)
    end)
  end
end)

describe("a card", function()
  it("shows the service's data and nothing else", function()
    local server, cards = serve()
    local card = leat.assert(cards:create("0042", { contact_uuid = ANN }))
    local names = {}
    for name in pairs(card) do
      names[#names + 1] = name
    end
    table.sort(names)
    assert.same({ "active", "contact", "name", "value" }, names)
    assert.same({ value = "0042", name = "0042", active = true, contact = { uuid = ANN, email = "ann@example.org" } },
      cjson.decode(cjson.encode(card)))
    server:stop()
  end)

  it("is shown by its value, name and contact", function()
    local cards = leat.new { api_key = KEY }.contact_identifiers
    assert.equal("contact identifier 0042, name Gold, contact ann",
      tostring(cards:wrap { value = "0042", name = "Gold", contact = { uuid = "ann" } }))
    assert.equal("contact identifier 0042, no contact", tostring(cards:wrap { value = "0042" }))
    assert.equal("contact identifier 0042, name a [2Jb c, no contact",
      tostring(cards:wrap { value = "0042", name = "a\27[2Jb\226\128\174c", contact = 42 }))
  end)

  it("works while its client's driver is shared", function()
    local server = assert(sandbox.start { api_key = KEY })
    local driver = require("leat.curl").new {}
    local one = leat.new { api_key = KEY, base_url = server.url, driver = driver }
    local two = leat.new { api_key = "other-key", base_url = server.url, driver = driver }
    leat.assert(one.contact_identifiers:create("1"))
    local _, err = two.contact_identifiers:find("1")
    assert.equal("unauthorized", err.kind)
    assert.equal("1", leat.assert(one.contact_identifiers:find("1")).value)
    server:stop()
  end)
end)

describe("lifetimes", function()
  it("may end in any order", function()
    local server, cards, client = serve()
    local card = leat.assert(cards:create("1"))
    client:close()
    client:close()
    local message = line_of("a:delete()\n", card)
    assert.truthy(message:find("^user.lua:2: leat: contact_identifiers.delete: the client is closed"), message)
    message = line_of("a:find('1')\n", cards)
    assert.truthy(message:find("^user.lua:2: .*closed"), message)
    server:stop()
    server:stop()
    assert.equal(1, #server:requests()) -- the requests that it received are kept
    server, cards, client, card = nil, nil, nil, nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
  end)

  if _VERSION == "Lua 5.4" then -- earlier versions have no to-be-closed variables
    it("end with a scope", function()
      local url = load([[
        local leat, sandbox = ...
        local server <close> = sandbox.start()
        local client <close> = leat.new { api_key = server.api_key, base_url = server.url }
        leat.assert(client.contact_identifiers:create("1"))
        return server.url
      ]])(leat, sandbox)
      local _, err = leat.new({ api_key = "sandbox", base_url = url }).contact_identifiers:find("1")
      assert.equal("connection", err.kind)
    end)
  end
end)

describe("the sandbox", function()
  it("refuses what it does not know, at the caller's line", function()
    assert.has_error(function() sandbox.start("x") end)
    assert.truthy(line_of("a.start { contact = {} }\n", sandbox):find("^user.lua:2: .*'contact' is unknown"))
    assert.truthy(line_of("a.start { tls = 1 }\n", sandbox):find("tls must be a boolean", 1, true))
    for code, problem in pairs {
      ["{ contacts = { {} } }"] = "contacts 1 has no uuid",
      ["{ contacts = { 'x' } }"] = "contacts 1 must be a table: { uuid = ... }",
      ["{ contacts = { { uuid = 'x', email = true } } }"] = "email must be a string",
      ["{ contacts = { [2] = { uuid = 'x' } } }"] = "contacts 1: give",
      ["{ cards = { { value = 42 } } }"] = "value must be a string",
      ["{ cards = { { value = 'v', name = 42 } } }"] = "name must be a string",
      ["{ cards = { { value = 'v', inactive = true } } }"] = "'inactive' is unknown",
      ["{ cards = { { value = 'a\\0b' } } }"] = "NUL",
      ["{ port = 70000 }"] = "0 to 65535",
      ["{ port = -1 }"] = "0 to 65535",
    } do
      local message = line_of("a.start " .. code .. "\n", sandbox)
      assert.truthy(message:find("^user.lua:2: leat.sandbox.start"), message)
      assert.truthy(message:find(problem, 1, true), message)
    end
    local none, why = sandbox.start { cards = { { value = "v", contact_uuid = "typo" } } }
    assert.is_nil(none)
    assert.truthy(why:find("names no contact", 1, true))
  end)

  it("says when it can't start", function()
    local first = assert(sandbox.start())
    local second, why = sandbox.start { port = tonumber(first.url:match(":(%d+)/")) }
    assert.is_nil(second)
    assert.truthy(why:find("listen", 1, true))
    first:stop()
  end)

  it("removes its certificate", function()
    local server = assert(sandbox.start { tls = true })
    local name = server.ca_file
    local file = assert(io.open(name))
    file:close()
    server:stop()
    assert.is_nil(io.open(name))
  end)
end)

describe("a driver of one's own", function()
  it("stays open when a client of it is closed", function()
    local server = assert(sandbox.start { api_key = KEY, cards = { { value = "1" } } })
    local driver = require("leat.curl").new()
    local one = leat.new { api_key = KEY, base_url = server.url, driver = driver }
    local two = leat.new { api_key = KEY, base_url = server.url, driver = driver }
    one:close()
    assert.equal("1", leat.assert(two.contact_identifiers:find("1")).value)
    driver:close()
    driver:close()
    local message = line_of("a:find('1')\n", two.contact_identifiers)
    assert.truthy(message:find("^user.lua:2: .*closed"), message)
    local plain = leat.new { api_key = KEY, driver = { perform = print } }
    plain:close() -- there is nothing to close
    server:stop()
  end)

  it("gives a call up that an error interrupts", function()
    local server = assert(sandbox.start { api_key = KEY })
    local client = leat.new { api_key = KEY, base_url = server.url }
    local cards = client.contact_identifiers
    debug.sethook(function()
      error("interrupted")
    end, "", 2000)
    local fine, why = pcall(function()
      for i = 1, 1000 do
        cards:create("card-" .. i)
      end
    end)
    debug.sethook()
    assert.is_false(fine)
    assert.truthy(tostring(why):find("interrupted", 1, true))
    require("leat.core").wait(0.1) -- lets requests that were already sent arrive
    local before = #server:requests()
    assert.is_nil((cards:find("none")))
    assert.equal(before + 1, #server:requests()) -- no leftover request was sent
    server:stop()
  end)

  it("carries the calls", function()
    local performed = 0
    local inner = require("leat.curl").new {}
    local driver = {
      perform = function(_, call)
        performed = performed + 1
        inner:perform(call)
      end,
    }
    local server = assert(sandbox.start { api_key = KEY })
    local client = leat.new { api_key = KEY, base_url = server.url, driver = driver }
    leat.assert(client.contact_identifiers:create("1"))
    assert.equal(1, performed)
    server:stop()
  end)

  it("holds no call whose result was taken", function()
    local calls = {}
    local inner = require("leat.recorder").new { { status = 200, body = { data = { value = "1" } } },
      { status = 400, body = { code = 60003 } } }
    local client = leat.new { api_key = KEY, driver = {
      perform = function(_, call, hooks)
        calls[#calls + 1] = call
        return inner.driver:perform(call, hooks)
      end,
    } }
    assert.equal("1", leat.assert(client.contact_identifiers:find("1")).value)
    assert.equal("not_found", select(2, client.contact_identifiers:find("2")).kind)
    assert.not_equal(calls[1], calls[2]) -- a call that the program keeps must not be recycled
    for i = 1, 2 do
      local fine, why = pcall(calls[i].attempts, calls[i])
      assert.is_false(fine)
      assert.truthy(why:find("call is freed", 1, true), why)
    end
  end)
end)
