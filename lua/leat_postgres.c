/*
** leat_postgres.c - the module leat.postgres.core: PostgreSQL for Lua, and the only file
** that includes its header.
**
**   postgres.connect(conninfo, seconds)
**                             Returns a connection. The string is libpq's, as a URI or as
**                             words; what it lacks comes from libpq's environment and
**                             files. No operation takes longer than `seconds`, 10 by
**                             default, apart from looking up the host's name.
**   postgres.begin(conninfo)  Begins to connect, and returns a connection for `receive`.
**   postgres.fault(conninfo)  Returns what is wrong with the string, or nil.
**   postgres.codes            { TIMEOUT =, CONNECTION =, CONNINFO = }
**   connection:execute(sql, types, ...)
**                             Executes one statement. Its parameters are $1, $2, ...;
**                             `types` has a letter for each, in this order: i an integer
**                             (bigint) or boolean, t text, b bytes (bytea). Each may be
**                             nil. Returns the number of rows that it changed. A commit
**                             that rolls back, because an earlier statement failed, fails.
**   connection:query(sql, types, ...)
**                             Returns the rows, which are all in memory. Their columns
**                             must be integers, text or bytea.
**   connection:receive()      For programs that must not wait: goes on with connecting, or
**                             with the statement that was sent, as far as possible without
**                             waiting. Returns false if it is not done; then true, or the
**                             rows of the statement. The program watches the time.
**   connection:watched()      Returns the descriptor that `receive` waits for, and the
**                             events: "r", "w" or "rw"; nothing if there is none. It may
**                             change with each `receive`.
**   connection:send(sql, types, ...)
**                             Begins to send a statement, for `receive`. The arguments are
**                             those of `query`. Returns true. No other statement can be
**                             executed until `receive` has returned its rows.
**   connection:is_broken()    Returns whether the connection is of no use any more: it was
**                             lost or closed, or another process opened it.
**   connection:close()
**   rows:fetch()              Returns true and the columns of the next row; false at the
**                             end, which frees the rows.
**   rows:close()              Frees the rows.
**
** Those that can fail return nil, a message and a code: the server's SQLSTATE, or one of
** postgres.codes. TIMEOUT means that the server did not respond in time. The connection is
** then broken, as after CONNECTION and after some errors of the server, and what was
** sent may still take effect. CONNINFO means that the string is wrong. Messages contain
** neither passwords nor the server's details, which quote values.
**
** Nothing here depends on a session, so that it works behind a pooler that gives each
** transaction another one.
*/
#include "push.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CONNECTION_TYPE "leat.postgres.connection " LEAT_VERSION
#define ROWS_TYPE       "leat.postgres.rows " LEAT_VERSION

#define TIMEOUT    "timeout"
#define CONNECTION "connection"
#define CONNINFO   "conninfo"

/* The types of values, by their numbers in the server's catalogue, which are fixed. */
enum { BYTEA = 17, INT8 = 20, INT2 = 21, INT4 = 23, TEXT = 25, VARCHAR = 1043 };
enum { BINARY = 1 };

typedef struct connection {
  PGconn *db;    /* NULL until the connection is begun, and once it is broken or closed */
  bool closed;   /* by the program */
  pid_t process; /* the one that opened it */
  lua_Number time_ms; /* the longest time for an operation */
  /* OK once it is connected; otherwise what libpq waits for */
  PostgresPollingStatusType connecting;
  PGresult
      *received; /* by `receive`, which waits for the end of the statement; or NULL */
} connection;

typedef struct rows {
  PGresult *result; /* NULL until it was received, and once it is freed */
  int next;
} rows;

/* ---- the end of connections ------------------------------------------------------ */

/* PQfinish says goodbye to the server. In a child process that would end the connection of
** its parent, so the socket is replaced first. Returns false if that is impossible. */
static bool detach(PGconn *db) {
  int fd = PQsocket(db);
  if (fd < 0) return true;
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  bool detached = nothing >= 0 && dup2(nothing, fd) >= 0;
  if (nothing >= 0) close(nothing);
  return detached;
}

/* Does not block: the socket does not, and PQfinish does not wait for the server. */
static void finish(connection *box) {
  PGconn *db = box->db;
  box->db = NULL;
  PQclear(box->received); /* ignores NULL */
  box->received = NULL;
  if (db && (box->process == getpid() || detach(db))) PQfinish(db);
}

static bool is_usable(const connection *box) {
  return box->db && box->process == getpid() && box->connecting == PGRES_POLLING_OK &&
         PQstatus(box->db) == CONNECTION_OK;
}

static void clear(rows *box) {
  PQclear(box->result); /* ignores NULL */
  box->result = NULL;
}

/* ---- failures -------------------------------------------------------------------- */

/* Lines that continue the one before have advice, and others with this prefix a place in
** the server's source. */
static bool is_wanted(const char *line, size_t length) {
  static const char location[] = "LOCATION:";
  size_t prefix = sizeof location - 1;
  return length > 0 && *line != '\t' &&
         !(length >= prefix && memcmp(line, location, prefix) == 0);
}

/* Joins the lines that say what happened, one for each host that was tried. The result may
** have twice the size. */
static void join_lines(char *result, const char *text) {
  const char *start = result;
  for (const char *line = text; *line;) {
    size_t length = strcspn(line, "\n");
    if (is_wanted(line, length)) {
      if (result != start) result = stpcpy(result, "; ");
      memcpy(result, line, length);
      result += length;
    }
    line += length + (line[length] == '\n');
  }
  *result = '\0';
}

static void mask(char *text, const char *secret) {
  size_t length = secret ? strlen(secret) : 0;
  if (length == 0) return;
  for (char *at = text; (at = strstr(at, secret)) != NULL; at += length)
    memset(at, '*', length);
}

/* No message of libpq is known to contain a password that it recognised as one. */
static void mask_secrets(char *text, PGconn *db) {
  PQconninfoOption *options = db ? PQconninfo(db) : NULL;
  for (const PQconninfoOption *one = options; one && one->keyword; one++)
    if (*one->dispchar == '*') mask(text, one->val);
  PQconninfoFree(options);
}

static int push_failure(lua_State *L, PGconn *db, const char *operation,
                        const char *message, const char *code) {
  size_t size = strlen(message) + 1;
  char *text = memcpy(lua_newuserdata(L, 3 * size), message, size);
  mask_secrets(text, db);
  join_lines(text + size, text);
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", operation, text + size);
  lua_pushstring(L, code);
  return 3;
}

static int push_timeout(lua_State *L, connection *box, const char *operation) {
  finish(box); /* first: a lack of memory must not leave a response to be read */
  return push_failure(L, NULL, operation, "the server does not respond", TIMEOUT);
}

/* ---- waiting --------------------------------------------------------------------- */

/* Returns false once the time is up. A signal does not end the wait, nor prolong it. */
static bool wait_for(PGconn *db, int events, lua_Number deadline) {
  for (;;) {
    lua_Number left = deadline - monotonic_ms();
    struct pollfd socket = {.fd = PQsocket(db), .events = (short)events};
    if (left <= 0) return false;
    int ready = poll(&socket, 1, (int)left + 1);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true; /* libpq sees errors */
  }
}

/* Waits until PQgetResult does not block. Returns false once the time is up. */
static bool wait_for_result(PGconn *db, lua_Number deadline) {
  int unsent;
  while ((unsent = PQflush(db)) > 0 || (unsent == 0 && PQisBusy(db))) {
    if (!wait_for(db, unsent ? POLLIN | POLLOUT : POLLIN, deadline)) return false;
    if (!PQconsumeInput(db)) break;
  }
  return true;
}

/* ---- connecting ------------------------------------------------------------------ */

/* Returns whether the value of this option may be a part of a password in which a character
** is not encoded. */
static bool may_be_secret(const char *keyword) {
  return strcmp(keyword, "host") == 0 || strcmp(keyword, "port") == 0 ||
         strcmp(keyword, "dbname") == 0;
}

/* Returns what is wrong with the string, or NULL. The text must not quote it: a password
** with a character that is not encoded ends in another part of it. */
static const char *find_fault(const char *conninfo) {
  char *error = NULL;
  bool is_uri = strncmp(conninfo, "postgres", 8) == 0 && strstr(conninfo, "://");
  PQconninfoOption *options = PQconninfoParse(conninfo, &error);
  const char *fault = options ? NULL : "the connection string is not valid";
  PQfreemem(error);
  for (const PQconninfoOption *one = options; one && one->keyword; one++)
    if (is_uri && one->val && may_be_secret(one->keyword) && strchr(one->val, '@'))
      fault =
          "the connection string has an @ in the wrong place: in a password it is %40";
  PQconninfoFree(options);
  return fault;
}

static void ignore_notice(void *unused, const PGresult *notice) {
  (void)unused;
  (void)notice;
}

/* Begins a connection. Without the encoding it would be that of the environment. What comes
** before the string are defaults: a host that does not respond is given up in time for the
** next one, and so is a connection that a router has forgotten. */
static PGconn *start(const char *conninfo) {
  const char *names[] = {"tcp_user_timeout", "keepalives_idle",           "dbname",
                         "client_encoding",  "fallback_application_name", NULL};
  const char *values[] = {"4000", "30", conninfo, "UTF8", "leat", NULL};
  PGconn *db = PQconnectStartParams(names, values, 1);
  PQsetNoticeReceiver(db, ignore_notice, NULL);
  PQsetErrorVerbosity(db, PQERRORS_VERBOSE); /* with the code: see take_code */
  return db;
}

static int events_of(PostgresPollingStatusType status) {
  return status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
}

/* Returns an unfinished status once the time is up. */
static PostgresPollingStatusType finish_start(PGconn *db, lua_Number deadline) {
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  if (PQstatus(db) == CONNECTION_BAD) return PGRES_POLLING_FAILED;
  while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING) {
    if (!wait_for(db, events_of(status), deadline)) return status;
    status = PQconnectPoll(db);
  }
  return status;
}

/* Why a connection was refused is only in a text, as "FATAL:  28P01: password ...". Removes
** the code from it and stores it. */
static void take_code(char *text, char code[static 6]) {
  static const char characters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (char *at = text; (at = strstr(at, ":  ")) != NULL;) {
    at += 3;
    if (strspn(at, characters) != 5 || strncmp(at + 5, ": ", 2) != 0) continue;
    memcpy(code, at, 5);
    memmove(at - 1, at + 7, strlen(at + 7) + 1);
  }
}

static int push_refused(lua_State *L, connection *box) {
  char code[6] = "";
  const char *message = PQerrorMessage(box->db);
  size_t size = strlen(message) + 1;
  char *text = memcpy(lua_newuserdata(L, size), message, size);
  take_code(text, code);
  int count = push_failure(L, box->db, "connect", text, *code ? code : CONNECTION);
  finish(box);
  return count;
}

static lua_Number check_seconds(lua_State *L, int index) {
  const lua_Number longest = 86400;
  lua_Number seconds = luaL_optnumber(L, index, 10);
  luaL_argcheck(L, seconds > 0 && seconds <= longest, index, "not a number of seconds");
  return seconds;
}

/* Pushes a connection that was begun. */
static connection *push_begun(lua_State *L, const char *conninfo, lua_Number time_ms) {
  connection *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (connection){
      .process = getpid(), .time_ms = time_ms, .connecting = PGRES_POLLING_WRITING};
  luaL_setmetatable(L, CONNECTION_TYPE);
  box->db = start(conninfo);
  if (!box->db) luaL_error(L, "not enough memory");
  return box;
}

static void set_connected(connection *box) {
  PQsetnonblocking(box->db, 1);
  box->connecting = PGRES_POLLING_OK;
}

static int connection_connect(lua_State *L) {
  const char *conninfo = leat__check_text(L, 1), *fault = find_fault(conninfo);
  lua_Number time_ms = check_seconds(L, 2) * 1000, deadline = monotonic_ms() + time_ms;
  if (fault) return push_failure(L, NULL, "connect", fault, CONNINFO);
  connection *box = push_begun(L, conninfo, time_ms);
  PostgresPollingStatusType status = finish_start(box->db, deadline);
  if (status == PGRES_POLLING_FAILED) return push_refused(L, box);
  if (status != PGRES_POLLING_OK) return push_timeout(L, box, "connect");
  set_connected(box);
  return 1;
}

static int connection_begin(lua_State *L) {
  const lua_Number usual = 10000;
  const char *conninfo = leat__check_text(L, 1), *fault = find_fault(conninfo);
  if (fault) return push_failure(L, NULL, "connect", fault, CONNINFO);
  connection *box = push_begun(L, conninfo, usual);
  return PQstatus(box->db) == CONNECTION_BAD ? push_refused(L, box) : 1;
}

static int connection_fault(lua_State *L) {
  lua_pushstring(L, find_fault(leat__check_text(L, 1)));
  return 1;
}

static bool is_ready(PGconn *db, int events) {
  struct pollfd socket = {.fd = PQsocket(db), .events = (short)events};
  return socket.fd < 0 || poll(&socket, 1, 0) > 0;
}

/* libpq must be called only when its socket is ready. Pushes whether it is connected, or
** why it cannot be. */
static int go_on_connecting(lua_State *L, connection *box) {
  if (is_ready(box->db, events_of(box->connecting))) {
    PostgresPollingStatusType status = PQconnectPoll(box->db);
    if (status == PGRES_POLLING_FAILED) return push_refused(L, box);
    box->connecting = status;
  }
  bool connected = box->connecting == PGRES_POLLING_OK;
  if (connected) set_connected(box);
  lua_pushboolean(L, connected);
  return 1;
}

static int connection_watched(lua_State *L) {
  const connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  int fd = box->db && box->process == getpid() ? PQsocket(box->db) : -1;
  if (fd < 0) return 0;
  lua_pushinteger(L, fd);
  if (box->connecting != PGRES_POLLING_OK)
    lua_pushstring(L, box->connecting == PGRES_POLLING_READING ? "r" : "w");
  else lua_pushstring(L, PQflush(box->db) > 0 ? "rw" : "r");
  return 2;
}

static int connection_is_broken(lua_State *L) {
  const connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  lua_pushboolean(L, !is_usable(box));
  return 1;
}

static int connection_close(lua_State *L) {
  connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  box->closed = true;
  finish(box);
  return 0;
}

/* ---- parameters ------------------------------------------------------------------ */

typedef struct parameter {
  const char *bytes; /* a string on the stack, or `integer` */
  size_t length;
  unsigned char integer[8];
} parameter;

/* The arguments of execute and query. */
enum { SQL = 2, TYPES, BEFORE_VALUES = TYPES };

/* The server takes integers in the order of the network. */
static void store_integer(unsigned char bytes[static 8], int64_t value) {
  uint64_t rest = (uint64_t)value;
  for (int i = 7; i >= 0; i--, rest >>= 8)
    bytes[i] = (unsigned char)(rest & 0xff);
}

/* libpq measures lengths with int. */
static void check_string(lua_State *L, int index, char type, parameter *into) {
  const size_t most = 1u << 30;
  luaL_checktype(L, index, LUA_TSTRING);
  into->bytes = lua_tolstring(L, index, &into->length);
  luaL_argcheck(L, into->length < most, index, "too long");
  luaL_argcheck(L, type == 'b' || !memchr(into->bytes, '\0', into->length), index,
                "text contains a NUL byte");
}

static void check_parameter(lua_State *L, int index, char type, parameter *into) {
  if (lua_isnil(L, index)) {
    into->bytes = NULL;
    into->length = 0;
  } else if (type == 'i') {
    store_integer(into->integer, leat__check_integer(L, index));
    into->bytes = (const char *)into->integer;
    into->length = sizeof into->integer;
  } else {
    check_string(L, index, type, into);
  }
}

/* Returns the number of parameters. */
static int check_types(lua_State *L) {
  const int most = 65535;
  if (lua_gettop(L) < TYPES) lua_settop(L, TYPES);
  const char *types = luaL_optstring(L, TYPES, "");
  size_t count = strspn(types, "itb");
  int given = lua_gettop(L) - BEFORE_VALUES;
  luaL_argcheck(L, types[count] == '\0', TYPES, "the types are i, t and b");
  luaL_argcheck(L, count <= (size_t)most, TYPES, "too many parameters");
  if ((size_t)given != count)
    luaL_error(L, "the statement has types for %d parameters, not %d", (int)count, given);
  return given;
}

static Oid type_number(char type) {
  if (type == 'i') return INT8;
  return type == 't' ? TEXT : BYTEA;
}

/* Checks the values, and returns them; they are on the stack. */
static const parameter *check_parameters(lua_State *L, int count) {
  const char *types = luaL_optstring(L, TYPES, "");
  parameter *all = lua_newuserdata(L, (size_t)count * sizeof *all + 1);
  for (int i = 0; i < count; i++)
    check_parameter(L, BEFORE_VALUES + 1 + i, types[i], &all[i]);
  return all;
}

/* Queues the statement to be sent. libpq wants an array of each property. */
static bool send(lua_State *L, PGconn *db, int count) {
  const parameter *all = check_parameters(L, count);
  const char *types = luaL_optstring(L, TYPES, "");
  const char **values = lua_newuserdata(L, (size_t)count * sizeof *values + 1);
  int *lengths = lua_newuserdata(L, (size_t)count * sizeof *lengths + 1);
  int *formats = lua_newuserdata(L, (size_t)count * sizeof *formats + 1);
  Oid *oids = lua_newuserdata(L, (size_t)count * sizeof *oids + 1);
  for (int i = 0; i < count; i++) {
    values[i] = all[i].bytes;
    lengths[i] = (int)all[i].length;
    formats[i] = BINARY;
    oids[i] = type_number(types[i]);
  }
  return PQsendQueryParams(db, lua_tostring(L, SQL), count, oids, values, lengths,
                           formats, BINARY);
}

/* ---- executing ------------------------------------------------------------------- */

/* Takes the next result of a statement, and keeps the first one. Returns true at the end,
** and at COPY, which has none. */
static bool take_result(PGconn *db, PGresult **kept) {
  PGresult *result = PQgetResult(db);
  if (!result) return true;
  if (*kept) PQclear(result);
  else *kept = result;
  ExecStatusType status = PQresultStatus(*kept);
  return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* Receives the result of a statement, and that there is no other one. Returns false once
** the time is up. */
static bool receive(PGconn *db, rows *into, lua_Number deadline) {
  do {
    if (!wait_for_result(db, deadline)) return false;
  } while (!take_result(db, &into->result));
  return true;
}

static rows *new_rows(lua_State *L) {
  rows *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (rows){.result = NULL};
  luaL_setmetatable(L, ROWS_TYPE);
  return box;
}

/* Only the server's errors have fields. */
static int push_error(lua_State *L, connection *box, const rows *from,
                      const char *operation) {
  const char *message = PQresultErrorField(from->result, PG_DIAG_MESSAGE_PRIMARY);
  const char *code = PQresultErrorField(from->result, PG_DIAG_SQLSTATE);
  if (!message) message = PQresultErrorMessage(from->result);
  if (!*message) message = PQerrorMessage(box->db);
  int count = push_failure(L, box->db, operation, message, code ? code : CONNECTION);
  if (!code || PQstatus(box->db) != CONNECTION_OK) finish(box);
  return count;
}

/* Returns 0 and leaves the result in the rows; or how many values it pushed, because it
** failed. */
static int check_result(lua_State *L, connection *box, const rows *from,
                        const char *operation) {
  switch (PQresultStatus(from->result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK: return 0;
    case PGRES_EMPTY_QUERY: return luaL_argerror(L, SQL, "one statement expected");
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
      finish(box);
      return push_failure(L, NULL, operation, "COPY is not supported", "0A000");
    default: return push_error(L, box, from, operation);
  }
}

/* Pushes the rows, and returns 0; or returns how many values it pushed, because it failed.
** Raises errors before it sends anything. */
static int run(lua_State *L, connection *box, const char *operation, rows **result) {
  luaL_argcheck(L, !box->closed, 1, "connection is closed");
  leat__check_text(L, SQL);
  int count = check_types(L);
  lua_Number deadline = monotonic_ms() + box->time_ms;
  if (!is_usable(box))
    return push_failure(L, NULL, operation, "the connection is broken", CONNECTION);
  bool sent = send(L, box->db, count);
  *result = new_rows(L);
  if (sent && !receive(box->db, *result, deadline))
    return push_timeout(L, box, operation);
  return check_result(L, box, *result, operation);
}

static void check_columns(lua_State *L, const PGresult *result) {
  for (int i = 0; i < PQnfields(result); i++) {
    switch (PQftype(result, i)) {
      case INT8:
      case INT4:
      case INT2:
      case TEXT:
      case VARCHAR:
      case BYTEA: break;
      default:
        luaL_error(L,
                   "column %d is neither an integer nor text nor bytea: its type is %d",
                   i + 1, (int)PQftype(result, i));
    }
  }
}

static int connection_send(lua_State *L) {
  connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  luaL_argcheck(L, !box->closed, 1, "connection is closed");
  leat__check_text(L, SQL);
  int count = check_types(L);
  if (!is_usable(box))
    return push_failure(L, NULL, "send", "the connection is broken", CONNECTION);
  if (!send(L, box->db, count)) {
    int failed = push_failure(L, box->db, "send", PQerrorMessage(box->db), CONNECTION);
    finish(box);
    return failed;
  }
  PQflush(box->db);
  lua_pushboolean(L, 1);
  return 1;
}

/* Like receive, but returns false rather than wait. */
static bool receive_what_is_there(connection *box) {
  do {
    bool good = PQflush(box->db) >= 0 && PQconsumeInput(box->db);
    if (good && PQisBusy(box->db)) return false;
  } while (!take_result(box->db, &box->received));
  return true;
}

static int connection_receive(lua_State *L) {
  connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  luaL_argcheck(L, !box->closed, 1, "connection is closed");
  if (!box->db || box->process != getpid())
    return push_failure(L, NULL, "receive", "the connection is broken", CONNECTION);
  if (box->connecting != PGRES_POLLING_OK) return go_on_connecting(L, box);
  bool done = receive_what_is_there(box);
  if (!done || !box->received) {
    lua_pushboolean(L, done);
    return 1;
  }
  rows *found = new_rows(L);
  found->result = box->received;
  box->received = NULL;
  int failed = check_result(L, box, found, "query");
  if (failed) return failed;
  check_columns(L, found->result);
  return 1;
}

/* The server says how many rows a query has, too. */
static int64_t count_changed(PGresult *result) {
  static const char *const tags[] = {"INSERT", "UPDATE", "DELETE", "MERGE"};
  const char *tag = PQcmdStatus(result);
  for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
    if (strncmp(tag, tags[i], strlen(tags[i])) == 0)
      return strtoll(PQcmdTuples(result), NULL, 10);
  return 0;
}

static int connection_execute(lua_State *L) {
  connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  rows *done = NULL;
  int failed = run(L, box, "execute", &done);
  if (failed) return failed;
  int64_t changed = count_changed(done->result);
  bool undone = strcmp(PQcmdStatus(done->result), "ROLLBACK") == 0 &&
                strncasecmp(lua_tostring(L, SQL), "commit", 6) == 0;
  clear(done);
  if (undone)
    return push_failure(L, NULL, "execute", "an earlier statement failed", "25P02");
  leat__push_integer(L, changed);
  return 1;
}

/* ---- rows ------------------------------------------------------------------------ */

static int connection_query(lua_State *L) {
  connection *box = check_box(L, 1, OWN, CONNECTION_TYPE);
  rows *found = NULL;
  int failed = run(L, box, "query", &found);
  if (failed) return failed;
  check_columns(L, found->result);
  return 1;
}

static void push_integer(lua_State *L, const char *bytes, int length) {
  uint64_t value = bytes[0] & 0x80 ? UINT64_MAX : 0; /* extends the sign */
  for (int i = 0; i < length; i++)
    value = value << 8 | (unsigned char)bytes[i];
  leat__push_integer(L, (int64_t)value);
}

static void push_column(lua_State *L, const PGresult *result, int row, int column) {
  const char *bytes = PQgetvalue(result, row, column);
  int length = PQgetlength(result, row, column);
  Oid type = PQftype(result, column);
  if (PQgetisnull(result, row, column)) lua_pushnil(L);
  else if (type == INT8 || type == INT4 || type == INT2) push_integer(L, bytes, length);
  else lua_pushlstring(L, bytes, (size_t)length);
}

static int rows_fetch(lua_State *L) {
  rows *box = check_box(L, 1, OWN, ROWS_TYPE);
  luaL_argcheck(L, box->result != NULL, 1, "no query");
  if (box->next == PQntuples(box->result)) {
    clear(box);
    lua_pushboolean(L, 0);
    return 1;
  }
  int columns = PQnfields(box->result), row = box->next++;
  luaL_checkstack(L, columns + LUA_MINSTACK, "too many columns");
  lua_pushboolean(L, 1);
  for (int i = 0; i < columns; i++)
    push_column(L, box->result, row, i);
  return columns + 1;
}

static int rows_close(lua_State *L) {
  clear(check_box(L, 1, OWN, ROWS_TYPE));
  return 0;
}

/* ---- the module ------------------------------------------------------------------ */

static const luaL_Reg connection_methods[] = {
    {"execute", connection_execute}, {"query", connection_query},
    {"send", connection_send},       {"receive", connection_receive},
    {"watched", connection_watched}, {"is_broken", connection_is_broken},
    {"close", connection_close},     {NULL, NULL}};

static const luaL_Reg rows_methods[] = {
    {"fetch", rows_fetch}, {"close", rows_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"connect", connection_connect},
                                     {"begin", connection_begin},
                                     {"fault", connection_fault},
                                     {NULL, NULL}};

LEAT_API int luaopen_leat_postgres_core(lua_State *L);

LEAT_API int luaopen_leat_postgres_core(lua_State *L) {
  leat__new_type(L, CONNECTION_TYPE, connection_close, connection_methods);
  leat__new_type(L, ROWS_TYPE, rows_close, rows_methods);
  lua_newtable(L);
  leat__set_functions(L, CONNECTION_TYPE, functions);
  lua_createtable(L, 0, 3);
  leat__set_text(L, "TIMEOUT", TIMEOUT);
  leat__set_text(L, "CONNECTION", CONNECTION);
  leat__set_text(L, "CONNINFO", CONNINFO);
  lua_setfield(L, -2, "codes");
  return 1;
}
