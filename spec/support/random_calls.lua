-- Random operations on the card "x", and random faults for them. A seed gives the same ones on every
-- Lua.
local random = {}

-- Returns a function of n that draws a number from 1 to n.
function random.generator(seed)
  local chance = seed
  return function(n)
    chance = (chance * 16807) % 2147483647
    return chance % n + 1
  end
end

local OPERATION_NAMES = { "find", "create", "create", "link", "unlink", "update", "delete" }
local FAULTS = {
  {}, {}, {}, {}, {}, {},
  { close = "before" }, { close = "before", apply = true }, { close = "within" }, { close = "within", apply = true },
  { status = 500 }, { status = 500, apply = true }, { status = 502, apply = true },
  { kind = "maintenance" }, { kind = "maintenance", apply = true }, { status = 503, apply_after = 0.02 },
  { kind = "rate_limited", headers = { ["Retry-After"] = "0" } }, { status = 200, body = "<html>", apply = true },
  { close = "before", apply_after = 0.02 }, { status = 504, apply_after = 0.7 }, { status = 504, apply_after = 1.3 },
  { lag = 0.02 }, { lag = 0.7 }, { lag = 1.3 }, { stale = true },
}

-- If `also` names an operation, it replaces every other create.
function random.ask(draw, also)
  local number = draw(#OPERATION_NAMES)
  local ask = { operation = number == 3 and also or OPERATION_NAMES[number] }
  local name, contact = ({ "a", "b" })[draw(2)], ({ "ann", "bob", "ann", "bob", "nobody" })[draw(5)]
  local makes = ask.operation == "create" or ask.operation == "ensure"
  if makes or ask.operation == "link" then ask.contact = contact end
  if makes and draw(2) == 1 or ask.operation == "update" then ask.name = name end
  if ask.operation == "update" and draw(2) == 1 then ask.active = draw(3) > 1 end
  return ask
end

-- Sets faults for the next requests. With `most`, no fault has a lag or an apply_after of more than that
-- many seconds. Returns the largest of these times.
function random.plan_faults(server, draw, most)
  local reach = 0
  server:clear_faults()
  for n = 1, draw(4) do
    local fault = { nth = n }
    for key, value in pairs(FAULTS[draw(#FAULTS)]) do
      fault[key] = value
    end
    local far = fault.apply_after or fault.lag or 0
    if far <= (most or far) then
      server:fault(fault)
      reach = math.max(reach, far)
    end
  end
  return reach
end

return random
