-- The commands of the `leat` command that are not about single cards.

local completion = require("leat.cli.completion")
local core = require("leat.core")
local leat = require("leat")
local perform = require("leat.cli.perform")
local run = require("leat.cli.run")
local sandbox = require("leat.cli.sandbox")
local status = require("leat.cli.status")
local system = require("leat.cli.core")
local usage = require("leat.cli.usage")

local other = {}

local STDIN = 0

function other.list(context, arguments)
  local output, given = context.output, arguments.contact or arguments.email
  if not given then
    usage("list needs a contact: its UUID, or --email")
  end
  local uuid, wrong = perform.contact(context, arguments)
  if not uuid then
    return output:failure(given, wrong)
  end
  local list, err, info = run.task(context, function()
    return context.client.contact_identifiers:list { contact_uuid = uuid }
  end)
  if not list then
    return output:failure(given, err)
  end
  local _, texts = core.split_json(info.json)
  for i, card in ipairs(list) do
    output:card(given, card, "listed", texts and texts[i])
  end
  return status.DONE
end

function other.check(context)
  local account, err, info = run.task(context, function() return context.client:check() end)
  if not account then
    return context.output:failure(nil, err)
  end
  context.output:account(account, info.json)
  return status.DONE
end

-- ---- request ----------------------------------------------------------------------------

-- A signal ends the command: a read that blocks could begin just after the signal.
local function read_stdin()
  local parts = {}
  repeat
    if not run.wait_for_stdin() then
      system.die(system.signal())
    end
    local text, why = system.read(STDIN)
    parts[#parts + 1] = text or usage("can't read standard input: " .. why)
  until text == ""
  return table.concat(parts)
end

local function read_file(path)
  local file, why = io.open(path, "rb")
  local text
  if file then
    text, why = file:read("*a")
    file:close()
  end
  return text or usage("can't read the body: " .. (why or path))
end

local function read_body(text)
  if not text then
    return nil
  elseif text == "-" then
    text = read_stdin()
  elseif text:sub(1, 1) == "@" then
    text = read_file(text:sub(2))
  end
  local _, members = core.split_json(text)
  return type(members) == "table" and text or usage("the body is not a JSON object or array: " .. members)
end

local function read_query(pairs_given)
  local query = {}
  for _, pair in ipairs(pairs_given) do
    if query[pair[1]] then
      usage(("--query %s is given twice"):format(pair[1]))
    end
    query[pair[1]] = pair[2]
  end
  return query
end

function other.request(context, arguments)
  local path, body = arguments.path, read_body(arguments.body)
  local query = read_query(arguments.query)
  if arguments.dry_run then
    context.output:preview(path, ("%s %s: would be sent"):format(arguments.method, path))
    return status.DONE
  end
  local data, err, info = run.task(context, function()
    return context.client:request(arguments.method, path, { query = query, body = body })
  end)
  if data == nil then
    return context.output:failure(path, err)
  end
  context.output:data(path, info.json or "null", info)
  return status.DONE
end

-- ---- without a client -------------------------------------------------------------------

function other.version(context)
  local curl = require("leat.curl").version()
  context.output:version(leat._VERSION, rawget(_G, "jit") and jit.version or _VERSION, curl)
  return status.DONE
end

function other.completion(context, arguments)
  context.output:line(completion(arguments.shell))
  return status.DONE
end

other.sandbox = sandbox

return other
