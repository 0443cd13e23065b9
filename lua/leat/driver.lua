--- What drivers share. For the modules of leat, and for who writes a driver.
--
-- A driver is a table with a method `perform(call, hooks)`, which returns when the call is
-- done; or returns why it must not be carried here, which is raised as misuse. `hooks` holds
-- functions of the client's: `token()`, to be asked when the call wants one (`give_token`
-- does so), and maybe `attempts()`, to be called now and then between two exchanges; it is
-- called anyhow when `perform` returns. And `blocking`, the option of that name; and
-- `token_timeout`, the seconds after which a driver that can may give up a token function. The call is
-- good until `perform` returns; a driver that keeps none beyond that may say so by `releases_calls`,
-- true: then its userdata may be that of the next.
-- @module leat.driver

local driver = {}

-- The token functions that are running, by the coroutine they were called in; the innermost
-- first. If one raised an error its visit stays, but its call has ended.
local asking = setmetatable({}, { __mode = "k" })
local MAIN = {} -- the main program, where coroutine.running() is nil

--- Whether a task of `leat.tasks` is running: that module, once loaded, replaces this function.
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

-- The visit that the running code is part of, or nil. A coroutine of the program's own belongs to
-- those that are "normal", because these have resumed it. A task does not: the scheduler resumes it
-- whatever else is running.
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

--- Makes a new coroutine part of the token function that is running, if one is.
-- @param thread
function driver.inherit(thread)
  asking[thread] = current_visit()
end

--- Whether the token function `ask` is running, and the running code is part of it: a call that
-- needs its token would wait for ever.
-- @tparam function ask
-- @treturn boolean
function driver.is_asking(ask)
  local visit = current_visit()
  while visit and (visit.ask ~= ask or is_over(visit)) do
    visit = visit.outer
  end
  return visit ~= nil
end

--- Asks the user's function `ask` for a token, for `call`, which wants one; `ms` and `unix`
-- are the driver's clocks. The function returns a token and, if it knows, for how many
-- seconds it is good; or nil and why not.
-- @param call
-- @tparam number ms
-- @tparam number unix
-- @tparam function ask
function driver.give_token(call, ms, unix, ask)
  local token, more
  if ask then
    token, more = ask_for(call, ask)
  else
    more = "nobody is there to ask"
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

--- An error that broke into a change, with what is to be said of that: in its text, or, if it
-- is a table, by its field `outcome_unknown`. There may be no memory to write the note.
-- @param why
-- @tparam[opt] string note instead of what is usually said
function driver.note(why, note)
  local fine, unreported = pcall(add_note, why, note or NOTE)
  return fine and unreported or NO_MEMORY
end

--- Raises once more the error that broke into a call, which was given up, or into what was
-- made of its response.
-- @param why
-- @param call
function driver.raise(why, call)
  if call:may_have_happened() then
    why = driver.note(why)
  end
  error(why, 0)
end

return driver
