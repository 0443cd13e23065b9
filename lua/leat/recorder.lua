--- Scripted responses for unit tests: a transport that plays a script and records the requests.
--
--    local recorder = require("leat.recorder").new {
--      { status = 200, body = { data = { value = "1" } } },
--      { kind = "timeout", sent = "maybe" },
--    }
--    local client = leat.new { api_key = "k", driver = recorder.driver }
--    client.contact_identifiers:find("1")
--    print(recorder.requests[1].url)
--
-- Request number n receives entry number n of the script. An entry is a response `{ status =, headers =,
-- body = }`, whose body is a string, or a table that is encoded as JSON; a failure `{ kind =, sent =,
-- message = }`; or a function that takes the request and returns what a transport returns. A request
-- without an entry raises an error. Waits, such as the backoff between two attempts, take no time;
-- `recorder.waits` lists how long they would have been, in seconds.
-- @module leat.recorder

local encode = require("leat.encode")
local transport = require("leat.transport")

local recorder = {}

local function copy(request)
  local headers = {}
  for name, value in pairs(request.headers) do
    headers[name] = name == "Authorization" and "[token]" or value
  end
  return {
    method = request.method,
    url = request.url,
    headers = headers,
    body = (request.body:gsub("(client_secret=)[^&]*", "%1[secret]")),
    timeout = request.timeout,
  }
end

local function play(entry, request)
  if type(entry) == "function" then
    return entry(request)
  elseif not entry.status then
    return nil, entry
  end
  local body, wrong = encode.body(entry.body or "")
  if not body then
    error("leat.recorder: " .. wrong, 0)
  end
  return entry.status, entry.headers or { ["Content-Type"] = "application/json" }, body
end

--- Makes a recorder.
-- @tparam[opt=none] table script a list of entries
-- @treturn table `driver`, the `driver` option of `leat.new`; `requests`, a list of the requests that were
--   made, with tokens and secrets masked; `waits`, a list of seconds; `script`, to which
--   entries may be added
function recorder.new(script)
  local self = { requests = {}, waits = {}, script = script or {} }
  local ms, unix = 0, 1700000000
  local clock = {}
  function clock.now()
    return ms, unix + math.floor(ms / 1000)
  end
  function clock.sleep(seconds)
    self.waits[#self.waits + 1] = seconds
    ms = ms + math.ceil(seconds * 1000)
  end
  self.driver = transport.new(function(request)
    local n = #self.requests + 1
    self.requests[n] = copy(request)
    local entry = self.script[n]
    if not entry then
      error(("leat.recorder: no entry for request %d: %s %s"):format(n, request.method, request.url), 0)
    end
    return play(entry, request)
  end, clock)
  return self
end

return recorder --[[@as leat.recorder]]
