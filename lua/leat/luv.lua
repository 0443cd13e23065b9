--- Lets a libuv loop carry the calls of tasks: luv's, or Neovim's `vim.loop`.
--
--    require("leat.luv").attach(require("luv"))
--    tasks.spawn(function() ... end)
-- @module leat.luv

local tasks = require("leat.tasks")

local luv = {}

--- From now on the loop carries what tasks call. Once is enough.
-- @tparam table uv the module of libuv
function luv.attach(uv)
  local handles = {} -- hold their drivers: libuv aborts when a watched descriptor closes
  tasks.attach {
    watch = function(driver)
      handles[driver] = assert(uv.new_poll(driver:fd()))
      handles[driver]:start("r", function()
        tasks.poll()
      end)
    end,
    unwatch = function(driver)
      handles[driver]:stop()
      handles[driver]:close()
      handles[driver] = nil
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
