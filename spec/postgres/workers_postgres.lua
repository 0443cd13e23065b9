-- Several processes that work on one job, in PostgreSQL: processes that are killed or stopped, connections that are
-- lost, and a server that restarts. What happened is known from the record of the service and from its cards.
local jobs = require("leat.jobs")
local leat = require("leat")
local sandbox = require("leat.sandbox")
local interpreter = dofile("spec/support/interpreter.lua")
local read = dofile("spec/support/read.lua")
local servers = dofile("spec/postgres/server.lua")

local shell = servers.shell
local LEASE = 3 -- seconds; that of worker_program.lua

describe("workers", function()
  local server, service, address, store, client, folder, count

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  before_each(function()
    server:execute("drop schema if exists test cascade")
    server:execute("create schema test")
    address = server:address("test")
    folder, count = shell("mktemp -d /tmp/leat-workers.XXXXXX"):match("[^\n]+"), 0
    store = assert(jobs.open(address))
  end)
  after_each(function()
    store:close()
    client:close()
    service:stop()
    shell("rm -r %s", folder)
  end)

  -- ---- the service ----------------------------------------------------------------------

  local ROWS = 120
  local STORM = tonumber(os.getenv("LEAT_STORM")) or 200 -- rows of the longest spec

  -- Starts a service with the cards that an operation needs, which is faulty now and then. Returns a job.
  local function plan(operation, faults, number)
    local cards, rows = {}, {}
    for i = 1, number or ROWS do
      local value = ("card-%05d"):format(i)
      cards[i] = { value = value, contact_uuid = "u-1" }
      rows[i] = { value = value, name = operation == "update" and "New" or nil }
    end
    service = assert(sandbox.start { contacts = { { uuid = "u-1" }, { uuid = "u-2" } },
      cards = operation ~= "create" and cards or {}, faults = faults })
    client = leat.new { api_key = service.api_key, base_url = service.url, retry_base = 0.01 }
    return assert(store:plan { client = client, operation = operation, rows = rows })
  end

  -- What goes wrong with the request for every tenth card or so.
  local function faults_of(operation, number)
    local list = {}
    for i = 1, number or ROWS, 10 do
      local function add(offset, fault)
        fault.operation, fault.value = operation, ("card-%05d"):format(i + offset)
        list[#list + 1] = fault
      end
      add(0, { apply = true, close = "before" })
      add(3, { status = 503 })
      add(5, { apply_after = 0.3, close = "before" })
      add(7, { status = 429 })
    end
    return list
  end

  -- ---- the processes --------------------------------------------------------------------

  -- Starts a worker, and returns its process and the path of what it prints.
  local function start(job, options)
    count = count + 1
    local output = ("%s/%d"):format(folder, count)
    local pid = shell("{ %s spec/postgres/worker_program.lua %s '%s' %d %s >%s 2>&1 & echo $!; }", interpreter,
      service.url, address, job.id, options or "", output):match("%d+")
    return pid, output
  end

  local function wait_until(f, seconds)
    for _ = 1, 20 * (seconds or 60) do
      local result = f()
      if result then
        return result
      end
      shell("sleep 0.05")
    end
    error("nothing happened for too long", 2)
  end

  local function wait_for_end(pid, output)
    wait_until(function() return not pcall(shell, "kill -0 %s 2>/dev/null", pid) end)
    return read(output)
  end

  local function wait_for_rows(job, least)
    wait_until(function() return assert(job:refresh()).done >= least end)
  end

  local function wait_for_workers(job, number)
    return wait_until(function()
      local list = assert(job:workers())
      return #list == number and list
    end)
  end

  local function signal(name, pid)
    shell("kill -s %s %s", name, pid)
  end

  -- ---- the checks -----------------------------------------------------------------------

  local function value_of(request)
    return request.target:match("contact_identifier_value=([^&]*)")
      or request.body:match('"contact_identifier_value":"([^"]*)"')
  end

  -- Returns what is wrong with the requests for a card that changed it: an unlink may be sent again only after a find
  -- that came after the one before it could have been performed.
  local function doubt_requests(operation, requests)
    local changes, found = 0, true
    for _, request in ipairs(requests) do
      changes = changes + (request.changed and 1 or 0)
      if operation == "unlink" and request.operation == "unlink" and not found then
        return "sent again without a find"
      end
      found = request.operation == "find"
    end
    return changes ~= 1 and operation ~= "update" and changes .. " requests changed the card" or nil
  end

  local function is_as_requested(operation, card)
    if operation == "create" then
      return card ~= nil
    elseif operation == "unlink" then
      return card and not card.contact
    end
    return card and card.name == "New"
  end

  -- Checks that each row was processed, once, and is reported as it is.
  local function check(job, operation, number)
    local requests, outcomes = {}, { created = true, unlinked = true, updated = true, recovered = true }
    for _, request in ipairs(service:requests()) do
      local value = request.operation and value_of(request)
      if value then
        requests[value] = requests[value] or {}
        table.insert(requests[value], request)
      end
    end
    local wrong, rows = {}, 0
    for row in job:results() do
      rows = rows + 1
      local doubt = not outcomes[row.outcome] and row.outcome .. " " .. tostring(row.kind)
        or not is_as_requested(operation, service:card(row.value)) and "it is not as reported"
        or doubt_requests(operation, requests[row.value] or {})
      wrong[#wrong + 1] = doubt and row.value .. ": " .. doubt or nil
    end
    number = number or ROWS
    assert.same({ {}, number, number, "finished" }, { wrong, rows, assert(job:refresh()).done, job.state })
  end

  -- Checks that one of the workers ended the job, and no other one thinks so.
  local function expect_one_last(outputs)
    local last = 0
    for _, text in ipairs(outputs) do
      assert.matches("^finished\t%-\t", text)
      last = last + (text:find("\tlast", 1, true) and 1 or 0)
    end
    assert.equal(1, last)
  end

  -- ---- the specs ------------------------------------------------------------------------

  for _, operation in ipairs { "create", "unlink", "update" } do
    it("share a job, and each row is processed once: " .. operation, function()
      local job = plan(operation, faults_of(operation))
      local workers = { { start(job, "rate=60") }, { start(job, "rate=60") }, { start(job, "rate=60") } }
      local hosts = wait_for_workers(job, 3)
      for i = 1, 3 do
        assert.truthy(tonumber(hosts[i].pid) and #hosts[i].host > 0 and hosts[i].seen >= hosts[i].started)
      end
      local outputs = {}
      for i, worker in ipairs(workers) do
        outputs[i] = wait_for_end(worker[1], worker[2])
      end
      expect_one_last(outputs)
      check(job, operation)
      assert.same({}, job:workers())
    end)
  end

  for _, operation in ipairs { "create", "unlink" } do
    it("take over the rows of one that is killed: " .. operation, function()
      local job = plan(operation, faults_of(operation))
      local first = start(job, "rate=30")
      local second, output = start(job, "rate=30")
      wait_for_rows(job, 10)
      signal("KILL", first)
      wait_for_rows(job, 40)
      local third, other = start(job, "rate=30")
      expect_one_last { wait_for_end(second, output), wait_for_end(third, other) }
      check(job, operation)
    end)

    it("take over the rows of one that is stopped for longer than its lease, whose results do not count: " .. operation,
    function()
      local job = plan(operation, faults_of(operation))
      local first, output = start(job, "rate=20")
      local second, other = start(job, "rate=20")
      wait_for_rows(job, 10)
      signal("STOP", first)
      shell("sleep %g", LEASE + 1.5)
      signal("CONT", first)
      local outputs = { wait_for_end(first, output), wait_for_end(second, other) }
      expect_one_last(outputs)
      check(job, operation)
      local taken = assert(store.store.journal:row("select count(*) from event where what like 'took over%'", ""))
      assert.is_true(taken > 0)
    end)
  end

  it("go on when their connections are ended again and again", function()
    local job = plan("unlink", faults_of("unlink"))
    local first, output = start(job, "rate=30")
    local second, other = start(job, "rate=30")
    wait_for_workers(job, 2)
    wait_until(function()
      shell("sleep 0.2")
      pcall(server.execute, server, "select pg_terminate_backend(pid) from pg_stat_activity "
        .. "where pid <> pg_backend_pid() and application_name = 'leat'")
      local now = job:refresh()
      return now and now.done >= ROWS - 20
    end)
    expect_one_last { wait_for_end(first, output), wait_for_end(second, other) }
    check(job, "unlink")
  end)

  for _, how in ipairs { "fast", "immediate" } do
    it("go on when the server restarts: " .. how, function()
      local job = plan("unlink", faults_of("unlink"))
      local first, output = start(job, "rate=30")
      local second, other = start(job, "rate=30")
      wait_for_rows(job, 20)
      server:stop(how)
      shell("sleep 1")
      server:run()
      wait_until(function() return job:refresh() end)
      expect_one_last { wait_for_end(first, output), wait_for_end(second, other) }
      check(job, "unlink")
    end)
  end

  it("go on when a connection hangs for longer than a lease, and take over what its worker holds", function()
    local job = plan("unlink", faults_of("unlink"))
    local first, output = start(job, "rate=10")
    local second, other = start(job, "rate=10")
    wait_for_workers(job, 2)
    wait_for_rows(job, 5)
    local text = store.store.journal
    local backend = wait_until(function()
      return (text:row("select pid from pg_stat_activity where application_name = 'leat' and state = 'idle' "
        .. "and pid <> pg_backend_pid()", ""))
    end)
    signal("STOP", backend)
    shell("sleep 12") -- a statement may take 10
    signal("CONT", backend)
    expect_one_last { wait_for_end(first, output), wait_for_end(second, other) }
    check(job, "unlink")
    assert.is_true(text:row("select count(*) from event where what like 'took over%'", "") > 0)
  end)

  -- Each is done to one of the workers, or to the server.
  local accidents = {
    function(job, workers, i)
      signal("KILL", workers[i])
      workers[i] = start(job, "rate=5")
    end,
    function(_, workers, i)
      signal("STOP", workers[i])
      shell("sleep %g", LEASE + 1.5)
      signal("CONT", workers[i])
    end,
    function()
      pcall(server.execute, server, "select pg_terminate_backend(pid) from pg_stat_activity "
        .. "where pid <> pg_backend_pid() and application_name = 'leat'")
    end,
    function(_, workers, i)
      server:stop(i % 2 == 0 and "fast" or "immediate")
      shell("sleep 0.5")
      server:run()
      wait_until(function() return store:jobs() end)
      assert.equal(4, #workers)
    end,
  }

  it("lose nothing in a storm", function()
    local job, workers = plan("unlink", faults_of("unlink", STORM), STORM), {}
    for i = 1, 4 do
      workers[i] = start(job, "rate=5")
    end
    wait_for_workers(job, 4)
    local number = 0
    wait_until(function()
      local now = job:refresh()
      if now and now.done < STORM - 60 then
        number = number + 1
        accidents[(number - 1) % #accidents + 1](job, workers, math.random(4))
        shell("sleep 0.5")
      end
      return now and now.state == "finished"
    end, STORM)
    assert.is_true(number >= #accidents, number)
    check(job, "unlink", STORM)
  end)

  it("are asked to stop; one that begins later is not", function()
    local job = plan("create")
    local first, output = start(job, "rate=20")
    local second, other = start(job, "rate=20")
    wait_for_rows(job, 10)
    wait_for_workers(job, 2)
    assert.is_true(job:stop())
    assert.matches("^stopped\tstopped", wait_for_end(first, output))
    assert.matches("^stopped\tstopped", wait_for_end(second, other))
    assert.equal("stopped", job:refresh().state)
    assert.is_true(job.unprocessed > 0)
    local third, last = start(job)
    expect_one_last { wait_for_end(third, last) }
    check(job, "create")
  end)

  it("pause together when the key is refused, and one of them is the last", function()
    local job = plan("create")
    local first, output = start(job, "rate=20")
    local second, other = start(job, "rate=20")
    wait_for_workers(job, 2)
    service:fault { operation = "create", kind = "unauthorized" }
    local outputs = wait_for_end(first, output) .. wait_for_end(second, other)
    assert.equal(2, select(2, outputs:gsub("paused\tunauthorized", "")))
    assert.equal(1, select(2, outputs:gsub("not last", "")))
    assert.same({ "paused", "unauthorized" }, { job:refresh().state, job.reason })
  end)

  it("pause together when too many rows have failed, of all of them", function()
    local job = plan("find")
    for i = 1, ROWS do
      assert(client.contact_identifiers:delete(("card-%05d"):format(i)))
    end
    local first, output = start(job, "rate=30 max_failures=40")
    local second, other = start(job, "rate=30 max_failures=40")
    local outputs = wait_for_end(first, output) .. wait_for_end(second, other)
    assert.equal(2, select(2, outputs:gsub("paused\tmax_failures", "")))
    assert.is_true(job:refresh().failed >= 40 and job.failed <= 60, job.failed)
  end)

  it("are not found any more, and the job is interrupted, once their leases have ended", function()
    local job = plan("create")
    local first = start(job, "rate=20")
    wait_for_rows(job, 5)
    assert.equal("running", job:refresh().state)
    signal("KILL", first)
    wait_until(function() return job:refresh().state == "interrupted" end)
    assert.same({}, job:workers())
  end)
end)
