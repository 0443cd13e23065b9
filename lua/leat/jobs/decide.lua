-- Decides what an item of a job does next. Everything here is pure: it depends on the arguments alone, so that every
-- combination can be tested.
--
-- An item is `{ operation, arguments, maybe_applied, before }`. maybe_applied: a request of an earlier attempt may
-- have been applied. before: the card as it was when an unlink or a delete was about to be sent; it is committed
-- before the request is sent.

local decide = {}

local same_value = require("leat.core").same_value

-- The outcome of an operation that succeeded, unless `info.outcome` says more.
local OUTCOMES = { find = "found", create = "created", ensure = "created", link = "linked", unlink = "unlinked",
  update = "updated", delete = "deleted" }

-- Repeating these is not harmless: they would take a card from its next owner, or delete a card that was created
-- again. They find the card first, and one attempt sends one request.
local FIND_FIRST = { unlink = true, delete = true }

-- After these errors every other item would fail too, so the job pauses.
local STOPS = { unauthorized = true, forbidden = true, quota_reached = true, redirect = true, config = true,
  tls = true, ["local"] = true, no_memory = true }

local TRANSIENT = { connection = true, timeout = true, server = true, maintenance = true, rate_limited = true,
  protocol = true }

-- An earlier request would have failed with the same error, and so changed nothing.
local SETTLED = { invalid_input = true, contact_not_found = true }

-- ---- cards ------------------------------------------------------------------------------

local function trimmed(text)
  return (text:gsub("^%s+", ""):gsub("%s+$", ""))
end

local function has_name(card, name)
  return type(card.name) == "string" and trimmed(card.name) == trimmed(name)
end

-- Returns the uuid of the card's contact, or false.
local function owner_of(card)
  local uuid = type(card.contact) == "table" and card.contact.uuid
  return type(uuid) == "string" and uuid
end

local function same_owner(a, b)
  return a == b or (a and b and same_value(a, b)) or false
end

-- Whether the card belongs to the contact that the arguments name; nil if the card does not show it.
local function has_contact(card, arguments)
  local owner = owner_of(card)
  if not owner then
    return false
  elseif arguments.contact_uuid then
    return same_owner(owner, arguments.contact_uuid)
  end
  local email = card.contact.email
  return type(email) == "string" and same_value(email, arguments.contact_email) or nil
end

local function is_as_updated(card, arguments)
  return (not arguments.name or has_name(card, arguments.name))
    and (arguments.active == nil or card.active == arguments.active)
end

local function is_expected(card, arguments)
  return arguments.expect == nil or same_owner(owner_of(card), arguments.expect)
end

-- ---- steps ------------------------------------------------------------------------------

-- Every step has `earlier`: whether a request of an earlier attempt may have been applied. It differs from the
-- item's maybe_applied where it is known that no request was sent.
local function is_maybe_applied(item)
  if item.operation == "find" then
    return false
  elseif FIND_FIRST[item.operation] then -- before is committed before anything is sent
    return item.maybe_applied and item.before ~= nil and item.before.exists == true or false
  end
  return item.maybe_applied or false
end

local function find(earlier)
  return { action = "find", earlier = earlier }
end

local function done(outcome, card)
  return { action = "end", state = "done", outcome = outcome, card = type(card) == "table" and card or nil }
end

-- Ends the item. It is unknown, and not failed, if a request of it may have been applied.
local function refuse(maybe_applied, err, card)
  return { action = "end", state = maybe_applied and "unknown" or "failed", kind = err.kind, code = err.code,
    message = err.message, card = card or err.card }
end

local function contradict(message, card)
  return refuse(true, { kind = "conflict", message = message }, card)
end

-- Ends the attempt, but not the item. `maybe_applied` replaces the item's.
local function postpone(state, maybe_applied, err)
  return { action = "end", state = state, maybe_applied = maybe_applied, kind = err.kind, code = err.code,
    message = err.message }
end

-- What an error means if no operation knows better. `step` is the one that failed: the error of a find tells nothing
-- about the change.
local function fail(item, step, err)
  local kind, is_change = err.kind, step.action == "send" and item.operation ~= "find"
  local lost = is_change and err.outcome_unknown or false
  local maybe_applied = step.earlier or lost
  if STOPS[kind] or kind == "canceled" then
    local result = postpone(maybe_applied and "later" or "ready", maybe_applied, err)
    result.stop = STOPS[kind] and kind or nil
    return result
  elseif TRANSIENT[kind] or (lost and FIND_FIRST[item.operation]) then
    local result = postpone("later", maybe_applied, err)
    result.transient = true
    return result
  end
  local settled = is_change and SETTLED[kind] and not lost
  return refuse(maybe_applied and not settled, err)
end

local function succeed(item, last)
  local outcome = last.info and last.info.outcome or OUTCOMES[item.operation]
  if outcome == "existed" and last.step.earlier then -- the earlier request may have created it
    outcome = "recovered"
  end
  return done(outcome, last.card)
end

-- ---- create, ensure, link ---------------------------------------------------------------

-- The core verifies before it sends what may have been applied.
local function send_verified(earlier)
  return { action = "send", maybe_applied = earlier or nil, earlier = earlier }
end

-- The card of a link that was refused because the card is linked already.
local function after_finding_link(item, last)
  local card, earlier = last.card, last.step.earlier
  if not card then
    return fail(item, last.step, last.err)
  elseif has_contact(card, item.arguments) then
    return done(earlier and "recovered" or "existed", card)
  elseif earlier then
    return contradict("the card is linked to another contact, and an earlier request to link it may have been applied",
      card)
  end
  local refused = last.step.refused
  return refuse(false, { kind = refused.kind, code = refused.code, message = refused.message }, card)
end

local function after_link(item, last)
  local err = last.err
  if last.step.action == "find" then
    return after_finding_link(item, last)
  elseif not err then
    return succeed(item, last)
  elseif err.kind == "already_linked" and not err.outcome_unknown then
    local step = find(last.step.earlier)
    step.refused = err
    return step
  end
  return fail(item, last.step, err)
end

-- ---- update -----------------------------------------------------------------------------

local function send_update(item, earlier)
  return { action = "send", expect = item.arguments.expect, earlier = earlier }
end

local function begin_update(item, earlier)
  return earlier and find(true) or send_update(item, false)
end

-- An update is idempotent, so it is repeated unless it is known to have been applied. An inactive card does not show
-- its name.
local function after_finding_update(item, last)
  local card, err, arguments = last.card, last.err, item.arguments
  local applied
  if card then
    applied = is_as_updated(card, arguments) and is_expected(card, arguments)
  elseif err.kind == "inactive" then
    applied = arguments.active == false and not arguments.name
  elseif err.kind ~= "not_found" then
    return fail(item, last.step, err)
  end
  return applied and done("recovered", card) or send_update(item, true)
end

local function after_update(item, last)
  if last.step.action == "find" then
    return after_finding_update(item, last)
  end
  return last.err and fail(item, last.step, last.err) or succeed(item, last)
end

-- ---- unlink, delete ---------------------------------------------------------------------

local function send_once(earlier)
  return { action = "send", single = true, earlier = earlier }
end

local function record(before)
  before.exists = true
  return { action = "record", before = before, earlier = false }
end

-- Returns why the change that was not sent yet must not be sent, or nil.
local function refuse_change(item, card)
  if not is_expected(card, item.arguments) then
    local owner = owner_of(card)
    return refuse(false, { kind = "conflict",
      message = owner and "the card belongs to another contact than expected"
        or "the card belongs to no contact, but one was expected" }, card)
  elseif item.operation == "unlink" and not owner_of(card) then
    return refuse(false, { kind = "not_linked", message = "the card is not linked to a contact" }, card)
  end
end

-- Nothing of this item was sent. A find of an inactive card shows none of its fields, but it can be deleted.
local function begin_change(item, last)
  local card, err = last.card, last.err
  if card then
    return refuse_change(item, card)
      or record { contact_uuid = owner_of(card), name = card.name, active = card.active }
  elseif err.kind == "inactive" and item.operation == "delete" and item.arguments.expect == nil then
    return record { inactive = true }
  end
  return fail(item, last.step, err)
end

local function verify_unlink(item, last)
  local card, err = last.card, last.err
  if card and not owner_of(card) then
    return done("recovered", card)
  elseif card and same_owner(owner_of(card), item.before.contact_uuid) then
    return send_once(true)
  elseif card then
    return contradict("the card has another contact by now, and the request to unlink it may have been applied", card)
  elseif err.kind == "not_found" or err.kind == "inactive" then
    return contradict("the card is " .. (err.kind == "inactive" and "inactive" or "gone")
      .. " by now, and the request to unlink it may have been applied")
  end
  return fail(item, last.step, err)
end

local function is_unchanged(card, before)
  return not before.inactive and same_owner(owner_of(card), before.contact_uuid or false)
    and card.name == before.name and card.active == before.active
end

local function verify_delete(item, last)
  local card, err, before = last.card, last.err, item.before
  if err and err.kind == "not_found" then
    return done("recovered")
  elseif err and err.kind ~= "inactive" then
    return fail(item, last.step, err)
  elseif card and is_unchanged(card, before) or err and before.inactive then
    return send_once(true)
  end
  return contradict("the card changed, or was created again, and the request to delete it may have been applied", card)
end

-- The service responds with these to a request that finds the change already made.
local IS_DONE = { unlink = "not_linked", delete = "not_found" }

local function after_sending_once(item, last)
  local err, step = last.err, last.step
  if not err then
    return succeed(item, last)
  elseif step.earlier and err.kind == IS_DONE[item.operation] and not err.outcome_unknown then
    return done("recovered")
  end
  return fail(item, step, err)
end

local function after_change(item, last)
  local step = last.step
  if step.action == "record" then
    return send_once(false)
  elseif step.action == "send" then
    return after_sending_once(item, last)
  elseif not step.earlier then
    return begin_change(item, last)
  elseif item.operation == "unlink" then
    return verify_unlink(item, last)
  end
  return verify_delete(item, last)
end

-- ---- the next step ----------------------------------------------------------------------

local function after_send(item, last)
  return last.err and fail(item, last.step, last.err) or succeed(item, last)
end

local AFTER = { link = after_link, update = after_update, unlink = after_change, delete = after_change }

-- Returns the next step of an item. `last` is nil at the beginning of an attempt; later it is `{ step, card, err,
-- info }`: the step before, and its result. A step is a table; its `action` is
--   "find"    find the card;
--   "send"    perform the operation: with maybe_applied, the core verifies first; with single, max_attempts is 1;
--             expect is passed on;
--   "record"  commit `before`, then ask again;
--   "end"     the attempt ends. state is done, failed or unknown; or ready or later: there will be another attempt,
--             whose item has the step's maybe_applied, and no `before` unless it is true. transient: the error may
--             be an outage; stop: why the job pauses.
function decide.next(item, last)
  local operation = item.operation
  if last then
    return (AFTER[operation] or after_send)(item, last)
  end
  local earlier = is_maybe_applied(item)
  if FIND_FIRST[operation] then
    return find(earlier)
  elseif operation == "update" then
    return begin_update(item, earlier)
  end
  return send_verified(earlier)
end

-- Returns the end of an item that had too many transient errors. `last` is the end of its last attempt.
function decide.exhausted(item, last)
  return refuse(last.maybe_applied or is_maybe_applied(item), last)
end

-- Returns the end of an attempt of which nothing was sent.
function decide.canceled(item)
  local maybe_applied = is_maybe_applied(item)
  return postpone(maybe_applied and "later" or "ready", maybe_applied, { kind = "canceled" })
end

-- Returns the end of an attempt that failed before its first step, with the error of another request.
function decide.failure(item, err)
  return fail(item, find(is_maybe_applied(item)), err)
end

-- Returns the end of an item during which the process ended again and again.
function decide.poisoned()
  return refuse(true, { kind = "poisoned", message = "the process ended several times while it worked on this row" })
end

-- ---- closing verification ---------------------------------------------------------------

-- For each operation, whether the card still is as requested; nil if the card does not show it.
local SHOWS = {}

function SHOWS.find()
  return true
end

function SHOWS.create(card, arguments)
  if arguments.name and not has_name(card, arguments.name) then
    return false
  elseif arguments.contact_uuid or arguments.contact_email then
    return has_contact(card, arguments)
  end
  return true
end
SHOWS.ensure = SHOWS.create
SHOWS.link = has_contact

function SHOWS.unlink(card)
  return not owner_of(card)
end

SHOWS.update = is_as_updated

function SHOWS.delete()
  return false
end

-- What the existence of an inactive card tells, whose fields are not shown.
local function inactive_shows(operation, arguments)
  if operation == "find" or operation == "delete" then
    return false
  elseif operation == "update" and arguments.active ~= nil then
    if arguments.active then return false end
    return not arguments.name or nil
  elseif operation == "create" or operation == "ensure" then
    return not (arguments.name or arguments.contact_uuid or arguments.contact_email) or nil
  end
end

-- Compares the card, as a find shows it, with what a done or unknown item requested. `err` is the error of the find.
-- Returns "same", "changed" or "cannot tell".
function decide.compare(item, card, err)
  local operation, same = item.operation, nil
  if item.state and item.state ~= "done" and item.state ~= "unknown" then
    return "cannot tell" -- nothing was requested that should still be there
  elseif card then
    same = SHOWS[operation](card, item.arguments)
  elseif err.kind == "not_found" then
    same = operation == "delete"
  elseif err.kind == "inactive" then
    same = inactive_shows(operation, item.arguments)
  end
  if same == nil then
    return "cannot tell"
  end
  return same and "same" or "changed"
end

return decide
