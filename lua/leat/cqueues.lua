--- Lets a controller of cqueues carry the calls of tasks.
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

--- From now on the controller carries what tasks call. Once is enough.
-- @function attach
-- @param cq a controller
function adapter.attach(cq)
  local ends = {}
  -- What a poll raises ends the loop's step, and must not end the watching.
  local function poll()
    local fine, why = pcall(tasks.poll)
    if not fine then
      cq:wrap(error, why, 0)
    end
  end
  tasks.attach {
    watch = function(driver)
      local over = condition.new()
      ends[driver] = over
      cq:wrap(function()
        while ends[driver] == over do
          cqueues.poll(driver, over)
          poll()
        end
      end)
    end,
    unwatch = function(driver)
      cqueues.cancel(driver:fd()) -- it may close before it is watched again
      ends[driver]:signal()
      ends[driver] = nil
    end,
    soon = function()
      cq:wrap(tasks.poll)
    end,
  }
end

return adapter
