--- Many calls at once, in one thread. In a task, a call suspends only that task.
--
--    local tasks = require("leat.tasks")
--    tasks.spawn(function()
--       print(client.contact_identifiers:find("ABCDE12356-90"))
--    end)
--    tasks.run()        -- waits until all are done; or, in a game's tick:
--    tasks.poll()       -- does what can be done now, and never blocks
--
-- The methods and errors are the same as outside of tasks, and there are no callbacks. A call suspends the
-- task's own coroutine; in another coroutine inside a task it raises an error. Where Lua cannot suspend a
-- coroutine, a call raises an error before anything is sent: inside `string.gsub`, `table.sort`, `require`
-- or `tostring`. On Lua 5.1 this also applies inside `pcall`, a metamethod or the iterator of a `for`, and
-- the error is Lua's own: "attempt to yield across metamethod/C-call boundary". Make the call before or
-- after those, or in a task of its own.
--
-- `task:wait()` raises the error that ended the task. If nothing waits for the task, the next `poll` or
-- `run` raises it.
-- @module leat.tasks

local core = require("leat.curl.core")
local interrupted = require("leat.driver")
local now, take = core.now, core.start
local continue, yield, running, status = coroutine.resume, coroutine.yield, coroutine.running, coroutine.status

local tasks = {}
local Task = {}
Task.__index = Task

local current -- the running task, or nil
local living, count = {}, 0 -- the set of tasks that are not done, and its size
local ready, first, last = {}, 1, 0 -- a queue of tasks to resume
local orphans, failures = {}, 0 -- tasks whose failure nothing has observed, each with its number; the last number
local busy = {} -- the drivers with calls of tasks under way; the field `carried` of each counts them
local loops = {} -- the event loops that are attached
-- The depth of nested calls of the scheduler's functions. If it is still greater than 0 after they have
-- returned, an error interrupted one of them.
local at_work = 0

local function begin_work()
  at_work = at_work + 1
  return at_work
end

local function end_work(level)
  if at_work == level then
    at_work = level - 1
  end
end

local SUSPENDED = {} -- the value that this module yields; any other value comes from a yield of other code

-- Whether a coroutine can be suspended inside pcall, which Lua 5.1 cannot do. It is determined when the
-- first task starts, because in nginx no coroutine can be resumed while a module loads.
local pcall_suspends
local function find_out_about_pcall()
  local probe = coroutine.create(function() pcall(yield) end)
  continue(probe)
  pcall_suspends = status(probe) == "suspended"
end

local function tell_loops(what, driver)
  for _, loop in ipairs(loops) do
    loop[what](driver)
  end
end

-- ---- calls under way --------------------------------------------------------------------

-- Each call under way has an entry. For a task's own call this is the task itself; for a call that a token
-- function makes meanwhile, it is another table, linked by the task's `inner`. The entry's field `news` is
-- the call's last event, or false.

local function wake(task)
  last = last + 1
  ready[last] = task
end

-- Notifies the loops first. After an interrupt in between they are notified again, which is harmless.
local function begin_carrying(driver)
  tell_loops("watch", driver)
  driver.carried = 1
  busy[#busy + 1] = driver
end

local function stop_carrying(driver)
  driver.carried = nil
  for i, other in ipairs(busy) do
    if other == driver then
      tell_loops("unwatch", driver)
      table.remove(busy, i)
      return
    end
  end
end

local function count_down(driver)
  local left = (driver.carried or 1) - 1 -- it is nil if memory ran out before it was set
  if left > 0 then
    driver.carried = left
  else
    stop_carrying(driver)
  end
end

local function is_under_way(entry)
  return entry.call and (not entry.news or entry.news == "token")
end

-- Iterates over all entries of a task, the innermost first.
local function next_entry(task, entry)
  if not entry then
    return task.inner or task
  end
  return entry.outer or nil
end

local function entries(task)
  return next_entry, task, nil
end

-- Whether a failed task leaves a change that may have been applied and was not reported.
local function has_unknown(task)
  for entry in entries(task) do
    if entry.call and entry.call:may_have_happened() then
      return true
    end
  end
  return task.unreported and task.unreported:may_have_happened()
end

-- ---- the scheduler ----------------------------------------------------------------------

-- Reports the end of a task. It may be called twice for the same task.
local function settle(task)
  if not task.fine and not task.claimed and not orphans[task] then
    failures = failures + 1
    orphans[task] = failures
    tell_loops("soon")
  end
  if task.at_end then
    task:at_end()
  end
  for _, waiter in ipairs(task.waiters or {}) do
    wake(waiter)
  end
  if living[task] then
    living[task] = nil
    count = count - 1
  end
end

local function finish(task, fine, why)
  task:give_up()
  if not fine then
    why = has_unknown(task) and interrupted.note(why) or why
    task.why = type(why) == "string" and debug.traceback(task.thread, why) or why
  end
  task.fine = fine
  task.done = true
  settle(task)
end

-- Marks the task's failure as observed: a waiter receives its error.
local function claim(task)
  task.claimed = true
  if orphans[task] then
    orphans[task] = nil
  end
end

local function after(task, fine, what)
  if not fine then
    finish(task, false, what)
  elseif status(task.thread) == "dead" then
    finish(task, true)
  elseif what ~= SUSPENDED then
    finish(task, false, "leat.tasks: a task can be suspended by its calls only, and something else yielded in it")
  end
end

local function keep(task, ...)
  task.results, task.n = { ... }, select("#", ...)
end

-- The main function of a task's coroutine.
local function body(task, f, ...)
  task.begun = true
  keep(task, f(...))
end

-- Suspends the running task. The scheduler calls `act(task, a, b, c)`, which begins what the task waits for,
-- after the coroutine has yielded: if Lua refuses to yield, nothing has been begun.
local function suspend(task, act, a, b, c)
  task.act, task.a, task.b, task.c = act, a, b, c
  yield(SUSPENDED)
end

local REFUSED = "Lua can't suspend the task here, inside of string.gsub, table.sort, require, tostring or the like "
  .. "(attempt to yield across a C-call boundary): do it before that or after it, or in another task: "
  .. "tasks.spawn(function() ... end)"

local function is_refusal(why)
  return type(why) == "string" and why:find("attempt to yield", 1, true) ~= nil
end

-- Suspends the running task like `suspend`, but returns the reason if Lua refuses that.
local function try_to_suspend(task, act, a)
  local fine, why = true, nil
  if pcall_suspends then
    fine, why = pcall(suspend, task, act, a)
  else
    suspend(task, act, a)
  end
  if fine then
    return nil
  end
  return is_refusal(why) and REFUSED or error(why, 0)
end

-- Calls the pending `act`. After an interrupt it may be called twice, so it must be safe to repeat.
local function do_act(task)
  local act = task.act
  if act then
    act(task, task.a, task.b, task.c)
    task.act = false
  end
end

local function resume(task, ...)
  local before = current
  current = task
  local fine, what = continue(task.thread, ...)
  current = before
  if fine and what == SUSPENDED then
    do_act(task)
  else
    after(task, fine, what)
  end
end

-- ---- after an interrupt -----------------------------------------------------------------

-- A hook may raise an error between any two instructions of the scheduler. Each step above records how far
-- it got, and can be repeated.

-- Recounts the tasks, and the calls of each driver.
local function count_anew()
  local carried = {}
  count = 0
  for task in pairs(living) do
    count = count + 1
    for entry in entries(task) do
      if is_under_way(entry) then
        carried[entry.driver] = (carried[entry.driver] or 0) + 1
      end
    end
  end
  for i = #busy, 1, -1 do
    local driver = busy[i]
    if not carried[driver] then
      stop_carrying(driver)
    end
    driver.carried, carried[driver] = carried[driver], nil
  end
  for driver, calls in pairs(carried) do
    begin_carrying(driver)
    driver.carried = calls
  end
end

-- Reports calls to the task that ended without it, because a drop or a close was interrupted.
local function end_lost_calls(task)
  for entry in entries(task) do
    if is_under_way(entry) and (entry.driver.closed or entry.call:is_done()) then
      entry.driver:drop(entry.call)
      entry.news = "trouble"
    end
  end
end

-- Repairs a task after an interrupt: it goes on as before, or is done. It may be resumed more often than
-- needed, which is harmless because tasks check what they wait for.
local function mend(task)
  if not task.begun then -- the program that spawned it has received the interrupt
    living[task] = nil
    task.done, task.fine, task.claimed = true, false, true
  elseif task.done then
    settle(task)
  elseif status(task.thread) == "dead" then
    finish(task, task.n ~= nil, "leat.tasks: interrupted as the task ended")
  else
    do_act(task)
    end_lost_calls(task)
    wake(task)
  end
end

local function mend_all()
  local all = {}
  for task in pairs(living) do
    all[#all + 1] = task
  end
  for _, task in ipairs(all) do
    mend(task)
  end
  count_anew()
  at_work = 0
end

-- Repairs the scheduler after an interrupt. Every function that a program calls begins with this.
local function enter()
  if current and running() ~= current.thread then
    local how = status(current.thread)
    if how == "dead" or how == "suspended" then
      current = nil
    end
  end
  if at_work > 0 and not current then
    mend_all()
  end
end

-- Resumes all tasks that are ready, including those that become ready meanwhile.
local drain
function drain()
  enter()
  if current then
    return
  end
  local level = begin_work()
  while first <= last do
    local task = ready[first]
    if task and not task.done then
      resume(task)
    end
    ready[first] = nil
    first = first + 1
  end
  first = 1 -- before `last`: an interrupt in between must not leave `first` beyond the next task
  last = 0
  end_work(level)
  if at_work >= level then -- an interrupt broke into the scheduler within a task, and the task caught the error
    mend_all()
    return drain()
  end
end

-- Makes a task and starts it. `fields` may hold `at_end(task)`, which is called when the task is done, maybe
-- more than once; and `tally(task, call)`, which is called for each call that ends with the event "trouble".
-- Unused fields of the task are false, because Lua finds them faster than absent ones.
local function start(fields, f, ...)
  enter()
  if pcall_suspends == nil then
    find_out_about_pcall()
  end
  local task = setmetatable({ thread = coroutine.create(body), at_end = fields.at_end, tally = fields.tally or false,
    begun = false, done = false, canceled = false, unreported = false, act = false, a = false, b = false, c = false,
    driver = false, call = false, news = false, writes = false, inner = false, outer = false }, Task)
  task.task = task
  interrupted.inherit(task.thread)
  local level = begin_work()
  living[task] = true
  count = count + 1
  resume(task, task, f, ...)
  end_work(level)
  drain()
  return task
end

--- Starts a task, and runs it up to its first call.
-- @tparam function f the task's main function, which is called as `f(...)`
-- @param ... arguments for `f`
-- @treturn Task
-- @raise an `f` that is not a function
function tasks.spawn(f, ...)
  if type(f) ~= "function" then
    error("leat.tasks.spawn: give a function, not a " .. type(f) .. ": tasks.spawn(function() ... end)", 2)
  end
  local task = start({}, f, ...)
  return task
end

-- ---- for drivers ------------------------------------------------------------------------

-- A driver for tasks has a field `handle`, the object of leat.curl.core; and the methods `drop(call)`, which
-- cancels a call; `step(seconds)`, which performs I/O and calls tasks.tell(entry, news);
-- `give_token(call, hooks)`; and the function `wait_for(drivers, seconds)`, which waits until one of the
-- drivers has something to do.

--- For drivers: returns where the running code is.
-- @treturn string `"task"`: in a task's own coroutine; `"outside"`: outside of tasks; `"inside"`: in another
--   coroutine inside a task, which cannot be suspended
function tasks.place()
  if current and running() == current.thread then
    return "task"
  end
  enter()
  return current and "inside" or "outside"
end

--- For drivers: closes the driver's handle, and ends the calls that tasks make over it.
-- @param driver the driver; its field `closed` is set to true
function tasks.close(driver)
  enter()
  local level = begin_work()
  stop_carrying(driver) -- first: loops must stop watching the descriptor before it is closed
  driver.closed = true
  driver.handle:close()
  for task in pairs(living) do
    for entry in entries(task) do
      if entry.driver == driver and is_under_way(entry) then
        entry.news = "trouble"
        wake(task)
      end
    end
  end
  end_work(level)
  drain()
end

function interrupted.is_task()
  return current ~= nil and running() == current.thread
end

--- Returns the running task.
-- @treturn Task nil outside of tasks, and in another coroutine inside a task
function tasks.current()
  return tasks.place() == "task" and current or nil
end

-- Starts a call; an `act` for `suspend`. Only `take`, which may run out of memory, is called through pcall:
-- an interrupt must be raised to the program that entered the scheduler, and not to this task.
local function begin_call(task, entry, driver, call)
  if entry ~= task then
    task.inner = entry
  end
  entry.driver, entry.call, entry.news = driver, call, false
  local carried = driver.carried
  if carried then
    driver.carried = carried + 1
  else
    begin_carrying(driver)
  end
  local fine, taken, writes = pcall(take, driver.handle, call, entry)
  entry.writes = fine and writes
  if not fine then
    entry.why, entry.news = taken, "refused"
  elseif not taken and call:is_done() then
    entry.news = "done"
  else
    return
  end
  count_down(driver)
  wake(task)
end

local function leave(task, entry)
  entry.driver, entry.call = false, false
  if task.inner then
    task.inner = entry.outer ~= task and entry.outer
  end
end

local function carry_to_end(task, entry, driver, call, hooks)
  suspend(task, begin_call, entry, driver, call)
  local news = entry.news
  while news ~= "done" and news ~= "trouble" do
    if news == "token" then
      entry.news = false
      driver:give_token(call, hooks)
    elseif news == "refused" then
      error(entry.why, 0)
    else
      suspend(task, false)
    end
    news = entry.news
  end
  task.unreported = entry.writes and call -- until the caller has the result, and frees the call
  leave(task, entry)
  if news == "trouble" and task.tally then
    task:tally(call)
  end
end

-- Cancels the call because of an error, such as one of the token function, and raises that error. If Lua
-- could not suspend the task, the call was never started; then it returns the reason.
local function abandon(task, entry, call, why)
  if entry.call ~= call and is_refusal(why) then
    return REFUSED
  elseif entry.call == call then
    if is_under_way(entry) then
      entry.driver:drop(call)
      entry.news = "trouble"
      count_down(entry.driver)
    end
    leave(task, entry)
  end
  task.unreported = false
  interrupted.raise(why, call)
end

--- For drivers: performs a call in the running task, which is suspended until the call is done.
-- @param driver the driver that calls this
-- @param call a call of the core
-- @tparam table hooks the client's hooks: see `leat.driver`
-- @treturn boolean true if the call is done or refused; false if the running code is not in a task's own
--   coroutine, and nothing was done
-- @treturn string nil; or the reason why the call cannot be made here
-- @raise the error that canceled the call
function tasks.carry(driver, call, hooks)
  local task = current
  if not task or running() ~= task.thread then
    return false
  elseif task.canceled then
    driver:drop(call)
    return true
  end
  local entry = task.call and { task = task, outer = task.inner or task, news = false } or task
  if pcall_suspends then
    local fine, why = pcall(carry_to_end, task, entry, driver, call, hooks)
    if not fine then
      return true, abandon(task, entry, call, why)
    end
  else -- without pcall: an error ends the task
    carry_to_end(task, entry, driver, call, hooks)
  end
  return true
end

--- For drivers: reports an event of a call to its task.
-- @param entry the call's entry
-- @tparam string news `"done"`; `"trouble"`: done, but with more than one exchange or an unknown outcome; or
--   `"token"`: the call needs a token
function tasks.tell(entry, news)
  wake(entry.task)
  entry.news = news
  if news ~= "token" then
    count_down(entry.driver)
  end
end

-- ---- driving ----------------------------------------------------------------------------

-- Raises the error of the unobserved task that failed first. The next call raises the next one.
local function raise_orphan()
  local failed
  for task, number in pairs(orphans) do
    if not failed or number < orphans[failed] then
      failed = task
    end
  end
  if failed then
    claim(failed)
    error(failed.why, 0)
  end
end

-- Performs the I/O of the drivers, after waiting for at most `seconds`. A step may close other drivers,
-- because it calls on_attempt.
local function step_all(drivers, seconds)
  if drivers[2] then
    drivers[1].wait_for(drivers, seconds)
    seconds = 0
  end
  for i = #drivers, 1, -1 do
    local driver = drivers[i]
    if driver and not driver.closed then
      driver:step(seconds)
    end
  end
end

--- For drivers: performs a step of a call that blocks, for all drivers in use, and resumes tasks. The call may
-- wait for a task, such as one that is getting a token over another driver.
-- @param driver the driver of the call
-- @tparam number seconds how long to wait for I/O at most
function tasks.step(driver, seconds)
  local level = begin_work()
  if busy[1] then
    local all = { driver }
    for _, other in ipairs(busy) do
      all[#all + 1] = other ~= driver and other or nil
    end
    step_all(all, seconds)
  else
    driver:step(seconds)
  end
  end_work(level)
  drain()
end

-- Waits for the drivers, at most `seconds`, and resumes tasks. If on_attempt or an interrupt raises an error,
-- no descriptor signals the tasks that are ready, so the loops are asked to poll again.
local function step(seconds)
  drain()
  local level = begin_work()
  local fine, why = pcall(step_all, busy, seconds)
  if not fine then
    tell_loops("soon")
    error(why, 0)
  end
  end_work(level)
  drain()
end

-- Whether any task can still make progress.
local function goes_on()
  return busy[1] ~= nil or first <= last
end

--- Does what can be done now, and resumes the tasks whose calls are done. Never blocks without `budget`.
-- @tparam[opt] number budget seconds to go on for while calls are under way: with a few milliseconds, a call
--   can take more than one step within a tick. Default: a single step
-- @treturn number how many tasks are not done
-- @raise the error of a task that failed, if nothing waits for it
function tasks.poll(budget)
  step(0)
  if budget then
    local over = now() + budget
    local left = budget
    while busy[1] and left > 0 do
      step(math.min(left, 0.001))
      left = over - now()
    end
  end
  raise_orphan()
  return count
end

--- Waits until all tasks are done. An interrupt leaves the tasks as they are; call `run` again to go on.
-- @raise the error of a task that failed, if nothing waits for it; a call inside a task; tasks that wait for
--   each other
function tasks.run()
  if tasks.place() ~= "outside" then
    error("leat.tasks.run: call it outside of tasks", 2)
  end
  enter()
  while count > 0 do
    if not goes_on() then
      error("leat.tasks.run: the tasks that are left wait for each other", 2)
    end
    step(0.1)
    raise_orphan()
  end
  raise_orphan()
end

-- In a task, suspends it until it is woken; outside of tasks, performs one step of the scheduler.
local function wait_for_news()
  if current then
    suspend(current, false)
    return
  end
  if not goes_on() then
    error("leat.tasks: what is waited for waits itself, for nobody", 0)
  end
  step(0.1)
end

-- Suspends the task once and lets it resume at once, before anything is begun. Returns the reason if it
-- cannot be suspended.
local function take_turn()
  return current and try_to_suspend(current, wake)
end

local function add_waiter(waiter, task)
  claim(task)
  task.waiters = task.waiters or {}
  table.insert(task.waiters, waiter)
end

local function wait_in_task(waiter, task)
  local act = add_waiter
  while not task.done do
    local refused = try_to_suspend(waiter, act, task)
    act = false
    if refused then
      error("leat.tasks: " .. refused, 3)
    elseif waiter.canceled and not task.done then
      error("leat.tasks: the task was canceled while it waited for another", 3)
    end
  end
end

--- Waits until the task is done. In another task this suspends that task; outside of tasks it blocks.
-- @return the results of the task's function
-- @raise the error that ended the task; or waiting that is impossible: for the task itself, for tasks that
--   wait for each other, in another coroutine inside a task, or in a task that is canceled
function Task:wait()
  local place = tasks.place()
  local waiter = current
  if place == "inside" or self == waiter then
    error("leat.tasks: a task can't wait for itself, nor in a coroutine of its own making", 2)
  elseif waiter then
    wait_in_task(waiter, self)
  end
  while not self.done do
    wait_for_news()
  end
  claim(self)
  if not self.fine then
    error(self.why, 0)
  end
  return (table.unpack or unpack)(self.results, 1, self.n) -- luacheck: ignore
end

--- For the scheduler: cancels the task's calls.
function Task:give_up()
  for entry in entries(self) do
    if is_under_way(entry) then
      entry.driver:drop(entry.call)
      entry.news = "trouble"
      count_down(entry.driver)
    end
  end
end

--- Cancels the task's call, and every call that the task makes from now on. They end as `canceled`, with
-- `outcome_unknown` if a change may have been received. The task's function goes on and sees these errors.
function Task:cancel()
  enter()
  if self.done then
    return
  end
  local level = begin_work()
  self.canceled = true
  self:give_up()
  if self ~= current then
    wake(self)
  end
  end_work(level)
  drain()
end

--- Cancels all tasks.
function tasks.cancel()
  local all = {}
  for task in pairs(living) do
    all[#all + 1] = task
  end
  for _, task in ipairs(all) do
    task:cancel()
  end
end

--- Attaches an event loop, which then performs the calls of tasks. `leat.luv` and `leat.cqueues` use this.
-- @tparam table loop three functions: `watch(driver)` makes the loop call `tasks.poll()` whenever
--   `driver:fd()` is readable; `unwatch(driver)` ends that; `soon()` makes the loop call `tasks.poll()` once,
--   because a task or a poll has failed. After an interrupt, `watch` or `unwatch` may be called twice for the
--   same driver
function tasks.attach(loop)
  loops[#loops + 1] = loop
  for _, driver in ipairs(busy) do
    loop.watch(driver)
  end
end

--- Calls `f` with each value, concurrently in tasks. The calls of `f` begin in the order of the values. In a
-- task this suspends the task; outside of tasks it blocks, and an interrupt cancels what is under way.
--
--    tasks.each(io.lines("cards.txt"), function(value)
--       return cards:ensure(value)
--    end, { progress = function(p) print(p.done, p.failed, p.rate) end })
--
-- @function tasks.each
-- @tparam table|function values a list, or a function that returns the next value, and nil after the last.
--   The function may make calls
-- @tparam function f the function to call. A first result of nil or false counts as failed. An error that it
--   raises ends the iteration, once the calls of `f` that are under way have returned
-- @tparam[opt] table options
--
--   * `concurrency` integer: how many calls of `f` may be under way at a time. Default 16. The number of
--     connections is limited by the client's `max_connections`
--   * `in_order` a function that is called with each value and the results of `f` for it, in the order of
--     the values
--   * `progress` a function that is called with a `progress`, a table, during the iteration and at its end;
--     during it every `progress_every` seconds, a number, by default 1
--   * `total` integer: the number of values, for `eta`. Default: the length of a list; unknown for a function
-- @treturn progress the last one
-- @raise the error of `f`, an interrupt, or mistakes in the arguments

--- Like `each`, and collects the results of `f`. The arguments are the same.
-- @function tasks.map
-- @treturn table the first results of `f`, by the index of the value
-- @treturn table the second results of `f`, the `err` of those that failed, by the index of the value
-- @treturn progress the last one
-- @raise as `each`

--- The progress of an iteration.
-- @table progress
-- @field done the number of values that are done, including those that failed
-- @field failed the number of values for which `f` returned nil or false
-- @field retried the number of exchanges beyond the first one of each call
-- @field total the number of values; nil if it is not known
-- @field seconds the time since the start
-- @field rate values per second
-- @field eta the estimated number of seconds that are left, or nil if `total` is not known
tasks.each, tasks.map = require("leat.each") {
  start = start,
  claim = claim,
  current = tasks.current,
  wake = wake,
  place = tasks.place,
  take_turn = take_turn,
  wait_for_news = wait_for_news,
  now = now,
}

-- Warns on stderr, at the end of the program, about tasks that were not run to their end, or whose failure
-- was not observed. With a loop attached it does not, since the loop runs the tasks.
local stderr = io and io.stderr
local function warn()
  if not stderr or loops[1] then
    return
  elseif count > 0 then
    stderr:write(("leat.tasks: the program ended, and %d of its tasks did not: call tasks.run() before\n")
      :format(count))
  end
  local failed = next(orphans)
  if failed then
    stderr:write(("leat.tasks: the program ended without waiting for a task that failed: "
      .. "call tasks.run() before (%s)\n"):format(tostring(failed.why):match("^[^\n]*")))
  end
end

-- Lua 5.1 and LuaJIT call no finalizers of tables, so a userdata is used there.
local newproxy = rawget(_G, "newproxy")
local sentinel = newproxy and newproxy(true) or setmetatable({}, { __gc = warn })
getmetatable(sentinel).__gc = warn
Task.__end_of_program = sentinel -- keeps the sentinel alive until the end of the program

return tasks --[[@as leat.tasks]]
