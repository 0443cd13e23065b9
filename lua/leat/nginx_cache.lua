-- Keeps what leat.cache knows in two lua_shared_dicts, for all workers of nginx. The methods are those of a store, see
-- leat.cache. The option `dict` of the cache names the one with the texts, of which nginx removes the oldest when it
-- is full. The option `shared` of the client names the other one, with what must not be removed by cards:
--
--    leat ACCOUNT cache g KEY      the generation of a card
--    leat ACCOUNT cache c NAME     a name that was claimed, and by whom
--    leat ACCOUNT cache n NAME     how often an event was counted

local ngx = package.loaded.ngx
local caches = require("leat.cache")
local core = require("leat.core")
local nginx = require("leat.nginx")
local semaphore = require("ngx.semaphore")
local shared = require("leat.nginx_shared")

local Store = {}
Store.__index = Store

local LOCK = 2 -- seconds after which a worker that finds a card for all may have died
local LOOK = 0.05 -- seconds between two looks for what another worker has learned
local CHECK = 0.25 -- seconds between two looks whether a flight is lost
local START = 1 -- seconds to wait for a timer to begin; after that it may never begin
local FLUSH = 1 -- seconds between two additions of a worker's counts to those of all

-- ---- texts and names --------------------------------------------------------------------

function Store:get(key)
  local text = self.texts:get(key)
  return type(text) == "string" and text or nil
end

function Store:put(key, text, seconds)
  return (self.texts:set(key, text, seconds))
end

function Store:drop(key)
  self.texts:delete(key)
end

function Store:is_claimed(name)
  return self.notes:get(self.name .. "c " .. name) ~= nil
end

function Store:mark(name, seconds)
  self.notes:set(self.name .. "c " .. name, self.worker(), seconds)
end

-- Without room for it, nobody can have it.
function Store:claim(name, seconds)
  local claimed, why = self.notes:add(self.name .. "c " .. name, self.worker(), seconds)
  return claimed or why ~= "exists"
end

function Store:release(name)
  self.notes:delete(self.name .. "c " .. name)
end

-- ---- generations ------------------------------------------------------------------------

-- They are numbers, and those that are missing are 0. They last for longer than any call, so that a number does not
-- come back while a find that began with it is under way.

function Store:generation(key)
  return tonumber((self.notes:get(self.name .. "g " .. key))) or 0
end

function Store:advance(key)
  local name = self.name .. "g " .. key
  local generation = self.notes:incr(name, 1, 0, self.lasting)
  self.notes:expire(name, self.lasting)
  self:release("find " .. key) -- what it learns is of no use to finds that begin now
  return generation or false
end

function Store:is_current(key, generation)
  return self:generation(key) == generation
end

-- ---- finds that are under way -----------------------------------------------------------

-- One worker at a time finds a card for all, as far as it does that within LOCK seconds. In each worker, one request at
-- a time waits for another worker, and others wait for that request: a flight. It runs in a timer, because nginx ends a
-- request whose visitor has disconnected. No upvalue may be a local of the request, because its stack is reused.

-- Returns the results of f, or what another worker has learned.
local function lead(self, key, look, f, ...)
  local name = "find " .. key
  while not self:claim(name, LOCK) do
    ngx.sleep(LOOK)
    local json, err, info = look(...)
    if json or err then
      return json, err, info
    end
  end
  local json, err, info = f(...)
  if self.notes:get(self.name .. "c " .. name) == self.worker() then
    self:release(name)
  end
  return json, err, info
end

local function fly(self, key, flight, ...)
  flight.thread = coroutine.running()
  flight.fine, flight.json, flight.err, flight.info = pcall(lead, self, key, ...)
  flight.ended = true
  if self.flights[key] == flight then
    self.flights[key] = nil
  end
  flight.ready:post(math.max(1, -flight.ready:count()))
end

local function on_timer(_, self, key, flight, ...)
  if not flight.thread then -- otherwise its request has stopped waiting for the timer
    fly(self, key, flight, ...)
  end
end

local function begin_flight(self, key, ...)
  local flight = { generation = self:generation(key), made = core.now(), ready = semaphore.new(), thread = false,
    ended = false }
  self.flights[key] = flight
  if ngx.get_phase() == "timer" or not ngx.timer.at(0, on_timer, self, key, flight, ...) then
    fly(self, key, flight, ...)
  end
  return flight
end

-- Returns whether a flight will never end: nginx silently drops timers beyond lua_max_running_timers, and ends requests
-- and light threads. `limit` is how many seconds the caller waits.
local function is_lost(flight, limit)
  if not flight.thread then
    return core.now() >= flight.made + 1000 * math.min(START, limit / 4)
  end
  local status = coroutine.status(flight.thread)
  return not flight.ended and (status == "dead" or status == "zombie")
end

-- The first who notices that the flight is lost goes on without.
local function wait_for(self, key, flight, limit, ...)
  local due = core.now() + limit * 1000
  while not flight.ended and core.now() < due do
    flight.ready:wait(math.max(0.001, math.min((due - core.now()) / 1000, limit / 4, CHECK)))
    if not flight.ended and is_lost(flight, limit) then
      fly(self, key, flight, ...)
    end
  end
end

local function results(flight)
  if not flight.ended then
    return true, nil, { kind = "timeout", message = "the find of this card that others wait for, too, took too long",
      operation = "contact_identifiers.find", sent = "no", attempts = 0, outcome_unknown = false }
  elseif not flight.fine then
    error(flight.json, 0)
  end
  return true, flight.json, flight.err, flight.info
end

function Store:share(key, limit, ...)
  if nginx.refusal() then
    return nil -- the driver says why
  end
  limit = limit or self.longest
  local flight = self.flights[key]
  if flight and self:is_current(key, flight.generation) and not is_lost(flight, limit) then
    self:count("coalesced")
  else
    flight = begin_flight(self, key, ...)
  end
  wait_for(self, key, flight, limit, ...)
  return results(flight)
end

local function in_background(_, f, ...)
  f(...)
end

function Store.spawn(_, f, ...)
  return (ngx.timer.at(0, in_background, f, ...)) or false
end

-- ---- counting ---------------------------------------------------------------------------

-- A worker counts by itself, and adds that up about once a second, like leat.nginx_counts.

local function flush(self)
  for name, number in pairs(self.numbers) do
    self.numbers[name] = nil
    self.notes:incr(self.name .. "n " .. name, number, 0)
  end
  self.due = false
end

local function flush_behind(_, self)
  flush(self)
end

function Store:count(name)
  self.numbers[name] = (self.numbers[name] or 0) + 1
  if self.due and ngx.now() <= self.due then
    return
  elseif self.due or not ngx.timer.at(FLUSH, flush_behind, self) then
    flush(self) -- nginx has dropped or refused the timer
  else
    self.due = ngx.now() + 2 * FLUSH
  end
end

function Store:counts()
  flush(self)
  return setmetatable({}, { __index = function(_, name)
    return (self.notes:get(self.name .. "n " .. name))
  end })
end

-- ---- making -----------------------------------------------------------------------------

-- Returns a cache for the options of `leat.new`; or nil and a message.
local function new(options, access)
  local settings = options.cache
  local texts = ngx.shared[settings.dict]
  if not texts then
    return nil, ("cache: there is no dict '%s': say 'lua_shared_dict %s 10m;' in nginx.conf, in http { }"):format(
      settings.dict, settings.dict)
  end
  local longest = settings.longest
  local headers = type(options.headers) == "table" and core.sha256(table.concat(options.headers, "\0")) .. " " or ""
  settings.name = shared.prefix_of(options) .. headers
  local store = setmetatable({ texts = texts, notes = ngx.shared[options.shared], name = settings.name .. "cache ",
    longest = longest, lasting = 2 * longest + 60, numbers = {}, due = false, flights = {},
    worker = ngx.worker.pid }, Store)
  return caches.new(settings, store, access)
end

return { new = new }
