--- The driver of scripts and loops: libcurl makes the connections. In a task of `leat.tasks`
-- a call suspends the task; elsewhere it blocks until it is done.
--
-- `leat.new` makes one by itself. Make your own to share its connections between clients, or
-- to watch it in a loop of yours:
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

-- So that Ctrl-C and other hooks of Lua are seen to between two waits, in seconds.
local WAIT = 0.1

local wait, next_news = core.wait, core.news
local carry, tell = tasks.carry, tasks.tell

-- ---- calls under way --------------------------------------------------------------------

-- Each has an entry, which holds it: that of `tasks.carry`; or, if it blocks, one of `block`,
-- which finds its news there.

--- For `leat.tasks`: gives a call up; nobody is told. It must not need memory.
function Driver:drop(call)
  if self.closed then
    self.handle:close() -- in case that was interrupted
  else
    self.handle:cancel(call)
  end
  if not call:is_done() then -- it never began
    call:fail(0, 0, "canceled", "no", "canceled")
  end
end

--- For `leat.tasks`: asks the client's token function, for this call.
function Driver:give_token(call, hooks)
  local ms, unix = self.handle:now()
  driver.give_token(call, ms, unix, hooks.token)
  if self.watched and not self.closed then
    self.handle:fd() -- there is something to do now, of which nothing else told the descriptor
  end
end

--- For `leat.tasks`: waits for something to do, at most so many seconds, does it, and tells
-- whom it concerns.
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

--- For `leat.tasks`: waits until one of the drivers has something to do.
function Driver.wait_for(drivers, seconds)
  local handles = {}
  for i, each in ipairs(drivers) do
    handles[i] = each.handle
  end
  core.wait_for(handles, seconds)
end

-- In a coroutine of its own: if it yielded through a call that blocks, calls of other
-- coroutines would wait for its token, and keep the loop from resuming it.
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

--- Carries a call to its end. An error that comes in between, such as that of an
-- interrupt, gives the call up.
-- @param call of the core
-- @tparam[opt] table hooks of the client: see `leat.driver`
-- @treturn string why it must not be carried here; else nil
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

--- Closes its connections; what is under way ends as `canceled`. Once more does nothing.
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

--- The one descriptor to watch: while it is readable, `tasks.poll()` has something to do.
-- @treturn number
function Driver:fd()
  self.watched = true
  return self.handle:fd()
end

--- Seconds until `tasks.poll()` has something to do even if the descriptor is quiet; nil:
-- it will not. Only who watches the descriptor without having asked for it by `fd` needs it.
function Driver:timeout()
  return self.handle:timeout()
end

--- As `fd`, by the name that cqueues knows.
-- @function Driver:pollfd
Driver.pollfd = Driver.fd
--- As `fd`, by the name that LuaSocket's select, thus copas, knows.
-- @function Driver:getfd
Driver.getfd = Driver.fd

--- For cqueues: what to watch the descriptor for.
function Driver:events() -- luacheck: ignore self
  return "r"
end

--- For LuaSocket's select: whether there is something to do at once.
function Driver:dirty()
  return self.handle:timeout() == 0
end

--- Makes a driver.
-- @tparam[opt] table given `ca_file`, `proxy`, `max_connections`, as for `leat.new`
-- @treturn Driver or nil and a message
-- @raise what is wrong with the options
function curl.new(given)
  local settings = options.check("leat.curl.new", options.connection, given or {}, 2)
  local entries = {}
  local handle, wrong = core.new(settings, entries)
  if not handle then
    return nil, wrong
  end
  -- Behind `perform` nobody here knows the call: its userdata may be that of another.
  return setmetatable({ handle = handle, entries = entries, closed = false, releases_calls = true, observing = false,
    observed = setmetatable({}, { __mode = "k" }) }, Driver)
end

--- The versions of libcurl and of what it is made with.
-- @treturn string
curl.version = core.version

return curl --[[@as leat.curl]]
