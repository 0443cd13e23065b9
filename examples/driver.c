/*
** driver.c - a driver of your own, as small as one can be: it performs one call at a time
** over plain sockets, with nothing but leat_driver.h. It speaks cleartext HTTP only, so it
** is for tests, or for a proxy on this machine that adds TLS; leat_curl.h does the rest.
**
**   cc driver.c $(pkg-config --cflags --libs leat) -o driver
**   LEAT_API_KEY=... ./driver http://127.0.0.1:8080/api/v3/oauth/clients VALUE...
*/
#include <leat_driver.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct driver {
  int fd; /* a connection that is kept for the next exchange, or -1 */
  char origin[512];
  leat_http1 *http;
} driver;

/* Why an exchange failed. */
typedef struct failure {
  leat_kind kind; /* LEAT_OK: it did not */
  const char *why;
} failure;

static leat_moment moment(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (leat_moment){.monotonic_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000,
                       .unix_s = time(NULL),
                       .random = (uint64_t)random() << 31 ^ (uint64_t)random()};
}

/* Waits until the descriptor is ready. Returns false if it is not by the deadline. With
** -1 as descriptor it only waits. */
static bool wait_until(int fd, short events, int64_t deadline_ms) {
  struct pollfd p = {.fd = fd, .events = events};
  for (;;) {
    int64_t left = deadline_ms - moment().monotonic_ms;
    if (left < 0) left = 0;
    if (poll(&p, 1, left < INT_MAX ? (int)left : INT_MAX) > 0) return true;
    if (left == 0) return false;
  }
}

static bool would_block(void) {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static void close_connection(driver *d) {
  if (d->fd >= 0) close(d->fd);
  d->fd = -1;
}

/* Returns whether the kept connection leads to this origin, and nothing has arrived on it
** since the last response, not even its end. */
static bool can_reuse(const driver *d, leat_string origin) {
  char byte;
  return d->fd >= 0 && strlen(d->origin) == origin.length &&
         memcmp(d->origin, origin.data, origin.length) == 0 &&
         recv(d->fd, &byte, 1, 0) < 0 && would_block();
}

static failure connect_to_address(driver *d, const struct addrinfo *address,
                                  int64_t deadline_ms) {
  int error = 0;
  socklen_t size = sizeof error;
  d->fd = socket(address->ai_family, SOCK_STREAM, 0);
  if (d->fd < 0) return (failure){LEAT_LOCAL, strerror(errno)};
  fcntl(d->fd, F_SETFL, O_NONBLOCK);
  fcntl(d->fd, F_SETFD, FD_CLOEXEC);
  if (connect(d->fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
    return (failure){LEAT_CONNECTION, strerror(errno)};
  if (!wait_until(d->fd, POLLOUT, deadline_ms))
    return (failure){LEAT_TIMEOUT, "no connection in time"};
  getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error ? (failure){LEAT_CONNECTION, strerror(error)} : (failure){LEAT_OK, ""};
}

/* Connects to the first address of the host. Looking the host up blocks. */
static failure connect_to(driver *d, const leat_request *request) {
  char port[8];
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int64_t deadline_ms = moment().monotonic_ms + request->connect_timeout_ms;
  if (deadline_ms > request->deadline_ms) deadline_ms = request->deadline_ms;
  if (request->tls) return (failure){LEAT_CONFIG, "this driver has no TLS"};
  snprintf(port, sizeof port, "%d", request->port);
  int error = getaddrinfo(request->host.data, port, &hints, &found);
  if (error == EAI_SYSTEM && errno == EMFILE)
    return (failure){LEAT_LOCAL, strerror(errno)};
  if (error) return (failure){LEAT_CONNECTION, gai_strerror(error)};
  snprintf(d->origin, sizeof d->origin, "%.*s", (int)request->origin.length,
           request->origin.data);
  failure f = connect_to_address(d, found, deadline_ms);
  freeaddrinfo(found);
  return f;
}

/* Receives what has arrived. */
static leat_http1_state receive(driver *d, failure *f) {
  leat_http1_state state = LEAT_HTTP1_MORE;
  while (state == LEAT_HTTP1_MORE) {
    size_t room;
    char *space = leat_http1_space(d->http, &room);
    ssize_t n = space ? recv(d->fd, space, room, 0) : 0;
    if (n < 0 && would_block()) break;
    if (n < 0) {
      *f = (failure){LEAT_CONNECTION, strerror(errno)};
      return LEAT_HTTP1_FAILED;
    }
    state = n > 0 ? leat_http1_received(d->http, (size_t)n) : leat_http1_closed(d->http);
  }
  return state;
}

/* Sends what can be sent now. If the connection broke, receiving shows it, or a response
** that the server sent before. */
static void transmit(driver *d, leat_sent *sent) {
  leat_string out = leat_http1_output(d->http);
  if (out.length == 0) return;
  *sent = LEAT_SENT_MAYBE;
  ssize_t n = send(d->fd, out.data, out.length, MSG_NOSIGNAL);
  if (n > 0) leat_http1_sent(d->http, (size_t)n);
}

/* Sends the request and receives the response. At the deadline, what has arrived is read
** before the exchange fails. */
static failure transfer(driver *d, const leat_request *request, leat_sent *sent) {
  failure f = {LEAT_OK, ""};
  leat_http1_state state = leat_http1_begin(d->http, request);
  while (state == LEAT_HTTP1_MORE) {
    bool sends = leat_http1_output(d->http).length > 0;
    bool ready =
        wait_until(d->fd, sends ? POLLIN | POLLOUT : POLLIN, request->deadline_ms);
    bool late = !ready || moment().monotonic_ms >= request->deadline_ms;
    if (!late) transmit(d, sent);
    state = receive(d, &f);
    if (late && state == LEAT_HTTP1_MORE)
      return (failure){LEAT_TIMEOUT, "no response in time"};
  }
  if (state == LEAT_HTTP1_FAILED && f.kind == LEAT_OK)
    f.kind = leat_http1_failure(d->http, &f.why);
  return f;
}

static void exchange(driver *d, leat_call *call) {
  leat_sent sent = LEAT_SENT_NO;
  failure f = {LEAT_OK, ""};
  if (can_reuse(d, leat_call_request(call)->origin)) {
    leat_call_set_reused(call);
  } else {
    close_connection(d);
    f = connect_to(d, leat_call_request(call));
    if (f.kind == LEAT_OK) leat_call_connected(call, moment());
  }
  if (f.kind == LEAT_OK) f = transfer(d, leat_call_request(call), &sent);
  if (f.kind == LEAT_OK) leat_call_respond(call, moment(), leat_http1_response(d->http));
  else leat_call_fail(call, moment(), f.kind, sent, f.why);
  if (f.kind != LEAT_OK || !leat_http1_reusable(d->http)) close_connection(d);
}

static void driver_perform(driver *d, leat_call *call) {
  leat_step step;
  if (!leat_call_attach(call, d, NULL)) return;
  while ((step = leat_call_next(call, moment())) != LEAT_DONE) {
    if (step == LEAT_SEND) exchange(d, call);
    else if (step == LEAT_WAIT) wait_until(-1, 0, leat_call_until(call));
    else
      leat_call_fail(call, moment(), LEAT_CONFIG, LEAT_SENT_NO,
                     "this driver has no token function, and shares no rate");
  }
  leat_call_detach(call);
}

int main(int argc, char **argv) {
  leat_config config = {.api_key = getenv("LEAT_API_KEY"),
                        .base_url = argc > 1 ? argv[1] : NULL};
  leat_error error = {.kind = LEAT_OK};
  leat_client *client = leat_client_new(&config, &error);
  driver d = {.fd = -1, .http = leat_http1_new()};
  char text[1024];
  if (client == NULL || d.http == NULL) {
    fprintf(stderr, "%s\n", client ? "out of memory" : error.message);
    return 2;
  }
  for (int i = 2; i < argc; i++) {
    leat_call *call =
        leat_call_new(client, leat_operation("contact_identifiers", "find"));
    leat_call_set(call, "contact_identifier_value", leat_s(argv[i]));
    driver_perform(&d, call);
    const leat_error *why = leat_call_error(call);
    printf("%s: %s\n", argv[i],
           why->kind == LEAT_OK ? "found" : leat_error_text(why, text, sizeof text));
    leat_call_free(call);
  }
  close_connection(&d);
  leat_http1_free(d.http);
  leat_client_free(client);
  return 0;
}
