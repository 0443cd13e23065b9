/*
** client.c - settings, and what the calls of one account share.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const char bearer[] = "Bearer ";

/* What a header carries as it is: no control characters, no spaces at its ends. */
static bool is_header_value(const char *text) {
  size_t length = strlen(text);
  if (length == 0 || text[0] == ' ' || text[length - 1] == ' ') return false;
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F) return false;
  return true;
}

/* A token is opaque: nothing is assumed of its letters. */
static const char *check_token(const char *token) {
  if (token == NULL || token[0] == '\0') return "api_key is missing";
  if (strlen(token) > LEAT_MAX_TOKEN) return "api_key is too long";
  if (!is_header_value(token))
    return "api_key holds a line end or another control character, or a space at its "
           "end: "
           "was it read from a file with what follows it?";
  return NULL;
}

static const char *check_config(const leat_config *config, const char *token) {
  const char *wrong = check_token(token);
  if (wrong) return wrong;
  if (config->api_key && config->access_token)
    return "api_key and access_token are both given: one of them is needed";
  if (config->user_agent && (strlen(config->user_agent) > LEAT_MAX_USER_AGENT ||
                             !is_header_value(config->user_agent)))
    return "user_agent is empty, too long, or holds what no header may carry";
  if (config->timeout_ms < 0 || config->timeout_ms > LEAT_MAX_TIMEOUT_MS)
    return "timeout must lie between 0 and a day";
  if (config->connect_timeout_ms < 0 || config->connect_timeout_ms > LEAT_MAX_TIMEOUT_MS)
    return "connect_timeout must lie between 0 and a day";
  if (config->max_body > LEAT_MAX_MAX_BODY) return "max_body is too large";
  return NULL;
}

static char *make_authorization(const char *token) {
  size_t length = strlen(token);
  char *text = malloc(sizeof bearer + length);
  if (text == NULL) return NULL;
  memcpy(text, bearer, sizeof bearer - 1);
  memcpy(text + sizeof bearer - 1, token, length + 1);
  return text;
}

static void add_header(leat_client *client, const char *name, const char *value) {
  client->headers[client->header_count++] = (leat_header){leat_s(name), leat_s(value)};
}

static void make_headers(leat_client *client) {
  add_header(client, "Authorization", client->authorization);
  /* Without it the service may answer with a login page. */
  add_header(client, "Accept", "application/json");
  add_header(client, "Accept-Encoding", "identity");
  add_header(client, "User-Agent", client->user_agent);
  add_header(client, "Content-Type", "application/json"); /* last: see make_request */
}

static int or_default(int value, int otherwise) {
  return value ? value : otherwise;
}

static bool fill(leat_client *client, const leat_config *config, const char *token,
                 leat_error *error) {
  const char *agent = config->user_agent ? config->user_agent : "leat/" LEAT_VERSION;
  const char *base_url = config->base_url ? config->base_url : LEAT_BASE_URL;
  if (!leat__url_parse(&client->url, base_url, error)) return false;
  if (!client->url.tls && !client->url.loopback && !config->allow_http) {
    leat__error_set(
        error, LEAT_CONFIG,
        "base_url is cleartext http, which would show the key to the network: "
        "use https, or set allow_http");
    return false;
  }
  client->timeout_ms = or_default(config->timeout_ms, LEAT_DEFAULT_TIMEOUT_MS);
  client->connect_timeout_ms =
      or_default(config->connect_timeout_ms, LEAT_DEFAULT_CONNECT_TIMEOUT_MS);
  client->max_body = config->max_body ? config->max_body : LEAT_DEFAULT_MAX_BODY;
  client->authorization = make_authorization(token);
  client->user_agent = leat__copy(agent, strlen(agent));
  if (client->authorization == NULL || client->user_agent == NULL) {
    leat__error_set(error, LEAT_NO_MEMORY, "out of memory");
    return false;
  }
  make_headers(client);
  return true;
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
    leat__error_set(error, LEAT_NO_MEMORY, "out of memory");
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
  leat__wipe_free(client->authorization);
  free(client->user_agent);
  free(client);
}

void leat_client_free(leat_client *client) {
  if (client) leat__client_release(client);
}

uint64_t leat_client_epoch(const leat_client *client) {
  return client->epoch;
}

leat_string leat__client_token(const leat_client *client) {
  return leat_s(client->authorization + sizeof bearer - 1);
}
