-- What the `leat` command can be installed without.

local status = require("leat.cli.status")

-- Returns a module. If it is not installed, says so, with the command that installs it, and ends the program.
return function(name, command)
  local fine, result = pcall(require, name)
  if fine then
    return result
  elseif not tostring(result):find("module '" .. name, 1, true) then
    error(result, 0)
  end
  io.stderr:write(("leat: %s is missing: %s\n"):format(name, command))
  os.exit(status.USAGE)
end
