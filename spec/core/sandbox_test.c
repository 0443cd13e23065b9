/*
** sandbox_test.c - the sandbox from C: through the client over real HTTP and TLS, and
** with raw requests that the client would not send.
*/
#include "leat_curl.h"
#include "leat_sandbox.h"
#include "listener.h"
#include "test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANN  "8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11"
#define KEY  "1|fixed-canary-8e21"
#define BASE "/api/v3/oauth/clients"

static const leat_sandbox_contact contacts[] = {
    {.uuid = ANN,
     .email = "ann@example.org",
     .more = "{\"credit_balance\":{\"balance\":12}}"},
    {.uuid = "bob"},
    {.uuid = "a+b"}};
static const leat_sandbox_card cards[] = {
    {"linked", "N", ANN, false}, {"free", NULL, NULL, false}, {"off", NULL, NULL, true}};

/* ---- the stage: a sandbox and a client of it ------------------------------------- */

typedef struct stage {
  leat_sandbox *sandbox;
  leat_client *client;
  leat_curl *curl;
  int port;
} stage;

static int port_of(const leat_sandbox *sandbox) {
  return atoi(strrchr(leat_sandbox_url(sandbox), ':') + 1);
}

/* Starts a sandbox with `config` and the contacts and cards above. */
static stage open_stage(leat_sandbox_config config) {
  stage s;
  leat_error error;
  config.api_key = KEY;
  config.contacts = contacts;
  config.contact_count = 3;
  config.cards = cards;
  config.card_count = 3;
  s.sandbox = leat_sandbox_new(&config, &error);
  if (!CHECK(s.sandbox != NULL)) printf("  %s\n", error.message);
  leat_config settings = {
      .api_key = KEY, .base_url = leat_sandbox_url(s.sandbox), .timeout_ms = 30000};
  s.client = leat_client_new(&settings, NULL);
  s.curl = leat_curl_new(&(leat_curl_config){.ca_file = leat_sandbox_ca_file(s.sandbox)},
                         NULL);
  s.port = port_of(s.sandbox);
  return s;
}

static void close_stage(const stage *s) {
  leat_curl_free(s->curl);
  leat_client_free(s->client);
  leat_sandbox_free(s->sandbox);
}

static void sleep_ms(int ms) {
  nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* Performs an operation with a value, and with another parameter if `name` is not
** NULL. */
static leat_call *perform(const stage *s, const char *operation, const char *value,
                          const char *name, const char *argument) {
  leat_call *call =
      leat_call_new(s->client, leat_operation("contact_identifiers", operation));
  leat_call_set(call, "contact_identifier_value", leat_s(value));
  if (name) leat_call_set(call, name, leat_s(argument));
  leat_curl_perform(s->curl, call);
  return call;
}

static void check(const stage *s, const char *operation, const char *value,
                  const char *name, const char *argument, leat_kind kind, int code) {
  leat_call *call = perform(s, operation, value, name, argument);
  const leat_error *error = leat_call_error(call);
  if (!CHECK(error->kind == kind && error->code == code))
    printf("  %s %s: %s %d: %s\n", operation, value, leat_kind_name(error->kind),
           error->code, error->message);
  leat_call_free(call);
}

/* ---- raw requests ---------------------------------------------------------------- */

#define CARDS    BASE "/contact-identifiers"
#define CONTACTS BASE "/contacts"
#define VALUE    "contact_identifier_value="
#define NAME     "contact_identifier_name="
#define ACTIVE   "contact_identifier_active="
#define UUID     "contact_uuid="
#define FIND     "GET " CARDS "/find?" VALUE
#define DELETE   "DELETE " CARDS "?" VALUE

#define ACCEPT "Accept: application/json\r\n"
#define AUTH   ACCEPT "Authorization: Bearer " KEY "\r\n"
#define FORM   "Content-Type: application/x-www-form-urlencoded\r\n"
#define JSON   "Content-Type: application/json\r\n"

static int connect_to(const stage *s) {
  int fd = listener_connect(s->port);
  if (fd < 0) CHECK(false && "connected");
  return fd;
}

static void send_request(int fd, const char *line, const char *headers,
                         const char *body) {
  char text[4096];
  int length = snprintf(text, sizeof text,
                        "%s HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n"
                        "Content-Length: %zu\r\n%s\r\n%s",
                        line, strlen(body), headers, body);
  if (!listener_send(fd, text, (size_t)length)) CHECK(false && "sent");
}

/* Returns all bytes until the connection ends; borrowed until the next call. */
static const char *receive_all(int fd) {
  static char response[65536];
  size_t length = 0;
  ssize_t n;
  while ((n = recv(fd, response + length, sizeof response - 1 - length, 0)) > 0)
    length += (size_t)n;
  response[length] = '\0';
  close(fd);
  return response;
}

static const char *ask(const stage *s, const char *line, const char *headers,
                       const char *body) {
  int fd = connect_to(s);
  send_request(fd, line, headers, body);
  return receive_all(fd);
}

static bool is_response(const char *response, int status, const char *piece) {
  bool good = response[0] && atoi(response + 9) == status && strstr(response, piece);
  if (!good) printf("  not %d with %s: %s\n", status, piece, response);
  return good;
}

/* Sends a request with the key, and checks its response. */
#define EXPECT(s, line, status, piece)                                                   \
  CHECK(is_response(ask(s, line, AUTH, ""), status, piece))

typedef struct row {
  const char *line, *headers, *body;
  int status;
  const char *piece; /* contained in the response */
} row;

/* Rows of requests with the key: without a body; with a body of that type. */
#define ASK(line, status, piece)                                                         \
  { line, AUTH, "", status, piece }
#define SEND(line, type, body, status, piece)                                            \
  { line, AUTH type, body, status, piece }

#define CHECK_ROWS(s, rows) check_rows(s, rows, sizeof rows / sizeof rows[0])

static void check_rows(const stage *s, const row *rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const row *r = &rows[i];
    if (!CHECK(is_response(ask(s, r->line, r->headers, r->body), r->status, r->piece)))
      printf("  to %s\n", r->line);
  }
}

/* ---- faults and their effect ----------------------------------------------------- */

static int add(const stage *s, leat_sandbox_fault fault) {
  leat_error error;
  int number = leat_sandbox_add_fault(s->sandbox, &fault, &error);
  if (!CHECK(number > 0)) printf("  %s\n", error.message);
  return number;
}

static leat_sandbox_request last_request(const stage *s) {
  leat_sandbox_request request = {.status = -1};
  for (size_t i = 0; leat_sandbox_request_at(s->sandbox, i, &request); i++)
    ;
  return request;
}

#define FAULT(s, ...) add(s, (leat_sandbox_fault){__VA_ARGS__})

/* Returns true if the sandbox holds the card and it has that contact; NULL: any. */
static bool has_card(const stage *s, const char *value, const char *uuid) {
  const leat_json *card = leat_sandbox_find_card(s->sandbox, leat_s(value));
  const leat_json *contact = leat_json_get(card, "contact");
  leat_string found = leat_json_string(leat_json_get(contact, "uuid"));
  return card && (uuid == NULL || (found.data && strcmp(found.data, uuid) == 0));
}

/* ---- the API --------------------------------------------------------------------- */

static void test_operations(const stage *s) {
  leat_contact_identifier card;
  TEST("operations that succeed");
  check(s, "create", "new", "contact_uuid", ANN, LEAT_OK, 0);
  check(s, "unlink", "new", NULL, NULL, LEAT_OK, 0);
  check(s, "link", "new", "contact_uuid", "bob", LEAT_OK, 0);
  check(s, "update", "new", "contact_identifier_name", "Name", LEAT_OK, 0);
  leat_call *call = perform(s, "find", "new", NULL, NULL);
  CHECK(leat_call_contact_identifier(call, &card));
  CHECK_STR(card.name.data, "Name");
  CHECK_STR(card.contact_uuid.data, "bob");
  CHECK(card.active == 1 && card.contact_email.data == NULL);
  leat_call_free(call);
  check(s, "delete", "new", NULL, NULL, LEAT_OK, 0);
  TEST("operations that fail");
  check(s, "find", "new", NULL, NULL, LEAT_NOT_FOUND, 60003);
  check(s, "delete", "new", NULL, NULL, LEAT_NOT_FOUND, 60003);
  check(s, "find", "off", NULL, NULL, LEAT_INACTIVE, 60004);
  check(s, "create", "free", NULL, NULL, LEAT_ALREADY_EXISTS, 60006);
  check(s, "unlink", "free", NULL, NULL, LEAT_NOT_LINKED, 60011);
  check(s, "link", "linked", "contact_uuid", "bob", LEAT_ALREADY_LINKED, 60014);
  check(s, "link", "free", "contact_uuid", "nobody", LEAT_CONTACT_NOT_FOUND, 55031);
}

static void test_other_operations(const stage *s) {
  leat_contact_identifier card;
  TEST("the list of a contact");
  leat_call *call =
      leat_call_new(s->client, leat_operation("contact_identifiers", "list"));
  leat_call_set(call, "contact_uuid", leat_s(ANN));
  leat_curl_perform(s->curl, call);
  const leat_json *first = leat_json_at(leat_call_data(call), 0);
  CHECK(leat_json_size(leat_call_data(call)) == 1);
  CHECK(leat_json_contact_identifier(first, &card));
  CHECK_STR(card.value.data, "linked");
  CHECK(leat_json_boolean(leat_json_get(first, "default")));
  const leat_json *credit =
      leat_json_get(leat_json_get(first, "contact"), "credit_balance");
  CHECK(leat_json_integer(leat_json_get(credit, "balance")) == 12);
  leat_call_free(call);
  TEST("the account of the key");
  call = leat_call_new(s->client, leat_operation("client", "check"));
  leat_curl_perform(s->curl, call);
  CHECK(leat_json_type(leat_json_get(leat_call_data(call), "uuid")) == LEAT_STRING);
  CHECK(leat_json_type(leat_json_get(leat_call_data(call), "id")) == LEAT_INTEGER);
  leat_call_free(call);
}

static void test_raw(const stage *s) {
#define LIST "/contact-identifiers"
  static const row rows[] = {
      ASK("GET /", 404, "The route could not be found."),
      ASK("GET " BASE "/", 404, "\"message\""),
      ASK("GET //api/v3/oauth/clients", 404, "\"message\""),
      ASK("GET " CONTACTS "/find/a?email=a", 404, "\"message\""),
      ASK("GET " CONTACTS "//contact-identifiers", 404, "\"message\""),
      ASK("GET " CONTACTS "/a/b/contact-identifiers", 404, "\"message\""),
      ASK("PUT " BASE, 405, "\"message\""),
      ASK("POST " CARDS "/find", 405, "\"message\""),
      {"GET " BASE, ACCEPT, "", 401, "{\"message\":\"Unauthenticated.\"}"},
      ASK("GET " BASE, 200, "\"company\""),
      ASK("GET " CONTACTS "/bob" LIST, 200, "{\"data\":[],\"meta\":[]}"),
      ASK("GET " CONTACTS "/%62ob" LIST, 200, "{\"data\":[]"),
      ASK("GET " CONTACTS "/a+b" LIST, 200, "{\"data\":[]"),
      ASK("GET " CONTACTS "/eve" LIST, 400, "\"code\":55031"),
      ASK("GET " CARDS "/find", 400,
          "\"errors\":{\"contact_identifier_value\":"
          "[\"The contact identifier value field is required.\"]}"),
      /* names are URL-encoded like values; + is a space */
      ASK("GET " CARDS "/find?contact%5Fidentifier%5fvalue=f%72ee", 200, "\"free\""),
      ASK(FIND "fr+ee", 400, "60003"),
      ASK(FIND "a&" VALUE "b", 400, "given twice"),
      ASK(FIND "%ff", 400, "required"),
      ASK(FIND "a%00b", 400, "a string"),
      ASK("GET " CARDS "/find?%ff=1&" VALUE "free", 400, "UTF-8"),
      /* forms, which the official client sends, and JSON */
      SEND("POST " CARDS, FORM, VALUE "f%26m&" NAME "A+B&" UUID "bob", 200,
           "{\"name\":\"A B\",\"value\":\"f&m\",\"active\":true,"
           "\"contact\":{\"uuid\":\"bob\",\"email\":null}}"),
      SEND("PUT " CARDS, FORM, VALUE "f%26m&" ACTIVE "0", 200, "\"active\":false"),
      SEND("PUT " CARDS, FORM, VALUE "f%26m&" ACTIVE "1", 200, "\"active\":true"),
      SEND("PUT " CARDS, FORM, VALUE "f%26m&" ACTIVE "true", 400,
           "must be true or false"),
      SEND("PUT " CARDS, JSON,
           "{\"contact_identifier_value\":\"f&m\",\"contact_identifier_active\":\"1\"}",
           400, "must be true or false"),
      SEND("PUT " CARDS "/unlink", FORM, VALUE "f%26m", 200, "\"contact\":null"),
      SEND(DELETE "f%26m", FORM, VALUE "f%26m", 200, "{\"data\":null,\"meta\":[]}"),
      SEND(DELETE "free", FORM, VALUE "linked", 400, "given twice, differently"),
      ASK(DELETE "off", 200, "null"),
      SEND("POST " CARDS, JSON, "{\"contact_identifier_value\":1}", 400, "a string"),
      SEND("POST " CARDS, JSON, "{\"contact_identifier_value\":null}", 400, "required"),
      SEND("POST " CARDS, JSON, "{\"contact_identifier_value\":\"\"}", 400, "required"),
      SEND("POST " CARDS, JSON, "[]", 400, "must be a JSON object"),
      SEND("POST " CARDS, JSON, "{", 400, "must be a JSON object"),
      ASK("POST /oauth/token?grant_type=client_credentials", 400, "unsupported"),
      SEND("PUT " CARDS "/link", FORM, VALUE "free", 400,
           "The contact uuid field is required."),
  };
  TEST("requests that the client does not send");
  CHECK_ROWS(s, rows);
  const char *response = ask(s, "GET " BASE, AUTH, "");
  CHECK(strstr(response, "X-RateLimit-Limit: 5000\r\n") != NULL);
  CHECK(strstr(response, "Content-Type: application/json\r\n") != NULL);
  CHECK(strstr(response, "Retry-After") == NULL);
}

/* Other clients send no Accept header, and those in PHP and Postman other types of
** bodies. */
static void test_plain(const stage *s) {
  static const char bearer[] = "Authorization: Bearer " KEY "\r\n";
  static const row rows[] = {
      {"GET " BASE, bearer, "", 200, "X-RateLimit-Remaining: 4999\r\n"},
      {"POST " CARDS, "Authorization: Bearer " KEY "\r\n" JSON,
       "{\"contact_identifier_value\":\"plain\"}", 200, "\"value\":\"plain\""},
      {"POST " CARDS, "Authorization: Bearer " KEY "\r\n" JSON,
       "{\"contact_identifier_value\":\"plain\"}", 400, "\"code\":60006"},
      {"GET /nowhere", bearer, "", 404, "\"message\""},
      {"GET " BASE, "", "", 302, "Location: https://login.example/login\r\n"},
      {"GET " BASE, "", "", 302, "X-RateLimit-Remaining: 4995\r\n"},
      {"GET " BASE, "Accept: text/html\r\nAuthorization: Bearer x\r\n", "", 302, "login"},
      {"GET " BASE, "Accept: application/problem+json\r\n", "", 401, "Unauthenticated."},
      {"GET " CARDS "/find", bearer, "", 302, "Location: /\r\n"},
      {"GET " CARDS "/find", bearer, "", 302, "X-RateLimit-Remaining: 4991\r\n"},
  };
  TEST("requests that do not ask for JSON");
  CHECK_ROWS(s, rows);
}

#define PARTS_OF(boundary)  "Content-Type: multipart/form-data; boundary=" boundary "\r\n"
#define PARTS               PARTS_OF("xYz")
#define PART(name, content) PART_HEAD(name) "\r\n" content "\r\n"
#define PART_HEAD(name)     "--xYz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n"
#define VALUE_PART(content) PART("contact_identifier_value", content)
#define END_OF_PARTS        "--xYz--\r\n"

static void test_bodies(const stage *s) {
  static const row rows[] = {
      SEND("POST " CARDS, PARTS,
           VALUE_PART("a\r\nb&c=1")
               PART_HEAD("contact_uuid") "Content-Length: 3\r\n\r\nbob\r\n" END_OF_PARTS,
           200,
           "\"value\":\"a\\r\\nb&c=1\",\"active\":true,\"contact\":{\"uuid\":\"bob\""),
      SEND("PUT " CARDS, PARTS_OF("\"x Y\""),
           "ignored\r\n--x Y\r\nContent-Disposition: form-data; "
           "name=\"contact_identifier_value\"\r\n\r\nfree\r\n--x Y\r\n"
           "Content-Disposition: form-data; name=\"contact_identifier_active\"\r\n\r\n0"
           "\r\n--x Y--",
           400, "must be multipart"),
      SEND("PUT " CARDS, PARTS,
           VALUE_PART("free") PART("contact_identifier_active", "0") END_OF_PARTS
           "behind it",
           200, "\"active\":false"),
      SEND("DELETE " CARDS, PARTS_OF("\"xYz\""), VALUE_PART("free") END_OF_PARTS, 200,
           "null"),
      SEND("POST " CARDS, PARTS,
           PART("contact_identifier_value\"; filename=\"f", "x") END_OF_PARTS, 400,
           "required"),
      SEND("POST " CARDS, PARTS, VALUE_PART("") END_OF_PARTS, 400, "required"),
      SEND("POST " CARDS, PARTS, PART("\xff", "x") END_OF_PARTS, 400, "UTF-8"),
      SEND("POST " CARDS, PARTS, "--xYz\r\n\r\nx\r\n" END_OF_PARTS, 400, "required"),
      SEND("POST " CARDS, PARTS, PART_HEAD("contact_identifier_value") "\r\nx", 400,
           "must be multipart"),
      SEND("POST " CARDS, PARTS, "x", 400, "must be multipart"),
      SEND("POST " CARDS, "Content-Type: multipart/form-data\r\n", "x", 400,
           "must be multipart"),
      SEND("POST " CARDS, PARTS_OF(""), "x", 400, "must be multipart"),
      /* all in the query, or some in the query and some in the body */
      ASK("POST " CARDS "?" VALUE "q&" UUID "bob", 200,
          "{\"name\":\"q\",\"value\":\"q\",\"active\":true,\"contact\":{\"uuid\":"
          "\"bob\""),
      ASK("PUT " CARDS "/unlink?" VALUE "q", 200, "\"contact\":null"),
      SEND("PUT " CARDS "/link?" VALUE "q", JSON, "{\"contact_uuid\":\"" ANN "\"}", 200,
           ANN),
      SEND("PUT " CARDS "?" VALUE "q", FORM, NAME "N", 200,
           "{\"name\":\"N\",\"value\":\"q\""),
      SEND("PUT " CARDS "/link?" VALUE "q", FORM, VALUE "r&" UUID "bob", 400,
           "given twice, differently"),
  };
  TEST("bodies of each type, and parameters in the query");
  CHECK_ROWS(s, rows);
}

static void test_names(const stage *s) {
  TEST("a card without a name of its own has its value as its name");
  static const row rows[] = {
      SEND("POST " CARDS, FORM, VALUE "0042", 200,
           "{\"name\":\"0042\",\"value\":\"0042\""),
      SEND("POST " CARDS, JSON,
           "{\"contact_identifier_value\":\"0043\",\"contact_identifier_name\":null}",
           200, "{\"name\":\"0043\",\"value\":\"0043\""),
      SEND("POST " CARDS, FORM, VALUE "0044&" NAME "Gold", 200,
           "{\"name\":\"Gold\",\"value\":\"0044\""),
      ASK(FIND "free", 200, "{\"name\":\"free\",\"value\":\"free\""),
      ASK(FIND "linked", 200, "{\"name\":\"N\",\"value\":\"linked\""),
  };
  CHECK_ROWS(s, rows);
}

#define CONTACTS BASE "/contacts"

/* Copies the uuid that the response shows first. */
static void read_uuid(const char *response, char uuid[40]) {
  const char *found = strstr(response, "{\"uuid\":\"");
  snprintf(uuid, 40, "%.36s", found ? found + 9 : "");
}

static void test_contacts(const stage *s) {
  static const char ann[] =
      "{\"data\":{\"uuid\":\"" ANN "\",\"email\":\"ann@example.org\","
      "\"credit_balance\":{\"balance\":12}},\"meta\":[]}";
  static const char other[] = "GET " CONTACTS "/find-or-create?email=eve%40example.org";
  static const row rows[] = {
      ASK("GET " CONTACTS "/" ANN, 200, ann),
      ASK("GET " CONTACTS "/nobody", 400, "\"code\":55031"),
      ASK("GET " CONTACTS "/find-one-by?email=ann%40example.org", 200, ann),
      ASK("GET " CONTACTS "/find-one-by?email=eve%40example.org", 400, "\"code\":55031"),
      ASK("GET " CONTACTS "/find-one-by", 400, "The email field is required."),
      ASK("POST " CONTACTS "/find-one-by", 405, "\"message\""),
      ASK("GET " CONTACTS "/find-or-create?email=ann%40example.org", 200, ann),
      SEND("POST " CONTACTS "/anonymous", "", VALUE "free", 400, "must be a JSON object"),
      SEND("POST " CONTACTS "/anonymous", FORM, VALUE "free", 400, "\"code\":60006"),
  };
  char uuid[40], anonymous[40], line[160];
  TEST("contacts");
  CHECK_ROWS(s, rows);
  const char *response = ask(s, other, AUTH, "");
  CHECK(is_response(response, 200, "\"email\":\"eve@example.org\""));
  read_uuid(response, uuid);
  CHECK(uuid[8] == '-' && uuid[14] == '4' && uuid[23] == '-' && strlen(uuid) == 36);
  EXPECT(s, other, 200, uuid); /* it exists now */
  snprintf(line, sizeof line, "GET " CONTACTS "/%s", uuid);
  EXPECT(s, line, 200, "\"email\":\"eve@example.org\"");
  TEST("anonymous contacts");
  response = ask(s, "POST " CONTACTS "/anonymous", AUTH FORM, VALUE "till");
  CHECK(is_response(response, 200, "\"email\":null}"));
  read_uuid(response, anonymous);
  CHECK(strstr(response, uuid) == NULL);
  CHECK(has_card(s, "till", anonymous));
  EXPECT(s, "POST " CONTACTS "/anonymous", 200, "uuid");
  CHECK(leat_json_size(leat_sandbox_all_cards(s->sandbox)) == 4);
  leat_sandbox_reset(s->sandbox);
  EXPECT(s, line, 400, "\"code\":55031");
  CHECK(!has_card(s, "till", NULL));
}

static void test_contact_faults(const stage *s) {
  static const row rows[] = {
      ASK("GET " CONTACTS "/find-or-create?email=e", 503, ""),
      ASK("GET " CONTACTS "/find-one-by?email=e", 400, "55031"),
      ASK("GET " CONTACTS "/find-or-create?email=e", 503, ""),
      ASK("GET " CONTACTS "/find-one-by?email=e", 200, "\"email\":\"e\""),
      ASK("GET " CONTACTS "/find-or-create?email=e", 200, "\"email\":\"e\""),
  };
  leat_sandbox_request request;
  TEST("faults of contacts");
  FAULT(s, .operation = "contacts.find_or_create", .status = 503);
  FAULT(s, .operation = "contacts.find_or_create", .status = 503, .apply = true);
  CHECK_ROWS(s, rows);
  for (size_t i = 0; i < 5; i++)
    CHECK(leat_sandbox_request_at(s->sandbox, i, &request) &&
          request.changed == (i == 2));
  FAULT(s, .operation = "contacts.create_anonymous", .close = LEAT_SANDBOX_CLOSE_BEFORE,
        .apply_after_ms = 200);
  CHECK_STR(ask(s, "POST " CONTACTS "/anonymous", AUTH FORM, VALUE "late"), "");
  CHECK(!has_card(s, "late", NULL));
  sleep_ms(220);
  CHECK(has_card(s, "late", NULL));
}

static void test_idempotent_unlink(void) {
  static const char unlink[] = "PUT " CARDS "/unlink?" VALUE "free";
  stage s = open_stage((leat_sandbox_config){.idempotent_unlink = true});
  TEST("unlinking a card that is not linked may succeed");
  EXPECT(&s, unlink, 200, "\"value\":\"free\"");
  CHECK(!last_request(&s).changed);
  check(&s, "unlink", "linked", NULL, NULL, LEAT_OK, 0);
  check(&s, "unlink", "linked", NULL, NULL, LEAT_OK, 0);
  check(&s, "unlink", "nowhere", NULL, NULL, LEAT_NOT_FOUND, 60003);
  close_stage(&s);
  s = open_stage((leat_sandbox_config){0});
  EXPECT(&s, unlink, 400, "60011");
  close_stage(&s);
}

static void test_large(const stage *s) {
  char head[256], *body = calloc(1, 1100001);
  TEST("a body that is too large");
  memset(body, 'x', 1100000);
  int fd = connect_to(s);
  int length = snprintf(head, sizeof head,
                        "POST " CARDS " HTTP/1.1\r\nHost: s\r\nConnection: close\r\n" AUTH
                        "Content-Length: 1100000\r\n\r\n");
  CHECK(listener_send(fd, head, (size_t)length));
  CHECK(listener_send(fd, body, 1100000));
  CHECK(is_response(receive_all(fd), 413, "Payload Too Large"));
  free(body);
}

static void test_meta(void) {
  static const struct {
    const char *meta, *end;
  } rows[] = {{NULL, ",\"meta\":[]}"},
              {"{}", ",\"meta\":{}}"},
              {"null", ",\"meta\":null}"},
              {"{\"page\":1}", ",\"meta\":{\"page\":1}}"},
              {"absent", "}}"}};
  TEST("meta in its variants");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    stage s = open_stage((leat_sandbox_config){.meta = rows[i].meta});
    const char *response = ask(&s, "GET " BASE, AUTH, "");
    CHECK_STR(response + strlen(response) - strlen(rows[i].end), rows[i].end);
    check(&s, "find", "free", NULL, NULL, LEAT_OK, 0);
    close_stage(&s);
  }
}

static void test_tls(void) {
  stage s = open_stage((leat_sandbox_config){.tls = true});
  leat_curl *trusting = leat_curl_new(NULL, NULL);
  stage other = {s.sandbox, s.client, trusting, 0};
  test_operations(&s);
  TEST("a certificate that is not trusted");
  check(&other, "find", "free", NULL, NULL, LEAT_TLS, 0);
  leat_curl_free(trusting);
  for (int close = LEAT_SANDBOX_CLOSE_BEFORE; close <= LEAT_SANDBOX_CLOSE_WITHIN;
       close++) {
    TEST("closing over TLS");
    leat_sandbox_fault fault = {.close = (leat_sandbox_close)close,
                                .times = LEAT_SANDBOX_ALWAYS};
    leat_sandbox_add_fault(s.sandbox, &fault, NULL);
    leat_call *call = leat_call_new(s.client, leat_operation("client", "check"));
    leat_call_set_timeout_ms(call, 400); /* ends the retries */
    leat_curl_perform(s.curl, call);
    CHECK(leat_call_error(call)->kind != LEAT_OK);
    leat_call_free(call);
    leat_sandbox_clear_faults(s.sandbox);
  }
  check(&s, "find", "free", NULL, NULL, LEAT_OK, 0);
  close_stage(&s);
}

/* ---- tokens ---------------------------------------------------------------------- */

#define GRANT_OF(id) "grant_type=client_credentials&client_id=" id
#define GRANT        GRANT_OF("sandbox-client")
#define JSON_GRANT(id, secret)                                                           \
  "{\"grant_type\":\"client_credentials\",\"client_id\":" id                             \
  ",\"client_secret\":\"" secret "\"}"
#define TOKEN(type, body, status, piece)                                                 \
  { "POST /oauth/token", type, body, status, piece }

/* Writes Accept and "Authorization: Bearer TOKEN\r\n" with the token of the response. */
static void take_token(const char *response, char *headers, size_t size) {
  static const char name[] = "\"access_token\":\"";
  const char *token = strstr(response, name);
  CHECK(token != NULL);
  token = token ? token + sizeof name - 1 : "";
  snprintf(headers, size, ACCEPT "Authorization: Bearer %.*s\r\n",
           (int)strcspn(token, "\""), token);
}

static void test_token_errors(const stage *s) {
  static const row rows[] = {
      TOKEN(FORM, GRANT "&client_secret=wrong", 401, "\"error\":\"invalid_client\""),
      TOKEN(FORM, GRANT_OF("x") "&client_secret=sandbox-secret", 401,
            "\"error\":\"invalid_client\""),
      TOKEN(FORM, GRANT, 400, "\"error\":\"invalid_request\""),
      TOKEN(FORM, "client_id=a&client_secret=b", 400,
            "\"error\":\"unsupported_grant_type\""),
      TOKEN("", "", 400, "\"message\""),
      TOKEN(JSON, "{", 400, "\"error\""),
      TOKEN(JSON, JSON_GRANT("17", "x"), 401, "\"error\":\"invalid_client\""),
      ASK("GET /oauth/token", 405, "\"message\""),
      {"GET " BASE, ACCEPT "Authorization: Bearer token|0\r\n", "", 401, "Unauthenti"},
      {"GET " BASE, ACCEPT "Authorization: " KEY "\r\n", "", 401, "Unauthenticated."},
  };
  TEST("what the token endpoint refuses");
  CHECK_ROWS(s, rows);
}

static void test_tokens(void) {
  stage s = open_stage((leat_sandbox_config){.token_lifetime_ms = 400});
  char one[256], two[256];
  TEST("tokens");
  CHECK(strstr(leat_sandbox_token_url(s.sandbox), "/oauth/token") != NULL);
  test_token_errors(&s);
  const char *response =
      ask(&s, "POST /oauth/token", FORM, GRANT "&client_secret=sandbox-secret");
  CHECK(is_response(response, 200, "{\"token_type\":\"Bearer\",\"expires_in\":1,"));
  CHECK(strstr(response, "X-RateLimit") == NULL);
  take_token(response, one, sizeof one);
  sleep_ms(250);
  response = ask(&s, "POST /oauth/token", JSON,
                 JSON_GRANT("\"sandbox-client\"", "sandbox-secret"));
  take_token(response, two, sizeof two);
  CHECK(strcmp(one, two) != 0);
  TEST("several tokens are valid at a time, each until it expires");
  CHECK(is_response(ask(&s, "GET " BASE, one, ""), 200, "uuid"));
  CHECK(is_response(ask(&s, "GET " BASE, two, ""), 200, "uuid"));
  sleep_ms(200);
  CHECK(is_response(ask(&s, "GET " BASE, one, ""), 401, "Unauthenticated."));
  CHECK(is_response(ask(&s, "GET " BASE, two, ""), 200, "uuid"));
  TEST("all tokens expire");
  leat_sandbox_expire_tokens(s.sandbox);
  CHECK(is_response(ask(&s, "GET " BASE, two, ""), 401, "Unauthenticated."));
  EXPECT(&s, "GET " BASE, 200, "uuid");
  close_stage(&s);
}

static void test_numeric_id(void) {
#define ID "1234567890123"
  static const row rows[] = {
      TOKEN(JSON, JSON_GRANT(ID, "sandbox-secret"), 200, "access_token"),
      TOKEN(JSON, JSON_GRANT("\"" ID "\"", "sandbox-secret"), 200, "access_token"),
      TOKEN(FORM, GRANT_OF(ID) "&client_secret=sandbox-secret", 200, "access_token"),
      TOKEN(PARTS,
            PART("grant_type", "client_credentials") PART("client_id", ID)
                PART("client_secret", "sandbox-secret") END_OF_PARTS,
            200, "access_token"),
  };
  leat_sandbox_request request;
  stage s = open_stage((leat_sandbox_config){.client_id = ID});
  TEST("client ids are numbers");
  CHECK_ROWS(&s, rows);
  for (size_t i = 0; i < 4; i++) {
    CHECK(leat_sandbox_request_at(s.sandbox, i, &request));
    CHECK_STR(request.body.data, GRANT_OF(ID) "&client_secret=[secret]");
  }
  close_stage(&s);
}

/* ---- the record ------------------------------------------------------------------ */

static void test_record(const stage *s) {
  leat_sandbox_request request;
  TEST("the record of requests");
  CHECK(leat_sandbox_request_at(s->sandbox, 12, &request));
  CHECK_STR(request.method.data, "PUT");
  CHECK_STR(request.target.data, "/api/v3/oauth/clients/contact-identifiers/link");
  CHECK_STR(request.body.data,
            "{\"contact_identifier_value\":\"free\",\"contact_uuid\":\"nobody\"}");
  CHECK(request.status == 400);
  CHECK_STR(request.operation.data, "link");
  CHECK(!request.changed && request.fault == 0);
  CHECK(!leat_sandbox_request_at(s->sandbox, 13, &request));
  for (size_t i = 0; i < request.header_count; i++)
    CHECK(strstr(request.headers[i].value.data, "canary-8") == NULL);
  for (size_t i = 0; leat_sandbox_request_at(s->sandbox, i, &request); i++) {
    bool writes = request.status == 200 && strcmp(request.operation.data, "find") != 0;
    CHECK(request.changed == writes);
  }
}

static bool holds(const leat_sandbox_request *request, const char *text) {
  bool found = strstr(request->body.data, text) || strstr(request->target.data, text);
  for (size_t i = 0; i < request->header_count; i++)
    found = found || strstr(request->headers[i].value.data, text);
  return found;
}

static void test_secrets(const stage *s) {
  leat_sandbox_request request;
  TEST("the record contains no token and no secret");
  ask(s, "GET " BASE, ACCEPT "aUTHORIZATION: Bearer " KEY "\r\n", "");
  ask(s, "POST /oauth/token", FORM, GRANT "&client%5Fsecret=sandbox-secre%74&a=b");
  ask(s, "POST /oauth/token", JSON, "{\"client_secret\":\"sandbox-secret\"}");
  ask(s, "POST /oauth/token", JSON, "{\"client_secret\":\"sandbox-secret\"");
  for (size_t i = 0; leat_sandbox_request_at(s->sandbox, i, &request); i++)
    CHECK(!holds(&request, "canary-8") && !holds(&request, "sandbox-secre"));
  CHECK(leat_sandbox_request_at(s->sandbox, 1, &request) && request.status == 200);
  CHECK_STR(request.body.data, GRANT "&client_secret=[secret]&a=b");
  CHECK_STR(request.operation.data, "token");
}

/* ---- faults ---------------------------------------------------------------------- */

static int status_of(const stage *s, const char *value) {
  char line[128];
  snprintf(line, sizeof line, FIND "%s", value);
  const char *response = ask(s, line, AUTH, "");
  return response[0] ? atoi(response + 9) : 0;
}

/* Finds the card once for each status, up to 0, and checks those. */
static bool finds(const stage *s, const char *value, const int *statuses) {
  bool good = true;
  for (; *statuses; statuses++) {
    int status = status_of(s, value);
    if (status != *statuses) printf("  %s: %d, not %d\n", value, status, *statuses);
    good = good && status == *statuses;
  }
  return good;
}

#define FINDS(s, value, ...) CHECK(finds(s, value, (int[]){__VA_ARGS__, 0}))

static void test_which(const stage *s) {
  TEST("which requests a fault matches");
  FINDS(s, "free", 200);
  int number = FAULT(s, .operation = "find", .nth = 2, .times = 2, .status = 500);
  CHECK(number == 1);
  EXPECT(s, "GET " BASE, 200, "uuid");
  FINDS(s, "free", 200, 500);
  CHECK(last_request(s).fault == 1 && last_request(s).status == 500);
  FINDS(s, "free", 500, 200);
  CHECK(last_request(s).fault == 0);
  TEST("faults for one card");
  FAULT(s, .value = "free", .status = 501, .times = LEAT_SANDBOX_ALWAYS);
  FINDS(s, "linked", 200);
  FINDS(s, "free", 501);
  TEST("each fault has its own count");
  FAULT(s, .value = "linked", .status = 503);
  FAULT(s, .value = "linked", .nth = 2, .status = 504);
  FINDS(s, "linked", 503, 504);
  TEST("several for one operation form a queue");
  FAULT(s, .operation = "check", .status = 500, .times = 2);
  FAULT(s, .operation = "check", .status = 501);
  FAULT(s, .operation = "check", .nth = 5, .status = 503);
  FAULT(s, .operation = "check", .status = 502);
  static const int queue[] = {500, 500, 501, 502, 503, 200};
  for (size_t i = 0; i < sizeof queue / sizeof queue[0]; i++)
    CHECK(is_response(ask(s, "GET " BASE, AUTH, ""), queue[i], ""));
  TEST("the first fault applies");
  FAULT(s, .value = "free", .status = 502);
  FINDS(s, "free", 501);
  leat_sandbox_clear_faults(s->sandbox);
  FINDS(s, "free", 200);
  TEST("every request, even one without a route");
  FAULT(s, .status = 503, .times = 3);
  CHECK(is_response(ask(s, "GET /nowhere", "", ""), 503, "Be right back."));
  CHECK(is_response(ask(s, "POST /oauth/token", FORM, GRANT), 503, "text/html"));
  CHECK(is_response(ask(s, "GET " BASE, ACCEPT, ""), 503, "text/html"));
  FINDS(s, "free", 200);
}

static void test_responses(const stage *s) {
  static const leat_header headers[] = {{{"content-type", 12}, {"text/plain", 10}},
                                        {{"X-Trace", 7}, {"abc", 3}}};
  static const struct {
    leat_sandbox_fault fault;
    int status;
    const char *pieces[4], *absent[2];
  } rows[] = {
      {{.status = 404, .headers = headers, .header_count = 2, .body = {"gone", 4}},
       404,
       {"\r\n\r\ngone", "content-type: text/plain\r\n", "X-Trace: abc\r\n",
        "X-RateLimit-Limit: 5000"},
       {"application/json"}},
      {{.kind = "rate_limited", .nth = 1},
       429,
       {"Retry-After: 1\r\n", "X-RateLimit-Reset: ", "X-RateLimit-Remaining: 0"},
       {NULL}},
      {{.kind = "maintenance", .retry_after_s = 7, .status = 599},
       599,
       {"Retry-After: 7\r\n", "Be right back."},
       {"X-RateLimit-Reset"}},
      {{.status = 429},
       429,
       {"Too Many Attempts."},
       {"Retry-After", "X-RateLimit-Reset"}},
      /* fields that are set override the kind */
      {{.kind = "timeout", .delay_ms = 1}, 200, {"uuid"}, {NULL}},
      {{.kind = "connection", .close = LEAT_SANDBOX_CLOSE_WITHIN},
       200,
       {"{\"data\""},
       {NULL}},
      {{.code = 99, .status = 418}, 418, {"\"code\":99"}, {NULL}},
      {{.status = 504}, 504, {"Content-Length: 0\r\n"}, {NULL}},
  };
  TEST("the responses of faults");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    add(s, rows[i].fault);
    const char *response = ask(s, "GET " BASE, AUTH, "");
    for (size_t j = 0; j < 4 && rows[i].pieces[j]; j++)
      CHECK(is_response(response, rows[i].status, rows[i].pieces[j]));
    for (size_t j = 0; j < 2 && rows[i].absent[j]; j++)
      CHECK(strstr(response, rows[i].absent[j]) == NULL);
  }
  FAULT(s, .code = 7002);
  CHECK(is_response(
      ask(s, "GET " BASE, "", ""), 400,
      "{\"message\":\"Account inactive.\",\"code\":7002,\"status_code\":400}"));
  TEST("a fault that changes only the response");
  FAULT(s, .operation = "delete", .body = leat_s("{\"data\":[]}"));
  check(s, "delete", "free", NULL, NULL, LEAT_OK, 0);
  CHECK(leat_sandbox_find_card(s->sandbox, leat_s("free")) == NULL);
}

/* Each change is applied or not, followed by each kind of failure. */
static void test_apply(void) {
  static const leat_sandbox_fault ways[] = {{.status = 500},
                                            {.code = 1000},
                                            {.kind = "maintenance"},
                                            {.status = 503},
                                            {.status = 503, .retry_after_s = 1},
                                            {.close = LEAT_SANDBOX_CLOSE_BEFORE},
                                            {.close = LEAT_SANDBOX_CLOSE_WITHIN}};
  static const struct {
    const char *line, *body, *value, *uuid; /* see has_card */
    bool there[2];                          /* if it was not applied; if it was */
  } rows[] = {
      {"POST " CARDS, VALUE "new&" UUID "bob", "new", "bob", {false, true}},
      {"PUT " CARDS "/link", VALUE "free&" UUID "bob", "free", "bob", {false, true}},
      {"PUT " CARDS "/unlink", VALUE "linked", "linked", ANN, {true, false}},
      {"PUT " CARDS, VALUE "off&" ACTIVE "1", "off", NULL, {true, true}},
      {"DELETE " CARDS, VALUE "free", "free", NULL, {true, false}},
  };
  leat_sandbox_request request;
  for (size_t i = 0; i < 2 * sizeof ways / sizeof ways[0]; i++) {
    leat_sandbox_fault fault = ways[i / 2];
    fault.apply = i % 2;
    stage s = open_stage((leat_sandbox_config){.faults = &fault, .fault_count = 1});
    TEST("applied or not, and then failed");
    for (size_t j = 0; j < sizeof rows / sizeof rows[0]; j++) {
      const char *response = ask(&s, rows[j].line, AUTH FORM, rows[j].body);
      CHECK(strstr(response, "\"meta\":[]}") == NULL); /* no success */
      CHECK(leat_sandbox_request_at(s.sandbox, 0, &request) && request.fault == 1);
      CHECK(request.changed == fault.apply);
      CHECK(has_card(&s, rows[j].value, rows[j].uuid) == rows[j].there[fault.apply]);
      leat_sandbox_reset(s.sandbox);
    }
    close_stage(&s);
  }
}

static void test_apply_later(const stage *s) {
  TEST("a request that fails now and is applied later");
  FAULT(s, .operation = "delete", .status = 504, .apply_after_ms = 900);
  FAULT(s, .operation = "create", .apply_after_ms = 150,
        .close = LEAT_SANDBOX_CLOSE_BEFORE);
  CHECK(ask(s, DELETE "free", AUTH, "")[0] != '\0');
  CHECK_STR(ask(s, "POST " CARDS, AUTH FORM, VALUE "new"), "");
  CHECK(last_request(s).status == 0 && !last_request(s).changed);
  CHECK(status_of(s, "new") == 400 && !has_card(s, "new", NULL));
  FINDS(s, "free", 200);
  sleep_ms(180);
  FINDS(s, "new", 200);
  FINDS(s, "free", 200);
  sleep_ms(800);
  leat_sandbox_request request;
  CHECK(leat_sandbox_request_at(s->sandbox, 0, &request) && request.changed);
  CHECK(!has_card(s, "free", NULL));
  TEST("it is classified again then");
  FAULT(s, .operation = "create", .status = 504, .apply_after_ms = 100);
  ask(s, "POST " CARDS, AUTH FORM, VALUE "late&" UUID "bob");
  ask(s, "POST " CARDS, AUTH FORM, VALUE "late&" UUID ANN);
  sleep_ms(120);
  CHECK(has_card(s, "late", ANN));
  TEST("a reset drops pending changes");
  FAULT(s, .operation = "create", .status = 504, .apply_after_ms = 50);
  ask(s, "POST " CARDS, AUTH FORM, VALUE "never");
  leat_sandbox_reset(s->sandbox);
  sleep_ms(70);
  CHECK(!has_card(s, "never", NULL) && has_card(s, "free", NULL));
  CHECK(!leat_sandbox_request_at(s->sandbox, 0, &request));
}

static void test_lag(const stage *s) {
  TEST("finds that see the past");
  FAULT(s, .times = LEAT_SANDBOX_ALWAYS, .lag_ms = 1000);
  sleep_ms(1010); /* so that the lag does not reach the start */
  ask(s, "POST " CARDS, AUTH FORM, VALUE "new&" UUID "bob");
  ask(s, DELETE "free", AUTH, "");
  ask(s, "PUT " CARDS "/unlink", AUTH FORM, VALUE "linked");
  ask(s, "PUT " CARDS "/link", AUTH FORM, VALUE "linked&" UUID "bob");
  FINDS(s, "new", 400);
  FINDS(s, "free", 200);
  const char *list_bob = "GET " CONTACTS "/bob/contact-identifiers";
  EXPECT(s, list_bob, 200, "{\"data\":[],");
  CHECK(strstr(ask(s, FIND "linked", AUTH, ""), ANN) != NULL);
  TEST("but writes, and the test itself, see the present");
  CHECK(has_card(s, "new", "bob") && has_card(s, "linked", "bob"));
  CHECK(leat_json_size(leat_sandbox_all_cards(s->sandbox)) == 3);
  CHECK(is_response(ask(s, "POST " CARDS, AUTH FORM, VALUE "new"), 400, "60006"));
  sleep_ms(1030);
  ask(s, DELETE "new", AUTH, "");
  FINDS(s, "new", 200);
  FINDS(s, "free", 400);
  const char *response = ask(s, list_bob, AUTH, "");
  CHECK(strstr(response, "\"default\":true}") && strstr(response, "\"default\":false}"));
}

static void test_stale(void) {
  static const leat_sandbox_fault stale = {
      .operation = "find", .times = 2, .stale = true};
  stage s = open_stage((leat_sandbox_config){.faults = &stale, .fault_count = 1});
  TEST("finds that see the state when the fault was added");
  for (int i = 0; i < 2; i++) { /* again after a reset */
    ask(&s, "POST " CARDS, AUTH FORM, VALUE "new");
    ask(&s, DELETE "free", AUTH, "");
    FINDS(&s, "new", 400);
    CHECK(is_response(ask(&s, "POST " CARDS, AUTH FORM, VALUE "new"), 400, "60006"));
    FINDS(&s, "free", 200, 400);
    FINDS(&s, "new", 200);
    CHECK(last_request(&s).fault == 0);
    leat_sandbox_reset(s.sandbox);
  }
  leat_sandbox_clear_faults(s.sandbox);
  ask(&s, DELETE "free", AUTH, "");
  add(&s, stale);
  ask(&s, "POST " CARDS, AUTH FORM, VALUE "free");
  FINDS(&s, "free", 400, 400, 200);
  close_stage(&s);
}

/* ---- waiting --------------------------------------------------------------------- */

static void test_delay(const stage *s) {
  TEST("a late response does not delay other clients");
  FAULT(s, .operation = "delete", .delay_ms = 1000);
  int64_t start = test_now_ms();
  int fd = connect_to(s);
  send_request(fd, DELETE "free", AUTH, "");
  while (last_request(s).status == -1 && test_now_ms() - start < 900)
    sleep_ms(1);
  FINDS(s, "linked", 200);
  CHECK(!has_card(s, "free", NULL)); /* applied at once */
  CHECK(test_now_ms() - start < 950);
  CHECK(is_response(receive_all(fd), 200, "\"data\":null"));
  CHECK(test_now_ms() - start >= 999 && test_now_ms() - start < 5000);
  TEST("a late close");
  FAULT(s, .delay_ms = 100, .close = LEAT_SANDBOX_CLOSE_BEFORE);
  start = test_now_ms();
  CHECK_STR(ask(s, "GET " BASE, AUTH, ""), "");
  CHECK(test_now_ms() - start >= 99);
}

static void test_close(const stage *s) {
  TEST("closed within the body");
  FAULT(s, .close = LEAT_SANDBOX_CLOSE_WITHIN, .status = 200,
        .body = leat_s("0123456789"));
  const char *response = ask(s, "GET " BASE, AUTH, "");
  CHECK(is_response(response, 200, "Content-Length: 10\r\n"));
  CHECK(strstr(response, "\r\n\r\n01234") != NULL && strstr(response, "012345") == NULL);
  FAULT(s, .close = LEAT_SANDBOX_CLOSE_WITHIN, .status = 504);
  response = ask(s, "GET " BASE, AUTH, "");
  CHECK(is_response(response, 504, "Content-Length: 1\r\n") &&
        strlen(strstr(response, "\r\n\r\n")) == 4);
}

enum { WAITING = 32 };

/* Some requests wait forever, some for an hour; other clients have sent nothing, or a
** part. */
static void begin_waiting(const stage *s, int *fds, bool tls) {
  for (int i = 0; i < WAITING; i++) {
    fds[i] = connect_to(s);
    if (i % 4 == 0 && !tls) send_request(fds[i], FIND "a", AUTH, "");
    if (i % 4 == 1 && !tls) send_request(fds[i], "GET " BASE, AUTH, "");
    if (i % 4 == 2) send(fds[i], tls ? "\x16\x03\x01" : "GET / HT", 3, MSG_NOSIGNAL);
  }
}

static void test_stop(bool tls) {
  stage s = open_stage((leat_sandbox_config){.tls = tls});
  leat_sandbox_request request = {0};
  size_t wanted = tls ? 1 : 1 + WAITING / 2;
  int fds[WAITING];
  TEST("it stops at once, even while clients wait");
  FAULT(&s, .operation = "find", .times = LEAT_SANDBOX_ALWAYS, .kind = "timeout");
  FAULT(&s, .times = LEAT_SANDBOX_ALWAYS, .delay_ms = 3600000);
  leat_call *call = leat_call_new(s.client, leat_operation("client", "check"));
  CHECK(leat_curl_start(s.curl, call));
  begin_waiting(&s, fds, tls);
  for (int tries = 0;
       tries < 2000 && !leat_sandbox_request_at(s.sandbox, wanted - 1, &request); tries++)
    leat_curl_wait(s.curl, 1);
  CHECK(leat_sandbox_request_at(s.sandbox, wanted - 1, &request));
  for (size_t i = 0; leat_sandbox_request_at(s.sandbox, i, &request); i++)
    CHECK(request.status == (request.operation.data[0] == 'f' ? 0 : 200));
  int64_t start = test_now_ms();
  leat_sandbox_free(s.sandbox);
  CHECK(test_now_ms() - start < 3000 * test_slowness());
  for (int i = 0; i < WAITING; i++) { /* TLS may send an alert */
    const char *bytes = receive_all(fds[i]);
    CHECK(tls ? bytes[0] == '\0' || bytes[0] == 0x15 : bytes[0] == '\0');
  }
  leat_call_free(call);
  s.sandbox = NULL;
  close_stage(&s);
}

static void on_signal(int number) {
  (void)number;
}

/* Signals must be delivered to the program's own threads. */
static void test_signals(const stage *s) {
  sigset_t set, before, pending;
  TEST("the sandbox's threads receive no signal");
  check(s, "find", "free", NULL, NULL, LEAT_OK, 0); /* its connection adds a thread */
  sigemptyset(&set);
  sigaddset(&set, SIGURG);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  signal(SIGURG, on_signal);
  kill(getpid(), SIGURG);
  sleep_ms(20);
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGURG) == 1);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  signal(SIGURG, SIG_DFL);
}

/* A client that disconnects frees its thread; otherwise 1000 of them would block the
** sandbox. */
static void test_gone(const stage *s) {
  TEST("a client that disconnects does not keep its thread");
  FAULT(s, .operation = "check", .times = LEAT_SANDBOX_ALWAYS, .kind = "timeout");
  for (int i = 0; i < 1200; i++) {
    int fd = connect_to(s);
    send_request(fd, "GET " BASE, AUTH, "");
    if (i % 100 == 0) sleep_ms(5);
    close(fd);
  }
  check(s, "find", "free", NULL, NULL, LEAT_OK, 0);
}

/* ---- limits ---------------------------------------------------------------------- */

static void test_rate(void) {
  stage s = open_stage((leat_sandbox_config){.rate_limit = 3, .rate_window_ms = 600});
  TEST("a rate limit that is enforced");
  CHECK(strstr(ask(&s, "GET " BASE, AUTH, ""), "X-RateLimit-Limit: 3\r\n") != NULL);
  CHECK(strstr(ask(&s, "GET " BASE, ACCEPT, ""), "X-RateLimit-Remaining: 1\r\n") != NULL);
  EXPECT(&s, "GET " BASE, 200, "X-RateLimit-Remaining: 0\r\n");
  FAULT(&s, .delay_ms = 1);
  const char *response = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_response(response, 429, "{\"message\":\"Too Many Attempts.\"}"));
  CHECK(strstr(response, "Retry-After: 1\r\n") &&
        strstr(response, "X-RateLimit-Reset: "));
  CHECK(is_response(ask(&s, "POST /oauth/token", FORM, GRANT), 400, "error"));
  sleep_ms(620);
  EXPECT(&s, "GET " BASE, 200, "X-RateLimit-Remaining: 2\r\n");
  close_stage(&s);
}

static void test_reset(void) {
  leat_sandbox_fault fault = {.operation = "find", .status = 503};
  stage s = open_stage((leat_sandbox_config){.faults = &fault, .fault_count = 1});
  TEST("a reset restores the state at the start");
  FINDS(&s, "free", 503);
  FAULT(&s, .operation = "check", .status = 503, .times = LEAT_SANDBOX_ALWAYS);
  ask(&s, DELETE "free", AUTH, "");
  ask(&s, "PUT " CARDS, AUTH FORM, VALUE "off&" ACTIVE "1");
  FINDS(&s, "off", 200);
  leat_sandbox_reset(s.sandbox);
  FINDS(&s, "free", 503);
  CHECK(last_request(&s).fault == 1);
  FINDS(&s, "free", 200);
  FINDS(&s, "off", 400);
  EXPECT(&s, "GET " BASE, 200, "uuid");
  leat_sandbox_clear_faults(s.sandbox);
  CHECK(add(&s, fault) == 2); /* cleared faults keep their numbers */
  leat_sandbox_request request;
  CHECK(leat_sandbox_request_at(s.sandbox, 3, &request));
  CHECK(!leat_sandbox_request_at(s.sandbox, 4, &request));
  leat_sandbox_reset(s.sandbox);
  FINDS(&s, "free", 503);
  close_stage(&s);
}

static void test_wrong_faults(const stage *s) {
  static const leat_header bad[] = {{{"a b", 3}, {"", 0}},
                                    {{"", 0}, {"x", 1}},
                                    {{"A", 1}, {"x\r\ny", 4}},
                                    {{"content-length", 14}, {"1", 1}},
                                    {{"Transfer-Encoding", 17}, {"chunked", 7}}};
  static const struct {
    leat_sandbox_fault fault;
    const char *why;
  } rows[] = {
      {{.operation = "craete"},
       "operation \"craete\" is unknown (known: find, create, link"},
      {{.kind = "slow"}, "kind \"slow\" is unknown (known: not_found, "},
      {{.nth = -1}, "nth must be"},
      {{.times = -2}, "times must be"},
      {{.status = 100}, "status must be from 200 to 599"},
      {{.status = 600}, "status must be from 200 to 599"},
      {{.code = -1}, "code must be"},
      {{.delay_ms = -2}, "delay must not"},
      {{.apply_after_ms = -1}, "apply_after must not"},
      {{.retry_after_s = -1}, "retry_after must not"},
      {{.lag_ms = 60001}, "lag must be"},
      {{.value = ""}, "value must not be empty"},
      {{.close = (leat_sandbox_close)3}, "close is invalid"},
      {{.headers = &bad[0], .header_count = 1}, "an invalid name"},
      {{.headers = &bad[1], .header_count = 1}, "an invalid name"},
      {{.headers = &bad[2], .header_count = 1}, "a control character"},
      {{.headers = &bad[3], .header_count = 1}, "how long the body is"},
      {{.headers = &bad[4], .header_count = 1}, "how long the body is"},
  };
  leat_error error;
  TEST("invalid faults");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    CHECK(leat_sandbox_add_fault(s->sandbox, &rows[i].fault, &error) == 0);
    if (!CHECK(error.kind == LEAT_MISUSE && strstr(error.message, rows[i].why)))
      printf("  %s\n", error.message);
    CHECK(leat_sandbox_add_fault(s->sandbox, &rows[i].fault, NULL) == 0);
  }
  FINDS(s, "free", 200);
  leat_sandbox_fault both[] = {{.status = 500}, {.status = 1}};
  CHECK(leat_sandbox_new(&(leat_sandbox_config){.faults = both, .fault_count = 2},
                         &error) == NULL);
  CHECK(error.kind == LEAT_MISUSE && strstr(error.message, "faults 2: status must"));
}

static void test_refused(void) {
#define CONTACT(...)                                                                     \
  .contacts = &(const leat_sandbox_contact){__VA_ARGS__}, .contact_count = 1
#define CARD(...) .cards = &(const leat_sandbox_card){__VA_ARGS__}, .card_count = 1
  const leat_sandbox_card twice[] = {{"v", "N", NULL, false}, {"v", NULL, NULL, true}};
  const leat_sandbox_contact same[] = {{.uuid = "u", .email = "a"}, {.uuid = "u"}};
  const struct {
    leat_sandbox_config config;
    const char *why;
  } rows[] = {
      {{.port = 70000}, "port"},
      {{CARD(.value = "v", .contact_uuid = "nobody")}, "names no contact"},
      {{CARD(.value = "\xFF")}, "UTF-8"},
      {{CARD(.value = "")}, "card \"\" has no value"},
      {{.cards = twice, .card_count = 2}, "card \"v\" is given twice"},
      {{CONTACT(.uuid = "u", .more = "[1]")}, "JSON object"},
      {{CONTACT(.email = "e")}, "no uuid"},
      {{CONTACT(.uuid = "")}, "no uuid"},
      {{CONTACT(.uuid = "u", .email = "\xFF")}, "UTF-8"},
      {{.contacts = same, .contact_count = 2}, "contact \"u\" is given twice"},
      {{.api_key = ""}, "must not be empty"},
      {{.client_id = ""}, "must not be empty"},
      {{.client_secret = ""}, "must not be empty"},
      {{.meta = "{"}, "meta is not JSON"},
      {{.rate_limit = -1}, "negative"},
  };
  leat_error error;
  TEST("invalid configurations");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    CHECK(leat_sandbox_new(&rows[i].config, &error) == NULL);
    if (!CHECK(error.kind == LEAT_CONFIG && strstr(error.message, rows[i].why)))
      printf("  %s\n", error.message);
    CHECK(leat_sandbox_new(&rows[i].config, NULL) == NULL);
  }
  leat_sandbox *first = leat_sandbox_new(NULL, NULL);
  int port = port_of(first);
  CHECK(leat_sandbox_new(&(leat_sandbox_config){.port = port}, &error) == NULL);
  CHECK(error.kind == LEAT_LOCAL && strstr(error.message, "listen") != NULL);
  leat_sandbox_free(first);
  leat_sandbox_free(NULL);
}

/* ---- many at once ---------------------------------------------------------------- */

typedef struct crowd {
  const stage *stage;
  int number;
} crowd;

static void *create_many(void *argument) {
  const crowd *c = argument;
  char body[64];
  for (int i = 0; i < 20; i++) {
    int fd = connect_to(c->stage);
    char buffer[512];
    snprintf(body, sizeof body, VALUE "%d", i);
    send_request(fd, "POST " CARDS, AUTH FORM, body);
    while (recv(fd, buffer, sizeof buffer, 0) > 0)
      ;
    close(fd);
    leat_sandbox_fault fault = {.operation = "check", .nth = 1000 + c->number};
    leat_sandbox_add_fault(c->stage->sandbox, &fault, NULL);
  }
  return NULL;
}

static void test_crowd(const stage *s) {
  pthread_t threads[8];
  crowd crowds[8];
  TEST("eight at once: each card is created once");
  for (int i = 0; i < 8; i++) {
    crowds[i] = (crowd){s, i};
    pthread_create(&threads[i], NULL, create_many, &crowds[i]);
  }
  for (int i = 0; i < 8; i++)
    pthread_join(threads[i], NULL);
  leat_sandbox_request request;
  int created = 0, received = 0;
  for (; leat_sandbox_request_at(s->sandbox, (size_t)received, &request); received++)
    created += request.changed;
  CHECK(received == 160 && created == 20);
  CHECK(leat_json_size(leat_sandbox_all_cards(s->sandbox)) == 23);
}

static void test_calls(const stage *s) {
  test_operations(s);
  test_record(s);
  test_other_operations(s);
}

int main(void) {
  /* Each of these gets a sandbox of its own. */
  static void (*const tests[])(const stage *s) = {
      test_calls,   test_raw,          test_plain,          test_bodies,
      test_names,   test_contacts,     test_contact_faults, test_large,
      test_secrets, test_which,        test_responses,      test_apply_later,
      test_lag,     test_delay,        test_close,          test_signals,
      test_gone,    test_wrong_faults, test_crowd};
  for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
    stage s = open_stage((leat_sandbox_config){0});
    tests[i](&s);
    close_stage(&s);
  }
  test_tls();
  test_idempotent_unlink();
  test_meta();
  test_tokens();
  test_numeric_id();
  test_apply();
  test_stale();
  test_stop(false);
  test_stop(true);
  test_rate();
  test_reset();
  test_refused();
  return test_summary("sandbox");
}
