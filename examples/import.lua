-- Creates the cards of a CSV file, or completes those that exist, each once, whatever happens meanwhile:
--    LEAT_API_KEY=... lua5.4 examples/import.lua cards.csv
-- After an interrupt or a crash, run it again: it continues. `leat import` is the same with everything around it.
local jobs, leat = require("leat.jobs"), require("leat")

local path, journal = arg[1], arg[2]
local file, why = io.open(path or "", "rb")
if not file then
  io.stderr:write("usage: import.lua cards.csv [jobs.db]\n", path and why .. "\n" or "")
  os.exit(2)
end

local client = leat.from_env { rate = tonumber(os.getenv("LEAT_RATE")) or 5 }
local csv = leat.assert(jobs.csv(function() return file:read(65536) end, "ensure"))
local store = leat.assert(jobs.open(journal))
local job, earlier = store:plan { client = client, operation = "ensure", csv = csv, file = path }
leat.assert(job, earlier)
print(("%s job %d: %d rows, %d rejected"):format(earlier and "continues" or "begins", job.id, job.rows, job.rejected))

local summary = leat.assert(job:run(client, { progress = function(p)
  print(("%d done of %d, %d failed, %.1f/s"):format(p.done, p.rows, p.failed, p.rate))
end }))
for row in job:results() do
  if row.state ~= "done" then
    print(("line %d: %s: %s"):format(row.line, row.state, row.message or ""))
  end
end
print(summary.state, leat.assert(job:write_results()).results)
os.exit(job.done + job.skipped == job.rows and 0 or 1)
