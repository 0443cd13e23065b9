-- The commands of the `leat` command that find or change cards.

local core = require("leat.core")
local ensure = require("leat.ensure")
local new_input = require("leat.cli.input")
local run = require("leat.cli.run")
local status = require("leat.cli.status")
local system = require("leat.cli.core")

local cards = {}

local STDIN, STDERR = 0, 2
local LISTED = 10 -- cards that a question lists

-- ---- errors of the command itself -------------------------------------------------------

local failure = {}

function failure.__tostring(err)
  return err.kind == "usage" and err.message or ("%s: %s"):format(err.kind, err.message)
end

local function new_failure(kind, message, card)
  return setmetatable({ kind = kind, message = message, card = card }, failure)
end

-- ---- performing -------------------------------------------------------------------------

-- Calls an operation. Mistakes in its arguments, such as an empty value, are failures of that value only.
local function perform(context, name, value, argument)
  local resource = context.client.contact_identifiers
  local good, why = resource:validate(name, value, argument)
  if not good then
    return nil, new_failure("usage", why)
  end
  return resource[name](resource, value, argument)
end

local function note_rate(context, input, info)
  if input.several and not context.noted and info and info.attempts > 0 then
    context.noted = true
    local limit = context.client:rate_limit()
    local left = limit and limit.remaining and ("; the service allows %d more"):format(limit.remaining) or ""
    context.output:notice(("%s%s"):format(context.rate_note, left))
  end
end

-- Performs `f` with each value, and prints what became of each. `f` returns the card, or true if there is none
-- (any more); then nil, info and, instead of `outcome`, an outcome of its own. Returns the exit status.
local function perform_all(context, input, outcome, f)
  local output, total = context.output, status.DONE
  local function report(value, card, err, info, other)
    note_rate(context, input, info or err)
    if not card then
      total = status.combine(total, output:failure(value, err))
    elseif card == true then
      output:done(value, other or outcome)
    else
      output:card(value, card, other or info and info.outcome or outcome, info and info.json)
    end
  end
  run.each(context, input, f, report)
  return total
end

-- ---- the contact ------------------------------------------------------------------------

-- Returns the UUID of the contact that the arguments name, or nil if they name none; or nil and the error.
function cards.contact(context, arguments)
  if not arguments.email then
    return arguments.contact
  end
  local contact, err = run.task(context, function()
    return context.client:request("GET", "/contacts/find-one-by", { query = { email = arguments.email } })
  end)
  if contact and type(contact.uuid) == "string" then
    return contact.uuid
  elseif not err or err.kind == "contact_not_found" then
    err = new_failure("contact_not_found", "the service has no contact with this e-mail address")
  end
  return nil, err
end

-- ---- --dry-run --------------------------------------------------------------------------

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

-- Finds the card, and returns what the operation would do with it.
local function preview(context, name, value, options)
  local resource = context.client.contact_identifiers
  local good, why = resource:validate(name, value, options)
  if not good then
    return nil, new_failure("usage", why)
  end
  local card, err, info = resource:find(value)
  local creates = name == "create" or name == "ensure"
  if err and err.kind == "not_found" and creates then
    return true, nil, { attempts = err.attempts }, "would_be_created"
  elseif err and err.kind == "inactive" and (name == "update" or name == "delete") then
    return true, nil, { attempts = err.attempts }, previews[name]()
  elseif err then
    return nil, err
  end
  local outcome
  outcome, err = previews[name](card, options, function(text) return context.output:clean(text) end)
  err = check_expect(card, options) or err
  return not err and card or nil, err, info, outcome
end

-- ---- asking -----------------------------------------------------------------------------

-- Asks a question, and returns the line that was typed; nil if the input ended or a signal arrived.
local function ask(context, question)
  context.output:ask(question)
  local text = ""
  while not system.signal() and not text:find("\n", 1, true) do
    core.wait(0.1, { STDIN })
    local more = system.is_readable(STDIN) and system.read(STDIN)
    if more == "" or more == nil then
      return nil
    end
    text = text .. (more or "")
  end
  return text:match("^%s*(.-)%s*\n")
end

-- Finds the cards, and returns those there are: a list of { value, card }; then the exit status of the others.
-- An inactive card is found without its fields.
local function find_all(context, values)
  local found, total = {}, status.DONE
  local function find(value)
    return perform(context, "find", value)
  end
  run.each(context, new_input(values), find, function(value, card, err)
    if card or err.kind == "inactive" then
      found[#found + 1] = { value = value, card = card or { value = value, active = false } }
    else
      total = status.combine(total, context.output:failure(value, err))
    end
  end)
  return found, total
end

local function confirm(context, name, found)
  local output = context.output
  for i = 1, math.min(#found, LISTED) do
    output:message(("  %s: %s"):format(output:clean(found[i].value), output:describe(found[i].card)))
  end
  if #found > LISTED then
    output:message(("  and %d more"):format(#found - LISTED))
  end
  local what = #found == 1 and "this card" or ("these %d cards"):format(#found)
  local line = ask(context, ("%s %s? [y/N] "):format(name:gsub("^%l", string.upper), what))
  return line ~= nil and (line:lower() == "y" or line:lower() == "yes")
end

local function shell_word(text)
  return text:find("^[%w_./:@%%+,=][%w_./:@%%+,=-]*$") and text or "'" .. text:gsub("'", "'\\''") .. "'"
end

local function note_undo(context, one)
  local uuid = one.card.contact and uuid_of(one.card)
  if uuid then
    context.output:notice(("it belonged to contact %s; to undo this: leat link %s%s %s"):format(uuid,
      one.value:sub(1, 1) == "-" and "-- " or "", shell_word(one.value), shell_word(uuid)))
  end
end

-- Finds the cards first, asks if `question`, and changes only what was shown.
local function change_found(context, name, values, options, outcome, question)
  local found, total = find_all(context, values)
  if context.stopped or #found == 0 then
    return total
  elseif question and not confirm(context, name, found) then
    context.output:notice("nothing was changed")
    return status.REFUSED
  end
  local left, by_value = {}, {}
  for i, one in ipairs(found) do
    left[i], by_value[one.value] = one.value, one
  end
  local function change(value)
    local one = by_value[value]
    local expect = options.expect
    if expect == nil and one.card.active ~= false then
      expect = uuid_of(one.card) or false
    end
    return perform(context, name, value, { expect = expect })
  end
  local result = perform_all(context, new_input(left), outcome, change)
  if result == status.DONE and not question then
    note_undo(context, found[1])
  end
  return status.combine(total, result)
end

-- ---- commands ---------------------------------------------------------------------------

local outcomes = { find = "found", create = "created", link = "linked", unlink = "unlinked", update = "updated",
  delete = "deleted", ensure = "existed" }

local function expectation(arguments)
  if arguments.expect == "none" then
    return false
  end
  return arguments.expect
end

-- Returns the options of an operation, from the arguments.
local function read_options(context, name, arguments)
  local contact, err = cards.contact(context, arguments)
  if err then
    return nil, err
  elseif name == "link" then
    return contact
  elseif name == "find" then
    return nil
  end
  local active = nil
  if arguments.active or arguments.inactive then
    active = arguments.active or false
  end
  return { name = arguments.name, contact_uuid = contact, active = active, expect = expectation(arguments) }
end

-- Returns whether a command that must not be run by accident must ask; or nil and what is missing.
local function must_ask(name, arguments, input)
  if arguments.yes or arguments.dry_run or (name ~= "delete" and name ~= "unlink") then
    return false
  elseif not input.values or not (system.is_terminal(STDIN) and system.is_terminal(STDERR)) then
    return nil, ("%s needs --yes, because there is no terminal to ask on"):format(name)
  end
  return name == "delete" or input.several
end

-- Returns what is wrong with the arguments of a command, or nil.
local function check_arguments(name, arguments)
  if name == "link" and not arguments.contact and not arguments.email then
    return "link needs a contact: its UUID, or --email"
  elseif name == "update" and not (arguments.name or arguments.active or arguments.inactive) then
    return "update needs --name, --active or --inactive"
  end
  for _, value in ipairs(arguments.values) do
    if value == "-" and arguments.values[2] then
      return "'-' reads the values from standard input, so there can be no others"
    end
  end
end

local function run_command(name)
  return function(context, arguments)
    local input = new_input(arguments.values)
    local question, wrong = must_ask(name, arguments, input)
    wrong = check_arguments(name, arguments) or wrong
    if wrong then
      error({ usage = wrong }, 0)
    end
    local options, err = read_options(context, name, arguments)
    if err then
      return context.output:failure(arguments.email, err)
    elseif arguments.dry_run then
      return perform_all(context, input, nil, function(value)
        return preview(context, name, value, options)
      end)
    elseif question or name == "unlink" and not arguments.yes then
      return change_found(context, name, arguments.values, options, outcomes[name], question)
    end
    return perform_all(context, input, outcomes[name], function(value)
      return perform(context, name, value, options)
    end)
  end
end

cards.commands = {}
for name in pairs(outcomes) do
  cards.commands[name] = run_command(name)
end

return cards
