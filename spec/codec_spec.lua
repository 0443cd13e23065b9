-- The codec as a driver in Lua uses it: it produces and consumes bytes, and passes the response to the call.
local core = require("leat.core")
local secrets = dofile("spec/support/secrets.lua")

local client = assert(core.client { api_key = secrets.key, base_url = "http://127.0.0.1:8080/base", max_attempts = 1 })
local errors, cards = {}, { __index = {} }

local function operation(name)
  for _, row in ipairs(core.operations()) do
    if row.name == name then
      return row.index
    end
  end
end

local function new_call(name, ...)
  local call = assert(core.call(client, operation(name), ...))
  assert.equal("send", call:next(0, 0, 0))
  return call
end

-- Returns a call whose request has been sent in full.
local function sent_call(name, ...)
  local call, http = new_call(name, ...), core.http1()
  assert.equal("more", http:begin(call))
  local piece, all = http:output(), ""
  while piece do
    http:sent(#piece)
    all, piece = all .. piece, http:output()
  end
  return call, http, all
end

local BODY = '{"data":{"value":"0042"}}'
local RESPONSE = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " .. #BODY .. "\r\n\r\n" .. BODY

local function end_of(call)
  assert.equal("done", call:next(0, 0, 0))
  return core.result(call, errors, cards)
end

describe("the codec", function()
  it("takes clocks that show anything", function()
    for _, time in ipairs { 1e300, -1e300, math.huge, -math.huge, 0 / 0, 2^63, -2^63, 2^53, -1, 0 } do
      local own = assert(core.client { api_key = secrets.key, base_url = "http://127.0.0.1:8080", max_attempts = 1 })
      local call = assert(core.call(own, operation("find"), "0042"))
      assert.equal("send", call:next(time, time, time))
      local deadline = select(5, call:destination())
      if time == time and math.abs(time) < 1e15 then
        assert.equal(time + 30000, deadline)
      else -- the largest time there is
        assert.truthy(deadline > 1e15 == (time > 0) and math.abs(deadline) < 1e16, deadline)
      end
      call:connected(time)
      call:fail(time, time, "timeout", "no", "late")
      assert.equal("done", call:next(time, time, 0))
      call:pause(time)
      call:share_pause(time, { seconds = 1, kind = "maintenance" })
    end
  end)

  it("says where a call wants to go", function()
    local origin, host, port, tls, deadline, connect_timeout = new_call("find", "0042"):destination()
    assert.same({ "http://127.0.0.1:8080", "127.0.0.1", 8080, false, 30000, 5000 },
      { origin, host, port, tls, deadline, connect_timeout })
  end)

  it("makes the request's bytes, and gives the call the response", function()
    local call, http, request = sent_call("find", "0042")
    assert.equal("GET /base/contact-identifiers/find?contact_identifier_value=0042 HTTP/1.1", request:match("^[^\r]*"))
    assert.truthy(request:find("\r\nHost: 127.0.0.1:8080\r\n", 1, true))
    assert.truthy(request:find("\r\nAuthorization: Bearer " .. secrets.key .. "\r\n", 1, true))
    assert.equal("response", http:received(RESPONSE))
    assert.is_true(http:report(call, 1, 0))
    assert.equal("0042", end_of(call).value)
  end)

  it("takes a response byte by byte", function()
    local call, http = sent_call("find", "0042")
    for i = 1, #RESPONSE - 1 do
      assert.equal("more", http:received(RESPONSE:sub(i, i)))
    end
    assert.equal("response", http:received(RESPONSE:sub(-1)))
    assert.is_true(http:report(call, 1, 0))
    assert.equal("0042", end_of(call).value)
  end)

  it("takes one that is larger than any receive", function()
    local name = ("x"):rep(300000)
    local body = '{"data":{"value":"0042","contact_identifier_name":"' .. name .. '"}}'
    local call, http = sent_call("find", "0042")
    local response = RESPONSE:gsub("Length: %d+", "Length: " .. #body):sub(1, -#BODY - 1) .. body
    assert.equal("response", http:received(response))
    http:report(call, 1, 0)
    assert.equal(name, end_of(call).contact_identifier_name)
  end)

  it("gives a large request in pieces", function()
    local body = '"' .. ("x"):rep(100000) .. '"'
    local call, http = assert(core.request(client, "POST", "/any", nil, nil, body)), core.http1()
    call:next(0, 0, 0)
    http:begin(call)
    local count, all = 0, ""
    for piece in http.output, http do
      assert.truthy(#piece <= 16384)
      http:sent(#piece - 1) -- as much as the socket took
      count, all = count + 1, all .. piece:sub(1, -2)
      if #piece == 1 then
        http:sent(1)
        all = all .. piece
      end
    end
    assert.truthy(count > 6)
    assert.equal(body, all:match("\r\n\r\n(.*)$"))
  end)

  it("lets no connection be used again that may hold another response", function()
    local call, http = sent_call("find", "0042")
    assert.equal("response", http:received(RESPONSE .. RESPONSE))
    assert.is_false(http:report(call, 1, 0))
    assert.equal("0042", end_of(call).value)

    call, http = sent_call("find", "0042")
    assert.equal("response", http:received(RESPONSE))
    assert.equal("response", http:received("H"))
    assert.is_false(http:report(call, 1, 0))
  end)

  it("nor one that took the response before it took the request", function()
    local call, http = new_call("find", "0042"), core.http1()
    http:begin(call)
    http:sent(1)
    assert.equal("response", http:received(RESPONSE))
    assert.is_false(http:report(call, 1, 0))
  end)

  it("gives the call what failed", function()
    local call, http = sent_call("delete", "0042")
    assert.equal("more", http:received(RESPONSE:sub(1, -2)))
    assert.equal("failed", http:closed())
    assert.is_false(http:report(call, 1, 0))
    local none, err = end_of(call)
    assert.is_nil(none)
    assert.equal("connection", err.kind)
    assert.equal("maybe", err.sent)
    assert.is_true(err.outcome_unknown)
  end)

  it("knows that nothing left while nobody took any of it", function()
    local call, http = new_call("delete", "0042"), core.http1()
    http:begin(call)
    assert.equal("failed", http:closed())
    http:report(call, 1, 0)
    local _, err = end_of(call)
    assert.equal("no", err.sent)
    assert.is_false(err.outcome_unknown)
  end)

  it("refuses to be used in another order", function()
    local call, http = new_call("find", "0042"), core.http1()
    local function refuses(why, ...)
      local fine, wrong = pcall(...)
      assert.is_false(fine)
      assert.truthy(tostring(wrong):find(why, 1, true), wrong)
    end
    refuses("no exchange was begun", http.output, http)
    refuses("no exchange was begun", http.received, http, RESPONSE)
    refuses("no exchange was begun", http.report, http, call, 1, 0)
    http:begin(call)
    refuses("more than there was to send", http.sent, http, 10000)
    refuses("more than there was to send", http.sent, http, -1)
    refuses("not at its end", http.report, http, call, 1, 0)
    http:received(RESPONSE)
    http:report(call, 1, 0)
    refuses("nothing to send", http.begin, http, call)
    refuses("nothing to send", call.destination, call)
    http:close()
    http:close()
    refuses("codec is closed", http.output, http)
  end)
end)

describe("numbers that fit no int", function()
  it("are refused as settings of a client", function()
    for option, values in pairs {
      rate = { -1, 0 / 0, -math.huge, 1e300, math.huge },
      timeout = { -1, 0 / 0, -math.huge, 1e300, math.huge },
      max_attempts = { -2, 0 / 0, 1e300 },
      retry_budget = { -2, 0 / 0 },
      max_body = { -1, 0 / 0, 1e300 },
    } do
      for _, value in ipairs(values) do
        local made, message = core.client { api_key = secrets.key, [option] = value }
        assert.is_nil(made, option .. " = " .. value)
        assert.truthy(message:find(option, 1, true), message)
      end
    end
  end)

  it("are refused as settings of a call", function()
    for setting, values in pairs {
      set_timeout = { -1, 0 / 0, 1e300 },
      set_connect_timeout = { -1, 0 / 0, 1e300 },
      set_queue_timeout = { -1, 0 / 0, 1e300 },
      set_max_attempts = { -2, 0 / 0, 4294967296, 1e300 },
    } do
      for _, value in ipairs(values) do
        local call = assert(core.call(client, operation("find"), "0042"))
        call[setting](call, value)
        assert.equal("done", call:next(0, 0, 0), setting .. " " .. value)
        local _, err = core.result(call, errors, cards)
        assert.equal("misuse", err.kind)
      end
    end
  end)
end)

describe("call:value", function()
  it("is the value of the card that the call is about, before and after it", function()
    for _, row in ipairs(core.operations()) do
      local argument = row.name == "link" and "ann" or row.name == "update" and { name = "N" } or nil
      if row.resource == "contact_identifiers" and row.name ~= "list" then
        local call = assert(core.call(client, row.index, " 00\\42 ", argument))
        assert.equal(" 00\\42 ", call:value())
        call:fail(0, 0, "canceled", "no", "")
        assert.equal(" 00\\42 ", call:value())
      end
    end
  end)

  it("is nil for other calls", function()
    assert.is_nil(assert(core.call(client, operation("list"), { contact_uuid = "ann" })):value())
    assert.is_nil(assert(core.call(client, operation("check"))):value())
    assert.is_nil(assert(core.request(client, "GET", "/x", { "contact_identifier_value", "1" }, {})):value())
    local call = assert(core.call(client, operation("find"), "1"))
    call:free()
    assert.is_false(pcall(call.value, call))
  end)
end)
