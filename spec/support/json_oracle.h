/*
** json_oracle.h - checks that our decoder and jansson agree about a text. Known
** differences: ours stops at 32 levels, skips a byte order mark, and keeps duplicate
** names and numbers that fit no type, which jansson rejects; jansson ignores a NUL
** immediately behind a number or a word.
*/
#ifndef LEAT_JSON_ORACLE_H
#define LEAT_JSON_ORACLE_H

#include "leat_driver.h"

#include <jansson.h>
#include <string.h>

static inline json_t *oracle_load(leat_string text) {
  json_error_t error;
  return json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, &error);
}

static inline int oracle_depth(json_t *value) {
  int deepest = 0, depth;
  size_t i;
  const char *name;
  json_t *item;
  json_array_foreach(value, i, item) if ((depth = oracle_depth(item)) > deepest) deepest =
      depth;
  json_object_foreach(value, name, item) if ((depth = oracle_depth(item)) > deepest)
      deepest = depth;
  return json_is_array(value) || json_is_object(value) ? deepest + 1 : 0;
}

static inline bool oracle_same_text(leat_string ours, const char *theirs, size_t length) {
  return ours.length == length && ours.data[length] == '\0' &&
         memcmp(ours.data, theirs, length) == 0;
}

static inline bool oracle_same(const leat_json *ours, json_t *theirs);

static inline bool oracle_same_array(const leat_json *ours, json_t *theirs) {
  size_t size = json_array_size(theirs);
  bool good = leat_json_size(ours) == size && leat_json_at(ours, size) == NULL;
  for (size_t i = 0; i < size && good; i++)
    good = oracle_same(leat_json_at(ours, i), json_array_get(theirs, i));
  return good;
}

/* Both keep the members in the order of the text. */
static inline bool oracle_same_object(const leat_json *ours, json_t *theirs) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  void *at = json_object_iter(theirs);
  bool good = leat_json_size(ours) == json_object_size(theirs);
  for (; at && good; at = json_object_iter_next(theirs, at))
    good = leat_json_next(ours, &member) &&
           oracle_same_text(member.name, json_object_iter_key(at),
                            json_object_iter_key_len(at)) &&
           oracle_same(member.value, json_object_iter_value(at));
  return good && !leat_json_next(ours, &member);
}

static inline bool oracle_same(const leat_json *ours, json_t *theirs) {
  leat_type type = leat_json_type(ours);
  switch (json_typeof(theirs)) {
    case JSON_OBJECT: return type == LEAT_OBJECT && oracle_same_object(ours, theirs);
    case JSON_ARRAY: return type == LEAT_ARRAY && oracle_same_array(ours, theirs);
    case JSON_STRING:
      return type == LEAT_STRING &&
             oracle_same_text(leat_json_string(ours), json_string_value(theirs),
                              json_string_length(theirs));
    case JSON_INTEGER:
      return type == LEAT_INTEGER &&
             leat_json_integer(ours) == json_integer_value(theirs);
    case JSON_REAL: {
      double a = leat_json_real(ours), b = json_real_value(theirs);
      return type == LEAT_REAL && memcmp(&a, &b, sizeof a) == 0; /* -0.0 is not 0.0 */
    }
    case JSON_NULL: return type == LEAT_NULL;
    default:
      return type == LEAT_BOOLEAN && leat_json_boolean(ours) == json_is_true(theirs);
  }
}

/* Returns true if an earlier member of the object has the same name as `last`. */
static inline bool oracle_repeats(const leat_json *object, leat_member last) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  while (leat_json_next(object, &member) && member.value != last.value)
    if (member.name.length == last.name.length &&
        memcmp(member.name.data, last.name.data, last.name.length) == 0)
      return true;
  return false;
}

/* Returns true if the value contains anything that we keep and jansson rejects. */
static inline bool oracle_refuses(const leat_json *ours) {
  leat_member member = {{NULL, 0}, NULL, NULL};
  bool refuses = leat_json_digits(ours).data != NULL;
  for (size_t i = 0; i < leat_json_size(ours) && !refuses; i++)
    refuses = oracle_refuses(leat_json_at(ours, i));
  while (!refuses && leat_json_next(ours, &member))
    refuses = oracle_repeats(ours, member) || oracle_refuses(member.value);
  return refuses;
}

/* `ours` is our result for the text: the document, or NULL. */
static inline bool oracle_agrees(const leat_json *ours, leat_string text) {
  if (memchr(text.data, '\0', text.length)) return ours == NULL;
  if (text.length >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0)
    text = (leat_string){text.data + 3, text.length - 3};
  json_t *theirs = oracle_load(text);
  if (theirs == NULL && oracle_refuses(ours)) return true;
  bool good = theirs && oracle_depth(theirs) <= 32
                  ? ours != NULL && oracle_same(ours, theirs)
                  : ours == NULL;
  json_decref(theirs);
  return good;
}

/* ---- two of our values ----------------------------------------------------------- */

static inline bool oracle_equal(const leat_json *a, const leat_json *b);

static inline bool oracle_equal_strings(leat_string a, leat_string b) {
  return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static inline bool oracle_equal_items(const leat_json *a, const leat_json *b) {
  leat_member x = {{NULL, 0}, NULL, NULL}, y = {{NULL, 0}, NULL, NULL};
  bool good = leat_json_size(a) == leat_json_size(b);
  for (size_t i = 0; good && leat_json_at(a, i); i++)
    good = oracle_equal(leat_json_at(a, i), leat_json_at(b, i));
  while (good && leat_json_next(a, &x))
    good = leat_json_next(b, &y) && oracle_equal_strings(x.name, y.name) &&
           oracle_equal(x.value, y.value);
  return good;
}

/* Returns whether two values are equal, down to the order of members and the sign of 0. */
static inline bool oracle_equal(const leat_json *a, const leat_json *b) {
  double x = leat_json_real(a), y = leat_json_real(b);
  return leat_json_type(a) == leat_json_type(b) &&
         leat_json_boolean(a) == leat_json_boolean(b) &&
         leat_json_integer(a) == leat_json_integer(b) && memcmp(&x, &y, sizeof x) == 0 &&
         oracle_equal_strings(leat_json_digits(a), leat_json_digits(b)) &&
         oracle_equal_strings(leat_json_string(a), leat_json_string(b)) &&
         oracle_equal_items(a, b);
}

#endif
