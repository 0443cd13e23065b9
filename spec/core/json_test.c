/*
** json_test.c - JSON: what requests say of any text, beside jansson.
*/
#include "leat.h"
#include "test.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- writing --------------------------------------------------------------------- */

static const leat_moment now = {1000, 1700000000, 0};

/* Each character in turn, between two others, and all of them together. */
static void check_written(leat_client *client, const char *text) {
  leat_call *call =
      leat_call_new(client, leat_operation("contact_identifiers", "update"));
  leat_call_set(call, "contact_identifier_value", leat_s("0042"));
  leat_call_set(call, "contact_identifier_name", leat_s(text));
  leat_call_set_bool(call, "contact_identifier_active", false);
  json_t *same =
      json_pack("{s:s, s:s, s:b}", "contact_identifier_value", "0042",
                "contact_identifier_name", text, "contact_identifier_active", 0);
  char *wanted = json_dumps(same, JSON_COMPACT);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_string body = leat_call_request(call)->body;
  CHECK(body.length == strlen(wanted) && memcmp(body.data, wanted, body.length) == 0);
  free(wanted);
  json_decref(same);
  leat_call_free(call);
}

static void test_writing(void) {
  char all[128] = "", one[4] = "a?b";
  leat_client *client = leat_client_new(&(leat_config){.api_key = "key"}, NULL);
  TEST("what requests say of any text");
  for (int c = 1; c < 128; c++) {
    one[1] = all[c - 1] = (char)c;
    check_written(client, one);
  }
  check_written(client, all);
  check_written(client, "\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\"");
  leat_client_free(client);
}

int main(void) {
  test_writing();
  return test_summary("json");
}
