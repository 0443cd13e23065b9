-- Returns a function that returns the seconds of a clock that never goes back.
local core = require("leat.core")

return function()
  return core.now() / 1000
end
