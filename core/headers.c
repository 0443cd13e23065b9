/*
** headers.c - the grammar of HTTP header fields, lists of them, and the check of those
** that a caller supplies.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- grammar (RFC 9110, section 5) ------------------------------------------------ */

/* clang-format off */
#define LETTERS 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
static const bool in_token[256] = {
    ['!'] = 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['A'] = LETTERS, ['^'] = 1, 1, 1, LETTERS, ['|'] = 1, ['~'] = 1,
};
/* clang-format on */

size_t leat__token_length(leat_string text) {
  size_t i = 0;
  while (i < text.length && in_token[(unsigned char)text.data[i]])
    i++;
  return i;
}

bool leat__is_token(leat_string text) {
  return text.length > 0 && leat__token_length(text) == text.length;
}

/* Tests eight bytes at once. True means that they are all ASCII, not below `least`, and
** not DEL. False may be wrong, so the caller then tests each byte. */
static inline bool are_plain(const char *eight, unsigned char least) {
  const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones * 0x80;
  uint64_t bytes, no_del;
  memcpy(&bytes, eight, sizeof bytes);
  no_del = bytes ^ (ones * 0x7F);
  uint64_t below = (bytes - ones * least) & ~bytes, del = (no_del - ones) & ~no_del;
  return ((below | del | bytes) & highs) == 0;
}

/* Returns how many bytes at the beginning of the text are known to be plain. A rest of
** less than eight bytes is tested as part of the last eight. */
static inline size_t count_plain(leat_string text, unsigned char least) {
  size_t i = 0;
  while (i + 8 <= text.length && are_plain(text.data + i, least))
    i += 8;
  bool rest = i > 0 && i + 8 > text.length;
  return rest && are_plain(text.data + text.length - 8, least) ? text.length : i;
}

bool leat__is_field_value(leat_string text) {
  for (size_t i = count_plain(text, 0x20); i < text.length; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if ((c < 0x20 && c != '\t') || c == 0x7F) return false;
  }
  return true;
}

bool leat__is_visible(leat_string text) {
  for (size_t i = count_plain(text, 0x21); i < text.length; i++)
    if ((unsigned char)text.data[i] - 0x21u > 0x7Eu - 0x21u) return false;
  return true;
}

/* ---- lists ----------------------------------------------------------------------- */

/* Copies both texts into one allocation, which begins with the name. */
static bool copy(leat_header *header, leat_string name, leat_string value) {
  char *text = malloc(name.length + value.length + 2);
  if (text == NULL) return false;
  *header = (leat_header){{text, name.length}, {text + name.length + 1, value.length}};
  memcpy(text, name.data, name.length);
  text[name.length] = '\0';
  if (value.length > 0) memcpy(text + name.length + 1, value.data, value.length);
  text[name.length + 1 + value.length] = '\0';
  /* cppcheck-suppress memleak ; the header owns it */
  return true;
}

void leat__header_wipe(leat_header *header) {
  char *text = (char *)(uintptr_t)header->name.data;
  if (text) explicit_bzero(text, header->name.length + header->value.length + 2);
  free(text);
  *header = (leat_header){{NULL, 0}, {NULL, 0}};
}

bool leat__headers_add(leat_headers *headers, leat_string name, leat_string value) {
  leat_header *grown = realloc(headers->list, (headers->count + 1) * sizeof *grown);
  if (grown == NULL) return false;
  headers->list = grown;
  if (!copy(&headers->list[headers->count], name, value)) return false;
  headers->count++;
  return true;
}

bool leat__headers_put(leat_headers *headers, leat_header *previous, leat_string name,
                       leat_string value) {
  leat_header fresh;
  if (headers->count == 0) return leat__headers_add(headers, name, value);
  if (!copy(&fresh, name, value)) return false;
  leat__header_wipe(previous);
  *previous = headers->list[0];
  headers->list[0] = fresh;
  return true;
}

void leat__headers_free(leat_headers *headers) {
  for (size_t i = 0; i < headers->count; i++)
    leat__header_wipe(&headers->list[i]);
  free(headers->list);
  *headers = (leat_headers){NULL, 0};
}

/* ---- headers of a response ------------------------------------------------------- */

leat_string leat_response_header(const leat_response *response, const char *name) {
  size_t length = name ? strlen(name) : 0;
  for (size_t i = 0; i < response->header_count; i++) {
    leat_string here = response->headers[i].name;
    if (here.length == length && leat__same_letters(here.data, name, length))
      return response->headers[i].value;
  }
  return (leat_string){NULL, 0};
}

/* ---- headers from the caller ----------------------------------------------------- */

/* The headers that the library writes itself, and those that change a message's framing
** or connection. */
static bool is_reserved(leat_string name) {
  static const char *const reserved[] = {
      "accept",     "accept-encoding", "authorization",
      "connection", "content-length",  "expect",
      "host",       "keep-alive",      "te",
      "trailer",    "upgrade",         "transfer-encoding",
      "user-agent",
  };
  for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
    if (leat__equal_nocase(name, reserved[i])) return true;
  return name.length > 6 && leat__equal_nocase((leat_string){name.data, 6}, "proxy-");
}

const char *leat__check_header(leat_header header, bool content_type_too) {
  if (leat__is_missing(header.name) || !leat__is_token(header.name))
    return "is not a valid header name";
  if (leat__is_missing(header.value)) return "has a NULL value";
  if (is_reserved(header.name)) return "is a header that the library sets itself";
  if (!content_type_too && leat__equal_nocase(header.name, "content-type"))
    return "is a header that the library sets itself";
  if (header.name.length + header.value.length > LEAT_MAX_HEADER) return "is too long";
  if (!leat__is_field_value(header.value))
    return "contains a line end or another control character";
  return NULL;
}
