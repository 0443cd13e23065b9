/*
** listener.h - a listening port on localhost, chosen by the system, with a thread for
** each connection. The servers of the TLS and proxy tests use it.
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

enum { LISTENER_VISITORS = 2048 }; /* in total */

typedef struct listener listener; /* the first member of its server */

struct listener {
  int fd, port, stop[2];
  void (*visit)(listener *at,
                int fd); /* runs in a thread of its own, and must not close `fd` */
  atomic_int connections, closed;
  pthread_t thread;
};

typedef struct guest {
  listener *at;
  int fd;
} guest;

/* Waits until one of the first `count` of `fds` is readable; `fds` needs room for one
** more. Returns false when the listener stops. */
static inline bool listener_wait(const listener *at, struct pollfd *fds, nfds_t count) {
  fds[count] = (struct pollfd){at->stop[0], POLLIN, 0};
  return poll(fds, count + 1, -1) > 0 && fds[count].revents == 0;
}

static inline bool listener_wait_for(const listener *at, int fd) {
  struct pollfd fds[2] = {{fd, POLLIN, 0}};
  return listener_wait(at, fds, 1);
}

/* Makes the next close of `fd` reset the connection. */
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

/* Stops and joins the threads. The counters stay readable. */
static inline void listener_stop(listener *at) {
  close(at->stop[1]);
  pthread_join(at->thread, NULL);
  close(at->stop[0]);
  close(at->fd);
}

/* Waits until the server has closed `count` connections, whose last bytes have then
** arrived. Returns false after 5 s. */
static inline bool listener_wait_closed(const listener *at, int count) {
  for (int i = 0; i < 5000 && at->closed < count; i++)
    usleep(1000);
  return at->closed >= count;
}

/* Connects to a port on localhost. Returns -1 if nothing listens there. */
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
