-- A job in PostgreSQL on which four processes work while everything fails: processes are killed, or stopped for longer
-- than their leases; the server ends connections, and restarts; a proxy cuts connections, above all around a commit;
-- and the service loses responses, performs requests late and refuses some. No row is lost, none is sent again where
-- that does harm, and each is reported as it is.
--
-- LEAT_STORM=20000 tries all operations: unlink and delete, which must not be repeated, with so many rows, and the
-- others with a quarter. By default it is one, with a few.
local socket = require("socket")
local servers = dofile("spec/postgres/server.lua")
local teams = dofile("spec/postgres/team.lua")
local read = dofile("spec/support/read.lua")

local shell, signal = teams.shell, teams.signal

local STORM = tonumber(os.getenv("LEAT_STORM"))
local RATE = STORM and 120 or 16 -- requests a second of each process
local WORKERS = 4
local FROZEN = teams.LEASE + 3 -- seconds, after which others have taken the rows over, settled and sent them again
local POISONED = math.max(2, (STORM or 0) / 500) -- rows that may be unlucky enough to be given up

local function rows_for(operation)
  local is_repeatable = operation ~= "unlink" and operation ~= "delete"
  return STORM and math.ceil(is_repeatable and STORM / 4 or STORM) or 160
end

math.randomseed(os.time())

describe("a job in a storm", function()
  local server, team, proxy, counts

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)
  after_each(function()
    if proxy then
      signal("KILL", proxy.pid)
    end
    team:close()
    proxy = nil
  end)

  -- ---- the proxy ------------------------------------------------------------------------

  -- Starts a proxy that cuts connections to the server. It has the address by which it is used.
  local function start_proxy()
    local path = team.folder .. "/proxy"
    local pid = shell("{ %s spec/postgres/proxy_program.lua 127.0.0.1 127.0.0.1 %d %s 10 25 >%s.output 2>&1 & "
      .. "echo $!; }", teams.interpreter, server.port, path, path):match("%d+")
    local port = teams.wait_until(function()
      return io.open(path) and read(path):match("^(%d+)\n")
    end)
    return { pid = pid, path = path, address = server:address("test", "127.0.0.1", port) .. "&sslmode=disable" }
  end

  -- ---- the processes --------------------------------------------------------------------

  -- Two processes use the server's socket, and two the proxy.
  local function start(i)
    return team:start("rate=" .. RATE, { address = i % 2 == 0 and proxy.address or nil })
  end

  -- What a process may print that ended by itself while the job went on: it could not reach the server.
  local function expect_reason(worker)
    local output = teams.output(worker)
    assert.truthy(output:find("^finished\t") or output:find("^failed journal: ") or worker.is_killed, output)
  end

  -- Starts the processes again that have ended, like a supervisor.
  local function supervise(workers)
    for i = 1, WORKERS do
      if not teams.is_alive(workers[i]) then
        expect_reason(workers[i])
        workers[i] = start(i)
      end
    end
  end

  local function pick(workers)
    local worker
    repeat
      worker = workers[math.random(WORKERS)]
    until not worker.continues_at
    return worker
  end

  -- ---- the accidents --------------------------------------------------------------------

  local function kill(workers)
    local worker = pick(workers)
    signal("KILL", worker.pid)
    worker.is_killed = true
  end

  local function freeze(workers)
    local worker = pick(workers)
    signal("STOP", worker.pid)
    worker.continues_at = socket.gettime() + FROZEN
  end

  local function continue(workers, time)
    for i = 1, WORKERS do
      local worker = workers[i]
      if worker.continues_at and worker.continues_at <= time then
        worker.continues_at = nil
        signal("CONT", worker.pid)
      end
    end
  end

  -- Ends the connections of all, or of about one.
  local function end_connections()
    pcall(server.execute, server, ("select pg_terminate_backend(pid) from pg_stat_activity "
      .. "where pid <> pg_backend_pid() and application_name = 'leat' and random() < %g"):format(
      math.random(2) == 1 and 1 or 1 / WORKERS))
  end

  local function restart(how)
    return function()
      server:stop(how)
      socket.sleep(math.random() / 2)
      server:run()
    end
  end

  -- The seconds before each happens for the first time, and on average between two times.
  local accidents = {
    { name = "kill", first = 1.5, every = 3, act = kill },
    { name = "freeze", first = 2, every = 8, act = freeze },
    { name = "end connections", first = 1, every = 2, act = end_connections },
    { name = "fast restart", first = 4, every = 25, act = restart("fast") },
    { name = "immediate restart", first = 8, every = 25, act = restart("immediate") },
  }

  local function plan_next(accident, time)
    accident.at = time + accident.every * (0.5 + math.random())
  end

  local function happen(workers)
    for _, accident in ipairs(accidents) do
      local time = socket.gettime()
      continue(workers, time)
      if time >= accident.at then
        accident.act(workers)
        counts[accident.name] = counts[accident.name] + 1
        plan_next(accident, socket.gettime())
      end
    end
  end

  -- Lets accidents happen until the job is finished.
  local function rage(workers)
    local begun, looked_at = socket.gettime(), 0
    local give_up = begun + 120 + #team.rows / 5
    for _, accident in ipairs(accidents) do
      accident.at, counts[accident.name] = begun + accident.first, 0
    end
    repeat
      assert(socket.gettime() < give_up, "the job does not end")
      happen(workers)
      supervise(workers)
      socket.sleep(0.05)
      if socket.gettime() - looked_at > 0.5 then
        looked_at = socket.gettime()
        team.job:refresh()
      end
    until team.job.state == "finished"
    counts.seconds = math.floor(socket.gettime() - begun)
  end

  local function calm(workers)
    continue(workers, math.huge)
    team:wait((table.unpack or unpack)(workers)) -- luacheck: ignore
    for _, worker in ipairs(workers) do
      expect_reason(worker)
    end
  end

  -- ---- the checks -----------------------------------------------------------------------

  -- Checks that all accidents have happened, and did harm.
  local function expect_accidents()
    for word in read(proxy.path):gmatch("%a+") do
      local name = "cut " .. word
      counts[name] = (counts[name] or 0) + 1
    end
    counts["taken over"] = team:count_takeovers()
    local story = {}
    for name, count in pairs(counts) do
      story[#story + 1] = ("%s %d"):format(name, count)
    end
    table.sort(story)
    story = ("%s, %d rows: %s"):format(team.operation, #team.rows, table.concat(story, ", "))
    for _, name in ipairs { "kill", "freeze", "end connections", "fast restart", "immediate restart", "taken over",
      "cut any", "cut before", "cut after" } do
      assert.is_true((counts[name] or 0) > 0, "no " .. name .. ": " .. story)
    end
    if STORM then
      print(story)
    end
  end

  for _, operation in ipairs(STORM and teams.operations or { "unlink" }) do
    it("loses no row, repeats none that must not be, and reports each as it is: " .. operation, function()
      counts, team = {}, teams.new(server, operation, rows_for(operation))
      proxy = start_proxy()
      local workers = {}
      for i = 1, WORKERS do
        workers[i] = start(i)
      end
      rage(workers)
      calm(workers)
      counts.poisoned = team:retry_poisoned(POISONED)
      assert.is_nil(team:find_fault())
      expect_accidents()
    end)
  end
end)
