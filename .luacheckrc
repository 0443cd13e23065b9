-- luacheck .   What is in every one of Lua 5.1 to 5.4 and LuaJIT.
std = "min"
read_globals = { "loadstring", "jit" }
max_line_length = 120
cache = false
exclude_files = { "build", "lua_modules" }
files["lua/leat/types.lua"] = { unused = false, unused_args = false, unused_secondaries = false }
files["spec"] = { std = "min+busted" }
files["examples/*_spec.lua"] = { std = "min+busted" }
files["rockspec/*.rockspec"] = { std = "rockspec" }
files["rockspec/luarocks-config.lua"] = { globals = { "rocks_servers", "rocks_provided", "gcc_rpath" } }
files["examples/luanti"] = { read_globals = { "minetest" } }
files["spec/hosts/luanti_test"] = { globals = { "minetest" } }
files["examples/neovim"] = { read_globals = { "vim" } }
files["spec/hosts/neovim_test.lua"] = { read_globals = { "vim" } }
files["spec/nginx/app.lua"] = { read_globals = { "ngx" } }
files["spec/bench/nginx_handlers.lua"] = { globals = { "ngx" } }
files["examples/openresty"] = { globals = { "ngx" } }
