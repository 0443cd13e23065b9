-- The command with a journal in PostgreSQL: several processes on one job, what `leat job status` shows of them, and
-- passwords.
local command = dofile("spec/support/command.lua")
local read, write = dofile("spec/support/read.lua"), dofile("spec/support/write.lua")
local sandbox = require("leat.sandbox")
local servers = dofile("spec/postgres/server.lua")

local shell = servers.shell
local FAST = { "--settle", "0.2", "--probe", "0.2", "--lease", "5" }

describe("leat with PostgreSQL", function()
  local server, service, folder, database

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  before_each(function()
    server:execute("drop schema if exists test cascade")
    server:execute("create schema test")
    folder = shell("mktemp -d /tmp/leat-cli.XXXXXX"):match("[^\n]+")
    database = server:address("test")
    service = assert(sandbox.start {})
    local lines = { "value\n" }
    for i = 1, 60 do
      lines[i + 1] = ("v%d\n"):format(i)
    end
    write(folder .. "/cards.csv", table.concat(lines))
  end)
  after_each(function()
    service:stop()
    shell("rm -r %s", folder)
  end)

  local function options_of(args, env)
    local all = { env = { LEAT_DB = database }, server = service, args = {} }
    for i, word in ipairs(args) do
      all.args[i] = word
    end
    for name, value in pairs(env or {}) do
      all.env[name] = value
    end
    return all
  end

  local function fast(args, rate)
    local all = { "--rate", rate or "none" }
    for _, list in ipairs { args, FAST } do
      for _, word in ipairs(list) do
        all[#all + 1] = word
      end
    end
    return all
  end

  local function expect(status, args, env)
    local result = command.run(options_of(args, env))
    assert.equal(status, result.status, result.stdout .. result.stderr)
    return result
  end

  local function has(text, piece)
    assert.truthy(text:find(piece, 1, true), ("'%s' is not in:\n%s"):format(piece, text))
  end

  it("imports a file, and says which database it is", function()
    local result = expect(0, fast { "import", folder .. "/cards.csv" })
    has(result.stdout, "60 rows: 60 done")
    assert.equal(60, #service:requests("create"))
    has(read(folder .. "/cards.results.csv"), "v60,ensure,created")
    has(expect(2, fast { "import", folder .. "/cards.csv" }).stderr, "was imported before, as job 1")
    has(expect(0, { "job", "status" }).stdout, "1  finished  ensure of ")
    expect(0, { "job", "remove", "1" })
    assert.equal("", expect(0, { "job", "list" }).stdout)
  end)

  it("runs a job in several processes, which `status` shows; one of them writes the files", function()
    local id = expect(0, fast { "import", folder .. "/cards.csv", "--detach" }).stdout:match("%d+")
    local processes = {}
    for i = 1, 2 do
      processes[i] = command.start(options_of(fast({ "job", "run", id, "--out", folder }, "15")))
    end
    local shown = ""
    for _ = 1, 200 do
      shown = expect(0, { "job", "status", id }).stdout
      if select(2, shown:gsub("\n  worker ", "")) == 2 then break end
    end
    assert.equal(2, select(2, shown:gsub("\n  worker %d+: %S+, process %d+, %d+ rows?, seen %d+ s ago", "")), shown)
    has(expect(0, { "job", "status", id, "--json" }).stdout, '"workers":[{"id":')
    local both, files = "", 0
    for _, process in ipairs(processes) do
      local result = process:wait()
      assert.equal(0, result.status, result.stderr)
      both = both .. result.stdout .. result.stderr
      files = files + (result.stdout:find("results: ", 1, true) and 1 or 0)
    end
    assert.equal(1, files, both)
    has(both, "was finished by another process, which writes the result files")
    assert.equal(60, #service:requests("create"))
    has(read(folder .. "/cards.results.csv"), "v60,ensure,created")
  end)

  -- Returns the most requests that arrived in any second.
  local function busiest_second()
    local requests, most, first = service:requests(), 0, 1
    for i, request in ipairs(requests) do
      while requests[first].time <= request.time - 1 do
        first = first + 1
      end
      most = math.max(most, i - first + 1)
    end
    return most
  end

  it("shares one rate between the processes, which `status --watch` shows", function()
    local id = expect(0, fast { "import", folder .. "/cards.csv", "--detach" }).stdout:match("%d+")
    local processes = {}
    for i = 1, 3 do
      processes[i] = command.start(options_of(fast({ "job", "run", id, "--out", folder }, "10")))
    end
    local watched = ""
    while not watched:find("running", 1, true) do -- until one of them has begun
      watched = expect(0, { "job", "status", id, "--watch" }).stdout
    end
    local notes = ""
    for _, process in ipairs(processes) do
      local result = process:wait()
      assert.equal(0, result.status, result.stderr)
      notes = notes .. result.stderr
    end
    has(notes, "at most 10 requests per second of all processes together (--rate changes that)")
    local most = busiest_second()
    assert.truthy(most <= 11, most)
    local rates = 0
    for rate in watched:gmatch("unprocessed[^\n]*; (%d+%.%d) requests/s\n") do
      assert.truthy(tonumber(rate) <= 21, watched) -- results are stored some at a time
      rates = rates + (tonumber(rate) > 0 and 1 or 0)
    end
    assert.truthy(rates > 0, watched)
    assert.is_nil(watched:match("finished[^\n]*requests/s"), watched)
  end)

  it("keeps to the rate, and loses nothing, while the database restarts", function()
    local id = expect(0, fast { "import", folder .. "/cards.csv", "--detach" }).stdout:match("%d+")
    local processes = {}
    for i = 1, 2 do
      processes[i] = command.start(options_of(fast({ "job", "run", id, "--out", folder }, "10")))
    end
    for _ = 1, 600 do
      if #service:requests("create") >= 10 then break end
      shell("sleep 0.05")
    end
    server:stop("immediate")
    local sent = #service:requests("create")
    shell("sleep 2")
    local more = #service:requests("create") - sent
    server:run()
    for _, process in ipairs(processes) do
      local result = process:wait()
      assert.equal(0, result.status, result.stdout .. result.stderr)
    end
    assert.truthy(more <= 10, more) -- the slots of half a second, for two processes
    assert.truthy(busiest_second() <= 11, busiest_second())
    local changed = 0
    for _, request in ipairs(service:requests("create")) do
      changed = changed + (request.changed and 1 or 0)
    end
    assert.same({ 60, 60 }, { changed, #service:cards() })
  end)

  it("has no limit, and no table for it, with --rate none", function()
    expect(0, fast { "import", folder .. "/cards.csv" })
    server:execute("create table slot (n integer)", "test") -- it is not there
  end)

  it("watches a job's rate as JSON", function()
    local id = expect(0, fast { "import", folder .. "/cards.csv", "--detach" }).stdout:match("%d+")
    local process = command.start(options_of(fast({ "job", "run", id, "--out", folder }, "15")))
    local watched = ""
    while not watched:find('"state":"running"', 1, true) do
      watched = expect(0, { "job", "status", id, "--watch", "--json" }).stdout
    end
    assert.equal(0, process:wait().status)
    assert.is_nil(watched:match("^[^\n]*"):find("requests_per_second", 1, true), watched) -- nothing is known yet
    assert.truthy(watched:find('"requests_per_second":%d'), watched)
  end)

  it("says in a dry run that more machines do not make it faster, and connects to nothing", function()
    local sentence = "more machines do not make it faster: all of them share the rate of the account"
    local args = { "import", folder .. "/cards.csv", "--dry-run" }
    has(expect(0, args, { LEAT_DB = "postgres://127.0.0.1:1/none" }).stdout, sentence)
    local result = expect(0, args, { LEAT_DB = folder .. "/jobs.db" })
    assert.is_nil(result.stdout:find(sentence, 1, true))
    assert.equal(0, #service:requests())
  end)

  it("goes on in the others if one process is interrupted", function()
    local id = expect(0, fast { "import", folder .. "/cards.csv", "--detach" }).stdout:match("%d+")
    local first = command.start(options_of(fast({ "job", "run", id, "--out", folder }, "15")))
    local second = command.start(options_of(fast({ "job", "run", id, "--out", folder }, "15")))
    for _ = 1, 200 do
      if select(2, expect(0, { "job", "status", id }).stdout:gsub("\n  worker ", "")) == 2 then break end
    end
    first:signal("INT")
    local result = first:wait()
    assert.equal(130, result.status, result.stderr)
    has(result.stderr, "another process works on job 1; the last one writes the result files")
    has(expect(0, { "job", "status", id }).stdout, "1  running")
    assert.equal(0, second:wait().status)
    assert.equal(60, #service:requests("create"))
  end)

  it("takes no password as an argument, and shows none", function()
    for _, address in ipairs { database, "postgres://h/db?user=x&password=" .. server.password,
      "postgres://h/db?sslpassword=" .. server.password } do
      local result = expect(2, { "--db", address, "job", "list" })
      has(result.stderr, "--db must not contain a password")
      assert.is_nil(result.stderr:find(server.password, 1, true))
    end
    local without = database:gsub(":" .. server.password, "")
    local result = expect(5, { "--db", without, "job", "list" }, { PGPASSWORD = "wrong" })
    has(result.stderr, "password authentication failed")
    has(expect(0, { "--db", without, "job", "list" }, { PGPASSWORD = server.password }).stderr, "there are no jobs")
    result = expect(5, { "job", "list" }, { LEAT_DB = database:gsub(server.password, "secret") })
    assert.is_nil((result.stdout .. result.stderr):find("secret", 1, true))
  end)
end)
