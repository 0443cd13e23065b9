-- What the workers of one nginx have counted together, and when their calls last ended. For leat.nginx_shared only.
-- The core counts the calls of each worker. A worker adds its numbers to those of all about once a second, so it needs
-- no lock and takes little time. What a worker has not added yet is lost if it is killed. The entries are these:
--
--    leat ACCOUNT count NAME     how often something happened, by the names of the core's client:counts
--    leat ACCOUNT ends WORKER    "WORKED FAILED KIND": when calls of that worker last ended, in milliseconds, or "-"
--    leat ACCOUNT limit          "LIMIT REMAINING": the rate limit that the service reported last

local ngx = package.loaded.ngx

local Counts = {}
Counts.__index = Counts

local FLUSH = 1 -- seconds between two additions of a worker's numbers
local LATE = 1000 -- milliseconds after which a timer will probably never begin

-- ---- adding -----------------------------------------------------------------------------

local function count_entry(self, name)
  return self.store.name .. "count " .. name
end

local function ends_entry(self, worker)
  return self.store.name .. "ends " .. worker
end

local function worker_id()
  return ngx.worker.id() or "agent" -- the privileged agent has no number
end

-- Adds a number to that of all workers. What cannot be added, because the dict is full, is added later.
local function add(self, name, number)
  local sum, why = self.dict:incr(count_entry(self, name), number - (self.added[name] or 0), 0)
  if sum then
    self.added[name] = number
  elseif why == "not a number" then -- an entry of somebody else
    self.dict:delete(count_entry(self, name))
  end
end

local function add_counts(self)
  for name, number in pairs(self.handle:counts()) do
    if number ~= self.added[name] then
      add(self, name, number)
    end
  end
end

-- Returns the later ones of these times and those in a worker's entry, which may be missing, or from somebody else.
local function latest(self, worker, worked, failed, kind)
  local entry = self.dict:get(ends_entry(self, worker))
  local other_worked, other_failed, other_kind = tostring(entry):match("^(%S+) (%S+) ([%l_-]+)$")
  other_worked, other_failed = tonumber(other_worked), tonumber(other_failed)
  if other_worked and other_worked > (worked or 0) then
    worked = other_worked
  end
  if other_failed and other_failed > (failed or 0) then
    failed, kind = other_failed, other_kind
  end
  return worked, failed, kind
end

local function text_of(ms)
  return ms and ("%.0f"):format(ms) or "-"
end

-- Each worker has an entry of its own, so that none replaces a later time by an earlier one.
local function put_ends(self)
  local worked, failed, kind = latest(self, worker_id(), self.handle:ends())
  local entry = ("%s %s %s"):format(text_of(worked), text_of(failed), kind or "-")
  self.dict:set(ends_entry(self, worker_id()), entry)
end

local function put_limit(self)
  local rate = self.handle:rate_limit()
  local entry = rate and ("%s %s"):format(rate.limit or "-", rate.remaining)
  if entry and entry ~= self.own_limit then
    self.own_limit = entry
    self.dict:set(self.store.name .. "limit", entry)
  end
end

local function flush(self)
  self.due = false
  add_counts(self)
  put_ends(self)
  put_limit(self)
end

local function on_timer(_, self)
  flush(self)
end

-- Sees to it that what a step of a call has changed is added soon. A timer does that, also while nginx ends gracefully.
-- nginx may refuse it, or silently drop it; then a later step does it.
function Counts:note(ms)
  if not self.due then
    self.due = ms + FLUSH * 1000
    if not ngx.timer.at(FLUSH, on_timer, self) then
      flush(self)
    end
  elseif ms > self.due + LATE then
    flush(self)
  end
end

-- ---- reading ----------------------------------------------------------------------------

-- These are methods of the core's client. They know of other workers what these have added.

function Counts:counts()
  flush(self)
  local sums = {}
  for name in pairs(self.handle:counts(true)) do -- all that there can be: a dict cannot list some
    sums[name] = tonumber((self.dict:get(count_entry(self, name))))
  end
  return sums
end

function Counts:ends()
  local worked, failed, kind = latest(self, "agent", self.handle:ends())
  for worker = 0, ngx.worker.count() - 1 do
    worked, failed, kind = latest(self, worker, worked, failed, kind)
  end
  return worked, failed, kind
end

function Counts:rate_limit()
  put_limit(self)
  local entry = self.dict:get(self.store.name .. "limit")
  local limit, remaining = tostring(entry):match("^(%S+) (%d+)$")
  return remaining and { limit = tonumber(limit), remaining = tonumber(remaining) } or nil
end

-- Returns the pause of the store, or that of this worker if it lasts longer.
function Counts:pause(ms)
  local own, shared = self.handle:pause(ms), self.store:shared_pause(ms)
  return own and shared and own.seconds > shared.seconds and own or shared or own
end

-- Returns what counts the calls of a client, for a store of leat.nginx_shared.
local function new(handle, store)
  return setmetatable({ handle = handle, store = store, dict = store.dict, added = {}, due = false,
    own_limit = false }, Counts)
end

return { new = new }
