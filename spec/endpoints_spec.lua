-- The API's other endpoints, over custom transports, without a server.
local cjson = require("cjson")
local leat = require("leat")
local secrets = dofile("spec/support/secrets.lua")
local new_recorder = require("leat.recorder").new

local BASE = "https://api.piggy.eu/api/v3/oauth/clients"
local UUID = "8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11"

-- Returns a client whose requests get these responses in turn, and a list of its requests.
local function play(responses, options)
  local recorder = new_recorder(responses)
  options = options or {}
  options.api_key, options.driver = secrets.key, recorder.driver
  options.max_attempts = options.max_attempts or 1
  return leat.new(options), recorder.requests
end

local function data(value)
  return { status = 200, body = { data = value, meta = {} } }
end

local function raw(text)
  return { status = 200, body = text }
end

-- Runs code as a user's chunk, and returns the error that it raises.
local function misuse(code, ...)
  local chunk = assert((loadstring or load)("local a, b = ...\n" .. code .. "\n", "@user.lua"))
  local fine, message = pcall(chunk, ...)
  assert.is_false(fine)
  assert.truthy(message:find("^user.lua:2: leat"), message)
  return message
end

describe("contact_identifiers:list", function()
  it("gives all cards of a contact", function()
    local client, requests = play { data {
      { value = "1", name = "A", active = true, default = true, contact = { uuid = UUID } },
      { value = "2", name = cjson.null, active = false },
    }, data { value = "2", name = "B" } }
    local cards, err, info = client.contact_identifiers:list { contact_uuid = UUID }
    assert.is_nil(err)
    assert.equal(200, info.status)
    assert.equal(2, #cards)
    assert.same({ value = "1", name = "A", active = true, default = true, contact = { uuid = UUID } }, cards[1])
    assert.equal("B", leat.assert(cards[2]:update { name = "B" }).name) -- they are cards
    assert.equal("GET", requests[1].method)
    assert.equal(BASE .. "/contacts/" .. UUID .. "/contact-identifiers", requests[1].url)
  end)

  it("encodes the uuid", function()
    local client, requests = play { raw('{"data":[]}') }
    assert.same({}, leat.assert(client.contact_identifiers:list { contact_uuid = "a/b?c#d" }))
    assert.equal(BASE .. "/contacts/a%2Fb%3Fc%23d/contact-identifiers", requests[1].url)
  end)

  it("never means all", function()
    local cards = play({}).contact_identifiers
    assert.truthy(misuse("a:list()", cards):find("contact_uuid is missing", 1, true))
    assert.truthy(misuse("a:list {}", cards):find("contact_uuid is missing", 1, true))
    assert.truthy(misuse("a:list { contact_uuid = '' }", cards):find("contact_uuid is empty", 1, true))
    assert.truthy(misuse("a:list { contact_uuid = '..' }", cards):find("change the path", 1, true))
    assert.truthy(misuse("a:list { contact_uuid = 42 }", cards):find("must be a string", 1, true))
    assert.truthy(misuse("a:list('x')", cards):find("must be a table", 1, true))
    assert.truthy(misuse("a:list { uuid = 'x' }", cards):find("'uuid' is unknown (known: contact_uuid)", 1, true))
  end)

  it("refuses what is not a list of that contact's cards", function()
    for _, response in ipairs { data { value = "1" }, data { { name = "x" } }, data { "x" },
      data { { value = "1", contact = { uuid = "another" } } }, { status = 200, body = "" } } do
      local client = play { response }
      local list, err = client.contact_identifiers:list { contact_uuid = UUID }
      assert.is_nil(list)
      assert.equal("protocol", err.kind)
    end
  end)
end)

describe("client:check", function()
  it("tells whose key it is", function()
    local client, requests = play { data { company = "Krabs", id = 7, uuid = "u" } }
    assert.same({ company = "Krabs", id = 7, uuid = "u" }, leat.assert(client:check()))
    assert.equal("GET", requests[1].method)
    assert.equal(BASE, requests[1].url)
  end)

  it("fails like any call", function()
    local client = play { { status = 401, body = { message = "Unauthenticated." } }, data("x") }
    local who, err = client:check()
    assert.is_nil(who)
    assert.equal("unauthorized", err.kind)
    assert.equal("client.check", err.operation)
    assert.equal("protocol", select(2, client:check()).kind)
  end)
end)

describe("client:request", function()
  it("reads", function()
    local client, requests = play { { status = 200, body = { data = { uuid = "u" }, meta = { page = 1 } } } }
    local contact, err, info = client:request("GET", "/contacts/find",
      { query = { email = "a+b@c.d", limit = 10, all = true, half = 0.5 }, headers = { ["X-One"] = "1" } })
    assert.same({ uuid = "u" }, contact)
    assert.is_nil(err)
    assert.same({ page = 1 }, info.meta)
    assert.equal(BASE .. "/contacts/find?all=true&email=a%2Bb%40c.d&half=0.5&limit=10", requests[1].url)
    assert.equal("1", requests[1].headers["X-One"])
    assert.is_nil(requests[1].headers["Content-Type"])
    assert.equal("", requests[1].body)
  end)

  it("writes tables and strings", function()
    local client, requests = play { data {}, data {}, { status = 204 } }
    leat.assert(client:request("POST", "/contacts", { body = { email = "a@b.c", n = 42, none = leat.null } }))
    leat.assert(client:request("PUT", "/x", { body = "a=b", headers = { ["content-type"] = "text/plain" } }))
    assert.is_true(leat.assert(client:request("DELETE", "/x")))
    assert.same({ email = "a@b.c", n = 42, none = cjson.null }, cjson.decode(requests[1].body))
    assert.equal("application/json", requests[1].headers["Content-Type"])
    assert.equal("a=b", requests[2].body)
    assert.equal("text/plain", requests[2].headers["content-type"])
    assert.is_nil(requests[2].headers["Content-Type"])
  end)

  it("gives what has no envelope as it is, and what is empty as true", function()
    local client = play { raw('{"token_type":"Bearer"}'), raw("[1,2]"), raw(""), raw('{"data":null}') }
    assert.same({ token_type = "Bearer" }, leat.assert(client:request("GET", "/a")))
    assert.same({ 1, 2 }, leat.assert(client:request("GET", "/a")))
    assert.is_true(leat.assert(client:request("POST", "/a")))
    assert.is_true(leat.assert(client:request("POST", "/a")))
  end)

  it("knows that a lost response to a write is an unknown outcome", function()
    local client = play { { kind = "timeout", sent = "maybe" }, { kind = "timeout", sent = "maybe" } }
    assert.is_true(select(2, client:request("POST", "/a")).outcome_unknown)
    assert.is_false(select(2, client:request("GET", "/a")).outcome_unknown)
  end)

  local client = play {}
  for code, problem in pairs {
    ["a:request()"] = "must be strings",
    ["a.request('GET', '/x')"] = "with a colon",
    ["a:request('GET', 'x')"] = "must begin with a slash",
    ["a:request('GET', '/a/../b')"] = "dot segment",
    ["a:request('GET', '/a//b')"] = "empty segment",
    ["a:request('GET', '/a?b=c')"] = "pass a query separately",
    ["a:request('GET', '/a b')"] = "encoded",
    ["a:request('G T', '/a')"] = "method",
    ["a:request('GET\\r\\n', '/a')"] = "method",
    ["a:request('GET', '/a/%2e%2E/b')"] = "dot segment",
    ["a:request('GET', '/%zz')"] = "encoded",
    ["a:request('DELETE', '/contacts/123\\0/notes/9')"] = "the path contains a NUL byte",
    ["a:request('GET\\0X', '/a')"] = "the method contains a NUL byte",
    ["a:request('GET', '/a', { query = { ['all\\0x'] = 'x' } })"] = "a name in query contains a NUL byte",
    ["a:request('GET', '/a', { query = { b = 'x', ['b\\0c'] = 'x' } })"] = "a name in query contains a NUL byte",
    ["a:request('GET', '/a', { query = { b = 'x\\0y' } })"] = "b contains a NUL byte",
    ["a:request('GET', '/a', { headers = { ['X-One\\0Y'] = 'x' } })"] = "a name in headers contains a NUL byte",
    ["a:request('GET', '/a', { headers = { ['X-One'] = 'x\\0y' } })"] = "control character",
    ["a.contact_identifiers:find('1\\0')"] = "contains a NUL byte",
    ["a.contact_identifiers:update('1', { ['name\\0x'] = 'x' })"] = "the name of an option contains a NUL byte",
    ["a.contact_identifiers:update('1', { name = 'x\\0' })"] = "contains a NUL byte",
    ["a:request('GET', '/a', { params = {} })"] = "'params' is unknown",
    ["a:request('GET', '/a', { query = 'x' })"] = "query must be a table",
    ["a:request('GET', '/a', { query = { x = {} } })"] = "x is a table",
    ["a:request('GET', '/a', { query = { 'x' } })"] = "names are strings",
    ["a:request('GET', '/a', { query = { [''] = 'x' } })"] = "not a valid name",
    ["a:request('GET', '/a', { headers = { Authorization = 'x' } })"] = "sets itself",
    ["a:request('GET', '/a', { headers = { ['transfer-encoding'] = 'x' } })"] = "sets itself",
    ["a:request('GET', '/a', { headers = { ['Proxy-X'] = 'x' } })"] = "sets itself",
    ["a:request('GET', '/a', { headers = { X = 'a\\r\\nY: b' } })"] = "line end",
    ["a:request('GET', '/a', { headers = { ['X:'] = 'a' } })"] = "not a valid header name",
    ["a:request('POST', '/a', { body = 42 })"] = "body must be a table",
    ["a:request('POST', '/a', { body = { f = print } })"] = "can't be JSON",
    ["a:request('POST', '/a', { body = { id = 123456789012345 } })"] = "more than 14 digits",
    ["local t = {} t.a, t.b = t, t a:request('POST', '/a', { body = t })"] = "can't be JSON",
  } do
    it("refuses " .. code, function()
      local message = misuse(code, client)
      assert.truthy(message:find(problem, 1, true), message)
    end)
  end
end)

describe("client:with", function()
  it("is the same client with other settings", function()
    local client, requests = play({ data { value = "1" }, data { value = "1" }, data { value = "1" }, data {} },
      { timeout = 20 })
    local view = client:with { timeout = 2 }
    local card = leat.assert(view.contact_identifiers:find("1"))
    leat.assert(card:update { name = "x" })
    leat.assert(client.contact_identifiers:find("1"))
    leat.assert(view:with { connect_timeout = 1 }:request("GET", "/x"))
    assert.same({ 2, 2, 20, 2 },
      { requests[1].timeout, requests[2].timeout, requests[3].timeout, requests[4].timeout })
    view:close()
    assert.truthy(misuse("a:find('1')", view.contact_identifiers):find("closed", 1, true))
    assert.truthy(misuse("a:check()", view):find("closed", 1, true))
    assert.truthy(misuse("a:request('GET', '/')", view):find("closed", 1, true))
  end)

  it("refuses what it does not know", function()
    local client = play {}
    assert.truthy(misuse("a:with { api_key = 'x' }", client):find("'api_key' is unknown", 1, true))
    assert.truthy(misuse("a:with { timeout = 0 }", client):find("greater than 0", 1, true))
    assert.truthy(misuse("a:with { timeout = 30000 }", client):find("an hour at most, not 30000", 1, true))
    assert.truthy(misuse("a:with { queue_timeout = 0 }", client):find("greater than 0", 1, true))
    local view = client:with { timeout = 1 }
    client:close()
    assert.truthy(misuse("a:find('1')", view.contact_identifiers):find("closed", 1, true))
    client = play {}
    assert.truthy(misuse("a:with()", client):find("in a table", 1, true))
    for _, code in ipairs { "a.with {}", "a.close()", "a.rate_limit()" } do
      assert.truthy(misuse(code, client):find("with a colon", 1, true))
    end
  end)
end)

describe("contact_identifiers:wrap", function()
  it("makes a card of what came out of a cache", function()
    local client, requests = play { data { value = "1", name = "New" } }
    local fields = cjson.decode('{"value":"1","name":"Old","link":"https://x"}')
    local card = client.contact_identifiers:wrap(fields)
    assert.equal(fields, card)
    assert.equal(card, leat.assert(card:update { name = "New" }))
    assert.equal("New", card.name)
    assert.equal("PUT", requests[1].method)
    assert.is_nil(rawget(card, "link"))
  end)

  it("refuses what is none", function()
    local cards = play({}).contact_identifiers
    assert.truthy(misuse("a:wrap {}", cards):find("a value, a string", 1, true))
    assert.truthy(misuse("a:wrap { value = 1 }", cards):find("a value, a string", 1, true))
    assert.truthy(misuse("a:wrap()", cards):find("a value, a string", 1, true))
    assert.truthy(misuse("a.wrap {}", cards):find("with a colon", 1, true))
  end)
end)

describe("what the service sends", function()
  local function find(body)
    local client = play { raw(body) }
    return leat.assert(client.contact_identifiers:find("1"))
  end

  it("is kept, all of it", function()
    local card = find('{"data":{"value":"1",' ..
      '"contact":{"uuid":"u","credit_balance":{"balance":12},"tags":["a",null]},' ..
      '"new_field":{"deep":[1,2.5,true]}}}')
    assert.same({ value = "1",
      contact = { uuid = "u", credit_balance = { balance = 12 }, tags = { "a", leat.null } },
      new_field = { deep = { 1, 2.5, true } } }, card)
  end)

  it("has exact integers, or their digits", function()
    local card = find('{"data":{"value":"1","a":9007199254740991,"b":9007199254740993,"c":-9223372036854775808}}')
    assert.equal(9007199254740991, card.a)
    local math_type = rawget(math, "type")
    if math_type then
      assert.equal("integer", math_type(card.a))
      assert.equal(9007199254740992 + 1, card.b)
      assert.equal(-9223372036854775807 - 1, card.c)
    else
      assert.equal("9007199254740993", card.b)
      assert.equal("-9223372036854775808", card.c)
    end
  end)

  it("has the text of a number that fits none", function()
    local card = find('{"data":{"value":"1","a":18446744073709551616,"b":[1e400,-1E+999],"c":1e308}}')
    assert.equal("18446744073709551616", card.a)
    assert.same({ "1e400", "-1E+999" }, card.b)
    assert.equal(1e308, card.c)
  end)

  it("has the last of what comes twice, where nothing reads it", function()
    local client = play { raw('\239\187\191{"data":{"value":"1","x":1,"y":2,"x":{"z":1,"z":3},"y":null},' ..
      '"meta":{"a":1,"a":2}}') }
    local card, _, info = client.contact_identifiers:find("1")
    assert.same({ value = "1", x = { z = 3 } }, card)
    assert.same({ a = 2 }, info.meta)
  end)

  it("is in the service's spelling", function()
    local client = play { data { value = "0042A" } }
    assert.equal("0042A", leat.assert(client.contact_identifiers:find("0042a ")).value)
  end)

  it("does not hide a method", function()
    local card = find('{"data":{"value":"1","link":"https://x","delete":1,"unlink":null,"update":{}}}')
    assert.equal("function", type(card.link))
    assert.equal("function", type(card.delete))
    assert.same({ value = "1" }, card)
  end)

  it("tells the rate that is left", function()
    local client = play {
      { status = 200, body = { data = { value = "1" } }, headers = { ["x-ratelimit-limit"] = "5000",
        ["X-RateLimit-Remaining"] = "0" } },
      { status = 200, body = { data = { value = "1" } }, headers = { ["X-RateLimit-Remaining"] = "-1" } },
      { status = 200, body = { data = { value = "1" } }, headers = { ["X-RateLimit-Remaining"] = "7" } },
    }
    local function rate()
      return (select(3, client.contact_identifiers:find("1"))).rate_limit
    end
    assert.same({ limit = 5000, remaining = 0 }, rate())
    assert.is_nil(rate())
    assert.same({ remaining = 7 }, rate())
  end)
end)

describe("headers of one's own", function()
  it("go with every request", function()
    local client, requests = play({ data { value = "1" }, data {} },
      { headers = { ["X-Tenant"] = "a b", ["Accept-Language"] = "nl" }, user_agent = "shop/1.0" })
    leat.assert(client.contact_identifiers:create("1"))
    leat.assert(client:request("GET", "/x", { headers = { ["X-More"] = "1" } }))
    for i = 1, 2 do
      assert.equal("a b", requests[i].headers["X-Tenant"])
      assert.equal("nl", requests[i].headers["Accept-Language"])
      assert.equal("shop/1.0", requests[i].headers["User-Agent"])
      assert.equal("application/json", requests[i].headers["Accept"])
    end
    assert.equal("application/json", requests[1].headers["Content-Type"])
    assert.equal("1", requests[2].headers["X-More"])
  end)

  for code, problem in pairs {
    ["a.new { api_key = 'k', headers = { Host = 'x' } }"] = "Host is a header that the library sets itself",
    ["a.new { api_key = 'k', headers = { ['Content-Type'] = 'x' } }"] = "sets itself",
    ["a.new { api_key = 'k', headers = { ['X\\r\\nY'] = 'x' } }"] = "not a valid header name",
    ["a.new { api_key = 'k', headers = { X = 'a\\nb' } }"] = "line end",
    ["a.new { api_key = 'k', headers = { 'X: y' } }"] = "names are strings",
    ["a.new { api_key = 'k', headers = 'X: y' }"] = "headers must be a table or a function, not a string",
    ["a.new { api_key = 'k', headers = 7 }"] = "headers must be a table or a function, not a number",
    ["a.new { api_key = 'k', transport = 'x' }"] = "transport must be a function",
    ["a.new { api_key = 'k', transport = print, driver = { perform = print } }"] = "both given",
    ["a.new { api_key = 'k', transport = print, proxy = '' }"] = "transport is given",
    ["a.new { api_key = 'k', shared = 'x' }"] = "shared is for the workers of OpenResty or nginx",
    ["a.new { api_key = 'k', account = 'x' }"] = "account is for shared",
    ["a.new { api_key = 'k', fleet = { host = 'x', machines = 2 } }"] = "fleet needs shared",
    ["a.new { api_key = 'k', fleet = { hosts = 'x' } }"] = "fleet: option 'hosts' is unknown: did you mean 'host'?",
    ["a.new { api_key = 'k', fleet = { machines = '2' } }"] = "fleet: machines must be a number",
  } do
    it("are refused: " .. code, function()
      local message = misuse(code, leat)
      assert.truthy(message:find(problem, 1, true), message)
    end)
  end
end)

describe("headers from a function", function()
  local LOST = { kind = "timeout", sent = "maybe" }

  -- Returns a client whose calls are numbered in a header, and a list of these numbers in the order of its requests.
  local function play_numbered(responses)
    local calls = 0
    local client, requests = play(responses, { max_attempts = 3, headers = function()
      calls = calls + 1
      return { traceparent = calls }
    end })
    return client, function()
      local numbers = {}
      for i, request in ipairs(requests) do
        numbers[i] = request.headers["traceparent"] or "none"
        assert.equal("[token]", request.headers["Authorization"])
        assert.equal("application/json", request.headers["Accept"])
      end
      return table.concat(numbers, " "), calls
    end
  end

  it("are asked for once for each call, and go with all requests of the call", function()
    local client, numbers = play_numbered { LOST, data { value = "1" }, LOST, data { value = "1" }, data {}, data {} }
    leat.assert(client.contact_identifiers:find("1"))
    leat.assert(client.contact_identifiers:create("1"))
    leat.assert(client:check())
    leat.assert(client:with({ timeout = 1 }):request("GET", "/x"))
    assert.same({ "1 1 2 2 3 4", 4 }, { numbers() })
  end)

  it("are asked for by cards, and by each step of ensure", function()
    local exists = { status = 400, body = { code = 60006, message = "It exists." } }
    local client, numbers = play_numbered { data { value = "1" }, data { value = "1", name = "N" }, exists,
      data { value = "1" }, data { value = "1", contact = { uuid = "u" } } }
    local card = leat.assert(client.contact_identifiers:find("1"))
    leat.assert(card:update { name = "N" })
    leat.assert(client.contact_identifiers:ensure("1", { contact_uuid = "u" }))
    assert.same({ "1 2 3 4 5", 5 }, { numbers() })
  end)

  it("are none if the function returns nil, or an empty table", function()
    local returned
    local client, requests = play({ data { value = "1" }, data { value = "1" } },
      { headers = function() return returned end })
    leat.assert(client.contact_identifiers:create("1"))
    returned = {}
    leat.assert(client.contact_identifiers:create("1"))
    assert.same(requests[1].headers, requests[2].headers)
  end)

  it("do not go with token requests", function()
    local recorder = new_recorder { { status = 200, body = { access_token = "t1", expires_in = 60 } },
      data { value = "1" } }
    local client = leat.new { client_id = "id", client_secret = secrets.secret, driver = recorder.driver,
      headers = function() return { traceparent = "00-1-2-01" } end }
    leat.assert(client.contact_identifiers:find("1"))
    assert.is_nil(recorder.requests[1].headers["traceparent"])
    assert.equal("00-1-2-01", recorder.requests[2].headers["traceparent"])
  end)

  it("are added to those of a request", function()
    local client, requests = play({ data {} }, { headers = function() return { ["X-One"] = true } end })
    leat.assert(client:request("PUT", "/x",
      { body = "a", headers = { ["X-Two"] = 2, ["Content-Type"] = "text/plain" } }))
    assert.equal("true", requests[1].headers["X-One"])
    assert.equal("2", requests[1].headers["X-Two"])
    assert.equal("text/plain", requests[1].headers["Content-Type"])
  end)

  it("raise the function's error, and nothing is sent", function()
    local client, requests = play({}, { headers = function() error({ reason = "no span" }) end })
    for _, call in ipairs { function() client.contact_identifiers:find("1") end,
      function() client.contact_identifiers:create("1") end, function() client:request("GET", "/x") end } do
      local fine, why = pcall(call)
      assert.is_false(fine)
      assert.same({ reason = "no span" }, why)
    end
    assert.same({}, requests)
  end)

  it("raise an error that says so if a step of ensure was sent before", function()
    local exists = { status = 400, body = { code = 60006, message = "It exists." } }
    local steps = 0
    local client, requests = play({ exists, data { value = "1" } }, { headers = function()
      steps = steps + 1
      return steps < 3 and {} or error("no span", 0)
    end })
    assert.has_error(function() client.contact_identifiers:ensure("1", { contact_uuid = "u" }) end, "no span")
    assert.equal(2, #requests)
  end)

  it("are not asked for if the arguments are wrong, or the client is closed", function()
    local client, numbers = play_numbered {}
    misuse("a:find(1)", client.contact_identifiers)
    misuse("a:request('GET', 'x')", client)
    client:close()
    misuse("a:find('1')", client.contact_identifiers)
    assert.same({ "", 0 }, { numbers() })
  end)

  for headers, problem in pairs {
    ["{ Authorization = 'x' }"] = "header Authorization is a header that the library sets itself",
    ["{ ['content-type'] = 'x' }"] = "header Content-Type is a header that the library sets itself",
    ["{ host = 'x' }"] = "sets itself",
    ["{ ['Content-Length'] = 7 }"] = "sets itself",
    ["{ ['Transfer-Encoding'] = 'x' }"] = "sets itself",
    ["{ ['User-Agent'] = 'x' }"] = "sets itself",
    ["{ X = 'a\\r\\nY: b' }"] = "line end",
    ["{ X = 'a\\0b' }"] = "control character",
    ["{ ['X\\0Y'] = 'a' }"] = "a name in headers contains a NUL byte",
    ["{ ['X Y'] = 'a' }"] = "not a valid header name",
    ["{ X = ('x'):rep(8192) }"] = "is too long",
    ["{ 'X: y' }"] = "headers: names are strings",
    ["{ X = {} }"] = "headers: names are strings",
    ["'X: y'"] = "headers must be a table",
    ["false"] = "headers must be a table",
  } do
    it("are refused at the caller's line: " .. headers, function()
      local code = "return " .. headers
      local client, requests = play({}, { headers = assert((loadstring or load)(code)) })
      local card = client.contact_identifiers:wrap { value = "1" }
      for name, call in pairs { ["contact_identifiers.find"] = "a.contact_identifiers:find('1')",
        ["contact_identifiers.create"] = "a.contact_identifiers:create('1')",
        ["contact_identifiers.ensure"] = "a.contact_identifiers:ensure('1')",
        ["client.request"] = "a:request('GET', '/x')", ["client.check"] = "a:check()",
        ["contact_identifiers.delete"] = "b:delete()" } do
        local message = misuse(call, client, card)
        assert.truthy(message:find("leat: " .. name .. ": ", 1, true), message)
        assert.truthy(message:find(problem, 1, true), message)
      end
      assert.same({}, requests)
    end)
  end

  it("are refused if there are too many, with those of a request", function()
    local count = 16
    local client = play({ data { value = "1" } }, { headers = function()
      local headers = {}
      for i = 1, count do
        headers["X-" .. i] = i
      end
      return headers
    end })
    assert.truthy(misuse("a:request('GET', '/x', { headers = { Y = 1 } })", client):find("exceeds the limit", 1, true))
    leat.assert(client.contact_identifiers:find("1"))
    count = 17
    assert.truthy(misuse("a.contact_identifiers:find('1')", client):find("exceeds the limit", 1, true))
  end)
end)

describe("a transport", function()
  local function client_of(transport)
    return leat.new { api_key = secrets.key, transport = transport, max_attempts = 1 }.contact_identifiers
  end

  it("gets the request as it would be sent", function()
    local seen
    client_of(function(request)
      seen = request
      return 400, {}, '{"message":"x","code":60006}'
    end):create("1", { name = "N" })
    assert.equal("POST", seen.method)
    assert.equal(BASE .. "/contact-identifiers", seen.url)
    assert.equal("Bearer " .. secrets.key, seen.headers["Authorization"]) -- the transport needs it in order to send it
    assert.equal('{"contact_identifier_value":"1","contact_identifier_name":"N"}', seen.body)
    assert.truthy(seen.timeout > 29 and seen.timeout <= 30, seen.timeout)
    assert.is_nil(seen.deadline)
  end)

  it("fails as it says", function()
    local function create(...)
      local results = { ... }
      return select(2, client_of(function()
        return nil, results[1]
      end):create("1"))
    end
    local err = create { kind = "tls", sent = "no", message = "no trust" }
    assert.same({ "tls", "no", "no trust", false }, { err.kind, err.sent, err.message, err.outcome_unknown })
    err = create { kind = "timeout" }
    assert.same({ "timeout", "maybe", true }, { err.kind, err.sent, err.outcome_unknown })
    err = create("it broke")
    assert.same({ "connection", "maybe", "it broke" }, { err.kind, err.sent, err.message })
    err = create()
    assert.equal("connection", err.kind)
    err = create("the key was " .. secrets.key .. ", wasn't it")
    assert.equal("the key was [token], wasn't it", err.message)
  end)

  it("is told to the end, NULs and all", function()
    local failure
    local client = leat.new { api_key = secrets.key, max_attempts = 1, transport = function() return nil, failure end }
    failure = { kind = "timeout", message = "late\0, by an hour" }
    local _, err = client.contact_identifiers:create("1")
    assert.equal("late , by an hour", err.message)
    err.message = "mine\0 and more"
    assert.truthy(tostring(err):find("mine  and more", 1, true), tostring(err))
    for _, cut in ipairs { { kind = "timeout\0" }, { kind = "timeout", sent = "no\0" } } do
      failure = cut
      local _, wrong = pcall(client.contact_identifiers.find, client.contact_identifiers, "1")
      assert.truthy(tostring(wrong):find("contains a NUL byte", 1, true), wrong)
    end
  end)

  it("is held to max_body", function()
    local body = '{"data":{"value":"1"}}'
    local function try(most)
      local client = leat.new { api_key = secrets.key, max_attempts = 1, max_body = most,
        transport = function() return 200, {}, body end }
      return client.contact_identifiers:create("1")
    end
    assert.equal("1", leat.assert(try(#body)).value)
    local _, err = try(#body - 1)
    assert.equal("too_large", err.kind)
    assert.is_true(err.outcome_unknown)
  end)

  it("is told when it returns what is no response", function()
    for _, results in ipairs { { "200", {}, "" }, { 99, {}, "" }, { 200.5, {}, "" }, { 200, "x", "" },
      { 200, {}, 42 }, { 200, { 1 }, "" }, { nil, { kind = "no such kind" } } } do
      local cards = client_of(function()
        return results[1], results[2], results[3]
      end)
      assert.has_error(function()
        cards:find("1")
      end)
    end
  end)

  it("is called again after a wait in earnest", function()
    local asked = 0
    local client = leat.new { api_key = secrets.key, retry_base = 0.01, transport = function()
      asked = asked + 1
      if asked == 1 then
        return 503, { ["Retry-After"] = "1" }, ""
      end
      return 200, nil, '{"data":{"value":"1"}}'
    end }
    local now = dofile("spec/support/clock.lua")
    local begun = now()
    assert.equal("1", leat.assert(client.contact_identifiers:find("1")).value)
    assert.truthy(now() - begun >= 0.9, now() - begun)
  end)

  it("may raise: the client works afterwards", function()
    local broken = true
    local cards = client_of(function()
      if broken then
        error("oh")
      end
      return 200, nil, '{"data":{"value":"1"}}'
    end)
    assert.has_error(function()
      cards:find("1")
    end)
    broken = false
    assert.equal("1", leat.assert(cards:find("1")).value)
  end)
end)

describe("a recorder", function()
  it("says what it was asked beyond its script", function()
    local client = play {}
    local fine, message = pcall(client.contact_identifiers.find, client.contact_identifiers, "1")
    assert.is_false(fine)
    assert.truthy(message:find("no entry for request 1: GET " .. BASE, 1, true), message)
  end)

  it("says what can't be encoded of its script", function()
    local cards = play({ { status = 200, body = { data = print } } }).contact_identifiers
    local fine, message = pcall(cards.find, cards, "1")
    assert.is_false(fine)
    assert.truthy(message:find("leat.recorder: ", 1, true), message)
  end)

  it("shows no token, and takes functions and more responses", function()
    local recorder = new_recorder()
    local client = leat.new { api_key = secrets.key, driver = recorder.driver }
    recorder.script[1] = function(request)
      assert.equal("GET", request.method)
      return 200, {}, '{"data":{"value":"1"}}'
    end
    leat.assert(client.contact_identifiers:find("1"))
    assert.equal("[token]", recorder.requests[1].headers["Authorization"])
  end)
end)

describe("a transport, or a token function, that yields", function()
  local suspends = coroutine.status((function()
    local inner = coroutine.create(function() pcall(coroutine.yield) end)
    coroutine.resume(inner)
    return inner
  end)()) == "suspended"

  -- Finds cards in coroutines, which a loop resumes in turn. Returns what each returned or raised.
  local function find_all(count, options, of)
    local transport = require("leat.transport")
    options.driver = transport.new(function(request)
      if options.transport_yields then coroutine.yield() end
      local value = request.url:match("value=(%w+)")
      if options.fails == value then
        options.fails = nil
        return 500, { ["Content-Type"] = "application/json" }, "{}"
      end
      return 200, { ["Content-Type"] = "application/json" }, ('{"data":{"value":"%s"}}'):format(value)
    end, of)
    local client = leat.new { driver = options.driver, token = options.token, api_key = options.api_key,
      retry_base = 0.001, timeout = 2 }
    local threads, results = {}, {}
    for i = 1, count do
      threads[i] = coroutine.create(function()
        local card, err = client.contact_identifiers:find(tostring(i))
        results[i] = card and card.value or err
      end)
    end
    local alive = true
    while alive do
      alive = false
      for i, thread in ipairs(threads) do
        if coroutine.status(thread) == "suspended" then
          local fine, why = coroutine.resume(thread)
          results[i] = results[i] or not fine and why or nil
          alive = alive or coroutine.status(thread) == "suspended"
        end
      end
    end
    return results
  end

  local function asks(counted)
    return function()
      counted.asked = (counted.asked or 0) + 1
      coroutine.yield()
      coroutine.yield()
      return "token"
    end
  end

  it("has its calls wait by a sleep that yields too", function()
    if not suspends then return end
    local counted, slept = {}, 0
    local function sleep(seconds)
      assert.truthy(seconds <= 0.1, seconds)
      slept = slept + 1
      coroutine.yield()
    end
    assert.same({ "1", "2", "3" }, find_all(3, { token = asks(counted) }, { sleep = sleep }))
    assert.equal(1, counted.asked)
    assert.truthy(slept >= 2)
    local found = find_all(3, { api_key = "k", transport_yields = true, fails = "2" }, { sleep = sleep })
    assert.same({ "1", "2", "3" }, found)
  end)

  it("is refused a call that would block its loop otherwise", function()
    local begun, refusal = os.time(), "would block the loop that is to resume it: give a sleep"
    local results = find_all(2, { token = asks {} })
    if suspends then
      assert.equal("1", results[1])
      assert.truthy(results[2]:find(refusal, 1, true), tostring(results[2]))
      results = find_all(2, { api_key = "k", transport_yields = true, fails = "2" })
      assert.equal("1", results[1])
      assert.equal("2", find_all(2, { api_key = "k", transport_yields = true })[2])
    else -- Lua 5.1 can't suspend what is inside of pcall
      assert.truthy(results[1]:find("yield", 1, true) and results[2]:find("yield", 1, true))
    end
    assert.truthy(os.time() - begun < 2)
  end)

  it("is known to be suspended although its token function made a call first", function()
    local driver
    local function transport() return 200, { ["Content-Type"] = "application/json" }, '{"data":{"value":"1"}}' end
    driver = require("leat.transport").new(transport)
    local vault = leat.new { api_key = "k", driver = driver }
    local client = leat.new { driver = driver, timeout = 1, token = function()
      leat.assert(vault:check())
      coroutine.yield()
      return "token"
    end }
    local first = coroutine.create(function() return client:check() end)
    local begun, fine, why = os.time(), coroutine.resume(first)
    if suspends then
      assert.equal("suspended", coroutine.status(first))
      fine, why = coroutine.resume(coroutine.create(function() return client:check() end))
      assert.is_false(fine)
      assert.truthy(why:find("would block the loop", 1, true), why)
    else
      assert.is_false(fine)
      assert.truthy(why:find("yield", 1, true), why)
    end
    assert.truthy(os.time() - begun < 2)
  end)

  it("that uses its own client is told so", function()
    local client
    client = leat.new { timeout = 2, token = function() return client:check() and "token" end,
      transport = function() return 200, { ["Content-Type"] = "application/json" }, '{"data":{}}' end }
    local begun = os.time()
    local function check() client:check() end
    for _ = 1, 2 do
      local fine, why = pcall(check)
      assert.is_false(fine)
      local told = "^spec/endpoints_spec.lua:%d+: leat: client.check: the token function uses its own client"
      assert.truthy(why:find(told), why)
      fine, why = coroutine.resume(coroutine.create(check))
      assert.is_false(fine)
      assert.truthy(why:find("the token function uses its own client", 1, true), why)
    end
    assert.truthy(os.time() - begun < 2)
  end)

  it("or raises nil, raises that", function()
    for _, raised in ipairs { "nil", "false" } do
      local why = nil
      if raised == "false" then why = false end
      local client = leat.new { api_key = "k", transport = function() error(why) end }
      assert.same({ n = 2, false, why }, { n = select("#", pcall(client.check, client)), pcall(client.check, client) })
    end
  end)
end)

describe("contact_identifiers:validate", function()
  local client, requests = play {}
  local cards = client.contact_identifiers

  it("accepts what the operation accepts, and sends nothing", function()
    for _, arguments in ipairs { { "find", "1" }, { "create", "1", { name = "N", contact_uuid = UUID } },
      { "ensure", "1", { name = "N" } }, { "link", "1", UUID }, { "unlink", "1", { expect = false } },
      { "update", "1", { active = false } }, { "delete", "1" }, { "list", { contact_uuid = UUID } } } do
      assert.is_true(cards:validate((table.unpack or unpack)(arguments))) -- luacheck: ignore
    end
    assert.same({}, requests)
  end)

  it("says what the operation would raise", function()
    for _, arguments in ipairs { { "find", "" }, { "find", 7 }, { "find" }, { "find", "a\0b" },
      { "create", "1", { nam = "N" } }, { "create", "1", { contact_uuid = "" } }, { "link", "1" }, { "link", "1", "" },
      { "unlink", "1", { expect = true } }, { "update", "1" }, { "update", "1", { active = "no" } },
      { "delete", "1", 2, 3 }, { "list", {} }, { "ensure", "1", { expect = UUID } } } do
      local fine, wrong = cards:validate((table.unpack or unpack)(arguments)) -- luacheck: ignore
      assert.is_nil(fine)
      local name = table.remove(arguments, 1)
      local _, why = pcall(cards[name], cards, (table.unpack or unpack)(arguments)) -- luacheck: ignore
      assert.equal(("leat: contact_identifiers.%s: %s"):format(name, wrong), why:match("leat: .*"))
    end
    assert.same({}, requests)
  end)

  it("raises what is no operation", function()
    local said = misuse("a:validate('get', '1')", cards)
    assert.truthy(said:find("contact_identifiers.validate: there is no operation 'get'", 1, true), said)
    misuse("a:validate('validate')", cards)
    misuse("a:validate()", cards)
    misuse("a.validate('find', '1')", cards)
  end)
end)
