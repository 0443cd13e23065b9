-- Three processes import one file, and one of them is killed. `sh examples/many-machines.sh` starts a database, and
-- then this with a folder for its files and the path of the command `leat`. The address of the database is in LEAT_DB.
-- It ends with 1 if a row is not accounted for, or not as it is reported.
local core = require("leat.core")
local jobs = require("leat.jobs")
local sandbox = require("leat.sandbox")

local folder, leat = arg[1], arg[2]
local RATE = 20 -- requests per second; three processes with a rate of their own would send 60
local TIMES = "--lease 10 --settle 2 --probe 1" -- seconds, so that it can be watched; by default 60, 30 and 30
local NAME, ANN = "Krabby Membership", "ann@example.org"

local problems = {}

local function wrong(form, ...)
  problems[#problems + 1] = ("WRONG: " .. form):format(...)
end

-- ---- the file and the service -----------------------------------------------------------

-- Returns the lines of the file: some rows of every other kind, and 200 new cards.
local function make_lines()
  local lines = {
    "value,name,contact_email",
    "4.25E+11," .. NAME .. ",",             -- damaged by a spreadsheet
    "'0042," .. NAME .. ",",
    "KR-1001," .. NAME .. "," .. ANN,       -- exists already, as requested
    "KR-1002," .. NAME .. "," .. ANN,       -- belongs to somebody else
    "KR-9999," .. NAME .. ",x@example.org", -- nobody has this address
    "KR-0007," .. NAME .. ",",              -- the same as a later row
  }
  for i = 1, 200 do
    lines[#lines + 1] = ("KR-%04d,%s,%s"):format(i, NAME, i % 2 == 0 and ANN or "")
  end
  return lines
end

-- What goes wrong with every twentieth create: it happens, but its response is lost; it is refused for now; it happens
-- late; and once the service asks for a pause.
local function make_faults()
  local list = { { operation = "create", value = "KR-0100", status = 429, retry_after = 1 } }
  for i = 0, 180, 20 do
    local kinds = { { apply = true, close = "before" }, { status = 503 }, { apply_after = 0.5, close = "before" } }
    for k, fault in ipairs(kinds) do
      fault.operation, fault.value = "create", ("KR-%04d"):format(i + 5 * k)
      list[#list + 1] = fault
    end
  end
  return list
end

local lines = make_lines()
local service = assert(sandbox.start {
  contacts = { { uuid = "ann", email = ANN }, { uuid = "bob" } },
  cards = { { value = "KR-1001", name = NAME, contact_uuid = "ann" }, { value = "KR-1002", contact_uuid = "bob" } },
  faults = make_faults(),
})
local file = assert(io.open(folder .. "/cards.csv", "w"))
file:write(table.concat(lines, "\n"), "\n")
file:close()

-- ---- the processes ----------------------------------------------------------------------

-- Returns the command `leat` with words, for the shell.
local function command(words)
  return ("LEAT_API_KEY=%s LEAT_BASE_URL=%s %s %s"):format(service.api_key, service.url, leat, words)
end

-- Returns what a shell command prints.
local function shell(text)
  local pipe = assert(io.popen(text))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

local function start_worker(id, number)
  local words, output = ("job run %d --rate %d %s"):format(id, RATE, TIMES), ("%s/worker%d"):format(folder, number)
  return { pid = tonumber(shell(("%s >%s 2>&1 & echo $!"):format(command(words), output))), output = output,
    ended = false }
end

local function is_alive(pid)
  return shell(("kill -0 %d 2>/dev/null && echo yes"):format(pid)) ~= ""
end

-- Waits until `f` returns something true, and returns that; or nil after so many seconds.
local function wait_for(seconds, f)
  local due = core.now() + 1000 * seconds
  while core.now() < due do
    local result = f()
    if result then
      return result
    end
    core.wait(0.1, {})
  end
end

-- Returns the worker that is to be killed, the one that works on the most rows, once the job has come some way.
local function find_victim(job)
  assert(job:refresh())
  local most
  for _, worker in ipairs(assert(job:workers())) do
    most = worker.rows > (most and most.rows or 0) and worker or most
  end
  return job.done >= 50 and most
end

local function kill_one(job)
  local victim = assert(wait_for(60, function() return find_victim(job) end), "the processes do not work")
  local status = shell(command(("job status %d"):format(job.id)))
  os.execute(("kill -9 %d"):format(victim.pid))
  print(("$ leat job status %d\n%s$ kill -9 %d"):format(job.id, status, victim.pid))
  print("The others take its rows over when its lease ends, and find their cards before they send anything.")
end

-- Runs the job with three processes, and kills one.
local function run(job, workers)
  for number = 1, 3 do
    workers[number] = start_worker(job.id, number)
  end
  kill_one(job)
  for number, worker in ipairs(workers) do
    worker.ended = wait_for(120, function() return not is_alive(worker.pid) end)
    if not worker.ended then
      wrong("process %d does not end", number)
    end
  end
end

-- ---- the account ------------------------------------------------------------------------

-- Returns how many requests changed each card, by its value, as the sandbox recorded it; and the most requests that
-- arrived in any second.
local function read_record()
  local changes, most, first = {}, 0, 1
  local requests = service:requests()
  for i, request in ipairs(requests) do
    while requests[first].time <= request.time - 1 do
      first = first + 1
    end
    most = math.max(most, i - first + 1)
    local value = (request.body or ""):match('"contact_identifier_value":"([^"]*)"')
    if value then
      changes[value] = (changes[value] or 0) + (request.changed and 1 or 0)
    end
  end
  return changes, most
end

local is_done = { created = true, recovered = true, existed = true } -- outcomes
local was_there = { ["KR-1001"] = true }

-- Returns whether a card is as the row of the file says.
local function is_as_requested(row)
  local card = service:card(row.value)
  local owner = card and card.contact and card.contact.uuid
  return card ~= nil and card.name == NAME and owner == (row.arguments.contact_email and "ann" or nil)
end

-- Compares the report of a row with the card, and with how many requests changed it; nil if none was sent.
local function check_row(row, changes)
  local wanted = is_done[row.outcome] and not was_there[row.value] and 1 or 0
  if row.outcome ~= "skipped" and (changes or 0) ~= wanted then
    wrong("%s is %s, and %d requests changed it", row.value, row.outcome, changes or 0)
  elseif is_done[row.outcome] and not is_as_requested(row) then
    wrong("%s is %s, and not as the row says", row.value, row.outcome)
  elseif row.outcome == "rejected" and changes then
    wrong("%s is rejected, and was sent", row.value)
  end
end

-- Prints how every row is accounted for. Returns how many new cards the service should have.
local function account_for(job, changes)
  local counts, order, rows, new = {}, {}, 0, 0
  for row in job:results() do
    rows = rows + 1
    if row.line ~= rows + 1 then
      wrong("the row of line %d comes after %d others", row.line, rows - 1)
    end
    local name = row.outcome .. (row.kind and (" (%s)"):format(row.kind) or "")
    if not counts[name] then
      order[#order + 1] = name
    end
    counts[name] = (counts[name] or 0) + 1
    new = new + (is_done[row.outcome] and not was_there[row.value] and 1 or 0)
    check_row(row, changes[row.value])
  end
  for _, name in ipairs(order) do
    print(("  %4d  %s"):format(counts[name], name))
  end
  print(("  %4d  rows, and the file has %d"):format(rows, #lines - 1))
  if rows ~= #lines - 1 then
    wrong("the file has %d rows", #lines - 1)
  end
  return new
end

local function check_all(job)
  assert(job:refresh())
  print("\n== what became of the rows of cards.csv")
  local changes, most = read_record()
  local new = account_for(job, changes)
  local cards = #service:cards() - 2
  print(("\n== the sandbox holds %d new cards"):format(cards))
  print(("   it received %d creates, and at most %d requests in any second"):format(#service:requests("create"), most))
  if job.state ~= "finished" or job.unprocessed + job.unknown > 0 then
    wrong("the job is %s: %d rows are unprocessed, %d unknown", job.state, job.unprocessed, job.unknown)
  end
  if cards ~= new then
    wrong("%d rows made a card", new)
  end
  if most > 1.5 * RATE then -- arrivals differ from the times of sending
    wrong("the rate was not shared")
  end
end

local function main(workers)
  print(("== a database in %s; a sandbox at %s, which loses and delays responses"):format(folder, service.url))
  io.write("$ leat import cards.csv --detach\n")
  local id = tonumber(shell(command(("import %s/cards.csv --detach --quiet"):format(folder))))
  local store = assert(jobs.open(os.getenv("LEAT_DB")))
  local job = assert(store:job(assert(id, "the file was not imported")))
  print(("%d\n$ leat job run %d --rate %d %s    # three times at once"):format(id, id, RATE, TIMES))
  run(job, workers)
  check_all(job)
  store:close()
end

local workers = {}
local fine, why = pcall(main, workers)
if not fine then
  wrong("%s", tostring(why))
end
for number, worker in ipairs(workers) do
  if not worker.ended then
    os.execute(("kill -9 %d 2>/dev/null"):format(worker.pid))
  end
  if problems[1] then
    print(("\n== what process %d printed\n%s"):format(number, shell("cat " .. worker.output)))
  end
end
service:stop()
print("\n" .. (problems[1] and table.concat(problems, "\n")
  or "Every row is accounted for, once, and every card is as it is reported."))
os.exit(problems[1] and 1 or 0)
