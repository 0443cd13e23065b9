-- A store of leat.limiter in memory, which several limiters of a process can share. Its clock differs from the
-- program's. Requests take time, but are handled when they would be, however late the program reads the result. For
-- tests; its fields may be changed:
--   there   milliseconds until a request is handled
--   back    milliseconds from then until its result is there
--   clock   microseconds between its clock and the program's, for all stores that share slots
--   wrong   why it fails; and `refused`
--   frozen  true: it does not respond
-- It counts the requests that were `begun` and `aborted`, and notes the `most` slots that one asked for.
local now = require("leat.core").now

local Store = {}
Store.__index = Store

-- Returns a store that shares the slots of `other`.
local function new(other)
  return setmetatable({ accounts = other and other.accounts or {}, reserved = other and other.reserved or {}, begun = 0,
    most = 0, aborted = 0, there = 0, back = 0, clock = 1e12, closed = false, request = false }, Store)
end

local function set_pause(account, pause, time)
  if pause and time + pause.seconds * 1e6 > account.pause_ends then
    account.pause_ends = time + pause.seconds * 1e6
    account.pause = { kind = pause.kind, asked = pause.asked, too_long = pause.too_long }
  end
end

-- Returns the pause, if it has not ended.
local function get_pause(account, time)
  local seconds = (account.pause_ends - time) / 1e6
  return seconds > 0 and { seconds = seconds, kind = account.pause.kind, asked = account.pause.asked,
    too_long = account.pause.too_long } or nil
end

-- Handles a request that arrives at `time`. Returns the first slot, and the pause.
local function handle(self, name, length, count, pause, time)
  local account = self.accounts[name] or { next = 0, pause_ends = 0 }
  self.accounts[name] = account
  set_pause(account, pause, time)
  local first = account.next > time + 60e6 and time or math.max(account.next, time)
  account.next = first + count * length
  for i = 0, count - 1 do
    table.insert(self.reserved, first + i * length)
  end
  return first, get_pause(account, time)
end

function Store:begin(account, length, count, pause)
  assert(not self.closed)
  assert(length % 1 == 0 and count % 1 == 0 and (count > 0 or pause))
  self.begun, self.most = self.begun + 1, math.max(self.most, count)
  local request = { sent = now(), wrong = self.wrong }
  if not self.wrong and not self.frozen then
    request.ready = request.sent + self.there + self.back
    request.time = math.floor((request.sent + self.there) * 1000) + self.clock
    request.first, request.pause = handle(self, account, length, count, pause, request.time)
  end
  self.request = request -- last: after an interrupt there is none
end

function Store:result()
  local request = self.request
  local wrong = self.wrong or not request and "interrupted" or request.wrong
  if wrong then
    self.request = false
    return nil, wrong, self.refused
  elseif self.frozen or not request.ready or now() < request.ready then
    return false
  end
  self.request = false
  return request
end

function Store.watched()
end

function Store:abort()
  self.request = false
  self.aborted = self.aborted + 1
end

function Store:close()
  self.closed = true
end

return new
