/*
** slots.c - a client's rate limit: time is divided into slots, and each exchange takes
** one. A call that gives its slot back lets the calls behind it move up.
*/
#include "internal.h"

static void leave(leat_slots *slots, leat_slot *slot) {
  *(slot->prev ? &slot->prev->next : &slots->first) = slot->next;
  *(slot->next ? &slot->next->prev : &slots->last) = slot->prev;
  slot->prev = slot->next = NULL;
}

void leat__slot_use(leat_slots *slots, leat_slot *slot) {
  if (slot->held) leave(slots, slot);
  slot->held = false;
}

bool leat__slot_return(leat_slots *slots, leat_slot *slot) {
  if (!slot->held) return false;
  bool moved = slot->next != NULL;
  int64_t free_us = slot->at_us;
  for (leat_slot *later = slot->next; later; later = later->next) {
    int64_t at_us = later->at_us;
    later->at_us = free_us;
    free_us = at_us;
  }
  if (slots->free_us == leat__add_ms(free_us, slots->length_us)) slots->free_us = free_us;
  leat__slot_use(slots, slot);
  return moved;
}

bool leat__slot_is_held(leat_slots *slots, leat_slot *slot, leat_moment now) {
  bool missed = leat__add_ms(slot->at_us, slot->late_us) < now.monotonic_ms * 1000;
  if (missed) leat__slot_use(slots, slot);
  return slot->held;
}

void leat__slot_take(leat_slots *slots, leat_slot *slot, leat_moment now) {
  int64_t now_us = now.monotonic_ms * 1000;
  slot->held = true;
  slot->late_us = (int32_t)slots->length_us; /* a minute at most */
  slot->at_us = slots->free_us > now_us ? slots->free_us : now_us;
  slots->free_us = slot->at_us + slots->length_us;
  slot->prev = slots->last;
  *(slots->last ? &slots->last->next : &slots->first) = slot;
  slots->last = slot;
}
