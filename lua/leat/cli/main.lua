-- The `leat` command: reads the arguments, makes the client, runs a command and ends with its exit status.

local system = require("leat.cli.core") -- first, because it reserves the standard descriptors
system.catch_signals() -- Lua's own handler would print a traceback while the rest is loaded
local cards = require("leat.cli.cards")
local environment = require("leat.environment")
local leat = require("leat")
local new_output = require("leat.cli.output")
local other = require("leat.cli.other")
local parser = require("leat.cli.parser")
local status = require("leat.cli.status")

local DEFAULT_RATE = 5 -- requests per second with several values: the service publishes no limit

local without_client = { version = true, completion = true, sandbox = true }

local function usage(message)
  error({ usage = message }, 0)
end

-- ---- the client -------------------------------------------------------------------------

local function read_settings(options)
  local unlimited = options.rate == math.huge
  local settings, why = environment.read {
    api_key_file = options.api_key_file,
    base_url = options.base_url,
    rate = options.rate,
  }
  if not settings then
    usage(why)
  end
  settings.rate = not unlimited and settings.rate or nil
  return settings, unlimited
end

local function several(values)
  return values and (#values > 1 or values[1] == "-")
end

-- Describes a finished request, for --verbose.
local function describe_attempt(attempt)
  local text = ("leat: %s%s, attempt %d: %s, %d ms"):format(attempt.operation,
    attempt.purpose == "call" and "" or " (" .. attempt.purpose .. ")", attempt.attempt,
    attempt.status and "HTTP " .. attempt.status or attempt.kind or "no response", attempt.milliseconds)
  if attempt.kind and attempt.status then
    text = text .. ", " .. attempt.kind
  end
  return attempt.wait_milliseconds and ("%s; next in %d ms"):format(text, attempt.wait_milliseconds) or text
end

local function new_client(context, options)
  local settings, unlimited = read_settings(options)
  if several(options.values) and not unlimited then
    settings.rate = settings.rate or DEFAULT_RATE
  end
  context.rate_note = settings.rate and ("at most %g requests per second (--rate)"):format(settings.rate)
    or "no limit of requests per second"
  settings.json = options.json or options.command == "request" or options.command == "list"
  settings.timeout, settings.ca_file, settings.proxy = options.timeout, options.ca_file, options.proxy
  settings.max_connections = options.concurrency or 8
  -- Whatever can still succeed within the timeout is tried again, in short intervals.
  settings.max_attempts, settings.retry_budget, settings.retry_cap = 0, false, 2
  settings.on_attempt = options.verbose and function(attempt)
    context.output:message(describe_attempt(attempt))
  end or nil
  local fine, client = pcall(leat.new, settings)
  return fine and client or usage((tostring(client):gsub("^.-leat%.new: ", "")))
end

-- ---- the program ------------------------------------------------------------------------

local function run_command(context, options)
  local command = cards[options.command] or other[options.command]
  if not without_client[options.command] then
    context.client = new_client(context, options)
  end
  return command(context, options)
end

local function fail_usage(output, message, command)
  if output and output.json then
    return output:failure(nil, { kind = "usage", message = message })
  end
  system.write(2, ("leat: %s\nTry: leat help%s\n"):format(message, command and " " .. command or ""))
  return status.USAGE
end

-- Returns whether arguments that cannot be read ask for JSON.
local function asks_for_json(arguments)
  for _, argument in ipairs(arguments) do
    if argument == "--json" or argument == "--" then
      return argument == "--json"
    end
  end
end

-- Returns the exit status; then true if the command is a server, which a signal ends as it should.
local function main(arguments)
  local options, help, wrong = parser.read(arguments)
  local output = new_output(options or { json = asks_for_json(arguments) })
  if help then
    output:line(help)
    return output.failed and status.REFUSED or status.DONE
  elseif not options then
    return fail_usage(output, wrong)
  elseif options.version then
    options.command = "version"
  elseif not options.command then
    return fail_usage(output, "a command is missing")
  end
  local context = { options = options, output = output, client = false, input = false, stopped = false, serves = false }
  local fine, result = pcall(run_command, context, options)
  output:hide_progress()
  if not fine and type(result) == "table" and result.usage then
    return fail_usage(output, result.usage, options.command)
  elseif not fine then
    error(result, 0)
  end
  return output.failed and result == status.DONE and status.REFUSED or result, context.serves
end

return function(arguments)
  local result, serves = main(arguments)
  if system.signal() and not serves then
    system.die(system.signal())
  end
  os.exit(result)
end
