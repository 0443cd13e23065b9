--- The I/O driver for scripts and event loops, on libcurl. In a task of `leat.tasks` a call suspends
-- the task; outside of tasks it blocks until it is done.
--
-- `leat.new` makes a driver by default. Make one yourself to share its connections between clients, or
-- to watch it in an event loop:
--
--    local driver = require("leat.curl").new { max_connections = 4 }
--    local client = leat.new { api_key = key, driver = driver }
-- @module leat.curl

local core = require("leat.curl.core")
local drivers = require("leat.driver")
local schema = require("leat.options")

local curl = {}
local Driver = {}
Driver.__index = Driver

local wait, next_event = core.wait, core.next_event

-- ---- the contract of leat.driver ----------------------------------------------------------------

--- Starts a call: see `leat.driver`.
-- @function Driver:start
-- @param call a call of the core
-- @tparam table entry what the driver passes to `report` with the call's events
-- @treturn boolean whether the call is under way; false: it is done
Driver.start = core.start

--- Returns whether no call is under way: see `leat.driver`.
-- @function Driver:is_idle
-- @treturn boolean
Driver.is_idle = core.is_idle

--- Cancels a call: see `leat.driver`. It allocates no memory.
-- @param call a call of the core
function Driver:cancel(call)
  if self.closed then
    self.handle:close() -- again, in case an interrupt broke into the first close
  else
    self.handle:cancel(call)
  end
  if not call:is_done() then -- it was never started
    call:fail(0, 0, "canceled", "no", "canceled")
  end
end

--- Calls the client's token function, and gives its token to the call: see `leat.driver`.
-- @param call a call of the core
-- @tparam table hooks the client's hooks
function Driver:give_token(call, hooks)
  local ms, unix = self.handle:now()
  drivers.give_token(call, ms, unix, hooks.token)
  if self.watched and not self.closed then
    self.handle:fd() -- makes the descriptor readable: the call can go on, and nothing else signals that
  end
end

--- Makes the driver's descriptor readable also while another one is, that of a limiter: see `leat.driver`.
-- @tparam number fd the other descriptor
function Driver:watch(fd)
  self.handle:watch(fd)
end

--- Continues a call that has its slot: see `leat.driver`.
function Driver:resume()
  if self.watched and not self.closed then
    self.handle:fd() -- makes the descriptor readable
  end
end

--- Waits up to `seconds` for I/O or a timer, handles it, and reports the events of calls: see `leat.driver`.
-- @tparam number seconds the time to wait, or 0
function Driver:step(seconds)
  local handle = self.handle
  local entry, _, more = wait(handle, seconds)
  while entry do
    if entry.task then
      drivers.scheduler.wake(entry.task) -- entries have the event already
    end
    if not more or self.closed then
      break
    end
    entry, _, more = next_event(handle)
  end
  if self.observing then
    for hooks in pairs(self.observed) do
      hooks.attempts()
    end
  end
end

--- Calls `hooks.attempts` in each step from now on: see `leat.driver`.
-- @tparam table hooks the client's hooks
function Driver:observe(hooks)
  self.observing = true
  self.observed[hooks] = true
end

--- Performs a call until it is done. An error that is raised meanwhile, such as an interrupt, cancels the
-- call.
-- @param call a call of the core
-- @tparam[opt] table hooks the client's hooks: see `leat.driver`
-- @treturn string nil; or the reason why the call cannot be made here
-- @raise the error that canceled the call
-- @function Driver:perform
Driver.perform = drivers.perform

local function release(self)
  self.handle:close()
  for key in pairs(self.entries) do
    self.entries[key] = nil
  end
end

--- Closes the driver and its connections. Calls that are under way end as `canceled`. Closing it again has
-- no effect.
function Driver:close()
  drivers.close(self, release)
end

-- ---- for loops --------------------------------------------------------------------------

--- Returns the descriptor to watch for reading: while it is readable, `tasks.poll()` has something to do.
-- The descriptor never changes, unless the process forks, and also signals timers.
-- @treturn number the descriptor; -1 on systems other than Linux, which have none
function Driver:fd()
  self.watched = true
  return self.handle:fd()
end

--- Returns the time until `tasks.poll()` must be called although the descriptor is not readable. Only
-- needed by programs that watch the descriptor without having called `fd`.
-- @treturn number seconds, or nil if there is no such time
function Driver:timeout()
  return self.handle:timeout()
end

--- The same as `fd`, under the name that cqueues uses.
-- @function Driver:pollfd
Driver.pollfd = Driver.fd
--- The same as `fd`, under the name that LuaSocket's `select`, and therefore copas, uses.
-- @function Driver:getfd
Driver.getfd = Driver.fd

--- For cqueues: the events to watch the descriptor for.
-- @treturn string `"r"`, for reading
function Driver:events() -- luacheck: ignore self
  return "r"
end

--- For LuaSocket's `select`: whether there is something to do at once.
-- @treturn boolean
function Driver:dirty()
  return self.handle:timeout() == 0
end

--- Makes a driver.
-- @tparam[opt] table options the options:
-- @tparam[opt=16,unit=connections] integer options.max_connections how many connections are open at once
-- @tparam[opt=the system's] string options.ca_file a PEM file of the certificates to trust
-- @tparam[opt=from the environment: `https_proxy` and so on] string options.proxy the URL of a proxy, or "" for none
-- @treturn Driver or nil and a message
-- @raise mistakes in the options
function curl.new(options)
  local settings = schema.check("leat.curl.new", schema.connection, options or {}, 2)
  local entries = {}
  local handle, wrong = core.new(settings, entries)
  if not handle then
    return nil, wrong
  end
  -- `releases_calls`: the driver keeps no reference to a call after `perform`, so its userdata may be reused.
  return setmetatable({ handle = handle, entries = entries, closed = false, releases_calls = true, observing = false,
    observed = setmetatable({}, { __mode = "k" }) }, Driver)
end

--- Returns the versions of libcurl and of the libraries that it was built with.
-- @treturn string
curl.version = core.version

return curl --[[@as leat.curl]]
