/*
** leat_curl.c - the module leat.curl.core: the driver on libcurl for Lua.
**
**   curl.new({ ca_file =, proxy =, max_connections = }, entries)
**                          Returns a driver; or nil and a message. `entries` is the table
**                          in which the driver keeps its entries.
**   curl.start(driver, call, entry)
**                          Starts a call. Returns whether it was started. `entry` is a
**                          table that holds the call; it stays in `entries` until the
**                          call is done or canceled.
**   curl.is_idle(driver)   Whether no started call waits for its end, and for
**                          curl.next_event to return it.
**   curl.wait(driver, seconds)
**                          Waits for work and does it; for at most 0.1 s, and less after
**                          a signal, so that Lua can run its hooks. Returns like
**                          curl.next_event.
**   curl.next_event(driver)
**                          Returns the next event: an entry, its event, and whether there
**                          may be more; nothing if there is none. The events:
**                            "done"   the call is done
**                            "token"  the call needs a token: call:give(ms, unix, ...)
**                                     or call:fail(ms, unix, ...) must follow before the
**                                     next wait
**                            "slot"   the call needs a slot of its rate: call:take_slot,
**                                     call:await or call:fail must follow some time
**                          The event is also stored in the entry's field `event`, so that
**                          an error that a hook raises after the wait does not lose it.
**   driver:now()           Returns the driver's clocks: monotonic ms, and Unix time in s.
**   driver:fd()            Returns a descriptor that is readable when a wait has work to
**                          do; -1: this system has none.
**   driver:watch(fd)       Makes the descriptor readable also while another one is.
**   driver:timeout()       Returns the seconds until the next work is due, at most;
**                          nothing if there is none before the descriptor is readable.
**   driver:cancel(call)    Cancels a call; it is not reported as done.
**   driver:close()
**   curl.version()
**
** In place of a driver, the functions also take a table with the driver in its field
** `handle`.
*/
#include "leat_curl.h"
#include "options.h"
#include "push.h"

#define DRIVER_TYPE "leat.curl " LEAT_VERSION

typedef struct driver_box { /* `curl` is NULL until it is created, and once closed */
  leat_curl *curl;
  size_t calls; /* started, and neither returned by next_event nor canceled */
} driver_box;

/* Returns the driver at index 1. Replaces a table there by its field `handle`. */
static driver_box *check_driver_box(lua_State *L) {
  if (lua_istable(L, 1)) {
    lua_getfield(L, 1, "handle");
    lua_replace(L, 1);
  }
  return check_box(L, 1, OWN, DRIVER_TYPE);
}

static driver_box *check_open_box(lua_State *L) {
  driver_box *box = check_driver_box(L);
  luaL_argcheck(L, box->curl != NULL, 1, "driver is closed");
  return box;
}

static leat_curl *check_driver(lua_State *L) {
  return check_open_box(L)->curl;
}

/* ---- creating and closing -------------------------------------------------------- */

static int driver_new(lua_State *L) {
  leat_error error;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  leat_curl_config config = {.ca_file = leat__option_text(L, 1, "ca_file"),
                             .proxy = leat__option_text(L, 1, "proxy"),
                             .max_connections =
                                 leat__option_int(L, 1, "max_connections")};
  driver_box *box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = (driver_box){NULL, 0};
  luaL_setmetatable(L, DRIVER_TYPE);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1); /* the driver keeps `entries` */
  box->curl = leat_curl_new(&config, &error);
  if (box->curl) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  return 2;
}

static int driver_close(lua_State *L) {
  driver_box *box = check_box(L, 1, OWN, DRIVER_TYPE);
  leat_curl *curl = box->curl;
  *box = (driver_box){NULL, 0};
  leat_curl_free(curl);
  return 0;
}

/* ---- entries --------------------------------------------------------------------- */

/* Pushes the table of entries of the driver at index 1, and the call's entry or nil. The
** key of an entry is its own address, which is also the user pointer of its call. A caller
** that reuses an entry therefore reuses its slot in the table. */
static void push_entry(lua_State *L, const leat_call *call) {
  lua_getiuservalue(L, 1, 1);
  lua_rawgetp(L, -1, leat_call_user(call)); /* -> ..., entries, entry or nil */
}

static void add_entry(lua_State *L, leat_call *call, int entry) {
  const void *address = lua_topointer(L, entry);
  lua_getiuservalue(L, 1, 1);
  lua_pushvalue(L, entry);
  lua_rawsetp(L, -2, address);
  lua_pop(L, 1);
  leat_call_set_user(call, (void *)(uintptr_t)address);
}

/* Removes the entry of a call that the driver no longer works on. The table of entries is
** at index `entries`. */
static void remove_entry(lua_State *L, int entries, leat_call *call) {
  lua_pushnil(L);
  lua_rawsetp(L, entries, leat_call_user(call));
  leat_call_set_user(call, NULL);
}

/* Starts a call that has no entry yet. Returns false if the driver refuses it. */
static bool start(lua_State *L, driver_box *box, leat_call *call) {
  add_entry(L, call, 3);
  if (leat_curl_start(box->curl, call)) {
    box->calls++;
    return true;
  }
  lua_getiuservalue(L, 1, 1);
  remove_entry(L, lua_gettop(L), call);
  return false;
}

/* curl.start(driver, call, entry) */
static int driver_start(lua_State *L) {
  driver_box *box = check_open_box(L);
  leat_call *call = check_call(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_pushboolean(L, leat_call_user(call) == NULL && start(L, box, call));
  return 1;
}

static int driver_is_idle(lua_State *L) {
  lua_pushboolean(L, check_driver_box(L)->calls == 0);
  return 1;
}

static int driver_cancel(lua_State *L) {
  driver_box *box = check_open_box(L);
  leat_call *call = check_call(L, 2);
  leat_curl_cancel(box->curl, call);
  lua_settop(L, 2);
  push_entry(L, call); /* -> driver, call, entries, entry or nil */
  if (!lua_isnil(L, 4)) {
    /* Only an existing key: adding one could run out of memory. */
    remove_entry(L, 3, call);
    box->calls--;
  }
  return 0;
}

/* ---- events ---------------------------------------------------------------------- */

/* Returns the call of the next event, its name, and whether the call is done; NULL if there
** is none. */
static leat_call *next_call(leat_curl *curl, const char **event, bool *done) {
  leat_call *call;
  *done = false;
  if ((call = leat_curl_token(curl)) != NULL) *event = "token";
  else if ((call = leat_curl_slot(curl)) != NULL) *event = "slot";
  else if ((call = leat_curl_done(curl)) != NULL) *event = "done", *done = true;
  return call;
}

/* Pushes the next event: the entry of a call, the name of the event, and whether there
** may be more. Pushes nothing if there is none. */
static int push_event(lua_State *L, driver_box *box) {
  const char *event;
  bool done;
  leat_call *call = next_call(box->curl, &event, &done);
  if (call == NULL) return 0;
  lua_settop(L, 1);
  push_entry(L, call); /* -> driver, entries, entry or nil */
  if (done) {
    remove_entry(L, 2, call);
    box->calls--;
  }
  lua_pushstring(L, event);
  if (lua_istable(L, 3)) {
    lua_pushvalue(L, 4);
    lua_setfield(L, 3, "event");
  }
  lua_pushboolean(L, !done || leat_curl_timeout_ms(box->curl) == 0);
  return 3; /* entry, event, more */
}

static int driver_next_event(lua_State *L) {
  return push_event(L, check_open_box(L));
}

static int driver_wait(lua_State *L) {
  driver_box *box = check_open_box(L);
  leat_curl_wait(box->curl, check_wait_ms(L, 2));
  return push_event(L, box);
}

/* ---- descriptor, timeout and clocks ---------------------------------------------- */

static int driver_fd(lua_State *L) {
  lua_pushinteger(L, leat_curl_fd(check_driver(L)));
  return 1;
}

static int driver_watch(lua_State *L) {
  lua_pushboolean(L, leat_curl_watch(check_driver(L), (int)luaL_checkinteger(L, 2)));
  return 1;
}

static int driver_timeout(lua_State *L) {
  int ms = leat_curl_timeout_ms(check_driver(L));
  if (ms < 0) return 0;
  lua_pushnumber(L, (lua_Number)ms / 1000);
  return 1;
}

static int driver_now(lua_State *L) {
  leat_moment now = leat_curl_moment(check_driver(L));
  lua_pushnumber(L, (lua_Number)now.monotonic_ms);
  lua_pushnumber(L, (lua_Number)now.unix_s);
  return 2;
}

static int curl_version(lua_State *L) {
  lua_pushstring(L, leat_curl_version());
  return 1;
}

/* ---- the module ------------------------------------------------------------------ */

static const luaL_Reg methods[] = {{"now", driver_now},
                                   {"cancel", driver_cancel},
                                   {"fd", driver_fd},
                                   {"timeout", driver_timeout},
                                   {"watch", driver_watch},
                                   {"close", driver_close},
                                   {NULL, NULL}};

/* start, wait and next_event are functions because methods would need a lookup for each
** call. */
static const luaL_Reg functions[] = {
    {"new", driver_new},   {"start", driver_start},           {"is_idle", driver_is_idle},
    {"wait", driver_wait}, {"next_event", driver_next_event}, {"version", curl_version},
    {NULL, NULL}};

LEAT_API int luaopen_leat_curl_core(lua_State *L);

LEAT_API int luaopen_leat_curl_core(lua_State *L) {
  leat__new_type(L, DRIVER_TYPE, driver_close, methods);
  lua_newtable(L);
  leat__set_functions(L, DRIVER_TYPE, functions);
  return 1;
}
