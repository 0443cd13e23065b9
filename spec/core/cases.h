/*
** cases.h - answers as data: reads spec/cases/http1.cases, whose head describes the
** language. Shared by the tests of the codec, the differential run and the fuzz targets.
*/
#ifndef LEAT_TEST_CASES_H
#define LEAT_TEST_CASES_H

#include "leat.h"

typedef enum expectation {
  WANT_NOTHING,
  WANT_MORE,
  WANT_ANSWER,
  WANT_FAILURE
} expectation;

/* What a call makes of the response. */
typedef struct call_want {
  char operation[16];
  leat_kind kind; /* LEAT_OK: a value */
  bool unknown;
  char piece[128]; /* of the message */
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
  bytes answer;
  expectation want;
  int status;
  leat_framing framing;
  bool reusable;
  bytes body; /* data NULL: only its length is known */
  leat_kind failure;
  char piece[128]; /* of the failure's detail */
  call_want calls[4];
  size_t call_count;
  char differs[128]; /* why libcurl's own HTTP may see it otherwise */
} http_case;

/* Ends the program, with the line, when the file is not what it should be. */
http_case *cases_read(const char *folder, size_t *count);
void cases_free(http_case *cases, size_t count);

#endif
