-- How the `leat` command shows jobs: counts, durations, the command that continues one, and JSON.

local json = require("leat.cli.json")

local text = {}

-- Returns a whole number with a comma after every third digit.
function text.number(value)
  local digits = ("%.0f"):format(value)
  local first = #digits % 3
  local groups = { first > 0 and digits:sub(1, first) or nil }
  for at = first + 1, #digits, 3 do
    groups[#groups + 1] = digits:sub(at, at + 2)
  end
  return table.concat(groups, ",")
end

-- Returns a number of seconds as "6 h 40 min", "3 min 20 s" or "12 s".
function text.duration(seconds)
  seconds = math.ceil(seconds)
  local hours, minutes = math.floor(seconds / 3600), math.floor(seconds % 3600 / 60)
  if hours > 0 then
    return ("%s h %d min"):format(text.number(hours), minutes)
  elseif minutes > 0 then
    return ("%d min %d s"):format(minutes, seconds % 60)
  end
  return ("%d s"):format(seconds)
end

function text.rows(count)
  return text.number(count) .. (count == 1 and " row" or " rows")
end

-- Says that the service does not respond, and what is done about it.
function text.outage(kind, probe)
  return ("leat: the service does not respond (%s): trying again every %g s"):format(kind, probe)
end

local counted = { "done", "failed", "unknown", "rejected", "skipped", "unprocessed" }

-- Returns the counts of a job, which add up to the number of its rows.
function text.counts(job)
  local parts = {}
  for _, name in ipairs(counted) do
    if job[name] > 0 or name == "done" then
      parts[#parts + 1] = ("%s %s"):format(text.number(job[name]), name)
    end
  end
  return ("%s: %s"):format(text.rows(job.rows), table.concat(parts, ", "))
end

-- Quotes a word for the shell, if that is necessary.
function text.shell_word(word)
  return word:find("^[%w_./:@%%+,=][%w_./:@%%+,=-]*$") and word or "'" .. word:gsub("'", "'\\''") .. "'"
end

local of_service = { "db", "api_key_file", "base_url", "ca_file", "proxy" }
local of_run = { "rate", "concurrency", "timeout", "out", "max_failures", "verify", "settle", "lease", "probe" }

-- Returns the value of an option as it is given to the command.
local function given(name, value)
  if value == math.huge then
    return " none"
  elseif name == "max_failures" and value > 0 and value < 1 then
    return (" %.14g%%"):format(100 * value)
  elseif value == true then
    return ""
  end
  return " " .. text.shell_word(type(value) == "number" and ("%.14g"):format(value) or value)
end

local function add_options(parts, options, names)
  for _, name in ipairs(names) do
    if options[name] then
      parts[#parts + 1] = "--" .. name:gsub("_", "-") .. given(name, options[name])
    end
  end
end

-- Returns a command for the same journal and service, which can be run as it is. If it `runs` a job, it does so with
-- the same options.
function text.command(options, words, runs)
  local parts = { "leat" }
  add_options(parts, options, of_service)
  parts[#parts + 1] = words
  if runs then
    add_options(parts, options, of_run)
  end
  return table.concat(parts, " ")
end

-- Returns a job as a JSON object, to which more can be added.
function text.object(job)
  local object = json.object():add("id", job.id):add("file", job.file):add("operation", job.operation)
    :add("state", job.state):add("reason", job.reason):add("rows", job.rows)
  for _, name in ipairs(counted) do
    object:add(name, job[name])
  end
  return object:add("requests", job.requests)
end

return text
