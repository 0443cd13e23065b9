-- Runs the `leat` command as a process of its own, with the interpreter that runs this file.
--
--    local command = dofile("spec/support/command.lua")
--    local result = command.run { args = { "find", "1" }, server = server }
--    print(result.status, result.stdout, result.stderr)
--
-- The fields of what `run` and `start` take, of which only `args` is required:
--
--   * `args`      list of strings
--   * `server`    a sandbox: its URL and key become LEAT_BASE_URL and LEAT_API_KEY
--   * `env`       table of environment variables. LEAT_* and others that the command reads are unset otherwise; HOME
--                 and XDG_STATE_HOME are a folder that is removed afterwards, so that no spec writes to a real home
--   * `stdin`     string: the contents of standard input; default: nothing. `true`: a pipe, which `type` writes to
--   * `stdout`    the path of a file, instead of one whose contents become `result.stdout`
--   * `pipe_to`   a shell command that reads standard output, such as "head -n 1"; it prints `result.stdout`
--   * `terminal`  string: the descriptors that are a pseudo-terminal, such as "012". What it shows becomes
--                 `result.screen`
--   * `keys`      list of { prompt, text }: types each text on the terminal once the prompt is shown
--   * `closed`    string: the descriptors that are closed, such as "0"
--   * `ignored`   the name of a signal that is ignored from the start, as under nohup
--
-- A result has `status`, as a shell sees it, 128 + n after signal n; `signal`, the name of the signal that ended the
-- process, or nil; `memory`, the most that it used, in kB; `stdout`, `stderr` and `screen`.

local core = require("leat.core")
local interpreter = dofile("spec/support/interpreter.lua")

local command = {}

local function exists(path)
  local result = os.execute("test -e " .. path)
  return result == true or result == 0 -- Lua 5.1 returns the exit status
end

--- Whether processes can be looked at in /proc, and whether there are pseudo-terminals. Both are missing in a plain
-- chroot.
command.has_proc, command.has_terminals = exists("/proc/self/status"), exists("/dev/pts/ptmx")

local HELPER = (os.getenv("LEAT_TOOLS") or "build/test") .. "/terminal"
local UNSET = "LEAT_API_KEY LEAT_API_KEY_FILE LEAT_CLIENT_ID LEAT_CLIENT_SECRET LEAT_BASE_URL LEAT_RATE NO_COLOR "
  .. "LEAT_DB http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY"
local numbers = { HUP = 1, INT = 2, KILL = 9, PIPE = 13, TERM = 15 }
local names = {}
for name, number in pairs(numbers) do
  names[number] = name
end

local Process = {}
Process.__index = Process

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  return text
end

local write = dofile("spec/support/write.lua")

--- Quotes a word for the shell.
function command.quote(word)
  return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

-- ---- starting ---------------------------------------------------------------------------

local function environment(options, base)
  local env = { TERM = "xterm", HOME = base .. ".home", XDG_STATE_HOME = base .. ".home" }
  if options.server then
    env.LEAT_BASE_URL, env.LEAT_API_KEY = options.server.url, options.server.api_key
  end
  for name, value in pairs(options.env or {}) do
    env[name] = value
  end
  local lines = { "unset " .. UNSET }
  for name, value in pairs(env) do
    lines[#lines + 1] = ("export %s=%s"):format(name, command.quote(value))
  end
  return table.concat(lines, "\n")
end

local function helper_words(options)
  local words = { command.quote(HELPER) }
  local function add(flag, value)
    words[#words + 1] = value and flag .. " " .. value or nil
  end
  add("-t", options.terminal)
  add("-p", options.stdin == true and "" or nil)
  add("-c", options.closed)
  add("-i", options.ignored and numbers[options.ignored])
  words[#words + 1] = interpreter .. " lua/bin/leat"
  for _, word in ipairs(options.args) do
    words[#words + 1] = command.quote(word)
  end
  return table.concat(words, " ")
end

-- Returns the script that runs the command. It is a file, so that no key is in the arguments of the shell; and it
-- removes itself, because it contains the key.
local function make_script(options, base)
  local stdin = "/dev/null"
  if type(options.stdin) == "string" then
    stdin = base .. ".stdin"
    write(stdin, options.stdin)
  end
  local stdout = options.pipe_to and "" or ">" .. command.quote(options.stdout or base .. ".stdout")
  local pipe = options.pipe_to and ("| %s >%s.stdout"):format(options.pipe_to, base) or ""
  return ("rm %s\n%s\n%s 3<&0 4>%s.screen 5>%s.status <%s %s 2>%s.stderr %s\n"):format(base, environment(options, base),
    helper_words(options), base, base, stdin, stdout, base, pipe)
end

--- Starts the command, and returns the process.
function command.start(options)
  local base = os.tmpname()
  write(base, make_script(options, base))
  return setmetatable({ base = base, control = assert(io.popen("sh " .. base, "w")) }, Process)
end

--- Runs the command to its end, and returns the result.
function command.run(options)
  local process = command.start(options)
  for _, one in ipairs(options.keys or {}) do
    process:wait_for("screen", one[1])
    process:type(one[2])
  end
  return process:wait()
end

-- ---- while it runs ----------------------------------------------------------------------

--- Returns what it has written so far. `stream` is "stdout", "stderr" or "screen".
function Process:read(stream)
  return (read(self.base .. "." .. stream):gsub("\r\n", "\n"))
end

--- Waits until `check()` returns something true, and returns that. Fails after some seconds.
function command.wait_until(check, seconds)
  local due = core.now() + 1000 * (seconds or 20)
  repeat
    local result = check()
    if result then
      return result
    end
    core.wait(0.01, {})
  until core.now() > due
  error("what the test waited for did not happen", 2)
end

--- Waits until a text, not a pattern, is in what it has written, after the texts that were waited for before.
function Process:wait_for(stream, text)
  local found
  command.wait_until(function()
    local ended = self:has_ended()
    local _, last = self:read(stream):find(text, self[stream] or 1, true)
    found = last
    return found or ended
  end)
  if not found then
    error(("'%s' was not written to %s, but:\n%s\n%s"):format(text, stream, self:read(stream), self:read("stderr")), 2)
  end
  self[stream] = found + 1
end

--- Returns how many requests a sandbox received that may change something.
function command.count_writes(server)
  local writes = 0
  for _, request in ipairs(server:requests()) do
    writes = writes + (request.method == "GET" and 0 or 1)
  end
  return writes
end

--- Waits so many seconds; `core.wait` returns after 0.1 s at most.
function command.sleep(seconds)
  local due = core.now() + 1000 * seconds
  while core.now() < due do
    core.wait((due - core.now()) / 1000, {})
  end
end

local function instruct(self, text)
  self.control:write(text, "\n")
  self.control:flush()
end

--- Types a text on the terminal, or writes it to the pipe that is its standard input.
function Process:type(text)
  for from = 1, #text, 500 do
    instruct(self, "type " .. text:sub(from, from + 499):gsub(".", function(c) return c:byte() .. " " end))
  end
end

--- Closes the pipe that is its standard input.
function Process:end_input()
  instruct(self, "end")
end

--- Sends it a signal, by its name.
function Process:signal(name)
  instruct(self, "signal " .. numbers[name])
end

--- Returns its process's number.
function Process:pid()
  return command.wait_until(function() return read(self.base .. ".status"):match("pid (%d+)\n") end)
end

--- Returns whether it has ended.
function Process:has_ended()
  return read(self.base .. ".status"):find("\n%l+ %d+\n%l+ %d+\n") ~= nil
end

-- ---- afterwards -------------------------------------------------------------------------

--- Waits for its end, and returns the result.
function Process:wait()
  instruct(self, "wait")
  self.control:close()
  local memory, how, number = read(self.base .. ".status"):match("\nmemory (%d+)\n(%l+) (%d+)\n")
  number = tonumber(number)
  local signal = how == "signal" and (names[number] or tostring(number)) or nil
  local result = {
    status = signal and 128 + number or number,
    signal = signal,
    memory = tonumber(memory),
    stdout = self:read("stdout"),
    stderr = self:read("stderr"),
    screen = self:read("screen"),
  }
  for _, suffix in ipairs { ".stdin", ".stdout", ".stderr", ".screen", ".status" } do
    os.remove(self.base .. suffix)
  end
  if os.rename(self.base .. ".home", self.base .. ".home") then
    os.execute("rm -r " .. self.base .. ".home")
  end
  return result
end

return command
