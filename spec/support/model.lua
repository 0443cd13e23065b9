-- A model of the service, after the API's documentation, for the card "x": how an operation changes the
-- card, and what a call may report. It uses neither the library nor the sandbox.
local model = {}

-- Returns a card as a string, for comparison; nil means that there is no card.
function model.show(card)
  if not card then
    return "gone"
  end
  return ("%s|%s|%s"):format(card.name or "-", card.active and "active" or "inactive", card.contact or "-")
end

-- Converts a card from the API's representation.
function model.read(card)
  return card and { name = card.name, active = card.active, contact = card.contact and card.contact.uuid }
end

local NEEDS_ACTIVE = { find = true, link = true, unlink = true }

-- Returns the error codes that apply. The API does not document in which order it checks for them.
local function reasons(card, ask)
  local codes, what = {}, ask.operation
  codes[60006] = what == "create" and card ~= nil or nil
  codes[60003] = what ~= "create" and not card or nil
  codes[60004] = NEEDS_ACTIVE[what] and card and not card.active or nil
  codes[60014] = what == "link" and card and card.contact and true or nil
  codes[60011] = what == "unlink" and card and not card.contact or nil
  codes[55031] = ask.contact == "nobody" or nil
  return next(codes) and codes
end

-- Returns the card after an operation that nothing prevents.
local function change(card, ask)
  local what = ask.operation
  if what == "create" then
    return { name = ask.name or "x", active = true, contact = ask.contact } -- the name defaults to the value
  elseif what == "delete" then
    return nil
  end
  local new = { name = card.name, active = card.active, contact = card.contact }
  if what == "link" then new.contact = ask.contact end
  if what == "unlink" then new.contact = nil end
  if what == "update" then
    new.name = ask.name or new.name
    if ask.active ~= nil then new.active = ask.active end
  end
  return new
end

-- A card without a name of its own has its value as its name; then this returns nil.
local function own_name(card)
  return card.name ~= "x" and card.name or nil
end

-- Returns whether ensure must refuse, because the card has another contact or another name.
local function is_of_another(card, ask)
  local name = own_name(card)
  return ask.contact and card.contact and card.contact ~= ask.contact or ask.name and name and name ~= ask.name
end

-- Returns the card after a successful ensure.
local function ensured(card, ask)
  if not card then
    return change(nil, { operation = "create", name = ask.name, contact = ask.contact })
  end
  return { name = ask.name or card.name, active = true, contact = ask.contact or card.contact }
end

-- Like contradiction, but for ensure, which takes several steps and may fail between them.
local function ensure_contradiction(before, ask, after, value, err, info)
  local refused = before and (not before.active or is_of_another(before, ask)) or
    ask.contact == "nobody" and not (before and before.contact)
  local was, is, asked = model.show(before), model.show(after), not refused and model.show(ensured(before, ask))
  if value then
    if model.show(model.read(value)) ~= is then
      return "the response shows another card"
    elseif info.outcome == (before and "created" or "existed") then -- it may also be "recovered"
      return "the outcome is not what happened"
    end
    return refused and "done, though there was a reason to refuse it" or is ~= asked and "done, but it is not" or nil
  elseif err.kind == "conflict" and not (before and is_of_another(before, ask)) then
    return "there is nothing that it is in conflict with"
  elseif err.code == 60006 or err.code == 60014 then
    return "ensure takes care of this code"
  elseif err.outcome_unknown then
    local partly = before and after and after.active == before.active and
      (after.name == before.name or after.name == ask.name) and
      (after.contact == before.contact or after.contact == ask.contact)
    return is ~= was and is ~= asked and not partly and "something else has changed" or nil
  end
  return is ~= was and "failed, but it has changed" or nil
end

local function is_as_asked(card, ask)
  if not card then
    return ask.operation == "delete"
  end
  local show = model.show(card)
  return ask.operation ~= "delete" and (ask.operation == "create" and show == model.show(change(nil, ask)) or
    ask.operation ~= "create" and show == model.show(change(card, ask)))
end

-- Compares the card before and after an operation with what the call reported. Returns what contradicts
-- what, or nil.
function model.contradiction(before, ask, after, value, err, info)
  if ask.operation == "ensure" then
    return ensure_contradiction(before, ask, after, value, err, info)
  end
  local refused = reasons(before, ask)
  local asked = not refused and model.show(change(before, ask))
  local was, is = model.show(before), model.show(after)
  if value then
    if ask.operation ~= "delete" and model.show(model.read(value)) ~= is then
      return "the response shows another card"
    elseif info.outcome == "recovered" then
      return not is_as_asked(after, ask) and "recovered, but it is not as asked" or
        is ~= asked and is ~= was and "recovered, but more has changed" or nil
    end
    return refused and "done, though there was a reason to refuse it" or is ~= asked and "done, but it is not" or nil
  elseif err.outcome_unknown then
    return ask.operation == "find" and "of a find nothing is unknown" or
      is ~= was and is ~= asked and "something else has changed" or nil
  elseif is ~= was then
    return "failed, but it has changed"
  elseif err.code and not (refused and refused[err.code]) then
    return "there is no reason for this code"
  end
  return err.kind == "conflict" and not refused and "there is nothing that it is in conflict with" or nil
end

return model
