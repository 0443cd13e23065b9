/*
** calls.h - the harness of the tests that need no socket: a simulated clock, the usual
** calls, and responses to them. Needs only libleat without its driver.
*/
#ifndef LEAT_TEST_CALLS_H
#define LEAT_TEST_CALLS_H

#include "leat_driver.h"
#include "secrets.h"

#include <stdbool.h>
#include <string.h>

static leat_moment now = {1000000, 1700000000, UINT64_MAX / 2};

static inline bool text_is(leat_string text, const char *wanted) {
  return text.data && text.length == strlen(wanted) &&
         memcmp(text.data, wanted, text.length) == 0;
}

/* Resets the clock. Without credentials, the client has the key of the tests. */
static inline leat_client *new_client(leat_config config) {
  if (!config.api_key && !config.client_id && !config.token_from_caller)
    config.api_key = test_key();
  now = (leat_moment){1000000, 1700000000, UINT64_MAX / 2};
  return leat_client_new(&config, NULL);
}

/* Sets the card's value, and what the operation needs besides: the contact "ann", or a
** change. */
static inline leat_call *complete_call(leat_call *call, const char *value) {
  const leat_op *op = leat_call_op(call);
  for (size_t i = 0; op && i < op->parameter_count; i++) {
    bool is_contact = strcmp(op->parameters[i].name, "contact_uuid") == 0;
    if (op->parameters[i].required)
      leat_call_set(call, op->parameters[i].name, leat_s(is_contact ? "ann" : value));
  }
  if (op && strcmp(op->name, "update") == 0)
    leat_call_set_bool(call, "contact_identifier_active", true);
  return call;
}

/* Makes a call that still lacks its parameters. */
static inline leat_call *bare_call(leat_client *client, const char *operation) {
  return leat_call_new(client, leat_operation("contact_identifiers", operation));
}

/* Makes a call about the card "1". */
static inline leat_call *card_call(leat_client *client, const char *operation) {
  return complete_call(bare_call(client, operation), "1");
}

static inline void free_calls(leat_call *const *calls, int count) {
  for (int i = 0; i < count; i++)
    leat_call_free(calls[i]);
}

/* Frees calls, and then their client. */
#define FREE_ALL(client, ...)                                                            \
  (free_calls((leat_call *[]){__VA_ARGS__},                                              \
              (int)(sizeof(leat_call *[]){__VA_ARGS__} / sizeof(leat_call *))),          \
   leat_client_free(client))

static inline leat_string request_header(leat_call *call, const char *name) {
  const leat_request *request = leat_call_request(call);
  leat_response as_response = {.headers = request->headers,
                               .header_count = request->header_count};
  return leat_response_header(&as_response, name);
}

/* `retry_after` may be NULL. */
static inline void respond(leat_call *call, int status, const char *retry_after,
                           const char *body) {
  leat_header header = {leat_s("Retry-After"), leat_s(retry_after)};
  leat_response response = {status, &header, retry_after ? 1 : 0, leat_s(body),
                            LEAT_LENGTH};
  leat_call_respond(call, now, &response);
}

/* Advances the clock until the call has something else to do than to wait. */
static inline leat_step next_step(leat_call *call) {
  leat_step step;
  while ((step = leat_call_next(call, now)) == LEAT_WAIT)
    now.monotonic_ms = leat_call_until(call);
  return step;
}

#endif
