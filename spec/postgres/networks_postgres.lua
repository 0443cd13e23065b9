-- A job in PostgreSQL on which two machines work, each in a network of its own. One is cut off for longer than its
-- lease while its requests are under way, and comes back. What the system still holds of them must not arrive then.
--
-- LEAT_STORM=20000 tries all operations, and cuts each machine off several times; by default it is one, once.
local forks = require("forks")
local sandbox = require("leat.sandbox")
local socket = require("socket")
local networks = dofile("spec/postgres/networks.lua")
local read = dofile("spec/support/read.lua")
local script = dofile("spec/support/script.lua")
local servers = dofile("spec/postgres/server.lua")
local teams = dofile("spec/postgres/team.lua")

local shell, signal, wait_until = teams.shell, teams.signal, teams.wait_until

local STORM = tonumber(os.getenv("LEAT_STORM"))
local CUTS = STORM and 6 or 1
local ROWS = 60 + (STORM and 320 or 160) * CUTS
local LEASE, TIMEOUT, SETTLE = 2, 1.5, 1.8 -- seconds; requests arrive within their timeout, and the job waits for them
local AWAY = LEASE + SETTLE + 1.5 -- the others have sent the rows again by then
local RESEND = 7 -- seconds after a cut in which the system would send again what was not received

describe("machines with networks of their own", function()
  local network, proxy

  setup(function() network = networks.new(2) end)
  teardown(function()
    if network then
      network:remove()
    end
  end)
  after_each(function()
    if proxy then
      signal("KILL", proxy)
    end
    proxy = nil
  end)

  -- Calls a function on the server.
  local function on_server(f)
    forks.in_network(network.server.pid, f)
  end

  -- The service listens on the loopback interface only. Returns its address for the machines, at which a proxy listens.
  local function publish(service)
    local path, port = os.tmpname(), service.url:match("127%.0%.0%.1:(%d+)")
    proxy = shell("{ exec %s %s spec/postgres/proxy_program.lua %s 127.0.0.1 %s %s >/dev/null 2>&1 & echo $!; }",
      network.server.prefix, teams.interpreter, network.host, port, path):match("%d+")
    local public = wait_until(function() return read(path):match("^(%d+)\n") end)
    os.remove(path)
    return (service.url:gsub("127%.0%.0%.1:%d+", ("%s:%s"):format(network.host, public)))
  end

  it("leave no link and no address in the system's network", function()
    local text = shell("ip -o link show; ip -o addr show")
    assert.is_nil(text:find("10%.77%.") or text:find("link%d"))
  end)

  it("deliver no request that has timed out, when the network is back", function()
    local service
    on_server(function() service = assert(sandbox.start { contacts = { { uuid = "u-1" } },
      cards = { { value = "1", contact_uuid = "u-1" } } }) end)
    local output = script.run(([[
      local client = require("leat").new { api_key = "sandbox", base_url = %q, allow_http = true, timeout = 1,
        max_attempts = 1 }
      local cards = client.contact_identifiers
      assert(cards:find("1"))
      assert(os.execute("unset LD_PRELOAD; %s ip link set link1 down"))
      print(select(2, cards:unlink("1")).kind)
      client:close()
    ]]):format(publish(service), network.server.prefix), network[1].prefix)
    network:reconnect(1)
    socket.sleep(3)
    service:stop()
    assert.equal("timeout\n", output)
    assert.equal(0, #service:requests("unlink"))
  end)

  describe("that work on a job", function()
    local server, team

    -- The server drops the connections of machines that are cut off: soon it would accept no others.
    setup(function()
      server = servers.start { host = network.host, prefix = network.server.prefix, settings = "-c fsync=off "
        .. "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2" }
    end)
    teardown(function()
      if server then
        server:remove()
      end
    end)
    after_each(function() team:close() end)

    local function begin(operation)
      team = teams.new(server, operation, ROWS, { proxied = publish, address = server:address("test", network.host),
        inside = on_server })
      local workers = {}
      for i = 1, 4 do
        workers[i] = team:start(("rate=20 lease=%g settle=%g timeout=%g"):format(LEASE, SETTLE, TIMEOUT),
          { prefix = network[i % 2 + 1].prefix })
      end
      team:wait_for_workers(4)
      return workers
    end

    -- Cuts a machine off while it works, and connects it again. Does nothing once few rows are left, which might be
    -- done before.
    local function cut(i)
      local done = team.job:refresh().done
      if ROWS - done < 60 then
        return
      end
      team:wait_for_rows(done + 20)
      network:cut(i)
      socket.sleep(AWAY)
      network:reconnect(i)
      socket.sleep(1)
    end

    for _, operation in ipairs(STORM and teams.operations or { "unlink" }) do
      it("does each row once if one is cut off and comes back: " .. operation, function()
        local workers = begin(operation)
        for i = 1, CUTS do
          cut(i % 2 + 1)
        end
        local cut_at = socket.gettime() - AWAY - 1
        local outputs = team:wait((table.unpack or unpack)(workers)) -- luacheck: ignore
        socket.sleep(math.max(0, cut_at + RESEND - socket.gettime()))
        assert.equal(1, teams.count_last(outputs))
        team:retry_poisoned(STORM and 5 or 0, { prefix = network[1].prefix })
        assert.is_nil(team:find_fault(true))
        assert.is_true(team:count_takeovers() > 0)
      end)
    end
  end)
end)
