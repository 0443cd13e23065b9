-- (e) A poll that finds nothing to do, with many finds in flight.
local measure, contenders = dofile("spec/bench/measure.lua"), dofile("spec/bench/contenders.lua")

local columns, sizes = {}, {}
for size in os.getenv("BENCH_IN_FLIGHT"):gmatch("%d+") do
  local k = tonumber(size)
  table.insert(sizes, k)
  table.insert(columns, {
    title = ("us at %d"):format(k),
    form = "%.2f",
    of = function(own) return own[k].poll * 1e6 end,
  })
end

measure.compare {
  title = "(e) A poll that finds nothing to do, with so many finds in flight over HTTP",
  contenders = contenders.who_can("idle", { contenders.plain }, contenders.leat),
  take = function(contender)
    local figures = {}
    for _, k in ipairs(sizes) do
      figures[k] = measure.once(measure.poll(k), contender, "idle", { k = k })
    end
    return figures
  end,
  rounds = 1,
  columns = columns,
}
