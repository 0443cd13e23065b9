-- Shows for --dry-run what an operation would do with a card.

local ensure = require("leat.ensure")
local perform = require("leat.cli.perform")

local new_failure = perform.failure

local function uuid_of(card)
  return card.contact and card.contact.uuid
end

-- What an operation would do with a card that exists, by operation: each returns an outcome; or nil and an error.
local previews = {}

function previews.create(card)
  return nil, new_failure("already_exists", "the card exists", card)
end

function previews.ensure(card, options, clean)
  local step, why = ensure.next_step(card, options, clean)
  if step == "conflict" then
    return nil, new_failure("conflict", why, card)
  end
  return step and "would_be_" .. (step == "link" and "linked" or "named") or "existed"
end

function previews.link(card)
  if card.contact then
    return nil, new_failure("already_linked", "the card belongs to contact " .. tostring(uuid_of(card)), card)
  end
  return "would_be_linked"
end

function previews.unlink(card)
  if not card.contact then
    return nil, new_failure("not_linked", "the card belongs to no contact", card)
  end
  return "would_be_unlinked"
end

function previews.update()
  return "would_be_updated"
end

function previews.delete()
  return "would_be_deleted"
end

local function check_expect(card, options)
  local expect = type(options) == "table" and options.expect
  if type(options) == "table" and options.expect ~= nil and (uuid_of(card) or false) ~= expect then
    return new_failure("conflict", ("the card belongs to %s"):format(uuid_of(card) or "no contact"), card)
  end
end

-- Finds the card, and returns what the operation would do with it: the card, or true if there is none (yet, or
-- to be seen); then nil, info and the outcome. Or nil and an error.
return function(context, name, value, options)
  local resource = context.client.contact_identifiers
  local good, why = resource:validate(name, value, options)
  if not good then
    return nil, new_failure("usage", why)
  end
  local card, err, info = resource:find(value)
  local creates = name == "create" or name == "ensure"
  if err and err.kind == "not_found" and creates then
    return true, nil, { attempts = err.attempts }, "would_be_created"
  elseif err and err.kind == "inactive" and name == "create" then
    return previews.create()
  elseif err and err.kind == "inactive" and options.expect == nil and (name == "update" or name == "delete") then
    return true, nil, { attempts = err.attempts }, previews[name]()
  elseif err then
    return nil, err
  end
  local outcome
  outcome, err = previews[name](card, options, function(text) return context.output:clean(text) end)
  err = check_expect(card, options) or err
  return not err and card or nil, err, info, outcome
end
