-- Turns rows into the items of a job, in one transaction: a process that dies meanwhile leaves nothing.

local columns = require("leat.jobs.columns")

local plan = {}

-- Adds the rows of a CSV file. `reader` is behind its header; `map` is what columns.match returned. Returns how many
-- there are, how many of them were rejected, and a message if the file could not be read to its end.
local function add_lines(store, job, reader, map, lengths)
  local n, rejected = 0, 0
  local cells, bytes, line = reader:next()
  while cells do
    local arguments, wrong = columns.row(map, cells)
    if wrong then
      rejected = rejected + 1
    elseif lengths then
      lengths:add(arguments.value, line)
    end
    n = n + 1
    store:add_item(job, n, line, arguments, bytes, wrong)
    cells, bytes, line = reader:next()
  end
  return n, rejected, bytes
end

-- Returns what can be kept of a row that is rejected: its texts, and true and false; nil if it has no value.
local function storable(row)
  local kept = {}
  for name, value in pairs(type(row) == "table" and row or kept) do
    if type(value) == "string" or type(value) == "boolean" then
      kept[name] = value
    end
  end
  return type(kept.value) == "string" and kept or nil
end

-- Adds the rows of a program: tables with the fields of the columns.
local function add_tables(store, job, rows, operation)
  local n, rejected = 0, 0
  local row = rows()
  while row ~= nil do
    local good, wrong = columns.check(row, operation)
    n, rejected = n + 1, rejected + (good and 0 or 1)
    store:add_item(job, n, n, good and row or storable(row), nil, not good and wrong or nil)
    row = rows()
  end
  return n, rejected
end

-- Calls `f` in a coroutine of its own, in which no task can be suspended: other tasks would find the transaction open.
local function call_at_once(f)
  local thread = coroutine.create(f)
  local function pass(fine, ...)
    if not fine then
      error(..., 0)
    elseif coroutine.status(thread) ~= "dead" then
      error("leat.jobs: plan: rows must not yield", 0)
    end
    return ...
  end
  return pass(coroutine.resume(thread))
end

-- Plans a job, or finds the one that does the same with the same rows. `job` has the fields of a job; `source` is
-- { reader =, columns =, lengths = } or { rows = an iterator }. Returns the id, and whether the job is an earlier one;
-- or nil and a message, if the rows cannot be read. `again` makes a new job in any case.
function plan.add(store, job, source, again)
  local earlier, problem
  local id = store.journal:transaction(call_at_once, function()
    local new = store:add_job(job)
    local count, rejected
    if source.reader then
      count, rejected, problem = add_lines(store, new, source.reader, source.columns, source.lengths)
    else
      count, rejected = add_tables(store, new, source.rows, job.operation)
    end
    if problem or count == 0 then
      problem = problem or "there are no rows"
      return false
    end
    local more, skipped = store:mark_duplicates(new)
    store:set_counts(new, count, rejected + more, skipped)
    earlier = not again and store:find_equal(new) or nil
    return not earlier and new
  end)
  if problem then
    return nil, problem
  end
  return earlier or id, earlier ~= nil
end

return plan
