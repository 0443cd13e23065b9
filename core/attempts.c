/*
** attempts.c - records of exchanges, for programs that observe a client. A call makes a
** record when an exchange ends, and moves it to the client's queue once its next step
** shows how long the call then waits.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct leat__attempt {
  leat__attempt *next;
  char *text; /* the card's value, owned; or NULL */
  leat_attempt shown;
};

void leat__attempt_free(leat__attempt *attempt) {
  if (attempt) free(attempt->text);
  free(attempt);
}

/* Copies the operation and the user pointer of the call. */
static void show_call(leat_attempt *shown, const leat_call *call) {
  memcpy(shown->operation, leat_call_error(call)->operation, sizeof shown->operation);
  shown->user = leat_call_user(call);
}

_Static_assert(sizeof(((leat_attempt *)NULL)->operation) ==
                   sizeof(((leat_error *)NULL)->operation),
               "they name the same");

void leat__attempt_record(leat_call *call, leat_moment now) {
  const leat_error *error = leat_call_error(call);
  leat__attempt_free(call->unreported);
  call->unreported = NULL;
  if (call->client->observe == LEAT_OBSERVE_NOTHING) return;
  call->unreported = calloc(1, sizeof *call->unreported);
  if (call->unreported == NULL) return; /* a call does not fail for lack of a record */
  call->unreported->shown = (leat_attempt){.attempt = error->attempts,
                                           .kind = error->kind,
                                           .code = error->code,
                                           .status = error->status,
                                           .sent = error->sent,
                                           .reused = call->reused,
                                           .ms = now.monotonic_ms - call->began};
  show_call(&call->unreported->shown, call);
}

void leat__attempt_take_inner(leat_call *call, leat_call *inside, leat_purpose purpose) {
  leat__attempt *unreported = inside->unreported;
  if (unreported == NULL) return; /* not recorded, or already reported */
  inside->unreported = NULL;
  leat__attempt_free(call->unreported);
  call->unreported = unreported;
  if (unreported->shown.purpose == LEAT_TO_CALL) unreported->shown.purpose = purpose;
  unreported->shown.attempt += leat_call_error(call)->attempts;
  show_call(&unreported->shown, call);
}

static void show_value(leat__attempt *attempt, const leat_call *call) {
  bool has_value = call->op->parameter_count > 0 && !call->op->parameters[0].in_path;
  if (!has_value || call->arguments[0].text == NULL) return;
  leat_string value = leat__argument_text(call, 0);
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

void leat__attempt_report(leat_call *call, int64_t wait_ms) {
  leat__attempt *unreported = call->unreported;
  if (unreported == NULL) return;
  leat__attempts *queue = &call->client->attempts;
  call->unreported = NULL;
  unreported->shown.wait_ms = wait_ms;
  if (call->client->observe == LEAT_OBSERVE_VALUES) show_value(unreported, call);
  if (queue->count == LEAT_MAX_ATTEMPTS_KEPT) drop_oldest(queue);
  if (queue->last) queue->last->next = unreported;
  else queue->first = unreported;
  queue->last = unreported;
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
