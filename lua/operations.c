/*
** operations.c - the operations, for Lua: the table of them, from which the Lua side
** generates methods, and the arguments of these methods.
**
**   core.operations()   Returns the rows: { resource, name, writes, parameters, index }.
**                       `parameters` is a list of { alias =, positional = }.
**
** A method takes the required parameters by position, and the others by name in a table.
*/
#include "core.h"
#include "push.h"

#include <string.h>

/* Returns whether a parameter is given by position. */
static bool is_positional(const leat_parameter *p) {
  return p->required && !p->in_path;
}

/* ---- the table of operations ----------------------------------------------------- */

static void push_parameters(lua_State *L, const leat_op *op) {
  lua_createtable(L, (int)op->parameter_count, 0);
  for (size_t i = 0; i < op->parameter_count; i++) {
    lua_createtable(L, 0, 2);
    leat__set_text(L, "alias", op->parameters[i].alias);
    leat__set_boolean(L, "positional", is_positional(&op->parameters[i]));
    lua_rawseti(L, -2, (int)i + 1);
  }
}

int leat__core_operations(lua_State *L) {
  const leat_op *op;
  lua_newtable(L);
  for (size_t i = 0; (op = leat_operation_at(i)) != NULL; i++) {
    lua_createtable(L, 0, 5);
    leat__set_boolean(L, "writes", op->writes);
    leat__set_text(L, "resource", op->resource);
    leat__set_text(L, "name", op->name);
    leat__set_integer(L, "index", (int64_t)i);
    push_parameters(L, op);
    lua_setfield(L, -2, "parameters");
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* ---- one argument ---------------------------------------------------------------- */

int leat__push_misuse(lua_State *L, const char *what, const char *is_wrong) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s %s", what, is_wrong);
  return 2;
}

bool leat__contains_nul(lua_State *L, int index) {
  size_t length = 0;
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
  return text && strlen(text) != length;
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
  bool unlinked = type == LUA_TBOOLEAN && !lua_toboolean(L, index);
  if (type != LUA_TSTRING && !unlinked)
    return "must be a contact's uuid, a string, or false for a card of nobody";
  if (!unlinked) uuid.data = lua_tolstring(L, index, &uuid.length);
  leat_call_expect(call, uuid);
  const leat_error *error = leat_call_error(call);
  return error->kind == LEAT_MISUSE ? error->message + strlen("expect ") : NULL;
}

/* ---- arguments by name ------------------------------------------------------------ */

static const leat_parameter *find_option(const leat_op *op, const char *alias) {
  for (size_t i = 0; i < op->parameter_count; i++)
    if (!is_positional(&op->parameters[i]) && strcmp(op->parameters[i].alias, alias) == 0)
      return &op->parameters[i];
  return NULL;
}

static void add_name(luaL_Buffer *list, const char *name, bool *first) {
  if (!*first) luaL_addstring(list, ", ");
  luaL_addstring(list, name);
  *first = false;
}

static int unknown_option(lua_State *L, const leat_op *op, const char *key) {
  luaL_Buffer known;
  bool none = true;
  luaL_buffinit(L, &known);
  for (size_t i = 0; i < op->parameter_count; i++)
    if (!is_positional(&op->parameters[i]))
      add_name(&known, op->parameters[i].alias, &none);
  if (op->takes_expect) add_name(&known, "expect", &none);
  luaL_pushresult(&known);
  const char *names = lua_tostring(L, -1);
  lua_pushnil(L);
  if (none) lua_pushfstring(L, "option '%s' is unknown: there are no options", key);
  else lua_pushfstring(L, "option '%s' is unknown (known: %s)", key, names);
  return 2;
}

static int no_table(lua_State *L, const leat_op *op) {
  const char *example = find_option(op, "name")           ? "name"
                        : find_option(op, "contact_uuid") ? "contact_uuid"
                        : op->takes_expect                ? "expect"
                                                          : NULL;
  if (example == NULL)
    return leat__push_misuse(L, "too many arguments:", "there are no options");
  lua_pushnil(L);
  lua_pushfstring(L, "options must be a table: such as { %s = \"...\" }", example);
  return 2;
}

/* Sets the option whose name and value are on top of the stack. Returns as
** leat__set_arguments does. */
static int set_option(lua_State *L, leat_call *call, const leat_op *op) {
  const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
  const leat_parameter *p = find_option(op, key);
  const char *wrong;
  if (leat__contains_nul(L, -2))
    return leat__push_misuse(L, "the name of an option", CONTAINS_NUL);
  if (p) wrong = set_argument(L, call, p, lua_gettop(L));
  else if (op->takes_expect && strcmp(key, "expect") == 0)
    wrong = set_expect(L, call, lua_gettop(L));
  else return unknown_option(L, op, key);
  return wrong ? leat__push_misuse(L, key, wrong) : 0;
}

/* Sets the options from the table at `index`, which may be missing. */
static int set_options(lua_State *L, leat_call *call, const leat_op *op, int index) {
  if (lua_isnoneornil(L, index)) return 0;
  if (!lua_istable(L, index)) return no_table(L, op);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int pushed = set_option(L, call, op);
    if (pushed) return pushed;
  }
  return 0;
}

/* ---- all arguments --------------------------------------------------------------- */

int leat__set_arguments(lua_State *L, leat_call *call, int index) {
  const leat_op *op = leat_call_op(call);
  for (size_t i = 0; i < op->parameter_count && is_positional(&op->parameters[i]); i++) {
    const char *wrong = set_argument(L, call, &op->parameters[i], index++);
    if (wrong) return leat__push_misuse(L, op->parameters[i].alias, wrong);
  }
  if (lua_gettop(L) > index)
    return leat__push_misuse(L,
                             "too many arguments:", "what is optional goes in one table");
  int pushed = set_options(L, call, op, index);
  if (pushed) return pushed;
  leat_call_check(call);
  if (leat_call_error(call)->kind != LEAT_MISUSE) return 0;
  lua_pushnil(L);
  lua_pushstring(L, leat_call_error(call)->message);
  return 2;
}
