-- Moves a card from one contact to another:
--    lua5.4 examples/recipes/move.lua 0043 UUID-BEFORE UUID-AFTER
local leat = require("leat")

local value, before, after = arg[1], arg[2], arg[3]
assert(after, "usage: move.lua VALUE UUID-BEFORE UUID-AFTER")
local cards = leat.from_env().contact_identifiers

local function move()
  local others, no_contact = cards:list { contact_uuid = after }
  if not others then
    return nil, no_contact -- before anything is unlinked
  end
  local card, err = cards:unlink(value, { expect = before })
  if card then
    return card:link(after)
  elseif not err.card then
    return nil, err
  end
  -- A conflict: err.card is the card as it is now.
  local owner = err.card.contact and err.card.contact.uuid
  if not owner then
    return err.card:link(after) -- an earlier run was interrupted between the two steps
  elseif owner == after then
    return err.card -- an earlier run moved it
  end
  return nil, err
end

local card, err = move()
if not card then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(("%s: contact %s"):format(card.value, card.contact.uuid))
