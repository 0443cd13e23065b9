--- The driver of scripts: libcurl makes the connections, and a call blocks until it is done.
--
-- `leat.new` makes one by itself. Make your own to share its connections between clients:
--
--    local driver = require("leat.curl").new { max_connections = 4 }
--    local client = leat.new { api_key = key, driver = driver }
-- @module leat.curl

local core = require("leat.curl.core")
local options = require("leat.options")
local driver = require("leat.driver")

local curl = {}
local Driver = {}
Driver.__index = Driver

-- So that Ctrl-C and other hooks of Lua are seen to between two waits, in seconds.
local WAIT = 0.1

local function carry(self, call, attempts)
  local handle = self.handle
  if not handle:start(call) then
    return
  end
  repeat
    handle:wait(WAIT)
    local asking = handle:token() -- another's, perhaps: a function may make calls too
    if asking then
      local ms, unix = handle:now()
      driver.give_token(asking, ms, unix, self.asks[asking])
    end
    if attempts then
      attempts()
    end
  until handle:done() == call or call:is_done()
end

--- Carries a call to its end. An error that comes in between, such as that of an
-- interrupt, gives the call up.
-- @param call of the core
-- @tparam[opt] table hooks of the client: see `leat.driver`
function Driver:perform(call, hooks)
  hooks = hooks or {}
  self.asks[call] = hooks.token
  local fine, why = pcall(carry, self, call, hooks.attempts)
  self.asks[call] = nil
  if not fine then
    if not self.closed then
      self.handle:cancel(call)
    end
    driver.raise(why, call)
  end
end

--- Closes its connections. Once more does nothing.
function Driver:close()
  self.closed = true
  self.handle:close()
end

--- Makes a driver.
-- @tparam[opt] table given `ca_file`, `proxy`, `max_connections`, as for `leat.new`
-- @treturn Driver or nil and a message
-- @raise what is wrong with the options
function curl.new(given)
  local settings = options.check("leat.curl.new", options.connection, given or {}, 2)
  local handle, wrong = core.new(settings)
  if not handle then
    return nil, wrong
  end
  return setmetatable({ handle = handle, asks = {} }, Driver)
end

--- The versions of libcurl and of what it is made with.
-- @treturn string
curl.version = core.version

return curl
