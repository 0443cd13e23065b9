-- Several workers of a real nginx, which share a token and a rate in a lua_shared_dict; and the
-- effects of a worker that dies, or of a dict with invalid contents.
local sandbox = require("leat.sandbox")
local server = dofile("spec/nginx/server.lua")
local secrets = dofile("spec/support/secrets.lua")
local socket = require("socket")

local WORKERS = 3

describe("workers of nginx that share", function()
  local upstream, nginx

  setup(function()
    upstream = assert(sandbox.start { api_key = secrets.key, client_secret = secrets.secret,
      cards = { { value = "1" } } })
    nginx = server.start { workers = WORKERS, conf = "lua_shared_dict leat 1m; lua_shared_dict tiny 12k;" }
  end)
  teardown(function()
    nginx:stop()
    upstream:stop()
  end)
  before_each(function()
    upstream:reset()
    nginx:run("content", "ngx.shared.leat:flush_all()")
  end)

  local function client(name, credentials, more)
    return ("local client = app.client(%q, function() return { shared = 'leat', base_url = %q, %s %s } end) "):format(
      name, upstream.url, credentials, more or "") .. "local cards = client.contact_identifiers\n"
  end
  local function credentials()
    return ("client_id = %q, client_secret = %q, token_url = %q,"):format(upstream.client_id, upstream.client_secret,
      upstream.token_url)
  end
  local key = ("api_key = %q,"):format(secrets.key)

  -- Sends concurrent requests until each worker has sent that many responses. Returns the responses
  -- by worker, and a list of all.
  local function ask_all(code, each)
    local count, by_worker, all = 0, {}, {}
    while count < WORKERS do
      local asked = {}
      for i = 1, 12 do
        asked[i] = nginx:ask("content", code)
      end
      for _, connection in ipairs(asked) do
        local response = connection:receive("*a")
        connection:close()
        local value, pid = server.decode(response:match("\r\n\r\n(.*)$"))
        by_worker[pid] = by_worker[pid] or {}
        table.insert(by_worker[pid], value)
        table.insert(all, value)
        count = count + (#by_worker[pid] == (each or 1) and 1 or 0)
      end
    end
    return by_worker, all
  end
  local find = "local card, err = cards:find('1') return card and card.value or tostring(err), ngx.worker.pid()"

  local function all_found(code)
    local _, all = ask_all(code)
    for _, value in ipairs(all) do
      assert.equal("1", value)
    end
  end

  it("fetch one token for all of them, also when they start", function()
    upstream:fault { operation = "token", delay = 0.3 }
    all_found(client("one", credentials(), "timeout = 20") .. find)
    assert.equal(1, #upstream:requests("token"))
  end)

  it("ask the token function once, and may have several accounts", function()
    local function asking(name)
      return client("asking " .. name, ([[account = %q, timeout = 20, token = function()
        ngx.shared.tiny:incr(%q, 1, 0)
        ngx.sleep(0.1)
        return %q, 3600
      end]]):format(name, name, secrets.key))
    end
    all_found(asking("ann") .. find)
    all_found(asking("bob") .. find)
    local ann, bob = nginx:run("content", "return ngx.shared.tiny:get('ann'), ngx.shared.tiny:get('bob')")
    assert.same({ 1, 1 }, { ann, bob })
  end)

  it("renew a token that is refused once, and don't take it again", function()
    local code = client("refused", credentials(), "timeout = 20") .. find
    all_found(code)
    upstream:expire_tokens()
    all_found(code)
    assert.equal(2, #upstream:requests("token"))
  end)

  it("renew a token though the one that another left there was revoked too", function()
    local options = credentials() .. "timeout = 20,"
    local code = client("revoked", options) .. find
    all_found(code)
    nginx:run("content", [[
      local dict = ngx.shared.leat
      for _, key in ipairs(dict:get_keys()) do
        if key:find("token$") then dict:set(key, "99999999999999 a-revoked-token") end
      end
    ]])
    upstream:expire_tokens()
    all_found(code)
    assert.equal(2, #upstream:requests("token"))
  end)

  it("are not kept waiting by one that died with a long timeout, nor by a lock of others", function()
    upstream:fault { operation = "token", delay = 30 }
    local first = nginx:ask("content", client("long", credentials(), "timeout = 600")
      .. "ngx.shared.tiny:set('pid', ngx.worker.pid()) " .. find)
    repeat
      socket.sleep(0.01)
    until #upstream:requests("token") == 1
    assert(os.execute(("kill -KILL %d"):format(nginx:run("content", "return ngx.shared.tiny:get('pid')"))))
    first:close()
    local began = socket.gettime()
    local code = client("short", credentials(), "timeout = 8") .. find
    all_found(code)
    assert.truthy(socket.gettime() - began < 7, socket.gettime() - began)

    began = socket.gettime()
    nginx:run("content", [[
      local dict = ngx.shared.leat
      for _, key in ipairs(dict:get_keys()) do
        local account = key:match("^leat %S+ ")
        dict:delete(account .. "token")
        dict:set(account .. "getting", "somebody", 3600)
      end
    ]])
    upstream:expire_tokens()
    all_found(code)
    assert.truthy(socket.gettime() - began < 7, socket.gettime() - began)
  end)

  it("wait for one of them, and go on if it dies while it gets the token", function()
    upstream:fault { operation = "token", delay = 20 }
    local code = client("dying", credentials(), "timeout = 4") .. find
    local first = nginx:ask("content", client("dying", credentials(), "timeout = 4")
      .. "ngx.shared.tiny:set('pid', ngx.worker.pid()) " .. find)
    repeat
      socket.sleep(0.01)
    until #upstream:requests("token") == 1
    local asked = {}
    for i = 1, 6 do
      asked[i] = nginx:ask("content", code)
    end
    local pid = nginx:run("content", "return ngx.shared.tiny:get('pid')")
    assert(os.execute(("kill -KILL %d"):format(pid)))
    first:close()
    for _, connection in ipairs(asked) do
      local response = connection:receive("*a")
      connection:close()
      local body = response and response:match("\r\n\r\n(.*)$") -- responses of the worker that died have none
      assert.truthy(not body or server.decode(body) == "1", body)
    end
    all_found(code)
    assert.equal(2, #upstream:requests("token"))
  end)

  it("are not harmed by rubbish, or by what was lost", function()
    local code = client("rubbish", credentials(), "timeout = 20, rate = 1000") .. find
    all_found(code)
    for _, rubbish in ipairs { "'x'", "true", "42", "0/0", "1/0", "'nan'", "-1e300", "'99999999999999 no\\ntoken'",
      "'99999999999999 a-wrong-token'", "'-1 a'", "'1 rate_limited 11'" } do
      nginx:run("content", ([[
        local dict, rubbish, flags = ngx.shared.leat, %s, 3
        for _, key in ipairs(dict:get_keys()) do
          local account = key:match("^leat %%S+ ")
          dict:set(key, rubbish, 0, flags)
          for _, name in ipairs { "token", "getting", "pause" } do dict:set(account .. name, rubbish, 0, flags) end
          local cell = math.floor(require("leat.core").now()) -- one millisecond each
          for i = 0, 500 do dict:set(account .. cell + i, rubbish, 0, flags) end
        end
      ]]):format(rubbish))
      upstream:expire_tokens()
      all_found(code)
      nginx:run("content", "ngx.shared.leat:flush_all() ngx.shared.leat:flush_expired()")
      all_found(code)
    end
    all_found(client("tiny", credentials(), "shared = 'tiny', timeout = 20, rate = 1000") .. find)
  end)

  it("send no more than the rate, all together", function()
    local code = client("rate", key, "rate = 20, queue_timeout = 20") .. find
    local asked = {}
    for i = 1, 40 do
      asked[i] = nginx:ask("content", code)
    end
    local workers = {}
    for _, connection in ipairs(asked) do
      local value, pid = server.decode(connection:receive("*a"):match("\r\n\r\n(.*)$"))
      connection:close()
      assert.equal("1", value)
      workers[pid] = true
    end
    assert.truthy(next(workers, next(workers))) -- at least two workers served them
    local requests = upstream:requests("find")
    assert.equal(40, #requests)
    -- a request that was sent in time may arrive late, just before the next one
    local span = requests[40].time - requests[1].time
    assert.truthy(span >= 39 / 20 - 0.1, span)
    assert.truthy(span < 10, span)
  end)

  it("take slots that are never closer than the rate has them, nor later than need be", function()
    local closest, first = nginx:run("content", [[
      local stores, slots, now = {}, {}, 1e9
      for i = 1, 2 do
        stores[i] = require("leat.nginx_shared").new { shared = "leat", api_key = "k" }
      end
      local call = { slot_length = function() return 10000 end, until_ms = function() return now + 1000 end,
        take_slot = function(_, us) table.insert(slots, us) end }
      for i = 1, 1000 do
        now = now + math.random(0, 30)
        stores[math.random(2)]:take_slot(call, now - math.random(0, 15)) -- a worker may be late
      end
      now = now + 1000
      stores[1]:take_slot(call, now)
      local first = slots[#slots] - now * 1000
      table.sort(slots)
      local closest = math.huge
      for i = 2, #slots do
        closest = math.min(closest, slots[i] - slots[i - 1])
      end
      return closest, first
    ]])
    assert.truthy(closest >= 10000, closest)
    assert.equal(0, first)
  end)

  for kind, status in pairs { rate_limited = 429, maintenance = 503 } do
    it("pause together when one of them is asked to wait: " .. kind, function()
      upstream:fault { operation = "find", kind = kind, retry_after = 2 }
      local once = client("paused " .. kind, key, "queue_timeout = 10")
        .. "local cards = client:with { max_attempts = 1 }.contact_identifiers\n"
      local first = nginx:run("content", once .. "return select(2, cards:find('1'))")
      assert.equal(status, first.status)
      local began = socket.gettime()
      local by_worker, refused = ask_all(once .. [[
        local card, err = cards:find("1")
        return card and "found" or { err.kind, err.sent, err.retry_after }, ngx.worker.pid()
      ]], 5)
      for _, err in ipairs(refused) do
        assert.equal(kind, err[1])
        assert.equal("no", err[2])
        assert.truthy(err[3] > 0 and err[3] <= 2, err[3])
      end
      assert.truthy(next(by_worker, next(by_worker)))
      assert.truthy(#refused >= 15 and socket.gettime() - began < 1.5, socket.gettime() - began)
      assert.equal(1, #upstream:requests("find"))

      all_found(client("paused " .. kind, key, "queue_timeout = 10") .. find) -- these calls wait
      local requests = upstream:requests("find")
      assert.truthy(requests[2].time - requests[1].time >= 1.99, requests[2].time - requests[1].time)
      assert.truthy(requests[2].time - requests[1].time < 4, requests[2].time - requests[1].time)
    end)
  end

  it("pause together when that is too long to wait for", function()
    upstream:fault { operation = "find", kind = "rate_limited", retry_after = 120 }
    local code = client("long pause", key) .. [[
      local card, err = cards:find("1")
      return card and "found" or { err.kind, err.sent, err.retry_after }, ngx.worker.pid()
    ]]
    nginx:run("content", code)
    local _, refused = ask_all(code, 5)
    for _, err in ipairs(refused) do
      assert.same({ "rate_limited", "no" }, { err[1], err[2] })
      assert.truthy(err[3] > 100 and err[3] <= 120, err[3])
    end
    assert.equal(1, #upstream:requests("find"))
  end)

  it("refuse what can't be sent in time, and keep no slot for it", function()
    local code = client("line", key, "rate = 4, queue_timeout = 0.6")
    local find_once = "local card, err = cards:find('1') return card and 'sent' or err.kind, ngx.worker.pid()"
    local _, all = ask_all(code .. find_once)
    local sent = 0
    for _, what in ipairs(all) do
      assert.truthy(what == "sent" or what == "timeout", what)
      sent = sent + (what == "sent" and 1 or 0)
    end
    assert.truthy(sent < #all)
    socket.sleep(0.7)
    assert.equal("sent", (nginx:run("content", code .. find_once)))
  end)

  it("wait for a slot as long as a view may", function()
    local code = [[
      assert(cards:find("1"))
      local card, err = client:with({ queue_timeout = %g }).contact_identifiers:find("1")
      return card and "sent" or err.kind
    ]]
    local hurried = client("hurried", key, "rate = 2, queue_timeout = 0.1")
    assert.equal("sent", (nginx:run("content", hurried .. code:format(20))))
    nginx:run("content", "ngx.shared.leat:flush_all()")
    local patient = client("patient", key, "rate = 0.1, queue_timeout = 20")
    assert.equal("timeout", (nginx:run("content", patient .. code:format(0.2))))
  end)

  it("have no secret in the names there", function()
    all_found(client("names", credentials(), "timeout = 20, rate = 1000") .. find)
    all_found(client("key", key, "timeout = 20, rate = 1000") .. find)
    local names = nginx:run("content", "return table.concat(ngx.shared.leat:get_keys(), '\\n')")
    assert.truthy(names:find("leat ", 1, true))
    assert.is_nil(names:find(secrets.key, 1, true))
    assert.is_nil(names:find(secrets.secret, 1, true))
  end)

  it("say what is missing", function()
    for options, why in pairs {
      ["shared = 'none', api_key = 'k'"] = "lua_shared_dict none",
      ["shared = 'leat', token = function() end"] = "account is missing",
      ["shared = 'leat', api_key = 'k', transport = function() end"] = "shared is for the workers",
      ["account = 'a', api_key = 'k'"] = "account is for shared",
    } do
      local fine, wrong = pcall(nginx.run, nginx, "content", ("local client = app.leat.new { %s }"):format(options))
      assert.is_false(fine)
      assert.truthy(wrong:find("^code:1: leat.new: ") and wrong:find(why, 1, true), wrong)
    end
  end)
end)
