-- Measures, from outside, how long a worker delays other requests while a hundred slow calls are under
-- way in it. The same measurement must detect a client that does block.
local sandbox = require("leat.sandbox")
local server = dofile("spec/nginx/server.lua")
local socket = require("socket")

local SLOW, IN_FLIGHT, ROUNDS = 1, 100, 8
local MOST_MORE = 0.005 -- seconds, in the best of ROUNDS, because the machine may do other work

describe("in nginx, time:", function()
  local upstream, nginx

  setup(function()
    upstream = assert(sandbox.start { cards = { { value = "1" } } })
    upstream:fault { operation = "find", delay = SLOW, times = math.huge }
    nginx = server.start()
  end)
  teardown(function()
    nginx:stop()
    upstream:stop()
  end)

  local function find(name, driver)
    return ([[
      local client = app.client(%q, function()
        return { api_key = "sandbox", base_url = %q, timeout = 20, driver = %s }
      end)
      return client.contact_identifiers:find("1").value
    ]]):format(name, upstream.url, driver)
  end

  -- Sends pings one after the other for that many seconds; returns the 99th percentile of their times.
  local function p99(seconds)
    local took, over = {}, socket.gettime() + seconds
    repeat
      local began = socket.gettime()
      assert.equal("pong", nginx:get("ping"))
      took[#took + 1] = socket.gettime() - began
      socket.sleep(0.001)
    until socket.gettime() > over
    table.sort(took)
    return took[math.ceil(#took * 0.99)]
  end

  local function ask(count, code)
    local before, asked = #upstream:requests("find"), {}
    for i = 1, count do
      asked[i] = nginx:ask("content", code)
    end
    local due = socket.gettime() + 20
    repeat
      socket.sleep(0.001)
      assert.is_true(socket.gettime() < due, "the calls were not made")
    until #upstream:requests("find") == before + count
    return asked
  end

  local function take(asked)
    for _, connection in ipairs(asked) do
      assert.equal("1", server.decode(connection:receive("*a"):match("\r\n\r\n(.*)$")))
      connection:close()
    end
  end

  -- Measures the pings while that many calls wait; all pings fall within the calls' time.
  local function p99_beside(count, code)
    local asked = ask(count, code)
    local figure = p99(SLOW * 0.6)
    take(asked)
    return figure
  end

  it("a ping waits for none of a hundred slow calls; for a blocking one it waits", function()
    local best
    for round = 1, ROUNDS do
      local idle, busy = p99(SLOW * 0.6), p99_beside(IN_FLIGHT, find("leat", "nil"))
      print(("\n  p99 of pings: %.2f ms idle, %.2f ms beside %d calls (round %d)"):format(idle * 1e3, busy * 1e3,
        IN_FLIGHT, round))
      best = math.min(best or math.huge, busy - idle)
      if best <= MOST_MORE then
        break
      end
    end
    assert.truthy(best <= MOST_MORE, best)

    local blocked = p99_beside(1, find("blocking", "require('leat.curl').new()"))
    print(("  p99 of pings: %.0f ms beside one call that blocks"):format(blocked * 1e3))
    assert.truthy(blocked > SLOW / 2, blocked)
  end)

  it("in a worker that was busy before, a call has its whole time", function()
    local one, other -- each is a new server, so there is no connection to reuse
    local code = "local card, err\n"
    for _ = 1, 2 do -- before the second call, nginx has not updated its clock
      one, other = assert(sandbox.start { cards = { { value = "1" } } }), one
      one:fault { operation = "find", delay = 0.1 }
      code = code .. ([[
        local over = os.clock() + 1.2
        repeat until os.clock() > over
        local client = leat.new { api_key = "sandbox", base_url = %q, timeout = 1, max_attempts = 1 }
        card, err = client.contact_identifiers:find("1")
        if not card then return card, err end
      ]]):format(one.url)
    end
    local card, err = nginx:run("content", "local leat = require('leat')\n" .. code .. "return card")
    one:stop()
    other:stop()
    assert.equal("1", card and card.value, err and err.text)
  end)

  it("the time of sending counts towards the deadline of the response", function()
    local _, err = nginx:run("content", ([[
      local tcp = ngx.socket.tcp
      ngx.socket.tcp = function()
        local made = tcp()
        local send = made.send
        made.send = function(...)
          ngx.sleep(0.6)
          return send(...)
        end
        return made
      end
      local client = require("leat").new { api_key = "sandbox", base_url = %q, timeout = %f, max_attempts = 1 }
      local card, err = client.contact_identifiers:find("1")
      ngx.socket.tcp = tcp
      return card, err
    ]]):format(upstream.url, SLOW + 0.3))
    assert.equal("timeout", err and err.kind)
  end)
end)
