--- Performs calls with a function of yours: for unit tests without a server, or over an HTTP client that
-- your program already uses.
--
--    local client = leat.new { api_key = key, transport = function(request)
--       return 200, { ["Content-Type"] = "application/json" }, '{"data":{"value":"1"}}'
--    end }
--
-- The function receives a `request`, a table: `method`, `url`, `headers` (a table by name), `body` (a
-- string, which may be empty) and `timeout` (seconds). It must not follow redirects, and must not retry.
-- It returns:
--
--   * `status, headers, body`: an integer from 100 to 599, a table by name or nil, and a string or nil
--   * or `nil, failure` if no response arrived. The failure is a message, or a table `{ kind = "timeout",
--     sent = "maybe", message = "..." }`. `kind` is by default `"connection"`. `sent` is by default
--     `"maybe"`; it may be `"no"` only if no byte can have been sent, since even a create is then retried
--
-- The function may block. It may also yield to an event loop, from a coroutine of yours (not from a task of
-- `leat.tasks`, and not on Lua 5.1). Then pass a `sleep` that yields too: calls use it to wait for a retry,
-- a pause, or a token that another call is getting.
--
--    local driver = require("leat.transport").new(f, { sleep = sleep }) -- of cqueues, for example
--    local client = leat.new { api_key = key, driver = driver }
-- @module leat.transport

local transport = {}
local Driver = {}
Driver.__index = Driver

local core = require("leat.core")
local drivers = require("leat.driver")
local encode = require("leat.encode")

local clock = {} -- the system's clocks

function clock.now()
  return core.now(), os.time()
end

-- Between two waits Lua handles Ctrl-C and other hooks.
function clock.sleep(seconds)
  local due = core.now() + seconds * 1000
  repeat
    local left = (due - core.now()) / 1000
    core.wait(left)
  until left <= 0
end

local function respond(self, call, status, headers, body)
  if type(status) ~= "number" or status % 1 ~= 0 or status < 100 or status > 599 then
    error("leat: transport: the status must be a whole number from 100 to 599", 0)
  end
  local list, wrong = encode.pairs(headers or {}, "transport: headers")
  if not list or type(body or "") ~= "string" then
    error("leat: " .. (wrong or "transport: the body must be a string"), 0)
  end
  local ms, unix = self.clock.now()
  call:respond(ms, unix, status, list, body or "")
end

local function fail(self, call, failure)
  if type(failure) ~= "table" then
    failure = { message = failure }
  end
  local ms, unix = self.clock.now()
  call:fail(ms, unix, failure.kind or "connection", failure.sent or "maybe",
    tostring(failure.message or "the transport failed"))
end

-- ---- user functions, which may yield ----------------------------------------------------

-- Calls a user function, and records its coroutine while it runs.

local function visit(self, f, ...)
  local here = coroutine.running()
  local previous = here and self.visits[here] -- a token function may make calls over this driver
  if here then
    self.visits[here] = true
  end
  local status, headers, body = f(...)
  if here then
    self.visits[here] = previous
  end
  return status, headers, body
end

-- Whether a user function has yielded in another coroutine.
local function one_is_suspended(self)
  local here = coroutine.running()
  for thread in pairs(self.visits) do
    if thread ~= here and coroutine.status(thread) == "suspended" then
      return true
    end
  end
  return false
end

local STEP = 0.1 -- seconds between two checks whether another call has got the token

local WOULD_BLOCK = "another call's transport or token function yielded, and this call would block the loop that is "
  .. "to resume it: give a sleep that yields too: "
  .. "leat.new { driver = require('leat.transport').new(f, { sleep = ... }) }"

-- Waits for `seconds`, or at most STEP if another call is suspended. Returns false without waiting if that
-- would block the loop.
local function wait(self, seconds)
  local waits = one_is_suspended(self)
  if waits and not self.yields then
    return false
  end
  self.clock.sleep(waits and math.min(seconds, STEP) or seconds)
  return true
end

-- ---- calls ------------------------------------------------------------------------------

local function send(self, call, ms)
  local request = call:request()
  request.timeout = (request.deadline - ms) / 1000
  request.deadline = nil
  local status, headers, body = visit(self, self.transport, request)
  if status then
    respond(self, call, status, headers, body)
  else
    fail(self, call, headers)
  end
end

local function carry(self, call, hooks)
  while true do
    local ms, unix = self.clock.now()
    local step = call:next(ms, unix, math.random(0, 2147483646))
    if hooks.attempts then
      hooks.attempts()
    end
    if step == "send" then
      send(self, call, ms)
    elseif step == "token" then
      visit(self, drivers.give_token, call, ms, unix, hooks.token)
    elseif step == "slot" then
      drivers.wait_for_slot(self, call, hooks, self.yields and self.clock.sleep)
    elseif step == "wait" then
      if not wait(self, (call:until_ms() - ms) / 1000) then
        return WOULD_BLOCK
      end
    else
      return
    end
  end
end

--- Performs a call until it is done. An error that the transport function raises cancels the call.
-- @param call a call of the core
-- @tparam[opt] table hooks the client's hooks: see `leat.driver`
-- @treturn string nil; or the reason why the call cannot be made here
-- @raise the error of the transport function
function Driver:perform(call, hooks)
  local fine, why = pcall(carry, self, call, hooks or {})
  if fine and not why then
    return
  end
  local ms, unix = self.clock.now()
  call:fail(ms, unix, "canceled", "maybe", fine and why or "the transport raised an error")
  if fine then
    return why
  end
  local here = coroutine.running()
  if here then
    self.visits[here] = nil
  end
  drivers.raise(why, call)
end

--- Makes a driver from a transport function. `leat.new { transport = f }` does the same.
-- @tparam function f the transport function
-- @tparam[opt] table options the options:
-- @tparam[opt=blocks] function options.sleep waits for the given seconds. It is needed, and must yield, if `f` or the
--   client's token function yields
-- @tparam[opt=the system's clock] function options.now returns monotonic milliseconds and the seconds since 1970: for
--   tests in which no time passes
-- @treturn Driver
function transport.new(f, options)
  options = options or {}
  return setmetatable({ transport = f, yields = options.sleep ~= nil, visits = setmetatable({}, { __mode = "k" }),
    clock = { now = options.now or clock.now, sleep = options.sleep or clock.sleep } }, Driver)
end

return transport --[[@as leat.transport]]
