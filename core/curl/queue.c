/*
** queue.c - lists and a heap.
*/
#include "queue.h"

#include <stdlib.h>

/* ---- lists ----------------------------------------------------------------------- */

void leat__list_init(leat__link *list) {
  list->next = list->prev = list;
}

bool leat__list_is_empty(const leat__link *list) {
  return list->next == list;
}

void leat__list_put(leat__link *list, leat__link *link) {
  link->next = list;
  link->prev = list->prev;
  list->prev->next = link;
  list->prev = link;
}

void leat__list_leave(leat__link *link) {
  link->prev->next = link->next;
  link->next->prev = link->prev;
  leat__list_init(link);
}

/* ---- a binary heap: timers 2n and 2n + 1 are never due before n ------------------ */

static bool is_before(const leat__timer *a, const leat__timer *b) {
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static leat__timer **place(const leat__heap *heap, size_t at) {
  return &heap->timers[at - 1];
}

static void put(leat__heap *heap, leat__timer *timer, size_t at) {
  *place(heap, at) = timer;
  timer->at = at;
}

static void rise(leat__heap *heap, leat__timer *timer) {
  size_t at = timer->at;
  while (at > 1 && is_before(timer, *place(heap, at / 2))) {
    put(heap, *place(heap, at / 2), at);
    at /= 2;
  }
  put(heap, timer, at);
}

static void sink(leat__heap *heap, leat__timer *timer) {
  size_t at = timer->at;
  for (size_t child; (child = at * 2) <= heap->count; at = child) {
    if (child < heap->count && is_before(*place(heap, child + 1), *place(heap, child)))
      child++;
    if (!is_before(*place(heap, child), timer)) break;
    put(heap, *place(heap, child), at);
  }
  put(heap, timer, at);
}

bool leat__heap_add(leat__heap *heap, leat__timer *timer) {
  if (heap->count == heap->room) {
    size_t room = heap->room ? heap->room * 2 : 16;
    leat__timer **grown = realloc(heap->timers, room * sizeof(leat__timer *));
    if (grown == NULL) return false;
    heap->timers = grown;
    heap->room = room;
  }
  timer->due = INT64_MAX;
  put(heap, timer, ++heap->count);
  rise(heap, timer);
  return true;
}

void leat__heap_set(leat__heap *heap, leat__timer *timer, int64_t due) {
  timer->due = due;
  rise(heap, timer);
  sink(heap, timer);
}

void leat__heap_remove(leat__heap *heap, leat__timer *timer) {
  leat__timer *last = *place(heap, heap->count--);
  if (last == timer) return;
  put(heap, last, timer->at);
  rise(heap, last);
  sink(heap, last);
}

leat__timer *leat__heap_first(const leat__heap *heap) {
  return heap->count ? heap->timers[0] : NULL;
}

void leat__heap_free(leat__heap *heap) {
  free(heap->timers);
  *heap = (leat__heap){NULL, 0, 0};
}
