/*
** binding.h - the userdata of leat's C modules: their types, and how functions check
** them.
*/
#ifndef LEAT_BINDING_H
#define LEAT_BINDING_H

#include "compat.h"
#include "leat_driver.h"

#include <time.h>

/* Contains the version, so that modules of different versions reject each other's
** userdata. */
#define LEAT_CALL_TYPE "leat.call " LEAT_VERSION

typedef struct call_box { /* `call` is NULL until it is created, and once it is freed */
  leat_call *call;
  uint64_t random; /* from the last call:next of a driver in Lua */
} call_box;

/* The upvalues of each function: the metatable of calls, and the metatable of the
** userdata that the function's file defines. */
enum { CALLS = 1, OWN = 2, METATABLES = 2 };

/* Indices in the metatable of calls: a userdata for the next call, or false; and the names
** of cards' fields. */
enum { RECYCLED = 1, FIRST_NAME = 2 };

/* Stores the names in the table on top of the stack. */
void leat__set_names(lua_State *L);

/* Creates the metatable of a type of userdata. `finalize` may be called more than once,
** and as __close it gets a second argument. */
void leat__new_type(lua_State *L, const char *type, lua_CFunction finalize,
                    const luaL_Reg *methods);

/* Adds functions to the table on top of the stack. They have the metatable of `type` as
** OWN. */
void leat__set_functions(lua_State *L, const char *type, const luaL_Reg *functions);

/* Like luaL_checkudata, but faster: luaL_checkudata looks the metatable up by name
** each time. */
static inline void *check_box(lua_State *L, int index, int metatable, const char *type) {
  void *box = lua_touserdata(L, index);
  bool is = false;
  if (box && lua_getmetatable(L, index)) {
    is = lua_rawequal(L, -1, lua_upvalueindex(metatable));
    lua_pop(L, 1);
  }
  return is ? box : luaL_checkudata(L, index, type);
}

static inline call_box *check_call_box(lua_State *L, int index) {
  return check_box(L, index, CALLS, LEAT_CALL_TYPE);
}

static inline leat_call *check_call(lua_State *L, int index) {
  const call_box *box = check_call_box(L, index);
  luaL_argcheck(L, box->call != NULL, index, "call is freed");
  return box->call;
}

/* Returns the string at `index`. Raises an error if it contains a NUL byte. */
const char *leat__check_text(lua_State *L, int index);
/* Returns the integer or boolean at `index`. Raises an error for other numbers. */
int64_t leat__check_integer(lua_State *L, int index);

/* Converts the seconds at `index` to the milliseconds of one wait: at most 100, so that
** Lua can run its hooks. Rounds up, because a wait of less than a millisecond must not
** become 0. */
static inline int check_wait_ms(lua_State *L, int index) {
  enum { LONGEST_WAIT_MS = 100 };
  lua_Number ms = luaL_checknumber(L, index) * 1000;
  if (!(ms > 0)) return 0;
  return ms < LONGEST_WAIT_MS ? (int)ms + 1 : LONGEST_WAIT_MS;
}

/* Milliseconds of a clock that is never set, and that all processes share. */
static inline lua_Number monotonic_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (lua_Number)t.tv_sec * 1000 + (lua_Number)t.tv_nsec / 1000000;
}

#endif
