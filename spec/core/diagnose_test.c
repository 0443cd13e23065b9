/*
** diagnose_test.c - the explanations of failures to connect. Uses no socket.
*/
#include "diagnose.h"
#include "test.h"

#define SHORT_CLOCK "this machine's clock says 2023-11-14 22:13 UTC"

typedef struct example {
  const char *name;
  leat__connect_failure failure;
  leat_kind kind;
  const char *says,
      *advises; /* pieces of the message; advises NULL: there is no advice */
} example;

static const example examples[] = {
    {"nothing listens",
     {.result = CURLE_COULDNT_CONNECT, .message = "Failed to connect: refused"},
     LEAT_CONNECTION,
     "no connection to https://api.test: Failed to connect: refused",
     "does a server run there"},
    {"libcurl's message ends in blanks",
     {.result = CURLE_PEER_FAILED_VERIFICATION, .message = "certificate has expired  "},
     LEAT_TLS,
     "certificate has expired (" SHORT_CLOCK,
     "the server needs another certificate"},
    {"an unknown authority",
     {.result = CURLE_PEER_FAILED_VERIFICATION,
      .message = "unable to get local issuer certificate"},
     LEAT_TLS,
     "issuer certificate (it is not signed by an authority",
     "intermediate certificate"},
    {"an alert outranks the result",
     {.result = CURLE_RECV_ERROR, .message = "tlsv13 alert certificate required"},
     LEAT_TLS,
     "alert certificate required",
     "requires a client certificate"},
    {"a broken handshake may be retried",
     {.result = CURLE_SSL_CONNECT_ERROR, .message = "SSL_ERROR_SYSCALL"},
     LEAT_CONNECTION,
     "SYSCALL",
     "try again"},
    {"no response in the handshake",
     {.result = CURLE_OPERATION_TIMEDOUT,
      .message = "Timeout was reached",
      .awaited_handshake = true},
     LEAT_TIMEOUT,
     "SSL connection timeout",
     "does not respond to TLS"},
    {"a timeout before the handshake",
     {.result = CURLE_OPERATION_TIMEDOUT, .message = "Timeout was reached"},
     LEAT_TIMEOUT,
     "Timeout was reached",
     "timeout ended first"},
    {"out of memory",
     {.result = CURLE_OUT_OF_MEMORY, .message = "Out of memory"},
     LEAT_NO_MEMORY,
     "Out of memory",
     NULL},
    {"no more descriptors",
     {.result = CURLE_COULDNT_RESOLVE_HOST,
      .message = "Could not resolve host",
      .lacks_descriptors = true},
     LEAT_LOCAL,
     "this process may open no more descriptors",
     NULL},
    {"a proxy that wants a password",
     {.result = CURLE_COULDNT_CONNECT,
      .message = "CONNECT tunnel failed",
      .http_status = 407,
      .proxy = "127.0.0.1:3128"},
     LEAT_CONFIG,
     "through the proxy 127.0.0.1:3128: the proxy responded with HTTP 407",
     "user:password@"},
    {"a proxy of the environment that refuses",
     {.result = CURLE_COULDNT_CONNECT,
      .message = "CONNECT tunnel failed",
      .http_status = 403,
      .proxy = "127.0.0.1:3128",
      .proxy_from_environment = true},
     LEAT_CONFIG,
     "through the environment's proxy 127.0.0.1:3128: the proxy responded with HTTP 403",
     "its rules forbid it"},
    {"a gateway of a proxy",
     {.result = CURLE_COULDNT_CONNECT, .message = "", .http_status = 502},
     LEAT_CONNECTION,
     "the proxy responded with HTTP 502",
     "did not reach the server"},
    {"a SOCKS proxy that forbids it",
     {.result = CURLE_PROXY,
      .message = "cannot complete SOCKS5",
      .socks = CURLPX_REPLY_NOT_ALLOWED,
      .proxy = "127.0.0.1:1080"},
     LEAT_CONFIG,
     "cannot complete SOCKS5",
     "the proxy's rules forbid it"},
    {"a proxy that does not listen",
     {.result = CURLE_COULDNT_CONNECT, .message = "refused", .proxy = "127.0.0.1:9"},
     LEAT_CONNECTION,
     "through the proxy 127.0.0.1:9: refused",
     "address of a working proxy"},
    {"a proxy without an address, as libcurl 8.14 may report it",
     {.result = CURLE_COULDNT_RESOLVE_HOST, .message = "Could not resolve proxy: p.test"},
     LEAT_CONNECTION,
     "Could not resolve proxy: p.test",
     "https_proxy"},
    {"a proxy's URL is never shown",
     {.result = CURLE_COULDNT_RESOLVE_PROXY,
      .message = "Unsupported proxy syntax in 'http://me:secret@['"},
     LEAT_CONFIG,
     "the proxy's URL is not understood",
     "the option proxy"},
};

static void test_example(const example *e) {
  char text[512], small[40];
  leat__connect_failure failure = e->failure;
  TEST(e->name);
  failure.origin = "https://api.test";
  failure.unix_s = 1700000000;
  if (failure.proxy == NULL) failure.proxy = "";
  CHECK(leat__diagnose(&failure, text, sizeof text) == e->kind);
  bool fine = CHECK(strncmp(text, "no connection to ", 17) == 0);
  fine &= CHECK(strstr(text, e->says) != NULL);
  fine &=
      CHECK(e->advises ? strstr(text, e->advises) != NULL : strchr(text, '(') == NULL);
  fine &= CHECK(strstr(text, "secret") == NULL);
  if (!fine) printf("  %s\n", text);
  leat__diagnose(&failure, small, sizeof small);
  CHECK(strlen(small) == sizeof small - 1 && strncmp(small, text, sizeof small - 1) == 0);
}

int main(void) {
  for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++)
    test_example(&examples[i]);
  return test_summary("diagnose");
}
