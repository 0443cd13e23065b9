/*
** api.c - processes a request to the sandbox: routes it, reads its parameters, matches it
** with a fault, classifies it, applies its change or not, records it and writes the
** response. It does no I/O and reads no clock.
*/
#include "sandbox_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Needs the lock of the state, because cards and contacts are shared with it. */
static void free_findings(exchange *x) {
  leat__sjson_free(x->input);
  leat__sjson_free(x->errors);
  leat__sjson_free(x->cards);
  leat__sjson_free(x->card);
  leat__sjson_free(x->contact);
  leat__sjson_free(x->reply);
}

void leat__sandbox_answer_free(exchange *x) {
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
static bool take_from_rate(sandbox_api *api, exchange *x) {
  int64_t now = x->now.monotonic_ms;
  if (now >= api->window_end_ms) {
    api->window_end_ms = now + api->rate_window_ms;
    api->used = 0;
  }
  bool had_one = api->used < api->rate_limit;
  if (had_one) api->used++;
  x->remaining = api->rate_limit - api->used;
  if (had_one || !api->limited) return true;
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
  x->page = leat_s("<html>Redirecting</html>");
  return true;
}

static void reply_invalid(exchange *x) {
  if (redirect(x, "/")) return;
  leat__sandbox_reply_code(x, 1003);
  leat__sjson_set(x->reply, "errors", x->errors);
  x->errors = NULL;
}

static void judge_known(sandbox_api *api, exchange *x) {
  if (x->too_large) leat__sandbox_reply(x, 413, "Payload Too Large");
  else if (x->errors && !leat__sandbox_is_token(x->route)) reply_invalid(x);
  else x->route->handle(api, x);
}

static void judge(sandbox_api *api, exchange *x) {
  bool limited = is_limited(x);
  if (limited && !take_from_rate(api, x)) {
    leat__sandbox_reply(x, 429, "Too Many Attempts.");
  } else if (x->route == NULL) {
    if (x->path_known)
      leat__sandbox_reply(x, 405, "The method is not supported for this route.");
    else leat__sandbox_reply(x, 404, "The route could not be found.");
  } else if (limited && !leat__sandbox_authorized(api, x)) {
    if (!redirect(x, NULL)) leat__sandbox_reply(x, 401, "Unauthenticated.");
  } else {
    judge_known(api, x);
  }
}

/* ---- applying changes ------------------------------------------------------------ */

/* Applies the changes of the exchange. `record` is the index of its request. */
static void carry_out(sandbox_api *api, exchange *x, int64_t at_ms, size_t record) {
  const char *value = leat__sandbox_input(x, "contact_identifier_value");
  bool done = x->changes || x->contact;
  if (x->contact) done = leat__sandbox_put_contact(api, x->contact);
  if (x->changes) done = done && leat__sandbox_put(api, value, x->card, at_ms);
  if (done && record < api->record_count) api->records[record]->request.changed = true;
}

static bool put_off(sandbox_api *api, const exchange *x, int after_ms, size_t record) {
  sandbox_pending *pending =
      leat__sandbox_room(api->pending, api->pending_count, sizeof *pending);
  if (pending == NULL) return false;
  api->pending = pending;
  pending[api->pending_count++] = (sandbox_pending){
      x->now.monotonic_ms + after_ms, x->route, leat__sjson_share(x->input), record};
  return true;
}

/* Runs the operation again, because the state may have changed since the request. */
static void carry_out_late(sandbox_api *api, const sandbox_pending *p) {
  exchange x = {.route = p->route, .input = p->input};
  x.now.monotonic_ms = p->due_ms;
  x.cards = leat__sjson_share(api->cards);
  p->route->handle(api, &x);
  carry_out(api, &x, p->due_ms, p->record);
  free_findings(&x);
}

void leat__sandbox_catch_up(sandbox_api *api, leat_moment now) {
  for (;;) {
    size_t first = 0;
    for (size_t i = 1; i < api->pending_count; i++)
      if (api->pending[i].due_ms < api->pending[first].due_ms) first = i;
    if (api->pending_count == 0 || api->pending[first].due_ms > now.monotonic_ms) return;
    sandbox_pending p = api->pending[first];
    api->pending_count--;
    memmove(api->pending + first, api->pending + first + 1,
            (api->pending_count - first) * sizeof p);
    carry_out_late(api, &p);
  }
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

static void write_answer(const sandbox_api *api, exchange *x) {
  if (x->page.data) leat__append(&x->text, x->page.data, x->page.length);
  else leat__sjson_write(x->reply, &x->text);
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

static bool settle(sandbox_api *api, exchange *x, const sandbox_fault *f) {
  int number = f ? (int)(f - api->faults) + 1 : 0;
  size_t record = api->record_count;
  if (f) leat__sandbox_spoil(x, f);
  if (!leat__sandbox_keep(api, x, number)) return false;
  if (f && f->apply_after_ms > 0 && (x->changes || x->contact))
    return put_off(api, x, f->apply_after_ms, record);
  if (f == NULL || f->apply) carry_out(api, x, x->now.monotonic_ms, record);
  return true;
}

static bool process(sandbox_api *api, exchange *x) {
  leat__sandbox_catch_up(api, x->now);
  leat__sandbox_find_route(x);
  if (x->route && !leat__sandbox_read_input(x)) return false;
  const sandbox_fault *f = leat__sandbox_hit(api, x);
  bool reads_past = f && x->route && x->route->reads;
  int lag_ms = reads_past ? f->lag_ms : 0;
  x->cards = reads_past && f->past
                 ? leat__sjson_share(f->past)
                 : leat__sandbox_cards_at(api, x->now.monotonic_ms - lag_ms);
  judge(api, x);
  if (x->reply == NULL && x->page.data == NULL) return false; /* out of memory */
  if (!settle(api, x, f)) return false;
  write_answer(api, x);
  return x->head.failed == LEAT_OK && x->text.failed == LEAT_OK;
}

bool leat__sandbox_serve(sandbox_api *api, exchange *x) {
  leat__buffer_init(&x->head, SANDBOX_MAX_HEAD);
  leat__buffer_init(&x->text, SANDBOX_MAX_ANSWER);
  bool good = process(api, x);
  free_findings(x);
  return good;
}

/* ---- opening and closing --------------------------------------------------------- */

static bool no_memory(leat_error *error) {
  leat__error_set(error, LEAT_NO_MEMORY, "out of memory");
  return false;
}

static bool read_meta(sandbox_api *api, const char *text, leat_error *error) {
  if (text && strcmp(text, "absent") == 0) return true;
  api->meta = leat__sjson_parse(leat_s(text ? text : "[]"));
  if (api->meta == NULL)
    leat__error_set(error, LEAT_CONFIG,
                    "the sandbox can't be filled: meta is not JSON, or out of memory");
  return api->meta != NULL;
}

static bool read_settings(sandbox_api *api, const leat_sandbox_config *config,
                          leat_error *error) {
  const char *key = config->api_key ? config->api_key : "sandbox";
  const char *id = config->client_id ? config->client_id : "sandbox-client";
  const char *secret = config->client_secret ? config->client_secret : "sandbox-secret";
  size_t size = strlen(key) + sizeof "Bearer ";
  if (!*key || !*id || !*secret) {
    leat__error_set(error, LEAT_CONFIG,
                    "api_key, client_id and client_secret must not be empty");
    return false;
  }
  if (config->token_lifetime_ms < 0 || config->rate_limit < 0 ||
      config->rate_window_ms < 0) {
    leat__error_set(error, LEAT_CONFIG,
                    "token_lifetime, rate_limit and rate_window must not be negative");
    return false;
  }
  api->token_lifetime_ms =
      config->token_lifetime_ms ? config->token_lifetime_ms : SANDBOX_TOKEN_LIFETIME_MS;
  api->limited = config->rate_limit > 0;
  api->idempotent_unlink = config->idempotent_unlink;
  api->rate_limit = api->limited ? config->rate_limit : SANDBOX_TOLD_RATE_LIMIT;
  api->rate_window_ms =
      config->rate_window_ms ? config->rate_window_ms : SANDBOX_RATE_WINDOW_MS;
  api->client_id = leat__copy(id, strlen(id));
  api->client_secret = leat__copy(secret, strlen(secret));
  api->authorization = malloc(size);
  if (!api->client_id || !api->client_secret || !api->authorization)
    return no_memory(error);
  snprintf(api->authorization, size, "Bearer %s", key);
  return read_meta(api, config->meta, error);
}

static bool add_first_fault(sandbox_api *api, const leat_sandbox_fault *fault,
                            size_t number, leat_error *error) {
  leat_error wrong;
  if (leat__sandbox_add_fault(api, fault, &wrong)) return true;
  leat__error_set(error, wrong.kind, "faults %zu: %s", number, wrong.message);
  return false;
}

static bool fill(sandbox_api *api, const leat_sandbox_config *config, leat_error *error) {
  api->contacts = leat__sjson_object();
  api->cards = leat__sjson_object();
  for (size_t i = 0; i < config->contact_count; i++)
    if (!leat__sandbox_add_contact(api, &config->contacts[i], error)) return false;
  for (size_t i = 0; i < config->card_count; i++)
    if (!leat__sandbox_add_card(api, &config->cards[i], error)) return false;
  for (size_t i = 0; i < config->fault_count; i++)
    if (!add_first_fault(api, &config->faults[i], i + 1, error)) return false;
  api->first_faults = api->fault_count;
  api->first_contacts = leat__sandbox_copy(api->contacts);
  api->first_cards = leat__sandbox_copy(api->cards);
  return (api->first_contacts && api->first_cards) || no_memory(error);
}

bool leat__sandbox_open(sandbox_api *api, const leat_sandbox_config *config,
                        leat_error *error) {
  return read_settings(api, config, error) && fill(api, config, error);
}

/* Keeps the old value if `by` is NULL because memory ran out. */
static void replace(sjson **old, sjson *by) {
  if (by == NULL) return;
  leat__sjson_free(*old);
  *old = by;
}

/* Keeps api->lent, which the caller may read until its next leat_sandbox_find_card or
** leat_sandbox_all_cards. */
void leat__sandbox_restart(sandbox_api *api) {
  sjson *contacts = leat__sandbox_copy(api->first_contacts);
  sjson *cards = leat__sandbox_copy(api->first_cards);
  leat__sandbox_forget(api);
  leat__sandbox_free_records(api);
  leat__sandbox_free_faults(api, api->first_faults);
  api->token_count = 0;
  api->window_end_ms = 0;
  replace(&api->contacts, contacts);
  replace(&api->cards, cards);
}

void leat__sandbox_close(sandbox_api *api) {
  leat__sandbox_forget(api);
  leat__sandbox_free_records(api);
  leat__sandbox_free_faults(api, 0);
  free(api->faults);
  free(api->tokens);
  leat__sjson_free(api->contacts);
  leat__sjson_free(api->cards);
  leat__sjson_free(api->first_contacts);
  leat__sjson_free(api->first_cards);
  leat__sjson_free(api->meta);
  leat__json_free(api->lent);
  leat__wipe_free(api->authorization);
  leat__wipe_free(api->client_secret);
  free(api->client_id);
}
