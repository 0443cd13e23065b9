-- Declares the commands and options of the `leat` command to argparse.
--
-- Options that every command takes are declared on the parser only: argparse loses their values if a command
-- declares them too.

local argparse = require("leat.cli.need")("argparse",
  "luarocks install argparse (from a checkout: sh rockspec/deps.sh install cli)")
local add_jobs = require("leat.cli.declare_jobs")
local add_sandbox_options = require("leat.cli.sandbox_options")
local status = require("leat.cli.status")

-- ---- conversions ------------------------------------------------------------------------

local function positive(name)
  return function(text)
    local number = tonumber(text)
    if number and number > 0 and number < math.huge then
      return number
    end
    return nil, ("%s must be a number greater than 0, not '%s'"):format(name, text)
  end
end

local function concurrency(text)
  local number = tonumber(text)
  if number and number % 1 == 0 and number >= 1 and number <= 10000 then
    return number
  end
  return nil, ("--concurrency must be a whole number from 1 to 10000, not '%s'"):format(text)
end

local function rate(text)
  if text == "none" then
    return math.huge
  end
  return positive("--rate")(text)
end

local methods = { GET = true, POST = true, PUT = true, PATCH = true, DELETE = true }

local function method(text)
  if methods[text:upper()] then
    return text:upper()
  end
  return nil, ("METHOD must be GET, POST, PUT, PATCH or DELETE, not '%s'"):format(text)
end

local function pair(text)
  local name, value = text:match("^([^=]+)=(.*)$")
  if not name then
    return nil, ("--query must be NAME=VALUE, not '%s'"):format(text)
  end
  return { name, value }
end

-- ---- help -------------------------------------------------------------------------------

local MORE = "Options of all commands: see 'leat help'."

-- argparse's own help flag prints without checking that it can; this one hands the help over to leat.cli.parser.
local function add_help(element, asked)
  element:add_help(false)
  element:flag("-h --help", "Show this help and exit."):action(function()
    asked.help = element
    error("help")
  end)
end

-- ---- commands ---------------------------------------------------------------------------

local function add_values(command)
  return command:argument("VALUE", "The values of cards; '-' reads them from standard input, one per line.")
    :target("values"):argname("VALUE"):args("+")
end

local function add_value(command)
  return command:argument("VALUE", "The value of the card; '-' reads values from standard input, one per line.")
    :target("values"):argname("VALUE"):action("append")
end

local function add_contact(command)
  local uuid = command:option("--contact", "Link the card to the contact with this UUID."):argname("UUID")
  local email = command:option("--email", "Link the card to the existing contact with this e-mail address.")
    :argname("ADDRESS")
  command:mutex(uuid, email)
end

local function add_contact_argument(command)
  local uuid = command:argument("UUID", "The contact's UUID."):target("contact"):argname("UUID"):args("?")
  local email = command:option("--email", "The contact's e-mail address, instead of the UUID.")
    :argname("ADDRESS")
  command:mutex(uuid, email)
end

local function add_expect(command)
  command:option("--expect", "Change a card only if it belongs to this contact; with 'none', only if it belongs to no "
    .. "contact."):argname("UUID")
end

local function add_dry_run(command)
  command:flag("--dry-run", "Show what would be done, and change nothing.")
end

local function add_yes(command)
  command:flag("-y --yes", "Do not ask. Needed if standard input or standard error is not a terminal.")
end

local function add_card_commands(add)
  add_values(add("find", "Show cards.", "Show cards: their state, contact and name. The service does not show inactive "
    .. "cards: for such a card 'find' fails with exit status 1. 'leat list' shows it with the other cards of its "
    .. "contact."))

  local create = add("create", "Create a card.")
  add_value(create)
  create:option("--name", "The card's name; by default the service uses the value."):argname("NAME")
  add_contact(create)
  add_dry_run(create)

  local ensure = add("ensure", "Create a card, or add a missing contact or name.",
    "Create a card. If it exists, link it if it has no contact, and name it if it has no name. A card with another "
    .. "contact or name is not changed: the command fails with 'conflict'.")
  add_value(ensure)
  ensure:option("--name", "The name that the card must have."):argname("NAME")
  add_contact(ensure)
  add_dry_run(ensure)

  local link = add("link", "Link a card to a contact.")
  add_value(link)
  add_contact_argument(link)
  add_dry_run(link)

  local unlink = add("unlink", "Unlink cards from their contacts.")
  add_values(unlink)
  add_expect(unlink)
  add_yes(unlink)
  add_dry_run(unlink)

  local update = add("update", "Rename, activate or deactivate cards.")
  add_values(update)
  update:option("--name", "The new name."):argname("NAME")
  update:mutex(update:flag("--active", "Activate the cards."), update:flag("--inactive", "Deactivate the cards."))
  add_expect(update)
  add_dry_run(update)

  local delete = add("delete", "Delete cards.", "Delete cards. This cannot be undone.")
  add_values(delete)
  add_expect(delete)
  add_yes(delete)
  add_dry_run(delete)

  add_contact_argument(add("list", "List the cards of a contact."))
end

local function add_other_commands(add)
  add("check", "Show the account that the API key belongs to.")

  local request = add("request", "Send a request to any endpoint of the API.",
    "Send a request to any endpoint of the API, and print the response's data as JSON.")
  request:argument("METHOD", "GET, POST, PUT, PATCH or DELETE."):target("method"):argname("METHOD"):convert(method)
  request:argument("PATH", "The path below the base URL, such as /contacts/find-one-by."):target("path")
    :argname("PATH")
  request:option("--query", "A parameter of the query; may be repeated."):argname("NAME=VALUE"):count("*")
    :convert(pair)
  request:option("--body", "The body, as JSON; '@FILE' reads it from a file, '-' from standard input.")
    :argname("JSON")

  add_dry_run(request)

  add_sandbox_options(add("sandbox", "Serve a local copy of the API, to try things out.",
    "Serve a copy of the API on 127.0.0.1, with cards of its own, until Ctrl-C or SIGTERM; the exit status is then 0. "
    .. "The command prints the base URL, the URL for tokens and, with --tls, the file of the certificate, one per "
    .. "line. To standard error it prints the 'export' line that makes 'leat' use the sandbox."))

  add("version", "Show the versions of leat and of its libraries.")
  add("help", "Show how to use a command.")
    :argument("COMMAND", "A command."):target("topics"):argname("COMMAND"):args("*")
  add("completion", "Print a completion script for a shell.",
    "Print a completion script for a shell. In bash: 'source <(leat completion bash)'; in fish: 'leat completion fish "
    .. "| source'; for zsh, save it as a file '_leat' in a folder of $fpath."):argument("SHELL", "bash, zsh or fish.")
    :target("shell"):argname("SHELL"):choices { "bash", "zsh", "fish" }
end

local function add_global_options(root)
  root:flag("--json", "Print one JSON object per line, for successes and failures alike.")
  root:flag("-q --quiet", "Print no notices and no progress; results and errors are still printed.")
  root:flag("-v --verbose", "Print every request to standard error.")
  root:option("--concurrency", "How many values are processed at a time; default: 8."):argname("N"):convert(concurrency)
  root:option("--rate", "Send at most N requests per second; 'none': no limit; default: LEAT_RATE, or 5 for several "
    .. "values and for imports.")
    :argname("N"):convert(rate)
  root:option("--timeout", "How long all requests for one value may take together; default: 30.")
    :argname("SECONDS"):convert(positive("--timeout"))
  root:option("--api-key-file", "Read the API key from the first line of this file; default: LEAT_API_KEY, or the file "
    .. "in LEAT_API_KEY_FILE.")
    :argname("FILE")
  root:option("--base-url", "The base URL of the API; default: LEAT_BASE_URL, or that of the service.")
    :argname("URL")
  root:option("--ca-file", "Trust the certificates in this PEM file instead of the system's."):argname("FILE")
  root:option("--proxy", "The URL of a proxy, or '' for none; default: https_proxy."):argname("URL")
  root:option("--db", "The journal, which records what imports did: a file, or postgres://HOST/DATABASE, so that "
    .. "several computers can work on a job; default: LEAT_DB, or leat/jobs.db in $XDG_STATE_HOME or ~/.local/state.")
    :argname("FILE")
  root:flag("--version", "Show the version and exit.")
end

-- ---- the parser -------------------------------------------------------------------------

-- Returns a parser of argparse, and the table that gets `help` when a help flag is found.
return function()
  local asked = {}
  local root = argparse("leat", "Manage the contact identifiers (loyalty cards) of the Leat loyalty service.")
    :command_target("command"):require_command(false):help_max_width(78):usage_max_width(78)
    :help_description_margin(26)
  add_help(root, asked)
  add_global_options(root)
  local function add(name, summary, description)
    local command = root:command(name, description or summary):summary(summary):epilog(MORE)
    add_help(command, asked)
    return command
  end
  add_card_commands(add)
  add_jobs(add, function(element) add_help(element:epilog(MORE), asked) end)
  add_other_commands(add)
  root:epilog(status.help)
  return root, asked
end
