-- Finds that are kept for a while, in each worker. Requests for a card that is being found wait for
-- that very find, however many they are. What the service answered is kept, "there is none" too,
-- but not as long; when it could not answer, nothing is.
local client = require("client")
local lrucache = require("resty.lrucache") -- comes with every nginx that has Lua
local semaphore = require("ngx.semaphore")

local finds = {}

local CARD = "^[%w._-]+$" -- what cards look like here: anything else is none, and asks nobody
local MOST, FOUND, REFUSED = 10000, 60, 10 -- values; seconds
local START, LONGEST = 1, 8 -- seconds in which a timer begins, or never; and a find ends, or has died
local kept, under_way = assert(lrucache.new(MOST)), {}

local is_answer = { not_found = true, inactive = true, invalid_input = true }

local function find(value)
  local card, err = client.contact_identifiers:find(value)
  if card or is_answer[err.kind] then
    kept:set(value, { card = card, err = err }, card and FOUND or REFUSED)
  end
  return card, err
end

-- Finds for all who wait. The next to wait takes over if this does not end.
local function find_for_all(value, job)
  job.begun, job.due = true, ngx.now() + LONGEST
  local fine, card, err = pcall(find, value)
  job.card, job.err, job.raised = fine and card, err, not fine and card
  job.ended = true
  if under_way[value] == job then
    under_way[value] = nil
  end
  job.ready:post(math.max(1, -job.ready:count())) -- for all who wait
end

-- In a timer, because nginx ends a request whenever its visitor goes, and others wait for this. No
-- upvalue may be a local of the request, whose stack is then used again.
local function on_timer(_, value, job)
  if not job.begun then
    find_for_all(value, job)
  end
end

-- nginx drops timers beyond lua_max_running_timers without a word, so no wait is for ever.
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

--- Like `find` of contact_identifiers; but the card belongs to all who ask: do not change it.
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
