-- Tests that fail on purpose, and print everything that a failing test may print.
-- spec/secrets_spec.lua runs them, and searches their output for the token.
local leat = require("leat")
local sandbox = require("leat.sandbox")

local secrets = dofile("spec/support/secrets.lua")
local KEY = secrets.key

describe("a test that fails", function()
  local server = assert(sandbox.start { api_key = KEY, cards = { { value = "1" } } })
  local client = leat.new { api_key = KEY, base_url = server.url }
  local cards = client.contact_identifiers

  it("shows the client", function()
    assert.same({}, client)
  end)
  it("shows the resource", function()
    assert.same({}, cards)
  end)
  it("shows a card and what comes with it", function()
    assert.same({}, { cards:find("1") })
  end)
  it("shows an error", function()
    assert.same({}, { cards:find("2") })
  end)
  it("raises an error", function()
    leat.assert(cards:find("2"))
  end)
  it("shows what the server received", function()
    assert.same({}, server:requests())
  end)
  it("shows a token that is not given", function()
    local other = leat.new { client_id = "me", client_secret = secrets.secret, base_url = server.url,
      token_url = server.token_url }
    print(other, other:check())
    assert.same({}, { other, { other:check() }, server:requests("token") })
  end)
  it("shows the options' mistakes", function()
    leat.new { api_key = KEY, base_url = "nowhere" }
  end)
  it("shows a call's mistakes", function()
    cards:find(KEY, { name = "x" })
  end)
  it("prints everything", function()
    print(client, cards, server, cards:find("2"))
    error(select(2, cards:find("2")))
  end)
end)
