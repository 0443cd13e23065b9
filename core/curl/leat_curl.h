/*
** A driver for the calls of leat.h, based on libcurl. libcurl connects and
** verifies the server (DNS, proxy, TCP, TLS); the codec of leat.h speaks HTTP over the
** connection.
**
** Connections are kept and reused, but only after a complete and valid response. HTTPS
** servers are always verified, with TLS 1.2 at least.
**
** To run calls in an event loop: start them with leat_curl_start, call leat_curl_step
** whenever leat_curl_fd is readable or leat_curl_timeout_ms has passed, and collect the
** calls that are done from leat_curl_done.
*/
#ifndef LEAT_CURL_H
#define LEAT_CURL_H

#include "leat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A driver: connections, and the calls that it works on. */
typedef struct leat_curl leat_curl;

/* The settings of a driver. Zero or NULL means the default. */
typedef struct leat_curl_config {
  int max_connections; /* 16: further calls are queued, first come, first served */
  const char *ca_file; /* the system's: a PEM file of CA certificates, for proxies too */
  /* from the environment (https_proxy, ...): the URL of a proxy; "" means no proxy.
  ** Loopback addresses are always connected directly. */
  const char *proxy;
} leat_curl_config;

/* Creates a driver. `config` may be NULL. Returns NULL on failure and describes it in
** `error`, which may be NULL. */
LEAT_API leat_curl *leat_curl_new(const leat_curl_config *config, leat_error *error);
/* Frees a driver. Calls that it still works on end with LEAT_CANCELED. */
LEAT_API void leat_curl_free(leat_curl *curl);

/* Runs the call and blocks until it is done. The driver's other calls make progress
** meanwhile, and stay available to leat_curl_done, leat_curl_token and leat_curl_slot. If
** the call itself needs a token from the caller, it fails with LEAT_CONFIG; if it needs a
** slot, with LEAT_MISUSE. */
LEAT_API void leat_curl_perform(leat_curl *curl, leat_call *call);

/* Starts a call, or queues it. Returns false if the call was not accepted: it is then
** done and its error says why, or a driver works on it already. leat_curl_done does not
** return such a call. */
LEAT_API bool leat_curl_start(leat_curl *curl, leat_call *call);
/* Does what can be done now. Never blocks. */
LEAT_API void leat_curl_step(leat_curl *curl);
/* Waits until there is something to do, for `ms` at most (less after a signal), and then
** steps. */
LEAT_API void leat_curl_wait(leat_curl *curl, int ms);
/* Returns the next call that is done; NULL if there is none. */
LEAT_API leat_call *leat_curl_done(leat_curl *curl);
/* Returns a call that needs a token, because its client was created with
** token_from_caller. Each is returned once; NULL if there is none. The call continues
** after leat_client_set_token (with leat_curl_moment) or leat_call_fail. An event loop
** must then call leat_curl_fd, which rearms the descriptor, or leat_curl_step. */
LEAT_API leat_call *leat_curl_token(leat_curl *curl);
/* Returns a call that needs a slot of its client's rate limit, because its client was
** created with slots_from_caller. Each is returned once; NULL if there is none. The call
** continues after leat_call_take_slot, leat_call_await or leat_call_fail, which are in
** leat_driver.h. Until then it waits, beyond its queue_timeout too; see leat_call_until. An
** event loop must then call leat_curl_fd or leat_curl_step. */
LEAT_API leat_call *leat_curl_slot(leat_curl *curl);
/* Makes the driver's descriptor, and waits, ready also while another descriptor is readable:
** for a program that gives out slots, and watches one descriptor. Closing it ends that.
** Returns false if that cannot be. */
LEAT_API bool leat_curl_watch(leat_curl *curl, int fd);
/* Returns the current time on the driver's clock. */
LEAT_API leat_moment leat_curl_moment(leat_curl *curl);
/* Cancels a call: it ends with LEAT_CANCELED unless it is done already, and
** leat_curl_done does not return it. */
LEAT_API void leat_curl_cancel(leat_curl *curl, leat_call *call);
/* Returns a descriptor that is readable when leat_curl_step has something to do; it also
** signals timers. It stays the same until the process forks. Returns -1 on systems
** without one (Linux has it): use leat_curl_wait there. */
LEAT_API int leat_curl_fd(leat_curl *curl);
/* Returns the longest time to wait before the next step, in milliseconds; -1 if only the
** descriptor needs to be watched. */
LEAT_API int leat_curl_timeout_ms(leat_curl *curl);

/* Returns "libcurl/7.88.1 OpenSSL/3.0.17 ...". Never freed. */
LEAT_API const char *leat_curl_version(void);

#ifdef __cplusplus
}
#endif
#endif
