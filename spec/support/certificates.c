#include "certificates.h"

#include <arpa/inet.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Writes a new file, whose name is stored in `path`. */
static bool write_file(char path[32], const void *data, size_t size) {
  strcpy(path, "/tmp/leat-test-XXXXXX");
  int fd = mkstemp(path);
  bool written = write(fd, data, size) == (ssize_t)size;
  return close(fd) == 0 && written;
}

/* Debian's OpenSSL refuses TLS 1.1 by default. */
static bool lift_policy(char path[32]) {
  static const char policy[] = "openssl_conf = init\n[init]\nssl_conf = ssl\n"
                               "[ssl]\nsystem_default = policy\n"
                               "[policy]\nMinProtocol = TLSv1\n"
                               "CipherString = DEFAULT:@SECLEVEL=0\n";
  return write_file(path, policy, sizeof policy - 1) &&
         setenv("OPENSSL_CONF", path, 1) == 0;
}

static bool write_certificate(const tls_identity *i, char path[32]) {
  gnutls_datum_t pem = {NULL, 0};
  bool good = gnutls_x509_crt_export2(i->certificate, GNUTLS_X509_FMT_PEM, &pem) == 0 &&
              write_file(path, pem.data, pem.size);
  gnutls_free(pem.data);
  return good;
}

/* ---- identities ------------------------------------------------------------------ */

static void set_validity(gnutls_x509_crt_t c, int from_day, int to_day) {
  static const time_t day = 24 * 60 * 60;
  gnutls_x509_crt_set_activation_time(c, time(NULL) + from_day * day);
  gnutls_x509_crt_set_expiration_time(c, time(NULL) + to_day * day);
}

/* Generates a key and a certificate, which is not yet complete or signed. */
static tls_identity begin_identity(const char *name) {
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

static bool sign(tls_identity *i, const tls_identity *issuer) {
  return gnutls_x509_crt_sign2(i->certificate, issuer->certificate, issuer->key,
                               GNUTLS_DIG_SHA256, 0) == 0;
}

static bool make_authority(tls_identity *i, const char *name) {
  *i = begin_identity(name);
  set_validity(i->certificate, -1, 365);
  gnutls_x509_crt_set_basic_constraints(i->certificate, 1, -1);
  gnutls_x509_crt_set_key_usage(i->certificate, GNUTLS_KEY_KEY_CERT_SIGN);
  return sign(i, i);
}

static void add_name(gnutls_x509_crt_t c, const char *name) {
  gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_DNSNAME, name,
                                       (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
}

static void add_hosts(gnutls_x509_crt_t c, bool other_host) {
  struct in_addr address;
  inet_pton(AF_INET, other_host ? "10.0.0.1" : "127.0.0.1", &address);
  gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_IPADDRESS, &address, sizeof address,
                                       GNUTLS_FSAN_APPEND);
  if (other_host) {
    add_name(c, "another.test");
    return;
  }
  add_name(c, "api.test");
  add_name(c, "proxy.test");
  add_name(c, "other.test");
}

/* Makes a server's certificate, which is valid between two days relative to now. Without
** an issuer it is self-signed. */
static bool make_server(tls_identity *i, const tls_identity *issuer, bool other_host,
                        int from_day, int to_day) {
  *i = begin_identity("a server of the tests");
  gnutls_x509_crt_t c = i->certificate;
  set_validity(c, from_day, to_day);
  gnutls_x509_crt_set_key_usage(c, GNUTLS_KEY_DIGITAL_SIGNATURE);
  gnutls_x509_crt_set_key_purpose_oid(c, GNUTLS_KP_TLS_WWW_SERVER, 0);
  add_hosts(c, other_host);
  return sign(i, issuer ? issuer : i);
}

/* ---- the set --------------------------------------------------------------------- */

bool certificates_make(certificates *c) {
  return lift_policy(c->policy_file) &&
         make_authority(&c->authority, "an authority of the tests") &&
         make_authority(&c->stranger, "another authority") &&
         write_certificate(&c->authority, c->ca_file) &&
         write_certificate(&c->stranger, c->stranger_file) &&
         make_server(&c->good, &c->authority, false, -9, 9) &&
         make_server(&c->expired, &c->authority, false, -9, -1) &&
         make_server(&c->not_yet, &c->authority, false, 2, 9) &&
         make_server(&c->other_host, &c->authority, true, -9, 9) &&
         make_server(&c->self_signed, NULL, false, -9, 9) &&
         make_server(&c->of_stranger, &c->stranger, false, -9, 9);
}

void certificates_remove(certificates *c) {
  tls_identity *all[] = {&c->authority, &c->stranger,   &c->good,        &c->expired,
                         &c->not_yet,   &c->other_host, &c->self_signed, &c->of_stranger};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    gnutls_x509_crt_deinit(all[i]->certificate);
    gnutls_x509_privkey_deinit(all[i]->key);
  }
  unlink(c->ca_file);
  unlink(c->stranger_file);
  unlink(c->policy_file);
}
