-- Keeps what leat.cache knows in this process: for scripts, event loops and games. The methods are those of a store,
-- see leat.cache.

local drivers = require("leat.driver")

local Store = {}
Store.__index = Store

local NAMES = 10000 -- so many claims are kept at least

-- ---- tables of limited size -------------------------------------------------------------

-- A table of limited size consists of a young one and an old one. Once the young one is full, it becomes the old one,
-- and what was in that is forgotten. What is read is moved to the young one. So everything takes the same short time.

local Table = {}
Table.__index = Table

local function new_table(most, now)
  return setmetatable({ now = now, young = {}, old = {}, count = 0, most = math.ceil(most / 2) }, Table)
end

function Table:set(key, value)
  if self.count >= self.most then
    self.old, self.young, self.count = self.young, {}, 0
  end
  if self.young[key] == nil then
    self.count = self.count + 1
  end
  self.young[key] = value
  self.old[key] = nil
end

function Table:remove(key)
  if self.young[key] ~= nil then
    self.count = self.count - 1
  end
  self.young[key], self.old[key] = nil, nil
end

-- Returns an item, a table whose field `ends` says until when it counts, in milliseconds; or nil.
function Table:get(key)
  local item = self.young[key]
  if not item then
    item = self.old[key]
    if item then
      self:set(key, item)
    end
  end
  if item and item.ends <= self.now() then
    self:remove(key)
    return nil
  end
  return item
end

-- ---- texts and names --------------------------------------------------------------------

function Store:get(key)
  local item = self.texts:get(key)
  return item and item.text
end

function Store:put(key, text, seconds)
  self.texts:set(key, { text = text, ends = self.now() + seconds * 1000 })
  return true
end

function Store:drop(key)
  self.texts:remove(key)
end

function Store:is_claimed(name)
  return self.names:get(name) ~= nil
end

function Store:mark(name, seconds)
  self.names:set(name, { ends = self.now() + seconds * 1000 })
end

function Store:claim(name, seconds)
  local is_free = not self.names:get(name)
  if is_free then
    self:mark(name, seconds)
  end
  return is_free
end

function Store:release(name)
  self.names:remove(name)
end

-- ---- generations ------------------------------------------------------------------------

-- A generation is a table of its own, which is kept as long as a find or a change has it. It is over once it is marked.

function Store:generation(key)
  local generation = self.generations[key]
  if not generation then
    generation = { over = false }
    self.generations[key] = generation
  end
  return generation
end

function Store:advance(key)
  local old = self.generations[key]
  if old then
    old.over = true
    self.generations[key] = nil
  end
  return self:generation(key)
end

function Store.is_current(_, _, generation)
  return not generation.over
end

-- ---- finds that are under way -----------------------------------------------------------

-- Only tasks can wait for each other. Each find that is shared is a task, which is not canceled with those who wait.

local function in_task()
  return drivers.scheduler and drivers.scheduler.place() == "task"
end

-- Starts a task whose error nothing reports: who waits for it raises it.
local function spawn(f, ...)
  local task = drivers.scheduler.start({}, f, ...)
  drivers.scheduler.observe(task)
  return task
end

function Store.spawn(_, f, ...)
  return in_task() and spawn(f, ...) ~= nil
end

local function land(self, key, flight, ...)
  if self.flights[key] == flight then
    self.flights[key] = nil
  end
  return ...
end

local function fly(self, key, flight, f, ...)
  return land(self, key, flight, f(...))
end

local function may_join(self, key, flight)
  return flight and not (flight.task and flight.task.done) and self:is_current(key, flight.generation)
end

local function canceled(message)
  return { kind = "canceled", message = message, sent = "no", attempts = 0, outcome_unknown = false,
    operation = "contact_identifiers.find" }
end

function Store:share(key, limit, _, f, ...)
  if limit or not in_task() then
    return nil
  elseif drivers.scheduler.current().canceled then
    return true, nil, canceled("the task was canceled")
  end
  local flight = self.flights[key]
  if may_join(self, key, flight) then
    self:count("coalesced")
  else
    flight = { generation = self:generation(key), task = false }
    self.flights[key] = flight
    flight.task = spawn(fly, self, key, flight, f, ...)
  end
  local refused, was_canceled = drivers.scheduler.join(flight.task)
  if was_canceled then
    return true, nil, canceled(refused)
  elseif refused then
    error("leat: contact_identifiers.find: " .. refused, 0)
  end
  land(self, key, flight) -- it may have raised an error
  return true, flight.task:wait()
end

-- ---- counting ---------------------------------------------------------------------------

function Store:count(name)
  self.numbers[name] = (self.numbers[name] or 0) + 1
end

function Store:counts()
  return self.numbers
end

-- Makes a store that keeps `most` texts. `now` returns the time in milliseconds.
local function new(most, now)
  return setmetatable({ texts = new_table(most, now), names = new_table(math.max(most, NAMES), now), now = now,
    numbers = {}, flights = {}, generations = setmetatable({}, { __mode = "v" }) }, Store)
end

return { new = new }
