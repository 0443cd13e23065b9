/*
** forks.c - a Lua module for specs: what Lua lacks to test processes that fork, and networks.
**
**   forks.fork()              Returns 0 in the child, and its process in the parent.
**   forks.exit(status)        Ends the process at once, as a child does that shares much with its parent:
**                             leaks, which are deliberate then, are not looked for.
**   forks.wait(pid)           Waits for the end of a child, and returns its exit status.
**   forks.in_network(pid, f)  Calls f in the network namespace of another process. Sockets and
**                             threads that f makes stay in it.
*/
#define _GNU_SOURCE /* for setns */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int forks_fork(lua_State *L) {
  lua_pushnumber(L, (lua_Number)fork());
  return 1;
}

static int forks_exit(lua_State *L) {
  _exit((int)luaL_checknumber(L, 1));
}

static int forks_wait(lua_State *L) {
  int status = 0;
  waitpid((pid_t)luaL_checknumber(L, 1), &status, 0);
  lua_pushnumber(L, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  return 1;
}

/* Enters the network namespace of a file. Returns whether that was possible. */
static int enter(int fd) {
  return fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
}

static int forks_in_network(lua_State *L) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%.0f/ns/net", luaL_checknumber(L, 1));
  int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  int other = open(path, O_RDONLY | O_CLOEXEC);
  int entered = enter(other), why = errno, failed = 0;
  if (entered) {
    lua_settop(L, 2);
    failed = lua_pcall(L, 0, 0, 0);
    if (!enter(own)) _exit(1); /* nothing else could be tested any more */
  }
  close(own);
  close(other);
  if (!entered) return luaL_error(L, "no network of process: %s", strerror(why));
  return failed ? lua_error(L) : 0;
}

__attribute__((visibility("default"))) int luaopen_forks(lua_State *L);

__attribute__((visibility("default"))) int luaopen_forks(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, forks_in_network);
  lua_setfield(L, -2, "in_network");
  lua_pushcfunction(L, forks_fork);
  lua_setfield(L, -2, "fork");
  lua_pushcfunction(L, forks_exit);
  lua_setfield(L, -2, "exit");
  lua_pushcfunction(L, forks_wait);
  lua_setfield(L, -2, "wait");
  return 1;
}
