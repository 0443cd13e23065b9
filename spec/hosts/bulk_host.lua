-- The progress bar of the bulk script, on a terminal that script(1) makes. Not every build machine
-- can make a terminal, so this is not among the ordinary specs.
local interpreter = dofile("spec/support/interpreter.lua")

it("bulk.lua shows a bar on a terminal", function()
  local sandbox = assert(require("leat.sandbox").start())
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("value\n")
  for i = 1, 50 do
    file:write(("%04d\n"):format(i))
  end
  file:close()
  local command = ("LEAT_API_KEY=%s LEAT_BASE_URL=%s %s examples/bulk.lua --rate 100 %s"):format(sandbox.api_key,
    sandbox.url, interpreter, path)
  local pipe = assert(io.popen(('script -qec "%s" /dev/null'):format(command)))
  local output = pipe:read("*a")
  pipe:close()
  os.execute("rm " .. path .. "*")
  sandbox:stop()
  assert.truthy(output:find("\r%[#+ +%] %d+ of 50, 0 failed, %d+/s, ETA %d:%d%d\27%[K"), output)
  assert.truthy(output:find("\r%[####################%] 50 of 50, 0 failed, %d+/s, ETA 0:00\27%[K\r?\n"), output)
end)
