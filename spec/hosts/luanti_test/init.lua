-- The mod that spec/hosts/luanti_host.lua runs in a server: it runs a player's commands and measures
-- the ticks meanwhile. It writes the output and the times into the world's folder, one per line.
local TRIES, CALLS, SECONDS = 5, 20, 2

local insecure = minetest.request_insecure_environment()
rawset(_G, "require", insecure.require)
local blocking = insecure.require("leat").new { api_key = "luanti-key",
  base_url = os.getenv("LEAT_BASE_URL") }
rawset(_G, "require", nil)

local said, responses = {}, 0

function minetest.chat_send_player(player, text)
  said[#said + 1] = player .. ": " .. text
  responses = responses + 1
end

local function command(param)
  local _, text = minetest.registered_chatcommands.card.func("ann", param)
  said[#said + 1] = "/card " .. param .. " -> " .. text
end

-- The script below uses this to wait for ticks; `longest` is the longest gap between two of them.
local last, longest = nil, 0

local function wait_until(condition)
  repeat
    coroutine.yield()
  until condition()
end

local function longest_until(condition)
  longest = 0
  wait_until(condition)
  return longest / 1e6
end

local function over(seconds)
  local begun = minetest.get_us_time()
  return function()
    return minetest.get_us_time() - begun >= seconds * 1e6
  end
end

local function ask(param)
  local before = responses
  command(param)
  wait_until(function() return responses > before end)
end

local function measure()
  local idle = longest_until(over(SECONDS))
  responses = 0
  for _ = 1, CALLS do
    command("slow")
  end
  local busy = longest_until(function() return responses == CALLS end)
  return idle, busy
end

local function script()
  wait_until(over(1)) -- the server is busy at first
  command("")
  ask("0042")
  ask("0042 bob")
  ask("none")
  command("\255")
  wait_until(over(0.3))
  local out = { table.concat(said, "\n") }
  for _ = 1, TRIES do
    local idle, busy = measure()
    out[#out + 1] = ("ticks %.4f %.4f"):format(idle, busy)
    if busy <= idle + 0.005 then
      break
    end
  end
  blocking.contact_identifiers:find("slow")
  out[#out + 1] = ("blocking %.4f"):format(longest_until(over(0)))
  minetest.safe_file_write(minetest.get_worldpath() .. "/told", table.concat(out, "\n") .. "\n")
  minetest.request_shutdown()
  return "done"
end

local resume = coroutine.wrap(script)
minetest.register_globalstep(function()
  local now = minetest.get_us_time()
  longest = last and math.max(longest, now - last) or 0
  last = now
  if resume then
    resume = not resume() and resume
  end
end)
