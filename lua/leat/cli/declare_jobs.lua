-- The options of `leat import` and the commands of `leat job`, as the parser reads them.

local OPERATIONS = { "ensure", "create", "link", "unlink", "update", "delete", "find" }
local DAY = 86400
local DESCRIPTION = "Process a CSV file of cards, each row once. The command records in a journal what becomes of "
  .. "each row, so that after Ctrl-C, a crash or an outage the same command continues where it was.\n\n"
  .. "The cells of FILE are separated by commas, semicolons or tabs. Its first line names the columns: value and, "
  .. "depending on the operation, name, contact_uuid or contact_email, active, expect. Other columns are ignored.\n\n"
  .. "When the command ends, it writes result files beside FILE. For cards.csv, cards.results.csv has the line, the "
  .. "outcome and the reason of each row. cards.failed.csv, cards.unknown.csv, cards.rejected.csv, cards.skipped.csv "
  .. "and cards.unprocessed.csv have the rows with that outcome as they were in FILE, without reasons. These files are "
  .. "replaced or removed when results are written again: to correct rows, edit a copy, and import that."
local EPILOG = [[
Outcomes in cards.results.csv:
   created, existed  The card is new, or existed before. If it existed,
                     'changed' says whether it was linked or named.
   linked, unlinked, updated, deleted, found
                     Done as requested.
   recovered         Done: the response was lost, but a find then showed the
                     card as requested.
   failed            Not done; 'kind' and 'message' say why.
   unknown           Perhaps done, but the card does not show it: check it.
   rejected          Not sent: something is wrong in the row.
   skipped           Not sent: it is the same as another row.
   ready             Unprocessed: no change was sent for it.
   later             Unprocessed: it was tried, and waits to be tried again.
   claimed           Unprocessed: it was being sent when the results were
                     written, or when the program died.
   So unprocessed rows may have been sent. 'leat job run' finds out which
   were: continue the job, and do not import cards.unprocessed.csv.

Examples:
   leat import members.csv --column value='Card Number' \
      --column name=Member --column contact_email=E-Mail --dry-run
   leat import cards.csv --operation find    # exports the cards]]

-- ---- conversions ------------------------------------------------------------------------

-- The names are checked against the operation's, when the file is read.
local function column(text)
  local name, header = text:match("^([%w_]+)=(.+)$")
  if not name then
    return nil, ("--column must be NAME=HEADER, such as value='Card Number', not '%s'"):format(text)
  end
  return { name = name, header = header }
end

-- Returns a number of rows, or a share of them below 1.
local function failures(text)
  local percent = tonumber(text:match("^(.+)%%$"))
  local number = percent and percent / 100 or tonumber(text)
  if number and number >= 0 and (percent and number < 1 or not percent and number % 1 == 0 and number < 2 ^ 53) then
    return number
  end
  return nil, ("--max-failures must be a number of rows, or of percent below 100 such as 5%%, or 0, not '%s'"):format(
    text)
end

local function seconds(name, least)
  return function(text)
    local number = tonumber(text)
    if number and number >= least and number <= DAY then
      return number
    end
    return nil, ("%s must be a number of seconds from %g to %d, not '%s'"):format(name, least, DAY, text)
  end
end

local function id(text)
  local number = tonumber(text)
  if number and text:find("^%d+$") and number >= 1 and number < 2 ^ 53 then
    return number
  end
  return nil, ("ID must be the number of a job ('leat job list' shows them), not '%s'"):format(text)
end

-- ---- options ----------------------------------------------------------------------------

local function add_out(command)
  command:option("--out", "The folder for the result files, which is made if it is missing; default: the folder of the "
    .. "input file, or the current folder.")
    :argname("DIR")
end

-- How a job is run.
local function add_run_options(command)
  add_out(command)
  command:option("--max-failures", "Pause when N rows have failed; or when P% of the processed rows have, but not "
    .. "before 100 have failed. Rejected rows do not count. 0: never pause; default: 5%.")
    :argname("N|P%"):convert(failures)
  command:flag("--verify", "Find every card once more at the end, not only those whose change is in doubt.")
  command:option("--settle", "How long a request whose response was lost may still take effect; default: 30.")
    :argname("SECONDS"):convert(seconds("--settle", 0))
  command:option("--lease", "How long the rows that a process works on are reserved for it; default: 60.")
    :argname("SECONDS"):convert(seconds("--lease", 1))
  command:option("--probe", "How long to wait between attempts while the service does not respond; default: 30.")
    :argname("SECONDS"):convert(seconds("--probe", 0.01))
end

local function add_id(command, optional)
  local argument = command:argument("ID", "The number of the job" .. (optional and "; default: the latest one." or "."))
    :target("id"):argname("ID"):convert(id)
  if optional then
    argument:args("?")
  end
end

-- ---- commands ---------------------------------------------------------------------------

local function add_import(add)
  local import = add("import", "Process a CSV file of cards, each row once.", DESCRIPTION)
  import:argument("FILE", "A CSV file; '-' reads standard input."):target("file"):argname("FILE")
  import:option("--operation", "What to do with each card: " .. table.concat(OPERATIONS, ", ") .. "; default: ensure, "
    .. "which creates a card, or adds a missing contact or name."):argname("NAME"):choices(OPERATIONS)
  import:option("--column", "The header that the file has for a column, such as value='Card Number'; may be repeated.")
    :argname("NAME=HEADER"):count("*"):convert(column)
  import:flag("--dry-run", "Check the file, and say how long the import would take; send nothing.")
  import:flag("-y --yes", "Do not ask before cards are deleted or unlinked. Needed if there is no terminal.")
  import:flag("--again", "Process a file once more that was imported before. A file is recognized by its contents, "
    .. "columns and operation, not by its name.")
  import:flag("--detach", "Only store the job, and print its number; 'leat job run' then runs it.")
  add_run_options(import)
  import:epilog(EPILOG .. "\n\n" .. import._epilog)
end

local function add_job(add, add_help)
  local job = add("job", "Show, continue or remove jobs; each import is a job.",
    "Show, continue or remove jobs. Each import is a job: its rows, and what became of each.")
    :command_target("action"):require_command(true)
  local function add_action(name, summary)
    local action = job:command(name, summary):summary(summary)
    add_help(action)
    return action
  end
  add_action("list", "List the jobs.")
  local status = add_action("status", "Show how far a job has come.")
  add_id(status, true)
  status:flag("--watch", "Keep showing it until the job has ended, with its recent requests per second.")
  local run = add_action("run", "Run or continue a job; the input file is no longer needed.")
  add_id(run)
  add_run_options(run)
  add_id(add_action("stop", "Tell the process that runs a job to finish the requests under way, and to stop."))
  local retry = add_action("retry", "Process again the rows that failed, and those whose outcome is unknown.")
  add_id(retry)
  retry:flag("--failed", "Only the rows that failed.")
  retry:flag("--unknown", "Only the rows whose outcome is unknown.")
  add_run_options(retry)
  local results = add_action("results", "Write the result files of a job; they replace earlier ones. "
    .. "'leat help import' explains them.")
  add_id(results)
  add_out(results)
  local verify = add_action("verify", "Find all cards of a job, and list those that are no longer as the job left "
    .. "them, or could not be seen. If this is stopped, the same command continues it.")
  add_id(verify)
  verify:option("--probe", "How long to wait between attempts while the service does not respond; default: 30.")
    :argname("SECONDS"):convert(seconds("--probe", 0.01))
  add_id(add_action("remove", "Remove a job from the journal. The result files stay."))
end

return function(add, add_help)
  add_import(add)
  add_job(add, add_help)
end
