-- Makes the client of the `leat` command, from its options and the environment.

local core = require("leat.core")
local environment = require("leat.environment")
local leat = require("leat")
local status = require("leat.cli.status")
local usage = require("leat.cli.usage")

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
  usage((message:gsub(", or set allow_http$", "")), true)
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

-- Returns the same for a job, which tries again by itself. `context.failing` becomes the kind of the last temporary
-- error, so that the progress can say so long before a row has failed; and false when a call gets another response. The
-- finds that verify a change may succeed although all changes fail.
local function observer_of_job(context, verbose)
  local observe = verbose and observer(context, true)
  return function(attempt)
    local is_temporary = status.of(attempt) == status.TEMPORARY
    if is_temporary or attempt.purpose ~= "verify" then
      context.failing = is_temporary and attempt.kind
    end
    if observe then
      observe(attempt)
    end
  end
end

-- ---- the client -------------------------------------------------------------------------

local of_jobs = { import = true, job = true }

-- Returns the rate of the command, or nil for no limit. `default` is that of the environment, or nil.
local function read_rate(options, default)
  local values = options.values
  if options.rate == math.huge then -- "none"
    return nil
  elseif default or not (values or of_jobs[options.command]) then
    return default
  end
  return (not values or #values > 1 or values[1] == "-") and DEFAULT_RATE or nil
end

-- Returns the options of the client that come from the environment, and the rate.
local function read_settings(options)
  local settings, why = environment.read {
    api_key_file = options.api_key_file,
    base_url = options.base_url,
    rate = options.rate,
  }
  if not settings then
    misconfigured(why)
  end
  settings.rate = read_rate(options, settings.rate)
  return settings
end

-- `shared` is true if the rate is that of several processes.
local function note_rate(rate, shared)
  return rate and ("at most %g requests per second%s (--rate changes that)"):format(rate,
    shared and " of all processes together" or "") or "no limit of requests per second"
end

local client = {}

-- Returns the requests per second of the command, which needs no credential; nil for no limit.
function client.rate(options)
  local rate, wrong = environment.rate(options.rate)
  if wrong then
    misconfigured(wrong)
  end
  return read_rate(options, rate)
end

-- Returns a client for the command; then a sentence about its rate. Processes that work with the same database share
-- the rate through it; `database` is its address, or nil.
function client.new(context, options, database)
  local settings = read_settings(options)
  if database and settings.rate then
    settings.limiter = require("leat.postgres").limiter { db = database }
  end
  settings.json = options.json or options.command == "request" or options.command == "list"
  settings.timeout, settings.ca_file, settings.proxy = options.timeout, options.ca_file, options.proxy
  settings.max_connections = options.concurrency or 8
  settings.retry_budget, settings.retry_cap = false, 2
  if of_jobs[options.command] then
    settings.on_attempt = observer_of_job(context, options.verbose)
  else
    -- Whatever can still succeed within the timeout is tried again, in short intervals.
    settings.max_attempts, settings.on_attempt = 0, observer(context, options.verbose)
  end
  settings.show_values = options.verbose
  local fine, made = pcall(leat.new, settings)
  if not fine then
    misconfigured((tostring(made):gsub("^.-leat%.new: ", "")))
  end
  return made, note_rate(settings.rate, settings.limiter)
end

return client
