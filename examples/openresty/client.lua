-- The client that all handlers share, made once. Its timeouts limit how long a visitor waits.
local leat = require("leat")

return leat.from_env { timeout = 3 }
