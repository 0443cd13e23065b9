/*
** epoll_loop.c - the lower bound: finds over plain sockets with epoll, IN_FLIGHT at a
** time. No client can do less: the request is built once, and of each response only the
** length is parsed. Cleartext only. LEAT_BASE_URL must be http://127.0.0.1:PORT/PATH,
** because names are not resolved.
**
**   epoll_loop N IN_FLIGHT
*/
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64 };

typedef struct connection {
  int fd;
  size_t length;
  char answer[1024];
} connection;

typedef struct loop {
  int epoll;
  long left, in_flight;
  size_t expected;
  size_t length; /* the request's */
  char request[2048];
} loop;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static const char *setting(const char *name) {
  const char *value = getenv(name);
  if (value) return value;
  fprintf(stderr, "%s is not set: run this by spec/bench/run.sh\n", name);
  exit(2);
}

/* Builds the request, and returns the port of LEAT_BASE_URL. */
static int make_request(loop *l) {
  int port = 0, path = 0;
  const char *base = setting("LEAT_BASE_URL");
  sscanf(base, "http://127.0.0.1:%d%n", &port, &path);
  if (port == 0) fail(base);
  l->length = (size_t)snprintf(
      l->request, sizeof l->request,
      "GET %s/contact-identifiers/find?contact_identifier_value=%s HTTP/1.1\r\n"
      "Host: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nAccept: application/json\r\n"
      "User-Agent: leat/0.1.0\r\n\r\n",
      base + path, setting("BENCH_VALUE"), port, setting("LEAT_API_KEY"));
  return port;
}

static void ask(loop *l, connection *c) {
  l->left--;
  l->in_flight++;
  c->length = 0;
  if (send(c->fd, l->request, l->length, MSG_NOSIGNAL) != (ssize_t)l->length)
    fail("send");
}

static void connect_to(loop *l, connection *c, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  int one = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(c->fd, (void *)&address, sizeof address)) fail("connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event);
}

/* Returns false if more of the response is to come. */
static bool is_whole(const loop *l, const connection *c) {
  const char *field = strstr(c->answer, "\r\nContent-Length: ");
  const char *body = strstr(c->answer, "\r\n\r\n");
  if (!body || !field) return false;
  size_t head = (size_t)(body + 4 - c->answer);
  size_t length = strtoul(field + 18, NULL, 10);
  if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0 || length != l->expected) {
    fputs(c->answer, stderr);
    exit(1);
  }
  return c->length == head + length;
}

static void take(loop *l, connection *c) {
  size_t room = sizeof c->answer - 1 - c->length;
  ssize_t n = recv(c->fd, c->answer + c->length, room, MSG_DONTWAIT);
  if (n <= 0) fail("recv");
  c->length += (size_t)n;
  c->answer[c->length] = '\0';
  if (!is_whole(l, c)) return;
  l->in_flight--;
  if (l->left > 0) ask(l, c);
}

int main(int argc, char **argv) {
  struct epoll_event events[EVENTS];
  long count = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
  connection *all = calloc((size_t)count + 1, sizeof *all);
  loop l = {.left = argc > 1 ? strtol(argv[1], NULL, 10) : 0,
            .epoll = epoll_create1(0),
            .expected = strtoul(setting("BENCH_SIZE"), NULL, 10)};
  int port = make_request(&l);
  for (long i = 0; all && i < count && l.left > 0; i++) {
    connect_to(&l, &all[i], port);
    ask(&l, &all[i]);
  }
  while (l.in_flight > 0) {
    int n = epoll_wait(l.epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++)
      take(&l, events[i].data.ptr);
  }
  free(all);
  return 0;
}
