-- A name server for the specs: every name resolves to 127.0.0.1. Prints its port, and serves until it
-- is killed, for a minute at most.
local socket = require("socket")
local udp = assert(socket.udp())
assert(udp:setsockname("127.0.0.1", 0))
local _, port = udp:getsockname()
print(port)
io.stdout:flush()

local A, NAME_AT_12, TTL = "\0\1", "\192\12", "\0\0\0\60"
local over = socket.gettime() + 60
udp:settimeout(1)
while socket.gettime() < over do
  local query, from, back = udp:receivefrom()
  local name = query and query:match("^[^%z]*%z", 13)
  if name then
    local question = query:sub(13, 12 + #name + 4)
    local kind = question:sub(-4, -3)
    local record = kind == A and NAME_AT_12 .. A .. "\0\1" .. TTL .. "\0\4\127\0\0\1" or ""
    udp:sendto(query:sub(1, 2) .. "\129\128\0\1\0" .. (kind == A and "\1" or "\0") .. "\0\0\0\0" .. question .. record,
      from, back)
  end
end
