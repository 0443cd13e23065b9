/*
** token_test.c - tokens that are fetched, supplied by the caller, and renewed. Uses a
** simulated clock and no socket.
*/
#include "calls.h"
#include "secrets.h"
#include "test.h"

#include <ctype.h>

/* Returns the body of a token request; the secret in it is URL-encoded. */
static const char *form(void) {
  static char text[512];
  int length = snprintf(text, sizeof text, "grant_type=client_credentials&client_id=me&");
  length += snprintf(text + length, sizeof text - (size_t)length, "client_secret=");
  for (const char *c = test_secret(); *c; c++) {
    bool plain = isalnum((unsigned char)*c) || strchr("-._~", *c);
    length += snprintf(text + length, sizeof text - (size_t)length,
                       plain ? "%c" : "%%%02X", (unsigned char)*c);
  }
  return text;
}

/* A client that fetches its tokens. */
static leat_client *fetching_client(leat_config config) {
  config.client_id = "me";
  config.client_secret = test_secret();
  config.token_url = "https://login.example:8443/oauth/token";
  config.timeout_ms = 10000;
  return new_client(config);
}

/* A client whose tokens come from its caller. */
static leat_client *asking_client(void) {
  return new_client((leat_config){.token_from_caller = true, .timeout_ms = 10000});
}

static leat_client *shared_client(void) {
  return fetching_client((leat_config){.queue_timeout_ms = 5000, .shared = true});
}

static leat_call *new_find(leat_client *client) {
  return card_call(client, "find");
}

/* Returns true if the call now requests a token as documented. */
static bool fetches(leat_call *call) {
  if (leat_call_next(call, now) != LEAT_SEND) return false;
  const leat_request *r = leat_call_request(call);
  return leat_call_purpose(call) == LEAT_TO_GET_TOKEN && text_is(r->method, "POST") &&
         text_is(r->origin, "https://login.example:8443") &&
         text_is(r->target, "/oauth/token") && text_is(r->body, form()) &&
         text_is(request_header(call, "Content-Type"),
                 "application/x-www-form-urlencoded") &&
         text_is(request_header(call, "Accept"), "application/json") &&
         request_header(call, "Authorization").data == NULL;
}

/* Returns true if the call now sends a find with that token. */
static bool finds(leat_call *call, const char *authorization) {
  return leat_call_next(call, now) == LEAT_SEND &&
         text_is(leat_call_request(call)->method, "GET") &&
         text_is(request_header(call, "Authorization"), authorization);
}

static bool ends_well(leat_call *call) {
  respond(call, 200, NULL, "{\"data\":{\"value\":\"1\"}}");
  return leat_call_next(call, now) == LEAT_DONE && leat_call_error(call)->kind == LEAT_OK;
}

#define TOKEN(token, seconds)                                                            \
  "{\"token_type\":\"Bearer\",\"expires_in\":" #seconds ",\"access_token\":\"" token "\"}"

/* ---- client credentials ---------------------------------------------------------- */

static void test_one_fetch_for_all(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *calls[3];
  uint64_t epoch = leat_client_epoch(client);
  TEST("one fetch for any number of calls");
  for (int i = 0; i < 3; i++)
    calls[i] = new_find(client);
  CHECK(fetches(calls[0]));
  CHECK(leat_call_next(calls[1], now) == LEAT_WAIT);
  CHECK(leat_call_next(calls[2], now) == LEAT_WAIT);
  CHECK(leat_call_purpose(calls[2]) == LEAT_TO_CALL); /* another call fetches it */
  now.monotonic_ms += 9000;                           /* queued, which is not call time */
  CHECK(leat_call_next(calls[1], now) == LEAT_WAIT);
  respond(calls[0], 200, NULL, TOKEN("t1", 3600));
  CHECK(finds(calls[0], "Bearer t1"));
  CHECK(leat_client_epoch(client) != epoch);
  for (int i = 1; i < 3; i++) {
    CHECK(finds(calls[i], "Bearer t1"));
    CHECK(leat_call_request(calls[i])->deadline_ms == now.monotonic_ms + 10000);
  }
  for (int i = 0; i < 3; i++) {
    CHECK(ends_well(calls[i]));
    leat_call_free(calls[i]);
  }
  TEST("renewed before it expires");
  leat_call *call = new_find(client);
  now.monotonic_ms += 3539999; /* a minute before it expires, and 1 ms */
  CHECK(finds(call, "Bearer t1"));
  leat_call_free(call);
  call = new_find(client);
  now.monotonic_ms += 1;
  CHECK(fetches(call));
  FREE_ALL(client, call);
}

static void test_refused_token(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("renewed once when it is refused, and only if it is still the current one");
  CHECK(fetches(first));
  respond(first, 200, NULL, TOKEN("t1", 3600));
  CHECK(finds(first, "Bearer t1") && finds(second, "Bearer t1"));
  respond(first, 401, NULL, "{\"message\":\"Unauthenticated.\"}");
  CHECK(fetches(first));
  respond(first, 200, NULL, TOKEN("t2", 3600));
  CHECK(finds(first, "Bearer t2"));
  respond(second, 401, NULL, "");
  CHECK(finds(second, "Bearer t2")); /* no fetch: its 401 was about the old token */
  CHECK(ends_well(second));
  respond(first, 401, NULL, "{\"message\":\"Unauthenticated.\"}");
  CHECK(leat_call_next(first, now) == LEAT_DONE);
  CHECK(leat_call_error(first)->kind == LEAT_UNAUTHORIZED);
  FREE_ALL(client, first, second);
}

/* The token_url may be another server's. */
static void test_headers_of_a_call(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *call = card_call(client, "unlink");
  TEST("a token request has no header of the call that needs it");
  leat_call_expect(call, leat_s("ann"));
  leat_call_add_header(call, "traceparent", leat_s("00-1-2-01"));
  CHECK(fetches(call) && request_header(call, "traceparent").data == NULL);
  respond(call, 200, NULL, TOKEN("t1", 3600));
  CHECK(finds(call, "Bearer t1"));
  CHECK(text_is(request_header(call, "traceparent"), "00-1-2-01"));
  respond(call, 401, NULL, "");
  CHECK(fetches(call) && request_header(call, "traceparent").data == NULL);
  respond(call, 200, NULL, TOKEN("t2", 3600));
  CHECK(finds(call, "Bearer t2"));
  CHECK(text_is(request_header(call, "traceparent"), "00-1-2-01"));
  FREE_ALL(client, call);
}

/* A 401 page from an intermediary says nothing about the token. */
static void test_page(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *call = new_find(client);
  TEST("a token is not renewed because of a page");
  CHECK(fetches(call));
  respond(call, 200, NULL, TOKEN("t1", 3600));
  CHECK(finds(call, "Bearer t1"));
  respond(call, 401, NULL, "<html><title>Staging</title>");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_PROTOCOL);
  CHECK(strstr(leat_call_error(call)->message, "\"Staging\"") != NULL);
  leat_call_free(call);
  call = new_find(client);
  CHECK(finds(call, "Bearer t1"));
  TEST("but because of a 401, whatever its code is");
  respond(call, 401, NULL, "{\"message\":\"Expired.\",\"code\":98765}");
  CHECK(fetches(call));
  respond(call, 200, NULL, TOKEN("t2", 3600));
  CHECK(finds(call, "Bearer t2") && ends_well(call));
  FREE_ALL(client, call);
}

static void test_lease(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("who fetches may be freed");
  CHECK(fetches(first));
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  leat_call_free(first);
  CHECK(fetches(second));
  TEST("or canceled");
  first = new_find(client);
  CHECK(leat_call_next(first, now) == LEAT_WAIT);
  leat_call_fail(second, now, LEAT_CANCELED, LEAT_SENT_MAYBE, "enough");
  CHECK(leat_call_next(second, now) == LEAT_DONE);
  CHECK(leat_call_error(second)->kind == LEAT_CANCELED);
  CHECK(!leat_call_error(second)->outcome_unknown);
  CHECK(fetches(first));
  TEST("or do nothing for too long");
  leat_call *third = new_find(client);
  CHECK(leat_call_next(third, now) == LEAT_WAIT);
  now.monotonic_ms = leat_call_until(third);
  CHECK(fetches(third));
  respond(third, 200, NULL, TOKEN("t3", 0));
  CHECK(finds(third, "Bearer t3") && ends_well(third));
  FREE_ALL(client, first, second, third);
}

static void test_lease_in_line(void) {
  leat_client *client = fetching_client((leat_config){.queue_timeout_ms = 5000});
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("a token that may come in time is waited for");
  CHECK(fetches(first));
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  now.monotonic_ms += 4999;
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  now.monotonic_ms += 1;
  CHECK(leat_call_next(second, now) == LEAT_DONE);
  CHECK(leat_call_error(second)->kind == LEAT_TIMEOUT);
  FREE_ALL(client, first, second);
}

/* A verifying find needs a token too. If the caller has none, the call ends, and its
** lease is free for other calls. */
static void test_lease_of_a_look(void) {
  leat_client *client = asking_client();
  leat_call *call = card_call(client, "create");
  TEST("the lease of a verifying find");
  CHECK(leat_call_next(call, now) == LEAT_TOKEN);
  leat_client_set_token(client, now, leat_s("t"), 0);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "late");
  CHECK(finds(call, "Bearer t"));
  CHECK(leat_call_purpose(call) == LEAT_TO_VERIFY);
  respond(call, 401, NULL, "");
  CHECK(leat_call_next(call, now) == LEAT_TOKEN);
  CHECK(leat_call_purpose(call) == LEAT_TO_GET_TOKEN);
  leat_call_fail(call, now, LEAT_UNAUTHORIZED, LEAT_SENT_NO, "no token");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->outcome_unknown);
  leat_call *other = new_find(client);
  CHECK(leat_call_next(other, now) == LEAT_TOKEN);
  FREE_ALL(client, call, other);
}

/* A request carries the token that is current when it is sent, and a 401 is about that
** token. The previous token must not appear in messages either. */
static void test_renewed_meanwhile(bool has_headers) {
  leat_client *client = asking_client();
  leat_call *call = new_find(client);
  TEST(has_headers ? "a token renewed while a call with headers of its own connects"
                   : "a token renewed while a call connects");
  if (has_headers) leat_call_add_header(call, "traceparent", leat_s("00-1-2-01"));
  leat_call_next(call, now);
  leat_client_set_token(client, now, leat_s("old-secret-token"), 0);
  CHECK(leat_call_next(call, now) == LEAT_SEND); /* it connects now */
  leat_client_set_token(client, now, leat_s("brand-new-one"), 0);
  CHECK(text_is(request_header(call, "Authorization"), "Bearer brand-new-one"));
  if (has_headers) CHECK(text_is(request_header(call, "traceparent"), "00-1-2-01"));
  respond(call, 401, NULL, "{\"message\":\"no old-secret-token, no brand-new-one\"}");
  CHECK(leat_call_next(call, now) == LEAT_TOKEN);
  leat_client_set_token(client, now, leat_s("a-third-token"), 0);
  CHECK(finds(call, "Bearer a-third-token"));
  respond(call, 401, NULL, "{\"message\":\"no brand-new-one, no a-third-token\"}");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(strstr(leat_call_error(call)->message, "no [token], no [token]") != NULL);
  FREE_ALL(client, call);
}

static void check_failure(int status, const char *body, leat_kind kind,
                          const char *message) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *call = new_find(client);
  char text[1024];
  CHECK(fetches(call));
  respond(call, status, NULL, body);
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  const leat_error *error = leat_call_error(call);
  leat_error_text(error, text, sizeof text);
  if (!CHECK(error->kind == kind && strstr(text, message) && strstr(text, "no token: ")))
    printf("  %s\n", text);
  CHECK(!shows(text, test_secret()) && !strstr(text, "s3cret") &&
        strstr(text, "contact_identifiers.find"));
  CHECK(!error->outcome_unknown && error->attempts == 1);
  FREE_ALL(client, call);
}

static void test_failures(void) {
  char echo[256];
  TEST("no token");
  check_failure(
      401, "{\"error\":\"invalid_client\",\"message\":\"Client no.\"}", LEAT_UNAUTHORIZED,
      "no token: the service gave none (are client_id and client_secret right?)");
  snprintf(echo, sizeof echo, "{\"error\":\"invalid_request\",\"message\":\"No: %s\"}",
           test_secret());
  check_failure(400, echo, LEAT_UNAUTHORIZED, "client_id and client_secret");
  check_failure(200, "{\"token_type\":\"Bearer\"}", LEAT_PROTOCOL, "no access_token");
  check_failure(200, "{\"access_token\":42}", LEAT_PROTOCOL, "no access_token");
  check_failure(200, "{\"access_token\":\"a\\nb\"}", LEAT_PROTOCOL, "no access_token");
  check_failure(200, "<html>", LEAT_PROTOCOL, "JSON");
  check_failure(
      302, "", LEAT_REDIRECT,
      "redirects to https://login.example:8443; redirects are never followed, because "
      "the client_secret would be sent along (is token_url right?)");
  check_failure(401, "<html><title>Staging</title>", LEAT_PROTOCOL, "an HTML page came");
  check_failure(200, "{\"access_token\":\"a\",\"access_token\":\"b\"}", LEAT_PROTOCOL,
                "several");
  check_failure(401, form(), LEAT_UNAUTHORIZED, "client_id");
  check_failure(403, "{\"access_token\":\"s3cret&of-the-service\"}", LEAT_FORBIDDEN,
                "403");
}

/* The message names the host that the redirect points to; anything else in it may be a
** secret. This one can be part of a URL as it is: it contains no slash. */
static void check_redirect(const char *format, const char *host) {
  static const char secret[] = "s3cret&of=the+client";
  char location[512], message[256];
  snprintf(location, sizeof location, format, secret);
  leat_header header = {leat_s("Location"), leat_s(location)};
  leat_response redirect = {307, &header, 1, leat_s(""), LEAT_LENGTH};
  leat_client *client = leat_client_new(
      &(leat_config){.client_id = "me",
                     .client_secret = secret,
                     .token_url = "https://login.example:8443/oauth/token"},
      NULL);
  leat_call *call = new_find(client);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  leat_call_respond(call, now, &redirect);
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_REDIRECT);
  snprintf(message, sizeof message, "no token: the server redirects to %s;", host);
  if (!CHECK(strstr(leat_call_error(call)->message, message) != NULL))
    printf("  %s\n", leat_call_error(call)->message);
  CHECK(strstr(leat_call_error(call)->message, "is token_url right?") != NULL);
  CHECK(!shows(leat_call_error(call)->message, secret));
  FREE_ALL(client, call);
}

static void test_redirects(void) {
  TEST("a redirected token endpoint");
  check_redirect("https://sso.example/login?secret=%s", "sso.example");
  check_redirect("https://me:%s@sso.example:8443/", "sso.example:8443");
  check_redirect("//%s.sso.example/", "[token].sso.example");
  check_redirect("/login?%s", "https://login.example:8443");
}

/* Without a token_url, the secret is sent to the origin of the calls and nowhere else. */
static void check_token_url(const char *base_url, const char *token_url,
                            const char *wanted) {
  leat_config config = {.client_id = "me",
                        .client_secret = test_secret(),
                        .base_url = base_url,
                        .token_url = token_url};
  char url[256] = "";
  leat_client *client = leat_client_new(&config, NULL);
  leat_call *call = new_find(client);
  CHECK(leat_call_next(call, now) == LEAT_SEND);
  const leat_request *r = leat_call_request(call);
  snprintf(url, sizeof url, "%.*s%.*s", (int)r->origin.length, r->origin.data,
           (int)r->target.length, r->target.data);
  CHECK_STR(url, wanted);
  FREE_ALL(client, call);
}

static void test_token_url(void) {
  TEST("where tokens are fetched");
  check_token_url(NULL, NULL, "https://api.piggy.eu/oauth/token");
  check_token_url("https://api.leat.com/api/v3/oauth/clients", NULL,
                  "https://api.leat.com/oauth/token");
  check_token_url("https://proxy.example:8443/leat", NULL,
                  "https://proxy.example:8443/oauth/token");
  check_token_url("http://127.0.0.1:8080", NULL, "http://127.0.0.1:8080/oauth/token");
  check_token_url("http://[::1]:8080/x", NULL, "http://[::1]:8080/oauth/token");
  check_token_url("https://proxy.example", "https://sso.example/t",
                  "https://sso.example/t");
}

static void test_fetch_again(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *call = new_find(client);
  TEST("a fetch that fails is made again, within the call's time");
  int64_t start = now.monotonic_ms;
  CHECK(fetches(call));
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_MAYBE, "late");
  CHECK(leat_call_next(call, now) == LEAT_WAIT);
  now.monotonic_ms = leat_call_until(call);
  CHECK(fetches(call));
  respond(call, 200, NULL, TOKEN("t", 60));
  CHECK(finds(call, "Bearer t"));
  CHECK(leat_call_request(call)->deadline_ms == start + 10000);
  CHECK(ends_well(call) && leat_call_info(call).attempts == 3);
  FREE_ALL(client, call);
}

/* The token may have expired during a pause. Then fetching a new one is the probe. */
static void test_fetch_probes(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("a token endpoint that asks for a long wait");
  CHECK(fetches(first));
  respond(first, 429, "100", "{\"message\":\"Later.\"}");
  CHECK(leat_call_next(first, now) == LEAT_DONE);
  CHECK(leat_call_error(first)->kind == LEAT_RATE_LIMITED);
  CHECK(leat_call_error(first)->retry_after_ms == 100000);
  leat_call_free(first);
  TEST("after a long pause the fetch of a token probes");
  now.monotonic_ms += 100000;
  first = new_find(client);
  CHECK(fetches(first));
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  respond(first, 200, NULL, TOKEN("t", 60));
  CHECK(finds(first, "Bearer t") && finds(second, "Bearer t"));
  FREE_ALL(client, first, second);
}

/* ---- tokens from the caller ------------------------------------------------------- */

static void test_asked(void) {
  leat_client *client = asking_client();
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("a token is asked for, by one call");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  CHECK(!leat_client_set_token(client, now, leat_s(""), 0));
  CHECK(!leat_client_set_token(client, now, leat_s("a\r\nX: y"), 0));
  CHECK(leat_client_set_token(client, now, leat_s("mine"), 0));
  CHECK(finds(first, "Bearer mine") && finds(second, "Bearer mine"));
  CHECK(ends_well(second));
  TEST("and again when it is refused");
  respond(first, 401, NULL, "");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(leat_client_set_token(client, now, leat_s("newer"), 100));
  CHECK(finds(first, "Bearer newer") && ends_well(first));
  leat_call_free(first);
  leat_call_free(second);
  TEST("or has expired");
  first = new_find(client);
  now.monotonic_ms += 90000; /* a tenth of its lifetime before it expires */
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  TEST("none is to be had");
  leat_call_fail(first, now, LEAT_UNAUTHORIZED, LEAT_SENT_NO, "no token from the vault");
  CHECK(leat_call_next(first, now) == LEAT_DONE);
  CHECK(leat_call_error(first)->kind == LEAT_UNAUTHORIZED);
  FREE_ALL(client, first);
}

/* ---- tokens that come too late --------------------------------------------------- */

static void test_no_time(void) {
  leat_client *client = fetching_client((leat_config){0});
  leat_call *call = new_find(client);
  TEST("a fetch that takes all the time");
  CHECK(fetches(call));
  now.monotonic_ms += 10001;
  respond(call, 200, NULL, TOKEN("t", 3600));
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(call)->sent == LEAT_SENT_NO);
  leat_call_free(call);
  TEST("no fetch where no time is left");
  call = new_find(client);
  CHECK(finds(call, "Bearer t"));
  now.monotonic_ms += 10001;
  respond(call, 401, NULL, "");
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_TIMEOUT);
  FREE_ALL(client, call);
  TEST("a token that is given when no time is left");
  client = asking_client();
  call = new_find(client);
  CHECK(leat_call_next(call, now) == LEAT_TOKEN);
  CHECK(leat_client_set_token(client, now, leat_s("old"), 0));
  CHECK(finds(call, "Bearer old"));
  respond(call, 401, NULL, "");
  CHECK(leat_call_next(call, now) == LEAT_TOKEN);
  now.monotonic_ms += 10001;
  CHECK(leat_client_set_token(client, now, leat_s("new"), 0));
  CHECK(leat_call_next(call, now) == LEAT_DONE);
  CHECK(leat_call_error(call)->kind == LEAT_UNAUTHORIZED);
  CHECK(leat_call_info(call).attempts == 1);
  FREE_ALL(client, call);
}

/* ---- tokens that processes share ------------------------------------------------- */

static void test_shared(void) {
  int64_t until;
  leat_client *client = shared_client();
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("a store is asked first");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  CHECK(leat_client_token(client, now, &until).data == NULL);
  CHECK(!leat_client_share_token(client, now, leat_s("old"), now.monotonic_ms));
  CHECK(!leat_client_share_token(client, now, leat_s(""), INT64_MAX));
  CHECK(!leat_client_share_token(client, now, leat_s("a\nb"), INT64_MAX));
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(leat_client_share_token(client, now, leat_s("theirs"), now.monotonic_ms + 500));
  CHECK(finds(first, "Bearer theirs") && finds(second, "Bearer theirs"));
  TEST("what was refused is not taken from it again, and a new one is fetched");
  respond(first, 401, NULL, "");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(!leat_client_share_token(client, now, leat_s("theirs"), INT64_MAX));
  leat_call_fetch(first, now);
  CHECK(fetches(first));
  respond(first, 200, NULL, TOKEN("ours", 100));
  CHECK(finds(first, "Bearer ours") && ends_well(first));
  CHECK(text_is(leat_client_token(client, now, &until), "ours"));
  CHECK(until == now.monotonic_ms + 90000); /* when the client itself renews it */
  now.monotonic_ms = until;
  CHECK(leat_client_token(client, now, &until).data == NULL);
  FREE_ALL(client, first, second);
}

static void test_stale_in_store(void) {
  leat_client *client = shared_client();
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("a token that a store had is not a call's one renewal");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  leat_call_fetch(first, now);
  CHECK(fetches(first));
  respond(first, 200, NULL, TOKEN("ours", 100));
  CHECK(finds(first, "Bearer ours") && finds(second, "Bearer ours"));
  respond(first, 401, NULL, "");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(leat_client_share_token(client, now, leat_s("theirs"), INT64_MAX));
  CHECK(finds(first, "Bearer theirs"));
  respond(second, 401, NULL, ""); /* about the previous token */
  CHECK(finds(second, "Bearer theirs"));
  respond(first, 401, NULL, "");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(!leat_client_share_token(client, now, leat_s("theirs"), INT64_MAX));
  leat_call_fetch(first, now);
  CHECK(fetches(first));
  respond(first, 200, NULL, TOKEN("new", 100));
  CHECK(finds(first, "Bearer new"));
  respond(second, 401, NULL, "");
  CHECK(finds(second, "Bearer new") && ends_well(second));
  TEST("but a new one that is refused ends it");
  respond(first, 401, NULL, "");
  CHECK(leat_call_next(first, now) == LEAT_DONE);
  CHECK(leat_call_error(first)->kind == LEAT_UNAUTHORIZED);
  FREE_ALL(client, first, second);
}

static void test_awaited(void) {
  leat_client *client = shared_client();
  leat_call *first = new_find(client), *second = new_find(client);
  TEST("another process fetches it: one call asks again, within queue_timeout");
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  leat_call_await(first, now, now.monotonic_ms + 50);
  CHECK(leat_call_next(first, now) == LEAT_WAIT);
  CHECK(leat_call_until(first) == now.monotonic_ms + 50);
  CHECK(leat_call_purpose(first) == LEAT_TO_GET_TOKEN);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  CHECK(leat_call_purpose(second) == LEAT_TO_CALL);
  now.monotonic_ms += 50;
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  CHECK(leat_call_next(second, now) == LEAT_WAIT);
  leat_call_await(first, now, now.monotonic_ms + 99999);
  CHECK(leat_call_next(first, now) == LEAT_WAIT);
  now.monotonic_ms = leat_call_until(first);
  CHECK(leat_call_next(first, now) == LEAT_TOKEN);
  leat_call_await(first, now, now.monotonic_ms + 50);
  CHECK(leat_call_next(first, now) == LEAT_DONE);
  CHECK(leat_call_error(first)->kind == LEAT_TIMEOUT);
  CHECK(leat_call_error(first)->sent == LEAT_SENT_NO);
  TEST("and what it waited is not its time");
  leat_call_free(second);
  leat_call *third = new_find(client);
  int64_t sent = now.monotonic_ms;
  leat_client_share_token(client, now, leat_s("t"), INT64_MAX);
  CHECK(finds(third, "Bearer t"));
  respond(third, 401, NULL, "");
  CHECK(leat_call_next(third, now) == LEAT_TOKEN);
  leat_call_await(third, now, sent + 3000);
  CHECK(leat_call_next(third, now) == LEAT_WAIT);
  now.monotonic_ms = sent + 3000;
  CHECK(leat_call_next(third, now) == LEAT_TOKEN);
  leat_client_share_token(client, now, leat_s("t2"), INT64_MAX);
  CHECK(finds(third, "Bearer t2"));
  CHECK(leat_call_request(third)->deadline_ms == sent + 3000 + 10000);
  FREE_ALL(client, first, third);
}

static void test_config(void) {
  static const leat_config bad[] = {
      {.client_id = "a"},
      {.client_secret = "a"},
      {.client_id = "a", .client_secret = ""},
      {.client_id = "a", .client_secret = "b", .api_key = "k"},
      {.token_from_caller = true, .api_key = "k"},
      {.client_id = "a", .client_secret = "b", .token_url = "http://login.example/x"},
      {.client_id = "a", .client_secret = "b", .token_url = "nowhere"},
  };
  leat_error error;
  TEST("settings that are refused");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK(leat_client_new(&bad[i], &error) == NULL && error.kind == LEAT_CONFIG);
    CHECK(error.message[0] != '\0');
  }
}

int main(void) {
  test_one_fetch_for_all();
  test_refused_token();
  test_headers_of_a_call();
  test_page();
  test_lease();
  test_lease_in_line();
  test_lease_of_a_look();
  test_renewed_meanwhile(false);
  test_renewed_meanwhile(true);
  test_failures();
  test_redirects();
  test_token_url();
  test_fetch_again();
  test_fetch_probes();
  test_asked();
  test_no_time();
  test_shared();
  test_stale_in_store();
  test_awaited();
  test_config();
  return test_summary("token");
}
