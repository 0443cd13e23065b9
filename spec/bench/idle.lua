-- Measures a poll that finds nothing to do, with IN_FLIGHT finds in flight: prints seconds.
--    idle.lua IN_FLIGHT
-- The server responds a second after the last request was sent. The program counts the polls that fit
-- in half a second before the first response; each poll includes reading the clock.
local leat, tasks = require("leat"), require("leat.tasks")
local now = dofile("spec/support/clock.lua")

local IN_FLIGHT = tonumber(arg[1])

local client = leat.new {
  api_key = os.getenv("LEAT_API_KEY"),
  base_url = os.getenv("LEAT_BASE_URL"),
  max_connections = IN_FLIGHT,
}
local cards, value = client.contact_identifiers, os.getenv("BENCH_VALUE")

local responded = false
for _ = 1, IN_FLIGHT do
  tasks.spawn(function()
    assert(leat.assert(cards:find(value)).value == value)
    responded = true
  end)
end

local polls = {} -- the number of polls in each tenth of a second
local tenth
repeat
  tenth = math.floor(now() * 10)
  polls[tenth] = (polls[tenth] or 0) + 1
  tasks.poll()
until responded
tasks.run()
client:close()

local count = 0
for i = tenth - 6, tenth - 2 do
  count = count + (polls[i] or 0)
end
print(0.5 / count)
