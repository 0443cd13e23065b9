/*
** json.c - JSON text, for Lua.
**
**   core.quote(text)        Returns any text as a JSON string, with its quotes. Bytes that
**                           are not UTF-8 become U+FFFD.
**   core.split_json(text)   Returns a list of the names of an object's members, and a list
**                           of their values as JSON text; for an array nil, and a list of
**                           its items' text; for anything else nil and a message.
**
** Unlike the other files of the modules, this one uses the core's private header: programs
** in C decode no JSON but responses.
*/
#include "core.h"
#include "internal.h"
#include "push.h"

#define DOCUMENT_TYPE "leat.json " LEAT_VERSION

static int core_quote(lua_State *L) {
  leat_string text;
  text.data = luaL_checklstring(L, 1, &text.length);
  size_t size = leat__json_quote(text, NULL, 0) + 1;
  char *quoted = lua_newuserdata(L, size);
  leat__json_quote(text, quoted, size);
  lua_pushlstring(L, quoted, size - 1);
  return 1;
}

/* ---- splitting ------------------------------------------------------------------- */

static int document_free(lua_State *L) {
  leat_json **document = luaL_checkudata(L, 1, DOCUMENT_TYPE);
  leat__json_free(*document);
  *document = NULL;
  return 0;
}

static void push_members(lua_State *L, const leat_json *object) {
  leat_member member = {.value = NULL};
  lua_newtable(L);
  lua_newtable(L); /* -> names, texts */
  for (int i = 1; leat_json_next(object, &member); i++) {
    leat__push_string(L, member.name);
    lua_rawseti(L, -3, i);
    leat__push_json_text(L, member.value);
    lua_rawseti(L, -2, i);
  }
}

static void push_items(lua_State *L, const leat_json *array) {
  size_t size = leat_json_size(array);
  lua_pushnil(L);
  lua_createtable(L, (int)size, 0);
  for (size_t i = 0; i < size; i++) {
    leat__push_json_text(L, leat_json_at(array, i));
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* The document is in a userdata, so that an error does not leak it. */
static int core_split_json(lua_State *L) {
  char why[80];
  leat_string text;
  text.data = luaL_checklstring(L, 1, &text.length);
  leat_json **document = lua_newuserdata(L, sizeof *document);
  *document = NULL;
  luaL_setmetatable(L, DOCUMENT_TYPE);
  *document = leat__json_parse(text, why, sizeof why);
  if (*document == NULL && why[0] == '\0') return luaL_error(L, "not enough memory");
  if (*document == NULL) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
  }
  if (leat_json_type(*document) == LEAT_OBJECT) push_members(L, *document);
  else push_items(L, *document);
  leat__json_free(*document);
  *document = NULL;
  return 2;
}

void leat__open_json(lua_State *L) {
  static const luaL_Reg no_methods[] = {{NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"quote", core_quote}, {"split_json", core_split_json}, {NULL, NULL}};
  leat__new_type(L, DOCUMENT_TYPE, document_free, no_methods);
  leat__set_functions(L, DOCUMENT_TYPE, functions);
}
