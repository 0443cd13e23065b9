/*
** input.c - the parameters of a request to the sandbox. Those of query, body and path
** become one JSON object; validation errors are reported by field.
*/
#include "sandbox_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

leat_string leat__sandbox_header(const exchange *x, const char *name) {
  for (size_t i = 0; i < x->header_count; i++)
    if (leat__equal_nocase(x->headers[i].name, name)) return x->headers[i].value;
  return (leat_string){"", 0};
}

const char *leat__sandbox_input(const exchange *x, const char *name) {
  return json_string_value(json_object_get(x->input, name));
}

/* Adds a validation error, in the service's words. */
static void add_error(exchange *x, const char *field, const char *problem) {
  char label[64];
  snprintf(label, sizeof label, "%s", field);
  for (char *at = label; (at = strchr(at, '_')) != NULL;)
    *at = ' ';
  if (x->errors == NULL) x->errors = json_object();
  json_object_set_new(x->errors, field,
                      json_pack("[o]", json_sprintf("The %s field %s.", label, problem)));
}

const char *leat__sandbox_search(leat_string text, leat_string piece) {
  for (size_t i = 0; i + piece.length <= text.length; i++)
    if (memcmp(text.data + i, piece.data, piece.length) == 0) return text.data + i;
  return NULL;
}

/* ---- reading --------------------------------------------------------------------- */

/* Decodes in place, as PHP does: a % without two hex digits stays as it is, and + becomes
** `plus`, which is a space except in a path. Ends with a NUL, for which there must be
** room. */
static leat_string decode(char *text, size_t length, char plus) {
  char *out = text;
  for (size_t i = 0; i < length; i++) {
    int high = i + 2 < length ? leat__hex_digit(text[i + 1]) : -1;
    int low = i + 2 < length ? leat__hex_digit(text[i + 2]) : -1;
    if (text[i] == '%' && high >= 0 && low >= 0) {
      *out++ = (char)(high * 16 + low);
      i += 2;
    } else {
      *out++ = text[i] == '+' ? plus : text[i];
    }
  }
  *out = '\0';
  return (leat_string){text, (size_t)(out - text)};
}

/* Takes ownership of `value`. Reports an error if the parameter is already there with
** another value. */
static void add(exchange *x, const char *name, json_t *value) {
  const json_t *old = json_object_get(x->input, name);
  if (old && !json_equal(old, value)) add_error(x, name, "is given twice, differently");
  json_object_set_new(x->input, name, value);
}

/* Reads name=value&name=value, with names and values URL-encoded. Returns false if out of
** memory. */
static bool add_pairs(exchange *x, leat_string text) {
  char *copy = leat__copy(text.data, text.length), *next = copy;
  if (copy == NULL) return false;
  while (*next) {
    char *start = next, *end = start + strcspn(start, "&");
    next = *end ? end + 1 : end;
    *end = '\0';
    char *equals = start + strcspn(start, "=");
    char *value = *equals ? equals + 1 : equals;
    *equals = '\0';
    decode(start, (size_t)(equals - start), ' ');
    leat_string decoded = decode(value, (size_t)(end - value), ' ');
    if (!leat__utf8(leat_s(start))) add_error(x, "query", "is not UTF-8");
    else if (*start) add(x, start, json_stringn(decoded.data, decoded.length));
  }
  free(copy);
  return true;
}

static void add_json(exchange *x) {
  const char *name;
  json_t *value;
  json_t *body = json_loadb(x->body.data, x->body.length, JSON_REJECT_DUPLICATES, NULL);
  if (!json_is_object(body)) add_error(x, "body", "must be a JSON object");
  json_object_foreach(body, name, value) {
    add(x, name, json_incref(value));
  }
  json_decref(body);
}

/* Returns the text before the next `mark`, and moves `rest` behind that mark. Without a
** mark, returns data NULL and leaves `rest` unchanged. */
static leat_string cut(leat_string *rest, leat_string mark) {
  const char *at = leat__sandbox_search(*rest, mark);
  if (at == NULL) return (leat_string){NULL, 0};
  leat_string piece = {rest->data, (size_t)(at - rest->data)};
  rest->data = at + mark.length;
  rest->length -= piece.length + mark.length;
  return piece;
}

/* Ignores files, and parts whose name is too long. A name that is not UTF-8 is an
** error. */
static void add_part(exchange *x, leat_string head, leat_string content) {
  char name[128];
  bool is_file = leat__sandbox_search(head, leat_s("; filename=")) != NULL;
  if (is_file || cut(&head, leat_s("; name=\"")).data == NULL) return;
  leat_string quoted = cut(&head, leat_s("\""));
  if (quoted.data == NULL || quoted.length >= sizeof name) return;
  memcpy(name, quoted.data, quoted.length);
  name[quoted.length] = '\0';
  if (!leat__utf8(leat_s(name))) add_error(x, "body", "is not UTF-8");
  else if (name[0]) add(x, name, json_stringn(content.data, content.length));
}

/* Reads multipart/form-data. `line` is the line that separates the parts, preceded by a
** CR LF. */
static void add_parts(exchange *x, leat_string line) {
  leat_string rest = x->body, start = {line.data + 2, line.length - 2};
  bool good = cut(&rest, start).data != NULL;
  while (good && !(rest.length >= 2 && memcmp(rest.data, "--", 2) == 0)) {
    leat_string head = cut(&rest, leat_s("\r\n\r\n"));
    leat_string content = cut(&rest, line);
    good = head.data && content.data;
    if (good) add_part(x, head, content);
  }
  if (!good) add_error(x, "body", "must be multipart");
}

static bool ends_boundary(char c) {
  return c == '"' || c == ';' || c == ' ';
}

static bool add_multipart(exchange *x, leat_string type) {
  leat_buffer line;
  size_t length = 0;
  leat__buffer_init(&line, SANDBOX_MAX_HEAD);
  bool named = cut(&type, leat_s("boundary=")).data != NULL;
  if (named && type.length > 0 && type.data[0] == '"') cut(&type, leat_s("\""));
  while (named && length < type.length && !ends_boundary(type.data[length]))
    length++;
  leat__append_s(&line, "\r\n--");
  leat__append(&line, type.data, length);
  bool good = line.failed == LEAT_OK;
  if (good && length > 0) add_parts(x, (leat_string){line.data, line.length});
  else if (good) add_error(x, "body", "must be multipart");
  leat__buffer_free(&line);
  return good;
}

static bool begins_with(leat_string text, const char *start) {
  size_t length = strlen(start);
  return text.length >= length &&
         leat__equal_nocase((leat_string){text.data, length}, start);
}

static bool add_body(exchange *x) {
  leat_string type = leat__sandbox_header(x, "Content-Type");
  if (begins_with(type, "application/x-www-form-urlencoded"))
    return add_pairs(x, x->body);
  if (begins_with(type, "multipart/form-data")) return add_multipart(x, type);
  x->has_types = true;
  add_json(x);
  return true;
}

static bool add_path(exchange *x) {
  char *copy = leat__copy(x->in_path.data, x->in_path.length);
  if (copy == NULL) return false;
  leat_string uuid = decode(copy, x->in_path.length, '+');
  add(x, "contact_uuid", json_stringn(uuid.data, uuid.length));
  free(copy);
  return true;
}

/* ---- validating ------------------------------------------------------------------ */

/* Null and the empty string count as absent. */
static bool is_given(const json_t *value) {
  return value && !json_is_null(value) &&
         !(json_is_string(value) && json_string_length(value) == 0);
}

static bool is_text(const json_t *value) {
  const char *text = json_string_value(value);
  return text && strlen(text) == json_string_length(value);
}

/* Converts what stands for another type: a JSON integer for its digits; in forms, which
** have only strings, "1" and "0" for booleans. */
static void convert(exchange *x, const rule *r) {
  const json_t *value = json_object_get(x->input, r->field);
  const char *text = json_string_value(value);
  if (r->type == IS_TEXT_OR_NUMBER && json_is_integer(value))
    json_object_set_new(x->input, r->field,
                        json_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(value)));
  if (r->type == IS_BOOLEAN && !x->has_types && text &&
      (strcmp(text, "1") == 0 || strcmp(text, "0") == 0))
    json_object_set_new(x->input, r->field, json_boolean(*text == '1'));
}

static void check_rule(exchange *x, const rule *r) {
  convert(x, r);
  const json_t *value = json_object_get(x->input, r->field);
  if (!is_given(value)) {
    json_object_del(x->input, r->field);
    if (r->required) add_error(x, r->field, "is required");
  } else if (r->type == IS_BOOLEAN ? !json_is_boolean(value) : !is_text(value)) {
    add_error(x, r->field,
              r->type == IS_BOOLEAN ? "must be true or false" : "must be a string");
  }
}

bool leat__sandbox_read_input(exchange *x) {
  const route *r = x->route;
  const char *query = strchr(x->target.data, '?');
  x->input = json_object();
  if (x->input == NULL) return false;
  if (x->in_path.data && !add_path(x)) return false;
  if ((r->locations & IN_QUERY) && query && !add_pairs(x, leat_s(query + 1)))
    return false;
  if ((r->locations & IN_BODY) && x->body.length > 0 && !add_body(x)) return false;
  for (size_t i = 0; i < 4 && r->rules[i]; i++)
    check_rule(x, r->rules[i]);
  return true;
}
