-- Fails each allocation in turn, of Lua and of the modules, in each scenario: once, or that one and all
-- later ones. What a call returns or raises is compared with the state of the sandbox.
--    lua_torture spec/torture/sweep.lua [STEP]
local leat = require("leat")
local core = require("leat.core")
local torture = torture -- luacheck: ignore
local unpack = table.unpack or unpack -- luacheck: ignore
local step = tonumber(arg[1]) or 1
local sandbox = require("leat.sandbox").start {
  contacts = { { uuid = "ann" }, { uuid = "bob" } },
  cards = { { value = "free" }, { value = "anns", name = "gold", contact_uuid = "ann" } },
}
local passed, failed = 0, 0

local LOST = { operation = "create", close = "before", apply = true }
local function lost(operation, apply)
  return { { operation = operation, close = "before", apply = apply } }
end

local function find(client)
  return client.contact_identifiers:find("anns")
end
local function create(client)
  return client.contact_identifiers:create("new", { name = "gold", contact_uuid = "ann" })
end
local function ensure(client)
  return client.contact_identifiers:ensure("free", { name = "gold", contact_uuid = "ann" })
end
local function on_card(method, ...)
  local given = { ... }
  return function(client)
    local card, err = client.contact_identifiers:find("free")
    if not card then return nil, err end
    return card[method](card, given[1])
  end
end

local scenarios = {
  { "find", find },
  { "find, none", function(c) return c.contact_identifiers:find("none") end, kind = "not_found" },
  { "find, lost", find, faults = lost("find") },
  { "find, with fields", find, faults = { { kind = "invalid_input" } }, kind = "invalid_input" },
  { "create", create },
  { "create, lost, is there", create, faults = lost("create", true) },
  { "create, lost, is not there", create, faults = lost("create") },
  { "create, lost, unknown", create, faults = lost("create", true), max_attempts = 1, kind = "connection" },
  { "ensure, a new one", function(c) return c.contact_identifiers:ensure("new", { name = "gold" }) end },
  { "ensure, there already", ensure, value = "free" },
  { "list", function(c) return c.contact_identifiers:list { contact_uuid = "ann" } end },
  { "link", on_card("link", "ann"), value = "free" },
  { "link, lost", on_card("link", "ann"), value = "free", faults = lost("link", true) },
  { "unlink", function(c) return c.contact_identifiers:unlink("anns") end, value = "anns" },
  { "update", on_card("update", { name = "silver", active = false }), value = "free" },
  { "delete", on_card("delete"), value = "free" },
  { "delete, lost", on_card("delete"), value = "free", faults = lost("delete", true) },
  { "find, decoded again", function(c)
    local card, err, info = find(c)
    if not card then return nil, err end
    return core.decode(info.json, getmetatable(card))
  end, json = true },
  { "a view", function(c) return find(c:with { timeout = 5, max_attempts = 2 }) end },
  { "check", function(c) return c:check() end },
  { "a request", function(c)
    return c:request("POST", "/contact-identifiers", { query = { a = 1 }, headers = { ["X-One"] = "1" },
      body = { contact_identifier_value = "new" } })
  end },
  { "a function for headers, a create lost", create, faults = { LOST }, traced = true },
  { "a token fetched, a create lost", create, faults = { LOST }, login = "fetched" },
  { "a token asked for", create, login = "asked" },
}

local function check(good, what, where)
  if good then
    passed = passed + 1
    return
  end
  failed = failed + 1
  print(("%s: %s"):format(where, what))
end

-- ---- the client and the sandbox -------------------------------------------------------

local function new_client(s)
  local options = { base_url = sandbox.url, max_attempts = s.max_attempts, json = s.json,
    headers = s.traced and function() return { ["X-Two"] = "2" } end or { ["X-Two"] = "2" } }
  if s.login == "fetched" then
    options.client_id, options.client_secret = "sandbox-client", "sandbox-secret"
    options.token_url = sandbox.token_url
  elseif s.login == "asked" then
    options.token = function() return unpack({ sandbox.api_key }) end -- allocates memory
  else
    options.api_key = sandbox.api_key
  end
  return leat.new(options)
end

local function set_stage(s)
  sandbox:reset()
  for _, fault in ipairs(s.faults or {}) do
    sandbox:fault(fault)
  end
end

local function state(s)
  local card = sandbox:card(s.value or "new")
  return card and ("%s, %s, %s, %s"):format(card.value, tostring(card.name),
    card.contact and card.contact.uuid or "-", tostring(card.active)) or "none"
end

local function changes()
  local count = 0
  for _, request in ipairs(sandbox:requests()) do
    if request.changed and request.operation ~= "token" then
      count = count + 1
    end
  end
  return count
end

-- Waits for a request that was given up after it was sent: the server may carry it out a moment later, and must
-- not do so during the next trial. Returns 1, the number of changes that may follow.
local function wait_for_change()
  local started = core.now()
  while changes() == 0 and core.now() - started < 100 do
    core.wait(0.001)
  end
  return 1
end

local function collect()
  collectgarbage()
  collectgarbage()
  collectgarbage("stop") -- it would run at times that are not counted
end

local function unfailing(f)
  local _, fine, result, err = torture.call("ours", 0, false, f)
  return fine and result, err or result
end

-- ---- checking ---------------------------------------------------------------------------

-- Returns what is wrong with the result, or nil.
local function contradiction(x, fine, value, err)
  local happened = x.changes > 0
  if x.changes > math.max(1, x.whole.changes) then
    return "it happened twice"
  elseif not fine then
    if type(value) ~= "string" or not value:find("memory") then
      return "it raises something else"
    end
    happened = happened and x.whole.changes < 2 -- but ensure continues where it stopped
    return happened and not value:find("may have happened") and "it does not say that it may have happened" or nil
  elseif value then
    return (x.scenario.kind or x.state ~= x.whole.state) and "it did not succeed" or nil
  elseif err.kind == x.scenario.kind and err.outcome_unknown == x.whole.unknown then
    return x.state ~= x.whole.state and "it is not as the error says" or nil
  elseif happened and not err.outcome_unknown and x.whole.changes < 2 then
    return "it happened, and it does not say so"
  end
  local hidden = err.kind == "connection" and err.message:find("resolve host: 127.0.0.1", 1, true)
    or err.kind == "local" and err.message:find("thread failed to start", 1, true)
    or err.kind == "unauthorized" and err.message:find("no memory is left for it", 1, true)
  return err.kind ~= "no_memory" and not hidden and not err.outcome_unknown and "another error" or nil
end

local function told(fine, value, err)
  return not fine and "raised " .. tostring(value) or value and "success" or tostring(err)
end

-- Whether the report leaves open what happened: the server may carry out a request that it has
-- received a moment after the call gave up.
local function is_open(fine, value, err)
  if not fine then
    return tostring(value):find("may have happened", 1, true) ~= nil
  end
  return not value and err.outcome_unknown
end

-- ---- sweeping ---------------------------------------------------------------------------

-- Returns false if there was no such allocation.
local function fail_once(x, at)
  local s, where = x.scenario, ("%s, %s%s%s %d"):format(x.scenario[1], x.from, x.sticky and ", sticky" or ", single",
    x.born and ", from birth," or ",", at)
  local before, client = torture.blocks(), nil
  if not x.born then
    set_stage {}
    client = unfailing(function() return new_client(s) end)
    check(unfailing(function() return find(client) end), "the first call", where)
    unfailing(collect)
  end
  local steady = torture.blocks()
  set_stage(s)
  local was_one, fine, value, err = torture.call(x.from, at, x.sticky, function()
    client = client or new_client(s)
    return s[2](client)
  end)
  x.state, x.changes = state(s), changes()
  check(not contradiction(x, fine, value, err), ("%s: %s; %s"):format(tostring(contradiction(x, fine, value, err)),
    told(fine, value, err), x.state), where)
  local late = is_open(fine, value, err) and x.changes == 0 and wait_for_change() or 0
  value, err = nil, nil -- luacheck: ignore
  sandbox:clear_faults()
  if client then
    local again, why = unfailing(function() return find(client) end)
    check(again, "the next call: " .. tostring(why), where)
    local more = changes() - x.changes
    check(more == 0 or more == late, "what was given up happens afterwards", where)
    again = nil -- luacheck: ignore
  end
  unfailing(collect)
  check(x.born or torture.blocks() == steady, ("%d blocks after the next call, before %d"):format(torture.blocks(),
    steady), where)
  unfailing(function()
    if client then client:close() end
    client = nil
    collect()
  end)
  check(torture.blocks() == before, ("%d blocks in the end, before %d"):format(torture.blocks(), before), where)
  check(torture.descriptors(sandbox.url, x.descriptors), "descriptors are left", where)
  return was_one
end

local function play_whole(s)
  set_stage(s)
  local value, err = unfailing(function() return s[2](new_client(s)) end)
  check((value and not s.kind) or err.kind == s.kind, told(true, value, err), s[1])
  local whole = { state = state(s), changes = changes(), unknown = not value and err.outcome_unknown }
  value, err = nil, nil -- luacheck: ignore
  unfailing(collect)
  return whole
end

local function sweep(x)
  local at = step
  while fail_once(x, at) do
    at = at + step
  end
end

if jit then
  jit.off() -- LuaJIT 2.1.0-beta3 crashes when memory runs out within what it compiled
end
collectgarbage("stop")
local descriptors = torture.descriptors(sandbox.url)
for _, s in ipairs(scenarios) do
  local whole = play_whole(s)
  for _, from in ipairs { "ours", "lua" } do
    for way = 0, 3 do
      sweep { scenario = s, whole = whole, descriptors = descriptors,
        from = from, sticky = way % 2 == 1, born = way > 1 }
    end
  end
end
print(("torture: %s: %d passed, %d failed"):format(jit and jit.version or _VERSION, passed, failed))
return failed == 0
