-- Writes a Markdown page for each Lua module, from the comments that LDoc has read. LDoc calls it as a filter:
--    DOC_PAGES=FOLDER ldoc --filter lua_pages.write -c spec/support/doc/config.ld .
-- A public name without a text, or an option without a type, a unit or a default, is an error.
local folder = os.getenv("DOC_PAGES")
local wrong = {}

local function complain(...)
  wrong[#wrong + 1] = table.concat({ ... })
end

-- ---- text ---------------------------------------------------------------------------------

local function line_of(text)
  return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

-- Comments are Markdown, but LDoc keeps their indentation: prose has one blank, items of a list three, and code four.
local function paragraph(text, language)
  if text:find("^    ") then
    return ("```%s\n%s\n```"):format(language, (("\n" .. text):gsub("\n    ", "\n"):sub(2)))
  end
  return (("\n" .. text):gsub(text:find("^   %*") and "\n   " or "\n ", "\n"):sub(2))
end

local function prose(text, language)
  local parts = {}
  for part in (text:gsub("^\n+", ""):gsub("%s+$", "") .. "\n\n"):gmatch("(.-)\n\n+") do
    local last = parts[#parts]
    if part:find("^    ") and last and last:find("^    ") then
      parts[#parts] = last .. "\n\n" .. part -- a blank line within code
    else
      parts[#parts + 1] = part
    end
  end
  for i, part in ipairs(parts) do
    parts[i] = paragraph(part, language)
  end
  return table.concat(parts, "\n\n")
end

-- ---- parameters, options and fields ----------------------------------------------------------

local counts = { number = true, integer = true }

-- Returns what is said beside a name: "number (seconds), default: 30".
local function kind(where, name, mods, is_option)
  if is_option then
    if not mods.type then complain(where, ": ", name, " has no type") end
    if counts[mods.type] and not mods.unit then complain(where, ": ", name, " has no unit") end
    if mods.opt == true then complain(where, ": ", name, " has no default") end
  end
  local of = (mods.type or ""):gsub("|", " or ") .. (mods.unit and (" (%s)"):format(mods.unit) or "")
  local default = (mods.opt == true or mods.opt == "none") and "optional" or mods.opt and "default: " .. mods.opt
    or is_option and "required"
  return of .. (of ~= "" and default and ", " or "") .. (default or "")
end

-- Writes a definition list; that of the fields of a table is within the item of the table.
local function definitions(out, where, item, names, indent)
  local mods = item.modifiers[item.parameter] or {}
  for _, name in ipairs(names) do
    local text, fields = line_of(item.params.map[name] or ""), item.subparams[name]
    local said = kind(where, name, mods[name] or {}, indent or item.type == "table" and (mods[name] or {}).opt)
    if text == "" then complain(where, ": nothing is said of ", name) end
    out[#out + 1] = ("%s`%s`%s\n%s:   %s\n"):format(indent or "", name:match("[^.]+$") or name,
      said ~= "" and (" *%s*"):format(said) or "", indent or "", text)
    if fields then
      definitions(out, where, item, fields, "    ")
    end
  end
end

local function returns(out, item)
  for i, text in ipairs(item.ret or {}) do
    local of = (item.modifiers["return"][i] or {}).type
    out[#out + 1] = ("%s %s%s\n"):format(i == 1 and "**Returns**" or "then", of and ("*%s* "):format(of) or "",
      line_of(text))
  end
  if item.raise then
    out[#out + 1] = ("**Raises** %s\n"):format(line_of(item.raise))
  end
end

-- ---- pages -----------------------------------------------------------------------------------

-- "Client:close" is shown as client:close, and a function of the module leat.tasks as tasks.spawn.
local function full_name(module, item)
  local name = item.name:gsub("^%u", string.lower)
  return (item.type == "table" or name:find("[.:]")) and name or module.name:match("[^.]+$") .. "." .. name
end

local function write_item(out, module, item, language)
  local name = full_name(module, item)
  local text = prose(" " .. item.summary .. item.description, language)
  if item.summary == "" then complain(module.name, ": ", name, " has no text") end
  local args = item.type == "function" and item.args:gsub("=[^%[%]]*", "") or "" -- without defaults
  out[#out + 1] = ("### `%s%s` { #%s }\n"):format(name, args, (name:gsub(":", ".")))
  out[#out + 1] = text .. "\n"
  definitions(out, name, item, item.params or {})
  returns(out, item)
end

local titles = { cards = "Methods of `client.contact_identifiers`" }

-- Functions come first, then methods by their object, then tables; otherwise the order is that of the source.
local function groups(module)
  local list, by_title = {}, {}
  local function add(title, item)
    if not by_title[title] then
      by_title[title] = {}
      list[#list + 1] = { title = title, items = by_title[title] }
    end
    table.insert(by_title[title], item)
  end
  for _, what in ipairs { "function", "method", "field", "table" } do
    for _, item in ipairs(module.items) do
      local object = full_name(module, item):match("^(.*):")
      if what == "method" and object then
        add(titles[object] or ("Methods of a %s"):format(object), item)
      elseif item.type == what and not object then
        add(({ ["function"] = "Functions", field = "Constants", table = "Tables" })[what], item)
      end
    end
  end
  return list
end

local function page(module)
  local language = module.name == "leat.nginx" and "nginx" or "lua"
  local out = { "# " .. module.name .. "\n", prose(" " .. module.summary .. module.description, language) .. "\n" }
  for _, group in ipairs(groups(module)) do
    out[#out + 1] = "## " .. group.title .. "\n"
    for _, item in ipairs(group.items) do
      write_item(out, module, item, language)
    end
  end
  return table.concat(out, "\n")
end

local function write(modules)
  for _, module in ipairs(modules) do
    local file = assert(io.open(("%s/%s.md"):format(folder, module.name), "w"))
    file:write(page(module))
    file:close()
  end
  for _, text in ipairs(wrong) do
    io.stderr:write("doc: ", text, "\n")
  end
  os.exit((#wrong > 0 or require("ldoc.doc").Item.had_warning) and 1 or 0)
end

return { write = write }
