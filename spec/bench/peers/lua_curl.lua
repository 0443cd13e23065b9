-- A peer: Debian's lua-curl, which binds libcurl's easy interface for Lua 5.1 and 5.2, but not its
-- multi interface. It uses one handle; lua-cjson decodes the responses.
--    lua_curl.lua N
local curl, cjson = require("curl"), require("cjson")

local base, value = os.getenv("LEAT_BASE_URL"), os.getenv("BENCH_VALUE")
local parts
local handle = curl.easy_init()
handle:setopt(curl.OPT_NOSIGNAL, 1)
handle:setopt(curl.OPT_CAINFO, os.getenv("BENCH_CA"))
handle:setopt(curl.OPT_USERAGENT, "leat/0.1.0")
handle:setopt(curl.OPT_HTTPHEADER,
  { "Authorization: Bearer " .. os.getenv("LEAT_API_KEY"), "Accept: application/json" })
handle:setopt(curl.OPT_WRITEFUNCTION, function(piece)
  parts[#parts + 1] = piece
  return #piece
end)

for _ = 1, tonumber(arg[1]) do
  parts = {}
  handle:setopt(curl.OPT_URL, base .. "/contact-identifiers/find?contact_identifier_value=" .. curl.escape(value))
  assert(handle:perform() == 0)
  assert(cjson.decode(table.concat(parts)).data.value == value)
end
