-- Draws the layers, and which of them do I/O.
local svg = dofile("spec/support/doc/svg.lua")

local drivers = {
  { "leat.curl", "a script: blocks until done", "libcurl connects, with TLS", "also from C" },
  { "leat.curl, leat.tasks", "a loop, a game's tick", "one descriptor, never blocks", "also from C" },
  { "leat.nginx", "OpenResty, nginx", "cosockets", "suspends its own request" },
  { "your own", "transport: a function", "driver: perform(call)", "leat.recorder, for tests", own = true },
}

local parts = {
  { "machine.c", "what comes next? attempts, waits,", "lost responses are verified" },
  { "http1.c", "a request becomes bytes,", "bytes become a response" },
  { "response.c, json.c, ...", "strict JSON, data or an error", "operations are rows of a table" },
}

-- Draws what passes between any driver and any call.
local said = { "asks: what comes next?", "is told: send, wait, done", "tells what came of it", "so do all drivers" }

local function draw_callers(page)
  page:box(30, 52, 560, 44, "box")
  page:text(310, 79, "your program, in Lua", "strong middle")
  page:box(620, 52, 210, 44, "box")
  page:text(725, 79, "your program, in C", "strong middle")
  page:box(30, 124, 560, 58, "box")
  page:text(310, 148, "Lua objects: client, resources, cards, errors", "strong middle")
  page:text(310, 169, "lua/: methods are made from the core's rows; tasks suspend coroutines", "small middle")
  page:arrow(310, 96, 122, "asks")
  page:arrow(310, 182, 208, "asks")
  page:arrow(725, 96, 208, "asks")
  page:text(737, 158, "leat.h", "code")
end

local function draw_core(page)
  page:box(30, 210, 800, 122, "core")
  page:text(430, 235, "libleat: a call is a state machine without I/O", "strong middle")
  for i, part in ipairs(parts) do
    local x = 48 + (i - 1) * 258
    page:box(x, 250, 248, 68, "part")
    page:text(x + 124, 271, part[1], "code middle")
    page:text(x + 124, 290, part[2], "small middle")
    page:text(x + 124, 307, part[3], "small middle")
  end
end

local function draw_drivers(page)
  for i, driver in ipairs(drivers) do
    local x = 30 + (i - 1) * 203
    page:arrow(x + 20, 396, 334, "asks", true)
    page:text(x + 121, 369, said[i], "small middle")
    page:box(x, 398, 191, 92, driver.own and "driver own" or "driver")
    page:text(x + 95.5, 420, driver[1], "code strong middle")
    for n = 2, #driver do
      page:text(x + 95.5, 406 + n * 18, driver[n], "small middle")
    end
    page:arrow(x + 95.5, 492, 540, "bytes", true)
    page:text(x + 110, 521, "bytes", "small")
  end
end

return function()
  local page = svg.new(860, 600, "The layers of leat", "Your program calls Lua objects, or the C library. Both make "
    .. "calls of libleat, which does no I/O. Four kinds of driver ask a call what comes next, and alone move the "
    .. "bytes to and from the service: libcurl blocking, libcurl in a loop, cosockets in nginx, and your own.")
  page:text(430, 32, "Who decides, and who moves the bytes", "title middle")
  draw_callers(page)
  draw_core(page)
  draw_drivers(page)
  page:box(30, 542, 800, 38, "world")
  page:text(430, 566, "the service, over HTTPS; or leat.sandbox, in tests", "strong middle")
  return tostring(page)
end
