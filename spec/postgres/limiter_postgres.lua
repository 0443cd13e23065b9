-- leat.postgres.limiter: one rate for several processes, with a real server that is restarted, frozen, or refuses it.
-- LEAT_LIMITER_SECONDS: how long the rate is measured with four processes; by default 8.
local core = require("leat.core")
local interpreter = dofile("spec/support/interpreter.lua")
local leat = require("leat")
local postgres = require("leat.postgres")
local database = require("leat.postgres.core")
local raises = dofile("spec/support/raises.lua")("spec/postgres/limiter_postgres.lua")
local sandbox = require("leat.sandbox")
local script = dofile("spec/support/script.lua")
local servers = dofile("spec/postgres/server.lua")
local socket = require("socket")
local tasks = require("leat.tasks")

local SECONDS = tonumber(os.getenv("LEAT_LIMITER_SECONDS") or 8)
local TROUBLE = ('LD_PRELOAD="$LD_PRELOAD %s/trouble.so"'):format(os.getenv("LEAT_TOOLS"))
local shell = servers.shell

describe("leat.postgres.limiter", function()
  local server, service, limiter, db
  local frozen = {} -- processes of the server that are stopped

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  -- Returns a string for the option db.
  local function conninfo(more)
    return ("host=%s port=%d dbname=postgres user=leat password=%s %s"):format(server.folder, server.port,
      server.password, more or "")
  end

  local function execute(sql, ...)
    local connection = assert(database.connect(conninfo()))
    assert(connection:execute(sql, ...))
    connection:close()
  end

  -- Returns the columns of the first row.
  local function row(sql)
    local connection = assert(database.connect(conninfo()))
    local rows = assert(connection:query(sql))
    local columns = { rows:fetch() }
    connection:close()
    return (table.unpack or unpack)(columns, 2) -- luacheck: ignore
  end

  before_each(function()
    service = assert(sandbox.start { cards = { { value = "1" } } })
    execute("drop table if exists slot")
    db = conninfo()
    limiter = postgres.limiter { db = db }
  end)
  local function freeze(...)
    for _, process in ipairs { ... } do
      shell("kill -STOP %d", process)
      table.insert(frozen, process)
    end
  end
  local function thaw()
    while frozen[1] do
      shell("kill -CONT %d", table.remove(frozen))
    end
  end

  after_each(function()
    thaw()
    tasks.cancel()
    limiter:close()
    service:stop()
  end)

  local function connect(options)
    options = options or {}
    options.api_key, options.base_url = service.api_key, service.url
    options.rate, options.limiter = options.rate or 20, options.limiter or limiter
    return leat.new(options)
  end
  local function find(client)
    return client.contact_identifiers:find("1")
  end

  -- Returns the error of a call that must fail without sending anything, and the seconds that it took.
  local function failure(client)
    local begun = core.now()
    local card, err = find(client)
    assert.is_nil(card)
    assert.equal("no", err.sent)
    assert.equal(0, err.attempts)
    return err, (core.now() - begun) / 1000
  end

  -- Returns the most requests that arrived in any second, and how many arrived at all.
  local function busiest_second()
    local times, most = {}, 0
    for i, request in ipairs(service:requests()) do
      times[i] = request.time
    end
    table.sort(times)
    local first = 1
    for i, time in ipairs(times) do
      while times[first] <= time - 1 do
        first = first + 1
      end
      most = math.max(most, i - first + 1)
    end
    return most, #times
  end

  it("keeps a row for each account, which does not reveal the key", function()
    local client = connect { rate = 20 }
    local begun = core.now()
    for _ = 1, 5 do
      assert(find(client))
    end
    assert.truthy(core.now() - begun > 190)
    local account, rate, pause, ahead = row([[select account, rate, pause,
      (next_us - extract(epoch from clock_timestamp()) * 1000000)::bigint from slot]])
    assert.equal(64, #account)
    assert.equal(1200, rate)
    assert.equal("", pause)
    assert.truthy(ahead > -3000000 and ahead < 100000, ahead)
    connect { account = "other", rate = 1 / 60 }
    assert.equal(1, (row("select count(*) from slot")))
    assert(find(connect { account = "other", rate = 1 / 60 }))
    assert.equal(2, (row("select count(*) from slot")))
    assert.equal(1, (row("select min(rate) from slot")))
  end)

  it("gives out each slot once, also when two create the table at once", function()
    local limiters, found = {}, 0
    for i = 1, 4 do
      limiters[i] = postgres.limiter { db = db }
      local client = connect { limiter = limiters[i], rate = 100 }
      for _ = 1, 10 do
        tasks.spawn(function()
          assert(find(client))
          found = found + 1
        end)
      end
    end
    local begun = core.now()
    tasks.run()
    assert.equal(40, found)
    assert.truthy(core.now() - begun > 380, core.now() - begun)
    for i = 1, 4 do
      limiters[i]:close()
    end
  end)

  it("waits for another process that creates the table", function()
    local other = assert(database.connect(conninfo()))
    assert(other:execute("begin"))
    assert(other:execute([[create table slot (account text primary key, next_us bigint not null,
      paused_until_us bigint not null, pause text not null, rate bigint not null)]]))
    local task = tasks.spawn(find, connect())
    tasks.poll(0.5)
    assert.is_false(task.done)
    assert(other:execute("commit"))
    other:close()
    assert.equal("1", assert(task:wait()).value)
  end)

  it("tries again if another process has created only a part of the table", function()
    execute("create type slot as enum ('a')")
    local client = connect()
    local task = tasks.spawn(find, client)
    tasks.poll(0.3)
    local err = failure(connect { timeout = 0.1 })
    execute("drop type slot")
    assert.equal("timeout", err.kind, err.message)
    assert.truthy(err.message:find('type "slot" already exists', 1, true), err.message)
    assert.equal("1", assert(task:wait()).value)
  end)

  it("forgets a slot or a pause that is impossibly far ahead", function()
    local client = connect { rate = 20 }
    assert(find(client))
    execute("update slot set next_us = next_us + 7200000000, paused_until_us = next_us + 7200000000, pause = 'x'")
    assert(find(client))
    local ahead, paused = row([[select ((next_us - extract(epoch from clock_timestamp()) * 1000000) / 1000000)::bigint,
      ((paused_until_us - extract(epoch from clock_timestamp()) * 1000000) / 1000000)::bigint from slot]])
    assert.truthy(ahead <= 1, ahead)
    assert.truthy(paused > 800 and paused <= 900, paused)
    execute("update slot set next_us = 9223372036854775807, paused_until_us = -9223372036854775807")
    assert(find(client))
    execute("update slot set next_us = -9223372036854775807")
    local other = postgres.limiter { db = db }
    assert(find(connect { limiter = other }))
    other:close()
  end)

  it("works behind pgbouncer", function()
    local port = server:pool()
    local pooled = {}
    for i = 1, 3 do
      pooled[i] = postgres.limiter { db = ("postgres://leat@127.0.0.1:%d/postgres"):format(port) }
    end
    local begun = core.now()
    tasks.each({ 1, 2, 3, 1, 2, 3, 1, 2, 3 }, function(i) return assert(find(connect { limiter = pooled[i] })) end)
    assert.equal(9, #service:requests())
    assert.truthy(core.now() - begun > 7 * 50, core.now() - begun)
    for i = 1, 3 do
      pooled[i]:close()
    end
  end)

  it("shares a pause", function()
    local other = postgres.limiter { db = db }
    local first, second = connect { max_attempts = 1 }, connect { limiter = other, max_attempts = 1 }
    assert(find(second))
    service:fault { operation = "find", status = 429, retry_after = 30, nth = 1 }
    assert.equal("rate_limited", select(2, find(first)).kind)
    local give_up = core.now() + 2000
    repeat -- the server stores the pause soon, without the limiter
    until row("select pause from slot") ~= "" or core.now() > give_up
    local err = failure(second)
    assert.equal("rate_limited", err.kind)
    assert.truthy(err.retry_after > 25 and err.retry_after <= 30, err.retry_after)
    assert.equal("rate_limited 10", (row("select pause from slot")))
    other:close()
  end)

  describe("fails at once", function()
    it("if the password or the database is wrong, and never shows the password", function()
      for text, target in pairs {
        ["password authentication failed"] = conninfo("password=Wr0ngPassword"),
        ['database "none" does not exist'] = conninfo("dbname=none"),
      } do
        local own = postgres.limiter { db = target }
        local client = connect { limiter = own }
        for _ = 1, 2 do
          local err, seconds = failure(client)
          assert.equal("config", err.kind)
          assert.truthy(err.message:find(text, 1, true), err.message)
          assert.is_nil(err.message:find("Wr0ngPassword", 1, true))
          assert.truthy(seconds < 5.5, seconds)
        end
        own:close()
      end
      raises("leat.postgres.limiter: the connection string is not valid", function()
        postgres.limiter { db = "postgres://[Wr0ngPassword" }
      end)
      raises("leat.postgres.limiter: db is missing", function() postgres.limiter {} end)
      raises("option 'database' is unknown", function() postgres.limiter { database = "x" } end)
    end)

    it("without the right to create the table, or if another table has its name", function()
      execute("create role guest login password 'guest'")
      local own = postgres.limiter { db = ("host=%s port=%d dbname=postgres user=guest password=guest"):format(
        server.folder, server.port) }
      local err = failure(connect { limiter = own })
      execute("drop role guest")
      own:close()
      assert.equal("config", err.kind)
      assert.truthy(err.message:find("permission denied for schema public", 1, true), err.message)
      execute("create table slot (account text)")
      err = failure(connect())
      assert.equal("config", err.kind)
      assert.truthy(err.message:find('column "next_us" of relation "slot" does not exist', 1, true), err.message)
      execute("drop table slot")
    end)
  end)

  describe("with a server that is away", function()
    it("lets calls wait, and go on when it is back, however it ended", function()
      local client = connect()
      for _, how in ipairs { "fast", "immediate" } do
        assert(find(client))
        server:stop(how)
        local task = tasks.spawn(find, client)
        tasks.poll(0.5)
        assert.is_false(task.done)
        local count = #service:requests()
        local err, seconds = failure(connect { timeout = 1 })
        assert.equal("timeout", err.kind)
        assert.truthy(err.message:find("no slot of the rate that processes share: connect: ", 1, true), err.message)
        assert.truthy(seconds > 0.9 and seconds < 3, seconds)
        assert.equal(count, #service:requests())
        server:run()
        assert.equal("1", task:wait().value)
      end
      assert(find(client))
    end)

    it("connects again if the server only reads, as a standby does", function()
      assert(find(connect()))
      execute("alter role leat set default_transaction_read_only = on")
      local own = postgres.limiter { db = db }
      local task = tasks.spawn(find, connect { limiter = own })
      tasks.poll(0.3)
      local done = task.done
      local connection = assert(database.connect(conninfo()))
      assert(connection:execute("set default_transaction_read_only = off"))
      assert(connection:execute("alter role leat reset default_transaction_read_only"))
      connection:close()
      assert.is_false(done)
      assert.equal("1", assert(task:wait()).value)
      own:close()
    end)

    it("connects again if the idle connection was lost", function()
      local client = connect()
      assert(find(client))
      execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
        .. "and application_name = 'leat'")
      assert(find(connect { timeout = 2 }))
    end)
  end)

  it("tries the next host if one does not respond", function()
    local silent = assert(socket.bind("127.0.0.1", 0, 0))
    local _, port = silent:getsockname()
    local callers = {}
    for i = 1, 4 do -- its queue is full then, so the system ignores more
      callers[i] = socket.tcp()
      callers[i]:settimeout(0)
      callers[i]:connect("127.0.0.1", port)
    end
    local own = postgres.limiter { db = ("host=127.0.0.1,127.0.0.1 port=%s,%d dbname=postgres user=leat password=%s")
      :format(port, server.port, server.password) }
    assert(find(connect { limiter = own, timeout = 20 }))
    own:close()
    silent:close()
  end)

  describe("with a server that is frozen", function()
    it("lets calls fail at their timeout, and blocks nothing meanwhile", function()
      local client, free = connect { timeout = 1.5 }, leat.new { api_key = service.api_key, base_url = service.url }
      assert(find(client))
      local backend = row("select pid from pg_stat_activity where query like 'insert into slot%'")
      local postmaster = server:process()
      freeze(postmaster, backend)
      local begun, longest, err, seconds = core.now(), 0, nil, nil
      local limited = tasks.spawn(function() err, seconds = failure(client) end)
      while not limited.done do
        local tick = core.now()
        tasks.poll()
        longest = math.max(longest, core.now() - tick)
        if core.now() - begun < 500 then
          tick = core.now()
          assert(find(free))
          longest = math.max(longest, core.now() - tick)
        end
        socket.sleep(0.001)
      end
      thaw()
      assert.equal("timeout", err.kind)
      assert.truthy(err.message:find("the store does not respond", 1, true), err.message)
      assert.truthy(seconds > 1.4 and seconds < 3, seconds)
      assert.truthy(longest < 1000, longest)
      assert(find(client))
    end)
  end)

  it("works in a process that was forked", function()
    local output = script.run(([[
      local leat, forks = require("leat"), require("forks")
      local limiter = require("leat.postgres").limiter { db = %q }
      local client = leat.new { api_key = %q, base_url = %q, rate = 20, limiter = limiter }
      assert(client.contact_identifiers:find("1"))
      local child = forks.fork()
      for _ = 1, 3 do
        io.write(leat.assert(client.contact_identifiers:find("1")).value)
        io.flush()
      end
      if child == 0 then forks.exit(7) end
      print(forks.wait(child) == 7)
    ]]):format(db, service.api_key, service.url))
    assert.equal("111111true\n", output)
    assert.equal(7, #service:requests())
  end)

  it("ends calls in a process that was forked while they waited", function()
    if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
      return -- cannot suspend a transport
    end
    local output = script.run([[
      local leat, forks = require("leat"), require("forks")
      local store = dofile("spec/support/memory_store.lua")()
      store.frozen = true
      local driver = require("leat.transport").new(print, { sleep = coroutine.yield })
      local client = leat.new { api_key = "k", driver = driver, rate = 1,
        limiter = require("leat.limiter").new(store) }
      local thread = coroutine.create(function() return client.contact_identifiers:find("1") end)
      assert(coroutine.resume(thread))
      local child = forks.fork()
      if child == 0 then
        local fine, _, err = coroutine.resume(thread)
        io.write(tostring(fine), " ", coroutine.status(thread), " ", err and err.kind or "", "\n")
        io.flush()
        os.exit(7)
      end
      print(forks.wait(child) == 7, coroutine.status(thread))
    ]])
    assert.equal("true dead canceled\ntrue\tsuspended\n", output)
  end)

  -- Finds cards with four tasks for some time. A lost database is no failure.
  local WORKER = [[
    local leat, tasks, core = require("leat"), require("leat.tasks"), require("leat.core")
    local limiter = require("leat.postgres").limiter { db = %q }
    local client = leat.new { api_key = %q, base_url = %q, rate = %g, limiter = limiter }
    local ends, found, failed = core.now() + %g * 1000, 0, 0
    tasks.each(function() return core.now() < ends or nil end, function()
      local card, err = client.contact_identifiers:find("1")
      if card then found = found + 1 else failed = failed + 1 io.write(tostring(err), "\n") end
      return card
    end, { concurrency = 4 })
    print("found", found, "failed", failed)
  ]]

  it("keeps to the rate in any second, for processes whose clocks differ, and while the server is restarted", function()
    local RATE = 5
    local path = script.write(WORKER:format(db, service.api_key, service.url, RATE, SECONDS))
    local commands = {}
    for i, variable in ipairs { "LEAT_SHIFT=0", "LEAT_SHIFT=3600", "LEAT_SHIFT=-3600", "LEAT_CLOCK=1" } do
      commands[i] = ("%s %s %s %s 2>&1 &"):format(TROUBLE, variable, interpreter, path)
    end
    local pipe = assert(io.popen(table.concat(commands, "\n") .. "\nwait"))
    local begun = core.now()
    socket.sleep(SECONDS / 3)
    server:stop("fast")
    socket.sleep(0.3)
    server:run()
    socket.sleep(SECONDS / 3 - 1)
    server:stop("immediate")
    server:run()
    local output = pipe:read("*a")
    pipe:close()
    os.remove(path)
    local seconds = (core.now() - begun) / 1000
    local most, count = busiest_second()
    local story = ("%d requests in %.1f s, %d in one second\n%s"):format(count, seconds, most, output)
    if os.getenv("LEAT_LIMITER_SECONDS") then print(story) end
    assert.truthy(most <= RATE + 1, story)
    assert.equal(4, select(2, output:gsub("found\t%d+\tfailed\t0\n", "")), story)
    for found in output:gmatch("found\t(%d+)") do
      assert.truthy(tonumber(found) > 0, story)
    end
    assert.truthy(count >= RATE * (SECONDS - 4) * 0.8, story) -- it waits for the server for a while
  end)
end)
