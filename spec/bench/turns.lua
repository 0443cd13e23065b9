-- Processes the rows of a job without a service, in turns of 16: each stores 16 results and claims 16 rows.
--    turns.lua DATABASE ROWS            prints how many rows it processed in a second
--    turns.lua DATABASE ROWS prepare    only stores the job, and prints its number
local jobs = require("leat.jobs")
local core = require("leat.core")
local store = require("leat.jobs.store")

local path, rows, prepare = arg[1], tonumber(arg[2]), arg[3]
local BATCH, LEASE_MS = 16, 60000

-- Stores a job, and returns its number.
local function plan()
  local journal, n = assert(jobs.open(path)), 0
  local job = assert(journal:plan {
    operation = "create",
    again = true,
    rows = function()
      n = n + 1
      return n <= rows and { value = ("%s-%07d"):format(os.time(), n), name = "Krabby Membership" } or nil
    end,
  })
  journal:close()
  return job.id
end

-- Returns a turn that stores that some items are done, and claims others behind `after`.
local function turn_of(worker, claimed, after)
  local turn = { worker = worker, endings = {}, notes = {}, verified = {}, forgiven = {},
    claim = { count = BATCH, after = after, lease_ms = LEASE_MS, operation = "create" } }
  for i, item in ipairs(claimed) do
    turn.endings[i] = { item = item, state = "done", outcome = "created", requests = 1 }
  end
  return turn
end

-- Processes all rows, and returns how many.
local function work(journal, id)
  local worker = journal:begin(id, { settle_ms = 0, lease_ms = LEASE_MS }, 0)
  local claimed, after, done = {}, 0, 0
  repeat
    local result = journal:turn(id, turn_of(worker, claimed, after))
    done, claimed, after = done + #claimed, result.claimed, result.after
  until #claimed == 0
  return done
end

local id = plan()
if prepare then
  print(id)
else
  local journal = store.open(path)
  local began = core.now()
  local done = work(journal, id)
  assert(done == rows, "not all rows were processed")
  print(("%.1f"):format(rows * 1000 / (core.now() - began)))
  journal:close()
end
