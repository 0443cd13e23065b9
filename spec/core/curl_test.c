/*
** curl_test.c - the libcurl driver, with real sockets.
*/
#include "busy.h"
#include "fork.h"
#include "leat_curl.h"
#include "leat_driver.h"
#include "secrets.h"
#include "server.h"
#include "surplus.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define BODY "{\"data\":{\"value\":\"1\",\"name\":null},\"meta\":[]}"
#define GOOD "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n" BODY
#define NONE "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"data\":null}  "

static const reply good = {GOOD, STAY};

static leat_client *client_of(int port, int timeout_ms) {
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", port);
  leat_config config = {.api_key = test_key(),
                        .base_url = url,
                        .timeout_ms = timeout_ms,
                        .max_attempts = 1};
  return leat_client_new(&config, NULL);
}

static leat_call *call_of(leat_client *client, const char *operation) {
  leat_call *call =
      leat_call_new(client, leat_operation("contact_identifiers", operation));
  leat_call_set(call, "contact_identifier_value", leat_s("1"));
  return call;
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Performs one call and returns its error. */
static leat_error perform(leat_curl *curl, leat_client *client, const char *operation) {
  leat_call *call = call_of(client, operation);
  leat_curl_perform(curl, call);
  leat_error error = *leat_call_error(call);
  leat_call_free(call);
  return error;
}

/* A server, and a client and a driver for it. */
typedef struct stage {
  server server;
  leat_client *client;
  leat_curl *curl;
} stage;

static void open_stage(stage *s, const char *name, const reply *replies, size_t count,
                       int timeout_ms, int connections) {
  leat_curl_config config = {.max_connections = connections};
  TEST(name);
  memset(s, 0, sizeof *s);
  CHECK(server_start(&s->server, replies, count));
  s->client = client_of(s->server.port, timeout_ms);
  s->curl = leat_curl_new(&config, NULL);
}

static void close_stage(stage *s) {
  leat_curl_free(s->curl);
  leat_client_free(s->client);
  server_stop(&s->server);
}

/* ---- reuse ----------------------------------------------------------------------- */

/* Performs `finds` successful calls in a row, and checks how many connections they
** used. */
static void check_reuse(const char *name, reply r, int finds, int connections) {
  stage s;
  open_stage(&s, name, &r, 1, 0, 0);
  for (int i = 0; i < finds; i++) {
    leat_error error = perform(s.curl, s.client, "find");
    if (!CHECK(error.kind == LEAT_OK)) printf("  %s\n", error.message);
    usleep(2000); /* the server acts after its response, at a time that we can't see */
  }
  close_stage(&s);
  CHECK(s.server.connections == connections);
  CHECK(s.server.requests == finds);
}

static void test_reuse(void) {
  check_reuse("a connection is used again", good, 5, 1);
  check_reuse(
      "Connection: close",
      (reply){"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 44\r\n\r\n" BODY,
              STAY},
      3, 3);
  check_reuse("closed without a word after the answer", (reply){GOOD, CLOSE}, 3, 3);
  check_reuse("bytes behind the answer", (reply){GOOD GOOD, STAY}, 3, 3);
  check_reuse("an answer that ends with the connection",
              (reply){"HTTP/1.1 200 OK\r\n\r\n" BODY, CLOSE}, 3, 3);
  check_reuse("an interim answer first", (reply){"HTTP/1.1 103 Early\r\n\r\n" GOOD, STAY},
              3, 1);
}

/* Bytes behind a response are never used for another call, whatever the response's
** length. */
static void test_surplus(void) {
  static char text[SURPLUS_MOST + 1];
  static const reply replies[] = {{text, STAY}, {GOOD, STAY}};
  for (size_t i = 0; i < sizeof surplus_lengths / sizeof surplus_lengths[0]; i++) {
    stage s;
    surplus_make(text, surplus_lengths[i]);
    open_stage(&s, "a forged response behind a response", replies, 2, 0, 0);
    CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
    if (!CHECK(surplus_is_unheard(s.curl, s.client)))
      printf("  %zu bytes\n", surplus_lengths[i]);
    close_stage(&s);
    CHECK(s.server.connections == 2 && s.server.requests == 2);
  }
}

/* A late response is never taken for that of the next call. */
static void test_late_answer(void) {
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  stage s;
  open_stage(&s, "after a timeout the connection goes", replies, 2, 100, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_TIMEOUT);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_stage(&s);
  CHECK(s.server.connections == 2);
}

/* ---- failures -------------------------------------------------------------------- */

static void check_failure(const char *name, reply first, leat_kind kind, bool unknown,
                          const char *message) {
  const reply replies[] = {first, {GOOD, STAY}};
  stage s;
  open_stage(&s, name, replies, 2, 200, 0);
  leat_error error = perform(s.curl, s.client, "create");
  if (!CHECK(error.kind == kind && error.outcome_unknown == unknown &&
             strstr(error.message, message) != NULL))
    printf("  got %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(error.sent == LEAT_SENT_MAYBE && error.attempts == 1);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK); /* the client still works */
  close_stage(&s);
  CHECK(s.server.requests == 2); /* no request was sent twice */
}

static void test_failures(void) {
  check_failure("closes without an answer", (reply){NULL, CLOSE}, LEAT_CONNECTION, true,
                "without an answer");
  check_failure("resets", (reply){NULL, RESET}, LEAT_CONNECTION, true,
                "broke while receiving");
  check_failure("answers nothing", (reply){NULL, STAY}, LEAT_TIMEOUT, true, "in time");
  check_failure("half a head, then the end", (reply){"HTTP/1.1 200 OK\r\nCont", CLOSE},
                LEAT_CONNECTION, true, "within the answer's head");
  check_failure("half a head, then nothing", (reply){"HTTP/1.1 200 OK\r\nCont", STAY},
                LEAT_TIMEOUT, true, "in time");
  check_failure("half a body, then a reset",
                (reply){"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n{\"da", RESET},
                LEAT_CONNECTION, true, "broke");
  check_failure("half a body, then the end",
                (reply){"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n{\"da", CLOSE},
                LEAT_CONNECTION, true, "after 4 bytes");
  check_failure("a redirect",
                (reply){"HTTP/1.1 302 Found\r\nLocation: https://x.example/in\r\n"
                        "Content-Length: 0\r\n\r\n",
                        STAY},
                LEAT_REDIRECT, false, "x.example");
  check_failure("no HTTP", (reply){"SSH-2.0-OpenSSH_9.2\r\n", STAY}, LEAT_PROTOCOL, true,
                "SSH-2.0-OpenSSH_9.2");
}

static void test_delete_to_close(void) {
  static const reply replies[] = {{"HTTP/1.1 200 OK\r\n\r\n", CLOSE},
                                  {"HTTP/1.1 200 OK\r\n\r\n{\"data\":null}", CLOSE},
                                  {NONE, STAY}};
  stage s;
  open_stage(&s, "a connection that ends proves no delete", replies, 3, 500, 0);
  CHECK(perform(s.curl, s.client, "delete").kind == LEAT_PROTOCOL);
  CHECK(perform(s.curl, s.client, "delete").outcome_unknown);
  CHECK(perform(s.curl, s.client, "delete").kind == LEAT_OK);
  close_stage(&s);
}

/* The connection breaks when it is reused, which libcurl by itself would retry. */
static void test_dies_when_reused(after how) {
  const reply replies[] = {{GOOD, STAY}, {NULL, how}, {GOOD, STAY}};
  stage s;
  open_stage(&s, "a kept connection dies under a create", replies, 3, 0, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  leat_error error = perform(s.curl, s.client, "create");
  CHECK(error.kind == LEAT_CONNECTION && error.outcome_unknown);
  CHECK(s.server.requests == 2);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_stage(&s);
  CHECK(s.server.requests == 3);
}

static void test_refused(void) {
  stage s;
  open_stage(&s, "nobody listens", &good, 1, 0, 0);
  int port = s.server.port;
  close_stage(&s);
  leat_client *client = client_of(port, 0);
  leat_curl *curl = leat_curl_new(NULL, NULL);
  leat_error error = perform(curl, client, "create");
  CHECK(error.kind == LEAT_CONNECTION && error.sent == LEAT_SENT_NO &&
        !error.outcome_unknown);
  CHECK(strstr(error.message, "127.0.0.1") && strstr(error.message, "the right address"));
  leat_curl_free(curl);
  leat_client_free(client);
}

static void test_greeting(void) {
  stage s = {.curl = NULL};
  TEST("a server that speaks first");
  s.server.greeting = "220 mail.example ESMTP\r\n";
  CHECK(server_start(&s.server, &good, 1));
  s.client = client_of(s.server.port, 500);
  s.curl = leat_curl_new(NULL, NULL);
  leat_error error = perform(s.curl, s.client, "find");
  CHECK(error.kind == LEAT_PROTOCOL &&
        strstr(error.message, "220 mail.example ESMTP") != NULL);
  close_stage(&s);
}

static void test_not_tls(void) {
  static const reply replies[] = {
      {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", CLOSE}};
  stage s;
  char url[64];
  open_stage(&s, "https to a port that speaks http", replies, 1, 0, 0);
  s.server.greeting = "HTTP/1.1 400 Bad Request\r\n\r\n"; /* sent before any request */
  snprintf(url, sizeof url, "https://127.0.0.1:%d", s.server.port);
  leat_config config = {
      .api_key = test_key(), .base_url = url, .timeout_ms = 2000, .max_attempts = 1};
  leat_client *client = leat_client_new(&config, NULL);
  leat_error error = perform(s.curl, client, "create");
  if (!CHECK(error.kind == LEAT_TLS &&
             strstr(error.message, "does not speak TLS") != NULL))
    printf("  got %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(error.sent == LEAT_SENT_NO && !error.outcome_unknown);
  leat_client_free(client);
  close_stage(&s);
}

static void test_deadline(void) {
  static const reply nothing = {NULL, STAY};
  stage s;
  open_stage(&s, "a deadline holds", &nothing, 1, 150, 0);
  int64_t start = now_ms();
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_TIMEOUT);
  CHECK(now_ms() - start >= 145 && now_ms() - start <= 150 + 250);
  close_stage(&s);
}

/* The half of the timeout that a change may take begins when it is connected. To delay
** that, the program does something else meanwhile. */
static void test_time_to_connect(void) {
  enum { TIMEOUT_MS = 3000, OCCUPIED_MS = 200 };
  static const reply nothing = {NULL, STAY};
  stage s;
  open_stage(&s, "connecting takes nothing from a change's half", &nothing, 1, TIMEOUT_MS,
             0);
  leat_call *call = call_of(s.client, "create");
  leat_call_set_max_attempts(call, 2);
  int64_t start = now_ms();
  leat_curl_start(s.curl, call);
  usleep(OCCUPIED_MS * 1000);
  while (leat_call_request(call)->deadline_ms - start <= TIMEOUT_MS / 2 &&
         now_ms() - start < 1000)
    leat_curl_wait(s.curl, 10);
  int64_t deadline = leat_call_request(call)->deadline_ms - start;
  CHECK(deadline >= (TIMEOUT_MS + OCCUPIED_MS) / 2 && deadline <= TIMEOUT_MS);
  leat_curl_cancel(s.curl, call);
  leat_call_free(call);
  close_stage(&s);
}

static void test_ca_file(void) {
  leat_curl_config config = {.ca_file = "no/such/file.pem"};
  leat_config settings = {.api_key = test_key(), .base_url = "https://127.0.0.1:1"};
  leat_client *client = leat_client_new(&settings, NULL);
  stage s;
  open_stage(&s, "a ca_file that is not there", &good, 1, 0, 0);
  char url[64];
  snprintf(url, sizeof url, "https://127.0.0.1:%d", s.server.port);
  settings.base_url = url;
  leat_client_free(client);
  client = leat_client_new(&settings, NULL);
  leat_curl *curl = leat_curl_new(&config, NULL);
  leat_error error = perform(curl, client, "find");
  CHECK(error.kind == LEAT_CONFIG && strstr(error.message, "no/such/file.pem") != NULL &&
        strstr(error.message, "ca-certificates") != NULL);
  leat_curl_free(curl);
  leat_client_free(client);
  close_stage(&s);
}

/* ---- many at once ---------------------------------------------------------------- */

enum { CALLS = 200 };

static void test_many(int connections) {
  leat_call *calls[CALLS];
  stage s;
  int numbers[CALLS], done = 0, good_ones = 0, in_order = 0;
  open_stage(&s, "many calls over few connections", &good, 1, 0, connections);
  for (int i = 0; i < CALLS; i++) {
    numbers[i] = i;
    calls[i] = call_of(s.client, "find");
    leat_call_set_user(calls[i], &numbers[i]);
    CHECK(leat_curl_start(s.curl, calls[i]));
  }
  for (leat_call *call; done < CALLS;) {
    leat_curl_wait(s.curl, 1000);
    while ((call = leat_curl_done(s.curl)) != NULL) {
      int number = *(int *)leat_call_user(call);
      in_order += connections > 1 || number == done;
      good_ones += leat_call_error(call)->kind == LEAT_OK;
      done++;
    }
  }
  CHECK(good_ones == CALLS && in_order == CALLS);
  for (int i = 0; i < CALLS; i++)
    leat_call_free(calls[i]);
  close_stage(&s);
  CHECK(s.server.connections == connections && s.server.requests == CALLS);
}

/* Waiting in the queue does not count towards a call's timeout. */
static void test_line(void) {
  static const reply replies[] = {{NULL, STAY}, {NULL, STAY}, {GOOD, STAY}};
  leat_call *calls[3];
  stage s;
  open_stage(&s, "time in line is not call time", replies, 3, 120, 1);
  for (int i = 0; i < 3; i++)
    leat_curl_start(s.curl, calls[i] = call_of(s.client, "find"));
  while (!leat_call_is_done(calls[2]))
    leat_curl_wait(s.curl, 1000);
  CHECK(leat_call_error(calls[0])->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(calls[1])->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(calls[2])->kind == LEAT_OK);
  for (int i = 0; i < 3; i++)
    leat_call_free(calls[i]);
  close_stage(&s);
}

/* Performs `many` calls at once, which must all succeed. Returns the time in ms. */
static int64_t perform_many(stage *s, int many, int timeout_ms) {
  leat_call **calls = calloc((size_t)many, sizeof *calls), *call;
  int64_t begun = now_ms();
  int good_ones = 0;
  for (int i = 0; i < many; i++) {
    calls[i] = call_of(s->client, "find");
    leat_call_set_timeout_ms(calls[i], timeout_ms);
    leat_curl_start(s->curl, calls[i]);
  }
  for (int done = 0; done < many;) {
    leat_curl_wait(s->curl, 1000);
    for (; (call = leat_curl_done(s->curl)) != NULL; done++)
      good_ones += leat_call_error(call)->kind == LEAT_OK;
  }
  int64_t took = now_ms() - begun;
  CHECK(good_ones == many);
  for (int i = 0; i < many; i++)
    leat_call_free(calls[i]);
  free(calls);
  return took;
}

/* The calls wait in the queue for far longer than their timeout, on machines of any
** speed. */
static void test_long_line(void) {
  enum { MANY = 10000 };
  stage s;
  open_stage(&s, "ten thousand calls over 16 connections", &good, 1, 30000, 16);
  int timeout = (int)perform_many(&s, MANY / 5, 30000) + 20;
  CHECK(perform_many(&s, MANY, timeout) > timeout);
  close_stage(&s);
  CHECK(s.server.connections == 16 && s.server.requests == MANY + MANY / 5);
}

static void test_impatience(void) {
  static const reply replies[] = {{NULL, STAY}};
  leat_call *calls[3];
  stage s;
  open_stage(&s, "in line for a connection, for too long", replies, 1, 400, 1);
  leat_config config = {.api_key = "curl-test-key", .queue_timeout_ms = 60};
  leat_client *hasty = leat_client_new(&config, NULL);
  for (int i = 0; i < 3; i++)
    leat_curl_start(s.curl, calls[i] = call_of(i == 1 ? hasty : s.client, "create"));
  int64_t begun = now_ms();
  while (!leat_call_is_done(calls[1]))
    leat_curl_wait(s.curl, 1000);
  const leat_error *error = leat_call_error(calls[1]);
  CHECK(now_ms() - begun >= 59 && !leat_call_is_done(calls[0]));
  CHECK(error->kind == LEAT_TIMEOUT && strstr(error->message, "queue_timeout") != NULL);
  CHECK(error->sent == LEAT_SENT_NO && !error->outcome_unknown && error->attempts == 0);
  CHECK(leat_curl_done(s.curl) == calls[1]);
  for (int i = 0; i < 3; i++)
    leat_call_free(calls[i]);
  leat_client_free(hasty);
  close_stage(&s);
}

/* The queue timeout covers the rate limiter's queue and the connection's queue
** together. */
static void test_two_lines(void) {
  static const reply replies[] = {{GOOD, STAY}, {NULL, STAY}, {GOOD, STAY}};
  char url[64];
  stage s;
  open_stage(&s, "in two lines, for too long together", replies, 3, 350, 1);
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", s.server.port);
  leat_client *slow = leat_client_new(&(leat_config){.api_key = "curl-test-key",
                                                     .base_url = url,
                                                     .rate_per_minute = 300,
                                                     .queue_timeout_ms = 250},
                                      NULL);
  CHECK(perform(s.curl, slow, "find").kind == LEAT_OK);
  leat_call *waits = call_of(slow, "find"), *hangs = call_of(s.client, "find");
  leat_curl_start(s.curl, waits); /* waits 200 ms for the rate */
  leat_curl_start(s.curl, hangs); /* uses the only connection for 350 ms */
  while (!leat_call_is_done(waits))
    leat_curl_wait(s.curl, 1000);
  CHECK(leat_call_error(waits)->kind == LEAT_TIMEOUT && !leat_call_is_done(hangs));
  leat_call_free(waits);
  leat_call_free(hangs);
  leat_client_free(slow);
  close_stage(&s);
}

/* It also covers the pause before a verifying find together with the connection's
** queue. */
static void test_two_lines_to_verify(void) {
  static const reply replies[] = {{"HTTP/1.1 503 Down\r\nRetry-After: 1\r\n"
                                   "Content-Length: 0\r\n\r\n",
                                   STAY},
                                  {NULL, STAY}};
  stage s;
  open_stage(&s, "in two lines to verify a change", replies, 2, 3000, 1);
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", s.server.port);
  leat_config config = {
      .api_key = "curl-test-key", .base_url = url, .queue_timeout_ms = 1200};
  leat_client *client = leat_client_new(&config, NULL);
  leat_call *create = call_of(client, "create"), *hangs = call_of(s.client, "find");
  leat_curl_start(s.curl, create);
  leat_curl_start(s.curl, hangs);
  int64_t begun = now_ms();
  while (!leat_call_is_done(create))
    leat_curl_wait(s.curl, 1000);
  CHECK(now_ms() - begun < 1800 && !leat_call_is_done(hangs));
  CHECK(leat_call_error(create)->outcome_unknown);
  leat_call_free(create);
  leat_call_free(hangs);
  leat_client_free(client);
  close_stage(&s);
}

/* With only one connection, retries come before calls that were never sent. */
static void test_begun_first(void) {
  static const reply replies[] = {
      {"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n", STAY}, {GOOD, STAY}};
  leat_call *first, *calls[200];
  stage s;
  int done = 0, place = 0;
  open_stage(&s, "a second try does not stand at the end of the line", replies, 2, 0, 1);
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", s.server.port);
  leat_config config = {
      .api_key = "curl-test-key", .base_url = url, .retry_base_ms = 1, .retry_cap_ms = 1};
  leat_client *client = leat_client_new(&config, NULL);
  leat_curl_start(s.curl, first = call_of(client, "find"));
  for (int i = 0; i < 200; i++)
    leat_curl_start(s.curl, calls[i] = call_of(client, "find"));
  for (leat_call *call; done < 201;) {
    leat_curl_wait(s.curl, 1000);
    for (; (call = leat_curl_done(s.curl)) != NULL; done++)
      if (call == first) place = done;
  }
  CHECK(leat_call_error(first)->kind == LEAT_OK && place < 150);
  leat_call_free(first);
  for (int i = 0; i < 200; i++)
    leat_call_free(calls[i]);
  leat_client_free(client);
  close_stage(&s);
}

static void test_cancel(void) {
  static const reply nothing = {NULL, STAY};
  leat_call *calls[3];
  stage s;
  open_stage(&s, "cancel: under way, in line, done", &nothing, 1, 0, 1);
  for (int i = 0; i < 3; i++)
    leat_curl_start(s.curl, calls[i] = call_of(s.client, "create"));
  while (s.server.requests == 0)
    leat_curl_wait(s.curl, 1);
  leat_curl_cancel(s.curl, calls[1]);
  CHECK(leat_call_error(calls[1])->kind == LEAT_CANCELED);
  CHECK(leat_call_error(calls[1])->sent == LEAT_SENT_NO);
  leat_curl_cancel(s.curl, calls[0]);
  CHECK(leat_call_error(calls[0])->kind == LEAT_CANCELED);
  CHECK(leat_call_error(calls[0])->outcome_unknown);
  leat_curl_cancel(s.curl, calls[0]); /* has no effect again */
  CHECK(leat_curl_done(s.curl) == NULL);
  leat_call_free(calls[2]); /* its result is not read */
  leat_curl_step(s.curl);
  leat_call_free(calls[0]);
  TEST("freed with a call under way");
  leat_call *left = call_of(s.client, "create");
  leat_curl_start(s.curl, left);
  leat_curl_step(s.curl);
  close_stage(&s);
  CHECK(leat_call_is_done(left) && leat_call_error(left)->kind == LEAT_CANCELED);
  leat_call_free(left);
  leat_call_free(calls[1]);
}

/* Calls that are canceled while they wait for the rate limiter release their slots. */
static void test_cancel_rated(void) {
  enum { MANY = 24 };
  char url[64];
  leat_call *calls[MANY];
  stage s;
  open_stage(&s, "canceled while they wait for the rate", &good, 1, 0, 0);
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", s.server.port);
  leat_client *rated = leat_client_new(
      &(leat_config){.api_key = "curl-test-key", .base_url = url, .rate_per_minute = 240},
      NULL);
  for (int i = 0; i < MANY; i++)
    leat_curl_start(s.curl, calls[i] = call_of(rated, "find"));
  for (int64_t start = now_ms(); now_ms() < start + 50;)
    leat_curl_wait(s.curl, 10);
  for (int i = 0; i < MANY - 1; i++)
    leat_curl_cancel(s.curl, calls[i]);
  int64_t start = now_ms();
  while (!leat_call_is_done(calls[MANY - 1])) /* it moved forward in the queue */
    leat_curl_wait(s.curl, 1000);
  CHECK(leat_call_error(calls[MANY - 1])->kind == LEAT_OK && now_ms() - start < 1000);
  CHECK(perform(s.curl, rated, "find").kind == LEAT_OK && now_ms() - start < 1500);
  for (int i = 0; i < MANY; i++)
    leat_call_free(calls[i]);
  leat_client_free(rated);
  close_stage(&s);
  CHECK(s.server.requests == 3);
}

/* Frees client, call and driver in each order, with the call not started, in progress,
** and done. The sanitizers report use after free and leaks. */
static void free_in_order(stage *s, leat_call *call, const char *order) {
  for (; *order; order++) {
    if (*order == 'c') leat_client_free(s->client);
    if (*order == 'd') leat_curl_free(s->curl);
    if (*order == 'k') leat_call_free(call);
  }
}

static void test_free_orders(void) {
  static const char *const orders[] = {"cdk", "ckd", "dck", "dkc", "kcd", "kdc"};
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  TEST("freed in any order");
  for (int state = 0; state < 3; state++) {
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
      stage s = {.curl = NULL};
      CHECK(server_start(&s.server, state == 2 ? &replies[1] : replies, 1));
      s.client = client_of(s.server.port, 0);
      s.curl = leat_curl_new(NULL, NULL);
      leat_call *call = call_of(s.client, "create");
      if (state > 0) CHECK(leat_curl_start(s.curl, call));
      for (int n = 0; n < 5 && state == 1; n++)
        leat_curl_wait(s.curl, 1);
      while (state == 2 && !leat_call_is_done(call))
        leat_curl_wait(s.curl, 1000);
      free_in_order(&s, call, orders[i]);
      server_stop(&s.server);
    }
  }
}

/* ---- in another event loop ------------------------------------------------------- */

#ifdef LEAT_POLL /* for systems without a single descriptor, see core/curl/poller.h */

static void test_descriptor(void) {
  leat_curl *curl = leat_curl_new(NULL, NULL);
  TEST("there is no one descriptor");
  CHECK(leat_curl_fd(curl) == -1);
  leat_curl_free(curl);
}

static void test_descriptor_alone(void) {
}

#else

static void test_descriptor(void) {
  static const reply nothing = {NULL, STAY};
  stage s;
  open_stage(&s, "one descriptor tells of answers, and of time", &nothing, 1, 100, 0);
  leat_call *call = call_of(s.client, "find");
  struct pollfd fd = {leat_curl_fd(s.curl), POLLIN, 0};
  leat_curl_start(s.curl, call);
  int64_t start = now_ms();
  while (!leat_call_is_done(call) && poll(&fd, 1, 2000) > 0)
    leat_curl_step(s.curl);
  CHECK(leat_call_is_done(call) && leat_call_error(call)->kind == LEAT_TIMEOUT);
  CHECK(now_ms() - start < 100 + 250);
  CHECK(leat_curl_done(s.curl) == call);
  CHECK(leat_curl_timeout_ms(s.curl) == -1);
  leat_call_free(call);
  close_stage(&s);
}

/* The descriptor alone signals everything, so a program needs to watch nothing else. */
static void test_descriptor_alone(void) {
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  stage s;
  open_stage(&s, "a cancel lets the next in line go on", replies, 2, 5000, 1);
  struct pollfd fd = {leat_curl_fd(s.curl), POLLIN, 0};
  leat_call *calls[2] = {call_of(s.client, "find"), call_of(s.client, "find")};
  leat_curl_start(s.curl, calls[0]);
  leat_curl_start(s.curl, calls[1]);
  while (s.server.requests < 1 && poll(&fd, 1, 100) >= 0)
    leat_curl_step(s.curl);
  leat_curl_cancel(s.curl, calls[0]);
  while (!leat_call_is_done(calls[1]) && poll(&fd, 1, 2000) > 0)
    leat_curl_step(s.curl);
  CHECK(leat_call_is_done(calls[1]) && leat_call_error(calls[1])->kind == LEAT_OK);
  CHECK(leat_curl_done(s.curl) == calls[1]);
  TEST("a call that ends as it is started");
  leat_call *wrong =
      leat_call_new(s.client, leat_operation("contact_identifiers", "find"));
  CHECK(leat_curl_start(s.curl, wrong));
  CHECK(leat_call_is_done(wrong) && leat_curl_timeout_ms(s.curl) == 0);
  CHECK(poll(&fd, 1, 1000) > 0);
  CHECK(leat_curl_done(s.curl) == wrong);
  leat_call_free(wrong);
  for (int i = 0; i < 2; i++)
    leat_call_free(calls[i]);
  close_stage(&s);
}

#endif

static void test_twice(void) {
  stage s;
  open_stage(&s, "a call is taken once", &good, 1, 5000, 0);
  leat_curl *other = leat_curl_new(NULL, NULL);
  leat_call *call = call_of(s.client, "create");
  CHECK(leat_curl_start(s.curl, call));
  CHECK(!leat_curl_start(s.curl, call));
  CHECK(!leat_curl_start(other, call));
  CHECK(!leat_curl_start(s.curl, NULL));
  leat_curl_perform(s.curl, call); /* does not take the call either */
  leat_curl_perform(s.curl, NULL);
  while (!leat_call_is_done(call))
    leat_curl_wait(s.curl, 1000);
  CHECK(leat_call_error(call)->kind == LEAT_OK);
  CHECK(leat_curl_done(s.curl) == call && leat_curl_done(s.curl) == NULL);
  leat_call_free(call);
  TEST("a call that its owner ends while its connection is made");
  call = call_of(s.client, "create");
  leat_curl_start(other, call);
  leat_call_fail(call, (leat_moment){0, 0, 0}, LEAT_CANCELED, LEAT_SENT_NO, "enough");
  while (leat_curl_done(other) != call)
    leat_curl_wait(other, 1000);
  CHECK(leat_call_error(call)->kind == LEAT_CANCELED);
  leat_call_free(call);
  leat_curl_free(other);
  close_stage(&s);
  CHECK(s.server.requests == 1);
}

static void test_shared_rate(void) {
  char url[64];
  stage s;
  open_stage(&s, "a rate that processes share, without a store for it", &good, 1, 2000,
             0);
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", s.server.port);
  leat_config config = {
      .api_key = "k", .base_url = url, .rate_per_minute = 60, .shared = true};
  leat_client *shared = leat_client_new(&config, NULL);
  CHECK(perform(s.curl, shared, "find").kind == LEAT_MISUSE);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  leat_client_free(shared);
  close_stage(&s);
}

/* Two clients share a driver. A call that waits for a token does not disturb the other
** client. */
static void test_asking(void) {
  char url[64];
  stage s;
  open_stage(&s, "a call that asks for a token, beside one that does not", &good, 1, 2000,
             0);
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", s.server.port);
  leat_client *asking = leat_client_new(
      &(leat_config){.token_from_caller = true, .base_url = url, .max_attempts = 1},
      NULL);
  leat_call *asks = call_of(asking, "find"), *waits = call_of(asking, "find");
  leat_curl_start(s.curl, asks);
  leat_curl_start(s.curl, waits);
  CHECK(perform(s.curl, s.client, "create").kind == LEAT_OK);
  CHECK(!leat_call_is_done(asks) && leat_curl_token(s.curl) == asks);
  leat_call_fail(asks, leat_curl_moment(s.curl), LEAT_CONFIG, LEAT_SENT_NO, "no token");
  leat_call_free(asks);
  leat_client *lone = leat_client_new(
      &(leat_config){.token_from_caller = true, .base_url = url, .max_attempts = 1},
      NULL);
  CHECK(perform(s.curl, lone, "find").kind == LEAT_CONFIG); /* without a token source */
  leat_client_free(lone);
  TEST("the next one asks, and gets it");
  while (leat_curl_done(s.curl) != NULL) {
  }
  asks = call_of(asking, "find");
  leat_curl_start(s.curl, asks);
  int64_t start = now_ms();
  for (leat_call *call; !leat_call_is_done(asks);) {
    leat_curl_wait(s.curl, 1000);
    while ((call = leat_curl_token(s.curl)) != NULL)
      CHECK(leat_client_set_token(leat_call_client(call), leat_curl_moment(s.curl),
                                  leat_s("t"), 0));
  }
  if (!CHECK(leat_call_error(asks)->kind == LEAT_OK && now_ms() - start < 500))
    printf("  %d ms, %s\n", (int)(now_ms() - start), leat_call_error(asks)->message);
  leat_call_free(asks);
  leat_call_free(waits);
  TEST("the lease of one that is canceled goes on at once");
  leat_client *third = leat_client_new(
      &(leat_config){.token_from_caller = true, .base_url = url, .max_attempts = 1},
      NULL);
  asks = call_of(third, "find");
  waits = call_of(third, "find");
  leat_curl_start(s.curl, asks);
  leat_curl_start(s.curl, waits);
  CHECK(leat_curl_token(s.curl) == asks);
  leat_curl_cancel(s.curl, asks);
  start = now_ms();
  leat_call *next = NULL;
  while ((next = leat_curl_token(s.curl)) == NULL && now_ms() - start < 2000)
    leat_curl_wait(s.curl, 1000);
  CHECK(next == waits && now_ms() - start < 500);
  leat_call_free(asks);
  TEST("one that is canceled as soon as it got the token");
  asks = call_of(third, "find");
  leat_curl_start(s.curl, asks);
  leat_curl_wait(s.curl, 0);
  leat_client_set_token(third, leat_curl_moment(s.curl), leat_s("t"), 0);
  leat_curl_cancel(s.curl, waits);
  start = now_ms();
  while (!leat_call_is_done(asks) && now_ms() - start < 1000)
    leat_curl_wait(s.curl, 100);
  CHECK(leat_call_is_done(asks));
  leat_curl_cancel(s.curl, asks);
  leat_call_free(asks);
  leat_call_free(waits);
  close_stage(&s);
  leat_client_free(asking);
  leat_client_free(third);
}

/* ---- a busy program -------------------------------------------------------------- */

static void test_busy(const char *name, busy_loop how) {
  stage s;
  open_stage(&s, name, &good, 1, 0, BUSY_CALLS + 1);
  busy_check(s.curl, s.client, &s.server, how);
  close_stage(&s);
  CHECK(s.server.requests >= 2 * BUSY_CALLS);
}

static leat_client *impatient_client(int port, int queue_timeout_ms) {
  char url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/api", port);
  leat_config config = {.api_key = test_key(),
                        .base_url = url,
                        .max_attempts = 1,
                        .queue_timeout_ms = queue_timeout_ms};
  return leat_client_new(&config, NULL);
}

/* The client's queue timeout is 300 ms, but the program is busy for longer after it
** started `many` calls. Either some responses arrive meanwhile and the queued calls come
** next, or new connections are opened a few at a time. */
static void check_busy_line(const char *name, int many, int connections, bool warm) {
  leat_call *calls[BUSY_CALLS];
  stage s;
  open_stage(&s, name, &good, 1, 0, connections);
  leat_client *client = impatient_client(s.server.port, 300);
  if (warm) perform_many(&s, connections, 30000);
  int before = s.server.requests;
  s.server.delay_ms = 200;
  for (int i = 0; i < many; i++)
    leat_curl_start(s.curl, calls[i] = call_of(client, "create"));
  while (warm && s.server.requests < before + connections &&
         !leat_call_is_done(calls[many - 1]))
    leat_curl_wait(s.curl, 1);
  usleep(500 * 1000);
  for (int i = 0; i < many; i++) {
    while (!leat_call_is_done(calls[i]))
      leat_curl_wait(s.curl, 1000);
    if (!CHECK(leat_call_error(calls[i])->kind == LEAT_OK))
      printf("  %d: %s\n", i, leat_call_error(calls[i])->message);
    leat_call_free(calls[i]);
  }
  leat_client_free(client);
  close_stage(&s);
}

static void test_busy_line(void) {
  check_busy_line("in line behind a response that has arrived", 2, 1, true);
  check_busy_line("in line behind many of them", 140, 70, true);
  check_busy_line("in line for connections that are begun a few at a time", 40, 64,
                  false);
}

static void on_signal(int number) {
  (void)number;
}

/* A process is stopped while its response arrives, until the deadline of its call and the
** queue timeout of the next call have passed. */
static void test_stopped(const char *name, int timeout_ms) {
  stage s;
  int status = 1;
  open_stage(&s, name, &good, 1, timeout_ms, 1);
  s.server.delay_ms = 200;
  leat_client *impatient = impatient_client(s.server.port, 400);
  pid_t child = fork_quietly();
  if (child == 0) {
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
    leat_call *calls[2] = {call_of(s.client, "create"), call_of(impatient, "create")};
    leat_curl_start(s.curl, calls[0]);
    leat_curl_perform(s.curl, calls[1]);
    bool fine = true;
    for (int i = 0; i < 2; i++) {
      fine = fine && leat_call_error(calls[i])->kind == LEAT_OK;
      if (!fine) printf("  %s\n", leat_call_error(calls[i])->message);
    }
    fflush(stdout);
    execlp(fine ? "true" : "false", "", (char *)NULL);
    _exit(2);
  }
  while (s.server.requests == 0)
    usleep(1000);
  kill(child, SIGSTOP);
  usleep(700 * 1000);
  kill(child, SIGUSR1); /* certainly interrupts a wait */
  kill(child, SIGCONT);
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  leat_client_free(impatient);
  close_stage(&s);
  CHECK(s.server.requests == 2);
}

/* ---- two addresses --------------------------------------------------------------- */

/* Our own getaddrinfo, for two names: "two.test" is 127.0.0.2, which never accepts, and
** 127.0.0.1; "hole.test" is 127.0.0.2 only. */
static struct addrinfo *new_address(const char *ip, const char *port,
                                    struct addrinfo *next) {
  struct addrinfo *a = calloc(1, sizeof *a + sizeof(struct sockaddr_in));
  struct sockaddr_in *in = (struct sockaddr_in *)(void *)(a + 1);
  in->sin_family = AF_INET;
  in->sin_port = htons((uint16_t)atoi(port));
  inet_pton(AF_INET, ip, &in->sin_addr);
  a->ai_family = AF_INET;
  a->ai_socktype = SOCK_STREAM;
  a->ai_protocol = IPPROTO_TCP;
  a->ai_addrlen = sizeof *in;
  a->ai_addr = (struct sockaddr *)(void *)in;
  a->ai_next = next;
  return a;
}

LEAT_API int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints,
                         struct addrinfo **result) {
  struct addrinfo *second = NULL;
  (void)hints;
  if (name && strcmp(name, "two.test") == 0)
    second = new_address("127.0.0.1", port, NULL);
  else if (name == NULL || strcmp(name, "hole.test") != 0) return EAI_NONAME;
  *result = new_address("127.0.0.2", port, second);
  return 0;
}

LEAT_API void freeaddrinfo(struct addrinfo *a) {
  while (a) {
    struct addrinfo *next = a->ai_next;
    free(a);
    a = next;
  }
}

/* Makes a listener whose accept queue is full. */
static int dig_hole(int port, int fill[4]) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr *a = (struct sockaddr *)(void *)&address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  inet_pton(AF_INET, "127.0.0.2", &address.sin_addr);
  CHECK(bind(listener, a, sizeof address) == 0 && listen(listener, 0) == 0);
  for (int i = 0; i < 4; i++) {
    fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fill[i], a, sizeof address);
  }
  return listener;
}

static leat_client *client_at(const char *host, int port) {
  char url[64];
  snprintf(url, sizeof url, "http://%s:%d/api", host, port);
  leat_config config = {.api_key = test_key(),
                        .base_url = url,
                        .allow_http = true,
                        .connect_timeout_ms = 1000,
                        .max_attempts = 1};
  return leat_client_new(&config, NULL);
}

/* The first of two addresses does not accept: half of the connect timeout passes, then
** the second is tried. Also while other watched connections are being opened. */
static void test_second_address(void) {
  stage s;
  int fill[4];
  open_stage(&s, "a dead address, then a good one", &good, 1, 0, 0);
  int hole = dig_hole(s.server.port, fill);
  leat_client *two = client_at("two.test", s.server.port);
  leat_client *dead = client_at("hole.test", s.server.port);
  leat_call *call = call_of(two, "find"), *others[2];
  int64_t start = now_ms();
  leat_curl_start(s.curl, call);
  for (int i = 0; i < 2; i++) {
    leat_curl_start(s.curl, others[i] = call_of(dead, "find"));
    while (now_ms() < start + 300 * (i + 1))
      leat_curl_wait(s.curl, 10);
  }
  while (!leat_call_is_done(call))
    leat_curl_wait(s.curl, 1000);
  if (!CHECK(leat_call_error(call)->kind == LEAT_OK))
    printf("  %s\n", leat_call_error(call)->message);
  CHECK(now_ms() - start < 950);
  leat_call_free(call);
  for (int i = 0; i < 2; i++)
    leat_call_free(others[i]);
  leat_client_free(two);
  leat_client_free(dead);
  close(hole);
  for (int i = 0; i < 4; i++)
    close(fill[i]);
  close_stage(&s);
}

/* ---- proxies --------------------------------------------------------------------- */

static void test_proxy_secrets(void) {
  static const char *const bad[] = {"foo://user:hunter2@host:80", "http://user:hunter2@",
                                    "http://user:hunter2@host:99999", "://hunter2"};
  leat_error error;
  TEST("a proxy that is none, its password unseen");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK(leat_curl_new(&(leat_curl_config){.proxy = bad[i]}, &error) == NULL);
    CHECK(error.kind == LEAT_CONFIG && strstr(error.message, "hunter2") == NULL);
  }
  leat_client *client = client_at("hole.test", 1);
  leat_curl *curl = leat_curl_new(NULL, NULL);
  setenv("http_proxy", "foo://user:hunter2@host:80", 1);
  error = perform(curl, client, "find");
  unsetenv("http_proxy");
  if (!CHECK(error.kind == LEAT_CONFIG && strstr(error.message, "hunter2") == NULL &&
             strstr(error.message, "proxy") != NULL))
    printf("  %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(error.sent == LEAT_SENT_NO);
  leat_curl_free(curl);
  leat_client_free(client);
}

static void test_settings(void) {
  leat_error error;
  TEST("settings of the driver that are refused");
  CHECK(leat_curl_new(&(leat_curl_config){.max_connections = -1}, &error) == NULL);
  CHECK(error.kind == LEAT_CONFIG);
  CHECK(leat_curl_new(&(leat_curl_config){.max_connections = 100001}, NULL) == NULL);
}

/* ---- the process ----------------------------------------------------------------- */

static int count_open(bool (*counts)(int fd)) {
  int n = 0;
  for (int fd = 3; fd < 256; fd++)
    n += fcntl(fd, F_GETFD) >= 0 && counts(fd);
  return n;
}

static bool survives_exec(int fd) {
  return !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static bool any(int fd) {
  return fd >= 0;
}

static void test_descriptors(void) {
  stage s;
  int before = count_open(any);
  open_stage(&s, "no descriptor goes to another program, none is left", &good, 1, 0, 0);
  int surviving = count_open(survives_exec);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  /* except libcurl's own wakeup pair, which it opens without CLOEXEC */
  int wakeups = 2;
  int extra = count_open(survives_exec) - surviving;
  if (!CHECK(extra <= wakeups)) printf("  %d descriptors survive exec\n", extra);
  close_stage(&s);
  CHECK(count_open(any) == before);
}

static void test_descriptor_limit(void) {
  struct rlimit limit, small;
  stage s;
  open_stage(&s, "no descriptors left", &good, 1, 0, 0);
  getrlimit(RLIMIT_NOFILE, &limit);
  small = limit;
  int highest = dup(0);
  close(highest);
  small.rlim_cur = (rlim_t)highest;
  setrlimit(RLIMIT_NOFILE, &small);
  leat_error error = perform(s.curl, s.client, "create");
  leat_error none = {LEAT_OK, 0, 0, 0, LEAT_SENT_NO, false, 0, "", ""};
#ifndef LEAT_POLL /* this poller needs no descriptor of its own */
  CHECK(leat_curl_new(NULL, &none) == NULL && none.kind == LEAT_LOCAL);
#else
  (void)none;
#endif
  setrlimit(RLIMIT_NOFILE, &limit);
  if (!CHECK(error.kind == LEAT_LOCAL && error.sent == LEAT_SENT_NO))
    printf("  got %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_stage(&s);
}

static void test_fork(void) {
  stage s;
  int status = 1;
  open_stage(&s, "parent and child both work", &good, 1, 2000, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  pid_t child = fork_quietly();
  if (child == 0) {
    bool fine = perform(s.curl, s.client, "find").kind == LEAT_OK;
    leat_curl_free(s.curl);
    /* exec, because the child does not free the parent's memory, which would count as
    ** leaks */
    execlp(fine ? "true" : "false", "", (char *)NULL);
    _exit(2);
  }
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_stage(&s);
  CHECK(s.server.connections == 2 && s.server.requests == 3); /* parent's is reused */
}

/* The child must not send the calls that the parent has queued. */
static void test_fork_line(void) {
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  leat_call *calls[3];
  stage s;
  int status = 1;
  open_stage(&s, "a child leaves the parent's calls alone", replies, 2, 500, 1);
  for (int i = 0; i < 3; i++)
    leat_curl_start(s.curl, calls[i] = call_of(s.client, "create"));
  while (s.server.requests < 1)
    leat_curl_wait(s.curl, 1);
  pid_t child = fork_quietly();
  if (child == 0) {
    bool fine = perform(s.curl, s.client, "find").kind == LEAT_OK;
    for (int i = 0; i < 3; i++)
      fine = fine && leat_call_error(calls[i])->kind == LEAT_CANCELED;
    fine = fine && leat_call_error(calls[0])->outcome_unknown &&
           !leat_call_error(calls[2])->outcome_unknown;
    execlp(fine ? "true" : "false", "", (char *)NULL);
    _exit(2);
  }
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(s.server.requests == 2);
  while (!leat_call_is_done(calls[2]))
    leat_curl_wait(s.curl, 1000);
  for (int i = 0; i < 3; i++) {
    CHECK(leat_call_error(calls[i])->kind == (i ? LEAT_OK : LEAT_TIMEOUT));
    leat_call_free(calls[i]);
  }
  close_stage(&s);
  CHECK(s.server.requests == 4);
}

/* A child without descriptors reports an error, and works once it has some again. */
static void test_fork_limit(void) {
  stage s;
  int status = 1;
  open_stage(&s, "a child without descriptors, and then with", &good, 1, 2000, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  pid_t child = fork_quietly();
  if (child == 0) {
    struct rlimit limit, small;
    getrlimit(RLIMIT_NOFILE, &limit);
    small = limit;
    small.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &small);
    bool fine = perform(s.curl, s.client, "find").kind == LEAT_LOCAL;
    setrlimit(RLIMIT_NOFILE, &limit);
    fine = fine && perform(s.curl, s.client, "find").kind == LEAT_OK;
    execlp(fine ? "true" : "false", "", (char *)NULL);
    _exit(2);
  }
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  close_stage(&s);
}

static void test_environment(void) {
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  setenv("all_proxy", "http://127.0.0.1:1", 1);
  check_reuse("a proxy of the environment is not for this machine", good, 1, 1);
  unsetenv("http_proxy");
  unsetenv("all_proxy");
}

/* The server reads slowly, so that the request is sent in pieces. */
static void test_large_request(void) {
  static const reply answer = {"HTTP/1.1 400 Bad\r\nContent-Length: 37\r\n\r\n"
                               "{\"message\":\"x\",\"code\":1003,\"y\":\"zzz\"}",
                               STAY};
  enum { LENGTH = 60000 };
  stage s;
  char *value = malloc(LENGTH);
  open_stage(&s, "a request of 180 kB", &answer, 1, 5000, 0);
  memset(value, '&', LENGTH);
  leat_call *call =
      leat_call_new(s.client, leat_operation("contact_identifiers", "delete"));
  leat_call_set(call, "contact_identifier_value", (leat_string){value, LENGTH});
  leat_curl_perform(s.curl, call);
  CHECK(leat_call_error(call)->code == 1003);
  leat_call_free(call);
  close_stage(&s);
  CHECK(s.server.request_bytes > LENGTH * 4);
  free(value);
}

int main(void) {
  test_reuse();
  test_surplus();
  test_late_answer();
  test_failures();
  test_delete_to_close();
  test_dies_when_reused(CLOSE);
  test_dies_when_reused(RESET);
  test_refused();
  test_greeting();
  test_not_tls();
  test_deadline();
  test_time_to_connect();
  test_ca_file();
  test_many(1);
  test_many(4);
  test_line();
  test_long_line();
  test_impatience();
  test_two_lines();
  test_two_lines_to_verify();
  test_begun_first();
  test_cancel();
  test_cancel_rated();
  test_free_orders();
  test_descriptor();
  test_descriptor_alone();
  test_twice();
  test_shared_rate();
  test_asking();
  test_busy("busy while 150 responses arrive", BUSY_WAITS);
  test_busy("busy, then it steps", BUSY_STEPS);
  test_busy("busy, then it watches the descriptor", BUSY_WATCHES);
  test_busy("busy, then it performs another call", BUSY_PERFORMS);
  test_busy_line();
  test_stopped("stopped past the deadline", 400);
  test_stopped("stopped past the patience of the next in line", 5000);
  test_second_address();
  test_proxy_secrets();
  test_settings();
  test_descriptors();
  test_descriptor_limit();
  test_fork();
  test_fork_line();
  test_fork_limit();
  test_environment();
  test_large_request();
  return test_summary("curl");
}
