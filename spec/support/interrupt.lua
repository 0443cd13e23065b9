-- Runs a command, sends it SIGINT once the sandbox has received `requests` of that operation,
-- and returns its output and how many seconds it took to end after that.
local wait = require("leat.core").wait
local now = dofile("spec/support/clock.lua")

return function(command, server, operation, requests)
  local pipe = assert(io.popen(command .. " 2>&1 & echo $!; wait $!; echo $?"))
  local process = pipe:read("*l")
  for _ = 1, 500 do
    if #server:requests(operation) >= requests then
      break
    end
    wait(0.02)
  end
  local begun = now()
  os.execute("kill -INT " .. process)
  local output = pipe:read("*a")
  pipe:close()
  return output, now() - begun
end
