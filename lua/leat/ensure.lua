-- Composes create, find, link and update into ensure. For leat.lua only.
--
-- The result is the same however often it is called, and whatever happened on the way: success
-- only with the name and the contact that were asked for, else a conflict.

local clean = require("leat.core").clean

local ROUNDS = 4 -- of steps, where others change the same card meanwhile

local function trimmed(text)
  return (text:gsub("^%s+", ""):gsub("%s+$", ""))
end

-- The service names a card after its value where it is given no name.
local function own_name(card)
  return card.name and card.name ~= card.value and card.name or nil
end

local function has_name(card, name)
  return card.name ~= nil and trimmed(card.name) == trimmed(name)
end

-- What nothing but its owner may change; nil: nothing.
local function contradiction(card, wanted)
  local uuid, name = card.contact and card.contact.uuid, own_name(card)
  if wanted.contact_uuid and uuid and trimmed(uuid):lower() ~= trimmed(wanted.contact_uuid):lower() then
    return ("the card belongs to contact %s: unlink it first, if that is right"):format(uuid)
  elseif wanted.name and name and not has_name(card, wanted.name) then
    return ("the card's name is \"%s\": update it, if that is right"):format(name)
  end
end

-- What became of it so far: `changed` is true once something was changed, or may have been.
local function conflict(message, card, so_far)
  return nil, { kind = "conflict", message = clean(message), card = card, attempts = so_far.attempts,
    sent = so_far.attempts > 0 and "maybe" or "no", outcome_unknown = so_far.changed }
end

-- Takes the result of a step, which may be its error.
local function count(so_far, value, err, info)
  so_far.attempts = so_far.attempts + (err or info).attempts
  so_far.info = info or so_far.info or {}
  return value, err
end

-- Links the card, and names it, as far as that is missing and no one else's to decide.
local function adopt(cards, card, wanted, so_far)
  for _ = 1, ROUNDS do
    local err
    local wrong = contradiction(card, wanted)
    if wrong then
      return conflict(wrong, card, so_far)
    elseif wanted.contact_uuid and not card.contact then
      card, err = count(so_far, cards:link(card.value, wanted.contact_uuid))
    elseif wanted.name and not has_name(card, wanted.name) then
      card, err = count(so_far, cards:update(card.value, { name = wanted.name }))
    else
      return card
    end
    so_far.changed = so_far.changed or card ~= nil or err.outcome_unknown
    if err and err.kind == "already_linked" then -- a moment ago, to whom find tells
      card, err = count(so_far, cards:find(wanted.value))
    end
    if err then
      return nil, err
    end
  end
  return conflict("others keep changing the card", card, so_far)
end

-- The card that is there after a create; or its error, or why it was not found.
local function find_created(cards, wanted, so_far, card, err)
  if not card and err.outcome_unknown then
    so_far.outcome, so_far.changed = "recovered", true
  end
  if card then
    so_far.outcome, so_far.changed = so_far.info.outcome or "created", true
  elseif err.kind == "conflict" and err.card then
    return err.card
  elseif err.kind == "already_exists" or err.kind == "conflict" then
    return count(so_far, cards:find(wanted.value))
  end
  return card, err
end

-- `cards` is the resource; `create` makes the call that creates the card once more, for the
-- first is over: `card, err, info` are its result. `wanted` holds `value`, and maybe `name`
-- and `contact_uuid`.
return function(cards, wanted, create, card, err, info)
  local so_far = { attempts = 0, changed = false, outcome = "existed" }
  local exists = err and err.kind == "already_exists"
  count(so_far, card, err, info)
  card, err = find_created(cards, wanted, so_far, card, err)
  if exists and err and err.kind == "not_found" then -- it was deleted in between
    card, err = find_created(cards, wanted, so_far, count(so_far, create()))
  end
  if card then
    card, err = adopt(cards, card, wanted, so_far)
  end
  if card then
    so_far.info.attempts, so_far.info.outcome = so_far.attempts, so_far.outcome
    return card, nil, so_far.info
  end
  err.operation, err.attempts = "contact_identifiers.ensure", so_far.attempts
  err.outcome_unknown = err.outcome_unknown or so_far.changed
  return nil, err
end
