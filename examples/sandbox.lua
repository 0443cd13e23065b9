-- A server that behaves like the API, as a program: it prints its URL, and serves.
--    lua5.4 examples/sandbox.lua --help
local sandbox = require("leat.sandbox")

local usage = [[
usage: sandbox.lua [OPTION]...
Serves the API, with cards of its own, on 127.0.0.1 until it gets SIGINT or SIGTERM. It
prints its base URL, the URL of its token endpoint and, with --tls, the file of its
certificate, each on a line of its own.

  --port N                the port to listen on; default: any free port
  --tls                   serve HTTPS
  --key KEY               the API key that it accepts; default: sandbox
  --client-id ID          the client id that its token endpoint accepts; default: sandbox-client
  --client-secret SECRET  the secret to it; default: sandbox-secret
  --idempotent-unlink     unlinking a card that is not linked succeeds
  --contact UUID[=EMAIL]  a contact; may be repeated, like the next two
  --card VALUE[=UUID]     a card, linked to that contact; without UUID, not linked
  --fault NAME=VALUE,...  a fault, such as operation=create,nth=2,status=503
                          (see leat.sandbox; "always" means any number of times); several
                          faults for one operation form a queue
  --until-eof             serve until standard input ends
  --help
]]

local function fail(message)
  io.stderr:write("sandbox.lua: ", message, " (see --help)\n")
  os.exit(2)
end

local is_text = { operation = true, value = true, kind = true, body = true, close = true }

-- Returns "operation=create,nth=2" as a fault.
local function read_fault(text)
  local fault = {}
  for pair in text:gmatch("[^,]+") do
    local name, value = pair:match("^([%w_]+)=(.*)$")
    if not name then
      fail("not NAME=VALUE: " .. pair)
    elseif is_text[name] then
      fault[name] = value
    elseif value == "always" then
      fault[name] = math.huge
    elseif value == "true" then
      fault[name] = true
    else
      fault[name] = tonumber(value) or value
    end
  end
  return fault
end

local options = { contacts = {}, cards = {}, faults = {} }
local until_eof = false

local function add(list, entry)
  list[#list + 1] = entry
end

local flags = {
  ["--tls"] = function() options.tls = true end,
  ["--idempotent-unlink"] = function() options.idempotent_unlink = true end,
  ["--until-eof"] = function() until_eof = true end,
  ["--help"] = function() io.write(usage) os.exit(0) end,
}
local settings = {
  ["--port"] = function(value) options.port = tonumber(value) or fail("not a port: " .. value) end,
  ["--key"] = function(value) options.api_key = value end,
  ["--client-id"] = function(value) options.client_id = value end,
  ["--client-secret"] = function(value) options.client_secret = value end,
  ["--contact"] = function(value)
    add(options.contacts, { uuid = value:match("^[^=]*"), email = value:match("=(.*)$") })
  end,
  ["--card"] = function(value)
    local card, uuid = value:match("^(.*)=([^=]+)$")
    add(options.cards, { value = card or value, contact_uuid = uuid })
  end,
  ["--fault"] = function(value) add(options.faults, read_fault(value)) end,
}

local i = 1
while arg[i] do
  if flags[arg[i]] then
    flags[arg[i]]()
  elseif not settings[arg[i]] then
    fail("unknown option " .. arg[i])
  else
    i = i + 1
    settings[arg[i - 1]](arg[i] or fail(arg[i - 1] .. " needs a value"))
  end
  i = i + 1
end

local ok, server, problem = pcall(sandbox.start, options)
if not ok then
  fail((tostring(server):gsub("^.-leat%.sandbox%.start: ", "")))
elseif not server then
  io.stderr:write("sandbox.lua: ", problem, "\n")
  os.exit(1)
end
print(server.url)
print(server.token_url)
if server.ca_file then
  print(server.ca_file)
end
io.stdout:flush()
server:serve(until_eof)
server:stop()
