-- How the `leat` command shows jobs: counts, durations, the command that continues one, and JSON.

local json = require("leat.cli.json")
local quote = require("leat.core").quote

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

-- Says that some processes work.
function text.processes(count)
  return count == 1 and "another process works" or ("%d other processes work"):format(count)
end

-- Says which process works on a job, and since when nothing is known of it.
function text.worker(output, worker)
  return ("  worker %d: %s, process %s, %s, seen %.0f s ago"):format(worker.id, output:clean(worker.host or "?"),
    worker.pid and ("%d"):format(worker.pid) or "?", text.rows(worker.rows), worker.seen_ago)
end

local function range(least, most, form)
  least, most = form(least), form(most)
  return least == most and least or ("%s to %s"):format(least, most)
end

-- Returns a number of requests, and how long they take at a rate, if there is one.
function text.requests(least, most, rate)
  local line = ("%s %s"):format(range(least, most, text.number), most == 1 and "request" or "requests")
  if not rate then
    return line
  end
  return ("%s, %s at %g/s"):format(line, range(least / rate, most / rate, text.duration), rate)
end

-- Says that the service does not respond, and what is done about it.
function text.outage(kind, probe)
  return ("leat: the service does not respond (%s): trying again every %g s"):format(kind, probe)
end

local counted = { "done", "failed", "unknown", "rejected", "skipped", "unprocessed" }

-- Says how many rows are processed, of which some failed. `total` may be nil.
function text.processed(count, total, failed)
  return ("%s%s processed, %s failed"):format(text.number(count), total and " of " .. text.number(total) or "",
    text.number(failed))
end

-- Returns a rate, and the time that is left, if that is known.
function text.pace(rate, seconds_left)
  return ("%.1f/s%s"):format(rate, seconds_left and (", %s left"):format(text.duration(seconds_left)) or "")
end

local function waiting(count)
  return ("%s %s to be tried again"):format(text.rows(count), count == 1 and "waits" or "wait")
end

-- Says what keeps a run from processing rows, if that is so.
local function problem_of(p)
  if p.outage then
    return ("waiting for the service (%s)"):format(p.outage)
  elseif p.failing and p.waiting == 0 then
    return ("requests fail, and are tried again (%s)"):format(p.failing)
  elseif p.failing then
    return ("%s (%s)"):format(waiting(p.waiting), p.failing)
  elseif p.phase == "settling" then
    return "waiting for requests that may arrive late"
  end
end

-- Returns how far a run is, for Output:progress; `problem` is true if something is wrong. `p` is the run's progress.
function text.progress(p)
  local unknown = p.unknown > 0 and (", %s unknown"):format(text.number(p.unknown)) or ""
  local ended, total = p.done + p.failed + p.unknown, p.rows - p.rejected - p.skipped
  local so_far = text.processed(ended, total, p.failed) .. unknown
  if p.phase == "verifying" then
    ended, total = p.verified, p.to_verify
    so_far = ("%s of %s verified"):format(text.number(ended), text.number(total))
  end
  local problem = problem_of(p)
  local rest = problem and "; " .. problem or ", " .. text.pace(p.rate, p.eta)
  return { done = ended, total = total, text = so_far .. rest, problem = problem ~= nil }
end

-- Returns the counts of a job, which add up to the number of its rows.
function text.counts(job)
  local parts = {}
  for _, name in ipairs(counted) do
    if job[name] > 0 or name == "done" then
      parts[#parts + 1] = ("%s %s"):format(text.number(job[name]), name)
    end
  end
  if job.waiting > 0 then
    parts[#parts] = ("%s, of which %s"):format(parts[#parts], waiting(job.waiting):gsub(" rows? ", " ", 1))
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

-- Returns the line that says what a verification found of a card.
function text.card(output, value, kind, message)
  if output.json then
    return json.object():add("value", value):add("kind", kind):add("message", message):text()
  end
  return ("%s: %s"):format(output:clean(value), output:clean(message))
end

-- Returns a job as a JSON object, to which more can be added.
function text.object(job)
  local object = json.object():add("id", job.id):add("file", job.file):add("operation", job.operation)
    :add("state", job.state):add("reason", job.reason):add("rows", job.rows)
  for _, name in ipairs(counted) do
    object:add(name, job[name])
  end
  return object:add("waiting", job.waiting):add("requests", job.requests)
end

-- Adds to a JSON object which processes work on a job.
function text.add_workers(object, workers)
  local list = {}
  for i, worker in ipairs(workers) do
    list[i] = json.object():add("id", worker.id):add("host", worker.host):add("pid", worker.pid)
      :add("started", worker.started):add("seen", worker.seen):add("rows", worker.rows):text()
  end
  return object:add_text("workers", "[" .. table.concat(list, ",") .. "]")
end

local MOST_HEADERS = 20

-- Says which columns of a file are used, and which are not.
function text.columns(csv, output)
  local used, unused = {}, {}
  for i, column in ipairs(csv.used) do
    used[i] = column.name .. (column.header ~= column.name and (' ("%s")'):format(output:clean(column.header)) or "")
  end
  for i = 1, math.min(#csv.unused, MOST_HEADERS) do
    unused[i] = ('"%s"'):format(output:clean(csv.unused[i]))
  end
  local more = #csv.unused - #unused
  return ("columns: %s%s%s%s"):format(table.concat(used, ", "), unused[1] and "; not used: " or "",
    table.concat(unused, ", "), more > 0 and (" and %d more"):format(more) or "")
end

-- Adds to a JSON object which columns of a file are used, and which are not.
function text.add_columns(object, csv)
  local used, unused = json.object(), {}
  for _, column in ipairs(csv.used) do
    used:add(column.name, column.header)
  end
  for i, header in ipairs(csv.unused) do
    unused[i] = quote(header)
  end
  return object:add_text("columns", used:text()):add_text("not_used", "[" .. table.concat(unused, ",") .. "]")
end

return text
