/*
** record.c - the record of received requests. It may be logged, so it contains neither
** tokens nor secrets; the recorded status shows whether they were valid.
*/
#include "sandbox_internal.h"

#include <stdlib.h>
#include <string.h>

static const leat_string masked_token = {"[token]", sizeof "[token]" - 1};
static const leat_string masked_secret = {"[secret]", sizeof "[secret]" - 1};

/* Returns the value to record: the token of an Authorization header is masked. */
static leat_string shown(const leat_header *header) {
  return leat__equal_nocase(header->name, "Authorization") ? masked_token : header->value;
}

/* Writes the parameters of a token request as a form, not encoded and with the secret
** masked, whatever format the request had. */
static void append_credentials(const exchange *x, leat_buffer *out) {
  const char *name;
  json_t *value;
  json_object_foreach(x->input, name, value) {
    bool secret = strcmp(name, "client_secret") == 0;
    leat_string text = {json_string_value(value), json_string_length(value)};
    if (secret) text = masked_secret;
    if (out->length > 0) leat__append_s(out, "&");
    leat__append_s(out, name);
    leat__append_s(out, "=");
    leat__append(out, text.data, text.length);
  }
}

/* Copies the text and a NUL to `*room`, which must be large enough, and moves `*room`
** behind them. */
static leat_string keep(char **room, leat_string text) {
  char *copy = *room;
  if (text.length > 0) memcpy(copy, text.data, text.length);
  copy[text.length] = '\0';
  *room += text.length + 1;
  return (leat_string){copy, text.length};
}

static sandbox_record *new_record(const exchange *x, leat_string body) {
  size_t size = x->method.length + x->target.length + body.length + 3;
  for (size_t i = 0; i < x->header_count; i++)
    size += x->headers[i].name.length + shown(&x->headers[i]).length + 2;
  sandbox_record *r = malloc(sizeof *r + x->header_count * sizeof r->headers[0] + size);
  if (r == NULL) return NULL;
  char *room = (char *)&r->headers[x->header_count];
  memset(&r->request, 0, sizeof r->request);
  r->request.method = keep(&room, x->method);
  r->request.target = keep(&room, x->target);
  r->request.body = keep(&room, body);
  for (size_t i = 0; i < x->header_count; i++) {
    r->headers[i].name = keep(&room, x->headers[i].name);
    r->headers[i].value = keep(&room, shown(&x->headers[i]));
  }
  r->request.headers = r->headers;
  r->request.header_count = x->header_count;
  return r;
}

static sandbox_record *make_record(const exchange *x) {
  leat_buffer form;
  if (!leat__sandbox_is_token(x->route)) return new_record(x, x->body);
  leat__buffer_init(&form, SANDBOX_MAX_BODY);
  append_credentials(x, &form);
  sandbox_record *r = new_record(x, (leat_string){form.data, form.length});
  leat__buffer_free(&form);
  return r;
}

bool leat__sandbox_record(sandbox_api *api, const exchange *x, int fault) {
  bool silent = x->close == LEAT_SANDBOX_CLOSE_BEFORE || x->delay_ms < 0;
  if (api->record_count == SANDBOX_MAX_RECORDS) return true;
  sandbox_record **records =
      leat__sandbox_grow(api->records, api->record_count, sizeof *records);
  if (records == NULL) return false;
  api->records = records;
  sandbox_record *r = make_record(x);
  if (r == NULL) return false;
  r->request.status = silent ? 0 : x->status;
  r->request.operation = leat_s(x->route ? x->route->name : "");
  r->request.time_ms = x->received_ms;
  r->request.fault = fault;
  records[api->record_count++] = r;
  return true;
}

void leat__sandbox_free_records(sandbox_api *api) {
  while (api->record_count > 0)
    free(api->records[--api->record_count]);
  free(api->records);
  api->records = NULL;
}
