-- `leat sandbox`: serves a local copy of the API until a signal stops it.

local core = require("leat.core")
local need = require("leat.cli.need")
local status = require("leat.cli.status")
local system = require("leat.cli.core")
local usage = require("leat.cli.usage")

local STDIN = 0
local TURN = 0.1 -- seconds after which a signal is noticed that arrived just before a wait

local function fail(output, message)
  local text = { __tostring = function() return message end }
  return output:failure(nil, setmetatable({ kind = "local", message = message }, text))
end

-- ---- starting ---------------------------------------------------------------------------

local function start(sandbox, arguments)
  local server, why = sandbox.start {
    port = arguments.port,
    tls = arguments.tls,
    api_key = arguments.key,
    client_id = arguments.client_id,
    client_secret = arguments.client_secret,
    idempotent_unlink = arguments.idempotent_unlink,
    contacts = arguments.contact,
    cards = arguments.card,
  }
  local mistake = not server and why:match("^the sandbox can't be filled: (.*)$")
  if mistake then
    usage(mistake)
  end
  return server, why
end

-- Faults are added one by one, so that a message can say which of them is wrong.
local function add_faults(server, faults)
  for _, fault in ipairs(faults) do
    local fine, why = pcall(server.fault, server, fault.fields)
    if not fine then
      usage(("--fault '%s': %s"):format(fault.text, (tostring(why):gsub("^.-leat%.sandbox%.fault: ", ""))))
    end
  end
end

-- ---- serving ----------------------------------------------------------------------------

-- The URLs are one write, so that a reader who closes the pipe after the first line stops nothing.
local function print_urls(output, server)
  output:line(table.concat({ server.url, server.token_url, server.ca_file }, "\n"))
end

-- Prints how to use it. A key that was given is not printed, because it may be one of the service.
local function print_advice(output, server, arguments)
  if output.quiet or output.failed then
    return
  end
  local key = arguments.key and "" or "LEAT_API_KEY=" .. server.api_key .. " "
  output:notice("serving until Ctrl-C; for another shell:")
  output:message(("export %sLEAT_BASE_URL=%s"):format(key, server.url))
  if arguments.key then
    output:notice("LEAT_API_KEY must be what --key says")
  end
  if server.ca_file then
    output:notice("to trust its certificate: --ca-file " .. server.ca_file)
  end
end

local function input_ended()
  return system.is_readable(STDIN) and (system.read(STDIN) or "") == ""
end

local function wait_for_end(output, until_eof)
  local descriptors = { until_eof and STDIN or nil }
  while not (system.signal() or output.failed or until_eof and input_ended()) do
    core.wait(TURN, descriptors)
  end
end

local function serve(output, server, arguments)
  add_faults(server, arguments.fault)
  print_urls(output, server)
  print_advice(output, server, arguments)
  wait_for_end(output, arguments.until_eof)
end

return function(context, arguments)
  local output = context.output
  local server, why = start(need("leat.sandbox", "luarocks install leat-sandbox"), arguments)
  if not server then
    return fail(output, why)
  end
  local fine, problem = pcall(serve, output, server, arguments)
  server:stop() -- in any case, because it removes the file of its certificate
  if not fine then
    error(problem, 0)
  end
  context.serves = true
  return status.DONE
end
