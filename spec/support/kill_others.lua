-- Gives the cards that a job has changed to another contact, as somebody else might while the job does not run.
--   LUA kill_others.lua URL OPERATION
local world = dofile("spec/support/kill_world.lua")
local core = require("leat.core")
local leat = require("leat")

local client = leat.new { api_key = "sandbox", base_url = arg[1], user_agent = world.OTHERS }
local cards = client.contact_identifiers

local due = core.now() + 1000 * world.late + 150 -- by then late requests of the job have been performed
while core.now() < due do
  core.wait((due - core.now()) / 1000, {})
end

local give = {}

function give.link(value, card)
  if card.contact then
    assert(cards:unlink(value))
    assert(cards:link(value, world.BOB))
  end
end

function give.unlink(value, card)
  if not card.contact then
    assert(cards:link(value, world.BOB))
  end
end

function give.delete(value, card)
  if not card then
    assert(cards:create(value, { contact_uuid = world.BOB }))
  end
end

for _, value in ipairs(world.names) do
  local card, err = cards:find(value)
  assert(card or err.kind == "not_found", err)
  give[arg[2]](value, card)
end
client:close()
