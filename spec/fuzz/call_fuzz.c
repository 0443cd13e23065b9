/*
** call_fuzz.c - codec, response and call: whatever a server sends, a call ends with a
** value that fits the request, or with one accurate error that contains no secret.
*/
#include "calls.h"
#include "seeds.h"

#define TOKEN "fuzz-token-4711"

enum { OPERATIONS = 8, CLOSES = 8 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  write_seeds(OPERATIONS, CLOSES);
  return 0;
}

/* The text must not contain any eight consecutive bytes of the token. */
static void check_secret(const char *text) {
  for (size_t i = 0; i + 8 <= sizeof TOKEN - 1; i++) {
    char piece[9] = "";
    memcpy(piece, &TOKEN[i], 8);
    MUST(strstr(text, piece) == NULL);
  }
}

static void check_error(const leat_call *call, const leat_op *op) {
  const leat_error *error = leat_call_error(call);
  char text[1024];
  leat_field field;
  MUST(error->kind > LEAT_OK && error->kind < LEAT_KINDS && error->kind != LEAT_MISUSE);
  MUST(error->message[0] != '\0' && !strpbrk(error->message, "\r\n\t\033"));
  MUST(!error->outcome_unknown || op->writes);
  MUST(error->status ||
       error->outcome_unknown == op->writes); /* no response: outcome unknown */
  check_secret(leat_error_text(error, text, sizeof text));
  for (size_t i = 0; leat_call_field(call, i, &field); i++) {
    check_secret(field.name.data);
    check_secret(field.message.data);
  }
  MUST(leat_call_data(call) == NULL);
}

static void check_value(const leat_call *call, const leat_op *op, leat_framing framing) {
  leat_contact_identifier card;
  bool is_card = leat_call_contact_identifier(call, &card);
  MUST(is_card == (op->result == LEAT_RESULT_CARD));
  MUST(!is_card || leat_same_value(card.value, leat_s("1")));
  MUST(op->result != LEAT_RESULT_NOTHING || framing != LEAT_CLOSE_DELIMITED);
  leat_type type = leat_json_type(leat_call_data(call));
  MUST(op->result != LEAT_RESULT_CARDS || type == LEAT_ARRAY);
  MUST(op->result != LEAT_RESULT_DATA || type == LEAT_OBJECT);
  for (size_t i = 0;
       op->result == LEAT_RESULT_CARDS && i < leat_json_size(leat_call_data(call)); i++)
    MUST(leat_json_contact_identifier(leat_json_at(leat_call_data(call), i), &card));
}

/* Reports the codec's result to the call, which must end. */
static void end_call(leat_call *call, leat_http1 *http, leat_http1_state state) {
  const char *detail;
  leat_kind kind = leat_http1_failure(http, &detail);
  if (state == LEAT_HTTP1_RESPONSE)
    leat_call_respond(call, now, leat_http1_response(http));
  else if (state == LEAT_HTTP1_FAILED)
    leat_call_fail(call, now, kind, LEAT_SENT_MAYBE, detail);
  else leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "late");
  MUST(leat_call_next(call, now) == LEAT_DONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  const leat_op *op = leat_operation_at(data[0] % OPERATIONS);
  /* a client for each input, because a pause must not affect the next one */
  leat_client *client = leat_client_new(
      &(leat_config){.api_key = TOKEN, .max_body = 16384, .max_attempts = 1}, NULL);
  leat_call *call = complete_call(leat_call_new(client, op), "1");
  leat_http1 *http = leat_http1_new();
  MUST(leat_call_next(call, now) == LEAT_SEND);
  leat_http1_state state = leat_http1_begin(http, leat_call_request(call));
  leat_http1_sent(http, SIZE_MAX);
  receive(http, data + 2, size - 2, 1 + data[1], data[0] & CLOSES, &state);
  end_call(call, http, state);
  if (leat_call_error(call)->kind != LEAT_OK) check_error(call, op);
  else check_value(call, op, leat_http1_response(http)->framing);
  leat_http1_free(http);
  leat_call_free(call);
  leat_client_free(client);
  return 0;
}
