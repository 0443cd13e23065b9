-- JSON text for Lua: info.json, and how core.quote and core.split_json write and read it.
local cjson = require("cjson")
local core = require("leat.core")
local leat = require("leat")
local new_recorder = require("leat.recorder").new

-- Returns a client that gets these bodies in turn.
local function play(...)
  local script = {}
  for i, body in ipairs { ... } do
    script[i] = type(body) == "string" and { status = 200, body = body } or body
  end
  return leat.new { api_key = "k", driver = new_recorder(script).driver, json = true, max_attempts = 3 }
end

describe("info.json", function()
  it("is the data as the service sent it, without blanks", function()
    local text = '{"value":"1","name":null,"long":9007199254740993,"longer":123456789012345678901234567890,'
      .. '"real":0.1,"whole":2.0,"huge":1e400,"list":[],"object":{},"nested":[[null,true,{"a":"\\u00e9\\n"}]],'
      .. '"list":[1]}'
    local card, _, info = play('{"data": ' .. text:gsub(",", " ,\n ") .. ', "meta": {}}').contact_identifiers:find("1")
    assert.equal("1", card.value)
    assert.equal((text:gsub("\\u00e9", "\195\169")), info.json)
  end)

  it("comes with every operation, and with requests", function()
    local text = '{"value":"1","contact":{"uuid":"ann"}}'
    local body = '{"data":' .. text .. '}'
    for _, name in ipairs { "create", "link", "unlink", "update" } do
      local cards = play(body).contact_identifiers
      local argument = name == "link" and "ann" or name == "update" and { name = "N" } or nil
      assert.equal(text, select(3, cards[name](cards, "1", argument)).json)
    end
    local card = leat.assert(play(body, body).contact_identifiers:find("1"))
    assert.equal(text, select(3, card:link("ann")).json)
    assert.equal("[]", select(3, play('{"data":[]}').contact_identifiers:list { contact_uuid = "ann" }).json)
    assert.equal('{"company":"C"}', select(3, play('{"data":{"company":"C"}}'):check()).json)
    assert.equal('{"a":{}}', select(3, play('{"a" : {} }'):request("GET", "/x")).json)
    assert.equal("7", select(3, play('{"data":7}'):request("GET", "/x")).json)
    assert.equal("null", select(3, play('{"data":null}'):request("GET", "/x")).json)
    assert.is_nil(select(3, play({ status = 204 }):request("DELETE", "/x")).json)
  end)

  it("is that of the last step of ensure", function()
    local exists = { status = 400, body = { code = 60006, message = "It exists." } }
    local cards = play(exists, '{"data":{"value":"1","contact":null}}',
      '{"data":{"value":"1","contact":{"uuid":"ann"}}}').contact_identifiers
    local card, _, info = cards:ensure("1", { contact_uuid = "ann" })
    assert.equal("ann", card and card.contact.uuid)
    assert.equal('{"value":"1","contact":{"uuid":"ann"}}', info.json)
  end)

  it("may be longer than any buffer", function()
    local text = '["' .. ("x"):rep(100000) .. '"]'
    assert.equal(text, select(3, play('{"data":' .. text .. '}'):request("GET", "/x")).json)
    for length = 500, 520 do
      text = '["' .. ("x"):rep(length - 4) .. '"]'
      assert.equal(text, select(3, play('{"data":' .. text .. '}'):request("GET", "/x")).json)
    end
  end)

  it("is absent without the option, also in a view", function()
    local driver = new_recorder { { status = 200, body = '{"data":{}}' } }.driver
    assert.is_nil(select(3, leat.new({ api_key = "k", driver = driver }):request("GET", "/x")).json)
    local view = play('{"data":{}}'):with { timeout = 1 }
    assert.equal("{}", select(3, view:request("GET", "/x")).json)
  end)
end)

describe("core.quote", function()
  it("quotes any text", function()
    assert.equal('""', core.quote(""))
    assert.equal('"a\\"\\\\/\\n\\u0001\127"', core.quote('a"\\/\n\1\127'))
    assert.equal('"\\u0000a\\u0000"', core.quote("\0a\0"))
    assert.equal('"\195\169\226\130\172\240\157\132\158"', core.quote("\195\169\226\130\172\240\157\132\158"))
  end)

  it("replaces bytes that are not UTF-8", function()
    local REPLACED = "\239\191\189"
    assert.equal('"' .. REPLACED .. '"', core.quote("\255"))
    assert.equal('"a' .. REPLACED .. REPLACED .. 'b"', core.quote("a\226\130b"))
    assert.equal('"' .. REPLACED:rep(3) .. '"', core.quote("\237\160\128")) -- half of a surrogate pair
    assert.equal('"\195\169' .. REPLACED .. '"', core.quote("\195\169\195"))
  end)

  it("gives JSON for every byte, between others and alone", function()
    local all = {}
    for byte = 0, 255 do
      local text = string.char(byte)
      all[#all + 1] = text
      local expected = byte < 128 and text or "\239\191\189"
      assert.equal(expected, cjson.decode("[" .. core.quote(text) .. "]")[1])
      assert.equal("<" .. expected .. ">", cjson.decode("[" .. core.quote("<" .. text .. ">") .. "]")[1])
    end
    local text = table.concat(all)
    assert.equal(256, select(2, cjson.decode("[" .. core.quote(text) .. "]")[1]:gsub("[%z\1-\127\194-\244]", "")))
  end)

  it("takes strings only", function()
    assert.is_false(pcall(core.quote, nil))
    assert.is_false(pcall(core.quote, {}))
  end)
end)

describe("core.decode", function()
  local metatable = { __index = { link = print, find = print } }

  -- Returns the card that a find makes of this text as its data, and the text and metatable for decoding it again.
  local function found(text)
    local card, _, info = play('{"data":' .. text .. '}').contact_identifiers:find("1")
    return card, info.json, getmetatable(card)
  end

  it("makes the card that the response made", function()
    for _, text in ipairs {
      '{"value":"1"}',
      '{"value":"1","name":"Gold","active":true,"contact":{"uuid":"ann","email":"ann@example.org"}}',
      '{ "value" : "1" , "name" : null, "contact":{"uuid":"ann","more":null} }',
      '{"value":"1","link":"https://x","unlink":null,"update":{"a":1},"delete":[1],"links":"kept"}',
      '{"value":"1","x":null,"x":2,"y":3,"y":null,"contact":{"uuid":"ann","z":4,"z":[]}}',
      '{"value":"1","long":9007199254740993,"longer":123456789012345678901234567890,"least":-9223372036854775808}',
      '{"value":"1","real":0.1,"whole":2.0,"huge":1e400,"small":-1e-300,"zero":-0}',
      '{"value":"1","list":[],"object":{},"nested":[[null,true,{"a":"\\u00e9\\n\\u20ac\\ud834\\udd1e","b":[{}]}]]}',
      '{"value":"1","":"no name","1":"a digit","long":"' .. ("x"):rep(100000) .. '"}',
    } do
      local card, json, of_cards = found(text)
      local decoded = core.decode(json, of_cards)
      assert.same(card, decoded)
      assert.are_not.equal(card, decoded)
      assert.equal(of_cards, getmetatable(decoded))
      for name, value in pairs(card) do
        assert.equal(type(value), type(decoded[name]))
        assert.equal(tostring(value):match("^[^:]*"), tostring(decoded[name]):match("^[^:]*"))
      end
    end
  end)

  it("omits nulls, and members that would hide a method", function()
    local card = core.decode('{"value":"1","find":2,"link":null,"name":null,"other":[null]}', metatable)
    assert.same({ value = "1", other = { leat.null } }, card)
    assert.equal(print, card.link)
    assert.same({}, core.decode(" {} ", metatable))
  end)

  it("returns nil and a message for text that is not JSON, or no object", function()
    for text, message in pairs { [""] = "it ends too early (byte 1)", ["7"] = "neither an object nor an array (byte 1)",
      ['{"value":"1"'] = "it ends too early (byte 13)", ['{"value":"1"}x'] = "something behind the end (byte 14)",
      ['{"value":"\255"}'] = "no UTF-8 (byte 11)", ['{"value":"1\0"}'] = "a control character in a string (byte 12)",
      ["[]"] = "an array, and not an object", ['[{"value":"1"}]'] = "an array, and not an object" } do
      for _ = 1, 2 do
        assert.same({ nil, message }, { core.decode(text, metatable) })
        assert.same({ value = "1" }, core.decode('{"value":"1"}', metatable))
      end
    end
  end)

  it("takes a string and a table", function()
    assert.is_false(pcall(core.decode, nil, metatable))
    assert.is_false(pcall(core.decode, {}, metatable))
    assert.is_false(pcall(core.decode, "{}"))
    assert.is_false(pcall(core.decode, "{}", "x"))
  end)

  it("works in finalizers, which may run while it decodes", function()
    local text = '{"value":"outer","list":[' .. ("{},"):rep(300) .. '{}],"last":"outer"}'
    local finalized, wrong = 0, 0
    local function check(decoded, value)
      if decoded.value ~= value or decoded.last ~= value then
        wrong = wrong + 1
      end
    end
    local function finalize()
      finalized = finalized + 1
      check(core.decode('{"value":"inner","last":"inner"}', metatable), "inner")
    end
    local newproxy = rawget(_G, "newproxy")
    for _ = 1, 50 do
      for _ = 1, 20 do
        if newproxy then -- in Lua 5.1 only userdata have finalizers
          getmetatable(newproxy(true)).__gc = finalize
        else
          setmetatable({}, { __gc = finalize })
        end
      end
      check(core.decode(text, metatable), "outer")
    end
    collectgarbage()
    assert.equal(0, wrong)
    assert.truthy(finalized >= 500, finalized)
  end)
end)

describe("core.split_json", function()
  it("gives the names and texts of an object, in their order", function()
    local names, texts = core.split_json('{ "b" : [1, {"x": null}], "a":"\\u00e9", "b":1e400, "":{} }')
    assert.same({ "b", "a", "b", "" }, names)
    assert.same({ '[1,{"x":null}]', '"\195\169"', "1e400", "{}" }, texts)
    assert.same({ {}, {} }, { core.split_json("{}") })
  end)

  it("gives the texts of an array", function()
    local names, texts = core.split_json('[ 9007199254740993 , [], "a" , null, 2.0 ]')
    assert.is_nil(names)
    assert.same({ "9007199254740993", "[]", '"a"', "null", "2.0" }, texts)
    assert.same({}, select(2, core.split_json("[]")))
  end)

  it("says what is wrong with anything else", function()
    for text, message in pairs { [""] = "it ends too early (byte 1)", ["7"] = "neither an object nor an array (byte 1)",
      ['"a"'] = "neither an object nor an array (byte 1)", ["[1,]"] = "no value (byte 4)",
      ["[1"] = "it ends too early (byte 3)", ["[\255]"] = "no value (byte 2)",
      ["[" .. ("["):rep(40)] = "nested too deep (byte 33)" } do
      assert.same({ nil, message }, { core.split_json(text) })
    end
  end)

  it("can be joined again", function()
    local text = '{"a":1.5,"b":[true,{}],"c":"x\\"y"}'
    local members = {}
    local names, texts = core.split_json(text)
    for i, name in ipairs(names) do
      members[i] = core.quote(name) .. ":" .. texts[i]
    end
    assert.equal(text, "{" .. table.concat(members, ",") .. "}")
  end)
end)
