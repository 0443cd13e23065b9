/*
** leat_core.c - the module leat.core: the protocol for Lua, without I/O.
**
**   core.version  core.base_url
**   core.now()                Returns ms of a clock that is never set, and that all
**                             processes share.
**   core.wait(seconds, descriptors)
**                             Waits until one of the descriptors, a list, is readable;
**                             without a list it sleeps. For at most 0.1 s, and less
**                             after a signal, so that Lua can run its hooks.
**   core.same_value(a, b)     Whether two values name the same card, or two uuids the
**                             same contact.
**   core.normal_value(value)  Returns the form of a card's value that is the same for all
**                             values which name that card.
**   core.error_text(error)    Returns one line for people.
**   core.is_yieldable()       Whether the running code may yield; nothing if that is
**                             unknown.
**
** The other functions and the methods are in operations.c, client.c, call.c,
** call_driver.c, http1.c, json.c, digest.c and poller.c.
*/
#include "core.h"
#include "options.h"
#include "push.h"

#include <poll.h>

static int core_now(lua_State *L) {
  lua_pushnumber(L, monotonic_ms());
  return 1;
}

/* The array of descriptors is a userdata, so that an error does not leak it. */
static int core_wait(lua_State *L) {
  int ms = check_wait_ms(L, 1);
  size_t count = lua_istable(L, 2) ? lua_rawlen(L, 2) : 0;
  struct pollfd *fds = lua_newuserdata(L, count * sizeof *fds + 1);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    fds[i] = (struct pollfd){.fd = (int)lua_tointeger(L, -1), .events = POLLIN};
    lua_pop(L, 1);
  }
  poll(fds, (nfds_t)count, ms);
  return 0;
}

static int core_same_value(lua_State *L) {
  leat_string a, b;
  a.data = luaL_checklstring(L, 1, &a.length);
  b.data = luaL_checklstring(L, 2, &b.length);
  lua_pushboolean(L, leat_same_value(a, b));
  return 1;
}

static int core_normal_value(lua_State *L) {
  char few[256];
  leat_string value;
  value.data = luaL_checklstring(L, 1, &value.length);
  char *out = value.length <= sizeof few ? few : lua_newuserdata(L, value.length);
  lua_pushlstring(L, out, leat_normal_value(value, out, value.length));
  return 1;
}

/* Needed because nginx hides coroutine.isyieldable. */
static int core_is_yieldable(lua_State *L) {
#if LUA_VERSION_NUM == 502
  (void)L;
  return 0;
#else
#if LUA_VERSION_NUM == 501
  if (lua_isyieldable == NULL) return 0;
#endif
  lua_pushboolean(L, lua_isyieldable(L));
  return 1;
#endif
}

/* Composes the text from the fields, so that C and Lua word it alike. */
static int core_error_text(lua_State *L) {
  leat_error error = {.retry_after_ms = -1};
  char text[sizeof error.message + 256], kind[32];
  luaL_checktype(L, 1, LUA_TTABLE);
  leat__option_copy(L, 1, "kind", kind, sizeof kind);
  leat__option_copy(L, 1, "operation", error.operation, sizeof error.operation);
  leat__option_copy(L, 1, "message", error.message, sizeof error.message);
  if (kind[0]) error.kind = leat__kind_by_name(kind);
  error.code = leat__option_int(L, 1, "code");
  error.status = leat__option_int(L, 1, "status");
  error.outcome_unknown = leat__option_boolean(L, 1, "outcome_unknown");
  lua_pushstring(L, leat_error_text(&error, text, sizeof text));
  return 1;
}

LEAT_API int luaopen_leat_core(lua_State *L);

LEAT_API int luaopen_leat_core(lua_State *L) {
  static const luaL_Reg functions[] = {{"operations", leat__core_operations},
                                       {"now", core_now},
                                       {"wait", core_wait},
                                       {"same_value", core_same_value},
                                       {"normal_value", core_normal_value},
                                       {"is_yieldable", core_is_yieldable},
                                       {"error_text", core_error_text},
                                       {NULL, NULL}};
  lua_newtable(L);
  leat__set_functions(L, CLIENT_TYPE, functions);
  leat__open_client(L);
  leat__open_call(L);
  leat__open_http1(L);
  leat__open_json(L);
  leat__open_digest(L);
  leat__open_poller(L);
  leat__set_text(L, "version", LEAT_VERSION);
  leat__set_text(L, "base_url", LEAT_BASE_URL);
  return 1;
}
