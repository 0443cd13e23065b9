/*
** client.c - settings, and what the calls of one account share.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const char bearer[] = "Bearer ";

/* What a header may carry and a person may have meant: visible ASCII, and for a
** User-Agent spaces too. */
static bool is_visible(const char *text, bool spaces) {
  for (; *text; text++)
    if ((unsigned char)*text > 0x7E || *text < (spaces ? 0x20 : 0x21)) return false;
  return true;
}

static const char *check_token(const char *token) {
  if (token == NULL || token[0] == '\0') return "api_key is missing";
  if (strlen(token) > LEAT_MAX_TOKEN) return "api_key is too long";
  if (!is_visible(token, false))
    return "api_key holds a space, a line end or another character that no key has";
  return NULL;
}

static const char *check_config(const leat_config *config, const char *token) {
  const char *wrong = check_token(token);
  if (wrong) return wrong;
  if (config->api_key && config->access_token)
    return "api_key and access_token are both given: one of them is needed";
  if (config->user_agent && (strlen(config->user_agent) > LEAT_MAX_USER_AGENT ||
                             !is_visible(config->user_agent, true)))
    return "user_agent is too long, or holds a character that no header may carry";
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
  if (client->authorization && client->user_agent) return true;
  leat__error_set(error, LEAT_NO_MEMORY, "out of memory");
  return false;
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
