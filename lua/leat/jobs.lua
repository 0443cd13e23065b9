--- Jobs process many cards, each of them once, whatever happens in the meantime.
--
--    local jobs = require("leat.jobs")
--    local store = assert(jobs.open())
--    local job = assert(store:plan { client = client, operation = "ensure", rows = rows })
--    local summary = assert(job:run(client, { progress = function(p) print(p.done, p.rows) end }))
--    for row in job:results() do print(row.line, row.value, row.outcome) end
--
-- Jobs, and the result of each of their rows, are kept in a *journal*, an SQLite database on a local disk. Before a
-- request is sent, the journal records that it may have been sent. If the process dies, another one can therefore find
-- out what was done, and continue the job: `store:plan` with the same rows returns the same job.
--
-- A journal may also be a database of PostgreSQL: `jobs.open("postgres://db.example/jobs")`. Then several processes, on
-- several machines, can work on one job: each of them calls `job:run`. Any of them may die, freeze or lose its
-- connection; the others take its rows over. The job is no faster for it, because the service limits the rate of an
-- account.
--
-- Functions return `nil, err` when the journal cannot be used: `err.kind` is `journal`, and `err.message` says what to
-- do. The journal and the result files contain the values of cards and other data; only their owner may read them.
-- Writing to the journal takes some milliseconds, during which nothing else runs in this thread.
-- @module leat.jobs

local columns = require("leat.jobs.columns")
local files = require("leat.jobs.core")
local core = require("leat.core")
local csv = require("leat.csv")
local items = require("leat.jobs.items")
local iterator = require("leat.each").iterator
local journal = require("leat.jobs.journal")
local open_store = require("leat.jobs.store").open
local plan = require("leat.jobs.plan")
local runs = require("leat.jobs.run")
local schema = require("leat.options")
local scheduler = require("leat.scheduler")
local write_results = require("leat.jobs.results")

local jobs = {}

--- A row to plan. Which fields it takes depends on the operation.
-- @table row
-- @tfield string value the card's value
-- @tfield string name for ensure, create and update: the card's name
-- @tfield string contact_uuid for ensure, create and link: the contact to link the card to
-- @tfield string contact_email instead of `contact_uuid`: the address of a contact that exists
-- @tfield boolean active for update: false deactivates the card, true activates it
-- @tfield string|boolean expect for unlink, update and delete: the contact that must own the card; false: none

--- A job. Its fields are as they were when it was read; `job:refresh` reads them again.
-- @table job
-- @tfield integer id the number of the job
-- @tfield string name what the job is called
-- @tfield string operation `ensure`, `create`, `link`, `unlink`, `update`, `delete` or `find`
-- @tfield string account the account that the job is for; empty: any
-- @tfield string base_url the server that the job is for; empty: any
-- @tfield string file the path of the file, or nil
-- @tfield string state `planned`, `running`, `interrupted` (its process died), `stopped`, `paused` or `finished`
-- @tfield string reason if the job is paused, why; if it is running while the service does not respond, the kind of the
--   errors; if it is finished, but its verification was stopped, `verify_stopped`; otherwise nil
-- @tfield integer rows the number of rows; each is counted in one of the next six fields
-- @tfield integer done rows that succeeded
-- @tfield integer failed rows that failed
-- @tfield integer unknown rows whose outcome is unknown
-- @tfield integer rejected rows that are not valid, and were not sent
-- @tfield integer skipped duplicates of other rows
-- @tfield integer unprocessed rows that are left
-- @tfield integer waiting those of the unprocessed rows that were tried, and wait to be tried again
-- @tfield integer requests how many requests were sent
-- @tfield integer created when it was planned, in milliseconds since 1970
-- @tfield integer finished when it finished, in milliseconds since 1970, or nil
-- @tfield integer worker_count in PostgreSQL: how many processes work on it

--- The progress of a run: see `run:progress`.
-- @table job_progress
-- @tfield integer rows the number of rows; each is counted in one of the next six fields
-- @tfield integer done rows that succeeded
-- @tfield integer failed rows that failed
-- @tfield integer unknown rows whose outcome is unknown
-- @tfield integer rejected rows that are not valid
-- @tfield integer skipped duplicates of other rows
-- @tfield integer unprocessed rows that are left
-- @tfield integer waiting those of the unprocessed rows that were tried, and wait to be tried again
-- @tfield number seconds the time since the start of the run
-- @tfield number rate rows per second, recently
-- @tfield number eta the estimated number of seconds that are left in this phase; nil if that is not known
-- @tfield string failing the kind of the last temporary error; nil if a request has succeeded since
-- @tfield string outage the kind of error because of which no rows are processed at present; otherwise nil
-- @tfield string phase `items`; then `settling` and `verifying` the doubtful cards; then `ended`
-- @tfield integer verified while verifying: how many cards have been verified
-- @tfield integer to_verify while verifying: how many cards there are to verify

--- The summary of a run: see `job:run`.
-- @table summary
-- @tfield string state `finished`, `paused` or `stopped`
-- @tfield string kind why it is paused or stopped: a kind of error, or nil
-- @tfield string message the same for people, or nil
-- @tfield job job the job
-- @tfield number seconds how long the run took
-- @tfield integer verified cards that were found in the verification at the end
-- @tfield integer changed how many of them were no longer as the job had left them
-- @tfield integer unverified how many cards could not be verified, because the finds failed or did not show them
-- @tfield integer to_verify how many cards there were to verify
-- @tfield boolean stored false: the results of the last requests could not be stored
-- @tfield boolean is_last in PostgreSQL, false if another process ended the job, or goes on; otherwise true: this one
--   should write the results

--- A process that works on a job: see `job:workers`.
-- @table worker
-- @tfield integer id its number
-- @tfield string host the name of its computer
-- @tfield integer pid its process
-- @tfield integer started when it began, in milliseconds since 1970
-- @tfield integer seen when it extended its lease for the last time, in milliseconds since 1970
-- @tfield number seen_ago how many seconds ago that was
-- @tfield integer rows how many rows it has claimed

--- The result of a row: see `job:results`.
-- @table result
-- @tfield integer n the number of the row, counted from 1
-- @tfield integer line its line in the file; `n` if there was no file
-- @tfield string value the card's value
-- @tfield table arguments the other columns, by name
-- @tfield string bytes the row as it was in the file, or nil
-- @tfield string state `done`, `failed`, `unknown`, `rejected`, `skipped`, or a state of a row that is not processed
--   yet
-- @tfield string outcome what was done, such as `created`, `existed` or `recovered`; otherwise the state
-- @tfield string kind the kind of the error, such as `duplicate`, or nil
-- @tfield integer code the API's error code, or nil
-- @tfield string message the error's message, or nil
-- @tfield integer requests how many requests the row took
-- @tfield integer at when it was processed, in milliseconds since 1970, or nil
-- @tfield table before the card before an unlink or a delete, or nil
-- @tfield table seen the card as it was last seen
-- @tfield string changed what an ensure did to a card that existed: `linked`, `named`, or both, separated by a space

-- An open journal.
local Store = {}
Store.__index = Store

-- A job of a journal.
local Job = {}
Job.__index = Job

local not_negative = { "number", function(v) return v >= 0 and v <= 86400 end, "a number of seconds, a day at most" }

local function default_path()
  local state, home = os.getenv("XDG_STATE_HOME"), os.getenv("HOME")
  if state and state:sub(1, 1) == "/" then
    return state .. "/leat/jobs.db"
  elseif home and home ~= "" then
    return home .. "/.local/state/leat/jobs.db"
  end
end

local function refuse(message, kind)
  return nil, journal.error(kind or "journal", message)
end

--- Opens a journal, and makes it if it does not exist.
-- @function open
-- @tparam[opt=`leat/jobs.db` in `$XDG_STATE_HOME` or `~/.local/state`] string path the file. Network file systems are
--   refused. Two more files beside it, with `-wal` and `-shm` at the end, belong to it. Or the address of a database,
--   as libpq takes it, that begins with `postgres://` or `postgresql://`. What it lacks, such as the password, comes
--   from libpq's files and environment
-- @return a Store; or nil, err
function jobs.open(path)
  path = path or default_path()
  if not path then
    return refuse("there is no HOME to put the journal in: give the path of a file")
  elseif type(path) ~= "string" or path == "" then
    error("leat.jobs.open: path must be the path of a file", 2)
  end
  local store, err = journal.try(open_store, path)
  if not store then
    return nil, err
  end
  return setmetatable({ store = store, path = store.path }, Store)
end

--- Opens a temporary journal, which is removed when it is closed; for example, to check rows without running a job.
-- @return a Store; or nil, err
function jobs.open_temporary()
  local store, err = journal.try(open_store, "")
  return store and setmetatable({ store = store, path = "" }, Store), err
end

--- Closes the journal. A run that works on it ends at once.
function Store:close()
  local run = self.store.run
  if run and not run.summary then
    run:abandon()
  end
  self.store:close()
end

-- ---- planning ---------------------------------------------------------------------------

-- Returns whether a process, maybe this one, works on the journal, so that no other can.
local function is_busy(store)
  return store.journal:is_locked()
end

-- Returns whether a process works on a job that should be running.
local function is_alive(store, fields)
  if store.journal.is_shared then
    return fields.worker_count > 0
  end
  return is_busy(store)
end

-- A job whose process died still is `running` in the journal.
local function wrap(store, fields)
  if not fields then
    return nil
  elseif fields.state == "running" and not is_alive(store, fields) then
    fields.state, fields.reason = fields.finished and "finished" or "interrupted", nil
  end
  fields.store = store
  return setmetatable(fields, Job)
end

local plan_options = {
  client = "table", account = "string", base_url = "string", operation = "string", rows = "any", name = "string",
  file = "string", csv = "table", again = "boolean",
}

local operations = { ensure = true, create = true, link = true, unlink = true, update = true, delete = true,
  find = true }

-- Returns where a file's rows have which argument, as a text.
local function layout_of(source)
  local layout = { separator = source.reader.separator }
  for _, column in ipairs(source.columns) do
    layout[column.name] = column.index
  end
  return items.encode_layout(layout)
end

local function find_account(options)
  if options.account or not options.client then
    return options.account or ""
  end
  return runs.account_of(options.client)
end

--- Returns a string that identifies the account of a client. It is requested from the service once for each client.
-- @function jobs.account
-- @param client the client
-- @treturn string or nil, err
jobs.account = runs.account_of

--- Reads the header of a CSV file, for `store:plan`: `plan { csv = assert(jobs.csv(read, "ensure")), ... }`.
-- @tparam function read returns the next part of the file, a string; nil at its end; nil and a message on failure
-- @tparam string operation as for `store:plan`
-- @tparam[opt=none] table mapping the headers in the file, by the name of the column that they stand for, such as
--   `{ value = "Card Number" }`
-- @treturn table with `used`, a list of the columns that are used, each with `name` and `header`; `unused`, a list of
--   the other headers; `warnings`, a list of columns that may be misspelt; and, once the job is planned, `lengths`,
--   whose method `unusual` returns the most common length of the values and a list of the other lengths, each with
--   `length`, `count` and `lines`; or nil and a message
function jobs.csv(read, operation, mapping)
  local reader = csv.reader(read)
  local cells, header = reader:next()
  if not cells then
    return nil, header or "the file is empty"
  end
  local matched, wrong = columns.match(cells, operation, mapping)
  if not matched then
    return nil, wrong
  end
  return { reader = reader, columns = matched, header = header, warnings = matched.warnings,
    used = matched.used, unused = matched.unused, lengths = columns.lengths() }
end

-- Results go beside the file, wherever the process is started that continues the job.
local function absolute(path)
  local folder = path and path:sub(1, 1) ~= "/" and files.current_folder()
  return folder and ("%s/%s"):format(folder == "/" and "" or folder, path:gsub("^%./", "")) or path
end

--- Plans a job: stores its rows. If there is already a job for the same operation, rows and account, it is returned,
-- whatever its state. Nothing is sent except a request for the account. Duplicates of a row are skipped; rows with the
-- same value but other arguments are rejected.
-- @function Store:plan
-- @tparam table options the options, of which `rows` or `csv` is required:
-- @tparam[opt=`ensure`] string options.operation `ensure`, `create`, `link`, `unlink`, `update`, `delete` or `find`
-- @tparam[opt=none] table|function options.rows a list, or a function that returns the next row and nil after the last.
--   See `row`
-- @tparam[opt=none] table options.csv instead of `rows`: a file, as `jobs.csv` returns it
-- @tparam[opt=none] string options.file the path of that file, for results; the absolute path is stored
-- @tparam[opt=none] client options.client the client whose account the job belongs to. The account is requested from
--   the service
-- @tparam[opt=that of `client`; otherwise any] string options.account the account that the job is for
-- @tparam[opt=that of `client`; otherwise any] string options.base_url the server that the job is for
-- @tparam[opt=the operation] string options.name what to call the job
-- @tparam[opt=false] boolean options.again true: a new job even if there is one with the same rows
-- @return a Job; or nil, err
-- @treturn boolean true if the job had been planned before
-- @raise mistakes in the options
function Store:plan(options)
  options = schema.check("leat.jobs: plan", plan_options, options, 2)
  options.operation = options.operation or "ensure"
  if not operations[options.operation] then
    error(("leat.jobs: plan: there is no operation '%s' (there are: %s)"):format(options.operation,
      schema.list(operations)), 2)
  elseif options.rows == nil and not options.csv then
    error("leat.jobs: plan: rows is missing, a list or a function", 2)
  end
  local account, err = find_account(options)
  if not account then
    return nil, err
  end
  local job = { name = options.name or options.operation, operation = options.operation, account = account,
    base_url = options.base_url or options.client and options.client.base_url or "", file = absolute(options.file),
    header = options.csv and options.csv.header, layout = options.csv and layout_of(options.csv) }
  local source = options.csv or { rows = iterator(options.rows) }
  local id, earlier = journal.try(plan.add, self.store, job, source, options.again)
  if not id then
    return nil, type(earlier) == "string" and journal.error("invalid_input", earlier) or earlier
  end
  return self:job(id), earlier
end

--- Returns a job.
-- @tparam number id the job's number
-- @return a Job; nil if there is none
function Store:job(id)
  return journal.try(function()
    return wrap(self.store, self.store:job(id))
  end)
end

--- Returns all jobs, the oldest first.
-- @treturn table a list of jobs; or nil, err
function Store:jobs()
  return journal.try(function()
    local list = self.store:jobs()
    for i, fields in ipairs(list) do
      list[i] = wrap(self.store, fields)
    end
    return list
  end)
end

--- Returns whether a process is working on a job of the journal; in PostgreSQL, whether a run of this program is,
-- because others do not matter there.
function Store:is_busy()
  return journal.try(is_busy, self.store)
end

-- Returns nil and the error for a journal that a process works on.
local function refuse_busy(self)
  local id, who = self:running(), self.journal:has_lock() and "another run of this program" or "another process"
  local _, err = refuse(("%s works on the journal %s%s: wait for it, or give another journal"):format(who, self.path,
    id and (" (job %d)"):format(id) or ""))
  err.job = id
  return nil, err
end

--- Returns true if no process is working on a job of the journal; or nil and an error, whose `job` is the id of that
-- job.
function Store:check_free()
  return journal.try(function()
    if is_busy(self.store) then
      return refuse_busy(self.store)
    end
    return true
  end)
end

--- Removes the jobs that finished more than 30 days ago.
-- @treturn boolean true; or nil, err
function Store:remove_old()
  return journal.try(function()
    self.store:remove_old()
    return true
  end)
end

-- ---- running ----------------------------------------------------------------------------

local run_options = {
  concurrency = "count", max_failures = { "number", function(v) return v >= 0 and (v < 1 or v % 1 == 0) end,
    "a whole number, a fraction below 1 of the rows, or 0 for no limit" },
  settle = not_negative, lease = "seconds", probe = "seconds", verify = "boolean", only_verify = "boolean",
  on_event = "function", progress = "function", progress_every = "seconds",
}

local function check_client(job, client)
  if job.base_url ~= "" and client.base_url ~= job.base_url then
    return refuse(("job %d is for %s, and the client is for %s"):format(job.id, job.base_url, client.base_url),
      "account")
  end
  return true
end

--- Begins to work on a job: claims rows, and processes them in tasks. One process at a time works on a journal that is
-- a file; on one in PostgreSQL any number does, each through a store of its own.
-- @function Job:start
-- @param client the client
-- @tparam[opt] table options the options:
-- @tparam[opt=8,unit=rows] integer options.concurrency how many rows are processed at a time
-- @tparam[opt=0.05,unit=rows; below 1: a share of them] number options.max_failures the job pauses when this many rows
--   have failed. A number below 1 is a share of the rows that this run has processed, and counts only once 100 of them
--   have failed. 0: never
-- @tparam[opt=30,unit=seconds] number options.settle how long a request whose response was lost may still take effect
-- @tparam[opt=60,unit=seconds] number options.lease how long a row that a process has claimed is reserved for it
-- @tparam[opt=30,unit=seconds] number options.probe the time between two attempts while the service does not respond
-- @tparam[opt=false] boolean options.verify true: at the end, the cards of all rows are found once more, not only those
--   of rows whose outcome is in doubt
-- @tparam[opt=false] boolean options.only_verify true: the run only verifies, and processes no rows
-- @tparam[opt=none] function options.on_event a function that is called with the name of an event and a table. `outage`
--   and `outage_over` have `kind` and `message`; `unverified` also has `value`, the value of a card that could not be
--   verified
-- @return a Run; or nil, err. A job of another account is paused, with the kind `account`
function Job:start(client, options)
  options = schema.check("leat.jobs: start", run_options, options or {}, 2)
  options.concurrency, options.max_failures = options.concurrency or 8, options.max_failures or 0.05
  options.settle, options.lease, options.probe = options.settle or 30, options.lease or 60, options.probe or 30
  local good, err = check_client(self, client)
  if not good then
    return nil, err
  end
  local locked
  locked, err = journal.try(self.store.journal.lock, self.store.journal, true)
  if locked == false then
    return journal.try(refuse_busy, self.store)
  elseif not locked then
    return nil, err
  end
  local run
  run, err = journal.try(runs.begin, self.store, self, client, options)
  if not run then
    self.store.journal:unlock()
  end
  self.store.run = run
  return run, err
end

--- Does what can be done now, and never waits for the service. Call it in each tick, in addition to `tasks.poll`.
-- @function Run:step
-- @treturn table nil while the run goes on; then the summary, as `job:run` returns it. If the journal can't be used any
--   more the job is paused, and the summary's `kind` is `journal`

--- In PostgreSQL, cancels the requests for rows whose leases have ended, because the process was stopped or cut off for
-- long: others may have taken the rows over. Call it between a wait and `tasks.poll`, so that nothing is sent before
-- `step` does the same. `job:run` does that.
-- @function Run:check_leases

--- Stops claiming rows. Requests under way are completed first: call `step` until it returns the summary.
-- @function Run:stop

--- Ends the run at once: cancels the requests under way. The job is interrupted, and the next run verifies what they
-- may have changed.
-- @function Run:abandon

--- Returns the progress of the run.
-- @function Run:progress
-- @treturn job_progress

local function read_again(job)
  local fields = wrap(job.store, job.store:job(job.id)) or {}
  job.reason, job.finished = nil, nil
  for name, value in pairs(fields) do
    job[name] = value
  end
end

-- Waits for responses. A process may be stopped meanwhile for so long that others took its rows over, which is checked
-- before anything is sent.
local function wait(run, client)
  local driver = client.driver
  if scheduler.has_calls() and run.journal.is_shared and driver.fd then
    core.wait(0.05, { driver:fd() })
    run:check_leases()
    scheduler.step(0)
  elseif scheduler.has_calls() then
    scheduler.step(0.05)
  else
    core.wait(0.02, {})
  end
end

-- Steps a run until it ends, and returns its summary.
local function carry_out(run, client, options)
  local every, reported = 1000 * (options.progress_every or 1), core.now()
  local summary
  repeat
    wait(run, client)
    summary = run:step()
    if options.progress and (summary or core.now() - reported >= every) then
      reported = core.now()
      options.progress(run:progress())
    end
  until summary
  return summary
end

--- Works on the job until it is finished, paused or stopped. Blocks; in a tick or an event loop, call `start` and then
-- `step` regularly. An interrupt stops the job; the next run continues.
-- @function Job:run
-- @param client the client
-- @tparam[opt] table options those of `job:start`, and:
-- @tparam[opt=none] function options.progress a function that is called with a table, as `run:progress` returns it, and
--   once more at the end
-- @tparam[opt=1,unit=seconds] number options.progress_every the time between two calls of `progress`
-- @treturn summary or nil, err
-- @raise a call in a task
function Job:run(client, options)
  options = options or {}
  if scheduler.place() ~= "outside" then
    error("leat.jobs: run: call it outside of tasks; in a task use start and step", 2)
  end
  local run, err = self:start(client, options)
  if not run then
    return nil, err
  end
  local fine, result = pcall(carry_out, run, client, options)
  if not fine then
    run:abandon()
    error(result, 0)
  end
  journal.try(read_again, self) -- What the run ended with counts, even if the journal can't be read any more.
  return result
end

-- ---- afterwards -------------------------------------------------------------------------

-- Calls a method of the store for the job, if no process works on it.
local function call_when_idle(job, name, ...)
  return journal.try(function(...)
    read_again(job)
    if job.state == "running" then
      return refuse(("a process works on job %d: stop it first"):format(job.id))
    end
    return job.store[name](job.store, job.id, ...)
  end, ...)
end

--- Reads the fields of the job again.
-- @return the job; or nil, err
function Job:refresh()
  return journal.try(function()
    read_again(self)
    return self
  end)
end

-- The least and most requests for a row.
local requests = { find = { 1, 1 }, create = { 1, 1 }, ensure = { 1, 4 }, link = { 1, 2 }, update = { 1, 1 },
  unlink = { 2, 2 }, delete = { 2, 2 } }

--- Estimates how many requests the rows that are left need, if nothing fails.
-- @treturn number the least number of requests; or nil, err
-- @treturn number the greatest number of requests
function Job:estimate()
  return journal.try(function()
    local rows, emails, expected = self.store:count_work(self.id)
    local per_row = requests[self.operation]
    local extra = emails + (self.operation == "update" and expected or 0)
    return per_row[1] * rows + extra, per_row[2] * rows + extra
  end)
end

--- Makes the next run process rows that failed, and rows whose outcome is unknown, again. The unknown ones are verified
-- first.
-- @tparam[opt] table options the options:
-- @tparam[opt=true] boolean options.failed false: leaves out the rows that failed
-- @tparam[opt=true] boolean options.unknown false: leaves out the rows whose outcome is unknown
-- @treturn number how many rows those are; or nil, err
function Job:retry(options)
  options = schema.check("leat.jobs: retry", { failed = "boolean", unknown = "boolean" }, options or {}, 2)
  local count, err = call_when_idle(self, "retry", options.failed ~= false, options.unknown ~= false)
  if count then
    read_again(self)
  end
  return count, err
end

--- Returns the processes that work on the job, if the journal is in PostgreSQL.
-- @treturn table a list of `worker`s, empty for a file; or nil, err
function Job:workers()
  return journal.try(function()
    return self.store.journal.is_shared and self.store:workers(self.id) or {}
  end)
end

--- Asks the processes that work on the job to stop. It does not concern those that begin later.
function Job:stop()
  local _, err = journal.try(self.store.ask_to_stop, self.store, self.id)
  return not err or nil, err
end

--- Forgets which rows were verified, so that a run with `only_verify` and `verify` verifies all of them again.
-- @treturn boolean true; or nil, err
function Job:forget_verified()
  local _, err = call_when_idle(self, "forget_verified")
  return not err or nil, err
end

--- Returns how many rows a run with `only_verify` and `verify` would verify.
-- @treturn number or nil, err
function Job:count_to_verify()
  return journal.try(self.store.count_to_verify, self.store, self.id, true)
end

--- Removes the job and all its data from the journal, unless it is running.
-- @treturn boolean true; or nil, err
function Job:remove()
  local erased, err = call_when_idle(self, "remove")
  if erased == false then
    return refuse(("job %d is removed, but another process reads the journal, and %s-wal holds its cards until that "
      .. "ends"):format(self.id, self.store.path))
  end
  return erased, err
end

--- Iterates over the results of the rows: `for result in job:results() do ... end`.
-- @tparam[opt=all] table states a list: only rows that are in one of these states
-- @treturn function
-- @raise an error of the journal
function Job:results(states)
  local list, i, after = {}, 0, 0
  states = states and table.concat(states, " ")
  return function()
    i = i + 1
    if not list[i] then
      list, i = self.store:results(self.id, after, states), 1
      after = list[1] and list[#list].n or after
    end
    return list[i]
  end
end

--- Writes the results as CSV files. Each file appears only when it is complete.
-- @tparam[opt=that of the file; or the current one] string folder the folder to write them to. If it does not exist, it
--   is made, with mode 0700
-- @treturn table the paths of the files, by name (`results`, `failed`, ...); or nil, err
function Job:write_results(folder)
  if folder then
    local made, why = files.make_folder(folder)
    if not made then
      return refuse(why)
    end
  end
  folder = folder or self.file and self.file:match("^(.*)/[^/]*$") or "."
  local written, err = journal.try(write_results, self, folder == "" and "/" or folder)
  return written, err
end

return jobs --[[@as leat.jobs]]
