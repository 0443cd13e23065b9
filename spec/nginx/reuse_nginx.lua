-- Checks that a real nginx does not reuse a connection that holds bytes after the response, over TLS
-- and in cleartext. Another nginx is the server that sends too much.
local certificates = dofile("spec/support/certificates.lua")
local server = dofile("spec/nginx/server.lua")
local reserve_port = dofile("spec/support/port.lua")
local interpreter = dofile("spec/support/interpreter.lua")

describe("in nginx, a kept connection", function()
  local dir, names, upstream, tls_port
  local clients = {}

  setup(function()
    dir, tls_port = certificates.make(), reserve_port()
    local pipe = assert(io.popen(("echo $$ && exec %s spec/nginx/dns.lua"):format(interpreter)))
    names = { pid = pipe:read("*l"), port = pipe:read("*l"), pipe = pipe }
    upstream = server.start { listen = ("listen 127.0.0.1:%d ssl;"):format(tls_port)
      .. ("ssl_certificate %s/localhost.crt; ssl_certificate_key %s/localhost.key;"):format(dir, dir) }
    local conf = ("resolver 127.0.0.1:%s ipv6=off; lua_ssl_trusted_certificate %s/root.crt;"):format(names.port, dir)
    clients[4096] = server.start { conf = conf }
    clients[1234] = server.start { conf = conf .. "lua_socket_buffer_size 1234;" }
  end)
  teardown(function()
    for _, one in pairs(clients) do
      one:stop()
    end
    upstream:stop()
    os.execute("kill " .. names.pid)
    names.pipe:close()
    certificates.remove(dir)
  end)

  local function client(scheme, length, later)
    local origin = scheme == "https" and "https://localhost:" .. tls_port or "http://127.0.0.1:" .. upstream.port
    local url = ("%s/exact/%d/%d"):format(origin, length, later)
    return ([[
      local client = app.client(%q, function() return { api_key = "k-key", base_url = %q, timeout = 3, max_attempts = 1,
        on_attempt = function(attempt) app.reused = attempt.reused end } end)
      local cards = client.contact_identifiers
    ]]):format(url, url)
  end

  for _, scheme in ipairs { "https", "http" } do
    for _, case in ipairs { { 4096, 1 }, { 4096, 2 }, { 4096, 3 }, { 1234, 1 }, { 1234, 3 } } do
      local buffer, times = case[1], case[2]
      local what = ("%s, %d times %d bytes"):format(scheme, times, buffer)
      it("that holds bytes behind a response is not used: " .. what, function()
        local code = client(scheme, buffer * times, 0)
        for _ = 1, 3 do
          local card, err, reused = clients[buffer]:run("content", code
            .. "local card, err = cards:find('1') return card, err, app.reused")
          assert.is_nil(err)
          assert.equal("1", card.value)
          assert.is_nil(card.name)
          assert.is_false(reused)
        end
        local card, err = clients[buffer]:run("content", code .. "return cards:create('new')")
        assert.is_nil(err)
        assert.is_nil(card.name)
      end)
    end

    it("to which bytes came while the worker was busy is not used: " .. scheme, function()
      local name, reused = clients[4096]:run("content", client(scheme, 300, 50) .. [[
        assert(cards:find("1"))
        local over = os.clock() + 0.3
        repeat until os.clock() > over
        return assert(cards:find("1")).name, app.reused
      ]])
      assert.is_nil(name)
      assert.is_false(reused)
    end)
  end

  it("that is quiet is used", function()
    local quiet = client("https", 4096, 1500)
    assert.equal(true, clients[4096]:run("content", quiet .. [[
      assert(cards:find("1"))
      local again = client:with { timeout = 0.2 }.contact_identifiers
      again:find("1") -- that server does not respond twice
      return app.reused
    ]]))
  end)

  it("is no obstacle to a request that is larger than a piece", function()
    local sandbox = assert(require("leat.sandbox").start { tls = true, cards = { { value = "1" } } })
    local other = server.start { conf = ("resolver 127.0.0.1:%s ipv6=off; lua_ssl_trusted_certificate %s;"):format(
      names.port, sandbox.ca_file) }
    finally(function() other:stop() sandbox:stop() end)
    local value = other:run("content", ([[
      local cards = app.leat.new { api_key = %q, base_url = %q }.contact_identifiers
      app.leat.assert(cards:find("1"))
      local card, err = cards:create(("x"):rep(40000))
      return card and #card.value or err.text
    ]]):format(sandbox.api_key, (sandbox.url:gsub("127%.0%.0%.1", "localhost"))))
    assert.equal(40000, value)
  end)

  it("that the server closed while the worker was busy costs no attempt", function()
    for _, scheme in ipairs { "https", "http" } do
      local card, err, reused = clients[4096]:run("content", client(scheme, 0, 50) .. [[
        assert(cards:find("1"))
        local over = os.clock() + 0.3
        repeat until os.clock() > over
        local card, err = cards:find("1")
        return card, err, app.reused
      ]])
      assert.is_nil(err)
      assert.equal("1", card.value)
      assert.is_false(reused)
    end
  end)
end)
