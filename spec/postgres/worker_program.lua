-- Works on a job in PostgreSQL as a program would. The specs start several, and kill or stop them.
--   LUA worker_program.lua URL ADDRESS JOB [KEY=VALUE ...]     KEY is an option of job:run, or api_key, rate or timeout
local jobs = require("leat.jobs")
local leat = require("leat")

local function check(result, err)
  if not result then
    print("failed " .. tostring(err.kind) .. ": " .. tostring(err.message))
    os.exit(1)
  end
  return result
end

local options = { concurrency = 4, settle = 0.5, lease = 3, probe = 0.1, max_failures = 0 }
for i = 4, #arg do
  local name, value = arg[i]:match("^(.-)=(.*)$")
  options[name] = tonumber(value) or value == "true" or value
end

-- Returns an option of the client, which the job does not take.
local function take(name)
  local value = options[name]
  options[name] = nil
  return value
end

local client = leat.new { api_key = take("api_key") or "sandbox", base_url = arg[1], allow_http = true,
  retry_base = 0.01, rate = take("rate"), timeout = take("timeout") }
local store = check(jobs.open(arg[2]))
local summary = check(check(store:job(tonumber(arg[3]))):run(client, options))
print(summary.state, summary.kind or "-", summary.is_last and "last" or "not last", summary.message or "")
store:close()
client:close()
