-- What clients count, leat.prometheus, and client:health(). Most of it over a transport on a clock that stands still
-- unless a call waits; then over the sandbox, in tasks.
local leat = require("leat")
local parse = dofile("spec/support/prometheus.lua")
local prometheus = require("leat.prometheus")
local raises = dofile("spec/support/raises.lua")("spec/metrics_spec.lua")
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")
local tasks = require("leat.tasks")
local transport = require("leat.transport")

local FIND, CREATE = 'operation="contact_identifiers.find"', 'operation="contact_identifiers.create"'
local LOST = { kind = "timeout", sent = "maybe" }
local CARD = '{"data":{"value":"0042"}}'
local NOT_FOUND = { 400, nil, '{"message":"m","code":60003}' }

describe("a client", function()
  local ms, script -- the time; responses { status, headers, body }, or failures
  local unix_time = os.time

  before_each(function()
    ms, script = 1000000, {}
    os.time = function() return 1700000000 end -- luacheck: ignore 122
  end)

  after_each(function()
    os.time = unix_time -- luacheck: ignore 122
  end)

  local function pass(seconds)
    ms = ms + seconds * 1000
  end

  local function respond()
    local response = table.remove(script, 1) or { 200 }
    if response.kind then
      return nil, response
    end
    local headers = { ["Content-Type"] = "application/json" }
    for name, value in pairs(response[2] or {}) do
      headers[name] = value
    end
    return response[1], headers, response[3] or CARD
  end

  -- Makes a client that gets these responses, and then a card.
  local function play(responses, options)
    script, options = responses, options or {}
    options.api_key = options.api_key or not options.client_id and secrets.key or nil
    options.driver = transport.new(respond, { now = function() return ms, 1700000000 end, sleep = pass })
    local client = leat.new(options)
    return client.contact_identifiers, client
  end

  local function read(client, options)
    return parse(prometheus.text(client, options))
  end

  -- ---- counters -------------------------------------------------------------------------

  it("counts calls and requests by operation, purpose and kind, without an option", function()
    local token = { 200, nil, '{"access_token":"a-token","expires_in":3600}' }
    local cards, client = play({ token, { 200 }, NOT_FOUND, LOST, { 200 }, { 500 }, { 500 } }, { client_id = "me",
      client_secret = secrets.secret, max_attempts = 2 })
    leat.assert(cards:find("0042"))
    assert.equal("not_found", select(2, cards:find("0042")).kind)
    leat.assert(cards:create("0042"))
    assert.equal("server", select(2, client:request("GET", "/x")).kind)
    local metrics = read(client)
    assert.same({ ['kind="ok",' .. FIND] = 1, ['kind="not_found",' .. FIND] = 1, ['kind="ok",' .. CREATE] = 1,
      ['kind="server",operation="client.request"'] = 1 }, metrics.leat_calls_total)
    assert.same({
      ['kind="ok",' .. FIND .. ',purpose="token"'] = 1,
      ['kind="ok",' .. FIND .. ',purpose="call"'] = 1,
      ['kind="not_found",' .. FIND .. ',purpose="call"'] = 1,
      ['kind="timeout",' .. CREATE .. ',purpose="call"'] = 1,
      ['kind="ok",' .. CREATE .. ',purpose="verify"'] = 1,
      ['kind="server",operation="client.request",purpose="call"'] = 2,
    }, metrics.leat_attempts_total)
  end)

  it("counts the same with a hook, and in all its views", function()
    local seen = {}
    local cards, client = play({ { 500 } }, { on_attempt = function(attempt) seen[#seen + 1] = attempt end })
    leat.assert(cards:find("0042"))
    local view = client:with { timeout = 2 }
    leat.assert(view.contact_identifiers:find("0042"))
    assert.equal(3, #seen)
    local wanted = { ['kind="ok",' .. FIND .. ',purpose="call"'] = 2,
      ['kind="server",' .. FIND .. ',purpose="call"'] = 1 }
    assert.same(wanted, read(view).leat_attempts_total)
    assert.equal(prometheus.text(client), prometheus.text(view))
  end)

  it("counts how long calls waited, by the reason", function()
    local cards, client = play({ { 200 }, { 200 }, { 429, { ["Retry-After"] = "3" } } }, { rate = 2 })
    assert.same({ ['reason="connection"'] = 0, ['reason="token"'] = 0, ['reason="slot"'] = 0, ['reason="pause"'] = 0 },
      read(client).leat_queue_seconds_total)
    for _ = 1, 3 do
      leat.assert(cards:find("0042"))
    end
    assert.same({ ['reason="connection"'] = 0, ['reason="token"'] = 0, ['reason="slot"'] = 1, ['reason="pause"'] = 3 },
      read(client).leat_queue_seconds_total)
  end)

  it("has nothing but gauges and queues before the first call", function()
    local names = {}
    for name in pairs(read(select(2, play {}))) do
      names[#names + 1] = name
    end
    table.sort(names)
    assert.same({ "leat_healthy", "leat_pause_seconds", "leat_queue_seconds_total" }, names)
  end)

  it("counts finds by what its cache had", function()
    local cards, client = play({ NOT_FOUND, { 500 } }, { cache = { negative_ttl = 10 }, max_attempts = 1 })
    for _ = 1, 3 do
      assert.equal("not_found", select(2, cards:find("0042")).kind)
    end
    assert.equal("server", select(2, cards:find("0043")).kind)
    local metrics = read(client)
    assert.same({ ['result="hit"'] = 0, ['result="negative_hit"'] = 2, ['result="stale"'] = 0, ['result="miss"'] = 2 },
      metrics.leat_finds_total)
    for _, name in ipairs { "coalesced_finds", "rescued_finds", "refused_refreshes", "outrun_responses",
      "unstored_responses" } do
      assert.same({ [""] = 0 }, metrics["leat_" .. name .. "_total"], name)
    end
    assert.same({ ['kind="not_found",' .. FIND] = 1, ['kind="server",' .. FIND] = 1 }, metrics.leat_calls_total)
  end)

  -- ---- gauges ---------------------------------------------------------------------------

  it("shows the pause that is left, and what the service said about its rate limit", function()
    local cards, client = play({ { 200, { ["X-RateLimit-Limit"] = "500", ["X-RateLimit-Remaining"] = "499" } },
      { 429, { ["Retry-After"] = "120" } } }, { max_attempts = 1 })
    leat.assert(cards:find("0042"))
    local metrics = read(client)
    assert.same({ { [""] = 500 }, { [""] = 499 }, { [""] = 0 }, { [""] = 1 } }, { metrics.leat_rate_limit_requests,
      metrics.leat_rate_limit_remaining_requests, metrics.leat_pause_seconds, metrics.leat_healthy })
    assert.is_nil(metrics.leat_last_failure_timestamp_seconds)
    cards:find("0042")
    pass(10.5)
    metrics = read(client)
    assert.same({ { [""] = 109.5 }, { [""] = 0 } }, { metrics.leat_pause_seconds, metrics.leat_healthy })
    local failed = metrics.leat_last_failure_timestamp_seconds[""]
    assert.truthy(failed >= os.time() - 12 and failed <= os.time() - 10, failed)
    assert.truthy(metrics.leat_last_success_timestamp_seconds[""] <= failed)
  end)

  -- ---- the text -------------------------------------------------------------------------

  it("is rendered line by line, in a fixed order", function()
    local cards, client = play {}
    leat.assert(cards:find("0042"))
    local text = prometheus.text(client)
    assert.equal([[
# HELP leat_calls_total Calls that ended, by operation and kind of error.
# TYPE leat_calls_total counter
leat_calls_total{operation="contact_identifiers.find",kind="ok"} 1
# HELP leat_attempts_total HTTP requests that ended, by their call's operation, purpose and kind of error.
# TYPE leat_attempts_total counter
leat_attempts_total{operation="contact_identifiers.find",purpose="call",kind="ok"} 1
# HELP leat_queue_seconds_total Time that calls waited before they were sent, by what they waited for.
# TYPE leat_queue_seconds_total counter
leat_queue_seconds_total{reason="connection"} 0.000
leat_queue_seconds_total{reason="pause"} 0.000
leat_queue_seconds_total{reason="slot"} 0.000
leat_queue_seconds_total{reason="token"} 0.000
]], text:match("^(.-)# HELP leat_healthy"))
    assert.equal("text/plain; version=0.0.4; charset=utf-8", prometheus.content_type)
  end)

  it("has the labels of its program, escaped", function()
    local _, client = play {}
    local labels = { shop = 'Zum "B\\ären"\n', area = "1" }
    local text = prometheus.text(client, { labels = labels })
    assert.truthy(text:find('\nleat_healthy{area="1",shop="Zum \\"B\\\\ären\\"\\n"} 1\n', 1, true), text)
    local metrics, shop = parse(text), ("shop=%q"):format(labels.shop)
    assert.same({ ['area="1",' .. shop] = 1 }, metrics.leat_healthy)
    assert.equal(0, metrics.leat_queue_seconds_total['area="1",reason="slot",' .. shop])
  end)

  it("shares a page with others", function()
    local cards, one = play {}
    local _, other = play({}, { cache = true })
    leat.assert(cards:find("0042"))
    local metrics = read { { client = one, labels = { shop = "a" } }, { client = other, labels = { shop = "b" } } }
    assert.same({ ['shop="a"'] = 1, ['shop="b"'] = 1 }, metrics.leat_healthy)
    assert.same({ ['kind="ok",' .. FIND .. ',shop="a"'] = 1 }, metrics.leat_calls_total)
    assert.same({ ['shop="b"'] = 0 }, metrics.leat_rescued_finds_total)
  end)

  it("shows no key, no secret and no card", function()
    local cards, client = play({ { 401 }, { 401 } }, { max_attempts = 1 })
    cards:find("a-card")
    cards:find("a-card")
    cards:create("a-card", { name = "a-name" })
    local text = prometheus.text(client)
    for _, secret in ipairs { secrets.key, "a-card", "a-name", "0042", "127.0.0.1", "piggy" } do
      assert.is_nil(text:find(secret, 1, true), secret)
    end
  end)

  it("is not rendered if the arguments are wrong", function()
    local cards, client = play {}
    local function refuse(message, clients, options)
      raises("leat.prometheus.text: " .. message, function() prometheus.text(clients, options) end)
    end
    refuse("give a client", nil)
    refuse("option 'label' is unknown: did you mean 'labels'?", client, { label = {} })
    refuse("labels must be a table", client, { labels = "shop" })
    refuse("'1shop' cannot be the name of a label", client, { labels = { ["1shop"] = "a" } })
    refuse("'a b' cannot be the name of a label", client, { labels = { ["a b"] = "a" } })
    refuse("'__shop' cannot be the name of a label", client, { labels = { __shop = "a" } })
    refuse("'1' cannot be the name of a label", client, { labels = { "a" } })
    for _, name in ipairs { "operation", "purpose", "kind", "reason", "result" } do
      refuse(("the metrics have labels '%s' of their own"):format(name), client, { labels = { [name] = "a" } })
    end
    for _, value in ipairs { "", 1, true, "\255", "\195", "\224\128\128", "\237\160\128", "\195\195\169",
      "\244\144\128\128", "\224\160\195\169\128" } do
      refuse("the label 'shop' must be a string in UTF-8", client, { labels = { shop = value } })
    end
    refuse("client must be a client", { { client = cards } })
    refuse("client must be a client", { { labels = {} } })
    refuse("two clients have the same labels", { { client = client }, { client = client } })
    refuse("the labels of several clients belong into their list", { { client = client } }, { labels = {} })
    for _, value in ipairs { "a", "é", "€", "\240\159\146\179", "\244\143\191\191", "\0" } do
      assert.truthy(parse(prometheus.text(client, { labels = { shop = value } })))
    end
  end)

  -- ---- health ---------------------------------------------------------------------------

  it("is healthy until a call fails, and again once one works", function()
    local cards, client = play({ NOT_FOUND, { 500 }, { 200 } }, { max_attempts = 1 })
    assert.same({ ok = true }, client:health())
    cards:find("0042")
    pass(5)
    assert.same({ ok = true, last_success = 5 }, client:health())
    cards:find("0042")
    assert.same({ ok = false, last_success = 5, last_failure = 0, kind = "server" }, client:health())
    pass(3)
    cards:find("0042")
    pass(1)
    assert.same({ ok = true, last_success = 1, last_failure = 4, kind = "server" }, client:health())
  end)

  it("stays healthy if a retry works", function()
    local cards, client = play { { 500 }, { 200 } }
    leat.assert(cards:find("0042"))
    assert.is_true(client:health().ok)
    assert.is_nil(client:health().last_failure)
  end)

  it("is given another chance a minute after a failure", function()
    local cards, client = play({ { kind = "connection", sent = "no" } }, { max_attempts = 1 })
    cards:find("0042")
    pass(59.9)
    assert.same({ ok = false, last_failure = 59.9, kind = "connection" }, client:health())
    pass(0.1)
    assert.same({ ok = true, last_failure = 60, kind = "connection" }, client:health())
  end)

  it("is unhealthy throughout a pause in which all calls fail", function()
    local cards, client = play { { 503, { ["Retry-After"] = "300" } } }
    cards:find("0042")
    pass(200)
    assert.same({ ok = false, last_failure = 200, kind = "maintenance", paused = 100 }, client:health())
    pass(100)
    assert.same({ ok = true, last_failure = 300, kind = "maintenance" }, client:health())
  end)

  it("is healthy in a pause in which calls wait", function()
    local cards, client = play { { 429, { ["Retry-After"] = "30" } } }
    local seen
    client.driver.clock.sleep = function(seconds)
      seen = client:health()
      pass(seconds)
    end
    leat.assert(cards:find("0042"))
    assert.same({ ok = true, paused = 30 }, seen)
    assert.same({ ok = true, last_success = 0 }, client:health())
  end)

  it("has no health if it is called with a dot", function()
    local _, client = play {}
    raises("leat: call it with a colon: client:health(...)", function() client.health() end)
  end)

  it("tells its health and its numbers when it is closed", function()
    local cards, client = play {}
    leat.assert(cards:find("0042"))
    local text = prometheus.text(client)
    client:close()
    assert.same({ ok = true, last_success = 0 }, client:health())
    assert.equal(text, prometheus.text(client))
  end)
end)

describe("metrics of tasks", function()
  it("count every request that the service received", function()
    local list = {}
    for i = 1, 40 do
      list[i] = { value = tostring(i) }
    end
    local server = assert(sandbox.start { cards = list })
    local client = leat.new { api_key = server.api_key, base_url = server.url, max_connections = 2, retry_base = 0.001 }
    server:fault { operation = "find", kind = "server", times = 5 }
    server:fault { operation = "delete", kind = "connection", apply = true, times = 2 }
    for i = 1, 40 do
      tasks.spawn(function()
        leat.assert(client.contact_identifiers:find(tostring(i)))
      end)
    end
    tasks.run()
    for i = 1, 2 do
      leat.assert(client.contact_identifiers:delete(tostring(i)))
    end
    local metrics, requests = parse(prometheus.text(client)), 0
    for _, number in pairs(metrics.leat_attempts_total) do
      requests = requests + number
    end
    assert.equal(#server:requests(), requests)
    assert.equal(40, metrics.leat_calls_total['kind="ok",' .. FIND])
    assert.equal(5, metrics.leat_attempts_total['kind="server",' .. FIND .. ',purpose="call"'])
    local delete = 'operation="contact_identifiers.delete"'
    assert.equal(2, metrics.leat_calls_total['kind="ok",' .. delete])
    assert.equal(2, metrics.leat_attempts_total['kind="not_found",' .. delete .. ',purpose="verify"'])
    assert.equal(0, metrics.leat_queue_seconds_total['reason="pause"'])
    client:close()
    server:stop()
  end)

  it("count the wait for a connection", function()
    local server = assert(sandbox.start { cards = { { value = "1" } } })
    local client = leat.new { api_key = server.api_key, base_url = server.url, max_connections = 1 }
    server:fault { operation = "find", delay = 0.2 }
    for _ = 1, 2 do
      tasks.spawn(function() leat.assert(client.contact_identifiers:find("1")) end)
    end
    tasks.run()
    local waited = parse(prometheus.text(client)).leat_queue_seconds_total['reason="connection"']
    assert.truthy(waited >= 0.19, waited)
    client:close()
    server:stop()
  end)
end)

describe("the specs' parser", function()
  local HEAD = "# HELP a_total Help.\n# TYPE a_total counter\n"

  it("reads what it should", function()
    assert.same({ a_total = { [""] = 1, ['b="c",d="\\"\\\\"'] = 2.5 } },
      parse(HEAD .. 'a_total 1\na_total{d="\\"\\\\",b="c"} 2.5\n'))
  end)

  local malformed = {
    "", "\n", "a_total 1\n", HEAD, HEAD .. "a_total 1", HEAD .. "a_total  1\n", HEAD .. "a_total 1 \n",
    HEAD .. "a_total\n", HEAD .. "a_total x\n", HEAD .. "a_total -1\n", HEAD .. "a_total 1,5\n",
    HEAD .. "a_total 1e9\n", HEAD .. "a_total 1\n\n", HEAD .. "b_total 1\n", HEAD .. "a_total 1\na_total 2\n",
    HEAD .. 'a_total{} 1\n', HEAD .. 'a_total{b="c"}1\n', HEAD .. 'a_total{b=c} 1\n', HEAD .. 'a_total{b="c} 1\n',
    HEAD .. 'a_total{b="c",} 1\n', HEAD .. 'a_total{b="c" d="e"} 1\n', HEAD .. 'a_total{b="c",b="d"} 1\n',
    HEAD .. 'a_total{b="\\x"} 1\n', HEAD .. 'a_total{b="c"d"} 1\n', HEAD .. 'a_total{1b="c"} 1\n',
    HEAD .. 'a_total{b="c",d="e"} 1\na_total{d="e",b="c"} 1\n', HEAD .. "a_total 1\n" .. HEAD .. "a_total{b=\"c\"} 1\n",
    "# TYPE a_total counter\na_total 1\n", "# HELP a_total Help.\na_total 1\n",
    "# HELP a_total Help.\n# TYPE b_total counter\na_total 1\n", "# HELP a_total \n# TYPE a_total counter\na_total 1\n",
    "# HELP a_total Help.\n# TYPE a_total histogram\na_total 1\n", "# HELP a Help.\n# TYPE a counter\na 1\n",
    "# HELP a_total Help.\n# TYPE a_total gauge\na_total 1\n", "# comment\n" .. HEAD .. "a_total 1\n",
  }
  for i, text in ipairs(malformed) do
    it(("refuses malformed text %d"):format(i), function()
      assert.is_false((pcall(parse, text)), text)
    end)
  end
end)
