-- What users hand to client:request, as the core wants it. For the modules of leat only.
-- Each returns nil and a message where it can't.

local cjson = require("cjson").new()

local encode = {}

local LARGEST = 1e14 -- lua-cjson writes fourteen digits

-- A number that arrives as it is: 42 and not 42.0.
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

--- `{ b = 2, a = "x" }` as `{ "a", "x", "b", "2" }`.
function encode.pairs(given, what)
  if type(given) ~= "table" then
    return nil, what .. " must be a table: { name = value }"
  end
  local names, list = {}, {}
  for name, value in pairs(given) do
    if type(name) ~= "string" or not text(value) then
      return nil, ("%s: names are strings, values strings, numbers or booleans (%s is a %s)")
        :format(what, tostring(name), type(value))
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    list[2 * i - 1], list[2 * i] = name, text(given[name])
  end
  return list
end

-- Whether a number in there would lose digits.
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

--- A table as JSON; a string is JSON already.
function encode.body(body)
  if type(body) == "string" then
    return body
  elseif type(body) ~= "table" then
    return nil, "body must be a table, or a string of JSON, not a " .. type(body)
  end
  local fine, result = pcall(cjson.encode, body) -- which refuses what is nested without end
  if not fine then
    return nil, "body can't be JSON: " .. tostring(result)
  elseif has_long_number(body) then
    return nil, "body holds a number of more than 14 digits: write it as a string"
  end
  return result
end

return encode
