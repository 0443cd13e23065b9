-- Lets in who has a card that is active and linked to a contact; anybody else gets a 403. A
-- card that is unlinked opens the door for the minute that finds are kept.
--
-- While the service is down only cards get in that were found within that minute. Any other
-- gets a 503, and may come again. Where it is better to let everybody in meanwhile (to a
-- coffee corner, not to a vault), return instead of that.
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
