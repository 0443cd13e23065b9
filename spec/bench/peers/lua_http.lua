-- A peer: lua-http, on cqueues. It runs IN_FLIGHT coroutines, each over a persistent connection;
-- lua-cjson decodes the responses, and the program keeps them.
--    lua_http.lua N [IN_FLIGHT]
local cqueues, http_client = require("cqueues"), require("http.client")
local http_headers, http_tls, http_util = require("http.headers"), require("http.tls"), require("http.util")
local cjson = require("cjson")

local N, IN_FLIGHT = tonumber(arg[1]), tonumber(arg[2] or 1)
local value = os.getenv("BENCH_VALUE")
local scheme, host, port, path = os.getenv("LEAT_BASE_URL"):match("^(%w+)://([%d.]+):(%d+)(.*)$")

local context = http_tls.new_client_context()
context:getStore():add(os.getenv("BENCH_CA"))

local function connect()
  return assert(http_client.connect {
    host = host, port = tonumber(port), tls = scheme == "https", ctx = context, version = 1.1,
  })
end

local function request()
  local headers = http_headers.new()
  headers:append(":method", "GET")
  headers:append(":scheme", scheme)
  headers:append(":authority", host .. ":" .. port)
  headers:append(":path", path .. "/contact-identifiers/find?contact_identifier_value="
    .. http_util.encodeURIComponent(value))
  headers:append("authorization", "Bearer " .. os.getenv("LEAT_API_KEY"))
  headers:append("accept", "application/json")
  headers:append("user-agent", "leat/0.1.0")
  return headers
end

local function find(connection)
  local stream = connection:new_stream()
  assert(stream:write_headers(request(), true))
  local headers = assert(stream:get_headers())
  assert(headers:get(":status") == "200")
  return cjson.decode(assert(stream:get_body_as_string())).data
end

local asked, found = 0, {}
local function work()
  local connection = connect()
  while asked < N do
    asked = asked + 1
    local card = find(connection)
    found[#found + 1] = card
  end
  connection:close()
end

local loop = cqueues.new()
for _ = 1, math.min(N, IN_FLIGHT) do
  loop:wrap(work)
end
assert(loop:loop())
assert(#found == N)
for _, card in ipairs(found) do
  assert(card.value == value)
end
os.exit(true) -- for the same reason as in many.lua
