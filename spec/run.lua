-- Runs the specs under the interpreter that runs this file:
--    lua5.4 spec/run.lua [busted's options]
local found, runner = pcall(require, "busted.runner")
if not found then
  io.stderr:write("busted is not installed for ", _VERSION, ": sh rockspec/deps.sh check test\n")
  os.exit(77)
end
runner({ standalone = false })
