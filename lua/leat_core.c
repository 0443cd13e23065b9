/*
** leat_core.c - the module leat.core: the protocol for Lua, without I/O.
**
**   core.operations()                    Returns the rows: { resource, name, writes,
**                                        parameters, index }.
**   core.client { api_key = ... }        Returns a client; or nil and a message.
**   core.call(client, index, ...)        Returns a call with its arguments set; or nil
**                                        and a message.
**   core.request(client, method, path, query, headers, body)
**                                        Returns a call to any endpoint; or nil and a
**                                        message. Query and headers are
**                                        { name, value, name, value, ... }.
**   client:rate_limit()                  Returns { limit =, remaining = }, or nil.
**   client:pause(ms)                     While the service asks clients to wait, returns
**                                        { seconds =, kind =, asked =, too_long = }; else
**                                        nothing. See leat_pause.
**   client:attempt()                     Returns the next exchange to report, or nothing.
**   client:clean(text, size)             Makes text of the service fit for a message: see
**                                        leat_client_clean. `size` is at most 256.
**   core.same_value(a, b)                Whether two values name the same card, or two
**                                        uuids the same contact.
**   call:set_timeout(seconds)  call:set_connect_timeout(seconds)
**   call:set_max_attempts(n)
**   call:is_done()                       Whether the call is done, or freed.
**   call:attempts()                      Returns the number of attempts, and whether the
**                                        outcome is unknown.
**   call:may_have_happened()             Whether the outcome is unknown, or the call is a
**                                        change that succeeded or is under way. False
**                                        once the call is freed.
**   core.result(call, error_metatable, card_metatable, last, forgotten)
**                                        Returns value, nil, info; or nil, error. With
**                                        `last` it frees the call. With `forgotten` too,
**                                        the userdata is recycled for a later call:
**                                        nothing else may refer to it.
**   call:free()                          Frees the call without waiting for the
**                                        collector.
**   core.conclude(call, ...)             Frees the call and returns the other arguments.
**   core.protect(call, on_error, f, ...) Calls f(...), frees the call and returns the
**                                        results of f. If f raises, calls on_error(why,
**                                        call), which must raise. Only for the main
**                                        coroutine, where nothing can yield.
**
** For drivers in Lua. `ms` and `unix` are the driver's monotonic clock in ms and the Unix
** time in s; `random` is a number of 32 random bits:
**   core.now()                           Returns ms of a clock that is never set, and
**                                        that all processes share.
**   call:next(ms, unix, random)          Returns "send", "wait", "token" or "done"; then
**                                        what call:epoch and call:gets_token return.
**   call:until_ms()                      After "wait": when to run the call again. After
**                                        "slot": the latest time, in ms, that the call
**                                        can wait for.
**   call:request()                       Returns { method, url, headers, body,
**                                        deadline }.
**   call:respond(ms, unix, status, headers, body)
**                                        Gives the call its response.
**   call:give(ms, unix, token, seconds)  Gives the token after "token", and its lifetime.
**                                        Returns false if it is not a valid token.
**   call:fail(ms, unix, kind, sent, message)
**
** For drivers with a store that processes share, and clients that are `shared`. Then
** "slot" is a step too, and "token" consults the store first:
**   call:token(ms, unix)                 Returns the client's token and its end (ms);
**                                        nothing if it has none.
**   call:share(ms, unix, token, until)   Gives the client the token of the store. Returns
**                                        false if it is of no use.
**   call:fetch(ms, unix)                 Makes the call fetch a token.
**   call:await(ms, unix, until)          Makes the call wait until then for the store's
**                                        token.
**   call:slot_length()                   Returns the interval of slots, in microseconds.
**   call:take_slot(us)
**   call:pause(ms)                       Like client:pause, for the call's client.
**   call:share_pause(ms, pause)          Gives the client the pause of the store, in the
**                                        form that call:pause returns.
**
** For drivers that have a byte stream and no HTTP:
**   call:connected(ms)                   The first byte is about to be sent. Returns the
**                                        deadline of the exchange, see
**                                        leat_call_connected.
**   call:epoch()                         Returns a number that changes when calls that
**                                        wait should be run again.
**   call:gets_token()                    Whether the call's exchange fetches a token, for
**                                        which others may wait.
**   call:destination()                   Returns origin, host, port, tls, deadline (ms),
**                                        connect_timeout (ms).
**   call:set_reused()                    The exchange uses a connection that was used
**                                        before.
**   core.is_yieldable()                  Whether the running code may yield; nothing if
**                                        that is unknown.
**   core.http1()                         Returns a codec, for one exchange at a time.
**   http:begin(call)                     Begins the exchange after "send". Returns "more"
**                                        or "failed".
**   http:output()                        Returns the next bytes to send, at most 16 KiB;
**                                        nothing if there are none.
**   http:sent(length)                    Records that so many were sent. Returns the
**                                        next.
**   http:received(bytes)                 Returns "more", "response" or "failed".
**   http:closed()                        The connection ended in an orderly way. Returns
**                                        the same as http:received.
**   http:report(call, ms, unix)          Gives the call its response, or the failure.
**                                        Returns whether the connection may be reused.
**   http:close()
**
**   core.error_text(error)               Returns one line for people.
**
** Misuse is returned as a message, so that the Lua side can raise it at the caller's
** line.
*/
#include "binding.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define CLIENT_TYPE "leat.client " LEAT_VERSION
#define HTTP1_TYPE  "leat.http1 " LEAT_VERSION

enum { LARGEST_PIECE = 16 * 1024 }; /* bytes to send that http:output returns at once */

typedef struct client_box { /* `client` is NULL until it is made, and once it is freed */
  leat_client *client;
} client_box;

typedef struct http1_box { /* `http` is NULL until it is made, and once it is closed */
  leat_http1 *http;
  bool begun;
  leat_http1_state state;
  leat_sent sent;
  bool surplus; /* bytes followed the response */
} http1_box;

/* ---- values to Lua --------------------------------------------------------------- */

static void push_string(lua_State *L, leat_string text) {
  lua_pushlstring(L, text.data ? text.data : "", text.length);
}

/* Never rounds: where Lua has no integers, one beyond 2^53 becomes a string of digits. */
static void push_integer(lua_State *L, int64_t value) {
#if LUA_VERSION_NUM >= 503
  lua_pushinteger(L, (lua_Integer)value);
#else
  const int64_t exact = INT64_C(1) << 53;
  if (value >= -exact && value <= exact) {
    lua_pushnumber(L, (lua_Number)value);
  } else {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    lua_pushstring(L, digits);
  }
#endif
}

/* A number that fits neither an integer nor a double becomes its text, as it was
** written. */
static void push_real(lua_State *L, const leat_json *value) {
  leat_string digits = leat_json_digits(value);
  if (digits.data) push_string(L, digits);
  else lua_pushnumber(L, leat_json_real(value));
}

static void push_value(lua_State *L, const leat_json *value);

/* The fields of cards, none of which is the name of a method. The metatable of calls
** holds these strings by index, because pushing one from there is faster than
** interning it again. */
static const leat_string names[] = {{"value", 5},   {"name", 4}, {"active", 6},
                                    {"contact", 7}, {"uuid", 4}, {"email", 5}};
enum { NAMES = sizeof names / sizeof names[0], SPARE = NAMES + 1, DEEPEST = 6 };

static void set_names(lua_State *L) {
  luaL_newmetatable(L, LEAT_CALL_TYPE);
  for (int i = 0; i < NAMES; i++) {
    push_string(L, names[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, SPARE);
  lua_pop(L, 1);
}

/* Returns true if the name is one of those fields. */
static bool push_name(lua_State *L, leat_string name) {
  for (int i = 0; i < NAMES; i++) {
    if (name.length != names[i].length) continue;
    if (memcmp(name.data, names[i].data, name.length) != 0) continue;
    lua_rawgeti(L, lua_upvalueindex(CALLS), i + 1);
    return true;
  }
  push_string(L, name);
  return false;
}

/* Whether the name on top of the stack is a method of the cards whose metatable is at
** this index. False if the index is 0, which stands for an object that is no card. */
static bool is_method(lua_State *L, int metatable) {
  if (metatable == 0) return false;
  lua_getfield(L, metatable, "__index");
  lua_pushvalue(L, -2);
  lua_rawget(L, -2);
  bool is = !lua_isnil(L, -1);
  lua_pop(L, 2);
  return is;
}

static void push_array(lua_State *L, const leat_json *array) {
  size_t size = leat_json_size(array);
  luaL_checkstack(L, DEEPEST, "nested too deep");
  lua_createtable(L, (int)size, 0);
  for (size_t i = 0; i < size; i++) {
    push_value(L, leat_json_at(array, i));
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* Omits JSON nulls, and members that would hide a method. If a name occurs more than
** once, the last member counts. */
static void push_object(lua_State *L, const leat_json *object, int metatable) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  luaL_checkstack(L, DEEPEST, "nested too deep");
  lua_createtable(L, 0, (int)leat_json_size(object));
  while (leat_json_next(object, &member)) {
    if (!push_name(L, member.name) && is_method(L, metatable)) {
      lua_pop(L, 1);
      continue;
    }
    if (leat_json_type(member.value) == LEAT_NULL) lua_pushnil(L);
    else push_value(L, member.value);
    lua_rawset(L, -3);
  }
}

static void push_value(lua_State *L, const leat_json *value) {
  switch (leat_json_type(value)) {
    case LEAT_OBJECT: push_object(L, value, 0); break;
    case LEAT_ARRAY: push_array(L, value); break;
    case LEAT_STRING: push_string(L, leat_json_string(value)); break;
    case LEAT_INTEGER: push_integer(L, leat_json_integer(value)); break;
    case LEAT_REAL: push_real(L, value); break;
    case LEAT_BOOLEAN: lua_pushboolean(L, leat_json_boolean(value)); break;
    case LEAT_NULL:
    case LEAT_ABSENT: lua_pushlightuserdata(L, NULL); break; /* leat.null, cjson.null */
  }
}

/* ---- operations ------------------------------------------------------------------ */

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

/* Whether a parameter is given by position. The others are given by name, in a table. */
static bool is_positional(const leat_parameter *p) {
  return p->required && !p->in_path;
}

static void push_parameters(lua_State *L, const leat_op *op) {
  lua_createtable(L, (int)op->parameter_count, 0);
  for (size_t i = 0; i < op->parameter_count; i++) {
    lua_createtable(L, 0, 2);
    set_string(L, "alias", op->parameters[i].alias);
    lua_pushboolean(L, is_positional(&op->parameters[i]));
    lua_setfield(L, -2, "positional");
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static int core_operations(lua_State *L) {
  const leat_op *op;
  lua_newtable(L);
  for (size_t i = 0; (op = leat_operation_at(i)) != NULL; i++) {
    lua_createtable(L, 0, 5);
    lua_pushboolean(L, op->writes);
    lua_setfield(L, -2, "writes");
    set_string(L, "resource", op->resource);
    set_string(L, "name", op->name);
    lua_pushinteger(L, (lua_Integer)i);
    lua_setfield(L, -2, "index");
    push_parameters(L, op);
    lua_setfield(L, -2, "parameters");
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* ---- clients --------------------------------------------------------------------- */

/* Copies a string field of the table at `index`, cut to `size`, with NULs replaced by
** spaces. */
static void copy_field(lua_State *L, int index, const char *key, char *out, size_t size) {
  leat_string text = {NULL, 0};
  lua_getfield(L, index, key);
  if (lua_type(L, -1) == LUA_TSTRING) text.data = lua_tolstring(L, -1, &text.length);
  if (text.length >= size) text.length = size - 1;
  for (size_t i = 0; i < text.length; i++)
    out[i] = text.data[i] ? text.data[i] : ' ';
  out[text.length] = '\0';
  lua_pop(L, 1);
}

static lua_Number number_option(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  lua_Number value = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

static bool boolean_option(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

/* Returns 0 if the field is absent, not positive, or beyond the range of an int. */
static int int_option(lua_State *L, int index, const char *key) {
  lua_Number value = number_option(L, index, key);
  return value > 0 && value <= INT_MAX ? (int)value : 0;
}

/* Returns 0, the default, if the field is absent, and LEAT_UNLIMITED if it is 0 or
** false. */
static int limit_option(lua_State *L, int index, const char *key) {
  int limit = int_option(L, index, key);
  lua_getfield(L, index, key);
  bool given = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return given && limit == 0 ? LEAT_UNLIMITED : limit;
}

/* Converts seconds to milliseconds. Returns -1, which the core rejects, if they are
** negative or exceed 10^6. A positive time below 1 ms becomes 1. */
static int milliseconds(lua_Number seconds) {
  if (!(seconds >= 0 && seconds <= 1e6)) return -1;
  if (seconds > 0 && seconds < 0.001) return 1;
  return (int)(seconds * 1000 + 0.5);
}

/* Converts a list { name, value, ... } to headers. Pushes the userdata that holds
** them. Their text is borrowed from the list. */
static leat_header *to_headers(lua_State *L, int list, size_t *count) {
  *count = lua_istable(L, list) ? lua_rawlen(L, list) / 2 : 0;
  leat_header *headers = lua_newuserdata(L, *count * sizeof *headers + 1);
  for (size_t i = 0; i < *count * 2; i++) {
    leat_string *place = i % 2 ? &headers[i / 2].value : &headers[i / 2].name;
    lua_rawgeti(L, list, (int)i + 1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, list,
                  "names and values are strings");
    place->data = lua_tolstring(L, -1, &place->length);
    lua_pop(L, 1);
  }
  return headers;
}

static int core_client(lua_State *L) {
  leat_config config = {0};
  leat_error error;
  luaL_checktype(L, 1, LUA_TTABLE);
  config.api_key = text_field(L, 1, "api_key");
  config.access_token = text_field(L, 1, "access_token");
  config.client_id = text_field(L, 1, "client_id");
  config.client_secret = text_field(L, 1, "client_secret");
  config.token_url = text_field(L, 1, "token_url");
  config.token_from_caller = boolean_option(L, 1, "token");
  config.shared = boolean_option(L, 1, "shared");
  config.base_url = text_field(L, 1, "base_url");
  config.user_agent = text_field(L, 1, "user_agent");
  config.allow_http = boolean_option(L, 1, "allow_http");
  config.timeout_ms = milliseconds(number_option(L, 1, "timeout"));
  config.connect_timeout_ms = milliseconds(number_option(L, 1, "connect_timeout"));
  config.max_body = (size_t)int_option(L, 1, "max_body");
  config.max_attempts = limit_option(L, 1, "max_attempts");
  config.retry_budget = limit_option(L, 1, "retry_budget");
  config.retry_base_ms = milliseconds(number_option(L, 1, "retry_base"));
  config.retry_cap_ms = milliseconds(number_option(L, 1, "retry_cap"));
  config.queue_timeout_ms = milliseconds(number_option(L, 1, "queue_timeout"));
  config.rate_per_minute = (int)(number_option(L, 1, "rate") * 60 + 0.5);
  if (boolean_option(L, 1, "on_attempt"))
    config.observe =
        boolean_option(L, 1, "show_values") ? LEAT_OBSERVE_VALUES : LEAT_OBSERVE_ATTEMPTS;
  lua_getfield(L, 1, "headers");
  config.headers = to_headers(L, lua_gettop(L), &config.header_count);
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

/* ---- calls ----------------------------------------------------------------------- */

/* Pushes nil and a message. Returns the number of values pushed. */
static int misuse(lua_State *L, const char *alias, const char *what) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s %s", alias, what);
  return 2;
}

#define HOLDS_NUL "contains a NUL byte"

/* Whether the value is a string with a NUL byte, of which C would see only a part. */
static bool holds_nul(lua_State *L, int index) {
  size_t length = 0;
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
  return text && strlen(text) != length;
}

/* Whether a name in a list { name, value, ... } contains a NUL byte. */
static bool names_hold_nul(lua_State *L, int list) {
  size_t count = lua_istable(L, list) ? lua_rawlen(L, list) : 0;
  bool holds = false;
  for (size_t i = 1; i < count && !holds; i += 2) {
    lua_rawgeti(L, list, (int)i);
    holds = holds_nul(L, -1);
    lua_pop(L, 1);
  }
  return holds;
}

/* Describes a table that was given for a string. Only cards have a metatable; tables
** of options and a card's contact have none. */
static const char *no_string(lua_State *L, const leat_parameter *p, int index) {
  if (strcmp(p->alias, "contact_uuid") == 0)
    return "must be a string, not a table: is it a contact? contact.uuid";
  if (!lua_getmetatable(L, index))
    return "must be a string, not a table: it stands alone, before the table of what is "
           "optional: (\"...\", { ... })";
  lua_pop(L, 1);
  return "must be a string, not a table: is it a card? card.value";
}

static const char *wrong_type(lua_State *L, const leat_parameter *p, int index) {
  int type = lua_type(L, index);
  if (type == LUA_TNIL || type == LUA_TNONE) return "is missing";
  if (p->type == LEAT_BOOLEAN) return "must be true or false";
  if (type == LUA_TNUMBER)
    return "must be a string, not a number: write it in quotes, leading zeros count";
  return type == LUA_TTABLE ? no_string(L, p, index) : "must be a string";
}

/* Sets a parameter from the value at `index`. Returns what is wrong with the value, or
** NULL. */
static const char *set_argument(lua_State *L, leat_call *call, const leat_parameter *p,
                                int index) {
  leat_string text = {NULL, 0};
  if (lua_type(L, index) != (p->type == LEAT_BOOLEAN ? LUA_TBOOLEAN : LUA_TSTRING))
    return wrong_type(L, p, index);
  if (p->type == LEAT_BOOLEAN) {
    leat_call_set_bool(call, p->name, lua_toboolean(L, index));
  } else {
    text.data = lua_tolstring(L, index, &text.length);
    leat_call_set(call, p->name, text);
  }
  const leat_error *error = leat_call_error(call);
  if (error->kind != LEAT_MISUSE) return NULL;
  return error->message + strlen(p->name) + 1; /* skips NAME of "NAME is empty" */
}

/* Sets `expect`: a contact's uuid, or false for a card that is linked to no contact.
** Returns what is wrong with it, or NULL. */
static const char *set_expect(lua_State *L, leat_call *call, int index) {
  leat_string uuid = {NULL, 0};
  int type = lua_type(L, index);
  bool nobody = type == LUA_TBOOLEAN && !lua_toboolean(L, index);
  if (type != LUA_TSTRING && !nobody)
    return "must be a contact's uuid, a string, or false for a card of nobody";
  if (!nobody) uuid.data = lua_tolstring(L, index, &uuid.length);
  leat_call_expect(call, uuid);
  const leat_error *error = leat_call_error(call);
  return error->kind == LEAT_MISUSE ? error->message + strlen("expect ") : NULL;
}

static const leat_parameter *find_option(const leat_op *op, const char *alias) {
  for (size_t i = 0; i < op->parameter_count; i++)
    if (!is_positional(&op->parameters[i]) && strcmp(op->parameters[i].alias, alias) == 0)
      return &op->parameters[i];
  return NULL;
}

static int unknown_option(lua_State *L, const leat_op *op, const char *key) {
  luaL_Buffer known;
  const char *separator = "";
  luaL_buffinit(L, &known);
  for (size_t i = 0; i < op->parameter_count; i++) {
    if (is_positional(&op->parameters[i])) continue;
    luaL_addstring(&known, separator);
    luaL_addstring(&known, op->parameters[i].alias);
    separator = ", ";
  }
  if (op->takes_expect) {
    luaL_addstring(&known, separator);
    luaL_addstring(&known, "expect");
    separator = ", ";
  }
  luaL_pushresult(&known);
  lua_pushnil(L);
  if (*separator)
    lua_pushfstring(L, "option '%s' is unknown (known: %s)", key, lua_tostring(L, -2));
  else lua_pushfstring(L, "option '%s' is unknown: there are no options", key);
  return 2;
}

static int no_table(lua_State *L, const leat_op *op) {
  if (find_option(op, "name"))
    return misuse(L, "options", "must be a table: such as { name = \"...\" }");
  if (find_option(op, "contact_uuid"))
    return misuse(L, "options", "must be a table: such as { contact_uuid = \"...\" }");
  if (op->takes_expect)
    return misuse(L, "options", "must be a table: such as { expect = \"...\" }");
  return misuse(L, "too many arguments:", "there are no options");
}

/* Sets the named options from the table that follows the required arguments. Returns
** the number of results pushed; 0: success. */
static int set_options(lua_State *L, leat_call *call, const leat_op *op, int index) {
  if (lua_isnoneornil(L, index)) return 0;
  if (!lua_istable(L, index)) return no_table(L, op);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    if (holds_nul(L, -2)) return misuse(L, "the name of an option", HOLDS_NUL);
    const leat_parameter *p = find_option(op, key);
    bool expects = op->takes_expect && strcmp(key, "expect") == 0;
    if (p == NULL && !expects) return unknown_option(L, op, key);
    const char *wrong = expects ? set_expect(L, call, lua_gettop(L))
                                : set_argument(L, call, p, lua_gettop(L));
    if (wrong) return misuse(L, key, wrong);
    lua_pop(L, 1);
  }
  return 0;
}

/* Sets the arguments, the first of which is at index `argument`. Returns the number of
** results pushed; 0: success. */
static int set_arguments(lua_State *L, leat_call *call, int argument) {
  const leat_op *op = leat_call_op(call);
  for (size_t i = 0; i < op->parameter_count && is_positional(&op->parameters[i]); i++) {
    const char *wrong = set_argument(L, call, &op->parameters[i], argument++);
    if (wrong) return misuse(L, op->parameters[i].alias, wrong);
  }
  if (lua_gettop(L) > argument)
    return misuse(L, "too many arguments:", "what is optional goes in one table");
  int pushed = set_options(L, call, op, argument);
  if (pushed) return pushed;
  leat_call_check(call);
  if (leat_call_error(call)->kind != LEAT_MISUSE) return 0;
  lua_pushnil(L);
  lua_pushstring(L, leat_call_error(call)->message);
  return 2;
}

/* Recycles the userdata at `index` for the next call, because collecting one with a
** finalizer costs as much as making a card; 0 empties the slot. Needs no memory: the
** slot exists already. */
static void set_spare(lua_State *L, int index) {
  if (index) lua_pushvalue(L, index);
  else lua_pushboolean(L, 0);
  lua_rawseti(L, lua_upvalueindex(CALLS), SPARE);
}

static leat_call **new_box(lua_State *L) {
  lua_rawgeti(L, lua_upvalueindex(CALLS), SPARE);
  call_box *box = lua_touserdata(L, -1);
  if (box) {
    set_spare(L, 0);
    return &box->call;
  }
  lua_pop(L, 1);
  box = lua_newuserdata(L, sizeof *box);
  box->call = NULL;
  box->random = 0;
  lua_pushvalue(L, lua_upvalueindex(CALLS));
  lua_setmetatable(L, -2);
  return &box->call;
}

static leat_client *check_client(lua_State *L, int index) {
  client_box *box = check_box(L, index, OWN, CLIENT_TYPE);
  luaL_argcheck(L, box->client != NULL, index, "client is closed");
  return box->client;
}

/* core.call(client, operation, by position..., [by name]) */
static int core_call(lua_State *L) {
  leat_client *client = check_client(L, 1);
  const leat_op *op = leat_operation_at((size_t)luaL_checkinteger(L, 2));
  luaL_argcheck(L, op != NULL, 2, "no such operation");
  leat_call **call = new_box(L);
  lua_insert(L, 3); /* the arguments follow it */
  *call = leat_call_new(client, op);
  if (*call == NULL) return luaL_error(L, "not enough memory");
  int pushed = set_arguments(L, *call, 4);
  if (pushed) return pushed;
  lua_settop(L, 3);
  return 1;
}

static void add_query(lua_State *L, leat_call *call, int list) {
  size_t count;
  const leat_header *pairs = to_headers(L, list, &count);
  for (size_t i = 0; i < count; i++)
    leat_call_add_query(call, pairs[i].name.data, pairs[i].value);
}

static void add_headers(lua_State *L, leat_call *call, int list) {
  size_t count;
  const leat_header *headers = to_headers(L, list, &count);
  for (size_t i = 0; i < count; i++)
    leat_call_add_header(call, headers[i].name.data, headers[i].value);
}

/* core.request(client, method, path, query, headers, body) */
static int core_request(lua_State *L) {
  leat_client *client = check_client(L, 1);
  const char *method = luaL_checkstring(L, 2), *path = luaL_checkstring(L, 3);
  lua_settop(L, 6);
  if (holds_nul(L, 2)) return misuse(L, "the method", HOLDS_NUL);
  if (holds_nul(L, 3)) return misuse(L, "the path", HOLDS_NUL);
  if (names_hold_nul(L, 4)) return misuse(L, "a name in query", HOLDS_NUL);
  if (names_hold_nul(L, 5)) return misuse(L, "a name in headers", HOLDS_NUL);
  leat_call **call = new_box(L);
  *call = leat_call_new_request(client, method, path);
  if (*call == NULL) return luaL_error(L, "not enough memory");
  add_query(L, *call, 4);
  add_headers(L, *call, 5);
  if (!lua_isnil(L, 6)) {
    leat_string body;
    body.data = luaL_checklstring(L, 6, &body.length);
    leat_call_set_body(*call, body);
  }
  const leat_error *error = leat_call_error(*call);
  if (error->kind == LEAT_MISUSE) lua_pushnil(L);
  else lua_pushvalue(L, 7);
  lua_pushstring(L, error->message);
  return 2;
}

static int call_set_timeout(lua_State *L) {
  leat_call_set_timeout_ms(check_call(L, 1), milliseconds(luaL_checknumber(L, 2)));
  return 0;
}

static int call_set_connect_timeout(lua_State *L) {
  leat_call_set_connect_timeout_ms(check_call(L, 1),
                                   milliseconds(luaL_checknumber(L, 2)));
  return 0;
}

static int call_set_max_attempts(lua_State *L) {
  int attempts = (int)luaL_checkinteger(L, 2);
  leat_call_set_max_attempts(check_call(L, 1), attempts ? attempts : LEAT_UNLIMITED);
  return 0;
}

static void empty(call_box *box) {
  leat_call_free(box->call);
  box->call = NULL;
  box->random = 0;
}

static int call_free(lua_State *L) {
  empty(check_call_box(L, 1));
  return 0;
}

/* Whether a change may have taken effect. For a program that was interrupted during
** the call, and knows less than the call does. */
static bool may_have_happened(const leat_call *call) {
  if (call == NULL) return false;
  const leat_error *error = leat_call_error(call);
  bool begun = leat_call_is_done(call) ? error->kind == LEAT_OK : error->attempts > 0;
  return error->outcome_unknown || (begun && leat_call_op(call)->writes);
}

static int call_may_have_happened(lua_State *L) {
  lua_pushboolean(L, may_have_happened(check_call_box(L, 1)->call));
  return 1;
}

/* As a tail call, it leaves no instruction between the end of a change and its
** caller's line at which an interrupt could strike, on Lua 5.4 and LuaJIT. */
static int core_conclude(lua_State *L) {
  empty(check_call_box(L, 1));
  return lua_gettop(L) - 1;
}

/* Like core_conclude, but also runs inside it everything that leads to the end of the
** change. */
static int core_protect(lua_State *L) {
  call_box *box = check_call_box(L, 1);
  luaL_checkany(L, 3);
  if (lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0) == 0) {
    empty(box);
    return lua_gettop(L) - 2;
  }
  lua_settop(L, 3);
  lua_pushvalue(L, 1);
  lua_call(L, 2, 0);
  return luaL_error(L, "on_error returned");
}

static int call_attempts(lua_State *L) {
  const leat_error *error = leat_call_error(check_call(L, 1));
  lua_pushinteger(L, error->attempts);
  lua_pushboolean(L, error->outcome_unknown);
  return 2;
}

static int call_is_done(lua_State *L) {
  lua_pushboolean(L, leat_call_is_done(check_call_box(L, 1)->call));
  return 1;
}

/* ---- results --------------------------------------------------------------------- */

/* Pushes { [field] = { message, ... } }. Messages that name no field are under "". */
static void push_fields(lua_State *L, const leat_call *call) {
  leat_field field;
  lua_newtable(L);
  for (size_t i = 0; leat_call_field(call, i, &field); i++) {
    push_string(L, field.name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, -5);
    }
    push_string(L, field.message);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
  }
}

static void set_number(lua_State *L, const char *key, lua_Number value) {
  if (value <= 0) return;
  push_integer(L, (int64_t)value);
  lua_setfield(L, -2, key);
}

static void push_card(lua_State *L, const leat_json *card, int metatable) {
  push_object(L, card, metatable);
  lua_pushvalue(L, metatable);
  lua_setmetatable(L, -2);
}

static void push_failure(lua_State *L, const leat_call *call, int metatable,
                         int card_metatable) {
  const leat_error *error = leat_call_error(call);
  leat_field field;
  const leat_json *card = leat_call_conflicting_data(call);
  lua_createtable(L, 0, 10);
  set_string(L, "kind", leat_kind_name(error->kind));
  set_string(L, "message", error->message);
  set_string(L, "operation", error->operation);
  set_string(L, "sent", error->sent == LEAT_SENT_MAYBE ? "maybe" : "no");
  set_number(L, "code", error->code);
  set_number(L, "status", error->status);
  lua_pushinteger(L, error->attempts);
  lua_setfield(L, -2, "attempts");
  lua_pushboolean(L, error->outcome_unknown);
  lua_setfield(L, -2, "outcome_unknown");
  if (error->retry_after_ms >= 0) {
    lua_pushnumber(L, (lua_Number)error->retry_after_ms / 1000);
    lua_setfield(L, -2, "retry_after");
  }
  if (leat_call_field(call, 0, &field)) {
    push_fields(L, call);
    lua_setfield(L, -2, "fields");
  }
  if (card) {
    push_card(L, card, card_metatable);
    lua_setfield(L, -2, "card");
  }
  lua_pushvalue(L, metatable);
  lua_setmetatable(L, -2);
}

/* Pushes { limit =, remaining = }, or nil if the service did not report them. */
static void push_rate(lua_State *L, int limit, int remaining) {
  if (remaining < 0) {
    lua_pushnil(L);
    return;
  }
  lua_createtable(L, 0, 2);
  if (limit >= 0) set_number(L, "limit", limit);
  lua_pushinteger(L, remaining);
  lua_setfield(L, -2, "remaining");
}

static int client_clean(lua_State *L) {
  char out[256];
  leat_string text;
  leat_client *client = check_client(L, 1);
  lua_Integer size = luaL_optinteger(L, 3, sizeof out);
  text.data = luaL_checklstring(L, 2, &text.length);
  luaL_argcheck(L, size > 0 && size <= (lua_Integer)sizeof out, 3, "out of range");
  lua_pushstring(L, leat_client_clean(client, text, out, (size_t)size));
  return 1;
}

static int client_rate_limit(lua_State *L) {
  int limit, remaining;
  leat_client_rate(check_client(L, 1), &limit, &remaining);
  push_rate(L, limit, remaining);
  return 1;
}

/* Returns a time in ms from any number, limited to 4e15 in both directions. Such a
** time is as good as never, and adding a duration to it does not overflow. */
static int64_t check_time(lua_State *L, int index) {
  const lua_Number furthest = 4e15;
  lua_Number time = luaL_checknumber(L, index);
  if (time >= furthest) return (int64_t)furthest;
  return (int64_t)(time > -furthest ? time : -furthest);
}

static leat_moment moment_at(lua_State *L, int index) {
  return (leat_moment){check_time(L, index), 0, 0};
}

static int push_pause(lua_State *L, const leat_client *client, leat_moment now) {
  leat_pause pause;
  if (!leat_client_pause(client, now, &pause)) return 0;
  lua_createtable(L, 0, 4);
  lua_pushnumber(L, (lua_Number)(pause.until_ms - now.monotonic_ms) / 1000);
  lua_setfield(L, -2, "seconds");
  set_string(L, "kind", leat_kind_name(pause.kind));
  lua_pushboolean(L, pause.asked);
  lua_setfield(L, -2, "asked");
  lua_pushboolean(L, pause.too_long);
  lua_setfield(L, -2, "too_long");
  return 1;
}

static int client_pause(lua_State *L) {
  return push_pause(L, check_client(L, 1), moment_at(L, 2));
}

static int client_attempt(lua_State *L) {
  static const char *const purposes[] = {[LEAT_TO_CALL] = "call",
                                         [LEAT_TO_VERIFY] = "verify",
                                         [LEAT_TO_GET_TOKEN] = "token"};
  leat_attempt attempt;
  if (!leat_client_attempt(check_client(L, 1), &attempt)) return 0;
  lua_createtable(L, 0, 11);
  set_string(L, "operation", attempt.operation);
  set_string(L, "purpose", purposes[attempt.purpose]);
  set_number(L, "attempt", attempt.attempt);
  if (attempt.kind != LEAT_OK) set_string(L, "kind", leat_kind_name(attempt.kind));
  set_number(L, "code", attempt.code);
  set_number(L, "status", attempt.status);
  set_string(L, "sent", attempt.sent == LEAT_SENT_MAYBE ? "maybe" : "no");
  lua_pushboolean(L, attempt.reused);
  lua_setfield(L, -2, "reused");
  lua_pushinteger(L, (lua_Integer)attempt.ms);
  lua_setfield(L, -2, "milliseconds");
  if (attempt.wait_ms >= 0) {
    lua_pushinteger(L, (lua_Integer)attempt.wait_ms);
    lua_setfield(L, -2, "wait_milliseconds");
  }
  if (attempt.value.data) {
    push_string(L, attempt.value);
    lua_setfield(L, -2, "value");
  }
  return 1;
}

/* An empty `meta`, as nearly all are, is treated like a missing one. */
static bool says_something(const leat_json *meta) {
  leat_type type = leat_json_type(meta);
  bool has_members = type == LEAT_OBJECT || type == LEAT_ARRAY;
  return has_members ? leat_json_size(meta) > 0 : type > LEAT_NULL;
}

static void push_info(lua_State *L, const leat_call *call) {
  leat_info info = leat_call_info(call);
  lua_createtable(L, 0, info.rate_remaining < 0 ? 2 : 3);
  set_number(L, "status", info.status);
  set_number(L, "attempts", info.attempts);
  const leat_json *meta = leat_call_meta(call);
  if (says_something(meta)) {
    push_value(L, meta);
    lua_setfield(L, -2, "meta");
  }
  if (info.recovered) set_string(L, "outcome", "recovered");
  if (info.rate_remaining < 0) return;
  push_rate(L, info.rate_limit, info.rate_remaining);
  lua_setfield(L, -2, "rate_limit");
}

static void push_cards(lua_State *L, const leat_json *list, int metatable) {
  size_t count = leat_json_size(list);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    push_card(L, leat_json_at(list, i), metatable);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* Pushes the value of a call that succeeded, which is never nil. */
static void push_result(lua_State *L, const leat_call *call, int metatable) {
  const leat_json *data = leat_call_data(call);
  leat_result result = leat_call_op(call)->result;
  if (result == LEAT_RESULT_CARD) push_card(L, data, metatable);
  else if (result == LEAT_RESULT_CARDS) push_cards(L, data, metatable);
  else if (result == LEAT_RESULT_NOTHING || leat_json_type(data) <= LEAT_NULL)
    lua_pushboolean(L, 1);
  else push_value(L, data);
}

/* core.result without `last` and `forgotten` */
static int push_outcome(lua_State *L) {
  const leat_call *call = check_call(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TTABLE);
  luaL_argcheck(L, leat_call_is_done(call), 1, "the driver did not finish it");
  if (leat_call_error(call)->kind != LEAT_OK) {
    lua_pushnil(L);
    push_failure(L, call, 2, 3);
    return 2;
  }
  push_result(L, call, 3);
  lua_pushnil(L);
  push_info(L, call);
  return 3;
}

static int core_result(lua_State *L) {
  bool last = lua_toboolean(L, 4), forgotten = lua_toboolean(L, 5);
  int count = push_outcome(L);
  if (last) empty(lua_touserdata(L, 1));
  if (last && forgotten) set_spare(L, 1);
  return count;
}

/* ---- for drivers in Lua ---------------------------------------------------------- */

static int core_now(lua_State *L) {
  lua_pushnumber(L, monotonic_ms());
  return 1;
}

static int core_same_value(lua_State *L) {
  leat_string a, b;
  a.data = luaL_checklstring(L, 1, &a.length);
  b.data = luaL_checklstring(L, 2, &b.length);
  lua_pushboolean(L, leat_same_value(a, b));
  return 1;
}

/* Needed because nginx hides coroutine.isyieldable. */
static int core_is_yieldable(lua_State *L) {
#if LUA_VERSION_NUM == 502
  (void)L;
  return 0;
#else
#if LUA_VERSION_NUM == 501
  if (lua_isyieldable == NULL) return 0;
#endif
  lua_pushboolean(L, lua_isyieldable(L));
  return 1;
#endif
}

/* Reads the driver's clocks, the two arguments that follow the call. The random bits
** are those of the last call:next. */
static leat_moment check_moment(lua_State *L, int call) {
  const call_box *box = check_call_box(L, call);
  return (leat_moment){check_time(L, call + 1), check_time(L, call + 2), box->random};
}

static void push_epoch(lua_State *L, const leat_call *call) {
  lua_pushnumber(L, (lua_Number)leat_client_epoch(leat_call_client(call)));
}

static void push_gets_token(lua_State *L, const leat_call *call) {
  lua_pushboolean(L, leat_call_purpose(call) == LEAT_TO_GET_TOKEN);
}

static int call_next(lua_State *L) {
  static const char *const steps[] = {[LEAT_SEND] = "send",
                                      [LEAT_WAIT] = "wait",
                                      [LEAT_TOKEN] = "token",
                                      [LEAT_DONE] = "done",
                                      [LEAT_SLOT] = "slot"};
  call_box *box = check_call_box(L, 1);
  box->random = (lua_isnoneornil(L, 4) ? 0 : (uint64_t)check_time(L, 4)) *
                UINT64_C(0x9E3779B97F4A7C15);
  leat_moment now = check_moment(L, 1);
  leat_call *call = check_call(L, 1);
  lua_pushstring(L, steps[leat_call_next(call, now)]);
  push_epoch(L, call);
  push_gets_token(L, call);
  return 3;
}

/* { [name] = value } */
static void push_headers(lua_State *L, const leat_request *request) {
  lua_createtable(L, 0, (int)request->header_count);
  for (size_t i = 0; i < request->header_count; i++) {
    push_string(L, request->headers[i].name);
    push_string(L, request->headers[i].value);
    lua_rawset(L, -3);
  }
}

static int call_until(lua_State *L) {
  lua_pushnumber(L, (lua_Number)leat_call_until(check_call(L, 1)));
  return 1;
}

static int call_epoch(lua_State *L) {
  push_epoch(L, check_call(L, 1));
  return 1;
}

static int call_set_reused(lua_State *L) {
  leat_call_set_reused(check_call(L, 1));
  return 0;
}

static int call_gets_token(lua_State *L) {
  push_gets_token(L, check_call(L, 1));
  return 1;
}

static int call_request(lua_State *L) {
  const leat_request *request = leat_call_request(check_call(L, 1));
  if (request == NULL) return 0;
  lua_createtable(L, 0, 6);
  push_string(L, request->method);
  lua_setfield(L, -2, "method");
  push_string(L, request->origin);
  push_string(L, request->target);
  lua_concat(L, 2);
  lua_setfield(L, -2, "url");
  push_string(L, request->body);
  lua_setfield(L, -2, "body");
  push_headers(L, request);
  lua_setfield(L, -2, "headers");
  lua_pushnumber(L, (lua_Number)request->deadline_ms);
  lua_setfield(L, -2, "deadline");
  return 1;
}

/* call:respond(ms, unix, status, headers, body), with headers as { name, value, ... } */
static int call_respond(lua_State *L) {
  leat_call *call = check_call(L, 1);
  leat_moment now = check_moment(L, 1);
  leat_response answer = {.framing = LEAT_LENGTH};
  answer.status = (int)luaL_checkinteger(L, 4);
  answer.body.data = luaL_checklstring(L, 6, &answer.body.length);
  if (answer.status == 204 || answer.status == 304) answer.framing = LEAT_NO_BODY;
  answer.headers = to_headers(L, 5, &answer.header_count);
  leat_call_respond(call, now, &answer);
  return 0;
}

static leat_kind kind_by_name(const char *name) {
  int kind = LEAT_OK;
  while (kind < LEAT_KINDS && strcmp(leat_kind_name((leat_kind)kind), name) != 0)
    kind++;
  return (leat_kind)kind;
}

/* call:give(ms, unix, token, seconds) */
static int call_give(lua_State *L) {
  leat_call *call = check_call(L, 1);
  leat_moment now = check_moment(L, 1);
  leat_string token;
  token.data = luaL_checklstring(L, 4, &token.length);
  lua_Number seconds = luaL_optnumber(L, 5, 0);
  int lifetime = seconds >= 1 && seconds < 1e9 ? (int)seconds : 0;
  lua_pushboolean(L, leat_client_set_token(leat_call_client(call), now, token, lifetime));
  return 1;
}

static int call_token(lua_State *L) {
  int64_t until;
  leat_moment now = check_moment(L, 1);
  leat_string token = leat_client_token(leat_call_client(check_call(L, 1)), now, &until);
  if (token.data == NULL) return 0;
  push_string(L, token);
  lua_pushnumber(L, (lua_Number)until);
  return 2;
}

static int call_share(lua_State *L) {
  leat_client *client = leat_call_client(check_call(L, 1));
  leat_string token;
  token.data = luaL_checklstring(L, 4, &token.length);
  lua_pushboolean(
      L, leat_client_share_token(client, check_moment(L, 1), token, check_time(L, 5)));
  return 1;
}

static int call_fetch(lua_State *L) {
  leat_call_fetch(check_call(L, 1), check_moment(L, 1));
  return 0;
}

static int call_await(lua_State *L) {
  leat_call_await(check_call(L, 1), check_moment(L, 1), check_time(L, 4));
  return 0;
}

/* call:connected(ms) */
static int call_connected(lua_State *L) {
  lua_pushnumber(L, (lua_Number)leat_call_connected(check_call(L, 1), moment_at(L, 2)));
  return 1;
}

static int call_slot_length(lua_State *L) {
  const leat_client *client = leat_call_client(check_call(L, 1));
  lua_pushnumber(L, (lua_Number)leat_client_slot_length_us(client));
  return 1;
}

static int call_take_slot(lua_State *L) {
  leat_call_take_slot(check_call(L, 1), check_time(L, 2));
  return 0;
}

static int call_pause(lua_State *L) {
  return push_pause(L, leat_call_client(check_call(L, 1)), moment_at(L, 2));
}

/* call:share_pause(ms, pause). Another process wrote the pause, so it may hold
** anything: values that make no sense are ignored. */
static int call_share_pause(lua_State *L) {
  leat_client *client = leat_call_client(check_call(L, 1));
  leat_moment now = moment_at(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_Number seconds = number_option(L, 3, "seconds");
  char kind[32];
  copy_field(L, 3, "kind", kind, sizeof kind);
  bool limited = kind_by_name(kind) == LEAT_RATE_LIMITED;
  if (!(seconds > 0 && seconds < 1e9)) return 0;
  leat_pause pause = {.until_ms = now.monotonic_ms + (int64_t)(seconds * 1000),
                      .kind = limited ? LEAT_RATE_LIMITED : LEAT_MAINTENANCE,
                      .asked = boolean_option(L, 3, "asked"),
                      .too_long = boolean_option(L, 3, "too_long")};
  leat_client_share_pause(client, now, &pause);
  return 0;
}

/* Raises an error for a string with a NUL byte, so that C may compare it. */
static const char *check_word(lua_State *L, int index) {
  const char *word = luaL_checkstring(L, index);
  luaL_argcheck(L, !holds_nul(L, index), index, HOLDS_NUL);
  return word;
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
  leat_moment now = check_moment(L, 1);
  leat_kind kind = kind_by_name(check_word(L, 4));
  const char *sent = check_word(L, 5);
  leat_string message;
  luaL_argcheck(L, kind > LEAT_OK && kind < LEAT_KINDS, 4, "no such kind of error");
  message.data = luaL_checklstring(L, 6, &message.length);
  leat_call_fail(call, now, kind,
                 strcmp(sent, "no") == 0 ? LEAT_SENT_NO : LEAT_SENT_MAYBE,
                 without_nul(L, message));
  return 0;
}

/* ---- the codec ------------------------------------------------------------------- */

static int call_destination(lua_State *L) {
  const leat_request *request = leat_call_request(check_call(L, 1));
  luaL_argcheck(L, request != NULL, 1, "the call has nothing to send");
  push_string(L, request->origin);
  push_string(L, request->host);
  lua_pushinteger(L, request->port);
  lua_pushboolean(L, request->tls);
  lua_pushnumber(L, (lua_Number)request->deadline_ms);
  lua_pushinteger(L, request->connect_timeout_ms);
  return 6;
}

static int core_http1(lua_State *L) {
  http1_box *box = lua_newuserdata(L, sizeof *box);
  memset(box, 0, sizeof *box);
  luaL_setmetatable(L, HTTP1_TYPE);
  box->http = leat_http1_new();
  return box->http ? 1 : luaL_error(L, "not enough memory");
}

static int http1_close(lua_State *L) {
  http1_box *box = check_box(L, 1, OWN, HTTP1_TYPE);
  leat_http1_free(box->http);
  box->http = NULL;
  return 0;
}

static http1_box *check_open(lua_State *L) {
  http1_box *box = check_box(L, 1, OWN, HTTP1_TYPE);
  luaL_argcheck(L, box->http != NULL, 1, "codec is closed");
  return box;
}

static http1_box *check_begun(lua_State *L) {
  http1_box *box = check_open(L);
  luaL_argcheck(L, box->begun, 1, "no exchange was begun");
  return box;
}

static int push_state(lua_State *L, http1_box *box, leat_http1_state state) {
  static const char *const states[] = {[LEAT_HTTP1_MORE] = "more",
                                       [LEAT_HTTP1_RESPONSE] = "response",
                                       [LEAT_HTTP1_FAILED] = "failed"};
  box->state = state;
  lua_pushstring(L, states[state]);
  return 1;
}

static int http1_begin(lua_State *L) {
  http1_box *box = check_open(L);
  leat_call *call = check_call(L, 2);
  const leat_request *request = leat_call_request(call);
  luaL_argcheck(L, request != NULL, 2, "the call has nothing to send");
  box->begun = true;
  box->sent = LEAT_SENT_NO;
  box->surplus = false;
  return push_state(L, box, leat_http1_begin(box->http, request));
}

/* Pushes the next bytes to send. From then on they may have been sent. */
static int push_output(lua_State *L, http1_box *box) {
  leat_string out = leat_http1_output(box->http);
  if (out.length == 0) return 0;
  box->sent = LEAT_SENT_MAYBE;
  if (out.length > LARGEST_PIECE) out.length = LARGEST_PIECE;
  push_string(L, out);
  return 1;
}

static int http1_output(lua_State *L) {
  return push_output(L, check_begun(L));
}

static int http1_sent(lua_State *L) {
  http1_box *box = check_begun(L);
  lua_Integer length = luaL_checkinteger(L, 2);
  size_t left = leat_http1_output(box->http).length;
  luaL_argcheck(L, length >= 0 && (size_t)length <= left, 2,
                "more than there was to send");
  leat_http1_sent(box->http, (size_t)length);
  return push_output(L, box);
}

static int http1_received(lua_State *L) {
  http1_box *box = check_begun(L);
  size_t left, room;
  const char *bytes = luaL_checklstring(L, 2, &left);
  leat_http1_state state = box->state;
  while (left > 0 && state == LEAT_HTTP1_MORE) {
    char *space = leat_http1_space(box->http, &room);
    if (room > left) room = left;
    if (space) memcpy(space, bytes, room);
    state = space ? leat_http1_received(box->http, room) : LEAT_HTTP1_FAILED;
    bytes += room;
    left -= room;
  }
  if (left > 0) box->surplus = true;
  return push_state(L, box, state);
}

static int http1_closed(lua_State *L) {
  http1_box *box = check_begun(L);
  return push_state(L, box, leat_http1_closed(box->http));
}

static int http1_report(lua_State *L) {
  const http1_box *box = check_begun(L);
  leat_call *call = check_call(L, 2);
  leat_moment now = check_moment(L, 2);
  const char *detail;
  luaL_argcheck(L, box->state != LEAT_HTTP1_MORE, 1, "the exchange is not at its end");
  if (box->state == LEAT_HTTP1_RESPONSE) {
    leat_call_respond(call, now, leat_http1_response(box->http));
  } else {
    leat_kind kind = leat_http1_failure(box->http, &detail);
    leat_call_fail(call, now, kind, box->sent, detail);
  }
  lua_pushboolean(L, !box->surplus && leat_http1_reusable(box->http));
  return 1;
}

/* ---- errors ---------------------------------------------------------------------- */

/* core.error_text(error). Composes the text from the fields, so that C and Lua word it
** alike. */
static int core_error_text(lua_State *L) {
  leat_error error = {LEAT_OK, 0, 0, 0, LEAT_SENT_NO, false, -1, "", ""};
  char text[sizeof error.message + 256], kind[32];
  luaL_checktype(L, 1, LUA_TTABLE);
  copy_field(L, 1, "kind", kind, sizeof kind);
  copy_field(L, 1, "operation", error.operation, sizeof error.operation);
  copy_field(L, 1, "message", error.message, sizeof error.message);
  if (kind[0]) error.kind = kind_by_name(kind);
  error.code = int_option(L, 1, "code");
  error.status = int_option(L, 1, "status");
  error.outcome_unknown = boolean_option(L, 1, "outcome_unknown");
  lua_pushstring(L, leat_error_text(&error, text, sizeof text));
  return 1;
}

/* ---- the module ------------------------------------------------------------------ */

static void make_type(lua_State *L, const char *name, lua_CFunction collect,
                      const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  push_metatables(L, name);
  lua_pushcclosure(L, collect, METATABLES);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  push_metatables(L, name);
  luaL_setfuncs(L, methods, METATABLES);
  lua_setfield(L, -2, "__index");
  set_string(L, "__name", name);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

static const luaL_Reg client_methods[] = {{"rate_limit", client_rate_limit},
                                          {"clean", client_clean},
                                          {"pause", client_pause},
                                          {"attempt", client_attempt},
                                          {NULL, NULL}};

static const luaL_Reg call_methods[] = {{"is_done", call_is_done},
                                        {"may_have_happened", call_may_have_happened},
                                        {"attempts", call_attempts},
                                        {"free", call_free},
                                        {"set_timeout", call_set_timeout},
                                        {"set_connect_timeout", call_set_connect_timeout},
                                        {"set_max_attempts", call_set_max_attempts},
                                        {"next", call_next},
                                        {"until_ms", call_until},
                                        {"request", call_request},
                                        {"respond", call_respond},
                                        {"give", call_give},
                                        {"token", call_token},
                                        {"share", call_share},
                                        {"fetch", call_fetch},
                                        {"await", call_await},
                                        {"slot_length", call_slot_length},
                                        {"take_slot", call_take_slot},
                                        {"pause", call_pause},
                                        {"share_pause", call_share_pause},
                                        {"connected", call_connected},
                                        {"destination", call_destination},
                                        {"epoch", call_epoch},
                                        {"gets_token", call_gets_token},
                                        {"fail", call_fail},
                                        {"set_reused", call_set_reused},
                                        {NULL, NULL}};

static const luaL_Reg http1_methods[] = {
    {"begin", http1_begin},   {"output", http1_output},
    {"sent", http1_sent},     {"received", http1_received},
    {"closed", http1_closed}, {"report", http1_report},
    {"close", http1_close},   {NULL, NULL}};

static const luaL_Reg functions[] = {{"operations", core_operations},
                                     {"client", core_client},
                                     {"call", core_call},
                                     {"request", core_request},
                                     {"result", core_result},
                                     {"conclude", core_conclude},
                                     {"protect", core_protect},
                                     {"http1", core_http1},
                                     {"now", core_now},
                                     {"same_value", core_same_value},
                                     {"is_yieldable", core_is_yieldable},
                                     {"error_text", core_error_text},
                                     {NULL, NULL}};

LEAT_API int luaopen_leat_core(lua_State *L);

LEAT_API int luaopen_leat_core(lua_State *L) {
  set_names(L);
  make_type(L, CLIENT_TYPE, client_free, client_methods);
  make_type(L, LEAT_CALL_TYPE, call_free, call_methods);
  make_type(L, HTTP1_TYPE, http1_close, http1_methods);
  lua_newtable(L);
  push_metatables(L, CLIENT_TYPE);
  luaL_setfuncs(L, functions, METATABLES);
  set_string(L, "version", LEAT_VERSION);
  set_string(L, "base_url", LEAT_BASE_URL);
  return 1;
}
