-- The commands `leat job ...`.

local core = require("leat.core")
local job_run = require("leat.cli.job_run")
local journal = require("leat.cli.journal")
local new_client = require("leat.cli.client")
local run = require("leat.cli.run")
local status = require("leat.cli.status")
local system = require("leat.cli.core")
local text = require("leat.cli.job_text")
local usage = require("leat.cli.usage")

local actions = {}

-- ---- showing ----------------------------------------------------------------------------

-- Returns why a job is in its state, in brackets.
local function reason_of(job)
  local form = job.state == "running" and " (waiting for the service: %s)" or job.state ~= "finished" and " (%s)"
  return job.reason and form and form:format(job.reason) or ""
end

local RECENT = 10 -- seconds

-- Returns a function that takes a number that grows, and returns by how much it grew a second, recently; nil at first.
local function meter()
  local seen = {}
  return function(count)
    local last = { at = core.now() / 1000, count = count }
    seen[#seen + 1] = last
    while last.at - seen[1].at > RECENT and seen[3] do
      table.remove(seen, 1)
    end
    local passed = last.at - seen[1].at
    return passed > 0 and (count - seen[1].count) / passed or nil
  end
end

-- Prints a job. `rate` is its requests per second, if they are known.
local function show(context, job, workers, rate)
  local output = context.output
  if output.json then
    local object = text.object(job)
    if workers and workers[1] then
      text.add_workers(object, workers)
    end
    if rate then
      object:add("requests_per_second", math.floor(10 * rate + 0.5) / 10)
    end
    output:line(job_run.add_next(context, object, job):text())
    return
  end
  output:line(("%d  %s%s  %s of %s  %s%s"):format(job.id, job.state, output:clean(reason_of(job)), job.operation,
    output:clean(job.file or job.name), text.counts(job), rate and ("; %.1f requests/s"):format(rate) or ""))
  for _, worker in ipairs(workers or {}) do
    output:line(text.worker(output, worker))
  end
end

function actions.list(context, store)
  local list, err = store:jobs()
  if not list then
    return context.output:failure(nil, err)
  elseif not list[1] then
    context.output:notice("there are no jobs")
  end
  for _, job in ipairs(list) do
    show(context, job)
  end
  return status.DONE
end

local function last_id(store)
  local list = store:jobs() or {}
  local last = list[#list]
  return last and last.id or usage("there are no jobs", true)
end

function actions.status(context, store)
  local job, err = journal.job(store, context.options.id or last_id(store))
  local rate_of = meter()
  while job do
    show(context, job, job:workers() or {}, job.state == "running" and rate_of(job.requests) or nil)
    if not context.options.watch or job.state ~= "running" or context.output.failed then
      if not context.output.json then
        job_run.print_next(context, job)
      end
      return status.DONE
    end
    run.wait(1)
    if system.signal() then
      return status.DONE
    end
    job, err = job:refresh()
  end
  return context.output:failure(nil, err)
end

-- ---- working on a job -------------------------------------------------------------------

local function find(context, store)
  return journal.job(store, context.options.id)
end

local function connect(context)
  local options = context.options
  context.client, context.rate_note = new_client.new(context, options, journal.database(options))
end

function actions.run(context, store)
  local job, err = find(context, store)
  if not job then
    return context.output:failure(nil, err)
  elseif job.state == "finished" then
    usage(("job %d is finished: '%s' retries the rows that failed or are unknown"):format(job.id,
      text.command(context.options, ("job retry %d"):format(job.id))), true)
  end
  connect(context)
  return job_run.complete(context, job)
end

function actions.retry(context, store)
  local job, err = find(context, store)
  local options, count = context.options, nil
  local both = not options.failed and not options.unknown
  if job then
    connect(context)
    count, err = job:retry { failed = both or options.failed or false, unknown = both or options.unknown or false }
  end
  if not count then
    return context.output:failure(nil, err)
  elseif count == 0 then
    context.output:notice(("job %d has no such rows"):format(job.id))
    return status.DONE
  end
  return job_run.complete(context, job)
end

-- Lets all cards of a job be found again, or those that are left if a verification was stopped. Returns their number.
local function begin_verification(context, job)
  connect(context)
  context.options.verify = nil -- argparse stores the name of the command
  local goes_on = job.reason == "verify_stopped"
  local ready, err = true, nil
  if not goes_on then
    ready, err = job:forget_verified()
  end
  local count
  if ready then
    count, err = job:count_to_verify()
  end
  if not count then
    return nil, err
  end
  context.output:notice(("job %d: %s %s: %s"):format(job.id, goes_on and "goes on, and verifies" or "verifies",
    text.rows(count), text.requests(count, count, new_client.rate(context.options))))
  return count
end

-- Prints what was found, and the command that goes on if not all cards were looked at.
local function print_verified(context, job, summary, count)
  local output, left = context.output, count - summary.verified - summary.unverified
  for row in job:results { "unknown" } do
    if row.kind == "changed_afterwards" then
      output:line(text.card(output, row.value, row.kind, "changed since it was processed"))
    end
  end
  local command = left > 0 and text.command(context.options, ("job verify %d"):format(job.id), true) or nil
  if output.json then
    output:line(text.object(job):add("verified", summary.verified):add("changed", summary.changed)
      :add("unverified", summary.unverified):add("not_verified_yet", left):add("next", command):text())
    return
  end
  output:line(("%s verified, %s changed, %s could not be seen%s"):format(text.rows(summary.verified),
    text.number(summary.changed), text.number(summary.unverified),
    left > 0 and (", %s not verified yet"):format(text.number(left)) or ""))
  if command then
    output:line("To continue:")
    output:line("  " .. command)
  end
end

function actions.verify(context, store)
  local job, err = find(context, store)
  local count
  if job then
    count, err = begin_verification(context, job)
  end
  if not count then
    return context.output:failure(nil, err)
  end
  local result, summary = job_run.run(context, job, { only_verify = true, verify = true })
  if not summary then
    return result
  end
  print_verified(context, job, summary, count)
  return job.unknown > 0 and status.UNKNOWN or summary.kind and result or status.DONE
end

function actions.results(context, store)
  local job, err = find(context, store)
  if not job then
    return context.output:failure(nil, err)
  end
  local files = job_run.write_results(context, job)
  if files then
    job_run.print_end(context, job, files)
  end
  return files and status.DONE or status.TEMPORARY
end

-- Calls a method of the job that returns true, and says what `describe` returns of the job as it was.
local function change(method, describe)
  return function(context, store)
    local job, err = find(context, store)
    local message, done
    if job then
      message = describe(job)
      done, err = job[method](job)
    end
    if not done then
      return context.output:failure(nil, err)
    end
    context.output:notice(message)
    return status.DONE
  end
end

actions.stop = change("stop", function(job)
  return (job.state == "running" and "job %d is asked to stop" or "job %d is not running"):format(job.id)
end)

actions.remove = change("remove", function(job)
  return ("job %d is removed"):format(job.id)
end)

return function(context, options)
  local store, failed = journal.open(context)
  if not store then
    return failed
  end
  local result = actions[options.action](context, store)
  store:close()
  return result
end
