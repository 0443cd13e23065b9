/*
** memory_test.c - out of memory at each allocation in turn: only there, or from there on.
** The linker wraps the allocators. A call must end with LEAT_NO_MEMORY or with its usual
** result, without a crash or a leak, and the next call must work. Freed memory must not
** contain secrets.
*/
#include "calls.h"
#include "secrets.h"
#include "test.h"

#include <malloc.h>
#include <stdlib.h>

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define ACCEPT_UNWRITTEN(block, size) (void)VALGRIND_MAKE_MEM_DEFINED((block), (size))
#else
#define ACCEPT_UNWRITTEN(block, size) (void)(block)
#endif

/* ---- a failing allocator ---------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __real_free(void *block);
void __wrap_free(void *block);

static long fails_at, allocations; /* fails_at 0: never */
static bool sticky;

static bool fails(void) {
  allocations++;
  return fails_at && (sticky ? allocations >= fails_at : allocations == fails_at);
}

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}

/* The text that is searched for in freed blocks, and the number of blocks that contained
** it. */
static const char *secret;
static int given_back;

static bool contains(const char *data, size_t size, const char *text) {
  for (size_t i = 0, length = strlen(text); i + length <= size; i++)
    if (memcmp(data + i, text, length) == 0) return true;
  return false;
}

/* Parts of a block may never have been written, which valgrind must accept here. */
static void inspect(const void *block) {
  if (block == NULL || secret == NULL) return;
  size_t size = malloc_usable_size((void *)(uintptr_t)block);
  ACCEPT_UNWRITTEN(block, size);
  if (contains(block, size, secret)) given_back++;
}

/* realloc may move the block, and leave its content in the old one. */
void *__wrap_realloc(void *old, size_t size) {
  inspect(old);
  return fails() ? NULL : __real_realloc(old, size);
}

void __wrap_free(void *block) {
  inspect(block);
  __real_free(block);
}

/* ---- scenarios -------------------------------------------------------------------- */

typedef struct scene {
  int status; /* 0: the response is lost */
  const char *body;
} scene;

#define CARD                                                                             \
  {                                                                                      \
    200,                                                                                 \
        "{\"data\":{\"value\":\"1\",\"name\":null,\"contact\":{\"uuid\":\"ann\",\"x\":[" \
        "1,2,\"y\"]}},"                                                                  \
        "\"meta\":{}}"                                                                   \
  }
#define FREE                                                                             \
  { 200, "{\"data\":{\"value\":\"1\"}}" }
#define CODE(code)                                                                       \
  { 400, "{\"message\":\"m\",\"code\":" #code ",\"errors\":{\"a\":[\"b\",\"c\"]}}" }
#define LOST                                                                             \
  { 0, NULL }
#define TOKEN                                                                            \
  { 200, "{\"access_token\":\"t\",\"expires_in\":60}" }

typedef struct scenario {
  const char *name, *operation;
  bool fetches;
  scene scenes[8];
  leat_kind kind; /* with enough memory */
} scenario;

/* clang-format off */
static const scenario scenarios[] = {
    {"find", "find", false, {CARD}, LEAT_OK},
    {"find, an error with fields", "find", false, {CODE(1003)}, LEAT_INVALID_INPUT},
    {"find, retried", "find", false, {LOST, {500, "<html>"}, CARD}, LEAT_OK},
    {"create", "create", false, {FREE}, LEAT_OK},
    {"create, verified", "create", false, {LOST, FREE}, LEAT_OK},
    {"create, retried", "create", false, {LOST, CODE(60003), CODE(60003), FREE}, LEAT_OK},
    {"create, conflict", "create", false, {LOST, CARD, CARD}, LEAT_CONFLICT},
    {"delete, retried, another's", "delete", false,
     {LOST, FREE, FREE, LOST, CARD, CARD}, LEAT_CONFLICT},
    {"link, retried", "link", false, {LOST, FREE, FREE, CARD}, LEAT_OK},
    {"unlink, verified", "unlink", false, {CARD, LOST, FREE}, LEAT_OK},
    {"unlink, another's", "unlink", false, {FREE}, LEAT_CONFLICT},
    {"a token refused while a create is verified", "create", true, {TOKEN, {503, ""},
     {401, ""}, TOKEN, CODE(60003), CODE(60003), FREE}, LEAT_OK},
    {"update", "update", false, {CARD}, LEAT_OK},
    {"delete", "delete", false, {LOST, CODE(60003)}, LEAT_OK},
    {"list", "list", false,
     {{200, "{\"data\":[{\"value\":\"1\"},{\"value\":\"2\"}]}"}}, LEAT_OK},
    {"a token, then a find", "find", true, {TOKEN, CARD}, LEAT_OK},
    {"a token refused and renewed", "find", true, {TOKEN, {401, ""}, TOKEN, CARD},
     LEAT_OK},
    {"another request", NULL, false, {CARD}, LEAT_OK},
};

/* Calls that begin as maybe_applied. */
static const scenario begun_before[] = {
    {"create, verified before it is sent", "create", true,
     {TOKEN, CODE(60003), CODE(60003), FREE}, LEAT_OK},
    {"create, made before", "create", false, {FREE}, LEAT_OK},
    {"delete, verified before it is sent", "delete", false, {CARD, CARD, FREE}, LEAT_OK},
    {"link, conflict before it is sent", "link", false,
     {{200, "{\"data\":{\"value\":\"1\",\"contact\":{\"uuid\":\"bob\"}}}"},
      {200, "{\"data\":{\"value\":\"1\",\"contact\":{\"uuid\":\"bob\"}}}"}},
     LEAT_CONFLICT},
};
/* clang-format on */

static bool maybe_applied; /* calls begin so */

static leat_client *client_for(const scenario *s) {
  leat_header header = {leat_s("X-One"), leat_s("1")};
  leat_config config = {.headers = &header, .header_count = 1};
  if (s->fetches) config.client_id = "me", config.client_secret = test_secret();
  else config.api_key = test_key();
  return leat_client_new(&config, NULL);
}

/* Makes a request whose query is so long that its buffer must grow. */
static leat_call *long_request(leat_client *client) {
  static char text[1000];
  leat_call *call = leat_call_new_request(client, "GET", "/x");
  memset(text, 'x', sizeof text - 1);
  leat_call_add_query(call, "a", leat_s(text));
  return call;
}

static leat_call *call_for(leat_client *client, const scenario *s) {
  const char *op = s->operation;
  leat_call *call = op ? card_call(client, op) : long_request(client);
  leat_call_add_header(call, "X-Two", leat_s("2"));
  if (op && strcmp(op, "unlink") == 0) leat_call_expect(call, leat_s("ann"));
  if (maybe_applied) leat_call_set_maybe_applied(call);
  return call;
}

/* Performs one exchange through the codec, as a driver does. */
static void exchange(leat_call *call, const scene *s) {
  leat_http1 *http = leat_http1_new();
  if (http == NULL ||
      leat_http1_begin(http, leat_call_request(call)) == LEAT_HTTP1_FAILED)
    leat_call_fail(call, now, LEAT_NO_MEMORY, LEAT_SENT_NO, "out of memory");
  else if (s->status) respond(call, s->status, NULL, s->body);
  else leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "late");
  leat_http1_free(http);
}

/* Runs the scenario. Returns LEAT_KINDS if even the client could not be created. */
static leat_kind run(const scenario *s, bool *unknown) {
  leat_client *client = client_for(s);
  leat_call *call = client ? call_for(client, s) : NULL;
  leat_step step;
  int i = 0;
  now = (leat_moment){1000, 1700000000, 0};
  while ((step = leat_call_next(call, now)) != LEAT_DONE) {
    if (step == LEAT_SEND) exchange(call, &s->scenes[i < 7 ? i++ : 7]);
    else now.monotonic_ms = leat_call_until(call);
  }
  leat_kind kind = client ? leat_call_error(call)->kind : LEAT_KINDS;
  *unknown = leat_call_error(call)->outcome_unknown;
  CHECK(i <= 7);
  leat_call_free(call);
  leat_client_free(client);
  return kind;
}

/* A conflict was found after the response to the change was lost, perhaps earlier. */
static bool is_unknown(const scenario *s) {
  return s->kind == LEAT_CONFLICT && (maybe_applied || s->scenes[0].status == 0);
}

/* Returns how many allocations it takes to make the call. */
static long allocations_to_make(const scenario *s) {
  fails_at = allocations = 0;
  leat_client *client = client_for(s);
  leat_call *call = call_for(client, s);
  long made = allocations;
  leat_call_free(call);
  leat_client_free(client);
  return made;
}

static void sweep(const scenario *s) {
  bool unknown;
  TEST(s->name);
  fails_at = allocations = 0;
  CHECK(run(s, &unknown) == s->kind && unknown == is_unknown(s));
  long count = allocations, made = allocations_to_make(s);
  for (long k = 1; k <= count; k++) {
    fails_at = k;
    allocations = 0;
    leat_kind kind = run(s, &unknown);
    fails_at = 0;
    /* `unknown` is correct too: memory may have run out after the change was applied */
    bool good =
        kind == s->kind || kind == LEAT_NO_MEMORY || kind == LEAT_KINDS || unknown;
    /* what began as maybe_applied stays unknown, unless memory did not even suffice to
    ** make the call */
    good = good && (!maybe_applied || unknown || kind == LEAT_OK || k <= made);
    if (!CHECK(good))
      printf("  %s, allocation %ld of %ld: %s\n", sticky ? "sticky" : "single", k, count,
             leat_kind_name(kind));
    CHECK(run(s, &unknown) == s->kind &&
          unknown == is_unknown(s)); /* and it works again */
  }
}

/* ---- secrets --------------------------------------------------------------------- */

#define LONG_TOKEN "f3tched-token-of-some-length"

/* Responds to the token request through the codec, which keeps the received bytes. */
static void respond_by_codec(leat_call *call, const char *body) {
  char text[512];
  size_t room = 0;
  leat_http1 *http = leat_http1_new();
  leat_http1_begin(http, leat_call_request(call));
  leat_http1_sent(http, SIZE_MAX);
  int length =
      snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
               strlen(body), body);
  char *space = leat_http1_space(http, &room);
  if (CHECK(space && room >= (size_t)length)) memcpy(space, text, (size_t)length);
  CHECK(leat_http1_received(http, (size_t)length) == LEAT_HTTP1_RESPONSE);
  leat_call_respond(call, now, leat_http1_response(http));
  leat_http1_free(http);
}

/* Fetches a token and uses it for a find. Returns how many freed blocks contained the
** secret. */
static int secrets_left(const char *wanted) {
  char id[300];
  memset(id, 'i', sizeof id);
  id[sizeof id - 1] = '\0'; /* long enough that the form must be reallocated */
  leat_config config = {.client_id = id, .client_secret = "s3cret-of-the-client"};
  leat_client *client = leat_client_new(&config, NULL);
  leat_call *call = card_call(client, "find");
  secret = wanted;
  given_back = 0;
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  const leat_request *request = leat_call_request(call);
  CHECK(contains(request->body.data, request->body.length, config.client_secret));
  respond_by_codec(call, "{\"access_token\":\"" LONG_TOKEN "\",\"expires_in\":60}");
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  respond_by_codec(call, "{\"data\":{\"value\":\"1\"}}");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_OK);
  leat_call_free(call);
  leat_client_free(client);
  secret = NULL;
  return given_back;
}

static void test_wiped(void) {
  TEST("secrets are wiped before their memory is given back");
  CHECK(secrets_left("s3cret-of-the-client") == 0);
  CHECK(secrets_left(LONG_TOKEN) == 0);
  CHECK(secrets_left("contact_identifiers.find") > 0); /* the search works */
}

int main(void) {
  fails_at = 0;
  test_wiped();
  for (int mode = 0; mode < 2; mode++) {
    sticky = mode == 1;
    maybe_applied = false;
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
      sweep(&scenarios[i]);
    maybe_applied = true;
    for (size_t i = 0; i < sizeof begun_before / sizeof begun_before[0]; i++)
      sweep(&begun_before[i]);
  }
  return test_summary("memory");
}
