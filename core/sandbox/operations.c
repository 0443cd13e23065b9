/*
** operations.c - the routes of the sandbox and their operations. An operation changes
** nothing itself: it stores the intended change and the response in the exchange.
*/
#include "sandbox_internal.h"

#include <stdio.h>
#include <string.h>

#define CARDS    SANDBOX_BASE "/contact-identifiers"
#define CONTACTS SANDBOX_BASE "/contacts"

/* ---- replies --------------------------------------------------------------------- */

void leat__sandbox_reply(exchange *x, int status, const char *message) {
  leat__sjson_free(x->reply);
  x->reply = leat__sjson_object();
  x->status = status;
  leat__sjson_set(x->reply, "message", leat__sjson_text(leat_s(message)));
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

void leat__sandbox_reply_code(exchange *x, int code) {
  leat__sandbox_reply(x, 400, message_of(code));
  leat__sjson_set(x->reply, "code", leat__sjson_integer(code));
  leat__sjson_set(x->reply, "status_code", leat__sjson_integer(400));
}

static void reply_data(const sandbox_api *api, exchange *x, sjson *data) {
  x->reply = leat__sjson_object();
  x->status = 200;
  leat__sjson_set(x->reply, "data", data);
  if (api->meta) leat__sjson_set(x->reply, "meta", leat__sjson_share(api->meta));
}

/* ---- cards ----------------------------------------------------------------------- */

static const char *value_of(const exchange *x) {
  return leat__sandbox_input(x, "contact_identifier_value");
}

static const sjson *card_of(const exchange *x) {
  return leat__sjson_get(x->cards, value_of(x));
}

static bool is_active(const sjson *card) {
  return leat__sjson_is_true(leat__sjson_get(card, "active"));
}

static bool is_linked(const sjson *card) {
  return leat__sjson_type(leat__sjson_get(card, "contact")) == LEAT_OBJECT;
}

/* Returns the request's card, which must be active if `must_live`. Otherwise writes the
** error reply and returns NULL. */
static const sjson *needed_card(exchange *x, bool must_live) {
  const sjson *card = card_of(x);
  if (card && (!must_live || is_active(card))) return card;
  leat__sandbox_reply_code(x, card ? 60004 : 60003);
  return NULL;
}

static bool knows_contact(const sandbox_api *api, exchange *x) {
  const char *uuid = leat__sandbox_input(x, "contact_uuid");
  if (uuid == NULL || leat__sjson_get(api->contacts, uuid)) return true;
  leat__sandbox_reply_code(x, 55031);
  return false;
}

/* Takes ownership of `card`, the new state of the card; NULL means out of memory. */
static void propose(const sandbox_api *api, exchange *x, sjson *card) {
  if (card == NULL) return;
  x->changes = true;
  x->card = card;
  reply_data(api, x, leat__sjson_share(card));
}

static void find(sandbox_api *api, exchange *x) {
  const sjson *card = needed_card(x, true);
  if (card) reply_data(api, x, leat__sjson_share(card));
}

static void create(sandbox_api *api, exchange *x) {
  const char *value = value_of(x);
  const char *name = leat__sandbox_input(x, "contact_identifier_name");
  leat_sandbox_card card = {value, name ? name : value,
                            leat__sandbox_input(x, "contact_uuid"), false};
  if (card_of(x)) leat__sandbox_reply_code(x, 60006);
  else if (knows_contact(api, x)) propose(api, x, leat__sandbox_new_card(api, &card));
}

static void link_to_contact(sandbox_api *api, exchange *x) {
  const sjson *card = needed_card(x, true);
  const char *uuid = leat__sandbox_input(x, "contact_uuid");
  if (card == NULL || !knows_contact(api, x)) return;
  if (is_linked(card)) leat__sandbox_reply_code(x, 60014);
  else
    propose(api, x,
            leat__sandbox_with(card, "contact", leat__sandbox_contact(api, uuid)));
}

static void unlink_from_contact(sandbox_api *api, exchange *x) {
  const sjson *card = needed_card(x, true);
  if (card == NULL) return;
  if (is_linked(card))
    propose(api, x, leat__sandbox_with(card, "contact", leat__sjson_null()));
  else if (api->idempotent_unlink) reply_data(api, x, leat__sjson_share(card));
  else leat__sandbox_reply_code(x, 60011);
}

/* Inactive cards may be updated, so that they can be made active again. */
static void update(sandbox_api *api, exchange *x) {
  const sjson *name = leat__sjson_get(x->input, "contact_identifier_name");
  const sjson *active = leat__sjson_get(x->input, "contact_identifier_active");
  const sjson *card = needed_card(x, false);
  if (card == NULL) return;
  sjson *changed = leat__sandbox_copy(card);
  if (name) leat__sjson_set(changed, "name", leat__sjson_share(name));
  if (active) leat__sjson_set(changed, "active", leat__sjson_share(active));
  propose(api, x, changed);
}

static void delete_card(sandbox_api *api, exchange *x) {
  if (needed_card(x, false) == NULL) return;
  x->changes = true;
  reply_data(api, x, leat__sjson_null());
}

/* ---- contacts and keys ----------------------------------------------------------- */

static const sjson *contact_by_email(const sandbox_api *api, const char *email) {
  sjson_member member = {{NULL, 0}, NULL, NULL};
  while (leat__sjson_next(api->contacts, &member))
    if (leat__equal(leat__sjson_string(leat__sjson_get(member.value, "email")),
                    leat_s(email)))
      return member.value;
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
** its changes are applied. */
static const sjson *invent_contact(sandbox_api *api, exchange *x, const char *email) {
  char uuid[40];
  uint64_t high = random_bits(api), low = random_bits(api);
  snprintf(uuid, sizeof uuid, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(high >> 32),
           (unsigned)(high >> 16) & 0xffff, (unsigned)high & 0xfff, (unsigned)(low >> 52),
           (unsigned long long)(low & 0xffffffffffff));
  x->contact = leat__sandbox_new_contact(uuid, email);
  return x->contact;
}

static void reply_contact(const sandbox_api *api, exchange *x, const sjson *contact) {
  if (contact) reply_data(api, x, leat__sjson_share(contact));
}

static void get_contact(sandbox_api *api, exchange *x) {
  const char *uuid = leat__sandbox_input(x, "contact_uuid");
  if (knows_contact(api, x)) reply_contact(api, x, leat__sjson_get(api->contacts, uuid));
}

static void find_contact(sandbox_api *api, exchange *x) {
  const sjson *contact = contact_by_email(api, leat__sandbox_input(x, "email"));
  reply_contact(api, x, contact);
  if (contact == NULL) leat__sandbox_reply_code(x, 55031);
}

static void find_or_create_contact(sandbox_api *api, exchange *x) {
  const char *email = leat__sandbox_input(x, "email");
  const sjson *contact = contact_by_email(api, email);
  reply_contact(api, x, contact ? contact : invent_contact(api, x, email));
}

/* If a value is given, and no card has it, the contact gets a new card with that
** value. */
static void create_anonymous(sandbox_api *api, exchange *x) {
  const char *value = value_of(x);
  if (value && card_of(x)) {
    leat__sandbox_reply_code(x, 60006);
    return;
  }
  const sjson *contact = invent_contact(api, x, NULL);
  if (contact && value) {
    leat_sandbox_card card = {value, value, NULL, false};
    x->card = leat__sandbox_new_card(api, &card);
    x->changes =
        x->card && leat__sjson_set(x->card, "contact", leat__sjson_share(contact));
    if (!x->changes) return; /* out of memory */
  }
  reply_contact(api, x, contact);
}

static bool belongs_to(const sjson *card, leat_string uuid) {
  const sjson *contact = leat__sjson_get(card, "contact");
  return leat__equal(leat__sjson_string(leat__sjson_get(contact, "uuid")), uuid);
}

/* The first card of the list is the contact's default. */
static void list(sandbox_api *api, exchange *x) {
  leat_string uuid = leat__sjson_string(leat__sjson_get(x->input, "contact_uuid"));
  sjson_member member = {{NULL, 0}, NULL, NULL};
  sjson *items = leat__sjson_array();
  if (!knows_contact(api, x)) {
    leat__sjson_free(items);
    return;
  }
  while (leat__sjson_next(x->cards, &member)) {
    sjson *is_default = leat__sjson_boolean(leat__sjson_size(items) == 0);
    if (belongs_to(member.value, uuid))
      leat__sjson_append(items, leat__sandbox_with(member.value, "default", is_default));
    else leat__sjson_free(is_default);
  }
  reply_data(api, x, items);
}

static void check(sandbox_api *api, exchange *x) {
  sjson *data = leat__sjson_object();
  leat__sjson_set(data, "company", leat__sjson_text(leat_s("Sandbox")));
  leat__sjson_set(data, "id", leat__sjson_integer(1));
  leat__sjson_set(data, "uuid",
                  leat__sjson_text(leat_s("5a4db0c5-0000-4000-8000-000000000001")));
  reply_data(api, x, data);
}

/* ---- tokens ---------------------------------------------------------------------- */

bool leat__sandbox_authorized(const sandbox_api *api, const exchange *x) {
  static const char scheme[] = "Bearer ";
  size_t length = sizeof scheme - 1;
  leat_string given = leat__sandbox_header(x, "Authorization");
  if (leat__equal(given, leat_s(api->authorization))) return true;
  if (given.length < length || memcmp(given.data, scheme, length) != 0) return false;
  given.data += length;
  given.length -= length;
  for (size_t i = 0; i < api->token_count; i++)
    if (leat__equal(given, leat_s(api->tokens[i].text)))
      return api->tokens[i].expires_ms > x->now.monotonic_ms;
  return false;
}

/* The token endpoint has its own formats for errors and for its response. */
static void refuse_token(exchange *x, int status, const char *error, const char *why) {
  leat__sandbox_reply(x, status, why);
  leat__sjson_set(x->reply, "error", leat__sjson_text(leat_s(error)));
  leat__sjson_set(x->reply, "error_description", leat__sjson_text(leat_s(why)));
}

static void drop_expired(sandbox_api *api, int64_t now_ms) {
  size_t kept = 0;
  for (size_t i = 0; i < api->token_count; i++)
    if (api->tokens[i].expires_ms > now_ms) api->tokens[kept++] = api->tokens[i];
  api->token_count = kept;
}

static void give_token(sandbox_api *api, exchange *x) {
  drop_expired(api, x->now.monotonic_ms);
  sandbox_token *tokens =
      leat__sandbox_room(api->tokens, api->token_count, sizeof *tokens);
  if (tokens == NULL) return;
  api->tokens = tokens;
  sandbox_token *token = &tokens[api->token_count++];
  uint64_t secret = random_bits(api);
  snprintf(token->text, sizeof token->text, "token|%016llx%016llx",
           (unsigned long long)secret, (unsigned long long)mix(secret));
  token->expires_ms = x->now.monotonic_ms + api->token_lifetime_ms;
  x->status = 200;
  x->reply = leat__sjson_object();
  leat__sjson_set(x->reply, "token_type", leat__sjson_text(leat_s("Bearer")));
  leat__sjson_set(x->reply, "expires_in",
                  leat__sjson_integer((api->token_lifetime_ms + 999) / 1000));
  leat__sjson_set(x->reply, "access_token", leat__sjson_text(leat_s(token->text)));
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
  else give_token(api, x);
}

/* ---- routes ---------------------------------------------------------------------- */

#define VALUE   "contact_identifier_value", "contact identifier value"
#define CONTACT "contact_uuid", "contact uuid"

static const rule value_rule = {VALUE, LEAT_STRING, true, false};
static const rule optional_value_rule = {VALUE, LEAT_STRING, false, false};
static const rule name_rule = {"contact_identifier_name", "contact identifier name",
                               LEAT_STRING, false, false};
static const rule active_rule = {"contact_identifier_active", "contact identifier active",
                                 LEAT_BOOLEAN, false, false};
static const rule contact_rule = {CONTACT, LEAT_STRING, true, false};
static const rule optional_contact_rule = {CONTACT, LEAT_STRING, false, false};
static const rule email_rule = {"email", "email", LEAT_STRING, true, false};
static const rule client_rule = {"client_id", "client id", LEAT_STRING, false, true};

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
