-- The `leat` command as `make` builds and installs it: what it finds without an environment, its completions for
-- shells, and its manual page. spec/support/rock.sh tests it as a rock.
local sandbox = require("leat.sandbox")

local interpreter = dofile("spec/support/interpreter.lua")

local lua = jit and "luajit" or "lua" .. _VERSION:match("%d.%d")
local root = assert(io.popen("pwd")):read("*l")

-- Runs a shell command. Returns what it prints, on both streams, and its exit status.
local function run(command)
  local pipe = assert(io.popen(("{ %s\n} 2>&1; echo $?"):format(command)))
  local output, exit_status = pipe:read("*a"):match("^(.-)(%d+)\n$")
  pipe:close()
  return output, tonumber(exit_status)
end

local function run_well(command)
  local output, exit_status = run(command)
  assert.equal(0, exit_status, output)
  return output
end

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local write = dofile("spec/support/write.lua")

local function make(target, prefix)
  return run_well(("LD_PRELOAD= make -s %s PREFIX=%s LUA=%s"):format(target, quote(prefix), lua))
end

-- The command in this program must be found without the variables that make sets for the specs.
local function clean(program, arguments)
  local numbered = _VERSION:match("%d.%d"):gsub("%.", "_")
  return ("cd / && env -u LUA_PATH -u LUA_CPATH -u LUA_PATH_%s -u LUA_CPATH_%s %s %s"):format(numbered, numbered,
    quote(program), arguments)
end

local function manual()
  return run_well(interpreter .. " rockspec/manual.lua man 1.2.3")
end

describe("the command", function()
  local folder

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    run_well("mkdir " .. folder)
  end)
  after_each(function() run_well("rm -r " .. folder) end)

  it("runs where it was built, from any folder", function()
    local built = os.getenv("LUA_CPATH"):match("^(.-)/%?%.so;") .. "/bin/leat"
    assert.matches("^Usage: leat find ", run_well(clean(built, "help find")))
  end)

  it("runs where it was installed, in a folder with a blank and a quote in its path", function()
    local prefix = folder .. "/a 'b"
    make("install-lua-leat install-lua-cli install-command", prefix)
    local leat = prefix .. "/bin/leat"
    assert.matches("^leat %d+%.%d+%.%d+ ", run_well(clean(leat, "version")))
    local output, exit_status = run(clean(leat, "sandbox"))
    assert.matches("^leat: .*leat%.sandbox is missing.*: luarocks install leat%-sandbox\n", output)
    assert.equal(2, exit_status)
    make("uninstall", prefix)
    assert.equal("", run_well("find " .. folder .. " ! -type d -o -name 'leat*'"))
  end)

  it("is installed with a manual page, and with completions where shells look for them", function()
    make("install-command DESTDIR=" .. folder, "/opt")
    local files = run_well(("cd %s && find . -type f | LD_PRELOAD= LC_ALL=C sort"):format(folder)) -- sort leaks
    assert.equal([[
./opt/bin/leat
./opt/share/bash-completion/completions/leat
./opt/share/fish/vendor_completions.d/leat.fish
./opt/share/man/man1/leat.1
./opt/share/zsh/site-functions/_leat
]], files)
    local text = run_well(("cat %s/opt/bin/leat"):format(folder))
    assert.matches('"/opt/share/lua/' .. _VERSION:match("%d.%d"), text, 1, true)
    assert.is_nil(text:find(folder, 1, true))
  end)

  it("refuses to be installed where it could not be found", function()
    for _, prefix in ipairs { "relative", folder .. "/a;b", folder .. "/a?b" } do
      local output, exit_status = run(("LD_PRELOAD= make -s install-command PREFIX=%s LUA=%s"):format(quote(prefix),
        lua))
      assert.equal(2, exit_status)
      assert.matches("launcher: .*: " .. prefix:gsub("%p", "%%%0"), output)
    end
  end)

  it("says how to install argparse where that is missing", function()
    local output, exit_status = run(("%s -e 'package.path = \"lua/?.lua\"' lua/bin/leat help"):format(interpreter))
    assert.equal("leat: argparse is missing: luarocks install argparse "
      .. "(from a checkout: sh rockspec/deps.sh install cli)\n", output)
    assert.equal(2, exit_status)
  end)

  it("does not call argparse missing if it is broken", function()
    write(folder .. "/argparse.lua", "error('broken')")
    local output, exit_status = run(("%s -e 'package.path = \"lua/?.lua;%s/?.lua\"' lua/bin/leat help"):format(
      interpreter, folder))
    assert.matches("broken", output)
    assert.equal(1, exit_status)
  end)
end)

describe("completion", function()
  local path

  setup(function()
    path = os.tmpname()
    run_well(("%s rockspec/manual.lua bash >%s"):format(interpreter, path))
  end)
  teardown(function() os.remove(path) end)

  -- Returns the words that bash offers for the last of these.
  local function complete(...)
    local words = { "leat", ... }
    local quoted = {}
    for i, word in ipairs(words) do
      quoted[i] = quote(word)
    end
    local script = ("source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _leat; echo ${COMPREPLY[*]}"):format(path,
      table.concat(quoted, " "), #words - 1)
    return (run_well("cd / && bash -c " .. quote(script)):gsub("\n$", ""))
  end

  it("knows commands, their options and those of all commands", function()
    assert.equal("find", complete("fi"))
    assert.equal("unlink update", complete("u"))
    assert.equal("find", complete("--json", "--rate", "5", "fi"))
    assert.equal("--dry-run", complete("update", "0042", "--dr"))
    assert.equal("--expect", complete("unlink", "--e"))
    assert.equal("", complete("find", "--e"))
    assert.equal("--concurrency", complete("find", "--conc"))
    assert.equal("results", complete("job", "resu"))
    assert.equal("--max-failures", complete("job", "run", "--m"))
  end)

  it("knows the topics of help, and the shells", function()
    assert.equal("delete", complete("help", "del"))
    assert.equal("bash zsh fish", complete("completion", ""))
    local zsh = run_well(interpreter .. " rockspec/manual.lua zsh")
    assert.is_nil(zsh:find("(bash zsh fish)", 1, true)) -- it would offer them twice, as an argument too
  end)

  it("offers files only for options that take one", function()
    local file = root .. "/Makefile"
    assert.equal(file, complete("--ca-file", root .. "/Makef"))
    assert.equal(file, complete("--api-key-file", root .. "/Makef"))
    assert.equal("", complete("--proxy", root .. "/Makef"))
    assert.equal("", complete("create", "--name", root .. "/Makef"))
    assert.equal(file, complete("import", "--db", root .. "/Makef"))
    assert.equal("", complete("job", "retry", "--settle", root .. "/Makef"))
  end)

  it("is printed by the command too", function()
    for _, shell in ipairs { "bash", "zsh", "fish" } do
      local printed = run_well(("%s lua/bin/leat completion %s"):format(interpreter, shell))
      assert.equal(run_well(("%s rockspec/manual.lua %s"):format(interpreter, shell)), (printed:gsub("\n\n$", "\n")))
    end
  end)
end)

describe("the manual page", function()
  it("has each command, option, exit status and variable", function()
    local text = manual():gsub("\\f.", ""):gsub("\\%-", "-")
    local help = run_well(interpreter .. " lua/bin/leat help")
    local options, count = help:match("\nOptions:\n(.-)\n\n"), 0
    local function check_commands(of, prefix)
      for name in of:match("\nCommands:\n(.-)\n\n"):gmatch("%f[^\n%z]   (%l+)") do
        count = count + 1
        name = prefix .. name
        assert.truthy(text:find("\n.SS " .. name .. "\nleat " .. name, 1, true), name)
        local own = run_well(("%s lua/bin/leat help %s"):format(interpreter, name))
        for option in own:gmatch("\n   (%-[^\n ]+)") do
          options = options .. "\n   " .. option
        end
        if own:find("\nCommands:\n", 1, true) then
          check_commands(own, name .. " ")
        end
      end
    end
    check_commands(help, "")
    assert.equal(24, count)
    for option in options:gmatch("%f[^\n%z]   (%-[%w-]+)") do
      assert.truthy(text:find("\n" .. option, 1, true), option)
    end
    for number = 0, 7 do
      assert.truthy(text:find("\n.TP\n" .. number .. "\n", 1, true), number)
    end
    for name in help:gmatch("LEAT_[%u_]+") do
      assert.truthy(text:match("\n%.SH ENVIRONMENT\n(.-)\n%.SH"):find(name, 1, true), name)
    end
  end)

  it("has the sections that readers look for", function()
    local sections = {}
    for name in manual():gmatch("\n%.SH ([^\n]+)") do
      sections[#sections + 1] = name
    end
    assert.same({ "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES",
      "SEE ALSO" }, sections)
    assert.matches('^%.TH LEAT 1 "" "leat 1%.2%.3" ', manual())
  end)

  local EXAMPLE = [[
set -e
folder=%s; mkdir "$folder"; cd "$folder"; export XDG_STATE_HOME="$folder"
export LEAT_API_KEY=%s LEAT_BASE_URL=%s; leat() { %s %s "$@"; }
printf 'value,name\n0042,Ann\n0046,\n' >cards.csv
%s]]

  it("has examples that work", function()
    local count = 0
    for text in manual():gmatch("\n%.EX\n(.-)\n%.EE") do
      count = count + 1
      local server = assert(sandbox.start {
        contacts = { { uuid = "ann", email = "ann@example.org" }, { uuid = "bob" } },
        cards = { { value = "0042" }, { value = "0043", contact_uuid = "bob" } },
      })
      local example = text:gsub("\\%-", "-"):gsub("<cards.txt", "<<'END'\n0042\n0043\nEND")
      local folder = os.tmpname()
      os.remove(folder)
      local output, exit_status = run("( " .. EXAMPLE:format(folder, quote(server.api_key), server.url, interpreter,
        quote(root .. "/lua/bin/leat"), example) .. "\n)")
      run_well("rm -r " .. folder)
      server:stop()
      assert.equal(0, exit_status, example .. "\n" .. output)
    end
    assert.equal(7, count)
  end)
end)
