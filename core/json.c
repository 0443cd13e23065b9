/*
** json.c - JSON: decodes responses strictly (RFC 8259), and writes values and strings.
**
** A document is one allocation: its values, followed by a copy of the text, in which
** strings are unescaped in place. The values are counted beforehand, so there is room for
** all of them. The values of containers that are still open form a stack at the front of
** that room. When a container closes, its values move to the back, next to each other. In
** the end only the document is left at the front.
*/
#include "internal.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct leat_json {
  leat_type type;
  bool repeats;     /* an object in which some name occurs more than once */
  bool unfit;       /* a number that fits no type; its text is in is.string */
  leat_string name; /* an object's member has one */
  union {
    bool boolean;
    int64_t integer;
    double real;
    leat_string string;
    struct {
      leat_json *first;
      size_t count;
    } items;
  } is;
};

typedef struct block { /* a document */
  size_t size;
  leat_json values[]; /* the first is the document; the text follows them */
} block;

typedef struct reader {
  char *at, *end;          /* in the text, which ends with a NUL */
  leat_json *open, *close; /* free room for values lies between them */
  int depth;
  const char *wrong; /* the error at `at`; NULL: none, or out of memory */
} reader;

static bool fail(reader *r, const char *wrong) {
  r->wrong = r->at == r->end ? "it ends too early" : wrong;
  return false;
}

static bool fail_at(reader *r, const char *place, const char *wrong) {
  r->at += place - r->at;
  return fail(r, wrong);
}

/* Skips white space, and returns the next character. */
static char next(reader *r) {
  while (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')
    r->at++;
  return *r->at;
}

/* ---- strings --------------------------------------------------------------------- */

/* Returns the value of the four digits after \u, or -1 if they are not hexadecimal. */
static int32_t read_unit(reader *r) {
  int32_t unit = 0;
  for (int i = 0; i < 4; i++) {
    int digit = leat__hex_digit(*r->at);
    if (digit < 0) return -1;
    unit = unit * 16 + digit;
    r->at++;
  }
  return unit;
}

static bool is_surrogate(int32_t unit, int32_t first) {
  return unit >= first && unit < first + 0x400;
}

static char *put_utf8(char *out, int32_t c) {
  static const int heads[] = {0, 0xC0, 0xE0, 0xF0};
  int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  *out++ = (char)(heads[more] | c >> (6 * more));
  while (more-- > 0)
    *out++ = (char)(0x80 | (c >> (6 * more) & 0x3F));
  return out;
}

/* Writing in place is safe, because UTF-8 is shorter than the escape sequence. */
static bool read_unicode(reader *r, char **out) {
  char *start = r->at - 2;
  int32_t c = read_unit(r), low = 0;
  if (c < 0) return fail(r, "no hexadecimal digit");
  if (c == 0) return fail_at(r, start, "a NUL character");
  if (is_surrogate(c, 0xD800) && r->at[0] == '\\' && r->at[1] == 'u') {
    r->at += 2;
    low = read_unit(r);
    if (is_surrogate(low, 0xDC00)) c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
  }
  if (is_surrogate(c, 0xD800) || is_surrogate(c, 0xDC00))
    return fail_at(r, start, "half of a surrogate pair");
  *out = put_utf8(*out, c);
  return true;
}

static bool read_escape(reader *r, char **out) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  const char *found = strchr(letters, *++r->at);
  if (*r->at == 'u') {
    r->at++;
    return read_unicode(r, out);
  }
  if (found == NULL || *r->at == '\0') return fail(r, "no escape sequence");
  *(*out)++ = meant[found - letters];
  r->at++;
  return true;
}

static bool read_character(reader *r, char **out) {
  if (*r->at == '\\') return read_escape(r, out);
  if ((unsigned char)*r->at < ' ') return fail(r, "a control character in a string");
  size_t n = leat__utf8_character((leat_string){r->at, (size_t)(r->end - r->at)});
  if (n == 0) return fail(r, "no UTF-8");
  memmove(*out, r->at, n);
  *out += n;
  r->at += n;
  return true;
}

/* The ASCII characters that a string may hold unescaped. */
/* clang-format off */
#define ROW 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
static const bool plain[256] = {
    [' '] = 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ROW, ROW, /* no quote */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, ROW, ROW,         /* no backslash */
};
/* clang-format on */

static bool read_string(reader *r, leat_string *string) {
  char *start = ++r->at, *out;
  for (out = start; plain[(unsigned char)*out];)
    out++;
  r->at = out;
  while (*r->at != '"')
    if (!read_character(r, &out)) return false;
  r->at++;
  *out = '\0';
  *string = (leat_string){start, (size_t)(out - start)};
  return true;
}

/* ---- numbers --------------------------------------------------------------------- */

static bool skip_digits(reader *r) {
  char *start = r->at;
  while (*r->at >= '0' && *r->at <= '9')
    r->at++;
  return r->at > start;
}

/* Keeps the text of a number that fits neither an int64_t nor a double. The text moves
** one byte towards the front, over a byte that has been read, to make room for a NUL. */
static bool keep_text(const reader *r, char *start, leat_json *value) {
  size_t length = (size_t)(r->at - start);
  char *text = memmove(start - 1, start, length);
  text[length] = '\0';
  value->type = LEAT_REAL;
  value->unfit = true;
  value->is.string = (leat_string){text, length};
  return true;
}

/* Computes with negative numbers, because INT64_MIN has no positive counterpart. */
static bool read_integer(reader *r, char *start, leat_json *value) {
  bool negative = *start == '-';
  int64_t number = 0;
  for (const char *digit = start + negative; digit < r->at; digit++) {
    int d = *digit - '0';
    if (number < (INT64_MIN + d) / 10) return keep_text(r, start, value);
    number = number * 10 - d;
  }
  if (!negative && number == INT64_MIN) return keep_text(r, start, value);
  value->type = LEAT_INTEGER;
  value->is.integer = negative ? number : -number;
  return true;
}

/* In some locales strtod expects another decimal separator and stops at the point. Reads
** a copy of the text that has this separator. Returns false out of memory. */
static bool read_by_locale(const reader *r, const char *start, const char *point,
                           double *real) {
  char sample[32];
  leat_buffer text;
  snprintf(sample, sizeof sample, "%.1f", 0.0);
  leat__buffer_init(&text, (size_t)(r->at - start) + sizeof sample);
  leat__append(&text, start, (size_t)(point - start));
  leat__append(&text, sample + 1, strlen(sample) - 2); /* the separator, from "0.0" */
  leat__append(&text, point + 1, (size_t)(r->at - point) - 1);
  leat__append(&text, "", 1);
  if (!text.failed) *real = strtod(text.data, NULL);
  leat__buffer_free(&text);
  return !text.failed;
}

static bool read_real(reader *r, char *start, leat_json *value) {
  char *stop;
  double real = strtod(start, &stop);
  if (stop < r->at && !read_by_locale(r, start, stop, &real)) return false;
  if (real > DBL_MAX || real < -DBL_MAX) return keep_text(r, start, value);
  value->type = LEAT_REAL;
  value->is.real = real;
  return true;
}

static bool read_number(reader *r, leat_json *value) {
  char *start = r->at;
  bool real = false;
  if (*r->at == '-') r->at++;
  if (*r->at == '0') r->at++;
  else if (!skip_digits(r)) return fail(r, "no value");
  if (*r->at == '.') {
    real = true;
    r->at++;
    if (!skip_digits(r)) return fail(r, "no digit");
  }
  if (*r->at == 'e' || *r->at == 'E') {
    real = true;
    r->at++;
    if (*r->at == '+' || *r->at == '-') r->at++;
    if (!skip_digits(r)) return fail(r, "no digit");
  }
  return real ? read_real(r, start, value) : read_integer(r, start, value);
}

/* ---- names ----------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b) {
  leat_string x = (*(leat_json *const *)a)->name, y = (*(leat_json *const *)b)->name;
  if (x.length != y.length) return x.length < y.length ? -1 : 1;
  return memcmp(x.data, y.data, x.length);
}

/* Sorts the names to find duplicates, because comparing many pairs would take too long.
** Returns false out of memory. */
static bool check_many_names(leat_json *object) {
  size_t count = object->is.items.count;
  leat_json **sorted = malloc(count * sizeof *sorted);
  if (sorted == NULL) return false;
  for (size_t i = 0; i < count; i++)
    sorted[i] = &object->is.items.first[i];
  qsort(sorted, count, sizeof *sorted, compare_names);
  for (size_t i = 1; i < count && !object->repeats; i++)
    object->repeats = compare_names(&sorted[i - 1], &sorted[i]) == 0;
  free(sorted);
  return true;
}

static bool check_names(leat_json *object) {
  const leat_json *members = object->is.items.first;
  size_t count = object->is.items.count;
  if (count > LEAT_FEW_MEMBERS) return check_many_names(object);
  for (size_t i = 1; i < count; i++)
    for (size_t k = 0; k < i && !object->repeats; k++)
      object->repeats = leat__equal(members[i].name, members[k].name);
  return true;
}

/* ---- values ---------------------------------------------------------------------- */

static bool read_value(reader *r, leat_json *value);

static bool read_item(reader *r, leat_type container) {
  leat_json *item = r->open++;
  if (container == LEAT_OBJECT) {
    if (next(r) != '"') return fail(r, "no name");
    if (!read_string(r, &item->name)) return false;
    if (next(r) != ':') return fail(r, "no colon");
    r->at++;
  }
  return read_value(r, item);
}

static void close_container(reader *r, leat_json *value, leat_json *first) {
  size_t count = (size_t)(r->open - first);
  r->open = first;
  r->close -= count;
  memmove(r->close, first, count * sizeof *first);
  value->is.items.first = r->close;
  value->is.items.count = count;
}

static bool read_container(reader *r, leat_json *value, leat_type type, char end) {
  leat_json *first = r->open;
  if (r->depth == LEAT_MAX_JSON_DEPTH) return fail(r, "nested too deep");
  r->depth++;
  value->type = type;
  do {
    r->at++; /* skips the bracket, or a comma */
    if (r->open == first && next(r) == end) break;
    if (!read_item(r, type)) return false;
  } while (next(r) == ',');
  if (*r->at != end) return fail(r, "neither a comma nor the end");
  r->at++;
  r->depth--;
  close_container(r, value, first);
  return type == LEAT_ARRAY || check_names(value);
}

static bool read_word(reader *r, const char *word) {
  size_t length = strlen(word);
  if (strncmp(r->at, word, length) != 0) return fail(r, "no value");
  r->at += length;
  return true;
}

static bool read_boolean(reader *r, leat_json *value) {
  value->type = LEAT_BOOLEAN;
  value->is.boolean = *r->at == 't';
  return read_word(r, value->is.boolean ? "true" : "false");
}

static bool read_value(reader *r, leat_json *value) {
  value->repeats = value->unfit = false;
  switch (next(r)) {
    case '{': return read_container(r, value, LEAT_OBJECT, '}');
    case '[': return read_container(r, value, LEAT_ARRAY, ']');
    case '"': value->type = LEAT_STRING; return read_string(r, &value->is.string);
    case 't':
    case 'f': return read_boolean(r, value);
    case 'n': value->type = LEAT_NULL; return read_word(r, "null");
    default: return read_number(r, value);
  }
}

/* ---- documents ------------------------------------------------------------------- */

/* Returns the closing quote of the string that begins at `start`, or NULL. */
static const char *string_end(const char *start, const char *end) {
  const char *quote = start;
  size_t escapes;
  do {
    quote = memchr(quote + 1, '"', (size_t)(end - quote) - 1);
    for (escapes = 0; quote && quote[-1 - (ptrdiff_t)escapes] == '\\';)
      escapes++;
  } while (escapes % 2);
  return quote;
}

/* Returns the largest number of values that the text can hold: the document, and one
** after each opening bracket and comma outside strings. */
static size_t count_values(leat_string text) {
  const char *at = text.data, *end = at + text.length;
  size_t count = 1;
  for (; at < end; at++) {
    if (*at == '"') {
      at = string_end(at, end);
      if (at == NULL) break;
    } else count += *at == ',' || *at == '[' || *at == '{';
  }
  return count;
}

static bool read_document(reader *r) {
  static const char mark[] = LEAT_BYTE_ORDER_MARK;
  leat_json *document = r->open++;
  if (strncmp(r->at, mark, sizeof mark - 1) == 0) r->at += sizeof mark - 1;
  char c = next(r);
  if (c != '{' && c != '[') return fail(r, "neither an object nor an array");
  if (!read_value(r, document)) return false;
  next(r);
  return r->at == r->end || fail(r, "something behind the end");
}

leat_json *leat__json_parse(leat_string text, char *why, size_t why_size) {
  size_t count = count_values(text), size = 0;
  block *b = NULL;
  why[0] = '\0';
  if (count < SIZE_MAX / 2 / sizeof *b->values) {
    size = sizeof *b + count * sizeof *b->values + text.length + 1;
    b = malloc(size);
  }
  if (b == NULL) return NULL;
  b->size = size;
  char *copy = (char *)(b->values + count);
  memcpy(copy, text.data, text.length);
  copy[text.length] = '\0';
  reader r = {copy, copy + text.length, b->values, b->values + count, 0, NULL};
  if (read_document(&r)) return b->values;
  if (r.wrong)
    snprintf(why, why_size, "%s (byte %zu)", r.wrong, (size_t)(r.at - copy) + 1);
  leat__json_free(b->values);
  return NULL;
}

void leat__json_free(leat_json *document) {
  if (document == NULL) return;
  block *b = (block *)(void *)((char *)document - offsetof(block, values));
  explicit_bzero(b, b->size);
  free(b);
}

/* ---- reading --------------------------------------------------------------------- */

leat_type leat_json_type(const leat_json *value) {
  return value ? value->type : LEAT_ABSENT;
}

bool leat_json_boolean(const leat_json *value) {
  return leat_json_type(value) == LEAT_BOOLEAN && value->is.boolean;
}

int64_t leat_json_integer(const leat_json *value) {
  return leat_json_type(value) == LEAT_INTEGER ? value->is.integer : 0;
}

double leat_json_real(const leat_json *value) {
  if (leat_json_type(value) != LEAT_REAL) return 0;
  if (!value->unfit) return value->is.real;
  const char *text = value->is.string.data;
  if (!strpbrk(text, ".eE")) return strtod(text, NULL); /* an integer beyond int64_t */
  return *text == '-' ? -HUGE_VAL : HUGE_VAL;
}

leat_string leat_json_digits(const leat_json *value) {
  if (leat_json_type(value) == LEAT_REAL && value->unfit) return value->is.string;
  return (leat_string){NULL, 0};
}

leat_string leat_json_string(const leat_json *value) {
  if (leat_json_type(value) == LEAT_STRING) return value->is.string;
  return (leat_string){NULL, 0};
}

size_t leat_json_size(const leat_json *value) {
  return leat_json_type(value) >= LEAT_ARRAY ? value->is.items.count : 0;
}

const leat_json *leat_json_at(const leat_json *array, size_t index) {
  if (leat_json_type(array) != LEAT_ARRAY || index >= array->is.items.count) return NULL;
  return &array->is.items.first[index];
}

bool leat_json_next(const leat_json *object, leat_member *member) {
  if (leat_json_type(object) != LEAT_OBJECT) return false;
  leat_json *last = member->position, *first = object->is.items.first;
  leat_json *here = last ? last + 1 : first;
  if (here == first + object->is.items.count) return false;
  *member = (leat_member){here->name, here, here};
  return true;
}

const leat_json *leat__json_member(const leat_json *object, leat_string name) {
  if (leat_json_type(object) != LEAT_OBJECT) return NULL;
  for (size_t i = object->is.items.count; i > 0; i--) {
    const leat_json *member = &object->is.items.first[i - 1];
    if (leat__equal(member->name, name)) return member;
  }
  return NULL;
}

bool leat__json_repeats(const leat_json *object, const char *const *names) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  size_t count = 0;
  if (leat_json_type(object) != LEAT_OBJECT || !object->repeats) return false;
  for (; *names && count < 2; names++)
    for (count = 0, member.position = NULL; leat_json_next(object, &member);)
      count += leat__equal(member.name, leat_s(*names));
  return count > 1;
}

const leat_json *leat_json_get(const leat_json *object, const char *name) {
  return name ? leat__get(object, name) : NULL;
}

/* ---- writing --------------------------------------------------------------------- */

/* Returns the length of the characters at the beginning that need no escaping. */
static size_t plain_length(leat_string text) {
  size_t done = 0;
  while (done < text.length) {
    leat_string rest = {text.data + done, text.length - done};
    unsigned char c = (unsigned char)rest.data[0];
    size_t n = c < 0x80 ? plain[c] : leat__utf8_character(rest);
    if (n == 0) break;
    done += n;
  }
  return done;
}

/* Returns the escape sequence for a byte, or U+FFFD if the byte is not UTF-8. */
static leat_string escape(char c, char code[8]) {
  static const char meant[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  const char *found = c ? strchr(meant, c) : NULL;
  if (c & 0x80) return leat_s("\xEF\xBF\xBD");
  if (found) snprintf(code, 8, "\\%c", letters[found - meant]);
  else snprintf(code, 8, "\\u%04X", (unsigned)c);
  return leat_s(code);
}

/* Takes the first piece from a text that is not empty, and returns it as JSON: a run of
** characters, or a single one in `code`. */
static leat_string take_piece(leat_string *text, char code[8]) {
  leat_string piece = {text->data, plain_length(*text)};
  size_t taken = piece.length;
  if (taken == 0) {
    piece = escape(text->data[0], code);
    taken = 1;
  }
  text->data += taken;
  text->length -= taken;
  return piece;
}

void leat__append_json(leat_buffer *buffer, leat_string text) {
  char code[8];
  leat__append_s(buffer, "\"");
  while (text.length > 0) {
    leat_string piece = take_piece(&text, code);
    leat__append(buffer, piece.data, piece.length);
  }
  leat__append_s(buffer, "\"");
}

typedef struct writer {
  char *buffer;
  size_t size;   /* the size of the buffer, including a byte for the NUL */
  size_t length; /* the length of the text so far, of which the buffer holds what fits */
} writer;

static void put(writer *w, leat_string text) {
  size_t room = w->length < w->size ? w->size - w->length : 0;
  size_t fits = text.length < room ? text.length : room;
  if (fits > 0) memcpy(w->buffer + w->length, text.data, fits);
  w->length += text.length;
}

static void put_string(writer *w, leat_string text) {
  char code[8];
  put(w, leat_s("\""));
  while (text.length > 0)
    put(w, take_piece(&text, code));
  put(w, leat_s("\""));
}

static void put_integer(writer *w, int64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%lld", (long long)value);
  put(w, leat_s(text));
}

/* Writes the fewest digits that are read back as the same number, with a point in place of
** the locale's separator. Without point and exponent it would be read as an integer. */
static void put_real(writer *w, double value) {
  char text[48] = "";
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  size_t whole = strspn(text, "-0123456789");
  size_t separator = strcspn(text + whole, "0123456789e");
  put(w, (leat_string){text, whole});
  if (separator > 0) put(w, leat_s("."));
  else if (text[whole] == '\0') put(w, leat_s(".0"));
  put(w, leat_s(text + whole + separator));
}

static void put_value(writer *w, const leat_json *value);

static void put_items(writer *w, const leat_json *container) {
  bool is_object = container->type == LEAT_OBJECT;
  put(w, leat_s(is_object ? "{" : "["));
  for (size_t i = 0; i < container->is.items.count; i++) {
    const leat_json *item = &container->is.items.first[i];
    if (i > 0) put(w, leat_s(","));
    if (is_object) {
      put_string(w, item->name);
      put(w, leat_s(":"));
    }
    put_value(w, item);
  }
  put(w, leat_s(is_object ? "}" : "]"));
}

static void put_value(writer *w, const leat_json *value) {
  switch (value->type) {
    case LEAT_ABSENT: break;
    case LEAT_NULL: put(w, leat_s("null")); break;
    case LEAT_BOOLEAN: put(w, leat_s(value->is.boolean ? "true" : "false")); break;
    case LEAT_INTEGER: put_integer(w, value->is.integer); break;
    case LEAT_REAL:
      if (value->unfit) put(w, value->is.string);
      else put_real(w, value->is.real);
      break;
    case LEAT_STRING: put_string(w, value->is.string); break;
    case LEAT_ARRAY:
    case LEAT_OBJECT: put_items(w, value); break;
  }
}

/* Ends the text with a NUL, in place of its last byte if it fills the buffer. */
static size_t finish(writer *w) {
  if (w->size > 0) w->buffer[w->length < w->size ? w->length : w->size - 1] = '\0';
  return w->length;
}

size_t leat_json_write(const leat_json *value, char *buffer, size_t size) {
  writer w = {buffer, size, 0};
  if (value) put_value(&w, value);
  return finish(&w);
}

size_t leat__json_quote(leat_string text, char *buffer, size_t size) {
  writer w = {buffer, size, 0};
  put_string(&w, text);
  return finish(&w);
}
