/*
** listener.h - a listening port on localhost, chosen by the system, with a thread for
** each connection. The servers of the C tests are built on it.
*/
#ifndef LEAT_TEST_LISTENER_H
#define LEAT_TEST_LISTENER_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a server does with a connection after its last bytes. */
typedef enum after { STAY, CLOSE, RESET } after;

typedef struct listener listener; /* the first member of its server */

struct listener {
  int fd, port, stop[2];
  void (*visit)(listener *at,
                int fd); /* runs in a thread of its own, and must not close `fd` */
  atomic_int connections, closed;
  pthread_t thread;
};

/* Starts the thread. The listener must be zeroed. */
bool listener_start(listener *at, void (*visit)(listener *at, int fd));

/* Stops and joins the threads. The counters stay readable. */
void listener_stop(listener *at);

/* Waits until one of the first `count` of `fds` is readable; `fds` needs room for one
** more. Returns false when the listener stops. */
bool listener_wait(const listener *at, struct pollfd *fds, nfds_t count);
bool listener_wait_for(const listener *at, int fd);

/* Waits until the server has closed `count` connections, whose last bytes have then
** arrived. Returns false after 5 s. */
bool listener_wait_closed(const listener *at, int count);

/* ---- sockets --------------------------------------------------------------------- */

/* Makes a socket that is bound to the port, which the system chooses if it is 0. Returns
** -1 if that is impossible. */
int listener_bind(const char *ip, int port);
int listener_port(int fd);

/* Makes a bound socket listen, and fills its accept queue with four connections. It then
** ignores further ones, for which no privileges are needed. */
bool listener_fill(int fd, int full[4]);

/* Connects to a port on localhost. Returns -1 if nothing listens there. */
int listener_connect(int port);

bool listener_send(int fd, const void *data, size_t size);

/* Makes the next close of `fd` reset the connection. */
void listener_reset(int fd);

#endif
