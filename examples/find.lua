-- Finds a contact identifier at the real service:
--    LEAT_API_KEY=... lua5.4 examples/find.lua ABCDE12356-90
local leat = require("leat")

local client = leat.new { api_key = os.getenv("LEAT_API_KEY"), base_url = os.getenv("LEAT_BASE_URL") }
local card, err = client.contact_identifiers:find(assert(arg[1], "usage: find.lua VALUE"))
if not card then
  print(err)
  os.exit(1)
end
print(card.value, card.name or "(no name)", card.contact and card.contact.uuid or "(not linked)")
