-- Turns rows into the items of a job, in one transaction: a process that dies meanwhile leaves nothing.

local columns = require("leat.jobs.columns")
local csv_core = require("leat.csv.core")

local plan = {}

-- Adds an item. A value that may have occurred before is noted for store:mark_duplicates. `loading` has the store,
-- the job, what it is loaded from, and how many rows there were so far.
local function add_item(loading, line, arguments, bytes, wrong)
  loading.n = loading.n + 1
  loading.store:add_item(loading.job, loading.n, line, arguments, bytes, wrong)
  if wrong then
    loading.rejected = loading.rejected + 1
  elseif loading.filter:add(arguments.value) then
    loading.store:note_repeated(loading.n)
  end
end

-- How many fields a row has in the list of reader:scan, and which of them are its line and its value's bytes.
local FIELDS, LINE, FIRST, LAST = csv_core.FIELDS, 2, 4, 5

local function add_lengths(lengths, list, count)
  for at = 0, (count - 1) * FIELDS, FIELDS do
    lengths:add(list[at + LAST] - list[at + FIRST] + 1, list[at + LINE])
  end
end

-- Adds rows that need no check, as many as there are before one that does.
local function add_plain(loading, list)
  local source = loading.source
  local count, text = source.reader:scan(source.columns, loading.filter, loading.n + 1, list)
  if count > 0 then
    loading.store:add_slices(loading.job, text, list, count)
    add_lengths(source.lengths, list, count)
    loading.n = loading.n + count
  end
end

-- Adds the rows of a CSV file, whose reader is behind the header. Returns a message if the file could not be read to
-- its end.
local function add_lines(loading)
  local source, list = loading.source, {}
  while true do
    add_plain(loading, list)
    local cells, bytes, line = source.reader:next()
    if not cells then
      return bytes
    end
    local arguments, wrong = columns.row(source.columns, cells)
    if arguments then
      source.lengths:add(#arguments.value, line)
    end
    add_item(loading, line, arguments, bytes, wrong)
  end
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
local function add_tables(loading, operation)
  local rows = loading.source.rows
  local row = rows()
  while row ~= nil do
    local good, wrong = columns.check(row, operation)
    add_item(loading, loading.n + 1, good and row or storable(row), nil, not good and wrong or nil)
    row = rows()
  end
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
  local filter = csv_core.filter()
  local id = store.journal:long_transaction(call_at_once, function()
    local new = store:add_job(job)
    local loading = { store = store, job = new, source = source, filter = filter, n = 0, rejected = 0 }
    store:prepare_twins()
    if source.reader then
      problem = add_lines(loading)
    else
      add_tables(loading, job.operation)
    end
    if problem or loading.n == 0 then
      problem = problem or "there are no rows"
      return false
    end
    local rejected, skipped = store:mark_duplicates(new)
    store:set_counts(new, loading.n, loading.rejected + rejected, skipped)
    earlier = not again and store:find_equal(new) or nil
    return not earlier and new
  end)
  filter:free()
  if problem then
    return nil, problem
  end
  return earlier or id, earlier ~= nil
end

return plan
