-- Deactivates a card, such as one that was stolen, or activates it again:
--    lua5.4 examples/recipes/deactivate.lua 0042 [on]
local leat = require("leat")

local value = assert(arg[1], "usage: deactivate.lua VALUE [on]")
local cards = leat.from_env().contact_identifiers

local card, err = cards:update(value, { active = arg[2] == "on" })
if not card then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(card.value .. (card.active and ": active" or ": inactive"))
