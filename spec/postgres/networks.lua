-- Machines with a network of their own, for specs: a namespace for each, and links between them and a server's. They
-- need root, and iproute2. A namespace is gone with its last process, so that nothing is left whatever happens to the
-- spec; there are no addresses or links in the system's own network.
local socket = require("socket")
local read = dofile("spec/support/read.lua")
local shell = dofile("spec/postgres/server.lua").shell

local networks = {}

local Network = {}
Network.__index = Network

-- A process in each namespace does nothing until the end of the script's input, which is the end of the spec's process
-- at the latest. The first one is the server's. Its address is 10.77.0.1; that of the i-th link there is 10.77.i.1, and
-- at its machine 10.77.i.2. Each end knows the other's address on the link: otherwise the system would keep packets for
-- a link that is down for some seconds, while it asks for that in vain.
local SCRIPT = [[
set -e
unset LD_PRELOAD
exec 3<&0
own=$(readlink /proc/self/ns/net)
in_network() { # in_network PID: executes lines of `ip`
  nsenter --net=/proc/$1/ns/net ip -batch -
}
hold() { # sets $pid
  unshare --net cat <&3 >/dev/null &
  pid=$!
  until now=$(readlink /proc/$pid/ns/net) && [ "$now" != "$own" ]; do kill -0 $pid; done
}
hold
server=$pid pids=$pid i=0
links="link set lo up
addr add 10.77.0.1/32 dev lo"
while [ $i -lt %d ]; do
  i=$((i + 1))
  hold
  pids="$pids $pid"
  links="$links
link add link$i address 02:00:00:00:00:1$i type veth peer name out address 02:00:00:00:00:2$i netns $pid
addr add 10.77.$i.1/30 dev link$i
link set link$i up
neigh replace 10.77.$i.2 lladdr 02:00:00:00:00:2$i dev link$i nud permanent"
done
echo "$links" | in_network $server
i=0
for pid in ${pids#* }; do
  i=$((i + 1))
  printf '%%s\n' "link set lo up" "addr add 10.77.$i.2/30 dev out" "link set out up" \
    "route add default via 10.77.$i.1" \
    "neigh replace 10.77.$i.1 lladdr 02:00:00:00:00:1$i dev out nud permanent" | in_network $pid
done
echo "ready $pids"
]]

-- Returns a process in a namespace, and the beginning of a command that is executed there.
local function machine(pid)
  return { pid = pid, prefix = ("nsenter --net=/proc/%s/ns/net"):format(pid) }
end

-- Waits until a file has a line, and returns that.
local function wait_for_line(path, seconds)
  local give_up = socket.gettime() + seconds
  local text
  repeat
    socket.sleep(0.02)
    text = read(path)
  until text:find("\n", 1, true) or socket.gettime() > give_up
  return text
end

--- Makes a network of a `server`, whose address is `host`, and some machines, which are in the list. Each has a `pid`,
-- a process in its namespace, and a `prefix` for commands there.
function networks.new(count)
  local path = os.tmpname()
  local self = setmetatable({ host = "10.77.0.1" }, Network)
  self.pipe = assert(io.popen(("{ %s } >%s 2>&1"):format(SCRIPT:format(count), path), "w"))
  local text = wait_for_line(path, 60)
  os.remove(path)
  for pid in (text:match("^ready(.*)\n") or ""):gmatch("%d+") do
    self[self.server and #self + 1 or "server"] = machine(pid)
  end
  if not self.server then
    self.pipe:close()
    error("networks can't be made, which needs root and iproute2: " .. text, 0)
  end
  return self
end

local function set_link(self, i, state)
  shell("%s ip link set link%d %s", self.server.prefix, i, state)
end

--- Cuts a machine off: what is sent from or to it is lost.
function Network:cut(i)
  set_link(self, i, "down")
end

--- Connects a machine again.
function Network:reconnect(i)
  set_link(self, i, "up")
end

--- Removes all that is left of the network.
function Network:remove()
  self.pipe:close()
end

return networks
