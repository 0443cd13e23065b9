-- Finds that are kept for a while, in each worker. Who asks for a card that is being looked up
-- waits for that very find, however many they are. What the service answered is kept, "there
-- is none" too, but not as long; when it could not answer nothing is.
local client = require("client")
local lrucache = require("resty.lrucache") -- comes with every nginx that has Lua
local semaphore = require("ngx.semaphore")

local finds = {}

local CARD = "^[%w._-]+$" -- what cards look like here: anything else is none, and asks nobody
local MOST, FOUND, REFUSED = 10000, 60, 10 -- values; seconds
local kept, under_way = assert(lrucache.new(MOST)), {}

local is_answer = { not_found = true, inactive = true, invalid_input = true }

local function find(value)
  local card, err = client.contact_identifiers:find(value)
  if card or is_answer[err.kind] then
    kept:set(value, { card = card, err = err }, card and FOUND or REFUSED)
  end
  return card, err
end

-- In a timer, for nginx ends a request whenever its visitor goes, and others wait for this. No
-- upvalue may be a local of the request, whose stack is then used again.
local function find_for_all(_, value, job)
  local fine, card, err = pcall(find, value)
  job.card, job.err, job.raised = fine and card, err, not fine and card
  job.ended = true
  under_way[value] = nil
  job.ready:post(math.max(1, -job.ready:count())) -- who waits
end

local function wait_for(job)
  while not job.ended do
    job.ready:wait(60)
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
    job = { ready = semaphore.new() }
    if not ngx.timer.at(0, find_for_all, value, job) then -- there are too many timers
      return find(value)
    end
    under_way[value] = job
  end
  return wait_for(job)
end

return finds
