-- One rate for several machines that run nginx: they take its slots from Redis, version 5 or later. For
-- leat.nginx_shared only.
--
-- Redis keeps a single entry, the slot clock, which is the time of the next free slot. A script moves it forward, and
-- returns how long the caller has to wait for its slot, so the clocks of the machines do not matter. While Redis is
-- away, each machine uses its share of the rate. The workers of a machine know about that, and about the slot clock,
-- from these entries of the lua_shared_dict:
--
--    leat ACCOUNT next       the next free slot is not before this time, in microseconds, as far as the machine knows
--    leat ACCOUNT failures   Redis is away; this is the number of requests to it that failed one after the other
--    leat ACCOUNT resting    until this entry expires, Redis that is away is not tried again

local core = require("leat.core")
local now = core.now

local ngx = package.loaded.ngx

local fleet = {}
local Fleet = {}
Fleet.__index = Fleet

local TIMEOUT = 0.2 -- seconds within which Redis must respond, by default
local IDLE = 10000 -- milliseconds for which an idle connection is kept
local LEASE = 100 -- milliseconds by which a turn may last longer than the timeout: then its call has died
local LONGEST_REST = 10 -- seconds between two attempts to reach Redis that is away
local LONGEST_PAUSE = 900 -- seconds: a limit of the core
local ROUNDING = 100 -- milliseconds by which the end of the same pause may differ

-- ---- the slot clock ---------------------------------------------------------------------

-- The entry is "NEXT SET": the time of the next free slot, and the time when that was stored, in microseconds on the
-- clock of Redis. The arguments are, in microseconds: the interval between two slots; the longest wait that the caller
-- can use; what is left of a pause, which is to be stored instead of taking a slot, or 0; and how long the next slot is
-- yet to come, as far as the caller knows. That counts if Redis has lost the entry, or if the fifth argument is 1: the
-- caller was without Redis, and has slots of its own. Returns the wait, or the negative wait if it is too long. If the
-- clock of Redis was set back, the next slot keeps its distance to now.
local SCRIPT = [[
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local length, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local pause, known = tonumber(ARGV[3]), tonumber(ARGV[4])
local at, set = (redis.call('GET', KEYS[1]) or ''):match('^(%d+) (%d+)$')
at, set = tonumber(at), tonumber(set)
if at and now < set then at = now + at - set end
if not at or ARGV[5] == '1' then at = math.max(at or 0, now + known) end
at = math.max(at, now)
local wait = at - now
if pause > 0 then at = math.max(at, now + pause)
elseif wait > limit then return -wait
else at = at + length end
redis.call('SET', KEYS[1], ('%.0f %.0f'):format(at, now), 'PX', math.ceil((at - now) / 1000) + 1000)
return wait
]]

-- Returns the earliest time at which the next slot can be free, as far as this machine knows; or 0.
function Fleet:next_slot(ms)
  local time = tonumber((self.dict:get(self.name .. "next"))) or 0
  return time <= ms * 1000 + self.furthest and time or 0 -- an entry that is further away is invalid
end

-- Notes that the next slot is not free before that time.
function Fleet:note_next(time)
  local ms = now()
  if time > math.max(self:next_slot(ms), ms * 1000) then
    self.dict:set(self.name .. "next", ("%.0f"):format(time), math.max(0.001, time / 1000000 - ms / 1000))
  end
end

-- ---- asking Redis -----------------------------------------------------------------------

-- Executes the script, once: if its response is lost, a slot may be lost, but none is given twice. Returns its result,
-- and when it was sent and received; or nil and why.
local function execute(self, job)
  local client, why = self.connect()
  if type(client) ~= "table" or not client.eval then
    return nil, why or "connect returned no client"
  end
  job.client = client
  local sent = now()
  local pause = job.pause_ends and math.max(1, (job.pause_ends - sent) * 1000) or 0
  local limit, known = math.max(0, job.last - sent * 1000), math.max(0, self:next_slot(sent) - sent * 1000)
  local wait, wrong = client:eval(SCRIPT, 1, self.key, job.length, limit, pause, known, job.was_away and 1 or 0)
  local received = now()
  if type(wait) ~= "number" then
    client:close()
    return nil, wrong or "the response is not a number"
  elseif not client:set_keepalive(IDLE) then
    client:close()
  end
  return wait, sent, received
end

local function run(self, job)
  job.fine, job.wait, job.sent, job.received = pcall(execute, self, job)
  job.ended = true
end

local function sleep(seconds)
  ngx.sleep(seconds)
end

-- Executes the script in a light thread, which is killed after the timeout: finding the address of a host, or the
-- program's `connect`, may take longer. Returns what `execute` returns.
local function ask(self, job)
  local thread, alarm = ngx.thread.spawn(run, self, job), ngx.thread.spawn(sleep, self.timeout)
  ngx.thread.wait(thread, alarm)
  ngx.thread.kill(thread)
  ngx.thread.kill(alarm)
  if not job.ended then
    if job.client then
      pcall(job.client.close, job.client)
    end
    return nil, "timeout"
  elseif not job.fine then
    return nil, job.wait -- the error that was raised
  end
  return job.wait, job.sent, job.received
end

-- ---- away and back ----------------------------------------------------------------------

local function log(text, ...)
  ngx.log(ngx.ERR, "leat: ", (text:format(...):gsub("%c", " ")))
end

-- Returns nil if Redis is to be asked; or the number of failures, and whether this caller is the one that may try
-- again.
local function check_away(self, may_try)
  local failures = self.dict:get(self.name .. "failures")
  if failures == nil then
    return nil
  end
  local key, count = self.name .. "resting", tonumber(failures)
  local ttl = self.dict:ttl(key)
  if ttl and (ttl <= 0 or ttl > LONGEST_REST) then -- it is not from this module
    self.dict:delete(key)
  end
  local rest = count and count >= 0 and count < 4 and 2 ^ count or LONGEST_REST
  return failures, may_try and self.dict:add(key, "", rest) or false
end

-- The first failure begins the absence. Others that were under way at the same time do not count.
local function on_failure(self, why, was_away)
  if was_away then
    self.dict:incr(self.name .. "failures", 1)
  elseif self.dict:add(self.name .. "failures", 1) then
    self.dict:add(self.name .. "resting", "", 1)
    log("the rate of %d machines is not shared, because Redis (%s) is away: %s. This one sends its part of the rate",
      self.machines, self.place, tostring(why):sub(1, 200))
  end
end

local function on_success(self, was_away)
  if was_away then
    self.dict:delete(self.name .. "failures")
    self.dict:delete(self.name .. "resting")
    log("Redis (%s) is back: the rate of %d machines is shared again", self.place, self.machines)
  end
end

-- Asks, and notes whether Redis is there. Returns what `ask` returns.
local function try(self, job)
  local wait, sent, received = ask(self, job)
  if wait then
    on_success(self, job.was_away)
  else
    on_failure(self, sent, job.was_away)
  end
  return wait, sent, received
end

-- ---- slots and pauses -------------------------------------------------------------------

-- The calls of a worker ask one after the other. A response often decides for those that wait, too: there is no slot in
-- time, or Redis is away. A call that dies has its turn only until `busy_until`. Returns "ask"; "try", if Redis is away
-- and this call tries it; "away"; or "full" and the time of the next slot.
local function wait_for_turn(self, last)
  while true do
    local ms = now()
    local time = math.max(self:next_slot(ms), ms * 1000)
    if time > last then
      return "full", time
    end
    local busy = ms < self.busy_until
    local failures, may_try = check_away(self, not busy)
    if failures and not may_try then
      return "away"
    elseif not busy then
      self.busy_until = ms + self.timeout * 1000 + LEASE
      return failures and "try" or "ask"
    end
    self.turn:wait(math.max(0.001, (math.min(self.busy_until, last / 1000) - ms) / 1000))
  end
end

local function pass_turn(self)
  if self.turn:count() < 0 then
    self.turn:post()
  end
end

-- Takes the next slot, unless it is after `last`. Returns its time in microseconds on the clock of leat.core.now, which
-- is after `last` then; or nil while Redis is away.
function Fleet:take_slot(length, last)
  local what, time = wait_for_turn(self, last)
  if what == "ask" or what == "try" then
    local wait, sent, received = try(self, { length = length, last = last, was_away = what == "try" })
    self.busy_until = 0
    if wait then
      self:note_next(sent * 1000 + (wait < 0 and -wait or wait + length))
      time = wait < 0 and sent * 1000 - wait or (received + 1) * 1000 + wait -- the clock has whole milliseconds
    end
  end
  pass_turn(self)
  return time
end

-- Lets the other machines wait until a pause ends, unless they were told already.
function Fleet:share_pause(ends)
  if ends <= self.pause_ends + ROUNDING then
    return
  end
  self.pause_ends = ends
  local failures, may_try = check_away(self, true)
  if not failures or may_try then
    try(self, { length = 0, last = 0, pause_ends = ends, was_away = may_try })
  end
end

-- ---- connecting -------------------------------------------------------------------------

-- Returns the client library that there is, and its name; or nil.
local function load_library()
  for _, name in ipairs { "resty.redis", "nginx.redis" } do
    local fine, library = pcall(require, name)
    if fine then
      return library, name
    end
  end
end

-- The reply may quote the password, so only its first word is shown.
local function log_in(client, options)
  local fine, why
  if options.user then
    fine, why = client:auth(options.user, options.password)
  else
    fine, why = client:auth(options.password)
  end
  if fine then
    return true
  end
  client:close()
  return nil, fine == nil and why or ("the login was refused (%s)"):format(tostring(why):match("^%u+") or "?")
end

-- Returns a function that connects. Connections are kept by a pool name that says as whom they were logged in. The
-- password is in the function's upvalues only, where nothing that shows the client finds it.
local function connector(library, options, timeout)
  local host, port, tls = options.host, options.port or 6379, options.tls or nil
  local user = options.user or options.password and "default" or ""
  local to = { pool = ("leat redis %s %d %s%s"):format(host, port, user, tls and " verified" or ""),
    ssl = tls, ssl_verify = tls, server_name = tls and host }
  local address = host:find(":", 1, true) and "[" .. host .. "]" or host
  return function()
    local client = library:new()
    client:set_timeout(timeout * 1000)
    local fine, why = client:connect(address, port, to)
    if not fine then
      client:close() -- a failed handshake leaves it open
      return nil, why
    elseif options.password and client:get_reused_times() == 0 then
      fine, why = log_in(client, options)
    end
    return fine and client, why
  end
end

-- Returns the function that connects, and the place for messages; or nil and what is wrong.
local function choose_connector(options, timeout)
  if options.connect then
    return options.connect, "fleet.connect"
  end
  local library, name = load_library()
  if not library then
    return nil, "fleet: there is no client of Redis: install lua-resty-redis, or Debian's lua-nginx-redis, or give "
      .. "connect, a function that returns one"
  elseif options.tls and (name ~= "resty.redis" or (tonumber(library._VERSION) or 0) < 0.28) then
    return nil, ("fleet: tls is not supported by %s %s: give connect, a function that returns a client of Redis that "
      .. "is connected over TLS"):format(name, tostring(library._VERSION))
  end
  return connector(library, options, timeout), ("%s:%d"):format(options.host, options.port or 6379)
end

-- ---- options ----------------------------------------------------------------------------

fleet.known = { machines = "count", host = "string", port = "port", user = "string", password = "string",
  tls = "boolean", timeout = "seconds", connect = "function" }

local function wrong_connection(options)
  if not options.connect then
    return not options.host and "fleet: host is missing: that of Redis (or connect, a function that returns a client)"
      or options.user and not options.password and "fleet: password is missing: user is given"
  end
  for _, name in ipairs { "host", "port", "user", "password", "tls" } do
    if options[name] ~= nil then
      return ("fleet: %s is for connections of our own, and connect is given"):format(name)
    end
  end
end

-- Returns what is wrong with the options of `leat.new`, as far as `fleet` is concerned; or nil or false. The names and
-- types have been checked.
function fleet.wrong(options)
  if not options.shared then
    return "fleet needs shared: the workers of a machine share its part in the fleet"
  elseif not options.rate then
    return "fleet needs rate: the requests per second of all machines together"
  elseif not options.fleet.machines then
    return "fleet: machines is missing: how many machines share the rate"
  end
  return wrong_connection(options.fleet)
end

-- Returns what the workers of this machine share with other machines, for the options of `leat.new`; or nil and a
-- message. `dict` is the lua_shared_dict, and `account` a hash that names the account.
function fleet.new(options, dict, account)
  local timeout = math.min(options.fleet.timeout or TIMEOUT, options.queue_timeout / 2)
  local connect, place = choose_connector(options.fleet, timeout)
  if not connect then
    return nil, place
  end
  local longest = math.max(options.queue_timeout, LONGEST_PAUSE) + 1
  return setmetatable({ dict = dict, name = ("leat %s "):format(account), key = ("leat:{%s}:slot"):format(account),
    connect = connect, place = place, machines = options.fleet.machines, timeout = timeout,
    furthest = longest * 1000000, turn = require("ngx.semaphore").new(), busy_until = 0, pause_ends = 0 }, Fleet)
end

return fleet
