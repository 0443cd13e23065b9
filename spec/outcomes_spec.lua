-- Lost responses and other faults, over real sockets: what a call reports never contradicts
-- the state of the service.
--    LEAT_OPERATIONS=1000 LEAT_SEED=7 lua5.4 spec/run.lua spec/outcomes_spec.lua
local leat = require("leat")
local sandbox = require("leat.sandbox")
local tasks = require("leat.tasks")
local secrets = dofile("spec/support/secrets.lua")

local OPERATIONS = tonumber(os.getenv("LEAT_OPERATIONS") or 100)
local SEED = tonumber(os.getenv("LEAT_SEED") or 4711)

local function start()
  local server = assert(sandbox.start {
    api_key = secrets.key,
    contacts = { { uuid = "ann" }, { uuid = "bob" } },
    cards = { { value = "free" }, { value = "linked", contact_uuid = "ann" } },
  })
  local client = leat.new { api_key = server.api_key, base_url = server.url, timeout = 3, retry_base = 0.001,
    retry_cap = 0.01 }
  return server, client.contact_identifiers
end

describe("a change that happened, and whose response", function()
  local server, cards
  setup(function()
    server, cards = start()
  end)
  before_each(function()
    server:reset()
  end)
  teardown(function()
    server:stop()
  end)

  local ways = {
    ["was closed before it"] = { close = "before" },
    ["was closed within it"] = { close = "within" },
    ["was a 500"] = { status = 500 },
    ["was a 503"] = { kind = "maintenance" },
    ["was a gateway's 502"] = { status = 502, body = "<html>Bad Gateway</html>" },
    ["was HTML"] = { status = 200, body = "<html>Free Wi-Fi</html>" },
    ["was empty"] = { status = 200, body = "{" },
  }
  local operations = {
    create = function() return cards:create("new", { contact_uuid = "ann" }) end,
    link = function() return cards:link("free", "bob") end,
    unlink = function() return cards:unlink("linked") end,
    update = function() return cards:update("free", { name = "N" }) end,
    delete = function() return cards:delete("free") end,
  }
  for name, operation in pairs(operations) do
    for way, fault in pairs(ways) do
      it(way .. ": " .. name, function()
        local one = { operation = name, apply = true }
        for key, value in pairs(fault) do
          one[key] = value
        end
        server:fault(one)
        local value, err, info = operation()
        assert.is_nil(err)
        assert.truthy(value)
        if name ~= "update" then
          assert.equal("recovered", info.outcome)
        end
        local changes = 0
        for _, request in ipairs(server:requests(name)) do
          changes = changes + (request.changed and 1 or 0)
        end
        assert.truthy(changes == 1 or name == "update")
      end)
    end
  end
end)

describe("what an earlier process may have done", function()
  -- Each row is about a card of its own: what it was before, the call, and what must follow: the outcome or the
  -- kind of error, how many requests of the operation the service received, and how they leave the card: the
  -- uuid of its contact, false without one, or nil if there is no card.
  local rows = {
    ["a create that landed"] = { before = {}, operation = "create", "recovered", 0, false },
    ["a create that did not"] = { operation = "create", options = { contact_uuid = "ann" }, "done", 1, "ann" },
    ["a create that lands between its verification and the request"] = { operation = "create", "recovered", 1, false,
      fault = { operation = "create", code = 60006, apply = true } },
    ["a create that lands late, and is seen late"] = { before = {}, operation = "create", "recovered", 1, false,
      fault = { operation = "find", code = 60003, times = 2 } },
    ["a create of what is another's"] = { before = { contact_uuid = "bob" }, operation = "create",
      "conflict", 0, "bob" },
    ["a link that landed"] = { before = { contact_uuid = "ann" }, operation = "link", options = "ann",
      "recovered", 0, "ann" },
    ["a link that did not"] = { before = {}, operation = "link", options = "ann", "done", 1, "ann" },
    ["a link, and another's since"] = { before = { contact_uuid = "bob" }, operation = "link", options = "ann",
      "conflict", 0, "bob" },
    ["an unlink that landed"] = { before = {}, operation = "unlink", "recovered", 0, false },
    ["an unlink that did not"] = { before = { contact_uuid = "ann" }, operation = "unlink",
      options = { expect = "ann" }, "done", 1, false },
    ["an unlink, and another's since"] = { before = { contact_uuid = "bob" }, operation = "unlink",
      options = { expect = "ann" }, "conflict", 0, "bob" },
    ["a delete that landed"] = { operation = "delete", "recovered", 0 },
    ["a delete that did not"] = { before = { contact_uuid = "ann" }, operation = "delete",
      options = { expect = "ann" }, "done", 1 },
    ["a delete, and created again since"] = { before = { contact_uuid = "bob" }, operation = "delete",
      options = { expect = "ann" }, "conflict", 0, "bob" },
    ["an update"] = { before = {}, operation = "update", options = { name = "N" }, "done", 1, false },
    ["an update of nothing"] = { operation = "update", options = { name = "N" }, "not_found", 1 },
    ["a find"] = { operation = "find", "not_found", 1, known = true },
    ["an ensure that landed"] = { before = { contact_uuid = "ann" }, operation = "ensure", sends = "create",
      options = { contact_uuid = "ann" }, "recovered", 0, "ann" },
    ["an ensure of which nothing landed"] = { operation = "ensure", sends = "create",
      options = { contact_uuid = "ann" }, "created", 1, "ann" },
    ["an ensure that landed in part"] = { before = {}, operation = "ensure", sends = "link",
      options = { contact_uuid = "ann", name = "N" }, "recovered", 1, "ann" },
    ["an ensure of what is another's"] = { before = { contact_uuid = "bob" }, operation = "ensure", sends = "create",
      options = { contact_uuid = "ann" }, "conflict", 0, "bob" },
  }

  local function contact_of(there)
    if not there then
      return nil
    end
    return there.contact and there.contact.uuid or false
  end

  local server, results, count = nil, {}, 0
  for _, row in pairs(rows) do
    count = count + 1
    row.value = ("card%02d"):format(count)
  end

  -- Returns how many requests of the operation the service received about the card.
  local function requests_about(value, operation)
    local sent = 0
    for _, request in ipairs(server:requests(operation)) do
      sent = sent + ((request.target .. (request.body or "")):find(value, 1, true) and 1 or 0)
    end
    return sent
  end

  setup(function() -- all at once, because the verification of each may take seconds
    local there = {}
    for _, row in pairs(rows) do
      if row.before then
        there[#there + 1] = { value = row.value, contact_uuid = row.before.contact_uuid }
      end
    end
    server = assert(sandbox.start { api_key = secrets.key, contacts = { { uuid = "ann" }, { uuid = "bob" } },
      cards = there })
    local client = leat.new { api_key = server.api_key, base_url = server.url, timeout = 10 }
    local cards = client:with({ maybe_applied = true }).contact_identifiers
    for title, row in pairs(rows) do
      if row.fault then
        row.fault.value = row.value
        server:fault(row.fault)
      end
      tasks.spawn(function()
        results[title] = { cards[row.operation](cards, row.value, row.options) }
      end)
    end
    tasks.run()
  end)
  teardown(function()
    server:stop()
  end)

  for title, row in pairs(rows) do
    it(title, function()
      local value, err, info = results[title][1], results[title][2], results[title][3]
      local sent = requests_about(row.value, row.sends or row.operation)
      assert.same({ row[1], row[2] }, { err and err.kind or info.outcome or "done", sent })
      assert.equal(err and not row.known or false, err and err.outcome_unknown or false)
      assert.equal(row[3], contact_of(server:card(row.value)))
      assert.truthy(value or err)
    end)
  end
end)

-- ---- random operations under random faults --------------------------------------------

local model = dofile("spec/support/model.lua")
local random = dofile("spec/support/random_calls.lua")
local LIVES = math.min(100, OPERATIONS) -- tasks at the same time, each with its own card and service

-- Returns a driver for calls in coroutines, which share one pool of connections.
local function new_crowd()
  local core = require("leat.curl.core")
  local handle = core.new({ max_connections = LIVES }, {})
  local crowd = {}
  function crowd.perform(_, call)
    if core.start(handle, call, { call = call }) then
      repeat coroutine.yield() until call:is_done()
    end
  end
  function crowd.sleep(seconds)
    local begun = handle:now()
    repeat coroutine.yield() until handle:now() - begun > seconds * 1000
  end
  function crowd.run(lives)
    while #lives > 0 do
      for i = #lives, 1, -1 do
        assert(coroutine.resume(lives[i]))
        if coroutine.status(lives[i]) == "dead" then
          table.remove(lives, i)
        end
      end
      core.wait(handle, 0.01)
      while core.next_event(handle) do end -- each task checks its own call
    end
  end
  return crowd
end

local function carry_out(cards, ask)
  if ask.operation == "find" or ask.operation == "unlink" or ask.operation == "delete" then
    return cards[ask.operation](cards, "x")
  elseif ask.operation == "link" then
    return cards:link("x", ask.contact)
  end
  return cards[ask.operation](cards, "x", { name = ask.name, active = ask.active, contact_uuid = ask.contact })
end

-- Adds contradictions to `found`. All tasks stop after the first one.
local function live(crowd, draw, operations, found)
  local first = { { value = "x", name = "c", active = draw(4) > 1, contact_uuid = ({ "ann", "bob" })[draw(4)] } }
  local server = assert(sandbox.start { contacts = { { uuid = "ann" }, { uuid = "bob" } },
    cards = draw(3) > 1 and first or {} })
  local cards = leat.new { api_key = server.api_key, base_url = server.url, driver = crowd, timeout = 5,
    retry_base = 0.001, retry_cap = 0.01 }.contact_identifiers
  for i = 1, operations do
    local before = model.read(server:card("x"))
    local ask, reach = random.ask(draw, "ensure"), random.plan_faults(server, draw)
    crowd.sleep(reach) -- now even a stale response shows the current state
    local value, err, info = carry_out(cards, ask)
    crowd.sleep(reach) -- requests that are applied late have been applied
    local after = model.read(server:card("x"))
    local wrong = model.contradiction(before, ask, after, value, err, info)
    if wrong then
      found[#found + 1] = ("%s: %d: %s %s: from %s to %s: %s"):format(wrong, i, ask.operation,
        model.show { name = ask.name, active = ask.active, contact = ask.contact }, model.show(before),
        model.show(after), err and tostring(err) or "ok " .. tostring(info.outcome))
    end
    if #found > 0 then break end
  end
  server:stop()
end

it("what is reported is true, of " .. OPERATIONS .. " random operations (seed " .. SEED .. ")", function()
  local crowd, lives, found = new_crowd(), {}, {}
  for i = 1, LIVES do
    lives[i] = coroutine.create(function()
      live(crowd, random.generator(SEED + i * 7919), math.ceil(OPERATIONS / LIVES), found)
    end)
  end
  crowd.run(lives)
  assert.equal("", table.concat(found, "\n"))
end)

it("tokens are fetched, and renewed when the service has forgotten them", function()
  local server = assert(sandbox.start { client_id = "me", client_secret = secrets.secret, cards = { { value = "1" } } })
  local cards = leat.new { client_id = "me", client_secret = secrets.secret, base_url = server.url,
    token_url = server.token_url }.contact_identifiers
  for _ = 1, 3 do
    leat.assert(cards:find("1"))
  end
  assert.equal(1, #server:requests("token"))
  server:expire_tokens()
  leat.assert(cards:find("1"))
  assert.equal(2, #server:requests("token"))
  local other = leat.new { client_id = "me", client_secret = "wrong", base_url = server.url,
    token_url = server.token_url }
  local _, err = other:check()
  assert.equal("unauthorized", err.kind)
  assert.truthy(err.message:find("client_secret", 1, true))
  server:stop()
end)

it("the service may ask to wait", function()
  local server, cards = start()
  server:fault { operation = "find", kind = "rate_limited", retry_after = 1 }
  leat.assert(cards:find("free"))
  local requests = server:requests("find")
  assert.equal(429, requests[1].status)
  assert.truthy(requests[2].time - requests[1].time >= 0.99)
  server:stop()
end)

it("on_attempt hears of connections that are used again, and of a server that fails", function()
  local server = assert(sandbox.start { cards = { { value = "1" } } })
  local heard = {}
  local cards = leat.new { api_key = server.api_key, base_url = server.url, retry_base = 0.001,
    on_attempt = function(attempt)
      heard[#heard + 1] = ("%d %s %s %s"):format(attempt.attempt, attempt.status or attempt.kind,
        attempt.reused and "reused" or "new", attempt.wait_milliseconds and "goes on" or "ends")
    end }.contact_identifiers
  server:fault { status = 500 }
  leat.assert(cards:find("1"))
  server:fault { close = "before" }
  leat.assert(cards:find("1"))
  assert.same({ "1 500 new goes on", "2 200 reused ends", "1 connection reused goes on", "2 200 new ends" }, heard)
  server:stop()
end)

local interrupt = dofile("spec/support/interrupt.lua")
local script = dofile("spec/support/script.lua")

it("Ctrl-C ends a call that hangs, and says what it left unknown", function()
  local server = start()
  server:fault { kind = "timeout", times = math.huge }
  local path, command = script.write(([[
    local leat = require("leat")
    local client = leat.new { api_key = %q, base_url = %q }
    local fine, why = pcall(client.contact_identifiers.create, client.contact_identifiers, "new")
    print(fine, why)
  ]]):format(server.api_key, server.url))
  local output, seconds = interrupt(command, server, "create", 1)
  os.remove(path)
  assert.truthy(seconds < 0.5) -- it takes some milliseconds; a busy machine needs longer
  assert.truthy(output:find("^false.*interrupted!"), output)
  assert.truthy(output:find("may have happened or not", 1, true), output)
  server:stop()
end)

it("a token function may make calls of its own, over the same driver", function()
  local vault = assert(sandbox.start { api_key = "vault-key", cards = { { value = "1" } } })
  local server = assert(sandbox.start { api_key = "the-token", cards = { { value = "1" } } })
  local driver = require("leat.curl").new { max_connections = 1 }
  local inner = leat.new { driver = driver, base_url = vault.url, api_key = "vault-key" }
  local outer = leat.new { driver = driver, base_url = server.url, token = function()
    leat.assert(inner.contact_identifiers:find("1"))
    return "the-token"
  end }
  assert.equal("1", leat.assert(outer.contact_identifiers:find("1")).value)
  assert.equal(200, vault:requests()[1].status)
  assert.equal(200, server:requests()[1].status)
  vault:stop()
  server:stop()
end)
