-- Finds a contact identifier at the real service:
--    LEAT_API_KEY=... lua5.4 examples/find.lua ABCDE12356-90
local leat = require("leat")

local value = arg[1]
if not value then
  io.stderr:write("usage: find.lua VALUE\n")
  os.exit(2)
end

local client = leat.from_env()
local card, err = client.contact_identifiers:find(value)
if not card then
  print(err)
  os.exit(1)
end
print(card.value, card.name or "(no name)", card.contact and card.contact.uuid or "(not linked)")
