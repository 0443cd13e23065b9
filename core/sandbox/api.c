/*
** api.c - processes a request to the sandbox: finds its route, reads its parameters,
** matches it with a fault, classifies it, applies its changes or not, records it and
** writes the response. It does no I/O and reads no clock.
*/
#include "sandbox_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Needs the lock of the state, because cards and contacts are shared with it. */
static void free_values(exchange *x) {
  json_decref(x->input);
  json_decref(x->errors);
  json_decref(x->cards);
  json_decref(x->card);
  json_decref(x->contact);
  json_decref(x->response);
}

void leat__sandbox_response_free(exchange *x) {
  leat__buffer_free(&x->head);
  leat__buffer_free(&x->text);
}

/* ---- classifying ----------------------------------------------------------------- */

/* The rate limit covers every path but the token endpoint. */
static bool is_limited(const exchange *x) {
  return strncmp(x->target.data, SANDBOX_BASE, sizeof SANDBOX_BASE - 1) == 0;
}

/* Counts the request in its window. Returns false if the window's limit was already
** reached; without a limit, always true. */
static bool count_request(sandbox_api *api, exchange *x) {
  int64_t now = x->now.monotonic_ms;
  if (now >= api->window_end_ms) {
    api->window_end_ms = now + api->rate_window_ms;
    api->used = 0;
  }
  bool is_within = api->used < api->rate_limit;
  if (is_within) api->used++;
  x->remaining = api->rate_limit - api->used;
  if (is_within || !api->limited) return true;
  x->retry_after_s = (int)((api->window_end_ms - now + 999) / 1000);
  return false;
}

/* If a request does not accept JSON, the service takes it for a browser's. A failed
** authentication then redirects to the login page, and a failed validation to the form.
** Returns false if the request accepts JSON. */
static bool redirect(exchange *x, const char *location) {
  leat_string accept = leat__sandbox_header(x, "Accept");
  if (leat__sandbox_search(accept, leat_s("/json")) ||
      leat__sandbox_search(accept, leat_s("+json")))
    return false;
  x->status = 302;
  x->location = location;
  x->raw = leat_s("<html>Redirecting</html>");
  return true;
}

static void respond_invalid(exchange *x) {
  if (redirect(x, "/")) return;
  leat__sandbox_respond_code(x, 1003);
  json_object_set(x->response, "errors", x->errors);
}

static void classify_known(sandbox_api *api, exchange *x) {
  if (x->too_large) leat__sandbox_respond(x, 413, "Payload Too Large");
  else if (x->errors && !leat__sandbox_is_token(x->route)) respond_invalid(x);
  else x->route->handle(api, x);
}

/* Determines the response and the intended changes. */
static void classify(sandbox_api *api, exchange *x) {
  bool limited = is_limited(x);
  if (limited && !count_request(api, x)) {
    leat__sandbox_respond(x, 429, "Too Many Attempts.");
  } else if (x->route == NULL) {
    if (x->path_known)
      leat__sandbox_respond(x, 405, "The method is not supported for this route.");
    else leat__sandbox_respond(x, 404, "The route could not be found.");
  } else if (limited && !leat__sandbox_authorized(api, x)) {
    if (!redirect(x, NULL)) leat__sandbox_respond(x, 401, "Unauthenticated.");
  } else {
    classify_known(api, x);
  }
}

/* ---- applying changes ------------------------------------------------------------ */

/* Applies the changes of the exchange. `record` is the index of its request. */
static void apply(sandbox_api *api, exchange *x, int64_t at_ms, size_t record) {
  const char *value = leat__sandbox_input(x, "contact_identifier_value");
  bool done = x->changes || x->contact;
  if (x->contact) done = leat__sandbox_put_contact(api, x->contact);
  if (x->changes) done = done && leat__sandbox_put_card(api, value, x->card, at_ms);
  if (done && record < api->record_count) api->records[record]->request.changed = true;
}

static bool apply_later(sandbox_api *api, const exchange *x, int after_ms,
                        size_t record) {
  sandbox_pending *pending =
      leat__sandbox_grow(api->pending, api->pending_count, sizeof *pending);
  if (pending == NULL) return false;
  api->pending = pending;
  pending[api->pending_count++] = (sandbox_pending){
      .due_ms = x->now.monotonic_ms + after_ms,
      .route = x->route,
      .input = json_incref(x->input),
      .record = record,
  };
  return true;
}

/* Runs the operation again, because the state may have changed since the request. Takes
** ownership of its input. */
static void apply_pending(sandbox_api *api, const sandbox_pending *p) {
  exchange x = {.route = p->route, .input = p->input};
  x.now.monotonic_ms = p->due_ms;
  x.cards = json_incref(api->cards);
  p->route->handle(api, &x);
  apply(api, &x, p->due_ms, p->record);
  free_values(&x);
}

void leat__sandbox_apply_due(sandbox_api *api, leat_moment now) {
  for (;;) {
    size_t first = 0;
    for (size_t i = 1; i < api->pending_count; i++)
      if (api->pending[i].due_ms < api->pending[first].due_ms) first = i;
    if (api->pending_count == 0 || api->pending[first].due_ms > now.monotonic_ms) return;
    sandbox_pending p = api->pending[first];
    api->pending_count--;
    memmove(api->pending + first, api->pending + first + 1,
            (api->pending_count - first) * sizeof p);
    apply_pending(api, &p);
  }
}

static void clear_pending(sandbox_api *api) {
  for (size_t i = 0; i < api->pending_count; i++)
    json_decref(api->pending[i].input);
  free(api->pending);
  api->pending = NULL;
  api->pending_count = 0;
}

/* ---- responding ------------------------------------------------------------------ */

static bool has_header(const exchange *x, const char *name) {
  for (size_t at = 0; at < x->head.length; at += strlen(x->head.data + at) + 1) {
    if (leat__equal_nocase(leat_s(x->head.data + at), name)) return true;
    at += strlen(x->head.data + at) + 1; /* skips the value */
  }
  return false;
}

/* Adds the header unless it is there already: a header of a fault comes first. */
static void add_header(exchange *x, const char *name, const char *value) {
  if (has_header(x, name)) return;
  leat__append(&x->head, name, strlen(name) + 1);
  leat__append(&x->head, value, strlen(value) + 1);
}

static void add_number(exchange *x, const char *name, int64_t number) {
  char text[24];
  snprintf(text, sizeof text, "%lld", (long long)number);
  add_header(x, name, text);
}

static void write_response(const sandbox_api *api, exchange *x) {
  if (x->raw.data) leat__append(&x->text, x->raw.data, x->raw.length);
  else leat__sandbox_write(x->response, &x->text);
  if (x->text.length > 0)
    add_header(x, "Content-Type",
               x->text.data[0] == '<' ? "text/html; charset=UTF-8" : "application/json");
  if (is_limited(x)) {
    add_number(x, "X-RateLimit-Limit", api->rate_limit);
    add_number(x, "X-RateLimit-Remaining", x->status == 429 ? 0 : x->remaining);
  }
  if (x->retry_after_s > 0) add_number(x, "Retry-After", x->retry_after_s);
  if (x->retry_after_s > 0 && x->status == 429)
    add_number(x, "X-RateLimit-Reset", x->now.unix_s + x->retry_after_s);
  if (x->status >= 300 && x->status < 400)
    add_header(x, "Location", x->location ? x->location : "https://login.example/login");
}

/* Applies the fault, if any, records the request, and applies its changes unless the
** fault prevents that. Returns false if out of memory. */
static bool complete(sandbox_api *api, exchange *x, const sandbox_fault *f) {
  int number = f ? (int)(f - api->faults) + 1 : 0;
  size_t record = api->record_count;
  if (f) leat__sandbox_apply_fault(x, f);
  if (!leat__sandbox_record(api, x, number)) return false;
  if (f && f->apply_after_ms > 0 && (x->changes || x->contact))
    return apply_later(api, x, f->apply_after_ms, record);
  if (f == NULL || f->apply) apply(api, x, x->now.monotonic_ms, record);
  return true;
}

/* Returns the cards that the request sees. */
static json_t *visible_cards(const sandbox_api *api, const exchange *x,
                             const sandbox_fault *f) {
  bool reads_past = f && x->route && x->route->reads;
  int lag_ms = reads_past ? f->lag_ms : 0;
  if (reads_past && f->past) return json_incref(f->past);
  return leat__sandbox_cards_at(api, x->now.monotonic_ms - lag_ms);
}

static bool process(sandbox_api *api, exchange *x) {
  leat__sandbox_apply_due(api, x->now);
  leat__sandbox_find_route(x);
  if (x->route && !leat__sandbox_read_input(x)) return false;
  const sandbox_fault *f = leat__sandbox_match_fault(api, x);
  x->cards = visible_cards(api, x, f);
  classify(api, x);
  if (x->response == NULL && x->raw.data == NULL) return false; /* out of memory */
  if (!complete(api, x, f)) return false;
  write_response(api, x);
  return x->head.failed == LEAT_OK && x->text.failed == LEAT_OK;
}

bool leat__sandbox_process(sandbox_api *api, exchange *x) {
  leat__buffer_init(&x->head, SANDBOX_MAX_HEAD);
  leat__buffer_init(&x->text, SANDBOX_MAX_RESPONSE);
  bool good = process(api, x);
  free_values(x);
  return good;
}

/* ---- opening and closing --------------------------------------------------------- */

static bool refuse(leat_error *error, const char *why) {
  leat__error_set(error, LEAT_CONFIG, "%s", why);
  return false;
}

static bool read_meta(sandbox_api *api, const char *text, leat_error *error) {
  if (text && strcmp(text, "absent") == 0) return true;
  api->meta =
      json_loads(text ? text : "[]", JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
  return api->meta ||
         refuse(error, "the sandbox can't be filled: meta is not JSON, or out of memory");
}

static bool read_credentials(sandbox_api *api, const leat_sandbox_config *config,
                             leat_error *error) {
  const char *key = config->api_key ? config->api_key : "sandbox";
  const char *id = config->client_id ? config->client_id : "sandbox-client";
  const char *secret = config->client_secret ? config->client_secret : "sandbox-secret";
  size_t size = strlen(key) + sizeof BEARER;
  if (!*key || !*id || !*secret)
    return refuse(error, "api_key, client_id and client_secret must not be empty");
  api->client_id = leat__copy(id, strlen(id));
  api->client_secret = leat__copy(secret, strlen(secret));
  api->authorization = malloc(size);
  if (!api->client_id || !api->client_secret || !api->authorization)
    return leat__no_memory(error);
  snprintf(api->authorization, size, BEARER "%s", key);
  return true;
}

static bool read_limits(sandbox_api *api, const leat_sandbox_config *config,
                        leat_error *error) {
  int lifetime_ms = config->token_lifetime_ms, window_ms = config->rate_window_ms;
  if (lifetime_ms < 0 || config->rate_limit < 0 || window_ms < 0)
    return refuse(error,
                  "token_lifetime, rate_limit and rate_window must not be negative");
  api->token_lifetime_ms = lifetime_ms ? lifetime_ms : SANDBOX_TOKEN_LIFETIME_MS;
  api->limited = config->rate_limit > 0;
  api->rate_limit = api->limited ? config->rate_limit : SANDBOX_STATED_RATE_LIMIT;
  api->rate_window_ms = window_ms ? window_ms : SANDBOX_RATE_WINDOW_MS;
  return true;
}

static bool add_first_fault(sandbox_api *api, const leat_sandbox_fault *fault,
                            size_t number, leat_error *error) {
  leat_error wrong;
  if (leat__sandbox_add_fault(api, fault, &wrong)) return true;
  leat__error_set(error, wrong.kind, "faults %zu: %s", number, wrong.message);
  return false;
}

static bool fill(sandbox_api *api, const leat_sandbox_config *config, leat_error *error) {
  api->contacts = json_object();
  api->cards = json_object();
  for (size_t i = 0; i < config->contact_count; i++)
    if (!leat__sandbox_add_contact(api, &config->contacts[i], error)) return false;
  for (size_t i = 0; i < config->card_count; i++)
    if (!leat__sandbox_add_card(api, &config->cards[i], error)) return false;
  for (size_t i = 0; i < config->fault_count; i++)
    if (!add_first_fault(api, &config->faults[i], i + 1, error)) return false;
  api->first_faults = api->fault_count;
  api->first_contacts = json_copy(api->contacts);
  api->first_cards = json_copy(api->cards);
  return (api->first_contacts && api->first_cards) || leat__no_memory(error);
}

bool leat__sandbox_open(sandbox_api *api, const leat_sandbox_config *config,
                        leat_error *error) {
  api->idempotent_unlink = config->idempotent_unlink;
  return read_limits(api, config, error) && read_credentials(api, config, error) &&
         read_meta(api, config->meta, error) && fill(api, config, error);
}

/* Replaces `*old` by a copy of `first`; keeps it if memory runs out. */
static void restore(json_t **old, json_t *first) {
  json_t *copy = json_copy(first);
  if (copy == NULL) return;
  json_decref(*old);
  *old = copy;
}

/* Keeps api->borrowed, which the caller may read until its next leat_sandbox_find_card or
** leat_sandbox_all_cards. */
void leat__sandbox_reset(sandbox_api *api) {
  clear_pending(api);
  leat__sandbox_clear_history(api);
  leat__sandbox_free_records(api);
  leat__sandbox_reset_faults(api, api->first_faults);
  api->token_count = 0;
  api->window_end_ms = 0;
  restore(&api->contacts, api->first_contacts);
  restore(&api->cards, api->first_cards);
}

void leat__sandbox_close(sandbox_api *api) {
  clear_pending(api);
  leat__sandbox_clear_history(api);
  leat__sandbox_free_records(api);
  leat__sandbox_reset_faults(api, 0);
  free(api->faults);
  free(api->tokens);
  json_decref(api->contacts);
  json_decref(api->cards);
  json_decref(api->first_contacts);
  json_decref(api->first_cards);
  json_decref(api->meta);
  leat__json_free(api->borrowed);
  leat__wipe_free(api->authorization);
  leat__wipe_free(api->client_secret);
  free(api->client_id);
}
