/*
** poller.c - a poller, for Lua: a descriptor that stands for another, and for a time.
**
**   core.poller()                  Returns a poller; or nil and a message.
**   poller:watch(fd, events)       Watches this descriptor for "r", "w" or "rw", and no other
**                                  any more; none without `fd`.
**   poller:alarm(ms)               Sets the time, on the clock of core.now, at which the
**                                  poller becomes ready; none without `ms`.
**   poller:fd()                    Returns a descriptor that is readable while the poller is
**                                  ready; -1: this system has none. It stays the same until
**                                  `renew` returns true.
**   poller:wait(seconds)           Waits until the poller is ready; for at most 0.1 s, and
**                                  less after a signal, so that Lua can run its hooks.
**   poller:renew()                 Returns true in a process that another one forked, where
**                                  the poller then watches nothing any more; else false.
**   poller:close()
*/
#include "poller.h"
#include "core.h"

#include <string.h>
#include <unistd.h>

#define POLLER_TYPE "leat.poller " LEAT_VERSION

typedef struct poller_box { /* `poller` is NULL until it is created, and once closed */
  leat__poller *poller;
  int watched; /* -1: none */
  int64_t due; /* the time of the alarm, in ms; INT64_MAX: none */
  pid_t process;
} poller_box;

static poller_box *check_poller(lua_State *L) {
  poller_box *box = check_box(L, 1, OWN, POLLER_TYPE);
  luaL_argcheck(L, box->poller != NULL, 1, "poller is closed");
  return box;
}

static int core_poller(lua_State *L) {
  poller_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (poller_box){NULL, -1, INT64_MAX, getpid()};
  luaL_setmetatable(L, POLLER_TYPE);
  box->poller = leat__poller_new();
  if (box->poller) return 1;
  lua_pushnil(L);
  lua_pushliteral(L, "no more descriptors, or no more memory");
  return 2;
}

/* libpq may close its descriptor, and get the same number for the next one. */
static int poller_watch(lua_State *L) {
  poller_box *box = check_poller(L);
  int fd = (int)luaL_optinteger(L, 2, -1);
  const char *events = luaL_optstring(L, 3, "r");
  int flags =
      (strchr(events, 'r') ? LEAT_READ : 0) | (strchr(events, 'w') ? LEAT_WRITE : 0);
  if (box->watched >= 0 && box->watched != fd)
    leat__poller_unset(box->poller, box->watched);
  box->watched = fd;
  lua_pushboolean(L, fd < 0 || leat__poller_set(box->poller, fd, flags));
  return 1;
}

static int poller_alarm(lua_State *L) {
  poller_box *box = check_poller(L);
  box->due =
      lua_isnoneornil(L, 2) ? INT64_MAX : leat__check_time(L, 2) + 1; /* rounds up */
  leat__poller_alarm(box->poller, box->due);
  return 0;
}

static int poller_fd(lua_State *L) {
  poller_box *box = check_poller(L);
  lua_pushinteger(L, leat__poller_fd(box->poller));
  leat__poller_alarm(box->poller, box->due);
  return 1;
}

/* Returns how long to wait, because the poller's own timer is used only with its
** descriptor. */
static int until_alarm(const poller_box *box, int ms) {
  lua_Number left = (lua_Number)box->due - monotonic_ms();
  if (left <= 0) return 0;
  return left < ms ? (int)left + 1 : ms;
}

static int poller_wait(lua_State *L) {
  leat__ready ready[8];
  poller_box *box = check_poller(L);
  leat__poller_wait(box->poller, ready, 8, until_alarm(box, check_wait_ms(L, 2)));
  return 0;
}

/* The descriptors are copies in the child: closing them has no effect on the parent. */
static int poller_renew(lua_State *L) {
  poller_box *box = check_poller(L);
  bool forked = box->process != getpid();
  lua_pushboolean(L, forked);
  if (!forked) return 1;
  leat__poller *fresh = leat__poller_new();
  if (fresh == NULL) return luaL_error(L, "no more descriptors, or no more memory");
  leat__poller_free(box->poller);
  *box = (poller_box){fresh, -1, INT64_MAX, getpid()};
  return 1;
}

static int poller_close(lua_State *L) {
  poller_box *box = check_box(L, 1, OWN, POLLER_TYPE);
  leat__poller_free(box->poller);
  box->poller = NULL;
  return 0;
}

void leat__open_poller(lua_State *L) {
  static const luaL_Reg methods[] = {{"watch", poller_watch},
                                     {"alarm", poller_alarm},
                                     {"fd", poller_fd},
                                     {"wait", poller_wait},
                                     {"renew", poller_renew},
                                     {"close", poller_close},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"poller", core_poller}, {NULL, NULL}};
  leat__new_type(L, POLLER_TYPE, poller_close, methods);
  leat__set_functions(L, POLLER_TYPE, functions);
}
