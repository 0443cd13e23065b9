-- Tasks, clients and drivers end in any order with calls under way. Nothing is used after it was freed
-- and nothing leaks (sanitizers and valgrind check that), and other calls are not affected.
--    LEAT_LIVES=500 LEAT_SEED=7 lua5.4 spec/run.lua spec/teardown_spec.lua
local leat = require("leat")
local sandbox = require("leat.sandbox")
local tasks = require("leat.tasks")
local script = dofile("spec/support/script.lua")

local LIVES = tonumber(os.getenv("LEAT_LIVES") or 60)
local SEED = tonumber(os.getenv("LEAT_SEED") or 4711)

local chance = SEED
local function draw(n) -- draws the same numbers on every Lua
  chance = (chance * 16807) % 2147483647
  return chance % n + 1
end

describe("in any order", function()
  local server, witness
  setup(function()
    server = assert(sandbox.start { cards = { { value = "1" } } })
    server:fault { operation = "find", delay = 0.01, times = math.huge }
    witness = leat.new { api_key = server.api_key, base_url = server.url }
  end)
  teardown(function()
    witness:close()
    server:stop()
  end)

  local function connect()
    return leat.new { api_key = server.api_key, base_url = server.url, max_connections = draw(3), retry_base = 0.001 }
  end

  -- The things that a task may do.
  local ways = {
    function(client) return client.contact_identifiers:find("1") end,
    function(client) return client.contact_identifiers:find("1") and client.contact_identifiers:find("none") end,
    function(client) client.contact_identifiers:find("1") error("mine") end,
    function(client) client.contact_identifiers:find("1") client:close() end,
    function(client) client.contact_identifiers:find("1") tasks.current():cancel() end,
    function() coroutine.yield("nobody knows why") end,
    function(client) return coroutine.wrap(function() return client.contact_identifiers:find("1") end)() end,
    function(client)
      return tasks.map({ "1", "none", "1" }, function(value) return client.contact_identifiers:find(value) end,
        { concurrency = 2 })
    end,
    function(client) return tasks.spawn(function() return client.contact_identifiers:find("1") end):wait() end,
  }

  -- The things that happen to the tasks meanwhile.
  local events = {
    function() pcall(tasks.poll) end,
    function() pcall(tasks.poll, 0.005) end,
    function(life) life.tasks[#life.tasks + 1] = tasks.spawn(ways[draw(#ways)], life.clients[draw(#life.clients)]) end,
    function(life) life.clients[#life.clients + 1] = connect() end,
    function(life) life.clients[draw(#life.clients)]:close() end,
    function(life) table.remove(life.tasks, 1) end,
    function(life)
      if life.tasks[1] then
        life.tasks[draw(#life.tasks)]:cancel()
      end
    end,
    function() collectgarbage() end,
    function(life) life.clients = { connect() } collectgarbage() end,
    function(life) pcall(function() return life.clients[draw(#life.clients)].contact_identifiers:find("1") end) end,
  }

  it("tasks, clients and drivers end", function()
    for _ = 1, LIVES do
      local life = { clients = { connect() }, tasks = {} }
      for _ = 1, draw(12) do
        -- using a closed client raises an error
        pcall(events[draw(#events)], life)
      end
      if draw(3) == 1 then
        tasks.cancel()
      end
      life = nil -- luacheck: ignore
      collectgarbage()
      for _ = 1, 20 do
        if pcall(tasks.run) then
          break
        end
      end
      tasks.cancel()
      while not pcall(tasks.poll) do end
      assert.equal(0, tasks.poll())
      assert.equal("1", leat.assert(witness.contact_identifiers:find("1")).value)
    end
  end)

  for _, way in ipairs { "the end of the script", "os.exit(true, true)", "error('mine')" } do
    it("with calls under way comes " .. way, function()
      server:clear_faults()
      server:fault { operation = "find", delay = 1, times = math.huge }
      local output = script.run(([[
        local leat, tasks = require("leat"), require("leat.tasks")
        local client = leat.new { api_key = %q, base_url = %q, max_connections = 2 }
        for _ = 1, 5 do
          tasks.spawn(function() client.contact_identifiers:find("1") print("no") end)
        end
        tasks.poll(0.005)
        print("well")
        %s
      ]]):format(server.api_key, server.url, way:find("(", 1, true) and way or ""))
      assert.truthy(output:find("well\n", 1, true), output)
      assert.is_nil(output:find("no\n", 1, true))
      assert.is_nil(output:find("Sanitizer", 1, true), output)
    end)
  end
end)
