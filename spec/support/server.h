/*
** server.h - a scripted server for the C tests: raw bytes on a real socket, for responses
** that no HTTP server library would send. Request number n, counted over all connections,
** gets response number n.
*/
#ifndef LEAT_TEST_SERVER_H
#define LEAT_TEST_SERVER_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum after { STAY, CLOSE, RESET } after;

typedef struct reply {
  const char *bytes; /* NULL: no response */
  after then;
} reply;

typedef struct server {
  int listener, port, stop[2];
  const char *greeting; /* sent to each client when it connects */
  int delay_ms;         /* before each response */
  atomic_bool held;     /* no responses while it is set */
  const reply *replies;
  size_t reply_count; /* the last one is repeated */
  pthread_t thread;
  pthread_mutex_t lock;
  int connections, requests;
  size_t request_bytes;
} server;

typedef struct visitor {
  server *of;
  int fd;
} visitor;

/* Waits until `fd` is readable. Returns false when the server stops. */
static inline bool server_wait(server *s, int fd) {
  struct pollfd fds[2] = {{fd, POLLIN, 0}, {s->stop[0], POLLIN, 0}};
  return poll(fds, 2, -1) > 0 && fds[1].revents == 0;
}

/* Reads one request: its head, and a body of its Content-Length. */
static inline bool server_read(server *s, int fd) {
  size_t size = 4096, length = 0, wanted = SIZE_MAX;
  char *text = malloc(size), *end = NULL;
  while (text && length < wanted && server_wait(s, fd)) {
    if (length > size / 2) text = realloc(text, size *= 2);
    ssize_t n = recv(fd, text + length, size - 1 - length, 0);
    if (n <= 0) break;
    length += (size_t)n;
    text[length] = '\0';
    if (end == NULL && (end = strstr(text, "\r\n\r\n")) != NULL) {
      const char *field = strstr(text, "Content-Length: ");
      wanted = (size_t)(end + 4 - text) + (field ? (size_t)atoi(field + 16) : 0);
    }
  }
  free(text);
  pthread_mutex_lock(&s->lock);
  s->request_bytes += length;
  pthread_mutex_unlock(&s->lock);
  return end && length >= wanted;
}

static inline const reply *server_next(server *s) {
  pthread_mutex_lock(&s->lock);
  size_t i = (size_t)s->requests++;
  pthread_mutex_unlock(&s->lock);
  return &s->replies[i < s->reply_count ? i : s->reply_count - 1];
}

static inline void *server_visit(void *argument) {
  visitor v = *(visitor *)argument;
  struct linger now = {1, 0};
  const reply *r = NULL;
  free(argument);
  if (v.of->greeting) send(v.fd, v.of->greeting, strlen(v.of->greeting), MSG_NOSIGNAL);
  while ((r == NULL || r->then == STAY) && server_read(v.of, v.fd)) {
    r = server_next(v.of);
    while (v.of->held)
      usleep(1000);
    if (v.of->delay_ms) usleep((useconds_t)v.of->delay_ms * 1000);
    if (r->bytes) send(v.fd, r->bytes, strlen(r->bytes), MSG_NOSIGNAL);
  }
  if (r && r->then == RESET) setsockopt(v.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(v.fd);
  return NULL;
}

static inline void *server_run(void *argument) {
  server *s = argument;
  pthread_t threads[256];
  int count = 0;
  while (count < 256 && server_wait(s, s->listener)) {
    visitor *v = malloc(sizeof *v);
    v->of = s;
    v->fd = accept(s->listener, NULL, NULL);
    pthread_mutex_lock(&s->lock);
    s->connections++;
    pthread_mutex_unlock(&s->lock);
    pthread_create(&threads[count++], NULL, server_visit, v);
  }
  while (count > 0)
    pthread_join(threads[--count], NULL);
  return NULL;
}

static inline bool server_start(server *s, const reply *replies, size_t count) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t length = sizeof address;
  const char *greeting = s->greeting;
  memset(s, 0, sizeof *s);
  s->greeting = greeting;
  s->replies = replies;
  s->reply_count = count;
  pthread_mutex_init(&s->lock, NULL);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (pipe(s->stop) != 0 || bind(s->listener, (struct sockaddr *)&address, length) != 0 ||
      listen(s->listener, 512) != 0)
    return false;
  getsockname(s->listener, (struct sockaddr *)&address, &length);
  s->port = ntohs(address.sin_port);
  return pthread_create(&s->thread, NULL, server_run, s) == 0;
}

/* Stops and joins the threads. The counters stay readable. */
static inline void server_stop(server *s) {
  close(s->stop[1]);
  pthread_join(s->thread, NULL);
  close(s->stop[0]);
  close(s->listener);
  pthread_mutex_destroy(&s->lock);
}

#endif
