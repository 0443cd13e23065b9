/*
** buffer.c - strings, and buffers that have a limit from the start.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

leat_string leat_s(const char *text) {
  leat_string string = {text ? text : "", text ? strlen(text) : 0};
  return string;
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool leat__same_letters(const char *a, const char *b, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  return true;
}

leat_string leat__trimmed(leat_string text) {
  static const char blanks[] = " \t\r\n\v\f";
  while (text.length > 0 && memchr(blanks, text.data[0], sizeof blanks - 1)) {
    text.data++;
    text.length--;
  }
  while (text.length > 0 && memchr(blanks, text.data[text.length - 1], sizeof blanks - 1))
    text.length--;
  return text;
}

bool leat_same_value(leat_string a, leat_string b) {
  if (a.data == NULL || b.data == NULL) return false;
  a = leat__trimmed(a);
  b = leat__trimmed(b);
  return a.length == b.length && leat__same_letters(a.data, b.data, a.length);
}

size_t leat_normal_value(leat_string value, char *out, size_t size) {
  leat_string text = leat__trimmed(value);
  for (size_t i = 0; i < text.length && i < size; i++)
    out[i] = lower(text.data[i]);
  return text.length;
}

/* The range of the second byte excludes overlong forms, surrogates and code points beyond
** U+10FFFF. */
size_t leat__utf8_character(leat_string text) {
  const unsigned char *s = (const unsigned char *)text.data;
  unsigned char low = 0x80, high = 0xBF;
  size_t length;
  if (s[0] < 0x80) return 1;
  if (s[0] >= 0xC2 && s[0] <= 0xDF) length = 2;
  else if (s[0] >= 0xE0 && s[0] <= 0xEF) length = 3;
  else if (s[0] >= 0xF0 && s[0] <= 0xF4) length = 4;
  else return 0;
  if (s[0] == 0xE0) low = 0xA0;
  if (s[0] == 0xED) high = 0x9F;
  if (s[0] == 0xF0) low = 0x90;
  if (s[0] == 0xF4) high = 0x8F;
  if (length > text.length || s[1] < low || s[1] > high) return 0;
  for (size_t i = 2; i < length; i++)
    if (s[i] < 0x80 || s[i] > 0xBF) return 0;
  return length;
}

bool leat__utf8(leat_string text) {
  while (text.length > 0) {
    size_t n = leat__utf8_character(text);
    if (n == 0) return false;
    text.data += n;
    text.length -= n;
  }
  return true;
}

char *leat__copy(const char *data, size_t length) {
  char *copy = malloc(length + 1);
  if (copy == NULL) return NULL;
  if (length > 0) memcpy(copy, data, length);
  copy[length] = '\0';
  return copy;
}

void leat__wipe_free(char *secret) {
  if (secret) explicit_bzero(secret, strlen(secret));
  free(secret);
}

void leat__buffer_init(leat_buffer *buffer, size_t limit) {
  memset(buffer, 0, sizeof *buffer);
  buffer->limit = limit;
}

static void wipe(leat_buffer *buffer) {
  if (buffer->data) explicit_bzero(buffer->data, buffer->capacity);
  free(buffer->data);
}

void leat__buffer_free(leat_buffer *buffer) {
  wipe(buffer);
  buffer->data = NULL;
  buffer->length = buffer->capacity = 0;
}

static bool grow(leat_buffer *buffer, size_t needed) {
  size_t capacity = buffer->capacity ? buffer->capacity : 256;
  while (capacity < needed)
    capacity *= 2;
  if (capacity > buffer->limit) capacity = buffer->limit;
  char *data = malloc(capacity); /* realloc would leave the old bytes behind */
  if (data == NULL) {
    buffer->failed = LEAT_NO_MEMORY;
    return false;
  }
  if (buffer->length > 0) memcpy(data, buffer->data, buffer->length);
  wipe(buffer);
  buffer->data = data;
  buffer->capacity = capacity;
  return true;
}

char *leat__reserve(leat_buffer *buffer, size_t length) {
  if (buffer->failed) return NULL;
  if (length > buffer->limit - buffer->length) {
    buffer->failed = LEAT_TOO_LARGE;
    return NULL;
  }
  size_t needed = buffer->length + length;
  if (needed > buffer->capacity && !grow(buffer, needed)) return NULL;
  return buffer->data + buffer->length;
}

void leat__append(leat_buffer *buffer, const char *data, size_t length) {
  if (length == 0) return;
  char *room = leat__reserve(buffer, length);
  if (room == NULL) return;
  memcpy(room, data, length);
  buffer->length += length;
}

void leat__append_s(leat_buffer *buffer, const char *text) {
  leat__append(buffer, text, strlen(text));
}
