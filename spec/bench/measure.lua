-- Measures contenders and compares each with the first of them, the yardstick. The benches
-- (*_bench.lua) say what is compared; how it is done stands here only.
--
-- What is measured is what one *more* find costs: a program runs twice, with few finds and
-- with many, and the difference is divided. So what a start costs falls out.
--
-- On a machine that does other work too, no minute is like the next. So contenders run in
-- turns, ratios are taken within a round, and shown is the median of all rounds, with the
-- least and the most.
local measure = {}

local tools = os.getenv("BENCH_TOOLS")

-- The output of a command that is to print numbers; without them, it has failed.
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

-- Meters: what a command costs, figure by figure.

--- Seconds: `wall`, and `cpu` of the processor.
function measure.time(command)
  local wall, cpu = numbers_of(tools .. "/stopwatch " .. command, "^(%S+) (%S+)")
  return { wall = wall, cpu = cpu }
end

-- Lua can't see everywhere how a command ended: the last line says that it ended well.
local callgrind = "valgrind --tool=callgrind --callgrind-out-file=/dev/null %s 2>&1 && echo well"

--- What the program and its libraries execute, without the kernel: `instructions`. They
-- hardly depend on what else the machine does.
function measure.instructions(command)
  return { instructions = numbers_of(callgrind:format(command), "Collected : (%d+).*\nwell\n$") }
end

local function per_find(meter, command, low, high)
  local few, many = meter(command:format(low)), meter(command:format(high))
  for name, figure in pairs(many) do
    many[name] = (figure - few[name]) / (high - low)
  end
  return many
end

local function run_round(plan)
  local round = {}
  for i, contender in ipairs(plan.contenders) do
    round[i] = per_find(plan.meter, contender.command, plan.low, plan.high)
  end
  return round
end

-- What a column says of the rounds: median [min..max].
local function cell(column, rounds, i)
  local values = {}
  for n, round in ipairs(rounds) do
    values[n] = column.of(round[i], round[1])
  end
  table.sort(values)
  local form, middle = column.form, (#values + 1) / 2
  local median = (values[math.floor(middle)] + values[math.ceil(middle)]) / 2
  if values[1] == values[#values] then
    return form:format(median)
  end
  return (form .. " [" .. form .. ".." .. form .. "]"):format(median, values[1], values[#values])
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

-- Markdown that is aligned for people too: names to the left, figures to the right.
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

--- Measures and prints a table.
-- @tparam table plan
--
--   * `title`
--   * `contenders` a list of `{ name =, command = }`, the yardstick first. A command holds
--     `%d` where the number of finds goes
--   * `meter` such as `measure.time`
--   * `rounds`, and in each `low` and `high`: so many finds
--   * `columns` a list of `{ title =, form =, of = function(own, yardstick) ... end }`: what
--     to show of the figures of one find, and how
function measure.compare(plan)
  local rounds = {}
  for n = 1, plan.rounds do
    rounds[n] = run_round(plan)
  end
  print("\n" .. plan.title .. "\n")
  print_table(make_table(plan, rounds))
end

return measure
