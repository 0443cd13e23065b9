/*
** binding.c - creates the types of userdata of leat's C modules.
*/
#include "binding.h"

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
