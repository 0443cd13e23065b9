-- What the workers of an nginx share, in a lua_shared_dict: the token of an account, the slots of its
-- rate, and the pause that the service asked for. For leat.nginx only. The core decides when a
-- token is renewed and how long a call waits; here is only what the workers tell each other:
--
--    leat ACCOUNT token     "UNTIL TOKEN"; UNTIL is when its worker will renew it, in milliseconds
--    leat ACCOUNT getting   the lock of the worker that gets a token
--    leat ACCOUNT pause     "UNTIL KIND FLAGS" of a pause
--    leat ACCOUNT NUMBER    who has that slot: its moment, in microseconds
--
-- Anything else under these names, or a lost entry, costs a fetch, or a call at the wrong moment. (A
-- dict's `get` returns a value and maybe its flags: take the first alone.)

local ngx = package.loaded.ngx
local driver = require("leat.driver")

local shared = {}
local Store = {}
Store.__index = Store

local AGAIN = 50 -- milliseconds until a token that another worker gets is looked for again
local LOCK = 3 -- seconds: a worker that takes longer to get a token may have died

-- ---- the token --------------------------------------------------------------------------

-- Whether the call's client has it now. What it refuses is old, or is rubbish.
function Store:take(call, ms, unix)
  local entry = self.dict:get(self.name .. "token")
  local ends, token = tostring(entry):match("^(%d+) (.+)$")
  return ends ~= nil and call:share(ms, unix, token, tonumber(ends))
end

-- Whether this call is the one that gets it. The lock ends by itself, because a worker may die: in
-- half of the timeout, so that others can still get one, and whatever the timeout, in LOCK seconds.
function Store:lock(call)
  local key = self.name .. "getting"
  local ttl = self.dict:ttl(key)
  if ttl and (ttl <= 0 or ttl > LOCK) then -- none of ours: it would stay for too long
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

-- What "token" asks for. `ask` is the user's function, if there is one.
function Store:get_token(call, ms, unix, ask)
  if self:take(call, ms, unix) then
    return
  elseif not self:lock(call) then
    call:await(ms, unix, ms + AGAIN)
  elseif not self:take(call, ms, unix) then -- nor did it come just now
    self.dict:delete(self.name .. "token")
    if ask then
      driver.give_token(call, ms, unix, ask)
    else
      call:fetch(ms, unix)
    end
  end
end

-- The call went on. If it was to get a token, others may have it now; and if the service asked
-- it to wait, they wait too.
function Store:note(call, ms, unix)
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

-- Before a call is asked what it does next: what another worker was told counts here as well.
function Store:take_pause(call, ms)
  local entry = self.dict:get(self.name .. "pause")
  if entry == nil or entry == self.pause then
    return
  end
  self.pause = entry
  local ends, kind, asked, too_long = tostring(entry):match("^(%d+) ([%l_]+) ([01])([01])$")
  if ends then
    local seconds = (tonumber(ends) - ms + 0.5) / 1000 -- which the core cuts to whole milliseconds
    call:share_pause(ms, { seconds = seconds, kind = kind, asked = asked == "1", too_long = too_long == "1" })
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
  end
end

-- ---- the rate ---------------------------------------------------------------------------

-- Time lies in cells as long as slots are apart; each holds one slot at most, at a moment of its
-- own. Who adds a cell has it, and nobody else: so it is decided between workers. The one
-- before must be decided first, for its slot may be a moment ago: if nobody has it, nobody
-- will.
function Store:add(cell, moment, now, length)
  local lives = ((cell + 3) * length - now) / 1000000 + 1
  return self.dict:add(self.name .. cell, moment, lives)
end

-- The first moment in a cell that is far enough from the slot before.
function Store:earliest(cell, now, length)
  local start = cell * length
  local undecided = self:add(cell - 1, "", now, length)
  local entry = not undecided and self.dict:get(self.name .. cell - 1)
  local taken = tonumber(entry) or 0
  return math.max(now, start, taken > 0 and math.min(taken, start) + length or 0)
end

-- What "slot" asks for. Beyond `last` none is taken: the call won't wait for it.
function Store:take_slot(call, ms)
  local length, last, now = call:slot_length(), call:until_ms() * 1000, math.floor(ms * 1000)
  local cell = math.max(math.floor(now / length), self.cell)
  local moment = self:earliest(cell, now, length)
  while moment <= last do
    local fine, why = self:add(cell, moment, now, length)
    if fine or why ~= "exists" then
      break
    end
    cell = cell + 1
    self.cell = cell
    moment = self:earliest(cell, now, length)
  end
  call:take_slot(moment)
end

-- ---- making -----------------------------------------------------------------------------

-- The name of an account in the dict tells nobody its key.
local function name_of(given)
  local account = given.account or given.client_id or given.api_key or given.access_token
  local parts = { account, given.base_url or "", given.token_url or "" }
  return "leat " .. ngx.encode_base64(ngx.sha1_bin(table.concat(parts, "\0"))) .. " "
end

-- Returns the store for what `leat.new` was given; or nil and what is wrong.
function shared.new(given)
  local dict = ngx.shared[given.shared]
  if not dict then
    return nil, ("shared: there is no '%s': say 'lua_shared_dict %s 1m;' in nginx.conf, in http { }"):format(
      given.shared, given.shared)
  elseif given.token and not given.account then
    return nil, "account is missing: a name for whose tokens they are that are shared"
  end
  return setmetatable({ dict = dict, name = name_of(given), timeout = given.timeout or 30, locks = 0, cell = 0,
    pause = false },
    Store)
end

return shared
