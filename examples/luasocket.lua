-- A driver written in Lua, over LuaSocket, for services that are reached by http:// such as a sandbox, or a proxy
-- that adds TLS. It carries the calls of tasks: in a task a call suspends that task only.
--
--    local driver = dofile("examples/luasocket.lua").new()
--    local client = leat.new { api_key = key, base_url = "http://127.0.0.1:8080", driver = driver }
--
-- The core says what a call needs next (call:next), and its codec speaks HTTP; the driver moves the bytes.
-- leat.driver describes the methods. A complete driver also has TLS, keeps connections, and does not wait while it
-- looks up a name; and Ctrl-C, which may break into each line, would not leave a call to its timeout.
local core = require("leat.core")
local drivers = require("leat.driver")
local socket = require("socket")

local Driver = { perform = drivers.perform }
Driver.__index = Driver

local function now()
  return core.now(), os.time()
end

-- ---- exchanges --------------------------------------------------------------------------

-- A job is a call under way. During an exchange it has a `socket` and a codec, `http`.

local function close(self, job)
  if job.socket then
    self.jobs_of[job.socket] = nil
    job.socket:close()
    job.http:close()
    job.socket = nil
  end
end

local function fail(self, job, kind, message)
  local ms, unix = now()
  close(self, job)
  job.call:fail(ms, unix, kind, job.sending and "maybe" or "no", message)
end

-- Passes the response, or what is wrong with it, from the codec to the call.
local function respond(self, job)
  local ms, unix = now()
  job.http:report(job.call, ms, unix)
  close(self, job)
end

-- Begins to connect, or finds out how that goes. Returns true once there is a connection.
local function connect(self, job)
  local connected, why = job.socket:connect(job.host, job.port)
  if connected or why == "already connected" then
    return true
  elseif why ~= "timeout" and why ~= "Operation already in progress" then
    fail(self, job, "connection", ("no connection to %s: %s"):format(job.origin, why))
  end
end

local function begin_exchange(self, job)
  local origin, host, port, tls, deadline, connect_timeout = job.call:destination()
  job.socket, job.http = assert(socket.tcp()), core.http1()
  job.origin, job.host, job.port, job.sending = origin, host, port, false
  job.due = math.min(deadline, core.now() + connect_timeout)
  self.jobs_of[job.socket] = job
  job.socket:settimeout(0)
  if tls then
    fail(self, job, "config", "this driver has no TLS")
  elseif job.http:begin(job.call) ~= "more" then
    respond(self, job)
  else
    job.output = job.http:output()
    connect(self, job)
  end
end

local function on_writable(self, job)
  if not job.sending then
    if not connect(self, job) then
      return
    end
    job.due = job.call:connected(core.now())
    job.sending = true
  end
  local output = job.output
  job.output = nil -- if an error breaks in here, nothing is sent twice
  local last, why, last_before_error = job.socket:send(output)
  job.output = job.http:sent(last or last_before_error) -- nil once everything is sent
  if why == "closed" then -- there may be a response nevertheless
    job.output = nil
  end
end

local function on_readable(self, job)
  local bytes, why, partial = job.socket:receive(16384)
  local state = job.http:received(bytes or partial)
  if state == "more" and why == "closed" then
    state = job.http:closed()
  end
  if state ~= "more" then
    respond(self, job)
  end
end

-- ---- the contract of leat.driver --------------------------------------------------------

function Driver:start(call, entry)
  self.jobs[call] = self.jobs[call] or { call = call, entry = entry, due = 0 }
  return true
end

-- Does what the call needs next, and sets the time by which it is due again.
local function run(self, job)
  local ms, unix = now()
  local step = job.call:next(ms, unix, math.random(0, 2147483646))
  job.due = 0
  if step == "send" then
    begin_exchange(self, job)
  elseif step == "wait" then
    job.due = job.call:until_ms()
  elseif step == "token" or step == "slot" then
    drivers.report(job.entry, step)
    job.needs = step
  else
    self.jobs[job.call] = nil
    drivers.report(job.entry, "done")
  end
end

-- Runs a call that is in no exchange. What it waits for may have happened, such as a token that another call got.
local function advance(self, job)
  if job.socket and core.now() >= job.due then
    fail(self, job, "timeout", ("no response from %s in time"):format(job.origin))
  end
  if not job.socket then
    run(self, job)
  end
end

function Driver:step(seconds)
  local due, reading, writing = core.now() + seconds * 1000, {}, {}
  for _, job in pairs(self.jobs) do
    if not job.needs then
      advance(self, job)
      due = math.min(due, job.due)
      table.insert(job.output and writing or reading, job.socket)
    end
  end
  local readable, writable = socket.select(reading, writing, math.max(0, due - core.now()) / 1000)
  for _, ready in ipairs(writable) do
    on_writable(self, self.jobs_of[ready])
  end
  for _, ready in ipairs(readable) do
    on_readable(self, self.jobs_of[ready])
  end
end

function Driver:give_token(call, hooks)
  local ms, unix = now()
  drivers.give_token(call, ms, unix, hooks.token)
  self:resume(call)
end

function Driver:resume(call)
  if self.jobs[call] then
    self.jobs[call].needs = nil
  end
end

function Driver:cancel(call)
  local ms, unix = now()
  local job = self.jobs[call]
  if job then
    close(self, job)
    self.jobs[call] = nil
  end
  call:fail(ms, unix, "canceled", "maybe", "canceled")
end

function Driver:is_idle()
  return next(self.jobs) == nil
end

local function release(self)
  for _, job in pairs(self.jobs) do
    close(self, job)
  end
end

function Driver:close()
  drivers.close(self, release)
end

return {
  new = function()
    return setmetatable({ jobs = {}, jobs_of = {}, closed = false }, Driver) -- by call, and by socket
  end,
}
