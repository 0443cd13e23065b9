/*
** error.c - names and messages of errors. Secrets, and characters that would distort a
** message, are removed from foreign text.
*/
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *leat_kind_name(leat_kind kind) {
  static const char *const names[LEAT_KINDS] = {
      [LEAT_OK] = "ok",
      [LEAT_NOT_FOUND] = "not_found",
      [LEAT_INACTIVE] = "inactive",
      [LEAT_ALREADY_EXISTS] = "already_exists",
      [LEAT_ALREADY_LINKED] = "already_linked",
      [LEAT_NOT_LINKED] = "not_linked",
      [LEAT_CONTACT_NOT_FOUND] = "contact_not_found",
      [LEAT_INVALID_INPUT] = "invalid_input",
      [LEAT_UNAUTHORIZED] = "unauthorized",
      [LEAT_FORBIDDEN] = "forbidden",
      [LEAT_QUOTA_REACHED] = "quota_reached",
      [LEAT_RATE_LIMITED] = "rate_limited",
      [LEAT_MAINTENANCE] = "maintenance",
      [LEAT_SERVER] = "server",
      [LEAT_API_ERROR] = "api",
      [LEAT_CONFLICT] = "conflict",
      [LEAT_CONNECTION] = "connection",
      [LEAT_TLS] = "tls",
      [LEAT_TIMEOUT] = "timeout",
      [LEAT_PROTOCOL] = "protocol",
      [LEAT_TOO_LARGE] = "too_large",
      [LEAT_REDIRECT] = "redirect",
      [LEAT_CANCELED] = "canceled",
      [LEAT_CONFIG] = "config",
      [LEAT_LOCAL] = "local",
      [LEAT_NO_MEMORY] = "no_memory",
      [LEAT_MISUSE] = "misuse",
  };
  return (unsigned)kind < LEAT_KINDS ? names[kind] : "unknown";
}

const char *leat_error_text(const leat_error *error, char *text, size_t size) {
  char numbers[48] = "";
  if (error->code && error->status)
    snprintf(numbers, sizeof numbers, " (%d, HTTP %d)", error->code, error->status);
  else if (error->code) snprintf(numbers, sizeof numbers, " (%d)", error->code);
  else if (error->status) snprintf(numbers, sizeof numbers, " (HTTP %d)", error->status);
  snprintf(text, size, "leat: %s%s%s%s: %s%s", error->operation,
           error->operation[0] ? ": " : "", leat_kind_name(error->kind), numbers,
           error->message,
           error->outcome_unknown ? " [outcome unknown: find it before you try again]"
                                  : "");
  return text;
}

void leat__error_clear(leat_error *error) {
  memset(error, 0, sizeof *error);
  error->retry_after_ms = -1;
}

/* Removes an incomplete character that truncation left at the end of the text. */
static void trim_cut(char *text, size_t length) {
  size_t start = length;
  while (start > 0 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
    start--;
  if (start > 0 && (unsigned char)text[start - 1] >= 0xC0) start--;
  if (start < length &&
      leat__utf8_character((leat_string){text + start, length - start}) == 0)
    text[start] = '\0';
}

static void append(leat_error *error, const char *format, va_list arguments) {
  size_t length = strlen(error->message), room = sizeof error->message - length;
  int wanted = vsnprintf(error->message + length, room, format, arguments);
  if (wanted >= 0 && (size_t)wanted >= room)
    trim_cut(error->message, sizeof error->message - 1);
}

bool leat__no_memory(leat_error *error) {
  leat__error_set(error, LEAT_NO_MEMORY, "out of memory");
  return false;
}

void leat__error_add(leat_error *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  append(error, format, arguments);
  va_end(arguments);
}

void leat__error_set(leat_error *error, leat_kind kind, const char *format, ...) {
  va_list arguments;
  if (error == NULL) return;
  error->kind = kind;
  error->message[0] = '\0';
  va_start(arguments, format);
  append(error, format, arguments);
  va_end(arguments);
}

/* Returns the length of the longest beginning of the text that occurs in the secret. */
static size_t secret_piece(leat_string text, leat_string secret) {
  size_t longest = 0;
  for (size_t start = 0; start < secret.length; start++) {
    size_t n = 0;
    while (n < text.length && start + n < secret.length &&
           text.data[n] == secret.data[start + n])
      n++;
    if (n > longest) longest = n;
  }
  return longest;
}

/* Returns whether a code point is invisible or changes how a line is displayed: control
** characters, line and paragraph separators, zero-width and bidirectional marks, tags. */
static bool is_invisible(uint32_t c) {
  static const struct {
    uint32_t first, last;
  } ranges[] = {{0x00, 0x1F},      {0x7F, 0x9F},     {0xAD, 0xAD},     {0x034F, 0x034F},
                {0x061C, 0x061C},  {0x115F, 0x1160}, {0x17B4, 0x17B5}, {0x180B, 0x180F},
                {0x200B, 0x200F},  {0x2028, 0x202E}, {0x2060, 0x206F}, {0x3164, 0x3164},
                {0xFE00, 0xFE0F},  {0xFEFF, 0xFEFF}, {0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFB},
                {0xE0000, 0xE0FFF}};
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
    if (c >= ranges[i].first && c <= ranges[i].last) return true;
  return false;
}

/* Returns the code point of a valid UTF-8 character of `length` bytes. */
static uint32_t code_point(const char *text, size_t length) {
  static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
  uint32_t c = (unsigned char)text[0] & masks[length];
  for (size_t i = 1; i < length; i++)
    c = c << 6 | ((unsigned char)text[i] & 0x3F);
  return c;
}

/* Returns the first character of foreign text in the form that a message shows. *skip is
** its length in the text. */
static leat_string clean_character(leat_string text, size_t *skip) {
  size_t length = leat__utf8_character(text);
  *skip = length > 0 ? length : 1;
  if (length == 0) return leat_s("?");
  if (is_invisible(code_point(text.data, length))) return leat_s(" ");
  return (leat_string){text.data, length};
}

/* Returns how many bytes at the beginning of the text must be hidden, because they are a
** piece of the secret. */
static size_t hidden(leat_string text, leat_string secret) {
  size_t shortest =
      secret.length < LEAT_MIN_SECRET_PIECE ? secret.length : LEAT_MIN_SECRET_PIECE;
  if (secret.length < LEAT_MIN_SECRET) return 0;
  size_t length = secret_piece(text, secret);
  return length < shortest ? 0 : length;
}

void leat__clean(char *out, size_t size, leat_string text, leat_secrets secrets) {
  size_t length = 0;
  if (secrets.hide || text.data == NULL) text.length = 0;
  while (text.length > 0) {
    size_t skip = hidden(text, secrets.token), other = hidden(text, secrets.previous);
    leat_string shown = leat_s("[token]");
    if (other > skip) skip = other;
    if (skip == 0) shown = clean_character(text, &skip);
    if (length + shown.length >= size) break;
    memcpy(out + length, shown.data, shown.length);
    length += shown.length;
    text.data += skip;
    text.length -= skip;
  }
  out[length] = '\0';
}
