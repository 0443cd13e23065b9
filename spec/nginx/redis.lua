-- Servers of Redis for specs, in a temporary folder, on a port of 127.0.0.1 that is reserved. They store nothing.
local socket = require("socket")
local shell = dofile("spec/support/shell.lua")
local reserve_port = dofile("spec/support/port.lua")

local Server = {}
Server.__index = Server

local PASSWORD = "Tr0ub4dor-and-3"

-- Starts the server, again with the same port, without what it held.
function Server:restart()
  self.pid = shell("redis-server --bind 127.0.0.1 --port %d --dir %s --save '' --requirepass %s "
    .. "--user leat on '>%s' '~leat:*' +eval +time +get +set >>%s/log 2>&1 </dev/null & echo $!", self.port,
    self.folder, PASSWORD, PASSWORD, self.folder):match("%d+")
  for _ = 1, 500 do
    if pcall(self.command, self, "ping") then
      return
    elseif not self:is_alive() then
      break
    end
    socket.sleep(0.01)
  end
  error("redis-server did not start:\n" .. shell("cat %s/log", self.folder))
end

-- Starts a server with a password. Its user `leat` has the same one, and no more rights than needed.
local function start()
  local self = setmetatable({ folder = shell("mktemp -d /tmp/leat-redis.XXXXXX"):match("[^\n]+"), password = PASSWORD },
    Server)
  self.port = reserve_port()
  self:restart()
  return self
end

-- Executes a command and returns the reply as text.
function Server:command(command, ...)
  local reply = shell("REDISCLI_AUTH=%s timeout 10 redis-cli -e -p %d %s", PASSWORD, self.port, command:format(...))
  return (reply:gsub("%s+$", ""))
end

-- Returns how often the server has executed a command.
function Server:count(command)
  return tonumber(self:command("info commandstats"):match("cmdstat_" .. command .. ":calls=(%d+)") or 0)
end

-- Returns a function that ends the watch, and returns all commands that were executed meanwhile, as text.
function Server:monitor()
  local connection = assert(socket.connect("127.0.0.1", self.port))
  assert(connection:send(("AUTH %s\r\nMONITOR\r\n"):format(PASSWORD)))
  assert(connection:receive("*l") == "+OK" and connection:receive("*l") == "+OK")
  return function()
    self:command("echo the-end")
    local lines = {}
    connection:settimeout(10)
    repeat
      lines[#lines + 1] = assert(connection:receive("*l"))
    until lines[#lines]:find("the-end", 1, true)
    connection:close()
    return table.concat(lines, "\n")
  end
end

-- Sends a signal to the server, if it is there.
function Server:signal(name)
  pcall(shell, "kill -%s %s", name, self.pid)
end

-- A process that ended may be listed for a while, until its parent reaps it.
function Server:is_alive()
  return (pcall(shell, "grep -q '^State:.[^Z]' /proc/%s/status", self.pid))
end

-- Kills the server, and waits until it is gone.
function Server:kill()
  self:signal("KILL")
  while self:is_alive() do
    socket.sleep(0.005)
  end
end

-- Ends the server, and removes the folder.
function Server:remove()
  self:kill()
  shell("rm -r %s", self.folder)
end

return { start = start }
