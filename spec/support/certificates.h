/*
** certificates.h - certificates for the TLS servers of the C tests, generated at run
** time, and named after what is wrong with them.
*/
#ifndef LEAT_TEST_CERTIFICATES_H
#define LEAT_TEST_CERTIFICATES_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

typedef struct tls_identity {
  gnutls_x509_crt_t certificate;
  gnutls_x509_privkey_t key;
} tls_identity;

/* All but `other_host` are for api.test, proxy.test, other.test and 127.0.0.1. */
typedef struct certificates {
  tls_identity authority, stranger; /* ca_file contains only the first */
  tls_identity good, expired, not_yet, other_host, self_signed;
  tls_identity of_stranger; /* signed by the other authority */
  char ca_file[32], stranger_file[32];
  char policy_file[32]; /* a configuration of OpenSSL */
} certificates;

/* Also lifts OpenSSL's own policy, so that only our settings refuse TLS 1.1: call it
** before libcurl is used. */
bool certificates_make(certificates *c);
void certificates_remove(certificates *c);

#endif
