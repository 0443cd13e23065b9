--- One rate limit for several processes, also on several machines.
--
-- A limiter gives the calls of clients the slots of a rate, which are points in time for one request each. It reserves
-- them in a store that all processes use, such as a table in PostgreSQL:
--
--    local limiter = require("leat.postgres").limiter { db = "postgres://db.example/leat" }
--    local client = leat.new { api_key = key, rate = 5, limiter = limiter }
--
-- All clients of an account share one rate, whichever process they are in, and all must be given the same one. Retries,
-- finds that verify a change, and token requests count too. When the service asks one client to wait, the others notice
-- with their next reservation. Make one limiter for a process; it may serve clients of several accounts. It never
-- blocks: while the store is being asked, other tasks go on. Without a slot nothing is sent: while the store is away
-- calls wait, for `timeout` from when it went away and at most for `queue_timeout`, and then fail as `timeout`, unsent.
-- If the store refuses the limiter, they fail as `config`.
--
-- Times are the store's, so the clocks of the machines may differ. In any second at most one request more than the rate
-- is sent, if the store responds within half the time between two slots, and the rate is at most 100 a second. With a
-- higher rate, the times of requests are less exact. A request that needs a new connection is sent once that is there.
--
-- With a store of your own, use `limiter.new(store)`. A store performs one request at a time. It has these methods:
--
--   * `begin(account, length, count, pause)` begins to reserve `count` slots, which may be 0. They follow each other at
--     intervals of `length` microseconds, and do not begin before the slots of other processes end, or before now.
--     `account` is a name. If `pause` is not nil, it is to be stored if it ends later than the one that is there: a
--     table with `seconds`, `kind`, `asked` and `too_long`. `result` says whether that failed
--   * `result()` goes on with that, without waiting. Returns false while there is no result; then a table; or nil, why
--     and `refused`. The table has `sent`, when the request was sent, on the clock of `leat.core.now`; `time`, when the
--     store handled it, in microseconds on the store's clock; `first`, the time of the first slot; and `pause`, nil if
--     there is none at the moment, whose `seconds` are those that are left. `refused` is true if it is of no use to ask
--     again soon. After an interrupt `result` may be called without a request, and then fails
--   * `watched()` returns the descriptor that `result` waits for, and the events `"r"`, `"w"` or `"rw"`; or nothing:
--     then `result` is called every millisecond
--   * `abort()` gives up the request
--   * `close()`
-- @module leat.limiter

local limiter = {}
local Limiter = {} -- the public object
Limiter.__index = Limiter

local accounts = require("leat.account")
local core = require("leat.core")
local drivers = require("leat.driver")
local Account, now = accounts.Account, core.now

-- Times are milliseconds on the clock of `now`.
local DRIFT = 0.0005 -- how fast two clocks drift apart, at most
local SLOW = 1000 -- after which the store counts as away for a call whose queue_timeout is over
local TIMEOUT = 10000 -- after which a request is given up
local BACKOFF, LONGEST_BACKOFF = 100, 5000 -- before a new request after one that failed
local POLL = 1 -- between two looks at a store that has no descriptor
local NO_RESPONSE = "the store does not respond"
local CLOSED = "the limiter is closed"

-- ---- the store's clock ------------------------------------------------------------------

local function forget_clock(self)
  self.least_ahead, self.most_ahead, self.clock_read_at = -math.huge, math.huge, 0
end

-- Narrows down how far the store's clock is ahead of the program's: by `least_ahead` to `most_ahead` microseconds. The
-- store handled the request after it was sent, and before its response was read. Returns false if that leaves unclear
-- when a slot is: the program may have been busy, and then the next response says more. If it does not, the store is
-- slow.
local function learn_clock(self, reply, read, length)
  local drift = (read - self.clock_read_at) * 1000 * DRIFT
  local least, most = self.least_ahead - drift, self.most_ahead + drift
  local now_least, now_most = reply.time - read * 1000, reply.time - reply.sent * 1000
  if now_least > most or now_most < least then -- a clock was set
    least, most = -math.huge, math.huge
  end
  self.least_ahead, self.most_ahead = math.max(least, now_least), math.min(most, now_most)
  self.clock_read_at = read
  local width = self.most_ahead - self.least_ahead
  return width <= length / 2 or most - least < 2 * width
end

-- ---- asking the store -------------------------------------------------------------------

-- Forgets the last request, and why it failed.
local function reset(self)
  self.request, self.failures, self.retry_at = false, 0, 0
  self.away_since, self.last_error, self.refused = false, false, false
end

local function fail_all(self, kind, why)
  for _, account in ipairs(self.accounts) do
    account:fail_all(kind, why)
  end
end

local function on_failure(self, why, refused)
  self.away_since = self.away_since or self.request.at
  self.request, self.failures, self.last_error, self.refused = false, self.failures + 1, why, refused
  forget_clock(self) -- the next response may be that of another server
  local delay = math.min(LONGEST_BACKOFF, BACKOFF * 2 ^ math.min(self.failures - 1, 20))
  self.retry_at = now() + delay * (0.5 + math.random() / 2)
  if refused then
    fail_all(self, "config", why)
  end
end

-- Slots get the latest time at which they may be, which is up to half a slot later than they are. In the other half,
-- the account's tolerance, calls can use them.
local function on_reply(self, reply, ms)
  local request = self.request
  local account = request.account
  reset(self)
  if account.pause == request.pause then
    account.store_until = 0
  end
  if learn_clock(self, reply, ms, account.length) and request.count > 0 then
    account:add_slots(math.ceil(reply.first - self.least_ahead), request.count)
  end
  if reply.pause then
    account:set_pause(reply.pause, ms)
  end
end

-- Takes the response of the store, if it is there.
local function collect(self)
  local reply, why, refused = self.store:result()
  local ms = now()
  if reply then
    on_reply(self, reply, ms)
  elseif why then
    on_failure(self, why, refused)
  elseif ms > self.request.at + TIMEOUT then
    self.store:abort()
    on_failure(self, NO_RESPONSE)
  end
end

-- Asks for what one of the accounts needs. The accounts take turns.
local function ask(self, ms)
  for _ = 1, #self.accounts do
    self.turn = self.turn % #self.accounts + 1
    local account = self.accounts[self.turn]
    local count, pause = account:count_wanted(ms), account:unstored_pause(ms)
    if count > 0 or pause then
      self.request = { account = account, at = ms, count = count, pause = pause }
      return self.store:begin(account.name, account.length, count, pause)
    end
  end
end

-- ---- time -------------------------------------------------------------------------------

-- Returns when a ticket's time is up, if the store is away until then.
local function due_of(self, ticket, ms)
  local since = self.away_since or self.request and self.request.at or ms
  return math.min(ticket.queue_deadline, math.max(ticket.began, since) + ticket.timeout)
end

local function expire(self, ticket, ms)
  if self.away_since or self.request and ms >= self.request.at + math.min(SLOW, ticket.timeout) then
    Account.fail(ticket, "timeout", self.last_error or NO_RESPONSE)
  else
    Account.fail_queue_timeout(ticket)
  end
end

-- Ends the calls whose time is up, and notes when the next one may be due.
local function expire_all(self, account, ms)
  if ms < account.due then
    return
  end
  account.due = math.huge
  for _, ticket in ipairs(account:tickets()) do
    local due = due_of(self, ticket, ms)
    if due <= ms then
      expire(self, ticket, ms)
    else
      account.due = math.min(account.due, due)
    end
  end
end

-- Returns when there is something to do, whatever the store does. `watches` is nil if it has no descriptor.
local function when_due(self, ms, watches)
  local due = self.request and (watches and self.request.at + TIMEOUT or ms + POLL) or math.huge
  for _, account in ipairs(self.accounts) do
    due = math.min(due, account.due, self.request and math.huge or math.max(self.retry_at, account:when_wanted(ms)))
  end
  return due
end

-- Does what can be done now.
local function run_once(self)
  if self.request then
    collect(self)
  end
  local ms = now()
  for _, account in ipairs(self.accounts) do
    account:give_slots(ms)
    expire_all(self, account, ms)
  end
  if not self.request and ms >= self.retry_at then
    ask(self, ms)
  end
  if self:is_idle() then
    return
  end
  local fd, events
  if self.request then
    fd, events = self.store:watched()
  end
  self.poller:watch(fd, events)
  self.poller:alarm(when_due(self, ms, fd))
end

-- In a process that was forked, the parent owns the request and the slots.
local function check_process(self)
  if self.closed or not self.poller:renew() then
    return
  end
  fail_all(self, "canceled", "the process forked while the call was under way")
  self.store:abort()
  reset(self)
  for _, account in ipairs(self.accounts) do
    account:forget_slots()
    account.store_until = 0
  end
end

-- ---- the contract of leat.driver ----------------------------------------------------------------

-- The scheduler steps a limiter like a driver, while calls wait for it.

--- Waits up to `seconds` for the store or a timer, and gives slots to calls. `leat.scheduler` calls it.
-- @tparam number seconds the time to wait, or 0
function Limiter:step(seconds)
  check_process(self)
  if self.closed then
    return
  end
  if seconds > 0 then
    self.poller:wait(seconds)
  end
  run_once(self)
end

local function has_work(self)
  local ms = now()
  for _, account in ipairs(self.accounts) do
    if account:first_ticket() or account:unstored_pause(ms) then
      return true
    end
  end
  return false
end

--- Returns whether no call waits for a slot, and no pause is to be stored. Then the descriptor is not readable.
-- @treturn boolean
function Limiter:is_idle()
  check_process(self)
  local idle = self.closed or not has_work(self)
  if idle and not self.closed then
    self.poller:watch()
    self.poller:alarm()
  end
  return idle
end

--- Returns a descriptor that is readable when `step` has something to do.
-- @treturn number -1 on systems other than Linux, which have none
function Limiter:fd()
  check_process(self)
  return self.poller:fd()
end

local function release(self)
  fail_all(self, "config", CLOSED)
  self.store:close()
  self.poller:close()
end

--- Closes the limiter and its store. Calls that wait for a slot fail, and so do calls that need one later. Closing it
-- again has no effect.
function Limiter:close()
  drivers.close(self, release)
end

-- ---- for leat.new -----------------------------------------------------------------------

--- Returns what the clients of an account share. `leat.new` calls it.
-- @tparam table options the options of `leat.new`
-- @treturn table the account; or nil and a message
function Limiter:account_for(options)
  if self.closed then
    return nil, "limiter: it is closed"
  elseif not options.rate then
    return nil, "limiter: rate is missing: the requests per second that the account's clients share"
  elseif options.token and not options.account then
    return nil, "account is missing: a name for whose rate it is that is shared"
  end
  local new = accounts.new(self, options)
  for _, account in ipairs(self.accounts) do
    if account.name == new.name and account.length == new.length then
      return account
    elseif account.name == new.name then
      return nil, ("rate is %g, and %g for another client of the account"):format(new.rate, account.rate)
    end
  end
  table.insert(self.accounts, new)
  return new
end

--- Shares the pause of a client, if it is new. To be called between two exchanges.
-- @param handle the client
-- @tparam table driver its driver
function Account:publish(handle, driver)
  local owner, ms = self.limiter, now()
  local pause = handle:pause(Account.driver_time(driver, ms))
  if pause and self:set_pause(pause, ms) then
    self.store_until = ms + TIMEOUT -- not for long: that would keep the program from ending
  end
  if owner.request or self:unstored_pause(ms) then
    owner:step(0)
    drivers.watch_limiter(driver, owner)
  end
end

--- Lets a call wait for a slot: its step is `"slot"`. The limiter gives it a slot, or lets it fail, in one of its next
-- steps, or at once.
-- @param call the call
-- @tparam table driver the call's driver
function Account:await(call, driver)
  local owner, ms = self.limiter, now()
  check_process(owner)
  local ticket = { call = call, driver = driver, began = ms, timeout = call:timeout_ms() }
  ticket.queue_deadline = call:until_ms() - Account.driver_time(ticket.driver, ms) + ms
  if owner.closed or owner.refused and ms < owner.retry_at then
    return Account.fail(ticket, "config", owner.closed and CLOSED or owner.last_error)
  elseif self:share_pause(ticket, ms) then
    return Account.reconsider(ticket, ms)
  end
  self:add_ticket(ticket)
  self.due = math.min(self.due, due_of(owner, ticket, ms))
  run_once(owner)
end

--- Makes a limiter.
-- @tparam table store where slots are reserved: see above
-- @treturn Limiter
-- @raise a lack of descriptors
function limiter.new(store)
  local self = { store = store, poller = assert(core.poller()), accounts = {}, turn = 0, closed = false }
  reset(self)
  forget_clock(self)
  return setmetatable(self, Limiter)
end

return limiter --[[@as leat.limiter]]
