-- Returns a function that checks that a function raises an error with a message, at a line of the spec `file`.
local assert = require("luassert")

return function(file)
  return function(message, f)
    local fine, problem = pcall(f)
    assert.is_false(fine)
    assert.matches(file:gsub("%p", "%%%0") .. ":%d+: ", problem)
    assert.truthy(problem:find(message, 1, true), problem)
  end
end
