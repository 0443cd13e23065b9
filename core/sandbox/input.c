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
  return leat__sjson_string(leat__sjson_get(x->input, name)).data;
}

static void add_error(exchange *x, const char *field, const char *label,
                      const char *problem) {
  char text[128];
  sjson *messages = leat__sjson_array();
  snprintf(text, sizeof text, "The %s field %s.", label, problem);
  leat__sjson_append(messages, leat__sjson_text(leat_s(text)));
  if (x->errors == NULL) x->errors = leat__sjson_object();
  leat__sjson_set(x->errors, field, messages);
}

const char *leat__sandbox_search(leat_string text, leat_string piece) {
  for (size_t i = 0; i + piece.length <= text.length; i++)
    if (memcmp(text.data + i, piece.data, piece.length) == 0) return text.data + i;
  return NULL;
}

/* ---- reading --------------------------------------------------------------------- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place, as PHP does: a % without two hex digits stays as it is, and + becomes
** `plus`, which is a space except in a path. Ends with a NUL, for which there must be
** room. */
static leat_string decode(char *text, size_t length, char plus) {
  char *out = text;
  for (size_t i = 0; i < length; i++) {
    bool encoded = text[i] == '%' && i + 2 < length && hex_digit(text[i + 1]) >= 0 &&
                   hex_digit(text[i + 2]) >= 0;
    if (encoded) {
      *out++ = (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
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
static void add(exchange *x, const char *name, sjson *value) {
  const sjson *there = leat__sjson_get(x->input, name);
  if (there && !leat__equal(leat__sjson_string(there), leat__sjson_string(value)))
    add_error(x, name, name, "is given twice, differently");
  leat__sjson_set(x->input, name, value);
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
    if (*start && !leat__utf8(leat_s(start)))
      add_error(x, "query", "query", "is not UTF-8");
    else if (*start) add(x, start, leat__sjson_text(decoded));
  }
  free(copy);
  return true;
}

static void add_json(exchange *x) {
  sjson_member member = {{NULL, 0}, NULL, NULL};
  sjson *body = leat__sjson_parse(x->body);
  if (leat__sjson_type(body) != LEAT_OBJECT)
    add_error(x, "body", "body", "must be a JSON object");
  else
    while (leat__sjson_next(body, &member))
      add(x, member.name.data, leat__sjson_share(member.value));
  leat__sjson_free(body);
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
  leat_string given = cut(&head, leat_s("\""));
  if (given.data == NULL || given.length >= sizeof name) return;
  memcpy(name, given.data, given.length);
  name[given.length] = '\0';
  if (!leat__utf8(leat_s(name))) add_error(x, "body", "body", "is not UTF-8");
  else if (name[0]) add(x, name, leat__sjson_text(content));
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
  if (!good) add_error(x, "body", "body", "must be multipart");
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
  else if (good) add_error(x, "body", "body", "must be multipart");
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
  add(x, "contact_uuid", leat__sjson_text(decode(copy, x->in_path.length, '+')));
  free(copy);
  return true;
}

/* ---- validating ------------------------------------------------------------------ */

/* Null and the empty string count as absent. */
static bool is_given(const sjson *value) {
  return leat__sjson_type(value) > LEAT_NULL &&
         !(leat__sjson_type(value) == LEAT_STRING &&
           leat__sjson_string(value).length == 0);
}

static bool holds_nul(leat_string text) {
  return text.length > 0 && memchr(text.data, '\0', text.length);
}

/* Converts a JSON integer to text, as forms send it. */
static void convert_number(exchange *x, const rule *r) {
  leat_buffer text;
  const sjson *number = leat__sjson_get(x->input, r->field);
  if (leat__sjson_type(number) != LEAT_INTEGER) return;
  leat__buffer_init(&text, 64);
  leat__sjson_write(number, &text);
  leat__sjson_set(x->input, r->field,
                  leat__sjson_text((leat_string){text.data, text.length}));
  leat__buffer_free(&text);
}

/* Converts "1" and "0" to booleans: a form has only strings. */
static void convert(exchange *x, const rule *r) {
  const char *text = leat__sandbox_input(x, r->field);
  if (r->type != LEAT_BOOLEAN || x->has_types || text == NULL) return;
  if (strcmp(text, "1") == 0 || strcmp(text, "0") == 0)
    leat__sjson_set(x->input, r->field, leat__sjson_boolean(*text == '1'));
}

static void check_rule(exchange *x, const rule *r) {
  if (r->number) convert_number(x, r);
  convert(x, r);
  const sjson *value = leat__sjson_get(x->input, r->field);
  if (!is_given(value)) {
    leat__sjson_remove(x->input, r->field);
    if (r->required) add_error(x, r->field, r->label, "is required");
  } else if (leat__sjson_type(value) != r->type || holds_nul(leat__sjson_string(value))) {
    add_error(x, r->field, r->label,
              r->type == LEAT_STRING ? "must be a string" : "must be true or false");
  }
}

bool leat__sandbox_read_input(exchange *x) {
  const route *r = x->route;
  const char *query = strchr(x->target.data, '?');
  x->input = leat__sjson_object();
  if (x->input == NULL) return false;
  if (x->in_path.data && !add_path(x)) return false;
  if ((r->places & IN_QUERY) && query && !add_pairs(x, leat_s(query + 1))) return false;
  if ((r->places & IN_BODY) && x->body.length > 0 && !add_body(x)) return false;
  for (size_t i = 0; i < 4 && r->rules[i]; i++)
    check_rule(x, r->rules[i]);
  return true;
}
