-- Runs examples/openresty as a new user would.
local sandbox = require("leat.sandbox")
local secrets = dofile("spec/support/secrets.lua")
local socket = require("socket")

local read = dofile("spec/support/read.lua")

local function run_command(command)
  local pipe = assert(io.popen(command))
  local said = pipe:read("*l")
  pipe:close()
  return said
end

local function is_alive(pid)
  return run_command(("kill -0 %s 2>/dev/null && echo yes"):format(pid)) == "yes"
end

-- `env` is shell syntax. The program runs as if started from a prompt, without make's variables.
local function start(env)
  local said = os.tmpname()
  local pid = run_command(("env -u MAKEFLAGS -u MAKELEVEL %s LEAT_DEPS=check sh examples/openresty/run.sh "
    .. "</dev/null >%s 2>&1 & echo $!"):format(env, said))
  local site = { pid = pid, said = said }
  for _ = 1, 300 do
    if read(said):find("Ctrl%-C") then
      site.port = assert(read(said):match("http://127%.0%.0%.1:(%d+)/card/0042"))
      site.log = read(said):match("%S+/error%.log")
      return site
    end
    assert(is_alive(pid), read(said))
    socket.sleep(0.1)
  end
  error(read(said))
end

-- A second call does nothing.
local function stop(site)
  os.execute(("kill -TERM %s 2>/dev/null"):format(site.pid))
  for _ = 1, 500 do
    if not is_alive(site.pid) then
      break
    end
    socket.sleep(0.01)
  end
  os.remove(site.said)
end

local function ask(site, path, header)
  local connection = assert(socket.connect("127.0.0.1", site.port))
  connection:settimeout(20)
  assert(connection:send(("GET %s HTTP/1.0\r\n%s\r\n"):format(path, header and header .. "\r\n" or "")))
  return connection
end

local function take(connection)
  local response = connection:receive("*a") or ""
  connection:close()
  return tonumber(response:match("^HTTP/1.1 (%d+)")), response:match("\r\n\r\n(.*)$"), response
end

local function get(site, path, header)
  return take(ask(site, path, header))
end

describe("examples/openresty", function()
  local upstream, site

  setup(function()
    upstream = assert(sandbox.start { api_key = secrets.key, contacts = { { uuid = "ann" } }, cards = {
      { value = "0042", name = "Gold", contact_uuid = "ann" }, { value = "free" },
      { value = "off", contact_uuid = "ann", active = false },
      -- a card for each spec, because finds are cached
      { value = "kept", contact_uuid = "ann" }, { value = "many", contact_uuid = "ann" },
      { value = "fails", contact_uuid = "ann" } } })
    site = start(("LEAT_API_KEY='%s' LEAT_BASE_URL='%s'"):format(secrets.key, upstream.url))
  end)
  teardown(function()
    stop(site)
    upstream:stop()
  end)

  local function finds_of(value)
    local count = 0
    for _, request in ipairs(upstream:requests("find")) do
      count = count + (request.target:find("=" .. value, 1, true) and 1 or 0)
    end
    return count
  end

  it("responds with the card, as JSON", function()
    local status, body, response = get(site, "/card/0042")
    assert.equal(200, status)
    assert.truthy(response:find("Content-Type: application/json", 1, true))
    local card = require("cjson").decode(body)
    assert.same({ "0042", "Gold", "ann" }, { card.value, card.name, card.contact.uuid })
  end)

  it("responds with the status that fits the error, and nothing more about it", function()
    upstream:fault { value = "broken", kind = "forbidden" }
    upstream:fault { value = "html", kind = "protocol", times = 3 }
    for path, expected in pairs { ["none"] = { 404, "not_found" }, ["off"] = { 410, "inactive" },
      ["broken"] = { 500, "internal" }, ["html"] = { 502, "protocol" }, ["a%FFb%22"] = { 404, "not_found" } } do
      local status, body, response = get(site, "/card/" .. path)
      assert.same({ path, expected[1], ('{"error":"%s"}\n'):format(expected[2]) }, { path, status, body })
      assert.is_nil(response:find(secrets.key, 1, true))
    end
    local log = read(site.log)
    assert.truthy(log:find("forbidden", 1, true), log)
    assert.is_nil(log:find("not_found", 1, true), log)
    assert.is_nil(log:find(secrets.key, 1, true))
  end)

  it("lets in active, linked cards only", function()
    for value, expected in pairs { ["0042"] = 200, free = 403, off = 403, none = 403, ["%FF"] = 403, [""] = 403 } do
      assert.same({ value, expected }, { value, (get(site, "/members/?card=" .. value)) })
    end
    assert.equal(403, (get(site, "/members/")))
    local status, body = get(site, "/members/", "X-Card: 0042")
    assert.equal(200, status)
    assert.equal("Welcome, Gold\n", body)
  end)

  it("caches what the service responded, and no failure", function()
    upstream:fault { value = "kept", kind = "forbidden" }
    assert.equal(503, (get(site, "/members/?card=kept")))
    assert.equal(1, finds_of("kept"))
    for _ = 1, 3 do
      assert.equal(200, (get(site, "/members/?card=kept")))
      assert.equal(403, (get(site, "/members/?card=nobody")))
    end
    assert.equal(2, finds_of("kept"))
    assert.equal(1, finds_of("nobody"))
  end)

  it("asks once for fifty at once, whoever of them goes away", function()
    upstream:fault { value = "many", delay = 0.5 }
    local leader = ask(site, "/members/?card=many")
    repeat
      socket.sleep(0.01)
    until finds_of("many") == 1
    local asked = {}
    for i = 1, 50 do
      asked[i] = ask(site, "/members/?card=many")
    end
    leader:close()
    local began = socket.gettime()
    for _, connection in ipairs(asked) do
      assert.equal(200, (take(connection)))
    end
    assert.truthy(socket.gettime() - began < 10)
    assert.equal(1, finds_of("many"))
  end)

  it("responds to 400 for as many cards: to as many as the rate allows, and the others are to come again", function()
    local began, asked, counts = socket.gettime(), {}, { [403] = 0, [503] = 0 }
    for i = 1, 400 do
      asked[i] = ask(site, "/members/?card=cold" .. i)
    end
    for _, connection in ipairs(asked) do
      local status = take(connection)
      counts[status] = counts[status] + 1
    end
    assert.truthy(socket.gettime() - began < 15, socket.gettime() - began)
    assert.truthy(counts[403] >= 5 and counts[503] > 300, counts[403])
  end)

  it("reports a failure to all that wait for it, and asks again afterwards", function()
    upstream:fault { value = "fails", kind = "forbidden", delay = 0.3 }
    local asked, counts = {}, { [200] = 0, [503] = 0 }
    for i = 1, 50 do
      asked[i] = ask(site, "/members/?card=fails")
    end
    for _, connection in ipairs(asked) do
      local status = take(connection)
      counts[status] = counts[status] + 1
    end
    assert.truthy(counts[503] >= 1 and counts[200] + counts[503] == 50) -- the other worker asks after that
    assert.truthy(finds_of("fails") <= 2)
    assert.equal(200, (get(site, "/members/?card=fails")))
  end)
end)

describe("examples/openresty without a key", function()
  it("has a sandbox of its own, and leaves nothing behind", function()
    local site = start("-u LEAT_API_KEY -u LEAT_BASE_URL")
    finally(function() stop(site) end)
    local children = {}
    for pid in run_command(("ps -o pid= --ppid %s | tr '\\n' ' '"):format(site.pid)):gmatch("%d+") do
      table.insert(children, pid)
    end
    assert.equal(200, (get(site, "/card/0042")))
    assert.equal(200, (get(site, "/members/?card=0042")))
    assert.equal(403, (get(site, "/members/?card=0043")))
    assert.equal(403, (get(site, "/members/?card=0044")))
    assert.equal(2, #children) -- the sandbox's process and nginx's
    stop(site)
    for _, pid in ipairs(children) do
      assert.is_false(is_alive(pid))
    end
    assert.is_nil(io.open(site.log))
  end)
end)

-- Runs the guide's commands for a handler as they are, except for the ports.
describe("docs/openresty.md", function()
  local markdown = dofile("spec/support/markdown.lua")

  local reserve_port = dofile("spec/support/port.lua")

  local write = dofile("spec/support/write.lua")

  -- Returns the commands, in which each of the two files is written when the folder is there.
  local function commands(home, ports)
    local lines, files = { "set -e" }, { lua = "card.lua", nginx = "nginx.conf" }
    for _, block in ipairs(markdown.blocks("docs/openresty.md")) do
      local name = files[block.language]
      if block.title == "A handler of your own" and name then
        write(home .. "/" .. name, (block.text:gsub("808[01]", ports)))
        table.insert(lines, ("mv ~/%s ~/site/"):format(name))
      elseif block.title == "A handler of your own" then
        table.insert(lines, (block.text:gsub("808[01]", ports):gsub("\ncurl", "\ncurl -sS")))
      end
    end
    assert.equal(5, #lines)
    table.insert(lines, "grep -Ec 'not_found|inactive|runtime error' ~/site/error.log")
    return table.concat(lines, "\n")
  end

  it("leads to a handler", function()
    local home, script = run_command("mktemp -d"), os.tmpname()
    write(script, commands(home, { ["8080"] = reserve_port(), ["8081"] = reserve_port() }))
    local pipe = assert(io.popen(("env -u MAKEFLAGS -u MAKELEVEL LEAT_DEPS=check HOME=%s sh %s 2>&1"):format(
      home, script)))
    local said = pipe:read("*a")
    pipe:close()
    os.remove(script)
    os.execute("rm -r " .. home)
    local card, rest = said:match("\n(%b{})\n(.*)$")
    assert.same({ value = "0042", name = "0042", contact = "ann" }, require("cjson").decode(card), said)
    assert.equal('{"error":"not_found"}\n{"error":"invalid_input"}\n{"error":"inactive"}\n0\n', rest)
  end)
end)
