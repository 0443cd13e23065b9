-- Draws a run of `leat import` in a terminal, halfway and at its end. Each time it runs the program
-- against a sandbox; the script of util-linux provides the terminal.
local svg = dofile("spec/support/doc/svg.lua")
local sandbox = require("leat.sandbox")

local COLUMNS, LINE, CHARACTER = 96, 19, 8

local LUA = os.getenv("LUA") or "lua5.4"
local COMMANDS = { "leat import --rate 60 --settle 1 cards.csv",
  "cut -d, -f1,2,4,5 cards.results.csv | grep -v created" }

-- Some cards exist already, one of them with another contact; a spreadsheet damaged one value; one is listed twice.
local function write_cards(path)
  local file = assert(io.open(path, "w"))
  file:write("value,name,contact_uuid\n")
  for i = 1, 240 do
    local value = i == 77 and "4.25E+11" or i == 150 and "KR-0149" or ("KR-%04d"):format(i)
    file:write(value, ",Krabby Membership,", i % 2 == 0 and "ann" or "bob", "\n")
  end
  file:close()
end

local function serve()
  local server = assert(sandbox.start {
    contacts = { { uuid = "ann" }, { uuid = "bob" } },
    cards = { { value = "KR-0020", contact_uuid = "bob" }, { value = "KR-0030" } },
  })
  server:fault { operation = "create", value = "KR-0100", apply = true, close = "before" }
  return server
end

-- Makes a folder with the file, and with the command, which finds its modules through the environment.
local function make_folder()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  write_cards(folder .. "/cards.csv")
  local pipe = assert(io.popen(('exec 2>&1; printf "#!/bin/sh\\nexec %s $PWD/lua/bin/leat \\"\\$@\\"\\n" >%s/leat '
    .. '&& chmod +x %s/leat'):format(LUA, folder, folder)))
  assert(pipe:read("*a") == "")
  pipe:close()
  return folder
end

-- Returns the terminal's output, and the rows of the results whose outcome is not "created".
local function run(server)
  local folder = make_folder()
  local pipe = assert(io.popen(("cd %s && PATH=.:$PATH XDG_STATE_HOME=$PWD/state LEAT_API_KEY=%s LEAT_BASE_URL=%s "
    .. "script -qec '%s' /dev/null </dev/null; echo ===; %s"):format(folder, server.api_key, server.url, COMMANDS[1],
    COMMANDS[2])))
  local output = pipe:read("*a"):gsub("\r\n", "\n"):gsub(folder .. "/", "")
  pipe:close()
  os.execute("rm -r " .. folder)
  local told, rest = output:match("^(.-)===\n(.*)$")
  return assert(told, output), rest
end

-- A line is the text after its last carriage return, after which the program clears the line.
local function screen(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do
    line = line:match("[^\r]*$"):gsub("\27%[K", "")
    repeat
      lines[#lines + 1] = line:sub(1, COLUMNS)
      line = line:sub(COLUMNS + 1)
    until line == ""
  end
  return lines
end

-- Returns the first state of the bar that shows at least half.
local function halfway(text)
  for state in text:gmatch("\r([^\r\n]*)") do
    local done, total = state:match("(%d+) of (%d+) processed")
    if done and done * 2 >= total + 0 then
      return screen(text:match("^[^\r]*\n") .. state .. "\n")
    end
  end
  error("no bar was shown:\n" .. text)
end

local function draw_terminal(page, y, note, blocks)
  local count = 0
  for _, block in ipairs(blocks) do
    count = count + 1 + #block.lines
  end
  page:text(20, y + 14, note, "strong")
  page:box(16, y + 24, COLUMNS * CHARACTER + 24, count * LINE + 20, "terminal")
  y = y + 46
  for _, block in ipairs(blocks) do
    page:text(28, y, "$ " .. block.command, "code prompt")
    for i, line in ipairs(block.lines) do
      page:text(28, y + i * LINE, (line:gsub(" ", "\194\160")), "code screen") -- SVG collapses other spaces
    end
    y = y + (1 + #block.lines) * LINE
  end
  return y + 10
end

return function()
  local server = serve()
  local told, rest = run(server)
  server:stop()
  local first, middle = screen(told), halfway(told)
  local blocks = { { command = COMMANDS[1], lines = first }, { command = COMMANDS[2], lines = screen(rest) } }
  local height = 132 + (#middle + #first + #blocks[2].lines + 2) * LINE
  local page = svg.new(COLUMNS * CHARACTER + 56, height, "An import in a terminal",
    "leat import creates the cards of a file. Halfway: " .. middle[#middle] .. ". At the end: " .. first[#middle])
  local y = draw_terminal(page, 12, "Halfway", { { command = blocks[1].command, lines = middle } })
  draw_terminal(page, y, "At the end, and what needs a look", blocks)
  return tostring(page)
end
