-- (g) In nginx: a handler that finds a card with leat, compared with one written by hand; and (h) one that has the card
-- in a cache, compared with one that responds with a constant. The figures are the worker's, which has a core of its
-- own and is busy all the time.
local measure, nginx = dofile("spec/bench/measure.lua"), dofile("spec/nginx/server.lua")
local cjson = require("cjson")

local N, ROUNDS, IN_FLIGHT = tonumber(os.getenv("BENCH_N")) * 2, tonumber(os.getenv("BENCH_ROUNDS")), 16

local function place(name)
  return ("location /%s { content_by_lua_block { handlers.%s() } }\n"):format(name, name)
end

local server = nginx.start {
  init = ("handlers = dofile(%q)"):format(os.getenv("LEAT_ROOT") .. "/spec/bench/nginx_handlers.lua"),
  conf = "keepalive_requests 1000000000; lua_shared_dict leat 1m; lua_shared_dict finds 1m;",
  places = place("by_hand") .. place("by_both") .. place("by_leat") .. place("cached") .. place("constant"),
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

local function compare(title, contenders, goals)
  measure.compare {
    title = ("%s, %d requests in flight, rounds: %d, requests in each: %d: median [min..max], ratios to the first")
      :format(title, IN_FLIGHT, ROUNDS, N),
    contenders = contenders,
    take = measure.per_find(measure.time, "many", math.floor(N / 10), math.floor(N / 10) + N, { k = IN_FLIGHT }),
    rounds = ROUNDS,
    columns = columns,
    goals = goals,
  }
end

local fine, why = pcall(function()
  compare("(g) In nginx", { by_hand, by_both, by_leat }, { { who = by_leat, than = by_hand,
    what = "the requests a second", least = 0.85, of = function(own, other) return other.wall / own.wall end } })
  local constant, cached = handler("a constant", "constant"), handler("leat, from the cache", "cached")
  compare("(h) From a cache in nginx", { constant, cached, by_leat }, { { who = cached, than = constant,
    what = "the worker's CPU time", most = 1.5, of = function(own, other) return own.server / other.server end } })
end)
server:stop()
if not fine then
  error(why, 0)
end
