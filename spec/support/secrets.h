/*
** secrets.h - the API key and the client secret of the tests. spec/support/canary.sh
** generates new ones, and searches all output and files of the tests for them.
*/
#ifndef LEAT_TEST_SECRETS_H
#define LEAT_TEST_SECRETS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline const char *test_key(void) {
  const char *key = getenv("LEAT_TEST_KEY");
  return key ? key : "1|canary-5f3a9c-of-the-tests";
}

static inline const char *test_secret(void) {
  const char *secret = getenv("LEAT_TEST_SECRET");
  return secret ? secret : "s3cret&of=the+client";
}

/* Returns true if the text contains a piece of the secret. */
static inline bool shows(const char *text, const char *secret) {
  char piece[9] = "";
  for (size_t i = 0; i + 8 <= strlen(secret); i++) {
    memcpy(piece, secret + i, 8);
    if (strstr(text, piece)) return true;
  }
  return false;
}

#endif
