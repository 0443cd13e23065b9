/*
** leat_sandbox.h - a server in your process that behaves like the API, for tests and for
** trying things out. It listens on 127.0.0.1 only, on a port that the system picks.
**
** It is made from the API's documentation and knows nothing of the client in leat.h.
*/
#ifndef LEAT_SANDBOX_H
#define LEAT_SANDBOX_H

#include "leat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct leat_sandbox leat_sandbox;

typedef struct leat_sandbox_contact {
  const char *uuid;
  const char *email; /* may be NULL */
} leat_sandbox_contact;

typedef struct leat_sandbox_card {
  const char *value;
  const char *name;         /* may be NULL */
  const char *contact_uuid; /* may be NULL: not linked */
  bool inactive;
} leat_sandbox_card;

typedef struct leat_sandbox_config { /* zero or NULL means the default */
  const char *api_key;               /* "sandbox": the token that it accepts */
  const leat_sandbox_contact *contacts;
  size_t contact_count;
  const leat_sandbox_card *cards;
  size_t card_count;
  bool tls; /* HTTPS, with a certificate of its own for localhost, 127.0.0.1 and ::1 */
  int port; /* 0: any */
} leat_sandbox_config;

/* Starts it, in a thread of its own. NULL: `error` (which may be NULL) says why. */
LEAT_API leat_sandbox *leat_sandbox_new(const leat_sandbox_config *config,
                                        leat_error *error);
/* Stops it, and frees what it handed out. */
LEAT_API void leat_sandbox_free(leat_sandbox *sandbox);

/* The base URL to give to a client: "http://127.0.0.1:PORT/api/v3/oauth/clients". */
LEAT_API const char *leat_sandbox_url(const leat_sandbox *sandbox);
/* The file that holds the certificate, to give as ca_file; NULL without tls. It is
** removed by leat_sandbox_free. */
LEAT_API const char *leat_sandbox_ca_file(const leat_sandbox *sandbox);

/* A request that was received, and the status that it was answered with. */
typedef struct leat_sandbox_request {
  leat_string method;
  leat_string target;         /* path and query, as received */
  const leat_header *headers; /* with "[token]" for Authorization's value */
  size_t header_count;
  leat_string body;
  int status;
} leat_sandbox_request;

/* Request `index`, counted from 0; false behind the last. Borrowed until
** leat_sandbox_free. */
LEAT_API bool leat_sandbox_request_at(leat_sandbox *sandbox, size_t index,
                                      leat_sandbox_request *request);

#ifdef __cplusplus
}
#endif
#endif
