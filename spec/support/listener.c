#include "listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { VISITORS = 2048 }; /* in total */

typedef struct guest {
  listener *at;
  int fd;
} guest;

/* ---- threads --------------------------------------------------------------------- */

bool listener_wait(const listener *at, struct pollfd *fds, nfds_t count) {
  fds[count] = (struct pollfd){at->stop[0], POLLIN, 0};
  return poll(fds, count + 1, -1) > 0 && fds[count].revents == 0;
}

bool listener_wait_for(const listener *at, int fd) {
  struct pollfd fds[2] = {{fd, POLLIN, 0}};
  return listener_wait(at, fds, 1);
}

static void *visit(void *argument) {
  guest g = *(guest *)argument;
  int at_once = 1;
  free(argument);
  setsockopt(g.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
  g.at->visit(g.at, g.fd);
  close(g.fd);
  g.at->closed++;
  return NULL;
}

static void *run(void *argument) {
  listener *at = argument;
  pthread_t threads[VISITORS];
  int count = 0;
  while (count < VISITORS && listener_wait_for(at, at->fd)) {
    guest *g = malloc(sizeof *g);
    *g = (guest){at, accept(at->fd, NULL, NULL)};
    at->connections++;
    pthread_create(&threads[count++], NULL, visit, g);
  }
  while (count > 0)
    pthread_join(threads[--count], NULL);
  return NULL;
}

bool listener_start(listener *at, void (*visitor)(listener *at, int fd)) {
  at->visit = visitor;
  at->fd = listener_bind("127.0.0.1", 0);
  if (at->fd < 0 || listen(at->fd, 512) != 0 || pipe(at->stop) != 0) return false;
  at->port = listener_port(at->fd);
  return pthread_create(&at->thread, NULL, run, at) == 0;
}

void listener_stop(listener *at) {
  close(at->stop[1]);
  pthread_join(at->thread, NULL);
  close(at->stop[0]);
  close(at->fd);
}

bool listener_wait_closed(const listener *at, int count) {
  for (int i = 0; i < 5000 && at->closed < count; i++)
    usleep(1000);
  return at->closed >= count;
}

/* ---- sockets --------------------------------------------------------------------- */

int listener_bind(const char *ip, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  inet_pton(AF_INET, ip, &address.sin_addr);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

static struct sockaddr_in address_of(int fd) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t length = sizeof address;
  getsockname(fd, (struct sockaddr *)&address, &length);
  return address;
}

int listener_port(int fd) {
  return ntohs(address_of(fd).sin_port);
}

bool listener_fill(int fd, int full[4]) {
  struct sockaddr_in address = address_of(fd);
  if (listen(fd, 0) != 0) return false;
  for (int i = 0; i < 4; i++) {
    full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    connect(full[i], (struct sockaddr *)&address, sizeof address);
  }
  return true;
}

int listener_connect(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

bool listener_send(int fd, const void *data, size_t size) {
  return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

void listener_reset(int fd) {
  struct linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}
