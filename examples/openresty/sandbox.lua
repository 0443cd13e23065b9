-- A server that behaves like the API, with cards for run.sh to try: it prints its URL, and
-- serves until it is stopped.
local sandbox = assert(require("leat.sandbox").start {
  api_key = os.getenv("LEAT_API_KEY"),
  contacts = { { uuid = "ann", email = "ann@example.org" } },
  cards = {
    { value = "0042", name = "Krabby Gold", contact_uuid = "ann" },
    { value = "0043", name = "Krabby Gold" },
    { value = "0044", contact_uuid = "ann", active = false },
  },
})
print(sandbox.url)
io.stdout:flush()
sandbox:serve()
