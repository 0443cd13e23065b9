-- Checks that the rockspecs package every file, and agree with the Makefile, the header and the change log.
local leat = require("leat")

local read = dofile("spec/support/read.lua")

local function lines(command)
  local set, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do
    set[line] = true
  end
  pipe:close()
  return set
end

local function rockspec(path)
  local text, env = read(path), {}
  local chunk = setfenv and setfenv(assert(loadstring(text)), env) or assert(load(text, path, "t", env)) -- luacheck: ignore
  chunk()
  return env
end

-- Returns the files that a rock's target of make installs from the existing build.
local function installed(target)
  local folder = os.tmpname()
  os.remove(folder)
  lines(("LD_PRELOAD= make -s %s DESTDIR=%s INST_LUADIR=/ INST_LIBDIR=/ LUA=%s 2>&1"):format(
    target, folder, jit and "luajit" or "lua" .. _VERSION:match("%d.%d")))
  local files = lines(("cd %s && find . -type f | sed 's,^[./]*,,'"):format(folder))
  os.execute("rm -r " .. folder)
  return files
end

describe("the rocks", function()
  local main, sandbox = rockspec("rockspec/leat-scm-1.rockspec"), rockspec("rockspec/leat-sandbox-scm-1.rockspec")
  local command, jobs = rockspec("rockspec/leat-cli-scm-1.rockspec"), rockspec("rockspec/leat-jobs-scm-1.rockspec")
  local postgres = rockspec("rockspec/leat-postgres-scm-1.rockspec")

  it("install together what lua/ holds, each file once", function()
    local wanted = lines("cd lua && find . -name '*.lua' | sed 's,^./,,'")
    for source in pairs(lines("cd lua && ls leat_*.c")) do
      local name = source:match("^leat_(.*)%.c$")
      wanted[name == "core" and "leat/core.so" or "leat/" .. name .. "/core.so"] = true
    end
    local got = installed(main.build.install_target)
    assert.is_nil(got["leat/sandbox.lua"])
    assert.is_nil(got["leat/cli/main.lua"])
    for _, name in ipairs { "leat/csv.lua", "leat/jobs.lua", "leat/jobs/core.so", "leat/sqlite/core.so",
      "leat/postgres.lua", "leat/postgres/core.so" } do
      assert.is_nil(got[name], name)
    end
    for _, rock in ipairs { sandbox, command, jobs, postgres } do
      for file in pairs(installed(rock.build.install_target)) do
        assert.is_nil(got[file], file)
        got[file] = true
      end
    end
    assert.same(wanted, got)
  end)

  it("install the command with the rock of its own", function()
    assert.same({ bin = { leat = "lua/bin/leat" } }, command.build.install)
    assert.is_nil(main.build.install)
    assert.matches("^#!", read("lua/bin/leat"))
  end)

  it("carry the README and the guides, whose links hold there too", function()
    local carried = installed(main.build.install_target .. " INST_DOCDIR=/rock")
    for _, folder in ipairs(main.build.copy_directories) do
      for path in pairs(lines("find " .. folder .. " -type f")) do
        carried["rock/" .. path] = true
      end
    end
    assert.equal("$(PREFIX)", main.build.install_variables.INST_DOCDIR)
    assert.truthy(carried["rock/README.md"] and carried["rock/docs/index.md"])
    for path in pairs(lines("ls README.md docs/*.md")) do
      for link in read(path):gmatch("%]%(([%w_./:-]+)") do
        local there = carried["rock/" .. path:gsub("[^/]*$", "") .. link]
        assert.truthy(there or link:find("^https?:"), path .. ": " .. link)
      end
    end
  end)

  it("need what the README says: libcurl and lua-cjson; the other rocks need the rest", function()
    assert.same({ main.dependencies[1], "lua-cjson >= 2.1.0" }, main.dependencies)
    assert.same({ CURL = { library = "curl" } }, main.external_dependencies)
    assert.same({ main.dependencies[1], "lua-cjson >= 2.1.0", "leat" }, sandbox.dependencies)
    assert.same({ MICROHTTPD = { library = "microhttpd" }, JANSSON = { library = "jansson" } },
      sandbox.external_dependencies)
    assert.same({ main.dependencies[1], "argparse >= 0.7.1", "leat" }, command.dependencies)
    assert.is_nil(command.external_dependencies)
    assert.same({ main.dependencies[1], "lua-cjson >= 2.1.0", "leat" }, jobs.dependencies)
    assert.same({ SQLITE = { library = "sqlite3" } }, jobs.external_dependencies)
    assert.same({ main.dependencies[1], "leat" }, postgres.dependencies)
    assert.same({ POSTGRES = { library = "pq" } }, postgres.external_dependencies)
  end)

  it("are of the version that the header, the module and the change log name", function()
    local version = read("core/leat.h"):match('#define LEAT_VERSION%s+"(.-)"')
    assert.equal(version, leat._VERSION)
    assert.equal(version, read("CHANGELOG.md"):match("\n## ([^\n,]+)"))
    for path in pairs(lines("ls rockspec/*.rockspec")) do
      local spec = rockspec(path)
      assert.equal(path, ("rockspec/%s-%s.rockspec"):format(spec.package, spec.version))
      assert.truthy(spec.version == "scm-1" or spec.version:find(version .. "-", 1, true) == 1, path)
    end
  end)
end)
