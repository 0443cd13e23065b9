/*
** counts_test.c - what a client counts, and its health. Uses a simulated clock and no
** socket.
*/
#include "calls.h"
#include "test.h"

static leat_count count_of(const leat_client *client, const char *operation,
                           leat_kind kind) {
  leat_count count;
  for (size_t i = 0; leat_client_count(client, i, &count); i++)
    if (count.kind == kind && strcmp(count.operation, operation) == 0) return count;
  return (leat_count){.calls = UINT64_MAX};
}

/* The number of all calls, and of all exchanges. */
static leat_count sum_of(const leat_client *client) {
  leat_count count, sum = {.kind = LEAT_OK};
  for (size_t i = 0; leat_client_count(client, i, &count); i++) {
    sum.calls += count.calls;
    for (int purpose = 0; purpose < LEAT_PURPOSES; purpose++)
      sum.attempts[0] += count.attempts[purpose];
  }
  return sum;
}

static void check(const leat_client *client, const char *operation, leat_kind kind,
                  int calls, int to_call, int to_verify, int to_get_token) {
  leat_count got = count_of(client, operation, kind);
  if (!CHECK(got.calls == (uint64_t)calls && got.attempts[0] == (uint64_t)to_call &&
             got.attempts[1] == (uint64_t)to_verify &&
             got.attempts[2] == (uint64_t)to_get_token))
    printf("  %s %s: %d calls, attempts: %d, %d, %d\n", operation, leat_kind_name(kind),
           (int)got.calls, (int)got.attempts[0], (int)got.attempts[1],
           (int)got.attempts[2]);
}

static void check_sum(const leat_client *client, int calls, int attempts) {
  leat_count sum = sum_of(client);
  if (!CHECK(sum.calls == (uint64_t)calls && sum.attempts[0] == (uint64_t)attempts))
    printf("  %d calls, %d attempts\n", (int)sum.calls, (int)sum.attempts[0]);
}

static const char a_card[] = "{\"data\":{\"value\":\"1\"}}";
static const char no_card[] = "{\"message\":\"m\",\"code\":60003}";

static leat_step begin(leat_call *call) {
  now.random = 99;
  return next_step(call);
}

static void respond_to_first(leat_call *call, int status, const char *body) {
  CHECK(begin(call) == LEAT_SEND && leat_call_request(call));
  respond(call, status, NULL, body);
}

/* Runs a find that receives that response. */
static void find(leat_client *client, int status, const char *retry_after,
                 const char *body) {
  leat_call *call = card_call(client, "find");
  CHECK(begin(call) == LEAT_SEND);
  respond(call, status, retry_after, body);
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  leat_call_free(call);
}

/* ---- counts ---------------------------------------------------------------------- */

#define FIND   "contact_identifiers.find"
#define CREATE "contact_identifiers.create"

static void test_kinds(void) {
  leat_client *client = new_client((leat_config){.max_attempts = 1});
  TEST("by operation and kind");
  check_sum(client, 0, 0);
  find(client, 200, NULL, a_card);
  find(client, 200, NULL, a_card);
  find(client, 400, NULL, no_card);
  leat_call *request = leat_call_new_request(client, "POST", "/x");
  respond_to_first(request, 500, "");
  CHECK(leat_call_next(request, now) == LEAT_DONE);
  check(client, FIND, LEAT_OK, 2, 2, 0, 0);
  check(client, FIND, LEAT_NOT_FOUND, 1, 1, 0, 0);
  check(client, "client.request", LEAT_SERVER, 1, 1, 0, 0);
  check_sum(client, 4, 4);

  TEST("each call counts once, however often its driver asks");
  CHECK(leat_call_next(request, now) == LEAT_DONE);
  leat_call_fail(request, now, LEAT_CONNECTION, LEAT_SENT_NO, "late");
  check_sum(client, 4, 4);
  FREE_ALL(client, request);

  TEST("the end of the list");
  client = new_client((leat_config){.max_attempts = 1});
  leat_count count;
  size_t i = 0, operations = 0;
  while (leat_operation_at(operations))
    operations++;
  while (leat_client_count(client, i, &count))
    i++;
  CHECK(i == (operations + 1) * LEAT_KINDS);
  leat_client_free(client);
}

/* The exchanges of inner calls belong to the operation of the program's call. */
static void test_purposes(void) {
  leat_client *client = new_client(
      (leat_config){.client_id = "me", .client_secret = "the-secret-of-the-tests"});
  leat_call *call = card_call(client, "create");
  TEST("a token is fetched, a response lost, and a find verifies");
  respond_to_first(call, 200, "{\"access_token\":\"a-token\",\"expires_in\":3600}");
  CHECK(begin(call) == LEAT_SEND);
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "lost");
  respond_to_first(call, 401, "{\"message\":\"m\"}");
  TEST("the find itself fetches a token");
  respond_to_first(call, 200, "{\"access_token\":\"b-token\",\"expires_in\":3600}");
  respond_to_first(call, 200, a_card);
  CHECK(begin(call) == LEAT_DONE && leat_call_error(call)->kind == LEAT_OK);
  check(client, CREATE, LEAT_OK, 1, 0, 1, 2);
  check(client, CREATE, LEAT_TIMEOUT, 0, 1, 0, 0);
  check(client, CREATE, LEAT_UNAUTHORIZED, 0, 0, 1, 0);
  check_sum(client, 1, 5);
  FREE_ALL(client, call);
}

static void test_unsent(void) {
  leat_client *client = new_client((leat_config){.max_attempts = 1});
  TEST("calls without an exchange: misuse, canceled before and after their start");
  leat_call *misused = bare_call(client, "find");
  CHECK(leat_call_next(misused, now) == LEAT_DONE);
  leat_call *wrong = bare_call(client, "find");
  leat_call_set(wrong, "no_such_name", leat_s("1"));
  leat_call_fail(wrong, now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
  leat_call *canceled = card_call(client, "find");
  leat_call_fail(canceled, now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
  leat_call *sent = card_call(client, "find");
  CHECK(begin(sent) == LEAT_SEND);
  leat_call_fail(sent, now, LEAT_CANCELED, LEAT_SENT_MAYBE, "canceled");
  leat_call *freed = card_call(client, "find");
  check(client, FIND, LEAT_MISUSE, 2, 0, 0, 0);
  check(client, FIND, LEAT_CANCELED, 2, 1, 0, 0);
  check_sum(client, 4, 1);

  TEST("a call that a pause fails");
  find(client, 429, "120", "");
  leat_call *paused = card_call(client, "find");
  CHECK(leat_call_next(paused, now) == LEAT_DONE);
  check(client, FIND, LEAT_RATE_LIMITED, 2, 1, 0, 0);
  FREE_ALL(client, misused, wrong, canceled, sent, freed, paused);
}

/* ---- queues ---------------------------------------------------------------------- */

static void check_queues(const leat_client *client, int connection, int token, int slot,
                         int pause) {
  int wanted[LEAT_QUEUES] = {connection, token, slot, pause};
  for (int queue = 0; queue < LEAT_QUEUES; queue++) {
    int64_t ms = leat_client_queue_ms(client, (leat_queue)queue);
    if (!CHECK(ms == wanted[queue]))
      printf("  queue %d: %d ms, not %d\n", queue, (int)ms, wanted[queue]);
  }
}

static void test_slots(void) {
  leat_client *client = new_client((leat_config){.rate_per_minute = 60});
  leat_call *first = card_call(client, "find"), *second = card_call(client, "find");
  TEST("a wait for a slot");
  CHECK(begin(first) == LEAT_SEND);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  check_queues(client, 0, 0, 0, 0); /* it is counted when it ends */
  CHECK(begin(second) == LEAT_SEND);
  check_queues(client, 0, 0, 1000, 0);
  FREE_ALL(client, first, second);

  TEST("a wait for a slot that processes share");
  client = new_client((leat_config){.rate_per_minute = 60, .slots_from_caller = true});
  first = card_call(client, "find");
  CHECK(begin(first) == LEAT_SLOT);
  now.monotonic_ms += 70;
  leat_call_await(first, now, now.monotonic_ms + 30);
  check_queues(client, 0, 0, 70, 0);
  CHECK(begin(first) == LEAT_SLOT);
  leat_call_take_slot(first, now.monotonic_ms * 1000 + 500000, 0);
  CHECK(begin(first) == LEAT_SEND);
  check_queues(client, 0, 0, 600, 0);
  FREE_ALL(client, first);
}

static void test_tokens(void) {
  leat_client *client = new_client(
      (leat_config){.client_id = "me", .client_secret = "the-secret-of-the-tests"});
  leat_call *first = card_call(client, "find"), *second = card_call(client, "find");
  TEST("a wait for the token that another call fetches");
  CHECK(begin(first) == LEAT_SEND);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  now.monotonic_ms += 250;
  respond(first, 200, NULL, "{\"access_token\":\"a-token\",\"expires_in\":3600}");
  CHECK(begin(first) == LEAT_SEND);
  CHECK(begin(second) == LEAT_SEND);
  check_queues(client, 0, 250, 0, 0);
  FREE_ALL(client, first, second);
}

static void test_pauses(void) {
  leat_client *client = new_client((leat_config){.max_attempts = 2});
  leat_call *call = card_call(client, "find"), *other = card_call(client, "find");
  TEST("two calls wait in a pause");
  CHECK(begin(call) == LEAT_SEND);
  respond(call, 429, "3", "");
  CHECK(leat_call_next(other, now) == LEAT_WAIT);
  CHECK(begin(call) == LEAT_SEND);
  CHECK(begin(other) == LEAT_SEND);
  check_queues(client, 0, 0, 0, 6000);
  FREE_ALL(client, call, other);

  TEST("a driver that is late after a backoff had no connection");
  client = new_client((leat_config){.max_attempts = 3});
  call = card_call(client, "find");
  CHECK(begin(call) == LEAT_SEND);
  respond(call, 429, "3", "");
  respond_to_first(call, 500, "");
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  now.monotonic_ms = leat_call_until(call) + 80;
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  check_queues(client, 80, 0, 0, 3000);
  FREE_ALL(client, call);

  TEST("a pause that counts towards the timeout, and a driver that is late");
  client = new_client((leat_config){.max_attempts = LEAT_UNLIMITED});
  call = card_call(client, "find");
  CHECK(begin(call) == LEAT_SEND);
  respond(call, 503, "2", "");
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  now.monotonic_ms += 2300;
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  check_queues(client, 300, 0, 0, 2000);
  FREE_ALL(client, call);
}

static void test_unfinished(void) {
  leat_client *client = new_client((leat_config){.rate_per_minute = 60});
  leat_call *first = card_call(client, "find"), *second = card_call(client, "find");
  TEST("a wait that is canceled counts until then");
  CHECK(begin(first) == LEAT_SEND);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  now.monotonic_ms += 400;
  leat_call_fail(second, now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
  check_queues(client, 0, 0, 400, 0);
  FREE_ALL(client, first, second);

  TEST("and one of an inner call");
  client = new_client((leat_config){.rate_per_minute = 60});
  first = card_call(client, "find"), second = card_call(client, "delete");
  leat_call_expect(second, leat_s("ann"));
  CHECK(begin(first) == LEAT_SEND);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  now.monotonic_ms += 300;
  leat_call_fail_queue_timeout(second, now);
  check_queues(client, 0, 0, 300, 0);
  FREE_ALL(client, first, second);

  TEST("a driver's queue counts before the first step only");
  client = new_client((leat_config){.max_attempts = 1});
  first = card_call(client, "find");
  leat_call_add_queue_time(first, 40);
  leat_call_add_queue_time(first, -10);
  CHECK(begin(first) == LEAT_SEND);
  leat_call_add_queue_time(first, 500);
  leat_call_add_queue_time(NULL, 500);
  check_queues(client, 40, 0, 0, 0);
  CHECK(leat_client_queue_ms(client, LEAT_QUEUES) == 0);
  FREE_ALL(client, first);
}

/* ---- health ---------------------------------------------------------------------- */

static void check_health(const leat_client *client, int64_t success, int64_t failure,
                         leat_kind kind) {
  leat_health health = leat_client_health(client);
  if (!CHECK(health.success_ms == success && health.failure_ms == failure))
    printf("  success %lld, failure %lld\n", (long long)health.success_ms,
           (long long)health.failure_ms);
  CHECK(health.failure == kind);
}

static void test_health(void) {
  leat_client *client = new_client((leat_config){.max_attempts = 1});
  int64_t start = now.monotonic_ms;
  TEST("nothing is known before the first call");
  check_health(client, INT64_MIN, INT64_MIN, LEAT_OK);

  TEST("a response that the service gives when it works is a success");
  find(client, 400, NULL, no_card);
  check_health(client, start, INT64_MIN, LEAT_OK);

  TEST("a failure, at the same time, is later");
  find(client, 500, NULL, "");
  check_health(client, start, start + 1, LEAT_SERVER);
  find(client, 200, NULL, a_card);
  check_health(client, start + 2, start + 1, LEAT_SERVER);

  TEST("the clock was set back");
  now.monotonic_ms -= 5000;
  find(client, 401, NULL, "");
  check_health(client, start + 2, start + 3, LEAT_UNAUTHORIZED);
  now.monotonic_ms += 60000;

  TEST("what the program caused says nothing");
  leat_call *misused = bare_call(client, "find"), *canceled = card_call(client, "find");
  leat_call *large = leat_call_new_request(client, "POST", "/x");
  CHECK(leat_call_next(misused, now) == LEAT_DONE);
  leat_call_fail(canceled, now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
  static char body[1024 * 1024 + 1];
  memset(body, ' ', sizeof body);
  leat_call_set_body(large, (leat_string){body, sizeof body});
  CHECK(leat_call_next(large, now) == LEAT_DONE);
  CHECK(leat_call_error(large)->kind == LEAT_TOO_LARGE);
  check_health(client, start + 2, start + 3, LEAT_UNAUTHORIZED);

  TEST("a call that a pause fails, unsent, does");
  find(client, 429, "120", "");
  check_health(client, start + 2, start + 55000, LEAT_RATE_LIMITED);
  now.monotonic_ms += 100;
  leat_call *paused = card_call(client, "find");
  CHECK(leat_call_next(paused, now) == LEAT_DONE);
  check_health(client, start + 2, start + 55100, LEAT_RATE_LIMITED);
  FREE_ALL(client, misused, canceled, large, paused);
}

/* Whether the health regards a call that ends so as a success. */
static bool is_success(leat_kind kind) {
  static const leat_kind failures[] = {
      LEAT_UNAUTHORIZED, LEAT_FORBIDDEN, LEAT_QUOTA_REACHED, LEAT_RATE_LIMITED,
      LEAT_MAINTENANCE,  LEAT_SERVER,    LEAT_CONNECTION,    LEAT_TLS,
      LEAT_TIMEOUT,      LEAT_PROTOCOL,  LEAT_TOO_LARGE,     LEAT_REDIRECT,
      LEAT_CONFIG,       LEAT_LOCAL,     LEAT_NO_MEMORY};
  for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
    if (failures[i] == kind) return false;
  return true;
}

static void test_every_kind(void) {
  TEST("every kind is a success, a failure, or says nothing");
  for (int kind = LEAT_OK + 1; kind < LEAT_KINDS; kind++) {
    leat_client *client = new_client((leat_config){.max_attempts = 1});
    leat_call *call = card_call(client, "find");
    bool neutral = kind == LEAT_CANCELED || kind == LEAT_MISUSE;
    bool success = !neutral && is_success((leat_kind)kind);
    CHECK(begin(call) == LEAT_SEND);
    leat_call_fail(call, now, (leat_kind)kind, LEAT_SENT_MAYBE, "any");
    CHECK(leat_call_next(call, now) == LEAT_DONE);
    check_health(client, success ? now.monotonic_ms : INT64_MIN,
                 success || neutral ? INT64_MIN : now.monotonic_ms,
                 success || neutral ? LEAT_OK : (leat_kind)kind);
    check(client, FIND, (leat_kind)kind, 1, 1, 0, 0);
    FREE_ALL(client, call);
  }
}

int main(void) {
  test_kinds();
  test_purposes();
  test_unsent();
  test_slots();
  test_tokens();
  test_pauses();
  test_unfinished();
  test_health();
  test_every_kind();
  return test_summary("counts");
}
