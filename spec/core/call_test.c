/*
** call_test.c - calls through the public API, without a socket: their requests, and how
** they treat each response.
*/
#include "calls.h"
#include "test.h"

#define KEY   "1|golden-5d07"
#define VALUE "007 a&b=c+d%/?#\"\\\xC3\xA9\xF0\x9F\x98\x80"
#define UUID  "8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11"

static leat_client *golden_client(void) {
  return new_client(
      (leat_config){.api_key = KEY, .user_agent = "golden/1", .max_attempts = 1});
}

static void set(leat_call *call, const char *name, const char *value) {
  leat_call_set(call, name, leat_s(value));
}

/* ---- requests -------------------------------------------------------------------- */

static char *read_file(const char *folder, const char *name, size_t *length) {
  char path[512], *text = malloc(65536);
  snprintf(path, sizeof path, "%s/requests/%s.http", folder, name);
  FILE *file = fopen(path, "rb");
  *length = file && text ? fread(text, 1, 65536, file) : 0;
  if (file) fclose(file);
  return text;
}

static void check_golden(const char *folder, const char *name, leat_call *call) {
  size_t length;
  char *wanted = read_file(folder, name, &length);
  leat_http1 *http = leat_http1_new();
  TEST(name);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(leat_http1_begin(http, leat_call_request(call)) == LEAT_HTTP1_MORE);
  leat_string bytes = leat_http1_output(http);
  size_t same = 0;
  while (same < length && same < bytes.length && bytes.data[same] == wanted[same])
    same++;
  /* prints the position only, because the request contains the key */
  if (!CHECK(same == length && same == bytes.length && length > 0))
    printf("  %s.http: %zu bytes, made were %zu, the first %zu are the same\n", name,
           length, bytes.length, same);
  leat_http1_free(http);
  leat_call_free(call);
  free(wanted);
}

static void test_golden(leat_client *client, const char *folder) {
  static const char *const plain[] = {"find", "unlink", "delete"};
  leat_call *call;
  for (size_t i = 0; i < 3; i++) {
    call = bare_call(client, plain[i]);
    set(call, "contact_identifier_value", VALUE);
    check_golden(folder, plain[i], call);
  }
  call = bare_call(client, "create");
  set(call, "contact_identifier_value", VALUE);
  check_golden(folder, "create-bare", call);
  call = bare_call(client, "create");
  set(call, "contact_identifier_name", "Krabby Membership");
  set(call, "contact_uuid", UUID);
  set(call, "contact_identifier_value", VALUE);
  check_golden(folder, "create", call);
  call = bare_call(client, "link");
  set(call, "contact_identifier_value", VALUE);
  set(call, "contact_uuid", UUID);
  check_golden(folder, "link", call);
  call = bare_call(client, "update");
  set(call, "contact_identifier_value", VALUE);
  set(call, "contact_identifier_name", "New");
  leat_call_set_bool(call, "contact_identifier_active", false);
  check_golden(folder, "update", call);
}

static void test_request(leat_client *client) {
  leat_call *call = card_call(client, "find");
  TEST("what a driver gets of a request");
  CHECK(leat_call_request(call) == NULL);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(leat_call_next(call, (leat_moment){now.monotonic_ms + 8000, 0, 0}) ==
        LEAT_SEND); /* called again */
  const leat_request *request = leat_call_request(call);
  CHECK_STR(request->origin.data, "https://api.piggy.eu");
  CHECK_STR(request->host.data, "api.piggy.eu");
  CHECK(request->port == 443 && request->tls);
  CHECK(request->deadline_ms == now.monotonic_ms + 30000);
  CHECK(request->connect_timeout_ms == 5000 && request->max_body == 1024 * 1024);
  leat_call_free(call);
}

static bool target_is(leat_call *call, const char *method, const char *target) {
  return leat_call_next(call, now) == LEAT_SEND &&
         text_is(leat_call_request(call)->target, target) &&
         text_is(leat_call_request(call)->method, method);
}

static bool has_header(leat_call *call, const char *name, const char *value) {
  return text_is(request_header(call, name), value);
}

#define BASE "/api/v3/oauth/clients"

static void test_other_requests(leat_client *client) {
  leat_call *call = bare_call(client, "list");
  TEST("the list of one contact");
  set(call, "contact_uuid", "a/b");
  CHECK(target_is(call, "GET", BASE "/contacts/a%2Fb/contact-identifiers"));
  leat_call_free(call);
  TEST("whose key it is");
  call = leat_call_new(client, leat_operation("client", "check"));
  CHECK(target_is(call, "GET", BASE));
  leat_call_free(call);
  TEST("a request of no row");
  call = leat_call_new_request(client, "PATCH", "/x/y");
  leat_call_add_query(call, "a b", leat_s("c&d"));
  leat_call_add_query(call, "e", leat_s(""));
  leat_call_add_header(call, "X-One", leat_s("1"));
  leat_call_set_body(call, leat_s("[]"));
  leat_call_set_body(call, leat_s("{}")); /* replaces the first body */
  leat_call_set_timeout_ms(call, 7000);
  leat_call_set_connect_timeout_ms(call, 700);
  CHECK(target_is(call, "PATCH", BASE "/x/y?a%20b=c%26d&e="));
  CHECK(has_header(call, "X-One", "1") && has_header(call, "Accept", "application/json"));
  CHECK(has_header(call, "Content-Type", "application/json"));
  CHECK(leat_call_request(call)->body.length == 2);
  CHECK(leat_call_request(call)->body.data[0] == '{');
  CHECK(leat_call_request(call)->deadline_ms == now.monotonic_ms + 7000);
  CHECK(leat_call_request(call)->connect_timeout_ms == 700);
  CHECK_STR(leat_call_op(call)->name, "request");
  leat_call_free(call);
  call = leat_call_new_request(client, "GET", "/x");
  leat_call_add_header(call, "X-One", leat_s("1"));
  CHECK(target_is(call, "GET", BASE "/x"));
  CHECK(has_header(call, "X-One", "1") &&
        !has_header(call, "Content-Type", "application/json"));
  leat_call_free(call);
}

/* The headers of a call are added to those of every request. */
static void test_headers_of_a_call(leat_client *client) {
  leat_call *call = card_call(client, "create");
  TEST("a header of a call's own");
  leat_call_add_header(call, "traceparent", leat_s("00-1-2-01"));
  leat_call_add_header(call, "X-One", leat_s(""));
  CHECK(target_is(call, "POST", BASE "/contact-identifiers"));
  CHECK(has_header(call, "traceparent", "00-1-2-01") && has_header(call, "X-One", ""));
  CHECK(has_header(call, "Authorization", "Bearer " KEY));
  CHECK(has_header(call, "Content-Type", "application/json"));
  CHECK(leat_call_request(call)->header_count == 7);
  leat_call_free(call);
  call = card_call(client, "find");
  leat_call_add_header(call, "traceparent", leat_s("00-1-3-01"));
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_call_add_header(call, "X-Late", leat_s("1"));
  CHECK(has_header(call, "traceparent", "00-1-3-01"));
  CHECK(request_header(call, "Content-Type").data == NULL);
  CHECK(leat_call_request(call)->header_count == 5);
  leat_call_free(call);
  call = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(request_header(call, "traceparent").data == NULL);
  leat_call_free(call);
}

static void test_value(leat_client *client) {
  static const char *const operations[] = {"find",   "create", "link",
                                           "unlink", "update", "delete"};
  TEST("the value of the card that a call is about");
  for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
    leat_call *call = bare_call(client, operations[i]);
    CHECK(leat_call_value(call).data == NULL);
    set(call, "contact_identifier_value", " a/\xC3\xA9 ");
    CHECK(text_is(leat_call_value(call), " a/\xC3\xA9 "));
    leat_call_free(call);
  }
  TEST("which not every call has");
  leat_call *others[] = {
      bare_call(client, "list"), leat_call_new(client, leat_operation("client", "check")),
      leat_call_new_request(client, "GET", "/x"), leat_call_new(client, NULL), NULL};
  set(others[0], "contact_uuid", UUID);
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    CHECK(leat_call_value(others[i]).data == NULL);
    leat_call_free(others[i]);
  }
}

/* ---- misuse ---------------------------------------------------------------------- */

static void check_misuse(leat_call *call, const char *message) {
  char text[512];
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_is_done(call));
  CHECK(leat_call_error(call)->kind == LEAT_MISUSE);
  if (!CHECK(strstr(leat_call_error(call)->message, message) != NULL))
    printf("  got %s\n", leat_error_text(leat_call_error(call), text, sizeof text));
  leat_call_free(call);
}

static void test_misuse(leat_client *client) {
  leat_call *call;
  static const struct {
    const char *value, *message;
    size_t length;
  } values[] = {
      {"", "is empty", 0},
      {"a\0b", "NUL", 3},
      {"\xFF", "not UTF-8", 1},
      {"\xC0\x80", "not UTF-8", 2},         /* overlong */
      {"\xED\xA0\x80", "not UTF-8", 3},     /* surrogate */
      {"\xF4\x90\x80\x80", "not UTF-8", 4}, /* beyond U+10FFFF */
      {"\xE2\x82", "not UTF-8", 2},         /* truncated */
  };
  TEST("values that are refused");
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    call = bare_call(client, "find");
    leat_call_set(call, "contact_identifier_value",
                  (leat_string){values[i].value, values[i].length});
    check_misuse(call, values[i].message);
  }
  TEST("parameters that are refused");
  check_misuse(bare_call(client, "find"), "contact_identifier_value is missing");
  check_misuse(bare_call(client, "no such operation"), "no such operation");
  check_misuse(bare_call(NULL, "find"), "no client");
  leat_call *without_client = bare_call(NULL, "create");
  leat_call_set_maybe_applied(without_client);
  check_misuse(without_client, "no client");
  call = bare_call(client, "find");
  set(call, "contact_uuid", UUID);
  check_misuse(call, "contact_uuid is not a parameter");
  call = bare_call(client, "update");
  set(call, "contact_identifier_active", "true");
  check_misuse(call, "must be a boolean");
  call = bare_call(client, "update");
  leat_call_set_bool(call, "contact_identifier_name", true);
  check_misuse(call, "must be a string");
  call = bare_call(client, "update");
  set(call, "contact_identifier_value", "1");
  check_misuse(call, "there is nothing to change: set a name");
  call = bare_call(client, "update");
  check_misuse(call, "contact_identifier_value is missing");
  TEST("and found to be missing before the first step, too");
  call = bare_call(client, "update");
  set(call, "contact_identifier_value", "1");
  leat_call_check(call);
  CHECK(leat_call_error(call)->kind == LEAT_MISUSE && !leat_call_is_done(call));
  leat_call_set_bool(call, "contact_identifier_active", false); /* ignored: too late */
  check_misuse(call, "there is nothing to change");
  call = bare_call(client, "update");
  set(call, "contact_identifier_value", "1");
  leat_call_set_bool(call, "contact_identifier_active", false);
  leat_call_check(call);
  CHECK(leat_call_error(call)->kind == LEAT_OK && leat_call_next(call, now) == LEAT_SEND);
  leat_call_free(call);
  leat_call_check(NULL);
  TEST("the first misuse sticks");
  call = bare_call(client, "find");
  set(call, "contact_identifier_value", "");
  set(call, "contact_identifier_value", "good");
  check_misuse(call, "is empty");
}

/* A parameter set too late changes neither the request in progress nor the result. */
static void test_late(leat_client *client) {
  leat_call *call = card_call(client, "create");
  TEST("a set that is too late");
  leat_call_next(call, now);
  set(call, "contact_identifier_name", "late");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "late");
  set(call, "no such thing", "late");
  CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(call)->outcome_unknown);
  leat_call_free(call);
  TEST("a driver that fails with no kind");
  call = card_call(client, "delete");
  leat_call_next(call, now);
  leat_call_fail(call, now, LEAT_OK, LEAT_SENT_MAYBE, "fine");
  CHECK(leat_call_error(call)->kind == LEAT_MISUSE);
  CHECK(leat_call_error(call)->outcome_unknown);
  leat_call_free(call);
}

static void test_large_request(leat_client *client) {
  enum { SIZE = 64 * 1024 };
  char *text = malloc(SIZE);
  leat_call *call = bare_call(client, "create");
  TEST("a request beyond the limit");
  memset(text, 1, SIZE); /* each becomes six bytes of JSON */
  leat_call_set(call, "contact_identifier_value", (leat_string){text, SIZE});
  leat_call_set(call, "contact_identifier_name", (leat_string){text, SIZE});
  leat_call_set(call, "contact_uuid", (leat_string){text, SIZE});
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_TOO_LARGE);
  leat_call_free(call);
  TEST("a value beyond the limit");
  call = bare_call(client, "find");
  leat_call_set(call, "contact_identifier_value", (leat_string){text, SIZE + 1});
  check_misuse(call, "too long");
  free(text);
}

static void test_misused_requests(leat_client *client) {
  static const char *const paths[] = {
      NULL,      "",       "x",    "//x", "/x/", "/./x", "/x?y",   "/x y", "/a/%2e%2e/b",
      "/a/.%2E", "/%2e/b", "/%zz", "/%",  "/%2", "/a%",  "/a%2/b", "/%%20"};
  static const char *const methods[] = {NULL, "", "GE T", "GET\r\n", "ABCDEFGHIJKLMNOPQ"};
  leat_call *call;
  TEST("requests of no row that are refused");
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
    check_misuse(leat_call_new_request(client, "GET", paths[i]), "path");
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
    check_misuse(leat_call_new_request(client, methods[i], "/x"), "method");
  check_misuse(leat_call_new_request(NULL, "GET", "/x"), "no client");
  call = leat_call_new_request(client, "GET", "/x");
  leat_call_add_query(call, "a", (leat_string){"b\0c", 3});
  check_misuse(call, "NUL");
  call = leat_call_new_request(client, "GET", "/x");
  leat_call_add_header(call, "Host", leat_s("x"));
  check_misuse(call, "sets itself");
  call = leat_call_new_request(client, "GET", "/x");
  for (int i = 0; i < 17; i++)
    leat_call_add_header(call, "X", leat_s("x"));
  check_misuse(call, "exceeds the limit");
  call = leat_call_new_request(client, "GET", "/x");
  leat_call_set_timeout_ms(call, 0);
  check_misuse(call, "timeout");
  call = leat_call_new_request(client, "GET", "/x");
  leat_call_set_queue_timeout_ms(call, 0);
  check_misuse(call, "queue_timeout must be");
  call = leat_call_new_request(client, "GET", "/x");
  leat_call_set_max_attempts(call, 101);
  check_misuse(call, "max_attempts");
  call = leat_call_new_request(client, "GET", "/x");
  set(call, "contact_uuid", UUID);
  check_misuse(call, "not a parameter");
  TEST("what is for requests of no row only");
  call = bare_call(client, "find");
  leat_call_add_query(call, "a", leat_s("b"));
  check_misuse(call, "leat_call_new_request");
  call = bare_call(client, "find");
  leat_call_set_body(call, leat_s("b"));
  check_misuse(call, "leat_call_new_request");
  TEST("a path that would be another");
  call = bare_call(client, "list");
  set(call, "contact_uuid", "..");
  check_misuse(call, "change the path");
}

static void test_headers_that_are_refused(leat_client *client) {
  static const char *const reserved[] = {"Authorization",  "Content-Type", "Host",
                                         "Content-Length", "User-Agent",   "Accept",
                                         "Proxy-X",        "Connection"};
  TEST("headers of a call that are refused");
  for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
    leat_call *call = card_call(client, "find");
    leat_call_add_header(call, reserved[i], leat_s("x"));
    check_misuse(call, "is a header that the library sets itself");
  }
  leat_call *call = card_call(client, "find");
  leat_call_add_header(call, "X", leat_s("a\r\nHost: b"));
  check_misuse(call, "line end");
  call = card_call(client, "find");
  for (int i = 0; i < 16; i++)
    leat_call_add_header(call, "X", leat_s("x"));
  CHECK(leat_call_error(call)->kind == LEAT_OK);
  leat_call_add_header(call, "X", leat_s("x"));
  check_misuse(call, "exceeds the limit");
}

static void test_null(void) {
  leat_contact_identifier card;
  leat_field field;
  TEST("a call that memory ran out for");
  leat_call_set(NULL, "x", leat_s("y"));
  leat_call_set_bool(NULL, "x", true);
  leat_call_add_query(NULL, "x", leat_s("y"));
  leat_call_add_header(NULL, "x", leat_s("y"));
  leat_call_set_body(NULL, leat_s("y"));
  leat_call_set_timeout_ms(NULL, 1);
  leat_call_set_connect_timeout_ms(NULL, 1);
  leat_call_set_queue_timeout_ms(NULL, 1);
  leat_call_set_max_attempts(NULL, 1);
  leat_call_set_maybe_applied(NULL);
  CHECK(leat_call_op(NULL) == NULL && leat_call_info(NULL).rate_remaining == -1);
  CHECK(leat_call_next(NULL, now) == LEAT_DONE && leat_call_is_done(NULL));
  CHECK(leat_call_error(NULL)->kind == LEAT_NO_MEMORY);
  CHECK(leat_call_data(NULL) == NULL && leat_call_meta(NULL) == NULL);
  CHECK(leat_call_request(NULL) == NULL && leat_call_user(NULL) == NULL);
  CHECK(!leat_call_contact_identifier(NULL, &card) && !leat_call_field(NULL, 0, &field));
  leat_call_fail(NULL, now, LEAT_TIMEOUT, LEAT_SENT_NO, "late");
  leat_call_free(NULL);
  leat_client_free(NULL);
  leat_http1_free(NULL);
}

/* NULL instead of a string is a misuse, which the call records. */
static void test_null_arguments(leat_client *client) {
  static const leat_string none = {NULL, 3};
  leat_header header = {{NULL, 3}, {NULL, 3}};
  leat_error error;
  TEST("NULL for a string");
  leat_call *call = bare_call(client, "find");
  leat_call_set(call, NULL, leat_s("1"));
  check_misuse(call, "is not a parameter");
  call = bare_call(client, "find");
  leat_call_set_bool(call, NULL, true);
  check_misuse(call, "is not a parameter");
  call = bare_call(client, "find");
  leat_call_set(call, "contact_identifier_value", none);
  check_misuse(call, "is empty");
  call = bare_call(client, "delete");
  leat_call_expect(call, none);
  check_misuse(call, "expect is empty");
  check_misuse(leat_call_new_request(client, NULL, "/x"), "method");
  check_misuse(leat_call_new_request(client, "GET", NULL), "path");
  void (*const add[])(leat_call *, const char *, leat_string) = {leat_call_add_query,
                                                                 leat_call_add_header};
  for (int i = 0; i < 2; i++) {
    call = leat_call_new_request(client, "POST", "/x");
    add[i](call, NULL, leat_s("1"));
    check_misuse(call, i ? "is not a valid header name" : "is not a valid name");
    call = leat_call_new_request(client, "POST", "/x");
    add[i](call, "x", none);
    check_misuse(call, i ? "a NULL value" : "is empty");
  }
  call = leat_call_new_request(client, "POST", "/x");
  leat_call_set_body(call, none);
  check_misuse(call, "the body is NULL");
  call = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_call_respond(call, now, NULL);
  check_misuse(call, "the response, or one of its strings, is NULL");
  CHECK(leat_response_header(&(leat_response){.status = 200}, NULL).data == NULL);
  CHECK(!leat_client_set_token(client, now, none, 1));
  CHECK(!leat_client_share_token(client, now, none, INT64_MAX));
  CHECK(leat_client_new(
            &(leat_config){.api_key = "k", .headers = &header, .header_count = 1},
            &error) == NULL);
  CHECK(error.kind == LEAT_CONFIG);
  CHECK(leat_client_new(&(leat_config){.api_key = "k", .header_count = 1}, &error) ==
        NULL);
  CHECK(error.kind == LEAT_CONFIG && strstr(error.message, "headers is NULL") != NULL);
}

static void test_config(void) {
  static const struct {
    leat_config config;
    const char *message;
  } bad[] = {
      {{.api_key = NULL}, "api_key is missing"},
      {{.api_key = "Bearer k"}, "the key alone"},
      {{.api_key = "\"k\""}, "api_key is enclosed in quotes"},
      {{.access_token = "'k'"}, "enclosed in quotes"},
      {{.api_key = ""}, "api_key is empty"},
      {{.api_key = "a\r\nX: y"}, "line end"},
      {{.api_key = "a\t"}, "control character"},
      {{.api_key = "a "}, "space at its end"},
      {{.api_key = " a"}, "space at its end"},
      {{.api_key = "a", .access_token = "b"}, "set exactly one"},
      {{.api_key = "a", .user_agent = "x\ny"}, "user_agent"},
      {{.api_key = "a", .user_agent = ""}, "user_agent"},
      {{.api_key = "a", .timeout_ms = -1}, "timeout"},
      {{.api_key = "a", .timeout_ms = 86400001}, "timeout"},
      {{.api_key = "a", .connect_timeout_ms = -1}, "connect_timeout"},
      {{.api_key = "a", .connect_timeout_ms = 86400001}, "connect_timeout"},
      {{.api_key = "a", .queue_timeout_ms = -1}, "queue_timeout"},
      {{.api_key = "a", .queue_timeout_ms = 86400001}, "queue_timeout"},
      {{.api_key = "a", .max_attempts = -2}, "max_attempts"},
      {{.api_key = "a", .max_attempts = 101}, "max_attempts"},
      {{.api_key = "a", .retry_base_ms = -1}, "retry_base"},
      {{.api_key = "a", .retry_base_ms = 86400001}, "retry_base"},
      {{.api_key = "a", .retry_cap_ms = -1}, "retry_cap"},
      {{.api_key = "a", .retry_cap_ms = 86400001}, "retry_cap"},
      {{.api_key = "a", .rate_per_minute = -1}, "rate"},
      {{.api_key = "a", .rate_per_minute = 60000001}, "rate"},
      {{.api_key = "a", .header_count = 17}, "too many headers"},
      {{.api_key = "a", .max_body = SIZE_MAX}, "max_body"},
      {{.api_key = "a", .base_url = "api.piggy.eu"}, "https://"},
      {{.api_key = "a", .base_url = "ftp://api.piggy.eu"}, "https://"},
      {{.api_key = "a", .base_url = "http://api.piggy.eu"}, "cleartext"},
      {{.api_key = "a", .base_url = "http://127.evil.example"}, "cleartext"},
      {{.api_key = "a", .base_url = "http://localhost.evil.example"}, "cleartext"},
      {{.api_key = "a", .base_url = "https://"}, "host"},
      {{.api_key = "a", .base_url = "https://me:pw@host"}, "credentials"},
      {{.api_key = "a", .base_url = "https://host/x?y"}, "query"},
      {{.api_key = "a", .base_url = "https://host/x#y"}, "fragment"},
      {{.api_key = "a", .base_url = "https://host:0"}, "port"},
      {{.api_key = "a", .base_url = "https://host:65536"}, "port"},
      {{.api_key = "a", .base_url = "https://host:8o"}, "path"},
      {{.api_key = "a", .base_url = "https://[::1"}, "host"},
      {{.api_key = "a", .base_url = "https://host/a b"}, "path"},
      {{.api_key = "a", .base_url = "https://host/a\r\nb"}, "path"},
      {{.api_key = "a", .base_url = "https://host/a/../b"}, "path"},
      {{.api_key = "a", .base_url = "https://host/a//b"}, "path"},
      {{.api_key = "a", .base_url = "https://host\\@evil"}, "credentials"},
      {{.api_key = "a", .base_url = "https://host/a/%2e%2E/b"}, "path"},
      {{.api_key = "a", .base_url = "https://host/%zz"}, "path"},
      {{.api_key = "a", .base_url = "https://host/a%2"}, "path"},
      {{.api_key = "a", .base_url = "https://[www.example.com]/"}, "host"},
      {{.api_key = "a", .base_url = "http://[localhost]/"}, "host"},
      {{.api_key = "a", .base_url = "http://[127.0.0.1]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[:]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[1:2:3:4:5:6:7]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[1:2:3:4:5:6:7:8:9]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[1::2::3]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[1:2:3:4:5:6:7:8::]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[12345::]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[::g]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[1:]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[:1]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[::1.2.3]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[::1.2.3.256]/"}, "host"},
      {{.api_key = "a", .base_url = "https://[1:2:3:4:5:6:7:1.2.3.4]/"}, "host"},
      {{.api_key = "a", .base_url = "http://127.0.0.256/"}, "host"},
      {{.api_key = "a", .base_url = "http://127..1/"}, "host"},
      {{.api_key = "a", .base_url = "http://127.1.2.3.4/"}, "host"},
      {{.api_key = "a", .base_url = "http://127.1/"}, "host"},
      {{.api_key = "a", .base_url = "http://127.0.0.01/"}, "host"},
      {{.api_key = "a", .base_url = "http://127.0.0.1./"}, "host"},
      {{.api_key = "a", .base_url = "http://127.0.0./"}, "host"},
      {{.api_key = "a", .base_url = "http://2130706433/"}, "host"},
      {{.api_key = "a", .base_url = "http://127.0.0.99999999999/"}, "host"},
      {{.api_key = "a", .base_url = "https://.example/"}, "host"},
      {{.api_key = "a", .base_url = "https://a..example/"}, "host"},
      {{.api_key = "a", .base_url = "https://./"}, "host"},
      {{.api_key = "a", .base_url = "http://128.0.0.1/"}, "cleartext"},
      {{.api_key = "a", .base_url = "http://[::2]/"}, "cleartext"},
      {{.api_key = "a", .base_url = "http://localhost./"}, "cleartext"},
  };
  TEST("settings that are refused");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    leat_error error;
    CHECK(leat_client_new(&bad[i].config, &error) == NULL);
    CHECK(error.kind == LEAT_CONFIG);
    if (!CHECK(strstr(error.message, bad[i].message) != NULL))
      printf("  %zu got \"%s\"\n", i, error.message);
  }
  CHECK(leat_client_new(NULL, NULL) == NULL);
}

static void check_url(const char *url, const char *origin, const char *target) {
  leat_config config = {.api_key = "k", .base_url = url, .allow_http = true};
  leat_client *client = leat_client_new(&config, NULL);
  leat_call *call = card_call(client, "create");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  const leat_request *request = leat_call_request(call);
  if (CHECK(request != NULL)) {
    CHECK_STR(request->origin.data, origin);
    CHECK(text_is(request->target, target));
  }
  FREE_ALL(client, call);
}

static void test_urls(void) {
  TEST("base URLs");
  check_url("https://Api.Example:443/x/", "https://api.example",
            "/x/contact-identifiers");
  check_url("HTTPS://h:8443//", "https://h:8443", "/contact-identifiers");
  check_url("http://h:80", "http://h", "/contact-identifiers");
  check_url("http://[::1]:8080/a/b", "http://[::1]:8080", "/a/b/contact-identifiers");
  check_url("https://[2001:DB8::7]", "https://[2001:db8::7]", "/contact-identifiers");
  check_url("https://[1:2:3:4:5:6:7:8]", "https://[1:2:3:4:5:6:7:8]",
            "/contact-identifiers");
  check_url("https://[1:2:3:4:5:6:7::]", "https://[1:2:3:4:5:6:7::]",
            "/contact-identifiers");
  check_url("https://[::]", "https://[::]", "/contact-identifiers");
  check_url("https://[::ffff:1.2.3.4]", "https://[::ffff:1.2.3.4]",
            "/contact-identifiers");
  check_url("https://[1:2:3:4:5:6:1.2.3.4]", "https://[1:2:3:4:5:6:1.2.3.4]",
            "/contact-identifiers");
  check_url("https://255.0.10.200", "https://255.0.10.200", "/contact-identifiers");
  check_url("https://api.example.", "https://api.example.", "/contact-identifiers");
  check_url("https://1.2.3.4.example", "https://1.2.3.4.example", "/contact-identifiers");
  check_url("https://h/a%2Fb/..a/%2ea/...", "https://h",
            "/a%2Fb/..a/%2ea/.../contact-identifiers");
  TEST("this very machine, in cleartext");
  static const char *const here[] = {"http://127.0.0.1", "http://127.255.0.9:80",
                                     "http://localhost", "http://LocalHost:8080/x",
                                     "http://[::1]"};
  for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
    leat_client *client =
        leat_client_new(&(leat_config){.api_key = "k", .base_url = here[i]}, NULL);
    CHECK(client != NULL);
    leat_client_free(client);
  }
}

/* ---- responses ------------------------------------------------------------------- */

#define CARD                                                                             \
  "{\"data\":{\"name\":\"N\",\"value\":\"1\",\"active\":true,\"contact\":{\"uuid\":"     \
  "\"u\","                                                                               \
  "\"email\":\"e\"}},\"meta\":[]}"
#define CARD_WITH(members) "{\"data\":{\"value\":\"1\"," members "},\"meta\":{}}"
#define CODE(code)         "{\"message\":\"Oh.\",\"code\":" #code ",\"status_code\":400}"
#define PLAIN              LEAT_LENGTH, ""

/* The result of a call: its error's kind and code, and `outcome_unknown`. */
#define DONE                LEAT_OK, 0, false, ""
#define FAILS(kind)         kind, 0, false
#define UNKNOWN(kind)       kind, 0, true
#define REFUSED(kind, code) kind, code, false

/* clang-format off */
static const struct response_case {
  const char *operation;
  int status;
  leat_framing framing;
  const char *type, *body;
  leat_kind kind;
  int code;
  bool unknown;
  const char *message;
} responses[] = {
    /* successes */
    {"find", 200, LEAT_LENGTH, "application/json", CARD, DONE},
    {"find", 200, LEAT_CLOSE_DELIMITED, "application/json", CARD, DONE},
    {"find", 200, LEAT_LENGTH, "text/plain", CARD, DONE},
    {"create", 201, LEAT_CHUNKED, "application/json", CARD, DONE},
    {"find", 200, PLAIN, CARD_WITH("\"x\":1"), DONE},
    {"find", 200, PLAIN, CARD_WITH("\"contact\":null,\"name\":null,\"active\":null"),
     DONE},
    {"delete", 200, PLAIN, "{\"data\":null,\"meta\":[]}", DONE},
    {"delete", 200, PLAIN, "{\"data\":[]}", DONE},
    {"delete", 200, PLAIN, "{\"data\":{}}", DONE},
    {"delete", 200, PLAIN, CARD, DONE},
    {"delete", 200, PLAIN, "", DONE},
    {"delete", 204, LEAT_NO_BODY, "", "", DONE},
    /* if only the closed connection ends the body, it does not prove a delete */
    {"delete", 200, LEAT_CLOSE_DELIMITED, "", "", UNKNOWN(LEAT_PROTOCOL), "does not prove"},
    {"delete", 200, LEAT_CLOSE_DELIMITED, "", "{\"data\":null}", UNKNOWN(LEAT_PROTOCOL),
     "does not prove"},
    /* responses that are not the API's */
    {"find", 200, PLAIN, "", FAILS(LEAT_PROTOCOL), "empty"},
    {"link", 204, LEAT_NO_BODY, "", "", UNKNOWN(LEAT_PROTOCOL), "empty"},
    {"create", 200, LEAT_LENGTH, "text/html", "<html>Welcome to the\r\n hotel</html>",
     UNKNOWN(LEAT_PROTOCOL), "text/html, body \"<html>Welcome to the   hotel</html>\""},
    {"find", 200, PLAIN, "{\"data\":{\"value\":\"1\"", FAILS(LEAT_PROTOCOL),
     "not the expected JSON"},
    {"find", 200, PLAIN, CARD "x", FAILS(LEAT_PROTOCOL), "JSON"},
    /* duplicate names are rejected in fields we read, and allowed in all others */
    {"find", 200, PLAIN, CARD_WITH("\"value\":\"2\""), FAILS(LEAT_PROTOCOL),
     "a duplicate name in \"data\""},
    {"delete", 200, PLAIN, CARD_WITH("\"value\":\"1\""), UNKNOWN(LEAT_PROTOCOL),
     "a duplicate name"},
    {"find", 200, PLAIN, CARD_WITH("\"name\":\"a\",\"name\":\"b\""),
     FAILS(LEAT_PROTOCOL), "a duplicate name"},
    {"find", 200, PLAIN, CARD_WITH("\"active\":true,\"active\":false"),
     FAILS(LEAT_PROTOCOL), "a duplicate name"},
    {"link", 200, PLAIN, CARD_WITH("\"contact\":{\"uuid\":\"u\"},\"contact\":null"),
     UNKNOWN(LEAT_PROTOCOL), "a duplicate name"},
    {"link", 200, PLAIN, CARD_WITH("\"contact\":{\"uuid\":\"u\",\"uuid\":\"v\"}"),
     UNKNOWN(LEAT_PROTOCOL), "a duplicate name in \"contact\""},
    {"create", 200, PLAIN, "{\"data\":{\"value\":\"1\"},\"data\":{}}",
     UNKNOWN(LEAT_PROTOCOL), "a duplicate name"},
    {"create", 400, PLAIN, "{\"message\":\"Oh.\",\"code\":60006,\"code\":60003}",
     FAILS(LEAT_PROTOCOL), ""},
    {"find", 200, PLAIN, CARD_WITH("\"a\":1,\"a\":2"), DONE},
    {"find", 200, PLAIN,
     "{\"data\":{\"value\":\"1\",\"contact\":{\"uuid\":\"u\",\"attributes\":{\"name\":1,\"name\":2}}},\"meta\":{\"value\":1,\"value\":2},\"meta\":[]}",
     DONE},
    {"find", 200, PLAIN, "\xEF\xBB\xBF" CARD, DONE},
    {"find", 200, PLAIN, CARD_WITH("\"a\":[9223372036854775808,1e400]"), DONE},
    /* a number in a text field keeps its digits, however long it is */
    {"find", 200, PLAIN, CARD_WITH("\"name\":9223372036854775808"),
     FAILS(LEAT_PROTOCOL), "\"name\""},
    {"find", 400, PLAIN, CODE(9223372036854775808), FAILS(LEAT_INVALID_INPUT), "Oh."},
    {"find", 200, PLAIN, CARD_WITH("\"a\":\"\xFF\""), FAILS(LEAT_PROTOCOL), "JSON"},
    {"find", 200, PLAIN, CARD_WITH("\"a\":\"\\ud800\""), FAILS(LEAT_PROTOCOL), "JSON"},
    {"find", 200, PLAIN, CARD_WITH("\"a\":\"\\u0000\""), FAILS(LEAT_PROTOCOL), "JSON"},
    {"find", 200, PLAIN, "[1]", FAILS(LEAT_PROTOCOL), "\"data\" is missing"},
    {"find", 200, PLAIN, "{}", FAILS(LEAT_PROTOCOL), "\"data\" is missing"},
    {"find", 200, PLAIN, "{\"data\":null}", FAILS(LEAT_PROTOCOL), "not an object"},
    {"find", 200, PLAIN, "{\"data\":[]}", FAILS(LEAT_PROTOCOL), "not an object"},
    {"find", 200, PLAIN, "{\"data\":{\"value\":1}}", FAILS(LEAT_PROTOCOL),
     "\"value\" is not a string"},
    {"create", 200, PLAIN, "{\"data\":{\"value\":\"2\"}}", UNKNOWN(LEAT_PROTOCOL),
     "another value"},
    {"delete", 200, PLAIN, "{\"data\":{\"value\":\"2\"}}", UNKNOWN(LEAT_PROTOCOL),
     "another value"},
    {"delete", 200, PLAIN, "{\"data\":true}", UNKNOWN(LEAT_PROTOCOL), "neither"},
    {"delete", 200, PLAIN, "{\"message\":\"x\"}", UNKNOWN(LEAT_PROTOCOL), "missing"},
    {"find", 200, PLAIN, CARD_WITH("\"name\":7"), FAILS(LEAT_PROTOCOL), "\"name\""},
    {"find", 200, PLAIN, CARD_WITH("\"active\":1"), FAILS(LEAT_PROTOCOL), "\"active\""},
    {"find", 200, PLAIN, CARD_WITH("\"contact\":[]"), FAILS(LEAT_PROTOCOL),
     "\"contact\""},
    {"find", 200, PLAIN, CARD_WITH("\"contact\":{}"), FAILS(LEAT_PROTOCOL),
     "\"contact\""},
    {"find", 200, PLAIN, CARD_WITH("\"contact\":{\"uuid\":\"u\",\"email\":1}"),
     FAILS(LEAT_PROTOCOL), "\"contact\""},
    /* error codes */
    {"create", 400, PLAIN, CODE(1003), REFUSED(LEAT_INVALID_INPUT, 1003), "Oh."},
    {"find", 400, PLAIN, CODE(60003), REFUSED(LEAT_NOT_FOUND, 60003), "Oh."},
    {"link", 400, PLAIN, CODE(60004), REFUSED(LEAT_INACTIVE, 60004), "Oh."},
    {"create", 400, PLAIN, CODE(60006), REFUSED(LEAT_ALREADY_EXISTS, 60006), ""},
    {"unlink", 400, PLAIN, CODE(60011), REFUSED(LEAT_NOT_LINKED, 60011), ""},
    {"link", 400, PLAIN, CODE(60014), REFUSED(LEAT_ALREADY_LINKED, 60014), ""},
    {"link", 400, PLAIN, CODE(55031), REFUSED(LEAT_CONTACT_NOT_FOUND, 55031), ""},
    {"create", 400, PLAIN, CODE(60000), REFUSED(LEAT_QUOTA_REACHED, 60000), ""},
    {"create", 400, PLAIN, CODE(60005), REFUSED(LEAT_ALREADY_EXISTS, 60005), ""},
    {"link", 400, PLAIN, CODE(60016), REFUSED(LEAT_CONFLICT, 60016), ""},
    {"find", 400, PLAIN, CODE(60013), REFUSED(LEAT_NOT_FOUND, 60013), ""},
    {"find", 400, PLAIN, CODE(7002), REFUSED(LEAT_FORBIDDEN, 7002), ""},
    {"find", 400, PLAIN, CODE(7011), REFUSED(LEAT_FORBIDDEN, 7011), ""},
    {"find", 400, PLAIN, CODE(1053), REFUSED(LEAT_UNAUTHORIZED, 1053), ""},
    {"find", 400, PLAIN, CODE(3000), REFUSED(LEAT_UNAUTHORIZED, 3000), ""},
    {"create", 400, PLAIN, CODE(1000), LEAT_SERVER, 1000, true, ""},
    {"find", 400, PLAIN, CODE(55007), REFUSED(LEAT_API_ERROR, 55007), ""},
    {"find", 400, PLAIN, CODE(55012), REFUSED(LEAT_API_ERROR, 55012), ""},
    {"find", 400, PLAIN, CODE(55016), REFUSED(LEAT_API_ERROR, 55016), ""},
    {"find", 400, PLAIN, CODE(55017), REFUSED(LEAT_API_ERROR, 55017), ""},
    {"find", 400, PLAIN, CODE(1010), REFUSED(LEAT_API_ERROR, 1010), ""},
    {"find", 400, PLAIN, CODE(1013), REFUSED(LEAT_API_ERROR, 1013), ""},
    {"find", 400, PLAIN, CODE(1048), REFUSED(LEAT_API_ERROR, 1048), ""},
    {"find", 400, PLAIN, CODE(99999), REFUSED(LEAT_API_ERROR, 99999), "Oh."},
    /* the code takes precedence over the status */
    {"find", 404, PLAIN, CODE(60003), REFUSED(LEAT_NOT_FOUND, 60003), ""},
    {"find", 200, PLAIN, CODE(60003), REFUSED(LEAT_NOT_FOUND, 60003), ""},
    {"find", 400, PLAIN, CODE("60003"), REFUSED(LEAT_NOT_FOUND, 60003), ""},
    {"create", 500, PLAIN, CODE(60006), LEAT_ALREADY_EXISTS, 60006, true, ""},
    {"find", 400, PLAIN, "{\"code\":60003}", REFUSED(LEAT_NOT_FOUND, 60003),
     "no message"},
    {"find", 400, PLAIN, CODE("abc"), FAILS(LEAT_INVALID_INPUT), "Oh."},
    {"find", 400, PLAIN, CODE(1.5), FAILS(LEAT_INVALID_INPUT), "Oh."},
    {"find", 400, PLAIN, CODE(-1), FAILS(LEAT_INVALID_INPUT), "Oh."},
    {"find", 400, PLAIN, CODE(4294967297), FAILS(LEAT_INVALID_INPUT), "Oh."},
    /* unknown code: the status decides if it is more specific */
    {"find", 429, PLAIN, CODE(429), REFUSED(LEAT_RATE_LIMITED, 429), "rate"},
    {"create", 429, PLAIN, CODE(99999), REFUSED(LEAT_RATE_LIMITED, 99999), "Oh."},
    {"find", 503, PLAIN, CODE(503), REFUSED(LEAT_MAINTENANCE, 503), "Oh."},
    {"create", 500, PLAIN, CODE(99999), LEAT_SERVER, 99999, true, "Oh."},
    {"find", 502, PLAIN, CODE(55007), REFUSED(LEAT_SERVER, 55007), "Oh."},
    {"create", 408, PLAIN, CODE(408), LEAT_SERVER, 408, true, "Oh."},
    {"find", 401, PLAIN, CODE(401), REFUSED(LEAT_UNAUTHORIZED, 401), "API key"},
    {"create", 403, PLAIN, CODE(99999), REFUSED(LEAT_FORBIDDEN, 99999), "Oh."},
    {"find", 404, PLAIN, CODE(99999), REFUSED(LEAT_API_ERROR, 99999), "Oh."},
    {"create", 422, PLAIN, CODE(99999), REFUSED(LEAT_API_ERROR, 99999), "Oh."},
    {"find", 200, PLAIN, CODE(99999), REFUSED(LEAT_API_ERROR, 99999), "Oh."},
    {"find", 429, PLAIN, CODE(60003), REFUSED(LEAT_NOT_FOUND, 60003), "Oh."},
    /* an HTML page with 401 or 403 is not the API's: it says nothing about the key or a ** change */
    {"find", 403, LEAT_LENGTH, "text/html; charset=utf-8",
     "<!DOCTYPE html><html><head><TITLE id=\"t\">\n Access\n denied \n</TITLE></head>",
     FAILS(LEAT_PROTOCOL), "an HTML page (\"Access  denied\") came instead"},
    {"create", 403, LEAT_LENGTH, "Text/HTML", "blocked", UNKNOWN(LEAT_PROTOCOL),
     "an HTML page came instead"},
    {"create", 401, PLAIN, "\xEF\xBB\xBF\r\n <html>", UNKNOWN(LEAT_PROTOCOL),
     "an HTML page came instead"},
    {"update", 401, LEAT_LENGTH, "application/json", "<html><title",
     UNKNOWN(LEAT_PROTOCOL), "an HTML page came instead"},
    {"find", 401, LEAT_LENGTH, "text/html", "<title>a<b", FAILS(LEAT_PROTOCOL),
     "(\"a\")"},
    {"find", 403, PLAIN, "<title>a", FAILS(LEAT_PROTOCOL), "(\"a\")"},
    {"find", 401, LEAT_LENGTH, "text/html", "", FAILS(LEAT_UNAUTHORIZED), "API key"},
    {"find", 403, LEAT_LENGTH, "text/htmlx", "No.", FAILS(LEAT_FORBIDDEN), "API key"},
    {"find", 429, LEAT_LENGTH, "text/html", "<h1>Slow</h1>", FAILS(LEAT_RATE_LIMITED),
     "rate"},
    /* statuses without a code */
    {"find", 401, PLAIN, "{\"message\":\"Unauthenticated.\"}",
     FAILS(LEAT_UNAUTHORIZED), "Unauthenticated. (is the API key right"},
    {"find", 401, LEAT_LENGTH, "text/plain", "invalid_token", FAILS(LEAT_UNAUTHORIZED),
     "invalid_token"},
    {"create", 403, PLAIN, "", FAILS(LEAT_FORBIDDEN), ""},
    {"find", 404, PLAIN, "{\"message\":\"\"}", FAILS(LEAT_CONFIG), "base_url"},
    {"find", 404, LEAT_LENGTH, "text/html", "<h1>Not Found</h1>", FAILS(LEAT_CONFIG),
     "base_url"},
    {"create", 405, LEAT_LENGTH, "text/html", "", FAILS(LEAT_CONFIG), "base_url"},
    {"create", 408, PLAIN, "", UNKNOWN(LEAT_SERVER), ""},
    {"create", 425, PLAIN, "", FAILS(LEAT_SERVER), ""},
    {"create", 413, LEAT_LENGTH, "text/html", "<h1>413</h1>", FAILS(LEAT_TOO_LARGE), ""},
    {"create", 422, PLAIN,
     "{\"message\":\"No.\",\"errors\":{\"contact_uuid\":[\"Is required.\"]}}",
     FAILS(LEAT_INVALID_INPUT), "No. contact_uuid: Is required."},
    {"create", 400, LEAT_LENGTH, "text/html", "The plain HTTP request",
     FAILS(LEAT_PROTOCOL), "The plain HTTP request"},
    {"create", 429, PLAIN, "{\"message\":\"Too Many Attempts.\"}",
     FAILS(LEAT_RATE_LIMITED), "Too Many"},
    {"create", 503, LEAT_LENGTH, "text/html", "<h1>Down</h1>",
     UNKNOWN(LEAT_MAINTENANCE), "again later"},
    {"create", 503, PLAIN, "", UNKNOWN(LEAT_MAINTENANCE), ""},
    {"find", 503, PLAIN, "", FAILS(LEAT_MAINTENANCE), ""},
    {"create", 500, PLAIN, "{\"message\":\"Server Error\"}", UNKNOWN(LEAT_SERVER),
     "Server Error"},
    {"update", 502, LEAT_LENGTH, "text/html", "<h1>Bad Gateway</h1>",
     UNKNOWN(LEAT_SERVER), "Bad Gateway"},
    {"delete", 504, LEAT_CLOSE_DELIMITED, "", "", UNKNOWN(LEAT_SERVER), ""},
    {"find", 418, PLAIN, "", FAILS(LEAT_PROTOCOL), ""},
    {"find", 304, LEAT_NO_BODY, "", "", FAILS(LEAT_PROTOCOL), ""},
};
/* clang-format on */

static leat_call *call_after(leat_client *client, const struct response_case *c) {
  leat_header type = {leat_s("Content-Type"), leat_s(c->type)};
  leat_response response = {c->status, &type, c->type[0] ? 1 : 0, leat_s(c->body),
                            c->framing};
  leat_call *call = bare_call(client, c->operation);
  set(call, "contact_identifier_value", "1");
  if (strcmp(c->operation, "link") == 0) set(call, "contact_uuid", "u");
  if (strcmp(c->operation, "update") == 0) set(call, "contact_identifier_name", "N");
  now.monotonic_ms += 60000; /* ends any pause of the previous case */
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_call_respond(call, now, &response);
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  return call;
}

static void test_responses(leat_client *client) {
  TEST("responses");
  for (size_t i = 0; i < sizeof responses / sizeof responses[0]; i++) {
    const struct response_case *c = &responses[i];
    leat_call *call = call_after(client, c);
    const leat_error *error = leat_call_error(call);
    leat_contact_identifier card;
    char text[1024];
    bool good = error->kind == c->kind && error->code == c->code &&
                error->outcome_unknown == c->unknown && error->status == c->status &&
                error->attempts == 1 && error->retry_after_ms == -1 &&
                strstr(error->message, c->message) != NULL;
    bool is_card = c->kind == LEAT_OK && strcmp(c->operation, "delete") != 0;
    if (!CHECK(good))
      printf("  case %zu: %s\n", i, leat_error_text(error, text, sizeof text));
    CHECK(leat_call_contact_identifier(call, &card) == is_card);
    leat_call_free(call);
  }
}

static void check_same(const char *a, const char *b, bool same) {
  CHECK(leat_same_value(leat_s(a), leat_s(b)) == same);
  CHECK(leat_same_value(leat_s(b), leat_s(a)) == same);
}

static void check_spelling(leat_client *client, const char *operation, const char *asked,
                           const char *body, leat_kind kind) {
  leat_response response = {200, NULL, 0, leat_s(body), LEAT_LENGTH};
  leat_call *call = bare_call(client, operation);
  set(call, strcmp(operation, "list") == 0 ? "contact_uuid" : "contact_identifier_value",
      asked);
  leat_call_next(call, now);
  leat_call_respond(call, now, &response);
  if (!CHECK(leat_call_error(call)->kind == kind))
    printf("  %s %s: %s\n", operation, asked, leat_call_error(call)->message);
  leat_call_free(call);
}

/* The service trims values, and its database ignores case. */
static void test_spellings(leat_client *client) {
  leat_contact_identifier card;
  TEST("values that name the same card");
  check_same("0042", " 0042\t\r\n", true);
  check_same("abC", "ABc", true);
  check_same("", " ", true);
  check_same("0042", "042", false);
  check_same("0042", "00 42", false);
  check_same("\xC3\xA9", "\xC3\x89", false); /* case-insensitive for ASCII only */
  check_same("a", "", false);
  CHECK(!leat_same_value((leat_string){NULL, 0}, leat_s("")));
  CHECK(!leat_same_value((leat_string){NULL, 0}, (leat_string){NULL, 0}));
  TEST("responses in the service's spelling");
  static const char body[] = "{\"data\":{\"value\":\"0042A\"}}";
  check_spelling(client, "find", "0042a ", body, LEAT_OK);
  check_spelling(client, "create", " 0042A", body, LEAT_OK);
  check_spelling(client, "delete", "0042a ", body, LEAT_OK);
  check_spelling(client, "find", "042A", body, LEAT_PROTOCOL);
  check_spelling(client, "delete", "042A", body, LEAT_PROTOCOL);
  check_spelling(client, "list", "ABC-1",
                 "{\"data\":[{\"value\":\"1\",\"contact\":{\"uuid\":\"abc-1\"}}]}",
                 LEAT_OK);
  struct response_case c = {
      "find",  200, LEAT_LENGTH, "", "{\"data\":{\"value\":\" 1\"}}",
      LEAT_OK, 0,   false,       ""};
  leat_call *call = call_after(client, &c);
  CHECK(leat_call_contact_identifier(call, &card));
  CHECK(card.value.length == 2 && memcmp(card.value.data, " 1", 2) == 0);
  leat_call_free(call);
}

static void test_deep(leat_client *client) {
  char body[512];
  TEST("nesting");
  for (int depth = 28; depth <= 34; depth++) {
    int length = snprintf(body, sizeof body, "{\"data\":{\"value\":\"1\",\"x\":");
    for (int i = 2; i < depth; i++)
      body[length++] = '[';
    for (int i = 2; i < depth; i++)
      body[length++] = ']';
    snprintf(body + length, sizeof body - (size_t)length, ",\"y\":\"[[[[\\\"[[[[\"}}");
    struct response_case c = {"find", 200, LEAT_LENGTH, "", body, LEAT_OK, 0, false, ""};
    leat_call *call = call_after(client, &c);
    CHECK((leat_call_error(call)->kind == LEAT_OK) == (depth <= 32));
    leat_call_free(call);
  }
}

static void test_card(leat_client *client) {
  leat_contact_identifier card;
  leat_call *call = call_after(client, &responses[0]);
  TEST("the typed view");
  CHECK(leat_call_contact_identifier(call, &card));
  CHECK(card.value.length == 1 && card.value.data[0] == '1');
  CHECK(card.name.length == 1 && card.active == 1);
  CHECK(card.contact_uuid.length == 1 && card.contact_email.length == 1);
  CHECK(leat_json_type(leat_call_meta(call)) == LEAT_ARRAY);
  CHECK(leat_call_info(call).status == 200 && leat_call_info(call).attempts == 1);
  leat_call_free(call);
  call = call_after(client, &responses[5]);
  CHECK(leat_call_contact_identifier(call, &card));
  CHECK(card.name.data == NULL && card.active == -1 && card.contact_uuid.data == NULL);
  leat_call_free(call);
}

static void check_fields(leat_client *client, const char *errors, const char *wanted) {
  char body[512], got[512] = "";
  leat_field field;
  snprintf(body, sizeof body, "{\"message\":\"No.\",\"code\":1003,\"errors\":%s}",
           errors);
  struct response_case c = {"create", 400, LEAT_LENGTH, "", body, LEAT_OK, 0, false, ""};
  leat_call *call = call_after(client, &c);
  for (size_t i = 0; leat_call_field(call, i, &field); i++)
    snprintf(got + strlen(got), sizeof got - strlen(got), "%s=%s;", field.name.data,
             field.message.data);
  CHECK_STR(got, wanted);
  CHECK(leat_call_error(call)->kind == LEAT_INVALID_INPUT);
  leat_call_free(call);
}

static void test_fields(leat_client *client) {
  TEST("errors in each of its shapes");
  check_fields(client, "{\"a\":[\"x\",\"y\"],\"b\":[\"z\"]}", "a=x;a=y;b=z;");
  check_fields(client, "{\"a\":\"x\"}", "a=x;");
  check_fields(client, "[\"x\",\"y\"]", "=x;=y;");
  check_fields(client, "\"x\"", "=x;");
  check_fields(client, "[]", "");
  check_fields(client, "{}", "");
  check_fields(client, "null", "");
  check_fields(client, "{\"a\":{\"b\":1},\"c\":[1,null,\"x\"]}", "c=x;");
}

/* Returns true if a long message of three-byte characters ends with a whole one. */
static bool is_whole(const char *message) {
  const char *last = strrchr(message, '\xE2');
  size_t left = last ? strlen(last) : 0;
  return strlen(message) > 300 && left >= 3 && memcmp(last, "\xE2\x82\xAC", 3) == 0;
}

/* Very large responses: the kept data is limited, and a message ends with a whole
** character. */
static void test_many_fields(leat_client *client) {
  enum { SIZE = 200000 };
  char *body = malloc(SIZE);
  leat_field field;
  size_t count = 0, length;
  TEST("very many errors");
  length =
      (size_t)sprintf(body, "{\"message\":\"No.\",\"code\":1003,\"errors\":{\"a\":[");
  while (length < SIZE - 100)
    length += (size_t)sprintf(body + length, "\"\xC3\xA9\xE2\x82\xAC\",");
  strcpy(body + length, "\"\"]}}");
  struct response_case c = {"create", 400, LEAT_LENGTH, "", body, LEAT_OK, 0, false, ""};
  leat_call *call = call_after(client, &c);
  while (leat_call_field(call, count, &field))
    count++;
  CHECK(count == 32);
  leat_call_free(call);
  for (size_t shift = 0; shift < 3; shift++) { /* every position within a character */
    length = (size_t)sprintf(body, "{\"code\":1003,\"message\":\"%.*s\",\"errors\":[\"",
                             (int)shift, "xx");
    for (int i = 0; i < 250; i++)
      length += (size_t)sprintf(body + length, "\xE2\x82\xAC");
    strcpy(body + length, "\",\"y\",\"\xC3\xA9\"]}");
    call = call_after(client, &c);
    CHECK(is_whole(leat_call_error(call)->message));
    leat_call_free(call);
  }
  free(body);
}

static void check_redirect(leat_client *client, const char *location, const char *host) {
  leat_header header = {leat_s("location"), leat_s(location)};
  leat_response response = {302, &header, 1, leat_s("<html>"), LEAT_LENGTH};
  leat_call *call = card_call(client, "unlink");
  leat_call_next(call, now);
  leat_call_respond(call, now, &response);
  CHECK(leat_call_error(call)->kind == LEAT_REDIRECT);
  CHECK(!leat_call_error(call)->outcome_unknown);
  if (!CHECK(strstr(leat_call_error(call)->message, host) != NULL))
    printf("  got %s\n", leat_call_error(call)->message);
  leat_call_free(call);
}

static void test_redirects(leat_client *client) {
  TEST("redirects name their host");
  check_redirect(client, "https://login.example/in?to=" KEY,
                 "redirects to login.example;");
  check_redirect(client, "/login", "redirects to https://api.piggy.eu;");
  check_redirect(client, "//evil.example/x", "redirects to evil.example;");
  check_redirect(client, "file:///etc/passwd", "redirects to https://api.piggy.eu;");
  check_redirect(client, "/in?to=https://x.example/",
                 "redirects to https://api.piggy.eu;");
  check_redirect(client, "", "redirects to https://api.piggy.eu;");
  check_redirect(client, "https://me:pw@evil.example/", "redirects to evil.example;");
  check_redirect(client, "https://evil.example\\@good.example",
                 "redirects to evil.example;");
}

/* Our clock is at Tue, 14 Nov 2023 22:13:20 GMT. A Retry-After date is compared with the
** Date of the same response, or without one, with our clock. */
static const struct date_case {
  const char *retry_after, *date;
  int64_t ms;
} dates[] = {
    {"7", "Tue, 14 Nov 2023 22:13:20 GMT", 7000},
    {"Tue, 14 Nov 2023 22:13:30 GMT", "", 10000},
    {"Tuesday, 14-Nov-23 22:13:30 GMT", "", 10000},
    {"Tue Nov 14 22:13:30 2023", "", 10000},
    {"Fri Dec  1 22:13:20 2023", "", INT64_C(17) * 86400000},
    {"Sunday, 31-Dec-72 23:59:59 GMT", "", INT64_C(315360000000)},
    {"Sunday, 06-Nov-94 08:49:37 GMT", "", 0}, /* not in 2094 */
    /* the server's clock differs by an hour */
    {"Tue, 14 Nov 2023 21:13:30 GMT", "Tue, 14 Nov 2023 21:13:20 GMT", 10000},
    {"Tue, 14 Nov 2023 23:13:30 GMT", "Tue, 14 Nov 2023 23:13:20 GMT", 10000},
    {"Tuesday, 14-Nov-23 21:13:30 GMT", "Tue Nov 14 21:13:20 2023", 10000},
    {"Tue, 14 Nov 2023 22:13:30 GMT", "yesterday", 10000},
    {"Tue Nov 14 22:13:30 2023 GMT", "", -1},
    {"Tue Nov 014 22:13:30 2023", "", -1},
    {"Tue Nov 4  22:13:30 2023", "", -1},
    {"Tuesday, 14-Nov-2023 22:13:30 GMT", "", -1},
    {"Tuesday 14-Nov-23 22:13:30 GMT", "", -1},
    {"Tue,14 Nov 2023 22:13:30 GMT", "", -1},
    {"Tue, dd Nov 2023 hh:13:30 GMT", "", -1},
    {"Tue, 14 bbb 2023 22:13:30 GMT", "", -1},
    {"Tue,", "", -1},
    {",", "", -1},
    {"Tue", "", -1},
};

static void test_dates(void) {
  TEST("dates in Retry-After");
  for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
    const struct date_case *c = &dates[i];
    leat_header headers[] = {{leat_s("Retry-After"), leat_s(c->retry_after)},
                             {leat_s("Date"), leat_s(c->date)}};
    leat_response response = {429, headers, c->date[0] ? 2 : 1, leat_s("{}"),
                              LEAT_LENGTH};
    leat_client *client = golden_client(); /* the previous one is paused */
    leat_call *call = card_call(client, "find");
    leat_call_next(call, now);
    leat_call_respond(call, now, &response);
    if (!CHECK(leat_call_error(call)->retry_after_ms == c->ms))
      printf("  %s: %lld\n", c->retry_after,
             (long long)leat_call_error(call)->retry_after_ms);
    FREE_ALL(client, call);
  }
}

/* A transport may deliver a body of any size, so the call checks the limit too. */
static void test_max_body(void) {
  static const char *const operations[] = {"find", "create"};
  leat_config config = {.api_key = KEY, .max_attempts = 1, .max_body = 22};
  leat_client *client = leat_client_new(&config, NULL);
  TEST("the largest response");
  for (size_t i = 0; i < 2; i++)
    for (size_t size = 22; size < 24; size++) {
      struct response_case c = {
          operations[i], 200, LEAT_LENGTH, "", "{\"data\":{\"value\":\"1\"}} ",
          LEAT_OK,       0,   false,       ""};
      leat_response response = {200, NULL, 0, {c.body, size}, LEAT_LENGTH};
      leat_call *call = bare_call(client, c.operation);
      set(call, "contact_identifier_value", "1");
      leat_call_next(call, now);
      leat_call_respond(call, now, &response);
      const leat_error *error = leat_call_error(call);
      CHECK(error->kind == (size == 22 ? LEAT_OK : LEAT_TOO_LARGE));
      CHECK(error->outcome_unknown == (size > 22 && i == 1));
      leat_call_free(call);
    }
  leat_client_free(client);
}

/* ---- instead of a response -------------------------------------------------------- */

/* A page from an intermediary proves nothing, even if it exceeds the limit. */
static void test_large_page(void) {
  leat_config config = {.api_key = KEY, .max_body = 16, .max_attempts = 1};
  leat_client *client = leat_client_new(&config, NULL);
  leat_call *call = bare_call(client, "create");
  leat_response page = {403, NULL, 0, leat_s("<html><title>Blocked</title>"),
                        LEAT_LENGTH};
  TEST("a page that is larger than max_body");
  set(call, "contact_identifier_value", "1");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_call_respond(call, now, &page);
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->outcome_unknown);
  CHECK(leat_call_error(call)->kind == LEAT_PROTOCOL);
  FREE_ALL(client, call);
}

/* Strings with data NULL are treated as absent, whatever length the driver gave. */
static void test_missing_text(leat_client *client) {
  static const leat_string none = {NULL, 3};
  leat_header headers[] = {{none, none}, {leat_s("Content-Type"), none}};
  const leat_response broken[] = {{200, NULL, 0, none, LEAT_LENGTH},
                                  {200, NULL, 2, leat_s("{}"), LEAT_LENGTH},
                                  {403, headers, 2, leat_s("x"), LEAT_LENGTH},
                                  {503, headers, 2, leat_s(""), LEAT_LENGTH}};
  TEST("a response with NULL in it");
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    leat_call *call = card_call(client, "find");
    CHECK(leat_call_next(call, now) == LEAT_SEND);
    leat_call_respond(call, now, &broken[i]);
    check_misuse(call, "NULL");
  }
}

static void test_failures(leat_client *client) {
  leat_call *call = bare_call(client, "create");
  char text[1024];
  TEST("no response");
  set(call, "contact_identifier_value", "1");
  leat_call_next(call, now);
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "late");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->outcome_unknown);
  CHECK_STR(
      leat_error_text(leat_call_error(call), text, sizeof text),
      "leat: contact_identifiers.create: timeout: late [outcome unknown: find it before "
      "you try again]");
  leat_call_fail(call, now, LEAT_TLS, LEAT_SENT_NO, "again"); /* keeps the first error */
  CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
  leat_call_free(call);
  TEST("canceled before it began");
  call = card_call(client, "create");
  leat_call_fail(call, now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->attempts == 0 && !leat_call_error(call)->outcome_unknown);
  leat_call_free(call);
}

/* ---- secrets --------------------------------------------------------------------- */

static void check_secret(const char *text) {
  for (size_t i = 0; i + 8 <= strlen(KEY); i++) {
    char piece[9] = "";
    memcpy(piece, &KEY[i], 8);
    CHECK(strstr(text, piece) == NULL);
  }
}

static void test_secrets(leat_client *client) {
  static const char *const bodies[] = {
      "{\"message\":\"bad key " KEY "!\",\"code\":1053}",
      "{\"message\":\"x\",\"code\":1003,\"errors\":{\"" KEY "\":[\"Bearer " KEY "\"]}}",
      "{\"message\":\"1|golden-5d\\u00307\",\"code\":1003}",
      "<html>" KEY "</html>",
      "{\"data\": " KEY " }",
  };
  leat_field field;
  char text[1024];
  TEST("the token in a response");
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    int status = strstr(bodies[i], "data") ? 200 : 400;
    struct response_case c = {"find",  status, LEAT_LENGTH, KEY, bodies[i],
                              LEAT_OK, 0,      false,       ""};
    leat_call *call = call_after(client, &c);
    check_secret(leat_error_text(leat_call_error(call), text, sizeof text));
    CHECK(strstr(text, "[token]") != NULL);
    for (size_t n = 0; leat_call_field(call, n, &field); n++) {
      check_secret(field.name.data);
      check_secret(field.message.data);
    }
    leat_call_free(call);
  }
  leat_call *call = card_call(client, "find");
  leat_call_next(call, now);
  leat_call_fail(call, now, LEAT_PROTOCOL, LEAT_SENT_MAYBE, "seen: Bearer " KEY);
  check_secret(leat_error_text(leat_call_error(call), text, sizeof text));
  leat_call_free(call);
}

static void test_control_characters(leat_client *client) {
  struct response_case c = {"find", 400, LEAT_LENGTH, "", "", LEAT_OK, 0, false, ""};
  TEST("terminal escapes in a message");
  c.body = "{\"message\":\"a\\u001b[31mb\\u009bc\\u007fd\\r\\ne\",\"code\":1003}";
  leat_call *call = call_after(client, &c);
  CHECK_STR(leat_call_error(call)->message, "a [31mb c d  e");
  leat_call_free(call);
  c = (struct response_case){"find",  200, LEAT_LENGTH, "", "[\033]",
                             LEAT_OK, 0,   false,       ""};
  call = call_after(client, &c); /* the decoder rejects an escape character */
  CHECK(strchr(leat_call_error(call)->message, '\033') == NULL);
  leat_call_free(call);
}

/* Messages contain no bidirectional controls, line breaks or invisible characters. */
static void test_invisible_characters(leat_client *client) {
  static const char *const hidden[] = {
      "\xC2\xAD",     "\xD8\x9C",     "\xE1\xA0\x8E", /* soft hyphen, Arabic mark */
      "\xE2\x80\x8B", "\xE2\x80\x8C", "\xE2\x80\x8D", /* zero-width */
      "\xE2\x80\x8E", "\xE2\x80\x8F", "\xE2\x80\xAA", /* bidirectional */
      "\xE2\x80\xAB", "\xE2\x80\xAC", "\xE2\x80\xAD",     "\xE2\x80\xAE",
      "\xE2\x81\xA6", "\xE2\x81\xA7", "\xE2\x81\xA8",     "\xE2\x81\xA9",
      "\xE2\x80\xA8", "\xE2\x80\xA9", /* line and paragraph separator */
      "\xE2\x81\xA0", "\xEF\xBB\xBF", "\xF3\xA0\x81\x81", /* joiner, BOM, tag */
  };
  static const char *const shown[] = {"\xC3\xA9", "\xE2\x82\xAC", "\xD7\x90",
                                      "\xE2\x80\x90", "\xF0\x9F\x98\x80"};
  char body[256], wanted[64];
  leat_field field;
  TEST("characters that are not seen");
  for (size_t i = 0; i < sizeof hidden / sizeof hidden[0] + 5; i++) {
    size_t count = sizeof hidden / sizeof hidden[0];
    const char *character = i < count ? hidden[i] : shown[i - count];
    snprintf(body, sizeof body,
             "{\"message\":\"a%sb\",\"code\":1003,\"errors\":{\"x%sy\":\"c%sd\"}}",
             character, character, character);
    struct response_case c = {"find", 400, LEAT_LENGTH, "", body, LEAT_OK, 0, false, ""};
    leat_call *call = call_after(client, &c);
    if (i < count) character = " ";
    snprintf(wanted, sizeof wanted, "a%sb x%sy: c%sd", character, character, character);
    CHECK_STR(leat_call_error(call)->message, wanted);
    CHECK(leat_call_field(call, 0, &field));
    snprintf(wanted, sizeof wanted, "x%sy", character);
    CHECK_STR(field.name.data, wanted);
    leat_call_free(call);
  }
}

/* ---- lifetimes ------------------------------------------------------------------- */

static void test_lifetimes(void) {
  leat_client *client = golden_client();
  leat_call *call = call_after(client, &responses[0]);
  TEST("a client freed before its call");
  leat_client_free(client);
  CHECK(leat_call_data(call) != NULL);
  leat_call_free(call);
}

int main(int argc, char **argv) {
  leat_client *client = golden_client();
  test_golden(client, argc > 1 ? argv[1] : "spec/cases");
  test_request(client);
  test_other_requests(client);
  test_headers_of_a_call(client);
  test_headers_that_are_refused(client);
  test_value(client);
  test_misuse(client);
  test_late(client);
  test_misused_requests(client);
  test_large_request(client);
  test_null();
  test_null_arguments(client);
  test_config();
  test_urls();
  test_responses(client);
  test_spellings(client);
  test_deep(client);
  test_card(client);
  test_fields(client);
  test_many_fields(client);
  test_redirects(client);
  test_dates();
  test_max_body();
  test_failures(client);
  test_large_page();
  test_missing_text(client);
  test_secrets(client);
  test_control_characters(client);
  test_invisible_characters(client);
  test_lifetimes();
  leat_client_free(client);
  return test_summary("call");
}
