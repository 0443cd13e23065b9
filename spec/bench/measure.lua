-- Measures contenders (contenders.lua) and compares each with the first of them, the
-- yardstick. The benches (*_bench.lua) define what to compare; this module defines how.
--
-- Most figures are the cost of one *more* find: a program runs twice, with few finds and with
-- many, and the difference is divided by their number. This cancels the cost of the start.
--
-- The load of a machine that does other work varies from minute to minute. Therefore the contenders
-- take turns, and each round starts with another one; ratios are computed within a round, and the
-- table shows the median of all rounds, with the least and the most.
local measure = {}

local tools = os.getenv("BENCH_TOOLS")

-- Returns the numbers that a command prints. A command that prints none has failed.
local function numbers_of(command, pattern)
  local pipe = assert(io.popen(command))
  local output = pipe:read("*a")
  pipe:close()
  local first, second = output:match(pattern)
  if not first then
    error(("this failed: %s\n%s"):format(command, output), 0)
  end
  return tonumber(first), tonumber(second)
end

-- Meters: functions that return what a command costs, as figures by name. `env` precedes it in the shell.

--- The process ID of the server, whose CPU time is measured.
measure.server = os.getenv("BENCH_SERVER")

-- Returns how long the server has run so far, in nanoseconds.
local function server_ran()
  local file = io.open(("/proc/%s/schedstat"):format(measure.server))
  local ran = file and file:read("*n")
  if file then
    file:close()
  end
  return ran or 0
end

--- Measures seconds: `wall`, `cpu`, and the CPU time of the `server` meanwhile.
function measure.time(env, command)
  local ran = server_ran()
  local wall, cpu = numbers_of(("%s %s/stopwatch %s"):format(env, tools, command), "^(%S+) (%S+)")
  return { wall = wall, cpu = cpu, server = (server_ran() - ran) / 1e9 }
end

--- The columns to show for these figures. If the server is busy all the time, the wall time measures
-- the server; then the client's CPU time is more meaningful.
measure.time_columns = {
  { title = "finds/s", form = "%.0f", of = function(own) return 1 / own.wall end },
  { title = "ratio", form = "%.2f", of = function(own, yardstick) return yardstick.wall / own.wall end },
  { title = "CPU us/find", form = "%.1f", of = function(own) return own.cpu * 1e6 end },
  { title = "ratio", form = "%.2f", of = function(own, yardstick) return own.cpu / yardstick.cpu end },
  { title = "nginx busy", form = "%.0f %%", of = function(own) return 100 * own.server / own.wall end },
}

-- Not every Lua reports the exit status of a command, so the last line confirms its success.
local callgrind = "%s valgrind --tool=callgrind --callgrind-out-file=/dev/null %s 2>&1 && echo well"

--- Measures the `instructions` that the program and its libraries execute, without the kernel.
-- They hardly depend on the load of the machine.
function measure.instructions(env, command)
  return { instructions = numbers_of(callgrind:format(env, command), "Collected : (%d+).*\nwell\n$") }
end

-- Runs a program against a server that responds `ms` after a given number of finds are waiting.
local held = "%s sh spec/bench/held.sh %d %d %s"

--- Measures the peak of resident `memory`, in kB, and of open `descriptors`.
function measure.most(in_flight)
  return function(env, command)
    local memory, descriptors = numbers_of(held:format(env, in_flight, 300, tools .. "/gauge " .. command),
      "^(%S+) (%S+)")
    return { memory = memory, descriptors = descriptors }
  end
end

--- Measures the seconds that a `poll` takes, which the command prints.
function measure.poll(in_flight)
  return function(env, command)
    return { poll = numbers_of(held:format(env, in_flight, 1000, command), "^(%S+)") }
  end
end

-- Returns what a contender costs, measured by a meter; contenders.lua describes `what` and the numbers.
function measure.once(meter, contender, what, numbers)
  local env = (contender.env or "") .. " " .. (numbers.env or "")
  return meter(env, (contender[what]:gsub("%%(%a)", numbers)))
end

--- Measures what one more find costs, by the difference between `low` finds and `high`.
-- @treturn function a plan's `take`: gets a contender, returns figures by name
function measure.per_find(meter, what, low, high, numbers)
  return function(contender)
    local function run(n)
      return measure.once(meter, contender, what, { n = n, k = numbers.k, env = numbers.env })
    end
    local few, many = run(low), run(high)
    for name, figure in pairs(many) do
      many[name] = (figure - few[name]) / (high - low)
    end
    return many
  end
end

-- Runs each contender once. In round n, the n-th contender comes first.
local function run_round(plan, n)
  local round, count = {}, #plan.contenders
  for turn = 0, count - 1 do
    local i = (n - 1 + turn) % count + 1
    round[i] = plan.take(plan.contenders[i])
  end
  return round
end

-- Formats the figures of all rounds: median [least..most].
local function spread(form, values)
  table.sort(values)
  local middle = (#values + 1) / 2
  local median = (values[math.floor(middle)] + values[math.ceil(middle)]) / 2
  local text = form:format(median)
  if form:format(values[1]) ~= form:format(values[#values]) then
    text = (form .. " [" .. form .. ".." .. form .. "]"):format(median, values[1], values[#values])
  end
  return text, median
end

local function cell(column, rounds, i)
  local values = {}
  for n, round in ipairs(rounds) do
    values[n] = column.of(round[i], round[1])
  end
  return (spread(column.form, values))
end

local function make_table(plan, rounds)
  local rows = { { "client" } }
  for c, column in ipairs(plan.columns) do
    rows[1][c + 1] = column.title
    for i, contender in ipairs(plan.contenders) do
      rows[i + 1] = rows[i + 1] or { contender.name }
      rows[i + 1][c + 1] = cell(column, rounds, i)
    end
  end
  return rows
end

-- Prints a Markdown table that is aligned as plain text too: names to the left, figures to the right.
local function print_table(rows)
  local widths, rule = {}, {}
  for _, row in ipairs(rows) do
    for c, text in ipairs(row) do
      widths[c] = math.max(widths[c] or 0, #text)
    end
  end
  for c, width in ipairs(widths) do
    rule[c] = c == 1 and ("-"):rep(width) or ("-"):rep(width - 1) .. ":"
  end
  table.insert(rows, 2, rule)
  for _, row in ipairs(rows) do
    for c, text in ipairs(row) do
      row[c] = ("%" .. (c == 1 and "-" or "") .. widths[c] .. "s"):format(text)
    end
    print("| " .. table.concat(row, " | ") .. " |")
  end
end

local function place_of(plan, contender)
  for i, other in ipairs(plan.contenders) do
    if other == contender then
      return i
    end
  end
end

-- Prints a goal and whether it was met. A missed goal is not a failure.
local function print_goal(plan, rounds, goal)
  local who, than = place_of(plan, goal.who), place_of(plan, goal.than)
  if not who or not than then
    return
  end
  local values = {}
  for n, round in ipairs(rounds) do
    values[n] = goal.of(round[who], round[than])
  end
  local text, median = spread("%.2f", values)
  local met = median >= (goal.least or 0) and median <= (goal.most or math.huge)
  print(("- %s: %s times %s of %s; the goal is at %s %.2f: %s"):format(goal.who.name, text, goal.what, goal.than.name,
    goal.least and "least" or "most", goal.least or goal.most, met and "met" or "missed"))
end

--- Measures and prints a table, and goals.
-- @tparam table plan
--
--   * `title`
--   * `contenders` a list, the yardstick first
--   * `take` a function that gets a contender and returns what it costs, as figures by name
--   * `rounds`
--   * `columns` a list of `{ title =, form =, of = function(own, yardstick) ... end }`: `of` computes
--     the number to show, `form` formats it
--   * `goals` a list of `{ who =, than =, what =, of = function(own, other) ... end }`, with
--     `least` or `most`, the limit for what `of` returns
function measure.compare(plan)
  local rounds = {}
  for n = 1, plan.rounds do
    rounds[n] = run_round(plan, n)
  end
  print("\n" .. plan.title .. "\n")
  print_table(make_table(plan, rounds))
  print("")
  for _, goal in ipairs(plan.goals or {}) do
    print_goal(plan, rounds, goal)
  end
  io.stdout:flush()
end

return measure
