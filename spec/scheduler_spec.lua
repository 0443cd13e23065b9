-- The scheduler over a driver written in Lua, examples/luasocket.lua, in processes without libcurl; and programs
-- that make no tasks, which do not load the scheduler.
local sandbox = require("leat.sandbox")
local script = dofile("spec/support/script.lua")

-- What each script begins with. Loading libcurl's part of leat fails.
local PROLOGUE = [[
  package.preload["leat.curl.core"] = function() error("there is no libcurl here") end
  local leat, tasks = require("leat"), require("leat.tasks")
  local core = require("leat.core")
  local driver = dofile("examples/luasocket.lua").new()
  local function connect(options)
    options.base_url, options.driver, options.retry_base = %q, driver, options.retry_base or 0.01
    if not options.token then options.api_key = %q end
    return leat.new(options)
  end
  local cards = connect({}).contact_identifiers
  local function seconds_of(f, ...)
    local begun = core.now()
    f(...)
    return (core.now() - begun) / 1000
  end
]]
local EPILOGUE = [[
  assert(not package.loaded["leat.curl"] and not package.loaded["leat.curl.core"])
  assert(driver:is_idle() and tasks.poll() == 0)
  print("passed")
]]

local function expect_passed(text)
  local output = script.run(text)
  assert.equal("passed\n", output)
end

describe("tasks over a driver written in Lua, without libcurl,", function()
  local server

  before_each(function()
    local list = {}
    for i = 1, 20 do
      list[i] = { value = tostring(i) }
    end
    server = assert(sandbox.start { cards = list, contacts = { { uuid = "ann" } } })
  end)
  after_each(function() server:stop() end)

  local function passes(body)
    expect_passed(PROLOGUE:format(server.url, server.api_key) .. body .. EPILOGUE)
  end
  local function slow(seconds, operation)
    server:fault { operation = operation or "find", delay = seconds, times = math.huge }
  end

  it("make calls that overlap", function()
    slow(0.2)
    passes [[
      local found = {}
      local seconds = seconds_of(function()
        for i = 1, 10 do
          tasks.spawn(function() found[i] = leat.assert(cards:find(tostring(i))).value end)
        end
        assert(#found == 0)
        tasks.run()
      end)
      for i = 1, 10 do assert(found[i] == tostring(i)) end
      assert(seconds >= 0.2 and seconds < 1, seconds)
    ]]
    assert.equal(10, #server:requests("find"))
  end)

  it("are suspended by their calls, and the others go on", function()
    slow(0.5)
    passes [[
      local steps = {}
      local first = tasks.spawn(function()
        local card = leat.assert(cards:find("1"))
        steps[#steps + 1] = "first"
        return card.value
      end)
      local second = tasks.spawn(function()
        local _, err = leat.assert(cards:create("new")), nil
        steps[#steps + 1] = "second"
        return err
      end)
      assert(seconds_of(tasks.poll) < 0.4)
      assert(#steps == 0)
      second:wait()
      assert(table.concat(steps, " ") == "second" and not first.done)
      assert(first:wait() == "1")
    ]]
  end)

  it("retry and verify as over any driver", function()
    server:fault { operation = "find", status = 500, nth = 1 }
    server:fault { operation = "create", close = "before", apply = true, nth = 1 }
    passes [[
      local task = tasks.spawn(function()
        local card, _, info = leat.assert(cards:find("1"))
        assert(info.attempts == 2, info.attempts)
        card, _, info = leat.assert(cards:create("new"))
        assert(info.outcome == "recovered" and card.value == "new")
        local _, err = cards:find("none")
        return err.kind
      end)
      assert(task:wait() == "not_found")
      local summary = tasks.each({ "2", "3", "none" }, function(value) return cards:find(value) end)
      assert(summary.done == 3 and summary.failed == 1 and summary.retried == 0)
    ]]
  end)

  it("are canceled, and end with their driver", function()
    slow(5)
    passes [[
      local function find() return select(2, cards:find("1")) end
      local seconds = seconds_of(function()
        local canceled, other = tasks.spawn(find), tasks.spawn(find)
        tasks.poll(0.1)
        canceled:cancel()
        assert(canceled.done and not other.done)
        assert(canceled:wait().kind == "canceled")
        driver:close()
        assert(other.done and other:wait().kind == "canceled")
        assert(not pcall(cards.find, cards, "1"))
      end)
      assert(seconds < 1, seconds)
    ]]
  end)

  it("raise their errors to who waits for them", function()
    passes [[
      local failed = tasks.spawn(function() cards:find("1") error("mine", 0) end)
      local other = tasks.spawn(function() return leat.assert(cards:find("2")).value end)
      local fine, why = pcall(failed.wait, failed)
      assert(not fine and why:find("^mine\n"), why)
      assert(other:wait() == "2")
      tasks.spawn(function() cards:find("1") error("unobserved", 0) end)
      fine, why = pcall(tasks.run)
      assert(not fine and why:find("^unobserved\n"), why)
    ]]
  end)

  it("end a connection that fails, and one that takes too long", function()
    slow(5)
    passes [[
      local nobody = leat.new { api_key = "k", base_url = "http://127.0.0.1:1", driver = driver, max_attempts = 1 }
      local late = connect { timeout = 0.2, max_attempts = 1 }
      local function error_of(client)
        return tasks.spawn(function() return select(2, client.contact_identifiers:find("1")) end)
      end
      local refused, timed_out = error_of(nobody), error_of(late)
      local err = refused:wait()
      assert(err.kind == "connection" and err.sent == "no", tostring(err))
      err = timed_out:wait()
      assert(err.kind == "timeout" and err.sent == "maybe", tostring(err))
    ]]
  end)

  it("get their token from a function that makes a call", function()
    slow(0.05)
    passes(([[
      local asked = 0
      local guarded = connect { token = function()
        asked = asked + 1
        return leat.assert(cards:find("7")) and %q
      end }
      local found = tasks.map({ "1", "2", "3" }, function(value) return guarded.contact_identifiers:find(value) end)
      assert(#found == 3 and asked == 1)
      assert(guarded.contact_identifiers:find("4").value == "4") -- blocks
    ]]):format(server.api_key))
  end)

  it("go on while a call blocks", function()
    slow(0.05)
    passes [[
      local task = tasks.spawn(function() return cards:find("2").value .. cards:find("3").value end)
      local _, err = leat.assert(cards:list { contact_uuid = "ann" }), nil
      assert(not err and not task.done)
      assert(cards:find("1").value == "1")
      assert(task:wait() == "23")
    ]]
  end)

  it("end after an interrupt at any instruction, and others are as before", function()
    passes [[
      if jit then jit.off() end -- compiled code does not call hooks
      local hasty = connect { timeout = 0.5 }.contact_identifiers
      local n, hit = 1, true
      local function interrupt()
        debug.sethook()
        hit = true
        error("interrupted!", 0)
      end
      local function run(f)
        debug.sethook(interrupt, "", n)
        local fine, why = pcall(f)
        debug.sethook()
        assert(fine or why == "interrupted!", why)
      end
      while hit do
        local found, due, fine, value = {}, core.now() + 3000, nil, nil
        local before = tasks.spawn(function() return leat.assert(hasty:find("1") or hasty:find("1")).value end)
        hit = false
        pcall(run, function()
          for i = 1, 2 do
            tasks.spawn(function() found[i] = hasty:find(tostring(i)) or hasty:find(tostring(i)) end)
          end
          tasks.run()
        end)
        local left
        repeat
          fine, left = pcall(tasks.poll, 0.01)
          assert((fine or left:find("^interrupted!")) and core.now() < due, left)
        until left == 0
        fine, value = pcall(before.wait, before) -- where hooks are for all coroutines, it may be hit too
        assert(value == "1" or not fine and value:find("^interrupted!"), value)
        if not hit then assert(found[1] and found[2]) end
        n = n + 61
      end
      assert(n > 500, n)
    ]]
  end)

  it("run at the same time as those over another driver", function()
    slow(0.2)
    passes [[
      local other = leat.new { api_key = "none", base_url = cards.parent.base_url, max_attempts = 1,
        driver = dofile("examples/luasocket.lua").new() }
      local seconds = seconds_of(function()
        local first = tasks.spawn(function() return leat.assert(cards:find("1")).value end)
        local second = tasks.spawn(function() return select(2, other.contact_identifiers:find("1")).kind end)
        assert(first:wait() == "1" and second:wait() == "unauthorized")
      end)
      assert(seconds < 0.35, seconds)
    ]]
  end)
end)

describe("a program that makes no tasks", function()
  local NO_SCHEDULER = [[
    for _, name in ipairs { "leat.tasks", "leat.scheduler", "leat.each" } do
      assert(not package.loaded[name], name)
    end
    print("passed")
  ]]

  it("does not load the scheduler", function()
    local server = assert(sandbox.start { cards = { { value = "1" } } })
    expect_passed(([[
      local leat = require("leat")
      local client = leat.new { api_key = %q, base_url = %q }
      assert(leat.assert(client.contact_identifiers:find("1")).value == "1")
      local asked = leat.new { base_url = %q, token = function() return %q end }
      assert(leat.assert(asked.contact_identifiers:create("2")):delete())
      asked:close()
      client:close()
    ]]):format(server.api_key, server.url, server.url, server.api_key) .. NO_SCHEDULER)
    server:stop()
  end)

  it("needs no libcurl for a transport, which waits by a monotonic clock", function()
    expect_passed([[
      package.preload["leat.curl.core"] = function() error("there is no libcurl here") end
      local leat, now = require("leat"), require("leat.core").now
      local asked = 0
      local client = leat.new { api_key = "k", retry_base = 0.1, retry_cap = 0.1, transport = function()
        asked = asked + 1
        if asked > 1 then return 200, nil, '{"data":{"value":"1"}}' end
        local time = os.time
        os.time = function() return time() + 3600 end -- the wall clock is set
        return 503, { ["Retry-After"] = "1" }, ""
      end }
      local begun = now()
      assert(leat.assert(client.contact_identifiers:find("1")).value == "1")
      assert(now() - begun >= 900 and now() - begun < 20000, now() - begun)
    ]] .. NO_SCHEDULER)
  end)
end)
