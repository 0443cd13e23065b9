/*
** options.c - reads the fields of a table of options.
*/
#include "options.h"

#include <limits.h>
#include <string.h>

leat_string leat__option_string(lua_State *L, int index, const char *key) {
  leat_string text = {NULL, 0};
  lua_getfield(L, index, key);
  if (lua_type(L, -1) == LUA_TSTRING) text.data = lua_tolstring(L, -1, &text.length);
  lua_pop(L, 1);
  return text;
}

const char *leat__option_text(lua_State *L, int index, const char *key) {
  leat_string text = leat__option_string(L, index, key);
  if (text.data && strlen(text.data) != text.length)
    luaL_error(L, "%s contains a NUL byte", key);
  return text.data;
}

void leat__option_copy(lua_State *L, int index, const char *key, char *out, size_t size) {
  leat_string text = leat__option_string(L, index, key);
  size_t length = text.length < size ? text.length : size - 1;
  for (size_t i = 0; text.data && i < length; i++)
    out[i] = text.data[i] ? text.data[i] : ' ';
  out[length] = '\0';
}

bool leat__option_boolean(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

lua_Number leat__option_number(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  lua_Number value = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

int leat__option_int(lua_State *L, int index, const char *key) {
  return leat__to_int(leat__option_number(L, index, key));
}

int leat__option_ms(lua_State *L, int index, const char *key) {
  return leat__to_ms(leat__option_number(L, index, key));
}

int leat__to_int(lua_Number number) {
  if (!(number > INT_MIN)) return INT_MIN;
  return number < INT_MAX ? (int)number : INT_MAX;
}

/* Adds less than 1, because a product such as 1.001 * 1000 may be slightly too large. */
int leat__to_ms(lua_Number seconds) {
  return seconds >= 0 ? leat__to_int(seconds * 1000 + (lua_Number)0.999999) : INT_MIN;
}

leat_header *leat__to_headers(lua_State *L, int list, size_t *count) {
  *count = lua_istable(L, list) ? lua_rawlen(L, list) / 2 : 0;
  leat_header *headers = lua_newuserdata(L, *count * sizeof *headers + 1);
  for (size_t i = 0; i < *count * 2; i++) {
    leat_string *text = i % 2 ? &headers[i / 2].value : &headers[i / 2].name;
    lua_rawgeti(L, list, (int)i + 1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, list,
                  "names and values are strings");
    text->data = lua_tolstring(L, -1, &text->length);
    lua_pop(L, 1);
  }
  return headers;
}
