-- Workers in one process, step by step: what happens when a commit's acknowledgement is lost, when a lease ends, and at
-- the end of a job.
local core = require("leat.core")
local jobs = require("leat.jobs")
local journal_errors = require("leat.jobs.journal")
local leat = require("leat")
local sandbox = require("leat.sandbox")
local tasks = require("leat.tasks")
local servers = dofile("spec/postgres/server.lua")

describe("a worker", function()
  local server, service, client, address, stores

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  before_each(function()
    server:execute("drop schema if exists test cascade")
    server:execute("create schema test")
    address, stores = server:address("test"), {}
    service = assert(sandbox.start { contacts = { { uuid = "u-1" } } })
    client = leat.new { api_key = service.api_key, base_url = service.url, retry_base = 0.01 }
  end)
  after_each(function()
    for _, store in ipairs(stores) do
      store:close()
    end
    client:close()
    service:stop()
  end)

  local function open()
    local store = assert(jobs.open(address))
    stores[#stores + 1] = store
    return store
  end

  local function plan(operation, number)
    local rows = {}
    for i = 1, number do
      rows[i] = { value = "card-" .. i }
      if operation ~= "create" then
        assert(client.contact_identifiers:create("card-" .. i, { contact_uuid = "u-1" }))
      end
    end
    return assert(open():plan { client = client, operation = operation, rows = rows })
  end

  -- Plans a job of the account of another client, which the client of a run is compared with.
  local function plan_without_account(operation, number)
    local rows = {}
    for i = 1, number do
      rows[i] = { value = "card-" .. i }
    end
    return assert(open():plan { account = "someone", base_url = service.url, operation = operation, rows = rows })
  end

  local function start(store, job, options)
    local given = { concurrency = 2, settle = 0.2, probe = 0.05, lease = 20 }
    for name, value in pairs(options or {}) do
      given[name] = value
    end
    return assert(store:job(job.id):start(client, given))
  end

  -- Steps runs until `f` returns something, or all have ended.
  local function step_until(f, ...)
    local runs, begun = { ... }, core.now()
    while not f() do
      core.wait(0.01, {})
      tasks.poll()
      for _, run in ipairs(runs) do
        run:step()
      end
      assert.is_true(core.now() - begun < 60000, "nothing happens")
    end
  end

  local function finish(...)
    local runs = { ... }
    step_until(function()
      for _, run in ipairs(runs) do
        if not run.summary then
          return false
        end
      end
      return true
    end, ...)
  end

  local function outcomes(job)
    local list = {}
    for row in job:results() do
      list[row.n] = row.outcome .. (row.kind and " " .. row.kind or "")
    end
    return list
  end

  local function count_requests(operation)
    return #service:requests(operation)
  end

  -- Makes the acknowledgement of a store's commits get lost. Returns a function that says whether that happened, and
  -- lets them pass again.
  local function lose_commits(store, times)
    local journal = store.store.journal
    local real, lost = journal.postgres, 0
    journal.connection:close()
    journal.postgres = { codes = real.codes, connect = function(...)
      local connection = assert(real.connect(...))
      local faulty = { query = function(_, ...) return connection:query(...) end,
        is_broken = function() return connection:is_broken() end, close = function() connection:close() end }
      function faulty.execute(_, sql, ...)
        local result, message, code = connection:execute(sql, ...)
        if sql == "commit" and lost < times then
          lost = lost + 1
          connection:close()
          return nil, "execute: lost", real.codes.CONNECTION
        end
        return result, message, code
      end
      return faulty
    end }
    return function() return lost end
  end

  it("gives back what a commit claimed whose acknowledgement was lost", function()
    local job = plan("create", 10)
    local store = open()
    local run = start(store, job)
    local lost = lose_commits(store, 1)
    step_until(function() return lost() == 1 end, run)
    local journal = stores[1].store.journal
    assert.is_true(journal:row("select count(*) from item where state = 'claimed'", "") > 0)
    assert.equal(0, count_requests("create"))
    finish(run)
    assert.equal("finished", run.summary.state)
    assert.same({ 10, 10 }, { count_requests("create"), run.summary.job.done })
    assert.equal(0, (journal:row("select count(*) from item where crashes > 0 or attempt <> 1", "")))
  end)

  it("counts what a commit stored whose acknowledgement was lost once", function()
    local job = plan("create", 10)
    local store = open()
    local run = start(store, job)
    step_until(function() return count_requests("create") >= 4 end, run)
    local lost = lose_commits(store, 3)
    finish(run)
    assert.equal(3, lost())
    assert.same({ "finished", 10, 10 }, { run.summary.state, run.summary.job.done, count_requests("create") })
    for _, outcome in ipairs(outcomes(job)) do
      assert.equal("created", outcome)
    end
    assert.equal(10, run.summary.job.requests)
  end)

  it("drops the result of a row that was taken over, and says so in the journal", function()
    service:fault { operation = "create", delay = 0.5, times = 2 }
    local job = plan("create", 3)
    local run = start(open(), job)
    step_until(function() return count_requests("create") == 2 end, run)
    server:execute("update item set state = 'later', due = 0, fence = fence + 100, maybe_applied = 1 "
      .. "where n <= 2", "test")
    finish(run)
    assert.equal("finished", run.summary.state)
    assert.equal(3, run.summary.job.done)
    local journal = stores[1].store.journal
    assert.equal(2, (journal:row("select count(*) from event where what like 'dropped the result %'", "")))
    assert.same({ "recovered", "recovered", "created" }, outcomes(job))
    assert.equal(3, count_requests("create"))
  end)

  it("does not send an unlink if the row was taken over while the card before was stored", function()
    local job = plan("unlink", 1)
    service:fault { operation = "find", delay = 0.5 }
    local run = start(open(), job, { concurrency = 1 })
    step_until(function() return count_requests("find") == 1 end, run)
    server:execute("update item set fence = fence + 100, worker = 0, due = 9000000000000000", "test")
    step_until(function() return run.flying == 0 end, run)
    assert.equal(0, count_requests("unlink"))
    server:execute("update item set state = 'ready'", "test")
    finish(run)
    assert.same({ "finished", 1 }, { run.summary.state, count_requests("unlink") })
  end)

  it("extends its leases, and cancels the calls of rows that it does not hold any more", function()
    service:fault { operation = "create", delay = 3, times = math.huge }
    local job = plan("create", 2)
    local run = start(open(), job, { lease = 1 })
    step_until(function() return run.flying == 2 end, run)
    local journal = stores[1].store.journal
    local function due()
      return (journal:row("select max(due) from item where state = 'claimed' and worker = $1", "i", run.worker))
    end
    local first, begun = due(), core.now()
    step_until(function() return core.now() - begun > 1500 end, run)
    assert.is_true(due() >= first + 1000)
    assert.equal(2, run.flying)
    server:execute("update item set worker = 0, fence = fence + 100 where n = 1", "test")
    step_until(function() return run.flying == 1 end, run)
    assert.is_true(core.now() - begun < 2900)
    run:stop()
    finish(run)
  end)

  it("sends nothing more once its leases have ended because the database is away", function()
    service:fault { operation = "create", delay = 5, times = math.huge }
    local job = plan("create", 6)
    local store = open()
    local run = start(store, job, { lease = 1 })
    step_until(function() return run.flying == 2 end, run)
    local journal = store.store.journal
    local real = journal.postgres
    journal.connection:close()
    journal.postgres = { codes = real.codes, connect = function() return nil, "away", real.codes.CONNECTION end }
    local begun = core.now()
    step_until(function() return run.flying == 0 end, run)
    assert.is_true(core.now() - begun < 2500, core.now() - begun)
    local sent = count_requests("create")
    step_until(function() return core.now() - begun > 3000 end, run)
    assert.equal(sent, count_requests("create"))
    assert.is_false(run.summary)
    journal.postgres = real
    run:stop()
    finish(run)
    assert.equal("stopped", run.summary.state)
  end)

  it("waits for rows that others hold, and for the one that verifies, which ends the job", function()
    service:fault { operation = "create", value = "card-1", delay = 1, apply = true, close = "before" }
    local job = plan("create", 4)
    local first = start(open(), job, { concurrency = 1, settle = 1.5 })
    step_until(function() return first.flying == 1 end, first)
    local second = start(open(), job, { settle = 1.5 })
    step_until(function() return second.all_begun and second.flying == 0 end, first, second)
    assert.equal("items", second.phase)
    local most = 0
    step_until(function()
      local verifying = 0
      for _, run in ipairs { first, second } do
        verifying = verifying + ((run.phase == "settling" or run.phase == "verifying") and not run.summary and 1 or 0)
      end
      most = math.max(most, verifying)
      return first.summary and second.summary
    end, first, second)
    assert.equal(1, most)
    assert.same({ "finished", "finished" }, { first.summary.state, second.summary.state })
    assert.is_true(first.summary.is_last ~= second.summary.is_last)
    assert.same({ 4, 4 }, { first.summary.job.done, second.summary.job.done })
    assert.equal(1, first.summary.verified + second.summary.verified)
  end)

  it("verifies and ends the job if the one that did so is gone", function()
    service:fault { operation = "create", value = "card-1", apply = true, close = "before" }
    local job = plan("create", 4)
    local first = start(open(), job, { settle = 1, lease = 1.5 })
    step_until(function() return first.phase == "settling" end, first)
    local second = start(open(), job, { settle = 1, lease = 1.5 })
    step_until(function() return second.exhausted end, second)
    finish(second) -- the first is not stepped any more
    assert.same({ "finished", true, 1 }, { second.summary.state, second.summary.is_last, second.summary.verified })
    finish(first)
    assert.same({ "finished", false }, { first.summary.state, first.summary.is_last })
  end)

  it("does not verify a job alone that others work on", function()
    local job = plan("create", 4)
    local first = start(open(), job)
    local store = open()
    local other = store:job(job.id)
    local none, err = other:start(client, { only_verify = true, verify = true })
    assert.is_nil(none)
    assert.truthy(err.message:find("a process works on job 1: stop it first", 1, true), err.message)
    for _, method in ipairs { "remove", "retry", "forget_verified" } do
      none, err = other[method](other)
      assert.is_nil(none)
      assert.truthy(err.message:find("stop it first", 1, true))
    end
    finish(first)
    assert.is_true(other:forget_verified())
    local run = start(store, job, { only_verify = true, verify = true })
    finish(run)
    assert.same({ "finished", 4, true }, { run.summary.state, run.summary.verified, run.summary.is_last })
  end)

  it("ends if the database is away for too long, and the next one continues", function()
    service:fault { operation = "create", delay = 0.2, times = math.huge }
    local job = plan("create", 6)
    local store = open()
    local run = start(store, job)
    step_until(function() return run.flying == 2 end, run)
    local journal = store.store.journal
    local real = journal.postgres
    journal.connection:close()
    journal.postgres = { codes = real.codes, connect = function() return nil, "away", real.codes.CONNECTION end }
    step_until(function() return run.failing_since end, run)
    run.failing_since = run.failing_since - 15 * 60
    finish(run)
    assert.same({ "paused", "journal", false, false },
      { run.summary.state, run.summary.kind, run.summary.stored, run.summary.is_last })
    assert.truthy(run.summary.message:find("^the journal postgres://.*: away$"), run.summary.message)
    server:execute("update item set due = 0 where state = 'claimed'; ", "test")
    local second = start(open(), job)
    finish(second)
    assert.same({ "finished", 6, 6 }, { second.summary.state, second.summary.job.done, count_requests("create") })
  end)

  it("is seen while it waits for the service, and again after it was taken for dead", function()
    service:fault { operation = "check", kind = "connection", times = math.huge }
    local job = plan_without_account("create", 2)
    local other = leat.new { api_key = service.api_key, base_url = service.url, max_attempts = 1 }
    local run = assert(open():job(job.id):start(other, { lease = 1, probe = 0.1 }))
    local begun = core.now()
    step_until(function() return core.now() - begun > 1500 end, run)
    local host = job:workers()[1].host
    assert.same({ "running", 1 }, { job:refresh().state, #job:workers() })
    server:execute("delete from worker", "test")
    step_until(function() return job:workers()[1] end, run)
    assert.same({ host, "running" }, { job:workers()[1].host, job:refresh().state })
    assert.equal(0, count_requests("create"))
    run:abandon()
    assert.same({ "interrupted", 0 }, { job:refresh().state, #job:workers() })
    other:close()
  end)

  it("ends if the job is removed", function()
    local job = plan("create", 4)
    local run = start(open(), job)
    server:execute("delete from job", "test")
    finish(run)
    assert.same({ "paused", "journal" }, { run.summary.state, run.summary.kind })
    assert.truthy(run.summary.message:find("job 1 was removed", 1, true))
  end)

  it("gives up a row that it was working on each time that it died", function()
    local job = plan("create", 2)
    for _ = 1, 3 do
      server:execute("update item set state = 'claimed', due = 0, worker = 0, fence = 1 where n = 1", "test")
      local run = start(open(), job, { settle = 0 })
      step_until(function() return run.all_begun end, run)
      run:abandon()
      stores[#stores]:close()
      stores[#stores] = nil
    end
    local run = start(open(), job, { settle = 0 })
    finish(run)
    assert.same({ "unknown poisoned", "created" }, outcomes(job))
    assert.equal(1, run.summary.job.unknown)
  end)

  -- Makes the first call of a method of the store fail for which `condition` is true. Returns a function that returns
  -- whether that happened.
  local function fail_once(store, method, condition)
    local inner, failed = store.store, false
    local real = inner[method]
    inner[method] = function(...)
      if not failed and condition(...) then
        failed = true
        journal_errors.raise("the server is away", inner.journal.postgres.codes.CONNECTION)
      end
      return real(...)
    end
    return function() return failed end
  end

  it("sends a change once the card before is stored, even if what comes after that fails", function()
    local job = plan("unlink", 1)
    local store = open()
    local failed = fail_once(store, "next_due", function() return count_requests("find") == 1 end)
    local run = start(store, job)
    step_until(function() return count_requests("unlink") == 1 end, run)
    assert.is_true(failed())
    finish(run)
    assert.same({ "finished", 1 }, { run.summary.state, run.summary.job.done })
  end)

  it("settles before it verifies, even if the journal fails at the end of the rows", function()
    service:fault { operation = "create", apply = true, close = "before" }
    local job = plan("create", 1)
    local store = open()
    local failed = fail_once(store, "last_doubtful", function() return true end)
    local run = start(store, job, { settle = 4 })
    step_until(function() return run.phase == "verifying" end, run)
    assert.is_true(failed())
    local journal = store.store.journal
    assert.is_true(journal:now() >= journal:row("select max(at) from item", "") + 4000)
    finish(run)
    assert.same({ "finished", 1 }, { run.summary.state, run.summary.verified })
  end)

  it("knows that it ended the job itself if the acknowledgement of that was lost", function()
    local job = plan("create", 2)
    local store = open()
    local run = start(store, job)
    local inner, lost, since = store.store, false, false
    local real = inner.leave
    function inner.leave(...)
      if not lost then
        lost = lose_commits(store, 1)
      end
      return real(...)
    end
    step_until(function() return lost and lost() == 1 end, run)
    assert.equal("finished", job:refresh().state)
    local postgres = inner.journal.postgres
    inner.journal.postgres = { codes = postgres.codes, connect = function()
      since = since or core.now()
      return nil, "away", postgres.codes.CONNECTION
    end }
    step_until(function() return since and core.now() - since > 1500 end, run)
    inner.journal.postgres = postgres
    finish(run)
    assert.same({ "finished", true }, { run.summary.state, run.summary.is_last })
    assert.same({}, job:workers())
  end)

  it("lets others know of an outage as soon as the journal can be written", function()
    local job = plan("create", 4)
    for _, operation in ipairs { "create", "check" } do
      service:fault { operation = operation, kind = "connection", times = math.huge }
    end
    local store = open()
    local failed = fail_once(store, "set_reason", function() return true end)
    local run = start(store, job)
    step_until(function() return job:refresh().reason == "connection" end, run)
    assert.is_true(failed())
    run:abandon()
  end)

  it("does not end a job whose rows were made ready while it was taken for dead", function()
    local job = plan("create", 2)
    local store = open()
    local run = start(store, job)
    local inner = store.store
    local real = inner.leave
    function inner.leave(...)
      server:execute("update item set state = 'ready' where n = 1", "test")
      server:execute("update job set done = done - 1, state = 'stopped'", "test")
      return real(...)
    end
    finish(run)
    assert.same({ "stopped", 1 }, { job:refresh().state, job.unprocessed })
    assert.equal("stopped", run.summary.state)
  end)

  it("sends no change that waited for the rate while its lease ended in a turn that took long", function()
    local job = plan("unlink", 2)
    local slow = leat.new { api_key = service.api_key, base_url = service.url, rate = 0.5 }
    local store = open()
    local run = assert(store:job(job.id):start(slow, { concurrency = 2, settle = 0.2, probe = 0.05, lease = 20 }))
    local inner, noted = store.store, 0
    local real = inner.turn
    local function wait(seconds)
      local begun = core.now()
      repeat core.wait(0.05, {}) until core.now() - begun > 1000 * seconds
    end
    function inner.turn(self, id, turn)
      local result = real(self, id, turn)
      noted = noted + #turn.notes
      if noted == 2 then -- the change of the other row waits for its time, which comes now
        noted = 3
        wait(4)
        for _, item in pairs(run.held) do
          item.deadline = 0
        end
      end
      return result
    end
    step_until(function() return noted == 3 end, run)
    wait(0.5)
    assert.equal(0, count_requests("unlink"))
    run:stop()
    finish(run)
    slow:close()
  end)

  it("is forgotten if the acknowledgement of its beginning was lost", function()
    local job = plan("create", 1)
    local store = open()
    local mine = store:job(job.id)
    local lost = lose_commits(store, 1)
    local none, err = mine:start(client)
    assert.same({ nil, "journal", 1 }, { none, err.kind, lost() })
    assert.same({}, job:workers())
    fail_once(store, "job", function() return true end)
    assert.is_nil((mine:start(client)))
    assert.same({}, job:workers())
    assert.equal("interrupted", job:refresh().state)
  end)

  it("does not pause a job that another one has ended", function()
    local job = plan("create", 1)
    finish(start(open(), job))
    local finished = job:refresh().finished
    stores[1].store:turn(job.id, { worker = 0, endings = {}, notes = {}, verified = {}, forgiven = {},
      pause = "unauthorized", takes_over = false, lease_ms = 1000, settle_ms = 0, reads = false })
    assert.same({ "finished", finished }, { job:refresh().state, job.finished })
    assert.is_nil(job.reason)
  end)

  it("leaves a job finished whose verification the service refuses", function()
    local job = plan("create", 2)
    finish(start(open(), job))
    assert.is_true(job:forget_verified())
    service:fault { operation = "find", kind = "unauthorized", times = math.huge }
    local run = start(open(), job, { only_verify = true, verify = true })
    finish(run)
    assert.same({ "paused", "unauthorized" }, { run.summary.state, run.summary.kind })
    assert.same({ "finished", "verify_stopped" }, { job:refresh().state, job.reason })
    assert.truthy(job.finished)
  end)

  it("keeps its job if that is removed, retried or forgotten just as it begins", function()
    local job = plan("create", 2)
    local store = open()
    local journal = store.store.journal
    local real = journal.long_transaction
    for _, method in ipairs { "remove", "retry", "forget_verified" } do
      local run
      function journal.long_transaction(...)
        run = start(open(), job)
        return real(...)
      end
      local other = store:job(job.id)
      local none, err = other[method](other)
      assert.is_nil(none, method)
      assert.truthy(err.message:find("a process works on job 1: stop it first", 1, true), err.message)
      assert.equal("running", job:refresh().state)
      run:abandon()
    end
  end)
end)
