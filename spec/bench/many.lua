-- Finds one contact identifier N times, IN_FLIGHT at a time, and keeps the results:
--    many.lua N IN_FLIGHT
-- The environment names the server and the account, as for find.lua.
local leat, tasks = require("leat"), require("leat.tasks")

local N, IN_FLIGHT = tonumber(arg[1]), tonumber(arg[2])

local client = leat.new {
  api_key = os.getenv("LEAT_API_KEY"),
  base_url = os.getenv("LEAT_BASE_URL"),
  ca_file = os.getenv("BENCH_CA"),
  max_connections = IN_FLIGHT,
  timeout = 300, -- a bench does not fail for being slow
}
local cards = client.contact_identifiers
local value = os.getenv("BENCH_VALUE")

local asked, found = 0, {}
tasks.each(function()
  asked = asked + 1
  return asked <= N and value or nil
end, function(wanted)
  local card = leat.assert(cards:find(wanted))
  found[#found + 1] = card
  return card
end, { concurrency = IN_FLIGHT })
client:close()

assert(#found == N)
for _, card in ipairs(found) do
  assert(card.value == value)
end
os.exit(true) -- skips freeing the results, which would be counted as a cost of the finds
