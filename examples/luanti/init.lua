-- A mod for Luanti (Minetest): `/card VALUE` finds a card, `/card VALUE CONTACT` links it too.
-- No tick waits for the service. In minetest.conf:
--
--    secure.trusted_mods = leat_card         because only trusted mods may load modules in C
--    leat_card.api_key = ...                 or LEAT_API_KEY in the environment; mods can read both
--    leat_card.lua_path = .../?.lua          the path of leat, if the server's Lua does not find it;
--    leat_card.lua_cpath = .../?.so          or LUA_PATH and LUA_CPATH in the environment
--
-- leat must be built for the Lua of the server, which usually is LuaJIT.

-- Keep this local: code that gets it, or its `require`, can do anything on this machine.
local insecure = minetest.request_insecure_environment()
if not insecure then
  error("leat_card must be a trusted mod: secure.trusted_mods = leat_card")
end

local function setting(name, variable)
  return minetest.settings:get("leat_card." .. name) or variable and os.getenv(variable)
end

for _, name in ipairs { "path", "cpath" } do
  local more = setting("lua_" .. name)
  if more then
    insecure.package[name] = more .. ";" .. insecure.package[name]
  end
end

-- Modules load others with the global `require`, which mods do not have; it exists only while they load.
rawset(_G, "require", insecure.require)
local leat, tasks = require("leat"), require("leat.tasks")
local client = leat.new {
  api_key = setting("api_key", "LEAT_API_KEY"),
  base_url = setting("base_url", "LEAT_BASE_URL"),
  blocking = false, -- a call outside of a task raises an error
}
rawset(_G, "require", nil)
local cards = client.contact_identifiers

local function describe(card, err)
  if not card then
    return err.kind == "not_found" and "There is no such card." or tostring(err)
  end
  local contact = card.contact
  return ("Card %s (%s) is %s."):format(card.value, card.name or "no name",
    contact and "linked to " .. (contact.email or contact.uuid) or "linked to nobody")
end

local function find_and_link(value, uuid)
  local card, err = cards:find(value)
  if card and uuid ~= "" then
    card, err = card:link(uuid)
  end
  return card, err
end

minetest.register_chatcommand("card", {
  params = "<value> [<contact uuid>]",
  description = "Find a loyalty card, and link it to a contact",
  privs = { server = true }, -- the command shows data of customers
  func = function(player, param)
    local value, uuid = param:match("^(%S+)%s*(%S*)$")
    if not value then
      return false, "Which card? /card <value> [<contact uuid>]"
    end
    tasks.spawn(function()
      minetest.chat_send_player(player, describe(find_and_link(value, uuid)))
    end)
    return true, "Asking ..."
  end,
})

-- Two milliseconds are enough for several steps of a call in one tick. The log gets the error of a
-- task that failed, because an error here would end the server.
minetest.register_globalstep(function()
  local fine, why = pcall(tasks.poll, 0.002)
  if not fine then
    minetest.log("error", "[leat_card] " .. tostring(why))
  end
end)

minetest.register_on_shutdown(function()
  client:close()
end)
