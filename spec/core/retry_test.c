/*
** retry_test.c - calls over several exchanges, with a simulated clock and no socket:
** retries, lost responses, pauses, rate limits, deadlines.
*/
#include "calls.h"
#include "secrets.h"
#include "test.h"

#include <limits.h>

#define ANN "ann"
#define BOB "bob"

/* ---- plays ----------------------------------------------------------------------- */

/* One exchange: the expected request, and the response to it. */
typedef struct scene {
  const char *method; /* "GET" is any find, also a verifying one */
  int status;         /* 0: no response */
  const char *body;   /* or the message, if there is no response */
  leat_kind kind;     /* without a response */
  leat_sent sent;
} scene;

#define CARD(name, contact)                                                              \
  "{\"data\":{\"value\":\"1\",\"name\":" name ",\"contact\":" contact "}}"
#define FREE           CARD("null", "null")
#define OF(uuid)       CARD("null", "{\"uuid\":\"" uuid "\"}")
#define CODE(code)     "{\"message\":\"Oh.\",\"code\":" #code "}"
#define LOST           0, "late", LEAT_TIMEOUT, LEAT_SENT_MAYBE
#define REFUSED        0, "refused", LEAT_CONNECTION, LEAT_SENT_NO
#define SAYS(body)     200, body, LEAT_OK, LEAT_SENT_MAYBE
#define ERROR(code)    400, CODE(code), LEAT_OK, LEAT_SENT_MAYBE
#define STATUS(status) status, "{\"message\":\"Oh.\"}", LEAT_OK, LEAT_SENT_MAYBE
#define GONE           SAYS("{\"data\":null}")

/* The result of a call: its error's kind, `recovered` and `outcome_unknown`. */
#define DONE          LEAT_OK, false, false
#define RECOVERED     LEAT_OK, true, false
#define FAILS(kind)   kind, false, false
#define UNKNOWN(kind) kind, false, true

typedef struct play {
  const char *name, *operation;
  leat_kind kind;
  bool recovered, unknown;
  scene scenes[10]; /* the last one has no method */
} play;

/* clang-format off */
static const play plays[] = {
    {"a find is sent again", "find", DONE, {{"GET", LOST}, {"GET", SAYS(FREE)}}},
    {"three times, then no more", "find", FAILS(LEAT_TIMEOUT),
     {{"GET", LOST}, {"GET", REFUSED}, {"GET", LOST}}},
    {"an error is a response", "find", FAILS(LEAT_NOT_FOUND), {{"GET", ERROR(60003)}}},
    {"another value never", "find", FAILS(LEAT_PROTOCOL),
     {{"GET", SAYS("{\"data\":{\"value\":\"2\"}}")}}},
    {"a server that fails, then not", "find", DONE,
     {{"GET", STATUS(500)}, {"GET", STATUS(502)}, {"GET", SAYS(FREE)}}},
    /* create */
    {"a create that never left", "create", DONE,
     {{"POST", REFUSED}, {"POST", SAYS(FREE)}}},
    {"a lost create that worked", "create", RECOVERED,
     {{"POST", LOST}, {"GET", SAYS(FREE)}}},
    {"its name is its value", "create", RECOVERED,
     {{"POST", LOST}, {"GET", SAYS(CARD("\"1\"", "null"))}}},
    {"a lost create, another's card", "create", UNKNOWN(LEAT_CONFLICT),
     {{"POST", LOST}, {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"a lost create, another name", "create", UNKNOWN(LEAT_CONFLICT),
     {{"POST", LOST}, {"GET", SAYS(CARD("\"N\"", "null"))},
      {"GET", SAYS(CARD("\"N\"", "null"))}}},
    {"a lost create, inactive", "create", UNKNOWN(LEAT_CONFLICT),
     {{"POST", LOST}, {"GET", ERROR(60004)}, {"GET", ERROR(60004)}}},
    {"a lost create, and at first an old view of another", "create", RECOVERED,
     {{"POST", LOST}, {"GET", SAYS(OF(BOB))}, {"GET", SAYS(FREE)}}},
    {"views that differ until two agree", "create", DONE,
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", SAYS(OF(BOB))},
      {"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", SAYS(FREE)}}},
    {"views that never agree", "create", UNKNOWN(LEAT_TIMEOUT),
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", SAYS(OF(BOB))},
      {"GET", ERROR(60003)}, {"GET", SAYS(OF(BOB))}, {"GET", ERROR(60003)}}},
    {"a lost create that did not work", "create", DONE,
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", SAYS(FREE)}}},
    {"a lost create that comes late", "create", RECOVERED,
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", SAYS(FREE)}}},
    {"a lost create that comes very late", "create", RECOVERED,
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", ERROR(60006)}, {"GET", SAYS(FREE)}}},
    {"and is another's", "create", UNKNOWN(LEAT_CONFLICT),
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", ERROR(60006)}, {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"it exists, at the first try", "create", FAILS(LEAT_ALREADY_EXISTS),
     {{"POST", ERROR(60006)}}},
    {"it exists, after a try that never left", "create", FAILS(LEAT_ALREADY_EXISTS),
     {{"POST", REFUSED}, {"POST", ERROR(60006)}}},
    {"a 503 for a create that worked", "create", RECOVERED,
     {{"POST", STATUS(503)}, {"GET", SAYS(FREE)}}},
    {"a 503 for a create that did not work", "create", DONE,
     {{"POST", STATUS(503)}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", SAYS(FREE)}}},
    {"it exists, after a 503", "create", RECOVERED,
     {{"POST", STATUS(503)}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", ERROR(60006)}, {"GET", SAYS(FREE)}}},
    {"a 503 for everything", "create", UNKNOWN(LEAT_MAINTENANCE),
     {{"POST", STATUS(503)}, {"GET", STATUS(503)}, {"GET", STATUS(503)},
      {"GET", STATUS(503)}}},
    {"a lost create that cannot be verified", "create", UNKNOWN(LEAT_TIMEOUT),
     {{"POST", LOST}, {"GET", LOST}, {"GET", LOST}, {"GET", LOST}}},
    {"a lost create, and the key is refused", "create", UNKNOWN(LEAT_TIMEOUT),
     {{"POST", LOST}, {"GET", STATUS(401)}}},
    {"a lost create, then refused as invalid", "create", FAILS(LEAT_INVALID_INPUT),
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", ERROR(1003)}}},
    {"a lost create, then beyond the quota", "create", UNKNOWN(LEAT_QUOTA_REACHED),
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", ERROR(60000)}}},
    {"lost twice, verified twice", "create", RECOVERED,
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", LOST},
      {"GET", ERROR(60003)}, {"GET", SAYS(FREE)}}},
    {"a 503, and then the quota", "create", UNKNOWN(LEAT_QUOTA_REACHED),
     {{"POST", STATUS(503)}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", ERROR(60000)}}},
    {"a lost create, then refused for the key", "create", UNKNOWN(LEAT_UNAUTHORIZED),
     {{"POST", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)},
      {"POST", STATUS(401)}}},
    {"HTML for a create", "create", RECOVERED,
     {{"POST", SAYS("<html>")}, {"GET", SAYS(FREE)}}},
    {"a 500 for a create", "create", RECOVERED,
     {{"POST", STATUS(500)}, {"GET", SAYS(FREE)}}},
    /* link */
    {"a lost link that worked", "link", RECOVERED,
     {{"PUT", LOST}, {"GET", SAYS(OF(ANN))}}},
    {"a lost link that did not work", "link", DONE,
     {{"PUT", LOST}, {"GET", SAYS(FREE)}, {"GET", SAYS(FREE)}, {"PUT", SAYS(OF(ANN))}}},
    {"a 503 for a link that worked", "link", RECOVERED,
     {{"PUT", STATUS(503)}, {"GET", SAYS(OF(ANN))}}},
    {"a lost link that worked, and an old view of it", "link", RECOVERED,
     {{"PUT", LOST}, {"GET", SAYS(FREE)}, {"GET", SAYS(OF(ANN))}}},
    {"a lost link that worked, and a view from before the card was made", "link", RECOVERED,
     {{"PUT", LOST}, {"GET", ERROR(60003)}, {"GET", SAYS(OF(ANN))}}},
    {"a lost link, linked to another", "link", UNKNOWN(LEAT_CONFLICT),
     {{"PUT", LOST}, {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"a lost link, inactive", "link", UNKNOWN(LEAT_TIMEOUT),
     {{"PUT", LOST}, {"GET", ERROR(60004)}, {"GET", ERROR(60004)}}},
    {"a lost link of no card, or of one that was deleted since", "link", UNKNOWN(LEAT_NOT_FOUND),
     {{"PUT", LOST}, {"GET", ERROR(60003)}, {"GET", ERROR(60003)}}},
    {"a lost link that comes late", "link", RECOVERED,
     {{"PUT", LOST}, {"GET", SAYS(FREE)}, {"GET", SAYS(FREE)}, {"PUT", ERROR(60014)},
      {"GET", SAYS(OF(ANN))}}},
    {"already linked, at the first try", "link", FAILS(LEAT_ALREADY_LINKED),
     {{"PUT", ERROR(60014)}}},
    /* unlink */
    {"a lost unlink that worked", "unlink", RECOVERED,
     {{"PUT", LOST}, {"GET", SAYS(FREE)}}},
    {"a lost unlink that did not work", "unlink", DONE,
     {{"PUT", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))},
      {"PUT", SAYS(FREE)}}},
    {"a 503 for an unlink that did not work", "unlink", DONE,
     {{"PUT", STATUS(503)}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))},
      {"PUT", SAYS(FREE)}}},
    {"a lost unlink that worked, and an old view of it", "unlink", RECOVERED,
     {{"PUT", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(FREE)}}},
    {"a lost unlink, and then it is another's", "unlink", UNKNOWN(LEAT_CONFLICT),
     {{"PUT", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(BOB))},
      {"GET", SAYS(OF(BOB))}}},
    {"an unlink lost twice, and then it is another's", "unlink", UNKNOWN(LEAT_CONFLICT),
     {{"PUT", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"PUT", LOST},
      {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"a lost unlink, inactive", "unlink", UNKNOWN(LEAT_TIMEOUT),
     {{"PUT", LOST}, {"GET", ERROR(60004)}, {"GET", ERROR(60004)}}},
    {"a lost unlink that comes late", "unlink", RECOVERED,
     {{"PUT", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))},
      {"PUT", ERROR(60011)}, {"GET", SAYS(FREE)}}},
    {"not linked, at the first try", "unlink", FAILS(LEAT_NOT_LINKED),
     {{"PUT", ERROR(60011)}}},
    /* update, delete */
    {"a lost update is sent again", "update", DONE, {{"PUT", LOST}, {"PUT", SAYS(FREE)}}},
    {"a lost update, three times", "update", UNKNOWN(LEAT_TIMEOUT),
     {{"PUT", LOST}, {"PUT", LOST}, {"PUT", LOST}}},
    {"a lost update, then unknown", "update", UNKNOWN(LEAT_NOT_FOUND),
     {{"PUT", LOST}, {"PUT", ERROR(60003)}}},
    {"a 503 for an update is sent again", "update", DONE,
     {{"PUT", STATUS(503)}, {"PUT", SAYS(FREE)}}},
    {"a 503 for an update, three times", "update", UNKNOWN(LEAT_MAINTENANCE),
     {{"PUT", STATUS(503)}, {"PUT", STATUS(503)}, {"PUT", STATUS(503)}}},
    {"a lost delete is sent again while the card is there", "delete", DONE,
     {{"DELETE", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))},
      {"DELETE", GONE}}},
    {"or there and inactive", "delete", DONE,
     {{"DELETE", LOST}, {"GET", ERROR(60004)}, {"GET", ERROR(60004)}, {"DELETE", GONE}}},
    {"a lost delete that worked", "delete", RECOVERED,
     {{"DELETE", LOST}, {"GET", ERROR(60003)}}},
    {"a lost delete that comes late", "delete", RECOVERED,
     {{"DELETE", LOST}, {"GET", SAYS(FREE)}, {"GET", SAYS(FREE)},
      {"DELETE", ERROR(60003)}}},
    {"a lost delete of a card that someone made again, and linked", "delete", UNKNOWN(LEAT_CONFLICT),
     {{"DELETE", LOST}, {"GET", SAYS(FREE)}, {"GET", SAYS(OF(BOB))},
      {"GET", SAYS(OF(BOB))}}},
    {"a delete of nothing", "delete", FAILS(LEAT_NOT_FOUND), {{"DELETE", ERROR(60003)}}},
    {"a delete of nothing, after one that never left", "delete", FAILS(LEAT_NOT_FOUND),
     {{"DELETE", REFUSED}, {"DELETE", ERROR(60003)}}},
    /* no retry */
    {"TLS", "create", FAILS(LEAT_TLS), {{"POST", 0, "no trust", LEAT_TLS, LEAT_SENT_NO}}},
    {"settings", "find", FAILS(LEAT_CONFIG),
     {{"GET", 0, "x", LEAT_CONFIG, LEAT_SENT_NO}}},
    {"canceled", "create", UNKNOWN(LEAT_CANCELED),
     {{"POST", 0, "x", LEAT_CANCELED, LEAT_SENT_MAYBE}}},
    {"canceled while it verifies", "create", UNKNOWN(LEAT_CANCELED),
     {{"POST", LOST}, {"GET", 0, "x", LEAT_CANCELED, LEAT_SENT_MAYBE}}},
    {"memory", "find", FAILS(LEAT_NO_MEMORY),
     {{"GET", 0, "x", LEAT_NO_MEMORY, LEAT_SENT_NO}}},
    {"a wrong key", "find", FAILS(LEAT_UNAUTHORIZED), {{"GET", STATUS(401)}}},
    {"a wrong route", "find", FAILS(LEAT_CONFIG), {{"GET", STATUS(404)}}},
    /* a retry after a delay */
    {"too many calls", "create", DONE, {{"POST", STATUS(429)}, {"POST", SAYS(FREE)}}},
    {"maintenance", "delete", DONE,
     {{"DELETE", STATUS(503)}, {"GET", SAYS(FREE)}, {"GET", SAYS(FREE)},
      {"DELETE", GONE}}},
    {"maintenance, and it was deleted", "delete", RECOVERED,
     {{"DELETE", STATUS(503)}, {"GET", ERROR(60003)}}},
    {"a lost unlink is found once more before what never left is sent again", "unlink", UNKNOWN(LEAT_CONFLICT),
     {{"PUT", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"PUT", STATUS(429)},
      {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"and so is a lost delete", "delete", UNKNOWN(LEAT_CONFLICT),
     {{"DELETE", LOST}, {"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))},
      {"DELETE", REFUSED}, {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"a code that nobody knows, on a response that says it went well", "create", RECOVERED,
     {{"POST", SAYS(CODE(200))}, {"GET", SAYS(FREE)}}},
    {"too early", "find", DONE, {{"GET", STATUS(408)}, {"GET", SAYS(FREE)}}},
};
/* clang-format on */

/* Calls that begin as maybe_applied. */
/* clang-format off */
static const play begun_before[] = {
    {"a create that an earlier process made", "create", RECOVERED, {{"GET", SAYS(FREE)}}},
    {"one that none made", "create", DONE,
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", SAYS(FREE)}}},
    {"one that comes late", "create", RECOVERED, {{"GET", ERROR(60003)}, {"GET", SAYS(FREE)}}},
    {"one that comes very late", "create", RECOVERED,
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", ERROR(60006)},
      {"GET", SAYS(FREE)}}},
    {"that is another's", "create", UNKNOWN(LEAT_CONFLICT),
     {{"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"that is another's, very late", "create", UNKNOWN(LEAT_CONFLICT),
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", ERROR(60006)},
      {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"an inactive one", "create", UNKNOWN(LEAT_CONFLICT),
     {{"GET", ERROR(60004)}, {"GET", ERROR(60004)}}},
    {"views that never agree before a create", "create", UNKNOWN(LEAT_TIMEOUT),
     {{"GET", ERROR(60003)}, {"GET", SAYS(OF(BOB))}, {"GET", ERROR(60003)},
      {"GET", SAYS(OF(BOB))}, {"GET", ERROR(60003)}}},
    {"a refused key before a create", "create", UNKNOWN(LEAT_UNAUTHORIZED),
     {{"GET", STATUS(401)}}},
    {"a server that fails before a create", "create", UNKNOWN(LEAT_SERVER),
     {{"GET", STATUS(500)}, {"GET", STATUS(500)}, {"GET", STATUS(500)}}},
    {"a create canceled while it verifies", "create", UNKNOWN(LEAT_CANCELED),
     {{"GET", 0, "x", LEAT_CANCELED, LEAT_SENT_MAYBE}}},
    {"a create that could not be made before either", "create", FAILS(LEAT_INVALID_INPUT),
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", ERROR(1003)}}},
    {"a create beyond the quota", "create", UNKNOWN(LEAT_QUOTA_REACHED),
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", ERROR(60000)}}},
    {"a create that never left now", "create", DONE,
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", REFUSED}, {"POST", SAYS(FREE)}}},
    {"a create lost again", "create", RECOVERED,
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", LOST}, {"GET", SAYS(FREE)}}},
    {"a link that was made", "link", RECOVERED, {{"GET", SAYS(OF(ANN))}}},
    {"a link that was not", "link", DONE,
     {{"GET", SAYS(FREE)}, {"GET", SAYS(FREE)}, {"PUT", SAYS(OF(ANN))}}},
    {"a link that comes very late", "link", RECOVERED,
     {{"GET", SAYS(FREE)}, {"GET", SAYS(FREE)}, {"PUT", ERROR(60014)},
      {"GET", SAYS(OF(ANN))}}},
    {"linked to another", "link", UNKNOWN(LEAT_CONFLICT),
     {{"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"a link of an inactive card", "link", UNKNOWN(LEAT_INACTIVE),
     {{"GET", ERROR(60004)}, {"GET", ERROR(60004)}}},
    {"a link of no card", "link", UNKNOWN(LEAT_NOT_FOUND),
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}}},
    {"an unlink that was made", "unlink", RECOVERED, {{"GET", SAYS(FREE)}}},
    {"an unlink that was not", "unlink", DONE,
     {{"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"PUT", SAYS(FREE)}}},
    {"an unlink that comes very late", "unlink", RECOVERED,
     {{"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"PUT", ERROR(60011)},
      {"GET", SAYS(FREE)}}},
    {"an unlink, and then it is another's", "unlink", UNKNOWN(LEAT_CONFLICT),
     {{"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}}},
    {"a delete that was made", "delete", RECOVERED, {{"GET", ERROR(60003)}}},
    {"a delete that was not", "delete", DONE,
     {{"GET", SAYS(FREE)}, {"GET", SAYS(FREE)}, {"DELETE", GONE}}},
    {"a delete that comes very late", "delete", RECOVERED,
     {{"GET", SAYS(FREE)}, {"GET", SAYS(FREE)}, {"DELETE", ERROR(60003)}}},
    {"an update is sent at once", "update", DONE, {{"PUT", SAYS(FREE)}}},
    {"and its errors leave the outcome unknown", "update", UNKNOWN(LEAT_NOT_FOUND),
     {{"PUT", ERROR(60003)}}},
    {"a find is a find", "find", FAILS(LEAT_NOT_FOUND), {{"GET", ERROR(60003)}}},
};
/* With one attempt. */
static const play begun_before_once[] = {
    {"one attempt is verified too", "create", RECOVERED, {{"GET", SAYS(FREE)}}},
    {"and made", "create", DONE,
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", SAYS(FREE)}}},
    {"and what explains its error is verified", "create", RECOVERED,
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", ERROR(60006)},
      {"GET", ERROR(60003)}, {"GET", SAYS(FREE)}}},
    {"but not sent again", "create", UNKNOWN(LEAT_ALREADY_EXISTS),
     {{"GET", ERROR(60003)}, {"GET", ERROR(60003)}, {"POST", ERROR(60006)},
      {"GET", ERROR(60003)}, {"GET", ERROR(60003)}}},
    {"one delete of what is gone", "delete", RECOVERED,
     {{"GET", SAYS(FREE)}, {"GET", SAYS(FREE)}, {"DELETE", ERROR(60003)}}},
    {"one find that is lost", "delete", UNKNOWN(LEAT_TIMEOUT), {{"GET", LOST}}},
    {"one unlink that is lost", "unlink", UNKNOWN(LEAT_TIMEOUT),
     {{"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"PUT", LOST}}},
    {"one unlink that never left", "unlink", UNKNOWN(LEAT_CONNECTION),
     {{"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"PUT", REFUSED}}},
    {"one update that never left", "update", UNKNOWN(LEAT_CONNECTION), {{"PUT", REFUSED}}},
};
/* clang-format on */

/* Scenes of the tests below. */
static const scene good = {"GET", SAYS(FREE)}, found = {"GET", SAYS(OF(ANN))};
static const scene none = {"GET", ERROR(60003)}, done = {"PUT", SAYS(FREE)};
static const scene lost = {"POST", LOST}, failed = {"GET", STATUS(500)};
static const scene busy = {"GET", STATUS(429)}, down = {"GET", STATUS(503)};

static void deliver(leat_call *call, const scene *s, const char *retry_after) {
  if (s->status) respond(call, s->status, retry_after, s->body);
  else leat_call_fail(call, now, s->kind, s->sent, s->body);
}

/* Advances the clock until the call has something else to do than to wait. */
static leat_step next(leat_call *call) {
  leat_step step;
  while ((step = leat_call_next(call, now)) == LEAT_WAIT) {
    CHECK(leat_call_until(call) > now.monotonic_ms);
    now.monotonic_ms = leat_call_until(call);
  }
  return step;
}

static bool is_request(leat_call *call, const scene *s) {
  return s->method && text_is(leat_call_request(call)->method, s->method);
}

/* Performs the next exchange. */
static void exchange(leat_call *call, const scene *s, const char *retry_after) {
  CHECK(next(call) == LEAT_SEND);
  deliver(call, s, retry_after);
}

/* Plays all scenes. */
static void play_scenes(leat_call *call, const scene *scenes) {
  int exchanges = 0;
  for (const scene *s = scenes; next(call) == LEAT_SEND; s++) {
    if (!CHECK(is_request(call, s))) return;
    CHECK(leat_call_request(call)->deadline_ms > now.monotonic_ms);
    now.monotonic_ms += 10;
    exchanges++;
    deliver(call, s, NULL);
  }
  CHECK(scenes[exchanges].method == NULL); /* all were played */
  CHECK(leat_call_error(call)->attempts == exchanges);
}

static void check_play(const play *p, leat_call *call) {
  leat_contact_identifier card;
  TEST(p->name);
  play_scenes(call, p->scenes);
  const leat_error *error = leat_call_error(call);
  if (!CHECK(error->kind == p->kind && error->outcome_unknown == p->unknown &&
             leat_call_info(call).recovered == p->recovered))
    printf("  %s%s%s: %s\n", leat_kind_name(error->kind),
           error->outcome_unknown ? " unknown" : "",
           leat_call_info(call).recovered ? " recovered" : "", error->message);
  bool is_card = p->kind == LEAT_OK && strcmp(p->operation, "delete") != 0;
  CHECK(leat_call_contact_identifier(call, &card) == is_card);
  CHECK((error->message[0] == '\0') == (p->kind == LEAT_OK));
}

static void test_plays(void) {
  for (size_t i = 0; i < sizeof plays / sizeof plays[0]; i++) {
    leat_client *client = new_client((leat_config){0});
    leat_call *call = card_call(client, plays[i].operation);
    check_play(&plays[i], call);
    FREE_ALL(client, call);
  }
}

static void check_begun_before(const play *p, int max_attempts) {
  leat_client *client = new_client((leat_config){.max_attempts = max_attempts});
  leat_call *call = card_call(client, p->operation);
  leat_call_set_maybe_applied(call);
  check_play(p, call);
  CHECK(!p->unknown || leat_call_error(call)->sent == LEAT_SENT_MAYBE);
  FREE_ALL(client, call);
}

static void test_begun_before(void) {
  for (size_t i = 0; i < sizeof begun_before / sizeof begun_before[0]; i++)
    check_begun_before(&begun_before[i], 0);
  for (size_t i = 0; i < sizeof begun_before_once / sizeof begun_before_once[0]; i++)
    check_begun_before(&begun_before_once[i], 1);
}

/* Every exchange of a call has the call's headers: attempts, and finds before and after
** them. */
static void test_headers_of_a_call(void) {
  static const scene scenes[] = {{"GET", SAYS(OF(ANN))}, {"PUT", LOST},
                                 {"GET", STATUS(500)},   {"GET", SAYS(OF(ANN))},
                                 {"GET", SAYS(OF(ANN))}, {"PUT", STATUS(500)},
                                 {"GET", SAYS(FREE)}};
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "unlink");
  TEST("a header of a call's own, in retries and verifying finds");
  leat_call_expect(call, leat_s(ANN));
  leat_call_add_header(call, "traceparent", leat_s("00-1-2-01"));
  for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
    CHECK(next(call) == LEAT_SEND && is_request(call, &scenes[i]));
    CHECK(text_is(request_header(call, "traceparent"), "00-1-2-01"));
    CHECK(request_header(call, "Authorization").data != NULL);
    deliver(call, &scenes[i], NULL);
  }
  CHECK(next(call) == LEAT_DONE && leat_call_info(call).recovered);
  FREE_ALL(client, call);
}

/* The owner before the earlier attempt is known: the card of another is spared. */
static void test_begun_before_with_owner(void) {
  static const char *const operations[] = {"unlink", "delete", "update"};
  static const scene others[][4] = {{{"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}},
                                    {{"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}},
                                    {{"GET", SAYS(OF(BOB))}}};
  static const scene same[][4] = {
      {{"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"PUT", SAYS(FREE)}},
      {{"GET", SAYS(OF(ANN))}, {"GET", SAYS(OF(ANN))}, {"DELETE", GONE}},
      {{"GET", SAYS(OF(ANN))}, {"PUT", SAYS(OF(ANN))}}};
  for (int i = 0; i < 3; i++) {
    leat_client *client = new_client((leat_config){0});
    leat_call *call = card_call(client, operations[i]);
    leat_call *other = card_call(client, operations[i]);
    TEST(operations[i]);
    leat_call_expect(call, leat_s(ANN));
    leat_call_expect(other, leat_s(ANN));
    leat_call_set_maybe_applied(call);
    leat_call_set_maybe_applied(other);
    play_scenes(call, same[i]);
    CHECK(leat_call_error(call)->kind == LEAT_OK && !leat_call_info(call).recovered);
    play_scenes(other, others[i]);
    CHECK(leat_call_error(other)->kind == LEAT_CONFLICT);
    CHECK(leat_call_error(other)->outcome_unknown);
    FREE_ALL(client, call, other);
  }
}

static void test_begun_before_without_time(void) {
  const scene none_once[] = {{"GET", ERROR(60003)}, {0}};
  leat_client *client = new_client((leat_config){.timeout_ms = 900});
  leat_call *call = card_call(client, "create");
  TEST("without time for a second find, nothing is sent, and nothing is concluded");
  leat_call_set_maybe_applied(call);
  play_scenes(call, none_once);
  CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(call)->outcome_unknown && leat_call_error(call)->code == 0);
  FREE_ALL(client, call);
}

/* The call waits as any other, and each of its exchanges takes a slot. */
static void test_begun_before_waits(void) {
  const scene create = {"POST", SAYS(FREE)};
  leat_client *client = new_client((leat_config){.rate_per_minute = 6});
  leat_call *call = card_call(client, "create"), *throttled = card_call(client, "find");
  TEST("a call that begins as maybe_applied waits for pauses and slots");
  exchange(throttled, &busy, "30");
  int64_t begun = now.monotonic_ms;
  leat_call_set_maybe_applied(call);
  exchange(call, &none, NULL);
  CHECK(now.monotonic_ms == begun + 30000);
  exchange(call, &none, NULL);
  exchange(call, &create, NULL);
  CHECK(now.monotonic_ms == begun + 50000);
  CHECK(next(call) == LEAT_DONE && leat_call_error(call)->kind == LEAT_OK);
  FREE_ALL(client, call, throttled);
}

static void test_begun_before_and_not_started(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *canceled = card_call(client, "create"),
            *misuse = bare_call(client, "create");
  leat_call *started = card_call(client, "create");
  TEST("a call that ends before it starts");
  leat_call_set_maybe_applied(canceled);
  leat_call_fail(canceled, now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
  CHECK(leat_call_error(canceled)->outcome_unknown);
  leat_call_set_maybe_applied(misuse);
  CHECK(next(misuse) == LEAT_DONE && leat_call_error(misuse)->kind == LEAT_MISUSE);
  CHECK(!leat_call_error(misuse)->outcome_unknown);
  TEST("a call that was started already");
  CHECK(next(started) == LEAT_SEND);
  leat_call_set_maybe_applied(started);
  respond(started, 400, NULL, CODE(60006));
  CHECK(next(started) == LEAT_DONE);
  CHECK(leat_call_error(started)->kind == LEAT_ALREADY_EXISTS);
  CHECK(!leat_call_error(started)->outcome_unknown);
  FREE_ALL(client, canceled, misuse, started);
}

/* The same scenes with one attempt: there is no retry, and a lost change is unknown. */
static void test_one_attempt(void) {
  for (size_t i = 0; i < sizeof plays / sizeof plays[0]; i++) {
    const scene *s = plays[i].scenes;
    leat_client *client = new_client((leat_config){.max_attempts = 1});
    leat_call *call = card_call(client, plays[i].operation);
    TEST(plays[i].name);
    CHECK(next(call) == LEAT_SEND && is_request(call, s));
    bool writes = strcmp(s->method, "GET") != 0;
    deliver(call, s, NULL);
    CHECK(next(call) == LEAT_DONE);
    const leat_error *error = leat_call_error(call);
    CHECK(error->attempts == 1 && !leat_call_info(call).recovered);
    if (!s->status || s->status >= 500)
      CHECK(error->outcome_unknown == (writes && s->sent == LEAT_SENT_MAYBE));
    FREE_ALL(client, call);
  }
}

/* A verifying find is compared with the request, including the name and the contact. */
static void check_desired(const char *name, const char *contact, const char *shown,
                          leat_kind kind) {
  scene scenes[] = {{"POST", LOST}, {"GET", SAYS(shown)}, {"GET", SAYS(shown)}, {0}};
  if (kind == LEAT_OK) scenes[2] = scenes[3];
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "create");
  if (name) leat_call_set(call, "contact_identifier_name", leat_s(name));
  if (contact) leat_call_set(call, "contact_uuid", leat_s(contact));
  play_scenes(call, scenes);
  CHECK(leat_call_error(call)->kind == kind);
  FREE_ALL(client, call);
}

static void test_desired(void) {
  TEST("a verifying find is compared with the request");
  check_desired("N", ANN, CARD("\"N\"", "{\"uuid\":\"ann\"}"), LEAT_OK);
  check_desired("N", NULL, CARD("\"N\"", "null"), LEAT_OK);
  check_desired("N", NULL, CARD("null", "null"), LEAT_CONFLICT);
  check_desired("N", NULL, CARD("\"1\"", "null"), LEAT_CONFLICT);
  check_desired("N", ANN, CARD("\"N\"", "null"), LEAT_CONFLICT);
  check_desired(NULL, ANN, CARD("null", "{\"uuid\":\"ann\"}"), LEAT_OK);
  check_desired(NULL, ANN, CARD("null", "{\"uuid\":\"bob\"}"), LEAT_CONFLICT);
}

static void test_other_requests(void) {
  const scene lost_post[] = {{"POST", LOST}, {0}};
  const scene down_post[] = {{"POST", STATUS(503)}, {0}};
  const scene refused_post[] = {{"POST", STATUS(403)}, {0}};
  const scene read[] = {{"GET", LOST}, {"GET", SAYS("{\"data\":1}")}, {0}};
  leat_client *client = new_client((leat_config){0});
  TEST("a request of no row is sent again only if it reads");
  leat_call *call = leat_call_new_request(client, "POST", "/x");
  play_scenes(call, lost_post);
  CHECK(leat_call_error(call)->outcome_unknown);
  leat_call_free(call);
  call = leat_call_new_request(client, "POST", "/x");
  play_scenes(call, down_post);
  CHECK(leat_call_error(call)->kind == LEAT_MAINTENANCE);
  leat_call_free(call);
  call = leat_call_new_request(client, "POST", "/x");
  leat_call_set_maybe_applied(call);
  play_scenes(call, refused_post);
  CHECK(leat_call_error(call)->kind == LEAT_FORBIDDEN);
  CHECK(leat_call_error(call)->outcome_unknown);
  leat_call_free(call);
  call = leat_call_new_request(client, "GET", "/x");
  play_scenes(call, read);
  CHECK(leat_call_error(call)->kind == LEAT_OK);
  FREE_ALL(client, call);
}

/* ---- time ------------------------------------------------------------------------ */

/* Returns how long a find waits after this status and Retry-After; -1: it gives up. */
static int64_t wait_after(int status, const char *retry_after, uint64_t random) {
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "find");
  const scene s = {"GET", STATUS(status)};
  int64_t wait = -1;
  now.random = random;
  leat_call_next(call, now);
  deliver(call, &s, retry_after);
  if (leat_call_next(call, now) == LEAT_WAIT)
    wait = leat_call_until(call) - now.monotonic_ms;
  FREE_ALL(client, call);
  return wait;
}

static void test_waits(void) {
  TEST("full jitter");
  CHECK(wait_after(500, NULL, 0) == 50); /* at least this long */
  CHECK(wait_after(500, NULL, 500) == 500);
  CHECK(wait_after(500, NULL, 501) == 50);
  CHECK(wait_after(503, NULL, 1000) == 1000); /* twice, because it is throttling */
  CHECK(wait_after(429, NULL, 1000) == 1000);
  TEST("Retry-After");
  CHECK(wait_after(429, "2", 0) == 2000);
  CHECK(wait_after(503, "59", 0) == 59000); /* a pause is not call time */
  CHECK(wait_after(503, "60", 0) == 60000);
  CHECK(wait_after(429, "61", 0) == -1);
  CHECK(wait_after(500, "2", 0) == 2000);
  CHECK(wait_after(500, "31", 0) == -1); /* longer than the rest */
  CHECK(wait_after(429, "0", 0) == 50);
  CHECK(wait_after(429, "-5", 0) == 50);
  CHECK(wait_after(429, "1.5", 0) == 50);
  CHECK(wait_after(429, "abc", 0) == 50);
  CHECK(wait_after(429, "", 0) == 50);
  CHECK(wait_after(429, "99999999999999999999", 0) == -1);
  CHECK(wait_after(429, "Tue, 14 Nov 2023 22:13:30 GMT", 0) == 10000);
  CHECK(wait_after(429, "Tue, 14 Nov 2023 22:13:10 GMT", 0) == 50); /* past */
  CHECK(wait_after(429, "Fri, 31 Dec 9999 23:59:59 GMT", 0) == -1);
  static const char *const malformed[] = {
      "Tue, 14 Xyz 2023 22:13:30 GMT", "Tue, 14 Nov 2023 24:13:30 GMT",
      "Tue, 14 Nov 2023 22:13:30 UTC", "Tue; 14 Nov 2023 22:13:30 GMT",
      "Tue, 14-Nov 2023 22:13:30 GMT", "Tue, 14 Nov-2023 22:13:30 GMT",
      "Tue, 14 Nov 2023T22:13:30 GMT", "Tue, 14 Nov 2023 22.13:30 GMT",
      "Tue, 14 Nov 2023 22:13.30 GMT", "Tue, 32 Nov 2023 22:13:30 GMT",
      "Tue, 00 Dec 2023 22:13:30 GMT", "Tue, 14 Nov 2023 22:60:30 GMT",
      "Tue, 14 Nov 2023 22:13:61 GMT", "Tue, 14 Nov 2O23 22:13:30 GMT",
      "Tue, 15 Nov 2023 2x:13:30 GMT", "Tue, 14 Nov 2023 23:1x:30 GMT",
      "Tue, 14 Nov 2023 22:14:3x GMT", "Tue, 14 Nov 2023 22:13:30 GMT "};
  for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++)
    if (!CHECK(wait_after(429, malformed[i], 0) == 50)) printf("  %s\n", malformed[i]);
}

static void test_retry_after_told(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "find");
  TEST("Retry-After is reported");
  leat_call_next(call, now);
  deliver(call, &busy, "3600");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_RATE_LIMITED);
  CHECK(leat_call_error(call)->retry_after_ms == 3600000);
  FREE_ALL(client, call);
}

/* However many responses are lost, and however late, the call ends within its timeout. */
static void test_deadline(void) {
  static const char *const operations[] = {"find",   "create", "link",
                                           "unlink", "update", "delete"};
  TEST("all of it within the timeout");
  for (size_t i = 0; i < 6; i++) {
    leat_client *client =
        new_client((leat_config){.timeout_ms = 3000, .max_attempts = 50});
    leat_call *call = card_call(client, operations[i]);
    int64_t start = now.monotonic_ms;
    /* a change may take half of the timeout, so that time is left to verify its
    ** outcome */
    CHECK(next(call) == LEAT_SEND);
    CHECK(leat_call_request(call)->deadline_ms == start + (i > 0 ? 1500 : 3000));
    while (next(call) == LEAT_SEND) {
      now.monotonic_ms = leat_call_request(call)->deadline_ms;
      leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "late");
    }
    CHECK(now.monotonic_ms - start <= 3000 && now.monotonic_ms - start > 1400);
    CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
    CHECK(leat_call_error(call)->outcome_unknown == (i > 0));
    FREE_ALL(client, call);
  }
}

/* Two verifying finds are a second apart. A call that has no second left ends at once. */
static void test_no_time_to_look(void) {
  TEST("no time for a second find");
  leat_client *client = new_client((leat_config){.timeout_ms = 1500});
  leat_call *call = card_call(client, "create");
  int64_t start = now.monotonic_ms;
  exchange(call, &lost, NULL);
  CHECK(next(call) == LEAT_SEND && now.monotonic_ms - start < 1500);
  now.monotonic_ms = start + 600;
  deliver(call, &none, NULL);
  CHECK(next(call) == LEAT_DONE && now.monotonic_ms == start + 600);
  CHECK(leat_call_error(call)->outcome_unknown);
  FREE_ALL(client, call);
}

static int64_t deadline_of(leat_call *call) {
  const leat_request *request = leat_call_request(call);
  return request ? request->deadline_ms : 0;
}

static void test_pause(void) {
  leat_client *client = new_client((leat_config){.timeout_ms = 5000});
  leat_call *first = card_call(client, "find"), *second = card_call(client, "find");
  leat_call *third = card_call(client, "find");
  TEST("a pause is for all calls of the client, and is not call time");
  CHECK(leat_call_next(first, now) == LEAT_SEND);
  CHECK(leat_call_next(second, now) == LEAT_SEND);
  deliver(first, &down, "40");
  CHECK(leat_call_next(third, now) == LEAT_WAIT);
  CHECK(leat_call_until(third) == now.monotonic_ms + 40000);
  deliver(second, &good, NULL); /* already in progress */
  CHECK(leat_call_next(second, now) == LEAT_DONE);
  CHECK(leat_call_next(first, now) == LEAT_WAIT);
  now.monotonic_ms += 39999;
  CHECK(leat_call_next(third, now) == LEAT_WAIT);
  now.monotonic_ms += 1;
  CHECK(leat_call_next(first, now) == LEAT_SEND);
  CHECK(deadline_of(first) == now.monotonic_ms + 5000);
  CHECK(leat_call_next(third, now) == LEAT_SEND);
  CHECK(deadline_of(third) == now.monotonic_ms + 5000);
  FREE_ALL(client, first, second, third);
}

/* Many calls are in progress when the service asks them to wait. */
static void test_pause_of_many(void) {
  enum { MANY = 200 };
  leat_client *client = new_client((leat_config){.timeout_ms = 5000});
  leat_call *calls[MANY];
  int good_ones = 0;
  TEST("a pause fails none of a batch");
  for (int i = 0; i < MANY; i++) {
    calls[i] = card_call(client, "find");
    CHECK(leat_call_next(calls[i], now) == LEAT_SEND);
  }
  for (int i = 0; i < MANY; i++)
    deliver(calls[i], &down, "40");
  for (int i = 0; i < MANY; i++)
    CHECK(leat_call_next(calls[i], now) == LEAT_WAIT);
  now.monotonic_ms += 40000;
  for (int i = 0; i < MANY; i++) {
    if (!CHECK(leat_call_next(calls[i], now) == LEAT_SEND)) break;
    deliver(calls[i], &good, NULL);
    good_ones += leat_call_next(calls[i], now) == LEAT_DONE &&
                 leat_call_error(calls[i])->kind == LEAT_OK;
    leat_call_free(calls[i]);
  }
  CHECK(good_ones == MANY);
  leat_client_free(client);
}

static void test_rate(void) {
  leat_client *client = new_client((leat_config){.rate_per_minute = 300});
  leat_call *calls[4];
  TEST("five calls a second");
  for (int i = 0; i < 4; i++)
    calls[i] = card_call(client, "find");
  int64_t start = now.monotonic_ms;
  CHECK(leat_call_next(calls[0], now) == LEAT_SEND);
  for (int i = 1; i < 4; i++) {
    CHECK(leat_call_next(calls[i], now) == LEAT_WAIT);
    CHECK(leat_call_until(calls[i]) == start + 200 * i);
  }
  CHECK(leat_call_next(calls[1], now) == LEAT_WAIT); /* a repetition takes no slot */
  for (int i = 1; i < 4; i++) {
    now.monotonic_ms = start + 200 * i;
    CHECK(leat_call_next(calls[i], now) == LEAT_SEND);
  }
  free_calls(calls, 4);
  leat_client_free(client);
}

/* Processes share the slots: the call reports how long it can wait, and is given a
** slot. */
static void test_shared_rate(void) {
  leat_client *client = new_client(
      (leat_config){.rate_per_minute = 300, .queue_timeout_ms = 1000, .shared = true});
  leat_call *call = card_call(client, "find"), *late = card_call(client, "find");
  int64_t start = now.monotonic_ms;
  TEST("slots that processes share");
  CHECK(leat_client_slot_length_us(client) == 200000);
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_next(call, now) == LEAT_SLOT);
  CHECK(leat_call_until(call) == start + 1000);
  leat_call_take_slot(call, start * 1000 + 400000, 200000);
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  CHECK(leat_call_until(call) == start + 400);
  leat_call_take_slot(call, 1, 200000); /* it has one already */
  now.monotonic_ms += 400;
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  TEST("one that is too late is refused");
  CHECK(leat_call_next(late, now) == LEAT_SLOT);
  leat_call_take_slot(late, (now.monotonic_ms + 1001) * 1000, 200000);
  CHECK(leat_call_next(late, now) == LEAT_DONE);
  CHECK(leat_call_error(late)->kind == LEAT_TIMEOUT);
  leat_call_free(late);
  TEST("for each exchange one, and one that was missed is no more");
  leat_call_fail(call, now, LEAT_CONNECTION, LEAT_SENT_NO, "broke");
  while (leat_call_next(call, now) == LEAT_WAIT)
    now.monotonic_ms = leat_call_until(call);
  CHECK(leat_call_next(call, now) == LEAT_SLOT);
  leat_call_take_slot(call, (now.monotonic_ms - 201) * 1000, 200000);
  CHECK(leat_call_next(call, now) == LEAT_SLOT);
  leat_call_take_slot(call, now.monotonic_ms * 1000, 200000);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  FREE_ALL(client, call);
}

/* The store that processes share takes time to respond, or does not. */
static void test_slot_that_takes_time(void) {
  leat_client *client = new_client((leat_config){.rate_per_minute = 300,
                                                 .queue_timeout_ms = 1000,
                                                 .timeout_ms = 500,
                                                 .slots_from_caller = true});
  leat_call *call = card_call(client, "find");
  int64_t start = now.monotonic_ms;
  TEST("waiting for a slot is no part of the timeout, but of queue_timeout");
  CHECK(!leat_call_awaits_slot(call) && !leat_call_awaits_slot(NULL));
  CHECK(leat_call_timeout_ms(call) == 500 && leat_call_timeout_ms(NULL) == 0);
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_awaits_slot(call));
  now.monotonic_ms += 300;
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_until(call) == start + 1000);
  leat_call_await(call, now, now.monotonic_ms + 100);
  CHECK(!leat_call_awaits_slot(call) && leat_call_next(call, now) == LEAT_WAIT);
  now.monotonic_ms += 100;
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_until(call) == start + 1000);
  now.monotonic_ms += 300;
  leat_call_take_slot(call, now.monotonic_ms * 1000, 10000);
  CHECK(!leat_call_awaits_slot(call));
  TEST("one that may be used for less than its length");
  now.monotonic_ms += 11;
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_until(call) == start + 1000);
  leat_call_take_slot(call, now.monotonic_ms * 1000, 10000);
  now.monotonic_ms += 10;
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(leat_call_request(call)->deadline_ms == now.monotonic_ms + 500);
  TEST("and the next one moves the deadline of the call");
  leat_call_fail(call, now, LEAT_CONNECTION, LEAT_SENT_NO, "broke");
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  now.monotonic_ms = leat_call_until(call);
  int64_t left = start + 721 + 500 - now.monotonic_ms;
  CHECK(leat_call_next(call, now) == LEAT_SLOT);
  now.monotonic_ms += 200;
  leat_call_take_slot(call, now.monotonic_ms * 1000, 10000);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(leat_call_request(call)->deadline_ms == now.monotonic_ms + left);
  FREE_ALL(client, call);
}

static void test_slot_that_is_refused(void) {
  leat_client *client =
      new_client((leat_config){.rate_per_minute = 300, .slots_from_caller = true});
  leat_call *call = card_call(client, "create");
  TEST("no slot is to be had");
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_until(call) == INT64_MAX);
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "the store is away");
  CHECK(leat_call_next(call, now) == LEAT_DONE && !leat_call_awaits_slot(call));
  CHECK(leat_call_error(call)->sent == LEAT_SENT_NO);
  CHECK(!leat_call_error(call)->outcome_unknown && leat_call_error(call)->attempts == 0);
  FREE_ALL(client, call);
  TEST("a token request needs one, though the token is not shared");
  client = new_client((leat_config){.api_key = NULL,
                                    .client_id = "id",
                                    .client_secret = "secret",
                                    .rate_per_minute = 300,
                                    .slots_from_caller = true});
  call = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_awaits_slot(call));
  CHECK(leat_call_purpose(call) == LEAT_TO_GET_TOKEN);
  leat_call_take_slot(call, now.monotonic_ms * 1000, 200000);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  FREE_ALL(client, call);
}

static void test_queue_timeout(void) {
  leat_client *client =
      new_client((leat_config){.rate_per_minute = 60, .queue_timeout_ms = 1500});
  leat_call *calls[3];
  TEST("queued for longer than queue_timeout");
  for (int i = 0; i < 3; i++)
    calls[i] = card_call(client, "create");
  CHECK(leat_call_next(calls[0], now) == LEAT_SEND);
  CHECK(leat_call_next(calls[1], now) == LEAT_WAIT);
  CHECK(leat_call_next(calls[2], now) == LEAT_DONE);
  CHECK(leat_call_error(calls[2])->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(calls[2])->sent == LEAT_SENT_NO);
  CHECK(!leat_call_error(calls[2])->outcome_unknown);
  free_calls(calls, 3);
  leat_client_free(client);
}

static leat_call *patient_call(leat_client *client, const char *operation, int ms) {
  leat_call *call = card_call(client, operation);
  leat_call_set_queue_timeout_ms(call, ms);
  return call;
}

/* A call may have a queue_timeout of its own, shorter or longer than the client's. */
static void test_queue_timeout_of_a_call(void) {
  leat_client *client =
      new_client((leat_config){.rate_per_minute = 60, .queue_timeout_ms = 2500});
  int64_t start = now.monotonic_ms;
  TEST("a queue_timeout of the call's own");
  leat_call *first = card_call(client, "find"), *second = card_call(client, "find");
  leat_call *hurried = patient_call(client, "find", 1999);
  leat_call *third = patient_call(client, "find", 2000);
  leat_call *refused = card_call(client, "find");
  leat_call *patient = patient_call(client, "find", 3000);
  CHECK(leat_call_queue_deadline(hurried, start) == start + 1999);
  CHECK(leat_call_queue_deadline(patient, start) == start + 3000);
  CHECK(leat_call_queue_deadline(refused, start) == start + 2500);
  CHECK(leat_call_next(first, now) == LEAT_SEND);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  CHECK(leat_call_next(hurried, now) == LEAT_DONE);
  CHECK(leat_call_error(hurried)->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(hurried)->sent == LEAT_SENT_NO);
  CHECK(leat_call_next(third, now) == LEAT_WAIT);
  CHECK(leat_call_next(refused, now) == LEAT_DONE);
  CHECK(leat_call_next(patient, now) == LEAT_WAIT);
  CHECK(leat_call_until(patient) == start + 3000);
  FREE_ALL(client, first, second, hurried, third, refused, patient);
}

/* The find that comes first, or verifies, and the token request wait as part of it. */
static void test_queue_timeout_of_inner_calls(void) {
  leat_client *client =
      new_client((leat_config){.rate_per_minute = 60, .slots_from_caller = true});
  int64_t start = now.monotonic_ms;
  TEST("a queue_timeout of the call's own, for its finds, too");
  leat_call *call = patient_call(client, "unlink", 700);
  leat_call_expect(call, leat_s(ANN));
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_until(call) == start + 700);
  CHECK(leat_call_purpose(call) == LEAT_TO_VERIFY);
  leat_call_take_slot(call, (start + 701) * 1000, 0);
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
  FREE_ALL(client, call);
  TEST("and for its token request");
  client = new_client((leat_config){.client_id = "id",
                                    .client_secret = "secret",
                                    .rate_per_minute = 60,
                                    .slots_from_caller = true});
  call = patient_call(client, "find", 700);
  CHECK(leat_call_next(call, now) == LEAT_SLOT && leat_call_until(call) == start + 700);
  CHECK(leat_call_purpose(call) == LEAT_TO_GET_TOKEN);
  FREE_ALL(client, call);
}

static void test_connect_timeout_of_inner_calls(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "unlink");
  TEST("a connect_timeout of the call's own, for its finds, too");
  leat_call_set_connect_timeout_ms(call, 77);
  leat_call_expect(call, leat_s(ANN));
  CHECK(leat_call_next(call, now) == LEAT_SEND && is_request(call, &found));
  CHECK(leat_call_request(call)->connect_timeout_ms == 77);
  deliver(call, &found, NULL);
  CHECK(leat_call_next(call, now) == LEAT_SEND && is_request(call, &done));
  CHECK(leat_call_request(call)->connect_timeout_ms == 77);
  FREE_ALL(client, call);
}

/* The call, and each later one, reports what the service asked for. */
static void test_pause_too_long(void) {
  leat_client *client = new_client((leat_config){.queue_timeout_ms = 3000});
  leat_call *first = card_call(client, "find"), *second = card_call(client, "find");
  TEST("the service asks to wait longer than queue_timeout");
  leat_call_next(first, now);
  deliver(first, &down, "7");
  CHECK(leat_call_next(first, now) == LEAT_DONE);
  CHECK(leat_call_error(first)->kind == LEAT_MAINTENANCE);
  CHECK(leat_call_error(first)->retry_after_ms == 7000);
  now.monotonic_ms += 1000;
  CHECK(leat_call_next(second, now) == LEAT_DONE);
  CHECK(leat_call_error(second)->kind == LEAT_TIMEOUT);
  CHECK(strstr(leat_call_error(second)->message, "longer than queue_timeout") != NULL);
  CHECK(leat_call_error(second)->retry_after_ms == 6000);
  CHECK(leat_call_error(second)->sent == LEAT_SENT_NO);
  FREE_ALL(client, first, second);
}

/* ---- pauses that are longer than a call waits ------------------------------------ */

/* Performs one exchange with this status and Retry-After. */
static void perform(leat_client *client, const char *operation, int status,
                    const char *retry_after) {
  const scene s = {"", status, "{\"message\":\"Oh.\"}", LEAT_OK, LEAT_SENT_MAYBE};
  leat_call *call = card_call(client, operation);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  deliver(call, &s, retry_after);
  leat_call_next(call, now);
  leat_call_free(call);
}

static void check_refused(leat_client *client, leat_kind kind, int64_t retry_after_ms) {
  leat_call *call = card_call(client, "create");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  const leat_error *error = leat_call_error(call);
  CHECK(error->kind == kind && error->sent == LEAT_SENT_NO && !error->outcome_unknown);
  CHECK(error->attempts == 0 && error->status == 0);
  if (!CHECK(error->retry_after_ms == retry_after_ms))
    printf("  %lld ms\n", (long long)error->retry_after_ms);
  CHECK(strstr(error->message, "asked to wait") != NULL);
  leat_call_free(call);
}

static void check_sent(leat_client *client) {
  leat_call *call = card_call(client, "find");
  if (CHECK(leat_call_next(call, now) == LEAT_SEND)) deliver(call, &good, NULL);
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  leat_call_free(call);
}

static void test_long_pause(void) {
  static const struct {
    int status;
    leat_kind kind;
  } all[] = {{429, LEAT_RATE_LIMITED}, {503, LEAT_MAINTENANCE}};
  TEST("a wait that is too long is not forgotten");
  for (int i = 0; i < 2; i++) {
    leat_client *client = new_client((leat_config){0});
    leat_pause pause;
    CHECK(!leat_client_pause(client, now, &pause));
    perform(client, "find", all[i].status, "100");
    CHECK(leat_client_pause(client, now, &pause) && pause.kind == all[i].kind);
    CHECK(pause.until_ms == now.monotonic_ms + 100000 && pause.asked && pause.too_long);
    check_refused(client, all[i].kind, 100000);
    now.monotonic_ms += 70000; /* the rest of the pause is still too long */
    check_refused(client, all[i].kind, 30000);
    now.monotonic_ms += 30000;
    CHECK(!leat_client_pause(client, now, &pause));
    check_sent(client);
    leat_client_free(client);
  }
  TEST("fifteen minutes at most");
  leat_client *client = new_client((leat_config){0});
  perform(client, "find", 429, "86400");
  check_refused(client, LEAT_RATE_LIMITED, 900000);
  now.monotonic_ms += 900000;
  check_sent(client);
  leat_client_free(client);
}

static void test_long_backoff(void) {
  leat_client *client =
      new_client((leat_config){.retry_base_ms = 100000, .retry_cap_ms = 100000});
  leat_pause pause;
  TEST("a long backoff is not what the service asked for");
  now.random = 90000;
  perform(client, "find", 503, NULL);
  CHECK(leat_client_pause(client, now, &pause) && !pause.asked && !pause.too_long);
  leat_call *call = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  FREE_ALL(client, call);
}

/* Calls that wait for the end of a pause learn that it has become a long one. */
static void test_pause_becomes_long(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *first = card_call(client, "find"), *waits = card_call(client, "find");
  TEST("a pause becomes a long one");
  CHECK(leat_call_next(first, now) == LEAT_SEND);
  perform(client, "find", 503, "5");
  CHECK(leat_call_next(waits, now) == LEAT_WAIT);
  deliver(first, &down, "120");
  CHECK(leat_call_next(waits, now) == LEAT_DONE);
  CHECK(leat_call_error(waits)->kind == LEAT_MAINTENANCE);
  CHECK(leat_call_error(waits)->retry_after_ms == 120000);
  FREE_ALL(client, first, waits);
}

/* A call that was sent before such a pause must not report that nothing was sent. */
static void test_long_pause_between_attempts(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *first = card_call(client, "find"), *update = card_call(client, "update");
  TEST("a pause becomes a long one before a change is sent again");
  CHECK(leat_call_next(first, now) == LEAT_SEND);
  CHECK(leat_call_next(update, now) == LEAT_SEND);
  deliver(update, &down, "5");
  CHECK(leat_call_next(update, now) == LEAT_WAIT);
  deliver(first, &busy, "120");
  CHECK(leat_call_next(update, now) == LEAT_DONE);
  const leat_error *error = leat_call_error(update);
  CHECK(error->outcome_unknown && error->sent == LEAT_SENT_MAYBE);
  CHECK(error->retry_after_ms == 120000 && error->kind == LEAT_RATE_LIMITED);
  CHECK(strstr(error->message, "nothing was sent") == NULL);
  TEST("or while its find is queued");
  leat_client *other = new_client((leat_config){.rate_per_minute = 60});
  leat_call *compares = card_call(other, "update"), *find = card_call(other, "find");
  leat_call_expect(compares, leat_s(ANN));
  CHECK(leat_call_next(find, now) == LEAT_SEND);
  exchange(compares, &found, NULL);
  exchange(compares, &lost, NULL);
  CHECK(leat_call_next(compares, now) == LEAT_WAIT); /* before the next attempt, */
  now.monotonic_ms = leat_call_until(compares);
  CHECK(leat_call_next(compares, now) == LEAT_WAIT); /* and for a slot of the rate */
  deliver(find, &busy, "120");
  CHECK(next(compares) == LEAT_DONE && leat_call_error(compares)->outcome_unknown);
  CHECK(strstr(leat_call_error(compares)->message, "nothing was sent") == NULL);
  FREE_ALL(other, compares, find);
  FREE_ALL(client, first, update);
}

static void test_probe(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *calls[3];
  TEST("after a long pause one call probes");
  perform(client, "find", 429, "3600");
  now.monotonic_ms += 900000;
  for (int i = 0; i < 3; i++)
    calls[i] = card_call(client, "find");
  CHECK(leat_call_next(calls[0], now) == LEAT_SEND);
  CHECK(leat_call_next(calls[1], now) == LEAT_WAIT);
  deliver(calls[0], &busy, "600");
  CHECK(leat_call_next(calls[0], now) == LEAT_DONE);
  CHECK(leat_call_next(calls[1], now) == LEAT_DONE); /* it is a pause for all calls */
  CHECK(leat_call_error(calls[1])->retry_after_ms == 600000);
  now.monotonic_ms += 600000;
  leat_call_free(calls[0]);
  calls[0] = card_call(client, "find");
  CHECK(leat_call_next(calls[0], now) == LEAT_SEND);
  CHECK(leat_call_next(calls[2], now) == LEAT_WAIT);
  TEST("and a probe that is given up leaves it to the next");
  leat_call_free(calls[0]);
  CHECK(leat_call_next(calls[2], now) == LEAT_SEND);
  deliver(calls[2], &good, NULL);
  check_sent(client);
  leat_call *both[] = {card_call(client, "find"), card_call(client, "find")};
  CHECK(leat_call_next(both[0], now) == LEAT_SEND);
  CHECK(leat_call_next(both[1], now) == LEAT_SEND); /* the pause is over */
  FREE_ALL(client, both[0], both[1], calls[1], calls[2]);
}

/* A call with one attempt does not wait, but it is not sent during a pause either. */
static void test_pause_for_one_attempt(void) {
  const leat_config once = {.max_attempts = 1};
  leat_client *client = new_client(once);
  TEST("one attempt in a pause");
  now.random = 500; /* the backoff in ms */
  perform(client, "find", 429, NULL);
  now.monotonic_ms += 10;
  check_refused(client, LEAT_RATE_LIMITED, 490);
  now.monotonic_ms += 490;
  check_sent(client);
  perform(client, "create", 503, "7");
  check_refused(client, LEAT_MAINTENANCE, 7000);
  leat_client_free(client);
  client = new_client(once);
  perform(client, "find", 503, NULL); /* without Retry-After */
  check_sent(client);
  leat_client_free(client);
}

/* Checks that the call is done, and that the client pauses for `ms`. Frees both. */
static void check_pauses(leat_client *client, leat_call *call, int64_t ms) {
  leat_call *other = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->retry_after_ms == ms);
  CHECK(leat_call_next(other, now) == LEAT_WAIT);
  CHECK(leat_call_until(other) == now.monotonic_ms + ms);
  FREE_ALL(client, call, other);
}

/* The service asks all to wait, and not only the call that it responds to. */
static void test_pause_after_the_last_attempt(void) {
  leat_client *client = new_client((leat_config){.max_attempts = 2});
  leat_call *call = card_call(client, "find");
  TEST("a response that is not retried pauses the client: the last attempt's");
  exchange(call, &busy, "1");
  exchange(call, &down, "7");
  check_pauses(client, call, 7000);
  TEST("the only attempt's");
  client = new_client((leat_config){0});
  call = card_call(client, "create");
  leat_call_set_max_attempts(call, 1);
  exchange(call, &down, "7");
  check_pauses(client, call, 7000);
  TEST("that to a request that must not be repeated");
  client = new_client((leat_config){0});
  call = leat_call_new_request(client, "POST", "/x");
  exchange(call, &down, "7");
  check_pauses(client, call, 7000);
  TEST("the last one to a find that verifies a change");
  client = new_client((leat_config){.max_attempts = 2});
  call = card_call(client, "create");
  exchange(call, &lost, NULL);
  exchange(call, &down, "1");
  exchange(call, &busy, "7");
  leat_call *other = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->outcome_unknown);
  CHECK(leat_call_next(other, now) == LEAT_WAIT);
  CHECK(leat_call_until(other) == now.monotonic_ms + 7000);
  FREE_ALL(client, call, other);
}

static void test_shared_pause(void) {
  leat_client *one = new_client((leat_config){0}), *other = new_client((leat_config){0});
  leat_pause pause;
  TEST("a pause that processes share");
  perform(one, "find", 503, "90");
  CHECK(leat_client_pause(one, now, &pause));
  leat_client_share_pause(other, now, &pause);
  check_refused(other, LEAT_MAINTENANCE, 90000);
  pause.until_ms = INT64_MAX; /* an invalid value in the store */
  leat_client_share_pause(other, now, &pause);
  check_refused(other, LEAT_MAINTENANCE, 900000);
  now.monotonic_ms += 900000;
  check_sent(other);
  pause.until_ms = now.monotonic_ms;
  leat_client_share_pause(other, now, &pause);
  check_sent(other);
  leat_client_free(one);
  leat_client_free(other);
}

/* If a pause prevents verifying, the call ends at once with an unknown outcome. */
static void test_long_pause_while_verifying(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "create");
  TEST("a 503 that asks for too long a wait");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  deliver(call, &down, "3600");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_MAINTENANCE);
  CHECK(leat_call_error(call)->outcome_unknown);
  CHECK(leat_call_error(call)->retry_after_ms == 3600000);
  FREE_ALL(client, call);
}

/* ---- slots ----------------------------------------------------------------------- */

/* Calls that were not sent return their slots to later calls, in whatever order they
** end. */
static void test_slots_given_back(void) {
  enum { MANY = 24 };
  TEST("slots of what was given up are given back");
  for (int order = 0; order < 3; order++) {
    leat_client *client = new_client((leat_config){.rate_per_minute = 240});
    leat_call *calls[MANY];
    int64_t start = now.monotonic_ms;
    for (int i = 0; i < MANY; i++)
      leat_call_next(calls[i] = card_call(client, "find"), now);
    CHECK(leat_call_until(calls[MANY - 1]) == start + 250 * (MANY - 1));
    now.monotonic_ms += 50;
    for (int i = 0; i < MANY - 1; i++) { /* from the front, the end, the middle */
      int k = order == 0 ? i : order == 1 ? MANY - 2 - i : (i * 5) % (MANY - 1);
      leat_call_fail(calls[k], now, LEAT_CANCELED, LEAT_SENT_NO, "canceled");
    }
    CHECK(leat_call_next(calls[MANY - 1], now) == LEAT_WAIT);
    CHECK(leat_call_until(calls[MANY - 1]) == start + 250);
    leat_call_free(calls[MANY - 1]); /* also when it is freed */
    leat_call *next_one = card_call(client, "find");
    CHECK(leat_call_next(next_one, now) == LEAT_WAIT);
    CHECK(leat_call_until(next_one) == start + 250);
    leat_call_free(next_one);
    free_calls(calls, MANY - 1);
    leat_client_free(client);
  }
}

/* A slot that was refused or missed does not cause other calls to be refused or to be
** sent in a burst. */
static void test_slots(void) {
  leat_client *client =
      new_client((leat_config){.rate_per_minute = 60, .queue_timeout_ms = 2000});
  int refused = 0, sent = 0;
  TEST("a call that is refused takes no slot");
  for (int i = 0; i < 20; i++) {
    leat_call *call = card_call(client, "find");
    refused += leat_call_next(call, now) == LEAT_DONE;
    leat_call_free(call);
  }
  CHECK(refused == 0); /* each was freed before the next */
  leat_call *waiting[20];
  for (int i = 0; i < 20; i++)
    refused += leat_call_next(waiting[i] = card_call(client, "find"), now) == LEAT_DONE;
  CHECK(refused == 18);
  free_calls(waiting, 20);
  now.monotonic_ms += 10000;
  leat_call *call = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  FREE_ALL(client, call);
  TEST("slots that fell into a pause are not made up for");
  leat_call *calls[10];
  client = new_client((leat_config){.rate_per_minute = 60});
  for (int i = 0; i < 10; i++)
    leat_call_next(calls[i] = card_call(client, "find"), now);
  deliver(calls[0], &busy, "50");
  leat_call_next(calls[0], now);
  now.monotonic_ms += 50000;
  for (int i = 0; i < 10; i++)
    sent += leat_call_next(calls[i], now) == LEAT_SEND;
  CHECK(sent == 1);
  free_calls(calls, 10);
  leat_client_free(client);
}

/* If the driver runs a call late, because other calls come first, that is not call
** time. */
static void test_late_driver(void) {
  leat_client *client = new_client((leat_config){.timeout_ms = 2000});
  leat_call *call = card_call(client, "create");
  TEST("run late, after a wait");
  leat_call_next(call, now);
  deliver(call, &lost, NULL);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  deliver(call, &none, NULL);
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  now.monotonic_ms = leat_call_until(call) + 60000;
  CHECK(leat_call_next(call, now) == LEAT_SEND && is_request(call, &good));
  deliver(call, &good, NULL);
  CHECK(leat_call_next(call, now) == LEAT_DONE && leat_call_info(call).recovered);
  FREE_ALL(client, call);
  TEST("an exchange is not queue time");
  client = new_client((leat_config){.queue_timeout_ms = 5000});
  call = card_call(client, "find");
  leat_call_next(call, now);
  deliver(call, &busy, "1");
  CHECK(next(call) == LEAT_SEND);
  now.monotonic_ms += 6000;
  deliver(call, &busy, "1");
  CHECK(next(call) == LEAT_SEND);
  FREE_ALL(client, call);
}

/* When the service is down, the retry budget limits the additional load. */
static void test_quota(void) {
  leat_client *client = new_client((leat_config){0});
  int sends = 0;
  TEST("retries are limited by a budget");
  for (int i = 0; i < 100; i++) {
    leat_call *call = card_call(client, "find");
    while (next(call) == LEAT_SEND) {
      deliver(call, &failed, NULL);
      sends++;
    }
    leat_call_free(call);
  }
  CHECK(sends == 100 + 20); /* a budget of 100, and 5 each */
  for (int i = 0; i < 5; i++) {
    leat_call *call = card_call(client, "find");
    next(call);
    deliver(call, &good, NULL);
    leat_call_free(call);
  }
  leat_call *call = card_call(client, "find");
  next(call);
  deliver(call, &failed, NULL);
  CHECK(leat_call_next(call, now) == LEAT_WAIT); /* successes return some of it */
  FREE_ALL(client, call);
}

static int sends_until_it_ends(leat_client *client) {
  leat_call *call = card_call(client, "find");
  int sends = 0;
  while (next(call) == LEAT_SEND) {
    deliver(call, &failed, NULL);
    sends++;
  }
  if (strstr(leat_call_error(call)->message, "retry_budget")) sends += 1000;
  leat_call_free(call);
  return sends;
}

static void test_retry_budget(void) {
  leat_client *client = new_client((leat_config){.retry_budget = 12});
  TEST("a retry budget of one's own, and what says that it is spent");
  CHECK(sends_until_it_ends(client) == 3);
  CHECK(sends_until_it_ends(client) == 1001);
  leat_client_free(client);
  client = new_client((leat_config){.retry_budget = LEAT_UNLIMITED});
  for (int i = 0; i < 100; i++)
    CHECK(sends_until_it_ends(client) == 3);
  leat_client_free(client);
  TEST("attempts until the timeout");
  client = new_client((leat_config){.retry_budget = LEAT_UNLIMITED,
                                    .max_attempts = LEAT_UNLIMITED,
                                    .retry_cap_ms = 1000,
                                    .timeout_ms = 60000});
  int64_t start = now.monotonic_ms;
  CHECK(sends_until_it_ends(client) > 60);
  CHECK(now.monotonic_ms - start <= 60000 && now.monotonic_ms - start > 58000);
  leat_client_free(client);
}

/* A call whose first request is a find of its own can be the probe after a pause, and
** does not wait for itself. */
static void test_probe_by_find(void) {
  leat_client *client = new_client((leat_config){0});
  TEST("a probe that begins with a find of its own");
  perform(client, "find", 429, "100");
  now.monotonic_ms += 100000;
  leat_call *call = card_call(client, "unlink"), *other = card_call(client, "find");
  leat_call_expect(call, leat_s(ANN));
  if (CHECK(leat_call_next(call, now) == LEAT_SEND && is_request(call, &found))) {
    CHECK(leat_call_next(other, now) == LEAT_WAIT);
    deliver(call, &found, NULL);
    CHECK(leat_call_next(other, now) == LEAT_SEND); /* the pause is over */
    CHECK(leat_call_next(call, now) == LEAT_SEND && is_request(call, &done));
  }
  FREE_ALL(client, call, other);
}

/* The queue timeout covers all waiting of a call, however many finds it makes. */
static void test_queue_timeout_of_all(void) {
  leat_client *client = new_client((leat_config){.queue_timeout_ms = 5000});
  int64_t start = now.monotonic_ms;
  TEST("queue_timeout is for the whole waiting of a call");
  perform(client, "find", 429, "4");
  leat_call *call = card_call(client, "create");
  exchange(call, &down, "2");
  CHECK(next(call) == LEAT_DONE && now.monotonic_ms - start <= 5000);
  CHECK(leat_call_error(call)->outcome_unknown);
  FREE_ALL(client, call);
}

/* Pauses do not count towards the timeout, but a call with unlimited attempts must
** end. */
static void test_unlimited_attempts(void) {
  static const struct {
    const char *operation, *method;
  } all[] = {{"find", "GET"}, {"create", "POST"}, {"update", "PUT"}};
  TEST("attempts until the timeout, of a service that is down");
  for (int i = 0; i < 3; i++) {
    leat_client *client =
        new_client((leat_config){.max_attempts = LEAT_UNLIMITED, .timeout_ms = 60000});
    leat_call *call = card_call(client, all[i].operation);
    int64_t start = now.monotonic_ms;
    int sends = 0;
    for (; next(call) == LEAT_SEND && sends < 1000; sends++) {
      now.monotonic_ms += 10;
      deliver(call, &down, NULL);
    }
    CHECK(sends > 3 && sends < 1000 && now.monotonic_ms - start <= 60000);
    CHECK(leat_call_error(call)->kind == LEAT_MAINTENANCE);
    CHECK(leat_call_error(call)->outcome_unknown == (i > 0));
    FREE_ALL(client, call);
  }
}

/* For it pauses count towards the timeout, but other waiting in the queue does not. */
static void test_unlimited_in_line(void) {
  leat_client *client = new_client((leat_config){
      .max_attempts = LEAT_UNLIMITED, .timeout_ms = 30000, .rate_per_minute = 1});
  leat_call *call = card_call(client, "unlink");
  TEST("attempts until the timeout, queued for the rate limit");
  leat_call_expect(call, leat_s(ANN));
  check_sent(client);
  if (CHECK(next(call) == LEAT_SEND)) deliver(call, &found, NULL);
  if (CHECK(next(call) == LEAT_SEND && is_request(call, &done)))
    deliver(call, &done, NULL);
  CHECK(next(call) == LEAT_DONE && leat_call_error(call)->kind == LEAT_OK);
  FREE_ALL(client, call);
}

static void test_large_budget(void) {
  leat_client *client = new_client((leat_config){.retry_budget = INT_MAX});
  TEST("the largest budget");
  check_sent(client);
  CHECK(sends_until_it_ends(client) == 3);
  leat_client_free(client);
}

/* If two pauses overlap, both are observed. */
static void test_pauses_overlap(void) {
  leat_client *client = new_client((leat_config){.max_attempts = 1});
  leat_call *first = card_call(client, "find"), *second = card_call(client, "find");
  TEST("a shorter pause that was asked for, in a longer one that was not");
  now.random = 1000;
  CHECK(leat_call_next(first, now) == LEAT_SEND);
  CHECK(leat_call_next(second, now) == LEAT_SEND);
  deliver(first, &down, NULL); /* for 1000 ms */
  now.random = 500;
  deliver(second, &busy, NULL);
  check_refused(client, LEAT_MAINTENANCE, 1000);
  FREE_ALL(client, first, second);
}

static void test_foreign_pause(void) {
  leat_client *client = new_client((leat_config){0});
  TEST("a shared pause of no known kind");
  leat_client_share_pause(client, now,
                          &(leat_pause){.until_ms = now.monotonic_ms + 90000,
                                        .kind = (leat_kind)0,
                                        .asked = true,
                                        .too_long = true});
  check_refused(client, LEAT_MAINTENANCE, 90000);
  leat_client_free(client);
}

/* ---- expected owners ------------------------------------------------------------- */

typedef struct expectation {
  const char *name, *operation, *expect; /* expect NULL: linked to no contact */
  leat_kind kind;
  bool recovered, unknown;
  scene scenes[10];
} expectation;

/* clang-format off */
static const expectation expectations[] = {
    {"unlink, as expected", "unlink", ANN, DONE,
     {{"GET", SAYS(OF(ANN))}, {"PUT", SAYS(FREE)}}},
    {"unlink, another's", "unlink", ANN, FAILS(LEAT_CONFLICT), {{"GET", SAYS(OF(BOB))}}},
    {"unlink, not linked", "unlink", ANN, FAILS(LEAT_CONFLICT), {{"GET", SAYS(FREE)}}},
    {"update, of an unlinked card", "update", NULL, DONE,
     {{"GET", SAYS(FREE)}, {"PUT", SAYS(FREE)}}},
    {"update, but it is linked", "update", NULL, FAILS(LEAT_CONFLICT),
     {{"GET", SAYS(OF(ANN))}}},
    {"delete of nothing", "delete", ANN, FAILS(LEAT_NOT_FOUND), {{"GET", ERROR(60003)}}},
    {"an inactive card shows nothing", "delete", ANN, FAILS(LEAT_INACTIVE),
     {{"GET", ERROR(60004)}}},
    {"what never left is compared again", "delete", ANN, FAILS(LEAT_CONFLICT),
     {{"GET", SAYS(OF(ANN))}, {"DELETE", REFUSED}, {"GET", SAYS(OF(BOB))}}},
    {"a lost update is compared before it is sent again", "update", ANN, DONE,
     {{"GET", SAYS(OF(ANN))}, {"PUT", LOST}, {"GET", SAYS(OF(ANN))},
      {"PUT", SAYS(OF(ANN))}}},
    {"a lost update of what is another's now", "update", ANN, UNKNOWN(LEAT_CONFLICT),
     {{"GET", SAYS(OF(ANN))}, {"PUT", LOST}, {"GET", SAYS(OF(BOB))}}},
    {"a lost unlink of what is another's now", "unlink", ANN, UNKNOWN(LEAT_CONFLICT),
     {{"GET", SAYS(OF(ANN))}, {"PUT", LOST}, {"GET", SAYS(OF(BOB))},
      {"GET", SAYS(OF(BOB))}}},
    {"a lost unlink that did not work", "unlink", ANN, DONE,
     {{"GET", SAYS(OF(ANN))}, {"PUT", LOST}, {"GET", SAYS(OF(ANN))},
      {"GET", SAYS(OF(ANN))}, {"PUT", SAYS(FREE)}}},
    {"a lost delete that worked", "delete", ANN, RECOVERED,
     {{"GET", SAYS(OF(ANN))}, {"DELETE", LOST}, {"GET", ERROR(60003)}}},
    {"a lost delete of a card that was made again", "delete", ANN, UNKNOWN(LEAT_CONFLICT),
     {{"GET", SAYS(OF(ANN))}, {"DELETE", LOST}, {"GET", SAYS(FREE)},
      {"GET", SAYS(FREE)}}},
    {"a lost delete that worked late, seen when it is to be sent once more", "delete", ANN, RECOVERED,
     {{"GET", SAYS(OF(ANN))}, {"DELETE", LOST}, {"GET", SAYS(OF(ANN))},
      {"GET", SAYS(OF(ANN))}, {"DELETE", REFUSED}, {"GET", ERROR(60003)}}},
    {"a lost unlink that worked late", "unlink", ANN, RECOVERED,
     {{"GET", SAYS(OF(ANN))}, {"PUT", LOST}, {"GET", SAYS(OF(ANN))},
      {"GET", SAYS(OF(ANN))}, {"PUT", STATUS(429)}, {"GET", SAYS(FREE)}}},
};
/* clang-format on */

static void test_expectations(void) {
  for (size_t i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
    const expectation *e = &expectations[i];
    leat_client *client = new_client((leat_config){0});
    leat_call *call = card_call(client, e->operation);
    leat_contact_identifier card;
    TEST(e->name);
    leat_call_expect(call, (leat_string){e->expect, e->expect ? strlen(e->expect) : 0});
    play_scenes(call, e->scenes);
    const leat_error *error = leat_call_error(call);
    if (!CHECK(error->kind == e->kind && error->outcome_unknown == e->unknown &&
               leat_call_info(call).recovered == e->recovered))
      printf("  %s: %s\n", leat_kind_name(error->kind), error->message);
    CHECK(leat_call_conflicting(call, &card) == (e->kind == LEAT_CONFLICT));
    CHECK(!e->unknown || error->sent == LEAT_SENT_MAYBE);
    FREE_ALL(client, call);
  }
  TEST("one attempt compares too");
  leat_client *client = new_client((leat_config){.max_attempts = 1});
  leat_call *call = card_call(client, "unlink");
  const scene scenes[] = {{"GET", SAYS(OF(ANN))}, {"PUT", LOST}, {0}};
  leat_call_expect(call, leat_s(ANN));
  play_scenes(call, scenes);
  CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(call)->outcome_unknown);
  leat_call_free(call);
  TEST("only of what changes a card that is there");
  call = card_call(client, "create");
  leat_call_expect(call, leat_s(ANN));
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_MISUSE);
  FREE_ALL(client, call);
}

static void test_conflicting_card(void) {
  const scene scenes[] = {
      {"PUT", LOST}, {"GET", SAYS(OF(BOB))}, {"GET", SAYS(OF(BOB))}, {0}};
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "link");
  leat_contact_identifier card;
  TEST("a conflict says whose card it is, and has it");
  play_scenes(call, scenes);
  CHECK(strstr(leat_call_error(call)->message, "contact bob") != NULL);
  CHECK(leat_call_conflicting(call, &card));
  CHECK_STR(card.contact_uuid.data, BOB);
  CHECK(leat_call_data(call) == NULL && !leat_call_contact_identifier(call, &card));
  leat_call_free(call);
  TEST("and nothing of the responses before");
  const scene other = {"GET", SAYS(OF(BOB))};
  call = card_call(client, "unlink");
  leat_call_expect(call, leat_s(ANN));
  exchange(call, &found, NULL);
  exchange(call, &busy, "2");
  exchange(call, &other, NULL);
  CHECK(next(call) == LEAT_DONE && leat_call_error(call)->kind == LEAT_CONFLICT);
  CHECK(leat_call_error(call)->retry_after_ms == -1);
  CHECK(leat_call_error(call)->status == 200);
  FREE_ALL(client, call);
}

/* The refused response was about another card, which must not be reported as
** conflicting. */
static void test_conflicting_inactive(void) {
  const scene scenes[] = {{"POST", SAYS("{\"data\":{\"value\":\"another\"}}")},
                          {"GET", ERROR(60004)},
                          {"GET", ERROR(60004)},
                          {0}};
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "create");
  leat_contact_identifier card;
  TEST("a conflict with an inactive card has none");
  play_scenes(call, scenes);
  CHECK(leat_call_error(call)->kind == LEAT_CONFLICT);
  CHECK(!leat_call_conflicting(call, &card) && card.value.data == NULL);
  FREE_ALL(client, call);
}

/* ---- time to connect ------------------------------------------------------------- */

static void test_connected(void) {
  leat_client *client = new_client((leat_config){.timeout_ms = 4000});
  leat_call *call = card_call(client, "create");
  int64_t start = now.monotonic_ms;
  TEST("time spent on connecting is not taken from a change's half");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(deadline_of(call) == start + 2000);
  now.monotonic_ms += 1500;
  CHECK(leat_call_connected(call, now) == start + 1500 + 1250);
  CHECK(deadline_of(call) == start + 1500 + 1250);
  leat_call_free(call);
  call = card_call(client, "find");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(leat_call_connected(call, now) == now.monotonic_ms + 4000);
  FREE_ALL(client, call);
}

/* ---- giving up ------------------------------------------------------------------- */

static void test_given_up(void) {
  leat_client *client = new_client((leat_config){0});
  leat_call *call = card_call(client, "create");
  TEST("given up while it waits");
  leat_call_next(call, now);
  deliver(call, &lost, NULL);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  deliver(call, &none, NULL);
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  leat_call_fail(call, now, LEAT_CANCELED, LEAT_SENT_NO, "enough");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_CANCELED);
  CHECK(leat_call_error(call)->outcome_unknown);
  CHECK(leat_call_error(call)->sent == LEAT_SENT_MAYBE);
  leat_call_free(call);
  TEST("freed while it verifies");
  call = card_call(client, "create");
  leat_call_next(call, now);
  deliver(call, &lost, NULL);
  CHECK(next(call) == LEAT_SEND);
  FREE_ALL(client, call);
}

int main(void) {
  test_plays();
  test_begun_before();
  test_headers_of_a_call();
  test_begun_before_with_owner();
  test_begun_before_without_time();
  test_begun_before_waits();
  test_begun_before_and_not_started();
  test_one_attempt();
  test_desired();
  test_other_requests();
  test_waits();
  test_retry_after_told();
  test_deadline();
  test_no_time_to_look();
  test_pause();
  test_pause_of_many();
  test_rate();
  test_shared_rate();
  test_slot_that_takes_time();
  test_slot_that_is_refused();
  test_queue_timeout();
  test_queue_timeout_of_a_call();
  test_queue_timeout_of_inner_calls();
  test_connect_timeout_of_inner_calls();
  test_pause_too_long();
  test_long_pause();
  test_long_backoff();
  test_pause_becomes_long();
  test_long_pause_between_attempts();
  test_probe();
  test_pause_for_one_attempt();
  test_pause_after_the_last_attempt();
  test_shared_pause();
  test_long_pause_while_verifying();
  test_slots_given_back();
  test_slots();
  test_late_driver();
  test_quota();
  test_retry_budget();
  test_probe_by_find();
  test_queue_timeout_of_all();
  test_unlimited_attempts();
  test_unlimited_in_line();
  test_large_budget();
  test_pauses_overlap();
  test_foreign_pause();
  test_expectations();
  test_conflicting_card();
  test_conflicting_inactive();
  test_connected();
  test_given_up();
  return test_summary("retry");
}
