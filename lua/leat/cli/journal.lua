-- Opens the journal of jobs for the `leat` command.

local need = require("leat.cli.need")
local text = require("leat.cli.job_text")
local usage = require("leat.cli.usage")

local journal = {}

-- Returns the module leat.jobs, which is not needed for other commands.
function journal.jobs()
  return need("leat.jobs", "luarocks install leat-jobs")
end

-- Returns a path without the current folder, as people write it.
function journal.short_path(path)
  local folder = require("leat.jobs.core").current_folder()
  local inside = folder and path:sub(1, #folder + 1) == folder .. "/"
  return inside and path:sub(#folder + 2) or path
end

-- Prints an error of a journal, and if another process works on it the command that shows how far that is. Returns the
-- exit status.
function journal.failure(context, err)
  local result = context.output:failure(nil, err)
  if err.job then
    context.output:notice("to watch it: " .. text.command(context.options, ("job status %d --watch"):format(err.job)))
  end
  return result
end

-- Every user of the computer can see the arguments of a process.
local function refuse_password(address)
  if address:find("^%w+://[^@/]*:[^@/]*@") or address:find("[?&]%w*password=") then
    usage("--db must not contain a password, because others can see arguments: put it in ~/.pgpass, or the address "
      .. "in LEAT_DB", true)
  end
end

local function path_of(options)
  return options.db or os.getenv("LEAT_DB")
end

-- Returns the address of the journal's database, or nil if the journal is a file.
function journal.database(options)
  local path = path_of(options)
  return path and require("leat.jobs.journal").is_address(path) and path or nil
end

-- Returns an open journal; or nil and the exit status, after a message.
function journal.open(context)
  local path, jobs = path_of(context.options), journal.jobs()
  if journal.database(context.options) then
    refuse_password(context.options.db or "")
    need("leat.postgres.core", "luarocks install leat-postgres")
  end
  local store, err = jobs.open(path ~= "" and path or nil)
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
