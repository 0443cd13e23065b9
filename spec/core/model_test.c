/*
** model_test.c - two clients change the same cards at once under random faults, and no
** report may contradict what the server did.
**
** The server is the sandbox without I/O, on a simulated clock: no socket, no waiting, and
** repeatable from a seed. A model of the service knows what the API documents, and
** nothing about the library or the sandbox. It predicts each response, and records the
** state of each card over time. docs/promises.md lists what a report may leave open.
**   model_test FOLDER [OPERATIONS [SEED]]
*/
#include "sandbox_internal.h"
#include "secrets.h"
#include "test.h"

#include <stdlib.h>

enum {
  CARDS = 2,
  CLIENTS = 2,
  CALLS = 5, /* per client, in one world */
  LONGEST_LATE_MS = 5000,
  LONGEST_LAG_MS = 3000,
  VERIFY_MS = 1000, /* between the two finds that prove that a change did not happen */
  MAX_VERSIONS = 512,
  MAX_LATE = 64
};

static bool tracing;

/* ---- the model of the service ---------------------------------------------------- */

typedef struct state { /* the state of a card */
  bool exists, active;
  char name, contact; /* 0: none */
} state;

typedef enum verb { FIND, CREATE, LINK, UNLINK, UPDATE, DELETE } verb;

static const char *const verbs[] = {"find",   "create", "link",
                                    "unlink", "update", "delete"};

typedef struct ask {
  verb verb;
  int card;
  char name, contact; /* 0: not given; the contact 'n' does not exist */
  int active;         /* -1: not given */
  char expect;        /* the contact that must own the card; '-': none; 0: any */
} ask;

static char value_of(const ask *a) {
  return (char)('x' + a->card);
}

/* Returns true if the API may refuse with this code. If several reasons apply, its choice
** is not documented. */
static bool is_reason(int code, const state *s, const ask *a) {
  switch (code) {
    case 60006: return a->verb == CREATE && s->exists;
    case 60003: return a->verb != CREATE && !s->exists;
    case 60004:
      return s->exists && !s->active &&
             (a->verb == FIND || a->verb == LINK || a->verb == UNLINK);
    case 60014: return a->verb == LINK && s->exists && s->contact;
    case 60011: return a->verb == UNLINK && s->exists && !s->contact;
    case 55031: return (a->verb == CREATE || a->verb == LINK) && a->contact == 'n';
    default: return false;
  }
}

static bool is_refused(const state *s, const ask *a) {
  static const int codes[] = {60006, 60003, 60004, 60014, 60011, 55031};
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (is_reason(codes[i], s, a)) return true;
  return false;
}

/* Returns the state after a request that is not refused. */
static state change(state s, const ask *a) {
  switch (a->verb) {
    case CREATE: return (state){true, true, a->name ? a->name : value_of(a), a->contact};
    case LINK: s.contact = a->contact; break;
    case UNLINK: s.contact = 0; break;
    case UPDATE:
      if (a->name) s.name = a->name;
      if (a->active >= 0) s.active = a->active;
      break;
    case DELETE: return (state){false, false, 0, 0};
    case FIND: break;
  }
  return s;
}

static bool is_same(const state *a, const state *b) {
  return a->exists == b->exists &&
         (!a->exists ||
          (a->active == b->active && a->name == b->name && a->contact == b->contact));
}

/* Returns true if the state is what the call requested. */
static bool is_as_desired(const state *s, const ask *a) {
  switch (a->verb) {
    case CREATE:
      return s->exists && s->contact == a->contact &&
             (a->name ? s->name == a->name : !s->name || s->name == value_of(a));
    case LINK: return s->exists && s->contact == a->contact;
    case UNLINK: return s->exists && !s->contact;
    case UPDATE:
      return s->exists && (!a->name || s->name == a->name) &&
             (a->active < 0 || s->active == a->active);
    case DELETE: return !s->exists;
    case FIND: break;
  }
  return s->exists && s->active;
}

static void show(const state *s, char value, char *text, size_t size) {
  char name[8] = "null", contact[40] = "null";
  if (s->name) snprintf(name, sizeof name, "\"%c\"", s->name);
  if (s->contact)
    snprintf(contact, sizeof contact, "{\"uuid\":\"%c\",\"email\":null}", s->contact);
  snprintf(text, size, "{\"name\":%s,\"value\":\"%c\",\"active\":%s,\"contact\":%s}",
           name, value, s->active ? "true" : "false", contact);
}

/* ---- the world ------------------------------------------------------------------- */

typedef struct version { /* the state of a card since at_ms */
  int card;
  int64_t at_ms;
  state is;
} version;

typedef struct job { /* a call, and what was recorded about it */
  ask asked;
  int64_t began_ms, ended_ms;
  int64_t oldest_ms; /* the oldest state that one of its finds saw */
  int exchanges;
  bool maybe;    /* a change was sent, and no response shows its outcome */
  bool verified; /* finds have since shown that it did not happen */
  int applied;   /* how often the server applied it */
  bool compared; /* since its last send, a find showed the expected contact */
  /* What its finds have shown since then, in order, and when they were sent. */
  int seen_count;
  state seen[2];
  int64_t seen_ms[2];
  leat_error error;
  leat_info info;
  bool has_card;
  state card; /* the returned or conflicting card */
} job;

typedef struct late { /* a change that is still on its way to the server */
  ask what;
  int job;
  int64_t due_ms;
} late;

typedef struct client {
  leat_client *client;
  leat_call *call;
  int job, jobs;     /* the current one; how many have begun */
  int64_t next_ms;   /* the time of its next event */
  bool waits;        /* for a response */
  bool idle;         /* until next_ms, or until an event of its client */
  exchange x;        /* the response, if `has_response` */
  bool has_response; /* otherwise, the exchange fails with: */
  leat_kind kind;
  leat_sent sent;
  ask sending;
} client;

typedef struct world {
  sandbox_api api;
  client clients[CLIENTS];
  job jobs[CLIENTS * CALLS];
  int job_count;
  version versions[MAX_VERSIONS];
  int version_count;
  state now[CARDS];
  late late[MAX_LATE];
  int late_count;
  int stale_left; /* how many finds still see the state `stale` */
  state stale[CARDS];
  int64_t stale_ms;
  leat_moment moment;
  bool wrong;
} world;

static void complain(world *w, const job *j, const char *what) {
  w->wrong = true;
  printf("  %s %c, job %d: %s\n", verbs[j->asked.verb], value_of(&j->asked),
         (int)(j - w->jobs), what);
}

static void put(world *w, int card, state is, int64_t at_ms) {
  w->now[card] = is;
  if (w->version_count < MAX_VERSIONS)
    w->versions[w->version_count++] = (version){card, at_ms, is};
  else w->wrong = !CHECK(false && "the record has room");
}

static void apply(world *w, const ask *a, int number, int64_t at_ms) {
  if (a->verb == FIND || is_refused(&w->now[a->card], a)) return;
  put(w, a->card, change(w->now[a->card], a), at_ms);
  w->jobs[number].applied++;
  if (tracing) printf("    %lld ms: job %d is applied\n", (long long)at_ms, number);
}

/* Applies the late changes that have arrived by then, in order. */
static void catch_up(world *w, int64_t now_ms) {
  for (;;) {
    int first = 0;
    for (int i = 1; i < w->late_count; i++)
      if (w->late[i].due_ms < w->late[first].due_ms) first = i;
    if (w->late_count == 0 || w->late[first].due_ms > now_ms) return;
    late l = w->late[first];
    w->late_count--;
    for (int i = first; i < w->late_count; i++)
      w->late[i] = w->late[i + 1];
    apply(w, &l.what, l.job, l.due_ms);
  }
}

static state state_at(const world *w, int card, int64_t at_ms) {
  state is = {false, false, 0, 0};
  for (int i = 0; i < w->version_count; i++)
    if (w->versions[i].card == card && (w->versions[i].at_ms <= at_ms || i < CARDS))
      is = w->versions[i].is;
  return is;
}

/* ---- faults ---------------------------------------------------------------------- */

typedef enum way { /* what happens to a change */
                   DONE,
                   NOT_DONE,
                   DONE_LATE
} way;

typedef struct plan { /* the plan of one exchange */
  leat_sandbox_fault fault;
  bool faulty;      /* `fault` is set */
  bool no_response; /* or none that shows the outcome */
  way way;
} plan;

#define CARD_OF_ANOTHER "{\"data\":{\"value\":\"w\",\"active\":true}}"

/* Responses that leave the outcome open. With each, the change is done, not done, or done
** late. */
static const leat_sandbox_fault failures[] = {
    {.close = LEAT_SANDBOX_CLOSE_BEFORE},
    {.close = LEAT_SANDBOX_CLOSE_WITHIN, .status = 200},
    {.kind = "timeout"},
    {.status = 500},
    {.code = 1000},
    {.status = 502, .body = {"<html>Bad Gateway</html>", 24}},
    {.status = 503},
    {.kind = "maintenance"},
    {.kind = "maintenance", .retry_after_s = 1},
    {.status = 504},
    {.kind = "protocol"},
    {.status = 200, .body = {CARD_OF_ANOTHER, sizeof CARD_OF_ANOTHER - 1}},
};

static plan random_plan(const world *w, const ask *a) {
  plan p = {.way = DONE};
  int kind = test_draw(20);
  bool works = a->verb != FIND && !is_refused(&w->now[a->card], a);
  if (a->verb == FIND && w->stale_left > 0) return p;
  if (kind < 8) {
    p.fault = failures[test_draw(sizeof failures / sizeof failures[0])];
    p.faulty = p.no_response = true;
    p.way = (way)test_draw(3);
    p.fault.apply = p.way == DONE;
    if (p.way == DONE_LATE) p.fault.apply_after_ms = 1 + test_draw(LONGEST_LATE_MS);
  } else if (kind == 8) {
    p.fault = (leat_sandbox_fault){.kind = "rate_limited",
                                   .retry_after_s = test_draw(8) ? test_draw(3) : 100};
    p.faulty = true;
    p.way = NOT_DONE;
  } else if (kind == 9 && works) { /* empty: the service sends it only after a success */
    p.fault = (leat_sandbox_fault){.status = 200, .body = {"", 0}, .apply = true};
    p.faulty = p.no_response = true;
  } else if (kind == 10 && a->verb == FIND) {
    p.fault = (leat_sandbox_fault){.lag_ms = 1 + test_draw(LONGEST_LAG_MS)};
    p.faulty = true;
  }
  return p;
}

static void add_fault(world *w, const leat_sandbox_fault *fault) {
  leat_error error;
  if (!leat__sandbox_add_fault(&w->api, fault, &error))
    w->wrong = !CHECK(false && "the fault is one");
}

/* From now on the next finds see the present state. */
static void become_stale(world *w) {
  if (w->stale_left > 0 || test_draw(16)) return;
  w->stale_left = 1 + test_draw(3);
  w->stale_ms = w->moment.monotonic_ms;
  for (int i = 0; i < CARDS; i++)
    w->stale[i] = w->now[i];
  add_fault(w, &(leat_sandbox_fault){
                   .operation = "find", .times = w->stale_left, .stale = true});
}

/* ---- exchanges ------------------------------------------------------------------- */

static bool holds(leat_string text, const char *piece) {
  return leat__sandbox_search(text, leat_s(piece)) != NULL;
}

/* Reads the parameters from the request, as the API does. */
static ask read_request(const leat_request *r) {
  ask a = {FIND, 0, 0, 0, -1, 0};
  if (r->method.data[0] == 'D') a.verb = DELETE;
  else if (r->method.data[1] == 'O') a.verb = CREATE;
  else if (holds(r->target, "/unlink")) a.verb = UNLINK;
  else if (holds(r->target, "/link")) a.verb = LINK;
  else if (r->method.data[0] == 'P') a.verb = UPDATE;
  a.card = holds(r->target, "value=y") || holds(r->body, "identifier_value\":\"y\"");
  for (const char *c = "abn"; *c; c++) {
    char name[] = "identifier_name\":\"?\"", contact[] = "contact_uuid\":\"?\"";
    name[sizeof name - 3] = contact[sizeof contact - 3] = *c;
    if (holds(r->body, name)) a.name = *c;
    if (holds(r->body, contact)) a.contact = *c;
  }
  if (holds(r->body, "active\":true")) a.active = 1;
  if (holds(r->body, "active\":false")) a.active = 0;
  return a;
}

/* Returns true if a find with this state shows that the change did not happen. */
static bool is_undone(const state *s, const ask *a) {
  switch (a->verb) {
    case CREATE: return !s->exists;
    case LINK: return s->exists && s->active && !s->contact;
    case UNLINK: return s->exists && s->active && s->contact;
    case DELETE: return s->exists;
    default: return true;
  }
}

/* A change must not be retried unless two finds, a second apart, showed that it did not
** happen; before an unlink is retried, both must show the same contact. Updates are
** idempotent, and may always be retried. */
static void check_repetition(world *w, const job *j) {
  const state *first = &j->seen[0], *second = &j->seen[1];
  if (j->asked.verb == UPDATE || !j->maybe || j->verified) return;
  if (j->seen_count < 2 || j->seen_ms[1] - j->seen_ms[0] < VERIFY_MS)
    complain(w, j, "it is sent again without two finds, a second apart");
  else if (!is_undone(first, &j->asked) || !is_undone(second, &j->asked) ||
           (j->asked.verb == UNLINK && first->contact != second->contact))
    complain(w, j, "it is sent again although it may have happened");
}

static void check_sending(world *w, job *j, const ask *a) {
  const ask *asked = &j->asked;
  if (a->card != asked->card) complain(w, j, "it is about another card");
  if (a->verb == FIND) return;
  if (a->verb != asked->verb || a->name != asked->name || a->contact != asked->contact ||
      a->active != asked->active)
    complain(w, j, "something else is sent than asked");
  check_repetition(w, j);
  j->verified = true;
  if (asked->expect && !j->compared)
    complain(w, j, "it is sent although no find has shown the owner");
  j->compared = false;
}

static bool is_owner(char expect, const state *s) {
  return s->exists && s->active && s->contact == (expect == '-' ? 0 : expect);
}

/* Records that a change was sent with an unknown outcome. */
static void set_maybe_applied(job *j) {
  j->maybe = true;
  j->verified = false;
  j->seen_count = 0;
}

static void record_find(const world *w, job *j, state seen) {
  j->seen[0] = j->seen[1];
  j->seen_ms[0] = j->seen_ms[1];
  j->seen[1] = seen;
  j->seen_ms[1] = w->moment.monotonic_ms;
  j->seen_count++;
  j->compared = is_owner(j->asked.expect, &seen);
}

/* The model: predicts what the server does, and records it. Returns the state that a find
** sees. */
static state predict(world *w, job *j, const ask *a, const plan *p) {
  int64_t now = w->moment.monotonic_ms, seen_ms = now;
  state seen = w->now[a->card];
  if (a->verb == FIND && w->stale_left > 0) {
    w->stale_left--;
    seen = w->stale[a->card];
    seen_ms = w->stale_ms;
  } else if (p->fault.lag_ms > 0) {
    seen_ms = now - p->fault.lag_ms;
    seen = state_at(w, a->card, seen_ms);
  }
  if (seen_ms < j->oldest_ms) j->oldest_ms = seen_ms;
  if (p->way == DONE) apply(w, a, (int)(j - w->jobs), now);
  else if (p->way == DONE_LATE && a->verb != FIND && !is_refused(&seen, a)) {
    if (w->late_count < MAX_LATE)
      w->late[w->late_count++] =
          (late){*a, (int)(j - w->jobs), now + p->fault.apply_after_ms};
    else w->wrong = !CHECK(false && "there is room for what is late");
  }
  return seen;
}

/* Compares the response with the model's, unless a fault replaced it. */
static void check_response(world *w, const job *j, const ask *a, const exchange *x,
                           state seen) {
  char card[160], body[200];
  leat_string text = {x->text.data, x->text.length};
  show(a->verb == FIND ? &seen : &w->now[a->card], value_of(a), card, sizeof card);
  snprintf(body, sizeof body, "{\"data\":%s,\"meta\":[]}",
           a->verb == DELETE ? "null" : card);
  if (x->status == 200 ? !leat__equal(text, leat_s(body)) : x->status != 400) {
    complain(w, j, "the sandbox responds with what it should not");
    printf("    %d %.*s\n", x->status, (int)text.length, text.data);
  }
}

static int code_in(leat_string text) {
  const char *code = leat__sandbox_search(text, leat_s("\"code\":"));
  return code ? atoi(code + 7) : 0;
}

/* Compares the cards that the sandbox holds with the model's. */
static void check_cards(world *w, const job *j) {
  for (int i = 0; i < CARDS; i++) {
    char value[2] = {(char)('x' + i)}, card[160];
    leat_buffer text;
    leat__buffer_init(&text, 1024);
    const json_t *there = json_object_get(w->api.cards, value);
    show(&w->now[i], value[0], card, sizeof card);
    if (there) leat__sandbox_write(there, &text);
    if ((there != NULL) != w->now[i].exists ||
        (there && !leat__equal((leat_string){text.data, text.length}, leat_s(card))))
      complain(w, j, "the sandbox does not hold what it should");
    leat__buffer_free(&text);
  }
}

/* Lets the sandbox respond. The client holds the response until it is due. */
static void serve(world *w, client *c, const leat_request *r, const ask *a, plan *p) {
  char target[256];
  job *j = &w->jobs[c->job];
  snprintf(target, sizeof target, "%.*s", (int)r->target.length, r->target.data);
  c->x = (exchange){.method = r->method,
                    .target = leat_s(target),
                    .body = r->body,
                    .headers = r->headers,
                    .header_count = r->header_count,
                    .now = w->moment};
  bool was_refused = is_refused(&w->now[a->card], a);
  if (p->faulty) add_fault(w, &p->fault);
  if (!leat__sandbox_process(&w->api, &c->x)) w->wrong = !CHECK(false && "memory");
  state seen = predict(w, j, a, p);
  if (!p->faulty || p->fault.lag_ms > 0) {
    int code = code_in((leat_string){c->x.text.data, c->x.text.length});
    bool refused = a->verb == FIND ? is_refused(&seen, a) : was_refused;
    check_response(w, j, a, &c->x, seen);
    if (refused != (code != 0)) complain(w, j, "the sandbox refuses without a reason");
  }
  check_cards(w, j);
  c->has_response = !c->x.close && c->x.delay_ms >= 0;
  c->kind = c->x.close ? LEAT_CONNECTION : LEAT_TIMEOUT;
  c->sent = LEAT_SENT_MAYBE;
  if (a->verb != FIND && p->no_response) set_maybe_applied(j);
  if (a->verb == FIND && !p->no_response && c->x.status != 429) record_find(w, j, seen);
}

/* Performs one exchange: the server receives the request at once or never; the client
** receives the response later. */
static void send_request(world *w, client *c) {
  const leat_request *r = leat_call_request(c->call);
  job *j = &w->jobs[c->job];
  ask a = read_request(r);
  int delivery = test_draw(24);
  leat__sandbox_apply_due(&w->api, w->moment);
  catch_up(w, w->moment.monotonic_ms);
  become_stale(w);
  plan p = random_plan(w, &a);
  check_sending(w, j, &a);
  j->exchanges++;
  c->sending = a;
  c->waits = true;
  c->has_response = false;
  c->kind = LEAT_CONNECTION;
  c->sent = delivery == 0 ? LEAT_SENT_NO : LEAT_SENT_MAYBE;
  if (delivery > 1) serve(w, c, r, &a, &p);
  else if (delivery == 1 && a.verb != FIND) set_maybe_applied(j); /* it never arrives */
  bool times_out =
      !c->has_response && c->sent && (c->kind == LEAT_TIMEOUT || test_draw(2));
  if (times_out) c->kind = LEAT_TIMEOUT;
  c->next_ms = times_out ? r->deadline_ms : w->moment.monotonic_ms + test_draw(60);
  if (tracing)
    printf("    %lld ms: job %d sends %s %c: fate %d, %s%s, way %d: %s %d\n",
           (long long)w->moment.monotonic_ms, c->job, verbs[a.verb], value_of(&a),
           delivery, p.faulty ? "fault " : "no fault", p.fault.kind ? p.fault.kind : "",
           p.way, c->has_response ? "responded" : "no response",
           c->has_response ? c->x.status : 0);
}

static void deliver(world *w, client *c) {
  leat_header headers[16];
  leat_response response = {
      c->x.status, headers, 0, {c->x.text.data, c->x.text.length}, LEAT_LENGTH};
  c->waits = false;
  if (!c->has_response) {
    leat_call_fail(c->call, w->moment, c->kind, c->sent, "lost");
    leat__sandbox_response_free(&c->x);
    c->x = (exchange){0};
    return;
  }
  const char *at = c->x.head.data, *end = at + c->x.head.length;
  while (at < end && response.header_count < 16) {
    leat_string name = leat_s(at), value = leat_s(at + name.length + 1);
    headers[response.header_count++] = (leat_header){name, value};
    at = value.data + value.length + 1;
  }
  leat_call_respond(c->call, w->moment, &response);
  leat__sandbox_response_free(&c->x);
  c->x = (exchange){0};
}

/* ---- calls ----------------------------------------------------------------------- */

static ask random_ask(void) {
  ask a = {(verb)test_draw(6), test_draw(4) == 0, 0, 0, -1, 0};
  if (a.verb == CREATE || a.verb == UPDATE) a.name = "\0ab"[test_draw(3)];
  if (a.verb == CREATE) a.contact = "\0aabbn"[test_draw(6)];
  if (a.verb == LINK) a.contact = "aaabbbn"[test_draw(7)];
  if (a.verb == UPDATE) a.active = a.name ? test_draw(3) - 1 : test_draw(2);
  if (a.verb == UNLINK || a.verb == UPDATE || a.verb == DELETE)
    a.expect = "\0\0\0ab-"[test_draw(6)];
  return a;
}

static void make_call(client *c, ask a) {
  char text[4][2] = {{value_of(&a)}, {a.name}, {a.contact}, {a.expect}};
  c->call =
      leat_call_new(c->client, leat_operation("contact_identifiers", verbs[a.verb]));
  leat_call_set(c->call, "contact_identifier_value", leat_s(text[0]));
  if (a.name) leat_call_set(c->call, "contact_identifier_name", leat_s(text[1]));
  if (a.contact) leat_call_set(c->call, "contact_uuid", leat_s(text[2]));
  if (a.active >= 0) leat_call_set_bool(c->call, "contact_identifier_active", a.active);
  if (a.expect)
    leat_call_expect(c->call, a.expect == '-' ? (leat_string){NULL, 0} : leat_s(text[3]));
  leat_call_set_max_attempts(c->call, 1 + test_draw(4));
}

/* The process dies, and another one, which does not know what became of the change, makes
** the same call again. */
static void begin_again(world *w, client *c) {
  job *j = &w->jobs[c->job];
  if (c->waits) leat__sandbox_response_free(&c->x);
  c->x = (exchange){0};
  c->waits = false;
  leat_call_free(c->call);
  make_call(c, j->asked);
  leat_call_set_maybe_applied(c->call);
  set_maybe_applied(j);
  j->compared = false;
  j->exchanges = 0;
  if (tracing)
    printf("    %lld ms: job %d begins again\n", (long long)w->moment.monotonic_ms,
           c->job);
}

static void begin_job(world *w, client *c) {
  job *j = &w->jobs[c->job = w->job_count++];
  ask a = random_ask();
  *j = (job){.asked = a,
             .began_ms = w->moment.monotonic_ms,
             .oldest_ms = w->moment.monotonic_ms};
  c->jobs++;
  make_call(c, a);
  if (tracing)
    printf("    %lld ms: job %d begins: %s %c, name %c, contact %c, active %d\n",
           (long long)j->began_ms, c->job, verbs[a.verb], value_of(&a),
           a.name ? a.name : '-', a.contact ? a.contact : '-', a.active);
}

static void end_job(world *w, client *c) {
  job *j = &w->jobs[c->job];
  leat_contact_identifier card;
  j->ended_ms = w->moment.monotonic_ms;
  j->error = *leat_call_error(c->call);
  j->info = leat_call_info(c->call);
  j->has_card = leat_call_contact_identifier(c->call, &card) ||
                leat_call_conflicting(c->call, &card);
  if (j->has_card)
    j->card = (state){true, card.active == 1, card.name.data ? card.name.data[0] : '\0',
                      card.contact_uuid.data ? card.contact_uuid.data[0] : '\0'};
  if (tracing)
    printf("    %lld ms: job %d ends: %s%s%s %s\n", (long long)j->ended_ms, c->job,
           leat_kind_name(j->error.kind), j->error.outcome_unknown ? " unknown" : "",
           j->info.recovered ? " recovered" : "", j->error.message);
  leat_call_free(c->call);
  c->call = NULL;
}

/* Performs the next step of a client. */
static void advance(world *w, client *c) {
  if (c->call == NULL) begin_job(w, c);
  else if (w->jobs[c->job].asked.verb != FIND && test_draw(16) == 0) begin_again(w, c);
  else if (c->waits) deliver(w, c);
  c->idle = false;
  w->moment.random = test_seed;
  switch (leat_call_next(c->call, w->moment)) {
    case LEAT_SEND: send_request(w, c); break;
    case LEAT_DONE:
      end_job(w, c);
      c->next_ms = w->moment.monotonic_ms + test_draw(1500);
      break;
    default: c->idle = true; c->next_ms = leat_call_until(c->call);
  }
  if (c->next_ms < w->moment.monotonic_ms) c->next_ms = w->moment.monotonic_ms;
}

/* After an event of a client, runs its other waiting calls again. */
static void wake_others(world *w, const client *c) {
  for (client *other = w->clients; other < w->clients + CLIENTS; other++)
    if (other != c && other->idle && other->client == c->client)
      other->next_ms = w->moment.monotonic_ms;
}

/* ---- reports --------------------------------------------------------------------- */

/* Returns true if the card fulfilled the condition at a time that the call can have seen.
** If a find saw old data, that counts from their time on. */
typedef bool condition(const state *s, const job *j);

static bool was(const world *w, const job *j, condition *fits) {
  bool found = false;
  for (int i = 0; i < w->version_count && w->versions[i].at_ms <= j->ended_ms; i++) {
    if (w->versions[i].card != j->asked.card) continue;
    if (w->versions[i].at_ms < j->oldest_ms) found = false; /* replaced before that */
    found = found || fits(&w->versions[i].is, j);
  }
  return found;
}

static bool fits_desired(const state *s, const job *j) {
  return is_as_desired(s, &j->asked);
}

static bool fits_card(const state *s, const job *j) {
  return is_same(s, &j->card);
}

/* A call that expects an owner begins with a find, whose refusal counts too. */
static bool fits_code(const state *s, const job *j) {
  ask first = {FIND, j->asked.card, 0, 0, -1, 0};
  return is_reason(j->error.code, s, &j->asked) ||
         (j->asked.expect && is_reason(j->error.code, s, &first));
}

static bool fits_another(const state *s, const job *j) {
  return s->exists && !is_owner(j->asked.expect, s);
}

static void check_success(world *w, const job *j) {
  bool returns = j->asked.verb != DELETE && !(j->has_card && was(w, j, fits_card));
  if (returns) complain(w, j, "it returns a card that never was so");
  if (!was(w, j, fits_desired)) complain(w, j, "done, but it never was as asked");
  if (j->info.recovered) {
    if (!j->maybe) complain(w, j, "recovered, but nothing was lost");
  } else if (j->asked.verb != FIND && j->applied == 0) {
    complain(w, j, "done, but the server did not do it");
  }
}

/* If the outcome is unknown, the card must differ from what was requested. Otherwise the
** expected owner must differ. */
static void check_conflict(world *w, const job *j) {
  bool unknown = j->error.outcome_unknown;
  bool of_another = j->asked.expect && !is_owner(j->asked.expect, &j->card);
  if (j->has_card && !was(w, j, fits_card))
    complain(w, j, "a conflict with a card that never was so");
  if (j->has_card && unknown && is_as_desired(&j->card, &j->asked) && !of_another)
    complain(w, j, "a conflict with what was asked");
  if (!unknown && !(j->asked.expect && was(w, j, fits_another)))
    complain(w, j, "a conflict with nothing");
}

static void check_failure(world *w, const job *j) {
  const leat_error *error = &j->error;
  if (error->kind == LEAT_MISUSE) complain(w, j, "the call is misuse");
  if (error->kind == LEAT_CONFLICT) check_conflict(w, j);
  if (error->outcome_unknown) {
    if (j->asked.verb == FIND || !j->maybe)
      complain(w, j, "unknown, but nothing was lost");
    return;
  }
  if (j->applied > 0) complain(w, j, "failed, but the server did it");
  if (error->code && error->code != 1000 && !was(w, j, fits_code))
    complain(w, j, "there never was a reason for this code");
}

static void check_report(world *w, const job *j) {
  if (j->error.kind == LEAT_OK) check_success(w, j);
  else check_failure(w, j);
  if (j->info.attempts != j->exchanges)
    complain(w, j, "it reports more or fewer exchanges than there were");
}

/* ---- running --------------------------------------------------------------------- */

static bool open_world(world *w) {
  static const leat_sandbox_contact contacts[] = {{.uuid = "a"}, {.uuid = "b"}};
  leat_sandbox_card cards[CARDS];
  char text[CARDS][3][2];
  size_t count = 0;
  memset(w, 0, sizeof *w);
  w->moment = (leat_moment){LONGEST_LAG_MS + 1, 1700000000, test_seed};
  for (int i = 0; i < CARDS; i++) {
    state s = {test_draw(3) > 0, test_draw(5) > 0, "\0ab"[test_draw(3)],
               "\0ab"[test_draw(3)]};
    if (!s.exists) s = (state){false, false, 0, 0};
    put(w, i, s, 0);
    memcpy(text[i], (char[3][2]){{(char)('x' + i)}, {s.name}, {s.contact}}, 6);
    cards[count] = (leat_sandbox_card){text[i][0], s.name ? text[i][1] : NULL,
                                       s.contact ? text[i][2] : NULL, !s.active};
    count += s.exists;
  }
  leat_sandbox_config config = {.api_key = test_key(),
                                .contacts = contacts,
                                .contact_count = 2,
                                .cards = cards,
                                .card_count = count};
  leat_config settings = {.api_key = test_key()};
  bool shared = test_draw(3) == 0; /* both are calls of one client */
  for (int i = 0; i < CLIENTS; i++) {
    w->clients[i].client =
        shared && i > 0 ? w->clients[0].client : leat_client_new(&settings, NULL);
    w->clients[i].next_ms = w->moment.monotonic_ms + test_draw(200);
  }
  if (!leat__sandbox_open(&w->api, &config, NULL)) return false;
  for (size_t i = 0; i < count; i++) /* the API documents that a name may be null */
    if (cards[i].name == NULL)
      json_object_set_new(json_object_get(w->api.cards, cards[i].value), "name",
                          json_null());
  return true;
}

static client *next_client(world *w) {
  client *next = NULL;
  for (int i = 0; i < CLIENTS; i++) {
    client *c = &w->clients[i];
    if (c->call == NULL && c->jobs == CALLS) continue;
    if (next == NULL || c->next_ms < next->next_ms) next = c;
  }
  return next;
}

/* Returns true if no report contradicts the record. */
static bool run(uint64_t seed) {
  static world w;
  client *c;
  test_seed = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
  if (!CHECK(open_world(&w))) return false;
  while (!w.wrong && (c = next_client(&w)) != NULL) {
    w.moment.unix_s += (c->next_ms - w.moment.monotonic_ms) / 1000;
    w.moment.monotonic_ms = c->next_ms;
    bool waited = c->idle;
    advance(&w, c);
    if (!(waited && c->idle)) wake_others(&w, c);
  }
  catch_up(&w, INT64_MAX); /* late changes arrive */
  for (int i = 0; i < w.job_count && !w.wrong; i++)
    check_report(&w, &w.jobs[i]);
  for (int i = 0; i < CLIENTS; i++) {
    if (w.clients[i].waits) leat__sandbox_response_free(&w.clients[i].x);
    leat_call_free(w.clients[i].call);
    if (i == 0 || w.clients[i].client != w.clients[0].client)
      leat_client_free(w.clients[i].client);
  }
  leat__sandbox_close(&w.api);
  return !w.wrong;
}

int main(int argc, char **argv) {
  int operations = argc > 2 ? atoi(argv[2]) : 20000;
  uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 4711;
  int wrong = 0;
  TEST("no report contradicts the server");
  for (int i = 0; i < operations && wrong < 5; i += CLIENTS * CALLS, seed++) {
    if (run(seed)) continue;
    wrong++;
    printf("  again: model_test spec/cases 1 %llu\n", (unsigned long long)seed);
    tracing = true;
    run(seed);
    tracing = false;
  }
  CHECK(wrong == 0);
  return test_summary("model");
}
