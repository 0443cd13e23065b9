/*
** jansson.c - JSON values for the sandbox to build and change: a thin layer over jansson,
** and the only file that includes it. An sjson is a json_t under another name.
*/
#include "sandbox_internal.h"

#include <jansson.h>

static json_t *open_up(sjson *value) {
  return (json_t *)(void *)value;
}

static const json_t *look_at(const sjson *value) {
  return (const json_t *)(const void *)value;
}

static sjson *wrap(json_t *value) {
  return (sjson *)(void *)value;
}

/* Removes const: some functions of jansson lack it although they only read. */
static json_t *borrow(const sjson *value) {
  union {
    const sjson *given;
    json_t *taken;
  } pointer = {value};
  return pointer.taken;
}

/* ---- reading --------------------------------------------------------------------- */

sjson *leat__sjson_parse(leat_string text) {
  json_error_t error;
  size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
  return wrap(json_loadb(text.data, text.length, flags, &error));
}

void leat__sjson_free(sjson *value) {
  json_decref(open_up(value));
}

leat_type leat__sjson_type(const sjson *value) {
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

bool leat__sjson_is_true(const sjson *value) {
  return json_is_true(look_at(value));
}

leat_string leat__sjson_string(const sjson *value) {
  leat_string text = {json_string_value(look_at(value)),
                      json_string_length(look_at(value))};
  return text;
}

size_t leat__sjson_size(const sjson *array) {
  return json_array_size(look_at(array));
}

const sjson *leat__sjson_get(const sjson *object, const char *name) {
  return wrap(json_object_get(look_at(object), name));
}

bool leat__sjson_next(const sjson *object, sjson_member *member) {
  json_t *json = borrow(object);
  member->position = member->position ? json_object_iter_next(json, member->position)
                                      : json_object_iter(json);
  if (member->position == NULL) return false;
  member->name.data = json_object_iter_key(member->position);
  member->name.length = json_object_iter_key_len(member->position);
  member->value = wrap(json_object_iter_value(member->position));
  return true;
}

/* ---- building -------------------------------------------------------------------- */

sjson *leat__sjson_null(void) {
  return wrap(json_null());
}

sjson *leat__sjson_boolean(bool value) {
  return wrap(json_boolean(value));
}

sjson *leat__sjson_integer(int64_t value) {
  return wrap(json_integer(value));
}

sjson *leat__sjson_text(leat_string text) {
  return wrap(json_stringn(text.data, text.length));
}

sjson *leat__sjson_object(void) {
  return wrap(json_object());
}

sjson *leat__sjson_array(void) {
  return wrap(json_array());
}

bool leat__sjson_set(sjson *object, const char *name, sjson *value) {
  return json_object_set_new(open_up(object), name, open_up(value)) == 0;
}

bool leat__sjson_append(sjson *array, sjson *value) {
  return json_array_append_new(open_up(array), open_up(value)) == 0;
}

bool leat__sjson_remove(sjson *object, const char *name) {
  return json_object_del(open_up(object), name) == 0;
}

sjson *leat__sjson_share(const sjson *value) {
  return wrap(json_incref(borrow(value)));
}

static int append_piece(const char *data, size_t length, void *buffer) {
  leat__append(buffer, data, length);
  return 0;
}

void leat__sjson_write(const sjson *value, leat_buffer *out) {
  size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
  if (json_dump_callback(look_at(value), append_piece, out, flags) != 0 && !out->failed)
    out->failed = LEAT_NO_MEMORY;
}
