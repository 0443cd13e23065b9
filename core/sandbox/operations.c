/*
** operations.c - the routes of the sandbox and their operations. An operation changes
** nothing itself: it stores the intended change and the response in the exchange.
*/
#include "sandbox_internal.h"

#include <stdio.h>
#include <string.h>

#define CARDS    SANDBOX_BASE "/contact-identifiers"
#define CONTACTS SANDBOX_BASE "/contacts"

/* ---- responses ------------------------------------------------------------------- */

/* Takes ownership of `response`; NULL means out of memory. */
static void set_response(exchange *x, int status, json_t *response) {
  json_decref(x->response);
  x->response = response;
  x->status = status;
}

void leat__sandbox_respond(exchange *x, int status, const char *message) {
  set_response(x, status, json_pack("{s:s}", "message", message));
}

static const char *message_of(int code) {
  static const struct {
    int code;
    const char *message;
  } known[] = {{1003, "Invalid input."},
               {60003, "Contact identifier not found."},
               {60004, "Contact identifier inactive."},
               {60006, "Contact identifier already exists."},
               {60011, "Contact identifier is not linked to a contact."},
               {60014, "Contact identifier is already linked."},
               {55031, "Contact not found."},
               {60000, "Usage limit reached."},
               {60005, "Contact already exists."},
               {60016, "Contact not anonymous."},
               {7002, "Account inactive."},
               {7011, "User has no access to this account."},
               {1000, "Internal error."},
               {60013, "Model not found."},
               {1053, "Account secret invalid."},
               {3000, "Token expired."}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (known[i].code == code) return known[i].message;
  return "Error.";
}

void leat__sandbox_respond_code(exchange *x, int code) {
  set_response(x, 400,
               json_pack("{s:s, s:i, s:i}", "message", message_of(code), "code", code,
                         "status_code", 400));
}

static void respond_data(const sandbox_api *api, exchange *x, json_t *data) {
  set_response(x, 200, json_pack("{s:O, s:O*}", "data", data, "meta", api->meta));
}

/* ---- cards ----------------------------------------------------------------------- */

static const char *value_of(const exchange *x) {
  return leat__sandbox_input(x, "contact_identifier_value");
}

static json_t *card_of(const exchange *x) {
  return json_object_get(x->cards, value_of(x));
}

static bool is_linked(const json_t *card) {
  return json_is_object(json_object_get(card, "contact"));
}

/* Returns the request's card. If there is none, or if it is inactive and `must_be_active`
** is set, responds with the error and returns NULL. */
static json_t *needed_card(exchange *x, bool must_be_active) {
  json_t *card = card_of(x);
  bool active = json_is_true(json_object_get(card, "active"));
  if (card && (!must_be_active || active)) return card;
  leat__sandbox_respond_code(x, card ? 60004 : 60003);
  return NULL;
}

/* Returns the contact of the request's contact_uuid, or NULL. */
static json_t *contact_of(const sandbox_api *api, const exchange *x) {
  return json_object_get(api->contacts, leat__sandbox_input(x, "contact_uuid"));
}

/* Returns whether the request names no contact, or one that exists. Otherwise responds
** with the error. */
static bool knows_contact(const sandbox_api *api, exchange *x) {
  if (leat__sandbox_input(x, "contact_uuid") == NULL || contact_of(api, x)) return true;
  leat__sandbox_respond_code(x, 55031);
  return false;
}

/* Returns a copy of the card with one member changed; takes ownership of `value`. */
static json_t *with_member(json_t *card, const char *name, json_t *value) {
  json_t *changed = json_copy(card);
  if (json_object_set_new(changed, name, value) == 0) return changed;
  json_decref(changed);
  return NULL;
}

/* Takes ownership of `card`, the new state of the card; NULL means out of memory. */
static void change_card(const sandbox_api *api, exchange *x, json_t *card) {
  if (card == NULL) return;
  x->changes = true;
  x->card = card;
  respond_data(api, x, card);
}

static void find(sandbox_api *api, exchange *x) {
  json_t *card = needed_card(x, true);
  if (card) respond_data(api, x, card);
}

static void create(sandbox_api *api, exchange *x) {
  const char *name = leat__sandbox_input(x, "contact_identifier_name");
  if (card_of(x)) leat__sandbox_respond_code(x, 60006);
  else if (knows_contact(api, x))
    change_card(api, x, leat__sandbox_new_card(value_of(x), name, contact_of(api, x)));
}

static void link_to_contact(sandbox_api *api, exchange *x) {
  json_t *card = needed_card(x, true);
  if (card == NULL || !knows_contact(api, x)) return;
  if (is_linked(card)) leat__sandbox_respond_code(x, 60014);
  else change_card(api, x, with_member(card, "contact", json_incref(contact_of(api, x))));
}

static void unlink_from_contact(sandbox_api *api, exchange *x) {
  json_t *card = needed_card(x, true);
  if (card == NULL) return;
  if (is_linked(card)) change_card(api, x, with_member(card, "contact", json_null()));
  else if (api->idempotent_unlink) respond_data(api, x, card);
  else leat__sandbox_respond_code(x, 60011);
}

/* Inactive cards may be updated, so that they can be made active again. */
static void update(sandbox_api *api, exchange *x) {
  json_t *name = json_object_get(x->input, "contact_identifier_name");
  json_t *active = json_object_get(x->input, "contact_identifier_active");
  json_t *card = needed_card(x, false);
  if (card == NULL) return;
  json_t *changed = json_copy(card);
  if (name) json_object_set(changed, "name", name);
  if (active) json_object_set(changed, "active", active);
  change_card(api, x, changed);
}

static void delete_card(sandbox_api *api, exchange *x) {
  if (needed_card(x, false) == NULL) return;
  x->changes = true;
  respond_data(api, x, json_null());
}

/* ---- contacts and keys ----------------------------------------------------------- */

static json_t *contact_by_email(const sandbox_api *api, const char *email) {
  const char *uuid, *other;
  json_t *contact;
  json_object_foreach(api->contacts, uuid, contact) {
    other = json_string_value(json_object_get(contact, "email"));
    if (other && strcmp(other, email) == 0) return contact;
  }
  return NULL;
}

static uint64_t mix(uint64_t n) { /* the finalizer of SplitMix64 */
  n = (n ^ (n >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  n = (n ^ (n >> 27)) * UINT64_C(0x94D049BB133111EB);
  return n ^ (n >> 31);
}

static uint64_t random_bits(sandbox_api *api) {
  return mix(api->seed += UINT64_C(0x9E3779B97F4A7C15));
}

/* Creates a contact with a random uuid and stores it in the exchange, which adds it when
** its changes are applied. Returns NULL if out of memory. */
static json_t *create_contact(sandbox_api *api, exchange *x, const char *email) {
  char uuid[40];
  uint64_t high = random_bits(api), low = random_bits(api);
  snprintf(uuid, sizeof uuid, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(high >> 32),
           (unsigned)(high >> 16) & 0xffff, (unsigned)high & 0xfff, (unsigned)(low >> 52),
           (unsigned long long)(low & 0xffffffffffff));
  x->contact = leat__sandbox_new_contact(uuid, email);
  return x->contact;
}

static void get_contact(sandbox_api *api, exchange *x) {
  if (knows_contact(api, x)) respond_data(api, x, contact_of(api, x));
}

static void find_contact(sandbox_api *api, exchange *x) {
  json_t *contact = contact_by_email(api, leat__sandbox_input(x, "email"));
  if (contact) respond_data(api, x, contact);
  else leat__sandbox_respond_code(x, 55031);
}

static void find_or_create_contact(sandbox_api *api, exchange *x) {
  const char *email = leat__sandbox_input(x, "email");
  json_t *contact = contact_by_email(api, email);
  respond_data(api, x, contact ? contact : create_contact(api, x, email));
}

/* If a value is given, and no card has it, the contact gets a new card with that
** value. */
static void create_anonymous(sandbox_api *api, exchange *x) {
  const char *value = value_of(x);
  if (card_of(x)) {
    leat__sandbox_respond_code(x, 60006);
    return;
  }
  json_t *contact = create_contact(api, x, NULL);
  if (value) x->card = leat__sandbox_new_card(value, NULL, contact);
  x->changes = x->card != NULL;
  if (x->changes || value == NULL) respond_data(api, x, contact);
}

/* The first card of the list is the contact's default. */
static void list(sandbox_api *api, exchange *x) {
  const char *value;
  json_t *card, *items = json_array();
  const json_t *uuid = json_object_get(x->input, "contact_uuid");
  json_object_foreach(x->cards, value, card) {
    json_t *is_default = json_boolean(json_array_size(items) == 0);
    if (json_equal(json_object_get(json_object_get(card, "contact"), "uuid"), uuid))
      json_array_append_new(items, with_member(card, "default", is_default));
  }
  if (knows_contact(api, x)) respond_data(api, x, items);
  json_decref(items);
}

static void check(sandbox_api *api, exchange *x) {
  json_t *data = json_pack("{s:s, s:i, s:s}", "company", "Sandbox", "id", 1, "uuid",
                           "5a4db0c5-0000-4000-8000-000000000001");
  respond_data(api, x, data);
  json_decref(data);
}

/* ---- tokens ---------------------------------------------------------------------- */

bool leat__sandbox_authorized(const sandbox_api *api, const exchange *x) {
  leat_string header = leat__sandbox_header(x, "Authorization");
  if (leat__equal(header, leat_s(api->authorization))) return true;
  for (size_t i = 0; i < api->token_count; i++)
    if (leat__equal(header, leat_s(api->tokens[i].authorization)))
      return api->tokens[i].expires_ms > x->now.monotonic_ms;
  return false;
}

/* The token endpoint has its own formats for errors and for its response. */
static void refuse_token(exchange *x, int status, const char *error, const char *why) {
  set_response(x, status,
               json_pack("{s:s, s:s, s:s}", "message", why, "error", error,
                         "error_description", why));
}

static void drop_expired(sandbox_api *api, int64_t now_ms) {
  size_t kept = 0;
  for (size_t i = 0; i < api->token_count; i++)
    if (api->tokens[i].expires_ms > now_ms) api->tokens[kept++] = api->tokens[i];
  api->token_count = kept;
}

static void issue_token(sandbox_api *api, exchange *x) {
  drop_expired(api, x->now.monotonic_ms);
  sandbox_token *tokens =
      leat__sandbox_grow(api->tokens, api->token_count, sizeof *tokens);
  if (tokens == NULL) return;
  api->tokens = tokens;
  sandbox_token *token = &tokens[api->token_count++];
  uint64_t secret = random_bits(api);
  snprintf(token->authorization, sizeof token->authorization,
           BEARER "token|%016llx%016llx", (unsigned long long)secret,
           (unsigned long long)mix(secret));
  token->expires_ms = x->now.monotonic_ms + api->token_lifetime_ms;
  set_response(x, 200,
               json_pack("{s:s, s:i, s:s}", "token_type", "Bearer", "expires_in",
                         (api->token_lifetime_ms + 999) / 1000, "access_token",
                         token->authorization + strlen(BEARER)));
}

static void exchange_credentials(sandbox_api *api, exchange *x) {
  const char *grant = leat__sandbox_input(x, "grant_type");
  const char *id = leat__sandbox_input(x, "client_id");
  const char *secret = leat__sandbox_input(x, "client_secret");
  if (grant == NULL || strcmp(grant, "client_credentials") != 0)
    refuse_token(x, 400, "unsupported_grant_type",
                 "The authorization grant type is not supported by the authorization "
                 "server.");
  else if (id == NULL || secret == NULL)
    refuse_token(x, 400, "invalid_request",
                 "The request is missing a required parameter.");
  else if (strcmp(id, api->client_id) != 0 || strcmp(secret, api->client_secret) != 0)
    refuse_token(x, 401, "invalid_client", "Client authentication failed");
  else issue_token(api, x);
}

/* ---- routes ---------------------------------------------------------------------- */

#define VALUE   "contact_identifier_value"
#define CONTACT "contact_uuid"

static const rule value_rule = {VALUE, IS_TEXT, true};
static const rule optional_value_rule = {VALUE, IS_TEXT, false};
static const rule name_rule = {"contact_identifier_name", IS_TEXT, false};
static const rule active_rule = {"contact_identifier_active", IS_BOOLEAN, false};
static const rule contact_rule = {CONTACT, IS_TEXT, true};
static const rule optional_contact_rule = {CONTACT, IS_TEXT, false};
static const rule email_rule = {"email", IS_TEXT, true};
static const rule client_rule = {"client_id", IS_TEXT_OR_NUMBER, false};

/* The service merges query and body, so a write accepts its parameters in either.
** Credentials are accepted in the body only, because they don't belong in a URL. */
/* clang-format off */
static const route routes[] = {
    {"find", "GET", CARDS "/find", IN_QUERY, true, find, {&value_rule}},
    {"create", "POST", CARDS, IN_ANY, false, create,
     {&value_rule, &optional_contact_rule, &name_rule}},
    {"link", "PUT", CARDS "/link", IN_ANY, false, link_to_contact,
     {&value_rule, &contact_rule}},
    {"unlink", "PUT", CARDS "/unlink", IN_ANY, false, unlink_from_contact, {&value_rule}},
    {"update", "PUT", CARDS, IN_ANY, false, update,
     {&value_rule, &name_rule, &active_rule}},
    {"delete", "DELETE", CARDS, IN_ANY, false, delete_card, {&value_rule}},
    {"list", "GET", CONTACTS "/{contact_uuid}/contact-identifiers", 0, true, list,
     {&contact_rule}},
    {"check", "GET", SANDBOX_BASE, 0, false, check, {NULL}},
    {"token", "POST", "/oauth/token", IN_BODY, false, exchange_credentials,
     {&client_rule}},
    {"contacts.find_one_by", "GET", CONTACTS "/find-one-by", IN_QUERY, false, find_contact,
     {&email_rule}},
    {"contacts.find_or_create", "GET", CONTACTS "/find-or-create", IN_QUERY, false,
     find_or_create_contact, {&email_rule}},
    {"contacts.create_anonymous", "POST", CONTACTS "/anonymous", IN_ANY, false,
     create_anonymous, {&optional_value_rule}},
    {"contacts.get", "GET", CONTACTS "/{contact_uuid}", 0, false, get_contact,
     {&contact_rule}},
};
/* clang-format on */

enum { ROUTES = sizeof routes / sizeof routes[0] };

const char *leat_sandbox_operation_at(size_t index) {
  return index < ROUTES ? routes[index].name : NULL;
}

const route *leat__sandbox_route_named(const char *name) {
  for (size_t i = 0; i < ROUTES; i++)
    if (strcmp(routes[i].name, name) == 0) return &routes[i];
  return NULL;
}

bool leat__sandbox_is_token(const route *r) {
  return r && r->handle == exchange_credentials;
}

/* {...} in the pattern matches one path segment that is not empty. */
static bool matches(const char *pattern, leat_string path, leat_string *in_path) {
  size_t head = strcspn(pattern, "{");
  if (pattern[head] == '\0') return leat__equal(path, leat_s(pattern));
  if (path.length <= head || memcmp(path.data, pattern, head) != 0) return false;
  const char *start = path.data + head, *end = path.data + path.length;
  const char *slash = memchr(start, '/', (size_t)(end - start));
  if (slash == NULL) slash = end;
  if (slash == start) return false;
  *in_path = (leat_string){start, (size_t)(slash - start)};
  return leat__equal((leat_string){slash, (size_t)(end - slash)},
                     leat_s(strchr(pattern, '}') + 1));
}

void leat__sandbox_find_route(exchange *x) {
  leat_string path = {x->target.data, strcspn(x->target.data, "?")};
  for (size_t i = 0; i < ROUTES && x->route == NULL; i++) {
    leat_string in_path = {NULL, 0};
    if (!matches(routes[i].path, path, &in_path)) continue;
    x->path_known = true;
    if (!leat__equal(x->method, leat_s(routes[i].method))) continue;
    x->route = &routes[i];
    x->in_path = in_path;
  }
}
