-- Returns the interpreter that runs this file, as a word of a shell command.
local i = 0
while arg[i - 1] do
  i = i - 1
end
return arg[i]
