-- In a real nginx, a response that has arrived before the deadline counts, even if the worker was busy
-- or stopped until after the deadline.
local sandbox = require("leat.sandbox")
local server = dofile("spec/nginx/server.lua")
local interpreter = dofile("spec/support/interpreter.lua")
local secrets = dofile("spec/support/secrets.lua")
local socket = require("socket")

local BUSY = "local over = os.clock() + 1.3 repeat until os.clock() > over return true"

describe("in nginx, what arrived before a deadline counts:", function()
  local upstream, tls, names, nginx, pid

  setup(function()
    local cards = { { value = "1" } }
    upstream = assert(sandbox.start { api_key = secrets.key, client_secret = secrets.secret, cards = cards })
    tls = assert(sandbox.start { tls = true, api_key = secrets.key, cards = cards })
    local pipe = assert(io.popen(("echo $$ && exec %s spec/nginx/dns.lua"):format(interpreter)))
    names = { pid = pipe:read("*l"), port = pipe:read("*l"), pipe = pipe }
    nginx = server.start { conf = ("resolver 127.0.0.1:%s ipv6=off; lua_ssl_trusted_certificate %s; "
      .. "lua_socket_pool_size 300;"):format(names.port, tls.ca_file) }
    pid = nginx:run("content", "return ngx.worker.pid()")
  end)
  teardown(function()
    os.execute(("kill -CONT %d"):format(pid))
    nginx:stop()
    os.execute("kill " .. names.pid)
    names.pipe:close()
    upstream:stop()
    tls:stop()
  end)
  before_each(function()
    upstream:reset()
    tls:reset()
  end)

  local function client(name, more)
    return ("local client = app.client(%q, function() return { max_attempts = 1, %s } end) "):format(name, more)
      .. "local cards = client.contact_identifiers\n"
  end
  local function key(of)
    return ("api_key = %q, base_url = %q,"):format(secrets.key, (of.url:gsub("^(https://)127%.0%.0%.1", "%1localhost")))
  end
  local function ask(count, code)
    local asked = {}
    for i = 1, count do
      asked[i] = nginx:ask("content", code:gsub("NUMBER", i))
    end
    return asked
  end
  local function take_all(asked)
    for _, connection in ipairs(asked) do
      local response = connection:receive("*a") or ""
      connection:close()
      local card, err = server.decode(response:match("\r\n\r\n(.*)$") or error(nginx:log():sub(-3000)))
      assert.is_nil(err and err.text)
      assert.truthy(card)
    end
  end
  local function wait_for(count, operation, of)
    repeat
      socket.sleep(0.01)
    until #of:requests(operation) == count
  end
  local function stop(seconds)
    assert(os.execute(("kill -STOP %d"):format(pid)))
    socket.sleep(seconds)
    assert(os.execute(("kill -CONT %d"):format(pid)))
  end

  for scheme, get in pairs { http = function() return upstream end, https = function() return tls end } do
    for way, hold in pairs { stopped = function() stop(1.3) end, busy = function() nginx:run("content", BUSY) end } do
      it("150 creates in a worker that does not read: " .. way .. ", " .. scheme, function()
        local of = get()
        of:fault { operation = "create", delay = 0.4, times = math.huge }
        local code = client("creates " .. scheme, key(of) .. "timeout = 1") .. "return cards:create('NUMBER new')"
        local asked = ask(150, code)
        wait_for(150, "create", of)
        hold()
        take_all(asked)
      end)
    end
  end

  it("a token that calls wait for, by their queue_timeout", function()
    upstream:fault { operation = "token", delay = 0.4 }
    local asked = ask(10, client("queue", ("client_id = %q, client_secret = %q, token_url = %q, base_url = %q, "
      .. "timeout = 5, queue_timeout = 1"):format(upstream.client_id, upstream.client_secret, upstream.token_url,
      upstream.url)) .. "return cards:find('1')")
    wait_for(1, "token", upstream)
    stop(1.3)
    take_all(asked)
    assert.equal(1, #upstream:requests("token"))
  end)

  it("and a response that is not complete by then does not", function()
    local began = socket.gettime()
    local dripping = server.start { places = [[ location / { content_by_lua_block {
      local raw = assert(ngx.req.socket(true))
      raw:send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
      for _ = 1, 20000 do
        if not raw:send(" ") then return end
        ngx.sleep(0.001)
      end
    } } ]] }
    finally(function() dripping:stop() end)
    local options = ("api_key = 'k', timeout = 0.5, base_url = 'http://127.0.0.1:%d'"):format(dripping.port)
    local card, err = nginx:run("content", client("drip", options) .. "return cards:find('1')")
    assert.is_nil(card)
    assert.equal("timeout", err.kind)
    assert.truthy(socket.gettime() - began < 5)
  end)
end)
