-- leat.nginx in a real nginx: what a call does there, in which phases it works, and what it leaves behind.
--    make test-nginx
local reserve_port = dofile("spec/support/port.lua")
local sandbox = require("leat.sandbox")
local server = dofile("spec/nginx/server.lua")
local secrets = dofile("spec/support/secrets.lua")
local socket = require("socket")

local function start_sandbox(more)
  local given = {
    api_key = secrets.key,
    contacts = { { uuid = "ann" }, { uuid = "bob" } },
    cards = { { value = "free" }, { value = "linked", contact_uuid = "ann" } },
  }
  for name, value in pairs(more or {}) do
    given[name] = value
  end
  return assert(sandbox.start(given))
end

-- Returns code that has `client` and `cards`; `more` holds further options of the client.
local function with_client(name, upstream, more, code)
  return ([[
    local client = app.client(%q, function()
      return { api_key = %q, base_url = %q, retry_base = 0.001, retry_cap = 0.01, %s }
    end)
    local cards = client.contact_identifiers
    %s
  ]]):format(name, upstream.api_key, upstream.url, more, code)
end

describe("in nginx", function()
  local upstream, nginx

  setup(function()
    upstream = start_sandbox()
    nginx = server.start {}
  end)
  teardown(function()
    nginx:stop()
    upstream:stop()
  end)
  before_each(function()
    upstream:reset()
  end)

  local function run(code, phase)
    return nginx:run(phase or "content", with_client("plain", upstream, "timeout = 3", code))
  end

  it("the six operations are carried out", function()
    assert.equal("free", run("return cards:find('free')").value)
    local card, err = run("return cards:create('new', { name = 'N', contact_uuid = 'ann' })")
    assert.is_nil(err)
    assert.equal("ann", card.contact.uuid)
    assert.equal("bob", run("return cards:find('free'):link('bob')").contact.uuid)
    assert.equal("bob", upstream:card("free").contact.uuid)
    assert.is_nil(run("return cards:unlink('linked')").contact)
    assert.is_nil(upstream:card("linked").contact)
    run("return cards:update('free', { name = 'F' })")
    assert.equal("F", upstream:card("free").name)
    assert.is_true(run("return cards:delete('free')"))
    assert.is_nil(upstream:card("free"))
  end)

  it("errors are returned, and misuse is raised at the caller's line", function()
    local none, err = run("return cards:find('none')")
    assert.is_nil(none)
    assert.equal("not_found", err.kind)
    assert.equal(60003, err.code)
    local fine, wrong = pcall(run, "local card = cards:find(42) return card")
    assert.is_false(fine)
    assert.truthy(wrong:find("^code:%d+: leat: contact_identifiers.find: .*must be a string"), wrong)
  end)

  it("a call works in each phase that can wait", function()
    for _, phase in ipairs { "server_rewrite", "rewrite", "access", "content", "timer" } do
      local card = run("return cards:find('linked')", phase)
      assert.equal("ann", card.contact.uuid)
    end
    assert.equal(5, #upstream:requests("find"))
  end)

  it("in any other it says so", function()
    for _, phase in ipairs { "log", "header" } do
      nginx:get(phase, with_client("plain", upstream, "timeout = 3",
        "local card = cards:find('free') return card"))
      local fine, wrong = pcall(server.decode, nginx:get("kept"))
      assert.is_false(fine)
      assert.truthy(wrong:find("^code:%d+: .*nginx can't wait in the phase '" .. phase), wrong)
    end
    local fine, wrong = run("return app.worker_result[1], app.worker_result[2]")
    assert.is_false(fine)
    assert.truthy(wrong:find("ngx.timer.at", 1, true), wrong)
    assert.equal(0, #upstream:requests())
  end)

  local around = {
    ["string.gsub"] = "string.gsub('x', 'x', function() CALL end)",
    ["table.sort"] = "table.sort({ 1, 2 }, function(a, b) CALL return a < b end)",
    ["require"] = "package.loaded.calling = nil package.preload.calling = function() CALL end require('calling')",
    ["load"] = "assert(load(function() CALL end))",
  }
  for name, code in pairs(around) do
    it("inside " .. name .. ", which can't be suspended, nothing is sent", function()
      for _, call in ipairs { "app.found = cards:find('free')", "app.found = cards:delete('free')",
        "app.found = client:request('POST', '/contacts', { body = {} })" } do
        local fine, wrong = pcall(run, (code:gsub("CALL", call)))
        assert.is_false(fine)
        assert.truthy(wrong:find("nginx can't wait inside a function that C code calls", 1, true), wrong)
        assert.truthy(wrong:find("make the call before or after that", 1, true), wrong)
      end
      assert.equal(0, #upstream:requests())
      assert.equal("free", run("return cards:find('free')").value)
    end)
  end

  it("inside what can be suspended a call works", function()
    local value = run([[
      local values = {}
      local function find() table.insert(values, cards:find("free").value) return true end
      pcall(find)
      xpcall(find, debug.traceback)
      coroutine.wrap(find)()
      assert(ngx.thread.wait(ngx.thread.spawn(find)))
      local _ = setmetatable({}, { __index = find }).x
      for _ in function(_, once) return not once and find() or nil end do end
      return table.concat(values, " ")
    ]])
    assert.equal("free free free free free free", value)
  end)

  it("a connection is reused, and on_attempt reports it", function()
    run([[
      app.client("told", function()
        return { api_key = ]] .. ("%q"):format(secrets.key) .. [[, base_url = client.base_url,
          on_attempt = function(attempt) table.insert(app.attempts, attempt) end }
      end)
    ]])
    local attempts = run([[
      local told = app.client("told").contact_identifiers
      told:find("free")
      told:find("free")
      return app.attempts
    ]])
    assert.equal(2, #attempts)
    assert.is_true(attempts[2].reused)
    assert.equal("contact_identifiers.find", attempts[1].operation)
  end)

  it("on_attempt may write to nginx's log, where no key is seen", function()
    run([[
      local logging = app.client("logging", function()
        return { api_key = ]] .. ("%q"):format(secrets.key) .. [[, base_url = client.base_url,
          on_attempt = function(attempt)
            ngx.log(ngx.WARN, "attempt ", attempt.attempt, ": ", attempt.operation, " ", attempt.kind or attempt.status)
          end }
      end)
      logging.contact_identifiers:find("free")
      logging.contact_identifiers:find("none")
    ]])
    local log = nginx:log()
    assert.truthy(log:find("attempt 1: contact_identifiers.find 200", 1, true))
    assert.truthy(log:find("attempt 1: contact_identifiers.find not_found", 1, true))
    assert.is_nil(log:find(secrets.key, 1, true))
  end)

  it("and so is all else that a client can do", function()
    assert.equal("ann", run("return cards:ensure('free', { contact_uuid = 'ann' })").contact.uuid)
    local none, err = run("return cards:ensure('linked', { contact_uuid = 'bob' })")
    assert.is_nil(none)
    assert.equal("conflict", err.kind)
    local list = run("return cards:list { contact_uuid = 'ann' }")
    assert.equal(2, #list)
    assert.is_string(run("return client:check()").company)
    assert.equal("free", run("return client:request('GET', '/contact-identifiers/find', "
      .. "{ query = { contact_identifier_value = 'free' } })").value)
    local limit = run("return client:rate_limit()")
    assert.truthy(limit.remaining < limit.limit)
  end)

  it("a function for headers is called in the request that makes the call, and may yield", function()
    local options = "headers = function() ngx.sleep(0.05) return { traceparent = ngx.ctx.trace } end"
    local asked = {}
    for i = 1, 5 do
      asked[i] = nginx:ask("content", with_client("traced", upstream, options, ([[
        ngx.ctx.trace = %d
        return cards:create("new%d").value
      ]]):format(i, i)))
    end
    for i, connection in ipairs(asked) do
      assert.truthy(connection:receive("*a"):find("new" .. i, 1, true))
      connection:close()
    end
    assert.equal(5, #upstream:requests("create"))
    for _, request in ipairs(upstream:requests("create")) do
      assert.equal(request.body:match('"new(%d)"'), request.headers["traceparent"])
    end
  end)

  it("a client's own rate spaces its calls", function()
    local took = nginx:run("content", with_client("spaced", upstream, "rate = 20", [[
      ngx.update_time()
      local began = ngx.now()
      for _ = 1, 5 do assert(cards:find("free")) end
      ngx.update_time()
      return ngx.now() - began
    ]]))
    assert.truthy(took >= 0.19 and took < 5, took)
  end)

  local ways = {
    ["was closed before it"] = { close = "before" },
    ["was closed within it"] = { close = "within" },
    ["was a 500"] = { status = 500 },
    ["was a 502"] = { status = 502, body = "<html>Bad Gateway</html>" },
    ["was HTML"] = { status = 200, body = "<html>Free Wi-Fi</html>" },
    ["was empty"] = { status = 200, body = "{" },
  }
  local operations = {
    create = "cards:create('new', { contact_uuid = 'ann' })",
    link = "cards:link('free', 'bob')",
    unlink = "cards:unlink('linked')",
    update = "cards:update('free', { name = 'N' })",
    delete = "cards:delete('free')",
  }
  for name, code in pairs(operations) do
    for way, fault in pairs(ways) do
      it("a change whose response is lost is verified: " .. name .. ", the response " .. way, function()
        local one = { operation = name, apply = true }
        for key, value in pairs(fault) do
          one[key] = value
        end
        upstream:fault(one)
        local value, err, info = run("return " .. code)
        assert.is_nil(err)
        assert.truthy(value)
        assert.equal(name ~= "update" and "recovered" or nil, info.outcome)
        assert.equal(name == "update" and 2 or 1, #upstream:requests(name))
      end)
    end
  end

  it("a request that was never sent is retried, and one that may have been sent is reported", function()
    local code = "return client:with { timeout = 0.3, max_attempts = 1 }.contact_identifiers:delete('free')"
    upstream:fault { operation = "delete", delay = 2 }
    local _, err = run(code)
    assert.equal("timeout", err.kind)
    assert.equal("maybe", err.sent)
    assert.is_true(err.outcome_unknown)
    assert.truthy(err.text:find("no response from http://127.0.0.1", 1, true), err.text)

    local gone = start_sandbox { port = reserve_port() }
    gone:stop()
    _, err = nginx:run("content", with_client("gone", gone, "", "return cards:delete('free')"))
    assert.equal("connection", err.kind)
    assert.equal("no", err.sent)
    assert.equal(3, err.attempts)
    assert.is_false(err.outcome_unknown)
  end)

  -- The same as outcomes_spec.lua does over libcurl, but without the faults that last longest.
  it("what is reported is true, of 150 random operations", function()
    local model = dofile("spec/support/model.lua")
    local random = dofile("spec/support/random_calls.lua")
    local life = assert(sandbox.start { api_key = secrets.key, contacts = { { uuid = "ann" }, { uuid = "bob" } } })
    finally(function() life:stop() end)
    local draw = random.generator(tonumber(os.getenv("LEAT_SEED") or 4711))
    for i = 1, 150 do
      local before = model.read(life:card("x"))
      local ask, reach = random.ask(draw), random.plan_faults(life, draw, 0.02)
      socket.sleep(reach)
      local fields = ("name = %s, active = %s, contact_uuid = %s"):format(
        tostring(ask.name and ("%q"):format(ask.name)), tostring(ask.active),
        tostring(ask.contact and ("%q"):format(ask.contact)))
      local more = ask.operation == "link" and (", %q"):format(ask.contact)
        or (ask.operation == "create" or ask.operation == "update") and ", { " .. fields .. " }" or ""
      local value, err, info = nginx:run("content", with_client("random", life, "timeout = 5",
        ("return cards:%s('x'%s)"):format(ask.operation, more)))
      socket.sleep(reach)
      local after = model.read(life:card("x"))
      local wrong = model.contradiction(before, ask, after, value, err, info)
      assert.is_nil(wrong, ("%d: %s %s: from %s to %s: %s"):format(i, ask.operation, fields, model.show(before),
        model.show(after), tostring(err and err.text)))
    end
  end)

  it("an address of IPv6 is an address", function()
    local _, err = nginx:run("content", with_client("six", { url = "http://[::1]:9/", api_key = "k" }, "",
      "return client:with { max_attempts = 1 }.contact_identifiers:find('1')"))
    assert.equal("connection", err.kind)
    assert.is_nil(err.text:find("parse", 1, true), err.text)
  end)

  it("libcurl is nowhere in the worker", function()
    run("return cards:find('free')")
    local pid, curl, tasks = run([[
      return ngx.worker.pid(), package.loaded["leat.curl"] ~= nil, package.loaded["leat.tasks"] ~= nil
    ]])
    local file = assert(io.open(("/proc/%d/maps"):format(pid)))
    local maps = file:read("*a")
    file:close()
    assert.truthy(maps:find("leat/core.so", 1, true))
    assert.is_nil(maps:find("curl", 1, true))
    assert.same({ false, false }, { curl, tasks })
  end)
end)
