-- Writes the results of a job as CSV files: all rows with what became of them, and for each state that some rows are
-- in, those rows as they were, so that the file can be imported.

local csv = require("leat.csv")
local files = require("leat.jobs.core")
local journal = require("leat.jobs.journal")

local COLUMNS = { "line", "value", "operation", "outcome", "kind", "code", "message", "requests", "at", "changed",
  "before_contact_uuid", "before_name", "before_active", "name", "active", "contact_uuid", "contact_email" }

local others = { failed = "failed", unknown = "unknown", rejected = "rejected", skipped = "skipped",
  ready = "unprocessed", claimed = "unprocessed", later = "unprocessed" }

local function to_time(ms)
  return ms and os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(ms / 1000)) or ""
end

local function text(value)
  return value == nil and "" or tostring(value)
end

local function to_cells(job, row)
  local before, seen = row.before or {}, row.seen
  return { text(row.line), text(row.value), job.operation, row.outcome, text(row.kind), text(row.code),
    text(row.message), text(row.requests), to_time(row.at), text(row.changed), text(before.contact_uuid or nil),
    text(before.name), text(before.active), text(seen.name), text(seen.active), text(seen.contact_uuid),
    text(seen.contact_email) }
end

local function check(path, result, message)
  if not result then
    journal.raise(("%s: %s"):format(path, message))
  end
  return result
end

-- The files that are being written, by the part of their name.
local Outputs = {}
Outputs.__index = Outputs

function Outputs:write(name, line, header)
  local one = self.files[name]
  if not one then
    local path = self.base .. "." .. name .. ".csv"
    one = { path = path, file = check(path, files.create(path)) }
    self.files[name] = one
    check(path, one.file:write(header))
  end
  check(one.path, one.file:write(line))
end

function Outputs:discard()
  for _, one in pairs(self.files) do
    one.file:discard()
  end
end

-- Returns the header and the line of a row as it was given; rows of a program are written as CSV.
local function original(job, row)
  if row.bytes then
    return job.header, row.bytes
  end
  local given = row.arguments
  local expect = given.expect
  if expect == false then
    expect = "none"
  end
  return csv.row { "value", "name", "contact_uuid", "contact_email", "active", "expect" },
    csv.row { text(row.value), text(given.name), text(given.contact_uuid), text(given.contact_email),
      text(given.active), text(expect) }
end

local function write_all(job, outputs)
  local header, count = csv.row(COLUMNS), 0
  for row in job:results() do
    count = count + 1
    outputs:write("results", csv.row(to_cells(job, row)), header)
    local name = others[row.state]
    if name then
      local first, line = original(job, row)
      outputs:write(name, line, first)
    end
  end
  if count ~= job.rows then
    journal.raise(("the journal has %d of the job's %d rows: it is damaged"):format(count, job.rows))
  end
end

-- Writes the files into a folder, and returns their paths. If one cannot be written none appears. Files of an earlier
-- time are removed if no row is in their state any more: they would still list rows that are done since.
return function(job, folder)
  local name = (job.file or job.name):match("([^/]*)$"):gsub("%.[cC][sS][vV]$", "")
  local outputs = setmetatable({ base = folder .. "/" .. name, files = {} }, Outputs)
  local fine, why = pcall(write_all, job, outputs)
  if not fine then
    outputs:discard()
    error(why, 0)
  end
  local paths = {}
  for part, one in pairs(outputs.files) do
    check(one.path, one.file:publish())
    paths[part] = one.path
  end
  for _, part in pairs(others) do
    if not paths[part] then
      os.remove(outputs.base .. "." .. part .. ".csv")
    end
  end
  return paths
end
