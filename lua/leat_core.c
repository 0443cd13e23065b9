/*
** leat_core.c - the module leat.core: the protocol for Lua, without I/O.
**
**   core.operations()                    the rows: { resource, name, parameters, index }
**   core.client { api_key = ... }        a client; or nil, message
**   core.call(client, index, ...)        a call, its arguments set; or nil, message
**   call:is_done()
**   call:result(card_metatable, error_metatable)   value, nil, info; or nil, error
**   core.error_text(error)               one line for people
**
** What is misuse comes back as a message: the Lua side raises it at the caller's line.
*/
#include "binding.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define CLIENT_TYPE "leat.client " LEAT_VERSION

typedef struct client_box { /* born NULL */
  leat_client *client;
} client_box;

/* ---- values to Lua --------------------------------------------------------------- */

static void push_string(lua_State *L, leat_string text) {
  lua_pushlstring(L, text.data ? text.data : "", text.length);
}

/* Exact: what a Lua without integers would round comes as its digits. */
static void push_integer(lua_State *L, int64_t value) {
#if LUA_VERSION_NUM >= 503
  lua_pushinteger(L, (lua_Integer)value);
#else
  const int64_t exact = INT64_C(1) << 53;
  if (value >= -exact && value <= exact) {
    lua_pushnumber(L, (lua_Number)value);
  } else {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    lua_pushstring(L, digits);
  }
#endif
}

static void push_value(lua_State *L, const leat_json *value);

/* Whether the table at `methods` has the name on top of the stack; 0: there is none. */
static bool is_method(lua_State *L, int methods) {
  if (methods == 0) return false;
  lua_pushvalue(L, -1);
  lua_rawget(L, methods);
  bool is = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return is;
}

static void push_array(lua_State *L, const leat_json *array) {
  size_t size = leat_json_size(array);
  lua_createtable(L, (int)size, 0);
  for (size_t i = 0; i < size; i++) {
    push_value(L, leat_json_at(array, i));
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* A member that is null is absent, as Lua has it; and so is one that would hide a method. */
static void push_object(lua_State *L, const leat_json *object, int methods) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  lua_createtable(L, 0, (int)leat_json_size(object));
  while (leat_json_next(object, &member)) {
    if (leat_json_type(member.value) == LEAT_NULL) continue;
    push_string(L, member.name);
    if (is_method(L, methods)) {
      lua_pop(L, 1);
      continue;
    }
    push_value(L, member.value);
    lua_rawset(L, -3);
  }
}

/* The depth of what the core decoded is limited. */
static void push_value(lua_State *L, const leat_json *value) {
  luaL_checkstack(L, 4, "nested too deep");
  switch (leat_json_type(value)) {
    case LEAT_OBJECT: push_object(L, value, 0); break;
    case LEAT_ARRAY: push_array(L, value); break;
    case LEAT_STRING: push_string(L, leat_json_string(value)); break;
    case LEAT_INTEGER: push_integer(L, leat_json_integer(value)); break;
    case LEAT_REAL: lua_pushnumber(L, leat_json_real(value)); break;
    case LEAT_BOOLEAN: lua_pushboolean(L, leat_json_boolean(value)); break;
    case LEAT_NULL:
    case LEAT_ABSENT: lua_pushlightuserdata(L, NULL); break; /* leat.null, cjson.null */
  }
}

/* ---- operations ------------------------------------------------------------------ */

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static void push_parameters(lua_State *L, const leat_op *op) {
  lua_createtable(L, (int)op->parameter_count, 0);
  for (size_t i = 0; i < op->parameter_count; i++) {
    lua_createtable(L, 0, 2);
    set_string(L, "alias", op->parameters[i].alias);
    lua_pushboolean(L, op->parameters[i].required);
    lua_setfield(L, -2, "required");
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static int core_operations(lua_State *L) {
  const leat_op *op;
  lua_newtable(L);
  for (size_t i = 0; (op = leat_operation_at(i)) != NULL; i++) {
    lua_createtable(L, 0, 4);
    set_string(L, "resource", op->resource);
    set_string(L, "name", op->name);
    lua_pushinteger(L, (lua_Integer)i);
    lua_setfield(L, -2, "index");
    push_parameters(L, op);
    lua_setfield(L, -2, "parameters");
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* ---- clients --------------------------------------------------------------------- */

/* The string lives as long as the table at `index`, a plain one, holds it. */
static const char *string_option(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  const char *value = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  lua_pop(L, 1);
  return value;
}

static lua_Number number_option(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  lua_Number value = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

static bool boolean_option(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

/* Cut to the range of an int, where 0 is a number like any other. */
static int int_option(lua_State *L, int index, const char *key) {
  lua_Number value = number_option(L, index, key);
  return value > 0 && value < INT_MAX ? (int)value : 0;
}

/* Seconds to milliseconds; what does not fit becomes -1, which the core refuses. */
static int milliseconds(lua_Number seconds) {
  if (!(seconds >= 0 && seconds <= 1e6)) return -1;
  if (seconds > 0 && seconds < 0.001) return 1;
  return (int)(seconds * 1000 + 0.5);
}

static int core_client(lua_State *L) {
  leat_config config = {0};
  leat_error error;
  luaL_checktype(L, 1, LUA_TTABLE);
  config.api_key = string_option(L, 1, "api_key");
  config.access_token = string_option(L, 1, "access_token");
  config.base_url = string_option(L, 1, "base_url");
  config.user_agent = string_option(L, 1, "user_agent");
  config.allow_http = boolean_option(L, 1, "allow_http");
  config.timeout_ms = milliseconds(number_option(L, 1, "timeout"));
  config.connect_timeout_ms = milliseconds(number_option(L, 1, "connect_timeout"));
  config.max_body = (size_t)int_option(L, 1, "max_body");
  client_box *box = lua_newuserdata(L, sizeof *box);
  box->client = NULL;
  luaL_setmetatable(L, CLIENT_TYPE);
  box->client = leat_client_new(&config, &error);
  if (box->client) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  return 2;
}

static int client_free(lua_State *L) {
  client_box *box = luaL_checkudata(L, 1, CLIENT_TYPE);
  leat_client_free(box->client);
  box->client = NULL;
  return 0;
}

/* ---- calls ----------------------------------------------------------------------- */

/* Pushes nil and a message; returns how many that is. */
static int misuse(lua_State *L, const char *alias, const char *what) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s %s", alias, what);
  return 2;
}

static const char *wrong_type(leat_type wanted, int type) {
  if (type == LUA_TNIL || type == LUA_TNONE) return "is missing";
  if (wanted == LEAT_BOOLEAN) return "must be true or false";
  if (type == LUA_TNUMBER)
    return "must be a string, not a number: write it in quotes, leading zeros count";
  return "must be a string";
}

/* Sets a parameter from the value at `index`; else says what is wrong with it. */
static const char *set_argument(lua_State *L, leat_call *call, const leat_parameter *p,
                                int index) {
  int type = lua_type(L, index);
  leat_string text = {NULL, 0};
  if (type != (p->type == LEAT_BOOLEAN ? LUA_TBOOLEAN : LUA_TSTRING))
    return wrong_type(p->type, type);
  if (p->type == LEAT_BOOLEAN) {
    leat_call_set_bool(call, p->name, lua_toboolean(L, index));
  } else {
    text.data = lua_tolstring(L, index, &text.length);
    leat_call_set(call, p->name, text);
  }
  const leat_error *error = leat_call_error(call);
  if (error->kind != LEAT_MISUSE) return NULL;
  return error->message + strlen(p->name) + 1; /* "NAME is empty" */
}

static const leat_parameter *find_option(const leat_op *op, const char *alias) {
  for (size_t i = 0; i < op->parameter_count; i++)
    if (!op->parameters[i].required && strcmp(op->parameters[i].alias, alias) == 0)
      return &op->parameters[i];
  return NULL;
}

static int unknown_option(lua_State *L, const leat_op *op, const char *key) {
  luaL_Buffer known;
  const char *separator = "";
  luaL_buffinit(L, &known);
  for (size_t i = 0; i < op->parameter_count; i++) {
    if (op->parameters[i].required) continue;
    luaL_addstring(&known, separator);
    luaL_addstring(&known, op->parameters[i].alias);
    separator = ", ";
  }
  luaL_pushresult(&known);
  lua_pushnil(L);
  if (*separator)
    lua_pushfstring(L, "option '%s' is unknown (known: %s)", key, lua_tostring(L, -2));
  else lua_pushfstring(L, "option '%s' is unknown: there are no options", key);
  return 2;
}

/* Named options: a table behind the required arguments. Returns how many results it
** pushed; 0: all is well. */
static int set_options(lua_State *L, leat_call *call, const leat_op *op, int index) {
  if (lua_isnoneornil(L, index)) return 0;
  if (!lua_istable(L, index))
    return misuse(L, "options", "must be a table, such as { name = \"...\" }");
  lua_pushnil(L);
  while (lua_next(L, index)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    const leat_parameter *p = find_option(op, key);
    if (p == NULL) return unknown_option(L, op, key);
    const char *wrong = set_argument(L, call, p, lua_gettop(L));
    if (wrong) return misuse(L, p->alias, wrong);
    lua_pop(L, 1);
  }
  return 0;
}

/* core.call(client, operation, required..., [options]) */
static int core_call(lua_State *L) {
  client_box *client = luaL_checkudata(L, 1, CLIENT_TYPE);
  const leat_op *op = leat_operation_at((size_t)luaL_checkinteger(L, 2));
  int argument = 3;
  luaL_argcheck(L, client->client != NULL, 1, "client is closed");
  luaL_argcheck(L, op != NULL, 2, "no such operation");
  call_box *box = lua_newuserdata(L, sizeof *box);
  box->call = NULL;
  luaL_setmetatable(L, LEAT_CALL_TYPE);
  lua_insert(L, argument); /* the call; its arguments stand behind it */
  box->call = leat_call_new(client->client, op);
  if (box->call == NULL) return luaL_error(L, "not enough memory");
  for (size_t i = 0; i < op->parameter_count && op->parameters[i].required; i++) {
    const char *wrong = set_argument(L, box->call, &op->parameters[i], ++argument);
    if (wrong) return misuse(L, op->parameters[i].alias, wrong);
  }
  if (lua_gettop(L) > argument + 1)
    return misuse(L, "too many arguments:", "what is optional goes in one table");
  int pushed = set_options(L, box->call, op, argument + 1);
  if (pushed) return pushed;
  lua_settop(L, 3);
  return 1;
}

static int call_free(lua_State *L) {
  call_box *box = luaL_checkudata(L, 1, LEAT_CALL_TYPE);
  leat_call_free(box->call);
  box->call = NULL;
  return 0;
}

static int call_is_done(lua_State *L) {
  lua_pushboolean(L, leat_call_is_done(check_call(L, 1)));
  return 1;
}

/* ---- results --------------------------------------------------------------------- */

/* { [field] = { message, ... } }; what names no field stands under "". */
static void push_fields(lua_State *L, const leat_call *call) {
  leat_field field;
  lua_newtable(L);
  for (size_t i = 0; leat_call_field(call, i, &field); i++) {
    push_string(L, field.name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, -5);
    }
    push_string(L, field.message);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
  }
}

static void set_number(lua_State *L, const char *key, lua_Number value) {
  if (value <= 0) return;
  push_integer(L, (int64_t)value);
  lua_setfield(L, -2, key);
}

static void push_failure(lua_State *L, const leat_call *call, int metatable) {
  const leat_error *error = leat_call_error(call);
  leat_field field;
  lua_createtable(L, 0, 10);
  set_string(L, "kind", leat_kind_name(error->kind));
  set_string(L, "message", error->message);
  set_string(L, "operation", error->operation);
  set_string(L, "sent", error->sent == LEAT_SENT_MAYBE ? "maybe" : "no");
  set_number(L, "code", error->code);
  set_number(L, "status", error->status);
  lua_pushinteger(L, error->attempts);
  lua_setfield(L, -2, "attempts");
  lua_pushboolean(L, error->outcome_unknown);
  lua_setfield(L, -2, "outcome_unknown");
  if (error->retry_after_ms >= 0) {
    lua_pushnumber(L, (lua_Number)error->retry_after_ms / 1000);
    lua_setfield(L, -2, "retry_after");
  }
  if (leat_call_field(call, 0, &field)) {
    push_fields(L, call);
    lua_setfield(L, -2, "fields");
  }
  lua_pushvalue(L, metatable);
  lua_setmetatable(L, -2);
}

static void push_info(lua_State *L, const leat_call *call) {
  leat_info info = leat_call_info(call);
  lua_createtable(L, 0, 4);
  set_number(L, "status", info.status);
  set_number(L, "attempts", info.attempts);
  if (leat_json_type(leat_call_meta(call)) > LEAT_NULL) {
    push_value(L, leat_call_meta(call));
    lua_setfield(L, -2, "meta");
  }
  if (info.recovered) set_string(L, "outcome", "recovered");
}

static void push_card(lua_State *L, const leat_call *call, int metatable) {
  lua_getfield(L, metatable, "__index");
  push_object(L, leat_call_data(call), lua_gettop(L));
  lua_pushvalue(L, metatable);
  lua_setmetatable(L, -2);
}

/* call:result(card_metatable, error_metatable) */
static int call_result(lua_State *L) {
  leat_call *call = check_call(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TTABLE);
  luaL_argcheck(L, leat_call_is_done(call), 1, "the driver did not finish it");
  if (leat_call_error(call)->kind != LEAT_OK) {
    lua_pushnil(L);
    push_failure(L, call, 3);
    return 2;
  }
  if (leat_call_op(call)->result == LEAT_RESULT_CARD) push_card(L, call, 2);
  else lua_pushboolean(L, 1);
  lua_pushnil(L);
  push_info(L, call);
  return 3;
}

/* ---- errors ---------------------------------------------------------------------- */

static leat_kind kind_by_name(const char *name) {
  int kind = LEAT_OK;
  while (kind < LEAT_KINDS && strcmp(leat_kind_name((leat_kind)kind), name) != 0)
    kind++;
  return (leat_kind)kind;
}

/* core.error_text(error): from its fields, so that there is one wording in the house. */
static int core_error_text(lua_State *L) {
  leat_error error = {LEAT_OK, 0, 0, 0, LEAT_SENT_NO, false, -1, "", ""};
  char text[sizeof error.message + 256];
  const char *value;
  luaL_checktype(L, 1, LUA_TTABLE);
  if ((value = string_option(L, 1, "kind")) != NULL) error.kind = kind_by_name(value);
  if ((value = string_option(L, 1, "operation")) != NULL)
    snprintf(error.operation, sizeof error.operation, "%s", value);
  if ((value = string_option(L, 1, "message")) != NULL)
    snprintf(error.message, sizeof error.message, "%s", value);
  error.code = int_option(L, 1, "code");
  error.status = int_option(L, 1, "status");
  error.outcome_unknown = boolean_option(L, 1, "outcome_unknown");
  lua_pushstring(L, leat_error_text(&error, text, sizeof text));
  return 1;
}

/* ---- the module ------------------------------------------------------------------ */

static void make_type(lua_State *L, const char *name, lua_CFunction collect,
                      const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  set_string(L, "__name", name);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

LEAT_API int luaopen_leat_core(lua_State *L);

LEAT_API int luaopen_leat_core(lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg call_methods[] = {
      {"is_done", call_is_done}, {"result", call_result}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"operations", core_operations},
                                       {"client", core_client},
                                       {"call", core_call},
                                       {"error_text", core_error_text},
                                       {NULL, NULL}};
  make_type(L, CLIENT_TYPE, client_free, none);
  make_type(L, LEAT_CALL_TYPE, call_free, call_methods);
  luaL_newlib(L, functions);
  set_string(L, "version", LEAT_VERSION);
  set_string(L, "base_url", LEAT_BASE_URL);
  return 1;
}
