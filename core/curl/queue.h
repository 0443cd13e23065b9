/*
** queue.h - lists whose members may leave from their middle, and a heap of what is due.
** Both hold what stands within somebody's struct; they allocate nothing for it.
*/
#ifndef LEAT_QUEUE_H
#define LEAT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The struct whose member `name` is at `pointer`. */
#define LEAT_OWNER(type, name, pointer)                                                  \
  ((type *)(void *)((char *)(pointer)-offsetof(type, name)))

/* A list is a link too, which is no member: behind its last comes its first. */
typedef struct leat__link {
  struct leat__link *next, *prev;
} leat__link;

void leat__list_init(leat__link *list);
bool leat__list_is_empty(const leat__link *list);
void leat__list_put(leat__link *list, leat__link *link); /* at its end */
void leat__list_leave(leat__link *link); /* whatever list it is in, if any */

typedef struct leat__timer {
  int64_t due;    /* INT64_MAX: never */
  uint64_t order; /* of two that are due at once the lower is first */
  size_t at;      /* where in the heap */
} leat__timer;

typedef struct leat__heap { /* begins as { 0 } */
  leat__timer **timers;
  size_t count, room;
} leat__heap;

/* Due never. False: out of memory. */
bool leat__heap_add(leat__heap *heap, leat__timer *timer);
void leat__heap_remove(leat__heap *heap, leat__timer *timer);
void leat__heap_set(leat__heap *heap, leat__timer *timer, int64_t due);
/* NULL: there is none. */
leat__timer *leat__heap_first(const leat__heap *heap);
void leat__heap_free(leat__heap *heap);

#endif
