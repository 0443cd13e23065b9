-- leat.postgres.core for programs that must not wait: connecting, and statements, in steps.
local core = require("leat.core")
local postgres = require("leat.postgres.core")
local raises = dofile("spec/support/raises.lua")("spec/postgres/waiting_postgres.lua")
local servers = dofile("spec/postgres/server.lua")

local shell = servers.shell

describe("leat.postgres.core, without waiting,", function()
  local server
  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  local function conninfo(more)
    return ("host=%s port=%d dbname=postgres user=leat password=%s %s"):format(server.folder, server.port,
      server.password, more or "")
  end
  local function over_tls()
    return ("host=127.0.0.1 port=%d dbname=postgres user=leat password=%s sslmode=require"):format(server.port,
      server.password)
  end

  -- Receives until there is something, as an event loop does; returns the result, the number of waits and the longest
  -- time that `receive` took, in milliseconds.
  local function receive(connection)
    local poller, longest, waits = core.poller(), 0, 0
    local give_up = core.now() + 5000
    while true do
      local begun = core.now()
      local result, why, code = connection:receive()
      longest = math.max(longest, core.now() - begun)
      if result ~= false then
        poller:close()
        return result, why or waits, code or longest
      end
      assert(core.now() < give_up, "nothing came")
      local fd, events = connection:watched()
      poller:watch(fd, events)
      poller:wait(0.1)
      waits = waits + 1
    end
  end

  local function connect(target)
    local connection = assert(postgres.begin(target or conninfo()))
    assert.is_true(connection:is_broken()) -- it is of no use yet
    assert.is_true((receive(connection)))
    assert.is_false(connection:is_broken())
    return connection
  end

  it("connects and executes statements, in steps", function()
    for _, target in ipairs { conninfo(), over_tls() } do
      local db = connect(target)
      assert.is_true(db:receive()) -- there is nothing to do
      for i = 1, 3 do
        assert.is_true(db:send("select $1, $2, pg_sleep(0.1)::text", "it", i, "Zoë"))
        assert.is_false((db:receive()))
        local rows, waits, longest = receive(db)
        assert.same({ true, i, "Zoë", "" }, { rows:fetch() })
        assert.is_false(rows:fetch())
        assert.truthy(waits >= 1 and waits < 20, waits)
        assert.truthy(longest < 80, longest)
      end
      assert.is_true(db:send("create temporary table t (a bigint)"))
      assert.is_false(receive(db):fetch())
      db:close()
      raises("connection is closed", function() db:receive() end)
      raises("connection is closed", function() db:send("select 1") end)
      assert.is_nil(db:watched())
    end
  end)

  it("sends more than the socket holds", function()
    local db = connect()
    local text = ("x"):rep(20000000)
    assert.is_true(db:send("select length($1), $1", "t", text))
    local _, events = db:watched()
    assert.equal("rw", events)
    local rows = receive(db)
    assert.same({ true, #text, text }, { rows:fetch() })
    assert.equal("r", select(2, db:watched()))
    db:close()
  end)

  it("reports failures with their codes", function()
    local _, why, code = postgres.begin("postgres://@@")
    assert.equal(postgres.codes.CONNINFO, code)
    assert.truthy(why:find("^connect: the connection string"))
    assert.truthy(postgres.fault("postgres://@@"):find("^the connection string"))
    assert.is_nil(postgres.fault(conninfo()))
    local db = connect()
    assert.is_true(db:send("selec"))
    assert.equal("42601", select(3, receive(db)))
    assert.is_true(db:send("select 1"))
    assert.same({ true, 1 }, { receive(db):fetch() })
    db:close()
    db = assert(postgres.begin(conninfo("password=wrong")))
    assert.equal("28P01", select(3, receive(db)))
    assert.equal(postgres.codes.CONNECTION, select(3, db:receive()))
    db = postgres.begin("host=127.0.0.1 port=1 user=leat")
    if db then
      assert.equal(postgres.codes.CONNECTION, select(3, receive(db)))
    end
  end)

  it("allows one statement at a time", function()
    for _, method in ipairs { "send", "execute", "query" } do
      local db = connect()
      assert.is_true(db:send("select 1"))
      local fine, _, code = db[method](db, "select 2")
      assert.is_nil(fine)
      assert.equal(postgres.codes.CONNECTION, code)
      assert.is_true(db:is_broken())
      db:close()
    end
    local db = assert(postgres.begin(conninfo()))
    assert.equal(postgres.codes.CONNECTION, select(3, db:execute("select 1")))
    assert.equal(postgres.codes.CONNECTION, select(3, db:send("select 1")))
    db:close()
  end)

  it("never waits for a server that is frozen, or that is gone", function()
    local process = server:process()
    shell("kill -STOP %d", process)
    local begun = core.now()
    local db = postgres.begin(conninfo())
    local results = {}
    for i = 1, 10 do
      results[i] = db and db:receive()
    end
    local took = core.now() - begun
    shell("kill -CONT %d", process)
    assert(db):close()
    assert.same({ false, false, false, false, false, false, false, false, false, false }, results)
    assert.truthy(took < 5000, took)
    db = connect()
    assert.is_true(db:send("select pg_backend_pid()"))
    local rows = receive(db)
    local _, backend = rows:fetch()
    shell("kill -TERM %d", backend)
    shell("sleep 0.2")
    local fine, _, code = db:send("select 1")
    if fine then
      fine, _, code = receive(db)
    end
    assert.is_nil(fine)
    assert.truthy(code == postgres.codes.CONNECTION or code == "57P01", code)
    assert.is_true(db:is_broken())
  end)

  it("leaves nothing behind, in whatever state it is garbage", function()
    for _ = 1, 30 do
      local db = assert(postgres.begin(conninfo("application_name=left")))
      if math.random(2) == 1 then
        receive(db)
        db:send("select pg_sleep(0.01)")
        db:receive()
      end
    end
    collectgarbage()
    collectgarbage()
    local db = connect()
    local left
    for _ = 1, 100 do
      db:send("select count(*) from pg_stat_activity where application_name = 'left'")
      left = select(2, receive(db):fetch())
      if left == 0 then break end
      shell("sleep 0.02")
    end
    assert.equal(0, left)
  end)
end)
