-- Tests a program with busted, against a sandbox instead of the service.
local leat = require("leat")
local card_script = require("examples.card_script")

describe("card_script", function()
  local sandbox = assert(require("leat.sandbox").start {
    contacts = { { uuid = "ann" }, { uuid = "bob" } },
    cards = { { value = "2" }, { value = "3", contact_uuid = "bob" } },
  })
  local client = leat.new { api_key = sandbox.api_key, base_url = sandbox.url }
  local outcome

  before_each(function() sandbox:reset() end)
  teardown(function() sandbox:stop() end)

  local function run()
    outcome = {}
    local lines = ("1 ann\n2 ann\n3 ann\n"):gmatch("[^\n]+")
    card_script.run(client, lines, function(value, what) outcome[value] = what end)
  end

  it("creates a card, links one that is free, leaves one that is somebody's", function()
    run()
    assert.same({ ["1"] = "done", ["2"] = "done", ["3"] = "taken" }, outcome)
    assert.equal("ann", sandbox:card("2").contact.uuid)
    assert.equal("bob", sandbox:card("3").contact.uuid)
  end)

  it("finds out what became of a card whose response was lost", function()
    sandbox:fault { operation = "create", apply = true, close = "before" }
    run()
    assert.equal("done", outcome["1"])
    assert.equal("ann", sandbox:card("1").contact.uuid)
  end)
end)
