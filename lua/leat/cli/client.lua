-- Makes the client of the `leat` command, from its options and the environment.

local core = require("leat.core")
local environment = require("leat.environment")
local leat = require("leat")

local DEFAULT_RATE = 5 -- requests per second with several values: the service publishes no limit
local UNNOTICED = 1000 -- milliseconds after which it is said that a request is tried again

local flags = { api_key_file = "--api-key-file", base_url = "--base-url (or LEAT_BASE_URL)", ca_file = "--ca-file",
  proxy = "--proxy", rate = "--rate (or LEAT_RATE)", timeout = "--timeout" }

-- Raises what is wrong with the configuration, with the names that the command has for the library's options.
local function misconfigured(message)
  local name = message:match("^[%w_]+")
  if flags[name] then
    message = flags[name] .. message:sub(#name + 1)
  end
  error({ usage = message:gsub(", or set allow_http$", ""), general = true }, 0)
end

-- ---- requests ---------------------------------------------------------------------------

-- Describes a finished request, for --verbose.
local function describe(attempt)
  local text = ("leat: %s%s%s, attempt %d: %s, %d ms"):format(attempt.operation,
    attempt.value and " " .. attempt.value or "",
    attempt.purpose == "call" and "" or " (" .. attempt.purpose .. ")", attempt.attempt,
    attempt.status and "HTTP " .. attempt.status or attempt.kind or "no response", attempt.milliseconds)
  if attempt.kind and attempt.status then
    text = text .. ", " .. attempt.kind
  end
  return attempt.wait_milliseconds and ("%s; next in %d ms"):format(text, attempt.wait_milliseconds) or text
end

-- Returns the function that is called after every request.
local function observer(context, verbose)
  local begun, noted = core.now(), false
  return function(attempt)
    if verbose then
      context.output:message(context.output:clean(describe(attempt)))
    elseif attempt.kind and attempt.wait_milliseconds and not noted and core.now() - begun > UNNOTICED then
      noted = true
      context.output:notice(("%s: trying again until --timeout (-v prints every request)"):format(attempt.kind))
    end
  end
end

-- ---- the client -------------------------------------------------------------------------

local function read_rate(options, settings)
  local values = options.values
  if options.rate == math.huge then -- "none"
    return nil
  elseif settings.rate or not values then
    return settings.rate
  end
  return (#values > 1 or values[1] == "-") and DEFAULT_RATE or nil
end

-- Returns a client for the command; then a sentence about its rate.
return function(context, options)
  local settings, why = environment.read {
    api_key_file = options.api_key_file,
    base_url = options.base_url,
    rate = options.rate,
  }
  if not settings then
    misconfigured(why)
  end
  settings.rate = read_rate(options, settings)
  settings.json = options.json or options.command == "request" or options.command == "list"
  settings.timeout, settings.ca_file, settings.proxy = options.timeout, options.ca_file, options.proxy
  settings.max_connections = options.concurrency or 8
  -- Whatever can still succeed within the timeout is tried again, in short intervals.
  settings.max_attempts, settings.retry_budget, settings.retry_cap = 0, false, 2
  settings.on_attempt, settings.show_values = observer(context, options.verbose), options.verbose
  local fine, client = pcall(leat.new, settings)
  if not fine then
    misconfigured((tostring(client):gsub("^.-leat%.new: ", "")))
  end
  return client, settings.rate and ("at most %g requests per second (--rate changes that)"):format(settings.rate)
    or "no limit of requests per second"
end
