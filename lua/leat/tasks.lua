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

local core = require("leat.core")
local each = require("leat.each")
local scheduler = require("leat.scheduler")

local tasks = {}
local Task = scheduler.Task

--- Starts a task, and runs it up to its first call.
-- @tparam function f the task's main function, which is called as `f(...)`
-- @param ... arguments for `f`
-- @treturn Task
-- @raise an `f` that is not a function
function tasks.spawn(f, ...)
  if type(f) ~= "function" then
    error("leat.tasks.spawn: give a function, not a " .. type(f) .. ": tasks.spawn(function() ... end)", 2)
  end
  local task = scheduler.start({}, f, ...)
  return task
end

--- Returns the running task.
-- @treturn Task nil outside of tasks, and in another coroutine inside a task
function tasks.current()
  return scheduler.current()
end

--- Cancels all tasks.
function tasks.cancel()
  for _, task in ipairs(scheduler.list()) do
    task:cancel()
  end
end

-- ---- driving ----------------------------------------------------------------------------

-- Raises the error of the unobserved task that failed first. The next call raises the next one.
local function raise_unobserved_failure()
  local failed = scheduler.first_failure()
  if failed then
    scheduler.observe(failed)
    error(failed.why, 0)
  end
end

--- Does what can be done now, and resumes the tasks whose calls are done. Never blocks without `budget`.
-- @tparam[opt=a single step,unit=seconds] number budget how long to go on while calls are under way: with a few
--   milliseconds, a call can take more than one step within a tick
-- @treturn number how many tasks are not done yet
-- @raise the error of a task that failed, if nothing waits for it
function tasks.poll(budget)
  scheduler.step(0)
  if budget then
    local due = core.now() / 1000 + budget
    local left = budget
    while scheduler.has_calls() and left > 0 do
      scheduler.step(math.min(left, 0.001))
      left = due - core.now() / 1000
    end
  end
  raise_unobserved_failure()
  return scheduler.count()
end

--- Waits until all tasks are done. An interrupt leaves the tasks as they are; call `run` again to go on.
-- @raise the error of a task that failed, if nothing waits for it; a call inside a task; tasks that wait for
--   each other
function tasks.run()
  if scheduler.place() ~= "outside" then
    error("leat.tasks.run: call it outside of tasks", 2)
  end
  while scheduler.count() > 0 do
    if not scheduler.can_progress() then
      error("leat.tasks.run: the tasks that are left wait for each other", 2)
    end
    scheduler.step(0.1)
    raise_unobserved_failure()
  end
  raise_unobserved_failure()
end

--- Attaches an event loop, which then performs the calls of tasks. `leat.luv` and `leat.cqueues` use this.
-- @tparam table loop three functions: `watch(driver)` makes the loop call `tasks.poll()` whenever
--   `driver:fd()` is readable; `unwatch(driver)` ends that; `soon()` makes the loop call `tasks.poll()` once,
--   because a task or a poll has failed. After an interrupt, `watch` or `unwatch` may be called twice for the
--   same driver
function tasks.attach(loop)
  scheduler.attach(loop)
end

-- ---- waiting ----------------------------------------------------------------------------

--- Waits until the task is done. In another task this suspends that task; outside of tasks it blocks.
-- @return the results of the task's function
-- @raise the error that ended the task; or waiting that is impossible: for the task itself, for tasks that
--   wait for each other, in another coroutine inside a task, or in a task that is canceled
function Task:wait()
  local waiter = scheduler.current()
  if self == waiter or scheduler.place() == "inside" then
    error("leat.tasks: a task can't wait for itself, nor in a coroutine of its own making", 2)
  end
  local refused = waiter and scheduler.join(self)
  if refused then
    error("leat.tasks: " .. refused, 2)
  end
  while not self.done do
    scheduler.wait_for_event()
  end
  scheduler.observe(self)
  if not self.fine then
    error(self.why, 0)
  end
  return (table.unpack or unpack)(self.results, 1, self.n) -- luacheck: ignore
end

--- Cancels the task's call, and every call that the task makes from now on. They end as `canceled`, with
-- `outcome_unknown` if a change may have reached the service. The task's function continues, and sees these errors.
function Task:cancel()
  scheduler.cancel(self)
end

-- ---- iterating --------------------------------------------------------------------------

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
-- @tparam function f the function to call. A value for which its first result is nil or false counts as failed. An
--   error that it raises ends the iteration, once the calls of `f` that are under way have returned
-- @tparam[opt] table options the options:
-- @tparam[opt=16,unit=calls] integer options.concurrency how many calls of `f` may be under way at a time. The number
--   of connections is limited by the client's `max_connections`
-- @tparam[opt=none] function options.in_order a function that is called with each value and the results of `f` for it,
--   in the order of the values
-- @tparam[opt=none] function options.progress a function that is called with a `progress`, a table, during the
--   iteration and at its end
-- @tparam[opt=1,unit=seconds] number options.progress_every the time between two calls of `progress`
-- @tparam[opt=the length of a list; unknown for a function,unit=values] integer options.total the number of values,
--   for `eta`
-- @treturn progress the final progress
-- @raise the error of `f`, an interrupt, or mistakes in the arguments

--- Like `each`, and collects the results of `f`. The arguments are the same.
-- @function tasks.map
-- @tparam table|function values as for `tasks.each`
-- @tparam function f as for `tasks.each`
-- @tparam[opt] table options as for `tasks.each`
-- @treturn table the first results of `f`, by the index of the value
-- @treturn table the second results of `f`, the `err` of those that failed, by the index of the value
-- @treturn progress the final progress
-- @raise the same as `tasks.each`

--- The progress of an iteration.
-- @table progress
-- @tfield integer done the number of values that are done, including those that failed
-- @tfield integer failed the number of values for which `f` returned nil or false
-- @tfield integer retried the number of exchanges beyond the first one of each call
-- @tfield integer total the number of values; nil if it is not known
-- @tfield number seconds the time since the start
-- @tfield number rate values per second
-- @tfield number eta the estimated number of seconds that are left, or nil if `total` is not known
tasks.each, tasks.map = each.each, each.map

-- ---- the end of the program -------------------------------------------------------------

-- Warns on stderr, at the end of the program, about tasks that were not run to their end, or whose failure
-- was not observed. With a loop attached it does not, since the loop runs the tasks.
local stderr = io and io.stderr
local function warn()
  if not stderr or scheduler.has_loop() then
    return
  elseif scheduler.count() > 0 then
    stderr:write(("leat.tasks: the program ended, and %d of its tasks did not: call tasks.run() before\n")
      :format(scheduler.count()))
  end
  local failed = scheduler.first_failure()
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
