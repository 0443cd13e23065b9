-- Prints the balances of the contact that a card belongs to:
--    lua5.4 examples/recipes/balance.lua 0042
local leat = require("leat")

local value = assert(arg[1], "usage: balance.lua VALUE")
local cards = leat.from_env().contact_identifiers

local card, err = cards:find(value)
if not card then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
local contact = card.contact
if not contact then
  print(value .. ": no contact")
  os.exit(0)
end
-- The service decides which balances it sends, so each may be missing.
local credits, prepaid = contact.credit_balance, contact.prepaid_balance
print("credits", credits and credits.balance or "not sent")
print("prepaid", prepaid and ("%.2f"):format(prepaid.balance_in_cents / 100) or "not sent")
