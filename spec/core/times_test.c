/*
** times_test.c - drivers whose clocks return arbitrary times. Calls must end, and no sum
** may overflow, which the undefined behavior sanitizer detects (make asan).
*/
#include "leat_driver.h"
#include "test.h"

#define CARD  "{\"data\":{\"value\":\"1\",\"name\":null,\"contact\":null}}"
#define TOKEN "{\"access_token\":\"a-token\",\"expires_in\":3600}"

static const int64_t times[] = {
    INT64_MIN, INT64_MIN + 1,    -(INT64_C(1) << 53), -1,       0, 1,
    1000000,   INT64_C(1) << 53, INT64_MAX - 1,       INT64_MAX};
enum { TIMES = sizeof times / sizeof times[0] };

static uint64_t chance = 88172645463325252u;

static uint64_t draw(uint64_t below) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return chance % below;
}

static int64_t any_time(void) {
  return times[draw(TIMES)];
}

static leat_moment any_moment(void) {
  return (leat_moment){any_time(), any_time(), draw(UINT64_MAX)};
}

/* ---- one time -------------------------------------------------------------------- */

static leat_call *new_call(leat_client *client, const char *operation) {
  leat_call *call =
      leat_call_new(client, leat_operation("contact_identifiers", operation));
  leat_call_set(call, "contact_identifier_value", leat_s("1"));
  if (strcmp(operation, "link") == 0) leat_call_set(call, "contact_uuid", leat_s("u-1"));
  return call;
}

static void answer(leat_call *call, leat_moment now, int status, const char *body) {
  leat_header header = {leat_s("Retry-After"), leat_s(draw(2) ? "1" : "99999999999")};
  leat_response got = {status, &header, status >= 400, leat_s(body), LEAT_LENGTH};
  leat_call_respond(call, now, &got);
}

/* A clock that stands still at an extreme value makes no difference. */
static void test_still(void) {
  leat_client *client = leat_client_new(
      &(leat_config){.api_key = "times-key", .rate_per_minute = 60}, NULL);
  TEST("a clock at the limits of its type");
  for (int i = 0; i < TIMES; i++) {
    leat_moment now = {times[i], times[i], 1};
    leat_call *call = new_call(client, "find");
    CHECK(leat_call_next(call, now) == LEAT_SEND);
    answer(call, now, 200, CARD);
    CHECK(leat_call_error(call)->kind == LEAT_OK);
    leat_call_free(call);
    leat_client_free(client);
    client = leat_client_new(
        &(leat_config){.api_key = "times-key", .rate_per_minute = 60}, NULL);
  }
  leat_client_free(client);
}

/* ---- arbitrary times ------------------------------------------------------------- */

static void exchange(leat_call *call, leat_moment now) {
  static const int statuses[] = {200, 401, 429, 500, 503};
  if (draw(2)) leat_call_connected(call, now);
  now = any_moment();
  if (draw(3) == 0)
    leat_call_fail(call, now, LEAT_TIMEOUT, draw(2) ? LEAT_SENT_NO : LEAT_SENT_MAYBE,
                   "late");
  else answer(call, now, statuses[draw(5)], draw(2) ? CARD : TOKEN);
}

static void give_token(leat_call *call, leat_moment now) {
  leat_client *client = leat_call_client(call);
  int64_t until;
  leat_client_token(client, now, &until);
  switch (draw(4)) {
    case 0:
      leat_client_set_token(client, now, leat_s("given"), (int)draw(INT32_MAX));
      break;
    case 1: leat_client_share_token(client, now, leat_s("shared"), any_time()); break;
    case 2: leat_call_fetch(call, now); break;
    default: leat_call_await(call, now, any_time());
  }
}

static void share_pause(leat_client *client, leat_moment now) {
  leat_pause pause = {.until_ms = any_time(), .kind = LEAT_MAINTENANCE};
  leat_client_share_pause(client, now, &pause);
  leat_client_pause(client, now, &pause);
}

/* Runs one step of the call. Returns false if it is done. */
static bool drive(leat_call *call) {
  leat_moment now = any_moment();
  if (draw(10) == 0) share_pause(leat_call_client(call), now);
  switch (leat_call_next(call, now)) {
    case LEAT_SEND: exchange(call, now); break;
    case LEAT_TOKEN: give_token(call, now); break;
    case LEAT_SLOT: leat_call_take_slot(call, any_time()); break;
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
      calls[k] = new_call(client, operations[k]);
    for (int step = 0; step < 100; step++)
      drive(calls[draw(4)]);
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
