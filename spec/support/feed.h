/*
** feed.h - gives the codec the bytes of a response, as a driver does.
*/
#ifndef LEAT_TEST_FEED_H
#define LEAT_TEST_FEED_H

#include "leat_driver.h"

#include <string.h>

/* Gives the codec the bytes, in pieces of at most `step`, while it wants more. Returns how
** many it did not take. */
static inline size_t feed(leat_http1 *http, const void *from, size_t size, size_t step,
                          leat_http1_state *state) {
  const char *data = from;
  while (size > 0 && *state == LEAT_HTTP1_MORE) {
    size_t room, n = size < step ? size : step;
    char *space = leat_http1_space(http, &room);
    if (space == NULL || room == 0) break;
    if (n > room) n = room;
    memcpy(space, data, n);
    data += n;
    size -= n;
    *state = leat_http1_received(http, n);
  }
  return size;
}

#endif
