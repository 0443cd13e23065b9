-- CSV as in RFC 4180: quoted cells may contain commas, line breaks and doubled quotes. It also reads
-- what spreadsheets write: a byte order mark, and semicolons or tabs instead of commas, if the first
-- separator in the first line is one.
local csv = {}

local function fail(line, message)
  error(("line %d: %s"):format(line, message), 0)
end

-- Returns the cell whose opening quote is at `at`, the position after it, and the line there.
local function read_quoted(text, at, line)
  local close = at
  repeat
    close = text:find('"', close + 1, true) or fail(line, "a quote that is never closed")
    local doubled = text:sub(close + 1, close + 1) == '"'
    close = doubled and close + 1 or close
  until not doubled
  local cell = text:sub(at + 1, close - 1)
  local _, breaks = cell:gsub("\n", "")
  return (cell:gsub('""', '"')), close + 1, line + breaks
end

local function read_cell(text, at, line, separator)
  if text:sub(at, at) == '"' then
    return read_quoted(text, at, line)
  end
  local cell, after = text:match('^([^"\r\n' .. separator .. "]*)()", at)
  return cell, after, line
end

-- Returns the cells of the row at `at`, where the next row begins, and its line.
local function read_row(text, at, line, separator)
  local cells = {}
  while true do
    cells[#cells + 1], at, line = read_cell(text, at, line, separator)
    local after = text:match("^\r?\n()", at)
    if after or at > #text then
      return cells, after or at, line + 1
    elseif text:sub(at, at) ~= separator then
      fail(line, "a quote or a line break within a cell: such a cell needs quotes around it")
    end
    at = at + 1
  end
end

--- Iterates over the rows of a text, without empty lines. Returns the number of the line where a row
-- begins, and its cells, which are strings. Raises an error if the text is not valid.
--    for line, cells in csv.rows(text) do ... end
function csv.rows(text)
  local at, line = text:match("^\239\187\191()") or 1, 1
  local separator = text:match("^[^\r\n]-([,;\t])") or ","
  return function()
    while at <= #text do
      local begun, cells = line
      cells, at, line = read_row(text, at, line, separator)
      if cells[2] or cells[1] ~= "" then
        return begun, cells
      end
    end
  end
end

--- Returns a row as text, with its line break.
function csv.row(...)
  local cells = { ... }
  for i, cell in ipairs(cells) do
    cell = tostring(cell)
    cells[i] = cell:find('[",;\t\r\n]') and '"' .. cell:gsub('"', '""') .. '"' or cell
  end
  return table.concat(cells, ",") .. "\r\n"
end

return csv
