-- The state that the workers of one nginx share in a lua_shared_dict: the token of an account, the slots
-- of its rate limiter, and the pause that the service asked for. For leat.nginx only. The core decides when
-- a token is renewed and how long a call waits; this module only exchanges data between the workers, in
-- these entries:
--
--    leat ACCOUNT token     "UNTIL TOKEN"; UNTIL is when the token is to be renewed, in milliseconds
--    leat ACCOUNT getting   the lease of the worker that is getting a token
--    leat ACCOUNT pause     "UNTIL KIND FLAGS"; UNTIL is the end of the pause, in milliseconds
--    leat ACCOUNT NUMBER    the slot of that cell is taken: its time, in microseconds, or "" if it is unused
--
-- leat.nginx_counts adds some. A lost or foreign entry under these names costs no more than a token request, or a call
-- at the wrong time. (A dict's `get` may return the entry's flags as a second value: use only the first.)
--
-- With `fleet`, the slots come from Redis, and the cells are used only while it is away: see leat.nginx_fleet.

local ngx = package.loaded.ngx
local counts = require("leat.nginx_counts")
local drivers = require("leat.driver")
local now = require("leat.core").now

local shared = {}
local Store = {}
Store.__index = Store

local AGAIN = 50 -- milliseconds between two checks for a token that another worker is getting
local LOCK = 3 -- seconds of the lease at most: a worker that takes longer to get a token may have died

-- ---- the token --------------------------------------------------------------------------

-- Gives the shared token to the call's client. Returns false if there is none, or if the client refuses it
-- because it is old or invalid.
function Store:take(call, ms, unix)
  local entry = self.dict:get(self.name .. "token")
  local ends, token = tostring(entry):match("^(%d+) (.+)$")
  return ends ~= nil and call:share(ms, unix, token, tonumber(ends))
end

-- Takes the lease for getting a token; returns false if another call has it. The lease expires, because a
-- worker may die: after half of `timeout`, so that other calls can still get a token in time, and after
-- LOCK seconds at most.
function Store:lock(call)
  local key = self.name .. "getting"
  local ttl = self.dict:ttl(key)
  -- An entry that lasts longer is not from this module, and would stay for too long. Workers' clocks differ:
  -- seen by a worker that is behind, a lease may last a little longer than it was made for.
  if ttl and (ttl <= 0 or ttl > 2 * LOCK) then
    self.dict:delete(key)
  end
  self.locks = self.locks + 1
  local mine = ngx.worker.pid() .. " " .. self.locks
  if not self.dict:add(key, mine, math.min(self.timeout / 2, LOCK)) then
    return false
  end
  self.mine, self.holder = mine, call
  return true
end

local function unlock(self)
  local key = self.name .. "getting"
  if self.dict:get(key) == self.mine then
    self.dict:delete(key)
  end
  self.holder = nil
end

-- Performs the step "token": gives the shared token to the call, or lets it wait, or lets it get a new one.
-- `ask` is the client's token function, or nil.
function Store:get_token(call, ms, unix, ask)
  if self:take(call, ms, unix) then
    return
  elseif not self:lock(call) then
    call:await(ms, unix, ms + AGAIN)
  elseif not self:take(call, ms, unix) then -- another worker may have stored one just before the lease
    self.dict:delete(self.name .. "token")
    if ask then
      drivers.give_token(call, ms, unix, ask)
    else
      call:fetch(ms, unix)
    end
  end
end

-- Shares what the call's last step has changed: a pause that the service asked for; and, if the call held
-- the lease and is done with it, the new token.
function Store:publish(call, ms, unix)
  self.counts:note(ms)
  self:put_pause(call, ms)
  if self.holder ~= call or call:gets_token() then
    return
  end
  local token, ends = call:token(ms, unix)
  if token then
    self.dict:set(self.name .. "token", ("%.0f %s"):format(ends, token))
  end
  unlock(self)
end

-- ---- the pause --------------------------------------------------------------------------

local function parse_pause(entry, ms)
  local ends, kind, asked, too_long = tostring(entry):match("^(%d+) ([%l_]+) ([01])([01])$")
  if ends then
    return { seconds = (tonumber(ends) - ms) / 1000, kind = kind, asked = asked == "1", too_long = too_long == "1" }
  end
end

-- Returns the pause that the workers share now, in the form of call:pause; or nil.
function Store:shared_pause(ms)
  local pause = parse_pause(self.dict:get(self.name .. "pause"), ms)
  return pause and pause.seconds > 0 and pause or nil
end

-- Applies a pause from another worker to the call's client. To be called before each step.
function Store:take_pause(call, ms)
  local entry = self.dict:get(self.name .. "pause")
  if entry == nil or entry == self.pause then
    return
  end
  self.pause = entry
  local pause = parse_pause(entry, ms)
  if pause then
    pause.seconds = pause.seconds + 0.0005 -- the core truncates it to whole milliseconds
    call:share_pause(ms, pause)
  end
end

function Store:put_pause(call, ms)
  local pause = call:pause(ms)
  if not pause then
    return
  end
  local entry = ("%.0f %s %d%d"):format(ms + pause.seconds * 1000, pause.kind, pause.asked and 1 or 0,
    pause.too_long and 1 or 0)
  if entry ~= self.pause then
    self.pause = entry
    self.dict:set(self.name .. "pause", entry, math.max(0.001, pause.seconds))
    if self.fleet then
      self.fleet:share_pause(ms + pause.seconds * 1000)
    end
  end
end

-- ---- the rate ---------------------------------------------------------------------------

-- Time is divided into cells, each as long as the interval between slots. A cell holds at most one slot, at
-- any time within the cell. The worker that adds a cell's entry owns the cell, since `add` succeeds only
-- once. The previous cell must be settled first, because its slot may be only just before: if it is still
-- free, an empty entry is added so that nobody takes it any more.
function Store:add(cell, moment, us, length)
  local lives = ((cell + 3) * length - us) / 1000000 + 1
  return self.dict:add(self.name .. cell, moment, lives)
end

-- Returns the first time in a cell, in microseconds, that is not before `from`, and far enough from the previous slot.
function Store:earliest(cell, from, us, length)
  local start = cell * length
  local undecided = self:add(cell - 1, "", us, length)
  local entry = not undecided and self.dict:get(self.name .. cell - 1)
  local taken = tonumber(entry) or 0
  return math.max(from, start, taken > 0 and math.min(taken, start) + length or 0)
end

-- Takes the first free slot that is not before `from`, unless it is after `last`. Returns its time in any case. `us` is
-- the time now.
function Store:take_cell(from, last, us, length)
  local cell = math.max(math.floor(from / length), self.cell)
  local moment = self:earliest(cell, from, us, length)
  while moment <= last do
    local fine, why = self:add(cell, moment, us, length)
    if fine or why ~= "exists" then
      break
    end
    cell = cell + 1
    self.cell = cell
    moment = self:earliest(cell, from, us, length)
  end
  return moment
end

-- Takes a slot of this machine's part of the rate, while Redis is away. It follows the slots that the machine took
-- before, from Redis too, and the ones that it takes from Redis later follow it.
function Store:take_part(length, last)
  local fleet, ms = self.fleet, now()
  local us = ms * 1000
  local moment = self:take_cell(math.max(us, fleet:next_slot(ms)), last, us, length * fleet.machines)
  if moment <= last then
    fleet:note_next(moment + length)
  end
  return moment
end

-- Performs the step "slot": takes the first free slot. After the time that the call can wait for none is taken, because
-- the call then fails.
function Store:take_slot(call, ms)
  local length, last, us = call:slot_length(), call:until_ms() * 1000, math.floor(ms * 1000)
  if self.fleet then
    call:take_slot(self.fleet:take_slot(length, last) or self:take_part(length, last))
  else
    call:take_slot(self:take_cell(us, last, us, length))
  end
end

-- ---- making -----------------------------------------------------------------------------

-- Returns the name of an account: a hash, so that it does not reveal the key.
local function account_of(options)
  local account = options.account or options.client_id or options.api_key or options.access_token
  local parts = { account, options.base_url or "", options.token_url or "" }
  return ngx.encode_base64(ngx.sha1_bin(table.concat(parts, "\0")))
end

-- Returns the prefix of an account's entries.
function shared.prefix_of(options)
  return ("leat %s "):format(account_of(options))
end

-- Returns the store for the options of `leat.new` and the core's client; or nil and a message.
function shared.new(options, handle)
  local dict = ngx.shared[options.shared]
  if not dict then
    return nil, ("shared: there is no '%s': say 'lua_shared_dict %s 1m;' in nginx.conf, in http { }"):format(
      options.shared, options.shared)
  elseif options.token and not options.account then
    return nil, "account is missing: a name for whose tokens they are that are shared"
  end
  local account = account_of(options)
  local self = setmetatable({ dict = dict, name = shared.prefix_of(options), timeout = options.timeout or 30, locks = 0,
    cell = 0, pause = false, counts = false, fleet = false }, Store)
  if options.fleet then
    local fleet, wrong = require("leat.nginx_fleet").new(options, dict, account)
    if not fleet then
      return nil, wrong
    end
    self.fleet = fleet
  end
  self.counts = counts.new(handle, self)
  return self
end

return shared
