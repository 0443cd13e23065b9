-- (d) Memory and descriptors, with many finds in flight.
local measure, contenders = dofile("spec/bench/measure.lua"), dofile("spec/bench/contenders.lua")

local sizes = {}
for size in os.getenv("BENCH_IN_FLIGHT"):gmatch("%d+") do
  table.insert(sizes, tonumber(size))
end
local few, many = sizes[1], sizes[#sizes]

local columns = {}
for _, figure in ipairs { "memory", "descriptors" } do
  for _, k in ipairs(sizes) do
    table.insert(columns, {
      title = (figure == "memory" and "kB at %d" or "descriptors at %d"):format(k),
      form = "%.0f",
      of = function(own) return own[k][figure] end,
    })
  end
  table.insert(columns, {
    title = "a call",
    form = "%.2f",
    of = function(own) return (own[many][figure] - own[few][figure]) / (many - few) end,
  })
end

measure.compare {
  title = "(d) The most memory resident, and the most descriptors, with so many finds in flight over HTTP",
  contenders = contenders.who_can("many", { contenders.plain, contenders.floor }, contenders.leat, contenders.peers),
  take = function(contender)
    local figures = {}
    for _, k in ipairs(sizes) do
      figures[k] = measure.once(measure.most(k), contender, "many", { n = k, k = k })
    end
    return figures
  end,
  rounds = 1,
  columns = columns,
}
