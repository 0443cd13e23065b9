-- Creates and links the cards of a file, many at a time:
--    LEAT_API_KEY=... lua5.4 examples/bulk.lua cards.csv
local usage = [[
usage: bulk.lua [--dry-run] [--concurrency N] [--rate N] cards.csv
The first line names the columns: value, and name and contact_uuid if you like. Each card is
created; one that is there already is left as it is, but linked or named where that is missing.
What became of each row goes to cards.results.csv. Interrupt it, and run it again: it goes on.

  --dry-run        only checks the file: nothing is sent
  --concurrency N  so many at a time: 8
  --rate N         so many calls a second at most

Exit status: 0 all is well; 1 some rows failed; 2 it could not begin; 3 the API key was
refused; 130 interrupted.
]]
local leat, tasks = require("leat"), require("leat.tasks")
local csv = dofile((arg[0]:match("^.*/") or "") .. "csv.lua")

io.stdout:setvbuf("line")

local function stop(status, message)
  error({ status = status, message = message }, 0)
end

-- ---- the file ---------------------------------------------------------------------------

local known = { value = true, name = true, contact_uuid = true }

local function check_header(header)
  local seen = {}
  for _, column in ipairs(header) do
    if not known[column] or seen[column] then
      error(("line 1: column '%s': known are value, name and contact_uuid, each once"):format(column), 0)
    end
    seen[column] = true
  end
  return seen.value and header or error("line 1: no column is named value", 0)
end

-- A client that never connects: the library checks parameters before it sends anything.
local nobody = leat.new { api_key = "none", max_attempts = 1, transport = function()
  return nil, { kind = "connection", sent = "no" }
end }

-- Returns why a row can't be sent, or nil if it can.
local function find_wrong(row, cells, header)
  if #cells ~= #header then
    return ("%d cells, and the first line has %d"):format(#cells, #header)
  elseif row.value:find("^[%d.,]+[eE][+-]?%d+$") then
    return "damaged by a spreadsheet: have the column formatted as text"
  elseif row.value:find("^%s") or row.value:find("%s$") then
    return "value begins or ends with a space"
  end
  local cards = nobody.contact_identifiers
  local fine, why = pcall(cards.create, cards, row.value, { name = row.name, contact_uuid = row.contact_uuid })
  return not fine and (why:match(" contact_identifiers.create: (.*)") or error(why, 0)) or nil -- re-raised: Ctrl-C
end

local function to_row(line, cells, header)
  local row = { line = line }
  for i, column in ipairs(header) do
    row[column] = cells[i] ~= "" and cells[i] or nil -- strings, always: leading zeros count
  end
  row.value = row.value or ""
  row.wrong = find_wrong(row, cells, header)
  return row
end

local function read_rows(path)
  local file, why = io.open(path, "rb")
  local text = file and file:read("*a") or stop(2, why or path .. " can't be read")
  file:close()
  local rows, header = {}, nil
  for line, cells in csv.rows(text) do
    if header then
      rows[#rows + 1] = to_row(line, cells, header)
    else
      header = check_header(cells)
    end
  end
  return header and rows or error("line 1: no column is named value", 0)
end

local function list_rejected(rows)
  local rejected = 0
  for _, row in ipairs(rows) do
    if row.wrong then
      rejected = rejected + 1
      print(("line %d: %s"):format(row.line, row.wrong))
    end
  end
  print(("%d rows, %d rejected; nothing was sent"):format(#rows, rejected))
  return rejected
end

-- ---- sending ----------------------------------------------------------------------------

local answer = os.execute("test -t 2")
local on_terminal = answer == true or answer == 0 -- Lua 5.1 returns the exit status

local function show(p)
  local eta = p.eta and ("%d:%02d"):format(math.floor(p.eta / 60), math.floor(p.eta % 60)) or "?"
  local text = ("%d of %d, %d failed, %.0f/s, ETA %s"):format(p.done, p.total, p.failed, p.rate, eta)
  local bar = ("#"):rep(math.floor(20 * p.done / math.max(p.total, 1)))
  io.stderr:write(on_terminal and ("\r[%-20s] %s\27[K"):format(bar, text) or text .. "\n")
end

local function outcome_of(row, err, info)
  if row.wrong then
    return "rejected", row.wrong
  elseif not err then
    return info.outcome or "created", ""
  end
  return err.outcome_unknown and "unknown" or err.kind, tostring(err)
end

local function summary(rows, counts)
  local outcomes, done = {}, 0
  for outcome, count in pairs(counts) do
    outcomes[#outcomes + 1] = outcome
    done = done + count
  end
  table.sort(outcomes)
  for i, outcome in ipairs(outcomes) do
    outcomes[i] = ("%d %s"):format(counts[outcome], outcome)
  end
  return ("%d of %d rows: %s"):format(done, #rows, table.concat(outcomes, ", "))
end

-- Returns the number of rows that failed.
local function send(rows, cards, concurrency, results)
  local i, counts, refused = 0, {}, nil
  local function next_row()
    i = i + 1
    return not refused and rows[i] or nil
  end
  local function ensure(row)
    if row.wrong then
      return nil
    end
    local card, err, info = cards:ensure(row.value, { name = row.name, contact_uuid = row.contact_uuid })
    refused = refused or err and err.kind == "unauthorized" and err
    return card, err, info
  end
  local function keep(row, _, err, info)
    local outcome, message = outcome_of(row, err, info)
    counts[outcome] = (counts[outcome] or 0) + 1
    assert(results:write(csv.row(row.line, row.value, outcome, message)))
  end
  local fine, p = pcall(tasks.each, next_row, ensure, { concurrency = concurrency, total = #rows, in_order = keep,
    progress = show, progress_every = on_terminal and 0.2 or 10 })
  io.stderr:write(on_terminal and "\n" or "")
  print(summary(rows, counts))
  if not fine then
    error(p, 0) -- passes an interrupt on
  end
  return refused and stop(3, tostring(refused)) or p.failed
end

-- ---- the program ------------------------------------------------------------------------

local function read_arguments()
  local given, i = { concurrency = 8 }, 1
  while arg[i] do
    local name = arg[i]:match("^%-%-(.+)$")
    if name == "dry-run" then
      given.dry_run = true
    elseif name == "concurrency" or name == "rate" then
      i = i + 1
      given[name] = tonumber(arg[i]) or stop(2, usage)
    elseif name or given.path then
      stop(2, usage)
    else
      given.path = arg[i]
    end
    i = i + 1
  end
  return given.path and given or stop(2, usage)
end

local function connect(given)
  local fine, client = pcall(leat.from_env, { max_connections = given.concurrency, rate = given.rate })
  return fine and client or stop(2, client)
end

local function main()
  local given = read_arguments()
  local rows = read_rows(given.path)
  if given.dry_run then
    return list_rejected(rows)
  end
  local client = connect(given)
  local path = given.path:gsub("%.csv$", "") .. ".results.csv"
  local results, why = io.open(path, "wb")
  results = results or stop(2, why)
  results:write(csv.row("line", "value", "outcome", "message"))
  local failed = send(rows, client.contact_identifiers, given.concurrency, results)
  results:close()
  print("what became of each: " .. path)
  return failed
end

local fine, why = pcall(main)
if fine then
  os.exit(why > 0 and 1 or 0)
elseif type(why) == "string" and why:find("interrupted!", 1, true) then
  why = { status = 130, message = "interrupted: run it again, and it goes on; what is there already stays as it is" }
elseif type(why) == "string" then -- errors in the file name its line
  why = { status = why:find("^line %d") and 2 or 1, message = why }
end
io.stderr:write("bulk.lua: ", why.message, "\n")
os.exit(why.status)
