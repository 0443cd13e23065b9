-- Journals for the specs of jobs: files, of which each test has its own. spec/postgres/jobs_postgres.lua has others,
-- with the same functions.
local sqlite = require("leat.sqlite.core")

local journals = { is_shared = false }

-- Returns the path of a journal that does not exist.
function journals.new()
  local path = os.tmpname()
  os.remove(path)
  return path
end

-- Removes a journal.
function journals.remove(path)
  for _, suffix in ipairs { "", "-wal", "-shm", ".lock" } do
    os.remove(path .. suffix)
  end
end

-- Executes a statement in a journal, as another program.
function journals.execute(path, sql)
  local connection = assert(sqlite.open(path))
  assert(connection:exec(sql))
  connection:close()
end

return journals
