-- A strict parser of Prometheus' text format, version 0.0.4, as far as leat.prometheus uses it. It accepts only what
-- every reader must understand in the same way: each metric once, with its help and type first, no sample twice.
--    local metrics = parse(text)
--    metrics.leat_calls_total['kind="ok",operation="contact_identifiers.find"'] -> 2, with the labels sorted
--    metrics.leat_pause_seconds[""] -> 0

local NAME = "[A-Za-z_][A-Za-z0-9_]*"

local function fail(line, why)
  error(("%s: %q"):format(why, line), 0)
end

-- Reads `name="value"` at a position. Returns the name, the value and the position behind it.
local function read_label(line, at)
  local name, from = line:match("^(" .. NAME .. ')="()', at)
  if not name then
    fail(line, "a label is malformed")
  end
  local value = {}
  while true do
    local plain, stop, after = line:match('^([^\\"]*)([\\"])()', from)
    if not plain then
      fail(line, "a label's value does not end")
    end
    value[#value + 1] = plain
    if stop == '"' then
      return name, table.concat(value), after
    end
    local escaped = line:sub(after, after)
    value[#value + 1] = ({ ["\\"] = "\\", ['"'] = '"', n = "\n" })[escaped] or fail(line, "an unknown escape")
    from = after + 1
  end
end

local function read_labels(line, at)
  local labels = {}
  while true do
    local name, value, after = read_label(line, at)
    if labels[name] then
      fail(line, "a label is there twice")
    end
    labels[name] = value
    local separator = line:sub(after, after)
    if separator == "}" then
      return labels, after + 1
    elseif separator ~= "," then
      fail(line, "a comma is missing")
    end
    at = after + 1
  end
end

local function key_of(labels)
  local texts = {}
  for name, value in pairs(labels) do
    texts[#texts + 1] = ("%s=%q"):format(name, value)
  end
  table.sort(texts)
  return table.concat(texts, ",")
end

local function read_sample(line, metric)
  local name, at = line:match("^(" .. NAME .. ")()")
  if not metric or name ~= metric.name then
    fail(line, "a sample outside of its metric")
  end
  local labels = {}
  if line:sub(at, at) == "{" then
    labels, at = read_labels(line, at + 1)
  end
  local value = line:match("^ (%d+)$", at) or line:match("^ (%d+%.%d+)$", at) or fail(line, "no number")
  local key = key_of(labels)
  if metric.samples[key] then
    fail(line, "a sample is there twice")
  end
  metric.samples[key] = tonumber(value)
end

-- Reads the two lines that begin a metric. Returns the metric.
local function read_head(lines, seen)
  local name, help = lines():match("^# HELP (" .. NAME .. ") (.+)$")
  local line = lines() or ""
  local of, type_of = line:match("^# TYPE (" .. NAME .. ") (%l+)$")
  if not name or of ~= name or not (type_of == "counter" or type_of == "gauge") or help:find("\\", 1, true) then
    fail(line, "a metric begins with its help and its type")
  elseif seen[name] then
    fail(line, "a metric is there twice")
  elseif (type_of == "counter") ~= (name:find("_total$") ~= nil) then
    fail(line, "a counter's name ends in _total, and no other")
  end
  return { name = name, samples = {} }
end

local function parse(text)
  if text == "" or text:sub(-1) ~= "\n" then
    fail(text, "the last line has no end")
  end
  local list, at = {}, 0
  for line in text:gmatch("([^\n]*)\n") do
    list[#list + 1] = line
  end
  local function peek()
    return list[at + 1]
  end
  local function take()
    at = at + 1
    return list[at]
  end
  local metrics, metric = {}, nil
  while peek() do
    if peek():sub(1, 1) == "#" then
      metric = read_head(take, metrics)
      metrics[metric.name] = metric.samples
    else
      read_sample(take(), metric)
    end
  end
  for name, samples in pairs(metrics) do
    if next(samples) == nil then
      fail(name, "a metric without samples")
    end
  end
  return metrics
end

return parse
