-- Reads the arguments of the `leat` command, as leat.cli.declare declares them.

local declare = require("leat.cli.declare")

local function find_command(root, name)
  for _, command in ipairs(root._commands) do
    if command._name == name then
      return command
    end
  end
end

-- Returns the first argument that is the name of a command.
local function find_name(root, arguments)
  for _, argument in ipairs(arguments) do
    if find_command(root, argument) then
      return argument
    end
  end
end

-- Returns the command that words name, such as "job run"; or nil and what is wrong.
local function find_topic(root, words)
  local command = root
  for i, word in ipairs(words) do
    command = find_command(command, word)
    if not command then
      return nil, ("there is no command '%s'"):format(table.concat(words, " ", 1, i))
    end
  end
  return command
end

-- Adds advice for values that look like options.
local function explain(message)
  local option = message:match("^unknown option '(%-%w)'")
  if option then
    message = ("unknown option '%s'; a value that begins with '-' must follow '--', after all options"):format(option)
  end
  return (message:gsub("\nDid you mean", "; did you mean"))
end

-- Returns the arguments as a table; or nil and a help text; or nil, nil, what is wrong and, if it is
-- known, for which command.
return function(arguments)
  local root, asked = declare()
  local fine, good, result = pcall(root.pparse, root, arguments)
  if asked.help then
    return nil, asked.help:get_help()
  elseif not fine then
    error(good, 0)
  elseif not good then
    return nil, nil, explain(result), find_name(root, arguments)
  elseif result.command == "help" then
    local topic, wrong = find_topic(root, result.topics)
    if not topic then
      return nil, nil, wrong
    end
    return nil, topic:get_help()
  end
  return result
end
