-- Runs the `leat` command against a sandbox: every command, as text and as JSON, and every exit status.
local command = dofile("spec/support/command.lua")
local cjson = require("cjson")
local core = require("leat.core")
local sandbox = require("leat.sandbox")

local unpack = table.unpack or unpack -- luacheck: ignore
local server

local function serve(options)
  options = options or {}
  options.contacts = options.contacts or { { uuid = "ann", email = "ann@example.org" }, { uuid = "bob" } }
  options.cards = options.cards or { { value = "0042", name = "Krabby Membership" },
    { value = "0043", contact_uuid = "bob" }, { value = "0044", active = false } }
  server = assert(sandbox.start(options))
end

before_each(function() serve() end)
after_each(function() server:stop() end)

-- Runs the command with these arguments against the sandbox.
local function leat(args, stdin, env)
  local complete = { LEAT_API_KEY = server.api_key, LEAT_BASE_URL = server.url }
  for name, value in pairs(env or {}) do
    complete[name] = value or nil
  end
  local result = command.run { args = args, stdin = stdin or "", env = complete }
  assert.is_nil(result.stderr:find("stack traceback", 1, true), result.stderr)
  return result
end

-- Checks the exit status and, if given, the whole output.
local function expect(status, args, stdout, stderr)
  local result = leat(args)
  assert.equal(status, result.status, result.stderr)
  if stdout then
    assert.equal(stdout, result.stdout)
  end
  if stderr then
    assert.equal(stderr, result.stderr)
  end
  return result
end

local function objects(text)
  local list = {}
  for line in text:gmatch("([^\n]+)\n") do
    list[#list + 1] = cjson.decode(line)
  end
  return list
end

-- Runs the command with --json, and returns the objects that it prints.
local function json(status, args, stdin)
  local all = { "--json", "--quiet" }
  for i, argument in ipairs(args) do
    all[i + 2] = argument
  end
  local result = leat(all, stdin)
  assert.equal(status, result.status, result.stderr .. result.stdout)
  assert.equal("", result.stderr)
  return objects(result.stdout)
end

local function changes()
  local count = 0
  for _, request in ipairs(server:requests()) do
    if request.operation ~= "find" and request.operation ~= "contacts.find_one_by" and request.operation ~= "list" then
      count = count + 1
    end
  end
  return count
end

describe("leat", function()
  it("find prints cards, as text and as JSON", function()
    expect(0, { "find", "0043" }, "0043: active, contact bob\n", "")
    expect(0, { "find", "0042" }, '0042: active, no contact, name "Krabby Membership"\n', "")
    local card = json(0, { "find", "0043" })[1]
    assert.same({ input = "0043", value = "0043", name = "0043", active = true, outcome = "found",
      contact = { uuid = "bob", email = cjson.null } }, card)
    assert.equal(cjson.null, json(0, { "find", "0042" })[1].contact)
  end)

  it("prints in JSON what the service sent: long numbers, empty lists, further fields", function()
    server:stop()
    serve { cards = { { value = "7", contact_uuid = "zoe" } }, contacts = { { uuid = "zoe",
      more = { attributes = {}, credit_balance = { balance = 12 } } } } }
    local result = leat { "--json", "find", "7" }
    assert.truthy(result.stdout:find('"attributes":[]', 1, true), result.stdout)
    assert.truthy(result.stdout:find('"credit_balance":{"balance":12}', 1, true), result.stdout)
    server:fault { operation = "find", status = 200, body = '{"data":{"value":"7","name":null,"active":true,'
      .. '"contact":null,"points":9007199254740993,"rate":0.1,"outcome":"x","error":{}}}' }
    result = leat { "--json", "find", "7" }
    assert.equal('{"input":"7","value":"7","name":null,"active":true,"contact":null,"points":9007199254740993,'
      .. '"rate":0.1,"outcome":"found"}\n', result.stdout)
  end)

  it("create, ensure, link, unlink, update and delete change cards", function()
    expect(0, { "create", "1", "--name", "Gold", "--contact", "ann" },
      '1: created: active, contact ann (ann@example.org), name "Gold"\n')
    expect(1, { "create", "1" }, "")
    expect(0, { "ensure", "1" }, '1: existed: active, contact ann (ann@example.org), name "Gold"\n')
    expect(0, { "ensure", "2", "--email", "ann@example.org" }, "2: created: active, contact ann (ann@example.org)\n")
    expect(0, { "create", "3" }, "3: created: active, no contact\n")
    expect(0, { "link", "3", "bob" }, "3: linked: active, contact bob\n")
    expect(0, { "unlink", "3", "--yes" }, "3: unlinked: active, no contact\n")
    expect(0, { "link", "3", "--email", "ann@example.org" }, "3: linked: active, contact ann (ann@example.org)\n")
    expect(0, { "update", "3", "--inactive", "--name", "Old" },
      '3: updated: inactive, contact ann (ann@example.org), name "Old"\n')
    expect(0, { "update", "3", "--active" }, '3: updated: active, contact ann (ann@example.org), name "Old"\n')
    expect(0, { "delete", "3", "--yes" }, "3: deleted\n")
    assert.is_nil(server:card("3"))
    assert.equal("ann", server:card("2").contact.uuid)
  end)

  it("says in JSON what became of each value", function()
    assert.equal("created", json(0, { "create", "1" })[1].outcome)
    assert.equal("existed", json(0, { "ensure", "1" })[1].outcome)
    assert.equal("linked", json(0, { "link", "1", "ann" })[1].outcome)
    assert.equal("updated", json(0, { "update", "1", "--name", "x" })[1].outcome)
    assert.equal("unlinked", json(0, { "unlink", "1", "-y" })[1].outcome)
    assert.same({ { input = "1", value = "1", outcome = "deleted" } }, json(0, { "delete", "1", "-y" }))
    server:fault { operation = "create", apply = true, close = "before" }
    assert.equal("recovered", json(0, { "create", "1" })[1].outcome)
    server:fault { operation = "delete", apply = true, close = "before" }
    assert.equal("recovered", json(0, { "delete", "1", "--yes" })[1].outcome)
  end)

  it("list prints the cards of a contact, found by UUID or e-mail address", function()
    leat { "create", "1", "--contact", "ann" }
    leat { "create", "2", "--contact", "ann" }
    local both = "1: active, contact ann (ann@example.org)\n2: active, contact ann (ann@example.org)\n"
    expect(0, { "list", "ann" }, both)
    expect(0, { "list", "--email", "ann@example.org" }, both)
    local list = json(0, { "list", "ann" })
    assert.equal(2, #list)
    assert.equal("ann", list[2].input)
    assert.equal("2", list[2].value)
    assert.equal("listed", list[2].outcome)
  end)

  it("check, request and version show what they are asked for", function()
    assert.truthy(expect(0, { "check" }).stdout:find("^Sandbox %(id 1, uuid "))
    assert.equal("Sandbox", json(0, { "check" })[1].company)
    server:fault { operation = "check", status = 200, body = '{"data":{"company":"C","error":1}}' }
    assert.same({ input = cjson.null, company = "C" }, json(0, { "check" })[1])
    expect(0, { "request", "GET", "/contacts/find-one-by", "--query", "email=ann@example.org" },
      '{"uuid":"ann","email":"ann@example.org"}\n')
    local path = "/contact-identifiers"
    expect(0, { "request", "POST", path, "--body", '{"contact_identifier_value":"9"}' })
    local result = leat({ "request", "POST", path, "--body", "-" }, '{"contact_identifier_value":"10"}')
    assert.equal(0, result.status, result.stderr)
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write('{"contact_identifier_value":"11"}')
    file:close()
    expect(0, { "request", "POST", path, "--body", "@" .. name })
    os.remove(name)
    assert.truthy(server:card("9") and server:card("10") and server:card("11"))
    local object = json(0, { "request", "GET", path .. "/find", "--query", "contact_identifier_value=9" })[1]
    assert.equal("9", object.data.value)
    assert.equal(200, object.status)
    assert.truthy(expect(0, { "version" }).stdout:find("^leat %d"))
    assert.truthy(expect(0, { "--version" }).stdout:find("^leat %d"))
  end)

  it("reads values from standard input, and prints in the order of the input", function()
    server:fault { operation = "find", value = "0042", delay = 0.3 }
    local result = leat({ "find", "-" }, "0042\n\n0043\r\n9999")
    assert.equal('0042: active, no contact, name "Krabby Membership"\n0043: active, contact bob\n', result.stdout)
    assert.equal(4, result.status)
    assert.truthy(result.stderr:find("at most 5 requests per second", 1, true), result.stderr)
    assert.truthy(result.stderr:find("X%-RateLimit%-Remaining is %d+"), result.stderr)
  end)

  it("--concurrency limits how many values are processed at a time", function()
    local function seconds(concurrency)
      server:fault { operation = "find", delay = 0.4, times = 3 }
      local begun = core.now()
      expect(0, { "find", "--rate", "none", "--concurrency", concurrency, "0042", "0043", "0042" })
      return (core.now() - begun) / 1000
    end
    assert.is_true(seconds("1") > 1.1)
    assert.is_true(seconds("3") < seconds("1"))
  end)

  it("--email names a contact that must exist", function()
    local result = expect(4, { "link", "0042", "--email", "nobody@example.org" }, "")
    assert.truthy(result.stderr:find("contact_not_found", 1, true), result.stderr)
    local failed = json(4, { "create", "1", "--email", "nobody@example.org" })[1]
    assert.same({ "1", "contact_not_found" }, { failed.input, failed.error.kind })
    for _, body in ipairs { "", '{"data":null}', '{"data":5}', '{"data":{"uuid":5}}' } do
      server:fault { operation = "contacts.find_one_by", status = 200, body = body }
      assert.equal("contact_not_found", json(4, { "create", "1", "--email", "ann@example.org" })[1].error.kind)
    end
    assert.equal(0, changes())
  end)

  it("--expect changes a card only if it belongs to that contact", function()
    expect(1, { "unlink", "0043", "--expect", "ann", "--yes" }, "")
    expect(1, { "update", "0043", "--name", "x", "--expect", "none" }, "")
    expect(1, { "delete", "0042", "--expect", "ann", "--yes" }, "")
    assert.equal(0, changes())
    expect(0, { "update", "0042", "--name", "x", "--expect", "none" })
    expect(0, { "unlink", "0043", "--expect", "bob", "--yes" })
    assert.truthy(expect(2, { "unlink", "0043", "--expect", "bob" }).stderr:find("--yes", 1, true))
  end)

  it("--dry-run shows what would be done, and changes nothing", function()
    expect(0, { "create", "1", "--dry-run" }, "1: would be created\n")
    expect(1, { "create", "0042", "--dry-run" }, "")
    expect(0, { "ensure", "1", "--dry-run" }, "1: would be created\n")
    expect(0, { "ensure", "0042", "--contact", "ann", "--dry-run" },
      '0042: would be linked (now active, no contact, name "Krabby Membership")\n')
    expect(0, { "ensure", "0043", "--name", "x", "--dry-run" }, "0043: would be named (now active, contact bob)\n")
    expect(0, { "ensure", "0043", "--dry-run" }, "0043: existed: active, contact bob\n")
    expect(1, { "ensure", "0043", "--contact", "ann", "--dry-run" }, "")
    expect(0, { "link", "0042", "ann", "--dry-run" })
    expect(1, { "link", "0043", "ann", "--dry-run" }, "")
    expect(0, { "unlink", "0043", "--dry-run" }, "0043: would be unlinked (now active, contact bob)\n")
    expect(1, { "unlink", "0042", "--dry-run" }, "")
    expect(0, { "update", "0043", "--inactive", "--dry-run" }, "0043: would be updated (now active, contact bob)\n")
    expect(0, { "update", "0044", "--active", "--dry-run" }, "0044: would be updated\n")
    expect(0, { "delete", "0043", "--dry-run" }, "0043: would be deleted (now active, contact bob)\n")
    expect(1, { "delete", "0043", "--expect", "ann", "--dry-run" }, "")
    expect(4, { "delete", "9999", "--dry-run" }, "")
    assert.equal("would_be_deleted", json(0, { "delete", "0043", "--dry-run" })[1].outcome)
    assert.equal(0, changes())
  end)

  it("--dry-run refuses what an inactive card would refuse", function()
    local function kind(args, last)
      local all = { "--json", args[1], "0044", last }
      for i = 2, #args do
        all[#all + 1] = args[i]
      end
      return objects(leat(all).stdout)[1].error.kind
    end
    for _, args in ipairs { { "create" }, { "update", "--active", "--expect", "none" } } do
      assert.equal(kind(args), kind(args, "--dry-run"))
    end
    assert.equal(kind({ "delete", "--expect", "bob" }, "--yes"), kind({ "delete", "--expect", "bob" }, "--dry-run"))
  end)

  it("--verbose prints every request, and no key", function()
    server:fault { operation = "find", kind = "connection" }
    local result = expect(0, { "-v", "find", "0043" })
    assert.truthy(result.stderr:find("contact_identifiers.find 0043, attempt 1: connection", 1, true), result.stderr)
    assert.truthy(result.stderr:find("contact_identifiers.find 0043, attempt 2: HTTP 200", 1, true), result.stderr)
  end)

  it("--dry-run of a request sends nothing", function()
    expect(0, { "request", "POST", "/contact-identifiers", "--body", "{}", "--dry-run" },
      "POST /contact-identifiers: would be sent\n")
    assert.equal("would_be_sent", json(0, { "request", "DELETE", "/x", "--dry-run" })[1].outcome)
    assert.equal(0, #server:requests())
  end)

  it("version is JSON for programs too", function()
    assert.equal(require("leat")._VERSION, json(0, { "version" })[1].version)
  end)

  it("a value that no card can have fails alone", function()
    local list = json(1, { "find", "0043", "a\255", "9999" })
    assert.equal("bob", list[1].contact.uuid)
    assert.equal("usage", list[2].error.kind)
    assert.equal("not_found", list[3].error.kind)
    assert.equal("usage", json(2, { "find", "a\255" })[1].error.kind)
    assert.equal("usage", json(1, { "find", "0043", "" })[2].error.kind) -- not 2, because something was sent
    list = json(1, { "find", "", "0043" }) -- no request has been made when the first one is reported
    assert.same({ "usage", "bob" }, { list[1].error.kind, list[2].contact.uuid })
  end)

  it("cleans control characters of the service's text", function()
    expect(0, { "update", "0042", "--name", "a\27[31mb\194\155" })
    assert.is_nil(expect(0, { "find", "0042" }).stdout:find("[\27\155]"))
  end)
end)

describe("the exit status is", function()
  local kinds = {
    [1] = { "already_exists", "already_linked", "not_linked", "invalid_input", "inactive" },
    [3] = { "unauthorized", "forbidden", "quota_reached", "redirect" },
    [4] = { "not_found", "contact_not_found" },
    [5] = { "server", "maintenance", "rate_limited", "connection", "timeout", "protocol" },
  }
  for status, list in pairs(kinds) do
    for _, kind in ipairs(list) do
      it(("%d for %s"):format(status, kind), function()
        server:fault { operation = "find", kind = kind, times = math.huge }
        local result = leat { "--json", "--timeout", "0.5", "find", "0043" }
        local err = objects(result.stdout)[1].error
        if kind == "rate_limited" or kind == "maintenance" then
          assert.truthy(err.kind == kind or err.kind == "timeout", err.kind)
        else
          assert.equal(kind, err.kind)
        end
        assert.equal(status, result.status)
      end)
    end
  end

  it("3 for a certificate that is not trusted", function()
    server:stop()
    serve { tls = true }
    assert.equal("tls", json(3, { "find", "0043" })[1].error.kind)
    expect(0, { "--ca-file", server.ca_file, "find", "0043" })
  end)

  it("1 for an error code that is not known, and for a response that is too large", function()
    server:fault { operation = "find", code = 4711 }
    assert.equal("api", json(1, { "find", "0043" })[1].error.kind)
    server:fault { operation = "find", status = 200, body = '{"data":"' .. ("x"):rep(2000000) .. '"}' }
    assert.equal("too_large", json(1, { "find", "0043" })[1].error.kind)
  end)

  it("3 for credentials that the token endpoint refuses", function()
    local env = { LEAT_API_KEY = false, LEAT_CLIENT_ID = "nobody", LEAT_CLIENT_SECRET = "wrong" }
    local result = leat({ "find", "0043" }, nil, env)
    assert.equal(3, result.status, result.stderr)
    env = { LEAT_API_KEY = false, LEAT_CLIENT_ID = server.client_id, LEAT_CLIENT_SECRET = server.client_secret }
    assert.equal(0, leat({ "find", "0043" }, nil, env).status)
  end)

  it("6 if the outcome of a change is unknown, whatever else failed", function()
    server:fault { operation = "create", close = "before", times = math.huge }
    server:fault { operation = "find", close = "before", times = math.huge }
    local result = leat { "--json", "--timeout", "0.5", "create", "1" }
    assert.equal(6, result.status)
    assert.is_true(objects(result.stdout)[1].error.outcome_unknown)
    server:fault { operation = "delete", value = "0042", kind = "timeout", times = math.huge }
    for _, values in ipairs { { "9999", "0042" }, { "0042", "9999" } } do
      assert.equal(6, leat({ "--timeout", "0.5", "delete", "--yes", unpack(values) }).status)
    end
  end)

  it("that of the failures if it is the same for all, and otherwise 1", function()
    expect(4, { "find", "0043", "9998", "9999" })
    expect(1, { "find", "9999", "0044" })
    expect(0, { "find", "0042", "0043" })
  end)

  it("2 for wrong usage, and nothing is sent", function()
    for _, args in ipairs { {}, { "fnid", "1" }, { "find" }, { "find", "-5" }, { "find", "--nothing", "1" },
      { "link", "0042" }, { "update", "0042" }, { "update", "0042", "--active", "--inactive" }, { "list" },
      { "find", "1", "-" }, { "--rate", "x", "find", "1" }, { "--rate", "0", "find", "1" },
      { "--timeout", "-1", "find", "1" },
      { "--concurrency", "0", "find", "1" }, { "delete", "0042" }, { "unlink", "0043" }, { "completion", "csh" },
      { "request", "GET", "/x", "--query", "x" }, { "request", "GET", "/x", "--body", "@/nowhere" },
      { "request", "GET", "x" }, { "request", "GET", "/a b" }, { "request", "G T", "/x" },
      { "request", "GET", "/x", "--query", "x=\255" }, { "list", "" }, { "link", "1", "--email", "\255" },
      { "--base-url", "http://example.org/", "find", "1" }, { "help", "fnid" },
      { "link", "0042", "ann@example.org" }, { "list", "ann@example.org" }, { "request", "POST", "/x", "--body", "{" },
      { "request", "POST", "/x", "--body", "7" }, { "request", "FETCH", "/x" },
      { "--timeout", "1e9", "find", "1" }, { "link", "1", "ann", "--email", "x" } } do
      local result = leat(args)
      assert.equal(2, result.status, table.concat(args, " ") .. ": " .. result.stdout .. result.stderr)
      assert.equal("", result.stdout)
      assert.truthy(result.stderr:find("^leat: "), result.stderr)
      result = leat { "--json", unpack(args) }
      assert.equal("usage", objects(result.stdout)[1].error.kind)
    end
    assert.equal(0, #server:requests())
  end)

  it("2 with the help to read: of the command, if that is what is wrong", function()
    assert.truthy(expect(2, { "create", "a", "b" }).stderr:find("\nTry: leat help create\n", 1, true))
    assert.truthy(expect(2, { "link", "0042" }).stderr:find("\nTry: leat help link\n", 1, true))
    local said = expect(2, { "--base-url", "x", "check" }).stderr
    assert.truthy(said:find("^leat: %-%-base%-url [^\n]*\nTry: leat help\n"), said)
  end)

  it("2 without a key, with an empty file, and with a wrong LEAT_RATE", function()
    for _, env in ipairs { { LEAT_API_KEY = false }, { LEAT_RATE = "fast" }, { LEAT_API_KEY = false,
      LEAT_API_KEY_FILE = "/dev/null" }, { LEAT_API_KEY = false, LEAT_CLIENT_ID = "1" } } do
      local result = leat({ "find", "0043" }, nil, env)
      assert.equal(2, result.status, result.stderr)
      assert.truthy(result.stderr:find("LEAT_", 1, true), result.stderr)
      result = leat({ "--json", "find", "0043" }, nil, env)
      assert.equal("usage", objects(result.stdout)[1].error.kind)
    end
    assert.equal(0, #server:requests())
  end)

  it("in the guide and in the help that of every kind of error", function()
    local status = require("leat.cli.status")
    local read = dofile("spec/support/read.lua")
    local guide, help = read("docs/command.md"), expect(0, { "help" }).stdout
    local known = { usage = true }
    for kind in read("lua/leat.lua"):match("@tfield string kind (.-)\n%-%- @tfield"):gmatch("`([%w_]+)`") do
      known[kind] = true
      local number = status.of { kind = kind }
      assert.truthy(guide:find(("\n| %d | [^\n]*`%s`"):format(number, kind)), kind)
      assert.truthy(help:find(("\n   %d  [^:]*:?[^:]*[ \n]%s[,;\n]"):format(number, kind)), kind)
    end
    assert.truthy(known.not_found and known.no_memory)
    assert.equal(6, status.of { kind = "connection", outcome_unknown = true })
  end)

  it("0 for help, of the program and of each command", function()
    local text = expect(0, { "--help" }).stdout
    assert.equal(text, expect(0, { "help" }).stdout)
    assert.truthy(text:find("Exit status:", 1, true))
    local names = "find create ensure link unlink update delete list check request sandbox version completion"
    for name in names:gmatch("%a+") do
      assert.truthy(text:find("\n   " .. name .. " ", 1, true), name)
      assert.truthy(expect(0, { "help", name }).stdout:find("^Usage: leat " .. name), name)
      assert.truthy(expect(0, { name, "--help" }).stdout:find("^Usage: leat " .. name), name)
    end
  end)
end)

describe("the key", function()
  it("comes from a file too, and options win over the environment", function()
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(server.api_key, "\n")
    file:close()
    assert.equal(0, leat({ "find", "0043" }, nil, { LEAT_API_KEY = false, LEAT_API_KEY_FILE = name }).status)
    assert.equal(0, leat({ "--api-key-file", name, "find", "0043" }, nil, { LEAT_API_KEY = "wrong" }).status)
    local env = { LEAT_BASE_URL = "http://127.0.0.1:1" }
    assert.equal(0, leat({ "--base-url", server.url, "find", "0043" }, nil, env).status)
    assert.equal(0, leat({ "--rate", "none", "find", "0043" }, nil, { LEAT_RATE = "fast" }).status)
    os.remove(name)
  end)
end)
