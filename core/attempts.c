/*
** attempts.c - the records of exchanges that a client keeps until the program reads them.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

void leat__attempt_free(leat__attempt *attempt) {
  if (attempt) free(attempt->text);
  free(attempt);
}

leat__attempt *leat__attempt_new(const leat_attempt *shown) {
  leat__attempt *attempt = calloc(1, sizeof *attempt);
  if (attempt) attempt->shown = *shown;
  return attempt;
}

static void set_value(leat__attempt *attempt, leat_string value) {
  if (value.data == NULL) return;
  attempt->text = leat__copy(value.data, value.length);
  if (attempt->text) attempt->shown.value = (leat_string){attempt->text, value.length};
}

static void drop_oldest(leat__attempts *queue) {
  leat__attempt *oldest = queue->first;
  queue->first = oldest->next;
  if (queue->first == NULL) queue->last = NULL;
  queue->count--;
  leat__attempt_free(oldest);
}

void leat__attempt_report(leat__attempts *queue, leat__attempt *attempt, int64_t wait_ms,
                          leat_string value) {
  attempt->shown.wait_ms = wait_ms;
  set_value(attempt, value);
  if (queue->count == LEAT_MAX_ATTEMPTS_KEPT) drop_oldest(queue);
  if (queue->last) queue->last->next = attempt;
  else queue->first = attempt;
  queue->last = attempt;
  queue->count++;
}

void leat__attempts_free(leat__attempts *queue) {
  while (queue->first)
    drop_oldest(queue);
  leat__attempt_free(queue->taken);
}

bool leat_client_attempt(leat_client *client, leat_attempt *attempt) {
  leat__attempts *queue = &client->attempts;
  leat__attempt *taken = queue->first;
  leat__attempt_free(queue->taken);
  queue->taken = taken;
  if (taken == NULL) return false;
  queue->first = taken->next;
  if (queue->first == NULL) queue->last = NULL;
  queue->count--;
  *attempt = taken->shown;
  return true;
}
