-- A hook raises an error, as Ctrl-C does, at each instruction in turn of a call, of tasks.spawn
-- and tasks.run, and of tasks.each. Afterwards every task is as it was, or done, and the caller
-- that gets the interrupt's error also learns that a change may have happened.
local leat = require("leat")
local sandbox = require("leat.sandbox")
local tasks = require("leat.tasks")

local now = dofile("spec/support/clock.lua")
local jit = rawget(_G, "jit")

-- Lua 5.1 to 5.3 execute one more instruction after a tail call of a C function.
local NO_GAP = jit ~= nil or _VERSION >= "Lua 5.4"
local MANY = 5000

-- Raises `why` at the instruction number n of f, counted in each coroutine; LuaJIT counts
-- all of them together. Returns whether f ran that far, or "here" if that was in this file; then what
-- pcall(f) returned, or nil if the error was raised outside of f.
local this = debug.getinfo(1, "S").source
local function interrupt(n, why, f, ...)
  local hit, result = false, nil
  local function raise()
    debug.sethook()
    if not hit then
      hit = debug.getinfo(2, "S").source == this and "here" or "there"
      error(why, 0)
    end
  end
  local function run(...)
    debug.sethook(raise, "", n)
    result = { pcall(f, ...) }
    debug.sethook()
  end
  pcall(run, ...)
  debug.sethook()
  return hit, result
end

local function is_interrupt(why, raised)
  return why == raised or type(why) == "string" and why:find("interrupted", 1, true) ~= nil
end

local function says_so(why)
  return type(why) == "table" and why.outcome_unknown == true
    or type(why) == "string" and why:find("may have happened", 1, true) ~= nil
end

describe("an interrupt at any instruction", function()
  local server, client, cards

  before_each(function()
    server = assert(sandbox.start { cards = { { value = "1" } } })
    client = leat.new { api_key = server.api_key, base_url = server.url }
    cards = client.contact_identifiers
    leat.assert(cards:find("1"))
    if jit then jit.off() end -- compiled code does not call hooks
  end)
  after_each(function()
    if jit then jit.on() end
    tasks.cancel()
    while not pcall(tasks.poll) do end
    client:close()
    server:stop()
  end)

  -- Runs until no task is left. The only error that may be raised meanwhile is the interrupt, which it returns.
  local function carry_on(n, raised)
    local due, told = now() + 5, nil
    repeat
      local fine, left = pcall(tasks.poll, 0.01)
      if not fine then
        assert.is_true(is_interrupt(left, raised), ("at %d: %s"):format(n, tostring(left)))
        told = left
      end
    until left == 0 or now() > due
    assert.same({ true, 0 }, { pcall(tasks.poll) }, n)
    assert.is_true(pcall(tasks.run), n)
    return told
  end

  for _, what in ipairs { "text", "table" } do
    local function raised()
      return what == "text" and "interrupted!" or { mine = true }
    end

    it("of a call that blocks: " .. what, function()
      local n, applied, hit = 0, 0, true
      while hit and n < MANY do
        n = n + 1
        local value, why = "card " .. n, raised()
        local result
        hit, result = interrupt(n, why, cards.create, cards, value)
        if server:card(value) then
          applied = applied + 1
          local told = not result or result[1] or says_so(result[2]) or hit == "here"
          assert.truthy(told or not NO_GAP, ("at %d: %s"):format(n, tostring(result and result[2])))
        end
        assert.is_true(not result or result[1] or is_interrupt(result[2], why))
        if n % 20 == 0 then
          assert.equal("1", leat.assert(cards:find("1")).value)
        end
      end
      assert.is_true(n > 100 and n < MANY, n)
      assert.is_true(applied > 0)
    end)

    it("of a task's beginning, and of its way: " .. what, function()
      local n, applied, hit = 0, 0, true
      while hit and n < MANY do
        n = n + 1
        local value, why, task, created = "card " .. n, raised(), nil, nil
        local bystander = tasks.spawn(function() return leat.assert(cards:find("1")).value end)
        local result, _
        hit, result = interrupt(n, why, function()
          task = tasks.spawn(function() created = cards:create(value) end)
          tasks.run()
        end)
        local told = carry_on(n, why) or result and result[2]
        assert.is_true(bystander.done, n)
        _, result = pcall(bystander.wait, bystander)
        assert.truthy(result == "1" or is_interrupt(result, why), n)
        if task then
          assert.is_true(task.done, n)
        end
        if server:card(value) then
          applied = applied + 1
          assert.truthy(created or not task or says_so(task.why) or says_so(told) or hit == "here" or not NO_GAP,
            ("at %d: %s"):format(n, tostring(told)))
        end
      end
      assert.is_true(n > 100 and n < MANY, n)
      assert.is_true(applied > 0)
    end)
  end

  it("of an each that is only beginning, or goes on", function()
    local n, hit = 0, true
    while hit and n < MANY do
      n = n + 1
      local why = "interrupted!"
      local result
      hit, result = interrupt(n, why, tasks.each, { "1", "none" }, function(value) return cards:find(value) end,
        { concurrency = 2 })
      if result and not result[1] then
        assert.is_true(is_interrupt(result[2], why), n .. tostring(result[2]))
      elseif result then
        assert.same({ 2, 1 }, { result[2].done, result[2].failed })
      end
      carry_on(n, why)
    end
    assert.is_true(n > 100 and n < MANY, n)
  end)

  -- Where hooks belong to a coroutine, the task sets its own.
  it("of what a task does with other tasks", function()
    local n, hit = 0, true
    while hit and n < MANY do
      n = n + 1
      local why, first, second = "interrupted!", nil, nil
      tasks.spawn(function()
        hit = interrupt(n, why, function()
          first = tasks.spawn(function() return (cards:find("1")) end)
          second = tasks.spawn(function() return first:wait() end)
          first:cancel()
          tasks.spawn(error, why):cancel()
        end)
      end)
      carry_on(n, why)
      assert.is_true((not first or first.done) and (not second or second.done), n)
    end
    assert.is_true(n > 100 and n < MANY, n)
  end)

  it("of closing a client whose calls are under way", function()
    local n, hit, canceled = 0, true, 0
    while hit and n < MANY do
      n = n + 1
      local why, err = "interrupted!", nil
      local other = leat.new { api_key = server.api_key, base_url = server.url, timeout = 2 }
      local task = tasks.spawn(function() err = select(2, other.contact_identifiers:find("1")) end)
      hit = interrupt(n, why, other.close, other)
      local begun = now()
      carry_on(n, why)
      assert.is_true(task.done and now() - begun < 1, n)
      canceled = canceled + (err and err.kind == "canceled" and 1 or 0)
      other:close()
    end
    assert.is_true(n > 30 and n < MANY and canceled > 5, n)
  end)

  it("of a task that waits for another, or is canceled", function()
    local n, hit = 0, true
    while hit and n < MANY do
      n = n + 1
      local why, first, second = "interrupted!", nil, nil
      hit = interrupt(n, why, function()
        first = tasks.spawn(function() return (cards:find("1")) end)
        second = tasks.spawn(function() return first:wait() end)
        first:cancel()
        second:wait()
      end)
      carry_on(n, why)
      assert.is_true((not first or first.done) and (not second or second.done))
    end
    assert.is_true(n > 100 and n < MANY, n)
  end)
end)
