/*
** sandbox_test.c - the sandbox from C: through the client over real HTTP and TLS, and
** with raw requests that the client would not send.
*/
#include "leat_curl.h"
#include "leat_sandbox.h"
#include "test.h"

#include <arpa/inet.h>
#include <pthread.h>
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
      .api_key = KEY, .base_url = leat_sandbox_url(s.sandbox), .timeout_ms = 5000};
  s.client = leat_client_new(&settings, NULL);
  s.curl = leat_curl_new(&(leat_curl_config){.ca_file = leat_sandbox_ca_file(s.sandbox)},
                         NULL);
  s.port = atoi(strrchr(leat_sandbox_url(s.sandbox) + 6, ':') + 1);
  return s;
}

static void close_stage(const stage *s) {
  leat_curl_free(s->curl);
  leat_client_free(s->client);
  leat_sandbox_free(s->sandbox);
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
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

#define ACCEPT "Accept: application/json\r\n"
#define AUTH   ACCEPT "Authorization: Bearer " KEY "\r\n"
#define FORM   "Content-Type: application/x-www-form-urlencoded\r\n"
#define JSON   "Content-Type: application/json\r\n"

static int connect_to(const stage *s) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)s->port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
    CHECK(false && "connected");
  return fd;
}

static void send_request(int fd, const char *line, const char *headers,
                         const char *body) {
  char text[4096];
  int length = snprintf(text, sizeof text,
                        "%s HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n"
                        "Content-Length: %zu\r\n%s\r\n%s",
                        line, strlen(body), headers, body);
  if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length) CHECK(false && "sent");
}

/* Returns all bytes until the connection ends; borrowed until the next call. */
static const char *receive_all(int fd) {
  static char answer[65536];
  size_t length = 0;
  ssize_t n;
  while ((n = recv(fd, answer + length, sizeof answer - 1 - length, 0)) > 0)
    length += (size_t)n;
  answer[length] = '\0';
  close(fd);
  return answer;
}

static const char *ask(const stage *s, const char *line, const char *headers,
                       const char *body) {
  int fd = connect_to(s);
  send_request(fd, line, headers, body);
  return receive_all(fd);
}

static bool is_answer(const char *answer, int status, const char *piece) {
  bool good = answer[0] && atoi(answer + 9) == status && strstr(answer, piece);
  if (!good) printf("  not %d with %s: %s\n", status, piece, answer);
  return good;
}

typedef struct row {
  const char *line, *headers, *body;
  int status;
  const char *piece; /* contained in the response */
} row;

static void check_rows(const stage *s, const row *rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const row *r = &rows[i];
    if (!CHECK(is_answer(ask(s, r->line, r->headers, r->body), r->status, r->piece)))
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
  TEST("what goes well");
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
  TEST("what does not");
  check(s, "find", "new", NULL, NULL, LEAT_NOT_FOUND, 60003);
  check(s, "delete", "new", NULL, NULL, LEAT_NOT_FOUND, 60003);
  check(s, "find", "off", NULL, NULL, LEAT_INACTIVE, 60004);
  check(s, "create", "free", NULL, NULL, LEAT_ALREADY_EXISTS, 60006);
  check(s, "unlink", "free", NULL, NULL, LEAT_NOT_LINKED, 60011);
  check(s, "link", "linked", "contact_uuid", "bob", LEAT_ALREADY_LINKED, 60014);
  check(s, "link", "free", "contact_uuid", "nobody", LEAT_CONTACT_NOT_FOUND, 55031);
}

static void test_other_doors(const stage *s) {
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
  TEST("whose key it is");
  call = leat_call_new(s->client, leat_operation("client", "check"));
  leat_curl_perform(s->curl, call);
  CHECK(leat_json_type(leat_json_get(leat_call_data(call), "uuid")) == LEAT_STRING);
  CHECK(leat_json_type(leat_json_get(leat_call_data(call), "id")) == LEAT_INTEGER);
  leat_call_free(call);
}

static void test_raw(void) {
#define CARDS BASE "/contact-identifiers"
#define LIST  "/contact-identifiers"
  static const row rows[] = {
      {"GET /", AUTH, "", 404, "The route could not be found."},
      {"GET " BASE "/", AUTH, "", 404, "\"message\""},
      {"GET //api/v3/oauth/clients", AUTH, "", 404, "\"message\""},
      {"GET " BASE "/contacts/find/a?email=a", AUTH, "", 404, "\"message\""},
      {"GET " BASE "/contacts//contact-identifiers", AUTH, "", 404, "\"message\""},
      {"GET " BASE "/contacts/a/b/contact-identifiers", AUTH, "", 404, "\"message\""},
      {"PUT " BASE, AUTH, "", 405, "\"message\""},
      {"POST " CARDS "/find", AUTH, "", 405, "\"message\""},
      {"GET " BASE, ACCEPT, "", 401, "{\"message\":\"Unauthenticated.\"}"},
      {"GET " BASE, AUTH, "", 200, "\"company\""},
      {"GET " BASE "/contacts/bob" LIST, AUTH, "", 200, "{\"data\":[],\"meta\":[]}"},
      {"GET " BASE "/contacts/%62ob" LIST, AUTH, "", 200, "{\"data\":[]"},
      {"GET " BASE "/contacts/a+b" LIST, AUTH, "", 200, "{\"data\":[]"},
      {"GET " BASE "/contacts/eve" LIST, AUTH, "", 400, "\"code\":55031"},
      {"GET " CARDS "/find", AUTH, "", 400,
       "\"errors\":{\"contact_identifier_value\":[\"The contact identifier value field "
       "is required.\"]}"},
      /* names are URL-encoded like values; + is a space */
      {"GET " CARDS "/find?contact%5Fidentifier%5fvalue=f%72ee", AUTH, "", 200,
       "\"free\""},
      {"GET " CARDS "/find?contact_identifier_value=fr+ee", AUTH, "", 400, "60003"},
      {"GET " CARDS "/find?contact_identifier_value=a&contact_identifier_value=b", AUTH,
       "", 400, "given twice"},
      {"GET " CARDS "/find?contact_identifier_value=%ff", AUTH, "", 400, "required"},
      {"GET " CARDS "/find?contact_identifier_value=a%00b", AUTH, "", 400, "a string"},
      {"GET " CARDS "/find?%ff=1&contact_identifier_value=free", AUTH, "", 400, "UTF-8"},
      /* forms, which the official client sends, and JSON */
      {"POST " CARDS, AUTH FORM,
       "contact_identifier_value=f%26m&contact_identifier_name=A+B&contact_uuid=bob", 200,
       "{\"name\":\"A "
       "B\",\"value\":\"f&m\",\"active\":true,\"contact\":{\"uuid\":\"bob\","
       "\"email\":null}}"},
      {"PUT " CARDS, AUTH FORM,
       "contact_identifier_value=f%26m&contact_identifier_active=0", 200,
       "\"active\":false"},
      {"PUT " CARDS, AUTH FORM,
       "contact_identifier_value=f%26m&contact_identifier_active=1", 200,
       "\"active\":true"},
      {"PUT " CARDS, AUTH FORM,
       "contact_identifier_value=f%26m&contact_identifier_active=true", 400,
       "must be true or false"},
      {"PUT " CARDS, AUTH JSON,
       "{\"contact_identifier_value\":\"f&m\",\"contact_identifier_active\":\"1\"}", 400,
       "must be true or false"},
      {"PUT " CARDS "/unlink", AUTH FORM, "contact_identifier_value=f%26m", 200,
       "\"contact\":null"},
      {"DELETE " CARDS "?contact_identifier_value=f%26m", AUTH FORM,
       "contact_identifier_value=f%26m", 200, "{\"data\":null,\"meta\":[]}"},
      {"DELETE " CARDS "?contact_identifier_value=free", AUTH FORM,
       "contact_identifier_value=linked", 400, "given twice, differently"},
      {"DELETE " CARDS "?contact_identifier_value=off", AUTH, "", 200, "null"},
      {"POST " CARDS, AUTH JSON, "{\"contact_identifier_value\":1}", 400, "a string"},
      {"POST " CARDS, AUTH JSON, "{\"contact_identifier_value\":null}", 400, "required"},
      {"POST " CARDS, AUTH JSON, "{\"contact_identifier_value\":\"\"}", 400, "required"},
      {"POST " CARDS, AUTH JSON, "[]", 400, "must be a JSON object"},
      {"POST " CARDS, AUTH JSON, "{", 400, "must be a JSON object"},
      {"POST /oauth/token?grant_type=client_credentials", AUTH, "", 400, "unsupported"},
      {"PUT " CARDS "/link", AUTH FORM, "contact_identifier_value=free", 400,
       "The contact uuid field is required."},
  };
  stage s = open_stage((leat_sandbox_config){0});
  TEST("requests that the client does not send");
  check_rows(&s, rows, sizeof rows / sizeof rows[0]);
  const char *answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(strstr(answer, "X-RateLimit-Limit: 5000\r\n") != NULL);
  CHECK(strstr(answer, "Content-Type: application/json\r\n") != NULL);
  CHECK(strstr(answer, "Retry-After") == NULL);
  close_stage(&s);
}

/* Other clients send no Accept header, and those in PHP and Postman other types of
** bodies. */
static void test_plain(void) {
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
  stage s = open_stage((leat_sandbox_config){0});
  TEST("requests that do not ask for JSON");
  check_rows(&s, rows, sizeof rows / sizeof rows[0]);
  close_stage(&s);
}

#define PARTS        "Content-Type: multipart/form-data; boundary=xYz\r\n"
#define PART(name)   "--xYz\r\nContent-Disposition: form-data; name=\"" name "\"\r\n"
#define END_OF_PARTS "--xYz--\r\n"

static void test_bodies(void) {
  static const row rows[] = {
      {"POST " CARDS, AUTH PARTS,
       PART("contact_identifier_value") "\r\na\r\nb&c=1\r\n" PART(
           "contact_uuid") "Content-Length: 3\r\n\r\nbob\r\n" END_OF_PARTS,
       200, "\"value\":\"a\\r\\nb&c=1\",\"active\":true,\"contact\":{\"uuid\":\"bob\""},
      {"PUT " CARDS, AUTH "Content-Type: multipart/form-data; boundary=\"x Y\"\r\n",
       "ignored\r\n--x Y\r\nContent-Disposition: form-data; "
       "name=\"contact_identifier_value\"\r\n\r\nfree\r\n--x Y\r\n"
       "Content-Disposition: form-data; name=\"contact_identifier_active\"\r\n\r\n0\r\n"
       "--x Y--",
       400, "must be multipart"},
      {"PUT " CARDS, AUTH PARTS,
       PART("contact_identifier_value") "\r\nfree\r\n" PART(
           "contact_identifier_active") "\r\n0\r\n" END_OF_PARTS "behind it",
       200, "\"active\":false"},
      {"DELETE " CARDS, AUTH "Content-Type: multipart/form-data; boundary=\"xYz\"\r\n",
       PART("contact_identifier_value") "\r\nfree\r\n" END_OF_PARTS, 200, "null"},
      {"POST " CARDS, AUTH PARTS,
       PART("contact_identifier_value\"; filename=\"f") "\r\nx\r\n" END_OF_PARTS, 400,
       "required"},
      {"POST " CARDS, AUTH PARTS,
       PART("contact_identifier_value") "\r\n\r\n" END_OF_PARTS, 400, "required"},
      {"POST " CARDS, AUTH PARTS, PART("\xff") "\r\nx\r\n" END_OF_PARTS, 400, "UTF-8"},
      {"POST " CARDS, AUTH PARTS, "--xYz\r\n\r\nx\r\n" END_OF_PARTS, 400, "required"},
      {"POST " CARDS, AUTH PARTS, PART("contact_identifier_value") "\r\nx", 400,
       "must be multipart"},
      {"POST " CARDS, AUTH PARTS, "x", 400, "must be multipart"},
      {"POST " CARDS, AUTH "Content-Type: multipart/form-data\r\n", "x", 400,
       "must be multipart"},
      {"POST " CARDS, AUTH "Content-Type: multipart/form-data; boundary=\r\n", "x", 400,
       "must be multipart"},
      /* all in the query, or some in the query and some in the body */
      {"POST " CARDS "?contact_identifier_value=q&contact_uuid=bob", AUTH, "", 200,
       "{\"name\":\"q\",\"value\":\"q\",\"active\":true,\"contact\":{\"uuid\":\"bob\""},
      {"PUT " CARDS "/unlink?contact_identifier_value=q", AUTH, "", 200,
       "\"contact\":null"},
      {"PUT " CARDS "/link?contact_identifier_value=q", AUTH JSON,
       "{\"contact_uuid\":\"" ANN "\"}", 200, ANN},
      {"PUT " CARDS "?contact_identifier_value=q", AUTH FORM, "contact_identifier_name=N",
       200, "{\"name\":\"N\",\"value\":\"q\""},
      {"PUT " CARDS "/link?contact_identifier_value=q", AUTH FORM,
       "contact_identifier_value=r&contact_uuid=bob", 400, "given twice, differently"},
  };
  stage s = open_stage((leat_sandbox_config){0});
  TEST("bodies of each type, and parameters in the query");
  check_rows(&s, rows, sizeof rows / sizeof rows[0]);
  close_stage(&s);
}

static void test_names(const stage *s) {
  TEST("a card without a name of its own has its value as its name");
  static const row rows[] = {
      {"POST " CARDS, AUTH FORM, "contact_identifier_value=0042", 200,
       "{\"name\":\"0042\",\"value\":\"0042\""},
      {"POST " CARDS, AUTH JSON,
       "{\"contact_identifier_value\":\"0043\",\"contact_identifier_name\":null}", 200,
       "{\"name\":\"0043\",\"value\":\"0043\""},
      {"POST " CARDS, AUTH FORM,
       "contact_identifier_value=0044&contact_identifier_name=Gold", 200,
       "{\"name\":\"Gold\",\"value\":\"0044\""},
      {"GET " CARDS "/find?contact_identifier_value=free", AUTH, "", 200,
       "{\"name\":\"free\",\"value\":\"free\""},
      {"GET " CARDS "/find?contact_identifier_value=linked", AUTH, "", 200,
       "{\"name\":\"N\",\"value\":\"linked\""},
  };
  check_rows(s, rows, sizeof rows / sizeof rows[0]);
}

static void test_contacts(const stage *s) {
#define ANN_JSON                                                                         \
  "{\"data\":{\"uuid\":\"" ANN "\",\"email\":\"ann@example.org\","                       \
  "\"credit_balance\":{\"balance\":12}},\"meta\":[]}"
  static const char other[] =
      "GET " BASE "/contacts/find-or-create?email=eve%40example.org";
  static const row rows[] = {
      {"GET " BASE "/contacts/" ANN, AUTH, "", 200, ANN_JSON},
      {"GET " BASE "/contacts/nobody", AUTH, "", 400, "\"code\":55031"},
      {"GET " BASE "/contacts/find-one-by?email=ann%40example.org", AUTH, "", 200,
       ANN_JSON},
      {"GET " BASE "/contacts/find-one-by?email=eve%40example.org", AUTH, "", 400,
       "\"code\":55031"},
      {"GET " BASE "/contacts/find-one-by", AUTH, "", 400,
       "The email field is required."},
      {"POST " BASE "/contacts/find-one-by", AUTH, "", 405, "\"message\""},
      {"GET " BASE "/contacts/find-or-create?email=ann%40example.org", AUTH, "", 200,
       ANN_JSON},
      {"POST " BASE "/contacts/anonymous", AUTH, "contact_identifier_value=free", 400,
       "must be a JSON object"},
      {"POST " BASE "/contacts/anonymous", AUTH FORM, "contact_identifier_value=free",
       400, "\"code\":60006"},
  };
  char uuid[64], line[160];
  TEST("contacts");
  check_rows(s, rows, sizeof rows / sizeof rows[0]);
  const char *answer = ask(s, other, AUTH, "");
  CHECK(is_answer(answer, 200, "\"email\":\"eve@example.org\""));
  const char *found = strstr(answer, "{\"uuid\":\"");
  snprintf(uuid, sizeof uuid, "%.36s", found ? found + 9 : "");
  CHECK(uuid[8] == '-' && uuid[14] == '4' && uuid[23] == '-' && strlen(uuid) == 36);
  CHECK(is_answer(ask(s, other, AUTH, ""), 200, uuid)); /* it exists now */
  snprintf(line, sizeof line, "GET " BASE "/contacts/%s", uuid);
  CHECK(is_answer(ask(s, line, AUTH, ""), 200, "\"email\":\"eve@example.org\""));
  TEST("contacts of nobody in particular");
  answer = ask(s, "POST " BASE "/contacts/anonymous", AUTH FORM,
               "contact_identifier_value=till");
  CHECK(is_answer(answer, 200, "\"email\":null}"));
  CHECK(strstr(answer, uuid) == NULL);
  found = strstr(answer, "{\"uuid\":\"");
  snprintf(uuid, sizeof uuid, "%.36s", found ? found + 9 : "");
  CHECK(has_card(s, "till", uuid));
  CHECK(is_answer(ask(s, "POST " BASE "/contacts/anonymous", AUTH, ""), 200, "uuid"));
  CHECK(leat_json_size(leat_sandbox_all_cards(s->sandbox)) == 4);
  leat_sandbox_reset(s->sandbox);
  CHECK(is_answer(ask(s, line, AUTH, ""), 400, "\"code\":55031"));
  CHECK(!has_card(s, "till", NULL));
}

static void test_contact_faults(const stage *s) {
  static const char find[] = "GET " BASE "/contacts/find-one-by?email=e";
  static const char make[] = "GET " BASE "/contacts/find-or-create?email=e";
  leat_sandbox_request request;
  leat_sandbox_reset(s->sandbox);
  TEST("faults of contacts");
  add(s, (leat_sandbox_fault){.operation = "contacts.find_or_create", .status = 503});
  add(s, (leat_sandbox_fault){
             .operation = "contacts.find_or_create", .status = 503, .apply = true});
  CHECK(is_answer(ask(s, make, AUTH, ""), 503, ""));
  CHECK(is_answer(ask(s, find, AUTH, ""), 400, "55031"));
  CHECK(is_answer(ask(s, make, AUTH, ""), 503, ""));
  CHECK(is_answer(ask(s, find, AUTH, ""), 200, "\"email\":\"e\""));
  CHECK(is_answer(ask(s, make, AUTH, ""), 200, "\"email\":\"e\""));
  static const bool changed[] = {false, false, true, false, false};
  for (size_t i = 0; i < 5; i++)
    CHECK(leat_sandbox_request_at(s->sandbox, i, &request) &&
          request.changed == changed[i]);
  leat_sandbox_reset(s->sandbox);
  add(s, (leat_sandbox_fault){.operation = "contacts.create_anonymous",
                              .close = LEAT_SANDBOX_CLOSE_BEFORE,
                              .apply_after_ms = 200});
  CHECK_STR(ask(s, "POST " BASE "/contacts/anonymous", AUTH FORM,
                "contact_identifier_value=late"),
            "");
  CHECK(!has_card(s, "late", NULL));
  sleep_ms(220);
  CHECK(has_card(s, "late", NULL));
  leat_sandbox_reset(s->sandbox);
}

static void test_idempotent_unlink(void) {
  static const char unlink[] = "PUT " CARDS "/unlink?contact_identifier_value=free";
  stage s = open_stage((leat_sandbox_config){.idempotent_unlink = true});
  TEST("unlinking a card that is not linked may succeed");
  CHECK(is_answer(ask(&s, unlink, AUTH, ""), 200, "\"value\":\"free\""));
  CHECK(!last_request(&s).changed);
  check(&s, "unlink", "linked", NULL, NULL, LEAT_OK, 0);
  check(&s, "unlink", "linked", NULL, NULL, LEAT_OK, 0);
  check(&s, "unlink", "nowhere", NULL, NULL, LEAT_NOT_FOUND, 60003);
  close_stage(&s);
  s = open_stage((leat_sandbox_config){0});
  CHECK(is_answer(ask(&s, unlink, AUTH, ""), 400, "60011"));
  close_stage(&s);
}

static void test_large(void) {
  stage s = open_stage((leat_sandbox_config){0});
  char head[256], *body = calloc(1, 1100001);
  TEST("a body that is too large");
  memset(body, 'x', 1100000);
  int fd = connect_to(&s);
  int length = snprintf(head, sizeof head,
                        "POST " CARDS " HTTP/1.1\r\nHost: s\r\nConnection: close\r\n" AUTH
                        "Content-Length: 1100000\r\n\r\n");
  CHECK(send(fd, head, (size_t)length, MSG_NOSIGNAL) == length);
  CHECK(send(fd, body, 1100000, MSG_NOSIGNAL) == 1100000);
  CHECK(is_answer(receive_all(fd), 413, "Payload Too Large"));
  free(body);
  close_stage(&s);
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
    const char *answer = ask(&s, "GET " BASE, AUTH, "");
    CHECK_STR(answer + strlen(answer) - strlen(rows[i].end), rows[i].end);
    check(&s, "find", "free", NULL, NULL, LEAT_OK, 0);
    close_stage(&s);
  }
}

static void test_tls(void) {
  stage s = open_stage((leat_sandbox_config){.tls = true});
  leat_curl *trusting = leat_curl_new(NULL, NULL);
  stage other = {s.sandbox, s.client, trusting, 0};
  test_operations(&s);
  TEST("a certificate that nobody vouches for");
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

#define GRANT "grant_type=client_credentials&client_id=sandbox-client"

/* Writes Accept and "Authorization: Bearer TOKEN\r\n" with the token of the response. */
static void take_token(const char *answer, char *headers, size_t size) {
  static const char name[] = "\"access_token\":\"";
  const char *token = strstr(answer, name);
  CHECK(token != NULL);
  token = token ? token + sizeof name - 1 : "";
  snprintf(headers, size, ACCEPT "Authorization: Bearer %.*s\r\n",
           (int)strcspn(token, "\""), token);
}

static void test_token_errors(const stage *s) {
  static const row rows[] = {
      {"POST /oauth/token", FORM, GRANT "&client_secret=wrong", 401,
       "\"error\":\"invalid_client\""},
      {"POST /oauth/token", FORM,
       "grant_type=client_credentials&client_id=x&client_secret=sandbox-secret", 401,
       "\"error\":\"invalid_client\""},
      {"POST /oauth/token", FORM, GRANT, 400, "\"error\":\"invalid_request\""},
      {"POST /oauth/token", FORM, "client_id=a&client_secret=b", 400,
       "\"error\":\"unsupported_grant_type\""},
      {"POST /oauth/token", "", "", 400, "\"message\""},
      {"POST /oauth/token", JSON, "{", 400, "\"error\""},
      {"GET /oauth/token", AUTH, "", 405, "\"message\""},
      {"POST /oauth/token", JSON,
       "{\"grant_type\":\"client_credentials\",\"client_id\":17,\"client_secret\":"
       "\"x\"}",
       401, "\"error\":\"invalid_client\""},
      {"GET " BASE, ACCEPT "Authorization: Bearer token|0\r\n", "", 401, "Unauthenti"},
      {"GET " BASE, ACCEPT "Authorization: " KEY "\r\n", "", 401, "Unauthenticated."},
  };
  TEST("what the token endpoint refuses");
  check_rows(s, rows, sizeof rows / sizeof rows[0]);
}

static void test_tokens(void) {
  stage s = open_stage((leat_sandbox_config){.token_lifetime_ms = 400});
  char one[256], two[256];
  TEST("tokens");
  CHECK(strstr(leat_sandbox_token_url(s.sandbox), "/oauth/token") != NULL);
  test_token_errors(&s);
  const char *answer =
      ask(&s, "POST /oauth/token", FORM, GRANT "&client_secret=sandbox-secret");
  CHECK(is_answer(answer, 200, "{\"token_type\":\"Bearer\",\"expires_in\":1,"));
  CHECK(strstr(answer, "X-RateLimit") == NULL);
  take_token(answer, one, sizeof one);
  sleep_ms(250);
  answer = ask(&s, "POST /oauth/token", JSON,
               "{\"grant_type\":\"client_credentials\",\"client_id\":\"sandbox-client\","
               "\"client_secret\":\"sandbox-secret\"}");
  take_token(answer, two, sizeof two);
  CHECK(strcmp(one, two) != 0);
  TEST("several are valid at a time, each for its own");
  CHECK(is_answer(ask(&s, "GET " BASE, one, ""), 200, "uuid"));
  CHECK(is_answer(ask(&s, "GET " BASE, two, ""), 200, "uuid"));
  sleep_ms(200);
  CHECK(is_answer(ask(&s, "GET " BASE, one, ""), 401, "Unauthenticated."));
  CHECK(is_answer(ask(&s, "GET " BASE, two, ""), 200, "uuid"));
  TEST("all at once");
  leat_sandbox_expire_tokens(s.sandbox);
  CHECK(is_answer(ask(&s, "GET " BASE, two, ""), 401, "Unauthenticated."));
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 200, "uuid"));
  close_stage(&s);
}

static void test_numeric_id(void) {
  static const row rows[] = {
      {"POST /oauth/token", JSON,
       "{\"grant_type\":\"client_credentials\",\"client_id\":1234567890123,"
       "\"client_secret\":\"sandbox-secret\"}",
       200, "access_token"},
      {"POST /oauth/token", JSON,
       "{\"grant_type\":\"client_credentials\",\"client_id\":\"1234567890123\","
       "\"client_secret\":\"sandbox-secret\"}",
       200, "access_token"},
      {"POST /oauth/token", FORM,
       "grant_type=client_credentials&client_id=1234567890123"
       "&client_secret=sandbox-secret",
       200, "access_token"},
      {"POST /oauth/token", PARTS,
       PART("grant_type") "\r\nclient_credentials\r\n" PART(
           "client_id") "\r\n1234567890123\r\n" PART("client_secret") "\r\nsandbox-"
                                                                      "secret\r"
                                                                      "\n" END_OF_PARTS,
       200, "access_token"},
  };
  leat_sandbox_request request;
  stage s = open_stage((leat_sandbox_config){.client_id = "1234567890123"});
  TEST("client ids are numbers");
  check_rows(&s, rows, sizeof rows / sizeof rows[0]);
  for (size_t i = 0; i < 4; i++) {
    CHECK(leat_sandbox_request_at(s.sandbox, i, &request));
    CHECK_STR(request.body.data, "grant_type=client_credentials&client_id=1234567890123"
                                 "&client_secret=[secret]");
  }
  close_stage(&s);
}

/* ---- the record ------------------------------------------------------------------ */

static void test_record(const stage *s) {
  leat_sandbox_request request;
  TEST("what it received");
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

static void test_secrets(void) {
  stage s = open_stage((leat_sandbox_config){0});
  leat_sandbox_request request;
  TEST("no token and no secret stands in the record");
  ask(&s, "GET " BASE, ACCEPT "aUTHORIZATION: Bearer " KEY "\r\n", "");
  ask(&s, "POST /oauth/token", FORM, GRANT "&client%5Fsecret=sandbox-secre%74&a=b");
  ask(&s, "POST /oauth/token", JSON, "{\"client_secret\":\"sandbox-secret\"}");
  ask(&s, "POST /oauth/token", JSON, "{\"client_secret\":\"sandbox-secret\"");
  for (size_t i = 0; leat_sandbox_request_at(s.sandbox, i, &request); i++)
    CHECK(!holds(&request, "canary-8") && !holds(&request, "sandbox-secre"));
  CHECK(leat_sandbox_request_at(s.sandbox, 1, &request) && request.status == 200);
  CHECK_STR(request.body.data, GRANT "&client_secret=[secret]&a=b");
  CHECK_STR(request.operation.data, "token");
  close_stage(&s);
}

/* ---- faults ---------------------------------------------------------------------- */

static int status_of(const stage *s, const char *value) {
  char line[128];
  snprintf(line, sizeof line, "GET " CARDS "/find?contact_identifier_value=%s", value);
  const char *answer = ask(s, line, AUTH, "");
  return answer[0] ? atoi(answer + 9) : 0;
}

static void test_which(void) {
  stage s = open_stage((leat_sandbox_config){0});
  TEST("which requests a fault hits");
  CHECK(status_of(&s, "free") == 200);
  int number = add(
      &s, (leat_sandbox_fault){.operation = "find", .nth = 2, .times = 2, .status = 500});
  CHECK(number == 1);
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 200, "uuid"));
  CHECK(status_of(&s, "free") == 200);
  CHECK(status_of(&s, "free") == 500);
  CHECK(last_request(&s).fault == 1 && last_request(&s).status == 500);
  CHECK(status_of(&s, "free") == 500);
  CHECK(status_of(&s, "free") == 200);
  CHECK(last_request(&s).fault == 0);
  TEST("those about one card");
  add(&s,
      (leat_sandbox_fault){.value = "free", .status = 501, .times = LEAT_SANDBOX_ALWAYS});
  CHECK(status_of(&s, "linked") == 200);
  CHECK(status_of(&s, "free") == 501);
  TEST("each counts for itself");
  add(&s, (leat_sandbox_fault){.value = "linked", .status = 503});
  add(&s, (leat_sandbox_fault){.value = "linked", .nth = 2, .status = 504});
  CHECK(status_of(&s, "linked") == 503);
  CHECK(status_of(&s, "linked") == 504);
  TEST("several for one operation form a queue");
  add(&s, (leat_sandbox_fault){.operation = "check", .status = 500, .times = 2});
  add(&s, (leat_sandbox_fault){.operation = "check", .status = 501});
  add(&s, (leat_sandbox_fault){.operation = "check", .nth = 5, .status = 503});
  add(&s, (leat_sandbox_fault){.operation = "check", .status = 502});
  static const int queue[] = {500, 500, 501, 502, 503, 200};
  for (size_t i = 0; i < sizeof queue / sizeof queue[0]; i++)
    CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), queue[i], ""));
  TEST("the first given hits");
  add(&s, (leat_sandbox_fault){.value = "free", .status = 502});
  CHECK(status_of(&s, "free") == 501);
  leat_sandbox_clear_faults(s.sandbox);
  CHECK(status_of(&s, "free") == 200);
  TEST("every request, also of no operation");
  add(&s, (leat_sandbox_fault){.status = 503, .times = 3});
  CHECK(is_answer(ask(&s, "GET /nowhere", "", ""), 503, "Be right back."));
  CHECK(is_answer(ask(&s, "POST /oauth/token", FORM, GRANT), 503, "text/html"));
  CHECK(is_answer(ask(&s, "GET " BASE, ACCEPT, ""), 503, "text/html"));
  CHECK(status_of(&s, "free") == 200);
  close_stage(&s);
}

static void test_answers(void) {
  static const leat_header headers[] = {{{"content-type", 12}, {"text/plain", 10}},
                                        {{"X-Trace", 7}, {"abc", 3}}};
  stage s = open_stage((leat_sandbox_config){0});
  const char *answer;
  TEST("what a fault answers");
  add(&s,
      (leat_sandbox_fault){
          .status = 404, .headers = headers, .header_count = 2, .body = leat_s("gone")});
  answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_answer(answer, 404, "\r\n\r\ngone"));
  CHECK(strstr(answer, "content-type: text/plain\r\n") &&
        strstr(answer, "X-Trace: abc\r\n"));
  CHECK(strstr(answer, "application/json") == NULL);
  CHECK(strstr(answer, "X-RateLimit-Limit: 5000") != NULL);
  add(&s, (leat_sandbox_fault){.kind = "rate_limited", .nth = 1});
  answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_answer(answer, 429, "Retry-After: 1\r\n"));
  CHECK(strstr(answer, "X-RateLimit-Reset: ") &&
        strstr(answer, "X-RateLimit-Remaining: 0"));
  add(&s, (leat_sandbox_fault){.kind = "maintenance", .retry_after_s = 7, .status = 599});
  answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_answer(answer, 599, "Retry-After: 7\r\n") && strstr(answer, "Be right back."));
  CHECK(strstr(answer, "X-RateLimit-Reset") == NULL);
  add(&s, (leat_sandbox_fault){.status = 429});
  answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_answer(answer, 429, "Too Many Attempts.") && !strstr(answer, "Retry-After"));
  CHECK(strstr(answer, "X-RateLimit-Reset") == NULL);
  TEST("what is set wins over the kind");
  add(&s, (leat_sandbox_fault){.kind = "timeout", .delay_ms = 1});
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 200, "uuid"));
  add(&s, (leat_sandbox_fault){.kind = "connection", .close = LEAT_SANDBOX_CLOSE_WITHIN});
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 200, "{\"data\""));
  add(&s, (leat_sandbox_fault){.code = 7002});
  CHECK(
      is_answer(ask(&s, "GET " BASE, "", ""), 400,
                "{\"message\":\"Account inactive.\",\"code\":7002,\"status_code\":400}"));
  add(&s, (leat_sandbox_fault){.code = 99, .status = 418});
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 418, "\"code\":99"));
  add(&s, (leat_sandbox_fault){.status = 504});
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 504, "Content-Length: 0\r\n"));
  TEST("only the looks of an answer");
  add(&s, (leat_sandbox_fault){.operation = "delete", .body = leat_s("{\"data\":[]}")});
  check(&s, "delete", "free", NULL, NULL, LEAT_OK, 0);
  CHECK(leat_sandbox_find_card(s.sandbox, leat_s("free")) == NULL);
  close_stage(&s);
}

/* Sends a request that a fault matches, and resets the sandbox. Returns whether it
** changed anything by the record; sets `is_there` to whether the sandbox then held the
** card. */
static bool changes(const stage *s, const char *line, const char *body, const char *value,
                    const char *uuid, bool *is_there) {
  leat_sandbox_request request;
  const char *answer = ask(s, line, AUTH FORM, body);
  CHECK(strstr(answer, "\"meta\":[]}") == NULL); /* no success */
  CHECK(leat_sandbox_request_at(s->sandbox, 0, &request) && request.fault == 1);
  bool changed = request.changed;
  *is_there = has_card(s, value, uuid);
  leat_sandbox_reset(s->sandbox);
  return changed;
}

/* A change that is applied or not, followed by each kind of failure. */
static void test_apply(void) {
  static const leat_sandbox_fault ways[] = {{.status = 500},
                                            {.code = 1000},
                                            {.kind = "maintenance"},
                                            {.status = 503},
                                            {.status = 503, .retry_after_s = 1},
                                            {.close = LEAT_SANDBOX_CLOSE_BEFORE},
                                            {.close = LEAT_SANDBOX_CLOSE_WITHIN}};
  for (size_t i = 0; i < 2 * sizeof ways / sizeof ways[0]; i++) {
    bool apply = i % 2, is;
    leat_sandbox_fault fault = ways[i / 2];
    fault.apply = apply;
    stage s = open_stage((leat_sandbox_config){.faults = &fault, .fault_count = 1});
    TEST("carried out or not, and then failed");
    CHECK(changes(&s, "POST " CARDS, "contact_identifier_value=new&contact_uuid=bob",
                  "new", "bob", &is) == apply);
    CHECK(is == apply);
    CHECK(changes(&s, "PUT " CARDS "/link",
                  "contact_identifier_value=free&contact_uuid=bob", "free", "bob",
                  &is) == apply);
    CHECK(is == apply);
    CHECK(changes(&s, "PUT " CARDS "/unlink", "contact_identifier_value=linked", "linked",
                  ANN, &is) == apply);
    CHECK(is == !apply);
    CHECK(changes(&s, "PUT " CARDS,
                  "contact_identifier_value=off&contact_identifier_active=1", "off", NULL,
                  &is) == apply);
    CHECK(is);
    CHECK(changes(&s, "DELETE " CARDS, "contact_identifier_value=free", "free", NULL,
                  &is) == apply);
    CHECK(is == !apply);
    close_stage(&s);
  }
}

static void test_apply_later(void) {
  stage s = open_stage((leat_sandbox_config){0});
  TEST("fails now, is carried out later");
  add(&s,
      (leat_sandbox_fault){.operation = "delete", .status = 504, .apply_after_ms = 900});
  add(&s, (leat_sandbox_fault){.operation = "create",
                               .apply_after_ms = 150,
                               .close = LEAT_SANDBOX_CLOSE_BEFORE});
  CHECK(ask(&s, "DELETE " CARDS "?contact_identifier_value=free", AUTH, "")[0] != '\0');
  CHECK_STR(ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=new"), "");
  CHECK(last_request(&s).status == 0 && !last_request(&s).changed);
  CHECK(status_of(&s, "new") == 400 && !has_card(&s, "new", NULL));
  CHECK(status_of(&s, "free") == 200);
  sleep_ms(180);
  CHECK(status_of(&s, "new") == 200);
  CHECK(status_of(&s, "free") == 200);
  sleep_ms(800);
  leat_sandbox_request request;
  CHECK(leat_sandbox_request_at(s.sandbox, 0, &request) && request.changed);
  CHECK(!has_card(&s, "free", NULL));
  TEST("is judged anew then");
  add(&s,
      (leat_sandbox_fault){.operation = "create", .status = 504, .apply_after_ms = 100});
  ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=late&contact_uuid=bob");
  ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=late&contact_uuid=" ANN);
  sleep_ms(120);
  CHECK(has_card(&s, "late", ANN));
  TEST("what is pending is forgotten by a reset");
  add(&s,
      (leat_sandbox_fault){.operation = "create", .status = 504, .apply_after_ms = 50});
  ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=never");
  leat_sandbox_reset(s.sandbox);
  sleep_ms(70);
  CHECK(!has_card(&s, "never", NULL) && has_card(&s, "free", NULL));
  CHECK(!leat_sandbox_request_at(s.sandbox, 0, &request));
  close_stage(&s);
}

static void test_lag(void) {
  stage s = open_stage((leat_sandbox_config){0});
  TEST("finds that see the past");
  add(&s, (leat_sandbox_fault){.times = LEAT_SANDBOX_ALWAYS, .lag_ms = 200});
  sleep_ms(210); /* so that the lag does not reach the start */
  ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=new&contact_uuid=bob");
  ask(&s, "DELETE " CARDS "?contact_identifier_value=free", AUTH, "");
  ask(&s, "PUT " CARDS "/unlink", AUTH FORM, "contact_identifier_value=linked");
  ask(&s, "PUT " CARDS "/link", AUTH FORM,
      "contact_identifier_value=linked&contact_uuid=bob");
  CHECK(status_of(&s, "new") == 400);
  CHECK(status_of(&s, "free") == 200);
  const char *list_bob = "GET " BASE "/contacts/bob/contact-identifiers";
  CHECK(is_answer(ask(&s, list_bob, AUTH, ""), 200, "{\"data\":[],"));
  CHECK(strstr(ask(&s, "GET " CARDS "/find?contact_identifier_value=linked", AUTH, ""),
               ANN) != NULL);
  TEST("but writes, and the test itself, see the present");
  CHECK(has_card(&s, "new", "bob") && has_card(&s, "linked", "bob"));
  CHECK(leat_json_size(leat_sandbox_all_cards(s.sandbox)) == 3);
  CHECK(is_answer(ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=new"), 400,
                  "60006"));
  sleep_ms(230);
  ask(&s, "DELETE " CARDS "?contact_identifier_value=new", AUTH, "");
  CHECK(status_of(&s, "new") == 200);
  CHECK(status_of(&s, "free") == 400);
  const char *answer = ask(&s, list_bob, AUTH, "");
  CHECK(strstr(answer, "\"default\":true}") && strstr(answer, "\"default\":false}"));
  close_stage(&s);
}

static void test_stale(void) {
  static const leat_sandbox_fault stale = {
      .operation = "find", .times = 2, .stale = true};
  stage s = open_stage((leat_sandbox_config){.faults = &stale, .fault_count = 1});
  TEST("finds that see what was when the fault was given");
  for (int i = 0; i < 2; i++) { /* again after a reset */
    ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=new");
    ask(&s, "DELETE " CARDS "?contact_identifier_value=free", AUTH, "");
    CHECK(status_of(&s, "new") == 400);
    CHECK(is_answer(ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=new"),
                    400, "60006"));
    CHECK(status_of(&s, "free") == 200);
    CHECK(status_of(&s, "free") == 400);
    CHECK(status_of(&s, "new") == 200);
    CHECK(last_request(&s).fault == 0);
    leat_sandbox_reset(s.sandbox);
  }
  leat_sandbox_clear_faults(s.sandbox);
  ask(&s, "DELETE " CARDS "?contact_identifier_value=free", AUTH, "");
  add(&s, stale);
  ask(&s, "POST " CARDS, AUTH FORM, "contact_identifier_value=free");
  CHECK(status_of(&s, "free") == 400);
  CHECK(status_of(&s, "free") == 400);
  CHECK(status_of(&s, "free") == 200);
  close_stage(&s);
}

/* ---- waiting --------------------------------------------------------------------- */

static void test_delay(void) {
  stage s = open_stage((leat_sandbox_config){0});
  TEST("an answer that comes late keeps nobody else waiting");
  add(&s, (leat_sandbox_fault){.operation = "delete", .delay_ms = 300});
  int64_t start = now_ms();
  int fd = connect_to(&s);
  send_request(fd, "DELETE " CARDS "?contact_identifier_value=free", AUTH, "");
  while (last_request(&s).status == -1 && now_ms() - start < 2000)
    sleep_ms(1);
  CHECK(status_of(&s, "linked") == 200);
  CHECK(!has_card(&s, "free", NULL)); /* applied at once */
  CHECK(now_ms() - start < 250);
  CHECK(is_answer(receive_all(fd), 200, "\"data\":null"));
  CHECK(now_ms() - start >= 299 && now_ms() - start < 2000);
  TEST("a late close");
  add(&s, (leat_sandbox_fault){.delay_ms = 100, .close = LEAT_SANDBOX_CLOSE_BEFORE});
  start = now_ms();
  CHECK_STR(ask(&s, "GET " BASE, AUTH, ""), "");
  CHECK(now_ms() - start >= 99);
  close_stage(&s);
}

static void test_close(void) {
  stage s = open_stage((leat_sandbox_config){0});
  TEST("closed within the body");
  add(&s, (leat_sandbox_fault){.close = LEAT_SANDBOX_CLOSE_WITHIN,
                               .status = 200,
                               .body = leat_s("0123456789")});
  const char *answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_answer(answer, 200, "Content-Length: 10\r\n"));
  CHECK(strstr(answer, "\r\n\r\n01234") != NULL && strstr(answer, "012345") == NULL);
  add(&s, (leat_sandbox_fault){.close = LEAT_SANDBOX_CLOSE_WITHIN, .status = 504});
  answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_answer(answer, 504, "Content-Length: 1\r\n") &&
        strlen(strstr(answer, "\r\n\r\n")) == 4);
  close_stage(&s);
}

enum { WAITING = 32 };

/* Some requests wait forever, some for an hour; other clients have sent nothing, or a
** part. */
static void begin_waiting(const stage *s, int *fds, bool tls) {
  for (int i = 0; i < WAITING; i++) {
    fds[i] = connect_to(s);
    if (i % 4 == 0 && !tls)
      send_request(fds[i], "GET " CARDS "/find?contact_identifier_value=a", AUTH, "");
    if (i % 4 == 1 && !tls) send_request(fds[i], "GET " BASE, AUTH, "");
    if (i % 4 == 2) send(fds[i], tls ? "\x16\x03\x01" : "GET / HT", 3, MSG_NOSIGNAL);
  }
}

static void test_stop(bool tls) {
  stage s = open_stage((leat_sandbox_config){.tls = tls});
  leat_sandbox_request request = {0};
  size_t wanted = tls ? 1 : 1 + WAITING / 2;
  int fds[WAITING];
  TEST("stops at once, whoever waits");
  add(&s, (leat_sandbox_fault){
              .operation = "find", .times = LEAT_SANDBOX_ALWAYS, .kind = "timeout"});
  add(&s, (leat_sandbox_fault){.times = LEAT_SANDBOX_ALWAYS, .delay_ms = 3600000});
  leat_call *call = leat_call_new(s.client, leat_operation("client", "check"));
  CHECK(leat_curl_start(s.curl, call));
  begin_waiting(&s, fds, tls);
  for (int tries = 0;
       tries < 2000 && !leat_sandbox_request_at(s.sandbox, wanted - 1, &request); tries++)
    leat_curl_wait(s.curl, 1);
  CHECK(leat_sandbox_request_at(s.sandbox, wanted - 1, &request));
  for (size_t i = 0; leat_sandbox_request_at(s.sandbox, i, &request); i++)
    CHECK(request.status == (request.operation.data[0] == 'f' ? 0 : 200));
  int64_t start = now_ms();
  leat_sandbox_free(s.sandbox);
  CHECK(now_ms() - start < 500);
  for (int i = 0; i < WAITING; i++) { /* TLS may send an alert */
    const char *said = receive_all(fds[i]);
    CHECK(tls ? said[0] == '\0' || said[0] == 0x15 : said[0] == '\0');
  }
  leat_call_free(call);
  s.sandbox = NULL;
  close_stage(&s);
}

static void on_signal(int number) {
  (void)number;
}

/* Signals must be delivered to the program's own threads. */
static void test_signals(void) {
  stage s = open_stage((leat_sandbox_config){0});
  sigset_t set, before, pending;
  TEST("no signal goes to the sandbox's threads");
  check(&s, "find", "free", NULL, NULL, LEAT_OK, 0); /* its connection adds a thread */
  sigemptyset(&set);
  sigaddset(&set, SIGURG);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  signal(SIGURG, on_signal);
  kill(getpid(), SIGURG);
  sleep_ms(20);
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGURG) == 1);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  signal(SIGURG, SIG_DFL);
  close_stage(&s);
}

/* A client that disconnects frees its thread; otherwise 1000 of them would block the
** sandbox. */
static void test_gone(void) {
  stage s = open_stage((leat_sandbox_config){0});
  TEST("a client that leaves is not waited for");
  add(&s, (leat_sandbox_fault){
              .operation = "check", .times = LEAT_SANDBOX_ALWAYS, .kind = "timeout"});
  for (int i = 0; i < 1200; i++) {
    int fd = connect_to(&s);
    send_request(fd, "GET " BASE, AUTH, "");
    if (i % 100 == 0) sleep_ms(5);
    close(fd);
  }
  check(&s, "find", "free", NULL, NULL, LEAT_OK, 0);
  close_stage(&s);
}

/* ---- limits ---------------------------------------------------------------------- */

static void test_rate(void) {
  stage s = open_stage((leat_sandbox_config){.rate_limit = 3, .rate_window_ms = 600});
  TEST("a rate limit that is kept to");
  CHECK(strstr(ask(&s, "GET " BASE, AUTH, ""), "X-RateLimit-Limit: 3\r\n") != NULL);
  CHECK(strstr(ask(&s, "GET " BASE, ACCEPT, ""), "X-RateLimit-Remaining: 1\r\n") != NULL);
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 200, "X-RateLimit-Remaining: 0\r\n"));
  add(&s, (leat_sandbox_fault){.delay_ms = 1});
  const char *answer = ask(&s, "GET " BASE, AUTH, "");
  CHECK(is_answer(answer, 429, "{\"message\":\"Too Many Attempts.\"}"));
  CHECK(strstr(answer, "Retry-After: 1\r\n") && strstr(answer, "X-RateLimit-Reset: "));
  CHECK(is_answer(ask(&s, "POST /oauth/token", FORM, GRANT), 400, "error"));
  sleep_ms(620);
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 200, "X-RateLimit-Remaining: 2\r\n"));
  close_stage(&s);
}

static void test_reset(void) {
  leat_sandbox_fault fault = {.operation = "find", .status = 503};
  stage s = open_stage((leat_sandbox_config){.faults = &fault, .fault_count = 1});
  TEST("as it was when it started");
  CHECK(status_of(&s, "free") == 503);
  add(&s, (leat_sandbox_fault){
              .operation = "check", .status = 503, .times = LEAT_SANDBOX_ALWAYS});
  ask(&s, "DELETE " CARDS "?contact_identifier_value=free", AUTH, "");
  ask(&s, "PUT " CARDS, AUTH FORM,
      "contact_identifier_value=off&contact_identifier_active=1");
  CHECK(status_of(&s, "off") == 200);
  leat_sandbox_reset(s.sandbox);
  CHECK(status_of(&s, "free") == 503);
  CHECK(last_request(&s).fault == 1);
  CHECK(status_of(&s, "free") == 200);
  CHECK(status_of(&s, "off") == 400);
  CHECK(is_answer(ask(&s, "GET " BASE, AUTH, ""), 200, "uuid"));
  leat_sandbox_clear_faults(s.sandbox);
  CHECK(add(&s, fault) == 2); /* cleared faults keep their numbers */
  leat_sandbox_request request;
  CHECK(leat_sandbox_request_at(s.sandbox, 3, &request));
  CHECK(!leat_sandbox_request_at(s.sandbox, 4, &request));
  leat_sandbox_reset(s.sandbox);
  CHECK(status_of(&s, "free") == 503);
  close_stage(&s);
}

static void test_wrong_faults(void) {
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
  stage s = open_stage((leat_sandbox_config){0});
  leat_error error;
  TEST("faults that are none");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    CHECK(leat_sandbox_add_fault(s.sandbox, &rows[i].fault, &error) == 0);
    if (!CHECK(error.kind == LEAT_MISUSE && strstr(error.message, rows[i].why)))
      printf("  %s\n", error.message);
    CHECK(leat_sandbox_add_fault(s.sandbox, &rows[i].fault, NULL) == 0);
  }
  CHECK(status_of(&s, "free") == 200);
  leat_sandbox_fault both[] = {{.status = 500}, {.status = 1}};
  CHECK(leat_sandbox_new(&(leat_sandbox_config){.faults = both, .fault_count = 2},
                         &error) == NULL);
  CHECK(error.kind == LEAT_MISUSE && strstr(error.message, "faults 2: status must"));
  close_stage(&s);
}

static void refused(leat_sandbox_config config, const char *why) {
  leat_error error;
  CHECK(leat_sandbox_new(&config, &error) == NULL);
  if (!CHECK(error.kind == LEAT_CONFIG && strstr(error.message, why)))
    printf("  %s\n", error.message);
  CHECK(leat_sandbox_new(&config, NULL) == NULL);
}

static void test_refused(void) {
  leat_error error;
  leat_sandbox_card bad = {"v", NULL, "nobody", false};
  leat_sandbox_contact contact = {.uuid = "u", .more = "[1]"};
  TEST("what it can't start with");
  refused((leat_sandbox_config){.port = 70000}, "port");
  refused((leat_sandbox_config){.cards = &bad, .card_count = 1}, "names no contact");
  bad = (leat_sandbox_card){"\xFF", NULL, NULL, false};
  refused((leat_sandbox_config){.cards = &bad, .card_count = 1}, "UTF-8");
  refused((leat_sandbox_config){.contacts = &contact, .contact_count = 1}, "JSON object");
  contact = (leat_sandbox_contact){.email = "e"};
  refused((leat_sandbox_config){.contacts = &contact, .contact_count = 1}, "no uuid");
  contact = (leat_sandbox_contact){.uuid = ""};
  refused((leat_sandbox_config){.contacts = &contact, .contact_count = 1}, "no uuid");
  contact = (leat_sandbox_contact){.uuid = "u", .email = "\xFF"};
  refused((leat_sandbox_config){.contacts = &contact, .contact_count = 1}, "UTF-8");
  bad = (leat_sandbox_card){"", NULL, NULL, false};
  refused((leat_sandbox_config){.cards = &bad, .card_count = 1},
          "card \"\" has no value");
  leat_sandbox_card twice[] = {{"v", "N", NULL, false}, {"v", NULL, NULL, true}};
  refused((leat_sandbox_config){.cards = twice, .card_count = 2},
          "card \"v\" is given twice");
  leat_sandbox_contact same[] = {{.uuid = "u", .email = "a"}, {.uuid = "u"}};
  refused((leat_sandbox_config){.contacts = same, .contact_count = 2},
          "contact \"u\" is given twice");
  refused((leat_sandbox_config){.api_key = ""}, "must not be empty");
  refused((leat_sandbox_config){.client_id = ""}, "must not be empty");
  refused((leat_sandbox_config){.client_secret = ""}, "must not be empty");
  refused((leat_sandbox_config){.meta = "{"}, "meta is not JSON");
  refused((leat_sandbox_config){.rate_limit = -1}, "negative");
  leat_sandbox *first = leat_sandbox_new(NULL, NULL);
  int port = atoi(strrchr(leat_sandbox_url(first) + 6, ':') + 1);
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
    snprintf(body, sizeof body, "contact_identifier_value=%d", i);
    send_request(fd, "POST " CARDS, AUTH FORM, body);
    while (recv(fd, buffer, sizeof buffer, 0) > 0)
      ;
    close(fd);
    leat_sandbox_fault fault = {.operation = "check", .nth = 1000 + c->number};
    leat_sandbox_add_fault(c->stage->sandbox, &fault, NULL);
  }
  return NULL;
}

static void test_crowd(void) {
  stage s = open_stage((leat_sandbox_config){0});
  pthread_t threads[8];
  crowd crowds[8];
  TEST("eight at once: each card is created once");
  for (int i = 0; i < 8; i++) {
    crowds[i] = (crowd){&s, i};
    pthread_create(&threads[i], NULL, create_many, &crowds[i]);
  }
  for (int i = 0; i < 8; i++)
    pthread_join(threads[i], NULL);
  leat_sandbox_request request;
  int created = 0, received = 0;
  for (; leat_sandbox_request_at(s.sandbox, (size_t)received, &request); received++)
    created += request.changed;
  CHECK(received == 160 && created == 20);
  CHECK(leat_json_size(leat_sandbox_all_cards(s.sandbox)) == 23);
  close_stage(&s);
}

int main(void) {
  stage s = open_stage((leat_sandbox_config){0});
  test_operations(&s);
  test_record(&s);
  test_other_doors(&s);
  leat_sandbox_reset(s.sandbox);
  test_names(&s);
  leat_sandbox_reset(s.sandbox);
  test_contacts(&s);
  test_contact_faults(&s);
  close_stage(&s);
  test_tls();
  test_raw();
  test_plain();
  test_bodies();
  test_idempotent_unlink();
  test_large();
  test_meta();
  test_tokens();
  test_numeric_id();
  test_secrets();
  test_which();
  test_answers();
  test_apply();
  test_apply_later();
  test_lag();
  test_stale();
  test_delay();
  test_close();
  test_stop(false);
  test_stop(true);
  test_signals();
  test_gone();
  test_rate();
  test_reset();
  test_wrong_faults();
  test_refused();
  test_crowd();
  return test_summary("sandbox");
}
