--- A server in your process that behaves like the API, and fails when you ask it to: for
-- tests, and to try things out.
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
-- Other clients than leat's can use it too: parameters may come as JSON, urlencoded or
-- multipart, or in the query. As with the service, a create without a name gives the card its
-- value as its name. It also finds and creates contacts, as far as cards need them.
--
-- It listens on 127.0.0.1 only, on a port that the system picks, in threads of its own.
-- Times are in seconds. It stops when it is no longer used; on Lua 5.4 it may be a
-- `<close>` variable.
-- @module leat.sandbox

local cjson = require("cjson")
local core = require("leat.sandbox.core")
local options = require("leat.options")

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
local whole = { "number", function(v) return v >= 0 and v <= 1e9 and v % 1 == 0 end, "a whole number, not negative" }
local bytes = { "string" }

local known = {
  api_key = "string",
  client_id = "any", -- a string, or a number: see check_client_id
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
local contact = { uuid = "string", email = "string", more = "table" }
local card = { value = "string", name = "string", contact_uuid = "string", active = "boolean" }
local fault = {
  operation = "string",
  value = "string",
  nth = "count",
  times = { "number", function(v) return v >= 1 and (v == math.huge or v <= 1e9 and v % 1 == 0) end,
    "a whole number greater than 0, or math.huge" },
  kind = "string",
  code = "count",
  status = whole,
  headers = "table",
  body = bytes,
  retry_after = "count",
  delay = { "number", function(v) return duration(v) or v == math.huge end,
    "a number from 0 to 86400 (seconds), or math.huge" },
  close = { "string", function(v) return v == "before" or v == "within" end, 'a string, "before" or "within"' },
  apply = "boolean",
  apply_after = seconds,
  lag = seconds,
  stale = "boolean",
}

-- The list `given[name]`, each entry with what it needs.
local function check_list(given, name, entry, needed)
  local where = "leat.sandbox.start: " .. name
  for i, one in ipairs(given[name] or {}) do
    if needed and type(one) ~= "table" then
      error(("%s %d must be a table: { %s = ... }"):format(where, i, needed), 3)
    end
  end
  local list = options.check_list(where, entry, given[name] or {}, 3)
  for i, one in ipairs(list) do
    if needed and not one[needed] then
      error(("%s %d has no %s"):format(where, i, needed), 3)
    end
  end
  given[name] = list
  return list
end

-- The service's client ids are whole numbers.
local function check_client_id(given)
  local id = given.client_id
  if type(id) == "number" and id % 1 == 0 then
    given.client_id = ("%.0f"):format(id)
  elseif id ~= nil and (type(id) ~= "string" or id:find("\0", 1, true)) then
    error("leat.sandbox.start: client_id must be a string without a NUL byte, or a whole number", 3)
  end
end

-- Stands for an empty table while that is encoded. No string of JSON that the sandbox takes
-- contains a NUL, so nothing else is encoded like it.
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

-- What a contact shows besides becomes JSON. An empty table is a list there, as in responses of
-- the service.
local function encode_more(contacts)
  for i, one in ipairs(contacts) do
    local fine, text = pcall(encode, one.more or {})
    if not fine then
      error(("leat.sandbox.start: contacts %d: more can't be JSON: %s"):format(i, text), 3)
    end
    one.more = one.more and next(one.more) ~= nil and
      encode(mark_empty(one.more)):gsub('"\\u0000empty"', "[]") or nil
  end
end

-- Headers as strings, in a copy.
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

--- What goes wrong, as data: which requests a fault hits, and what becomes of them.
--
-- A fault without `nth` matches the next requests that concern it and that no fault given before
-- it matches: several for one operation form a queue. With `nth` it counts every request that
-- concerns it, from the moment it was given; where several faults would match the same request,
-- the one given first does.
--
-- With `kind`, `code`, `status` or `close` the request fails: nothing is carried out, unless
-- `apply` or `apply_after` says so. Without any of them the request is carried out as ever,
-- and only its response comes late, or looks otherwise.
-- @table fault
-- @field operation only requests of this one: `find`, `create`, `link`, `unlink`, `update`,
--   `delete`, `list` (of one contact), `check` (whose key it is), `token`, `contacts.get`,
--   `contacts.find_one_by`, `contacts.find_or_create`, `contacts.create_anonymous`; else every
--   request
-- @field value only requests about this card
-- @field nth from which of them on; else the fault is queued, see above
-- @field times how many of them: 1; `math.huge` for all that follow
-- @field kind what a client will call it: `not_found`, `inactive`, `already_exists`,
--   `already_linked`, `not_linked`, `contact_not_found`, `invalid_input`, `quota_reached`,
--   `unauthorized`, `forbidden`, `rate_limited` (with `Retry-After: 1` unless told else),
--   `server`, `maintenance`, `redirect`, `protocol` (200, with a page of HTML), `connection`
--   (closed before the response), `timeout` (no response at all)
-- @field code a number of the API: HTTP 400, and the message that goes with it
-- @field status of HTTP, with the body that the API sends with it, or none
-- @field headers besides the usual ones, or instead of them: `{ [name] = value }`
-- @field body instead of the API's: JSON, or HTML if it begins with `<`
-- @field retry_after a `Retry-After` header, in whole seconds
-- @field delay the response comes so much later; `math.huge` for never
-- @field close the connection without a word: `"before"` the response, or `"within"` its body
-- @field apply true: carry it out nevertheless, at once
-- @field apply_after carry it out nevertheless, so much later; until then nobody sees it
-- @field lag a find or list sees the state of so long ago, 60 seconds at most
-- @field stale true: a find or list sees the state when this fault was given; with `operation =
--   "find"` and `times = n`, exactly the next n finds do

--- Starts a sandbox.
-- @tparam[opt] table given the options:
--
--   * `contacts` a list of `{ uuid = "...", email = "...", more = { ... } }`, each uuid once:
--     `more` is what a contact shows besides, such as `{ credit_balance = { balance = 12 } }`;
--     an empty table in it is an empty list
--   * `cards` a list of `{ value = "...", name =, contact_uuid =, active = false }`, each value
--     once
--   * `faults` a list of faults, see `fault`
--   * `api_key` that it accepts: "sandbox"
--   * `client_id`, `client_secret` that its token endpoint accepts: "sandbox-client" (the id may
--     be a number, as the service's are), "sandbox-secret"; and `token_lifetime` of what it
--     gives: 3600
--   * `meta` what answers carry as meta, as JSON: "[]"; or "absent"
--   * `rate_limit` so many requests in each `rate_window` (60), then 429 with Retry-After:
--     no limit
--   * `idempotent_unlink` true: unlinking a card that is not linked succeeds; else it fails with
--     60011
--   * `tls` true: HTTPS, with a certificate of its own (see `ca_file`)
--   * `port` any
-- @treturn Sandbox with `url`, `token_url`, `api_key`, `client_id`, `client_secret` and, if
--   it speaks TLS, `ca_file`; or nil and why
-- @raise what is wrong with the options
function sandbox.start(given)
  given = options.check("leat.sandbox.start", known, given or {}, 2)
  check_client_id(given)
  encode_more(check_list(given, "contacts", contact, "uuid"))
  check_list(given, "cards", card, "value")
  for i, one in ipairs(check_list(given, "faults", fault)) do
    copy_headers("leat.sandbox.start: faults " .. i, one, 2)
  end
  local server, wrong, misuse = core.start(given)
  if misuse then
    error("leat.sandbox.start: " .. wrong, 2)
  elseif not server then
    return nil, wrong
  end
  return setmetatable({
    server = server,
    url = server:url(),
    token_url = server:token_url(),
    ca_file = server:ca_file(),
    api_key = given.api_key or "sandbox",
    client_id = given.client_id or "sandbox-client",
    client_secret = given.client_secret or "sandbox-secret",
  }, Sandbox)
end

-- ---- while it runs ------------------------------------------------------------------

-- What is called with a dot for the colon, or too late, is a mistake of the caller's.
local function check(self, method, needs_server)
  if getmetatable(self) ~= Sandbox then
    error(("leat.sandbox: call it with a colon: sandbox:%s(...)"):format(method), 3)
  elseif needs_server and self.stopped then
    error(("leat.sandbox.%s: the sandbox is stopped"):format(method), 3)
  end
  return self.server
end

--- Adds a fault.
-- @tparam table given see `fault`
-- @treturn number its own, which `requests` tell of those that it hit
-- @raise what is wrong with it
function Sandbox:fault(given)
  local server = check(self, "fault", true)
  given = options.check("leat.sandbox.fault", fault, given, 2)
  copy_headers("leat.sandbox.fault", given, 2)
  local number, wrong = server:fault(given)
  if not number then
    error("leat.sandbox.fault: " .. wrong, 2)
  end
  return number
end

--- From now on nothing goes wrong.
function Sandbox:clear_faults()
  check(self, "clear_faults", true):clear_faults()
end

--- Every token that its token endpoint gave is expired; `api_key` is not.
function Sandbox:expire_tokens()
  check(self, "expire_tokens", true):expire_tokens()
end

--- As it was when it started: its cards, its faults, no tokens, and nothing received.
function Sandbox:reset()
  check(self, "reset", true):reset()
end

--- The card of that value, as the API would show it; also after it was stopped.
-- @tparam string value
-- @treturn table a plain one, without what is null; or nil: there is none
function Sandbox:card(value)
  local server = check(self, "card")
  if type(value) ~= "string" then
    error("leat.sandbox.card: value must be a string, not a " .. type(value), 2)
  elseif not self.stopped then
    return server:card(value)
  end
  for _, one in ipairs(self.held) do
    if one.value == value then
      return one
    end
  end
end

--- All its cards, the oldest first; also after it was stopped.
-- @treturn table a list
function Sandbox:cards()
  local server = check(self, "cards")
  return self.held or server:cards()
end

local is_operation = {}
for _, name in ipairs(core.operations) do
  is_operation[name] = true
end

--- What it received so far, also after it was stopped. Neither token nor secret are shown:
-- the status tells whether they were right.
-- @tparam[opt] string operation only requests of this one
-- @treturn table a list of `{ method =, target =, headers =, body =, status =, operation =,
--   time =, fault =, changed = }`: the target is path and query as they came; the status is
--   what it answers, nil if it never does; `operation` is nil for what the API does not have;
--   `time` is when it came, in seconds since the start; `fault` is the number of the fault
--   that hit it, or nil; `changed` tells whether it changed the state, whatever the response
function Sandbox:requests(operation)
  local server = check(self, "requests")
  if operation ~= nil and not is_operation[operation] then
    error(("leat.sandbox.requests: operation '%s' is unknown (known: %s)"):format(tostring(operation),
      table.concat(core.operations, ", ")), 2)
  end
  local all, some = self.received or server:requests(), {}
  for _, request in ipairs(all) do
    if operation == nil or request.operation == operation then
      some[#some + 1] = request
    end
  end
  return some
end

-- ---- stopping -----------------------------------------------------------------------

--- Waits until the process is asked to end (SIGINT, SIGTERM): for programs that do nothing
-- but serve.
-- @tparam[opt] boolean until_eof true: or until standard input ends
function Sandbox:serve(until_eof)
  check(self, "serve", true):serve(until_eof)
end

--- Stops it, whoever waits for a response. Once more does nothing.
function Sandbox:stop()
  local server = check(self, "stop")
  if not self.stopped then
    self.received, self.held = server:requests(), server:cards()
    self.stopped = true
    server:stop()
  end
end

Sandbox.__close = Sandbox.stop

function Sandbox:__tostring()
  return "leat.sandbox: " .. self.url
end

return sandbox --[[@as leat.sandbox]]
