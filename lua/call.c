/*
** call.c - calls, for Lua.
**
**   core.call(client, index, ...)     Returns a call of the operation with that index,
**                                     with its arguments set; or nil and a message.
**   core.request(client, method, path, query, headers, body)
**                                     Returns a call to any endpoint; or nil and a
**                                     message. Query and headers are
**                                     { name, value, name, value, ... }.
**   call:set_timeout(seconds)  call:set_connect_timeout(seconds)
**   call:set_queue_timeout(seconds)  call:set_max_attempts(n)
**   call:set_maybe_applied()
**   call:add_headers(list)            Adds the headers in { name, value, ... } to each
**                                     request of the call. Returns what is wrong with
**                                     them, or nil.
**   call:value()                      Returns the value of the card that the call is
**                                     about, or nil.
**   call:is_done()                    Whether the call is done, or freed.
**   call:attempts()                   Returns the number of attempts, whether the outcome
**                                     is unknown, and the same as call:may_have_happened.
**   call:may_have_happened()          Whether the outcome is unknown, or the call is a
**                                     change that succeeded or is under way. False once
**                                     the call is freed.
**   core.result(call, error_metatable, card_metatable, json, last, unreferenced)
**                                     Returns value, nil, info; or nil, error. With
**                                     `json`, info.json is the data as text. With `last`
**                                     it frees the call. With `unreferenced` too, nothing
**                                     else refers to the userdata, which is recycled for
**                                     a later call.
**   call:free()                       Frees the call without waiting for the collector.
**   core.conclude(call, ...)          Frees the call and returns the other arguments.
**   core.protect(call, on_error, f, ...)
**                                     Calls f(...), frees the call and returns the
**                                     results of f. If f raises, calls on_error(why,
**                                     call), which must raise. Only for the main
**                                     coroutine, where nothing can yield.
**
** Misuse is returned as a message, so that the Lua side can raise it at the caller's
** line. Methods for drivers are in call_driver.c.
*/
#include "core.h"
#include "options.h"
#include "push.h"

#include <strings.h>

/* ---- creating one ---------------------------------------------------------------- */

/* Keeps the userdata at `index` for the next call, because to collect one with a finalizer
** costs as much as to make a card. The index 0 stands for none. Needs no memory: the slot
** exists already. */
static void recycle(lua_State *L, int index) {
  if (index) lua_pushvalue(L, index);
  else lua_pushboolean(L, 0);
  lua_rawseti(L, lua_upvalueindex(CALLS), RECYCLED);
}

/* Pushes the userdata for a call that is not created yet. */
static leat_call **new_box(lua_State *L) {
  lua_rawgeti(L, lua_upvalueindex(CALLS), RECYCLED);
  call_box *box = lua_touserdata(L, -1);
  if (box) {
    recycle(L, 0);
    return &box->call;
  }
  lua_pop(L, 1);
  box = lua_newuserdata(L, sizeof *box);
  *box = (call_box){NULL, 0};
  lua_pushvalue(L, lua_upvalueindex(CALLS));
  lua_setmetatable(L, -2);
  return &box->call;
}

/* core.call(client, index, by position..., [by name]) */
static int core_call(lua_State *L) {
  leat_client *client = leat__check_client(L, 1);
  const leat_op *op = leat_operation_at((size_t)luaL_checkinteger(L, 2));
  luaL_argcheck(L, op != NULL, 2, "no such operation");
  leat_call **call = new_box(L);
  lua_insert(L, 3); /* -> client, index, call, arguments... */
  *call = leat_call_new(client, op);
  if (*call == NULL) return luaL_error(L, "not enough memory");
  int pushed = leat__set_arguments(L, *call, 4);
  if (pushed) return pushed;
  lua_settop(L, 3);
  return 1;
}

/* Returns whether a name in a list { name, value, ... } contains a NUL byte. */
static bool names_contain_nul(lua_State *L, int list) {
  size_t count = lua_istable(L, list) ? lua_rawlen(L, list) : 0;
  bool found = false;
  for (size_t i = 1; i < count && !found; i += 2) {
    lua_rawgeti(L, list, (int)i);
    found = leat__contains_nul(L, -1);
    lua_pop(L, 1);
  }
  return found;
}

/* Returns which of the arguments of core.request contains a NUL byte, or NULL. */
static const char *argument_with_nul(lua_State *L) {
  if (leat__contains_nul(L, 2)) return "the method";
  if (leat__contains_nul(L, 3)) return "the path";
  if (names_contain_nul(L, 4)) return "a name in query";
  return names_contain_nul(L, 5) ? "a name in headers" : NULL;
}

static void add_query(lua_State *L, leat_call *call, int list) {
  size_t count;
  const leat_header *pairs = leat__to_headers(L, list, &count);
  for (size_t i = 0; i < count; i++)
    leat_call_add_query(call, pairs[i].name.data, pairs[i].value);
}

static void add_headers(lua_State *L, leat_call *call, int list) {
  size_t count;
  const leat_header *headers = leat__to_headers(L, list, &count);
  for (size_t i = 0; i < count; i++)
    leat_call_add_header(call, headers[i].name.data, headers[i].value);
}

static void set_body(lua_State *L, leat_call *call, int index) {
  leat_string body;
  if (lua_isnil(L, index)) return;
  body.data = luaL_checklstring(L, index, &body.length);
  leat_call_set_body(call, body);
}

/* core.request(client, method, path, query, headers, body) */
static int core_request(lua_State *L) {
  leat_client *client = leat__check_client(L, 1);
  const char *method = luaL_checkstring(L, 2), *path = luaL_checkstring(L, 3);
  lua_settop(L, 6);
  const char *wrong = argument_with_nul(L);
  if (wrong) return leat__push_misuse(L, wrong, CONTAINS_NUL);
  leat_call **call = new_box(L); /* at index 7 */
  *call = leat_call_new_request(client, method, path);
  if (*call == NULL) return luaL_error(L, "not enough memory");
  add_query(L, *call, 4);
  add_headers(L, *call, 5);
  set_body(L, *call, 6);
  const leat_error *error = leat_call_error(*call);
  if (error->kind == LEAT_MISUSE) lua_pushnil(L);
  else lua_pushvalue(L, 7);
  lua_pushstring(L, error->message);
  return 2;
}

/* ---- settings -------------------------------------------------------------------- */

static int call_set_timeout(lua_State *L) {
  leat_call_set_timeout_ms(check_call(L, 1), leat__to_ms(luaL_checknumber(L, 2)));
  return 0;
}

static int call_set_connect_timeout(lua_State *L) {
  leat_call_set_connect_timeout_ms(check_call(L, 1), leat__to_ms(luaL_checknumber(L, 2)));
  return 0;
}

static int call_set_queue_timeout(lua_State *L) {
  leat_call_set_queue_timeout_ms(check_call(L, 1), leat__to_ms(luaL_checknumber(L, 2)));
  return 0;
}

static int call_set_max_attempts(lua_State *L) {
  int attempts = leat__to_int(luaL_checknumber(L, 2));
  leat_call_set_max_attempts(check_call(L, 1), attempts ? attempts : LEAT_UNLIMITED);
  return 0;
}

static int call_set_maybe_applied(lua_State *L) {
  leat_call_set_maybe_applied(check_call(L, 1));
  return 0;
}

/* Returns what is wrong with a list of headers for any call, as far as the core would not
** notice it: it lets calls of core.request have a Content-Type. */
static const char *check_headers(lua_State *L, int list) {
  size_t count;
  const leat_header *headers = leat__to_headers(L, list, &count);
  if (names_contain_nul(L, list)) return "a name in headers " CONTAINS_NUL;
  for (size_t i = 0; i < count; i++)
    if (strcasecmp(headers[i].name.data, "Content-Type") == 0)
      return "header Content-Type is a header that the library sets itself";
  return NULL;
}

static int call_add_headers(lua_State *L) {
  leat_call *call = check_call(L, 1);
  const char *wrong = check_headers(L, 2);
  if (wrong == NULL) {
    add_headers(L, call, 2);
    const leat_error *error = leat_call_error(call);
    if (error->kind == LEAT_MISUSE) wrong = error->message;
  }
  lua_pushstring(L, wrong);
  return 1;
}

/* ---- state ----------------------------------------------------------------------- */

static int call_value(lua_State *L) {
  leat_string value = leat_call_value(check_call(L, 1));
  if (value.data) leat__push_string(L, value);
  else lua_pushnil(L);
  return 1;
}

/* Returns whether a change may have taken effect. For a program that was interrupted
** during the call, and knows less than the call does. */
static bool may_have_happened(const leat_call *call) {
  if (call == NULL) return false;
  const leat_error *error = leat_call_error(call);
  bool begun = leat_call_is_done(call) ? error->kind == LEAT_OK : error->attempts > 0;
  return error->outcome_unknown || (begun && leat_call_op(call)->writes);
}

static int call_may_have_happened(lua_State *L) {
  lua_pushboolean(L, may_have_happened(check_call_box(L, 1)->call));
  return 1;
}

static int call_attempts(lua_State *L) {
  const leat_call *call = check_call(L, 1);
  const leat_error *error = leat_call_error(call);
  lua_pushinteger(L, error->attempts);
  lua_pushboolean(L, error->outcome_unknown);
  lua_pushboolean(L, may_have_happened(call));
  return 3;
}

static int call_is_done(lua_State *L) {
  lua_pushboolean(L, leat_call_is_done(check_call_box(L, 1)->call));
  return 1;
}

/* ---- the end --------------------------------------------------------------------- */

static void empty(call_box *box) {
  leat_call_free(box->call);
  *box = (call_box){NULL, 0};
}

static int call_free(lua_State *L) {
  empty(check_call_box(L, 1));
  return 0;
}

/* Called as a tail call, it leaves no instruction between the end of a change and its
** caller's line at which an interrupt could strike, on Lua 5.4 and LuaJIT. */
static int core_conclude(lua_State *L) {
  empty(check_call_box(L, 1));
  return lua_gettop(L) - 1;
}

/* Like core_conclude, but everything that leads to the end of the change runs inside it,
** too. */
static int core_protect(lua_State *L) {
  call_box *box = check_call_box(L, 1);
  luaL_checkany(L, 3);
  if (lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0) == 0) {
    empty(box);
    return lua_gettop(L) - 2; /* call, on_error, results... */
  }
  lua_settop(L, 3); /* call, on_error, why */
  lua_pushvalue(L, 1);
  lua_call(L, 2, 0);
  return luaL_error(L, "on_error returned");
}

/* core.result without `last` and `unreferenced` */
static int push_outcome(lua_State *L) {
  const leat_call *call = check_call(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TTABLE);
  luaL_argcheck(L, leat_call_is_done(call), 1, "the driver did not finish it");
  if (leat_call_error(call)->kind != LEAT_OK) {
    lua_pushnil(L);
    leat__push_error(L, call, 2, 3);
    return 2;
  }
  leat__push_result(L, call, 3);
  lua_pushnil(L);
  leat__push_info(L, call, lua_toboolean(L, 4));
  return 3;
}

static int core_result(lua_State *L) {
  bool last = lua_toboolean(L, 5), unreferenced = lua_toboolean(L, 6);
  int count = push_outcome(L);
  if (last) empty(lua_touserdata(L, 1));
  if (last && unreferenced) recycle(L, 1);
  return count;
}

/* ---- the type -------------------------------------------------------------------- */

void leat__open_call(lua_State *L) {
  static const luaL_Reg methods[] = {{"value", call_value},
                                     {"is_done", call_is_done},
                                     {"may_have_happened", call_may_have_happened},
                                     {"attempts", call_attempts},
                                     {"free", call_free},
                                     {"set_timeout", call_set_timeout},
                                     {"set_connect_timeout", call_set_connect_timeout},
                                     {"set_queue_timeout", call_set_queue_timeout},
                                     {"set_max_attempts", call_set_max_attempts},
                                     {"set_maybe_applied", call_set_maybe_applied},
                                     {"add_headers", call_add_headers},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"call", core_call},         {"request", core_request}, {"result", core_result},
      {"conclude", core_conclude}, {"protect", core_protect}, {NULL, NULL}};
  leat__new_type(L, LEAT_CALL_TYPE, call_free, methods);
  luaL_getmetatable(L, LEAT_CALL_TYPE);
  lua_getfield(L, -1, "__index");
  leat__set_functions(L, LEAT_CALL_TYPE, leat__driver_methods);
  lua_pop(L, 2);
  leat__set_functions(L, CLIENT_TYPE, functions);
}
