/*
** forks.c - a Lua module for specs: what Lua lacks to test processes that fork.
**
**   forks.fork()      Returns 0 in the child, and its process in the parent.
**   forks.wait(pid)   Waits for the end of a child, and returns its exit status.
*/
#include <lauxlib.h>
#include <lua.h>
#include <sys/wait.h>
#include <unistd.h>

static int forks_fork(lua_State *L) {
  lua_pushnumber(L, (lua_Number)fork());
  return 1;
}

static int forks_wait(lua_State *L) {
  int status = 0;
  waitpid((pid_t)luaL_checknumber(L, 1), &status, 0);
  lua_pushnumber(L, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  return 1;
}

__attribute__((visibility("default"))) int luaopen_forks(lua_State *L);

__attribute__((visibility("default"))) int luaopen_forks(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, forks_fork);
  lua_setfield(L, -2, "fork");
  lua_pushcfunction(L, forks_wait);
  lua_setfield(L, -2, "wait");
  return 1;
}
