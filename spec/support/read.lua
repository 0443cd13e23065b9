-- Returns the contents of a file. With `optional`, nil if it is not there.
return function(path, optional)
  local file, why = io.open(path)
  if not file and optional then
    return nil
  end
  assert(file, why)
  local text = file:read("*a")
  file:close()
  return text
end
