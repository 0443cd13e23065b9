/*
** names.h - a getaddrinfo that replaces the system's for libcurl, in programs that use
** one of these variables. "api.test" and "proxy.test" resolve to 127.0.0.1, "dead.test"
** to 127.0.0.2, "two.test" to 127.0.0.2 and then 127.0.0.1. No other names exist.
*/
#ifndef LEAT_TEST_NAMES_H
#define LEAT_TEST_NAMES_H

#include <stdatomic.h>

extern atomic_int names_asked; /* how many queries there were */
extern atomic_int names_lost;  /* how many of the next queries fail */

#endif
