/*
** lua_torture.c - a Lua interpreter that makes its memory run out on demand. The
** library's modules, those of jobs and the sandbox are linked into it.
**
**   lua_torture SCRIPT [ARGUMENT]...
**
** The script finds a table `torture`:
**   torture.call(source, at, sticky, f)  calls f while allocation `at` of "lua" or "ours"
**                                        fails (0: none); returns whether one failed,
**                                        then the results of pcall
**   torture.blocks()                     returns how many blocks that were allocated in
**                                        torture.call as "ours" are live
**   torture.descriptors(url [, wanted])  returns how many descriptors are open, except
**                                        that sandbox's; or whether it is that many
*/
#include "compat.h"
#include "failing.h"

#include <malloc.h>
#include <sqlite3.h>
#include <stdio.h>

LEAT_API int luaopen_leat_core(lua_State *L);
LEAT_API int luaopen_leat_curl_core(lua_State *L);
LEAT_API int luaopen_leat_sandbox_core(lua_State *L);
LEAT_API int luaopen_leat_sqlite_core(lua_State *L);
LEAT_API int luaopen_leat_csv_core(lua_State *L);
LEAT_API int luaopen_leat_jobs_core(lua_State *L);

/* ---- SQLite's memory, which counts as ours --------------------------------------- */

static void *sqlite_malloc(int size) {
  return __wrap_malloc((size_t)size);
}

static void *sqlite_realloc(void *old, int size) {
  return __wrap_realloc(old, (size_t)size);
}

static int sqlite_size(void *block) {
  return block ? (int)malloc_usable_size(block) : 0;
}

static int sqlite_round_up(int size) {
  return size;
}

static int sqlite_start(void *user) {
  (void)user;
  return SQLITE_OK;
}

static void sqlite_stop(void *user) {
  (void)user;
}

static bool take_over_sqlite(void) {
  static const sqlite3_mem_methods methods = {
      .xMalloc = sqlite_malloc,
      .xFree = __wrap_free,
      .xRealloc = sqlite_realloc,
      .xSize = sqlite_size,
      .xRoundup = sqlite_round_up,
      .xInit = sqlite_start,
      .xShutdown = sqlite_stop,
  };
  return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK &&
         sqlite3_initialize() == SQLITE_OK;
}

/* ---- Lua ------------------------------------------------------------------------- */

/* Lua requires that shrinking a block never fails. */
static void *lua_memory(void *user, void *old, size_t old_size, size_t size) {
  (void)user;
  if (size == 0) {
    __real_free(old);
    return NULL;
  }
  if ((old == NULL || size > old_size) && fails(LUA)) return NULL;
  return __real_realloc(old, size);
}

static int torture_call(lua_State *L) {
  static const char *const names[] = {"ours", "lua", NULL};
  static const source sources[] = {OURS, LUA};
  source from = sources[luaL_checkoption(L, 1, NULL, names)];
  long at = (long)luaL_checkinteger(L, 2);
  bool sticky = lua_toboolean(L, 3);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_settop(L, 4);
  watch_memory(from, at, sticky);
  bool fine = lua_pcall(L, 0, LUA_MULTRET, 0) == 0;
  bool failed = end_watch();
  lua_pushboolean(L, failed);
  lua_insert(L, 4);
  lua_pushboolean(L, fine);
  lua_insert(L, 5);
  return lua_gettop(L) - 3;
}

static int torture_blocks(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)memory.blocks[OURS]);
  return 1;
}

static int torture_descriptors(lua_State *L) {
  int port = port_of(luaL_checkstring(L, 1));
  if (lua_isnoneornil(L, 2)) lua_pushinteger(L, count_descriptors(port));
  else lua_pushboolean(L, has_descriptors(port, (int)lua_tointeger(L, 2)));
  return 1;
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 2);
}

static void open_all(lua_State *L, int argc, char **argv) {
  static const luaL_Reg functions[] = {{"call", torture_call},
                                       {"blocks", torture_blocks},
                                       {"descriptors", torture_descriptors},
                                       {NULL, NULL}};
  luaL_openlibs(L);
  preload(L, "leat.core", luaopen_leat_core);
  preload(L, "leat.curl.core", luaopen_leat_curl_core);
  preload(L, "leat.sandbox.core", luaopen_leat_sandbox_core);
  preload(L, "leat.sqlite.core", luaopen_leat_sqlite_core);
  preload(L, "leat.csv.core", luaopen_leat_csv_core);
  preload(L, "leat.jobs.core", luaopen_leat_jobs_core);
  luaL_newlib(L, functions);
  lua_setglobal(L, "torture");
  lua_newtable(L);
  for (int i = 1; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - 1);
  }
  lua_setglobal(L, "arg");
}

int main(int argc, char **argv) {
  if (!take_over_memory()) {
    fprintf(stderr, "libcurl is not made with OpenSSL, or it is too late\n");
    return 1;
  }
  if (!take_over_sqlite()) return 1;
  lua_State *L = lua_newstate(lua_memory, NULL);
  if (L == NULL || argc < 2) return 2;
  open_all(L, argc, argv);
  bool fine = luaL_loadfile(L, argv[1]) == 0 && lua_pcall(L, 0, 1, 0) == 0;
  if (!fine) fprintf(stderr, "%s\n", lua_tostring(L, -1));
  fine = fine && lua_toboolean(L, -1);
  lua_close(L);
  return fine ? 0 : 1;
}
