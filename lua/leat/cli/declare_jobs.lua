-- The options of `leat import` and the commands of `leat job`, as the parser reads them.

local OPERATIONS = { "ensure", "create", "link", "unlink", "update", "delete", "find" }
local DAY = 86400
local EPILOG = [[
Outcomes in cards.results.csv:
   created, existed  The card is new, or was there before; 'changed' says
                     whether it was linked or named then.
   linked, unlinked, updated, deleted, found
                     Done as requested.
   recovered         Done: its response was lost, and the card showed it.
   failed            Not done; 'kind' and 'message' say why.
   unknown           May be done, but the card does not show it: look at it.
   rejected          Never sent: something is wrong in the row.
   skipped           Never sent: it is the same as another row.
   ready             Unprocessed: nothing that can have an effect was sent.
   later             Unprocessed: it was tried, and waits to be tried again.
   claimed           Unprocessed: it was being sent when the results were
                     written, or when the program died.
   Unprocessed rows may have been sent. 'leat job run' finds out which of them
   were, so continue the job rather than importing cards.unprocessed.csv.

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
  command:option("--out", "The folder for the result files; default: that of the file, or the current one. "
    .. "It is made if it is missing.")
    :argname("DIR")
end

-- How a job is run.
local function add_run_options(command)
  add_out(command)
  command:option("--max-failures", "Pause when so many rows have failed, or such a percentage, but not before 100 "
    .. "have; rejected rows do not count; default: 5%; 0: never."):argname("N|P%"):convert(failures)
  command:flag("--verify", "Find every card once more at the end, not only those whose change is in doubt.")
  command:option("--settle", "For how long a request may still take effect whose response was lost; default: 30.")
    :argname("SECONDS"):convert(seconds("--settle", 0))
  command:option("--lease", "For how long a process claims rows before others may take them over; default: 60.")
    :argname("SECONDS"):convert(seconds("--lease", 1))
  command:option("--probe", "The time between two attempts while the service does not respond; default: 30.")
    :argname("SECONDS"):convert(seconds("--probe", 0.01))
end

local function add_id(command, optional)
  local argument = command:argument("ID", "The number of the job" .. (optional and "; default: the last one." or "."))
    :target("id"):argname("ID"):convert(id)
  if optional then
    argument:args("?")
  end
end

-- ---- commands ---------------------------------------------------------------------------

local function add_import(add)
  local import = add("import", "Process a file of cards, each row once.",
    "Process a file of cards, each row once, whatever happens meanwhile: what becomes of each row is kept in a "
    .. "journal, so that after Ctrl-C, a crash or an outage the same command continues. FILE is CSV, with commas, "
    .. "semicolons or tabs. Its first line names the columns: value, and as the operation takes them name, "
    .. "contact_uuid or contact_email, active, expect; others are ignored. Whenever it ends, results are beside FILE: "
    .. "cards.results.csv has the line, the outcome and the reason of each row; and cards.failed.csv, "
    .. "cards.unknown.csv, cards.rejected.csv, cards.skipped.csv and cards.unprocessed.csv have those rows as they "
    .. "were, without reasons, so that they can be corrected and imported. These files are replaced, or removed, when "
    .. "results are written again: edit a copy.")
  import:argument("FILE", "A CSV file; '-' reads standard input."):target("file"):argname("FILE")
  import:option("--operation", "What to do with each card: " .. table.concat(OPERATIONS, ", ") .. "; default: ensure, "
    .. "which creates a card, or completes the one that exists."):argname("NAME"):choices(OPERATIONS)
  import:option("--column", "The file's own header for a column, such as value='Card Number'; may be repeated.")
    :argname("NAME=HEADER"):count("*"):convert(column)
  import:flag("--dry-run", "Check the file, and say how long it would take; send nothing.")
  import:flag("-y --yes", "Do not ask before cards are deleted or unlinked. Needed where there is no terminal.")
  import:flag("--again", "Process a file again that was finished. Files are told apart by their contents, the columns "
    .. "and the operation, not by their names.")
  import:flag("--detach", "Only store the job, and print its number, for 'leat job run'.")
  add_run_options(import)
  import:epilog(EPILOG .. "\n\n" .. import._epilog)
end

local function add_job(add, add_help)
  local job = add("job", "Show, continue or remove the jobs that imports are.",
    "Show, continue or remove the jobs that imports are. An import is a job: its rows, and what became of each.")
    :command_target("action"):require_command(true)
  local function add_action(name, summary)
    local action = job:command(name, summary):summary(summary)
    add_help(action)
    return action
  end
  add_action("list", "List the jobs.")
  local status = add_action("status", "Show how far a job is.")
  add_id(status, true)
  status:flag("--watch", "Show it until the job does not run any more.")
  local run = add_action("run", "Run or continue a job; the file is not needed any more.")
  add_id(run)
  add_run_options(run)
  add_id(add_action("stop", "Let the process that runs a job end what is under way, and stop."))
  local retry = add_action("retry", "Process the rows again that failed or whose outcome is unknown.")
  add_id(retry)
  retry:flag("--failed", "Only those that failed.")
  retry:flag("--unknown", "Only those whose outcome is unknown.")
  add_run_options(retry)
  local results = add_action("results", "Write the result files of a job; they replace earlier ones. "
    .. "'leat help import' explains them.")
  add_id(results)
  add_out(results)
  local verify = add_action("verify", "Find all cards of a job, and list those that are not as it left them, "
    .. "or could not be seen. If it is stopped, the same command goes on.")
  add_id(verify)
  verify:option("--probe", "The time between two attempts while the service does not respond; default: 30.")
    :argname("SECONDS"):convert(seconds("--probe", 0.01))
  add_id(add_action("remove", "Remove a job from the journal. The result files stay."))
end

return function(add, add_help)
  add_import(add)
  add_job(add, add_help)
end
