-- What the clients of one account share in a process: the calls that wait for slots, the slots that are reserved for
-- them, and the pause that the service asked for. For leat.limiter, which adds the public methods, and asks the store.
-- Times are milliseconds on the clock of leat.core.now; slots are microseconds on it.

local core = require("leat.core")
local now = core.now

local Account = {}
Account.__index = Account

local AHEAD = 500 -- how far ahead slots are reserved, at most
local LEAST_TOLERANCE = 5000 -- microseconds: drivers measure time in milliseconds, and may be busy
local ROUNDING = 100 -- by which the end of one pause may differ in several processes
local LONGEST_PAUSE = 900000

-- ---- queues -----------------------------------------------------------------------------

local function new_queue()
  return { head = 1, tail = 0 }
end

local function push(queue, value)
  queue[queue.tail + 1] = value
  queue.tail = queue.tail + 1
end

local function shift(queue)
  queue[queue.head] = nil
  queue.head = queue.head + 1
end

-- ---- the calls that wait ----------------------------------------------------------------

-- Calls that wait are kept as tickets, in order. A ticket whose call awaits no slot any more is skipped.

function Account:add_ticket(ticket)
  push(self.waiting, ticket)
end

function Account:first_ticket()
  local waiting = self.waiting
  while waiting.head <= waiting.tail do
    local ticket = waiting[waiting.head]
    if ticket and ticket.call:awaits_slot() then
      return ticket
    end
    shift(waiting)
  end
end

-- Returns a list of the tickets whose calls wait.
function Account:tickets()
  local old, list = self.waiting, new_queue()
  for i = old.head, old.tail do
    if old[i] and old[i].call:awaits_slot() then
      push(list, old[i])
    end
  end
  self.waiting = list
  return list
end

-- Returns a time on the clock of the driver.
function Account.driver_time(driver, ms)
  local clock = driver.clock
  return clock and ms + clock.now() - now() or ms
end
local driver_time = Account.driver_time

-- Continues a call whose step is no longer "slot".
local function resume(ticket)
  if ticket.driver.resume then
    ticket.driver:resume(ticket.call)
  end
end

function Account.fail(ticket, kind, why)
  ticket.call:fail(driver_time(ticket.driver, now()), os.time(), kind, "no",
    "no slot of the rate that processes share: " .. why)
  resume(ticket)
end

function Account:fail_all(kind, why)
  for _, ticket in ipairs(self:tickets()) do
    self.fail(ticket, kind, why)
  end
end

function Account.fail_queue_timeout(ticket)
  ticket.call:take_slot(math.huge)
  resume(ticket)
end

-- ---- slots ------------------------------------------------------------------------------

-- Adds slots that are reserved, at intervals of `self.length`.
function Account:add_slots(first, count)
  for i = 0, count - 1 do
    push(self.slots, first + i * self.length)
  end
  self.reserved_until = self.slots[self.slots.tail] / 1000
end

function Account:forget_slots()
  self.slots, self.reserved_until = new_queue(), 0
end

-- Returns the next slot that is not too old, and leaves it reserved; or nil.
local function next_slot(self, ms)
  local slots = self.slots
  while slots.head <= slots.tail and (slots[slots.head] or 0) + self.tolerance < ms * 1000 do
    shift(slots)
  end
  return slots[slots.head]
end

-- Gives the reserved slots to the calls that wait. A call that may not wait for its slot fails, and leaves it to the
-- next one. A slot is removed before it is given: after an interrupt in between nothing is sent too early.
function Account:give_slots(ms)
  local ticket, slot = self:first_ticket(), next_slot(self, ms)
  while ticket and slot do
    if slot / 1000 > ticket.queue_deadline then
      self.fail_queue_timeout(ticket)
    else
      shift(self.slots)
      ticket.call:take_slot(driver_time(ticket.driver, slot / 1000) * 1000, self.tolerance)
      resume(ticket)
    end
    ticket, slot = self:first_ticket(), next_slot(self, ms)
  end
end

-- Returns how many slots are to be reserved now: for the calls that wait, but never many ahead, because others wait
-- behind these slots, and a process that ends leaves them unused.
function Account:count_wanted(ms)
  local ahead = math.max(0, self.reserved_until - ms)
  if ahead > AHEAD / 2 or not self:first_ticket() then
    return 0
  end
  local most = math.floor((AHEAD - ahead) * 1000 / self.length)
  return math.min(self:tickets().tail, math.max(1, most))
end

-- Returns when the store is to be asked for slots, or for the pause.
function Account:when_wanted(ms)
  if self:unstored_pause(ms) then
    return 0
  end
  return self:first_ticket() and self.reserved_until - AHEAD / 2 or math.huge
end

-- ---- pauses -----------------------------------------------------------------------------

-- Returns the pause, with the seconds that are left of it; nil if there is none.
function Account:current_pause(ms)
  local pause = self.pause
  pause.seconds = (self.pause_ends - ms) / 1000
  return pause.seconds > 0 and pause or nil
end

-- Returns the pause if it is yet to be stored, or nil.
function Account:unstored_pause(ms)
  return ms < self.store_until and self:current_pause(ms) or nil
end

-- Shares the pause with a call's client. Returns false if there is none, or if the client knows it.
function Account:share_pause(ticket, ms)
  local pause, moment = self:current_pause(ms), driver_time(ticket.driver, ms)
  local known = pause and ticket.call:pause(moment)
  if not pause or known and (pause.seconds - known.seconds) * 1000 <= ROUNDING then
    return false
  end
  ticket.call:share_pause(moment, pause)
  return true
end

-- Lets a call find out about its client's pause. If it does not wait for the end, it needs a slot again.
function Account.reconsider(ticket, ms)
  local moment = driver_time(ticket.driver, ms)
  ticket.call:await(moment, os.time(), moment)
  resume(ticket)
end

-- Pauses the account, unless it is paused for as long already. Returns whether it was not.
function Account:set_pause(pause, ms)
  local ends = ms + math.min(pause.seconds * 1000, LONGEST_PAUSE)
  if ends <= self.pause_ends + ROUNDING then
    return false
  end
  self.pause, self.pause_ends = pause, ends
  for _, ticket in ipairs(self:tickets()) do
    self:share_pause(ticket, ms)
    self.reconsider(ticket, ms)
  end
  return true
end

-- ---- the account ------------------------------------------------------------------------

-- Returns its name: a digest, so that it does not reveal the key.
local function name_of(options)
  local account = options.account or options.client_id or options.api_key or options.access_token
  local base_url = (options.base_url or core.base_url):gsub("/+$", "")
  return core.sha256(account .. "\0" .. base_url)
end

-- Makes the account of a client with these options. `tolerance` is how much later than its time a slot may be used;
-- `reserved_until`, the time of the last slot that is reserved; `due`, when the time of a call may be up;
-- `store_until`, until when to try to store the pause.
local function new(limiter, options)
  local length = math.floor(60000000 / math.floor(options.rate * 60 + 0.5))
  return setmetatable({ limiter = limiter, name = name_of(options), rate = options.rate, length = length,
    tolerance = math.max(math.floor(length / 2), LEAST_TOLERANCE), waiting = new_queue(), due = math.huge,
    slots = new_queue(), reserved_until = 0, pause = {}, pause_ends = 0, store_until = 0 }, Account)
end

return { Account = Account, new = new }
