rockspec_format = "3.0"
package = "leat-sandbox"
version = "scm-1"
source = {
  url = "git+https://example.org/leat.git", -- until there is a public home
}
description = {
  summary = "A server in your process that behaves like the API of Leat, for tests",
  detailed = [[
    leat.sandbox, for tests of programs that use leat: it holds contact identifiers, responds
    as the API does, and fails when asked to: lost and late responses, maintenance, rate limits.
  ]],
  license = "MIT",
  labels = { "http", "test" },
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "lua-cjson >= 2.1.0",
  "leat",
}
external_dependencies = {
  MICROHTTPD = { library = "microhttpd" },
  JANSSON = { library = "jansson" },
}
build = {
  type = "make",
  build_target = "lua-sandbox",
  install_target = "install-lua-sandbox",
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
