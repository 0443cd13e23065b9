/*
** http1_test.c - the codec through its public API, without a socket: the responses of
** spec/cases/http1.cases in all kinds of pieces, what calls make of them, and the
** requests.
*/
#include "calls.h"
#include "feed.h"
#include "http_cases.h"
#include "secrets.h"
#include "test.h"

/* ---- feeding --------------------------------------------------------------------- */

/* What a driver sees at the end of an exchange. */
typedef struct seen {
  leat_http1_state state;
  bool reusable;
} seen;

static leat_http1_state begin(leat_http1 *http, const http_case *c) {
  leat_request request = {.method = leat_s(c->method),
                          .origin = leat_s("https://api.example"),
                          .target = leat_s("/"),
                          .max_body = 1024 * 1024};
  leat_http1_state state = leat_http1_begin(http, &request);
  if (!c->unsent) leat_http1_sent(http, leat_http1_output(http).length);
  return state;
}

/* Performs an exchange. The response comes in a first piece of `first` bytes, then in
** pieces of `step` bytes. */
static seen exchange(leat_http1 *http, const http_case *c, size_t first, size_t step) {
  leat_http1_state state = begin(http, c);
  size_t at = 0, left = 0, n = first;
  while (at < c->response.length && state == LEAT_HTTP1_MORE) {
    if (n > c->response.length - at) n = c->response.length - at;
    left = feed(http, c->response.data + at, n, n, &state);
    at += n;
    n = step;
  }
  left += c->response.length - at;
  if (state == LEAT_HTTP1_MORE && c->closes) state = leat_http1_closed(http);
  /* a driver closes the connection if unread bytes are in the socket */
  return (seen){state, leat_http1_reusable(http) && left == 0};
}

static bool is_wanted_response(const leat_http1 *http, const http_case *c, seen s) {
  const leat_response *response = leat_http1_response(http);
  if (s.state != LEAT_HTTP1_RESPONSE || response == NULL) return false;
  return response->status == c->status && response->framing == c->framing &&
         s.reusable == c->reusable && response->body.length == c->body.length &&
         (c->body.data == NULL || c->body.length == 0 ||
          memcmp(response->body.data, c->body.data, c->body.length) == 0);
}

static bool is_wanted(const leat_http1 *http, const http_case *c, seen s, bool whole) {
  const char *detail;
  leat_kind failure = leat_http1_failure(http, &detail);
  if (c->want == WANT_RESPONSE) return is_wanted_response(http, c, s);
  if (leat_http1_response(http) != NULL || leat_http1_reusable(http)) return false;
  if (c->want == WANT_MORE) return s.state == LEAT_HTTP1_MORE && failure == LEAT_OK;
  /* if a line came in pieces, the detail shows only what had arrived */
  return s.state == LEAT_HTTP1_FAILED && failure == c->failure &&
         (strstr(detail, c->piece) || !whole);
}

static bool check(leat_http1 *http, const http_case *c, size_t first, size_t step) {
  const char *detail;
  seen s = exchange(http, c, first, step);
  if (is_wanted(http, c, s, first >= c->response.length)) return true;
  const leat_response *response = leat_http1_response(http);
  leat_http1_failure(http, &detail);
  printf(
      "  http1.cases:%d, first %zu, then %zu: state %d, status %d, %zu bytes, %s; %s\n",
      c->line, first, step, s.state, response ? response->status : 0,
      response ? response->body.length : 0, s.reusable ? "reusable" : "final", detail);
  return false;
}

/* Feeds the response whole, byte by byte, and split at every position; a long response at
** many positions. */
static void test_splits(leat_http1 *http, const http_case *c) {
  size_t length = c->response.length;
  size_t stride = 1 + (size_t)((uint64_t)length * length / 20000000);
  TEST(c->name);
  CHECK(check(http, c, length + 1, 1));
  CHECK(check(http, c, 1, 1));
  bool good = true;
  for (size_t first = 1; first < length && good; first += stride)
    good = check(http, c, first, length);
  CHECK(good);
}

/* ---- results of calls ------------------------------------------------------------ */

static void deliver(leat_call *call, leat_http1 *http, seen s) {
  const char *detail;
  leat_kind kind = leat_http1_failure(http, &detail);
  if (s.state == LEAT_HTTP1_RESPONSE)
    leat_call_respond(call, now, leat_http1_response(http));
  else leat_call_fail(call, now, kind, LEAT_SENT_MAYBE, detail);
}

static void test_calls(leat_http1 *http, const http_case *c) {
  TEST(c->name);
  for (size_t i = 0; i < c->call_count; i++) {
    const call_want *w = &c->calls[i];
    leat_client *client = /* a new client each, because a response may pause it */
        new_client((leat_config){.max_attempts = 1});
    leat_call *call = card_call(client, w->operation);
    CHECK(leat_call_next(call, now) == LEAT_SEND);
    deliver(call, http, exchange(http, c, c->response.length, 1));
    CHECK(leat_call_next(call, now) == LEAT_DONE);
    const leat_error *error = leat_call_error(call);
    if (!CHECK(error->kind == w->kind && error->outcome_unknown == w->unknown &&
               strstr(error->message, w->piece) != NULL))
      printf("  http1.cases:%d, %s: %s%s: %s\n", c->line, w->operation,
             leat_kind_name(error->kind), error->outcome_unknown ? " unknown" : "",
             error->message);
    FREE_ALL(client, call);
  }
}

/* ---- requests -------------------------------------------------------------------- */

static void check_bytes(leat_request request, const char *wanted) {
  leat_http1 *http = leat_http1_new();
  request.origin = leat_s("https://api.example:8443");
  CHECK(leat_http1_begin(http, &request) == LEAT_HTTP1_MORE);
  CHECK(!leat_http1_reusable(http) && leat_http1_response(http) == NULL);
  leat_string out = leat_http1_output(http);
  char text[512] = "";
  if (CHECK(out.length < sizeof text)) memcpy(text, out.data, out.length);
  CHECK_STR(text, wanted);
  leat_http1_sent(http, 3);
  CHECK(leat_http1_output(http).data == out.data + 3);
  leat_http1_sent(http, SIZE_MAX); /* more than there is */
  CHECK(leat_http1_output(http).length == 0);
  leat_http1_free(http);
}

static void test_requests(void) {
  static const leat_header header = {{"X-One", 5}, {"Zo\xC3\xAB \t", 6}};
  TEST("requests as bytes");
  check_bytes((leat_request){.method = leat_s("GET"), .target = leat_s("/a?b=c")},
              "GET /a?b=c HTTP/1.1\r\nHost: api.example:8443\r\n\r\n");
  check_bytes((leat_request){.method = leat_s("DELETE"), .target = leat_s("/a")},
              "DELETE /a HTTP/1.1\r\nHost: api.example:8443\r\n\r\n");
  check_bytes((leat_request){.method = leat_s("POST"), .target = leat_s("/a")},
              "POST /a HTTP/1.1\r\nHost: api.example:8443\r\nContent-Length: 0\r\n\r\n");
  check_bytes((leat_request){.method = leat_s("PUT"),
                             .target = leat_s("/a"),
                             .headers = &header,
                             .header_count = 1,
                             .body = leat_s("{}")},
              "PUT /a HTTP/1.1\r\nHost: api.example:8443\r\nX-One: Zo\xC3\xAB \t\r\n"
              "Content-Length: 2\r\n\r\n{}");
}

/* The codec refuses to send anything that could end a line or begin another request. */
static void test_refused_requests(void) {
  static const struct {
    const char *method, *target, *origin, *name, *value;
    size_t value_length;
  } bad[] = {
      {"GET X", "/", "https://h", "N", "v", 1},
      {"GET\r\n", "/", "https://h", "N", "v", 1},
      {"", "/", "https://h", "N", "v", 1},
      {"GET", "", "https://h", "N", "v", 1},
      {"GET", "x", "https://h", "N", "v", 1},
      {"GET", "*", "https://h", "N", "v", 1},
      {"GET", "/ HTTP/1.1\r\nX: y", "https://h", "N", "v", 1},
      {"GET", "/\xC3\xAB", "https://h", "N", "v", 1},
      {"GET", "/\x7F", "https://h", "N", "v", 1},
      {"GET", "/", "https://h\r\nX: y", "N", "v", 1},
      {"GET", "/", "https://h", "", "v", 1},
      {"GET", "/", "https://h", "N:", "v", 1},
      {"GET", "/", "https://h", "N\n", "v", 1},
      {"GET", "/", "https://h", "N", "v\r\nX: y", 7},
      {"GET", "/", "https://h", "N", "v\ny", 3},
      {"GET", "/", "https://h", "N", "v\0y", 3},
  };
  TEST("requests that are refused");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    leat_header header = {leat_s(bad[i].name), {bad[i].value, bad[i].value_length}};
    leat_request request = {.method = leat_s(bad[i].method),
                            .origin = leat_s(bad[i].origin),
                            .target = leat_s(bad[i].target),
                            .headers = &header,
                            .header_count = 1};
    leat_http1 *http = leat_http1_new();
    const char *detail;
    CHECK(leat_http1_begin(http, &request) == LEAT_HTTP1_FAILED);
    CHECK(leat_http1_failure(http, &detail) == LEAT_MISUSE && detail[0] != '\0');
    CHECK(leat_http1_output(http).length == 0);
    leat_http1_free(http);
  }
}

/* ---- responses ------------------------------------------------------------------- */

static void check_header(const leat_response *response, const char *name,
                         const char *wanted) {
  char text[64] = "(none)";
  leat_string value = leat_response_header(response, name);
  if (value.data) snprintf(text, sizeof text, "%.*s", (int)value.length, value.data);
  CHECK_STR(text, wanted);
}

static void test_headers(leat_http1 *http) {
  static char text[] = "HTTP/1.1 200 OK\r\nRetry-After: \t5 \t\r\nX-Empty:\r\n"
                       "retry-after: 6\r\nContent-Length: 0\r\n\r\n";
  http_case c = {.method = "GET", .response = {text, sizeof text - 1}};
  TEST("headers of a response");
  exchange(http, &c, 1, 1);
  const leat_response *response = leat_http1_response(http);
  if (!CHECK(response != NULL)) return;
  CHECK(response->header_count == 4);
  check_header(response, "RETRY-AFTER", "5");
  check_header(response, "x-empty", "");
  check_header(response, "x-empt", "(none)");
  check_header(response, "x-empty-", "(none)");
}

/* After the end the codec keeps its result, and accepts no more bytes. */
static void test_end(leat_http1 *http) {
  static char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
  http_case c = {.method = "GET", .response = {text, sizeof text - 1}};
  size_t room;
  TEST("before the beginning");
  leat_http1 *idle = leat_http1_new();
  CHECK(leat_http1_output(idle).length == 0 && !leat_http1_reusable(idle));
  CHECK(leat_http1_space(idle, &room) == NULL);
  leat_http1_free(idle);
  TEST("after the end");
  CHECK(exchange(http, &c, 100, 1).state == LEAT_HTTP1_RESPONSE);
  CHECK(leat_http1_space(http, &room) == NULL && room == 0);
  CHECK(leat_http1_received(http, 0) == LEAT_HTTP1_RESPONSE);
  CHECK(leat_http1_closed(http) == LEAT_HTTP1_RESPONSE);
  text[0] = 'X';
  CHECK(exchange(http, &c, 100, 1).state == LEAT_HTTP1_FAILED);
  CHECK(leat_http1_space(http, &room) == NULL && room == 0);
  CHECK(leat_http1_received(http, 0) == LEAT_HTTP1_FAILED);
  CHECK(leat_http1_closed(http) == LEAT_HTTP1_FAILED);
  text[0] = 'H';
}

static void test_small_limit(leat_http1 *http) {
  leat_http1_state state;
  leat_request request = {.method = leat_s("GET"),
                          .origin = leat_s("http://h"),
                          .target = leat_s("/"),
                          .max_body = 4};
  static const char *const responses[] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n",
      "HTTP/1.1 200 OK\r\n\r\nabcde",
  };
  TEST("a small limit for bodies");
  for (size_t i = 0; i < 3; i++) {
    state = leat_http1_begin(http, &request);
    feed(http, responses[i], strlen(responses[i]), SIZE_MAX, &state);
    CHECK(state == LEAT_HTTP1_FAILED);
    CHECK(leat_http1_failure(http, NULL) == LEAT_TOO_LARGE);
  }
}

int main(int argc, char **argv) {
  size_t count;
  http_case *cases = cases_read(argc > 1 ? argv[1] : "spec/cases", &count);
  leat_http1 *http = leat_http1_new(); /* one for all, to test that it resets */
  for (size_t i = 0; i < count; i++) {
    test_splits(http, &cases[i]);
    test_calls(http, &cases[i]);
  }
  test_requests();
  test_refused_requests();
  test_headers(http);
  test_end(http);
  test_small_limit(http);
  leat_http1_free(http);
  cases_free(cases, count);
  return test_summary("http1");
}
