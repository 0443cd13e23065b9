-- Sends many requests through a handler in nginx, while the service fails in every way. Each
-- response must be about the requested card, and neither memory nor descriptors may leak.
--    make soak-nginx SOAK_NGINX_N=100000
local sandbox = require("leat.sandbox")
local server = dofile("spec/nginx/server.lua")
local socket = require("socket")

local N = tonumber(arg[1])
local CLIENTS, CARDS = 32, 500
local SAMPLES = 100
local MOST_GROWTH = 1024 -- kB, by the slope over the second half
local SEED = tonumber(os.getenv("SOAK_SEED")) or os.time() % 1000000
math.randomseed(SEED)

-- ---- the service ------------------------------------------------------------------------

local cards = {}
for i = 1, CARDS do
  cards[i] = { value = ("card-%d"):format(i) }
end
local upstream = assert(sandbox.start { cards = cards })

-- Each fault applies to one request. A malformed response fails at once, and so does a timeout; any other
-- fault would have to occur three times in a row.
local may_fail = { protocol = true, timeout = true }
local ways = {
  { close = "before" }, { close = "within" }, { status = 500 }, { status = 502, body = "<html>Bad Gateway</html>" },
  { body = "{" }, { kind = "protocol" }, { delay = 0.02 }, { headers = { Connection = "close" } },
  { delay = 0.6 }, -- longer than the handler waits
}

local faults = 0

local function add_faults()
  upstream:reset() -- discards the recorded requests too
  for _ = 1, CARDS / 20 do
    local fault = { value = cards[math.random(CARDS)].value, operation = "find" }
    for name, what in pairs(ways[math.random(#ways)]) do
      fault[name] = what
    end
    upstream:fault(fault)
    faults = faults + 1
  end
end

-- ---- nginx ------------------------------------------------------------------------------

local nginx = server.start {
  conf = "keepalive_requests 1000000000; lua_check_client_abort on;",
  init = ([[
    local cards = app.leat.new { api_key = "sandbox", base_url = %q, timeout = 0.3,
      retry_base = 0.001, retry_cap = 0.002 }.contact_identifiers
    function app.find()
      local value = ngx.var.arg_value
      local card, err = cards:find(value)
      local text = card and "found " .. card.value or err.kind
      ngx.header["Content-Length"] = #text
      ngx.print(text)
    end
  ]]):format(upstream.url),
  places = "location = /find { content_by_lua_block { app.find() } }",
}
local worker = ("%d"):format(nginx:run("content", "return ngx.worker.pid()"))

local function resident() -- kB
  for line in io.lines(("/proc/%s/status"):format(worker)) do
    local kb = line:match("^VmRSS:%s*(%d+)")
    if kb then
      return tonumber(kb)
    end
  end
  error("the worker is gone: " .. nginx:log())
end

local function descriptors()
  local pipe = assert(io.popen(("ls /proc/%s/fd | wc -l"):format(worker)))
  local count = tonumber(pipe:read("*a"))
  pipe:close()
  return count
end

-- ---- the clients ------------------------------------------------------------------------

local clients = {}

local function connect(i)
  clients[i] = assert(socket.connect("127.0.0.1", nginx.port))
  clients[i]:settimeout(20)
  clients[i]:setoption("tcp-nodelay", true)
end

local function ask(i, value)
  assert(clients[i]:send(("GET /find?value=%s HTTP/1.1\r\nHost: soak\r\n\r\n"):format(value)))
end

local function take(i)
  local status, length = assert(clients[i]:receive("*l"))
  repeat
    local line = assert(clients[i]:receive("*l"))
    length = tonumber(line:match("^Content%-Length: (%d+)$")) or length
  until line == ""
  assert(status == "HTTP/1.1 200 OK", status)
  return clients[i]:receive(length)
end

local asked_for, found, gone, failures = 0, 0, 0, {}

local function check_response(value, response)
  if response == (value == "none" and "not_found" or "found " .. value) then
    found = found + 1
  else
    assert(may_fail[response], ("asked for %s, got '%s'"):format(value, response))
    failures[response] = (failures[response] or 0) + 1
  end
end

-- Sends one request from each client at once. Sometimes a client disconnects before its response.
local function round()
  local asked = {}
  for i = 1, CLIENTS do
    asked[i] = math.random(50) == 1 and "none" or cards[math.random(CARDS)].value
    ask(i, asked[i])
    asked_for = asked_for + 1
  end
  for i = 1, CLIENTS do
    if math.random(500) == 1 then
      clients[i]:close()
      connect(i)
      gone = gone + 1
    else
      check_response(asked[i], take(i))
    end
  end
end

-- ---- before, meanwhile, after -----------------------------------------------------------

-- Returns the growth in kB over all samples, by linear regression.
local function growth(samples)
  local n, sum_x, sum_y, sum_xy, sum_xx = #samples, 0, 0, 0, 0
  for x, y in ipairs(samples) do
    sum_x, sum_y, sum_xy, sum_xx = sum_x + x, sum_y + y, sum_xy + x * y, sum_xx + x * x
  end
  return (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x) * n
end

-- Fills the pool of connections, both before and after, so that the descriptors can be compared.
local function settle()
  upstream:reset()
  for _ = 1, 5 do
    round()
  end
  socket.sleep(0.2)
  return descriptors()
end

local meant = {
  { "recv%(%) failed %(104: Connection reset by peer%)", "the service broke a connection" },
  { "lua tcp socket read timed out", "the service took too long" },
  { "client prematurely closed connection", "a visitor went away" },
  { "client %S+ closed keepalive connection", "a visitor went away" },
  { "client closed connection while waiting for request", "somebody looked whether nginx is there" },
  { "%[notice%]", "nginx about itself" },
}

local function reason_of(line)
  for _, one in ipairs(meant) do
    if line:find(one[1]) then
      return one[2]
    end
  end
end

-- Counts the lines of the log by their reason, and collects the lines that have no known reason.
local function read_log()
  local counts, odd = {}, {}
  for line in nginx:log():gmatch("[^\n]+") do
    local reason = reason_of(line)
    if reason then
      counts[reason] = (counts[reason] or 0) + 1
    else
      table.insert(odd, line)
    end
  end
  return counts, odd
end

local function list(counts)
  local texts = {}
  for name, count in pairs(counts) do
    table.insert(texts, ("%s: %d"):format(name, count))
  end
  table.sort(texts)
  return #texts > 0 and table.concat(texts, ", ") or "none"
end

local function soak()
  local rounds, samples, second_half = math.ceil(N / CLIENTS), {}, {}
  local before, began = settle(), socket.gettime()
  for n = 1, rounds do
    if n % 20 == 1 then
      add_faults()
    end
    round()
    if n % math.ceil(rounds / SAMPLES) == 0 then
      table.insert(samples, resident())
    end
  end
  local seconds = socket.gettime() - began
  for i = math.floor(#samples / 2) + 1, #samples do
    table.insert(second_half, samples[i])
  end
  local counts, odd = read_log()
  return { before = before, after = settle(), seconds = seconds, samples = samples, growth = growth(second_half),
    counts = counts, odd = odd }
end

for i = 1, CLIENTS do
  connect(i)
end
local fine, it = pcall(soak)
nginx:stop()
upstream:stop()
if not fine then
  error(it, 0)
end

local failed = 0
for _, count in pairs(failures) do
  failed = failed + count
end
print(("seed %d, %d faults: %d right responses, %d went away, failed: %s; %.0f requests a second"):format(SEED, faults,
  found, gone, list(failures), N / it.seconds))
print(("resident kB: first %d, half %d, last %d; the second half grows by %.0f; descriptors: %d, then %d"):format(
  it.samples[1], it.samples[math.ceil(#it.samples / 2)], it.samples[#it.samples], it.growth, it.before, it.after))
print("in the log: " .. list(it.counts))
for i = 1, math.min(5, #it.odd) do
  print("not meant: " .. it.odd[i])
end
local good = it.growth <= MOST_GROWTH and it.after <= it.before and #it.odd == 0 and failed <= faults and failed > 0
  and found + failed + gone == asked_for
print(good and "soak-nginx: 1 passed, 0 failed" or "soak-nginx: 0 passed, 1 failed")
os.exit(good and 0 or 1)
