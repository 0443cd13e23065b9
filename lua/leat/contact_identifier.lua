--- A contact identifier: a loyalty card, or anything unique that identifies a customer.
--
-- A card is a plain table. Every field of the service's response is kept, such as `value`, `name`,
-- `active` and `contact` (with `uuid`, ...); JSON nulls are omitted. Its methods send a request,
-- refresh the fields in place and return the card, so that calls can be chained:
--
--    leat.assert(card:unlink()):link(uuid)
--
-- On failure they return `nil, err`, and the card does not change. `tostring(card)` shows its value,
-- name and contact. A field that has the name of a method (`link`, `unlink`, `update`, `delete`) is
-- dropped from the response.
-- @classmod leat.contact_identifier

local contact_identifier = {}

--- Links the card to a contact.
-- @function card:link
-- @tparam string contact_uuid the contact's uuid
-- @return the card, nil, info; or nil, err

--- Unlinks the card from its contact.
-- @function card:unlink
-- @tparam[opt] table options the options:
-- @tparam[opt=not checked] string|boolean options.expect the uuid of the contact that the card must belong to, or false
--   if it must belong to no contact. If it belongs to another, nothing is changed and the error is a `conflict`
-- @return the card, nil, info; or nil, err

--- Changes the card's name, or activates or deactivates it.
-- @function card:update
-- @tparam table options the options, of which `name` or `active` is required:
-- @tparam[opt=unchanged] string options.name the new name
-- @tparam[opt=unchanged] boolean options.active false deactivates the card, true activates it
-- @tparam[opt=not checked] string|boolean options.expect as for `card:unlink`
-- @return the card, nil, info; or nil, err

--- Deletes the card. The table keeps its fields.
-- @function card:delete
-- @tparam[opt] table options the options:
-- @tparam[opt=not checked] string|boolean options.expect as for `card:unlink`
-- @return true, nil, info; or nil, err
local actions = { "link", "unlink", "update", "delete" }

-- Describes the card in one line. `clean` removes control characters, which could move a terminal's
-- cursor.
local function describe(card, clean)
  local text = "contact identifier " .. clean(tostring(card.value))
  if card.name ~= nil and card.name ~= card.value then
    text = ("%s, name %s"):format(text, clean(tostring(card.name)))
  end
  local contact = card.contact
  local uuid = type(contact) == "table" and contact.uuid
  return ("%s, %s"):format(text, uuid and "contact " .. clean(tostring(uuid)) or "no contact")
end

-- Returns a metatable for the cards of one client. `cards` is the client's resource; `rows`, `prepare`
-- and `finish` are what leat.lua makes calls with.
function contact_identifier.metatable(cards, rows, prepare, finish)
  local methods = {}
  local metatable = { __index = methods, __name = "leat.contact_identifier" }
  local function clean(text)
    return cards.handle:clean(text)
  end
  function metatable.__tostring(card)
    return describe(card, clean)
  end
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
