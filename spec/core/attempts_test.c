/*
** attempts_test.c - the attempts that a client reports after each exchange. Uses a
** simulated clock and no socket.
*/
#include "calls.h"
#include "test.h"

#define SECRET "the-secret-of-the-tests"

static leat_client *observed_client(leat_observe observe) {
  return new_client((leat_config){.client_id = "me",
                                  .client_secret = SECRET,
                                  .retry_base_ms = 100,
                                  .observe = observe});
}

static leat_call *new_call(leat_client *client, const char *operation) {
  return complete_call(bare_call(client, operation), "Ä-1");
}

static leat_step go(leat_call *call) {
  now.random = 99;
  return next_step(call);
}

static void respond_after(leat_call *call, int ms, int status, const char *body) {
  now.monotonic_ms += ms;
  respond(call, status, NULL, body);
}

static void give_token(leat_call *call) {
  CHECK(go(call) == LEAT_SEND);
  respond_after(call, 30, 200, "{\"access_token\":\"" SECRET "\",\"expires_in\":3600}");
}

static void check(leat_client *client, leat_attempt wanted) {
  leat_attempt got;
  if (!CHECK(leat_client_attempt(client, &got))) return;
  CHECK_STR(got.operation, wanted.operation);
  CHECK(got.purpose == wanted.purpose && got.attempt == wanted.attempt);
  CHECK(got.kind == wanted.kind && got.code == wanted.code);
  CHECK(got.status == wanted.status && got.sent == wanted.sent);
  CHECK(got.reused == wanted.reused && got.user == wanted.user);
  if (!CHECK(got.ms == wanted.ms && got.wait_ms == wanted.wait_ms))
    printf("  took %d, waits %d\n", (int)got.ms, (int)got.wait_ms);
  CHECK(wanted.value.data ? got.value.data && !strcmp(got.value.data, wanted.value.data)
                          : got.value.data == NULL);
}

#define CREATE "contact_identifiers.create"

static void test_all(leat_observe observe) {
  leat_client *client = observed_client(observe);
  leat_call *call = new_call(client, "create");
  leat_string value = {observe == LEAT_OBSERVE_VALUES ? "Ä-1" : NULL, 0};
  leat_attempt none;
  leat_call_set_user(call, &now);

  TEST("a token is fetched, a response lost, a verifying find fails, and the next one "
       "succeeds");
  give_token(call);
  CHECK(!leat_client_attempt(client, &none)); /* the next step is not yet decided */
  CHECK(go(call) == LEAT_SEND);
  now.monotonic_ms += 50;
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "lost");
  CHECK(go(call) == LEAT_SEND);
  leat_call_set_reused(call);
  respond_after(call, 7, 400, "{\"message\":\"m\",\"code\":60003}");
  CHECK(go(call) == LEAT_SEND);
  respond_after(call, 8, 200, "{\"data\":{\"value\":\"Ä-1\"}}");
  CHECK(go(call) == LEAT_DONE && leat_call_error(call)->kind == LEAT_OK);

  check(client, (leat_attempt){CREATE, LEAT_TO_GET_TOKEN, 1, LEAT_OK, 0, 200,
                               LEAT_SENT_MAYBE, false, 30, 0, value, &now});
  check(client, (leat_attempt){CREATE, LEAT_TO_CALL, 2, LEAT_TIMEOUT, 0, 0,
                               LEAT_SENT_MAYBE, false, 50, 0, value, &now});
  check(client, (leat_attempt){CREATE, LEAT_TO_VERIFY, 3, LEAT_NOT_FOUND, 60003, 400,
                               LEAT_SENT_MAYBE, true, 7, 1000, value, &now});
  check(client, (leat_attempt){CREATE, LEAT_TO_VERIFY, 4, LEAT_OK, 0, 200,
                               LEAT_SENT_MAYBE, false, 8, -1, value, &now});
  CHECK(!leat_client_attempt(client, &none));
  FREE_ALL(client, call);
}

static void test_ends(void) {
  leat_client *client = observed_client(LEAT_OBSERVE_ATTEMPTS);
  leat_call *call = new_call(client, "find");

  TEST("a fetch that is given up");
  CHECK(go(call) == LEAT_SEND);
  leat_call_fail(call, now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
  check(client, (leat_attempt){"contact_identifiers.find",
                               LEAT_TO_GET_TOKEN,
                               1,
                               LEAT_CANCELED,
                               0,
                               0,
                               LEAT_SENT_NO,
                               false,
                               0,
                               -1,
                               {NULL, 0},
                               NULL});
  leat_call_free(call);

  TEST("freed with events that were not read");
  call = new_call(client, "find");
  give_token(call);
  leat_call_free(call);
  call = new_call(client, "delete");
  CHECK(go(call) == LEAT_SEND);
  leat_call_fail(call, now, LEAT_CONNECTION, LEAT_SENT_NO, "refused");
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  FREE_ALL(client, call);
}

static void test_many(void) {
  leat_client *client = observed_client(LEAT_OBSERVE_ATTEMPTS);
  leat_attempt attempt;
  int reported = 0;

  TEST("who does not ask loses the oldest");
  for (int i = 0; i < 1100; i++) {
    leat_call *call = new_call(client, "delete");
    if (i == 0) give_token(call);
    CHECK(go(call) == LEAT_SEND);
    respond_after(call, i, 200, "{\"data\":null}");
    CHECK(go(call) == LEAT_DONE);
    leat_call_free(call);
  }
  while (leat_client_attempt(client, &attempt))
    CHECK(attempt.ms == 1100 - 1024 + reported++);
  CHECK(reported == 1024);
  leat_client_free(client);
}

static void test_twice(void) {
  leat_client *client = observed_client(LEAT_OBSERVE_ATTEMPTS);
  leat_call *call = new_call(client, "delete");
  leat_attempt attempt;
  TEST("a response that is given twice is reported once");
  give_token(call);
  respond_after(call, 1, 200, "{}");
  CHECK(go(call) == LEAT_SEND);
  CHECK(leat_client_attempt(client, &attempt) && attempt.ms == 30);
  CHECK(!leat_client_attempt(client, &attempt));
  FREE_ALL(client, call);
}

static void test_nobody(void) {
  leat_client *client = observed_client(LEAT_OBSERVE_NOTHING);
  leat_call *call = new_call(client, "delete");
  leat_attempt attempt;
  TEST("no events without observe");
  give_token(call);
  CHECK(go(call) == LEAT_SEND);
  respond_after(call, 1, 200, "{\"data\":null}");
  CHECK(go(call) == LEAT_DONE && !leat_client_attempt(client, &attempt));
  FREE_ALL(client, call);
}

int main(void) {
  test_all(LEAT_OBSERVE_ATTEMPTS);
  test_all(LEAT_OBSERVE_VALUES);
  test_ends();
  test_many();
  test_twice();
  test_nobody();
  return test_summary("attempts");
}
