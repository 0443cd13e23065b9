/*
** calls.h - makes calls for the TLS and proxy tests: a read and a write, and checks that
** every error must pass.
*/
#ifndef LEAT_TEST_CALLS_H
#define LEAT_TEST_CALLS_H

#include "leat_curl.h"
#include "secrets.h"
#include "test.h"

#include <unistd.h>

#define BODY "{\"data\":{\"value\":\"1\",\"name\":null},\"meta\":[]}"
#define GOOD "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n" BODY

typedef struct pair {
  leat_error find, create;
} pair;

/* A path that is unique to this process: ports are reused, so a proxy may receive
** requests of other processes. */
static inline const char *test_path(void) {
  static char path[32];
  snprintf(path, sizeof path, "/api-%d", (int)getpid());
  return path;
}

static inline leat_client *client_of(const char *scheme, const char *host, int port,
                                     int connect_timeout_ms) {
  char url[128];
  snprintf(url, sizeof url, "%s://%s:%d%s", scheme, host, port, test_path());
  leat_config config = {.max_attempts = 1,
                        .api_key = test_key(),
                        .base_url = url,
                        .allow_http = true,
                        .connect_timeout_ms = connect_timeout_ms};
  return leat_client_new(&config, NULL);
}

static inline leat_call *call_of(leat_client *client, const char *operation) {
  leat_call *call =
      leat_call_new(client, leat_operation("contact_identifiers", operation));
  leat_call_set(call, "contact_identifier_value", leat_s("1"));
  return call;
}

static inline leat_error finish(leat_curl *curl, leat_call *call) {
  while (!leat_call_is_done(call))
    leat_curl_wait(curl, 1000);
  leat_error error = *leat_call_error(call);
  leat_call_free(call);
  return error;
}

static inline leat_error perform(leat_curl *curl, leat_client *client,
                                 const char *operation) {
  leat_call *call = call_of(client, operation);
  leat_curl_start(curl, call);
  return finish(curl, call);
}

/* Performs both at once, so that timeouts are waited for only once. */
static inline pair perform_both(leat_curl *curl, leat_client *client) {
  leat_call *find = call_of(client, "find"), *create = call_of(client, "create");
  leat_curl_start(curl, find);
  leat_curl_start(curl, create);
  pair errors = {finish(curl, find), finish(curl, create)};
  return errors;
}

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
