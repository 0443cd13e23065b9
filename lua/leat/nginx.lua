--- The I/O driver for OpenResty, and nginx with its Lua module. It uses cosockets, so a call suspends
-- only its own request, and the worker goes on. `leat.new` chooses it by default there; libcurl is not
-- loaded.
--
-- It works in the phases rewrite, access and content, and in timers. It needs some settings in nginx.conf.
-- Put them into the http block: a kept connection is reused in any location, whatever certificates that
-- location trusts.
--
--    resolver 127.0.0.53 ipv6=off;                                     # for names of hosts
--    lua_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;   # for https
--    lua_ssl_verify_depth 3;
--    lua_ssl_protocols TLSv1.2 TLSv1.3;                                # nothing older
--
-- `lua_socket_pool_size` sets how many connections are kept. A call never waits for `resolver_timeout`
-- beyond its own deadline. A client that is made while a module loads serves all requests of the worker;
-- concurrent calls use separate connections.
--
-- With `shared`, all workers share one token, one rate and one pause: see `leat.new`. The option names a
-- shared dictionary, for which one megabyte is plenty:
--
--    lua_shared_dict leat 1m;
--
-- With `fleet`, several machines that run nginx share one rate through Redis: see the table below.
--
-- Tokens are obtained in a timer of their own, because nginx may end a request whose client has
-- disconnected while other requests wait for the same token. For this reason a `token` function has no
-- access to the request, and must not use locals of a request that made the client.
-- @module leat.nginx

local ngx = package.loaded.ngx
if not ngx or not ngx.socket then
  error("leat.nginx: there is no ngx.socket here: this driver is for OpenResty, or nginx with its Lua module")
end

local core = require("leat.core")
local drivers = require("leat.driver")
local schema = require("leat.options")
local semaphore = require("ngx.semaphore")

local nginx = {}
local Driver = {}
Driver.__index = Driver

local IDLE = 60000 -- milliseconds for which an idle connection is kept
local PIECE = 16384 -- bytes that are received or sent at once, at most
local LATE = 2 -- milliseconds: a worker that is later than this was busy or stopped
local GRACE = 100 -- milliseconds after the deadline in which data that has arrived is still read
local TIMER_START = 1 -- seconds to wait for a timer to begin; after that it may never begin
local CODECS = 64 -- kept for reuse: making a codec costs more than using it

-- ---- time -------------------------------------------------------------------------------

-- Returns the time: a monotonic clock in milliseconds, and seconds since 1970. ngx.now() is the wall
-- clock, which may be set, and is cached by nginx; timers start from the cached time. So the monotonic
-- clock is read again only when nginx has updated its own.
local moment, moment_ms

local function clock()
  if ngx.now() ~= moment then
    ngx.update_time()
    moment, moment_ms = ngx.now(), core.now()
  end
  return moment_ms, ngx.time()
end

-- Updates the time of nginx first, which is old if the worker has been busy.
local function now()
  ngx.update_time()
  return clock()
end

-- Lets the event loop run once. (Debian's nginx logs a warning for `ngx.sleep(0)`, and a timer of zero
-- length may end before the loop has polled the sockets.)
local function run_loop()
  ngx.sleep(0.001)
end

-- Returns a random seed. Workers are forks of one process, and must not draw the same numbers.
local function seed()
  local file = io.open("/dev/urandom", "rb")
  local bytes = file and file:read(4)
  if file then
    file:close()
  end
  local number = ngx.worker.pid() + ngx.now() * 1000
  for i = 1, bytes and #bytes or 0 do
    number = number * 256 + bytes:byte(i)
    number = number % 2147483647
  end
  return math.floor(number % 2147483646) + 1
end

local function random(self)
  if self.process ~= ngx.worker.pid() then
    self.process, self.random = ngx.worker.pid(), seed()
  end
  self.random = self.random * 16807 % 2147483647 -- exact in a double
  return self.random
end

local function set_timeouts(socket, connect_due, due)
  local ms = clock()
  local left = math.max(1, math.ceil(due - ms))
  socket:settimeouts(math.max(1, math.ceil(connect_due - ms)), left, left)
end

-- ---- connecting -------------------------------------------------------------------------

local TRUST = "nginx trusts nobody by itself: is 'lua_ssl_trusted_certificate FILE;' in nginx.conf, and right? "
  .. "Debian's is /etc/ssl/certs/ca-certificates.crt"
local CLOCK = "if this machine's clock is wrong, set it; if not, the server needs another certificate"

-- Patterns of nginx's error messages, the kind of error, and optionally advice.
local reasons = {
  { "no resolver defined", "config",
    "say 'resolver ADDRESS ipv6=off;' in nginx.conf: nginx needs one for names of hosts" },
  { "timeout", "timeout" },
  { "timed out", "timeout" },
  { "host mismatch", "tls", "is that the right host? nginx compares names: an address in base_url fits none" },
  { "chain too long", "tls", "say 'lua_ssl_verify_depth 3;' in nginx.conf" },
  { "accepted", "tls", TRUST },
  { "issuer", "tls", TRUST },
  { "self.signed", "tls", TRUST },
  { "first certificate", "tls", "the server does not send its intermediate certificate, or "
    .. "'lua_ssl_trusted_certificate FILE;' in nginx.conf is missing or wrong" },
  { "expired", "tls", CLOCK },
  { "not yet valid", "tls", CLOCK },
  { "^%d+: ", "tls" },
  { "handshake failed", "tls", "does the server speak TLS 1.2 or later there? nginx's error log says more" },
}
local IPV6 = "if this machine has no IPv6, say 'resolver ADDRESS ipv6=off;' in nginx.conf"

-- Returns the kind of error and the message.
local function explain(to, why)
  local kind, advice = "connection", nil
  for _, reason in ipairs(reasons) do
    if why:find(reason[1]) then
      kind, advice = reason[2], reason[3]
      break
    end
  end
  if kind == "timeout" and to.is_named then
    advice = IPV6
  end
  local text = ("no connection to %s: %s"):format(to.origin, why)
  return kind, advice and ("%s (%s)"):format(text, advice) or text
end

-- Performs the TLS handshake; returns nil, or the reason for its failure. In lua-nginx-module 0.10.23
-- `sslhandshake` raises an error if the handshake fails without having waited.
local function shake_hands(socket, host)
  local fine, _, why = pcall(socket.sslhandshake, socket, nil, host, true)
  if not fine then
    return "no certificate was accepted, for nginx does not say why: a name that does not fit, or no trust"
  end
  return why
end

-- Lua functions, because ngx.thread.spawn does not take C functions.
local function reach_now(socket, to, pool)
  return socket:connect(to.address, to.port, pool)
end
local function sleep(seconds)
  ngx.sleep(seconds)
end

local LOOK = 0.1 -- seconds between two checks whether the caller is alive

-- Returns what a light thread returned, or raises its error.
local function results(ran, ...)
  if not ran then
    error((...), 0)
  end
  return ...
end

-- Connects in a light thread, and kills that thread when `due` has passed or the caller has died. This
-- function runs in a light thread itself, because killing the caller does not kill the threads that it
-- started. Once `due` has passed, the event loop runs once more before the connect counts as timed out.
local function guard(socket, to, pool, due, caller)
  local reaching, late = ngx.thread.spawn(reach_now, socket, to, pool), false
  while coroutine.status(reaching) ~= "zombie" do
    local left = (due - clock()) / 1000
    if left <= 0 and late or coroutine.status(caller) == "dead" then
      ngx.thread.kill(reaching)
      return nil, "its name, or a connection, was not found in time: timeout"
    end
    late = left <= 0
    local tick = ngx.thread.spawn(sleep, math.max(0.001, math.min(left, LOOK)))
    local fine, why = results(ngx.thread.wait(reaching, tick))
    ngx.thread.kill(tick)
    if fine or why then
      return fine, why
    end
  end
  return results(ngx.thread.wait(reaching))
end

-- Connects; returns true, or nil and the reason. To resolve a name nginx takes up to `resolver_timeout`,
-- whatever the timeouts of the socket, so that connect is abandoned when `due` has passed.
local function reach(socket, to, pool, due)
  if not to.is_named then
    return reach_now(socket, to, pool)
  end
  return results(ngx.thread.wait(ngx.thread.spawn(guard, socket, to, pool, due, (coroutine.running()))))
end

-- nginx looks for a kept connection before it parses the host. This is not a valid host, so `connect` fails
-- at once if there is no kept connection, without a name lookup.
local NO_HOST = "["

-- Takes a kept connection or makes a new one. Returns the socket, and whether it was used before; or nil,
-- the kind of error and a message. Connections are kept by a pool name that states as what they were
-- verified: it contains the origin (scheme, host and port), the host is the name that is sent and compared
-- in the handshake, and no connection is unverified or uses a proxy. (Lua cannot see which certificates a
-- location trusts.)
local function connect(to, pool, deadline, connect_timeout)
  local socket = ngx.socket.tcp()
  local due = math.min(deadline, clock() + connect_timeout)
  set_timeouts(socket, due, deadline)
  if socket:connect(NO_HOST, to.port, pool) then
    return socket, true
  end
  local fine, why = reach(socket, to, pool, due)
  if fine and to.tls then
    set_timeouts(socket, due, deadline)
    why = shake_hands(socket, to.host)
    if why then
      socket:close()
    end
  end
  if why then
    return nil, explain(to, why)
  end
  return socket, false
end

-- ---- sending and receiving --------------------------------------------------------------

-- Sends `piece` and the rest of the request. Errors are ignored: the receive reports them, unless an early
-- response has arrived. The caller has set the timeouts.
local function send(socket, http, piece, deadline)
  while piece do
    local before = clock()
    local sent = socket:send(piece)
    if not sent then
      return
    end
    if clock() ~= before then -- time has passed, so the timeouts are set again
      set_timeouts(socket, deadline, deadline)
    end
    piece = http:sent(sent)
  end
end

-- Sends the request in a light thread while its parent receives, unless the parent has received something
-- first.
local function send_if_quiet(socket, http, piece, deadline, job)
  if job.worker_was_busy then
    run_loop()
  else
    coroutine.yield()
  end
  job.sends = not job.heard
  if job.sends then
    send(socket, http, piece, deadline)
  end
end

-- Sends over a kept connection, unless something can be received before. That would be the end of the
-- connection, or bytes after an earlier response, which must not be taken for the response to this
-- request. nginx checks only the socket when a connection is put back, and only a receive finds bytes that
-- OpenSSL has already decrypted, so the receive begins first. Bytes that arrived while the worker was busy
-- are found by the event loop. Returns the sender, a light thread, and what the receive returned; or nil if
-- nothing was sent.
local function send_over_kept(self, socket, http, piece, deadline)
  local job = { worker_was_busy = self.was_busy }
  local sender = ngx.thread.spawn(send_if_quiet, socket, http, piece, deadline, job)
  local bytes, why = socket:receiveany(PIECE)
  self.was_busy, job.heard = false, true
  if job.sends then
    return sender, bytes, why
  end
  ngx.thread.wait(sender)
end

-- Ends the sender. While it runs, the connection cannot be put back or closed.
local function end_sender(sender)
  if coroutine.status(sender) == "zombie" then
    ngx.thread.wait(sender)
  else
    ngx.thread.kill(sender)
  end
end

-- Feeds received bytes to the codec until it is done. `bytes, why` is the result of the first receive. Data
-- that has arrived by the deadline is read even if the worker is late. Returns the codec's last state; or
-- nil and the reason.
local function receive(socket, http, deadline, bytes, why)
  local over -- once the deadline has passed: the time at which the grace period ends
  while true do
    local state
    if bytes then
      state = http:received(bytes)
    elseif why == "closed" then
      state = http:closed()
    elseif why ~= "timeout" or over then
      return nil, why
    end
    if state and state ~= "more" then
      return state
    end
    local ms = clock()
    if not over and (ms >= deadline or not state) then
      over = ms + GRACE
    elseif over and ms > over then
      return nil, "timeout"
    end
    set_timeouts(socket, deadline, deadline)
    bytes, why = socket:receiveany(PIECE)
  end
end

-- Sends the request and receives the response. Returns the codec's last state; nil and the reason; or
-- "stale" if the kept connection cannot be used and nothing was sent.
local function talk(self, socket, reused, http, piece, deadline, tls)
  if not reused or not tls and not self.was_busy then
    send(socket, http, piece, deadline)
    return receive(socket, http, deadline, socket:receiveany(PIECE))
  end
  local sender, bytes, why = send_over_kept(self, socket, http, piece, deadline)
  if not sender then
    return "stale"
  end
  local state
  state, why = receive(socket, http, deadline, bytes, why)
  end_sender(sender)
  return state, why
end

local function fail(call, kind, sent, message)
  local ms, unix = clock()
  call:fail(ms, unix, kind, sent, message)
end

local function fail_talk(call, origin, why)
  if why == "timeout" then
    fail(call, "timeout", "maybe", ("no response from %s in time"):format(origin))
  else
    fail(call, "connection", "maybe", ("the connection to %s broke: %s"):format(origin, why))
  end
end

-- Returns the address of an origin, and the pool of its connections. It is made once per origin.
local function place_of(self, origin, host, port, tls)
  local place = self.places[origin]
  if not place then
    place = { origin = origin, host = host, port = port, tls = tls,
      address = host:find(":", 1, true) and "[" .. host .. "]" or host,
      is_named = not host:find("^[%d.]+$") and not host:find(":", 1, true),
      pool = { pool = "leat " .. origin .. (tls and " verified" or "") } }
    self.places[origin] = place
  end
  return place
end

local function put_codec(self, http)
  if #self.codecs < CODECS then
    table.insert(self.codecs, http)
  else
    http:close()
  end
end

-- Connections of this pool are never put back. Requests of more than one piece use new connections: over a
-- kept one, the sender would be a light thread, and it must not still be waiting when the response is there.
local NEW = { pool = "leat new" }

-- Performs the exchange over the first usable connection. Returns the socket, the results of `talk`, and
-- whether the socket may be kept; or nil, the kind of error and a message; or nil and "failed" if the codec
-- failed.
local function connect_and_talk(self, to, http, call, deadline, connect_timeout)
  while http:begin(call) ~= "failed" do
    local piece = http:output()
    local pool = #piece < PIECE and to.pool or NEW
    local socket, reused, message = connect(to, pool, deadline, connect_timeout)
    if not socket then
      return nil, reused, message
    end
    if not reused then -- connecting took time
      deadline = call:connected((clock()))
      set_timeouts(socket, deadline, deadline)
    end
    local state, why = talk(self, socket, reused, http, piece, deadline, to.tls)
    if state ~= "stale" then
      if reused then
        call:set_reused()
      end
      return socket, state, why, pool ~= NEW
    end
    socket:close()
  end
  return nil, "failed"
end

-- Performs one exchange and reports it to the call.
local function exchange(self, call)
  local origin, host, port, tls, deadline, connect_timeout = call:destination()
  local to = place_of(self, origin, host, port, tls)
  local http = table.remove(self.codecs) or core.http1()
  local socket, state, why, may_keep = connect_and_talk(self, to, http, call, deadline, connect_timeout)
  local reusable = false
  if not socket and why then
    fail(call, state, "no", why)
  elseif state then
    reusable = http:report(call, clock())
  else
    fail_talk(call, origin, why)
  end
  put_codec(self, http)
  if socket and not (reusable and may_keep and socket:setkeepalive(IDLE)) then
    socket:close()
  end
end

-- ---- calls ------------------------------------------------------------------------------

-- Wakes the calls that wait if the client's epoch has changed: then they must be run again.
local function wake_waiters(self, hooks, epoch)
  if self.epochs[hooks] == epoch then
    return
  end
  self.epochs[hooks] = epoch
  local waiting = -self.wakeups:count()
  if waiting > 0 then
    self.wakeups:post(waiting)
  end
end

local function publish(self, call, hooks, epoch)
  wake_waiters(self, hooks, epoch)
  if hooks.store then
    hooks.store:publish(call, clock())
  end
end

-- Returns the next step of the call, and whether other calls may wait for the token that it is getting.
local function ask(self, call, hooks)
  local ms, unix = clock()
  if hooks.store then
    hooks.store:take_pause(call, ms)
  end
  local step, epoch, gets_token = call:next(ms, unix, random(self))
  publish(self, call, hooks, epoch)
  return step, gets_token
end

-- Waits until the time that the call requested, or until the client posts a wakeup. A worker that is late may have
-- been busy or stopped while data arrived, so the event loop runs once before the call goes on.
local function wait(self, call)
  local moment_due = call:until_ms()
  local posted = self.wakeups:wait(math.max(0.001, (moment_due - clock()) / 1000))
  if not posted and clock() - moment_due > LATE then
    run_loop()
  end
end

-- Performs a step of the call, and returns the results of `ask` for the next one.
local function take(self, call, hooks, step)
  if step == "send" then
    exchange(self, call)
  elseif step == "token" and hooks.store then
    local ms, unix = clock()
    hooks.store:get_token(call, ms, unix, hooks.token)
  elseif step == "token" then
    local ms, unix = clock()
    drivers.give_token(call, ms, unix, hooks.token)
  elseif step == "slot" then
    hooks.store:take_slot(call, (clock()))
  else
    wait(self, call)
  end
  return ask(self, call, hooks)
end

local function give_up(self, call, hooks)
  fail(call, "canceled", "maybe", "an error was raised meanwhile")
  publish(self, call, hooks, call:epoch())
end

local function get_token(self, call, hooks, step)
  local gets_token
  repeat
    step, gets_token = take(self, call, hooks, step)
  until not gets_token
  return step
end

-- Runs in a timer. It must not use the request's local variables: when nginx ends the request, its
-- coroutine, with its stack, may be reused.
local function get_token_for(_, job)
  if job.begun then -- the request stopped waiting for the timer, and gets the token itself
    return
  end
  job.begun = true
  job.fine, job.step = pcall(get_token, job.driver, job.call, job.hooks, job.step)
  if job.abandoned then -- the call has failed already, and may have been freed
    return
  elseif not job.fine then
    give_up(job.driver, job.call, job.hooks)
  end
  job.ended = true
  job.ready:post()
end

-- Waits until the timer has the token; returns false if the token function took longer than the whole call may.
-- Without a token function there is no such limit: a fetch ends at the deadline of its call.
local function wait_for_token(job)
  local due = job.hooks.token and job.call:queue_deadline((clock())) + job.call:timeout_ms() or math.huge
  while not job.ended do
    if clock() > due then
      job.abandoned = true
      return false
    end
    job.ready:wait(1)
  end
  return true
end

-- Gets a token in a timer, because the holder of the token's lease must not end together with a request.
-- nginx silently drops timers beyond lua_max_running_timers, so a timer that has not begun within
-- TIMER_START is ignored, and the token is obtained here.
local function get_token_aside(self, call, hooks, step)
  local job = { driver = self, call = call, hooks = hooks, step = step, ready = semaphore.new() }
  local made = ngx.timer.at(0, get_token_for, job)
  if made then
    job.ready:wait(TIMER_START)
  end
  if not job.begun then
    job.begun = true
    return get_token(self, call, hooks, step)
  elseif not wait_for_token(job) then
    fail(call, "timeout", "no", "the token function did not return in time")
    return (ask(self, call, hooks))
  end
  return job.fine and job.step or error(job.step, 0)
end

local function carry(self, call, hooks, phase)
  local seen = ngx.now()
  now()
  self.was_busy = self.was_busy or math.abs(ngx.now() - seen) * 1000 > LATE
  local step, gets_token = ask(self, call, hooks)
  while step ~= "done" do
    local go = phase ~= "timer" and gets_token and get_token_aside or take
    step, gets_token = go(self, call, hooks, step)
    if hooks.attempts then
      hooks.attempts()
    end
  end
end

-- The phases in which nginx can suspend the running code.
local suspends = { server_rewrite = true, rewrite = true, access = true, content = true, timer = true, ssl_cert = true,
  ssl_session_fetch = true, ssl_client_hello = true }

-- Returns the reason why the running code cannot be suspended, or nil. It is checked before anything is sent.
local function why_not_here()
  local phase = ngx.get_phase()
  if not suspends[phase] then
    return ("nginx can't wait in the phase '%s': call it in rewrite, access or content, or in "
      .. "ngx.timer.at(0, function() ... end)"):format(phase)
  elseif core.is_yieldable() == false then
    return "nginx can't wait inside a function that C code calls (from string.gsub, table.sort, require, "
      .. "tostring, ...): make the call before or after that"
  end
end

-- Returns the same to other modules of leat.
nginx.refusal = why_not_here

--- Performs a call until it is done. An error that is raised meanwhile cancels the call.
-- @param call a call of the core
-- @tparam[opt] table hooks the client's hooks: see `leat.driver`
-- @treturn string nil; or the reason why the call cannot be made here
-- @raise the error that canceled the call
function Driver:perform(call, hooks)
  local refused = why_not_here()
  if refused then
    return refused
  end
  hooks = hooks or {}
  local fine, why = pcall(carry, self, call, hooks, ngx.get_phase())
  if not fine then
    give_up(self, call, hooks)
    drivers.raise(why, call)
  end
end

--- The option `fleet` of `leat.new`: several machines that run nginx share one `rate` through Redis, version 5 or
-- later. `shared` and `rate` are needed, too. Redis keeps the time of the next free slot, and each slot takes one
-- request to it. When the service asks one machine to wait, the others wait from their next slot on.
--
-- While Redis is away, each machine sends its part, `rate` / `machines`, and no call fails because of that. Redis is
-- tried again after 1, 2, 4, 8 and then every 10 seconds. nginx's error log says when it is away, and when it is back.
--
-- The library is `resty.redis` or `nginx.redis`, whichever can be loaded. With `connect` it may be another one.
-- @table fleet
-- @tfield integer machines required: how many machines share the rate
-- @tfield[opt=none] string host the host of Redis, which is required without `connect`. nginx needs a `resolver` for a
--   name
-- @tfield[opt=6379,unit=port] integer port its port
-- @tfield[opt=the default user] string user the user to log in as, in Redis 6 or later
-- @tfield[opt=none] string password the password of the user
-- @tfield[opt=false] boolean tls true: TLS, and the certificate is verified. Only with `resty.redis`, 0.28 or later
-- @tfield[opt=0.2,unit=seconds] number timeout how long a request to Redis may take, with connecting; at most half of
--   `queue_timeout`
-- @tfield[opt=none] function connect replaces `host` and the options of its connection: returns a client of Redis that
--   is connected and logged in, or nil and the reason. It is called for each slot. The client has the methods
--   `eval(script, 1, key, ...)`, `set_keepalive(milliseconds)` and `close()`

--- The clock of nginx, as options for `transport.new`.
-- @field now returns monotonic milliseconds, and seconds since 1970
-- @field sleep waits for the given seconds, and yields
nginx.clock = { now = now, sleep = ngx.sleep }

local unsupported = {
  ca_file = "ca_file is for libcurl: in nginx.conf it is 'lua_ssl_trusted_certificate FILE;'",
  proxy = "proxy is for libcurl: nginx connects without one",
  max_connections = "max_connections is for libcurl: in nginx.conf 'lua_socket_pool_size' says how many are kept",
}

--- Makes a driver.
-- @tparam[opt] table options none are supported. `ca_file`, `proxy` (unless it is "") and
--   `max_connections` fail with a message that names the setting of nginx.conf to use
-- @treturn Driver or nil and a message
-- @raise mistakes in the options
function nginx.new(options)
  local settings = schema.check("leat.nginx.new", schema.connection, options or {}, 2)
  for name, why in pairs(unsupported) do
    if settings[name] and settings[name] ~= "" then
      return nil, why
    end
  end
  return setmetatable({ wakeups = semaphore.new(), codecs = {}, places = {}, was_busy = false,
    epochs = setmetatable({}, { __mode = "k" }) }, Driver)
end

return nginx
