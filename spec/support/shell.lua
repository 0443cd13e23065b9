-- Executes a shell command, which is formatted as by string.format, and returns what it prints. Raises an error if the
-- command fails. A sanitizer, or what else may be loaded into this process, is not loaded into the command.
return function(command, ...)
  local pipe = assert(io.popen(("unset LD_PRELOAD; { %s ; } 2>&1 && echo fine"):format(command:format(...))))
  local text = pipe:read("*a")
  pipe:close()
  local output = text:match("^(.*)fine\n$")
  return output or error("failed: " .. command:format(...) .. "\n" .. text, 2)
end
