-- Checks the names and values of options given in a table. For the modules of leat only.

local schema = {
  -- The options of connections, which several constructors take.
  connection = { ca_file = "string", proxy = "string", max_connections = "count" },
}

local function is_whole(value, least, most)
  return value >= least and value <= most and value % 1 == 0
end

-- The kinds of values: the Lua type, then optionally a condition, and the text for messages. With `none`
-- the value may also be false.
local kinds = {
  string = { "string", function(v) return not v:find("\0", 1, true) end, "a string without a NUL byte" },
  seconds = { "number", function(v) return v > 0 and v <= 86400 end,
    "a number of seconds, greater than 0 and a day at most" },
  -- The limit is low enough to catch most values that were given in milliseconds.
  time_limit = { "number", function(v) return v > 0 and v <= 3600 end,
    "a number of seconds, greater than 0 and an hour at most" },
  age = { "number", function(v) return v >= 0 and v <= 86400 end, "a number of seconds from 0 to a day" },
  count = { "number", function(v) return is_whole(v, 1, 2147483647) end, "a whole number greater than 0" },
  attempts = { "number", function(v) return is_whole(v, 0, 100) end,
    "a whole number from 1 to 100, or 0: until the timeout" },
  limit = { "number", function(v) return is_whole(v, 1, 2147483647) end, "a whole number greater than 0, or false",
    none = true },
  rate = { "number", function(v) return v >= 1 / 60 and v <= 1000000 end,
    "a number of calls a second, at least one a minute (1/60)" },
  port = { "number", function(v) return is_whole(v, 0, 65535) end, "a whole number from 0 to 65535" },
  boolean = { "boolean" },
  table = { "table" },
  ["function"] = { "function" },
}

local function list(known)
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, ", ")
end

-- Returns the edit distance: how many characters must be inserted, removed or changed to turn `a` into `b`.
local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local previous = row[0]
    row[0] = i
    for j = 1, #b do
      local changed = previous + (a:byte(i) == b:byte(j) and 0 or 1)
      previous, row[j] = row[j], math.min(changed, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#b]
end

-- Returns the known name nearest to a misspelt one, or nil if none is near enough.
local function nearest_of(known, name)
  local nearest, least = nil, 3
  for other in pairs(known) do
    local far = distance(tostring(name):sub(1, 40):lower(), other)
    if far < least then
      nearest, least = other, far
    end
  end
  return nearest
end
schema.nearest, schema.list = nearest_of, list

local function suggest(known, name)
  local nearest = nearest_of(known, name)
  return nearest and (": did you mean '%s'?"):format(nearest) or (" (known: %s)"):format(list(known))
end

local function wrong(name, value, kind)
  if not kind or kind.none and value == false then
    return nil -- the kind accepts any value, or the value is false and may be
  end
  local wanted, fits, how = kind[1], kind[2], kind[3]
  if type(value) ~= wanted then
    return ("%s must be a %s%s, not a %s"):format(name, wanted, kind.none and ", or false" or "", type(value))
  elseif fits and not fits(value) then
    return ("%s must be %s%s"):format(name, how, wanted == "number" and ", not " .. value or "")
  end
end

-- Returns what is wrong with a value of that kind, or nil.
function schema.wrong(name, value, kind)
  return wrong(name, value, kinds[kind])
end

-- Checks `options` and returns a plain copy of it. Mistakes are raised at `level`, as by `error`. `known` maps
-- the names to their kinds: a name from `kinds`, or a table of the same form.
function schema.check(where, known, options, level)
  level = level + 1
  if type(options) ~= "table" then
    error(("%s: give the options in a table: { name = value }"):format(where), level)
  end
  for name in pairs(options) do
    if not known[name] then
      error(("%s: option '%s' is unknown%s"):format(where, tostring(name), suggest(known, name)), level)
    end
  end
  local copy = {}
  for name, kind in pairs(known) do
    local value = options[name]
    local problem = value ~= nil and wrong(name, value, type(kind) == "table" and kind or kinds[kind])
    if problem then
      error(("%s: %s"):format(where, problem), level)
    end
    copy[name] = value
  end
  return copy
end

-- Checks a list of such tables, and returns a list of copies.
function schema.check_list(where, known, items, level)
  local copies, count = {}, 0
  for _ in pairs(items) do
    count = count + 1
  end
  for i = 1, count do
    copies[i] = schema.check(("%s %d"):format(where, i), known, items[i], level + 1)
  end
  return copies
end

return schema
