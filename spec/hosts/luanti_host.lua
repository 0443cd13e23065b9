-- The mod of examples/luanti in a real, headless server: the output of its command, and the length of
-- the ticks meanwhile. Luanti's Lua is LuaJIT.
--    make test-hosts LUA=luajit
if not rawget(_G, "jit") then
  return
end

-- Writes the server's files. minetest.conf names the paths of leat, as a user's would.
local function set_up(dir, port)
  local function write(name, text)
    local file = assert(io.open(dir .. "/" .. name, "w"))
    file:write(text)
    file:close()
  end
  local mods = dir .. "/.minetest/games/leat/mods"
  os.execute(("mkdir -p %s %s/world && cp -r examples/luanti %s/leat_card && cp -r spec/hosts/luanti_test %s"):format(
    mods, dir, mods, mods))
  write(".minetest/games/leat/game.conf", "title = leat\n")
  write("world/world.mt", [[
gameid = leat
backend = dummy
player_backend = sqlite3
auth_backend = sqlite3
mod_storage_backend = sqlite3
]])
  write("minetest.conf", ([[
bind_address = 127.0.0.1
port = %d
mg_name = singlenode
secure.trusted_mods = leat_card, leat_test
leat_card.api_key = luanti-key
leat_card.lua_path = %s
leat_card.lua_cpath = %s
]]):format(port, os.getenv("LUA_PATH"), os.getenv("LUA_CPATH")))
end

local function free_port()
  local socket = assert(require("socket").udp())
  assert(socket:setsockname("127.0.0.1", 0))
  local _, port = socket:getsockname()
  socket:close()
  return port
end

describe("in Luanti", function()
  local sandbox, told

  setup(function()
    sandbox = assert(require("leat.sandbox").start {
      api_key = "luanti-key", contacts = { { uuid = "bob" } }, cards = { { value = "0042" }, { value = "slow" } },
      faults = { { operation = "find", value = "slow", delay = 1, times = math.huge } },
    })
    local pipe = assert(io.popen("mktemp -d"))
    local dir = pipe:read("*l")
    pipe:close()
    set_up(dir, free_port())
    local log = io.popen(([[
      PATH=$PATH:/usr/games
      server=$(command -v luantiserver || command -v minetestserver)
      env -u LUA_PATH -u LUA_CPATH HOME=%s LEAT_BASE_URL=%s timeout 60 $server \
        --gameid leat --world %s/world --config %s/minetest.conf --logfile "" 2>&1
    ]]):format(dir, sandbox.url, dir, dir)):read("*a")
    local file = io.open(dir .. "/world/told")
    told = file and file:read("*a")
    os.execute("rm -r " .. dir)
    assert.truthy(told, log)
    assert.truthy(log:find("[leat_card] ", 1, true) and log:find("value is not UTF-8", 1, true), log)
  end)
  teardown(function() sandbox:stop() end)

  it("a command finds a card, and links it", function()
    local wanted = [[
/card  -> Which card? /card <value> [<contact uuid>]
/card 0042 -> Asking ...
ann: Card 0042 (0042) is linked to nobody.
/card 0042 bob -> Asking ...
ann: Card 0042 (0042) is linked to bob.
/card none -> Asking ...
ann: There is no such card.
]]
    assert.equal(wanted, told:sub(1, #wanted))
    assert.equal("bob", sandbox:card("0042").contact.uuid)
  end)

  it("no tick is longer for twenty calls that take a second", function()
    local idle, busy = told:match(".*ticks ([%d.]+) ([%d.]+)\n") -- the best of a few tries
    assert.truthy(tonumber(busy) <= tonumber(idle) + 0.005, told)
    assert.truthy(#sandbox:requests("find") >= 20)
  end)

  it("with a call that blocks one is", function()
    local idle = told:match("ticks ([%d.]+)")
    assert.truthy(tonumber(told:match("blocking ([%d.]+)")) >= tonumber(idle) + 0.5, told)
  end)
end)
