-- The sandbox as users have it in their tests: it does what its documentation says.
local leat = require("leat")
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")

local KINDS = {
  "not_found", "inactive", "already_exists", "already_linked", "not_linked", "contact_not_found", "invalid_input",
  "quota_reached", "unauthorized", "forbidden", "rate_limited", "server", "maintenance", "redirect", "protocol",
  "connection", "timeout",
}

local function serve(options)
  options = options or {}
  options.contacts = options.contacts or { { uuid = "ann", email = "ann@example.org" }, { uuid = "bob" } }
  options.cards = options.cards or { { value = "1", contact_uuid = "ann" }, { value = "2" } }
  return assert(sandbox.start(options))
end

-- With one attempt only, the test sees each response of the sandbox as it is.
local function client_of(server, options)
  options = options or {}
  if not options.client_id then
    options.api_key = server.api_key
  end
  options.base_url = options.base_url or server.url
  options.ca_file = server.ca_file
  options.timeout = options.timeout or 5
  options.max_attempts = 1
  return leat.new(options)
end

local function wait(seconds)
  local server = assert(sandbox.start())
  server:fault { delay = seconds }
  client_of(server):check()
  server:stop()
end

-- Runs code as a user's chunk, and returns the error that it raises.
local function misuse(code, ...)
  local chunk = assert((loadstring or load)("local a, b = ...\n" .. code .. "\n", "@user.lua"))
  local fine, message = pcall(chunk, ...)
  assert.is_false(fine)
  assert.truthy(tostring(message):find("^user.lua:2: leat%.sandbox"), message)
  return message
end

describe("faults", function()
  local server, client, cards

  before_each(function()
    server = serve()
    client = client_of(server)
    cards = client.contact_identifiers
  end)
  after_each(function()
    server:stop()
  end)

  for _, kind in ipairs(KINDS) do
    it("of the kind " .. kind .. " make a client report that kind", function()
      client = client_of(server, { timeout = kind == "timeout" and 0.3 or 5 })
      server:fault { kind = kind }
      local card, err = client.contact_identifiers:find("1")
      assert.is_nil(card)
      assert.equal(kind, err.kind)
      assert.truthy(cards:find("1")) -- the fault applies only once
    end)
  end

  it("match by operation, occurrence and card", function()
    assert.truthy(cards:find("1"))
    assert.equal(1, server:fault { operation = "find", nth = 2, times = 2, status = 500 })
    assert.equal(2, server:fault { value = "2", code = 7002, times = math.huge })
    local seen = {}
    for i, value in ipairs { "1", "2", "1", "1", "1", "2" } do
      local _, err = cards:find(value)
      seen[i] = err and (err.code or err.status) or "fine"
    end
    assert.same({ "fine", 500, 500, "fine", "fine", 7002 }, seen)
    local matched = {}
    for i, request in ipairs(server:requests()) do
      matched[i] = request.fault or 0
    end
    assert.same({ 0, 0, 1, 1, 0, 0, 2 }, matched)
    server:clear_faults()
    assert.truthy(cards:find("2"))
  end)

  it("may be options of start, and are restored by a reset", function()
    server:stop()
    server = serve { faults = { { operation = "check", status = 503, retry_after = 3 }, { operation = "list",
      kind = "forbidden" } } }
    for _ = 1, 2 do
      client = client_of(server)
      local _, err = client:check()
      assert.equal("maintenance", err.kind)
      assert.equal(3, err.retry_after)
      _, err = client.contact_identifiers:list { contact_uuid = "ann" }
      assert.equal("maintenance", err.kind) -- this client still pauses after the 503
      client = client_of(server)
      _, err = client.contact_identifiers:list { contact_uuid = "ann" }
      assert.equal("forbidden", err.kind)
      assert.truthy(client:check())
      server:reset()
      assert.same({}, server:requests())
    end
  end)

  it("form a queue, several for one operation", function()
    server:fault { operation = "find", status = 500, times = 2 }
    server:fault { operation = "find", kind = "maintenance" }
    server:fault { operation = "find", code = 7002 }
    local seen = {}
    for i = 1, 5 do
      local _, err = cards:find("1")
      seen[i] = err and (err.code or err.status) or "fine"
    end
    assert.same({ 500, 500, 503, 7002, "fine" }, seen)
  end)

  -- A gateway gives up on a request that it has already forwarded.
  for _, fault in ipairs { { status = 503 }, { kind = "maintenance" }, { kind = "maintenance", retry_after = 1 } } do
    it("apply a change, and respond with 503" .. (fault.kind and " as " .. fault.kind or ""), function()
      fault.apply, fault.times = true, math.huge
      server:fault(fault)
      local function refused(card)
        assert.is_nil(card)
      end
      refused(cards:create("new", { name = "N", contact_uuid = "bob" }))
      assert.same({ value = "new", name = "N", active = true, contact = { uuid = "bob" } }, server:card("new"))
      for _, step in ipairs {
        { "unlink", function() return client_of(server).contact_identifiers:unlink("1") end,
          function(card) return card.contact == nil end },
        { "link", function() return client_of(server).contact_identifiers:link("1", "bob") end,
          function(card) return card.contact.uuid == "bob" end },
        { "update", function() return client_of(server).contact_identifiers:update("1", { name = "M" }) end,
          function(card) return card.name == "M" end },
        { "delete", function() return client_of(server).contact_identifiers:delete("1") end,
          function(card) return card == nil end },
      } do
        refused(step[2]())
        local requests = server:requests(step[1])
        assert.same({ 1, 503, true }, { #requests, requests[1].status, requests[1].changed })
        assert.is_true(step[3](server:card("1")))
      end
    end)
  end

  it("apply a change, and hide it", function()
    for i, way in ipairs {
      { close = "before" }, { close = "within" }, { status = 500 }, { kind = "server" }, { code = 1000 },
      { status = 502, body = "<html>Bad Gateway</html>" }, { status = 204 }, { body = "" },
    } do
      local value = "new " .. i
      way.operation, way.apply = "create", true
      server:fault(way)
      local card, err = cards:create(value, { name = "N", contact_uuid = "bob" })
      assert.is_nil(card)
      assert.is_true(err.outcome_unknown)
      assert.same({ value = value, name = "N", active = true, contact = { uuid = "bob" } }, server:card(value))
    end
  end)

  it("apply a change late", function()
    server:fault { operation = "delete", close = "before", apply_after = 0.15 }
    local _, err = cards:delete("1")
    assert.is_true(err.outcome_unknown)
    assert.truthy(cards:find("1"))
    assert.is_false(server:requests("delete")[1].changed)
    wait(0.17)
    assert.is_nil(server:card("1"))
    assert.is_true(server:requests("delete")[1].changed)
    _, err = cards:find("1")
    assert.equal("not_found", err.kind)
  end)

  it("change nothing otherwise", function()
    server:fault { operation = "delete", kind = "maintenance" }
    assert.is_nil((cards:delete("1")))
    assert.truthy(server:card("1"))
  end)

  it("show an old state", function()
    server:fault { operation = "find", lag = 0.2, times = math.huge }
    wait(0.2)
    leat.assert(cards:create("3"))
    assert.is_nil((cards:find("3")))
    assert.truthy(server:card("3"))
    wait(0.22)
    assert.truthy(cards:find("3"))
  end)

  it("show exactly the next finds the state when they were added", function()
    server:fault { operation = "find", stale = true, times = 2 }
    leat.assert(cards:create("3"))
    leat.assert(cards:unlink("1"))
    assert.equal("not_found", select(2, cards:find("3")).kind)
    assert.equal("ann", cards:find("1").contact.uuid)
    assert.truthy(cards:find("3"))
    assert.is_nil(cards:find("1").contact)
  end)

  it("delay responses", function()
    server:fault { delay = 0.1 }
    leat.assert(cards:create("3"))
    leat.assert(cards:find("3"))
    local requests = server:requests()
    local between = requests[2].time - requests[1].time
    assert.truthy(between >= 0.099 and between < 10, between)
  end)

  it("change the response alone", function()
    server:fault { body = '{"data":{"value":"1","active":true,"tier":"gold"},"meta":null}' }
    assert.equal("gold", leat.assert(cards:find("1")).tier)
    server:fault { status = 429, headers = { ["retry-after"] = 17, ["Content-Type"] = "text/html" },
      body = "<html>slow down</html>" }
    local _, err = cards:find("1")
    assert.equal(17, err.retry_after)
    server:fault { code = 31337 }
    _, err = client_of(server).contact_identifiers:find("1")
    assert.same({ "api", 31337, 400 }, { err.kind, err.code, err.status })
  end)
end)

describe("a sandbox", function()
  it("holds the cards that its responses show", function()
    local more = { credit_balance = { balance = 12 }, tags = { "a" } }
    local server = serve { contacts = { { uuid = "ann", more = more } }, cards = {} }
    local cards = client_of(server).contact_identifiers
    for _, value in ipairs { "0042", "é&", "x" } do
      assert.same(leat.assert(cards:create(value, { contact_uuid = "ann" })), server:card(value))
    end
    assert.equal(12, server:card("0042").contact.credit_balance.balance)
    assert.same({ "a" }, server:card("0042").contact.tags)
    leat.assert(cards:delete("x"))
    leat.assert(cards:update("0042", { name = "N", active = false }))
    assert.same({ value = "0042", name = "N", active = false, contact = server:card("é&").contact },
      server:card("0042"))
    assert.is_nil(server:card("x"))
    assert.equal(2, #server:cards())
    assert.equal("é&", server:cards()[2].value)
    server:stop()
    assert.equal("N", server:card("0042").name) -- and is still readable after it was stopped
    assert.is_nil(server:card("x"))
    assert.equal(2, #server:cards())
  end)

  it("gives a card without a name of its own its value as its name", function()
    local server = serve { cards = { { value = "1" }, { value = "2", name = "Silver" } } }
    local cards = client_of(server).contact_identifiers
    assert.equal("0042", leat.assert(cards:create("0042")).name)
    assert.equal("0042", server:card("0042").name)
    assert.equal("Gold", leat.assert(cards:create("0043", { name = "Gold" })).name)
    assert.equal("1", server:card("1").name)
    assert.equal("Silver", server:card("2").name)
    server:stop()
  end)

  it("keeps an empty list a list", function()
    local more = { attributes = {}, current_values = { tags = {}, note = "[]" }, list = { {}, "" } }
    local server = serve { contacts = { { uuid = "ann", more = more }, { uuid = "bob", more = {} } }, cards = {} }
    local client = client_of(server)
    assert.same({ uuid = "bob" }, leat.assert(client:request("GET", "/contacts/bob")))
    assert.same({ uuid = "ann", attributes = {}, current_values = { tags = {}, note = "[]" }, list = { {}, "" } },
      leat.assert(client:request("GET", "/contacts/ann")))
    -- A Lua table does not show the difference, so this checks the bytes.
    local port, path = server.url:match("^http://[%d.]+:(%d+)(.*)")
    local pipe = assert(io.popen(([[bash -c 'exec 3<>/dev/tcp/127.0.0.1/%s
      printf "GET %s/contacts/ann HTTP/1.0\r\nAuthorization: Bearer sandbox\r\n\r\n" >&3
      cat <&3']]):format(port, path)))
    local body = pipe:read("*a")
    pipe:close()
    assert.truthy(body:find('"attributes":[]', 1, true), body)
    assert.truthy(body:find('"tags":[]', 1, true), body)
    assert.truthy(body:find('"note":"[]"', 1, true), body)
    assert.is_nil(body:find("{}", 1, true), body)
    server:stop()
  end)

  it("finds and creates contacts", function()
    local server = serve()
    local client = client_of(server)
    local ann = leat.assert(client:request("GET", "/contacts/find-one-by", { query = { email = "ann@example.org" } }))
    assert.equal("ann", ann.uuid)
    local eve = leat.assert(client:request("GET", "/contacts/find-or-create", { query = { email = "eve@x" } }))
    assert.equal("eve@x", leat.assert(client:request("GET", "/contacts/" .. eve.uuid)).email)
    local card = leat.assert(client.contact_identifiers:create("3", { contact_uuid = eve.uuid }))
    assert.equal("eve@x", card.contact.email)
    local nobody = leat.assert(client:request("POST", "/contacts/anonymous", { body = { contact_identifier_value = "4" }
    }))
    assert.equal(nobody.uuid, server:card("4").contact.uuid)
    local _, err = client:request("POST", "/contacts/anonymous", { body = { contact_identifier_value = "4" } })
    assert.equal("already_exists", err.kind)
    _, err = client:request("GET", "/contacts/find-one-by", { query = { email = "bob@x" } })
    assert.equal("contact_not_found", err.kind)
    assert.equal("Contact not found.", err.message) -- no advice about a uuid, because the request has none
    _, err = client.contact_identifiers:link("3", "nobody")
    assert.equal("Contact not found. (is the contact's uuid right?)", err.message)
    assert.equal(1, #server:requests("contacts.find_or_create"))
    assert.is_true(server:requests("contacts.find_or_create")[1].changed)
    server:stop()
  end)

  it("lets unlinking an unlinked card succeed with idempotent_unlink", function()
    for idempotent, kind in pairs { [true] = false, [false] = "not_linked" } do
      local server = serve { idempotent_unlink = idempotent }
      local card, err = client_of(server).contact_identifiers:unlink("2")
      assert.equal(kind, err and err.kind or false)
      assert.equal(not kind, card ~= nil)
      server:stop()
    end
  end)

  it("accepts numbers as client ids", function()
    local server = serve { client_id = 1234567890123, client_secret = secrets.secret }
    assert.equal("1234567890123", server.client_id)
    assert.truthy(client_of(server, { client_id = server.client_id, client_secret = secrets.secret,
      token_url = server.token_url }):check())
    server:stop()
  end)

  it("starts with each card and contact once, and each has a value", function()
    for why, options in pairs {
      ['card "0042" is given twice'] = { cards = { { value = "0042" }, { value = "1" }, { value = "0042" } } },
      ['card "" has no value'] = { cards = { { value = "" } } },
      ['contact "ann" is given twice'] = { contacts = { { uuid = "ann" }, { uuid = "ann", email = "a" } } },
      ['contact "" has no uuid'] = { contacts = { { uuid = "" } } },
      ["api_key, client_id and client_secret must not be empty"] = { client_id = "" },
    } do
      local server, message = sandbox.start(options)
      assert.is_nil(server)
      assert.truthy(message:find(why, 1, true), message)
    end
  end)

  it("records the requests that it received", function()
    local server = serve()
    local client = client_of(server)
    client:request("GET", "/nowhere")
    client:check()
    client.contact_identifiers:list { contact_uuid = "ann" }
    client.contact_identifiers:unlink("1")
    client.contact_identifiers:unlink("1")
    local all = server:requests()
    assert.equal(5, #all)
    assert.is_nil(all[1].operation)
    assert.same({ "check", "list", "unlink", "unlink" },
      { all[2].operation, all[3].operation, all[4].operation, all[5].operation })
    assert.same({ 404, 200, 200, 200, 400 }, { all[1].status, all[2].status, all[3].status, all[4].status,
      all[5].status })
    assert.same({ true, false }, { all[4].changed, all[5].changed })
    assert.equal(2, #server:requests("unlink"))
    assert.equal(0, #server:requests("find"))
    for i = 1, 5 do
      assert.truthy(all[i].time >= (i > 1 and all[i - 1].time or 0) and all[i].time < 60)
    end
    server:stop()
    assert.equal(2, #server:requests("unlink"))
  end)

  it("lists the cards of a contact", function()
    local server = serve()
    local cards = client_of(server).contact_identifiers
    leat.assert(cards:link("2", "ann"))
    local list = leat.assert(cards:list { contact_uuid = "ann" })
    assert.same({ "1", true, "2", false }, { list[1].value, list[1].default, list[2].value, list[2].default })
    assert.same({}, leat.assert(cards:list { contact_uuid = "bob" }))
    local _, err = cards:list { contact_uuid = "eve" }
    assert.equal("contact_not_found", err.kind)
    server:stop()
  end)

  it("issues tokens, and lets them expire", function()
    local server = serve { client_id = "me", client_secret = secrets.secret, token_lifetime = 7200 }
    assert.same({ "me", secrets.secret, "sandbox" }, { server.client_id, server.client_secret, server.api_key })
    local credentials = { client_id = "me", client_secret = secrets.secret, token_url = server.token_url }
    local client = client_of(server, credentials)
    assert.truthy(client:check())
    assert.truthy(client:check())
    assert.equal(1, #server:requests("token"))
    server:expire_tokens()
    client:check()
    assert.equal(401, server:requests("check")[3].status)
    credentials.client_secret = "other"
    assert.equal("unauthorized", select(2, client_of(server, credentials):check()).kind)
    assert.truthy(client_of(server):check()) -- authenticated by its API key
    for _, request in ipairs(server:requests("token")) do
      assert.is_nil(request.body:find(secrets.secret, 1, true))
      assert.truthy(request.body:find("client_secret=[secret]", 1, true))
    end
    server:stop()
  end)

  it("has a configurable rate limit and meta", function()
    local server = serve { rate_limit = 2, rate_window = 30, meta = '{"page":1}' }
    local client = client_of(server)
    local _, _, info = client:check()
    assert.equal(1, info.meta.page)
    assert.equal(2, info.rate_limit.limit)
    assert.equal(1, info.rate_limit.remaining)
    client:check()
    local _, err = client:check()
    assert.equal("rate_limited", err.kind)
    assert.equal(30, err.retry_after)
    server:reset()
    assert.truthy(client_of(server):check())
    server:stop()
    for _, meta in ipairs { "[]", "{}", "null", "absent" } do
      server = serve { meta = meta }
      assert.truthy(client_of(server).contact_identifiers:find("1"))
      server:stop()
    end
    local none, why = sandbox.start { meta = "nonsense" }
    assert.is_nil(none)
    assert.truthy(why:find("meta", 1, true))
  end)

  it("stops even while a client waits", function()
    local server = serve { faults = { { status = 200, delay = math.huge, times = math.huge } } }
    local _, err = client_of(server, { timeout = 0.1 }):check()
    assert.equal("timeout", err.kind)
    server:stop()
    server:stop()
    assert.equal(1, #server:requests())
    assert.is_nil(server:requests()[1].status) -- it never responded
  end)

  -- with 500, LuaJIT would spend minutes in its garbage collector
  it("accepts many faults while the collector runs", function()
    local faults = {}
    for i = 1, 500 do
      faults[i] = { value = "card " .. i, status = 418, headers = { ["X-Number"] = i, ["X-Name"] = ("x"):rep(i) },
        body = '{"code":' .. i .. "}" }
    end
    local server = serve { faults = faults }
    local cards = client_of(server).contact_identifiers
    for i = 1, 500, 499 do
      local _, err = cards:find("card " .. i)
      assert.same({ 418, i }, { err.status, err.code })
    end
    server:stop()
  end)
end)

describe("the C module", function()
  local core = require("leat.sandbox.core")

  -- The Lua module refuses such numbers itself.
  for option, values in pairs {
    rate_window = { -1, 0 / 0, -math.huge },
    rate_limit = { -1, 0 / 0, -math.huge },
    token_lifetime = { -1, 0 / 0, -math.huge },
    port = { -1, 0 / 0, 65536, 1e300, math.huge },
  } do
    for _, value in ipairs(values) do
      it(("refuses %s = %s"):format(option, value), function()
        local server, message = core.start { [option] = value }
        assert.is_nil(server)
        assert.truthy(message:find(option, 1, true), message)
      end)
    end
  end

  for option, values in pairs {
    times = { -2, 0 / 0, -math.huge },
    delay = { -1, 0 / 0, -math.huge },
    nth = { -1, 0 / 0 },
  } do
    for _, value in ipairs(values) do
      it(("refuses a fault with %s = %s"):format(option, value), function()
        local server, message = core.start { faults = { { kind = "server", [option] = value } } }
        assert.is_nil(server)
        assert.truthy(message:find(option, 1, true), message)
      end)
    end
  end

  it("limits numbers that fit no int", function()
    local server = assert(core.start { rate_limit = 1e300, rate_window = 1e300, token_lifetime = math.huge })
    server:stop()
  end)

  it("shows large integers exactly", function()
    local server = assert(core.start { contacts = { { uuid = "u", more = '{"big":9007199254740993}' } },
      cards = { { value = "1", contact_uuid = "u" } } })
    local contact = server:card("1").contact
    assert.equal("9007199254740993", ("%s"):format(contact.big))
    server:stop()
  end)
end)

describe("misuse is raised at the caller's line", function()
  local server = serve()
  local stopped = serve()
  stopped:stop()

  teardown(function()
    server:stop()
  end)

  for code, problem in pairs {
    ["a:fault()"] = "in a table",
    ["a:fault { operatoin = 'find' }"] = "option 'operatoin' is unknown: did you mean 'operation'?",
    ["a:fault { operation = 'fnid' }"] = 'operation "fnid" is unknown (known: find, create, link',
    ["a:fault { operation = 1 }"] = "operation must be a string, not a number",
    ["a:fault { kind = 'slow' }"] = 'kind "slow" is unknown (known: not_found',
    ["a:fault { nth = 0 }"] = "nth must be a whole number greater than 0",
    ["a:fault { times = 1.5 }"] = "times must be a whole number",
    ["a:fault { times = 'always' }"] = "times must be a number",
    ["a:fault { status = 1000 }"] = "status must be from 200 to 599",
    ["a:fault { status = 200.5 }"] = "status must be a whole number",
    ["a:fault { status = '503' }"] = "status must be a number",
    ["a:fault { code = 0 }"] = "code must be",
    ["a:fault { close = true }"] = "close must be a string",
    ["a:fault { close = 'after' }"] = 'close must be a string, "before" or "within"',
    ["a:fault { delay = -1 }"] = "delay must be a number from 0",
    ["a:fault { delay = 1e9 }"] = "delay must be a number from 0",
    ["a:fault { apply = 'later' }"] = "apply must be a boolean",
    ["a:fault { apply_after = math.huge }"] = "apply_after must be a number from 0",
    ["a:fault { lag = 61 }"] = "lag must be from 0 to 60 seconds",
    ["a:fault { retry_after = 1.5 }"] = "retry_after must be a whole number",
    ["a:fault { headers = 'x' }"] = "headers must be a table",
    ["a:fault { headers = { 'x' } }"] = "headers must be { [name] = value }",
    ["a:fault { headers = { x = true } }"] = "headers must be { [name] = value }",
    ["a:fault { headers = { x = 'a\\r\\nb' } }"] = "control character",
    ["a:fault { headers = { ['Content-Length'] = 1 } }"] = "how long the body is",
    ["a:fault { value = 'a\\0b' }"] = "NUL",
    ["a.fault { kind = 'server' }"] = "with a colon: sandbox:fault(...)",
    ["a.stop()"] = "with a colon: sandbox:stop(...)",
    ["a:card()"] = "value must be a string, not a nil",
    ["a:requests('fnid')"] = "operation 'fnid' is unknown (known: find, create",
    ["b.start { faults = { { kind = 'server' }, { staus = 1 } } }"] = "start: faults 2: option 'staus' is unknown",
    ["b.start { faults = { { kind = 'server' }, { kind = 'x' } } }"] = 'start: faults 2: kind "x" is unknown',
    ["b.start { faults = { { headers = { 1 } } } }"] = "start: faults 1: headers must be",
    ["b.start { contacts = { { uuid = 'u', more = { f = print } } } }"] = "contacts 1: more can't be JSON",
    ["a:fault { value = '' }"] = "value must not be empty",
    ["a:fault { stale = 1 }"] = "stale must be a boolean",
    ["b.start { client_id = 1.5 }"] = "client_id must be a string",
    ["b.start { client_id = {} }"] = "client_id must be a string",
    ["b.start { idempotent_unlink = 200 }"] = "idempotent_unlink must be a boolean",
    ["b.start { rate_limit = 0 }"] = "rate_limit must be a whole number greater than 0",
  } do
    it(code, function()
      local message = misuse(code, server, sandbox)
      assert.truthy(message:find(problem, 1, true), message)
    end)
  end

  for _, method in ipairs { "fault", "clear_faults", "expire_tokens", "reset", "serve" } do
    it("of a stopped sandbox: " .. method, function()
      local message = misuse("a:" .. method .. " {}", stopped)
      assert.truthy(message:find(method .. ": the sandbox is stopped", 1, true), message)
    end)
  end
end)

describe("serve", function()
  local script = dofile("spec/support/script.lua")

  -- Runs shell commands in which $serve is a program that prints its certificate's file, and serves. Returns what they
  -- print.
  local function shell(until_eof, text)
    local path, command = script.write(([[
      local server = require("leat.sandbox").start { tls = true }
      print(server.ca_file)
      io.stdout:flush()
      server:serve(%s)
      server:stop()
      print("ended")
    ]]):format(until_eof))
    local pipe = assert(io.popen(("exec 2>&1; serve='%s' out=%s.out; %s"):format(command, path, text)))
    local output = pipe:read("*a")
    pipe:close()
    os.remove(path)
    return output
  end

  it("returns at the end of standard input, if asked to", function()
    local output = shell("true", "{ echo ignored; sleep 0.3; echo closed >&2; } | $serve")
    assert.truthy(output:find("^[^\n]+\nclosed\nended\n$"), output)
  end)

  for _, signal in ipairs { "TERM", "INT" } do
    it("returns after SIG" .. signal, function()
      assert.equal("2\nexit 0\nremoved\n", shell("false", ([[
        $serve </dev/null >$out & while test ! -s $out; do sleep 0.02; done
        sleep 0.1; file=$(cat $out); rm $out
        grep -c CERTIFICATE "$file"; kill -%s $!; wait $!; echo "exit $?"; test -e "$file" || echo removed
      ]]):format(signal)))
    end)
  end
end)
