-- Prints the manual page of the `leat` command, or its completion script for a shell.
--    lua5.4 rockspec/manual.lua man VERSION
--    lua5.4 rockspec/manual.lua bash|zsh|fish
package.path = "lua/?.lua;" .. package.path
local completion = require("leat.cli.completion")
local declare = require("leat.cli.declare")
local status = require("leat.cli.status")

local ENVIRONMENT = {
  { "LEAT_API_KEY", "The API key. It is never an argument, because other users of the machine can see those." },
  { "LEAT_API_KEY_FILE", "A file whose first line is the API key." },
  { "LEAT_CLIENT_ID, LEAT_CLIENT_SECRET", "OAuth credentials, instead of a key." },
  { "LEAT_BASE_URL", "The base URL of the API, such as that of 'leat sandbox'." },
  { "LEAT_RATE", "The number of requests per second at most." },
  { "LEAT_DB", "The journal of imports." },
  { "NO_COLOR", "If it is set and not empty, a terminal gets plain text." },
  { "https_proxy, no_proxy", "The proxy to use, and the hosts for which it is not used, as in curl." },
}

local EXAMPLES = {
  { "Show a card:", "leat find 0042" },
  { "Deactivate two cards:", "leat update 0042 0043 --inactive" },
  { "Move a card to another contact, only if it belongs to the one that it should:",
    "leat unlink 0043 --expect bob --yes\nleat link 0043 --email ann@example.org" },
  { "Create a card for a contact, or complete the one that exists:", "leat ensure 0045 --contact ann" },
  { "Find each card of a list, ten at a time, for another program:",
    "leat --json --concurrency 10 find - <cards.txt" },
  { "Import a file of cards: first look at what would be done, then do it:",
    "leat import cards.csv --dry-run\nleat import cards.csv" },
  { "Call any other endpoint:", "leat request GET /contacts/find-one-by --query email=ann@example.org" },
}

-- ---- roff -------------------------------------------------------------------------------

local function escape(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("'", "\\(aq"):gsub("%f[^\n%z]%.", "\\&."))
end

-- Sets options and commands in bold, and what stands for a value in italics.
local function synopsis(text)
  return (escape(text):gsub("\\%-[%w\\-]+", "\\fB%0\\fP"):gsub("%f[%w_]%u[%u=]+%f[^%w_]", "\\fI%0\\fP"))
end

local function section(name, text)
  print(".SH " .. name .. (text and "\n" .. escape(text) or ""))
end

local function entry(label, text)
  print(".TP\n" .. label .. "\n" .. escape(text))
end

local function parts(list, but)
  for _, part in ipairs(list) do
    if part.label ~= but and part.text ~= "" then
      entry(synopsis(part.label), part.text)
    end
  end
end

-- ---- the parser's declarations ----------------------------------------------------------

-- Describes the program or a command, with its arguments and options.
local function describe(name, element)
  local list = {}
  for _, elements in ipairs { element._arguments, element._options } do
    for _, one in ipairs(elements) do
      list[#list + 1] = { label = table.concat(one:_get_label_lines(), " "), text = one:_get_description() }
    end
  end
  return { name = name, usage = element:usage_max_width(1000):get_usage(), text = element._description, parts = list }
end

-- Adds a chapter for each command of an element, with those of its own, such as `job run`.
local function add_chapters(chapters, element, prefix)
  for _, one in ipairs(element._commands) do
    chapters[#chapters + 1] = describe(prefix .. one._name, one)
    add_chapters(chapters, one, prefix .. one._name .. " ")
  end
  return chapters
end

local function describe_all()
  local root = declare()
  return describe("leat", root), add_chapters({}, root, "")
end

-- ---- sections ---------------------------------------------------------------------------

local function command(chapter)
  local usage = chapter.usage:sub(#("Usage: leat " .. chapter.name) + 1):gsub("^%s+", ""):gsub("%[%-h%]%s*", "")
  print((".SS %s\n\\fBleat %s\\fP %s\n.PP\n%s"):format(chapter.name, chapter.name, synopsis(usage),
    escape(chapter.text)))
  parts(chapter.parts, "-h, --help")
end

-- The rows of the help begin with a number and two blanks; a text's further lines are indented more.
local function exit_statuses()
  local rows = {}
  for line in status.help:match("^Exit status:\n(.-\n)\n"):gmatch("[^\n]+") do
    local numbers, text = line:match("^   ([%d, ]-%d):? +(.+)")
    if numbers then
      rows[#rows + 1] = { numbers, text }
    else
      rows[#rows][2] = rows[#rows][2] .. line:gsub("^ +", " ")
    end
  end
  return rows
end

local function entries(rows, font)
  for _, row in ipairs(rows) do
    entry(font .. escape(row[1]) .. "\\fP", row[2])
  end
end

local function examples()
  for _, example in ipairs(EXAMPLES) do
    print((".PP\n%s\n.PP\n.RS 4\n.EX\n%s\n.EE\n.RE"):format(escape(example[1]), escape(example[2])))
  end
end

local function manual(version)
  local program, chapters = describe_all()
  print((".TH LEAT 1 \"\" \"leat %s\" \"User Commands\"\n.nh\n.ad l"):format(version))
  section("NAME", "leat - manage the contact identifiers (loyalty cards) of the Leat loyalty service")
  section("SYNOPSIS")
  print("\\fBleat\\fP [\\fIOPTION\\fP]... \\fICOMMAND\\fP [\\fIARGUMENT\\fP]...")
  section("DESCRIPTION", program.text)
  print(".PP\n" .. escape("Commands that take several values process several at a time, and print the results in the "
    .. "order of the values. Results go to standard output; notices, progress and errors go to standard error. "
    .. "With '--json' failures too go to standard output. A value that begins with '-' must follow '--'."))
  section("OPTIONS")
  parts(program.parts)
  section("COMMANDS")
  for _, chapter in ipairs(chapters) do
    command(chapter)
  end
  section("EXIT STATUS")
  entries(exit_statuses(), "\\fB")
  section("ENVIRONMENT", "Options win over the environment.")
  entries(ENVIRONMENT, "\\fB")
  section("EXAMPLES")
  examples()
  section("SEE ALSO", "The guides command.md, importing.md and errors.md, in the folder docs of the source. "
    .. "'luarocks doc leat' opens the guides that were installed with the rock, and 'make doc' makes a site of them.")
end

local kind, version = ...
if kind == "man" then
  manual(version)
else
  io.write(completion(kind))
end
