-- The client of all handlers, made once. A visitor waits no longer than for its timeouts.
local leat = require("leat")

return leat.new { api_key = os.getenv("LEAT_API_KEY"), base_url = os.getenv("LEAT_BASE_URL"), timeout = 3 }
