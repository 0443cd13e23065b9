/*
** client.c - clients, for Lua:
**
**   core.client { api_key = ... }   Returns a client; or nil and a message.
**   client:rate_limit()             Returns { limit =, remaining = }, or nil.
**   client:pause(ms)                While the service asks clients to wait, returns
**                                   { seconds =, kind =, asked =, too_long = }; else
**                                   nothing. See leat_pause.
**   client:attempt()                Returns the next exchange to report, or nothing.
**   client:counts(all)              Returns numbers by name: "calls OPERATION KIND",
**                                   "attempts OPERATION PURPOSE KIND" and, in ms,
**                                   "queue REASON". Without `all` only those above 0.
**   client:ends()                   Returns when a call last worked and last failed, in ms
**                                   or nil, and the kind of the failure, or nil.
**   client:clean(text, size)        Makes text of the service fit for a message: see
**                                   leat_client_clean. `size` is at most 256.
*/
#include "core.h"
#include "options.h"
#include "push.h"

#include <stdio.h>

typedef struct client_box { /* `client` is NULL until it is created, and once freed */
  leat_client *client;
} client_box;

leat_client *leat__check_client(lua_State *L, int index) {
  const client_box *box = check_box(L, index, OWN, CLIENT_TYPE);
  luaL_argcheck(L, box->client != NULL, index, "client is closed");
  return box->client;
}

/* ---- creating one ---------------------------------------------------------------- */

/* Returns 0, the default, if the option is absent, and LEAT_UNLIMITED if it is 0 or
** false. */
static int limit_option(lua_State *L, int index, const char *key) {
  int limit = leat__option_int(L, index, key);
  lua_getfield(L, index, key);
  bool given = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return given && limit == 0 ? LEAT_UNLIMITED : limit;
}

static leat_observe observe_option(lua_State *L, int index) {
  if (!leat__option_boolean(L, index, "on_attempt")) return LEAT_OBSERVE_NOTHING;
  return leat__option_boolean(L, index, "show_values") ? LEAT_OBSERVE_VALUES
                                                       : LEAT_OBSERVE_ATTEMPTS;
}

/* Reads the options at `index`, except for the headers. */
static leat_config read_config(lua_State *L, int index) {
  return (leat_config){
      .api_key = leat__option_text(L, index, "api_key"),
      .access_token = leat__option_text(L, index, "access_token"),
      .client_id = leat__option_text(L, index, "client_id"),
      .client_secret = leat__option_text(L, index, "client_secret"),
      .token_url = leat__option_text(L, index, "token_url"),
      .token_from_caller = leat__option_boolean(L, index, "token"),
      .shared = leat__option_boolean(L, index, "shared"),
      .slots_from_caller = leat__option_boolean(L, index, "limiter"),
      .base_url = leat__option_text(L, index, "base_url"),
      .user_agent = leat__option_text(L, index, "user_agent"),
      .allow_http = leat__option_boolean(L, index, "allow_http"),
      .timeout_ms = leat__option_ms(L, index, "timeout"),
      .connect_timeout_ms = leat__option_ms(L, index, "connect_timeout"),
      .queue_timeout_ms = leat__option_ms(L, index, "queue_timeout"),
      .max_body = (size_t)leat__option_int(L, index, "max_body"),
      .max_attempts = limit_option(L, index, "max_attempts"),
      .retry_budget = limit_option(L, index, "retry_budget"),
      .retry_base_ms = leat__option_ms(L, index, "retry_base"),
      .retry_cap_ms = leat__option_ms(L, index, "retry_cap"),
      .rate_per_minute =
          leat__to_int(leat__option_number(L, index, "rate") * 60 + (lua_Number)0.5),
      .observe = observe_option(L, index),
  };
}

static int core_client(lua_State *L) {
  leat_error error;
  luaL_checktype(L, 1, LUA_TTABLE);
  leat_config config = read_config(L, 1);
  lua_getfield(L, 1, "headers");
  config.headers = leat__to_headers(L, lua_gettop(L), &config.header_count);
  client_box *box = lua_newuserdata(L, sizeof *box);
  box->client = NULL;
  luaL_setmetatable(L, CLIENT_TYPE);
  box->client = leat_client_new(&config, &error);
  if (box->client) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  return 2;
}

static int client_free(lua_State *L) {
  client_box *box = check_box(L, 1, OWN, CLIENT_TYPE);
  leat_client_free(box->client);
  box->client = NULL;
  return 0;
}

/* ---- what it knows --------------------------------------------------------------- */

static int client_clean(lua_State *L) {
  char out[256];
  leat_string text;
  leat_client *client = leat__check_client(L, 1);
  lua_Integer size = luaL_optinteger(L, 3, sizeof out);
  text.data = luaL_checklstring(L, 2, &text.length);
  luaL_argcheck(L, size > 0 && size <= (lua_Integer)sizeof out, 3, "out of range");
  lua_pushstring(L, leat_client_clean(client, text, out, (size_t)size));
  return 1;
}

static int client_rate_limit(lua_State *L) {
  int limit, remaining;
  leat_client_rate(leat__check_client(L, 1), &limit, &remaining);
  if (remaining < 0) return 0;
  leat__push_rate(L, limit, remaining);
  return 1;
}

int leat__push_pause(lua_State *L, const leat_client *client, leat_moment now) {
  leat_pause pause;
  if (!leat_client_pause(client, now, &pause)) return 0;
  lua_createtable(L, 0, 4);
  leat__set_seconds(L, "seconds", pause.until_ms - now.monotonic_ms);
  leat__set_text(L, "kind", leat_kind_name(pause.kind));
  leat__set_boolean(L, "asked", pause.asked);
  leat__set_boolean(L, "too_long", pause.too_long);
  return 1;
}

static int client_pause(lua_State *L) {
  return leat__push_pause(L, leat__check_client(L, 1), leat__check_monotonic(L, 2));
}

static const char *const purposes[LEAT_PURPOSES] = {
    [LEAT_TO_CALL] = "call", [LEAT_TO_VERIFY] = "verify", [LEAT_TO_GET_TOKEN] = "token"};

static int client_attempt(lua_State *L) {
  leat_attempt attempt;
  if (!leat_client_attempt(leat__check_client(L, 1), &attempt)) return 0;
  lua_createtable(L, 0, 11);
  leat__set_text(L, "operation", attempt.operation);
  leat__set_text(L, "purpose", purposes[attempt.purpose]);
  leat__set_positive(L, "attempt", attempt.attempt);
  if (attempt.kind != LEAT_OK) leat__set_text(L, "kind", leat_kind_name(attempt.kind));
  leat__set_positive(L, "code", attempt.code);
  leat__set_positive(L, "status", attempt.status);
  leat__set_sent(L, attempt.sent);
  leat__set_boolean(L, "reused", attempt.reused);
  leat__set_integer(L, "milliseconds", attempt.ms);
  if (attempt.wait_ms >= 0) leat__set_integer(L, "wait_milliseconds", attempt.wait_ms);
  if (attempt.value.data) leat__set_string(L, "value", attempt.value);
  return 1;
}

/* ---- what it counts -------------------------------------------------------------- */

/* Sets a field of the table on top of the stack. A number of Lua's holds 2^53. */
static void set_count(lua_State *L, const char *name, uint64_t number, bool all) {
  if (number == 0 && !all) return;
  lua_pushnumber(L, (lua_Number)number);
  lua_setfield(L, -2, name);
}

static bool is_empty(const leat_count *count) {
  uint64_t sum = count->calls;
  for (int i = 0; i < LEAT_PURPOSES; i++)
    sum += count->attempts[i];
  return sum == 0;
}

static void set_ends(lua_State *L, const leat_count *count, bool all) {
  char name[128];
  if (is_empty(count) && !all) return;
  const char *kind = leat_kind_name(count->kind);
  snprintf(name, sizeof name, "calls %s %s", count->operation, kind);
  set_count(L, name, count->calls, all);
  for (int i = 0; i < LEAT_PURPOSES; i++) {
    snprintf(name, sizeof name, "attempts %s %s %s", count->operation, purposes[i], kind);
    set_count(L, name, count->attempts[i], all);
  }
}

static int client_counts(lua_State *L) {
  static const char *const queues[LEAT_QUEUES] = {"queue connection", "queue token",
                                                  "queue slot", "queue pause"};
  const leat_client *client = leat__check_client(L, 1);
  bool all = lua_toboolean(L, 2);
  leat_count count;
  lua_newtable(L);
  for (size_t i = 0; leat_client_count(client, i, &count); i++)
    set_ends(L, &count, all);
  for (int i = 0; i < LEAT_QUEUES; i++)
    set_count(L, queues[i], (uint64_t)leat_client_queue_ms(client, (leat_queue)i), all);
  return 1;
}

static void push_time(lua_State *L, int64_t ms) {
  if (ms == INT64_MIN) lua_pushnil(L);
  else lua_pushnumber(L, (lua_Number)ms);
}

static int client_ends(lua_State *L) {
  leat_health health = leat_client_health(leat__check_client(L, 1));
  push_time(L, health.success_ms);
  push_time(L, health.failure_ms);
  if (health.failure == LEAT_OK) return 2;
  lua_pushstring(L, leat_kind_name(health.failure));
  return 3;
}

/* ---- the type -------------------------------------------------------------------- */

void leat__open_client(lua_State *L) {
  static const luaL_Reg methods[] = {{"rate_limit", client_rate_limit},
                                     {"clean", client_clean},
                                     {"pause", client_pause},
                                     {"attempt", client_attempt},
                                     {"counts", client_counts},
                                     {"ends", client_ends},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"client", core_client}, {NULL, NULL}};
  leat__new_type(L, CLIENT_TYPE, client_free, methods);
  leat__set_functions(L, CLIENT_TYPE, functions);
}
