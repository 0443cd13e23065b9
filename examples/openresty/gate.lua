-- Lets in visitors whose card is active and linked to a contact; others get a 403. A card that has
-- been unlinked still opens the door for the minute that finds are cached.
--
-- While the service is down, only cards that were found within that minute get in. Others get a
-- 503, and may try again. If it is better to let everyone in meanwhile (to a coffee corner, not to a
-- vault), return instead of refusing.
local finds = require("finds")

local gate = {}

local refusals = { not_found = true, inactive = true, invalid_input = true }

local function refuse(status, why)
  ngx.status = status
  ngx.header["Retry-After"] = status == 503 and 5 or nil
  ngx.say(why)
  ngx.exit(status)
end

local function value_of_request()
  local value = ngx.var.http_x_card or ngx.unescape_uri(ngx.var.arg_card or "")
  return finds.is_value(value) and value or nil
end

function gate.check()
  local value = value_of_request()
  if not value then
    return refuse(403, "Which card? X-Card: VALUE, or ?card=VALUE")
  end
  local card, err = finds.find(value)
  if not card and not refusals[err.kind] then
    ngx.log(ngx.ERR, tostring(err))
    return refuse(503, "Cards can't be looked up now. Please come again.")
  elseif not card or card.active == false or not card.contact then
    return refuse(403, "This card does not open the door.")
  end
  ngx.ctx.card = card
end

return gate
