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

local require = require -- some hosts lend it only while this loads
local cjson = require("cjson")

local function load_core()
  local fine, core = pcall(require, "leat.core")
  if not fine then
    error(("leat: its C module leat.core is not there, or not for %s: is it built for this Lua, "
      .. "and does package.cpath (LUA_CPATH) lead to it?\n%s"):format(_VERSION, core), 0)
  end
  return core
end

local core = load_core()
local contact_identifier = require("leat.contact_identifier")
local drivers = require("leat.driver")
local encode = require("leat.encode")
local ensure = require("leat.ensure")
local options = require("leat.options")

local leat = {
  --- The library's version.
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
-- @field status of HTTP, nil if no response came
-- @field message what happened, and what to do
-- @field operation such as `contact_identifiers.find`
-- @field fields what validation refused: `{ [field] = { message, ... } }`, or nil
-- @field sent `"no"`: the request never left; `"maybe"`: it may have been received
-- @field outcome_unknown true: the change may or may not have happened; find, then decide
-- @field attempts how many exchanges were begun
-- @field retry_after seconds that the service asked to wait, or nil
-- @field card of a `conflict`: the card that contradicts what was asked, or nil
-- @field where the line of `leat.assert` that raised it: `"file.lua:12:"`, which `tostring`
--   then begins with; nil if none did
local failure = {}

function failure.__tostring(err)
  local text = core.error_text(err)
  return type(err.where) == "string" and err.where .. " " .. text or text
end

function failure.__concat(a, b)
  return tostring(a) .. tostring(b)
end

--- What became of one exchange: what `on_attempt` is called with. No token is in it.
-- @table attempt
-- @field operation of the call: `contact_identifiers.create`
-- @field purpose of the exchange: `"call"`, the operation itself; `"verify"`, a find that tells
--   whether a change happened whose response was lost; `"token"`
-- @field attempt the call's first exchange, its second, ...
-- @field kind of error, as in `err`; nil: it went well
-- @field code the number that the API gave, or nil
-- @field status of HTTP, or nil
-- @field sent `"no"` or `"maybe"`, as in `err`
-- @field reused true: over a connection that was there
-- @field milliseconds that it took, connecting included
-- @field wait_milliseconds until the next one, as far as is known; nil: it was the last
-- @field value of the card, with `show_values`

-- Methods are made from the rows of operations. What they are called on, `self`, is a
-- client or a resource of one, and holds what a call needs: `handle` (the core's client),
-- `driver`, `hooks` (of the user, for the driver to call), `settings` (of a view, or false)
-- and, once there was one, `card` (the metatable; false before).

local rows, resources = {}, {}
local Client = {}
Client.__index = Client
resources.client = Client

local function check_open(self, what, level)
  local closed = self.driver.closed
  while self and not closed do
    closed, self = self.closed, self.parent
  end
  if closed then
    error(("leat: %s: the client is closed: make another, or close it later"):format(what), level + 1)
  end
end

local new_call, result_of = core.call, core.result

-- Raises at the line of whoever called the method that calls this.
local function prepare(self, row, ...)
  check_open(self, row.title, 3)
  local call, wrong = new_call(self.handle, row.index, ...)
  if not call then
    error(("leat: %s: %s"):format(row.title, wrong), 3)
  end
  return call
end

local function apply(settings, call)
  if settings.timeout then call:set_timeout(settings.timeout) end
  if settings.connect_timeout then call:set_connect_timeout(settings.connect_timeout) end
  if settings.max_attempts then call:set_max_attempts(settings.max_attempts) end
end

local finish

local function card_metatable(self)
  self.card = self.card or contact_identifier.metatable(self, rows, prepare, finish)
  return self.card
end

-- Only what takes memory can fail, so that comes first: a card is never half empty.
local function refresh(card, fresh)
  for name, value in pairs(fresh) do
    card[name] = value
  end
  for name in pairs(card) do
    if fresh[name] == nil then
      card[name] = nil
    end
  end
  return card
end

local function result(call, metatable, card)
  local value, err, info = result_of(call, failure, metatable)
  if card and type(value) == "table" then
    value = refresh(card, value)
  end
  return value, err, info
end

local getinfo, running = debug and debug.getinfo, coroutine.running

-- Whether a function on the stack is not the user's: it belongs to C or to this library.
local function is_ours(info, here)
  return info.what == "C" or info.what == "tail" or info.source == here
    or info.source:find(here:gsub("%.lua$", "/"), 1, true) == 1
end

-- Raises at the user's line that led here, which may be behind several functions of the library;
-- without a position if tail calls have removed it from the stack.
local function blame(row, wrong)
  local level, here = 2, getinfo and getinfo(1, "S").source
  local info = getinfo and getinfo(level, "S")
  while info and is_ours(info, here) do
    level = level + 1
    info = getinfo(level, "S")
  end
  error(("leat: %s: %s"):format(row.title, wrong), info and level or 0)
end

local OWN_CLIENT = "the token function uses its own client, which waits for that token: make another client for it, "
  .. "with a key of its own"

local function perform(self, row, call)
  local hooks = self.hooks
  if hooks.token and drivers.is_asking(hooks.token) then
    blame(row, OWN_CLIENT)
  end
  local refused = self.driver:perform(call, hooks)
  if hooks.attempts then hooks.attempts() end
  if refused then
    blame(row, call:may_have_happened() and drivers.note(refused) or refused)
  end
end

-- `go_on` takes the result further.
local function change(call, self, row, card, go_on)
  perform(self, row, call)
  local value, err, info = result(call, self.card, card)
  if go_on then
    return go_on(value, err, info)
  end
  return value, err, info
end

-- In a coroutine, which may be suspended meanwhile, and on Lua 5.1 not within pcall.
local function change_in_coroutine(call, self, row, card, go_on)
  perform(self, row, call)
  local fine, value, err, info = pcall(result, call, self.card, card)
  if not fine then
    drivers.raise(value, call)
  elseif go_on then
    return go_on(value, err, info)
  end
  return value, err, info
end

-- Performs the call; `card` is the one to refresh, `go_on` what is to be done with the result
-- of a change, and gives what is returned. When an interrupt comes, or memory runs
-- out, once a change was sent, the error says so, up to the end of the method: so there it
-- is called by tail calls, and ends in C. A call that is done is some KB that the collector
-- knows nothing of: they are given back at once.
function finish(self, row, call, card, go_on)
  local metatable = self.card or card_metatable(self)
  if self.settings then apply(self.settings, call) end
  if not row.writes then
    perform(self, row, call)
    local value, err, info = result_of(call, failure, metatable, true, self.driver.releases_calls)
    return value, err, info
  end
  local thread, main = running()
  if main or not thread then -- nothing can yield here
    return core.protect(call, drivers.raise, change, call, self, row, card, go_on)
  end
  return core.conclude(call, change_in_coroutine(call, self, row, card, go_on))
end

local function make_method(class, row)
  local title, index = row.title, row.index
  class[row.name] = function(self, ...)
    if getmetatable(self) ~= class then
      error(("leat: call it with a colon: %s:%s(...)"):format(row.resource, row.name), 2)
    end
    if self.closed or self.view or self.driver.closed then
      check_open(self, title, 2)
    end
    local call, wrong = new_call(self.handle, index, ...)
    if not call then
      error(("leat: %s: %s"):format(title, wrong), 2)
    end
    return finish(self, row, call)
  end
end

--- Finds a contact identifier.
-- @function contact_identifiers:find
-- @tparam string value
-- @return the card, nil, info; or nil, err

--- Creates one.
-- @function contact_identifiers:create
-- @tparam string value
-- @tparam[opt] table given `name`, `contact_uuid`
-- @return the card, nil, info; or nil, err

--- Links one to a contact.
-- @function contact_identifiers:link
-- @tparam string value
-- @tparam string contact_uuid
-- @return the card, nil, info; or nil, err

--- Unlinks one from its contact.
-- @function contact_identifiers:unlink
-- @tparam string value
-- @tparam[opt] table options `expect`: the uuid of the contact that the card must belong to, or
--   false, for no contact. The card is found first, each time before the change is sent; if it
--   is another's nothing is changed, and that is a `conflict`
-- @return the card, nil, info; or nil, err

--- Changes its `name`, or whether it is `active`.
-- @function contact_identifiers:update
-- @tparam string value
-- @tparam table given `name`, `active`; and `expect`, as for `unlink`
-- @return the card, nil, info; or nil, err

--- Deletes one.
-- @function contact_identifiers:delete
-- @tparam string value
-- @tparam[opt] table options `expect`, as for `unlink`
-- @return true, nil, info; or nil, err

--- All of one contact; there is no list of all that there are.
-- @function contact_identifiers:list
-- @tparam table given `contact_uuid`
-- @return a list of cards, nil, info; or nil, err

for _, row in ipairs(core.operations()) do
  local class = resources[row.resource] or {}
  class.__index = class
  resources[row.resource] = class
  row.title = row.resource .. "." .. row.name
  rows[row.title] = row
  make_method(class, row)
end

--- Makes a card of a table that holds one's fields, such as one out of a cache, and returns
-- it: the very table, with the methods of a card.
-- @function contact_identifiers:wrap
-- @tparam table fields with `value`, a string, at least
function resources.contact_identifiers:wrap(fields)
  if getmetatable(self) ~= resources.contact_identifiers then
    error("leat: call it with a colon: contact_identifiers:wrap(...)", 2)
  elseif type(fields) ~= "table" or type(fields.value) ~= "string" then
    error("leat: contact_identifiers.wrap: give a table with a value, a string", 2)
  end
  local metatable = card_metatable(self)
  for name in pairs(metatable.__index) do
    fields[name] = nil -- a method wins over a field of its name
  end
  return setmetatable(fields, metatable)
end

-- Its first step is a create, whose mistakes are its own.
local first_of_ensure = setmetatable({ title = "contact_identifiers.ensure" },
  { __index = rows["contact_identifiers.create"] })

--- Creates a card, or adopts one that exists: links it if it is linked to nobody, and names it
-- if it has no name of its own (the service gives a card its value as its name). The result is
-- the same however often it is called, and success is only what was asked for: a card with
-- another contact or name is a `conflict`, and `err.card` is that card.
-- @function contact_identifiers:ensure
-- @tparam string value
-- @tparam[opt] table options `name`, `contact_uuid`
-- @return the card, nil, info, whose `outcome` is `created`; `existed` if the card was there; or
--   `recovered` if the response that would have told was lost. Or nil, err
function resources.contact_identifiers:ensure(value, given)
  if getmetatable(self) ~= resources.contact_identifiers then
    error("leat: call it with a colon: contact_identifiers:ensure(...)", 2)
  end
  return finish(self, first_of_ensure, prepare(self, first_of_ensure, value, given), nil, function(card, err, info)
    local wanted = { value = value }
    for name, wish in pairs(given or {}) do
      wanted[name] = wish
    end
    card, err, info = ensure(self, wanted, function() return self:create(value, given) end, card, err, info)
    return card, err and setmetatable(err, failure), info
  end)
end

-- There libcurl stays out of the worker: it may bring a second OpenSSL, of another version.
local loaded = package.loaded or {} -- games hide it
local in_nginx = loaded.ngx and loaded.ngx.socket ~= nil

local known = {
  api_key = "string",
  access_token = "string",
  client_id = "string",
  client_secret = "string",
  token_url = "string",
  token = "function",
  base_url = "string",
  user_agent = "string",
  headers = "table",
  timeout = "time_limit",
  connect_timeout = "time_limit",
  queue_timeout = "seconds",
  max_attempts = "attempts",
  retry_budget = "limit",
  retry_base = "seconds",
  retry_cap = "seconds",
  rate = "rate",
  shared = "string",
  account = "string",
  on_attempt = "function",
  show_values = "boolean",
  max_body = "count",
  allow_http = "boolean",
  blocking = "boolean",
  driver = "table",
  transport = "function",
}
for name, kind in pairs(options.connection) do
  known[name] = kind
end

local function check_options(given)
  if given == leat then
    error("leat.new: call it with a dot: leat.new { ... }", 3)
  end
  given = options.check("leat.new", known, given, 3)
  if not (given.api_key or given.access_token or given.client_id or given.client_secret or given.token) then
    error("leat.new: api_key is missing (is the variable that it should come from set?)", 3)
  elseif given.driver and given.transport then
    error("leat.new: driver and transport are both given: one of them carries the calls", 3)
  elseif given.driver and type(given.driver.perform) ~= "function" then
    error("leat.new: driver has no method perform(call)", 3)
  end
  if given.shared and (not in_nginx or given.driver or given.transport) then
    error("leat.new: shared is for the workers of OpenResty or nginx, and the connections made there", 3)
  elseif given.account and not given.shared then
    error("leat.new: account is for shared: it names whose token it is", 3)
  end
  if given.headers then
    local list, wrong = encode.pairs(given.headers, "headers")
    if not list then
      error("leat.new: " .. wrong, 3)
    end
    given.headers = list
  end
  if in_nginx then -- somebody waits for a page
    given.queue_timeout = given.queue_timeout or given.timeout or 30
  end
  return given
end

-- The driver that carries the calls: the one given, or one of our own.
local function new_driver(given)
  local other = given.driver and "driver" or given.transport and "transport"
  local settings = {}
  for name in pairs(options.connection) do
    if other and given[name] ~= nil then
      return nil, ("%s is for connections of our own, and %s is given"):format(name, other)
    end
    settings[name] = given[name]
  end
  if given.driver then
    return given.driver
  elseif given.transport then
    return require("leat.transport").new(given.transport, in_nginx and require("leat.nginx").clock)
  end
  return require(in_nginx and "leat.nginx" or "leat.curl").new(settings)
end

-- What a driver must know of a client: see leat/driver.lua.
local function new_hooks(handle, given, store)
  local hooks = { token = given.token, blocking = given.blocking, store = store,
    token_timeout = (given.timeout or 30) + (given.queue_timeout or 0) }
  if given.on_attempt then
    function hooks.attempts()
      local attempt = handle:attempt()
      while attempt do
        given.on_attempt(attempt)
        attempt = handle:attempt()
      end
    end
  end
  return hooks
end

-- A client, or a view of one: the same but for its settings.
local function new_client(handle, driver, base_url, hooks, settings, parent)
  local view = parent and true
  local client = { handle = handle, driver = driver, base_url = base_url, hooks = hooks, settings = settings,
    parent = parent or false, view = view, closed = false, card = false, own_driver = false }
  for name, class in pairs(resources) do
    if class ~= Client then
      client[name] = setmetatable({ handle = handle, driver = driver, hooks = hooks, settings = settings,
        parent = client, view = view, closed = false, card = false }, class)
    end
  end
  return setmetatable(client, Client)
end

-- Raises at the line of whoever called the method that calls this.
local function check_self(self, name)
  if getmetatable(self) ~= Client then
    error(("leat: call it with a colon: client:%s(...)"):format(name), 3)
  end
end

--- Closes the client, and its connections if they are its own: a driver that was given is
-- its giver's to close. A client that is no longer used is closed by itself.
function Client:close()
  check_self(self, "close")
  self.closed = true
  for name, class in pairs(resources) do
    if class ~= Client then
      self[name].closed = true
    end
  end
  if self.own_driver then
    self.own_driver:close()
  end
end

Client.__close = Client.close

--- What the service said last of its rate, in the response to any call, and whether it asked
-- to wait.
-- @treturn table `{ limit = 5000, remaining = 4711 }`; while the client is paused also `paused`,
--   the seconds that are left, and `kind`, `rate_limited` or `maintenance`; nil if the service
--   said nothing yet
function Client:rate_limit()
  check_self(self, "rate_limit")
  local rate = self.handle:rate_limit()
  local clock = self.driver.clock -- of a transport, which may have its own
  local pause = self.handle:pause(clock and clock.now() or core.now())
  if pause then
    rate = rate or {}
    rate.paused, rate.kind = pause.seconds, pause.kind
  end
  return rate
end

function Client:__tostring()
  return "leat.client: " .. self.base_url
end

--- Whose key it is.
-- @function Client:check
-- @treturn table with `company`, `id`, `uuid`; or nil, err

local any_request = { title = "client.request", writes = true } -- who knows

--- Asks any other endpoint of the API.
--
--    client:request("GET", "/contacts/find", { query = { email = "a@b.c" } })
--
-- @tparam string method
-- @tparam string path behind that of `base_url`
-- @tparam[opt] table given `query` and `headers`, by name; `body`, a table, or a string of
--   JSON. Of numbers beyond 14 digits write strings
-- @return the response's `data`, or all of it if it has none, or true if it is empty; then
--   nil, info; or nil, err
function Client:request(method, path, given)
  local function raise(wrong)
    error("leat: client.request: " .. wrong, 3)
  end
  check_self(self, "request")
  if type(method) ~= "string" or type(path) ~= "string" then
    raise("method and path must be strings")
  end
  check_open(self, "client.request", 2)
  given = options.check("leat: client.request", { query = "table", headers = "table", body = "any" }, given or {}, 2)
  local query, wrong = encode.pairs(given.query or {}, "query")
  local headers, body
  if query then
    headers, wrong = encode.pairs(given.headers or {}, "headers")
  end
  if headers and given.body ~= nil then
    body, wrong = encode.body(given.body)
  end
  local call
  if not wrong then
    call, wrong = core.request(self.handle, method, path, query, headers, body)
  end
  if not call then
    raise(wrong)
  end
  return finish(self, any_request, call)
end

-- ---- what is not there ------------------------------------------------------------------

local meant = { get = "find", fetch = "find", read = "find", add = "create", new = "create", insert = "create",
  remove = "delete", destroy = "delete", set = "update", rename = "update", upsert = "ensure", all = "list" }

-- Raises at the line that asks for an operation which a client, or a resource of one, lacks.
local function lacks(what, class, name)
  local there = {}
  for other in pairs(class == Client and resources or {}) do
    there[other] = other ~= "client" or nil
  end
  for other in pairs(class) do
    there[other] = not other:find("^__") or nil
  end
  local cards = resources.contact_identifiers
  local other = there[meant[name]] and meant[name] or options.nearest(there, name)
  local hint = other and (": did you mean '%s'?"):format(other) or ":"
  if class == Client and rawget(cards, meant[name] or name) then
    hint = (": did you mean client.contact_identifiers:%s(...)?"):format(meant[name] or name)
  end
  error(("leat: %s has no '%s'%s There are: %s"):format(what, name, hint, options.list(there)), 3)
end

for what, class in pairs(resources) do
  setmetatable(class, { __index = function(_, name)
    return type(name) == "string" and lacks(what, class, name) or nil
  end })
end

local of_a_call = { timeout = "time_limit", connect_timeout = "time_limit", max_attempts = "attempts" }

--- A view: the same connections, token and limits, other settings.
--
--    client:with { timeout = 2 }.contact_identifiers:find(value)
--
-- @tparam table given `timeout`, `connect_timeout`, `max_attempts`
-- @treturn client
function Client:with(given)
  check_self(self, "with")
  local settings = options.check("leat: client.with", of_a_call, given, 2)
  for name, value in pairs(self.settings or {}) do
    if settings[name] == nil then
      settings[name] = value
    end
  end
  return new_client(self.handle, self.driver, self.base_url, self.hooks, settings, self)
end

--- Makes a client. Nothing is sent or connected yet.
--
-- Times are in seconds. Connections are kept, and used again by the calls that follow:
-- make one client and keep it.
-- @tparam table given the options:
--
--   * `api_key` the key from the dashboard; or `access_token`, one of OAuth; or `client_id`
--     and `client_secret`, for which tokens are fetched and renewed (at `token_url`, or else
--     at `/oauth/token` on the origin of `base_url`); or `token`, a function that returns a
--     token and, if it knows, for how many seconds it is good, or nil and why not: it is
--     asked when one is needed, and when one was refused. It must not use this client, nor
--     yield outside of tasks (over a `transport` it may: see there)
--   * `base_url` default `https://api.piggy.eu/api/v3/oauth/clients`. https, except for
--     this very machine
--   * `allow_http` true lets base_url be cleartext http elsewhere too
--   * `timeout` of a whole call, from its first byte on: 30
--   * `connect_timeout` of one connection: 5
--   * `max_attempts` how often an operation is sent at most: 3. A change whose response was
--     lost is looked up before it is sent again; with 1 it is told as `outcome_unknown`, and
--     the call waits for no pause: it fails at once. With 0 it is sent until `timeout`, which
--     pauses after the first attempt count towards then, as far as `retry_budget` allows
--   * `retry_budget` of all calls of the client together: 100. A retry takes 5 of it, after a
--     timeout 10; a call that succeeds gives back what its retries took, or 1. When it is spent
--     nothing is retried, and errors say so: a service that is down is not asked three times as
--     often. Waiting out a pause takes nothing. `false`: there is no budget
--   * `retry_base`, `retry_cap` the wait before another try is random, up to 0.5, which
--     doubles with each try up to 20; after "slow down" it is twice as long
--   * `rate` calls a second at most, of all calls of the client
--   * `shared` in nginx: the name of a `lua_shared_dict`, by which all workers have one token,
--     `rate` holds for all of them together, and all of them wait when the service asks one to
--   * `account` with `shared` and `token`: a name for whose tokens these are
--   * `on_attempt` a function that is called with a table for each exchange that ended, to log
--     or to count: see `attempt`. It must not make calls; its errors are raised by the call
--   * `show_values` true: it is told the cards' values too
--   * `queue_timeout` in line for the rate, or while the service asks to wait: for ever; in
--     nginx as long as `timeout`
--   * `max_connections` 16
--   * `max_body` the largest answer, in bytes: 1 MiB
--   * `ca_file` certificates to trust (PEM), instead of the system's
--   * `proxy` its URL, or "" for none; else as the environment says (`https_proxy`, ...). In
--     nginx there is none, and its configuration takes the place of the two before: see `leat.nginx`
--   * `user_agent` default `leat/VERSION`
--   * `headers` sent with every request, by name
--   * `blocking` false: a call that would block, outside of any task of `leat.tasks`, is a
--     mistake, and raised
--   * `driver` carries the bytes: a table with a method `perform(call, hooks)`; see `leat.driver`.
--     Then `ca_file`, `proxy` and `max_connections` are the driver's to know
--   * `transport` a function that carries requests instead; see `leat.transport`
-- @treturn client with `contact_identifiers`, `check()`, `request()`, `with()`, `close()`;
--   on 5.4 it may be a `<close>` variable
-- @raise what is wrong with the options
function leat.new(given)
  given = check_options(given)
  local handle, wrong = core.client(given)
  local driver = handle
  if handle then
    driver, wrong = new_driver(given)
  end
  local store
  if driver and given.shared then
    store, wrong = require("leat.nginx_shared").new(given)
    driver = store and driver
  end
  if not driver then
    error("leat.new: " .. wrong, 2)
  end
  local hooks = new_hooks(handle, given, store)
  local client = new_client(handle, driver, given.base_url or core.base_url, hooks, false, false)
  if driver ~= given.driver and driver.close then
    client.own_driver = driver
  end
  return client
end

-- Lua 5.1 and LuaJIT print an uncaught error that is a table as no more than that.
local raise_text = _VERSION == "Lua 5.1"

-- "file.lua:12:", of whoever called the function that calls this.
local function caller()
  local _, position = pcall(error, "", 4)
  return position:match("^(.+:)%s*$")
end

--- Like `assert`, but keeps the error's fields where Lua can show them: raises `err`
-- itself, with the line that raised it in `where`; or its text on Lua 5.1 and LuaJIT.
-- @param value returned, with what follows, if it is not nil or false
-- @param err raised otherwise
function leat.assert(value, err, ...)
  if value then
    return value, err, ...
  end
  if err == nil then
    err = "assertion failed!"
  elseif not raise_text and getmetatable(err) == failure then
    err.where = err.where or caller()
  end
  error(raise_text and tostring(err) or err, 2)
end

return leat --[[@as leat]]
