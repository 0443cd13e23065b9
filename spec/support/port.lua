-- Reserves a port of 127.0.0.1 until this process ends, and returns it. Until a server listens there, connections are
-- refused. The system gives a bound port to no other socket, except one that asks for it by number and that has
-- SO_REUSEADDR set, as servers have.
local socket = require("socket")

local reserved = {}

return function()
  local one = assert(socket.tcp4())
  assert(one:setoption("reuseaddr", true))
  assert(one:bind("127.0.0.1", 0))
  table.insert(reserved, one)
  local _, port = one:getsockname()
  return tonumber(port)
end
