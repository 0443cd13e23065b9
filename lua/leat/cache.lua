-- Cached finds: what is kept, for how long, and who may have it. For `leat.new`, whose option `cache` makes one.
--
-- What is kept are texts: a card as JSON, or the error that says that there is no such card. So each caller gets a card
-- of its own. Ages count from when the service responded, and no failure extends them.
--
-- A result is *fresh* for `ttl`. In the *grace* after that it is still handed out at once, and refreshed in the
-- background. It is *stale* in the time after `ttl` in which it is handed out if the service does not respond.
-- Errors that only a person can end, such as a wrong key, are never hidden.
--
-- No find returns what was true before a change that this cache knows of. Each card has a generation, which a change
-- advances when it begins and when it ends. What a find has learned is kept only if the generation is still that which
-- it began with; and requests for the same card share a find only if it began with the current one.
--
-- A store keeps the texts, see `leat.cache_memory` and `leat.nginx_cache`. It has these methods:
--
--   * `get(key)` returns the text, or nil
--   * `put(key, text, seconds)` keeps a text; returns false if there is no room
--   * `drop(key)`
--   * `generation(key)` returns the generation of a card, and `advance(key)` the next one, with which it replaces it
--   * `is_current(key, generation)`
--   * `claim(name, seconds)` claims a name for some time; returns false if somebody else has it. `mark(name, seconds)`
--     claims it in any case. `is_claimed(name)`, `release(name)`
--   * `share(key, limit, look, f, ...)` returns true and the results of f(...); if such a call for the key is under
--     way, and was begun with the generation that is current, the results of that call. f runs in the background, where
--     it does not end together with its caller. After `limit` seconds, if given, a caller waits no longer. `look(...)`
--     returns what another process has learned meanwhile, as f does. `share` returns nothing if callers cannot wait for
--     each other here
--   * `spawn(f, ...)` calls f in the background; returns false if that is not possible here
--   * `count(name)` counts an event; `counts()` returns a table of all of them

local cjson = require("cjson")
local core = require("leat.core")
local schema = require("leat.options")

local cache = {}
local Cache = {}
Cache.__index = Cache

local DEFAULTS = { ttl = 60, grace = 0, stale = 0, most = 10000 }
local NEGATIVE_TTL = 5 -- seconds, or `ttl` if that is less
local SPARE = 1 -- seconds for which a text is kept after it has expired, so that its age decides
local LARGEST = 16384 -- bytes of a text that is kept
local TROUBLE = 60 -- seconds for which a failure counts
local PROBE = 2 -- seconds between two finds that look whether the service is back
local REFRESH = 1 -- seconds between two attempts to refresh a card
local LONGEST_REFRESH = 60 -- seconds after which it may have died
local LONGEST_KEY = 64 -- bytes of a value; those of longer ones are hashed
local DOUBT = 30 -- seconds in which a change may still take effect whose outcome is unknown
local LONGEST_CALL = 120 -- seconds that a change may take if no limit was set

-- The errors that are results: the service has responded, and said that there is no such card.
local results = { not_found = true, inactive = true, invalid_input = true }
-- The errors that mean that the service does not respond now, or not usefully.
local outages = { connection = true, timeout = true, server = true, maintenance = true, rate_limited = true,
  protocol = true }

local COUNTED = { "hits", "negative_hits", "stale", "rescued", "misses", "coalesced", "refused_refreshes", "outrun",
  "not_stored" }

-- What is known about a card that was deleted.
local DELETED = { kind = "not_found", message = "the card was deleted", operation = "contact_identifiers.find" }

-- ---- texts ------------------------------------------------------------------------------

-- A text is "f WHEN JSON" for a card, or "n WHEN JSON" for an error, with WHEN in milliseconds: on the clock of
-- leat.core, which all processes of a machine share, or on that of a transport.

local function parse(self, key)
  local text = self.store:get(key)
  if not text then
    return nil
  end
  local kind, at, json = text:match("^([fn]) (%d+) (.+)$")
  local age = kind and (self.now() - at) / 1000 or -1
  if age < 0 then
    return nil
  end
  return kind, age, json
end

local function copy_error(err)
  return { kind = err.kind, code = err.code, status = err.status, message = err.message, fields = err.fields,
    operation = err.operation }
end

local function encode(self, kind, json)
  return ("%s %.0f %s"):format(kind, math.floor(self.now()), json)
end

-- ---- handing out ------------------------------------------------------------------------

-- Returns nothing if the text is not that of the card, because somebody else put it there, or by a collision of keys.
local function hand_out_card(self, cards, value, json, age, cached, err)
  local card = self.access.decode(cards, json)
  if card and core.same_value(tostring(card.value), value) then
    return card, nil, { cached = cached, age = age, attempts = 0, err = err, json = self.json and json or nil }
  end
end

local function hand_out_error(self, json, age)
  local fine, err = pcall(cjson.decode, json)
  if not fine or type(err) ~= "table" then
    return nil
  end
  err.attempts, err.sent, err.outcome_unknown, err.cached, err.age = 0, "no", false, "fresh", age
  return nil, self.access.error(err)
end

-- ---- learning ---------------------------------------------------------------------------

local function keep(self, key, generation, text, seconds)
  if seconds <= 0 then
    return
  elseif #text > LARGEST or not self.store:put(key, text, seconds) then
    self.store:count("not_stored")
  end
  if not self.store:is_current(key, generation) then -- a change began meanwhile
    self.store:drop(key)
    self.store:count("outrun")
  end
end

local function keep_card(self, key, generation, json)
  local may_change = self.store:is_claimed("doubt " .. key)
  keep(self, key, generation, encode(self, "f", json), may_change and self.negative_ttl or self.lifetime)
end

local function keep_error(self, key, generation, err)
  local fine, json = pcall(cjson.encode, copy_error(err))
  if fine then
    keep(self, key, generation, encode(self, "n", json), self.negative_ttl > 0 and self.negative_ttl + SPARE or 0)
  end
end

-- Notes whether the service responds, or refuses the client. An outage that kept a find from being sent says nothing.
local function note_trouble(self, err)
  local store = self.store
  if not err or results[err.kind] then
    store:release("trouble")
    store:release("refused")
  elseif not outages[err.kind] and err.kind ~= "canceled" then
    store:release("trouble")
    store:mark("refused", TROUBLE)
  elseif outages[err.kind] and err.attempts > 0 then
    store:mark("trouble", TROUBLE)
    store:mark("probe", math.max(PROBE, err.retry_after or 0))
  end
end

local function learn(self, key, generation, json, err)
  note_trouble(self, err)
  if not self.store:is_current(key, generation) then
    self.store:count("outrun")
  elseif json then
    keep_card(self, key, generation, json)
  elseif err and results[err.kind] then
    keep_error(self, key, generation, err)
  end
end

-- ---- asking the service -----------------------------------------------------------------

-- Finds the card. Returns its JSON or nil, the error or nil, and the info.
local function ask(self, cards, key, value, queue_timeout)
  local generation = self.store:generation(key)
  local json, err, info = self.access.ask(cards, value, queue_timeout)
  learn(self, key, generation, json, err)
  return json, err, info
end

-- Returns what somebody else has learned since a find `began`, as `ask` does; or nothing.
local function look(self, _, key, _, _, began)
  local kind, age, json = parse(self, key)
  if not kind or age * 1000 > self.now() - began then
    return nil
  elseif kind == "f" then
    return json, nil, { cached = "fresh", age = age, attempts = 0, json = self.json and json or nil }
  end
  return nil, select(2, hand_out_error(self, json, age))
end

-- The same together with all others who want this card now, as far as they can wait for each other. A view with limits
-- of its own does not have to wait for longer than `limit` seconds; if it may wait longer than others, it asks alone.
local function ask_with_others(self, cards, key, value, limit)
  if not limit or limit <= self.longest then
    local shared, json, err, info = self.store:share(key, limit, look, ask, self, self.access.base(cards), key, value,
      nil, self.now())
    if shared then
      return json, err, info
    end
  end
  return ask(self, cards, key, value)
end

local function ask_alone(self, cards, key, value)
  return ask(self, cards, key, value)
end

-- Runs in the background.
local function refresh(self, cards, key, value, queue_timeout)
  local _, err = ask(self, cards, key, value, queue_timeout)
  if err and err.attempts == 0 then
    self.store:count("refused_refreshes")
  end
  self.store:mark("refresh " .. key, REFRESH)
end

-- ---- handing out what is not fresh ------------------------------------------------------

-- Refreshes a card in the background, if nobody does, or has tried that a short time ago. Returns false if there is no
-- background here.
local function refresh_behind(self, cards, key, value)
  local name = "refresh " .. key
  if not self.store:claim(name, self.longest_refresh)
    or self.store:spawn(refresh, self, self.access.base(cards), key, value, self.refresh_wait) then
    return true
  end
  self.store:release(name)
  return false
end

-- While the service is in trouble, one caller at a time asks it. Returns whether this one need not.
local function leave_it_to_others(self, cards, key, value, in_trouble)
  if not in_trouble then
    return refresh_behind(self, cards, key, value)
  end
  return not self.store:claim("probe", self.longest_refresh)
    or self.store:spawn(refresh, self, self.access.base(cards), key, value)
end

-- Returns a card that is no longer fresh, if it may be handed out before the service was asked; or nothing.
local function get_early(self, cards, key, value, age, json)
  if self.store:is_claimed("refused") then
    return nil -- callers are told why
  end
  local in_trouble = self.store:is_claimed("trouble")
  local limit = self.ttl + (in_trouble and math.max(self.grace, self.stale) or self.grace)
  if age <= limit and leave_it_to_others(self, cards, key, value, in_trouble) then
    self.store:count("stale")
    return hand_out_card(self, cards, value, json, age, "stale")
  end
end

-- Returns a card that was found before, instead of an error that says that the service does not respond; or nothing.
local function rescue(self, cards, key, value, max_age, err)
  local kind, age, json = parse(self, key)
  if outages[err.kind] and kind == "f" and age <= math.min(max_age, self.ttl + self.stale) then
    self.store:count("rescued")
    return hand_out_card(self, cards, value, json, age, "stale", err)
  end
end

-- ---- finds ------------------------------------------------------------------------------

-- Returns the key of a card: its value as the service compares values, or a digest, because keys take memory.
local function key_of(self, value)
  local normal = core.normal_value(value)
  return self.name .. (#normal <= LONGEST_KEY and normal or "#" .. core.sha256(normal))
end

-- Returns the cached result of a find, as `find` does, if there is one that may be handed out now and is at most
-- `max_age` seconds old; or nothing. `cards` is the resource.
function Cache:get(cards, value, max_age)
  local key = key_of(self, value)
  local kind, age, json = parse(self, key)
  if not kind or age > max_age or max_age == 0 then
    return nil
  elseif kind == "f" and age <= self.ttl then
    self.store:count("hits")
    return hand_out_card(self, cards, value, json, age, "fresh")
  elseif kind == "f" then
    return get_early(self, cards, key, value, age, json)
  elseif age <= self.negative_ttl then
    self.store:count("negative_hits")
    return hand_out_error(self, json, age)
  end
end

-- Asks the service, and keeps its response. If the service does not respond, an older result may be at most `max_age`
-- seconds old; with 0 the service is asked for this caller alone. A caller waits for at most `limit` seconds, if given.
-- Returns what `find` returns.
function Cache:find(cards, value, max_age, limit)
  local key = key_of(self, value)
  self.store:count("misses")
  local json, err, info = (max_age > 0 and ask_with_others or ask_alone)(self, cards, key, value, limit)
  if json then
    return self.access.decode(cards, json), nil, self.access.copy(info)
  end
  local card, _, cached = rescue(self, cards, key, value, max_age, err)
  if card then
    return card, nil, cached
  end
  return nil, self.access.error(err)
end

-- Forgets a card, because another program has changed it.
function Cache:forget(value)
  local key = key_of(self, value)
  self.store:advance(key)
  self.store:drop(key)
end

-- ---- changes ----------------------------------------------------------------------------

-- Notes that a change of a card begins, and returns what `end_change` needs. Should that never follow, because an error
-- is raised, finds are kept for a short time only, until no change can take effect any more.
function Cache:begin_change(value)
  local key = key_of(self, value)
  local generation = self.store:advance(key)
  self.store:drop(key)
  self.store:mark("doubt " .. key, self.longest + DOUBT)
  return { key = key, generation = generation }
end

-- Notes how a change has ended: with `json`, the card as it is now, or with an error. It is kept if nobody else has
-- changed the card meanwhile. `deletes` says whether the card was to be deleted.
function Cache:end_change(change, deletes, json, err)
  local store, key = self.store, change.key
  local was_alone = store:is_current(key, change.generation)
  local generation = store:advance(key)
  store:drop(key)
  if err and err.outcome_unknown or not was_alone then
    store:mark("doubt " .. key, DOUBT)
  else
    store:release("doubt " .. key)
    if deletes and (not err or err.kind == "not_found") then
      keep_error(self, key, generation, DELETED)
    elseif json then
      keep_card(self, key, generation, json)
    end
  end
end

-- Returns how often each event was counted, by name. None is missing.
function Cache:stats()
  local counts, stats = self.store:counts(), {}
  for _, name in ipairs(COUNTED) do
    stats[name] = counts[name] or 0
  end
  return stats
end

-- ---- making -----------------------------------------------------------------------------

local kinds = { ttl = "seconds", negative_ttl = "age", grace = "age", stale = "age", most = "count", dict = "string" }

-- Checks the option `cache`, a table or true, and returns all settings. `where` begins the messages of mistakes, which
-- are raised at `level`, as by `error`.
function cache.check(where, options, level)
  local settings = schema.check(where, kinds, options == true and {} or options, level + 1)
  for name, value in pairs(DEFAULTS) do
    settings[name] = settings[name] or value
  end
  settings.negative_ttl = settings.negative_ttl or math.min(NEGATIVE_TTL, settings.ttl)
  if settings.negative_ttl > settings.ttl then
    error(where .. ": negative_ttl is longer than ttl", level + 1)
  end
  return settings
end

-- Makes a cache. `settings` are those of `check`; `now`, which returns the time in milliseconds; `name`, the prefix of
-- keys, or nil; `longest`, the seconds that a call may take, or nil; and `refresh_wait`, the seconds that a refresh
-- waits for a slot. `access` is what it does with a resource and with results: `ask`, `base`, `decode`, `copy` and
-- `error`.
function cache.new(settings, store, access)
  return setmetatable({ store = store, access = access, ttl = settings.ttl, negative_ttl = settings.negative_ttl,
    grace = settings.grace, stale = settings.stale, json = settings.json or false, now = settings.now,
    lifetime = settings.ttl + math.max(settings.grace, settings.stale) + SPARE, refresh_wait = settings.refresh_wait,
    longest = settings.longest or LONGEST_CALL, name = settings.name or "",
    longest_refresh = math.min(settings.longest or LONGEST_REFRESH, LONGEST_REFRESH) }, Cache)
end

return cache
