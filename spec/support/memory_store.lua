-- A store of leat.limiter in memory, which several limiters of a process can share. Its clock differs from the
-- program's. For tests; its fields may be changed:
--   delay   milliseconds that it takes to respond
--   wrong   why it fails; and `refused`
--   frozen  true: it does not respond
local now = require("leat.core").now

local Store = {}
Store.__index = Store

local CLOCK = 1e12 -- microseconds between its clock and the program's

-- Returns a store that shares the slots of `other`.
local function new(other)
  return setmetatable({ accounts = other and other.accounts or {}, reserved = other and other.reserved or {}, begun = 0,
    aborted = 0, delay = 0, closed = false }, Store)
end

local function time()
  return math.floor(now() * 1000) + CLOCK
end

-- Reserves the slots at the moment when the request is handled.
function Store:handle(request)
  local account = self.accounts[request.account] or { next = 0, pause_ends = 0 }
  self.accounts[request.account] = account
  local pause = request.pause
  if pause and time() + pause.seconds * 1e6 > account.pause_ends then
    account.pause_ends, account.pause = time() + pause.seconds * 1e6, pause
  end
  local first = math.max(account.next, time())
  account.next = first + request.count * request.length
  for i = 1, request.count do
    table.insert(self.reserved, first + (i - 1) * request.length)
  end
  local left = (account.pause_ends - time()) / 1e6
  local reply = { sent = request.sent, delay = first - time() }
  if left > 0 then
    reply.pause = { seconds = left, kind = account.pause.kind, asked = account.pause.asked,
      too_long = account.pause.too_long }
  end
  return reply
end

function Store:begin(account, length, count, pause)
  assert(not self.closed)
  assert(length % 1 == 0 and count % 1 == 0 and (count > 0 or pause))
  self.begun = self.begun + 1
  if self.wrong then
    return nil, self.wrong, self.refused
  end
  self.request = { account = account, length = length, count = count, pause = pause, sent = now() }
  return true
end

function Store:result()
  local request = self.request
  if not request then
    return nil, "interrupted"
  elseif self.wrong then
    self.request = nil
    return nil, self.wrong, self.refused
  elseif self.frozen or now() < request.sent + self.delay then
    return false
  end
  self.request = nil
  return self:handle(request)
end

function Store.watched()
end

function Store:abort()
  self.request = nil
  self.aborted = self.aborted + 1
end

function Store:close()
  self.closed = true
end

return new
