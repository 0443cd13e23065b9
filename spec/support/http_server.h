/*
** http_server.h - a scripted server for the C tests: raw bytes on a real socket, for
** responses that no HTTP server library would send. Request number n, counted over all
** connections, gets response number n.
*/
#ifndef LEAT_TEST_HTTP_SERVER_H
#define LEAT_TEST_HTTP_SERVER_H

#include "listener.h"

typedef struct reply {
  const char *bytes; /* NULL: no response */
  after then;
} reply;

typedef struct http_server {
  listener at;
  const char *greeting; /* sent to each client when it connects */
  int delay_ms;         /* before each response */
  atomic_bool held;     /* no responses while it is set */
  const reply *replies;
  size_t reply_count;  /* the last one is repeated */
  size_t reply_length; /* for a reply with a NUL in it; 0: up to its end */
  atomic_int requests;
  atomic_size_t request_bytes;
} http_server;

/* Starts the threads. The server must be zeroed, but for its greeting. */
bool http_server_start(http_server *s, const reply *replies, size_t count);

/* Stops and joins the threads. The counters stay readable. */
void http_server_stop(http_server *s);

#endif
