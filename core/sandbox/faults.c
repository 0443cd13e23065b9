/*
** faults.c - the faults of the sandbox, as data. A fault is validated when it is added,
** counted against each request, and applied to the response.
*/
#include "sandbox_internal.h"

#include <stdlib.h>
#include <string.h>

#define PAGE(text)    "<!DOCTYPE html><html><body><h1>" text "</h1></body></html>"
#define MESSAGE(text) "{\"message\":\"" text "\"}"

/* The meaning of each kind. A kind with a code of the API has that code's response. */
typedef struct preset {
  const char *kind;
  int status, code;
  const char *body;
  int retry_after_s, delay_ms;
  leat_sandbox_close close;
} preset;

static const preset presets[] = {
    {.kind = "not_found", .code = 60003},
    {.kind = "inactive", .code = 60004},
    {.kind = "already_exists", .code = 60006},
    {.kind = "already_linked", .code = 60014},
    {.kind = "not_linked", .code = 60011},
    {.kind = "contact_not_found", .code = 55031},
    {.kind = "invalid_input", .code = 1003},
    {.kind = "quota_reached", .code = 60000},
    {.kind = "unauthorized", .status = 401, .body = MESSAGE("Unauthenticated.")},
    {.kind = "forbidden", .status = 403, .body = MESSAGE("This action is unauthorized.")},
    {.kind = "rate_limited",
     .status = 429,
     .body = MESSAGE("Too Many Attempts."),
     .retry_after_s = 1},
    {.kind = "server", .status = 500, .body = MESSAGE("Server Error")},
    {.kind = "maintenance", .status = 503, .body = PAGE("Be right back.")},
    {.kind = "redirect", .status = 302, .body = PAGE("Log in, please")},
    {.kind = "protocol", .status = 200, .body = PAGE("Welcome to our network")},
    {.kind = "connection", .close = LEAT_SANDBOX_CLOSE_BEFORE},
    {.kind = "timeout", .delay_ms = LEAT_SANDBOX_FOREVER},
};

enum { PRESETS = sizeof presets / sizeof presets[0] };

/* Returns the preset of the fault's kind; without a kind, that of its status, for the
** body. Returns an empty one, whose kind is NULL, if there is none. */
static const preset *preset_of(const leat_sandbox_fault *f) {
  static const preset none = {0};
  for (const preset *p = presets; p < presets + PRESETS; p++)
    if (f->kind ? strcmp(p->kind, f->kind) == 0
                : f->status >= 300 && p->status == f->status)
      return p;
  return &none;
}

/* ---- checking -------------------------------------------------------------------- */

static bool wrong(leat_error *error, const char *field, const char *why) {
  leat__error_set(error, LEAT_MISUSE, "%s %s", field, why);
  return false;
}

/* Reports a name that is unknown, with all names that are known, up to a NULL. */
static bool unknown(leat_error *error, const char *field, const char *name,
                    const char *(*known)(size_t index)) {
  if (error == NULL) return false;
  leat__error_set(error, LEAT_MISUSE, "%s \"%s\" is unknown (known:", field, name);
  for (size_t i = 0; known(i); i++)
    leat__error_add(error, "%s %s", i ? "," : "", known(i));
  leat__error_add(error, ")");
  return false;
}

static const char *kind_at(size_t index) {
  return index < PRESETS ? presets[index].kind : NULL;
}

static bool check_names(const leat_sandbox_fault *f, leat_error *error) {
  if (f->operation && leat__sandbox_route_named(f->operation) == NULL)
    return unknown(error, "operation", f->operation, leat_sandbox_operation_at);
  if (f->kind && preset_of(f)->kind == NULL)
    return unknown(error, "kind", f->kind, kind_at);
  return true;
}

static bool check_numbers(const leat_sandbox_fault *f, leat_error *error) {
  if (f->nth < 0) return wrong(error, "nth", "must be 1 or more");
  if (f->times < LEAT_SANDBOX_ALWAYS) return wrong(error, "times", "must be 1 or more");
  if (f->status && (f->status < 200 || f->status > 599))
    return wrong(error, "status", "must be from 200 to 599");
  if (f->code < 0) return wrong(error, "code", "must be greater than 0");
  if (f->retry_after_s < 0) return wrong(error, "retry_after", "must not be negative");
  if (f->delay_ms < LEAT_SANDBOX_FOREVER)
    return wrong(error, "delay", "must not be negative");
  if (f->apply_after_ms < 0) return wrong(error, "apply_after", "must not be negative");
  if (f->lag_ms < 0 || f->lag_ms > SANDBOX_MAX_LAG_MS)
    return wrong(error, "lag", "must be from 0 to 60 seconds");
  if (f->value && !*f->value) return wrong(error, "value", "must not be empty");
  if (f->close < LEAT_SANDBOX_KEEP || f->close > LEAT_SANDBOX_CLOSE_WITHIN)
    return wrong(error, "close", "is invalid");
  return true;
}

static bool check_headers(const leat_sandbox_fault *f, leat_error *error) {
  for (size_t i = 0; i < f->header_count; i++) {
    const leat_header *h = &f->headers[i];
    if (!leat__is_token(h->name)) return wrong(error, "headers", "has an invalid name");
    if (!leat__is_field_value(h->value))
      return wrong(error, "headers", "has a value with a control character");
    if (leat__equal_nocase(h->name, "Content-Length") ||
        leat__equal_nocase(h->name, "Transfer-Encoding"))
      return wrong(error, "headers", "must not say how long the body is");
  }
  return true;
}

/* ---- adding ---------------------------------------------------------------------- */

/* Merges the fault's fields with those of its preset. */
static void resolve(sandbox_fault *to, const leat_sandbox_fault *f) {
  const preset *p = preset_of(f);
  bool own_retry_after = f->retry_after_s || f->kind == NULL;
  to->nth = f->nth;
  to->times = f->times ? f->times : 1;
  to->fails = f->kind || f->code || f->status || f->close;
  to->apply = !to->fails || f->apply;
  to->apply_after_ms = f->apply_after_ms;
  to->lag_ms = f->lag_ms;
  to->code = f->code ? f->code : p->code;
  to->status = f->status ? f->status : to->code ? 400 : p->status;
  to->retry_after_s = own_retry_after ? f->retry_after_s : p->retry_after_s;
  to->delay_ms = f->delay_ms ? f->delay_ms : p->delay_ms;
  to->close = f->close ? f->close : p->close;
  if (f->body.data) to->raw = (leat_string){to->body, f->body.length};
  else if (to->status && to->code == 0) to->raw = leat_s(p->body);
}

static bool copy_texts(sandbox_fault *to, const leat_sandbox_fault *f) {
  bool good = true;
  leat__buffer_init(&to->head, SANDBOX_MAX_HEAD);
  for (size_t i = 0; i < f->header_count; i++) {
    leat__append(&to->head, f->headers[i].name.data, f->headers[i].name.length);
    leat__append(&to->head, "", 1);
    leat__append(&to->head, f->headers[i].value.data, f->headers[i].value.length);
    leat__append(&to->head, "", 1);
  }
  if (f->value) good = (to->value = leat__copy(f->value, strlen(f->value))) != NULL;
  if (f->body.data)
    good = (to->body = leat__copy(f->body.data, f->body.length)) != NULL && good;
  return good && to->head.failed == LEAT_OK;
}

static void free_fault(sandbox_fault *f) {
  json_decref(f->past);
  leat__buffer_free(&f->head);
  free(f->value);
  free(f->body);
}

bool leat__sandbox_add_fault(sandbox_api *api, const leat_sandbox_fault *from,
                             leat_error *error) {
  sandbox_fault made = {0}, *faults;
  if (!check_names(from, error) || !check_numbers(from, error) ||
      !check_headers(from, error))
    return false;
  faults = leat__sandbox_grow(api->faults, api->fault_count, sizeof *faults);
  if (faults) api->faults = faults;
  if (from->stale) made.past = json_copy(api->cards);
  if (faults == NULL || !copy_texts(&made, from) || (from->stale && !made.past)) {
    free_fault(&made);
    leat__error_set(error, LEAT_NO_MEMORY, "out of memory, or too many headers");
    return false;
  }
  if (from->operation) made.route = leat__sandbox_route_named(from->operation);
  resolve(&made, from);
  faults[api->fault_count++] = made;
  return true;
}

void leat__sandbox_reset_faults(sandbox_api *api, size_t kept) {
  while (api->fault_count > kept)
    free_fault(&api->faults[--api->fault_count]);
  for (size_t i = 0; i < api->fault_count; i++) {
    api->faults[i].seen = 0;
    api->faults[i].disabled = false;
  }
}

/* ---- matching -------------------------------------------------------------------- */

static bool is_applicable(const sandbox_fault *f, const exchange *x) {
  if (f->disabled || (f->route && f->route != x->route)) return false;
  if (f->value == NULL) return true;
  const char *value = leat__sandbox_input(x, "contact_identifier_value");
  return value && strcmp(value, f->value) == 0;
}

sandbox_fault *leat__sandbox_match_fault(sandbox_api *api, const exchange *x) {
  sandbox_fault *match = NULL;
  for (size_t i = 0; i < api->fault_count; i++) {
    sandbox_fault *f = &api->faults[i];
    if (!is_applicable(f, x) || (match && f->nth == 0)) continue;
    f->seen++;
    int first = f->nth ? f->nth : 1;
    bool matches = f->seen >= first &&
                   (f->times == LEAT_SANDBOX_ALWAYS || f->seen - first < f->times);
    if (matches && match == NULL) match = f;
  }
  return match;
}

void leat__sandbox_apply_fault(exchange *x, const sandbox_fault *f) {
  leat__append(&x->head, f->head.data, f->head.length);
  if (f->code) leat__sandbox_respond_code(x, f->code);
  if (f->status) x->status = f->status;
  if (f->status || f->raw.data) x->raw = f->raw;
  if (f->fails || f->retry_after_s) x->retry_after_s = f->retry_after_s;
  x->delay_ms = f->delay_ms;
  x->close = f->close;
}
