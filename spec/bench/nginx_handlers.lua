-- The handlers that nginx_bench.lua compares: one finds a card with leat; the other is written by hand
-- on cosockets, with one keep-alive connection, a Content-Length and lua-cjson, but without any
-- handling of failures. Another one has the card in a cache, and one responds with a constant.
local cjson = require("cjson")
local leat = require("leat")

local handlers = {}

local base_url, key = os.getenv("LEAT_BASE_URL"), os.getenv("LEAT_API_KEY")
local port, path = base_url:match("^http://127%.0%.0%.1:(%d+)(.*)$")
local head = ("GET %s/contact-identifiers/find?contact_identifier_value=%%s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n"
  .. "Authorization: Bearer %s\r\nAccept: application/json\r\nUser-Agent: bench\r\n\r\n"):format(path, port, key)

-- Returns status and body.
local function exchange(request)
  local socket = ngx.socket.tcp()
  socket:settimeout(5000)
  assert(socket:connect("127.0.0.1", port))
  assert(socket:send(request))
  local status = tonumber(assert(socket:receive("*l")):match("^HTTP/1%.1 (%d+)"))
  local length
  repeat
    local line = assert(socket:receive("*l"))
    length = tonumber(line:match("^Content%-Length: (%d+)")) or length
  until line == ""
  local body = assert(socket:receive(length))
  socket:setkeepalive(60000)
  return status, body
end

local function response(card)
  local text = cjson.encode(card)
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Content-Length"] = #text
  ngx.print(text)
end

function handlers.by_hand()
  local status, body = exchange(head:format(ngx.escape_uri(ngx.var.arg_contact_identifier_value)))
  assert(status == 200)
  response(assert(cjson.decode(body).data))
end

local function by(client)
  local cards = client.contact_identifiers
  return function()
    response(leat.assert(cards:find(ngx.unescape_uri(ngx.var.arg_contact_identifier_value))))
  end
end

handlers.by_leat = by(leat.new { api_key = key, base_url = base_url })
handlers.cached = by(leat.new { api_key = key, base_url = base_url, shared = "leat",
  cache = { dict = "finds", ttl = 3600 } })

local constant = cjson.encode(cjson.decode(os.getenv("BENCH_BODY")).data)

function handlers.constant()
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Content-Length"] = #constant
  ngx.print(constant)
end

-- The calls are leat's, and the I/O is the handwritten one: the difference is the cost of the calls.
handlers.by_both = by(leat.new { api_key = key, base_url = base_url, transport = function(request)
  local status, body = exchange(head:format(request.url:match("=([^=]*)$")))
  return status, { ["Content-Type"] = "application/json" }, body
end })

return handlers
