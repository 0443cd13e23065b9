-- Checks the README's form, and runs its commands that install nothing. spec/support/fresh.sh runs those that do, and
-- spec/snippets_spec.lua runs the examples of Lua and of the console.
local markdown = dofile("spec/support/markdown.lua")
local reserve_port = dofile("spec/support/port.lua")

local interpreter = dofile("spec/support/interpreter.lua")

local function is_long(line)
  return #line > 120 and not line:find("^|") and not line:find("](", 1, true)
end

local function commands_of(title)
  local text = {}
  for _, block in ipairs(markdown.blocks("README.md")) do
    if block.title == title and block.language == "sh" then
      table.insert(text, block.text)
    end
  end
  assert(#text > 0, title)
  return table.concat(text)
end

-- The command in the path is that of this tree. The shell ends once the sandbox, which it stops, has ended.
local SHELL = [[
exec 2>&1 </dev/null
folder=$(mktemp -d)
echo 'exec %s "'$PWD'/lua/bin/leat" "$@"' >$folder/leat
chmod 755 $folder/leat
PATH=$folder:$PATH
unset LEAT_API_KEY_FILE LEAT_CLIENT_ID LEAT_CLIENT_SECRET LEAT_DB LEAT_RATE
%s
kill $!
wait
rm -r $folder]]

describe("the README", function()
  it("has at most 200 lines, of which only tables and links are long", function()
    local lines = 0
    for line in markdown.read("README.md"):gmatch("([^\n]*)\n") do
      lines = lines + 1
      assert.is_false(is_long(line), line)
    end
    assert.is_true(lines <= 200, lines)
  end)

  it("leads to a card in the sandbox", function()
    local commands = commands_of("A key, or the sandbox"):gsub("8082", reserve_port())
    local pipe = assert(io.popen(SHELL:format(interpreter, commands)))
    local printed = pipe:read("*a")
    pipe:close()
    assert.truthy(printed:find("0042: linked: active, contact ann (ann@example.org)\n", 1, true), printed)
  end)
end)
