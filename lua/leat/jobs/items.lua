-- How items are stored: as JSON whose keys are in a fixed order, so that equal values are equal texts.

local cjson = require("cjson").new()
local columns = require("leat.jobs.columns")
local csv = require("leat.csv")

local items = {}

-- Encodes a value. Most strings need no escapes.
local function encode(value)
  if type(value) == "string" and not value:find('[%c"\\/\127-\255]') then
    return '"' .. value .. '"'
  end
  return cjson.encode(value)
end

local function fixed_order(keys)
  local heads = {}
  for i, key in ipairs(keys) do
    heads[i] = '"' .. key .. '":'
  end
  return function(values)
    local text
    for i = 1, #keys do
      local value = values[keys[i]]
      if value ~= nil then
        text = (text and text .. "," or "{") .. heads[i] .. encode(value)
      end
    end
    return text and text .. "}" or nil
  end
end

-- Encodes the arguments of an item without its value; nil if there are no others.
items.encode_arguments = fixed_order { "name", "contact_uuid", "contact_email", "active", "expect" }
-- Encodes the state of a card before a change.
items.encode_before = fixed_order { "exists", "inactive", "contact_uuid", "name", "active" }

-- Decodes what one of these functions encoded; an empty table for nil.
function items.decode(text)
  return text and cjson.decode(text) or {}
end

-- Encodes where the rows of a file have which argument.
items.encode_layout = fixed_order { "separator", "value", "name", "contact_uuid", "contact_email", "active", "expect" }

local function decode_arguments(card, text)
  local arguments = items.decode(text)
  arguments.value = card
  return arguments
end

-- Returns the function that returns the arguments of a job's items: `f(card, arguments, bytes)`. Those of a program's
-- rows are stored; those of a file's rows are in their bytes, and `layout` says where.
function items.reader(layout)
  if not layout then
    return decode_arguments
  end
  layout = items.decode(layout)
  local read = columns.reader(layout)
  return function(_, _, bytes)
    return read(csv.cells(bytes, layout.separator))
  end
end

-- Decodes the state of a card before a change; nil for nil.
function items.decode_before(text)
  return text and cjson.decode(text)
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
