-- For busted's --helper: records which lines of lua/ run, and reports how many of the lines that luac
-- lists for each file did. Processes that specs start are not counted.
local REPORT = assert(os.getenv("LEAT_COVERAGE"))
local unpack = table.unpack or unpack -- luacheck: ignore
local ran = {}

local function note(_, line)
  local file = debug.getinfo(2, "S").source:match("^@.*/lua/(leat.*%.lua)$")
  if file then
    ran[file] = ran[file] or {}
    ran[file][line] = true
  end
end

-- Specs set hooks too; when they remove theirs, ours is set again.
local sethook = debug.sethook
function debug.sethook(...) -- luacheck: ignore
  local thread, hook = ...
  if type(thread) == "function" or type(hook) == "function" then return sethook(...) end
  if thread then return sethook(thread, note, "l") end
  return sethook(note, "l")
end

-- Each coroutine has its own hook.
local create = coroutine.create
function coroutine.create(fn) -- luacheck: ignore
  local made = create(fn)
  debug.sethook(made, note, "l")
  return made
end
function coroutine.wrap(fn) -- luacheck: ignore
  local made = coroutine.create(fn)
  return function(...)
    local results = { n = select("#", ...), coroutine.resume(made, ...) }
    if not results[1] then error(results[2], 0) end
    return unpack(results, 2, #results)
  end
end

local function lines_of(file)
  local lines, pipe = {}, assert(io.popen(("luac%s -l -p lua/%s"):format(_VERSION:match("%d.%d"), file)))
  for text in pipe:lines() do
    local line, what = text:match("^%s*%d+%s+%[(%d+)%]%s+(%S+)")
    if line and what ~= "VARARGPREP" then lines[tonumber(line)] = true end
  end
  pipe:close()
  return lines
end

local function report()
  local out, files = assert(io.open(REPORT, "w")), assert(io.popen("cd lua && find leat* -name '*.lua' | sort"))
  for file in files:lines() do
    local count, missed = 0, {}
    for line in pairs(lines_of(file)) do
      count = count + 1
      if not (ran[file] and ran[file][line]) then missed[#missed + 1] = line end
    end
    table.sort(missed)
    out:write(("%-34s %6.1f %% of %4d lines   not: %s\n"):format("lua/" .. file,
      100 * (count - #missed) / math.max(count, 1), count, table.concat(missed, " ")))
  end
  files:close()
  out:close()
end

debug.sethook(note, "l")
require("busted").subscribe({ "exit" }, function()
  sethook()
  report()
  return nil, true
end)
