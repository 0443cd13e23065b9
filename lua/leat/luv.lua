--- Runs the calls of tasks in a libuv loop: that of luv, or Neovim's `vim.loop`.
--
--    require("leat.luv").attach(require("luv"))
--    tasks.spawn(function() ... end)
-- @module leat.luv

local tasks = require("leat.tasks")

local luv = {}
local attached = setmetatable({}, { __mode = "k" })

-- Stops and closes a handle. libuv aborts when a handle is closed twice, or stopped while it is closing,
-- and the program may have closed it already, for example with uv.walk.
local function let_go(handle)
  if not handle:is_closing() then
    handle:stop()
    handle:close()
  end
end

--- Makes the loop perform the calls of tasks from now on. Attaching the same module again has no effect.
-- @tparam table uv the libuv module, such as `require("luv")` or `vim.loop`
function luv.attach(uv)
  if attached[uv] then
    return
  end
  attached[uv] = true
  local handles = {} -- by driver, which keeps the drivers alive: libuv aborts if a watched descriptor closes
  tasks.attach {
    watch = function(driver)
      if handles[driver] then
        return
      end
      handles[driver] = assert(uv.new_poll(driver:fd()))
      handles[driver]:start("r", function()
        tasks.poll()
      end)
    end,
    unwatch = function(driver)
      local handle = handles[driver]
      handles[driver] = nil
      if handle then
        let_go(handle)
      end
    end,
    soon = function()
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        timer:close()
        tasks.poll()
      end)
    end,
  }
end

return luv
