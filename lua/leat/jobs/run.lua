-- Works on a job: claims items, processes each in a task, and stores what became of it, until all items are in a
-- final state and the doubtful ones are verified. `step` does what can be done now; it blocks only while the journal
-- is written. What an item does next is decided in leat.jobs.decide.
--
-- If the journal is shared there may be other workers. A claimed item has a `deadline`, by a clock that goes on while
-- the computer is suspended: later, others may take the item over, so nothing is sent any more. Each lease is extended
-- long before that. An item that was taken over is `lost`: its calls are canceled, and its result is dropped.

local contacts = require("leat.contacts")
local core = require("leat.core")
local boottime = require("leat.jobs.core").boottime
local decide = require("leat.jobs.decide")
local items = require("leat.jobs.items")
local journal = require("leat.jobs.journal")
local scheduler = require("leat.scheduler")

local Run = {}
Run.__index = Run

local MOST_TRIES = 5 -- times that an item may fail while others succeed
local OUTAGE = 20 -- failures in a row that are an outage; fewer if there are not so many items
local TURN = 1 -- seconds after which results are stored at the latest
local LEAST_FAILURES = 100 -- before `max_failures` given in percent stops a job
local RECENT = 20 -- seconds: in the rate, what happened longer ago counts little
local GIVE_UP = 15 * 60 -- seconds after which a journal that cannot be written ends the run
local POLL = 1 -- seconds between two looks at what other workers do

-- Reasons for which all workers pause. Others may be those of one computer.
local pauses_all = { unauthorized = true, forbidden = true, quota_reached = true, max_failures = true }

local reads = { find = true }

local function now()
  return core.now() / 1000
end

-- ---- items ------------------------------------------------------------------------------

-- Resolves the e-mail address of a contact. Returns something true if the item can go on, or nil and the error.
local function resolve_contact(run, item)
  local address = item.arguments.contact_email
  if not address or item.arguments.contact_uuid then
    return true
  end
  local uuid, err, attempts = contacts.find_by_email(run.client, address)
  item.requests = item.requests + attempts
  item.arguments.contact_uuid = uuid
  if not uuid and (not err or err.kind == "contact_not_found") then
    err = { kind = "contact_not_found", code = err and err.code, message = contacts.not_found(address)
      .. "; the card was not changed, and contacts are never created" }
  end
  return uuid, err
end

local function perform(run, item, step)
  local view = step.action == "find" and run.client or step.single and run.single
    or step.maybe_applied and run.again or run.client
  local cards, given = view.contact_identifiers, item.arguments
  local card, err, info
  if step.action == "find" or item.operation == "find" then
    card, err, info = cards:find(item.card, { max_age = 0 })
  elseif item.operation == "link" then
    card, err, info = cards:link(item.card, given.contact_uuid)
  else
    local options = { name = given.name, contact_uuid = given.contact_uuid, active = given.active }
    if item.operation == "update" then
      options.expect = step.expect
    elseif item.operation == "unlink" or item.operation == "delete" then
      options = {}
    end
    card, err, info = cards[item.operation](cards, item.card, options)
  end
  item.requests = item.requests + (err or info).attempts
  return { step = step, card = card, err = err, info = info }
end

-- Waits until the state of the card before the change is in the journal. Returns false if it could not be stored.
local function record(run, item, before)
  table.insert(run.notes, { item = item, before = before, task = scheduler.current() })
  while not item.before and not run.broken and not item.lost do
    scheduler.wait_for_event()
  end
  return item.before ~= nil
end

local function has_ended(run, item)
  return run.journal.is_shared and (item.lost or boottime() >= item.deadline)
end

-- Returns the end of an attempt of which nothing more is sent.
local function break_off(item, was_sent)
  local ending = decide.canceled(item)
  if was_sent then
    ending.state, ending.maybe_applied = "later", true
  end
  return ending
end

-- The main function of an item's task. Returns how the item ended.
local function process(run, item)
  local fine, err = resolve_contact(run, item)
  if not fine then
    return decide.failure(item, err)
  end
  local last, was_sent
  while true do
    local step = decide.next(item, last)
    if step.action == "end" then
      return step, last and last.card, last and last.info
    elseif has_ended(run, item) then
      return break_off(item, was_sent)
    elseif step.action ~= "record" then
      was_sent = was_sent or step.action == "send" and not reads[item.operation]
      last = perform(run, item, step)
    elseif record(run, item, step.before) then
      last = { step = step }
    else
      return break_off(item, was_sent)
    end
  end
end

-- ---- failures that pass -----------------------------------------------------------------

-- Returns the seconds before an item that failed so many times is tried again: about a thirtieth of the time between
-- probes, twice that, and so on, up to twice the time between probes.
local function backoff(run, failures)
  return run.probe * math.min(2, 2 ^ math.min(failures, 10) / 60) * (0.5 + math.random() / 2)
end

local function open_items(run)
  return run.job.rows - run.job.done - run.job.failed - run.job.unknown - run.job.rejected - run.job.skipped
end

-- ---- the rate ---------------------------------------------------------------------------

-- Returns how many rows of this phase are processed, or verified, and how many are left.
local function count_of_phase(run)
  if run.phase == "verifying" then
    local verified = run.verified_count + run.unverified
    return verified, run.to_verify - verified
  end
  local job = run.job
  return job.done + job.failed + job.unknown, open_items(run)
end

local function begin_pace(run)
  run.pace = { begun = now(), at = now(), count = count_of_phase(run), rate = false }
end

-- Averages the rows a second, so that the time that is left does not depend on what was long ago.
local function update_pace(run)
  local pace, time = run.pace, now()
  local passed, count = time - pace.at, count_of_phase(run)
  if passed >= 1 then
    local latest, weight = (count - pace.count) / passed, math.max(1 - math.exp(-passed / RECENT),
      passed / (time - pace.begun))
    pace.rate = (pace.rate or 0) * (1 - weight) + latest * weight
    pace.at, pace.count = time, count
  end
end

-- Returns the rows a second.
local function rate_of(run)
  local pace = run.pace
  local passed = now() - pace.at
  return pace.rate or passed > 0 and (count_of_phase(run) - pace.count) / passed or 0
end

-- ---- outages ----------------------------------------------------------------------------

function Run:begin_outage(ending)
  self.failing = ending.kind or self.failing
  if not self.outage then
    self.outage = { kind = ending.kind, message = ending.message, since = now(), probe_at = now() + self.probe }
    self.exhausted = false
    self:tell("outage", self.outage)
  end
end

local function end_streak(run)
  run.streak, run.streak_length, run.failures_in_row = {}, 0, 0
end

-- Does not count the failures that were taken for those of items, but are an outage.
local function forgive_streak(run)
  if run.failures_in_row >= OUTAGE and not run.all_begun then -- otherwise the rows may be the reason
    for n in pairs(run.streak) do
      table.insert(run.forgiven, n)
    end
  end
  end_streak(run)
end

-- A response ends an outage.
local function note_response(run)
  run.responses = run.responses + 1
  end_streak(run)
  run:end_outage()
end

function Run:end_outage()
  self.failing = false
  if self.outage then
    self:tell("outage_over", self.outage)
    self.outage = false
    begin_pace(self)
  end
end

-- Lets other processes know of an outage, and of its end, as soon as the journal can be written.
local function note_outage(run)
  local kind = run.outage and run.outage.kind or nil
  if kind ~= run.noted_outage and not (run.note_at and now() < run.note_at) then
    local _, err = journal.try(run.store.set_reason, run.store, run.job.id, kind)
    run.note_at = err and now() + 1 or false
    if not err then
      run.noted_outage = kind
    end
  end
end

-- Counts a failure that may pass. It counts against the item only if the service has responded to others since.
local function note_transient(run, item, ending)
  run.failing = ending.kind
  if run.responses > item.mark then
    item.tries, item.mark = item.tries + 1, run.responses
    if item.tries >= MOST_TRIES then
      return decide.exhausted(item, ending)
    end
  end
  run.failures_in_row = run.failures_in_row + 1
  if not run.streak[item.n] then
    run.streak[item.n] = true
    run.streak_length = run.streak_length + 1
  end
  if run.outage then
    run.outage.probe_at = now() + run.probe
  elseif run.failures_in_row >= OUTAGE or run.streak_length >= open_items(run) then
    forgive_streak(run)
    run:begin_outage(ending)
  end
  item.failures = (item.failures or item.tries) + 1
  ending.due = run.journal:now() + math.floor(1000 * backoff(run, item.failures))
  return ending
end

-- ---- endings ----------------------------------------------------------------------------

local function too_many_failures(run)
  local limit, job = run.max_failures, run.job
  if limit == 0 then
    return false
  end
  local failed = job.failed - run.failed_before -- a job that goes on after a pause is not paused at once
  if limit >= 1 then
    return failed >= limit
  end
  return failed >= LEAST_FAILURES and failed > limit * (job.done + job.failed + job.unknown - run.done_before)
end

local function count(run, ending)
  local job = run.job
  if type(job[ending.state]) == "number" then
    job[ending.state] = job[ending.state] + 1
    if too_many_failures(run) then
      run:stop("paused", "max_failures", ("%d rows have failed"):format(job.failed))
    end
  end
end

-- Keeps a result in a list, until the next turn stores it.
local function keep(run, list, result)
  run.first_ending = run.first_ending or now()
  run.job.waiting = run.job.waiting + (result.state == "later" and 1 or 0)
  table.insert(list, result)
end

-- Keeps how an item ended.
local function finish(run, item, ending, card, info)
  if ending.transient then
    ending = note_transient(run, item, ending)
  elseif not ending.unsent and ending.kind ~= "canceled" and not ending.stop then
    note_response(run)
  end
  if ending.stop then
    run:stop("paused", ending.stop, ending.message)
  end
  if ending.state == "later" and ending.maybe_applied and not reads[item.operation] then
    ending.due = math.max(ending.due or 0, run.journal:now() + run.settle_ms)
  end
  run.held[item.n] = nil
  ending.item, ending.requests, item.requests = item, item.requests, 0
  ending.seen = type(card) == "table" and items.encode_seen(card) or nil
  ending.changed = info and info.changed and table.concat(info.changed, " ") or nil
  keep(run, run.endings, ending)
  count(run, ending)
end

-- Starts a task that calls `f`, and then calls `at_end` with the results. An error that a task raises is a mistake of
-- the program, and ends the run; its item stays claimed, and is taken over as one that may have been sent.
local function start_task(run, f, at_end)
  local ended = false
  run.flying = run.flying + 1
  local started = scheduler.start({ at_end = function(task)
    if ended then
      return -- it may be called more than once
    end
    ended, run.tasks[task] = true, nil
    run.flying = run.flying - 1
    scheduler.observe(task)
    if task.fine then
      at_end((table.unpack or unpack)(task.results, 1, task.n)) -- luacheck: ignore
    else
      run.problem = run.problem or { why = task.why }
      run:stop("paused", "error", tostring(task.why))
    end
  end }, f)
  run.tasks[started] = not ended or nil
  return started
end

local function start(run, item)
  item.requests = 0
  item.task = start_task(run, function() return process(run, item) end, function(ending, card, info)
    finish(run, item, ending, card, info)
  end)
end

-- ---- verification -----------------------------------------------------------------------

local function verify(run, item)
  local card, err, info = run.client.contact_identifiers:find(item.card, { max_age = 0 })
  local result, attempts = decide.compare(item, card, err), (err or info).attempts
  local verified = { item = item, requests = attempts, state = item.state, outcome = item.outcome, kind = item.kind,
    message = item.message, seen = card and items.encode_seen(card) or nil }
  if result == "changed" and item.state == "done" then
    verified.state, verified.kind = "unknown", "changed_afterwards" -- the outcome is kept
    verified.message = "the card is not as it was left: it was changed afterwards"
  elseif result == "same" and item.state == "unknown" then
    verified.state, verified.outcome, verified.kind, verified.message = "done", item.outcome or "recovered", nil, nil
  elseif result == "cannot tell" then
    return nil, err
  end
  return verified
end

local function keep_verified(run, item, verified)
  keep(run, run.verified, verified)
  run.verified_count = run.verified_count + 1
  run:end_outage()
  if verified.state ~= item.state then
    run.job[item.state] = run.job[item.state] - 1
    run.job[verified.state] = run.job[verified.state] + 1
    run.changed = run.changed + (verified.state == "unknown" and 1 or 0)
  end
end

local function start_verification(run, item)
  start_task(run, function() return verify(run, item) end, function(verified, err)
    if verified then
      keep_verified(run, item, verified)
    else
      run:retry_verification(item, err)
    end
  end)
end

-- Returns what the error of a request that changes nothing means for the run.
local function failure_of(err)
  return decide.failure({ operation = "find", arguments = {} }, err)
end

-- What cannot be told now is asked again when the service responds, but not for ever: the reason may be the card. What
-- stops a job stops this too. There is no error if the card was found, but does not show what is to be verified.
function Run:retry_verification(item, err)
  local ending = err and failure_of(err) or {}
  item.tries = (item.tries or 0) + 1
  if ending.stop then
    self:stop("paused", ending.stop, ending.message)
  elseif (ending.transient or ending.kind == "canceled") and item.tries < MOST_TRIES then
    table.insert(self.queue, item)
    self:begin_outage(ending)
  else
    self.unverified = self.unverified + 1
    self:tell("unverified", { value = item.card, kind = err and err.kind,
      message = err and err.message or "the service does not show what was changed" })
  end
end

-- ---- the account ------------------------------------------------------------------------

local accounts = setmetatable({}, { __mode = "k" }) -- by client

-- Returns what tells an account from others; or nil and an error.
local function account_of(client)
  if not accounts[client] then
    local account, err = client:check()
    if not account then
      return nil, err
    end
    local id = account.uuid or account.id or account.company
    if id == nil then
      return nil, journal.error("config", "the response to check() names no account: is the base URL right?")
    end
    accounts[client] = tostring(id)
  end
  return accounts[client]
end

-- A job belongs to the account that it was planned for. If the service does not respond, it is asked again later.
function Run:compare_account(account, err)
  if account and account ~= self.job.account then
    return self:stop("paused", "account", ("job %d belongs to the account %s, and the key to the account %s"):format(
      self.job.id, self.job.account, account))
  elseif account then
    self.is_checked = true
    return self:end_outage()
  end
  local ending = failure_of(err)
  if not ending.transient then
    return self:stop("paused", ending.stop or ending.kind, ending.message)
  end
  self.look_at = now() + self.probe
  self:begin_outage(ending)
end

-- Nothing else is sent before this.
local function check_account(run)
  if run.flying > 0 or run.look_at and now() < run.look_at then
    return
  end
  start_task(run, function() return account_of(run.client) end, function(account, err)
    run.look_at = false
    run:compare_account(account, err)
  end)
end

-- ---- the turn ---------------------------------------------------------------------------

local function how_many(run)
  local rate = math.max(1, (run.job.done - run.done_before) / math.max(1, now() - run.begun))
  local count_for_3_s = math.min(64, math.ceil(3 * rate), 2 * run.concurrency)
  return math.max(count_for_3_s, run.concurrency) - #run.queue
end

local function may_claim(run)
  return run.phase == "items" and run.is_checked and not run.ending and (not run.outage or run.probing)
end

local function claim_request(run)
  if not may_claim(run) then
    return nil
  end
  local wanted = run.probing and 1 or how_many(run)
  return wanted > 0 and { count = wanted, after = run.after, lease_ms = run.lease_ms, operation = run.job.operation,
    nothing_else = run.flying == 0 and #run.queue == 0, probing = run.probing } or nil
end

-- Decides when to look for more items after fewer were found than asked for. Others may give back items that are
-- behind the last one that was found.
local function wait_for_items(run, found, asked)
  local due, shared = run.store:next_due(run.job.id, asked.nothing_else), run.journal.is_shared
  local wait = due and math.max(0, due - run.journal:now()) / 1000 or 3600
  run.all_begun = true
  run.look_at = now() + (shared and math.min(wait, POLL) or wait)
  run.exhausted = not due and found == 0 and asked.nothing_else
  if shared then
    run.after = 0
    run.exhausted = open_items(run) == 0 and asked.nothing_else
  end
end

local function take_claimed(run, claimed, asked, began)
  for _, item in ipairs(claimed) do
    item.deadline, item.mark = began + run.lease_ms, math.min(item.mark, run.responses)
    run.held[item.n] = item
    run.job.waiting = run.job.waiting - (item.waited and 1 or 0)
    table.insert(run.queue, item)
  end
  run.probing = false
  if #claimed < asked.count then
    wait_for_items(run, #claimed, asked)
  end
end

-- Lets the tasks go on that wait for their notes.
local function wake(run, notes)
  for _, note in ipairs(notes) do
    scheduler.wake(note.task)
  end
  if notes[1] then
    run:check_leases() -- the journal may have taken long
    scheduler.step(0) -- without a call under way, no driver would let them go on
  end
end

local function wake_noted(run, notes, noted)
  for i, note in ipairs(notes) do
    if noted[i] then
      note.item.before = note.before
    else
      note.item.lost = true
    end
  end
  wake(run, notes)
end

-- ---- other workers ----------------------------------------------------------------------

-- Sends nothing more of an item.
local function lose(item)
  item.lost = true
  if item.task then
    scheduler.cancel(item.task)
  end
end

-- Sends nothing more of items whose leases have ended, because this process was stopped or could not extend them. Call
-- it after a wait, before anything is sent.
function Run:check_leases()
  local ended, time = {}, boottime()
  for _, item in pairs(self.journal.is_shared and self.held or ended) do
    ended[#ended + 1] = not item.lost and time >= item.deadline and item or nil
  end
  for _, item in ipairs(ended) do
    lose(item)
  end
end

-- Continues with the items whose leases were extended; the others were taken over.
local function confirm(run, mine, began)
  local lost = {}
  for n, item in pairs(run.held) do
    if mine[n] then
      item.deadline = began + run.lease_ms
    else
      lost[#lost + 1] = item
    end
  end
  for _, item in ipairs(lost) do
    lose(item)
  end
  run.extend_at = now() + run.lease_ms / 4000
end

-- Returns why all workers are to pause, if this one does and has not told them. One that only verifies is alone.
local function pause_for_all(run)
  local ending = run.ending
  return run.journal.is_shared and not run.only_verify and not run.is_stored and ending and ending.state == "paused"
    and pauses_all[ending.kind] and ending.kind or nil
end

local stops = { stopped = true, signal = true, interrupted = true, verify_stopped = true, planned = true }

-- Does what `leat job stop`, or another worker, asks for. A run that has done everything ends anyway; it may be itself
-- that finished the job, by a commit whose acknowledgement was lost.
local function obey(run, why)
  if run.ending or run.phase == "ended" then
    return
  elseif why == "stopped" then
    run:stop("stopped", "stopped", "leat job stop")
  elseif why == "finished" then
    run.ending, run.is_stored, run.ended_by_other = { state = "finished" }, true, true
  else
    run.is_stored = true
    run:stop(stops[why] and "stopped" or "paused", why, "another process that works on the job has ended it")
  end
end

local function take_counts(run, counts)
  local job = run.job
  job.waiting = counts.waiting or math.max(0, job.waiting)
  job.done, job.failed, job.unknown, job.requests = counts.done, counts.failed, counts.unknown, counts.requests
  if too_many_failures(run) then
    run:stop("paused", "max_failures", ("%d rows have failed"):format(job.failed))
  end
end

-- ---- the turn, once more ----------------------------------------------------------------

-- Returns whether to look for the items of dead workers: now and then, as far as there are turns.
local function takes_over(run)
  if not run.journal.is_shared or run.look_for_dead_at and now() < run.look_for_dead_at then
    return false
  end
  run.look_for_dead_at = now() + POLL
  return true
end

local function new_turn(run)
  local extends = run.journal.is_shared and now() >= run.extend_at
  return { worker = run.worker, endings = run.endings, notes = run.notes, verified = run.verified,
    forgiven = run.forgiven, claim = claim_request(run), held = extends and run.held or nil,
    pause = pause_for_all(run), takes_over = takes_over(run), lease_ms = run.lease_ms, settle_ms = run.settle_ms,
    reads = run.reads }
end

-- Continues with what a turn returned.
local function take_result(run, turn, result, began)
  take_counts(run, result)
  run.is_stored = run.is_stored or turn.pause ~= nil
  if turn.held then
    confirm(run, result.mine, began)
  end
  if result.stop then
    obey(run, result.stop)
  end
  wake_noted(run, turn.notes, result.noted)
  if turn.claim then -- last, because it reads the journal, which may fail
    run.after = result.after or run.after
    take_claimed(run, result.claimed, turn.claim, began)
  end
end

-- Returns whether the results could be stored. If not, they stay in memory, and nothing new is claimed.
function Run:turn()
  local turn, began = new_turn(self), boottime()
  local result, err = journal.try(self.store.turn, self.store, self.job.id, turn)
  if not result then
    return self:journal_failed(err)
  end
  self.endings, self.notes, self.verified, self.forgiven = {}, {}, {}, {}
  self.first_ending, self.failing_since = false, false
  take_result(self, turn, result, began)
  if self.journal:has_moved() then
    self:break_off("the journal " .. self.store.path .. " was deleted or replaced while the job ran, or its .lock was")
  end
  return true
end

-- The journal can't be written: what is under way ends, its results wait in memory. If the turn was committed although
-- its acknowledgement was lost, the next one gives back what it claimed.
function Run:journal_failed(err)
  self.failing_since = self.failing_since or now()
  self.retry_at, self.extend_at = now() + 1, 0
  if self.journal:is_lasting(err) or now() - self.failing_since > GIVE_UP then
    self:break_off(err.message)
  end
  return false
end

-- Ends the run because of its journal. Calls that are under way end first; what they changed is then stored if that
-- is possible, and otherwise verified by the next run.
function Run:break_off(message)
  self.broken = self.broken or message
  self:stop("paused", "journal", message)
  local notes = self.notes
  self.notes = {}
  wake(self, notes)
end

-- ---- the run ----------------------------------------------------------------------------

function Run:tell(what, detail)
  if self.on_event then
    self.on_event(what, detail)
  end
end

-- Stops claiming. What is under way ends first. The reason given first counts.
function Run:stop(state, kind, message)
  self.ending = self.ending or { state = state or "stopped", kind = kind or "stopped", message = message }
end

-- Puts back what was claimed, but not begun.
local function release_queue(run)
  for _, item in ipairs(run.queue) do
    if item.fence then
      local ending = decide.canceled(item)
      run.held[item.n] = nil
      ending.item, ending.unsent = item, true
      ending.due = ending.state == "later" and run.journal:now() or nil
      keep(run, run.endings, ending)
      run.after = math.min(run.after, item.n - 1)
    end
  end
  run.queue = {}
end

-- Nothing is begun that could end after its lease; it is claimed anew.
local function is_late(run, item)
  return item.lost or item.deadline and boottime() > item.deadline - run.lease_ms / 2
end

local function launch(run)
  local late = {}
  while run.queue[1] and run.flying < run.concurrency and not run.ending do
    if run.phase == "verifying" and run.outage then
      return
    end
    local item = table.remove(run.queue, 1)
    if is_late(run, item) then
      table.insert(late, item)
    elseif run.phase == "items" then
      start(run, item)
    else
      start_verification(run, item)
    end
  end
  if late[1] then
    local queue = run.queue
    run.queue = late
    release_queue(run)
    run.queue = queue
    run.exhausted, run.all_begun, run.look_at = false, false, false
  end
end

local function is_turn_due(run)
  if run.retry_at and now() < run.retry_at then
    return false
  elseif run.notes[1] or run.journal.is_shared and now() >= run.extend_at or pause_for_all(run) then
    return true
  end
  local results = #run.endings + #run.verified
  local short = #run.queue < run.concurrency / 2 and run.flying + #run.queue < 2 * run.concurrency
  local claims = may_claim(run) and short and not (run.look_at and now() < run.look_at)
  if claims and run.look_at then
    run.look_at, run.exhausted = false, false
  end
  return claims or results > 0 and (run.ending or results >= run.concurrency or run.flying == 0 and #run.queue == 0
    or now() - run.first_ending >= TURN)
end

-- Asks for the account, to which any service that works responds.
local function start_check(run)
  start_task(run, function() return run.client:check() end, function(_, err)
    local ending = err and failure_of(err) or {}
    if ending.stop then
      run:stop("paused", ending.stop, ending.message)
    elseif not ending.transient and ending.kind ~= "canceled" then
      note_response(run)
    end
  end)
end

-- In an outage, one probe every so often: an item that was not tried yet. If there is none, those that are left may
-- fail for reasons of their own, and the service is asked for something else.
local function probe(run)
  if run.outage and not run.probing and not run.ending and now() >= run.outage.probe_at and run.flying == 0 then
    run.outage.probe_at = now() + run.probe
    run.look_at = false
    if run.phase == "items" and open_items(run) > OUTAGE and not run.all_begun then
      run.probing = true
    else
      start_check(run)
    end
  end
end

local function is_idle(run)
  return run.flying == 0 and #run.queue == 0 and #run.endings == 0 and #run.verified == 0
end

-- Returns whether this worker is the one that verifies. The others wait until it has ended the job, or died.
local function may_verify(run)
  if run.verify_at and now() < run.verify_at then
    return false
  end
  run.verify_at = now() + POLL
  return run.store:begin_to_verify(run.job.id, run.worker, run.lease_ms)
end

-- All items have ended: those whose end is in doubt are found once more, when nothing can land any more.
local function begin_verification(run)
  local last = run.store:last_doubtful(run.job.id)
  local from = run.journal:now() -- The wall clock may have been set back since an earlier run.
  run.verify_from = last and math.min(last, from) + run.settle_ms or run.verify_all and from or false
  run.phase = "settling" -- if the journal could be read
end

local function fetch_unverified(run)
  local list = run.store:to_verify(run.job.id, run.job.operation, run.after, run.verify_all)
  for _, item in ipairs(list) do
    run.after = item.n
    table.insert(run.queue, item)
  end
  return list[1] ~= nil
end

local function advance(run)
  if run.phase == "items" and run.exhausted and not run.outage and may_verify(run) then
    begin_verification(run)
  end
  if run.phase == "settling" then
    if not run.verify_from then
      run.phase = "ended"
    elseif run.journal:now() >= run.verify_from then
      run.to_verify = run.store:count_to_verify(run.job.id, run.verify_all)
      run.phase, run.after, run.look_at = "verifying", 0, false
      begin_pace(run)
    end
  end
  if run.phase == "verifying" and not fetch_unverified(run) then
    run.phase = "ended"
  end
end

-- `others` is how many other workers go on.
local function summarize(run, ending, others)
  run.journal:unlock()
  local is_last = others == 0
  if ending.state == "finished" then
    is_last = not run.ended_by_other
  end
  run.summary = { state = ending.state, kind = ending.kind, message = ending.message, job = run.job,
    seconds = now() - run.begun, verified = run.verified_count, changed = run.changed, unverified = run.unverified,
    to_verify = run.to_verify, stored = not run.broken or #run.endings == 0,
    is_last = is_last or not run.journal.is_shared }
end

-- Stores the state of the job, unless others still work on it. One that was finished stays so if a verification of it
-- is stopped. Returns how many others work on it.
local function leave(run, ending)
  local state, reason = ending.state, ending.kind
  if run.only_verify and run.job.finished and state ~= "finished" then
    state, reason = "finished", "verify_stopped"
  end
  local others = run.store:leave(run.job.id, run.worker, state, reason, run.is_stored)
  run.job = run.store:job(run.job.id) or run.job
  return others
end

-- Ends the run: the state of the job is stored, and the journal unlocked.
local function conclude(run)
  local ending = run.ending or { state = "finished" }
  if run.phase == "ended" and not run.broken then -- if it only verifies, items may be left
    ending = { state = open_items(run) == 0 and "finished" or "stopped" }
  end
  local others
  if not run.broken then
    others = leave(run, ending)
    if ending.state == "finished" and open_items(run) > 0 then -- rows were made ready when this one was taken for dead
      ending = { state = "stopped" }
    end
  elseif run.journal.is_shared then -- its rows stay claimed until their leases end
    journal.try(run.store.forget_worker, run.store, run.worker)
  end
  summarize(run, ending, others)
  if run.problem then
    error(run.problem.why, 0)
  end
  return run.summary
end

-- Looks now and then, while there are no turns, whether the job is asked to stop.
local function look_for_stop(run)
  if not run.ending and now() - run.looked_at >= TURN then
    run.looked_at = now()
    local why = journal.try(run.store.stop_of, run.store, run.job.id, run.worker)
    if why then
      obey(run, why)
    end
  end
end

local function work(run)
  probe(run)
  if is_turn_due(run) then
    run:turn()
  end
  launch(run)
end

local function step(self)
  if self.summary then
    return self.summary
  end
  self:check_leases()
  look_for_stop(self)
  note_outage(self)
  update_pace(self)
  if self.ending then
    release_queue(self)
  end
  if self.is_checked then
    work(self)
  elseif not self.ending then
    check_account(self)
  end
  if not self.is_checked and is_turn_due(self) then -- its lease is extended all the same
    self:turn()
  end
  if is_idle(self) or self.broken and self.flying == 0 then
    if not self.ending and self.is_checked then
      advance(self)
    end
    if self.ending or self.phase == "ended" then
      return conclude(self)
    end
  end
end

-- Does what can be done now, and returns nil; or the summary, once the job has ended, was stopped or is paused. If the
-- journal can't be read the run ends, as if it couldn't be written; a server may come back.
function Run:step()
  local summary, err = journal.try(step, self)
  if err and self.journal.is_shared then
    self:journal_failed(err)
  elseif err then
    self:break_off(err.message)
  end
  return summary
end

-- Ends the run at once: cancels what is under way, and stores what is known of it. The job is interrupted.
function Run:abandon()
  if not self.summary then
    self:stop("interrupted")
    for task in pairs(self.tasks) do
      scheduler.cancel(task)
    end
    release_queue(self)
    pcall(self.turn, self)
    journal.try(self.store.forget_worker, self.store, self.worker)
    summarize(self, self.ending)
  end
end

-- Returns how far the run is.
function Run:progress()
  local job, rate = self.job, rate_of(self)
  local _, left = count_of_phase(self)
  return { rows = job.rows, done = job.done, failed = job.failed, unknown = job.unknown, rejected = job.rejected,
    skipped = job.skipped, unprocessed = open_items(self), waiting = job.waiting, seconds = now() - self.begun,
    rate = rate, eta = rate > 0 and not self.failing and left / rate or nil, failing = self.failing or nil,
    outage = self.outage and self.outage.kind or nil, phase = self.phase,
    verified = self.verified_count + self.unverified, to_verify = self.to_verify }
end

-- Makes the run a worker of its job. If an acknowledgement is lost the worker is forgotten: it does not work.
local function join(store, run, longest_wait_ms)
  local id = run.job.id
  local job, err = journal.try(function()
    store:begin(id, run, longest_wait_ms)
    return store:job(id)
  end)
  if not job and run.worker then
    journal.try(store.forget_worker, store, run.worker)
  end
  run.job = job or error(err, 0)
end

-- Starts to work on a job, whose journal is locked until the run ends. `options` are those of leat.jobs.
local function begin(store, job, client, options)
  local settle_ms = math.floor(1000 * options.settle)
  local run = setmetatable({
    store = store, journal = store.journal, job = job,
    client = client, single = client:with { max_attempts = 1 }, again = client:with { maybe_applied = true },
    concurrency = options.concurrency, max_failures = options.max_failures, probe = options.probe,
    settle_ms = settle_ms, lease_ms = math.floor(1000 * options.lease), reads = reads[job.operation] or false,
    verify_all = options.verify, only_verify = options.only_verify, on_event = options.on_event,
    phase = options.only_verify and "settling" or "items", verify_from = store.journal:now(),
    is_checked = job.account == "" or accounts[client] == job.account,
    begun = now(), looked_at = now(), after = 0, flying = 0, tasks = {}, responses = 0,
    verified_count = 0, changed = 0, unverified = 0, to_verify = 0,
    queue = {}, endings = {}, notes = {}, verified = {}, forgiven = {}, streak = {}, streak_length = 0,
    failures_in_row = 0, held = {}, extend_at = now() + options.lease / 4,
    outage = false, failing = false, probing = false, exhausted = false, all_begun = false, ending = false,
    broken = false, is_stored = false, ended_by_other = false, verify_at = false, look_for_dead_at = false,
    problem = false, look_at = false, retry_at = false, first_ending = false, failing_since = false, summary = false,
  }, Run)
  join(store, run, math.max(settle_ms, math.ceil(2000 * options.probe)))
  run.done_before, run.failed_before = run.job.done + run.job.failed + run.job.unknown, run.job.failed
  begin_pace(run)
  return run
end

return { begin = begin, account_of = account_of }
