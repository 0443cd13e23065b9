--- Contact identifiers (loyalty cards) of the Leat loyalty service, formerly Piggy.
--
--    local leat   = require("leat")
--    local client = leat.new { api_key = os.getenv("LEAT_API_KEY") }
--    local cards  = client.contact_identifiers
--
--    local card, err = cards:find("ABCDE12356-90")
--    if not card then print(err.kind, err) end
--
-- Whatever can happen to a call comes back as `nil, err`. What is wrong with the program
-- (an unknown option, a card as a number, ...) is raised, at the line of the caller.
-- @module leat

local cjson = require("cjson")
local core = require("leat.core")
local contact_identifier = require("leat.contact_identifier")
local options = require("leat.options")

local leat = {
  _VERSION = core.version,
  --- Stands for null inside arrays, and where a null is to be sent. The same as `cjson.null`.
  null = cjson.null,
}

--- What went wrong with a call.
--
-- Branch on `kind`, or on `code`: messages are for people. `tostring(err)` gives one line.
-- @table err
-- @field kind `not_found`, `inactive`, `already_exists`, `already_linked`, `not_linked`,
--   `contact_not_found`, `invalid_input`, `unauthorized`, `forbidden`, `quota_reached`,
--   `rate_limited`, `maintenance`, `server`, `api`, `conflict`, `connection`, `tls`,
--   `timeout`, `protocol`, `too_large`, `redirect`, `canceled`, `config`, `local` or
--   `no_memory`
-- @field code the number that the API gave, or nil
-- @field status of HTTP, nil if no answer came
-- @field message what happened, and what to do
-- @field operation such as `contact_identifiers.find`
-- @field fields what validation refused: `{ [field] = { message, ... } }`, or nil
-- @field sent `"no"`: the request never left; `"maybe"`: it may have been received
-- @field outcome_unknown true: the change may or may not have happened; find, then decide
-- @field attempts how many exchanges were begun
-- @field retry_after seconds that the service asked to wait, or nil
local failure = { __tostring = core.error_text }

function failure.__concat(a, b)
  return tostring(a) .. tostring(b)
end

-- The methods of a resource, made from the rows of operations. `self` holds what a call
-- needs: client (the core's), driver, card (the metatable of results).

local function prepare(self, row, ...)
  if self.closed or self.driver.closed then
    error(("leat: %s.%s: the client is closed"):format(row.resource, row.name), 3)
  end
  local call, wrong = core.call(self.client, row.index, ...)
  if not call then
    error(("leat: %s.%s: %s"):format(row.resource, row.name, wrong), 3)
  end
  return call
end

local function finish(self, call)
  self.driver:perform(call)
  return call:result(self.card, failure)
end

local function make_method(class, row)
  class[row.name] = function(self, ...)
    if getmetatable(self) ~= class then
      error(("leat: call it with a colon: %s:%s(...)"):format(row.resource, row.name), 2)
    end
    local call = prepare(self, row, ...)
    return finish(self, call)
  end
end

local rows, resources = {}, {}
for _, row in ipairs(core.operations()) do
  local class = resources[row.resource] or {}
  class.__index = class
  resources[row.resource] = class
  rows[row.resource .. "." .. row.name] = row
  make_method(class, row)
end

local known = {
  api_key = "string",
  access_token = "string",
  base_url = "string",
  user_agent = "string",
  timeout = "seconds",
  connect_timeout = "seconds",
  max_body = "count",
  allow_http = "boolean",
  driver = "table",
}
for name, kind in pairs(options.connection) do
  known[name] = kind
end

local function check_options(given)
  given = options.check("leat.new", known, given, 3)
  if not given.api_key and not given.access_token then
    error("leat.new: api_key is missing (is the variable that it should come from set?)", 3)
  end
  if given.driver and type(given.driver.perform) ~= "function" then
    error("leat.new: driver has no method perform(call)", 3)
  end
  return given
end

-- The driver that carries the calls: the one given, or one of our own.
local function new_driver(given)
  local settings = {}
  for name in pairs(options.connection) do
    if given.driver and given[name] ~= nil then
      return nil, name .. " is the driver's: give it to the driver"
    end
    settings[name] = given[name]
  end
  if given.driver then
    return given.driver
  end
  return require("leat.curl").new(settings)
end

local Client = {}
Client.__index = Client

--- Closes the client, and its connections if they are its own: a driver that was given is
-- its giver's to close. A client that is no longer used is closed by itself.
function Client:close()
  for name in pairs(resources) do
    self[name].closed = true
  end
  if self.own_driver then
    self.own_driver:close()
  end
end

Client.__close = Client.close

function Client:__tostring()
  return "leat.client: " .. self.base_url
end

--- Makes a client. Nothing is sent or connected yet.
--
-- Times are in seconds. Connections are kept, and used again by the calls that follow:
-- make one client and keep it.
-- @tparam table given the options:
--
--   * `api_key` the key from the dashboard, or `access_token`, one of OAuth
--   * `base_url` default `https://api.piggy.eu/api/v3/oauth/clients`. https, except for
--     this very machine
--   * `allow_http` true lets base_url be cleartext http elsewhere too
--   * `timeout` of a whole call, from its first byte on: 30
--   * `connect_timeout` of one connection: 5
--   * `max_connections` 16
--   * `max_body` the largest answer, in bytes: 1 MiB
--   * `ca_file` certificates to trust (PEM), instead of the system's
--   * `proxy` its URL, or "" for none; else as the environment says (`https_proxy`, ...)
--   * `user_agent`
--   * `driver` carries the bytes: a table with a method `perform(call)`; see `leat.curl`.
--     Then `ca_file`, `proxy` and `max_connections` are the driver's to know
-- @treturn client with `contact_identifiers`, `close()`; on 5.4 it may be a `<close>` variable
-- @raise what is wrong with the options
function leat.new(given)
  given = check_options(given)
  local handle, wrong = core.client(given)
  local driver = handle
  if handle then
    driver, wrong = new_driver(given)
  end
  if not driver then
    error("leat.new: " .. wrong, 2)
  end
  local client = { own_driver = not given.driver and driver or nil, base_url = given.base_url or core.base_url }
  for name, class in pairs(resources) do
    client[name] = setmetatable({ client = handle, driver = driver }, class)
  end
  local cards = client.contact_identifiers
  cards.card = contact_identifier.metatable(cards, rows, prepare, finish)
  return setmetatable(client, Client)
end

-- Lua 5.1 and LuaJIT print an uncaught error that is a table as no more than that.
local raise_text = _VERSION == "Lua 5.1"

--- Like `assert`, but keeps the error's fields where Lua can show them: raises `err`
-- itself, or its text on Lua 5.1 and LuaJIT.
-- @param value returned, with what follows, if it is not nil or false
-- @param err raised otherwise
function leat.assert(value, err, ...)
  if value then
    return value, err, ...
  end
  if err == nil then
    err = "assertion failed!"
  end
  error(raise_text and tostring(err) or err, 2)
end

return leat
