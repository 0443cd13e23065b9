-- Metrics and health of the workers of a real nginx, which add their numbers in a lua_shared_dict.
local cjson = require("cjson")
local markdown = dofile("spec/support/markdown.lua")
local parse = dofile("spec/support/prometheus.lua")
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")
local server = dofile("spec/nginx/server.lua")
local socket = require("socket")

local FIND = 'operation="contact_identifiers.find"'

describe("workers of nginx", function()
  local upstream, nginx

  local function start(conf, places, init)
    return server.start { workers = 2, places = places, init = init,
      conf = "lua_shared_dict leat 1m; lua_shared_dict finds 1m; " .. (conf or "") }
  end

  setup(function()
    upstream = assert(sandbox.start { api_key = secrets.key, rate_limit = 100000, cards = { { value = "1" } } })
    nginx = start()
  end)
  teardown(function()
    nginx:stop()
    upstream:stop()
  end)
  before_each(function()
    upstream:reset()
  end)

  -- Each spec has an account of its own, so that others don't count for it.
  local account = 0
  before_each(function()
    account = account + 1
  end)

  local function client(more, name)
    return ("local client = app.client('%d%s', function() return { shared = 'leat', account = '%d', api_key = %q, "
      .. "base_url = %q, %s } end) local cards = client.contact_identifiers "):format(account, name or "",
      account, secrets.key, upstream.url, more or "")
  end

  -- Runs the code in both workers: in each as often as it takes until both have run it `each` times. Returns what it
  -- returned, a list for each worker, and how often it ran.
  local function run_in_both(site, code, each)
    local by_worker, workers, runs = {}, 0, 0
    while workers < 2 do
      local asked = {}
      for i = 1, 8 do
        asked[i] = site:ask("content", code .. " return result, ngx.worker.id()")
      end
      for _, connection in ipairs(asked) do
        local text = connection:receive("*a")
        connection:close()
        local result, id = server.decode(text:match("\r\n\r\n(.*)$"))
        by_worker[id] = by_worker[id] or {}
        table.insert(by_worker[id], result)
        workers = workers + (#by_worker[id] == (each or 1) and 1 or 0)
        runs = runs + 1
      end
    end
    return by_worker, runs
  end

  -- Repeats a check until it holds: workers add their numbers after a second, or later if the machine is busy.
  local function eventually(check)
    local due = socket.gettime() + 10
    repeat
      local fine, why = pcall(check)
      if fine then
        return
      elseif socket.gettime() > due then
        error(why, 0)
      end
      socket.sleep(0.1)
    until false
  end

  -- Returns the sum of what the workers have added by themselves to entries of that name, for all accounts.
  local function added(site, name)
    return site:run("content", ([[
      local dict, sum = ngx.shared.leat, 0
      for _, name in ipairs(dict:get_keys(0)) do
        sum = sum + (name:find(%q) and tonumber((dict:get(name))) or 0)
      end
      return sum]]):format(name))
  end
  local CALLS = " count calls "

  local TEXT = "local result = require('leat.prometheus').text(client, { labels = { shop = 'a' } })"

  -- Calls `check` with the metrics that each worker shows.
  local function check_both(site, options, check)
    eventually(function()
      for _, texts in pairs((run_in_both(site, client(options) .. TEXT))) do
        check(parse(texts[1]))
      end
    end)
  end

  it("show the same numbers, those of all of them", function()
    local before = added(nginx, CALLS)
    local by_worker, runs = run_in_both(nginx, client "max_attempts = 1" .. [[
      cards:find("1")
      cards:find("none")
      local result = true]], 3)
    eventually(function() -- without another call
      assert.equal(before + 2 * runs, added(nginx, CALLS))
    end)
    assert.truthy(#by_worker[0] >= 3 and #by_worker[1] >= 3)
    check_both(nginx, nil, function(metrics)
      assert.same({ ['kind="ok",' .. FIND .. ',shop="a"'] = runs, ['kind="not_found",' .. FIND .. ',shop="a"'] = runs },
        metrics.leat_calls_total)
      assert.same({ ['kind="ok",' .. FIND .. ',purpose="call",shop="a"'] = runs,
        ['kind="not_found",' .. FIND .. ',purpose="call",shop="a"'] = runs }, metrics.leat_attempts_total)
      assert.same({ ['shop="a"'] = 100000 }, metrics.leat_rate_limit_requests)
      assert.truthy(metrics.leat_rate_limit_remaining_requests['shop="a"'] <= 100000 - 2 * runs + 16)
      assert.same({ ['shop="a"'] = 1 }, metrics.leat_healthy)
      assert.truthy(os.time() - metrics.leat_last_success_timestamp_seconds['shop="a"'] <= 20)
    end)
    assert.equal(2 * runs, #upstream:requests("find"))
  end)

  it("add the time for which calls waited", function()
    nginx:run("content", client "rate = 2" .. [[
      local threads = {}
      for i = 1, 3 do threads[i] = ngx.thread.spawn(cards.find, cards, "1") end
      for i = 1, 3 do ngx.thread.wait(threads[i]) end]])
    check_both(nginx, "rate = 2", function(metrics)
      local waited = metrics.leat_queue_seconds_total['reason="slot",shop="a"']
      assert.truthy(waited > 1 and waited < 5, waited) -- 0.5 and 1 second, if nothing is late
      assert.equal(0, metrics.leat_queue_seconds_total['reason="pause",shop="a"'])
    end)
  end)

  it("add the finds that their cache answered", function()
    local options = "cache = { dict = 'finds', negative_ttl = 30 }"
    local _, runs = run_in_both(nginx, client(options) .. "cards:find('none') local result = true", 2)
    nginx:run("content", client(options) .. "cards:find('none')")
    eventually(function()
      assert.equal(runs + 1, added(nginx, " cache n misses") + added(nginx, " cache n negative_hits"))
    end)
    check_both(nginx, options, function(metrics)
      local finds, sum = metrics.leat_finds_total, 0
      for _, number in pairs(finds) do
        sum = sum + number
      end
      assert.equal(runs + 1, sum)
      assert.truthy(finds['result="miss",shop="a"'] >= #upstream:requests("find"))
      assert.truthy(finds['result="negative_hit",shop="a"'] > 0)
    end)
  end)

  it("count what a worker does that ends gracefully, or did a moment before it was killed", function()
    local _, runs = run_in_both(nginx, client() .. "cards:find('1') local result = true", 2)
    os.execute("kill -HUP " .. nginx.pid) -- the new workers have counted nothing
    check_both(nginx, nil, function(metrics)
      assert.same({ ['kind="ok",' .. FIND .. ',shop="a"'] = runs }, metrics.leat_calls_total)
    end)
    local by_worker = run_in_both(nginx, "local result = ngx.worker.pid()")
    os.execute(("kill -KILL %d %d"):format(by_worker[0][1], by_worker[1][1]))
    local _, more = run_in_both(nginx, client() .. "cards:find('1') local result = true")
    check_both(nginx, nil, function(metrics)
      assert.same({ ['kind="ok",' .. FIND .. ',shop="a"'] = runs + more }, metrics.leat_calls_total)
    end)
  end)

  -- ---- health ---------------------------------------------------------------------------

  local HEALTH = "local result = client:health()"

  -- Calls `check` with the health that each worker shows.
  local function check_health(site, options, check)
    eventually(function()
      for _, list in pairs((run_in_both(site, client(options) .. HEALTH))) do
        check(list[1])
      end
    end)
  end

  it("know of the last success and the last failure of each other", function()
    local options = "max_attempts = 1"
    check_health(nginx, options, function(health)
      assert.same({ ok = true }, health)
    end)
    nginx:run("content", client(options) .. "return cards:find('1') and true")
    check_health(nginx, options, function(health)
      assert.is_true(health.ok)
      assert.truthy(health.last_success < 20)
      assert.is_nil(health.last_failure)
    end)
    upstream:fault { operation = "find", kind = "server" }
    nginx:run("content", client(options) .. "return cards:find('1') and true")
    check_health(nginx, options, function(health)
      assert.is_false(health.ok)
      assert.equal("server", health.kind)
      assert.truthy(health.last_failure < health.last_success)
    end)
    nginx:run("content", client(options) .. "return cards:find('1') and true")
    check_health(nginx, options, function(health)
      assert.is_true(health.ok)
      assert.truthy(health.last_success < health.last_failure)
    end)
  end)

  it("know at once of a pause that one of them was asked for", function()
    upstream:fault { operation = "find", kind = "maintenance", retry_after = 300 }
    nginx:run("content", client() .. "return cards:find('1') and true")
    for _, list in pairs((run_in_both(nginx, client() .. HEALTH))) do
      assert.is_false(list[1].ok)
      assert.truthy(list[1].paused > 280 and list[1].paused <= 300.001, list[1].paused)
    end
    check_both(nginx, nil, function(metrics)
      assert.truthy(metrics.leat_pause_seconds['shop="a"'] > 280)
      assert.same({ ['shop="a"'] = 0 }, metrics.leat_healthy)
    end)
  end)

  it("count the clients of an account as one", function()
    upstream:fault { operation = "find", kind = "server" }
    nginx:run("content", client("max_attempts = 1", "b") .. "cards:find('1') local first = client "
      .. client() .. "cards:find('1') client:health() first:health()" .. TEXT)
    check_both(nginx, nil, function(metrics)
      assert.same({ ['kind="ok",' .. FIND .. ',shop="a"'] = 1, ['kind="server",' .. FIND .. ',shop="a"'] = 1 },
        metrics.leat_calls_total)
    end)
    check_health(nginx, nil, function(health)
      assert.is_true(health.ok)
      assert.truthy(health.last_success <= health.last_failure)
      assert.equal("server", health.kind)
    end)
  end)

  -- ---- dicts and timers -----------------------------------------------------------------

  it("replace entries of others under their names", function()
    nginx:run("content", client() .. "cards:find('1')")
    check_both(nginx, nil, function(metrics)
      assert.equal(1, metrics.leat_calls_total['kind="ok",' .. FIND .. ',shop="a"'])
    end)
    nginx:run("content", [[
      local dict = ngx.shared.leat
      for _, name in ipairs(dict:get_keys(0)) do dict:set(name, "rubbish") end]])
    for _, texts in pairs((run_in_both(nginx, client() .. TEXT))) do
      local metrics = parse(texts[1])
      assert.is_nil(metrics.leat_calls_total)
      assert.is_nil(metrics.leat_rate_limit_requests)
    end
    local _, runs = run_in_both(nginx, client() .. "cards:find('1') local result = true", 2)
    check_both(nginx, nil, function(metrics)
      assert.truthy(metrics.leat_calls_total['kind="ok",' .. FIND .. ',shop="a"'] >= runs)
      assert.same({ ['shop="a"'] = 1 }, metrics.leat_healthy)
    end)
  end)

  for _, conf in ipairs { "lua_max_pending_timers 0;", "lua_max_running_timers 0;" } do
    it("add their numbers when nginx lacks timers: " .. conf, function()
      local site = start(conf)
      finally(function() site:stop() end)
      local find = client() .. "cards:find('1') local result = true"
      local _, runs = run_in_both(site, find)
      socket.sleep(2.1)
      eventually(function()
        run_in_both(site, find)
        assert.truthy(added(site, CALLS) >= runs)
      end)
    end)
  end

  -- Returns the head of a response, and its body.
  local function get(site, path)
    local connection = site:ask(path)
    local response = connection:receive("*a")
    connection:close()
    return response:match("^(.-\r\n)\r\n(.*)$")
  end

  it("serve the guide's pages", function()
    local places = {}
    for _, block in ipairs(markdown.blocks("docs/metrics.md")) do
      places[#places + 1] = block.language == "nginx" and block.text or nil
    end
    local site = start(nil, table.concat(places), client() .. " package.loaded.client = client ")
    finally(function() site:stop() end)
    local find = "return require('client').contact_identifiers:find('1') and true"
    local head, body = get(site, "health")
    assert.truthy(head:find("^HTTP/1.1 200 "), head)
    assert.same({ ok = true }, cjson.decode(body))
    site:run("content", find)
    upstream:fault { operation = "find", kind = "maintenance", retry_after = 300 }
    site:run("content", find)
    head, body = get(site, "health")
    assert.truthy(head:find("^HTTP/1.1 503 "), head)
    assert.is_false(cjson.decode(body).ok)
    eventually(function()
      head, body = get(site, "metrics")
      assert.same({ ['kind="ok",' .. FIND] = 1, ['kind="maintenance",' .. FIND] = 1 }, parse(body).leat_calls_total)
    end)
    assert.truthy(head:find("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n", 1, true), head)
  end)

  it("count by themselves without a dict", function()
    local code = ("local client = app.client('alone', function() return { api_key = %q, base_url = %q } end) "):format(
      secrets.key, upstream.url)
    run_in_both(nginx, code .. "client.contact_identifiers:find('1') local result = true")
    local sum, before = 0, #upstream:requests("find")
    for _, texts in pairs((run_in_both(nginx, code .. TEXT))) do
      sum = sum + parse(texts[1]).leat_calls_total['kind="ok",' .. FIND .. ',shop="a"']
    end
    assert.equal(before, sum)
  end)
end)
