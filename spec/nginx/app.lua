-- Runs in the nginx of the specs: executes the code in a request's body, in the phase that the request's
-- path names.
local cjson = require("cjson")
local leat = require("leat")
local semaphore = require("ngx.semaphore")

local app = { leat = leat, attempts = {} }
local clients, kept = {}, {}

-- Returns the client with that name, which is made on first use.
function app.client(name, options)
  clients[name] = clients[name] or leat.new(options())
  return clients[name]
end

local function results(fine, ...)
  local list, n = { ... }, select("#", ...)
  for i = 1, n do
    if type(list[i]) == "table" and list[i].kind then
      list[i].text = tostring(list[i])
    elseif list[i] == nil then
      list[i] = cjson.null
    end
  end
  return cjson.encode { fine = fine, list = list }
end

local function run(code)
  local chunk = assert(loadstring("local app = ... " .. code, "=code"))
  return results(pcall(chunk, app))
end

local function read_code()
  ngx.req.read_body()
  return ngx.req.get_body_data()
end

function app.respond()
  ngx.print(run(read_code()))
  ngx.exit(200)
end

-- The request ends once all its threads have ended.
function app.respond_unended()
  ngx.print(run(read_code()))
end

function app.respond_from_timer()
  local code, ended, text = read_code(), semaphore.new(), nil
  assert(ngx.timer.at(0, function()
    text = run(code)
    ended:post()
  end))
  ended:wait(20)
  ngx.print(text)
end

function app.keep_code()
  kept.code = read_code()
  ngx.print("kept")
end

function app.keep_result()
  kept.result = run(kept.code)
end

function app.respond_kept()
  ngx.print(kept.result)
end

-- A server that sends its response twice, and then waits for the next request.
function app.respond_twice()
  local body = '{"data":{"value":"1"}}'
  local head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
  local response = head:format(#body) .. body
  local raw = assert(ngx.req.socket(true))
  raw:send(response .. response)
  raw:settimeout(1000)
  raw:receive(1)
end

local function response(body, length)
  local head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-Padding: %s\r\n\r\n"
  local rest = length and length - #head:format(#body, "") - #body or 0
  return head:format(#body, ("p"):rep(rest)) .. body
end

-- A server whose response has the length that the path gives, and which sends a second response that a
-- later request could mistake for its own: at once, in the same TLS record, or after MILLISECONDS:
-- /exact/LENGTH/MILLISECONDS/... With the length 0 it closes the connection instead.
function app.respond_exactly()
  local length, later = ngx.var.uri:match("^/exact/(%d+)/(%d+)/")
  local value = (ngx.req.get_method() == "POST" and "new" or "1")
  local honest = response(('{"data":{"value":"%s"}}'):format(value), length ~= "0" and tonumber(length))
  local forged = response(('{"data":{"value":"%s","name":"forged"}}'):format(value))
  ngx.req.read_body()
  local raw = assert(ngx.req.socket(true))
  if later == "0" then
    raw:send(honest .. forged)
  else
    raw:send(honest)
    ngx.sleep(later / 1000)
    if length == "0" then
      return
    end
    raw:send(forged)
  end
  raw:settimeout(2000)
  raw:receive(1)
end

-- Runs once, when the worker starts.
function app.worker_phase()
  local client = leat.new { api_key = "worker", base_url = "http://127.0.0.1:9/" }
  app.worker_result = { pcall(client.contact_identifiers.find, client.contact_identifiers, "1") }
end

return app
