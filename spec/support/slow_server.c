/*
** slow_server.c - a server that sends the same response to every request after a delay.
** It serves any number of connections in one thread, to take little CPU from what is
** being measured on the same machine.
**   slow_server MS            prints its port, and serves until its standard input ends
**   slow_server MS HELD BODY  holds the first HELD requests until all of them have come;
**                             MS after the last, all get the response BODY
*/
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
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
} line[MOST];
static unsigned first, last;

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int listen_anywhere(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t length = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) exit(1);
  getsockname(fd, (void *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
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
  line[last % MOST].fd = fd;
  line[last++ % MOST].due = due;
}

static int64_t next_due(void) {
  if (first == last || last - first < held) return NEVER;
  return line[(held ? last - 1 : first) % MOST].due;
}

static void answer_due(int64_t now) {
  char text[1024];
  int length = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n%s",
                        strlen(body), body);
  for (; next_due() <= now; first++, held = 0)
    send(line[first % MOST].fd, text, (size_t)length, MSG_NOSIGNAL);
}

/* Returns 0 if standard input ended. */
static int take_events(int epoll, int listener, int timeout, int64_t delay) {
  struct epoll_event events[EVENTS];
  int n = epoll_wait(epoll, events, EVENTS, timeout), fd;
  for (int i = 0; i < n; i++) {
    if (events[i].data.fd == STDIN_FILENO) return 0;
    if (events[i].data.fd != listener) take_request(events[i].data.fd, now_ms() + delay);
    else
      while ((fd = accept(listener, NULL, NULL)) >= 0)
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
  int epoll = epoll_create1(0), listener = listen_anywhere(), timeout;
  watch(epoll, listener);
  watch(epoll, STDIN_FILENO);
  do {
    int64_t now = now_ms();
    answer_due(now);
    due = next_due();
    timeout = due == NEVER ? -1 : (int)(due - now);
  } while (take_events(epoll, listener, timeout, delay));
  return 0;
}
