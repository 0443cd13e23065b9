--- A contact identifier: a loyalty card, or anything unique that stands for a customer.
--
-- A plain table with the service's fields as they came, null as absent: `value`, `name`,
-- `active`, `contact` (with `uuid`, ...). Its methods act on it, refresh its fields in
-- place and return it, so that calls chain:
--
--    card:unlink():link(uuid)
--
-- On failure they return `nil, err`, and nothing in the card changes. `tostring(card)` shows
-- its value, name and contact. A field of the service's that has the name of a method (`link`,
-- `unlink`, `update`, `delete`) is dropped: the method wins.
-- @classmod leat.contact_identifier

local contact_identifier = {}
local clean = require("leat.core").clean

--- Links the card to a contact.
-- @function link
-- @tparam string contact_uuid
-- @return the card; or nil, err

--- Unlinks the card from its contact.
-- @function unlink
-- @tparam[opt] table options `expect`: the uuid of the contact that the card must belong to, or
--   false, for no contact; else nothing is changed, and that is a `conflict`
-- @return the card; or nil, err

--- Changes the card's `name`, or whether it is `active`.
-- @function update
-- @tparam table options `{ name = "...", active = true }`, either or both; and `expect`
-- @return the card; or nil, err

--- Deletes the card. The table stays as it was.
-- @function delete
-- @tparam[opt] table options `expect`
-- @return true; or nil, err
local actions = { "link", "unlink", "update", "delete" }

-- One line, without characters that are invisible or move a terminal's cursor.
local function describe(card)
  local text = "contact identifier " .. tostring(card.value)
  if card.name ~= nil and card.name ~= card.value then
    text = ("%s, name %s"):format(text, tostring(card.name))
  end
  local contact = card.contact
  local whose = type(contact) == "table" and contact.uuid and "contact " .. tostring(contact.uuid) or "no contact"
  return clean(("%s, %s"):format(text, whose))
end

-- The metatable of the cards of one client: `cards` is its resource, the rest is leat.lua's
-- way to make a call.
function contact_identifier.metatable(cards, rows, prepare, finish)
  local methods = {}
  local metatable = { __index = methods, __name = "leat.contact_identifier", __tostring = describe }
  for _, name in ipairs(actions) do
    local row = rows["contact_identifiers." .. name]
    methods[name] = function(card, ...)
      if getmetatable(card) ~= metatable then
        error(("leat: call it with a colon: card:%s(...)"):format(name), 2)
      end
      return finish(cards, row, prepare(cards, row, card.value, ...), card)
    end
  end
  return metatable
end

return contact_identifier
