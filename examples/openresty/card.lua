-- Responds with a card as JSON, or with { "error": kind } and the status that fits the error.
local cjson = require("cjson")
local client = require("client")

local card = {}

local CARD = "^[%w._-]+$" -- the format of our cards: other values are refused without a request

-- The visitor's errors get a 4xx, the service's a 502 to 504. Any other error is ours, such as a wrong
-- key, and gets a 500 without details.
local statuses = {
  not_found = 404, inactive = 410, invalid_input = 400,
  connection = 502, tls = 502, server = 502, protocol = 502, too_large = 502, redirect = 502,
  rate_limited = 503, maintenance = 503, quota_reached = 503, timeout = 504,
}

local function say(status, answer)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.say(cjson.encode(answer))
end

function card.is_value(value)
  return #value <= 64 and value:find(CARD) ~= nil
end

function card.answer(value)
  if not card.is_value(value) then
    return say(404, { error = "not_found" })
  end
  local found, err = client.contact_identifiers:find(value)
  if found then
    return say(200, found)
  end
  local status = statuses[err.kind] or 500
  if status >= 500 then
    ngx.log(ngx.ERR, tostring(err)) -- the log gets the whole error, which contains no key
  end
  if err.retry_after then
    ngx.header["Retry-After"] = math.ceil(err.retry_after)
  end
  say(status, { error = status == 500 and "internal" or err.kind })
end

return card
