--- Many calls at once, in one thread: in a task a call suspends the task, and nothing else.
--
--    local tasks = require("leat.tasks")
--    tasks.spawn(function()
--       print(client.contact_identifiers:find("ABCDE12356-90"))
--    end)
--    tasks.run()        -- until all are done; or, in a game's tick:
--    tasks.poll()       -- what can be done now; never blocks
--
-- Same methods, same errors, no callbacks. What is suspended is the task's own coroutine:
-- in a coroutine of your own inside a task a call raises an error. Where Lua cannot suspend
-- a coroutine, a call raises one before anything is sent: inside `string.gsub`, `table.sort`,
-- `require` or `tostring`. On Lua 5.1 that is so inside `pcall`, a metamethod and the iterator
-- of a `for`, too, and the error is Lua's own: "attempt to yield across metamethod/C-call
-- boundary". Make the call before or after those, or in a task of its own.
--
-- What goes wrong in a task is raised by `task:wait()`; if nobody waits, by the next `poll`
-- or `run`.
-- @module leat.tasks

local core = require("leat.curl.core")
local interrupted = require("leat.driver")
local now, take = core.now, core.start
local continue, yield, running, status = coroutine.resume, coroutine.yield, coroutine.running, coroutine.status

local tasks = {}
local Task = {}
Task.__index = Task

local current -- the task that runs now
local living, count = {}, 0 -- all that are not done
local ready, first, last = {}, 1, 0 -- a queue: whom to resume
local orphans, failures = {}, 0 -- tasks that failed while nobody waited; which one it was
local busy = {} -- the drivers that carry calls of tasks; the field `carried` of each counts them
local loops = {} -- that watch them
-- How many functions of the scheduler are running, one called by another. When it stays higher than
-- that, an error broke into one of them.
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

local SUSPENDED = {} -- the value that our own yields pass; any other value comes from somebody else's yield

-- Lua 5.1 cannot suspend a coroutine inside pcall. This is found out by the first task, because in
-- nginx no coroutine can be resumed while a module loads.
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

-- A call under way has an entry: its task; or, for one that a token function makes in a task,
-- whose own call waits for that, one more, `inner`. Its `news` is false until it is told.

local function wake(task)
  last = last + 1
  ready[last] = task
end

-- Loops are told first: after an interrupt in between they are told once more, which does no harm.
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

-- All of a task's entries, the innermost first.
local function next_entry(task, entry)
  if not entry then
    return task.inner or task
  end
  return entry.outer or nil
end

local function entries(task)
  return next_entry, task, nil
end

-- Whether a task that failed leaves a change behind whose outcome was not reported.
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

-- From now on someone waits for the task, and gets its error.
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

-- What a task's coroutine runs.
local function body(task, f, ...)
  task.begun = true
  keep(task, f(...))
end

-- Suspends the task that runs. What it waits for, `act(task, a, b, c)`, is begun by the
-- scheduler, once the coroutine has yielded: where Lua refuses that, nothing has happened.
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

-- The same, but returns the reason if Lua refuses to suspend the task.
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

-- After an interrupt `act` may be called twice, so it must be safe to repeat.
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

-- A hook may raise an error between any two instructions of the scheduler. Each step above leaves
-- enough to tell how far it got, and may be repeated.

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

-- Calls that ended without the task's knowledge, because a drop or a close was interrupted.
local function end_lost_calls(task)
  for entry in entries(task) do
    if is_under_way(entry) and (entry.driver.closed or entry.call:is_done()) then
      entry.driver:drop(entry.call)
      entry.news = "trouble"
    end
  end
end

-- Leaves the task as it was, or done. A task may be resumed once too often: it checks what it waits for.
local function mend(task)
  if not task.begun then -- the interrupt was raised to the program that spawned it
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

-- Every function that a program calls begins with this. It repairs what an interrupt left.
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
  first = 1 -- before `last`: an interrupt in between must not leave it behind the next task
  last = 0
  end_work(level)
  if at_work >= level then -- an error broke into what a task did here, and the task took it for its own
    mend_all()
    return drain()
  end
end

-- `fields` of the task may be `at_end(task)`, called when it is done, maybe more than once, and
-- `tally(task, call)`, when a call of its is, if there was trouble. What is false is looked up
-- sooner than what is not there.
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

--- Starts a task: runs `f(...)`, up to its first call.
-- @tparam function f
-- @treturn Task
function tasks.spawn(f, ...)
  if type(f) ~= "function" then
    error("leat.tasks.spawn: give a function, not a " .. type(f) .. ": tasks.spawn(function() ... end)", 2)
  end
  local task = start({}, f, ...)
  return task
end

-- ---- for drivers ------------------------------------------------------------------------

-- A driver of tasks has a `handle`, that of leat.curl.core; `drop(call)`, to give a call up;
-- `step(seconds)`, which calls tasks.tell(entry, news); `give_token(call, hooks)`; and
-- `wait_for(drivers, seconds)`, until one of them has something to do.

--- Where a call would be made: `"task"`; `"outside"` of any; or `"inside"` a coroutine of
-- the user's in a task, which can't be suspended.
function tasks.place()
  if current and running() == current.thread then
    return "task"
  end
  enter()
  return current and "inside" or "outside"
end

--- Closes the driver's handle, and ends the calls that tasks make over it.
-- @param driver with a field `closed`
function tasks.close(driver)
  enter()
  local level = begin_work()
  stop_carrying(driver) -- first: a loop must let go of the descriptor before that is closed
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

--- The task that runs now; nil outside of any.
-- @treturn Task
function tasks.current()
  return tasks.place() == "task" and current or nil
end

-- Only `take`, which may run out of memory, is called by pcall: an interrupt is raised to the
-- program that entered the scheduler, not to this task.
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
  task.unreported = entry.writes and call -- until its result is the caller's, who frees it
  leave(task, entry)
  if news == "trouble" and task.tally then
    task:tally(call)
  end
end

-- Gives the call up because of an error, such as one of the token function's, and raises that. If
-- Lua could not suspend the task, the call never began: then it returns that reason.
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

--- Carries a call in the task that runs now, and returns true once it is done; false: no
-- task runs now, or not in its own coroutine.
-- @param driver
-- @param call of the core
-- @tparam table hooks of its client
-- @treturn boolean
-- @treturn string why it can't be carried here; else nil
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
  else -- an error that is raised here ends the task
    carry_to_end(task, entry, driver, call, hooks)
  end
  return true
end

--- Reports what happened to the call of this entry: it is done; or it is done and more is to be
-- said of it than its result ("trouble"); or it wants a token.
-- @param entry
-- @tparam string news `"done"`, `"trouble"`, `"token"`
function tasks.tell(entry, news)
  wake(entry.task)
  entry.news = news
  if news ~= "token" then
    count_down(entry.driver)
  end
end

-- ---- driving ----------------------------------------------------------------------------

-- Raises the error of the task that failed first. The next call raises the next one.
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

-- A step may close others' drivers: on_attempt does what it likes.
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

--- One step on the way of a call that blocks: it may wait for what a task is to do, such as
-- to give a token, and that over another driver. For drivers.
-- @param driver of the call
-- @tparam number seconds to wait at most
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

-- Waits for the drivers, at most so long, and resumes tasks. When on_attempt raises, or an
-- interrupt, no descriptor tells of those that are ready.
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

-- Whether a task can still make progress.
local function goes_on()
  return busy[1] ~= nil or first <= last
end

--- Does what can be done now, and resumes the tasks whose calls are done. Never blocks.
-- @tparam[opt] number budget seconds to spend while calls are under way: some milliseconds
--   let a call take more than one step of its way within a tick
-- @treturn number how many tasks are left
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

--- Waits until all tasks are done. After an interrupt they are as they were: run again.
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

-- Suspends the task until there is news for it; outside of tasks, waits for any.
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

-- Before anything is begun that waits: returns why the task can't be suspended.
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

--- Waits for the task's end: in another task, or, blocking, outside of any.
-- @return what its function returned
-- @raise what ended it
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

--- For the scheduler: its calls end as canceled.
function Task:give_up()
  for entry in entries(self) do
    if is_under_way(entry) then
      entry.driver:drop(entry.call)
      entry.news = "trouble"
      count_down(entry.driver)
    end
  end
end

--- Gives the task's call up: it ends as `canceled`, with `outcome_unknown` if it is a change
-- that may have been received, and so does each call that the task makes from now on.
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

--- Lets an event loop carry the calls: `leat.luv` and `leat.cqueues` do.
-- @tparam table loop `watch(driver)`: from now on it calls `tasks.poll()` whenever
--   `driver:fd()` is readable; `unwatch(driver)`: no longer; `soon()`: it calls `tasks.poll()`
--   once, for a task failed, maybe before its first call, or a poll did. After an interrupt
--   it may be told twice to watch a driver, or not to
function tasks.attach(loop)
  loops[#loops + 1] = loop
  for _, driver in ipairs(busy) do
    loop.watch(driver)
  end
end

--- Calls `f` with each value, in tasks: so many at a time, in the order of the values as
-- far as they begin. In a task it suspends the task, outside of any it blocks; an interrupt
-- cancels what is under way.
--
--    tasks.each(io.lines("cards.txt"), function(value)
--       return cards:ensure(value)
--    end, { progress = function(p) print(p.done, p.failed, p.rate) end })
--
-- @function tasks.each
-- @tparam table|function values a list, or a function that gives the next value, and nil
--   behind the last. It may make calls
-- @tparam function f what it returns first, nil or false, counts as failed; an error that
--   it raises ends everything, once what is under way has ended
-- @tparam[opt] table given
--
--   * `concurrency` how many at a time: 16. The connections are the client's to allow:
--     `max_connections`
--   * `in_order` a function that is called with each value and what `f` returned for it, in
--     the order of the values
--   * `progress` a function that is called with a `progress` now and then, and at the end;
--     `progress_every` so many seconds: 1
--   * `total` how many values there are, for `eta`; of a list it is known
-- @treturn progress the last one
-- @raise what `f` raised, or the interrupt

--- The same, for results in a list.
-- @function tasks.map
-- @treturn table what `f` returned first, by the place of the value
-- @treturn table what it returned second, the `err` of those that failed
-- @treturn progress

--- How far it is.
-- @table progress
-- @field done values, failed ones included
-- @field failed
-- @field retried exchanges beyond the first of each call
-- @field total nil if it is not known
-- @field seconds since it began
-- @field rate values a second
-- @field eta seconds that are left, or nil
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

-- A program may have forgotten to run its tasks, or to wait for those that failed. (With a loop
-- attached, running them is the loop's business.)
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

-- Lua 5.1 and LuaJIT finalize no tables.
local newproxy = rawget(_G, "newproxy")
local sentinel = newproxy and newproxy(true) or setmetatable({}, { __gc = warn })
getmetatable(sentinel).__gc = warn
Task.__end_of_program = sentinel -- which keeps it until then

return tasks --[[@as leat.tasks]]
