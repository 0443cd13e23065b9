-- A cache of finds in each worker. While a find is under way, all other requests for the same card
-- wait for it. The service's responses are cached, and "there is no such card" too, but for a shorter
-- time; failures are not cached.
local client = require("client")
local lrucache = require("resty.lrucache") -- comes with every nginx that has Lua
local semaphore = require("ngx.semaphore")

local finds = {}

local CARD = "^[%w._-]+$" -- the format of our cards: other values are refused without a request
local MOST, FOUND, REFUSED = 10000, 60, 10 -- number of values; seconds
local START, LONGEST = 1, 8 -- seconds after which a timer counts as lost, and a find as dead
local kept, under_way = assert(lrucache.new(MOST)), {}

local is_answer = { not_found = true, inactive = true, invalid_input = true }

local function find(value)
  local card, err = client.contact_identifiers:find(value)
  if card or is_answer[err.kind] then
    kept:set(value, { card = card, err = err }, card and FOUND or REFUSED)
  end
  return card, err
end

-- Finds the card for all that wait. If this does not end, the next waiting request takes over.
local function find_for_all(value, job)
  job.begun, job.due = true, ngx.now() + LONGEST
  local fine, card, err = pcall(find, value)
  job.card, job.err, job.raised = fine and card, err, not fine and card
  job.ended = true
  if under_way[value] == job then
    under_way[value] = nil
  end
  job.ready:post(math.max(1, -job.ready:count())) -- resumes all that wait
end

-- The find runs in a timer, because nginx ends a request when its visitor disconnects, and others wait for
-- the find. No upvalue may be a local of the request, because its stack is reused.
local function on_timer(_, value, job)
  if not job.begun then
    find_for_all(value, job)
  end
end

-- nginx silently drops timers beyond lua_max_running_timers, so every wait has a limit.
local function wait_for(value, job)
  while not job.ended do
    job.ready:wait(math.max(0.001, job.due - ngx.now()))
    if not job.ended and ngx.now() >= job.due then
      find_for_all(value, job)
    end
  end
  if job.raised then
    error(job.raised, 0)
  end
  return job.card, job.err
end

function finds.is_value(value)
  return #value <= 64 and value:find(CARD) ~= nil
end

--- Like `find` of contact_identifiers, but all requests share the card: do not change it.
function finds.find(value)
  local known = kept:get(value)
  if known then
    return known.card, known.err
  end
  local job = under_way[value]
  if not job then
    job = { ready = semaphore.new(), due = ngx.now() + START }
    if not ngx.timer.at(0, on_timer, value, job) then -- there are too many timers
      return find(value)
    end
    under_way[value] = job
  end
  return wait_for(value, job)
end

return finds
