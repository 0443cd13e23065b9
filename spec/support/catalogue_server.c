/*
** catalogue_server.c - the catalogue of bad servers, for drivers that are not in C. It
** prints a Lua table: the control port, and all trials with their URLs and expected
** results. It then accepts a control connection, reads lines "VERB TRIAL", and responds
** to each with the current "FINDS CREATES THERE CONNECTIONS LATE_MS":
**
**   arm        the trial's fault occurs from now on
**   warmed     waits for the finds so far to end, and does not count them
**   heal       ends all faults
**   see
**
** It exits when that connection ends.
*/
#include "catalogue.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRIALS = 2 * ROWS * MODES };

typedef struct trial {
  const row *row;
  mode mode;
  bool over_tls;
} trial;

static trial trials[TRIALS];
static bad_case cases[TRIALS];
static size_t count;

/* ---- trials ---------------------------------------------------------------------- */

/* Returns why a row can't be used with a driver that connects through nginx; NULL: it
** can. */
static const char *why_not(const row *r) {
  switch (r->route) {
    case PROXY: return "there is no proxy";
    case NAME: return "nginx asks a name server of its own: see tls_nginx.lua";
    case NO_CA: return "nginx does not start without a file that nginx.conf names";
    case NO_FDS: return "connections are the worker's, by worker_connections";
    case SEPARATE:
      return "see waiting_nginx.lua: the clock, and clients made before workers";
    default: return r->why;
  }
}

static void add(const row *r, mode m, bool over_tls) {
  bad_case *c = &cases[count];
  c->fault = &r->fault;
  c->applies = m == CREATE_APPLIED || r->expected == FINE;
  c->there = !creates(m);
  trials[count++] = (trial){r, m, over_tls};
}

/* Adds a find and a create over TLS, where connections don't come through the gate. */
static void add_over_tls(const row *r) {
  static const mode modes[] = {FIND_ONCE, FIND_ALWAYS, CREATE_APPLIED, CREATE_LOST,
                               CREATE_ALWAYS};
  bool added[2] = {false, false};
  if (r->route != PLAIN || is_unseen(r)) return;
  for (int i = 0; i < 5; i++) {
    if (!has_mode(r, modes[i]) || added[creates(modes[i])]) continue;
    added[creates(modes[i])] = true;
    add(r, modes[i], true);
  }
}

static void make_trials(void) {
  for (const row *r = rows; r < rows + ROWS; r++) {
    if (why_not(r)) continue;
    for (mode m = FIND_ONCE; m < MODES; m++)
      if (has_mode(r, m)) add(r, m, false);
    add_over_tls(r);
  }
}

/* ---- output ---------------------------------------------------------------------- */

static void print_flag(const char *name, bool is) {
  if (is) printf(", %s = true", name);
}

static int connect_ms(const trial *t) {
  if (t->row->kind != LEAT_TIMEOUT) return 5000;
  return CONNECT_MS * (is_always(t->mode) ? 1 : 3);
}

static void print_url(const trial *t, int number) {
  const row *r = t->row;
  int port = cases[number].port;
  if (t->over_tls) port = port_of("good");
  if (r->route == TLS_CUT) port = port_of("cut");
  printf("url = \"http%s:%d/%d\"",
         t->over_tls || r->route != PLAIN ? "s://other.test" : "://127.0.0.1", port,
         number);
}

static void print_trial(const trial *t, int number) {
  const row *r = t->row;
  ending w = expect(r, t->mode);
  printf("{ ");
  print_url(t, number);
  printf(", row = %d, title = \"%s\", mode = \"%s\", kind = \"%s\", sends = %d, "
         "attempts = %d, timeout = %d, connect_timeout = %d",
         r->number, r->title, mode_names[t->mode], leat_kind_name(w.kind),
         expect_seen(r, t->mode), w.sends, r->expected == TIMES_OUT ? SHORT_MS : LONG_MS,
         connect_ms(t));
  print_flag("over_tls", t->over_tls || r->route != PLAIN);
  print_flag("creates", creates(t->mode));
  print_flag("recovered", w.recovered);
  print_flag("unknown", w.unknown);
  print_flag("unseen", is_unseen(r));
  print_flag("never_left",
             is_unseen(r) && (r->expected == KNOWN || r->expected == AGAIN));
  print_flag("warm", r->connection_state != COLD);
  print_flag("kept", r->connection_state == KEPT);
  print_flag("spoilt", r->connection_state == SPOILT);
  print_flag("large", r->large);
  print_flag("last", r->last);
  print_flag("pauses", r->pauses);
  printf(" },\n");
}

static void print_all(int port) {
  printf("return { port = %d, ca_file = \"%s\", policy_file = \"%s\", trials = {\n", port,
         certs.ca_file, certs.policy_file);
  for (size_t i = 0; i < count; i++)
    print_trial(&trials[i], (int)i);
  printf("}, skipped = {\n");
  for (const row *r = rows; r < rows + ROWS; r++)
    if (why_not(r))
      printf("{ row = %d, title = \"%s\", why = \"%s\" },\n", r->number, r->title,
             why_not(r));
  printf("} }\n");
  fclose(stdout);
}

/* ---- commands -------------------------------------------------------------------- */

static void run_command(const char *verb, size_t number, FILE *responses) {
  bad_case *c = &cases[number];
  const row *r = trials[number].row;
  if (strcmp(verb, "arm") == 0)
    bad_arm(c, trials[number].row->connection_state == SPOILT ||
                       !is_always(trials[number].mode)
                   ? 1
                   : INT_MAX);
  if (strcmp(verb, "heal") == 0) bad_heal(c);
  if (strcmp(verb, "warmed") == 0) {
    for (int i = 0; i < 2000 && r->connection_state == SPOILT && c->closed == 0; i++)
      usleep(1000);
    c->finds = 0;
  }
  fprintf(responses, "%d %d %d %d %d\n", c->finds, c->creates, c->there, c->connections,
          service.late_ms);
  fflush(responses);
}

static void serve(int fd) {
  char line[64], verb[16];
  unsigned number;
  FILE *orders = fdopen(fd, "r"), *responses = fdopen(dup(fd), "w");
  while (orders && responses && fgets(line, sizeof line, orders))
    if (sscanf(line, "%15s %u", verb, &number) == 2 && number < count)
      run_command(verb, number, responses);
}

int main(void) {
  int control = listener_bind("127.0.0.1", 0);
  make_trials();
  if (!open_catalogue(cases, count) || control < 0 || listen(control, 1) != 0) return 1;
  for (size_t i = 0; i < count; i++)
    connect_gate(trials[i].row, &cases[i]);
  print_all(listener_port(control));
  serve(accept(control, NULL, NULL));
  unlink(certs.ca_file);
  unlink(certs.stranger_file);
  unlink(certs.policy_file);
  unlink(no_ca_file);
  return 0;
}
