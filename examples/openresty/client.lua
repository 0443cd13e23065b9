-- The client that all handlers share, made once. Its timeouts limit how long a visitor waits, and its cache is that of
-- all workers.
local leat = require("leat")

return leat.from_env {
  timeout = 3,
  shared = "leat",
  rate = 5,
  cache = { dict = "leat_finds", ttl = 60, negative_ttl = 5, grace = 600, stale = 3600 },
}
