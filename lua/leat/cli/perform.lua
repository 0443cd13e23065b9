-- Performs operations for the `leat` command, and prints what became of each value.

local contacts = require("leat.contacts")
local run = require("leat.cli.run")
local status = require("leat.cli.status")
local usage = require("leat.cli.usage")

local perform = {}

local failure = {}

function failure.__tostring(err)
  return err.kind == "usage" and err.message or ("%s: %s"):format(err.kind, err.message)
end

-- Makes an error of the command itself.
function perform.failure(kind, message, card)
  return setmetatable({ kind = kind, message = message, card = card }, failure)
end

-- Calls an operation. Mistakes in its arguments, such as an empty value, are failures of that value only.
function perform.one(context, name, value, argument)
  local resource = context.client.contact_identifiers
  local good, why = resource:validate(name, value, argument)
  if not good then
    return nil, perform.failure("usage", why)
  end
  return resource[name](resource, value, argument)
end

local function note_rate(context, input, info)
  if input.several and not context.noted and info and (info.attempts or 0) > 0 then
    context.noted = true
    local limit = context.client:rate_limit()
    local left = limit and limit.remaining and ("; X-RateLimit-Remaining is %d"):format(limit.remaining) or ""
    context.output:notice(("%s%s"):format(context.rate_note, left))
  end
end

-- Calls `f` with each value, and prints what became of each. Returns the exit status. `f` returns, like an operation,
-- a card or true, nil and info, or nil and an error; after info it may return an outcome that replaces `outcome`.
function perform.all(context, input, outcome, f)
  local output, total, reported, sent = context.output, status.DONE, false, false
  local function report(value, card, err, info, other)
    reported = true
    sent = sent or ((info or err or {}).attempts or 0) > 0
    note_rate(context, input, info or err)
    if not card then
      total = status.combine(total, output:failure(value, err))
    elseif card == true then
      output:done(value, other or info and info.outcome or outcome)
    else
      output:card(value, card, other or info and info.outcome or outcome, info and info.json)
    end
  end
  run.each(context, input, f, report)
  if input.problem and not reported then
    usage(input.problem)
  elseif input.problem then
    output:failure(nil, perform.failure("usage", input.problem))
    total = status.combine(total, status.REFUSED)
  end
  return total == status.USAGE and sent and status.REFUSED or total
end

-- Returns the UUID of the contact that the arguments name, or nil if they name none; or nil and the error.
function perform.contact(context, arguments)
  local given = arguments.contact
  if given and given:find("@", 1, true) then
    usage(("%s is not a UUID; --email takes an e-mail address"):format(given))
  elseif not arguments.email then
    return given
  end
  local uuid, err = run.task(context, function()
    return contacts.find_by_email(context.client, arguments.email)
  end)
  if uuid then
    return uuid
  elseif not err or err.kind == "contact_not_found" then
    err = perform.failure("contact_not_found", contacts.not_found(arguments.email))
  end
  return nil, err
end

return perform
