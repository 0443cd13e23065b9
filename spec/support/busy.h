/*
** busy.h - a program that is busy while its responses arrive. A response that arrived in
** time must count, however late the program reads it.
*/
#ifndef LEAT_TEST_BUSY_H
#define LEAT_TEST_BUSY_H

#include "leat_curl.h"
#include "server.h"
#include "test.h"

enum {
  BUSY_CALLS = 150,       /* more than are seen to in one step */
  BUSY_TIMEOUT_MS = 1000, /* each times test_slowness */
  BUSY_MS = 1500
};

typedef enum busy_loop { BUSY_WAITS, BUSY_STEPS, BUSY_WATCHES, BUSY_PERFORMS } busy_loop;

static inline leat_call *busy_start(leat_curl *curl, leat_client *client,
                                    const char *operation, int timeout_ms) {
  leat_call *call =
      leat_call_new(client, leat_operation("contact_identifiers", operation));
  leat_call_set(call, "contact_identifier_value", leat_s("1"));
  leat_call_set_timeout_ms(call, timeout_ms);
  leat_curl_start(curl, call);
  return call;
}

/* Runs one iteration of the program's loop. */
static inline void busy_turn(leat_curl *curl, leat_client *client, busy_loop how) {
  struct pollfd fd = {leat_curl_fd(curl), POLLIN, 0};
  switch (how) {
    case BUSY_WAITS: leat_curl_wait(curl, 100); break;
    case BUSY_STEPS: leat_curl_step(curl); break;
    case BUSY_WATCHES:
      poll(&fd, fd.fd >= 0, fd.fd >= 0 ? 1000 : leat_curl_timeout_ms(curl));
      leat_curl_step(curl);
      break;
    case BUSY_PERFORMS: {
      leat_call *call =
          leat_call_new(client, leat_operation("contact_identifiers", "find"));
      leat_call_set(call, "contact_identifier_value", leat_s("1"));
      leat_curl_perform(curl, call);
      CHECK(leat_call_error(call)->kind == LEAT_OK);
      leat_call_free(call);
    }
  }
}

/* Starts BUSY_CALLS calls. The server responds once it has received all of them, while
** the program is busy for `busy_ms`. Returns how many succeed. */
static inline int busy_calls(leat_curl *curl, leat_client *client, server *s,
                             const char *operation, int busy_ms, busy_loop how) {
  leat_call *calls[BUSY_CALLS], *call;
  int good = 0, before = s->requests;
  s->held = true;
  for (int i = 0; i < BUSY_CALLS; i++)
    calls[i] = busy_start(curl, client, operation,
                          busy_ms ? BUSY_TIMEOUT_MS * test_slowness() : 30000);
  while (s->requests < before + BUSY_CALLS && !leat_call_is_done(calls[0]))
    leat_curl_wait(curl, 1);
  s->held = false;
  usleep((useconds_t)busy_ms * 1000);
  for (int done = 0; done < BUSY_CALLS;) {
    for (; (call = leat_curl_done(curl)) != NULL; done++)
      good += leat_call_error(call)->kind == LEAT_OK;
    if (done < BUSY_CALLS) busy_turn(curl, client, how);
  }
  for (int i = 0; i < BUSY_CALLS; i++)
    leat_call_free(calls[i]);
  return good;
}

/* Opens the connections first, because this tests only the responses. */
static inline void busy_check(leat_curl *curl, leat_client *client, server *s,
                              busy_loop how) {
  CHECK(busy_calls(curl, client, s, "find", 0, BUSY_WAITS) == BUSY_CALLS);
  int good = busy_calls(curl, client, s, "create", BUSY_MS * test_slowness(), how);
  if (!CHECK(good == BUSY_CALLS)) printf("  %d of %d succeeded\n", good, BUSY_CALLS);
}

#endif
