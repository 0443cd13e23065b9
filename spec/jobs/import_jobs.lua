-- The commands `leat import` and `leat job`: their options, messages, files and exit statuses. What becomes of rows
-- whatever happens is in spec/jobs_spec.lua.
local command = dofile("spec/support/command.lua")
local interpreter = dofile("spec/support/interpreter.lua")
local read_file, write_file = dofile("spec/support/read.lua"), dofile("spec/support/write.lua")
local reserve_port = dofile("spec/support/port.lua")
local core = require("leat.core")
local files = require("leat.jobs.core")
local leat = require("leat")
local sandbox = require("leat.sandbox")
local sqlite = require("leat.sqlite.core")

local unpack = table.unpack or unpack -- luacheck: ignore

local KEY = "a-key-that-must-stay-secret"
local FAST = { "--rate", "none", "--settle", "0.2", "--probe", "0.2" }

local folder, server

local function serve(more)
  local options = { api_key = KEY, contacts = { { uuid = "ann", email = "ann@example.org" }, { uuid = "bob" } },
    cards = { { value = "old", name = "Old", contact_uuid = "ann" }, { value = "free" } } }
  for name, value in pairs(more or {}) do
    options[name] = value
  end
  return assert(sandbox.start(options))
end

-- Starts a stopped service again, with the same cards and address.
local function restart(stopped)
  local cards = {}
  for i, card in ipairs(stopped:cards()) do
    cards[i] = { value = card.value, name = card.name, contact_uuid = card.contact and card.contact.uuid }
  end
  return serve { port = tonumber(stopped.url:match(":(%d+)")), cards = cards }
end

before_each(function()
  folder = os.tmpname()
  os.remove(folder)
  assert(files.make_folder(folder))
  server = serve { port = reserve_port() } -- some tests stop it and start it again
end)

after_each(function()
  server:stop()
  os.execute("rm -r " .. folder)
end)

-- ---- helpers ----------------------------------------------------------------------------

local function path_of(name)
  return folder .. "/" .. name
end

local function write(name, text)
  write_file(path_of(name), text)
  return path_of(name)
end

local function read(name)
  return read_file(path_of(name), true)
end

local function rows(count)
  local lines = { "value" }
  for i = 1, count do
    lines[#lines + 1] = "v" .. i
  end
  return table.concat(lines, "\n") .. "\n"
end

local function given(args, more)
  local options = { args = args, server = server, env = { LEAT_DB = path_of("jobs.db") } }
  for name, value in pairs(more or {}) do
    options[name] = value
  end
  return options
end

-- Returns the arguments with the options that make a run short.
local function fast(args)
  local all = { unpack(args) }
  for _, word in ipairs(FAST) do
    all[#all + 1] = word
  end
  return all
end

local function run(args, more)
  return command.run(given(args, more))
end

local function run_fast(args, more)
  return run(fast(args), more)
end

local function start_fast(args, more)
  return command.start(given(fast(args), more))
end

-- Runs a command, and fails if its exit status is another one.
local function expect(wanted, args, more)
  local result = run_fast(args, more)
  assert.equal(wanted, result.status, result.stdout .. result.stderr .. result.screen)
  return result
end

-- The commands that only read the journal have no options of a run.
local function expect_plain(wanted, args, more)
  local result = run(args, more)
  assert.equal(wanted, result.status, result.stdout .. result.stderr)
  return result
end

local function assert_has(text, piece)
  assert.truthy(text:find(piece, 1, true), ("'%s' is not in:\n%s"):format(piece, text))
end

-- Returns the last command that was printed on a line of its own, as a list of words, without "leat".
local function printed_command(text)
  local line
  for found in text:gmatch("\n  leat ([^\n]+)") do
    line = found
  end
  local words = {}
  local pipe = assert(io.popen("for word in " .. assert(line, text) .. "; do printf '%s\\n' \"$word\"; done"))
  for word in pipe:lines() do
    words[#words + 1] = word
  end
  pipe:close()
  return words
end

-- Returns how many requests there were of an operation for each value.
local function count_sent(operation)
  local counts = {}
  for _, request in ipairs(server:requests(operation)) do
    local value = request.body:match('"contact_identifier_value":"([^"]*)"')
    counts[value] = (counts[value] or 0) + 1
  end
  return counts
end

local function wait_for_requests(operation, count)
  command.wait_until(function() return #server:requests(operation) >= count end)
end

local function count_writes()
  return command.count_writes(server)
end

-- Returns the outcomes in a file of results, by value.
local function outcomes(name)
  local found = {}
  for value, outcome in assert(read(name), name):gmatch("\n%d+,([^,]*),%l+,(%l+),") do
    found[value] = outcome
  end
  return found
end

-- ---- an import --------------------------------------------------------------------------

describe("leat import", function()
  it("processes each row, and writes files that only the owner can read", function()
    local text = "\239\187\191Value;Name;Colour\r\na;Ann;red\r\nb;Bob;\"light; or\r\nblue\"\r\n;nobody;x\r\n"
      .. "a;Ann;red\r\n5E+12;x;\r\nold;Old;green"
    local file = write("cards.csv", text)
    server:fault { operation = "create", value = "old", kind = "invalid_input" }
    local result = expect(1, { "import", file })
    assert.equal(([[
6 rows: 2 done, 1 failed, 2 rejected, 1 skipped
  results: %s
  failed: %s
  rejected: %s
  skipped: %s
To retry the rows that failed or are unknown:
  leat job retry 1 --rate none --settle 0.2 --probe 0.2
]]):format(path_of("cards.results.csv"), path_of("cards.failed.csv"), path_of("cards.rejected.csv"),
      path_of("cards.skipped.csv")), result.stdout)
    assert.equal('leat: columns: value ("Value"), name ("Name"); not used: "Colour"\n'
      .. "leat: job 1: 6 rows of " .. file .. ", ensure; no limit of requests per second\n", result.stderr)
    local header = "\239\187\191Value;Name;Colour\r\n"
    assert.equal(header .. "old;Old;green", read("cards.failed.csv"))
    assert.equal(header .. ";nobody;x\r\n5E+12;x;\r\n", read("cards.rejected.csv"))
    assert.equal(header .. "a;Ann;red\r\n", read("cards.skipped.csv"))
    assert.equal(text, read("cards.csv"))
    assert.same({ a = "skipped", b = "created", old = "failed", [""] = "rejected", ["5E+12"] = "rejected" },
      outcomes("cards.results.csv"))
    assert.equal("Bob", server:card("b").name)
    local pipe = assert(io.popen("cd " .. folder .. " && stat -c '%a %n' *.*.csv jobs.db"))
    assert.equal("600 cards.failed.csv\n600 cards.rejected.csv\n600 cards.results.csv\n600 cards.skipped.csv\n"
      .. "600 jobs.db\n", pipe:read("*a"))
    pipe:close()
  end)

  it("can import its failed rows again, once they are repaired", function()
    expect(1, { "import", write("cards.csv", "value,contact_uuid\nfree,ann\nold,bob\n"), "--operation", "link" })
    server:stop()
    server = serve { port = tonumber(server.url:match(":(%d+)")), cards = { { value = "old" } } }
    expect(0, { "import", path_of("cards.failed.csv"), "--operation", "link" })
    assert.equal("bob", server:card("old").contact.uuid)
    assert.same({ old = "linked" }, outcomes("cards.failed.results.csv"))
  end)

  it("is JSON with --json: the counts, the files and the command that continues", function()
    local file = write("cards.csv", "value,name\nnone,N\n")
    local result = expect(1, { "import", file, "--operation", "update", "--json", "-q" })
    assert.equal(('{"id":1,"file":"%s","operation":"update","state":"finished","reason":null,"rows":1,"done":0,'
      .. '"failed":1,"unknown":0,"rejected":0,"skipped":0,"unprocessed":0,"waiting":0,"requests":1,'
      .. '"files":{"results":"%s","failed":"%s"},"next":"leat job retry 1 --rate none --settle 0.2 --probe 0.2",'
      .. '"columns":{"value":"value","name":"name"},"not_used":[]}\n'):format(file,
        path_of("cards.results.csv"), path_of("cards.failed.csv")), result.stdout)
    assert.equal("", result.stderr)
  end)

  it("says the default rate", function()
    local result = expect_plain(0, { "import", write("cards.csv", "value\na\n") })
    assert_has(result.stderr, "at most 5 requests per second (--rate changes that)")
  end)

  it("maps the file's own headers with --column", function()
    local file = write("cards.csv", "Card Number,Owner's mail,value\nx,ann@example.org,no\n")
    expect(0, { "import", file, "--column", "value=Card Number", "--column", "contact_email=Owner's mail" })
    assert.equal("ann", server:card("x").contact.uuid)
    assert.is_nil(server:card("no"))
    for column, message in pairs { value = "NAME=HEADER", ["value=Kard"] = "the file has no such column",
      ["valeu=value"] = "did you mean 'value'?" } do
      assert_has(expect(2, { "import", file, "--column", column }).stderr, message)
    end
    assert_has(expect(2, { "import", file, "--column", "name=value", "--column", "name=value" }).stderr,
      "--column name is given twice")
  end)

  it("reads standard input, and then writes the files into the current folder or --out", function()
    local args = { "import", "-", "--out", path_of("new/out") }
    expect(0, args, { stdin = "value\na\n" })
    local pipe = assert(io.popen("stat -c %a " .. path_of("new") .. " " .. path_of("new/out")))
    assert.equal("700\n700\n", pipe:read("*a"))
    pipe:close()
    assert.same({ a = "created" }, outcomes("new/out/stdin.results.csv"))
    assert_has(expect(2, args, { stdin = "value\na\n" }).stderr, "this input was imported before, as job 1")
  end)

  it("says which contact is missing, and that the card was not changed", function()
    expect(1, { "import", write("cards.csv", "value,contact_email\na,nobody@example.org\n") })
    assert_has(read("cards.results.csv"), "\n2,a,ensure,failed,contact_not_found,55031,\"no contact has the e-mail "
      .. "address nobody@example.org; the card was not changed, and contacts are never created\",1,")
    assert.is_nil(server:card("a"))
  end)

  it("writes results beside the file, wherever the job is continued", function()
    write("cards.csv", "value\na\n")
    local pipe = assert(io.popen(("root=$PWD; cd %s; LEAT_API_KEY=%s LEAT_BASE_URL=%s LEAT_DB=jobs.db %s "
      .. "$root/lua/bin/leat import cards.csv --detach -q"):format(folder, KEY, server.url, interpreter)))
    assert.equal("1\n", pipe:read("*a"))
    pipe:close()
    assert_has(expect(0, { "job", "run", "1" }).stdout, "results: " .. path_of("cards.results.csv"))
  end)

  it("does nothing twice: a file that is finished has exit status 2, unless --again", function()
    local file = write("cards.csv", "value\na\n")
    expect(0, { "import", file })
    local result = expect(2, { "import", file })
    assert_has(result.stderr, "was imported before, as job 1: 'leat job results 1' writes its results, and --again")
    assert.same({ 1, 1 }, { #server:requests("create"), count_writes() })
    assert_has(expect(0, { "import", file, "--again" }).stderr, "job 2: 1 row of")
    assert.same({ a = "existed" }, outcomes("cards.results.csv"))
    expect(1, { "import", file, "--operation", "create" }) -- it is another job
  end)

  it("exports what the service holds: --operation find", function()
    expect(1, { "import", write("cards.csv", "value\nold\nfree\nnone\n"), "--operation", "find" })
    local text = read("cards.results.csv")
    assert.truthy(text:find("\n2,old,find,found,[^\n]*,Old,true,ann,ann@example.org\r\n"), text)
    assert.truthy(text:find("\n3,free,find,found,[^\n]*,free,true,,\r\n"), text)
    assert.equal("value\nnone\n", read("cards.failed.csv"))
    assert.equal(0, count_writes())
  end)

  it("warns of a value that is shorter than all others, and of a column that may be misspelt", function()
    local lines = { "value,contact_emial" }
    for i = 10, 30 do
      lines[#lines + 1] = "00" .. i .. ","
    end
    local file = write("cards.csv", table.concat(lines, "\n") .. "\n42,\n")
    local result = expect(0, { "import", file, "--detach" })
    assert_has(result.stderr, "leat: warning: column \"contact_emial\" is not used: did you mean 'contact_email'?\n")
    assert_has(result.stderr,
      "leat: warning: 1 row with a value of 2 characters, and most have 4 (line 23)\n")
  end)

  it("prints commands that run as they are, whatever the names of files are", function()
    for _, name in ipairs { "it's a \"file\" $HOME.csv", "-cards.csv" } do
      server:fault { operation = "update", kind = "invalid_input" }
      local file = write(name, "value,name\nold,N " .. name:gsub('"', "") .. "\n")
      local base = file:gsub("%.csv$", "")
      local db, out = path_of("a jour'nal.db"), path_of("an 'out'")
      assert(files.make_folder(out))
      local result = expect(1, { "import", file, "--operation", "update", "--db", db, "--out", out, "--column",
        "name=name" })
      assert_has(result.stdout, (base:match("[^/]*$")) .. ".results.csv")
      result = run(printed_command(result.stdout))
      assert.equal(0, result.status, result.stderr)
      assert_has(result.stdout, "1 row: 1 done\n")
      assert_has(result.stdout, "an 'out'/" .. name:gsub("%.csv$", "") .. ".results.csv\n")
      assert.is_nil(read("an 'out'/" .. name:gsub("%.csv$", "") .. ".failed.csv"))
    end
  end)

  for name, case in pairs {
    ["HTML"] = { "<!DOCTYPE html><html>", "the file is HTML or XML, not CSV" },
    ["an .xlsx workbook"] = { "PK\3\4....", "the file is an .xlsx workbook" },
    ["UTF-16"] = { "\255\254v\0a\0l\0", "the file is UTF-16" },
    ["CR only"] = { "value\ra\rb\r", "the lines end with CR" },
    ["an empty file"] = { "", "the file has no header" },
    ["no rows"] = { "value\n", "there are no rows" },
    ["no column of values"] = { "name\nx\n", "no column is named \"value\"" },
  } do
    it("names a file that it cannot read: " .. name, function()
      local file = write("cards.csv", case[1])
      local result = run_fast { "import", file }
      assert.equal(2, result.status, result.stderr)
      assert_has(result.stderr, case[2])
      assert_has(result.stderr, file)
      assert.equal(0, count_writes())
      assert.equal("", result.stdout)
    end)
  end

  it("explains its outcomes and files in the help", function()
    local help = expect_plain(0, { "help", "import" }).stdout
    for _, outcome in ipairs { "created", "existed", "linked", "recovered", "failed", "unknown", "rejected", "skipped",
      "ready", "later", "claimed" } do
      assert.truthy(help:find("\n   [^\n]*%f[%l]" .. outcome .. "%f[^%l][^\n]*"), outcome)
    end
    for _, sentence in ipairs { "replaced or removed when results are written again", "edit a copy, and import that",
      "cards.results.csv has the line, the outcome and the reason of each row", "unprocessed rows may have been sent",
      "value='Card Number' \\ --column name=Member --column contact_email=E-Mail" } do
      assert_has(help:gsub("%s+", " "), sentence)
    end
  end)

  it("refuses wrong usage", function()
    local file = write("cards.csv", "value\na\n")
    for message, args in pairs {
      ["No such file"] = { path_of("none.csv") }, ["Is a directory"] = { folder }, ["--max-failures must be"] = {
        file, "--max-failures", "100%" }, ["--settle must be"] = { file, "--settle", "x" },
      ["--lease must be"] = { file, "--lease", "0" }, ["--probe must be"] = { file, "--probe", "0" },
      ["--operation"] = { file, "--operation", "destroy" }, ["too many arguments"] = { file, file },
    } do
      local result = run { "import", unpack(args) }
      assert.equal(2, result.status, message)
      assert_has(result.stderr, message)
    end
    assert.same({}, server:requests())
  end)
end)

describe("--dry-run", function()
  it("sends nothing, keeps nothing, and says how long it will take", function()
    local file = write("cards.csv", rows(1500))
    local result = expect_plain(0, { "import", file, "--dry-run" })
    assert.equal("columns: value\n1,500 rows: 0 done, 1,500 unprocessed\n"
      .. "1,500 rows: 1,500 to 6,000 requests, 5 min 0 s to 20 min 0 s at 5/s (one for a new card, 2 to 4 for one that "
      .. "exists)\n", result.stdout)
    result = expect_plain(0, { "import", file, "--dry-run", "--rate", "none", "--operation", "delete" })
    assert_has(result.stdout, "\n1,500 rows: 3,000 requests\n")
    assert.same({}, server:requests())
    assert.is_nil(read("jobs.db"))
    assert.is_nil(read("cards.results.csv"))
  end)

  it("lists rejected rows and duplicates with their lines, and then has the status 1", function()
    local file = write("cards.csv", "value,Member\na,A\n,x\na,A\nb,B\nB,other\n")
    assert_has(expect_plain(1, { "import", file, "--dry-run" }, { server = false }).stdout,
      'columns: value; not used: "Member"\n')
    local args = { "import", file, "--dry-run", "--column", "name=Member" }
    local result = expect_plain(1, args, { server = false })
    assert.equal("line 3: rejected: value is empty\nline 4: skipped: same as line 2\n"
      .. "line 5: rejected: the same card is on line 6 with other data\n"
      .. "line 6: rejected: the same card is on line 5 with other data\n"
      .. 'columns: value, name ("Member")\n5 rows: 0 done, 3 rejected, 1 skipped, 1 unprocessed\n'
      .. "1 row: 1 to 4 requests, 1 s at 5/s (one for a new card, 2 to 4 for one that exists)\n", result.stdout)
    result = expect_plain(1, { "import", file, "--dry-run", "--json" })
    assert.equal(3 + 1, select(2, result.stdout:gsub("\n", "")), result.stdout)
    assert_has(result.stdout, '{"line":3,"state":"rejected","message":"value is empty"}\n')
    assert_has(result.stdout, '"rejected":1,"skipped":2,"unprocessed":2,"waiting":0,"requests":0,"requests_least":2,'
      .. '"requests_most":8,"columns":{"value":"value"},"not_used":["Member"]}\n')
  end)
end)

-- ---- what takes something away ----------------------------------------------------------

describe("delete and unlink", function()
  for _, operation in ipairs { "delete", "unlink" } do
    it(operation .. " needs --yes off a terminal, but not to plan, to look or to go on", function()
      local file = write("cards.csv", "value\nold\n")
      local args = { "import", file, "--operation", operation }
      assert_has(expect(2, args).stderr, ("--operation %s needs --yes"):format(operation))
      assert.same({}, server:requests())
      expect(0, { "import", file, "--operation", operation, "--dry-run" })
      expect(0, { "import", file, "--operation", operation, "--detach" })
      expect(0, { "job", "run", "1" })
      assert.equal(1, count_writes())
      expect(1, { "import", file, "--operation", operation, "--yes", "--again" })
    end)
  end

  if command.has_terminals then
    it("ask once on a terminal, with the counts", function()
      local file = write("cards.csv", "value\nold\nfree\nold\n")
      local args = fast { "import", file, "--operation", "delete" }
      local result = run(args, { terminal = "012", keys = { { "Delete 2 cards? [y/N] ", "n\r" } } })
      assert.same({ 1, 0 }, { result.status, count_writes() }, result.screen)
      assert_has(result.screen, "3 rows: 0 done, 1 skipped, 2 unprocessed\nDelete 2 cards? [y/N] n\n")
      assert_has(result.screen, "nothing was changed")
      assert_has(run({ "job", "list" }).stderr, "there are no jobs")
      result = run(args, { terminal = "012", keys = { { "[y/N] ", "y\r" } } })
      assert.equal(0, result.status, result.screen)
      assert.is_nil(server:card("old"))
    end)
  end
end)

-- ---- interruptions ----------------------------------------------------------------------

local STATUS = { INT = 130, TERM = 143, HUP = 129 }

-- Checks that all rows are done, and that nothing was created twice, but for at most one that got no response.
local function assert_complete(count, unanswered)
  local sent = count_sent("create")
  for i = 1, count do
    local value = "v" .. i
    assert.truthy(server:card(value), value)
    assert.is_true(sent[value] == 1 or value == unanswered and sent[value] == 2, value)
  end
end

describe("an import that is interrupted", function()
  for name, number in pairs(STATUS) do
    it("by SIG" .. name .. " ends what is under way, and goes on as printed", function()
      server:fault { operation = "create", delay = 0.2, times = 24 }
      local file = write("cards.csv", rows(24))
      local process = start_fast { "import", file, "--concurrency", "4" }
      wait_for_requests("create", 6)
      process:signal(name)
      local result = process:wait()
      assert.same({ name, number }, { result.signal, result.status }, result.stderr)
      assert_has(result.stderr, "stopping: what is under way is finished; a second signal ends at once")
      local done, left = result.stdout:match("^24 rows: (%d+) done, (%d+) unprocessed\n")
      assert.equal(24, tonumber(done) + tonumber(left), result.stdout)
      assert.equal(#server:requests("create"), tonumber(done))
      assert_has(result.stdout, "\nTo continue:\n  leat job run 1 --rate none --concurrency 4")
      local _, lines = read("cards.unprocessed.csv"):gsub("\n", "")
      assert.equal(1 + left, lines)
      result = run(printed_command(result.stdout))
      assert.equal(0, result.status, result.stderr)
      assert_has(result.stdout, "24 rows: 24 done\n")
      assert.is_nil(read("cards.unprocessed.csv"))
      assert_complete(24)
    end)
  end

  it("by SIGKILL continues when it is imported again, and says so", function()
    server:fault { operation = "create", value = "v5", delay = math.huge }
    local file = write("cards.csv", rows(20))
    local process = start_fast { "import", file }
    wait_for_requests("create", 20)
    process:signal("KILL")
    assert.equal(137, process:wait().status)
    local result = expect_plain(0, { "job", "list" })
    assert_has(result.stdout, "1  interrupted")
    result = expect(0, { "import", file })
    assert.truthy(result.stderr:find("leat: continues job 1: 20 rows: %d+ done, %d+ unprocessed\n"), result.stderr)
    assert_has(result.stdout, "20 rows: 20 done\n")
    assert_complete(20, "v5")
  end)

  it("by a second signal ends at once, which is safe", function()
    server:fault { operation = "create", value = "v3", delay = math.huge }
    local process = start_fast { "import", write("cards.csv", rows(6)) }
    wait_for_requests("create", 6)
    process:signal("INT")
    process:wait_for("stderr", "a second signal ends at once")
    local begun = core.now()
    process:signal("INT")
    assert.equal(130, process:wait().status)
    assert.is_true(core.now() - begun < 1500)
    expect(0, { "job", "run", "1" })
    assert_complete(6, "v3")
  end)

  it("while it waits for the service, before there is a job", function()
    server:stop()
    local process = start_fast { "import", write("cards.csv", rows(2)), "--timeout", "0.3" }
    process:wait_for("stderr", "the service does not respond (connection): trying again every 0.2 s")
    process:signal("TERM")
    assert.equal(143, process:wait().status)
    assert_has(run({ "job", "list" }).stderr, "there are no jobs")
  end)

  it("while it reads standard input", function()
    local process = command.start(given({ "import", "-" }, { stdin = true }))
    process:type("value\n")
    command.sleep(0.5)
    process:signal("INT")
    local result = process:wait()
    assert.equal(130, result.status, result.stderr)
    assert.same({}, server:requests())
  end)
end)

-- ---- pauses -----------------------------------------------------------------------------

describe("an import is paused", function()
  it("by a wrong key, before there is a job", function()
    local result = expect(3, { "import", write("cards.csv", rows(30)) },
      { env = { LEAT_DB = path_of("jobs.db"), LEAT_API_KEY = "wrong", LEAT_BASE_URL = server.url } })
    assert_has(result.stderr, "leat: unauthorized")
    assert.equal(1, #server:requests())
  end)

  it("by credentials that are refused in the middle, and a quota", function()
    for kind, number in pairs { unauthorized = 3, quota_reached = 3 } do
      server:fault { operation = "create", value = "v5", kind = kind, times = 1 }
      local result = expect(number, { "import", write(kind .. ".csv", rows(40)), "--concurrency", "2" })
      assert_has(result.stderr, ("is paused: %s: "):format(kind))
      assert_has(result.stdout, "\nTo continue:\n")
      assert.equal(0, run(printed_command(result.stdout)).status)
      server:stop()
      server = serve()
    end
  end)

  it("after --max-failures rows, or a share of them", function()
    local file = write("cards.csv", (rows(130):gsub("\n", ",x\n"):gsub("^value,x", "value,name")))
    local result = expect(7, { "import", file, "--operation", "update", "--max-failures", "3", "--concurrency", "2" })
    assert_has(result.stderr, "leat: job 1 is paused: max_failures: 3 rows have failed")
    assert.is_true(#server:requests("update") < 8)
    local again = printed_command(result.stdout)
    assert.equal("job run 1 --rate none --concurrency 2 --max-failures 3 --settle 0.2 --probe 0.2",
      table.concat(again, " "))
    local before = #server:requests("update")
    assert.equal(7, run(again).status)
    assert.is_true(#server:requests("update") >= before + 3)
    result = expect(7, { "job", "run", "1", "--max-failures", "50%" })
    assert_has(result.stdout, "--max-failures 50% ")
    assert.is_true(#server:requests("update") >= 100)
    assert_has(expect(1, { "job", "run", "1", "--max-failures", "0" }).stdout, "130 rows: 0 done, 130 failed\n")
  end)

  it("by nothing while the service is away: it waits, says so once, and loses nothing", function()
    local url = server.url
    server:fault { operation = "create", delay = 0.05, times = math.huge }
    local process = start_fast { "import", write("cards.csv", rows(40)), "--timeout", "5" }
    wait_for_requests("create", 6)
    local created = #server:requests("create")
    server:stop()
    process:wait_for("stderr", "the service does not respond (connection): trying again every 0.2 s; no rows are used")
    command.sleep(0.5)
    server = restart(server)
    assert.equal(url, server.url)
    local result = process:wait()
    assert.equal(0, result.status, result.stderr)
    local _, times = result.stderr:gsub("does not respond", "")
    assert.equal(1, times, result.stderr)
    assert_has(result.stderr, "leat: the service responds again\n")
    assert_has(result.stdout, "40 rows: 40 done\n")
    assert.is_true(#server:requests("create") >= 40 - created)
  end)

  it("by nothing while requests fail: it says so at once, and how many rows wait", function()
    server:fault { operation = "create", kind = "server", times = math.huge }
    local process = command.start(given({ "import", write("cards.csv", rows(400)), "--rate", "2", "--settle", "0.2",
      "--concurrency", "2", "--timeout", "0.5" }, command.has_terminals and { terminal = "012" } or nil))
    local stream = command.has_terminals and "screen" or "stderr"
    process:wait_for(stream, "0 of 400 processed, 0 failed; requests fail, and are tried again (server)")
    process:wait_for(stream, " to be tried again (server)")
    local result = expect_plain(0, { "job", "status" })
    assert.truthy(result.stdout:find("^1  running  ensure of [^\n]*400 rows: 0 done, 400 unprocessed, of which %d+ "
      .. "waits? to be tried again\n$"), result.stdout)
    process:signal("INT")
    assert.equal(130, process:wait().status)
    assert.truthy(read("cards.results.csv"):find("\n2,v1,ensure,later,server,,[^\n]*\n"),
      read("cards.results.csv"):sub(1, 500))
    assert_has(read("cards.results.csv"), "\n300,v299,ensure,ready,,,,0,,")
  end)

  it("by nothing during an outage, of which 'job status' tells", function()
    server:fault { operation = "create", kind = "connection", times = math.huge }
    local process = start_fast { "import", write("cards.csv", rows(40)) }
    process:wait_for("stderr", "the service does not respond")
    command.sleep(0.2)
    local result = expect_plain(0, { "job", "status" })
    assert.truthy(result.stdout:find("^1  running %(waiting for the service: connection%)  ensure of [^\n]*, of which "
      .. "%d+ wait to be tried again\n$"), result.stdout)
    process:signal("KILL")
    process:wait()
    result = expect_plain(0, { "job", "status" })
    assert.truthy(result.stdout:find("^1  interrupted  ensure of [^\n]*\nTo continue:\n  leat job run 1\n$"),
      result.stdout)
  end)

  it("by nothing while the service is away at the start", function()
    server:stop()
    local process = start_fast { "import", write("cards.csv", rows(2)), "--timeout", "2" }
    process:wait_for("stderr", "does not respond")
    server = restart(server)
    local result = process:wait()
    assert.equal(0, result.status, result.stderr)
    local _, times = result.stderr:gsub("does not respond", "")
    assert.equal(1, times, result.stderr)
  end)
end)

describe("an unknown outcome", function()
  it("has the exit status 6, and can be tried again", function()
    server:fault { operation = "link", value = "free", kind = "timeout" }
    local file = write("cards.csv", "value,contact_uuid\nfree,ann\n")
    local process = start_fast { "import", file, "--operation", "link", "--timeout", "0.5", "--settle", "1" }
    wait_for_requests("link", 1)
    local client = leat.new { api_key = KEY, base_url = server.url }
    leat.assert(client.contact_identifiers:link("free", "bob"))
    local result = process:wait()
    assert.equal(6, result.status, result.stderr)
    assert_has(result.stdout, "1 row: 0 done, 1 unknown\n")
    assert.equal("value,contact_uuid\nfree,ann\n", read("cards.unknown.csv"))
    assert_has(expect(0, { "job", "retry", "1", "--failed" }).stderr, "job 1 has no such rows")
    assert.equal(6, run(printed_command(result.stdout)).status)
    leat.assert(client.contact_identifiers:unlink("free"))
    client:close()
    assert_has(expect(0, { "job", "retry", "1", "--unknown" }).stdout, "1 row: 1 done\n")
    assert.equal("ann", server:card("free").contact.uuid)
    assert.is_nil(read("cards.unknown.csv"))
  end)
end)

-- ---- jobs -------------------------------------------------------------------------------

describe("leat job", function()
  it("run needs no file: --detach only plans", function()
    local file = write("cards.csv", rows(3))
    local result = expect(0, { "import", file, "--detach" })
    assert.equal("1\n", result.stdout)
    assert_has(result.stderr, "to run it: leat job run 1")
    assert.equal(0, count_writes())
    result = expect(0, { "import", file, "--detach", "--json" })
    assert.truthy(result.stdout:find('^{"id":1,[^\n]*"state":"planned",[^\n]*"unprocessed":3,'), result.stdout)
    os.remove(file)
    expect(0, { "job", "run", "1" })
    assert_has(expect(2, { "job", "run", "1" }).stderr,
      "job 1 is finished: 'leat job retry 1' retries the rows that failed or are unknown")
    assert.equal(3, count_writes())
    assert.truthy(read("cards.results.csv"))
  end)

  it("list, status and remove", function()
    assert.equal("", expect_plain(0, { "job", "list" }).stdout)
    assert_has(expect_plain(2, { "job", "status" }).stderr, "there are no jobs")
    local file = write("cards.csv", "value\na\nb\n\nb\n")
    expect(0, { "import", file, "--detach" })
    local line = "1  planned  ensure of " .. file .. "  3 rows: 0 done, 1 skipped, 2 unprocessed\n"
    assert.equal(line, expect_plain(0, { "job", "list" }).stdout)
    local continues = line .. "To continue:\n  leat job run 1\n"
    assert.equal(continues, expect_plain(0, { "job", "status" }).stdout)
    assert.equal(continues, expect_plain(0, { "job", "status", "1", "--watch" }).stdout)
    local json = ('{"id":1,"file":"%s","operation":"ensure","state":"planned","reason":null,"rows":3,"done":0,'
      .. '"failed":0,"unknown":0,"rejected":0,"skipped":1,"unprocessed":2,"waiting":0,"requests":0,'
      .. '"next":"leat job run 1"}\n'):format(file)
    assert.equal(json, expect_plain(0, { "job", "list", "--json" }).stdout)
    assert.equal(json, expect_plain(0, { "job", "status", "1", "--json" }).stdout)
    assert_has(expect_plain(0, { "job", "stop", "1" }).stderr, "job 1 is not running")
    assert_has(expect_plain(0, { "job", "remove", "1" }).stderr, "job 1 is removed")
    for _, action in ipairs { "status", "run", "stop", "retry", "results", "verify", "remove" } do
      assert_has(expect_plain(2, { "job", action, "1" }).stderr, "there is no job 1 ('leat job list' shows them)")
    end
    assert_has(expect_plain(2, { "job", "run", "one" }).stderr, "ID must be the number of a job")
  end)

  it("status --watch and stop, while it runs", function()
    server:fault { operation = "create", delay = 0.3, times = math.huge }
    local process = start_fast { "import", write("cards.csv", rows(60)), "--concurrency", "2" }
    wait_for_requests("create", 1)
    local watch = command.start(given { "job", "status", "1", "--watch" })
    watch:wait_for("stdout", "1  running  ensure of ")
    local refused = expect(5, { "job", "run", "1" }).stderr
    assert_has(refused, "works on the journal " .. path_of("jobs.db") .. " (job 1): wait for it, or give another")
    assert_has(refused, "leat: to watch it: leat job status 1 --watch\n")
    for _, args in ipairs { { write("more.csv", rows(5)) }, { path_of("cards.csv"), "--again" } } do
      assert_has(expect(5, { "import", unpack(args) }).stderr, "leat job status 1 --watch\n")
    end
    expect(0, { "import", path_of("more.csv"), "--detach" })
    assert.equal(2, select(2, expect_plain(0, { "job", "list" }).stdout:gsub("\n", "")))
    assert_has(expect_plain(5, { "job", "remove", "1" }).stderr, "a process works on job 1: stop it first")
    assert_has(expect_plain(0, { "job", "stop", "1" }).stderr, "job 1 is asked to stop")
    local result = process:wait()
    assert.equal(7, result.status, result.stderr)
    assert_has(result.stdout, "\nTo continue:\n")
    result = watch:wait()
    assert.same({ 0, 1 }, { result.status, select(2, result.stdout:gsub("\n1  stopped %(stopped%)  ", "")) },
      result.stdout)
  end)

  it("retry processes failed rows again, and only those", function()
    server:fault { operation = "create", value = "v2", kind = "invalid_input" }
    expect(1, { "import", write("cards.csv", rows(3)) })
    assert.equal("value\nv2\n", read("cards.failed.csv"))
    assert_has(expect(0, { "job", "retry", "1", "--unknown" }).stderr, "job 1 has no such rows")
    assert_has(expect(0, { "job", "retry", "1", "--failed" }).stdout, "3 rows: 3 done\n")
    local sent = count_sent("create")
    assert.same({ v1 = 1, v2 = 2, v3 = 1 }, sent)
    assert.is_nil(read("cards.failed.csv"))
  end)

  it("results writes the files again, anywhere", function()
    expect(0, { "import", write("cards.csv", rows(2)) })
    local text = read("cards.results.csv")
    os.remove(path_of("cards.results.csv"))
    assert_has(expect_plain(0, { "job", "results", "1" }).stdout, "  results: " .. path_of("cards.results.csv") .. "\n")
    assert.equal(text, read("cards.results.csv"))
    expect_plain(0, { "job", "results", "1", "--out", path_of("out"), "--json" })
    assert.equal(text, read("out/cards.results.csv"))
  end)

  it("verify lists the cards that were changed since", function()
    expect(0, { "import", write("cards.csv", "value,name\nfree,F\nold,O\n"), "--operation", "update", "--verify" })
    assert.equal(2, #server:requests("find"))
    local result = expect_plain(0, { "job", "verify", "1", "--rate", "none" })
    assert.equal("2 rows verified, 0 changed, 0 could not be seen\n", result.stdout)
    local client = leat.new { api_key = KEY, base_url = server.url }
    leat.assert(client.contact_identifiers:update("old", { name = "Other" }))
    client:close()
    result = expect_plain(6, { "job", "verify", "1", "--rate", "none" })
    assert.equal("old: changed since it was processed\n2 rows verified, 1 changed, 0 could not be seen\n",
      result.stdout)
    server:fault { operation = "find", value = "free", kind = "server", times = math.huge }
    result = expect_plain(6, { "job", "verify", "1", "--rate", "none", "--probe", "0.05", "--timeout", "0.2" })
    assert_has(result.stdout, "free: could not be seen: ")
    assert_has(result.stdout, "\n1 row verified, 0 changed, 1 could not be seen\n")
    result = expect_plain(6, { "job", "verify", "1", "--json", "--rate", "none", "--probe", "0.05", "--timeout",
      "0.2" })
    local first, second, last = result.stdout:match("^(%b{})\n(%b{})\n(%b{})\n$")
    assert_has(first or result.stdout, '{"value":"free","kind":"unverified","message":"could not be seen: ')
    assert.equal('{"value":"old","kind":"changed_afterwards","message":"changed since it was processed"}', second)
    assert_has(last, '"verified":1,"changed":0,"unverified":1,"not_verified_yet":0,"next":null}')
  end)

  it("verify says how many requests it sends, and goes on where it was stopped", function()
    expect(0, { "import", write("cards.csv", rows(30)) })
    server:fault { operation = "find", delay = 0.2, times = math.huge }
    local process = command.start(given({ "job", "verify", "1", "--rate", "100", "--concurrency", "2" },
      command.has_terminals and { terminal = "012" } or nil))
    process:wait_for(command.has_terminals and "screen" or "stderr",
      "job 1: verifies 30 rows: 30 requests, 1 s at 100/s")
    if command.has_terminals then
      process:wait_for("screen", " of 30 verified, ")
    else
      wait_for_requests("find", 6)
    end
    process:signal("INT")
    local result = process:wait()
    assert.equal(130, result.status, result.stderr)
    local output = command.has_terminals and result.screen or result.stdout
    local verified, left = output:match("(%d+) rows? verified, 0 changed, 0 could not be seen, "
      .. "(%d+) not verified yet\n")
    assert.equal(30, tonumber(verified) + tonumber(left), output)
    assert_has(output, "To continue:\n  leat job verify 1 --rate 100 --concurrency 2\n")
    assert.truthy(expect_plain(0, { "job", "list" }).stdout:find("^1  finished  "))
    local found = #server:requests("find")
    result = expect_plain(0, { "job", "verify", "1", "--rate", "none" })
    assert_has(result.stderr, ("job 1: goes on, and verifies %d rows"):format(left))
    assert.equal(found + left, #server:requests("find"))
    assert_has(expect_plain(0, { "job", "verify", "1", "--rate", "none" }).stderr, "job 1: verifies 30 rows")
  end)
end)

-- ---- the journal ------------------------------------------------------------------------

describe("the journal", function()
  it("is --db, before or after the command, or LEAT_DB, or in the folder of the user's state", function()
    local file = write("cards.csv", rows(1))
    local args = fast { "import", file, "--detach" }
    expect_plain(0, { "--db", path_of("before.db"), unpack(args) })
    args[#args + 1] = "--db"
    args[#args + 1] = path_of("after.db")
    local result = expect_plain(0, args)
    assert_has(result.stderr, "leat --db " .. path_of("after.db") .. " job run 1")
    expect(0, { "import", file, "--detach" }, { env = { XDG_STATE_HOME = path_of("state") } })
    expect(0, { "import", file, "--detach" }, { env = { HOME = path_of("home"), XDG_STATE_HOME = "" } })
    for _, name in ipairs { "before.db", "after.db", "state/leat/jobs.db", "home/.local/state/leat/jobs.db" } do
      assert.truthy(read(name), name)
    end
    assert.is_nil(read("jobs.db"))
  end)

  it("contains no credential", function()
    expect(0, { "import", write("cards.csv", rows(3)) })
    for _, name in ipairs { "jobs.db", "cards.results.csv" } do
      local text = read(name)
      assert.truthy(text:find("v3", 1, true))
      assert.falsy(text:find(KEY, 1, true), name)
    end
  end)

  it("of a newer version, of another program, or that is no database is refused", function()
    local file = write("cards.csv", rows(1))
    expect(0, { "import", file, "--detach" })
    local connection = assert(sqlite.open(path_of("jobs.db")))
    assert(connection:exec("update meta set version = 999"))
    connection:close()
    local other = assert(sqlite.open(path_of("other.db")))
    assert(other:exec("create table t (x)"))
    other:close()
    write("text.db", ("not a database\n"):rep(100))
    for name, message in pairs { ["jobs.db"] = "was written by a newer leat", ["other.db"] = "is a database of another "
      .. "program", ["text.db"] = "not a database" } do
      local content = read(name)
      for _, args in ipairs { { "import", file }, { "job", "list" } } do
        local result = run(args, { env = { LEAT_DB = path_of(name) } })
        assert.equal(5, result.status, result.stderr)
        assert_has(result.stderr, message)
        assert_has(result.stderr, path_of(name))
      end
      assert.equal(content, read(name))
    end
    assert.equal(0, count_writes())
  end)

  it("that another process writes is named", function()
    local file = write("cards.csv", rows(1))
    expect(0, { "import", file, "--detach" })
    local connection = assert(sqlite.open(path_of("jobs.db")))
    assert(connection:exec("begin exclusive"))
    local result = run_fast { "job", "run", "1" }
    connection:close()
    assert.equal(5, result.status, result.stderr)
    assert_has(result.stderr, "locked")
  end)

  it("whose folder cannot be made is named", function()
    write("plain", "")
    local result = run({ "job", "list" }, { env = { LEAT_DB = path_of("plain/jobs.db") } })
    assert.equal(5, result.status, result.stderr)
    assert_has(result.stderr, path_of("plain"))
  end)
end)

describe("results that cannot be written", function()
  it("in a folder that cannot be made: the job is not lost", function()
    write("none", "")
    local result = expect(5, { "import", write("cards.csv", rows(2)), "--out", path_of("none") })
    assert_has(result.stderr, "leat: the result files were not written: ")
    assert_has(result.stderr, path_of("none"))
    assert_has(result.stderr, "\n  leat job results 1 --out DIR\n")
    assert_has(result.stdout, "2 rows: 2 done\n")
    expect_plain(5, { "job", "results", "1", "--out", path_of("none") })
    expect_plain(0, { "job", "results", "1", "--out", folder })
    assert.same({ v1 = "created", v2 = "created" }, outcomes("cards.results.csv"))
  end)

  it("on a full standard output: the files are there", function()
    local result = run_fast({ "import", write("cards.csv", rows(2)) }, { stdout = "/dev/full" })
    assert.equal(1, result.status, result.stderr)
    assert_has(result.stderr, "No space left on device")
    assert.same({ v1 = "created", v2 = "created" }, outcomes("cards.results.csv"))
    result = run({ "job", "list" }, { stdout = "/dev/full" })
    assert.equal(1, result.status, result.stderr)
  end)
end)
