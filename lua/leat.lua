--- Contact identifiers (loyalty cards) of the Leat loyalty service, formerly Piggy.
--
--    local leat   = require("leat")
--    local client = leat.from_env() -- with the key in the variable LEAT_API_KEY
--    local cards  = client.contact_identifiers
--
--    local card, err = cards:find("ABCDE12356-90")
--    if not card then print(err.kind, err) end
--
-- A call that fails returns `nil, err`. A mistake in the program (an unknown option, a card's value
-- given as a number, ...) raises an error at the caller's line.
-- @module leat

local require = require -- some hosts provide it only while the module loads
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
local caches = require("leat.cache")
local encode = require("leat.encode")
local environment = require("leat.environment")
local resource = require("leat.resource")
local schema = require("leat.options")
local check_open, finish, failure = resource.check_open, resource.finish, resource.failure
local Client = resource.classes.client

local leat = {
  --- The library's version, a string.
  _VERSION = core.version,
  --- Represents JSON null inside arrays, and in bodies that are sent. The same value as `cjson.null`.
  null = cjson.null,
}

--- The error that a call returns.
--
-- Branch on `kind` or `code`; messages are for people and may change. `tostring(err)` returns one line.
-- @table err
-- @tfield string kind `not_found`, `inactive`, `already_exists`, `already_linked`, `not_linked`,
--   `contact_not_found`, `invalid_input`, `unauthorized`, `forbidden`, `quota_reached`,
--   `rate_limited`, `maintenance`, `server`, `api`, `conflict`, `connection`, `tls`,
--   `timeout`, `protocol`, `too_large`, `redirect`, `canceled`, `config`, `local` or
--   `no_memory`
-- @tfield integer code the API's error code, or nil
-- @tfield integer status the HTTP status, or nil if the last request had no response
-- @tfield string message what happened, and what to do about it
-- @tfield string operation the name of the operation, such as `contact_identifiers.find`
-- @tfield table fields the fields that validation refused, `{ [field] = { message, ... } }`, or nil
-- @tfield string sent `"no"`: the request was never sent; `"maybe"`: the service may have received it
-- @tfield boolean outcome_unknown true: the change may or may not have been applied; find the card, then decide
-- @tfield integer attempts the number of HTTP requests that were begun
-- @tfield number retry_after after how many seconds to try again, as the service or the client's pause says, or nil
-- @tfield card card for a `conflict`: the card that contradicts the request, or nil
-- @tfield string where the line of the `leat.assert` that raised this error, such as `"file.lua:12:"`; `tostring`
--   begins with it. nil if `leat.assert` did not raise it

--- The result of one exchange (one HTTP request), as passed to `on_attempt`. It contains no token.
-- @table attempt
-- @tfield string operation the call's operation, such as `contact_identifiers.create`
-- @tfield string purpose `"call"`: the operation itself; `"verify"`: a find that checks whether a change took
--   effect after its response was lost; `"token"`: a token request
-- @tfield integer attempt the number of this exchange within its call, counted from 1
-- @tfield string kind the kind of error, as in `err`; nil if the exchange succeeded
-- @tfield integer code the API's error code, or nil
-- @tfield integer status the HTTP status, or nil
-- @tfield string sent `"no"` or `"maybe"`, as in `err`
-- @tfield boolean reused true if an existing connection was reused
-- @tfield number milliseconds the duration of the exchange, including connecting
-- @tfield number wait_milliseconds the wait before the next exchange, as far as it is known; nil if this was the last
-- @tfield string value the card's value; only with `show_values`

-- libcurl is not loaded in a worker of nginx, because it may load a second OpenSSL of another version.
local loaded = package.loaded or {} -- some games hide it
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
  headers = "any",
  timeout = "time_limit",
  connect_timeout = "time_limit",
  queue_timeout = "seconds",
  max_attempts = "attempts",
  retry_budget = "limit",
  retry_base = "seconds",
  retry_cap = "seconds",
  rate = "rate",
  shared = "string",
  fleet = "table",
  account = "string",
  limiter = "table",
  cache = "any", -- true or a table
  on_attempt = "function",
  show_values = "boolean",
  json = "boolean",
  max_body = "count",
  allow_http = "boolean",
  blocking = "boolean",
  driver = "table",
  transport = "function",
}
for name, kind in pairs(schema.connection) do
  known[name] = kind
end

local known_to_from_env = { api_key_file = "string" }
for name, kind in pairs(known) do
  known_to_from_env[name] = kind
end

-- Checks the names and types of the options of a function, `where`, and returns a copy of them. (A tail call would
-- remove a level from the stack.)
local function check_names(where, names, options, level)
  if options == leat then
    error(("%s: call it with a dot: %s { ... }"):format(where, where), level + 1)
  end
  local copy = schema.check(where, names, options, level + 1)
  return copy
end

-- Returns what is wrong with the dictionary of the option `cache`, or nil.
local function wrong_dict(options)
  local dict = options.cache.dict
  if dict and not in_nginx then
    return "cache: dict is for the workers of OpenResty or nginx"
  elseif dict and not options.shared then
    return "cache: dict needs shared, where the workers note which cards have changed"
  elseif dict and dict == options.shared then
    return "cache: dict and shared must be two dictionaries: cards would push out the token and the rate"
  end
end

-- Returns the headers of a table as a list, or the function for them; or nil and a message.
local function read_headers(headers)
  local kind = type(headers)
  if kind == "function" then
    return headers
  elseif kind ~= "table" then
    return nil, ("headers must be a table or a function, not a %s"):format(kind)
  end
  return encode.pairs(headers, "headers")
end

-- Returns what is wrong with the options that say what processes share, or nil.
local function wrong_sharing(options)
  if options.shared and (not in_nginx or options.driver or options.transport) then
    return "shared is for the workers of OpenResty or nginx, and the connections made there"
  elseif options.account and not options.shared and not options.limiter then
    return "account is for shared and limiter: it names whose token or rate it is"
  elseif options.limiter and in_nginx then -- libpq may load a second OpenSSL
    return "limiter is not for nginx: its workers share a rate with the option shared, and machines with fleet"
  elseif options.limiter and type(options.limiter.account_for) ~= "function" then
    return "limiter has no method account_for: it comes from leat.limiter or leat.postgres"
  end
end

-- Returns what is wrong with the credential, or with what carries the calls, or nil.
local function wrong_basics(options)
  if not (options.api_key or options.access_token or options.client_id or options.client_secret or options.token) then
    return "api_key is missing (is the variable that it should come from set?)"
  elseif options.driver and options.transport then
    return "driver and transport are both given: one of them carries the calls"
  elseif options.driver and type(options.driver.perform) ~= "function" then
    return "driver has no method perform(call)"
  end
end

-- Errors are raised at the line that called the function that called `make`.
local function check_options(where, options)
  options = check_names(where, known, options, 4)
  local fleets = options.fleet and require("leat.nginx_fleet")
  if fleets then
    options.fleet = schema.check(where .. ": fleet", fleets.known, options.fleet, 4)
  end
  if options.cache then
    options.cache = caches.check(where .. ": cache", options.cache, 4)
  end
  local wrong = wrong_basics(options) or fleets and fleets.wrong(options) or wrong_sharing(options)
    or options.cache and wrong_dict(options)
  if not wrong and options.headers ~= nil then
    options.headers, wrong = read_headers(options.headers)
  end
  if wrong then
    error(("%s: %s"):format(where, wrong), 4)
  end
  if in_nginx then -- a client of nginx is waiting for the page
    options.queue_timeout = options.queue_timeout or options.timeout or 30
  end
  return options
end

-- Returns the driver that performs the calls: the one in the options, or a new one.
local function new_driver(options)
  local other = options.driver and "driver" or options.transport and "transport"
  local settings = {}
  for name in pairs(schema.connection) do
    if other and options[name] ~= nil then
      return nil, ("%s is for connections of our own, and %s is given"):format(name, other)
    end
    settings[name] = options[name]
  end
  if options.driver then
    return options.driver
  elseif options.transport then
    return require("leat.transport").new(options.transport, in_nginx and require("leat.nginx").clock)
  end
  return require(in_nginx and "leat.nginx" or "leat.curl").new(settings)
end

-- Returns what a driver needs to know about a client, see leat.driver; and the option `json`.
local function new_hooks(handle, driver, options, store, account)
  local hooks = { token = options.token, blocking = options.blocking, json = options.json, store = store,
    account = account, counted = store and store.counts or handle, cache = false, timeout = options.timeout or 30,
    queue_timeout = options.queue_timeout or false }
  local on_attempt = options.on_attempt
  if on_attempt or account then
    function hooks.attempts()
      if account then
        account:publish(handle, driver)
      end
      local attempt = on_attempt and handle:attempt()
      while attempt do
        on_attempt(attempt)
        attempt = handle:attempt()
      end
    end
  end
  return hooks
end

-- Returns what processes share, for the options `shared` and `limiter`: a store or an account; or nil and a message.
local function open_shared(options, handle)
  if options.shared then
    return require("leat.nginx_shared").new(options, handle)
  end
  require("leat.scheduler") -- performs the limiter's I/O
  return options.limiter:account_for(options)
end

-- Returns the cache for the option `cache`; or nil and a message.
local function open_cache(options, driver)
  local settings, clock = options.cache, driver.clock
  settings.now = clock and function() return (clock.now()) end or core.now
  settings.json = options.json
  -- A refresh takes only slots that are free, so that it delays no find that somebody waits for; but to ask a store for
  -- one takes time.
  settings.refresh_wait = (options.limiter or options.fleet) and 0.5 or 0.001
  settings.longest = options.queue_timeout and (options.timeout or 30) + options.queue_timeout
  if settings.dict then
    return require("leat.nginx_cache").new(options, resource.access)
  end
  return caches.new(settings, require("leat.cache_memory").new(settings.most, settings.now), resource.access)
end

-- Makes a client, or a view of `parent`: the same client with other settings.
local function new_client(handle, driver, base_url, hooks, settings, parent)
  local view = parent and true
  local client = { handle = handle, driver = driver, base_url = base_url, hooks = hooks, settings = settings,
    parent = parent or false, view = view, closed = false, card = false, own_driver = false }
  for name, class in pairs(resource.classes) do
    if class ~= Client then
      client[name] = setmetatable({ handle = handle, driver = driver, hooks = hooks, settings = settings,
        parent = client, view = view, closed = false, card = false }, class)
    end
  end
  return setmetatable(client, Client)
end

-- Errors are raised at the line that called the method.
local function check_self(self, name)
  if getmetatable(self) ~= Client then
    error(("leat: call it with a colon: client:%s(...)"):format(name), 3)
  end
end

--- Closes the client and its connections. A `driver` that was passed in the options stays open; close it yourself. The
-- garbage collector closes clients that are no longer used.
function Client:close()
  check_self(self, "close")
  self.closed = true
  for name, class in pairs(resource.classes) do
    if class ~= Client then
      self[name].closed = true
    end
  end
  if self.own_driver then
    self.own_driver:close()
  end
end

Client.__close = Client.close

-- Returns the time, in milliseconds, on the clock of the client's calls.
local function now_of(client)
  local clock = client.driver.clock -- a transport may have its own
  return clock and (clock.now()) or core.now()
end

--- Returns the rate limit that the service last reported in any response, and the current pause. In nginx with
-- `shared`, both are those of all workers.
-- @treturn table `limit` and `remaining`, in requests, such as `{ limit = 5000, remaining = 4711 }`; while the client
--   is paused also `paused`, the number of seconds left, and `kind`, `rate_limited` or `maintenance`. nil if the
--   service has reported nothing yet
function Client:rate_limit()
  check_self(self, "rate_limit")
  local counted = self.hooks.counted
  local rate, pause = counted:rate_limit(), counted:pause(now_of(self))
  if pause then
    rate = rate or {}
    rate.paused, rate.kind = pause.seconds, pause.kind
  end
  return rate
end

--- Returns how often finds were served from the cache, and how often not. In nginx with `dict` all workers are counted.
-- @treturn table numbers of finds by name: `hits` and `negative_hits` had a fresh result; `stale` got a card that was
--   no longer fresh; `rescued` got one after the service did not respond; `misses` asked the service, and
--   `coalesced` of them shared the request of another. `refused_refreshes`: refreshes that found no free slot of the
--   rate; `outrun`: results that were not kept because the card was changed meanwhile; `not_stored`: those that were
--   too large or had no room. nil without a cache
function Client:cache_stats()
  check_self(self, "cache_stats")
  return self.hooks.cache and self.hooks.cache:stats() or nil
end

local RECENT = 60 -- seconds for which a failure counts

--- Whether a client works, as far as it is known from its calls; see `client:health`.
-- @table health
-- @tfield boolean ok false in two cases: the last call failed, and that was less than 60 seconds ago; or the service
--   asked for a pause of more than a minute, and until it is over all calls fail at once. Otherwise true, also before
--   the first call, and after a minute without calls: then nothing is known, and only a call can find out
-- @tfield number last_success how many seconds ago a call last worked, or nil
-- @tfield number last_failure how many seconds ago a call last failed, or nil
-- @tfield string kind the kind of that failure, as in `err`, or nil
-- @tfield number paused how many seconds are left of the current pause, or nil

--- Returns whether the client works, as far as it is known from its calls. Nothing is sent. In nginx with `shared`, the
-- calls of all workers count; those of other workers within about a second.
--
-- A call *works* if the service responds as it does when it works. So the kinds `not_found`, `inactive`,
-- `already_exists`, `already_linked`, `not_linked`, `contact_not_found`, `invalid_input`, `conflict` and `api` are no
-- failures here. All others are, also those of calls that were not sent because of a pause or of `queue_timeout`. A
-- call that was canceled does not count, and neither does a find from the cache.
-- @treturn table see `health`
function Client:health()
  check_self(self, "health")
  local counted, ms = self.hooks.counted, now_of(self)
  local worked, failed, kind = counted:ends()
  local pause = counted:pause(ms)
  local fails = failed and failed > (worked or -math.huge) and ms - failed < RECENT * 1000
  return { ok = not fails and not (pause and pause.too_long), kind = kind, paused = pause and pause.seconds,
    last_success = worked and math.max(0, ms - worked) / 1000,
    last_failure = failed and math.max(0, ms - failed) / 1000 }
end

function Client:__tostring()
  return "leat.client: " .. self.base_url
end

--- Returns the account that the key belongs to.
-- @function Client:check
-- @treturn table `company`, `id` and `uuid`; then nil, info. Or nil, err

local any_request = { title = "client.request", writes = true } -- any request may change something

--- Sends a request to any other endpoint of the API.
--
--    client:request("GET", "/contacts/find-one-by", { query = { email = "a@b.c" } })
--
-- @tparam string method the HTTP method
-- @tparam string path appended to the path of `base_url`
-- @tparam[opt] table options the options:
-- @tparam[opt=none] table options.query parameters of the query, by name. Numbers of more than 14 digits must be
--   strings
-- @tparam[opt=none] table options.headers further headers, by name
-- @tparam[opt=none] table|string options.body a table that is sent as JSON, or a string of JSON
-- @return the response's `data`, or the whole response if it has no `data`, or true if it is empty;
--   then nil, info. Or nil, err
-- @raise mistakes in the arguments, or a closed client
function Client:request(method, path, options)
  local function raise(wrong)
    error("leat: client.request: " .. wrong, 3)
  end
  check_self(self, "request")
  if type(method) ~= "string" or type(path) ~= "string" then
    raise("method and path must be strings")
  end
  check_open(self, "client.request", 2)
  options = schema.check("leat: client.request", { query = "table", headers = "table", body = "any" }, options or {}, 2)
  local query, wrong = encode.pairs(options.query or {}, "query")
  local headers, body
  if query then
    headers, wrong = encode.pairs(options.headers or {}, "headers")
  end
  if headers and options.body ~= nil then
    body, wrong = encode.body(options.body)
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

-- ---- unknown names ----------------------------------------------------------------------

local meant = { get = "find", fetch = "find", read = "find", add = "create", new = "create", insert = "create",
  remove = "delete", destroy = "delete", set = "update", rename = "update", upsert = "ensure", all = "list" }

-- Raises an error at the line that uses an operation that the client or resource does not have.
local function lacks(what, class, name)
  local there = {}
  for other in pairs(class == Client and resource.classes or {}) do
    there[other] = other ~= "client" or nil
  end
  for other in pairs(class) do
    there[other] = not other:find("^__") or nil
  end
  local cards = resource.classes.contact_identifiers
  local other = there[meant[name]] and meant[name] or schema.nearest(there, name)
  local hint = other and (": did you mean '%s'?"):format(other) or ":"
  if class == Client and rawget(cards, meant[name] or name) then
    hint = (": did you mean client.contact_identifiers:%s(...)?"):format(meant[name] or name)
  end
  error(("leat: %s has no '%s'%s There are: %s"):format(what, name, hint, schema.list(there)), 3)
end

for what, class in pairs(resource.classes) do
  setmetatable(class, { __index = function(_, name)
    return type(name) == "string" and lacks(what, class, name) or nil
  end })
end

local of_a_call = { timeout = "time_limit", connect_timeout = "time_limit", queue_timeout = "seconds",
  max_attempts = "attempts", maybe_applied = "boolean" }

--- Returns a view of the client: it shares its connections, token and limits, but has other settings.
--
--    client:with { timeout = 2 }.contact_identifiers:find(value)
--
-- With `maybe_applied` every change begins as if the response to an earlier attempt had been lost; for example, because
-- the process that sent it died. Before create, link, unlink or delete is sent, the card is found: if it is as
-- requested, `info.outcome` is `recovered`; if the change was not applied, it is sent; otherwise the error is a
-- `conflict`, or that of the find. Pass `expect` to unlink and delete: the contact that the card had before the earlier
-- attempt. Then they do not change the card of another contact. `ensure` reports `recovered` instead of `existed`.
-- Updates and `client:request` are sent without verifying. Errors have `outcome_unknown`, unless they prove that the
-- change was never applied. The setting also applies to the methods of cards that the view returns, so use the view
-- only to repeat the change.
--
-- @tparam table options the settings to change:
-- @tparam[opt=unchanged,unit=seconds] number options.timeout as for `leat.new`
-- @tparam[opt=unchanged,unit=seconds] number options.connect_timeout as for `leat.new`
-- @tparam[opt=unchanged,unit=seconds] number options.queue_timeout as for `leat.new`
-- @tparam[opt=unchanged,unit=attempts] integer options.max_attempts as for `leat.new`
-- @tparam[opt=unchanged] boolean options.maybe_applied true: every change may have been applied before, see above
-- @treturn client
-- @raise mistakes in the options
function Client:with(options)
  check_self(self, "with")
  local settings = schema.check("leat: client.with", of_a_call, options, 2)
  for name, value in pairs(self.settings or {}) do
    if settings[name] == nil then
      settings[name] = value
    end
  end
  return new_client(self.handle, self.driver, self.base_url, self.hooks, settings, self)
end

-- Makes a client for the function `where`. Errors are raised at the line that called that function.
local function make(where, options)
  options = check_options(where, options)
  local handle, wrong = core.client(options)
  local driver = handle
  if handle then
    driver, wrong = new_driver(options)
  end
  local shared
  if driver and (options.shared or options.limiter) then
    shared, wrong = open_shared(options, handle)
    driver = shared and driver
  end
  if not driver then
    error(("%s: %s"):format(where, wrong), 3)
  end
  local hooks = new_hooks(handle, driver, options, options.shared and shared, options.limiter and shared)
  if options.cache then
    hooks.cache, wrong = open_cache(options, driver)
    if not hooks.cache then
      error(("%s: %s"):format(where, wrong), 3)
    end
  end
  local settings = type(options.headers) == "function" and { headers = options.headers }
  local client = new_client(handle, driver, options.base_url or core.base_url, hooks, settings, false)
  if driver ~= options.driver and driver.close then
    client.own_driver = driver
  end
  return client
end

--- Makes a client. It neither connects nor sends anything yet.
--
-- Connections are kept and reused, so make one client and keep it. One credential is required: `api_key`,
-- `access_token`, `client_id` with `client_secret`, or `token`. All times are in seconds.
-- @tparam table options the options:
-- @tparam[opt=none] string options.api_key the key from the dashboard
-- @tparam[opt=none] string options.access_token an OAuth access token
-- @tparam[opt=none] string options.client_id with `client_secret`: the credentials with which tokens are fetched and
--   renewed
-- @tparam[opt=none] string options.client_secret the secret of `client_id`. It is sent to `token_url` only
-- @tparam[opt=none] function options.token a function that is called when a token is needed, and again when it was
--   refused. It returns a token and, if known, its lifetime in seconds; or nil and the reason. It must not use this
--   client, and must not yield outside of tasks, except with a `transport` (see `leat.transport`)
-- @tparam[opt=`/oauth/token` on the origin of `base_url`] string options.token_url the URL at which tokens are fetched
-- @tparam[opt=`https://api.piggy.eu/api/v3/oauth/clients`] string options.base_url the URL of the API, including its
--   path. It must be https, except for this machine
-- @tparam[opt=false] boolean options.allow_http true allows cleartext http in `base_url` for other machines too
-- @tparam[opt=30,unit=seconds] number options.timeout how long a whole call may take, with its retries, counted from
--   its first request; at most 3600. One request may use all of it, and then nothing is retried. A create, link,
--   unlink, update or delete that may be sent again uses half of what is left, so that there is time for that. Waiting
--   in the queue is not counted, so with a `queue_timeout` a call takes at most the sum of both. `ensure` makes several
--   calls, each with these limits
-- @tparam[opt=5,unit=seconds] number options.connect_timeout how long making one connection may take; at most 3600
-- @tparam[opt=no limit; in nginx: `timeout`,unit=seconds] number options.queue_timeout how long a call may wait
--   altogether for a connection, a token, the rate limiter, or the end of a pause that the service asked for. Waiting
--   does not count towards `timeout`, so a call takes at most `timeout` + `queue_timeout`
-- @tparam[opt=3,unit=attempts] integer options.max_attempts how many times an operation is sent at most, up to 100. If
--   the response to a create, link, unlink or delete is lost, a find verifies whether the change took effect before it
--   is sent again. With 1, nothing is retried or verified: a change whose response was lost is reported as
--   `outcome_unknown`, and calls fail at once during a pause that the service asked for. With 0, an operation is
--   retried until `timeout`, as far as `retry_budget` allows; pauses after the first attempt then count towards
--   `timeout`
-- @tparam[opt=100,unit=points] integer options.retry_budget limits the retries of all calls of the client together, so
--   that a service that is down does not receive three times its usual load; false: no budget. A retry, or verifying an
--   attempt, takes 5, or 10 after a timeout; a call that succeeds gives back what its retries took, or 1 if it needed
--   none. A retry after a pause takes nothing. Once the budget is spent, nothing is retried, and error messages say so
-- @tparam[opt=0.5,unit=seconds] number options.retry_base the limit of the first backoff. The backoff before a retry is
--   random, up to a limit that starts at `retry_base` and doubles with each retry, up to `retry_cap`. It starts at
--   twice `retry_base` after a 429 or 503
-- @tparam[opt=20,unit=seconds] number options.retry_cap the largest limit of a backoff
-- @tparam[opt=no limit,unit=requests per second] number options.rate the most requests per second that the client
--   sends, for all its calls together; at least 1/60
-- @tparam[opt=none] string options.shared in nginx: the name of a `lua_shared_dict`, through which all workers share
--   one token, one `rate`, and the pauses that the service asks for
-- @tparam[opt=none] table options.fleet in nginx, with `shared` and `rate`: several machines share the `rate` through
--   Redis. `leat.nginx` describes its fields in the table `fleet`
-- @tparam[opt=none] string options.account with `shared` and `token`: a name for the account that the tokens belong to.
--   With `limiter`: a name for the account whose rate is shared. It is needed with `token`; otherwise clients with the
--   same credential share a rate
-- @tparam[opt=none] Limiter options.limiter gives the slots of a `rate` that several processes share, also on several
--   machines: see `leat.limiter` and `leat.postgres`. It stays open when the client is closed. Not in nginx
-- @tparam[opt=none] table|boolean options.cache serves finds from memory: true, or a table with the options `ttl`,
--   `negative_ttl`, `grace`, `stale` (in seconds), `most` and `dict`. The guide docs/cache.md describes them
-- @tparam[opt=none] function options.on_attempt a hook that is called with an `attempt`, a table, after every exchange,
--   for logs or metrics. It must not make calls; the call raises the hook's errors
-- @tparam[opt=false] boolean options.show_values true adds the cards' values to what `on_attempt` receives
-- @tparam[opt=false] boolean options.json true adds `info.json`, the response's data as JSON text. It keeps nulls,
--   empty lists and all digits of numbers
-- @tparam[opt=16,unit=connections] integer options.max_connections how many connections are open at once
-- @tparam[opt=1 MiB,unit=bytes] integer options.max_body the size of the largest response body that is accepted
-- @tparam[opt=the system's] string options.ca_file a PEM file of the certificates to trust
-- @tparam[opt=from the environment: `https_proxy` and so on] string options.proxy the URL of a proxy, or "" for none.
--   In nginx no proxy is used, and its own configuration replaces `ca_file` and `max_connections`: see `leat.nginx`
-- @tparam[opt=`leat/VERSION`] string options.user_agent the `User-Agent` header
-- @tparam[opt=none] table|function options.headers headers by name that are added to every request, 16 at most. Or a
--   function that returns such a table, or nil: for example, with a `traceparent`. It is called for each call, by the
--   program's code that makes the call, and its headers are added to all requests of that call, but not to those for
--   tokens. It must not make calls with this client. The call raises the function's errors, and then sends nothing
-- @tparam[opt=true] boolean options.blocking false: a call outside of the tasks of `leat.tasks` raises an error instead
--   of blocking
-- @tparam[opt=`leat.curl`; in nginx: `leat.nginx`] table options.driver performs the I/O; see `leat.driver`. With it,
--   `ca_file`, `proxy` and `max_connections` are not accepted
-- @tparam[opt=none] function options.transport performs the requests instead of a driver; see `leat.transport`
-- @treturn client with `contact_identifiers`, `check()`, `request()`, `with()`, `rate_limit()` and
--   `close()`; on Lua 5.4 it may be a `<close>` variable
-- @raise mistakes in the options
function leat.new(options)
  local client = make("leat.new", options)
  return client
end

--- Makes a client with options from the environment.
--
--    local client = leat.from_env { timeout = 5 }
--
-- These variables are read; one that is empty counts as not set:
--
--   * the credential: `LEAT_API_KEY`; or `LEAT_API_KEY_FILE`, the name of a file whose first line is the key; or
--     `LEAT_CLIENT_ID` with `LEAT_CLIENT_SECRET`. The first of them that is set is used
--   * `LEAT_BASE_URL`, the option `base_url`
--   * `LEAT_RATE`, the option `rate`
--
-- Options win over the environment. With any credential in the options, none is read from the environment.
-- @tparam[opt] table options as for `leat.new`, and:
-- @tparam[opt=none] string options.api_key_file a file whose first line is the key, like `LEAT_API_KEY_FILE`
-- @treturn client
-- @raise mistakes in the options or variables, a missing credential, or a file that cannot be read
function leat.from_env(options)
  options = check_names("leat.from_env", known_to_from_env, options or {}, 2)
  local complete, wrong = environment.read(options)
  if not complete then
    error("leat.from_env: " .. wrong, 2)
  end
  local client = make("leat.from_env", complete)
  return client
end

-- Lua 5.1 and LuaJIT print no text for an uncaught error that is a table, so they get a string.
local raise_text = _VERSION == "Lua 5.1"

-- Returns the position, such as "file.lua:12:", from which the function that uses this was called.
local function caller()
  local _, position = pcall(error, "", 4)
  return position:match("^(.+:)%s*$")
end

--- Like `assert`, but keeps the fields of the error.
-- @param value if it is neither nil nor false, all arguments are returned
-- @param err the error to raise otherwise
-- @param ... further values to return
-- @return all arguments
-- @raise `err` itself, with the line of this call in `err.where`; on Lua 5.1 and LuaJIT, which cannot
--   print a table, its text
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
