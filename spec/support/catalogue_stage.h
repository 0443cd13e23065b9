/*
** catalogue_stage.h - the servers for the catalogue, and the expected result of each row.
** The tests of all drivers use it.
*/
#ifndef LEAT_TEST_CATALOGUE_STAGE_H
#define LEAT_TEST_CATALOGUE_STAGE_H

#include "catalogue.h"
#include "proxy_server.h"
#include "tls_server.h"

enum {
  SHORT_MS = 2000,  /* timeout of a call that is to time out */
  LONG_MS = 6000,   /* timeout of all other calls */
  CONNECT_MS = 500, /* connect timeout, where three attempts time out */
  LARGE = 60000
};

/* ---- expected results ------------------------------------------------------------ */

typedef struct ending {
  leat_kind kind;
  bool recovered, unknown;
  int sends; /* how often the operation is sent */
} ending;

static inline bool creates(mode m) {
  return m >= CREATE_LOST;
}

static inline bool is_always(mode m) {
  return m == FIND_ALWAYS || m == CREATE_ALWAYS;
}

/* Newer TLS libraries report a connection that ends without close_notify. */
static bool sees_cut;

static inline bool has_mode(const row *r, mode m) {
  if (r->why || r->door == BY_HAND) return false;
  if (r->cut == (sees_cut ? UNSEEN : SEEN)) return false;
  if (r->modes) return (r->modes & ONLY(m)) != 0;
  if (r->fate == FINE) return m == FIND_ALWAYS || m == CREATE_APPLIED;
  bool may_apply = r->fate != KNOWN && r->fate != AGAIN && !r->does.at_gate;
  return m != CREATE_APPLIED || may_apply;
}

/* The result if nothing was applied, or if the operation may be retried in any case. */
static inline ending again(const row *r, mode m) {
  if (is_always(m)) return (ending){r->kind, false, false, 3};
  return (ending){LEAT_OK, m == CREATE_APPLIED, false, 2};
}

/* The result of a create whose response was lost: it is verified, and retried once it is
** certain that no card exists. Two verifying finds are one second apart; after a timeout
** there is no time for both. */
static inline ending looked_up(const row *r, mode m) {
  bool in_vain = m == CREATE_ALWAYS || (m == CREATE_LOST && r->fate == TIMES_OUT);
  if (in_vain) return (ending){r->kind, false, true, 1};
  int sends = r->sends ? r->sends : m == CREATE_LOST ? 2 : 1;
  return (ending){LEAT_OK, m == CREATE_APPLIED, false, sends};
}

static inline ending expect(const row *r, mode m) {
  const ending fine = {LEAT_OK, false, false, 1}, fails = {r->kind, false, false, 1};
  switch (r->fate) {
    case FINE: return fine;
    case KNOWN: return fails;
    case AGAIN: return again(r, m);
    case CUT: return creates(m) ? looked_up(r, m) : again(r, m);
    case LOST:
    case TIMES_OUT: break;
  }
  return creates(m) ? looked_up(r, m) : fails;
}

/* Faults before the request, which the service therefore does not see. */
static inline bool is_unseen(const row *r) {
  return r->does.at_gate || r->does.ear || r->door == NAME || r->door == NO_CA ||
         r->door == NO_FDS;
}

static inline int expect_seen(const row *r, mode m) {
  int sends = expect(r, m).sends;
  if (!is_unseen(r)) return sends;
  return is_always(m) ? 0 : sends - 1;
}

static const char *const mode_names[] = {"find, once", "find, always",
                                         "create, lost once", "create, applied once",
                                         "create, always"};

/* ---- the servers ----------------------------------------------------------------- */

/* The TLS servers, by name; all connect to the service. */
typedef struct front {
  const char *name;
  tls_identity identity;
  tls_server server;
} front;

enum { GOOD_FRONT, CUT_FRONT, FRONTS = 8 };

static front fronts[FRONTS] = {
    {.name = "good"},      {.name = "cut"}, {.name = "expired"}, {.name = "early"},
    {.name = "elsewhere"}, {.name = "own"}, {.name = "orphan"},  {.name = "tls 1.1"}};
static tls_identity authority, stranger;
static char ca_file[] = "/tmp/leat-ca-XXXXXX";
static char no_ca_file[] =
    "/tmp/leat-no-ca-XXXXXX"; /* a reserved name; the file does not exist */
static char policy_file[] = "/tmp/leat-openssl-XXXXXX";
static proxy_server proxy;
static bad_server service;

static inline int port_of(const char *name) {
  for (int i = 0; i < FRONTS; i++)
    if (strcmp(fronts[i].name, name) == 0) return fronts[i].server.at.port;
  return 0;
}

static inline bool make_identity(front *f) {
  const char *n = f->name;
  bool early = strcmp(n, "early") == 0, expired = strcmp(n, "expired") == 0;
  const char *ip = strcmp(n, "elsewhere") == 0 ? "10.0.0.1" : "127.0.0.1";
  const tls_identity *issuer = strcmp(n, "own") == 0 ? NULL : &authority;
  if (strcmp(n, "orphan") == 0) issuer = &stranger;
  const char *name = strcmp(n, "elsewhere") == 0 ? "elsewhere.test" : "other.test";
  return tls_new_identity(&f->identity, issuer, name, ip, early ? 2 : -9,
                          expired ? -1 : 9);
}

static inline bool open_front(front *f) {
  tls_options options = {.identity = &f->identity, .cut = f == &fronts[CUT_FRONT]};
  if (strcmp(f->name, "tls 1.1") == 0)
    options.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.1:%COMPAT";
  return make_identity(f) && tls_start(&f->server, &options, service.port);
}

static inline bool open_stage(bad_case *cases, size_t count) {
  static const proxy_options good = {0};
  bool fine = close(mkstemp(no_ca_file)) == 0 && tls_lift_policy(policy_file) &&
              tls_new_authority(&authority, "an authority of the tests") &&
              tls_new_authority(&stranger, "another authority") &&
              tls_write(&authority, ca_file) && bad_start(&service, cases, count) &&
              proxy_start(&proxy, &good);
  for (int i = 0; fine && i < FRONTS; i++)
    fine = open_front(&fronts[i]);
  return fine;
}

/* Sets the targets of the gate's good and faulty connections. */
static inline void lead(const row *r, bad_case *at) {
  if (r->door == PROXY) at->good_port = proxy.at.port;
  if (r->door != TLS) return;
  at->good_port = port_of("good");
  if (r->front) at->bad_port = port_of(r->front);
}

static inline void close_stage(void) {
  for (int i = 0; i < FRONTS; i++) {
    tls_stop(&fronts[i].server);
    tls_free_identity(&fronts[i].identity);
  }
  tls_free_identity(&authority);
  tls_free_identity(&stranger);
  proxy_stop(&proxy);
  bad_stop(&service);
  unlink(ca_file);
  unlink(no_ca_file);
  unlink(policy_file);
}

#endif
