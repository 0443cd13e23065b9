/*
** bad_server.h - a small service with injected faults, on raw sockets. One thread serves
** two kinds of ports.
**
** The *service* finds and creates one card per case, and counts the requests. The case is
** the number at the beginning of the path. A *gate* is a case's own port. It serves
** requests like the service, or forwards the connection to another port: to a TLS server
** or a proxy, which connect to the service in turn.
**
** While a case is armed, each response, or each connection to its gate, is replaced by
** its `fault`; `armed` counts down to 0, and then the case behaves well again.
*/
#ifndef LEAT_TEST_BAD_SERVER_H
#define LEAT_TEST_BAD_SERVER_H

#include "listener.h"

/* ---- faults, as data ----------------------------------------------------------- */

typedef enum bad_action {
  BAD_END = 0, /* done: wait for the next request */
  BAD_SAY,     /* send the bytes `number` times; 0: endlessly */
  BAD_DRIP,    /* send the bytes, one every `number` ms */
  BAD_WAIT,    /* pause for `number` ms */
  BAD_HEAR,    /* wait until the client has sent anything */
  BAD_HANG,    /* do nothing, forever */
  BAD_SHUT,    /* close our sending side, but keep reading */
  BAD_CLOSE,
  BAD_RESET
} bad_action;

typedef struct bad_step {
  bad_action action;
  int number;
  const char *bytes;
  size_t length;
} bad_step;

#define SAY(text)                                                                        \
  { BAD_SAY, 1, text, sizeof(text) - 1 }
#define TIMES(count, text)                                                               \
  { BAD_SAY, count, text, sizeof(text) - 1 }
#define ENDLESS(text) TIMES(0, text)
#define DRIP(ms, text)                                                                   \
  { BAD_DRIP, ms, text, sizeof(text) - 1 }
#define WAIT(ms)                                                                         \
  { BAD_WAIT, ms, NULL, 0 }
#define HEAR                                                                             \
  { BAD_HEAR, 0, NULL, 0 }
#define HANG                                                                             \
  { BAD_HANG, 0, NULL, 0 }
#define SHUT                                                                             \
  { BAD_SHUT, 0, NULL, 0 }
#define CLOSES                                                                           \
  { BAD_CLOSE, 0, NULL, 0 }
#define RESETS                                                                           \
  { BAD_RESET, 0, NULL, 0 }

/* How a port treats new connections. */
typedef enum bad_accept_mode {
  BAD_LISTENS = 0,
  BAD_REFUSES,
  BAD_IGNORES
} bad_accept_mode;

typedef struct bad_fault {
  bad_step steps[6];           /* replace the response, or a connection's service */
  bad_step finds[3];           /* replace the response to a find; none: `steps` */
  bool at_gate;                /* the fault concerns the connection, not a request */
  bool early;                  /* it occurs before the whole request has arrived */
  bad_accept_mode accept_mode; /* until bad_heal */
  int late;                    /* an applied card appears only after that many requests */
  int lag;                     /* an applied card is hidden from that many finds */
} bad_fault;

/* ---- cases ----------------------------------------------------------------------- */

typedef struct bad_server bad_server;

/* A file descriptor that epoll watches. */
typedef struct bad_end {
  int fd;
  bool is_gate;
} bad_end;

typedef struct bad_case {
  bad_end gate;
  bad_server *of;
  const bad_fault *fault;
  int port;               /* the gate's */
  bool applies;           /* a faulty create is applied nevertheless */
  int bad_port;           /* target of the gate's faulty connections; 0: `steps` */
  int good_port;          /* target of its good connections; 0: served here */
  atomic_int armed;       /* the number of faults still to come */
  atomic_int finds;       /* requests received */
  atomic_int creates;     /* requests received */
  atomic_int connections; /* to the gate */
  atomic_int closed;      /* connections that it served itself */
  atomic_bool there;      /* the card exists */
  int late, lag;
  int full[4]; /* connections that fill the queue of BAD_IGNORES */
} bad_case;

struct bad_server {
  int epoll, stop[2];
  bad_end service;
  int port;
  bad_case *cases;
  size_t count;
  struct visitor *visitors;
  atomic_int late_ms; /* the longest delay of its timer, by the machine's load */
  pthread_t thread;
};

/* Starts the service. `cases` stays owned by the caller, who has set `fault` in each. */
bool bad_start(bad_server *s, bad_case *cases, size_t count);
void bad_stop(bad_server *s);

/* From now on so many faults occur. */
void bad_arm(bad_case *c, int times);

/* Ends all faults. */
void bad_heal(bad_case *c);

#endif
