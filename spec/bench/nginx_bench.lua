-- (g) In nginx: a handler that finds a card with leat, compared with one written by hand. The figures
-- are the worker's, which has a core of its own and is busy all the time.
local measure, nginx = dofile("spec/bench/measure.lua"), dofile("spec/nginx/server.lua")
local cjson = require("cjson")

local N, ROUNDS, IN_FLIGHT = tonumber(os.getenv("BENCH_N")) * 2, tonumber(os.getenv("BENCH_ROUNDS")), 16

local function place(name)
  return ("location /%s { content_by_lua_block { handlers.%s() } }\n"):format(name, name)
end

local server = nginx.start {
  init = ("handlers = dofile(%q)"):format(os.getenv("LEAT_ROOT") .. "/spec/bench/nginx_handlers.lua"),
  conf = "keepalive_requests 1000000000;",
  places = place("by_hand") .. place("by_both") .. place("by_leat"),
}
measure.server = ("%d"):format(server:run("content", "return ngx.worker.pid()"))

-- The handlers respond with the card as JSON, with its fields in any order.
local size = #cjson.encode(cjson.decode(os.getenv("BENCH_BODY")).data)

local function handler(name, path)
  return { name = name, many = os.getenv("BENCH_TOOLS") .. "/epoll_loop %n %k",
    env = ("LEAT_BASE_URL=http://127.0.0.1:%d/%s BENCH_SIZE=%d %s"):format(server.port, path, size,
      os.getenv("BENCH_ON_SERVER_CORE")) }
end

local by_hand, by_both, by_leat = handler("by hand", "by_hand"), handler("leat's calls, bytes by hand", "by_both"),
  handler("leat", "by_leat")

local columns = {
  measure.time_columns[1], measure.time_columns[2],
  { title = "worker's CPU us", form = "%.1f", of = function(own) return own.server * 1e6 end },
  { title = "ratio", form = "%.2f", of = function(own, yardstick) return own.server / yardstick.server end },
}
columns[1].title = "requests/s"

local fine, why = pcall(measure.compare, {
  title = ("(g) In nginx, %d requests in flight, rounds: %d, requests in each: %d: median [min..max], "
    .. "ratios to the first"):format(IN_FLIGHT, ROUNDS, N),
  contenders = { by_hand, by_both, by_leat },
  take = measure.per_find(measure.time, "many", math.floor(N / 10), math.floor(N / 10) + N, { k = IN_FLIGHT }),
  rounds = ROUNDS,
  columns = columns,
  goals = { { who = by_leat, than = by_hand, what = "the requests a second", least = 0.85,
    of = function(own, other) return other.wall / own.wall end } },
})
server:stop()
if not fine then
  error(why, 0)
end
