-- (b) 64 finds in flight at once, on one core; leat and its peers keep the results.
local measure, contenders = dofile("spec/bench/measure.lua"), dofile("spec/bench/contenders.lua")

local N, ROUNDS, IN_FLIGHT = 5 * tonumber(os.getenv("BENCH_N")), tonumber(os.getenv("BENCH_ROUNDS")), 64

local function faster(own, other)
  return other.wall / own.wall
end

local function goals()
  local list = {}
  for _, who in ipairs(contenders.leat) do
    local function goal(than, least)
      table.insert(list, { who = who, than = than, what = "the finds/s", least = least, of = faster })
    end
    goal(contenders.plain, 1.5)
    goal(contenders.best, 1.3)
    goal(contenders.floor, 0.65)
    for _, peer in ipairs(contenders.peers) do
      goal(peer, 1.5)
    end
  end
  return list
end

local function compare(over, env, yardsticks)
  measure.compare {
    title = ("(b) %d in flight over %s, rounds: %d, finds in each: %d: median [min..max], ratios to the first")
      :format(IN_FLIGHT, over, ROUNDS, N),
    contenders = contenders.who_can("many", yardsticks, contenders.leat, contenders.peers),
    take = measure.per_find(measure.time, "many", IN_FLIGHT, N + IN_FLIGHT, { k = IN_FLIGHT, env = env }),
    rounds = ROUNDS,
    columns = measure.time_columns,
    goals = goals(),
  }
end

compare("HTTP", "", { contenders.plain, contenders.best, contenders.floor })
compare("HTTPS", "LEAT_BASE_URL=" .. os.getenv("BENCH_HTTPS_URL"), { contenders.plain, contenders.best })
