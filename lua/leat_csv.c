/*
** leat_csv.c - the module leat.csv.core: rows of CSV, for leat/csv.lua. Positions in a
** text begin with 1. With `final` the file ends where the text does; without it a
** function that needs more text returns nil.
**
**   core.row(text, at, separator, final)
**                    Returns the cells of the row at `at`, and where the next row begins,
**                    behind empty lines. The cells of a damaged row are { damage = why }.
**                    The separator is a comma, a semicolon or a tab.
**   core.skip_empty_lines(text, at, final)
**                    Returns where the text continues.
**   core.filter()    Returns a Bloom filter of values. filter:add(value) returns whether
**                    the value, regardless of the case of ASCII letters, may have been
**                    added before. If it returns false it was not. filter:free() frees
**                    its 4 MiB, of which Lua's garbage collector knows nothing.
**   core.scan(text, at, separator, columns, filter, n, line, list)
**                    Reads rows as long as they are plain, as most rows of most files
**                    are: well-formed, with cells that no check could reject, and with a
**                    value that is new to the filter. Stores FIELDS integers of each in
**                    the list: its number, which begins with `n`, its line, the sum of
**                    core.given of the arguments that it gives, the first and last byte
**                    of its value, and those of the row. Returns how many rows these are,
**                    where the next row begins, and its line. `columns` is what
**                    columns.match returns.
**   core.FIELDS      How many integers of each row core.scan stores.
**   core.MAX_PENDING A quote that is not closed within so many bytes is damage.
**   core.given       A number for each argument, by name, whose sums are sets.
*/
#include "binding.h"

#include <stdlib.h>
#include <string.h>

/* A longer row is damaged, and so is one with a quote that is not closed within
** MAX_PENDING bytes. */
enum { MAX_ROW = 64 * 1024, MAX_PENDING = 1024 * 1024 };

/* ---- one row, cell by cell ------------------------------------------------------- */

typedef struct row {
  const char *text;
  size_t length;
  size_t begin;
  size_t at; /* where the next cell begins, and in the end the next row */
  const char *damage;
  char separator;
  bool final;
} row;

typedef struct cell { /* without its quotes */
  const char *text;
  size_t length;
  bool doubled; /* whether it contains doubled quotes */
} cell;

enum found { MORE, LAST, DAMAGED, INCOMPLETE };

static enum found damaged(row *r, const char *damage) {
  r->damage = damage;
  return DAMAGED;
}

static enum found read_quoted(row *r, cell *c, size_t *after) {
  size_t begin = r->at + 1, from = begin;
  size_t limit = r->length - r->begin > MAX_PENDING ? r->begin + MAX_PENDING : r->length;
  c->doubled = false;
  for (;;) {
    const char *close = from < limit ? memchr(r->text + from, '"', limit - from) : NULL;
    size_t at = close ? (size_t)(close - r->text) : limit;
    if (!close && (r->final || limit < r->length))
      return damaged(r, "has a quote that is never closed");
    if (!close || (at + 1 == r->length && !r->final)) return INCOMPLETE;
    if (at + 1 == r->length || r->text[at + 1] != '"') {
      c->text = r->text + begin;
      c->length = at - begin;
      *after = at + 1;
      return MORE;
    }
    c->doubled = true;
    from = at + 2;
  }
}

static enum found read_bare(row *r, cell *c, size_t *after) {
  size_t at = r->at;
  for (; at < r->length; at++) {
    char byte = r->text[at];
    if (byte == r->separator || byte == '\n' || byte == '\r') break;
    if (byte == '"')
      return damaged(r, "has a quote within a cell that is not quoted as a whole");
  }
  if (at == r->length && !r->final) return INCOMPLETE;
  *c = (cell){r->text + r->at, at - r->at, false};
  *after = at;
  return MORE;
}

/* Reads what follows a cell, and moves behind it. */
static enum found read_end(row *r, size_t after) {
  bool ends = after == r->length;
  char byte = ends ? '\n' : r->text[after];
  if (ends && !r->final) return INCOMPLETE;
  if (byte == '\r') {
    bool last = after + 1 == r->length;
    if (last && !r->final) return INCOMPLETE;
    if (!last && r->text[++after] != '\n')
      return damaged(r, "has a carriage return within a cell that is not quoted");
  } else if (byte != r->separator && byte != '\n') {
    return damaged(r, "has text after a closing quote");
  }
  r->at = after + (ends ? 0 : 1);
  return byte == r->separator ? MORE : LAST;
}

/* A damaged cell is not moved over. */
static enum found next_cell(row *r, cell *c) {
  size_t after = r->at;
  bool quoted = r->at < r->length && r->text[r->at] == '"';
  enum found found = quoted ? read_quoted(r, c, &after) : read_bare(r, c, &after);
  return found == MORE ? read_end(r, after) : found;
}

/* A damaged row ends with the line on which the damaged cell begins. */
static bool skip_damaged_line(row *r) {
  const char *end = memchr(r->text + r->at, '\n', r->length - r->at);
  if (end) r->at = (size_t)(end - r->text) + 1;
  else if (r->final) r->at = r->length;
  return end || r->final;
}

/* Returns false if more empty lines may follow. */
static bool skip_empty_lines(row *r) {
  while (r->at < r->length && (r->text[r->at] == '\n' || r->text[r->at] == '\r')) {
    bool is_return = r->text[r->at] == '\r', last = r->at + 1 == r->length;
    if (is_return && last && !r->final) return false;
    if (is_return && !last && r->text[r->at + 1] != '\n') return true;
    r->at += is_return && !last ? 2 : 1;
  }
  return r->at < r->length || r->final;
}

/* ---- rows for Lua ---------------------------------------------------------------- */

static row check_row(lua_State *L) {
  row r = {0};
  r.text = luaL_checklstring(L, 1, &r.length);
  lua_Integer at = luaL_checkinteger(L, 2);
  luaL_argcheck(L, at >= 1 && (size_t)at <= r.length + 1, 2, "not within the text");
  r.begin = r.at = (size_t)at - 1;
  return r;
}

static char check_separator(lua_State *L) {
  const char *text = luaL_checkstring(L, 3);
  luaL_argcheck(L, *text && strchr(",;\t", *text), 3, "comma, semicolon or tab expected");
  return *text;
}

static void push_cell(lua_State *L, const cell *c) {
  luaL_Buffer buffer;
  if (!c->doubled) {
    lua_pushlstring(L, c->text, c->length);
    return;
  }
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; i < c->length; i++) {
    luaL_addchar(&buffer, c->text[i]);
    if (c->text[i] == '"') i++;
  }
  luaL_pushresult(&buffer);
}

static void push_damage(lua_State *L, const char *damage) {
  lua_createtable(L, 0, 1);
  lua_pushstring(L, damage);
  lua_setfield(L, -2, "damage");
}

static int csv_row(lua_State *L) {
  row r = check_row(L);
  r.separator = check_separator(L);
  r.final = lua_toboolean(L, 4);
  enum found found = MORE;
  cell c;
  lua_newtable(L);
  for (int i = 1; found == MORE; i++) {
    found = next_cell(&r, &c);
    if (found > LAST) break;
    push_cell(L, &c);
    lua_rawseti(L, -2, i);
  }
  if (found == INCOMPLETE || (found == DAMAGED && !skip_damaged_line(&r))) return 0;
  if (found == LAST && r.at - r.begin > MAX_ROW) r.damage = "is longer than 64 KiB";
  if (r.damage) push_damage(L, r.damage);
  if (!skip_empty_lines(&r)) return 0;
  lua_pushinteger(L, (lua_Integer)r.at + 1);
  return 2;
}

static int csv_skip_empty_lines(lua_State *L) {
  row r = check_row(L);
  r.final = lua_toboolean(L, 3);
  if (!skip_empty_lines(&r)) return 0;
  lua_pushinteger(L, (lua_Integer)r.at + 1);
  return 1;
}

/* ---- plain cells ----------------------------------------------------------------- */

static bool is_alnum(char byte) {
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= 'a' && byte <= 'z');
}

/* Whether each character is a letter, a digit or one of `others`. */
static bool consists_of(const char *text, size_t length, const char *others) {
  for (size_t i = 0; i < length; i++)
    if (!is_alnum(text[i]) && (text[i] == '\0' || !strchr(others, text[i]))) return false;
  return true;
}

static bool is_plain_value(const char *text, size_t length) {
  return consists_of(text, length, "_-");
}

/* Returns the length of the character if it is one that names usually have, or 0. In UTF-8
** letters with accents, Greek, Cyrillic and Hebrew ones take two bytes. The characters
** U+0340 to U+037F are left out, because one of them is invisible. */
static size_t name_character(const char *text, size_t length) {
  unsigned char first = (unsigned char)text[0];
  if (first < 0x80)
    return first >= ' ' && first != 0x7F && !strchr("#=:", text[0]) ? 1 : 0;
  if (first < 0xC3 || first > 0xD7 || first == 0xCD || length < 2) return 0;
  unsigned char second = (unsigned char)text[1];
  return second >= 0x80 && second <= 0xBF ? 2 : 0;
}

static bool is_plain_name(const char *text, size_t length) {
  if (text[0] == ' ') return false;
  for (size_t i = 0, width; i < length; i += width)
    if ((width = name_character(text + i, length - i)) == 0) return false;
  return true;
}

static bool is_plain_email(const char *text, size_t length) {
  const char *at = memchr(text, '@', length);
  size_t local = at ? (size_t)(at - text) : 0;
  return local > 0 && local + 1 < length && is_alnum(text[0]) &&
         consists_of(text, local, "._+-") &&
         consists_of(at + 1, length - local - 1, ".-");
}

static bool is_plain_active(const char *text, size_t length) {
  static const char *const words[] = {"true", "false", "yes", "no", "1", "0"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (length == strlen(words[i]) && memcmp(text, words[i], length) == 0) return true;
  return false;
}

static const struct argument {
  const char *name;
  bool (*is_plain)(const char *text, size_t length); /* The text is not empty. */
} arguments[] = {{"value", is_plain_value},        {"name", is_plain_name},
                 {"contact_uuid", is_plain_value}, {"contact_email", is_plain_email},
                 {"active", is_plain_active},      {"expect", is_plain_value}};

enum { VALUE, ARGUMENTS = sizeof arguments / sizeof arguments[0], UNUSED = -1 };

/* ---- values that occurred before ------------------------------------------------- */

#define FILTER_TYPE "leat.csv.filter " LEAT_VERSION

/* Each value sets 8 bits of one line, which is one of the processor's cache. Of a million
** values less than ten are taken for values that occurred before. */
enum { LINE_BITS = 512, LINES = 1 << 16, BITS_EACH = 8 };

typedef unsigned char filter_line[LINE_BITS / 8];

/* The lines are not in the userdata itself: Lua would let its garbage grow in proportion.
** They are freed as soon as a plan ends: else many plans of a program with a large heap
** would keep gigabytes of them. */
typedef struct filter {
  filter_line *lines; /* NULL until they are allocated, and once freed */
} filter;

/* FNV-1a, with capital letters as small ones. */
static uint64_t hash_of(const char *text, size_t length) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < length; i++) {
    bool capital = text[i] >= 'A' && text[i] <= 'Z';
    unsigned char byte = (unsigned char)(capital ? text[i] - 'A' + 'a' : text[i]);
    hash = (hash ^ byte) * 1099511628211u;
  }
  return hash;
}

static bool add_value(filter_line *lines, const char *text, size_t length) {
  uint64_t hash = hash_of(text, length);
  unsigned char *line = lines[(hash ^ hash >> 32) % LINES];
  bool known = true;
  for (int i = 0; i < BITS_EACH; i++) {
    hash = hash * 6364136223846793005u + 1442695040888963407u;
    unsigned bit = (unsigned)(hash >> 55); /* 9 bits */
    unsigned char mask = (unsigned char)(1u << (bit & 7));
    if (!(line[bit >> 3] & mask)) known = false;
    line[bit >> 3] |= mask;
  }
  return known;
}

static int csv_filter(lua_State *L) {
  filter *f = lua_newuserdatauv(L, sizeof *f, 0);
  f->lines = NULL;
  luaL_setmetatable(L, FILTER_TYPE);
  f->lines = calloc(LINES, sizeof *f->lines);
  return f->lines ? 1 : luaL_error(L, "leat.csv: out of memory");
}

static int filter_free(lua_State *L) {
  filter *f = luaL_checkudata(L, 1, FILTER_TYPE);
  free(f->lines);
  f->lines = NULL;
  return 0;
}

static int filter_add(lua_State *L) {
  const filter *f = luaL_checkudata(L, 1, FILTER_TYPE);
  size_t length;
  const char *value = luaL_checklstring(L, 2, &length);
  if (f->lines == NULL) return luaL_argerror(L, 1, "filter is freed");
  lua_pushboolean(L, add_value(f->lines, value, length));
  return 1;
}

/* ---- plain rows ------------------------------------------------------------------ */

enum { MAX_COLUMNS = 256, MAX_ROWS = 256, FIELDS = 7 };

typedef struct columns {
  int count;
  unsigned needed; /* A row gives at least one of these, if it is not 0. */
  signed char arguments[MAX_COLUMNS];
} columns;

static lua_Integer get_integer(lua_State *L, int index, const char *key) {
  lua_getfield(L, index, key);
  lua_Integer value = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

/* Returns false if there are too many columns, or if two arguments share one. */
static bool get_columns(lua_State *L, int index, columns *all) {
  luaL_checktype(L, index, LUA_TTABLE);
  lua_Integer count = get_integer(L, index, "count");
  if (count < 1 || count > MAX_COLUMNS) return false;
  all->count = (int)count;
  all->needed = (unsigned)get_integer(L, index, "needed");
  memset(all->arguments, UNUSED, sizeof all->arguments);
  for (int i = 0; i < ARGUMENTS; i++) {
    lua_Integer column = get_integer(L, index, arguments[i].name);
    if (column < 1 || column > count) continue;
    if (all->arguments[column - 1] != UNUSED) return false;
    all->arguments[column - 1] = (signed char)i;
  }
  return true;
}

typedef struct plain_row {
  unsigned given;
  cell value;
} plain_row;

/* Adds a cell that is not empty to the row, if it is plain. */
static bool add_cell(plain_row *plain, int argument, const cell *c) {
  if (argument == UNUSED) return true;
  if (!arguments[argument].is_plain(c->text, c->length)) return false;
  plain->given |= 1u << argument;
  if (argument == VALUE) plain->value = *c;
  return true;
}

/* Reads a row, and moves behind it. A separator at its end may add an empty cell. */
static bool read_plain_row(row *r, const columns *all, plain_row *plain) {
  enum found found = MORE;
  int i = 0;
  *plain = (plain_row){0};
  r->begin = r->at;
  for (; found == MORE; i++) {
    cell c;
    found = next_cell(r, &c);
    if (found > LAST || i > all->count) return false;
    if (c.length == 0) continue;
    if (i == all->count || !add_cell(plain, all->arguments[i], &c)) return false;
  }
  bool complete = i == all->count || i == all->count + 1;
  bool ends = r->at < r->length && r->text[r->at] != '\n' && r->text[r->at] != '\r';
  return complete && ends && r->at - r->begin <= MAX_ROW &&
         (plain->given & 1u << VALUE) &&
         (all->needed == 0 || (plain->given & all->needed));
}

static lua_Integer count_lines(const char *text, size_t length) {
  lua_Integer count = 0;
  const char *end = text + length;
  while (text < end && (text = memchr(text, '\n', (size_t)(end - text))) != NULL) {
    count++;
    text++;
  }
  return count;
}

static void store_row(lua_State *L, int list, int n, const row *r, const plain_row *plain,
                      const lua_Integer numbers[2]) {
  lua_Integer value = plain->value.text - r->text;
  const lua_Integer fields[FIELDS] = {numbers[0],
                                      numbers[1],
                                      (lua_Integer)plain->given,
                                      value + 1,
                                      value + (lua_Integer)plain->value.length,
                                      (lua_Integer)r->begin + 1,
                                      (lua_Integer)r->at};
  for (int i = 0; i < FIELDS; i++) {
    lua_pushinteger(L, fields[i]);
    lua_rawseti(L, list, n * FIELDS + i + 1);
  }
}

/* Metamethods of `columns` may free the filter. */
static int csv_scan(lua_State *L) {
  enum { COLUMNS = 4, FILTER, NUMBER, LINE, LIST };
  row r = check_row(L);
  columns all;
  plain_row plain;
  r.separator = check_separator(L);
  const filter *f = luaL_checkudata(L, FILTER, FILTER_TYPE);
  lua_Integer numbers[2] = {luaL_checkinteger(L, NUMBER), luaL_checkinteger(L, LINE)};
  luaL_checktype(L, LIST, LUA_TTABLE);
  bool scans = get_columns(L, COLUMNS, &all);
  if (f->lines == NULL) return luaL_argerror(L, FILTER, "filter is freed");
  size_t next = r.at;
  int count = 0;
  while (scans && count < MAX_ROWS && read_plain_row(&r, &all, &plain) &&
         !add_value(f->lines, plain.value.text, plain.value.length)) {
    store_row(L, LIST, count++, &r, &plain, numbers);
    numbers[0]++;
    numbers[1] += count_lines(r.text + r.begin, r.at - r.begin);
    next = r.at;
  }
  lua_pushinteger(L, count);
  lua_pushinteger(L, (lua_Integer)next + 1);
  lua_pushinteger(L, numbers[1]);
  return 3;
}

/* ---- the module ------------------------------------------------------------------ */

static const luaL_Reg functions[] = {{"row", csv_row},
                                     {"skip_empty_lines", csv_skip_empty_lines},
                                     {"filter", csv_filter},
                                     {"scan", csv_scan},
                                     {NULL, NULL}};

LEAT_API int luaopen_leat_csv_core(lua_State *L);

LEAT_API int luaopen_leat_csv_core(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"add", filter_add}, {"free", filter_free}, {NULL, NULL}};
  leat__new_type(L, FILTER_TYPE, filter_free, methods);
  luaL_newlib(L, functions);
  lua_newtable(L);
  for (int i = 0; i < ARGUMENTS; i++) {
    lua_pushinteger(L, 1 << i);
    lua_setfield(L, -2, arguments[i].name);
  }
  lua_setfield(L, -2, "given");
  lua_pushinteger(L, FIELDS);
  lua_setfield(L, -2, "FIELDS");
  lua_pushinteger(L, MAX_PENDING);
  lua_setfield(L, -2, "MAX_PENDING");
  return 1;
}
