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

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

/* ---- faults, as data ----------------------------------------------------------- */

typedef enum bad_verb {
  BAD_END = 0, /* done: wait for the next request */
  BAD_SAY,     /* send the bytes `number` times; 0: endlessly */
  BAD_DRIP,    /* send the bytes, one every `number` ms */
  BAD_WAIT,    /* pause for `number` ms */
  BAD_HEAR,    /* wait until the client has sent anything */
  BAD_HANG,    /* do nothing, forever */
  BAD_SHUT,    /* close our sending side, but keep reading */
  BAD_CLOSE,
  BAD_RESET
} bad_verb;

typedef struct bad_step {
  bad_verb verb;
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

typedef enum bad_ear { BAD_LISTENS = 0, BAD_REFUSES, BAD_IGNORES } bad_ear;

typedef struct bad_fault {
  bad_step steps[6]; /* replace the response, or a connection's service */
  bad_step finds[3]; /* replace the response to a find; none: `steps` */
  bool at_gate;      /* the fault concerns the connection, not a request */
  bool early;        /* it occurs before the whole request has arrived */
  bad_ear ear;       /* how it accepts connections until bad_heal */
  int late;          /* an applied card appears only after that many requests */
  int lag;           /* an applied card is hidden from that many finds */
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
  const bad_fault *does;
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

typedef struct bad_visitor bad_visitor;

struct bad_server {
  int epoll, stop[2];
  bad_end service;
  int port;
  bad_case *cases;
  size_t count;
  bad_visitor *visitors;
  atomic_int late_ms; /* the longest delay of its timer, by the machine's load */
  pthread_t thread;
};

static inline int64_t bad_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline bool bad_spend(bad_case *c) {
  if (c->armed == 0) return false;
  c->armed--;
  return true;
}

/* ---- connections ----------------------------------------------------------------- */

struct bad_visitor {
  bad_end end;
  bad_server *of;
  bad_visitor *next;
  bad_visitor *peer;  /* the other end, when forwarded */
  bad_case *at;       /* the case of the gate; NULL: the service's port */
  bad_case *whose;    /* the case of its last request; NULL: none yet */
  const bad_step *to; /* the next step; NULL: wait for a request */
  size_t done;        /* bytes sent of this step */
  int64_t wake;       /* when the pause ends; 0: no pause */
  char text[8192];
  size_t length;
};

static inline void bad_watch(const bad_server *s, bad_end *end, int how,
                             uint32_t events) {
  struct epoll_event e = {.events = events, .data.ptr = end};
  epoll_ctl(s->epoll, how, end->fd, &e);
}

static inline bad_visitor *bad_enter(bad_server *s, int fd, bad_case *at) {
  bad_visitor *v = calloc(1, sizeof *v);
  int at_once = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  v->end.fd = fd;
  v->of = s;
  v->at = at;
  v->next = s->visitors;
  s->visitors = v;
  bad_watch(s, &v->end, EPOLL_CTL_ADD, EPOLLIN);
  return v;
}

/* Closes the connection but leaves it in the list until bad_sweep, because events of this
** round may still refer to it. */
static inline void bad_leave(bad_visitor *v, bool reset) {
  if (v->end.fd < 0) return;
  if (reset) listener_reset(v->end.fd);
  close(v->end.fd);
  v->end.fd = -1;
  if (v->at) v->at->closed++;
  if (v->peer) bad_leave(v->peer, reset);
}

static inline void bad_sweep(bad_server *s) {
  for (bad_visitor **v = &s->visitors; *v;) {
    bad_visitor *gone = *v;
    if (gone->end.fd >= 0) {
      v = &gone->next;
      continue;
    }
    *v = gone->next;
    free(gone);
  }
}

static inline void bad_lead(bad_visitor *v, int port) {
  int fd = listener_connect(port);
  if (fd < 0) {
    bad_leave(v, true);
    return;
  }
  v->peer = bad_enter(v->of, fd, NULL);
  v->peer->peer = v;
}

/* Forwards data. It is small, so that it fits into the socket's buffer at once. */
static inline void bad_carry(bad_visitor *v) {
  char data[16384];
  ssize_t n = recv(v->end.fd, data, sizeof data, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0 || !listener_send(v->peer->end.fd, data, (size_t)n)) bad_leave(v, n < 0);
}

/* ---- performing steps ------------------------------------------------------------ */

/* Copies the next bytes of the step, which are repeated. */
static inline size_t bad_copy(const bad_visitor *v, char *to, size_t size) {
  const bad_step *s = v->to;
  size_t n = 0;
  while (n < size) {
    size_t at = (v->done + n) % s->length, piece = s->length - at;
    if (piece > size - n) piece = size - n;
    memcpy(to + n, s->bytes + at, piece);
    n += piece;
  }
  return n;
}

/* Sends a piece of at most `most` bytes, so that all connections get their turn. Returns
** true once `total` bytes have been sent. */
static inline bool bad_say(bad_visitor *v, size_t total, size_t most) {
  char data[16384];
  size_t left = total - v->done, size = most < sizeof data ? most : sizeof data;
  size_t n = bad_copy(v, data, left < size ? left : size);
  ssize_t sent = send(v->end.fd, data, n, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) {
    bad_leave(v, false);
    return false;
  }
  v->done += sent > 0 ? (size_t)sent : 0;
  bool more = v->to->verb == BAD_SAY && v->done < total;
  bad_watch(v->of, &v->end, EPOLL_CTL_MOD, EPOLLIN | (more ? EPOLLOUT : 0));
  return v->done == total;
}

/* Returns true while `ms` have not yet passed since the first call. */
static inline bool bad_waits(bad_visitor *v, int ms) {
  int64_t now = bad_now();
  if (v->wake == 0) v->wake = now + ms;
  if (v->wake > now) return true;
  v->wake = 0;
  return false;
}

/* Returns true if the step is done. */
static inline bool bad_do(bad_visitor *v) {
  size_t times = (size_t)v->to->number;
  switch (v->to->verb) {
    case BAD_SAY:
      return bad_say(v, times == 0 ? SIZE_MAX : v->to->length * times, SIZE_MAX);
    case BAD_DRIP: return !bad_waits(v, v->to->number) && bad_say(v, v->to->length, 1);
    case BAD_WAIT: return !bad_waits(v, v->to->number);
    case BAD_HEAR: return v->length > 0;
    case BAD_SHUT: shutdown(v->end.fd, SHUT_WR); return true;
    case BAD_CLOSE: bad_leave(v, false); return false;
    case BAD_RESET: bad_leave(v, true); return false;
    case BAD_HANG:
    case BAD_END: break;
  }
  return false;
}

static inline void bad_go_on(bad_visitor *v) {
  while (v->end.fd >= 0 && v->to && v->to->verb != BAD_END && bad_do(v)) {
    v->to++;
    v->done = 0;
  }
  if (v->to == NULL || v->to->verb != BAD_END) return;
  v->to = NULL;
  v->length = 0;
}

/* ---- the service ----------------------------------------------------------------- */

#define BAD_HEAD(length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n"
#define BAD_CARD         BAD_HEAD("44") "{\"data\":{\"value\":\"1\",\"name\":null},\"meta\":[]}"
#define BAD_ERROR(length, text, code)                                                    \
  "HTTP/1.1 400 Bad Request\r\nContent-Length: " length "\r\n\r\n{\"message\":\"" text   \
  "\",\"code\":" code "}"

static inline const bad_step *bad_find(bad_case *c) {
  static const bad_step found[] = {SAY(BAD_CARD), {BAD_END, 0, NULL, 0}};
  static const bad_step missing[] = {SAY(BAD_ERROR("31", "none", "60003")),
                                     {BAD_END, 0, NULL, 0}};
  bool lags = c->there && c->lag > 0 && c->lag-- > 0;
  return c->there && !lags && c->late == 0 ? found : missing;
}

static inline const bad_step *bad_create(bad_case *c) {
  static const bad_step made[] = {SAY(BAD_CARD), {BAD_END, 0, NULL, 0}};
  static const bad_step taken[] = {SAY(BAD_ERROR("32", "taken", "60006")),
                                   {BAD_END, 0, NULL, 0}};
  if (c->there) return taken;
  c->there = true;
  return made;
}

/* Starts the fault, or the response. */
static inline void bad_serve(bad_visitor *v, bool creates) {
  bad_case *c = v->whose;
  bool spoils = !c->does->at_gate && bad_spend(c);
  if (c->late > 0) c->late--;
  if (creates) c->creates++;
  else c->finds++;
  if (!spoils) {
    v->to = creates ? bad_create(c) : bad_find(c);
    return;
  }
  v->to = !creates && c->does->finds[0].verb ? c->does->finds : c->does->steps;
  if (!creates || !c->applies || c->there) return;
  c->there = true;
  c->late = c->does->late + 1;
  c->lag = c->does->lag;
}

/* Reads the case's number from the request line: "POST /17/..." */
static inline bool bad_read_case(bad_visitor *v) {
  const char *path = strchr(v->text, '/');
  unsigned long number = path ? strtoul(path + 1, NULL, 10) : ULONG_MAX;
  if (number >= v->of->count) return false;
  v->whose = &v->of->cases[number];
  return true;
}

static inline bool bad_is_whole(const bad_visitor *v) {
  const char *end = strstr(v->text, "\r\n\r\n");
  const char *field = strstr(v->text, "Content-Length: ");
  if (end == NULL) return false;
  return strlen(end + 4) >= (field && field < end ? strtoul(field + 16, NULL, 10) : 0);
}

static inline void bad_hear(bad_visitor *v) {
  char rest[16384];
  bool full = v->to || v->length == sizeof v->text - 1;
  char *to = full ? rest : v->text + v->length;
  size_t room = full ? sizeof rest : sizeof v->text - 1 - v->length;
  ssize_t n = recv(v->end.fd, to, room, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    bad_leave(v, false);
    return;
  }
  if (v->to && v->length == 0) v->length = 1; /* for BAD_HEAR */
  if (full) return;
  v->length += (size_t)n;
  v->text[v->length] = '\0';
  if (!bad_read_case(v)) return;
  if (!bad_is_whole(v) && !v->whose->does->early) return;
  bad_serve(v, strncmp(v->text, "POST", 4) == 0);
  v->length = 0;
  bad_go_on(v);
}

/* ---- gates ----------------------------------------------------------------------- */

static inline void bad_open(bad_server *s, bad_end *end) {
  int fd = accept(end->fd, NULL, NULL);
  bad_case *c = end == &s->service ? NULL : (bad_case *)(void *)end;
  if (fd < 0) return;
  bad_visitor *v = bad_enter(s, fd, c);
  if (c == NULL) return;
  c->connections++;
  bool spoils = c->does->at_gate && bad_spend(c);
  if (spoils && c->bad_port == 0) v->to = c->does->steps;
  else if (spoils) bad_lead(v, c->bad_port);
  else if (c->good_port) bad_lead(v, c->good_port);
}

static inline bool bad_bind(bad_end *end, int *port) {
  struct sockaddr_in address = listener_address(0);
  struct sockaddr *a = (struct sockaddr *)(void *)&address;
  socklen_t length = sizeof address;
  end->is_gate = true;
  end->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (bind(end->fd, a, length) != 0 || getsockname(end->fd, a, &length) != 0)
    return false;
  *port = ntohs(address.sin_port);
  return true;
}

/* Fills the accept queue of the port. It then ignores further connections, for which no
** privileges are needed. */
static inline bool bad_fill(bad_case *c) {
  struct sockaddr_in address = listener_address(c->port);
  if (listen(c->gate.fd, 0) != 0) return false;
  for (int i = 0; i < 4; i++) {
    c->full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    connect(c->full[i], (struct sockaddr *)(void *)&address, sizeof address);
  }
  return true;
}

static inline bool bad_listen(const bad_server *s, bad_end *end) {
  if (listen(end->fd, 64) != 0) return false;
  bad_watch(s, end, EPOLL_CTL_ADD, EPOLLIN);
  return true;
}

static inline bool bad_open_case(bad_server *s, bad_case *c) {
  c->of = s;
  if (!bad_bind(&c->gate, &c->port)) return false;
  if (c->does->ear == BAD_REFUSES) return true;
  if (c->does->ear == BAD_IGNORES) return bad_fill(c);
  return bad_listen(s, &c->gate);
}

static inline void bad_arm(bad_case *c, int times) {
  c->armed = times;
}

/* Ends all faults. */
static inline void bad_heal(bad_case *c) {
  c->armed = 0;
  if (c->does->ear) bad_listen(c->of, &c->gate);
}

/* ---- running --------------------------------------------------------------------- */

static inline void bad_round(bad_server *s, struct epoll_event *events, int count) {
  for (int i = 0; i < count; i++) {
    bad_end *end = events[i].data.ptr;
    bad_visitor *v = (bad_visitor *)(void *)end;
    if (end->is_gate) {
      bad_open(s, end);
      continue;
    }
    if (end->fd >= 0 && events[i].events != EPOLLOUT) {
      if (v->peer) bad_carry(v);
      else bad_hear(v);
    }
  }
  for (bad_visitor *v = s->visitors; v; v = v->next)
    bad_go_on(v);
  bad_sweep(s);
}

static inline void *bad_run(void *argument) {
  enum { TICK_MS = 10, EVENTS = 64 };
  bad_server *s = argument;
  struct epoll_event events[EVENTS];
  for (;;) {
    int64_t before = bad_now();
    int n = epoll_wait(s->epoll, events, EVENTS, TICK_MS);
    for (int i = 0; i < n; i++)
      if (events[i].data.ptr == NULL) return NULL;
    if (n >= 0) bad_round(s, events, n);
    int late = (int)(bad_now() - before) - TICK_MS;
    if (late > s->late_ms) s->late_ms = late;
  }
}

/* Starts the service. `cases` stays owned by the caller, who has set `does` in each. */
static inline bool bad_start(bad_server *s, bad_case *cases, size_t count) {
  memset(s, 0, sizeof *s);
  s->cases = cases;
  s->count = count;
  s->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (pipe(s->stop) != 0 || !bad_bind(&s->service, &s->port) ||
      !bad_listen(s, &s->service))
    return false;
  for (size_t i = 0; i < count; i++)
    if (!bad_open_case(s, &cases[i])) return false;
  struct epoll_event stop = {.events = EPOLLIN, .data.ptr = NULL};
  return epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->stop[0], &stop) == 0 &&
         pthread_create(&s->thread, NULL, bad_run, s) == 0;
}

static inline void bad_stop(bad_server *s) {
  close(s->stop[1]);
  pthread_join(s->thread, NULL);
  while (s->visitors) {
    bad_leave(s->visitors, false);
    bad_sweep(s);
  }
  for (size_t i = 0; i < s->count; i++) {
    close(s->cases[i].gate.fd);
    for (int k = 0; k < 4 && s->cases[i].does->ear == BAD_IGNORES; k++)
      close(s->cases[i].full[k]);
  }
  close(s->service.fd);
  close(s->stop[0]);
  close(s->epoll);
}

#endif
