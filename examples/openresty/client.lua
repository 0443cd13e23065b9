-- The client that all handlers share, made once. Its timeouts limit how long a visitor waits.
local leat = require("leat")

return leat.new { api_key = os.getenv("LEAT_API_KEY"), base_url = os.getenv("LEAT_BASE_URL"), timeout = 3 }
