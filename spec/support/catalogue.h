/*
** catalogue.h - the catalogue of bad servers: what each does, the expected result of a
** find and a create, and the servers for it. Rows with the same number are variants of
** one fault. `why` explains rows that are not tested here. The tests of all drivers use it.
*/
#ifndef LEAT_TEST_CATALOGUE_H
#define LEAT_TEST_CATALOGUE_H

#include "bad_server.h"
#include "leat_driver.h"
#include "proxy_server.h"
#include "tls_server.h"

enum {
  SHORT_MS = 2000,  /* timeout of a call that is to time out */
  LONG_MS = 6000,   /* timeout of all other calls */
  CONNECT_MS = 500, /* connect timeout, where three attempts time out */
  LARGE = 60000
};

/* What a response, or its absence, means for a call. The expected result of a find or a
** create follows from it for all rows; see `expect`. */
typedef enum expected {
  FINE,      /* a good response */
  KNOWN,     /* not applied, and a retry would fail in the same way */
  AGAIN,     /* not applied, and retried */
  LOST,      /* outcome unknown; a retried find would fail again */
  CUT,       /* outcome unknown; a find is retried */
  TIMES_OUT, /* outcome unknown; a find has no time left, a create half */
} expected;

typedef enum connection_state {
  COLD = 0,
  KEPT,             /* after a good find */
  SPOILT            /* the fault is in that find */
} connection_state; /* before the fault */

/* The route to a server. From PROXY on, each trial has its own driver. */
typedef enum route {
  PLAIN = 0,
  TLS,     /* TLS, by a server behind the gate, or by `front` */
  TLS_CUT, /* TLS, by a server that closes without close_notify */
  PROXY,   /* the gate leads to a proxy */
  NAME,    /* the host name is unknown */
  NO_CA,   /* ca_file does not exist */
  NO_FDS,  /* no file descriptors are left */
  SEPARATE /* covered by a separate test */
} route;

typedef enum mode {
  FIND_ONCE,      /* the fault once, then good service */
  FIND_ALWAYS,    /* only the fault */
  CREATE_LOST,    /* the fault once; the create is not applied */
  CREATE_APPLIED, /* the fault once; the create is applied */
  CREATE_ALWAYS,  /* only the fault, for all requests; the create is not applied */
  MODES
} mode;

typedef struct row {
  int number;
  const char *title;
  expected expected;
  leat_kind kind; /* the error's, if the call fails */
  bad_fault fault;
  connection_state connection_state;
  route route;
  const char *front; /* the name of a TLS server for faulty connections */
  bool large;        /* the request has at least 60 kB */
  bool last;         /* the connection must not be reused */
  bool pauses;       /* the client is paused for longer than calls wait */
  unsigned modes;    /* set of 1 << mode; 0: all that fit what is expected */
  int sends;         /* how often the operation is sent; 0: by what is expected */
  enum { ANY = 0, SEEN, UNSEEN } cut; /* whether libcurl reports a TLS truncation */
  const char *why;                    /* why the row is not tested here */
} row;

enum { CATALOGUE = 84, ROWS = 162 };
extern const row rows[];

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
extern bool sees_cut;

bool has_mode(const row *r, mode m);
ending expect(const row *r, mode m);

/* Faults before the request, which the service therefore does not see. */
bool is_unseen(const row *r);

/* Returns how many requests of the operation the service sees. */
int expect_seen(const row *r, mode m);

extern const char *const mode_names[MODES];

/* ---- the servers ----------------------------------------------------------------- */

extern certificates certs;
extern proxy_server proxy;
extern bad_server service;
extern char no_ca_file[]; /* a reserved name; the file does not exist */

bool open_catalogue(bad_case *cases, size_t count);
void close_catalogue(void);

/* Returns the port of a TLS server, which connects to the service. */
int port_of(const char *name);

/* Sets the targets of the gate's good and faulty connections. */
void connect_gate(const row *r, bad_case *at);

#endif
