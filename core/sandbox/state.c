/*
** state.c - contacts and cards, with the recent history of the cards. They are kept as
** JSON in the API's format.
*/
#include "sandbox_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *leat__sandbox_room(void *items, size_t count, size_t size) {
  if (count & (count - 1)) return items; /* a power of two was allocated */
  return realloc(items, (count ? count * 2 : 1) * size);
}

sjson *leat__sandbox_copy(const sjson *object) {
  sjson *copy = leat__sjson_object();
  sjson_member member = {{NULL, 0}, NULL, NULL};
  bool good = copy != NULL;
  while (good && leat__sjson_next(object, &member))
    good = leat__sjson_set(copy, member.name.data, leat__sjson_share(member.value));
  if (good) return copy;
  leat__sjson_free(copy);
  return NULL;
}

sjson *leat__sandbox_text(const char *text) {
  return text ? leat__sjson_text(leat_s(text)) : leat__sjson_null();
}

/* ---- filling --------------------------------------------------------------------- */

/* Reports an invalid option of the sandbox's configuration. */
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

/* Checks whether `name` is valid and new in `all`. If not, reports that and returns
** false. */
static bool check_name(const sjson *all, const char *what, const char *field,
                       const char *name, leat_error *error) {
  char why[64];
  if (name && *name && fits(name) && leat__sjson_get(all, name) == NULL) return true;
  if (name == NULL || !*name) snprintf(why, sizeof why, "has no %s", field);
  else snprintf(why, sizeof why, fits(name) ? "is given twice" : "is not UTF-8");
  return refuse(error, what, name, why);
}

/* Reads the contact's further members: an empty object if `more` is NULL. Returns NULL if
** `more` is no JSON object. */
static sjson *read_more(const char *more) {
  sjson *members = more ? leat__sjson_parse(leat_s(more)) : leat__sjson_object();
  if (leat__sjson_type(members) == LEAT_OBJECT) return members;
  leat__sjson_free(members);
  return NULL;
}

sjson *leat__sandbox_new_contact(const char *uuid, const char *email) {
  sjson *contact = leat__sjson_object();
  if (leat__sjson_set(contact, "uuid", leat__sandbox_text(uuid)) &&
      leat__sjson_set(contact, "email", leat__sandbox_text(email)))
    return contact;
  leat__sjson_free(contact);
  return NULL;
}

bool leat__sandbox_add_contact(sandbox_api *api, const leat_sandbox_contact *from,
                               leat_error *error) {
  sjson_member member = {{NULL, 0}, NULL, NULL};
  if (!check_name(api->contacts, "contact", "uuid", from->uuid, error)) return false;
  if (!fits(from->email)) return refuse(error, "contact", from->uuid, "is not UTF-8");
  sjson *more = read_more(from->more);
  if (more == NULL)
    return refuse(error, "contact", from->uuid, "has more that is no JSON object");
  sjson *contact = leat__sandbox_new_contact(from->uuid, from->email);
  bool good = contact != NULL;
  while (good && leat__sjson_next(more, &member))
    good = leat__sjson_set(contact, member.name.data, leat__sjson_share(member.value));
  leat__sjson_free(more);
  if (good) return leat__sjson_set(api->contacts, from->uuid, contact);
  leat__sjson_free(contact);
  return no_memory(error);
}

sjson *leat__sandbox_contact(const sandbox_api *api, const char *uuid) {
  const sjson *contact = uuid ? leat__sjson_get(api->contacts, uuid) : NULL;
  return contact ? leat__sjson_share(contact) : leat__sjson_null();
}

sjson *leat__sandbox_new_card(const sandbox_api *api, const leat_sandbox_card *from) {
  sjson *card = leat__sjson_object();
  if (leat__sjson_set(card, "name", leat__sandbox_text(from->name)) &&
      leat__sjson_set(card, "value", leat__sandbox_text(from->value)) &&
      leat__sjson_set(card, "active", leat__sjson_boolean(!from->inactive)) &&
      leat__sjson_set(card, "contact", leat__sandbox_contact(api, from->contact_uuid)))
    return card;
  leat__sjson_free(card);
  return NULL;
}

bool leat__sandbox_add_card(sandbox_api *api, const leat_sandbox_card *from,
                            leat_error *error) {
  if (!check_name(api->cards, "card", "value", from->value, error)) return false;
  if (!fits(from->name)) return refuse(error, "card", from->value, "is not UTF-8");
  if (from->contact_uuid && leat__sjson_get(api->contacts, from->contact_uuid) == NULL)
    return refuse(error, "card", from->value,
                  "is of nobody: its contact_uuid names no contact");
  sjson *card = leat__sandbox_new_card(api, from);
  return (card && leat__sjson_set(api->cards, from->value, card)) || no_memory(error);
}

/* ---- changing -------------------------------------------------------------------- */

sjson *leat__sandbox_with(const sjson *card, const char *name, sjson *value) {
  sjson *changed = leat__sandbox_copy(card);
  if (leat__sjson_set(changed, name, value)) return changed;
  leat__sjson_free(changed);
  return NULL;
}

bool leat__sandbox_put_contact(sandbox_api *api, const sjson *contact) {
  const char *uuid = leat__sjson_string(leat__sjson_get(contact, "uuid")).data;
  return leat__sjson_set(api->contacts, uuid, leat__sjson_share(contact));
}

static void free_change(sandbox_change *change) {
  free(change->value);
  leat__sjson_free(change->before);
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

static bool note_change(sandbox_api *api, const char *value, int64_t at_ms) {
  const sjson *before = leat__sjson_get(api->cards, value);
  if ((api->history_count & (api->history_count - 1)) == 0) shorten_history(api, at_ms);
  sandbox_change *history =
      leat__sandbox_room(api->history, api->history_count, sizeof *history);
  if (history == NULL) return false;
  api->history = history;
  sandbox_change *change = &history[api->history_count];
  change->at_ms = at_ms;
  change->value = leat__copy(value, strlen(value));
  if (change->value == NULL) return false;
  change->before = before ? leat__sjson_share(before) : NULL;
  api->history_count++;
  return true;
}

bool leat__sandbox_put(sandbox_api *api, const char *value, const sjson *card,
                       int64_t at_ms) {
  if (!note_change(api, value, at_ms)) return false;
  if (card == NULL) return leat__sjson_remove(api->cards, value);
  return leat__sjson_set(api->cards, value, leat__sjson_share(card));
}

sjson *leat__sandbox_cards_at(const sandbox_api *api, int64_t at_ms) {
  size_t i = api->history_count;
  if (i == 0 || api->history[i - 1].at_ms <= at_ms) return leat__sjson_share(api->cards);
  sjson *past = leat__sandbox_copy(api->cards);
  for (; i > 0 && api->history[i - 1].at_ms > at_ms; i--) {
    const sandbox_change *change = &api->history[i - 1];
    if (change->before)
      leat__sjson_set(past, change->value, leat__sjson_share(change->before));
    else leat__sjson_remove(past, change->value);
  }
  return past;
}

void leat__sandbox_forget(sandbox_api *api) {
  for (size_t i = 0; i < api->history_count; i++)
    free_change(&api->history[i]);
  for (size_t i = 0; i < api->pending_count; i++)
    leat__sjson_free(api->pending[i].input);
  free(api->history);
  free(api->pending);
  api->history = NULL;
  api->pending = NULL;
  api->history_count = api->pending_count = 0;
}
