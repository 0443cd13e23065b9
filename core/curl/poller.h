/*
** poller.h - which of many descriptors can be read or written, and when the time has come:
** epoll and a timer behind one descriptor on Linux; poll elsewhere, or where LEAT_POLL is
** defined.
*/
#ifndef LEAT_POLLER_H
#define LEAT_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#if !defined(__linux__) && !defined(LEAT_POLL)
#define LEAT_POLL
#endif

typedef struct leat__poller leat__poller;

enum { LEAT_READ = 1, LEAT_WRITE = 2, LEAT_BROKEN = 4 };

typedef struct leat__ready {
  int fd, events;
} leat__ready;

/* NULL: no descriptors; or no memory, and errno says ENOMEM. */
leat__poller *leat__poller_new(void);
void leat__poller_free(leat__poller *watch);
/* Watches `fd` for these events, instead of what it was watched for. False: it can't. */
bool leat__poller_set(leat__poller *watch, int fd, int events);
/* Must come before `fd` is closed, or at least before its number means another. */
void leat__poller_unset(leat__poller *watch, int fd);
/* Waits `ms` at most (-1: for ever; less after a signal); returns how many are `ready`: all
** of them, if these are fewer than `most` - 1. */
int leat__poller_wait(leat__poller *watch, leat__ready *ready, int most, int ms);
/* Readable when a wait would not wait; -1: there is none on this system. */
int leat__poller_fd(leat__poller *watch);
/* From that moment of the monotonic clock on it is readable too; INT64_MAX: never. */
void leat__poller_alarm(leat__poller *watch, int64_t due_ms);

#endif
