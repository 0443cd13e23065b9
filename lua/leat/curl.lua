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
local driver = require("leat.driver")
local options = require("leat.options")
local tasks = require("leat.tasks")

local curl = {}
local Driver = {}
Driver.__index = Driver

-- The longest wait, in seconds. Between two waits Lua handles Ctrl-C and other hooks.
local WAIT = 0.1

local wait, next_news = core.wait, core.news
local carry, tell = tasks.carry, tasks.tell

-- ---- calls under way --------------------------------------------------------------------

-- Each call under way has an entry that holds it: one from `tasks.carry`; or, for a call that blocks,
-- one from `block`, which reads the call's events from its field `news`.

--- For `leat.tasks`: cancels a call without reporting it to `tasks.tell`. Must not allocate memory.
function Driver:drop(call)
  if self.closed then
    self.handle:close() -- again, in case an interrupt broke into the first close
  else
    self.handle:cancel(call)
  end
  if not call:is_done() then -- it was never started
    call:fail(0, 0, "canceled", "no", "canceled")
  end
end

--- For `leat.tasks`: calls the client's token function, and gives its token to the call.
function Driver:give_token(call, hooks)
  local ms, unix = self.handle:now()
  driver.give_token(call, ms, unix, hooks.token)
  if self.watched and not self.closed then
    self.handle:fd() -- makes the descriptor readable: the call can go on, and nothing else signals that
  end
end

--- For `leat.tasks`: waits up to `seconds` for I/O or a timer, handles it, and reports the events of calls.
function Driver:step(seconds)
  local handle = self.handle
  local entry, news, more = wait(handle, seconds)
  while entry do
    if entry.task then
      tell(entry, news)
    end
    if not more or self.closed then
      break
    end
    entry, news, more = next_news(handle)
  end
  if self.observing then
    for hooks in pairs(self.observed) do
      hooks.attempts()
    end
  end
end

--- For `leat.tasks`: waits up to `seconds` until one of the drivers has something to do.
function Driver.wait_for(drivers, seconds)
  local handles = {}
  for i, each in ipairs(drivers) do
    handles[i] = each.handle
  end
  core.wait_for(handles, seconds)
end

-- Runs the token function in a coroutine of its own, to detect a yield. If it could yield through a call
-- that blocks, calls in other coroutines would wait for its token and block the loop that is to resume it.
local function give_token_blocking(self, call, hooks)
  local asking = coroutine.create(self.give_token)
  driver.inherit(asking)
  local fine, why = coroutine.resume(asking, self, call, hooks)
  if not fine then
    error(why, 0)
  elseif coroutine.status(asking) ~= "dead" then
    error("leat: the token function yielded outside of a task: make what it waits for a call of leat, or let it block",
      0)
  end
end

local function block(self, call, hooks)
  local entry = { call = call, news = false }
  if not core.start(self.handle, call, entry) then
    return
  end
  repeat
    tasks.step(self, WAIT)
    if entry.news == "token" then
      entry.news = false
      give_token_blocking(self, call, hooks)
    end
  until entry.news
end

local refusals = {
  inside = "in a coroutine of your own inside a task it can't be suspended: call it in the task itself, "
    .. "or in another task: tasks.spawn(function() ... end)",
  outside = "it would block here, and blocking = false: call it in a task: "
    .. "require('leat.tasks').spawn(function() ... end)",
}

local function observe(self, hooks)
  self.observing = true
  self.observed[hooks] = true
end

--- Performs a call until it is done. An error that is raised meanwhile, such as an interrupt, cancels the
-- call.
-- @param call a call of the core
-- @tparam[opt] table hooks the client's hooks: see `leat.driver`
-- @treturn string nil; or the reason why the call cannot be made here
-- @raise the error that canceled the call
function Driver:perform(call, hooks)
  hooks = hooks or {}
  if hooks.attempts then
    observe(self, hooks)
  end
  local carried, refused = carry(self, call, hooks)
  if carried then
    return refused
  end
  local place = tasks.place()
  if place == "inside" or hooks.blocking == false then
    return refusals[place]
  end
  local fine, why = pcall(block, self, call, hooks)
  if not fine then
    self:drop(call)
    driver.raise(why, call)
  end
end

--- Closes the driver and its connections. Calls that are under way end as `canceled`. Closing it again has
-- no effect.
function Driver:close()
  local entries = self.entries
  for _, entry in pairs(entries) do
    if not entry.task then -- a call that blocks
      entry.news = "trouble"
    end
  end
  tasks.close(self)
  for place in pairs(entries) do
    entries[place] = nil
  end
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
-- @tparam[opt] table given `ca_file`, `proxy` and `max_connections`, as for `leat.new`
-- @treturn Driver or nil and a message
-- @raise mistakes in the options
function curl.new(given)
  local settings = options.check("leat.curl.new", options.connection, given or {}, 2)
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
