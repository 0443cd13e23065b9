/*
** push.c - pushes values of the core to Lua.
*/
#include "push.h"

#include <stdio.h>
#include <string.h>

/* ---- fields ---------------------------------------------------------------------- */

void leat__push_string(lua_State *L, leat_string text) {
  lua_pushlstring(L, text.data ? text.data : "", text.length);
}

void leat__push_integer(lua_State *L, int64_t value) {
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

void leat__set_text(lua_State *L, const char *key, const char *text) {
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

void leat__set_string(lua_State *L, const char *key, leat_string text) {
  leat__push_string(L, text);
  lua_setfield(L, -2, key);
}

void leat__set_boolean(lua_State *L, const char *key, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, key);
}

void leat__set_integer(lua_State *L, const char *key, int64_t value) {
  leat__push_integer(L, value);
  lua_setfield(L, -2, key);
}

void leat__set_positive(lua_State *L, const char *key, int64_t value) {
  if (value > 0) leat__set_integer(L, key, value);
}

void leat__set_seconds(lua_State *L, const char *key, int64_t ms) {
  lua_pushnumber(L, (lua_Number)ms / 1000);
  lua_setfield(L, -2, key);
}

void leat__set_sent(lua_State *L, leat_sent sent) {
  leat__set_text(L, "sent", sent == LEAT_SENT_MAYBE ? "maybe" : "no");
}

void leat__push_headers(lua_State *L, const leat_header *headers, size_t count) {
  lua_createtable(L, 0, (int)count);
  for (size_t i = 0; i < count; i++) {
    leat__push_string(L, headers[i].name);
    leat__push_string(L, headers[i].value);
    lua_rawset(L, -3);
  }
}

/* ---- JSON ------------------------------------------------------------------------ */

enum { JSON_STACK = 6 }; /* the slots that each level of nesting needs */

/* A number that fits neither an integer nor a double becomes its text, as it was
** written. */
static void push_real(lua_State *L, const leat_json *value) {
  leat_string digits = leat_json_digits(value);
  if (digits.data) leat__push_string(L, digits);
  else lua_pushnumber(L, leat_json_real(value));
}

static void push_array(lua_State *L, const leat_json *array) {
  size_t size = leat_json_size(array);
  luaL_checkstack(L, JSON_STACK, "nested too deep");
  lua_createtable(L, (int)size, 0);
  for (size_t i = 0; i < size; i++) {
    leat__push_json(L, leat_json_at(array, i));
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* The fields of cards, none of which is the name of a method. The metatable of calls holds
** these strings, because pushing one from there is faster than interning it again. */
static const leat_string names[] = {{"value", 5},   {"name", 4}, {"active", 6},
                                    {"contact", 7}, {"uuid", 4}, {"email", 5}};
enum { NAMES = sizeof names / sizeof names[0] };

void leat__set_names(lua_State *L) {
  for (int i = 0; i < NAMES; i++) {
    leat__push_string(L, names[i]);
    lua_rawseti(L, -2, FIRST_NAME + i);
  }
}

/* Returns true if the name is one of those fields. */
static bool push_name(lua_State *L, leat_string name) {
  for (int i = 0; i < NAMES; i++) {
    if (name.length != names[i].length) continue;
    if (memcmp(name.data, names[i].data, name.length) != 0) continue;
    lua_rawgeti(L, lua_upvalueindex(CALLS), FIRST_NAME + i);
    return true;
  }
  leat__push_string(L, name);
  return false;
}

/* Returns whether the name on top of the stack is a method of the cards whose metatable is
** at this index. The index 0 stands for an object that is no card. */
static bool is_method(lua_State *L, int card_metatable) {
  if (card_metatable == 0) return false;
  lua_getfield(L, card_metatable, "__index");
  lua_pushvalue(L, -2);
  lua_rawget(L, -2); /* -> name, methods, method or nil */
  bool is = !lua_isnil(L, -1);
  lua_pop(L, 2);
  return is;
}

/* Omits JSON nulls, and members that would hide a method. If a name occurs more than
** once, the last member counts. */
static void push_object(lua_State *L, const leat_json *object, int card_metatable) {
  leat_member member = {.value = NULL};
  luaL_checkstack(L, JSON_STACK, "nested too deep");
  lua_createtable(L, 0, (int)leat_json_size(object));
  while (leat_json_next(object, &member)) {
    if (!push_name(L, member.name) && is_method(L, card_metatable)) {
      lua_pop(L, 1);
      continue;
    }
    if (leat_json_type(member.value) == LEAT_NULL) lua_pushnil(L);
    else leat__push_json(L, member.value);
    lua_rawset(L, -3); /* -> object */
  }
}

void leat__push_json(lua_State *L, const leat_json *value) {
  switch (leat_json_type(value)) {
    case LEAT_OBJECT: push_object(L, value, 0); break;
    case LEAT_ARRAY: push_array(L, value); break;
    case LEAT_STRING: leat__push_string(L, leat_json_string(value)); break;
    case LEAT_INTEGER: leat__push_integer(L, leat_json_integer(value)); break;
    case LEAT_REAL: push_real(L, value); break;
    case LEAT_BOOLEAN: lua_pushboolean(L, leat_json_boolean(value)); break;
    case LEAT_NULL:
    case LEAT_ABSENT: lua_pushlightuserdata(L, NULL); break;
  }
}

void leat__push_json_text(lua_State *L, const leat_json *value) {
  char few[512];
  size_t length = leat_json_write(value, few, sizeof few);
  if (length < sizeof few) {
    lua_pushlstring(L, few, length);
    return;
  }
  char *text = lua_newuserdata(L, length + 1);
  leat_json_write(value, text, length + 1);
  lua_pushlstring(L, text, length);
  lua_remove(L, -2);
}

/* ---- results --------------------------------------------------------------------- */

void leat__push_card(lua_State *L, const leat_json *card, int metatable) {
  push_object(L, card, metatable);
  lua_pushvalue(L, metatable);
  lua_setmetatable(L, -2);
}

static void push_cards(lua_State *L, const leat_json *list, int metatable) {
  size_t count = leat_json_size(list);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    leat__push_card(L, leat_json_at(list, i), metatable);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

void leat__push_result(lua_State *L, const leat_call *call, int card_metatable) {
  const leat_json *data = leat_call_data(call);
  leat_result result = leat_call_op(call)->result;
  if (result == LEAT_RESULT_CARD) leat__push_card(L, data, card_metatable);
  else if (result == LEAT_RESULT_CARDS) push_cards(L, data, card_metatable);
  else if (result == LEAT_RESULT_NOTHING || leat_json_type(data) <= LEAT_NULL)
    lua_pushboolean(L, 1);
  else leat__push_json(L, data);
}

/* ---- information about a call ---------------------------------------------------- */

void leat__push_rate(lua_State *L, int limit, int remaining) {
  lua_createtable(L, 0, 2);
  leat__set_positive(L, "limit", limit);
  leat__set_integer(L, "remaining", remaining);
}

/* An empty `meta`, as nearly all are, is treated like a missing one. */
static bool is_informative(const leat_json *meta) {
  leat_type type = leat_json_type(meta);
  bool has_members = type == LEAT_OBJECT || type == LEAT_ARRAY;
  return has_members ? leat_json_size(meta) > 0 : type > LEAT_NULL;
}

void leat__push_info(lua_State *L, const leat_call *call, bool json) {
  leat_info info = leat_call_info(call);
  const leat_json *meta = leat_call_meta(call);
  lua_createtable(L, 0, info.rate_remaining < 0 ? 2 : 3);
  leat__set_positive(L, "status", info.status);
  leat__set_positive(L, "attempts", info.attempts);
  if (info.recovered) leat__set_text(L, "outcome", "recovered");
  if (is_informative(meta)) {
    leat__push_json(L, meta);
    lua_setfield(L, -2, "meta");
  }
  if (info.rate_remaining >= 0) {
    leat__push_rate(L, info.rate_limit, info.rate_remaining);
    lua_setfield(L, -2, "rate_limit");
  }
  if (json && leat_call_data(call)) {
    leat__push_json_text(L, leat_call_data(call));
    lua_setfield(L, -2, "json");
  }
}

/* ---- errors ---------------------------------------------------------------------- */

/* Replaces the name on top of the stack by the list under that name in the table below
** it. Creates the list if there is none. */
static void push_list_of(lua_State *L) {
  lua_pushvalue(L, -1);
  lua_rawget(L, -3); /* -> fields, name, list or nil */
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2); /* -> fields, name, list, name, list */
    lua_rawset(L, -5);
  }
  lua_remove(L, -2); /* -> fields, list */
}

/* Pushes { [field] = { message, ... } }. Messages that name no field are under "". */
static void push_fields(lua_State *L, const leat_call *call) {
  leat_field field;
  lua_newtable(L);
  for (size_t i = 0; leat_call_field(call, i, &field); i++) {
    leat__push_string(L, field.name);
    push_list_of(L);
    leat__push_string(L, field.message); /* -> fields, list, message */
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
  }
}

static void set_error(lua_State *L, const leat_error *error) {
  leat__set_text(L, "kind", leat_kind_name(error->kind));
  leat__set_text(L, "message", error->message);
  leat__set_text(L, "operation", error->operation);
  leat__set_sent(L, error->sent);
  leat__set_positive(L, "code", error->code);
  leat__set_positive(L, "status", error->status);
  leat__set_integer(L, "attempts", error->attempts);
  leat__set_boolean(L, "outcome_unknown", error->outcome_unknown);
  if (error->retry_after_ms >= 0)
    leat__set_seconds(L, "retry_after", error->retry_after_ms);
}

void leat__push_error(lua_State *L, const leat_call *call, int metatable,
                      int card_metatable) {
  const leat_json *card = leat_call_conflicting_data(call);
  leat_field field;
  lua_createtable(L, 0, 10);
  set_error(L, leat_call_error(call));
  if (leat_call_field(call, 0, &field)) {
    push_fields(L, call);
    lua_setfield(L, -2, "fields");
  }
  if (card) {
    leat__push_card(L, card, card_metatable);
    lua_setfield(L, -2, "card");
  }
  lua_pushvalue(L, metatable);
  lua_setmetatable(L, -2);
}
