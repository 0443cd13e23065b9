/*
** queue.h - intrusive lists, whose members can leave from the middle, and a heap of
** timers. Links and timers are members of the caller's structs. Lists allocate nothing;
** the heap allocates only its array of pointers.
*/
#ifndef LEAT_QUEUE_H
#define LEAT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns the struct of this type whose member `name` is at `pointer`. */
#define LEAT_OWNER(type, name, pointer)                                                  \
  ((type *)(void *)((char *)(pointer)-offsetof(type, name)))

/* A circular, doubly linked list. Its head is a link that belongs to no member: the
** link after the last one is the head, and the one after the head is the first. */
typedef struct leat__link {
  struct leat__link *next, *prev;
} leat__link;

void leat__list_init(leat__link *list);
bool leat__list_is_empty(const leat__link *list);
void leat__list_put(leat__link *list, leat__link *link); /* appends */
/* Removes a link from its list. Does nothing to an initialized link that is in no
** list. */
void leat__list_leave(leat__link *link);

typedef struct leat__timer {
  int64_t due;    /* INT64_MAX: never */
  uint64_t order; /* breaks ties: of two equal `due`, the lower comes first */
  size_t at;      /* index in the heap, from 1 */
} leat__timer;

typedef struct leat__heap { /* begins as { 0 } */
  leat__timer **timers;
  size_t count, room;
} leat__heap;

/* Adds a timer that is never due. Returns false out of memory, and then adds nothing. */
bool leat__heap_add(leat__heap *heap, leat__timer *timer);
void leat__heap_remove(leat__heap *heap, leat__timer *timer);
void leat__heap_set(leat__heap *heap, leat__timer *timer, int64_t due);
/* Returns the timer that is due first, or NULL if the heap is empty. */
leat__timer *leat__heap_first(const leat__heap *heap);
void leat__heap_free(leat__heap *heap);

#endif
