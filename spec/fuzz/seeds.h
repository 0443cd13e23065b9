/*
** seeds.h - shared by the fuzz targets. An input is two bytes of choices followed by the
** bytes of a response. The seeds are the cases of spec/cases/http1.cases.
*/
#ifndef LEAT_FUZZ_SEEDS_H
#define LEAT_FUZZ_SEEDS_H

#include "feed.h"
#include "http_cases.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                  \
  do {                                                                                   \
    if (!(condition)) fprintf(stderr, "broken: %s\n", #condition), abort();              \
  } while (0)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Gives the codec the bytes, and closes the connection if `closes`. It must take all of
** them while it wants more. */
static inline void receive(leat_http1 *http, const uint8_t *data, size_t size,
                           size_t step, bool closes, leat_http1_state *state) {
  MUST(feed(http, data, size, step, state) == 0 || *state != LEAT_HTTP1_MORE);
  if (closes && *state == LEAT_HTTP1_MORE) *state = leat_http1_closed(http);
}

/* Writes a seed: the choices, then the response. */
static inline void write_seed(const char *path, uint8_t choices, bytes response) {
  uint8_t head[2] = {choices, 7};
  FILE *file = fopen(path, "wb");
  MUST(file != NULL);
  fwrite(head, 1, sizeof head, file);
  fwrite(response.data, 1, response.length, file);
  fclose(file);
}

/* Writes the cases into the folder LEAT_SEEDS, each with the choices from 0 to `count`,
** plus `closes` if the connection closes. */
static inline void write_seeds(uint8_t count, uint8_t closes) {
  size_t case_count;
  char path[512];
  const char *folder = getenv("LEAT_SEEDS");
  if (folder == NULL) return;
  http_case *cases = cases_read("spec/cases", &case_count);
  for (size_t i = 0; i < case_count; i++) {
    if (cases[i].response.length > 8192) continue;
    for (uint8_t choice = 0; choice < count; choice++) {
      snprintf(path, sizeof path, "%s/case-%zu-%d", folder, i, choice);
      write_seed(path, choice | (cases[i].closes ? closes : 0), cases[i].response);
    }
  }
  cases_free(cases, case_count);
}

#endif
