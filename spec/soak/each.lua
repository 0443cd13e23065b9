-- Runs tasks.each over many values: none is lost, none comes twice, and memory does not grow.
--    make soak SOAK_N=1000000
-- LEAT_BASE_URL names the server, spec/support/slow_server.
local leat, tasks = require("leat"), require("leat.tasks")

local N = tonumber(arg[1])
local MOST_GROWTH = 1024 -- kB, from the first tenth to the last

local client = leat.new { api_key = "soak-test-key", base_url = os.getenv("LEAT_BASE_URL"), max_connections = 64 }
local cards = client.contact_identifiers

local function resident() -- kB
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmRSS:%s*(%d+)")
    if kb then
      return tonumber(kb)
    end
  end
end

local given, taken, sum, measured = 0, 0, 0, {}
local summary = tasks.each(function()
  given = given + 1
  return given <= N and given or nil
end, function(number)
  local card, err = cards:find("1")
  taken, sum = taken + 1, sum + number
  if taken % math.floor(N / 10) == 0 then
    measured[#measured + 1] = resident()
  end
  return card, err
end, { concurrency = 64 })
client:close()

local growth = measured[#measured] - measured[1]
print(("%d values, %d failed, %.0f a second; resident kB by tenths: %s"):format(summary.done, summary.failed,
  summary.rate, table.concat(measured, " ")))
local complete = summary.done == N and taken == N and sum == N * (N + 1) / 2 and summary.failed == 0
local good = complete and growth <= MOST_GROWTH
print(good and "soak: 1 passed, 0 failed" or "soak: 0 passed, 1 failed")
os.exit(good and 0 or 1)
