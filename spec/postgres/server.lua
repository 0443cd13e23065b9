-- Servers of PostgreSQL and pgbouncer for specs, in a temporary folder, on a socket there and on a port of 127.0.0.1
-- that is reserved. Both refuse to run as root, so they run as the user postgres then.
local shell = dofile("spec/support/shell.lua")
local write = dofile("spec/support/write.lua")
local reserve_port = dofile("spec/support/port.lua")

local PASSWORD = "Tr0ub4dor"

local Server = {}
Server.__index = Server

-- What comes before a program for `shell` that loads this library: a sanitizer must be loaded into it, too.
local preloaded = os.getenv("LD_PRELOAD")
local preload = preloaded and ("env LD_PRELOAD='%s' "):format(preloaded) or ""

local is_root = shell("id -u") == "0\n"
local unprivileged = is_root and "setpriv --reuid=postgres --regid=postgres --init-groups" or ""
local bin = shell("ls -d /usr/lib/postgresql/*/bin 2>/dev/null || dirname \"$(command -v postgres)\"")
  :match("([^\n]+)\n$")

-- Makes a folder of data with a superuser `leat` who has a password, and a certificate.
local function make_data(folder)
  write(folder .. "/password", PASSWORD .. "\n")
  if is_root then
    shell("chown -R postgres %s", folder)
  end
  shell("cd / && %s %s/initdb -D %s/data -U leat -A scram-sha-256 --pwfile=%s/password -E UTF8 --locale=C -N",
    unprivileged, bin, folder, folder)
  shell("echo 'host all all 10.77.0.0/16 scram-sha-256' >>%s/data/pg_hba.conf", folder) -- see networks.lua
  shell("cd / && %s openssl req -new -x509 -nodes -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 "
    .. "-keyout %s/data/server.key -out %s/data/server.crt", unprivileged, folder, folder)
end

-- Copies the data that an earlier spec made with the same server, as far as there is a folder for tools; otherwise
-- makes it.
local function prepare_data(folder)
  local tools = os.getenv("LEAT_TOOLS")
  local kept = tools and ("%s/postgres-%s"):format(tools, shell("%s/postgres --version", bin):match("%d[%d.]*"))
  if kept and pcall(shell, "cp -a %s/data %s/data", kept, folder) then
    return is_root and shell("chown postgres %s", folder)
  end
  make_data(folder)
  if kept then -- another process may keep its own at the same time
    local new = kept .. folder:match("%.%w+$")
    shell("cp -a %s %s && mv -T %s %s || rm -r %s", folder, new, new, kept, new)
  end
end

-- Starts a server, with a superuser `leat` who has a password. It accepts TLS on its port. `options`: the `host` that
-- it listens on, instead of 127.0.0.1, a command that runs it, the `prefix`, and `settings` of the server.
local function start(options)
  local folder = shell("mktemp -d /tmp/leat-pg.XXXXXX"):match("[^\n]+")
  options = options or {}
  local self = setmetatable({ folder = folder, port = reserve_port(), password = PASSWORD,
    host = options.host or "127.0.0.1", prefix = options.prefix or "", settings = options.settings or "-c fsync=off" },
    Server)
  prepare_data(folder)
  self:run()
  return self
end

-- Starts a server that was stopped again. By default it does without fsync, which does not matter to what is tested.
function Server:run()
  shell("cd / && %s %s %s/pg_ctl -D %s/data -l %s/log -w -t 30 -s start -o '-k %s -p %d -c listen_addresses=%s "
    .. "-c ssl=on %s -c shared_buffers=8MB -c max_connections=20'", self.prefix, unprivileged, bin, self.folder,
    self.folder, self.folder, self.port, self.host, self.settings)
end

-- Stops the server: `how` is fast or immediate.
function Server:stop(how)
  shell("cd / && %s %s/pg_ctl -D %s/data -w -t 30 -s -m %s stop", unprivileged, bin, self.folder, how)
end

-- Returns an address as a journal's path. With `schema`, tables are in that one. Without a `host` it is the socket.
function Server:address(schema, host, port)
  return ("postgres://leat:%s@%s:%d/postgres%s"):format(PASSWORD, host or self.folder:gsub("/", "%%2F"),
    port or self.port, schema and "?options=-csearch_path%3D" .. schema or "")
end

-- Executes a statement, in a schema if one is given.
function Server:execute(sql, schema)
  local connection = assert(require("leat.postgres.core").connect(self:address(schema)))
  assert(connection:execute(sql))
  connection:close()
end

-- Returns the process of the server that starts all others.
function Server:process()
  return tonumber(shell("head -n 1 %s/data/postmaster.pid", self.folder):match("%d+"))
end

-- Starts a pooler that lends each transaction one of two connections, and returns its port.
function Server:pool()
  local port, path = reserve_port(), self.folder .. "/pgbouncer"
  write(path .. ".ini", ([[
[databases]
postgres = host=%s port=%d user=leat password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
logfile = %s.log
pidfile = %s.pid
]]):format(self.folder, self.port, PASSWORD, port, path, path))
  shell("cd / && %s pgbouncer -q -d %s.ini", unprivileged, path)
  self.pooled = true
  return port
end

-- Ends all, and removes the folder.
function Server:remove()
  if self.pooled then
    shell("kill $(cat %s/pgbouncer.pid)", self.folder)
  end
  pcall(self.stop, self, "immediate") -- it may be stopped already
  shell("rm -r %s", self.folder)
end

return { start = start, shell = shell, preload = preload }
