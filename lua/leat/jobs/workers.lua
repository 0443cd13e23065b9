-- The processes that work on a job. In a file that is one, which holds the journal's lock. In PostgreSQL there may be
-- several: each has a row, and a lease that it extends again and again, for itself and for the items that it has
-- claimed. If it dies, freezes or is cut off, its leases end, and the others take its items over. Every function works
-- within the transaction of its caller.

local workers = {}

-- Returns what a file of the system begins with.
local function read_system(path, pattern)
  local file = io.open(path)
  local text = file and file:read("*l")
  if file then
    file:close()
  end
  return text and text:match(pattern)
end

local LIVES = "seen + lease > $2"

-- Returns how many workers of a job are alive.
function workers.count(journal, job)
  return journal:row("select count(*) from worker where job = $1 and " .. LIVES, "ii", job, journal:past())
end

local function own_host()
  return read_system("/proc/sys/kernel/hostname", "^%S+")
end

local function own_process()
  return tonumber(read_system("/proc/self/stat", "^%d+"))
end

local INSERT = "insert into worker (job, host, pid, started, seen, lease) values ($1, $2, $3, $4, $4, $5) returning id"

-- Adds this process to the workers of a job, and returns its number. Workers that are dead are forgotten; in a file
-- those are all others, because the caller holds the lock.
function workers.add(journal, job, lease_ms)
  if journal.is_shared then
    journal:execute("delete from worker where job = $1 and not " .. LIVES, "ii", job, journal:past())
  else
    journal:execute("delete from worker", "")
  end
  return (journal:row(INSERT, "itiii", job, own_host(), own_process(), journal:now(), lease_ms))
end

function workers.remove(journal, worker)
  journal:execute("delete from worker where id = $1", "i", worker)
end

-- Asks all other workers of a job to stop, or all if there is no `worker`. `why` is `stopped`, or why they pause.
function workers.ask_to_stop(journal, job, why, worker)
  journal:execute("update worker set stop = $2 where job = $1 and stop is null and id <> $3", "iti", job, why,
    worker or 0)
end

-- Why a worker w is asked to stop, or null. One whose row was forgotten stops if the job j does not run.
workers.STOP = "coalesce(w.stop, case when j.state <> 'running' then coalesce(j.reason, j.state) end)"
local STOP_OF = ("select %s from job j left join worker w on w.id = $2 where j.id = $1"):format(workers.STOP)

-- Returns why a worker is asked to stop, or nil.
function workers.stop_of(journal, job, worker)
  return (journal:row(STOP_OF, "ii", job, worker))
end

local LIST = "select id, host, pid, started, seen, (select count(*) from item i where i.job = worker.job "
  .. "and i.worker = worker.id and i.state = 'claimed' and i.due is not null) from worker where job = $1 and "
  .. LIVES .. " order by id"

-- Returns the workers of a job that are alive.
function workers.list(journal, job)
  local list, now = {}, journal:now()
  for id, host, pid, started, seen, rows in journal:rows(LIST, "ii", job, now) do
    list[#list + 1] = { id = id, host = host, pid = pid, started = started, seen = seen,
      seen_ago = math.max(0, now - seen) / 1000, rows = rows }
  end
  return list
end

-- ---- leases -----------------------------------------------------------------------------

local SEEN = "update worker set seen = $2 where id = $1"
local APPEAR = "insert into worker (id, job, host, pid, started, seen, lease) values ($1, $2, $3, $4, $5, $5, $6)"
local MINE = "select n, fence from item where job = $1 and state = 'claimed' and due is not null and worker = $2"
local EXTEND = "update item set due = $3 where job = $1 and state = 'claimed' and due is not null and worker = $2"
-- As for any item of which nothing was sent.
local GIVE_BACK = "update item set state = case when maybe_applied = 1 then 'later' else 'ready' end, "
  .. "due = case when maybe_applied = 1 then cast($4 as bigint) end, attempt = attempt - 1, "
  .. "before = case when maybe_applied = 1 then before end "
  .. "where job = $1 and n = $2 and fence = $3 and state = 'claimed'"

-- Says that a worker is alive. If it was taken for dead, it appears again.
local function see(journal, job, turn, now)
  if journal:execute(SEEN, "ii", turn.worker, now) == 0 then
    journal:execute(APPEAR, "iitiii", turn.worker, job, own_host(), own_process(), now, turn.lease_ms)
  end
end

-- Extends the leases of a worker, and returns the fences of the items that it has, by their numbers. `turn.held` are
-- those that it knows: others were claimed by a commit whose acknowledgement was lost. They are given back, because
-- nothing of them was sent.
function workers.extend(journal, job, turn)
  local mine, unknown, now = {}, {}, journal:now()
  local worker, held, until_ = turn.worker, turn.held, now + turn.lease_ms
  see(journal, job, turn, now)
  for n, fence in journal:rows(MINE, "ii", job, worker) do
    if held[n] and held[n].fence == fence then
      mine[n] = fence
    else
      unknown[#unknown + 1] = { job, n, fence, now }
    end
  end
  journal:update_each(GIVE_BACK, "iiii", unknown)
  journal:execute(EXTEND, "iii", job, worker, until_)
  journal:execute("update job set verify_until = $3 where id = $1 and verifier = $2", "iii", job, worker, until_)
  return mine
end

local VERIFY = "update job set verifier = $2, verify_until = $3 where id = $1 and state = 'running' "
  .. "and (verifier is null or verifier = $2 or verify_until <= $4)"

-- Makes a worker the one that verifies the job in the end, unless another one does.
function workers.begin_to_verify(journal, job, worker, lease_ms)
  return journal:execute(VERIFY, "iiii", job, worker, journal:now() + lease_ms, journal:past()) == 1
end

return workers
