-- Replaces a lost card: deactivates it, and gives the new one to the same contact:
--    lua5.4 examples/recipes/replace.lua LOST NEW
local leat = require("leat")

local lost, new = arg[1], arg[2]
assert(new, "usage: replace.lua LOST NEW")
local cards = leat.from_env().contact_identifiers

local function replace()
  local old, err = cards:update(lost, { active = false }) -- returns the inactive card
  if not old then
    return nil, err
  elseif not old.contact then
    return nil, ("%s is inactive, and has no contact that could get %s"):format(lost, new)
  end
  -- A card without a name has its value as its name.
  local name = old.name ~= old.value and old.name or nil
  return cards:ensure(new, { name = name, contact_uuid = old.contact.uuid })
end

local card, err = replace()
if not card then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(("%s: inactive\n%s: contact %s"):format(lost, card.value, card.contact.uuid))
