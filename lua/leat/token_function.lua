-- Runs the token functions of clients, and knows which code runs as part of one. For the modules of leat only.

local token_function = {}

-- The running token functions, by the coroutine in which they were called; of several in one coroutine,
-- the innermost. Each has a record, a visit. When a token function raises an error its visit stays here,
-- but the visit's call has ended.
local visits = setmetatable({}, { __mode = "k" })
local MAIN = {} -- the key of the main program, where coroutine.running() may return nil

-- Whether a task is running. leat.scheduler replaces this function when it is loaded.
function token_function.is_in_task()
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
  local visit = visits[here()]
  if visit or not next(visits) or token_function.is_in_task() then
    return visit
  end
  for where, other in pairs(visits) do
    if (where == MAIN or coroutine.status(where) == "normal") and not is_over(other) then
      return other
    end
  end
end

-- Calls the token function `ask` for a call, and returns its first two results.
function token_function.run(ask, call)
  local where = here()
  local previous = visits[where]
  local visit = { ask = ask, call = call, outer = current_visit(), left = false }
  visits[where] = visit
  local token, more = ask()
  visits[where] = previous
  visit.left = true
  return token, more
end

-- Makes a new coroutine part of the token function that is running, if any.
function token_function.inherit(thread)
  visits[thread] = current_visit()
end

-- Whether the running code is part of a call of the token function `ask`. If so, a call that needs its
-- token would wait forever.
function token_function.is_running(ask)
  local visit = current_visit()
  while visit and (visit.ask ~= ask or is_over(visit)) do
    visit = visit.outer
  end
  return visit ~= nil
end

return token_function
