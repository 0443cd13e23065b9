/*
** policy_test.c - the promises about retries, in every combination: each operation, each
** event that it can meet, each history before it, each result of a verifying find, and
** each number of attempts; for calls that begin as maybe_applied, too. It checks promises,
** and is no second copy of the policy; see the plays of retry_test.c for that. Uses a
** simulated clock and no socket.
**   policy_test FOLDER [messages]
*/
#include "calls.h"
#include "secrets.h"
#include "test.h"

enum {
  TIMEOUT_MS = 30000,
  FLOOR_MS = 50,
  CAP_MS = 1500, /* low enough to be reached in four attempts */
  LONGEST_MS = 60000,
  LONGEST_PAUSE_MS = 900000,
  MOST_ATTEMPTS = 4,
  MOST_FINDS = 5,
  MOST_STEPS = 200
};

/* Random bits for the longest delays: the largest remainder for each delay of the
** doubling backoff, which begins at half a second, capped or not. */
#define MOST_RANDOM (UINT64_C(501) * 1001 * 1501 * 2001 * 4001 - 1)

/* ---- events of an exchange ------------------------------------------------------- */

typedef enum effect { NOTHING, DONE, UNKNOWN } effect;

typedef struct event {
  leat_kind kind; /* without a response */
  leat_sent sent;
  int status; /* with a response; 0: without */
  char body[112];
  int code; /* the API's code; 0: none */
  const char *retry_after;
  int64_t asked_ms;  /* the same in ms; -1: none */
  effect effect;     /* on the service, as far as known */
  bool passes;       /* a retry may succeed */
  bool final;        /* no retry can succeed */
  bool settles;      /* earlier attempts would have failed too: nothing was applied */
  bool shows_change; /* the code may mean that the change was already made */
} event;

static event events[200];
static int event_count;

static event *add_event(event e) {
  if (!e.retry_after) e.asked_ms = -1;
  if (e.status) e.sent = LEAT_SENT_MAYBE;
  events[event_count] = e;
  return &events[event_count++];
}

/* Responses may contain anything, even the token: $ stands for it. */
#define HTML     "<html>$</html>"
#define ENVELOPE "{\"message\":\"$\",\"errors\":{\"$\":[\"$\"]}}"

static void add_failures(void) {
  static const struct {
    leat_kind kind;
    bool passes, final;
  } kinds[] = {
      {LEAT_CONNECTION, true, false}, {LEAT_TIMEOUT, true, false},
      {LEAT_PROTOCOL, false, false},  {LEAT_TOO_LARGE, false, false},
      {LEAT_TLS, false, true},        {LEAT_CONFIG, false, true},
      {LEAT_CANCELED, false, true},   {LEAT_LOCAL, false, true},
      {LEAT_NO_MEMORY, false, true},  {LEAT_MISUSE, false, true},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    for (int sent = 0; sent < 2; sent++)
      add_event((event){.kind = kinds[i].kind,
                        .sent = sent ? LEAT_SENT_MAYBE : LEAT_SENT_NO,
                        .body = "no answer to $",
                        .effect = sent ? UNKNOWN : NOTHING,
                        .passes = kinds[i].passes,
                        .final = kinds[i].final});
}

static void add_statuses(void) {
  static const struct {
    int status;
    effect effect;
    bool passes, final, settles;
  } all[] = {
      {302, NOTHING, false, true, false},  {304, NOTHING, false, false, false},
      {400, NOTHING, false, true, true},   {401, NOTHING, false, true, false},
      {403, NOTHING, false, true, false},  {404, NOTHING, false, true, false},
      {405, NOTHING, false, true, false},  {408, UNKNOWN, true, false, false},
      {409, NOTHING, false, false, false}, {413, NOTHING, false, true, false},
      {422, NOTHING, false, true, true},   {425, NOTHING, false, false, false},
      {429, NOTHING, true, false, false},  {500, UNKNOWN, true, false, false},
      {502, UNKNOWN, true, false, false},  {503, UNKNOWN, true, false, false},
      {504, UNKNOWN, true, false, false},  {520, UNKNOWN, true, false, false},
      {599, UNKNOWN, true, false, false},  {999, UNKNOWN, true, false, false},
  };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    event e = {.status = all[i].status,
               .effect = all[i].effect,
               .passes = all[i].passes,
               .final = all[i].final};
    event page = e;
    if (e.status == 401 || e.status == 403) /* an intermediary's: it proves nothing */
      page.effect = UNKNOWN, page.final = false;
    strcpy(add_event(page)->body, HTML);
    e.settles = all[i].settles;
    strcpy(add_event(e)->body, ENVELOPE);
  }
  strcpy(add_event((event){.status = 200, .effect = UNKNOWN})->body, HTML);
  strcpy(add_event((event){.status = 200, .effect = UNKNOWN})->body, "{\"data\":");
}

static void add_codes(void) {
  static const int codes[] = {1003,  60003, 60004, 60006, 60011, 60014, 55031, 60000,
                              60005, 60016, 60013, 7002,  7011,  1053,  3000,  1000,
                              55007, 55012, 55016, 55017, 1010,  1013,  1048,  98765};
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
    int code = codes[i];
    bool shows_change = code == 60003 || code == 60006 || code == 60011 ||
                        code == 60014 || code == 60005 || code == 60013;
    event e = {.status = 400, .code = code, .shows_change = shows_change, .final = true};
    e.settles = code == 1003 || code == 55031;
    if (code == 1000) /* an internal error at an unknown point */
      e.effect = UNKNOWN, e.passes = true, e.final = false;
    event *added = add_event(e);
    snprintf(added->body, sizeof added->body, "{\"message\":\"$\",\"code\":%d}", code);
    e = *added; /* the same code with a status that proves nothing */
    e.status = 500;
    e.effect = UNKNOWN;
    e.settles = e.final = e.passes = false;
    add_event(e);
  }
}

static void add_waits(void) {
  static const struct {
    const char *text;
    int64_t ms;
  } forms[] = {
      {"0", 0},
      {"1", 1000},
      {"2", 2000},
      {"60", 60000},
      {"61", 61000},
      {"86400", 86400000},
      {"99999999999999999999", INT64_C(315360000000)},
      {"-1", -1},
      {"1.5", -1},
      {"soon", -1},
      {"", -1},
      {"Tue, 14 Nov 2023 22:13:25 GMT", 5000},
      {"Tuesday, 14-Nov-23 22:13:25 GMT", 5000},
      {"Tue Nov 14 22:13:25 2023", 5000},
      {"Tue, 14 Nov 2023 21:00:00 GMT", 0},
      {"Wed, 15 Nov 2023 22:13:20 GMT", 86400000},
  };
  static const int statuses[] = {429, 503, 500};
  for (size_t i = 0; i < sizeof forms / sizeof forms[0] * 3; i++)
    strcpy(add_event((event){.status = statuses[i % 3],
                             .retry_after = forms[i / 3].text,
                             .asked_ms = forms[i / 3].ms,
                             .effect = statuses[i % 3] == 429 ? NOTHING : UNKNOWN,
                             .passes = true})
               ->body,
           ENVELOPE);
}

static const event good = {
    .sent = LEAT_SENT_MAYBE, .status = 200, .asked_ms = -1, .effect = DONE};
static const event lost = {.kind = LEAT_CONNECTION,
                           .sent = LEAT_SENT_MAYBE,
                           .body = "lost",
                           .asked_ms = -1,
                           .effect = UNKNOWN,
                           .passes = true};
/* clang-format off */
static const event pasts[] = {
    {.kind = LEAT_CONNECTION, .sent = LEAT_SENT_NO, .body = "refused", .asked_ms = -1,
     .passes = true},
    {.kind = LEAT_CONNECTION, .sent = LEAT_SENT_MAYBE, .body = "lost", .asked_ms = -1,
     .effect = UNKNOWN, .passes = true},
    {.kind = LEAT_TIMEOUT, .sent = LEAT_SENT_MAYBE, .body = "lost", .asked_ms = -1,
     .effect = UNKNOWN, .passes = true},
    {.sent = LEAT_SENT_MAYBE, .status = 503, .body = HTML, .asked_ms = -1,
     .effect = UNKNOWN, .passes = true},
    {.sent = LEAT_SENT_MAYBE, .status = 429, .body = HTML, .asked_ms = -1,
     .passes = true},
    {.sent = LEAT_SENT_MAYBE, .status = 500, .body = HTML, .asked_ms = -1,
     .effect = UNKNOWN, .passes = true},
    {.sent = LEAT_SENT_MAYBE, .status = 200, .body = HTML, .asked_ms = -1,
     .effect = UNKNOWN},
};
/* clang-format on */
enum { PASTS = sizeof pasts / sizeof pasts[0] };

/* ---- operations, and the results of verifying finds ------------------------------ */

typedef enum view { AS_DESIRED, UNCHANGED, OTHER, INACTIVE, SILENT, VIEWS } view;

#define CARDS         "contact_identifiers"
#define CARD(contact) "{\"data\":{\"value\":\"1\",\"name\":null,\"contact\":" contact "}}"
#define FREE          CARD("null")
#define OF_ANN        CARD("{\"uuid\":\"ann\"}")
#define OF_BOB        CARD("{\"uuid\":\"bob\"}")
#define CODE(code)    "{\"message\":\"Oh.\",\"code\":" #code "}"
#define GONE          CODE(60003)
#define ASLEEP        CODE(60004)

typedef struct subject {
  const char *resource, *name; /* without a resource, `name` is the method of a request */
  const char *done;            /* a successful response */
  bool writes;
  bool again;               /* idempotent: retried without verifying */
  int reported;             /* the code that a repetition gets after a success */
  const char *shows[VIEWS]; /* none: it can't be verified */
} subject;

/* clang-format off */
static const subject subjects[] = {
    {CARDS, "find", FREE, false, true, 0, {0}},
    {CARDS, "create", FREE, true, false, 60006, {FREE, GONE, OF_BOB, ASLEEP}},
    {CARDS, "link", OF_ANN, true, false, 60014, {OF_ANN, FREE, OF_BOB, ASLEEP}},
    {CARDS, "unlink", FREE, true, false, 60011, {FREE, OF_ANN, GONE, ASLEEP}},
    {CARDS, "update", FREE, true, true, 0, {0}},
    {CARDS, "delete", "{\"data\":null}", true, false, 60003, {GONE, FREE, NULL, ASLEEP}},
    {CARDS, "list", "{\"data\":[]}", false, true, 0, {0}},
    {"client", "check", "{\"data\":{}}", false, true, 0, {0}},
    {NULL, "GET", "{\"data\":{}}", false, true, 0, {0}},
    {NULL, "POST", "{\"data\":{}}", true, false, 0, {0}},
};
/* clang-format on */
enum { SUBJECTS = sizeof subjects / sizeof subjects[0] };

static bool is_verified(const subject *s) {
  return s->shows[0] != NULL;
}

static leat_call *call_for(leat_client *client, const subject *s) {
  if (s->resource == NULL) return leat_call_new_request(client, s->name, "/contacts");
  return complete_call(leat_call_new(client, leat_operation(s->resource, s->name)), "1");
}

/* ---- plays, and what is observed ------------------------------------------------- */

typedef struct play {
  const subject *subject;
  const event *past[2], *event, *rest;
  int past_count, max_attempts;
  bool maybe_applied; /* the call begins so */
  view first;         /* what finds show before the first send */
  view view;          /* and after it */
} play;

typedef struct run {
  const play *play;
  leat_call *call;
  int exchanges, sends;
  int finds;            /* verifying finds since the event */
  int finds_since_send; /* since the last send */
  int64_t last_find_ms; /* when the last one got its response */
  int64_t begun, end;   /* the timeout's; Retry-After moves the end */
  const event *last;    /* the last event of the operation itself */
  bool ended_with_find;
  bool maybe_applied; /* a change may have been applied, and no response has shown it */
  bool left;          /* something may have been sent */
  bool over;          /* no request may follow */
  bool reported;      /* the event shows that an earlier attempt succeeded */
  bool had_time;      /* for another attempt after the event */
  bool kept;          /* all promises so far */
  const char *broken;
} run;

static void promise(run *r, bool holds, const char *what) {
  if (!holds && r->kept) r->broken = what;
  r->kept = r->kept && holds;
}

static const event *next_event(const run *r) {
  const play *p = r->play;
  int n = r->sends - 1;
  return n < p->past_count ? p->past[n] : n == p->past_count ? p->event : p->rest;
}

static bool throttles(const event *e) {
  return e->status == 429 || e->status == 503;
}

/* ---- exchanges ------------------------------------------------------------------- */

/* Returns the body with the token in place of each $. */
static const char *filled(const char *body) {
  static char text[512];
  size_t length = 0, key = strlen(test_key());
  for (; *body && length + key + 1 < sizeof text; body++) {
    if (*body == '$') memcpy(text + length, test_key(), key);
    else text[length] = *body;
    length += *body == '$' ? key : 1;
  }
  text[length] = '\0';
  return text;
}

static void happen(run *r, const event *e, const char *body) {
  int64_t last = leat_call_request(r->call)->deadline_ms;
  now.monotonic_ms += 20;
  if (e->kind == LEAT_TIMEOUT && e->sent == LEAT_SENT_MAYBE) now.monotonic_ms = last;
  if (e->status) respond(r->call, e->status, e->retry_after, filled(body));
  else leat_call_fail(r->call, now, e->kind, e->sent, filled(body));
}

/* Returns what a find shows now. */
static view view_of(const run *r) {
  return r->sends == 0 ? r->play->first : r->play->view;
}

static void verify(run *r) {
  const char *shown = r->play->subject->shows[view_of(r)];
  promise(r,
          view_of(r) == SILENT || r->finds_since_send == 0 ||
              now.monotonic_ms - r->last_find_ms >= 1000,
          "finds are a second apart");
  if (view_of(r) == SILENT) happen(r, &lost, "");
  else {
    now.monotonic_ms += 20;
    respond(r->call, strstr(shown, "code") ? 400 : 200, NULL, shown);
  }
  r->finds++;
  r->finds_since_send++;
  r->last_find_ms = now.monotonic_ms;
  r->ended_with_find = true;
}

static void record_event(run *r, const event *e) {
  const play *p = r->play;
  bool reported = e->shows_change && r->maybe_applied; /* about an earlier attempt */
  bool only_one = p->max_attempts == 1;
  r->over = e->effect == DONE || (e->final && !reported) || e->asked_ms > LONGEST_MS ||
            (only_one && (!reported || e->effect == UNKNOWN));
  if (e->effect == UNKNOWN && p->subject->writes) r->maybe_applied = true;
  if (e->sent == LEAT_SENT_MAYBE) r->left = true;
  r->last = e;
  r->ended_with_find = false;
  r->finds_since_send = 0;
  if (r->sends != p->past_count + 1) return;
  bool asks = e->asked_ms > CAP_MS && !throttles(e); /* longer than any backoff delay */
  r->had_time = r->end - now.monotonic_ms > (asks ? e->asked_ms : CAP_MS);
  r->reported =
      reported && e->code == p->subject->reported && !(only_one && e->effect == UNKNOWN);
  r->finds = 0;
}

static void send(run *r) {
  bool lost_now = r->last ? r->last->effect == UNKNOWN : r->maybe_applied;
  bool lost_change = is_verified(r->play->subject) && lost_now;
  r->sends++;
  promise(r, !lost_change || r->finds_since_send >= 2,
          "a lost change is verified twice before it is retried");
  const event *e = next_event(r);
  happen(r, e, e->effect == DONE ? r->play->subject->done : e->body);
  record_event(r, e);
}

static void exchange(run *r) {
  const subject *s = r->play->subject;
  const leat_request *request = leat_call_request(r->call);
  bool is_find = is_verified(s) && request->method.data[0] == 'G';
  if (r->exchanges++ == 0) {
    r->begun = now.monotonic_ms;
    r->end = now.monotonic_ms + TIMEOUT_MS;
  }
  promise(r, !r->over, "what is final is not repeated");
  promise(r, request->deadline_ms > now.monotonic_ms && request->deadline_ms <= r->end,
          "an exchange ends within the call's time");
  promise(r,
          !s->writes || !s->resource || is_find || r->play->max_attempts == 1 ||
              request->deadline_ms <= (now.monotonic_ms + r->end + 1) / 2,
          "a change leaves time to learn of it");
  is_find ? verify(r) : send(r);
}

static void wait(run *r) {
  int64_t delay = leat_call_until(r->call) - now.monotonic_ms;
  bool in_line = !r->ended_with_find && throttles(r->last);
  int64_t asked = r->ended_with_find ? -1 : r->last->asked_ms;
  promise(r, !r->over, "what is over does not wait");
  promise(r, delay >= FLOOR_MS, "a delay has a floor");
  promise(r, delay >= asked, "a delay is as long as the service asks");
  promise(r, delay <= (asked > CAP_MS ? asked : CAP_MS), "a delay has a cap");
  promise(r, delay <= LONGEST_MS, "a delay is never over a minute");
  if (in_line) r->end += delay;
  else promise(r, now.monotonic_ms + delay < r->end, "a delay ends within the time");
  now.monotonic_ms += delay;
}

/* ---- promises at the end --------------------------------------------------------- */

static bool prints; /* print all messages */

static void check_message(run *r, const char *message) {
  promise(r, !shows(message, test_key()), "no message has the token");
  if (prints && r->play->max_attempts <= 2) printf("  %s\n", message);
}

static void check_messages(run *r) {
  leat_field field;
  check_message(r, leat_call_error(r->call)->message);
  for (size_t i = 0; leat_call_field(r->call, i, &field); i++) {
    check_message(r, field.name.data);
    check_message(r, field.message.data);
  }
}

static void check_counts(run *r) {
  const leat_error *error = leat_call_error(r->call);
  int most = r->play->max_attempts;
  promise(r, now.monotonic_ms <= r->end, "a call ends in its time");
  promise(r, error->attempts == r->exchanges, "attempts are the exchanges begun");
  promise(r, r->sends <= most, "no more sends than attempts");
  int verified = r->play->maybe_applied ? most + 1 : most;
  promise(r, r->exchanges <= most + MOST_FINDS * verified, "finds are few");
  promise(r,
          most > 1 || r->exchanges == 1 ||
              (r->play->maybe_applied && is_verified(r->play->subject)),
          "one attempt is one exchange");
}

/* Returns true if the last response shows the outcome of the change. A verifying find
** does not show it: the change may have been applied, and then another one. */
static bool is_told(const run *r) {
  return !r->ended_with_find && r->last->settles;
}

static void check_outcome(run *r) {
  const leat_error *error = leat_call_error(r->call);
  bool failed = error->kind != LEAT_OK, recovered = leat_call_info(r->call).recovered;
  promise(r, !error->outcome_unknown || (failed && r->play->subject->writes),
          "only of a change that failed the outcome is unknown");
  promise(r, r->left || (!error->outcome_unknown && error->sent == LEAT_SENT_NO),
          "what never left is not unknown");
  promise(r, !failed || !r->maybe_applied || error->outcome_unknown || is_told(r),
          "what may have happened is no plain failure");
  promise(r, !recovered || (!failed && r->maybe_applied),
          "recovered is only what was lost");
  promise(r, failed || recovered || (!r->ended_with_find && r->last->effect == DONE),
          "the service reported the success");
  promise(r,
          !recovered ||
              (r->ended_with_find ? view_of(r) == AS_DESIRED : r->last->shows_change),
          "recovered is what was seen");
  bool concluded = error->kind == LEAT_CONFLICT || error->kind == LEAT_NOT_FOUND;
  promise(r, !concluded || !r->ended_with_find || r->finds_since_send >= 2,
          "no failure is concluded from a single find");
  promise(r, !failed || error->message[0], "a failure has a message");
  if (failed && !r->ended_with_find)
    promise(r, error->retry_after_ms == r->last->asked_ms, "Retry-After is reported");
}

/* Checks what the finds before the first send led to. */
static void check_start(run *r) {
  const play *p = r->play;
  leat_kind kind = leat_call_error(r->call)->kind;
  bool recovered = kind == LEAT_OK && leat_call_info(r->call).recovered;
  bool concluded = kind == LEAT_CONFLICT || kind == LEAT_NOT_FOUND;
  if (!is_verified(p->subject))
    promise(r, r->sends > 0, "what can't be verified is sent");
  else if (p->first == AS_DESIRED)
    promise(r, r->sends == 0 && recovered, "what was applied before is not sent");
  else if (p->first == UNCHANGED)
    promise(r, r->sends > 0, "what was not applied before is sent");
  else if (p->first == OTHER)
    promise(r, r->sends == 0 && concluded, "what was changed otherwise is not sent");
  else if (p->first == SILENT)
    promise(r, r->sends == 0 && kind == LEAT_CONNECTION, "what is not known is not sent");
}

/* Checks that the event had the required consequence. */
static void check_event(run *r) {
  const play *p = r->play;
  const event *e = p->event;
  bool nothing = e->effect == NOTHING;
  bool left = p->past_count + 1 < p->max_attempts;
  /* A change that may be another owner's loss is verified anew before each attempt. */
  bool found_otherwise = p->maybe_applied && r->finds > 0 && p->view != UNCHANGED;
  if (e->asked_ms > LONGEST_MS || !r->had_time) return;
  if (e->passes && left && (p->subject->again || nothing))
    promise(r, r->sends > p->past_count + 1 || found_otherwise,
            "what passes is sent again");
  if (is_verified(p->subject) && e->effect == UNKNOWN && !e->final && p->max_attempts > 1)
    promise(r, r->finds > 0 || leat_call_info(r->call).recovered,
            "an unknown outcome is verified");
  if (r->reported)
    promise(r, r->finds > 0 || leat_call_info(r->call).recovered,
            "what an earlier try did is no failure of this one");
}

static leat_kind find_another(run *r, leat_client *client) {
  leat_step step;
  leat_call *first = r->call;
  int64_t begun = now.monotonic_ms;
  r->call = call_for(client, &subjects[0]);
  while ((step = leat_call_next(r->call, now)) != LEAT_DONE)
    if (step == LEAT_SEND) respond(r->call, 200, NULL, FREE);
    else now.monotonic_ms = leat_call_until(r->call);
  leat_error error = *leat_call_error(r->call);
  promise(r, now.monotonic_ms - begun <= LONGEST_MS,
          "another call waits a minute at most");
  leat_call_free(r->call);
  r->call = first;
  if (error.kind != LEAT_RATE_LIMITED && error.kind != LEAT_MAINTENANCE)
    return error.kind;
  promise(r, error.sent == LEAT_SENT_NO && error.attempts == 0, "a pause sends nothing");
  promise(r, error.retry_after_ms > 0 && error.retry_after_ms <= LONGEST_PAUSE_MS,
          "a pause says how long it is");
  now.monotonic_ms += error.retry_after_ms;
  return error.kind;
}

/* Checks that the client works again once a pause is over. Until then calls fail at once
** only if the service asked for more than a minute, or if they have one attempt only. */
static void check_another(run *r, leat_client *client) {
  const event *e = r->last;
  bool refuses = throttles(e) && (e->asked_ms > LONGEST_MS || r->play->max_attempts == 1);
  leat_kind kind = find_another(r, client);
  promise(r, kind == LEAT_OK || refuses, "another call succeeds");
  promise(r, kind != LEAT_OK || !(throttles(e) && e->asked_ms > LONGEST_MS),
          "a long pause outlasts the call that was asked for it");
  if (kind != LEAT_OK)
    promise(r, find_another(r, client) == LEAT_OK, "another call succeeds after a pause");
}

/* ---- all combinations ------------------------------------------------------------ */

static long combinations, broken;

static void print_event(const char *when, const event *e) {
  if (e->status)
    printf("  %s %d %s%s%s\n", when, e->status, e->body,
           e->retry_after ? ", Retry-After: " : "", e->retry_after ? e->retry_after : "");
  else
    printf("  %s %s, sent: %s\n", when, leat_kind_name(e->kind),
           e->sent == LEAT_SENT_NO ? "no" : "maybe");
}

static void report(const run *r) {
  static const char *const views[] = {"as asked", "unchanged", "other", "inactive",
                                      "silent"};
  const play *p = r->play;
  const leat_error *error = leat_call_error(r->call);
  if (broken++ >= 5) return;
  printf("broken: %s: %s, of %d attempts, verifying finds: %s\n", r->broken,
         p->subject->name, p->max_attempts, views[p->view]);
  if (p->maybe_applied) printf("  maybe_applied, and found %s\n", views[p->first]);
  for (int i = 0; i < p->past_count; i++)
    print_event("before:", p->past[i]);
  print_event("event: ", p->event);
  print_event("then:  ", p->rest);
  printf("  %s%s after %d exchanges: %s\n", leat_kind_name(error->kind),
         error->outcome_unknown ? ", unknown" : "", r->exchanges, error->message);
}

static leat_client *client_for(int max_attempts) {
  static const uint64_t random_bits[] = {0, MOST_RANDOM, UINT64_C(0x9E3779B97F4A7C15)};
  leat_client *client = new_client((leat_config){
      .max_attempts = max_attempts, .timeout_ms = TIMEOUT_MS, .retry_cap_ms = CAP_MS});
  now.random = random_bits[combinations % 3];
  return client;
}

static void run_call(run *r) {
  leat_step step = LEAT_WAIT;
  for (int i = 0; i < MOST_STEPS && step != LEAT_DONE; i++) {
    step = leat_call_next(r->call, now);
    if (step == LEAT_SEND) exchange(r);
    if (step == LEAT_WAIT) wait(r);
  }
  promise(r, step == LEAT_DONE, "a call ends");
}

static run start(const play *p, leat_client *client) {
  run r = {.play = p, .call = call_for(client, p->subject), .kept = true};
  r.maybe_applied = r.left = p->maybe_applied && p->subject->writes;
  if (p->maybe_applied) leat_call_set_maybe_applied(r.call);
  return r;
}

/* Plays it. If the history ends the call before the event, there is nothing to check but
** how it began. */
static run check_play(const play *p) {
  leat_client *client = client_for(p->max_attempts);
  run r = start(p, client);
  run_call(&r);
  if (r.sends > p->past_count || r.sends == 0) {
    combinations++;
    check_counts(&r);
    check_outcome(&r);
    check_messages(&r);
  }
  if (p->maybe_applied) check_start(&r);
  if (r.sends > p->past_count) {
    check_event(&r);
    check_another(&r, client);
  }
  if (!r.kept) report(&r);
  FREE_ALL(client, r.call);
  return r;
}

/* Plays all events, with each result of a verifying find. If the play had no such find,
** the other results would make no difference. */
static void check_events(play p) {
  for (int i = 0; i < event_count; i++)
    for (int v = 0; v < VIEWS; v++) {
      if (v != SILENT && is_verified(p.subject) && !p.subject->shows[v]) continue;
      p.event = &events[i];
      p.view = (view)v;
      p.rest = &good;
      run r = check_play(&p);
      p.rest = &lost;
      if (r.sends > p.past_count + 1) r = check_play(&p);
      if (r.exchanges == r.sends) break;
    }
}

/* Plays with each result of the finds that come before the first send. */
static void check_starts(play p) {
  p.event = p.rest = &good;
  for (int v = 0; v < VIEWS; v++) {
    if (v != SILENT && !p.subject->shows[v]) continue;
    p.first = p.view = (view)v;
    check_play(&p);
  }
}

/* Plays with no event before, with one, and with two. */
static void check_subject(const subject *s, int max_attempts, bool maybe_applied) {
  play p = {.subject = s,
            .max_attempts = max_attempts,
            .maybe_applied = maybe_applied,
            .first = UNCHANGED};
  if (maybe_applied && is_verified(s)) check_starts(p);
  check_events(p);
  for (int i = 0; i < PASTS && max_attempts > 1; i++) {
    p.past[0] = &pasts[i];
    p.past_count = 1;
    check_events(p);
    for (int j = 0; j < PASTS && max_attempts > 2; j++) {
      p.past[1] = &pasts[j];
      p.past_count = 2;
      check_events(p);
    }
  }
}

static void test_every_combination(void) {
  TEST("every combination keeps every promise");
  for (int i = 0; i < SUBJECTS; i++)
    for (int most = 1; most <= MOST_ATTEMPTS; most++) {
      check_subject(&subjects[i], most, false);
      check_subject(&subjects[i], most, true);
    }
  printf("policy: %ld combinations\n", combinations);
  CHECK(broken == 0);
  CHECK(combinations > 100000);
}

/* Every operation of the library must be tested here. */
static void test_every_row(void) {
  const leat_op *op;
  TEST("every operation is here");
  for (size_t i = 0; (op = leat_operation_at(i)) != NULL; i++) {
    bool found = false;
    for (int j = 0; j < SUBJECTS && subjects[j].resource; j++)
      found = found || op == leat_operation(subjects[j].resource, subjects[j].name);
    CHECK(found);
  }
}

/* ---- jitter ---------------------------------------------------------------------- */

/* Returns the delay in ms after the event, with these random bits; -1: no retry. */
static int64_t first_delay(const subject *s, const event *e, uint64_t random) {
  leat_client *client = client_for(3);
  play p = {.subject = s, .event = e, .rest = &good, .max_attempts = 3};
  run r = start(&p, client);
  now.random = random;
  if (leat_call_next(r.call, now) == LEAT_SEND) exchange(&r);
  bool waits = leat_call_next(r.call, now) == LEAT_WAIT;
  int64_t delay = waits ? leat_call_until(r.call) - now.monotonic_ms : -1;
  FREE_ALL(client, r.call);
  return delay;
}

static void test_jitter(void) {
  int waits = 0, alike = 0;
  TEST("no two wait alike");
  for (int i = 0; i < SUBJECTS; i++)
    for (int j = 0; j < event_count; j++) {
      int64_t least = first_delay(&subjects[i], &events[j], 0);
      int64_t other = first_delay(&subjects[i], &events[j], 499);
      if (least < 0 || events[j].asked_ms > 0) continue;
      waits++;
      alike += least != FLOOR_MS || other != 499;
    }
  CHECK(waits > 100);
  CHECK(alike == 0);
}

/* ---- the retry budget ------------------------------------------------------------ */

static int sends_of(leat_client *client, const event *e) {
  play p = {.subject = &subjects[0], .event = e, .rest = e, .max_attempts = 3};
  run r = start(&p, client);
  run_call(&r);
  leat_call_free(r.call);
  return r.kept ? r.sends : -1;
}

/* Uses up the client's retry budget. Returns how many retries it allowed. */
static int use_up(leat_client *client) {
  int retries = 0;
  for (int i = 0; i < 1000; i++)
    retries += sends_of(client, &lost) - 1;
  return retries;
}

static void test_quota(void) {
  leat_client *client = client_for(3);
  TEST("retries are bounded, and earned");
  int full = use_up(client);
  CHECK(full == 20);
  CHECK(use_up(client) == 0);
  for (int i = 0; i < 10; i++)
    sends_of(client, &good);
  CHECK(use_up(client) == 2);
  for (int i = 0; i < 10000; i++)
    sends_of(client, &good);
  CHECK(use_up(client) == full);
  leat_client_free(client);
}

int main(int argc, char **argv) {
  prints = argc > 2 && strcmp(argv[2], "messages") == 0;
  add_failures();
  add_statuses();
  add_codes();
  add_waits();
  test_every_row();
  test_every_combination();
  test_jitter();
  test_quota();
  return test_summary("policy");
}
