-- The token must not appear in any output, not even in the log of a failing test.
local CANARY = "1|canary-" .. ("7d1f"):rep(8)

local interpreter = dofile("spec/support/interpreter.lua")

it("no piece of the token stands in what failing tests print", function()
  local command = ("LEAT_TEST_KEY='%s' %s spec/run.lua --pattern=failing_case spec/support 2>&1")
    :format(CANARY, interpreter)
  local pipe = assert(io.popen(command))
  local output = pipe:read("*a")
  pipe:close()
  assert.truthy(output:find("\n0 successes / %d+ failures? / %d+ errors? / 0 pending"), output)
  assert.truthy(output:find("[token]", 1, true), output)
  for i = 1, #CANARY - 7 do
    local piece = CANARY:sub(i, i + 7)
    if output:find(piece, 1, true) then
      error("a piece of the token, from byte " .. i .. " on, stands in the output")
    end
  end
end)
