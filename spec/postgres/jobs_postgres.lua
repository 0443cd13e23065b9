-- Jobs whose journal is in PostgreSQL do what they do with a file: the same specs.
local servers = dofile("spec/postgres/server.lua")

local server

local journals = { is_shared = true }

-- Returns the address of a journal that does not exist: each test has a schema of its own.
function journals.new()
  server:execute("drop schema if exists test cascade")
  server:execute("create schema test")
  return server:address("test")
end

function journals.remove() end -- the next test does

-- Executes a statement in a journal, as another program.
function journals.execute(_, sql)
  server:execute(sql, "test")
end

-- Loads another spec, which gets busted's functions, and is called with the journals.
local function load_spec(path)
  if setfenv then -- luacheck: ignore
    return setfenv(assert(loadfile(path)), getfenv(2)) -- luacheck: ignore
  end
  return assert(loadfile(path, "t", _ENV)) -- luacheck: ignore
end

describe("jobs in PostgreSQL", function()
  setup(function() server = servers.start() end)
  teardown(function() server:remove() end)

  load_spec("spec/jobs_spec.lua")(journals)
end)
