-- Makes completion scripts for shells.

local declare = require("leat.cli.declare")

-- By default argparse offers names of files for every value. Only a FILE keeps them.
local function forbid_files(elements)
  for _, element in ipairs(elements) do
    if element._maxargs > 0 and element._argname ~= "FILE" and not element._choices then
      element._choices = {}
    end
  end
end

-- Offers the choices of the argument as commands: the scripts complete commands, but not arguments.
local function offer_choices(command)
  for _, choice in ipairs(command._arguments[1]._choices) do
    command:command(choice):add_help(false)
  end
  command._arguments = {}
end

local function forbid_files_of(element)
  forbid_files(element._options)
  forbid_files(element._arguments)
  for _, command in ipairs(element._commands) do
    forbid_files_of(command)
  end
end

-- Changes a parser that is only used to make a completion script.
local function improve(root)
  forbid_files_of(root)
  for _, command in ipairs(root._commands) do
    command._is_help_command = command._name == "help" -- its arguments are the commands
    if command._name == "completion" then
      offer_choices(command)
    end
  end
end

-- Returns the completion script for a shell.
return function(shell)
  local root = declare()
  improve(root)
  return root["get_" .. shell .. "_complete"](root)
end
