-- The commands of the `leat` command that find or change cards.

local confirm = require("leat.cli.confirm")
local new_input = require("leat.cli.input")
local perform = require("leat.cli.perform")
local preview = require("leat.cli.preview")
local system = require("leat.cli.core")
local usage = require("leat.cli.usage")

local STDIN, STDERR = 0, 2

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
  local contact, err = perform.contact(context, arguments)
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

-- Reports an error that concerns all values. Those of standard input are not read.
local function fail_all(context, values, err)
  local result
  for _, value in ipairs(values) do
    result = context.output:failure(value ~= "-" and value or nil, err)
  end
  return result
end

local function run_command(name)
  return function(context, arguments)
    local input = new_input(arguments.values)
    local question, wrong = must_ask(name, arguments, input)
    wrong = check_arguments(name, arguments) or wrong
    if wrong then
      usage(wrong)
    end
    local options, err = read_options(context, name, arguments)
    if err then
      return fail_all(context, arguments.values, err)
    elseif arguments.dry_run then
      return perform.all(context, input, nil, function(value)
        return preview(context, name, value, options)
      end)
    elseif question or name == "unlink" and not arguments.yes then
      return confirm.change(context, name, arguments.values, options, outcomes[name], question)
    end
    return perform.all(context, input, outcomes[name], function(value)
      return perform.one(context, name, value, options)
    end)
  end
end

local commands = {}
for name in pairs(outcomes) do
  commands[name] = run_command(name)
end

return commands
