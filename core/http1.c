/*
** http1.c - the client's side of HTTP/1.1 on one connection: request in, bytes out; bytes
** in, answer out. It does no I/O.
**
** What was received stands in one buffer: the head's lines as they came, then the body.
** Chunks are joined in place, and what is not parsed yet is moved up behind them, so the
** buffer never holds more than head, body and one receive.
**
** RFC 9112 is the source; where it lets a client choose, this one refuses.
*/
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_WANTED = 2048, KEPT_CAPACITY = 64 * 1024 };

typedef enum part {
  STATUS_LINE,
  HEADERS,
  LENGTH_BODY,
  CLOSE_BODY,
  CHUNK_SIZE,
  CHUNK_DATA,
  CHUNK_END,
  TRAILERS,
  COMPLETE,
  FAILED
} part;

typedef struct span { /* of the input */
  size_t at, length;
} span;

struct leat_http1 {
  leat_buffer output;
  size_t sent;
  bool head_method; /* HEAD: the answer has no body, whatever it says */
  size_t max_body;

  leat_buffer input;
  part part;
  size_t at;      /* parsed up to here */
  size_t scanned; /* no line ends before here */
  size_t head_length;
  int interim_answers;

  int status;
  bool minor_1;      /* HTTP/1.1, not 1.0 */
  bool close;        /* Connection: close */
  bool keep_alive;   /* Connection: keep-alive */
  bool has_length;   /* Content-Length */
  bool chunked;      /* Transfer-Encoding: chunked */
  bool encoded;      /* a Content-Encoding that was not asked for */
  uint64_t length;   /* as declared */
  uint64_t expected; /* of the body or the chunk, still to come */
  span body;
  size_t header_count;
  struct {
    span name, value;
  } marks[LEAT_MAX_ANSWER_HEADERS];

  leat_header headers[LEAT_MAX_ANSWER_HEADERS];
  leat_answer answer;
  leat_kind failure;
  char detail[256];
};

leat_http1 *leat_http1_new(void) {
  leat_http1 *http = calloc(1, sizeof *http);
  if (http == NULL) return NULL;
  leat__buffer_init(&http->output, LEAT_MAX_REQUEST * 2);
  http->part = COMPLETE;
  return http;
}

void leat_http1_free(leat_http1 *http) {
  if (http == NULL) return;
  if (http->output.data) explicit_bzero(http->output.data, http->output.capacity);
  leat__buffer_free(&http->output);
  leat__buffer_free(&http->input);
  free(http);
}

/* ---- failing --------------------------------------------------------------------- */

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static bool fail(leat_http1 *http, leat_kind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(http->detail, sizeof http->detail, format, arguments);
  va_end(arguments);
  http->failure = kind;
  http->part = FAILED;
  return false;
}

/* Fails with what was seen. */
static bool refuse(leat_http1 *http, const char *what, leat_string seen) {
  char excerpt[LEAT_MAX_EXCERPT + 1];
  leat__clean(excerpt, sizeof excerpt, seen, leat_s(NULL));
  return fail(http, LEAT_PROTOCOL, "%s: \"%s\"", what, excerpt);
}

static leat_string input_text(const leat_http1 *http, span s) {
  return (leat_string){http->input.data + s.at, s.length};
}

/* ---- requests -------------------------------------------------------------------- */

static bool is_token_character(unsigned char c) {
  if (c >= '0' && c <= '9') return true;
  if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return true;
  return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(leat_string text) {
  for (size_t i = 0; i < text.length; i++)
    if (!is_token_character((unsigned char)text.data[i])) return false;
  return text.length > 0;
}

/* No control characters; in a target no spaces and nothing but ASCII either. */
static bool is_clean(leat_string text, bool target) {
  for (size_t i = 0; i < text.length; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if ((c < 0x20 && c != '\t') || c == 0x7F) return false;
    if (target && (c <= 0x20 || c > 0x7F)) return false;
  }
  return true;
}

static bool is_sendable(const leat_request *request) {
  if (!is_token(request->method) || !is_clean(request->origin, true)) return false;
  if (!is_clean(request->target, true)) return false;
  if (request->target.length == 0 || request->target.data[0] != '/') return false;
  for (size_t i = 0; i < request->header_count; i++)
    if (!is_token(request->headers[i].name) || !is_clean(request->headers[i].value, false))
      return false;
  return true;
}

static void append_line(leat_buffer *out, leat_string name, const char *between,
                        leat_string value) {
  leat__append(out, name.data, name.length);
  leat__append_s(out, between);
  leat__append(out, value.data, value.length);
  leat__append_s(out, "\r\n");
}

/* The Host header: the origin without its scheme. */
static leat_string authority(leat_string origin) {
  for (size_t i = 0; i + 3 <= origin.length; i++)
    if (memcmp(origin.data + i, "://", 3) == 0)
      return (leat_string){origin.data + i + 3, origin.length - i - 3};
  return origin;
}

static void append_request(leat_buffer *out, const leat_request *request) {
  leat__append(out, request->method.data, request->method.length);
  append_line(out, leat_s(" "), "", request->target);
  out->length -= out->failed ? 0 : 2;
  leat__append_s(out, " HTTP/1.1\r\n");
  append_line(out, leat_s("Host"), ": ", authority(request->origin));
  for (size_t i = 0; i < request->header_count; i++)
    append_line(out, request->headers[i].name, ": ", request->headers[i].value);
  if (request->body.length > 0) {
    char length[24];
    snprintf(length, sizeof length, "%zu", request->body.length);
    append_line(out, leat_s("Content-Length"), ": ", leat_s(length));
  }
  leat__append_s(out, "\r\n");
  leat__append(out, request->body.data, request->body.length);
}
