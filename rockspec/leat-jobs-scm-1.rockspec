rockspec_format = "3.0"
package = "leat-jobs"
version = "scm-1"
source = {
  url = "git+https://example.org/leat.git", -- until there is a public home
}
description = {
  summary = "Imports of cards into Leat that survive crashes, outages and power failures",
  detailed = [[
    leat.jobs, for scripts that process thousands of cards: each row once, whatever happens.
    A journal in SQLite records what is to be done before it is sent, and what became of it,
    so that a program that was killed continues where it was.
  ]],
  license = "MIT",
  labels = { "http", "api", "sqlite" },
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "lua-cjson >= 2.1.0",
  "leat",
}
external_dependencies = {
  SQLITE = { library = "sqlite3" },
}
build = {
  type = "make",
  build_target = "lua-jobs",
  install_target = "install-lua-jobs",
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
}
