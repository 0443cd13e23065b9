-- leat.postgres.core: values are kept as they are, nothing waits longer than its deadline, and what went wrong is
-- reported with a code that says whether to connect again.
local postgres = require("leat.postgres.core")
local clock = dofile("spec/support/clock.lua")
local raises = dofile("spec/support/raises.lua")("spec/postgres/core_postgres.lua")
local script = dofile("spec/support/script.lua")
local servers = dofile("spec/postgres/server.lua")

local shell = servers.shell
local unpack = table.unpack or unpack -- luacheck: ignore
local has_integers = _VERSION >= "Lua 5.3"
local BIG = has_integers and tonumber("9223372036854775807") or "9223372036854775807"

describe("leat.postgres.core", function()
  local server, pool_port, db

  setup(function()
    server = servers.start()
    pool_port = server:pool()
  end)
  teardown(function() server:remove() end)

  -- Returns a string for `connect`.
  local function conninfo(more)
    return ("host=%s port=%d dbname=postgres user=leat password=%s %s"):format(server.folder, server.port,
      server.password, more or "")
  end

  -- Returns a string that connects through TLS.
  local function over_tls()
    return ("host=127.0.0.1 port=%d dbname=postgres user=leat password=%s sslmode=verify-full "
      .. "sslrootcert=%s/data/server.crt"):format(server.port, server.password, server.folder)
  end

  before_each(function() db = assert(postgres.connect(conninfo())) end)
  after_each(function() db:close() end)

  -- Returns the columns of the first row.
  local function row(sql, types, ...)
    local rows = assert(db:query(sql, types, ...))
    local columns = { rows:fetch() }
    assert.is_true(columns[1])
    rows:close()
    return unpack(columns, 2, 10)
  end

  -- Returns the number of the process that serves a connection.
  local function backend(connection)
    local rows = assert((connection or db):query("select pg_backend_pid()"))
    return select(2, rows:fetch())
  end

  local function seconds_of(f)
    local time = clock()
    f()
    return clock() - time
  end

  describe("values", function()
    it("are integers up to 2^53 everywhere, and to 2^63 - 1 where Lua has them", function()
      for _, value in ipairs { 0, 1, -1, 255, 256, -256, 2 ^ 31, -2 ^ 31, 2 ^ 53 - 1, 2 ^ 53, -2 ^ 53 } do
        local back, kind, text = row("select $1, pg_typeof($1)::text, $1::text", "i", value)
        assert.equal(value, back)
        assert.equal("bigint", kind)
        assert.equal(("%.0f"):format(value), text)
      end
      assert.equal(BIG, (row("select 9223372036854775807")))
      assert.equal("-9223372036854775808", tostring((row("select (-9223372036854775808)::bigint"))))
      assert.equal("-9223372036854775808", (row("select $1::text", "i", -2 ^ 63)))
      assert.equal(has_integers and 2 ^ 53 + 2 or "9007199254740994", (row("select 9007199254740994")))
      if has_integers then
        assert.equal(BIG, (row("select $1", "i", BIG)))
      end
    end)

    it("are smaller integers, too", function()
      assert.same({ -2, -3, 32767 }, { row("select -2, (-3)::smallint, 32767::smallint") })
    end)

    it("are booleans as 0 and 1", function()
      assert.same({ 1, 0 }, { row("select $1, $2", "ii", true, false) })
    end)

    it("are text and bytes with all their bytes", function()
      local all = {}
      for byte = 0, 255 do
        all[#all + 1] = string.char(byte)
      end
      for _, value in ipairs { "", "\0", "a\0b\0", "\\x00", "Zoë", table.concat(all), ("x\0"):rep(500000) } do
        assert.same({ value, "bytea", #value }, { row("select $1, pg_typeof($1)::text, length($1)", "b", value) })
      end
      for _, value in ipairs { "", "Zoë", "'; drop", "\\", ("ë"):rep(500000) } do
        assert.same({ value, "text" }, { row("select $1, pg_typeof($1)::text", "t", value) })
      end
    end)

    it("are nil for every type", function()
      for _, types in ipairs { "i", "t", "b" } do
        assert.same({ nil, 1 }, { row("select $1, ($1 is null)::int", types, nil) })
      end
      assert.same({ nil, nil, 5 }, { row("select $1, $2, $3", "iti", nil, nil, 5) })
    end)

    it("are never rounded, converted or cut off", function()
      for _, value in ipairs { 0.5, 2 ^ 63, -2 ^ 63 - 2048, math.huge, 0 / 0 } do
        raises("bad argument #3 to 'query' (number has no integer representation)",
          function() db:query("select $1", "i", value) end)
      end
      raises("bad argument #3 to 'execute' (integer expected, got string)", function()
        db:execute("select $1", "i", "1")
      end)
      raises("bad argument #4 to 'execute' (string expected, got number)", function()
        db:execute("select $1, $2", "it", 1, 1)
      end)
      raises("bad argument #3 to 'query' (string expected, got boolean)", function()
        db:query("select $1", "b", true)
      end)
      raises("bad argument #3 to 'query' (text contains a NUL byte)", function() db:query("select $1", "t", "a\0") end)
      assert.equal(1, (row("select 1")))
    end)

    it("of other types are refused", function()
      raises("column 2 is neither an integer nor text nor bytea: its type is 1700", function()
        db:query("select 1, 1.5")
      end)
      for _, sql in ipairs { "true", "1::real", "now()", "null::json", "array[1]", "'a'::char(2)" } do
        raises("column 1 is neither", function() db:query("select " .. sql) end)
      end
      assert.equal(1, (row("select 1")))
    end)

    it("must be as many as there are types", function()
      raises("the statement has types for 2 parameters, not 1", function() db:query("select $1, $2", "ii", 1) end)
      raises("the statement has types for 2 parameters, not 3", function() db:query("select $1, $2", "ii", 1, 2, 3) end)
      raises("the statement has types for 0 parameters, not 1", function() db:query("select $1", nil, 1) end)
      raises("the types are i, t and b", function() db:query("select $1", "n", 1) end)
      local _, _, code = db:query("select $1, $2", "i", 1)
      assert.equal("08P01", code)
      assert.is_false(db:is_broken())
    end)

    it("are text in UTF-8, whatever the environment says", function()
      local output = script.run(([[
        local db = assert(require("leat.postgres.core").connect(%q))
        local rows = assert(db:query("select $1, octet_length($1)", "t", "Zo\195\171"))
        print(select(2, rows:fetch()))
        print(select(3, db:query("select $1", "t", "\255")))
      ]]):format(conninfo()), "PGCLIENTENCODING=LATIN1")
      assert.equal("Zo\195\171\t4\n22021\n", output)
    end)
  end)

  describe("statements", function()
    before_each(function()
      assert(db:execute("drop table if exists t"))
      assert(db:execute("create table t (a bigint primary key, b text)"))
    end)

    it("return the number of rows that they changed", function()
      for i = 1, 3 do
        assert.equal(1, db:execute("insert into t values ($1, $2)", "it", i, "x"))
      end
      assert.equal(2, db:execute("update t set b = $1 where a > $2", "ti", "y", 1))
      assert.equal(2, db:execute("update t set b = b where b = $1 returning a", "t", "y"))
      assert.equal(0, db:execute("select * from t"))
      assert.equal(0, db:execute("begin"))
      assert.equal(3, db:execute("delete from t"))
      assert.equal(0, db:execute("rollback"))
    end)

    it("may be executed, and the connection closed, between the rows of a query", function()
      local rows = assert(db:query("select * from generate_series(1, 3)"))
      assert.same({ true, 1 }, { rows:fetch() })
      assert.equal(1, db:execute("insert into t values (1, 'x')"))
      assert.same({ true, 2 }, { rows:fetch() })
      db:close()
      assert.same({ true, 3 }, { rows:fetch() })
      assert.same({ false }, { rows:fetch() })
      raises("no query", function() rows:fetch() end)
    end)

    it("are one each, without NUL bytes", function()
      raises("one statement expected", function() db:execute("") end)
      raises("NUL byte", function() db:execute("select 1\0") end)
      raises("string expected", function() db:query(1) end)
      assert.same({ nil, "execute: cannot insert multiple commands into a prepared statement", "42601" },
        { db:execute("select 1; select 2") })
      assert.equal(1, (row("select 1;")))
    end)

    it("return no rows if there are none", function()
      assert.same({ false }, { assert(db:query("select * from t")):fetch() })
      assert.same({ false }, { assert(db:query("begin")):fetch() })
      db:execute("rollback")
    end)

    it("may return more than the socket holds, and send more", function()
      local size = 20000000
      local sum, rows = 0, assert(db:query("select repeat('x', 1000) from generate_series(1, 5000)"))
      for _, text in rows.fetch, rows do
        if not text then break end
        sum = sum + #text
      end
      assert.equal(5000000, sum)
      assert.equal(size, (row("select length($1)", "b", ("y"):rep(size))))
    end)

    it("cannot be COPY, which has no end", function()
      for _, sql in ipairs { "copy t from stdin", "copy t to stdout" } do
        local other = assert(postgres.connect(conninfo(), 2))
        assert.same({ nil, "execute: COPY is not supported", "0A000" }, { other:execute(sql) })
        assert.is_true(other:is_broken())
      end
    end)

    it("print no notices", function()
      local output = script.run(([[
        local db = assert(require("leat.postgres.core").connect(%q))
        assert(db:execute("do $x$ begin raise warning 'look'; end $x$"))
        print(db:execute("drop table if exists none"))
      ]]):format(conninfo()))
      assert.equal("0\n", output)
    end)
  end)

  describe("failures", function()
    before_each(function()
      assert(db:execute("drop table if exists t"))
      assert(db:execute("create table t (a bigint primary key, b text)"))
    end)

    it("have the server's text and SQLSTATE, and never a value", function()
      assert.equal(1, db:execute("insert into t values ($1, $2)", "it", 1, "secret"))
      assert.same({ nil, 'execute: duplicate key value violates unique constraint "t_pkey"', "23505" },
        { db:execute("insert into t values ($1, $2)", "it", 1, "secret") })
      assert.same({ nil, 'query: syntax error at or near "selec"', "42601" }, { db:query("selec") })
      assert.same({ nil, 'query: relation "none" does not exist', "42P01" }, { db:query("select * from none") })
      assert.is_false(db:is_broken())
      assert.equal(1, (row("select 1")))
    end)

    it("in the middle of rows leave none", function()
      assert.same({ nil, "query: division by zero", "22012" },
        { db:query("select 10 / (3 - i) from generate_series(1, 5) as s(i)") })
      assert.equal(1, (row("select 1")))
    end)

    it("within a transaction make its commit fail", function()
      db:execute("begin")
      assert.equal(1, db:execute("insert into t values (1, 'x')"))
      assert.is_nil(db:execute("selec"))
      assert.equal("25P02", select(3, db:execute("select 1")))
      assert.same({ nil, "execute: an earlier statement failed", "25P02" }, { db:execute("commit") })
      assert.equal(0, (row("select count(*) from t")))
      assert.is_false(db:is_broken())
      db:execute("begin")
      assert.equal(1, db:execute("insert into t values (1, 'x')"))
      assert.equal(0, db:execute("commit"))
      assert.equal(1, (row("select count(*) from t")))
    end)
  end)

  describe("connecting", function()
    it("fails with the server's SQLSTATE", function()
      local target = ("host=127.0.0.1 port=%d dbname=postgres sslmode=disable"):format(server.port)
      assert.same({ nil, ('connect: connection to server at "127.0.0.1", port %d failed: FATAL: password '
        .. 'authentication failed for user "leat"'):format(server.port), "28P01" },
        { postgres.connect(target .. " user=leat password=wrong") })
      local _, message, code = postgres.connect(conninfo("dbname=none"))
      assert.matches('FATAL: database "none" does not exist$', message)
      assert.equal("3D000", code)
    end)

    it("fails with CONNECTION where no server is, and tries all hosts", function()
      local _, message, code = postgres.connect("host=/nowhere,127.0.0.1 port=1,1 user=x")
      assert.equal('connect: connection to server on socket "/nowhere/.s.PGSQL.1" failed: No such file or directory; '
        .. 'connection to server at "127.0.0.1", port 1 failed: Connection refused', message)
      assert.equal(postgres.codes.CONNECTION, code)
      local other = assert(postgres.connect(("host=/nowhere,%s port=1,%d user=leat password=%s dbname=postgres")
        :format(server.folder, server.port, server.password)))
      other:close()
    end)

    it("never quotes a password, however wrong the string is", function()
      for _, wrong in ipairs {
        "postgres://leat:Tr0ub4dor@x@127.0.0.1:1/", "postgres://leat:1/Tr0ub4dor@127.0.0.1:1/",
        "postgresql://leat:Tr0ub4dor/x@127.0.0.1:1/", "postgres://leat:a@Tr0ub4dor@127.0.0.1:1/",
        "postgres://leat:%Tr0ub4dor@127.0.0.1:1/", "password=a Tr0ub4dor host=127.0.0.1", "Tr0ub4dor",
        "password='Tr0ub4dor", "password=x Tr0ub4dor=y", "postgres://a:b@[Tr0ub4dor/", "postgres://a@b/?Tr0ub4dor=c",
      } do
        local connection, message, code = postgres.connect(wrong, 1)
        assert.is_nil(connection)
        assert.is_nil(message:find("Tr0ub4dor", 1, true), message)
        assert.equal(postgres.codes.CONNINFO, code, wrong)
      end
      local _, message = postgres.connect("host=127.0.0.1 port=1 user=x password=refused")
      assert.matches("Connection %*%*%*%*%*%*%*$", message)
      raises("NUL byte", function() postgres.connect("host=\0") end)
      raises("string expected", function() postgres.connect() end)
      for _, seconds in ipairs { 0, -1, 0 / 0, math.huge } do
        raises("not a number of seconds", function() postgres.connect(conninfo(), seconds) end)
      end
    end)

    it("accepts an @ where no password can be", function()
      assert.is_nil(postgres.fault("postgres://me%40x@h/db?passfile=%2Fhome%2Fme%40x%2F.pgpass&application_name=a%40b"))
    end)

    it("takes what the string lacks from libpq's environment and files", function()
      local path = server.folder .. "/pgpass"
      shell("echo '*:*:*:leat:%s' >%s && chmod 600 %s", server.password, path, path)
      local output = script.run([[
        local db = assert(require("leat.postgres.core").connect(""))
        print(select(2, assert(db:query("select current_user::text")):fetch()))
      ]], ("PGPASSFILE=%s PGHOST=127.0.0.1 PGPORT=%d PGUSER=leat PGDATABASE=postgres"):format(path, server.port))
      assert.equal("leat\n", output)
    end)

    it("works through TLS, as libpq's words say", function()
      local other = assert(postgres.connect(over_tls()))
      local text = ("y"):rep(5000000)
      local rows = assert(other:query("select ssl::int, $1 from pg_stat_ssl where pid = pg_backend_pid()", "b", text))
      assert.same({ true, 1, text }, { rows:fetch() })
      other:close()
      local _, message, code = postgres.connect((over_tls():gsub("sslrootcert=%S+", "sslrootcert=/nowhere")))
      assert.matches('root certificate file "/nowhere" does not exist', message)
      assert.equal(postgres.codes.CONNECTION, code)
    end)

    it("works with a URI", function()
      local other = assert(postgres.connect(("postgres://leat:%s@127.0.0.1:%d/postgres"):format(server.password,
        server.port)))
      assert.equal("number", type(backend(other)))
      other:close()
    end)
  end)

  describe("a server that is frozen", function()
    it("ends a statement at the deadline, and the connection with it", function()
      local other = assert(postgres.connect(conninfo(), 1))
      local process = backend(other)
      shell("kill -STOP %d", process)
      local message, code
      local seconds = seconds_of(function() message, code = select(2, other:query("select 1")) end)
      local closing = seconds_of(function()
        assert.is_true(other:is_broken())
        assert.same({ nil, "execute: the connection is broken", postgres.codes.CONNECTION },
          { other:execute("select 1") })
        other:close()
      end)
      shell("kill -CONT %d", process)
      assert.same({ "query: the server does not respond", postgres.codes.TIMEOUT }, { message, code })
      assert.is_true(seconds > 0.99 and seconds < 3, seconds)
      assert.is_true(closing < 0.5, closing)
      raises("connection is closed", function() other:query("select 1") end)
    end)

    it("ends one that it does not read to its end", function()
      for _, target in ipairs { conninfo(), over_tls() } do
        local other = assert(postgres.connect(target, 1))
        local process = backend(other)
        shell("kill -STOP %d", process)
        local text, code = ("x"):rep(20000000), nil
        local seconds = seconds_of(function() code = select(3, other:execute("select $1", "b", text)) end)
        shell("kill -CONT %d", process)
        assert.equal(postgres.codes.TIMEOUT, code)
        assert.is_true(seconds > 0.99 and seconds < 3, seconds)
      end
    end)

    it("ends connecting", function()
      local process = server:process()
      shell("kill -STOP %d", process)
      local message, code
      local seconds = seconds_of(function() message, code = select(2, postgres.connect(conninfo(), 1)) end)
      shell("kill -CONT %d", process)
      assert.same({ "connect: the server does not respond", postgres.codes.TIMEOUT }, { message, code })
      assert.is_true(seconds > 0.99 and seconds < 3, seconds)
    end)

    it("is the same as one that works too long, or sends without an end", function()
      for _, sql in ipairs { "select pg_sleep(60)", "select repeat('x', 1000) from generate_series(1, 1000000000)" } do
        local other = assert(postgres.connect(conninfo(), 1))
        local code
        local seconds = seconds_of(function() code = select(3, other:execute(sql)) end)
        assert.equal(postgres.codes.TIMEOUT, code)
        assert.is_true(seconds < 3, seconds)
      end
    end)

    it("ends at the deadline although a signal arrives, which is handled", function()
      local output = script.run(([[
        require("leat.cli.core").catch_signals()
        local db = assert(require("leat.postgres.core").connect(%q, 1))
        os.execute("(sleep 0.4; kill -HUP $PPID) &")
        local start = require("leat.core").now()
        print(select(3, db:execute("select pg_sleep(60)")))
        local ms = require("leat.core").now() - start
        print(ms > 990 and ms < 1900, require("leat.cli.core").signal())
      ]]):format(conninfo()), "exec")
      assert.equal("timeout\ntrue\t1\n", output)
    end)
  end)

  describe("a connection that is lost", function()
    it("is broken, with the server's SQLSTATE if it said why", function()
      local other = assert(postgres.connect(conninfo()))
      assert.equal(1, (row("select pg_terminate_backend($1::int, 5000)::int", "i", backend(other))))
      local fine, _, code = other:query("select 1")
      assert.is_nil(fine)
      assert.is_true(code == "57P01" or code == postgres.codes.CONNECTION, code)
      assert.is_true(other:is_broken())
      other:close()
      other:close()
      assert.is_true(other:is_broken())
    end)

    it("is replaced by a new one when the server runs again", function()
      for _, how in ipairs { "fast", "immediate" } do
        server:stop(how)
        assert.is_nil(db:execute("select 1"))
        assert.is_true(db:is_broken())
        assert.equal(postgres.codes.CONNECTION, select(3, postgres.connect(conninfo())))
        server:run()
        db = assert(postgres.connect(conninfo()))
        assert.equal(1, (row("select 1")))
      end
    end)

    it("does not end the process by SIGPIPE", function()
      for _, target in ipairs { conninfo(), over_tls() } do
        local output = script.run(([[
          local postgres = require("leat.postgres.core")
          local one, two = assert(postgres.connect(%q)), assert(postgres.connect(%q))
          local _, process = assert(one:query("select pg_backend_pid()")):fetch()
          assert(two:execute("select pg_terminate_backend($1::int, 5000)", "i", process))
          print(one:execute("select $1", "b", ("x"):rep(1000000)))
          print(one:execute("select 1"))
        ]]):format(target, target))
        assert.matches("^nil\texecute: .*\nnil\texecute: the connection is broken\tconnection\n$", output)
      end
    end)
  end)

  describe("pgbouncer", function()
    it("may give each transaction another session", function()
      local target = ("postgres://leat@127.0.0.1:%d/postgres"):format(pool_port)
      local one, two, three = assert(postgres.connect(target)), assert(postgres.connect(target)),
        assert(postgres.connect(target))
      assert(one:execute("drop table if exists t"))
      assert(one:execute("create table t (a bigint primary key, b text, c bytea)"))
      local processes = {}
      for i = 1, 10 do
        assert.equal(0, one:execute("begin"))
        assert.equal(0, two:execute("begin"))
        assert.not_equal(backend(one), backend(two))
        processes[backend(one)] = true
        assert.equal(1, one:execute("insert into t values ($1, $2, $3)", "itb", i, "Zoë", "\0\255"))
        assert.equal(1, two:execute("insert into t values ($1, $2, $3)", "itb", -i, "Zoë", "\0\255"))
        assert.equal(0, one:execute("commit"))
        assert.equal(0, two:execute("commit"))
      end
      assert.truthy(next(processes, (next(processes)))) -- several sessions served one connection
      local rows = assert(three:query("select count(*), min(b), max(b) from t where c = $1", "b", "\0\255"))
      assert.same({ true, 20, "Zoë", "Zoë" }, { rows:fetch() })
      assert.equal("42601", select(3, two:execute("selec")))
      assert.is_false(two:is_broken())
    end)
  end)

  describe("a process that was forked", function()
    it("neither uses nor ends the connection", function()
      for _, target in ipairs { conninfo(), over_tls() } do
        local output = script.run(([[
          local postgres, forks = require("leat.postgres.core"), require("forks")
          local db = assert(postgres.connect(%q, 1))
          local child = forks.fork()
          if child == 0 then
            io.write(tostring(db:is_broken()), "\t", table.concat({ select(2, db:execute("select 1")) }, "\t"), "\n")
            db:close()
            local own = assert(postgres.connect(%q))
            io.write(own:execute("select 1"), "\n")
            io.flush()
            db, own = nil, nil
            collectgarbage()
            os.exit(7)
          end
          print(forks.wait(child) == 7, db:is_broken(), db:execute("select 1"))
        ]]):format(target, target))
        assert.equal("true\texecute: the connection is broken\tconnection\n0\ntrue\tfalse\t0\n", output)
      end
    end)
  end)

  describe("the end", function()
    it("may come in any order when all is garbage", function()
      for round = 1, 5 do
        local other = assert(postgres.connect(conninfo("application_name=garbage")))
        local all = { other, assert(other:query("select 1")) }
        other = nil -- luacheck: ignore
        all[round % 2 + 1] = nil
        collectgarbage()
        assert.truthy(next(all))
      end
      collectgarbage()
      collectgarbage()
      local left -- the server needs a moment
      for _ = 1, 100 do
        left = row("select count(*) from pg_stat_activity where application_name = 'garbage'")
        if left == 0 then break end
        shell("sleep 0.02")
      end
      assert.equal(0, left)
    end)
  end)
end)
