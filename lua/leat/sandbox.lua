--- A server in your process that behaves like the API, and fails when you ask it to: for tests, and for
-- trying things out.
--
--    local sandbox = require("leat.sandbox").start { contacts = { { uuid = "u-1" } } }
--    local client = leat.new { api_key = sandbox.api_key, base_url = sandbox.url }
--
--    -- the next create happens, but its response is lost
--    sandbox:fault { operation = "create", apply = true, close = "before" }
--    client.contact_identifiers:create("0042", { contact_uuid = "u-1" })
--    assert(sandbox:card("0042").contact.uuid == "u-1")   -- what the server holds
--    assert(#sandbox:requests("create") == 1)             -- what it received
--    sandbox:stop()
--
-- Clients other than leat's can use it too: it accepts parameters as JSON, urlencoded or multipart, or in
-- the query. As in the service, a card without a name of its own has its value as its name. The sandbox
-- also finds and creates contacts, as far as cards need them.
--
-- It listens on 127.0.0.1 only, by default on a port that the system picks, and runs in its own threads.
-- All times are in seconds. The garbage collector stops a sandbox that is no longer used; on Lua 5.4 it may
-- be a `<close>` variable.
-- @module leat.sandbox

local cjson = require("cjson")
local core = require("leat.sandbox.core")
local validate = require("leat.options")

local sandbox = {}
local Sandbox = {}
Sandbox.__index = Sandbox

local encode = cjson.new().encode

-- ---- options ------------------------------------------------------------------------

local DAY = 24 * 60 * 60

local function duration(v)
  return v >= 0 and v <= DAY
end

local seconds = { "number", duration, "a number from 0 to 86400 (seconds)" }

local start_options = {
  api_key = "string",
  client_id = "any", -- a string or a number: see check_client_id
  client_secret = "string",
  token_lifetime = seconds,
  contacts = "table",
  cards = "table",
  faults = "table",
  meta = "string",
  rate_limit = "count",
  rate_window = seconds,
  idempotent_unlink = "boolean",
  tls = "boolean",
  port = "port",
}
local contact_fields = { uuid = "string", email = "string", more = "table" }
local card_fields = { value = "string", name = "string", contact_uuid = "string", active = "boolean" }
local fault_fields = {
  operation = "string",
  value = "string",
  nth = "count",
  times = { "number", function(v) return v >= 1 and (v == math.huge or v <= 1e9 and v % 1 == 0) end,
    "a whole number greater than 0, or math.huge" },
  kind = "string",
  code = "count",
  status = { "number", function(v) return v >= 0 and v <= 1e9 and v % 1 == 0 end, "a whole number, not negative" },
  headers = "table",
  body = { "string" },
  retry_after = "count",
  delay = { "number", function(v) return duration(v) or v == math.huge end,
    "a number from 0 to 86400 (seconds), or math.huge" },
  close = { "string", function(v) return v == "before" or v == "within" end, 'a string, "before" or "within"' },
  apply = "boolean",
  apply_after = seconds,
  lag = seconds,
  stale = "boolean",
}

-- Checks the list `options[name]`, in which each entry must have the field `needed` (if not nil). Replaces
-- the list by a copy, and returns that.
local function check_list(options, name, fields, needed)
  local where = "leat.sandbox.start: " .. name
  for i, one in ipairs(options[name] or {}) do
    if needed and type(one) ~= "table" then
      error(("%s %d must be a table: { %s = ... }"):format(where, i, needed), 3)
    end
  end
  local list = validate.check_list(where, fields, options[name] or {}, 3)
  for i, one in ipairs(list) do
    if needed and not one[needed] then
      error(("%s %d has no %s"):format(where, i, needed), 3)
    end
  end
  options[name] = list
  return list
end

-- Client ids of the service are whole numbers, so numbers are accepted, and converted to strings.
local function check_client_id(options)
  local id = options.client_id
  if type(id) == "number" and id % 1 == 0 then
    options.client_id = ("%.0f"):format(id)
  elseif id ~= nil and (type(id) ~= "string" or id:find("\0", 1, true)) then
    error("leat.sandbox.start: client_id must be a string without a NUL byte, or a whole number", 3)
  end
end

-- Replaces an empty table for encoding. The sandbox accepts no JSON string that contains a NUL, so no other
-- value has the same encoding.
local EMPTY = "\0empty"

local function mark_empty(value)
  if type(value) ~= "table" then
    return value
  elseif next(value) == nil then
    return EMPTY
  end
  local copy = {}
  for key, one in pairs(value) do
    copy[key] = mark_empty(one)
  end
  return copy
end

-- Encodes the field `more` of contacts as JSON. An empty table becomes a list, as in the service's responses.
local function encode_more(contacts)
  for i, one in ipairs(contacts) do
    local ok, text = pcall(encode, one.more or {})
    if not ok then
      error(("leat.sandbox.start: contacts %d: more can't be JSON: %s"):format(i, text), 3)
    end
    one.more = one.more and next(one.more) ~= nil and
      encode(mark_empty(one.more)):gsub('"\\u0000empty"', "[]") or nil
  end
end

-- Replaces the headers of a fault by a copy in which all values are strings.
local function copy_headers(where, one, level)
  local copy = {}
  for name, value in pairs(one.headers or {}) do
    if type(name) ~= "string" or (type(value) ~= "string" and type(value) ~= "number") then
      error(where .. ": headers must be { [name] = value }, in strings", level + 1)
    end
    copy[name] = tostring(value)
  end
  one.headers = copy
end

-- ---- starting -----------------------------------------------------------------------

--- A fault describes which requests go wrong, and how. Every field is optional.
--
-- A request is relevant to a fault if its `operation` and `value` are those of the fault. A fault without
-- `nth` matches the next relevant requests that no earlier fault matches, so several faults for one
-- operation form a queue. A fault with `nth` counts all relevant requests since it was added. If several
-- faults match the same request, the one that was added first applies.
--
-- With `kind`, `code`, `status` or `close` the request fails and changes nothing, except with `apply` or
-- `apply_after`. Without any of these the request is performed as usual, and only its response is delayed
-- or altered.
-- @table fault
-- @tfield[opt=every request] string operation `find`, `create`, `link`, `unlink`, `update`, `delete`, `list` (the cards
--   of one contact), `check` (the account of the key), `token`, `contacts.get`, `contacts.find_one_by`,
--   `contacts.find_or_create` or `contacts.create_anonymous`
-- @tfield[opt=every card] string value the value of a card
-- @tfield[opt=none: the fault is queued; see above,unit=requests] integer nth the first relevant request that the fault
--   matches, counted from 1
-- @tfield[opt=1,unit=requests] integer times how many requests it matches, or `math.huge` for all that follow
-- @tfield[opt=none] string kind the error that a client reports: `not_found`, `inactive`, `already_exists`,
--   `already_linked`, `not_linked`, `contact_not_found`, `invalid_input`, `quota_reached`,
--   `unauthorized`, `forbidden`, `rate_limited` (with `Retry-After: 1` unless set otherwise),
--   `server`, `maintenance`, `redirect`, `protocol` (status 200 with an HTML page), `connection`
--   (closed before the response) or `timeout` (no response at all)
-- @tfield[opt=none,unit=code] integer code an error code of the API, which is sent with HTTP 400 and the message of
--   that code
-- @tfield[opt=none,unit=status] integer status an HTTP status, which is sent with the API's body for it, if it has one
-- @tfield[opt=none] table headers headers by name that are added to the usual ones, or replace them
-- @tfield[opt=the API's] string body replaces the API's body; JSON, or HTML if it begins with `<`
-- @tfield[opt=none,unit=seconds] integer retry_after the time in a `Retry-After` header
-- @tfield[opt=0,unit=seconds] number delay the time by which the response is delayed; `math.huge` for no response
-- @tfield[opt=none] string close `"before"`: closes the connection before the response; `"within"`: in the middle of
--   the response's body
-- @tfield[opt=false] boolean apply true: performs the request in spite of the fault, at once
-- @tfield[opt=none,unit=seconds] number apply_after performs the request in spite of the fault, after this time; until
--   then the change is not visible
-- @tfield[opt=0,unit=seconds] number lag a find or list shows the state as it was this long ago; 60 at most
-- @tfield[opt=false] boolean stale true: a find or list shows the state as it was when the fault was added. With
--   `operation = "find"` and `times = n`, this applies to exactly the next n finds

--- Starts a sandbox.
-- @tparam[opt] table options the options:
-- @tparam[opt=none] table options.contacts a list of `{ uuid = "...", email = "...", more = { ... } }`, with unique
--   uuids. `email` and `more` are optional; `more` holds further fields of the contact, such as
--   `{ credit_balance = { balance = 12 } }`, and an empty table in it is sent as an empty list
-- @tparam[opt=none] table options.cards a list of `{ value = "...", name =, contact_uuid =, active = false }`, with
--   unique values. Only `value` is required. By default the name is the value, as in the service, and the card is
--   active
-- @tparam[opt=none] table options.faults a list of faults: see `fault`
-- @tparam[opt=`"sandbox"`] string options.api_key the key that the sandbox accepts
-- @tparam[opt=`"sandbox-client"`] string|number options.client_id the id that the token endpoint accepts
-- @tparam[opt=`"sandbox-secret"`] string options.client_secret the secret that the token endpoint accepts
-- @tparam[opt=3600,unit=seconds] number options.token_lifetime how long a token that the token endpoint issues is valid
-- @tparam[opt=an empty list] string options.meta the `meta` of responses, as JSON; or "absent" for none
-- @tparam[opt=no limit,unit=requests] integer options.rate_limit how many requests are accepted within `rate_window`;
--   further ones get a 429 with Retry-After
-- @tparam[opt=60,unit=seconds] number options.rate_window the time for which `rate_limit` counts requests
-- @tparam[opt=false] boolean options.idempotent_unlink true makes unlinking a card that is not linked succeed; false:
--   it fails with 60011
-- @tparam[opt=false] boolean options.tls true serves HTTPS, with a certificate of its own (see `ca_file`)
-- @tparam[opt=0,unit=port] integer options.port the port to listen on; 0: any
-- @treturn Sandbox with the fields `url`, `token_url`, `api_key`, `client_id`, `client_secret` and, with
--   `tls`, `ca_file`, the path of its certificate; or nil and a message
-- @raise mistakes in the options
function sandbox.start(options)
  options = validate.check("leat.sandbox.start", start_options, options or {}, 2)
  check_client_id(options)
  encode_more(check_list(options, "contacts", contact_fields, "uuid"))
  check_list(options, "cards", card_fields, "value")
  for i, one in ipairs(check_list(options, "faults", fault_fields)) do
    copy_headers("leat.sandbox.start: faults " .. i, one, 2)
  end
  local server, problem, misuse = core.start(options)
  if misuse then
    error("leat.sandbox.start: " .. problem, 2)
  elseif not server then
    return nil, problem
  end
  return setmetatable({
    server = server,
    url = server:url(),
    token_url = server:token_url(),
    ca_file = server:ca_file(),
    api_key = options.api_key or "sandbox",
    client_id = options.client_id or "sandbox-client",
    client_secret = options.client_secret or "sandbox-secret",
  }, Sandbox)
end

-- ---- while it runs ------------------------------------------------------------------

-- Raises an error if a method is called with a dot instead of a colon, or, with `needs_server`, after stop.
local function check(self, method, needs_server)
  if getmetatable(self) ~= Sandbox then
    error(("leat.sandbox: call it with a colon: sandbox:%s(...)"):format(method), 3)
  elseif needs_server and self.stopped then
    error(("leat.sandbox.%s: the sandbox is stopped"):format(method), 3)
  end
  return self.server
end

--- Adds a fault.
-- @tparam table fault the fault: see `fault`
-- @treturn number the fault's number, which `requests` shows for the requests that it matched
-- @raise mistakes in the fault, or a sandbox that is stopped
function Sandbox:fault(fault)
  local server = check(self, "fault", true)
  fault = validate.check("leat.sandbox.fault", fault_fields, fault, 2)
  copy_headers("leat.sandbox.fault", fault, 2)
  local number, problem = server:fault(fault)
  if not number then
    error("leat.sandbox.fault: " .. problem, 2)
  end
  return number
end

--- Removes all faults.
-- @raise a sandbox that is stopped
function Sandbox:clear_faults()
  check(self, "clear_faults", true):clear_faults()
end

--- Expires all tokens that the token endpoint has issued. The `api_key` stays valid.
-- @raise a sandbox that is stopped
function Sandbox:expire_tokens()
  check(self, "expire_tokens", true):expire_tokens()
end

--- Restores the state that the sandbox started with: the cards and faults of the options, no tokens, and no requests.
-- @raise a sandbox that is stopped
function Sandbox:reset()
  check(self, "reset", true):reset()
end

--- Returns a card as the API would show it. Also works after `stop`.
-- @tparam string value the card's value
-- @treturn table a plain table, without the fields that are null; nil if there is no such card
function Sandbox:card(value)
  local server = check(self, "card")
  if type(value) ~= "string" then
    error("leat.sandbox.card: value must be a string, not a " .. type(value), 2)
  elseif not self.stopped then
    return server:card(value)
  end
  for _, one in ipairs(self.last_cards) do
    if one.value == value then
      return one
    end
  end
end

--- Returns all cards, the oldest first. Also works after `stop`.
-- @treturn table a list of plain tables
function Sandbox:cards()
  local server = check(self, "cards")
  return self.last_cards or server:cards()
end

local is_operation = {}
for _, name in ipairs(core.operations) do
  is_operation[name] = true
end

--- Returns the requests that were received so far. Also works after `stop`. Tokens and secrets are masked;
-- the status shows whether they were accepted. The first 100,000 requests are kept.
-- @tparam[opt=all] string operation returns only requests of this operation
-- @treturn table a list of
--   `{ method =, target =, headers =, body =, status =, operation =, time =, fault =, changed = }`. `target` is the
--   path and query as received; `status` is that of the response, or nil if there is none; `operation` is nil for
--   requests that the API does not have; `time` is when the request was received, in seconds since the start; `fault`
--   is the number of the fault that matched it, or nil; `changed` is true if the request changed the state, whatever
--   the response
-- @raise an unknown operation
function Sandbox:requests(operation)
  local server = check(self, "requests")
  if operation ~= nil and not is_operation[operation] then
    error(("leat.sandbox.requests: operation '%s' is unknown (known: %s)"):format(tostring(operation),
      table.concat(core.operations, ", ")), 2)
  end
  local all, some = self.last_requests or server:requests(), {}
  for _, request in ipairs(all) do
    if operation == nil or request.operation == operation then
      some[#some + 1] = request
    end
  end
  return some
end

-- ---- stopping -----------------------------------------------------------------------

--- Waits until the process receives SIGINT or SIGTERM: for programs that only serve.
-- @tparam[opt=false] boolean until_eof true: returns at the end of standard input, too
-- @raise a sandbox that is stopped
function Sandbox:serve(until_eof)
  check(self, "serve", true):serve(until_eof)
end

--- Stops the sandbox at once, even while clients wait for responses. Stopping it again has no effect.
function Sandbox:stop()
  local server = check(self, "stop")
  if not self.stopped then
    self.last_requests, self.last_cards = server:requests(), server:cards()
    self.stopped = true
    server:stop()
  end
end

Sandbox.__close = Sandbox.stop

function Sandbox:__tostring()
  return "leat.sandbox: " .. self.url
end

return sandbox --[[@as leat.sandbox]]
