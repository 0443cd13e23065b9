/*
** listener.h - a port of this machine that the system picks, and a thread for each who
** comes: what the servers of the tests on TLS and proxies stand on.
*/
#ifndef LEAT_TEST_LISTENER_H
#define LEAT_TEST_LISTENER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENER_VISITORS = 2048 }; /* over its life */

typedef struct listener listener; /* the first member of the server whose it is */

struct listener {
  int fd, port, stop[2];
  void (*visit)(listener *at,
                int fd); /* in a thread of its own; `fd` is not its to close */
  atomic_int connections, closed;
  pthread_t thread;
};

typedef struct guest {
  listener *at;
  int fd;
} guest;

/* Waits for something to read on the first `count` of `fds`, which has room for one more.
** False: the listener stops. */
static inline bool listener_wait(const listener *at, struct pollfd *fds, nfds_t count) {
  fds[count] = (struct pollfd){at->stop[0], POLLIN, 0};
  return poll(fds, count + 1, -1) > 0 && fds[count].revents == 0;
}

static inline bool listener_wait_for(const listener *at, int fd) {
  struct pollfd fds[2] = {{fd, POLLIN, 0}};
  return listener_wait(at, fds, 1);
}

/* A connection is closed as it is: whatever was to be said is said before. */
static inline void listener_reset(int fd) {
  struct linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static inline void *listener_visit(void *argument) {
  guest g = *(guest *)argument;
  int at_once = 1;
  free(argument);
  setsockopt(g.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
  g.at->visit(g.at, g.fd);
  close(g.fd);
  g.at->closed++;
  return NULL;
}

static inline void *listener_run(void *argument) {
  listener *at = argument;
  pthread_t threads[LISTENER_VISITORS];
  int count = 0;
  while (count < LISTENER_VISITORS && listener_wait_for(at, at->fd)) {
    guest *g = malloc(sizeof *g);
    *g = (guest){at, accept(at->fd, NULL, NULL)};
    at->connections++;
    pthread_create(&threads[count++], NULL, listener_visit, g);
  }
  while (count > 0)
    pthread_join(threads[--count], NULL);
  return NULL;
}

static inline struct sockaddr_in listener_address(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline bool listener_start(listener *at, void (*visit)(listener *at, int fd)) {
  struct sockaddr_in address = listener_address(0);
  struct sockaddr *a = (struct sockaddr *)(void *)&address;
  socklen_t length = sizeof address;
  at->visit = visit;
  at->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (pipe(at->stop) != 0 || bind(at->fd, a, length) != 0 || listen(at->fd, 512) != 0 ||
      getsockname(at->fd, a, &length) != 0)
    return false;
  at->port = ntohs(address.sin_port);
  return pthread_create(&at->thread, NULL, listener_run, at) == 0;
}

/* Ends its threads; counts stay readable. */
static inline void listener_stop(listener *at) {
  close(at->stop[1]);
  pthread_join(at->thread, NULL);
  close(at->stop[0]);
  close(at->fd);
}

/* Until so many connections have ended on its side: what it did then has arrived. */
static inline bool listener_wait_closed(const listener *at, int count) {
  for (int i = 0; i < 5000 && at->closed < count; i++)
    usleep(1000);
  return at->closed >= count;
}

/* A connection to a port of this machine; -1: nobody is there. */
static inline int listener_connect(int port) {
  struct sockaddr_in address = listener_address(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (struct sockaddr *)(void *)&address, sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

static inline bool listener_send(int fd, const void *data, size_t size) {
  return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

#endif
