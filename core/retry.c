/*
** retry.c - what to do after a failure, and after how long: pure functions, called by
** call.c. Whether a change happened is never guessed: a row says how it can be found out.
*/
#include "internal.h"

#include <string.h>

/* ---- what to do ------------------------------------------------------------------ */

/* What another try can't mend, or must not. */
static bool is_final(leat_kind kind) {
  return kind == LEAT_CANCELED || kind == LEAT_NO_MEMORY || kind == LEAT_LOCAL ||
         kind == LEAT_MISUSE || kind == LEAT_CONFIG || kind == LEAT_TLS;
}

bool leat__retry_throttled(leat_kind kind) {
  return kind == LEAT_RATE_LIMITED || kind == LEAT_MAINTENANCE;
}

static bool is_transient(leat_kind kind) {
  return kind == LEAT_CONNECTION || kind == LEAT_TIMEOUT || kind == LEAT_SERVER ||
         leat__retry_throttled(kind);
}

/* What the service would say if an earlier attempt, whose answer was lost, had worked. */
static bool tells_of_success(leat_when_unknown row, leat_kind kind) {
  switch (row) {
    case LEAT_LOOK_CREATED: return kind == LEAT_ALREADY_EXISTS;
    case LEAT_LOOK_LINKED: return kind == LEAT_ALREADY_LINKED;
    case LEAT_LOOK_UNLINKED: return kind == LEAT_NOT_LINKED;
    case LEAT_LOOK_DELETED: return kind == LEAT_NOT_FOUND;
    case LEAT_AGAIN:
    case LEAT_NEVER_AGAIN: break;
  }
  return false;
}

leat_verdict leat__retry_verdict(leat_when_unknown row, const leat_error *error,
                                 bool in_doubt) {
  if (is_final(error->kind)) return LEAT_GIVE_UP;
  if (in_doubt && tells_of_success(row, error->kind))
    return row == LEAT_LOOK_DELETED ? LEAT_RECOVERED : LEAT_LOOK;
  if (!error->outcome_unknown)
    return is_transient(error->kind) ? LEAT_TRY_AGAIN : LEAT_GIVE_UP;
  switch (row) {
    case LEAT_AGAIN: return LEAT_TRY_AGAIN;
    case LEAT_NEVER_AGAIN: return LEAT_GIVE_UP;
    default: return LEAT_LOOK;
  }
}

/* Errors that an earlier attempt would have met with too: it did not happen either. */
bool leat__retry_settles(leat_kind kind) {
  return kind == LEAT_INVALID_INPUT || kind == LEAT_CONTACT_NOT_FOUND;
}

/* ---- what a find shows ----------------------------------------------------------- */

static bool is_same(leat_string given, leat_string found) {
  return found.data && leat__equal(given, found);
}

bool leat__is_owner(leat_string owner, const leat_contact_identifier *card) {
  return owner.data ? is_same(owner, card->contact_uuid)
                    : card->contact_uuid.data == NULL;
}

static bool is_same_name(leat_string given, leat_string found) {
  return found.data && leat__equal(leat__trimmed(given), leat__trimmed(found));
}

/* A card that was given no name has its value as its name. */
static leat_verdict look_created(const leat_asked *asked,
                                 const leat_contact_identifier *card) {
  bool name_fits = asked->name.data ? is_same_name(asked->name, card->name)
                                    : card->name.data == NULL ||
                                          leat_same_value(asked->value, card->name);
  return name_fits && leat__is_owner(asked->contact_uuid, card) ? LEAT_RECOVERED
                                                                : LEAT_CONTRADICTED;
}

/* Nothing was changed yet, and it is still the same contact's: sent again, the change does
** what it was to do. */
static leat_verdict look_unchanged(const leat_asked *asked,
                                   const leat_contact_identifier *card) {
  bool same = !asked->owner_known || leat__is_owner(asked->owner, card);
  return same ? LEAT_TRY_AGAIN : LEAT_CONTRADICTED;
}

leat_verdict leat__look_found(leat_when_unknown row, const leat_asked *asked,
                              const leat_contact_identifier *card) {
  bool linked = card->contact_uuid.data != NULL;
  switch (row) {
    case LEAT_LOOK_CREATED: return look_created(asked, card);
    case LEAT_LOOK_LINKED:
      if (!linked) return LEAT_TRY_AGAIN;
      return is_same(asked->contact_uuid, card->contact_uuid) ? LEAT_RECOVERED
                                                              : LEAT_CONTRADICTED;
    case LEAT_LOOK_UNLINKED: return linked ? look_unchanged(asked, card) : LEAT_RECOVERED;
    case LEAT_LOOK_DELETED: return look_unchanged(asked, card);
    default: return LEAT_GIVE_UP;
  }
}

/* An inactive card shows nothing of itself. */
static leat_verdict look_inactive(leat_when_unknown row, bool owner_known) {
  if (row == LEAT_LOOK_CREATED) return LEAT_CONTRADICTED;
  return row == LEAT_LOOK_DELETED && !owner_known ? LEAT_TRY_AGAIN : LEAT_NOT_TOLD;
}

leat_verdict leat__look_failed(leat_when_unknown row, leat_kind kind, bool owner_known) {
  if (kind == LEAT_INACTIVE) return look_inactive(row, owner_known);
  if (kind != LEAT_NOT_FOUND) return LEAT_GIVE_UP;
  if (row == LEAT_LOOK_DELETED) return LEAT_RECOVERED;
  return row == LEAT_LOOK_CREATED ? LEAT_TRY_AGAIN : LEAT_VANISHED;
}

/* ---- after how long -------------------------------------------------------------- */

/* Full jitter: anything from nothing to a limit that doubles; a little at least. */
int64_t leat__retry_delay(const leat_retry *retry, int attempt, bool throttled,
                          uint64_t random) {
  int64_t limit = (int64_t)retry->base_ms * (throttled ? 2 : 1);
  for (int i = 1; i < attempt && limit < retry->cap_ms; i++)
    limit *= 2;
  if (limit > retry->cap_ms) limit = retry->cap_ms;
  int64_t delay = (int64_t)(random % (uint64_t)(limit + 1));
  int64_t least = limit < LEAT_LEAST_DELAY_MS ? limit : LEAT_LEAST_DELAY_MS;
  return delay > least ? delay : least;
}

/* ---- Retry-After ----------------------------------------------------------------- */

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* So many digits as a number; -1: they are none. */
static int digits(const char *text, int count) {
  int number = 0;
  for (int i = 0; i < count; i++) {
    if (!is_digit(text[i])) return -1;
    number = number * 10 + (text[i] - '0');
  }
  return number;
}

/* Days since 1970, by the civil calendar. */
static int64_t days_of(int year, int month, int day) {
  int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" as seconds since 1970; -1: it is none. */
static int64_t parse_date(leat_string text) {
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const char *s = text.data;
  if (text.length != 29 || memcmp(s + 3, ", ", 2) != 0 || memcmp(s + 25, " GMT", 4) != 0)
    return -1;
  if (s[7] != ' ' || s[11] != ' ' || s[16] != ' ' || s[19] != ':' || s[22] != ':')
    return -1;
  int month = 0;
  while (month < 12 && memcmp(months + (size_t)month * 3, s + 8, 3) != 0)
    month++;
  int day = digits(s + 5, 2), year = digits(s + 12, 4);
  int hour = digits(s + 17, 2), minute = digits(s + 20, 2), second = digits(s + 23, 2);
  if (month == 12 || day < 1 || day > 31 || year < 1970 || hour < 0 || hour > 23 ||
      minute < 0 || minute > 59 || second < 0 || second > 60)
    return -1;
  int64_t of_day = (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
  return days_of(year, month + 1, day) * 86400 + of_day;
}

int64_t leat__retry_after(leat_string text, int64_t unix_s) {
  int64_t seconds = 0;
  if (text.length == 0) return -1;
  if (!is_digit(text.data[0])) {
    int64_t date = parse_date(text);
    if (date < 0) return -1;
    seconds = date > unix_s ? date - unix_s : 0;
  }
  for (size_t i = 0; i < text.length && is_digit(text.data[0]); i++) {
    if (!is_digit(text.data[i])) return -1;
    if (seconds < LEAT_LONGEST_RETRY_AFTER_S)
      seconds = seconds * 10 + (text.data[i] - '0');
  }
  if (seconds > LEAT_LONGEST_RETRY_AFTER_S) seconds = LEAT_LONGEST_RETRY_AFTER_S;
  return seconds * 1000;
}
