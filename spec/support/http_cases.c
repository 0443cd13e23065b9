/*
** http_cases.c - reads responses as data.
*/
#include "http_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
  const char *folder;
  const char *at; /* position in the line */
  int line;
  http_case *cases;
  size_t count;
} reader;

static void bad(const reader *r, const char *what) {
  fprintf(stderr, "http1.cases:%d: %s\n", r->line, what);
  exit(2);
}

static http_case *now(const reader *r) {
  if (r->count == 0) bad(r, "no case yet");
  return &r->cases[r->count - 1];
}

/* Appends the bytes `times` times. */
static void append(const reader *r, bytes *to, const char *data, size_t length,
                   size_t times) {
  char *grown = realloc(to->data, to->length + length * times + 1);
  if (grown == NULL) bad(r, "out of memory");
  to->data = grown;
  for (; times > 0; times--) {
    memcpy(grown + to->length, data, length);
    to->length += length;
  }
  grown[to->length] = '\0';
}

/* ---- words ----------------------------------------------------------------------- */

static void skip_blanks(reader *r) {
  r->at += strspn(r->at, " ");
}

static bool at_end(reader *r) {
  skip_blanks(r);
  return *r->at == '\0';
}

static const char *word(reader *r, char *to, size_t size) {
  skip_blanks(r);
  size_t length = strcspn(r->at, " ");
  if (length == 0 || length >= size) bad(r, "a word is missing, or too long");
  memcpy(to, r->at, length);
  to[length] = '\0';
  r->at += length;
  return to;
}

/* If the word comes next, skips it and returns true. */
static bool takes(reader *r, const char *wanted) {
  size_t length = strlen(wanted);
  skip_blanks(r);
  if (strncmp(r->at, wanted, length) != 0) return false;
  if (r->at[length] != ' ' && r->at[length] != '\0') return false;
  r->at += length;
  return true;
}

static int number(reader *r) {
  char text[16], *end;
  long n = strtol(word(r, text, sizeof text), &end, 10);
  if (*end != '\0') bad(r, "not a number");
  return (int)n;
}

static char escape(reader *r) {
  char hex[3] = "";
  switch (*r->at++) {
    case 'r': return '\r';
    case 'n': return '\n';
    case 't': return '\t';
    case '0': return '\0';
    case '"': return '"';
    case '\\': return '\\';
    case 'x': break;
    default: bad(r, "an unknown escape");
  }
  memcpy(hex, r->at, 2);
  r->at += 2;
  return (char)strtol(hex, NULL, 16);
}

static bytes quoted(reader *r) {
  bytes text = {NULL, 0};
  skip_blanks(r);
  if (*r->at++ != '"') bad(r, "a text in quotes is missing");
  append(r, &text, "", 0, 0);
  while (*r->at != '"') {
    char c = *r->at++;
    if (c == '\0') bad(r, "the quotes do not end");
    if (c == '\\') c = escape(r);
    append(r, &text, &c, 1, 1);
  }
  r->at++;
  return text;
}

static void rest(reader *r, char *to, size_t size) {
  skip_blanks(r);
  if (strlen(r->at) >= size) bad(r, "too long");
  strcpy(to, r->at);
  r->at += strlen(r->at);
}

static void quoted_piece(reader *r, char *to, size_t size) {
  bytes text = quoted(r);
  if (text.length >= size) bad(r, "too long");
  memcpy(to, text.data, text.length + 1);
  free(text.data);
}

static leat_kind kind(reader *r) {
  char name[32];
  word(r, name, sizeof name);
  for (int k = 0; k < LEAT_KINDS; k++)
    if (strcmp(leat_kind_name((leat_kind)k), name) == 0) return (leat_kind)k;
  bad(r, "an unknown kind");
  return LEAT_OK;
}

/* ---- lines ----------------------------------------------------------------------- */

static void new_case(reader *r) {
  http_case *grown = realloc(r->cases, (r->count + 1) * sizeof *grown);
  if (grown == NULL) bad(r, "out of memory");
  r->cases = grown;
  if (r->count > 0 && now(r)->want == WANT_NOTHING)
    bad(r, "the case before wants nothing");
  http_case *c = &r->cases[r->count++];
  memset(c, 0, sizeof *c);
  c->line = r->line;
  strcpy(c->method, "GET");
  rest(r, c->name, sizeof c->name);
}

static void response(reader *r, int times) {
  bytes text = quoted(r);
  append(r, &now(r)->response, text.data, text.length, (size_t)times);
  free(text.data);
}

/* Writes the end of the head with a Content-Length, and the body. */
static void body(reader *r) {
  char head[64];
  http_case *c = now(r);
  c->body = quoted(r);
  int n = snprintf(head, sizeof head, "Content-Length: %zu\r\n\r\n", c->body.length);
  append(r, &c->response, head, (size_t)n, 1);
  append(r, &c->response, c->body.data, c->body.length, 1);
}

static void recording(reader *r) {
  char name[64], path[512], data[4096];
  size_t n;
  word(r, name, sizeof name);
  snprintf(path, sizeof path, "%s/recorded/%s", r->folder, name);
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    bad(r, path);
    return;
  }
  while ((n = fread(data, 1, sizeof data, file)) > 0)
    append(r, &now(r)->response, data, n, 1);
  fclose(file);
}

static leat_framing framing(reader *r) {
  if (takes(r, "none")) return LEAT_NO_BODY;
  if (takes(r, "length")) return LEAT_LENGTH;
  if (takes(r, "chunked")) return LEAT_CHUNKED;
  if (!takes(r, "close")) bad(r, "an unknown framing");
  return LEAT_CLOSE_DELIMITED;
}

static void want_response(reader *r, http_case *c) {
  c->want = WANT_RESPONSE;
  c->status = number(r);
  c->framing = framing(r);
  c->reusable = takes(r, "reusable");
  if (!c->reusable && !takes(r, "final")) bad(r, "reusable or final is missing");
  skip_blanks(r);
  if (takes(r, "body")) {
    if (c->body.data == NULL) bad(r, "the case named no body");
  } else if (*r->at == '"') {
    c->body = quoted(r);
  } else {
    c->body.length = (size_t)number(r);
    if (!takes(r, "bytes")) bad(r, "bytes is missing");
  }
}

static void want(reader *r) {
  http_case *c = now(r);
  if (takes(r, "more")) {
    c->want = WANT_MORE;
    return;
  }
  skip_blanks(r);
  if (*r->at >= '0' && *r->at <= '9') {
    want_response(r, c);
    return;
  }
  c->want = WANT_FAILURE;
  c->failure = kind(r);
  quoted_piece(r, c->piece, sizeof c->piece);
}

static void want_of_call(reader *r) {
  http_case *c = now(r);
  if (c->call_count == sizeof c->calls / sizeof c->calls[0]) bad(r, "too many calls");
  call_want *w = &c->calls[c->call_count++];
  word(r, w->operation, sizeof w->operation);
  w->kind = kind(r);
  w->unknown = takes(r, "unknown");
  if (!at_end(r)) quoted_piece(r, w->piece, sizeof w->piece);
}

static void line(reader *r) {
  if (at_end(r) || *r->at == '#') return;
  if (takes(r, "case")) new_case(r);
  else if (takes(r, "method")) word(r, now(r)->method, sizeof now(r)->method);
  else if (takes(r, "unsent")) now(r)->unsent = true;
  else if (takes(r, "answer")) response(r, 1);
  else if (takes(r, "repeat")) response(r, number(r));
  else if (takes(r, "body")) body(r);
  else if (takes(r, "file")) recording(r);
  else if (takes(r, "end close")) now(r)->closes = true;
  else if (takes(r, "want")) want(r);
  else if (takes(r, "call")) want_of_call(r);
  else if (takes(r, "differs")) rest(r, now(r)->differs, sizeof now(r)->differs);
  else bad(r, "an unknown line");
  if (!at_end(r)) bad(r, "more on the line than is known");
}

http_case *cases_read(const char *folder, size_t *count) {
  char path[512], text[1024];
  reader r = {folder, NULL, 0, NULL, 0};
  snprintf(path, sizeof path, "%s/http1.cases", folder);
  FILE *file = fopen(path, "r");
  if (file == NULL) bad(&r, path);
  while (file && fgets(text, sizeof text, file)) {
    text[strcspn(text, "\n")] = '\0';
    r.line++;
    r.at = text;
    line(&r);
  }
  if (file) fclose(file);
  if (r.count == 0 || now(&r)->want == WANT_NOTHING)
    bad(&r, "the last case wants nothing");
  *count = r.count;
  return r.cases;
}

void cases_free(http_case *cases, size_t count) {
  for (size_t i = 0; i < count; i++) {
    free(cases[i].response.data);
    free(cases[i].body.data);
  }
  free(cases);
}
