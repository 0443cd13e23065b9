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
-- in a coroutine of your own inside a task a call raises an error. On Lua 5.1 no call may
-- be made inside `pcall`, a metamethod or the iterator of a `for`: that Lua can't suspend
-- there.
--
-- What goes wrong in a task is raised by `task:wait()`; if nobody waits, by the next `poll`
-- or `run`.
-- @module leat.tasks

local core = require("leat.curl.core")
local now, take = core.now, core.start
local continue, yield, running = coroutine.resume, coroutine.yield, coroutine.running

local tasks = {}
local Task = {}
Task.__index = Task

local current -- the task that runs now
local living, count = {}, 0 -- all that are not done
local ready, first, last = {}, 1, 0 -- a queue: whom to resume
local orphans, failures = {}, 0 -- tasks that failed while nobody waited; which one it was
local busy = {} -- drivers with calls of tasks under way: each has in `carried` how many
local loops = {} -- that watch them

local SUSPENDED = {} -- what our own yields give; any other is somebody else's

local function tell_loops(what, driver)
  for _, loop in ipairs(loops) do
    loop[what](driver)
  end
end

-- ---- the scheduler ----------------------------------------------------------------------

local function wake(task)
  last = last + 1
  ready[last] = task
end

local function finish(task, fine, why)
  living[task] = nil
  count = count - 1
  task.done, task.fine = true, fine
  if not fine then
    task.why = type(why) == "string" and debug.traceback(task.thread, why) or why
    if not task.claimed then
      failures = failures + 1
      orphans[task] = failures
      tell_loops("soon")
    end
  end
  task:give_up()
  if task.at_end then
    task:at_end()
  end
  for _, waiter in ipairs(task.waiters or {}) do
    wake(waiter)
  end
end

-- Somebody sees to it if the task fails.
local function claim(task)
  task.claimed = true
  if orphans[task] then
    orphans[task] = nil
  end
end

local function after(task, fine, what)
  if not fine then
    finish(task, false, what)
  elseif coroutine.status(task.thread) == "dead" then
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
  keep(task, f(...))
end

local function begin(task, f, ...)
  local before = current
  current = task
  after(task, continue(task.thread, task, f, ...))
  current = before
end

-- An interrupt raises its error anywhere, just behind the end of a resume too: then the
-- task that is said to run does not.
local function recover()
  local status = current and coroutine.status(current.thread)
  if status == "dead" then
    finish(current, false, "leat.tasks: interrupted as the task ended")
  end
  if status == "dead" or status == "suspended" then
    current = nil
  end
end

-- Resumes all that are ready, and who becomes so meanwhile. To be resumed once too often
-- does a task no harm, to be forgotten would.
local function drain()
  if current then
    recover()
  end
  if current then
    return
  end
  while first <= last do
    local task = ready[first]
    if task and not task.done then
      current = task
      local fine, what = continue(task.thread)
      if not fine or what ~= SUSPENDED then
        after(task, fine, what)
      end
      current = nil
    end
    ready[first] = nil
    first = first + 1
  end
  first = 1 -- one by one: an interrupt in between must not leave it beyond who comes next
  last = 0
end

-- `fields` of the task may be `at_end(task)`, called when it is done, and `tally(task, call)`,
-- when a call of its is, if there was trouble. What is false is looked up sooner than what
-- is not there.
local function start(fields, f, ...)
  local task = setmetatable({ thread = coroutine.create(body), at_end = fields.at_end, tally = fields.tally or false,
    done = false, canceled = false, driver = false, call = false, news = false, inner = false, outer = false }, Task)
  task.task = task
  living[task] = true
  count = count + 1
  begin(task, f, ...)
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
  recover()
  return start({}, f, ...)
end

-- ---- for drivers ------------------------------------------------------------------------

-- A call under way has an entry: its task; or, for one that a token function makes in a task,
-- whose own call waits for that, one more, `inner`. Its `news` is false until it is told.
--
-- A driver of tasks has a `handle`, that of leat.curl.core; `drop(call)`, to give a call up;
-- `step(seconds)`, which calls tasks.tell(entry, news); `give_token(call, hooks)`; and
-- `wait_for(drivers, seconds)`, until one of them has something to do.

--- Where a call would be made: `"task"`; `"outside"` of any; or `"inside"` a coroutine of
-- the user's in a task, which can't be suspended.
function tasks.place()
  if not current then
    return "outside"
  elseif running() == current.thread then
    return "task"
  end
  recover()
  return current and "inside" or "outside"
end

local function begin_carrying(driver)
  driver.carried = 1
  busy[#busy + 1] = driver
  tell_loops("watch", driver)
end

local function stop_carrying(driver)
  driver.carried = nil
  for i, other in ipairs(busy) do
    if other == driver then
      table.remove(busy, i)
      tell_loops("unwatch", driver)
      return
    end
  end
end

--- That the driver is closed: nobody waits for it any more.
tasks.forget = stop_carrying

--- The task that runs now; nil outside of any.
-- @treturn Task
function tasks.current()
  return tasks.place() == "task" and current or nil
end

local function count_down(driver)
  local left = (driver.carried or 1) - 1 -- nil: there was no memory to count it
  if left > 0 then
    driver.carried = left
  else
    stop_carrying(driver)
  end
end

local function is_under_way(entry)
  return entry.call and (not entry.news or entry.news == "token")
end

local function add_inner(task)
  task.inner = { task = task, outer = task.inner or task }
  return task.inner
end

--- Carries a call in the task that runs now, and returns true once it is done; false: no
-- task runs now, or not in its own coroutine.
-- @param driver
-- @param call of the core
-- @tparam table hooks of its client
function tasks.carry(driver, call, hooks)
  local task = current
  if not task or running() ~= task.thread then
    return false
  elseif task.canceled then
    driver:drop(call)
  else
    local entry = task.call and add_inner(task) or task
    -- What takes memory comes first: if it runs out, the task gives up what it has noted.
    entry.driver, entry.call, entry.news = driver, call, false
    local carried = driver.carried
    if carried then
      driver.carried = carried + 1
    else
      begin_carrying(driver)
    end
    if not take(driver.handle, call, entry) then
      entry.news = "done"
      count_down(driver)
    end
    local news = entry.news
    while news ~= "done" and news ~= "trouble" do
      if news then
        entry.news = false
        driver:give_token(call, hooks)
      else
        yield(SUSPENDED)
      end
      news = entry.news
    end
    entry.driver, entry.call = false, false
    if task.inner then
      task.inner = entry.outer ~= task and entry.outer
    end
    if news == "trouble" and task.tally then
      task:tally(call)
    end
  end
  return true
end

--- That the call of this entry is done; or there is trouble: more is to be said of it than
-- its result; or it wants a token.
-- @param entry
-- @tparam string news `"done"`, `"trouble"`, `"token"`
function tasks.tell(entry, news)
  last = last + 1 -- before it is noted as told, for an interrupt may come between the two
  ready[last] = entry.task
  entry.news = news
  if news ~= "token" then
    count_down(entry.driver)
  end
end

--- Resumes the tasks that were told something. For drivers.
tasks.resume = drain

-- ---- driving ----------------------------------------------------------------------------

-- The one that failed first; the others the next time.
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
  if busy[1] then
    local all = { driver }
    for _, other in ipairs(busy) do
      all[#all + 1] = other ~= driver and other or nil
    end
    step_all(all, seconds)
  else
    driver:step(seconds)
  end
  drain()
end

-- Waits for the drivers, at most so long, and resumes tasks. When on_attempt raises, or an
-- interrupt, no descriptor tells of those that are ready.
local function step(seconds)
  drain()
  local fine, why = pcall(step_all, busy, seconds)
  if not fine then
    tell_loops("soon")
    error(why, 0)
  end
  drain()
end

-- Whether anything can still happen by itself.
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

-- After an interrupt: a call that is done, and whose task was not told.
local function find_untold()
  for task in pairs(living) do
    local entry = task.inner or task
    while entry do
      if is_under_way(entry) and entry.call:is_done() then
        tasks.tell(entry, "trouble")
      end
      entry = entry.outer
    end
  end
end

--- Waits until all tasks are done. After an interrupt they are as they were: run again.
function tasks.run()
  if tasks.place() ~= "outside" then
    error("leat.tasks.run: call it outside of tasks", 2)
  end
  find_untold()
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
    yield(SUSPENDED)
    return
  end
  if not goes_on() then
    error("leat.tasks: what is waited for waits itself, for nobody", 0)
  end
  step(0.1)
end

--- Waits for the task's end: in another task, or, blocking, outside of any.
-- @return what its function returned
-- @raise what ended it
function Task:wait()
  local place = tasks.place()
  local waiter = current
  claim(self)
  if place == "inside" or self == waiter then
    error("leat.tasks: a task can't wait for itself, nor in a coroutine of its own making", 2)
  elseif waiter then
    self.waiters = self.waiters or {}
    table.insert(self.waiters, waiter)
  else
    find_untold()
  end
  while not self.done do
    wait_for_news()
    if waiter and waiter.canceled and not self.done then
      error("leat.tasks: the task was canceled while it waited for another", 2)
    end
  end
  if not self.fine then
    error(self.why, 0)
  end
  return (table.unpack or unpack)(self.results, 1, self.n) -- luacheck: ignore
end

--- For the scheduler: its calls end as canceled.
function Task:give_up()
  local entry = self.inner or self
  while entry do
    if is_under_way(entry) then
      entry.driver:drop(entry.call)
      entry.news = "trouble"
      count_down(entry.driver)
    end
    entry = entry.outer
  end
end

--- Gives the task's call up: it ends as `canceled`, with `outcome_unknown` if it is a change
-- that may have been received, and so does each call that the task makes from now on.
function Task:cancel()
  if self.done then
    return
  end
  self.canceled = true
  self:give_up()
  if self ~= current then
    wake(self)
  end
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
--   once, for a task failed, maybe before its first call, or a poll did
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
  wait_for_news = wait_for_news,
  now = now,
}

return tasks --[[@as leat.tasks]]
