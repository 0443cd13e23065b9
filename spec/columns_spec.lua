-- leat.jobs.columns: which columns an operation uses, and why a row is rejected.
local columns = require("leat.jobs.columns")
local csv = require("leat.csv")
local csv_core = require("leat.csv.core")
local random = dofile("spec/support/random_calls.lua")
local read_file = dofile("spec/support/read.lua")
local CASES = "spec/cases/csv/"

local OPERATIONS = { "find", "create", "ensure", "link", "unlink", "update", "delete" }

local function match(headers, operation, mapping)
  return assert(columns.match(headers, operation or "ensure", mapping))
end

local function failure(headers, operation, mapping)
  local matched, message = columns.match(headers, operation or "ensure", mapping)
  assert.is_nil(matched)
  return message
end

-- Reads a file of spec/cases/csv. Returns the arguments of its rows, and what is wrong with the others, as text with
-- the number of the line.
local function import(name, operation, mapping)
  local text = read_file(CASES .. name)
  local reader = csv.reader(function()
    local chunk = text
    text = nil
    return chunk
  end)
  local matched, list, reasons = match((reader:next()), operation, mapping), {}, {}
  for cells, _, line in function() return reader:next() end do
    local arguments, reason = columns.row(matched, cells)
    list[#list + 1] = arguments
    reasons[#reasons + 1] = reason and line .. " " .. reason
  end
  return list, table.concat(reasons, "\n"), matched
end

-- Returns what is wrong with a value, or nil.
local function wrong_value(value)
  local arguments, reason = columns.row(match { "value" }, { value })
  assert.are.equal(reason == nil and value or nil, arguments and arguments.value)
  assert.are.same({ arguments and true, reason }, { columns.check({ value = value }, "find") })
  return reason
end

local function wrong_name(name)
  local arguments, reason = columns.row(match { "value", "name" }, { "A1", name })
  assert.are.equal(reason == nil and name or nil, arguments and arguments.name)
  assert.are.same({ arguments and true, reason }, { columns.check({ value = "A1", name = name }, "create") })
  return reason
end

describe("the columns", function()
  it("are found regardless of case, blanks, underscores and order", function()
    for _, headers in ipairs {
      { "contact_uuid", "name", "value" }, { "Contact UUID", "NAME", " Value " },
      { "contactUuid", "name\194\160", "\239\187\191value" }, { "CONTACT_UUID", "Name", "VALUE" },
    } do
      assert.are.same({ value = "A1", name = "Ann", contact_uuid = "u-1" },
        columns.row(match(headers), { "u-1", "Ann", "A1" }))
    end
  end)

  it("are those of the operation; others are ignored, whatever they contain", function()
    local headers = { "value", "name", "contact_uuid", "active", "expect", "note" }
    local cells = { "A1", "Ann", "u-1", "no", "none", "#N/A" }
    local expected = {
      find = { value = "A1" },
      create = { value = "A1", name = "Ann", contact_uuid = "u-1" },
      ensure = { value = "A1", name = "Ann", contact_uuid = "u-1" },
      link = { value = "A1", contact_uuid = "u-1" },
      unlink = { value = "A1", expect = false },
      update = { value = "A1", name = "Ann", active = false, expect = false },
      delete = { value = "A1", expect = false },
    }
    for _, operation in ipairs(OPERATIONS) do
      local arguments = columns.row(match(headers, operation), cells)
      assert.are.same(expected[operation], arguments)
      assert.is_true(columns.check(arguments, operation))
    end
    assert.are.same({ value = "A1" }, columns.row(match(headers, "find"), { "A1", "\255", "#N/A", "?", " ", "\0" }))
  end)

  it("can be mapped to the file's own headers, also if others have their names", function()
    local headers = { "Value", "Name", "Card Number", "holder" }
    local mapping = { value = "card number", name = "Holder" }
    assert.are.same({ value = "A1", name = "Ann" }, columns.row(match(headers, "ensure", mapping),
      { "25.00 EUR", "Gold", "A1", "Ann" }))
    assert.are.same({ value = "2" }, columns.row(match({ "code", "Code" }, "find", { value = "Code" }), { "1", "2" }))
  end)

  it("must include the value: the message lists the headers, and prints the option", function()
    assert.are.equal('no column is named "value". The file\'s first line names "Name", "Card Number". If one of these '
      .. "holds the cards' values, use, for example: --column value='Card Number'", failure { "Name", "Card Number" })
    assert.matches([[--column value='Ann'\''s code']], failure { "x", "Ann's code" }, 1, true)
    local many = {}
    for i = 1, 30 do
      many[i] = "h" .. i
    end
    assert.matches('"h20" and 10 more. If', failure(many), 1, true)
    assert.matches('"a?b", "' .. ("x"):rep(39) .. '..."', failure { "a\27b", ("x"):rep(39) .. "\195\188\195\188" }, 1,
      true)
  end)

  it("must include what the operation needs", function()
    assert.matches('link needs a column named "contact_uuid" or "contact_email"; the file has "value", "x"',
      failure({ "value", "x" }, "link"), 1, true)
    assert.matches('update needs a column named "name" or "active"', failure({ "value", "x" }, "update"), 1, true)
    for _, operation in ipairs { "find", "create", "ensure", "unlink", "delete" } do
      match({ "value" }, operation)
    end
    match({ "value", "contact_email" }, "link")
    match({ "value", "active" }, "update")
  end)

  it("must not be there twice", function()
    assert.are.equal('columns 1 and 3 are both named "Name": rename one of them', failure { "Name", "value", "NAME" })
    assert.matches("columns 2 and 3 are both named", failure({ "value", "Card", "Card" }, "find", { value = "Card" }),
      1, true)
    match { "value", "note", "note" }
    match({ "value", "Name", "NAME" }, "find")
  end)

  it("cannot be mapped to headers that are missing", function()
    assert.are.equal("--column value='Card Nunber': the file has no such column: did you mean \"Card Number\"?",
      failure({ "x", "Card Number" }, "find", { value = "Card Nunber" }))
    assert.are.equal("--column name='Holder': the file has no such column; it has \"value\", \"y\"",
      failure({ "value", "y" }, "create", { name = "Holder" }))
  end)

  it("cannot be mapped by unknown names, or by names that the operation does not use", function()
    assert.are.equal("--column vaule=...: 'vaule' is unknown: did you mean 'value'?",
      failure({ "a" }, "find", { vaule = "a" }))
    assert.matches("'Card Number' is unknown (known: active, contact_email, contact_uuid, expect, name, value)",
      failure({ "a" }, "find", { ["Card Number"] = "value" }), 1, true)
    assert.are.equal("--column name=...: find does not use it, but only value",
      failure({ "value", "a" }, "find", { name = "a" }))
    assert.matches("name the file's column", failure({ "a" }, "find", { value = " " }), 1, true)
  end)

  it("warn of headers that are almost one that is missing", function()
    assert.are.same({ "column \"contact uid\" is not used: did you mean 'contact_uuid'?" },
      match({ "value", "contact uid", "Note", "values" }).warnings)
    assert.are.same({}, match({ "value", "contact uid" }, "find").warnings)
    assert.are.same({}, match({ "value", "contact uid" }, "create", { name = "contact uid" }).warnings)
  end)

  it("of an unknown operation are misuse", function()
    local ok, message = pcall(columns.match, { "value" }, "destroy")
    assert.is_false(ok)
    assert.matches("the operation 'destroy' is unknown (known: create, delete,", message, 1, true)
    assert.is_false((pcall(columns.check, { value = "1" }, "destroy")))
  end)
end)

describe("a row", function()
  it("has as many cells as the header; one more if it is empty", function()
    local matched = match { "value", "name" }
    assert.are.same({ value = "A1" }, columns.row(matched, { "A1", "", "" }))
    for cells, count in pairs { [{ "A1" }] = "1 cell,", [{ "A1", "Lee", "Ann" }] = "3 cells,",
      [{ "A1", "", "", "" }] = "4 cells," } do
      local arguments, reason = columns.row(matched, cells)
      assert.is_nil(arguments)
      assert.matches("the row has " .. count .. " but the header has 2", reason, 1, true)
    end
  end)

  it("may lack the last cell if the header ends with a separator, but have nothing in it", function()
    local matched = match { "value", "name", "" }
    assert.are.same({ value = "A1", name = "Ann" }, columns.row(matched, { "A1", "Ann" }))
    assert.are.same({ value = "A1", name = "Ann" }, columns.row(matched, { "A1", "Ann", "" }))
    assert.is_nil((columns.row(matched, { "A1", "Ann", "x" })))
  end)

  it("needs a value, and says when all of it is empty", function()
    local matched = match { "value", "name", "note" }
    assert.are.equal("value is empty", select(2, columns.row(matched, { "", "Ann", "" })))
    assert.are.equal("value is empty", select(2, columns.row(matched, { "", "", "x" })))
    assert.are.equal("the row is empty", select(2, columns.row(matched, { "", "", " " })))
  end)

  it("needs what the operation needs", function()
    assert.are.equal("contact_uuid and contact_email are empty: link needs one of them",
      select(2, columns.row(match({ "value", "contact_uuid" }, "link"), { "A1", "" })))
    assert.are.equal("name and active are empty: update needs one of them",
      select(2, columns.row(match({ "value", "name", "active" }, "update"), { "A1", "", "" })))
    assert.are.same({ value = "A1", active = false },
      columns.row(match({ "value", "name", "active" }, "update"), { "A1", "", "0" }))
  end)

  it("gives contact_uuid if it has both", function()
    local matched = match({ "value", "contact_email", "contact_uuid" }, "link")
    assert.are.same({ value = "A1", contact_uuid = "u" }, columns.row(matched, { "A1", "a@b.c", "u" }))
    assert.are.same({ value = "A1", contact_email = "a@b.c" }, columns.row(matched, { "A1", "a@b.c", "" }))
  end)

  it("has active as a word or a digit", function()
    local matched = match({ "value", "active" }, "update")
    for text, active in pairs { ["true"] = true, YES = true, ["1"] = true, Active = true,
      FALSE = false, no = false, ["0"] = false, InActive = false } do
      assert.are.same({ value = "A1", active = active }, columns.row(matched, { "A1", text }))
    end
    for _, text in ipairs { "WAHR", "2", " true", "y", "1.0" } do
      assert.are.equal(('active is "%s": use true or false, yes or no, 1 or 0, active or inactive'):format(text),
        select(2, columns.row(matched, { "A1", text })))
    end
  end)

  it("has expect as a contact or none", function()
    local matched = match({ "value", "expect" }, "unlink")
    assert.are.same({ value = "A1", expect = false }, columns.row(matched, { "A1", "None" }))
    assert.are.same({ value = "A1", expect = "u-1" }, columns.row(matched, { "A1", "u-1" }))
    assert.are.same({ value = "A1" }, columns.row(matched, { "A1", "" }))
    assert.are.equal("expect ends with a blank", select(2, columns.row(matched, { "A1", "none " })))
  end)

  it("has contacts in the right column", function()
    assert.are.equal("contact_uuid is an e-mail address: its column is contact_email",
      select(2, columns.row(match({ "value", "contact_uuid" }, "link"), { "A1", "a@b.c" })))
    local matched = match({ "value", "contact_email" }, "link")
    for _, email in ipairs { "a@b.c", "o'neil+x@b-c.example", "m\195\188ller@example.com", "_x@y" } do
      assert.are.same({ value = "A1", contact_email = email }, columns.row(matched, { "A1", email }))
    end
    for email, reason in pairs { ["u-1"] = 'is not an e-mail address: "u-1"', ["@"] = "is not",
      [" a@b.c"] = "begins with",
      ["a@b.c\194\160"] = "ends with a no-break space", ["a@@b.c x"] = "contains a blank" } do
      assert.matches("contact_email " .. reason, select(2, columns.row(matched, { "A1", email })), 1, true)
    end
  end)

  it("that could not be read says why", function()
    assert.are.equal("the row has text after a closing quote",
      select(2, columns.row(match { "value" }, { damage = "has text after a closing quote" })))
  end)
end)

describe("a value", function()
  it("may be any text that a spreadsheet did not write", function()
    for _, value in ipairs { "ABC-1", "0042", "5E-12", "12E5", "1E10X", "12.34", "A/B+C=", "M\195\188ller", "-1", "a.0",
      "#1", "N/A", "\240\159\142\129", "\224\184\129\224\184\178", "a'b", "=x" } do
      assert.is_nil(wrong_value(value))
    end
  end)

  it("is longer than the service's requests may be, at more than 64 KiB", function()
    assert.is_nil(wrong_value(("x"):rep(65536)))
    assert.are.equal("value is longer than 64 KiB", wrong_value(("x"):rep(65537)))
    assert.are.equal("value is longer than 64 KiB", wrong_value(("\195\188"):rep(32769)))
    assert.are.equal("name is longer than 64 KiB", wrong_name(("x"):rep(65537)))
  end)

  it("has no character that does not show, anywhere", function()
    local function utf8(code)
      local first, rest = code >= 0x10000 and 0xF0 or code >= 0x800 and 0xE0 or 0xC0, {}
      local length = code >= 0x10000 and 3 or code >= 0x800 and 2 or 1
      for i = length, 1, -1 do
        rest[i], code = string.char(0x80 + code % 64), math.floor(code / 64)
      end
      return string.char(first + code) .. table.concat(rest)
    end
    for _, code in ipairs { 0x80, 0x85, 0xA0, 0xAD, 0x34F, 0x61C, 0x115F, 0x1680, 0x180E, 0x2000, 0x200B, 0x200C,
      0x200D, 0x200E, 0x200F, 0x2028, 0x202A, 0x202E, 0x202F, 0x205F, 0x2060, 0x2066,
      0x2069, 0x3000, 0x3164, 0xFE0F, 0xFEFF,
      0xFFA0, 0xFFFB, 0xE0001, 0xE007F } do
      local hidden, named = utf8(code), ("U%%+%04X%%)$"):format(code)
      assert.matches("^value begins with .*" .. named, wrong_value(hidden .. "A1"))
      assert.matches("^value contains .*" .. named, wrong_value("A" .. hidden .. "1"))
      assert.matches("^value ends with .*" .. named, wrong_value("A1" .. hidden))
    end
    for _, code in ipairs { 0xA1, 0xAC, 0xAE, 0x2010, 0x2027, 0x2030, 0x205E, 0x2070, 0x3001, 0xFE10, 0xFF01,
      0x1F600 } do
      assert.is_nil(wrong_value("A" .. utf8(code)))
    end
  end)

  it("is UTF-8", function()
    for _, bytes in ipairs { "\128", "\191A", "\192\128", "\193\191", "\194", "\194A", "\224\128\128", "\224\159\191",
      "\237\160\128", "\237\191\191", "\226\130", "\240\128\128\128", "\240\143\191\191",
      "\244\144\128\128",
      "\245\128\128\128", "\255", "\195\188\188" } do
      for _, text in ipairs { bytes, "A" .. bytes, bytes .. "A", "\195\188" .. bytes } do
        assert.are.equal("value is not UTF-8: save the file as CSV UTF-8", wrong_value(text))
        assert.are.equal("name is not UTF-8: save the file as CSV UTF-8", wrong_name(text))
      end
    end
    for _, text in ipairs { "\194\161", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128", "\240\144\128\128",
      "\244\143\191\191" } do
      assert.is_nil(wrong_value(text))
    end
  end)
end)

describe("a name", function()
  it("may have blanks, apostrophes, and what joins letters in some scripts", function()
    for _, name in ipairs { "Ann Lee", " Ann ", "'t Hooft", "1.0", "1E+11", "#1 fan", "a = b",
      "\240\159\145\169\226\128\141\240\159\145\167",
      "\226\156\136\239\184\143", "\226\156\136\239\184\142", "\217\133\219\140\226\128\140\216\174" } do
      assert.is_nil(wrong_name(name))
    end
  end)

  it("has more than blanks", function()
    assert.are.equal("name consists of blanks", wrong_name(" "))
    assert.are.equal("name consists of blanks", wrong_name(" \227\128\128"))
  end)
end)

describe("a damaged cell", function()
  local function reasons(name)
    return select(2, import("damaged/" .. name))
  end
  local AS_TEXT = ": format the spreadsheet's column as text, and enter the values again"

  -- Each row between the first and the last is damaged, and names what happened to it.
  local EXPECTED = {
    ["scientific.csv"] = { '"1.23E+11"', '"6,0357E+15"', '"1e+20"', '"1.5E-07"',
      format = "value is a rounded number, %s, whose last digits are lost" .. AS_TEXT },
    ["fraction.csv"] = { '"123.0"', '"123,00"',
      format = "value was changed to a number with a fraction, %s" .. AS_TEXT },
    ["apostrophe.csv"] = { "value begins with an apostrophe, which marks text in a spreadsheet: remove it" },
    ["errors.csv"] = { "value is a spreadsheet's error, #N/A", "value is a spreadsheet's error, #REF!",
      "value is a spreadsheet's error, #DIV/0!", "value is a spreadsheet's error, #NAME?",
      "value is a spreadsheet's error, #NV", "value is a spreadsheet's error, #BEZUG!",
      "value is a spreadsheet's error, Err:502", "name is a spreadsheet's error, #VALUE!" },
    ["narrow.csv"] = { "value", "name", format = "%s is ####, not a text: the spreadsheet's column was too narrow" },
    ["formula.csv"] = { 'value is a formula, "="0042"": save its result as text' },
    ["invisible.csv"] = { "value begins with an invisible character (U+200B)",
      "value begins with a byte order mark (U+FEFF)", "value ends with an invisible character (U+200E)",
      "value contains an invisible character (U+202E)", "value contains an invisible character (U+2066)",
      "value contains an invisible character (U+00AD)", "name contains a no-break space (U+00A0)",
      "name begins with an invisible character (U+200F)", "name begins with a byte order mark (U+FEFF)" },
    ["controls.csv"] = { "value contains a NUL byte", "value ends with a control character (U+0007)",
      "value contains a control character (U+007F)", "name contains a control character (U+001B)",
      "name contains a NUL byte", "name contains a line break", "name contains a control character (U+0085)" },
    ["windows_1252.csv"] = { "name", "value", "name", "name", "name", "value",
      format = "%s is not UTF-8: save the file as CSV UTF-8" },
    ["lost_letters.csv"] = { "name contains U+FFFD: a letter was lost when the file was converted" },
  }
  for name, expected in pairs(EXPECTED) do
    it("has a reason, and only its row is rejected: " .. name, function()
      local lines, line = {}, 3
      for i, reason in ipairs(expected) do
        lines[i] = line .. " " .. (expected.format or "%s"):format(reason)
        line = line + 1
      end
      if name == "controls.csv" then -- its rows have a line break more
        lines[7] = lines[7]:gsub("^9", "10")
      end
      assert.are.equal(table.concat(lines, "\n"), reasons(name))
      local list = import("damaged/" .. name)
      assert.are.same({ { value = "ABC-1", name = "first" }, { value = "ABC-9", name = "last" } }, list)
    end)
  end

  it("has blanks, of any kind", function()
    assert.are.equal("3 value begins with a blank\n4 value ends with a blank\n5 value contains a blank\n"
      .. "6 value ends with a tab\n7 value contains a line break\n9 value contains a no-break space (U+00A0)\n"
      .. "10 value ends with an invisible character (U+3000)", reasons("blanks.csv"))
  end)

  it("is missing, or one too many", function()
    local counts = "but the header has 2: is a separator missing, or not quoted?"
    assert.are.equal("3 the row has 1 cell, " .. counts .. "\n4 the row has 3 cells, " .. counts
      .. "\n6 value is empty\n7 the row is empty", reasons("cell_counts.csv"))
  end)

  it("has quotes in wrong places", function()
    assert.are.equal("3 the row has text after a closing quote\n5 the row has text after a closing quote\n"
      .. "6 the row has a quote within a cell that is not quoted as a whole\n"
      .. "7 the row has a quote within a cell that is not quoted as a whole\n"
      .. "8 the row has a carriage return within a cell that is not quoted\n"
      .. "10 the row has a quote that is never closed", reasons("quotes.csv"))
    local list = import("damaged/quotes.csv")
    assert.are.same({ "ABC-1", "ABC-3", "ABC-8" }, { list[1].value, list[2].value, list[3].value })
    assert.are.equal(3, #list)
  end)
end)

describe("a realistic file", function()
  local function values(name, mapping)
    local list, reasons = import(name, "ensure", mapping)
    assert.are.equal("", reasons)
    local texts = {}
    for i, arguments in ipairs(list) do
      texts[i] = arguments.value
    end
    return table.concat(texts, " "), list
  end

  it("needs at most one mapping: gift cards", function()
    assert.are.equal("6035710012340016 6035710012340024 6035710012340032 6035710012340040 6035710012340057",
      (values("gift_cards.csv", { value = "Card Number" })))
  end)

  it("needs at most one mapping: members with names", function()
    local texts, list = values("members.csv", { value = "Membership No" })
    assert.are.equal("KM-0001 KM-0002 KM-0003 KM-0004 KM-0005", texts)
    assert.are.same({ value = "KM-0003", name = "'t Hooft & Zo\195\171 M\195\188ller",
      contact_email = "zoe@example.com" }, list[3])
    assert.are.same({ value = "KM-0004", contact_email = "sandy@example.com" }, list[4])
    assert.is_nil(list[5].contact_email)
  end)

  it("needs at most one mapping: exports of Wix, Shopify and Square", function()
    assert.are.equal("WX-20251102-0001 WX-20251103-0002 WX-20251224-0003",
      (values("wix_contacts.csv", { value = "loyalty card" })))
    assert.are.equal("SHP-000147 SHP-000148 SHP-000149",
      (values("shopify_customers.csv", { value = "Loyalty card (customer.metafields.custom.loyalty_card)" })))
    assert.are.equal("SQ0000457 SQ0000458 SQ0000459", (values("square_customers.csv", { value = "Reference ID" })))
  end)

  it("needs at most one mapping: an Excel export", function()
    local texts, list = values("excel.csv", { value = "Kartennummer" })
    assert.are.equal("0042000017 0042000018 0042000019 0042000020", texts)
    assert.are.equal('B\195\164ckerei "Zum L\195\182wen"; Inh. Wei\195\159', list[2].name)
    assert.are.same({ { value = "ABC-1", name = "first, then" } }, (import("separator_line.csv", "ensure")))
  end)
end)

describe("a program's arguments", function()
  local function wrong(arguments, operation)
    local good, reason = columns.check(arguments, operation or "ensure")
    assert.is_nil(good)
    return reason
  end

  it("have the types of the columns", function()
    assert.are.equal("value must be a string, not a number", wrong { value = 42 })
    assert.are.equal("name must be a string, not a boolean", wrong { value = "A1", name = false })
    assert.are.equal("active must be a boolean, not a string", wrong({ value = "A1", active = "yes" }, "update"))
    assert.are.equal("expect must be a string, not a boolean", wrong({ value = "A1", expect = true }, "delete"))
    assert.are.equal("a row must be a table, not a string", wrong("A1"))
  end)

  it("are not empty, and only those of the operation", function()
    assert.are.equal("value is empty", wrong { value = "" })
    assert.are.equal("value is empty", wrong {})
    assert.are.equal("name is empty", wrong { value = "A1", name = "" })
    assert.are.equal("name is not used by find, but only value", wrong({ value = "A1", name = "x" }, "find"))
    assert.matches("contact is not used by ensure", wrong { value = "A1", contact = {} }, 1, true)
    assert.are.equal("contact_uuid and contact_email are both given: give one of them",
      wrong { value = "A1", contact_uuid = "u", contact_email = "a@b.c" })
    assert.matches("link needs one of them", wrong({ value = "A1" }, "link"), 1, true)
    assert.is_true(columns.check({ value = "A1", active = false }, "update"))
    assert.is_true(columns.check({ value = "A1", expect = false }, "unlink"))
  end)
end)

describe("the lengths of values", function()
  it("are counted, with the first lines of each", function()
    local lengths = columns.lengths()
    for line = 2, 100 do
      lengths:add(line % 25 == 0 and 3 or 4, line)
    end
    assert.are.same({ { length = 4, count = 95, lines = { 2, 3, 4, 5, 6 } },
      { length = 3, count = 4, lines = { 25, 50, 75, 100 } } }, lengths:summary())
    local usual, others = lengths:unusual()
    assert.are.equal(4, usual)
    assert.are.same({ { length = 3, count = 4, lines = { 25, 50, 75, 100 } } }, others)
  end)

  it("are not unusual if all are equal, or if they simply differ", function()
    local equal, mixed = columns.lengths(), columns.lengths()
    for line = 2, 50 do
      equal:add(4, line)
      mixed:add(line % 5 == 0 and 3 or 4, line)
    end
    assert.is_nil(equal:unusual())
    assert.is_nil(mixed:unusual())
    assert.is_nil(columns.lengths():unusual())
  end)
end)

-- ---- many rows at a time -----------------------------------------------------------------

local FIELDS = csv_core.FIELDS

-- Reads a text as a plan does; without `scan`, row by row. Returns the rows as texts, and how many of them `scan` read.
local function read_rows(text, operation, scan)
  local at = 1
  local reader = csv.reader(function()
    at = at + 300
    return at - 300 <= #text and text:sub(at - 300, at - 1) or nil
  end)
  local matched, filter, list, rows, scanned = match((reader:next()), operation), csv_core.filter(), {}, {}, 0
  local function add(n, line, given, value, bytes)
    rows[#rows + 1] = ("%d %d %d %s|%s"):format(n, line, given, value, bytes)
  end
  while true do
    local count, chunk = 0, ""
    if scan then
      count, chunk = reader:scan(matched, filter, #rows + 1, list)
    end
    scanned = scanned + count
    for i = 0, (count - 1) * FIELDS, FIELDS do
      add(list[i + 1], list[i + 2], list[i + 3], chunk:sub(list[i + 4], list[i + 5]),
        chunk:sub(list[i + 6], list[i + 7]))
    end
    local cells, bytes, line = reader:next()
    if not cells then
      return rows, scanned
    end
    local arguments, reason = columns.row(matched, cells)
    local email = arguments and arguments.contact_uuid and cells[matched.contact_email or 0] or ""
    local given = arguments and columns.given(arguments) + (email ~= "" and columns.bits.contact_email or 0) or 0
    add(#rows + 1, line, given, arguments and arguments.value or reason, bytes)
    if arguments then
      filter:add(arguments.value)
    end
  end
end

describe("rows that are read many at a time", function()
  local CELLS = {
    value = { "A-%d", "%d", '"%d"', "a_%d", "%d", "", " %d", '"%d ""x"""', "'%d", "%d,0" },
    name = { "Ann", "Zo\195\171", '"Lee, Ann"', '"say ""hi"""', "", " ", " Ann", "#N/A", "Err:502", "x\194\160",
      "\205\143", "a:b", "\208\128", "\195", "\195x", "\215\191", "\216\156", "\127", "x\0y", '"x\ny"',
      "\228\184\128", "\194\160" },
    contact_uuid = { "u-1", "", "u 1", "a@b" },
    contact_email = { "ann@example.org", "", "ann@", "@x", "a@b@c", "a.b+c@x-y.z", "-a@b", "a b@c", "ann" },
    active = { "yes", "0", "", "maybe", "TRUE", "true" },
    expect = { "none", "u-1", "", "u@1", "None" },
    other = { "", "x", '"x\n\ny"', '"a;b"', "\255" },
  }
  local HEADERS = {
    ensure = { "value", "name", "contact_uuid", "contact_email", "other" }, find = { "other", "value" },
    link = { "contact_email", "value", "contact_uuid" }, update = { "value", "expect", "active", "name", "other" },
    create = { "value", "name", "" },
  }

  it("are those that are read one by one, with the same arguments", function()
    for seed = 1, 60 do
      local draw = random.generator(seed)
      for operation, headers in pairs(HEADERS) do
        local lines = { table.concat(headers, ";") }
        for i = 2, 60 do
          local cells = {}
          for k, header in ipairs(headers) do
            local known = CELLS[header] or { "" }
            -- The first cells of each list are the usual ones.
            cells[k] = known[draw(3) > 1 and draw(math.min(3, #known)) or draw(#known)]:gsub("%%d", draw(500))
          end
          lines[i] = table.concat(cells, ";") .. ({ "", "", "", "", "", ";", "\n", ";x", "\r" })[draw(9)]
        end
        local text = table.concat(lines, draw(2) == 1 and "\n" or "\r\n")
        local expected, rows = read_rows(text, operation), read_rows(text, operation, true)
        for i = 1, math.max(#expected, #rows) do
          if expected[i] ~= rows[i] then
            error(("%s, seed %d:\n%q\n%q"):format(operation, seed, tostring(expected[i]), tostring(rows[i])), 0)
          end
        end
      end
    end
  end)

  it("are most rows of most files, whatever the operation", function()
    for operation, line in pairs {
      ensure = 'GC-%d;"Lee; Zo\195\171";u-%d;ann%d@example.org;"x\ny"', find = '"x";%d',
      link = "ann@example.org;%d;", update = "%d;none;no;;", create = "%d;Ann;",
    } do
      local lines = { table.concat(HEADERS[operation], ";") }
      for i = 1, 1000 do
        lines[i + 1] = line:gsub("%%d", i)
      end
      local rows, scanned = read_rows(table.concat(lines, "\r\n"), operation, true)
      assert.are.equal(1000, #rows)
      assert.is_true(scanned > 800, operation .. ": only " .. scanned)
    end
  end)

  it("have values that are new: a filter never forgets one", function()
    local filter, wrong = csv_core.filter(), 0
    for i = 1, 100000 do
      wrong = wrong + (filter:add("Card-" .. i) and 1 or 0)
    end
    assert.is_true(wrong < 10, wrong .. " were taken for known values")
    for i = 1, 100000 do
      assert.is_true(filter:add("cARD-" .. i))
    end
  end)

  it("need a filter that is not freed", function()
    local filter = csv_core.filter()
    local columns_that_free = setmetatable({}, { __index = function()
      filter:free()
      return 1
    end })
    assert.has_error(function() csv_core.scan("a\nb\n", 1, ",", columns_that_free, filter, 1, 1, {}) end)
    assert.has_error(function() filter:add("a") end)
  end)
end)
