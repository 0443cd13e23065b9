/*
** headers.c - lists of request headers, and the check of those that a user supplies.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

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

bool leat__headers_put(leat_headers *headers, leat_header *before, leat_string name,
                       leat_string value) {
  leat_header fresh;
  if (headers->count == 0) return leat__headers_add(headers, name, value);
  if (!copy(&fresh, name, value)) return false;
  leat__header_wipe(before);
  *before = headers->list[0];
  headers->list[0] = fresh;
  return true;
}

void leat__headers_free(leat_headers *headers) {
  for (size_t i = 0; i < headers->count; i++)
    leat__header_wipe(&headers->list[i]);
  free(headers->list);
  *headers = (leat_headers){NULL, 0};
}

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
    return "is no name of a header";
  if (leat__is_missing(header.value)) return "has no value: it is NULL";
  if (is_reserved(header.name)) return "is a header that the library writes itself";
  if (!content_type_too && leat__equal_nocase(header.name, "content-type"))
    return "is a header that the library writes itself";
  if (header.name.length + header.value.length > LEAT_MAX_HEADER) return "is too long";
  if (!leat__is_field_value(header.value))
    return "holds a line end or another control character";
  return NULL;
}
