-- Lua scripts that run in an interpreter of their own.
local interpreter = dofile("spec/support/interpreter.lua")

local script = {}

--- Writes a script to a temporary file, and returns its path and the command that runs it.
function script.write(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path, interpreter .. " " .. path
end

--- Runs a script. `prefix` stands before the shell command, such as "umask 000;". Returns what it prints, on both
-- streams, and the path that it had.
function script.run(text, prefix)
  local path, command = script.write(text)
  local pipe = assert(io.popen((prefix or "") .. " " .. command .. " 2>&1"))
  local output = pipe:read("*a")
  pipe:close()
  os.remove(path)
  return output, path
end

return script
