-- A rate that several limiters share, over each kind of driver. The store is in memory; spec/postgres has a real one.
local core = require("leat.core")
local leat = require("leat")
local limiters = require("leat.limiter")
local new_store = dofile("spec/support/memory_store.lua")
local raises = dofile("spec/support/raises.lua")("spec/limiter_spec.lua")
local sandbox = require("leat.sandbox")
local script = dofile("spec/support/script.lua")
local socket = require("socket")
local tasks = require("leat.tasks")

local RATE = 20
local LENGTH = 1 / RATE

describe("a limiter", function()
  local server, store, limiter
  local sent -- when requests were sent by the transport

  before_each(function()
    server = assert(sandbox.start { cards = { { value = "1" } }, contacts = { { uuid = "ann" } } })
    store, sent = new_store(), {}
    limiter = limiters.new(store)
  end)
  after_each(function()
    tasks.cancel()
    limiter:close()
    server:stop()
  end)

  local function connect(options)
    options = options or {}
    if not options.client_id and not options.token then
      options.api_key = options.api_key or server.api_key
    end
    options.base_url, options.retry_base = server.url, options.retry_base or 0.001
    options.rate, options.limiter = options.rate or RATE, options.limiter or limiter
    options.queue_timeout = options.queue_timeout or 20 -- so that a limiter that gives no slots fails
    return leat.new(options)
  end

  local function find(client)
    return client.contact_identifiers:find("1")
  end

  local function transport()
    table.insert(sent, core.now() / 1000)
    return 200, { ["Content-Type"] = "application/json" }, '{"data":{"value":"1"}}'
  end

  -- Returns the seconds at which the requests arrived, in order.
  local function arrivals()
    local times = {}
    for i, request in ipairs(server:requests()) do
      times[i] = request.time
    end
    for _, time in ipairs(sent) do
      table.insert(times, time)
    end
    table.sort(times)
    return times
  end

  -- Checks that in any second at most one request more than the rate arrived. A busy machine delays arrivals.
  local function expect_rate(count)
    local times = arrivals()
    assert.equal(count, #times)
    assert.truthy(#store.reserved >= count and #store.reserved < 2 * count, #store.reserved)
    for i = 1, #times do
      local seconds = 8 * LENGTH
      local late = i
      while times[late] and times[late] < times[i] + seconds do
        late = late + 1
      end
      assert.truthy(late - i <= 8 + 1, ("%d in %g s"):format(late - i, seconds))
    end
    for i = 2, #store.reserved do
      assert.truthy(store.reserved[i] - store.reserved[i - 1] >= LENGTH * 1e6 - 1)
    end
  end

  local drivers = {
    ["libcurl"] = function() return {} end,
    ["a driver in Lua"] = function() return { driver = dofile("examples/luasocket.lua").new() } end,
    ["a transport, which blocks"] = function() return { transport = transport } end,
  }
  for name, options in pairs(drivers) do
    for delay = 0, 10, 10 do
      describe(("over %s, with a store that takes %d ms,"):format(name, delay), function()
        it("gives slots to calls in tasks and outside of them", function()
          store.back = delay
          local client = connect(options())
          for _ = 1, 3 do
            assert(find(client))
          end
          local found = 0
          for _ = 1, 9 do
            tasks.spawn(function()
              assert(find(client))
              found = found + 1
            end)
          end
          tasks.run()
          assert(find(client))
          assert.equal(9, found)
          expect_rate(13)
          assert.is_true(limiter:is_idle())
        end)
      end)
    end
  end

  it("gives slots at a rate that is finer than the clock of drivers", function()
    local client = connect { rate = 5000 }
    store.back = 1
    for _ = 1, 20 do
      assert(find(client))
    end
    assert.truthy(#store.reserved < 60, #store.reserved)
  end)

  it("shares the rate with others, whose clocks may differ", function()
    local others = {}
    for i = 1, 3 do
      others[i] = limiters.new(new_store(store))
    end
    tasks.each({ 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3 }, function(i)
      return assert(find(connect { limiter = others[i] }))
    end)
    expect_rate(12)
    for i = 1, 3 do
      others[i]:close()
    end
  end)

  it("gives slots to retries, to finds that verify, and to token requests", function()
    server:fault { operation = "find", status = 500, nth = 1 }
    server:fault { operation = "create", close = "before", apply = true, nth = 1 }
    local client = connect { client_id = server.client_id, client_secret = server.client_secret,
      token_url = server.token_url }
    assert(find(client))
    local _, _, info = assert(client.contact_identifiers:create("new"))
    assert.equal("recovered", info.outcome)
    assert.equal(1, #server:requests("token"))
    expect_rate(5)
  end)

  it("works with a transport that yields, and lets others go on meanwhile", function()
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
      return -- cannot suspend it
    end
    store.back = 200
    local blocked = 0
    local driver = require("leat.transport").new(function()
      coroutine.yield()
      return 200, {}, '{"data":{"value":"1"}}'
    end, { sleep = coroutine.yield })
    local client = connect { driver = driver }
    local threads, done = {}, 0
    for i = 1, 3 do
      threads[i] = coroutine.create(function()
        assert(find(client))
        done = done + 1
      end)
    end
    while done < 3 do
      for i = 1, 3 do
        local begun = core.now()
        if coroutine.status(threads[i]) == "suspended" then
          assert(coroutine.resume(threads[i]))
        end
        blocked = math.max(blocked, core.now() - begun)
      end
      core.wait(0.001)
    end
    assert.truthy(blocked < 190, blocked) -- less than the store takes
    assert.truthy(#store.reserved >= 3 and #store.reserved <= 5, #store.reserved)
  end)

  it("gives slots on the clock of the driver", function()
    local times = {}
    local function time() return core.now() + 1e7, os.time() end
    local driver = require("leat.transport").new(function()
      times[#times + 1] = core.now()
      return 200, {}, '{"data":{"value":"1"}}'
    end, { now = time, sleep = function(seconds) core.wait(seconds) end })
    local client = connect { driver = driver, queue_timeout = 5 }
    for _ = 1, 4 do
      assert(find(client))
    end
    assert.truthy(times[4] - times[1] > 2.5 * LENGTH * 1000)
    assert.truthy(#store.reserved <= 5, #store.reserved)
    local away = connect { driver = driver, queue_timeout = 0.2 }
    store.wrong = "connect: refused"
    local _, err = find(away)
    assert.truthy(err.message:find("connect: refused", 1, true), err.message)
  end)

  it("blocks no task while its store takes time", function()
    store.back = 2000
    local free = leat.new { api_key = server.api_key, base_url = server.url }
    local client = connect()
    local limited = tasks.spawn(find, client)
    for _ = 1, 5 do
      tasks.spawn(find, free):wait()
    end
    assert.is_false(limited.done)
    local longest, last = 0, core.now()
    while not limited.done do
      tasks.poll()
      longest, last = math.max(longest, core.now() - last), core.now()
    end
    assert.truthy(longest < 1000, longest)
    assert.equal("1", limited:wait().value)
  end)

  it("reserves no more than half a second ahead, and only for calls that wait", function()
    local client = connect { rate = 10 }
    for _ = 1, 40 do
      tasks.spawn(find, client)
    end
    tasks.poll()
    local count = #store.reserved
    assert.truthy(count >= 3 and count <= 6, count)
    tasks.cancel()
    tasks.run()
    assert.is_true(limiter:is_idle())
    assert.equal(count, #store.reserved)
  end)

  it("reserves several slots at once, if several calls wait", function()
    local client = connect { rate = 40 }
    store.back = 5
    local values = {}
    for i = 1, 60 do
      values[i] = i
    end
    tasks.each(values, function() return assert(find(client)) end, { concurrency = 60 })
    assert.truthy(store.begun < 15, store.begun)
  end)

  it("gives the slot of a call that was canceled to the next one", function()
    store.back = 200
    local client = connect { rate = 1 }
    local canceled = tasks.spawn(find, client)
    local other = tasks.spawn(find, client)
    tasks.poll()
    canceled:cancel()
    assert.equal("1", other:wait().value)
    assert.equal("canceled", select(2, canceled:wait()).kind)
    assert.equal(1, #store.reserved)
  end)

  it("reserves no slots for calls that were canceled in the middle", function()
    local client, list = connect { rate = 100 }, {}
    store.back = 1000 -- the first response comes after all are canceled, also on a slow machine
    for i = 1, 50 do
      list[i] = tasks.spawn(find, client)
    end
    tasks.poll()
    store.back = 20
    for i = 2, 49 do
      list[i]:cancel()
    end
    assert.equal("1", list[50]:wait().value)
    assert.truthy(store.most <= 2, store.most)
  end)

  it("gives no slot to a call of another account that has the memory of a canceled one", function()
    local canceled, other = connect { account = "ann" }, connect { account = "bob", rate = 1 }
    assert(find(other))
    local begun, list = core.now(), {}
    store.back = 20
    for i = 1, 3 do
      list[i] = tasks.spawn(find, canceled)
    end
    list[1]:wait() -- now the store is asked for two slots
    list[3]:cancel()
    assert(find(other))
    assert.truthy(core.now() - begun > 800, core.now() - begun)
  end)

  it("discards slots that were missed, and takes others", function()
    local client = connect()
    local found = 0
    for _ = 1, 4 do
      tasks.spawn(function()
        assert(find(client))
        found = found + 1
      end)
    end
    tasks.poll()
    assert.equal(4, #store.reserved)
    local busy = core.now() + 10 * LENGTH * 1000
    while core.now() < busy do end -- luacheck: ignore
    tasks.run()
    assert.equal(4, found)
    assert.truthy(#store.reserved >= 4 + 3, #store.reserved)
    for i, time in ipairs(arrivals()) do
      assert.truthy(i == 1 or time - arrivals()[i - 1] > LENGTH / 4)
    end
  end)

  -- The program does nothing else for this number of milliseconds.
  local function be_busy(ms)
    local over = core.now() + ms
    while core.now() < over do end -- luacheck: ignore
  end

  -- Takes slots for calls of a driver of our own. Returns their times, and until when they may be used.
  local function take_slots(from, rate, count)
    local account, slots = assert(from:account_for { api_key = "k", rate = rate }), {}
    for _ = 1, count do
      local waits = true
      local call = { until_ms = function() return math.huge end, timeout_ms = function() return 30000 end }
      function call.awaits_slot() return waits end
      function call.take_slot(_, at, late)
        waits = false
        slots[#slots + 1] = { at = at, ends = at + late }
      end
      account:await(call, {})
    end
    local give_up = core.now() + 10000
    while #slots < count and core.now() < give_up do
      from:step(0.1)
    end
    return slots
  end

  it("gives no slot before its time, and none for longer than until the next one, wherever a request takes its time",
    function()
      local length = 100000
      for _, way in ipairs { { 0, 0 }, { 40, 0 }, { 0, 40 }, { 20, 20 } } do
        store = new_store()
        store.there, store.back = way[1], way[2]
        local own = limiters.new(store)
        local slots = take_slots(own, 10, 8)
        own:close()
        assert.equal(8, #slots)
        for _, slot in ipairs(slots) do
          local time
          for _, reserved in ipairs(store.reserved) do
            time = reserved - store.clock <= slot.at and reserved - store.clock or time
          end
          assert.truthy(slot.ends <= time + length + 1, slot.ends - time)
        end
      end
    end)

  it("does not trust a first response that it reads late", function()
    store.back = 1
    local task = tasks.spawn(find, connect())
    tasks.poll()
    assert.equal(1, #store.reserved)
    be_busy(120)
    task:wait()
    assert.truthy(#store.reserved >= 2, #store.reserved)
  end)

  it("loses nothing by reading a later response late", function()
    local client = connect { rate = 1, driver = require("leat.transport").new(transport) }
    assert(find(client))
    store.back = 1
    local slots = {}
    local account = assert(limiter:account_for { api_key = server.api_key, base_url = server.url, rate = 1 })
    account:await({ until_ms = function() return math.huge end, timeout_ms = function() return 30000 end,
      awaits_slot = function() return not slots[1] end, take_slot = function(_, at) slots[1] = at end }, {})
    be_busy(600)
    limiter:step(0)
    assert.equal(2, #store.reserved)
    local error_us = slots[1] - (store.reserved[2] - store.clock)
    assert.truthy(error_us >= 0 and error_us < 100000, error_us)
  end)

  it("learns the time again when a clock was set", function()
    local client = connect { queue_timeout = 5 }
    for _, by in ipairs { 7200e6, -7200e6 } do
      assert(find(client))
      store.clock = store.clock + by
      local count = #store.reserved
      assert(find(client))
      assert.truthy(#store.reserved <= count + 3)
    end
  end)

  it("gets used to a slow store", function()
    local client = connect()
    store.back = 60
    for _ = 1, 6 do
      assert(find(client))
    end
    assert.truthy(#store.reserved <= 6 + 4, #store.reserved)
  end)

  it("keeps to the rate with several stores' ways, and a program that is busy now and then", function()
    local others, calls = {}, {}
    for i, way in ipairs { { 0, 0 }, { 20, 0 }, { 0, 20 }, { 10, 10 } } do
      local other = new_store(store)
      other.there, other.back = way[1], way[2]
      others[i] = limiters.new(other)
      local client = connect { limiter = others[i] }
      for _ = 1, 9 do
        calls[#calls + 1] = client
      end
    end
    tasks.spawn(function()
      tasks.each(calls, function(client) return assert(find(client)) end, { concurrency = #calls })
    end)
    local n = 0
    repeat
      n = n + 1
      be_busy(n % 7 * 5)
    until tasks.poll(0.04) == 0
    local times = arrivals()
    assert.equal(#calls, #times)
    for i = RATE + 2, #times do
      assert.truthy(times[i] - times[i - RATE - 1] > 0.99, times[i] - times[i - RATE - 1])
    end
    for _, other in ipairs(others) do
      other:close()
    end
  end)

  it("wakes a loop that watches only the driver's descriptor, and only while there is work", function()
    local driver = require("leat.curl").new()
    local fd = driver:fd()
    if fd < 0 then
      return -- this system has none
    end
    local function wait(seconds) -- for the descriptor
      local watched = { getfd = function() return fd end, dirty = function() return false end }
      return socket.select({ watched }, nil, seconds)[1] ~= nil
    end
    store.back = 30
    local client = connect { rate = 10, driver = driver }
    local list = {}
    for i = 1, 5 do
      list[i] = tasks.spawn(find, client)
    end
    while tasks.poll() > 0 do
      assert.is_true(wait(5))
    end
    assert.equal("1", list[5]:wait().value)
    store.frozen = true
    local canceled = tasks.spawn(find, client)
    tasks.poll()
    canceled:cancel()
    tasks.run()
    assert.is_false(wait(0.1))
    driver:close()
  end)

  describe("whose store is away", function()
    local function expect_error(kind, message, f, ...)
      local begun = core.now()
      local card, err = f(...)
      assert.is_nil(card)
      assert.equal(kind, err.kind)
      assert.truthy(err.message:find(message, 1, true), err.message)
      assert.equal("no", err.sent)
      assert.is_false(err.outcome_unknown)
      assert.equal(0, err.attempts)
      assert.same({}, server:requests())
      return (core.now() - begun) / 1000
    end

    it("lets calls wait for their timeout, and says why they fail", function()
      store.wrong = "connect: refused"
      for _, options in pairs(drivers) do
        options = options()
        options.timeout = 0.3
        local took = expect_error("timeout", "the rate that processes share: connect: refused", find, connect(options))
        assert.truthy(took >= 0.29 and took < 5, took)
      end
      assert.truthy(store.begun >= 3 and store.begun < 30, store.begun)
    end)

    it("lets them wait for queue_timeout, if it is shorter", function()
      store.wrong = "connect: refused"
      local client = connect { queue_timeout = 0.2 }
      local took = expect_error("timeout", "connect: refused", find, client)
      assert.truthy(took >= 0.19 and took < 5, took)
      expect_error("timeout", "connect: refused", function()
        return tasks.spawn(client.contact_identifiers.create, client.contact_identifiers, "new"):wait()
      end)
    end)

    it("lets them fail when it does not respond", function()
      store.frozen = true
      local took = expect_error("timeout", "the store does not respond", find, connect { timeout = 0.2 })
      assert.truthy(took >= 0.19 and took < 5, took)
      took = expect_error("timeout", "the store does not respond", find, connect { queue_timeout = 1.5 })
      assert.truthy(took >= 1.49 and took < 5, took)
    end)

    it("lets them wait for their own timeout, if a view has another one", function()
      store.frozen = true
      local took = expect_error("timeout", "the store does not respond", find, connect():with { timeout = 0.2 })
      assert.truthy(took >= 0.19 and took < 5, took)
    end)

    it("lets them wait for the queue_timeout of a view", function()
      store.wrong = "connect: refused"
      local took = expect_error("timeout", "connect: refused", find, connect():with { queue_timeout = 0.2 })
      assert.truthy(took >= 0.19 and took < 5, took)
    end)

    it("does not count what they waited before", function()
      local client, found = connect { rate = 2, timeout = 0.5 }, 0
      for _ = 1, 4 do
        tasks.spawn(function()
          assert(find(client))
          found = found + 1
        end)
      end
      tasks.poll(0.7)
      store.wrong = "connect: refused"
      tasks.poll(0.2)
      store.wrong = nil
      tasks.run()
      assert.equal(4, found)
    end)

    it("leaves the outcome of a change unknown that cannot be verified without a slot", function()
      server:fault { operation = "create", close = "before", apply = true, nth = 1 }
      local client = connect { timeout = 0.5, on_attempt = function() store.wrong = "connect: refused" end }
      local _, err = client.contact_identifiers:create("new")
      assert.equal("timeout", err.kind)
      assert.truthy(err.message:find("connect: refused", 1, true), err.message)
      assert.equal("maybe", err.sent)
      assert.is_true(err.outcome_unknown)
      assert.equal(1, err.attempts)
    end)

    it("lets them go on when it is back", function()
      store.wrong = "connect: refused"
      local client = connect()
      local task = tasks.spawn(find, client)
      tasks.poll(0.3)
      assert.is_false(task.done)
      store.wrong = nil
      assert.equal("1", task:wait().value)
      assert(find(client))
      expect_rate(2)
    end)

    it("lets them fail at once if it refuses, which is no outage", function()
      store.wrong, store.refused = "permission denied", true
      local client = connect()
      for _ = 1, 2 do
        expect_error("config", "permission denied", find, client)
      end
      assert.equal(1, store.begun)
      core.wait(0.15)
      store.wrong, store.refused = nil, nil
      assert(find(client))
    end)
  end)

  it("lets calls fail that may not wait for their slot, and keeps it for others", function()
    local hurried, other = connect { rate = 10, queue_timeout = 0.35 }, connect { rate = 10 }
    local found, kinds = 0, {}
    for i = 1, 10 do
      tasks.spawn(function()
        local card, err = find(hurried)
        found, kinds[i] = found + (card and 1 or 0), err and err.kind
        assert(card or err.message:find("queue_timeout passed", 1, true), err)
      end)
    end
    tasks.poll()
    tasks.spawn(function() assert(find(other)) end)
    tasks.run()
    assert.truthy(found >= 1 and found <= 4, found)
    assert.equal("timeout", kinds[10])
    assert.truthy(#store.reserved <= 7, #store.reserved)
  end)

  it("lets calls of a view wait for their slot as long as these may", function()
    local client = connect { rate = 2, queue_timeout = 0.1 }
    assert(find(client))
    assert(find(client:with { queue_timeout = 20 }))
  end)

  it("shares a pause: others wait for it from their next reservation on", function()
    local other = limiters.new(new_store(store))
    local first, second = connect {}, connect { limiter = other }
    local beside = connect {}
    assert(find(second))
    server:fault { operation = "find", status = 429, retry_after = 1, nth = 1 }
    local task = tasks.spawn(find, first)
    tasks.poll(0.3)
    assert.is_false(task.done)
    local begun = core.now()
    for _, client in ipairs { second, beside } do
      tasks.spawn(function() assert(find(client)) end)
    end
    tasks.poll(0.3)
    assert.equal(2, #server:requests())
    tasks.run()
    assert.truthy(core.now() - begun > 500)
    assert.equal(5, #server:requests())
    other:close()
  end)

  it("lets calls that wait for no pause fail at once", function()
    local other = limiters.new(new_store(store))
    local first, second = connect { max_attempts = 1 }, connect { limiter = other, max_attempts = 1 }
    server:fault { operation = "find", status = 429, retry_after = 30, nth = 1 }
    assert.equal("rate_limited", select(2, find(first)).kind)
    local _, err = find(second)
    assert.equal("rate_limited", err.kind)
    assert.truthy(err.retry_after > 20)
    assert.equal(1, #server:requests())
    other:close()
  end)

  it("tells all clients of the account in this process of a pause, without the store", function()
    local second = connect { max_attempts = 1 }
    local first = connect { max_attempts = 1, on_attempt = function() store.frozen = true end }
    server:fault { operation = "find", status = 429, retry_after = 30, nth = 1 }
    assert.equal("rate_limited", select(2, find(first)).kind)
    assert.equal("rate_limited", select(2, find(second)).kind)
    assert.equal(1, #server:requests())
  end)

  it("lets a client's own calls that wait for slots find out about its pause", function()
    local client = connect { rate = 1 / 2 }
    server:fault { operation = "find", status = 429, retry_after = 90, nth = 1 }
    local kinds = tasks.map({ 1, 2, 3, 4, 5, 6 }, function()
      local _, err = find(client)
      return err.kind
    end)
    assert.same({ "rate_limited", "rate_limited", "rate_limited", "rate_limited", "rate_limited", "rate_limited" },
      kinds)
    assert.equal(1, #server:requests())
    assert.truthy(#store.reserved <= 2, #store.reserved)
  end)

  it("stores a pause once the store is back, and until then it is not idle", function()
    local other = limiters.new(new_store(store))
    local client = connect { max_attempts = 1 }
    function store.begin(self, account, length, count, pause)
      self.wrong = pause and "connect: refused"
      getmetatable(self).__index.begin(self, account, length, count, pause)
    end
    server:fault { operation = "find", status = 429, retry_after = 30, nth = 1 }
    assert.equal("rate_limited", select(2, find(client)).kind)
    assert.is_false(limiter:is_idle())
    tasks.poll(0.1)
    assert.equal("connect: refused", store.wrong)
    store.wrong, store.begin = nil, nil
    local give_up = core.now() + 5000
    while not limiter:is_idle() and core.now() < give_up do
      tasks.poll(0.01)
    end
    assert.is_true(limiter:is_idle())
    assert.equal("rate_limited", select(2, find(connect { limiter = other, max_attempts = 1 })).kind)
    assert.equal(1, #server:requests())
    other:close()
  end)

  it("lets calls go on that do not wait for a pause", function()
    local other = limiters.new(new_store(store))
    local first, second = connect { max_attempts = 1, retry_base = 20 }, connect { limiter = other, max_attempts = 1 }
    server:fault { operation = "find", status = 503, nth = 1 } -- asks for no certain time
    assert.equal("maintenance", select(2, find(first)).kind)
    assert.truthy(first:rate_limit().paused > 0)
    local begun = core.now()
    assert(find(second))
    assert.truthy(second:rate_limit().paused > 0)
    assert.truthy(core.now() - begun < 5000)
    other:close()
  end)

  describe("has accounts", function()
    -- Returns the names that the store knows.
    local function names()
      local list = {}
      for name in pairs(store.accounts) do
        list[#list + 1] = name
      end
      return list
    end

    it("by credential and service, which their names do not reveal", function()
      local function use(api_key, base_url)
        local client = leat.new { api_key = api_key, base_url = base_url, limiter = limiter, rate = 1000,
          transport = function() return 200, {}, '{"data":{"value":"1"}}' end }
        assert(find(client))
      end
      use("secret-key", server.url)
      use("secret-key", server.url .. "/")
      assert.equal(1, #names())
      use("other-key", server.url)
      use("secret-key", server.url .. "/v4")
      use("secret-key")
      use("secret-key", core.base_url)
      assert.equal(4, #names())
      for _, name in ipairs(names()) do
        assert.truthy(name:find("^%x+$") and #name == 64)
      end
    end)

    it("by name, too", function()
      assert(find(connect { account = "ann", token = function() return server.api_key end }))
      assert(find(connect { account = "ann" }))
      assert.equal(1, #names())
    end)

    it("that do not wait for each other", function()
      local slow, fast = connect { rate = 1, account = "slow" }, connect { rate = 1000, account = "fast" }
      for _ = 1, 3 do
        tasks.spawn(find, slow)
      end
      tasks.poll()
      local begun = core.now()
      for _ = 1, 10 do
        assert(find(fast))
      end
      assert.truthy(core.now() - begun < 5000)
    end)
  end)

  it("refuses what it cannot do", function()
    raises("rate is missing", function() leat.new { api_key = "k", limiter = limiter } end)
    raises("account is missing", function() leat.new { token = print, rate = 1, limiter = limiter } end)
    assert(limiter:account_for { api_key = "k", rate = 1 })
    raises("rate is 2, and 1 for another client of the account", function()
      leat.new { api_key = "k", rate = 2, limiter = limiter }
    end)
    raises("limiter has no method account_for", function() leat.new { api_key = "k", rate = 1, limiter = {} } end)
    raises("limiter must be a table", function() leat.new { api_key = "k", rate = 1, limiter = "x" } end)
    assert.matches("limiter is not for nginx: its workers share a rate with the option shared", script.run([[
      package.loaded.ngx = { socket = {} }
      print(pcall(require("leat").new, { api_key = "k", rate = 1, limiter = { account_for = print } }))]]))
    raises("account is for shared and limiter", function() leat.new { api_key = "k", account = "x" } end)
    limiter:close()
    raises("limiter: it is closed", function() leat.new { api_key = "k", rate = 1, limiter = limiter } end)
  end)

  it("lets calls fail once it is closed", function()
    store.frozen = true
    local client = connect()
    local task = tasks.spawn(find, client)
    tasks.poll()
    limiter:close()
    assert.is_true(store.closed)
    local _, err = task:wait()
    assert.equal("config", err.kind)
    assert.truthy(err.message:find("limiter is closed", 1, true))
    assert.equal("config", select(2, find(client)).kind)
    limiter:close()
  end)

  it("goes on after an interrupt at any instruction", function()
    if rawget(_G, "jit") then
      return -- compiled code does not call hooks
    end
    local client = connect { rate = 5000 }
    local n, hit = 1, true
    local function act(in_task)
      return in_task and tasks.spawn(find, client):wait() or find(client)
    end
    while hit do
      hit = false
      local function run()
        debug.sethook(function()
          debug.sethook()
          hit = true
          error("interrupted", 0)
        end, "", n)
        local card, err = act(n % 2 == 0)
        debug.sethook()
        assert(card or err.kind == "canceled")
      end
      store.back = n % 3
      pcall(run)
      debug.sethook()
      while not pcall(tasks.run) do end -- luacheck: ignore
      assert(find(client))
      n = n + (n < 200 and 1 or 13)
    end
    assert.truthy(n > 1000, n)
    assert.is_true(limiter:is_idle())
  end)

  it("is no hindrance to closing the client", function()
    store.frozen = true
    local client = connect()
    local task = tasks.spawn(find, client)
    tasks.poll()
    client:close()
    assert.equal("canceled", select(2, task:wait()).kind)
    assert.is_true(limiter:is_idle())
  end)
end)
