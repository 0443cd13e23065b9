-- Lets LuaRocks work without a network; the system's packages provide the dependencies:
--    LUAROCKS_CONFIG=rockspec/luarocks-config.lua luarocks --lua-version 5.4 make ...
rocks_servers = {}
rocks_provided = {
  ["argparse"] = "0.7.1-1",
  ["lua-cjson"] = "2.1.0-1",
  ["busted"] = "2.1.1-1",
}
gcc_rpath = false
