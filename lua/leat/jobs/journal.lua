-- Journals: their errors, and opening one. A journal is an SQLite file (leat.jobs.journal_sqlite), or a database of
-- PostgreSQL (leat.jobs.journal_postgres), which several machines can use at once. Both have the same methods. Their
-- errors are raised as tables of the class `journal.failure`, which `journal.try` catches.

local journal = {}

local failure = {}

function failure.__tostring(err)
  return "leat.jobs: " .. err.message
end

-- Makes an error with the same text form.
function journal.error(kind, message, code)
  return setmetatable({ kind = kind, message = message, code = code }, failure)
end

-- Raises an error of the journal. `code` is the database's, or nil.
function journal.raise(message, code)
  error(journal.error("journal", message, code), 0)
end

local function is_failure(why)
  return getmetatable(why) == failure
end

-- Calls a function; an error of the journal is returned, as nil and the error. Any other error is raised.
function journal.try(f, ...)
  local function pass(fine, ...)
    if fine then
      return ...
    elseif is_failure(...) then
      return nil, (...)
    end
    error(..., 0)
  end
  return pass(pcall(f, ...))
end

-- Raises an error if a journal of this version of the schema can't be used by this program, which knows `newest`.
function journal.check_version(path, version, newest)
  if version > newest then
    journal.raise(("the journal %s was written by a newer leat (version %d, and this one knows %d): update leat, or "
      .. "give another one"):format(path, version, newest))
  end
end

-- Returns whether a path is the address of a database.
function journal.is_address(path)
  return path:find("^postgres%w*://") ~= nil
end

-- Opens a journal, and makes its tables if they do not exist. An empty path makes a temporary one.
function journal.open(path)
  return require(journal.is_address(path) and "leat.jobs.journal_postgres" or "leat.jobs.journal_sqlite").open(path)
end

return journal
