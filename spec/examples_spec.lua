-- Runs the example programs that call a service, unchanged, each in its own process.
local sandbox = require("leat.sandbox")

local lua = dofile("spec/support/interpreter.lua")

-- Returns what it printed, on both streams; the last line is its exit status.
local function run(server, words)
  local pipe = assert(io.popen(("exec 2>&1; LEAT_API_KEY=%s LEAT_BASE_URL=%s %s %s; echo $?"):format(
    server.api_key, server.url, lua, words)))
  local said = pipe:read("*a")
  pipe:close()
  return said
end

describe("examples/find.lua", function()
  local server

  setup(function()
    server = assert(sandbox.start { contacts = { { uuid = "ann" } },
      cards = { { value = "0042", name = "Krabby Membership", contact_uuid = "ann" }, { value = "0043" } } })
  end)
  teardown(function() server:stop() end)

  it("prints a card", function()
    assert.equal("0042\tKrabby Membership\tann\n0\n", run(server, "examples/find.lua 0042"))
    assert.equal("0043\t0043\t(not linked)\n0\n", run(server, "examples/find.lua 0043"))
  end)

  it("says what failed", function()
    local said = run(server, "examples/find.lua 0044")
    assert.truthy(said:find("^leat: contact_identifiers%.find: not_found .*\n1\n$"), said)
  end)

  it("says how it is called", function()
    local said = run(server, "examples/find.lua")
    assert.truthy(said:find("^usage: .*\n2\n$"), said)
  end)
end)
