-- Runs tasks: suspends and resumes their coroutines, and steps the drivers of their calls. For leat.tasks, which
-- is the public API, leat.each and leat.driver. It knows drivers only by the contract of leat.driver.

local core = require("leat.core")
local drivers = require("leat.driver")
local token_function = require("leat.token_function")
local continue, yield, running, status = coroutine.resume, coroutine.yield, coroutine.running, coroutine.status

local scheduler = {}
local Task = {} -- the class of tasks; leat.tasks adds the public methods
Task.__index = Task
scheduler.Task = Task

local current -- the running task, or nil
local living, count = {}, 0 -- the set of tasks that are not done, and its size
local ready, first, last = {}, 1, 0 -- a queue of tasks to resume
local unobserved_failures, last_failure = {}, 0 -- failed tasks whose error nothing has received, and their numbers
local busy = {} -- the drivers that have calls under way, and are therefore stepped, and watched by loops
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

-- Resumes the task in the next round of `drain`. A task may be resumed too often: it checks what it waits for.
local function wake(task)
  last = last + 1
  ready[last] = task
end
scheduler.wake = wake

-- ---- drivers in use ---------------------------------------------------------------------

local function notify_loops(what, driver)
  for _, loop in ipairs(loops) do
    loop[what](driver)
  end
end

local function is_busy(driver)
  for _, other in ipairs(busy) do
    if other == driver then
      return true
    end
  end
  return false
end

-- Notifies the loops first. After an interrupt in between they are notified again, which is harmless.
local function watch(driver)
  if not is_busy(driver) then
    notify_loops("watch", driver)
    busy[#busy + 1] = driver
  end
end

scheduler.watch = watch

local function unwatch(i)
  notify_loops("unwatch", busy[i])
  table.remove(busy, i)
end

-- Stops watching drivers without calls. It is called after tasks were resumed, which may have begun new calls.
local function unwatch_idle()
  local level = begin_work()
  for i = #busy, 1, -1 do
    if busy[i]:is_idle() then
      unwatch(i)
    end
  end
  end_work(level)
end
scheduler.unwatch_idle = unwatch_idle

-- Adds an event loop: see tasks.attach.
function scheduler.attach(loop)
  loops[#loops + 1] = loop
  for _, driver in ipairs(busy) do
    loop.watch(driver)
  end
end

function scheduler.has_loop()
  return loops[1] ~= nil
end

-- ---- calls under way --------------------------------------------------------------------

-- Each call under way has an entry. For a task's own call this is the task itself; for a call that a token
-- function makes meanwhile, it is another table, linked by the task's `inner`. The entry's field `event` is
-- the call's last event, or false; its field `task` is the task.

local function is_under_way(entry)
  return entry.call and (not entry.event or entry.event == "token" or entry.event == "slot")
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

local function cancel_call(entry)
  entry.driver:cancel(entry.call)
  entry.event = "done"
end

local function cancel_calls(task)
  for entry in entries(task) do
    if is_under_way(entry) then
      cancel_call(entry)
    end
  end
end

-- Ends the calls of a task that get no event any more: the driver was closed, or an interrupt broke into a
-- cancel. Drivers with other calls are watched, even if an interrupt broke into a close.
local function check_calls(task)
  for entry in entries(task) do
    if is_under_way(entry) then
      if entry.driver.closed or entry.call:is_done() then
        cancel_call(entry)
        wake(task)
      else
        watch(entry.driver)
      end
    end
  end
end

-- ---- tasks ------------------------------------------------------------------------------

-- Reports the end of a task. It may be called twice for the same task.
local function settle(task)
  if not task.fine and not task.observed and not unobserved_failures[task] then
    last_failure = last_failure + 1
    unobserved_failures[task] = last_failure
    notify_loops("soon")
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
  cancel_calls(task)
  if not fine then
    why = has_unknown(task) and drivers.note(why) or why
    task.why = type(why) == "string" and debug.traceback(task.thread, why) or why
  end
  task.fine = fine
  task.done = true
  settle(task)
end

-- Marks the task's failure as observed: a waiter receives its error.
local function observe(task)
  task.observed = true
  if unobserved_failures[task] then
    unobserved_failures[task] = nil
  end
end
scheduler.observe = observe

local function after_resume(task, fine, what)
  if not fine then
    finish(task, false, what)
  elseif status(task.thread) == "dead" then
    finish(task, true)
  elseif what ~= SUSPENDED then
    finish(task, false, "leat.tasks: a task can be suspended by its calls only, and something else yielded in it")
  end
end

local function keep_results(task, ...)
  task.results, task.n = { ... }, select("#", ...)
end

-- The main function of a task's coroutine.
local function body(task, f, ...)
  task.begun = true
  keep_results(task, f(...))
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
function scheduler.try_to_suspend(task, act, a)
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

local function add_waiter(waiter, task)
  observe(task)
  task.waiters = task.waiters or {}
  table.insert(task.waiters, waiter)
end

-- Suspends the running task until another one is done. Returns the reason if it cannot be suspended, or was canceled;
-- and whether it was canceled.
function scheduler.join(task)
  local waiter, act = current, add_waiter
  while not task.done do
    local refused = scheduler.try_to_suspend(waiter, act, task)
    act = false
    if refused then
      return refused, false
    elseif waiter.canceled and not task.done then
      return "the task was canceled while it waited for another", true
    end
  end
end

-- Suspends the running task, if any, once, and lets it resume at once, before anything is begun. Returns the
-- reason if it cannot be suspended.
function scheduler.take_turn()
  return current and scheduler.try_to_suspend(current, wake)
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
  local previous = current
  current = task
  local fine, what = continue(task.thread, ...)
  current = previous
  if fine and what == SUSPENDED then
    do_act(task)
  else
    after_resume(task, fine, what)
  end
end

-- ---- after an interrupt -----------------------------------------------------------------

-- A hook may raise an error between any two instructions of the scheduler. Each step above records how far
-- it got, and can be repeated.

-- Repairs a task after an interrupt: it goes on as before, or is done. It may be resumed more often than
-- needed, which is harmless because tasks check what they wait for.
local function repair(task)
  if not task.begun then -- the program that spawned it has received the interrupt
    task.done, task.fine, task.observed, task.at_end = true, false, true, false
    settle(task)
  elseif task.done then
    settle(task)
  elseif status(task.thread) == "dead" then
    finish(task, task.n ~= nil, "leat.tasks: interrupted as the task ended")
  else
    do_act(task)
    check_calls(task)
    wake(task)
  end
end

-- Returns all tasks that are not done.
local function list_living()
  local all = {}
  for task in pairs(living) do
    all[#all + 1] = task
  end
  return all
end
scheduler.list = list_living

-- Loops may have been told to stop watching a driver that is still in `busy`, so they are told again.
local function repair_all()
  local all = list_living()
  count = #all
  for _, driver in ipairs(busy) do
    notify_loops("watch", driver)
  end
  for _, task in ipairs(all) do
    repair(task)
  end
  unwatch_idle()
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
    repair_all()
  end
end
scheduler.enter = enter

-- ---- running tasks ----------------------------------------------------------------------

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
  if last > 0 then
    first = 1 -- before `last`: an interrupt in between must not leave `first` beyond the next task
    last = 0
    unwatch_idle()
  end
  end_work(level)
  if at_work >= level then -- an interrupt broke into the scheduler within a task, and the task caught the error
    repair_all()
    return drain()
  end
end

-- Makes a task and starts it. `fields` may hold `at_end(task)`, which is called when the task is done, maybe
-- more than once; and `on_retries(task, attempts, unknown)`, which is called for each call that took more than
-- one attempt, or whose outcome is unknown. Unused fields of the task are false, because Lua finds them faster
-- than absent ones.
function scheduler.start(fields, f, ...)
  enter()
  if pcall_suspends == nil then
    find_out_about_pcall()
  end
  local task = setmetatable({ thread = coroutine.create(body), at_end = fields.at_end,
    on_retries = fields.on_retries or false, begun = false, done = false, canceled = false, observed = false,
    unreported = false, act = false, a = false, b = false, c = false, driver = false, call = false, event = false,
    inner = false, outer = false }, Task)
  task.task = task
  token_function.inherit(task.thread)
  local level = begin_work()
  living[task] = true
  count = count + 1
  resume(task, task, f, ...)
  end_work(level)
  drain()
  return task
end

-- Cancels the task's call, and every call that it makes from now on.
function scheduler.cancel(task)
  enter()
  if task.done then
    return
  end
  local level = begin_work()
  task.canceled = true
  cancel_calls(task)
  if task ~= current then
    wake(task)
  end
  end_work(level)
  drain()
end

function scheduler.count()
  return count
end

-- Returns the unobserved failed task that failed first, or nil.
function scheduler.first_failure()
  local failed
  for task, number in pairs(unobserved_failures) do
    if not failed or number < unobserved_failures[failed] then
      failed = task
    end
  end
  return failed
end

-- ---- for leat.driver --------------------------------------------------------------------

-- Returns where the running code is: "task": in a task's own coroutine; "outside": outside of tasks; "inside": in
-- another coroutine inside a task, which cannot be suspended.
function scheduler.place()
  if current and running() == current.thread then
    return "task"
  end
  enter()
  return current and "inside" or "outside"
end

-- Returns the running task; nil outside of tasks, and in another coroutine inside a task.
function scheduler.current()
  return scheduler.place() == "task" and current or nil
end

function token_function.is_in_task()
  return current ~= nil and running() == current.thread
end

-- Starts a call; an `act` for `suspend`. Only the driver's `start`, which may run out of memory, is called through
-- pcall: an interrupt must be raised to the program that entered the scheduler, and not to this task.
local function begin_call(task, entry, driver, call)
  if entry ~= task then
    task.inner = entry
  end
  entry.driver, entry.call, entry.event = driver, call, false
  if busy[1] ~= driver then
    watch(driver)
  end
  local fine, started = pcall(driver.start, driver, call, entry)
  if not fine then
    entry.why, entry.event = started, "refused"
  elseif not started and call:is_done() then
    entry.event = "done"
  else
    return
  end
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
  local event = entry.event
  while event ~= "done" do
    if event == "token" then
      entry.event = false
      driver:give_token(call, hooks)
    elseif event == "slot" then
      entry.event = false
      drivers.await_slot(driver, call, hooks)
    elseif event == "refused" then
      error(entry.why, 0)
    else
      suspend(task, false)
    end
    event = entry.event
  end
  local attempts, unknown, may_have_happened = call:attempts()
  task.unreported = may_have_happened and call -- until the caller has the result, and frees the call
  leave(task, entry)
  if task.on_retries and (attempts > 1 or unknown) then
    task:on_retries(attempts, unknown)
  end
end

-- Cancels the call because of an error, such as one of the token function, and raises that error. If Lua
-- could not suspend the task, the call was never started; then it returns the reason.
local function abandon(task, entry, call, why)
  if entry.call ~= call and is_refusal(why) then
    return REFUSED
  elseif entry.call == call then
    if is_under_way(entry) then
      cancel_call(entry)
    end
    leave(task, entry)
  end
  task.unreported = false
  drivers.raise(why, call)
end

-- Performs a call in the running task, which is suspended until the call is done. Returns nil, or the reason why the
-- call cannot be made here. Raises the error that canceled the call.
function scheduler.carry(driver, call, hooks)
  local task = current
  if task.canceled then
    driver:cancel(call)
    return nil
  end
  local entry = task.call and { task = task, outer = task.inner or task, event = false } or task
  if not pcall_suspends then -- an error ends the task
    carry_to_end(task, entry, driver, call, hooks)
    return nil
  end
  local fine, why = pcall(carry_to_end, task, entry, driver, call, hooks)
  if not fine then
    return abandon(task, entry, call, why)
  end
end

-- Closes a driver with `release`, and ends the calls that tasks make over it.
function scheduler.close(driver, release)
  enter()
  local level = begin_work()
  for i = #busy, 1, -1 do
    if busy[i] == driver then -- first: loops must stop watching the descriptor before it is closed
      unwatch(i)
    end
  end
  driver.closed = true
  release(driver)
  for task in pairs(living) do
    check_calls(task)
  end
  end_work(level)
  drain()
end

-- ---- stepping drivers -------------------------------------------------------------------

-- Waits until one of the drivers has something to do, for at most `seconds`.
local function wait_for_any(list, seconds)
  local descriptors = {}
  for _, driver in ipairs(list) do
    local descriptor = driver.fd and driver:fd() or -1
    if descriptor >= 0 then
      descriptors[#descriptors + 1] = descriptor
    else
      seconds = math.min(seconds, 0.001)
    end
  end
  core.wait(seconds, descriptors)
end

-- Performs the I/O of the drivers, after waiting for at most `seconds`. A step may close other drivers,
-- because it calls on_attempt.
local function step_all(list, seconds)
  if list[2] then
    wait_for_any(list, seconds)
    seconds = 0
  end
  for i = #list, 1, -1 do
    local driver = list[i]
    if driver and not driver.closed then
      driver:step(seconds)
    end
  end
end

-- Performs a step of a call that blocks, for all drivers in use, and resumes tasks.
function scheduler.step_with(driver, seconds)
  local all = { driver }
  for _, other in ipairs(busy) do
    if other ~= driver then
      all[#all + 1] = other
    end
  end
  local level = begin_work()
  step_all(all, seconds)
  end_work(level)
  drain()
  unwatch_idle() -- the call that blocks may have been the last one
end

-- Waits for the drivers, at most `seconds`, and resumes tasks. If on_attempt or an interrupt raises an error,
-- no descriptor signals the tasks that are ready, so the loops are asked to poll again.
function scheduler.step(seconds)
  drain()
  local level = begin_work()
  local fine, why = pcall(step_all, busy, seconds)
  if not fine then
    notify_loops("soon")
    error(why, 0)
  end
  end_work(level)
  drain()
end

function scheduler.has_calls()
  return busy[1] ~= nil
end

-- Whether there are tasks, or a driver that is in use for them.
function scheduler.is_active()
  return count > 0 or busy[1] ~= nil or at_work > 0
end

-- Whether any task can still make progress.
function scheduler.can_progress()
  return busy[1] ~= nil or first <= last
end

-- In a task, suspends it until `wake` is called; outside of tasks, performs one step.
function scheduler.wait_for_event()
  if current then
    suspend(current, false)
    return
  end
  if not scheduler.can_progress() then
    error("leat.tasks: what is waited for waits itself, for nobody", 0)
  end
  scheduler.step(0.1)
end

drivers.scheduler = scheduler
return scheduler
