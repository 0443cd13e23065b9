/*
** proxy_server.h - good and faulty proxies: HTTP's CONNECT or SOCKS5, on raw sockets. The
** proxy resolves every name to localhost, so a name that nothing else resolves can be
** reached only through it. It records what it receives.
*/
#ifndef LEAT_TEST_PROXY_SERVER_H
#define LEAT_TEST_PROXY_SERVER_H

#include "listener.h"

typedef struct proxy_options {
  const char *user;      /* the required "user:password"; NULL: none */
  const char *challenge; /* HTTP response without valid credentials */
  const char *response;  /* sent instead of a tunnel, before `then`; NULL: a tunnel */
  after then;
  int at_once; /* 1: the close is sent together with the response */
  bool hangs;  /* never responds */
  bool socks;
  unsigned char refusal; /* the reply code of SOCKS5; 0: none */
} proxy_options;

typedef struct proxy_record {
  char bytes[16384];
  size_t length;
} proxy_record;

typedef struct proxy_server {
  listener at;
  proxy_options options;
  atomic_int tunnels;
  pthread_mutex_t lock;
  proxy_record heard;   /* from all clients, before a tunnel was open */
  proxy_record carried; /* from all clients, through tunnels */
} proxy_server;

bool proxy_start(proxy_server *p, const proxy_options *options);
void proxy_stop(proxy_server *p);

/* Returns true if the record contains the text. */
bool proxy_has(proxy_server *p, const proxy_record *r, const char *text);

#endif
