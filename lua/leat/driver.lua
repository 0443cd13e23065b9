--- The contract of drivers, and functions that they share: for authors of drivers.
--
-- A driver performs the I/O of calls. `client:method()` calls its method `perform(call, hooks)`, which returns
-- nothing once the call is done, or a string with the reason why the call cannot be made here, which the client
-- raises as an error. A call is valid until `perform` returns. If the driver keeps no reference to a call after
-- that, it may set its field `releases_calls` to true, and the call's userdata is reused.
--
-- `hooks` belong to the client:
--
--   * `token` a function that returns a token, or nil; `give_token` calls it when a call needs a token
--   * `attempts` a function, or nil: to be called now and then between two exchanges, so that `on_attempt`
--     runs soon. The client calls it in any case when `perform` returns
--   * `blocking` the option of that name
--   * `store` in nginx, with `shared`: what the workers share
--   * `account` with a `limiter`: what gives slots to the client's calls: see `leat.limiter`. Their step may then be
--     `"slot"`: a driver that implements `perform` itself calls `wait_for_slot`
--
-- A driver that implements `perform` itself needs nothing else: see `leat.transport`. It blocks, in tasks
-- too.
--
-- A driver that can have several calls under way also carries the calls of tasks (`leat.tasks`). It has the
-- following methods, and takes `perform` from this module: `Driver.perform = require("leat.driver").perform`.
-- Outside of tasks `perform` repeats `step` until the call is done; in a task it suspends the task.
-- `examples/luasocket.lua` is such a driver.
--
--   * `start(call, entry)` begins the call; it must not block. `entry` is a table: the driver keeps it while the
--     call is under way, and passes it to `report`. Returns true if the call is under way, and false if it is done
--     at once; then no event follows. After an interrupt `start` may be called again with a call that is under way:
--     then it must do nothing
--   * `step(seconds)` waits until there is something to do, for at most `seconds`, which may be 0, and does it.
--     For each call that is done, or needs a token or a slot, it calls `report`. It must not wait much longer than 0.1
--     seconds, because nothing else runs meanwhile, not even a signal's handler
--   * `give_token(call, hooks)` passes `hooks.token` to `give_token` of this module, and lets the call go on.
--     It is called after the event "token"
--   * `resume(call)` is needed for `limiter` only: it continues a call that was reported as `"slot"`
--   * `cancel(call)` ends the call as `canceled`, with `call:fail`, whether it was started or not. No event follows.
--     It must work on a closed driver too
--   * `is_idle()` returns whether no call is under way
--   * `close()` calls `close` of this module with a function that frees what the driver holds
--   * `observe(hooks)` is optional: it makes the driver call `hooks.attempts`, which `hooks` has, between exchanges
--   * `fd()` is needed only for event loops: it returns a descriptor that is readable when `step` has something to
--     do, timers included. Without it, or with -1, tasks that use several drivers at once are run every millisecond
--   * `watch(fd)` is optional, for `limiter` and event loops: it makes the driver's descriptor readable also while `fd`
--     is, which is a limiter's
--
-- It has a field `closed`, which is false until `close` sets it.
-- @module leat.driver

local token_function = require("leat.token_function")

local driver = {}

-- leat.scheduler puts itself here when it is loaded. A program without tasks does not load it.
driver.scheduler = false

-- ---- tokens ------------------------------------------------------------------------------

--- Calls the client's token function, and gives its token to a call that needs one. If there is no token
-- the call fails as `unauthorized`.
-- @param call the call, whose next step is `"token"`
-- @tparam number ms the driver's monotonic clock, in milliseconds
-- @tparam number unix the time, in seconds since 1970
-- @tparam function ask the client's token function, which returns a token and, if known, its lifetime in
--   seconds; or nil and the reason. nil: the client has none
-- @raise the errors of the token function
function driver.give_token(call, ms, unix, ask)
  local token, more
  if ask then
    token, more = token_function.run(ask, call)
  else
    more = "the client has no token function"
  end
  if type(token) == "string" and call:give(ms, unix, token, tonumber(more)) then
    return
  end
  call:fail(ms, unix, "unauthorized", "no",
    token and "the token function gave what is no token, or no memory is left for it"
      or "no token: " .. tostring(more or "the token function gave none"))
end

-- ---- slots -------------------------------------------------------------------------------

--- Gives a slot to a call that needs one, for drivers that block: waits until the limiter has one, or until the call
-- has failed.
-- @tparam table self the driver
-- @param call the call, whose next step is `"slot"`
-- @tparam table hooks the client's hooks
-- @tparam[opt=blocks] function sleep waits for the given seconds, and yields
function driver.wait_for_slot(self, call, hooks, sleep)
  local account = hooks.account
  account:await(call, self)
  while call:awaits_slot() do
    if sleep then
      sleep(0.005)
    end
    account.limiter:step(sleep and 0 or 0.1)
  end
end

--- Lets the scheduler step a limiter that has work to do, and lets a loop that watches only the driver do so.
-- @tparam table self the driver
-- @tparam table limiter the limiter
function driver.watch_limiter(self, limiter)
  if limiter:is_idle() then
    return
  end
  driver.scheduler.watch(limiter)
  if self.watch and not self.closed then
    self:watch(limiter:fd())
  end
end

--- Lets a call wait for its slot, after the event `"slot"`. It does not block.
-- @tparam table self the driver
-- @param call the call
-- @tparam table hooks the client's hooks
function driver.await_slot(self, call, hooks)
  local account = hooks.account
  account:await(call, self)
  driver.watch_limiter(self, account.limiter)
end

-- ---- errors ------------------------------------------------------------------------------

local NOTE = "(leat: this interrupted a change that may have happened or not: find it, then decide)"
local NO_MEMORY = "not enough memory\n" .. NOTE

local function add_note(why, note)
  if type(why) == "table" then
    rawset(why, "outcome_unknown", true)
    return why
  end
  why = tostring(why)
  return why:find(note, 1, true) and why or why .. "\n" .. note
end

--- Marks an error that interrupted a change whose outcome is unknown: appends a note to its text, or, if it
-- is a table, sets its field `outcome_unknown`. If there is no memory for that, the result is a prepared
-- text.
-- @param why the error
-- @tparam[opt] string note replaces the usual note
-- @return the error to raise
function driver.note(why, note)
  local fine, unreported = pcall(add_note, why, note or NOTE)
  return fine and unreported or NO_MEMORY
end

--- Raises an error again that interrupted a call, which has been canceled, or the processing of its
-- response. If a change may have been applied, the error says so: see `note`.
-- @param why the error
-- @param call the call
-- @raise the error, always
function driver.raise(why, call)
  if call:may_have_happened() then
    why = driver.note(why)
  end
  error(why, 0)
end

-- ---- for drivers that carry tasks -------------------------------------------------------------

local WAIT = 0.1 -- seconds: the longest wait. Between two waits Lua handles Ctrl-C and other hooks

--- Reports an event of a call that is under way.
-- @tparam table entry the entry that `start` received with the call
-- @tparam string event `"done"`; `"token"`: the call needs a token; or `"slot"`: it needs a slot
function driver.report(entry, event)
  entry.event = event
  if entry.task then
    driver.scheduler.wake(entry.task)
  end
end

-- Runs the token function in a coroutine of its own, to detect a yield. If it could yield through a call
-- that blocks, calls in other coroutines would wait for its token and block the loop that is to resume it.
local function give_token_blocking(self, call, hooks)
  local thread = coroutine.create(self.give_token)
  token_function.inherit(thread)
  local fine, why = coroutine.resume(thread, self, call, hooks)
  if not fine then
    error(why, 0)
  elseif coroutine.status(thread) ~= "dead" then
    error("leat: the token function yielded outside of a task: make what it waits for a call of leat, or let it block",
      0)
  end
end

-- Performs a call outside of tasks. If there are tasks they run meanwhile: one of them may be getting the
-- token that the call waits for.
local function block(self, call, hooks)
  local entry = { call = call, event = false }
  if not self:start(call, entry) then
    return
  end
  repeat
    local scheduler = driver.scheduler
    if scheduler and scheduler.is_active() then
      scheduler.step_with(self, WAIT)
    else
      self:step(WAIT)
    end
    if entry.event == "token" then
      entry.event = false
      give_token_blocking(self, call, hooks)
    elseif entry.event == "slot" then
      entry.event = false
      driver.await_slot(self, call, hooks)
    end
  until entry.event or self.closed
  if not entry.event then
    self:cancel(call)
  end
end

local refusals = {
  inside = "in a coroutine of your own inside a task it can't be suspended: call it in the task itself, "
    .. "or in another task: tasks.spawn(function() ... end)",
  outside = "it would block here, and blocking = false: call it in a task: "
    .. "require('leat.tasks').spawn(function() ... end)",
}

--- The method `perform` of drivers that carry tasks: performs a call until it is done. An error that is raised
-- meanwhile, such as an interrupt, cancels the call.
-- @param self the driver
-- @param call a call of the core
-- @tparam[opt] table hooks the client's hooks
-- @treturn string nil; or the reason why the call cannot be made here
-- @raise the error that canceled the call
function driver.perform(self, call, hooks)
  hooks = hooks or {}
  if hooks.attempts and self.observe then
    self:observe(hooks)
  end
  local scheduler = driver.scheduler
  local place = scheduler and scheduler.place() or "outside"
  if place == "task" then
    return scheduler.carry(self, call, hooks)
  elseif place == "inside" or hooks.blocking == false then
    return refusals[place]
  end
  local fine, why = pcall(block, self, call, hooks)
  if not fine then
    self:cancel(call)
    if driver.scheduler then
      driver.scheduler.unwatch_idle()
    end
    driver.raise(why, call)
  end
end

--- Closes a driver: calls `release`, and ends the calls that are under way as `canceled`. For the method `close`
-- of drivers, which may be called twice.
-- @param self the driver; its field `closed` is set to true
-- @tparam function release called with the driver; it frees connections and the like. It may be called again
function driver.close(self, release)
  if driver.scheduler then
    driver.scheduler.close(self, release)
  else
    self.closed = true
    release(self)
  end
end

return driver
