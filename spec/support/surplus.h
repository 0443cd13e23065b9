/*
** surplus.h - a response of a chosen length, followed immediately by a forged response to
** the next request, which does not yet exist.
*/
#ifndef LEAT_TEST_SURPLUS_H
#define LEAT_TEST_SURPLUS_H

#include "curl_calls.h"

#define SURPLUS_FORGED                                                                   \
  "HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n"                                        \
  "{\"data\":{\"value\":\"1\",\"name\":\"!\"},\"meta\":[]}  "

enum { SURPLUS_MOST = 16384 }; /* the size of a TLS record */

/* Lengths at which a receive may end together with the response, and their neighbors. */
static const size_t surplus_lengths[] = {256,  511,  512,  513,   1023,  1024, 1025,
                                         2047, 2048, 2049, 3072,  4095,  4096, 4097,
                                         6144, 8191, 8192, 12287, 12288, 16000};

/* Makes a response of `length` bytes, at least 200, followed by the forged one. */
static inline void surplus_make(char out[SURPLUS_MOST + 1], size_t length) {
  static const char start[] = "{\"data\":{\"value\":\"1\",\"name\":null,\"x\":\"",
                    end[] = "\"},\"meta\":[]}";
  size_t fixed = sizeof start + sizeof end - 2;
  /* Content-Length may be padded with spaces, so the head is always 42 bytes long */
  char *at =
      out + sprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %5zu\r\n\r\n", length - 42);
  size_t body = length - (size_t)(at - out);
  at += sprintf(at, "%s", start);
  memset(at, 'x', body - fixed);
  at += body - fixed;
  sprintf(at, "%s%s", end, SURPLUS_FORGED);
}

/* Returns true if a create succeeds with its own response and not with the forged one. */
static inline bool surplus_is_ignored(leat_curl *curl, leat_client *client) {
  leat_contact_identifier card;
  leat_call *call = card_call(client, "create");
  leat_curl_perform(curl, call);
  bool good = leat_call_contact_identifier(call, &card) && card.name.data == NULL;
  leat_call_free(call);
  return good;
}

#endif
