/*
** poller.h - watches many descriptors for reading and writing, and one deadline: by
** epoll and a timer behind one descriptor on Linux; by poll on other systems, or where
** LEAT_POLL is defined.
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

/* Returns NULL out of memory, with errno set to ENOMEM, or out of descriptors. */
leat__poller *leat__poller_new(void);
void leat__poller_free(leat__poller *watch);
/* Watches `fd` for these events, which replace those it was watched for. Returns false
** if the system refuses it, or out of memory. */
bool leat__poller_set(leat__poller *watch, int fd, int events);
/* Must be called before `fd` is closed, or at least before its number is reused. */
void leat__poller_unset(leat__poller *watch, int fd);
/* Waits for at most `ms` milliseconds (-1: without a limit); a signal ends the wait
** early. Returns the number of entries written to `ready`, at most `most`, which must
** not exceed 64. Fewer than `most` - 1 means that no other descriptor was ready. */
int leat__poller_wait(leat__poller *watch, leat__ready *ready, int most, int ms);
/* Returns a descriptor that is readable whenever leat__poller_wait would not block, or
** -1 where the system has none (poll). */
int leat__poller_fd(leat__poller *watch);
/* Makes that descriptor readable at `due_ms` on the monotonic clock too; INT64_MAX:
** never. Has no effect before the first leat__poller_fd, nor where that returns -1. */
void leat__poller_alarm(leat__poller *watch, int64_t due_ms);

#endif
