-- Sends the header of a partner with every request, and prints the account of the key:
--    LEAT_PARTNER_ID=... lua5.4 examples/recipes/partner.lua
local leat = require("leat")

local partner = os.getenv("LEAT_PARTNER_ID") or ""
assert(partner ~= "", "LEAT_PARTNER_ID is not set")
local client = leat.from_env { headers = { ["X-Partner-ID"] = partner } }

local account, err = client:check()
if not account then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print(account.company)
