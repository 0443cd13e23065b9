rockspec_format = "3.0"
package = "leat-postgres"
version = "scm-1"
source = {
  url = "git+https://example.org/leat.git", -- until there is a public home
}
description = {
  summary = "PostgreSQL for Leat: one rate for several machines, and their jobs",
  detailed = [[
    leat.postgres, a limiter through which several machines share one rate; and leat.postgres.core,
    a thin layer over libpq, for jobs whose journal is in PostgreSQL. Nothing waits for the server
    longer than its deadline.
  ]],
  license = "MIT",
  labels = { "http", "api", "postgresql" },
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "leat",
}
external_dependencies = {
  POSTGRES = { library = "pq" },
}
build = {
  type = "make",
  build_target = "lua-postgres",
  install_target = "install-lua-postgres",
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
