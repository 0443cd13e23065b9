-- Two machines, each an nginx with two workers, share one rate through Redis: while it is there, is killed, hangs,
-- refuses them, and comes back.
-- LEAT_FLEET_SECONDS: how long each state of Redis is measured; by default 2. From 15 on, the rate must be exact.
local redis_servers = dofile("spec/nginx/redis.lua")
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")
local server = dofile("spec/nginx/server.lua")
local socket = require("socket")

local SECONDS = tonumber(os.getenv("LEAT_FLEET_SECONDS") or 2)
local RATE, WORKERS, CALLERS = 20, 2, 6

describe("machines with nginx that share a rate through Redis", function()
  local upstream, redis, one, two

  setup(function()
    upstream = assert(sandbox.start { api_key = secrets.key, cards = { { value = "card-0042" } } })
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
  -- Returns options that lead to the server; a busy machine gets more time.
  local function with_password(more)
    return ("host = '127.0.0.1', port = %d, password = %q, timeout = 2, %s"):format(redis.port, redis.password,
      more or "")
  end
  local find = "local card, err = cards:find('card-0042') return card and card.value or tostring(err)"

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
      assert.equal("card-0042", value)
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
            local card, err = cards:find("card-0042")
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
      for _, connection in ipairs(callers) do
        local response = connection:receive("*a")
        connection:close()
        assert.equal("fine", (server.decode(response:match("\r\n\r\n(.*)$"))))
      end
    end

    -- Returns the requests per second that arrive from now on, for a while, and how many that are.
    local function measure()
      local first = #upstream:requests("find")
      socket.sleep(SECONDS)
      local times = arrivals()
      local count = #times - first
      return (count - 1) / (times[#times] - times[first + 1]), count
    end
    local function check(state)
      local rate, count = measure()
      if SECONDS >= 15 then
        print(("%-8s %6.2f requests/s"):format(state, rate))
      end
      local most, least = RATE * (SECONDS >= 15 and 1.02 or 1.3), RATE * (SECONDS >= 15 and 0.98 or 0.5)
      assert.truthy(rate <= most and rate >= least, ("%s: %g requests/s"):format(state, rate))
      return count
    end

    local function wait_for_log(text, count)
      wait_until(function() return logged(one, text) >= count and logged(two, text) >= count end)
    end

    it("send no more than the rate, all together, and no call fails", function()
      start(client("always", with_password("timeout = 0.5")))
      finally(function() redis:signal("CONT") end)
      wait_until(function() return #upstream:requests("find") > CALLERS end)
      local evals = redis:count("eval")
      local count = check("there")
      assert.truthy(redis:count("eval") - evals >= count * 0.8)
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
      assert.equal(2, logged(one, away))
      assert.equal(2, logged(two, back))
    end)
  end)

  it("use all of it while the others are idle, and their part of it without Redis", function()
    find_all(one, 40, client("alone", with_password()))
    local took = span()
    assert.truthy(took >= 39 / RATE - 0.1 and took < 39 / RATE * 1.7, took)
    upstream:reset()
    find_all(one, 20, client("part", "host = '127.0.0.1', port = 1"))
    assert.truthy(span() >= 19 / (RATE / 2) - 0.1, span())
  end)
end)
