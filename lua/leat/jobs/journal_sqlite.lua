-- Journals in a file, through SQLite: opening, locking, transactions and statements. See leat.jobs.journal.

local files = require("leat.jobs.core")
local journal = require("leat.jobs.journal")
local migrations = require("leat.jobs.schema")
local sqlite = require("leat.sqlite.core")

local unpack = table.unpack or unpack -- luacheck: ignore

local Journal = {}
Journal.__index = Journal

Journal.is_shared = false

local function raise(message, code)
  journal.raise(message, code and code % 256)
end

-- ---- statements -------------------------------------------------------------------------

-- Raises the error of a step that failed. A full disk, a file that is read-only: the message names the file.
local function check(self, result, message, code)
  if result == nil then
    raise(("the journal %s: %s"):format(self.path == "" and "(a temporary file)" or self.path, message), code)
  end
  return result
end

-- Returns the statement, which is prepared once. `types` has a letter for each parameter: see leat.sqlite.core.
local function prepared(self, sql, types)
  local statement = self.statements[sql]
  if not statement then
    statement = check(self, self.connection:prepare(sql, types))
    self.statements[sql] = statement
  end
  return statement
end

-- Executes statements without parameters.
function Journal:exec(sql)
  check(self, self.connection:exec(sql))
end

-- Executes a statement, and returns the number of changed rows.
function Journal:execute(sql, types, ...)
  return check(self, prepared(self, sql, types):execute(...))
end

-- Executes an insert, which is done at the latest when the transaction ends: in PostgreSQL several are sent together.
-- It has one row of values, in brackets.
Journal.insert = Journal.execute

-- Executes such an insert `count` times; `text` and `list` are those of statement:execute_slices.
function Journal:insert_slices(sql, types, text, list, count, ...)
  check(self, prepared(self, sql, types):execute_slices(text, list, count, ...))
end

-- Executes an update of one row for each list of parameters. Returns a list of whether each changed its row.
function Journal:update_each(sql, types, lists)
  local changed = {}
  for i, list in ipairs(lists) do
    changed[i] = self:execute(sql, types, unpack(list, 1, #types)) > 0
  end
  return changed
end

-- Iterates over the rows of a query: `for column1, column2 in journal:rows(...)`. The first column must not be null.
-- The loop must run to its end.
function Journal:rows(sql, types, ...)
  local statement = prepared(self, sql, types)
  check(self, statement:query(...))
  local function pass(more, ...)
    check(self, more, ...)
    if more then
      return ...
    end
  end
  return function()
    return pass(statement:fetch())
  end
end

-- Returns the columns of the first row, or nothing.
function Journal:row(sql, types, ...)
  local statement = prepared(self, sql, types)
  check(self, statement:query(...))
  local function pass(more, ...)
    check(self, more, ...)
    statement:reset()
    if more then
      return ...
    end
  end
  return pass(statement:fetch())
end

-- ---- transactions -----------------------------------------------------------------------

-- Ends the queries that an error within a loop over rows left open. They would hold the journal as it was: then no
-- transaction could begin any more.
local function end_queries(self)
  for _, statement in pairs(self.statements) do
    statement:reset()
  end
end

local function roll_back(self)
  end_queries(self)
  self.connection:exec("rollback") -- its own errors are not of interest
end

-- Calls `f` in a transaction. If its first result is `false`, or if it raises an error, nothing is changed.
function Journal:transaction(f, ...)
  end_queries(self)
  self:exec("begin immediate")
  local function finish(fine, ...)
    if fine and (...) ~= false then
      local committed, message, code = self.connection:exec("commit")
      if committed then
        return ...
      end
      roll_back(self)
      check(self, nil, message, code)
    end
    roll_back(self)
    if not fine then
      error(..., 0)
    end
    return ...
  end
  return finish(pcall(f, ...))
end

Journal.long_transaction = Journal.transaction

-- Makes tables that are gone when the journal is closed, unless they exist.
function Journal:create_temporary(list)
  self:exec(table.concat(list, "; "))
end

function Journal.analyze() end -- its plans do not depend on how many rows there are

-- Returns a query that locks the row that it finds until the end of the transaction.
function Journal.locking(_, sql)
  return sql
end

-- ---- time -------------------------------------------------------------------------------

-- Returns the time in milliseconds since 1970. It is the wall clock at the time the journal was opened, from then on
-- a steady clock, so that it does not follow changes of the wall clock.
function Journal:now()
  return self.epoch + math.floor(files.boottime())
end
Journal.past = Journal.now

-- ---- the lock ---------------------------------------------------------------------------

-- Locks the journal, so that no other process works on its jobs; returns whether that was possible. The lock is that
-- of a second, empty database, which the system releases when the process dies. With `patient` it waits for others
-- that only look whether it is locked.
function Journal:lock(patient)
  if self.lock_connection then
    return false -- another run of this process holds it
  elseif self.path == "" then
    return true
  end
  local connection, message, code = sqlite.open(self.real_path .. ".lock")
  check(self, connection, message, code)
  local locked
  locked, message, code = connection:exec((patient and "pragma busy_timeout = 500; " or "") .. "begin exclusive")
  if locked then
    self.lock_connection = connection
    return true
  end
  connection:close()
  if code % 256 ~= sqlite.codes.BUSY then
    check(self, nil, message, code)
  end
  return false
end

function Journal:unlock()
  if self.lock_connection then
    self.lock_connection:close()
    self.lock_connection = false
  end
end

-- Returns whether a run of this process holds the lock.
function Journal:has_lock()
  return self.lock_connection ~= false
end

-- Returns whether any process holds it.
function Journal:is_locked()
  if self:has_lock() then
    return true
  end
  local locked = self:lock()
  self:unlock()
  return not locked
end

-- Overwrites what the files hold of rows that were deleted. Returns false if a process that reads the journal prevents
-- that.
function Journal:erase()
  return self:row("pragma wal_checkpoint(truncate)", "") == 0
end

-- Returns whether the file, or that of the lock, was deleted or replaced since it was opened.
function Journal:has_moved()
  return self.path ~= "" and (self.connection:has_moved()
    or self.lock_connection and self.lock_connection:has_moved()) or false
end

-- ---- opening ----------------------------------------------------------------------------

local function read_version(self)
  local is_ours = self:row("select 1 from sqlite_master where type = 'table' and name = 'meta'", "")
  if is_ours then
    return self:row("select version from meta", "") or 0
  elseif self:row("select 1 from sqlite_master", "") then
    raise(("%s is a database of another program: give another file"):format(self.path))
  end
  return 0
end

-- Returns the version of the schema. Raises an error for a file that must not be touched.
local function check_version(self)
  local version = read_version(self)
  journal.check_version(self.path, version, #migrations)
  return version
end

local function migrate(self)
  local version = check_version(self)
  if version == #migrations then
    return false -- nothing to commit
  end
  for i = version + 1, #migrations do
    self:exec(migrations[i])
  end
  self:execute("update meta set version = $1", "i", #migrations)
end

local function prepare_file(path)
  local folder = path:match("^(.*)/[^/]*$")
  if folder and folder ~= "" then
    local made, why = files.make_folder(folder)
    if not made then
      raise(("the folder of the journal, %s: %s"):format(folder, why))
    end
  end
  local network = files.file_system(path)
  if network then
    raise(("the journal %s would be on a network file system (%s), where SQLite can lose data: give a file on a "
      .. "local disk"):format(path, network))
  end
end

local function open(path)
  if path ~= "" then
    prepare_file(path)
  end
  local connection, message, code = sqlite.open(path)
  if not connection then
    raise(("the journal %s can't be opened: %s"):format(path, message), code)
  end
  local self = setmetatable({ connection = connection, path = path, statements = {}, lock_connection = false,
    epoch = math.floor(files.realtime() - files.boottime()) }, Journal)
  self:exec("pragma busy_timeout = 5000")
  check_version(self) -- the journal mode stays in the file
  self:exec("pragma journal_mode = wal; pragma synchronous = full; "
    .. "pragma secure_delete = on; pragma temp_store = file; pragma cache_size = -1000") -- KiB
  self:transaction(migrate, self)
  self.real_path = select(3, self:row("pragma database_list", "")) -- several links may lead to one journal
  return self
end

function Journal:close()
  self:unlock()
  self.statements = {}
  self.connection:close()
end

-- Returns whether an error will not go away by itself soon: the file or the disk must be attended to.
function Journal.is_lasting(_, err)
  local code = err.code
  return code ~= sqlite.codes.BUSY and code ~= sqlite.codes.LOCKED and code ~= sqlite.codes.IOERR
end

return { open = open }
