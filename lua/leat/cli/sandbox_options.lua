-- The options of `leat sandbox`, as the parser reads them.

local LAST_PORT = 65535

-- ---- conversions ------------------------------------------------------------------------

local function port(text)
  local number = tonumber(text)
  if not number or number % 1 ~= 0 or number < 0 or number > LAST_PORT then
    return nil, ("--port '%s' is not a whole number from 0 to %d"):format(text, LAST_PORT)
  end
  return number
end

local function not_empty(name)
  return function(text)
    if text == "" then
      return nil, name .. " must not be empty"
    end
    return text
  end
end

local function contact(text)
  return { uuid = text:match("^[^=]*"), email = text:match("=(.*)$") }
end

-- A value may contain '=': the last one separates the UUID.
local function card(text)
  local value, uuid = text:match("^(.*)=([^=]+)$")
  return { value = value or text, contact_uuid = uuid }
end

local is_text = { operation = true, value = true, kind = true, body = true }
local words = { always = math.huge, ["true"] = true, ["false"] = false }

local function fault_field(name, text)
  if is_text[name] then
    return text
  elseif words[text] ~= nil then
    return words[text]
  end
  return tonumber(text) or text
end

-- Returns the fault, and as its `text` how it was given. The sandbox checks the fields.
local function fault(text)
  local fields = {}
  for pair in (text .. ","):gmatch("([^,]*),") do
    local name, value = pair:match("^([%w_]+)=(.*)$")
    if not name then
      return nil, ("--fault '%s': '%s' is not NAME=VALUE"):format(text, pair)
    elseif fields[name] ~= nil then
      return nil, ("--fault '%s': %s is given twice"):format(text, name)
    end
    fields[name] = fault_field(name, value)
  end
  return { fields = fields, text = text }
end

-- ---- the options ------------------------------------------------------------------------

return function(command)
  command:option("--port", "The port to listen on; default: any free port."):argname("N"):convert(port)
  command:flag("--tls", "Serve HTTPS.")
  command:option("--key", "The API key to accept; default: sandbox."):argname("KEY"):convert(not_empty("--key"))
  command:option("--client-id", "The client id to accept; default: sandbox-client."):argname("ID")
    :convert(not_empty("--client-id"))
  command:option("--client-secret", "The client secret to accept; default: sandbox-secret."):argname("SECRET")
    :convert(not_empty("--client-secret"))
  command:flag("--idempotent-unlink", "Report success if a card that is not linked is unlinked.")
  command:option("--contact", "A contact; may be repeated."):argname("UUID[=EMAIL]"):count("*"):convert(contact)
  command:option("--card", "A card, linked to the contact UUID, or to none; may be repeated.")
    :argname("VALUE[=UUID]"):count("*"):convert(card)
  command:option("--fault", "A fault to simulate; may be repeated: several faults for one operation apply one after "
    .. "the other. Without 'times' a fault applies once, and 'leat' retries after most of them. The names are those "
    .. "of a fault in the module leat.sandbox: operation, value, nth, times (a number, or 'always'), kind, code, "
    .. "status, headers, body, retry_after, delay, close, apply, apply_after, lag, stale. For example, the service "
    .. "is down for maintenance: kind=maintenance,times=always. A card is created, and the response is lost: "
    .. "operation=create,apply=true,close=before.")
    :argname("NAME=VALUE,...")
    :count("*"):convert(fault)
  command:flag("--until-eof", "Stop at the end of standard input, too.")
end
