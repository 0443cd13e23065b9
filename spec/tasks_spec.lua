-- Tasks, over real sockets.
local leat = require("leat")
local sandbox = require("leat.sandbox")
local tasks = require("leat.tasks")

local now = dofile("spec/support/clock.lua")
local script = dofile("spec/support/script.lua")
local interrupt = dofile("spec/support/interrupt.lua")

describe("tasks", function()
  local server, client, cards

  local function connect(options)
    options = options or {}
    options.api_key, options.base_url = server.api_key, server.url
    options.retry_base = options.retry_base or 0.001
    return leat.new(options)
  end

  before_each(function()
    local list = {}
    for i = 1, 100 do
      list[i] = { value = tostring(i) }
    end
    server = assert(sandbox.start { cards = list, contacts = { { uuid = "ann" } } })
    client = connect { max_connections = 50 }
    cards = client.contact_identifiers
  end)
  after_each(function()
    tasks.cancel()
    client:close()
    server:stop()
  end)

  local function slow(seconds, operation)
    server:fault { operation = operation or "find", delay = seconds, times = math.huge }
  end

  it("call like anybody, all at once", function()
    local values, errors = {}, {}
    slow(0.1)
    local begun = now()
    for i = 1, 50 do
      tasks.spawn(function()
        values[i] = leat.assert(cards:find(tostring(i))).value
        local _, err = cards:find("none")
        errors[i] = err.kind
      end)
    end
    assert.equal(50, tasks.poll())
    tasks.run()
    assert.truthy(now() - begun < 50 * 0.1)
    for i = 1, 50 do
      assert.equal(tostring(i), values[i])
      assert.equal("not_found", errors[i])
    end
  end)

  it("have headers of their own, from a function that is called in them", function()
    local spans = {}
    server:fault { operation = "find", status = 500, times = 5 } -- some are retried
    local traced = connect { max_connections = 5, max_attempts = 6, headers = function()
      return { traceparent = spans[coroutine.running()] }
    end }
    for i = 1, 20 do
      tasks.spawn(function()
        spans[coroutine.running()] = tostring(i)
        leat.assert(cards:create("new " .. i)) -- the other tasks begin meanwhile
        leat.assert(traced.contact_identifiers:find(tostring(i)))
      end)
    end
    tasks.run()
    assert.equal(25, #server:requests("find"))
    for _, request in ipairs(server:requests("find")) do
      assert.equal(request.target:match("value=(%d+)$"), request.headers["traceparent"])
    end
    traced:close()
  end)

  it("run up to their first call, and give what they return", function()
    local steps = {}
    local task = tasks.spawn(function(a, b)
      steps[1] = a .. b
      local card = cards:find("1")
      steps[2] = card.value
      return nil, card.value, nil
    end, "x", "y")
    assert.same({ "xy" }, steps)
    assert.same({ n = 3, nil, "1", nil }, { n = select("#", task:wait()), task:wait() })
    assert.same({ "xy", "1" }, steps)
  end)

  it("never block a poll, and may be given time", function()
    slow(0.5)
    local found
    tasks.spawn(function() found = cards:find("1") end)
    for _ = 1, 10 do
      local begun = now()
      tasks.poll()
      assert.truthy(now() - begun < 0.4)
    end
    assert.is_nil(found)
    local begun = now()
    tasks.poll(0.02)
    assert.truthy(now() - begun >= 0.02)
    tasks.poll(5) -- returns early because there is nothing left to wait for
    assert.truthy(found and now() - begun < 4)
  end)

  it("get the responses that arrived while the program did something else", function()
    for _, tls in ipairs { false, true } do
      local there = assert(sandbox.start { tls = tls })
      local slowly = leat.new { api_key = there.api_key, base_url = there.url, ca_file = there.ca_file,
        max_connections = 150, max_attempts = 1 }
      there:fault { operation = "find", delay = 0.2, times = math.huge }
      there:fault { operation = "create", delay = 0.2, times = math.huge }
      local function spawn(made, operation)
        local outcomes = {}
        for i = 1, 150 do
          tasks.spawn(function()
            local card, err = made.contact_identifiers[operation](made.contact_identifiers, operation .. i)
            local outcome = card and "fine" or err.kind
            outcomes[outcome] = (outcomes[outcome] or 0) + 1
          end)
        end
        return outcomes
      end
      local found = spawn(slowly, "find") -- opens connections first
      tasks.run()
      assert.same({ not_found = 150 }, found)
      local created = spawn(slowly:with { timeout = 2 }, "create")
      local due = now() + 2
      repeat
        tasks.poll(0.01)
      until #there:requests("create") == 150 or now() > due
      os.execute("sleep 2.1")
      tasks.run()
      assert.same({ fine = 150 }, created)
      slowly:close()
      there:stop()
    end
  end)

  it("wait for each other", function()
    local first = tasks.spawn(function() return leat.assert(cards:find("1")) end)
    local second = tasks.spawn(function() return first:wait().value .. "!" end)
    assert.equal("1!", second:wait())
    assert.equal("1", first:wait().value)
    local one, other
    one = tasks.spawn(function() cards:find("1") other:wait() end)
    other = tasks.spawn(function() cards:find("1") one:wait() end)
    local fine, why = pcall(tasks.run)
    assert.is_false(fine)
    assert.truthy(why:find("wait for each other", 1, true))
    fine, why = pcall(one.wait, one)
    assert.is_false(fine)
    assert.truthy(why:find("waits itself, for nobody", 1, true), why)
    one:cancel() -- ends both tasks
    assert.truthy(one.done and other.done)
    assert.equal(0, tasks.poll())
    local itself
    itself = tasks.spawn(function() cards:find("1") return itself:wait() end)
    assert.is_false(pcall(itself.wait, itself))
  end)

  it("run from outside, never from within one", function()
    local task = tasks.spawn(tasks.run)
    local fine, why = pcall(task.wait, task)
    assert.is_false(fine)
    assert.truthy(why:find("leat.tasks.run: call it outside of tasks", 1, true), why)
  end)

  it("tell loops what to watch, and until when", function()
    local driver = require("leat.curl").new()
    local finder = connect { driver = driver }.contact_identifiers
    assert.truthy(require("leat.curl").version():find("^libcurl/%d"))
    assert.is_nil(driver:timeout())
    assert.is_false(driver:dirty())
    slow(0.5)
    local task = tasks.spawn(function() return leat.assert(finder:find("1")).value end)
    local left = driver:timeout()
    assert.truthy(left >= 0 and left <= 30, left)
    assert.same({ "r", driver:fd(), driver:fd() }, { driver:events(), driver:pollfd(), driver:getfd() })
    assert.equal("1", task:wait())
    assert.is_nil(driver:timeout())
    driver:close()
  end)

  it("raise to who waits, or to who polls", function()
    local function fail() cards:find("1") error("mine") end
    local task = tasks.spawn(fail)
    local fine, why = pcall(task.wait, task)
    assert.is_false(fine)
    assert.truthy(why:find("tasks_spec.lua:%d+: mine\n.*traceback"), why)
    assert.equal(0, tasks.poll()) -- the error was already reported
    tasks.spawn(fail)
    fine, why = pcall(tasks.run)
    assert.is_false(fine)
    assert.truthy(why:find("mine", 1, true))
    local untouched = tasks.spawn(function() return cards:find("1").value end)
    tasks.spawn(function() error({ code = 7 }) end)
    fine, why = pcall(tasks.poll)
    assert.is_false(fine)
    assert.equal(7, why.code)
    assert.equal("1", untouched:wait())
  end)

  it("raise each on its own, and are kept by nobody", function()
    for i = 1, 3 do
      tasks.spawn(function() error({ code = i }) end)
    end
    for i = 1, 3 do
      local fine, why = pcall(i < 3 and tasks.poll or tasks.run)
      assert.same({ false, i }, { fine, why.code })
    end
    assert.equal(0, tasks.poll())
    local failed = setmetatable({}, { __mode = "k" })
    for _ = 1, 10 do
      local task = tasks.spawn(function() error("mine") end)
      failed[task] = true
      assert.is_false(pcall(task.wait, task))
    end
    collectgarbage()
    collectgarbage()
    local kept = 0
    for _ in pairs(failed) do
      kept = kept + 1
    end
    assert.truthy(kept <= 1, kept) -- the last one may still be on the stack
  end)

  it("suspend their own coroutine, and no other", function()
    local inner = tasks.spawn(function()
      return coroutine.wrap(function() return cards:find("1") end)()
    end)
    local fine, why = pcall(inner.wait, inner)
    assert.is_false(fine)
    assert.truthy(why:find("contact_identifiers.find: in a coroutine of your own inside a task", 1, true), why)
    local strange = tasks.spawn(function() coroutine.yield("elsewhere") end)
    fine, why = pcall(strange.wait, strange)
    assert.is_false(fine)
    assert.truthy(why:find("something else yielded", 1, true))
    local own = coroutine.wrap(function() return cards:find("1") end) -- blocks, because it is outside of a task
    assert.equal("1", own().value)
    assert.equal("1", cards:find("1").value)
  end)

  it("are where one must call if nothing may block", function()
    local strict = connect { blocking = false }
    local fine, why = pcall(function() strict.contact_identifiers:find("1") end)
    assert.is_false(fine)
    assert.truthy(why:find("^spec/tasks_spec.lua:%d+: leat: contact_identifiers.find: it would block here"), why)
    fine = pcall(strict.request, strict, "GET", "/x")
    assert.is_false(fine)
    assert.equal(0, #server:requests())
    assert.equal("1", tasks.spawn(function() return strict.contact_identifiers:find("1").value end):wait())
    strict:close()
  end)

  it("may be canceled", function()
    slow(5, "create")
    local again
    local task = tasks.spawn(function()
      local _, err = cards:create("new")
      local _, second = cards:find("1")
      again = second.kind
      return err
    end)
    repeat
      tasks.poll(0.01)
    until #server:requests("create") > 0
    task:cancel()
    local err = task:wait()
    assert.equal("canceled", err.kind)
    assert.is_true(err.outcome_unknown)
    assert.equal("canceled", again)
    assert.equal(0, #server:requests("find"))
    task:cancel() -- a second time has no effect
    local waiter = tasks.spawn(function() tasks.spawn(function() cards:create("other") end):wait() end)
    tasks.spawn(function() cards:create("third") end)
    assert.equal(3, tasks.poll())
    waiter:cancel()
    assert.truthy(waiter.done)
    tasks.cancel()
    assert.is_false(pcall(tasks.poll)) -- the waiting task was cancelled, and no task waited for it
    assert.equal(0, tasks.poll())
    assert.equal("1", cards:find("1").value)
  end)

  it("end when the client is closed", function()
    slow(5)
    local task = tasks.spawn(function()
      local _, err = cards:find("1")
      return err
    end)
    tasks.poll(0.01)
    client:close()
    assert.truthy(task.done)
    assert.equal("canceled", task:wait().kind)
  end)

  it("go on while something else blocks", function()
    slow(0.05)
    local task = tasks.spawn(function() return cards:find("2").value .. cards:find("3").value end)
    assert.equal("1", cards:find("1").value)
    assert.equal("23", task:wait())
  end)

  it("give the token that a call waits for which blocks", function()
    local asked = 0
    local guarded = leat.new { base_url = server.url, timeout = 2, token = function()
      asked = asked + 1
      return server.api_key
    end }
    local task = tasks.spawn(function() return leat.assert(guarded.contact_identifiers:find("1")).value end)
    local begun = now()
    leat.assert(guarded.contact_identifiers:find("2"))
    assert.truthy(now() - begun < 1)
    assert.equal("1", task:wait())
    assert.equal(1, asked)
    guarded:close()
  end)

  it("have clients of several drivers", function()
    slow(0.5)
    local other = connect {}
    local begun = now()
    for _, who in ipairs { client, other } do
      tasks.spawn(function() leat.assert(who.contact_identifiers:find("1")) end)
    end
    tasks.run()
    assert.truthy(now() - begun < 0.95)
    other:close()
  end)

  it("give it though another driver carries what they ask", function()
    local vault = connect()
    local guarded = leat.new { base_url = server.url, timeout = 2, token = function()
      return leat.assert(vault.contact_identifiers:find("7")) and server.api_key
    end }
    local task = tasks.spawn(function()
      return guarded.contact_identifiers:find("1")
    end)
    local begun = now()
    assert.equal("2", leat.assert(guarded.contact_identifiers:find("2")).value)
    assert.truthy(now() - begun < 1)
    assert.equal("1", leat.assert(task:wait()).value)
    vault:close()
    guarded:close()
  end)

  it("ask for tokens, in the task that needs one", function()
    local vault = assert(sandbox.start { api_key = "vault-key", cards = { { value = "1" } } })
    local guard = leat.new { base_url = vault.url, api_key = "vault-key" }
    local asked = 0
    local guarded = leat.new { base_url = server.url, token = function()
      asked = asked + 1
      leat.assert(guard.contact_identifiers:find("1")) -- suspends
      return server.api_key, 3600
    end }
    local found = tasks.map({ "1", "2", "3", "4" }, function(value) return guarded.contact_identifiers:find(value) end)
    assert.equal(4, #found)
    assert.equal(1, asked)
    local broken = leat.new { base_url = server.url, token = function() error("no key today") end }
    local task = tasks.spawn(function() return broken.contact_identifiers:find("1") end)
    local fine, why = pcall(task.wait, task)
    assert.is_false(fine)
    assert.truthy(why:find("no key today", 1, true))
    vault:stop()
  end)

  it("ask for one by a call, in a task that made calls before", function()
    local guarded = leat.new { base_url = server.url, timeout = 2, token = function()
      return leat.assert(client.contact_identifiers:find("1")) and server.api_key
    end }
    local task = tasks.spawn(function()
      local found = leat.assert(client.contact_identifiers:find("2")).value
      for value = 3, 4 do
        found = found .. leat.assert(guarded.contact_identifiers:find(tostring(value))).value
      end
      return found
    end)
    assert.equal("234", task:wait())
    guarded:close()
  end)

  it("have a driver that knows a call by its entry, and none that is over", function()
    local core, curl = require("leat.core"), require("leat.curl.core")
    local entries, entry, find = {}, {}, nil
    for _, row in ipairs(core.operations()) do
      find = row.name == "find" and row.index or find
    end
    local handle = curl.new({}, entries)
    local caller = core.client { api_key = server.api_key, base_url = server.url }
    local over, under_way = core.call(caller, find, "1"), core.call(caller, find, "2")
    assert.is_true(curl.start(handle, over, entry))
    local told
    repeat told = curl.wait(handle, 0.1) until told
    assert.equal(entry, told)
    assert.is_nil(next(entries))
    assert.is_true(curl.start(handle, under_way, entry))
    assert.is_false(curl.start(handle, under_way, {}))
    handle:cancel(over)
    assert.equal(entry, select(2, next(entries)))
    handle:cancel(under_way)
    assert.is_nil(next(entries))
    handle:close()
  end)

  it("tell on_attempt", function()
    local heard = 0
    local observed = connect { on_attempt = function() heard = heard + 1 end }
    server:fault { status = 500, nth = 1 }
    tasks.spawn(function() leat.assert(observed.contact_identifiers:find("1")) end)
    tasks.run()
    assert.equal(2, heard)
    observed:close()
  end)

  it("may have their clients closed by on_attempt, and by a token function", function()
    local clients, kinds = {}, {}
    local function close_all()
      for _, each in ipairs(clients) do
        each:close()
      end
    end
    for i = 1, 3 do
      clients[i] = connect { on_attempt = close_all }
    end
    for i = 1, 3 do
      tasks.spawn(function()
        local _, err = clients[i].contact_identifiers:find("1")
        kinds[i] = err and err.kind or "found"
      end)
    end
    tasks.run()
    table.sort(kinds)
    assert.same({ "canceled", "canceled", "found" }, kinds)
    clients[1] = leat.new { base_url = server.url, token = function() close_all() return "none" end }
    local _, err = clients[1].contact_identifiers:find("1")
    assert.equal("canceled", err.kind)
  end)

  it("that are ready when on_attempt raises are told of to the loop", function()
    local soon = 0
    local function nothing() end
    tasks.attach { watch = nothing, unwatch = nothing, soon = function() soon = soon + 1 end }
    local faults = 1
    local observed = connect { on_attempt = function()
      faults = faults - 1
      if faults >= 0 then error("boom", 0) end
    end }
    local task = tasks.spawn(function() return leat.assert(observed.contact_identifiers:find("1")).value end)
    local fine, why = pcall(tasks.run)
    assert.same({ false, "boom", 1 }, { fine, why, soon })
    assert.equal("1", task:wait())
    observed:close()
  end)

  it("are nothing once they are forgotten", function()
    slow(5)
    do
      local forgotten = connect {}
      tasks.spawn(function() forgotten.contact_identifiers:find("1") end)
      tasks.poll(0.01)
      forgotten:close()
    end
    collectgarbage()
    collectgarbage()
    assert.equal(0, tasks.poll())
    assert.is_false(pcall(tasks.spawn, "no function"))
  end)

  if _VERSION ~= "Lua 5.1" or rawget(_G, "jit") then
    it("may call inside pcall", function()
      local task = tasks.spawn(function()
        local fine, card = pcall(cards.find, cards, "1")
        return fine and card.value
      end)
      assert.equal("1", task:wait())
    end)
  else
    it("may not call inside pcall on Lua 5.1, and nothing is left of it", function()
      local task = tasks.spawn(function() return select(2, pcall(cards.find, cards, "1")) end)
      assert.truthy(task:wait():find("yield", 1, true))
      assert.equal("1", cards:find("1").value)
    end)
  end

  describe("where Lua can't suspend them", function()
    local places = {
      { "string.gsub", function(f) return (("x"):gsub("x", function() f() return "y" end)) end, true },
      { "table.sort", function(f) table.sort({ 1, 2 }, function(a, b) f() return a < b end) return "sorted" end, true },
      { "require", function(f)
        package.loaded["a module of the spec"] = nil
        package.preload["a module of the spec"] = function() f() return true end
        return tostring(require("a module of the spec"))
      end },
      { "tostring", function(f)
        return tostring(setmetatable({}, { __tostring = function() f() return "text" end }))
      end },
      { "pcall", function(f) assert(pcall(f)) return "called" end },
      { "__index", function(f) return setmetatable({}, { __index = function() f() return "field" end }).field end },
      { "__lt", function(f)
        local with = { __lt = function() f() return true end }
        return tostring(setmetatable({}, with) < setmetatable({}, with))
      end },
      { "the iterator of a for", function(f)
        for _ in function(_, last) return not last and f() and true or nil end do end
      end },
      { "a coroutine of its own", function(f) assert(coroutine.resume(coroutine.create(f))) end, true },
    }
    local actions = {
      ["a call"] = function() return leat.assert(cards:create("new")) end,
      ["each"] = function() return tasks.each({ "new" }, function(value) return cards:create(value) end) end,
      ["map"] = function() return tasks.map({ "new" }, function(value) return cards:create(value) end) end,
    }
    for _, place in ipairs(places) do
      for name, act in pairs(actions) do
        it(("nothing is sent: %s within %s"):format(name, place[1]), function()
          leat.assert(cards:find("1")) -- leaves a connection over which a request would be sent at once
          local task = tasks.spawn(place[2], act)
          local fine, why = pcall(task.wait, task)
          for _ = 1, 5 do -- the server sees what was sent before
            leat.assert(cards:find("1"))
          end
          local asked = #server:requests("create")
          if fine then
            assert.truthy(asked > 0 and not place[3])
            assert.truthy(server:card("new"))
          else
            assert.truthy(tostring(why):find("yield", 1, true) or tostring(why):find("suspended", 1, true), why)
            assert.equal(0, asked)
          end
          assert.equal(0, tasks.poll())
          assert.equal("1", leat.assert(tasks.spawn(cards.find, cards, "1"):wait()).value)
        end)
      end
    end

    it("they go on without it", function()
      local task = tasks.spawn(function()
        local fine = pcall(string.gsub, "x", "x", function() cards:create("new") end)
        return fine, leat.assert(cards:find("1")).value
      end)
      assert.same({ false, "1" }, { task:wait() })
      assert.equal(0, #server:requests("create"))
    end)

    it("they don't wait for another", function()
      slow(0.05)
      local other = tasks.spawn(function() cards:find("1") error("mine") end)
      local waiter = tasks.spawn(string.gsub, "x", "x", function() other:wait() end)
      local fine, why = pcall(waiter.wait, waiter)
      assert.is_false(fine)
      assert.truthy(why:find("yield", 1, true), why)
      fine, why = pcall(tasks.run) -- the other task's error has not been reported yet
      assert.is_false(fine)
      assert.truthy(why:find("mine", 1, true), why)
    end)
  end)

  it("each and map in a coroutine of the user's inside a task raise, as a call does", function()
    for _, name in ipairs { "each", "map" } do
      local told
      local task = tasks.spawn(function()
        local inner = coroutine.create(function()
          local results = tasks[name]({ "1", "2" }, function(value) return cards:find(value) end)
          return results
        end)
        local fine, why = coroutine.resume(inner)
        told = { fine, why, coroutine.status(inner) }
        return cards:find("1").value
      end)
      assert.equal("1", task:wait())
      assert.same({ false, "dead" }, { told[1], told[3] })
      local why = "^spec/tasks_spec.lua:%d+: leat.tasks." .. name .. ": in a coroutine of your own"
      assert.truthy(told[2]:find(why), told[2])
      assert.equal(name == "each" and 1 or 2, #server:requests())
    end
  end)

  it("raise what is nil or false, too", function()
    for _, where in ipairs { "outside", "inside" } do
      for _, name in ipairs { "each", "map" } do
        for _, broken in ipairs { "f", "values", "in_order", "progress" } do
          for _, nothing in ipairs { "nil", "false" } do
            local why = nil
            if nothing == "false" then why = false end
            local function fail() error(why) end
            local seen = 0
            local function run()
              return tasks[name](broken == "values" and fail or { "1", "2", "3" }, function(value)
                seen = seen + 1
                return broken == "f" and fail() or cards:find(value)
              end, { concurrency = 1, progress_every = 0.000001, in_order = broken == "in_order" and fail or nil,
                progress = broken == "progress" and fail or nil })
            end
            local result
            if where == "outside" then
              result = { pcall(run) }
            else
              local task = tasks.spawn(run)
              result = { pcall(task.wait, task) }
            end
            local what = table.concat({ where, name, broken, nothing }, " ")
            assert.is_false(result[1], what)
            assert.equal(why, result[2], what)
            assert.truthy(seen <= 1, what)
            assert.equal(0, tasks.poll())
          end
        end
      end
    end
    local task = tasks.spawn(function() error(nil) end)
    assert.same({ n = 2, false, nil }, { n = select("#", pcall(task.wait, task)), pcall(task.wait, task) })
    tasks.spawn(function() error(false) end)
    assert.same({ false, false }, { pcall(tasks.run) })
    local nothing = leat.new { base_url = server.url, token = function() error(nil) end }
    assert.is_false(pcall(nothing.contact_identifiers.find, nothing.contact_identifiers, "1"))
    nothing:close()
  end)

  it("that are canceled give back the slots of the rate that they did not use", function()
    local rated = connect { rate = 4 }
    for i = 1, 24 do
      tasks.spawn(function() rated.contact_identifiers:find(tostring(i)) end)
    end
    tasks.poll(0.05)
    tasks.cancel()
    assert.equal(0, tasks.poll())
    local asked, begun = #server:requests(), now()
    assert.truthy(asked <= 8, asked)
    leat.assert(rated.contact_identifiers:find("1"))
    assert.truthy(now() - begun < 3, now() - begun)
    rated:close()
  end)

  describe("whose token function uses its own client", function()
    local OWN = "contact_identifiers.find: the token function uses its own client"

    local function own(options)
      local guarded
      options.base_url, options.timeout = server.url, 10
      options.token = function()
        local card = guarded.contact_identifiers:find("1")
        return card and server.api_key
      end
      guarded = leat.new(options)
      return guarded
    end

    it("are told so, blocking or not", function()
      local guarded = own {}
      for _ = 1, 2 do -- twice, with the same result
        local begun = now()
        local fine, why = pcall(guarded.contact_identifiers.find, guarded.contact_identifiers, "2")
        assert.is_false(fine)
        assert.truthy(why:find("^spec/tasks_spec.lua:%d+: leat: " .. OWN), why)
        local direct = leat.new { base_url = server.url, token = function()
          return guarded.contact_identifiers:find("1")
        end }
        fine, why = pcall(direct.contact_identifiers.find, direct.contact_identifiers, "2")
        assert.is_false(fine)
        assert.is_nil(why:find("lua/leat", 1, true), why)
        direct:close()
        local task = tasks.spawn(guarded.contact_identifiers.find, guarded.contact_identifiers, "2")
        fine, why = pcall(task.wait, task)
        assert.is_false(fine)
        assert.truthy(why:find(OWN, 1, true), why)
        assert.truthy(now() - begun < 9)
      end
      assert.equal(0, #server:requests())
      guarded:close()
    end)

    it("by way of another client, or of another task", function()
      local first, second
      first = leat.new { base_url = server.url, timeout = 10, token = function()
        return second.contact_identifiers:find("1") and server.api_key
      end }
      second = leat.new { base_url = server.url, timeout = 10, token = function()
        return first.contact_identifiers:find("1") and server.api_key
      end }
      local in_task = leat.new { base_url = server.url, timeout = 10, token = function()
        local inner = tasks.spawn(function() return first.contact_identifiers:find("1") end)
        return inner:wait() and server.api_key
      end }
      for _, guarded in ipairs { first, in_task } do
        local fine, why = pcall(guarded.contact_identifiers.find, guarded.contact_identifiers, "2")
        assert.is_false(fine)
        assert.truthy(why:find(OWN, 1, true), why)
        local task = tasks.spawn(guarded.contact_identifiers.find, guarded.contact_identifiers, "2")
        fine, why = pcall(task.wait, task)
        assert.is_false(fine)
        assert.truthy(why:find(OWN, 1, true), why)
      end
      first:close()
      second:close()
      in_task:close()
    end)

    it("by way of a coroutine of the token function's own", function()
      local guarded, on_transport
      local function ask(own_client)
        return coroutine.wrap(function() return own_client.contact_identifiers:find("1") and server.api_key end)()
      end
      guarded = leat.new { base_url = server.url, timeout = 10, token = function() return ask(guarded) end }
      on_transport = leat.new { timeout = 10, token = function() return ask(on_transport) end,
        transport = function() return 200, {}, '{"data":{"value":"1"}}' end }
      for _, asked in ipairs { guarded, on_transport } do
        local begun = now()
        local function find() return (asked.contact_identifiers:find("2")) end
        local fine, why = pcall(find)
        assert.is_false(fine)
        assert.truthy(why:find(OWN, 1, true), why)
        fine, why = coroutine.resume(coroutine.create(find))
        assert.is_false(fine)
        assert.truthy(why:find(OWN, 1, true), why)
        local task = tasks.spawn(find)
        fine, why = pcall(task.wait, task)
        assert.is_false(fine)
        assert.truthy(why:find("its own client", 1, true) or why:find("of your own inside a task", 1, true), why)
        assert.truthy(now() - begun < 9)
      end
      guarded:close()
    end)

    it("and no others: calls that wait meanwhile get the token", function()
      local good, vault = true, connect {}
      slow(0.05)
      local guarded = leat.new { base_url = server.url, timeout = 2, token = function()
        leat.assert(vault.contact_identifiers:find("1"))
        good = not good
        if good then error("now and then") end
        return server.api_key
      end }
      local found = tasks.map({ "1", "2", "3" }, function(value) return guarded.contact_identifiers:find(value) end)
      assert.equal(3, #found)
      server:fault { operation = "find", kind = "unauthorized", nth = 2 } -- the first find is the vault's
      local task = tasks.spawn(guarded.contact_identifiers.find, guarded.contact_identifiers, "1")
      pcall(task.wait, task)
      assert.equal("1", leat.assert(guarded.contact_identifiers:find("1")).value)
      vault:close()
      guarded:close()
    end)
  end)

  it("are not blocked by a token function that yields in a coroutine of the user's: it is told so", function()
    local guarded = leat.new { base_url = server.url, timeout = 2, token = function()
      coroutine.yield("to a loop")
      return server.api_key
    end }
    local inner = coroutine.create(function() return guarded.contact_identifiers:find("1") end)
    local fine, why = coroutine.resume(inner)
    assert.same({ false, "dead" }, { fine, coroutine.status(inner) })
    assert.truthy(why:find("the token function yielded outside of a task", 1, true), why)
    local task = tasks.spawn(guarded.contact_identifiers.find, guarded.contact_identifiers, "1")
    fine, why = pcall(task.wait, task)
    assert.is_false(fine)
    assert.truthy(why:find("something else yielded in it", 1, true), why)
    guarded:close()
  end)

  describe("each", function()
    it("takes each value once, so many at a time", function()
      local seen, at_once, most = {}, 0, 0
      local i = 0
      local summary = tasks.each(function()
        i = i + 1
        return i <= 500 and tostring(i) or nil
      end, function(value)
        at_once = at_once + 1
        most = math.max(most, at_once)
        seen[#seen + 1] = value
        local card, err = cards:find(value)
        at_once = at_once - 1
        return card, err
      end, { concurrency = 7 })
      assert.equal(500, #seen)
      assert.equal(7, most)
      assert.equal(500, summary.done)
      assert.equal(400, summary.failed)
      assert.is_nil(summary.total)
    end)

    it("gives results in order, where that is asked for", function()
      local order, ahead, most = {}, 0, 0
      server:fault { operation = "find", value = "3", delay = 0.1 }
      tasks.each({ "1", "2", "3", "none", "5", "6", "7", "8", "9", "10", "11", "12" }, function(value)
        ahead = ahead + 1
        most = math.max(most, ahead - #order)
        return cards:find(value)
      end, { concurrency = 2, in_order = function(value, card, err)
        order[#order + 1] = value .. "=" .. (card and card.value or err.kind)
      end })
      assert.equal("1=1 2=2 3=3 none=not_found 5=5 6=6 7=7 8=8 9=9 10=10 11=11 12=12", table.concat(order, " "))
      assert.truthy(most <= 4 + 1)
    end)

    it("takes values that need calls themselves", function()
      local i = 0
      local function values()
        i = i + 1
        return i <= 20 and leat.assert(cards:find(tostring(i))).value or nil
      end
      local sum = 0
      local summary = tasks.each(values, function(value)
        local number = tonumber(leat.assert(cards:find(value)).value)
        sum = sum + number
        return true
      end, { concurrency = 5 })
      assert.equal(20, summary.done)
      assert.equal(210, sum)
    end)

    it("stops at an error, and raises it", function()
      local begun = 0
      local fine, why = pcall(tasks.each, function() return "1" end, function(value)
        begun = begun + 1
        leat.assert(cards:find(value))
        if begun > 20 then
          error("enough")
        end
        return true
      end, { concurrency = 4 })
      assert.is_false(fine)
      assert.truthy(why:find("enough", 1, true))
      assert.truthy(begun <= 25)
      assert.equal(0, tasks.poll())
      for _, broken in ipairs { "values", "in_order", "progress" } do
        local function fail() error("broken " .. broken) end
        fine, why = pcall(tasks.each, broken == "values" and fail or { "1", "2", "3" },
          function(value) return cards:find(value) end, { concurrency = 2, progress_every = 0.000001,
            in_order = broken == "in_order" and fail or nil, progress = broken == "progress" and fail or nil })
        assert.is_false(fine)
        assert.truthy(why:find("broken " .. broken, 1, true), why)
        assert.equal(0, tasks.poll())
      end
    end)

    it("tells how far it is", function()
      local told = {}
      server:fault { operation = "find", status = 500, nth = 1 }
      local summary = tasks.each({ "1", "2", "3", "none" }, function(value) return cards:find(value) end,
        { concurrency = 1, progress_every = 0.000001, progress = function(p) told[#told + 1] = p end })
      assert.truthy(#told >= 4)
      local last = told[#told]
      assert.same({ 4, 4, 1, 1, 0 }, { last.done, last.total, last.failed, last.retried, last.eta })
      assert.truthy(last.rate > 0 and last.seconds > 0 and told[1].eta > 0)
      assert.equal(4, summary.done)
    end)

    it("works within tasks, and within itself", function()
      local task = tasks.spawn(function()
        local sum = 0
        tasks.each({ 0, 1, 2 }, function(tens)
          tasks.each({ 1, 2, 3 }, function(ones)
            local card = leat.assert(cards:find(tostring(tens * 10 + ones)))
            sum = sum + tonumber(card.value)
            return true
          end)
          return true
        end)
        return sum
      end)
      assert.equal(108, task:wait())
      slow(5)
      local canceled = tasks.spawn(function()
        tasks.each({ "1", "2" }, function(value) return cards:find(value) end)
      end)
      tasks.poll(0.01)
      canceled:cancel()
      assert.truthy(canceled.done)
      assert.is_false(pcall(canceled.wait, canceled))
      assert.equal(0, tasks.poll())
    end)

    it("makes no more workers than there is something for", function()
      local created, create = 0, coroutine.create
      coroutine.create = function(...) -- luacheck: ignore
        created = created + 1
        return create(...)
      end
      local i = 0
      local fine, summary = pcall(tasks.each, function()
        i = i + 1
        return i <= 20 and leat.assert(cards:find(tostring(i))).value or nil
      end, function(value) return cards:find(value) end, { concurrency = 100000 })
      coroutine.create = create -- luacheck: ignore
      assert.is_true(fine, summary)
      assert.equal(20, summary.done)
      assert.truthy(created <= 21, created)
    end)

    it("makes as many as it may, though each value needs a call", function()
      local at_once, most, i
      slow(0.05)
      server:fault { operation = "list", delay = 0, times = math.huge }
      local function values()
        i = i + 1
        leat.assert(cards:list { contact_uuid = "ann" })
        return i <= 12 and tostring(i) or nil
      end
      for _, run in ipairs { function(f) return f() end, function(f) return tasks.spawn(f):wait() end } do
        at_once, most, i = 0, 0, 0
        local summary = run(function()
          return tasks.each(values, function(value)
            at_once = at_once + 1
            most = math.max(most, at_once)
            local card, err = cards:find(value)
            at_once = at_once - 1
            return card, err
          end, { concurrency = 4 })
        end)
        assert.same({ 12, 0, 4 }, { summary.done, summary.failed, most })
      end
    end)

    it("of a list with holes says so, and begins nothing", function()
      for _, name in ipairs { "each", "map" } do
        for _, list in ipairs { { "1", nil, "3" }, { nil, "2" }, { [1] = "1", [1000000] = "2" } } do
          local fine, why = pcall(function()
            local results = tasks[name](list, function(value) return cards:find(value) end)
            return results
          end)
          assert.is_false(fine)
          assert.truthy(why:find("^spec/tasks_spec.lua:%d+: leat.tasks." .. name .. ": the list has a hole"), why)
        end
      end
      assert.equal(0, #server:requests())
      assert.equal(2, tasks.each({ "1", "2", n = 2 }, function(value) return cards:find(value) end).done)
    end)

    it("has nothing left when there are more values than was said", function()
      local least = 0
      local summary = tasks.each({ "1", "2", "3" }, function(value) return cards:find(value) end, { total = 1,
        concurrency = 1, progress_every = 0.000001, progress = function(p) least = math.min(least, p.eta) end })
      assert.same({ 3, 1, 0, 0 }, { summary.done, summary.total, summary.eta, least })
    end)

    it("begins nothing in a task that was canceled", function()
      local summary
      local task = tasks.spawn(function()
        cards:find("1")
        summary = tasks.each({ "x", "y" }, function(value) return cards:create(value) end)
      end)
      task:cancel()
      assert.is_false(pcall(task.wait, task))
      assert.is_nil(summary)
      for _ = 1, 5 do -- the server sees what was sent before
        leat.assert(cards:find("1"))
      end
      assert.equal(0, #server:requests("create"))
    end)

    it("says what is wrong", function()
      local wrongs = { { 5, print }, { {}, 5 }, { {}, print, { concurency = 4 } }, { {}, print, { concurrency = 0 } } }
      for _, wrong in ipairs(wrongs) do
        local fine, why = pcall(function() tasks.each((table.unpack or unpack)(wrong)) end) -- luacheck: ignore
        assert.is_false(fine)
        assert.truthy(why:find("^spec/tasks_spec.lua:%d+: leat.tasks.each: "), why)
      end
      assert.equal(0, tasks.each({}, print).done)
      assert.equal(0, tasks.each(function() end, print, { total = 0 }).total)
    end)
  end)

  it("map keeps the order", function()
    local found, errors, summary = tasks.map({ "3", "none", "1" }, function(value) return cards:find(value) end)
    assert.same({ "3", nil, "1" }, { found[1].value, found[2], found[3].value })
    assert.equal("not_found", errors[2].kind)
    assert.is_nil(errors[1])
    assert.equal(1, summary.failed)
  end)

  if coroutine.running() then -- Lua 5.1 has no value for the main coroutine, which the hook needs
    it("an interrupt ends an each that is only beginning", function()
      slow(0.05)
      local main, i, kinds = coroutine.running(), 0, {}
      local function hit()
        debug.sethook(main)
        error("interrupted!", 0)
      end
      local fine, why = pcall(tasks.each, function()
        i = i + 1
        if i == 3 then
          debug.sethook(main, hit, "", 1)
        end
        return i < 10 and "1" or nil
      end, function(value)
        local card, err = cards:find(value)
        table.insert(kinds, err and err.kind or "found")
        return card
      end)
      assert.same({ false, "interrupted!" }, { fine, why })
      assert.equal(0, tasks.poll())
      assert.same({ "canceled", "canceled", "canceled" }, kinds)
    end)
  end

  it("Ctrl-C in an each with a rate leaves no slots behind", function()
    local path, command = script.write(([[
      local leat, tasks = require("leat"), require("leat.tasks")
      local now = dofile("spec/support/clock.lua")
      local client = leat.new { api_key = %q, base_url = %q, rate = 4 }
      local function find() return client.contact_identifiers:find("1") end
      local fine, why = pcall(tasks.each, function() return "1" end, find, { concurrency = 24 })
      local begun = now()
      print(fine, why, tasks.each({ "1" }, find).failed)
      print("took", now() - begun)
    ]]):format(server.api_key, server.url))
    local output = interrupt(command, server, "find", 2)
    os.remove(path)
    assert.truthy(output:find("^false\t[^\t]*interrupted!\t0\n"), output)
    assert.truthy(tonumber(output:match("took\t([%d.]+)")) < 4, output)
  end)

  it("that are left when the program ends are told of, in one line", function()
    local function run(rest)
      local output = script.run(([[
        local leat, tasks = require("leat"), require("leat.tasks")
        local client = leat.new { api_key = %q, base_url = %q }
        tasks.spawn(function() client.contact_identifiers:find("1") end)
        tasks.spawn(function() client.contact_identifiers:find("2") end)
        %s
      ]]):format(server.api_key, server.url, rest))
      return output
    end
    assert.equal("leat.tasks: the program ended, and 2 of its tasks did not: call tasks.run() before\n", run(""))
    assert.equal("", run("tasks.run()"))
    assert.equal("", run("tasks.cancel()"))
    local lost = run("tasks.spawn(error, 'lost') tasks.cancel()")
    assert.truthy(lost:find("^leat.tasks: the program ended without waiting for a task that failed.*lost%)\n$"), lost)
    assert.equal("", run("tasks.spawn(error, 'lost') pcall(tasks.run) tasks.run()"))
  end)

  it("Ctrl-C ends an each, and says what may have happened", function()
    slow(5, "create")
    local path, command = script.write(([[
      local leat, tasks = require("leat"), require("leat.tasks")
      local client = leat.new { api_key = %q, base_url = %q }
      local i = 0
      local fine, why = pcall(tasks.each, function() i = i + 1 return "new " .. i end, function(value)
        return client.contact_identifiers:create(value)
      end, { concurrency = 3 })
      print(fine, why)
      print(tasks.poll(), client.contact_identifiers:find("1").value)
    ]]):format(server.api_key, server.url))
    local output, seconds = interrupt(command, server, "create", 3)
    os.remove(path)
    assert.truthy(seconds < 2)
    assert.truthy(output:find("^false.*interrupted!.*3 may have happened or not"), output)
    assert.truthy(output:find("\n0\t1\n", 1, true), output)
  end)
end)
