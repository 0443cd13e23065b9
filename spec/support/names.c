#include "names.h"

#include "leat_driver.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

atomic_int names_asked, names_lost;

static const struct host {
  const char *name, *addresses[2];
} hosts[] = {{"127.0.0.1", {"127.0.0.1"}},
             {"api.test", {"127.0.0.1"}},
             {"proxy.test", {"127.0.0.1"}},
             {"dead.test", {"127.0.0.2"}},
             {"two.test", {"127.0.0.2", "127.0.0.1"}}};

static const struct host *find_host(const char *name) {
  for (size_t i = 0; name && i < sizeof hosts / sizeof hosts[0]; i++)
    if (strcmp(hosts[i].name, name) == 0) return &hosts[i];
  return NULL;
}

typedef struct entry {
  struct addrinfo info;
  struct sockaddr_in address;
} entry;

static void set_entry(entry *e, const char *ip, const char *port) {
  e->address.sin_family = AF_INET;
  e->address.sin_port = htons((uint16_t)(port ? atoi(port) : 0));
  inet_pton(AF_INET, ip, &e->address.sin_addr);
  e->info.ai_family = AF_INET;
  e->info.ai_socktype = SOCK_STREAM;
  e->info.ai_protocol = IPPROTO_TCP;
  e->info.ai_addrlen = sizeof e->address;
  e->info.ai_addr = (struct sockaddr *)&e->address;
}

LEAT_API int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints,
                         struct addrinfo **result) {
  const struct host *host = find_host(name);
  int file = open("/dev/null", O_RDONLY | O_CLOEXEC); /* a resolver reads files */
  (void)hints;
  bool is_name = host != &hosts[0];
  names_asked += is_name;
  if (file < 0) return EAI_AGAIN;
  close(file);
  if ((is_name && names_lost > 0 && names_lost--) || host == NULL) return EAI_NONAME;
  entry *entries = calloc(2, sizeof *entries);
  if (entries == NULL) return EAI_MEMORY;
  set_entry(&entries[0], host->addresses[0], port);
  if (host->addresses[1]) {
    set_entry(&entries[1], host->addresses[1], port);
    entries[0].info.ai_next = &entries[1].info;
  }
  *result = &entries[0].info;
  return 0;
}

LEAT_API void freeaddrinfo(struct addrinfo *first) {
  free(first); /* the beginning of `entries` */
}
