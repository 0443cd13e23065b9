-- Runs a command, sends it SIGINT once the sandbox has received `requests` of that operation,
-- and returns its output and how many seconds it took to end after that.
local core = require("leat.curl.core")

return function(command, server, operation, requests)
  local pipe = assert(io.popen(command .. " 2>&1 & echo $!; wait $!; echo $?"))
  local process = pipe:read("*l")
  local sleeper = core.new({}, {})
  for _ = 1, 500 do
    if #server:requests(operation) >= requests then
      break
    end
    core.wait(sleeper, 0.02)
  end
  local begun = core.now()
  os.execute("kill -INT " .. process)
  local output = pipe:read("*a")
  pipe:close()
  return output, core.now() - begun
end
