/*
** state.c - contacts and cards, with the recent history of the cards. They are kept as
** JSON in the API's format.
*/
#include "sandbox_internal.h"

#include <stdlib.h>
#include <string.h>

void *leat__sandbox_grow(void *items, size_t count, size_t size) {
  if (count & (count - 1)) return items; /* a power of two was allocated */
  return realloc(items, (count ? count * 2 : 1) * size);
}

static int append_piece(const char *data, size_t length, void *buffer) {
  leat__append(buffer, data, length);
  return 0;
}

void leat__sandbox_write(const json_t *value, leat_buffer *out) {
  if (json_dump_callback(value, append_piece, out, JSON_COMPACT) != 0 && !out->failed)
    out->failed = LEAT_NO_MEMORY;
}

/* ---- filling --------------------------------------------------------------------- */

/* Reports an invalid entry of the sandbox's configuration. */
static bool refuse(leat_error *error, const char *what, const char *name,
                   const char *why) {
  leat__error_set(error, LEAT_CONFIG, "the sandbox can't be filled: %s \"%s\" %s", what,
                  name ? name : "", why);
  return false;
}

static bool is_utf8(const char *text) {
  return text == NULL || leat__utf8(leat_s(text));
}

/* Returns what is wrong with the key of a new entry of `all`; NULL if nothing is. */
static const char *check_key(const json_t *all, const char *key, const char *missing) {
  if (key == NULL || !*key) return missing;
  if (!is_utf8(key)) return "is not UTF-8";
  return json_object_get(all, key) ? "is given twice" : NULL;
}

json_t *leat__sandbox_new_contact(const char *uuid, const char *email) {
  return json_pack("{s:s, s:s?}", "uuid", uuid, "email", email);
}

bool leat__sandbox_add_contact(sandbox_api *api, const leat_sandbox_contact *from,
                               leat_error *error) {
  const char *why = check_key(api->contacts, from->uuid, "has no uuid");
  json_t *more = json_loads(from->more ? from->more : "{}", JSON_REJECT_DUPLICATES, NULL);
  if (why == NULL && !is_utf8(from->email)) why = "is not UTF-8";
  if (why == NULL && !json_is_object(more)) why = "has more that is no JSON object";
  json_t *contact = why ? NULL : leat__sandbox_new_contact(from->uuid, from->email);
  if (contact) json_object_update(contact, more);
  json_decref(more);
  if (why) return refuse(error, "contact", from->uuid, why);
  return json_object_set_new(api->contacts, from->uuid, contact) == 0 ||
         leat__no_memory(error);
}

json_t *leat__sandbox_new_card(const char *value, const char *name, json_t *contact) {
  return json_pack("{s:s, s:s, s:b, s:O?}", "name", name ? name : value, "value", value,
                   "active", true, "contact", contact);
}

bool leat__sandbox_add_card(sandbox_api *api, const leat_sandbox_card *from,
                            leat_error *error) {
  const char *why = check_key(api->cards, from->value, "has no value");
  json_t *contact = json_object_get(api->contacts, from->contact_uuid);
  if (why == NULL && !is_utf8(from->name)) why = "is not UTF-8";
  if (why == NULL && from->contact_uuid && contact == NULL)
    why = "has a contact_uuid that names no contact";
  if (why) return refuse(error, "card", from->value, why);
  json_t *card = leat__sandbox_new_card(from->value, from->name, contact);
  if (from->inactive) json_object_set_new(card, "active", json_false());
  return json_object_set_new(api->cards, from->value, card) == 0 ||
         leat__no_memory(error);
}

/* ---- changing -------------------------------------------------------------------- */

bool leat__sandbox_put_contact(sandbox_api *api, json_t *contact) {
  const char *uuid = json_string_value(json_object_get(contact, "uuid"));
  return json_object_set(api->contacts, uuid, contact) == 0;
}

static void free_change(sandbox_change *change) {
  free(change->value);
  json_decref(change->old);
}

/* Drops changes that are older than the longest possible lag. */
static void shorten_history(sandbox_api *api, int64_t now_ms) {
  size_t old = 0;
  while (old < api->history_count &&
         api->history[old].at_ms < now_ms - SANDBOX_MAX_LAG_MS)
    free_change(&api->history[old++]);
  api->history_count -= old;
  if (old > 0)
    memmove(api->history, api->history + old, api->history_count * sizeof *api->history);
}

static bool add_change(sandbox_api *api, const char *value, int64_t at_ms) {
  if ((api->history_count & (api->history_count - 1)) == 0) shorten_history(api, at_ms);
  sandbox_change *history =
      leat__sandbox_grow(api->history, api->history_count, sizeof *history);
  if (history == NULL) return false;
  api->history = history;
  char *copy = leat__copy(value, strlen(value));
  if (copy == NULL) return false;
  history[api->history_count++] = (sandbox_change){
      .at_ms = at_ms,
      .value = copy,
      .old = json_incref(json_object_get(api->cards, value)),
  };
  return true;
}

bool leat__sandbox_put_card(sandbox_api *api, const char *value, json_t *card,
                            int64_t at_ms) {
  if (!add_change(api, value, at_ms)) return false;
  if (card == NULL) return json_object_del(api->cards, value) == 0;
  return json_object_set(api->cards, value, card) == 0;
}

json_t *leat__sandbox_cards_at(const sandbox_api *api, int64_t at_ms) {
  size_t i = api->history_count;
  if (i == 0 || api->history[i - 1].at_ms <= at_ms) return json_incref(api->cards);
  json_t *past = json_copy(api->cards);
  for (; i > 0 && api->history[i - 1].at_ms > at_ms; i--) {
    const sandbox_change *change = &api->history[i - 1];
    if (change->old) json_object_set(past, change->value, change->old);
    else json_object_del(past, change->value);
  }
  return past;
}

void leat__sandbox_clear_history(sandbox_api *api) {
  for (size_t i = 0; i < api->history_count; i++)
    free_change(&api->history[i]);
  free(api->history);
  api->history = NULL;
  api->history_count = 0;
}
