--- Methods of a client and of its resources.
--
-- They are generated from the core's table of operations. Their `self` is a client or one of its resources, and
-- holds what a call needs: `handle` (the core's client), `driver`, `hooks` (the user's functions, which the driver
-- calls), `settings` (what is set for each call, or false) and `card` (the metatable of cards, false until the first
-- card).
-- @submodule leat

local contact_identifier = require("leat.contact_identifier")
local core = require("leat.core")
local drivers = require("leat.driver")
local encode = require("leat.encode")
local ensure = require("leat.ensure")
local schema = require("leat.options")
local token_function = require("leat.token_function")

local rows = {} -- the operations, by title
local classes = {} -- the classes of the client and its resources, by name

-- The metatable of errors.
local failure = {}

function failure.__tostring(err)
  local text = core.error_text(err)
  return type(err.where) == "string" and err.where .. " " .. text or text
end

function failure.__concat(a, b)
  return tostring(a) .. tostring(b)
end

-- ---- performing a call ------------------------------------------------------------------

-- Raises an error if the client is closed, or the one that a view belongs to.
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

-- Makes a call. Errors are raised at the line that called the method.
local function prepare(self, row, ...)
  check_open(self, row.title, 3)
  local call, wrong = new_call(self.handle, row.index, ...)
  if not call then
    error(("leat: %s: %s"):format(row.title, wrong), 3)
  end
  return call
end

local getinfo, running = debug and debug.getinfo, coroutine.running

-- Whether a function on the stack belongs to C or to this library, and not to the user. `here` is the source
-- of this file.
local function is_ours(info, here)
  local folder = here:gsub("resource%.lua$", "")
  return info.what == "C" or info.what == "tail" or info.source:find(folder, 1, true) == 1
    or info.source == folder:gsub("/$", ".lua")
end

-- Raises an error at the user's line, which may be several of the library's functions up the stack.
-- The error has no position if tail calls have removed that line from the stack.
local function blame(row, wrong)
  local level, here = 2, getinfo and getinfo(1, "S").source
  local info = getinfo and getinfo(level, "S")
  while info and is_ours(info, here) do
    level = level + 1
    info = getinfo(level, "S")
  end
  error(("leat: %s: %s"):format(row.title, wrong), info and level or 0)
end

-- Adds the headers that the client's function for them returned.
local function add_headers(row, call, headers)
  if headers == nil then
    return
  end
  local list, wrong = encode.pairs(headers, "headers")
  wrong = wrong or call:add_headers(list)
  if wrong then
    blame(row, wrong)
  end
end

local function apply(settings, row, call)
  if settings.timeout then call:set_timeout(settings.timeout) end
  if settings.connect_timeout then call:set_connect_timeout(settings.connect_timeout) end
  if settings.queue_timeout then call:set_queue_timeout(settings.queue_timeout) end
  if settings.max_attempts then call:set_max_attempts(settings.max_attempts) end
  if settings.maybe_applied then call:set_maybe_applied() end
  if settings.headers then add_headers(row, call, settings.headers()) end
end

local finish

local function card_metatable(self)
  self.card = self.card or contact_identifier.metatable(self, rows, prepare, finish)
  return self.card
end

-- Adds the new fields before it removes the old ones: only adding can run out of memory, so a card
-- never loses fields because of an error.
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

local function result(call, self, card)
  local value, err, info = result_of(call, failure, self.card, self.hooks.json or self.hooks.cache)
  if card and type(value) == "table" then
    value = refresh(card, value)
  end
  return value, err, info
end

local OWN_CLIENT = "the token function uses its own client, which waits for that token: make another client for it, "
  .. "with a key of its own"

local function perform(self, row, call)
  local hooks = self.hooks
  if hooks.token and token_function.is_running(hooks.token) then
    blame(row, OWN_CLIENT)
  end
  local refused = self.driver:perform(call, hooks)
  if hooks.attempts then hooks.attempts() end
  if refused then
    blame(row, call:may_have_happened() and drivers.note(refused) or refused)
  end
end

-- Performs a call that changes something. `go_on`, if given, turns its result into what is returned.
local function change(call, self, row, card, go_on)
  perform(self, row, call)
  local value, err, info = result(call, self, card)
  if go_on then
    return go_on(value, err, info)
  end
  return value, err, info
end

-- The same in a coroutine. `perform` may yield, so it is not called through pcall, which Lua 5.1
-- cannot suspend.
local function change_in_coroutine(call, self, row, card, go_on)
  perform(self, row, call)
  local fine, value, err, info = pcall(result, call, self, card)
  if not fine then
    drivers.raise(value, call)
  elseif go_on then
    return go_on(value, err, info)
  end
  return value, err, info
end

-- Lets the cache know of a change, which begins now, and of its result. Returns what is to be done with the result.
local function note_change(self, row, call, go_on)
  local hooks, value = self.hooks, call:value()
  local noted = value and hooks.cache:begin_change(value)
  return function(card, err, info)
    if noted then
      hooks.cache:end_change(noted, row.name == "delete", info and info.json, err)
    end
    if info and not hooks.json then
      info.json = nil
    end
    if go_on then
      return go_on(card, err, info)
    end
    return card, err, info
  end
end

-- Performs the call. `card`, if given, is refreshed with the result; `go_on`, if given, turns the
-- result of a change into what is returned. If an interrupt or a lack of memory ends the method after
-- a change was sent, the error must say so, up to the method's last instruction. For this reason
-- changes are made through tail calls that end in C. A finished call holds some KB that the garbage
-- collector does not count, so it is freed at once.
function finish(self, row, call, card, go_on)
  local metatable = self.card or card_metatable(self)
  if self.settings then apply(self.settings, row, call) end
  if not row.writes then
    perform(self, row, call)
    local value, err, info = result_of(call, failure, metatable, self.hooks.json, true,
      self.driver.releases_calls and not self.hooks.account) -- a limiter keeps a reference for a while
    return value, err, info
  end
  if self.hooks.cache then
    go_on = note_change(self, row, call, go_on)
  end
  local thread, main = running()
  if main or not thread then -- nothing can yield here
    return core.protect(call, drivers.raise, change, call, self, row, card, go_on)
  end
  return core.conclude(call, change_in_coroutine(call, self, row, card, go_on))
end

-- ---- methods ----------------------------------------------------------------------------

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

--- Finds a contact identifier (a card).
--
-- Like every operation, it also returns `info`, a table. With the option `cache` of `leat.new` the card may have been
-- found before. It is the caller's own in any case.
-- @function cards:find
-- @tparam string value the card's value
-- @tparam[opt] table options the options:
-- @tparam[opt=as the cache allows,unit=seconds] number options.max_age how old a cached result may be. With 0 the
--   service is asked. Without a cache it has no effect
-- @return the card, nil, info; or nil, err
-- @raise arguments of the wrong type, an empty value, or a closed client

--- What an operation returns besides its result, as the third value.
-- @table info
-- @tfield integer status the HTTP status of the last response, or nil if there was none
-- @tfield integer attempts the number of exchanges (HTTP requests) that were begun
-- @tfield table meta what the service sent besides the data, or nil
-- @tfield table rate_limit `limit` and `remaining`, as the service reported them, or nil; see `client:rate_limit`
-- @tfield string outcome `recovered`: the response to a change was lost, and the card was then found as requested;
--   `created` or `existed`: see `cards:ensure`; otherwise nil
-- @tfield table changed how `cards:ensure` completed a card that existed: a list with `linked`, `named` or both; or nil
-- @tfield string json the response's data as JSON text; only with the option `json` of `leat.new`
-- @tfield string cached `fresh` or `stale`, if the card comes from the cache; then `attempts` is 0
-- @tfield number age how many seconds ago the service responded, if the card comes from the cache
-- @tfield table err why the service could not be asked for a stale card; nil if nobody has waited for it

--- Creates a card.
-- @function cards:create
-- @tparam string value the card's value
-- @tparam[opt] table options the options:
-- @tparam[opt=set by the service: the value] string options.name the card's name
-- @tparam[opt=none] string options.contact_uuid the contact to link the card to
-- @return the card, nil, info; or nil, err

--- Links a card to a contact.
-- @function cards:link
-- @tparam string value the card's value
-- @tparam string contact_uuid the contact's uuid
-- @return the card, nil, info; or nil, err

--- Unlinks a card from its contact.
-- @function cards:unlink
-- @tparam string value the card's value
-- @tparam[opt] table options the options:
-- @tparam[opt=not checked] string|boolean options.expect the uuid of the contact that the card must belong to, or false
--   if it must belong to no contact. The card is found before each attempt to change it; if it belongs to another
--   contact, nothing is changed and the error is a `conflict`
-- @return the card, nil, info; or nil, err

--- Changes a card's name, or activates or deactivates it.
-- @function cards:update
-- @tparam string value the card's value
-- @tparam table options the options, of which `name` or `active` is required:
-- @tparam[opt=unchanged] string options.name the new name
-- @tparam[opt=unchanged] boolean options.active false deactivates the card, true activates it
-- @tparam[opt=not checked] string|boolean options.expect as for `cards:unlink`
-- @return the card, nil, info; or nil, err

--- Deletes a card.
-- @function cards:delete
-- @tparam string value the card's value
-- @tparam[opt] table options the options:
-- @tparam[opt=not checked] string|boolean options.expect as for `cards:unlink`
-- @return true, nil, info; or nil, err

--- Lists all cards of one contact. The API has no list of all cards.
-- @function cards:list
-- @tparam table options the options:
-- @tparam string options.contact_uuid the contact whose cards are listed
-- @return a list of cards, nil, info; or nil, err

for _, row in ipairs(core.operations()) do
  local class = classes[row.resource] or {}
  class.__index = class
  classes[row.resource] = class
  row.title = row.resource .. "." .. row.name
  rows[row.title] = row
  make_method(class, row)
end

local ContactIdentifiers = classes.contact_identifiers

-- ---- cached finds -----------------------------------------------------------------------

local FIND = rows["contact_identifiers.find"]
local of_a_find = { max_age = "age" }

-- Returns the resource for finds that callers share: without the limits of a view, and without the headers of one call.
local function base(self)
  local client = self.parent
  while client.parent do
    client = client.parent
  end
  local cards = client.contact_identifiers
  if not cards.settings then
    return cards
  end
  local plain = rawget(cards, "plain")
  if not plain then
    plain = setmetatable({ handle = cards.handle, driver = cards.driver, hooks = cards.hooks, settings = false,
      parent = client, view = true, closed = false, card = false }, ContactIdentifiers)
    cards.plain = plain
  end
  return plain
end

-- Finds a card for the cache. Returns its JSON or nil, the error or nil, and the info.
local function ask(self, value, queue_timeout)
  local call = prepare(self, FIND, value)
  if self.settings then apply(self.settings, FIND, call) end
  if queue_timeout then call:set_queue_timeout(queue_timeout) end
  perform(self, FIND, call)
  local _, err, info = result_of(call, failure, card_metatable(self), true)
  call:free()
  local json = info and info.json
  if info and not self.hooks.json then
    info.json = nil
  end
  return json, err, info
end

local function decode(self, json)
  return core.decode(json, card_metatable(self))
end

-- Callers that share a find get an info or an error of their own.
local function copy(shared)
  local own = {}
  for name, value in pairs(shared) do
    own[name] = value
  end
  return own
end

local function own_error(err)
  return setmetatable(copy(err), failure)
end

local access = { ask = ask, base = base, decode = decode, copy = copy, error = own_error }

-- Returns how many seconds a view may wait, if it has limits of its own.
local function limit_of(self)
  local settings, hooks = self.settings, self.hooks
  if settings and (settings.timeout or settings.queue_timeout) then
    return (settings.timeout or hooks.timeout) + (settings.queue_timeout or hooks.queue_timeout or math.huge)
  end
end

function ContactIdentifiers:find(value, options, ...)
  if getmetatable(self) ~= ContactIdentifiers then
    error("leat: call it with a colon: contact_identifiers:find(...)", 2)
  end
  if self.closed or self.view or self.driver.closed then
    check_open(self, FIND.title, 2)
  end
  local cache, max_age = self.hooks.cache, math.huge
  if type(options) == "table" then
    max_age = schema.check("leat: contact_identifiers.find", of_a_find, options, 2).max_age or max_age
    options = nil
  end
  if cache and type(value) == "string" then
    local card, err, info = cache:get(self, value, max_age)
    if card or err then
      return card, err, info
    end
  end
  local call, wrong = new_call(self.handle, FIND.index, value, options, ...)
  if not call then
    error("leat: contact_identifiers.find: " .. wrong, 2)
  elseif not cache then
    return finish(self, FIND, call)
  end
  call:free()
  if self.hooks.token and token_function.is_running(self.hooks.token) then
    blame(FIND, OWN_CLIENT)
  end
  return cache:find(self, value, max_age, limit_of(self))
end

--- Forgets what is cached about a card, because another program has changed it: a webhook of the service may say so.
-- Without a cache it has no effect.
-- @function cards:forget
-- @tparam string value the card's value
-- @raise a value that is not a string
function ContactIdentifiers:forget(value)
  if getmetatable(self) ~= ContactIdentifiers then
    error("leat: call it with a colon: contact_identifiers:forget(...)", 2)
  elseif type(value) ~= "string" then
    error("leat: contact_identifiers.forget: value must be a string", 2)
  end
  if self.hooks.cache then
    self.hooks.cache:forget(value)
  end
end

-- ---- methods that compose others ----------------------------------------------------------------

--- Rebuilds a card from a table of its fields, such as cached data. Nothing is sent.
-- @function cards:wrap
-- @tparam table fields the card's fields; `value`, a string, is required
-- @return the same table, with the methods of a card. Fields that have the name of a method are removed
-- @raise a table without a `value`
function ContactIdentifiers:wrap(fields)
  if getmetatable(self) ~= ContactIdentifiers then
    error("leat: call it with a colon: contact_identifiers:wrap(...)", 2)
  elseif type(fields) ~= "table" or type(fields.value) ~= "string" then
    error("leat: contact_identifiers.wrap: give a table with a value, a string", 2)
  end
  local metatable = card_metatable(self)
  for name in pairs(metatable.__index) do
    fields[name] = nil -- a field would hide the method of the same name
  end
  return setmetatable(fields, metatable)
end

--- Checks the arguments of an operation as the operation does, but sends nothing.
-- @function cards:validate
-- @tparam string operation the name of the operation, such as `"find"` or `"ensure"`
-- @param ... the arguments of the operation
-- @treturn boolean true if the operation would accept them; otherwise nil, and what is wrong
-- @raise an unknown operation
function ContactIdentifiers:validate(operation, ...)
  if getmetatable(self) ~= ContactIdentifiers then
    error("leat: call it with a colon: contact_identifiers:validate(...)", 2)
  end
  local name = operation == "ensure" and "create" or tostring(operation) -- ensure has the arguments of create
  local row = rows["contact_identifiers." .. name]
  if not row then
    error(("leat: contact_identifiers.validate: there is no operation '%s'"):format(name), 2)
  end
  local call, wrong = new_call(self.handle, row.index, ...)
  if not call then
    return nil, wrong
  end
  call:free()
  return true
end

-- The first step of ensure is a create; its errors are raised under the name of ensure.
local first_of_ensure = setmetatable({ title = "contact_identifiers.ensure" },
  { __index = rows["contact_identifiers.create"] })

--- Creates a card, or completes an existing one: links it if it is not linked, and names it if it has
-- no name of its own (the service uses the value as the default name).
--
-- The operation is idempotent. It succeeds only if the card has the requested name and contact; a card
-- with another name or contact is a `conflict`, and `err.card` is that card.
-- @function cards:ensure
-- @tparam string value the card's value
-- @tparam[opt] table options the options:
-- @tparam[opt=not checked] string options.name the name that the card must have
-- @tparam[opt=not checked] string options.contact_uuid the contact that the card must belong to
-- @return the card, nil, info; or nil, err. `info.outcome` is `created`; `existed`, if the card existed
--   before; or `recovered`, if the response to the create was lost and the card was found afterwards, or if it was
--   found in a view with `maybe_applied`. If a card that existed was completed, `info.changed` lists how: `linked`,
--   `named`
function ContactIdentifiers:ensure(value, options)
  if getmetatable(self) ~= ContactIdentifiers then
    error("leat: call it with a colon: contact_identifiers:ensure(...)", 2)
  end
  return finish(self, first_of_ensure, prepare(self, first_of_ensure, value, options), nil, function(card, err, info)
    local desired = { value = value }
    for name, option in pairs(options or {}) do
      desired[name] = option
    end
    card, err, info = ensure.run(self, desired, function() return self:create(value, options) end, card, err, info)
    return card, err and setmetatable(err, failure), info
  end)
end

return { classes = classes, failure = failure, check_open = check_open, finish = finish,
  access = access }
