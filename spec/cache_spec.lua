-- Cached finds: what is kept, for how long, and who gets it. Most of it over a service of a few lines, on a clock that
-- stands still; then over the sandbox, and in tasks.
local cjson = require("cjson")
local leat = require("leat")
local raises = dofile("spec/support/raises.lua")("spec/cache_spec.lua")
local sandbox = require("leat.sandbox")
local socket = require("socket")
local tasks = require("leat.tasks")
local transport = require("leat.transport")

describe("cached finds", function()
  local ms, requests, service -- the time; the requests; value -> card, or a failure { status =, headers =, body = }

  before_each(function()
    ms, requests, service = 1000000, {}, {}
  end)

  local function respond(status, body, headers)
    headers = headers or {}
    headers["Content-Type"] = headers["Content-Type"] or "application/json"
    return status, headers, type(body) == "table" and cjson.encode(body) or body
  end

  local function fail(status, code)
    return { status = status, body = { code = code, message = "No." } }
  end

  -- Responds to a find from `service`, and to a change with the card that it leaves.
  local function answer(request)
    local value = request.url:match("contact_identifier_value=([^&]+)") or request.url:match("([^/]+)$")
    local sent = request.body ~= "" and cjson.decode(request.body) or {}
    value = sent.contact_identifier_value or value
    requests[#requests + 1] = request.method .. " " .. value
    local found = service[value] or service.all
    if type(found) == "function" then
      found = found(request, sent)
    end
    if not found then
      found = fail(400, 60003)
    elseif found.kind then
      return nil, found
    end
    if found.status then
      return respond(found.status, found.body, found.headers)
    end
    return respond(200, { data = found })
  end

  local function connect(cache, options)
    options = options or {}
    options.api_key = options.api_key or not options.token and "k" or nil
    options.cache, options.max_attempts, options.retry_budget = cache, options.max_attempts or 1, false
    options.driver = options.driver or transport.new(answer, {
      now = function() return ms, 1700000000 + math.floor(ms / 1000) end,
      sleep = function(seconds) ms = ms + seconds * 1000 end,
    })
    return leat.new(options), options.driver
  end

  local function pass(seconds)
    ms = ms + seconds * 1000
  end

  local function find(client, value, options)
    return client.contact_identifiers:find(value or "1", options)
  end

  -- ---- freshness ------------------------------------------------------------------------

  it("are handed out again while they are fresh, with their age", function()
    service["1"] = { value = "1", name = "one" }
    local client = connect(true)
    local card, err, info = find(client)
    assert.same({ "one", nil, nil, 1 }, { card.name, err, info.cached, info.attempts })
    pass(59)
    card, err, info = find(client)
    assert.same({ "one", nil }, { card.name, err })
    assert.same({ cached = "fresh", age = 59, attempts = 0 }, info)
    pass(2)
    service["1"].name = "two"
    card, err, info = find(client)
    assert.same({ "two", nil, nil }, { card.name, err, info.cached })
    assert.same({ "GET 1", "GET 1" }, requests)
  end)

  it("are fresh at once", function()
    service["1"] = { value = "1" }
    ms = ms + 0.7
    local client = connect(true)
    find(client)
    assert.equal("fresh", select(3, find(client)).cached)
  end)

  it("may be limited in age by the caller", function()
    service["1"] = { value = "1" }
    local client = connect(true)
    find(client)
    pass(10)
    assert.equal("fresh", select(3, find(client, "1", { max_age = 10 })).cached)
    assert.is_nil(select(3, find(client, "1", { max_age = 9 })).cached)
    pass(10)
    assert.is_nil(select(3, find(client, "1", { max_age = 0 })).cached)
    assert.equal(0, select(3, find(client, "1")).age)
    assert.equal(3, #requests)
  end)

  it("are not used with a max_age of 0, however new they are", function()
    service["1"] = { value = "1" }
    local client = connect(true)
    for _ = 1, 3 do
      assert.is_nil(select(3, find(client, "1", { max_age = 0 })).cached)
    end
    assert.equal(3, #requests)
  end)

  it("are not made without the option", function()
    service["1"] = { value = "1" }
    local client = connect(nil)
    for _ = 1, 2 do
      assert.is_nil(select(3, find(client, "1", { max_age = 60 })).cached)
    end
    client.contact_identifiers:forget("1")
    assert.is_nil(client:cache_stats())
    assert.equal(2, #requests)
  end)

  it("are the caller's own", function()
    service["1"] = { value = "1", contact = { uuid = "ann" }, attributes = { list = { 1, 2 } } }
    local client = connect(true)
    local first = find(client)
    first.value, first.contact.uuid, first.attributes.list[1] = "x", "bob", "y"
    local second = find(client)
    second.contact.uuid = "bob"
    local third = find(client)
    assert.same({ value = "1", contact = { uuid = "ann" }, attributes = { list = { 1, 2 } } }, third)
    service["1"] = fail(400, 60003)
    local _, err = find(client, "2")
    err.kind = "x"
    assert.equal("not_found", select(2, find(client, "2")).kind)
  end)

  it("are whole, with all digits, empty lists and empty objects", function()
    service["1"] = { status = 200, body =
      '{"data":{"value":"1","big":12345678901234567890,"small":0.1,"list":[],"object":{},"none":null,"in":[null]}}' }
    local client = connect(true, { json = true })
    local first, _, info = find(client)
    local again, _, from_cache = find(client)
    assert.same(first, again)
    assert.equal("12345678901234567890", again.big)
    assert.equal(leat.null, again["in"][1])
    assert.equal(info.json, from_cache.json)
    assert.equal("fresh", from_cache.cached)
    assert.is_nil(again.none)
    assert.truthy(tostring(again):find("contact identifier 1", 1, true))
  end)

  it("know a card by all its values, and no other card", function()
    local long = ("x"):rep(65)
    local values = { "a", "%61", "a%", ("y"):rep(64), long, long .. "z", ("q"):rep(5000) }
    service.all = function(request)
      local text = request.url:match("value=([^&]*)"):gsub("%%(%x%x)", function(x)
        return string.char(tonumber(x, 16))
      end)
      return { value = text }
    end
    local client = connect(true)
    for _, value in ipairs(values) do
      local card = find(client, value)
      assert.equal(card and value, card and card.value)
    end
    local count = #requests
    for _, value in ipairs(values) do
      local card, err, info = find(client, (" \t%s\n"):format(value):upper())
      if card then
        assert.same({ value, "fresh" }, { card.value, info.cached })
      else
        assert.is_not_nil(err)
      end
    end
    assert.equal(count, #requests)
    for value in pairs { ["é"] = 1, ["É"] = 1 } do
      assert.is_nil(select(3, find(client, value)).cached)
    end
  end)

  -- ---- what is kept ---------------------------------------------------------------------

  local kinds = { -- what the service says, its kind, and whether it is kept
    { fail(400, 60003), "not_found", true },
    { fail(400, 60004), "inactive", true },
    { fail(400, 1003), "invalid_input", true },
    { fail(401), "unauthorized", false },
    { fail(403), "forbidden", false },
    { fail(429), "rate_limited", false },
    { fail(503), "maintenance", false },
    { fail(500), "server", false },
    { { status = 302, body = "", headers = { Location = "https://x.example/" } }, "redirect", false },
    { { status = 200, body = "<html>", headers = { ["Content-Type"] = "text/html" } }, "protocol", false },
    { { kind = "connection", sent = "no" }, "connection", false },
    { { kind = "timeout", sent = "maybe" }, "timeout", false },
    { { kind = "tls", sent = "no" }, "tls", false },
    { { kind = "local", sent = "no" }, "local", false },
    { { kind = "no_memory", sent = "no" }, "no_memory", false },
  }

  it("include the answer that there is no such card, for a shorter time; and no other error", function()
    for _, case in ipairs(kinds) do
      local said, kind, is_kept = case[1], case[2], case[3]
      requests, service = {}, { ["1"] = said }
      local client = connect { ttl = 60, negative_ttl = 5 }
      local _, first = find(client)
      assert.equal(kind, first.kind)
      pass(4)
      local card, again = find(client)
      assert.is_nil(card)
      assert.equal(is_kept and 1 or 2, #requests, kind)
      if is_kept then
        assert.same({ first.kind, first.code, first.status, first.message, first.operation, first.fields },
          { again.kind, again.code, again.status, again.message, again.operation, again.fields })
        assert.same({ 0, "no", false, "fresh", 4 },
          { again.attempts, again.sent, again.outcome_unknown, again.cached, again.age })
        assert.equal(tostring(first), tostring(again))
        pass(2)
        find(client)
        assert.equal(2, #requests)
      end
    end
  end)

  it("do not include that there is no such card, if that is to be kept for no time", function()
    local client = connect { negative_ttl = 0 }
    find(client)
    find(client)
    service["1"] = function(request)
      return request.method == "GET" and { value = "1" } or { kind = "timeout", sent = "maybe" }
    end
    client.contact_identifiers:update("1", { name = "two" })
    find(client)
    find(client) -- the change may still take effect
    assert.equal(5, #requests)
    assert.is_not_nil(connect { ttl = 2 })
  end)

  it("do not include what is too large, and count that", function()
    service["1"] = { value = "1", name = ("x"):rep(17000) }
    local client = connect(true)
    find(client)
    find(client)
    assert.equal(2, #requests)
    assert.equal(2, client:cache_stats().not_stored)
  end)

  it("are limited in number: what was used lately stays", function()
    service.all = function(request) return { value = request.url:match("value=(%w+)") } end
    local client = connect { most = 100 }
    for i = 1, 1000 do
      find(client, tostring(i))
      find(client, "1")
    end
    assert.equal(1000, #requests)
    for i = 1000, 952, -1 do
      assert.equal("fresh", select(3, find(client, tostring(i))).cached)
    end
    assert.is_nil(select(3, find(client, "500")).cached)
  end)

  -- ---- when the service does not respond ------------------------------------------------

  local hidden = { rate_limited = true, maintenance = true, server = true, protocol = true, connection = true,
    timeout = true }

  it("replace an error of a service that does not answer, but none that a person must see", function()
    for _, case in ipairs(kinds) do
      requests, service = {}, { ["1"] = { value = "1", name = "old" } }
      local client = connect { ttl = 60, stale = 3600 }
      find(client)
      pass(100)
      service["1"] = case[1]
      local card, err, info = find(client)
      if hidden[case[2]] then
        assert.same({ "old", nil, "stale", 100, 0, case[2] },
          { card.name, err, info.cached, info.age, info.attempts, info.err.kind })
      else
        assert.same({ nil, case[2] }, { card, err.kind })
      end
    end
  end)

  it("hide no refusal for longer than until it is known", function()
    tasks.spawn(function() -- in the background of which cards are refreshed
      for _, refusal in ipairs { fail(401), fail(403), { kind = "tls", sent = "no" } } do
        service["1"], service["2"] = { value = "1" }, { value = "2" }
        local client = connect { ttl = 60, grace = 600, stale = 600 }
        find(client)
        find(client, "2")
        pass(100)
        service["1"], service["2"] = refusal, refusal
        assert.equal("stale", select(3, find(client)).cached)
        assert.is_nil((find(client)))
        assert.is_nil((find(client, "2")))
        service["1"] = { value = "1" }
        assert.is_nil(select(3, find(client)).cached)
        assert.equal("stale", select(3, find(client, "2")).cached)
      end
    end)
    tasks.run()
  end)

  it("hide no refusal that follows an outage", function()
    service["1"] = { value = "1" }
    local client = connect { ttl = 60, stale = 3600 }
    find(client)
    pass(100)
    service["1"] = fail(500)
    assert.equal("stale", select(3, find(client)).cached)
    service["1"] = fail(401)
    pass(3)
    for _ = 1, 3 do
      assert.equal("unauthorized", select(2, find(client)).kind)
    end
  end)

  it("are not handed out when they are older than stale, and no failure makes them younger", function()
    service["1"] = { value = "1" }
    local client = connect { ttl = 60, stale = 100 }
    find(client)
    service["1"] = fail(500)
    for i = 1, 7 do
      pass(20)
      local card, err, info = find(client)
      assert.same({ i, "1" }, { i, card and card.value or err })
      assert.equal(i * 20, info.age)
    end
    pass(20) -- as old as it may be
    assert.equal("stale", select(3, find(client)).cached)
    pass(1)
    assert.equal("server", select(2, find(client)).kind)
    service["1"] = { value = "1" }
    pass(61)
    assert.is_nil(select(3, find(client)).cached)
  end)

  it("let one caller look from time to time whether the service is back, and the others not wait", function()
    service.all = function(request) return { value = request.url:match("value=(%w+)") } end
    local client = connect { ttl = 60, stale = 3600 }
    for i = 1, 20 do
      find(client, tostring(i))
    end
    local answers = service.all
    service.all = { kind = "timeout", sent = "maybe" }
    pass(100)
    requests = {}
    for _ = 1, 10 do -- seconds
      for i = 1, 20 do
        assert.equal("stale", select(3, find(client, tostring(i))).cached)
      end
      pass(1)
    end
    assert.equal(5, #requests) -- one in two seconds
    service.all, requests = answers, {}
    pass(2)
    for i = 1, 20 do
      assert.is_nil(select(3, find(client, tostring(i))).cached)
    end
    assert.equal(20, #requests)
  end)

  it("wait for as long as the service asks before it is asked again", function()
    service["1"] = { value = "1" }
    local client = connect { ttl = 60, stale = 3600 }
    find(client)
    pass(100)
    service["1"] = { status = 429, body = "{}", headers = { ["Retry-After"] = "30" } }
    for _ = 1, 29 do
      assert.equal("stale", select(3, find(client)).cached)
      pass(1)
    end
    assert.equal(2, #requests)
  end)

  -- ---- changes --------------------------------------------------------------------------

  -- The card "1" of a service that performs changes. `late` is what finds see instead.
  local function serve_card(card)
    local late
    service.all = function(request, sent)
      if request.method == "GET" then
        return late or card
      elseif request.method == "DELETE" then
        card = nil
        return { status = 200, body = { data = {} } }
      end
      card = card or { value = sent.contact_identifier_value }
      if request.url:find("unlink", 1, true) then
        card.contact = nil
      elseif sent.contact_uuid then
        card.contact = { uuid = sent.contact_uuid }
      end
      card.name = sent.contact_identifier_name or card.name
      if sent.active ~= nil then
        card.active = sent.active
      end
      return card
    end
    return function(seen) late = seen end
  end

  local changes = {
    link = function(cards) return cards:link("1", "bob") end,
    unlink = function(cards) return cards:unlink("1") end,
    update = function(cards) return cards:update("1", { name = "new" }) end,
    ["link of a card"] = function(cards) return cards:wrap({ value = " 1" }):link("bob") end,
    ["update of a card"] = function(cards) return cards:wrap({ value = "1" }):update { active = false } end,
  }
  for name, change in pairs(changes) do
    it("are the new card after: " .. name, function()
      local lag = serve_card { value = "1", name = "one", contact = { uuid = "ann" } }
      local client = connect(true)
      local before = find(client)
      lag(before)
      local changed, _, change_info = assert(change(client.contact_identifiers))
      assert.is_nil(change_info.json)
      local count = #requests
      local after, _, info = find(client)
      assert.same({ changed.name, changed.active, changed.contact and changed.contact.uuid, "fresh" },
        { after.name, after.active, after.contact and after.contact.uuid, info.cached })
      assert.equal(count, #requests)
    end)
  end

  it("know that a card was created, although finds lag behind; and that it was deleted", function()
    serve_card(nil)
    local client = connect(true)
    local cards = client.contact_identifiers
    service["1"] = function(request, sent)
      return request.method == "GET" and fail(400, 60003) or service.all(request, sent)
    end
    assert.equal("not_found", select(2, find(client)).kind)
    assert(cards:create("1", { name = "one" }))
    assert.equal("one", find(client).name)
    assert.is_true(cards:delete("1"))
    local count = #requests
    local _, err = find(client)
    assert.same({ "not_found", "fresh" }, { err.kind, err.cached })
    assert.is_nil(err.code)
    assert.equal(count, #requests)
  end)

  it("are forgotten if a change fails, or if nobody knows whether it took effect", function()
    for _, failure in ipairs { fail(400, 60005), { kind = "timeout", sent = "maybe" },
      { kind = "connection", sent = "no" } } do
      local card = { value = "1", name = "one" }
      service["1"] = function(request)
        return request.method == "GET" and card or failure
      end
      local client = connect { ttl = 60, negative_ttl = 5, grace = 1000, stale = 1000 }
      find(client)
      assert.is_nil((client.contact_identifiers:update("1", { name = "two" })))
      assert.is_nil(select(3, find(client)).cached)
    end
  end)

  it("are kept for a short time only while a change may still take effect", function()
    local card, how = { value = "1", name = "one" }, nil
    service["1"] = function(request)
      return request.method == "GET" and card or how
    end
    local client = connect { ttl = 60, negative_ttl = 5, stale = 1000 }
    how = { kind = "timeout", sent = "maybe" }
    local _, err = client.contact_identifiers:update("1", { name = "two" })
    assert.is_true(err.outcome_unknown)
    find(client)
    card = { value = "1", name = "two" } -- now it does
    pass(4)
    assert.equal("one", find(client).name)
    pass(2)
    assert.equal("two", find(client).name)
    pass(31)
    find(client)
    pass(50)
    assert.equal("fresh", select(3, find(client)).cached)
  end)

  it("are kept for a short time only after an error was raised during a change", function()
    local card = { value = "1" }
    service["1"] = function(request)
      return request.method == "GET" and card or error("interrupted")
    end
    local client = connect { ttl = 60, negative_ttl = 5 }
    assert.is_false((pcall(client.contact_identifiers.link, client.contact_identifiers, "1", "ann")))
    find(client)
    pass(6)
    assert.is_nil(select(3, find(client)).cached)
  end)

  it("are not used to compose ensure", function()
    local client = connect(true)
    service["1"] = fail(400, 60003)
    assert.equal("not_found", select(2, find(client)).kind)
    service["1"] = function(request)
      return request.method == "GET" and { value = "1", name = "one" } or fail(400, 60006)
    end
    local card, _, info = assert(client.contact_identifiers:ensure("1"))
    assert.same({ "one", "existed" }, { card.name, info.outcome })
  end)

  it("are forgotten on request", function()
    service["1"] = { value = "1" }
    local client = connect { grace = 100, stale = 100 }
    find(client)
    client.contact_identifiers:forget(" 1")
    assert.is_nil(select(3, find(client)).cached)
    assert.equal(2, #requests)
  end)

  -- ---- who shares them ------------------------------------------------------------------

  it("are shared by views, and not with another client", function()
    service["1"] = { value = "1" }
    local client = connect(true)
    find(client:with { timeout = 2 })
    assert.equal("fresh", select(3, find(client)).cached)
    assert.equal("fresh", select(3, find(client:with { timeout = 3 })).cached)
    assert.is_nil(select(3, find((connect(true)))).cached)
    assert.equal(2, #requests)
  end)

  it("are counted", function()
    service["1"] = { value = "1" }
    local client = connect { ttl = 60, stale = 100 }
    find(client)
    find(client)
    find(client, "2")
    find(client, "2")
    pass(70)
    service["1"] = fail(500)
    find(client)
    find(client)
    assert.same({ hits = 1, negative_hits = 1, stale = 1, rescued = 1, misses = 3, coalesced = 0, refused_refreshes = 0,
      outrun = 0, not_stored = 0 }, client:cache_stats())
  end)

  it("raise mistakes at the caller's line", function()
    raises("cache: give the options in a table", function() leat.new { api_key = "k", cache = 5 } end)
    raises("option 'tttl' is unknown: did you mean 'ttl'?", function()
      leat.new { api_key = "k", cache = { tttl = 1 } }
    end)
    raises("ttl must be", function() leat.new { api_key = "k", cache = { ttl = 0 } } end)
    raises("negative_ttl is longer than ttl", function()
      leat.new { api_key = "k", cache = { ttl = 1, negative_ttl = 2 } }
    end)
    raises("dict is for the workers", function() leat.new { api_key = "k", cache = { dict = "x" } } end)
    local client = connect(true)
    local cards = client.contact_identifiers
    raises("value must be a string", function() cards:find(5) end)
    raises("value is empty", function() cards:find("") end)
    raises("option 'maxage' is unknown: did you mean 'max_age'?", function() cards:find("1", { maxage = 1 }) end)
    raises("max_age must be", function() cards:find("1", { max_age = -1 }) end)
    raises("value must be a string", function() cards:forget() end)
    raises("call it with a colon", function() cards.forget("1") end)
    client:close()
    raises("the client is closed", function() cards:find("1") end)
  end)

  -- ---- tasks, over a real service -------------------------------------------------------

  describe("in tasks", function()
    local server, client

    before_each(function()
      server = assert(sandbox.start { cards = { { value = "1", name = "one" }, { value = "2" } },
        contacts = { { uuid = "ann" } } })
      client = leat.new { api_key = server.api_key, base_url = server.url, retry_base = 0.001,
        cache = { ttl = 60, grace = 600, stale = 600 } }
    end)
    after_each(function()
      tasks.cancel()
      client:close()
      server:stop()
    end)

    it("share one request for a card", function()
      local cards = tasks.map({ "1", " 1", "1", "1", "2" }, function(value) return find(client, value) end)
      assert.equal(2, #server:requests())
      cards[1].name = "changed"
      assert.same({ "one", "one", "2" }, { cards[2].name, cards[4].name, cards[5].value })
      assert.equal(3, client:cache_stats().coalesced)
    end)

    it("share no headers of a call, but send those of a caller that asks by itself", function()
      local called, seen = 0, {}
      local own = leat.new { api_key = server.api_key, base_url = server.url, cache = true, headers = function()
        called = called + 1
        return { traceparent = tostring(called) }
      end }
      tasks.map({ "1", "1" }, function(value) return find(own, value) end)
      assert.equal(0, called)
      tasks.map({ "1", "2" }, function(value) return find(own, value, { max_age = 0 }) end)
      find(own, "3")
      for i, request in ipairs(server:requests()) do
        seen[i] = request.headers.traceparent or "none"
      end
      table.sort(seen)
      assert.same({ "1", "2", "3", "none" }, seen)
      own:close()
    end)

    it("are not canceled with the task that began the request", function()
      server:fault { operation = "find", delay = 0.2 }
      local first = tasks.spawn(find, client)
      local second = tasks.spawn(find, client)
      tasks.poll()
      first:cancel()
      assert.equal("one", second:wait().name)
      assert.equal("canceled", select(2, first:wait()).kind)
      assert.equal(1, #server:requests())
    end)

    it("send nothing in a task that was canceled", function()
      local seen = {}
      local task = tasks.spawn(function()
        find(client, "2")
        for i, value in ipairs { "1", "3" } do
          seen[i] = select(2, find(client, value)).kind
        end
      end)
      task:cancel()
      tasks.run()
      assert.same({ "canceled", "canceled" }, seen)
      assert.equal(1, #server:requests())
    end)

    it("are refreshed in the background with a limiter", function()
      local limiter = require("leat.limiter").new(dofile("spec/support/memory_store.lua")())
      local own = leat.new { api_key = server.api_key, base_url = server.url, rate = 20, limiter = limiter,
        cache = { ttl = 0.05, grace = 600 } }
      tasks.spawn(function() find(own) end)
      tasks.run()
      socket.sleep(0.1)
      local info
      tasks.spawn(function() info = select(3, find(own)) end)
      tasks.run()
      assert.equal("stale", info.cached)
      assert.equal(2, #server:requests())
      own:close()
      limiter:close()
    end)

    it("say so if the token function finds a card with its own client", function()
      local own, task
      own = leat.new { base_url = server.url, cache = true, token = function()
        return own.contact_identifiers:find("1") and server.api_key
      end }
      task = tasks.spawn(find, own)
      local fine, why = pcall(task.wait, task)
      assert.is_false(fine)
      assert.truthy(tostring(why):find("the token function uses its own client", 1, true), why)
      own:close()
    end)

    it("raise the same error in all tasks", function()
      local driver = { perform = function() error("no driver") end }
      local broken = leat.new { api_key = "k", driver = driver, cache = true }
      local list = { tasks.spawn(find, broken), tasks.spawn(find, broken) }
      for _, task in ipairs(list) do
        local fine, why = pcall(task.wait, task)
        assert.is_false(fine)
        assert.truthy(tostring(why):find("no driver", 1, true))
      end
    end)

    it("do not join a find that began before a change", function()
      server:fault { operation = "find", delay = 0.3, stale = true, nth = 1 }
      local old = tasks.spawn(find, client)
      repeat tasks.poll(0.01) until #server:requests("find") == 1
      local new
      tasks.spawn(function()
        assert(client.contact_identifiers:update("1", { name = "two" }))
        client.contact_identifiers:forget("1")
        new = find(client)
      end)
      tasks.run()
      assert.equal("two", new.name)
      old:wait()
      assert.equal("two", find(client).name)
    end)
  end)
end)
