-- Measures how long an event loop is blocked while it carries finds: prints the seconds that all finds
-- took, and the longest gap between two beats of a timer, first idle and then busy.
--    lua5.4 spec/hosts/heartbeat.lua LOOP COUNT AT_ONCE      or by Neovim, with these in arg
-- LEAT_API_KEY and LEAT_BASE_URL name the server. LOOP is luv, cqueues, copas, select, poll or tick;
-- or blocking, which makes blocking calls, to prove that the measurement detects them.
local leat, tasks = require("leat"), require("leat.tasks")
local core = require("leat.core")

local function now()
  return core.now() / 1000
end

local LOOP, COUNT, AT_ONCE = arg[1], tonumber(arg[2]), tonumber(arg[3])
local BEAT, IDLE = LOOP == "tick" and 0.05 or 0.005, 0.3 -- seconds

local client = leat.new { api_key = os.getenv("LEAT_API_KEY"), base_url = os.getenv("LEAT_BASE_URL"),
  max_connections = AT_ONCE, blocking = LOOP == "blocking" }
local cards = client.contact_identifiers

-- ---- the timer --------------------------------------------------------------------------

local last, longest, idle, begun, took
local found = 0

local function beat()
  local at = now()
  longest = last and math.max(longest, at - last) or 0
  last = at
end

local function begin()
  idle, longest, begun = longest, 0, now()
  tasks.spawn(function()
    local i = 0
    tasks.each(function()
      i = i + 1
      return i <= COUNT and "1" or nil
    end, function(value)
      local card = leat.assert(cards:find(value))
      found = found + 1
      return card
    end, { concurrency = AT_ONCE })
    took = now() - begun
  end)
end

-- ---- loops: beat() every BEAT, begin() after IDLE, end when it took so long ---------------

local loops = {}

function loops.luv()
  local vim = rawget(_G, "vim") -- Neovim's
  local uv = vim and vim.loop or require("luv")
  require("leat.luv").attach(uv)
  local heart, start = uv.new_timer(), uv.new_timer()
  heart:start(0, BEAT * 1000, function()
    beat()
    if took then
      heart:close()
    end
  end)
  start:start(IDLE * 1000, 0, function()
    start:close()
    begin()
  end)
  if vim then
    vim.wait(60000, function() return took ~= nil end, 1)
  else
    uv.run() -- returns once nothing is watched any more
  end
end

function loops.cqueues()
  local cqueues = require("cqueues")
  local cq = cqueues.new()
  require("leat.cqueues").attach(cq)
  cq:wrap(function()
    while not took do
      beat()
      cqueues.sleep(BEAT)
    end
  end)
  cq:wrap(function()
    cqueues.sleep(IDLE)
    begin()
  end)
  assert(cq:loop())
end

-- A loop of the program's own. `turn(driver, seconds)` waits until the driver's descriptor is readable,
-- at most for so long, and lets the tasks run.
local function loop_of(turn)
  local start, driver = now(), client.driver
  while not took do
    if LOOP ~= "tick" then
      beat()
    end
    if not begun and now() - start > IDLE then
      begin()
    end
    turn(driver, math.max(0, (last or now()) + BEAT - now())) -- until the next beat is due
  end
end

function loops.select()
  local socket = require("socket")
  loop_of(function(driver, seconds)
    socket.select({ driver }, nil, seconds)
    tasks.poll()
  end)
end

function loops.poll()
  loop_of(function(driver, seconds)
    core.wait(seconds, { driver:fd() })
    tasks.poll()
  end)
end

function loops.copas()
  local copas = require("copas")
  local begin_tasks, driver = begin, client.driver
  local function carry()
    copas.receive { -- reading means running the tasks that are ready
      getfd = function() return driver:fd() end,
      dirty = function() return false end,
      receive = function() return tasks.poll() == 0 or nil, "timeout" end,
      close = function() end, -- otherwise copas would close it at the thread's end
    }
  end
  begin = function()
    begin_tasks()
    beat() -- because this copas runs a new thread at once, before the timers that are due
    copas.addthread(carry)
  end
  loop_of(function(_, seconds)
    copas.step(seconds)
  end)
end

-- A game: one tick each BEAT, in which the tasks may run for some milliseconds.
function loops.tick()
  local tick = now()
  loop_of(function()
    tick = tick + BEAT
    while tick > now() do
      core.wait(tick - now() - 0.0005)
    end
    beat()
    tasks.poll(0.005)
  end)
end

function loops.blocking()
  loop_of(function()
    if begun then
      cards:find("1")
    end
  end)
end

if LOOP == "blocking" then
  begin = function()
    idle, longest, begun = longest, 0, now()
  end
  local once = cards.find
  getmetatable(cards).find = function(...)
    found = found + 1
    took = found >= COUNT and now() - begun or nil
    return once(...)
  end
end

loops[LOOP]()
assert(found == COUNT)
client:close()
print(("%.4f %.4f %.4f"):format(took, idle, longest))
