/*
** names.h - a getaddrinfo that replaces the system's for libcurl: "api.test" and
** "proxy.test" resolve to 127.0.0.1, and no other names exist. Include it only once in a
** program.
*/
#ifndef LEAT_TEST_NAMES_H
#define LEAT_TEST_NAMES_H

#include "leat_driver.h"
#include "listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <string.h>

static atomic_int names_asked;
static atomic_int names_lost; /* how many of the next queries fail */

LEAT_API int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints,
                         struct addrinfo **result) {
  struct found {
    struct addrinfo info;
    struct sockaddr_in address;
  } * found;
  int file = open("/dev/null", O_RDONLY | O_CLOEXEC); /* a resolver reads files */
  (void)hints;
  names_asked++;
  if (file < 0) return EAI_AGAIN;
  close(file);
  if (names_lost > 0 && names_lost--) return EAI_NONAME;
  if (name == NULL || (strcmp(name, "api.test") != 0 && strcmp(name, "proxy.test") != 0))
    return EAI_NONAME;
  if ((found = calloc(1, sizeof *found)) == NULL) return EAI_MEMORY;
  found->address = listener_address(port ? atoi(port) : 0);
  found->info.ai_family = AF_INET;
  found->info.ai_socktype = SOCK_STREAM;
  found->info.ai_protocol = IPPROTO_TCP;
  found->info.ai_addrlen = sizeof found->address;
  found->info.ai_addr = (struct sockaddr *)(void *)&found->address;
  *result = &found->info;
  return 0;
}

LEAT_API void freeaddrinfo(struct addrinfo *a) {
  free(a); /* `info` is the first member of `found` */
}

#endif
