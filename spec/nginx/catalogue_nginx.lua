-- The catalogue of bad servers, row by row, through nginx: over HTTP, and over TLS. Each trial, a find
-- or a create, must report the truth, in time, and must have sent no more requests than its row allows;
-- the same client must work afterwards. Only spec/support/catalogue.h defines what a row does and what
-- is expected. LEAT_VERBOSE=1 prints which rows are not run here, and why.
local server = dofile("spec/nginx/server.lua")
local interpreter = dofile("spec/support/interpreter.lua")
local secrets = dofile("spec/support/secrets.lua")
local socket = require("socket")

local AT_ONCE, TLS_AT_ONCE = 100, 40 -- concurrent trials, most of which are waiting
local GRACE = 1000 -- milliseconds, for a machine under load

-- nginx reports only that a handshake failed: the cause may be the peer's certificate, its protocol or a
-- broken connection. Therefore the error is `tls`, and there is no retry.
local differs = {
  ["TLS: closes in the handshake"] = "tls",
  ["TLS: resets in the handshake"] = "tls",
}

local function start_catalogue()
  local pipe = assert(io.popen("exec " .. os.getenv("LEAT_TOOLS") .. "/catalogue_server"))
  local lines = {}
  for line in pipe:lines() do
    lines[#lines + 1] = line
    if line == "} }" then
      break
    end
  end
  local catalogue = assert((loadstring or load)(table.concat(lines, "\n")))()
  catalogue.pipe = pipe
  catalogue.control = assert(socket.connect("127.0.0.1", catalogue.port))
  for i, trial in ipairs(catalogue.trials) do
    trial.number = i - 1
  end
  return catalogue
end

local function start_names()
  local pipe = assert(io.popen(("echo $$ && exec %s spec/nginx/dns.lua"):format(interpreter)))
  return { pid = pipe:read("*l"), port = pipe:read("*l"), pipe = pipe }
end

describe("in nginx, of the catalogue of bad servers,", function()
  local catalogue, names, nginx, conf, environment

  setup(function()
    catalogue, names = start_catalogue(), start_names()
    conf = ("resolver 127.0.0.1:%s; lua_socket_log_errors off; lua_socket_pool_size 300; "
      .. "lua_ssl_trusted_certificate %s; "):format(names.port, catalogue.ca_file)
    -- replaces the system's TLS policy, so that only nginx.conf refuses anything
    environment = "OPENSSL_CONF=" .. catalogue.policy_file
    nginx = server.start { conf = conf .. "lua_ssl_protocols TLSv1.2 TLSv1.3;", environment = environment }
  end)
  teardown(function()
    nginx:stop()
    os.execute("kill " .. names.pid) -- it inherited a copy of the control connection
    names.pipe:close()
    catalogue.control:close()
    catalogue.pipe:close()
  end)

  local function tell(verb, trial)
    assert(catalogue.control:send(("%s %d\n"):format(verb, trial.number)))
    local response = assert(catalogue.control:receive("*l"))
    local finds, creates, there, connections, late = response:match("(%d+) (%d+) (%d+) (%d+) (%d+)")
    return { finds = tonumber(finds), creates = tonumber(creates), there = there == "1",
      connections = tonumber(connections), late = tonumber(late) }
  end

  local function code(trial, operation, settings, large)
    return ([[
      local client = app.client(%q, function()
        return { api_key = %q, base_url = %q, timeout = 6, retry_base = 0.001, retry_cap = 0.001 }
      end)
      ngx.update_time()
      local began, cards = ngx.now(), client:with { %s }.contact_identifiers
      local card, err, info = cards:%s(%s)
      ngx.update_time()
      return { kind_of_error = card and "ok" or err.kind, outcome = info and info.outcome,
        unknown = err and err.outcome_unknown or false, attempts = (info or err).attempts, sent = err and err.sent,
        message = err and tostring(err) or "", took = (ngx.now() - began) * 1000 }
    ]]):format(trial.url, secrets.key, trial.url, settings, operation, large and '("x"):rep(60000)' or '"1"')
  end

  -- Runs all trials at the same time; returns their results.
  local function all(trials, text, at)
    local asked, results = {}, {}
    for i, trial in ipairs(trials) do
      asked[i] = (at or nginx):ask("content", text(trial))
    end
    for i, connection in ipairs(asked) do
      local response = connection:receive("*a") or ""
      connection:close()
      results[i] = server.decode(response:match("\r\n\r\n(.*)$") or error(nginx:log():sub(-3000)))
    end
    return results
  end

  local function find(trial)
    return code(trial, "find", "timeout = 6")
  end
  local function ask(trial)
    return code(trial, trial.creates and "create" or "find", ("timeout = %g, connect_timeout = %g"):format(
      trial.timeout / 1000, trial.connect_timeout / 1000), trial.large)
  end

  local function warm(trials)
    local warm_ones = {}
    for _, trial in ipairs(trials) do
      if trial.warm then
        warm_ones[#warm_ones + 1] = trial
        if trial.spoilt then
          tell("arm", trial)
        end
      end
    end
    all(warm_ones, find)
    for _, trial in ipairs(warm_ones) do
      tell("warmed", trial)
    end
    for _, trial in ipairs(trials) do
      if not trial.spoilt then
        tell("arm", trial)
      end
    end
  end

  -- Returns what is wrong with the result, or nothing if all is well.
  local function check_report(trial, came, seen)
    local wrong = {}
    local function check(good, what)
      if not good then
        wrong[#wrong + 1] = what
      end
    end
    local kind = differs[trial.title]
    check(came.kind_of_error == (kind or trial.kind), "its kind")
    check((came.outcome == "recovered") == (trial.recovered or false), "whether it was recovered")
    check(came.unknown == (trial.unknown or false), "whether its outcome is unknown")
    check((trial.creates and seen.creates or seen.finds) == (kind and 0 or trial.sends), "it is sent so often")
    check(trial.creates or seen.creates == 0, "a find creates nothing")
    local count = seen.finds + seen.creates
    check(trial.unseen and count <= came.attempts or count == came.attempts, "all that was sent is told")
    check(not trial.kept or seen.connections <= came.attempts, "the connection was kept")
    check(not trial.never_left or came.kind_of_error == "ok" or came.sent == "no", "it says that nothing left")
    check(came.took <= trial.timeout + GRACE + seen.late, "it ends in time")
    check(came.message:find(secrets.key, 1, true) == nil, "no key in its message")
    check(not trial.creates or came.unknown or seen.there == (came.kind_of_error == "ok"), "what it says is true")
    return wrong, came, seen
  end

  local function describe_wrong(trial, wrong, came, seen)
    return ("row %d, %s; %s%s: %s: %s, %.0f attempts, %.0f ms; seen: %d finds, %d creates%s; %s"):format(trial.row,
      trial.title, trial.mode, trial.over_tls and ", over TLS" or "", table.concat(wrong, ", "), came.kind_of_error,
      came.attempts, came.took, seen.finds, seen.creates, seen.there and ", there" or "", came.message)
  end

  local function run(trials, complaints)
    warm(trials)
    local came, seen = all(trials, ask), {}
    for i, trial in ipairs(trials) do
      local wrong
      seen[i] = tell("see", trial)
      wrong = check_report(trial, came[i], seen[i])
      if #wrong > 0 then
        complaints[#complaints + 1] = describe_wrong(trial, wrong, came[i], seen[i])
      end
      tell("heal", trial)
    end
    for i, after in ipairs(all(trials, find)) do
      local trial, now = trials[i], tell("see", trials[i])
      local good = after.kind_of_error == (trial.pauses and trial.kind or now.there and "ok" or "not_found")
        and (not trial.last or trial.over_tls or now.connections == 2)
      if not good then
        complaints[#complaints + 1] = describe_wrong(trial, { "the client works on" }, after, now)
      end
    end
  end

  -- Trials that wait longest run together.
  local function run_all(over_tls, at_once)
    local complaints, ones = {}, {}
    for _, trial in ipairs(catalogue.trials) do
      if (trial.over_tls or false) == over_tls then
        ones[#ones + 1] = trial
      end
    end
    table.sort(ones, function(a, b)
      if a.timeout ~= b.timeout then
        return a.timeout < b.timeout
      end
      return a.number < b.number
    end)
    for first = 1, #ones, at_once do
      local some = {}
      for i = first, math.min(first + at_once - 1, #ones) do
        some[#some + 1] = ones[i]
      end
      run(some, complaints)
    end
    assert.truthy(#ones > 100)
    assert.equal("", table.concat(complaints, "\n"))
  end

  it("each row over HTTP comes to what is true", function()
    run_all(false, AT_ONCE)
  end)

  it("each row over TLS does", function()
    run_all(true, TLS_AT_ONCE)
  end)

  it("what is not driven here has its reason", function()
    for _, row in ipairs(catalogue.skipped) do
      assert.truthy(#row.why > 0)
      if os.getenv("LEAT_VERBOSE") then
        print(("%3d  %-48s not here: %s"):format(row.row, row.title, row.why))
      end
    end
  end)

  it("a server of TLS 1.1 is refused by nginx.conf alone", function()
    local old = {}
    for _, trial in ipairs(catalogue.trials) do
      if trial.title == "TLS 1.1 only" and trial.mode == "find, always" then
        old[1] = trial
      end
    end
    tell("arm", old[1])
    for protocols, kind in pairs { ["TLSv1.2 TLSv1.3"] = "tls", ["TLSv1.1 TLSv1.2"] = "ok" } do
      local fresh = server.start { conf = ("%s lua_ssl_protocols %s;"):format(conf, protocols),
        environment = environment }
      local came = all(old, find, fresh)
      fresh:stop()
      assert.equal(kind, came[1].kind_of_error)
    end
  end)
end)
