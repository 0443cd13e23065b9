-- Finds one after the other over one kept connection, beside libcurl's easy interface.
local measure = dofile("spec/bench/measure.lua")

local N = tonumber(os.getenv("BENCH_N"))
local ROUNDS = tonumber(os.getenv("BENCH_ROUNDS"))
local COUNTED = tonumber(os.getenv("BENCH_COUNTED"))
local tools, lua = os.getenv("BENCH_TOOLS"), os.getenv("LUA")

local contenders = {
  { name = "libcurl, easy loop", command = tools .. "/easy_loop %d" },
  { name = "libcurl, its best", command = tools .. "/easy_loop %d tuned" },
  { name = "leat, from " .. lua, command = lua .. " spec/bench/find.lua %d" },
}

measure.compare {
  title = ("Time, %d rounds of %d finds: median [min..max]; ratios to the first within a round"):format(ROUNDS, N),
  contenders = contenders,
  meter = measure.time,
  rounds = ROUNDS,
  low = 1,
  high = N + 1,
  columns = {
    { title = "finds/s", form = "%.0f", of = function(own) return 1 / own.wall end },
    { title = "ratio", form = "%.2f", of = function(own, yardstick) return yardstick.wall / own.wall end },
    { title = "CPU us/find", form = "%.1f", of = function(own) return own.cpu * 1e6 end },
    { title = "ratio", form = "%.2f", of = function(own, yardstick) return own.cpu / yardstick.cpu end },
  },
}

measure.compare {
  title = ("User instructions: (Ir(%d) - Ir(%d)) / %d, by callgrind"):format(2 * COUNTED, COUNTED, COUNTED),
  contenders = contenders,
  meter = measure.instructions,
  rounds = 1,
  low = COUNTED,
  high = 2 * COUNTED,
  columns = {
    { title = "instructions/find", form = "%.0f", of = function(own) return own.instructions end },
    {
      title = "ratio",
      form = "%.3f",
      of = function(own, yardstick) return own.instructions / yardstick.instructions end,
    },
  },
}
