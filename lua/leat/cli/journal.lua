-- Opens the journal of jobs for the `leat` command.

local need = require("leat.cli.need")
local usage = require("leat.cli.usage")

local journal = {}

-- Returns the module leat.jobs, which is not needed for other commands.
function journal.jobs()
  return need("leat.jobs", "luarocks install leat-jobs")
end

-- Returns an open journal; or nil and the exit status, after a message.
function journal.open(context)
  local path = context.options.db or os.getenv("LEAT_DB")
  local store, err = journal.jobs().open(path ~= "" and path or nil)
  if not store then
    return nil, context.output:failure(nil, err)
  end
  return store
end

-- Returns a job of the journal. Raises wrong usage if there is none.
function journal.job(store, id)
  local job, err = store:job(id)
  if not job and not err then
    usage(("there is no job %d ('leat job list' shows them)"):format(id), true)
  end
  return job, err
end

return journal
