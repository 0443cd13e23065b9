-- leat.jobs, as a program sees it: planning, running, results. Processes that die are in spec/jobs/kill_jobs.lua, the
-- command in spec/jobs/import_jobs.lua. The journals are files; spec/postgres/jobs_postgres.lua runs this file with
-- journals in PostgreSQL, which it passes. `only_files` declares what is true of files only.

local core = require("leat.core")
local jobs = require("leat.jobs")
local leat = require("leat")
local sandbox = require("leat.sandbox")
local scheduler = require("leat.scheduler")
local sqlite = require("leat.sqlite.core")

local read = dofile("spec/support/read.lua")
local journals = ...
if type(journals) ~= "table" or not journals.new then
  journals = dofile("spec/support/journals.lua")
end

local server, client, path, store

local function only_files(name, f)
  if not journals.is_shared then
    it(name, f)
  end
end

local function connect(options)
  options = options or {}
  options.api_key, options.base_url = options.api_key or server.api_key, server.url
  options.retry_base = 0.01
  return leat.new(options)
end

before_each(function()
  server = assert(sandbox.start { contacts = { { uuid = "u-1", email = "ann@example.org" }, { uuid = "u-2" } },
    cards = { { value = "old-1", contact_uuid = "u-1" }, { value = "old-2" } } })
  client = connect()
  path = journals.new()
  store = assert(jobs.open(path))
end)

after_each(function()
  store:close()
  client:close()
  server:stop()
  journals.remove(path)
end)

local function rows_of(...)
  local list = { ... }
  for i, value in ipairs(list) do
    list[i] = type(value) == "table" and value or { value = value }
  end
  return list
end

local function numbered(count)
  local i = 0
  return function()
    i = i + 1
    return i <= count and { value = "card-" .. i } or nil
  end
end

local function plan_csv(operation, text, mapping)
  local file = assert(jobs.csv(function()
    local part = text
    text = nil
    return part
  end, operation, mapping))
  return store:plan { account = "", operation = operation, csv = file }
end

-- Returns what the rows of a job are, each as a text.
local function planned(job)
  local rows = {}
  for row in job:results() do
    rows[#rows + 1] = ("%s %s %s"):format(row.value or "-", row.arguments.name or "-", row.state)
  end
  return rows
end

local function plan(operation, rows, options)
  options = options or {}
  options.client, options.operation, options.rows = client, operation, rows
  return assert(store:plan(options))
end

-- Checks that no transaction or query is left open: another connection writes the journal, and then this one.
local function expect_writable()
  local other = assert(jobs.open(path))
  assert(other:plan { account = "", rows = rows_of("c") })
  other:close()
  assert.same({ "d - ready" }, planned(plan("create", rows_of("d"))))
end

local fast = { settle = 0.05, probe = 0.05 }

local function run(job, options)
  local given = { settle = fast.settle, probe = fast.probe }
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  return assert(job:run(client, given))
end

-- Runs the job, and calls `act` once while the requests settle that may still be performed.
local function run_and_act(job, act, options)
  local acted
  local given = { settle = 0.5, progress_every = 0.05, progress = function(p)
    if p.phase == "settling" and not acted then
      acted = true
      act()
    end
  end }
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  local summary = run(job, given)
  assert.is_true(acted)
  return summary
end

-- Returns "line outcome kind" of each row.
local function outcomes(job)
  local list = {}
  for row in job:results() do
    list[#list + 1] = row.line .. " " .. row.outcome .. (row.kind and " " .. row.kind or "")
  end
  return list
end

local function counts(job)
  return { job.done, job.failed, job.unknown, job.rejected, job.skipped, job.unprocessed }
end

-- ---- planning ---------------------------------------------------------------------------

describe("planning", function()
  it("asks for the account, and sends nothing else", function()
    local job = plan("ensure", rows_of("a", "b"))
    assert.same({ "planned", 2, 2 }, { job.state, job.rows, job.unprocessed })
    assert.equal(1, #server:requests())
    assert.equal(1, #server:requests("check"))
  end)

  it("skips rows that are the same, and rejects those of one card with other data, naming the other line", function()
    local job = plan("create", rows_of("a", "b", "A", { value = "c", name = "C" }, { value = "c" }, "d"))
    assert.same({ "1 ready", "2 ready", "3 skipped duplicate", "4 rejected duplicate", "5 rejected duplicate",
      "6 ready" }, outcomes(job))
    local messages = {}
    for row in job:results() do
      messages[row.line] = row.message
    end
    assert.equal("same as line 1", messages[3])
    assert.equal("the same card is on line 5 with other data", messages[4])
    assert.equal("the same card is on line 4 with other data", messages[5])
  end)

  it("rejects rows that cannot be sent, and keeps them", function()
    local job = plan("link", rows_of({ value = "a", contact_uuid = "u-1" }, { value = "b" }, { name = "no value" },
      { value = "1.5E+10", contact_uuid = "u-1" }))
    assert.same({ 0, 0, 0, 3, 0, 1 }, counts(job))
  end)

  it("continues a job with the same rows, and only that one", function()
    local first = plan("create", rows_of("a", "b"))
    local again, earlier = store:plan { client = client, operation = "create", rows = rows_of("a", "b") }
    assert.same({ first.id, true }, { again.id, earlier })
    for _, other in ipairs { { "ensure", rows_of("a", "b") }, { "create", rows_of("a", "c") },
      { "create", rows_of("a") }, { "create", rows_of("a", { value = "b", name = "B" }) } } do
      local job, is_earlier = store:plan { client = client, operation = other[1], rows = other[2] }
      assert.same({ true, false }, { job.id > first.id, is_earlier })
    end
    local new, is_earlier = store:plan { client = client, operation = "create", rows = rows_of("a", "b"), again = true }
    assert.same({ true, false }, { new.id > first.id, is_earlier })
    assert.equal(6, #store:jobs())
  end)

  it("takes a file with other columns for another job, and keeps the value of a row that is rejected", function()
    local text = "value,name,nick\r\nA1,Ann,An\r\n4.2E+11,Bob,\r\n"
    local function plan_file(mapping)
      return plan_csv("create", text, mapping)
    end
    local first, again, other = plan_file(), plan_file(), plan_file { name = "nick" }
    assert.same({ first.id, true }, { again.id, other.id > first.id })
    assert.same({ "A1 An ready", "4.2E+11 - rejected" }, planned(other))
    for row in other:results { "rejected" } do
      assert.equal(2, row.n)
    end
  end)

  it("reads the columns of its own file, even if an earlier plan that was taken back had the same number", function()
    local twice = "value,name\nA,Ann\na,Ann\n"
    assert.equal(plan_csv("create", twice).id, plan_csv("create", twice).id)
    assert.same({ "A Ann rejected", "A Bob rejected" },
      planned(plan_csv("create", "nick,name,value\nx,Ann,A\nx,Bob,A\n")))
  end)

  it("keeps what can be read of rows that are rejected", function()
    assert.same({ "A Ann ready", "B - rejected", "C Cy rejected", "D Di rejected", "- - rejected" },
      planned(plan_csv("update", 'value,name,active\nA,Ann,yes\nB\nC,Cy,x,y\nD,Di,maybe\n"E,Eve,yes\n')))
  end)

  it("rejects what one of two arguments of the same column can't be", function()
    assert.same({ "A - rejected", "B - rejected" },
      planned(plan_csv("ensure", "value,c\nA,ann@example.org\nB,u-1\n", { contact_uuid = "c", contact_email = "c" })))
  end)

  only_files("goes on after a plan for which there was no room", function()
    plan("create", rows_of("a", "b"))
    assert.is_true(store.store.journal.connection:exec("pragma temp.max_page_count = 60"))
    local many = {}
    for i = 1, 2000 do
      many[i] = { value = "card-" .. i % 500, name = ("x"):rep(300) .. i }
    end
    local none, err = store:plan { account = "", rows = many }
    assert.is_nil(none)
    assert.equal("journal", err.kind)
    expect_writable()
  end)

  it("goes on after results that were damaged", function()
    local job = plan("create", rows_of("a", "b"))
    local journal = store.store.journal
    journal:execute("update item set seen = '{'", "")
    assert.has_error(job:results())
    journal:execute("update item set seen = null", "")
    expect_writable()
  end)

  it("keeps nothing of a plan in memory or in temporary tables", function()
    local function virtual_kib()
      return tonumber(read("/proc/self/status"):match("VmSize:%s*(%d+)"))
    end
    local temporary = assert(jobs.open_temporary())
    collectgarbage("stop")
    local before = virtual_kib()
    for i = 1, 200 do
      assert(temporary:plan { account = "", rows = rows_of("a" .. i, "b", "b") })
    end
    local grown = virtual_kib() - before
    collectgarbage("restart")
    assert.is_true(grown < 400 * 1024, grown .. " KiB")
    assert.equal(0, (temporary.store.journal:row("select count(*) from (select n from twin union all "
      .. "select n from noted union all select kinds from repeated)", "")))
    temporary:close()
  end)

  it("stores where the file is, whatever the current folder is later", function()
    local pipe = assert(io.popen("pwd -P"))
    local folder = pipe:read("*l")
    pipe:close()
    for given, wanted in pairs { ["a/b.csv"] = folder .. "/a/b.csv", ["./c.csv"] = folder .. "/c.csv",
      ["/d.csv"] = "/d.csv" } do
      assert.equal(wanted, plan("find", rows_of(given), { file = given }).file)
    end
  end)

  it("refuses a response that names no account", function()
    local job, err = store:plan { client = { check = function() return {} end }, rows = rows_of("a") }
    assert.same({ nil, "config" }, { job, err.kind })
    assert.truthy(err.message:find("names no account", 1, true))
  end)

  it("leaves nothing if the rows end in an error", function()
    assert.has_error(function()
      store:plan { client = client, rows = function() error("no more", 0) end }
    end, "no more")
    assert.same({}, store:jobs())
    local job, err = store:plan { client = client, rows = {} }
    assert.same({ nil, "invalid_input" }, { job, err.kind })
  end)

  it("keeps what it can of rows that no job could contain", function()
    local job = plan("create", rows_of("a", { value = "b", name = print }, { value = "c", name = { 1 } },
      { value = "d", name = 0 / 0, active = true }, { value = print }))
    assert.same({ 0, 0, 0, 4, 0, 1 }, counts(job))
  end)

  it("raises mistakes", function()
    for message, options in pairs { ["there is no operation 'make'"] = { operation = "make", rows = {} },
      ["rows is missing"] = {}, ["option 'row' is unknown: did you mean 'rows'"] = { row = {} } } do
      local fine, why = pcall(store.plan, store, options)
      assert.is_false(fine)
      assert.truthy(why:find(message, 1, true), why)
    end
  end)
end)

-- ---- running ----------------------------------------------------------------------------

describe("running", function()
  local function contact_of(value)
    local card = server:card(value)
    return card and card.contact and card.contact.uuid
  end

  it("performs each operation", function()
    local job = plan("ensure", rows_of({ value = "old-1", contact_uuid = "u-1" },
      { value = "new", contact_uuid = "u-2" }, { value = "old-2", contact_uuid = "u-2" },
      { value = "mail", contact_email = "ann@example.org" }, { value = "nobody", contact_email = "bob@example.org" }))
    assert.equal("finished", run(job).state)
    assert.same({ "1 existed", "2 created", "3 existed", "4 created", "5 failed contact_not_found" }, outcomes(job))
    local changed = {}
    for row in job:results() do
      changed[row.line] = row.changed
    end
    assert.same({ [3] = "linked" }, changed)
    assert.same({ "u-1", "u-2", "u-2", "u-1" },
      { contact_of("old-1"), contact_of("new"), contact_of("old-2"), contact_of("mail") })

    job = plan("unlink", rows_of("old-1", { value = "old-2", expect = "u-1" }, "missing",
      { value = "new", expect = "u-2" }))
    run(job)
    assert.same({ "1 unlinked", "2 failed conflict", "3 failed not_found", "4 unlinked" }, outcomes(job))

    job = plan("link", rows_of({ value = "old-1", contact_uuid = "u-2" }, { value = "old-2", contact_uuid = "u-2" },
      { value = "old-2x", contact_uuid = "u-2" }, { value = "mail", contact_uuid = "u-2" }))
    run(job)
    assert.same({ "1 linked", "2 existed", "3 failed not_found", "4 failed already_linked" }, outcomes(job))

    job = plan("update", rows_of({ value = "old-1", name = "One" }, { value = "new", active = false }))
    run(job)
    assert.same({ "1 updated", "2 updated" }, outcomes(job))

    job = plan("find", rows_of("old-1", "missing", "new"))
    run(job)
    assert.same({ "1 found", "2 failed not_found", "3 failed inactive" }, outcomes(job))
    assert.same({ value = "old-1", name = "One", active = true, contact_uuid = "u-2" }, job:results()().seen)

    job = plan("delete", rows_of("old-1", "new", "missing"))
    run(job)
    assert.same({ "1 deleted", "2 deleted", "3 failed not_found" }, outcomes(job))
    assert.same({ exists = true, contact_uuid = "u-2", name = "One", active = true }, job:results()().before)
    assert.is_nil(server:card("old-1"))
  end)

  it("recovers from lost responses, and verifies those cards once more at the end", function()
    server:fault { operation = "create", value = "b", apply = true, close = "before" }
    local job = plan("create", rows_of("a", "b", "c"))
    local summary = run(job)
    assert.same({ "1 created", "2 recovered", "3 created" }, outcomes(job))
    assert.same({ "finished", 1, 0 }, { summary.state, summary.verified, summary.changed })
    assert.equal(3, #server:requests("create"))
  end)

  it("continues with rows that were about to be verified when it was stopped", function()
    for _, value in ipairs { "a", "b" } do
      server:fault { operation = "create", value = value, apply = true, close = "before" }
    end
    client = connect { max_attempts = 1 }
    local job = plan("create", rows_of("a", "b"))
    local begun = assert(job:start(client, { concurrency = 1, settle = 0.3, probe = 0.05 }))
    server:fault { operation = "find", delay = 0.5 }
    while #server:requests("create") < 2 or begun.flying == 0 or #begun.queue == 0 do
      scheduler.step(0.01)
      assert(not begun:step())
    end
    begun:stop()
    repeat
      scheduler.step(0.01)
    until begun:step()
    assert.equal("finished", run(job).state)
    assert.same({ "1 recovered", "2 recovered" }, outcomes(job))
  end)

  only_files("waits no longer than settle for cards that were changed when the clock was ahead", function()
    server:fault { operation = "create", value = "a", apply = true, close = "before" }
    local job = plan("create", rows_of("a", "b"))
    local clock, epoch = store.store.journal, store.store.journal.epoch
    clock.epoch = epoch + 1000 * 3600
    assert.equal("stopped", run(job, { settle = 3, progress_every = 0.01, progress = function(p)
      if p.phase == "settling" then
        job:stop()
      end
    end }).state)
    clock.epoch = epoch
    local begun = core.now()
    run(job, { settle = 0.1, progress_every = 0.1, progress = function()
      assert.is_true(core.now() - begun < 5000, "it waits")
    end })
    assert.same({ "1 recovered", "2 created" }, outcomes(job))
  end)

  for how, by in pairs { back = -1000, forward = 1e9 } do
    only_files(("waits for a request that may still be performed although the clock was set %s between two runs")
      :format(how), function()
      server:fault { operation = "delete", value = "old-1", apply_after = 0.4, close = "before" }
      local job = plan("delete", rows_of("old-1"))
      assert.equal("stopped", run(job, { settle = 1, progress_every = 0.01, progress = function()
        if #server:requests("delete") > 0 then
          job:stop()
        end
      end }).state)
      local clock = store.store.journal
      clock.epoch = clock.epoch + by
      assert.equal("finished", run(job, { settle = 1 }).state)
      assert.same({ "1 recovered" }, outcomes(job))
      assert.equal(1, #server:requests("delete"))
    end)
  end

  it("reports a card that was changed after it was left as requested", function()
    server:fault { operation = "create", value = "a", apply = true, close = "before" }
    local job = plan("create", rows_of({ value = "a", contact_uuid = "u-1" }))
    local summary = run_and_act(job, function()
      connect().contact_identifiers:delete("a")
    end)
    assert.equal(1, summary.changed)
    assert.same({ "1 unknown changed_afterwards" }, outcomes(job))
    assert.same({ 0, 0, 1, 0, 0, 0 }, counts(job))
  end)

  it("ends if a card can't be found again, and leaves its row as it is", function()
    server:fault { operation = "create", value = "a", apply = true, close = "before" }
    server:fault { operation = "find", value = "a", kind = "server", times = math.huge }
    local job, outages, unseen = plan("create", rows_of("a", "b")), 0, {}
    local summary = run(job, { on_event = function(what, detail)
      outages = outages + (what == "outage" and 1 or 0)
      unseen[#unseen + 1] = what == "unverified" and detail.value .. " " .. detail.kind or nil
    end })
    assert.same({ "finished", 0, 1 }, { summary.state, summary.verified, summary.unverified })
    assert.same({ "a server" }, unseen)
    assert.same({ "1 unknown server", "2 created" }, outcomes(job))
    assert.is_true(outages < 15)
  end)

  it("waits for the end of an outage during the verification", function()
    server:fault { operation = "create", value = "a", apply = true, close = "before" }
    local job, events = plan("create", rows_of("a")), {}
    local summary = run_and_act(job, function()
      server:fault { operation = "find", kind = "connection", times = 4 }
      server:fault { operation = "check", kind = "connection", times = 20 }
    end, { settle = 0.3, on_event = function(what) events[#events + 1] = what end })
    assert.same({ "finished", 1, 0 }, { summary.state, summary.verified, summary.unverified })
    assert.same({ "outage", "outage_over" }, { events[#events - 1], events[#events] })
  end)

  local verify = { only_verify = true, verify = true }

  it("gives a row its outcome back if its card is as it was left again", function()
    local job, cards = plan("create", rows_of("a", "b")), client.contact_identifiers
    run(job)
    for _, step in ipairs { { cards.delete, "1 unknown changed_afterwards" }, { cards.create, "1 created" } } do
      assert(step[1](cards, "a"))
      assert(job:forget_verified())
      run(job, verify)
      assert.same({ step[2], "2 created" }, outcomes(job))
    end
  end)

  it("says how far a verification is, and stays finished if that is stopped", function()
    local job, seen = plan("create", numbered(40)), {}
    run(job)
    local finished = job.finished
    assert.same({ true, 40 }, { job:forget_verified(), job:count_to_verify() })
    server:fault { operation = "find", delay = 0.05, times = math.huge }
    local function stop_at(count)
      return { concurrency = 2, only_verify = true, verify = true, progress_every = 0.01, progress = function(p)
        seen[#seen + 1] = p.phase == "verifying" and p.verified or nil
        assert.is_true(p.verified <= p.to_verify and (p.to_verify == 40 or p.phase == "settling"))
        if p.verified >= count then
          job:stop()
        end
      end }
    end
    local summary = run(job, stop_at(6))
    assert.is_true(#seen > 3 and seen[2] < 6)
    assert.same({ "stopped", 40 }, { summary.state, summary.to_verify })
    assert.is_true(summary.verified >= 6 and summary.verified < 20)
    assert.same({ "finished", "verify_stopped", finished }, { job.state, job.reason, job.finished })
    assert.equal(40 - summary.verified, job:count_to_verify())
  end)

  only_files("leaves a job finished if the process ends while it verifies", function()
    local job = plan("create", numbered(10))
    run(job)
    job:forget_verified()
    local started = assert(job:start(client, verify))
    while started:progress().verified < 1 do
      require("leat.tasks").poll()
      started:step()
    end
    assert.equal("running", store:job(job.id).state)
    store:close()
    store = assert(jobs.open(path))
    assert.equal("finished", store:job(job.id).state)
    local other = plan("create", numbered(1)) -- notes which other jobs do not run any more
    run(other)
    assert.equal("finished", store:job(job.id).state)
  end)

  it("cannot verify what the service does not show", function()
    server:fault { operation = "link", value = "old-2", apply = true, close = "before" }
    local job = plan("link", rows_of({ value = "old-2", contact_email = "ann@example.org" }))
    local summary = run_and_act(job, function()
      local cards = connect().contact_identifiers
      assert(cards:unlink("old-2"))
      assert(cards:link("old-2", "u-2")) -- This contact has no e-mail address.
    end)
    assert.same({ "finished", 0, 1 }, { summary.state, summary.verified, summary.unverified })
  end)

  only_files("does not wait for a time that a wrong clock stored", function()
    server:fault { operation = "create", value = "a", apply = true, close = "before" }
    local job = plan("create", rows_of("a"))
    local started = assert(job:start(client, { settle = 0.2, probe = 0.05 }))
    while started:progress().phase == "items" do
      require("leat.tasks").poll()
      started:step()
    end
    started:stop()
    assert.equal("stopped", assert(started:step()).state)
    local connection = assert(sqlite.open(path))
    assert(connection:exec("update item set at = at + 1000000"))
    connection:close()
    assert.equal(1, run(job).verified)
  end)

  it("never sends an unlink again before it knows what became of it", function()
    server:fault { operation = "unlink", apply_after = 0.2, close = "before" }
    local job = plan("unlink", rows_of("old-1"))
    run(job, { settle = 0.4 })
    assert.same({ "1 recovered" }, outcomes(job))
    assert.equal(1, #server:requests("unlink"))
  end)

  it("does not take a card from its next owner", function()
    server:fault { operation = "unlink", apply = true, close = "before" }
    local job = plan("unlink", rows_of("old-1"))
    local linked
    run(job, { settle = 0.5, progress_every = 0.05, progress = function()
      if not linked and not contact_of("old-1") then
        linked = connect().contact_identifiers:link("old-1", "u-2")
      end
    end })
    assert.same({ "1 unknown conflict" }, outcomes(job))
    assert.equal("u-2", contact_of("old-1"))
  end)

  -- With a concurrency of 1 the same two or three rows fail again and again before that is an outage.
  for _, concurrency in ipairs { 8, 1 } do
    it("waits for the end of an outage, which counts against no row: concurrency " .. concurrency, function()
      local events = {}
      server:fault { operation = "find", kind = "connection", times = 100 }
      local job = plan("find", numbered(60))
      local summary = run(job, { max_failures = 0, concurrency = concurrency, on_event = function(what, detail)
        events[#events + 1] = what .. " " .. detail.kind
      end })
      assert.equal("finished", summary.state)
      assert.same({ 0, 60, 0, 0, 0, 0 }, counts(job))
      assert.same({ "outage connection", "outage_over connection" }, { events[1], events[#events] })
      for row in job:results() do
        assert.equal("not_found", row.kind)
      end
    end)
  end

  it("does not give up the row that fails first, and again and again, before that is an outage", function()
    server:fault { operation = "find", kind = "server", delay = 0.01, times = 20 }
    local job = plan("find", numbered(30))
    assert(job:run(connect { max_attempts = 1 }, { settle = 0.05, probe = 0.02, concurrency = 1 }))
    for row in job:results() do
      assert.equal("not_found", row.kind)
    end
  end)

  it("says what is wrong as soon as requests fail, how many rows wait, and for how long none is processed", function()
    server:fault { operation = "find", kind = "server", times = 21 }
    local job, first, outage, last = plan("find", numbered(60)), nil, nil, nil
    assert(job:run(connect { max_attempts = 1 }, { settle = 0.05, probe = 2, max_failures = 0, concurrency = 1,
      progress_every = 0.005, progress = function(p)
        assert.is_true(not p.failing or p.eta == nil)
        first = first or p.failing and p
        outage = p.outage and store:job(job.id) or outage
        last = p
      end }))
    assert.same({ "server", "nil" }, { first.failing, tostring(first.outage) })
    assert.is_true(first.waiting >= 1 and first.waiting < 20, first.waiting)
    assert.same({ "running", "server", true }, { outage.state, outage.reason, outage.waiting > 0 })
    assert.same({ "nil", 0, 0 }, { tostring(last.failing), last.waiting, store:job(job.id).waiting })
    assert.equal(60, job.failed)
  end)

  it("computes the time that is left without the time of an outage", function()
    server:fault { operation = "find", delay = 0.05, times = 20 }
    server:fault { operation = "find", kind = "server", times = 22 }
    server:fault { operation = "find", delay = 0.05, times = math.huge }
    local job, over, rate, expected = plan("find", numbered(64)), nil, nil, nil
    assert(job:run(connect { max_attempts = 1 }, { settle = 0.05, probe = 1.2, max_failures = 0, concurrency = 1,
      on_event = function(what) over = what == "outage_over" and { at = core.now() } or nil end,
      progress_every = 0.1, progress = function(p)
        if over then
          over.failed = over.failed or p.failed
        end
        if over and p.failed > 50 and p.failed < 60 then
          rate, expected = p.rate, 1000 * (p.failed - over.failed) / (core.now() - over.at)
        end
      end }))
    assert.is_true(rate > 0.8 * expected, ("%g, not %g"):format(rate, expected))
  end)

  it("gives up a row that fails again and again while others succeed", function()
    server:fault { operation = "find", value = "old-2", kind = "server", times = math.huge }
    local job = plan("find", rows_of("old-1", "old-2", "old-3"))
    run(job)
    assert.same({ "1 found", "2 failed server", "3 failed not_found" }, outcomes(job))
  end)

  it("gives up rows that fail again and again, also if there are more of them than an outage takes", function()
    for i = 1, 30 do
      server:fault { operation = "find", value = "card-" .. i, kind = "server", times = math.huge }
    end
    local job, seen = plan("find", numbered(50)), {}
    run(job, { max_failures = 0, on_event = function(what) seen[what] = true end })
    assert.same({ 0, 50, 0, 0, 0, 0 }, counts(job))
    for row in job:results() do
      assert.equal(row.line <= 30 and "server" or "not_found", row.kind)
    end
    assert.same({ outage = true, outage_over = true }, seen)
  end)

  it("stops when the key is refused during an outage", function()
    server:fault { operation = "find", kind = "connection", times = math.huge }
    local job = plan("find", rows_of("old-1"))
    server:fault { operation = "check", kind = "unauthorized" }
    local summary = run(job)
    assert.same({ "paused", "unauthorized", 1 }, { summary.state, summary.kind, job.unprocessed })
  end)

  it("stops at the first response that refuses the key, and goes on with a better one", function()
    local bad = connect { api_key = "wrong" }
    local job = plan("create", numbered(20))
    local summary = assert(job:run(bad, fast))
    assert.same({ "paused", "unauthorized" }, { summary.state, summary.kind })
    assert.same({ 0, 0, 0, 0, 0, 20 }, counts(job))
    assert.equal("finished", run(job).state)
    assert.same({ 20, 0, 0, 0, 0, 0 }, counts(job))
    assert.is_true(#server:requests("create") <= 20 + 8)
  end)

  it("stops at the first response that refuses the key, also in the middle of a run", function()
    local job = plan("create", numbered(40))
    server:fault { operation = "create", nth = 10, kind = "unauthorized" }
    local summary = run(job)
    assert.same({ "paused", "unauthorized" }, { summary.state, summary.kind })
    assert.is_true(job.done < 40 and job.unprocessed == 40 - job.done)
    assert.equal("finished", run(job).state)
    assert.same({ 40, 0, 0, 0, 0, 0 }, counts(job))
  end)

  it("pauses when too many rows have failed", function()
    local job = plan("find", numbered(50))
    local summary = run(job, { max_failures = 10, concurrency = 2 })
    assert.same({ "paused", "max_failures" }, { summary.state, summary.kind })
    assert.is_true(job.failed >= 10 and job.failed <= 14 and job.unprocessed == 50 - job.failed)
    assert.equal("finished", run(job, { max_failures = 0 }).state)
    assert.same({ 0, 50, 0, 0, 0, 0 }, counts(job))
  end)

  it("retries what failed, and nothing else", function()
    local job = plan("find", rows_of("old-1", "later"))
    run(job)
    assert.same({ "1 found", "2 failed not_found" }, outcomes(job))
    assert(client.contact_identifiers:create("later"))
    assert.equal(1, job:retry())
    run(job)
    assert.same({ "1 found", "2 found" }, outcomes(job))
    assert.equal(3, #server:requests("find"))
    local finished = job.finished
    assert.equal(0, job:retry())
    assert.same({ finished, finished }, { job.finished, store:job(job.id).finished })
  end)

  it("stops when asked to, from another process, and continues", function()
    local job = plan("create", numbered(200))
    local other = assert(jobs.open(path))
    local stopped
    local summary = run(job, { progress_every = 0.001, progress = function(p)
      if p.done > 5 and not stopped then
        stopped = assert(other:job(job.id):stop())
      end
    end })
    assert.equal("stopped", summary.state)
    assert.is_true(job.unprocessed > 0)
    other:close()
    assert.equal("finished", run(job).state)
    assert.equal(200, #server:requests("create"))
  end)

  it("claims rows anew that waited for longer than their lease allows", function()
    server:fault { operation = "find", delay = 0.15, times = math.huge }
    local job = plan("find", numbered(6))
    run(job, { concurrency = 1, lease = 0.2 })
    assert.same({ 0, 6, 0, 0, 0, 0 }, counts(job))
    assert.equal(6, #server:requests("find"))
  end)

  only_files("lets one process at a time work on a journal", function()
    local job = plan("create", numbered(5))
    local started = assert(job:start(client, fast))
    local other = assert(jobs.open(path))
    assert.is_true(other:is_busy())
    local refused, err = other:job(job.id):run(client)
    assert.same({ nil, "journal", job.id }, { refused, err.kind, err.job })
    assert.truthy(err.message:find("another process works on the journal", 1, true))
    refused, err = other:check_free()
    assert.same({ nil, job.id }, { refused, err.job })
    started:stop()
    while not started:step() do
      require("leat.tasks").poll()
    end
    assert.is_false(other:is_busy())
    assert.is_true(other:check_free())
    other:close()
  end)

  local function finish_run(started)
    local summary
    while not summary do
      require("leat.tasks").poll()
      summary = started:step()
      core.wait(0.002, {})
    end
    return summary
  end

  it("lets one run at a time work on a journal, within a process too", function()
    local job, other = plan("create", numbered(20)), plan("create", numbered(10))
    local started = assert(job:start(client, fast))
    for _, second in ipairs { job, other } do
      local refused, err = second:start(client, fast)
      assert.is_true(refused == nil)
      assert.truthy(err.message:find("another run of this program works on the journal", 1, true))
    end
    assert.equal("finished", finish_run(started).state)
    assert.same({ 20, 20 }, { #server:requests("create"), job:refresh().done })
    assert.equal("finished", finish_run(assert(other:start(client, fast))).state)
  end)

  only_files("knows a journal by all its names", function()
    local job, link = plan("create", numbered(5)), path .. ".link"
    local started = assert(job:start(client, fast))
    assert(os.execute("ln -s " .. path .. " " .. link))
    local other = assert(jobs.open(link))
    assert.is_true(other:is_busy())
    other:close()
    os.remove(link)
    finish_run(started)
  end)

  only_files("pauses when its lock was deleted, because another process may work on the journal then", function()
    local job = plan("create", numbered(50))
    local started = assert(job:start(client, fast))
    os.remove(path .. ".lock")
    local summary = finish_run(started)
    assert.same({ "paused", "journal" }, { summary.state, summary.kind })
    assert.equal("finished", run(job).state)
    assert.same({ 50, 50 }, { #server:requests("create"), job.done })
  end)

  it("pauses if the card before an unlink can't be stored, and then does not unlink it", function()
    local job, turn, begun = plan("unlink", rows_of("old-1")), store.store.turn, core.now()
    store.store.turn = function(self, id, given)
      if given.notes[1] then
        require("leat.jobs.journal").raise("the disk is full")
      end
      return turn(self, id, given)
    end
    local summary = run(job, { lease = 1, progress_every = 0.1, progress = function()
      assert.is_true(core.now() - begun < 10000, "it waits")
    end })
    store.store.turn = nil
    assert.same({ "paused", "journal", 0 }, { summary.state, summary.kind, #server:requests("unlink") })
    assert.equal("finished", run(job).state)
    assert.equal(1, #server:requests("unlink"))
  end)

  it("pauses if the journal can't be read", function()
    local job = plan("create", numbered(30))
    local started = assert(job:start(client, { settle = 0.05, probe = 0.05, lease = 1 }))
    local next_due = store.store.next_due
    store.store.next_due = function() return store.store.journal:row("select 1 from no_such_table", "") end
    local summary = finish_run(started)
    store.store.next_due = nil
    assert.equal(next_due, store.store.next_due)
    assert.same({ "paused", "journal", false }, { summary.state, summary.kind, store:is_busy() })
    assert.equal("finished", run(job).state)
    assert.same({ 30, 30 }, { #server:requests("create"), job.done })
  end)

  it("can be run again after an error of the program", function()
    local job = plan("create", numbered(100))
    assert.has_error(function()
      run(job, { progress_every = 0.001, progress = function(p) assert(p.done < 10, "enough") end })
    end)
    assert.equal(0, require("leat.scheduler").count())
    assert.same({ "interrupted", true }, { job:refresh().state, job.done >= 10 })
    assert.equal("finished", run(job).state)
    assert.equal(100, job.done)
  end)

  it("ends at once when the journal is closed, and goes on later", function()
    local job = plan("create", numbered(100))
    local started = assert(job:start(client, fast))
    while started:progress().done < 10 do
      require("leat.tasks").poll()
      started:step()
    end
    store:close()
    assert.same({ "interrupted", 0 }, { started:step().state, require("leat.scheduler").count() })
    store = assert(jobs.open(path))
    job = store:job(job.id)
    assert.same({ "interrupted", true }, { job.state, job.done >= 10 })
    assert.equal("finished", run(job).state)
    assert.equal(100, job.done)
  end)

  it("is not disturbed by a plan in a task, whose rows can't wait for calls", function()
    local job, tasks, why = plan("create", numbered(50)), require("leat.tasks"), nil
    local started = assert(job:start(client, fast))
    tasks.spawn(function()
      local _
      _, why = pcall(store.plan, store, { client = client, operation = "find", rows = function()
        return { value = client.contact_identifiers:find("old-1").value }
      end })
    end)
    assert.equal("finished", finish_run(started).state)
    assert.truthy(tostring(why):find("coroutine", 1, true), why)
    assert.equal(1, #store:jobs())
  end)

  it("runs in steps that never wait, for ticks", function()
    local job = plan("create", numbered(10))
    local started, tasks, summary = assert(job:start(client, fast)), require("leat.tasks"), nil
    while not summary do
      local begun = core.now()
      tasks.poll()
      summary = started:step()
      assert.is_true(core.now() - begun < 1000)
      core.wait(0.005, {})
    end
    assert.equal(10, summary.job.done)
  end)

  it("refuses a client for another service", function()
    local job = plan("find", numbered(1))
    local other = leat.new { api_key = "k", base_url = "http://127.0.0.1:1/api" }
    local refused, err = job:run(other)
    assert.is_nil(refused)
    assert.truthy(err.message:find("job 1 is for " .. server.url, 1, true))
  end)
end)

-- ---- afterwards -------------------------------------------------------------------------

describe("afterwards", function()
  it("lists the rows of two jobs at once, and leaves nothing open if a program stops in between", function()
    local first, second, seen = plan("create", rows_of("a", "b", "c")), plan("find", rows_of("d", "e")), {}
    for one in first:results() do
      for other in second:results() do
        seen[#seen + 1] = one.value .. other.value
      end
    end
    assert.same({ "ad", "ae", "bd", "be", "cd", "ce" }, seen)
    first:results()()
    local other = assert(jobs.open(path))
    assert(other:job(first.id):stop())
    other:close()
    assert.equal("finished", run(first).state)
  end)

  it("lists rows by the hundred", function()
    local job, count = plan("create", numbered(250)), 0
    for row in job:results() do
      count = count + 1
      assert.same({ count, "card-" .. count }, { row.line, row.value })
    end
    assert.equal(250, count)
  end)

  it("finds what differs when all rows are verified", function()
    local job = plan("create", numbered(10))
    run(job)
    assert(connect().contact_identifiers:delete("card-4"))
    local summary = run(job, { only_verify = true, verify = true })
    assert.same({ "finished", 10, 1 }, { summary.state, summary.verified, summary.changed })
    assert.same({ 9, 0, 1, 0, 0, 0 }, counts(job))
    assert.equal("4 unknown changed_afterwards", outcomes(job)[4])
  end)

  it("writes files whose rows can be imported again", function()
    local job = plan("find", rows_of("old-1", "missing", { value = "bad ", name = "x" }), { name = "cards" })
    run(job)
    local folder = path:match("^(.*)/")
    local files = assert(job:write_results(folder))
    assert.equal(folder .. "/cards.results.csv", files.results)
    local text = read(files.results)
    assert.equal(4, select(2, text:gsub("\r\n", "")))
    assert.truthy(text:find("1,old-1,find,found,", 1, true))
    assert.truthy(read(files.failed):find("^value,[^\r]*\r\nmissing,"))
    assert.truthy(read(files.rejected):find("bad ", 1, true))
    assert.same({ nil, nil }, { files.unknown, files.unprocessed })
    for _, name in pairs(files) do
      os.remove(name)
    end
  end)

  only_files("removes a job so that the file holds none of its cards", function()
    local job = plan("create", rows_of("very-secret-card"))
    run(job)
    local function holds()
      return (read(path) .. (read(path .. "-wal", true) or "")):find("very-secret-card", 1, true) ~= nil
    end
    assert.is_true(holds())
    assert.is_true(job:remove())
    assert.is_false(holds())
    assert.same({}, store:jobs())
  end)

  only_files("says so if the cards of a removed job can't be erased yet", function()
    local job = plan("create", rows_of("very-secret-card"))
    local reader = assert(sqlite.open(path))
    assert(reader:exec("begin; select count(*) from item"))
    store.store.journal:exec("pragma busy_timeout = 10")
    local removed, err = job:remove()
    reader:close()
    assert.is_nil(removed)
    assert.truthy(err.message:find("job 1 is removed, but another process reads the journal", 1, true), err.message)
    assert.same({}, store:jobs())
  end)

  it("refuses a journal of a newer version, and the database of another program", function()
    store:close()
    journals.execute(path, "update meta set version = 99")
    local _, err = jobs.open(path)
    assert.truthy(err.message:find("written by a newer leat (version 99", 1, true), err.message)
    journals.execute(path, "drop table meta")
    _, err = jobs.open(path)
    assert.truthy(err.message:find("of another program: give another", 1, true), err.message)
  end)
end)
