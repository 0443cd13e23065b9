-- Two workers of one job, of which one loses its connection at some point: before a statement is executed, or after it,
-- but before its acknowledgement. Then the database is away from it for longer than its lease. A few points are tried,
-- which differ each time; LEAT_BREAK_STEP=1 tries all.
local core = require("leat.core")
local jobs = require("leat.jobs")
local leat = require("leat")
local sandbox = require("leat.sandbox")
local tasks = require("leat.tasks")
local servers = dofile("spec/postgres/server.lua")

local STEP = tonumber(os.getenv("LEAT_BREAK_STEP")) or 40
local ROWS, LEASE, AWAY = 6, 1, 1500 -- seconds, and milliseconds
local SUCCESSES = { unlinked = true, recovered = true, deleted = true, created = true }

describe("a worker whose connection is lost at any point", function()
  local server, service, client, stores

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  -- Calls `f` with a new service and a new database.
  local function within_world(f, ...)
    server:execute("drop schema if exists test cascade")
    server:execute("create schema test")
    stores = {}
    service = assert(sandbox.start { contacts = { { uuid = "u-1" } } })
    client = leat.new { api_key = service.api_key, base_url = service.url, retry_base = 0.01 }
    local fine, result = pcall(f, ...)
    for _, store in ipairs(stores) do
      store:close()
    end
    client:close()
    service:stop()
    return fine and result or not fine and error(result, 0)
  end

  local function open()
    stores[#stores + 1] = assert(jobs.open(server:address("test")))
    return stores[#stores]
  end

  -- Plans a job some of whose requests are lost, late or refused.
  local function plan(operation)
    local rows = {}
    for i = 1, ROWS do
      rows[i] = { value = "card-" .. i }
      if operation ~= "create" then
        assert(client.contact_identifiers:create("card-" .. i, { contact_uuid = "u-1" }))
      end
    end
    service:fault { operation = operation, value = "card-2", apply = true, close = "before" }
    service:fault { operation = operation, value = "card-4", apply_after = 0.1, close = "before" }
    service:fault { operation = operation, value = "card-5", status = 503 }
    return assert(open():plan { client = client, operation = operation, rows = rows })
  end

  local function start(store, job)
    return assert(store:job(job.id):start(client, { concurrency = 2, settle = 0.4, probe = 0.05, lease = LEASE,
      max_failures = 0 }))
  end

  -- Makes the store lose its connection at a statement. Returns a function that returns whether that happened.
  local function lose(store, point, is_executed)
    local journal = store.store.journal
    local real, count, back_at = journal.postgres, 0, 0
    local function wrap(connection, name)
      return function(_, ...)
        count = count + 1
        if count ~= point then
          return connection[name](connection, ...)
        elseif is_executed then
          connection[name](connection, ...)
        end
        connection:close()
        back_at = core.now() + AWAY
        return nil, "lost", real.codes.CONNECTION
      end
    end
    journal.connection:close()
    journal.postgres = { codes = real.codes, connect = function(...)
      if core.now() < back_at then
        return nil, "away", real.codes.CONNECTION
      end
      local connection = assert(real.connect(...))
      return { execute = wrap(connection, "execute"), query = wrap(connection, "query"),
        is_broken = function() return connection:is_broken() end, close = function() connection:close() end }
    end }
    return function() return count >= point end
  end

  local function finish(first, second)
    local begun = core.now()
    while not (first.summary and second.summary) do
      core.wait(0.01, {})
      first:check_leases()
      second:check_leases()
      tasks.poll()
      first:step()
      second:step()
      assert.is_true(core.now() - begun < 60000, "nothing happens")
    end
  end

  -- Checks that each card was changed once, and that each row is reported as done.
  local function check(job, operation)
    local changes, most = 0, {}
    for _, request in ipairs(service:requests(operation)) do
      local value = request.target:match("contact_identifier_value=([^&]*)")
        or request.body:match('"contact_identifier_value":"([^"]*)"')
      if request.changed and value:find("^card") then
        changes, most[value] = changes + 1, (most[value] or 0) + 1
        assert.equal(1, most[value], value)
      end
    end
    for row in job:results() do
      assert.is_true(SUCCESSES[row.outcome], ("%s: %s %s"):format(row.value, row.outcome, tostring(row.kind)))
    end
    assert.same({ ROWS, "finished", ROWS }, { changes, job:refresh().state, job.done })
  end

  -- Returns whether the run had so many statements.
  local function lose_at(point, operation)
    local job = plan(operation)
    local first, second = open(), open()
    local runs = { start(first, job), start(second, job) }
    local is_lost = lose(first, point, math.random(2) == 1)
    finish(runs[1], runs[2])
    check(job, operation)
    return is_lost()
  end

  for _, operation in ipairs { "unlink", "delete", "create" } do
    it("loses no row, and changes no card twice: " .. operation, function()
      local point = math.random(STEP)
      while within_world(lose_at, point, operation) do
        point = point + STEP
      end
    end)
  end
end)
