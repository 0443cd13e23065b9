-- A peer: LuaSocket's HTTP client, which connects for each request. lua-cjson decodes
-- the responses.
--    lua_socket.lua N
local http, ltn12, url, cjson = require("socket.http"), require("ltn12"), require("socket.url"), require("cjson")

local base, value = os.getenv("LEAT_BASE_URL"), os.getenv("BENCH_VALUE")
local headers = {
  authorization = "Bearer " .. os.getenv("LEAT_API_KEY"),
  accept = "application/json",
  ["user-agent"] = "leat/0.1.0",
}

for _ = 1, tonumber(arg[1]) do
  local parts = {}
  local _, status = http.request {
    url = base .. "/contact-identifiers/find?contact_identifier_value=" .. url.escape(value),
    headers = headers,
    sink = ltn12.sink.table(parts),
  }
  assert(status == 200, status)
  assert(cjson.decode(table.concat(parts)).data.value == value)
end
