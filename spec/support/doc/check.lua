-- Checks the site: that no link is dead, that everything public has its place, and that the pictures are up to date.
--    lua5.4 spec/support/doc/check.lua build/doc VERSION LIBRARY...
-- The public names are those in lua/leat/types.lua, which a spec compares with the objects at run time,
-- and the symbols that the C libraries export.
local read = dofile("spec/support/read.lua")
local folder, version = table.remove(arg, 1), table.remove(arg, 1)
local wrong, checked = {}, 0

local function expect(good, ...)
  checked = checked + 1
  if not good then
    wrong[#wrong + 1] = table.concat({ ... })
  end
end

local function lines_of(command)
  local pipe, list = assert(io.popen(command)), {}
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  pipe:close()
  return list
end

-- ---- pages and links ----------------------------------------------------------------------

local pages, sections = {}, {} -- by path, and by anchor: what is between two headings

for _, path in ipairs(lines_of("cd " .. folder .. " && find . -name '*.html' | sed 's|^./||'")) do
  local page = { text = read(folder .. "/" .. path), anchors = { [""] = true } }
  for name in page.text:gmatch('id="([^"]*)"') do
    expect(not page.anchors[name], path, ": two anchors ", name)
    page.anchors[name] = true
  end
  for name, from in page.text:gmatch('<h%d id="([^"]*)"()') do
    sections[name] = sections[name] or page.text:sub(from, page.text:find("<h%d id=", from))
  end
  pages[path] = page
end

-- "reference/lua/a.html" and "../../b.html" give "b.html".
local function follow(from, link)
  local path, again = (from:match("^.*/") or "") .. link, 1
  while again > 0 do
    path, again = path:gsub("[^/]+/%.%./", "", 1)
  end
  return path
end

local function check_link(from, link)
  local target, anchor = link:match("^([^#?]*)[^#]*#?(.*)$")
  target = target == "" and from or follow(from, target)
  local file = pages[target] or io.open(folder .. "/" .. target)
  expect(file, from, ": dead link ", link)
  expect(not pages[target] or pages[target].anchors[anchor], from, ": dead anchor ", link)
end

for path, page in pairs(pages) do
  for link in page.text:gmatch('%f[%w]href="([^"]*)"') do
    if not link:find("^%a+:") then
      check_link(path, link)
    end
  end
  for link in page.text:gmatch('%f[%w]src="([^"]*)"') do
    expect(not link:find("^%a+:"), path, ": needs the network: ", link)
    check_link(path, link)
  end
  local prose = page.text:gsub("<script.-</script>", ""):gsub("<pre.-</pre>", ""):gsub("<code.-</code>", "")
  expect(not prose:find("\n<p>|") and not prose:find("](", 1, true) and not prose:find("{ #", 1, true), path,
    ": has a table or a link that is none")
  expect(page.text:find("leat " .. version, 1, true), path, ": lacks the version")
  expect(path == "index.html" or pages["index.html"].text:find('href="' .. path .. '" class="md-nav__link"', 1, true),
    path, ": is not in the navigation")
end

-- ---- Lua ----------------------------------------------------------------------------------

-- The object whose methods a class of types.lua describes, as the reference calls it; by default, its name.
local objects = { ContactIdentifiers = "cards", ContactIdentifier = "card", JobStore = "store" }

-- The sections that list the fields of a class.
local lists = {
  Options = "leat.new", Attempt = "attempt", Error = "err", Info = "info", CreateOptions = "cards.create",
  UpdateOptions = "cards.update", ExpectOptions = "cards.unlink", ListOptions = "cards.list",
  EachOptions = "tasks.each", Progress = "progress", PlanOptions = "store.plan", RunOptions = "job.run",
  RetryOptions = "job.retry", SandboxOptions = "sandbox.start", Fault = "fault", JobRow = "row", Job = "job",
  JobProgress = "job_progress", JobSummary = "summary", JobResult = "result", Health = "health",
}

local function check_field(class, name)
  local section = lists[class]
  local text = section and sections[section] or ""
  if section == "job.run" then
    text = text .. sections["job.start"] -- job:run takes these options, too
  end
  expect(not section or text:find("<dt><code>" .. name .. "</code>", 1, true), "the reference's ", section,
    " lacks ", name)
end

local class, variables = nil, {}
for line in io.lines("lua/leat/types.lua") do
  local variable, method = line:match("^function ([%w_]+)[.:]([%w_]+)%(")
  local field = line:match("^%-%-%-@field ([%w_]+)")
  class = line:match("^%-%-%-@class leat%.?([%w_]*)$") or class
  if line:find("^local [%w_]+ = {}$") then
    variables[line:match("^local ([%w_]+)")] = class == "" and "leat" or class
  elseif field then
    check_field(class, field)
  elseif variable then
    local object = objects[variables[variable]] or variables[variable]:lower()
    expect(sections[object .. "." .. method], "the reference lacks ", object, ".", method)
  end
end

-- Modules that not every Lua can load, with the functions in their tables.
for _, module in ipairs { "cqueues", "driver", "luv", "nginx" } do
  for name in read("lua/leat/" .. module .. ".lua"):gmatch("\nfunction %a+%.([%w_]+)%(") do
    expect(sections[module .. "." .. name], "the reference lacks ", module, ".", name)
  end
end

-- ---- C ------------------------------------------------------------------------------------

for _, library in ipairs(arg) do
  for _, line in ipairs(lines_of("nm -g --defined-only " .. library)) do
    local name = line:match(" T (leat_[%w_]+)$")
    if name and not name:find("^leat__") then
      expect(sections[name], name, " is exported, and not documented")
    end
  end
end

-- ---- pictures -----------------------------------------------------------------------------

expect(read("docs/pictures/bench.svg") == dofile("spec/support/doc/bench.lua")(),
  "docs/pictures/bench.svg is not what make pictures draws today")

table.sort(wrong)
print(table.concat(wrong, "\n"))
print(("doc: %d passed, %d failed"):format(checked, #wrong))
os.exit(#wrong == 0 and checked > 200)
