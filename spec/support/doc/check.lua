-- Checks that the pages of LDoc, headers.lua and guides.lua document everything public and have no dead
-- link, and that the pictures are up to date.
--    lua5.4 spec/support/doc/check.lua build/doc LIBRARY...
-- The public names are those in lua/leat/types.lua, which a spec compares with the objects at run time,
-- and the symbols that the C libraries export.
local read = dofile("spec/support/read.lua")
local folder = table.remove(arg, 1)
local wrong, checked = {}, 0

local function complain(...)
  wrong[#wrong + 1] = table.concat({ ... })
end

local function lines_of(command)
  local pipe, list = assert(io.popen(command)), {}
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  pipe:close()
  return list
end

local pages = {} -- by path: the text, and the anchors in it
for _, path in ipairs(lines_of("cd " .. folder .. " && find . -name '*.html' | sed 's|^./||'")) do
  local page = { text = read(folder .. "/" .. path), anchors = {} }
  for name in page.text:gmatch('<a%s+name%s*=%s*"([^"]*)"') do page.anchors[name] = true end
  for name in page.text:gmatch('id="([^"]*)"') do page.anchors[name] = true end
  pages[path] = page
end

-- ---- links --------------------------------------------------------------------------------

-- "modules/a.html" and "../classes/b.html" give "classes/b.html".
local function follow(from, link)
  local path = link == "" and from or (from:match("^.*/") or "") .. link
  local shorter, again = path, 1
  while again > 0 do
    shorter, again = shorter:gsub("[^/]+/%.%./", "", 1)
  end
  return shorter
end

local function is_there(path)
  local file = io.open(folder .. "/" .. path)
  return file and file:close()
end

for path, page in pairs(pages) do
  for link in page.text:gmatch('src="([^"]*)"') do
    if not is_there(follow(path, link)) then
      complain(path, ": dead picture ", link)
    end
  end
  for link in page.text:gmatch('href%s*=%s*"([^"]*)"') do
    local target, at = link:match("^([^#]*)#?(.*)$")
    if target:find("%.css$") then
      if not is_there(follow(path, target)) then
        complain(path, ": dead style sheet ", link)
      end
    elseif not link:find("^https?:") then
      local other = pages[follow(path, target)]
      if not other then
        complain(path, ": dead link ", link)
      elseif at ~= "" and not other.anchors[at] then
        complain(path, ": dead anchor ", link)
      end
    end
  end
end

-- ---- guides -------------------------------------------------------------------------------

for _, path in ipairs(lines_of("ls docs/*.md *.md")) do
  local page = pages[(path:gsub("md$", "html"))]
  if not page then
    complain(path, ": has no page")
  elseif page.text:find("\n<p>|") or read(path):find("\n|") and not page.text:find("<table>", 1, true) then
    complain(path, ": a table is none on its page")
  end
  checked = checked + 1
end

-- The picture of the run in a terminal differs each time, so it is not compared.
for _, name in ipairs { "architecture", "bench" } do
  if read("docs/pictures/" .. name .. ".svg") ~= dofile("spec/support/doc/" .. name .. ".lua")() then
    complain("docs/pictures/", name, ".svg is not what make pictures draws today")
  end
  checked = checked + 1
end

-- ---- Lua ----------------------------------------------------------------------------------

-- The page that documents each class of types.lua, and the prefix of its functions' names there.
local places = {
  ["leat"] = { "modules/leat.html", "" },
  ["leat.Options"] = { "modules/leat.html" },
  ["leat.Attempt"] = { "modules/leat.html" },
  ["leat.Error"] = { "modules/leat.html" },
  ["leat.Client"] = { "modules/leat.html", "Client:" },
  ["leat.ContactIdentifiers"] = { "modules/leat.html", "contact_identifiers:" },
  ["leat.CreateOptions"] = { "modules/leat.html" },
  ["leat.UpdateOptions"] = { "modules/leat.html" },
  ["leat.ExpectOptions"] = { "modules/leat.html" },
  ["leat.ListOptions"] = { "modules/leat.html" },
  ["leat.ContactIdentifier"] = { "classes/leat.contact_identifier.html", "leat.contact_identifier:" },
  ["leat.environment"] = { "modules/leat.environment.html", "" },
  ["leat.tasks"] = { "modules/leat.tasks.html", "" },
  ["leat.EachOptions"] = { "modules/leat.tasks.html" },
  ["leat.Progress"] = { "modules/leat.tasks.html" },
  ["leat.Task"] = { "modules/leat.tasks.html", "Task:" },
  ["leat.jobs"] = { "modules/leat.jobs.html", "" },
  ["leat.JobStore"] = { "modules/leat.jobs.html", "Store:" },
  ["leat.Job"] = { "modules/leat.jobs.html", "Job:" },
  ["leat.Run"] = { "modules/leat.jobs.html", "Run:" },
  ["leat.PlanOptions"] = { "modules/leat.jobs.html" },
  ["leat.RunOptions"] = { "modules/leat.jobs.html" },
  ["leat.RetryOptions"] = { "modules/leat.jobs.html" },
  ["leat.JobFile"] = { "modules/leat.jobs.html" },
  ["leat.JobError"] = { "modules/leat.jobs.html" },
  ["leat.JobRow"] = { "modules/leat.jobs.html" },
  ["leat.JobProgress"] = { "modules/leat.jobs.html" },
  ["leat.JobSummary"] = { "modules/leat.jobs.html" },
  ["leat.JobResult"] = { "modules/leat.jobs.html" },
  ["leat.curl"] = { "modules/leat.curl.html", "" },
  ["leat.Driver"] = { "modules/leat.curl.html", "Driver:" },
  ["leat.Request"] = { "modules/leat.transport.html" },
  ["leat.transport"] = { "modules/leat.transport.html", "" },
  ["leat.recorder"] = { "modules/leat.recorder.html", "" },
  ["leat.sandbox"] = { "modules/leat.sandbox.html", "" },
  ["leat.SandboxOptions"] = { "modules/leat.sandbox.html" },
  ["leat.Fault"] = { "modules/leat.sandbox.html" },
  ["leat.Sandbox"] = { "modules/leat.sandbox.html", "Sandbox:" },
  -- documented with the functions that return them
  ["leat.Info"] = false, ["leat.RateLimit"] = false, ["leat.Contact"] = false,
}

-- Returns the names that begin items of lists: "<li><code>a</code>, <code>b</code> the wait ...".
local function listed(page)
  page.listed = page.listed or {}
  for item in page.text:gmatch("<li>%s*(<code>[^\n]*)") do
    repeat
      local name, rest = item:match("^<code>([%w_]+)</code>(.*)$")
      page.listed[name or ""] = true
      item = name and rest:match("^,? ?a?n?d? ?(<code>.*)$")
    until not item
  end
  return page.listed
end

-- Documented within the item of another option, or with the method that takes them.
local within = { access_token = true, client_id = true, client_secret = true, token = true, token_url = true,
  token_lifetime = true, rate_window = true, progress_every = true, name = true, active = true,
  expect = true }

-- Options need an item of a list; for other fields it is enough that the page names them.
local function check_field(class, name)
  local page = places[class] and pages[places[class][1]]
  local is_option = not within[name] and (class:find("Options$") or class == "leat.Fault")
  if page and not page.anchors[name] and not (is_option and listed(page)[name])
    and (is_option or not page.text:find("<code>[^<]*%f[%w_]" .. name .. "%f[^%w_]"))
    and not page.text:find('<span class="parameter">' .. name .. "</span>", 1, true)
    and not page.text:find(">" .. name .. "</a>", 1, true) then
    complain(places[class][1], ": nothing of ", class, "'s ", name)
  end
end

local class, variables = nil, {}
for line in io.lines("lua/leat/types.lua") do
  local variable, method = line:match("^function ([%w_]+)[.:]([%w_]+)%(")
  local field = line:match("^%-%-%-@field ([%w_]+)")
  class = line:match("^%-%-%-@class ([%w_.]+)$") or class
  if line:find("^%-%-%-@class") and places[class] == nil then
    complain("spec/support/doc/check.lua does not know where ", class, " is documented")
  elseif line:find("^local [%w_]+ = {}$") then
    variables[line:match("^local ([%w_]+)")] = class
  elseif field then
    check_field(class, field)
    checked = checked + 1
  elseif variable then
    local place = places[variables[variable]]
    local prefix = place[2]
    local dotted = prefix:gsub(":$", ".") .. method
    if not pages[place[1]].anchors[prefix .. method] and not pages[place[1]].anchors[dotted] then
      complain(place[1], ": ", prefix, method, " is not documented")
    end
    checked = checked + 1
  end
end

-- Modules that not every Lua can load, with the functions in their tables.
for _, module in ipairs { "cqueues", "driver", "luv", "nginx" } do
  local text = read("lua/leat/" .. module .. ".lua")
  local variable = text:match("\nreturn ([%w_]+)%s*$")
  for name in text:gmatch("\nfunction " .. variable .. "%.([%w_]+)%(") do
    checked = checked + 1
    if not pages["modules/leat." .. module .. ".html"].anchors[name] then
      complain("modules/leat.", module, ".html: ", name, " is not documented")
    end
  end
end

-- ---- C ------------------------------------------------------------------------------------

-- A function is documented by a comment in its own paragraph of the header.
local documented = {}
for _, header in ipairs { "leat", "leat_json", "leat_driver", "curl/leat_curl", "sandbox/leat_sandbox" } do
  local text = read("core/" .. header .. ".h") .. "\n\n"
  for paragraph in text:gmatch("(.-)\n\n+") do
    local commented = paragraph:find("/%*") or paragraph:find("%*/")
    for name in paragraph:gmatch("([%w_]+)%(") do
      documented[name] = documented[name] or commented and pages[header:match("[^/]+$") .. ".h.html"].anchors[name]
    end
  end
end
for _, library in ipairs(arg) do
  for _, line in ipairs(lines_of("nm -g --defined-only " .. library)) do
    local name = line:match(" T (leat_[%w_]+)$")
    if name and not name:find("^leat__") then
      checked = checked + 1
      if not documented[name] then
        complain(name, " is exported, and not documented")
      end
    end
  end
end

table.sort(wrong)
print(table.concat(wrong, "\n"))
print(("doc: %d passed, %d failed"):format(checked, #wrong))
os.exit(#wrong == 0 and checked > 200)
