-- Runs `leat sandbox` as a user would: in a process of its own, with signals, and clients that call it.
local leat = require("leat")
local lua = dofile("spec/support/interpreter.lua")

-- If signals are ignored where this spec runs, they would be in what it starts, too. A server that should have
-- stopped is stopped after a minute.
local START = "timeout --foreground 60 env --default-signal=INT,TERM,HUP " .. lua
local LEAT = START .. " lua/bin/leat"

-- Returns what shell commands print, on both streams.
local function shell(text)
  local pipe = assert(io.popen("exec 2>&1; " .. text))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

-- ---- a sandbox in a process of its own --------------------------------------------------

local Server = {}
Server.__index = Server

-- Starts `leat sandbox`, and reads its first lines: its URLs and, with `tls`, the file of its certificate. `input` is
-- a redirection.
local function start(arguments, tls, input)
  local server = setmetatable({ errors = os.tmpname() }, Server)
  server.pipe = assert(io.popen(([[sh -c 'echo $$; exec "$@"' sh %s sandbox %s 2>%s %s; echo "exit $?"]]):format(
    LEAT, arguments, server.errors, input or "</dev/null")))
  server.process = server.pipe:read("*l")
  server.url, server.token_url = server.pipe:read("*l"), server.pipe:read("*l")
  server.ca_file = tls and server.pipe:read("*l")
  return server
end

-- Waits until it has ended. Returns what it printed meanwhile, which ends with its exit status, and its messages.
function Server:wait()
  local output = self.pipe:read("*a")
  self.pipe:close()
  local file = assert(io.open(self.errors))
  local messages = file:read("*a")
  file:close()
  os.remove(self.errors)
  return output, messages
end

function Server:stop(signal)
  os.execute(("kill -%s %s"):format(signal or "TERM", self.process))
  return self:wait()
end

local function cards_of(server, options)
  options = options or {}
  options.base_url = server.url
  options.api_key = not options.client_id and (options.api_key or "sandbox") or nil
  options.max_attempts = 1
  return leat.new(options).contact_identifiers
end

-- Starts a sandbox, calls `check` with it and its cards, and stops it. Returns its messages.
local function with(arguments, check)
  local server = start(arguments)
  local fine, why = pcall(check, server, cards_of(server))
  local output, messages = server:stop()
  assert(fine, why)
  assert.equal("exit 0\n", output)
  return messages
end

local function exists(path)
  local file = io.open(path)
  return file ~= nil and file:close() ~= nil
end

-- ---- serving ----------------------------------------------------------------------------

describe("leat sandbox", function()
  it("prints its URLs, and serves", function()
    with("", function(server, cards)
      local port = server.url:match("^http://127%.0%.0%.1:(%d+)/api/v3/oauth/clients$")
      assert.equal("http://127.0.0.1:" .. port .. "/oauth/token", server.token_url)
      assert.equal("1", leat.assert(cards:create("1")).value)
    end)
  end)

  for _, signal in ipairs { "TERM", "INT" } do
    it("ends with status 0 after SIG" .. signal .. ", at once", function()
      local server = start("")
      assert.equal("exit 0\n", (server:stop(signal)))
      assert.equal("connection", select(2, cards_of(server):find("1")).kind)
    end)
  end

  it("ends after SIGHUP, as when its terminal is closed", function()
    local server = start("--tls", true)
    assert.equal("exit 0\n", (server:stop("HUP")))
    assert.is_false(exists(server.ca_file))
  end)

  it("serves until its input ends, with --until-eof", function()
    local input = os.tmpname()
    os.remove(input)
    assert.equal("", shell("mkfifo " .. input))
    local writer = assert(io.popen("cat >" .. input, "w"))
    local server = start("--until-eof", false, "<" .. input)
    writer:write("ignored\n")
    writer:flush()
    require("leat.core").wait(0.3)
    assert.equal("not_found", select(2, cards_of(server):find("1")).kind)
    writer:close()
    assert.equal("exit 0\n", (server:wait()))
    os.remove(input)
  end)

  it("takes a closed standard input for one that has ended", function()
    local output = shell(LEAT .. " -q sandbox --until-eof <&-; echo exit $?")
    assert.truthy(output:find("^http://.*\nexit 0\n$"), output)
  end)

  it("serves on when its input ends, without", function()
    local server = start("")
    require("leat.core").wait(0.3)
    assert.equal("not_found", select(2, cards_of(server):find("1")).kind)
    assert.equal("exit 0\n", (server:stop()))
  end)

  it("serves HTTPS, with --tls, and removes its certificate's file at the end", function()
    local server = start("--tls", true)
    assert.truthy(server.url:find("^https://127%.0%.0%.1:") and server.token_url:find("^https://127%.0%.0%.1:"))
    assert.equal("not_found", select(2, cards_of(server, { ca_file = server.ca_file }):find("1")).kind)
    assert.equal("tls", select(2, cards_of(server):find("1")).kind)
    local output, messages = server:stop()
    assert.equal("exit 0\n", output)
    assert.truthy(messages:find("--ca-file " .. server.ca_file .. "\n", 1, true), messages)
    assert.is_false(exists(server.ca_file))
  end)

  it("listens on the port that was given, or says that it is in use", function()
    local server = start("")
    local port = server.url:match(":(%d+)")
    assert.equal("leat: the sandbox can't listen: Address already in use\nexit 1\n",
      shell(("%s sandbox --port %s; echo exit $?"):format(LEAT, port)))
    assert.equal("exit 0\n", (server:stop()))
    server = start("--port " .. port)
    assert.equal(port, server.url:match(":(%d+)"))
    server:stop()
  end)

  it("serves a reader who reads one line only", function()
    local url = shell(LEAT .. " -q sandbox --until-eof </dev/null | head -n 1")
    assert.truthy(url:find("^http://[^\n]+\n$"), url)
  end)

  it("stops if its URLs can't be printed", function()
    local output = shell(LEAT .. " sandbox --tls >/dev/full; echo exit $?")
    assert.equal("leat: can't write to standard output: No space left on device\nexit 1\n", output)
  end)
end)

describe("leat sandbox says on standard error", function()
  it("how to use it, as a line for a shell", function()
    local server
    local messages = with("--card 1", function(it_is) server = it_is end)
    local line = messages:match("\n(export [^\n]*)\n$")
    assert.equal(("export LEAT_API_KEY=sandbox LEAT_BASE_URL=%s"):format(server.url), line)
    assert.truthy(messages:find("Ctrl%-C"), messages)
  end)

  it("no key that was given", function()
    local messages = with("--key a-secret", function() end)
    assert.is_nil(messages:find("a-secret", 1, true))
    local export, hint = messages:match("\n(export [^\n]*)\n(.*)$")
    assert.truthy(export:find("^export LEAT_BASE_URL=http://%S*$"), export)
    assert.equal("leat: LEAT_API_KEY must be what --key says\n", hint)
  end)

  it("nothing, with --quiet", function()
    local server = start("--quiet --tls", true)
    assert.same({ "exit 0\n", "" }, { server:stop() })
  end)
end)

-- ---- options ----------------------------------------------------------------------------

describe("leat sandbox takes", function()
  it("--key", function()
    with("--key k", function(server, cards)
      assert.equal("unauthorized", select(2, cards:find("1")).kind)
      assert.equal("not_found", select(2, cards_of(server, { api_key = "k" }):find("1")).kind)
    end)
  end)

  it("--client-id and --client-secret", function()
    with("--client-id 17 --client-secret 'its secret'", function(server)
      local function kind(id, secret)
        return select(2, cards_of(server, { client_id = id, client_secret = secret, token_url = server.token_url })
          :find("1")).kind
      end
      assert.equal("not_found", kind("17", "its secret"))
      assert.not_equal("not_found", kind("17", "sandbox-secret"))
      assert.not_equal("not_found", kind("sandbox-client", "its secret"))
    end)
  end)

  it("--contact and --card, several times", function()
    with("--contact u=e@x --contact v --card 1 --card 2=v --card a=b=u --card c=", function(_, cards)
      assert.equal("e@x", leat.assert(cards:link("1", "u")).contact.email)
      assert.equal("v", leat.assert(cards:find("2")).contact.uuid)
      assert.equal("u", leat.assert(cards:find("a=b")).contact.uuid)
      assert.is_nil(leat.assert(cards:find("c=")).contact)
    end)
  end)

  it("--idempotent-unlink", function()
    with("--card 1", function(_, cards)
      assert.equal("not_linked", select(2, cards:unlink("1")).kind)
    end)
    with("--card 1 --idempotent-unlink", function(_, cards)
      assert.equal("1", leat.assert(cards:unlink("1")).value)
    end)
  end)

  it("--fault, several times", function()
    with("--card 1 --card 2 --card 3 --fault operation=find,value=2,times=always,status=503 " ..
      "--fault operation=find,value=1,kind=server --fault operation=find,value=1,kind=forbidden " ..
      "--fault operation=create,apply=true,close=before --fault operation=delete,body=17", function(_, cards)
        local function kind(value)
          return (select(2, cards:find(value)) or {}).kind
        end
        assert.same({ "maintenance", "maintenance" }, { kind("2"), kind("2") })
        assert.same({ "server", "forbidden" }, { kind("1"), kind("1") })
        assert.is_nil(kind("1") or kind("3"))
        assert.equal("protocol", select(2, cards:delete("3")).kind)
        cards:create("4")
        assert.equal("4", leat.assert(cards:find("4")).value)
      end)
  end)
end)

describe("leat sandbox refuses", function()
  for arguments, message in pairs {
    ["--prot 1"] = "unknown option '--prot'",
    ["--port"] = "option '--port' requires an argument",
    ["--port x"] = "--port 'x' is not a whole number from 0 to 65535",
    ["--port 70000"] = "--port '70000' is not a whole number from 0 to 65535",
    ["--port=-1"] = "--port '-1' is not a whole number from 0 to 65535",
    ["--port 1.5"] = "--port '1.5' is not a whole number from 0 to 65535",
    ["--port nan"] = "--port 'nan' is not a whole number from 0 to 65535",
    ["--key ''"] = "--key must not be empty",
    ["--client-id ''"] = "--client-id must not be empty",
    ["--client-secret ''"] = "--client-secret must not be empty",
    ["--card ''"] = 'card "" has no value',
    ["--card 1 --card 1"] = 'card "1" is given twice',
    ["--card 1=x"] = 'card "1" has a contact_uuid that names no contact',
    ["--contact =e@x"] = 'contact "" has no uuid',
    ["--contact a --contact a=e@x"] = 'contact "a" is given twice',
    ["--fault ''"] = "--fault '': '' is not NAME=VALUE",
    ["--fault nth=1,kind"] = "--fault 'nth=1,kind': 'kind' is not NAME=VALUE",
    ["--fault kind=server,"] = "--fault 'kind=server,': '' is not NAME=VALUE",
    ["--fault nth=1,nth=2"] = "--fault 'nth=1,nth=2': nth is given twice",
    ["--fault nth=1 --fault knid=server"] = "--fault 'knid=server': option 'knid' is unknown: did you mean 'kind'?",
    ["--fault kind=1"] = "--fault 'kind=1': kind \"1\" is unknown",
    ["--fault operation=1"] = "--fault 'operation=1': operation \"1\" is unknown",
    ["--fault nth=x"] = "--fault 'nth=x': nth must be a number, not a string",
    ["--fault nth=false"] = "--fault 'nth=false': nth must be a number, not a boolean",
    ["--fault nth=always"] = "--fault 'nth=always': nth must be a whole number greater than 0",
    ["1"] = "too many arguments",
  } do
    it(arguments, function()
      local output = shell(("%s sandbox %s; echo exit $?"):format(LEAT, arguments))
      assert.equal("leat: " .. message, output:sub(1, #message + 6))
      assert.truthy(output:find("\nTry: leat help[^\n]*\nexit 2\n$"), output)
    end)
  end

  it("a wrong fault, and leaves no certificate", function()
    local folder = os.tmpname() .. ".d"
    local command = ("mkdir %s; TMPDIR=%s %s sandbox --tls --fault a=1 2>/dev/null"):format(folder, folder, LEAT)
    assert.equal("exit 2\n", shell(command .. "; echo exit $?"))
    assert.equal("", shell("rmdir " .. folder))
  end)
end)

it("leat sandbox has its options in its help", function()
  local help = shell(LEAT .. " sandbox --help; echo exit $?")
  assert.equal(help, shell(LEAT .. " help sandbox; echo exit $?"))
  assert.truthy(help:find("^Usage: leat sandbox .*exit 0\n$"), help)
  for option in ("port tls key client-id client-secret idempotent-unlink contact card fault until-eof"):gmatch("%S+") do
    assert.truthy(help:find("\n   --" .. option .. " ", 1, true), option)
  end
end)

describe("leat sandbox without leat.sandbox", function()
  -- Runs the command after a piece of Lua.
  local function run(code, arguments)
    return shell(([[%s -e '%s' lua/bin/leat %s; echo exit $?]]):format(START, code, arguments))
  end

  local hide = [[
    table.insert(package.searchers or package.loaders, 2, function(name)
      if name:find("^leat%.sandbox") then error("module \"" .. name .. "\" is hidden") end
    end)
  ]]

  it("says how it is installed", function()
    local folder = os.tmpname() .. ".d"
    local code = ('package.path = package.path:gsub("^[^;]*", "%s/?.lua")'):format(folder)
    assert.equal("", shell(("cp -r lua %s && rm %s/leat/sandbox.lua"):format(folder, folder)))
    assert.equal("leat: leat.sandbox is missing: luarocks install leat-sandbox\nexit 2\n",
      run(code, "sandbox"))
    assert.equal("exit 0\n", run(code, "help >/dev/null"))
    shell("rm -r " .. folder)
  end)

  it("tells any other reason", function()
    local output = run(hide, "sandbox")
    assert.truthy(output:find('module "leat.sandbox" is hidden', 1, true), output)
    assert.truthy(output:find("exit 1\n$"), output)
  end)
end)
