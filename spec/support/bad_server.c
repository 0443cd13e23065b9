#include "bad_server.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct visitor visitor;

static bool spend_fault(bad_case *c) {
  if (c->armed == 0) return false;
  c->armed--;
  return true;
}

/* ---- connections ----------------------------------------------------------------- */

struct visitor {
  bad_end end;
  bad_server *of;
  visitor *next;
  visitor *peer;      /* the other end, when forwarded */
  bad_case *at;       /* the case of the gate; NULL: the service's port */
  bad_case *whose;    /* the case of its last request; NULL: none yet */
  const bad_step *to; /* the next step; NULL: wait for a request */
  size_t done;        /* bytes sent of this step */
  int64_t wake;       /* when the pause ends; 0: no pause */
  char text[8192];
  size_t length;
};

static void watch(const bad_server *s, bad_end *end, int how, uint32_t events) {
  struct epoll_event e = {.events = events, .data.ptr = end};
  epoll_ctl(s->epoll, how, end->fd, &e);
}

static visitor *enter(bad_server *s, int fd, bad_case *at) {
  visitor *v = calloc(1, sizeof *v);
  int at_once = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  v->end.fd = fd;
  v->of = s;
  v->at = at;
  v->next = s->visitors;
  s->visitors = v;
  watch(s, &v->end, EPOLL_CTL_ADD, EPOLLIN);
  return v;
}

/* Closes the connection but leaves it in the list until sweep(), because events of this
** round may still refer to it. */
static void leave(visitor *v, bool reset) {
  if (v->end.fd < 0) return;
  if (reset) listener_reset(v->end.fd);
  close(v->end.fd);
  v->end.fd = -1;
  if (v->at) v->at->closed++;
  if (v->peer) leave(v->peer, reset);
}

static void sweep(bad_server *s) {
  for (visitor **v = &s->visitors; *v;) {
    visitor *gone = *v;
    if (gone->end.fd >= 0) {
      v = &gone->next;
      continue;
    }
    *v = gone->next;
    free(gone);
  }
}

static void forward_to(visitor *v, int port) {
  int fd = listener_connect(port);
  if (fd < 0) {
    leave(v, true);
    return;
  }
  v->peer = enter(v->of, fd, NULL);
  v->peer->peer = v;
}

/* Forwards data. It is small, so that it fits into the socket's buffer at once. */
static void carry(visitor *v) {
  char data[16384];
  ssize_t n = recv(v->end.fd, data, sizeof data, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0 || !listener_send(v->peer->end.fd, data, (size_t)n)) leave(v, n < 0);
}

/* ---- performing steps ------------------------------------------------------------ */

/* Copies the next bytes of the step, which are repeated. */
static size_t copy_bytes(const visitor *v, char *to, size_t size) {
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
static bool send_piece(visitor *v, size_t total, size_t most) {
  char data[16384];
  size_t left = total - v->done, size = most < sizeof data ? most : sizeof data;
  size_t n = copy_bytes(v, data, left < size ? left : size);
  ssize_t sent = send(v->end.fd, data, n, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) {
    leave(v, false);
    return false;
  }
  v->done += sent > 0 ? (size_t)sent : 0;
  bool more = v->to->action == BAD_SAY && v->done < total;
  watch(v->of, &v->end, EPOLL_CTL_MOD, EPOLLIN | (more ? EPOLLOUT : 0));
  return v->done == total;
}

/* Returns true while `ms` have not yet passed since the first call. */
static bool is_waiting(visitor *v, int ms) {
  int64_t now = test_now_ms();
  if (v->wake == 0) v->wake = now + ms;
  if (v->wake > now) return true;
  v->wake = 0;
  return false;
}

/* Returns true if the step is done. */
static bool perform_step(visitor *v) {
  size_t times = (size_t)v->to->number;
  switch (v->to->action) {
    case BAD_SAY:
      return send_piece(v, times == 0 ? SIZE_MAX : v->to->length * times, SIZE_MAX);
    case BAD_DRIP:
      return !is_waiting(v, v->to->number) && send_piece(v, v->to->length, 1);
    case BAD_WAIT: return !is_waiting(v, v->to->number);
    case BAD_HEAR: return v->length > 0;
    case BAD_SHUT: shutdown(v->end.fd, SHUT_WR); return true;
    case BAD_CLOSE: leave(v, false); return false;
    case BAD_RESET: leave(v, true); return false;
    case BAD_HANG:
    case BAD_END: break;
  }
  return false;
}

static void perform_steps(visitor *v) {
  while (v->end.fd >= 0 && v->to && v->to->action != BAD_END && perform_step(v)) {
    v->to++;
    v->done = 0;
  }
  if (v->to == NULL || v->to->action != BAD_END) return;
  v->to = NULL;
  v->length = 0;
}

/* ---- the service ----------------------------------------------------------------- */

#define HEAD(length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n"
#define FOUND        HEAD("44") "{\"data\":{\"value\":\"1\",\"name\":null},\"meta\":[]}"
#define REFUSAL(length, text, code)                                                      \
  "HTTP/1.1 400 Bad Request\r\nContent-Length: " length "\r\n\r\n{\"message\":\"" text   \
  "\",\"code\":" code "}"

static const bad_step *find_card(bad_case *c) {
  static const bad_step found[2] = {SAY(FOUND)};
  static const bad_step missing[2] = {SAY(REFUSAL("31", "none", "60003"))};
  bool lags = c->there && c->lag > 0 && c->lag-- > 0;
  return c->there && !lags && c->late == 0 ? found : missing;
}

static const bad_step *create_card(bad_case *c) {
  static const bad_step made[2] = {SAY(FOUND)};
  static const bad_step taken[2] = {SAY(REFUSAL("32", "taken", "60006"))};
  if (c->there) return taken;
  c->there = true;
  return made;
}

/* Starts the fault, or the response. */
static void start_response(visitor *v, bool creates) {
  bad_case *c = v->whose;
  bool spoils = !c->fault->at_gate && spend_fault(c);
  if (c->late > 0) c->late--;
  if (creates) c->creates++;
  else c->finds++;
  if (!spoils) {
    v->to = creates ? create_card(c) : find_card(c);
    return;
  }
  v->to = !creates && c->fault->finds[0].action ? c->fault->finds : c->fault->steps;
  if (!creates || !c->applies || c->there) return;
  c->there = true;
  c->late = c->fault->late + 1;
  c->lag = c->fault->lag;
}

/* Reads the case's number from the request line: "POST /17/..." */
static bool read_case(visitor *v) {
  const char *path = strchr(v->text, '/');
  unsigned long number = path ? strtoul(path + 1, NULL, 10) : ULONG_MAX;
  if (number >= v->of->count) return false;
  v->whose = &v->of->cases[number];
  return true;
}

static bool is_whole(const visitor *v) {
  const char *end = strstr(v->text, "\r\n\r\n");
  const char *field = strstr(v->text, "Content-Length: ");
  if (end == NULL) return false;
  return strlen(end + 4) >= (field && field < end ? strtoul(field + 16, NULL, 10) : 0);
}

static void receive(visitor *v) {
  char rest[16384];
  bool full = v->to || v->length == sizeof v->text - 1;
  char *to = full ? rest : v->text + v->length;
  size_t room = full ? sizeof rest : sizeof v->text - 1 - v->length;
  ssize_t n = recv(v->end.fd, to, room, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    leave(v, false);
    return;
  }
  if (v->to && v->length == 0) v->length = 1; /* for BAD_HEAR */
  if (full) return;
  v->length += (size_t)n;
  v->text[v->length] = '\0';
  if (!read_case(v)) return;
  if (!is_whole(v) && !v->whose->fault->early) return;
  start_response(v, strncmp(v->text, "POST", 4) == 0);
  v->length = 0;
  perform_steps(v);
}

/* ---- gates ----------------------------------------------------------------------- */

static void accept_visitor(bad_server *s, bad_end *end) {
  int fd = accept(end->fd, NULL, NULL);
  bad_case *c = end == &s->service ? NULL : (bad_case *)(void *)end;
  if (fd < 0) return;
  visitor *v = enter(s, fd, c);
  if (c == NULL) return;
  c->connections++;
  bool spoils = c->fault->at_gate && spend_fault(c);
  if (spoils && c->bad_port == 0) v->to = c->fault->steps;
  else if (spoils) forward_to(v, c->bad_port);
  else if (c->good_port) forward_to(v, c->good_port);
}

static bool bind_end(bad_end *end, int *port) {
  end->is_gate = true;
  end->fd = listener_bind("127.0.0.1", 0);
  *port = listener_port(end->fd);
  return end->fd >= 0 && fcntl(end->fd, F_SETFL, O_NONBLOCK) == 0;
}

static bool start_listening(const bad_server *s, bad_end *end) {
  if (listen(end->fd, 64) != 0) return false;
  watch(s, end, EPOLL_CTL_ADD, EPOLLIN);
  return true;
}

static bool open_case(bad_server *s, bad_case *c) {
  c->of = s;
  if (!bind_end(&c->gate, &c->port)) return false;
  if (c->fault->accept_mode == BAD_REFUSES) return true;
  if (c->fault->accept_mode == BAD_IGNORES) return listener_fill(c->gate.fd, c->full);
  return start_listening(s, &c->gate);
}

void bad_arm(bad_case *c, int times) {
  c->armed = times;
}

void bad_heal(bad_case *c) {
  c->armed = 0;
  if (c->fault->accept_mode) start_listening(c->of, &c->gate);
}

/* ---- running --------------------------------------------------------------------- */

static void dispatch(bad_server *s, struct epoll_event *events, int count) {
  for (int i = 0; i < count; i++) {
    bad_end *end = events[i].data.ptr;
    visitor *v = (visitor *)(void *)end;
    if (end->is_gate) {
      accept_visitor(s, end);
      continue;
    }
    if (end->fd >= 0 && events[i].events != EPOLLOUT) {
      if (v->peer) carry(v);
      else receive(v);
    }
  }
  for (visitor *v = s->visitors; v; v = v->next)
    perform_steps(v);
  sweep(s);
}

static void *run(void *argument) {
  enum { TICK_MS = 10, EVENTS = 64 };
  bad_server *s = argument;
  struct epoll_event events[EVENTS];
  for (;;) {
    int64_t before = test_now_ms();
    int n = epoll_wait(s->epoll, events, EVENTS, TICK_MS);
    for (int i = 0; i < n; i++)
      if (events[i].data.ptr == NULL) return NULL;
    if (n >= 0) dispatch(s, events, n);
    int late = (int)(test_now_ms() - before) - TICK_MS;
    if (late > s->late_ms) s->late_ms = late;
  }
}

bool bad_start(bad_server *s, bad_case *cases, size_t count) {
  memset(s, 0, sizeof *s);
  s->cases = cases;
  s->count = count;
  s->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (pipe(s->stop) != 0 || !bind_end(&s->service, &s->port) ||
      !start_listening(s, &s->service))
    return false;
  for (size_t i = 0; i < count; i++)
    if (!open_case(s, &cases[i])) return false;
  struct epoll_event stop = {.events = EPOLLIN, .data.ptr = NULL};
  return epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->stop[0], &stop) == 0 &&
         pthread_create(&s->thread, NULL, run, s) == 0;
}

void bad_stop(bad_server *s) {
  close(s->stop[1]);
  pthread_join(s->thread, NULL);
  while (s->visitors) {
    leave(s->visitors, false);
    sweep(s);
  }
  for (size_t i = 0; i < s->count; i++) {
    close(s->cases[i].gate.fd);
    for (int k = 0; k < 4 && s->cases[i].fault->accept_mode == BAD_IGNORES; k++)
      close(s->cases[i].full[k]);
  }
  close(s->service.fd);
  close(s->stop[0]);
  close(s->epoll);
}
