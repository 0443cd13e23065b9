-- Jobs whose process is killed, at every point of a run where its death could leave something half done, jobs whose
-- machine loses its power, and jobs whose disk has errors. Each time the same program continues, and its report is
-- compared with what the service received and holds.
--
-- By default some points of each operation are tried. LEAT_KILLS=all tries all of them; LEAT_KILLS="link find" all
-- those of these operations.
local runs = dofile("spec/support/kill_runs.lua")
local world = dofile("spec/support/kill_world.lua")

local SCOPE = os.getenv("LEAT_KILLS")
local SOME = 3 -- points of each operation
local GROUP = SCOPE and 24 or 9 -- runs at a time; few in the gate, where other tests run beside them
-- Between points, where not all are tried; the first one is random, so that other points are tried each time. Several
-- points lie between two fsyncs, and a power failure makes the same of them.
local STRIDE = tonumber(os.getenv("LEAT_STRIDE")) or 10

-- Returns the shell command of everything that happens to the entry of a list: see `try`.
local function story(one)
  local commands = {}
  for i, point in ipairs(one.kills) do
    commands[#commands + 1] = one.run:command("kill_points", { [one.how or "LEAT_KILL"] = point,
      LEAT_CHECKPOINT = one.checkpoint, LEAT_POINTS = i == 1 and one.run.folder .. "/points" or nil })
    commands[#commands + 1] = one.seed and one.run:power_failure(one.seed)
  end
  commands[#commands + 1] = one.others and one.run:others()
  commands[#commands + 1] = one.run:command()
  return table.concat(commands, "; ")
end

-- Returns whether the program was killed the first time, or with LEAT_FAIL, whether its disk had an error.
local function was_hit(one)
  local points = one.run:points()
  return not points or one.how == "LEAT_FAIL" and points >= one.kills[1] and one.kills[1] > 0
end

-- Returns what is wrong with what the program printed, or nil.
local function doubt_output(one)
  local said = one.how == "LEAT_FAIL" and one.run:output() or "finished"
  for _, pattern in ipairs { "^finished", "^failed journal: .*/", "^paused\tjournal\t.*/" } do
    if said:find(pattern) then
      return nil
    end
  end
  return "unclear: " .. said
end

-- Runs the program for each entry of a list in a world of its own. An entry has `operation`; `kills`, the points at
-- which it is killed, one for each time that it runs before the last; and optionally `how`, LEAT_FAIL for an error of
-- the disk instead; `seed`, for a power failure each time; `others`, true if somebody else changes cards before the
-- last time; `checkpoint`, for kill_points.c. Returns what is wrong, a list, and how many did not reach their first
-- point. Calls `look(entry)` for each before it is gone.
local function try(list, look)
  local commands, wrong, survivors = {}, {}, 0
  for i, one in ipairs(list) do
    one.run = runs.new(one.operation)
    commands[i] = story(one)
  end
  for i = 1, #commands, GROUP do
    runs.all({ (table.unpack or unpack)(commands, i, math.min(i + GROUP - 1, #commands)) }) -- luacheck: ignore
  end
  for _, one in ipairs(list) do
    survivors = survivors + (was_hit(one) and 0 or 1)
    local problem = doubt_output(one) or one.run:find_fault(was_hit(one))
    if problem then
      table.insert(wrong, ("killed at %s, seed %s, checkpoint %s: %s"):format(table.concat(one.kills, " and "),
        tostring(one.seed), tostring(one.checkpoint), problem))
    end
    if look then
      look(one)
    end
    one.run:close()
  end
  return wrong, survivors
end

local points_of = {}

-- Returns how many points the run of each operation passes to which nothing happens; `how` as for `try`.
local function count_points(how)
  how = how or "LEAT_KILL"
  if not points_of[how] then
    local list, counts = {}, {}
    for i, operation in ipairs(world.operations) do
      list[i] = { operation = operation, how = how, kills = { -1 } }
    end
    assert.same({}, (try(list, function(one) counts[one.operation] = one.run:points() end)))
    points_of[how] = counts
  end
  return points_of[how]
end

local function is_in_scope(operation, accident)
  local tried = not accident.operations or accident.operations[operation]
  return tried and (not SCOPE or SCOPE == "all" or (" " .. SCOPE .. " "):find(" " .. operation .. " ", 1, true))
end

-- Returns an entry for `try`. In half of them SQLite copies its log to the database again and again.
local function new_entry(operation, point, accident)
  local one = { operation = operation, kills = { point }, seed = accident.seed and accident.seed(),
    how = accident.how, others = accident.others, checkpoint = math.random(2) == 1 and math.random(4) or nil }
  if accident.twice then
    one.kills[2] = math.random(count_points()[operation])
  end
  return one
end

-- Kills at some points of each operation, others each time.
local function kill_at_some(accident)
  local points, list = count_points(accident.how), {}
  for _, operation in ipairs(world.operations) do
    if is_in_scope(operation, accident) then
      local least = accident.how and 60 or 200
      assert.is_true(points[operation] > least, ("there are only %d points"):format(points[operation]))
      local step = points[operation] / SOME
      local first = 1 + math.random() * (step - 1)
      for i = 0, SOME - 1 do
        table.insert(list, new_entry(operation, math.floor(first + i * step), accident))
      end
    end
  end
  local wrong, survivors = try(list, accident.look)
  assert.same({}, wrong)
  assert.is_true(survivors < #list / 4, survivors .. " were not killed") -- runs differ in length
end

-- Kills at all points of an operation, or at some, until a group of runs ends by itself.
local function kill_at_all(operation, accident)
  local point, killed, survivors = math.random(accident.stride or 1), 0, 0
  while survivors < GROUP do
    local list = {}
    for i = 1, GROUP do
      list[i] = new_entry(operation, point, accident)
      point = point + (accident.stride or 1)
    end
    local wrong, alive = try(list, accident.look)
    assert.same({}, wrong)
    survivors = alive
    killed = killed + GROUP - survivors
  end
  print(("%s: killed %d times"):format(operation, killed))
end

math.randomseed(os.time())

-- What happens to a job besides one kill. `seed` returns a seed for power_failure.lua.
local accidents = {
  ["a job whose process is killed"] = {},
  ["a job whose machine loses its power"] = { seed = function() return 0 end, stride = STRIDE },
  ["a job of whose last writes a part survives"] = { seed = function() return math.random(2 ^ 20) end,
    stride = STRIDE },
  ["a job whose process is killed twice"] = { twice = true, stride = STRIDE },
  ["a job whose disk has an error"] = { how = "LEAT_FAIL", stride = STRIDE },
}

local taken = 0
accidents["a job whose cards get another contact before it continues"] = { others = true, stride = STRIDE,
  operations = { link = true, unlink = true, delete = true },
  look = function(one) taken = taken + one.run:count_taken() end }

for name, accident in pairs(accidents) do
  describe(name, function()
    if not SCOPE then
      it("is continued, and nothing is lost or sent twice", function()
        kill_at_some(accident)
        assert.is_true(not accident.others or taken > 0, "no card was taken")
      end)
    else
      for _, operation in ipairs(world.operations) do
        if is_in_scope(operation, accident) then
          it("is continued, wherever it was: " .. operation, function() kill_at_all(operation, accident) end)
        end
      end
    end
  end)
end
