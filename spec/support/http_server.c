#include "http_server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads one request: its head, and a body of its Content-Length. */
static bool read_request(http_server *s, int fd) {
  size_t size = 4096, length = 0, wanted = SIZE_MAX;
  char *text = malloc(size), *end = NULL;
  while (text && length < wanted && listener_wait_for(&s->at, fd)) {
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
  s->request_bytes += length;
  return end && length >= wanted;
}

static const reply *next_reply(http_server *s) {
  size_t i = (size_t)s->requests++;
  return &s->replies[i < s->reply_count ? i : s->reply_count - 1];
}

static void visit(listener *at, int fd) {
  http_server *s = (http_server *)(void *)at;
  reply r = {NULL, STAY}; /* a copy, since a test may change its replies meanwhile */
  if (s->greeting) listener_send(fd, s->greeting, strlen(s->greeting));
  while (r.then == STAY && read_request(s, fd)) {
    r = *next_reply(s);
    while (s->held)
      usleep(1000);
    if (s->delay_ms) usleep((useconds_t)s->delay_ms * 1000);
    if (r.bytes)
      listener_send(fd, r.bytes, s->reply_length ? s->reply_length : strlen(r.bytes));
  }
  if (r.then == RESET) listener_reset(fd);
}

bool http_server_start(http_server *s, const reply *replies, size_t count) {
  s->replies = replies;
  s->reply_count = count;
  return listener_start(&s->at, visit);
}

void http_server_stop(http_server *s) {
  listener_stop(&s->at);
}
