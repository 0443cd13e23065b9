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
#include "options.h"
#include "push.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SERVER_TYPE "leat.sandbox " LEAT_VERSION

typedef struct server_box { /* `sandbox` is NULL until it is started, and once stopped */
  leat_sandbox *sandbox;
} server_box;

static leat_sandbox *check_server(lua_State *L) {
  const server_box *box = check_box(L, 1, OWN, SERVER_TYPE);
  luaL_argcheck(L, box->sandbox != NULL, 1, "sandbox is stopped");
  return box->sandbox;
}

/* ---- options --------------------------------------------------------------------- */

static bool is_false(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  bool is = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is;
}

static bool is_infinite(lua_State *L, int index, const char *key) {
  return leat__option_number(L, index, key) == (lua_Number)HUGE_VAL;
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
  const char *text = leat__option_text(L, lua_gettop(L), key);
  if (text == NULL) luaL_error(L, "leat.sandbox: entry %d has no %s", (int)i + 1, key);
  return text; /* the entry's table stays on the stack */
}

static void read_contacts(lua_State *L, leat_sandbox_config *config) {
  leat_sandbox_contact *contacts =
      new_list(L, "contacts", sizeof *contacts, &config->contact_count);
  int list = lua_gettop(L) - 1;
  for (size_t i = 0; i < config->contact_count; i++) {
    contacts[i].uuid = needed_field(L, list, i, "uuid");
    contacts[i].email = leat__option_text(L, lua_gettop(L), "email");
    contacts[i].more = leat__option_text(L, lua_gettop(L), "more");
    lua_pop(L, 1);
  }
  config->contacts = contacts;
}

static void read_cards(lua_State *L, leat_sandbox_config *config) {
  leat_sandbox_card *cards = new_list(L, "cards", sizeof *cards, &config->card_count);
  int list = lua_gettop(L) - 1;
  for (size_t i = 0; i < config->card_count; i++) {
    cards[i].value = needed_field(L, list, i, "value");
    cards[i].name = leat__option_text(L, lua_gettop(L), "name");
    cards[i].contact_uuid = leat__option_text(L, lua_gettop(L), "contact_uuid");
    cards[i].inactive = is_false(L, lua_gettop(L), "active");
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
  const char *when = leat__option_text(L, index, "close");
  if (when == NULL) return LEAT_SANDBOX_KEEP;
  return strcmp(when, "before") == 0 ? LEAT_SANDBOX_CLOSE_BEFORE
                                     : LEAT_SANDBOX_CLOSE_WITHIN;
}

/* The strings are borrowed from the table at `index`. */
static leat_sandbox_fault read_fault(lua_State *L, int index) {
  leat_sandbox_fault fault = {
      .operation = leat__option_text(L, index, "operation"),
      .value = leat__option_text(L, index, "value"),
      .nth = leat__option_int(L, index, "nth"),
      .times = is_infinite(L, index, "times") ? LEAT_SANDBOX_ALWAYS
                                              : leat__option_int(L, index, "times"),
      .kind = leat__option_text(L, index, "kind"),
      .code = leat__option_int(L, index, "code"),
      .status = leat__option_int(L, index, "status"),
      .retry_after_s = leat__option_int(L, index, "retry_after"),
      .delay_ms = is_infinite(L, index, "delay") ? LEAT_SANDBOX_FOREVER
                                                 : leat__option_ms(L, index, "delay"),
      .close = read_close(L, index),
      .apply = leat__option_boolean(L, index, "apply"),
      .apply_after_ms = leat__option_ms(L, index, "apply_after"),
      .lag_ms = leat__option_ms(L, index, "lag"),
      .stale = leat__option_boolean(L, index, "stale"),
      .body = leat__option_string(L, index, "body"),
  };
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
  leat_error error;
  luaL_checktype(L, 1, LUA_TTABLE);
  leat_sandbox_config config = {
      .api_key = leat__option_text(L, 1, "api_key"),
      .client_id = leat__option_text(L, 1, "client_id"),
      .client_secret = leat__option_text(L, 1, "client_secret"),
      .token_lifetime_ms = leat__option_ms(L, 1, "token_lifetime"),
      .meta = leat__option_text(L, 1, "meta"),
      .rate_limit = leat__option_int(L, 1, "rate_limit"),
      .rate_window_ms = leat__option_ms(L, 1, "rate_window"),
      .idempotent_unlink = leat__option_boolean(L, 1, "idempotent_unlink"),
      .tls = leat__option_boolean(L, 1, "tls"),
      .port = leat__option_int(L, 1, "port"),
  };
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

static int server_stop(lua_State *L) {
  server_box *box = check_box(L, 1, OWN, SERVER_TYPE);
  leat_sandbox *sandbox = box->sandbox;
  box->sandbox = NULL;
  leat_sandbox_free(sandbox);
  return 0;
}

/* Returns whether standard input has ended. Discards what it holds. */
static bool input_ended(void) {
  char thrown_away[512];
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) > 0 &&
         read(STDIN_FILENO, thrown_away, sizeof thrown_away) <= 0;
}

static int server_serve(lua_State *L) {
  static const struct timespec pause = {0, 50000000};
  bool until_eof = lua_toboolean(L, 2);
  sigset_t ends, previous;
  check_server(L);
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, &previous);
  while (sigtimedwait(&ends, NULL, &pause) < 0 && !(until_eof && input_ended()))
    ;
  pthread_sigmask(SIG_SETMASK, &previous, NULL);
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

static int server_cards(lua_State *L) {
  leat__push_json(L, leat_sandbox_all_cards(check_server(L)));
  return 1;
}

static int server_card(lua_State *L) {
  leat_string value;
  leat_sandbox *sandbox = check_server(L);
  value.data = luaL_checklstring(L, 2, &value.length);
  const leat_json *card = leat_sandbox_find_card(sandbox, value);
  if (card) leat__push_json(L, card);
  else lua_pushnil(L);
  return 1;
}

static void push_request(lua_State *L, const leat_sandbox_request *request) {
  lua_createtable(L, 0, 9);
  leat__set_string(L, "method", request->method);
  leat__set_string(L, "target", request->target);
  leat__set_string(L, "body", request->body);
  if (request->operation.length > 0) leat__set_string(L, "operation", request->operation);
  leat__set_positive(L, "status", request->status);
  leat__set_positive(L, "fault", request->fault);
  leat__set_boolean(L, "changed", request->changed);
  leat__set_seconds(L, "time", request->time_ms);
  leat__push_headers(L, request->headers, request->header_count);
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

static const luaL_Reg functions[] = {{"start", server_start}, {NULL, NULL}};

static void push_operations(lua_State *L) {
  const char *name;
  lua_newtable(L);
  for (int i = 0; (name = leat_sandbox_operation_at((size_t)i)) != NULL; i++) {
    lua_pushstring(L, name);
    lua_rawseti(L, -2, i + 1);
  }
}

LEAT_API int luaopen_leat_sandbox_core(lua_State *L);

LEAT_API int luaopen_leat_sandbox_core(lua_State *L) {
  leat__new_type(L, SERVER_TYPE, server_stop, methods);
  lua_newtable(L);
  leat__set_functions(L, SERVER_TYPE, functions);
  push_operations(L);
  lua_setfield(L, -2, "operations");
  return 1;
}
