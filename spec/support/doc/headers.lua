-- Renders the C headers as pages. The headers are the manual, so a page is the header itself, with
-- an anchor for each name, a link for each mention, and a table of contents by sections.
--    lua5.4 spec/support/doc/headers.lua FOLDER core/leat.h ...
local PAGE = [[
<!DOCTYPE html>
<html><head><meta charset="UTF-8"><meta name="viewport" content="width=device-width"><title>%s</title>
<link rel="stylesheet" href="ldoc.css">
<style>pre { white-space: pre-wrap; font-size: 90%% } .c { color: #35682d } a[id] { font-weight: bold }</style></head>
<body><div id="container"><p><a href="index.html">leat</a> for Lua, %s</p><h1>%s</h1>
%s
<pre>%s</pre></div></body></html>
]]

local read = dofile("spec/support/read.lua")

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

-- Returns the names that a line of code declares at the outermost level: functions, types, constants.
local function declared(line)
  return line:match("^LEAT_API.-([%w_]+)%(") or line:match("^#define (LEAT_[%w_]+) ")
    or line:match("^struct ([%w_]+) {") or line:match("^typedef %a+ [%w_]+ ([%w_]+);")
    or line:match("^typedef %a+ ([%w_]+) {")
    or line:match("^  (LEAT_[%u%d_]+)[, =]") or line:match("^  (LEAT_[%u%d_]+)$")
end

-- A declaration may begin on the line before.
local function joined(text)
  return (text:gsub("(LEAT_API[^\n(]*)\n *(leat_[%w_]+%()", "%1 %2"))
end

local names = {} -- maps each name to its page

local function collect(text, page)
  local sections, title = {}, "Constants"
  for line in text:gmatch("[^\n]+") do
    title = line:match("^/%* %-%-%-%- (.-) %-+ %*/$") or title
    local name = declared(line)
    if name and not names[name] then
      names[name] = page
      local last = sections[#sections]
      if not last or last.title ~= title then
        last = { title = title }
        sections[#sections + 1] = last
      end
      last[#last + 1] = name
    end
  end
  return sections
end

local function contents(sections)
  local lines = {}
  for _, section in ipairs(sections) do
    local links = {}
    for i, name in ipairs(section) do
      links[i] = ('<a href="#%s">%s</a>'):format(name, name)
    end
    lines[#lines + 1] = ("<p><b>%s</b>: %s</p>"):format(escape(section.title), table.concat(links, ", "))
  end
  return table.concat(lines, "\n")
end

local function render(text, page)
  local seen = {}
  local function mark(name)
    local home = names[name]
    if home == page and not seen[name] and not seen.quiet then
      seen[name] = true
      return ('<a id="%s">%s</a>'):format(name, name)
    end
    return home and ('<a href="%s#%s">%s</a>'):format(home == page and "" or home, name, name) or name
  end
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do
    local name = declared(line)
    lines[#lines + 1] = escape(line):gsub("[%a_][%w_]+", function(word)
      seen.quiet = word ~= name
      return mark(word)
    end)
  end
  return (table.concat(lines, "\n"):gsub("/%*.-%*/", '<span class="c">%0</span>'))
end

local folder = table.remove(arg, 1)
local pages, links = {}, {}
for i, path in ipairs(arg) do
  local name = path:match("[^/]+$")
  pages[i] = { name = name, file = name .. ".html", text = joined(read(path)) }
  pages[i].sections = collect(pages[i].text, pages[i].file)
  links[i] = ('<a href="%s">%s</a>'):format(pages[i].file, name)
end
for _, page in ipairs(pages) do
  local file = assert(io.open(folder .. "/" .. page.file, "w"))
  file:write(PAGE:format(page.name, table.concat(links, ", "), page.name, contents(page.sections),
    render(page.text, page.file)))
  file:close()
end
