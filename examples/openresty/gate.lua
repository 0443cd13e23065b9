-- Lets in visitors whose card is active and linked to a contact; others get a 403.
--
-- A card that is presented often opens the door for up to eleven minutes after another program has unlinked it, and for
-- up to an hour while the service does not respond. For a door that must know better: find(value, { max_age = 0 }).
--
-- While the service does not respond, cards that are not in the cache get a 503, and may try again. If it is better to
-- let everyone in meanwhile (to a coffee corner, not to a vault), return instead of refusing.
local cards = require("client").contact_identifiers
local is_value = require("card").is_value

local gate = {}

local refusals = { not_found = true, inactive = true, invalid_input = true }

local function refuse(status, why)
  ngx.status = status
  ngx.header["Retry-After"] = status == 503 and 5 or nil
  ngx.say(why)
  ngx.exit(status)
end

function gate.check()
  local value = ngx.var.http_x_card or ngx.unescape_uri(ngx.var.arg_card or "")
  if not is_value(value) then
    return refuse(403, "Which card? X-Card: VALUE, or ?card=VALUE")
  end
  local card, err = cards:find(value)
  if not card and not refusals[err.kind] then
    ngx.log(ngx.ERR, tostring(err))
    return refuse(503, "Cards can't be looked up now. Please come again.")
  elseif not card or card.active == false or not card.contact then
    return refuse(403, "This card does not open the door.")
  end
  ngx.ctx.card = card
end

return gate
