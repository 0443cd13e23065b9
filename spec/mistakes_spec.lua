-- Makes each mistake of docs/mistakes.md, and compares the message with the one in that guide.
-- LEAT_SHOW_MISTAKES=1 prints the messages.
local markdown = dofile("spec/support/markdown.lua")

-- Lua 5.1 raises its own message instead, without an explanation; plain() replaces it by this one.
local SUSPENDED_BY_LUA_51 = "leat: contact_identifiers.find: Lua can't suspend the task here, inside of string.gsub, "
  .. "table.sort, require, tostring or the like (attempt to yield across a C-call boundary): do it before that or "
  .. "after it, or in another task: tasks.spawn(function() ... end)"

-- Replaces what differs between runs, between Luas, or between versions of libcurl.
local function plain(message)
  return (message
    :gsub("\nstack traceback:.*", "")
    :gsub("127%.0%.0%.1:%d%d+", "127.0.0.1:8080")
    :gsub("127%.0%.0%.1 port %d%d+", "127.0.0.1 port 8080")
    :gsub("OpenSSL/[%w.]+: ", "")
    :gsub("error:%x+:SSL routines:[%w_]*:", "error: ")
    :gsub("after %d+ ms", "after 0 ms")
    :gsub("Could not connect to server", "Couldn't connect to server") -- libcurl 8
    :gsub("^attempt to yield across metamethod/C%-call boundary$", SUSPENDED_BY_LUA_51)
    :gsub("index local '(%w+)' %(a nil value%)", "index a nil value (local '%1')")
    :gsub("for Lua 5%.%d", "for Lua 5.4")
    :gsub("\n\tno file.*", "")
    :gsub("\n\tno field.*", "")
    :gsub("%s+$", ""))
end

-- The first line is the program's own, so that raised errors must point at the second or later.
local function run(setup, code)
  local printed = {}
  local function show(...)
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      printed[#printed + 1] = value ~= nil and tostring(value) or nil
    end
  end
  local text = "local print, package = ...\n" .. setup .. "\n" .. code
  local chunk = assert((loadstring or load)(text, "@mistake.lua"))
  local cpath, loaded = package.cpath, {}
  for name, module in pairs(package.loaded) do
    loaded[name] = module
  end
  local fine, why = pcall(chunk, show, package)
  package.cpath = cpath
  for name, module in pairs(loaded) do
    package.loaded[name] = module
  end
  return fine and table.concat(printed, "\n") or tostring(why), fine
end

describe("a mistake", function()
  local blocks = markdown.blocks("docs/mistakes.md")
  local setup = table.remove(blocks, 1)
  local _, lines = setup.text:gsub("\n", "")

  for i = 1, #blocks, 2 do
    local code, told = blocks[i], blocks[i + 1]
    it(code.title, function()
      assert.same({ "lua", "text" }, { code.language, told.language })
      local message, came_back = run(setup.text, code.text)
      if os.getenv("LEAT_SHOW_MISTAKES") then
        print(code.title .. "\t" .. plain(message))
      end
      if not came_back then
        local line = tonumber(message:match("^mistake%.lua:(%d+): "))
        assert.truthy(line == nil or line > lines + 2, message) -- nil: a task's error, or err itself
        repeat
          local cut
          message, cut = message:gsub("^mistake%.lua:%d+: ", "")
        until cut == 0
      end
      assert.equal(plain(told.text), plain(message))
    end)
  end

  it("is one of sixty or so", function()
    assert.truthy(#blocks >= 2 * 60 and #blocks % 2 == 0)
  end)
end)
