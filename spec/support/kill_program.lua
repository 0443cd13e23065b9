-- Runs a job as a program would: plans it, works on it, writes its results. The specs kill it.
--   LUA kill_program.lua URL JOURNAL FOLDER OPERATION [SETTLE LEASE CONCURRENCY]
local world = dofile("spec/support/kill_world.lua")
local jobs = require("leat.jobs")
local leat = require("leat")

local url, path, folder, operation, settle, lease, concurrency = (table.unpack or unpack)(arg) -- luacheck: ignore

-- Prints an error as the specs expect it, and ends the program.
local function check(result, err)
  if not result then
    print("failed " .. tostring(err.kind) .. ": " .. tostring(err.message))
    os.exit(1)
  end
  return result
end

local client = leat.new { api_key = "sandbox", base_url = url, retry_base = 0.01 }
local store = check(jobs.open(path))
local job = check(store:plan { client = client, operation = operation, rows = world.rows[operation] })
local summary = check(job:run(client, { concurrency = tonumber(concurrency) or 3,
  settle = tonumber(settle) or world.settle, lease = tonumber(lease), probe = 0.1 }))
if summary.state == "finished" then
  check(job:write_results(folder))
end
print(summary.state, summary.kind or "", summary.message or "")
store:close()
client:close()
