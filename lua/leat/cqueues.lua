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
local attached = setmetatable({}, { __mode = "k" })

--- From now on the controller carries what tasks call. Once is enough, and more does nothing.
-- @function attach
-- @param cq a controller
function adapter.attach(cq)
  if attached[cq] then
    return
  end
  attached[cq] = true
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
      if ends[driver] then
        return
      end
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
      local over = ends[driver]
      ends[driver] = nil
      if over then
        cqueues.cancel(driver:fd()) -- it may close before it is watched again
        over:signal()
      end
    end,
    soon = function()
      cq:wrap(tasks.poll)
    end,
  }
end

return adapter
