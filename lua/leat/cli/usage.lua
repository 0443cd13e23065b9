-- Ends a command because of wrong usage or configuration: main.lua prints the message, and the exit status is 2.
-- `general` is true if the help to read is that of the program, and not of the command.
return function(message, general)
  error({ usage = message, general = general }, 0)
end
