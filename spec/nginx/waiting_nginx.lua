-- Many requests at once in a real nginx: the worker never blocks, all share one token, requests may
-- end early, and a connection whose exchange failed leaves nothing behind.
local sandbox = require("leat.sandbox")
local server = dofile("spec/nginx/server.lua")
local interpreter = dofile("spec/support/interpreter.lua")
local secrets = dofile("spec/support/secrets.lua")
local socket = require("socket")

local function client(name, options)
  return ("local client = app.client(%q, function() return { %s } end) "):format(name, options)
    .. "local cards = client.contact_identifiers\n"
end

describe("in nginx, many at once:", function()
  local upstream, nginx

  setup(function()
    upstream = assert(sandbox.start { api_key = secrets.key, cards = { { value = "1" }, { value = "slow" } } })
    nginx = server.start { conf = "lua_check_client_abort on;",
      init = ("app.client('early', function() return { api_key = %q, base_url = %q, timeout = 3 } end)"):format(
        secrets.key, upstream.url) }
  end)
  teardown(function()
    nginx:stop()
    upstream:stop()
  end)
  before_each(function()
    upstream:reset()
  end)

  local function keyed(name, more)
    return client(name, ("api_key = %q, base_url = %q, retry_base = 0.001, retry_cap = 0.01, %s"):format(secrets.key,
      upstream.url, more or ""))
  end
  local function credentials(name, more)
    return client(name, ("client_id = %q, client_secret = %q, token_url = %q, base_url = %q, %s"):format(
      upstream.client_id, upstream.client_secret, upstream.token_url, upstream.url, more or ""))
  end
  local function ask_many(count, code, phase)
    local asked = {}
    for i = 1, count do
      asked[i] = nginx:ask(phase or "content", code)
    end
    return asked
  end
  local function take_all(asked)
    local cards = {}
    for i, connection in ipairs(asked) do
      local response = connection:receive("*a") or ""
      cards[i] = server.decode(response:match("\r\n\r\n(.*)$") or error(nginx:log():sub(-3000)))
      connection:close()
    end
    return cards
  end

  it("a hundred slow calls leave the worker free", function()
    upstream:fault { value = "slow", delay = 1, times = math.huge }
    local began = socket.gettime()
    local asked = ask_many(100, keyed("slow", "timeout = 10") .. "return cards:find('slow').value")
    local pings, fast = 0, 0
    while socket.gettime() - began < 0.8 do
      local before = socket.gettime()
      assert.equal("pong", nginx:get("ping"))
      pings, fast = pings + 1, fast + (socket.gettime() - before < 0.1 and 1 or 0)
      socket.sleep(0.01)
    end
    assert.equal(100, #take_all(asked))
    assert.truthy(socket.gettime() - began < 10) -- in turn they would take 100 s
    assert.equal(100, #upstream:requests("find"))
    assert.truthy(pings >= 8 and fast >= pings * 0.9, ("%d of %d pings were fast"):format(fast, pings))
  end)

  it("one token is fetched for all, who wait no longer than for it", function()
    upstream:fault { operation = "token", delay = 0.3 }
    local began = socket.gettime()
    local found = take_all(ask_many(50, credentials("many", "timeout = 20") .. "return cards:find('1').value"))
    assert.equal(50, #found)
    assert.equal(1, #upstream:requests("token"))
    assert.truthy(socket.gettime() - began < 10)
  end)

  it("who gets the token may be gone before it comes", function()
    upstream:fault { operation = "token", delay = 0.3 }
    local code = credentials("left", "timeout = 20") .. "return cards:find('1').value"
    local first = nginx:ask("content", code)
    repeat
      socket.sleep(0.01)
    until #upstream:requests("token") == 1
    local asked = ask_many(5, code)
    first:close()
    local began = socket.gettime()
    assert.equal(5, #take_all(asked))
    assert.truthy(socket.gettime() - began < 10) -- the lease lasts 20 s
    assert.equal(1, #upstream:requests("token"))
    assert.equal(5, #upstream:requests("find"))
  end)

  it("a token function is asked once, in a timer, and its errors are raised", function()
    local code = client("asking", ([[base_url = %q, timeout = 20, token = function()
      app.phase, app.asked = ngx.get_phase(), (app.asked or 0) + 1
      ngx.sleep(0.1)
      return %q
    end]]):format(upstream.url, secrets.key)) .. "return cards:find('1').value"
    assert.equal(20, #take_all(ask_many(20, code)))
    local asked, phase = nginx:run("content", "return app.asked, app.phase")
    assert.equal(1, asked)
    assert.equal("timer", phase)

    local failing = client("failing", ([[base_url = %q, token = function() error("no luck") end]]):format(upstream.url))
    local fine, why = pcall(nginx.run, nginx, "content", failing .. "return cards:find('1')")
    assert.is_false(fine)
    assert.truthy(why:find("no luck", 1, true), why)
  end)

  it("a token function that uses its own client gets an error", function()
    local began = socket.gettime()
    local own = client("own", ([[base_url = %q, timeout = 2, token = function()
      local client = require("app").client("own")
      return client.contact_identifiers:find("1") and %q
    end]]):format(upstream.url, secrets.key))
    for _ = 1, 2 do
      local fine, why = pcall(nginx.run, nginx, "content", own .. "return cards:find('1')")
      assert.is_false(fine)
      assert.truthy(why:find("contact_identifiers.find: the token function uses its own client", 1, true), why)
    end
    assert.truthy(socket.gettime() - began < 1.9)
    assert.equal(0, #upstream:requests())
  end)

  it("a token comes though nginx drops the timer that was to get it", function()
    local full = server.start { conf = "lua_max_running_timers 2;" }
    finally(function() full:stop() end)
    full:run("content", [[
      for _ = 1, 2 do assert(ngx.timer.at(0, function() ngx.sleep(6) end)) end
      ngx.sleep(0.1)
    ]])
    local asking = ("token = function() return %q end, base_url = %q, timeout = 20"):format(secrets.key, upstream.url)
    local fetching = ("client_id = %q, client_secret = %q, token_url = %q, base_url = %q, timeout = 20"):format(
      upstream.client_id, upstream.client_secret, upstream.token_url, upstream.url)
    for name, options in pairs { asking = asking, fetching = fetching } do
      local began = socket.gettime()
      local code = client(name, options) .. "return cards:find('1').value"
      local asked = {}
      for i = 1, 10 do
        asked[i] = full:ask("content", code)
      end
      for _, value in ipairs(take_all(asked)) do
        assert.equal("1", value)
      end
      assert.truthy(socket.gettime() - began < 5, socket.gettime() - began)
      assert.equal("1", full:run("content", code))
    end
    assert.truthy(full:log():find("lua_max_running_timers are not enough", 1, true))
    assert.equal(1, #upstream:requests("token"))
  end)

  it("a token function that does not return ends no later than two timeouts", function()
    local began = socket.gettime()
    local none, err = nginx:run("content", client("hanging", ([[base_url = %q, timeout = 0.5, token = function()
      ngx.sleep(8)
      return "late"
    end]]):format(upstream.url)) .. "return cards:find('1')")
    assert.is_nil(none)
    assert.equal("timeout", err.kind)
    assert.equal("no", err.sent)
    assert.truthy(err.text:find("the token function did not return in time", 1, true), err.text)
    assert.truthy(socket.gettime() - began < 5)
  end)

  it("nor later than those of a view", function()
    local began = socket.gettime()
    local hanging = ([[base_url = %q, timeout = 20, token = function() ngx.sleep(8) return "late" end]]):format(
      upstream.url)
    local none, err = nginx:run("content", client("hanging view", hanging)
      .. "return client:with { timeout = 0.3, queue_timeout = 0.2 }.contact_identifiers:find('1')")
    assert.is_nil(none)
    assert.truthy(err.text:find("the token function did not return in time", 1, true), err.text)
    assert.truthy(socket.gettime() - began < 5)
  end)

  it("who gets the token may be gone before that fails", function()
    -- the function must not see a local of the request that ends: its stack is used again
    local code = client("gone", ([[base_url = %q, timeout = 20, token = function()
      local app = require("app")
      app.tried = (app.tried or 0) + 1
      ngx.sleep(0.3)
      return app.tried > 1 and %q or error("no luck")
    end]]):format(upstream.url, secrets.key)) .. "return cards:find('1').value"
    local first = nginx:ask("content", code)
    repeat
      socket.sleep(0.01)
    until nginx:run("content", "return app.tried") == 1
    local asked = ask_many(5, code)
    first:close()
    local began = socket.gettime()
    assert.equal(5, #take_all(asked))
    assert.truthy(socket.gettime() - began < 10)
    assert.equal(2, nginx:run("content", "return app.tried"))
  end)

  it("clients that go away at any time leave the worker as it was", function()
    upstream:fault { operation = "find", delay = 0.05, times = math.huge }
    local find = "return cards:find('1').value"
    local code = credentials("leaving", "timeout = 20") .. find
    local function worker()
      return nginx:run("content", "return ngx.worker.pid()")
    end
    local function open_files()
      local pipe = assert(io.popen(("ls /proc/%d/fd | wc -l"):format(worker())))
      local count = tonumber(pipe:read("*a"))
      pipe:close()
      return count
    end
    local pid, before = worker(), open_files()
    for round = 1, 5 do
      upstream:expire_tokens()
      local asked = ask_many(40, code)
      socket.sleep(0.01 * round)
      for _, connection in ipairs(asked) do
        connection:close()
      end
    end
    upstream:clear_faults()
    assert.equal("1", nginx:run("content", code))
    assert.equal(pid, worker())
    assert.truthy(open_files() <= before + 30) -- as many connections may be kept
    assert.is_nil(nginx:log():find("thread aborted", 1, true))
  end)

  it("what on_attempt raises ends a call between two exchanges", function()
    upstream:fault { operation = "find", close = "before" }
    local fine, why = pcall(nginx.run, nginx, "content",
      keyed("raising", "on_attempt = function() error('enough') end") .. "return cards:find('1')")
    assert.is_false(fine)
    assert.truthy(why:find("enough", 1, true), why)
    assert.equal(1, #upstream:requests("find"))
  end)

  it("a client made before the workers serves them", function()
    assert.equal("1", nginx:run("content", "return app.client('early').contact_identifiers:find('1')").value)
  end)

  it("a pause is for all, and no longer than the timeout", function()
    upstream:fault { operation = "find", kind = "rate_limited", retry_after = 1 }
    local began = socket.gettime()
    assert.equal("1", nginx:run("content", keyed("paused", "timeout = 5") .. "return cards:find('1')").value)
    assert.truthy(socket.gettime() - began >= 0.99)

    upstream:fault { operation = "find", kind = "rate_limited", retry_after = 30 }
    began = socket.gettime()
    local none, err = nginx:run("content", keyed("hurried", "timeout = 0.5") .. "return cards:find('1')")
    assert.is_nil(none)
    assert.equal("rate_limited", err.kind)
    assert.equal(30, err.retry_after)
    assert.truthy(socket.gettime() - began < 5)
  end)

  it("the clock on the wall may jump", function()
    upstream:fault { operation = "find", delay = 0.4, close = "before" }
    local card, err = nginx:run("content", keyed("jumping", "timeout = 5") .. [[
      local now = ngx.now
      ngx.timer.at(0.1, function() ngx.now = function() return now() + 3600 end end)
      local card, err = cards:find("1")
      ngx.now = now
      return card, err
    ]])
    assert.is_nil(err)
    assert.equal("1", card.value)
    assert.equal(2, #upstream:requests("find"))
  end)

  it("options of libcurl are refused, with a hint where they belong", function()
    for option, directive in pairs { ca_file = "lua_ssl_trusted_certificate", proxy = "without one",
      max_connections = "lua_socket_pool_size" } do
      local fine, why = pcall(nginx.run, nginx, "content",
        ("local client = app.leat.new { api_key = 'k', %s = %s }"):format(option, option:find("max") and "4" or "'x'"))
      assert.is_false(fine)
      assert.truthy(why:find("^code:1: leat.new: " .. option) and why:find(directive, 1, true), why)
    end
    assert.is_nil(nginx:run("content", "app.leat.new { api_key = 'k', proxy = '' }")) -- nginx never uses a proxy
  end)

  it("a transport sleeps without libcurl, and without blocking", function()
    local code = [[
      local count = 0
      local client = app.leat.new { api_key = "k", base_url = "http://127.0.0.1/", retry_base = 0.3,
        transport = function()
          count = count + 1
          if count == 1 then return nil, { kind = "connection", sent = "no" } end
          return 200, { ["Content-Type"] = "application/json" }, '{"data":{"value":"1"}}'
        end }
      local card = client.contact_identifiers:find("1")
      return card.value, count, package.loaded["leat.curl.core"] ~= nil
    ]]
    local value, count, curl = nginx:run("content", code)
    assert.same({ "1", 2, false }, { value, count, curl })
  end)

  it("a connection whose exchange failed serves no other", function()
    local other = assert(sandbox.start { api_key = secrets.key, cards = { { value = "1" } } })
    other:fault { nth = 2, delay = 0.5 }
    local code = client("poison", ("api_key = %q, base_url = %q, on_attempt = function(a) app.last = a end"):format(
      secrets.key, other.url))
    local find = code .. "local card, err = cards:find('1') return card or err, app.last.reused"
    nginx:run("content", find) -- leaves a connection to reuse
    local _, err, reused = nginx:run("content", code .. [[
      local _, err = client:with { timeout = 0.1, max_attempts = 1 }.contact_identifiers:find("none")
      return nil, err, app.last.reused
    ]])
    assert.equal("timeout", err.kind)
    assert.is_true(reused)
    socket.sleep(0.6) -- the late response has arrived
    local card, again = nginx:run("content", find)
    assert.equal("1", card.value)
    assert.is_false(again)

    for _, fault in ipairs { { body = "{" }, { close = "within" }, { headers = { Connection = "close" } } } do
      _, reused = nginx:run("content", find)
      assert.is_true(reused)
      other:fault(fault)
      nginx:run("content", find)
      card = nginx:run("content", find)
      assert.equal("1", card.value)
    end
    other:stop()
  end)

  it("nor does one with more responses than requests", function()
    local code = client("twice", ("api_key = 'k', base_url = 'http://127.0.0.1:%d/twice', %s"):format(nginx.port,
      "max_attempts = 1, on_attempt = function(a) app.last = a end"))
    for _ = 1, 2 do
      local card, reused = nginx:run("content", code .. "local card = cards:find('1') return card, app.last.reused")
      assert.equal("1", card.value)
      assert.is_false(reused)
    end
  end)
end)

describe("in nginx that is", function()
  for signal, what in pairs { HUP = "reloaded", QUIT = "told to end" } do
    it(what .. ", calls under way come to their end", function()
      local upstream = assert(sandbox.start { cards = { { value = "1" } } })
      local nginx = server.start()
      upstream:fault { operation = "token", delay = 0.3 }
      upstream:fault { operation = "find", delay = 0.3 }
      local code = client("ending", ("client_id = %q, client_secret = %q, token_url = %q, base_url = %q"):format(
        upstream.client_id, upstream.client_secret, upstream.token_url, upstream.url))
      local asked = nginx:ask("content", code .. "return cards:find('1').value, ngx.worker.exiting()")
      repeat
        socket.sleep(0.01)
      until #upstream:requests("token") == 1
      os.execute(("kill -%s %s"):format(signal, nginx.pid))
      local value, exiting = server.decode(asked:receive("*a"):match("\r\n\r\n(.*)$"))
      asked:close()
      assert.equal("1", value)
      assert.is_true(exiting)
      nginx:stop()
      upstream:stop()
    end)
  end

  it("ended at once, so are calls under way", function()
    local upstream = assert(sandbox.start { api_key = "k-key", cards = { { value = "1" } } })
    local nginx = server.start()
    upstream:fault { operation = "find", delay = 20 }
    local asked = nginx:ask("content", client("ended", ("api_key = 'k-key', base_url = %q"):format(upstream.url))
      .. "return cards:find('1')")
    repeat
      socket.sleep(0.01)
    until #upstream:requests("find") == 1
    local began = socket.gettime()
    nginx:stop()
    assert.truthy(socket.gettime() - began < 10)
    asked:close()
    upstream:stop()
  end)
end)

describe("in nginx, several workers", function()
  it("draw numbers of their own", function()
    local nginx = server.start { workers = 2 }
    local drawn, workers, count = {}, {}, 0
    for _ = 1, 200 do -- the system chooses the worker for each request
      local pid, wait = nginx:run("content", client("drawing", [[
        api_key = "k", base_url = "http://127.0.0.1:9/", retry_base = 10,
        on_attempt = function(attempt) app.wait = app.wait or attempt.wait_milliseconds error("enough") end
      ]]) .. "pcall(cards.find, cards, '1') return ngx.worker.pid(), app.wait")
      count = count + (workers[pid] and 0 or 1)
      workers[pid], drawn[wait] = true, true
      if count == 2 then
        break
      end
    end
    nginx:stop()
    local one = next(drawn)
    assert.equal(2, count)
    assert.truthy(next(drawn, one), one)
  end)
end)

-- nginx resolves a name within resolver_timeout, 30 s by default, whatever a socket's timeouts are.
describe("in nginx, when no name server responds,", function()
  local silent, nginx

  setup(function()
    silent = assert(socket.udp())
    assert(silent:setsockname("127.0.0.1", 0))
    nginx = server.start { conf = ("resolver 127.0.0.1:%s;"):format((select(2, silent:getsockname()))) }
  end)
  teardown(function()
    nginx:stop()
    silent:close()
  end)

  for _, phase in ipairs { "rewrite", "access", "content", "timer" } do
    it("a call ends in its time: " .. phase, function()
      local began = socket.gettime()
      local none, err = nginx:run(phase, client(phase, "api_key = 'k-key', base_url = 'https://nowhere.test', "
        .. "timeout = 0.4, max_attempts = 2") .. "return cards:create('1')")
      assert.is_nil(none)
      assert.equal("timeout", err.kind)
      assert.equal("no", err.sent)
      assert.truthy(err.message:find("nowhere.test", 1, true), err.message)
      assert.truthy(err.message:find("resolver ADDRESS ipv6=off", 1, true), err.message)
      assert.truthy(socket.gettime() - began < 5)
    end)
  end

  it("a call ends in its time though connections are kept, if they are too few", function()
    local pipe = assert(io.popen(("echo $$ && exec %s spec/nginx/dns.lua"):format(interpreter)))
    local names = { pid = pipe:read("*l"), port = pipe:read("*l") }
    local upstream = assert(sandbox.start { tls = true, cards = { { value = "1" } } })
    local site = server.start { conf = ("resolver 127.0.0.1:%s ipv6=off valid=1s; lua_socket_pool_size 1; "
      .. "lua_ssl_trusted_certificate %s;"):format(names.port, upstream.ca_file) }
    finally(function()
      site:stop()
      upstream:stop()
      os.execute("kill -KILL " .. names.pid)
      pipe:close()
    end)
    upstream:fault { operation = "find", delay = 0.2, times = math.huge }
    local code = client("named", ("api_key = %q, base_url = %q, timeout = 1.5"):format(upstream.api_key,
      (upstream.url:gsub("127%.0%.0%.1", "localhost")))) .. [[
      local card, err = cards:find("1")
      return card and "found" or err.kind
    ]]
    local function ask_all(count)
      local asked, seen = {}, {}
      for i = 1, count do
        asked[i] = site:ask("content", code)
      end
      for _, connection in ipairs(asked) do
        local what = server.decode(connection:receive("*a"):match("\r\n\r\n(.*)$"))
        connection:close()
        seen[what] = (seen[what] or 0) + 1
      end
      return seen
    end
    assert.same({ found = 15 }, ask_all(15))
    assert.same({ found = 15 }, ask_all(15))
    os.execute("kill -STOP " .. names.pid)
    socket.sleep(2.1) -- nginx's cached address expires: it counts whole seconds, so this may take almost two
    local began = socket.gettime()
    ask_all(1) -- the first of them finds the kept connection
    local seen = ask_all(15)
    assert.truthy(socket.gettime() - began < 1.5 * 2 + 1, socket.gettime() - began)
    assert.truthy((seen.timeout or 0) >= 1, seen.found)
  end)

  it("a thread that is killed in a call leaves nothing behind that its request waits for", function()
    local began = socket.gettime()
    nginx:run("unended", client("killed", "api_key = 'k-key', base_url = 'https://nowhere.test'")
      .. [[
        local thread = ngx.thread.spawn(function() return cards:find("1") end)
        ngx.sleep(0.1)
        assert(ngx.thread.kill(thread))
      ]])
    assert.truthy(socket.gettime() - began < 3)
  end)
end)
