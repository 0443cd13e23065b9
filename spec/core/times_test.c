/*
** times_test.c - drivers whose clocks return arbitrary times. Calls must end, and no sum
** may overflow, which the undefined behavior sanitizer detects (make asan).
*/
#include "calls.h"
#include "test.h"

#define CARD  "{\"data\":{\"value\":\"1\",\"name\":null,\"contact\":null}}"
#define TOKEN "{\"access_token\":\"a-token\",\"expires_in\":3600}"

static const int64_t times[] = {
    INT64_MIN, INT64_MIN + 1,    -(INT64_C(1) << 53), -1,       0, 1,
    1000000,   INT64_C(1) << 53, INT64_MAX - 1,       INT64_MAX};
enum { TIMES = sizeof times / sizeof times[0] };

static int64_t any_time(void) {
  return times[test_draw(TIMES)];
}

static leat_moment any_moment(void) {
  return (leat_moment){any_time(), any_time(), test_random()};
}

/* ---- one time -------------------------------------------------------------------- */

static void respond_at(leat_call *call, leat_moment at, int status, const char *body) {
  const char *retry_after = test_draw(2) ? "1" : "99999999999";
  now = at;
  respond(call, status, status >= 400 ? retry_after : NULL, body);
}

/* A clock that stands still at an extreme value makes no difference. */
static void test_still(void) {
  leat_client *client = leat_client_new(
      &(leat_config){.api_key = "times-key", .rate_per_minute = 60}, NULL);
  TEST("a clock at the limits of its type");
  for (int i = 0; i < TIMES; i++) {
    leat_moment at = {times[i], times[i], 1};
    leat_call *call = card_call(client, "find");
    CHECK(leat_call_next(call, at) == LEAT_SEND);
    respond_at(call, at, 200, CARD);
    CHECK(leat_call_error(call)->kind == LEAT_OK);
    FREE_ALL(client, call);
    client = leat_client_new(
        &(leat_config){.api_key = "times-key", .rate_per_minute = 60}, NULL);
  }
  leat_client_free(client);
}

/* ---- arbitrary times ------------------------------------------------------------- */

static void exchange(leat_call *call, leat_moment at) {
  static const int statuses[] = {200, 401, 429, 500, 503};
  if (test_draw(2)) leat_call_connected(call, at);
  at = any_moment();
  if (test_draw(3) == 0)
    leat_call_fail(call, at, LEAT_TIMEOUT, test_draw(2) ? LEAT_SENT_NO : LEAT_SENT_MAYBE,
                   "late");
  else respond_at(call, at, statuses[test_draw(5)], test_draw(2) ? CARD : TOKEN);
}

static void supply_token(leat_call *call, leat_moment at) {
  leat_client *client = leat_call_client(call);
  int64_t until;
  leat_client_token(client, at, &until);
  switch (test_draw(4)) {
    case 0:
      leat_client_set_token(client, at, leat_s("given"), test_draw(INT32_MAX));
      break;
    case 1: leat_client_share_token(client, at, leat_s("shared"), any_time()); break;
    case 2: leat_call_fetch(call, at); break;
    default: leat_call_await(call, at, any_time());
  }
}

static void supply_slot(leat_call *call, leat_moment at) {
  if (test_draw(3) == 0) leat_call_await(call, at, any_time());
  else leat_call_take_slot(call, any_time(), any_time());
}

static void share_pause(leat_client *client, leat_moment at) {
  leat_pause pause = {.until_ms = any_time(), .kind = LEAT_MAINTENANCE};
  leat_client_share_pause(client, at, &pause);
  leat_client_pause(client, at, &pause);
}

/* Runs one step of the call. Returns false if it is done. */
static bool drive(leat_call *call) {
  leat_moment at = any_moment();
  if (test_draw(10) == 0) share_pause(leat_call_client(call), at);
  switch (leat_call_next(call, at)) {
    case LEAT_SEND: exchange(call, at); break;
    case LEAT_TOKEN: supply_token(call, at); break;
    case LEAT_SLOT: supply_slot(call, at); break;
    case LEAT_WAIT: leat_call_until(call); break;
    case LEAT_DONE: return false;
  }
  return true;
}

static void check_calls(const char *name, const leat_config *config) {
  static const char *const operations[] = {"find", "create", "link", "delete"};
  TEST(name);
  for (int i = 0; i < 500; i++) {
    leat_client *client = leat_client_new(config, NULL);
    leat_call *calls[4];
    for (int k = 0; k < 4; k++)
      calls[k] = card_call(client, operations[k]);
    for (int step = 0; step < 100; step++)
      drive(calls[test_draw(4)]);
    for (int k = 0; k < 4; k++) {
      leat_call_fail(calls[k], any_moment(), LEAT_CANCELED, LEAT_SENT_NO, "enough");
      CHECK(leat_call_is_done(calls[k]));
      leat_call_free(calls[k]);
    }
    leat_client_free(client);
  }
}

int main(void) {
  test_still();
  check_calls("a clock that leaps",
              &(leat_config){.api_key = "times-key", .observe = LEAT_OBSERVE_VALUES});
  check_calls("with a rate", &(leat_config){.api_key = "times-key",
                                            .rate_per_minute = 60,
                                            .queue_timeout_ms = 500});
  check_calls(
      "with a rate that is shared",
      &(leat_config){.api_key = "times-key", .rate_per_minute = 60, .shared = true});
  check_calls("with slots from the program",
              &(leat_config){.client_id = "times-id",
                             .client_secret = "times-secret",
                             .rate_per_minute = 60,
                             .queue_timeout_ms = 500,
                             .slots_from_caller = true});
  check_calls("with credentials", &(leat_config){.client_id = "times-id",
                                                 .client_secret = "times-secret",
                                                 .queue_timeout_ms = 500});
  check_calls("with tokens that are shared",
              &(leat_config){.client_id = "times-id",
                             .client_secret = "times-secret",
                             .shared = true});
  check_calls("with a token function", &(leat_config){.token_from_caller = true});
  return test_summary("times");
}
