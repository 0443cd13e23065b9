/*
** sandbox_test.c - the sandbox from C, by the client over real HTTP and TLS.
*/
#include "leat_curl.h"
#include "leat_sandbox.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#define ANN "8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11"
#define KEY "1|sandbox-test-key"

static const leat_sandbox_contact contacts[] = {{ANN, "ann@example.org"}, {"bob", NULL}};
static const leat_sandbox_card cards[] = {
    {"linked", "N", ANN, false}, {"free", NULL, NULL, false}, {"off", NULL, NULL, true}};

typedef struct stage {
  leat_sandbox *sandbox;
  leat_client *client;
  leat_curl *curl;
} stage;

static void open_stage(stage *s, bool tls) {
  leat_sandbox_config config = {.api_key = KEY,
                                .contacts = contacts,
                                .contact_count = 2,
                                .cards = cards,
                                .card_count = 3,
                                .tls = tls};
  leat_error error;
  s->sandbox = leat_sandbox_new(&config, &error);
  if (!CHECK(s->sandbox != NULL)) printf("  %s\n", error.message);
  leat_config settings = {.api_key = KEY, .base_url = leat_sandbox_url(s->sandbox)};
  s->client = leat_client_new(&settings, NULL);
  s->curl = leat_curl_new(
      &(leat_curl_config){.ca_file = leat_sandbox_ca_file(s->sandbox)}, NULL);
}

static void close_stage(stage *s) {
  leat_curl_free(s->curl);
  leat_client_free(s->client);
  leat_sandbox_free(s->sandbox);
}

/* An operation with a value, and a parameter besides if there is a name for it. */
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

static void test_record(const stage *s) {
  leat_sandbox_request request;
  TEST("what it received");
  CHECK(leat_sandbox_request_at(s->sandbox, 12, &request));
  CHECK_STR(request.method.data, "PUT");
  CHECK_STR(request.target.data, "/api/v3/oauth/clients/contact-identifiers/link");
  CHECK_STR(request.body.data,
            "{\"contact_identifier_value\":\"free\",\"contact_uuid\":\"nobody\"}");
  CHECK(request.status == 400);
  CHECK(!leat_sandbox_request_at(s->sandbox, 13, &request));
  for (size_t i = 0; i < request.header_count; i++)
    CHECK(strstr(request.headers[i].value.data, "test-key") == NULL);
}

static void test_tls(const stage *s) {
  leat_curl *trusting = leat_curl_new(NULL, NULL);
  stage other = {s->sandbox, s->client, trusting};
  TEST("a certificate that nobody vouches for");
  check(&other, "find", "free", NULL, NULL, LEAT_TLS, 0);
  leat_curl_free(trusting);
}

static void test_refused(void) {
  leat_error error;
  leat_sandbox_card bad = {"v", NULL, "nobody", false};
  TEST("what it can't start with");
  CHECK(leat_sandbox_new(&(leat_sandbox_config){.port = 70000}, &error) == NULL);
  CHECK(error.kind == LEAT_CONFIG);
  CHECK(leat_sandbox_new(&(leat_sandbox_config){.cards = &bad, .card_count = 1}, NULL) ==
        NULL);
  bad = (leat_sandbox_card){"\xFF", NULL, NULL, false};
  CHECK(leat_sandbox_new(&(leat_sandbox_config){.cards = &bad, .card_count = 1}, NULL) ==
        NULL);
  leat_sandbox *first = leat_sandbox_new(NULL, NULL);
  int port = atoi(strrchr(leat_sandbox_url(first) + 6, ':') + 1);
  CHECK(leat_sandbox_new(&(leat_sandbox_config){.port = port}, &error) == NULL);
  CHECK(error.kind == LEAT_LOCAL && strstr(error.message, "listen") != NULL);
  leat_sandbox_free(first);
  leat_sandbox_free(NULL);
}

int main(void) {
  stage s;
  for (int tls = 0; tls < 2; tls++) {
    open_stage(&s, tls);
    test_operations(&s);
    if (tls == 0) test_record(&s);
    else test_tls(&s);
    close_stage(&s);
  }
  test_refused();
  return test_summary("sandbox");
}
