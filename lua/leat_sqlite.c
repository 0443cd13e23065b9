/*
** leat_sqlite.c - the module leat.sqlite.core: SQLite for Lua, and the only file that
** includes its header.
**
**   sqlite.open(path)         Returns a connection. A missing file is created, with mode
**                             0600. "" is a private temporary database on disk. Nothing
**                             waits for locks: what is locked fails with codes.BUSY.
**   sqlite.codes              The primary codes by name: { BUSY = 5, ... }
**   connection:exec(sql)      Executes statements without parameters. Returns true.
**   connection:prepare(sql, types)
**                             Returns a statement. Its parameters are named $1, $2, ...
**                             `types` has a letter for each, in this order: i an integer
**                             or boolean, t text, b a blob. Each may be nil.
**   connection:has_moved()    Returns whether the file was deleted or replaced since it was
**                             opened.
**   connection:close()        Also ends its statements.
**   statement:execute(...)    Binds the values and executes the statement to its end.
**                             Returns the number of rows that it changed.
**   statement:execute_slices(text, list, count, ...)
**                             Executes the statement `count` times. Its first parameters
**                             are `...`, the same each time; the others are in the list,
**                             which has an integer for i, and for t and b the first and
**                             last byte of a slice of the text. The statement must use its
**                             parameters in their order. Returns true.
**   statement:query(...)      Binds the values. Returns true.
**   statement:fetch()         Returns true and the columns of the query's next row; false
**                             at the end, which resets the statement.
**   statement:reset()         Ends the query.
**
** Those that can fail return nil, a message and SQLite's extended code in that case, and
** code % 256 is the primary code. A statement that failed is reset. Messages do not
** contain bound values.
*/
#include "push.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#define CONNECTION_TYPE "leat.sqlite.connection " LEAT_VERSION
#define STATEMENT_TYPE  "leat.sqlite.statement " LEAT_VERSION

typedef struct connection { /* `db` is NULL until it is opened, and once closed */
  sqlite3 *db;
} connection;

typedef struct parameter {
  int number; /* N of $N */
  char type;
} parameter;

typedef struct statement {
  connection *owner; /* it stays while the statement does, as a user value */
  sqlite3_stmt
      *prepared; /* NULL until it is prepared; the owner ends it when it closes */
  bool running;  /* whether a query was begun and has not ended */
  int count;     /* the number of parameters */
  parameter parameters[]; /* in the order of their first use, as SQLite numbers them */
} statement;

/* ---- failures -------------------------------------------------------------------- */

/* SQLite's text for these two codes does not say what the system said. */
static const char *system_text(sqlite3 *db) {
  int code = sqlite3_errcode(db) & 0xff;
  int number =
      code == SQLITE_CANTOPEN || code == SQLITE_IOERR ? sqlite3_system_errno(db) : 0;
  return number ? strerror(number) : NULL;
}

static int push_failure(lua_State *L, sqlite3 *db, const char *operation) {
  const char *reason = system_text(db);
  lua_pushnil(L);
  if (reason) lua_pushfstring(L, "%s: %s (%s)", operation, sqlite3_errmsg(db), reason);
  else lua_pushfstring(L, "%s: %s", operation, sqlite3_errmsg(db));
  lua_pushinteger(L, sqlite3_extended_errcode(db));
  return 3;
}

/* ---- connections ----------------------------------------------------------------- */

static sqlite3 *check_open(lua_State *L) {
  const connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  luaL_argcheck(L, box->db != NULL, 1, "connection is closed");
  return box->db;
}

/* Creates the file if it is missing, because SQLite would create it for others to read.
** The -wal and -shm files get the same mode. An existing file must not be opened here:
** closing it would release the locks of this process's other connections. */
static bool create_missing(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) close(fd);
  return fd >= 0 || errno == EEXIST;
}

static int push_not_created(lua_State *L, const char *path) {
  int error = errno;
  lua_pushnil(L);
  lua_pushfstring(L, "can't create %s: %s", path, strerror(error));
  lua_pushinteger(L, SQLITE_CANTOPEN);
  return 3;
}

/* A relative path gets a prefix, because SQLite has names with a meaning, such as
** :memory:. */
static int connection_open(lua_State *L) {
  const char *path = leat__check_text(L, 1);
  bool temporary = *path == '\0';
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  lua_settop(L, 1);
  connection *box = lua_newuserdatauv(L, sizeof *box, 0);
  box->db = NULL;
  luaL_setmetatable(L, CONNECTION_TYPE);
  if (!temporary && !create_missing(path)) return push_not_created(L, path);
  const char *name = temporary || *path == '/' ? path : lua_pushfstring(L, "./%s", path);
  int code = sqlite3_open_v2(name, &box->db,
                             temporary ? flags | SQLITE_OPEN_CREATE : flags, NULL);
  if (code != SQLITE_OK) /* the garbage collector closes it */
    return push_failure(L, box->db, lua_pushfstring(L, "can't open %s", path));
  lua_settop(L, 2);
  return 1;
}

/* The statements' userdata keep their pointers, and do not use them once `db` is NULL. */
static int connection_close(lua_State *L) {
  connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  sqlite3 *db = box->db;
  sqlite3_stmt *prepared;
  box->db = NULL;
  while (db && (prepared = sqlite3_next_stmt(db, NULL)) != NULL)
    sqlite3_finalize(prepared);
  sqlite3_close(db);
  return 0;
}

static int connection_exec(lua_State *L) {
  sqlite3 *db = check_open(L);
  const char *sql = leat__check_text(L, 2);
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
    return push_failure(L, db, "exec");
  lua_pushboolean(L, 1);
  return 1;
}

static int connection_has_moved(lua_State *L) {
  sqlite3 *db = check_open(L);
  int moved = 0; /* as it stays for a temporary database */
  sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
  lua_pushboolean(L, moved);
  return 1;
}

/* ---- statements ------------------------------------------------------------------ */

static statement *check_statement(lua_State *L) {
  statement *box = check_box(L, 1, OWN, STATEMENT_TYPE);
  luaL_argcheck(L, box->owner->db != NULL, 1, "connection is closed");
  luaL_argcheck(L, box->prepared != NULL, 1, "statement is closed");
  return box;
}

static statement *new_statement(lua_State *L, size_t count) {
  statement *box = lua_newuserdatauv(L, sizeof *box + count * sizeof(parameter), 1);
  *box = (statement){.owner = lua_touserdata(L, 1), .count = (int)count};
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, STATEMENT_TYPE);
  return box;
}

/* Returns N for the name $N, or 0 if it is none. */
static int parameter_number(const char *name, int count) {
  int number = 0;
  if (name == NULL || *name != '$') return 0;
  for (name++; *name >= '0' && *name <= '9' && number <= count; name++)
    number = 10 * number + (*name - '0');
  return *name == '\0' && number <= count ? number : 0;
}

static void set_parameters(lua_State *L, statement *box, const char *types) {
  int count = sqlite3_bind_parameter_count(box->prepared);
  if (count != box->count)
    luaL_error(L, "the statement has %d parameters, and types for %d", count, box->count);
  for (int i = 1; i <= count; i++) {
    const char *name = sqlite3_bind_parameter_name(box->prepared, i);
    int number = parameter_number(name, count);
    if (number == 0)
      luaL_error(L, "parameter %s must be one of $1 to $%d", name ? name : "?", count);
    box->parameters[i - 1] = (parameter){number, types[number - 1]};
  }
}

static int connection_prepare(lua_State *L) {
  sqlite3 *db = check_open(L);
  const char *sql = leat__check_text(L, 2), *types = luaL_optstring(L, 3, ""), *rest;
  size_t count = strspn(types, "itb");
  luaL_argcheck(L, types[count] == '\0', 3, "the types are i, t and b");
  statement *box = new_statement(L, count);
  unsigned flags = SQLITE_PREPARE_PERSISTENT;
  if (sqlite3_prepare_v3(db, sql, -1, flags, &box->prepared, &rest) != SQLITE_OK)
    return push_failure(L, db, "prepare");
  luaL_argcheck(L, box->prepared && rest[strspn(rest, "; \t\r\n")] == '\0', 2,
                "one statement expected");
  set_parameters(L, box, types);
  return 1;
}

static int statement_free(lua_State *L) {
  statement *box = check_box(L, 1, OWN, STATEMENT_TYPE);
  sqlite3_stmt *prepared = box->prepared;
  box->prepared = NULL;
  if (box->owner->db) sqlite3_finalize(prepared);
  return 0;
}

static void reset(statement *box) {
  box->running = false;
  sqlite3_reset(box->prepared);
  sqlite3_clear_bindings(box->prepared);
}

static int statement_reset(lua_State *L) {
  reset(check_statement(L));
  return 0;
}

/* ---- binding values -------------------------------------------------------------- */

static void check_value(lua_State *L, int index, char type) {
  if (lua_isnil(L, index)) return;
  if (type == 'i') leat__check_integer(L, index);
  else luaL_checktype(L, index, LUA_TSTRING);
}

static void check_values(lua_State *L, const statement *box) {
  int given = lua_gettop(L) - 1;
  if (given != box->count)
    luaL_error(L, "the statement has %d parameters, not %d", box->count, given);
  for (int i = 0; i < box->count; i++)
    check_value(L, box->parameters[i].number + 1, box->parameters[i].type);
}

static int bind_bytes(const statement *box, int i, const char *bytes, size_t length,
                      sqlite3_destructor_type lifetime) {
  return box->parameters[i - 1].type == 't'
             ? sqlite3_bind_text64(box->prepared, i, bytes, length, lifetime, SQLITE_UTF8)
             : sqlite3_bind_blob64(box->prepared, i, bytes, length, lifetime);
}

/* The value of $1 is on the stack behind the index `before`. */
static int bind_value(lua_State *L, const statement *box, int i, int before,
                      sqlite3_destructor_type lifetime) {
  size_t length;
  parameter one = box->parameters[i - 1];
  int index = before + one.number;
  if (lua_isnil(L, index)) return sqlite3_bind_null(box->prepared, i);
  if (one.type == 'i')
    return sqlite3_bind_int64(box->prepared, i, leat__check_integer(L, index));
  const char *text = lua_tolstring(L, index, &length);
  return bind_bytes(box, i, text, length, lifetime);
}

/* Raises an error before it changes the statement. Returns false if SQLite refuses a
** value. */
static bool bind_values(lua_State *L, statement *box, sqlite3_destructor_type lifetime) {
  int code = SQLITE_OK;
  check_values(L, box);
  reset(box);
  for (int i = 1; i <= box->count && code == SQLITE_OK; i++)
    code = bind_value(L, box, i, 1, lifetime);
  return code == SQLITE_OK;
}

/* Resets first: a lack of memory for the message must not leave a statement open, with its
** locks. SQLite keeps the error. */
static int fail(lua_State *L, statement *box, const char *operation) {
  reset(box);
  return push_failure(L, box->owner->db, operation);
}

/* The values stay on the stack until the end, so SQLite need not copy them. */
static int statement_execute(lua_State *L) {
  statement *box = check_statement(L);
  sqlite3 *db = box->owner->db;
  int before = sqlite3_total_changes(db), code;
  if (!bind_values(L, box, SQLITE_STATIC)) return fail(L, box, "execute");
  while ((code = sqlite3_step(box->prepared)) == SQLITE_ROW)
    ;
  if (code != SQLITE_DONE) return fail(L, box, "execute");
  /* Statements that change no rows leave the number of the one before. */
  int changed = sqlite3_total_changes(db) == before ? 0 : sqlite3_changes(db);
  reset(box);
  lua_pushinteger(L, changed);
  return 1;
}

/* The arguments of execute_slices. */
enum { TEXT = 2, LIST, COUNT, SAME = COUNT };

static void check_slices(lua_State *L, const statement *box) {
  luaL_checktype(L, TEXT, LUA_TSTRING);
  luaL_checktype(L, LIST, LUA_TTABLE);
  luaL_argcheck(L, lua_gettop(L) <= SAME + box->count, SAME + 1, "too many values");
  for (int i = 1; i <= box->count; i++) {
    if (box->parameters[i - 1].number != i) luaL_error(L, "$%d is not in its place", i);
    if (SAME + i <= lua_gettop(L)) check_value(L, SAME + i, box->parameters[i - 1].type);
  }
}

static lua_Integer next_integer(lua_State *L, int *at) {
  lua_rawgeti(L, LIST, ++*at);
  if (!lua_isnumber(L, -1)) luaL_error(L, "entry %d of the list is not a number", *at);
  lua_Integer value = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

/* Binds a parameter to what the list has for it. */
static int bind_slice(lua_State *L, const statement *box, int i, int *at) {
  lua_Integer first = next_integer(L, at);
  if (box->parameters[i - 1].type == 'i')
    return sqlite3_bind_int64(box->prepared, i, first);
  lua_Integer last = next_integer(L, at);
  size_t length;
  const char *text = lua_tolstring(L, TEXT, &length);
  if (first < 1 || last < first - 1 || last > (lua_Integer)length)
    luaL_error(L, "entry %d of the list is not a slice of the text", *at);
  return bind_bytes(box, i, text + first - 1, (size_t)(last - first + 1), SQLITE_STATIC);
}

/* Executes the statement once, with slices from behind entry *at of the list. */
static int execute_slices(lua_State *L, const statement *box, int same, int *at) {
  int code = SQLITE_OK;
  for (int i = same + 1; i <= box->count && code == SQLITE_OK; i++)
    code = bind_slice(L, box, i, at);
  if (code != SQLITE_OK) return code;
  sqlite3_step(box->prepared);
  return sqlite3_reset(box->prepared);
}

static int statement_execute_slices(lua_State *L) {
  statement *box = check_statement(L);
  lua_Integer count = luaL_checkinteger(L, COUNT);
  int same = lua_gettop(L) - SAME, code = SQLITE_OK, at = 0;
  check_slices(L, box);
  reset(box);
  for (int i = 1; i <= same && code == SQLITE_OK; i++)
    code = bind_value(L, box, i, SAME, SQLITE_STATIC);
  for (; count > 0 && code == SQLITE_OK; count--)
    code = execute_slices(L, box, same, &at);
  if (code != SQLITE_OK) return fail(L, box, "execute");
  reset(box);
  lua_pushboolean(L, 1);
  return 1;
}

static int statement_query(lua_State *L) {
  statement *box = check_statement(L);
  if (!bind_values(L, box, SQLITE_TRANSIENT)) return fail(L, box, "query");
  box->running = true;
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- fetching rows --------------------------------------------------------------- */

/* Returns false if memory was exhausted. */
static bool push_bytes(lua_State *L, const statement *box, int i) {
  const void *bytes = sqlite3_column_blob(box->prepared, i);
  int length = sqlite3_column_bytes(box->prepared, i);
  if (!bytes && sqlite3_errcode(box->owner->db) == SQLITE_NOMEM) return false;
  lua_pushlstring(L, bytes ? bytes : "", (size_t)length);
  return true;
}

static bool push_column(lua_State *L, const statement *box, int i) {
  switch (sqlite3_column_type(box->prepared, i)) {
    case SQLITE_NULL: lua_pushnil(L); return true;
    case SQLITE_INTEGER:
      leat__push_integer(L, sqlite3_column_int64(box->prepared, i));
      return true;
    case SQLITE_FLOAT:
      lua_pushnumber(L, (lua_Number)sqlite3_column_double(box->prepared, i));
      return true;
    default: return push_bytes(L, box, i);
  }
}

static int push_row(lua_State *L, statement *box, int columns) {
  lua_pushboolean(L, 1);
  for (int i = 0; i < columns; i++)
    if (!push_column(L, box, i)) return fail(L, box, "fetch");
  return columns + 1;
}

static int statement_fetch(lua_State *L) {
  statement *box = check_statement(L);
  luaL_argcheck(L, box->running, 1, "no query");
  int columns = sqlite3_column_count(box->prepared);
  luaL_checkstack(L, columns + LUA_MINSTACK, "too many columns");
  int code = sqlite3_step(box->prepared);
  if (code == SQLITE_ROW) return push_row(L, box, columns);
  if (code != SQLITE_DONE) return fail(L, box, "fetch");
  reset(box);
  lua_pushboolean(L, 0);
  return 1;
}

/* ---- the module ------------------------------------------------------------------ */

static const luaL_Reg connection_methods[] = {{"exec", connection_exec},
                                              {"prepare", connection_prepare},
                                              {"has_moved", connection_has_moved},
                                              {"close", connection_close},
                                              {NULL, NULL}};

static const luaL_Reg statement_methods[] = {
    {"execute", statement_execute}, {"execute_slices", statement_execute_slices},
    {"query", statement_query},     {"fetch", statement_fetch},
    {"reset", statement_reset},     {NULL, NULL}};

static const luaL_Reg functions[] = {{"open", connection_open}, {NULL, NULL}};

static void push_codes(lua_State *L) {
  static const struct code {
    const char *name;
    int code;
  } codes[] = {
      {"ERROR", SQLITE_ERROR},       {"PERM", SQLITE_PERM},
      {"ABORT", SQLITE_ABORT},       {"BUSY", SQLITE_BUSY},
      {"LOCKED", SQLITE_LOCKED},     {"NOMEM", SQLITE_NOMEM},
      {"READONLY", SQLITE_READONLY}, {"INTERRUPT", SQLITE_INTERRUPT},
      {"IOERR", SQLITE_IOERR},       {"CORRUPT", SQLITE_CORRUPT},
      {"FULL", SQLITE_FULL},         {"CANTOPEN", SQLITE_CANTOPEN},
      {"PROTOCOL", SQLITE_PROTOCOL}, {"SCHEMA", SQLITE_SCHEMA},
      {"TOOBIG", SQLITE_TOOBIG},     {"CONSTRAINT", SQLITE_CONSTRAINT},
      {"MISMATCH", SQLITE_MISMATCH}, {"MISUSE", SQLITE_MISUSE},
      {"NOLFS", SQLITE_NOLFS},       {"AUTH", SQLITE_AUTH},
      {"RANGE", SQLITE_RANGE},       {"NOTADB", SQLITE_NOTADB},
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
    leat__set_integer(L, codes[i].name, codes[i].code);
}

LEAT_API int luaopen_leat_sqlite_core(lua_State *L);

LEAT_API int luaopen_leat_sqlite_core(lua_State *L) {
  leat__new_type(L, CONNECTION_TYPE, connection_close, connection_methods);
  leat__new_type(L, STATEMENT_TYPE, statement_free, statement_methods);
  lua_newtable(L);
  leat__set_functions(L, CONNECTION_TYPE, functions);
  push_codes(L);
  lua_setfield(L, -2, "codes");
  return 1;
}
