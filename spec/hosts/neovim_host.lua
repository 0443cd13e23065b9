-- The plugin of examples/neovim in a headless Neovim. Its Lua is LuaJIT.
--    make test-hosts LUA=luajit
if not rawget(_G, "jit") then
  return
end

local DELAY = 0.5

describe("in Neovim", function()
  local output

  setup(function()
    local sandbox = assert(require("leat.sandbox").start {
      contacts = { { uuid = "ann", email = "ann@example.org" } },
      cards = { { value = "0042", name = "Krabby Gold", contact_uuid = "ann" }, { value = "0043" } },
      faults = { { operation = "find", delay = DELAY, times = math.huge } },
    })
    local pipe = assert(io.popen(([[LEAT_API_KEY=%s LEAT_BASE_URL=%s timeout 60 nvim --clean --headless \
      --cmd "set runtimepath+=$PWD/examples/neovim" -c "luafile spec/hosts/neovim_test.lua" -c "qa!" 2>&1]]):format(
      sandbox.api_key, sandbox.url)))
    output = pipe:read("*a")
    pipe:close()
    sandbox:stop()
  end)

  it(":LeatCard shows a card, or why not, in a window", function()
    local shown = output:gsub("\r", ""):gsub("returned[^\n]*\n", "")
    assert.equal("Card     0042|Name     Krabby Gold|Active   yes|Contact  ann@example.org\n"
      .. "Card     0043|Name     0043|Active   yes|Contact  -\n"
      .. "leat: contact_identifiers.find: not_found (60003, HTTP 400): Contact identifier not found.\n", shown)
  end)

  it("it waits for nothing", function()
    local count = 0
    for returned, shown, beats in output:gmatch("returned ([%d.]+), shown ([%d.]+), beats (%d+)") do
      assert.truthy(tonumber(returned) < DELAY / 2 and tonumber(shown) >= DELAY, output)
      assert.truthy(tonumber(beats) >= 10, output) -- there are fifty on an idle machine
      count = count + 1
    end
    assert.equal(3, count)
  end)
end)
