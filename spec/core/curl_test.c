/*
** curl_test.c - the libcurl driver, with real sockets.
*/
#include "busy.h"
#include "curl_calls.h"
#include "descriptors.h"
#include "fork.h"
#include "surplus.h"

#include <signal.h>
#include <sys/socket.h>

#define NONE OK_HEAD "Content-Length: 15\r\n\r\n{\"data\":null}  "

/* A server, and a client and a driver for it. */
typedef struct stage {
  http_server server;
  leat_client *client;
  leat_curl *curl;
} stage;

static leat_client *client_here(const stage *s, leat_config config) {
  return client_at("http", "127.0.0.1", s->server.at.port, config);
}

static void open_http(stage *s, const char *name, const reply *replies, size_t count,
                      int timeout_ms, int connections) {
  leat_curl_config config = {.max_connections = connections};
  TEST(name);
  memset(s, 0, sizeof *s);
  CHECK(http_server_start(&s->server, replies, count));
  s->client = client_here(s, (leat_config){.timeout_ms = timeout_ms});
  s->curl = leat_curl_new(&config, NULL);
}

static void close_http(stage *s) {
  leat_curl_free(s->curl);
  leat_client_free(s->client);
  http_server_stop(&s->server);
}

static leat_client *rushed_client(const stage *s, int queue_timeout_ms) {
  return client_here(s, (leat_config){.queue_timeout_ms = queue_timeout_ms});
}

/* ---- reuse ----------------------------------------------------------------------- */

/* Performs `finds` successful calls in a row, and checks how many connections they
** used. */
static void check_reuse(const char *name, reply r, int finds, int connections) {
  stage s;
  open_http(&s, name, &r, 1, 0, 0);
  for (int i = 0; i < finds; i++) {
    leat_error error = perform(s.curl, s.client, "find");
    if (!CHECK(error.kind == LEAT_OK)) printf("  %s\n", error.message);
    if (r.then == CLOSE) CHECK(listener_wait_closed(&s.server.at, i + 1));
  }
  close_http(&s);
  CHECK(s.server.at.connections == connections);
  CHECK(s.server.requests == finds);
}

static void test_reuse(void) {
  check_reuse("a connection is used again", good_reply, 5, 1);
  check_reuse(
      "Connection: close",
      (reply){OK_HEAD "Connection: close\r\nContent-Length: 44\r\n\r\n" BODY, STAY}, 3,
      3);
  check_reuse("closed silently after the response", (reply){GOOD, CLOSE}, 3, 3);
  check_reuse("bytes behind the response", (reply){GOOD GOOD, STAY}, 3, 3);
  check_reuse("a response that ends with the connection",
              (reply){OK_HEAD "\r\n" BODY, CLOSE}, 3, 3);
  check_reuse("an interim response first",
              (reply){"HTTP/1.1 103 Early\r\n\r\n" GOOD, STAY}, 3, 1);
}

/* Bytes behind a response are never used for another call, whatever the response's
** length. */
static void test_surplus(void) {
  static char text[SURPLUS_MOST + 1];
  static const reply replies[] = {{text, STAY}, {GOOD, STAY}};
  for (size_t i = 0; i < sizeof surplus_lengths / sizeof surplus_lengths[0]; i++) {
    stage s;
    surplus_make(text, surplus_lengths[i]);
    open_http(&s, "a forged response behind a response", replies, 2, 0, 0);
    CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
    if (!CHECK(surplus_is_ignored(s.curl, s.client)))
      printf("  %zu bytes\n", surplus_lengths[i]);
    close_http(&s);
    CHECK(s.server.at.connections == 2 && s.server.requests == 2);
  }
}

/* A late response is never taken for that of the next call. */
static void test_late_response(void) {
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  stage s;
  open_http(&s, "after a timeout the connection goes", replies, 2, 100, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_TIMEOUT);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_http(&s);
  CHECK(s.server.at.connections == 2);
}

/* ---- failures -------------------------------------------------------------------- */

static void check_failure(const char *name, reply first, leat_kind kind, bool unknown,
                          const char *message) {
  const reply replies[] = {first, {GOOD, STAY}};
  stage s;
  open_http(&s, name, replies, 2, 200, 0);
  leat_error error = perform(s.curl, s.client, "create");
  if (!CHECK(error.kind == kind && error.outcome_unknown == unknown &&
             strstr(error.message, message) != NULL))
    printf("  got %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(error.sent == LEAT_SENT_MAYBE && error.attempts == 1);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK); /* the client still works */
  close_http(&s);
  CHECK(s.server.requests == 2); /* no request was sent twice */
}

static void test_failures(void) {
  check_failure("closes without a response", (reply){NULL, CLOSE}, LEAT_CONNECTION, true,
                "without a response");
  check_failure("resets", (reply){NULL, RESET}, LEAT_CONNECTION, true,
                "broke while receiving");
  check_failure("never responds", (reply){NULL, STAY}, LEAT_TIMEOUT, true, "in time");
  check_failure("half a head, then the end", (reply){OK_HEAD "Cont", CLOSE},
                LEAT_CONNECTION, true, "within the response's head");
  check_failure("half a head, then nothing", (reply){OK_HEAD "Cont", STAY}, LEAT_TIMEOUT,
                true, "in time");
  check_failure("half a body, then a reset", (reply){CUT_BODY, RESET}, LEAT_CONNECTION,
                true, "broke");
  check_failure("half a body, then the end", (reply){CUT_BODY, CLOSE}, LEAT_CONNECTION,
                true, "after 4 bytes");
  check_failure("a redirect",
                (reply){"HTTP/1.1 302 Found\r\nLocation: https://x.example/in\r\n"
                        "Content-Length: 0\r\n\r\n",
                        STAY},
                LEAT_REDIRECT, false, "x.example");
  check_failure("no HTTP", (reply){"SSH-2.0-OpenSSH_9.2\r\n", STAY}, LEAT_PROTOCOL, true,
                "SSH-2.0-OpenSSH_9.2");
}

static void test_delete_to_close(void) {
  static const reply replies[] = {
      {OK_HEAD "\r\n", CLOSE}, {OK_HEAD "\r\n{\"data\":null}", CLOSE}, {NONE, STAY}};
  stage s;
  open_http(&s, "a connection that ends proves no delete", replies, 3, 500, 0);
  CHECK(perform(s.curl, s.client, "delete").kind == LEAT_PROTOCOL);
  CHECK(perform(s.curl, s.client, "delete").outcome_unknown);
  CHECK(perform(s.curl, s.client, "delete").kind == LEAT_OK);
  close_http(&s);
}

/* The connection breaks when it is reused, which libcurl by itself would retry. */
static void test_dies_when_reused(after how) {
  const reply replies[] = {{GOOD, STAY}, {NULL, how}, {GOOD, STAY}};
  stage s;
  open_http(&s, "a kept connection dies under a create", replies, 3, 0, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  leat_error error = perform(s.curl, s.client, "create");
  CHECK(error.kind == LEAT_CONNECTION && error.outcome_unknown);
  CHECK(s.server.requests == 2);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_http(&s);
  CHECK(s.server.requests == 3);
}

static void test_refused(void) {
  stage s;
  open_http(&s, "nobody listens", &good_reply, 1, 0, 0);
  int port = s.server.at.port;
  close_http(&s);
  leat_client *client = client_of("http", "127.0.0.1", port, 0);
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
  CHECK(http_server_start(&s.server, &good_reply, 1));
  s.client = client_here(&s, (leat_config){.timeout_ms = 500});
  s.curl = leat_curl_new(NULL, NULL);
  leat_error error = perform(s.curl, s.client, "find");
  CHECK(error.kind == LEAT_PROTOCOL &&
        strstr(error.message, "220 mail.example ESMTP") != NULL);
  close_http(&s);
}

static void test_not_tls(void) {
  static const reply replies[] = {
      {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", CLOSE}};
  stage s;
  open_http(&s, "https to a port that speaks http", replies, 1, 0, 0);
  s.server.greeting = "HTTP/1.1 400 Bad Request\r\n\r\n"; /* sent before any request */
  leat_client *client = client_at("https", "127.0.0.1", s.server.at.port,
                                  (leat_config){.timeout_ms = 2000});
  leat_error error = perform(s.curl, client, "create");
  if (!CHECK(error.kind == LEAT_TLS &&
             strstr(error.message, "does not speak TLS") != NULL))
    printf("  got %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(error.sent == LEAT_SENT_NO && !error.outcome_unknown);
  leat_client_free(client);
  close_http(&s);
}

static void test_deadline(void) {
  stage s;
  open_http(&s, "a deadline holds", &no_reply, 1, 150, 0);
  int64_t start = test_now_ms();
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_TIMEOUT);
  CHECK(test_now_ms() - start >= 145 && test_now_ms() - start < 2000);
  close_http(&s);
}

/* The half of the timeout that a change may take begins when it is connected. To delay
** that, the program does something else meanwhile. */
static void test_time_to_connect(void) {
  enum { TIMEOUT_MS = 3000, OCCUPIED_MS = 200 };
  stage s;
  open_http(&s, "connecting takes nothing from a change's half", &no_reply, 1, TIMEOUT_MS,
            0);
  leat_call *call = card_call(s.client, "create");
  leat_call_set_max_attempts(call, 2);
  int64_t start = test_now_ms();
  leat_curl_start(s.curl, call);
  int64_t planned = leat_call_request(call)->deadline_ms, deadline = planned;
  usleep(OCCUPIED_MS * 1000);
  while (deadline == planned && test_now_ms() - start < 2000) {
    leat_curl_wait(s.curl, 10);
    deadline = leat_call_request(call)->deadline_ms;
  }
  CHECK(planned - start >= TIMEOUT_MS / 2);
  CHECK(deadline - planned >= OCCUPIED_MS / 2 && deadline - start <= TIMEOUT_MS);
  leat_curl_cancel(s.curl, call);
  leat_call_free(call);
  close_http(&s);
}

static void test_ca_file(void) {
  leat_curl_config config = {.ca_file = "no/such/file.pem"};
  stage s;
  open_http(&s, "a ca_file that is not there", &good_reply, 1, 0, 0);
  leat_client *client = client_of("https", "127.0.0.1", s.server.at.port, 0);
  leat_curl *curl = leat_curl_new(&config, NULL);
  leat_error error = perform(curl, client, "find");
  CHECK(error.kind == LEAT_CONFIG && strstr(error.message, "no/such/file.pem") != NULL &&
        strstr(error.message, "ca-certificates") != NULL);
  leat_curl_free(curl);
  leat_client_free(client);
  close_http(&s);
}

/* ---- many at once ---------------------------------------------------------------- */

enum { CALLS = 200 };

static void test_many(int connections) {
  leat_call *calls[CALLS];
  stage s;
  int numbers[CALLS], done = 0, good_ones = 0, in_order = 0;
  open_http(&s, "many calls over few connections", &good_reply, 1, 0, connections);
  for (int i = 0; i < CALLS; i++) {
    numbers[i] = i;
    calls[i] = card_call(s.client, "find");
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
  free_calls(calls, CALLS);
  close_http(&s);
  CHECK(s.server.at.connections == connections && s.server.requests == CALLS);
}

/* Waiting in the queue does not count towards a call's timeout. */
static void test_line(void) {
  static const reply replies[] = {{NULL, STAY}, {NULL, STAY}, {GOOD, STAY}};
  leat_call *calls[3];
  stage s;
  open_http(&s, "time in the queue is not call time", replies, 3, 120, 1);
  for (int i = 0; i < 3; i++)
    calls[i] = start_call(s.curl, s.client, "find");
  wait_for(s.curl, calls[2]);
  CHECK(leat_call_error(calls[0])->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(calls[1])->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(calls[2])->kind == LEAT_OK);
  free_calls(calls, 3);
  close_http(&s);
}

/* Performs `many` calls at once, which must all succeed. Returns the time in ms. */
static int64_t perform_many(stage *s, int many, int timeout_ms) {
  leat_call **calls = calloc((size_t)many, sizeof *calls), *call;
  int64_t begun = test_now_ms();
  int good_ones = 0;
  for (int i = 0; i < many; i++) {
    calls[i] = card_call(s->client, "find");
    leat_call_set_timeout_ms(calls[i], timeout_ms);
    leat_curl_start(s->curl, calls[i]);
  }
  for (int done = 0; done < many;) {
    leat_curl_wait(s->curl, 1000);
    for (; (call = leat_curl_done(s->curl)) != NULL; done++)
      good_ones += leat_call_error(call)->kind == LEAT_OK;
  }
  int64_t took = test_now_ms() - begun;
  CHECK(good_ones == many);
  free_calls(calls, many);
  free(calls);
  return took;
}

/* The calls wait in the queue for far longer than their timeout, on machines of any
** speed. One that has become five times as fast is measured again. */
static void test_long_line(void) {
  enum { MANY = 10000 };
  int64_t timeout, took;
  int rounds = 0;
  stage s;
  open_http(&s, "ten thousand calls over 16 connections", &good_reply, 1, 30000, 16);
  do {
    timeout = perform_many(&s, MANY / 5, 30000) + 20;
    took = perform_many(&s, MANY, (int)timeout);
  } while (++rounds < 5 && took <= timeout);
  CHECK(took > timeout);
  close_http(&s);
  CHECK(s.server.at.connections == 16);
  CHECK(s.server.requests == rounds * (MANY + MANY / 5));
}

static void test_queue_timeout(void) {
  static const reply replies[] = {{NULL, STAY}};
  leat_call *calls[3];
  stage s;
  open_http(&s, "queued for a connection for longer than queue_timeout", replies, 1, 400,
            1);
  leat_client *rushed = rushed_client(&s, 60);
  for (int i = 0; i < 3; i++)
    calls[i] = start_call(s.curl, i == 1 ? rushed : s.client, "create");
  int64_t begun = test_now_ms();
  wait_for(s.curl, calls[1]);
  const leat_error *error = leat_call_error(calls[1]);
  CHECK(test_now_ms() - begun >= 59 && !leat_call_is_done(calls[0]));
  CHECK(error->kind == LEAT_TIMEOUT && strstr(error->message, "queue_timeout") != NULL);
  CHECK(error->sent == LEAT_SENT_NO && !error->outcome_unknown && error->attempts == 0);
  CHECK(leat_curl_done(s.curl) == calls[1]);
  CHECK(leat_client_queue_ms(rushed, LEAT_FOR_CONNECTION) >= 59);
  free_calls(calls, 3);
  leat_client_free(rushed);
  close_http(&s);
}

/* A call's own queue timeout replaces its client's. */
static void test_queue_timeout_of_a_call(void) {
  static const reply replies[] = {{NULL, STAY}};
  stage s;
  open_http(&s, "queued for a connection for longer than its own queue_timeout", replies,
            1, 20000, 1);
  leat_client *rushed = rushed_client(&s, 60);
  leat_call *hangs = start_call(s.curl, s.client, "find");
  leat_call *hurried = card_call(s.client, "find"), *patient = card_call(rushed, "find");
  leat_call_set_queue_timeout_ms(hurried, 90);
  leat_call_set_queue_timeout_ms(patient, 20000);
  leat_curl_start(s.curl, hurried);
  leat_curl_start(s.curl, patient);
  int64_t begun = test_now_ms();
  wait_for(s.curl, hurried);
  CHECK(test_now_ms() - begun >= 89);
  CHECK(!leat_call_is_done(hangs) && !leat_call_is_done(patient));
  CHECK(strstr(leat_call_error(hurried)->message, "queue_timeout") != NULL);
  FREE_ALL(rushed, hangs, hurried, patient);
  close_http(&s);
}

/* The queue timeout covers the rate limiter's queue and the connection's queue
** together. */
static void test_two_lines(void) {
  static const reply replies[] = {{GOOD, STAY}, {NULL, STAY}, {GOOD, STAY}};
  stage s;
  open_http(&s, "in two queues for longer than queue_timeout together", replies, 3, 350,
            1);
  leat_client *slow =
      client_here(&s, (leat_config){.rate_per_minute = 300, .queue_timeout_ms = 250});
  CHECK(perform(s.curl, slow, "find").kind == LEAT_OK);
  leat_call *waits = card_call(slow, "find"), *hangs = card_call(s.client, "find");
  leat_curl_start(s.curl, waits); /* waits 200 ms for the rate */
  leat_curl_start(s.curl, hangs); /* uses the only connection for 350 ms */
  wait_for(s.curl, waits);
  CHECK(leat_call_error(waits)->kind == LEAT_TIMEOUT && !leat_call_is_done(hangs));
  CHECK(leat_client_queue_ms(slow, LEAT_FOR_SLOT) >= 249); /* the first wait went on */
  FREE_ALL(slow, waits, hangs);
  close_http(&s);
}

/* It also covers the pause before a verifying find together with the connection's
** queue. */
static void test_two_lines_to_verify(void) {
  static const reply replies[] = {{"HTTP/1.1 503 Down\r\nRetry-After: 1\r\n"
                                   "Content-Length: 0\r\n\r\n",
                                   STAY},
                                  {NULL, STAY}};
  stage s;
  open_http(&s, "in two queues before a change is verified", replies, 2, 3000, 1);
  leat_client *client =
      client_here(&s, (leat_config){.queue_timeout_ms = 1200, .max_attempts = 3});
  leat_call *create = card_call(client, "create"), *hangs = card_call(s.client, "find");
  leat_curl_start(s.curl, create);
  leat_curl_start(s.curl, hangs);
  int64_t begun = test_now_ms();
  wait_for(s.curl, create);
  CHECK(test_now_ms() - begun < 1800 && !leat_call_is_done(hangs));
  CHECK(leat_call_error(create)->outcome_unknown);
  FREE_ALL(client, create, hangs);
  close_http(&s);
}

/* With only one connection, retries come before calls that were never sent. */
static void test_begun_first(void) {
  static const reply replies[] = {
      {"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n", STAY}, {GOOD, STAY}};
  leat_call *first, *calls[200];
  stage s;
  int done = 0, place = 0;
  open_http(&s, "a retry is not at the end of the queue", replies, 2, 0, 1);
  leat_client *client = client_here(
      &s, (leat_config){.retry_base_ms = 1, .retry_cap_ms = 1, .max_attempts = 3});
  first = start_call(s.curl, client, "find");
  for (int i = 0; i < 200; i++)
    calls[i] = start_call(s.curl, client, "find");
  for (leat_call *call; done < 201;) {
    leat_curl_wait(s.curl, 1000);
    for (; (call = leat_curl_done(s.curl)) != NULL; done++)
      if (call == first) place = done;
  }
  CHECK(leat_call_error(first)->kind == LEAT_OK && place < 150);
  leat_call_free(first);
  free_calls(calls, 200);
  leat_client_free(client);
  close_http(&s);
}

static void test_cancel(void) {
  leat_call *calls[3];
  stage s;
  open_http(&s, "cancel: under way, queued, done", &no_reply, 1, 0, 1);
  for (int i = 0; i < 3; i++)
    calls[i] = start_call(s.curl, s.client, "create");
  int64_t begun = test_now_ms();
  while (s.server.requests == 0 || test_now_ms() < begun + 20)
    leat_curl_wait(s.curl, 1);
  leat_curl_cancel(s.curl, calls[1]);
  CHECK(leat_call_error(calls[1])->kind == LEAT_CANCELED);
  CHECK(leat_client_queue_ms(s.client, LEAT_FOR_CONNECTION) >= 19);
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
  leat_call *left = card_call(s.client, "create");
  leat_curl_start(s.curl, left);
  leat_curl_step(s.curl);
  close_http(&s);
  CHECK(leat_call_is_done(left) && leat_call_error(left)->kind == LEAT_CANCELED);
  leat_call_free(left);
  leat_call_free(calls[1]);
}

/* Calls that are canceled while they wait for the rate limiter release their slots. */
static void test_cancel_rated(void) {
  enum { MANY = 24, SLOT_MS = 250 };
  leat_call *calls[MANY];
  stage s;
  open_http(&s, "canceled while they wait for the rate", &good_reply, 1, 0, 0);
  leat_client *rated = client_here(&s, (leat_config){.rate_per_minute = 60000 / SLOT_MS});
  int64_t begun = test_now_ms();
  for (int i = 0; i < MANY; i++)
    calls[i] = start_call(s.curl, rated, "find");
  while (test_now_ms() < begun + 50)
    leat_curl_wait(s.curl, 10);
  for (int i = 0; i < MANY - 1; i++)
    leat_curl_cancel(s.curl, calls[i]);
  int64_t start = test_now_ms(), most = 1 + (start - begun) / SLOT_MS;
  while (!leat_call_is_done(calls[MANY - 1])) /* it moved forward in the queue */
    leat_curl_wait(s.curl, 1000);
  CHECK(leat_call_error(calls[MANY - 1])->kind == LEAT_OK &&
        perform(s.curl, rated, "find").kind == LEAT_OK);
  CHECK(test_now_ms() - start < (MANY - 1 - most) * SLOT_MS);
  free_calls(calls, MANY);
  leat_client_free(rated);
  close_http(&s);
  CHECK(s.server.requests >= 3 && s.server.requests <= most + 2);
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
      CHECK(http_server_start(&s.server, state == 2 ? &replies[1] : replies, 1));
      s.client = client_here(&s, (leat_config){0});
      s.curl = leat_curl_new(NULL, NULL);
      leat_call *call = card_call(s.client, "create");
      if (state > 0) CHECK(leat_curl_start(s.curl, call));
      for (int n = 0; n < 5 && state == 1; n++)
        leat_curl_wait(s.curl, 1);
      while (state == 2 && !leat_call_is_done(call))
        leat_curl_wait(s.curl, 1000);
      free_in_order(&s, call, orders[i]);
      http_server_stop(&s.server);
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

static void test_other_descriptor(void) {
}

#else

static void test_descriptor(void) {
  stage s;
  open_http(&s, "one descriptor signals responses and timers", &no_reply, 1, 100, 0);
  leat_call *call = card_call(s.client, "find");
  struct pollfd fd = {leat_curl_fd(s.curl), POLLIN, 0};
  leat_curl_start(s.curl, call);
  int64_t start = test_now_ms();
  while (!leat_call_is_done(call) && poll(&fd, 1, 2000) > 0)
    leat_curl_step(s.curl);
  CHECK(leat_call_is_done(call) && leat_call_error(call)->kind == LEAT_TIMEOUT);
  CHECK(test_now_ms() - start < 2000);
  CHECK(leat_curl_done(s.curl) == call);
  CHECK(leat_curl_timeout_ms(s.curl) == -1);
  leat_call_free(call);
  close_http(&s);
}

/* The descriptor alone signals everything, so a program needs to watch nothing else. */
static void test_descriptor_alone(void) {
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  stage s;
  open_http(&s, "after a cancel the next queued call goes on", replies, 2, 5000, 1);
  struct pollfd fd = {leat_curl_fd(s.curl), POLLIN, 0};
  leat_call *calls[2] = {card_call(s.client, "find"), card_call(s.client, "find")};
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
  free_calls(calls, 2);
  close_http(&s);
}

/* The other descriptor is the program's: the driver neither reads nor closes it. */
static void test_other_descriptor(void) {
  stage s;
  int ends[2];
  open_http(&s, "another descriptor makes it ready", &good_reply, 1, 5000, 0);
  struct pollfd fd = {leat_curl_fd(s.curl), POLLIN, 0};
  CHECK(pipe(ends) == 0 && leat_curl_watch(s.curl, ends[0]));
  CHECK(leat_curl_watch(s.curl, ends[0]) && !leat_curl_watch(s.curl, -1));
  CHECK(poll(&fd, 1, 0) == 0);
  CHECK(write(ends[1], "x", 1) == 1 && poll(&fd, 1, 1000) == 1);
  leat_call *call = card_call(s.client, "find");
  leat_curl_perform(s.curl, call);
  CHECK(leat_call_error(call)->kind == LEAT_OK && poll(&fd, 1, 0) == 1);
  close(ends[0]);
  leat_curl_step(s.curl);
  CHECK(poll(&fd, 1, 0) == 0);
  leat_call_free(call);
  close(ends[1]);
  close_http(&s);
}

#endif

static void test_twice(void) {
  stage s;
  open_http(&s, "a call is taken once", &good_reply, 1, 5000, 0);
  leat_curl *other = leat_curl_new(NULL, NULL);
  leat_call *call = card_call(s.client, "create");
  CHECK(leat_curl_start(s.curl, call));
  CHECK(!leat_curl_start(s.curl, call));
  CHECK(!leat_curl_start(other, call));
  CHECK(!leat_curl_start(s.curl, NULL));
  leat_curl_perform(s.curl, call); /* does not take the call either */
  leat_curl_perform(s.curl, NULL);
  wait_for(s.curl, call);
  CHECK(leat_call_error(call)->kind == LEAT_OK);
  CHECK(leat_curl_done(s.curl) == call && leat_curl_done(s.curl) == NULL);
  leat_call_free(call);
  TEST("a call that its owner ends while its connection is made");
  call = card_call(s.client, "create");
  leat_curl_start(other, call);
  leat_call_fail(call, (leat_moment){0, 0, 0}, LEAT_CANCELED, LEAT_SENT_NO, "enough");
  while (leat_curl_done(other) != call)
    leat_curl_wait(other, 1000);
  CHECK(leat_call_error(call)->kind == LEAT_CANCELED);
  leat_call_free(call);
  leat_curl_free(other);
  close_http(&s);
  CHECK(s.server.requests == 1);
}

static void test_shared_rate(void) {
  stage s;
  open_http(&s, "a rate that processes share, without a store for it", &good_reply, 1,
            2000, 0);
  leat_client *shared =
      client_here(&s, (leat_config){.rate_per_minute = 60, .shared = true});
  CHECK(perform(s.curl, shared, "find").kind == LEAT_MISUSE);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  leat_client_free(shared);
  close_http(&s);
}

/* Each call is reported once, and goes on with a slot, without one, or at its end. */
static void test_slots_from_caller(void) {
  stage s;
  open_http(&s, "slots that the program gives", &good_reply, 1, 2000, 0);
  leat_client *client =
      client_here(&s, (leat_config){.rate_per_minute = 6000, .slots_from_caller = true});
  leat_call *calls[4];
  for (int i = 0; i < 4; i++)
    leat_curl_start(s.curl, calls[i] = card_call(client, "find"));
  CHECK(leat_curl_timeout_ms(s.curl) == 0);
  for (int i = 0; i < 4; i++)
    CHECK(leat_curl_slot(s.curl) == calls[i]);
  CHECK(leat_curl_slot(s.curl) == NULL && leat_curl_token(s.curl) == NULL);
  CHECK(leat_curl_timeout_ms(s.curl) == -1);
  leat_moment at = leat_curl_moment(s.curl);
  leat_call_take_slot(calls[1], at.monotonic_ms * 1000, 10000000);
  leat_call_fail(calls[2], at, LEAT_TIMEOUT, LEAT_SENT_NO, "no slot");
  leat_call_await(calls[3], at, at.monotonic_ms + 1);
  CHECK(leat_curl_timeout_ms(s.curl) == 0);
  int done = 0;
  for (leat_call *call; done < 2; leat_curl_wait(s.curl, 1000))
    while ((call = leat_curl_done(s.curl)) != NULL) {
      CHECK(leat_call_error(call)->kind == (call == calls[2] ? LEAT_TIMEOUT : LEAT_OK));
      done++;
    }
  CHECK(leat_curl_slot(s.curl) == calls[3] && leat_curl_slot(s.curl) == NULL);
  leat_curl_cancel(s.curl, calls[0]);
  leat_curl_cancel(s.curl, calls[3]);
  CHECK(leat_call_error(calls[3])->kind == LEAT_CANCELED);
  for (int i = 0; i < 4; i++)
    leat_call_free(calls[i]);
  leat_client_free(client);
  close_http(&s);
  CHECK(s.server.requests == 1);
}

/* Two clients share a driver. A call that waits for a token does not disturb the other
** client. */
static void test_asking(void) {
  stage s;
  open_http(&s, "a call that waits for a token, beside one that does not", &good_reply, 1,
            2000, 0);
  leat_client *asking = client_here(&s, (leat_config){.token_from_caller = true});
  leat_call *asks = card_call(asking, "find"), *waits = card_call(asking, "find");
  leat_curl_start(s.curl, asks);
  leat_curl_start(s.curl, waits);
  CHECK(perform(s.curl, s.client, "create").kind == LEAT_OK);
  CHECK(!leat_call_is_done(asks) && leat_curl_token(s.curl) == asks);
  leat_call_fail(asks, leat_curl_moment(s.curl), LEAT_CONFIG, LEAT_SENT_NO, "no token");
  leat_call_free(asks);
  leat_client *lone = client_here(&s, (leat_config){.token_from_caller = true});
  CHECK(perform(s.curl, lone, "find").kind == LEAT_CONFIG); /* without a token source */
  leat_client_free(lone);
  TEST("the next call asks for the token, and gets it");
  while (leat_curl_done(s.curl) != NULL) {
  }
  asks = card_call(asking, "find");
  leat_curl_start(s.curl, asks);
  int64_t start = test_now_ms();
  for (leat_call *call; !leat_call_is_done(asks);) {
    leat_curl_wait(s.curl, 1000);
    while ((call = leat_curl_token(s.curl)) != NULL)
      CHECK(leat_client_set_token(leat_call_client(call), leat_curl_moment(s.curl),
                                  leat_s("t"), 0));
  }
  if (!CHECK(leat_call_error(asks)->kind == LEAT_OK && test_now_ms() - start < 900))
    printf("  %d ms, %s\n", (int)(test_now_ms() - start), leat_call_error(asks)->message);
  leat_call_free(asks);
  leat_call_free(waits);
  TEST("the lease of a canceled call is free at once");
  leat_client *third = client_here(&s, (leat_config){.token_from_caller = true});
  asks = card_call(third, "find");
  waits = card_call(third, "find");
  leat_curl_start(s.curl, asks);
  leat_curl_start(s.curl, waits);
  CHECK(leat_curl_token(s.curl) == asks);
  leat_curl_cancel(s.curl, asks);
  start = test_now_ms();
  leat_call *next = NULL;
  while ((next = leat_curl_token(s.curl)) == NULL && test_now_ms() - start < 2000)
    leat_curl_wait(s.curl, 1000);
  CHECK(next == waits && test_now_ms() - start < 900);
  leat_call_free(asks);
  TEST("a call that is canceled as soon as it got the token");
  asks = card_call(third, "find");
  leat_curl_start(s.curl, asks);
  leat_curl_wait(s.curl, 0);
  leat_client_set_token(third, leat_curl_moment(s.curl), leat_s("t"), 0);
  leat_curl_cancel(s.curl, waits);
  start = test_now_ms();
  while (!leat_call_is_done(asks) && test_now_ms() - start < 1000)
    leat_curl_wait(s.curl, 100);
  CHECK(leat_call_is_done(asks));
  leat_curl_cancel(s.curl, asks);
  leat_call_free(asks);
  leat_call_free(waits);
  close_http(&s);
  leat_client_free(asking);
  leat_client_free(third);
}

/* ---- a busy program -------------------------------------------------------------- */

static void test_busy(const char *name, busy_loop how) {
  stage s;
  open_http(&s, name, &good_reply, 1, 0, BUSY_CALLS + 1);
  busy_check(s.curl, s.client, &s.server, how);
  close_http(&s);
  CHECK(s.server.requests >= 2 * BUSY_CALLS);
}

/* The client's queue timeout is 300 ms, but the program is busy for longer after it
** started `many` calls. Either some responses arrive meanwhile and the queued calls come
** next, or new connections are opened a few at a time. */
static void check_busy_line(const char *name, int many, int connections, bool warm) {
  leat_call *calls[BUSY_CALLS];
  stage s;
  open_http(&s, name, &good_reply, 1, 0, connections);
  leat_client *client = rushed_client(&s, 300);
  if (warm) perform_many(&s, connections, 30000);
  int before = s.server.requests;
  s.server.delay_ms = 200;
  for (int i = 0; i < many; i++)
    calls[i] = start_call(s.curl, client, "create");
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
  close_http(&s);
}

static void test_busy_line(void) {
  check_busy_line("queued behind a response that has arrived", 2, 1, true);
  check_busy_line("queued behind many responses that have arrived", 140, 70, true);
  check_busy_line("queued for connections that are opened a few at a time", 40, 64,
                  false);
}

static void on_signal(int number) {
  (void)number;
}

/* A process is stopped while its response arrives, until the deadline of its call and the
** queue timeout of the next call have passed. */
static void test_stopped(const char *name, int timeout_ms) {
  stage s;
  open_http(&s, name, &good_reply, 1, timeout_ms, 1);
  s.server.delay_ms = 200;
  leat_client *rushed = rushed_client(&s, 400);
  pid_t child = fork_quietly();
  if (child == 0) {
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
    leat_call *calls[2] = {card_call(s.client, "create"), card_call(rushed, "create")};
    leat_curl_start(s.curl, calls[0]);
    leat_curl_perform(s.curl, calls[1]);
    bool fine = true;
    for (int i = 0; i < 2; i++) {
      fine = fine && leat_call_error(calls[i])->kind == LEAT_OK;
      if (!fine) printf("  %s\n", leat_call_error(calls[i])->message);
    }
    fflush(stdout);
    fork_end(fine);
  }
  while (s.server.requests == 0)
    usleep(1000);
  kill(child, SIGSTOP);
  usleep(700 * 1000);
  kill(child, SIGUSR1); /* certainly interrupts a wait */
  kill(child, SIGCONT);
  CHECK(fork_wait(child));
  leat_client_free(rushed);
  close_http(&s);
  CHECK(s.server.requests == 2);
}

/* ---- two addresses --------------------------------------------------------------- */

enum { CONNECT_MS = 3000 };

static leat_client *client_by_name(const char *host, int port) {
  return client_of("http", host, port, CONNECT_MS);
}

/* The first of two addresses does not accept: half of the connect timeout passes, then
** the second is tried. Also while other watched connections are being opened. */
static void test_second_address(void) {
  stage s;
  int fill[4];
  open_http(&s, "a dead address, then a good one", &good_reply, 1, 0, 0);
  int dead_end = listener_bind("127.0.0.2", s.server.at.port);
  CHECK(listener_fill(dead_end, fill));
  leat_client *two = client_by_name("two.test", s.server.at.port);
  leat_client *dead = client_by_name("dead.test", s.server.at.port);
  leat_call *call = card_call(two, "find"), *others[2];
  int64_t start = test_now_ms();
  leat_curl_start(s.curl, call);
  for (int i = 0; i < 2; i++) {
    others[i] = start_call(s.curl, dead, "find");
    while (test_now_ms() < start + 300 * (i + 1))
      leat_curl_wait(s.curl, 10);
  }
  wait_for(s.curl, call);
  if (!CHECK(leat_call_error(call)->kind == LEAT_OK))
    printf("  %s\n", leat_call_error(call)->message);
  CHECK(test_now_ms() - start < CONNECT_MS - 100);
  leat_call_free(call);
  free_calls(others, 2);
  leat_client_free(two);
  leat_client_free(dead);
  close(dead_end);
  for (int i = 0; i < 4; i++)
    close(fill[i]);
  close_http(&s);
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
  leat_client *client = client_by_name("dead.test", 1);
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

static void test_descriptors(void) {
  stage s;
  int before = descriptors_count(false);
  open_http(&s, "no descriptor goes to another program, none is left", &good_reply, 1, 0,
            0);
  int surviving = descriptors_count(true);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  /* except libcurl's own wakeup pair, which it opens without CLOEXEC */
  int wakeups = 2;
  int extra = descriptors_count(true) - surviving;
  if (!CHECK(extra <= wakeups)) printf("  %d descriptors survive exec\n", extra);
  close_http(&s);
  CHECK(descriptors_count(false) == before);
}

static void test_descriptor_limit(void) {
  stage s;
  open_http(&s, "no descriptors left", &good_reply, 1, 0, 0);
  descriptors_limit(descriptors_lowest_free());
  leat_error error = perform(s.curl, s.client, "create");
  leat_error none = {LEAT_OK, 0, 0, 0, LEAT_SENT_NO, false, 0, "", ""};
#ifndef LEAT_POLL /* this poller needs no descriptor of its own */
  CHECK(leat_curl_new(NULL, &none) == NULL && none.kind == LEAT_LOCAL);
#else
  (void)none;
#endif
  descriptors_limit(-1);
  if (!CHECK(error.kind == LEAT_LOCAL && error.sent == LEAT_SENT_NO))
    printf("  got %s: %s\n", leat_kind_name(error.kind), error.message);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_http(&s);
}

static void test_fork(void) {
  stage s;
  open_http(&s, "parent and child both work", &good_reply, 1, 2000, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  pid_t child = fork_quietly();
  if (child == 0) {
    bool fine = perform(s.curl, s.client, "find").kind == LEAT_OK;
    leat_curl_free(s.curl);
    fork_end(fine);
  }
  CHECK(fork_wait(child));
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  close_http(&s);
  CHECK(s.server.at.connections == 2 && s.server.requests == 3); /* parent's is reused */
}

/* The child must not send the calls that the parent has queued. */
static void test_fork_line(void) {
  static const reply replies[] = {{NULL, STAY}, {GOOD, STAY}};
  leat_call *calls[3];
  stage s;
  open_http(&s, "a child leaves the parent's calls alone", replies, 2, 500, 1);
  for (int i = 0; i < 3; i++)
    calls[i] = start_call(s.curl, s.client, "create");
  while (s.server.requests < 1)
    leat_curl_wait(s.curl, 1);
  pid_t child = fork_quietly();
  if (child == 0) {
    bool fine = perform(s.curl, s.client, "find").kind == LEAT_OK;
    for (int i = 0; i < 3; i++)
      fine = fine && leat_call_error(calls[i])->kind == LEAT_CANCELED;
    fine = fine && leat_call_error(calls[0])->outcome_unknown &&
           !leat_call_error(calls[2])->outcome_unknown;
    fork_end(fine);
  }
  CHECK(fork_wait(child));
  CHECK(s.server.requests == 2);
  wait_for(s.curl, calls[2]);
  for (int i = 0; i < 3; i++) {
    CHECK(leat_call_error(calls[i])->kind == (i ? LEAT_OK : LEAT_TIMEOUT));
    leat_call_free(calls[i]);
  }
  close_http(&s);
  CHECK(s.server.requests == 4);
}

/* A child without descriptors reports an error, and works once it has some again. */
static void test_fork_limit(void) {
  stage s;
  open_http(&s, "a child without descriptors, and then with", &good_reply, 1, 2000, 0);
  CHECK(perform(s.curl, s.client, "find").kind == LEAT_OK);
  pid_t child = fork_quietly();
  if (child == 0) {
    descriptors_limit(3);
    bool fine = perform(s.curl, s.client, "find").kind == LEAT_LOCAL;
    descriptors_limit(-1);
    fine = fine && perform(s.curl, s.client, "find").kind == LEAT_OK;
    fork_end(fine);
  }
  CHECK(fork_wait(child));
  close_http(&s);
}

static void test_environment(void) {
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  setenv("all_proxy", "http://127.0.0.1:1", 1);
  check_reuse("a proxy of the environment is not for this machine", good_reply, 1, 1);
  unsetenv("http_proxy");
  unsetenv("all_proxy");
}

/* The server reads slowly, so that the request is sent in pieces. */
static void test_large_request(void) {
  static const reply response = {"HTTP/1.1 400 Bad\r\nContent-Length: 37\r\n\r\n"
                                 "{\"message\":\"x\",\"code\":1003,\"y\":\"zzz\"}",
                                 STAY};
  enum { LENGTH = 60000 };
  stage s;
  char *value = malloc(LENGTH);
  open_http(&s, "a request of 180 kB", &response, 1, 5000, 0);
  memset(value, '&', LENGTH);
  leat_call *call =
      leat_call_new(s.client, leat_operation("contact_identifiers", "delete"));
  leat_call_set(call, "contact_identifier_value", (leat_string){value, LENGTH});
  leat_curl_perform(s.curl, call);
  CHECK(leat_call_error(call)->code == 1003);
  leat_call_free(call);
  close_http(&s);
  CHECK(s.server.request_bytes > LENGTH * 4);
  free(value);
}

int main(void) {
  test_reuse();
  test_surplus();
  test_late_response();
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
  test_queue_timeout();
  test_queue_timeout_of_a_call();
  test_two_lines();
  test_two_lines_to_verify();
  test_begun_first();
  test_cancel();
  test_cancel_rated();
  test_free_orders();
  test_descriptor();
  test_descriptor_alone();
  test_other_descriptor();
  test_twice();
  test_shared_rate();
  test_slots_from_caller();
  test_asking();
  test_busy("busy while 150 responses arrive", BUSY_WAITS);
  test_busy("busy, then it steps", BUSY_STEPS);
  test_busy("busy, then it watches the descriptor", BUSY_WATCHES);
  test_busy("busy, then it performs another call", BUSY_PERFORMS);
  test_busy_line();
  test_stopped("stopped past the deadline", 400);
  test_stopped("stopped past the queue_timeout of the next call", 5000);
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
