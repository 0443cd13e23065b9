--- Carries calls by a function of yours: for unit tests without any server, or over an HTTP
-- client that you have anyway.
--
--    local client = leat.new { api_key = key, transport = function(request)
--       return 200, { ["Content-Type"] = "application/json" }, '{"data":{"value":"1"}}'
--    end }
--
-- The function gets `request`: `method`, `url`, `headers` (a table by name), `body` (a
-- string, maybe empty) and `timeout` (seconds). It returns `status, headers, body`; or
-- `nil, failure` when no response came: a message, or a table `{ kind = "timeout", sent =
-- "maybe", message = "..." }`, whose `sent` is `"no"` only if nothing can have left.
--
-- It blocks, or yields to a loop of yours, from a coroutine of yours (not from a task of
-- `leat.tasks`). In the second case give a `sleep` that yields too, by which calls wait for a
-- retry, a pause, or a token that another call gets:
--
--    local driver = require("leat.transport").new(f, { sleep = sleep }) -- of cqueues, for example
--    local client = leat.new { api_key = key, driver = driver }
-- @module leat.transport

local transport = {}
local Driver = {}
Driver.__index = Driver

local encode = require("leat.encode")
local driver = require("leat.driver")

local clock = {} -- of the system

function clock.now()
  return os.time() * 1000, os.time()
end

-- Lua has no sleep; the driver on libcurl can wait.
function clock.sleep(seconds)
  local core = require("leat.curl.core")
  local handle = assert(core.new({}, {}))
  for _ = 1, math.ceil(seconds / 0.1) do
    core.wait(handle, 0.1)
  end
  handle:close()
end

local function answer(self, call, status, headers, body)
  if type(status) ~= "number" or status % 1 ~= 0 or status < 100 or status > 599 then
    error("leat: transport: the status must be a whole number from 100 to 599", 0)
  end
  local list, wrong = encode.pairs(headers or {}, "transport: headers")
  if not list or type(body or "") ~= "string" then
    error("leat: " .. (wrong or "transport: the body must be a string"), 0)
  end
  local ms, unix = self.clock.now()
  call:answer(ms, unix, status, list, body or "")
end

local function fail(self, call, failure)
  if type(failure) ~= "table" then
    failure = { message = failure }
  end
  local ms, unix = self.clock.now()
  call:fail(ms, unix, failure.kind or "connection", failure.sent or "maybe",
    tostring(failure.message or "the transport failed"))
end

-- ---- functions of the user's, which may yield -------------------------------------------

local function visit(self, f, ...)
  local here = coroutine.running()
  local before = here and self.visits[here] -- a token function may make calls over this driver
  if here then
    self.visits[here] = true
  end
  local status, headers, body = f(...)
  if here then
    self.visits[here] = before
  end
  return status, headers, body
end

-- Whether one of them yielded, in another coroutine.
local function one_is_suspended(self)
  local here = coroutine.running()
  for thread in pairs(self.visits) do
    if thread ~= here and coroutine.status(thread) == "suspended" then
      return true
    end
  end
  return false
end

local STEP = 0.1 -- seconds: so often it is asked whether another call has got the token

local WOULD_BLOCK = "another call's transport or token function yielded, and this call would block the loop that is "
  .. "to resume it: give a sleep that yields too: "
  .. "leat.new { driver = require('leat.transport').new(f, { sleep = ... }) }"

-- True: it waited, or at least a step of it.
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
    answer(self, call, status, headers, body)
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
      visit(self, driver.give_token, call, ms, unix, hooks.token)
    elseif step == "wait" then
      if not wait(self, (call:until_ms() - ms) / 1000) then
        return WOULD_BLOCK
      end
    else
      return
    end
  end
end

--- Carries a call to its end. An error of the function's gives the call up.
-- @param call of the core
-- @tparam[opt] table hooks of the client: see `leat.driver`
-- @treturn string why it must not be carried here; else nil
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
  driver.raise(why, call)
end

--- Makes a driver. `leat.new { transport = f }` does so by itself.
-- @tparam function f
-- @tparam[opt] table of `sleep(seconds)`, which may yield, if `f` or the client's token
--   function does; `now()`, which gives milliseconds and the seconds since 1970: for tests,
--   where time is not to pass
-- @treturn Driver
function transport.new(f, of)
  of = of or {}
  return setmetatable({ transport = f, clock = { now = of.now or clock.now, sleep = of.sleep or clock.sleep },
    yields = of.sleep ~= nil, visits = setmetatable({}, { __mode = "k" }) }, Driver)
end

return transport --[[@as leat.transport]]
