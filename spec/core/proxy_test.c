/*
** proxy_test.c - the driver through good and faulty proxies: what they receive, what they
** must never receive, and the messages of failures.
*/
#include "curl_calls.h"
#include "names.h"
#include "proxy_server.h"
#include "surplus.h"
#include "tls_server.h"

enum { SHORT_MS = 700, URL_SIZE = 128 };

static certificates certs;
static const tls_options good = {.identity = &certs.good};
static const proxy_options plain_proxy = {0}, socks_proxy = {.socks = true};

/* A proxy and the servers behind it. `before_proxy` is TLS in front of the proxy. */
typedef struct stage {
  http_server plain;
  tls_server tls, before_proxy;
  proxy_server proxy;
  leat_client *https, *http, *here;
} stage;

static void open_proxy(stage *s, const char *name, const proxy_options *options,
                       const tls_options *of_proxy, int connect_timeout_ms) {
  TEST(name);
  memset(s, 0, sizeof *s);
  names_asked = 0;
  CHECK(http_server_start(&s->plain, &good_reply, 1));
  CHECK(tls_start(&s->tls, &good, s->plain.at.port));
  CHECK(proxy_start(&s->proxy, options));
  CHECK(tls_start(&s->before_proxy, of_proxy ? of_proxy : &good, s->proxy.at.port));
  s->https = client_of("https", "api.test", s->tls.at.port, connect_timeout_ms);
  s->http = client_of("http", "api.test", s->plain.at.port, connect_timeout_ms);
  s->here = client_of("http", "127.0.0.1", s->plain.at.port, connect_timeout_ms);
}

static void close_proxy(stage *s) {
  leat_client_free(s->https);
  leat_client_free(s->http);
  leat_client_free(s->here);
  tls_stop(&s->before_proxy);
  proxy_stop(&s->proxy);
  tls_stop(&s->tls);
  http_server_stop(&s->plain);
}

/* Writes `start` with the port of the stage's proxy:
** "socks5h://user:password@127.0.0.1:". For https:// it is the port of the TLS in front
** of the proxy; HTTPS:// avoids that. A URL that does not end in a colon is unchanged. */
static const char *proxy_url(const stage *s, const char *start, char url[URL_SIZE]) {
  bool tls = strncmp(start, "https:", 6) == 0;
  bool whole = start[0] == '\0' || start[strlen(start) - 1] != ':';
  if (whole) snprintf(url, URL_SIZE, "%s", start);
  else
    snprintf(url, URL_SIZE, "%s%d", start,
             tls ? s->before_proxy.at.port : s->proxy.at.port);
  return url;
}

static leat_curl *new_driver(const char *proxy) {
  leat_curl_config config = {.ca_file = certs.ca_file, .proxy = proxy};
  return leat_curl_new(&config, NULL);
}

/* A proxy must learn nothing about the request but its target. */
static void check_unseen(stage *s) {
  CHECK(!proxy_has(&s->proxy, &s->proxy.heard, test_key()));
  CHECK(!proxy_has(&s->proxy, &s->proxy.heard, test_path()));
}

/* ---- good proxies ---------------------------------------------------------------- */

typedef struct good_proxy {
  const char *name;
  const char *url;
  proxy_options options;
  bool resolves; /* the proxy resolves the server's name */
} good_proxy;

/* clang-format off */
static const good_proxy good_proxies[] = {
    {"HTTP", "http://127.0.0.1:", {0}, true},
    {"HTTP, by name", "http://proxy.test:", {0}, true},
    {"HTTP is meant where no scheme is", "127.0.0.1:", {0}, true},
    {"HTTP with a user", "http://me:hunter2@127.0.0.1:", {.user = "me:hunter2"}, true},
    {"HTTP with a password of odd characters",
     "http://me%40here:hunter2%3a%2F@127.0.0.1:", {.user = "me@here:hunter2:/"}, true},
    {"HTTP over TLS", "https://proxy.test:", {0}, true},
    {"HTTP over TLS with a user", "https://me:hunter2@proxy.test:",
     {.user = "me:hunter2"}, true},
    {"SOCKS5, which finds the name", "socks5h://127.0.0.1:", {.socks = true}, true},
    {"SOCKS5, which gets the address", "socks5://127.0.0.1:", {.socks = true}, false},
    {"SOCKS5 with a user", "socks5h://me:hunter2@127.0.0.1:",
     {.socks = true, .user = "me:hunter2"}, true},
};
/* clang-format on */

static void check_good(const good_proxy *g) {
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, g->name, &g->options, NULL, 0);
  leat_curl *curl = new_driver(proxy_url(&s, g->url, url));
  check_fine(perform(curl, s.https, "find"));
  check_fine(perform(curl, s.https, "create"));
  CHECK(s.proxy.at.connections == 1 && s.proxy.tunnels == 1); /* reused */
  CHECK(!proxy_has(&s.proxy, &s.proxy.carried, test_key()));
  check_fine(perform(curl, s.http, "find"));
  check_fine(perform(curl, s.http, "create"));
  CHECK(s.proxy.at.connections == 2 && s.proxy.tunnels == 2);
  check_fine(perform(curl, s.here, "find"));
  CHECK(s.proxy.at.connections == 2 && s.plain.at.connections == 3);
  bool by_name = strstr(g->url, "proxy.test") != NULL;
  CHECK((names_asked > 0) == (by_name || !g->resolves)); /* one query, or A and AAAA */
  CHECK(proxy_has(&s.proxy, &s.proxy.heard, "api.test") == g->resolves);
  check_unseen(&s);
  leat_curl_free(curl);
  close_proxy(&s);
}

static void test_good(void) {
  for (size_t i = 0; i < sizeof good_proxies / sizeof good_proxies[0]; i++)
    check_good(&good_proxies[i]);
}

/* The surplus bytes may be buffered in the TLS session with the server, or in that with
** the proxy if the server uses none. */
static void check_surplus(const good_proxy *g, size_t length) {
  static char text[SURPLUS_MOST + 1];
  static const reply replies[] = {{text, STAY}, {GOOD, STAY}};
  char url[URL_SIZE];
  stage s;
  surplus_make(text, length);
  open_proxy(&s, g->name, &g->options, NULL, 0);
  s.plain.replies = replies;
  s.plain.reply_count = 2;
  for (int tls = 0; tls < 2; tls++) {
    leat_client *client = tls ? s.https : s.http;
    leat_curl *curl = new_driver(proxy_url(&s, g->url, url));
    s.plain.requests = 0;
    check_fine(perform(curl, client, "find"));
    if (!CHECK(surplus_is_ignored(curl, client))) printf("  %zu bytes\n", length);
    leat_curl_free(curl);
  }
  close_proxy(&s);
  CHECK(s.plain.at.connections == 4);
}

static void test_surplus(void) {
  static const good_proxy proxies[] = {
      {"a forged response through HTTP", "http://127.0.0.1:", {0}, true},
      {"a forged response through HTTP over TLS", "https://proxy.test:", {0}, true},
      {"a forged response through SOCKS5", "socks5h://127.0.0.1:", {.socks = true}, true},
  };
  for (size_t i = 0; i < sizeof proxies / sizeof proxies[0]; i++) {
    check_surplus(&proxies[i], 1500);
    check_surplus(&proxies[i], 2048);
  }
}

/* The proxy opens the tunnel, but the program is busy until the connect timeout has
** passed. */
static void test_busy(void) {
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, "busy while the tunnel is made, and TLS within it", &plain_proxy, NULL,
             200);
  leat_curl *curl = new_driver(proxy_url(&s, "http://127.0.0.1:", url));
  leat_call *call = start_call(curl, s.https, "create");
  while (!proxy_has(&s.proxy, &s.proxy.heard, "CONNECT") && !leat_call_is_done(call))
    leat_curl_wait(curl, 1);
  usleep(400 * 1000);
  check_fine(finish(curl, call));
  leat_curl_free(curl);
  close_proxy(&s);
  CHECK(s.plain.requests == 1);
}

/* A server behind the proxy is verified as strictly as without one. */
static void test_server_behind(void) {
  static const char *const says[] = {"'api.test'", "through the proxy 127.0.0.1:", NULL};
  tls_options front = {.identity = &certs.other_host};
  char url[URL_SIZE];
  tls_server wrong;
  stage s;
  open_proxy(&s, "a wrong server behind a good proxy", &plain_proxy, NULL, 0);
  CHECK(tls_start(&wrong, &front, s.plain.at.port));
  leat_client *client = client_of("https", "api.test", wrong.at.port, 0);
  leat_curl *curl = new_driver(proxy_url(&s, "http://127.0.0.1:", url));
  check_unsent(perform_both(curl, client), LEAT_TLS, says);
  CHECK(s.proxy.tunnels == 2 && s.plain.requests == 0);
  check_fine(perform(curl, s.https, "create"));
  leat_curl_free(curl);
  leat_client_free(client);
  tls_stop(&wrong);
  close_proxy(&s);
}

/* ---- faulty proxies -------------------------------------------------------------- */

typedef struct bad_proxy {
  const char *name, *url;
  proxy_options options;
  leat_kind kind;
  const char *says[4];
} bad_proxy;

#define RESPONSE(status) "HTTP/1.1 " status "\r\nContent-Length: 3\r\n\r\nno\n"

/* clang-format off */
static const bad_proxy bad_proxies[] = {
    {"wants a user, and gets none", "http://127.0.0.1:", {.user = "me:hunter2"},
     LEAT_CONFIG, {"through the proxy 127.0.0.1:", "HTTP 407", "user:password@"}},
    {"wants another password", "http://me:hunter2x@127.0.0.1:", {.user = "me:hunter2"},
     LEAT_CONFIG, {"HTTP 407", "or refuses these", "user:password@"}},
    {"closes as it wants a user", "http://127.0.0.1:",
     {.response = RESPONSE("407 Who?"), .then = CLOSE}, LEAT_CONFIG,
     {"HTTP 407", "user:password@"}},
    {"forbids it", "http://127.0.0.1:", {.response = RESPONSE("403 Forbidden")},
     LEAT_CONFIG, {"the proxy responded with HTTP 403", "rules"}},
    {"is a web server", "http://127.0.0.1:",
     {.response = RESPONSE("405 Method Not Allowed"), .then = CLOSE}, LEAT_CONFIG,
     {"the proxy responded with HTTP 405", "not a proxy"}},
    {"redirects to another host", "http://127.0.0.1:",
     {.response = "HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n"},
     LEAT_CONFIG, {"the proxy responded with HTTP 302", "not a proxy"}},
    {"does not reach the server", "http://me:hunter2@127.0.0.1:",
     {.response = RESPONSE("502 Bad Gateway")}, LEAT_CONNECTION,
     {"the proxy responded with HTTP 502", "did not reach the server", "try again"}},
    {"closes", "http://me:hunter2@127.0.0.1:", {.response = "", .then = CLOSE},
     LEAT_CONNECTION, {"through the proxy 127.0.0.1:", "a working proxy"}},
    {"resets", "http://me:hunter2@127.0.0.1:", {.response = "", .then = RESET},
     LEAT_CONNECTION, {"through the proxy 127.0.0.1:", "a working proxy"}},
    {"closes within its response", "http://127.0.0.1:",
     {.response = "HTTP/1.1 200 OK\r\nSer", .then = CLOSE}, LEAT_CONNECTION,
     {"through the proxy 127.0.0.1:", "a working proxy"}},
    {"speaks no HTTP", "http://127.0.0.1:",
     {.response = "220 mail.example ESMTP\r\n", .then = CLOSE}, LEAT_CONNECTION,
     {"through the proxy 127.0.0.1:", "a working proxy"}},
    {"hangs", "http://me:hunter2@127.0.0.1:", {.hangs = true}, LEAT_TIMEOUT,
     {"through the proxy 127.0.0.1:", "a working proxy"}},
    {"speaks no TLS, as it should", "HTTPS://me:hunter2@127.0.0.1:", {.hangs = true},
     LEAT_TIMEOUT, {"through the proxy 127.0.0.1:", "does not respond to TLS"}},
    {"is not there", "http://me:hunter2@proxy.test:1", {0}, LEAT_CONNECTION,
     {"through the proxy 127.0.0.1:1:", "proxy.test", "a working proxy"}},
    {"has no address", "http://me:hunter2@nowhere.test:3128", {0}, LEAT_CONNECTION,
     {"resolve proxy", "nowhere.test", "https_proxy"}},
    {"SOCKS: wants a user, and gets none", "socks5h://127.0.0.1:",
     {.socks = true, .user = "me:hunter2"}, LEAT_CONFIG,
     {"through the proxy 127.0.0.1:", "user:password@"}},
    {"SOCKS: wants another password", "socks5h://me:hunter2x@127.0.0.1:",
     {.socks = true, .user = "me:hunter2"}, LEAT_CONFIG, {"rejected", "user:password@"}},
    {"SOCKS: forbids it", "socks5h://127.0.0.1:", {.socks = true, .refusal = 2},
     LEAT_CONFIG, {"through the proxy 127.0.0.1:", "rules"}},
    {"SOCKS: does not reach the host", "socks5h://127.0.0.1:",
     {.socks = true, .refusal = 4}, LEAT_CONNECTION,
     {"did not reach the server", "try again"}},
    {"SOCKS: the server refuses", "socks5h://127.0.0.1:",
     {.socks = true, .refusal = 5}, LEAT_CONNECTION,
     {"did not reach the server", "try again"}},
    {"SOCKS: speaks HTTP", "socks5h://127.0.0.1:",
     {.socks = true, .response = RESPONSE("400 Bad Request"), .then = CLOSE},
     LEAT_CONFIG, {"through the proxy 127.0.0.1:", "is that a SOCKS proxy"}},
    {"SOCKS: resets", "socks5h://me:hunter2@127.0.0.1:",
     {.socks = true, .response = "", .then = RESET}, LEAT_CONNECTION,
     {"through the proxy 127.0.0.1:", "a working proxy"}},
    {"SOCKS: hangs", "socks5h://127.0.0.1:", {.hangs = true}, LEAT_TIMEOUT,
     {"through the proxy 127.0.0.1:", "a working proxy"}},
};
/* clang-format on */

/* Performs a read and a write to both servers at once, which must all fail. The proxy is
** the driver's, or that of the environment (NULL). */
static void check_refused(stage *s, const char *proxy, leat_kind kind,
                          const char *const *says) {
  leat_curl *curl = new_driver(proxy);
  leat_call *find = start_call(curl, s->http, "find");
  leat_call *create = start_call(curl, s->http, "create");
  check_unsent(perform_both(curl, s->https), kind, says);
  pair plain = {finish(curl, find), finish(curl, create)};
  check_unsent(plain, kind, says);
  check_unseen(s);
  CHECK(s->proxy.tunnels == 0 && s->plain.requests == 0);
  check_fine(perform(curl, s->here, "create")); /* the driver still works */
  leat_curl_free(curl);
}

static void check_bad(const bad_proxy *b) {
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, b->name, &b->options, NULL, SHORT_MS);
  check_refused(&s, proxy_url(&s, b->url, url), b->kind, b->says);
  close_proxy(&s);
}

static void test_bad(void) {
  for (size_t i = 0; i < sizeof bad_proxies / sizeof bad_proxies[0]; i++)
    check_bad(&bad_proxies[i]);
}

/* Returns how many CONNECT requests the proxy has received. */
static int count_asked(const proxy_server *p) {
  int count = 0;
  for (const char *at = p->heard.bytes; (at = strstr(at, "CONNECT ")) != NULL; at++)
    count++;
  return count;
}

/* A server behind the proxy speaks or closes before the request. Its first bytes come
** together with the proxy's response. A closed connection is retried twice. */
static void test_early_server(void) {
  static const bad_proxy early[] = {
      {"the server behind it speaks first",
       "http://127.0.0.1:",
       {.response = "HTTP/1.1 200 OK\r\n\r\n220 mail.example ESMTP\r\n"},
       LEAT_PROTOCOL,
       {"sent data before the request", "220 mail.example"}},
      {"the server behind it closes at once",
       "http://127.0.0.1:",
       {.response = "HTTP/1.1 200 OK\r\n\r\n", .then = CLOSE, .at_once = 1},
       LEAT_CONNECTION,
       {"closes connections as soon as they are made"}},
  };
  for (size_t i = 0; i < sizeof early / sizeof early[0]; i++) {
    char url[URL_SIZE];
    stage s;
    open_proxy(&s, early[i].name, &early[i].options, NULL, SHORT_MS);
    leat_curl *curl = new_driver(proxy_url(&s, early[i].url, url));
    pair one_by_one = {perform(curl, s.http, "find"), perform(curl, s.http, "create")};
    check_unsent(one_by_one, early[i].kind, early[i].says);
    check_unseen(&s);
    leat_curl_free(curl);
    CHECK(count_asked(&s.proxy) == (early[i].options.then == CLOSE ? 6 : 2));
    close_proxy(&s);
  }
}

/* A proxy that uses TLS must prove its identity. */
static void check_bad_tls(const char *name, tls_options of_proxy, const char *what) {
  const char *const says[] = {what, "through the proxy 127.0.0.1:", NULL};
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, name, &plain_proxy, &of_proxy, 0);
  check_refused(&s, proxy_url(&s, "https://me:hunter2@proxy.test:", url), LEAT_TLS, says);
  close_proxy(&s);
  CHECK(s.proxy.heard.length == 0);
}

static void test_bad_tls(void) {
  check_bad_tls("a proxy whose certificate has expired",
                (tls_options){.identity = &certs.expired}, "expired");
  check_bad_tls("a proxy with another host's certificate",
                (tls_options){.identity = &certs.other_host}, "'proxy.test'");
  check_bad_tls("a proxy of TLS 1.1",
                (tls_options){.identity = &certs.good, .priority = TLS_1_1}, "TLS 1.2");
  check_bad_tls("HTTP over TLS that wants a certificate",
                (tls_options){.identity = &certs.good,
                              .wants_certificate = true,
                              .refuse_after_ms = 50},
                "requires a client certificate");
}

/* The proxy's option shows that it is the proxy that failed, although the ports are
** equal. */
static void test_same_port(void) {
  static const char *const says[] = {"through the proxy 127.0.0.1:", "HTTP 503", NULL};
  static const proxy_options busy = {.response = RESPONSE("503 Busy")};
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, "a proxy on the port that the server has", &busy, NULL, 0);
  leat_client *client = client_of("https", "api.test", s.proxy.at.port, 0);
  leat_curl *curl = new_driver(proxy_url(&s, "http://127.0.0.1:", url));
  check_unsent(perform_both(curl, client), LEAT_CONNECTION, says);
  leat_curl_free(curl);
  leat_client_free(client);
  close_proxy(&s);
}

/* ---- the environment ------------------------------------------------------------- */

static const char *const variables[] = {"http_proxy",  "HTTP_PROXY", "https_proxy",
                                        "HTTPS_PROXY", "all_proxy",  "ALL_PROXY",
                                        "no_proxy",    "NO_PROXY"};

static void clear_environment(void) {
  for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
    unsetenv(variables[i]);
}

typedef struct surroundings {
  const char *name;
  const char *variable;
  const char *url;      /* value of the variable; the port is added */
  const char *no_proxy; /* NULL: not set */
  const char *option;   /* the driver's own option, as `url`; NULL: none */
  bool https, http;     /* whether they use the proxy */
} surroundings;

#define PROXY "http://me:hunter2@127.0.0.1:"

/* clang-format off */
static const surroundings surroundings_cases[] = {
    {"https_proxy is for https", "https_proxy", PROXY, NULL, NULL, true, false},
    {"HTTPS_PROXY is for https", "HTTPS_PROXY", PROXY, NULL, NULL, true, false},
    {"http_proxy is for http", "http_proxy", PROXY, NULL, NULL, false, true},
    {"HTTP_PROXY is ignored, because CGI sets it from a header", "HTTP_PROXY", PROXY,
     NULL, NULL, false, false},
    {"all_proxy is for both", "all_proxy", PROXY, NULL, NULL, true, true},
    {"ALL_PROXY is for both", "ALL_PROXY", PROXY, NULL, NULL, true, true},
    {"no_proxy names the host", "all_proxy", PROXY, "api.test", NULL, false, false},
    {"no_proxy names a domain of the host", "all_proxy", PROXY, "other.example, .test",
     NULL, false, false},
    {"no_proxy is *", "all_proxy", PROXY, "*", NULL, false, false},
    {"no_proxy names other hosts", "all_proxy", PROXY,
     "pi.test,api.test.example,127.0.0.1", NULL, true, true},
    /* the option takes precedence over the environment */
    {"the option outranks no_proxy", "all_proxy", "http://127.0.0.1:1", "api.test",
     PROXY, true, true},
    {"the option outranks no_proxy *", "all_proxy", "http://127.0.0.1:1", "*", PROXY,
     true, true},
    {"an empty option outranks all_proxy", "all_proxy", PROXY, NULL, "", false, false},
    {"an empty option outranks https_proxy", "https_proxy", PROXY, NULL, "", false,
     false},
};
/* clang-format on */

static void check_surroundings(const surroundings *c) {
  static const proxy_options options = {.user = "me:hunter2"};
  char url[URL_SIZE], option[URL_SIZE];
  stage s;
  open_proxy(&s, c->name, &options, NULL, 0);
  setenv(c->variable, proxy_url(&s, c->url, url), 1);
  if (c->no_proxy) setenv("no_proxy", c->no_proxy, 1);
  leat_curl *curl = new_driver(c->option ? proxy_url(&s, c->option, option) : NULL);
  check_fine(perform(curl, s.https, "find"));
  CHECK(s.proxy.tunnels == (c->https ? 1 : 0));
  check_fine(perform(curl, s.http, "create"));
  CHECK(s.proxy.tunnels == (c->https ? 1 : 0) + (c->http ? 1 : 0));
  CHECK(s.proxy.at.connections == s.proxy.tunnels);
  check_unseen(&s);
  leat_curl_free(curl);
  clear_environment();
  close_proxy(&s);
}

static void test_environment(void) {
  for (size_t i = 0; i < sizeof surroundings_cases / sizeof surroundings_cases[0]; i++)
    check_surroundings(&surroundings_cases[i]);
}

static void test_environment_socks(void) {
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, "SOCKS in the environment", &socks_proxy, NULL, 0);
  setenv("all_proxy", proxy_url(&s, "socks5h://127.0.0.1:", url), 1);
  leat_curl *curl = new_driver(NULL);
  check_fine(perform(curl, s.https, "find"));
  CHECK(s.proxy.tunnels == 1 && names_asked == 0);
  CHECK(s.proxy.at.connections == 1);
  leat_curl_free(curl);
  clear_environment();
  close_proxy(&s);
}

/* The message must name the environment's proxy, which the user may not know about. */
static void check_bad_environment(const char *name, const char *url_start,
                                  const proxy_options *options, leat_kind kind,
                                  const char *const *says) {
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, name, options, NULL, SHORT_MS);
  setenv("all_proxy", proxy_url(&s, url_start, url), 1);
  check_refused(&s, NULL, kind, says);
  clear_environment();
  close_proxy(&s);
}

static void test_bad_environment(void) {
  static const char *const wrong[] = {
      "through the environment's proxy 127.0.0.1:", "HTTP 407", "user:password@", NULL};
  static const char *const gone[] = {
      "through the environment's proxy 127.0.0.1:1:", "a working proxy", NULL};
  static const char *const unknown[] = {"resolve proxy", "nowhere.test", NULL};
  static const char *const odd[] = {"the proxy's URL is not understood", "https_proxy",
                                    NULL};
  static const proxy_options user = {.user = "you:hunter2"};
  check_bad_environment("the environment's proxy wants another user", PROXY, &user,
                        LEAT_CONFIG, wrong);
  check_bad_environment("the environment's proxy is gone", PROXY "1", &user,
                        LEAT_CONNECTION, gone);
  check_bad_environment("the environment's proxy has no address",
                        "http://me:hunter2@nowhere.test:3128", &user, LEAT_CONNECTION,
                        unknown);
  check_bad_environment("the environment's proxy is none", "gopher://me:hunter2@x:70",
                        &user, LEAT_CONFIG, odd);
}

/* ---- localhost ------------------------------------------------------------------- */

/* Connections to this machine never use a proxy, whether an option or the environment
** sets it. */
static void check_here(const char *name, const char *scheme, const char *host,
                       bool option) {
  char url[URL_SIZE];
  stage s;
  open_proxy(&s, name, &plain_proxy, NULL, 0);
  proxy_url(&s, "http://127.0.0.1:", url);
  setenv("all_proxy", url, 1);
  int port = strcmp(scheme, "https") == 0 ? s.tls.at.port : s.plain.at.port;
  leat_client *client = client_of(scheme, host, port, 0);
  leat_curl *curl = new_driver(option ? url : NULL);
  leat_error error = perform(curl, client, "find");
  if (strcmp(host, "[::1]") != 0) check_fine(error); /* nothing listens on ::1 */
  else CHECK(error.kind == LEAT_CONNECTION && strstr(error.message, "proxy") == NULL);
  CHECK(s.proxy.at.connections == 0);
  leat_curl_free(curl);
  leat_client_free(client);
  clear_environment();
  close_proxy(&s);
}

static void test_here(bool option) {
  check_here("no proxy to 127.0.0.1", "http", "127.0.0.1", option);
  check_here("no proxy to localhost", "http", "localhost", option);
  check_here("no proxy to LocalHost", "http", "LocalHost", option);
  check_here("no proxy to ::1", "http", "[::1]", option);
  check_here("no proxy to 127.0.0.1, over TLS", "https", "127.0.0.1", option);
}

int main(void) {
  TEST("what the tests need");
  clear_environment();
  if (!CHECK(certificates_make(&certs))) return test_summary("proxy");
  test_good();
  test_surplus();
  test_busy();
  test_server_behind();
  test_bad();
  test_early_server();
  test_bad_tls();
  test_same_port();
  test_environment();
  test_environment_socks();
  test_bad_environment();
  test_here(false);
  test_here(true);
  certificates_remove(&certs);
  return test_summary("proxy");
}
