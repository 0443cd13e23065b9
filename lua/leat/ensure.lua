-- Composes ensure from create, find, link and update. For leat's own modules and its command.
--
-- ensure is idempotent, whatever fails in between: it succeeds only if the card has the requested name
-- and contact. If these contradict the card, it returns a conflict.

local ensure = {}

local same_value = require("leat.core").same_value

local ROUNDS = 4 -- steps at most, in case other clients keep changing the same card

local function trimmed(text)
  return (text:gsub("^%s+", ""):gsub("%s+$", ""))
end

-- Returns the card's name, or nil if it is just the value, which the service uses as the default name.
local function own_name(card)
  return card.name and not same_value(card.name, card.value) and card.name or nil
end

local function has_name(card, name)
  return card.name ~= nil and trimmed(card.name) == trimmed(name)
end

-- Returns what is missing until the card is as desired: "link", "update" or nil; or "conflict" and a message about
-- what contradicts the request, which only the program may decide to change. `clean` makes text of the service fit
-- for a message.
function ensure.next_step(card, desired, clean)
  local uuid, name = card.contact and card.contact.uuid, own_name(card)
  if desired.contact_uuid and uuid and not same_value(uuid, desired.contact_uuid) then
    return "conflict", ("the card belongs to contact %s: unlink it first, if that is right"):format(clean(uuid))
  elseif desired.name and name and not has_name(card, desired.name) then
    return "conflict", ("the card's name is \"%s\": update it, if that is right"):format(clean(name))
  elseif desired.contact_uuid and not card.contact then
    return "link"
  elseif desired.name and not has_name(card, desired.name) then
    return "update"
  end
end

-- Returns nil and a conflict. `so_far` is the progress of this ensure; its `changed` is true once something
-- was changed, or may have been.
local function conflict(message, card, so_far)
  return nil, { kind = "conflict", message = message, card = card, attempts = so_far.attempts,
    sent = so_far.attempts > 0 and "maybe" or "no", outcome_unknown = so_far.changed }
end

-- Adds the attempts and info of a step, and returns the step's value and error.
local function count(so_far, value, err, info)
  so_far.attempts = so_far.attempts + (err or info).attempts
  so_far.info = info or so_far.info or {}
  return value, err
end

-- Links the card if it has no contact, and names it if it has no name of its own. Lists the steps in so_far.steps.
local function complete(cards, card, desired, so_far)
  local function clean(text)
    return cards.handle:clean(text, 80)
  end
  for _ = 1, ROUNDS do
    local err
    local step, wrong = ensure.next_step(card, desired, clean)
    if step == "conflict" then
      return conflict(wrong, card, so_far)
    elseif step == "link" then
      card, err = count(so_far, cards:link(card.value, desired.contact_uuid))
    elseif step == "update" then
      card, err = count(so_far, cards:update(card.value, { name = desired.name }))
    else
      return card
    end
    if card and step then
      table.insert(so_far.steps, step == "link" and "linked" or "named")
    end
    so_far.changed = so_far.changed or card ~= nil or err.outcome_unknown
    if err and err.kind == "already_linked" then -- another client linked it just now: find its contact
      card, err = count(so_far, cards:find(desired.value, { max_age = 0 }))
    end
    if err then
      return nil, err
    end
  end
  return conflict("others keep changing the card", card, so_far)
end

-- Returns the card that exists after a create, or nil and the error of the create or of the find.
local function find_created(cards, desired, so_far, card, err)
  if not card and err.outcome_unknown then
    so_far.outcome, so_far.changed = "recovered", true
  end
  if card then
    so_far.outcome, so_far.changed = so_far.info.outcome or "created", true
  elseif err.kind == "conflict" and err.card then
    return err.card
  elseif err.kind == "already_exists" or err.kind == "conflict" then
    return count(so_far, cards:find(desired.value, { max_age = 0 }))
  end
  return card, err
end

-- `cards` is the resource. `desired` holds `value`, and optionally `name` and `contact_uuid`. `card, err,
-- info` is the result of the first create, which is done; `create` repeats it.
function ensure.run(cards, desired, create, card, err, info)
  local so_far = { attempts = 0, changed = false, outcome = "existed", steps = {} }
  local exists = err and err.kind == "already_exists"
  count(so_far, card, err, info)
  card, err = find_created(cards, desired, so_far, card, err)
  if exists and err and err.kind == "not_found" then -- the card was deleted between create and find
    card, err = find_created(cards, desired, so_far, count(so_far, create()))
  end
  if card then
    card, err = complete(cards, card, desired, so_far)
  end
  if card then
    so_far.info.attempts, so_far.info.outcome = so_far.attempts, so_far.outcome
    so_far.info.changed = so_far.steps[1] and so_far.steps or nil
    return card, nil, so_far.info
  end
  err.operation, err.attempts = "contact_identifiers.ensure", so_far.attempts
  err.outcome_unknown = err.outcome_unknown or so_far.changed
  return nil, err
end

return ensure
