-- Changes cards only after they were shown: asks before something is lost, and says how to undo it.

local core = require("leat.core")
local new_input = require("leat.cli.input")
local perform = require("leat.cli.perform")
local run = require("leat.cli.run")
local status = require("leat.cli.status")
local system = require("leat.cli.core")
local job_text = require("leat.cli.job_text")

local STDIN = 0
local LISTED = 10 -- cards that a question lists

local function contact_of(card)
  return card.contact and card.contact.uuid
end

local confirm = {}

-- Asks a question, and returns the line that is typed from now on; nil if the input ended or a signal arrived.
local function read_reply(context, question)
  system.discard_typed(STDIN)
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

-- Asks a question, and returns whether "y" or "yes" was typed.
function confirm.ask(context, question)
  local line = read_reply(context, question)
  return line ~= nil and (line:lower() == "y" or line:lower() == "yes")
end

-- Returns the values without those that occur again.
local function distinct(values)
  local list, seen = {}, {}
  for _, value in ipairs(values) do
    if not seen[value] then
      seen[value] = true
      list[#list + 1] = value
    end
  end
  return list
end

-- Finds the cards, and returns those there are: a list of { value, card }; then the exit status of the others.
-- An inactive card is found without its fields.
local function find_all(context, values)
  local found, total = {}, status.DONE
  local function find(value)
    return perform.one(context, "find", value)
  end
  run.each(context, new_input(distinct(values)), find, function(value, card, err)
    if card or err.kind == "inactive" then
      found[#found + 1] = { value = value, card = card or { value = value, active = false } }
    else
      total = status.combine(total, context.output:failure(value, err))
    end
  end)
  return found, total
end

-- Shows the cards, and asks whether to go on.
local function is_confirmed(context, name, found)
  local output = context.output
  for i = 1, math.min(#found, LISTED) do
    output:message(("  %s: %s"):format(output:clean(found[i].value), output:describe(found[i].card)))
  end
  if #found > LISTED then
    output:message(("  and %d more"):format(#found - LISTED))
  end
  local what = #found == 1 and "this card" or ("these %d cards"):format(#found)
  return confirm.ask(context, ("%s %s? [y/N] "):format(name:gsub("^%l", string.upper), what))
end

local function note_undo(context, one)
  local uuid = contact_of(one.card)
  if uuid then
    uuid = context.output:clean(uuid)
    context.output:message(("leat: it belonged to contact %s; to undo this: leat link %s%s %s"):format(uuid,
      one.value:sub(1, 1) == "-" and "-- " or "", job_text.shell_word(one.value), job_text.shell_word(uuid)))
  end
end

-- Finds the cards first, asks if `question`, and changes only what was shown.
function confirm.change(context, name, values, options, outcome, question)
  local found, total = find_all(context, values)
  if context.stopped or #found == 0 then
    return total
  elseif question and not is_confirmed(context, name, found) then
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
      expect = contact_of(one.card) or false
    end
    return perform.one(context, name, value, { expect = expect })
  end
  local result = perform.all(context, new_input(left), outcome, change)
  if (result == status.DONE or result == status.UNKNOWN) and not question then
    note_undo(context, found[1])
  end
  return status.combine(total, result)
end

return confirm
