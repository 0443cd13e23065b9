-- leat.csv: any file is returned as it was, byte for byte, however it is cut into chunks; and its cells are those
-- that a simple parser finds, which this file contains.
local csv = require("leat.csv")
local random = dofile("spec/support/random_calls.lua")
local read_file = dofile("spec/support/read.lua")

local CASES = "spec/cases/csv/"
local BOM = "\239\187\191"

local function chunks(text, size)
  local at = 1
  return function()
    if at <= #text then
      at = at + size
      return text:sub(at - size, at - 1)
    end
  end
end

-- Returns the rows of a text: { cells =, bytes =, line = }, and the message if the reader failed.
local function rows_of(text, size)
  local reader, rows = csv.reader(chunks(text, size or 65536)), {}
  while true do
    local cells, bytes, line = reader:next()
    if not cells then
      return rows, bytes, reader
    end
    rows[#rows + 1] = { cells = cells, bytes = bytes, line = line }
  end
end

-- Returns the cells as text: a row a line, with its number. A damaged row shows why.
local function shown(rows)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[i] = row.line .. " " .. (row.cells.damage or table.concat(row.cells, "|"))
  end
  return table.concat(lines, "\n")
end

local function bytes_of(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = row.bytes
  end
  return table.concat(list)
end

-- Reads a text in chunks of many sizes. Checks that nothing depends on the size, and that no byte is lost. Returns
-- the rows as text.
local function read(text)
  local rows, failure, reader = rows_of(text)
  for _, size in ipairs { 1, 2, 3, 5, 7, 64 } do
    local others, other_failure = rows_of(text, size)
    assert.are.equal(shown(rows), shown(others))
    assert.are.equal(bytes_of(rows), bytes_of(others))
    assert.are.equal(failure, other_failure)
  end
  assert.is_nil(failure)
  assert.are.equal(text, bytes_of(rows))
  return shown(rows), reader, rows
end

local function failure_of(text)
  local rows, failure = rows_of(text)
  for size = 1, 4 do
    assert.are.equal(failure, select(2, rows_of(text, size)))
  end
  assert.are.same({}, rows)
  return failure
end

-- ---- the simple parser ---------------------------------------------------------------

-- Returns the cells of the row at `at` and the position after its line end, or nil and the position after the line
-- on which the damaged cell begins. It looks at one character at a time.
local function parse_row(text, at, separator)
  local cells, cell, state, begin = {}, "", "start", at
  while true do
    local c = text:sub(at, at)
    local ends_line = c == "\n" or c == "" or text:sub(at, at + 1) == "\r\n" or c == "\r" and at == #text
    if state == "quoted" and c ~= "" then
      if c == '"' and text:sub(at + 1, at + 1) == '"' then
        cell, at = cell .. c, at + 1
      elseif c == '"' then
        state = "closed"
      else
        cell = cell .. c
      end
    elseif state == "quoted" or not ends_line and c ~= separator
      and (state == "closed" or c == "\r" or c == '"' and state ~= "start") then
      return nil, (text:find("\n", begin, true) or #text) + 1
    elseif c == separator or ends_line then
      cells[#cells + 1], cell, state, begin = cell, "", "start", at + 1
      if ends_line then
        return cells, math.min(#text, c == "\r" and at + 1 or at) + 1
      end
    elseif c == '"' then
      state = "quoted"
    else
      cell, state = cell .. c, "plain"
    end
    at = at + 1
  end
end

local function after_empty_lines(text, at)
  while true do
    local rest = text:sub(at)
    local empty = rest:match("^\r?\n") or rest == "\r" and rest
    if not empty then
      return at
    end
    at = at + #empty
  end
end

-- Returns the rows of a text, as rows_of does.
local function parse(text, separator)
  local rows, at, line = {}, 1, 1
  local begin = text:sub(1, 3) == BOM and 4 or 1
  while at <= #text do
    begin = after_empty_lines(text, begin)
    local cells, after = parse_row(text, begin, separator)
    after = after_empty_lines(text, after)
    local bytes = text:sub(at, after - 1)
    rows[#rows + 1] = { cells = cells or "damaged", bytes = bytes, line = line }
    line = line + select(2, bytes:gsub("\n", ""))
    at, begin = after, after
  end
  return rows
end

-- Checks that the reader finds the same rows.
local function compare(text, separator, label)
  local expected = parse(text, separator)
  for _, size in ipairs { 1, 2, 3, 7, 65536 } do
    local rows, failure = rows_of(text, size)
    if failure or bytes_of(rows) ~= text then
      error(("%s, chunks of %d: %s\n%q"):format(label, size, failure or "other bytes", text), 0)
    end
    for i, row in ipairs(rows) do
      row.cells = row.cells.damage and "damaged" or row.cells
      local same = pcall(assert.are.same, expected[i], row)
      if not same then
        error(("%s, chunks of %d: row %d differs\n%q"):format(label, size, i, text), 0)
      end
    end
    assert.are.equal(#expected, #rows)
  end
end

-- ---- files ---------------------------------------------------------------------------

describe("a CSV file", function()
  it("has rows of cells, and the line where each begins", function()
    assert.are.equal("1 value|name\n2 A1|Ann\n3 A2|", (read("value,name\nA1,Ann\nA2,\n")))
  end)

  it("may end without a line end, and may consist of its header", function()
    assert.are.equal("1 value|name\n2 A1|Ann", (read("value,name\nA1,Ann")))
    assert.are.equal("1 value", (read("value")))
    assert.are.equal("1 value\n2 A1|", (read("value\nA1,")))
  end)

  it("has LF, CRLF, or both; a last CR alone ends the last line", function()
    assert.are.equal("1 a|b\n2 1|2\n3 3|4\n4 5|6", (read("a,b\r\n1,2\n3,4\r\n5,6\r")))
  end)

  it("may have quoted separators, quotes and line breaks", function()
    local text = 'a,b\r\n"1,2","say ""hi"""\r\n"x\r\ny\nz",""\r\n4,""""\r\n'
    assert.are.equal('1 a|b\n2 1,2|say "hi"\n3 x\r\ny\nz|\n6 4|"', (read(text)))
  end)

  it("may be separated by semicolons or tabs", function()
    local text, reader = read("a;b\n1,2;3\n")
    assert.are.equal("1 a|b\n2 1,2|3", text)
    assert.are.equal(";", reader.separator)
    text, reader = read("a\tb\n1;2\t3\n")
    assert.are.equal("1 a|b\n2 1;2|3", text)
    assert.are.equal("\t", reader.separator)
    assert.are.equal(",", select(2, read("a\n")).separator)
  end)

  it("has the separator that splits the header into most cells, except within quotes", function()
    assert.are.equal("1 a;b;c|d", (read('"a;b;c",d\n')))
    assert.are.equal("1 Name, full|b|c", (read("Name, full;b;c\n")))
    assert.are.equal("1 a;\nb|c", (read('"a;\nb",c\n')))
  end)

  it("may have a byte order mark, which belongs to the header", function()
    local text, _, rows = read(BOM .. '"a",b\n1,2\n')
    assert.are.equal("1 a|b\n2 1|2", text)
    assert.are.equal(BOM .. '"a",b\n', rows[1].bytes)
  end)

  it("may have empty lines, which belong to the row before, or to the header", function()
    local text, _, rows = read("\r\n\na,b\n\n1,2\r\n\r\n\n3,4\n\n")
    assert.are.equal("1 a|b\n5 1|2\n8 3|4", text)
    assert.are.equal("1,2\r\n\r\n\n", rows[2].bytes)
    assert.are.equal("3,4\n\n", rows[3].bytes)
  end)

  it("may name its separator in Excel's first line, which belongs to the header", function()
    for _, begin in ipairs { "sep=;\r\n", BOM .. "SEP=;\n" } do
      local text, _, rows = read(begin .. "a;b,c\r\n1;2\r\n")
      assert.are.equal("1 a|b,c\n3 1|2", text)
      assert.are.equal(begin .. "a;b,c\r\n", rows[1].bytes)
    end
    assert.are.equal("1 a;b;c\n3 1;2;3", (read("sep=,\na;b;c\n1;2;3\n")))
    assert.matches('"sep=|" must be a comma', failure_of("sep=|\na|b\n"), 1, true)
  end)

  it("keeps bytes that are not UTF-8, and NULs in rows", function()
    assert.are.equal("1 a|b\n2 \255|x\0y", (read("a,b\n\255,x\0y\n")))
  end)
end)

describe("a damaged row", function()
  local function damage(line)
    return read("a,b\n" .. line .. "\n3,4\n")
  end

  it("has a reason, and the rows after it are read", function()
    assert.are.equal("1 a|b\n2 has text after a closing quote\n3 3|4", (damage('1,"x" y')))
    assert.are.equal("1 a|b\n2 has a quote within a cell that is not quoted as a whole\n3 3|4", (damage('1,5" x')))
    assert.are.equal("1 a|b\n2 has a quote within a cell that is not quoted as a whole\n3 3|4", (damage('1, "x"')))
    assert.are.equal("1 a|b\n2 has a carriage return within a cell that is not quoted\n3 3|4", (damage("1,x\ry")))
    assert.are.equal("1 a|b\n2 has a carriage return within a cell that is not quoted\n3 3|4", (damage("1,x\r\r")))
    assert.are.equal("1 a|b\n2 has a quote that is never closed\n3 3|4", (damage('1,"x')))
  end)

  it("costs one row if another row has quotes too", function()
    assert.are.equal('1 a|b\n2 has text after a closing quote\n3 3|x\n4 4|y, z',
      (read('a,b\n1,"x\n3,x\n4,"y, z"\n')))
  end)

  it("ends with the line on which its damaged cell begins", function()
    local text, _, rows = read('a,b\n"1\n2","x" y\n3,4\n')
    assert.are.equal("1 a|b\n2 has text after a closing quote\n4 3|4", text)
    assert.are.equal('"1\n2","x" y\n', rows[2].bytes)
  end)

  it("may be more than 64 KiB long; a row of 64 KiB is not damaged", function()
    for _, line_end in ipairs { "\n", "\r\n" } do
      local most = ("x"):rep(65536 - 2 - #line_end)
      local rows = rows_of("a,b\n1," .. most .. line_end .. "2," .. most .. "y" .. line_end .. '3,"' .. most .. '"'
        .. line_end .. "4,5\n", 4096)
      assert.are.same({ "1", most }, rows[2].cells)
      assert.are.same({ damage = "is longer than 64 KiB" }, rows[3].cells)
      assert.are.same({ damage = "is longer than 64 KiB" }, rows[4].cells)
      assert.are.same({ "4", "5" }, rows[5].cells)
    end
  end)

  it("is read to its end if that comes within 1 MiB, line breaks included", function()
    local long = ("x, y\n"):rep(200000)
    local text = 'a,b\n1,"' .. long .. '"\n2,3\n'
    for _, size in ipairs { 10000, 3000000 } do
      local rows = rows_of(text, size)
      assert.are.equal("1 a|b\n2 is longer than 64 KiB\n200003 2|3", shown(rows))
      assert.are.equal(text, bytes_of(rows))
    end
  end)

  it("has a quote that is never closed if it is open after 1 MiB", function()
    local text = 'a,b\n1,"x\n' .. ("2,3\n"):rep(400000) .. '4,"5"\n'
    for _, size in ipairs { 10000, 3000000 } do
      local rows, failure = rows_of(text, size)
      assert.is_nil(failure)
      assert.are.equal(400003, #rows)
      assert.are.same({ damage = "has a quote that is never closed" }, rows[2].cells)
      assert.are.same({ "2", "3" }, rows[3].cells)
      assert.are.same({ "4", "5" }, rows[400003].cells)
    end
  end)
end)

describe("a file that is no CSV", function()
  for name, message in pairs {
    ["utf16le.csv"] = "UTF-16", ["utf16be.csv"] = "UTF-16", ["utf16_no_mark.csv"] = "UTF-16, without a byte order",
    ["cr_only.csv"] = "the lines end with CR", ["workbook.xlsx"] = ".xlsx workbook", ["workbook.xls"] = ".xls workbook",
    ["page.html"] = "is HTML", ["cards.json"] = "is JSON", ["separator.csv"] = '"sep=|" must be a comma',
    ["empty.csv"] = "has no header", ["header_quote.csv"] = "the header has a quote that is never closed",
  } do
    it("is named: " .. name, function()
      assert.matches(message, failure_of(read_file(CASES .. "damaged/" .. name)), 1, true)
    end)
  end

  it("is named: PDF, gzip, XML, an empty file, NUL bytes, a text without line ends", function()
    assert.matches("PDF", failure_of("%PDF-1.7\n"), 1, true)
    assert.matches("gzip", failure_of("\31\139\8\0"), 1, true)
    assert.matches("XML", failure_of(BOM .. "<?xml version='1.0'?>"), 1, true)
    assert.matches("no header", failure_of(""), 1, true)
    assert.matches("no header", failure_of(BOM), 1, true)
    assert.matches("NUL", failure_of("value,na\0me\n"), 1, true)
    assert.matches("longer than 64 KiB", failure_of(("x"):rep(70000) .. "\n"), 1, true)
    for _, size in ipairs { 5000, 3000000 } do
      local _, failure = rows_of(("x"):rep(2000000), size)
      assert.are.equal("line 1: no row ends within 1 MiB: is the file CSV?", failure)
      local rows
      rows, failure = rows_of("a\n1\n" .. ("x"):rep(2000000) .. "\n2\n", size)
      assert.are.equal("1 a\n2 1", shown(rows))
      assert.are.equal("line 3: no row ends within 1 MiB: is the file CSV?", failure)
    end
  end)

  it("is not a card number that only looks like one", function()
    assert.are.equal("1 PK|b\n2 1|2", (read("PK,b\n1,2\n")))
    assert.are.equal("1 [a|b\n2 1|2", (read("[a,b\n1,2\n")))
    assert.are.equal("1 a\rb|c\n2 1|2", (read('"a\rb",c\n1,2\n')))
  end)
end)

describe("a reader", function()
  it("returns the message of a read that fails, from then on", function()
    local parts = { ("value\n"):rep(300), "1\n" }
    local reader = csv.reader(function()
      if parts[1] then
        return table.remove(parts, 1)
      end
      return nil, "input/output error"
    end)
    local count, cells, message = 0, reader:next()
    while cells do
      count = count + 1
      cells, message = reader:next()
    end
    assert.are.equal("input/output error", message)
    assert.is_true(count > 250)
    assert.are.same({ nil, "input/output error" }, { reader:next() })
  end)

  it("returns nil at the end, from then on, and reads no further", function()
    local reads = 0
    local reader = csv.reader(function()
      reads = reads + 1
      return reads == 1 and "a\n1\n" or nil
    end)
    assert.are.same({ "a" }, (reader:next()))
    assert.are.same({ "1" }, (reader:next()))
    for _ = 1, 3 do
      assert.are.same({}, { reader:next() })
    end
    assert.are.equal(2, reads)
  end)

  it("accepts empty chunks", function()
    local parts = { "", "a,", "", "b\n", "", "1,2" }
    local reader = csv.reader(function() return table.remove(parts, 1) end)
    assert.are.same({ "a", "b" }, (reader:next()))
    assert.are.same({ "1", "2" }, (reader:next()))
    assert.is_nil((reader:next()))
  end)

  it("needs no more memory for more rows", function()
    local left = 0
    local function most_memory(count)
      left = count
      local reader = csv.reader(function()
        left = left - 500
        return left >= 0 and ('ABC12345,Ann Lee,"x ""y"" z"\nABC12345,Ann Lee,x\n'):rep(250) or nil
      end)
      local most, n = 0, 0
      while reader:next() do
        n = n + 1
        if n % 1000 == 0 then
          collectgarbage()
          most = math.max(most, collectgarbage("count"))
        end
      end
      assert.are.equal(count, n)
      return most
    end
    most_memory(1000) -- frees what earlier tests have left
    local few = most_memory(10000)
    assert.is_true(most_memory(100000) - few < 100)
  end)
end)

-- ---- random files --------------------------------------------------------------------

local SEEDS = 1500

-- Returns a function that draws a piece of a file; pieces with a meaning in CSV are frequent.
local function pieces(draw)
  local list = { '"', '"', '""', ",", ",", ";", "\t", "\n", "\n", "\r\n", "\r", "\n\n", "a", "b", " ", "1,2", "\0",
    "\195\188", "\255", BOM, '"x"', '"x\ny"', ',"', '",', '"\n"', "'" }
  return function() return list[draw(#list)] end
end

describe("random bytes", function()
  it("are returned as they were, with the cells of the simple parser", function()
    for seed = 1, SEEDS do
      local draw = random.generator(seed)
      local piece, parts = pieces(draw), {}
      local separator = ({ ",", ";", "\t" })[draw(3)]
      parts[1] = ({ "", BOM, "\n" })[draw(3)] .. "value" .. separator .. "name" .. separator .. "n\n"
      for i = 2, draw(40) do
        parts[i] = piece()
      end
      compare(table.concat(parts), separator, "seed " .. seed)
    end
  end)

  it("in the header too give the same rows, or the same message, for all chunks", function()
    for seed = 1, SEEDS do
      local draw = random.generator(seed)
      local piece, parts = pieces(draw), {}
      for i = 1, draw(20) do
        parts[i] = piece()
      end
      local text = table.concat(parts)
      local rows, failure = rows_of(text)
      for size = 1, 3 do
        local others, other_failure = rows_of(text, size)
        local same = failure == other_failure and shown(rows) == shown(others)
        assert.is_true(same, ("seed %d, chunks of %d: %q"):format(seed, size, text))
      end
      local kept = failure and "" == bytes_of(rows) or bytes_of(rows) == text
      assert.is_true(kept, ("seed %d: %q"):format(seed, text))
    end
  end)
end)

describe("randomly damaged files", function()
  local SEPARATOR = { ["excel.csv"] = ";" }
  for _, name in ipairs { "gift_cards.csv", "members.csv", "wix_contacts.csv", "shopify_customers.csv",
    "square_customers.csv", "excel.csv" } do
    it("are returned as they were, with the cells of the simple parser: " .. name, function()
      local original = read_file(CASES .. name)
      local separator = SEPARATOR[name] or ","
      compare(original, separator, name)
      local header = #rows_of(original)[1].bytes
      for seed = 1, 40 do
        local draw = random.generator(seed)
        local piece, text = pieces(draw), original
        for _ = 1, draw(4) do
          local at = header + draw(#text - header)
          text = text:sub(1, at) .. (draw(2) == 1 and piece() or "") .. text:sub(at + draw(3))
        end
        compare(text, separator, ("%s, seed %d"):format(name, seed))
      end
    end)
  end
end)

describe("csv.cells", function()
  it("returns the cells of a row's bytes", function()
    assert.are.same({ "a", "b;c" }, csv.cells('a;"b;c"\r\n\r\n', ";"))
    assert.are.same({ damage = "has text after a closing quote" }, csv.cells('"a"b\n', ","))
  end)

  it("takes the separators of files, and no others: a line feed would separate endlessly many cells", function()
    for _, separator in ipairs { "", "\n", "\r", '"', "x" } do
      assert.has_error(function() csv.cells("a", separator) end)
    end
  end)
end)

describe("csv.row", function()
  it("quotes what needs quotes, and ends with CRLF", function()
    assert.are.equal('A1,"Lee, Ann","say ""hi""","x\ny","a;b","a\tb", c ,\r\n',
      csv.row { "A1", "Lee, Ann", 'say "hi"', "x\ny", "a;b", "a\tb", " c ", "" })
  end)

  it("takes numbers, booleans and holes", function()
    assert.are.equal("1,,true,\r\n", csv.row { 1, nil, true, nil, n = 4 })
    assert.are.equal('""\r\n', csv.row { "" })
  end)

  it("writes what the reader reads", function()
    for seed = 1, 200 do
      local draw = random.generator(seed)
      local piece, cells = pieces(draw), {}
      for i = 1, draw(5) do
        cells[i] = piece() .. piece()
      end
      local rows = rows_of("a,b\n" .. csv.row(cells))
      assert.are.same(cells, rows[2] and rows[2].cells, "seed " .. seed)
    end
  end)
end)
