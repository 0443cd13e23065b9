/*
** differential.c - compares the codec with libcurl's own HTTP, for the responses of
** spec/cases/http1.cases. A case in which they differ must explain why in its line
** "differs"; otherwise it fails. `-v` lists these cases.
*/
#include "feed.h"
#include "http_cases.h"
#include "http_server.h"
#include "test.h"

#include <curl/curl.h>

/* Timeouts of libcurl. They don't matter for what our codec takes for a response. */
enum { TIMEOUT_MS = 100, LONG_TIMEOUT_MS = 10000 };

/* The result of an exchange; status 0 means an error. */
typedef struct result {
  int status;
  bytes body;
  char error[CURL_ERROR_SIZE];
} result;

/* ---- ours ------------------------------------------------------------------------ */

static void take_response(leat_http1 *http, const http_case *c, result *r) {
  leat_http1_state state = LEAT_HTTP1_MORE;
  feed(http, c->response.data, c->response.length, SIZE_MAX, &state);
  if (state == LEAT_HTTP1_MORE && c->closes) state = leat_http1_closed(http);
  const leat_response *response = leat_http1_response(http);
  if (response == NULL) return;
  r->status = response->status;
  r->body = (bytes){(char *)malloc(response->body.length + 1), response->body.length};
  if (response->body.length > 0)
    memcpy(r->body.data, response->body.data, r->body.length);
}

static result ours(const http_case *c) {
  result r = {0, {NULL, 0}, ""};
  const char *detail;
  leat_request request = {.method = leat_s(c->method),
                          .origin = leat_s("http://h"),
                          .target = leat_s("/"),
                          .max_body = 1024 * 1024};
  leat_http1 *http = leat_http1_new();
  leat_http1_begin(http, &request);
  leat_http1_sent(http, leat_http1_output(http).length);
  take_response(http, c, &r);
  leat_http1_failure(http, &detail);
  snprintf(r.error, sizeof r.error, "%.200s", detail[0] ? detail : "not whole");
  leat_http1_free(http);
  return r;
}

/* ---- libcurl's ------------------------------------------------------------------- */

/* The buffer's size doubles, because chunks may be tiny: it is always a power of two. */
static size_t collect(char *data, size_t size, size_t count, void *user) {
  bytes *body = user;
  size_t room = 1, had;
  size *= count;
  while (room <= body->length)
    room *= 2;
  had = body->data ? room : 0;
  while (room <= body->length + size)
    room *= 2;
  if (room > had) {
    char *grown = realloc(body->data, room);
    if (grown == NULL) return 0;
    body->data = grown;
  }
  memcpy(body->data + body->length, data, size);
  body->length += size;
  return size;
}

static void set_method(CURL *easy, const char *method) {
  if (strcmp(method, "HEAD") == 0) curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  else if (strcmp(method, "GET") != 0)
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static void perform_easy(CURL *easy, result *r) {
  long status = 0;
  CURLcode code = curl_easy_perform(easy);
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK) r->status = (int)status;
  else if (r->error[0] == '\0')
    snprintf(r->error, sizeof r->error, "%s", curl_easy_strerror(code));
}

static result libcurls(http_server *server, const http_case *c) {
  const reply response = {c->response.data, c->closes ? CLOSE : STAY};
  result r = {0, {NULL, 0}, ""};
  char url[48];
  CURL *easy = curl_easy_init();
  server->replies = &response;
  server->reply_length = c->response.length;
  snprintf(url, sizeof url, "http://127.0.0.1:%d/", server->at.port);
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                   c->want == WANT_RESPONSE ? (long)LONG_TIMEOUT_MS : (long)TIMEOUT_MS);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &r.body);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r.error);
  set_method(easy, c->method);
  perform_easy(easy, &r);
  curl_easy_cleanup(easy); /* closes the connection */
  return r;
}

/* ---- comparing ------------------------------------------------------------------- */

static bool same(const result *a, const result *b) {
  if (a->status != b->status) return false;
  return a->status == 0 || (a->body.length == b->body.length &&
                            (a->body.length == 0 ||
                             memcmp(a->body.data, b->body.data, a->body.length) == 0));
}

static void show(const char *who, const result *r) {
  if (r->status) printf("    %-7s %d, %zu bytes\n", who, r->status, r->body.length);
  else printf("    %-7s error: %s\n", who, r->error);
}

/* Returns true if they differ. Prints that if the case does not explain it, or if
** `talks`. */
static bool compare(http_server *server, const http_case *c, bool talks) {
  result a = ours(c), b = libcurls(server, c);
  bool differs = !same(&a, &b);
  TEST(c->name);
  CHECK(!differs || c->differs[0] != '\0');
  if (differs && (talks || c->differs[0] == '\0')) {
    printf("  %s: %s\n", c->name, c->differs[0] ? c->differs : "NOT WANTED");
    show("leat", &a);
    show("libcurl", &b);
  } else if (talks && c->differs[0] && !differs) {
    printf("  %s: this libcurl sees the same\n", c->name);
  }
  free(a.body.data);
  free(b.body.data);
  return differs;
}

int main(int argc, char **argv) {
  size_t count, differences = 0;
  static http_server server;
  if (!CHECK(http_server_start(&server, NULL, 1))) return test_summary("differential");
  curl_global_init(CURL_GLOBAL_DEFAULT);
  http_case *cases = cases_read(argc > 1 ? argv[1] : "spec/cases", &count);
  bool talks = argc > 2 && strcmp(argv[2], "-v") == 0;
  printf("our codec beside the HTTP of %s%s\n", curl_version(),
         talks ? ": where they differ" : "");
  for (size_t i = 0; i < count; i++)
    differences += compare(&server, &cases[i], talks);
  printf("%zu responses, %zu differ\n", count, differences);
  http_server_stop(&server);
  cases_free(cases, count);
  curl_global_cleanup();
  return test_summary("differential");
}
