-- Checks what the documents say about the project: files, targets of make, tests, kinds of error.
local markdown = dofile("spec/support/markdown.lua")

local function exists(path)
  local file = io.open(path)
  if file then
    file:close()
  end
  return file ~= nil
end

local targets = {}
for line in markdown.read("Makefile"):gmatch("[^\n]+") do
  for name in (line:match("^([%w_ -]+):[^=]*$") or ""):gmatch("%S+") do
    targets[name] = true
  end
end

local rooms = { core = true, lua = true, rockspec = true, spec = true, examples = true, docs = true }

local function check_names(text)
  for path in text:gmatch("[%w_.-]+/[%w_./-]*%w") do
    if rooms[path:match("^[^/]+")] and path:find("%.%w+$") then
      assert.truthy(exists(path), path .. " is not there")
    end
  end
  for target, behind in ("\n" .. text .. "\n"):gmatch("\nmake ([%a][%w_-]*)(.)") do
    assert.truthy(targets[target] or behind == "=", "make " .. target .. ": no such target")
  end
end

for _, path in ipairs(markdown.documents()) do
  describe(path, function()
    local text = markdown.read(path)

    it("names files and targets of make that exist", function()
      for code in text:gmatch("`([^`\n]+)`") do
        check_names(code)
      end
      for _, block in ipairs(markdown.blocks(path)) do
        if block.language == "sh" then
          check_names(block.text)
        end
      end
    end)
  end)
end

it("the site's navigation has every guide", function()
  local site = markdown.read("spec/support/doc/mkdocs.yml")
  for _, path in ipairs(markdown.documents()) do
    local name = path:match("^docs/(.*)")
    assert.truthy(not name or site:find(": " .. name .. "\n", 1, true), path)
  end
end)

local function check_tests(text)
  local tests = 0
  for file, name in text:gmatch('`(spec/[^`]*)`: "([^"]*)"') do
    assert.truthy(markdown.read(file):find('"' .. name, 1, true), file .. ": " .. name)
    tests = tests + 1
  end
  assert.truthy(tests > 0, text)
end

it("the map of the tests names tests that are there", function()
  check_tests(markdown.read("spec/README.md"))
end)

it("each promise names tests that are there", function()
  local promises = 0
  local text = markdown.read("docs/promises.md"):match("^(.-)\n## ")
  for promise in text:gsub("\n(%*%*%d+%. )", "\1%1"):gmatch("\1([^\1]+)") do
    check_tests(promise)
    promises = promises + 1
  end
  assert.equal(14, promises)
end)

it("the kinds of error are those of the library", function()
  local known, told = {}, {}
  for name in markdown.read("core/error.c"):gmatch('%[LEAT_[%u_]+%] = "([%l_]+)"') do
    known[name] = name ~= "ok" and name ~= "misuse" or nil -- Lua raises misuse
  end
  for name in markdown.read("docs/errors.md"):gmatch("\n| `([%l_]+)`") do
    told[name] = true
  end
  assert.same(known, told)
  for name in pairs(known) do
    assert.truthy(markdown.read("README.md"):find("`" .. name .. "`", 1, true), name)
  end
end)
