--- Lets a libuv loop carry the calls of tasks: luv's, or Neovim's `vim.loop`.
--
--    require("leat.luv").attach(require("luv"))
--    tasks.spawn(function() ... end)
-- @module leat.luv

local tasks = require("leat.tasks")

local luv = {}
local attached = setmetatable({}, { __mode = "k" })

-- libuv aborts when a handle is closed twice, or stopped once it is closing: the program may
-- have closed all there are, as uv.walk lets it.
local function let_go(handle)
  if not handle:is_closing() then
    handle:stop()
    handle:close()
  end
end

--- From now on the loop carries what tasks call. Once is enough, and more does nothing.
-- @tparam table uv the module of libuv
function luv.attach(uv)
  if attached[uv] then
    return
  end
  attached[uv] = true
  local handles = {} -- hold their drivers: libuv aborts when a watched descriptor closes
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
