-- Implements tasks.each and tasks.map, which leat.tasks documents.
--
-- Workers are tasks that repeatedly take a value and call the function with it, until there are no more
-- values. So the number of tasks is limited, whatever the number of values.

local core = require("leat.core")
local drivers = require("leat.driver")
local schema = require("leat.options")
local scheduler = require("leat.scheduler")

local known = {
  concurrency = "count",
  in_order = "function",
  progress = "function",
  progress_every = "seconds",
  total = { "number", function(v) return v >= 0 and v % 1 == 0 end, "a whole number, not negative" },
}

-- Returns a function that returns the next value of a list, or of the function that is given.
local function iterator(values)
  if type(values) == "function" then
    return values
  end
  local i = 0
  return function()
    i = i + 1
    return values[i]
  end
end

local unpack = table.unpack or unpack -- luacheck: ignore

local function now()
  return core.now() / 1000
end

local Run = {}
Run.__index = Run

function Run:unpark()
  local parked = self.parked
  if not parked[1] then -- the usual case
    return
  end
  self.parked = {}
  for _, worker in ipairs(parked) do
    scheduler.wake(worker)
  end
end

-- ---- progress ------------------------------------------------------------------------

function Run:summary()
  local seconds = now() - self.begun
  local rate = seconds > 0 and self.done / seconds or 0
  local left = self.total and math.max(0, self.total - self.done) -- the caller's total may be too small
  return {
    done = self.done,
    failed = self.failed,
    retried = self.retried,
    total = self.total,
    seconds = seconds,
    rate = rate,
    eta = left and rate > 0 and left / rate or nil,
  }
end

function Run:report()
  local moment = now()
  if moment - self.reported >= self.progress_every then
    self.reported = moment
    self.progress(self:summary())
  end
end

-- ---- results ------------------------------------------------------------------------

-- Passes the results to `in_order` in the order of the values, up to the first one that is missing.
function Run:hand_over()
  local result = self.results[self.handed + 1]
  if self.handing or not result then
    return
  end
  self.handing = true
  repeat
    self.results[self.handed + 1] = nil
    self.in_order(unpack(result, 1, result.n))
    self.handed = self.handed + 1
    result = self.results[self.handed + 1]
  until not result
  self.handing = false
  self:unpark()
end

function Run:keep(i, value, ...)
  self.results[i] = { n = select("#", ...) + 1, value, ... }
  return (...)
end

-- ---- workers ------------------------------------------------------------------------

-- Processes one value; nil means that there are no more. Runs for every value, so it must be fast.
local function work(run, value, ...)
  run.taking = false
  if value == nil then
    run.ended = true
  end
  if run.parked[1] then
    run:unpark()
  end
  if run.short then
    run:ask_for_more()
  end
  if run.ended then
    return
  end
  local in_order, good = run.in_order
  if in_order then
    local i = run.taken + 1
    run.taken = i
    good = run:keep(i, value, run.f(value, ...))
  else
    good = run.f(value, ...)
  end
  run.done = run.done + 1
  if not good then
    run.failed = run.failed + 1
  end
  if in_order then
    run:hand_over()
  end
  if run.progress then
    run:report()
  end
end

-- The main function of a worker. Only one worker at a time takes a value, because the iterator may make
-- calls too; and none does while too many results are waiting to be passed on in order.
local function worker(run)
  local this = scheduler.current()
  table.insert(run.workers, this) -- before anything else, so that Run:stop finds the task
  run.working[this] = true
  while not run.ended do
    if run.taking or run.in_order and run.taken - run.handed >= run.most_kept then
      table.insert(run.parked, this)
      scheduler.wait_for_event()
    else
      run.taking = true
      work(run, run.next())
    end
  end
end

-- Keeps the first error of a worker, which may be nil or false, and ends the run.
function Run:fail(why)
  if not self.failed_with then
    self.failed_with = { why = why }
  end
  self.ended = true
end

-- Returns the `fields` of the workers' tasks: see scheduler.start.
function Run:fields()
  return {
    at_end = function(task)
      self.working[task] = nil
      if not task.fine then
        scheduler.observe(task)
        self:fail(task.why)
      end
      self:unpark()
      if self.parent then
        scheduler.wake(self.parent)
      end
    end,
    on_retries = function(_, attempts, unknown)
      self.retried = self.retried + math.max(0, attempts - 1) -- a canceled call may have made no attempt
      if unknown then self.unknown = self.unknown + 1 end
    end,
  }
end

-- Starts workers up to `concurrency`, but none while another is taking a value, which may need a call.
function Run:start()
  while not self.ended and not self.taking and #self.workers < self.concurrency do
    scheduler.start(self.worker_fields, worker, self)
  end
  self.short = not self.ended and #self.workers < self.concurrency
end

-- Wakes the calling task to start more workers. Outside of tasks, `go_on` checks that after each step.
function Run:ask_for_more()
  if self.parent then
    scheduler.wake(self.parent)
  end
end

-- ---- the run --------------------------------------------------------------------------

function Run:stop()
  self.ended = true
  for _, task in ipairs(self.workers) do
    scheduler.cancel(task)
  end
end

-- Starts workers as needed, or stops the run if the calling task was canceled. Returns false when no
-- worker is left.
function Run:go_on()
  if not (self.parent and self.parent.canceled) then
    self:start()
  elseif not self.stopped then
    self.stopped = true
    self:fail("leat.tasks: the task was canceled")
    self:stop()
  end
  return next(self.working) ~= nil
end

function Run:perform()
  while self:go_on() do
    scheduler.wait_for_event()
  end
end

-- Outside of tasks an interrupt may end the loop. Then nothing drives the tasks any more, so they are
-- canceled.
function Run:perform_outside()
  local fine, why = pcall(self.perform, self)
  if fine then
    return
  end
  self:stop()
  if self.unknown > 0 then
    why = drivers.note(why, ("(leat: of the changes that were under way %d may have happened or not: "
      .. "find them, then decide)"):format(self.unknown))
  end
  error(why, 0)
end

local function run_all(values, f, options)
  local begun = now()
  local run = setmetatable({
    next = iterator(values),
    f = f,
    in_order = options.in_order or false,
    progress = options.progress or false,
    progress_every = options.progress_every or 1,
    total = options.total or type(values) == "table" and #values or nil,
    concurrency = options.concurrency or 16,
    parent = scheduler.current(),
    parked = {}, results = {}, workers = {}, working = {}, taking = false, ended = false, short = false,
    begun = begun, reported = begun,
    taken = 0, handed = 0, done = 0, failed = 0, retried = 0, unknown = 0,
  }, Run)
  run.most_kept = 2 * run.concurrency
  run.worker_fields = run:fields()
  if run.parent then
    run:perform()
  else
    run:perform_outside()
  end
  if run.failed_with then
    error(run.failed_with.why, 0)
  elseif run.progress then
    run.progress(run:summary())
  end
  return run:summary()
end

-- Returns the index of the first hole in a list, where the iteration would end early; nil if there is none.
local function find_hole(list)
  local last = 0
  for i in pairs(list) do
    if type(i) == "number" and i > last and i % 1 == 0 then
      last = i
    end
  end
  for i = 1, last do
    if list[i] == nil then
      return i
    end
  end
end

local function check(where, values, f, options)
  if scheduler.place() == "inside" then
    error(where .. ": in a coroutine of your own inside a task it can't be suspended: call it in the task itself, "
      .. "or in another task: tasks.spawn(function() ... end)", 3)
  elseif type(values) ~= "table" and type(values) ~= "function" then
    error(where .. ": give a list, or a function that gives the next value, as io.lines does", 3)
  elseif type(f) ~= "function" then
    error(where .. ": give a function to call with each value", 3)
  end
  local hole = type(values) == "table" and find_hole(values)
  if hole then
    error(("%s: the list has a hole: there is nothing at %d, and something behind it"):format(where, hole), 3)
  end
  options = schema.check(where, known, options or {}, 3)
  local refused = scheduler.take_turn()
  if refused then
    error(("%s: %s"):format(where, refused), 3)
  end
  return options -- not a tail call of schema.check: error levels count stack frames
end

local each = { iterator = iterator }

function each.each(values, f, options)
  return run_all(values, f, check("leat.tasks.each", values, f, options))
end

function each.map(values, f, options)
  options = check("leat.tasks.map", values, f, options)
  local results, errors, i, in_order = {}, {}, 0, options.in_order
  function options.in_order(value, ...)
    i = i + 1
    results[i], errors[i] = ...
    if in_order then
      in_order(value, ...)
    end
  end
  local summary = run_all(values, f, options)
  return results, errors, summary
end

return each
