-- The six operations and some failures, against a sandbox. Each line shows the code that runs and
-- its result. Run it with `sh examples/demo.sh`.
local leat = require("leat")
local sandbox = require("leat.sandbox")

local ANN, BOB = "8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11", "3f0f0f54-7d0e-4b0b-9f9e-6a1d7f1c2b22"
local unexpected = 0

local function describe(card)
  if type(card) ~= "table" then
    return tostring(card)
  end
  return ("card %s, name %s, %s, %s"):format(card.value, card.name or "-",
    card.active and "active" or "inactive",
    card.contact and ("linked to " .. card.contact.email) or "not linked")
end

-- Shows a step, and whether its result is the expected one; `kind` is the expected error, if any.
local function step(code, kind, value, err)
  local good = kind == (err and err.kind)
  unexpected = unexpected + (good and 0 or 1)
  print(("  %s\n    %s %s"):format(code, good and "->" or "UNEXPECTED:",
    err and tostring(err) or describe(value)))
  return value
end

local function operations(cards)
  print("\nThe six operations")
  local card = step('card = cards:create("0042-0001", { name = "Krabby Membership" })', nil,
    cards:create("0042-0001", { name = "Krabby Membership" }))
  step('cards:find("0042-0001")', nil, cards:find("0042-0001"))
  step("card:link(ann)", nil, card:link(ANN))
  step("leat.assert(card:unlink()):link(bob)", nil, leat.assert(card:unlink()):link(BOB))
  step('card:update { name = "Krabby Gold", active = false }', nil,
    card:update { name = "Krabby Gold", active = false })
  step("card:update { active = true }", nil, card:update { active = true })
  step("card:delete()", nil, card:delete())
end

local function failures(cards, server)
  print("\nWhat can go wrong comes back as nil, err; err.kind says what it was")
  leat.assert(cards:create("0042-0002", { contact_uuid = ANN }))
  step('cards:find("0042-9999")', "not_found", cards:find("0042-9999"))
  step('cards:create("0042-0002")', "already_exists", cards:create("0042-0002"))
  step('cards:link("0042-0002", bob)', "already_linked", cards:link("0042-0002", BOB))
  step('cards:create("0042-0003", { contact_uuid = "nobody" })', "contact_not_found",
    cards:create("0042-0003", { contact_uuid = "nobody" }))
  leat.assert(cards:update("0042-0002", { active = false }))
  step('cards:unlink("0042-0002")  -- inactive by now', "inactive", cards:unlink("0042-0002"))
  local stranger = leat.new { api_key = "wrong-key", base_url = server.url, ca_file = server.ca_file }
  step('leat.new { api_key = "wrong-key" } ... :find("0042-0002")', "unauthorized",
    stranger.contact_identifiers:find("0042-0002"))
  server:stop()
  step('cards:delete("0042-0002")  -- the server is gone', "connection", cards:delete("0042-0002"))
end

local function mistakes(cards)
  print("\nMistakes of the program are raised, at its own line")
  for _, try in ipairs {
    { 'cards:find(42)', function() cards:find(42) end },
    { 'cards:update("0042-0002", { nmae = "x" })', function() cards:update("0042-0002", { nmae = "x" }) end },
    { 'cards.find("0042-0002")', function() cards.find("0042-0002") end },
  } do
    local fine, message = pcall(try[2])
    unexpected = unexpected + (fine and 1 or 0)
    print(("  %s\n    -> error: %s"):format(try[1], tostring(message)))
  end
end

for _, tls in ipairs { false, true } do
  local server = assert(sandbox.start {
    tls = tls,
    contacts = { { uuid = ANN, email = "ann@example.org" }, { uuid = BOB, email = "bob@example.org" } },
  })
  print(("%s== a sandbox that behaves like the API, at %s"):format(tls and "\n" or "", server.url))
  local client = leat.new { api_key = server.api_key, base_url = server.url, ca_file = server.ca_file }
  local cards = client.contact_identifiers
  operations(cards)
  if not tls then
    failures(cards, server)
    mistakes(cards)
  else
    print(("\n%d requests, all over TLS, one connection"):format(#server:requests()))
    server:stop()
  end
  client:close()
end

if unexpected > 0 then
  print(("\n%d steps did not come out as they should"):format(unexpected))
  os.exit(1)
end
print("\nEvery step came out as it should.")
