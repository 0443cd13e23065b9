/*
** model_test.c - random operations under random faults, against a model of the service
** that knows what the API documents and nothing of the library: what a call reported and
** what the service then holds must never contradict each other. Without a socket, on a
** clock of its own; the seed makes it repeatable.
**   model_test FOLDER [OPERATIONS [SEED]]
*/
#include "leat.h"
#include "secrets.h"
#include "test.h"

#include <stdlib.h>

enum { LONGEST_LATE_MS = 5000, LONGEST_LAG_MS = 3000, RACE_MS = 1000 };

/* ---- chance ---------------------------------------------------------------------- */

static uint64_t chance = 1;

static int draw(int below) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return (int)(chance % (uint64_t)below);
}

/* ---- the service ----------------------------------------------------------------- */

/* One card, which is what one call is about. */
typedef struct state {
  bool exists, active;
  char name, contact; /* 0: none */
} state;

typedef enum verb { FIND, CREATE, LINK, UNLINK, UPDATE, DELETE } verb;

static const char *const verbs[] = {"find",   "create", "link",
                                    "unlink", "update", "delete"};

typedef struct ask {
  verb verb;
  char name, contact; /* 0: not given */
  int active;         /* -1: not given */
} ask;

/* What the API does: 0, or the code of its error. Changes the state only if it is 0. */
static int serve(state *s, const ask *a) {
  if (a->verb == CREATE) {
    if (s->exists) return 60006;
    *s = (state){true, true, a->name, a->contact};
    return 0;
  }
  if (!s->exists) return 60003;
  if (!s->active && a->verb != UPDATE && a->verb != DELETE) return 60004;
  switch (a->verb) {
    case LINK:
      if (s->contact) return 60014;
      s->contact = a->contact;
      break;
    case UNLINK:
      if (!s->contact) return 60011;
      s->contact = 0;
      break;
    case UPDATE:
      if (a->name) s->name = a->name;
      if (a->active >= 0) s->active = a->active;
      break;
    case DELETE: *s = (state){false, false, 0, 0}; break;
    default: break;
  }
  return 0;
}

static bool same(state a, state b) {
  return a.exists == b.exists &&
         (!a.exists ||
          (a.active == b.active && a.name == b.name && a.contact == b.contact));
}

static leat_moment moment;

/* The world of one call: the state now, what finds may still see, what is yet to come. */
typedef struct world {
  state now, before; /* before: what a lagging find sees */
  int64_t lag_until;
  struct {
    ask what;
    int64_t asked, at;
  } late[16];
  int late_count;
  bool raced; /* two creates at once, so that there may be two cards */
} world;

static int apply(world *w, const ask *a, int64_t at, int lag) {
  state old = w->now;
  int code = serve(&w->now, a);
  if (code || a->verb == FIND) return code;
  if (at >= w->lag_until) w->before = old;
  w->lag_until = at + lag;
  return 0;
}

static void catch_up(world *w, int64_t at) {
  for (int i = 0; i < w->late_count; i++) {
    if (w->late[i].at > at) continue;
    apply(w, &w->late[i].what, w->late[i].at, 0);
    w->late[i--] = w->late[--w->late_count];
  }
}

/* A create that was lost a moment ago may still be at work: another one then is a risk. */
static void watch_races(world *w, const ask *a) {
  for (int i = 0; i < w->late_count; i++)
    if (a->verb == CREATE && w->late[i].what.verb == CREATE &&
        moment.monotonic_ms - w->late[i].asked < RACE_MS)
      w->raced = true;
}

/* ---- exchanges ------------------------------------------------------------------- */

static bool holds(leat_string text, const char *piece) {
  char copy[512] = "";
  if (text.length > 0 && text.length < sizeof copy) memcpy(copy, text.data, text.length);
  return strstr(copy, piece) != NULL;
}

/* What is asked, read from the request as the API would. */
static ask read_request(const leat_request *r) {
  ask a = {FIND, 0, 0, -1};
  if (r->method.data[0] == 'D') a.verb = DELETE;
  else if (r->method.data[1] == 'O') a.verb = CREATE;
  else if (holds(r->target, "/unlink")) a.verb = UNLINK;
  else if (holds(r->target, "/link")) a.verb = LINK;
  else if (r->method.data[0] == 'P') a.verb = UPDATE;
  for (char c = 'a'; c <= 'b'; c++) {
    char name[] = "identifier_name\":\"x\"", contact[] = "contact_uuid\":\"x\"";
    name[sizeof name - 3] = contact[sizeof contact - 3] = c;
    if (holds(r->body, name)) a.name = c;
    if (holds(r->body, contact)) a.contact = c;
  }
  if (holds(r->body, "active\":true")) a.active = 1;
  if (holds(r->body, "active\":false")) a.active = 0;
  return a;
}

static void answer(leat_call *call, int status, const char *body) {
  leat_answer a = {status, NULL, 0, leat_s(body), LEAT_LENGTH};
  leat_call_answer(call, moment, &a);
}

static void answer_with(leat_call *call, int code, state s, verb v) {
  char body[256], name[8] = "null", contact[24] = "null";
  if (s.name) snprintf(name, sizeof name, "\"%c\"", s.name);
  if (s.contact) snprintf(contact, sizeof contact, "{\"uuid\":\"%c\"}", s.contact);
  if (code) snprintf(body, sizeof body, "{\"message\":\"m\",\"code\":%d}", code);
  else if (v == DELETE) snprintf(body, sizeof body, "{\"data\":null}");
  else
    snprintf(body, sizeof body,
             "{\"data\":{\"value\":\"v\",\"name\":%s,\"active\":%s,\"contact\":%s}}",
             name, s.active ? "true" : "false", contact);
  answer(call, code ? 400 : 200, body);
}

static void lose(leat_call *call) {
  if (draw(2)) moment.monotonic_ms = leat_call_request(call)->deadline_ms;
  leat_call_fail(call, moment, draw(2) ? LEAT_TIMEOUT : LEAT_CONNECTION, LEAT_SENT_MAYBE,
                 "lost");
}

static void apply_later(world *w, const ask *a) {
  if (w->late_count == 16) return;
  w->late[w->late_count].what = *a;
  w->late[w->late_count].asked = moment.monotonic_ms;
  w->late[w->late_count++].at = moment.monotonic_ms + 1 + draw(LONGEST_LATE_MS);
}

/* 200, and no more: which the service says only of what it did. */
static void answer_nothing(world *w, leat_call *call, const ask *a, int lag) {
  int code = apply(w, a, moment.monotonic_ms, lag);
  if (code) answer_with(call, code, w->now, a->verb);
  else answer(call, 200, "");
}

/* What it says of another card. */
static const char another[] = "{\"data\":{\"value\":\"w\",\"active\":true}}";

/* One exchange, and what goes wrong with it. */
static void exchange(world *w, leat_call *call) {
  ask a = read_request(leat_call_request(call));
  int lag = draw(4) ? 0 : draw(LONGEST_LAG_MS);
  moment.monotonic_ms += draw(50);
  catch_up(w, moment.monotonic_ms);
  watch_races(w, &a);
  switch (draw(16)) {
    case 0:
      leat_call_fail(call, moment, LEAT_CONNECTION, LEAT_SENT_NO, "refused");
      return;
    case 1: lose(call); return;
    case 2: answer(call, 500, ""); return;
    case 3: answer(call, 503, "<html>"); return;
    case 4: answer(call, 429, "{\"message\":\"m\"}"); return;
    case 5: answer(call, 200, draw(2) ? "<html>Welcome</html>" : another); return;
    case 6: apply_later(w, &a), lose(call); return;
    case 7: apply(w, &a, moment.monotonic_ms, lag), lose(call); return;
    case 8: apply(w, &a, moment.monotonic_ms, lag), answer(call, 502, "<html>"); return;
    case 9: answer_nothing(w, call, &a, lag); return;
    default: break;
  }
  if (a.verb == FIND && moment.monotonic_ms < w->lag_until) {
    state seen = w->before;
    answer_with(call, serve(&seen, &a), seen, FIND);
    return;
  }
  int code = apply(w, &a, moment.monotonic_ms, lag);
  answer_with(call, code, w->now, a.verb);
}

/* ---- calls ----------------------------------------------------------------------- */

static leat_call *new_call(leat_client *client, const ask *a) {
  leat_call *call =
      leat_call_new(client, leat_operation("contact_identifiers", verbs[a->verb]));
  char name[2] = {a->name}, contact[2] = {a->contact};
  leat_call_set(call, "contact_identifier_value", leat_s("v"));
  if (a->name) leat_call_set(call, "contact_identifier_name", leat_s(name));
  if (a->contact) leat_call_set(call, "contact_uuid", leat_s(contact));
  if (a->active >= 0) leat_call_set_bool(call, "contact_identifier_active", a->active);
  return call;
}

static ask random_ask(void) {
  ask a = {(verb)draw(6), 0, 0, -1};
  if (a.verb == CREATE || a.verb == UPDATE) a.name = "\0ab"[draw(3)];
  if (a.verb == CREATE) a.contact = "\0ab"[draw(3)];
  if (a.verb == LINK) a.contact = "ab"[draw(2)];
  if (a.verb == UPDATE) a.active = draw(3) - 1;
  return a;
}

static state random_state(void) {
  state s = {draw(3) > 0, draw(5) > 0, "\0ab"[draw(3)], "\0ab"[draw(3)]};
  return s.exists ? s : (state){false, false, 0, 0};
}

/* Whether the state is what was asked for. */
static bool is_as_asked(state s, const ask *a) {
  switch (a->verb) {
    case CREATE:
      return s.exists && s.contact == a->contact && (!a->name || s.name == a->name);
    case LINK: return s.exists && s.contact == a->contact;
    case UNLINK: return s.exists && !s.contact;
    case UPDATE:
      return s.exists && (!a->name || s.name == a->name) &&
             (a->active < 0 || s.active == a->active);
    case DELETE: return !s.exists;
    case FIND: break;
  }
  return s.exists && s.active;
}

/* What may be reported of a call that began at `start` and ended so. */
static bool is_true(const leat_call *call, const ask *a, state start, const world *w) {
  const leat_error *error = leat_call_error(call);
  state after = start;
  int code = serve(&after, a);
  if (w->raced) return false;
  if (error->kind == LEAT_OK) {
    if (!is_as_asked(w->now, a)) return false;
    return code == 0 || leat_call_info(call).recovered;
  }
  if (a->verb == FIND && error->outcome_unknown) return false;
  if (error->outcome_unknown) return same(w->now, start) || same(w->now, after);
  if (error->code && code == 0)
    return false; /* an error of the service's that it had no reason for */
  return same(w->now, start);
}

static bool run(void) {
  leat_config config = {.api_key = test_key(), .max_attempts = 1 + draw(4)};
  leat_client *client = leat_client_new(&config, NULL);
  state start = random_state();
  world w = {.now = start, .before = start};
  ask a = random_ask();
  leat_call *call = new_call(client, &a);
  leat_step step;
  moment = (leat_moment){1, 1700000000, chance};
  while ((step = leat_call_next(call, moment)) != LEAT_DONE) {
    moment.random = chance;
    if (step == LEAT_SEND) exchange(&w, call);
    else moment.monotonic_ms = leat_call_until(call);
  }
  catch_up(&w, INT64_MAX); /* what was on its way arrives */
  bool good = is_true(call, &a, start, &w);
  const leat_error *error = leat_call_error(call);
  if (!good)
    printf("  %s name %c contact %c active %d: from {%d %d %c %c} to {%d %d %c %c}: "
           "%s%s%s %s\n",
           verbs[a.verb], a.name ? a.name : '-', a.contact ? a.contact : '-', a.active,
           start.exists, start.active, start.name ? start.name : '-',
           start.contact ? start.contact : '-', w.now.exists, w.now.active,
           w.now.name ? w.now.name : '-', w.now.contact ? w.now.contact : '-',
           leat_kind_name(error->kind), error->outcome_unknown ? " unknown" : "",
           leat_call_info(call).recovered ? " recovered" : "", error->message);
  leat_call_free(call);
  leat_client_free(client);
  return good;
}

int main(int argc, char **argv) {
  int operations = argc > 2 ? atoi(argv[2]) : 100000;
  uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 4711;
  int wrong = 0;
  TEST("what is reported is true");
  for (int i = 0; i < operations && wrong < 10; i++) {
    chance = (seed + (uint64_t)i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    if (run()) continue;
    wrong++;
    printf("  again: model_test spec/cases 1 %llu\n",
           (unsigned long long)(seed + (uint64_t)i));
  }
  CHECK(wrong == 0);
  return test_summary("model");
}
