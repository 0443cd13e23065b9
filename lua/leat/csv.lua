-- CSV as in RFC 4180: quoted cells may contain separators, line breaks and doubled quotes. It also reads what
-- spreadsheets write: a byte order mark, semicolons or tabs instead of commas, and Excel's first line "sep=;".
--
-- The reader needs a chunk of the file at a time and returns each row with its original bytes. Together these are
-- the file, byte for byte: the byte order mark belongs to the header, and an empty line to the row before it.
--
--    local reader = csv.reader(function() return file:read(65536) end)
--    local header, bytes = reader:next()
--    for cells, row_bytes, line in function() return reader:next() end do ... end
--
-- A damaged row has `cells.damage`, which says what is wrong ("has text after a closing quote"), and the rows after
-- it can be read. It ends with the line on which its damaged cell begins, so that a stray quote costs one row and not
-- the rest of the file.
local csv = {}

local core = require("leat.csv.core")

local find, gsub, match, sub = string.find, string.gsub, string.match, string.sub

-- A text of more bytes without a line end is not read to its end: memory would grow with it.
local MAX_PENDING = core.MAX_PENDING
local BEGINNING = 1024 -- tells what kind of file it is

local SEPARATORS = { ",", ";", "\t" }
local IS_SEPARATOR = { [","] = true, [";"] = true, ["\t"] = true }

-- ---- files that are no CSV -----------------------------------------------------------

local ADVICE = ": save it as CSV UTF-8"
local SIGNATURES = {
  { "^\255\254", "the file is UTF-16, as Excel's \"Unicode Text\" is" .. ADVICE },
  { "^\254\255", "the file is UTF-16, as Excel's \"Unicode Text\" is" .. ADVICE },
  { "^PK[\3\5]", "the file is an .xlsx workbook, or another ZIP archive, not CSV: open it and save it as CSV UTF-8" },
  { "^\208\207\17\224", "the file is an .xls workbook, not CSV: open it and save it as CSV UTF-8" },
  { "^\31\139", "the file is compressed (gzip): decompress it first" },
  { "^%%PDF", "the file is a PDF document, not CSV" },
  { "^%s*<[%a!?]", "the file is HTML or XML, not CSV: if it was downloaded, the page may be a login or an error" },
  { "^%s*[%[{][%[{%s]*\"", "the file is JSON, not CSV" },
}

-- Returns what the file is, if it is no CSV. `text` is its beginning, `at` the position after a byte order mark.
local function recognize(text, at)
  for _, signature in ipairs(SIGNATURES) do
    if find(text, signature[1], at) then
      return signature[2]
    end
  end
  local null = find(text, "\0", at, true)
  if null and null < at + 2 then
    return "the file is UTF-16, without a byte order mark" .. ADVICE
  end
  local unquoted = gsub(sub(text, at), '"[^"]*"', "")
  if find(unquoted, '^[^"\r\n]*\r[^\n]') then
    return "the lines end with CR, not with LF or CRLF, as in old Macintosh files" .. ADVICE
  end
end

-- Returns the position after a line "sep=;" at `at`, and the separator that it names; or nil and a message if there
-- is such a line, with another separator.
local function read_separator(text, at)
  local separator, after = match(text, "^[sS][eE][pP]=([^\r\n]*)\r?\n()", at)
  if not separator or IS_SEPARATOR[separator] then
    return after or at, separator
  end
  return nil, ("the separator in \"sep=%s\" must be a comma, a semicolon or a tab"):format(separator)
end

-- ---- the reader ----------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader

-- Returns a reader of the text that `read` returns in chunks: strings, then nil, or nil and a message.
function csv.reader(read)
  return setmetatable({ read = read, text = "", at = 1, line = 1 }, Reader)
end

function Reader:fail(message)
  self.failure, self.text, self.at = message, "", 1
  return nil, message
end

-- Appends at least as much text as is pending, so that a row in many chunks is not copied for each of them.
function Reader:fill()
  local rest = sub(self.text, self.at)
  local chunks, size = { rest }, 0
  repeat
    local chunk, message = self.read()
    if message and not chunk then
      return self:fail(message)
    end
    self.ended = not chunk
    chunks[#chunks + 1] = chunk
    size = size + #(chunk or "")
  until self.ended or size > 0 and size >= #rest
  self.text, self.at = table.concat(chunks), 1
  return true
end

-- Parses the next MAX_PENDING bytes as if the file ended there: what is still open then remains so.
function Reader:parse_limited(parse)
  local window = sub(self.text, self.at, self.at + MAX_PENDING - 1)
  local cells, stop = parse(self, window, 1, true)
  if stop > #window then
    return self:fail(("line %d: no row ends within 1 MiB: is the file CSV?"):format(self.line))
  end
  return cells, self.at + stop - 1
end

-- Calls parse(self, text, at, final), and again with more text while it returns nil. Returns the cells and where the
-- next row begins, or nil and a message.
function Reader:parse(parse)
  while true do
    local cells, stop = parse(self, self.text, self.at, self.ended)
    if (stop or #self.text) - self.at >= MAX_PENDING then
      return self:parse_limited(parse)
    elseif cells then
      return cells, stop
    elseif not self:fill() then
      return nil, self.failure
    end
  end
end

-- Returns the cells, the bytes up to the next row, which begins at `stop`, and the line.
function Reader:take(cells, stop)
  local line, bytes = self.line, sub(self.text, self.at, stop - 1)
  local _, count = gsub(bytes, "\n", "")
  self.at, self.line = stop, line + count
  return cells, bytes, line
end

-- ---- the header ----------------------------------------------------------------------

-- Returns the cells of the header, read with the separator that gives the most.
local function parse_header(reader, text, _, final)
  local at = core.skip_empty_lines(text, reader.header_at, final)
  local best, best_stop
  for _, separator in ipairs(at and SEPARATORS or {}) do
    local cells, stop = core.row(text, at, reader.separator or separator, final)
    if not cells then
      return nil
    elseif not best or #cells > #best then
      best, best_stop, reader.best = cells, stop, separator
    end
  end
  return best, best_stop
end

function Reader:read_beginning()
  while #self.text < BEGINNING and not self.ended do
    if not self:fill() then
      return nil
    end
  end
  local beginning = sub(self.text, 1, BEGINNING)
  local at = match(beginning, "^\239\187\191()") or 1
  local failure = recognize(beginning, at)
  self.header_at, self.separator = read_separator(beginning, at)
  if failure or not self.header_at then
    return self:fail(failure or self.separator)
  end
  return true
end

function Reader:read_header()
  if not self:read_beginning() then
    return nil, self.failure
  end
  local cells, stop = self:parse(parse_header)
  if not cells then
    return nil, stop
  elseif cells.damage then
    return self:fail("the header " .. cells.damage)
  elseif #cells == 1 and cells[1] == "" then
    return self:fail("the file has no header: its first line must name the columns")
  elseif find(table.concat(cells), "\0", 1, true) then
    return self:fail("the header contains NUL bytes: the file is not a text file")
  end
  self.separator = self.separator or self.best
  return self:take(cells, stop)
end

-- ---- rows ----------------------------------------------------------------------------

local function parse_row(reader, text, at, final)
  return core.row(text, at, reader.separator, final)
end

--- Returns the cells of the next row, its bytes, and the number of the line where it begins. Returns nil at the end
-- of the file; nil and a message if the file cannot be read, or is no CSV. The first row is the header; after it,
-- `reader.separator` is known.
function Reader:next()
  if self.failure then
    return nil, self.failure
  elseif not self.header_at then
    return self:read_header()
  elseif self.at > #self.text and (self.ended or not self:fill() or self.at > #self.text) then
    return nil, self.failure
  end
  local cells, stop = self:parse(parse_row)
  if not cells then
    return nil, stop
  end
  return self:take(cells, stop)
end

--- Reads rows behind the header that are plain, as leat_csv.c defines it: whatever the operation, no check would
-- reject them, and their values are new to the filter. `columns` are those of columns.match. Stores what leat_csv.c
-- says of the rows in `list`; the first one has the number `n`. Returns how many they are and the text that the list
-- refers to. It is 0 before a row that must be read by `next`.
function Reader:scan(columns, filter, n, list)
  local text = self.text
  local count, at, line = core.scan(text, self.at, self.separator, columns, filter, n, self.line, list)
  self.at, self.line = at, line
  return count, text
end

--- Returns the cells of a row's bytes.
function csv.cells(bytes, separator)
  return (core.row(bytes, 1, separator, true))
end

-- ---- writing -------------------------------------------------------------------------

--- Returns a row as text, with its line end: CRLF. `cells` may have holes, which are empty cells, if it has `n`.
function csv.row(cells)
  local texts, count = {}, cells.n or #cells
  for i = 1, count do
    local text = cells[i] == nil and "" or tostring(cells[i])
    local quoted = find(text, '[",;\t\r\n]') or text == "" and count == 1 -- else it would be an empty line
    texts[i] = quoted and '"' .. gsub(text, '"', '""') .. '"' or text
  end
  return table.concat(texts, ",") .. "\r\n"
end

return csv
