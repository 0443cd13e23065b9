-- Renders the guides and the other Markdown files as pages of the site. Paths are as in the tree, so that
-- links work once .md is .html. cmark-gfm renders Markdown as code forges do.
--    lua5.4 spec/support/doc/guides.lua FOLDER docs/index.md README.md ...
local read = dofile("spec/support/read.lua")

local PAGE = [[
<!DOCTYPE html>
<html lang="en"><head><meta charset="UTF-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s - leat</title><link rel="stylesheet" href="%sguides.css"></head>
<body><nav><b>leat</b>
%s
</nav><main>
%s</main></body></html>
]]

-- The table of contents is beside the text if there is room, and above it on a phone.
local STYLE = [[
:root { color-scheme: light dark; --line: #c5ced8; --code: #f0f4f8; --link: #1a5fb4; --quiet: #52606d }
@media (prefers-color-scheme: dark) { :root { --line: #3e4c59; --code: #1f2933; --link: #8ab4f8; --quiet: #9aa5b1 } }
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
body { margin: 0 auto; max-width: 70em; padding: 0 1em 3em }
a { color: var(--link) }
nav { border-bottom: 1px solid var(--line); padding: .7em 0; line-height: 1.9 }
nav a, nav b { margin-right: .8em; white-space: nowrap }
nav a[aria-current] { color: inherit; font-weight: bold; text-decoration: none }
details { color: var(--quiet) }
pre { background: var(--code); border-radius: 6px; overflow-x: auto; padding: .7em 1em; line-height: 1.4 }
code { background: var(--code); border-radius: 3px; font-size: 88%; padding: .1em .2em; overflow-wrap: break-word }
pre code { padding: 0; overflow-wrap: normal }
.table { overflow-x: auto }
table { border-collapse: collapse }
th, td { border: 1px solid var(--line); padding: .3em .6em; text-align: left; vertical-align: top }
td[align=right], th[align=right] { text-align: right; white-space: nowrap }
thead th:empty { border: 0; padding: 0 }
img { max-width: 100%; height: auto }
@media (min-width: 60em) {
  body { display: grid; grid-template-columns: 12em minmax(0, 1fr); column-gap: 2.5em }
  nav { border: 0; position: sticky; top: 0; align-self: start; padding-top: 1.5em }
  nav a, nav b { display: block }
}
]]

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function render(path)
  local pipe = assert(io.popen(("cmark-gfm -e table '%s'"):format(path)))
  local html = pipe:read("*a")
  assert(pipe:close() and html ~= "", "cmark-gfm " .. path .. " failed")
  return html
end

-- Anchors are as on GitHub: in lower case, with dashes for blanks, without other punctuation.
local function anchor(title)
  return (title:gsub("<[^>]*>", ""):gsub("&%a+;", ""):lower():gsub("[^%w%s_-]", ""):gsub(" ", "-"))
end

-- Adds anchors to headings; returns the page and, if it is long, a table of contents.
local function add_anchors(html)
  local sections = {}
  html = html:gsub("<h([23])>(.-)</h%1>", function(level, title)
    if level == "2" then
      sections[#sections + 1] = ('<li><a href="#%s">%s</a></li>'):format(anchor(title), title)
    end
    return ('<h%s id="%s">%s</h%s>'):format(level, anchor(title), title, level)
  end)
  local contents = #sections > 3 and ("<details%s><summary>On this page</summary><ul>\n%s\n</ul></details>\n"):format(
    #sections <= 15 and " open" or "", table.concat(sections, "\n")) or ""
  return html, contents
end

local function to_page(html)
  html = html:gsub('(href="[^":]*)%.md(["#])', "%1.html%2")
  html = html:gsub("<table>.-</table>", '<div class="table">%0</div>')
  local text, contents = add_anchors(html)
  return (text:gsub("</h1>\n", "%0" .. contents:gsub("%%", "%%%%"), 1))
end

local folder = table.remove(arg, 1)
local pages, known = { { path = "docs/index.md", label = "Guides" } }, { ["docs/index.md"] = true }

-- The guides come in the order of the index, then the other files by name.
for label, name in read("docs/index.md"):gmatch("%[([^%]]*)%]%(([%w-]+%.md)%)") do
  known["docs/" .. name] = true
  pages[#pages + 1] = { path = "docs/" .. name, label = label }
end
for _, path in ipairs(arg) do
  if not known[path] then
    pages[#pages + 1] = { path = path, label = path:match("^[^.]*") }
  end
end

local function menu(current, up)
  local links = { ('<a href="%sindex.html">Reference</a>'):format(up) }
  for _, page in ipairs(pages) do
    links[#links + 1] = ('<a href="%s%s"%s>%s</a>'):format(up, page.path:gsub("md$", "html"),
      page == current and ' aria-current="page"' or "", page.label)
  end
  return table.concat(links, "\n")
end

assert(os.execute(("mkdir -p %s/docs && cp -R docs/pictures %s/docs"):format(folder, folder)))
write(folder .. "/guides.css", STYLE)
for _, page in ipairs(pages) do
  local up = page.path:gsub("[^/]+/", "../"):gsub("[^/]*$", "")
  write(folder .. "/" .. page.path:gsub("md$", "html"),
    PAGE:format(page.label, up, menu(page, up), to_page(render(page.path))))
end
