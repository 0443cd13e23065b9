--- Functions that drivers share: for the modules of leat, and for authors of drivers.
--
-- A driver is a table with a method `perform(call, hooks)`. It returns nothing once the call is done, or
-- a string with the reason why the call cannot be made here, which the client raises as an error. A call
-- is valid until `perform` returns. If the driver keeps no reference to a call after that, it may set its
-- field `releases_calls` to true, and the call's userdata is reused.
--
-- `hooks` belong to the client:
--
--   * `token` a function that returns a token, or nil; `give_token` calls it when a call needs a token
--   * `attempts` a function, or nil: to be called now and then between two exchanges, so that `on_attempt`
--     runs soon. The client calls it in any case when `perform` returns
--   * `blocking` the option of that name
--   * `token_timeout` seconds after which a driver may stop waiting for the token function, if it can
--   * `store` in nginx, with `shared`: what the workers share
-- @module leat.driver

local driver = {}

-- The running token functions, by the coroutine in which they were called; of several in one coroutine,
-- the innermost. Each has a record, a visit. When a token function raises an error its visit stays here,
-- but the visit's call has ended.
local asking = setmetatable({}, { __mode = "k" })
local MAIN = {} -- the key of the main program, where coroutine.running() may return nil

--- Whether a task of `leat.tasks` is running. That module replaces this function when it is loaded.
-- @treturn boolean
function driver.is_task()
  return false
end

local function here()
  return coroutine.running() or MAIN
end

local function is_over(visit)
  return visit.left or visit.call:is_done()
end

-- Returns the visit that the running code is part of, or nil. A coroutine of the program's own is part of
-- the visits of coroutines with the status "normal", because these have resumed it. A task is not: the
-- scheduler resumes it independently of what else is running.
local function current_visit()
  local visit = asking[here()]
  if visit or not next(asking) or driver.is_task() then
    return visit
  end
  for where, other in pairs(asking) do
    if (where == MAIN or coroutine.status(where) == "normal") and not is_over(other) then
      return other
    end
  end
end

local function ask_for(call, ask)
  local where = here()
  local before = asking[where]
  local visit = { ask = ask, call = call, outer = current_visit(), left = false }
  asking[where] = visit
  local token, more = ask()
  asking[where] = before
  visit.left = true
  return token, more
end

--- Makes a new coroutine part of the token function that is running, if any.
-- @param thread the coroutine
function driver.inherit(thread)
  asking[thread] = current_visit()
end

--- Whether the running code is part of a call of the token function `ask`. If so, a call that needs its
-- token would wait forever.
-- @tparam function ask the client's token function
-- @treturn boolean
function driver.is_asking(ask)
  local visit = current_visit()
  while visit and (visit.ask ~= ask or is_over(visit)) do
    visit = visit.outer
  end
  return visit ~= nil
end

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
    token, more = ask_for(call, ask)
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

return driver
