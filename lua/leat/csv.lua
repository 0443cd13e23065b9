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

local byte, find, gsub, match, sub = string.byte, string.find, string.gsub, string.match, string.sub

-- A longer row is damaged. A text of more than MAX_PENDING bytes without a line end is not read to its end:
-- memory would grow with it.
local MAX_ROW = 64 * 1024
local MAX_PENDING = 1024 * 1024
local BEGINNING = 1024 -- tells what kind of file it is
local NONE = math.huge
local LF, CR, QUOTE = 10, 13, 34

local SEPARATORS = { ",", ";", "\t" }
local CELL_END = { [","] = '[,"\r\n]', [";"] = '[;"\r\n]', ["\t"] = '[\t"\r\n]' }

-- ---- one row, cell by cell -----------------------------------------------------------

-- These functions return nil if the text ends too early. With `final`, the file ends where the text does.

local function unfinished(final)
  if final then
    return false
  end
end

-- Returns the cell whose opening quote is at `at`, and the position after its closing quote; or false if that is not
-- before `limit`.
local function read_quoted(text, at, final, limit)
  local doubled, from = false, at + 1
  while true do
    local close = find(text, '"', from, true)
    if not close or close >= limit or close == #text and not final then
      return unfinished(final or close and close >= limit)
    elseif byte(text, close + 1) ~= QUOTE then
      local cell = sub(text, at + 1, close - 1)
      return doubled and gsub(cell, '""', '"') or cell, close + 1
    end
    doubled, from = true, close + 2
  end
end

-- Returns the cell at `at` and the position after it; or false, and the damage.
local function read_cell(text, at, separator, final, limit)
  if byte(text, at) == QUOTE then
    local cell, after = read_quoted(text, at, final, limit)
    if cell == false then
      return false, "has a quote that is never closed"
    end
    return cell, after
  end
  local after = find(text, CELL_END[separator], at)
  if not after then
    after = final and #text + 1 or nil
  elseif byte(text, after) == QUOTE then
    return false, "has a quote within a cell that is not quoted as a whole"
  end
  return after and sub(text, at, after - 1), after
end

-- Returns whether a cell follows that ends before `at`, and where it, or else the next row, begins; or false, and
-- the damage.
local function read_end(text, at, separator, final)
  local code = byte(text, at)
  if code == byte(separator) then
    return true, at + 1
  elseif code == LF or not code and final then
    return false, code and at + 1 or at
  elseif code == CR and (at < #text or final) then
    local next_code = byte(text, at + 1)
    if next_code == LF or not next_code then
      return false, next_code and at + 2 or at + 1
    end
    return false, nil, "has a carriage return within a cell that is not quoted"
  elseif code and code ~= CR then
    return false, nil, "has text after a closing quote"
  end
end

-- Returns a damaged row, which ends with the line on which the cell at `at` begins.
local function damaged(text, at, damage, final)
  local stop = find(text, "\n", at, true)
  if stop or final then
    return { damage = damage }, stop and stop + 1 or #text + 1
  end
end

-- Returns the cells of the row at `at`, and the position after its line end.
local function read_row(text, at, separator, final)
  local cells, count, begin = {}, 0, at
  while true do
    local cell, after = read_cell(text, at, separator, final, begin + MAX_PENDING)
    if cell == nil then
      return nil
    elseif not cell then
      return damaged(text, at, after, final)
    end
    count = count + 1
    cells[count] = cell
    local more, next_at, damage = read_end(text, after, separator, final)
    if more == nil then
      return nil
    elseif damage then
      return damaged(text, at, damage, final)
    elseif not more then
      return next_at - begin > MAX_ROW and { damage = "is longer than 64 KiB" } or cells, next_at
    end
    at = next_at
  end
end

-- Returns where the text continues after empty lines, or nil if more may follow.
local function skip_empty_lines(text, at, final)
  local code = byte(text, at)
  while code == LF or code == CR do
    local after = match(text, "^\r?\n()", at) or final and match(text, "^\r()$", at)
    if not after then
      return (final or at < #text) and at or nil
    end
    at = after
    code = byte(text, at)
  end
  return (code or final) and at or nil
end

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
  if not separator or CELL_END[separator] then
    return after or at, separator
  end
  return nil, ("the separator in \"sep=%s\" must be a comma, a semicolon or a tab"):format(separator)
end

-- ---- the reader ----------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader

-- Returns a reader of the text that `read` returns in chunks: strings, then nil, or nil and a message.
function csv.reader(read)
  return setmetatable({ read = read, text = "", at = 1, line = 1, next_quote = NONE, next_return = NONE }, Reader)
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
  self.next_quote, self.next_return = 0, 0
  self:look_ahead()
  return true
end

-- Finds the next quote and the next CR, so that rows without them need no search for them.
function Reader:look_ahead()
  if self.next_quote < self.at then
    self.next_quote = find(self.text, '"', self.at, true) or NONE
  end
  if self.next_return < self.at then
    self.next_return = find(self.text, "\r", self.at, true) or NONE
  end
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
  self:look_ahead()
  return cells, bytes, line
end

-- ---- the header ----------------------------------------------------------------------

-- Returns the cells of the header, read with the separator that gives the most.
local function parse_header(reader, text, _, final)
  local at = skip_empty_lines(text, reader.header_at, final)
  local best, best_stop
  for _, separator in ipairs(at and SEPARATORS or {}) do
    local cells, stop = read_row(text, at, reader.separator or separator, final)
    stop = cells and skip_empty_lines(text, stop, final)
    if not stop then
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
  local cells, stop = read_row(text, at, reader.separator, final)
  stop = cells and skip_empty_lines(text, stop, final)
  return stop and cells, stop
end

-- Reads any row: with quotes, at the end of a chunk, before empty lines, damaged, or the header.
function Reader:next_slowly()
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

-- Returns the cells of a line of `text` without quotes and without its line end.
local function split(text, at, last, separator)
  local cells, count = {}, 0
  local stop = find(text, separator, at, true)
  while stop and stop <= last do
    count = count + 1
    cells[count] = sub(text, at, stop - 1)
    at = stop + 1
    stop = find(text, separator, at, true)
  end
  cells[count + 1] = sub(text, at, last)
  return cells
end

--- Returns the cells of the next row, its bytes, and the number of the line where it begins. Returns nil at the end
-- of the file; nil and a message if the file cannot be read, or is no CSV. The first row is the header; after it,
-- `reader.separator` is known.
function Reader:next()
  local text, at = self.text, self.at
  local stop = find(text, "\n", at, true)
  local after = stop and byte(text, stop + 1)
  if not after or after == LF or after == CR or self.next_quote < stop or stop - at >= MAX_ROW
    or not self.header_at then
    return self:next_slowly()
  end
  local last = stop - 1
  if self.next_return <= last then
    if self.next_return < last then
      return self:next_slowly() -- it is within a cell
    end
    last = last - 1
    self.next_return = find(text, "\r", stop, true) or NONE
  end
  local line = self.line
  self.at, self.line = stop + 1, line + 1
  return split(text, at, last, self.separator), sub(text, at, stop), line
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
