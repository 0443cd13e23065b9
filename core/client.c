/*
** client.c - a client's settings, and the state that its calls share.
*/
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns whether a header can carry the text unchanged: it is not empty, and has neither
** control characters nor blanks at its ends. */
static bool is_header_value(const char *text) {
  leat_string value = leat_s(text);
  return value.length > 0 && leat__is_field_value(value) && !strchr(" \t", text[0]) &&
         !strchr(" \t", text[value.length - 1]);
}

static bool is_quoted(const char *text) {
  size_t length = strlen(text);
  return length > 1 && (text[0] == '"' || text[0] == '\'') && text[length - 1] == text[0];
}

/* Returns what is wrong with the token, or NULL. Tokens are opaque, so any characters
** that a header can carry are accepted. */
static const char *check_token(const char *token) {
  if (token == NULL) return "api_key is missing";
  if (token[0] == '\0')
    return "api_key is empty; check LEAT_API_KEY, or the file it was read from";
  if (strlen(token) > LEAT_MAX_TOKEN) return "api_key is too long";
  if (is_quoted(token))
    return "api_key is enclosed in quotes; remove them, as a shell does when it reads an "
           "env file";
  if (strncmp(token, "Bearer ", 7) == 0)
    return "api_key begins with \"Bearer \"; pass the key alone, the library adds that "
           "word";
  if (!is_header_value(token))
    return "api_key contains a line end, another control character, or a space at its "
           "end; if it was read from a file, trim it";
  return NULL;
}

static const char *check_credentials(const leat_config *config, const char *token) {
  int ways = (config->api_key != NULL) + (config->access_token != NULL) +
             (config->client_id || config->client_secret) + config->token_from_caller;
  if (ways > 1)
    return "more than one of api_key, access_token, client_id and a token function is "
           "set; set exactly one";
  if (config->client_id || config->client_secret)
    return config->client_id && config->client_secret && config->client_id[0] &&
                   config->client_secret[0]
               ? NULL
               : "client_id and client_secret must both be set";
  return config->token_from_caller ? NULL : check_token(token);
}

static const char *check_config(const leat_config *config, const char *token) {
  const char *wrong = check_credentials(config, token);
  if (wrong) return wrong;
  if (config->user_agent && (strlen(config->user_agent) > LEAT_MAX_USER_AGENT ||
                             !is_header_value(config->user_agent)))
    return "user_agent is empty, too long, or contains a character that a header cannot "
           "carry";
  if (config->timeout_ms < 0 || config->timeout_ms > LEAT_MAX_TIMEOUT_MS)
    return "timeout must be between 0 and a day";
  if (config->connect_timeout_ms < 0 || config->connect_timeout_ms > LEAT_MAX_TIMEOUT_MS)
    return "connect_timeout must be between 0 and a day";
  if (config->queue_timeout_ms < 0 || config->queue_timeout_ms > LEAT_MAX_TIMEOUT_MS)
    return "queue_timeout must be between 0 and a day";
  if (config->max_attempts < LEAT_UNLIMITED ||
      config->max_attempts > LEAT_MAX_MAX_ATTEMPTS)
    return "max_attempts must be between 1 and 100, or be unlimited";
  if (config->retry_budget < LEAT_UNLIMITED)
    return "retry_budget must be greater than 0, or unlimited";
  if (config->retry_base_ms < 0 || config->retry_base_ms > LEAT_MAX_TIMEOUT_MS ||
      config->retry_cap_ms < 0 || config->retry_cap_ms > LEAT_MAX_TIMEOUT_MS)
    return "retry_base and retry_cap must be between 0 and a day";
  if (config->rate_per_minute < 0 || config->rate_per_minute > 60000000)
    return "rate must be between 0 and 1000000 a second";
  if (config->max_body > LEAT_MAX_MAX_BODY) return "max_body is too large";
  if (config->header_count > LEAT_MAX_EXTRA_HEADERS) return "there are too many headers";
  if (config->header_count > 0 && config->headers == NULL) return "headers is NULL";
  return NULL;
}

static bool add_header(leat_headers *headers, const char *name, const char *value) {
  return leat__headers_add(headers, leat_s(name), leat_s(value));
}

static bool make_headers(leat_client *client, const leat_config *config,
                         const char *token) {
  const char *agent = config->user_agent ? config->user_agent : "leat/" LEAT_VERSION;
  leat_headers *headers = &client->headers;
  bool good = leat__token_set(client, leat_s(token)) &&
              /* without Accept, the service may respond with a login page */
              add_header(headers, "Accept", "application/json") &&
              add_header(headers, "Accept-Encoding", "identity") &&
              add_header(headers, "User-Agent", agent);
  for (size_t i = 0; i < config->header_count && good; i++)
    good = leat__headers_add(headers, config->headers[i].name, config->headers[i].value);
  return good && add_header(headers, "Content-Type", "application/json");
}

static bool check_headers(const leat_config *config, leat_error *error) {
  char name[64];
  const char *wrong = NULL;
  size_t i = 0;
  while (i < config->header_count && !wrong)
    wrong = leat__check_header(config->headers[i++], false);
  if (wrong == NULL) return true;
  leat__clean(name, sizeof name, config->headers[i - 1].name, LEAT_NO_SECRETS);
  leat__error_set(error, LEAT_CONFIG, "headers: %s %s", name, wrong);
  return false;
}

static int or_default(int value, int otherwise) {
  return value ? value : otherwise;
}

static bool set_credentials(leat_client *client, const leat_config *config,
                            const char *token) {
  client->token_from_caller = config->token_from_caller;
  client->fetches_token = config->client_id != NULL;
  client->token_until = token ? INT64_MAX : INT64_MIN;
  if (!client->fetches_token) return true;
  client->client_id = leat__copy(config->client_id, strlen(config->client_id));
  client->client_secret =
      leat__copy(config->client_secret, strlen(config->client_secret));
  return client->client_id && client->client_secret;
}

static bool parse_url(leat_url *url, const char *text, const char *name,
                      const leat_config *config, leat_error *error) {
  if (!leat__url_parse(url, text, name, error)) return false;
  if (url->tls || url->loopback || config->allow_http) return true;
  leat__error_set(error, LEAT_CONFIG,
                  "%s is cleartext http, which exposes the key on the network: use "
                  "https, or set allow_http",
                  name);
  return false;
}

/* The default token_url is on the origin of base_url, so that no other server gets the
** secret. */
static bool parse_token_url(leat_client *client, const leat_config *config,
                            leat_error *error) {
  char text[LEAT_MAX_URL + 64];
  if (config->client_id == NULL) return true;
  snprintf(text, sizeof text, "%s" LEAT_TOKEN_PATH, client->url.origin);
  return parse_url(&client->token_url, config->token_url ? config->token_url : text,
                   "token_url", config, error);
}

static bool fill(leat_client *client, const leat_config *config, const char *token,
                 leat_error *error) {
  const char *base_url = config->base_url ? config->base_url : LEAT_BASE_URL;
  if (!check_headers(config, error)) return false;
  if (!parse_url(&client->url, base_url, "base_url", config, error)) return false;
  if (!parse_token_url(client, config, error)) return false;
  client->timeout_ms = or_default(config->timeout_ms, LEAT_DEFAULT_TIMEOUT_MS);
  client->connect_timeout_ms =
      or_default(config->connect_timeout_ms, LEAT_DEFAULT_CONNECT_TIMEOUT_MS);
  client->max_body = config->max_body ? config->max_body : LEAT_DEFAULT_MAX_BODY;
  client->queue_timeout_ms = config->queue_timeout_ms;
  client->observe = config->observe;
  client->shared = config->shared;
  client->slots_from_caller = config->slots_from_caller || config->shared;
  client->retry_budget_limit =
      or_default(config->retry_budget, LEAT_DEFAULT_RETRY_BUDGET);
  client->retry_budget = client->retry_budget_limit;
  client->rate_limit = client->rate_remaining = -1;
  client->counts.health = (leat_health){INT64_MIN, INT64_MIN, LEAT_OK};
  client->slots.free_us = client->pause.until_ms = INT64_MIN; /* on any clock */
  client->retry = (leat_retry){
      config->max_attempts == LEAT_UNLIMITED
          ? INT_MAX
          : or_default(config->max_attempts, LEAT_DEFAULT_MAX_ATTEMPTS),
      or_default(config->retry_base_ms, LEAT_DEFAULT_RETRY_BASE_MS),
      or_default(config->retry_cap_ms, LEAT_DEFAULT_RETRY_CAP_MS),
  };
  if (config->rate_per_minute)
    client->slots.length_us = INT64_C(60000000) / config->rate_per_minute;
  if (set_credentials(client, config, token) && make_headers(client, config, token))
    return true;
  return leat__no_memory(error);
}

leat_client *leat_client_new(const leat_config *config, leat_error *error) {
  static const leat_config none = {0};
  if (config == NULL) config = &none;
  const char *token = config->api_key ? config->api_key : config->access_token;
  const char *wrong = check_config(config, token);
  if (error) leat__error_clear(error);
  if (wrong) {
    leat__error_set(error, LEAT_CONFIG, "%s", wrong);
    return NULL;
  }
  leat_client *client = calloc(1, sizeof *client);
  if (client == NULL) {
    leat__no_memory(error);
    return NULL;
  }
  client->references = 1;
  if (fill(client, config, token, error)) return client;
  leat_client_free(client);
  return NULL;
}

void leat__client_hold(leat_client *client) {
  client->references++;
}

void leat__client_release(leat_client *client) {
  if (--client->references > 0) return;
  leat__url_free(&client->url);
  leat__url_free(&client->token_url);
  leat__attempts_free(&client->attempts);
  leat__headers_free(&client->headers);
  leat__header_wipe(&client->previous_authorization);
  free(client->client_id);
  leat__wipe_free(client->client_secret);
  free(client);
}

void leat_client_free(leat_client *client) {
  if (client) leat__client_release(client);
}

void leat_client_rate(const leat_client *client, int *limit, int *remaining) {
  *limit = client->rate_limit;
  *remaining = client->rate_remaining;
}

const char *leat_client_clean(const leat_client *client, leat_string text, char *out,
                              size_t size) {
  leat__clean(out, size, text, leat__client_secrets(client));
  return out;
}

/* ---- pauses ---------------------------------------------------------------------- */

bool leat_client_pause(const leat_client *client, leat_moment now, leat_pause *pause) {
  *pause = client->pause;
  return leat__limit_moment(now).monotonic_ms < client->pause.until_ms;
}

void leat__client_pause(leat_client *client, leat_moment now, const leat_pause *pause) {
  leat_pause *current = &client->pause;
  bool paused = now.monotonic_ms < current->until_ms;
  bool was_strict = paused && current->too_long;
  bool was_asked = paused && current->asked;
  if (!paused || pause->until_ms > current->until_ms) *current = *pause;
  current->asked = pause->asked || was_asked;
  current->too_long = pause->too_long || was_strict;
  if (current->too_long && !was_strict) client->epoch++; /* queued calls must fail now */
}

void leat_client_share_pause(leat_client *client, leat_moment now,
                             const leat_pause *pause) {
  leat_pause copy = *pause;
  if (!leat__retry_throttled(copy.kind)) copy.kind = LEAT_MAINTENANCE;
  now = leat__limit_moment(now);
  int64_t most = now.monotonic_ms + LEAT_LONGEST_PAUSE_MS;
  if (copy.until_ms <= now.monotonic_ms) return;
  if (copy.until_ms > most) copy.until_ms = most;
  leat__client_pause(client, now, &copy);
}

int64_t leat_client_slot_length_us(const leat_client *client) {
  return client->slots.length_us;
}

uint64_t leat_client_epoch(const leat_client *client) {
  return client->epoch;
}
