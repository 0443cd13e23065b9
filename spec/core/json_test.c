/*
** json_test.c - JSON: how responses are decoded, where they are rejected, how values are
** written, and how requests encode any text. Results are compared with jansson's.
*/
#include "calls.h"
#include "json_oracle.h"
#include "test.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

/* ---- a failing allocator, and a libc with another decimal point -------------------- */

void *__real_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
double __real_strtod(const char *text, char **stop);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *old, size_t size);
double __wrap_strtod(const char *text, char **stop);
int __wrap_snprintf(char *text, size_t size, const char *format, ...);
int __wrap___snprintf_chk(char *text, size_t size, int flag, size_t room,
                          const char *format, ...);

static long fails_at, allocations; /* fails_at 0: never */

void *__wrap_malloc(size_t size) {
  return ++allocations == fails_at ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *old, size_t size) {
  return ++allocations == fails_at ? NULL : __real_realloc(old, size);
}

static const char *point; /* the locale's decimal point; NULL: the real one */

/* Handles short texts only. */
double __wrap_strtod(const char *text, char **stop) {
  char copy[64] = "", *end;
  if (point == NULL) return __real_strtod(text, stop);
  size_t whole = strspn(text, "-0123456789"), length = strlen(point);
  bool has_point = strncmp(text + whole, point, length) == 0;
  const char *rest = text + whole + (has_point ? length : 0);
  strncat(copy, text, whole);
  if (has_point) strcat(copy, ".");
  if (rest[0] != '.') strncat(copy, rest, 32);
  double value = __real_strtod(copy, &end);
  size_t used = (size_t)(end - copy);
  if (has_point && used > whole) used += length - 1;
  if (stop) *stop = (char *)text + used;
  return value;
}

static int print(char *text, size_t size, const char *format, va_list arguments) {
  int length = vsnprintf(text, size, format, arguments);
  bool is_real = strcmp(format, "%.1f") == 0 || strcmp(format, "%.*g") == 0;
  char *dot = is_real ? strchr(text, '.') : NULL, fraction[32] = "";
  if (point == NULL || dot == NULL) return length;
  strncat(fraction, dot + 1, sizeof fraction - 1);
  *dot = '\0';
  strcat(strcat(text, point), fraction);
  return (int)strlen(text);
}

int __wrap_snprintf(char *text, size_t size, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = print(text, size, format, arguments);
  va_end(arguments);
  return length;
}

/* The name under which it is called with _FORTIFY_SOURCE. */
int __wrap___snprintf_chk(char *text, size_t size, int flag, size_t room,
                          const char *format, ...) {
  va_list arguments;
  (void)flag;
  va_start(arguments, format);
  int length = print(text, size < room ? size : room, format, arguments);
  va_end(arguments);
  return length;
}

/* ---- decoding -------------------------------------------------------------------- */

static leat_client *client;

/* Returns a call that received this response. Its data is the whole document, unless that
** has a member "data". */
static leat_call *call_after(leat_string text) {
  leat_response response = {200, NULL, 0, text, LEAT_LENGTH};
  leat_call *call = leat_call_new_request(client, "GET", "/x");
  leat_call_next(call, now);
  leat_call_respond(call, now, &response);
  leat_call_next(call, now);
  return call;
}

typedef struct text_case {
  const char *text;
  size_t length;
  const char *wrong; /* the expected message; NULL: valid */
} text_case;

#define GOOD(text)                                                                       \
  { text, sizeof text - 1, NULL }
#define BAD(text, wrong)                                                                 \
  { text, sizeof text - 1, wrong }

static const text_case cases[] = {
    GOOD("{}"),
    GOOD("[]"),
    GOOD(" \t\r\n[ \t\r\n] \t\r\n"),
    GOOD("{ \"a\" : [ ] , \"b\" : { } }"),
    GOOD("[true,false,null]"),
    GOOD("[[],[[]],[[],[]],{\"a\":[{}]},[[[1],2],3]]"),
    GOOD("{\"\":0,\"a\":{\"a\":{\"a\":1},\"b\":2},\"b\":3}"),
    GOOD("{\"x\":{\"y\":[1,{\"z\":\"w\"},[2,3]]},\"v\":[{\"p\":1,\"q\":2},{\"p\":3}]}"),
    /* earlier values stay unchanged */
    GOOD("{\"v\":\"[{,\\\",\",\"w\":\"\\\\\",\"x\":\",,,,[[[[\"}"),
    /* the whole document */
    BAD(" ", "it ends too early (byte 2)"),
    BAD("1", "neither an object nor an array (byte 1)"),
    BAD(" \"a\"", "neither an object nor an array (byte 2)"),
    BAD("null", "neither an object nor an array (byte 1)"),
    GOOD("\xEF\xBB\xBF[]"),
    GOOD("\xEF\xBB\xBF {\"a\":1}"),
    BAD("\xEF\xBB\xBF", "it ends too early (byte 4)"),
    BAD("\xEF\xBB\xBF\xEF\xBB\xBF[]", "neither an object nor an array (byte 4)"),
    BAD(" \xEF\xBB\xBF[]", "neither an object nor an array (byte 2)"),
    BAD("[\xEF\xBB\xBF]", "no value (byte 2)"),
    BAD("[]]", "something behind the end (byte 3)"),
    BAD("[] []", "something behind the end (byte 4)"),
    BAD("[]\0", "something behind the end (byte 3)"),
    BAD("\0[]", "neither an object nor an array (byte 1)"),
    /* containers */
    BAD("[", "it ends too early (byte 2)"),
    BAD("[1", "it ends too early (byte 3)"),
    BAD("[1,", "it ends too early (byte 4)"),
    BAD("[1,]", "no value (byte 4)"),
    BAD("[,1]", "no value (byte 2)"),
    BAD("[1,,2]", "no value (byte 4)"),
    BAD("[1 2]", "neither a comma nor the end (byte 4)"),
    BAD("[1}", "neither a comma nor the end (byte 3)"),
    BAD("[\0]", "no value (byte 2)"),
    BAD("{", "it ends too early (byte 2)"),
    BAD("{]", "no name (byte 2)"),
    BAD("{1:2}", "no name (byte 2)"),
    BAD("{a:2}", "no name (byte 2)"),
    BAD("{\"a\"}", "no colon (byte 5)"),
    BAD("{\"a\" 1}", "no colon (byte 6)"),
    BAD("{\"a\":}", "no value (byte 6)"),
    BAD("{\"a\":1,}", "no name (byte 8)"),
    BAD("{\"a\":1 \"b\":2}", "neither a comma nor the end (byte 8)"),
    BAD("{\"a\":1]", "neither a comma nor the end (byte 7)"),
    BAD("{\"a\":1", "it ends too early (byte 7)"),
    /* words */
    BAD("[tru]", "no value (byte 2)"),
    BAD("[True]", "no value (byte 2)"),
    BAD("[nul", "no value (byte 2)"),
    BAD("[nullx]", "neither a comma nor the end (byte 6)"),
    BAD("[NaN]", "no value (byte 2)"),
    BAD("[-Infinity]", "no value (byte 3)"),
    BAD("['a']", "no value (byte 2)"),
    BAD("[1]//", "something behind the end (byte 4)"),
    /* integers */
    GOOD("[0,-0,1,-1,10,1234567890]"),
    GOOD("[9223372036854775807,-9223372036854775808,9007199254740993]"),
    GOOD("[9223372036854775808]"),
    GOOD("[-9223372036854775809]"),
    GOOD("[9223372036854775810]"),
    GOOD("[-9223372036854775810]"),
    GOOD("[100000000000000000000]"),
    BAD("[01]", "neither a comma nor the end (byte 3)"),
    BAD("[-01]", "neither a comma nor the end (byte 4)"),
    BAD("[00]", "neither a comma nor the end (byte 3)"),
    BAD("[0x10]", "neither a comma nor the end (byte 3)"),
    BAD("[+1]", "no value (byte 2)"),
    BAD("[-]", "no value (byte 3)"),
    BAD("[--1]", "no value (byte 3)"),
    BAD("[- 1]", "no value (byte 3)"),
    /* reals */
    GOOD("[0.0,-0.0,1.5,-1.5,1e0,1E+2,1e-2,12.5e3,0e0,0.1e-7]"),
    GOOD("[0.1,0.2,0.30000000000000004,2.2250738585072011e-308,5e-324,1e-400]"),
    GOOD("[1.7976931348623157e308,-1.7976931348623157e308,9223372036854775808.0]"),
    GOOD("[0.500000000000000166533453693773481063544750213623046875]"),
    GOOD("[1e400]"),
    GOOD("[1,-1e309]"),
    BAD("[1.]", "no digit (byte 4)"),
    BAD("[.5]", "no value (byte 2)"),
    BAD("[1.e5]", "no digit (byte 4)"),
    BAD("[1e]", "no digit (byte 4)"),
    BAD("[1e+]", "no digit (byte 5)"),
    BAD("[1e5.5]", "neither a comma nor the end (byte 5)"),
    BAD("[1.5.5]", "neither a comma nor the end (byte 5)"),
    BAD("[1.", "it ends too early (byte 4)"),
    BAD("[0x1p3]", "neither a comma nor the end (byte 3)"),
    BAD("[1.5p3]", "neither a comma nor the end (byte 5)"),
    /* strings */
    GOOD("[\"\",\"a\",\" \",\"\x7F\",\"\xC2\x80\"]"),
    GOOD("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"a\\\\\",\"\\\\\\\"b\"]"),
    GOOD("[\"\\u0001\\u001f\\u0020\\u007f\\u0080\\u07ff\\u0800\\uFFFF\\uabCD\"]"),
    GOOD("[\"\\ud7ff\\ue000\\ud800\\udc00\\udbff\\udfff\\uD834\\uDD1E\"]"),
    GOOD("[\"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\"]"),
    GOOD("[\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\",\"a\xC3\xA9z\",\"\\n\xE2\x82\xAC\\n\"]"),
    GOOD("{\"\\u0061\\n\xC3\xA9\":1,\"a\":2}"),
    BAD("[\"", "it ends too early (byte 3)"),
    BAD("[\"a", "it ends too early (byte 4)"),
    BAD("[\"a\\", "it ends too early (byte 5)"),
    BAD("[\"a\\\"", "it ends too early (byte 6)"),
    BAD("[\"\xC3\xA9\"", "it ends too early (byte 6)"),
    BAD("[\"a\nb\"]", "a control character in a string (byte 4)"),
    BAD("[\"\x1F\"]", "a control character in a string (byte 3)"),
    BAD("[\"a\0b\"]", "a control character in a string (byte 4)"),
    BAD("[\"\\n\x01\"]", "a control character in a string (byte 5)"),
    BAD("[\"\\x\"]", "no escape sequence (byte 4)"),
    BAD("[\"\\N\"]", "no escape sequence (byte 4)"),
    BAD("[\"\\\0\"]", "no escape sequence (byte 4)"),
    BAD("[\"\\'\"]", "no escape sequence (byte 4)"),
    BAD("[\"\\u12\"]", "no hexadecimal digit (byte 7)"),
    BAD("[\"\\u12", "it ends too early (byte 7)"),
    BAD("[\"\\u00g0\"]", "no hexadecimal digit (byte 7)"),
    BAD("[\"\\u@000\"]", "no hexadecimal digit (byte 5)"),
    BAD("[\"\\u-001\"]", "no hexadecimal digit (byte 5)"),
    BAD("[\"\\u0000\"]", "a NUL character (byte 3)"),
    BAD("[\"\\ud800\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\udbffx\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\udc00\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\udfff\\ud800\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\ud800\\n\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\ud800\\ud800\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\ud800\\u0061\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\ud800\\ue000\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\\ud800\\uzzzz\"]", "half of a surrogate pair (byte 3)"),
    BAD("[\"\x80\"]", "no UTF-8 (byte 3)"),
    BAD("[\"\xC0\x80\"]", "no UTF-8 (byte 3)"),
    BAD("[\"\xC3\"]", "no UTF-8 (byte 3)"),
    BAD("[\"\xC3", "no UTF-8 (byte 3)"),
    BAD("[\"a\xE2\x82\"]", "no UTF-8 (byte 4)"),
    BAD("[\"\xE0\x9F\xBF\"]", "no UTF-8 (byte 3)"),
    BAD("[\"\xED\xA0\x80\"]", "no UTF-8 (byte 3)"),
    BAD("[\"\xF0\x8F\xBF\xBF\"]", "no UTF-8 (byte 3)"),
    BAD("[\"\xF4\x90\x80\x80\"]", "no UTF-8 (byte 3)"),
    BAD("[\"\xFF\"]", "no UTF-8 (byte 3)"),
    BAD("[\xC3\xA9]", "no value (byte 2)"),
    BAD("{\"\xFF\":1}", "no UTF-8 (byte 3)"),
    BAD("{\"\\u0000\":1}", "a NUL character (byte 3)"),
    /* names: a duplicate is rejected only where it is read, see call_test.c */
    GOOD("{\"a\":1,\"a\":1}"),
    GOOD("{\"\":1,\"\":1}"),
    GOOD("{\"a\":1,\"b\":2,\"\\u0061\":3}"),
    GOOD("[{\"b\":{\"a\":1,\"a\":2}}]"),
    GOOD("{\"a\":1,\"A\":2,\"aa\":3,\"ab\":4,\"ba\":5,\"b\":6}"),
    GOOD("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0}"),
    GOOD("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"1\":0}"),
    GOOD("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"1\":0}"),
    GOOD("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"8\":0}"),
};

enum { CASES = sizeof cases / sizeof cases[0] };

/* Returns what is written of the value, to be freed. */
static char *written(const leat_json *value) {
  size_t length = leat_json_write(value, NULL, 0);
  char *text = malloc(length + 1);
  CHECK(leat_json_write(value, text, length + 1) == length && strlen(text) == length);
  return text;
}

static void check_text(const leat_json *value, const char *wanted) {
  char *text = written(value);
  CHECK_STR(text, wanted);
  free(text);
}

/* Returns whether what is written of the value is decoded to an equal one. */
static bool survives(const leat_json *value) {
  char *text = written(value);
  leat_call *call = call_after(leat_s(text));
  bool good = oracle_equal(value, leat_call_data(call));
  check_text(leat_call_data(call), text);
  if (!good) printf("  written: %s\n", text);
  leat_call_free(call);
  free(text);
  return good;
}

static void check_case(const text_case *c) {
  leat_string text = {c->text, c->length};
  leat_call *call = call_after(text);
  const leat_error *error = leat_call_error(call);
  char wanted[128] = "";
  if (c->wrong)
    snprintf(wanted, sizeof wanted, "the response is not the expected JSON (%s)",
             c->wrong);
  if (!CHECK(error->kind == (c->wrong ? LEAT_PROTOCOL : LEAT_OK) &&
             strncmp(error->message, wanted, strlen(wanted)) == 0))
    printf("  %s: %s\n", c->text, error->message);
  if (!CHECK(oracle_agrees(leat_call_data(call), text)))
    printf("  %s: jansson says else\n", c->text);
  CHECK(c->wrong || survives(leat_call_data(call)));
  leat_call_free(call);
}

static void test_cases(void) {
  TEST("texts, one by one");
  for (size_t i = 0; i < CASES; i++)
    check_case(&cases[i]);
}

/* A document is invalid if it is cut at any position, and if one byte is added. Each copy
** is allocated without extra bytes, so that the sanitizer sees reads behind its end. */
static void test_cut(void) {
  TEST("documents cut, and with a byte more");
  for (size_t i = 0; i < CASES; i++) {
    if (cases[i].wrong) continue;
    size_t length = cases[i].length;
    while (strchr(" \t\r\n", cases[i].text[length - 1]))
      length--;
    for (size_t cut = 1; cut <= length + 1; cut++) {
      char *copy = malloc(cut);
      memcpy(copy, cases[i].text, cut < length ? cut : length);
      if (cut > length) copy[length] = ',';
      leat_call *call = call_after((leat_string){copy, cut});
      CHECK((leat_call_data(call) != NULL) == (cut == length));
      leat_call_free(call);
      free(copy);
    }
  }
}

static unsigned roll(unsigned *seed, size_t sides) {
  *seed = *seed * 1103515245u + 12345u;
  return (unsigned)((*seed >> 16) % sides);
}

/* Returns one of the cases with up to three bytes changed. */
static size_t changed_case(char *text, unsigned *seed) {
  static const char bytes[] = "\"\\{}[],:0123456789.eE+-aut \n\x01\x80\xC3\xA9";
  const text_case *c = &cases[roll(seed, CASES)];
  memcpy(text, c->text, c->length);
  for (unsigned left = 1 + roll(seed, 3); left > 0; left--)
    text[roll(seed, c->length)] = bytes[roll(seed, sizeof bytes - 1)];
  return c->length;
}

static void test_changed(void) {
  enum { ROUNDS = 100000 };
  unsigned seed = 1;
  int good = 0, decoded = 0, agreed = 0;
  TEST("texts changed at random, beside jansson");
  for (int i = 0; i < ROUNDS; i++) {
    char bytes[128];
    leat_string text = {bytes, changed_case(bytes, &seed)};
    leat_call *call = call_after(text);
    if (leat_call_data(call)) decoded++;
    if (leat_call_data(call) && survives(leat_call_data(call))) good++;
    if (oracle_agrees(leat_call_data(call), text)) agreed++;
    else printf("  jansson says else of %.*s\n", (int)text.length, bytes);
    leat_call_free(call);
  }
  CHECK(agreed == ROUNDS);
  CHECK(good == decoded);
  CHECK(good > ROUNDS / 50 && good < ROUNDS / 2); /* both kinds occurred */
}

/* ---- many and deep --------------------------------------------------------------- */

static size_t put(char *text, size_t length, const char *piece) {
  memcpy(text + length, piece, strlen(piece));
  return length + strlen(piece);
}

static void test_deep(void) {
  static const char *const opens[] = {"[", "{\"a\":"}, *const closes[] = {"]", "}"};
  TEST("levels");
  for (int depth = 30; depth <= 35; depth++)
    for (int kind = 0; kind < 3; kind++) { /* 2: alternately both */
      char text[512];
      size_t length = 0;
      for (int i = 0; i < depth; i++)
        length = put(text, length, opens[kind < 2 ? kind : i % 2]);
      length = put(text, length, "1");
      for (int i = depth; i-- > 0;)
        length = put(text, length, closes[kind < 2 ? kind : i % 2]);
      text[length] = '\0';
      leat_call *call = call_after((leat_string){text, length});
      CHECK((leat_call_data(call) != NULL) == (depth <= 32));
      CHECK(depth <= 32 || strstr(leat_call_error(call)->message, "nested too deep"));
      CHECK(oracle_agrees(leat_call_data(call), (leat_string){text, length}));
      check_text(leat_call_data(call), depth <= 32 ? text : "");
      leat_call_free(call);
    }
  TEST("levels that were left");
  check_case(&(text_case)GOOD("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                              "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],{},{}]"));
}

static void test_long_array(void) {
  enum { COUNT = 300000 };
  char *text = malloc(COUNT * 8 + 3);
  size_t length = put(text, 0, "[");
  for (int i = 0; i < COUNT; i++)
    length += (size_t)snprintf(text + length, 9, "%s%d", i ? "," : "", i);
  text[length++] = ']';
  text[length] = '\0';
  leat_call *call = call_after((leat_string){text, length});
  const leat_json *array = leat_call_data(call);
  clock_t begin = clock();
  TEST("a long array");
  CHECK(leat_json_size(array) == COUNT && leat_json_at(array, COUNT) == NULL);
  int same = 0;
  for (int i = 0; i < COUNT; i++)
    same += leat_json_integer(leat_json_at(array, (size_t)i)) == i;
  CHECK(same == COUNT);
  check_text(array, text);
  CHECK(clock() - begin < 10 * CLOCKS_PER_SEC); /* linear access would take minutes */
  leat_call_free(call);
  free(text);
}

/* An object of `count` members, in which member `twin` has the name of member `of`. */
static leat_call *many_members(int count, int twin, int of) {
  char *text = malloc((size_t)count * 16 + 2);
  size_t length = 0;
  for (int i = 0; i < count; i++)
    length += (size_t)snprintf(text + length, 17, "%s\"%d\":1", i ? "," : "{",
                               (i == twin ? of : i) * 7919 % count);
  text[length++] = '}';
  leat_call *call = call_after((leat_string){text, length});
  free(text);
  return call;
}

static void test_many_members(void) {
  enum { COUNT = 100000 };
  clock_t begin = clock();
  leat_member member = {{NULL, 0}, NULL, NULL};
  leat_call *call = many_members(COUNT, -1, 0);
  const leat_json *object = leat_call_data(call);
  int in_order = 0;
  TEST("an object of many members");
  CHECK(leat_json_size(object) == COUNT);
  while (leat_json_next(object, &member))
    in_order += atoi(member.name.data) == in_order * 7919 % COUNT;
  CHECK(in_order == COUNT);
  CHECK(leat_json_get(object, "99999") && leat_json_get(object, "100000") == NULL);
  leat_call_free(call);
  CHECK(clock() - begin < 20 * CLOCKS_PER_SEC); /* quadratic time would take minutes */
}

/* The name "data" is read, so it must not occur twice, whatever else the object
** contains. */
static bool takes_twins(const char *first, const char *second, int between) {
  char text[512];
  int length = snprintf(text, sizeof text, "{\"%s\":1", first);
  for (int i = 0; i < between; i++)
    length += snprintf(text + length, sizeof text - (size_t)length, ",\"%d\":1", i);
  snprintf(text + length, sizeof text - (size_t)length, ",\"%s\":2}", second);
  leat_call *call = call_after(leat_s(text));
  bool good = leat_call_error(call)->kind == LEAT_OK;
  if (!good) CHECK(strstr(leat_call_error(call)->message, "duplicate name") != NULL);
  leat_call_free(call);
  return good;
}

static void test_twins(void) {
  TEST("a name twice");
  for (int between = 0; between < 20; between++) {
    CHECK(!takes_twins("data", "data", between));
    CHECK(!takes_twins("\\u0064ata", "data", between));
    CHECK(!takes_twins("code", "code", between));
    CHECK(takes_twins("meta", "meta", between));
    CHECK(takes_twins("data", "Data", between));
  }
  leat_call *call = call_after(leat_s("{\"a\":1,\"b\":2,\"a\":3}"));
  CHECK(leat_json_integer(leat_json_get(leat_call_data(call), "a")) == 3); /* last one */
  CHECK(leat_json_size(leat_call_data(call)) == 3);
  leat_call_free(call);
}

/* ---- reading --------------------------------------------------------------------- */

static void test_accessors(void) {
  leat_call *call = call_after(leat_s(
      "{\"\":null,\"b\":true,\"i\":7,\"r\":0.5,\"s\":\"x\",\"a\":[1],\"o\":{\"k\":1},"
      "\"n\":null}"));
  const leat_json *object = leat_call_data(call);
  leat_member member = {{NULL, 0}, NULL, NULL};
  TEST("values asked for what they are, and for what they are not");
  for (; leat_json_next(object, &member);
       CHECK(leat_json_get(object, member.name.data) == member.value)) {
    const leat_json *value = member.value;
    char is = member.name.data[0];
    leat_member none = {{NULL, 0}, NULL, NULL};
    CHECK(leat_json_boolean(value) == (is == 'b'));
    CHECK(leat_json_integer(value) == (is == 'i' ? 7 : 0));
    CHECK(leat_json_real(value) == (is == 'r' ? 0.5 : 0));
    CHECK((leat_json_string(value).data != NULL) == (is == 's'));
    CHECK(leat_json_size(value) == (is == 'a' || is == 'o' ? 1 : 0));
    CHECK((leat_json_at(value, 0) != NULL) == (is == 'a'));
    CHECK((leat_json_get(value, "k") != NULL) == (is == 'o'));
    CHECK(leat_json_next(value, &none) == (is == 'o'));
  }
  CHECK(!leat_json_next(object, &member)); /* stays at the end */
  CHECK(leat_json_get(object, NULL) == NULL && leat_json_get(object, ""));
  leat_call_free(call);
}

static void check_digits(const char *number, double real) {
  char text[128];
  snprintf(text, sizeof text, "[%s, %s ,{\"n\":%s}]", number, number, number);
  leat_call *call = call_after(leat_s(text));
  const leat_json *array = leat_call_data(call);
  const leat_json *values[] = {leat_json_at(array, 0), leat_json_at(array, 1),
                               leat_json_get(leat_json_at(array, 2), "n")};
  for (size_t i = 0; i < 3; i++) {
    CHECK(leat_json_type(values[i]) == LEAT_REAL);
    CHECK(leat_json_real(values[i]) == real);
    CHECK_STR(leat_json_digits(values[i]).data, number);
    CHECK(leat_json_digits(values[i]).length == strlen(number));
    CHECK(leat_json_string(values[i]).data == NULL && leat_json_integer(values[i]) == 0);
  }
  leat_call_free(call);
}

static void test_unfit_numbers(void) {
  TEST("numbers that fit no type");
  check_digits("9223372036854775808", 9223372036854775808.0);
  check_digits("-9223372036854775809", -9223372036854775808.0);
  check_digits("100000000000000000000", 1e20);
  check_digits("1e400", HUGE_VAL);
  check_digits("-1e309", -HUGE_VAL);
  check_digits("1.5E+400", HUGE_VAL);
  leat_call *call = call_after(leat_s("[1,0.5,1e308,\"1\"]"));
  for (size_t i = 0; i < 4; i++)
    CHECK(leat_json_digits(leat_json_at(leat_call_data(call), i)).data == NULL);
  CHECK(leat_json_digits(NULL).data == NULL);
  leat_call_free(call);
}

static void test_null(void) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  TEST("no value");
  CHECK(leat_json_type(NULL) == LEAT_ABSENT && !leat_json_boolean(NULL));
  CHECK(leat_json_integer(NULL) == 0 && leat_json_real(NULL) == 0);
  CHECK(leat_json_string(NULL).data == NULL && leat_json_size(NULL) == 0);
  CHECK(leat_json_at(NULL, 0) == NULL && leat_json_get(NULL, "a") == NULL);
  CHECK(!leat_json_next(NULL, &member));
  check_text(NULL, "");
}

/* ---- locales --------------------------------------------------------------------- */

static void check_reals(void) {
  leat_call *call = call_after(leat_s("[1.5,-12.25e2,1e2,0.0, 1.5 ,7]"));
  const leat_json *array = leat_call_data(call);
  CHECK(leat_json_real(leat_json_at(array, 0)) == 1.5);
  CHECK(leat_json_real(leat_json_at(array, 1)) == -1225);
  CHECK(leat_json_real(leat_json_at(array, 2)) == 100);
  CHECK(leat_json_real(leat_json_at(array, 4)) == 1.5);
  CHECK(leat_json_size(array) == 6);
  check_text(array, "[1.5,-1225.0,100.0,0.0,1.5,7]");
  leat_call_free(call);
  call = call_after(leat_s("[0.1,1.25e-7,5e300,1e-5,0.30000000000000004]"));
  check_text(leat_call_data(call), "[0.1,1.25e-07,5e+300,1e-05,0.30000000000000004]");
  leat_call_free(call);
  call = call_after(leat_s("[1.5e400]"));
  CHECK_STR(leat_json_digits(leat_json_at(leat_call_data(call), 0)).data, "1.5e400");
  leat_call_free(call);
}

static void test_locales(void) {
  static const char *const points[] = {",", "\xD9\xAB", "::::"};
  static const char *const names[] = {
      "", "de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "nl_NL.UTF-8", "fa_IR.UTF-8", "ps_AF"};
  TEST("a libc that writes numbers with another sign than the point");
  for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
    point = points[i];
    check_reals();
  }
  point = NULL;
  TEST("whatever locales there are");
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (setlocale(LC_NUMERIC, names[i])) check_reals();
  setlocale(LC_NUMERIC, "C");
}

/* ---- out of memory --------------------------------------------------------------- */

static leat_kind kind_without(const char *text, long allocation) {
  leat_response response = {200, NULL, 0, leat_s(text), LEAT_LENGTH};
  leat_call *call = leat_call_new_request(client, "GET", "/x");
  leat_call_next(call, now);
  allocations = 0;
  fails_at = allocation;
  leat_call_respond(call, now, &response);
  fails_at = 0;
  leat_call_next(call, now);
  leat_kind kind = leat_call_error(call)->kind;
  leat_call_free(call);
  return kind;
}

/* Each text needs a fixed number of allocations. If any of them fails, the call reports
** it. */
static void test_memory(void) {
  static const struct {
    const char *text;
    long allocations;
    leat_kind kind;
  } rows[] = {
      {"{\"a\":[1,2.5,\"x\",{}],\"b\":{\"c\":null}}", 2, LEAT_OK},
      {"{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0}", 2,
       LEAT_OK},
      {"[1.5,{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0}]",
       3, LEAT_OK},
      {"[nonsense", 1, LEAT_PROTOCOL},
  };
  TEST("out of memory");
  point = ","; /* makes a real need an allocation */
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    CHECK(kind_without(rows[i].text, 0) == rows[i].kind);
    CHECK(allocations == rows[i].allocations);
    for (long k = 1; k <= rows[i].allocations; k++)
      CHECK(kind_without(rows[i].text, k) == LEAT_NO_MEMORY);
  }
  point = NULL;
}

/* ---- writing values -------------------------------------------------------------- */

static void test_values(void) {
  static const char *const rows[][2] = {
      {" [ ] ", "[]"},
      {"{ }", "{}"},
      {"[ [ ] , { } , null , true , false , \"\" ]", "[[],{},null,true,false,\"\"]"},
      {"{\"b\" : 1, \"a\" : {\"c\" : []}, \"b\" : 2}",
       "{\"b\":1,\"a\":{\"c\":[]},\"b\":2}"},
      {"[9007199254740993,-9223372036854775808,-0]",
       "[9007199254740993,-9223372036854775808,0]"},
      {"[12345678901234567890,-1e400,1.50E+999]",
       "[12345678901234567890,-1e400,1.50E+999]"},
      {"[1.0,-0.0,1e2,1e15,123456789012345678.0]",
       "[1.0,-0.0,100.0,1e+15,1.2345678901234568e+17]"},
      {"[0.1,0.10000000000000001,0.5,3.14159265358979,1e23]",
       "[0.1,0.1,0.5,3.14159265358979,1e+23]"},
      {"[9007199254740993.0,1e-400]", "[9007199254740992.0,0.0]"},
      {"[\"\\u0001\\u001F\\n\\\"\\\\\\/\x7F\"]", "[\"\\u0001\\u001F\\n\\\"\\\\/\x7F\"]"},
      {"[\"\\u00e9\\ud834\\udd1e\"]", "[\"\xC3\xA9\xF0\x9D\x84\x9E\"]"},
      {"{\"\\t\\u00e9\":0}", "{\"\\t\xC3\xA9\":0}"},
  };
  TEST("values as they are written");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    leat_call *call = call_after(leat_s(rows[i][0]));
    check_text(leat_call_data(call), rows[i][1]);
    leat_call_free(call);
  }
  leat_call *call = call_after(leat_s("{\"a\":[1,{\"b\":\"c\"}]}"));
  const leat_json *array = leat_json_get(leat_call_data(call), "a");
  check_text(array, "[1,{\"b\":\"c\"}]");
  check_text(leat_json_at(array, 0), "1");
  check_text(leat_json_get(leat_json_at(array, 1), "b"), "\"c\"");
  leat_call_free(call);
}

/* The buffers are allocated without extra bytes, so that the sanitizer sees writes behind
** their end. */
static void test_truncation(void) {
  leat_call *call = call_after(
      leat_s("{\"a\\n\":[1.5,-7,1e400,true,null,{}],\"\\u00e9\":\"x\\u0001y\"}"));
  char *whole = written(leat_call_data(call));
  size_t length = strlen(whole);
  TEST("values that are written into too small a buffer");
  for (size_t size = 0; size <= length + 2; size++) {
    char *text = malloc(size);
    if (size > 0) memset(text, '#', size);
    size_t fits = size > length ? length : size > 0 ? size - 1 : 0;
    CHECK(leat_json_write(leat_call_data(call), text, size) == length);
    CHECK(size == 0 || (memcmp(text, whole, fits) == 0 && text[fits] == '\0'));
    CHECK(size <= length + 1 || text[length + 1] == '#');
    free(text);
  }
  free(whole);
  leat_call_free(call);
}

/* Doubles of random bits, and doubles of few digits, which must not become longer. */
static void test_doubles(void) {
  TEST("random doubles");
  for (int i = 0; i < 100000; i++) {
    uint64_t bits = test_random();
    double value;
    char text[64];
    memcpy(&value, &bits, sizeof value);
    if (i % 2) value = (double)(int64_t)(bits % 2000000) / 1000;
    if (!isfinite(value)) continue;
    snprintf(text, sizeof text, "[%.*g]", i % 2 ? 10 : 17, value);
    if (strpbrk(text, ".e") == NULL) strcpy(strchr(text, ']'), ".0]");
    leat_call *call = call_after(leat_s(text));
    CHECK(survives(leat_call_data(call)));
    if (i % 2) check_text(leat_call_data(call), text);
    leat_call_free(call);
  }
}

/* ---- writing --------------------------------------------------------------------- */

static void check_written(const char *text) {
  leat_call *call = bare_call(client, "update");
  leat_call_set(call, "contact_identifier_value", leat_s("0042"));
  leat_call_set(call, "contact_identifier_name", leat_s(text));
  leat_call_set_bool(call, "contact_identifier_active", false);
  json_t *same =
      json_pack("{s:s, s:s, s:b}", "contact_identifier_value", "0042",
                "contact_identifier_name", text, "contact_identifier_active", 0);
  char *wanted = json_dumps(same, JSON_COMPACT);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_string body = leat_call_request(call)->body;
  CHECK(body.length == strlen(wanted) && memcmp(body.data, wanted, body.length) == 0);
  free(wanted);
  json_decref(same);
  leat_call_free(call);
}

/* Each character separately, between two others, and then all together. */
static void test_writing(void) {
  char all[128] = "", one[4] = "a?b";
  TEST("what requests say of any text");
  for (int c = 1; c < 128; c++) {
    one[1] = all[c - 1] = (char)c;
    check_written(one);
  }
  check_written(all);
  check_written("\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\"");
}

int main(void) {
  client = leat_client_new(
      &(leat_config){.api_key = "key", .max_attempts = 1, .max_body = 4 << 20}, NULL);
  test_cases();
  test_cut();
  test_changed();
  test_deep();
  test_long_array();
  test_many_members();
  test_twins();
  test_accessors();
  test_unfit_numbers();
  test_null();
  test_locales();
  test_memory();
  test_values();
  test_truncation();
  test_doubles();
  test_writing();
  leat_client_free(client);
  return test_summary("json");
}
