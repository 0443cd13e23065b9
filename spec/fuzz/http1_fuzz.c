/*
** http1_fuzz.c - the codec alone. Any input, whole or in pieces, gives the same result
** within the limits.
*/
#include "seeds.h"

enum { HEAD = 1, CLOSES = 2, SMALL = 4 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  write_seeds(1, CLOSES);
  return 0;
}

static leat_http1_state exchange(leat_http1 *http, const uint8_t *data, size_t size,
                                 size_t step) {
  leat_request request = {.method = leat_s(data[0] & HEAD ? "HEAD" : "GET"),
                          .origin = leat_s("https://h"),
                          .target = leat_s("/"),
                          .max_body = data[0] & SMALL ? 16 : 4096};
  leat_http1_state state = leat_http1_begin(http, &request);
  leat_http1_sent(http, SIZE_MAX);
  receive(http, data + 2, size - 2, step, data[0] & CLOSES, &state);
  return state;
}

static void check_response(const leat_response *response, const uint8_t *data) {
  MUST(response->status >= 200 && response->status <= 599);
  MUST(response->body.length <= (data[0] & SMALL ? 16u : 4096u));
  MUST(response->framing != LEAT_NO_BODY || response->body.length == 0);
  MUST(!(data[0] & HEAD) || response->framing == LEAT_NO_BODY);
  for (size_t i = 0; i < response->header_count; i++) {
    leat_string name = response->headers[i].name, value = response->headers[i].value;
    MUST(name.length > 0);
    MUST(!memchr(value.data, '\r', value.length) &&
         !memchr(value.data, '\n', value.length) &&
         !memchr(value.data, '\0', value.length));
  }
}

static void check_same(const leat_response *a, const leat_response *b) {
  MUST(a->status == b->status && a->framing == b->framing);
  MUST(a->header_count == b->header_count);
  MUST(a->body.length == b->body.length);
  MUST(a->body.length == 0 || memcmp(a->body.data, b->body.data, a->body.length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  leat_http1 *whole = leat_http1_new(), *pieces = leat_http1_new();
  leat_http1_state state = exchange(whole, data, size, SIZE_MAX);
  MUST(exchange(pieces, data, size, 1 + data[1] % 64) == state);
  if (state == LEAT_HTTP1_RESPONSE) {
    check_response(leat_http1_response(whole), data);
    check_same(leat_http1_response(whole), leat_http1_response(pieces));
    MUST(!leat_http1_reusable(whole) || leat_http1_reusable(pieces));
  } else {
    MUST(leat_http1_response(whole) == NULL && !leat_http1_reusable(whole));
    MUST(leat_http1_failure(whole, NULL) == leat_http1_failure(pieces, NULL));
  }
  leat_http1_free(whole);
  leat_http1_free(pieces);
  return 0;
}
