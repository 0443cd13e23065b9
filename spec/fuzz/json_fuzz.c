/*
** json_fuzz.c - compares the decoder with jansson: both must accept the same texts, with
** the same values. What is written of a value must decode to an equal one.
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

/* Also writes the text into a buffer that may be too small for it. */
static void check_written(const leat_json *document, size_t cut) {
  char why[80];
  size_t length = leat_json_write(document, NULL, 0), size = cut % (length + 2);
  char *text = malloc(length + 1), *part = malloc(size);
  MUST(leat_json_write(document, text, length + 1) == length && strlen(text) == length);
  leat_json *again = leat__json_parse((leat_string){text, length}, why, sizeof why);
  MUST(oracle_equal(document, again));
  MUST(leat_json_write(document, part, size) == length);
  MUST(size == 0 || (memcmp(part, text, size - 1) == 0 && part[size - 1] == '\0'));
  leat__json_free(again);
  free(part);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char why[80];
  leat_string text = {(const char *)data, size};
  if (size == 0) return 0;
  leat_json *document = leat__json_parse(text, why, sizeof why);
  MUST(oracle_agrees(document, text));
  if (document == NULL) check_why(why);
  else check_written(document, data[size - 1]);
  leat__json_free(document);
  return 0;
}
