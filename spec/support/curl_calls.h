/*
** curl_calls.h - the harness of the tests of the libcurl driver: a server, a client and a
** driver; a read and a write; and checks that every error must pass.
*/
#ifndef LEAT_TEST_CURL_CALLS_H
#define LEAT_TEST_CURL_CALLS_H

#include "calls.h"
#include "http_server.h"
#include "leat_curl.h"
#include "secrets.h"
#include "test.h"

#include <unistd.h>

#define BODY     "{\"data\":{\"value\":\"1\",\"name\":null},\"meta\":[]}"
#define OK_HEAD  "HTTP/1.1 200 OK\r\n"
#define GOOD     OK_HEAD "Content-Length: 44\r\n\r\n" BODY
#define CUT_BODY OK_HEAD "Content-Length: 44\r\n\r\n{\"da"

static const reply good_reply = {GOOD, STAY}, no_reply = {NULL, STAY};

/* A path that is unique to this process: ports are reused, so a proxy may receive
** requests of other processes. */
static inline const char *test_path(void) {
  static char path[32];
  snprintf(path, sizeof path, "/api-%d", (int)getpid());
  return path;
}

/* Makes a client for the server. Without max_attempts, its calls have one attempt. */
static inline leat_client *client_at(const char *scheme, const char *host, int port,
                                     leat_config config) {
  char url[128];
  snprintf(url, sizeof url, "%s://%s:%d%s", scheme, host, port, test_path());
  if (config.max_attempts == 0) config.max_attempts = 1;
  config.base_url = url;
  config.allow_http = true;
  return new_client(config);
}

static inline leat_client *client_of(const char *scheme, const char *host, int port,
                                     int connect_timeout_ms) {
  return client_at(scheme, host, port,
                   (leat_config){.connect_timeout_ms = connect_timeout_ms});
}

/* ---- calls ----------------------------------------------------------------------- */

static inline leat_call *start_call(leat_curl *curl, leat_client *client,
                                    const char *operation) {
  leat_call *call = card_call(client, operation);
  leat_curl_start(curl, call);
  return call;
}

static inline void wait_for(leat_curl *curl, leat_call *call) {
  while (!leat_call_is_done(call))
    leat_curl_wait(curl, 1000);
}

/* Waits until the server has received so many requests, or until the call ends. */
static inline void wait_for_requests(leat_curl *curl, const http_server *s, int requests,
                                     leat_call *call) {
  while (s->requests < requests && !leat_call_is_done(call))
    leat_curl_wait(curl, 1);
}

/* Frees the call, and returns its error. */
static inline leat_error end_call(leat_call *call) {
  leat_error error = *leat_call_error(call);
  leat_call_free(call);
  return error;
}

static inline leat_error finish(leat_curl *curl, leat_call *call) {
  wait_for(curl, call);
  return end_call(call);
}

static inline leat_error perform(leat_curl *curl, leat_client *client,
                                 const char *operation) {
  leat_call *call = card_call(client, operation);
  leat_curl_perform(curl, call);
  return end_call(call);
}

typedef struct pair {
  leat_error find, create;
} pair;

/* Performs both at once, so that timeouts are waited for only once. */
static inline pair perform_both(leat_curl *curl, leat_client *client) {
  leat_call *find = start_call(curl, client, "find");
  leat_call *create = start_call(curl, client, "create");
  pair errors = {finish(curl, find), finish(curl, create)};
  return errors;
}

/* ---- checks ---------------------------------------------------------------------- */

static inline bool check_fine(leat_error error) {
  bool good = CHECK(error.kind == LEAT_OK);
  if (!good) printf("  %s: %s\n", leat_kind_name(error.kind), error.message);
  return good;
}

static inline bool is_clean(const char *message) {
  return message[0] && strpbrk(message, "\r\n") == NULL && !strstr(message, "  (") &&
         strlen(message) < sizeof((leat_error *)0)->message - 1 &&
         !shows(message, test_key()) && strstr(message, "hunter2") == NULL;
}

/* Checks the kind of the error, and that its message contains all of `says`, which ends
** with NULL. The message must be one line, not truncated, and without secrets. */
static inline void check_error(leat_error error, leat_kind kind,
                               const char *const *says) {
  bool good = CHECK(error.kind == kind) && CHECK(error.attempts == 1) &&
              CHECK(is_clean(error.message));
  for (; *says; says++)
    if (!CHECK(strstr(error.message, *says) != NULL)) {
      printf("  it does not say \"%s\"\n", *says);
      good = false;
    }
  if (!good) printf("  %s: %s\n", leat_kind_name(error.kind), error.message);
}

/* Checks that both failed before anything was sent. */
static inline void check_unsent(pair errors, leat_kind kind, const char *const *says) {
  check_error(errors.find, kind, says);
  check_error(errors.create, kind, says);
  CHECK(errors.find.sent == LEAT_SENT_NO && errors.create.sent == LEAT_SENT_NO);
  CHECK(!errors.find.outcome_unknown && !errors.create.outcome_unknown);
}

#endif
