-- Converts the arguments of client:request to what the core expects. For the modules of leat only.
-- Each function returns nil and a message if the argument cannot be converted.

local cjson = require("cjson").new()

local encode = {}

local LARGEST = 1e14 -- lua-cjson writes numbers with 14 digits

-- Returns the text of a number, without a fraction if it is whole: "42" and not "42.0".
local function number_text(value)
  if value % 1 == 0 and value > -LARGEST and value < LARGEST then
    return ("%d"):format(value)
  end
  return ("%.14g"):format(value)
end

local function text(value)
  local kind = type(value)
  if kind == "string" then
    return value
  elseif kind == "number" then
    return number_text(value)
  elseif kind == "boolean" then
    return tostring(value)
  end
end

--- Flattens a table into a list sorted by name: `{ b = 2, a = "x" }` gives `{ "a", "x", "b", "2" }`.
-- `what` names the table in messages.
function encode.pairs(map, what)
  if type(map) ~= "table" then
    return nil, what .. " must be a table: { name = value }"
  end
  local names, list = {}, {}
  for name, value in pairs(map) do
    if type(name) ~= "string" or not text(value) then
      return nil, ("%s: names are strings, values strings, numbers or booleans (%s is a %s)")
        :format(what, tostring(name), type(value))
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    list[2 * i - 1], list[2 * i] = name, text(map[name])
  end
  return list
end

-- Whether the value contains a whole number that would lose digits in JSON.
local function has_long_number(value)
  if type(value) == "number" then
    return value % 1 == 0 and (value >= LARGEST or value <= -LARGEST)
  elseif type(value) ~= "table" then
    return false
  end
  for _, member in pairs(value) do
    if has_long_number(member) then
      return true
    end
  end
  return false
end

--- Encodes a table as JSON. A string is returned unchanged.
function encode.body(body)
  if type(body) == "string" then
    return body
  elseif type(body) ~= "table" then
    return nil, "body must be a table, or a string of JSON, not a " .. type(body)
  end
  local fine, result = pcall(cjson.encode, body) -- raises an error for excessive nesting, such as cycles
  if not fine then
    return nil, "body can't be JSON: " .. tostring(result)
  elseif has_long_number(body) then
    return nil, "body holds a number of more than 14 digits: write it as a string"
  end
  return result
end

return encode
