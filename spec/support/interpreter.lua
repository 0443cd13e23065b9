-- The interpreter that runs this, as a word of a command.
local i = 0
while arg[i - 1] do
  i = i - 1
end
return arg[i]
