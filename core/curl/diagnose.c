/*
** diagnose.c - explains why a connection could not be made: which kind of failure it is,
** what happened, and what to do. It uses libcurl's constants, and calls nothing of it.
*/
#include "diagnose.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* What happened, and advice for people. */
typedef struct reason {
  leat_kind kind;
  const char *text, *advice; /* advice may be NULL */
} reason;

/* ---- libcurl's results ----------------------------------------------------------- */

static const char dates[] =
    "if that is wrong, set it; if not, the server needs another certificate";
static const char unknown[] =
    "it is not signed by an authority in ca_file or, without one, on this machine: if "
    "the server is the right one, put its issuer's certificate into ca_file, as PEM";
static const char no_issuer[] =
    "it is not signed by an authority in ca_file or, without one, on this machine, or "
    "the server does not send its intermediate certificate: if the server is the right "
    "one, put its issuer's certificate into ca_file, as PEM, or have its owner add what "
    "is missing";
static const char proxy_settings[] =
    "the option proxy, or https_proxy and the like in the environment, names it";
static const char not_tls[] = "the server does not speak TLS there: is the port right?";
static const char too_old[] =
    "the server speaks no TLS 1.2 or later: it has to be updated";
static const char broken[] =
    "the connection broke while TLS was set up: try again; is the port right?";
static const char unreached[] =
    "it did not reach the server: try again, or ask who runs the proxy";
static const char wants_user[] = "it requires a user and a password, or refuses these: "
                                 "put user:password@ before the host in its URL";

/* Advice that libcurl's messages lack. The first row applies that has the same result and
** whose `seen` occurs in the message. */
static const struct hint {
  CURLcode result;
  leat_kind kind;
  const char *seen, *advice;
} hints[] = {
    {CURLE_PEER_FAILED_VERIFICATION, LEAT_TLS, "subject name",
     "is that the right host, or does something else respond in its place, such as a "
     "network's login page?"},
    {CURLE_PEER_FAILED_VERIFICATION, LEAT_TLS, "expired", dates},
    {CURLE_PEER_FAILED_VERIFICATION, LEAT_TLS, "not yet valid", dates},
    {CURLE_PEER_FAILED_VERIFICATION, LEAT_TLS, "self-signed", unknown},
    {CURLE_PEER_FAILED_VERIFICATION, LEAT_TLS, "self signed", unknown},
    {CURLE_PEER_FAILED_VERIFICATION, LEAT_TLS, "issuer", no_issuer},
    {CURLE_PEER_FAILED_VERIFICATION, LEAT_TLS, "first certificate", no_issuer},
    {CURLE_SSL_CACERT_BADFILE, LEAT_CONFIG, "",
     "is ca_file right? Without it: are the system's certificates installed, package "
     "ca-certificates?"},
    {CURLE_SSL_CONNECT_ERROR, LEAT_NO_MEMORY, "malloc failure", NULL},
    {CURLE_SSL_CONNECT_ERROR, LEAT_TLS, "wrong version number", not_tls},
    {CURLE_SSL_CONNECT_ERROR, LEAT_TLS, "packet length too long", not_tls},
    {CURLE_SSL_CONNECT_ERROR, LEAT_TLS, "unsupported protocol", too_old},
    {CURLE_SSL_CONNECT_ERROR, LEAT_TLS, "protocol version", too_old},
    {CURLE_SSL_CONNECT_ERROR, LEAT_TLS, "handshake failure",
     "client and server have no cipher in common, or the server requires a client "
     "certificate"},
    {CURLE_SSL_CONNECT_ERROR, LEAT_TLS, "certificate required",
     "the server requires a client certificate, and none is sent: are host and port "
     "right?"},
    {CURLE_SSL_CONNECT_ERROR, LEAT_TLS, "application protocol",
     "the server speaks HTTP/2 only, and HTTP/1.1 is needed"},
    /* these do not call the server's identity into question, and a retry may succeed */
    {CURLE_SSL_CONNECT_ERROR, LEAT_CONNECTION, "SYSCALL", broken},
    {CURLE_SSL_CONNECT_ERROR, LEAT_CONNECTION, "unexpected eof", broken},
    {CURLE_SSL_CONNECT_ERROR, LEAT_CONNECTION, " failure: ", broken},
    {CURLE_OPERATION_TIMEDOUT, LEAT_TIMEOUT, "SSL",
     "it accepts connections, but does not respond to TLS: is the port right?"},
    {CURLE_OPERATION_TIMEDOUT, LEAT_TIMEOUT, "Timeout was reached",
     "the call's timeout ended first: is it long enough?"},
    {CURLE_COULDNT_RESOLVE_HOST, LEAT_LOCAL, "thread failed to start", NULL},
    {CURLE_COULDNT_RESOLVE_PROXY, LEAT_CONNECTION, "", proxy_settings},
    /* libcurl 8.14 reports an unknown proxy like this, too */
    {CURLE_COULDNT_RESOLVE_HOST, LEAT_CONNECTION, "resolve proxy", proxy_settings},
};

static bool has(const char *text, const char *piece) {
  return strstr(text, piece) != NULL;
}

bool leat__is_alert(const char *message) {
  return has(message, " alert ");
}

static leat_kind kind_of(CURLcode result) {
  switch (result) {
    case CURLE_OPERATION_TIMEDOUT: return LEAT_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR: return LEAT_TLS;
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT: return LEAT_CONFIG;
    case CURLE_OUT_OF_MEMORY: return LEAT_NO_MEMORY;
    default: return LEAT_CONNECTION;
  }
}

static reason explain(CURLcode result, const char *text) {
  if (leat__is_alert(text)) result = CURLE_SSL_CONNECT_ERROR; /* perhaps from a proxy */
  for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
    if (hints[i].result == result && has(text, hints[i].seen))
      return (reason){hints[i].kind, text, hints[i].advice};
  return (reason){kind_of(result), text, NULL};
}

/* ---- proxies --------------------------------------------------------------------- */

/* A proxy responded with an HTTP status instead of a tunnel. */
static reason refused_by_http(const char *text, long status) {
  if (status == 407) return (reason){LEAT_CONFIG, text, wants_user};
  if (status >= 500) return (reason){LEAT_CONNECTION, text, unreached};
  return (reason){LEAT_CONFIG, text, "its rules forbid it, or it is not a proxy"};
}

static reason refused_by_socks(const char *text, CURLproxycode why) {
  switch (why) {
    case CURLPX_NO_AUTH:
    case CURLPX_USER_REJECTED: return (reason){LEAT_CONFIG, text, wants_user};
    case CURLPX_REPLY_NOT_ALLOWED:
      return (reason){LEAT_CONFIG, text, "the proxy's rules forbid it"};
    case CURLPX_BAD_VERSION:
      return (reason){LEAT_CONFIG, text, "is that a SOCKS proxy, and of that version?"};
    case CURLPX_RESOLVE_HOST:
      return (reason){LEAT_CONNECTION, text,
                      "with socks5h:// the proxy resolves the name"};
    case CURLPX_REPLY_GENERAL_SERVER_FAILURE:
    case CURLPX_REPLY_NETWORK_UNREACHABLE:
    case CURLPX_REPLY_HOST_UNREACHABLE:
    case CURLPX_REPLY_CONNECTION_REFUSED:
    case CURLPX_REPLY_TTL_EXPIRED: return (reason){LEAT_CONNECTION, text, unreached};
    default: return (reason){LEAT_CONNECTION, text, NULL};
  }
}

/* ---- the message ----------------------------------------------------------------- */

/* `http` tells of the HTTP status of a proxy, if there is one. */
static reason find_reason(const leat__connect_failure *failure, const char *http) {
  if (failure->lacks_descriptors)
    return (reason){LEAT_LOCAL, "this process may open no more descriptors", NULL};
  /* libcurl's own message would show the URL, with its password. */
  if (has(failure->message, "Unsupported proxy"))
    return (reason){LEAT_CONFIG, "the proxy's URL is not understood", proxy_settings};
  if (failure->http_status >= 300) return refused_by_http(http, failure->http_status);
  if (failure->socks != CURLPX_OK)
    return refused_by_socks(failure->message, failure->socks);
  bool handshake =
      failure->result == CURLE_OPERATION_TIMEDOUT && failure->awaited_handshake;
  return explain(failure->result,
                 handshake ? "SSL connection timeout" : failure->message);
}

/* Returns advice for a failure without a hint of its own; NULL if there is none. */
static const char *usual_advice(const leat__connect_failure *failure, leat_kind kind) {
  if (failure->proxy[0]) return "is that the address of a working proxy?";
  return kind == LEAT_CONNECTION ? "is that the right address, does a server run there, "
                                   "and is this machine on the network?"
                                 : NULL;
}

/* Writes " (this machine's clock says 2026-12-31 23:59 UTC: if ...)", the clock only for
** advice about dates; "" if there is no advice. */
static void write_advice(char *out, size_t size, const char *advice, int64_t unix_s) {
  char clock[64] = "";
  time_t now = (time_t)unix_s;
  struct tm utc;
  if (advice == dates && gmtime_r(&now, &utc))
    strftime(clock, sizeof clock, "this machine's clock says %Y-%m-%d %H:%M UTC: ", &utc);
  out[0] = '\0';
  if (advice) snprintf(out, size, " (%s%s)", clock, advice);
}

/* Writes " through the proxy 127.0.0.1:3128"; "" if there is no proxy. */
static void write_proxy(char *out, size_t size, const leat__connect_failure *failure) {
  out[0] = '\0';
  if (failure->proxy[0])
    snprintf(out, size, " through the %sproxy %s",
             failure->proxy_from_environment ? "environment's " : "", failure->proxy);
}

leat_kind leat__diagnose(const leat__connect_failure *failure, char *text, size_t size) {
  char proxy[96], http[64], advice[256];
  snprintf(http, sizeof http, "the proxy responded with HTTP %ld", failure->http_status);
  reason r = find_reason(failure, http);
  size_t length = strlen(r.text);
  while (length > 0 && r.text[length - 1] == ' ') /* OpenSSL's messages may end so */
    length--;
  write_proxy(proxy, sizeof proxy, failure);
  write_advice(advice, sizeof advice, r.advice ? r.advice : usual_advice(failure, r.kind),
               failure->unix_s);
  snprintf(text, size, "no connection to %s%s: %.*s%s", failure->origin, proxy,
           (int)length, r.text, advice);
  return r.kind;
}
