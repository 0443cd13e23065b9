-- How items are stored: as JSON whose keys are in a fixed order, so that equal values are equal texts.

local cjson = require("cjson").new()

local items = {}

local function fixed_order(keys)
  return function(values)
    local parts = {}
    for _, key in ipairs(keys) do
      local value = values[key]
      if value ~= nil then
        parts[#parts + 1] = ('"%s":%s'):format(key, cjson.encode(value))
      end
    end
    return parts[1] and "{" .. table.concat(parts, ",") .. "}" or nil
  end
end

-- Encodes the arguments of an item without its value; nil if there are no others.
items.encode_arguments = fixed_order { "name", "contact_uuid", "contact_email", "active", "expect" }
-- Encodes the state of a card before a change.
items.encode_before = fixed_order { "exists", "inactive", "contact_uuid", "name", "active" }

-- Decodes what the functions above encoded; an empty table for nil.
function items.decode(text)
  return text and cjson.decode(text) or {}
end

local encode_seen = fixed_order { "value", "name", "active", "contact_uuid", "contact_email" }

local function text_or_nil(value)
  return type(value) == "string" and value or nil
end

-- Encodes what is kept of a card that the service returned.
function items.encode_seen(card)
  local contact = type(card.contact) == "table" and card.contact or {}
  local active = card.active
  if type(active) ~= "boolean" then
    active = nil
  end
  return encode_seen { value = text_or_nil(card.value), name = text_or_nil(card.name), active = active,
    contact_uuid = text_or_nil(contact.uuid), contact_email = text_or_nil(contact.email) }
end

return items
