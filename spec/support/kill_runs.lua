-- Runs jobs in processes of their own, several at a time, and checks what is left of each.
local csv = require("leat.csv")
local jobs = require("leat.jobs")
local sandbox = require("leat.sandbox")
local sqlite = require("leat.sqlite.core")
local interpreter = dofile("spec/support/interpreter.lua")
local read = dofile("spec/support/read.lua")
local world = dofile("spec/support/kill_world.lua")

local runs = {}
local Run = {}
Run.__index = Run

local TOOLS = os.getenv("LEAT_TOOLS")

--- Begins a world of its own for an operation: a service, a folder and the path of a journal. With `slow` a run takes
-- more than a second.
function runs.new(operation, slow)
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -m 700 " .. folder))
  return setmetatable({ operation = operation, folder = folder, journal = folder .. "/jobs.db",
    service = assert(sandbox.start(world.service(operation, slow))) }, Run)
end

function Run:close()
  self.service:stop()
  os.execute("chmod -R u+w " .. self.folder .. "; rm -r " .. self.folder)
end

--- Returns the shell command that runs the program once, as a process that replaces the shell's. `settings` are
-- variables of its environment, for the library `preload`; `more` are further arguments.
function Run:program(preload, settings, more)
  local variables = preload and ('LD_PRELOAD="$LD_PRELOAD %s/%s.so"'):format(TOOLS, preload) or ""
  for name, value in pairs(settings or {}) do
    variables = ("%s %s=%s"):format(variables, name, value)
  end
  return ("env %s LEAT_IMAGES=%s LEAT_JOURNAL=%s %s spec/support/kill_program.lua %s %s %s %s %s >>%s/output 2>&1")
    :format(variables, self.folder, self.journal, interpreter, self.service.url, self.journal, self.folder,
      self.operation, more or "", self.folder)
end

--- Returns the same with a limit for its time.
function Run:command(...)
  return "timeout 40 " .. self:program(...)
end

--- Returns the shell command that begins a run, and waits until it is under way; its process is $pid.
function Run:begin(...)
  return ("%s & pid=$!; until [ -e %s.lock ]; do sleep 0.01; done; sleep 0.1"):format(self:program(...), self.journal)
end

--- Returns the shell command that does to the journal what a power failure would have done.
function Run:power_failure(seed)
  return ("%s spec/support/power_failure.lua %s %s %d"):format(interpreter, self.journal, self.folder, seed)
end

function Run:output()
  return read(self.folder .. "/output")
end

--- Runs a shell command for each run, all at the same time, and waits until all have ended.
function runs.all(commands)
  local pipe = assert(io.popen("{ " .. table.concat(commands, "; } & { ") .. "; } & wait"))
  pipe:read("*a")
  pipe:close()
end

local function read_lines(path)
  local text, lines = read(path), {}
  local reader = csv.reader(function()
    local part = text
    text = nil
    return part
  end)
  local cells = reader:next()
  while cells do
    lines[#lines + 1] = cells
    cells = reader:next()
  end
  table.remove(lines, 1)
  return lines
end

local function check_database(path)
  local connection = assert(sqlite.open(path))
  local statement = assert(connection:prepare("pragma integrity_check", ""))
  assert(statement:query())
  local _, finding = assert(statement:fetch())
  connection:close()
  return finding ~= "ok" and "the journal is damaged: " .. finding or nil
end

--- Returns what is wrong with the finished job, or nil.
function Run:find_fault(killed)
  local damage = check_database(self.journal)
  if damage then
    return damage
  end
  local store = assert(jobs.open(self.journal))
  local list, results = assert(store:jobs()), {}
  local wrong = #list ~= 1 and ("there are %d jobs"):format(#list)
  if not wrong then
    for row in list[1]:results() do
      results[#results + 1] = row
    end
    local path = ("%s/%s.results.csv"):format(self.folder, self.operation)
    local file = io.open(path)
    wrong = file and world.find_fault(self.operation, list[1], results, read_lines(path), self.service, killed)
      or not file and "there are no results"
    if file then
      file:close()
    end
  end
  store:close()
  return wrong and ("%s\n%s"):format(wrong, self:output()) or nil
end

--- Returns how many points a run passed that ended by itself, or nil.
function Run:points()
  local file = io.open(self.folder .. "/points")
  local count = file and tonumber(file:read("*a"))
  if file then
    file:close()
  end
  return count
end

return runs
