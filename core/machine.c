/*
** machine.c - the state machine of a call. It opens no socket, reads no clock, draws no
** random number and invokes no callback: a driver asks it for the next step, and reports
** the result.
**
**   NEW -> READY -> SENDING -> DONE        the ordinary case
**   READY -> QUEUED -> READY               waits for the end of a pause, a token or a slot
**   READY, SENDING -> BACKOFF -> READY     waits before a retry, or for the end of a pause
**                                          that counts towards the timeout
**   SENDING -> READY                       retries at once: with a new token, or when the
**                                          pause is over
**   READY, SENDING -> VERIFYING            an inner call finds the card, to see whether a
**                                          change took effect whose response was lost, by
**                                          this call or before it (maybe_applied)
**   VERIFYING -> READY, DONE               it did not, and the change is sent, or sent
**                                          again; or it did, or the finds do not show it
**   SENDING, VERIFYING -> VERIFY_LATER -> VERIFYING
**                                          the find comes later: the service asked to
**                                          wait, or a second find must agree
**   READY -> COMPARING -> READY            an inner call finds the card, to compare its
**                                          owner with the one that the change requires
**   READY -> FETCHING -> READY             an inner call fetches a token
**   READY -> WAIT_TOKEN -> READY           gets a token from the program or a store
**   WAIT_TOKEN -> FETCHING, QUEUED         the store has none: fetch one, or wait until
**                                          another process has fetched it
**   READY -> WAIT_SLOT -> READY            the driver takes a slot that processes share
**   WAIT_SLOT -> QUEUED                    it has none yet
**   any state -> DONE                      failure or cancellation
**
** A call may hold three things of its client: the *lease*, which is the right to obtain the
** client's token, until there is one; a *slot* of the rate limit, until it sends; and the
** *probe*, the right to be the first call after a long pause, until its exchange ends. A
** call that fails gives them back. While one call holds the lease or the probe, the others
** wait.
*/
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- ending ---------------------------------------------------------------------- */

static void succeed(leat_call *call) {
  leat_client *client = call->client;
  int taken = client->retry_budget_limit - client->retry_budget;
  int earned = call->cost > 0 ? call->cost : 1;
  client->retry_budget += earned < taken ? earned : taken;
  call->state = LEAT__DONE;
}

/* Ends the call with its current error. What an earlier attempt did stays unknown, unless
** this error shows that it did nothing. */
static void give_up(leat_call *call) {
  leat_error *error = &call->outcome.error;
  call->state = LEAT__DONE;
  leat_call_free(call->inner); /* also gives back its lease, slot and probe */
  call->inner = NULL;
  leat__call_leave_client(call);
  if (!call->maybe_applied) return;
  error->sent = LEAT_SENT_MAYBE;
  if (!leat__retry_settles(error->kind)) error->outcome_unknown = true;
}

static void give_up_with(leat_call *call, leat_kind kind, const char *why) {
  leat__error_set(&call->outcome.error, kind, "%s", why);
  give_up(call);
}

/* Ends the call because no time is left. The error of the last attempt is kept, if any. */
static void give_up_late(leat_call *call) {
  if (call->outcome.error.kind == LEAT_OK)
    leat__error_set(&call->outcome.error, LEAT_TIMEOUT, "no time is left");
  give_up(call);
}

/* ---- waiting --------------------------------------------------------------------- */

static bool is_queued(const leat_call *call) {
  return call->state == LEAT__QUEUED || call->state == LEAT__WAIT_SLOT;
}

int64_t leat_call_queue_deadline(const leat_call *call, int64_t now_ms) {
  if (call == NULL || call->client == NULL) return INT64_MAX;
  while (call->inner)
    call = call->inner; /* its queued_ms began with that of its outer call */
  int timeout = call->queue_timeout_ms;
  int64_t waited = is_queued(call) ? now_ms - call->queued_at : 0;
  if (timeout == 0) return INT64_MAX;
  return leat__add_ms(leat__add_ms(now_ms + timeout, -waited), -call->queued_ms);
}

static const char queue_timeout[] = "queue_timeout passed while the call waited for a "
                                    "connection, a token, or the rate limit";
static const char queue_timeout_in_pause[] =
    "the pause after a 429 or 503 is longer than queue_timeout";

/* Fails the call because its wait in the client's queue exceeds queue_timeout, or would
** exceed it. The 429 or 503 that made it wait is kept as the error; otherwise the error is
** a queue timeout. */
static void fail_queue_timeout(leat_call *call, leat_moment now) {
  int64_t pause_ms = leat__add_ms(call->client->pause.until_ms, -now.monotonic_ms);
  if (leat__retry_throttled(call->outcome.error.kind)) {
    give_up(call);
    return;
  }
  give_up_with(call, LEAT_TIMEOUT, pause_ms > 0 ? queue_timeout_in_pause : queue_timeout);
  if (pause_ms > 0) call->outcome.error.retry_after_ms = pause_ms;
}

/* Queues the call until `until`, or until the client's epoch changes. Time in the queue
** does not count towards the timeout. If it is certain that the wait does not end
** earlier, and queue_timeout does not allow it, or if queue_timeout has passed already, the
** call fails at once. */
static void enqueue(leat_call *call, leat_moment now, leat_queue queue, int64_t until,
                    bool certain) {
  int64_t last = leat_call_queue_deadline(call, now.monotonic_ms);
  if (now.monotonic_ms >= last || (certain && until > last)) {
    fail_queue_timeout(call, now);
    return;
  }
  call->state = LEAT__QUEUED;
  call->queue = (uint8_t)queue;
  call->epoch = call->client->epoch;
  call->queued_at = now.monotonic_ms;
  call->until = until > last ? last : until;
}

/* Time in a queue does not count towards the timeout, so it moves the deadline. */
static void count_queue_time(leat_call *call, leat_moment now, int64_t since) {
  int64_t waited = now.monotonic_ms - since;
  if (waited < 0) waited = 0; /* in case the driver's clock went back */
  if (call->deadline) call->deadline = leat__add_ms(call->deadline, waited);
  call->queued_ms = leat__add_ms(call->queued_ms, waited);
  leat__count_wait(&call->client->counts, (leat_queue)call->queue, waited);
}

/* Only counts waits before the first step: the call measures later ones itself. */
void leat_call_add_queue_time(leat_call *call, int64_t ms) {
  if (call == NULL || call->client == NULL || call->state != LEAT__NEW) return;
  call->queued_ms = leat__add_ms(call->queued_ms, ms);
  leat__count_wait(&call->client->counts, LEAT_FOR_CONNECTION, ms);
}

static void wait_in(leat_call *call, leat_moment now, int64_t delay, leat__state state) {
  call->state = state;
  call->queue = LEAT_FOR_CONNECTION; /* where it waits if that takes longer */
  call->until = now.monotonic_ms + delay;
}

/* With unlimited attempts only the timeout ends the call, so pauses after its first
** exchange count towards it. */
static bool counts_pauses(const leat_call *call) {
  return call->max_attempts == INT_MAX && call->deadline;
}

/* ---- inner calls ----------------------------------------------------------------- */

/* Returns the milliseconds that are left of the call's timeout, which starts with its
** first exchange, even if that is a find or a token fetch. */
static int64_t time_left(const leat_call *call, leat_moment now) {
  if (call->deadline == 0) return call->timeout_ms;
  int64_t left = leat__add_ms(call->deadline, -now.monotonic_ms);
  return left < call->timeout_ms ? left : call->timeout_ms;
}

/* Makes `inner` the inner call, not started yet, with the deadline of this call and what is
** left of its queue_timeout. Takes ownership. A NULL `inner` means out of memory, and fails
** the call. */
static void begin_inner(leat_call *call, leat__state state, leat_call *inner) {
  leat_client *client = call->client;
  call->state = state;
  call->inner = inner;
  if (inner == NULL) {
    give_up_with(call, LEAT_NO_MEMORY, "out of memory");
    return;
  }
  if (client->probe == call) client->probe = inner; /* the inner call sends next */
  inner->timeout_ms = call->timeout_ms;
  inner->deadline = call->deadline;
  inner->queued_ms = call->queued_ms;
  inner->queue_timeout_ms = call->queue_timeout_ms;
  inner->request.connect_timeout_ms = call->request.connect_timeout_ms;
  inner->max_attempts = call->max_attempts;
  inner->counted_as = call->counted_as;
  inner->purpose = state == LEAT__FETCHING ? LEAT_TO_GET_TOKEN : LEAT_TO_VERIFY;
}

/* Detaches the inner call, adds its attempts to those of this call, and takes over its
** deadline and queue time. Returns the inner call, which the caller frees. */
static leat_call *end_inner(leat_call *call) {
  leat_call *inner = call->inner;
  call->inner = NULL;
  call->outcome.error.attempts += leat_call_error(inner)->attempts;
  call->deadline = inner->deadline;
  call->queued_ms = inner->queued_ms;
  return inner;
}

/* ---- tokens ---------------------------------------------------------------------- */

static leat_call *new_token_call(leat_client *client) {
  static const leat_op op = {.resource = "client",
                             .name = "token",
                             .method = "POST",
                             .path = "",
                             .result = LEAT_RESULT_ANY,
                             .recovery = LEAT_RETRY};
  leat_call *call = leat__call_to_origin(client, &op, &client->token_url);
  if (call) leat__token_form(client, &call->body);
  return call;
}

/* Fetches a token with an inner call. */
static void fetch_token(leat_call *call, leat_moment now) {
  if (time_left(call, now) <= 0)
    give_up_with(call, LEAT_TIMEOUT, "no time is left to fetch a token");
  else begin_inner(call, LEAT__FETCHING, new_token_call(call->client));
}

static void get_token(leat_call *call, leat_moment now) {
  leat_client *client = call->client;
  if (!leat__token_lease(client, call, now))
    enqueue(call, now, LEAT_FOR_TOKEN, client->lease_until, false);
  else if (client->token_from_caller || client->shared) call->state = LEAT__WAIT_TOKEN;
  else fetch_token(call, now);
}

static void after_token_fetch(leat_call *call, leat_moment now) {
  leat_call *fetch = end_inner(call);
  if (leat__token_take(call->client, leat_call_error(fetch), leat_call_data(fetch), now,
                       &call->outcome.error))
    call->state = LEAT__READY;
  else give_up(call);
  leat_call_free(fetch);
}

/* ---- pauses ---------------------------------------------------------------------- */

/* Fails the call without another exchange, because it may not wait until `until`: the pause
** is too long or ends after its timeout, or the call has only one attempt. */
static void fail_in_pause(leat_call *call, leat_moment now, int64_t until) {
  const leat_pause *pause = &call->client->pause;
  leat_error *error = &call->outcome.error;
  int64_t left = until - now.monotonic_ms;
  error->retry_after_ms = left > 0 ? left : 0;
  leat__error_set(error, pause->kind, "%s: try again in %lld s",
                  pause->asked ? "the service asked to wait" : "the service is down",
                  (long long)((error->retry_after_ms + 999) / 1000));
  give_up(call);
}

/* After a long pause a single call, the probe, is sent to test whether the service works
** again. Makes this call the probe, unless another one is: then it returns false. */
static bool claim_probe(leat_call *call, leat_moment now) {
  leat_client *client = call->client;
  bool taken = client->probe && now.monotonic_ms < client->probe_until;
  if (taken) return client->probe == call;
  client->probe = call;
  client->probe_until = now.monotonic_ms + call->timeout_ms;
  return true;
}

static void wait_for_probe(leat_call *call, leat_moment now) {
  int64_t until = call->client->probe_until;
  if (call->max_attempts == 1) fail_in_pause(call, now, until);
  else enqueue(call, now, LEAT_FOR_PAUSE, until, false);
}

/* Waits in BACKOFF, rather than in a queue, because the pause counts towards the timeout. */
static void sit_out_pause(leat_call *call, leat_moment now) {
  int64_t delay = call->client->pause.until_ms - now.monotonic_ms;
  wait_in(call, now, delay, LEAT__BACKOFF);
  leat__count_wait(&call->client->counts, LEAT_FOR_PAUSE, delay);
}

static void wait_for_end_of_pause(leat_call *call, leat_moment now) {
  const leat_pause *pause = &call->client->pause;
  bool counts = counts_pauses(call);
  bool too_late = counts && pause->until_ms >= call->deadline;
  if (call->max_attempts == 1 || pause->too_long || too_late)
    fail_in_pause(call, now, pause->until_ms);
  else if (counts) sit_out_pause(call, now);
  else enqueue(call, now, LEAT_FOR_PAUSE, pause->until_ms, true);
}

/* Returns false if the call has to wait, or has failed. */
static bool pass_pause(leat_call *call, leat_moment now) {
  const leat_pause *pause = &call->client->pause;
  if (pause->until_ms <= now.monotonic_ms) {
    if (!pause->too_long || claim_probe(call, now)) return true;
    wait_for_probe(call, now);
  } else {
    if (call->max_attempts == 1 && !pause->asked) return true;
    wait_for_end_of_pause(call, now);
  }
  return false;
}

/* If this call was the probe, the long pause is over, whatever the result of its exchange.
** A pause that the response asks for begins after this. */
static void after_probe(leat_call *call, leat_moment now) {
  leat_pause *pause = &call->client->pause;
  if (call->client->probe != call) return;
  if (pause->until_ms <= now.monotonic_ms) pause->too_long = false;
  leat__call_end_probe(call);
}

/* The service asked to wait, so all calls of the client pause, for 15 minutes at most.
** Returns the delay that was asked for, in milliseconds, which may be longer. */
static int64_t pause_client(leat_call *call, leat_moment now) {
  const leat_error *error = &call->outcome.error;
  int64_t delay = leat__retry_delay(&call->client->retry, call->sends, true, now.random);
  if (error->retry_after_ms > delay) delay = error->retry_after_ms;
  int64_t capped = delay < LEAT_LONGEST_PAUSE_MS ? delay : LEAT_LONGEST_PAUSE_MS;
  leat__client_pause(
      call->client, now,
      &(leat_pause){.until_ms = now.monotonic_ms + capped,
                    .kind = error->kind,
                    .asked = error->status == 429 || error->retry_after_ms >= 0,
                    .too_long = error->retry_after_ms > LEAT_LONGEST_WAIT_MS});
  return delay;
}

/* ---- sending --------------------------------------------------------------------- */

/* Ends a call that its setters or its parameters made fail. Misuse leaves no outcome
** unknown: an earlier attempt was misuse too, and sent nothing. */
static void fail_before_start(leat_call *call) {
  if (call->outcome.error.kind == LEAT_MISUSE) call->state = LEAT__DONE;
  else give_up(call);
}

static void begin(leat_call *call) {
  leat_call_check(call);
  call->state = LEAT__READY;
  if (call->outcome.error.kind == LEAT_OK) leat__make_request(call);
  if (call->outcome.error.kind != LEAT_OK) fail_before_start(call);
}

/* Returns the share of the remaining time that one exchange may take. A change that may
** be retried or verified gets half of it, which leaves time for that. */
static int64_t time_for_one(const leat_call *call, int64_t left) {
  bool more =
      call->op->writes && call->op->recovery != LEAT_NO_RETRY && call->max_attempts > 1;
  return more ? (left + 1) / 2 : left;
}

/* Clears the error for a new exchange. Keeps `attempts`, `sent` and `operation`. */
static void clear_error(leat_error *error) {
  error->kind = LEAT_OK;
  error->code = error->status = 0;
  error->message[0] = '\0';
  error->outcome_unknown = false;
  error->retry_after_ms = -1;
}

/* Records which token the request carries, in case the service refuses it. */
static void record_token(leat_call *call) {
  call->token_number = call->client->token_number;
  call->token_shared = call->client->token_shared;
}

static void begin_exchange(leat_call *call, leat_moment now) {
  leat_error *error = &call->outcome.error;
  int64_t left = time_left(call, now);
  if (left <= 0) {
    give_up_late(call);
    return;
  }
  leat__outcome_free(&call->outcome);
  clear_error(error);
  error->attempts++;
  call->sends++;
  leat__slot_use(&call->client->slots, &call->slot);
  call->verify_count = 0;
  call->seen = LEAT_UNDECIDED;
  call->compared = false;
  call->began = now.monotonic_ms;
  if (call->deadline == 0) call->deadline = now.monotonic_ms + call->timeout_ms;
  call->reused = false;
  call->request.deadline_ms = now.monotonic_ms + time_for_one(call, left);
  call->state = LEAT__SENDING;
  record_token(call);
  if (!leat__make_headers(call)) give_up_with(call, LEAT_NO_MEMORY, "out of memory");
}

int64_t leat_call_connected(leat_call *call, leat_moment now) {
  now = leat__limit_moment(now);
  if (call && call->inner) return leat_call_connected(call->inner, now);
  if (call == NULL || call->state != LEAT__SENDING) return now.monotonic_ms;
  int64_t left = time_left(call, now);
  if (left > 0) call->request.deadline_ms = now.monotonic_ms + time_for_one(call, left);
  return call->request.deadline_ms;
}

/* Takes a slot of the client's rate limit for the next exchange, unless the call has one.
** Returns false if the driver must assign one, because processes share the limit. */
static bool take_slot(leat_call *call, leat_moment now) {
  leat_slots *slots = &call->client->slots;
  if (slots->length_us == 0 || leat__slot_is_held(slots, &call->slot, now)) return true;
  if (call->client->slots_from_caller) return false;
  leat__slot_take(slots, &call->slot, now);
  return true;
}

/* Returns whether a find can show if the change took effect. */
static bool is_verifiable(const leat_op *op) {
  return op->recovery != LEAT_RETRY && op->recovery != LEAT_NO_RETRY;
}

/* Returns whether the card must be found before the change is sent: to compare its owner,
** or because the call began as maybe_applied. */
static bool must_find_first(const leat_call *call) {
  bool verifies_first =
      call->maybe_applied && call->sends == 0 && is_verifiable(call->op);
  return (call->owner.set || verifies_first) && !call->compared;
}

static void find_first(leat_call *call, leat_moment now);

/* Passes what stands between READY and an exchange, in this order: pauses, a find before
** the change, the token, and last the slot, which is taken when nothing else is missing. */
static void run_ready(leat_call *call, leat_moment now) {
  if (!pass_pause(call, now)) return;
  if (must_find_first(call)) {
    find_first(call, now);
    return;
  }
  if (!leat__call_is_to_other_origin(call) && !leat__token_is_there(call->client, now)) {
    get_token(call, now);
    return;
  }
  if (!take_slot(call, now)) {
    call->state = LEAT__WAIT_SLOT;
    call->queue = LEAT_FOR_SLOT;
    call->queued_at = now.monotonic_ms;
    return;
  }
  int64_t until =
      call->slot.at_us / 1000 + (call->slot.at_us % 1000 > 0); /* rounded up */
  if (call->slot.held && until > now.monotonic_ms)
    enqueue(call, now, LEAT_FOR_SLOT, until, true);
  else begin_exchange(call, now);
}

/* ---- verifying ------------------------------------------------------------------- */

/* Finds the card with an inner call, whose requests have the headers of this call. */
static void find(leat_call *call, leat_moment now, leat__state state) {
  const leat_op *op = leat_operation("contact_identifiers", "find");
  if (time_left(call, now) <= 0) {
    give_up_late(call);
    return;
  }
  begin_inner(call, state, leat_call_new(call->client, op));
  leat_call_set(call->inner, "contact_identifier_value", leat__argument_text(call, 0));
  for (size_t i = 0; i < call->headers.count; i++)
    leat_call_add_header(call->inner, call->headers.list[i].name.data,
                         call->headers.list[i].value);
}

static leat_string argument_named(const leat_call *call, const char *name) {
  for (size_t i = 0; i < call->op->parameter_count; i++)
    if (call->arguments[i].set && strcmp(call->op->parameters[i].name, name) == 0)
      return leat__argument_text(call, i);
  return (leat_string){NULL, 0};
}

static leat_string owner_of(const leat_call *call) {
  return (leat_string){call->owner.text, call->owner.length};
}

/* From the first verifying find after an unlink or a delete on, requires the owner that it
** returned, as if set by leat_call_expect: the change must not be retried once the card
** belongs to another contact. Returns false if memory runs out. */
static bool remember_owner(leat_call *call, const leat_contact_identifier *card) {
  leat_recovery recovery = call->op->recovery;
  bool matters = recovery == LEAT_VERIFY_UNLINKED || recovery == LEAT_VERIFY_DELETED;
  if (!matters || call->owner.set) return true;
  call->owner.set = true;
  if (card->contact_uuid.data == NULL) return true;
  call->owner.length = (uint32_t)card->contact_uuid.length;
  call->owner.text = leat__copy(card->contact_uuid.data, card->contact_uuid.length);
  return call->owner.text != NULL;
}

static leat_decision decide_from_find(leat_call *call, const leat_call *verify) {
  leat_contact_identifier card;
  leat_kind kind = leat_call_error(verify)->kind;
  leat_recovery recovery = call->op->recovery;
  if (!leat_call_contact_identifier(verify, &card))
    return leat__verify_failed(recovery, kind, call->owner.set);
  leat_desired expected = {.value = argument_named(call, "contact_identifier_value"),
                           .name = argument_named(call, "contact_identifier_name"),
                           .contact_uuid = argument_named(call, "contact_uuid"),
                           .owner_known = call->owner.set,
                           .owner = owner_of(call)};
  leat_decision decision = leat__verify_found(recovery, &expected, &card);
  return remember_owner(call, &card) ? decision : LEAT_GIVE_UP;
}

static void take_document(leat_call *call, leat_call *verify) {
  leat__outcome_free(&call->outcome);
  call->outcome.document = verify->outcome.document;
  verify->outcome.document = NULL;
}

/* Ends the call as a success: the state is as requested, although the response was lost.
** `verify` is the find that showed it, or NULL. */
static void recover(leat_call *call, leat_call *verify) {
  leat__outcome_free(&call->outcome);
  if (verify && leat_call_error(verify)->kind == LEAT_OK) take_document(call, verify);
  int status = leat_call_error(verify ? verify : call)->status;
  clear_error(&call->outcome.error);
  call->outcome.error.status = status;
  call->recovered = true;
  succeed(call);
}

static void take_error(leat_call *call, const leat_error *error) {
  call->outcome.error.code = error->code;
  call->outcome.error.status = error->status;
  call->outcome.error.retry_after_ms = error->retry_after_ms;
  leat__error_set(&call->outcome.error, error->kind, "%s", error->message);
}

/* Ends the call with the error of a find. */
static void fail_as(leat_call *call, const leat_error *error) {
  take_error(call, error);
  give_up(call);
}

static leat_secrets secrets_of(const leat_call *call) {
  if (call->client == NULL) return LEAT_NO_SECRETS;
  leat_secrets secrets = leat__client_secrets(call->client);
  secrets.hide = leat__call_is_to_other_origin(call);
  if (secrets.hide) secrets.token = leat_s(call->client->client_secret);
  return secrets;
}

/* Appends the found card to the message: belongs to contact bob, and its name is "N". */
static void append_card(leat_call *call, const leat_call *verify) {
  char contact[80], name[80];
  leat_contact_identifier card;
  leat_error *error = &call->outcome.error;
  if (!leat_call_contact_identifier(verify, &card)) {
    leat__error_add(error, "is inactive");
    return;
  }
  leat__clean(contact, sizeof contact, card.contact_uuid, secrets_of(call));
  leat__clean(name, sizeof name, card.name, secrets_of(call));
  if (contact[0]) leat__error_add(error, "belongs to contact %s", contact);
  else leat__error_add(error, "belongs to no contact");
  if (name[0]) leat__error_add(error, ", and its name is \"%s\"", name);
}

/* Ends the call as a conflict. A change that may have been applied may have taken effect
** before somebody else changed the card, so its outcome stays unknown. */
static void fail_conflict(leat_call *call, leat_call *verify) {
  leat_error *error = &call->outcome.error;
  error->code = 0;
  error->status = leat_call_error(verify)->status;
  error->retry_after_ms = -1;
  if (call->maybe_applied)
    leat__error_set(error, LEAT_CONFLICT,
                    "the response was lost, and the card is not as requested: it ");
  else
    leat__error_set(error, LEAT_CONFLICT,
                    "nothing was changed, because the card does not belong to the "
                    "expected contact: it ");
  append_card(call, verify);
  leat__error_add(error, call->maybe_applied ? "; find it, then decide" : "");
  take_document(call, verify); /* holds no card if it is inactive */
  give_up(call);
}

static bool is_safe_to_repeat(const leat_op *op) {
  return op->recovery == LEAT_VERIFY_CREATED || op->recovery == LEAT_VERIFY_LINKED ||
         op->recovery == LEAT_RETRY;
}

/* Sets the error of a call that was not sent, because its earlier attempt could not be
** verified. `failure` is the find's error, or NULL if no two finds agreed; an error that is
** none means that memory ran out after the find. */
static void set_unsent_error(leat_call *call, const leat_error *failure) {
  if (failure == NULL)
    leat__error_set(&call->outcome.error, LEAT_TIMEOUT, "nothing was sent");
  else if (failure->kind == LEAT_OK) leat__no_memory(&call->outcome.error);
  else take_error(call, failure);
}

/* Ends the call because no find showed the outcome. The error of the last attempt is kept;
** if there was none, the find's error becomes the call's. `failure` is the error of the
** last find, or NULL if no two finds agreed and no more may follow. */
static void fail_unknown(leat_call *call, const leat_error *failure) {
  bool sent = call->sends > 0;
  if (!sent) set_unsent_error(call, failure);
  leat__error_add(&call->outcome.error, "; finding the card did not show %s (%s)%s",
                  sent ? "the outcome either" : "the outcome of an earlier attempt",
                  failure ? leat_kind_name(failure->kind) : "no two finds agreed in time",
                  is_safe_to_repeat(call->op) ? "; this call is safe to repeat" : "");
  give_up(call);
}

/* A find may return the state from before the change, so all but a success needs two
** finds in a row that agree. Schedules another find, or ends the call if it may not. */
static void confirm(leat_call *call, leat_moment now, leat_decision decision) {
  call->seen = decision;
  if (call->verify_count < LEAT_MAX_VERIFY_FINDS &&
      now.monotonic_ms + LEAT_VERIFY_INTERVAL_MS < call->deadline)
    wait_in(call, now, LEAT_VERIFY_INTERVAL_MS, LEAT__VERIFY_LATER);
  else fail_unknown(call, NULL);
}

static void resend_after_verifying(leat_call *call) {
  call->compared = true; /* by the verifying find */
  if (call->sends < call->max_attempts) call->state = LEAT__READY;
  else give_up(call);
}

static void after_verifying_find(leat_call *call, leat_moment now) {
  leat_call *verify = end_inner(call);
  const leat_error *error = leat_call_error(verify);
  leat_decision decision = decide_from_find(call, verify);
  bool seen_twice = decision == call->seen;
  call->verify_count++;
  if (decision == LEAT_RECOVERED) recover(call, verify);
  else if (decision == LEAT_GIVE_UP || (seen_twice && decision == LEAT_INCONCLUSIVE))
    fail_unknown(call, error);
  else if (!seen_twice) confirm(call, now, decision);
  else if (decision == LEAT_CONTRADICTED) fail_conflict(call, verify);
  else if (decision == LEAT_MISSING) fail_as(call, error);
  else resend_after_verifying(call);
  leat_call_free(verify);
}

/* ---- finding the card before the change is sent ---------------------------------- */

/* Finds the card, to compare its owner before the change is sent. If an earlier attempt
** may already have made the change, the find verifies that instead, unless the change is
** idempotent. */
static void find_first(leat_call *call, leat_moment now) {
  bool verifies = call->maybe_applied && is_verifiable(call->op);
  find(call, now, verifies ? LEAT__VERIFYING : LEAT__COMPARING);
}

static void after_comparing_find(leat_call *call) {
  leat_call *found = end_inner(call);
  leat_contact_identifier card;
  if (!leat_call_contact_identifier(found, &card)) fail_as(call, leat_call_error(found));
  else if (!leat__is_owner(owner_of(call), &card)) fail_conflict(call, found);
  else {
    call->compared = true;
    call->state = LEAT__READY;
  }
  leat_call_free(found);
}

/* ---- decisions after an exchange ------------------------------------------------- */

/* Takes the cost of a retry, or of a verifying find, from the client's retry budget.
** Waiting out a pause costs nothing, because the pause already slows all calls of the
** client. Returns false if too little of the budget is left. */
static bool spend_retry_budget(leat_call *call) {
  leat_client *client = call->client;
  leat_error *error = &call->outcome.error;
  int cost = error->kind == LEAT_TIMEOUT ? LEAT_TIMEOUT_COST : LEAT_RETRY_COST;
  if (client->retry_budget_limit < 0 || leat__retry_throttled(error->kind)) return true;
  if (client->retry_budget < cost) {
    leat__error_add(error, "; not retried: the client's retry_budget is spent");
    return false;
  }
  client->retry_budget -= cost;
  call->cost += cost;
  return true;
}

/* Returns whether a retry or a verifying find may follow after `delay` ms, which must be
** within the timeout and at most a minute, and takes its cost from the retry budget. If
** not, the caller ends the call. */
static bool reserve_follow_up(leat_call *call, leat_moment now, int64_t delay) {
  bool throttled = leat__retry_throttled(call->outcome.error.kind);
  bool counts = !throttled || counts_pauses(call);
  bool too_late = counts && now.monotonic_ms + delay >= call->deadline;
  return delay <= LEAT_LONGEST_WAIT_MS && !too_late && spend_retry_budget(call);
}

/* Sends the operation again: after a pause, whose length is `delay`, or after a backoff. */
static void schedule_retry(leat_call *call, leat_moment now, int64_t delay) {
  const leat_error *error = &call->outcome.error;
  bool throttled = leat__retry_throttled(error->kind);
  if (!throttled)
    delay = leat__retry_delay(&call->client->retry, call->sends, false, now.random);
  if (error->retry_after_ms > delay) delay = error->retry_after_ms;
  if (call->sends >= call->max_attempts || !reserve_follow_up(call, now, delay)) {
    give_up(call);
    return;
  }
  if (error->outcome_unknown) call->maybe_applied = true;
  if (throttled) call->state = LEAT__READY; /* waits there for the pause to end */
  else wait_in(call, now, delay, LEAT__BACKOFF);
}

/* Verifies at once, unless the service asked to wait. After a 429 or 503 the find itself
** waits for the pause to end. */
static void verify(leat_call *call, leat_moment now) {
  const leat_error *error = &call->outcome.error;
  int64_t delay = error->retry_after_ms > 0 ? error->retry_after_ms : 0;
  if (!reserve_follow_up(call, now, delay)) {
    give_up(call);
    return;
  }
  if (error->outcome_unknown) call->maybe_applied = true;
  if (delay > 0 && !leat__retry_throttled(error->kind))
    wait_in(call, now, delay, LEAT__VERIFY_LATER);
  else find(call, now, LEAT__VERIFYING);
}

/* Returns whether a refused token is to be renewed, and the request sent again, which is
** safe, since a refused request changed nothing. A call renews once; but a token from a
** shared store does not count, since it may have been revoked too, and the store does not
** return the same one again. */
static bool may_renew(const leat_call *call) {
  return call->outcome.error.kind == LEAT_UNAUTHORIZED &&
         !call->outcome.error.outcome_unknown && (!call->renewed || call->token_shared) &&
         (call->client->token_from_caller || call->client->fetches_token) &&
         !leat__call_is_to_other_origin(call);
}

/* Returns what follows the only attempt. It is not repeated, and a lost response is not
** verified; but if the call began as maybe_applied, an error that the earlier attempt may
** explain is. */
static leat_decision decide_once(const leat_error *error, leat_decision decision) {
  bool repeats = error->outcome_unknown || decision == LEAT_SEND_AGAIN;
  return repeats ? LEAT_GIVE_UP : decision;
}

static void decide_next(leat_call *call, leat_moment now) {
  leat_error *error = &call->outcome.error;
  int64_t delay = 0;
  if (error->kind == LEAT_OK) {
    succeed(call);
    return;
  }
  if (may_renew(call)) {
    leat__token_refused(call->client, call->token_number);
    call->renewed = true;
    call->sends--; /* a refused token does not use up an attempt */
    call->state = LEAT__READY;
    return;
  }
  if (leat__retry_throttled(error->kind)) delay = pause_client(call, now);
  leat_decision decision =
      leat__retry_decide(call->op->recovery, error, call->maybe_applied);
  if (call->max_attempts == 1) decision = decide_once(error, decision);
  switch (decision) {
    case LEAT_SEND_AGAIN: schedule_retry(call, now, delay); break;
    case LEAT_VERIFY: verify(call, now); break;
    case LEAT_RECOVERED: recover(call, NULL); break;
    default: give_up(call);
  }
}

/* ---- records of exchanges -------------------------------------------------------- */

/* Attributes a record to this call: its operation and its user pointer. */
static void attribute(const leat_call *call, leat_attempt *shown) {
  memcpy(shown->operation, call->outcome.error.operation, sizeof shown->operation);
  shown->user = call->user;
}

/* Counts the exchange that ended, and records it. A call does not fail for lack of a
** record. */
static void record_attempt(leat_call *call, leat_moment now) {
  const leat_error *error = &call->outcome.error;
  leat_purpose purpose = (leat_purpose)call->purpose;
  leat__count_exchange(&call->client->counts, call->counted_as, purpose, error->kind);
  leat__attempt_free(call->unreported);
  call->unreported = NULL;
  if (call->client->observe == LEAT_OBSERVE_NOTHING) return;
  leat_attempt shown = {.purpose = purpose,
                        .attempt = error->attempts,
                        .kind = error->kind,
                        .code = error->code,
                        .status = error->status,
                        .sent = error->sent,
                        .reused = call->reused,
                        .ms = now.monotonic_ms - call->began};
  attribute(call, &shown);
  call->unreported = leat__attempt_new(&shown);
}

/* Moves the record of the inner call's exchange to this call, which will report it. */
static void take_inner_attempt(leat_call *call) {
  leat__attempt *attempt = call->inner->unreported;
  if (attempt == NULL) return; /* not recorded, or already reported */
  call->inner->unreported = NULL;
  leat__attempt_free(call->unreported);
  call->unreported = attempt;
  attempt->shown.attempt += call->outcome.error.attempts;
  attribute(call, &attempt->shown);
}

/* Returns the card's value if the program observes it; otherwise data is NULL. */
static leat_string observed_value(const leat_call *call) {
  bool observed = call->client->observe == LEAT_OBSERVE_VALUES;
  return observed ? leat_call_value(call) : (leat_string){NULL, 0};
}

/* Reports the recorded exchange to the client, now that the wait after it is known. */
static void report_attempt(leat_call *call, int64_t wait_ms) {
  if (call->unreported == NULL) return;
  leat__attempt_report(&call->client->attempts, call->unreported, wait_ms,
                       observed_value(call));
  call->unreported = NULL;
}

/* ---- counts ---------------------------------------------------------------------- */

/* Counts the call once it is done. Only for the calls of the program, which drivers pass:
** an inner call is not counted. */
static void count_when_done(leat_call *call, leat_moment now) {
  if (call->state != LEAT__DONE || call->counted || call->client == NULL) return;
  call->counted = true;
  leat__count_call(&call->client->counts, call->counted_as, &call->outcome.error, now);
}

/* ---- the contract with the driver ------------------------------------------------ */

/* Returns false if the wait is not over. All of a queued wait counts as time in a queue. So
** does what a backoff took beyond its delay: the driver could not run the call earlier. */
static bool end_wait(leat_call *call, leat_moment now) {
  bool queued = call->state == LEAT__QUEUED;
  if (now.monotonic_ms < call->until && !(queued && call->epoch != call->client->epoch))
    return false;
  count_queue_time(call, now, queued ? call->queued_at : call->until);
  if (call->state == LEAT__VERIFY_LATER) find(call, now, LEAT__VERIFYING);
  else call->state = LEAT__READY;
  return true;
}

static void after_inner(leat_call *call, leat_moment now) {
  if (call->state == LEAT__FETCHING) after_token_fetch(call, now);
  else if (call->state == LEAT__COMPARING) after_comparing_find(call);
  else after_verifying_find(call, now);
}

static leat_step next(leat_call *call, leat_moment now) {
  leat_step step;
  while (call) {
    switch (call->state) {
      case LEAT__NEW: begin(call); break;
      case LEAT__READY: run_ready(call, now); break;
      case LEAT__QUEUED:
      case LEAT__BACKOFF:
      case LEAT__VERIFY_LATER:
        if (!end_wait(call, now)) return LEAT_WAIT;
        break;
      case LEAT__WAIT_TOKEN:
        if (!leat__token_is_there(call->client, now)) return LEAT_TOKEN;
        call->state = LEAT__READY;
        break;
      case LEAT__WAIT_SLOT:
        if (!call->slot.held) {
          call->until = leat_call_queue_deadline(call, now.monotonic_ms);
          return LEAT_SLOT;
        }
        count_queue_time(call, now, call->queued_at);
        call->state = LEAT__READY;
        break;
      case LEAT__SENDING: return LEAT_SEND;
      case LEAT__FETCHING:
      case LEAT__COMPARING:
      case LEAT__VERIFYING:
        if ((step = next(call->inner, now)) != LEAT_DONE) return step;
        after_inner(call, now);
        break;
      case LEAT__DONE: return LEAT_DONE;
    }
  }
  return LEAT_DONE;
}

leat_step leat_call_next(leat_call *call, leat_moment now) {
  now = leat__limit_moment(now);
  leat_step step = next(call, now);
  int64_t wait =
      step == LEAT_WAIT ? leat__add_ms(leat_call_until(call), -now.monotonic_ms) : 0;
  if (call == NULL) return step;
  report_attempt(call, step == LEAT_DONE ? -1 : wait);
  count_when_done(call, now);
  return step;
}

/* The driver calls this just before it sends the request. If the client's token changed
** meanwhile, the request carries the new one, unless memory runs out. */
const leat_request *leat_call_request(leat_call *call) {
  if (call && call->inner) return leat_call_request(call->inner);
  if (call == NULL || call->state != LEAT__SENDING) return NULL;
  if (call->token_number != call->client->token_number && leat__renew_authorization(call))
    record_token(call);
  return &call->request;
}

/* Returns the call that is under way: an inner call may have an inner call itself. */
static leat_call *innermost(leat_call *call) {
  while (call && call->inner)
    call = call->inner;
  return call;
}

void leat_call_fetch(leat_call *call, leat_moment now) {
  call = innermost(call);
  if (call && call->state == LEAT__WAIT_TOKEN && call->client->fetches_token)
    fetch_token(call, leat__limit_moment(now));
}

/* The call keeps its lease while it waits for a token. */
void leat_call_await(leat_call *call, leat_moment now, int64_t until_ms) {
  call = innermost(call);
  now = leat__limit_moment(now);
  if (leat_call_awaits_slot(call)) {
    count_queue_time(call, now, call->queued_at);
    call->state = LEAT__READY;
    enqueue(call, now, LEAT_FOR_SLOT, until_ms, false);
  } else if (call && call->state == LEAT__WAIT_TOKEN) {
    enqueue(call, now, LEAT_FOR_TOKEN, until_ms, false);
  }
}

int leat_call_timeout_ms(const leat_call *call) {
  return call ? call->timeout_ms : 0;
}

bool leat_call_awaits_slot(const leat_call *call) {
  while (call && call->inner)
    call = call->inner;
  return call && call->state == LEAT__WAIT_SLOT && !call->slot.held;
}

void leat_call_take_slot(leat_call *call, int64_t slot_us, int64_t late_us) {
  call = innermost(call);
  if (!leat_call_awaits_slot(call)) return;
  call->slot.at_us = slot_us;
  call->slot.late_us = (int32_t)(late_us < 0           ? 0
                                 : late_us < INT32_MAX ? late_us
                                                       : INT32_MAX);
  call->slot.held = true;
}

/* A verifying find may need a token itself, and then the purpose is to get that token. */
leat_purpose leat_call_purpose(const leat_call *call) {
  leat_purpose purpose = LEAT_TO_CALL;
  for (; call; call = call->inner) {
    bool leads = call->client && call->client->lease == call;
    if (call->state == LEAT__WAIT_TOKEN || call->state == LEAT__FETCHING || leads)
      return LEAT_TO_GET_TOKEN;
    if (call->inner) purpose = LEAT_TO_VERIFY;
  }
  return purpose;
}

int64_t leat_call_until(const leat_call *call) {
  if (call == NULL) return 0;
  return call->inner ? leat_call_until(call->inner) : call->until;
}

static void record_rate(leat_call *call, const leat_response *response) {
  call->rate_limit = leat__rate(response, "x-ratelimit-limit");
  call->rate_remaining = leat__rate(response, "x-ratelimit-remaining");
  if (call->rate_remaining < 0) return;
  call->client->rate_limit = call->rate_limit;
  call->client->rate_remaining = call->rate_remaining;
}

void leat_call_set_reused(leat_call *call) {
  if (call && call->inner) leat_call_set_reused(call->inner);
  else if (call) call->reused = true;
}

/* ---- the end of an exchange ------------------------------------------------------ */

/* Ends an exchange, whether a response came or not. */
static void end_exchange(leat_call *call, leat_moment now) {
  record_attempt(call, now);
  after_probe(call, now);
  decide_next(call, now);
}

static bool has_no_null(const leat_response *response) {
  if (response == NULL || leat__is_missing(response->body) ||
      (response->header_count > 0 && response->headers == NULL))
    return false;
  for (size_t i = 0; i < response->header_count; i++)
    if (leat__is_missing(response->headers[i].name) ||
        leat__is_missing(response->headers[i].value))
      return false;
  return true;
}

void leat_call_respond(leat_call *call, leat_moment now, const leat_response *response) {
  if (!has_no_null(response)) {
    leat_call_fail(call, now, LEAT_MISUSE, LEAT_SENT_MAYBE,
                   "the response, or one of its strings, is NULL");
    return;
  }
  now = leat__limit_moment(now);
  if (call && call->inner) {
    leat_call_respond(call->inner, now, response);
    take_inner_attempt(call);
  }
  if (call == NULL || call->state != LEAT__SENDING) return;
  leat_expected expected = {call->op, leat__argument_text(call, 0), call->request.origin,
                            secrets_of(call), call->request.max_body};
  call->outcome.error.sent = LEAT_SENT_MAYBE;
  leat__classify(&call->outcome, &expected, response);
  if (call->outcome.error.kind != LEAT_OK)
    call->outcome.error.retry_after_ms =
        leat__retry_after(leat_response_header(response, "retry-after"),
                          leat_response_header(response, "date"), now.unix_s);
  record_rate(call, response);
  end_exchange(call, now);
}

static void set_failure(leat_call *call, leat_kind kind, leat_sent sent,
                        const char *detail) {
  char text[320];
  leat_secrets secrets = secrets_of(call);
  if (secrets.hide && kind == LEAT_PROTOCOL) detail = "the response is malformed";
  secrets.hide = false; /* any other detail is the driver's own text */
  leat__clean(text, sizeof text, leat_s(detail), secrets);
  leat__error_set(&call->outcome.error, kind, "%s", text);
  call->outcome.error.sent = sent;
  call->outcome.error.outcome_unknown = call->op->writes && sent == LEAT_SENT_MAYBE;
}

/* Counts the wait that the failure of a call ends. */
static void count_unfinished_wait(leat_call *call, leat_moment now) {
  call = innermost(call);
  if (is_queued(call)) count_queue_time(call, now, call->queued_at);
}

/* If an inner call performs the exchange, it is the inner call that fails, and may retry;
** but a cancellation ends this call too. */
static void fail(leat_call *call, leat_moment now, leat_kind kind, leat_sent sent,
                 const char *detail) {
  bool sending = call->state == LEAT__SENDING;
  leat_call *inner = call->inner;
  if (inner && innermost(inner)->state == LEAT__SENDING) {
    fail(inner, now, kind, sent, detail);
    take_inner_attempt(call);
    if (kind != LEAT_CANCELED) return;
  }
  count_unfinished_wait(call, now);
  if (inner) call->outcome.error.attempts += leat_call_error(inner)->attempts;
  set_failure(call, kind, sending ? sent : LEAT_SENT_NO, detail);
  if (sending) end_exchange(call, now);
  else give_up(call);
}

void leat_call_fail(leat_call *call, leat_moment now, leat_kind kind, leat_sent sent,
                    const char *detail) {
  now = leat__limit_moment(now);
  if (call == NULL || call->state == LEAT__DONE) return;
  if (call->state == LEAT__NEW && call->outcome.error.kind != LEAT_OK) {
    fail_before_start(call);
    count_when_done(call, now);
    return;
  }
  if (kind <= LEAT_OK || kind >= LEAT_KINDS) kind = LEAT_MISUSE;
  fail(call, now, kind, sent, detail);
  if (call->state == LEAT__DONE) report_attempt(call, -1);
  count_when_done(call, now);
}

void leat_call_fail_queue_timeout(leat_call *call, leat_moment now) {
  leat_call_fail(call, now, LEAT_TIMEOUT, LEAT_SENT_NO, queue_timeout);
}
