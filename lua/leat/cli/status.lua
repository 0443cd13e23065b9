-- The exit statuses of the `leat` command.

local status = {
  DONE = 0,
  REFUSED = 1,
  USAGE = 2,
  ACTION_NEEDED = 3,
  NOT_FOUND = 4,
  TEMPORARY = 5,
  UNKNOWN = 6,
  UNFINISHED = 7,
}

-- Kinds of errors that are not listed have the status REFUSED.
local of_kind = {
  usage = status.USAGE,
  unauthorized = status.ACTION_NEEDED,
  forbidden = status.ACTION_NEEDED,
  quota_reached = status.ACTION_NEEDED,
  tls = status.ACTION_NEEDED,
  redirect = status.ACTION_NEEDED,
  config = status.ACTION_NEEDED,
  account = status.ACTION_NEEDED,
  not_found = status.NOT_FOUND,
  contact_not_found = status.NOT_FOUND,
  connection = status.TEMPORARY,
  timeout = status.TEMPORARY,
  server = status.TEMPORARY,
  maintenance = status.TEMPORARY,
  rate_limited = status.TEMPORARY,
  protocol = status.TEMPORARY,
  journal = status.TEMPORARY,
}

-- The end of the help: these statuses, the environment and examples.
status.help = [[
Exit status:
   0  done as requested
   1  refused: inactive, already_exists, already_linked, not_linked,
      invalid_input, conflict, api, too_large, canceled, local, no_memory;
      or failures of several kinds
   2  wrong usage, a wrong file or configuration, or a file that was imported
      before
   3  a person must act: unauthorized, forbidden, quota_reached, tls,
      redirect, config
   4  not found: not_found, contact_not_found
   5  worth trying again: connection, timeout, server, maintenance,
      rate_limited, protocol; or the journal cannot be used
   6  a change may or may not have been made: find the card, then decide
   7  the job is not finished: it was stopped, or too many rows failed
   129, 130, 141, 143: ended by SIGHUP, SIGINT, SIGPIPE or SIGTERM

Environment:
   LEAT_API_KEY, or LEAT_API_KEY_FILE, or LEAT_CLIENT_ID with
   LEAT_CLIENT_SECRET; LEAT_BASE_URL; LEAT_RATE; LEAT_DB; NO_COLOR.
   Options override the environment. The key is never an argument.

Examples:
   leat find 0042
   leat update 0042 --inactive
   leat find --json - <cards.txt
   leat import cards.csv --dry-run
   leat unlink 0042 --expect OLD-UUID --yes && leat link 0042 NEW-UUID
   leat request GET /contacts/find-one-by --query email=ann@example.org]]

-- Returns the status for one error.
function status.of(err)
  if err.outcome_unknown then
    return status.UNKNOWN
  end
  return of_kind[err.kind] or status.REFUSED
end

-- Returns the status for a run in which `one` was the status so far, and `other` that of a further value.
-- Successes do not change it; failures with different statuses give REFUSED, but UNKNOWN always stays.
function status.combine(one, other)
  if one == status.DONE or one == other then
    return other
  elseif other == status.DONE then
    return one
  elseif one == status.UNKNOWN or other == status.UNKNOWN then
    return status.UNKNOWN
  end
  return status.REFUSED
end

return status
