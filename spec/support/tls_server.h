/*
** tls_server.h - good and faulty TLS servers that forward the decrypted bytes to another
** port on localhost: to a scripted server (http_server.h), or a proxy. They use GnuTLS,
** so that libcurl's TLS library is tested against another one.
*/
#ifndef LEAT_TEST_TLS_SERVER_H
#define LEAT_TEST_TLS_SERVER_H

#include "certificates.h"
#include "listener.h"

/* GnuTLS priority strings. */
#define TLS_1_1 "NORMAL:-VERS-ALL:+VERS-TLS1.1"
#define TLS_1_2 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define TLS_1_3 "NORMAL:-VERS-ALL:+VERS-TLS1.3"

typedef struct tls_options {
  const tls_identity *identity;
  const char *priority; /* GnuTLS priority string; NULL: NORMAL */
  const char *alpn;     /* the only protocol for ALPN, required; NULL: any */
  size_t flight;        /* how many bytes of its handshake are sent; 0: all */
  after then;           /* after the flight; STAY: it hangs */
  const char *hello;    /* sent as soon as the handshake is done */
  size_t hello_length;
  int begin_ms;           /* delay before the handshake */
  int rest_ms;            /* time without reading, with small buffers */
  bool cut;               /* the connection ends without close_notify */
  bool wants_certificate; /* refuses clients without a certificate */
  gnutls_alert_description_t
      alert;           /* if not 0: sent after the handshake, then it closes */
  int refuse_after_ms; /* delays the alert until the request has been sent */
} tls_options;

/* Actions on demand, not in reply to anything, or behind a request. */
typedef enum tls_order { TLS_TICKETS, TLS_NEW_KEYS, TLS_GOODBYE, TLS_ALERT } tls_order;

typedef struct tls_server {
  listener at;
  tls_options options;
  int target; /* the port to forward to */
  int orders[2];
  atomic_int obeyed, handshakes, resumed;
  gnutls_certificate_credentials_t credentials;
  gnutls_datum_t ticket_key;
} tls_server;

bool tls_start(tls_server *s, const tls_options *options, int target);
void tls_stop(tls_server *s);

/* Makes one of its connections perform the order, and waits until it has done so. */
bool tls_give_order(tls_server *s, tls_order what);

#endif
