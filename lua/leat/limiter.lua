--- One rate limit for several processes, also on several machines.
--
-- A limiter gives the calls of clients the slots of a rate, which are points in time for one request each. It reserves
-- them in a store that all processes use, such as a table in PostgreSQL:
--
--    local limiter = require("leat.postgres").limiter { db = "postgres://db.example/leat" }
--    local client = leat.new { api_key = key, rate = 5, limiter = limiter }
--
-- All clients of an account share one rate, whichever process they are in; retries, finds that verify a change, and
-- token requests count too. When the service asks one of them to wait, the others notice with their next reservation.
-- Make one limiter for a process; it may serve clients of several accounts. It never blocks: while the store is being
-- asked, other tasks go on. Without a slot nothing is sent: while the store is away calls wait, for `queue_timeout` and
-- at most for `timeout`, and then fail as `timeout`, unsent. If the store refuses the limiter, they fail as `config`.
--
-- Times are the store's, so the clocks of the machines may differ. In any second at most one request more than the rate
-- is sent, if the store responds within half the time between two slots, and the rate is at most 100 a second. With a
-- higher rate, the times of requests are less exact.
--
-- With a store of your own, use `limiter.new(store)`. A store performs one request at a time. It has these methods:
--
--   * `begin(account, length, count, pause)` begins to reserve `count` slots, which may be 0. They follow each other at
--     intervals of `length` microseconds, and do not begin before the slots of other processes end, or before now.
--     `account` is a name. If `pause` is not nil, it is to be stored if it ends later than the one that is there: a
--     table with `seconds`, `kind`, `asked` and `too_long`. Returns true; or nil, why and `refused` if it fails at once
--   * `result()` goes on with that, without waiting. Returns false while there is no result; then a table; or nil, why
--     and `refused`. The table has `sent`, when the request was sent, on the clock of `leat.core.now`; `delay`, the
--     microseconds from when the store handled the request to the first slot; and `pause`, which is nil if there is
--     none at the moment; its `seconds` are those that are left. `refused` is true if it is of no use to ask again
--     soon. After an interrupt `result` may be called without a request, and then fails
--   * `watched()` returns the descriptor that `result` waits for, and the events `"r"`, `"w"` or `"rw"`; or nothing:
--     then `result` is called every millisecond
--   * `abort()` gives up the request
--   * `close()`
-- @module leat.limiter

local limiter = {}
local Limiter = {} -- the public object
Limiter.__index = Limiter
local Account = {} -- what the clients of one account share in this process
Account.__index = Account

local core = require("leat.core")
local drivers = require("leat.driver")
local now = core.now

local AHEAD = 500000 -- microseconds of slots that are reserved ahead at most
local LEAST_LATE = 5000 -- microseconds: drivers measure time in milliseconds, and may be busy
local SLOW = 1000 -- milliseconds after which a store that has not responded counts as away; or half of a call's timeout
local TIMEOUT = 10000 -- milliseconds after which a request is given up
local BACKOFF, LONGEST_BACKOFF = 100, 5000 -- milliseconds before a new request after one that failed
local NO_RESPONSE = "the store does not respond"
local AGAIN = 1 -- milliseconds between two looks at a store that has no descriptor
local JITTER = 100 -- milliseconds by which the end of one pause may differ in several processes

-- ---- the queue of calls -----------------------------------------------------------------

-- Calls that wait are kept as tickets, in order. A ticket whose call awaits no slot any more is skipped.

local function first_ticket(account)
  while account.first <= account.last do
    local ticket = account.waiting[account.first]
    if ticket and ticket.call:awaits_slot() then
      return ticket
    end
    account.waiting[account.first] = nil
    account.first = account.first + 1
  end
end

-- Returns the difference between the driver's clock and that of the core, in milliseconds.
local function clock_offset(driver)
  local clock = driver.clock
  return clock and clock.now() - now() or 0
end

-- Lets a call go on whose step is no longer "slot".
local function resume(ticket)
  if ticket.driver.resume then
    ticket.driver:resume(ticket.call)
  end
end

local function fail(ticket, kind, why)
  ticket.call:fail(now() + ticket.offset, os.time(), kind, "no", why)
  resume(ticket)
end

-- Lets the call find out that it waits for too long.
local function fail_queue_timeout(ticket)
  ticket.call:take_slot(math.huge)
  resume(ticket)
end

-- ---- slots ------------------------------------------------------------------------------

-- Returns the next reserved slot that is not too old, and leaves it reserved; or nil.
local function next_slot(account, ms)
  local free = account.free
  while free[1] and free[1].at + free[1].late < ms * 1000 do
    table.remove(free, 1)
  end
  return free[1]
end

-- Gives the reserved slots to the calls that wait. A call that may not wait for its slot fails, and leaves it to the
-- next one. A slot is removed before it is given: after an interrupt in between nothing is sent too early.
local function give_slots(account, ms)
  local ticket = first_ticket(account)
  local slot = ticket and next_slot(account, ms)
  while slot do
    if slot.at / 1000 > ticket.last then
      fail_queue_timeout(ticket)
    else
      table.remove(account.free, 1)
      ticket.call:take_slot(slot.at + ticket.offset * 1000, slot.late)
      resume(ticket)
    end
    ticket = first_ticket(account)
    slot = ticket and next_slot(account, ms)
  end
end

-- Forgets the slots whose time has come, and returns how many are ahead.
local function count_ahead(account, ms)
  local ahead = account.ahead
  while ahead[1] and ahead[1] <= ms do
    table.remove(ahead, 1)
  end
  return #ahead
end

local function most_ahead(account)
  return math.max(1, math.floor(AHEAD / account.length))
end

-- Returns how many slots are to be reserved now: for the calls that wait, but never many ahead, because others wait
-- behind these slots, and a process that ends leaves them unused.
local function count_wanted(account, ms)
  if not first_ticket(account) then
    return 0
  end
  local ahead, most = count_ahead(account, ms), most_ahead(account)
  if ahead > math.floor(most / 2) then
    return 0
  end
  return math.min(account.last - account.first + 1, most - ahead)
end

-- Returns when `count_wanted` may change because slots are used.
local function when_wanted(account)
  if account.first > account.last then
    return math.huge
  end
  return account.ahead[#account.ahead - math.floor(most_ahead(account) / 2)] or 0
end

-- Returns how much later than `at` a slot may be used, in microseconds; nil if the response is too old. The store
-- handled the request some time during the `rtt` milliseconds until its response was read, so a slot may be early by
-- that time. Slots are used at the latest moment that this leaves, and for less long. A quarter of a slot is left for
-- the way to the service. A response that took longer than others was probably read late: the program was busy.
local function lateness(self, rtt, length)
  local usual = self.rtt or 100
  if rtt > usual + length / 2000 then
    self.rtt = math.min(rtt, math.max(2 * usual, rtt / 2)) -- it may be usual from now on
    return nil
  end
  self.rtt = self.rtt and math.min(self.rtt, rtt) or rtt
  return math.floor(math.max(length * 3 / 4 - rtt * 1000, length / 2, LEAST_LATE))
end

-- Adds the slots of a response, which was read at `ms`.
local function add_slots(self, account, asked, reply, ms)
  local late = asked.count > 0 and lateness(self, ms - reply.sent, asked.length)
  for i = 0, late and asked.count - 1 or -1 do
    local at = math.floor(ms * 1000) + reply.delay + i * asked.length
    table.insert(account.free, { at = at, late = late })
    table.insert(account.ahead, at / 1000)
  end
end

-- ---- pauses -----------------------------------------------------------------------------

-- Shares a pause that a process stored with a call's client, unless that is in a pause already: calls that do not wait
-- for its end need a slot.
local function share_pause(ticket, pause, ms)
  local call, moment = ticket.call, ms + ticket.offset
  if call:awaits_slot() and not call:pause(moment) then
    call:share_pause(moment, pause)
    call:await(moment, os.time(), moment) -- then it waits for the end of the pause
    resume(ticket)
  end
end

local function take_pause(account, pause, ms)
  account.pause_ends = math.max(account.pause_ends, ms + pause.seconds * 1000)
  for i = account.first, account.last do
    if account.waiting[i] then
      share_pause(account.waiting[i], pause, ms)
    end
  end
end

-- Stores the pause of a client, if it is new. To be called between two exchanges. `ms` is the time on the clock of the
-- client's driver.
local function publish(self, handle, ms)
  local pause = handle:pause(ms)
  local ends = pause and now() + pause.seconds * 1000 or 0
  if ends > self.pause_ends + JITTER then
    self.pause_ends = ends
    pause.ends = ends
    self.unstored = pause
  end
  if self.unstored or self.limiter.asked then
    self.limiter:step(0)
  end
end

-- ---- asking the store -------------------------------------------------------------------

-- Makes the poller watch what the store waits for. libpq may close its descriptor, and get the same number for the
-- next one.
local function watch_store(self)
  local fd, events
  if self.asked then
    fd, events = self.store:watched()
  end
  if self.watched and (self.watched ~= fd or self.events ~= events) then
    self.poller:unwatch(self.watched)
  end
  if fd then
    self.poller:watch(fd, events)
  end
  self.watched, self.events = fd or false, events
end

local function fail_all(self, kind, why)
  for _, account in pairs(self.accounts) do
    local ticket = first_ticket(account)
    while ticket do
      fail(ticket, kind, why)
      ticket = first_ticket(account)
    end
  end
end

local function say(why)
  return "no slot of the rate that processes share: " .. why
end

local function on_failure(self, why, refused)
  self.asked = false
  self.failures = self.failures + 1
  local delay = math.min(LONGEST_BACKOFF, BACKOFF * 2 ^ math.min(self.failures - 1, 20))
  self.again = now() + delay * (0.5 + math.random() / 2)
  self.why = why
  for _, account in pairs(self.accounts) do
    account.unstored = account.first <= account.last and account.unstored -- nobody waits until the store is back
  end
  if refused then
    fail_all(self, "config", say(why))
  end
end

local function on_reply(self, reply, ms)
  local asked = self.asked
  local account = asked.account
  self.asked, self.failures, self.why, self.again = false, 0, false, 0
  if account.unstored == asked.pause then
    account.unstored = false
  end
  add_slots(self, account, asked, reply, ms)
  if reply.pause then
    take_pause(account, reply.pause, ms)
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
  elseif ms > self.asked.at + TIMEOUT then
    self.store:abort()
    on_failure(self, NO_RESPONSE)
  end
end

local function ask_for(self, account, count, ms)
  self.asked = { account = account, at = ms, count = count, length = account.length, pause = account.unstored }
  local pause = account.unstored
  if pause then
    pause.seconds = math.max(0, (pause.ends - ms) / 1000)
  end
  local fine, why, refused = self.store:begin(account.name, account.length, count, pause or nil)
  if not fine then
    on_failure(self, why, refused)
  end
end

-- Asks for the slots that one of the accounts needs. The accounts take turns.
local function ask(self, ms)
  if self.asked or self.closed or ms < self.again then
    return
  end
  for _ = 1, #self.order do
    self.turn = self.turn % #self.order + 1
    local account = self.order[self.turn]
    local count = count_wanted(account, ms)
    if count > 0 or account.unstored then
      return ask_for(self, account, count, ms)
    end
  end
end

-- ---- time -------------------------------------------------------------------------------

-- Returns why the store is of no use to a call at the moment, or nil.
local function why_away(self, ticket, ms)
  if self.why then
    return self.why
  end
  return self.asked and ms >= self.asked.at + ticket.slow and NO_RESPONSE or nil
end

-- Ends a ticket whose time is up. A call that waits because others are before it goes on waiting.
local function expire(self, ticket, ms)
  local why = why_away(self, ticket, ms)
  if why and ms >= math.min(ticket.away_due, ticket.last) then
    fail(ticket, "timeout", say(why))
  elseif ms >= ticket.last then
    fail_queue_timeout(ticket)
  end
  ticket.due = math.min(ticket.last, math.max(ticket.away_due, ms + SLOW))
end

-- Ends the calls whose time is up, and notes when the next one is due.
local function expire_all(self, account, ms)
  if ms < account.due then
    return
  end
  account.due = math.huge
  for i = account.first, account.last do
    local ticket = account.waiting[i]
    if ticket and ticket.call:awaits_slot() then
      if ms >= ticket.due then
        expire(self, ticket, ms)
      end
      account.due = math.min(account.due, ticket.due)
    end
  end
end

-- Returns when there is something to do, whatever the store does.
local function when_due(self, ms)
  local due = math.huge
  for _, account in ipairs(self.order) do
    due = math.min(due, account.due)
    if not self.asked then
      due = math.min(due, math.max(self.again, when_wanted(account)))
    end
  end
  if self.asked then
    due = math.min(due, self.watched and self.asked.at + TIMEOUT or ms + AGAIN)
  end
  return due
end

-- In a process that was forked, everything that is under way is the parent's.
local function forget_all(self)
  self.store:abort()
  self.asked, self.watched, self.again, self.failures, self.why = false, false, 0, 0, false
  for _, account in ipairs(self.order) do
    account.waiting, account.first, account.last = {}, 1, 0
    account.free, account.ahead, account.unstored, account.due = {}, {}, false, math.huge
  end
end

local function check_process(self)
  if not self.closed and self.poller:renew() then
    forget_all(self)
  end
end

-- Does what can be done now.
local function work(self)
  if self.asked then
    collect(self)
  end
  local ms = now()
  for _, account in ipairs(self.order) do
    give_slots(account, ms)
    expire_all(self, account, ms)
  end
  ask(self, ms)
  if self.asked and not self.watched then
    collect(self) -- a store may respond at once
    for _, account in ipairs(self.order) do
      give_slots(account, ms)
    end
  end
  watch_store(self)
  local due = when_due(self, ms)
  self.poller:alarm(due < math.huge and due or nil)
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
  work(self)
end

--- Returns whether no call waits for a slot.
-- @treturn boolean
function Limiter:is_idle()
  for _, account in ipairs(self.order) do
    if first_ticket(account) then
      return false
    end
  end
  return true
end

--- Returns a descriptor that is readable when `step` has something to do.
-- @treturn number -1 on systems other than Linux, which have none
function Limiter:fd()
  check_process(self)
  return self.poller:fd()
end

local function release(self)
  fail_all(self, "config", "the limiter is closed")
  self.store:close()
  self.poller:close()
end

--- Closes the limiter and its store. Calls that wait for a slot fail, and so do calls that need one later. Closing it
-- again has no effect.
function Limiter:close()
  drivers.close(self, release)
end

-- ---- for leat.new -----------------------------------------------------------------------

-- Returns the name of an account: a digest, so that it does not reveal the key.
local function name_of(options)
  local account = options.account or options.client_id or options.api_key or options.access_token
  local base_url = (options.base_url or core.base_url):gsub("/+$", "")
  return core.sha256(account .. "\0" .. base_url)
end

--- Returns what the clients of an account share. `leat.new` calls it.
-- @tparam table options the options of `leat.new`
-- @treturn table the account; or nil and a message
function Limiter:open(options)
  if self.closed then
    return nil, "limiter: it is closed"
  elseif not options.rate then
    return nil, "limiter: rate is missing: the requests per second that the account's clients share"
  elseif options.token and not options.account then
    return nil, "account is missing: a name for whose rate it is that is shared"
  end
  local name, per_minute = name_of(options), math.floor(options.rate * 60 + 0.5)
  local account = self.accounts[name]
  if not account then
    account = setmetatable({ limiter = self, name = name, waiting = {}, first = 1, last = 0, free = {}, ahead = {},
      length = math.floor(60000000 / per_minute), pause_ends = 0, unstored = false, due = math.huge }, Account)
    table.insert(self.order, account)
    self.accounts[name] = account
  end
  return account
end

--- Lets a call wait for a slot: its step is `"slot"`. The limiter gives it a slot, or lets it fail, in one of its next
-- steps, or at once.
-- @param call the call
-- @tparam table driver the call's driver
-- @tparam number timeout seconds that the call may wait while the store is away
function Account:await(call, driver, timeout)
  local owner, ms = self.limiter, now()
  check_process(owner)
  local ticket = { call = call, driver = driver, offset = clock_offset(driver), away_due = ms + timeout * 1000 }
  ticket.last, ticket.slow = call:until_ms() - ticket.offset, math.min(SLOW, timeout * 500)
  ticket.due = math.min(ticket.last, ticket.away_due)
  self.length = call:slot_length()
  if owner.closed then
    return fail(ticket, "config", "the limiter is closed")
  end
  self.waiting[self.last + 1] = ticket
  self.last = self.last + 1
  self.due = math.min(self.due, ticket.due)
  work(owner)
end

Account.publish = publish

--- Makes a limiter.
-- @tparam table store where slots are reserved: see above
-- @treturn Limiter
-- @raise a lack of descriptors
function limiter.new(store)
  local poller = assert(core.poller())
  return setmetatable({ store = store, poller = poller, accounts = {}, order = {}, turn = 0, asked = false,
    watched = false, events = false, failures = 0, again = 0, why = false, rtt = false, closed = false }, Limiter)
end

return limiter --[[@as leat.limiter]]
