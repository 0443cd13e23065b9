/*
** json_fuzz.c - the decoder beside jansson: both take the same texts, and for the same values.
*/
#include "feed.h"
#include "internal.h"
#include "json_oracle.h"

/* What is said of a text quotes nothing of it, and there is always something to say. */
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
