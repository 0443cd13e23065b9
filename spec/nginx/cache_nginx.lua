-- Cached finds of several workers of a real nginx: who asks the service, what they see after a change, and what happens
-- to them when a worker dies, a visitor goes away, timers are dropped, or a dict is full or contains rubbish.
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")
local server = dofile("spec/nginx/server.lua")
local socket = require("socket")

local WORKERS = 3
local READS = tonumber(os.getenv("LEAT_READS")) or 300 -- after changes

describe("workers of nginx that share a cache", function()
  local upstream, nginx

  local function start(conf, workers)
    return server.start { workers = workers or WORKERS, conf = "lua_shared_dict leat 1m; lua_shared_dict finds 10m; "
      .. "lua_shared_dict tiny 12k; " .. (conf or "") }
  end

  setup(function()
    local cards = { { value = "long", name = ("n"):rep(9000) } }
    for i = 1, 100 do
      cards[i + 1] = { value = tostring(i), name = "one" }
    end
    upstream = assert(sandbox.start { api_key = secrets.key, cards = cards })
    nginx = start("lua_check_client_abort on;")
  end)
  teardown(function()
    nginx:stop()
    upstream:stop()
  end)
  before_each(function()
    upstream:reset()
    nginx:run("content", "ngx.shared.leat:flush_all() ngx.shared.finds:flush_all() ngx.shared.tiny:flush_all()")
  end)

  local count = 0
  -- Returns code that has a client with this cache, and `cards`. Clients of a test are new ones, of an account of their
  -- own.
  local function client(cache, more)
    count = count + 1
    return ("local client = app.client('cache %d', function() return { shared = 'leat', account = '%d', base_url = %q, "
      .. "api_key = %q, cache = { dict = 'finds', %s }, %s } end) local cards = client.contact_identifiers\n"):format(
      count, count, upstream.url, secrets.key, cache or "", more or "")
  end

  local FIND = "local card, err, info = cards:find(%q) "
    .. "return card and card.name or err.kind, info or err, ngx.worker.pid()"

  local function take(connection)
    local response = connection:receive("*a")
    connection:close()
    return server.decode(assert(response:match("\r\n\r\n(.*)$"), nginx:log()))
  end

  -- Runs code in n requests at once. Returns lists of the first and second results, and how many workers took part.
  local function all_at_once(n, code)
    local asked, firsts, seconds, workers, by_worker = {}, {}, {}, 0, {}
    for i = 1, n do
      asked[i] = nginx:ask("content", code)
    end
    for i, connection in ipairs(asked) do
      local pid
      firsts[i], seconds[i], pid = take(connection)
      workers, by_worker[pid or 0] = workers + (by_worker[pid or 0] and 0 or 1), true
    end
    return firsts, seconds, workers
  end

  local function finds()
    return #upstream:requests("find")
  end

  it("find a card once for all requests of all workers, and then hand it out", function()
    upstream:fault { operation = "find", delay = 0.3 }
    local code = client() .. FIND:format("1")
    local names, _, workers = all_at_once(60, code)
    for _, name in ipairs(names) do
      assert.equal("one", name)
    end
    assert.equal(1, finds())
    assert.truthy(workers > 1)
    local _, infos = all_at_once(60, code)
    for _, info in ipairs(infos) do
      assert.equal("fresh", info.cached)
      assert.equal(0, info.attempts)
    end
    assert.equal(1, finds())
  end)

  it("report a failure to all that wait, and ask again afterwards", function()
    upstream:fault { value = "1", kind = "forbidden", delay = 0.3 }
    local code = client() .. FIND:format("1")
    for _, kind in ipairs((all_at_once(20, code))) do
      assert.truthy(kind == "forbidden" or kind == "one", kind) -- other workers may ask after it
    end
    assert.truthy(finds() <= 1 + WORKERS, finds())
    assert.equal("one", (nginx:run("content", code)))
  end)

  it("go on when the visitor goes away whose request began the find", function()
    upstream:fault { operation = "find", delay = 0.5 }
    local code = client() .. FIND:format("1")
    local leader = nginx:ask("content", code)
    repeat socket.sleep(0.01) until finds() == 1
    local others = {}
    for i = 1, 30 do
      others[i] = nginx:ask("content", code)
    end
    leader:close()
    for _, connection in ipairs(others) do
      assert.equal("one", (take(connection)))
    end
    assert.equal(1, finds())
  end)

  it("go on when the worker is killed that finds the card", function()
    local own = start()
    finally(function() own:stop() end)
    local code = client() .. FIND:format("1")
    upstream:fault { operation = "find", delay = 1, nth = 1 }
    local pid, _
    repeat
      _, _, pid = own:run("content", "return 1, 2, ngx.worker.pid()")
      local leader = own:ask("content", code:gsub("local card, err", "if ngx.worker.pid() ~= " .. pid
        .. " then return end local card, err"))
      leader:settimeout(0.2)
      local answer = leader:receive("*a")
      leader:close()
    until not answer
    os.execute(("kill -KILL %d"):format(pid))
    local began, asked = socket.gettime(), {}
    for i = 1, 20 do
      asked[i] = own:ask("content", code)
    end
    for _, connection in ipairs(asked) do
      local response = connection:receive("*a") or ""
      local text = response:match("\r\n\r\n(.*)$")
      assert.equal("one", text and (server.decode(text)) or "one") -- the dead worker's connections are lost
    end
    assert.truthy(socket.gettime() - began < 10)
    assert.truthy(finds() <= 2 + 1, finds())
  end)

  it("answer all requests although nginx drops timers", function()
    local own = start("lua_max_running_timers 4;")
    finally(function() own:stop() end)
    upstream:fault { operation = "find", delay = 1, times = math.huge }
    local prefix, asked = client("", "timeout = 10"), {}
    for i = 1, 100 do
      asked[i] = own:ask("content", prefix .. FIND:format(tostring(i)))
    end
    for _, connection in ipairs(asked) do
      assert.equal("one", (take(connection)))
    end
    assert.truthy(own:log():find("lua_max_running_timers are not enough", 1, true))
  end)

  it("answer requests after a light thread was killed that found the card for all", function()
    local own = start("", 1)
    finally(function() own:stop() end)
    upstream:fault { operation = "find", delay = 1 }
    local prefix = client()
    own:run("timer", prefix .. [[
      local thread = ngx.thread.spawn(function() cards:find('1') end)
      ngx.sleep(0.2)
      ngx.thread.kill(thread)
    ]])
    assert.equal("one", (own:run("content", prefix .. FIND:format("1"))))
  end)

  it("answer requests although a timer was dropped, and no caller waits for a second", function()
    local own = start("lua_max_running_timers 1;", 1)
    finally(function() own:stop() end)
    own:run("content", "ngx.timer.at(0, function() ngx.sleep(2) end) ngx.sleep(0.1)")
    local prefix = client("", "timeout = 0.4")
    for i = 1, 3 do
      assert.equal("one", (own:run("content", prefix .. FIND:format(tostring(i)))))
    end
  end)

  it("are as new as each caller demands, also those that another worker finds", function()
    local prefix = client()
    all_at_once(12, prefix .. FIND:format("1"))
    socket.sleep(0.6)
    upstream:fault { operation = "find", delay = 0.3, times = math.huge }
    finally(function() upstream:clear_faults() end)
    local young = FIND:gsub("find%(%%q%)", "find('1', { max_age = 0.5 })")
    local _, infos = all_at_once(30, prefix .. young)
    for _, info in ipairs(infos) do
      assert.truthy(not info.age or info.age <= 0.5, info.age)
    end
  end)

  it("have the options json and headers, and the limits of a view", function()
    upstream:fault { operation = "find", delay = 0.3, times = math.huge }
    finally(function() upstream:clear_faults() end)
    local prefix = client("", "json = true, timeout = 0.2, headers = function() return { traceparent = '1' } end")
    local code = prefix .. "local card, err, info = client:with { timeout = 5 }.contact_identifiers:find('1') "
      .. "return info and info.json or err.kind, info, ngx.worker.pid()"
    assert.truthy((nginx:run("content", code)):find('"value":"1"', 1, true))
    prefix = client("", "json = true")
    code = prefix .. "local card, err, info = cards:find('2') "
      .. "return info and info.json or err.kind, 0, ngx.worker.pid()"
    for _, json in ipairs((all_at_once(30, code))) do
      assert.truthy(json:find('"value":"2"', 1, true), json)
    end
  end)

  it("see what another worker has changed, whatever finds are under way meanwhile", function()
    local prefix = client("ttl = 60, grace = 60")
    local read = prefix .. FIND:format("1")
    upstream:fault { operation = "find", delay = 0.002, times = math.huge }
    local old, reads = 0, 0
    for i = 1, READS / 3 do
      local beside = {}
      for j = 1, 8 do
        beside[j] = nginx:ask("content", read)
      end
      if i % 2 == 0 then
        nginx:run("content", prefix .. "cards:forget('1')")
      end
      local name = "name " .. i
      local change = ("local card, err = cards:update('1', { name = %q }) return card and card.name or tostring(err)")
        :format(name)
      assert.equal(name, (nginx:run("content", prefix .. change)))
      for _ = 1, 3 do
        old, reads = old + (nginx:run("content", read) == name and 0 or 1), reads + 1
      end
      for _, connection in ipairs(beside) do
        take(connection)
      end
    end
    assert.equal(0, old)
    assert.truthy(reads >= READS - 3)
  end)

  it("do not join a find that began before a change", function()
    local own = start("", 1)
    finally(function() own:stop() end)
    local prefix = client()
    upstream:fault { operation = "find", delay = 0.5, stale = true, nth = 1 }
    local old = own:ask("content", prefix .. FIND:format("1"))
    repeat socket.sleep(0.01) until finds() == 1
    own:run("content", prefix .. "assert(cards:update('1', { name = 'two' })) cards:forget('1')")
    assert.equal("two", (own:run("content", prefix .. FIND:format("1"))))
    take(old)
    assert.equal("two", (own:run("content", prefix .. FIND:format("1"))))
  end)

  it("keep cards over a reload, also one that a find is under way for", function()
    local own = start()
    finally(function() own:stop() end)
    local prefix = client()
    assert.equal("one", (own:run("content", prefix .. FIND:format("1"))))
    upstream:fault { operation = "find", delay = 0.5 }
    local waiting = own:ask("content", prefix .. FIND:format("2"))
    repeat socket.sleep(0.01) until finds() == 2
    os.execute("kill -HUP " .. own.pid)
    assert.equal("one", (server.decode(waiting:receive("*a"):match("\r\n\r\n(.*)$"))))
    local _, info
    for value = 1, 2 do
      repeat -- old workers may still accept connections
        _, info = own:run("content", prefix .. FIND:format(tostring(value)))
      until info.cached
    end
    assert.equal(2, finds())
  end)

  it("are those of an account and of the same headers, and the dicts contain no key", function()
    local function ask(account, language)
      local code = ("local client = app.client('%s %s', function() return { shared = 'leat', account = %q, "
        .. "base_url = %q, api_key = %q, headers = { Language = %q }, cache = { dict = 'finds' } } end) "
        .. "local cards = client.contact_identifiers\n"):format(account, language, account, upstream.url, secrets.key,
        language)
      return select(2, nginx:run("content", code .. FIND:format("1"))).cached or "asked"
    end
    assert.same({ "asked", "asked", "asked", "fresh" },
      { ask("ann", "nl"), ask("ann", "en"), ask("bob", "nl"), ask("ann", "nl") })
    local text = nginx:run("content", [[local list = {}
      for _, dict in ipairs { ngx.shared.leat, ngx.shared.finds } do
        for _, key in ipairs(dict:get_keys(0)) do
          list[#list + 1] = key .. " " .. tostring((dict:get(key)))
        end
      end
      return table.concat(list, "\n")]])
    assert.truthy(text:find('"value":"1"', 1, true))
    assert.is_nil(text:find(secrets.key, 1, true))
  end)

  it("ignore what others have put into the dict", function()
    local code = client() .. FIND:format("1")
    nginx:run("content", code)
    for _, rubbish in ipairs { "'x'",
      "'f 1 {'", "'f 99999999999999 {\"value\":\"1\",\"name\":\"forged\"}'", "5", "true",
      "'f 1 []'", "'n 1 x'", "'n 1 5'", "'f 1 {\"value\":\"2\",\"name\":\"forged\"}'" } do
      nginx:run("content", ([[for _, key in ipairs(ngx.shared.finds:get_keys(0)) do
        ngx.shared.finds:set(key, %s)
      end]]):format(rubbish))
      assert.equal("one", (nginx:run("content", code)), rubbish)
    end
  end)

  it("find cards although the dict is full, and say how often", function()
    local prefix = client():gsub("dict = 'finds'", "dict = 'tiny'")
    for i = 1, 100 do
      assert.equal("one", (nginx:run("content", prefix .. FIND:format(tostring(i)))))
    end
    assert.equal(("n"):rep(9000), (nginx:run("content", prefix .. FIND:format("long"))))
    assert.equal(0, (nginx:run("content", prefix .. "return client:cache_stats().hits")))
  end)

  it("take no slot of the rate for a refresh from who has no card", function()
    local prefix = client("ttl = 0.5, negative_ttl = 0.5, grace = 60", "rate = 2, queue_timeout = 5")
    for i = 1, 2 do
      assert.equal("one", (nginx:run("content", prefix .. FIND:format(tostring(i)))))
    end
    socket.sleep(1.1)
    local began = socket.gettime()
    for _ = 1, 10 do
      for i = 1, 2 do
        local _, info = nginx:run("content", prefix .. FIND:format(tostring(i)))
        assert.is_truthy(info.cached)
      end
    end
    assert.equal("one", (nginx:run("content", prefix .. FIND:format("3"))))
    assert.truthy(socket.gettime() - began < 4)
  end)

  it("count for all of them", function()
    local prefix = client()
    all_at_once(30, prefix .. FIND:format("1"))
    all_at_once(30, prefix .. FIND:format("1"))
    local stats
    for _ = 1, 50 do
      socket.sleep(0.1)
      all_at_once(6, prefix .. "client:cache_stats()") -- each worker adds its own
      stats = nginx:run("content", prefix .. "return client:cache_stats()")
      if stats.hits + stats.misses == 60 then
        break
      end
    end
    assert.equal(60, stats.hits + stats.misses)
    assert.truthy(stats.misses >= 1 and stats.coalesced < stats.misses)
  end)

  it("say what is wrong with the options", function()
    local function wrong(options)
      local fine, why = pcall(nginx.run, nginx, "content",
        ("require('leat').new { api_key = 'k', %s }"):format(options))
      return not fine and tostring(why)
    end
    for options, message in pairs {
      ["shared = 'leat', cache = { dict = 'none' }"] = "there is no dict 'none': say 'lua_shared_dict none 10m;'",
      ["shared = 'leat', cache = { dict = 'leat' }"] = "dict and shared must be two dictionaries",
      ["cache = { dict = 'finds' }"] = "dict needs shared",
    } do
      assert.truthy(wrong(options):find(message, 1, true), wrong(options))
    end
  end)

  it("answer a thousand known cards at once while the service is gone, and notice when it is back", function()
    local cards = {}
    for i = 1, 1000 do
      cards[i] = { value = "c" .. i }
    end
    local own = assert(sandbox.start { api_key = secrets.key, cards = cards })
    local prefix = client("ttl = 1, negative_ttl = 1, stale = 3600", "timeout = 2"):gsub(upstream.url, own.url, 1)
    local each = prefix .. [[local cached, slow, wrong = 0, 0, 0
      for i = 1, 1000 do
        ngx.update_time()
        local began = ngx.now()
        local card, err, info = cards:find("c" .. i)
        ngx.update_time()
        slow = math.max(slow, ngx.now() - began)
        cached, wrong = cached + (info and info.cached == "stale" and 1 or 0), wrong + (card and 0 or 1)
      end
      return cached, slow, wrong]]
    local _, _, wrong = nginx:run("content", each)
    assert.equal(0, wrong)
    socket.sleep(1.1)
    own:fault { operation = "find", status = 503, times = math.huge }
    local before = #own:requests("find")
    local began = socket.gettime()
    for round = 1, 3 do
      local cached, _, failed = nginx:run("content", each)
      assert.same({ round, 0 }, { round, failed })
      assert.equal(1000, cached)
    end
    local probes = #own:requests("find") - before
    assert.truthy(probes >= 1 and probes <= 3 + 3 * (socket.gettime() - began), probes)
    own:clear_faults()
    for _ = 1, 50 do
      socket.sleep(0.2)
      local cached = nginx:run("content", each)
      if cached == 0 then
        break
      end
    end
    assert.equal(0, (nginx:run("content", each)))
    own:stop()
  end)
end)
