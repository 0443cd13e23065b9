/*
** catalogue_test.c - the catalogue of bad servers, row by row: a find and a create, with
** the fault once and always. Each must report the true outcome in time, and send no more
** requests than the row says; the same client must work afterwards. The rows that need
** neither TLS nor a proxy are run a second time, with the driver in examples/driver.c.
** `-v` prints the list.
*/
#include "catalogue.h"
#include "curl_calls.h"
#include "descriptors.h"
#include "fork.h"
#include "names.h"

#define main driver_main
#include "../../examples/driver.c"
#undef main

#include <curl/curl.h>
#include <limits.h>
#include <pthread.h>

enum {
  AT_ONCE = 100,   /* trials in parallel; most only wait, */
  TLS_AT_ONCE = 8, /* but TLS handshakes need the CPU */
  GRACE_MS = 250,
  MOST_MS = 90000 /* for all trials together */
};

/* ---- trials ---------------------------------------------------------------------- */

typedef enum step_of { WARMING, CALLING, AFTERWARDS, OVER } step_of;

typedef struct trial {
  const row *row;
  mode mode;
  bad_case *at;
  step_of step;
  leat_client *client;
  leat_call *call;
  int64_t started, cpu_ms;
} trial;

static int failures[ROWS]; /* for each row */
/* A slow program has more time, and less to do at once: see test_slowness. */
static int slowness = 1;

static void check(const trial *t, bool good, const char *what) {
  const leat_error *e = leat_call_error(t->call);
  leat_info info = leat_call_info(t->call);
  if (test_check(good, what, __FILE__, __LINE__)) return;
  failures[t->row - rows]++;
  printf("  row %d, %s; %s: %s%s%s, %d attempts; seen: %d finds, %d creates%s; %s\n",
         t->row->number, t->row->title, mode_names[t->mode], leat_kind_name(e->kind),
         e->outcome_unknown ? ", unknown" : "", info.recovered ? ", recovered" : "",
         info.attempts, t->at->finds, t->at->creates, t->at->there ? ", there" : "",
         e->message);
}

/* Writes the URL of the row's service, depending on its route. */
static void write_url(const trial *t, char *url, size_t size) {
  int number = (int)(t->at - service.cases);
  switch (t->row->route) {
    case TLS_CUT:
    case NO_CA:
      snprintf(url, size, "https://127.0.0.1:%d/%d",
               port_of(t->row->route == NO_CA ? "good" : "cut"), number);
      break;
    case PROXY:
    case NAME: snprintf(url, size, "http://api.test:%d/%d", service.port, number); break;
    default:
      snprintf(url, size, "http%s://127.0.0.1:%d/%d", t->row->route == TLS ? "s" : "",
               t->at->port, number);
  }
}

static leat_client *client_for(const trial *t) {
  char url[128];
  write_url(t, url, sizeof url);
  leat_config config = {.api_key = "canary-of-the-catalogue",
                        .base_url = url,
                        .allow_http = true,
                        .timeout_ms = slowness * LONG_MS,
                        .retry_base_ms = 1,
                        .retry_cap_ms = 1};
  return leat_client_new(&config, NULL);
}

/* Returns the CPU time of the whole program in ms. Under valgrind it is most of the
** time. */
static int64_t cpu_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool runs_out(const trial *t) {
  return t->step == CALLING && t->row->expected == TIMES_OUT;
}

/* Without `curl` it only makes the call. */
static void start(leat_curl *curl, trial *t, const char *operation) {
  static char large[LARGE];
  t->call = leat_call_new(t->client, leat_operation("contact_identifiers", operation));
  bool is_large = t->step == CALLING && t->row->large;
  if (is_large) memset(large, 'x', sizeof large);
  leat_call_set(t->call, "contact_identifier_value",
                is_large ? (leat_string){large, sizeof large} : leat_s("1"));
  leat_call_set_user(t->call, t);
  if (runs_out(t)) leat_call_set_timeout_ms(t->call, SHORT_MS);
  if (t->step == CALLING && t->row->kind == LEAT_TIMEOUT)
    leat_call_set_connect_timeout_ms(t->call, CONNECT_MS * (is_always(t->mode) ? 1 : 3));
  t->started = test_now_ms();
  t->cpu_ms = cpu_ms();
  if (curl && !leat_curl_start(curl, t->call)) check(t, false, "a call is taken");
}

static void arm(const trial *t) {
  int times = is_always(t->mode) ? INT_MAX : 1;
  if (t->row->route == NAME) names_lost = times;
  else bad_arm(t->at, times);
}

static void start_trial(leat_curl *curl, trial *t) {
  t->step = CALLING;
  if (t->row->connection_state != SPOILT) arm(t);
  if (t->row->route == NO_FDS) descriptors_limit(descriptors_lowest_free());
  start(curl, t, creates(t->mode) ? "create" : "find");
}

static void begin(leat_curl *curl, trial *t) {
  t->client = client_for(t);
  if (t->row->connection_state == COLD) {
    start_trial(curl, t);
    return;
  }
  t->step = WARMING;
  if (t->row->connection_state == SPOILT) bad_arm(t->at, 1);
  start(curl, t, "find");
}

/* Waits until the server has closed the connection, which it does after its response. */
static void cool_down(const trial *t) {
  for (int i = 0; i < 2000 && t->row->connection_state == SPOILT && t->at->closed == 0;
       i++)
    usleep(1000);
  t->at->finds = 0;
}

/* ---- checking the outcome -------------------------------------------------------- */

static void check_counts(const trial *t) {
  const leat_error *e = leat_call_error(t->call);
  int attempts = leat_call_info(t->call).attempts;
  int finds = t->at->finds, made = t->at->creates;
  check(t, (creates(t->mode) ? made : finds) == expect_seen(t->row, t->mode),
        "it is sent as often as expected");
  check(t, creates(t->mode) || made == 0, "a find creates nothing");
  check(t, is_unseen(t->row) ? finds + made <= attempts : finds + made == attempts,
        "all that was sent is reported");
  if (t->mode == CREATE_LOST && expect(t->row, t->mode).sends == 2 &&
      t->row->expected >= LOST)
    check(t, finds == 2 && test_now_ms() - t->started >= 1000,
          "two finds, a second apart");
  if (t->row->connection_state == KEPT)
    check(t, t->at->connections <= attempts, "the connection was kept");
  if (is_unseen(t->row) && (t->row->expected == KNOWN || t->row->expected == AGAIN))
    check(t, e->kind == LEAT_OK || e->sent == LEAT_SENT_NO,
          "it says that nothing was sent");
}

/* Allows for the load of the machine, which delays everything. */
static void check_time(const trial *t) {
  int64_t most = (runs_out(t) ? SHORT_MS : slowness * LONG_MS) + GRACE_MS;
  int64_t load = service.late_ms + cpu_ms() - t->cpu_ms;
  check(t, test_now_ms() - t->started <= most + load, "it ends in time");
}

static void check_outcome(const trial *t) {
  const leat_error *e = leat_call_error(t->call);
  ending w = expect(t->row, t->mode);
  check(t, e->kind == w.kind, "its kind");
  check(t, leat_call_info(t->call).recovered == w.recovered, "whether it was recovered");
  check(t, e->outcome_unknown == w.unknown, "whether its outcome is unknown");
  check(t, e->kind == LEAT_OK || e->message[0], "it says what happened");
  check(t, strstr(e->message, "canary") == NULL, "no key in its message");
  check_time(t);
  if (creates(t->mode) && !e->outcome_unknown)
    check(t, t->at->there == (e->kind == LEAT_OK), "what it says is true");
}

static void heal(const trial *t) {
  names_lost = 0;
  if (t->row->route == NO_CA) CHECK(link(certs.ca_file, no_ca_file) == 0);
  if (t->row->route == NO_FDS) descriptors_limit(-1);
  bad_heal(t->at);
}

static void afterwards(leat_curl *curl, trial *t) {
  check_outcome(t);
  check_counts(t);
  heal(t);
  leat_call_free(t->call);
  t->step = AFTERWARDS;
  start(curl, t, "find");
}

static void end(trial *t) {
  const leat_error *error = leat_call_error(t->call);
  leat_kind works = t->at->there ? LEAT_OK : LEAT_NOT_FOUND;
  if (t->row->pauses) {
    works = t->row->kind;
    check(t, error->attempts == 0, "nothing is sent in a pause");
  }
  if (t->row->last) check(t, t->at->connections == 2, "the connection is not used again");
  check(t, error->kind == works, "the client works on");
  FREE_ALL(t->client, t->call);
  t->step = OVER;
}

static void advance(leat_curl *curl, trial *t) {
  switch (t->step) {
    case WARMING:
      cool_down(t);
      leat_call_free(t->call);
      start_trial(curl, t);
      break;
    case CALLING: afterwards(curl, t); break;
    case AFTERWARDS: end(t); break;
    case OVER: break;
  }
}

static void run(leat_curl *curl, trial *trials, size_t count, size_t at_once) {
  size_t next = 0, over = 0;
  int64_t deadline = test_now_ms() + slowness * MOST_MS;
  for (leat_call *call; over < count && test_now_ms() < deadline;) {
    for (; next < count && next - over < at_once; next++)
      begin(curl, &trials[next]);
    leat_curl_wait(curl, 100);
    while ((call = leat_curl_done(curl)) != NULL) {
      trial *t = leat_call_user(call);
      advance(curl, t);
      over += t->step == OVER;
    }
  }
  CHECK(over == count);
}

/* ---- rows with tests of their own ------------------------------------------------ */

/* Runs a trial that needs its own driver. */
static void run_alone(trial *t) {
  char url[64] = "";
  if (t->row->route == PROXY)
    snprintf(url, sizeof url, "http://127.0.0.1:%d", t->at->port);
  bool no_ca = t->row->route == NO_CA;
  if (no_ca) unlink(no_ca_file);
  leat_curl_config config = {.ca_file = no_ca ? no_ca_file : certs.ca_file, .proxy = url};
  leat_curl *curl = leat_curl_new(&config, NULL);
  run(curl, t, 1, 1);
  leat_curl_free(curl);
}

/* Checks that a pause depends only on the monotonic clock when the other clock jumps. */
static void check_clock(leat_client *client, const char *operation, int jump_s) {
  leat_call *call = card_call(client, operation);
  now = (leat_moment){1000, 1700000000, 0};
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  respond(call, 503, "2", NULL);
  CHECK(leat_call_next(call, now) == LEAT_WAIT && leat_call_until(call) == 3000);
  now.unix_s += jump_s;
  now.monotonic_ms = 2999;
  CHECK(leat_call_next(call, now) == LEAT_WAIT && leat_call_until(call) == 3000);
  now.monotonic_ms = 3000;
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  CHECK(leat_call_request(call)->deadline_ms > 3000);
  leat_call_free(call);
}

static void test_clock(void) {
  TEST("82: the clock jumps while a call waits");
  for (int i = 0; i < 4; i++) {
    leat_client *client = leat_client_new(&(leat_config){.api_key = "k-key"}, NULL);
    check_clock(client, i < 2 ? "find" : "create", i % 2 ? 36000 : -36000);
    leat_client_free(client);
  }
}

/* The child must not use the parent's connection, which stays open. */
static void test_fork(bad_case *at) {
  static const row plain = {83, "", FINE, LEAT_OK, .route = PLAIN};
  TEST("83: a fork between two calls");
  leat_client *client = client_for(&(trial){.row = &plain, .at = at});
  leat_curl *curl = leat_curl_new(NULL, NULL);
  CHECK(perform(curl, client, "find").kind == LEAT_NOT_FOUND);
  pid_t child = fork_quietly();
  if (child == 0) {
    bool fine = perform(curl, client, "create").kind == LEAT_OK;
    leat_curl_free(curl);
    fork_end(fine);
  }
  CHECK(fork_wait(child));
  CHECK(perform(curl, client, "find").kind == LEAT_OK);
  CHECK(perform(curl, client, "create").kind == LEAT_ALREADY_EXISTS);
  CHECK(at->connections == 2 && at->finds == 2 && at->creates == 2);
  leat_curl_free(curl);
  leat_client_free(client);
}

/* Runs the separate tests, whose failures count for their rows. */
static void test_separately(bad_case *spare) {
  for (int i = 0; i < ROWS; i++) {
    int before = test_failed;
    if (rows[i].route != SEPARATE) continue;
    if (rows[i].number == 82) test_clock();
    else if (rows[i].number == 83) test_fork(spare);
    else CHECK(rows[i].number == 0); /* the row has no test */
    failures[i] += test_failed - before;
  }
}

/* ---- running --------------------------------------------------------------------- */

static const char *const outcomes[] = {
    "a good response",
    "not applied, and reported so",
    "not applied, and retried",
    "outcome unknown: a create is verified",
    "outcome unknown: a find is retried, a create verified",
    "outcome unknown, in time: a create is verified"};

static void print_row(const row *r, bool failed) {
  bool fails = r->expected != FINE;
  printf("%3d  %-48s ", r->number, r->title);
  if (r->why) printf("not here: %s\n", r->why);
  else
    printf("%s  %s%s%s\n", failed ? "FAILED" : "pass",
           fails ? leat_kind_name(r->kind) : "", fails ? "; " : "",
           outcomes[r->expected]);
}

static void check_numbers(void) {
  TEST("no number of the catalogue is missing");
  for (int number = 1, i = 0; number <= CATALOGUE; number++) {
    CHECK(i < ROWS && rows[i].number == number);
    while (i < ROWS && rows[i].number == number)
      i++;
  }
}

/* Makes a trial of every row in each of its modes, and one additional case. */
static size_t make_trials(trial *trials, bad_case *cases) {
  static const bad_fault none = {.lag = 0};
  size_t n = 0;
  for (int i = 0; i < ROWS; i++)
    for (mode m = FIND_ONCE; m < MODES; m++) {
      if (!has_mode(&rows[i], m)) continue;
      trials[n] = (trial){.row = &rows[i], .mode = m, .at = &cases[n]};
      cases[n].fault = &rows[i].fault;
      cases[n].applies = m == CREATE_APPLIED || rows[i].expected == FINE;
      cases[n++].there = !creates(m);
    }
  cases[n].fault = &none;
  return n;
}

/* Moves the trials with routes in the range to the front, and returns their number. */
static size_t sort_out(trial *trials, size_t count, route from, route to) {
  size_t n = 0;
  for (size_t i = 0; i < count; i++) {
    route r = trials[i].row->route;
    if (r < from || r > to) continue;
    trial t = trials[n];
    trials[n++] = trials[i];
    trials[i] = t;
  }
  return n;
}

static void run_over_curl(trial *trials, size_t count) {
  leat_curl_config config = {.max_connections = 2 * AT_ONCE, .ca_file = certs.ca_file};
  leat_curl *curl = leat_curl_new(&config, NULL);
  TEST("the catalogue");
  for (size_t i = 0; i < count; i++)
    connect_gate(trials[i].row, trials[i].at);
  size_t plain = sort_out(trials, count, PLAIN, PLAIN);
  run(curl, trials, plain, (size_t)(AT_ONCE / (slowness * slowness)));
  size_t tls = sort_out(trials + plain, count - plain, TLS, TLS_CUT);
  run(curl, trials + plain, tls, (size_t)(TLS_AT_ONCE / slowness));
  CHECK(names_asked == 0); /* the target of a redirect is never resolved */
  leat_curl_free(curl);
  for (size_t i = plain + tls; i < count; i++)
    run_alone(&trials[i]);
  test_separately(&service.cases[count]);
}

/* Each case has its own gate, so that they need more than the usual 1024 descriptors. */
static void allow_descriptors(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- the driver of the example --------------------------------------------------- */

/* It blocks, so threads take the trials in turn. They hold the lock except while a call
** is made. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static trial *first_left, *trials_end;

static void run_with(driver *d, trial *t) {
  begin(NULL, t);
  while (t->step != OVER) {
    pthread_mutex_unlock(&lock);
    driver_perform(d, t->call);
    pthread_mutex_lock(&lock);
    advance(NULL, t);
  }
}

static void *run_in_thread(void *user) {
  driver d = {.fd = -1, .http = leat_http1_new()};
  pthread_mutex_lock(&lock);
  while (first_left < trials_end)
    run_with(&d, first_left++);
  pthread_mutex_unlock(&lock);
  close_connection(&d);
  leat_http1_free(d.http);
  return user;
}

static void run_over_sockets(trial *trials, size_t count) {
  pthread_t threads[AT_ONCE];
  int at_once = AT_ONCE / (slowness * slowness);
  first_left = trials;
  trials_end = trials + sort_out(trials, count, PLAIN, PLAIN);
  TEST("the catalogue, with the driver of the example");
  for (int i = 0; i < at_once; i++)
    CHECK(pthread_create(&threads[i], NULL, run_in_thread, NULL) == 0);
  for (int i = 0; i < at_once; i++)
    pthread_join(threads[i], NULL);
}

/* ---- both drivers ---------------------------------------------------------------- */

/* Opens the servers for all trials, and runs these with one of the drivers. */
static void run_catalogue(void (*run_trials)(trial *trials, size_t count)) {
  static trial trials[ROWS * MODES];
  static bad_case cases[ROWS * MODES + 1];
  memset(cases, 0, sizeof cases);
  size_t count = make_trials(trials, cases);
  TEST("what the tests need");
  if (!CHECK(open_catalogue(cases, count + 1))) return;
  run_trials(trials, count);
  close_catalogue();
}

int main(int argc, char **argv) {
  slowness = test_slowness();
  allow_descriptors();
  /* 8.14 with OpenSSL 3.5 does, 7.88 with 3.0 does not */
  sees_cut = curl_version_info(CURLVERSION_NOW)->version_num >= 0x080000;
  check_numbers();
  run_catalogue(run_over_curl);
  run_catalogue(run_over_sockets);
  bool shown = argc > 1 && strcmp(argv[argc - 1], "-v") == 0;
  for (int i = 0; i < ROWS && shown; i++)
    print_row(&rows[i], failures[i] > 0);
  return test_summary("catalogue");
}
