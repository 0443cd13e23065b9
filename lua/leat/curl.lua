--- The driver of scripts: libcurl makes the connections, and a call blocks until it is done.
--
-- `leat.new` makes one by itself. Make your own to share its connections between clients:
--
--    local driver = require("leat.curl").new { max_connections = 4 }
--    local client = leat.new { api_key = key, driver = driver }
-- @module leat.curl

local core = require("leat.curl.core")

local curl = {}
local Driver = {}
Driver.__index = Driver

-- So that Ctrl-C and other hooks of Lua are seen to between two waits, in seconds.
local WAIT = 0.1

--- Carries a call to its end.
-- @param call of the core
function Driver:perform(call)
  local handle = self.handle
  handle:start(call)
  while handle:done() ~= call and not call:is_done() do
    handle:wait(WAIT)
  end
end

--- Closes its connections.
function Driver:close()
  self.handle:close()
end

--- Makes a driver.
-- @tparam[opt] table options `ca_file`, `proxy`, `max_connections`, as for `leat.new`
-- @treturn Driver or nil and a message
function curl.new(options)
  local handle, wrong = core.new(options or {})
  if not handle then
    return nil, wrong
  end
  return setmetatable({ handle = handle }, Driver)
end

--- The versions of libcurl and of what it is made with.
-- @treturn string
curl.version = core.version

return curl
