--- PostgreSQL for what several machines share: one rate limit for each account.
--
--    local limiter = require("leat.postgres").limiter { db = "postgres://db.example/leat" }
--    local client = leat.new { api_key = key, rate = 5, limiter = limiter }
--
-- The limiter keeps a row for each account in a table `slot`, which it creates. All times are the database's. Any
-- session of the database will do, also behind a pooler that gives each transaction another one. Only looking up the
-- name of the database's host blocks, unless `db` has its address: `hostaddr`. If `db` has several hosts, the next one
-- is tried when one cannot be reached, but not when one accepts the connection and is then silent.
-- @module leat.postgres

local core = require("leat.postgres.core")
local limiters = require("leat.limiter")
local now = require("leat.core").now
local schema = require("leat.options")

local postgres = {}
local Store = {} -- see leat.limiter
Store.__index = Store

-- ---- the table --------------------------------------------------------------------------

local CREATE = [[create table if not exists slot (
  account text primary key,         -- a digest of the credential and the service's URL
  next_us bigint not null,          -- the next slot that is not reserved, in microseconds since 1970
  paused_until_us bigint not null,  -- the end of the last pause
  pause text not null,              -- its kind and flags
  rate bigint not null)             -- requests per minute, as last asked for]]

-- The parameters are the account, the length of a slot, the number of slots, the microseconds of a pause or 0, what it
-- is, and the rate. The row is locked before the time is taken, so that slots are reserved in order. If the database's
-- clock was set back, or a slot far ahead was stored otherwise, that slot is forgotten: a minute and a thousand slots
-- are more than the processes reserve ahead. A pause takes 15 minutes at most.
local RESERVE = ([[
insert into slot as s (account, next_us, paused_until_us, pause, rate)
values ($1, NOW + $2 * $3, NOW + $4, $5, $6)
on conflict (account) do update set
  next_us = case when s.next_us > NOW + 60000000 + 1000 * $2 then NOW else greatest(NOW, s.next_us) end + $2 * $3,
  pause = case when NOW + $4 > s.paused_until_us then $5 else s.pause end,
  paused_until_us = greatest(NOW + $4, least(s.paused_until_us, NOW + 900000000)),
  rate = $6
returning NOW, next_us - $2 * $3, paused_until_us - NOW, pause]]):gsub("NOW",
  "(extract(epoch from clock_timestamp()) * 1000000)::bigint")

local NO_TABLE = "42P01"
local EXISTS = { ["42P07"] = true, ["42710"] = true } -- another process creates the table, or its type

-- Returns whether it is of no use to try again soon: the string, the password, the name of the database or a right is
-- wrong, or the table is another one.
local function is_refusal(code)
  local class = code:sub(1, 2)
  return code == core.codes.CONNINFO or code == "3D000" or class == "28" or (class == "42" and not EXISTS[code])
end

-- ---- a request --------------------------------------------------------------------------

-- A request is the list of statements that are still to be executed, and what to do with the last one's row.

local function drop(self)
  local connection = self.connection
  self.connection, self.connected = false, false
  if connection then
    connection:close()
  end
end

-- Ends the request, and the connection: its server may be a standby by now, or shut down.
local function fail(self, why, code)
  drop(self)
  self.request, self.why, self.refused = false, why, is_refusal(code)
end

local function connect(self)
  local connection, why, code = core.begin(self.db)
  if connection then
    self.connection = connection
  else
    fail(self, why, code)
  end
end

local function send(self, sql, ...)
  self.sent, self.sql = now(), sql
  local fine, why, code = self.connection:send(sql, ...)
  if not fine then
    fail(self, why, code)
  end
end

local function reserve(self)
  local request = self.request
  send(self, RESERVE, "tiiiti", request.account, request.length, request.count, request.pause_us,
    request.pause, math.floor(60000000 / request.length + 0.5))
end

-- Returns the pause of a row that ends `us` microseconds from now, or nil.
local function to_pause(us, text)
  local kind, asked, too_long = text:match("^([%l_]+) ([01])([01])$")
  if kind and us > 0 then
    return { seconds = us / 1000000, kind = kind, asked = asked == "1", too_long = too_long == "1" }
  end
end

local function finish(self, rows)
  local _, time, first, paused_us, text = rows:fetch()
  rows:close()
  self.request = false
  return { sent = self.sent, time = time, first = first, pause = to_pause(paused_us, text) }
end

-- Takes what the server sent, and sends the next statement, or returns the result. `true` means that there is a
-- connection, and nothing under way: it is new, or an interrupt broke into the last step.
local function go_on(self)
  local result, why, code = self.connection:receive()
  if result == true then
    self.connected = true
    reserve(self)
  elseif result and self.sql == RESERVE then
    return finish(self, result)
  elseif result then
    reserve(self)
  elseif code == NO_TABLE and self.sql == RESERVE then
    send(self, CREATE)
  elseif result == nil then
    fail(self, why, code)
  end
end

-- ---- the store --------------------------------------------------------------------------

function Store:begin(account, length, count, pause)
  self.request = { account = account, length = length, count = count, pause_us = 0, pause = "" }
  if pause then
    self.request.pause_us = math.floor(pause.seconds * 1000000)
    self.request.pause = ("%s %d%d"):format(pause.kind, pause.asked and 1 or 0, pause.too_long and 1 or 0)
  end
  self.why, self.refused = "the request was interrupted", false
  if self.connected then
    reserve(self)
  else
    drop(self)
    connect(self)
  end
end

function Store:result()
  local result = self.request and self.connection and go_on(self)
  if result or self.request and self.connection then
    return result or false
  end
  return nil, self.why, self.refused
end

function Store:watched()
  if self.connection then
    return self.connection:watched()
  end
end

function Store:abort()
  drop(self)
  self.request = false
end

function Store:close()
  drop(self)
end

-- ---- the module -------------------------------------------------------------------------

--- Makes a limiter whose slots are in a database: see `leat.limiter`. It connects when the first call needs a slot, and
-- again when the connection is lost.
-- @tparam table options the options:
-- @tparam string options.db the database, as a string of libpq: a URI or words. What it lacks comes from libpq's
--   environment and files, such as `PGPASSWORD` and `PGPASSFILE`. Messages do not contain the password
-- @treturn Limiter
-- @raise mistakes in the options
function postgres.limiter(options)
  local settings = schema.check("leat.postgres.limiter", { db = "string" }, options, 2)
  local wrong = not settings.db and "db is missing" or core.fault(settings.db)
  if wrong then
    error("leat.postgres.limiter: " .. wrong, 2)
  end
  return limiters.new(setmetatable({ db = settings.db, connection = false, connected = false, request = false,
    sent = 0, sql = false, why = false, refused = false }, Store))
end

return postgres --[[@as leat.postgres]]
