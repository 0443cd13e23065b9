/*
** busy.h - a program that is busy while its responses arrive. A response that arrived in
** time must count, however late the program reads it.
*/
#ifndef LEAT_TEST_BUSY_H
#define LEAT_TEST_BUSY_H

#include "curl_calls.h"

enum {
  BUSY_CALLS = 150,       /* more than one step processes */
  BUSY_TIMEOUT_MS = 1000, /* each times test_slowness */
  BUSY_MS = 1500
};

typedef enum busy_loop { BUSY_WAITS, BUSY_STEPS, BUSY_WATCHES, BUSY_PERFORMS } busy_loop;

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
    case BUSY_PERFORMS: CHECK(perform(curl, client, "find").kind == LEAT_OK);
  }
}

/* Starts BUSY_CALLS calls. The server responds once it has received all of them, while
** the program is busy for `busy_ms`. Returns how many succeed. */
static inline int busy_calls(leat_curl *curl, leat_client *client, http_server *s,
                             const char *operation, int busy_ms, busy_loop how) {
  leat_call *calls[BUSY_CALLS], *call;
  int good = 0, before = s->requests;
  s->held = true;
  for (int i = 0; i < BUSY_CALLS; i++) {
    calls[i] = card_call(client, operation);
    leat_call_set_timeout_ms(calls[i],
                             busy_ms ? BUSY_TIMEOUT_MS * test_slowness() : 30000);
    if (busy_ms == 0) leat_call_set_connect_timeout_ms(calls[i], 30000);
    leat_curl_start(curl, calls[i]);
  }
  wait_for_requests(curl, s, before + BUSY_CALLS, calls[0]);
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
static inline void busy_check(leat_curl *curl, leat_client *client, http_server *s,
                              busy_loop how) {
  CHECK(busy_calls(curl, client, s, "find", 0, BUSY_WAITS) == BUSY_CALLS);
  int good = busy_calls(curl, client, s, "create", BUSY_MS * test_slowness(), how);
  if (!CHECK(good == BUSY_CALLS)) printf("  %d of %d succeeded\n", good, BUSY_CALLS);
}

#endif
