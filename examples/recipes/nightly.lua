-- Brings the service up to date with two files that another system exports every night:
--    lua5.4 examples/recipes/nightly.lua blocked.csv members.csv [nightly.db]
--
--    blocked.csv: value,active                cards that were blocked (no) or released (yes)
--    members.csv: value,name,contact_email    cards that are new or were given to a contact
--
-- A blocked card must not be in members.csv, because an inactive card cannot be linked.
local jobs, leat = require("leat.jobs"), require("leat")

assert(arg[2], "usage: nightly.lua blocked.csv members.csv [nightly.db]")
local client = leat.from_env { rate = tonumber(os.getenv("LEAT_RATE")) or 5 }
local store = leat.assert(jobs.open(arg[3] or "nightly.db"))
local complete = true

local function run(job)
  local summary = leat.assert(job:run(client))
  local paths = leat.assert(job:write_results())
  local done = job.done + job.skipped -- the second of two equal rows is skipped
  print(("%s: %s, %d of %d rows done"):format(job.name, summary.state, done, job.rows))
  if done < job.rows then
    complete = false
    print("see " .. paths.results)
  end
  if summary.state ~= "finished" then -- for example, the key was refused; the next run continues
    print(summary.message or summary.kind)
    os.exit(1)
  end
end

local function sync(operation, path)
  local name = "nightly " .. operation
  for _, job in ipairs(leat.assert(store:jobs())) do
    if job.name == name and job.state ~= "finished" then
      run(job) -- an earlier run was interrupted
    end
  end
  local file = assert(io.open(path, "rb"))
  local csv = leat.assert(jobs.csv(function() return file:read(65536) end, operation))
  run(leat.assert(store:plan {
    client = client, operation = operation, csv = csv, file = path, name = name,
    again = true, -- the file may be the same as an earlier one
  }))
  file:close()
end

sync("update", arg[1]) -- first, because a card that was released may be in members.csv
sync("ensure", arg[2])
store:remove_old() -- removes the jobs that finished more than 30 days ago
store:close()
os.exit(complete and 0 or 1)
