-- Runs the example as a user would, against a sandbox instead of the service.
local interpreter = dofile("spec/support/interpreter.lua")
local interrupt = dofile("spec/support/interrupt.lua")

-- A job waits for half a minute until nothing can arrive any more that a dead process sent; this one does not.
local HASTE = [[
  local job = require("leat.jobs").open_temporary():plan { rows = { { value = "any" } } }
  local class = getmetatable(job)
  local start = class.start
  function class.start(self, client, options)
    options.settle = 0.1
    return start(self, client, options)
  end]]

describe("import.lua", function()
  local sandbox, folder, path

  setup(function()
    sandbox = assert(require("leat.sandbox").start { contacts = { { uuid = "ann" }, { uuid = "bob" } },
      cards = { { value = "0002" }, { value = "0003", contact_uuid = "bob" } } })
  end)
  before_each(function()
    sandbox:reset()
    folder = os.tmpname()
    os.remove(folder)
    os.execute("mkdir " .. folder)
    path = folder .. "/cards.csv"
  end)
  after_each(function() os.execute("rm -r " .. folder) end)
  teardown(function() sandbox:stop() end)

  local function write(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end

  local function command(arguments)
    return ("LEAT_API_KEY=%s LEAT_BASE_URL=%s LEAT_RATE=1000 %s -e '%s' examples/import.lua %s"):format(
      sandbox.api_key, sandbox.url, interpreter, HASTE, arguments or path .. " " .. folder .. "/jobs.db")
  end

  -- Returns its output, the last line of which is its exit status.
  local function run(arguments)
    local pipe = assert(io.popen(command(arguments) .. " 2>&1; echo $?"))
    local output = pipe:read("*a")
    pipe:close()
    return output
  end

  -- Returns how often each value was created, whatever the responses were.
  local function created()
    local times = {}
    for _, request in ipairs(sandbox:requests("create")) do
      local value = request.body:match('"contact_identifier_value":"(.-)"')
      times[value] = (times[value] or 0) + (request.changed and 1 or 0)
    end
    return times
  end

  it("creates and links cards, and says what became of the others", function()
    write("value,contact_uuid\r\n0001,ann\r\n0002,ann\r\n0003,ann\r\n1.23E+15,ann\r\n")
    local output = run()
    assert.truthy(output:find("^begins job 1: 4 rows, 1 rejected\n"), output)
    assert.truthy(output:find("\nline 4: failed: ", 1, true), output)
    assert.truthy(output:find("\nline 5: rejected: ", 1, true), output)
    assert.truthy(output:find("\nfinished\t" .. folder .. "/cards.results.csv\n1\n", 1, true), output)
    assert.same({ "ann", "ann", "bob" }, { sandbox:card("0001").contact.uuid, sandbox:card("0002").contact.uuid,
      sandbox:card("0003").contact.uuid })
  end)

  it("continues after Ctrl-C: no card is lost, and none is created twice", function()
    local lines = { "value\n" }
    for i = 1, 200 do
      lines[#lines + 1] = ("K%03d\n"):format(i)
    end
    write(table.concat(lines))
    interrupt(command(), sandbox, "create", 60)
    local before = #sandbox:cards()
    assert.truthy(before >= 60 and before < 202, before)
    local output = run()
    assert.truthy(output:find("^continues job 1: 200 rows, 0 rejected\n"), output)
    assert.truthy(output:find("\nfinished\t[^\n]*\n0\n$"), output)
    local times = created()
    for i = 1, 200 do
      assert.equal(1, times[("K%03d"):format(i)], i)
    end
  end)

  it("says how it is called", function()
    assert.truthy(run(""):find("^usage: .*\n2\n$"))
    assert.truthy(run(folder .. "/none.csv"):find("^usage: .*No such file or directory\n2\n$"))
  end)
end)
