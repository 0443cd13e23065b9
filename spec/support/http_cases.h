/*
** http_cases.h - responses as data: reads spec/cases/http1.cases, which describes its format
** at the top. The tests of the codec, the differential test and the fuzz targets use it.
*/
#ifndef LEAT_TEST_HTTP_CASES_H
#define LEAT_TEST_HTTP_CASES_H

#include "leat_driver.h"

typedef enum expectation {
  WANT_NOTHING,
  WANT_MORE,
  WANT_RESPONSE,
  WANT_FAILURE
} expectation;

/* The expected result of a call with this response. */
typedef struct call_want {
  char operation[16];
  leat_kind kind; /* LEAT_OK: a value */
  bool unknown;
  char piece[128]; /* in the message */
} call_want;

typedef struct bytes {
  char *data;
  size_t length;
} bytes;

typedef struct http_case {
  int line;
  char name[96];
  char method[8];
  bool unsent, closes;
  bytes response;
  expectation want;
  int status;
  leat_framing framing;
  bool reusable;
  bytes body; /* data NULL: only the length is known */
  leat_kind failure;
  char piece[128]; /* in the failure's detail */
  call_want calls[4];
  size_t call_count;
  char differs[128]; /* why libcurl's own HTTP may differ */
} http_case;

/* Reads all cases. If the file is invalid, prints the line and exits. */
http_case *cases_read(const char *folder, size_t *count);
void cases_free(http_case *cases, size_t count);

#endif
