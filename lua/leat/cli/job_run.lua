-- Runs a job for the `leat` command: until its end, or a signal; then writes the result files and says how to go on.

local core = require("leat.core")
local journal = require("leat.cli.journal")
local json = require("leat.cli.json")
local status = require("leat.cli.status")
local system = require("leat.cli.core")
local tasks = require("leat.tasks")
local text = require("leat.cli.job_text")

local job_run = {}

local TURN = 0.05 -- seconds

-- ---- while it runs ----------------------------------------------------------------------

local function on_event(context, probe)
  local output = context.output
  return function(what, detail)
    if what == "outage" then
      output:message(text.outage(detail.kind, probe) .. "; no rows are used up")
    elseif what == "outage_over" then
      output:notice("the service responds again")
    elseif context.options.action == "verify" then
      output:line(text.card(output, detail.value, "unverified", "could not be seen: " .. detail.message))
    else
      output:message(("leat: %s: could not be seen: %s"):format(output:clean(detail.value),
        output:clean(detail.message)))
    end
  end
end

local function show_progress(context, run, begun)
  local p = run:progress()
  p.failing = p.failing or context.failing or nil
  local shown = text.progress(p)
  shown.begun = begun
  context.output:progress(shown, core.now() / 1000)
end

-- Steps the run until it has ended. Returns its summary.
local function perform(context, run)
  local begun = core.now() / 1000
  local summary
  repeat
    core.wait(TURN, { context.client.driver:fd() })
    run:check_leases() -- this process may have been stopped for long
    tasks.poll()
    if (system.signal() or context.output.failed) and not context.stopped then
      context.stopped = true
      run:stop("stopped", "signal")
      context.output:notice("stopping: what is under way is finished; a second signal ends at once, which is safe")
    end
    summary = run:step()
    show_progress(context, run, begun)
  until summary
  context.output:hide_progress()
  return summary
end

-- ---- afterwards -------------------------------------------------------------------------

local names = { "results", "failed", "unknown", "rejected", "skipped", "unprocessed" }

-- Writes the result files of a job, and returns their paths by name; or nil after a message.
function job_run.write_results(context, job)
  local files, err = job:write_results(context.options.out)
  if not files then
    context.output:message("leat: the result files were not written: " .. err.message)
    context.output:message("  " .. text.command(context.options, ("job results %d --out DIR"):format(job.id)))
  end
  return files
end

local function files_object(files)
  local object = json.object()
  for _, name in ipairs(names) do
    if files[name] then
      object:add(name, files[name])
    end
  end
  return object:text()
end

local continued = { planned = true, interrupted = true, stopped = true, paused = true }

-- Returns the command that continues a job, or nil if there is nothing to continue; and what it is good for.
local function next_command(context, job)
  local words, purpose
  if continued[job.state] then
    words, purpose = "job run %d", "To continue:"
  elseif job.state == "finished" and job.failed + job.unknown > 0 then
    words, purpose = "job retry %d", "To retry the rows that failed or are unknown:"
  end
  return words and text.command(context.options, words:format(job.id), true), purpose
end

-- Returns a job as a JSON object with the command that continues it.
function job_run.add_next(context, object, job)
  return object:add("next", (next_command(context, job)))
end

-- Prints the command that continues a job.
function job_run.print_next(context, job)
  local command, purpose = next_command(context, job)
  if command then
    context.output:line(purpose)
    context.output:line("  " .. command)
  end
end

-- Prints the counts, the files and the command that continues the job.
function job_run.print_end(context, job, files)
  local output = context.output
  if output.json then
    local object = text.object(job):add_text("files", files and files_object(files) or "{}")
    job_run.add_next(context, object, job)
    output:line((context.csv and text.add_columns(object, context.csv) or object):text())
    return
  end
  output:line(text.counts(job))
  for _, name in ipairs(names) do
    if files and files[name] then
      output:line(("  %s: %s"):format(name, output:clean(journal.short_path(files[name]))))
    end
  end
  job_run.print_next(context, job)
end

local of_pause = { max_failures = status.UNFINISHED, journal = status.TEMPORARY, ["local"] = status.TEMPORARY,
  no_memory = status.TEMPORARY, account = status.ACTION_NEEDED, stopped = status.UNFINISHED,
  signal = status.UNFINISHED }

-- Returns the exit status of a run.
local function status_of(summary)
  local job = summary.job
  if summary.state ~= "finished" then
    return of_pause[summary.kind] or status.of(summary)
  elseif job.unknown > 0 then
    return status.UNKNOWN
  end
  return job.failed + job.rejected > 0 and status.REFUSED or status.DONE
end

local function explain_end(context, summary)
  local output, job = context.output, summary.job
  if summary.state == "paused" then
    output:message(("leat: job %d is paused: %s: %s"):format(job.id, summary.kind, output:clean(summary.message or "")))
  elseif summary.state == "stopped" and job.state == "stopped" then -- a verification that is stopped changes no state
    output:notice(("job %d is stopped"):format(job.id))
  end
  if summary.changed > 0 then
    output:message(("leat: %s: the card is not as the job left it; the outcome is unknown"):format(
      text.rows(summary.changed)))
  end
end

-- Returns what job:start takes, from the arguments of the command.
local function run_options(context)
  local options = context.options
  return { concurrency = options.concurrency or 8, max_failures = options.max_failures, verify = options.verify or nil,
    settle = options.settle, lease = options.lease, probe = options.probe,
    on_event = on_event(context, options.probe or 30) }
end

-- Runs a job, and returns the exit status; then the summary. `more` are further options of job:start.
function job_run.run(context, job, more)
  local options = run_options(context)
  for name, value in pairs(more or {}) do
    options[name] = value
  end
  local run, err = job:start(context.client, options)
  if not run then
    return journal.failure(context, err)
  end
  local summary = perform(context, run)
  job:refresh()
  explain_end(context, summary)
  return status_of(summary), summary
end

-- Says that others go on with a job, or have ended it. The last one writes the result files.
local function print_others(context, job)
  local output = context.output
  if job.worker_count > 0 then
    output:notice(("%s on job %d; the last one writes the result files"):format(
      text.processes(job.worker_count), job.id))
  elseif job.state == "finished" then
    output:notice(("job %d was finished by another process, which writes the result files"):format(job.id))
  end
  if output.json then
    output:line(job_run.add_next(context, text.object(job), job):text())
  else
    output:line(text.counts(job))
  end
end

-- Runs a job, writes its result files, and prints its end. Returns the exit status.
function job_run.complete(context, job)
  context.output:notice(("job %d: %s of %s, %s; %s"):format(job.id, text.rows(job.rows),
    context.output:clean(job.file and journal.short_path(job.file) or job.name), job.operation, context.rate_note))
  local result, summary = job_run.run(context, job)
  if not summary then
    return result
  end
  if not summary.is_last then
    print_others(context, job)
    return result
  end
  local files = job_run.write_results(context, job)
  job_run.print_end(context, job, files)
  return not files and result == status.DONE and status.TEMPORARY or result
end

return job_run
