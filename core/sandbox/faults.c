/*
** faults.c - the faults of the sandbox, as data. A fault is validated when it is added,
** counted against each request, and applied to the response.
*/
#include "sandbox_internal.h"

#include <stdlib.h>
#include <string.h>

#define PAGE(text)    "<!DOCTYPE html><html><body><h1>" text "</h1></body></html>"
#define MESSAGE(text) "{\"message\":\"" text "\"}"

/* The meaning of each kind. A kind with a code of the API has that code's reply. */
typedef struct preset {
  const char *kind;
  int status, code;
  const char *page;
  int retry_after_s, delay_ms;
  leat_sandbox_close close;
} preset;

/* clang-format off */
static const preset presets[] = {
    {"not_found", 0, 60003, NULL, 0, 0, 0},
    {"inactive", 0, 60004, NULL, 0, 0, 0},
    {"already_exists", 0, 60006, NULL, 0, 0, 0},
    {"already_linked", 0, 60014, NULL, 0, 0, 0},
    {"not_linked", 0, 60011, NULL, 0, 0, 0},
    {"contact_not_found", 0, 55031, NULL, 0, 0, 0},
    {"invalid_input", 0, 1003, NULL, 0, 0, 0},
    {"quota_reached", 0, 60000, NULL, 0, 0, 0},
    {"unauthorized", 401, 0, MESSAGE("Unauthenticated."), 0, 0, 0},
    {"forbidden", 403, 0, MESSAGE("This action is unauthorized."), 0, 0, 0},
    {"rate_limited", 429, 0, MESSAGE("Too Many Attempts."), 1, 0, 0},
    {"server", 500, 0, MESSAGE("Server Error"), 0, 0, 0},
    {"maintenance", 503, 0, PAGE("Be right back."), 0, 0, 0},
    {"redirect", 302, 0, PAGE("Log in, please"), 0, 0, 0},
    {"protocol", 200, 0, PAGE("Welcome to our network"), 0, 0, 0},
    {"connection", 0, 0, NULL, 0, 0, LEAT_SANDBOX_CLOSE_BEFORE},
    {"timeout", 0, 0, NULL, 0, LEAT_SANDBOX_FOREVER, 0},
    {NULL, 0, 0, NULL, 0, 0, 0},
};
/* clang-format on */

/* ---- checking -------------------------------------------------------------------- */

static bool wrong(leat_error *error, const char *field, const char *why) {
  leat__error_set(error, LEAT_MISUSE, "%s %s", field, why);
  return false;
}

static bool unknown(leat_error *error, const char *field, const char *name) {
  leat__error_set(error, LEAT_MISUSE, "%s \"%s\" is unknown (known:", field, name);
  return false;
}

static bool check_names(const leat_sandbox_fault *f, leat_error *error) {
  const char *name;
  if (f->operation && leat__sandbox_route_named(f->operation) == NULL) {
    unknown(error, "operation", f->operation);
    for (size_t i = 0; error && (name = leat_sandbox_operation_at(i)) != NULL; i++)
      leat__error_add(error, "%s %s", i ? "," : "", name);
  } else {
    const preset *p = presets;
    while (f->kind && p->kind && strcmp(p->kind, f->kind) != 0)
      p++;
    if (f->kind == NULL || p->kind) return true;
    unknown(error, "kind", f->kind);
    for (p = presets; error && p->kind; p++)
      leat__error_add(error, "%s %s", p == presets ? "" : ",", p->kind);
  }
  if (error) leat__error_add(error, ")");
  return false;
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
    return wrong(error, "close", "is none of its values");
  return true;
}

static bool is_name(leat_string name) {
  static const char others[] = "!#$%&'*+-.^_`|~";
  for (size_t i = 0; i < name.length; i++) {
    char c = name.data[i];
    bool alphanumeric =
        (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    if (!alphanumeric && (c == '\0' || strchr(others, c) == NULL)) return false;
  }
  return name.length > 0;
}

static bool is_value(leat_string value) {
  for (size_t i = 0; i < value.length; i++)
    if ((unsigned char)value.data[i] < ' ' && value.data[i] != '\t') return false;
  return true;
}

static bool check_headers(const leat_sandbox_fault *f, leat_error *error) {
  for (size_t i = 0; i < f->header_count; i++) {
    const leat_header *h = &f->headers[i];
    if (!is_name(h->name)) return wrong(error, "headers", "has a name that is none");
    if (!is_value(h->value))
      return wrong(error, "headers", "has a value with a control character");
    if (leat__equal_nocase(h->name, "Content-Length") ||
        leat__equal_nocase(h->name, "Transfer-Encoding"))
      return wrong(error, "headers", "can't say how long the body is");
  }
  return true;
}

/* ---- adding ---------------------------------------------------------------------- */

/* Returns the preset of the fault's kind. Without a kind, returns the preset of its
** status, for the body. */
static const preset *preset_of(const leat_sandbox_fault *f) {
  const preset *p = presets;
  while (p->kind && (f->kind ? strcmp(p->kind, f->kind) != 0
                             : f->status < 300 || p->status != f->status))
    p++;
  return p; /* the last one, which is empty, if none fits */
}

/* Merges the fault's fields with those of its preset. */
static void resolve(sandbox_fault *to, const leat_sandbox_fault *f) {
  const preset *p = preset_of(f);
  bool named = f->kind != NULL;
  to->nth = f->nth;
  to->times = f->times ? f->times : 1;
  to->fails = named || f->code || f->status || f->close;
  to->apply = !to->fails || f->apply;
  to->apply_after_ms = f->apply_after_ms;
  to->lag_ms = f->lag_ms;
  to->code = f->code ? f->code : p->code;
  to->status = f->status ? f->status : to->code ? 400 : p->status;
  to->retry_after_s = f->retry_after_s || !named ? f->retry_after_s : p->retry_after_s;
  to->delay_ms = f->delay_ms || !named ? f->delay_ms : p->delay_ms;
  to->close = f->close || !named ? f->close : p->close;
  if (f->body.data) to->page = (leat_string){to->body, f->body.length};
  else if (to->status && to->code == 0) to->page = leat_s(p->page);
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
  leat__sjson_free(f->past);
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
  faults = leat__sandbox_room(api->faults, api->fault_count, sizeof *faults);
  if (faults) api->faults = faults;
  if (from->stale) made.past = leat__sandbox_copy(api->cards);
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

void leat__sandbox_free_faults(sandbox_api *api, size_t but) {
  while (api->fault_count > but)
    free_fault(&api->faults[--api->fault_count]);
  for (size_t i = 0; i < api->fault_count; i++) {
    api->faults[i].seen = 0;
    api->faults[i].off = false;
  }
}

/* ---- matching -------------------------------------------------------------------- */

static bool concerns(const sandbox_fault *f, const exchange *x) {
  if (f->off || (f->route && f->route != x->route)) return false;
  if (f->value == NULL) return true;
  const char *value = leat__sandbox_input(x, "contact_identifier_value");
  return value && strcmp(value, f->value) == 0;
}

sandbox_fault *leat__sandbox_hit(sandbox_api *api, const exchange *x) {
  sandbox_fault *hit = NULL;
  for (size_t i = 0; i < api->fault_count; i++) {
    sandbox_fault *f = &api->faults[i];
    if (!concerns(f, x) || (hit && f->nth == 0)) continue;
    f->seen++;
    int first = f->nth ? f->nth : 1;
    bool its_turn = f->seen >= first &&
                    (f->times == LEAT_SANDBOX_ALWAYS || f->seen - first < f->times);
    if (its_turn && hit == NULL) hit = f;
  }
  return hit;
}

void leat__sandbox_spoil(exchange *x, const sandbox_fault *f) {
  leat__append(&x->head, f->head.data, f->head.length);
  if (f->code) leat__sandbox_reply_code(x, f->code);
  if (f->status) x->status = f->status;
  if (f->status || f->page.data) x->page = f->page;
  if (f->fails || f->retry_after_s) x->retry_after_s = f->retry_after_s;
  x->delay_ms = f->delay_ms;
  x->close = f->close;
}
