/*
** leat_sandbox.c - the module leat.sandbox.core: the sandbox for Lua.
**
**   core.start { api_key =, contacts =, cards =, faults =, tls =, port =, ... }
**                              Returns a server; or nil, a message, and whether it is
**                              misuse. The options are plain tables, which the caller has
**                              checked.
**   core.operations            a list of the operations' names
**   server:url()  server:token_url()  server:ca_file()
**   server:fault { ... }       Adds a fault. Returns its number; or nil and a message.
**   server:clear_faults()  server:expire_tokens()  server:reset()
**   server:card(value)         Returns the card, or nil.
**   server:cards()  server:requests()
**   server:serve(until_eof)    Returns once SIGINT or SIGTERM asks the process to end or,
**                              with `until_eof`, standard input has ended.
**   server:stop()
*/
#include "leat_sandbox.h"
#include "binding.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SERVER_TYPE "leat.sandbox " LEAT_VERSION

typedef struct server_box { /* `sandbox` is NULL until it runs, and once stopped */
  leat_sandbox *sandbox;
} server_box;

static leat_sandbox *check_server(lua_State *L) {
  server_box *box = luaL_checkudata(L, 1, SERVER_TYPE);
  luaL_argcheck(L, box->sandbox != NULL, 1, "sandbox is stopped");
  return box->sandbox;
}

/* ---- options --------------------------------------------------------------------- */

static bool is_boolean(lua_State *L, int index, const char *key, bool wanted) {
  lua_getfield(L, index, key);
  bool is = lua_isboolean(L, -1) && (lua_toboolean(L, -1) != 0) == wanted;
  lua_pop(L, 1);
  return is;
}

static lua_Number number_field(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  lua_Number number = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return number;
}

/* Rounds up. Returns 0 if the field is absent, and -1 for infinity:
** LEAT_SANDBOX_ALWAYS and LEAT_SANDBOX_FOREVER. */
static int whole_field(lua_State *L, int index, const char *key, lua_Number scale) {
  lua_Number number = number_field(L, index, key);
  if (number == HUGE_VAL) return -1;
  number = number * scale + (lua_Number)0.999999;
  return number < INT_MAX ? (int)number : INT_MAX;
}

static int int_field(lua_State *L, int index, const char *key) {
  return whole_field(L, index, key, 1);
}

static int ms_field(lua_State *L, int index, const char *key) {
  return whole_field(L, index, key, 1000);
}

/* Returns space for as many structs as the list under `key` has entries; `count` is
** their number. The space is a userdata, so an error does not leak it. Pushes the list
** and the userdata. */
static void *new_list(lua_State *L, const char *key, size_t size, size_t *count) {
  lua_getfield(L, 1, key);
  *count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  return lua_newuserdata(L, *count * size + 1);
}

static const char *needed_field(lua_State *L, int list, size_t i, const char *key) {
  lua_rawgeti(L, list, (int)i + 1);
  luaL_checktype(L, -1, LUA_TTABLE);
  const char *text = text_field(L, lua_gettop(L), key);
  if (text == NULL) luaL_error(L, "leat.sandbox: entry %d has no %s", (int)i + 1, key);
  return text; /* the entry's table stays on the stack */
}

static void read_contacts(lua_State *L, leat_sandbox_config *config) {
  leat_sandbox_contact *contacts =
      new_list(L, "contacts", sizeof *contacts, &config->contact_count);
  int list = lua_gettop(L) - 1;
  for (size_t i = 0; i < config->contact_count; i++) {
    contacts[i].uuid = needed_field(L, list, i, "uuid");
    contacts[i].email = text_field(L, lua_gettop(L), "email");
    contacts[i].more = text_field(L, lua_gettop(L), "more");
    lua_pop(L, 1);
  }
  config->contacts = contacts;
}

static void read_cards(lua_State *L, leat_sandbox_config *config) {
  leat_sandbox_card *cards = new_list(L, "cards", sizeof *cards, &config->card_count);
  int list = lua_gettop(L) - 1;
  for (size_t i = 0; i < config->card_count; i++) {
    cards[i].value = needed_field(L, list, i, "value");
    cards[i].name = text_field(L, lua_gettop(L), "name");
    cards[i].contact_uuid = text_field(L, lua_gettop(L), "contact_uuid");
    cards[i].inactive = is_boolean(L, lua_gettop(L), "active", false);
    lua_pop(L, 1);
  }
  config->cards = cards;
}

/* Reads the headers of the fault at `index`, { [name] = value }. Their structs are in
** a userdata that is kept in the fault's table. */
static void read_headers(lua_State *L, int index, leat_sandbox_fault *fault) {
  size_t count = 0;
  lua_getfield(L, index, "headers");
  if (lua_istable(L, -1)) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
      count++;
    leat_header *headers = lua_newuserdata(L, count * sizeof *headers + 1);
    lua_setfield(L, index, "room");
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      leat_header *header = &headers[fault->header_count++];
      luaL_checktype(L, -2, LUA_TSTRING);
      luaL_checktype(L, -1, LUA_TSTRING);
      header->name.data = lua_tolstring(L, -2, &header->name.length);
      header->value.data = lua_tolstring(L, -1, &header->value.length);
    }
    fault->headers = headers;
  }
  lua_pop(L, 1);
}

static leat_sandbox_close read_close(lua_State *L, int index) {
  const char *when = text_field(L, index, "close");
  if (when == NULL) return LEAT_SANDBOX_KEEP;
  return strcmp(when, "before") == 0 ? LEAT_SANDBOX_CLOSE_BEFORE
                                     : LEAT_SANDBOX_CLOSE_WITHIN;
}

/* The strings are borrowed from the table at `index`. */
static leat_sandbox_fault read_fault(lua_State *L, int index) {
  leat_sandbox_fault fault = {
      .operation = text_field(L, index, "operation"),
      .value = text_field(L, index, "value"),
      .nth = int_field(L, index, "nth"),
      .times = int_field(L, index, "times"),
      .kind = text_field(L, index, "kind"),
      .code = int_field(L, index, "code"),
      .status = int_field(L, index, "status"),
      .retry_after_s = int_field(L, index, "retry_after"),
      .delay_ms = ms_field(L, index, "delay"),
      .close = read_close(L, index),
      .apply = is_boolean(L, index, "apply", true),
      .apply_after_ms = ms_field(L, index, "apply_after"),
      .lag_ms = ms_field(L, index, "lag"),
      .stale = is_boolean(L, index, "stale", true),
  };
  lua_getfield(L, index, "body");
  if (lua_type(L, -1) == LUA_TSTRING)
    fault.body.data = lua_tolstring(L, -1, &fault.body.length);
  lua_pop(L, 1);
  read_headers(L, index, &fault);
  return fault;
}

static void read_faults(lua_State *L, leat_sandbox_config *config) {
  leat_sandbox_fault *faults =
      new_list(L, "faults", sizeof *faults, &config->fault_count);
  int list = lua_gettop(L) - 1;
  for (size_t i = 0; i < config->fault_count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    faults[i] = read_fault(L, lua_gettop(L));
    lua_pop(L, 1);
  }
  config->faults = faults;
}

/* ---- starting and stopping ------------------------------------------------------- */

static int server_start(lua_State *L) {
  leat_sandbox_config config = {0};
  leat_error error;
  luaL_checktype(L, 1, LUA_TTABLE);
  config.api_key = text_field(L, 1, "api_key");
  config.client_id = text_field(L, 1, "client_id");
  config.client_secret = text_field(L, 1, "client_secret");
  config.token_lifetime_ms = ms_field(L, 1, "token_lifetime");
  config.meta = text_field(L, 1, "meta");
  config.rate_limit = int_field(L, 1, "rate_limit");
  config.rate_window_ms = ms_field(L, 1, "rate_window");
  config.idempotent_unlink = is_boolean(L, 1, "idempotent_unlink", true);
  config.tls = is_boolean(L, 1, "tls", true);
  config.port = int_field(L, 1, "port");
  read_contacts(L, &config);
  read_cards(L, &config);
  read_faults(L, &config);
  server_box *box = lua_newuserdata(L, sizeof *box);
  box->sandbox = NULL;
  luaL_setmetatable(L, SERVER_TYPE);
  box->sandbox = leat_sandbox_new(&config, &error);
  if (box->sandbox) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  lua_pushboolean(L, error.kind == LEAT_MISUSE);
  return 3;
}

/* As __close, it gets a second argument. */
static int server_stop(lua_State *L) {
  server_box *box = luaL_checkudata(L, 1, SERVER_TYPE);
  leat_sandbox *sandbox = box->sandbox;
  box->sandbox = NULL;
  leat_sandbox_free(sandbox);
  return 0;
}

/* Whether standard input has ended. Discards what it holds. */
static bool input_ended(void) {
  char thrown_away[512];
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) > 0 &&
         read(STDIN_FILENO, thrown_away, sizeof thrown_away) <= 0;
}

static int server_serve(lua_State *L) {
  static const struct timespec pause = {0, 50000000};
  bool until_eof = lua_toboolean(L, 2);
  sigset_t ends, before;
  check_server(L);
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, &before);
  while (sigtimedwait(&ends, NULL, &pause) < 0 && !(until_eof && input_ended()))
    ;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return 0;
}

/* ---- while it runs --------------------------------------------------------------- */

static int server_url(lua_State *L) {
  lua_pushstring(L, leat_sandbox_url(check_server(L)));
  return 1;
}

static int server_token_url(lua_State *L) {
  lua_pushstring(L, leat_sandbox_token_url(check_server(L)));
  return 1;
}

static int server_ca_file(lua_State *L) {
  lua_pushstring(L, leat_sandbox_ca_file(check_server(L)));
  return 1;
}

static int server_fault(lua_State *L) {
  leat_sandbox *sandbox = check_server(L);
  leat_error error;
  luaL_checktype(L, 2, LUA_TTABLE);
  leat_sandbox_fault fault = read_fault(L, 2);
  int number = leat_sandbox_add_fault(sandbox, &fault, &error);
  if (number > 0) {
    lua_pushinteger(L, number);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  return 2;
}

static int server_clear_faults(lua_State *L) {
  leat_sandbox_clear_faults(check_server(L));
  return 0;
}

static int server_expire_tokens(lua_State *L) {
  leat_sandbox_expire_tokens(check_server(L));
  return 0;
}

static int server_reset(lua_State *L) {
  leat_sandbox_reset(check_server(L));
  return 0;
}

/* ---- what it holds and what it received ------------------------------------------ */

static void push_text(lua_State *L, leat_string text) {
  lua_pushlstring(L, text.data ? text.data : "", text.length);
}

static void push_json(lua_State *L, const leat_json *value);

/* Nulls are omitted, as is usual in Lua. */
static void push_object(lua_State *L, const leat_json *object) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  lua_createtable(L, 0, (int)leat_json_size(object));
  while (leat_json_next(object, &member)) {
    if (leat_json_type(member.value) == LEAT_NULL) continue;
    push_text(L, member.name);
    push_json(L, member.value);
    lua_rawset(L, -3);
  }
}

static void push_array(lua_State *L, const leat_json *array) {
  size_t size = leat_json_size(array);
  lua_createtable(L, (int)size, 0);
  for (size_t i = 0; i < size; i++) {
    push_json(L, leat_json_at(array, i));
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* Pushes a value as clients see it. */
static void push_json(lua_State *L, const leat_json *value) {
  luaL_checkstack(L, 4, "nested too deep");
  switch (leat_json_type(value)) {
    case LEAT_OBJECT: push_object(L, value); break;
    case LEAT_ARRAY: push_array(L, value); break;
    case LEAT_STRING: push_text(L, leat_json_string(value)); break;
    case LEAT_INTEGER: lua_pushinteger(L, (lua_Integer)leat_json_integer(value)); break;
    case LEAT_REAL: lua_pushnumber(L, leat_json_real(value)); break;
    case LEAT_BOOLEAN: lua_pushboolean(L, leat_json_boolean(value)); break;
    case LEAT_NULL:
    case LEAT_ABSENT: lua_pushlightuserdata(L, NULL); break; /* leat.null */
  }
}

static int server_cards(lua_State *L) {
  push_json(L, leat_sandbox_all_cards(check_server(L)));
  return 1;
}

static int server_card(lua_State *L) {
  leat_string value;
  leat_sandbox *sandbox = check_server(L);
  value.data = luaL_checklstring(L, 2, &value.length);
  const leat_json *card = leat_sandbox_find_card(sandbox, value);
  if (card) push_json(L, card);
  else lua_pushnil(L);
  return 1;
}

static void set_text(lua_State *L, const char *key, leat_string text) {
  push_text(L, text);
  lua_setfield(L, -2, key);
}

/* Omits the field if the count is 0. */
static void set_count(lua_State *L, const char *key, int count) {
  if (count == 0) return;
  lua_pushinteger(L, count);
  lua_setfield(L, -2, key);
}

/* Pushes { [name] = value }, with the names as they were received. */
static void push_headers(lua_State *L, const leat_sandbox_request *request) {
  lua_createtable(L, 0, (int)request->header_count);
  for (size_t i = 0; i < request->header_count; i++) {
    push_text(L, request->headers[i].name);
    push_text(L, request->headers[i].value);
    lua_rawset(L, -3);
  }
}

static void push_request(lua_State *L, const leat_sandbox_request *request) {
  lua_createtable(L, 0, 9);
  set_text(L, "method", request->method);
  set_text(L, "target", request->target);
  set_text(L, "body", request->body);
  if (request->operation.length > 0) set_text(L, "operation", request->operation);
  set_count(L, "status", request->status);
  set_count(L, "fault", request->fault);
  lua_pushboolean(L, request->changed);
  lua_setfield(L, -2, "changed");
  lua_pushnumber(L, (lua_Number)request->time_ms / 1000);
  lua_setfield(L, -2, "time");
  push_headers(L, request);
  lua_setfield(L, -2, "headers");
}

static int server_requests(lua_State *L) {
  leat_sandbox *sandbox = check_server(L);
  leat_sandbox_request request;
  lua_newtable(L);
  for (size_t i = 0; leat_sandbox_request_at(sandbox, i, &request); i++) {
    push_request(L, &request);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* ---- the module ------------------------------------------------------------------ */

static const luaL_Reg methods[] = {{"url", server_url},
                                   {"token_url", server_token_url},
                                   {"ca_file", server_ca_file},
                                   {"fault", server_fault},
                                   {"clear_faults", server_clear_faults},
                                   {"expire_tokens", server_expire_tokens},
                                   {"reset", server_reset},
                                   {"card", server_card},
                                   {"cards", server_cards},
                                   {"requests", server_requests},
                                   {"serve", server_serve},
                                   {"stop", server_stop},
                                   {NULL, NULL}};

LEAT_API int luaopen_leat_sandbox_core(lua_State *L);

LEAT_API int luaopen_leat_sandbox_core(lua_State *L) {
  static const luaL_Reg functions[] = {{"start", server_start}, {NULL, NULL}};
  const char *name;
  luaL_newmetatable(L, SERVER_TYPE);
  lua_pushcfunction(L, server_stop);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  lua_newtable(L);
  for (int i = 0; (name = leat_sandbox_operation_at((size_t)i)) != NULL; i++) {
    lua_pushstring(L, name);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "operations");
  return 1;
}
