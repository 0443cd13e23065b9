-- Calls that make several attempts. The recorder supplies the clock, so that nothing really waits.
local leat = require("leat")
local secrets = dofile("spec/support/secrets.lua")
local new_recorder = require("leat.recorder").new

local LOST = { kind = "timeout", sent = "maybe" }
local NOT_FOUND = { status = 400, body = { message = "Contact identifier not found.", code = 60003 } }

local function card(fields)
  fields = fields or {}
  fields.value = fields.value or "1"
  return { status = 200, body = { data = fields } }
end

local function play(responses, options)
  local recorder = new_recorder(responses)
  options = options or {}
  options.api_key, options.driver = secrets.key, recorder.driver
  return leat.new(options).contact_identifiers, recorder
end

local function methods(recorder)
  local list = {}
  for i, request in ipairs(recorder.requests) do
    list[i] = request.method
  end
  return table.concat(list, " ")
end

describe("a call", function()
  it("is sent again when that is safe", function()
    local cards, recorder = play { LOST, { kind = "connection", sent = "no" }, card() }
    local found, _, info = cards:find("1")
    assert.equal("1", found.value)
    assert.equal(3, info.attempts)
    assert.is_nil(info.outcome)
    assert.equal(2, #recorder.waits)
    assert.truthy(recorder.waits[1] >= 0.05 and recorder.waits[1] <= 0.5)
    assert.truthy(recorder.waits[2] >= 0.05 and recorder.waits[2] <= 1)
  end)

  it("tells what validation refused, a list of messages for each field", function()
    local cards = play { { status = 422, body = { message = "no", errors = {
      value = { "too short", "not a number" }, name = "too long" } } } }
    local _, err = cards:create("1")
    assert.equal("invalid_input", err.kind)
    assert.same({ value = { "too short", "not a number" }, name = { "too long" } }, err.fields)
  end)

  it("waits for as long as chance has it", function()
    local least, most = math.huge, 0
    for _ = 1, 20 do
      local cards, recorder = play { LOST, card() }
      cards:find("1")
      least, most = math.min(least, recorder.waits[1]), math.max(most, recorder.waits[1])
    end
    assert.truthy(most > least + 0.05, most)
  end)

  it("whose response was lost is verified", function()
    local cards, recorder = play { LOST, card { name = "Gold" } }
    local created, err, info = cards:create("1", { name = "Gold" })
    assert.is_nil(err)
    assert.same({ value = "1", name = "Gold" }, created)
    assert.equal("recovered", info.outcome)
    assert.equal("POST GET", methods(recorder))
  end)

  it("is sent once more when it did not happen", function()
    local cards, recorder = play { LOST, NOT_FOUND, NOT_FOUND, card() }
    local _, err, info = cards:create("1")
    assert.is_nil(err)
    assert.is_nil(info.outcome)
    assert.equal(4, info.attempts)
    assert.equal("POST GET GET POST", methods(recorder))
    assert.same({ 1 }, recorder.waits) -- the first verifying find goes out at once, the second a second later
  end)

  it("says what contradicts it", function()
    local cards, recorder = play { LOST, card { name = "Silver" }, card { name = "Silver" } }
    local none, err = cards:create("1", { name = "Gold" })
    assert.is_nil(none)
    assert.equal("conflict", err.kind)
    assert.is_true(err.outcome_unknown) -- it may have been in the requested state in between
    assert.equal("Silver", err.card.name)
    assert.truthy(err.message:find("Silver", 1, true))
    assert.equal("POST GET GET", methods(recorder))
    recorder.script[4] = card { name = "Gold" }
    assert.equal("Gold", leat.assert(err.card:update { name = "Gold" }).name) -- it is an ordinary card
  end)

  it("believes no single find that shows something else", function()
    local bob = card { contact = { uuid = "bob" } }
    for _, old in ipairs { NOT_FOUND, card(), bob, { status = 400, body = { message = "Inactive.", code = 60004 } } } do
      local cards, recorder = play { LOST, old, card { contact = { uuid = "ann" } } }
      local linked, _, info = cards:link("1", "ann")
      assert.equal("ann", linked and linked.contact.uuid)
      assert.equal("recovered", info.outcome)
      assert.equal("PUT GET GET", methods(recorder))
      assert.same({ 1 }, recorder.waits)
    end
  end)

  it("that got a 503 may have changed something", function()
    local DOWN = { status = 503, body = { message = "Service Unavailable" } }
    local cards, recorder = play { DOWN, card() }
    local _, _, info = cards:create("1")
    assert.equal("recovered", info.outcome)
    assert.equal("POST GET", methods(recorder))
    cards = play { DOWN, DOWN, DOWN, DOWN }
    local _, err = cards:create("1")
    assert.same({ "maintenance", true }, { err.kind, err.outcome_unknown })
    assert.truthy(err.message:find("safe to repeat", 1, true))
    cards = play { DOWN, DOWN, DOWN, DOWN }
    _, err = cards:unlink("1")
    assert.same({ "maintenance", true }, { err.kind, err.outcome_unknown })
    assert.is_nil(err.message:find("safe to repeat", 1, true))
    recorder = new_recorder { DOWN }
    _, err = leat.new({ api_key = "k", driver = recorder.driver }):request("POST", "/contacts", { body = {} })
    assert.same({ "maintenance", true, 1 }, { err.kind, err.outcome_unknown, #recorder.requests })
  end)

  it("says when it could not be found out", function()
    local cards, recorder = play { LOST, LOST, LOST, LOST }
    local none, err = cards:link("1", "u")
    assert.is_nil(none)
    assert.equal("timeout", err.kind)
    assert.is_true(err.outcome_unknown)
    assert.equal("maybe", err.sent)
    assert.equal("PUT GET GET GET", methods(recorder))
    assert.truthy(tostring(err):find("outcome unknown", 1, true))
  end)

  it("of a card that was gone already is recovered", function()
    local cards = play { LOST, NOT_FOUND }
    local gone, _, info = cards:delete("1")
    assert.is_true(gone)
    assert.equal("recovered", info.outcome)
  end)

  it("is made once where that is asked for", function()
    local cards, recorder = play({ LOST }, { max_attempts = 1 })
    local _, err = cards:create("1")
    assert.is_true(err.outcome_unknown)
    assert.equal(1, err.attempts)
    assert.same({}, recorder.waits)
    local recorder2 = new_recorder { LOST }
    local client = leat.new { api_key = "k", driver = recorder2.driver }
    _, err = client:with({ max_attempts = 1 }).contact_identifiers:create("1")
    assert.is_true(err.outcome_unknown)
    assert.equal(1, #recorder2.requests)
  end)

  it("waits as long as the service asks, and no longer than is sensible", function()
    local busy = { status = 429, body = { message = "Too Many Attempts." }, headers = { ["Retry-After"] = "40" } }
    local cards, recorder = play { busy, card() }
    assert.equal("1", leat.assert(cards:find("1")).value)
    assert.same({ 40 }, recorder.waits)
    busy.headers["Retry-After"] = "3600"
    cards, recorder = play { busy }
    local _, err = cards:find("1")
    assert.equal("rate_limited", err.kind)
    assert.equal(3600, err.retry_after)
    assert.same({}, recorder.waits)
  end)

  it("is not sent while the service asks for a longer wait than a minute", function()
    local busy = { status = 429, body = { message = "Too Many Attempts." }, headers = { ["Retry-After"] = "100" } }
    local recorder = new_recorder { busy, card() }
    local client = leat.new { api_key = "k", driver = recorder.driver }
    client.contact_identifiers:find("1")
    for _ = 1, 500 do
      local _, err = client.contact_identifiers:find("1")
      assert.same({ "rate_limited", "no", 100, 0 }, { err.kind, err.sent, err.retry_after, err.attempts })
    end
    assert.equal(1, #recorder.requests)
    assert.same({ paused = 100, kind = "rate_limited" }, client:rate_limit())
  end)

  it("with one attempt waits for nothing, and heeds a 429", function()
    local busy = { status = 429, body = { message = "Too Many Attempts." }, headers = { ["Retry-After"] = "5" } }
    local recorder = new_recorder { busy, card() }
    local client = leat.new { api_key = "k", driver = recorder.driver }
    local cards = client:with({ max_attempts = 1 }).contact_identifiers
    cards:find("1")
    local _, err = cards:find("1")
    assert.same({ "rate_limited", "no", 5 }, { err.kind, err.sent, err.retry_after })
    assert.same({}, recorder.waits)
    leat.assert(client.contact_identifiers:find("1")) -- this one waits
    assert.same({ 5 }, recorder.waits)
  end)

  it("of a view may be the repetition of one whose process died", function()
    local cards, recorder = play { card(), card(), NOT_FOUND }
    local client = cards.parent
    local view = client:with { maybe_applied = true }
    assert.equal("recovered", select(3, view.contact_identifiers:create("1")).outcome)
    assert.equal("recovered", select(3, view:with({ timeout = 5 }).contact_identifiers:create("1")).outcome)
    local _, err = view.contact_identifiers:find("1")
    assert.same({ "not_found", false }, { err.kind, err.outcome_unknown })
    assert.equal("GET GET GET", methods(recorder))
    assert.has_error(function() client:with { maybe_applied = 1 } end)
  end)

  it("is not verified in a view that says it was not", function()
    local cards, recorder = play { card(), card() }
    local view = cards.parent:with { maybe_applied = true }
    leat.assert(view:with({ maybe_applied = false }).contact_identifiers:create("1"))
    leat.assert(cards:create("1")) -- and the client is as it was
    assert.equal("POST POST", methods(recorder))
  end)

  it("says that the retry budget kept it from being sent again", function()
    local cards, recorder = play({ LOST, LOST, card() }, { retry_budget = 10 })
    local _, err = cards:find("1")
    assert.truthy(err.message:find("retry_budget", 1, true))
    assert.equal(2, #recorder.requests)
    cards = play({ LOST, LOST, LOST, LOST, LOST, card() }, { retry_budget = false, max_attempts = 0 })
    assert.equal("1", leat.assert(cards:find("1")).value)
    cards = play({ LOST, LOST, LOST, card() }, { max_attempts = 2 })
    assert.equal(2, select(2, cards:find("1")).attempts)
  end)

  it("changes only the card of the contact that is expected", function()
    local ann, bob = card { contact = { uuid = "ann" } }, card { contact = { uuid = "bob" } }
    local ways = {
      unlink = function(cards, options) return cards:unlink("1", options) end,
      delete = function(cards, options) return cards:delete("1", options) end,
      update = function(cards, options) return cards:update("1", { name = "N", expect = options.expect }) end,
    }
    for name, way in pairs(ways) do
      local cards, recorder = play { ann, name == "delete" and { status = 200, body = { data = {} } } or card() }
      assert.truthy(leat.assert(way(cards, { expect = "ann" })))
      assert.equal(2, #recorder.requests)
      for _, case in ipairs { { bob, "ann" }, { card(), "ann" }, { ann, false } } do
        cards, recorder = play { case[1] }
        local none, err = way(cards, { expect = case[2] })
        assert.is_nil(none)
        assert.same({ "conflict", false, "GET" }, { err.kind, err.outcome_unknown, methods(recorder) })
        assert.same(case[1].body.data.contact, err.card.contact)
      end
    end
    local cards, recorder = play { ann, card() }
    leat.assert(cards:wrap({ value = "1" }):unlink { expect = "ann" })
    assert.equal("GET PUT", methods(recorder))
    for _, wrong in ipairs { true, 1, "" } do
      assert.has_error(function() cards:unlink("1", { expect = wrong }) end)
    end
    assert.has_error(function() cards:link("1", "ann", { expect = "ann" }) end)
  end)

  it("keeps to a rate", function()
    local cards, recorder = play({ card(), card(), card() }, { rate = 5 })
    for _ = 1, 3 do
      leat.assert(cards:find("1"))
    end
    assert.equal(2, #recorder.waits)
    assert.truthy(math.abs(recorder.waits[1] - 0.2) < 0.002)
  end)

  it("does not stand in line for ever if that is not wanted", function()
    local cards = play({ card() }, { rate = 0.1, queue_timeout = 2 })
    leat.assert(cards:find("1"))
    local _, err = cards:find("1")
    assert.equal("timeout", err.kind)
    assert.equal("no", err.sent)
    assert.truthy(err.message:find("queue_timeout", 1, true))
  end)

  it("waits as long as a view may, also before a find that verifies", function()
    local cards, recorder = play({ card(), card(), LOST, card { value = "new" } }, { rate = 0.1, queue_timeout = 2 })
    leat.assert(cards:find("1"))
    local _, err = cards.parent:with({ queue_timeout = 9.9 }).contact_identifiers:find("1")
    assert.equal("timeout", err.kind)
    assert.truthy(err.message:find("queue_timeout", 1, true))
    local view = cards.parent:with { queue_timeout = 10 }
    leat.assert(view.contact_identifiers:find("1"))
    assert.same({ 10 }, recorder.waits)
    local outcome = select(3, view:with({ queue_timeout = 20 }).contact_identifiers:create("new")).outcome
    assert.equal("recovered", outcome)
    assert.equal(4, #recorder.requests)
  end)

  it("refuses settings that are none", function()
    for _, options in ipairs { { max_attempts = -1 }, { max_attempts = 101 }, { retry_budget = 0 },
      { retry_budget = true }, { max_attempts = 1.5 }, { rate = 0 },
      { rate = -1 }, { rate = "5" }, { retry_base = 0 }, { retry_cap = 1e9 }, { queue_timeout = -1 } } do
      options.api_key = "k"
      assert.has_error(function()
        leat.new(options)
      end)
    end
  end)
end)

describe("on_attempt", function()
  local function watch(responses, options)
    local seen = {}
    options = options or {}
    options.on_attempt = function(attempt)
      seen[#seen + 1] = attempt
    end
    local cards = play(responses, options)
    return cards, seen
  end

  it("is told of each exchange, without the card's value", function()
    local cards, seen = watch { LOST, NOT_FOUND, card() }
    assert(cards:create("1"))
    assert.equal(3, #seen)
    local first = seen[1]
    assert.equal(0, first.wait_milliseconds)
    first.wait_milliseconds = nil
    assert.same({ operation = "contact_identifiers.create", purpose = "call", attempt = 1, kind = "timeout",
      sent = "maybe", reused = false, milliseconds = 0 }, first)
    assert.same({ operation = "contact_identifiers.create", purpose = "verify", attempt = 2, kind = "not_found",
      code = 60003, status = 400, sent = "maybe", reused = false, milliseconds = 0, wait_milliseconds = 1000 }, seen[2])
    assert.same({ operation = "contact_identifiers.create", purpose = "verify", attempt = 3, status = 200,
      sent = "maybe", reused = false, milliseconds = 0 }, seen[3])
  end)

  it("shows the value where that is asked for", function()
    local cards, seen = watch({ card() }, { show_values = true })
    assert(cards:find("1"))
    assert.equal("1", seen[1].value)
  end)

  it("shows no value of a call that is about no card", function()
    local seen = {}
    local recorder = new_recorder { { status = 200, body = { data = {} } }, { status = 200, body = { data = {} } },
      { status = 200, body = '{"data":[]}' } }
    local client = leat.new { api_key = "k", driver = recorder.driver, show_values = true,
      on_attempt = function(attempt) seen[#seen + 1] = attempt end }
    assert(client:check())
    assert(client:request("GET", "/contacts"))
    assert(client.contact_identifiers:list { contact_uuid = "ann" })
    assert.equal(3, #seen)
    for i = 1, 3 do
      assert.is_nil(seen[i].value)
    end
  end)

  it("is called between attempts, not when all is over", function()
    local recorder, heard = nil, {}
    local cards
    cards, recorder = play({ LOST, card() }, { on_attempt = function()
      heard[#heard + 1] = #recorder.requests
    end })
    assert(cards:find("1"))
    assert.same({ 1, 2 }, heard)
  end)

  it("may raise: the call raises it", function()
    local cards = play({ LOST, card() }, { on_attempt = function() error("mine", 0) end })
    local fine, why = pcall(cards.create, cards, "1")
    assert.is_false(fine)
    assert.truthy(why:find("^mine\n%(leat: this interrupted a change that may have happened"), why)
  end)

  it("hears of tokens, and never of what they are", function()
    local seen = {}
    local token = { access_token = "secret-token", expires_in = 60 }
    local recorder = new_recorder { { status = 200, body = token }, card() }
    local cards = leat.new { client_id = "me", client_secret = "the-secret", driver = recorder.driver,
      on_attempt = function(attempt) seen[#seen + 1] = attempt end }.contact_identifiers
    assert(cards:find("1"))
    assert.equal("token", seen[1].purpose)
    assert.equal("call", seen[2].purpose)
    for _, attempt in ipairs(seen) do
      for _, field in pairs(attempt) do
        assert.is_nil(tostring(field):find("secret", 1, true))
      end
    end
  end)
end)

describe("client:rate_limit", function()
  it("is what the service said last", function()
    local said = card()
    said.headers = { ["X-RateLimit-Limit"] = "5000", ["X-RateLimit-Remaining"] = "4711" }
    local recorder = new_recorder { card(), said, NOT_FOUND }
    local client = leat.new { api_key = "k", driver = recorder.driver }
    leat.assert(client.contact_identifiers:find("1"))
    assert.is_nil(client:rate_limit())
    leat.assert(client.contact_identifiers:find("1"))
    assert.same({ limit = 5000, remaining = 4711 }, client:rate_limit())
    client.contact_identifiers:find("1") -- does not mention it
    assert.same({ limit = 5000, remaining = 4711 }, client:rate_limit())
    assert.same({ limit = 5000, remaining = 4711 }, client:with({ timeout = 1 }):rate_limit())
  end)
end)

describe("the next step of ensure", function()
  local function next_step(there, desired)
    there.value, desired.value = "1", "1"
    return require("leat.ensure").next_step(there, desired, function(text) return "<" .. text .. ">" end)
  end
  local ANN = { uuid = "ann" }

  it("is what is missing", function()
    assert.is_nil(next_step({}, {}))
    assert.is_nil(next_step({ name = "Gold", contact = ANN }, {}))
    assert.is_nil(next_step({ name = "Gold", contact = ANN }, { name = " Gold", contact_uuid = "ANN " }))
    assert.equal("link", next_step({}, { name = "Gold", contact_uuid = "ann" }))
    assert.equal("link", next_step({ name = "Gold" }, { name = "Gold", contact_uuid = "ann" }))
    assert.equal("update", next_step({ contact = ANN }, { name = "Gold", contact_uuid = "ann" }))
    assert.equal("update", next_step({ name = "1" }, { name = "Gold" }))
  end)

  it("is a conflict if the card has another contact or name", function()
    assert.same({ "conflict", "the card belongs to contact <ann>: unlink it first, if that is right" },
      { next_step({ contact = ANN }, { name = "Gold", contact_uuid = "bob" }) })
    assert.same({ "conflict", 'the card\'s name is "<Gold>": update it, if that is right' },
      { next_step({ name = "Gold" }, { name = "Silver", contact_uuid = "bob" }) })
  end)
end)

describe("contact_identifiers:ensure", function()
  local EXISTS = { status = 400, body = { message = "Contact identifier already exists.", code = 60006 } }
  local ANN = { uuid = "ann" }

  local LINKED = { status = 400, body = { message = "Already linked.", code = 60014 } }
  local GOLD = card { name = "Gold", contact = ANN }
  local GOLD_OF_ANN = { name = "Gold", contact_uuid = "ann" }

  it("creates what is not there", function()
    local cards, recorder = play { GOLD }
    local made, err, info = cards:ensure("1", GOLD_OF_ANN)
    assert.is_nil(err)
    assert.equal("Gold", made.name)
    assert.same({ "created", 1 }, { info.outcome, info.attempts })
    assert.equal("POST", methods(recorder))
  end)

  it("adopts what is there", function()
    local cards, recorder = play { EXISTS, GOLD }
    local made, _, info = cards:ensure("1", GOLD_OF_ANN)
    assert.equal("ann", made.contact.uuid)
    assert.same({ "existed", 2 }, { info.outcome, info.attempts })
    assert.equal("POST GET", methods(recorder))
    assert.equal("1", leat.assert((play { EXISTS, card { name = "Any" } }):ensure("1")).value)
  end)

  it("gives the same result whatever happened on the way", function()
    local lost = { { status = 503, body = { message = "Down" } }, { status = 500, body = { message = "Oh." } }, LOST }
    for _, way in ipairs(lost) do
      local any = card { name = "Any", contact = { uuid = "bob" } }
      local cards = play { way, any, any }
      local made, err, info = cards:ensure("1") -- requests neither a name nor a contact
      assert.is_nil(err)
      assert.same({ "Any", "recovered" }, { made.name, info.outcome })
      local unnamed = card { name = "1" }
      cards = play { way, unnamed, unnamed, GOLD, GOLD }
      assert.equal("Gold", leat.assert(cards:ensure("1", GOLD_OF_ANN)).name)
      local silver = card { name = "Silver" }
      cards = play { way, silver, silver }
      _, err = cards:ensure("1", GOLD_OF_ANN)
      assert.same({ "conflict", true, "Silver" }, { err.kind, err.outcome_unknown, err.card.name })
    end
  end)

  it("verifies first, if an earlier process may have begun it", function()
    local function begun(responses)
      local cards, recorder = play(responses)
      return cards.parent:with({ maybe_applied = true }).contact_identifiers, recorder
    end
    for _, one in ipairs {
      { { GOLD }, "GET", "recovered" },
      { { NOT_FOUND, GOLD }, "GET GET", "recovered" },
      { { NOT_FOUND, NOT_FOUND, GOLD }, "GET GET POST", "created" },
      { { NOT_FOUND, NOT_FOUND, EXISTS, GOLD }, "GET GET POST GET", "recovered" },
      { { NOT_FOUND, NOT_FOUND, EXISTS, card(), card(), GOLD }, "GET GET POST GET GET GET", "recovered" },
      { { card(), card(), card(), card(), GOLD }, "GET GET GET GET PUT", "recovered" }, -- to link
      { { card(), card(), card(), card(), LINKED, GOLD }, "GET GET GET GET PUT GET", "recovered" },
      { { card { contact = ANN }, card { contact = ANN }, GOLD }, "GET GET PUT", "recovered" }, -- to name
    } do
      local cards, recorder = begun(one[1])
      local made, err, info = cards:ensure("1", GOLD_OF_ANN)
      assert.is_nil(err)
      assert.same({ "Gold", one[2], one[3] }, { made.name, methods(recorder), info.outcome })
    end
    local bobs, silver = card { contact = { uuid = "bob" } }, card { name = "Silver" }
    local inactive = { status = 400, body = { message = "Inactive.", code = 60004 } }
    for _, one in ipairs {
      { { bobs, bobs }, "conflict" },
      { { silver, silver }, "conflict" },
      { { card(), card(), bobs, bobs }, "conflict" }, -- another linked it meanwhile
      { { inactive, inactive, inactive }, "inactive" },
      { { { status = 401, body = { message = "no" } } }, "unauthorized" },
      { { NOT_FOUND, NOT_FOUND, { status = 400, body = { message = "Quota.", code = 60000 } } }, "quota_reached" },
    } do
      local cards, recorder = begun(one[1])
      local _, err = cards:ensure("1", GOLD_OF_ANN)
      assert.same({ one[2], true, #one[1] }, { err.kind, err.outcome_unknown, #recorder.requests })
      assert.equal("contact_identifiers.ensure", err.operation)
    end
  end)

  it("links and names a card without a contact", function()
    local cards, recorder = play { EXISTS, card {}, card { contact = ANN }, GOLD }
    local made, _, info = cards:ensure("1", GOLD_OF_ANN)
    assert.same({ "Gold", "ann", "existed", 4 }, { made.name, made.contact.uuid, info.outcome, info.attempts })
    assert.equal("POST GET PUT PUT", methods(recorder))
  end)

  it("names a card that has its value for a name", function()
    local cards, recorder = play { EXISTS, card { name = "1" }, card { name = "Gold" } }
    assert.equal("Gold", leat.assert(cards:ensure("1", { name = "Gold" })).name)
    assert.equal("POST GET PUT", methods(recorder))
    cards, recorder = play { EXISTS, card { name = "1" } }
    leat.assert(cards:ensure("1", { name = "1" }))
    assert.equal("POST GET", methods(recorder))
  end)

  it("takes nothing from anybody", function()
    for _, there in ipairs { card { contact = { uuid = "bob" } }, card { name = "Silver", contact = ANN } } do
      local cards, recorder = play { EXISTS, there }
      local none, err = cards:ensure("1", GOLD_OF_ANN)
      assert.is_nil(none)
      assert.same({ "conflict", false }, { err.kind, err.outcome_unknown })
      assert.truthy(tostring(err):find("contact_identifiers.ensure: conflict", 1, true))
      assert.truthy(err.message:find(there.body.data.name or "bob", 1, true), err.message)
      assert.same(there.body.data.contact, err.card.contact)
      assert.equal("POST GET", methods(recorder))
    end
  end)

  it("shows foreign text without invisible characters, and names itself in mistakes", function()
    local cards = play { EXISTS, card { name = "Sil\226\128\174ver\226\128\168", contact = ANN } }
    local _, err = cards:ensure("1", GOLD_OF_ANN)
    assert.truthy(err.message:find('"Sil ver "', 1, true), err.message)
    local fine, why = pcall(function() return (cards:ensure("1", { nam = "Gold" })) end)
    assert.is_false(fine)
    assert.truthy(why:find("^spec/calls_spec.lua:%d+: leat: contact_identifiers.ensure: option 'nam'"), why)
  end)

  it("succeeds with no other contact or name than was asked for", function()
    local bob = { uuid = "bob" }
    local races = {
      { EXISTS, card {}, card { contact = bob } }, -- whatever the response to the link was
      { EXISTS, card {}, card { contact = ANN }, card { name = "Gold", contact = bob } }, -- relinked, then named
      { EXISTS, card {}, LINKED, card { contact = bob } }, -- linked a moment before
      { card { name = "Gold", contact = bob } }, -- as it was created
    }
    for i, race in ipairs(races) do
      local none, err = (play(race)):ensure("1", GOLD_OF_ANN)
      assert.is_nil(none, i)
      assert.same({ "conflict", "contact_identifiers.ensure", "bob" },
        { err.kind, err.operation, err.card.contact.uuid })
      assert.equal(i ~= 3, err.outcome_unknown)
    end
    local cards = play { EXISTS, card { name = "Gold" }, LINKED, GOLD } -- another client ensures the same
    assert.equal("ann", leat.assert(cards:ensure("1", GOLD_OF_ANN)).contact.uuid)
    cards = play { EXISTS, NOT_FOUND, GOLD } -- deleted in between
    assert.equal("created", select(3, cards:ensure("1", GOLD_OF_ANN)).outcome)
  end)

  it("knows a name that is the value in other letters for none", function()
    local cards = play { EXISTS, card { name = "1 " }, card { name = "Gold" } }
    assert.equal("Gold", leat.assert(cards:ensure("1", { name = "Gold" })).name)
    local spelled = card { value = "ABC", name = "abc" }
    local named = card { value = "ABC", name = "Gold" }
    cards = play { spelled, named }
    assert.equal("Gold", leat.assert(cards:ensure("abc", { name = "Gold" })).name)
    cards = play { EXISTS, card { contact = { uuid = " ANN" } } }
    assert.equal(" ANN", leat.assert(cards:ensure("1", { contact_uuid = "ann" })).contact.uuid)
  end)

  it("shows nothing in its message that would move a cursor, and no key", function()
    local nasty = "G\27[31mo\nl\226\128\174d of " .. secrets.key .. ("x"):rep(300)
    for _, there in ipairs { card { name = nasty }, card { contact = { uuid = nasty } } } do
      local _, err = (play { EXISTS, there }):ensure("1", { name = "Silver", contact_uuid = "ann" })
      assert.equal("conflict", err.kind)
      assert.truthy(err.message:find("G [31mo l d of [token]", 1, true), err.message)
      assert.truthy(err.message:find("if that is right$"), err.message)
      local found = tostring(leat.assert((play { there }):find("1")))
      assert.truthy(found:find("G [31mo l d of [token]", 1, true), found)
      assert.is_nil(found:find(secrets.key, 1, true))
    end
  end)

  it("fails as its parts do", function()
    local inactive = { status = 400, body = { message = "Contact identifier inactive.", code = 60004 } }
    local none, err = (play { EXISTS, inactive }):ensure("1")
    assert.is_nil(none)
    assert.same({ "inactive", "contact_identifiers.ensure", 2 }, { err.kind, err.operation, err.attempts })
    local unlinkable = { status = 400, body = { message = "Contact not found.", code = 55031 } }
    assert.equal("contact_not_found", select(2, (play { EXISTS, card {}, unlinkable }):ensure("1",
      { contact_uuid = "ann" })).kind)
    assert.has_error(function()
      (play {}):ensure()
    end)
    local fine, why = pcall((play {}).ensure, "1")
    assert.is_false(fine)
    assert.equal("leat: call it with a colon: contact_identifiers:ensure(...)", why:match("leat: .*"))
  end)
end)

describe("tokens", function()
  local function header(recorder, i)
    return recorder.requests[i].headers["Authorization"]
  end
  local REFUSED = { status = 401, body = { message = "Unauthenticated." } }

  local function play_as(responses, options)
    local recorder = new_recorder(responses)
    options.driver = recorder.driver
    return leat.new(options).contact_identifiers, recorder
  end

  it("are fetched for client credentials, once for many calls, and renewed when refused", function()
    local function token(text)
      return { status = 200, body = { token_type = "Bearer", expires_in = 3600, access_token = text } }
    end
    local cards, recorder = play_as({ token("t1"), card(), card(), REFUSED, token("t2"), card() },
      { client_id = "me", client_secret = secrets.secret, token_url = "https://login.example/oauth/token" })
    for _ = 1, 3 do
      leat.assert(cards:find("1"))
    end
    assert.equal("POST GET GET GET POST GET", methods(recorder))
    assert.equal("https://login.example/oauth/token", recorder.requests[1].url)
    assert.equal("grant_type=client_credentials&client_id=me&client_secret=[secret]", recorder.requests[1].body)
    assert.is_nil(header(recorder, 1))
    assert.equal("[token]", header(recorder, 2))
  end)

  it("are asked of a function", function()
    local asked, given = 0, {}
    local function ask()
      asked = asked + 1
      return "token-" .. asked, 3600
    end
    local function response(request)
      given[#given + 1] = request.headers["Authorization"]
      return #given == 2 and 401 or 200, {}, '{"data":{"value":"1"}}'
    end
    local cards = play_as({ response, response, response }, { token = ask })
    leat.assert(cards:find("1"))
    leat.assert(cards:find("1"))
    assert.same({ "Bearer token-1", "Bearer token-1", "Bearer token-2" }, given)
  end)

  it("may not be had", function()
    local cards = play_as({}, { token = function() return nil, "the vault is sealed" end })
    local _, err = cards:find("1")
    assert.equal("unauthorized", err.kind)
    assert.truthy(err.message:find("the vault is sealed", 1, true))
    assert.equal("unauthorized", select(2, play_as({}, { token = function() end }):find("1")).kind)
    assert.equal("unauthorized", select(2, play_as({}, { token = function() return "a\nb" end }):find("1")).kind)
    assert.has_error(function()
      play_as({}, { token = function() error("oh") end }):find("1")
    end)
  end)

  it("are one of four kinds", function()
    for _, options in ipairs { { client_id = "a" }, { client_secret = "a" }, { token = "x" },
      { api_key = "k", token = print }, { api_key = "k", client_id = "a", client_secret = "b" } } do
      assert.has_error(function()
        leat.new(options)
      end)
    end
  end)
end)
