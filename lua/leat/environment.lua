--- Reads a client's options from the environment of the process. `leat.from_env` uses it, and says which
-- variables there are.
-- @module leat.environment

local environment = {}

local schema = require("leat.options")

local NO_ENVIRONMENT = "this host hides the environment (os.getenv): give the credential as an option, such as api_key"
local NO_CREDENTIAL = "no credential: set LEAT_API_KEY, or LEAT_API_KEY_FILE, or LEAT_CLIENT_ID with LEAT_CLIENT_SECRET"

-- Returns the value of a variable; nil if it is not set or empty, or if the host hides the environment.
local function variable(name)
  local value = os and os.getenv and os.getenv(name)
  return value ~= "" and value or nil
end

-- Returns the first line of a file without the blanks around it, or nil and a message.
local function first_line(path)
  if not (io and io.open) then
    return nil, "this host hides files (io.open): give the key as api_key"
  end
  local file, why = io.open(path)
  local line
  if file then
    line, why = file:read("*l")
    file:close()
  end
  local text = line and line:match("^%s*(.-)%s*$") or ""
  if text ~= "" then
    return text
  end
  return nil, why and why:gsub("^.*: ", "") or "its first line is empty"
end

-- Returns the path for a message, unless it may be the key itself.
local function shown(path)
  local is_path = path:find("^%.?%.?/") or #path < 32 and path:find("^[%w_-]+%.%a+$")
  return is_path and path or "the file that it names (is it the key itself?)"
end

-- The functions below return the options of a credential, or nil and a message. `name` is the option or variable
-- that names the file.

local function from_file(path, name)
  local key, why = first_line(path)
  if not key then
    return nil, ("%s: no key in %s: %s"):format(name, shown(path), why)
  end
  return { api_key = key }
end

local function from_variables()
  local key, file = variable("LEAT_API_KEY"), variable("LEAT_API_KEY_FILE")
  local id, secret = variable("LEAT_CLIENT_ID"), variable("LEAT_CLIENT_SECRET")
  if key then
    return { api_key = key }
  elseif file then
    return from_file(file, "LEAT_API_KEY_FILE")
  elseif id and secret then
    return { client_id = id, client_secret = secret }
  elseif id then
    return nil, "LEAT_CLIENT_SECRET is missing, which belongs to LEAT_CLIENT_ID"
  elseif secret then
    return nil, "LEAT_CLIENT_ID is missing, which belongs to LEAT_CLIENT_SECRET"
  end
  return nil, os and os.getenv and NO_CREDENTIAL or NO_ENVIRONMENT
end

local function find_credential(options)
  local file = options.api_key_file
  for _, name in ipairs { "api_key", "access_token", "client_id", "client_secret", "token" } do
    if options[name] ~= nil then
      return not file and {} or nil, ("api_key_file and %s are both given"):format(name)
    end
  end
  if file then
    return from_file(file, "api_key_file")
  end
  return from_variables()
end

-- Returns LEAT_RATE, or nil; or nil and a message.
local function find_rate()
  local text = variable("LEAT_RATE")
  local rate = tonumber(text or "")
  if text and not rate then
    return nil, "LEAT_RATE must be a number of calls a second"
  end
  local wrong = rate and schema.wrong("LEAT_RATE", rate, "rate")
  return not wrong and rate or nil, wrong
end

--- Returns the requests per second: those given, or LEAT_RATE.
-- @tparam[opt=`LEAT_RATE`,unit=requests per second] number given the rate that the program wants
-- @treturn number nil for no limit; then a message if LEAT_RATE is wrong
function environment.rate(given)
  if given ~= nil then
    return given
  end
  return find_rate()
end

--- Completes options from the environment, as `leat.from_env` does, but makes no client.
-- @tparam[opt] table options as for `leat.from_env`. The table is not changed
-- @treturn table options for `leat.new`; or nil and a message, which contains no secret
function environment.read(options)
  options = options or {}
  local complete, wrong = find_credential(options)
  if not complete then
    return nil, wrong
  end
  complete.base_url = variable("LEAT_BASE_URL")
  complete.rate, wrong = environment.rate(options.rate)
  if wrong then
    return nil, wrong
  end
  for name, value in pairs(options) do
    complete[name] = value
  end
  complete.api_key_file = nil
  return complete
end

return environment --[[@as leat.environment]]
