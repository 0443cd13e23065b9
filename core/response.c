/*
** response.c - classifies a response: takes its status and body, and returns data or an
** error.
**
** The API reports all of its own errors with HTTP 400 and a code, so the code decides
** first, and the status only if there is no code. A response proves a success only if it
** is complete, has the expected shape, and is about the requested value.
*/
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The error codes that the service documents. */
static const struct {
  int code;
  leat_kind kind;
} codes[] = {
    {1003, LEAT_INVALID_INPUT},
    {60003, LEAT_NOT_FOUND},
    {60004, LEAT_INACTIVE},
    {60006, LEAT_ALREADY_EXISTS},
    {60011, LEAT_NOT_LINKED},
    {60014, LEAT_ALREADY_LINKED},
    {55031, LEAT_CONTACT_NOT_FOUND},
    {60000, LEAT_QUOTA_REACHED},
    {60005, LEAT_ALREADY_EXISTS}, /* a contact */
    {60016, LEAT_CONFLICT},       /* the contact is not anonymous */
    {60013, LEAT_NOT_FOUND},      /* a model */
    {7002, LEAT_FORBIDDEN},       /* the account is inactive */
    {7011, LEAT_FORBIDDEN},       /* no access to the account */
    {1053, LEAT_UNAUTHORIZED},    /* account secret invalid */
    {3000, LEAT_UNAUTHORIZED},    /* token expired */
    {1000, LEAT_SERVER},          /* internal error */
    /* Codes of older loyalty cards, whose meaning is not documented. */
    {55007, LEAT_API_ERROR},
    {55012, LEAT_API_ERROR},
    {55016, LEAT_API_ERROR},
    {55017, LEAT_API_ERROR},
    {1010, LEAT_API_ERROR},
    {1013, LEAT_API_ERROR},
    {1048, LEAT_API_ERROR},
};

static leat_kind kind_of_code(int code) {
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (codes[i].code == code) return codes[i].kind;
  return LEAT_API_ERROR;
}

/* Classifies a response without a code. A missing route means a wrong base URL, never a
** missing card. */
static leat_kind kind_of_status(int status) {
  switch (status) {
    case 400:
    case 422: return LEAT_INVALID_INPUT;
    case 401: return LEAT_UNAUTHORIZED;
    case 403: return LEAT_FORBIDDEN;
    case 404:
    case 405: return LEAT_CONFIG;
    case 413:
    case 414: return LEAT_TOO_LARGE;
    case 429: return LEAT_RATE_LIMITED;
    case 503: return LEAT_MAINTENANCE;
    case 408:
    case 425: return LEAT_SERVER; /* a retry may succeed */
    default: return status >= 500 ? LEAT_SERVER : LEAT_PROTOCOL;
  }
}

static bool takes_contact(const leat_op *op) {
  for (size_t i = 0; i < op->parameter_count; i++)
    if (strcmp(op->parameters[i].name, "contact_uuid") == 0) return true;
  return false;
}

/* Returns advice for the user, which the service's messages lack. */
static const char *advice(leat_kind kind, const leat_op *op) {
  switch (kind) {
    case LEAT_ALREADY_EXISTS: return " (find shows its current state)";
    case LEAT_ALREADY_LINKED: return " (find shows the contact)";
    case LEAT_NOT_LINKED: return " (it is already as requested)";
    case LEAT_CONTACT_NOT_FOUND: /* other requests may name the contact by its address */
      return takes_contact(op) ? " (is the contact's uuid right?)" : "";
    case LEAT_UNAUTHORIZED: return " (is the API key right, and not expired?)";
    case LEAT_FORBIDDEN: return " (is this API key allowed to do that?)";
    case LEAT_RATE_LIMITED: return " (try again later; the option rate spaces calls)";
    case LEAT_CONFIG: return " (no such route: is base_url right?)";
    case LEAT_MAINTENANCE: return " (the service is down for now: try again later)";
    default: return "";
  }
}

/* Returns whether the status classifies a response whose code is unknown. */
static bool status_decides(int status) {
  return status == 401 || status == 403 || status == 408 || status == 425 ||
         status == 429 || status >= 500;
}

/* Returns whether the status proves that nothing was changed. A 503 does not: it may come
** from a gateway that had already forwarded the request. */
static bool proves_unchanged(int status) {
  return status != 408 && status >= 300 && status < 500;
}

/* ---- errors ---------------------------------------------------------------------- */

typedef struct classification { /* shared by the functions below */
  leat_outcome *outcome;
  const leat_expected *expected;
  const leat_response *response;
  int fields; /* messages kept so far */
} classification;

static void fail(classification *j, leat_kind kind, bool unchanged) {
  j->outcome->error.kind = kind;
  j->outcome->error.outcome_unknown = j->expected->op->writes && !unchanged;
}

/* Fails for a response that the API does not send. The message quotes its content type
** and its beginning. */
static void fail_protocol(classification *j, leat_kind kind, const char *why) {
  char type[64], excerpt[LEAT_MAX_EXCERPT + 1];
  leat_string content_type = leat_response_header(j->response, "content-type");
  leat__clean(type, sizeof type, content_type, j->expected->secrets);
  leat__clean(excerpt, sizeof excerpt, j->response->body, j->expected->secrets);
  fail(j, kind, proves_unchanged(j->response->status));
  leat__error_set(&j->outcome->error, kind, "%s%s", why, advice(kind, j->expected->op));
  if (j->expected->secrets.hide) return;
  leat__error_set(&j->outcome->error, kind, "%s; content type %s, body \"%s\"%s", why,
                  type[0] ? type : "none", excerpt, advice(kind, j->expected->op));
}

/* ---- HTML pages ------------------------------------------------------------------ */

static bool is_one_of(char c, const char *set) {
  return c != '\0' && strchr(set, c) != NULL;
}

static bool is_html(leat_string type) {
  static const char html[] = "text/html";
  size_t length = sizeof html - 1;
  return type.length >= length && leat__same_letters(type.data, html, length) &&
         (type.length == length || is_one_of(type.data[length], "; \t"));
}

static leat_string skip_blanks(leat_string text) {
  while (text.length > 0 && is_one_of(text.data[0], " \t\r\n")) {
    text.data++;
    text.length--;
  }
  return text;
}

static leat_string skip_mark(leat_string text) {
  size_t length = sizeof LEAT_BYTE_ORDER_MARK - 1;
  if (text.length < length || memcmp(text.data, LEAT_BYTE_ORDER_MARK, length) != 0)
    return text;
  return (leat_string){text.data + length, text.length - length};
}

/* Returns whether a 401 or 403 has an HTML page as its body. That comes from a firewall,
** a login page or a gateway: the API's own has JSON, plain text, or no body. */
static bool is_refusal_by_page(const leat_response *response) {
  if (response->status != 401 && response->status != 403) return false;
  leat_string body = skip_blanks(skip_mark(response->body));
  return body.length > 0 &&
         (body.data[0] == '<' || is_html(leat_response_header(response, "content-type")));
}

/* Returns the offset of the first `piece` in the text, whatever its case, or the text's
** length if there is none. */
static size_t find_letters(leat_string text, const char *piece) {
  size_t length = strlen(piece);
  for (size_t i = 0; i + length <= text.length; i++)
    if (leat__same_letters(text.data + i, piece, length)) return i;
  return text.length;
}

/* Returns the title of an HTML page, or the empty string if it has none. */
static leat_string page_title(leat_string page) {
  size_t start = find_letters(page, "<title");
  while (start < page.length && page.data[start] != '>')
    start++;
  if (start == page.length) return leat_s(NULL);
  leat_string title = {page.data + start + 1, page.length - start - 1};
  title.length = find_letters(title, "<");
  return skip_blanks(title);
}

/* An intermediary's page does not show whether the key is valid, or whether the service
** received the request. */
static void fail_page(classification *j) {
  char title[LEAT_MAX_EXCERPT + 1];
  leat__clean(title, sizeof title, page_title(j->response->body), j->expected->secrets);
  for (size_t end = strlen(title); end > 0 && title[end - 1] == ' ';)
    title[--end] = '\0';
  fail(j, LEAT_PROTOCOL, false);
  leat__error_set(
      &j->outcome->error, LEAT_PROTOCOL,
      "an HTML page%s%s%s came instead of a response of the API: something between this "
      "program and the service sent it, such as a firewall, a proxy or a login page",
      title[0] ? " (\"" : "", title, title[0] ? "\")" : "");
}

/* ---- redirects ------------------------------------------------------------------- */

static bool is_scheme_character(char c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '+' ||
         c == '-' || c == '.';
}

/* Returns the host and port of a Location header, without credentials; empty if it names
** none, and so redirects to the same host. */
static leat_string named_host(leat_string location) {
  size_t at = 0, end;
  while (at < location.length && is_scheme_character(location.data[at]))
    at++;
  if (at > 0 && at < location.length && location.data[at] == ':') at++;
  else at = 0;
  if (location.length < at + 2 || memcmp(location.data + at, "//", 2) != 0)
    return leat_s(NULL);
  for (end = at += 2; end < location.length && !is_one_of(location.data[end], "/\\?#");
       end++)
    if (location.data[end] == '@') at = end + 1;
  return (leat_string){location.data + at, end - at};
}

/* The message names the host even in a token fetch, which hides bodies, because a host is
** not a secret. */
static void fail_redirect(classification *j) {
  char host[128];
  leat_secrets secrets = j->expected->secrets;
  bool fetches_token = secrets.hide;
  leat_string named = named_host(leat_response_header(j->response, "location"));
  secrets.hide = false;
  leat__clean(host, sizeof host, named.length ? named : j->expected->origin, secrets);
  fail(j, LEAT_REDIRECT, true);
  leat__error_set(&j->outcome->error, LEAT_REDIRECT,
                  "the server redirects to %s; redirects are never followed, because the "
                  "%s would be sent along (is %s right?)",
                  host, fetches_token ? "client_secret" : "key",
                  fetches_token ? "token_url" : "base_url");
}

/* ---- fields ---------------------------------------------------------------------- */

static bool is_full(const classification *j) {
  return j->fields == LEAT_MAX_FIELDS || j->outcome->fields.failed;
}

static void add_field(classification *j, const char *name, const leat_json *message) {
  char text[512];
  leat_buffer *fields = &j->outcome->fields;
  if (leat_json_type(message) != LEAT_STRING || is_full(j)) return;
  leat__clean(text, sizeof text, leat_json_string(message), j->expected->secrets);
  leat__append(fields, name, strlen(name) + 1);
  leat__append(fields, text, strlen(text) + 1);
  j->fields++;
}

/* `messages` is a string, or an array of strings. */
static void add_messages(classification *j, leat_string name, const leat_json *messages) {
  char clean[128];
  leat__clean(clean, sizeof clean, name, j->expected->secrets);
  add_field(j, clean, messages);
  if (leat_json_type(messages) != LEAT_ARRAY) return;
  for (size_t i = 0; i < leat_json_size(messages) && !is_full(j); i++)
    add_field(j, clean, leat_json_at(messages, i));
}

/* The service sends "errors" as an object of strings or arrays, as an array, or as a
** string. */
static void add_fields(classification *j, const leat_json *errors) {
  leat_member member = {0};
  leat__buffer_init(&j->outcome->fields, LEAT_MAX_FIELD_TEXT);
  if (leat_json_type(errors) == LEAT_OBJECT)
    while (!is_full(j) && leat_json_next(errors, &member))
      add_messages(j, member.name, member.value);
  else add_messages(j, leat_s(NULL), errors);
}

bool leat__field(const leat_outcome *outcome, size_t index, leat_field *field) {
  const leat_buffer *fields = &outcome->fields;
  for (size_t at = 0; at < fields->length; index--) {
    field->name = leat_s(fields->data + at);
    at += field->name.length + 1;
    if (at >= fields->length) break; /* truncated at the limit */
    field->message = leat_s(fields->data + at);
    at += field->message.length + 1;
    if (index == 0) return true;
  }
  *field = (leat_field){{NULL, 0}, {NULL, 0}};
  return false;
}

static void append_fields(leat_outcome *outcome) {
  leat_field field;
  for (size_t i = 0; leat__field(outcome, i, &field); i++)
    leat__error_add(&outcome->error, "%s%s%s%s", i ? "; " : " ", field.name.data,
                    field.name.length ? ": " : "", field.message.data);
}

/* ---- envelopes ------------------------------------------------------------------- */

/* Returns the code, a positive number or a string of its digits; 0 if there is none. */
static int read_code(const leat_json *value) {
  int64_t code = leat_json_integer(value);
  leat_string digits = leat_json_string(value);
  for (size_t i = 0; i < digits.length; i++) {
    if (digits.data[i] < '0' || digits.data[i] > '9' || i > 8) return 0;
    code = code * 10 + (digits.data[i] - '0');
  }
  return code > 0 && code <= INT32_MAX ? (int)code : 0;
}

static void fail_message(classification *j, leat_kind kind, int code, bool unchanged) {
  char text[256];
  leat_error *error = &j->outcome->error;
  const leat_json *document = j->outcome->document;
  leat__clean(text, sizeof text, leat_json_string(leat__get(document, "message")),
              j->expected->secrets);
  fail(j, kind, unchanged);
  error->code = code;
  if (j->expected->secrets.hide) leat__error_set(error, kind, "the service gave none");
  else
    leat__error_set(error, kind, "%s%s", text[0] ? text : "the service gave no message",
                    advice(kind, j->expected->op));
  add_fields(j, leat__get(document, "errors"));
  append_fields(j->outcome);
}

/* Classifies by the code, unless that is unknown and the status decides. */
static void classify_code(classification *j, int code) {
  leat_kind kind = kind_of_code(code);
  int status = j->response->status;
  bool unknown = kind == LEAT_API_ERROR;
  bool unchanged = unknown ? proves_unchanged(status) : code != 1000 && status < 500;
  if (unknown && status_decides(status)) kind = kind_of_status(status);
  fail_message(j, kind, code, unchanged);
}

static bool is_envelope(const leat_json *document) {
  return leat_json_type(leat__get(document, "message")) == LEAT_STRING ||
         leat_json_type(leat__get(document, "errors")) != LEAT_ABSENT;
}

static void classify_status(classification *j) {
  int status = j->response->status;
  leat_kind kind = kind_of_status(status);
  if (is_envelope(j->outcome->document)) {
    fail_message(j, kind, 0, proves_unchanged(status));
    return;
  }
  /* A 400 or 422 without the API's body may come from an intermediary. */
  if (kind == LEAT_INVALID_INPUT) kind = LEAT_PROTOCOL;
  fail_protocol(j, kind, "this is not a response of the API");
}

/* ---- successes ------------------------------------------------------------------- */

static bool is_or_lacks(const leat_json *value, leat_type type) {
  leat_type is = leat_json_type(value);
  return is == type || is == LEAT_NULL || is == LEAT_ABSENT;
}

static bool is_contact(const leat_json *contact) {
  if (leat_json_type(contact) != LEAT_OBJECT) return is_or_lacks(contact, LEAT_OBJECT);
  return leat_json_type(leat__get(contact, "uuid")) == LEAT_STRING &&
         is_or_lacks(leat__get(contact, "email"), LEAT_STRING);
}

/* The names that are read. A response in which one of them occurs twice is refused,
** because two parsers could read it differently. */
static const char *const document_names[] = {"data", "code", "message", "errors", NULL};
static const char *const card_names[] = {"value", "name", "active", "contact", NULL};
static const char *const contact_names[] = {"uuid", "email", NULL};

/* Returns what is wrong with a contact identifier, or NULL if it is valid. */
static const char *check_card(const leat_json *card, leat_string expected) {
  const leat_json *value = leat__get(card, "value");
  if (leat_json_type(card) != LEAT_OBJECT) return "\"data\" is not an object";
  if (leat__json_repeats(card, card_names)) return "a duplicate name in \"data\"";
  if (leat__json_repeats(leat__get(card, "contact"), contact_names))
    return "a duplicate name in \"contact\"";
  if (leat_json_type(value) != LEAT_STRING) return "\"value\" is not a string";
  if (!leat_same_value(leat_json_string(value), expected))
    return "the response is about another value than the requested one";
  if (!is_or_lacks(leat__get(card, "name"), LEAT_STRING))
    return "\"name\" is neither a string nor null";
  if (!is_or_lacks(leat__get(card, "active"), LEAT_BOOLEAN))
    return "\"active\" is not a boolean";
  if (!is_contact(leat__get(card, "contact")))
    return "\"contact\" is not null and not an object with a uuid";
  return NULL;
}

/* A body that ends with the connection may be truncated, so it proves nothing. */
static const char *check_ending(const classification *j) {
  return j->response->framing == LEAT_CLOSE_DELIMITED
             ? "the response ended with the connection, which does not prove that it is "
               "complete"
             : NULL;
}

/* Checks the response to a delete: no body, or an envelope whose "data" is null, an
** object or an array. It must be complete. */
static const char *check_nothing(const classification *j) {
  const leat_json *data = leat__get(j->outcome->document, "data");
  const leat_json *value = leat__get(data, "value");
  const char *wrong = check_ending(j);
  if (wrong || j->outcome->document == NULL) return wrong;
  if (leat_json_type(data) == LEAT_ABSENT) return "\"data\" is missing";
  if (!is_or_lacks(data, LEAT_OBJECT) && leat_json_type(data) != LEAT_ARRAY)
    return "\"data\" is neither null nor an object";
  if (leat__json_repeats(data, card_names)) return "a duplicate name in \"data\"";
  if (value && !leat_same_value(leat_json_string(value), j->expected->value))
    return "the response is about another value than the requested one";
  return NULL;
}

/* Checks a list of one contact's cards, which may name no other contact. */
static const char *check_cards(const leat_json *cards, leat_string contact_uuid) {
  if (leat_json_type(cards) != LEAT_ARRAY) return "\"data\" is not an array";
  for (size_t i = 0; i < leat_json_size(cards); i++) {
    const leat_json *card = leat_json_at(cards, i);
    leat_string value = leat_json_string(leat__get(card, "value"));
    const leat_json *uuid = leat__get(leat__get(card, "contact"), "uuid");
    const char *wrong = check_card(card, value);
    if (wrong) return wrong;
    if (uuid && !leat_same_value(leat_json_string(uuid), contact_uuid))
      return "the response is about another contact than the requested one";
  }
  return NULL;
}

static const char *check_data(const classification *j) {
  const leat_json *data = leat__get(j->outcome->document, "data");
  if (j->outcome->document == NULL) return "the response is empty";
  if (data == NULL) return "\"data\" is missing";
  switch (j->expected->op->result) {
    case LEAT_RESULT_CARD: return check_card(data, j->expected->value);
    case LEAT_RESULT_CARDS: return check_cards(data, j->expected->value);
    default:
      return leat_json_type(data) == LEAT_OBJECT ? NULL : "\"data\" is not an object";
  }
}

static void classify_success(classification *j) {
  const char *wrong = NULL;
  switch (j->expected->op->result) {
    case LEAT_RESULT_NOTHING: wrong = check_nothing(j); break;
    case LEAT_RESULT_ANY:
      if (j->outcome->document == NULL) wrong = check_ending(j);
      break;
    default: wrong = check_data(j);
  }
  if (wrong) fail_protocol(j, LEAT_PROTOCOL, wrong);
}

/* ---- classifying ----------------------------------------------------------------- */

static leat_json *parse(leat_string body, char *why, size_t size) {
  leat_json *document = leat__json_parse(body, why, size);
  if (!leat__json_repeats(document, document_names)) return document;
  leat__json_free(document);
  snprintf(why, size, "a duplicate name");
  return NULL;
}

/* Returns false, and sets the error, if there is a body that is not valid JSON, or memory
** ran out. */
static bool decode(classification *j) {
  char why[80], line[144];
  if (j->response->body.length == 0) return true;
  j->outcome->document = parse(j->response->body, why, sizeof why);
  if (j->outcome->document) return true;
  if (why[0] == '\0') {
    fail(j, LEAT_NO_MEMORY, false);
    leat__error_set(&j->outcome->error, LEAT_NO_MEMORY,
                    "out of memory while decoding a response");
  } else if (j->response->status < 300) {
    snprintf(line, sizeof line, "the response is not the expected JSON (%s)", why);
    fail_protocol(j, LEAT_PROTOCOL, line);
  } else {
    classify_status(j);
  }
  return false;
}

/* The codec enforces max_body, but another transport may not. */
static void fail_too_large(classification *j) {
  fail(j, LEAT_TOO_LARGE, proves_unchanged(j->response->status));
  leat__error_set(&j->outcome->error, LEAT_TOO_LARGE,
                  "the response's body is %zu bytes, and the limit is %zu",
                  j->response->body.length, j->expected->max_body);
}

/* Returns true, and sets the error, if the response fails whatever its body says. */
static bool is_refused(classification *j) {
  int status = j->response->status;
  if (status >= 300 && status < 400 && status != 304) fail_redirect(j);
  else if (is_refusal_by_page(j->response)) fail_page(j);
  else if (j->response->body.length > j->expected->max_body) fail_too_large(j);
  else return false;
  return true;
}

void leat__classify(leat_outcome *outcome, const leat_expected *expected,
                    const leat_response *response) {
  classification j = {outcome, expected, response, 0};
  bool good = response->status >= 200 && response->status < 300;
  outcome->error.status = response->status;
  if (is_refused(&j) || !decode(&j)) return;
  int code = read_code(leat__get(outcome->document, "code"));
  bool has_data = leat__get(outcome->document, "data") != NULL;
  if (code && !(good && has_data)) classify_code(&j, code);
  else if (good) classify_success(&j);
  else classify_status(&j);
}

int leat__rate(const leat_response *response, const char *name) {
  leat_string digits = leat_response_header(response, name);
  int number = 0;
  if (digits.length == 0 || digits.length > 9) return -1;
  for (size_t i = 0; i < digits.length; i++) {
    if (digits.data[i] < '0' || digits.data[i] > '9') return -1;
    number = number * 10 + (digits.data[i] - '0');
  }
  return number;
}

void leat__outcome_free(leat_outcome *outcome) {
  leat__json_free(outcome->document);
  leat__buffer_free(&outcome->fields);
  outcome->document = NULL;
}
