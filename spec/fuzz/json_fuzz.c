/*
** json_fuzz.c - compares the decoder with jansson: both must accept the same texts, with
** the same values.
*/
#include "internal.h"
#include "json_oracle.h"
#include "seeds.h"

/* A message about a text is never empty, and quotes nothing of the text. */
static void check_why(const char *why) {
  const char *byte = strstr(why, " (byte ");
  MUST(byte != NULL && strcspn(why, "\"\\") == strlen(why));
  for (; *why; why++)
    MUST(*why >= ' ' && *why < 0x7F);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char why[80];
  leat_string text = {(const char *)data, size};
  if (size == 0) return 0;
  leat_json *document = leat__json_parse(text, why, sizeof why);
  MUST(oracle_agrees(document, text));
  if (document == NULL) check_why(why);
  leat__json_free(document);
  return 0;
}
