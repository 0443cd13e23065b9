-- Gives customers their cards. Each line of the file has a card's value and a contact's uuid.
--    LEAT_API_KEY=... lua5.4 examples/card_script.lua cards.txt
-- examples/card_script_spec.lua tests it without the service.
local leat = require("leat")

local card_script = {}

-- Returns "done", "taken" (the card belongs to another contact) or "failed", and the error.
local function give(cards, value, uuid)
  local card, err = cards:create(value, { contact_uuid = uuid })
  if card then
    return "done"
  elseif err.kind ~= "already_exists" and not err.outcome_unknown then
    return "failed", err
  end
  card, err = cards:find(value) -- it already existed, or a response was lost: find out
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
  local client = leat.from_env()
  card_script.run(client, io.lines(assert(arg[1], "usage: card_script.lua FILE")), print)
end

return card_script
