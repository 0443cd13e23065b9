-- Two machines, each an nginx with two workers, share one rate through Redis: while it is there, is killed, hangs,
-- refuses them, and comes back.
-- LEAT_FLEET_SECONDS: how long each state of Redis is measured; by default 2. From 15 on, the rate must be exact.
local redis_servers = dofile("spec/nginx/redis.lua")
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")
local server = dofile("spec/nginx/server.lua")
local socket = require("socket")
local write = dofile("spec/support/write.lua")

local SECONDS = tonumber(os.getenv("LEAT_FLEET_SECONDS") or 2)
local RATE, WORKERS, CALLERS = 20, 2, 6

describe("machines with nginx that share a rate through Redis", function()
  local upstream, redis, one, two

  setup(function()
    upstream = assert(sandbox.start { api_key = secrets.key, cards = { { value = "of-ann" } } })
    redis = redis_servers.start()
    local conf = "lua_shared_dict leat 1m; lua_check_client_abort on;"
    one, two = server.start { workers = WORKERS, conf = conf }, server.start { workers = WORKERS, conf = conf }
  end)
  teardown(function()
    one:stop()
    two:stop()
    redis:remove()
    upstream:stop()
  end)
  before_each(function()
    upstream:reset()
    upstream:clear_faults()
    redis:command("flushall")
    redis:command("client kill type normal") -- they were kept with other passwords
    redis:command("config resetstat")
    for _, machine in ipairs { one, two } do
      machine:run("content", "ngx.shared.leat:flush_all()")
    end
  end)

  -- Returns code that makes a client, which each worker keeps under that name.
  local function client(name, fleet, more)
    return ([[
      local client = app.client(%q, function()
        return { api_key = %q, base_url = %q, shared = "leat", rate = %d, queue_timeout = 20, %s
          fleet = { machines = 2, %s } }
      end)
      local cards = client.contact_identifiers
    ]]):format(name, secrets.key, upstream.url, RATE, more or "", fleet)
  end
  -- Returns options that lead to the server. It has more time than usual, because this machine may be busy.
  local function at_redis(more)
    return ("host = '127.0.0.1', port = %d, timeout = 2, %s"):format(redis.port, more or "")
  end
  local function with_password(more)
    return at_redis(("password = %q, %s"):format(redis.password, more or ""))
  end
  local find = "local card, err = cards:find('of-ann') return card and card.value or tostring(err)"

  local function wait_until(condition, ...)
    local due = socket.gettime() + 60
    while not condition(...) do
      assert.truthy(socket.gettime() < due, "waited for too long")
      socket.sleep(0.02)
    end
  end

  -- Returns how often the log of a machine has a text.
  local function logged(machine, text)
    return select(2, machine:log():gsub(text, "%0"))
  end
  local away, back = "leat: the rate of 2 machines is not shared, because Redis", "leat: Redis %(.-%) is back"

  -- Sends requests that run the code at once, and returns their results.
  local function ask_all(machine, count, code)
    local asked, results = {}, {}
    for i = 1, count do
      asked[i] = machine:ask("content", code)
    end
    for i, connection in ipairs(asked) do
      results[i] = server.decode(connection:receive("*a"):match("\r\n\r\n(.*)$"))
      connection:close()
    end
    return results
  end
  local function find_all(machine, count, code)
    for _, value in ipairs(ask_all(machine, count, code .. find)) do
      assert.equal("of-ann", value)
    end
  end

  -- Returns the times at which finds arrived, in order.
  local function arrivals()
    local times = {}
    for i, request in ipairs(upstream:requests("find")) do
      times[i] = request.time
    end
    table.sort(times)
    return times
  end
  local function span()
    local times = arrivals()
    return times[#times] - times[1]
  end

  describe("at any time", function()
    local callers

    -- Starts callers that find cards one after the other, until `stop`.
    local function start(code)
      callers = {}
      for i = 1, 2 * CALLERS do
        callers[i] = (i % 2 == 0 and one or two):ask("content", code .. [[
          repeat
            local card, err = cards:find("of-ann")
            if not card then return tostring(err) end
          until ngx.shared.leat:get("stop")
          return "fine"
        ]])
        callers[i]:settimeout(600)
      end
    end
    local function stop()
      for _, machine in ipairs { one, two } do
        machine:run("content", "ngx.shared.leat:set('stop', true)")
      end
      local results = {}
      for i, connection in ipairs(callers) do
        results[i] = server.decode(connection:receive("*a"):match("\r\n\r\n(.*)$"))
        connection:close()
      end
      callers = {}
      for _, result in ipairs(results) do
        assert.equal("fine", result)
      end
    end
    after_each(function()
      redis:signal("CONT")
      if not redis:is_alive() then
        redis:restart()
      end
      stop()
    end)

    -- Measures the requests per second that arrive from now on, for a while. Returns how many arrived. A busy machine
    -- may lose slots, so without much time only the upper limit is checked.
    local function check(state)
      local first = #upstream:requests("find")
      socket.sleep(SECONDS)
      local times = arrivals()
      local count = #times - first
      local rate = count > 1 and (count - 1) / (times[#times] - times[first + 1]) or 0
      if SECONDS >= 15 then
        print(("%-8s %6.2f requests/s"):format(state, rate))
        assert.truthy(math.abs(rate / RATE - 1) <= 0.02, ("%s: %g requests/s"):format(state, rate))
      end
      assert.truthy(rate <= RATE * 1.3, ("%s: %g requests/s"):format(state, rate))
      return count
    end

    local function wait_for_log(text, count)
      wait_until(function() return logged(one, text) >= count and logged(two, text) >= count end)
    end

    it("send no more than the rate, all together, and no call fails", function()
      start(client("always", with_password("timeout = 0.5,")))
      wait_until(function() return #upstream:requests("find") > CALLERS end)
      local evals = redis:count("eval")
      local count = check("there")
      assert.truthy(redis:count("eval") - evals >= count - 2 * CALLERS) -- some had their slots before
      redis:kill()
      wait_for_log(away, 1)
      check("killed")
      redis:restart()
      wait_for_log(back, 1)
      check("back")
      redis:signal("STOP")
      wait_for_log(away, 2)
      check("hangs")
      redis:signal("CONT")
      wait_for_log(back, 2)
      check("back")
      stop()
      local times = arrivals()
      local most = RATE * (times[#times] - times[1] + 0.3)
      assert.truthy(#times - 1 <= most, ("%d arrived, and %g may"):format(#times - 1, most))
      for _, machine in ipairs { one, two } do
        assert.equal(logged(machine, away), logged(machine, back))
      end
    end)
  end)

  it("take slots that follow each other at the interval of the rate", function()
    local code, asked = client("slots", with_password()), {}
    local stop = redis:monitor()
    for i = 1, 40 do
      asked[i] = (i % 2 == 0 and one or two):ask("content", code .. find)
    end
    for _, connection in ipairs(asked) do
      connection:receive("*a")
      connection:close()
    end
    local before, count = nil, 0
    for at, set in stop():gmatch('"SET" "leat:%S+" "(%d+) (%d+)"') do
      if before then
        assert.equal(1000000 / RATE, at - math.max(before, set))
      end
      before, count = at, count + 1
    end
    assert.truthy(count >= 40, count)
    assert.truthy(span() >= 39 / RATE - 0.1, span())
  end)

  it("send their part of the rate without Redis", function()
    find_all(one, 20, client("part", "host = '127.0.0.1', port = 1"))
    assert.truthy(span() >= 19 / (RATE / 2) - 0.1, span())
  end)

  it("send no more after Redis lost the slots that they wait for", function()
    local code, asked = client("lost", with_password()), {}
    for i = 1, 20 do
      asked[i] = one:ask("content", code .. find)
    end
    wait_until(function() return redis:count("eval") >= 20 end)
    redis:command("flushall")
    find_all(one, 10, code)
    for _, connection in ipairs(asked) do
      connection:receive("*a")
      connection:close()
    end
    assert.truthy(span() >= 29 / RATE - 0.1, span())
  end)

  it("don't care whether the clock of Redis was set back, or what is there", function()
    local code = client("clock", with_password())
    find_all(one, 1, code)
    local key = redis:command("keys '*'")
    local hour = os.time() + 3600
    redis:command("set '%s' '%d500000 %d000000'", key, hour, hour) -- the next slot was half a second away
    find_all(two, 1, code)
    assert.truthy(span() >= 0.3, span())
    for _, rubbish in ipairs { "x", "-1 1", "1", "" } do
      redis:command("set '%s' '%s'", key, rubbish)
      find_all(two, 1, code)
    end
    redis:command("eval 'redis.call(\"del\", KEYS[1]) return redis.call(\"hset\", KEYS[1], 1, 1)' 1 '%s'", key)
    find_all(two, 1, code)
    assert.equal(1, logged(two, away .. " %(127.0.0.1:%d+%) is away: WRONGTYPE"))
  end)

  it("don't care what is in the dict", function()
    local code = client("rubbish", with_password())
    find_all(one, 4, code)
    local account = redis:command("keys '*'"):match("{(.*)}")
    for _, rubbish in ipairs { "'x'", "true", "42", "0/0", "1/0", "'nan'", "-1e300", "'99999999999999'", "-1" } do
      one:run("content", ([[
        local rubbish = %s
        for _, name in ipairs { "next", "failures", "resting" } do
          ngx.shared.leat:set("leat %s " .. name, rubbish, 0, 3)
        end
      ]]):format(rubbish, account))
      local evals = redis:count("eval")
      find_all(one, 4, code)
      assert.truthy(redis:count("eval") > evals)
    end
  end)

  it("leave Redis alone between two tries, one call of which is enough", function()
    local code = client("tries", with_password())
    find_all(one, 1, code)
    local account, evals = redis:command("keys '*'"):match("{(.*)}"), redis:count("eval")
    one:run("content", ([[
      ngx.shared.leat:set("leat %s failures", 3)
      ngx.shared.leat:set("leat %s resting", "", 9)
    ]]):format(account, account))
    local before = logged(one, back)
    find_all(one, 6, code)
    assert.equal(evals, redis:count("eval"))
    one:run("content", ("ngx.shared.leat:delete('leat %s resting')"):format(account))
    find_all(one, 1, code)
    assert.truthy(redis:count("eval") > evals)
    assert.equal(1, logged(one, back) - before)
  end)

  describe("whose Redis can't be used", function()
    local function check(name, fleet, reason)
      one:run("content", "ngx.shared.leat:flush_all()")
      local before = logged(one, away)
      find_all(one, 4, client(name, fleet))
      assert.equal(1, logged(one, away) - before)
      assert.equal(1, logged(one, reason))
    end

    it("send their part: it is a replica", function()
      redis:command("replicaof 127.0.0.1 1")
      finally(function() redis:command("replicaof no one") end)
      check("replica", with_password(), "is away: READONLY")
      redis:command("replicaof no one")
      local before = logged(one, back)
      wait_until(function()
        find_all(one, 1, client("replica", with_password()))
        return logged(one, back) > before
      end)
    end)

    it("send their part: it refuses them", function()
      redis:command("acl setuser few on '>%s' '~other:*' +@all", redis.password)
      check("wrong", at_redis("password = 'wrong-password'"), "is away: the login was refused %(WRONGPASS%)")
      check("no", at_redis(), "is away: NOAUTH")
      check("few", with_password("user = 'few',"), "is away: NOPERM")
      assert.equal(0, logged(one, "wrong%-password"))
    end)

    it("may log in as a user with few rights, once for a connection", function()
      local stop = redis:monitor()
      find_all(one, 20, client("user", with_password("user = 'leat',")))
      local text = stop()
      assert.truthy(select(2, text:gsub('"eval"', "")) >= 20)
      local logins = select(2, text:gsub('"auth"', ""))
      assert.truthy(logins >= 1 and logins <= WORKERS, logins)
    end)
  end)

  describe("whose Redis is odd", function()
    local listener, fleet

    before_each(function()
      listener = assert(socket.bind("127.0.0.1", 0))
      listener:settimeout(20)
      fleet = ("host = '127.0.0.1', port = %d, timeout = 8"):format(select(2, listener:getsockname()))
    end)
    after_each(function() listener:close() end)

    -- Receives a command, and returns its words.
    local function receive(connection)
      local words = {}
      for i = 1, tonumber(connection:receive("*l"):match("^%*(%d+)$")) do
        local length = tonumber(connection:receive("*l"):match("^%$(%d+)$"))
        words[i] = connection:receive(length)
        connection:receive("*l")
      end
      return words
    end
    -- Finds a card while the server responds with these texts, one for each command. Returns the last command.
    local function find_with(name, options, ...)
      local asked, words = one:ask("content", client(name, options) .. find), nil
      local connection = assert(listener:accept())
      connection:settimeout(20)
      for _, reply in ipairs { ... } do
        words = receive(connection)
        connection:send(reply)
      end
      connection:close()
      assert.equal("of-ann", server.decode(asked:receive("*a"):match("\r\n\r\n(.*)$")))
      asked:close()
      return words
    end
    local function nobody_connects()
      listener:settimeout(0.3)
      assert.is_nil(listener:accept())
      listener:settimeout(20)
    end

    it("ask it once for a slot, also if the response is lost", function()
      for name, reply in pairs { none = "", part = ":1", more = "$5\r\nab" } do
        local words = find_with("lost " .. name, fleet, reply)
        assert.equal("eval", words[1]:lower())
        nobody_connects()
        one:run("content", "ngx.shared.leat:flush_all()")
      end
    end)

    it("send their part after a response that makes no sense", function()
      for i, reply in ipairs { "-LOADING Redis is loading the dataset", "-MOVED 1 10.0.0.1:6379", "+OK", "$-1", "*0",
        "!" } do
        find_with("odd " .. i, fleet, reply .. "\r\n")
        nobody_connects()
        one:run("content", "ngx.shared.leat:flush_all()")
      end
      assert.equal(1, logged(one, "is away: LOADING Redis is loading"))
      assert.equal(1, logged(one, "is away: MOVED"))
    end)

    it("don't log a password that it repeats", function()
      find_with("echo", fleet .. ", user = 'ann', password = 'pass-to-repeat'",
        "-ERR unknown command `auth`, with args beginning with: `ann`, `pass-to-repeat`\r\n")
      assert.equal(1, logged(one, "the login was refused %(ERR%)"))
      assert.equal(0, logged(one, "pass%-to%-repeat"))
    end)
  end)

  it("wait no longer for Redis than the timeout: its host has no address, or `connect` hangs", function()
    local nameserver = socket.udp()
    nameserver:setsockname("127.0.0.1", 0)
    local third = server.start { conf = ("lua_shared_dict leat 1m; resolver 127.0.0.1:%d ipv6=off;"):format(
      select(2, nameserver:getsockname())) }
    finally(function()
      third:stop()
      nameserver:close()
    end)
    for name, fleet in pairs { host = "host = 'redis.test'", connect = "connect = function() ngx.sleep(30) end" } do
      local began = socket.gettime()
      find_all(third, 5, client(name, fleet))
      assert.truthy(socket.gettime() - began < 10)
      third:run("content", "ngx.shared.leat:flush_all()")
    end
    assert.equal(2, logged(third, "is away: timeout"))
  end)

  it("go on though a call was given up while it asked Redis", function()
    local code = client("abandoned", with_password("timeout = 0.5,"))
    find_all(one, 4, code)
    redis:signal("STOP")
    finally(function() redis:signal("CONT") end)
    local abandoned = one:ask("content", code .. find)
    socket.sleep(0.1)
    abandoned:close()
    local began = socket.gettime()
    find_all(one, 6, code)
    assert.truthy(socket.gettime() - began < 10)
  end)

  for kind, seconds in pairs { rate_limited = 2, maintenance = 2 } do
    it("pause together when one of them is asked to wait: " .. kind, function()
      upstream:fault { operation = "find", kind = kind, retry_after = seconds }
      local once = client("paused " .. kind, with_password())
        .. "cards = client:with { max_attempts = 1 }.contact_identifiers\n"
      local _, err = one:run("content", once .. "return cards:find('of-ann')")
      assert.equal(kind, err.kind)

      local hasty = client("hasty " .. kind, with_password(), "queue_timeout = 0.5,") .. [[
        local card, err = cards:find("of-ann")
        return err and { err.kind, err.sent }
      ]]
      assert.same({ "timeout", "no" }, (two:run("content", hasty)))
      local evals = redis:count("eval")
      for _, refused in ipairs(ask_all(two, 20, hasty)) do
        assert.same({ "timeout", "no" }, refused)
      end
      assert.equal(evals, redis:count("eval"))

      find_all(two, 1, once)
      assert.truthy(span() >= seconds - 0.05 and span() < seconds + 10, span())
      assert.equal(2, #upstream:requests("find"))
    end)
  end

  it("send Redis few commands however many calls are refused", function()
    local code = client("flood", with_password(), "queue_timeout = 0.5,") .. [[
      repeat
        local card, err = cards:find("of-ann")
        if err and err.kind ~= "timeout" then return tostring(err) end
        local refused = ngx.shared.leat:incr("refused", card and 0 or 1, 0)
        ngx.sleep(card and 0 or 0.001)
      until refused >= 1000
      return "fine"
    ]]
    local began, asked = socket.gettime(), {}
    for i = 1, 30 do -- ten of them can wait for slots
      asked[i] = (i % 2 == 0 and one or two):ask("content", code)
    end
    for _, connection in ipairs(asked) do
      assert.equal("fine", (server.decode(connection:receive("*a"):match("\r\n\r\n(.*)$"))))
      connection:close()
    end
    local most = math.floor(4 * RATE * (socket.gettime() - began + 1))
    assert.truthy(redis:count("eval") < most, ("%d requests, and not %d"):format(redis:count("eval"), most))
  end)

  it("send Redis few commands however many calls begin at once", function()
    local began, sent = socket.gettime(), 0
    local results = ask_all(one, 200, client("burst", with_password(), "queue_timeout = 0.5,")
      .. "local card, err = cards:find('of-ann') return card and 'sent' or err.kind")
    local most = math.floor(2 * RATE * (socket.gettime() - began + 0.5)) + WORKERS
    for _, what in ipairs(results) do
      assert.truthy(what == "sent" or what == "timeout", what)
      sent = sent + (what == "sent" and 1 or 0)
    end
    assert.truthy(sent > 0)
    assert.truthy(redis:count("eval") <= most, ("%d requests, and not %d"):format(redis:count("eval"), most))
  end)

  it("show Redis neither keys nor cards", function()
    local stop = redis:monitor()
    local code = client("secret", with_password())
    find_all(one, 4, code)
    find_all(two, 4, client("secret too", with_password("user = 'leat',")))
    local text = stop()
    assert.truthy(text:find("leat:{", 1, true))
    for _, secret in ipairs { secrets.key, "of-ann", upstream.url, redis.password } do
      assert.is_nil(text:find(secret, 1, true))
    end
    assert.matches("^leat:{[%w+/=]+}:slot$", redis:command("keys '*'"))
  end)

  describe("with a function that connects", function()
    -- Returns code for the option: `body` has the options of with_password as `to`.
    local function connect(body)
      return ("connect = function() local to = { %s } %s end"):format(with_password(), body)
    end

    it("use what it returns", function()
      find_all(one, 10, client("connect", connect [[
        local fine, library = pcall(require, "resty.redis")
        local redis = (fine and library or require("nginx.redis")):new()
        assert(redis:connect(to.host, to.port))
        assert(redis:get_reused_times() > 0 or redis:auth(to.password))
        return {
          eval = function(_, ...) return redis:eval(...) end,
          set_keepalive = function(_, ...) return redis:set_keepalive(...) end,
          close = function() return redis:close() end,
        }
      ]]))
      assert.truthy(redis:count("eval") >= 10)
      assert.truthy(redis:command("client list"):find("cmd=eval", 1, true)) -- the connection is kept
    end)

    it("send their part if it fails", function()
      for body, reason in pairs { ["return nil, 'no master'"] = "no master", ["error('no luck')"] = "no luck",
        ["return {}"] = "connect returned no client",
        ["return { eval = function() return nil, 'gone' end, close = function() end }"] = "gone" } do
        find_all(one, 2, client(body, connect(body)))
        assert.equal(1, logged(one, "Redis %(fleet.connect%) is away: [^\n]*" .. reason))
        one:run("content", "ngx.shared.leat:flush_all()")
      end
    end)
  end)

  it("say what is wrong with the options", function()
    local given = "local options, loaded = { api_key = 'k', shared = 'leat', rate = 1 }, package.loaded "
    local to = "host = '127.0.0.1'"
    for code, why in pairs {
      ["options.shared, options.fleet = nil, { machines = 2, " .. to .. " }"] = "fleet needs shared",
      ["options.rate, options.fleet = nil, { machines = 2, " .. to .. " }"] = "fleet needs rate",
      ["options.fleet = { " .. to .. " }"] = "fleet: machines is missing",
      ["options.fleet = { machines = 1.5, " .. to .. " }"] = "fleet: machines must be a whole number",
      ["options.fleet = { machines = 0, " .. to .. " }"] = "fleet: machines must be a whole number greater than 0",
      ["options.fleet = { machines = 2 }"] = "fleet: host is missing",
      ["options.fleet = { machine = 2 }"] = "fleet: option 'machine' is unknown: did you mean 'machines'?",
      ["options.fleet = { machines = 2, user = 'u', " .. to .. " }"] = "fleet: password is missing",
      ["options.fleet = { machines = 2, connect = print, port = 1 }"] = "fleet: port is for connections of our own",
      ["options.fleet = { machines = 2, tls = true, " .. to .. " } loaded['resty.redis'] = { _VERSION = '0.27' }"] =
        "fleet: tls is not supported by resty.redis 0.27: give connect",
      ["options.fleet = { machines = 2, " .. to .. " } loaded['resty.redis'], loaded['nginx.redis'] = nil, nil "
        .. "package.path = package.path:match('[^;]*/lua/%?%.lua;')"] = "fleet: there is no client of Redis",
    } do
      local fine, wrong = pcall(one.run, one, "content", given .. ([[
        local path, first, second = package.path, loaded["resty.redis"], loaded["nginx.redis"]
        %s
        local fine, wrong = pcall(app.leat.new, options)
        package.path, loaded["resty.redis"], loaded["nginx.redis"] = path, first, second
        return fine or wrong
      ]]):format(code))
      assert.is_true(fine, wrong)
      assert.truthy(tostring(wrong):find("leat.new: " .. why, 1, true), wrong)
    end
    assert.is_true((one:run("content", given .. [[
      local before = loaded["resty.redis"]
      loaded["resty.redis"] = { _VERSION = "0.28" }
      options.fleet = { machines = 2, tls = true, host = "redis.test" }
      local fine = pcall(app.leat.new, options)
      loaded["resty.redis"] = before
      return fine
    ]])))
    local fine, wrong = pcall(one.run, one, "content",
      "local client = app.leat.new { api_key = 'k', shared = 'leat', rate = 1, fleet = { machines = 0 } }")
    assert.is_false(fine)
    assert.truthy(wrong:find("^code:1: leat.new: fleet: machines"), wrong)
  end)

  it("do what the guide says", function()
    local text
    for _, block in ipairs(dofile("spec/support/markdown.lua").blocks("docs/openresty.md")) do
      text = block.title == "Several machines" and block.text or text
    end
    local file = os.tmpname()
    write(file, redis.password .. "\n")
    text = text:gsub("redis%.example%.org", "127.0.0.1"):gsub("6379", redis.port)
      :gsub("/etc/leat/redis%-password", file)
    local third = server.start { conf = text:match("^(.-)init_by"), init = text:match("init_by_lua_block {(.*)}"),
      environment = ("LEAT_API_KEY='%s' LEAT_BASE_URL='%s'"):format(secrets.key, upstream.url) }
    os.remove(file)
    finally(function() third:stop() end)
    assert.equal("of-ann", (third:run("content", "return cards:find('of-ann').value")))
    assert.equal(1, redis:count("eval"))
  end)

  it("have no password in what they show", function()
    local shown = one:run("content", client("shown", with_password()) .. [[
      local lines = {}
      local function show(value, depth)
        table.insert(lines, tostring(value))
        if type(value) == "table" and depth < 8 then
          for name, inner in pairs(value) do show(name, depth + 1) show(inner, depth + 1) end
        end
      end
      show(client, 0)
      return table.concat(lines, "\n")
    ]])
    assert.truthy(shown:find("leat:{", 1, true))
    assert.is_nil(shown:find(redis.password, 1, true))
    for _, machine in ipairs { one, two } do
      assert.is_nil(machine:log():find(redis.password, 1, true))
    end
  end)
end)
