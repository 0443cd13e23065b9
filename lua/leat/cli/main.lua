-- The `leat` command: reads the arguments, makes the client, runs a command and ends with its exit status.

local system = require("leat.cli.core") -- first, because it reserves the standard descriptors
system.catch_signals() -- Lua's own handler would print a traceback while the rest is loaded
local cards = require("leat.cli.cards")
local new_client = require("leat.cli.client")
local new_output = require("leat.cli.output")
local other = require("leat.cli.other")
local read_arguments = require("leat.cli.parser")
local status = require("leat.cli.status")

local without_client = { version = true, completion = true, sandbox = true, import = true, job = true }
local of_jobs = { import = "leat.cli.import", job = "leat.cli.job" } -- loaded when they are needed

local function run_command(context, options)
  local name = options.command
  local command = of_jobs[name] and require(of_jobs[name]) or cards[name] or other[name]
  if not without_client[name] then
    context.client, context.rate_note = new_client.new(context, options)
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
  local options, help, wrong, name = read_arguments(arguments)
  local output = new_output(options or { json = asks_for_json(arguments) })
  if help then
    output:line(help)
    return output.failed and status.REFUSED or status.DONE
  elseif not options then
    return fail_usage(output, wrong, name)
  elseif options.version then
    options.command = "version"
  elseif not options.command then
    return fail_usage(output, "a command is missing")
  end
  local context = { options = options, output = output, client = false, input = false, csv = false,
    failing = false, stopped = false, serves = false }
  local fine, result = pcall(run_command, context, options)
  output:hide_progress()
  if not fine and type(result) == "table" and result.usage then
    return fail_usage(output, result.usage, not result.general and options.command)
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
