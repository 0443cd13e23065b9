-- (f) The cost of a start: of a bare interpreter, and of one that loads the client.
local measure, contenders = dofile("spec/bench/measure.lua"), dofile("spec/bench/contenders.lua")

local ROUNDS, STARTS = tonumber(os.getenv("BENCH_ROUNDS")), 5

local function starts(contender, what)
  local walls = {}
  for i = 1, STARTS do
    walls[i] = measure.once(measure.time, contender, what, {}).wall
  end
  table.sort(walls)
  return walls[(STARTS + 1) / 2] * 1e3
end

local made = {}
for i, contender in ipairs(contenders.who_can("ready", contenders.leat)) do
  made[i] = {
    name = contender.name .. ", a client made",
    env = contender.env,
    bare = contender.bare,
    start = contender.ready,
  }
end

measure.compare {
  title = ("(f) Start, ms: median of %d in a round; rounds: %d"):format(STARTS, ROUNDS),
  contenders = contenders.who_can("start", { contenders.plain }, contenders.leat, made, contenders.peers),
  take = function(contender)
    return { bare = starts(contender, "bare"), start = starts(contender, "start") }
  end,
  rounds = ROUNDS,
  columns = {
    { title = "bare", form = "%.2f", of = function(own) return own.bare end },
    { title = "with it", form = "%.2f", of = function(own) return own.start end },
    { title = "more", form = "%.2f", of = function(own) return own.start - own.bare end },
  },
}
