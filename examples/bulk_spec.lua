-- Runs the bulk script as a user would, against a sandbox instead of the service.
local csv = require("examples.csv")
local interpreter = dofile("spec/support/interpreter.lua")
local interrupt = dofile("spec/support/interrupt.lua")

local function rows_of(text)
  local rows = {}
  for line, cells in csv.rows(text) do
    rows[#rows + 1] = { line, cells }
  end
  return rows
end

describe("csv", function()
  it("reads what RFC 4180 has, and what spreadsheets write", function()
    assert.same({ { 1, { "value", "name" } }, { 2, { "0042", "" } }, { 3, { 'a "b"\r\nc, d', "" } },
      { 6, { "1", "2" } } }, rows_of('\239\187\191value,name\r\n0042,\r\n"a ""b""\r\nc, d",""\r\n\r\n1,2'))
    assert.same({ { 1, { "value", "name" } }, { 2, { "1,5", "x" } } }, rows_of("value;name\n1,5;x\n"))
    assert.same({ { 1, { "value", "name" } }, { 2, { "1,5", "x;y" } } }, rows_of('value\tname\n1,5\tx;y\n'))
    assert.same({ { 1, { "" , "" } } }, rows_of(","))
    assert.same({}, rows_of(""))
  end)

  it("says at which line it is none", function()
    for text, line in pairs { ['a\n"b\n\nc'] = 2, ['a\n\nb"c'] = 3, ['a\n"b\nc"d\n'] = 3, ["a\rb"] = 1 } do
      local fine, why = pcall(rows_of, text)
      assert.is_false(fine)
      assert.equal(tostring(line), why:match("^line (%d+): "))
    end
  end)

  it("writes what it reads", function()
    local cells = { "0042", 'a "b"', "c, d", "e\r\nf", "", "g;h" }
    assert.same({ { 1, cells } }, rows_of(csv.row((table.unpack or unpack)(cells)))) -- luacheck: ignore
  end)
end)

describe("bulk.lua", function()
  local sandbox = assert(require("leat.sandbox").start {
    contacts = { { uuid = "ann" }, { uuid = "bob" } },
    cards = { { value = "0002" }, { value = "0003", contact_uuid = "bob" } },
  })
  local dir = os.tmpname()
  os.remove(dir)
  os.execute("mkdir " .. dir)
  local path = dir .. "/cards.csv"

  before_each(function() sandbox:reset() end)
  teardown(function()
    sandbox:stop()
    os.execute("rm -r " .. dir)
  end)

  local function write(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end

  local function command(flags, key)
    return ("LEAT_API_KEY=%s LEAT_BASE_URL=%s %s examples/bulk.lua %s"):format(key or sandbox.api_key, sandbox.url,
      interpreter, flags or path)
  end

  -- Returns its output and its exit status.
  local function run(flags, key)
    local pipe = assert(io.popen(command(flags, key) .. " 2>&1; echo $?"))
    local output = pipe:read("*a")
    pipe:close()
    local text, status = output:match("^(.-)(%d+)\n$")
    return text, tonumber(status)
  end

  local function results()
    local file = assert(io.open(dir .. "/cards.results.csv", "rb"))
    local rows = rows_of(file:read("*a"))
    file:close()
    assert.same({ "line", "value", "outcome", "message" }, table.remove(rows, 1)[2])
    local outcomes, last = {}, 1
    for i, row in ipairs(rows) do
      local line, value, outcome = tonumber(row[2][1]), row[2][2], row[2][3]
      assert.truthy(line > last)
      last, outcomes[i] = line, value .. " " .. outcome
    end
    return outcomes
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

  local function many(from, to)
    local lines = { "value,contact_uuid\r\n" }
    for i = from, to do
      lines[#lines + 1] = ("%04d,ann\r\n"):format(i)
    end
    return table.concat(lines)
  end

  it("creates each card once, and says what became of each row", function()
    write(many(1, 300) .. "0300,ann\r\n1.23E+15,ann\r\n0301,nobody\r\n0302\r\n")
    sandbox:fault { operation = "create", nth = 20, times = 5, apply = true, close = "before" }
    sandbox:fault { operation = "create", nth = 100, status = 500 }
    local text, status = run()
    assert.equal(1, status)
    assert.truthy(text:find("304 of 304 rows: 1 conflict, 1 contact_not_found, 293 created, 2 existed, "
      .. "5 recovered, 2 rejected\n", 1, true), text)
    local outcomes = results()
    assert.same({ "0001 created", "0002 existed", "0003 conflict" }, { outcomes[1], outcomes[2], outcomes[3] })
    assert.same({ "1.23E+15 rejected", "0301 contact_not_found", "0302 rejected" },
      { outcomes[302], outcomes[303], outcomes[304] })
    assert.equal("bob", sandbox:card("0003").contact.uuid)
    assert.equal("ann", sandbox:card("0002").contact.uuid)
    assert.equal(300, #sandbox:cards())
    for value, times in pairs(created()) do
      assert.equal((value == "0002" or value == "0003" or value == "0301") and 0 or 1, times)
    end
  end)

  it("goes on after Ctrl-C: nothing is lost, nothing is done twice", function()
    write(many(4, 303))
    sandbox:fault { operation = "create", value = "0093", delay = 30 } -- created; the response is delayed
    local output = interrupt(command(path), sandbox, "create", 100)
    assert.truthy(output:find("run it again, and it goes on[^\n]*\n130\n$"), output)
    local outcomes = results()
    assert.truthy(#outcomes >= 90 and #outcomes < 300)
    assert.equal("0093 unknown", outcomes[90])

    local text, status = run()
    assert.equal(0, status)
    assert.truthy(text:find("300 of 300 rows: ", 1, true), text)
    assert.equal("0093 existed", results()[90])
    local times = created()
    for i = 4, 303 do
      local value = ("%04d"):format(i)
      assert.equal(1, times[value])
      assert.equal("ann", sandbox:card(value).contact.uuid)
    end
  end)

  it("checks a file without sending anything", function()
    write('value;name;contact_uuid\n0042;"two\nlines";\n1,23E+15;;\n;;\n0043;\n "0044";;\n')
    local text, status = run("--dry-run " .. path)
    assert.equal(2, status)
    assert.truthy(text:find("line 7: ", 1, true), text)
    write('value;name;contact_uuid\n0042;"two\nlines";\n1,23E+15;;\n;x;\n0043;\n0044 ;;\n0045;\255;\n')
    text, status = run("--dry-run " .. path)
    assert.equal(1, status)
    for line, what in pairs { [4] = "damaged by a spreadsheet", [5] = "value is empty", [6] = "2 cells",
      [7] = "value begins or ends with a space", [8] = "name is not UTF-8" } do
      assert.truthy(text:find(("line %d: %s"):format(line, what), 1, true), text)
    end
    assert.truthy(text:find("6 rows, 5 rejected; nothing was sent", 1, true), text)
    write("value\n0042\n0043\n")
    text, status = run("--dry-run " .. path)
    assert.same({ "2 rows, 0 rejected; nothing was sent\n", 0 }, { text, status })
    assert.equal(0, #sandbox:requests())
  end)

  it("may be interrupted while it checks", function()
    write("value\n1\n")
    local pipe = assert(io.popen(interpreter .. [[ -e '
      local cards = require("leat").new { api_key = "k" }.contact_identifiers
      getmetatable(cards).create = function() error("interrupted!", 0) end -- as Ctrl-C does
    ' examples/bulk.lua --dry-run ]] .. path .. " 2>&1; echo $?"))
    local output = pipe:read("*a")
    pipe:close()
    assert.truthy(output:find("^bulk.lua: interrupted[^\n]*\n130\n$"), output)
  end)

  it("stops at once if the key is refused", function()
    write(many(4, 303))
    local text, status = run("--concurrency 2 " .. path, "wrong-key")
    assert.equal(3, status)
    assert.truthy(text:find("unauthorized", 1, true), text)
    assert.equal(2, #sandbox:requests())
    assert.same({ "0004 unauthorized", "0005 unauthorized" }, results())
  end)

  it("does not begin with what it does not understand", function()
    for _, flags in ipairs { "", path .. " " .. path, "--fast " .. path, "--rate x " .. path, "--rate 0 " .. path,
      "--concurrency", "--concurrency 0 " .. path, dir .. "/none.csv", dir } do
      assert.equal(2, select(2, run(flags)), flags)
    end
    for _, text in ipairs { "", "0042\n0043\n", "name\nx\n", "value,contact\n1,ann\n", "value,value\n1,1\n",
      'value\n1\n"2\n' } do
      write(text)
      assert.equal(2, select(2, run()), text)
    end
    write("value\n")
    assert.equal(0, select(2, run()))
    assert.equal(0, #sandbox:requests())
  end)

  it("prints lines where there is no terminal", function()
    write(many(4, 53))
    assert.truthy(run():find("^50 of 50, 0 failed, %d+/s, ETA 0:00\n50 of 50 rows: 50 created\n"))
  end)
end)
