/*
** leat_curl.h - the driver on libcurl: it finds, connects and verifies the server (DNS,
** proxy, TCP, TLS); the codec of leat.h speaks HTTP over what it connected.
**
** Connections are kept and used again, after a complete and clean answer only.
** HTTPS is verified always, TLS 1.2 at least.
*/
#ifndef LEAT_CURL_H
#define LEAT_CURL_H

#include "leat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct leat_curl leat_curl;

typedef struct leat_curl_config { /* zero or NULL means the default */
  int max_connections;            /* 16; calls beyond that wait in line, in order */
  const char *ca_file; /* PEM, instead of the system's certificates; of proxies too */
  const char *proxy;   /* URL; NULL: as the environment says (https_proxy, ...),
                        "": none. Never for this very machine's addresses */
} leat_curl_config;

/* NULL: `error` (which may be NULL) says why. `config` may be NULL. */
LEAT_API leat_curl *leat_curl_new(const leat_curl_config *config, leat_error *error);
/* Calls that it still holds end as LEAT_CANCELED. */
LEAT_API void leat_curl_free(leat_curl *curl);

/* Blocks until the call is done: a loop over what follows. A token that it would ask the
** user for fails it; other calls that ask for one go on asking. */
LEAT_API void leat_curl_perform(leat_curl *curl, leat_call *call);

/*
** In a loop of your own: start calls, step whenever the descriptor is readable or the
** time has come, and take what is done.
*/
/* Takes the call into work, or in line. False: it was not taken, and does not come out of
** leat_curl_done: it is done, and its error says why; or a driver works on it already. */
LEAT_API bool leat_curl_start(leat_curl *curl, leat_call *call);
/* Does what can be done now; never blocks. */
LEAT_API void leat_curl_step(leat_curl *curl);
/* Waits for something to do, at most `ms` (less after a signal), then steps. */
LEAT_API void leat_curl_wait(leat_curl *curl, int ms);
/* The next call that is done, NULL if there is none. */
LEAT_API leat_call *leat_curl_done(leat_curl *curl);
/* A call that needs a token of its client, made with token_from_caller, each once; NULL: there is
** none. It goes on after leat_client_set_token (on leat_curl_moment), or leat_call_fail;
** who watches the descriptor then asks for it by leat_curl_fd, or steps. */
LEAT_API leat_call *leat_curl_token(leat_curl *curl);
/* The moment on the driver's clock. */
LEAT_API leat_moment leat_curl_moment(leat_curl *curl);
/* Gives a call up: it ends as LEAT_CANCELED, and does not come out of leat_curl_done. */
LEAT_API void leat_curl_cancel(leat_curl *curl, leat_call *call);
/* Readable when a step has something to do: one descriptor for ever, until the process
** forks. -1: this system has none (there is one on Linux): leat_curl_wait is the way. */
LEAT_API int leat_curl_fd(leat_curl *curl);
/* Until the next step is due, at most; -1: not before the descriptor is readable. */
LEAT_API int leat_curl_timeout_ms(leat_curl *curl);

/* "libcurl/7.88.1 OpenSSL/3.0.17 ..." Lives for ever. */
LEAT_API const char *leat_curl_version(void);

#ifdef __cplusplus
}
#endif
#endif
