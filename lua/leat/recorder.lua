--- Answers for unit tests, and what was asked for: a transport that plays a script.
--
--    local recorder = require("leat.recorder").new {
--      { status = 200, body = { data = { value = "1" } } },
--      { kind = "timeout", sent = "maybe" },
--    }
--    local client = leat.new { api_key = "k", driver = recorder.driver }
--    client.contact_identifiers:find("1")
--    print(recorder.requests[1].url)
--
-- Request number n gets answer number n: `{ status =, headers =, body = }` with a body as
-- a string, or a table that is sent as JSON; a failure `{ kind =, sent =, message = }`; or
-- a function that takes the request and returns what a transport returns. A request that
-- the script has no answer for raises an error. Waits, such as those between two tries,
-- take no time; how long they would have been stands in `recorder.waits`, in seconds.
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

local function play(answer, request)
  if type(answer) == "function" then
    return answer(request)
  elseif not answer.status then
    return nil, answer
  end
  local body, wrong = encode.body(answer.body or "")
  if not body then
    error("leat.recorder: " .. wrong, 0)
  end
  return answer.status, answer.headers or { ["Content-Type"] = "application/json" }, body
end

--- Makes a recorder.
-- @tparam[opt] table answers the script
-- @treturn table `driver`: to give to `leat.new`; `requests`: what was asked, in order, the
--   token not shown; `waits`; `answers`: the script, to which more may be added
function recorder.new(answers)
  local self = { requests = {}, waits = {}, answers = answers or {} }
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
    local answer = self.answers[n]
    if not answer then
      error(("leat.recorder: no answer for request %d: %s %s"):format(n, request.method, request.url), 0)
    end
    return play(answer, request)
  end, clock)
  return self
end

return recorder --[[@as leat.recorder]]
