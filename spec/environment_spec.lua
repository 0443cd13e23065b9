-- leat.from_env: which options come from the environment, and what is said if they are missing or wrong.
local environment = require("leat.environment")
local leat = require("leat")
local KEY = dofile("spec/support/secrets.lua").key
local SECRET = dofile("spec/support/secrets.lua").secret

local getenv, open, original_os, original_io = os.getenv, io.open, os, io
local variables, files

local function write_file(text)
  local path = os.tmpname()
  local file = assert(open(path, "wb"))
  file:write(text)
  file:close()
  files[#files + 1] = path
  return path
end

before_each(function()
  variables, files = {}, {}
  os.getenv = function(name) return variables[name] end -- luacheck: ignore
end)
after_each(function()
  _G.os, _G.io = original_os, original_io
  os.getenv = getenv -- luacheck: ignore
  for _, path in ipairs(files) do
    os.remove(path)
  end
end)

-- Returns the requests that a client sends to find a card.
local function requests(options)
  local list = {}
  options = options or {}
  function options.transport(request)
    list[#list + 1] = request
    local token = request.url:find("token", 1, true)
    return 200, { ["Content-Type"] = "application/json" },
      token and '{"access_token":"of-the-secret","expires_in":3600}' or '{"data":{"value":"1"}}'
  end
  leat.assert(leat.from_env(options).contact_identifiers:find("1"))
  return list
end

local function token(options)
  return requests(options)[1].headers.Authorization
end

-- Returns the message of the error that is raised at the caller's line, without "leat.from_env: ".
local function misuse(code, ...)
  local chunk = assert((loadstring or load)("local leat, a = ...\n" .. code .. "\n", "@user.lua"))
  local fine, why = pcall(chunk, leat, ...)
  assert.is_false(fine)
  assert.falsy(why:find(KEY, 1, true) or why:find(SECRET, 1, true), why)
  return (why:gsub("^user.lua:2: leat%.from_env: ", ""))
end

local function wrong_variables()
  return misuse("local client = leat.from_env()")
end

describe("from_env", function()
  it("reads the key, and the URL of the service", function()
    variables = { LEAT_API_KEY = KEY, LEAT_BASE_URL = "https://example.org/base" }
    local request = requests()[1]
    assert.equal("Bearer " .. KEY, request.headers.Authorization)
    assert.equal(1, request.url:find("https://example.org/base/contact-identifiers/find", 1, true))
    variables.LEAT_BASE_URL = ""
    assert.equal(1, requests()[1].url:find("https://api.piggy.eu/", 1, true))
  end)

  it("reads the key from the first line of a file", function()
    for _, text in ipairs { KEY, KEY .. "\n", KEY .. "\r\nmore\r\n", "\t " .. KEY .. " \n" } do
      variables = { LEAT_API_KEY_FILE = write_file(text) }
      assert.equal("Bearer " .. KEY, token())
      variables = {}
      assert.equal("Bearer " .. KEY, token { api_key_file = write_file(text) })
    end
  end)

  it("reads client credentials", function()
    variables = { LEAT_CLIENT_ID = "me", LEAT_CLIENT_SECRET = SECRET }
    local list = requests()
    assert.equal(2, #list)
    assert.truthy(list[1].body:find("client_id=me", 1, true), "no client_id")
    assert.equal("Bearer of-the-secret", list[2].headers.Authorization)
  end)

  it("takes the key first, then the file, then client credentials", function()
    variables = { LEAT_API_KEY = KEY, LEAT_API_KEY_FILE = write_file("of-the-file\n"), LEAT_CLIENT_ID = "me" }
    assert.equal("Bearer " .. KEY, token())
    variables.LEAT_API_KEY = ""
    assert.equal("Bearer of-the-file", token())
    variables.LEAT_API_KEY_FILE = ""
    assert.equal("LEAT_CLIENT_SECRET is missing, which belongs to LEAT_CLIENT_ID", wrong_variables())
  end)

  it("reads no credential if one is in the options", function()
    variables = { LEAT_API_KEY = KEY, LEAT_API_KEY_FILE = "/nowhere", LEAT_CLIENT_ID = "me" }
    assert.equal("Bearer given", token { api_key = "given" })
    assert.equal("Bearer given", token { access_token = "given" })
    assert.equal("Bearer given", token { token = function() return "given" end })
    assert.equal("Bearer given", token { api_key_file = write_file("given\n") })
    local list = requests { client_id = "other", client_secret = SECRET }
    assert.truthy(list[1].body:find("client_id=other", 1, true), "no client_id")
    assert.truthy(misuse("leat.from_env { client_id = 'other' }"):find("client_secret", 1, true))
    assert.truthy(misuse("leat.from_env { api_key = '' }"):find("^api_key is empty"))
  end)

  it("lets options win", function()
    variables = { LEAT_API_KEY = KEY, LEAT_BASE_URL = "https://example.org", LEAT_RATE = "fast" }
    local options = { base_url = "https://example.com/x", rate = 7 }
    assert.equal(1, requests(options)[1].url:find("https://example.com/x/", 1, true))
    options.transport = nil
    assert.same({ base_url = "https://example.com/x", rate = 7 }, options) -- they are as they were
  end)

  it("reads the rate", function()
    local waits = 0
    local driver = require("leat.recorder").new { { status = 200, body = {} }, { status = 200, body = {} } }
    variables = { LEAT_API_KEY = KEY, LEAT_RATE = "0.5" }
    local client = leat.from_env { driver = driver.driver }
    leat.assert(client:request("GET", "/a"))
    leat.assert(client:request("GET", "/b"))
    for _, seconds in ipairs(driver.waits) do
      waits = waits + seconds
    end
    assert.truthy(waits > 1.9 and waits < 2.1, waits)
  end)

  it("says which variables there are", function()
    assert.equal("no credential: set LEAT_API_KEY, or LEAT_API_KEY_FILE, or LEAT_CLIENT_ID with LEAT_CLIENT_SECRET",
      wrong_variables())
    variables = { LEAT_API_KEY = "", LEAT_API_KEY_FILE = "", LEAT_CLIENT_ID = "", LEAT_CLIENT_SECRET = "" }
    assert.truthy(wrong_variables():find("^no credential: "))
  end)

  it("says what is missing of client credentials", function()
    variables = { LEAT_CLIENT_SECRET = SECRET }
    assert.equal("LEAT_CLIENT_ID is missing, which belongs to LEAT_CLIENT_SECRET", wrong_variables())
  end)

  it("says what is wrong with the rate", function()
    for text, message in pairs { fast = "LEAT_RATE must be a number of calls a second",
      ["0"] = "LEAT_RATE must be a number of calls a second, at least one a minute (1/60), not 0",
      ["-1"] = "LEAT_RATE must be a number of calls a second, at least one a minute (1/60), not -1" } do
      variables = { LEAT_API_KEY = KEY, LEAT_RATE = text }
      assert.equal(message, wrong_variables())
    end
    variables.LEAT_RATE = "nan"
    assert.equal(1, wrong_variables():find("LEAT_RATE must be a number", 1, true))
  end)

  it("does not show a key that was given as the name of its file", function()
    for _, key in ipairs { KEY, "SECRET12345", ("k"):rep(40), "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiIxIn0.c2lnbmF0dXJl/w" } do
      variables = { LEAT_API_KEY_FILE = key }
      local said = wrong_variables()
      assert.truthy(said:find("is it the key itself?", 1, true), "other message")
      assert.is_nil(said:find(key, 1, true), "shown")
    end
  end)

  it("names the file that has no key, and quotes nothing of it", function()
    variables = { LEAT_API_KEY_FILE = "/nowhere/key" }
    assert.equal("LEAT_API_KEY_FILE: no key in /nowhere/key: No such file or directory", wrong_variables())
    variables.LEAT_API_KEY_FILE = "/"
    assert.equal("LEAT_API_KEY_FILE: no key in /: Is a directory", wrong_variables())
    for _, text in ipairs { "", "\n" .. KEY, " \r\n" .. KEY } do
      local path = write_file(text)
      assert.equal(("api_key_file: no key in %s: its first line is empty"):format(path),
        misuse("leat.from_env { api_key_file = a }", path))
    end
    variables.LEAT_API_KEY_FILE = write_file(KEY .. "\1\n")
    assert.truthy(wrong_variables():find("^api_key contains "))
  end)

  it("raises mistakes in the options", function()
    variables = { LEAT_API_KEY = KEY }
    assert.equal("call it with a dot: leat.from_env { ... }", misuse("leat:from_env()"))
    assert.equal("give the options in a table: { name = value }", misuse("leat.from_env('x')"))
    assert.equal("api_key_file must be a string, not a number", misuse("leat.from_env { api_key_file = 1 }"))
    assert.equal("option 'api_key_fil' is unknown: did you mean 'api_key_file'?",
      misuse("leat.from_env { api_key_fil = '' }"))
    assert.equal("api_key_file and token are both given",
      misuse("leat.from_env { api_key_file = 'x', token = print }"))
    assert.truthy(misuse("leat.from_env { base_url = 'x' }"):find("^base_url must"))
    assert.truthy(misuse("leat.new { api_key_file = 'x' }"):find("leat.new: option 'api_key_file' is unknown", 1, true))
  end)

  it("says that a host hides the environment, or files", function()
    _G.os = {}
    assert.truthy(wrong_variables():find("^this host hides the environment"))
    assert.same({ api_key = "given" }, environment.read { api_key = "given" })
    _G.os = nil
    assert.truthy(wrong_variables():find("^this host hides the environment"))
    _G.io = nil
    local said = misuse("leat.from_env { api_key_file = '/x' }")
    _G.os, _G.io = original_os, original_io
    assert.equal("api_key_file: no key in /x: this host hides files (io.open): give the key as api_key", said)
  end)
end)

describe("environment.read", function()
  it("completes options, and makes no client", function()
    variables = { LEAT_API_KEY = KEY, LEAT_BASE_URL = "https://example.org", LEAT_RATE = "5" }
    local options = { timeout = 3 }
    assert.same({ api_key = KEY, base_url = "https://example.org", rate = 5, timeout = 3 }, environment.read(options))
    assert.same({ timeout = 3 }, options)
    variables = {}
    assert.same({ api_key = KEY }, environment.read { api_key_file = write_file(KEY) })
  end)

  it("returns what is wrong", function()
    local none, wrong = environment.read()
    assert.is_nil(none)
    assert.truthy(wrong:find("^no credential: "))
  end)
end)
