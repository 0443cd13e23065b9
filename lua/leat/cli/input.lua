-- The values that the `leat` command processes: its arguments, or the lines of standard input.

local scheduler = require("leat.scheduler")
local system = require("leat.cli.core")

local Input = {}
Input.__index = Input

local STDIN = 0
local LONGEST = 65536 -- bytes of a line; no value is nearly as long

-- Reads more of standard input, or notes its end or why it cannot be read.
local function read_more(self)
  local text, why = system.read(STDIN)
  if not text then
    self.problem = "can't read standard input: " .. why
    return
  end
  self.ended = text == ""
  self.text, self.at = self.text:sub(self.at) .. text, 1
end

-- Returns the next line that is complete, or nil.
local function take_line(self)
  local from, to = self.at, self.text:find("\n", self.at, true)
  if (to or #self.text + 1) - from > LONGEST then
    self.problem = ("line %d of standard input is longer than %d bytes"):format(self.count + 1, LONGEST)
    return nil
  elseif not to and self.ended and from <= #self.text then
    to = #self.text + 1
  elseif not to then
    return nil
  end
  self.at, self.count = to + 1, self.count + 1
  local line = self.text:sub(from, to - 1):gsub("\r$", "")
  return self.count == 1 and line:gsub("^\239\187\191", "") or line
end

-- Suspends the task that asks for a line until standard input can be read.
local function wait(self)
  while not self.stopped and not system.is_readable(STDIN) do
    self.waiting = scheduler.current()
    scheduler.wait_for_event()
  end
  self.waiting = false
end

-- Returns the next value, or nil after the last one, or when there is a `problem`. While it waits for standard
-- input, other tasks go on.
function Input:next()
  if self.values then
    self.count = self.count + 1
    return not self.stopped and self.values[self.count] or nil
  end
  while not self.stopped and not self.problem do
    local line = take_line(self)
    if line and line ~= "" then
      return line
    elseif not line and self.ended then
      return nil
    elseif not line and not self.problem then
      wait(self)
      if not self.stopped then
        read_more(self)
      end
    end
  end
end

-- Lets the task that waits for standard input go on, if there is something to read. Called in the program's loop.
function Input:wake()
  if self.waiting and (self.stopped or system.is_readable(STDIN)) then
    scheduler.wake(self.waiting)
  end
end

-- No further value is returned.
function Input:stop()
  self.stopped = true
end

-- Makes the input from the values in the arguments, of which one may be "-".
return function(values)
  local from_stdin = #values == 1 and values[1] == "-"
  return setmetatable({
    values = not from_stdin and values or false,
    total = not from_stdin and #values or nil,
    several = from_stdin or #values > 1,
    typed = from_stdin and system.is_terminal(STDIN),
    text = "", at = 1, count = 0, ended = false, stopped = false, waiting = false,
    problem = false,
  }, Input)
end
