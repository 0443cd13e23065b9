/*
** sandbox.c - a server in the user's process that behaves like the API: the only file
** that includes libmicrohttpd.
**
** It is written from the API's documentation and shares nothing with the client but the
** JSON and buffer helpers. Its state is JSON itself: contacts by uuid, and cards by
** value, each as the API would show it.
*/
#include "internal.h"
#include "leat_sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BASE  "/api/v3/oauth/clients"
#define CARDS BASE "/contact-identifiers"

enum {
  MAX_BODY = 1024 * 1024,
  CONNECTION_MEMORY = 512 * 1024, /* a query of 200 kB has room */
  CONNECTIONS = 1000,
  BACKLOG = 511,
  RATE_LIMIT = 5000
};

/*
** The certificate of the HTTPS form. It is no secret: it vouches for localhost,
** 127.0.0.1 and ::1 only, and nobody trusts it but who names it as ca_file. Made by
**   openssl ecparam -name prime256v1 -genkey -noout -out key.pem
**   openssl req -new -key key.pem -subj "/CN=leat sandbox" -out request.csr
**   openssl ca -selfsign -keyfile key.pem -in request.csr \
**     -startdate 20200101000000Z -enddate 21200101000000Z ...
** with subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 and basicConstraints=CA:TRUE.
*/
static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBjjCCATWgAwIBAgIBATAKBggqhkjOPQQDAjAXMRUwEwYDVQQDDAxsZWF0IHNh\n"
    "bmRib3gwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBcxFTATBgNV\n"
    "BAMMDGxlYXQgc2FuZGJveDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPU0PHu3\n"
    "G/+qU8GA7BIHErpnL8eimeGFmAffrdf3DfT4cXGOsi5K/HjXlbay8oRYt/HICU+F\n"
    "o2cSZV2Dvcu/b+ijcDBuMCwGA1UdEQQlMCOCCWxvY2FsaG9zdIcEfwAAAYcQAAAA\n"
    "AAAAAAAAAAAAAAAAATAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIChDAd\n"
    "BgNVHQ4EFgQUWAegxqDg6TyT5CbpQ45UZgLdVKIwCgYIKoZIzj0EAwIDRwAwRAIg\n"
    "InKc+K/TBfU2VJlB+YLVi++ZGXOkk0kDUWC4k3e5ShsCIAL8IdIHGbtJJfDx6OUj\n"
    "W0Qct7T26jUmPlomR1iRgeI1\n"
    "-----END CERTIFICATE-----\n";
static const char certificate_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/VP/GP1adEIExf0c\n"
    "mxKsfGoT3nq0Xuvmho2QgVPc2b+hRANCAAT1NDx7txv/qlPBgOwSBxK6Zy/Hopnh\n"
    "hZgH363X9w30+HFxjrIuSvx415W2svKEWLfxyAlPhaNnEmVdg73Lv2/o\n"
    "-----END PRIVATE KEY-----\n";

typedef struct record { /* of a request; lives as long as the sandbox */
  leat_sandbox_request request;
  leat_header *headers;
  char *text; /* all its strings */
} record;

struct leat_sandbox {
  pid_t process;
  char *authorization; /* "Bearer KEY" */
  char url[64];
  char ca_file[64]; /* "" without TLS */
  struct MHD_Daemon *daemon;
  pthread_mutex_t lock;
  leat_json *contacts; /* by uuid: { uuid, email } */
  leat_json *cards;    /* by value: { name, value, active, contact } */
  int remaining;       /* of the rate limit */
  record **records;
  size_t record_count, record_capacity;
};

/* A request under way, and what it is answered with. */
typedef struct exchange {
  leat_sandbox *sandbox;
  struct MHD_Connection *connection;
  char *target;
  leat_buffer body;
  leat_json *input;  /* the parameters, of query and body */
  leat_json *errors; /* of validation, by field */
  leat_json *reply;  /* NULL: out of memory */
  int status;
} exchange;

/* ---- replies --------------------------------------------------------------------- */

static void reply_message(exchange *x, int status, const char *message) {
  leat_json *reply = leat__json_object();
  leat__json_set(reply, "message", leat__json_text(leat_s(message)));
  x->status = status;
  x->reply = reply;
}

/* Every error with a code comes with HTTP 400. */
static void reply_error(exchange *x, int code, const char *message) {
  reply_message(x, 400, message);
  leat__json_set(x->reply, "code", leat__json_integer(code));
  leat__json_set(x->reply, "status_code", leat__json_integer(400));
}

static void reply_invalid(exchange *x) {
  reply_error(x, 1003, "Invalid input.");
  leat__json_set(x->reply, "errors", x->errors);
  x->errors = NULL;
}

static void reply_data(exchange *x, leat_json *data) {
  leat_json *reply = leat__json_object();
  leat__json_set(reply, "data", data);
  leat__json_set(reply, "meta", leat__json_array());
  x->status = 200;
  x->reply = reply;
}

static void reply_not_found(exchange *x) {
  reply_error(x, 60003, "Contact identifier not found.");
}

static void reply_inactive(exchange *x) {
  reply_error(x, 60004, "Contact identifier inactive.");
}

/* ---- state ----------------------------------------------------------------------- */

/* Names of parameters that hold no NUL are C strings to jansson and us. */
static const char *input_text(const exchange *x, const char *name) {
  return leat_json_string(leat_json_get(x->input, name)).data;
}

static leat_json *card_of(const exchange *x) {
  return leat__json_member(x->sandbox->cards, input_text(x, "contact_identifier_value"));
}

static bool is_active(const leat_json *card) {
  return leat_json_boolean(leat_json_get(card, "active"));
}

static bool is_linked(const leat_json *card) {
  return leat_json_type(leat_json_get(card, "contact")) == LEAT_OBJECT;
}

static leat_json *text_or_null(const char *text) {
  return text ? leat__json_text(leat_s(text)) : leat__json_null();
}

/* False for a contact that is not there. */
static bool link_card(leat_sandbox *sandbox, leat_json *card, const char *uuid) {
  leat_json *contact = uuid ? leat__json_member(sandbox->contacts, uuid) : NULL;
  if (uuid && contact == NULL) return false;
  return leat__json_set(card, "contact",
                        contact ? leat__json_share(contact) : leat__json_null());
}

static leat_json *add_card(leat_sandbox *sandbox, const char *value, const char *name,
                           const char *contact_uuid, bool active) {
  leat_json *card = leat__json_object();
  bool good = leat__json_set(card, "name", text_or_null(name)) &&
              leat__json_set(card, "value", leat__json_text(leat_s(value))) &&
              leat__json_set(card, "active", leat__json_boolean(active)) &&
              link_card(sandbox, card, contact_uuid);
  if (good && leat__json_set(sandbox->cards, value, card)) return card;
  if (!good) leat__json_free(card);
  return NULL;
}

static bool add_contact(leat_sandbox *sandbox, const leat_sandbox_contact *from) {
  leat_json *contact = leat__json_object();
  leat__json_set(contact, "uuid", leat__json_text(leat_s(from->uuid)));
  leat__json_set(contact, "email", text_or_null(from->email));
  return leat__json_set(sandbox->contacts, from->uuid, contact);
}

/* ---- the operations -------------------------------------------------------------- */

static void find(exchange *x) {
  leat_json *card = card_of(x);
  if (card == NULL) reply_not_found(x);
  else if (!is_active(card)) reply_inactive(x);
  else reply_data(x, leat__json_share(card));
}

static bool knows_contact(exchange *x) {
  const char *uuid = input_text(x, "contact_uuid");
  if (uuid == NULL || leat_json_get(x->sandbox->contacts, uuid)) return true;
  reply_error(x, 55031, "Contact not found.");
  return false;
}

static void create(exchange *x) {
  if (card_of(x)) {
    reply_error(x, 60006, "Contact identifier already exists.");
  } else if (knows_contact(x)) {
    leat_json *card = add_card(x->sandbox, input_text(x, "contact_identifier_value"),
                               input_text(x, "contact_identifier_name"),
                               input_text(x, "contact_uuid"), true);
    if (card) reply_data(x, leat__json_share(card));
  }
}

static void link_to_contact(exchange *x) {
  leat_json *card = card_of(x);
  if (card == NULL) {
    reply_not_found(x);
  } else if (!is_active(card)) {
    reply_inactive(x);
  } else if (knows_contact(x)) {
    if (is_linked(card)) reply_error(x, 60014, "Contact identifier is already linked.");
    else if (link_card(x->sandbox, card, input_text(x, "contact_uuid")))
      reply_data(x, leat__json_share(card));
  }
}

static void unlink_from_contact(exchange *x) {
  leat_json *card = card_of(x);
  if (card == NULL) reply_not_found(x);
  else if (!is_active(card)) reply_inactive(x);
  else if (!is_linked(card))
    reply_error(x, 60011, "Contact identifier is not linked to a contact.");
  else if (link_card(x->sandbox, card, NULL)) reply_data(x, leat__json_share(card));
}

/* An inactive card may be changed: how else would it become active again? */
static void update(exchange *x) {
  leat_json *card = card_of(x);
  const leat_json *name = leat_json_get(x->input, "contact_identifier_name");
  const leat_json *active = leat_json_get(x->input, "contact_identifier_active");
  if (card == NULL) {
    reply_not_found(x);
    return;
  }
  bool good = name == NULL || leat__json_set(card, "name", leat__json_share(name));
  if (good && active) good = leat__json_set(card, "active", leat__json_share(active));
  if (good) reply_data(x, leat__json_share(card));
}

static void delete_card(exchange *x) {
  const char *value = input_text(x, "contact_identifier_value");
  if (leat__json_remove(x->sandbox->cards, value)) reply_data(x, leat__json_null());
  else reply_not_found(x);
}

/* ---- routes ---------------------------------------------------------------------- */

typedef struct rule {
  const char *field, *label; /* the label as the service spells it in messages */
  leat_type type;
  bool required;
} rule;

static const rule value_rule = {"contact_identifier_value", "contact identifier value",
                                LEAT_STRING, true};
static const rule name_rule = {"contact_identifier_name", "contact identifier name",
                               LEAT_STRING, false};
static const rule active_rule = {"contact_identifier_active", "contact identifier active",
                                 LEAT_BOOLEAN, false};
static const rule contact_rule = {"contact_uuid", "contact uuid", LEAT_STRING, false};
static const rule needed_contact_rule = {"contact_uuid", "contact uuid", LEAT_STRING,
                                         true};

/* Where the API reads parameters from. The official client deletes by query. */
enum { QUERY = 1, BODY = 2 };

static const struct route {
  const char *method, *path;
  int places;
  void (*handle)(exchange *x);
  const rule *rules[4];
} routes[] = {
    {"GET", CARDS "/find", QUERY, find, {&value_rule}},
    {"POST", CARDS, BODY, create, {&value_rule, &contact_rule, &name_rule}},
    {"PUT", CARDS "/link", BODY, link_to_contact, {&value_rule, &needed_contact_rule}},
    {"PUT", CARDS "/unlink", BODY, unlink_from_contact, {&value_rule}},
    {"PUT", CARDS, BODY, update, {&value_rule, &name_rule, &active_rule}},
    {"DELETE", CARDS, QUERY | BODY, delete_card, {&value_rule}},
};

/* NULL: there is none; *path_known: but another method would do. */
static const struct route *find_route(const char *method, leat_string path,
                                      bool *path_known) {
  *path_known = false;
  for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
    if (!leat__equal(path, leat_s(routes[i].path))) continue;
    if (strcmp(routes[i].method, method) == 0) return &routes[i];
    *path_known = true;
  }
  return NULL;
}

/* ---- parameters ------------------------------------------------------------------ */

static void add_error(exchange *x, const char *field, const char *label,
                      const char *problem) {
  char text[128];
  leat_json *messages = leat__json_array();
  snprintf(text, sizeof text, "The %s field %s.", label, problem);
  leat__json_append(messages, leat__json_text(leat_s(text)));
  if (x->errors == NULL) x->errors = leat__json_object();
  leat__json_set(x->errors, field, messages);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place, as PHP does: + is a space, a % without two digits is itself. */
static leat_string decode(char *text, size_t length) {
  char *out = text;
  for (size_t i = 0; i < length; i++) {
    bool encoded = text[i] == '%' && i + 2 < length && hex_digit(text[i + 1]) >= 0 &&
                   hex_digit(text[i + 2]) >= 0;
    if (encoded) {
      *out++ = (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      *out++ = text[i] == '+' ? ' ' : text[i];
    }
  }
  return (leat_string){text, (size_t)(out - text)};
}

static void add_query(exchange *x, const char *query) {
  char *copy = leat__copy(query, strlen(query)), *next = copy;
  while (next && *next) {
    char *start = next, *end = start + strcspn(start, "&");
    next = *end ? end + 1 : end;
    *end = '\0';
    char *equals = start + strcspn(start, "=");
    char *value = *equals ? equals + 1 : equals;
    *equals = '\0';
    leat__json_set(x->input, start,
                   leat__json_text(decode(value, (size_t)(end - value))));
  }
  free(copy);
}

/* The body's members join those of the query; two that differ are a mistake. */
static void add_body(exchange *x) {
  char why[160];
  leat_member member = {{NULL, 0}, NULL, NULL};
  leat_json *body =
      leat__json_parse((leat_string){x->body.data, x->body.length}, why, sizeof why);
  if (leat_json_type(body) != LEAT_OBJECT)
    add_error(x, "body", "body", "must be a JSON object");
  while (body && leat_json_type(body) == LEAT_OBJECT && leat_json_next(body, &member)) {
    const leat_json *there = leat_json_get(x->input, member.name.data);
    if (there && !leat__equal(leat_json_string(there), leat_json_string(member.value)))
      add_error(x, member.name.data, member.name.data, "differs between query and body");
    leat__json_set(x->input, member.name.data, leat__json_share(member.value));
  }
  leat__json_free(body);
}

/* Null is as good as absent, and so is the empty string. */
static bool is_given(const leat_json *value) {
  return leat_json_type(value) > LEAT_NULL &&
         !(leat_json_type(value) == LEAT_STRING && leat_json_string(value).length == 0);
}

static bool holds_nul(leat_string text) {
  return text.length > 0 && memchr(text.data, '\0', text.length);
}

static void check_rule(exchange *x, const rule *r) {
  const leat_json *value = leat_json_get(x->input, r->field);
  if (!is_given(value)) {
    leat__json_remove(x->input, r->field);
    if (r->required) add_error(x, r->field, r->label, "is required");
  } else if (leat_json_type(value) != r->type || holds_nul(leat_json_string(value))) {
    add_error(x, r->field, r->label,
              r->type == LEAT_STRING ? "must be a string" : "must be true or false");
  }
}

static bool read_input(exchange *x, const struct route *route, const char *query) {
  x->input = leat__json_object();
  if (x->input == NULL) return false;
  if ((route->places & QUERY) && query) add_query(x, query);
  if ((route->places & BODY) && x->body.length > 0) add_body(x);
  for (size_t i = 0; i < 4 && route->rules[i]; i++)
    check_rule(x, route->rules[i]);
  return true;
}

/* ---- judging a request ----------------------------------------------------------- */

static bool wants_json(const exchange *x) {
  const char *accept =
      MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Accept");
  return accept && strstr(accept, "/json");
}

static bool header_is(const exchange *x, const char *name, const char *wanted) {
  const char *value = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
  return value && strcmp(value, wanted) == 0;
}

static void judge(exchange *x, const char *method) {
  bool path_known;
  size_t length = strcspn(x->target, "?");
  const char *query = x->target[length] ? x->target + length + 1 : NULL;
  const struct route *route =
      find_route(method, (leat_string){x->target, length}, &path_known);
  if (!wants_json(x)) {
    x->status = 302;
  } else if (route == NULL) {
    if (path_known) reply_message(x, 405, "The method is not supported for this route.");
    else reply_message(x, 404, "The route could not be found.");
  } else if (!header_is(x, "Authorization", x->sandbox->authorization)) {
    reply_message(x, 401, "Unauthenticated.");
  } else if (x->body.failed == LEAT_TOO_LARGE) {
    reply_message(x, 413, "Payload Too Large");
  } else if (read_input(x, route, query)) {
    if (x->errors) reply_invalid(x);
    else route->handle(x);
  }
}

/* ---- the record ------------------------------------------------------------------ */

static enum MHD_Result measure_header(void *user, enum MHD_ValueKind kind,
                                      const char *name, const char *value) {
  size_t *sizes = user; /* of the headers, and of all text */
  (void)kind;
  sizes[0]++;
  sizes[1] += strlen(name) + strlen(value ? value : "") + sizeof "[token]" + 2;
  return MHD_YES;
}

/* Copies text behind what the record holds already. */
static leat_string keep(record *r, size_t *used, const char *text, size_t length) {
  char *copy = r->text + *used;
  if (length > 0) memcpy(copy, text, length);
  copy[length] = '\0';
  *used += length + 1;
  return (leat_string){copy, length};
}

typedef struct keeping {
  record *to;
  size_t used;
} keeping;

static enum MHD_Result keep_header(void *user, enum MHD_ValueKind kind, const char *name,
                                   const char *value) {
  keeping *k = user;
  leat_header *header = &k->to->headers[k->to->request.header_count++];
  (void)kind;
  if (value == NULL) value = "";
  header->name = keep(k->to, &k->used, name, strlen(name));
  /* A record may end in a log: it shows no token. The status tells if it was right. */
  if (strcmp(name, "Authorization") == 0) value = "[token]";
  header->value = keep(k->to, &k->used, value, strlen(value));
  return MHD_YES;
}

static void free_record(record *r) {
  free(r->headers);
  free(r->text);
  free(r);
}

static record *make_record(const exchange *x, const char *method) {
  size_t sizes[2] = {0, strlen(method) + strlen(x->target) + x->body.length + 3};
  record *r = calloc(1, sizeof *r);
  keeping k = {r, 0};
  if (r == NULL) return NULL;
  MHD_get_connection_values(x->connection, MHD_HEADER_KIND, measure_header, sizes);
  r->headers = calloc(sizes[0] + 1, sizeof *r->headers);
  r->text = malloc(sizes[1]);
  if (r->headers == NULL || r->text == NULL) {
    free_record(r);
    return NULL;
  }
  r->request.method = keep(r, &k.used, method, strlen(method));
  r->request.target = keep(r, &k.used, x->target, strlen(x->target));
  r->request.body = keep(r, &k.used, x->body.data, x->body.length);
  r->request.headers = r->headers;
  r->request.status = x->status;
  MHD_get_connection_values(x->connection, MHD_HEADER_KIND, keep_header, &k);
  return r;
}

static bool add_record(leat_sandbox *sandbox, record *r) {
  if (r == NULL) return false;
  if (sandbox->record_count == sandbox->record_capacity) {
    size_t capacity = sandbox->record_capacity ? sandbox->record_capacity * 2 : 64;
    record **grown = realloc(sandbox->records, capacity * sizeof *grown);
    if (grown == NULL) {
      free_record(r);
      return false;
    }
    sandbox->records = grown;
    sandbox->record_capacity = capacity;
  }
  sandbox->records[sandbox->record_count++] = r;
  return true;
}

bool leat_sandbox_request_at(leat_sandbox *sandbox, size_t index,
                             leat_sandbox_request *request) {
  pthread_mutex_lock(&sandbox->lock);
  bool found = index < sandbox->record_count;
  if (found) *request = sandbox->records[index]->request;
  pthread_mutex_unlock(&sandbox->lock);
  return found;
}

/* ---- the HTTP server ------------------------------------------------------------- */

static void add_headers(const exchange *x, struct MHD_Response *response) {
  char number[16];
  bool redirect = x->status == 302;
  snprintf(number, sizeof number, "%d", x->sandbox->remaining);
  MHD_add_response_header(response, "Content-Type",
                          redirect ? "text/html" : "application/json");
  MHD_add_response_header(response, "X-RateLimit-Limit", "5000");
  MHD_add_response_header(response, "X-RateLimit-Remaining", number);
  if (redirect)
    MHD_add_response_header(response, "Location", "https://login.example/login");
}

static enum MHD_Result respond(const exchange *x, leat_string body) {
  struct MHD_Response *response = MHD_create_response_from_buffer(
      body.length, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
  if (response == NULL) return MHD_NO;
  add_headers(x, response);
  enum MHD_Result queued =
      MHD_queue_response(x->connection, (unsigned)x->status, response);
  MHD_destroy_response(response);
  return queued;
}

static enum MHD_Result answer(exchange *x, const char *method) {
  leat_sandbox *sandbox = x->sandbox;
  leat_buffer body;
  leat__buffer_init(&body, MAX_BODY);
  pthread_mutex_lock(&sandbox->lock);
  judge(x, method);
  if (x->reply) leat__json_write(x->reply, &body);
  else if (x->status == 302) leat__append_s(&body, "<html>Log in, please</html>");
  else x->status = 500;
  if (sandbox->remaining > 0) sandbox->remaining--;
  bool kept = add_record(sandbox, make_record(x, method));
  pthread_mutex_unlock(&sandbox->lock);
  enum MHD_Result result =
      kept ? respond(x, (leat_string){body.data ? body.data : "", body.length}) : MHD_NO;
  leat__buffer_free(&body);
  return result;
}

/* libmicrohttpd hands the target over before it decodes it; what this returns is the
** request's state from then on. */
static void *on_target(void *user, const char *target,
                       struct MHD_Connection *connection) {
  exchange *x = calloc(1, sizeof *x);
  if (x == NULL) return NULL;
  x->sandbox = user;
  x->connection = connection;
  x->target = leat__copy(target, strlen(target));
  leat__buffer_init(&x->body, MAX_BODY);
  return x;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *data, size_t *size,
                                  void **state) {
  exchange *x = *state;
  (void)user, (void)connection, (void)url, (void)version;
  if (x == NULL || x->target == NULL) return MHD_NO;
  if (x->status == 0) { /* the head is there, the body may follow */
    x->status = 500;
    return MHD_YES;
  }
  if (*size == 0) return answer(x, method);
  leat__append(&x->body, data, *size);
  *size = 0;
  return MHD_YES;
}

static void on_end(void *user, struct MHD_Connection *connection, void **state,
                   enum MHD_RequestTerminationCode why) {
  exchange *x = *state;
  (void)user, (void)connection, (void)why;
  if (x == NULL) return;
  leat__json_free(x->input);
  leat__json_free(x->errors);
  leat__json_free(x->reply);
  leat__buffer_free(&x->body);
  free(x->target);
  free(x);
}

/* ---- starting and stopping ------------------------------------------------------- */

static bool fail(leat_error *error, leat_kind kind, const char *what) {
  leat__error_set(error, kind, "the sandbox can't %s%s%s", what, errno ? ": " : "",
                  errno ? strerror(errno) : "");
  return false;
}

static bool write_certificate(leat_sandbox *sandbox, leat_error *error) {
  const char *folder = getenv("TMPDIR");
  size_t length = sizeof certificate - 1;
  if (folder == NULL || strlen(folder) > 30) folder = "/tmp";
  snprintf(sandbox->ca_file, sizeof sandbox->ca_file, "%s/leat-sandbox-XXXXXX", folder);
  int fd = mkstemp(sandbox->ca_file);
  if (fd < 0) {
    sandbox->ca_file[0] = '\0';
    return fail(error, LEAT_LOCAL, "write its certificate");
  }
  bool written = write(fd, certificate, length) == (ssize_t)length;
  close(fd);
  return written || fail(error, LEAT_LOCAL, "write its certificate");
}

/* Signals are the program's: its own threads are to be interrupted, not this one. */
static struct MHD_Daemon *start_daemon(leat_sandbox *sandbox,
                                       const leat_sandbox_config *config) {
  sigset_t all, before;
  struct sockaddr_in address;
  const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_USE_ITC;
  struct MHD_OptionItem secure[] = {
      {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)certificate},
      {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)certificate_key},
      {MHD_OPTION_HTTPS_PRIORITIES, 0,
       (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
      {MHD_OPTION_END, 0, NULL}};
  struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)config->port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  struct MHD_Daemon *daemon = MHD_start_daemon(
      config->tls ? flags | MHD_USE_TLS : flags, 0, NULL, NULL, on_request, sandbox,
      MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_LISTEN_BACKLOG_SIZE,
      (unsigned)BACKLOG, MHD_OPTION_URI_LOG_CALLBACK, on_target, sandbox,
      MHD_OPTION_NOTIFY_COMPLETED, on_end, sandbox, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
      MHD_OPTION_ARRAY, config->tls ? secure : plain, MHD_OPTION_END);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return daemon;
}

static bool start(leat_sandbox *sandbox, const leat_sandbox_config *config,
                  leat_error *error) {
  if (config->tls && !write_certificate(sandbox, error)) return false;
  errno = 0;
  sandbox->daemon = start_daemon(sandbox, config);
  if (sandbox->daemon == NULL)
    return fail(error, LEAT_LOCAL, config->tls ? "listen with TLS" : "listen");
  const union MHD_DaemonInfo *info =
      MHD_get_daemon_info(sandbox->daemon, MHD_DAEMON_INFO_BIND_PORT);
  snprintf(sandbox->url, sizeof sandbox->url, "%s://127.0.0.1:%d" BASE,
           config->tls ? "https" : "http", info ? info->port : config->port);
  return true;
}

static bool fill(leat_sandbox *sandbox, const leat_sandbox_config *config,
                 leat_error *error) {
  const char *key = config->api_key ? config->api_key : "sandbox";
  size_t size = strlen(key) + sizeof "Bearer ";
  bool good = config->port >= 0 && config->port <= 65535;
  sandbox->remaining = RATE_LIMIT;
  sandbox->contacts = leat__json_object();
  sandbox->cards = leat__json_object();
  sandbox->authorization = malloc(size);
  if (sandbox->authorization) snprintf(sandbox->authorization, size, "Bearer %s", key);
  for (size_t i = 0; i < config->contact_count && good; i++)
    good = add_contact(sandbox, &config->contacts[i]);
  for (size_t i = 0; i < config->card_count && good; i++) {
    const leat_sandbox_card *card = &config->cards[i];
    good =
        add_card(sandbox, card->value, card->name, card->contact_uuid, !card->inactive);
  }
  if (good && sandbox->authorization) return true;
  leat__error_set(
      error, LEAT_CONFIG,
      "the sandbox can't be filled: a contact or a card is not UTF-8, a card's "
      "contact_uuid names no contact, the port is none, or out of memory");
  return false;
}

leat_sandbox *leat_sandbox_new(const leat_sandbox_config *config, leat_error *error) {
  static const leat_sandbox_config none = {0};
  leat_sandbox *sandbox = calloc(1, sizeof *sandbox);
  if (config == NULL) config = &none;
  if (error) leat__error_clear(error);
  if (sandbox == NULL) {
    leat__error_set(error, LEAT_NO_MEMORY, "out of memory");
    return NULL;
  }
  sandbox->process = getpid();
  pthread_mutex_init(&sandbox->lock, NULL);
  if (fill(sandbox, config, error) && start(sandbox, config, error)) return sandbox;
  leat_sandbox_free(sandbox);
  return NULL;
}

/* In a child process the thread and the file are still the parent's. */
void leat_sandbox_free(leat_sandbox *sandbox) {
  if (sandbox == NULL || sandbox->process != getpid()) return;
  if (sandbox->daemon) MHD_stop_daemon(sandbox->daemon);
  if (sandbox->ca_file[0]) unlink(sandbox->ca_file);
  while (sandbox->record_count > 0)
    free_record(sandbox->records[--sandbox->record_count]);
  free(sandbox->records);
  leat__json_free(sandbox->contacts);
  leat__json_free(sandbox->cards);
  leat__wipe_free(sandbox->authorization);
  pthread_mutex_destroy(&sandbox->lock);
  free(sandbox);
}

const char *leat_sandbox_url(const leat_sandbox *sandbox) {
  return sandbox->url;
}

const char *leat_sandbox_ca_file(const leat_sandbox *sandbox) {
  return sandbox->ca_file[0] ? sandbox->ca_file : NULL;
}
