/*
** retry.c - the retry policy, as pure functions: what to do after a failure, and after
** which delay. They never guess whether a change took effect: the operation's recovery
** says how to verify it.
*/
#include "internal.h"

#include <string.h>

/* ---- decisions ------------------------------------------------------------------- */

/* Failures that a retry cannot repair, or must not hide. */
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

/* Returns whether the service would respond with this error if an earlier attempt, whose
** response was lost, had succeeded. */
static bool implies_success(leat_recovery recovery, leat_kind kind) {
  switch (recovery) {
    case LEAT_VERIFY_CREATED: return kind == LEAT_ALREADY_EXISTS;
    case LEAT_VERIFY_LINKED: return kind == LEAT_ALREADY_LINKED;
    case LEAT_VERIFY_UNLINKED: return kind == LEAT_NOT_LINKED;
    case LEAT_VERIFY_DELETED: return kind == LEAT_NOT_FOUND;
    case LEAT_RETRY:
    case LEAT_NO_RETRY: break;
  }
  return false;
}

leat_decision leat__retry_decide(leat_recovery recovery, const leat_error *error,
                                 bool maybe_applied) {
  if (is_final(error->kind)) return LEAT_GIVE_UP;
  if (maybe_applied && implies_success(recovery, error->kind))
    return recovery == LEAT_VERIFY_DELETED ? LEAT_RECOVERED : LEAT_VERIFY;
  if (!error->outcome_unknown)
    return is_transient(error->kind) ? LEAT_SEND_AGAIN : LEAT_GIVE_UP;
  switch (recovery) {
    case LEAT_RETRY: return LEAT_SEND_AGAIN;
    case LEAT_NO_RETRY: return LEAT_GIVE_UP;
    default: return LEAT_VERIFY;
  }
}

/* Returns whether an earlier attempt would have failed with the same error, and so
** changed nothing. */
bool leat__retry_settles(leat_kind kind) {
  return kind == LEAT_INVALID_INPUT || kind == LEAT_CONTACT_NOT_FOUND;
}

/* ---- verifying finds ------------------------------------------------------------- */

bool leat__is_owner(leat_string owner, const leat_contact_identifier *card) {
  return owner.data ? leat_same_value(owner, card->contact_uuid)
                    : card->contact_uuid.data == NULL;
}

static bool is_same_name(leat_string given, leat_string found) {
  return found.data && leat__equal(leat__trimmed(given), leat__trimmed(found));
}

/* The service names a card after its value if no name was given. */
static leat_decision verify_created(const leat_desired *desired,
                                    const leat_contact_identifier *card) {
  bool name_fits = desired->name.data ? is_same_name(desired->name, card->name)
                                      : card->name.data == NULL ||
                                            leat_same_value(desired->value, card->name);
  return name_fits && leat__is_owner(desired->contact_uuid, card) ? LEAT_RECOVERED
                                                                  : LEAT_CONTRADICTED;
}

/* The change has not taken effect. It may be retried only while the card still belongs to
** the same contact, if that is known. */
static leat_decision verify_unchanged(const leat_desired *desired,
                                      const leat_contact_identifier *card) {
  bool same = !desired->owner_known || leat__is_owner(desired->owner, card);
  return same ? LEAT_SEND_AGAIN : LEAT_CONTRADICTED;
}

leat_decision leat__verify_found(leat_recovery recovery, const leat_desired *desired,
                                 const leat_contact_identifier *card) {
  bool linked = card->contact_uuid.data != NULL;
  switch (recovery) {
    case LEAT_VERIFY_CREATED: return verify_created(desired, card);
    case LEAT_VERIFY_LINKED:
      if (!linked) return LEAT_SEND_AGAIN;
      return leat_same_value(desired->contact_uuid, card->contact_uuid)
                 ? LEAT_RECOVERED
                 : LEAT_CONTRADICTED;
    case LEAT_VERIFY_UNLINKED:
      return linked ? verify_unchanged(desired, card) : LEAT_RECOVERED;
    case LEAT_VERIFY_DELETED: return verify_unchanged(desired, card);
    default: return LEAT_GIVE_UP;
  }
}

/* A find of an inactive card returns none of its fields, so there is little to verify. */
static leat_decision verify_inactive(leat_recovery recovery, bool owner_known) {
  if (recovery == LEAT_VERIFY_CREATED) return LEAT_CONTRADICTED;
  return recovery == LEAT_VERIFY_DELETED && !owner_known ? LEAT_SEND_AGAIN
                                                         : LEAT_INCONCLUSIVE;
}

leat_decision leat__verify_failed(leat_recovery recovery, leat_kind kind,
                                  bool owner_known) {
  if (kind == LEAT_INACTIVE) return verify_inactive(recovery, owner_known);
  if (kind != LEAT_NOT_FOUND) return LEAT_GIVE_UP;
  if (recovery == LEAT_VERIFY_DELETED) return LEAT_RECOVERED;
  return recovery == LEAT_VERIFY_CREATED ? LEAT_SEND_AGAIN : LEAT_MISSING;
}

/* ---- delays ---------------------------------------------------------------------- */

/* Exponential backoff with full jitter: a random delay between 0 and a limit, in
** milliseconds. The limit is base_ms, or twice that after a 429 or 503, and doubles with
** each attempt up to cap_ms. The delay is at least LEAT_LEAST_DELAY_MS, or the limit. */
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

/* Days since 1970-01-01 in the Gregorian calendar; months are 1 to 12. */
static int64_t days_of(int year, int month, int day) {
  int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

enum { YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, PARTS };

/* Returns 0 to 11 for the month's name, or 12 if it is not one. Reads three bytes. */
static int month_of(const char *name) {
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  int month = 0;
  while (month < 12 && memcmp(months + (size_t)month * 3, name, 3) != 0)
    month++;
  return month;
}

/* Parses `text` by a layout of the same length: each of the letters "ymdhis" stands for a
** digit, "bbb" for a month's name, and any other character for itself. A day of two
** digits may begin with a space instead. */
static bool read_layout(leat_string text, const char *layout, int parts[PARTS]) {
  static const char letters[] = "ymdhis";
  memset(parts, 0, PARTS * sizeof *parts);
  if (text.length != strlen(layout)) return false;
  for (size_t i = 0; i < text.length; i++) {
    char c = text.data[i];
    const char *letter = strchr(letters, layout[i]);
    bool pads = c == ' ' && layout[i] == 'd' && layout[i + 1] == 'd';
    if (strncmp(layout + i, "bbb", 3) == 0) parts[MONTH] = month_of(text.data + i);
    else if (letter && leat__is_digit(c))
      parts[letter - letters] = parts[letter - letters] * 10 + (c - '0');
    else if (layout[i] != 'b' && !pads && (letter || c != layout[i])) return false;
  }
  return true;
}

static int64_t seconds_of(const int parts[PARTS]) {
  int64_t of_day = (int64_t)parts[HOUR] * 3600 + (int64_t)parts[MINUTE] * 60;
  return days_of(parts[YEAR], parts[MONTH] + 1, parts[DAY]) * 86400 + of_day +
         parts[SECOND];
}

/* Parses a date in one of HTTP's three forms; the day of the week is ignored. A year of
** two digits is the latest matching one that is at most fifty years ahead of `now_s`. */
static bool read_date(leat_string text, int64_t now_s, int parts[PARTS]) {
  const char *comma = text.length > 0 ? memchr(text.data, ',', text.length) : NULL;
  size_t start = comma ? (size_t)(comma - text.data) + 2 : 4;
  if (start > text.length || text.data[start - 1] != ' ') return false;
  text = (leat_string){text.data + start, text.length - start};
  if (!comma) return read_layout(text, "bbb dd hh:ii:ss yyyy", parts);
  if (read_layout(text, "dd bbb yyyy hh:ii:ss GMT", parts)) return true;
  if (!read_layout(text, "dd-bbb-yy hh:ii:ss GMT", parts)) return false;
  parts[YEAR] += 2000;
  if (seconds_of(parts) > now_s + INT64_C(50) * 31556952) parts[YEAR] -= 100;
  return true;
}

/* Returns seconds since 1970, or -1 if the text is not a date. */
static int64_t parse_date(leat_string text, int64_t now_s) {
  int parts[PARTS];
  bool good = read_date(text, now_s, parts) && parts[YEAR] >= 1970 && parts[MONTH] < 12 &&
              parts[DAY] >= 1 && parts[DAY] <= 31 && parts[HOUR] < 24 &&
              parts[MINUTE] < 60 && parts[SECOND] <= 60;
  return good ? seconds_of(parts) : -1;
}

int64_t leat__retry_after(leat_string text, leat_string date, int64_t unix_s) {
  int64_t seconds = 0;
  if (text.length == 0) return -1;
  if (!leat__is_digit(text.data[0])) {
    int64_t until = parse_date(text, unix_s), sent = parse_date(date, unix_s);
    if (until < 0) return -1;
    if (sent < 0) sent = unix_s;
    seconds = until > sent ? until - sent : 0;
  }
  for (size_t i = 0; i < text.length && leat__is_digit(text.data[0]); i++) {
    if (!leat__is_digit(text.data[i])) return -1;
    if (seconds < LEAT_LONGEST_RETRY_AFTER_S)
      seconds = seconds * 10 + (text.data[i] - '0');
  }
  if (seconds > LEAT_LONGEST_RETRY_AFTER_S) seconds = LEAT_LONGEST_RETRY_AFTER_S;
  return seconds * 1000;
}
