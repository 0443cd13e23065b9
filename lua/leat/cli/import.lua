-- The command `leat import`.

local confirm = require("leat.cli.confirm")
local job_run = require("leat.cli.job_run")
local journal = require("leat.cli.journal")
local json = require("leat.cli.json")
local new_client = require("leat.cli.client")
local run = require("leat.cli.run")
local status = require("leat.cli.status")
local system = require("leat.cli.core")
local text = require("leat.cli.job_text")
local usage = require("leat.cli.usage")

local STDIN, STDERR = 0, 2

-- ---- the file ---------------------------------------------------------------------------

local function check_signal(part, why)
  if system.signal() then
    return nil, "interrupted"
  end
  return part, why
end

local function read_stdin()
  run.wait_for_stdin()
  if system.signal() then
    return nil, "interrupted"
  end
  local part, why = system.read(STDIN)
  return part ~= "" and part or nil, why
end

-- Returns the function that reads the file; or nil and a message.
local function open_file(path)
  if path == "-" then
    return read_stdin
  end
  local file, why = io.open(path, "rb")
  return file and function() return check_signal(file:read(65536)) end, why
end

local function mapping_of(options)
  local mapping = {}
  for _, column in ipairs(options.column or {}) do
    if mapping[column.name] then
      usage(("--column %s is given twice"):format(column.name), true)
    end
    mapping[column.name] = column.header
  end
  return mapping
end

-- Returns the file for store:plan. Raises what is wrong with it.
local function read_file(options)
  local read, why = open_file(options.file)
  local csv
  if read then
    csv, why = journal.jobs().csv(read, options.operation, mapping_of(options))
  end
  if not csv then
    usage(options.file .. ": " .. tostring(why):gsub("^" .. options.file:gsub("%p", "%%%0") .. ": ", ""), true)
  end
  return csv
end

local function warn_of_lengths(output, csv)
  local length, others = csv.lengths:unusual()
  for _, other in ipairs(others or {}) do
    output:message(("leat: warning: %s with a value of %d characters, and most have %d (line %s%s)"):format(
      text.rows(other.count), other.length, length, table.concat(other.lines, ", "),
      other.count > #other.lines and " ..." or ""))
  end
end

local function warn_of_columns(output, csv)
  for _, warning in ipairs(csv.warnings or {}) do
    output:message("leat: warning: " .. output:clean(warning))
  end
end

-- Ends the command, or returns its exit status, because of an error of store:plan: that may be the file's.
local function plan_failed(context, err)
  if err.kind == "invalid_input" then
    usage(context.options.file .. ": " .. err.message, true)
  end
  return context.output:failure(nil, err)
end

-- ---- a dry run --------------------------------------------------------------------------

local function print_rows(output, job)
  for row in job:results { "rejected", "skipped" } do
    output:line(output.json
      and json.object():add("line", row.line):add("state", row.state):add("message", row.message):text()
      or ("line %d: %s: %s"):format(row.line, row.state, output:clean(row.message)))
  end
end

-- What makes the difference between the least and the most requests.
local differences = { ensure = "one for a new card, 2 to 4 for one that exists",
  link = "one, or 2 if the card has a contact" }

local function print_dry_run(context, job, csv)
  local output = context.output
  local least, most = job:estimate()
  print_rows(output, job)
  if output.json then
    local object = text.object(job):add("requests_least", least):add("requests_most", most)
    output:line(text.add_columns(object, csv):text())
    return
  end
  warn_of_lengths(output, csv)
  output:line(text.columns(csv, output))
  output:line(text.counts(job))
  local why = least ~= most and differences[job.operation]
  output:line(("%s: %s%s"):format(text.rows(job.unprocessed),
    text.requests(least, most, new_client.rate(context.options)), why and (" (%s)"):format(why) or ""))
  if journal.database(context.options) then
    output:line("more machines do not make it faster: all of them share the rate of the account")
  end
end

local function dry_run(context, csv)
  local options = context.options
  local store, err = journal.jobs().open_temporary()
  local job
  if store then
    job, err = store:plan { csv = csv, account = "", operation = options.operation, file = options.file }
  end
  if not job then
    return plan_failed(context, err)
  end
  print_dry_run(context, job, csv)
  store:close()
  return job.rejected > 0 and status.REFUSED or status.DONE
end

-- ---- planning ---------------------------------------------------------------------------

-- Returns the account of the key; or nil and an error. While the service does not respond, it is asked again.
local function find_account(context)
  local probe, told = context.options.probe or 30, false
  while true do
    local account, err = run.task(context, function() return journal.jobs().account(context.client) end)
    if account or system.signal() or status.of(err) ~= status.TEMPORARY then
      return account, err
    elseif not told then
      told = true
      context.output:message(text.outage(err.kind, probe))
    end
    run.wait(probe)
  end
end

local function plan(context, store, csv, account)
  local options = context.options
  local job, earlier = store:plan { csv = csv, account = account, base_url = context.client.base_url,
    operation = options.operation, again = options.again, file = options.file ~= "-" and options.file or nil,
    name = options.file == "-" and "stdin" or options.file }
  if not job then
    return nil, plan_failed(context, earlier)
  elseif earlier and job.state == "finished" then
    usage(("%s was imported before, as job %d: '%s' writes its results, and --again imports it once more"):format(
      options.file == "-" and "this input" or options.file, job.id,
      text.command(options, ("job results %d"):format(job.id))), true)
  elseif earlier then
    context.output:notice(("continues job %d: %s"):format(job.id, text.counts(job)))
  end
  return job, earlier
end

local asked = { delete = "Delete", unlink = "Unlink" }

-- Returns whether the job may be run.
local function is_allowed(context, job, earlier)
  local options = context.options
  if earlier or options.yes or not asked[options.operation] then
    return true
  end
  context.output:message(text.counts(job))
  return confirm.ask(context, ("%s %s cards? [y/N] "):format(asked[options.operation], text.number(job.unprocessed)))
end

local function print_id(context, job)
  if context.output.json then
    context.output:line(text.add_columns(text.object(job), context.csv):text())
  else
    context.output:line(("%d"):format(job.id))
    context.output:notice("to run it: " .. text.command(context.options, ("job run %d"):format(job.id),
      true))
  end
  return status.DONE
end

local function import(context, store, csv)
  local output, options = context.output, context.options
  local free, busy = store:check_free()
  if not free and not options.detach then -- before a job is stored that could not be run
    return journal.failure(context, busy)
  end
  store:remove_old()
  context.client, context.rate_note = new_client.new(context, options, journal.database(options))
  local account, err = find_account(context)
  if not account then
    return output:failure(nil, err)
  end
  local job, earlier = plan(context, store, csv, account)
  if not job then
    return earlier
  end
  output:notice(text.columns(csv, output))
  warn_of_lengths(output, csv)
  if options.detach then
    return print_id(context, job)
  elseif not is_allowed(context, job, earlier) then
    job:remove()
    output:notice("nothing was changed")
    return status.REFUSED
  end
  return job_run.complete(context, job)
end

local function check_yes(options)
  local can_ask = system.is_terminal(STDIN) and system.is_terminal(STDERR)
  if asked[options.operation] and not (options.yes or options.dry_run or options.detach or can_ask) then
    usage(("--operation %s needs --yes, because there is no terminal to ask on"):format(options.operation),
      true)
  end
end

return function(context, options)
  options.operation = options.operation or "ensure"
  check_yes(options)
  local csv = read_file(options)
  warn_of_columns(context.output, csv)
  if options.dry_run then
    return dry_run(context, csv)
  end
  context.csv = csv
  local store, failed = journal.open(context)
  if not store then
    return failed
  end
  local result = import(context, store, csv)
  store:close()
  return result
end
