/*
** compat.h - the differences between Lua 5.1 to 5.5 and LuaJIT that matter to the
** binding.
*/
#ifndef LEAT_COMPAT_H
#define LEAT_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>

#if LUA_VERSION_NUM == 501

/* LuaJIT has lua_isyieldable, Lua 5.1 does not; a module built for one of them must
** load in both. */
extern int lua_isyieldable(lua_State *L) __attribute__((weak));

#define lua_rawlen(L, index) lua_objlen((L), (index))

/* Defined under a name of its own: LuaJIT's headers declare luaL_setfuncs, but a
** module built with them must load in Lua 5.1 too. */
static inline void leat_setfuncs(lua_State *L, const luaL_Reg *functions, int upvalues) {
  for (; functions->name; functions++) {
    for (int i = 0; i < upvalues; i++)
      lua_pushvalue(L, -upvalues);
    lua_pushcclosure(L, functions->func, upvalues);
    lua_setfield(L, -upvalues - 2, functions->name);
  }
  lua_pop(L, upvalues);
}
#undef luaL_setfuncs
#define luaL_setfuncs leat_setfuncs

#undef luaL_newlib
#define luaL_newlib(L, functions) (lua_newtable(L), luaL_setfuncs((L), (functions), 0))

#undef luaL_setmetatable
#define luaL_setmetatable(L, name)                                                       \
  (luaL_getmetatable((L), (name)), lua_setmetatable((L), -2))

static inline void leat_rawgetp(lua_State *L, int index, const void *key) {
  if (index < 0 && index > LUA_REGISTRYINDEX) index = lua_gettop(L) + index + 1;
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_rawget(L, index);
}
#define lua_rawgetp leat_rawgetp

static inline void leat_rawsetp(lua_State *L, int index, const void *key) {
  if (index < 0 && index > LUA_REGISTRYINDEX) index = lua_gettop(L) + index + 1;
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_insert(L, -2);
  lua_rawset(L, index);
}
#define lua_rawsetp leat_rawsetp

#endif

/* One user value for a userdata. In Lua 5.1 it is the environment, which must be a
** table. */
#if LUA_VERSION_NUM < 504
#define lua_newuserdatauv(L, size, count) lua_newuserdata((L), (size))
#if LUA_VERSION_NUM == 501
#define lua_setiuservalue(L, index, n) lua_setfenv((L), (index))
#define lua_getiuservalue(L, index, n) lua_getfenv((L), (index))
#else
#define lua_setiuservalue(L, index, n) lua_setuservalue((L), (index))
#define lua_getiuservalue(L, index, n) lua_getuservalue((L), (index))
#endif
#endif

#endif
