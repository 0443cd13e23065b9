-- Runs each program of examples/recipes as a user would, in its own process against a sandbox, and checks what it
-- changes. docs/recipes.md contains the programs, and what they print.
local command = dofile("spec/support/command.lua")
local interpreter = dofile("spec/support/interpreter.lua")
local markdown = dofile("spec/support/markdown.lua")
local sandbox = require("leat.sandbox")
local write_file = dofile("spec/support/write.lua")

local server, folder

local function start()
  return assert(sandbox.start {
    contacts = { { uuid = "ann", email = "ann@example.org", more = { credit_balance = { balance = 120 },
      prepaid_balance = { balance_in_cents = 1250 } } }, { uuid = "bob" } },
    cards = { { value = "0042", contact_uuid = "ann" }, { value = "0043", contact_uuid = "bob" }, { value = "0044" } },
  })
end

-- Programs run in a folder of their own, in which `examples` is that of the project.
local SHELL = [[
exec 2>&1
root=$PWD
cd %s && ln -sfn "$root/examples" examples
export LEAT_API_KEY=%s LEAT_BASE_URL=%s LEAT_RATE=1000
unset LEAT_CLIENT_ID LEAT_CLIENT_SECRET
%s]]

local function shell(text)
  local pipe = assert(io.popen(SHELL:format(folder, server.api_key, server.url, text)))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

-- Returns what a recipe prints; the last line is its exit status. `before` is put in front of the command.
local function run(words, before)
  return shell(("%s%s examples/recipes/%s; echo $?"):format(before or "", interpreter, words))
end

local function write(name, text)
  write_file(folder .. "/" .. name, text)
end

local function read(name)
  return markdown.read(folder .. "/" .. name)
end

local function owner(value)
  local card = server:card(value)
  return card and card.contact and card.contact.uuid
end

describe("the recipe", function()
  setup(function()
    server, folder = start(), os.tmpname()
    os.remove(folder)
    os.execute("mkdir " .. folder)
  end)
  before_each(function()
    server:reset()
    os.execute(("rm -f %s/*.csv %s/*.db*"):format(folder, folder))
  end)
  teardown(function()
    server:stop()
    os.execute("rm -r " .. folder)
  end)

  describe("deactivate", function()
    it("deactivates a card, and activates it again", function()
      assert.equal("0043: inactive\n0\n", run("deactivate.lua 0043"))
      assert.is_false(server:card("0043").active)
      assert.equal("0043: active\n0\n", run("deactivate.lua 0043 on"))
      assert.is_true(server:card("0043").active)
      assert.equal("bob", owner("0043"))
    end)

    it("says what failed", function()
      assert.matches("^leat: contact_identifiers%.update: not_found .*\n1\n$", run("deactivate.lua 9999"))
    end)
  end)

  describe("move", function()
    it("moves a card, and may be repeated", function()
      for _ = 1, 2 do
        assert.equal("0043: contact ann\n0\n", run("move.lua 0043 bob ann"))
        assert.equal("ann", owner("0043"))
      end
      assert.equal(1, #server:requests("unlink"))
    end)

    it("goes on after it was interrupted between its two steps", function()
      server:fault { operation = "link", kind = "forbidden" }
      assert.matches("^leat: contact_identifiers%.link: forbidden .*\n1\n$", run("move.lua 0043 bob ann"))
      assert.is_nil(owner("0043"))
      assert.equal("0043: contact ann\n0\n", run("move.lua 0043 bob ann"))
      assert.equal("ann", owner("0043"))
    end)

    it("leaves a card that belongs to somebody else, and one whose new contact does not exist", function()
      assert.matches("^leat: contact_identifiers%.unlink: conflict .*\n1\n$", run("move.lua 0042 bob bob"))
      assert.matches("^leat: contact_identifiers%.list: contact_not_found .*\n1\n$", run("move.lua 0043 bob nobody"))
      assert.same({ "ann", "bob" }, { owner("0042"), owner("0043") })
    end)
  end)

  describe("replace", function()
    it("deactivates the lost card, gives the new one to its contact, and may be repeated", function()
      for _ = 1, 2 do
        assert.equal("0042: inactive\n0142: contact ann\n0\n", run("replace.lua 0042 0142"))
        assert.is_false(server:card("0042").active)
        assert.equal("ann", owner("0142"))
      end
      assert.equal(4, #server:cards())
    end)

    it("deactivates the lost card although the new one is somebody else's", function()
      assert.matches("^leat: contact_identifiers%.ensure: conflict: .*\n1\n$", run("replace.lua 0042 0043"))
      assert.is_false(server:card("0042").active)
      assert.equal("bob", owner("0043"))
    end)

    it("creates no card for a lost one without a contact", function()
      assert.matches("^0044 is inactive, and has no contact .*\n1\n$", run("replace.lua 0044 0144"))
      assert.is_nil(server:card("0144"))
    end)
  end)

  describe("nightly", function()
    it("processes both files, every night again", function()
      write("blocked.csv", "value,active\n0043,no\n")
      write("members.csv", "value,contact_email\n0044,ann@example.org\n0150,\n")
      for _ = 1, 2 do
        local output = run("nightly.lua blocked.csv members.csv")
        assert.matches("\nnightly ensure: finished, 2 of 2 rows done\n0\n$", output)
        assert.is_false(server:card("0043").active)
        assert.equal("ann", owner("0044"))
        assert.truthy(server:card("0150"))
        server:reset()
      end
    end)

    it("says that rows failed, and which", function()
      write("blocked.csv", "value,active\n0043,no\n")
      write("members.csv", "value,contact_uuid\n0044,ann\n0043,bob\n")
      local output = run("nightly.lua blocked.csv members.csv")
      assert.matches("\nnightly ensure: finished, 1 of 2 rows done\nsee .*/members%.results%.csv\n1\n$", output)
      assert.matches("\n3,0043,[^\n]*,failed,inactive,", read("members.results.csv"))
    end)

    it("continues what an earlier night began", function()
      write("blocked.csv", "value,active\n0043,no\n")
      write("members.csv", "value\n0151\n")
      server:fault { operation = "update", kind = "unauthorized" }
      assert.matches("^nightly update: paused.*\nUnauthenticated.*\n1\n$", run("nightly.lua blocked.csv members.csv"))
      assert.is_nil(server:card("0151"))
      write("blocked.csv", "value,active\n0042,no\n")
      local output = run("nightly.lua blocked.csv members.csv")
      assert.matches("^nightly update: finished.*\nnightly update: finished.*\nnightly ensure: .*\n0\n$", output)
      assert.same({ false, false }, { server:card("0042").active, server:card("0043").active })
      assert.truthy(server:card("0151"))
    end)
  end)

  describe("scanner", function()
    it("finds each card, whatever ends a scan, and skips empty ones", function()
      local output = run("scanner.lua", [[printf '0042\r\n0043\t 0044 \r\n\n9999' | ]])
      assert.equal("contact identifier 0042, contact ann\ncontact identifier 0043, contact bob\n"
        .. "contact identifier 0044, no contact\n9999: not_found\n0\n", output)
      assert.equal(4, #server:requests())
    end)

    it("goes on after a garbled scan", function()
      local output = run("scanner.lua", [[printf 'caf\351\n0044\n' | ]])
      assert.equal("value is not UTF-8\ncontact identifier 0044, no contact\n0\n", output)
    end)

    it("does not wait for more than the CR", function()
      local name = folder .. "/pipe"
      os.execute("mkfifo " .. name)
      local process = assert(io.popen(SHELL:format(folder, server.api_key, server.url,
        interpreter .. " examples/recipes/scanner.lua <pipe >said & exec 3>pipe; printf '0042\\r' >&3; read -r end; "
        .. "exec 3>&-; wait"), "w"))
      command.wait_until(function() return #server:requests("find") == 1 end)
      process:write("end\n")
      process:close()
      assert.equal("contact identifier 0042, contact ann\n", read("said"))
    end)
  end)

  describe("balance", function()
    it("prints the balances, or what is missing", function()
      assert.equal("credits\t120\nprepaid\t12.50\n0\n", run("balance.lua 0042"))
      assert.equal("credits\tnot sent\nprepaid\tnot sent\n0\n", run("balance.lua 0043"))
      assert.equal("0044: no contact\n0\n", run("balance.lua 0044"))
      assert.matches("^leat: contact_identifiers%.find: not_found .*\n1\n$", run("balance.lua 9999"))
    end)
  end)

  describe("webhook", function()
    -- HMAC-SHA256 of this text and key, from RFC 4231, test case 2.
    local SECRET, BODY = "Jefe", "what do ya want for nothing?"
    local SIGNATURE = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    local function verify(secret, body, signature)
      return run("webhook.lua " .. signature, ("printf %%s '%s' | WEBHOOK_SECRET=%s "):format(body, secret))
    end

    it("accepts a signature that is right", function()
      assert.equal("valid\n0\n", verify(SECRET, BODY, SIGNATURE))
      assert.equal("valid\n0\n", verify(SECRET, BODY, SIGNATURE:upper()))
    end)

    it("refuses any other", function()
      assert.equal("invalid\n1\n", verify("jefe", BODY, SIGNATURE))
      assert.equal("invalid\n1\n", verify(SECRET, BODY .. " ", SIGNATURE))
      assert.equal("invalid\n1\n", verify(SECRET, BODY, SIGNATURE:sub(1, -2)))
      assert.equal("invalid\n1\n", verify(SECRET, BODY, "''"))
      assert.matches("WEBHOOK_SECRET is not set.*\n1\n$", verify("", BODY, SIGNATURE))
    end)
  end)

  describe("partner", function()
    it("sends the header with every request, also with those for tokens", function()
      assert.equal("Sandbox\n0\n", run("partner.lua", "LEAT_PARTNER_ID=17 "))
      assert.equal("Sandbox\n0\n", run("partner.lua", ("LEAT_API_KEY= LEAT_CLIENT_ID=%s LEAT_CLIENT_SECRET=%s "
        .. "LEAT_PARTNER_ID=17 "):format(server.client_id, server.client_secret)))
      assert.equal(1, #server:requests("token"))
      assert.equal(3, #server:requests())
      for _, request in ipairs(server:requests()) do
        assert.equal("17", request.headers["X-Partner-ID"])
      end
    end)
  end)

  -- ---- the guide ------------------------------------------------------------------------

  describe("in the guide", function()
    local blocks, shown = markdown.blocks("docs/recipes.md"), {}
    local function files()
      local pipe, list = assert(io.popen("ls examples/recipes")), {}
      for name in pipe:lines() do
        list[#list + 1] = name
      end
      pipe:close()
      return list
    end

    for i, block in ipairs(blocks) do
      local name = block.language == "lua" and block.text:match("examples/recipes/([%w_]+%.lua)")
      if block.language == "lua" then
        shown[name or block.line] = true
        it(("is the program: %s"):format(name), function()
          assert.equal(markdown.read("examples/recipes/" .. name), block.text)
        end)

        it(("prints that: %s"):format(name), function()
          local console = blocks[i + 1]
          assert.equal("console", console.language)
          local lines = {}
          for line in console.text:gmatch("[^\n]+") do
            local words = line:match("^%$ (.*)$")
            if words then
              lines[#lines + 1] = line .. "\n" .. shell(words:gsub("lua5%.4", interpreter))
            end
          end
          assert.equal(console.text, table.concat(lines))
        end)
      end
    end

    it("is each of them", function()
      assert.truthy(#files() >= 8)
      for _, name in ipairs(files()) do
        assert.truthy(shown[name], name)
      end
    end)
  end)
end)
