/*
** tls_server.h - good and faulty TLS servers that forward the decrypted bytes to another
** port on localhost: to a scripted server (server.h), or a proxy. They use GnuTLS, so
** that libcurl's TLS library is tested against another one. Certificates are generated at
** run time.
*/
#ifndef LEAT_TEST_TLS_SERVER_H
#define LEAT_TEST_TLS_SERVER_H

#include "listener.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

/* ---- OpenSSL's policy ------------------------------------------------------------ */

/* Debian's OpenSSL refuses TLS 1.1 by default. This lifts its policy before libcurl is
** first used, so that only our own settings refuse it. `path` ends in XXXXXX. */
static inline bool tls_lift_policy(char *path) {
  static const char policy[] = "openssl_conf = init\n[init]\nssl_conf = ssl\n"
                               "[ssl]\nsystem_default = policy\n"
                               "[policy]\nMinProtocol = TLSv1\n"
                               "CipherString = DEFAULT:@SECLEVEL=0\n";
  int fd = mkstemp(path);
  bool written = write(fd, policy, sizeof policy - 1) == sizeof policy - 1;
  return close(fd) == 0 && written && setenv("OPENSSL_CONF", path, 1) == 0;
}

/* ---- certificates ---------------------------------------------------------------- */

typedef struct tls_identity {
  gnutls_x509_crt_t certificate;
  gnutls_x509_privkey_t key;
} tls_identity;

static inline void tls_set_validity(gnutls_x509_crt_t c, int from_day, int to_day) {
  static const time_t day = 24 * 60 * 60;
  gnutls_x509_crt_set_activation_time(c, time(NULL) + from_day * day);
  gnutls_x509_crt_set_expiration_time(c, time(NULL) + to_day * day);
}

/* Generates a key and a certificate, which is not yet complete or signed. */
static inline tls_identity tls_begin_identity(const char *name) {
  static const unsigned char serial[] = {1};
  tls_identity i;
  gnutls_x509_privkey_init(&i.key);
  gnutls_x509_privkey_generate(i.key, GNUTLS_PK_ECDSA,
                               GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
  gnutls_x509_crt_init(&i.certificate);
  gnutls_x509_crt_set_version(i.certificate, 3);
  gnutls_x509_crt_set_serial(i.certificate, serial, sizeof serial);
  gnutls_x509_crt_set_dn_by_oid(i.certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                (unsigned)strlen(name));
  gnutls_x509_crt_set_key(i.certificate, i.key);
  return i;
}

static inline bool tls_sign(tls_identity *i, const tls_identity *issuer) {
  return gnutls_x509_crt_sign2(i->certificate, issuer->certificate, issuer->key,
                               GNUTLS_DIG_SHA256, 0) == 0;
}

/* Makes a certificate authority. */
static inline bool tls_new_authority(tls_identity *i, const char *name) {
  *i = tls_begin_identity(name);
  tls_set_validity(i->certificate, -1, 365);
  gnutls_x509_crt_set_basic_constraints(i->certificate, 1, -1);
  gnutls_x509_crt_set_key_usage(i->certificate, GNUTLS_KEY_KEY_CERT_SIGN);
  return tls_sign(i, i);
}

/* Adds host names, which are separated by spaces. */
static inline void tls_add_names(gnutls_x509_crt_t c, const char *names) {
  while (*names) {
    size_t length = strcspn(names, " ");
    gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_DNSNAME, names, (unsigned)length,
                                         GNUTLS_FSAN_APPEND);
    names += length + (names[length] == ' ');
  }
}

/* Makes a server's certificate for these names and the IPv4 address, which may be NULL.
** It is valid between two days relative to now. Without an issuer it is self-signed. */
static inline bool tls_new_identity(tls_identity *i, const tls_identity *issuer,
                                    const char *names, const char *ip, int from_day,
                                    int to_day) {
  struct in_addr address;
  *i = tls_begin_identity("a server of the tests");
  gnutls_x509_crt_t c = i->certificate;
  tls_set_validity(c, from_day, to_day);
  gnutls_x509_crt_set_key_usage(c, GNUTLS_KEY_DIGITAL_SIGNATURE);
  gnutls_x509_crt_set_key_purpose_oid(c, GNUTLS_KP_TLS_WWW_SERVER, 0);
  tls_add_names(c, names);
  if (ip && inet_pton(AF_INET, ip, &address) == 1)
    gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_IPADDRESS, &address,
                                         sizeof address, GNUTLS_FSAN_APPEND);
  return tls_sign(i, issuer ? issuer : i);
}

static inline void tls_free_identity(tls_identity *i) {
  gnutls_x509_crt_deinit(i->certificate);
  gnutls_x509_privkey_deinit(i->key);
}

/* Writes the certificate as a PEM file; `path` ends in XXXXXX, for mkstemp. */
static inline bool tls_write(const tls_identity *i, char *path) {
  gnutls_datum_t pem = {NULL, 0};
  int fd = mkstemp(path);
  bool good =
      fd >= 0 && gnutls_x509_crt_export2(i->certificate, GNUTLS_X509_FMT_PEM, &pem) == 0;
  good = good && write(fd, pem.data, pem.size) == (ssize_t)pem.size;
  gnutls_free(pem.data);
  return fd >= 0 && close(fd) == 0 && good;
}

/* ---- the server ------------------------------------------------------------------ */

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

typedef struct tls_visitor {
  gnutls_session_t session;
  int fd, target;
  size_t left; /* bytes left of the flight */
} tls_visitor;

static inline ssize_t tls_push(gnutls_transport_ptr_t to, const void *data, size_t size) {
  tls_visitor *v = to;
  size_t part = size < v->left ? size : v->left;
  ssize_t n = part > 0 ? send(v->fd, data, part, MSG_NOSIGNAL) : 0;
  if (n > 0 && v->left != SIZE_MAX) v->left -= (size_t)n;
  if (n > 0 || part == size) return n;
  errno = EPIPE;
  return -1;
}

static inline bool tls_handshake(tls_server *s, tls_visitor *v) {
  const tls_options *o = &s->options;
  gnutls_datum_t alpn = {(unsigned char *)(uintptr_t)o->alpn, 0};
  int result;
  usleep((useconds_t)o->begin_ms * 1000);
  v->left = o->flight ? o->flight : SIZE_MAX;
  gnutls_priority_set_direct(v->session, o->priority ? o->priority : "NORMAL", NULL);
  gnutls_credentials_set(v->session, GNUTLS_CRD_CERTIFICATE, s->credentials);
  if (o->wants_certificate)
    gnutls_certificate_server_set_request(v->session, GNUTLS_CERT_REQUIRE);
  gnutls_session_ticket_enable_server(v->session, &s->ticket_key);
  gnutls_transport_set_push_function(v->session, tls_push);
  gnutls_transport_set_ptr2(v->session, (gnutls_transport_ptr_t)(intptr_t)v->fd, v);
  if (o->alpn) {
    alpn.size = (unsigned)strlen(o->alpn);
    gnutls_alpn_set_protocols(v->session, &alpn, 1, GNUTLS_ALPN_MANDATORY);
  }
  do
    result = gnutls_handshake(v->session);
  while (result < 0 && !gnutls_error_is_fatal(result));
  if (o->alert || result < 0) usleep((useconds_t)o->refuse_after_ms * 1000);
  if (result == 0 && o->alert)
    result = gnutls_alert_send(v->session, GNUTLS_AL_FATAL, o->alert) - 1;
  else if (result < 0 && !o->flight) gnutls_alert_send_appropriate(v->session, result);
  return result == 0;
}

/* Returns true if all of it was sent. */
static inline bool tls_send(const tls_visitor *v, const void *data, size_t size) {
  ssize_t n;
  do
    n = gnutls_record_send(v->session, data, size);
  while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
  return n == (ssize_t)size; /* tests send at most one record at a time */
}

/* Performs one order. Returns false if the connection is to be closed. */
static inline bool tls_obey(tls_server *s, const tls_visitor *v) {
  unsigned char order;
  if (read(s->orders[0], &order, 1) != 1) return false;
  if (order == TLS_TICKETS) gnutls_session_ticket_send(v->session, 2, 0);
  if (order == TLS_NEW_KEYS) gnutls_session_key_update(v->session, GNUTLS_KU_PEER);
  if (order == TLS_GOODBYE) gnutls_bye(v->session, GNUTLS_SHUT_WR);
  if (order == TLS_ALERT)
    gnutls_alert_send(v->session, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR);
  s->obeyed++;
  return order != TLS_GOODBYE && order != TLS_ALERT;
}

/* Forwards the available data in either direction. Returns false if a side has ended. */
static inline bool tls_carry(tls_server *s, const tls_visitor *v) {
  char data[16384]; /* the size of a record */
  struct pollfd fds[4] = {
      {v->fd, POLLIN, 0}, {v->target, POLLIN, 0}, {s->orders[0], POLLIN, 0}};
  if (gnutls_record_check_pending(v->session) > 0) fds[0].revents = POLLIN;
  else if (!listener_wait(&s->at, fds, 3)) return false;
  if (fds[0].revents) {
    ssize_t n = gnutls_record_recv(v->session, data, sizeof data);
    if (n == 0 || (n < 0 && gnutls_error_is_fatal((int)n))) return false;
    if (n > 0 && !listener_send(v->target, data, (size_t)n)) return false;
  }
  if (fds[1].revents) {
    ssize_t n = recv(v->target, data, sizeof data, 0);
    if (n <= 0 || !tls_send(v, data, (size_t)n)) return false;
  }
  return fds[2].revents == 0 || tls_obey(s, v);
}

static inline void tls_talk(tls_server *s, tls_visitor *v) {
  const tls_options *o = &s->options;
  s->handshakes++;
  s->resumed += gnutls_session_is_resumed(v->session) != 0;
  if ((v->target = listener_connect(s->target)) < 0) return;
  usleep((useconds_t)o->rest_ms * 1000);
  fcntl(v->fd, F_SETFL, O_NONBLOCK); /* a record may contain no data */
  if (o->hello == NULL || tls_send(v, o->hello, o->hello_length))
    while (tls_carry(s, v))
      continue;
  if (!o->cut) gnutls_bye(v->session, GNUTLS_SHUT_WR);
  close(v->target);
}

static inline void tls_visit(listener *at, int fd) {
  tls_server *s = (tls_server *)(void *)at;
  tls_visitor v = {.fd = fd};
  char rest[512];
  bool at_once = s->options.alert && s->options.refuse_after_ms == 0;
  gnutls_init(&v.session, GNUTLS_SERVER | (at_once ? GNUTLS_ENABLE_EARLY_START : 0));
  if (tls_handshake(s, &v)) tls_talk(s, &v);
  else if (s->options.flight && s->options.then == RESET) listener_reset(fd);
  else if (s->options.flight && s->options.then == STAY)
    while (listener_wait_for(at, fd) && recv(fd, rest, sizeof rest, 0) > 0)
      continue;
  gnutls_deinit(v.session);
}

/* Reduces packets and buffers, so that little data is buffered between client and
** server. */
static inline void tls_make_narrow(int fd) {
  int packet = 536, buffer = 16384;
  setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &packet, sizeof packet);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
}

static inline bool tls_start(tls_server *s, const tls_options *options, int target) {
  memset(s, 0, sizeof *s);
  s->options = *options;
  s->target = target;
  gnutls_certificate_allocate_credentials(&s->credentials);
  gnutls_session_ticket_key_generate(&s->ticket_key);
  tls_identity own = *options->identity;
  if (gnutls_certificate_set_x509_key(s->credentials, &own.certificate, 1, own.key) !=
          0 ||
      pipe(s->orders) != 0 || !listener_start(&s->at, tls_visit))
    return false;
  if (options->rest_ms) tls_make_narrow(s->at.fd);
  return true;
}

static inline void tls_stop(tls_server *s) {
  listener_stop(&s->at);
  close(s->orders[0]);
  close(s->orders[1]);
  gnutls_certificate_free_credentials(s->credentials);
  gnutls_free(s->ticket_key.data);
}

/* Makes one of its connections perform the order, and waits until it has done so. */
static inline bool tls_give_order(tls_server *s, tls_order what) {
  unsigned char order = (unsigned char)what;
  int before = s->obeyed;
  if (write(s->orders[1], &order, 1) != 1) return false;
  for (int i = 0; i < 5000 && s->obeyed == before; i++)
    usleep(1000);
  return s->obeyed > before;
}

#endif
