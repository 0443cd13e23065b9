/*
** url.c - strict parsing of base URLs, and percent-encoding.
*/
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HTTP_PORT = 80, HTTPS_PORT = 443 };

static bool one_of(char c, const char *set) {
  return c != '\0' && strchr(set, c) != NULL;
}

static bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void leat__append_encoded(leat_buffer *buffer, leat_string text) {
  static const char hex[] = "0123456789ABCDEF";
  char *out = leat__reserve(buffer, text.length * 3);
  if (out == NULL) return;
  for (size_t i = 0; i < text.length; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if (is_alphanumeric((char)c) || one_of((char)c, "-._~")) {
      *out++ = (char)c;
    } else {
      *out++ = '%';
      *out++ = hex[c >> 4];
      *out++ = hex[c & 15];
    }
  }
  buffer->length = (size_t)(out - buffer->data);
}

/* ---- hosts ----------------------------------------------------------------------- */

/* Accepts four decimal numbers from 0 to 255. Leading zeros are refused, because some
** parsers read them as octal. */
static bool is_ipv4(const char *text) {
  for (int dots = 0; dots < 4; dots++) {
    int number = 0, digits = 0;
    if (dots > 0 && *text++ != '.') return false;
    for (; leat__is_digit(*text) && digits < 4; digits++)
      number = number * 10 + (*text++ - '0');
    if (digits == 0 || number > 255 || (digits > 1 && text[-digits] == '0')) return false;
  }
  return *text == '\0';
}

/* Accepts eight groups of hexadecimal digits. "::" may replace some of them, once, and an
** IPv4 address the last two. */
static bool is_ipv6(const char *text) {
  int groups = 0;
  bool gap = strncmp(text, "::", 2) == 0;
  if (gap) text += 2;
  while (*text && groups < 8) {
    size_t digits = strspn(text, "0123456789abcdefABCDEF");
    if (text[digits] == '.') return is_ipv4(text) && (gap ? groups < 6 : groups == 6);
    if (digits == 0 || digits > 4) return false;
    text += digits;
    groups++;
    if (*text == '\0') break;
    if (*text++ != ':' || (*text == '\0')) return false;
    if (*text != ':') continue;
    if (gap) return false;
    gap = true;
    text++;
  }
  return *text == '\0' && (gap ? groups < 8 : groups == 8);
}

/* Accepts a name without empty labels, with or without a dot at its end. If its last
** label is a number, it must be an IPv4 address. */
static bool is_name(const char *text) {
  size_t length = strlen(text), start = length;
  if (length > 0 && text[length - 1] == '.') start = --length;
  if (length == 0 || text[0] == '.' || strstr(text, "..")) return false;
  while (start > 0 && text[start - 1] != '.')
    start--;
  return !leat__is_digit(text[start]) ||
         strspn(text + start, "0123456789") < length - start || is_ipv4(text);
}

bool leat__loopback(const char *host) {
  return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
         (strncmp(host, "127.", 4) == 0 && is_ipv4(host));
}

/* ---- base URLs ------------------------------------------------------------------- */

static bool refuse(leat_error *error, const char *name, const char *why) {
  leat__error_set(error, LEAT_CONFIG, "%s %s", name, why);
  return false;
}

static bool take_scheme(leat_url *url, const char **text) {
  url->tls = leat__equal_nocase((leat_string){*text, strnlen(*text, 8)}, "https://");
  if (!url->tls &&
      !leat__equal_nocase((leat_string){*text, strnlen(*text, 7)}, "http://"))
    return false;
  *text += url->tls ? 8 : 7;
  return true;
}

/* Takes a name, an IPv4 address, or an IPv6 address in brackets, in lower case. Returns
** false if it is none of them. url->host is NULL out of memory. */
static bool take_host(leat_url *url, const char **text) {
  bool brackets = **text == '[';
  const char *start = *text + (brackets ? 1 : 0);
  size_t length = 0;
  while (is_alphanumeric(start[length]) || one_of(start[length], brackets ? ":." : "-._"))
    length++;
  if (length == 0 || (brackets && start[length] != ']')) return false;
  url->host = leat__copy(start, length);
  if (url->host && !(brackets ? is_ipv6(url->host) : is_name(url->host))) return false;
  for (char *c = url->host; c && *c; c++)
    if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
  *text = start + length + (brackets ? 1 : 0);
  return true;
}

static bool take_port(leat_url *url, const char **text) {
  url->port = url->tls ? HTTPS_PORT : HTTP_PORT;
  if (**text != ':') return true;
  url->port = 0;
  for (++*text; **text >= '0' && **text <= '9'; ++*text) {
    url->port = url->port * 10 + (**text - '0');
    if (url->port > 65535) return false;
  }
  return url->port > 0;
}

/* Returns the length of a leading dot, "." or "%2e", or 0 if there is none. */
static size_t dot_length(leat_string text) {
  if (text.length > 0 && text.data[0] == '.') return 1;
  return text.length > 2 && leat__same_letters(text.data, "%2e", 3) ? 3 : 0;
}

static bool is_dot_segment(leat_string text) {
  for (int dots = 0; dots < 2 && text.length > 0; dots++) {
    size_t length = dot_length(text);
    text.data += length;
    text.length -= length;
    if (length == 0) return false;
  }
  return text.length == 0;
}

/* Accepts a path segment: it is not empty and not a dot segment, and each percent sign is
** followed by two hexadecimal digits. */
static bool is_segment(leat_string text) {
  for (size_t i = 0; i < text.length; i++) {
    if (text.data[i] == '%') {
      if (i + 2 >= text.length || leat__hex_digit(text.data[i + 1]) < 0 ||
          leat__hex_digit(text.data[i + 2]) < 0)
        return false;
    } else if (!is_alphanumeric(text.data[i]) &&
               !one_of(text.data[i], "-._~!$&'()*+,;=:@")) {
      return false;
    }
  }
  return text.length > 0 && !is_dot_segment(text);
}

bool leat__is_path(leat_string text) {
  for (size_t start = 0, end; start < text.length; start = end) {
    if (text.data[start] != '/') return false;
    for (end = start + 1; end < text.length && text.data[end] != '/';)
      end++;
    if (!is_segment((leat_string){text.data + start + 1, end - start - 1})) return false;
  }
  return true;
}

static bool take_path(leat_url *url, const char *text) {
  leat_string path = leat_s(text);
  while (path.length > 0 && path.data[path.length - 1] == '/')
    path.length--;
  if (!leat__is_path(path)) return false;
  url->path = leat__copy(path.data, path.length);
  return true;
}

static void make_origin(leat_url *url) {
  leat_buffer origin;
  char port[16] = "";
  bool brackets = strchr(url->host, ':') != NULL;
  if (url->port != (url->tls ? HTTPS_PORT : HTTP_PORT))
    snprintf(port, sizeof port, ":%d", url->port);
  leat__buffer_init(&origin, LEAT_MAX_URL + 32);
  leat__append_s(&origin, url->tls ? "https://" : "http://");
  leat__append_s(&origin, brackets ? "[" : "");
  leat__append_s(&origin, url->host);
  leat__append_s(&origin, brackets ? "]" : "");
  leat__append_s(&origin, port);
  leat__append(&origin, "", 1);
  if (origin.failed) leat__buffer_free(&origin);
  url->origin = origin.data;
}

bool leat__url_parse(leat_url *url, const char *text, const char *name,
                     leat_error *error) {
  memset(url, 0, sizeof *url);
  if (strlen(text) > LEAT_MAX_URL) return refuse(error, name, "is too long");
  if (*text == '\0') return refuse(error, name, "is empty: leave it out, or set it");
  if (!take_scheme(url, &text)) return refuse(error, name, "must begin with https://");
  if (memchr(text, '@', strcspn(text, "/")))
    return refuse(error, name, "must not hold credentials");
  if (strpbrk(text, "?#"))
    return refuse(error, name, "must not hold a query or a fragment");
  if (!take_host(url, &text)) return refuse(error, name, "has no valid host");
  if (!take_port(url, &text)) return refuse(error, name, "has no valid port");
  if (!take_path(url, text)) return refuse(error, name, "has no valid path");
  if (url->host == NULL || url->path == NULL) return leat__no_memory(error);
  make_origin(url);
  if (url->origin == NULL) return leat__no_memory(error);
  url->loopback = leat__loopback(url->host);
  return true;
}

void leat__url_free(leat_url *url) {
  free(url->origin);
  free(url->host);
  free(url->path);
  memset(url, 0, sizeof *url);
}
