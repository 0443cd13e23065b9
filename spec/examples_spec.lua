-- Runs the example programs that call a service, unchanged, each in its own process.
local sandbox = require("leat.sandbox")

local lua = dofile("spec/support/interpreter.lua")

-- Returns what it printed, on both streams; the last line is its exit status.
local function run(server, words, variables)
  local pipe = assert(io.popen(("exec 2>&1; LEAT_API_KEY=%s LEAT_BASE_URL=%s %s %s %s; echo $?"):format(
    server.api_key, server.url, variables or "", lua, words)))
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

describe("examples/import.lua", function()
  local server, folder

  before_each(function()
    server = assert(sandbox.start { contacts = { { uuid = "ann", email = "ann@example.org" } },
      cards = { { value = "0042" } } })
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
  end)
  after_each(function()
    server:stop()
    os.execute("rm -r " .. folder)
  end)

  local function write(text)
    local file = assert(io.open(folder .. "/members.txt", "w"))
    assert(file:write(text))
    file:close()
  end

  local function import()
    return run(server, ("examples/import.lua %s/members.txt"):format(folder), ("LEAT_DB=%s/jobs.db"):format(folder))
  end

  it("creates and links each card, once", function()
    write("0042 ann@example.org\n0043\n0044 bob@example.org\nno card at all\n")
    local said = import()
    local results = said:match("\n(1\t.*)$") or said
    assert.truthy(results:find("^1\t0042\texisted\t\n2\t0043\tcreated\t\n3\t0044\tfailed\tContact not found"), said)
    assert.truthy(results:find("\n4\tno card at all\trejected\tvalue contains a blank\njob 1 is finished: "
      .. "2 of 4 rows done\n1\n$"), said)
    assert.equal("ann", server:card("0042").contact.uuid)

    local creates = #server:requests("create")
    said = import()
    assert.equal(results, said:match("\n(1\t.*)$"))
    assert.equal(creates, #server:requests("create"))
  end)

  it("says what failed", function()
    write("0043\n")
    local said = run(server, ("examples/import.lua %s/members.txt"):format(folder),
      ("LEAT_DB=%s/jobs.db LEAT_API_KEY=wrong"):format(folder))
    assert.truthy(said:find("leat: client.check: unauthorized", 1, true), said)
    assert.truthy(said:find("\n1\n$"), said)
    assert.equal(0, #server:requests("create"))
  end)

  it("says how it is called", function()
    assert.equal("usage: import.lua FILE\n2\n", run(server, "examples/import.lua"))
  end)
end)
