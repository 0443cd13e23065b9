-- The jobs and items of a journal. Every function works in a transaction of its own or, in `plan` and `turn`, is
-- one. Errors of the journal are raised: see leat.jobs.journal.
--
-- An item is `ready`; or `claimed`, which is the intent to send it, committed before anything is sent; or `later`,
-- to be tried again when it is `due`; or in a final state: `done`, `failed`, `unknown`, `rejected` (never sent) or
-- `skipped` (another row of the same card). An item that is claimed by a process that died may have been sent.

local columns = require("leat.jobs.columns")
local items = require("leat.jobs.items")
local journals = require("leat.jobs.journal")
local workers = require("leat.jobs.workers")

local store = {}

local Store = {}
Store.__index = Store

local KEPT_MS = 30 * 24 * 60 * 60 * 1000 -- how long finished jobs are kept
local NEVER = 2 ^ 53 -- a time
local MOST_CRASHES = 3 -- the process may crash so often while it works on an item, before the item is given up

-- Opens the journal, and makes it if it does not exist. With an empty path it is a temporary one. `store.path` can be
-- shown to people: it has no password.
function store.open(path)
  local journal = journals.open(path)
  return setmetatable({ journal = journal, path = journal.path }, Store)
end

function Store:close()
  self.journal:close()
end

-- ---- jobs -------------------------------------------------------------------------------

local JOB = "select id, name, operation, account, base_url, file, header, state, reason, rows, done, failed, unknown, "
  .. "rejected, skipped, requests, created, finished, (select count(*) from item i where i.job = job.id "
  .. "and i.state = 'later' and i.due is not null), "
  .. "(select count(*) from worker w where w.job = job.id and w.seen + w.lease > $1) from job"

local function to_job(id, name, operation, account, base_url, file, header, state, reason, rows, done, failed,
    unknown, rejected, skipped, requests, created, finished, waiting, alive)
  return id and { id = id, name = name, operation = operation, account = account, base_url = base_url, file = file,
    header = header, state = state, reason = reason, rows = rows, done = done, failed = failed, unknown = unknown,
    rejected = rejected, skipped = skipped, unprocessed = rows - done - failed - unknown - rejected - skipped,
    waiting = waiting, requests = requests, created = created, finished = finished, worker_count = alive } or nil
end

-- Returns a job, or nil.
function Store:job(id)
  return to_job(self.journal:row(JOB .. " where id = $2", "ii", self.journal:now(), id))
end

-- Returns all jobs, the oldest first.
function Store:jobs()
  local list = {}
  local next_row = self.journal:rows(JOB .. " order by id", "i", self.journal:now())
  local job = to_job(next_row())
  while job do
    list[#list + 1] = job
    job = to_job(next_row())
  end
  return list
end

local SET_STATE = "update job set state = $2, reason = $3, finished = case $2 when 'finished' "
  .. "then coalesce(finished, $4) when 'running' then finished end where id = $1"

-- Sets the state of a job, and the reason why it is in that state. A job that was finished keeps the time when it was
-- while a process works on it: it is only verified.
function Store:set_state(id, state, reason)
  self.journal:execute(SET_STATE, "itti", id, state, reason, self.journal:now())
end

-- Sets the reason of a job that is running: why no rows are processed at present, or nil.
function Store:set_reason(id, reason)
  self.journal:execute("update job set reason = $2 where id = $1 and state = 'running'", "it", id, reason)
end

-- Notes that the other jobs that should be running are not: the caller holds the journal's lock.
function Store:note_interrupted(id)
  self.journal:execute("update job set state = case when finished is null then 'interrupted' else 'finished' end, "
    .. "reason = null where state = 'running' and id <> $1", "i", id)
end

-- Returns the id of the job on which a process works, if one does; nil if it has not begun.
function Store:running()
  return (self.journal:row("select id from job where state = 'running' order by id desc limit 1", ""))
end

-- Locks the row of a job until the end of the transaction, before anything else of the job is changed, so that no two
-- processes wait for each other. Returns its state, or nil if there is no such job.
local function lock_job(self, id)
  return (self.journal:row(self.journal:locking("select state from job where id = $1"), "i", id))
end

-- Raises an error if other processes work on a job, whose row is locked. In a file that is known before.
local function check_alone(self, id)
  if self.journal.is_shared and workers.count(self.journal, id) > 0 then
    journals.raise(("a process works on job %d: stop it first"):format(id))
  end
end

-- Asks the processes that work on the job to stop; not those that begin to do so later.
function Store:ask_to_stop(id)
  self.journal:transaction(function()
    lock_job(self, id)
    workers.ask_to_stop(self.journal, id, "stopped")
  end)
end

-- Returns why a worker is asked to stop, or nil.
function Store:stop_of(id, worker)
  return workers.stop_of(self.journal, id, worker)
end

-- Returns the processes that work on a job.
function Store:workers(id)
  return workers.list(self.journal, id)
end

-- Removes a job with all its items, and overwrites what the file held of them. Returns false if a
-- process that reads the journal prevented the latter.
function Store:remove(id)
  self.journal:long_transaction(function()
    lock_job(self, id)
    check_alone(self, id)
    for _, from in ipairs { "item", "event", "worker" } do
      self.journal:execute(("delete from %s where job = $1"):format(from), "i", id)
    end
    self.journal:execute("delete from job where id = $1", "i", id)
  end)
  return self.journal:erase()
end

local OLD = "select id from job where finished < $1 and state <> 'running' order by id limit 1"

-- Removes the jobs that finished long ago, one after the other: meanwhile somebody may retry another one.
function Store:remove_old()
  local before = self.journal:now() - KEPT_MS
  local id = self.journal:row(OLD, "i", before)
  while id do
    self:remove(id)
    id = self.journal:row(OLD, "i", before)
  end
end

local COUNT_IF = "cast(sum(case when given & %d = %d then 1 else 0 end) as bigint)"
local WORK = ("select count(*), coalesce(" .. COUNT_IF .. ", 0), coalesce(" .. COUNT_IF .. ", 0) from item "
  .. "where job = $1 and state in ('ready', 'claimed', 'later')"):format(
  columns.bits.contact_email + columns.bits.contact_uuid, columns.bits.contact_email, columns.bits.expect,
  columns.bits.expect)

-- Returns how many items are not in a final state, how many of them name a contact by its e-mail address only, and
-- how many have an expected contact.
function Store:count_work(id)
  return self.journal:row(WORK, "i", id)
end

-- Returns the function that returns the arguments of a job's items: see items.reader.
local function reader_of(self, job)
  local _, layout = self.journal:row("select id, columns from job where id = $1", "i", job)
  return items.reader(layout)
end

-- ---- planning ---------------------------------------------------------------------------

local INSERT_JOB = "insert into job (name, operation, account, base_url, file, header, columns, state, created) "
  .. "values ($1, $2, $3, $4, $5, $6, $7, 'planned', $8) returning id"

-- Adds a job without rows, within a transaction, and returns its id. One plan at a time is made: otherwise two
-- processes could add the same job.
function Store:add_job(job)
  self.journal:row(self.journal:locking("select version from meta"), "")
  return (self.journal:row(INSERT_JOB, "tttttbti", job.name, job.operation, job.account, job.base_url, job.file,
    job.header, job.layout, self.journal:now()))
end

local INSERT = "insert into item (job, n, line, given, card, bytes, arguments, state, kind, message) "
  .. "values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
local INSERT_SLICES = "insert into item (job, n, line, given, card, bytes, state) "
  .. "values ($1, $2, $3, $4, $5, $6, 'ready')"

-- Adds an item, within the transaction of add_job. `wrong` is why the row is rejected, or nil. The arguments of a
-- file's row are read from its bytes again when they are needed.
function Store:add_item(job, n, line, arguments, bytes, wrong)
  self.journal:insert(INSERT, "iiiitbtttt", job, n, line, arguments and columns.given(arguments),
    arguments and arguments.value, bytes, arguments and not bytes and items.encode_arguments(arguments) or nil,
    wrong and "rejected" or "ready", wrong and "invalid_row", wrong)
end

-- Adds items, as reader:scan stores them in a list.
function Store:add_slices(job, text, list, count)
  self.journal:insert_slices(INSERT_SLICES, "iiiitb", text, list, count, job)
end

-- Tables that are empty, or gone, between two plans. The service ignores the case of ASCII letters in values, and
-- blanks at the ends, which no value here has.
local TEMPORARY = {
  "create temp table if not exists noted (n integer primary key)",
  "create temp table if not exists repeated (card text primary key, first integer, second integer, kinds integer) "
    .. "without rowid",
  "create temp table if not exists twin (n integer primary key, line integer, card text, arguments text)",
  "create index if not exists twin_card on twin (card, n)",
}

-- Makes the tables of repeated values and their items, within the transaction of a plan.
function Store:prepare_twins()
  self.journal:create_temporary(TEMPORARY)
end

-- Notes that there may be several items with the value of this one.
function Store:note_repeated(n)
  self.journal:insert("insert into noted (n) values ($1)", "i", n)
end

local REPEATED = "insert into repeated (card) select distinct lower(card) from item where job = $1 "
  .. "and n in (select n from noted)"
local TWINS = "select n, line, lower(card), arguments, bytes from item where job = $1 and n > $2 and state = 'ready' "
  .. "and lower(card) in (select card from repeated) order by n limit 5000"
local INSERT_TWIN = "insert into twin (n, line, card, arguments) values ($1, $2, $3, $4)"
local FIRST = "update repeated set first = (select min(n) from twin where card = repeated.card), "
  .. "kinds = (select count(distinct arguments) from twin where card = repeated.card)"
local SECOND = "update repeated set second = (select min(n) from twin where card = repeated.card and n > first)"
local OF_LINE = "(select f.line from twin t, repeated r, twin f where t.n = item.n and r.card = t.card and f.n = %s)"
local SKIP = "update item set state = 'skipped', kind = 'duplicate', message = 'same as line ' || "
  .. OF_LINE:format("r.first") .. " where job = $1 and n in (select t.n from twin t, repeated r "
  .. "where r.card = t.card and r.kinds = 1 and t.n > r.first)"
local REJECT = "update item set state = 'rejected', kind = 'duplicate', message = 'the same card is on line ' || "
  .. OF_LINE:format("case when t.n = r.first then r.second else r.first end") .. " || ' with other data' "
  .. "where job = $1 and n in (select t.n from twin t, repeated r where r.card = t.card and r.kinds > 1)"

-- Copies some items behind `after` whose value is repeated to a table, with their arguments. Returns the last one, or
-- nil if there is none.
local function collect_some_twins(self, job, after, read)
  local last
  for n, line, card, arguments, bytes in self.journal:rows(TWINS, "ii", job, after) do
    last = n
    self.journal:insert(INSERT_TWIN, "iitt", n, line, card,
      items.encode_arguments(read(card, arguments, bytes)) or "")
  end
  return last
end

local function collect_twins(self, job)
  local read, after = reader_of(self, job), 0
  self.journal:execute(REPEATED, "i", job)
  self.journal:analyze("repeated")
  while after do
    after = collect_some_twins(self, job, after, read)
  end
  self.journal:analyze("twin")
  self.journal:execute(FIRST, "")
  self.journal:execute(SECOND, "")
end

-- Marks rows of the same card: those that say the same are skipped but for the first one, and those that do not are
-- all rejected. Returns how many rows are rejected, and how many skipped.
function Store:mark_duplicates(job)
  if not self.journal:row("select 1 from noted limit 1", "") then
    return 0, 0
  end
  collect_twins(self, job)
  local skipped, rejected = self.journal:execute(SKIP, "i", job), self.journal:execute(REJECT, "i", job)
  for _, name in ipairs { "noted", "repeated", "twin" } do
    self.journal:execute("delete from " .. name, "")
  end
  return rejected, skipped
end

-- Stores how many rows a new job has.
function Store:set_counts(job, rows, rejected, skipped)
  self.journal:execute("update job set rows = $2, rejected = $3, skipped = $4 where id = $1", "iiii", job, rows,
    rejected, skipped)
end

-- Returns a condition: that two columns are equal, or both null.
local function same(a, b)
  return ("coalesce(%s = %s, %s is null and %s is null)"):format(a, b, a, b)
end

local SIMILAR = "select older.id from job older, job newer where newer.id = $1 and older.id < newer.id "
  .. "and older.rows = newer.rows and older.operation = newer.operation and older.account = newer.account "
  .. "and older.base_url = newer.base_url and " .. same("older.header", "newer.header") .. " and "
  .. same("older.columns", "newer.columns") .. " order by older.id desc"
local DIFFERENCE = "select a.n from item a left join item b on b.job = $2 and b.n = a.n where a.job = $1 "
  .. "and (b.n is null or not (" .. same("a.card", "b.card") .. " and " .. same("a.arguments", "b.arguments")
  .. " and " .. same("a.bytes", "b.bytes") .. ")) limit 1"

-- Returns the latest earlier job that does the same with the same rows, or nil. Comparing the rows themselves needs
-- no checksum, and cannot mistake one file for another.
function Store:find_equal(job)
  local candidates = {}
  for id in self.journal:rows(SIMILAR, "i", job) do
    candidates[#candidates + 1] = id
  end
  for _, id in ipairs(candidates) do
    if not self.journal:row(DIFFERENCE, "ii", job, id) then
      return id
    end
  end
end

-- ---- the turn ---------------------------------------------------------------------------

local function note_event(self, job, n, worker, fence, what)
  self.journal:execute("insert into event (job, n, at, worker, fence, what) values ($1, $2, $3, $4, $5, $6)",
    "iiiiit", job, n, self.journal:now(), worker, fence, what)
end

local POISONED = "update item indexed by item_waiting set state = 'unknown', outcome = null, kind = 'poisoned', "
  .. "crashes = crashes + 1, maybe_applied = 1, at = $2, "
  .. "message = 'the program died each time that it worked on this row' "
  .. "where job = $1 and state = 'claimed' and due is not null and due <= $4 and crashes >= $3 - 1"
local TAKE_OVER = "update item set state = 'later', maybe_applied = $2, crashes = crashes + 1, due = $3 "
  .. "where job = $1 and state = 'claimed' and due is not null and due <= $4"
local WAIT_AGAIN = "update item set due = $2 where job = $1 and state = 'later' and maybe_applied = 1"
local BRING_NEARER = "update item set due = $2 where job = $1 and state = 'later' and due > $2"

-- Takes over the items that a worker claimed which then died, or is taken for dead because their leases ended before
-- `until_`. What may have been sent comes again after `settle_ms`. Returns how many were given up.
local function take_over(self, job, run, until_)
  local now, reads = self.journal:now(), run.reads
  local poisoned = self.journal:execute(POISONED, "iiii", job, now, MOST_CRASHES, until_)
  local count = self.journal:execute(TAKE_OVER, "iiii", job, reads and 0 or 1, now + (reads and 0 or run.settle_ms),
    until_)
  if poisoned + count > 0 then
    note_event(self, job, nil, run.worker, nil, ("took over %d items, and gave up %d"):format(count, poisoned))
  end
  return poisoned
end

-- Begins the work of a process on a job: its state is `running`. `run` has `settle_ms`, `lease_ms`, `reads` and
-- `only_verify`, which one process does alone; it gets `worker`, the number of the worker, which is returned, too. In
-- a file, the caller holds the lock, so that all items which were claimed are taken over. There, only the wall clock
-- says how much time has passed since an earlier process, and it may have been set. So what may have been sent waits
-- for `settle_ms` again, and no item waits for longer than `longest_wait_ms`.
function Store:begin(job, run, longest_wait_ms)
  local journal = self.journal
  return journal:transaction(function()
    if not lock_job(self, job) then
      journals.raise(("job %d was removed"):format(job))
    elseif run.only_verify then
      check_alone(self, job)
    end
    run.worker = workers.add(journal, job, run.lease_ms)
    if not journal.is_shared or workers.count(journal, job) == 1 then
      journal:execute("update job set verifier = null where id = $1", "i", job)
    end
    self:set_state(job, "running")
    local poisoned = take_over(self, job, run, journal.is_shared and journal:past() or NEVER)
    journal:execute("update job set unknown = unknown + $2 where id = $1", "ii", job, poisoned)
    if not journal.is_shared then
      self:note_interrupted(job)
      journal:execute(WAIT_AGAIN, "ii", job, journal:now() + run.settle_ms)
      journal:execute(BRING_NEARER, "ii", job, journal:now() + longest_wait_ms)
    end
    return run.worker
  end)
end

local IS_COMPLETE = "select 1 from job where id = $1 and rows = done + failed + unknown + rejected + skipped"

-- Ends the work of a process on a job. The last one stores the state of the job, and the one that finishes it; unless
-- `is_stored`. It does not finish a job that was retried while it was taken for dead. Returns how many others work on
-- it.
function Store:leave(job, worker, state, reason, is_stored)
  local journal = self.journal
  return journal:transaction(function()
    local current = lock_job(self, job)
    workers.remove(journal, worker)
    journal:execute("update job set verifier = null where id = $1 and verifier = $2", "ii", job, worker)
    local others = workers.count(journal, job)
    local stores = others == 0 and current == "running"
    if state == "finished" then
      stores = journal:row(IS_COMPLETE, "i", job) ~= nil
    end
    if stores and not is_stored then
      self:set_state(job, state, reason)
    end
    return others
  end)
end

-- Forgets a worker, without a change of the job's state.
function Store:forget_worker(worker)
  workers.remove(self.journal, worker)
end

-- Makes a worker the one that verifies a job in the end, unless another one does.
function Store:begin_to_verify(job, worker, lease_ms)
  return not self.journal.is_shared or workers.begin_to_verify(self.journal, job, worker, lease_ms)
end

-- A final state keeps maybe_applied, for the closing verification; `before` belongs to a request that may have been
-- applied.
local FINISH = "update item set state = $4, due = $5, maybe_applied = coalesce($6, maybe_applied), "
  .. "before = case when $4 in ('ready', 'later') and $6 = 0 then null else before end, tries = $7, mark = $8, "
  .. "outcome = $9, kind = $10, code = $11, message = $12, requests = requests + $13, at = $14, "
  .. "seen = coalesce($15, seen), changed = coalesce($16, changed), attempt = attempt - $17 "
  .. "where job = $1 and n = $2 and fence = $3 and state = 'claimed'"

local counted = { done = "done", failed = "failed", unknown = "unknown" }

local function finish_parameters(self, job, ending)
  local item, is_final = ending.item, counted[ending.state] ~= nil
  return { job, item.n, item.fence, ending.state, ending.due, ending.maybe_applied or not is_final and 0 or nil,
    item.tries, item.mark, ending.outcome, ending.kind, ending.code, ending.message, ending.requests or 0,
    self.journal:now(), ending.seen, ending.changed, ending.unsent and 1 or 0 }
end

-- Notes that a result is dropped, because the item is not ours any more; unless the result is there already because an
-- earlier commit succeeded whose acknowledgement was lost.
local function note_dropped(self, job, worker, ending)
  local item = ending.item
  local state, fence = self.journal:row("select state, fence from item where job = $1 and n = $2", "ii", job, item.n)
  if not (state == ending.state and fence == item.fence) then
    note_event(self, job, item.n, worker, item.fence, ("dropped the result %s: the item is %s"):format(ending.state,
      tostring(state)))
  end
end

-- Stores the ends of items' attempts.
local function finish(self, job, turn, counts)
  local endings, lists = turn.endings, {}
  for i, ending in ipairs(endings) do
    lists[i] = finish_parameters(self, job, ending)
  end
  for i, changed in ipairs(self.journal:update_each(FINISH, "iiitiiiittitiitti", lists)) do
    local ending = endings[i]
    local name = counted[ending.state]
    if not changed then
      note_dropped(self, job, turn.worker, ending)
    else
      counts.requests = counts.requests + (ending.requests or 0)
      counts[name or "others"] = counts[name or "others"] + 1
    end
  end
end

local VERIFIED = "update item set verified = $3, requests = requests + $4, state = $5, outcome = $6, kind = $7, "
  .. "message = $8, code = case when state = $5 then code end, seen = coalesce($9, seen) "
  .. "where job = $1 and n = $2 and state = $10 and verified is null"

-- Stores the results of a closing verification.
local function set_verified(self, job, results, counts)
  local lists, now = {}, self.journal:now()
  for i, result in ipairs(results) do
    lists[i] = { job, result.item.n, now, result.requests, result.state, result.outcome, result.kind, result.message,
      result.seen, result.item.state }
  end
  for i, changed in ipairs(self.journal:update_each(VERIFIED, "iiiitttttt", lists)) do
    local result = results[i]
    if changed then
      counts.requests = counts.requests + result.requests
      counts[result.item.state] = counts[result.item.state] - 1
      counts[result.state] = counts[result.state] + 1
    end
  end
end

local CLAIMABLE = "select n, line, card, arguments, bytes, attempt, crashes, tries, mark, maybe_applied, before, "
  .. "state from item "
local DUE = CLAIMABLE .. "where job = $1 and state = 'later' and due <= $2 and crashes < 2 order by due limit $3"
local READY = CLAIMABLE .. "where job = $1 and n > $2 and state = 'ready' order by n limit $3"
local SUSPECT = CLAIMABLE .. "where job = $1 and state = 'later' and due <= $2 and crashes >= 2 "
  .. "order by due limit 1"
local CLAIM = "update item set state = 'claimed', attempt = attempt + 1, fence = $3, due = $4, worker = $5 "
  .. "where job = $1 and n = $2"

local function collect(list, operation, read, rows)
  for n, line, card, arguments, bytes, attempt, crashes, tries, mark, maybe_applied, before, state in rows do
    list[#list + 1] = { n = n, line = line, card = card, operation = operation,
      arguments = read(card, arguments, bytes), attempt = attempt, crashes = crashes, tries = tries,
      mark = mark, maybe_applied = maybe_applied == 1, before = items.decode_before(before),
      waited = state == "later" }
  end
end

-- Claims items: first those that are due again, then those that are ready; for a probe, only the latter, which are not
-- to blame for an outage. An item whose process died twice is claimed alone, so that only the culprit collects crashes.
local function claim(self, job, turn, fence, read)
  local journal, request, now, list = self.journal, turn.claim, self.journal:now(), {}
  if not request.probing then
    collect(list, request.operation, read, journal:rows(DUE, "iii", job, journal:past(), request.count))
  end
  local first_ready = #list + 1
  collect(list, request.operation, read, journal:rows(READY, "iii", job, request.after, request.count - #list))
  local after = list[first_ready] and list[#list].n or request.after
  if #list == 0 and request.nothing_else and not request.probing then
    collect(list, request.operation, read, journal:rows(SUSPECT, "ii", job, journal:past()))
  end
  local lists = {}
  for i, item in ipairs(list) do
    lists[i] = { job, item.n, fence, now + request.lease_ms, turn.worker }
    item.fence = fence
  end
  journal:update_each(CLAIM, "iiiii", lists)
  return list, after
end

local COUNTS = "update job set done = done + $2, failed = failed + $3, unknown = unknown + $4, "
  .. "requests = requests + $5, fence = fence + 1 where id = $1 returning done, failed, unknown, requests"
local NOTE = "update item set before = $4 where job = $1 and n = $2 and fence = $3 and state = 'claimed'"
local FORGIVE = "update item set tries = tries - 1 where job = $1 and n = $2 and tries > 0"

-- Stores the states of cards before they are changed. Returns a list of whether each could be stored: not if the item
-- was taken over.
local function note_before(self, job, notes)
  local lists = {}
  for i, note in ipairs(notes) do
    lists[i] = { job, note.item.n, note.item.fence, items.encode_before(note.before) }
  end
  return self.journal:update_each(NOTE, "iiit", lists)
end

local function forgive(self, job, numbers)
  local lists = {}
  for i, n in ipairs(numbers) do
    lists[i] = { job, n }
  end
  self.journal:update_each(FORGIVE, "ii", lists)
end

local PAUSE = "update job set state = 'paused', reason = $2, finished = null where id = $1 and state = 'running'"

-- Tells all workers that the job is paused, unless it has ended.
local function pause(self, job, turn)
  self.journal:execute(PAUSE, "it", job, turn.pause)
  workers.ask_to_stop(self.journal, job, turn.pause, turn.worker)
end

-- Does what concerns other workers, and returns the leases that were extended, if any.
local function share(self, job, turn, counts)
  local mine
  if turn.pause then
    pause(self, job, turn)
  end
  if turn.held then
    mine = workers.extend(self.journal, job, turn)
  end
  if turn.takes_over then
    counts.unknown = counts.unknown + take_over(self, job, turn, self.journal:past())
  end
  return mine
end

-- Stores what the turn brings.
local function store_results(self, job, turn, counts)
  finish(self, job, turn, counts)
  local noted = note_before(self, job, turn.notes)
  set_verified(self, job, turn.verified, counts)
  forgive(self, job, turn.forgiven)
  return noted
end

local WAITING = "select count(*) from item where job = $1 and state = 'later' and due is not null"

local function add_counts(self, job, turn, counts)
  local result = { waiting = turn.held and self.journal:row(WAITING, "i", job) or nil }
  result.done, result.failed, result.unknown, result.requests = self.journal:row(COUNTS, "iiiii", job, counts.done,
    counts.failed, counts.unknown, counts.requests)
  return result
end

local OF_TURN = ("select j.fence, %s, j.columns from job j left join worker w on w.id = $2 where j.id = $1"):format(
  workers.STOP)

-- One transaction: stores what ended, the states of cards before they are changed, and the results of verifications;
-- then claims more. `turn` holds the `worker`; `endings`, `notes`, `verified` and `forgiven`, which are lists; and
-- `claim`, or nil: `count`, `after` (only ready items behind that one), `lease_ms`, `operation`, and `nothing_else` (no
-- other item is under way). In a shared journal it also holds `held`, the worker's items by their numbers, if their
-- leases are to be extended; `takes_over`, true if the items of dead workers are to be looked for; and `pause`, the
-- reason, if all workers are to pause.
--
-- Returns a table: `claimed`, the items; `after` for the next turn; `stop`, why the worker is asked to stop; `noted`, a
-- list of whether each note was stored; `mine`, the fences of the items whose leases were extended; and the job's
-- counts, with `waiting` if there are such leases. The job's row is locked first, so that no other turn of the job
-- happens at the same time.
function Store:turn(job, turn)
  local journal = self.journal
  return journal:transaction(function()
    local counts = { done = 0, failed = 0, unknown = 0, others = 0, requests = 0 }
    local fence, stop, layout = journal:row(journal:locking(OF_TURN, "j"), "ii", job, turn.worker)
    if not fence then
      journals.raise(("job %d was removed"):format(job))
    end
    local noted = store_results(self, job, turn, counts)
    local mine = journal.is_shared and share(self, job, turn, counts) or nil
    local result = add_counts(self, job, turn, counts)
    result.noted, result.mine, result.claimed, result.stop = noted, mine, {}, stop
    if turn.claim and not stop then
      result.claimed, result.after = claim(self, job, turn, fence + 1, items.reader(layout))
    end
    return result
  end)
end

-- Returns when the next item comes again, as a time of the journal; nil if none is waiting. Items that are claimed
-- alone wait for the end of all others, unless `nothing_else` is under way.
function Store:next_due(job, nothing_else)
  return (self.journal:row("select due from item where job = $1 and state = 'later' and due is not null "
    .. "and (crashes < 2 or $2 = 1) order by due limit 1", "ii", job, nothing_else and 1 or 0))
end

-- ---- after the items --------------------------------------------------------------------

local DOUBTFUL = "job = $1 and verified is null and (state = 'unknown' or state = 'done' "
  .. "and (maybe_applied = 1 or outcome = 'recovered'))"
local ALL = "job = $1 and verified is null and state in ('done', 'unknown')"
local TO_VERIFY = "select n, card, arguments, bytes, state, outcome, kind, message, before from item "
  .. "where n > $2 and %s order by n limit 64"

-- Returns when the last doubtful item ended, nil if none is: those whose request may have been received although no
-- response arrived.
function Store:last_doubtful(job)
  return (self.journal:row("select max(at) from item where " .. DOUBTFUL, "i", job))
end

-- Returns up to 64 items behind `after` that are to be verified: the doubtful ones, or all.
function Store:to_verify(job, operation, after, all)
  local list, read = {}, reader_of(self, job)
  for n, card, arguments, bytes, state, outcome, kind, message, before in
    self.journal:rows(TO_VERIFY:format(all and ALL or DOUBTFUL), "ii", job, after) do
    list[#list + 1] = { n = n, card = card, operation = operation, arguments = read(card, arguments, bytes),
      state = state, outcome = outcome, kind = kind, message = message, before = items.decode_before(before) }
  end
  return list
end

-- Returns how many items are to be verified.
function Store:count_to_verify(job, all)
  return self.journal:row("select count(*) from item where " .. (all and ALL or DOUBTFUL), "i", job)
end

-- Lets all items of a job be verified again.
function Store:forget_verified(job)
  self.journal:long_transaction(function()
    lock_job(self, job)
    check_alone(self, job)
    self.journal:execute("update item set verified = null where job = $1 and verified is not null", "i", job)
  end)
end

local RETRY = {
  failed = "update item set state = 'ready', outcome = null, kind = null, code = null, message = null, tries = 0, "
    .. "maybe_applied = 0, before = null, verified = null where job = $1 and state = 'failed'",
  unknown = "update item set state = 'later', due = $2, tries = 0, crashes = 0, maybe_applied = 1, verified = null "
    .. "where job = $1 and state = 'unknown'",
}

-- Lets failed and unknown items be processed again; the unknown ones are verified first. Returns how many.
function Store:retry(job, failed, unknown)
  return self.journal:long_transaction(function()
    lock_job(self, job)
    check_alone(self, job)
    local of_failed = failed and self.journal:execute(RETRY.failed, "i", job) or 0
    local of_unknown = unknown and self.journal:execute(RETRY.unknown, "ii", job, self.journal:now()) or 0
    if of_failed + of_unknown == 0 then
      return 0
    end
    self.journal:execute("update job set failed = failed - $2, unknown = unknown - $3, finished = null, reason = null, "
      .. "state = 'stopped' where id = $1", "iii", job, of_failed, of_unknown)
    note_event(self, job, nil, nil, nil, ("to be tried again: %d failed, %d unknown"):format(of_failed, of_unknown))
    return of_failed + of_unknown
  end)
end

local RESULTS = "select n, line, card, arguments, bytes, state, outcome, kind, code, message, requests, at, before, "
  .. "seen, changed from item where job = $1 and n > $2 and ($3 is null or $3 like '%' || state || '%') "
  .. "order by n limit 100"

-- Returns the next items behind the item `after`, in the order of the rows; an empty list at the end. `states`, a text,
-- names the states of items that are wanted, or is nil. No statement stays open between two calls: it could keep the
-- journal from being written, and the same statement from being used for another job.
function Store:results(job, after, states)
  local list, read = {}, reader_of(self, job)
  for n, line, card, arguments, bytes, state, outcome, kind, code, message, requests, at, before, seen, changed in
    self.journal:rows(RESULTS, "iit", job, after, states) do
    local given = read(card, arguments, bytes)
    local value = given.value
    given.value = nil
    list[#list + 1] = { n = n, line = line, value = value, arguments = given, bytes = bytes,
      state = state, outcome = state == "done" and outcome or state, kind = kind, code = code, message = message,
      requests = requests, at = at, before = items.decode_before(before), seen = items.decode(seen), changed = changed }
  end
  return list
end

return store
