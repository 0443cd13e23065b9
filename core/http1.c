/*
** http1.c - the client's side of HTTP/1.1 on one connection. It turns a request into
** bytes, and received bytes into a response. It does no I/O.
**
** One buffer holds the received bytes: the lines of the head, then the body. Chunks are
** joined in place, and bytes not yet parsed are moved up behind them, so the buffer never
** holds more than the head, the body and one receive.
**
** It follows RFC 9112; where that lets a client accept or refuse, it refuses.
*/
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_WANTED = 2048, KEPT_CAPACITY = 64 * 1024, USUAL_CHUNK_LINE = 16 };

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

typedef struct span { /* a part of the input, by offset */
  size_t at, length;
} span;

struct leat_http1 {
  leat_buffer output;
  size_t sent;
  bool head_method; /* HEAD: the response has no body, whatever its headers say */
  size_t max_body;

  leat_buffer input;
  part part;
  size_t at;      /* the input is parsed up to here */
  size_t scanned; /* no line feed between `at` and here */
  size_t head_length;
  size_t chunk_excess; /* bytes of chunk lines beyond USUAL_CHUNK_LINE each */
  int interim_responses;

  int status;
  bool minor_1;      /* the response is HTTP/1.1, not 1.0 */
  bool close;        /* Connection: close */
  bool keep_alive;   /* Connection: keep-alive */
  bool has_length;   /* Content-Length */
  bool chunked;      /* Transfer-Encoding: chunked */
  bool encoded;      /* an encoding of the body, which was not requested */
  uint64_t length;   /* the declared Content-Length */
  uint64_t expected; /* bytes of the body, or chunk, still to come */
  span body;
  size_t header_count;
  struct {
    span name, value;
  } marks[LEAT_MAX_RESPONSE_HEADERS];

  leat_header headers[LEAT_MAX_RESPONSE_HEADERS];
  leat_response response;
  leat_kind failure;
  char detail[256];
};

leat_http1 *leat_http1_new(void) {
  leat_http1 *http = calloc(1, sizeof *http);
  if (http == NULL) return NULL;
  leat__buffer_init(&http->output, (size_t)LEAT_MAX_REQUEST * 2);
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

/* ---- failures -------------------------------------------------------------------- */

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
set_failure(leat_http1 *http, leat_kind kind, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(http->detail, sizeof http->detail, format, arguments);
  va_end(arguments);
  http->failure = kind;
  http->part = FAILED;
}

/* The value is false: there is no more to parse. */
#define fail(...) (set_failure(__VA_ARGS__), false)

/* Fails with a message that quotes the received text. Returns false. */
static bool refuse(leat_http1 *http, const char *what, leat_string seen) {
  char excerpt[LEAT_MAX_EXCERPT + 1];
  leat__clean(excerpt, sizeof excerpt, seen, LEAT_NO_SECRETS);
  return fail(http, LEAT_PROTOCOL, "%s: \"%s\"", what, excerpt);
}

static leat_string input_text(const leat_http1 *http, span s) {
  return (leat_string){http->input.data + s.at, s.length};
}

/* ---- requests -------------------------------------------------------------------- */

static bool is_sendable(const leat_request *request) {
  if (!leat__is_token(request->method) || !leat__is_visible(request->origin))
    return false;
  if (!leat__is_visible(request->target)) return false;
  if (request->target.length == 0 || request->target.data[0] != '/') return false;
  for (size_t i = 0; i < request->header_count; i++)
    if (!leat__is_token(request->headers[i].name) ||
        !leat__is_field_value(request->headers[i].value))
      return false;
  return true;
}

static char *put(char *out, leat_string text) {
  if (text.length > 0) memcpy(out, text.data, text.length);
  return out + text.length;
}

static void append_line(leat_buffer *out, leat_string name, leat_string between,
                        leat_string value) {
  size_t length = name.length + between.length + value.length + 2;
  char *room = leat__reserve(out, length);
  if (room == NULL) return;
  put(put(put(put(room, name), between), value), (leat_string){"\r\n", 2});
  out->length += length;
}

/* Returns the value of the Host header, which is the origin without its scheme. */
static leat_string authority(leat_string origin) {
  for (size_t i = 0; i + 3 <= origin.length; i++)
    if (memcmp(origin.data + i, "://", 3) == 0)
      return (leat_string){origin.data + i + 3, origin.length - i - 3};
  return origin;
}

/* Returns whether the request needs a Content-Length. A GET, HEAD or DELETE without a
** body does not, because a body is not expected in it. */
static bool tells_length(const leat_request *request) {
  leat_string method = request->method;
  return request->body.length > 0 ||
         !(leat__equal(method, leat_s("GET")) || leat__equal(method, leat_s("HEAD")) ||
           leat__equal(method, leat_s("DELETE")));
}

static void append_request(leat_buffer *out, const leat_request *request) {
  static const leat_string colon = {": ", 2}, version = {" HTTP/1.1", 9},
                           host = {"Host", 4}, none = {NULL, 0};
  leat__append(out, request->method.data, request->method.length);
  leat__append(out, " ", 1);
  append_line(out, request->target, version, none);
  append_line(out, host, colon, authority(request->origin));
  for (size_t i = 0; i < request->header_count; i++)
    append_line(out, request->headers[i].name, colon, request->headers[i].value);
  if (tells_length(request)) {
    char length[24];
    snprintf(length, sizeof length, "%zu", request->body.length);
    append_line(out, leat_s("Content-Length"), colon, leat_s(length));
  }
  leat__append(out, "\r\n", 2);
  leat__append(out, request->body.data, request->body.length);
}

/* Reserves room for the whole request at once, so that the token is not copied each time
** the buffer grows. */
static void make_room(leat_buffer *out, const leat_request *request) {
  size_t needed = 128 + request->target.length + request->origin.length;
  for (size_t i = 0; i < request->header_count; i++)
    needed += request->headers[i].name.length + request->headers[i].value.length + 4;
  needed += request->body.length;
  if (out->data) explicit_bzero(out->data, out->length);
  if (out->capacity < needed) leat__buffer_free(out);
  out->length = 0;
  out->failed = LEAT_OK;
  leat__reserve(out, needed);
}

static void begin_head(leat_http1 *http) {
  http->part = STATUS_LINE;
  http->close = http->keep_alive = http->has_length = http->chunked = http->encoded =
      false;
  http->length = 0;
  http->header_count = 0;
}

leat_http1_state leat_http1_begin(leat_http1 *http, const leat_request *request) {
  if (http->input.capacity > KEPT_CAPACITY) leat__buffer_free(&http->input);
  http->input.length = 0;
  http->input.failed = LEAT_OK;
  http->input.limit = LEAT_MAX_RESPONSE_HEAD + request->max_body + LEAT_RECEIVE_ROOM;
  http->at = http->scanned = http->head_length = http->sent = 0;
  http->chunk_excess = 0;
  http->interim_responses = 0;
  http->failure = LEAT_OK;
  http->detail[0] = '\0';
  http->head_method = leat__equal(request->method, leat_s("HEAD"));
  http->max_body = request->max_body;
  memset(&http->body, 0, sizeof http->body);
  memset(&http->response, 0, sizeof http->response);
  begin_head(http);
  make_room(&http->output, request);
  if (!is_sendable(request))
    set_failure(http, LEAT_MISUSE,
                "a control character, a space or an empty name in the request");
  else append_request(&http->output, request);
  if (http->output.failed)
    set_failure(http, http->output.failed,
                "the request is larger than %d bytes, or memory ran out",
                LEAT_MAX_REQUEST);
  return http->part == FAILED ? LEAT_HTTP1_FAILED : LEAT_HTTP1_MORE;
}

leat_string leat_http1_output(const leat_http1 *http) {
  if (http->part == FAILED || http->output.data == NULL) return leat_s(NULL);
  return (leat_string){http->output.data + http->sent, http->output.length - http->sent};
}

void leat_http1_sent(leat_http1 *http, size_t length) {
  size_t left = http->output.length - http->sent;
  http->sent += length < left ? length : left;
}

/* ---- lines ----------------------------------------------------------------------- */

/* Takes the next complete line, without its CR LF. Returns false if more bytes are
** needed, or after a failure. */
static bool take_line(leat_http1 *http, leat_string *line) {
  const char *start = http->input.data + http->at;
  const char *from = http->input.data + http->scanned;
  const char *end = NULL;
  if (http->scanned < http->input.length)
    end = memchr(from, '\n', http->input.length - http->scanned);
  http->scanned = http->input.length;
  size_t length = end ? (size_t)(end - start) : http->input.length - http->at;
  if (length > LEAT_MAX_RESPONSE_LINE)
    return fail(http, LEAT_TOO_LARGE,
                "a line of the response's head is longer than %d bytes",
                LEAT_MAX_RESPONSE_LINE);
  if (end == NULL) return false;
  http->at += length + 1;
  http->scanned = http->at;
  *line = (leat_string){start, length};
  if (length == 0 || start[length - 1] != '\r')
    return refuse(http, "a line that does not end in CR LF", *line);
  line->length--;
  if (!leat__is_field_value(*line))
    return refuse(http, "a control character in the response's head", *line);
  return true;
}

static bool take_head_line(leat_http1 *http, leat_string *line) {
  size_t before = http->at;
  if (!take_line(http, line)) return false;
  http->head_length += http->at - before;
  if (http->head_length > LEAT_MAX_RESPONSE_HEAD)
    return fail(http, LEAT_TOO_LARGE, "the response's head is larger than %d bytes",
                LEAT_MAX_RESPONSE_HEAD);
  return true;
}

/* ---- the head -------------------------------------------------------------------- */

/* Refuses a first line that cannot become HTTP before it is complete, because a peer that
** speaks another protocol may never send its end. */
static bool looks_like_http(leat_http1 *http) {
  static const char prefix[] = "HTTP/1.";
  leat_string seen = {http->input.data + http->at, http->input.length - http->at};
  size_t n = seen.length < sizeof prefix - 1 ? seen.length : sizeof prefix - 1;
  if (n == 0 || memcmp(seen.data, prefix, n) == 0) return true;
  if (seen.data[0] == 0x15 || seen.data[0] == 0x16)
    return fail(http, LEAT_PROTOCOL, "the server speaks TLS here: use https");
  if (seen.data[0] == '\0') /* as in the first frame of HTTP/2 */
    return fail(http, LEAT_PROTOCOL,
                "not an HTTP/1.1 response: the server speaks HTTP/2, or no HTTP at all");
  return refuse(http, "not an HTTP/1.1 response", seen);
}

/* Parses a line such as "HTTP/1.1 200 OK". The reason, and the space before it, are
** optional. */
static bool parse_status(leat_http1 *http, leat_string line) {
  const char *s = line.data;
  bool good = line.length >= 12 && (s[7] == '0' || s[7] == '1') && s[8] == ' ' &&
              leat__is_digit(s[9]) && leat__is_digit(s[10]) && leat__is_digit(s[11]) &&
              (line.length == 12 || s[12] == ' ');
  if (!good) return refuse(http, "not a status line", line);
  http->minor_1 = s[7] == '1';
  http->status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
  if (http->status < 100 || http->status > 599)
    return refuse(http, "a status outside 100 to 599", line);
  http->part = HEADERS;
  return true;
}

static leat_string trim(leat_string text) {
  while (text.length > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
    text.data++, text.length--;
  while (text.length > 0 &&
         (text.data[text.length - 1] == ' ' || text.data[text.length - 1] == '\t'))
    text.length--;
  return text;
}

static bool parse_length(leat_http1 *http, leat_string value) {
  uint64_t length = 0;
  if (value.length == 0 || value.length > 18)
    return refuse(http, "a malformed Content-Length", value);
  for (size_t i = 0; i < value.length; i++) {
    if (!leat__is_digit(value.data[i]))
      return refuse(http, "a malformed Content-Length", value);
    length = length * 10 + (uint64_t)(value.data[i] - '0');
  }
  if (http->has_length && http->length != length)
    return refuse(http, "two different Content-Lengths, the second", value);
  http->has_length = true;
  http->length = length;
  return true;
}

static bool parse_transfer(leat_http1 *http, leat_string value) {
  if (http->chunked || !leat__equal_nocase(value, "chunked"))
    return refuse(http, "a Transfer-Encoding other than chunked", value);
  if (!http->minor_1)
    return refuse(http, "a Transfer-Encoding in an HTTP/1.0 response", value);
  http->chunked = true;
  return true;
}

/* Takes the next item, which may be empty, off a comma-separated list. Returns false if
** none is left. */
static bool next_item(leat_string *list, leat_string *item) {
  if (list->length == 0) return false;
  const char *comma = memchr(list->data, ',', list->length);
  size_t length = comma ? (size_t)(comma - list->data) : list->length;
  *item = trim((leat_string){list->data, length});
  length += comma ? 1 : 0;
  list->data += length;
  list->length -= length;
  return true;
}

static void parse_connection(leat_http1 *http, leat_string value) {
  leat_string option;
  while (next_item(&value, &option)) {
    if (leat__equal_nocase(option, "close")) http->close = true;
    if (leat__equal_nocase(option, "keep-alive")) http->keep_alive = true;
  }
}

/* "identity", or "none" as some servers call it, means that the body is not encoded. */
static void parse_encoding(leat_http1 *http, leat_string value) {
  leat_string coding;
  while (next_item(&value, &coding))
    if (coding.length > 0 && !leat__equal_nocase(coding, "identity") &&
        !leat__equal_nocase(coding, "none"))
      http->encoded = true;
}

/* Applies a header that concerns the framing, the coding or the connection. */
static bool apply_framing_header(leat_http1 *http, leat_string name, leat_string value) {
  if (leat__equal_nocase(name, "content-length")) return parse_length(http, value);
  if (leat__equal_nocase(name, "transfer-encoding")) return parse_transfer(http, value);
  if (leat__equal_nocase(name, "connection")) parse_connection(http, value);
  if (leat__equal_nocase(name, "content-encoding")) parse_encoding(http, value);
  return true;
}

static bool split_header(leat_http1 *http, leat_string line, leat_string *name,
                         leat_string *value) {
  size_t length = leat__token_length(line);
  *name = (leat_string){line.data, length};
  if (length > 0 && length < line.length && line.data[length] == ':') {
    *value = trim((leat_string){line.data + length + 1, line.length - length - 1});
    return true;
  }
  if (line.data[0] == ' ' || line.data[0] == '\t')
    return refuse(http, "a folded header", line);
  if (memchr(line.data, ':', line.length))
    return refuse(http, "a malformed header name", line);
  return refuse(http, "a header without a colon", line);
}

static bool parse_header(leat_http1 *http, leat_string line) {
  leat_string name, value;
  size_t i = http->header_count;
  if (!split_header(http, line, &name, &value)) return false;
  if (i == LEAT_MAX_RESPONSE_HEADERS)
    return fail(http, LEAT_TOO_LARGE, "the response has more than %d headers",
                LEAT_MAX_RESPONSE_HEADERS);
  http->marks[i].name.at = (size_t)(name.data - http->input.data);
  http->marks[i].name.length = name.length;
  http->marks[i].value.at = (size_t)(value.data - http->input.data);
  http->marks[i].value.length = value.length;
  http->header_count++;
  return apply_framing_header(http, name, value);
}

/* ---- the body -------------------------------------------------------------------- */

/* Skips a 1xx response, after which another one follows. It never has a body, but some
** servers send a Content-Length of 0 with it. */
static bool pass_interim(leat_http1 *http) {
  if (http->status == 101)
    return fail(http, LEAT_PROTOCOL, "the server switches protocols unasked (HTTP 101)");
  if (http->length > 0 || http->chunked)
    return fail(http, LEAT_PROTOCOL, "an interim response (HTTP %d) with a body",
                http->status);
  if (++http->interim_responses > LEAT_MAX_INTERIM_RESPONSES)
    return fail(http, LEAT_PROTOCOL, "more than %d interim responses (HTTP %d)",
                LEAT_MAX_INTERIM_RESPONSES, http->status);
  begin_head(http);
  return true;
}

static bool begin_body(leat_http1 *http) {
  http->body.at = http->at;
  if (http->encoded)
    return fail(
        http, LEAT_PROTOCOL,
        "the body has a Content-Encoding that was not requested: is a proxy in between?");
  if (http->chunked) {
    http->response.framing = LEAT_CHUNKED;
    http->part = CHUNK_SIZE;
    return true;
  }
  http->response.framing = http->has_length ? LEAT_LENGTH : LEAT_CLOSE_DELIMITED;
  http->part = http->has_length ? LENGTH_BODY : CLOSE_BODY;
  if (http->length > http->max_body)
    return fail(http, LEAT_TOO_LARGE,
                "the response's body is %llu bytes, and the limit is %zu",
                (unsigned long long)http->length, http->max_body);
  http->expected = http->length;
  return true;
}

static bool end_head(leat_http1 *http) {
  if (http->chunked && http->has_length)
    return fail(http, LEAT_PROTOCOL, "both Content-Length and Transfer-Encoding");
  if (http->status < 200) return pass_interim(http);
  if (!http->head_method && http->status != 204 && http->status != 304)
    return begin_body(http);
  /* A body after a 204 would be read as the next response: close the connection. */
  if (http->status == 204 && (http->chunked || http->length > 0)) http->close = true;
  http->body.at = http->at;
  http->response.framing = LEAT_NO_BODY;
  http->part = COMPLETE;
  return true;
}

/* Moves up to `length` received bytes into the body. Returns how many. */
static size_t take_body(leat_http1 *http, uint64_t length) {
  size_t there = http->input.length - http->at;
  size_t n = length < there ? (size_t)length : there;
  char *end = http->input.data + http->body.at + http->body.length;
  if (end != http->input.data + http->at) memmove(end, http->input.data + http->at, n);
  http->body.length += n;
  http->at += n;
  return n;
}

static bool length_body(leat_http1 *http) {
  http->expected -= take_body(http, http->expected);
  if (http->expected > 0) return false;
  http->part = COMPLETE;
  return true;
}

static bool close_body(leat_http1 *http) {
  take_body(http, UINT64_MAX);
  if (http->body.length > http->max_body)
    return fail(http, LEAT_TOO_LARGE, "the response's body is larger than %zu bytes",
                http->max_body);
  return false;
}

/* Limits the padding and extensions of all chunk sizes together, as it does the head. */
static bool take_chunk_line(leat_http1 *http, leat_string *line) {
  if (!take_line(http, line)) return false;
  if (line->length > USUAL_CHUNK_LINE)
    http->chunk_excess += line->length - USUAL_CHUNK_LINE;
  return http->chunk_excess <= LEAT_MAX_RESPONSE_HEAD ||
         fail(http, LEAT_TOO_LARGE,
              "the response's chunk extensions are larger than %d bytes",
              LEAT_MAX_RESPONSE_HEAD);
}

/* Accepts blanks after the digits, because some servers pad chunk sizes. */
static bool chunk_size(leat_http1 *http) {
  leat_string line;
  size_t i = 0;
  int digit;
  if (!take_chunk_line(http, &line)) return false;
  http->expected = 0;
  for (; i < line.length && (digit = leat__hex_digit(line.data[i])) >= 0; i++) {
    http->expected = http->expected * 16 + (uint64_t)digit;
    if (http->expected + http->body.length > http->max_body)
      return fail(http, LEAT_TOO_LARGE, "the response's body is larger than %zu bytes",
                  http->max_body);
  }
  leat_string rest = trim((leat_string){line.data + i, line.length - i});
  if (i == 0 || (rest.length > 0 && rest.data[0] != ';'))
    return refuse(http, "a malformed chunk size", line);
  http->part = http->expected > 0 ? CHUNK_DATA : TRAILERS;
  return true;
}

static bool chunk_data(leat_http1 *http) {
  http->expected -= take_body(http, http->expected);
  http->scanned = http->at;
  if (http->expected > 0) return false;
  http->part = CHUNK_END;
  return true;
}

static bool chunk_end(leat_http1 *http) {
  leat_string line;
  if (http->at < http->input.length && http->input.data[http->at] != '\r')
    return fail(http, LEAT_PROTOCOL, "a chunk that is longer than its size");
  if (!take_line(http, &line)) return false;
  if (line.length > 0)
    return fail(http, LEAT_PROTOCOL, "a chunk that is longer than its size");
  http->part = CHUNK_SIZE;
  return true;
}

/* ---- received bytes -------------------------------------------------------------- */

static bool status_line(leat_http1 *http) {
  leat_string line;
  return looks_like_http(http) && take_head_line(http, &line) && parse_status(http, line);
}

static bool headers(leat_http1 *http) {
  leat_string line;
  if (!take_head_line(http, &line)) return false;
  return line.length > 0 ? parse_header(http, line) : end_head(http);
}

/* Trailers are checked like headers, and discarded. */
static bool trailers(leat_http1 *http) {
  leat_string line, name, value;
  if (!take_head_line(http, &line)) return false;
  if (line.length > 0) return split_header(http, line, &name, &value);
  http->part = COMPLETE;
  return true;
}

/* Returns whether parsing can go on; false if more bytes are needed, the response is
** complete, or it failed. */
static bool parse_part(leat_http1 *http) {
  switch (http->part) {
    case STATUS_LINE: return status_line(http);
    case HEADERS: return headers(http);
    case LENGTH_BODY: return length_body(http);
    case CLOSE_BODY: return close_body(http);
    case CHUNK_SIZE: return chunk_size(http);
    case CHUNK_DATA: return chunk_data(http);
    case CHUNK_END: return chunk_end(http);
    case TRAILERS: return trailers(http);
    case COMPLETE:
    case FAILED: break;
  }
  return false;
}

/* Moves the unparsed input of a chunked response up behind its body. */
static void compact_input(leat_http1 *http) {
  size_t end = http->body.at + http->body.length;
  size_t gap = http->at - end;
  if (http->part < CHUNK_SIZE || http->part > TRAILERS || gap == 0) return;
  memmove(http->input.data + end, http->input.data + http->at,
          http->input.length - http->at);
  http->input.length -= gap;
  http->scanned -= gap;
  http->at = end;
}

static leat_http1_state complete(leat_http1 *http) {
  for (size_t i = 0; i < http->header_count; i++) {
    http->headers[i].name = input_text(http, http->marks[i].name);
    http->headers[i].value = input_text(http, http->marks[i].value);
  }
  http->response.status = http->status;
  http->response.headers = http->headers;
  http->response.header_count = http->header_count;
  http->response.body = input_text(http, http->body);
  return LEAT_HTTP1_RESPONSE;
}

char *leat_http1_space(leat_http1 *http, size_t *room) {
  leat_buffer *input = &http->input;
  *room = 0;
  if (http->part == COMPLETE || http->part == FAILED) return NULL;
  if (input->capacity - input->length < ROOM_WANTED &&
      !leat__reserve(input, ROOM_WANTED)) {
    set_failure(http, input->failed, "no room for the response");
    return NULL;
  }
  *room = input->capacity - input->length;
  if (*room > LEAT_RECEIVE_ROOM) *room = LEAT_RECEIVE_ROOM;
  return input->data + input->length;
}

leat_http1_state leat_http1_received(leat_http1 *http, size_t length) {
  if (http->part == COMPLETE) return LEAT_HTTP1_RESPONSE;
  if (http->part == FAILED) return LEAT_HTTP1_FAILED;
  http->input.length += length;
  while (parse_part(http)) {
  }
  if (http->part == FAILED) return LEAT_HTTP1_FAILED;
  if (http->part == COMPLETE) return complete(http);
  compact_input(http);
  return LEAT_HTTP1_MORE;
}

leat_http1_state leat_http1_closed(leat_http1 *http) {
  if (http->part == COMPLETE) return LEAT_HTTP1_RESPONSE;
  if (http->part == CLOSE_BODY) {
    http->part = COMPLETE;
    return complete(http);
  }
  if (http->part == FAILED) return LEAT_HTTP1_FAILED;
  if (http->input.length == 0)
    set_failure(http, LEAT_CONNECTION,
                "the server closed the connection without a response");
  else if (http->part <= HEADERS)
    set_failure(http, LEAT_CONNECTION,
                "the connection closed within the response's head");
  else
    set_failure(http, LEAT_CONNECTION,
                "the connection closed within the response's body, after %zu bytes",
                http->body.length);
  return LEAT_HTTP1_FAILED;
}

/* ---- results --------------------------------------------------------------------- */

const leat_response *leat_http1_response(const leat_http1 *http) {
  return http->part == COMPLETE ? &http->response : NULL;
}

leat_kind leat_http1_failure(const leat_http1 *http, const char **detail) {
  if (detail) *detail = http->detail;
  return http->failure;
}

bool leat_http1_reusable(const leat_http1 *http) {
  if (http->part != COMPLETE || http->response.framing == LEAT_CLOSE_DELIMITED)
    return false;
  if (http->sent < http->output.length || http->at < http->input.length) return false;
  return !http->close && (http->minor_1 || http->keep_alive);
}
