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

local sandbox = {}
local Sandbox = {}
Sandbox.__index = Sandbox

local options =
  { api_key = "string", contacts = "table", cards = "table", tls = "boolean", port = "number" }

local function check_options(given)
  if type(given) ~= "table" then
    error("leat.sandbox.start: give the options in a table", 3)
  end
  for name, value in pairs(given) do
    local wanted = options[name]
    if not wanted then
      error(("leat.sandbox.start: option '%s' is unknown"):format(tostring(name)), 3)
    elseif type(value) ~= wanted then
      error(("leat.sandbox.start: %s must be a %s"):format(name, wanted), 3)
    end
  end
end

local function check_list(list, kind, key)
  for i, entry in ipairs(list or {}) do
    if type(entry) ~= "table" or type(entry[key]) ~= "string" then
      error(("leat.sandbox.start: %s %d has no %s, a string"):format(kind, i, key), 3)
    end
  end
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
  given = given or {}
  check_options(given)
  check_list(given.contacts, "contact", "uuid")
  check_list(given.cards, "card", "value")
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

--- What it received so far.
-- @treturn table a list of `{ method =, target =, headers =, body =, status = }`: the
--   target is path and query as they came, the status is what it answered
function Sandbox:requests()
  return self.server:requests()
end

--- Stops it. Once more does nothing.
function Sandbox:stop()
  self.server:stop()
end

Sandbox.__close = Sandbox.stop

function Sandbox:__tostring()
  return "leat.sandbox: " .. self.url
end

return sandbox
