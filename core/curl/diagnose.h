/*
** diagnose.h - explains why a connection could not be made.
*/
#ifndef LEAT_DIAGNOSE_H
#define LEAT_DIAGNOSE_H

#include "leat.h"

#include <curl/curl.h>

typedef struct leat__connect_failure {
  CURLcode result;
  const char *message;    /* libcurl's, or what curl_easy_strerror says */
  long http_status;       /* the proxy's response; 0: there was none */
  CURLproxycode socks;    /* what a SOCKS proxy reported */
  bool lacks_descriptors; /* this process may open no more */
  bool awaited_handshake; /* the other end did not respond in the TLS handshake */
  const char *origin;     /* the server's */
  const char *proxy;      /* the address of the proxy that was used; "" if none was */
  bool proxy_from_environment;
  int64_t unix_s;
} leat__connect_failure;

/* Writes what happened and what to do to `text`, truncated to `size`; never a URL of a
** proxy, which may hold a password. Returns the kind of the failure. */
leat_kind leat__diagnose(const leat__connect_failure *failure, char *text, size_t size);

/* Returns whether a message of libcurl reports a TLS alert of the other end. */
bool leat__is_alert(const char *message);

#endif
