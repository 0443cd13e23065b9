/*
** poller.c - watches descriptors, by epoll or by poll.
*/
#include "poller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LEAT_POLL

/* ---- epoll and a timer ----------------------------------------------------------- */

#include <sys/epoll.h>
#include <sys/timerfd.h>

enum { EVENTS_AT_ONCE = 64 };

struct leat__poller {
  int epoll, timer;
  /* The caller watches the descriptor, so the timer is needed. */
  bool alarmed;
  int64_t due;
};

leat__poller *leat__poller_new(void) {
  leat__poller *watch = malloc(sizeof *watch);
  errno = ENOMEM;
  if (watch == NULL) return NULL;
  *watch = (leat__poller){-1, -1, false, INT64_MAX};
  watch->epoll = epoll_create1(EPOLL_CLOEXEC);
  watch->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (watch->epoll >= 0 && watch->timer >= 0 &&
      leat__poller_set(watch, watch->timer, LEAT_READ))
    return watch;
  int why = errno;
  leat__poller_free(watch);
  errno = why;
  return NULL;
}

void leat__poller_free(leat__poller *watch) {
  if (watch == NULL) return;
  if (watch->timer >= 0) close(watch->timer);
  if (watch->epoll >= 0) close(watch->epoll);
  free(watch);
}

bool leat__poller_set(leat__poller *watch, int fd, int events) {
  struct epoll_event event = {.data.fd = fd};
  if (events & LEAT_READ) event.events |= EPOLLIN;
  if (events & LEAT_WRITE) event.events |= EPOLLOUT;
  if (epoll_ctl(watch->epoll, EPOLL_CTL_MOD, fd, &event) == 0) return true;
  /* `fd` was never watched, or its number was reused for another descriptor */
  return errno == ENOENT && epoll_ctl(watch->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void leat__poller_unset(leat__poller *watch, int fd) {
  epoll_ctl(watch->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static int events_of(uint32_t events) {
  return (events & EPOLLIN ? LEAT_READ : 0) | (events & EPOLLOUT ? LEAT_WRITE : 0) |
         (events & (EPOLLERR | EPOLLHUP) ? LEAT_BROKEN : 0);
}

int leat__poller_wait(leat__poller *watch, leat__ready *ready, int most, int ms) {
  struct epoll_event events[EVENTS_AT_ONCE];
  uint64_t expirations;
  int count = 0;
  most = most < EVENTS_AT_ONCE ? most : EVENTS_AT_ONCE;
  int n = epoll_wait(watch->epoll, events, most, ms);
  if (n < 0) n = epoll_wait(watch->epoll, events, most, 0); /* interrupted by a signal */
  for (int i = 0; i < n; i++) {
    if (events[i].data.fd != watch->timer)
      ready[count++] = (leat__ready){events[i].data.fd, events_of(events[i].events)};
    else if (read(watch->timer, &expirations, sizeof expirations) > 0)
      watch->due = INT64_MAX;
  }
  return count;
}

int leat__poller_fd(leat__poller *watch) {
  watch->alarmed = true;
  return watch->epoll;
}

void leat__poller_alarm(leat__poller *watch, int64_t due_ms) {
  struct itimerspec spec = {{0, 0}, {0, 0}};
  if (!watch->alarmed || due_ms == watch->due) return;
  if (due_ms != INT64_MAX) {
    spec.it_value.tv_sec = (time_t)(due_ms / 1000);
    spec.it_value.tv_nsec = (long)(due_ms % 1000) * 1000000 + 1; /* 0 would disarm it */
  }
  timerfd_settime(watch->timer, TFD_TIMER_ABSTIME, &spec, NULL);
  watch->due = due_ms;
}

#else

/* ---- poll ------------------------------------------------------------------------ */

#include <poll.h>

struct leat__poller {
  struct pollfd *fds;
  int *places; /* index in fds plus 1, by descriptor; 0: not watched */
  int count, room, places_room;
  int next; /* where the next scan begins, so that no descriptor starves */
};

leat__poller *leat__poller_new(void) {
  errno = ENOMEM;
  return calloc(1, sizeof(leat__poller));
}

void leat__poller_free(leat__poller *watch) {
  if (watch == NULL) return;
  free(watch->fds);
  free(watch->places);
  free(watch);
}

static bool make_place(leat__poller *watch, int fd) {
  if (fd < watch->places_room) return true;
  int room = (fd + 1) * 2;
  int *places = realloc(watch->places, (size_t)room * sizeof *places);
  if (places == NULL) return false;
  memset(places + watch->places_room, 0,
         (size_t)(room - watch->places_room) * sizeof *places);
  watch->places = places;
  watch->places_room = room;
  return true;
}

static bool make_room(leat__poller *watch) {
  if (watch->count < watch->room) return true;
  int room = watch->room ? watch->room * 2 : 16;
  struct pollfd *fds = realloc(watch->fds, (size_t)room * sizeof *fds);
  if (fds == NULL) return false;
  watch->fds = fds;
  watch->room = room;
  return true;
}

bool leat__poller_set(leat__poller *watch, int fd, int events) {
  short wanted =
      (short)((events & LEAT_READ ? POLLIN : 0) | (events & LEAT_WRITE ? POLLOUT : 0));
  if (!make_place(watch, fd)) return false;
  if (watch->places[fd] == 0) {
    if (!make_room(watch)) return false;
    watch->places[fd] = ++watch->count;
  }
  watch->fds[watch->places[fd] - 1] = (struct pollfd){fd, wanted, 0};
  return true;
}

void leat__poller_unset(leat__poller *watch, int fd) {
  int place = fd < watch->places_room ? watch->places[fd] : 0;
  if (place == 0) return;
  struct pollfd last = watch->fds[--watch->count];
  watch->fds[place - 1] = last;
  watch->places[last.fd] = place;
  watch->places[fd] = 0;
}

static int events_of(short events) {
  return (events & POLLIN ? LEAT_READ : 0) | (events & POLLOUT ? LEAT_WRITE : 0) |
         (events & (POLLERR | POLLHUP | POLLNVAL) ? LEAT_BROKEN : 0);
}

int leat__poller_wait(leat__poller *watch, leat__ready *ready, int most, int ms) {
  int count = 0;
  int n = poll(watch->fds, (nfds_t)watch->count, ms);
  if (n < 0) n = poll(watch->fds, (nfds_t)watch->count, 0); /* interrupted by a signal */
  for (int i = 0; i < watch->count && count < n && count < most; i++) {
    struct pollfd *p = &watch->fds[(watch->next + i) % watch->count];
    if (p->revents) ready[count++] = (leat__ready){p->fd, events_of(p->revents)};
  }
  watch->next = watch->count ? (watch->next + 1) % watch->count : 0;
  return count;
}

int leat__poller_fd(leat__poller *watch) {
  (void)watch;
  return -1;
}

void leat__poller_alarm(leat__poller *watch, int64_t due_ms) {
  (void)watch;
  (void)due_ms;
}

#endif
