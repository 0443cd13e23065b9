-- (a) Finds one after the other over one kept connection.
local measure, contenders = dofile("spec/bench/measure.lua"), dofile("spec/bench/contenders.lua")

local N, ROUNDS = tonumber(os.getenv("BENCH_N")), tonumber(os.getenv("BENCH_ROUNDS"))

measure.compare {
  title = ("(a) One after the other, rounds: %d, finds in each: %d: median [min..max], ratios to the first")
    :format(ROUNDS, N),
  contenders = contenders.who_can("one", { contenders.plain, contenders.best }, contenders.leat, contenders.peers),
  take = measure.per_find(measure.time, "one", 1, N + 1, {}),
  rounds = ROUNDS,
  columns = measure.time_columns,
}
