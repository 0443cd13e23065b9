-- Runs each block of Lua in the README, the guides and the modules' comments, each against a new
-- sandbox. If a block of text follows immediately, it is the expected output. In a block of console, lines that begin
-- with "$ " are run in a shell, in a new folder, and the lines that follow are what they print. A block of csv is the
-- file cards.csv of the console blocks that follow it.
local leat = require("leat")
local interpreter = dofile("spec/support/interpreter.lua")
local markdown = dofile("spec/support/markdown.lua")
local sandbox = require("leat.sandbox")

local function serve()
  return assert(sandbox.start {
    contacts = { { uuid = "ann", email = "ann@example.org" }, { uuid = "bob" } },
    cards = {
      { value = "0042", name = "Krabby Membership" },
      { value = "0043", contact_uuid = "bob" },
      { value = "ABCDE12356-90", name = "Krabby Membership" },
    },
  })
end

local function lines_of(list)
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

-- Clients connect to the sandbox unless the block names a server.
local function wired(server)
  local module = setmetatable({}, { __index = leat })
  function module.new(given)
    local copy = { base_url = server.url }
    for name, value in pairs(given) do
      copy[name] = value
    end
    return leat.new(copy)
  end
  return module
end

-- Journals are not in the home of who runs the specs.
local function with_temporary_journal(of_jobs)
  return setmetatable({ open = of_jobs.open_temporary }, { __index = of_jobs })
end

-- The cards and contacts that the text around the blocks assumes.
local function environment(server, printed)
  local module = wired(server)
  local client = module.new { api_key = server.api_key }
  local variables = { LEAT_API_KEY = server.api_key, LEAT_BASE_URL = server.url }
  return setmetatable({
    leat = module,
    tasks = require("leat.tasks"),
    client = client,
    cards = client.contact_identifiers,
    card = client.contact_identifiers:find("0043"),
    uuid = "ann",
    value = "0042",
    key = server.api_key,
    my_program = function(of) assert(of.contact_identifiers) end,
    rows = { { value = "0042" }, { value = "0050" } },
    require = function(name)
      return name == "leat" and module or name == "leat.jobs" and with_temporary_journal(require(name)) or require(name)
    end,
    os = setmetatable({
      getenv = function(name) return variables[name] end,
      exit = function() error("it ended itself", 2) end,
    }, { __index = os }),
    io = setmetatable({
      lines = function() return lines_of { "0042", "0043" } end,
      stderr = { write = function(_, ...) error(table.concat { ... }, 2) end },
    }, { __index = io }),
    print = function(...)
      local words = { ... }
      for i = 1, select("#", ...) do
        words[i] = tostring(words[i])
      end
      printed[#printed + 1] = table.concat(words, "\t") .. "\n"
    end,
  }, { __index = _G })
end

local function compile(text, name, of)
  if setfenv then -- luacheck: ignore
    return setfenv(assert(loadstring(text, name)), of) -- luacheck: ignore
  end
  return assert(load(text, name, "t", of))
end

local function run(path, block, told)
  local server, printed, getenv = serve(), {}, os.getenv
  local of = environment(server, printed)
  local chunk = compile(("\n"):rep(block.line - 1) .. block.text, "@" .. path, of)
  os.getenv = of.os.getenv -- luacheck: ignore
  local fine, why = pcall(chunk)
  os.getenv = getenv -- luacheck: ignore
  server:stop()
  assert.is_true(fine, tostring(why))
  if told then
    assert.equal(told.text, table.concat(printed))
  end
end

local SHELL = [[
export LEAT_API_KEY=%s LEAT_BASE_URL=%s XDG_STATE_HOME=%s/state
root=$PWD
leat() { %s "$root/lua/bin/leat" "$@"; }
unset LEAT_DB LEAT_RATE
exec 2>&1 </dev/null
cd %s
%s]]

local function make_folder(cards)
  local folder = os.tmpname()
  os.remove(folder)
  os.execute("mkdir " .. folder)
  local file = assert(io.open(folder .. "/cards.csv", "w"))
  file:write(cards)
  file:close()
  return folder
end

-- Returns the block with the output that its commands print here.
local function run_console(block, server, folder)
  local lines = {}
  for line in block.text:gmatch("([^\n]*)\n") do
    local command = line:match("^%$ (.*)$")
    if command then
      local pipe = assert(io.popen(SHELL:format(server.api_key, server.url, folder, interpreter, folder,
        command)))
      lines[#lines + 1] = line .. "\n" .. pipe:read("*a")
      pipe:close()
    end
  end
  return table.concat(lines)
end

local function check_console(block, cards)
  local server, folder = serve(), make_folder(cards)
  local fine, text = pcall(run_console, block, server, folder)
  server:stop()
  os.execute("rm -r " .. folder)
  assert.is_true(fine, text)
  assert.equal(block.text, text)
end

-- Other specs run the blocks of these: mistakes_spec.lua, recipes_spec.lua and spec/postgres/guide_postgres.lua.
local run_elsewhere = { ["docs/mistakes.md"] = true, ["docs/recipes.md"] = true, ["docs/machines.md"] = true }

local ran, not_run, shown = 0, 0, 0
for _, path in ipairs(markdown.documents()) do
  local blocks = run_elsewhere[path] and {} or markdown.blocks(path)
  local cards = ""
  for i, block in ipairs(blocks) do
    local next_one = blocks[i + 1]
    local told = next_one and next_one.language == "text" and next_one.line == block.last + 2 and next_one or nil
    if block.language == "lua" then
      ran = ran + 1
      it(("%s, line %d, runs"):format(path, block.line), function() run(path, block, told) end)
    elseif block.language == "csv" then
      cards = block.text
    elseif block.language == "console" then
      local cards_here = cards
      shown = shown + 1
      it(("%s, line %d, prints that"):format(path, block.line), function() check_console(block, cards_here) end)
    elseif block.language:find("^lua") then
      not_run = not_run + 1
    end
  end
end

-- Blocks of other modules need nginx or an event loop: see spec/nginx and spec/hosts.
local documented = { "", "/contact_identifier", "/curl", "/jobs", "/prometheus", "/recorder", "/sandbox", "/tasks",
  "/transport" }
for _, name in ipairs(documented) do
  local path = "lua/leat" .. name .. ".lua"
  local examples = markdown.examples(path)
  assert(#examples > 0, path)
  for _, block in ipairs(examples) do
    it(("%s, line %d, runs"):format(path, block.line), function() run(path, block) end)
  end
end

it("blocks of Lua are there, and all of them are run", function()
  assert.truthy(ran >= 19, ran)
  assert.equal(0, not_run)
  assert.truthy(shown >= 7, shown)
end)
