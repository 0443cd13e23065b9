-- A real nginx for the specs, in a folder of its own. Specs send it code to run:
--    local server = require_server.start { conf = "lua_check_client_abort on;" }
--    server:run("content", "return app.cards():find('0042')")
local socket = require("socket")
local cjson = require("cjson")

local reserve_port = dofile("spec/support/port.lua")

local root, modules = assert(os.getenv("LEAT_ROOT")), assert(os.getenv("LEAT_NGINX_MODULES"))
local Server = {}
Server.__index = Server

local function read(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read("*a"):gsub("%s+$", "")
  pipe:close()
  return output
end

local server = {}

local conf = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
USER
daemon off;
worker_processes WORKERS;
pid nginx.pid;
error_log error.log info;
events { worker_connections 2000; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  lua_package_path "ROOT/lua/?.lua;ROOT/spec/nginx/?.lua;;";
  lua_package_cpath "MODULES/?.so;;";
  CONF
  init_by_lua_block { app = require("app"); INIT }
  init_worker_by_lua_block { app.worker_phase() }
  server {
    listen 127.0.0.1:PORT reuseport;
    LISTEN
    location = /ping { content_by_lua_block { ngx.print("pong") } }
    location /twice { content_by_lua_block { app.respond_twice() } }
    location = /content { content_by_lua_block { app.respond() } }
    location = /unended { content_by_lua_block { app.respond_unended() } }
    location = /access { access_by_lua_block { app.respond() } }
    server_rewrite_by_lua_block { if ngx.var.uri == "/server_rewrite" then app.respond() end }
    location = /rewrite { rewrite_by_lua_block { app.respond() } }
    location = /timer { content_by_lua_block { app.respond_from_timer() } }
    location = /log { content_by_lua_block { app.keep_code() } log_by_lua_block { app.keep_result() } }
    location = /header { content_by_lua_block { app.keep_code() } header_filter_by_lua_block { app.keep_result() } }
    location = /kept { content_by_lua_block { app.respond_kept() } }
    location /exact { content_by_lua_block { app.respond_exactly() } }
    PLACES
  }
}
]]

local function write_conf(dir, port, given)
  local values = { ROOT = root, MODULES = modules, PORT = tostring(port), CONF = given.conf or "",
    INIT = given.init or "", LISTEN = given.listen or "", PLACES = given.places or "",
    WORKERS = tostring(given.workers or 1),
    USER = read("id -u") == "0" and "user root;" or "" }
  local file = assert(io.open(dir .. "/nginx.conf", "w"))
  file:write((conf:gsub("%u%u%u%u+", values)))
  file:close()
end

local function listens(port)
  local connection = socket.connect("127.0.0.1", port)
  return connection and connection:close()
end

-- A process that ended may be listed for a while, until its parent reaps it.
local function is_alive(pid)
  local file = io.open(("/proc/%s/stat"):format(pid))
  local state = file and file:read("*a"):match(".*%) (%a)")
  if file then
    file:close()
  end
  return state ~= nil and state ~= "Z"
end

function Server:log()
  local file = assert(io.open(self.dir .. "/error.log"))
  local text = file:read("*a")
  file:close()
  return text
end

function server.start(given)
  given = given or {}
  local self = setmetatable({ dir = read("mktemp -d"), port = reserve_port() }, Server)
  write_conf(self.dir, self.port, given)
  self.pid = read(("%s nginx -p %s/ -e error.log -c nginx.conf </dev/null >%s/output 2>&1 & echo $!"):format(
    given.environment or "", self.dir, self.dir))
  for _ = 1, 500 do
    if listens(self.port) then
      return self
    elseif not is_alive(self.pid) then
      break
    end
    socket.sleep(0.01)
  end
  error("nginx did not start: " .. self:log())
end

-- Requests a path and returns the connection; the caller need not read the response.
function Server:ask(path, body)
  local connection = assert(socket.connect("127.0.0.1", self.port))
  connection:settimeout(20)
  body = body or ""
  assert(connection:send(("POST /%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s"):format(path, #body, body)))
  return connection
end

function Server:get(path, body)
  local connection = self:ask(path, body)
  local response = connection:receive("*a") or ""
  connection:close()
  return response:match("\r\n\r\n(.*)$") or error("no response: " .. self:log())
end

-- Returns what the code returns in that phase, and raises the errors that it raises.
function server.decode(text)
  local results = cjson.decode(text)
  local list = results.list
  if not results.fine then
    error(list[1], 0)
  end
  for i = 1, 3 do
    if list[i] == cjson.null then
      list[i] = nil
    end
  end
  return list[1], list[2], list[3]
end

function Server:run(phase, code)
  return server.decode(self:get(phase, code))
end

function Server:stop()
  os.execute("kill -TERM " .. self.pid)
  while is_alive(self.pid) do
    socket.sleep(0.01)
  end
  local kept = os.getenv("LEAT_TEST_LOGS") -- spec/support/canary.sh searches them
  if kept then
    os.execute(("cat %s/error.log %s/output >>%s"):format(self.dir, self.dir, kept))
  end
  os.execute("rm -r " .. self.dir)
end

return server
