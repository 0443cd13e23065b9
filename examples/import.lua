-- Creates and links a program's own rows, each once, whatever happens meanwhile:
--    LEAT_API_KEY=... lua5.4 examples/import.lua members.txt
-- Each line has a card's value and, after a blank, the e-mail address of its contact. Interrupt or kill the program,
-- and run it again: it continues. (For CSV files there is the command `leat import`.)
local jobs, leat = require("leat.jobs"), require("leat")

local path = arg[1]
if not path then
  io.stderr:write("usage: import.lua FILE\n")
  os.exit(2)
end

-- Returns an iterator over the rows. They may as well come from a database, as long as they are the same each time.
local function rows()
  local lines = io.lines(path)
  return function()
    local line = lines()
    local value, email = (line or ""):match("^(%S+)%s+(%S+)$")
    return line and { value = value or line, contact_email = email }
  end
end

local client = leat.from_env { rate = 5 }
local store = leat.assert(jobs.open(os.getenv("LEAT_DB"))) -- the journal; nil: where the command has it
local job = leat.assert(store:plan { client = client, operation = "ensure", name = path, rows = rows() })
local summary = leat.assert(job:run(client, { progress = function(p)
  io.stderr:write(("%d of %d done, %d failed\n"):format(p.done, p.rows, p.failed))
end }))

for row in job:results() do
  print(row.line, row.value, row.outcome, row.message or "")
end
print(("job %d is %s%s: %d of %d rows done"):format(job.id, job.state, summary.kind and ": " .. summary.kind or "",
  job.done, job.rows))
os.exit(job.done + job.skipped == job.rows and 0 or 1)
