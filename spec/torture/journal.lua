-- Fails each allocation in turn, of Lua and of SQLite, while CSV is read, a database is written and read, and a file is
-- published: once, or that one and all later ones. What is reported is compared with what is on the disk.
--    lua_torture spec/torture/journal.lua
local csv, files, sqlite = require("leat.csv.core"), require("leat.jobs.core"), require("leat.sqlite.core")
local torture = torture -- luacheck: ignore
local passed, failed = 0, 0
local database, published = os.tmpname(), os.tmpname()

local function check(good, what, where)
  if good then
    passed = passed + 1
    return
  end
  failed = failed + 1
  print(("%s: %s"):format(where, what))
end

local CSV = 'value,name\nA1,"say ""hi"""\nB2,Ann\nC3,\n'

local function read_csv()
  local filter, list = csv.filter(), {}
  local cells, at = csv.row(CSV, 1, ",", true)
  local count = csv.scan(CSV, at, ",", { count = #cells, value = 1, name = 2, needed = 0 }, filter, 1, 2, list)
  assert(count == 2 and #list == 14 and filter:add("a1") and not filter:add("C3"), "the rows differ")
  assert(csv.row(CSV, at, ",", true)[2] == 'say "hi"', "the cells differ")
end

local function write(db)
  local fine, message, code = db:exec("begin")
  if not fine then return nil, message, code end
  local insert
  insert, message, code = db:prepare("insert into item values ($1, $2)", "ib")
  if not insert then return nil, message, code end
  fine, message, code = insert:execute(1, ("x"):rep(5000))
  if not fine then return nil, message, code end
  fine, message, code = insert:execute_slices(("x"):rep(10000), { 2, 1, 5000, 3, 5001, 10000 }, 2)
  if not fine then return nil, message, code end
  return db:exec("commit")
end

-- Returns the number of rows and of their bytes.
local function count(db)
  local query, message, code = db:prepare("select n, bytes, zeroblob(n * 1000) from item where n >= $1", "i")
  if not query then return nil, message, code end
  local fine
  fine, message, code = query:query(1)
  if not fine then return nil, message, code end
  local rows, bytes, more = 0, 0, true
  while more do
    local n, text, zeros
    more, n, text, zeros = query:fetch()
    if more == nil then return nil, n, text end
    assert(#(zeros or "") == 1000 * (n or 0), "the zeros were cut off")
    rows, bytes = rows + (n and 1 or 0), bytes + #(text or "")
  end
  return rows, bytes
end

local function publish()
  local file, message = files.create(published)
  if not file then return nil, message end
  for _ = 1, 3 do
    file:write(("y"):rep(5000))
  end
  return file:publish()
end

local function play()
  read_csv()
  local db, message, code = sqlite.open(database)
  if not db then return nil, message, code end
  local fine
  fine, message, code = write(db)
  if not fine then return nil, message, code end
  fine, message, code = count(db)
  if not fine then return nil, message, code end
  db:close()
  fine, message = publish()
  return fine, message
end

local function size_of(path)
  local file = io.open(path)
  local size = file and file:seek("end") or 0
  if file then file:close() end
  return size
end

local function collect()
  collectgarbage()
  collectgarbage()
  collectgarbage("stop")
end

local function unfailing(f)
  local _, fine, result = torture.call("ours", 0, false, f)
  return fine and result
end

local function set_stage()
  local db = assert(sqlite.open(database))
  assert(db:exec("drop table if exists item; create table item (n integer primary key, bytes blob)"))
  db:close()
  os.remove(published)
end

-- Rows are there all or not at all, and so is the file. A success is true.
local function check_disk(success, where)
  local rows
  unfailing(function()
    local db = assert(sqlite.open(database))
    rows = count(db)
    db:close()
    collect()
  end)
  check(rows == 3 or rows == 0 and not success, ("%s rows"):format(tostring(rows)), where)
  local size = size_of(published)
  check(size == 15000 or size == 0 and not success, ("a file of %d bytes"):format(size), where)
end

local function is_lack(fine, message, code)
  if not fine then
    return tostring(message):find("memory") ~= nil
  end
  local primary = code and code % 256
  return primary == sqlite.codes.NOMEM or primary == sqlite.codes.IOERR or primary == sqlite.codes.CANTOPEN
end

-- Returns false if there was no such allocation.
local function fail_once(from, sticky, at)
  local where = ("journal, %s%s %d"):format(from, sticky and ", sticky," or ",", at)
  set_stage()
  unfailing(collect)
  local before = torture.blocks()
  local was_one, fine, value, message, code = torture.call(from, at, sticky, play)
  local success = fine and value
  if fine and not value then
    check(is_lack(true, message, code), tostring(message), where)
  elseif not fine then
    check(is_lack(false, value), tostring(value), where)
  end
  unfailing(collect)
  check(torture.blocks() == before, ("%d blocks, before %d"):format(torture.blocks(), before), where)
  check_disk(success, where)
  return was_one
end

if jit then
  jit.off() -- LuaJIT 2.1.0-beta3 crashes when memory runs out within what it compiled
end
collectgarbage("stop")
for _, from in ipairs { "ours", "lua" } do
  for _, sticky in ipairs { false, true } do
    local at = 1
    while fail_once(from, sticky, at) do
      at = at + 1
    end
  end
end
for _, suffix in ipairs { "", "-wal", "-shm", "-journal" } do
  os.remove(database .. suffix)
end
os.remove(published)
print(("torture, journal: %s: %d passed, %d failed"):format(jit and jit.version or _VERSION, passed, failed))
return failed == 0
