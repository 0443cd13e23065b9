-- Draws the figures of docs/benchmarks.md as bars: the CPU time of a find, its median, and the range of the rounds.
local svg = dofile("spec/support/doc/svg.lua")
local read = dofile("spec/support/read.lua")

local COLUMN = "CPU us/find"
local LABELS, PLOT, ROW = 250, 440, 26 -- the bars begin at LABELS and are at most PLOT wide

local function cells_of(line)
  local cells = {}
  for cell in line:gmatch("|%s*([^|]-)%s*%f[|]") do
    cells[#cells + 1] = cell
  end
  return cells
end

-- Returns the rows of one table, for the drawn column: { client, median, least, most }; false without that column.
local function rows_of(lines)
  local rows, column = {}, nil
  for i, line in ipairs(lines) do
    local cells = cells_of(line)
    for n, cell in ipairs(cells) do
      column = i == 1 and cell == COLUMN and n or column
    end
    local median, least, most = (cells[column] or ""):match("^([%d.]+) %[([%d.]+)%.%.([%d.]+)%]$")
    if median then
      rows[#rows + 1] = { cells[1], tonumber(median), tonumber(least), tonumber(most) }
    end
  end
  return column and rows
end

-- Returns the tables that have that column; the title of each is the line above it.
local function tables_of(text)
  local tables, lines, title = {}, {}, nil
  for line in (text .. "\n\n"):gmatch("([^\n]*)\n") do
    if line:find("^|") then
      lines[#lines + 1] = line
    else
      local rows = #lines > 0 and rows_of(lines)
      if rows then
        tables[#tables + 1] = { title = title:match("^[^,:]*"), rows = rows }
      end
      lines, title = {}, line ~= "" and line or title
    end
  end
  return tables
end

local function draw_row(page, y, row, scale)
  local client, median, least, most = row[1], row[2], row[3], row[4]
  page:text(LABELS - 10, y + 14, client, client:find("^leat") and "strong right" or "right")
  page:bar(LABELS, y + 3, median * scale, 15, client:find("^leat") and "ours" or "bar")
  page:line(LABELS + least * scale, y + 10.5, LABELS + most * scale, y + 10.5, "range")
  page:text(LABELS + most * scale + 8, y + 15, ("%.1f"):format(median), "small")
end

local function draw_table(page, y, one, scale)
  page:text(24, y, one.title, "strong")
  page:line(LABELS, y + 10, LABELS, y + 14 + #one.rows * ROW, "axis")
  for i, row in ipairs(one.rows) do
    draw_row(page, y + 12 + (i - 1) * ROW, row, scale)
  end
  return y + 12 + #one.rows * ROW + 36
end

return function()
  local tables = tables_of(read("docs/benchmarks.md"))
  assert(#tables > 0, "docs/benchmarks.md has no table with a column " .. COLUMN)
  local most, height = 0, 74
  for _, one in ipairs(tables) do
    height = height + #one.rows * ROW + 48
    for _, row in ipairs(one.rows) do
      most = math.max(most, row[4])
    end
  end
  local page = svg.new(760, height, "What a find costs", "Bars: microseconds of CPU a find, of leat and of other "
    .. "clients. The figures are those of the tables in docs/benchmarks.md.")
  page:text(24, 34, "CPU time of a find, in microseconds: less is better", "title")
  page:text(24, 56, "bar: the median of all rounds; line: from the least to the most. "
    .. "libcurl's loops decode nothing; the clients do", "small")
  local y = 92
  for _, one in ipairs(tables) do
    y = draw_table(page, y, one, PLOT / most)
  end
  return tostring(page)
end
