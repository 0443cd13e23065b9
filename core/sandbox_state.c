/*
** sandbox_state.c - contacts and cards, as they are and as they were. They are JSON
** itself, as the API would show it.
*/
#include "sandbox_internal.h"

#include <stdlib.h>
#include <string.h>

void *leat__sandbox_room(void *items, size_t count, size_t size) {
  if (count & (count - 1)) return items; /* room was made for the next power of two */
  return realloc(items, (count ? count * 2 : 1) * size);
}

leat_json *leat__sandbox_copy(const leat_json *object) {
  leat_json *copy = leat__json_object();
  leat_member member = {{NULL, 0}, NULL, NULL};
  bool good = copy != NULL;
  while (good && leat_json_next(object, &member))
    good = leat__json_set(copy, member.name.data, leat__json_share(member.value));
  if (good) return copy;
  leat__json_free(copy);
  return NULL;
}

leat_json *leat__sandbox_text(const char *text) {
  return text ? leat__json_text(leat_s(text)) : leat__json_null();
}

/* ---- filling --------------------------------------------------------------------- */

static bool refuse(leat_error *error, const char *what, const char *name,
                   const char *why) {
  leat__error_set(error, LEAT_CONFIG, "the sandbox can't be filled: %s \"%s\" %s", what,
                  name ? name : "", why);
  return false;
}

static bool no_memory(leat_error *error) {
  leat__error_set(error, LEAT_NO_MEMORY, "out of memory");
  return false;
}

static bool fits(const char *text) {
  return text == NULL || leat__utf8(leat_s(text));
}

/* The contact's further members; an empty object if there are none, NULL if `more` is no
** object. */
static leat_json *read_more(const char *more) {
  char why[160];
  leat_json *members =
      more ? leat__json_parse(leat_s(more), why, sizeof why) : leat__json_object();
  if (leat_json_type(members) == LEAT_OBJECT) return members;
  leat__json_free(members);
  return NULL;
}

bool leat__sandbox_add_contact(sandbox_api *api, const leat_sandbox_contact *from,
                               leat_error *error) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  if (from->uuid == NULL || !fits(from->uuid) || !fits(from->email))
    return refuse(error, "contact", from->uuid, "has no uuid, or is not UTF-8");
  leat_json *more = read_more(from->more);
  if (more == NULL)
    return refuse(error, "contact", from->uuid, "has more that is no JSON object");
  leat_json *contact = leat__json_object();
  bool good = leat__json_set(contact, "uuid", leat__sandbox_text(from->uuid)) &&
              leat__json_set(contact, "email", leat__sandbox_text(from->email));
  while (good && leat_json_next(more, &member))
    good = leat__json_set(contact, member.name.data, leat__json_share(member.value));
  leat__json_free(more);
  if (good) return leat__json_set(api->contacts, from->uuid, contact);
  leat__json_free(contact);
  return no_memory(error);
}

leat_json *leat__sandbox_contact(const sandbox_api *api, const char *uuid) {
  const leat_json *contact = uuid ? leat_json_get(api->contacts, uuid) : NULL;
  return contact ? leat__json_share(contact) : leat__json_null();
}

leat_json *leat__sandbox_new_card(const sandbox_api *api, const leat_sandbox_card *from) {
  leat_json *card = leat__json_object();
  if (leat__json_set(card, "name", leat__sandbox_text(from->name)) &&
      leat__json_set(card, "value", leat__sandbox_text(from->value)) &&
      leat__json_set(card, "active", leat__json_boolean(!from->inactive)) &&
      leat__json_set(card, "contact", leat__sandbox_contact(api, from->contact_uuid)))
    return card;
  leat__json_free(card);
  return NULL;
}

bool leat__sandbox_add_card(sandbox_api *api, const leat_sandbox_card *from,
                            leat_error *error) {
  if (from->value == NULL || !fits(from->value) || !fits(from->name))
    return refuse(error, "card", from->value, "has no value, or is not UTF-8");
  if (from->contact_uuid && leat_json_get(api->contacts, from->contact_uuid) == NULL)
    return refuse(error, "card", from->value,
                  "is of nobody: its contact_uuid names no contact");
  leat_json *card = leat__sandbox_new_card(api, from);
  return (card && leat__json_set(api->cards, from->value, card)) || no_memory(error);
}

/* ---- changing -------------------------------------------------------------------- */

leat_json *leat__sandbox_with(const leat_json *card, const char *name, leat_json *value) {
  leat_json *changed = leat__sandbox_copy(card);
  if (leat__json_set(changed, name, value)) return changed;
  leat__json_free(changed);
  return NULL;
}

static void free_change(sandbox_change *change) {
  free(change->value);
  leat__json_free(change->before);
}

/* Drops what no lag reaches back to. */
static void shorten_history(sandbox_api *api, int64_t now_ms) {
  size_t old = 0;
  while (old < api->history_count &&
         api->history[old].at_ms < now_ms - SANDBOX_MAX_LAG_MS)
    free_change(&api->history[old++]);
  api->history_count -= old;
  if (old > 0)
    memmove(api->history, api->history + old, api->history_count * sizeof *api->history);
}

static bool note_change(sandbox_api *api, const char *value, int64_t at_ms) {
  const leat_json *before = leat_json_get(api->cards, value);
  if ((api->history_count & (api->history_count - 1)) == 0) shorten_history(api, at_ms);
  sandbox_change *history =
      leat__sandbox_room(api->history, api->history_count, sizeof *history);
  if (history == NULL) return false;
  api->history = history;
  sandbox_change *change = &history[api->history_count];
  change->at_ms = at_ms;
  change->value = leat__copy(value, strlen(value));
  if (change->value == NULL) return false;
  change->before = before ? leat__json_share(before) : NULL;
  api->history_count++;
  return true;
}

bool leat__sandbox_put(sandbox_api *api, const char *value, const leat_json *card,
                       int64_t at_ms) {
  if (!note_change(api, value, at_ms)) return false;
  if (card == NULL) return leat__json_remove(api->cards, value);
  return leat__json_set(api->cards, value, leat__json_share(card));
}

leat_json *leat__sandbox_cards_at(const sandbox_api *api, int64_t at_ms) {
  size_t i = api->history_count;
  if (i == 0 || api->history[i - 1].at_ms <= at_ms) return leat__json_share(api->cards);
  leat_json *past = leat__sandbox_copy(api->cards);
  for (; i > 0 && api->history[i - 1].at_ms > at_ms; i--) {
    const sandbox_change *change = &api->history[i - 1];
    if (change->before)
      leat__json_set(past, change->value, leat__json_share(change->before));
    else leat__json_remove(past, change->value);
  }
  return past;
}

void leat__sandbox_forget(sandbox_api *api) {
  for (size_t i = 0; i < api->history_count; i++)
    free_change(&api->history[i]);
  for (size_t i = 0; i < api->pending_count; i++)
    leat__json_free(api->pending[i].input);
  free(api->history);
  free(api->pending);
  api->history = NULL;
  api->pending = NULL;
  api->history_count = api->pending_count = 0;
}
