-- Tries an installed `leat` against a sandbox, in an empty environment. The sandbox's module must be found by the
-- interpreter that runs this file.
--    lua5.4 spec/support/try_command.lua PROGRAM
local sandbox = require("leat.sandbox")

local server = assert(sandbox.start { cards = { { value = "0042", name = "Krabby Membership" } } })

local function leat(arguments)
  local pipe = assert(io.popen(("cd / && env -i PATH=\"$PATH\" LEAT_API_KEY='%s' LEAT_BASE_URL=%s '%s' %s 2>&1"):format(
    server.api_key, server.url, arg[1], arguments)))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

for arguments, wanted in pairs {
  ["--version"] = "^leat %d+%.%d+%.%d+ ",
  ["help find"] = "^Usage: leat find ",
  ["find 0042"] = '^0042: active, no contact, name "Krabby Membership"\n$',
} do
  local output = leat(arguments)
  assert(output:find(wanted), ("%s %s prints: %s"):format(arg[1], arguments, output))
end
server:stop()
