/*
** tls_test.c - real TLS: the driver with good and faulty servers that use GnuTLS.
*/
#include "busy.h"
#include "curl_calls.h"
#include "descriptors.h"
#include "fork.h"
#include "surplus.h"
#include "tls_server.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { SHORT_MS = 700 }; /* for calls that time out */

#ifdef LEAT_POLL
enum { OF_A_DRIVER = 0 };
#else
enum { OF_A_DRIVER = 2 }; /* descriptors: epoll and a timer */
#endif

static certificates certs;
static const tls_options good = {.identity = &certs.good};

/* A scripted server behind TLS, and a driver that trusts the authority. */
typedef struct stage {
  http_server behind;
  tls_server tls;
  leat_client *client;
  leat_curl *curl;
} stage;

static leat_curl *new_driver(void) {
  leat_curl_config config = {.ca_file = certs.ca_file};
  return leat_curl_new(&config, NULL);
}

static void open_tls(stage *s, const char *name, const tls_options *options,
                     const reply *replies, size_t count, int connect_timeout_ms) {
  TEST(name);
  memset(s, 0, sizeof *s);
  CHECK(http_server_start(&s->behind, replies, count));
  CHECK(tls_start(&s->tls, options, s->behind.at.port));
  s->client = client_of("https", "api.test", s->tls.at.port, connect_timeout_ms);
  s->curl = new_driver();
}

static void open_good(stage *s, const char *name) {
  open_tls(s, name, &good, &good_reply, 1, 0);
}

static void close_tls(stage *s) {
  leat_curl_free(s->curl);
  leat_client_free(s->client);
  tls_stop(&s->tls);
  http_server_stop(&s->behind);
}

/* ---- good servers ---------------------------------------------------------------- */

static void check_good(const char *name, const char *host, const char *priority,
                       const char *alpn) {
  tls_options options = {.identity = &certs.good, .priority = priority, .alpn = alpn};
  stage s;
  open_tls(&s, name, &options, &good_reply, 1, 0);
  leat_client *client = client_of("https", host, s.tls.at.port, 0);
  check_fine(perform(s.curl, client, "find"));
  check_fine(perform(s.curl, client, "create"));
  leat_client_free(client);
  close_tls(&s);
  CHECK(s.tls.at.connections == 1 && s.tls.handshakes == 1 && s.behind.requests == 2);
}

static void test_good(void) {
  check_good("a server of our authority, by name", "api.test", NULL, NULL);
  check_good("the same by address", "127.0.0.1", NULL, NULL);
  check_good("TLS 1.2", "api.test", TLS_1_2, NULL);
  check_good("TLS 1.3", "api.test", TLS_1_3, NULL);
  check_good("a server that insists on http/1.1", "api.test", NULL, "http/1.1");
}

/* ---- faulty servers -------------------------------------------------------------- */

typedef struct bad_tls {
  const char *name;
  tls_options options;
  leat_kind kind;
  const char *says[4];
} bad_tls;

static const char odd_cipher[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CAMELLIA-128-GCM";

/* clang-format off */
static const bad_tls bad_servers[] = {
    {"expired", {.identity = &certs.expired}, LEAT_TLS,
     {"expired", "clock says 20", "another certificate"}},
    {"not yet valid", {.identity = &certs.not_yet}, LEAT_TLS,
     {"not yet valid", "clock says 20", "set it"}},
    {"another host's", {.identity = &certs.other_host}, LEAT_TLS,
     {"'api.test'", "right host"}},
    {"self-signed", {.identity = &certs.self_signed}, LEAT_TLS,
     {"self-signed", "ca_file"}},
    {"of an authority that nobody knows", {.identity = &certs.of_stranger}, LEAT_TLS,
     {"issuer", "ca_file", "intermediate certificate"}},
    {"TLS 1.1 only", {.identity = &certs.good, .priority = TLS_1_1}, LEAT_TLS,
     {"no TLS 1.2 or later", "updated"}},
    {"no cipher in common", {.identity = &certs.good, .priority = odd_cipher},
     LEAT_TLS, {"no cipher in common"}},
    {"HTTP/2 only", {.identity = &certs.good, .alpn = "h2"}, LEAT_TLS,
     {"HTTP/2 only", "HTTP/1.1 is needed"}},
    {"closes in the handshake", {.identity = &certs.good, .flight = 1, .then = CLOSE},
     LEAT_CONNECTION, {"broke while TLS was set up", "try again"}},
    {"closes further on in the handshake",
     {.identity = &certs.good, .flight = 300, .then = CLOSE}, LEAT_CONNECTION,
     {"broke while TLS was set up", "try again"}},
    {"resets in the handshake",
     {.identity = &certs.good, .flight = 300, .then = RESET}, LEAT_CONNECTION,
     {"broke while TLS was set up", "try again"}},
    {"hangs in the handshake", {.identity = &certs.good, .flight = 300, .then = STAY},
     LEAT_TIMEOUT, {"does not respond to TLS", "is the port right"}},
};
/* clang-format on */

/* Checks that a find and a create fail, and that the driver still works afterwards. */
static void check_bad(const bad_tls *bad, leat_client *fine) {
  stage s;
  open_tls(&s, bad->name, &bad->options, &good_reply, 1, SHORT_MS);
  check_unsent(perform_both(s.curl, s.client), bad->kind, bad->says);
  check_fine(perform(s.curl, fine, "create"));
  close_tls(&s);
  CHECK(s.tls.at.connections == 2 && s.behind.requests == 0);
}

static void test_bad(void) {
  stage home;
  open_good(&home, "a good server beside the bad ones");
  for (size_t i = 0; i < sizeof bad_servers / sizeof bad_servers[0]; i++)
    check_bad(&bad_servers[i], home.client);
  close_tls(&home);
}

/* In TLS 1.3 a server can refuse a client that has already finished its handshake: at
** once, or after the request was sent. Either is reported once, with the alert's name. */
typedef struct refusal {
  const char *name, *priority;
  bool wants_certificate;
  gnutls_alert_description_t alert;
  const char *says[4];
} refusal;

/* clang-format off */
static const refusal refusals[] = {
    {"a client certificate is wanted", TLS_1_3, true, 0,
     {"certificate required", "requires a client certificate"}},
    {"a client certificate is wanted, TLS 1.2", TLS_1_2, true, 0, {"alert"}},
    {"the client is refused", TLS_1_3, false, GNUTLS_A_ACCESS_DENIED, {"access denied"}},
    {"the client's authority is unknown", TLS_1_3, false, GNUTLS_A_UNKNOWN_CA,
     {"unknown ca"}},
};
/* clang-format on */

static void check_refusal(const refusal *r, int pause_ms) {
  tls_options options = {.identity = &certs.good,
                         .priority = r->priority,
                         .wants_certificate = r->wants_certificate,
                         .alert = r->alert,
                         .refuse_after_ms = pause_ms};
  stage s;
  open_tls(&s, r->name, &options, &good_reply, 1, 0);
  leat_client *client = client_at("https", "api.test", s.tls.at.port,
                                  (leat_config){.retry_base_ms = 1, .max_attempts = 3});
  leat_error find = perform(s.curl, client, "find");
  check_error(find, LEAT_TLS, r->says);
  leat_error create = perform(s.curl, client, "create");
  check_error(create, LEAT_TLS, r->says);
  CHECK(create.outcome_unknown == (create.sent == LEAT_SENT_MAYBE));
  leat_client_free(client);
  close_tls(&s);
  CHECK(s.tls.at.connections == 2 && s.behind.requests == 0);
}

static void test_refusals(void) {
  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
    check_refusal(&refusals[i], 0);
    check_refusal(&refusals[i], 50);
  }
}

/* An alert on a connection that worked before means a lost response. */
static void test_late_alert(void) {
  static const reply replies[] = {{GOOD, STAY}, {NULL, STAY}};
  stage s;
  open_tls(&s, "an alert in place of the second response", &good, replies, 2, 0);
  check_fine(perform(s.curl, s.client, "find"));
  leat_call *call = start_call(s.curl, s.client, "create");
  wait_for_requests(s.curl, &s.behind, 2, call);
  CHECK(tls_give_order(&s.tls, TLS_ALERT));
  leat_error error = finish(s.curl, call);
  CHECK(error.kind == LEAT_CONNECTION && error.outcome_unknown);
  CHECK(strstr(error.message, "alert internal error") != NULL);
  close_tls(&s);
}

/* The certificate does not contain the server's address. */
static void test_wrong_address(void) {
  static const char *const says[] = {"'127.0.0.1'", "right host", NULL};
  tls_options options = {.identity = &certs.other_host};
  stage s;
  open_tls(&s, "another host's, by address", &options, &good_reply, 1, 0);
  leat_client *client = client_of("https", "127.0.0.1", s.tls.at.port, 0);
  check_unsent(perform_both(s.curl, client), LEAT_TLS, says);
  leat_client_free(client);
  close_tls(&s);
  CHECK(s.behind.requests == 0);
}

/* The server sends HTTP/2 settings before it has received anything. */
static void test_http2_settings(void) {
  static const char frame[] = "\0\0\6\4\0\0\0\0\0\0\3\0\0\0\144";
  static const char *const says[] = {"HTTP/1.1", NULL};
  tls_options options = {
      .identity = &certs.good, .hello = frame, .hello_length = sizeof frame - 1};
  stage s;
  open_tls(&s, "HTTP/2 only, and no ALPN", &options, &good_reply, 1, 0);
  pair errors = perform_both(s.curl, s.client);
  check_error(errors.find, LEAT_PROTOCOL, says);
  check_error(errors.create, LEAT_PROTOCOL, says);
  CHECK(errors.create.outcome_unknown == (errors.create.sent == LEAT_SENT_MAYBE));
  close_tls(&s);
}

static void check_plain(const char *name, const char *greeting, reply r, leat_kind kind,
                        const char *const *says) {
  http_server plain = {.greeting = greeting};
  TEST(name);
  CHECK(http_server_start(&plain, &r, 1));
  leat_client *client = client_of("https", "api.test", plain.at.port, SHORT_MS);
  leat_curl *curl = new_driver();
  check_unsent(perform_both(curl, client), kind, says);
  leat_curl_free(curl);
  leat_client_free(client);
  http_server_stop(&plain);
}

static void test_plain(void) {
  static const char *const talks[] = {"does not speak TLS", "is the port right", NULL};
  static const char *const silent[] = {"does not respond to TLS", "is the port right",
                                       NULL};
  check_plain("plain HTTP on the port, which complains",
              "HTTP/1.1 400 Bad Request\r\n\r\n", (reply){NULL, STAY}, LEAT_TLS, talks);
  check_plain("mail on the port", "220 mail.example ESMTP\r\n", (reply){NULL, STAY},
              LEAT_TLS, talks);
  check_plain("plain HTTP on the port, which waits", NULL, (reply){NULL, STAY},
              LEAT_TIMEOUT, silent);
}

static void test_plain_to_tls(void) {
  static const char *const says[] = {"speaks TLS", "use https", NULL};
  stage s;
  open_good(&s, "plain HTTP to a port that speaks TLS");
  leat_client *client = client_of("http", "api.test", s.tls.at.port, 0);
  leat_error error = perform(s.curl, client, "create");
  check_error(error, LEAT_PROTOCOL, says);
  CHECK(error.sent == LEAT_SENT_MAYBE && error.outcome_unknown);
  leat_client_free(client);
  close_tls(&s);
  CHECK(s.behind.requests == 0);
}

/* ---- ca_file --------------------------------------------------------------------- */

static void check_ca_file(const char *name, const char *path, leat_kind kind,
                          const char *const *says) {
  stage s;
  open_good(&s, name);
  leat_curl_config config = {.ca_file = path};
  leat_curl *curl = leat_curl_new(&config, NULL);
  check_unsent(perform_both(curl, s.client), kind, says);
  leat_curl_free(curl);
  close_tls(&s);
  CHECK(s.behind.requests == 0);
}

static void test_ca_file(void) {
  static const char *const unknown[] = {"issuer", "ca_file", NULL};
  static const char *const wrong[] = {"is ca_file right", NULL};
  check_ca_file("a ca_file of another authority", certs.stranger_file, LEAT_TLS, unknown);
  check_ca_file("a ca_file that is not there", "/nowhere/ca.pem", LEAT_CONFIG, wrong);
  check_ca_file("a ca_file that holds no certificate", certs.policy_file, LEAT_CONFIG,
                wrong);
  check_ca_file("a ca_file that is empty", "/dev/null", LEAT_CONFIG, wrong);
}

/* Without ca_file the system's authorities are used, which don't include ours. If the
** system has none, the error says so. */
static void test_system_authorities(void) {
  stage s;
  open_good(&s, "no ca_file");
  leat_curl *curl = leat_curl_new(NULL, NULL);
  leat_error error = perform(curl, s.client, "create");
  CHECK(error.kind == LEAT_TLS || error.kind == LEAT_CONFIG);
  CHECK(strstr(error.message, "ca_file") != NULL && error.sent == LEAT_SENT_NO);
  leat_curl_free(curl);
  close_tls(&s);
  CHECK(s.behind.requests == 0);
}

/* Fills the gaps below the highest open descriptor, and returns the next one above it. */
static int first_free(void) {
  int highest = 2, fd;
  for (fd = 3; fd < 1024; fd++)
    if (fcntl(fd, F_GETFD) >= 0) highest = fd;
  while ((fd = dup(0)) < highest)
    continue;
  close(fd);
  return fd;
}

/* With `left` free descriptors, a new driver either succeeds or reports what is
** missing. */
static leat_kind kind_with(int left, int first, leat_client *client) {
  leat_error error = {.kind = LEAT_OK};
  descriptors_limit(first + left);
  leat_curl_config config = {.ca_file = certs.ca_file};
  leat_curl *curl = leat_curl_new(&config, &error);
  if (curl) error = perform(curl, client, "create");
  leat_curl_free(curl);
  if (error.kind != LEAT_OK && (error.kind != LEAT_LOCAL || error.sent != LEAT_SENT_NO))
    printf("  %d left: %s: %s\n", left, leat_kind_name(error.kind), error.message);
  return error.kind;
}

/* Runs in a child, so that the servers keep their descriptors. The host is an address,
** because a resolver would need more descriptors than the rest. */
static void test_descriptor_limit(const char *name, const char *host) {
  stage s;
  open_good(&s, name);
  leat_client *client = client_of("https", host, s.tls.at.port, 0);
  pid_t child = fork_quietly();
  if (child == 0) {
    int first = first_free(), fine = 0, local = 0;
    for (int left = 0; left < 12; left++) {
      leat_kind kind = kind_with(left, first, client);
      fine += kind == LEAT_OK;
      local += kind == LEAT_LOCAL;
    }
    fflush(stdout);
    _exit(!(fine > 2 && local > 2 && fine + local == 12));
  }
  CHECK(fork_wait(child));
  leat_client_free(client);
  close_tls(&s);
}

/* ---- how a response ends ---------------------------------------------------------- */

typedef struct ending {
  const char *name, *bytes;
  leat_kind kind;
} ending;

/* clang-format off */
static const ending endings[] = {
    {"a whole body", GOOD, LEAT_OK},
    {"a body that is too short", CUT_BODY, LEAT_CONNECTION},
    {"chunks without the last",
     OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2c\r\n" BODY "\r\n", LEAT_CONNECTION},
    {"half a head", OK_HEAD "Content-Le", LEAT_CONNECTION},
    {"nothing", "", LEAT_CONNECTION},
    {"a body to the end, whole", OK_HEAD "\r\n" BODY, LEAT_OK},
    {"a body to the end, and not all of it", OK_HEAD "\r\n{\"data\":{\"value\"",
     LEAT_PROTOCOL},
};
/* clang-format on */

/* libcurl 8 reports a truncated stream, as a broken connection; 7.88 does not. */
static void check_ended(leat_error error, const ending *e, bool cut, bool writes) {
  bool fine = CHECK(error.kind == e->kind || (cut && error.kind == LEAT_CONNECTION));
  if (!fine) printf("  %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(error.sent == LEAT_SENT_MAYBE);
  CHECK(error.outcome_unknown == (writes && error.kind != LEAT_OK));
}

static void check_ending(const ending *e, bool cut) {
  const reply replies[] = {{e->bytes, CLOSE}, {e->bytes, CLOSE}, {GOOD, STAY}};
  tls_options options = {.identity = &certs.good, .cut = cut};
  stage s;
  open_tls(&s, e->name, &options, replies, 3, 0);
  check_ended(perform(s.curl, s.client, "find"), e, cut, false);
  CHECK(listener_wait_closed(&s.tls.at, 1));
  check_ended(perform(s.curl, s.client, "create"), e, cut, true);
  CHECK(listener_wait_closed(&s.tls.at, 2));
  check_fine(perform(s.curl, s.client, "create"));
  close_tls(&s);
  CHECK(s.behind.requests == 3 && s.tls.at.connections == 3);
}

static void test_endings(void) {
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    check_ending(&endings[i], false);
    check_ending(&endings[i], true);
  }
}

/* A body that only the closed connection ends does not prove a delete, with close_notify
** or without. */
static void test_delete(bool cut) {
  static const reply replies[] = {{OK_HEAD "\r\n", CLOSE}};
  tls_options options = {.identity = &certs.good, .cut = cut};
  stage s;
  open_tls(&s, "a delete that ends with the connection", &options, replies, 1, 0);
  CHECK(perform(s.curl, s.client, "delete").outcome_unknown);
  close_tls(&s);
}

/* ---- idle connections ------------------------------------------------------------ */

/* The server sends something on an idle connection. The client processes it in a step, or
** when it next uses the connection. */
static void check_idle(const char *name, const char *priority, tls_order order, bool step,
                       int connections) {
  tls_options options = {.identity = &certs.good, .priority = priority};
  stage s;
  open_tls(&s, name, &options, &good_reply, 1, 0);
  for (int i = 0; i < 3; i++) {
    if (i > 0) CHECK(tls_give_order(&s.tls, order));
    if (step) leat_curl_wait(s.curl, 50);
    check_fine(perform(s.curl, s.client, i ? "create" : "find"));
  }
  close_tls(&s);
  if (!CHECK(s.tls.at.connections == connections))
    printf("  %d connections\n", s.tls.at.connections);
}

static void test_idle(bool step) {
  check_idle("an idle connection gets tickets", NULL, TLS_TICKETS, step, 1);
  check_idle("an idle connection gets new keys", NULL, TLS_NEW_KEYS, step, 1);
  check_idle("an idle connection is ended", NULL, TLS_GOODBYE, step, 3);
  check_idle("an idle connection of TLS 1.2 is ended", TLS_1_2, TLS_GOODBYE, step, 3);
}

/* If a receive ends at the end of the response, bytes behind it in the same TLS record
** stay in OpenSSL's buffer, and the socket does not become readable. */
static void check_surplus(const char *name, const char *priority, size_t length,
                          bool step) {
  static char text[SURPLUS_MOST + 1];
  static const reply replies[] = {{text, STAY}, {GOOD, STAY}};
  tls_options options = {.identity = &certs.good, .priority = priority};
  stage s;
  surplus_make(text, length);
  open_tls(&s, name, &options, replies, 2, 0);
  check_fine(perform(s.curl, s.client, "find"));
  if (step) leat_curl_wait(s.curl, 10);
  if (!CHECK(surplus_is_ignored(s.curl, s.client))) printf("  %zu bytes\n", length);
  close_tls(&s);
  CHECK(s.tls.at.connections == 2 && s.behind.requests == 2);
}

static void test_surplus(void) {
  for (size_t i = 0; i < sizeof surplus_lengths / sizeof surplus_lengths[0]; i++) {
    size_t length = surplus_lengths[i];
    check_surplus("a forged response in the response's record", TLS_1_3, length, false);
    check_surplus("the same, idle for a while", TLS_1_3, length, true);
    check_surplus("the same in TLS 1.2", TLS_1_2, length, false);
  }
}

/* Opens connections one after another. Returns how many resumed the first one's
** session. */
static int count_resumed(const char *name, const char *priority) {
  static const reply last = {
      OK_HEAD "Connection: close\r\nContent-Length: 44\r\n\r\n" BODY, STAY};
  tls_options options = {.identity = &certs.good, .priority = priority};
  stage s;
  open_tls(&s, name, &options, &last, 1, 0);
  for (int i = 0; i < 3; i++)
    check_fine(perform(s.curl, s.client, i ? "create" : "find"));
  close_tls(&s);
  CHECK(s.tls.at.connections == 3 && s.tls.handshakes == 3);
  return s.tls.resumed;
}

/* With TLS 1.2 there is no resumption: libcurl disables tickets (SSL_OP_NO_TICKET), and
** the server keeps no sessions. */
static void test_resumption(void) {
  CHECK(count_resumed("the next connection resumes", NULL) == 2);
  CHECK(count_resumed("the next connection of TLS 1.2", TLS_1_2) == 0);
}

/* Two connections at once don't compete for one session ticket. */
static void test_two_connections(void) {
  stage s;
  open_tls(&s, "two connections at once", &good, &good_reply, 1, 0);
  check_fine(perform(s.curl, s.client, "find"));
  for (int i = 0; i < 2; i++) {
    pair both = perform_both(s.curl, s.client);
    check_fine(both.find);
    check_fine(both.create);
  }
  close_tls(&s);
  CHECK(s.tls.at.connections == 2 && s.tls.resumed == 1);
  CHECK(s.tls.handshakes == 2);
}

/* ---- sizes ----------------------------------------------------------------------- */

/* epoll does not report bytes that OpenSSL has already decrypted. */
static void test_large_response(void) {
  enum { LENGTH = 300000 };
  static const char start[] = "{\"data\":{\"value\":\"1\",\"x\":\"", end[] = "\"}}";
  char *text = malloc(LENGTH + 200);
  int n = snprintf(text, 200, OK_HEAD "Content-Length: %d\r\n\r\n%s",
                   (int)(sizeof start - 1 + LENGTH + sizeof end - 1), start);
  memset(text + n, 'x', LENGTH);
  memcpy(text + n + LENGTH, end, sizeof end);
  reply large = {text, STAY};
  stage s;
  open_tls(&s, "a response of 300 kB", &good, &large, 1, 0);
  check_fine(perform(s.curl, s.client, "find"));
  check_fine(perform(s.curl, s.client, "find"));
  close_tls(&s);
  CHECK(s.behind.requests == 2);
  CHECK(s.tls.at.connections == 1);
  free(text);
}

/* A write that TLS could not finish must be repeated with the same bytes. */
static void test_large_request(void) {
  static const reply no = {"HTTP/1.1 400 Bad\r\nContent-Length: 27\r\n\r\n"
                           "{\"message\":\"x\",\"code\":1003}",
                           STAY};
  enum { LENGTH = 60000 };
  tls_options options = {.identity = &certs.good, .rest_ms = 100};
  stage s;
  open_tls(&s, "a request of 180 kB to a slow reader", &options, &no, 1, 0);
  char *value = malloc(LENGTH);
  memset(value, '&', LENGTH);
  leat_call *call =
      leat_call_new(s.client, leat_operation("contact_identifiers", "find"));
  leat_call_set(call, "contact_identifier_value", (leat_string){value, LENGTH});
  leat_curl_start(s.curl, call);
  CHECK(finish(s.curl, call).code == 1003);
  free(value);
  close_tls(&s);
  CHECK(s.behind.request_bytes > (size_t)LENGTH * 3 && s.behind.requests == 1);
}

/* ---- time limits ----------------------------------------------------------------- */

static void test_call_timeout(void) {
  static const char *const says[] = {"no connection to https://api.test", NULL};
  tls_options options = {.identity = &certs.good, .flight = 300, .then = STAY};
  stage s;
  open_tls(&s, "the call's time ends in the handshake", &options, &good_reply, 1, 0);
  leat_client *client =
      client_at("https", "api.test", s.tls.at.port, (leat_config){.timeout_ms = 200});
  check_unsent(perform_both(s.curl, client), LEAT_TIMEOUT, says);
  leat_client_free(client);
  TEST("canceled in the handshake");
  leat_call *call = start_call(s.curl, s.client, "create");
  while (s.tls.at.connections < 3 && !leat_call_is_done(call))
    leat_curl_wait(s.curl, 1);
  leat_curl_cancel(s.curl, call);
  CHECK(leat_call_error(call)->kind == LEAT_CANCELED);
  CHECK(leat_call_error(call)->sent == LEAT_SENT_NO);
  leat_call_free(call);
  close_tls(&s);
}

static void test_busy(void) {
  stage s;
  open_tls(&s, "busy while 150 responses arrive", &good, &good_reply, 1, 0);
  leat_curl_config config = {.ca_file = certs.ca_file, .max_connections = BUSY_CALLS};
  leat_curl *curl = leat_curl_new(&config, NULL);
  busy_check(curl, s.client, &s.behind, BUSY_WAITS);
  leat_curl_free(curl);
  close_tls(&s);
}

/* More connections than one step processes. */
static void test_busy_connecting(const char *name, int many, int timeout_ms) {
  leat_call *calls[BUSY_CALLS];
  tls_options options = {.identity = &certs.good, .begin_ms = 100};
  stage s;
  open_tls(&s, name, &options, &good_reply, 1, timeout_ms);
  leat_curl_config config = {.ca_file = certs.ca_file, .max_connections = many};
  leat_curl *curl = leat_curl_new(&config, NULL);
  for (int i = 0; i < many; i++)
    calls[i] = start_call(curl, s.client, "create");
  while (s.tls.at.connections < many && !leat_call_is_done(calls[0]))
    leat_curl_wait(curl, 1);
  usleep((useconds_t)timeout_ms * 1500);
  for (int i = 0; i < many; i++)
    check_fine(finish(curl, calls[i]));
  leat_curl_free(curl);
  close_tls(&s);
  CHECK(s.behind.requests == many);
}

/* Delays the reader of this FIFO until the certificates are written. */
static void *write_late(void *path) {
  char pem[4096];
  int from = open(certs.ca_file, O_RDONLY);
  ssize_t size = read(from, pem, sizeof pem);
  usleep(700 * 1000);
  int to = open(path, O_WRONLY);
  CHECK(size > 0 && write(to, pem, (size_t)size) == size);
  close(to);
  close(from);
  return NULL;
}

/* A response arrives during a step that takes long because libcurl reads certificates. */
static void test_slow_step(void) {
  char path[] = "/tmp/leat-slow-XXXXXX";
  pthread_t writer;
  stage s;
  close(mkstemp(path));
  open_tls(&s, "a step in which a response arrives", &good, &good_reply, 1, 0);
  s.behind.delay_ms = 200;
  CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
  leat_curl_config config = {.ca_file = path};
  leat_curl *curl = leat_curl_new(&config, NULL);
  leat_client *plain = client_of("http", "127.0.0.1", s.behind.at.port, 0);
  leat_client *secure = client_of("https", "127.0.0.1", s.tls.at.port, 0);
  leat_call *call = card_call(plain, "create"), *other = card_call(secure, "create");
  leat_call_set_timeout_ms(call, 400);
  leat_curl_start(curl, call);
  wait_for_requests(curl, &s.behind, 1, call);
  pthread_create(&writer, NULL, write_late, path);
  leat_curl_start(curl, other);
  check_fine(finish(curl, call));
  check_fine(finish(curl, other));
  pthread_join(writer, NULL);
  leat_client_free(plain);
  leat_client_free(secure);
  leat_curl_free(curl);
  close_tls(&s);
  unlink(path);
}

/* ---- forks ----------------------------------------------------------------------- */

/* Returns true if a forked child performed a find and a create with its own epoll and
** connections, and closed `given_up` of the parent's descriptors (-1: not checked). */
static bool child_works(const stage *s, int given_up) {
  pid_t child = fork_quietly();
  if (child == 0) {
    alarm(60);
    int before = descriptors_count(false);
    bool fine = perform(s->curl, s->client, "find").kind == LEAT_OK &&
                perform(s->curl, s->client, "create").kind == LEAT_OK;
    leat_curl_free(s->curl);
    fine = fine && (given_up < 0 || descriptors_count(false) == before - given_up);
    fork_end(fine);
  }
  return fork_wait(child);
}

/* The parent's connection stays open, and the child sends nothing on it, not even a
** close_notify. */
static void test_fork(void) {
  stage s;
  open_good(&s, "a fork with an idle connection");
  check_fine(perform(s.curl, s.client, "find"));
  CHECK(child_works(&s, OF_A_DRIVER + 1));
  check_fine(perform(s.curl, s.client, "create"));
  CHECK(child_works(&s, OF_A_DRIVER + 1));
  check_fine(perform(s.curl, s.client, "create"));
  close_tls(&s);
  CHECK(s.tls.at.connections == 3 && s.behind.requests == 7);
}

static void test_fork_under_way(void) {
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  stage s;
  open_tls(&s, "a fork with a call under way", &good, replies, 2, 0);
  leat_call *call = start_call(s.curl, s.client, "create");
  wait_for_requests(s.curl, &s.behind, 1, call);
  CHECK(child_works(&s, OF_A_DRIVER + 1));
  CHECK(s.behind.requests == 3 && !leat_call_is_done(call));
  leat_curl_cancel(s.curl, call);
  leat_call_free(call);
  close_tls(&s);
}

/* The parent's handshake continues undisturbed. Until it is done, only libcurl knows its
** socket, so the child keeps a copy of it. */
static void test_fork_in_handshake(void) {
  stage s;
  open_good(&s, "a fork in the middle of a handshake");
  leat_call *call = start_call(s.curl, s.client, "create");
  while (s.tls.at.connections < 1 && !leat_call_is_done(call))
    leat_curl_wait(s.curl, 1);
  CHECK(child_works(&s, -1));
  check_fine(finish(s.curl, call));
  close_tls(&s);
  CHECK(s.tls.at.connections == 2 && s.behind.requests == 3);
}

/* ---- running --------------------------------------------------------------------- */

int main(void) {
  TEST("what the tests need");
  if (!CHECK(certificates_make(&certs))) return test_summary("tls");
  test_good();
  test_bad();
  test_wrong_address();
  test_refusals();
  test_late_alert();
  test_http2_settings();
  test_plain();
  test_plain_to_tls();
  test_ca_file();
  test_system_authorities();
  test_descriptor_limit("few descriptors are left, for a name", "api.test");
  test_descriptor_limit("few descriptors are left, for an address", "127.0.0.1");
  test_endings();
  test_delete(false);
  test_delete(true);
  test_idle(false);
  test_idle(true);
  test_surplus();
  test_resumption();
  test_two_connections();
  test_large_response();
  test_large_request();
  test_call_timeout();
  test_busy();
  test_busy_connecting("busy in the handshake", 1, 200 * test_slowness());
  test_busy_connecting("busy in many handshakes", 70, 2000 * test_slowness());
  test_slow_step();
  test_fork();
  test_fork_under_way();
  test_fork_in_handshake();
  certificates_remove(&certs);
  return test_summary("tls");
}
