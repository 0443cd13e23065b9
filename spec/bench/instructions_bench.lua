-- (c) The instructions of a find in user space, including its Lua object.
local measure, contenders = dofile("spec/bench/measure.lua"), dofile("spec/bench/contenders.lua")

local COUNTED, IN_FLIGHT = tonumber(os.getenv("BENCH_COUNTED")), 64

local function fewer(own, other)
  return own.instructions / other.instructions
end

local one = measure.per_find(measure.instructions, "one", COUNTED, 2 * COUNTED, {})
local many = measure.per_find(measure.instructions, "many", COUNTED, 2 * COUNTED, { k = IN_FLIGHT })

local function goals()
  local list = {}
  for _, who in ipairs(contenders.leat) do
    for _, goal in ipairs { { contenders.plain, 0.5 }, { contenders.best, 0.75 } } do
      table.insert(list, { who = who, than = goal[1], what = "the instructions", most = goal[2], of = fewer })
    end
  end
  return list
end

measure.compare {
  title = ("(c) User instructions a find: (Ir(%d) - Ir(%d)) / %d, by callgrind"):format(2 * COUNTED, COUNTED, COUNTED),
  contenders = contenders.who_can("one", { contenders.plain, contenders.best }, contenders.leat),
  take = function(contender)
    return { instructions = one(contender).instructions, many = many(contender).instructions }
  end,
  rounds = 1,
  columns = {
    { title = "one after the other", form = "%.0f", of = function(own) return own.instructions end },
    { title = "ratio", form = "%.3f", of = fewer },
    { title = IN_FLIGHT .. " in flight", form = "%.0f", of = function(own) return own.many end },
    { title = "ratio", form = "%.3f", of = function(own, yardstick) return own.many / yardstick.many end },
  },
  goals = goals(),
}
