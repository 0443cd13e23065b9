-- Several processes that work on one job, in PostgreSQL: how they share it, how they stop and pause, and what one does
-- whose connection hangs. What happened is known from the record of the service and from its cards. See also
-- storm_postgres.lua and networks_postgres.lua.
local servers = dofile("spec/postgres/server.lua")
local teams = dofile("spec/postgres/team.lua")

local signal, wait_until = teams.signal, teams.wait_until

local ROWS = 80

describe("workers", function()
  local server, team

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)
  after_each(function() team:close() end)

  local function begin(operation, rows)
    team = teams.new(server, operation, rows or ROWS)
  end

  -- Checks that one of the processes ended the job, and no other one thinks so; and what all of them did.
  local function expect_end(...)
    assert.equal(1, teams.count_last(team:wait(...)))
    assert.is_nil(team:find_fault())
  end

  -- Checks that each of the processes ended for a reason.
  local function expect_reason(text, ...)
    local outputs = team:wait(...)
    for _, output in ipairs(outputs) do
      assert.truthy(output:find(text), output)
    end
    return outputs
  end

  for _, operation in ipairs { "ensure", "update", "delete" } do
    it("share a job, and each row is processed once: " .. operation, function()
      begin(operation)
      local options = "rate=30"
      local first, second, third = team:start(options), team:start(options), team:start(options)
      for _, host in ipairs(team:wait_for_workers(3)) do
        assert.truthy(tonumber(host.pid) and #host.host > 0 and host.seen >= host.started)
      end
      expect_end(first, second, third)
      assert.same({}, team.job:workers())
    end)
  end

  it("take over what one holds whose connection hangs for longer than its lease", function()
    begin("unlink")
    local options = "lease=2 rate=10"
    local first, second = team:start(options), team:start(options)
    team:wait_for_workers(2)
    team:wait_for_rows(5)
    local journal = team.store.store.journal
    local backend = wait_until(function()
      return (journal:row("select pid from pg_stat_activity where application_name = 'leat' and state = 'idle' "
        .. "and pid <> pg_backend_pid()", ""))
    end)
    signal("STOP", backend)
    local fine, why = pcall(wait_until, function() return team:count_takeovers() > 0 end)
    signal("CONT", backend)
    assert(fine, why)
    expect_end(first, second)
  end)

  it("are asked to stop; one that begins later is not", function()
    begin("create")
    local first, second = team:start("rate=20"), team:start("rate=20")
    team:wait_for_workers(2)
    assert.is_true(team.job:stop())
    expect_reason("^stopped\tstopped", first, second)
    assert.equal("stopped", team.job.state)
    assert.is_true(team.job.unprocessed > 0)
    expect_end(team:start())
  end)

  it("pause together when the key is refused, and one of them is the last", function()
    begin("create")
    local first, second = team:start("rate=20"), team:start("rate=20")
    team:wait_for_workers(2)
    team.service:fault { operation = "create", kind = "unauthorized" }
    local outputs = expect_reason("^paused\tunauthorized", first, second)
    assert.equal(1, select(2, table.concat(outputs):gsub("not last", "")))
    assert.same({ "paused", "unauthorized" }, { team.job.state, team.job.reason })
  end)

  it("pause together when too many rows have failed, of all of them", function()
    begin("find")
    team.service:clear_faults()
    team.service:fault { operation = "find", kind = "not_found", times = math.huge }
    expect_reason("^paused\tmax_failures", team:start("rate=30 max_failures=40"), team:start("rate=30 max_failures=40"))
    assert.is_true(team.job.failed >= 40 and team.job.failed <= 60, team.job.failed)
  end)

  it("are not found any more, and the job is interrupted, once their leases have ended", function()
    begin("create")
    local worker = team:start("lease=1 rate=20")
    team:wait_for_rows(5)
    assert.equal("running", team.job.state)
    signal("KILL", worker.pid)
    wait_until(function() return team.job:refresh().state == "interrupted" end)
    assert.same({}, team.job:workers())
  end)
end)
