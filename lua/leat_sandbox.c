/*
** leat_sandbox.c - the module leat.sandbox.core: the sandbox for Lua.
**
**   core.start { api_key =, contacts =, cards =, tls =, port = }  a server; or nil,
**                                                      message
**                                        (the options are plain tables, checked)
**   server:url()  server:ca_file()  server:requests()  server:stop()
*/
#include "leat_sandbox.h"
#include "binding.h"

#define SERVER_TYPE "leat.sandbox " LEAT_VERSION

typedef struct server_box { /* born NULL */
  leat_sandbox *sandbox;
} server_box;

static leat_sandbox *check_server(lua_State *L) {
  server_box *box = luaL_checkudata(L, 1, SERVER_TYPE);
  luaL_argcheck(L, box->sandbox != NULL, 1, "sandbox is stopped");
  return box->sandbox;
}

/* The string lives as long as the table at `index`, a plain one that the caller holds. */
static const char *text_field(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  lua_pop(L, 1);
  return text;
}

static bool is_false(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  bool is = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is;
}

/* The list under `key` as room for so many structs, which the collector owns. Leaves the
** list and the room on the stack. */
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
  return text; /* its table is left on the stack */
}

static void read_contacts(lua_State *L, leat_sandbox_config *config) {
  leat_sandbox_contact *contacts =
      new_list(L, "contacts", sizeof *contacts, &config->contact_count);
  int list = lua_gettop(L) - 1;
  for (size_t i = 0; i < config->contact_count; i++) {
    contacts[i].uuid = needed_field(L, list, i, "uuid");
    contacts[i].email = text_field(L, lua_gettop(L), "email");
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
    cards[i].inactive = is_false(L, lua_gettop(L), "active");
    lua_pop(L, 1);
  }
  config->cards = cards;
}

static int server_start(lua_State *L) {
  leat_sandbox_config config = {0};
  leat_error error;
  luaL_checktype(L, 1, LUA_TTABLE);
  config.api_key = text_field(L, 1, "api_key");
  lua_getfield(L, 1, "tls");
  config.tls = lua_toboolean(L, -1);
  lua_getfield(L, 1, "port");
  config.port = (int)lua_tointeger(L, -1);
  read_contacts(L, &config);
  read_cards(L, &config);
  server_box *box = lua_newuserdata(L, sizeof *box);
  box->sandbox = NULL;
  luaL_setmetatable(L, SERVER_TYPE);
  box->sandbox = leat_sandbox_new(&config, &error);
  if (box->sandbox) return 1;
  lua_pushnil(L);
  lua_pushstring(L, error.message);
  return 2;
}

/* Takes two arguments when it is __close. */
static int server_stop(lua_State *L) {
  server_box *box = luaL_checkudata(L, 1, SERVER_TYPE);
  leat_sandbox *sandbox = box->sandbox;
  box->sandbox = NULL;
  leat_sandbox_free(sandbox);
  return 0;
}

static int server_url(lua_State *L) {
  lua_pushstring(L, leat_sandbox_url(check_server(L)));
  return 1;
}

static int server_ca_file(lua_State *L) {
  lua_pushstring(L, leat_sandbox_ca_file(check_server(L)));
  return 1;
}

static void set_text(lua_State *L, const char *key, leat_string text) {
  lua_pushlstring(L, text.data, text.length);
  lua_setfield(L, -2, key);
}

/* { [name] = value }, the names as they came. */
static void push_headers(lua_State *L, const leat_sandbox_request *request) {
  lua_createtable(L, 0, (int)request->header_count);
  for (size_t i = 0; i < request->header_count; i++) {
    lua_pushlstring(L, request->headers[i].name.data, request->headers[i].name.length);
    lua_pushlstring(L, request->headers[i].value.data, request->headers[i].value.length);
    lua_rawset(L, -3);
  }
}

static int server_requests(lua_State *L) {
  leat_sandbox *sandbox = check_server(L);
  leat_sandbox_request request;
  lua_newtable(L);
  for (size_t i = 0; leat_sandbox_request_at(sandbox, i, &request); i++) {
    lua_createtable(L, 0, 5);
    set_text(L, "method", request.method);
    set_text(L, "target", request.target);
    set_text(L, "body", request.body);
    lua_pushinteger(L, request.status);
    lua_setfield(L, -2, "status");
    push_headers(L, &request);
    lua_setfield(L, -2, "headers");
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

LEAT_API int luaopen_leat_sandbox_core(lua_State *L);

LEAT_API int luaopen_leat_sandbox_core(lua_State *L) {
  static const luaL_Reg methods[] = {{"url", server_url},
                                     {"ca_file", server_ca_file},
                                     {"requests", server_requests},
                                     {"stop", server_stop},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"start", server_start}, {NULL, NULL}};
  luaL_newmetatable(L, SERVER_TYPE);
  lua_pushcfunction(L, server_stop);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
