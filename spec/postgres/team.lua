-- Teams: a job in PostgreSQL, the service that it is for, and processes that work on it. What they did is checked by
-- spec/support/kill_world.lua, from the service's record and its cards.
local csv = require("leat.csv")
local jobs = require("leat.jobs")
local leat = require("leat")
local sandbox = require("leat.sandbox")
local socket = require("socket")
local read = dofile("spec/support/read.lua")
local servers = dofile("spec/postgres/server.lua")
local world = dofile("spec/support/kill_world.lua")

local shell, interpreter = servers.shell, servers.preload .. dofile("spec/support/interpreter.lua")
local teams = { shell = shell, interpreter = interpreter, operations = world.operations }

local Team = {}
Team.__index = Team

local LATE, SETTLE = 0.8, 1.1 -- seconds: when late requests are performed, and how long the job waits for them
world.late = LATE

local MOST_REQUESTS = 100000 -- the service keeps a record of so many

teams.LEASE = 3 -- seconds; that of worker_program.lua

-- ---- waiting ----------------------------------------------------------------------------

--- Calls a function until it returns something true, and returns that.
function teams.wait_until(f, seconds)
  local give_up = socket.gettime() + (seconds or 60)
  while socket.gettime() < give_up do
    local result = f()
    if result then
      return result
    end
    socket.sleep(0.03)
  end
  error("nothing happened for too long", 2)
end

local wait_until = teams.wait_until

--- Sends a signal to a process.
function teams.signal(name, pid)
  shell("kill -s %s %s", name, pid)
end

-- ---- the job ----------------------------------------------------------------------------

-- Starts the service. `options.proxied`: returns the address by which the processes reach it.
local function start_service(self, options)
  self.service = assert(sandbox.start(world.service(self.operation, false, self.rows)))
  self.url = options.proxied and options.proxied(self.service) or self.service.url
  self.client = leat.new { api_key = self.service.api_key, base_url = self.url, retry_base = 0.01, allow_http = true }
end

--- Begins a job with the rows of an operation, `count` of them. `options.inside` calls a function where the service is
-- to be; `options.address` is the one of the database that the processes use.
function teams.new(server, operation, count, options)
  options = options or {}
  server:execute("drop schema if exists test cascade")
  server:execute("create schema test")
  local address = server:address("test")
  local self = setmetatable({ server = server, operation = operation, rows = world.many(operation, count),
    address = options.address or address, workers = {}, store = assert(jobs.open(address)),
    folder = shell("mktemp -d /tmp/leat-team.XXXXXX"):match("[^\n]+") }, Team)
  local function begin()
    start_service(self, options)
    self.job = assert(self.store:plan { client = self.client, operation = operation, rows = self.rows })
  end
  if options.inside then
    options.inside(begin)
  else
    begin()
  end
  return self
end

--- Ends all processes and the service, and removes what is left.
function Team:close()
  for _, worker in ipairs(self.workers) do
    pcall(teams.signal, "KILL", worker.pid)
  end
  self.store:close()
  self.client:close()
  self.service:stop()
  shell("rm -r %s", self.folder)
end

-- ---- the processes ----------------------------------------------------------------------

--- Starts a process that works on the job. `options` are those of worker_program.lua; `how.address` is the one of the
-- database, and `how.prefix` a command that runs the process.
function Team:start(options, how)
  how = how or {}
  local worker = { output_path = ("%s/%d"):format(self.folder, #self.workers + 1) }
  worker.pid = tonumber((shell("{ exec %s %s spec/postgres/worker_program.lua %s '%s' %d settle=%g %s; } >%s 2>&1 & "
    .. "echo $!", how.prefix or "", interpreter, self.url, how.address or self.address, self.job.id, SETTLE,
    options or "", worker.output_path):match("%d+")))
  self.workers[#self.workers + 1] = worker
  return worker
end

--- Returns whether the process has not ended.
function teams.is_alive(worker)
  local file = io.open(("/proc/%d/stat"):format(worker.pid))
  local state = file and file:read("*a"):match("%) (%a)")
  if file then
    file:close()
  end
  return state ~= nil and state ~= "Z"
end

--- Returns what a process has printed.
function teams.output(worker)
  return read(worker.output_path)
end

--- Waits until all these processes have ended, and returns what each printed.
function Team:wait(...)
  local outputs = {}
  for i, worker in ipairs { ... } do
    wait_until(function() return not teams.is_alive(worker) end)
    outputs[i] = teams.output(worker)
  end
  assert(self.job:refresh())
  return outputs
end

--- Rows are given up whose process died three times, or was cut off, by chance. Tries them again, as a person would:
-- `most` of them at most. Returns how many there were. `how` is that of `start`.
function Team:retry_poisoned(most, how)
  local poisoned = 0
  for row in self.job:results { "unknown" } do
    poisoned = poisoned + (row.kind == "poisoned" and 1 or 0)
  end
  assert(poisoned <= most, poisoned .. " rows were given up")
  if poisoned > 0 then
    self:wait_for_workers(0) -- those that were killed are known until their leases end
    assert(self.job:retry { failed = false })
    self:wait(self:start(nil, how))
  end
  return poisoned
end

--- Waits until so many rows are done.
function Team:wait_for_rows(least)
  wait_until(function() return assert(self.job:refresh()).done >= least end)
end

--- Waits until so many processes work on the job, and returns what is known of them.
function Team:wait_for_workers(number)
  return wait_until(function()
    local list = assert(self.job:workers())
    return #list == number and list
  end)
end

--- Returns how often a worker took over rows, according to the journal.
function Team:count_takeovers()
  return (self.store.store.journal:row("select count(*) from event where what like 'took over%'", ""))
end

--- Returns how many of the processes' outputs say that theirs was the last one, which ended the job.
function teams.count_last(outputs)
  local last = 0
  for _, text in ipairs(outputs) do
    assert(text:find("^finished\t%-\t"), text)
    last = last + (text:find("\tlast", 1, true) and 1 or 0)
  end
  return last
end

-- ---- the check --------------------------------------------------------------------------

local function read_lines(path)
  local file, lines = assert(io.open(path, "rb")), {}
  local reader = csv.reader(function() return file:read(65536) end)
  for cells in function() return reader:next() end do
    lines[#lines + 1] = cells
  end
  file:close()
  table.remove(lines, 1)
  return lines
end

--- Returns what is wrong with the finished job, or nil. `were_lost`: requests may have been counted that the service
-- never received.
function Team:find_fault(were_lost)
  assert(#self.service:requests() < MOST_REQUESTS, "the record may lack requests")
  local results = {}
  for row in self.job:results() do
    results[#results + 1] = row
  end
  world.is_counted = not were_lost
  local files = assert(self.job:write_results(self.folder))
  return world.find_fault(self.operation, assert(self.job:refresh()), results, read_lines(files.results), self.service,
    true, self.rows)
end

return teams
