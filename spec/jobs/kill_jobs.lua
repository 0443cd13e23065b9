-- Jobs whose process is killed, at every point of a run where its death could leave something half done, and jobs
-- whose machine loses its power. Each time the same program continues, and its report is compared with
-- what the service received and holds.
--
-- By default some points of each operation are tried. LEAT_KILLS=all tries all of them; LEAT_KILLS="link find" all
-- those of these operations.
local runs = dofile("spec/support/kill_runs.lua")
local world = dofile("spec/support/kill_world.lua")

local SCOPE = os.getenv("LEAT_KILLS")
local SOME = 3 -- points of each operation
local GROUP = SCOPE and 24 or 4 -- runs at a time; few in the gate, where other tests run beside them

-- Runs the program for each entry of a list in a world of its own: it is killed as `settings` say, and then runs
-- again; with `seed`, after a power failure. Returns what is wrong, a list, and how many were not killed. Calls
-- `look(entry)` for each before it is gone.
local function try(list, look)
  local commands, wrong, survivors = {}, {}, 0
  for i, one in ipairs(list) do
    one.run = runs.new(one.operation)
    one.settings.LEAT_POINTS = one.run.folder .. "/points"
    commands[i] = one.run:command("kill_points", one.settings) .. "; "
      .. (one.seed and one.run:power_failure(one.seed) .. "; " or "") .. one.run:command()
  end
  runs.all(commands)
  for _, one in ipairs(list) do
    survivors = survivors + (one.run:points() and 1 or 0)
    local problem = one.run:find_fault(not one.run:points())
    if problem then
      table.insert(wrong, ("killed at point %s, seed %s: %s"):format(tostring(one.settings.LEAT_KILL),
        tostring(one.seed), problem))
    end
    if look then
      look(one)
    end
    one.run:close()
  end
  return wrong, survivors
end

local points_of = {}

-- Returns how many points the run of each operation passes that nobody kills.
local function count_points()
  if not next(points_of) then
    local list = {}
    for i, operation in ipairs(world.operations) do
      list[i] = { operation = operation, settings = {} }
    end
    assert.same({}, (try(list, function(one) points_of[one.operation] = one.run:points() end)))
  end
  return points_of
end

-- Kills at some points of each operation, others each time.
local function kill_at_some(choose_seed)
  local points, list = count_points(), {}
  for _, operation in ipairs(world.operations) do
    assert.is_true(points[operation] > 200, ("there are only %d points"):format(points[operation]))
    local step = points[operation] / SOME
    local first = 1 + math.random() * (step - 1)
    for i = 0, SOME - 1 do
      table.insert(list, { operation = operation, seed = choose_seed(),
        settings = { LEAT_KILL = math.floor(first + i * step) } })
    end
  end
  local wrong, survivors = try(list)
  assert.same({}, wrong)
  assert.is_true(survivors < #list / 4, survivors .. " were not killed") -- runs differ in length
end

-- Kills at all points of an operation, until a group of runs ends by itself.
local function kill_at_all(operation, choose_seed)
  local first, killed, survivors = 1, 0, 0
  while survivors < GROUP do
    local list = {}
    for i = 1, GROUP do
      list[i] = { operation = operation, seed = choose_seed(), settings = { LEAT_KILL = first + i - 1 } }
    end
    local wrong, alive = try(list)
    assert.same({}, wrong)
    survivors = alive
    first, killed = first + GROUP, killed + GROUP - survivors
  end
  print(("%s: killed %d times"):format(operation, killed))
end

math.randomseed(os.time())

-- What happens to the journal between the runs, as functions that return a seed for power_failure.lua, or nil.
local accidents = {
  ["a job whose process is killed"] = function() return nil end,
  ["a job whose machine loses its power"] = function() return 0 end,
  ["a job of whose last writes a part survives"] = function() return math.random(2 ^ 20) end,
}

for name, choose_seed in pairs(accidents) do
  describe(name, function()
    if not SCOPE then
      it("is continued, and nothing is lost or sent twice", function() kill_at_some(choose_seed) end)
    else
      for _, operation in ipairs(world.operations) do
        if SCOPE == "all" or (" " .. SCOPE .. " "):find(" " .. operation .. " ", 1, true) then
          it("is continued, wherever it was: " .. operation, function() kill_at_all(operation, choose_seed) end)
        end
      end
    end
  end)
end
