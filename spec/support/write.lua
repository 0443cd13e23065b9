-- Writes a text to a file, which it replaces.
return function(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end
