/*
** curl_torture.c - out of memory at each allocation of the library, jansson, libcurl and
** OpenSSL. Uses the libcurl driver and the sandbox.
**
**   curl_torture [STEP]   fails only each STEP-th allocation
**
** Each result is compared with what the sandbox holds: after a success the change must
** have happened, after an error that is no `outcome_unknown` it must not, and the next
** call must work.
*/
#include "failing.h"
#include "leat_curl.h"
#include "leat_sandbox.h"
#include "test.h"

enum {
  MAX_TEXT = 256,
  OPENSSL_STEP = 37 /* a handshake has thousands of allocations, none of them ours */
};

/* ---- scenarios ------------------------------------------------------------------- */

/* How the client authenticates. */
typedef enum login { KEY, FETCHED } login;

typedef struct scenario {
  const char *name, *operation; /* name NULL: a raw request */
  leat_kind kind;               /* with enough memory */
  leat_sandbox_fault faults[2];
  const char *value, *contact;
  login login;
  int max_attempts;
  bool tls;
} scenario;

#define FAULT(...)                                                                       \
  { .times = 1, __VA_ARGS__ }
#define LOST .close = LEAT_SANDBOX_CLOSE_BEFORE
#define CUT  .close = LEAT_SANDBOX_CLOSE_WITHIN

static const leat_header shown[] = {{{"X-One", 5}, {"1", 1}}};

static const scenario scenarios[] = {
    {.name = "find", .operation = "find", .value = "free"},
    {"find, none", "find", LEAT_NOT_FOUND, .value = "none"},
    {"find, refused",
     "find",
     LEAT_INVALID_INPUT,
     {FAULT(.kind = "invalid_input")},
     .value = "free"},
    {"find, lost, again", "find", LEAT_OK, {FAULT(LOST)}, .value = "anns"},
    {"find, cut", "find", LEAT_OK, {FAULT(CUT)}, .value = "anns"},
    {"find, failed, again", "find", LEAT_OK, {FAULT(.kind = "server")}, .value = "anns"},
    {"find, paused", "find", LEAT_OK, {FAULT(.kind = "rate_limited")}, .value = "anns"},
    {"find, lost, never again",
     "find",
     LEAT_CONNECTION,
     {FAULT(LOST)},
     .value = "anns",
     .max_attempts = 1},
    {"find, HTML", "find", LEAT_PROTOCOL, {FAULT(.kind = "protocol")}, .value = "anns"},
    {"create", "create", .value = "new", .contact = "ann"},
    {"create, there already", "create", LEAT_ALREADY_EXISTS, .value = "free"},
    {"create, lost, is there",
     "create",
     LEAT_OK,
     {FAULT(.operation = "create", LOST, .apply = true)},
     .value = "new",
     .contact = "ann"},
    {"create, lost, is not there",
     "create",
     LEAT_OK,
     {FAULT(.operation = "create", LOST)},
     .value = "new",
     .contact = "ann"},
    {"create, lost, another's",
     "create",
     LEAT_CONFLICT,
     {FAULT(.operation = "create", LOST)},
     .value = "anns",
     .contact = "bob"},
    {"create, lost, unknown",
     "create",
     LEAT_CONNECTION,
     {FAULT(.operation = "create", LOST, .apply = true)},
     .value = "new",
     .max_attempts = 1},
    {"create, lost, unfindable",
     "create",
     LEAT_CONNECTION,
     {FAULT(.operation = "create", LOST, .apply = true),
      {.operation = "find", .kind = "forbidden", .times = LEAT_SANDBOX_ALWAYS}},
     .value = "new"},
    {"link", "link", .value = "free", .contact = "ann"},
    {"link, lost, is there",
     "link",
     LEAT_OK,
     {FAULT(.operation = "link", CUT, .apply = true)},
     .value = "free",
     .contact = "ann"},
    {"link, lost, is not there",
     "link",
     LEAT_OK,
     {FAULT(.operation = "link", .status = 504)},
     .value = "free",
     .contact = "ann"},
    {"link, another's", "link", LEAT_ALREADY_LINKED, .value = "anns", .contact = "bob"},
    {"unlink", "unlink", .value = "anns"},
    {"unlink, lost",
     "unlink",
     LEAT_OK,
     {FAULT(.operation = "unlink", LOST, .apply = true)},
     .value = "anns"},
    {"update", "update", .value = "free"},
    {"update, lost",
     "update",
     LEAT_OK,
     {FAULT(.operation = "update", LOST, .apply = true)},
     .value = "free"},
    {"delete", "delete", .value = "free"},
    {"delete, lost",
     "delete",
     LEAT_OK,
     {FAULT(.operation = "delete", LOST, .apply = true)},
     .value = "free"},
    {"list", "list", .contact = "ann"},
    {.name = "a request of no row"},
    {"a token, then a create", "create", .value = "new", .login = FETCHED},
    {"no token",
     "create",
     LEAT_UNAUTHORIZED,
     {FAULT(.operation = "token", .kind = "unauthorized")},
     .value = "new",
     .login = FETCHED},
    {"a token refused, a fetch cut, a create lost",
     "create",
     LEAT_OK,
     {FAULT(.operation = "token", LOST),
      FAULT(.operation = "create", LOST, .apply = true)},
     .value = "new",
     .login = FETCHED},
    {"by TLS", "find", .value = "anns", .tls = true},
    {"by TLS, a create lost",
     "create",
     LEAT_OK,
     {FAULT(.operation = "create", LOST, .apply = true)},
     .value = "new",
     .tls = true},
};

/* ---- setting up calls ------------------------------------------------------------ */

static leat_sandbox *start_sandbox(bool tls) {
  static const leat_sandbox_contact contacts[] = {{.uuid = "ann"}, {.uuid = "bob"}};
  static const leat_sandbox_card cards[] = {
      {.value = "free"}, {.value = "anns", .name = "gold", .contact_uuid = "ann"}};
  leat_sandbox_config config = {.contacts = contacts,
                                .contact_count = 2,
                                .cards = cards,
                                .card_count = 2,
                                .tls = tls};
  return leat_sandbox_new(&config, NULL);
}

typedef struct world {
  const scenario *scenario;
  leat_sandbox *sandbox;
  leat_client *client;
  leat_curl *curl;
} world;

typedef struct report { /* the result of a call, and what the sandbox holds */
  leat_error error;
  bool has_data;
  char state[MAX_TEXT];
  int changes, received; /* received: requests of the operation */
} report;

static void open_world(world *w, leat_error *error) {
  const scenario *s = w->scenario;
  leat_config config = {.base_url = leat_sandbox_url(w->sandbox),
                        .token_url = leat_sandbox_token_url(w->sandbox),
                        .headers = shown,
                        .header_count = 1,
                        .max_attempts = s->max_attempts};
  leat_curl_config connections = {.ca_file = leat_sandbox_ca_file(w->sandbox)};
  if (s->login == KEY) config.api_key = "sandbox";
  else config.client_id = "sandbox-client", config.client_secret = "sandbox-secret";
  w->client = leat_client_new(&config, error);
  if (w->client) w->curl = leat_curl_new(&connections, error);
}

static void close_world(world *w) {
  leat_curl_free(w->curl);
  leat_client_free(w->client);
  w->curl = NULL;
  w->client = NULL;
}

static leat_call *new_call(const world *w) {
  const scenario *s = w->scenario;
  leat_call *call;
  if (s->operation == NULL) {
    call = leat_call_new_request(w->client, "POST", "/contact-identifiers");
    leat_call_add_query(call, "a", leat_s("b"));
    leat_call_add_header(call, "X-Two", leat_s("2"));
    leat_call_set_body(call, leat_s("{\"contact_identifier_value\":\"new\"}"));
    return call;
  }
  call = leat_call_new(w->client, leat_operation("contact_identifiers", s->operation));
  if (s->value) leat_call_set(call, "contact_identifier_value", leat_s(s->value));
  if (s->contact) leat_call_set(call, "contact_uuid", leat_s(s->contact));
  if (strcmp(s->operation, "update") == 0) {
    leat_call_set(call, "contact_identifier_name", leat_s("silver"));
    leat_call_set_bool(call, "contact_identifier_active", false);
  }
  return call;
}

/* Makes a find with enough memory. Returns "", or what went wrong. */
static const char *play_find(const world *w) {
  static leat_error error;
  leat_call *call =
      leat_call_new(w->client, leat_operation("contact_identifiers", "find"));
  leat_call_set(call, "contact_identifier_value", leat_s("anns"));
  leat_curl_perform(w->curl, call);
  error = *leat_call_error(call);
  leat_call_free(call);
  return error.kind == LEAT_OK ? "" : error.message;
}

static void set_stage(const world *w) {
  leat_sandbox_reset(w->sandbox);
  for (size_t i = 0; i < 2; i++)
    if (w->scenario->faults[i].times)
      leat_sandbox_add_fault(w->sandbox, &w->scenario->faults[i], NULL);
}

static void describe(char *out, const leat_json *card) {
  leat_contact_identifier c;
  if (leat_json_contact_identifier(card, &c))
    snprintf(
        out, MAX_TEXT, "%s, %s, %s, %s", c.value.data, c.name.data ? c.name.data : "-",
        c.contact_uuid.data ? c.contact_uuid.data : "-", c.active ? "active" : "not");
  else snprintf(out, MAX_TEXT, "none");
}

static void look_around(const world *w, report *r) {
  const scenario *s = w->scenario;
  leat_sandbox_request request;
  const char *operation = s->operation ? s->operation : "create";
  describe(r->state,
           leat_sandbox_find_card(w->sandbox, leat_s(s->value ? s->value : "new")));
  r->changes = r->received = 0;
  for (size_t i = 0; leat_sandbox_request_at(w->sandbox, i, &request); i++) {
    r->changes += request.changed && strcmp(request.operation.data, "token") != 0;
    r->received += strcmp(request.operation.data, operation) == 0;
  }
}

/* Performs the call; all of it runs while memory is watched. */
static void play(world *w, report *r) {
  leat_call *call = w->curl ? new_call(w) : NULL;
  if (call) leat_curl_perform(w->curl, call);
  if (w->curl) r->error = *leat_call_error(call);
  r->has_data = leat_call_data(call) != NULL;
  leat_call_free(call);
}

/* ---- checking results ------------------------------------------------------------ */

typedef struct run {
  world world;
  report whole; /* with enough memory */
  char before[MAX_TEXT];
  source from;
  bool sticky, born; /* born: client and driver are also created under failure */
  long at;
  int port, descriptors; /* the sandbox's port; open descriptors at rest */
} run;

/* OpenSSL seldom reports that memory ran out. It calls a certificate malformed, or
** reports an internal error. */
static bool is_of_tls(const run *x, const leat_error *e) {
  return x->from == TLS && (e->kind == LEAT_TLS || e->kind == LEAT_CONFIG);
}

/* If libcurl has no memory to read an address, it reports that the host was not found, or
** that it could not start resolving it. */
static bool is_of_names(const leat_error *e) {
  return (e->kind == LEAT_CONNECTION && strstr(e->message, "resolve host: 127.0.0.1")) ||
         (e->kind == LEAT_LOCAL && strstr(e->message, "thread failed to start"));
}

/* Returns what is wrong with a report, or NULL. */
static const char *find_contradiction(const run *x, const report *r) {
  const leat_error *e = &r->error;
  bool unchanged = strcmp(r->state, x->before) == 0;
  bool as_whole = strcmp(r->state, x->whole.state) == 0;
  if (r->changes > 1 && r->changes > x->whole.changes) return "it happened twice";
  if (r->received > e->attempts) return "more was sent than is reported";
  if (e->kind == LEAT_OK) {
    if (x->whole.error.kind != LEAT_OK || !as_whole) return "it did not succeed";
    return r->has_data == x->whole.has_data ? NULL : "the data is not there";
  }
  if (r->received > 0 && e->attempts == 1 && e->sent != LEAT_SENT_MAYBE)
    return "it was sent";
  if (e->kind == x->whole.error.kind &&
      e->outcome_unknown == x->whole.error.outcome_unknown)
    return as_whole ? NULL : "it is not as the error says";
  if (!e->outcome_unknown && !unchanged) return "it happened, and it does not say so";
  if (e->kind == LEAT_NO_MEMORY || is_of_tls(x, e) || is_of_names(e)) return NULL;
  /* the kind of the lost response is kept when memory ran out during verification */
  return e->outcome_unknown && x->whole.error.attempts > 1 ? NULL : "another error";
}

static void check_report(const run *x, const report *r, const char *next) {
  const char *wrong = find_contradiction(x, r);
  bool good = CHECK(wrong == NULL);
  good = CHECK(strcmp(next, "") == 0) && good;
  if (good) return;
  printf("  %s%s%s, allocation %ld: %s, %s%s: %s; %s; then: %s\n",
         x->from == TLS ? "OpenSSL's, " : "", x->sticky ? "sticky" : "single",
         x->born ? ", from birth" : "", x->at, wrong ? wrong : "fine",
         leat_kind_name(r->error.kind), r->error.outcome_unknown ? ", unknown" : "",
         r->error.message, r->state, next);
}

static void check_blocks(const run *x, long before, const char *when) {
  if (!CHECK(memory.blocks[OURS] == before))
    printf("  %s%s, allocation %ld, %s: %ld blocks, before %ld\n",
           x->sticky ? "sticky" : "single", x->born ? ", from birth" : "", x->at, when,
           memory.blocks[OURS], before);
}

/* ---- failing each allocation ----------------------------------------------------- */

/* Performs the call that fails, and then one that does not. Returns true if an allocation
** failed. */
static bool fail_call(run *x) {
  report r = {.error = {.kind = LEAT_NO_MEMORY}};
  const char *next = "";
  set_stage(&x->world);
  watch_memory(x->from, x->at, x->sticky);
  if (x->born) open_world(&x->world, &r.error);
  play(&x->world, &r);
  bool failed = end_watch();
  look_around(&x->world, &r);
  leat_sandbox_clear_faults(x->world.sandbox);
  watch_memory(x->from, 0, false);
  if (x->world.curl) next = play_find(&x->world);
  end_watch();
  check_report(x, &r, next);
  return failed;
}

/* Sets up, performs the calls and frees everything. No memory or descriptor may be
** left. */
static bool fail_once(run *x) {
  leat_error error;
  long before = memory.blocks[OURS], steady = before;
  watch_memory(x->from, 0, false);
  if (!x->born) open_world(&x->world, &error);
  if (!x->born) CHECK_STR(play_find(&x->world), "");
  end_watch();
  if (!x->born) steady = memory.blocks[OURS];
  bool failed = fail_call(x);
  if (!x->born) check_blocks(x, steady, "after the next call");
  watch_memory(x->from, 0, false);
  close_world(&x->world);
  end_watch();
  check_blocks(x, before, "in the end");
  CHECK(has_descriptors(x->port, x->descriptors));
  return failed;
}

/* OpenSSL keeps some allocations forever, but only once. Growth on each repetition is a
** leak. */
static bool fail_at(run *x) {
  long before;
  int times = 0;
  bool failed;
  do {
    before = memory.blocks[TLS];
    failed = fail_once(x);
  } while (memory.blocks[TLS] > before && ++times < 4);
  if (!CHECK(times < 4))
    printf("  OpenSSL's blocks grow: %ld, allocation %ld\n", memory.blocks[TLS], x->at);
  return failed;
}

static void sweep(run *x, long step) {
  if (x->from == TLS) step *= OPENSSL_STEP;
  leat_sandbox_clear_faults(x->world.sandbox);
  for (x->at = 1 + (step - 1) / 2; fail_at(x); x->at += step)
    continue;
}

/* Runs it with enough memory, as the reference for all other runs. */
static void play_whole(run *x) {
  set_stage(&x->world);
  look_around(&x->world, &x->whole);
  memcpy(x->before, x->whole.state, MAX_TEXT);
  watch_memory(OURS, 0, false);
  open_world(&x->world, &x->whole.error);
  play(&x->world, &x->whole);
  end_watch();
  look_around(&x->world, &x->whole);
  watch_memory(OURS, 0, false);
  close_world(&x->world);
  end_watch();
  if (!CHECK(x->whole.error.kind == x->world.scenario->kind))
    printf("  %s: %s\n", leat_kind_name(x->whole.error.kind), x->whole.error.message);
}

static void sweep_all(const scenario *s, leat_sandbox *sandbox, int descriptors,
                      long step) {
  TEST(s->name);
  for (int way = 0; way < 4; way++)
    for (source from = OURS; from <= (s->tls ? TLS : OURS); from++) {
      run x = {.world = {s, sandbox, NULL, NULL}};
      play_whole(&x);
      x.port = port_of(leat_sandbox_url(sandbox));
      x.descriptors = descriptors;
      x.from = from;
      x.sticky = way & 1;
      x.born = way & 2;
      sweep(&x, step);
    }
}

int main(int argc, char **argv) {
  long step = argc > 1 ? atol(argv[1]) : 1;
  TEST("taking over");
  CHECK(take_over_memory());
  leat_sandbox *plain = start_sandbox(false), *tls = start_sandbox(true);
  int descriptors = count_descriptors(port_of(leat_sandbox_url(plain)));
  for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
    sweep_all(&scenarios[i], scenarios[i].tls ? tls : plain, descriptors,
              step > 0 ? step : 1);
  leat_sandbox_free(plain);
  leat_sandbox_free(tls);
  return test_summary("torture: curl");
}
