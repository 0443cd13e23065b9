-- Makes the pictures of the README and the guides: make pictures
local folder = "docs/pictures/"

for _, name in ipairs { "architecture", "bench", "import" } do
  local text = dofile("spec/support/doc/" .. name .. ".lua")()
  local file = assert(io.open(folder .. name .. ".svg", "w"))
  file:write(text)
  file:close()
  print(folder .. name .. ".svg")
end
