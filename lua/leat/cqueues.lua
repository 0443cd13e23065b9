--- Runs the calls of tasks in a cqueues controller.
--
--    local cq = require("cqueues").new()
--    require("leat.cqueues").attach(cq)
--    tasks.spawn(function() ... end)
--    cq:loop()
-- @module leat.cqueues

local condition = require("cqueues.condition")
local cqueues = require("cqueues")
local tasks = require("leat.tasks")

local adapter = {}
local attached = setmetatable({}, { __mode = "k" })

--- Makes the controller perform the calls of tasks from now on. Attaching the same controller again has
-- no effect.
-- @function attach
-- @param cq a controller of cqueues
function adapter.attach(cq)
  if attached[cq] then
    return
  end
  attached[cq] = true
  local ends = {}
  -- An error from a poll is raised by the loop's step, in a coroutine of its own, so that the coroutine
  -- that watches the driver goes on.
  local function poll()
    local fine, why = pcall(tasks.poll)
    if not fine then
      cq:wrap(error, why, 0)
    end
  end
  tasks.attach {
    watch = function(driver)
      if ends[driver] then
        return
      end
      local over = condition.new()
      ends[driver] = over
      cq:wrap(function()
        while ends[driver] == over do
          cqueues.poll({ pollfd = driver:fd(), events = "r", timeout = driver.timeout and driver:timeout() }, over)
          poll()
        end
      end)
    end,
    unwatch = function(driver)
      local over = ends[driver]
      ends[driver] = nil
      if over then
        cqueues.cancel(driver:fd()) -- the descriptor may be closed before cqueues next polls it
        over:signal()
      end
    end,
    soon = function()
      cq:wrap(tasks.poll)
    end,
  }
end

return adapter
