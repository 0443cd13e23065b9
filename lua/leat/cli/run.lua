-- Runs the calls of the `leat` command in tasks. The program's own loop waits for connections, standard input
-- and signals at the same time.

local core = require("leat.core")
local scheduler = require("leat.scheduler")
local system = require("leat.cli.core")
local tasks = require("leat.tasks")

local run = {}

local STDIN = 0
local TURN = 0.1 -- seconds after which a signal is noticed that arrived just before a wait

-- Waits so many seconds, or until a signal.
function run.wait(seconds)
  local due = core.now() + 1000 * seconds
  while core.now() < due and not system.signal() do
    core.wait(TURN, {})
  end
end

-- Waits until standard input can be read, or until a signal. Returns whether it can be read.
function run.wait_for_stdin()
  while not system.is_readable(STDIN) and not system.signal() do
    core.wait(TURN, { STDIN })
  end
  return system.is_readable(STDIN)
end

-- After a signal, or when nothing can be printed any more, what is under way is canceled: changes that may
-- have been made are then reported as such.
local function check_stop(context)
  if not context.stopped and (system.signal() or context.output.failed) then
    context.stopped = true
    if context.input then
      context.input:stop()
    end
    tasks.cancel()
  end
end

local function turn(context)
  local input, descriptors = context.input, { context.client.driver:fd() }
  if input and input.waiting then
    descriptors[2] = STDIN
  end
  core.wait(TURN, descriptors)
  if input then
    input:wake()
  end
  if context.progress then
    context.output:progress(context.progress, core.now() / 1000)
  end
  check_stop(context)
end

-- A call raises what is wrong with its arguments, which are those of the command. Returns that as wrong usage, or nil.
local function mistake(why)
  local message = type(why) == "string" and why:match("leat: [%w_]+%.[%w_]+: ([^\n]*)")
  return message and { usage = message }
end

-- Calls `f` in a task, and returns its results. Raises its error, unless the command was stopped.
function run.task(context, f)
  local ended
  scheduler.start({ at_end = function(task)
    scheduler.observe(task)
    ended = task
  end }, f)
  while not ended do
    turn(context)
    tasks.poll()
  end
  if ended.fine then
    return (table.unpack or unpack)(ended.results, 1, ended.n) -- luacheck: ignore
  elseif not context.stopped then
    error(mistake(ended.why) or ended.why, 0)
  end
end

-- Calls `f` with each value of the input, and `report` with each value and the results of `f` for it, in the
-- order of the input. A first result of nil counts as failed.
function run.each(context, input, f, report)
  local progress = { done = 0, failed = 0, total = input.total, begun = core.now() / 1000 }
  context.input = input
  context.progress = input.several and not input.typed and progress or nil -- a bar would erase what is being typed
  local function count_and_report(value, result, ...)
    progress.done = progress.done + 1
    progress.failed = progress.failed + (result and 0 or 1)
    report(value, result, ...)
  end
  run.task(context, function()
    tasks.each(function() return input:next() end, f,
      { concurrency = context.options.concurrency or 8, in_order = count_and_report })
  end)
  context.output:hide_progress()
  context.input, context.progress = nil, nil
end

return run
