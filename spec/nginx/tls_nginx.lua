-- TLS and host names in a real nginx: what is verified, and the error when nginx.conf lacks a
-- setting.
local sandbox = require("leat.sandbox")
local certificates = dofile("spec/support/certificates.lua")
local server = dofile("spec/nginx/server.lua")
local reserve_port = dofile("spec/support/port.lua")
local interpreter = dofile("spec/support/interpreter.lua")
local secrets = dofile("spec/support/secrets.lua")

local function find(base_url)
  return ([[
    local client = app.client(%q, function() return { api_key = %q, base_url = %q, max_attempts = 1, timeout = 5,
      on_attempt = function(attempt) app.reused = attempt.reused end } end)
    local card, err = client.contact_identifiers:find("1")
    return card, err, app.reused
  ]]):format(base_url, secrets.key, base_url)
end

describe("in nginx, over TLS,", function()
  local upstream, plain, names, trusting, mistrusting, bare

  setup(function()
    upstream = assert(sandbox.start { tls = true, api_key = secrets.key, cards = { { value = "1" } } })
    plain = assert(sandbox.start { api_key = secrets.key })
    local pipe = assert(io.popen(("echo $$ && exec %s spec/nginx/dns.lua"):format(interpreter)))
    names = { pid = pipe:read("*l"), port = pipe:read("*l"), pipe = pipe }
    local resolver = ("resolver 127.0.0.1:%s;"):format(names.port)
    trusting = server.start { conf = resolver .. ("lua_ssl_trusted_certificate %s;"):format(upstream.ca_file) }
    mistrusting = server.start { conf = resolver }
    bare = server.start()
  end)
  teardown(function()
    for _, one in ipairs { trusting, mistrusting, bare, upstream, plain } do
      one:stop()
    end
    os.execute("kill " .. names.pid)
    names.pipe:close()
  end)

  local function url(host, of)
    return (of or upstream).url:gsub("^http:", "https:"):gsub("127%.0%.0%.1", host)
  end

  local function refuses(nginx, base_url, kind, ...)
    local before = #upstream:requests()
    local card, err = nginx:run("content", find(base_url))
    assert.is_nil(card)
    assert.equal(kind, err.kind)
    assert.equal("no", err.sent)
    for _, piece in ipairs { ... } do
      assert.truthy(err.text:find(piece, 1, true), err.text)
    end
    assert.equal(before, #upstream:requests())
    return err.text
  end

  it("a certificate that is trusted is, and the connection is used again", function()
    local card, err, reused = trusting:run("content", find(url("localhost")))
    assert.is_nil(err)
    assert.equal("1", card.value)
    assert.is_false(reused)
    card, err, reused = trusting:run("content", find(url("localhost")))
    assert.is_nil(err)
    assert.equal("1", card.value)
    assert.is_true(reused)
  end)

  it("one for another name is not, though a connection to there is kept", function()
    trusting:run("content", find(url("localhost")))
    local text = refuses(trusting, url("other.test"), "tls", "https://other.test")
    -- if the handshake ends at once, nginx does not report the reason
    assert.truthy(text:find("host mismatch (is that the right host?", 1, true) or text:find("a name that does not fit"))
    refuses(trusting, url("127.0.0.1"), "tls")
  end)

  it("nobody is trusted whom nginx.conf does not name", function()
    refuses(mistrusting, url("localhost"), "tls", "lua_ssl_trusted_certificate")
  end)

  it("a server that does not send its intermediate certificate is reported", function()
    local dir, port = certificates.make(), reserve_port()
    local other = server.start { listen = ("listen 127.0.0.1:%d ssl;"):format(port)
      .. ("ssl_certificate %s/chained.crt; ssl_certificate_key %s/chained.key;"):format(dir, dir) }
    local rooted = server.start { conf = ("resolver 127.0.0.1:%s; lua_ssl_trusted_certificate %s/root.crt;"):format(
      names.port, dir) }
    finally(function()
      other:stop()
      rooted:stop()
      certificates.remove(dir)
    end)
    local there, tries = ("https://localhost:%d/"):format(port), 0
    repeat -- if the handshake ends at once, nginx does not report the reason
      tries = tries + 1
      local text = refuses(rooted, there, "tls", "lua_ssl_trusted_certificate")
    until text:find("first certificate", 1, true) and text:find("intermediate certificate", 1, true) or tries == 20
    assert.is_true(tries < 20)
  end)

  it("a server that speaks no TLS is not taken for one", function()
    refuses(trusting, url("localhost", plain), "tls", "handshake failed")
  end)

  it("a handshake that raises an error is one that failed", function()
    trusting:run("content", [[
      local tcp = ngx.socket.tcp
      app.restore = function() ngx.socket.tcp = tcp end
      ngx.socket.tcp = function()
        local socket = tcp()
        socket.sslhandshake = function() assert(false) end
        return socket
      end
    ]])
    refuses(trusting, url("raises.test"), "tls", "no certificate was accepted")
    trusting:run("content", "app.restore()")
  end)

  it("without a resolver names are not found", function()
    refuses(bare, url("localhost"), "config", "'resolver ADDRESS ipv6=off;' in nginx.conf")
  end)
end)
