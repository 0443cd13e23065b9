-- Finds one contact identifier N times, one after the other:
--    find.lua N
-- LEAT_BASE_URL and LEAT_API_KEY name the server and the account, BENCH_VALUE what to find.
local leat = require("leat")

local client = leat.new {
  api_key = os.getenv("LEAT_API_KEY"),
  base_url = os.getenv("LEAT_BASE_URL"),
  ca_file = os.getenv("BENCH_CA"),
}
local cards = client.contact_identifiers
local value = os.getenv("BENCH_VALUE")

for _ = 1, tonumber(arg[1]) do
  local card = leat.assert(cards:find(value))
  if card.value ~= value then
    error("found " .. tostring(card.value) .. " instead of " .. value)
  end
end
client:close()
