-- Jobs: (g) loading a file of cards, (h) its memory, (i) what the journal costs a run, and (j) how many rows a journal
-- can process, in PostgreSQL and in SQLite.
local measure = dofile("spec/bench/measure.lua")

local ROWS, CARDS = tonumber(os.getenv("BENCH_ROWS")), tonumber(os.getenv("BENCH_CARDS"))
local RATE, ROUNDS = tonumber(os.getenv("BENCH_RATE")), tonumber(os.getenv("BENCH_ROUNDS"))
local FEW = 10000
local folder, lua, tools = os.getenv("BENCH_FOLDER"), os.getenv("LUA"), os.getenv("BENCH_TOOLS")

local function output_of(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

-- Returns the two numbers that a command prints.
local function numbers_of(command)
  local first, second = output_of(command):match("^(%S+) (%S+)\n$")
  if not first then
    error("this failed: " .. command, 0)
  end
  return tonumber(first), tonumber(second)
end

local function part(name)
  return (" %s "):format(os.getenv("BENCH_JOBS")):find(" " .. name .. " ", 1, true)
end

local function print_goal(text, figure, most)
  print(text:format(figure, most) .. (figure <= most and ": met" or ": missed"))
  io.stdout:flush()
end

-- ---- loading -----------------------------------------------------------------------------

local function file_of(rows)
  local path = ("%s/%d.csv"):format(folder, rows)
  assert(output_of(("%s spec/bench/jobs_rows.lua %d %s && echo well"):format(lua, rows, path)) == "well\n")
  return path
end

-- Each command loads the file %f into the database %d, with the same durability.
local import = { name = "sqlite3 .import", command = "sh -c 'sqlite3 %d \"pragma journal_mode = wal\" " ..
  "\"pragma synchronous = full\" \"create table card (value, name, active)\" \".import --csv --skip 1 %f card\"'" }
local insert = { name = "a loop of inserts", command = lua .. " spec/bench/jobs_insert.lua %f %d" }
local leat = { name = "leat import --detach", command = os.getenv("LEAT") .. " --db %d import %f --detach" }

-- Runs a loader with an empty database, under a program that measures it.
local function load_with(meter, loader, file)
  local names = { f = file, d = folder .. "/bench.db" }
  local first, second = numbers_of(("%s/%s %s"):format(tools, meter, (loader.command:gsub("%%(%a)", names))))
  assert(output_of(("rm %s* && echo well"):format(names.d)) == "well\n")
  return first, second
end

local function measure_loading(many)
  measure.compare {
    title = ("(g) Loading %d rows, rounds: %d: median [min..max], ratios to the first"):format(ROWS, ROUNDS),
    contenders = { import, insert, leat },
    take = function(loader)
      local wall, cpu = load_with("stopwatch", loader, many)
      return { wall = wall, cpu = cpu }
    end,
    rounds = ROUNDS,
    columns = {
      { title = "s", form = "%.2f", of = function(own) return own.wall end },
      { title = "ratio", form = "%.2f", of = function(own, yardstick) return own.wall / yardstick.wall end },
      { title = "CPU s", form = "%.2f", of = function(own) return own.cpu end },
      { title = "ratio", form = "%.2f", of = function(own, yardstick) return own.cpu / yardstick.cpu end },
      { title = "rows/s", form = "%.0f", of = function(own) return ROWS / own.wall end },
    },
    goals = {
      { who = leat, than = import, what = "the time", most = 3,
        of = function(own, other) return own.wall / other.wall end },
    },
  }
end

local function measure_memory(few, many)
  local figures = {}
  measure.compare {
    title = ("(h) The most memory resident while %d and %d rows are loaded, in kB"):format(FEW, ROWS),
    contenders = { import, insert, leat },
    take = function(loader)
      figures[loader] = { few = load_with("gauge", loader, few), many = load_with("gauge", loader, many) }
      return figures[loader]
    end,
    rounds = 1,
    columns = {
      { title = "few", form = "%.0f", of = function(own) return own.few end },
      { title = "many", form = "%.0f", of = function(own) return own.many end },
      { title = "more", form = "%.0f", of = function(own) return own.many - own.few end },
    },
  }
  print_goal("- leat needs %d kB more; the goal is at most %d", figures[leat].many - figures[leat].few, 2048)
end

if part("load") then
  local few, many = file_of(FEW), file_of(ROWS)
  measure_loading(many)
  measure_memory(few, many)
end

-- ---- running -----------------------------------------------------------------------------

local runs = 0

-- Returns the CPU time and the elapsed time of a run, which the program measures itself: loading is not counted.
local function run_with(how)
  runs = runs + 1
  local database = ("%s/run%d.db"):format(folder, runs)
  local cpu, wall = numbers_of(("%s spec/bench/jobs_run.lua %s %d %s run%d %s"):format(lua, how, CARDS, RATE, runs,
    database))
  return { cpu = cpu, wall = wall }
end

if part("run") then
  local shares = {}
  measure.compare {
    title = ("(i) Creating %d cards at %g/s, rounds: %d: median [min..max]"):format(CARDS, RATE, ROUNDS),
    contenders = { { name = "tasks.each", how = "each" }, { name = "a job", how = "job" } },
    take = function(contender) return run_with(contender.how) end,
    rounds = ROUNDS,
    columns = {
      { title = "cards/s", form = "%.0f", of = function(own) return CARDS / own.wall end },
      { title = "CPU us/card", form = "%.0f", of = function(own) return own.cpu / CARDS * 1e6 end },
      { title = "ratio", form = "%.2f", of = function(own, yardstick) return own.cpu / yardstick.cpu end },
      { title = "of a core", form = "%.1f %%", of = function(own) return 100 * own.cpu / own.wall end },
      { title = "more", form = "%.1f %%", of = function(own, yardstick)
        local more = 100 * (own.cpu / own.wall - yardstick.cpu / yardstick.wall)
        if own ~= yardstick then
          table.insert(shares, more)
        end
        return more
      end },
    },
  }
  table.sort(shares)
  local median = shares[math.ceil(#shares / 2)]
  print_goal("- the journal takes %.1f %% of a core more; the goal is at most %d %%", median, 15)
end

-- ---- turns -------------------------------------------------------------------------------

local function number_of(command)
  return tonumber(output_of(command):match("^(%S+)\n$")) or error("this failed: " .. command, 0)
end

-- A loop with libpq alone, and leat, process a new job each, in one database, 16 rows in each transaction.
local function measure_turns(server)
  local turns, address, files = lua .. " spec/bench/turns.lua", "'" .. server:address() .. "'", 0
  local loop = { name = "a loop with libpq", take = function()
    local job = number_of(("%s %s %d prepare"):format(turns, address, ROWS))
    return number_of(("%s/turns_loop %s %d"):format(tools, address, job))
  end }
  local shared = { name = "leat, PostgreSQL", take = function()
    return number_of(("%s %s %d"):format(turns, address, ROWS))
  end }
  local file = { name = "leat, SQLite", take = function()
    files = files + 1
    return number_of(("%s %s/turns%d.db %d"):format(turns, folder, files, ROWS))
  end }
  measure.compare {
    title = ("(j) Processing %d rows without a service, rounds: %d: median [min..max]"):format(ROWS, ROUNDS),
    contenders = { loop, shared, file },
    take = function(contender) return { rate = contender.take() } end,
    rounds = ROUNDS,
    columns = {
      { title = "rows/s", form = "%.0f", of = function(own) return own.rate end },
      { title = "ratio", form = "%.2f", of = function(own, yardstick) return own.rate / yardstick.rate end },
    },
    goals = {
      { who = shared, than = loop, what = "the rows", least = 0.5,
        of = function(own, other) return own.rate / other.rate end },
    },
  }
end

if part("turns") then
  local server = dofile("spec/postgres/server.lua").start { settings = "-c fsync=on" }
  local fine, err = pcall(measure_turns, server)
  server:remove()
  assert(fine, err)
end
