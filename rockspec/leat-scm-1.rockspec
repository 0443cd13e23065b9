rockspec_format = "3.0"
package = "leat"
version = "scm-1"
source = {
  url = "git+https://example.org/leat.git", -- until there is a public home
}
description = {
  summary = "Contact identifiers (loyalty cards) of the Leat loyalty service",
  detailed = [[
    Finds, creates, links, unlinks, updates and deletes contact identifiers of Leat
    (formerly Piggy). A C core without I/O, connections by libcurl, and errors that say
    what happened: to a script, in an event loop, in nginx. A server to test with is the
    rock leat-sandbox.
  ]],
  license = "MIT",
  labels = { "http", "api" },
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "lua-cjson >= 2.1.0",
}
test_dependencies = {
  "busted >= 2.0",
}
-- Only the libraries are listed. The compiler finds their headers, but LuaRocks does not know
-- all the folders that it searches.
external_dependencies = {
  CURL = { library = "curl" },
}
build = {
  type = "make",
  build_target = "lua-leat",
  install_target = "install-lua-leat",
  variables = {
    LUA_INCDIR = "$(LUA_INCDIR)",
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
  },
  build_variables = {
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS)",
    LIBFLAG = "$(LIBFLAG)",
  },
  install_variables = { INST_DOCDIR = "$(PREFIX)" }, -- the README, beside docs and examples
  copy_directories = { "docs", "examples" },
}
test = {
  type = "command",
  script = "spec/run.lua",
}
