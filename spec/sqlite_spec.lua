-- leat.sqlite.core: values are kept as they are, misuse is an error at the caller's line, and everything else that
-- goes wrong is reported with SQLite's code.
local sqlite = require("leat.sqlite.core")
local script = dofile("spec/support/script.lua")
local raises = dofile("spec/support/raises.lua")("spec/sqlite_spec.lua")
local read = dofile("spec/support/read.lua")

local unpack = table.unpack or unpack -- luacheck: ignore
local has_integers = _VERSION >= "Lua 5.3"
local BIG = has_integers and tonumber("9223372036854775807") or "9223372036854775807"

describe("leat.sqlite.core", function()
  local path, db

  before_each(function()
    path = os.tmpname()
    os.remove(path)
    db = assert(sqlite.open(path))
  end)
  after_each(function()
    db:close()
    for _, suffix in ipairs { "", "-wal", "-shm", "-journal" } do
      os.remove(path .. suffix)
    end
  end)

  -- Returns the columns of the first row.
  local function row(sql, types, ...)
    local query = assert(db:prepare(sql, types))
    assert.is_true(query:query(...))
    local columns = { query:fetch() }
    query:reset()
    assert.is_true(columns[1], columns[2])
    return unpack(columns, 2, 10)
  end

  local function modes()
    local pipe = assert(io.popen(("stat -c %%a %s %s-wal %s-shm"):format(path, path, path)))
    local text = pipe:read("*a")
    pipe:close()
    return text
  end

  describe("values", function()
    local function same_back(types, value)
      assert.is_true(db:exec("create table if not exists t (a)"))
      local insert = assert(db:prepare("insert into t values ($1)", types))
      assert.equal(1, insert:execute(value))
      return row("select a, typeof(a) from t order by rowid desc limit 1")
    end

    it("are integers up to 2^53 everywhere", function()
      for _, value in ipairs { 0, 1, -1, 2 ^ 31, -2 ^ 31, 2 ^ 53 - 1, 2 ^ 53, -2 ^ 53 } do
        local back, kind = same_back("i", value)
        assert.equal(value, back)
        assert.equal("integer", kind)
      end
    end)

    it("are integers up to 2^63 - 1 where Lua has them, and text where it would round them", function()
      assert.equal(BIG, (row("select 9223372036854775807")))
      assert.equal(has_integers and "number" or "string", type((row("select -9223372036854775808"))))
      assert.equal("-9223372036854775808", tostring((row("select -9223372036854775808"))))
      if has_integers then
        assert.equal(BIG, (same_back("i", BIG)))
      end
      assert.equal(has_integers and 2 ^ 53 + 2 or "9007199254740994", (row("select 9007199254740994")))
      assert.equal(-2 ^ 63, tonumber((same_back("i", -2 ^ 63))))
    end)

    it("are booleans as 0 and 1", function()
      assert.same({ 1, "integer" }, { same_back("i", true) })
      assert.same({ 0, "integer" }, { same_back("i", false) })
    end)

    it("are text and blobs with all their bytes", function()
      local all = {}
      for byte = 0, 255 do
        all[#all + 1] = string.char(byte)
      end
      for _, value in ipairs { "", "\0", "a\0b\0", "Zoë", table.concat(all), ("x\0"):rep(32768) } do
        assert.same({ value, "text" }, { same_back("t", value) })
        assert.same({ value, "blob" }, { same_back("b", value) })
      end
    end)

    it("are nil for every type", function()
      for _, types in ipairs { "i", "t", "b" } do
        assert.same({ nil, "null" }, { same_back(types, nil) })
      end
    end)

    it("may be floats that SQLite computed", function()
      assert.equal(0.5, (row("select 0.5")))
    end)

    it("are never rounded, converted or cut off", function()
      local statement = assert(db:prepare("select $1, $2, $3", "itb"))
      for _, value in ipairs { 0.5, 2 ^ 63, -2 ^ 63 - 2048, math.huge, 0 / 0 } do
        raises("bad argument #1 to 'query' (number has no integer representation)",
          function() statement:query(value, "", "") end)
      end
      raises("bad argument #1 to 'execute' (integer expected, got string)", function()
        statement:execute("1", "", "")
      end)
      raises("bad argument #2 to 'execute' (string expected, got number)", function() statement:execute(1, 1, "") end)
      raises("bad argument #3 to 'query' (string expected, got boolean)", function() statement:query(1, "", true) end)
      raises("bad argument #1 to 'query' (integer expected, got table)", function() statement:query({}, "", "") end)
    end)

    it("must be as many as there are parameters", function()
      local statement = assert(db:prepare("select $1, $2", "ii"))
      raises("the statement has 2 parameters, not 1", function() statement:query(1) end)
      raises("the statement has 2 parameters, not 3", function() statement:execute(1, 2, nil) end)
      assert.is_true(statement:query(nil, nil))
    end)

    it("of a query outlive their variables", function()
      local statement = assert(db:prepare("select $1 union all select $1", "t"))
      statement:query(("long"):rep(1000) .. tostring(db))
      collectgarbage()
      local _, first = statement:fetch()
      collectgarbage()
      local _, second = statement:fetch()
      assert.equal(("long"):rep(1000) .. tostring(db), first)
      assert.equal(first, second)
    end)
  end)

  describe("statements", function()
    before_each(function() assert.is_true(db:exec("create table t (a integer primary key, b)")) end)

    it("return the number of rows that they changed", function()
      local insert = assert(db:prepare("insert into t values ($1, $2)", "it"))
      for i = 1, 3 do
        assert.equal(1, insert:execute(i, "x"))
      end
      assert.equal(2, assert(db:prepare("update t set b = $1 where a > $2", "ti")):execute("y", 1))
      assert.equal(0, assert(db:prepare("select * from t")):execute())
      assert.equal(0, assert(db:prepare("delete from t where a = 9")):execute())
      assert.equal(0, assert(db:prepare("begin")):execute())
    end)

    it("fetch rows to the end, and can be queried again", function()
      db:exec("insert into t values (1, 'one'), (2, 'two')")
      local query = assert(db:prepare("select a, b from t where a >= $1 order by a", "i"))
      for _ = 1, 2 do
        query:query(1)
        assert.same({ true, 1, "one" }, { query:fetch() })
        assert.same({ true, 2, "two" }, { query:fetch() })
        assert.same({ false }, { query:fetch() })
      end
      query:query(1)
      query:fetch()
      query:query(2) -- begins anew
      assert.same({ true, 2, "two" }, { query:fetch() })
      query:reset()
      raises("no query", function() query:fetch() end)
    end)

    it("take slices of a text, many rows at a time", function()
      assert.is_true(db:exec("create table slice (job, n, card text, bytes blob)"))
      local insert = assert(db:prepare("insert into slice values ($1, $2, $3, $4)", "iitb"))
      assert.is_true(insert:execute_slices("ab,c\0\255", { 1, 1, 2, 1, 4, 2, 4, 4, 4, 6, 3, 1, 0, 7, 6 }, 3, 7))
      assert.equal("7 1 ab text 'ab,c', 7 2 c text X'6300FF', 7 3  text ''", (row([[select group_concat(job || ' ' || n
        || ' ' || card || ' ' || typeof(card) || ' ' || case n when 1 then quote(cast(bytes as text)) when 2
        then quote(bytes) else quote(cast(bytes as text)) end, ', ') from slice]], "")))
      assert.is_true(insert:execute_slices("", {}, 0, 7))
      assert.equal(3, (row("select count(*) from slice", "")))
    end)

    it("refuse slices that are none, and report what SQLite refuses", function()
      assert.is_true(db:exec("create table slice (n integer primary key, card text)"))
      local insert = assert(db:prepare("insert into slice values ($1, $2)", "it"))
      for _, list in ipairs { { 1, 0, 1 }, { 1, 1, 4 }, { 1, 3, 1 }, { 1, 1 }, { 1, "x", 2 }, {} } do
        assert.has_error(function() insert:execute_slices("abc", list, 1) end)
      end
      local result, message, code = insert:execute_slices("abc", { 1, 1, 1, 1, 2, 2 }, 2)
      assert.is_nil(result)
      assert.equal("execute: UNIQUE constraint failed: slice.n", message)
      assert.equal(sqlite.codes.CONSTRAINT, code % 256)
      assert.equal("a", (row("select card from slice", "")))
      local other = assert(db:prepare("insert into slice values ($2, $1)", "ti"))
      raises("is not in its place", function() other:execute_slices("abc", { 1, 1, 1 }, 1) end)
      raises("too many values", function() insert:execute_slices("abc", {}, 0, 1, "a", 3) end)
    end)

    it("release their locks at the end, after reset and after an error", function()
      local other = assert(sqlite.open(path))
      db:exec("insert into t values (1, 'one'), (2, 'two')")
      local query = assert(db:prepare("select a from t"))
      query:query()
      query:fetch()
      local _, _, code = other:exec("drop table t")
      assert.equal(sqlite.codes.BUSY, code % 256)
      query:reset()
      assert.is_true(other:exec("create table u (a)"))
      query:query()
      assert.same({ true, true, false }, { (query:fetch()), (query:fetch()), (query:fetch()) })
      assert.is_true(other:exec("drop table u"))
      local insert = assert(db:prepare("insert into t values ($1, 'again')", "i"))
      assert.is_nil(insert:execute(1))
      assert.is_true(other:exec("create table u (a)"))
      other:close()
    end)

    it("name their parameters $1 and so on, in any order, with a type for each", function()
      raises("parameter $3 must be one of $1 to $2", function() db:prepare("select $3, $1", "ii") end)
      raises("parameter $x must be one of $1 to $1", function() db:prepare("select $x", "i") end)
      raises("parameter $0 must be one of $1 to $1", function() db:prepare("select $0", "i") end)
      raises("parameter ? must be one of $1 to $1", function() db:prepare("select ?", "i") end)
      assert.same({ "b", 1 }, { row("select $2, $1", "it", 1, "b") })
      raises("the statement has 2 parameters, and types for 1", function() db:prepare("select $1, $2", "i") end)
      raises("the statement has 1 parameters, and types for 0", function() db:prepare("select $1") end)
      raises("bad argument #2 to 'prepare' (the types are i, t and b)", function() db:prepare("select $1", "n") end)
      assert.same({ 5, 5, 6 }, { row("select $1, $1, $2", "ii", 5, 6) })
    end)

    it("are one each, without NUL bytes", function()
      raises("one statement expected", function() db:prepare("") end)
      raises("one statement expected", function() db:prepare("select 1; select 2") end)
      assert.truthy(db:prepare("select 1;\n"))
      raises("NUL byte", function() db:prepare("select 1\0") end)
      raises("NUL byte", function() db:exec("select 1\0") end)
      raises("string expected", function() db:exec(1) end)
    end)
  end)

  describe("failures", function()
    it("have SQLite's text and the extended code, and never a value", function()
      db:exec("create table t (a integer primary key, b unique)")
      local insert = assert(db:prepare("insert into t values ($1, $2)", "it"))
      insert:execute(1, "secret")
      assert.same({ nil, "execute: UNIQUE constraint failed: t.a", 1555 }, { insert:execute(1, "secret2") })
      assert.same({ nil, "execute: UNIQUE constraint failed: t.b", 2067 }, { insert:execute(2, "secret") })
      assert.equal(sqlite.codes.CONSTRAINT, 2067 % 256)
      assert.equal(1, insert:execute(2, "other"))
      assert.same({ nil, 'prepare: near "selec": syntax error', sqlite.codes.ERROR }, { db:prepare("selec") })
      assert.same({ nil, "exec: no such table: none", sqlite.codes.ERROR }, { db:exec("select * from none") })
    end)

    it("in the middle of rows end the query", function()
      db:exec("create table t (a); insert into t values ('1'), ('{')")
      local query = assert(db:prepare("select json(a) from t order by rowid"))
      query:query()
      assert.same({ true, "1" }, { query:fetch() })
      assert.same({ nil, "fetch: malformed JSON", sqlite.codes.ERROR }, { query:fetch() })
      raises("no query", function() query:fetch() end)
    end)

    it("are BUSY at once while another connection writes, also with a prepared statement", function()
      local other = assert(sqlite.open(path))
      db:exec("create table t (a)")
      local insert = assert(other:prepare("insert into t values ($1)", "i"))
      assert.is_true(db:exec("begin immediate"))
      assert.same({ nil, "execute: database is locked", sqlite.codes.BUSY }, { insert:execute(1) })
      assert.same({ nil, "exec: database is locked", sqlite.codes.BUSY }, { other:exec("begin immediate") })
      assert.is_true(db:exec("commit"))
      assert.equal(1, insert:execute(1))
      other:close()
    end)

    it("are FULL when no page is left, and the transaction can be rolled back", function()
      db:exec("create table t (a); pragma max_page_count = 10")
      local insert = assert(db:prepare("insert into t values ($1)", "b"))
      db:exec("begin")
      assert.equal(1, insert:execute("small"))
      local fine, message, code = insert:execute(("x"):rep(100000))
      assert.same({ nil, "execute: database or disk is full", sqlite.codes.FULL }, { fine, message, code })
      db:exec("rollback")
      assert.equal(0, (row("select count(*) from t")))
      assert.equal(1, insert:execute("small"))
    end)

    it("of the system have its text", function()
      local text = script.run(([[
        local sqlite = require("leat.sqlite.core")
        local db = assert(sqlite.open(%q))
        print(db:exec("create table t (a)"))
        local code = select(3, db:exec("insert into t values (zeroblob(9999999))"))
        print(code %% 256 == sqlite.codes.IOERR)
        print(db:exec("insert into t values (zeroblob(9999999))"))
      ]]):format(path), "trap '' XFSZ; ulimit -f 1000;")
      assert.matches("^true\ntrue\nnil\texec: disk I/O error %(File too large%)\t%d+\n$", text)
    end)

    it("to open name the file and the reason", function()
      assert.same({ nil, ("can't create %s/x: Not a directory"):format(path), sqlite.codes.CANTOPEN },
        { sqlite.open(path .. "/x") })
      assert.same({ nil, ("can't create %s-no/x: No such file or directory"):format(path), sqlite.codes.CANTOPEN },
        { sqlite.open(path .. "-no/x") })
      local db2, message, code = sqlite.open("/")
      assert.is_nil(db2)
      assert.matches("^can't open /: unable to open database file", message)
      assert.equal(sqlite.codes.CANTOPEN, code % 256)
      raises("NUL byte", function() sqlite.open(path .. "\0") end)
      raises("string expected", function() sqlite.open() end)
    end)

    it("show that a file is not a database", function()
      local other = os.tmpname()
      local file = assert(io.open(other, "w"))
      file:write(("not a database\n"):rep(100))
      file:close()
      local text = assert(sqlite.open(other))
      assert.same({ nil, "exec: file is not a database", sqlite.codes.NOTADB },
        { text:exec("create table t (a)") })
      text:close()
      assert.equal(("not a database\n"):rep(100), read(other))
      os.remove(other)
    end)
  end)

  describe("files", function()
    it("are for their owner only, whatever the umask is", function()
      for _, umask in ipairs { "022", "000" } do
        db:close()
        os.remove(path)
        local text = script.run(([[
          local db = assert(require("leat.sqlite.core").open(%q))
          db:exec("pragma journal_mode = wal; create table t (a)")
          os.execute("stat -c %%a %s %s-wal %s-shm")
        ]]):format(path, path, path, path), "umask " .. umask .. ";")
        assert.equal("600\n600\n600\n", text)
      end
    end)

    it("that exist are opened as they are", function()
      db:exec("pragma journal_mode = wal; create table t (a); insert into t values (1)")
      os.execute("chmod 640 " .. path)
      local other = assert(sqlite.open(path))
      assert.is_true(other:exec("insert into t values (2)"))
      assert.matches("^640\n", modes())
      other:close()
      assert.equal(2, (row("select count(*) from t")))
    end)

    it("have the name that was given, even where SQLite has special ones", function()
      local folder = os.tmpname()
      os.remove(folder)
      os.execute("mkdir " .. folder)
      local program = [[
        for _, name in ipairs { ":memory:", "file:x?mode=memory" } do
          local db = assert(require("leat.sqlite.core").open(name))
          assert(db:exec("create table t (a)"))
        end
      ]]
      assert.equal("", (script.run(program, "cd " .. folder .. " &&")))
      for _, name in ipairs { ":memory:", "file:x?mode=memory" } do
        assert.matches("^SQLite format 3", read(folder .. "/" .. name))
      end
      os.execute("rm -r " .. folder)
    end)

    it("that are temporary have no name and are private", function()
      local one, two = assert(sqlite.open("")), assert(sqlite.open("", "more"))
      assert.is_true(one:exec("create table t (a)"))
      assert.is_nil(two:exec("insert into t values (1)"))
      assert.is_false(one:has_moved())
      assert.is_true(one:exec("insert into t values (zeroblob(9999999))")) -- more than stays in memory
      assert.is_false(one:has_moved())
      one:close()
      two:close()
    end)

    it("that were deleted have moved", function()
      db:exec("create table t (a)")
      assert.is_false(db:has_moved())
      os.remove(path)
      assert.is_true(db:has_moved())
    end)

    it("that were replaced have moved, for the connection that was there before", function()
      db:exec("create table t (a)")
      os.rename(path, path .. "-journal")
      local other = assert(sqlite.open(path))
      assert.is_true(db:has_moved())
      assert.is_false(other:has_moved())
      other:close()
      os.rename(path .. "-journal", path)
      assert.is_false(db:has_moved())
    end)
  end)

  describe("the end", function()
    local query, insert

    before_each(function()
      db:exec("create table t (a); insert into t values (1)")
      query, insert = assert(db:prepare("select a from t")), assert(db:prepare("insert into t values (2)"))
      query:query()
      query:fetch()
    end)

    it("of a connection ends its statements, and may come twice", function()
      db:close()
      db:close()
      for name, f in pairs {
        fetch = function() query:fetch() end,
        query = function() query:query() end,
        reset = function() query:reset() end,
        execute = function() insert:execute() end,
        exec = function() db:exec("select 1") end,
        prepare = function() db:prepare("select 1") end,
        has_moved = function() db:has_moved() end,
      } do
        raises("connection is closed", f)
        assert.matches(name, select(2, pcall(f)))
      end
    end)

    it("releases locks and removes the -wal file", function()
      db:exec("pragma journal_mode = wal")
      query:reset()
      db:exec("pragma journal_mode = wal; insert into t values (3)")
      assert.equal("string", type(read(path .. "-wal")))
      query:query()
      query:fetch()
      db:close()
      assert.is_nil(io.open(path .. "-wal"))
    end)

    it("of statements comes with that of their scope, where Lua has that", function()
      local load_it = loadstring or load
      local chunk = load_it("local db = ... local k do local s <close> = db:prepare('select 1') k = s end return k")
      if not chunk then
        assert.is_nil(_VERSION:match("5%.[45]"))
        return
      end
      local closed = chunk(db)
      raises("statement is closed", function() closed:query() end)
      raises("statement is closed", function() closed:reset() end)
    end)

    it("of a statement keeps the connection until then", function()
      local kept = (function() return assert(sqlite.open("")):prepare("select 7") end)()
      collectgarbage()
      collectgarbage()
      kept:query()
      assert.same({ true, 7 }, { kept:fetch() })
    end)

    it("may come in any order when all is garbage", function()
      local orders = { { 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 }, { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 } }
      for round = 1, 60 do
        local other = assert(sqlite.open(round % 2 == 0 and path or ""))
        local all = { other, other:prepare("select 1"), other:prepare("select 2") }
        all[2]:query()
        all[2]:fetch()
        other = nil -- luacheck: ignore
        for _, i in ipairs(orders[round % #orders + 1]) do
          all[i] = nil
          if round % 3 > 0 then
            collectgarbage(round % 3 == 1 and "step" or "collect")
          end
        end
      end
      collectgarbage()
      collectgarbage()
      query:reset()
      assert.is_true(db:exec("drop table t")) -- no lock is left
    end)

    it("of the program needs no close", function()
      assert.equal("7\n", (script.run(([[
        db = assert(require("leat.sqlite.core").open(%q))
        statement = db:prepare("select 7")
        statement:query()
        print(select(2, statement:fetch()))
      ]]):format(path))))
    end)
  end)
end)
