-- Finds the columns of a file that an operation uses, and rejects cells that are damaged.
--
-- Spreadsheets damage card numbers silently. A damaged value must not become a card, so such cells are rejected
-- with a reason that says what happened. No cell is repaired: the bytes that were given are the bytes that are sent.
local columns = {}

local bits = require("leat.csv.core").given
local schema = require("leat.options")

local byte, find, lower, match, sub = string.byte, string.find, string.lower, string.match, string.sub

local MAX_VALUE = 64 * 1024 -- as LEAT_MAX_VALUE of the core
local MAX_LISTED = 20
local MAX_QUOTED = 40

-- The columns that each operation uses, and of which of them a row needs at least one.
local OPERATIONS = {
  find = { uses = { "value" } },
  create = { uses = { "value", "name", "contact_uuid", "contact_email" } },
  ensure = { uses = { "value", "name", "contact_uuid", "contact_email" } },
  link = { uses = { "value", "contact_uuid", "contact_email" }, needs = { "contact_uuid", "contact_email" } },
  unlink = { uses = { "value", "expect" } },
  update = { uses = { "value", "name", "active", "expect" }, needs = { "name", "active" } },
  delete = { uses = { "value", "expect" } },
}

local BOOLEANS = {
  ["true"] = true, yes = true, ["1"] = true, active = true,
  ["false"] = false, no = false, ["0"] = false, inactive = false,
}

-- Returns the text for a message: without control characters, and not too long.
local function quote(text)
  text = text:gsub("%c", "?")
  if #text > MAX_QUOTED then
    text = match(sub(text, 1, MAX_QUOTED), "^(.-)[\192-\255]?[\128-\191]*$") .. "..."
  end
  return '"' .. text .. '"'
end

-- ---- characters ----------------------------------------------------------------------

-- Code points that do not show, or look like a space, as pairs of first and last. No-break spaces, zero-width
-- characters, marks of direction and the soft hyphen come with text that was copied from web pages.
local INVISIBLE = {
  0x80, 0xA0, 0xAD, 0xAD, 0x34F, 0x34F, 0x61C, 0x61C, 0x115F, 0x1160, 0x1680, 0x1680, 0x17B4, 0x17B5, 0x180B, 0x180F,
  0x2000, 0x200F, 0x2028, 0x202F, 0x205F, 0x206F, 0x2800, 0x2800, 0x3000, 0x3000, 0x3164, 0x3164, 0xFE00, 0xFE0F,
  0xFEFF, 0xFEFF, 0xFFA0, 0xFFA0, 0xFFF9, 0xFFFB, 0xE0000, 0xE0FFF,
}
-- These join letters in some scripts, or select how an emoji looks: names may contain them.
local IN_NAMES = { [0x200C] = true, [0x200D] = true, [0xFE0E] = true, [0xFE0F] = true, [0x3000] = true }
local DESCRIPTIONS = {
  [0x09] = "a tab", [0x0A] = "a line break", [0x0D] = "a line break", [0x20] = "a blank",
  [0xA0] = "a no-break space (U+00A0)", [0xFEFF] = "a byte order mark (U+FEFF)",
}

local function is_invisible(code)
  for i = 1, #INVISIBLE, 2 do
    if code <= INVISIBLE[i + 1] then
      return code >= INVISIBLE[i]
    end
  end
  return false
end

-- Returns the code point of a lead byte with its continuation bytes, or nil if it is not UTF-8.
local function decode(character)
  local first, length = byte(character), #character
  local expected = first < 0x80 and 1 or first < 0xC2 and 0 or first < 0xE0 and 2 or first < 0xF0 and 3
    or first < 0xF5 and 4 or 0
  if length ~= expected then
    return nil
  end
  local code = length == 1 and first or first % 2 ^ (7 - length)
  for i = 2, length do
    code = code * 64 + byte(character, i) % 64
  end
  local overlong = length == 3 and code < 0x800 or length == 4 and code < 0x10000
  local valid = not overlong and code <= 0x10FFFF and (code < 0xD800 or code > 0xDFFF)
  return valid and code or nil
end

local function describe(code)
  return DESCRIPTIONS[code] or code < 0x20 and ("a control character (U+%04X)"):format(code)
    or code >= 0x7F and code < 0xA0 and ("a control character (U+%04X)"):format(code)
    or ("an invisible character (U+%04X)"):format(code)
end

local NOT_UTF8 = "is not UTF-8: save the file as CSV UTF-8"

-- Returns whether a string is UTF-8 without NUL bytes.
function columns.is_text(text)
  if not find(text, "[%z\128-\255]") then
    return true
  elseif find(text, "^[\128-\191]") or find(text, "\0", 1, true) then
    return false
  end
  for character in text:gmatch("[^\128-\191][\128-\191]*") do
    if not decode(character) then
      return false
    end
  end
  return true
end

-- Returns what is wrong with the characters of a text, or nil. `allowed` are characters that do no harm in it.
local function wrong_characters(text, allowed)
  if find(text, "\0", 1, true) then
    return "contains a NUL byte"
  elseif find(text, "^[\128-\191]") then
    return NOT_UTF8
  end
  local problem
  for at, character, after in text:gmatch("()([^\128-\191][\128-\191]*)()") do
    local code = decode(character)
    if not code then
      return NOT_UTF8
    elseif code == 0xFFFD then
      problem = problem or "contains U+FFFD: a letter was lost when the file was converted"
    elseif (code <= 0x20 or code == 0x7F or is_invisible(code)) and not allowed[code] then
      local where = at == 1 and "begins with " or after > #text and "ends with " or "contains "
      problem = problem or where .. describe(code)
    end
  end
  return problem
end

-- ---- cells ---------------------------------------------------------------------------

local ERRORS = { ["#N/A"] = true, ["#NV"] = true, ["#DIV/0!"] = true, ["#GETTING_DATA"] = true }

-- Returns what a spreadsheet wrote instead of the text, or nil.
local function spreadsheet_text(text)
  if ERRORS[text] or find(text, "^#%u[%u%d/_]*[!?]$") or find(text, "^Err:%d+$") then
    return ("is a spreadsheet's error, %s"):format(text)
  elseif find(text, "^##+$") then
    return "is ####, not a text: the spreadsheet's column was too narrow"
  elseif find(text, '^="') then
    return ("is a formula, %s: save its result as text"):format(quote(text))
  end
end

local AS_TEXT = ": format the spreadsheet's column as text, and enter the values again"

-- Returns how a spreadsheet changed the digits of a value that it took for a number, or nil. "5E-12" may be a
-- value; a spreadsheet writes a fraction before a negative exponent.
local function spreadsheet_number(text)
  if find(text, "^[+-]?%d[.,]?%d*[eE]%+%d+$") or find(text, "^[+-]?%d[.,]%d+[eE]%-%d+$") then
    return ("is a rounded number, %s, whose last digits are lost"):format(quote(text)) .. AS_TEXT
  elseif find(text, "^[+-]?%d+[.,]0+$") then
    return ("was changed to a number with a fraction, %s"):format(quote(text)) .. AS_TEXT
  elseif find(text, "^'") then
    return "begins with an apostrophe, which marks text in a spreadsheet: remove it"
  end
end

local NOTHING = {}

-- Each of the following returns what is wrong with a text that is not empty, or nil.

local function wrong_value(text)
  if #text > MAX_VALUE then
    return "is longer than 64 KiB"
  elseif not find(text, "[^%w_-]") then
    return nil -- the usual case
  end
  return spreadsheet_text(text) or spreadsheet_number(text) or wrong_characters(text, NOTHING)
end

local NAME_CHARACTERS = setmetatable({ [0x20] = true }, { __index = IN_NAMES })

local function wrong_name(text)
  if #text > MAX_VALUE then
    return "is longer than 64 KiB"
  elseif not find(text, "[^ \227\128]") and wrong_characters(text, NAME_CHARACTERS) == nil then
    return "consists of blanks"
  elseif not find(text, "[%c\127-\255#=:]") then
    return nil
  end
  return spreadsheet_text(text) or wrong_characters(text, NAME_CHARACTERS)
end

local function wrong_uuid(text)
  return wrong_value(text) or find(text, "@", 1, true) and "is an e-mail address: its column is contact_email" or nil
end

local function wrong_email(text)
  if find(text, "^%w[%w._+-]*@[%w.-]+$") and #text <= MAX_VALUE then
    return nil
  end
  return wrong_value(text) or not find(text, ".@.") and ("is not an e-mail address: %s"):format(quote(text)) or nil
end

local WRONG = {
  value = wrong_value, name = wrong_name, contact_uuid = wrong_uuid, contact_email = wrong_email, expect = wrong_uuid,
}

-- These turn a cell into an argument. They return nil and what is wrong if they cannot.
local READ = {}

function READ.active(cell)
  local active = BOOLEANS[lower(cell)]
  if active == nil then
    return nil, ("is %s: use true or false, yes or no, 1 or 0, active or inactive"):format(quote(cell))
  end
  return active
end

function READ.expect(cell)
  if lower(cell) == "none" then
    return false
  end
  return cell, wrong_uuid(cell)
end

-- ---- the header ----------------------------------------------------------------------

local function normalize(header)
  return (lower(header):gsub("\194\160", ""):gsub("\239\187\191", ""):gsub("\226\128[\139-\143]", "")
    :gsub("[%s_]", ""))
end

local function check_operation(operation)
  if not OPERATIONS[operation] then
    error(("the operation '%s' is unknown (known: %s)"):format(tostring(operation), schema.list(OPERATIONS)), 3)
  end
  return OPERATIONS[operation]
end

local function set_of(names)
  local set = {}
  for _, name in ipairs(names) do
    set[name] = true
  end
  return set
end

-- Returns the set of the names as a number: the sum of their bits.
local function sum_of_bits(names)
  local sum = 0
  for name, bit in pairs(bits) do
    sum = sum + (names[name] ~= nil and bit or 0)
  end
  return sum
end

local function shell_word(text)
  return "'" .. text:gsub("%c", "?"):gsub("'", "'\\''") .. "'"
end

local function list_headers(headers)
  local listed = {}
  for i = 1, math.min(#headers, MAX_LISTED) do
    listed[i] = quote(headers[i])
  end
  local more = #headers - #listed
  return table.concat(listed, ", ") .. (more > 0 and (" and %d more"):format(more) or "")
end

-- Returns the header that most probably names the cards' values, for a suggestion.
local function likely_value(headers)
  for _, word in ipairs { "card", "barcode", "code", "identifier", "number", "value", "id" } do
    for _, header in ipairs(headers) do
      if find(normalize(header), word, 1, true) then
        return header
      end
    end
  end
  return headers[1]
end

-- Returns the numbers of the columns with that header. An exact match takes precedence over one without regard to
-- case and blanks.
local function find_header(headers, wanted)
  local exact, similar = {}, {}
  for i, header in ipairs(headers) do
    if header == wanted then
      exact[#exact + 1] = i
    end
    if normalize(header) == normalize(wanted) then
      similar[#similar + 1] = i
    end
  end
  return #exact > 0 and exact or similar
end

-- Returns the number of the only column with the header `wanted`, or nil; or false and a message.
local function find_column(headers, wanted)
  local found = find_header(headers, wanted)
  if #found > 1 then
    return false, ("columns %d and %d are both named %s: rename one of them"):format(found[1], found[2],
      quote(headers[found[1]]))
  end
  return found[1]
end

local function missing_mapped(headers, target, wanted)
  local known = {}
  for _, header in ipairs(headers) do
    known[normalize(header)] = header
  end
  local nearest = known[schema.nearest(known, normalize(wanted)) or false]
  return ("--column %s=%s: the file has no such column%s"):format(target, shell_word(wanted),
    nearest and (": did you mean %s?"):format(quote(nearest)) or "; it has " .. list_headers(headers))
end

local function missing_value(headers)
  return ("no column is named \"value\". The file's first line names %s. If one of these holds the cards' values, "
    .. "use, for example: --column value=%s"):format(list_headers(headers), shell_word(likely_value(headers)))
end

-- Returns what is wrong with the mapping, or nil.
local function wrong_mapping(mapping, operation)
  local uses = set_of(OPERATIONS[operation].uses)
  for target, header in pairs(mapping) do
    if target ~= "active" and not WRONG[target] then
      local known = set_of { "value", "name", "contact_uuid", "contact_email", "active", "expect" }
      local nearest = schema.nearest(known, target)
      return ("--column %s=...: '%s' is unknown%s"):format(tostring(target), tostring(target),
        nearest and (": did you mean '%s'?"):format(nearest) or (" (known: %s)"):format(schema.list(known)))
    elseif not uses[target] then
      return ("--column %s=...: %s does not use it, but only %s"):format(target, operation, schema.list(uses))
    elseif type(header) ~= "string" or normalize(header) == "" then
      return ("--column %s=...: name the file's column"):format(target)
    end
  end
end

-- Returns a message for each column that is not used, but whose name is almost that of one that would be.
local function misspelt(matched, operation)
  local warnings, known = {}, {}
  for _, name in ipairs(OPERATIONS[operation].uses) do
    known[#name > 4 and not matched[name] and name or false] = true -- many headers are similar to "name"
  end
  known[false] = nil
  for _, header in ipairs(matched.unused) do
    local nearest = schema.nearest(known, (header:gsub("%s", "_")))
    if nearest then
      warnings[#warnings + 1] = ("column %s is not used: did you mean '%s'?"):format(quote(header), nearest)
    end
  end
  return warnings
end

-- Returns the headers of the columns that are used, each with its `name`, and a list of those that are not.
local function used_and_unused(headers, matched)
  local used, unused, is_used = {}, {}, {}
  for i, column in ipairs(matched) do
    used[i] = { name = column.name, header = headers[column.index] }
    is_used[column.index] = true
  end
  for i, header in ipairs(headers) do
    unused[#unused + 1] = not is_used[i] and header or nil
  end
  return used, unused
end

-- Returns the headers without an empty last one: a separator ended the line.
local function without_empty_last(headers)
  local list = {}
  for i = 1, #headers - (headers[#headers] == "" and 1 or 0) do
    list[i] = headers[i]
  end
  return list
end

-- Returns what the columns lack for the operation, or nil.
local function missing_columns(headers, matched, operation)
  local needs, names = OPERATIONS[operation].needs, {}
  if not matched.value then
    return missing_value(headers)
  end
  for _, name in ipairs(needs or {}) do
    if matched[name] then
      return nil
    end
    names[#names + 1] = ("%q"):format(name)
  end
  return needs and ("%s needs a column named %s; the file has %s. To use another one: --column %s='HEADER'"):format(
    operation, table.concat(names, " or "), list_headers(headers), needs[1]) or nil
end

--- Returns which arguments are given, as the sum of their bits in `columns.bits`.
columns.given, columns.bits = sum_of_bits, bits

--- Finds the columns that an operation uses. `headers` are the header's cells; `mapping` maps names to the file's own
-- headers: { value = "Card Number" }. Returns the columns, for columns.row, or nil and a message. `result.warnings`
-- lists columns that may be misspelt, `result.used` the columns that are used (`name`, `header`), and `result.unused`
-- the headers of the others.
function columns.match(headers, operation, mapping)
  check_operation(operation)
  mapping, headers = mapping or NOTHING, without_empty_last(headers)
  local wrong = wrong_mapping(mapping, operation)
  if wrong then
    return nil, wrong
  end
  local matched = { operation = operation, count = #headers }
  for _, name in ipairs(OPERATIONS[operation].uses) do
    local index, message = find_column(headers, mapping[name] or name)
    if index == false or not index and mapping[name] then
      return nil, message or missing_mapped(headers, name, mapping[name])
    elseif index then
      matched[name] = index
      matched[#matched + 1] = { name = name, index = index, read = READ[name], wrong = WRONG[name] }
    end
  end
  local missing = missing_columns(headers, matched, operation)
  if missing then
    return nil, missing
  end
  matched.needed = sum_of_bits(set_of(OPERATIONS[operation].needs or NOTHING))
  matched.used, matched.unused = used_and_unused(headers, matched)
  matched.warnings = misspelt(matched, operation)
  return matched
end

-- ---- rows ----------------------------------------------------------------------------

-- Returns what the arguments lack for the operation, or nil.
local function missing_arguments(arguments, operation)
  local needs = OPERATIONS[operation].needs
  if arguments.value == nil then
    return "value is empty"
  elseif needs and arguments[needs[1]] == nil and arguments[needs[2]] == nil then
    return ("%s and %s are empty: %s needs one of them"):format(needs[1], needs[2], operation)
  end
end

-- Returns why a row has the wrong number of cells, or nil. A separator at its end adds an empty cell.
local function wrong_count(cells, expected)
  local count = #cells
  if count ~= expected and not (count == expected + 1 and cells[count] == "") then
    return ("has %d cell%s, but the header has %d: is a separator missing, or not quoted?"):format(count,
      count == 1 and "" or "s", expected)
  end
end

local function is_empty(cells)
  return not find(table.concat(cells), "[^%s]")
end

-- Returns the arguments of cells that are not empty, or nil and what is wrong with one.
local function read_arguments(matched, cells)
  local arguments = {}
  for i = 1, #matched do
    local column = matched[i]
    local cell, problem = cells[column.index]
    if cell ~= "" then
      if column.read then
        cell, problem = column.read(cell)
      else
        problem = column.wrong(cell)
      end
      if problem then
        return nil, column.name .. " " .. problem
      end
      arguments[column.name] = cell
    end
  end
  return arguments
end

-- If a row has both contact_uuid and contact_email, as an export does, the former is used: both name the same
-- contact, and it needs no request.
local function one_contact(arguments)
  if arguments.contact_uuid then
    arguments.contact_email = nil
  end
  return arguments
end

--- Returns the arguments that a row gives to the operation, or nil and the reason why the row is rejected. Empty
-- cells are not given.
function columns.row(matched, cells)
  local damage = cells.damage or #cells ~= matched.count and wrong_count(cells, matched.count)
  if damage then
    return nil, "the row " .. damage
  end
  local arguments, problem = read_arguments(matched, cells)
  if not arguments then
    return nil, problem
  end
  local missing = missing_arguments(arguments, matched.operation)
  if missing then
    return nil, is_empty(cells) and "the row is empty" or missing
  end
  return one_contact(arguments)
end

--- Returns a function that reads arguments from the cells of a row that was checked before. Those of a row that was
-- rejected are what can be read of it: cells may be missing. `layout` has the numbers of the columns by their names,
-- as what columns.match returns.
function columns.reader(layout)
  return function(cells)
    local arguments = {}
    for name in pairs(bits) do
      local cell = cells[layout[name]] or ""
      if READ[name] and cell ~= "" then
        cell = READ[name](cell)
      end
      if cell ~= "" then
        arguments[name] = cell
      end
    end
    return one_contact(arguments)
  end
end

-- Returns what is wrong with an argument that a program gives, or nil.
local function wrong_argument(name, argument)
  local expected = name == "active" and "boolean" or "string"
  if name == "expect" and argument == false then
    return nil
  elseif type(argument) ~= expected then
    return ("must be a %s, not a %s"):format(expected, type(argument))
  elseif argument == "" then
    return "is empty"
  end
  return WRONG[name] and WRONG[name](argument)
end

--- Returns true if a program may give these arguments to the operation, or nil and the reason why not.
function columns.check(arguments, operation)
  local uses = set_of(check_operation(operation).uses)
  if type(arguments) ~= "table" then
    return nil, ("a row must be a table, not a %s"):format(type(arguments))
  end
  for name, argument in pairs(arguments) do
    if not uses[name] then
      return nil, ("%s is not used by %s, but only %s"):format(tostring(name), operation, schema.list(uses))
    end
    local wrong = wrong_argument(name, argument)
    if wrong then
      return nil, name .. " " .. wrong
    end
  end
  if arguments.contact_uuid and arguments.contact_email then
    return nil, "contact_uuid and contact_email are both given: give one of them"
  end
  local missing = missing_arguments(arguments, operation)
  if missing then
    return nil, missing
  end
  return true
end

-- ---- lengths -------------------------------------------------------------------------

local Lengths = {}
Lengths.__index = Lengths

local KEPT_LINES = 5

--- Returns a count of how long values are. A value that is shorter than all others may have lost a leading zero.
function columns.lengths()
  return setmetatable({ by_length = {} }, Lengths)
end

function Lengths:add(length, line)
  local entry = self.by_length[length]
  if not entry then
    entry = { length = length, count = 0, lines = {} }
    self.by_length[length] = entry
  end
  entry.count = entry.count + 1
  if entry.count <= KEPT_LINES then
    entry.lines[entry.count] = line
  end
end

--- Returns a list of { length, count, lines }, the most frequent length first. `lines` are the first few.
function Lengths:summary()
  local list = {}
  for _, entry in pairs(self.by_length) do
    list[#list + 1] = entry
  end
  table.sort(list, function(a, b)
    if a.count ~= b.count then
      return a.count > b.count
    end
    return a.length < b.length
  end)
  return list
end

--- Returns the length of most values and the entries of the others, or nil if fewer than nine in ten have the same
-- length: then the column's values simply differ.
function Lengths:unusual()
  local list, total = self:summary(), 0
  for _, entry in ipairs(list) do
    total = total + entry.count
  end
  if #list > 1 and list[1].count >= 0.9 * total then
    return table.remove(list, 1).length, list
  end
end

return columns
