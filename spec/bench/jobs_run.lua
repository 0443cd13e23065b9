-- Creates N cards at a rate, with tasks.each or as a job with a journal. Prints the CPU time and the elapsed time in
-- seconds, without those for loading the rows.
--    jobs_run.lua each|job N RATE PREFIX DATABASE
-- The environment names the server and the account.
local leat, core = require("leat"), require("leat.core")

local how, N, rate, prefix, path = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4], arg[5]
local CONCURRENCY = 16

local client = leat.new {
  api_key = os.getenv("LEAT_API_KEY"),
  base_url = os.getenv("LEAT_BASE_URL"),
  max_connections = CONCURRENCY,
  rate = rate,
}

local function values()
  local i = 0
  return function()
    i = i + 1
    return i <= N and ("%s-%07d"):format(prefix, i) or nil
  end
end

local ways = {}

function ways.each()
  return function()
    local done = 0
    require("leat.tasks").each(values(), function(value)
      leat.assert(client.contact_identifiers:create(value, { name = "Krabby Membership" }))
      done = done + 1
    end, { concurrency = CONCURRENCY })
    assert(done == N)
  end
end

function ways.job()
  local store = assert(require("leat.jobs").open(path))
  local next_value = values()
  local job = assert(store:plan {
    operation = "create",
    rows = function()
      local value = next_value()
      return value and { value = value, name = "Krabby Membership" }
    end,
  })
  return function() assert(job:run(client)) end
end

local run = ways[how]()
local cpu, wall = os.clock(), core.now()
run()
print(("%.6f %.6f"):format(os.clock() - cpu, (core.now() - wall) / 1000))
client:close()
