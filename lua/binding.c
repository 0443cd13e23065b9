/*
** binding.c - creates the types of userdata of leat's C modules.
*/
#include "binding.h"

#include <string.h>

static void push_call_metatable(lua_State *L) {
  luaL_newmetatable(L, LEAT_CALL_TYPE); /* reuses an existing metatable */
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, RECYCLED);
  leat__set_names(L);
}

void leat__set_functions(lua_State *L, const char *type, const luaL_Reg *functions) {
  push_call_metatable(L);
  luaL_newmetatable(L, type);
  luaL_setfuncs(L, functions, METATABLES);
}

void leat__new_type(lua_State *L, const char *type, lua_CFunction finalize,
                    const luaL_Reg *methods) {
  const luaL_Reg finalizers[] = {{"__gc", finalize}, {"__close", finalize}, {NULL, NULL}};
  luaL_newmetatable(L, type);
  leat__set_functions(L, type, finalizers);
  lua_newtable(L);
  leat__set_functions(L, type, methods);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, type);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable"); /* protects the metatable from programs */
  lua_pop(L, 1);
}

/* ---- arguments ------------------------------------------------------------------- */

const char *leat__check_text(lua_State *L, int index) {
  size_t length;
  luaL_checktype(L, index, LUA_TSTRING);
  const char *text = lua_tolstring(L, index, &length);
  luaL_argcheck(L, strlen(text) == length, index, "it contains a NUL byte");
  return text;
}

static bool to_integer(lua_State *L, int index, int64_t *value) {
#if LUA_VERSION_NUM >= 503
  if (lua_isinteger(L, index)) {
    *value = lua_tointeger(L, index);
    return true;
  }
#endif
  const lua_Number limit = (lua_Number)9223372036854775808.0;
  lua_Number number = lua_tonumber(L, index);
  if (!(number >= -limit && number < limit)) return false;
  *value = (int64_t)number;
  return (lua_Number)*value == number;
}

int64_t leat__check_integer(lua_State *L, int index) {
  int64_t value = 0;
  if (lua_isboolean(L, index)) return lua_toboolean(L, index);
  if (lua_type(L, index) != LUA_TNUMBER) {
    lua_pushfstring(L, "integer expected, got %s", luaL_typename(L, index));
    luaL_argerror(L, index, lua_tostring(L, -1));
  }
  if (!to_integer(L, index, &value))
    luaL_argerror(L, index, "number has no integer representation");
  return value;
}
