--- A server in your process that behaves like the API: to try things out, and for tests.
--
--    local sandbox = require("leat.sandbox").start { contacts = { { uuid = "u-1" } } }
--    local client = leat.new { api_key = sandbox.api_key, base_url = sandbox.url }
--    client.contact_identifiers:create("card-1", { contact_uuid = "u-1" })
--    print(#sandbox:requests())   --> 1
--    sandbox:stop()
--
-- It listens on 127.0.0.1 only, on a port that the system picks, in a thread of its own.
-- It stops when it is no longer used; on Lua 5.4 it may be a `<close>` variable.
-- @module leat.sandbox

local core = require("leat.sandbox.core")
local options = require("leat.options")

local sandbox = {}
local Sandbox = {}
Sandbox.__index = Sandbox

local known = { api_key = "string", contacts = "table", cards = "table", tls = "boolean", port = "port" }
local contact = { uuid = "string", email = "string" }
local card = { value = "string", name = "string", contact_uuid = "string", active = "boolean" }

-- The list `given[name]`, each entry with what it needs.
local function check_list(given, name, entry, needed)
  local where = "leat.sandbox.start: " .. name
  local list = options.check_list(where, entry, given[name] or {}, 3)
  for i, one in ipairs(list) do
    if not one[needed] then
      error(("%s %d has no %s"):format(where, i, needed), 3)
    end
  end
  given[name] = list
end

--- Starts a sandbox.
-- @tparam[opt] table given the options:
--
--   * `contacts` a list of `{ uuid = "...", email = "..." }`
--   * `cards` a list of `{ value = "...", name =, contact_uuid =, active = false }`
--   * `api_key` that it accepts: "sandbox"
--   * `tls` true: HTTPS, with a certificate of its own (see `ca_file`)
--   * `port` any
-- @treturn Sandbox with `url`, `api_key` and, if it speaks TLS, `ca_file`; or nil and why
-- @raise what is wrong with the options
function sandbox.start(given)
  given = options.check("leat.sandbox.start", known, given or {}, 2)
  check_list(given, "contacts", contact, "uuid")
  check_list(given, "cards", card, "value")
  local server, wrong = core.start(given)
  if not server then
    return nil, wrong
  end
  return setmetatable({
    server = server,
    url = server:url(),
    ca_file = server:ca_file(),
    api_key = given.api_key or "sandbox",
  }, Sandbox)
end

--- What it received so far, also after it was stopped. The token is not shown: the status
-- tells whether it was right.
-- @treturn table a list of `{ method =, target =, headers =, body =, status = }`: the
--   target is path and query as they came, the status is what it answered
function Sandbox:requests()
  return self.received or self.server:requests()
end

--- Stops it. Once more does nothing.
function Sandbox:stop()
  self.received = self:requests()
  self.server:stop()
end

Sandbox.__close = Sandbox.stop

function Sandbox:__tostring()
  return "leat.sandbox: " .. self.url
end

return sandbox
