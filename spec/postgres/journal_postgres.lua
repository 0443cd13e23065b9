-- What is special about a journal in PostgreSQL: texts that the server refuses, passwords, connections that are lost,
-- and errors that pass.
local jobs = require("leat.jobs")
local journal = require("leat.jobs.journal")
local read = dofile("spec/support/read.lua")
local script = dofile("spec/support/script.lua")
local servers = dofile("spec/postgres/server.lua")

local shell = servers.shell

describe("a journal in PostgreSQL", function()
  local server, address, store

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  before_each(function()
    server:execute("drop schema if exists test cascade")
    server:execute("create schema test")
    address = server:address("test")
    store = assert(jobs.open(address))
  end)
  after_each(function() store:close() end)

  local function plan(rows)
    return assert(store:plan { account = "", operation = "create", rows = rows })
  end

  local function read_csv(text)
    return assert(jobs.csv(function()
      local part = text
      text = nil
      return part
    end, "create"))
  end

  -- Ends the connections of all others.
  local function end_connections()
    server:execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
      .. "and backend_type = 'client backend'")
  end

  describe("keeps", function()
    it("texts that the server refuses, and those that look like what it keeps instead", function()
      local values = { "a\0b", "\255", "\1", "\1ff", "Zoë", "\195", "\237\160\128", "\0" }
      local rows = {}
      for i, value in ipairs(values) do
        rows[i] = { value = value, name = "A name" }
      end
      local kept = {}
      for row in plan(rows):results() do
        kept[row.n] = row.value
        assert.equal("A name", row.arguments.name)
      end
      assert.same(values, kept)
    end)

    it("the bytes of each row of a file", function()
      local rows = { "\1ff\n", "\1\n", "\0\255,x\n", "good\r\n", '"a\nb"\n' }
      local job = assert(store:plan { account = "", operation = "create",
        csv = read_csv("value\n" .. table.concat(rows)) })
      local kept = {}
      for row in job:results() do
        kept[row.n] = row.bytes
      end
      assert.same(rows, kept)
    end)

    it("many rows in a few statements", function()
      local count = 0
      local real = store.store.journal.postgres
      store.store.journal.postgres = { codes = real.codes, connect = function(...)
        local connection = assert(real.connect(...))
        local function counting(name)
          return function(_, ...)
            count = count + 1
            return connection[name](connection, ...)
          end
        end
        return { execute = counting("execute"), query = counting("query"),
          is_broken = function() return connection:is_broken() end, close = function() connection:close() end }
      end }
      local lines, rows = { "value\n" }, {}
      for i = 1, 10000 do
        lines[i + 1], rows[i] = ("card-%d\n"):format(i), { value = "card-" .. i % 5000 }
      end
      assert.equal(10000, assert(store:plan { account = "", csv = read_csv(table.concat(lines)) }).rows)
      assert.is_true(count < 100, count)
      count = 0
      assert.equal(5000, plan(rows).skipped)
      assert.is_true(count < 200, count)
    end)
  end)

  it("takes cards for the same if they differ in the case of ASCII letters only", function()
    local job = plan { { value = "Ä" }, { value = "ä" }, { value = "I" }, { value = "i" }, { value = "ı" } }
    local states = {}
    for row in job:results() do
      states[row.n] = row.state
    end
    assert.same({ "ready", "ready", "ready", "skipped", "ready" }, states)
  end)

  describe("shows no password", function()
    it("in its path", function()
      for given, shown in pairs {
        ["postgres://leat:secret@db.example:5432/jobs"] = "postgres://db.example:5432/jobs",
        ["postgresql://leat:secret@[::1]:5432,b:1/jobs?password=secret"] = "postgresql://[::1]:5432,b:1/jobs",
        ["postgres:///jobs?host=/tmp&password=secret"] = "postgres:///jobs",
        ["postgres://leat:a@secret@h/jobs"] = "postgres://...", ["postgres://leat:1/secret@h/jobs"] = "postgres://...",
        ["postgres://leat:secret/jobs"] = "postgres://...",
      } do
        local real = package.loaded["leat.postgres.core"]
        package.loaded["leat.postgres.core"] = { codes = real.codes, connect = function()
          return nil, "connect: away", real.codes.CONNECTION
        end }
        local _, err = jobs.open(given)
        package.loaded["leat.postgres.core"] = real
        assert.equal(("the journal %s: connect: away"):format(shown), err.message)
      end
      assert.is_nil(store.path:find(server.password, 1, true))
    end)

    it("when it is refused", function()
      local _, err = jobs.open((address:gsub(server.password, "secret")))
      assert.equal("journal", err.kind)
      assert.truthy(err.message:find("password authentication failed", 1, true), err.message)
      assert.is_nil(err.message:find("secret", 1, true))
    end)
  end)

  it("needs a module, and says how to install it", function()
    local output = script.run(([[
      local searchers = package.searchers or package.loaders
      table.insert(searchers, 1, function(name)
        if name == "leat.postgres.core" then error("module 'leat.postgres.core' not found") end
      end)
      print(require("leat.jobs").open(%q))
    ]]):format(address))
    assert.equal("nil\tleat.jobs: leat.postgres is missing, which a journal in PostgreSQL needs: "
      .. "luarocks install leat-postgres\n", output)
  end)

  it("does not touch tables of another program", function()
    for _, sql in ipairs { "create table meta (x int)", "create table item (x int)" } do
      server:execute("drop schema test cascade")
      server:execute("create schema test")
      server:execute(sql, "test")
      local _, err = jobs.open(address)
      assert.truthy(err.message:find("tables of another program", 1, true), err.message)
    end
  end)

  it("may be made by several processes at once", function()
    server:execute("drop schema test cascade")
    server:execute("create schema test")
    local path, command = script.write(([[
      local store, err = require("leat.jobs").open(%q)
      print(store and #store:jobs() or err)
    ]]):format(address))
    local list = {}
    for i = 1, 4 do
      list[i] = servers.preload .. command .. " &"
    end
    assert.equal("0\n0\n0\n0\n", shell("%s wait", table.concat(list, " ")))
    os.remove(path)
  end)

  it("gets a job once if two processes plan it at the same time", function()
    local path, command = script.write(([[
      local store = assert(require("leat.jobs").open(%q))
      print(assert(store:plan { account = "", operation = "create", rows = { { value = "a" } } }).id)
    ]]):format(address))
    local inner, output = store.store, path .. ".output"
    function inner.find_equal(...) -- the other one plans it between this and the commit
      local found = getmetatable(inner).__index.find_equal(...)
      shell("{ %s%s >%s 2>&1 & }; sleep 1", servers.preload, command, output)
      return found
    end
    local id = plan({ { value = "a" } }).id
    shell("until [ -s %s ]; do sleep 0.05; done", output)
    assert.same({ id .. "\n", 1 }, { read(output), #store:jobs() })
    os.remove(path)
    os.remove(output)
  end)

  describe("whose connection is lost", function()
    it("connects again, for queries and transactions", function()
      local job = plan { { value = "a" } }
      end_connections()
      assert.equal("planned", job:refresh().state)
      end_connections()
      assert.equal(1, plan({ { value = "b" } }).rows)
    end)

    it("within a transaction keeps nothing of it", function()
      local text = store.store.journal
      local none, err = journal.try(text.transaction, text, function()
        text:execute("insert into event (job, at, what) values (1, 1, 'x')", "")
        end_connections()
        text:execute("insert into event (job, at, what) values (1, 2, 'x')", "")
      end)
      assert.same({ nil, false }, { none, text:is_lasting(err) })
      assert.equal(0, (text:row("select count(*) from event", "")))
    end)

    it("waits before it connects again if that fails", function()
      local text, count = store.store.journal, 0
      local real = text.postgres
      text.connection:close()
      text.postgres = { codes = real.codes, connect = function()
        count = count + 1
        return nil, "connect: away", real.codes.CONNECTION
      end }
      for _ = 1, 5 do
        local _, err = journal.try(text.row, text, "select 1", "")
        assert.same({ "journal", false }, { err.kind, text:is_lasting(err) })
      end
      assert.equal(1, count)
      text.postgres = real
      shell("sleep 0.7")
      assert.equal(1, (text:row("select 1", "")))
    end)
  end)

  it("works behind a pooler that gives each transaction another session", function()
    server:execute("drop schema public cascade")
    server:execute("create schema public")
    local path = ("postgres://leat@127.0.0.1:%d/postgres"):format(server:pool())
    local pooled
    for _ = 1, 100 do
      pooled = jobs.open(path)
      if pooled then break end
      shell("sleep 0.05") -- until the pooler listens
    end
    local other = assert(jobs.open(path))
    local rows = { { value = "a" }, { value = "A" }, { value = "b" }, { value = "c", name = "C" }, { value = "c" } }
    for _, one in ipairs { pooled, other, pooled } do
      local job = assert(one:plan { account = "", operation = "create", rows = rows, again = true })
      assert.same({ 1, 2 }, { job.skipped, job.rejected })
      one.store:begin(job.id, { settle_ms = 1, lease_ms = 60000, reads = false }, 1)
    end
    assert.equal(1, #assert(other:job(2)):workers())
    pooled:close()
    other:close()
  end)

  it("finds rows by indexes, so that a turn takes as long as it does with few rows", function()
    local job = plan { { value = "a" } }
    local text = store.store.journal
    text:execute("insert into item (job, n, card, state) select $1, i, 'x' || i, 'done' "
      .. "from generate_series(2, 20000) as s (i)", "i", job.id)
    text:execute("analyze item", "")
    local function plan_of(sql)
      local lines = {}
      for line in text:rows("explain (costs off) " .. sql, "") do
        lines[#lines + 1] = line
      end
      return table.concat(lines, "\n")
    end
    for sql, index in pairs {
      ["select n from item where job = 1 and n > 0 and state = 'ready' order by n limit 16"] = "item_ready",
      ["select max(at) from item where job = 1 and verified is null and (state = 'unknown' or state = 'done' "
        .. "and (maybe_applied = 1 or outcome = 'recovered'))"] = "item_doubtful",
      ["select n from item where job = 1 and state = 'claimed' and due is not null and due <= 5"] = "item_waiting",
    } do
      assert.truthy(plan_of(sql):find(index, 1, true), plan_of(sql))
    end
  end)

  it("commits to the disk, even if the server is set not to", function()
    server:execute("alter role leat set synchronous_commit = off")
    local other = assert(jobs.open(address))
    local text = other.store.journal
    local function setting()
      return (text:row("select current_setting('synchronous_commit')", ""))
    end
    local outside, inside = setting(), text:transaction(setting)
    other:close()
    server:execute("alter role leat reset synchronous_commit")
    assert.same({ "off", "on" }, { outside, inside })
  end)

  it("has the server's time", function()
    local text = store.store.journal
    text:transaction(function()
      local time = text:row("select cast(floor(extract(epoch from clock_timestamp()) * 1000) as bigint)", "")
      assert.is_true(text:past() <= time and text:now() >= time and text:now() - time < 1000)
    end)
  end)

  it("tells errors that pass from those that last", function()
    local text = store.store.journal
    local codes = text.postgres.codes
    for code, lasting in pairs { [codes.TIMEOUT] = false, [codes.CONNECTION] = false, [codes.CONNINFO] = true,
      ["57P01"] = false, ["57P03"] = false, ["40P01"] = false, ["40001"] = false, ["53300"] = false, ["55P03"] = false,
      ["25P03"] = false, ["25006"] = false, ["08006"] = false, ["58030"] = false, ["28P01"] = true, ["42P01"] = true,
      ["42501"] = true, ["3D000"] = true, ["22021"] = true, ["XX001"] = true } do
      assert.equal(lasting, text:is_lasting({ code = code }), code)
    end
    assert.is_true(text:is_lasting({}))
  end)
end)
