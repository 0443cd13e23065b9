/*
** binding.h - shared by the C modules of leat: the userdata that they exchange.
*/
#ifndef LEAT_BINDING_H
#define LEAT_BINDING_H

#include "compat.h"
#include "leat_driver.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

/* Contains the version, so that modules of different versions reject each other's
** userdata. */
#define LEAT_CALL_TYPE "leat.call " LEAT_VERSION

typedef struct call_box { /* `call` is NULL until the call is made */
  leat_call *call;
  uint64_t random; /* from the last call:next of a driver in Lua */
} call_box;

/* The upvalues of each function: the metatable of calls, and the metatable of the
** userdata that the module itself defines. */
enum { CALLS = 1, OWN = 2, METATABLES = 2 };

static inline void push_metatables(lua_State *L, const char *own) {
  luaL_newmetatable(L, LEAT_CALL_TYPE); /* reuses an existing metatable */
  luaL_newmetatable(L, own);
}

/* Like luaL_checkudata, but faster: luaL_checkudata looks the metatable up by name
** each time. */
static inline void *check_box(lua_State *L, int index, int metatable, const char *name) {
  void *box = lua_touserdata(L, index);
  bool is = false;
  if (box && lua_getmetatable(L, index)) {
    is = lua_rawequal(L, -1, lua_upvalueindex(metatable));
    lua_pop(L, 1);
  }
  return is ? box : luaL_checkudata(L, index, name);
}

static inline call_box *check_call_box(lua_State *L, int index) {
  return check_box(L, index, CALLS, LEAT_CALL_TYPE);
}

static inline leat_call *check_call(lua_State *L, int index) {
  const call_box *box = check_call_box(L, index);
  luaL_argcheck(L, box->call != NULL, index, "call is freed");
  return box->call;
}

/* Returns the string in field `key` of the plain table at `index`, borrowed from that
** table, or NULL if it is not a string. Raises an error for a string with a NUL byte,
** because C would see only the part before it. */
static inline const char *text_field(lua_State *L, int index, const char *key) {
  size_t length = 0;
  lua_getfield(L, index, key);
  const char *text =
      lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
  if (text && strlen(text) != length) luaL_error(L, "%s contains a NUL byte", key);
  lua_pop(L, 1);
  return text;
}

/* Milliseconds of a clock that is never set, and that all processes share. */
static inline lua_Number monotonic_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (lua_Number)t.tv_sec * 1000 + (lua_Number)t.tv_nsec / 1000000;
}

#endif
