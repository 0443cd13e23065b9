-- Finds each card that a scanner reads, whatever suffix the scanner sends:
--    lua5.4 examples/recipes/scanner.lua </dev/ttyACM0
local leat = require("leat")

local cards = leat.from_env { timeout = 5 }.contact_identifiers

-- Returns an iterator over the scanned values, without the spaces around them. A CR, LF or
-- tab ends a scan, and so does the end of the input. Empty scans are skipped.
local function scans(input)
  local ended = false
  return function()
    while not ended do
      local scanned = {}
      local byte = input:read(1)
      while byte and not byte:find("[\r\n\t]") do
        scanned[#scanned + 1] = byte
        byte = input:read(1)
      end
      ended = not byte
      local value = table.concat(scanned):match("^%s*(.-)%s*$")
      if value ~= "" then
        return value
      end
    end
  end
end

io.stdout:setvbuf("line")
for value in scans(io.stdin) do
  -- find would raise an error for a garbled scan.
  local accepted, wrong = cards:validate("find", value)
  if accepted then
    local card, err = cards:find(value)
    print(card and tostring(card) or ("%s: %s"):format(value, err.kind))
  else
    print(wrong)
  end
end
