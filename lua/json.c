/*
** json.c - JSON text, for Lua.
**
**   core.quote(text)        Returns any text as a JSON string, with its quotes. Bytes that
**                           are not UTF-8 become U+FFFD.
**   core.split_json(text)   Returns a list of the names of an object's members, and a list
**                           of their values as JSON text; for an array nil, and a list of
**                           its items' text; for anything else nil and a message.
**   core.decode(text, metatable)
**                           Returns the card that core.result makes of an object with this
**                           text; or nil and a message.
**
** Unlike the other files of the modules, this one uses the core's private header: programs
** in C decode no JSON but responses.
*/
#include "core.h"
#include "internal.h"
#include "push.h"

#define DOCUMENT_TYPE "leat.json " LEAT_VERSION

/* The index, in the metatable of documents, of a userdata for the next text; or false. */
enum { RECYCLED_DOCUMENT = 1 };

static int core_quote(lua_State *L) {
  leat_string text;
  text.data = luaL_checklstring(L, 1, &text.length);
  size_t size = leat__json_quote(text, NULL, 0) + 1;
  char *quoted = lua_newuserdata(L, size);
  leat__json_quote(text, quoted, size);
  lua_pushlstring(L, quoted, size - 1);
  return 1;
}

/* ---- documents ------------------------------------------------------------------- */

static void empty(leat_json **document) {
  leat__json_free(*document);
  *document = NULL;
}

static int document_free(lua_State *L) {
  empty(luaL_checkudata(L, 1, DOCUMENT_TYPE));
  return 0;
}

/* Keeps the userdata at `index` for the next text; the index 0 stands for none. Needs no
** memory: the slot exists already. */
static void recycle(lua_State *L, int index) {
  if (index) lua_pushvalue(L, index);
  else lua_pushboolean(L, 0);
  lua_rawseti(L, lua_upvalueindex(OWN), RECYCLED_DOCUMENT);
}

/* Pushes a userdata for a document, which nothing else uses meanwhile: a finalizer may
** decode another text. */
static leat_json **new_box(lua_State *L) {
  lua_rawgeti(L, lua_upvalueindex(OWN), RECYCLED_DOCUMENT);
  leat_json **document = lua_touserdata(L, -1);
  if (document) {
    recycle(L, 0);
    return document;
  }
  lua_pop(L, 1);
  document = lua_newuserdata(L, sizeof *document);
  *document = NULL;
  lua_pushvalue(L, lua_upvalueindex(OWN));
  lua_setmetatable(L, -2);
  return document;
}

static void release(lua_State *L, int index, leat_json **document) {
  empty(document);
  recycle(L, index);
}

/* Decodes the text at `index` into a userdata, which it pushes: an error then does not
** leak the document. If it is not JSON, returns NULL, and pushes nil and a message. */
static leat_json **push_document(lua_State *L, int index) {
  char why[80];
  leat_string text;
  text.data = luaL_checklstring(L, index, &text.length);
  leat_json **document = new_box(L);
  *document = leat__json_parse(text, why, sizeof why);
  if (*document) return document;
  if (why[0] == '\0') luaL_error(L, "not enough memory");
  recycle(L, lua_gettop(L));
  lua_pushnil(L);
  lua_pushstring(L, why);
  return NULL;
}

/* ---- cards ----------------------------------------------------------------------- */

/* core.decode(text, metatable) */
static int core_decode(lua_State *L) {
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  leat_json **document = push_document(L, 1); /* at index 3 */
  if (document == NULL) return 2;
  bool is_object = leat_json_type(*document) == LEAT_OBJECT;
  if (is_object) leat__push_card(L, *document, 2);
  release(L, 3, document);
  if (is_object) return 1;
  lua_pushnil(L);
  lua_pushliteral(L, "an array, and not an object");
  return 2;
}

/* ---- splitting ------------------------------------------------------------------- */

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

static int core_split_json(lua_State *L) {
  lua_settop(L, 1);
  leat_json **document = push_document(L, 1); /* at index 2 */
  if (document == NULL) return 2;
  if (leat_json_type(*document) == LEAT_OBJECT) push_members(L, *document);
  else push_items(L, *document);
  release(L, 2, document);
  return 2;
}

void leat__open_json(lua_State *L) {
  static const luaL_Reg no_methods[] = {{NULL, NULL}};
  static const luaL_Reg functions[] = {{"quote", core_quote},
                                       {"decode", core_decode},
                                       {"split_json", core_split_json},
                                       {NULL, NULL}};
  leat__new_type(L, DOCUMENT_TYPE, document_free, no_methods);
  luaL_getmetatable(L, DOCUMENT_TYPE);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, RECYCLED_DOCUMENT);
  lua_pop(L, 1);
  leat__set_functions(L, DOCUMENT_TYPE, functions);
}
