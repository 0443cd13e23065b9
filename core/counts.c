/*
** counts.c - what a client counts of its calls and exchanges, and when its calls last
** ended. Counting needs no memory, and a few instructions.
*/
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* ---- counting -------------------------------------------------------------------- */

/* Requests to any other endpoint are counted together, after the operations. */
uint8_t leat__counted_as(const leat_op *op) {
  uint8_t row = 0;
  while (row < LEAT_COUNTED_OPERATIONS - 1 && leat_operation_at(row) != op)
    row++;
  return row;
}

void leat__count_exchange(leat__counts *counts, uint8_t row, leat_purpose purpose,
                          leat_kind kind) {
  counts->ends[row][kind].attempts[purpose]++;
}

void leat__count_wait(leat__counts *counts, leat_queue queue, int64_t ms) {
  if (ms > 0) counts->queue_ms[queue] = leat__add_ms(counts->queue_ms[queue], ms);
}

/* Returns whether the service gave the response that it gives when it works. */
static bool is_response(leat_kind kind) {
  switch (kind) {
    case LEAT_OK:
    case LEAT_NOT_FOUND:
    case LEAT_INACTIVE:
    case LEAT_ALREADY_EXISTS:
    case LEAT_ALREADY_LINKED:
    case LEAT_NOT_LINKED:
    case LEAT_CONTACT_NOT_FOUND:
    case LEAT_INVALID_INPUT:
    case LEAT_CONFLICT:
    case LEAT_API_ERROR: return true;
    default: return false;
  }
}

/* Returns whether the failure says nothing about the client, because its program caused
** it. */
static bool is_the_programs_own(const leat_error *error) {
  return error->kind == LEAT_CANCELED || error->kind == LEAT_MISUSE ||
         (error->kind == LEAT_TOO_LARGE && error->attempts == 0); /* a request is */
}

static int64_t later(int64_t ms, int64_t other) {
  return ms > other ? ms : leat__add_ms(other, 1);
}

/* The one that came last gets the later time, also if a success and a failure are within a
** millisecond, or the clock was set back between them. */
void leat__count_call(leat__counts *counts, uint8_t row, const leat_error *error,
                      leat_moment now) {
  leat_health *health = &counts->health;
  counts->ends[row][error->kind].calls++;
  if (is_response(error->kind)) {
    health->success_ms = later(now.monotonic_ms, health->failure_ms);
  } else if (!is_the_programs_own(error)) {
    health->failure_ms = later(now.monotonic_ms, health->success_ms);
    health->failure = error->kind;
  }
}

/* ---- reading --------------------------------------------------------------------- */

static const leat_op other_requests = {.resource = "client", .name = "request"};

bool leat_client_count(const leat_client *client, size_t index, leat_count *count) {
  size_t row = index / LEAT_KINDS, kind = index % LEAT_KINDS;
  if (row >= LEAT_COUNTED_OPERATIONS) return false;
  const leat_op *op = leat_operation_at(row);
  if (op == NULL) op = &other_requests;
  const leat__tally *tally = &client->counts.ends[row][kind];
  *count = (leat_count){.kind = (leat_kind)kind, .calls = tally->calls};
  memcpy(count->attempts, tally->attempts, sizeof count->attempts);
  snprintf(count->operation, sizeof count->operation, "%s.%s", op->resource, op->name);
  return true;
}

int64_t leat_client_queue_ms(const leat_client *client, leat_queue queue) {
  return (unsigned)queue < LEAT_QUEUES ? client->counts.queue_ms[queue] : 0;
}

leat_health leat_client_health(const leat_client *client) {
  return client->counts.health;
}
