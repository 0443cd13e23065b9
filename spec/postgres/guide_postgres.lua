-- Runs the blocks of docs/machines.md, as spec/snippets_spec.lua does those of other guides: they need a database.
local interpreter = dofile("spec/support/interpreter.lua")
local leat = require("leat")
local markdown = dofile("spec/support/markdown.lua")
local postgres = require("leat.postgres")
local sandbox = require("leat.sandbox")
local servers = dofile("spec/postgres/server.lua")
local write = dofile("spec/support/write.lua")

local PATH = "docs/machines.md"
local HOME = "/home/ann" -- the home folder in the guide
local shell = servers.shell

local SHELL = [[
exec 2>&1 </dev/null
export LEAT_API_KEY=%s LEAT_BASE_URL=%s LEAT_DB='%s'
unset LEAT_RATE
root=$PWD
leat() { %s "$root/lua/bin/leat" "$@"; }
cd %s
%s]]

describe(PATH, function()
  local server, service, folder
  local blocks = markdown.blocks(PATH)

  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  before_each(function()
    server:execute("drop schema if exists test cascade")
    server:execute("create schema test")
    service = assert(sandbox.start { cards = { { value = "0042", name = "Krabby Membership" } } })
    folder = shell("mktemp -d /tmp/leat-guide.XXXXXX"):match("[^\n]+")
  end)
  after_each(function()
    service:stop()
    shell("rm -r %s", folder)
  end)

  -- Returns what a command prints.
  local function run_command(text)
    local pipe = assert(io.popen(SHELL:format(service.api_key, service.url, server:address("test"), interpreter, folder,
      text)))
    local output = pipe:read("*a"):gsub(folder:gsub("%p", "%%%0"), HOME)
    pipe:close()
    return output
  end

  local function run_console(block)
    local lines = {}
    for line in block.text:gmatch("([^\n]*)\n") do
      local command = line:match("^%$ (.*)$")
      lines[#lines + 1] = command and line .. "\n" .. run_command(command)
    end
    return table.concat(lines)
  end

  -- Returns the functions that a block of Lua uses, of which some lead to the sandbox and the database.
  local function environment(printed, limiters)
    local own = { limiter = function(options)
      assert.matches("^postgres://", options.db)
      limiters[1] = postgres.limiter { db = server:address("test") }
      return limiters[1]
    end }
    return setmetatable({
      key = service.api_key,
      leat = { new = function(options)
        options.base_url = service.url
        return leat.new(options)
      end },
      require = function(name) return name == "leat.postgres" and own or require(name) end,
      print = function(...) printed[#printed + 1] = tostring((...)) .. "\n" end,
    }, { __index = _G })
  end

  local function run_lua(block)
    local printed, limiters = {}, {}
    local of = environment(printed, limiters)
    local chunk = setfenv and setfenv(assert(loadstring(block.text)), of) -- luacheck: ignore
      or assert(load(block.text, "@" .. PATH, "t", of))
    chunk()
    limiters[1]:close()
    return table.concat(printed)
  end

  for i, block in ipairs(blocks) do
    local name = ("line %d does as the guide says"):format(block.line)
    if block.language == "console" then
      it(name, function()
        assert.equal("csv", blocks[i - 1].language)
        write(folder .. "/cards.csv", blocks[i - 1].text)
        assert.equal(block.text, run_console(block))
      end)
    elseif block.language == "lua" then
      it(name, function() assert.equal(blocks[i + 1].text, run_lua(block)) end)
    end
  end
end)
