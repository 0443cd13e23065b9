-- The JSON objects that the `leat` command prints.

local core = require("leat.core")

local json = {}

local quote = core.quote

local function number(value)
  return value % 1 == 0 and ("%.0f"):format(value) or ("%.14g"):format(value)
end

-- Returns a value that this program made as JSON: nil, a boolean, a number or a string.
local function encode(value)
  if value == nil then
    return "null"
  elseif type(value) == "boolean" then
    return tostring(value)
  elseif type(value) == "number" then
    return number(value)
  end
  return quote(tostring(value))
end

-- An object that is being written. Members keep their order, and the first one of a name counts.
local Object = {}
Object.__index = Object

function json.object()
  return setmetatable({ members = {}, has = {} }, Object)
end

function Object:add_text(name, text)
  if not self.has[name] then
    self.has[name] = true
    self.members[#self.members + 1] = quote(name) .. ":" .. text
  end
  return self
end

function Object:add(name, value)
  return self:add_text(name, encode(value))
end

function Object:text()
  return "{" .. table.concat(self.members, ",") .. "}"
end

local reserved = { outcome = true, error = true } -- names that say how a command ended

-- Adds what the service sent: the members of an object, which is JSON text.
function Object:add_members(text)
  local names, texts = core.split_json(text)
  for i, name in ipairs(names or {}) do
    if not reserved[name] then
      self:add_text(name, texts[i])
    end
  end
  return self
end

-- Adds the fields of a card: those that every card has first, then all others that the service sent. `text` is
-- the card as the service sent it; nil if that is not known, such as for a card that an error contains.
function Object:add_card(card, text)
  local sent = {}
  local names, texts = core.split_json(text or "")
  for i, name in ipairs(names or {}) do
    sent[name] = texts[i]
  end
  local uuid = card.contact and card.contact.uuid
  local contact = uuid and json.object():add("uuid", uuid):text() or "null"
  self:add_text("value", sent.value or encode(card.value)):add_text("name", sent.name or encode(card.name))
  self:add_text("active", sent.active or encode(card.active)):add_text("contact", sent.contact or contact)
  return self:add_members(text or "")
end

local function add_fields(result, fields)
  local names = {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names)
  local list = json.object()
  for _, name in ipairs(names) do
    local messages = {}
    for i, message in ipairs(fields[name]) do
      messages[i] = encode(message)
    end
    list:add_text(name, "[" .. table.concat(messages, ",") .. "]")
  end
  result:add_text("fields", list:text())
end

-- Returns an error as JSON.
function json.error(err)
  local result = json.object():add("kind", err.kind):add("code", err.code):add("status", err.status)
  result:add("message", err.message):add("outcome_unknown", err.outcome_unknown or false)
  result:add("retry_after", err.retry_after):add("operation", err.operation):add("attempts", err.attempts)
  if err.fields then
    add_fields(result, err.fields)
  end
  if err.card then
    result:add_text("card", json.object():add_card(err.card):text())
  end
  return result:text()
end

return json
