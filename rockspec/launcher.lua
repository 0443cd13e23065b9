-- Writes the `leat` command as a program for one interpreter, which finds its modules in the given folders
-- before those of the environment.
--    lua5.4 rockspec/launcher.lua FILE INTERPRETER LUADIR LIBDIR
local target, interpreter, luadir, libdir = ...

local function refuse(why, path)
  io.stderr:write(("launcher: %s: %s\n"):format(why, path))
  os.exit(1)
end

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

if interpreter:find("%s") then
  refuse("a program cannot name an interpreter whose path has a blank", interpreter)
end
for _, folder in ipairs { luadir, libdir } do
  if not folder:find("^/") then
    refuse("the command needs absolute paths of its modules, so PREFIX must be one", folder)
  elseif folder:find("[;?]") then
    refuse("Lua finds no modules in a folder whose path has ';' or '?'", folder)
  end
end

local text = table.concat({
  "#!" .. interpreter,
  ("package.path = %q .. package.path"):format(luadir .. "/?.lua;"),
  ("package.cpath = %q .. package.cpath"):format(libdir .. "/?.so;"),
  (read("lua/bin/leat"):gsub("^#![^\n]*\n", "")),
}, "\n")
if read(target) ~= text then
  local file = assert(io.open(target, "wb"))
  assert(file:write(text))
  assert(file:close())
end
