-- Jobs in trouble: a disk that is full, a journal that is gone, another process, a clock that jumps, a process that is
-- suspended. The program says what is wrong, and afterwards the job is continued without a loss.
local runs = dofile("spec/support/kill_runs.lua")

local SOME = { "ensure", "unlink", "update" }

-- Runs a shell command for a new world of each operation: `make_command(run)`. Returns the worlds and what each
-- printed.
local function start(make_command, operations)
  local list, commands, outputs = {}, {}, {}
  for i, operation in ipairs(operations or SOME) do
    list[i] = runs.new(operation, true)
    commands[i] = make_command(list[i], i)
  end
  runs.all(commands)
  for i, run in ipairs(list) do
    outputs[i] = run:output()
  end
  return list, outputs
end

-- Lets the program continue in all worlds, and checks what came of it.
local function finish(list, prepare)
  local commands, wrong = {}, {}
  for i, run in ipairs(list) do
    commands[i] = (prepare and prepare(run) .. "; " or "") .. run:command()
  end
  runs.all(commands)
  for _, run in ipairs(list) do
    table.insert(wrong, run:find_fault(true))
    run:close()
  end
  assert.same({}, wrong)
end

local function says(outputs, ...)
  for _, output in ipairs(outputs) do
    local found = false
    for _, pattern in ipairs { ... } do
      found = found or output:find(pattern) ~= nil
    end
    assert.is_true(found, output)
  end
end

describe("a job", function()
  it("is paused by a full disk", function()
    local spaces = { 0, 20000, 70000, 80000, 95000, 100000, 105000 }
    local list, outputs = start(function(run, i)
      return run:command("trouble", { LEAT_SPACE = spaces[i] })
    end, { "ensure", "ensure", "unlink", "delete", "create", "ensure", "update" })
    says(outputs, "^failed journal: .*/jobs%.db.*full", "^paused\tjournal\t.*/jobs%.db.*full", "^finished")
    says({ outputs[1], outputs[2] }, "^failed journal: ")
    says({ outputs[3] }, "^paused\tjournal\t")
    finish(list)
  end)

  it("does not begin on a file system that is read-only, and does not continue there", function()
    local list, outputs = start(function(run)
      return run:command("trouble", { LEAT_READ_ONLY = run.journal })
    end)
    says(outputs, "^failed journal: the journal /.*/jobs%.db can't be opened: .*Read%-only")
    finish(list)
    list, outputs = start(function(run)
      return run:command("kill_points", { LEAT_KILL = 400 }) .. "; "
        .. run:command("trouble", { LEAT_READ_ONLY = run.journal })
    end)
    says(outputs, "failed journal: the journal /.*/jobs%.db: .*readonly", "failed journal: .*unable to open")
    finish(list)
  end)

  for name, after in pairs { deleted = "true", replaced = "cp %s/away/jobs.db %s" } do
    it("is paused when its journal is " .. name .. ", and continued when it is there again", function()
      local list, outputs = start(function(run)
        return ("%s; mkdir %s/away; mv %s* %s/away; %s; wait"):format(run:begin(), run.folder, run.journal, run.folder,
          after:format(run.folder, run.folder))
      end)
      says(outputs, "^paused\tjournal\tthe journal /.*/jobs%.db was deleted or replaced while the job ran")
      finish(list, function(run)
        return ("rm -f %s*; mv %s/away/* %s"):format(run.journal, run.folder, run.folder)
      end)
    end)
  end

  it("is processed by one process at a time", function()
    local list, outputs = start(function(run)
      return run:begin() .. "; " .. run:command() .. "; wait"
    end)
    says(outputs, "^failed journal: another process works on the journal /.*/jobs%.db %(job 1%): wait for it, or "
      .. "give another journal\nfinished")
    finish(list)
  end)

  it("does not depend on the wall clock", function()
    local list, outputs = start(function(run)
      return run:begin("trouble", { LEAT_CLOCK = 1 }) .. "; kill -KILL $pid; wait $pid 2>/dev/null; "
        .. run:command("trouble", { LEAT_CLOCK = 1 })
    end)
    says(outputs, "finished")
    finish(list)
  end)

  it("survives a process that is suspended longer than its lease", function()
    local list, outputs = start(function(run)
      return ("%s; kill -STOP $pid; sleep 0.7; %s; kill -CONT $pid; wait"):format(run:begin(nil, nil, "0.3 0.5"),
        run:command())
    end)
    says(outputs, "^failed journal: another process works on the journal .*\nfinished",
      "^failed journal: the journal .*: database is locked\nfinished") -- it was suspended within a transaction
    finish(list)
  end)
end)
