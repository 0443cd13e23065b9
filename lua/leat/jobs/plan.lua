-- Turns rows into the items of a job, in one transaction: a process that dies meanwhile leaves nothing.

local columns = require("leat.jobs.columns")
local new_filter = require("leat.csv.core").filter

local plan = {}

-- Adds an item. A value that may have occurred before is noted for store:mark_duplicates.
local function add_item(store, job, filter, n, line, arguments, bytes, wrong)
  store:add_item(job, n, line, arguments, bytes, wrong)
  if not wrong and filter:add(arguments.value) then
    store:note_repeated(arguments.value)
  end
end

local FIELDS, LINE, FIRST, LAST = 7, 2, 4, 5 -- of a row in the list of reader:scan

local function add_lengths(lengths, list, count)
  for at = 0, (count - 1) * FIELDS, FIELDS do
    lengths:add(list[at + LAST] - list[at + FIRST] + 1, list[at + LINE])
  end
end

-- Adds rows that need no check, as many as there are before one that does. Returns how many.
local function add_plain(store, job, source, n)
  local list = source.list
  local count, text = source.reader:scan(source.columns, source.filter, n, list)
  if count > 0 then
    store:add_slices(job, text, list, count)
    add_lengths(source.lengths, list, count)
  end
  return count
end

-- Adds the next row of a CSV file, whatever it is like. Returns true, and whether it is rejected; or nil at the end,
-- and a message if the file could not be read to there.
local function add_line(store, job, source, n)
  local cells, bytes, line = source.reader:next()
  if not cells then
    return nil, bytes
  end
  local arguments, wrong = columns.row(source.columns, cells)
  if not wrong then
    source.lengths:add(#arguments.value, line)
  end
  add_item(store, job, source.filter, n, line, arguments, bytes, wrong)
  return true, wrong ~= nil
end

-- Adds the rows of a CSV file, whose reader is behind the header. Returns how many there are, how many of them were
-- rejected, and a message if the file could not be read to its end.
local function add_lines(store, job, source)
  local n, rejected, more, wrong = 0, 0, true, nil
  while more do
    n = n + add_plain(store, job, source, n + 1)
    more, wrong = add_line(store, job, source, n + 1)
    if more then
      n, rejected = n + 1, rejected + (wrong and 1 or 0)
    end
  end
  return n, rejected, wrong
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
local function add_tables(store, job, source, operation)
  local n, rejected = 0, 0
  local row = source.rows()
  while row ~= nil do
    local good, wrong = columns.check(row, operation)
    n, rejected = n + 1, rejected + (good and 0 or 1)
    add_item(store, job, source.filter, n, n, good and row or storable(row), nil, not good and wrong or nil)
    row = source.rows()
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
    source.filter, source.list = new_filter(), {}
    store:forget_repeated()
    if source.reader then
      count, rejected, problem = add_lines(store, new, source)
    else
      count, rejected = add_tables(store, new, source, job.operation)
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
