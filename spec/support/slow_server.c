/*
** slow_server.c - a server that sends the same response to every request after a delay.
** It serves any number of connections in one thread, to take little CPU from what is
** being measured on the same machine.
**   slow_server MS            prints its port, and serves until its standard input ends
**   slow_server MS HELD BODY  holds the first HELD requests until all of them have come;
**                             MS after the last, all get the response BODY
*/
#include "listener.h"
#include "test.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY                                                                             \
  "{\"data\":{\"value\":\"1\",\"name\":null,\"active\":true,\"contact\":null},"          \
  "\"meta\":[]}"

enum { MOST = 65536, EVENTS = 256 };
#define NEVER INT64_MAX

static unsigned held; /* requests that must come before the first response */
static const char *body = BODY;

/* The queue of requests to respond to. All wait equally long, so it is in order of
** `due`. */
static struct {
  int fd;
  int64_t due;
} queue[MOST];
static unsigned first, last;

static int listen_anywhere(void) {
  int fd = listener_bind("127.0.0.1", 0);
  if (fd < 0 || listen(fd, 4096) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0) exit(1);
  printf("%d\n", listener_port(fd));
  fflush(stdout);
  return fd;
}

static void watch(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void take_request(int fd, int64_t due) {
  char text[8192];
  ssize_t n = recv(fd, text, sizeof text, 0);
  if (n <= 0) {
    close(fd);
    return;
  }
  queue[last % MOST].fd = fd;
  queue[last++ % MOST].due = due;
}

static int64_t next_due(void) {
  if (first == last || last - first < held) return NEVER;
  return queue[(held ? last - 1 : first) % MOST].due;
}

static void respond_to_due(int64_t now) {
  char text[1024];
  int length = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n%s",
                        strlen(body), body);
  for (; next_due() <= now; first++, held = 0)
    send(queue[first % MOST].fd, text, (size_t)length, MSG_NOSIGNAL);
}

/* Returns 0 if standard input ended. */
static int take_events(int epoll, int listening, int timeout, int64_t delay) {
  struct epoll_event events[EVENTS];
  int n = epoll_wait(epoll, events, EVENTS, timeout), fd;
  for (int i = 0; i < n; i++) {
    if (events[i].data.fd == STDIN_FILENO) return 0;
    if (events[i].data.fd != listening)
      take_request(events[i].data.fd, test_now_ms() + delay);
    else
      while ((fd = accept(listening, NULL, NULL)) >= 0)
        watch(epoll, fd);
  }
  return 1;
}

int main(int argc, char **argv) {
  int64_t delay = argc > 1 ? atoi(argv[1]) : 0, due;
  if (argc > 2) held = (unsigned)atoi(argv[2]);
  if (argc > 3) body = argv[3];
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  int epoll = epoll_create1(0), listening = listen_anywhere(), timeout;
  watch(epoll, listening);
  watch(epoll, STDIN_FILENO);
  do {
    int64_t now = test_now_ms();
    respond_to_due(now);
    due = next_due();
    timeout = due == NEVER ? -1 : (int)(due - now);
  } while (take_events(epoll, listening, timeout, delay));
  return 0;
}
