rockspec_format = "3.0"
package = "leat-cli"
version = "scm-1"
source = {
  url = "git+https://example.org/leat.git", -- until there is a public home
}
description = {
  summary = "The command leat, which manages loyalty cards of Leat from a shell",
  detailed = [[
    Finds, creates, links, unlinks, updates and deletes contact identifiers of Leat, for an
    administrator, a support desk or a cron job: many at a time, with text for people, JSON for
    programs, and an exit status for each kind of failure. `leat sandbox`, which serves a local
    copy of the API, needs the rock leat-sandbox too.
  ]],
  license = "MIT",
  labels = { "commandline", "api" },
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "argparse >= 0.7.1",
  "leat",
}
build = {
  type = "make",
  build_target = "lua-cli",
  install_target = "install-lua-cli",
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
  install = { bin = { leat = "lua/bin/leat" } },
}
