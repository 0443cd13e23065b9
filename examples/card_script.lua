-- Gives customers their cards: each line of a file is a card's value and a contact's uuid.
--    LEAT_API_KEY=... lua5.4 examples/card_script.lua cards.txt
-- How it is tested without the service: examples/card_script_spec.lua
local leat = require("leat")

local card_script = {}

-- "done", "taken" (by somebody else) or "failed"; then why.
local function give(cards, value, uuid)
  local card, err = cards:create(value, { contact_uuid = uuid })
  if card then
    return "done"
  elseif err.kind ~= "already_exists" and not err.outcome_unknown then
    return "failed", err
  end
  card, err = cards:find(value) -- it was there before, or a response was lost: look
  if card and not card.contact then
    card, err = card:link(uuid)
  end
  if not card then
    return "failed", err
  end
  return card.contact.uuid == uuid and "done" or "taken"
end

--- Calls tell(value, outcome, why) for each line.
function card_script.run(client, lines, tell)
  for line in lines do
    local value, uuid = line:match("^(%S+)%s+(%S+)$")
    if value then
      tell(value, give(client.contact_identifiers, value, uuid))
    end
  end
end

if arg and arg[0] and arg[0]:find("card_script%.lua$") then
  local client = leat.new { api_key = os.getenv("LEAT_API_KEY"), base_url = os.getenv("LEAT_BASE_URL") }
  card_script.run(client, io.lines(assert(arg[1], "usage: card_script.lua FILE")), print)
end

return card_script
