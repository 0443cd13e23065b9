-- Writes a file of cards, as a shop has one: values, names, some of which are quoted, and whether they are active.
--    jobs_rows.lua N FILE
local N, path = tonumber(arg[1]), arg[2]

local names = { "Krabby Membership", '"Doe, Jane"', "Zoë", '"The ""Gold"" Club"', "" }
local file = assert(io.open(path, "w"))
file:setvbuf("full", 65536)
file:write("value,name,active\r\n")
for i = 1, N do
  file:write(("%012d-%02d,%s,%s\r\n"):format(i * 7919, i % 97, names[i % #names + 1], i % 50 == 0 and "no" or "yes"))
end
assert(file:close())
