/*
** call_driver.c - the methods of calls for drivers in Lua.
**
** `ms` and `unix` are the driver's monotonic clock in ms and the Unix time in s; `random`
** is a number of 32 random bits:
**   call:next(ms, unix, random)      Returns "send", "wait", "token", "slot" or "done";
**                                    then what call:epoch and call:gets_token return.
**   call:until_ms()                  After "wait": when to run the call again. After
**                                    "slot": the latest time, in ms, that the call can
**                                    wait for.
**   call:queue_deadline(ms)          Returns how long a call may wait that enters a queue
**                                    at that time.
**   call:request()                   Returns { method, url, headers, body, deadline }.
**   call:respond(ms, unix, status, headers, body)
**                                    Gives the call its response. Headers are
**                                    { name, value, ... }.
**   call:fail(ms, unix, kind, sent, message)
**   call:give(ms, unix, token, seconds)
**                                    Gives the token after "token", and its lifetime.
**                                    Returns false if it is not a valid token.
**   call:epoch()                     Returns a number that changes when calls that wait
**                                    should be run again.
**   call:gets_token()                Whether the call's exchange fetches a token, for
**                                    which others may wait.
**
** For drivers that have a byte stream and use the codec (http1.c):
**   call:destination()               Returns origin, host, port, tls, deadline (ms),
**                                    connect_timeout (ms).
**   call:connected(ms)               The first byte is about to be sent. Returns the
**                                    deadline of the exchange: see leat_call_connected.
**   call:set_reused()                The exchange uses a connection that was used before.
**
** For drivers with a store that processes share, and clients that are `shared`. Then
** "slot" is a step too, and "token" consults the store first:
**   call:token(ms, unix)             Returns the client's token and its end (ms); nothing
**                                    if it has none.
**   call:share(ms, unix, token, until)
**                                    Gives the client the token of the store. Returns
**                                    false if it is of no use.
**   call:fetch(ms, unix)             Makes the call fetch a token.
**   call:await(ms, unix, until)      Makes the call wait until then for the store's token,
**                                    or slot.
**   call:slot_length()               Returns the interval of slots, in microseconds.
**   call:timeout_ms()                Returns the call's timeout.
**   call:take_slot(us, late)         Gives the call a slot. `late` is how much later it may
**                                    be used, in microseconds; by default by one slot.
**   call:awaits_slot()               Whether the step is "slot", and no slot was given yet.
**   call:pause(ms)                   Like client:pause, for the call's client.
**   call:share_pause(ms, pause)      Gives the client the pause of the store, in the form
**                                    that call:pause returns.
*/
#include "core.h"
#include "options.h"
#include "push.h"

#include <string.h>

/* ---- arguments ------------------------------------------------------------------- */

int64_t leat__check_time(lua_State *L, int index) {
  const lua_Number furthest = 4e15;
  lua_Number time = luaL_checknumber(L, index);
  if (time >= furthest) return (int64_t)furthest;
  return (int64_t)(time > -furthest ? time : -furthest);
}

leat_moment leat__check_monotonic(lua_State *L, int index) {
  return (leat_moment){.monotonic_ms = leat__check_time(L, index)};
}

leat_moment leat__check_moment(lua_State *L, int call) {
  const call_box *box = check_call_box(L, call);
  return (leat_moment){.monotonic_ms = leat__check_time(L, call + 1),
                       .unix_s = leat__check_time(L, call + 2),
                       .random = box->random};
}

static leat_string check_string(lua_State *L, int index) {
  leat_string text;
  text.data = luaL_checklstring(L, index, &text.length);
  return text;
}

/* Raises an error for a string with a NUL byte, so that C may compare it. */
static const char *check_word(lua_State *L, int index) {
  const char *word = luaL_checkstring(L, index);
  luaL_argcheck(L, !leat__contains_nul(L, index), index, CONTAINS_NUL);
  return word;
}

leat_kind leat__kind_by_name(const char *name) {
  int kind = LEAT_OK;
  while (kind < LEAT_KINDS && strcmp(leat_kind_name((leat_kind)kind), name) != 0)
    kind++;
  return (leat_kind)kind;
}

/* ---- steps ----------------------------------------------------------------------- */

static void push_epoch(lua_State *L, const leat_call *call) {
  lua_pushnumber(L, (lua_Number)leat_client_epoch(leat_call_client(call)));
}

static void push_gets_token(lua_State *L, const leat_call *call) {
  lua_pushboolean(L, leat_call_purpose(call) == LEAT_TO_GET_TOKEN);
}

/* Multiplies the 32 random bits by a large odd number, to spread them over 64. */
static uint64_t check_random(lua_State *L, int index) {
  uint64_t bits = lua_isnoneornil(L, index) ? 0 : (uint64_t)leat__check_time(L, index);
  return bits * UINT64_C(0x9E3779B97F4A7C15);
}

static int call_next(lua_State *L) {
  static const char *const steps[] = {[LEAT_SEND] = "send",
                                      [LEAT_WAIT] = "wait",
                                      [LEAT_TOKEN] = "token",
                                      [LEAT_DONE] = "done",
                                      [LEAT_SLOT] = "slot"};
  leat_call *call = check_call(L, 1);
  check_call_box(L, 1)->random = check_random(L, 4);
  lua_pushstring(L, steps[leat_call_next(call, leat__check_moment(L, 1))]);
  push_epoch(L, call);
  push_gets_token(L, call);
  return 3;
}

static int call_until(lua_State *L) {
  lua_pushnumber(L, (lua_Number)leat_call_until(check_call(L, 1)));
  return 1;
}

/* call:queue_deadline(ms) */
static int call_queue_deadline(lua_State *L) {
  int64_t ms = leat__check_time(L, 2);
  lua_pushnumber(L, (lua_Number)leat_call_queue_deadline(check_call(L, 1), ms));
  return 1;
}

static int call_epoch(lua_State *L) {
  push_epoch(L, check_call(L, 1));
  return 1;
}

static int call_gets_token(lua_State *L) {
  push_gets_token(L, check_call(L, 1));
  return 1;
}

/* ---- an exchange ----------------------------------------------------------------- */

static int call_request(lua_State *L) {
  const leat_request *request = leat_call_request(check_call(L, 1));
  if (request == NULL) return 0;
  lua_createtable(L, 0, 6);
  leat__set_string(L, "method", request->method);
  leat__push_string(L, request->origin);
  leat__push_string(L, request->target);
  lua_concat(L, 2); /* -> table, url */
  lua_setfield(L, -2, "url");
  leat__set_string(L, "body", request->body);
  leat__push_headers(L, request->headers, request->header_count);
  lua_setfield(L, -2, "headers");
  lua_pushnumber(L, (lua_Number)request->deadline_ms);
  lua_setfield(L, -2, "deadline");
  return 1;
}

/* call:respond(ms, unix, status, headers, body) */
static int call_respond(lua_State *L) {
  leat_call *call = check_call(L, 1);
  leat_moment now = leat__check_moment(L, 1);
  leat_response response = {.framing = LEAT_LENGTH};
  response.status = leat__to_int(luaL_checknumber(L, 4));
  response.body = check_string(L, 6);
  if (response.status == 204 || response.status == 304) response.framing = LEAT_NO_BODY;
  response.headers = leat__to_headers(L, 5, &response.header_count);
  leat_call_respond(call, now, &response);
  return 0;
}

/* Pushes a copy with NULs replaced by spaces. Returns it, borrowed from the stack. */
static const char *without_nul(lua_State *L, leat_string text) {
  luaL_Buffer copy;
  luaL_buffinit(L, &copy);
  for (size_t i = 0; i < text.length; i++)
    luaL_addchar(&copy, text.data[i] ? text.data[i] : ' ');
  luaL_pushresult(&copy);
  return lua_tostring(L, -1);
}

/* call:fail(ms, unix, kind, sent, message) */
static int call_fail(lua_State *L) {
  leat_call *call = check_call(L, 1);
  leat_moment now = leat__check_moment(L, 1);
  leat_kind kind = leat__kind_by_name(check_word(L, 4));
  bool unsent = strcmp(check_word(L, 5), "no") == 0;
  luaL_argcheck(L, kind > LEAT_OK && kind < LEAT_KINDS, 4, "no such kind of error");
  leat_call_fail(call, now, kind, unsent ? LEAT_SENT_NO : LEAT_SENT_MAYBE,
                 without_nul(L, check_string(L, 6)));
  return 0;
}

static int call_destination(lua_State *L) {
  const leat_request *request = leat_call_request(check_call(L, 1));
  luaL_argcheck(L, request != NULL, 1, "the call has nothing to send");
  leat__push_string(L, request->origin);
  leat__push_string(L, request->host);
  lua_pushinteger(L, request->port);
  lua_pushboolean(L, request->tls);
  lua_pushnumber(L, (lua_Number)request->deadline_ms);
  lua_pushinteger(L, request->connect_timeout_ms);
  return 6;
}

/* call:connected(ms) */
static int call_connected(lua_State *L) {
  leat_moment now = leat__check_monotonic(L, 2);
  lua_pushnumber(L, (lua_Number)leat_call_connected(check_call(L, 1), now));
  return 1;
}

static int call_set_reused(lua_State *L) {
  leat_call_set_reused(check_call(L, 1));
  return 0;
}

/* ---- tokens ---------------------------------------------------------------------- */

/* call:give(ms, unix, token, seconds) */
static int call_give(lua_State *L) {
  leat_client *client = leat_call_client(check_call(L, 1));
  leat_moment now = leat__check_moment(L, 1);
  lua_Number seconds = luaL_optnumber(L, 5, 0);
  int lifetime = seconds >= 1 && seconds < 1e9 ? (int)seconds : 0;
  lua_pushboolean(L, leat_client_set_token(client, now, check_string(L, 4), lifetime));
  return 1;
}

static int call_token(lua_State *L) {
  int64_t until;
  leat_moment now = leat__check_moment(L, 1);
  leat_string token = leat_client_token(leat_call_client(check_call(L, 1)), now, &until);
  if (token.data == NULL) return 0;
  leat__push_string(L, token);
  lua_pushnumber(L, (lua_Number)until);
  return 2;
}

/* call:share(ms, unix, token, until) */
static int call_share(lua_State *L) {
  leat_client *client = leat_call_client(check_call(L, 1));
  leat_moment now = leat__check_moment(L, 1);
  int64_t until = leat__check_time(L, 5);
  lua_pushboolean(L, leat_client_share_token(client, now, check_string(L, 4), until));
  return 1;
}

static int call_fetch(lua_State *L) {
  leat_call_fetch(check_call(L, 1), leat__check_moment(L, 1));
  return 0;
}

static int call_await(lua_State *L) {
  leat_call_await(check_call(L, 1), leat__check_moment(L, 1), leat__check_time(L, 4));
  return 0;
}

/* ---- rate and pauses ------------------------------------------------------------- */

static int call_slot_length(lua_State *L) {
  const leat_client *client = leat_call_client(check_call(L, 1));
  lua_pushnumber(L, (lua_Number)leat_client_slot_length_us(client));
  return 1;
}

static int call_timeout_ms(lua_State *L) {
  lua_pushinteger(L, leat_call_timeout_ms(check_call(L, 1)));
  return 1;
}

static int call_take_slot(lua_State *L) {
  leat_call *call = check_call(L, 1);
  int64_t late = leat_client_slot_length_us(leat_call_client(call));
  if (!lua_isnoneornil(L, 3)) late = leat__check_time(L, 3);
  leat_call_take_slot(call, leat__check_time(L, 2), late);
  return 0;
}

static int call_awaits_slot(lua_State *L) {
  lua_pushboolean(L, leat_call_awaits_slot(check_call_box(L, 1)->call));
  return 1;
}

static int call_pause(lua_State *L) {
  const leat_client *client = leat_call_client(check_call(L, 1));
  return leat__push_pause(L, client, leat__check_monotonic(L, 2));
}

/* call:share_pause(ms, pause). Another process wrote the pause, so it may hold anything:
** values that make no sense are ignored. */
static int call_share_pause(lua_State *L) {
  leat_client *client = leat_call_client(check_call(L, 1));
  leat_moment now = leat__check_monotonic(L, 2);
  char kind[32];
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_Number seconds = leat__option_number(L, 3, "seconds");
  leat__option_copy(L, 3, "kind", kind, sizeof kind);
  bool limited = leat__kind_by_name(kind) == LEAT_RATE_LIMITED;
  if (!(seconds > 0 && seconds < 1e9)) return 0;
  leat_pause pause = {.until_ms = now.monotonic_ms + (int64_t)(seconds * 1000),
                      .kind = limited ? LEAT_RATE_LIMITED : LEAT_MAINTENANCE,
                      .asked = leat__option_boolean(L, 3, "asked"),
                      .too_long = leat__option_boolean(L, 3, "too_long")};
  leat_client_share_pause(client, now, &pause);
  return 0;
}

/* ---- the methods ----------------------------------------------------------------- */

const luaL_Reg leat__driver_methods[] = {{"next", call_next},
                                         {"until_ms", call_until},
                                         {"queue_deadline", call_queue_deadline},
                                         {"epoch", call_epoch},
                                         {"gets_token", call_gets_token},
                                         {"request", call_request},
                                         {"respond", call_respond},
                                         {"fail", call_fail},
                                         {"destination", call_destination},
                                         {"connected", call_connected},
                                         {"set_reused", call_set_reused},
                                         {"give", call_give},
                                         {"token", call_token},
                                         {"share", call_share},
                                         {"fetch", call_fetch},
                                         {"await", call_await},
                                         {"slot_length", call_slot_length},
                                         {"timeout_ms", call_timeout_ms},
                                         {"take_slot", call_take_slot},
                                         {"awaits_slot", call_awaits_slot},
                                         {"pause", call_pause},
                                         {"share_pause", call_share_pause},
                                         {NULL, NULL}};
