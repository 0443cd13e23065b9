/*
** json.c - JSON, thin over jansson: the only file that includes it. A leat_json is a
** json_t by another name.
*/
#include "internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *open_up(leat_json *value) {
  return (json_t *)(void *)value;
}

static const json_t *look_at(const leat_json *value) {
  return (const json_t *)(const void *)value;
}

static leat_json *wrap(json_t *value) {
  return (leat_json *)(void *)value;
}

/* jansson takes its objects without const where it only reads them. */
static json_t *borrow(const leat_json *value) {
  union {
    const leat_json *given;
    json_t *taken;
  } pointer = {value};
  return pointer.taken;
}

/* ---- decoding -------------------------------------------------------------------- */

/* jansson's own limit is 2048 levels, in recursion: count before it does. */
static bool too_deep(leat_string text) {
  int depth = 0;
  bool inside_string = false;
  for (size_t i = 0; i < text.length; i++) {
    char c = text.data[i];
    if (inside_string) {
      if (c == '\\') i++;
      else if (c == '"') inside_string = false;
    } else if (c == '"') {
      inside_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > LEAT_MAX_JSON_DEPTH) return true;
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
  return false;
}

static json_t *load(leat_string text, json_error_t *error) {
  return json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, error);
}

/* Whether memory for such a text is to be had at all. */
static bool has_memory(leat_string text) {
  void *room = malloc(text.length + 1024);
  free(room);
  return room != NULL;
}

/* jansson seldom says that memory ran out; it calls the text malformed. So what fails is
** tried once more, and then it is asked whether there is memory. */
leat_json *leat__json_parse(leat_string text, char *why, size_t why_size) {
  json_error_t error = {0};
  if (too_deep(text)) {
    snprintf(why, why_size, "nested deeper than %d levels", LEAT_MAX_JSON_DEPTH);
    return NULL;
  }
  json_t *value = load(text, &error);
  if (value == NULL) value = load(text, &error);
  if (value) return wrap(value);
  if (error.text[0] == '\0' || !has_memory(text)) why[0] = '\0';
  else snprintf(why, why_size, "%.100s (byte %d)", error.text, error.position);
  return NULL;
}

void leat__json_free(leat_json *value) {
  json_decref(open_up(value));
}

/* ---- reading --------------------------------------------------------------------- */

leat_type leat_json_type(const leat_json *value) {
  if (value == NULL) return LEAT_ABSENT;
  switch (json_typeof(look_at(value))) {
    case JSON_OBJECT: return LEAT_OBJECT;
    case JSON_ARRAY: return LEAT_ARRAY;
    case JSON_STRING: return LEAT_STRING;
    case JSON_INTEGER: return LEAT_INTEGER;
    case JSON_REAL: return LEAT_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return LEAT_BOOLEAN;
    case JSON_NULL: break;
  }
  return LEAT_NULL;
}

bool leat_json_boolean(const leat_json *value) {
  return json_is_true(look_at(value));
}

int64_t leat_json_integer(const leat_json *value) {
  return json_integer_value(look_at(value));
}

double leat_json_real(const leat_json *value) {
  return json_real_value(look_at(value));
}

leat_string leat_json_string(const leat_json *value) {
  leat_string text = {json_string_value(look_at(value)),
                      json_string_length(look_at(value))};
  return text;
}

size_t leat_json_size(const leat_json *value) {
  const json_t *json = look_at(value);
  return json_is_array(json) ? json_array_size(json) : json_object_size(json);
}

const leat_json *leat_json_at(const leat_json *array, size_t index) {
  return wrap(json_array_get(look_at(array), index));
}

const leat_json *leat_json_get(const leat_json *object, const char *name) {
  return wrap(json_object_get(look_at(object), name));
}

bool leat_json_next(const leat_json *object, leat_member *member) {
  json_t *json = borrow(object);
  member->position = member->position ? json_object_iter_next(json, member->position)
                                      : json_object_iter(json);
  if (member->position == NULL) return false;
  member->name.data = json_object_iter_key(member->position);
  member->name.length = json_object_iter_key_len(member->position);
  member->value = wrap(json_object_iter_value(member->position));
  return true;
}

/* ---- writing --------------------------------------------------------------------- */

static void append_escaped(leat_buffer *buffer, char c) {
  static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  char code[8];
  const char *found = strchr(plain, c);
  if (found) snprintf(code, sizeof code, "\\%c", letters[found - plain]);
  else snprintf(code, sizeof code, "\\u%04X", (unsigned)c);
  leat__append_s(buffer, code);
}

void leat__append_json(leat_buffer *buffer, leat_string text) {
  size_t done = 0;
  leat__append_s(buffer, "\"");
  for (size_t i = 0; i < text.length; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if (c >= ' ' && c != '"' && c != '\\') continue;
    leat__append(buffer, text.data + done, i - done);
    append_escaped(buffer, (char)c);
    done = i + 1;
  }
  leat__append(buffer, text.data + done, text.length - done);
  leat__append_s(buffer, "\"");
}
