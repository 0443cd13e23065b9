/*
** binding.h - what the C modules of leat share: the userdata that they hand each other.
*/
#ifndef LEAT_BINDING_H
#define LEAT_BINDING_H

#include "compat.h"
#include "leat.h"

#include <time.h>

/* With the version, so that modules of two versions refuse each other's userdata. */
#define LEAT_CALL_TYPE "leat.call " LEAT_VERSION

typedef struct call_box { /* born NULL */
  leat_call *call;
  uint64_t random; /* that a driver in Lua gave last */
} call_box;

static inline leat_call *check_call(lua_State *L, int index) {
  call_box *box = luaL_checkudata(L, index, LEAT_CALL_TYPE);
  luaL_argcheck(L, box->call != NULL, index, "call is freed");
  return box->call;
}

/* Of a clock that is never set, and that all processes have. */
static inline lua_Number monotonic_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (lua_Number)t.tv_sec * 1000 + (lua_Number)t.tv_nsec / 1000000;
}

#endif
