-- The annotations for editors name everything that is public, and nothing else.
local leat = require("leat")
local markdown = dofile("spec/support/markdown.lua")
local tasks = require("leat.tasks")
local text = markdown.read("lua/leat/types.lua")

-- Returns the names of each class: its fields, and the functions of the variable that follows it.
local function parse()
  local classes, variables = {}, {}
  local class
  for line in text:gmatch("[^\n]+") do
    local name = line:match("^%-%-%-@class ([%w_.]+)$")
    local field = line:match("^%-%-%-@field ([%w_]+)%?? ")
    local variable = line:match("^local ([%w_]+) = {}$") or line:match("^([%w_]+) = {}$")
    local of, method = line:match("^function ([%w_]+)[.:]([%w_]+)%(")
    if name then
      class = {}
      classes[name] = class
    elseif field then
      class[field] = true
    elseif variable then
      variables[variable] = class
    elseif of then
      local names = variables[of]
      names[method] = true
    end
  end
  return classes
end

local function names(...)
  local set = {}
  for i = 1, select("#", ...) do
    for name in pairs((select(i, ...))) do
      set[name] = type(name) == "string" and not name:find("^__") and true or nil
    end
  end
  return set
end

local function methods(object)
  return names(getmetatable(object).__index)
end

-- Returns the options that a function knows; its message lists them when it gets an unknown one.
local function options(f, ...)
  local given = { ... }
  given[#given + 1] = { no_such_option_of_any_function = 1 }
  local _, why = pcall(f, (table.unpack or unpack)(given)) -- luacheck: ignore
  local set = {}
  for name in why:match("%(known: (.*)%)"):gmatch("[%w_]+") do
    set[name] = true
  end
  return set
end

describe("types:", function()
  local classes = parse()
  local server = assert(require("leat.sandbox").start { cards = { { value = "1" } } })
  local client = leat.new { api_key = server.api_key, base_url = server.url }
  local cards = client.contact_identifiers
  local card = leat.assert(cards:find("1"))
  local driver = require("leat.curl").new()
  local task = tasks.spawn(function() end)
  local resources = { contact_identifiers = true }
  local limiter = require("leat.limiter").new { close = function() end }
  local jobs = require("leat.jobs")
  local store = assert(jobs.open_temporary())
  local job = assert(store:plan { client = client, operation = "find", rows = { { value = "1" } } })
  local optional = { reason = true, file = true, finished = true }
  teardown(function()
    store:close()
    limiter:close()
    driver:close()
    server:stop()
  end)

  local there = {
    ["leat"] = names(leat),
    ["leat.Client"] = names(getmetatable(client).__index, resources),
    ["leat.ContactIdentifiers"] = methods(cards),
    ["leat.Options"] = options(leat.new),
    ["leat.WithOptions"] = options(client.with, client),
    ["leat.Fleet"] = options(function(fleet) leat.new { api_key = "k", fleet = fleet } end),
    ["leat.CreateOptions"] = options(cards.create, cards, "1"),
    ["leat.UpdateOptions"] = options(cards.update, cards, "1"),
    ["leat.ExpectOptions"] = options(cards.delete, cards, "1"),
    ["leat.ListOptions"] = options(cards.list, cards),
    ["leat.environment"] = names((require("leat.environment"))),
    ["leat.tasks"] = names(tasks),
    ["leat.Task"] = methods(task),
    ["leat.EachOptions"] = options(tasks.each, {}, print),
    ["leat.Progress"] = names(tasks.each({ 1 }, function() return true end), { eta = true }),
    ["leat.jobs"] = names(jobs),
    ["leat.JobStore"] = methods(store),
    ["leat.PlanOptions"] = options(store.plan, store),
    ["leat.Job"] = names(getmetatable(job).__index, job, optional),
    ["leat.RunOptions"] = options(job.start, job, client),
    ["leat.RetryOptions"] = options(job.retry, job),
    ["leat.curl"] = names((require("leat.curl"))),
    ["leat.Driver"] = methods(driver),
    ["leat.limiter"] = names((require("leat.limiter"))),
    ["leat.Limiter"] = methods(limiter),
    ["leat.postgres"] = names((require("leat.postgres"))),
    ["leat.transport"] = names((require("leat.transport"))),
    ["leat.recorder"] = names((require("leat.recorder"))),
    ["leat.prometheus"] = names((require("leat.prometheus"))),
    ["leat.sandbox"] = names((require("leat.sandbox"))),
    ["leat.Sandbox"] = names(getmetatable(server).__index, { url = 1, token_url = 1, ca_file = 1, api_key = 1,
      client_id = 1, client_secret = 1 }),
    ["leat.SandboxOptions"] = options(require("leat.sandbox").start),
    ["leat.Fault"] = options(server.fault, server),
  }
  local card_names = methods(card)
  for _, name in ipairs { "value", "name", "active", "contact" } do
    card_names[name] = true
  end
  there["leat.ContactIdentifier"] = card_names
  there["leat.Job"].store = nil

  for class, wanted in pairs(there) do
    it(class, function()
      assert.same(wanted, classes[class])
    end)
  end

  it("leat.Error and leat.Attempt have what these have", function()
    local attempts = {}
    local observed = leat.new { api_key = "no", base_url = server.url, show_values = true, max_attempts = 1,
      on_attempt = function(attempt) attempts[#attempts + 1] = attempt end }
    local _, err = observed.contact_identifiers:find("1")
    for name in pairs(err) do
      assert.truthy(classes["leat.Error"][name], name)
    end
    for name in pairs(attempts[1]) do
      assert.truthy(classes["leat.Attempt"][name], name)
    end
  end)

  it("leat.Health has what the health of a client that worked, failed and is paused has", function()
    local paused = leat.new { api_key = server.api_key, base_url = server.url }
    leat.assert(paused.contact_identifiers:find("1"))
    server:fault { operation = "find", kind = "rate_limited", retry_after = 100 }
    paused.contact_identifiers:find("1")
    assert.same(classes["leat.Health"], names(paused:health()))
  end)

  it("a run, its progress, its summary and its results have what these have", function()
    local run = assert(job:start(client))
    local methods_of_run = { step = true, stop = true, abandon = true, progress = true, check_leases = true }
    for name in pairs(methods_of_run) do
      assert.truthy(run[name])
    end
    assert.same(methods_of_run, classes["leat.Run"])
    local progress, summary = run:progress(), nil
    progress.eta, progress.outage, progress.failing = progress.eta or 0, progress.outage or "", progress.failing or ""
    assert.same(names(progress), classes["leat.JobProgress"])
    while not summary do
      tasks.poll()
      summary = run:step()
    end
    summary.kind, summary.message = "", ""
    assert.same(names(summary), classes["leat.JobSummary"])
    for row in job:results() do
      for name in pairs(row) do
        assert.truthy(classes["leat.JobResult"][name], name)
      end
    end
  end)

  it("leat.Kind is one of the kinds", function()
    for kind in markdown.read("docs/errors.md"):gmatch("\n| `([%l_]+)`") do
      assert.truthy(text:find(('%%-%%-%%-| "%s"\n'):format(kind)), kind)
    end
  end)

  it("the modules give themselves as these", function()
    for _, name in ipairs { "leat", "leat.environment", "leat.jobs", "leat.tasks", "leat.curl", "leat.limiter",
      "leat.postgres", "leat.transport", "leat.recorder", "leat.sandbox" } do
      local source = markdown.read("lua/" .. name:gsub("%.", "/") .. ".lua")
      assert.truthy(source:find(("\nreturn [%%w_]+ %%-%%-%%[%%[@as %s%%]%%]\n"):format(name)), name)
    end
  end)

  it("is a file that nobody needs to run, and that runs", function()
    assert.truthy(loadfile("lua/leat/types.lua"))
  end)
end)
