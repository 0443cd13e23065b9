/*
** token.c - tokens that expire. They are fetched with client credentials, or supplied by
** the program. One call of a client holds the lease to get a token, and the other calls
** wait. The lease ends when there is a token, when its call fails or is freed, or after
** the client's timeout.
*/
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A token is renewed this long before it expires, or a tenth of its lifetime if less. */
enum { MARGIN_MS = 60 * 1000 };

static const char bearer[] = "Bearer ";

/* ---- the client's token ---------------------------------------------------------- */

bool leat__token_set(leat_client *client, leat_string token) {
  size_t size = sizeof bearer - 1 + token.length;
  char *text = malloc(size + 1);
  if (text == NULL) return false;
  memcpy(text, bearer, sizeof bearer - 1);
  if (token.length > 0) memcpy(text + sizeof bearer - 1, token.data, token.length);
  bool good = leat__headers_put(&client->headers, &client->previous_authorization,
                                leat_s("Authorization"), (leat_string){text, size});
  explicit_bzero(text, size);
  free(text);
  return good;
}

static leat_string token_of(const leat_header *header) {
  size_t length = sizeof bearer - 1;
  if (header->value.length < length) return leat_s(NULL);
  return (leat_string){header->value.data + length, header->value.length - length};
}

leat_secrets leat__client_secrets(const leat_client *client) {
  return (leat_secrets){token_of(&client->headers.list[0]),
                        token_of(&client->previous_authorization), false};
}

bool leat__token_is_there(const leat_client *client, leat_moment now) {
  return now.monotonic_ms < client->token_until;
}

static bool is_token(leat_string token) {
  return token.data && token.length > 0 && token.length <= LEAT_MAX_TOKEN &&
         leat__is_field_value(token);
}

static bool accept(leat_client *client, leat_string token, int64_t until, bool shared) {
  if (!is_token(token) || !leat__token_set(client, token)) return false;
  client->token_shared = shared;
  client->token_until = until;
  client->token_number++;
  client->lease = NULL;
  client->epoch++;
  return true;
}

bool leat_client_set_token(leat_client *client, leat_moment now, leat_string token,
                           int lifetime_s) {
  int64_t life = (int64_t)lifetime_s * 1000, margin = life / 10;
  if (margin > MARGIN_MS) margin = MARGIN_MS;
  return accept(client, token,
                lifetime_s > 0 ? leat__limit_moment(now).monotonic_ms + life - margin
                               : INT64_MAX,
                false);
}

leat_string leat_client_token(const leat_client *client, leat_moment now,
                              int64_t *until_ms) {
  *until_ms = client->token_until;
  if (!leat__token_is_there(client, leat__limit_moment(now)))
    return (leat_string){NULL, 0};
  return token_of(&client->headers.list[0]);
}

/* A client needs a token because its own has expired or was refused, so a store that has
** the same one is of no use. */
bool leat_client_share_token(leat_client *client, leat_moment now, leat_string token,
                             int64_t until_ms) {
  return leat__limit_moment(now).monotonic_ms < until_ms && is_token(token) &&
         !leat__equal(token, token_of(&client->headers.list[0])) &&
         accept(client, token, until_ms, true);
}

void leat__token_refused(leat_client *client, unsigned number) {
  if (number == client->token_number) client->token_until = INT64_MIN;
}

/* ---- the lease ------------------------------------------------------------------- */

bool leat__token_lease(leat_client *client, const void *holder, leat_moment now) {
  if (client->lease && client->lease != holder && now.monotonic_ms < client->lease_until)
    return false;
  client->lease = holder;
  client->lease_until = now.monotonic_ms + client->timeout_ms;
  return true;
}

void leat__token_release(leat_client *client, const void *holder) {
  if (client->lease != holder) return;
  client->lease = NULL;
  client->epoch++;
}

/* ---- client credentials ---------------------------------------------------------- */

static void append_field(leat_buffer *form, const char *name, const char *value) {
  leat__append_s(form, form->length > 0 ? "&" : "");
  leat__append_s(form, name);
  leat__append_s(form, "=");
  leat__append_encoded(form, leat_s(value));
}

void leat__token_form(const leat_client *client, leat_buffer *form) {
  append_field(form, "grant_type", "client_credentials");
  append_field(form, "client_id", client->client_id);
  append_field(form, "client_secret", client->client_secret);
}

/* Copies the error of a failed fetch to the call that needed the token. A 401, or refused
** input, means wrong credentials. */
static void fail(leat_error *error, const leat_error *why) {
  bool refused = why->kind == LEAT_UNAUTHORIZED || why->kind == LEAT_INVALID_INPUT;
  error->code = why->code;
  error->status = why->status;
  error->retry_after_ms = why->retry_after_ms;
  leat__error_set(error, refused ? LEAT_UNAUTHORIZED : why->kind, "no token: %s%s",
                  why->message,
                  refused ? " (are client_id and client_secret right?)" : "");
}

bool leat__token_take(leat_client *client, const leat_error *fetched,
                      const leat_json *data, leat_moment now, leat_error *error) {
  static const char *const names[] = {"access_token", "expires_in", NULL};
  leat_string token = leat_json_string(leat_json_get(data, "access_token"));
  int64_t lifetime = leat_json_integer(leat_json_get(data, "expires_in"));
  if (fetched->kind != LEAT_OK) {
    fail(error, fetched);
    return false;
  }
  if (lifetime < 0 || lifetime > INT32_MAX) lifetime = 0;
  if (!is_token(token) || leat__json_repeats(data, names)) {
    leat__error_set(error, LEAT_PROTOCOL,
                    "no token: the response contains no access_token, or several");
    return false;
  }
  if (leat_client_set_token(client, now, token, (int)lifetime)) return true;
  return leat__no_memory(error);
}
