/*
** call.c - the state machine of a call. It opens no socket, reads no clock, draws no
** random number and calls nobody back: it is asked, and told.
**
**   NEW -> READY -> SENDING -> DONE        the plain way
**   READY -> WAITING -> READY              in line for a pause to end, or for a slot
**   SENDING -> WAITING -> READY            before another try
**   SENDING -> WAITING -> INSIDE -> ...    when an answer was lost: a find, a call of its
**                                          own inside this one, tells what happened
**   READY -> INSIDE -> READY               when a token must be fetched, likewise
**   READY -> ASKING -> READY               when the user must give one, or a store may;
**   ASKING -> INSIDE, WAITING              or neither has it
**   READY -> STANDING -> READY             when slots are other processes' too
*/
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From 1024 bytes on, malloc first tidies up all that is small. */
_Static_assert(sizeof(leat_call) <= 1000, "a call has grown too large to be cheap");

/* A slot that nobody took one behind is free again. */
static void release_slot(leat_call *call) {
  leat_client *client = call->client;
  if (client && call->slot_us &&
      client->slot_us == call->slot_us + client->slot_length_us)
    client->slot_us = call->slot_us;
  call->slot_us = 0;
}

/* "contact_identifiers.find"; snprintf would cost more than all the rest of making a call. */
static void name_operation(leat_error *error, const leat_op *op) {
  char *out = error->operation, *end = out + sizeof error->operation - 1;
  for (const char *from = op->resource; *from && out < end;)
    *out++ = *from++;
  if (out < end) *out++ = '.';
  for (const char *from = op->name; *from && out < end;)
    *out++ = *from++;
  *out = '\0';
}

/* ---- making ---------------------------------------------------------------------- */

leat_call *leat_call_new(leat_client *client, const leat_op *op) {
  leat_call *call = calloc(1, sizeof *call);
  if (call == NULL) return NULL;
  call->outcome.error.retry_after_ms = -1;
  leat__buffer_init(&call->target, LEAT_MAX_REQUEST);
  leat__buffer_init(&call->body, LEAT_MAX_REQUEST);
  call->references = 1;
  call->rate_limit = call->rate_remaining = -1;
  call->client = client;
  call->op = op;
  if (client) {
    leat__client_hold(client);
    call->timeout_ms = client->timeout_ms;
    call->connect_timeout_ms = client->connect_timeout_ms;
    call->max_attempts = client->retry.max_attempts;
  }
  if (op) name_operation(&call->outcome.error, op);
  if (client == NULL || op == NULL)
    leat__misuse(call, "no client, or no such operation", "");
  return call;
}

void leat_call_free(leat_call *call) {
  if (call == NULL || --call->references > 0) return;
  leat__token_release(call);
  release_slot(call);
  leat__raw_free(call->raw);
  leat_call_free(call->look);
  leat_call_free(call->fetch);
  leat__attempt_free(call->noted);
  for (size_t i = 0; i < LEAT_MAX_PARAMETERS; i++)
    free(call->arguments[i].text);
  leat__buffer_free(&call->target);
  leat__buffer_free(&call->body);
  leat__outcome_free(&call->outcome);
  if (call->client) leat__client_release(call->client);
  free(call);
}

void leat__call_hold(leat_call *call) {
  call->references++;
}

uint64_t leat__call_epoch(const leat_call *call) {
  return call->client ? call->client->epoch : 0;
}

bool leat__call_is_shared(const leat_call *call) {
  return call->references > 1;
}

leat_client *leat_call_client(const leat_call *call) {
  return call ? call->client : NULL;
}

const leat_op *leat_call_op(const leat_call *call) {
  return call ? call->op : NULL;
}

void leat_call_set_user(leat_call *call, void *user) {
  if (call) call->user = user;
}

void *leat_call_user(const leat_call *call) {
  return call ? call->user : NULL;
}

/* ---- ends ------------------------------------------------------------------------ */

static void succeed(leat_call *call) {
  int *quota = &call->client->quota;
  *quota += call->cost > 0 ? call->cost : 1;
  if (*quota > LEAT_RETRY_QUOTA) *quota = LEAT_RETRY_QUOTA;
  call->state = LEAT__DONE;
}

/* With the error that is there. What an earlier attempt did stays unknown, unless this
** error shows that it did nothing. */
static void give_up(leat_call *call) {
  leat_error *error = &call->outcome.error;
  call->state = LEAT__DONE;
  leat_call_free(call->look); /* and the leases that they hold */
  leat_call_free(call->fetch);
  call->look = call->fetch = NULL;
  leat__token_release(call);
  release_slot(call);
  if (!call->in_doubt) return;
  error->sent = LEAT_SENT_MAYBE;
  if (!leat__retry_settles(error->kind)) error->outcome_unknown = true;
}

static void give_up_as(leat_call *call, leat_kind kind, const char *why) {
  leat__error_set(&call->outcome.error, kind, "%s", why);
  give_up(call);
}

/* ---- waiting --------------------------------------------------------------------- */

int64_t leat__call_patience(const leat_call *call, int64_t now) {
  int patience = call->client ? call->client->queue_timeout_ms : 0;
  bool waits = call->state == LEAT__WAITING && call->in_line;
  int64_t waited = call->line_ms + (waits ? now - call->wait_began : 0);
  return patience ? now + patience - waited : INT64_MAX;
}

/* An answer that asked it to wait is still there; else it says for what it stood. */
static void lose_patience(leat_call *call, leat_moment now) {
  leat_kind kind = call->outcome.error.kind;
  int64_t asked = call->client->paused_until - now.monotonic_ms;
  if (kind == LEAT_MAINTENANCE || kind == LEAT_RATE_LIMITED) {
    give_up(call);
    return;
  }
  give_up_as(call, LEAT_TIMEOUT, asked > 0 ? LEAT_IMPATIENT_OF_PAUSE : LEAT_IMPATIENT);
  if (asked > 0) call->outcome.error.retry_after_ms = asked;
}

/* In line, which is not call time: until a moment that is `sure` to be needed, or until
** there is news. */
static void wait_in_line(leat_call *call, leat_moment now, int64_t until, bool sure) {
  int64_t last = leat__call_patience(call, now.monotonic_ms);
  if (now.monotonic_ms >= last || (sure && until > last)) {
    lose_patience(call, now);
    return;
  }
  call->state = LEAT__WAITING;
  call->in_line = true;
  call->epoch = call->client->epoch;
  call->wait_began = now.monotonic_ms;
  call->until = until > last ? last : until;
}

/* Once it has waited by itself, it knows from the clock. */
void leat__call_waited(leat_call *call, int64_t ms) {
  if (call->state == LEAT__NEW) call->line_ms += ms;
}

static void wait_before(leat_call *call, leat_moment now, int64_t delay, bool look) {
  call->state = LEAT__WAITING;
  call->in_line = false;
  call->then_look = look;
  call->until = now.monotonic_ms + delay;
}

/* A slot of the client's rate, taken once for each exchange. False: the driver takes it. */
static bool take_slot(leat_call *call, leat_moment now) {
  leat_client *client = call->client;
  int64_t now_us = now.monotonic_ms * 1000;
  if (client->slot_length_us == 0) return true;
  if (call->slot_us + client->slot_length_us < now_us) call->slot_us = 0; /* missed */
  if (call->slot_us) return true;
  if (client->shared) return false;
  call->slot_us = client->slot_us > now_us ? client->slot_us : now_us;
  client->slot_us = call->slot_us + client->slot_length_us;
  return true;
}

/* ---- sending --------------------------------------------------------------------- */

static void begin(leat_call *call) {
  call->state = LEAT__READY;
  if (call->outcome.error.kind == LEAT_OK) leat__make_request(call);
  if (call->outcome.error.kind != LEAT_OK) call->state = LEAT__DONE;
}

/* Of the time that is left a change takes half, so that there is some to learn of it. */
static int64_t time_for_one(const leat_call *call, int64_t left) {
  bool more = call->op->writes && call->op->when_unknown != LEAT_NEVER_AGAIN &&
              call->max_attempts > 1;
  return more ? (left + 1) / 2 : left;
}

static void send(leat_call *call, leat_moment now) {
  leat_error *error = &call->outcome.error;
  if (call->deadline == 0) call->deadline = now.monotonic_ms + call->timeout_ms;
  int64_t left = call->deadline - now.monotonic_ms;
  if (left <= 0) { /* the error of the last try is still there */
    if (error->kind == LEAT_OK) give_up_as(call, LEAT_TIMEOUT, "no time is left");
    else give_up(call);
    return;
  }
  leat__outcome_free(&call->outcome);
  error->kind = LEAT_OK;
  error->code = error->status = 0;
  error->message[0] = '\0';
  error->outcome_unknown = false;
  error->retry_after_ms = -1;
  error->attempts++;
  call->sends++;
  call->slot_us = 0;
  call->looks = 0;
  call->began = now.monotonic_ms;
  call->reused = false;
  call->request.deadline_ms = now.monotonic_ms + time_for_one(call, left);
  call->state = LEAT__SENDING;
  if (!leat__make_headers(call)) give_up_as(call, LEAT_NO_MEMORY, "out of memory");
}

/* A fetch is a call of its own, in the time that this one has. */
static void fetch_token(leat_call *call, leat_moment now) {
  leat_client *client = call->client;
  if (call->deadline == 0) call->deadline = now.monotonic_ms + call->timeout_ms;
  int64_t left = call->deadline - now.monotonic_ms;
  if (left <= 0) {
    give_up_as(call, LEAT_TIMEOUT, "no time is left to fetch a token");
    return;
  }
  call->state = LEAT__INSIDE;
  call->fetch = leat__token_call(client);
  if (call->fetch == NULL) {
    give_up_as(call, LEAT_NO_MEMORY, "out of memory");
    return;
  }
  call->fetch->timeout_ms = (int)left;
  call->fetch->connect_timeout_ms = call->connect_timeout_ms;
}

static void get_token(leat_call *call, leat_moment now) {
  leat_client *client = call->client;
  if (!leat__token_lease(client, call, now))
    wait_in_line(call, now, client->lease_until, false);
  else if (client->asks_token || client->shared) call->state = LEAT__ASKING;
  else fetch_token(call, now);
}

static void after_fetch(leat_call *call, leat_moment now) {
  leat_call *fetch = call->fetch;
  call->fetch = NULL;
  call->outcome.error.attempts += leat_call_error(fetch)->attempts;
  call->deadline += fetch->line_ms;
  if (leat__token_take(call->client, fetch, now, &call->outcome.error))
    call->state = LEAT__READY;
  else give_up(call);
  leat_call_free(fetch);
}

static void get_ready(leat_call *call, leat_moment now) {
  if (!leat__call_is_elsewhere(call) && !leat__token_is_there(call->client, now)) {
    get_token(call, now);
    return;
  }
  int64_t until = call->client->paused_until; /* then a slot */
  if (until <= now.monotonic_ms) {
    if (!take_slot(call, now)) {
      call->state = LEAT__STANDING;
      return;
    }
    until = (call->slot_us + 999) / 1000;
  }
  if (until > now.monotonic_ms) wait_in_line(call, now, until, true);
  else send(call, now);
}

/* ---- looking --------------------------------------------------------------------- */

/* A look is a find, in the time that this call has left. */
static void look(leat_call *call, leat_moment now) {
  int64_t left = call->deadline - now.monotonic_ms;
  const leat_op *find = leat_operation("contact_identifiers", "find");
  call->state = LEAT__INSIDE;
  if (left > 0) call->look = leat_call_new(call->client, find);
  if (call->look == NULL) {
    give_up(call);
    return;
  }
  call->look_tries++;
  call->look->timeout_ms = (int)left;
  call->look->connect_timeout_ms = call->connect_timeout_ms;
  leat_call_set(call->look, "contact_identifier_value", leat__argument_text(call, 0));
}

static leat_string asked(const leat_call *call, const char *name) {
  for (size_t i = 0; i < call->op->parameter_count; i++)
    if (call->arguments[i].set && strcmp(call->op->parameters[i].name, name) == 0)
      return leat__argument_text(call, i);
  return (leat_string){NULL, 0};
}

static leat_verdict look_at(leat_call *call, const leat_call *look) {
  leat_contact_identifier card;
  leat_asked wanted = {asked(call, "contact_identifier_value"),
                       asked(call, "contact_identifier_name"),
                       asked(call, "contact_uuid")};
  if (leat_call_contact_identifier(look, &card))
    return leat__look_found(call->op->when_unknown, &wanted, &card);
  leat_kind kind = leat_call_error(look)->kind;
  if (kind == LEAT_NOT_FOUND) call->looks++;
  return leat__look_failed(call->op->when_unknown, kind, call->looks);
}

/* It is as asked, but the answer that said so was lost. */
static void recover(leat_call *call, leat_call *look) {
  leat__outcome_free(&call->outcome);
  if (look) {
    call->outcome.document = look->outcome.document;
    look->outcome.document = NULL;
    call->outcome.error.status = look->outcome.error.status;
  }
  call->outcome.error.kind = LEAT_OK;
  call->outcome.error.code = 0;
  call->outcome.error.message[0] = '\0';
  call->outcome.error.outcome_unknown = false;
  call->recovered = true;
  succeed(call);
}

/* A look that failed says so itself. */
static void end_as(leat_call *call, const leat_error *error) {
  call->in_doubt = false;
  call->outcome.error.kind = error->kind;
  call->outcome.error.code = error->code;
  call->outcome.error.status = error->status;
  call->outcome.error.outcome_unknown = false;
  leat__error_set(&call->outcome.error, error->kind, "%s", error->message);
  give_up(call);
}

static void contradict(leat_call *call) {
  call->in_doubt = false;
  call->outcome.error.outcome_unknown = false;
  give_up_as(call, LEAT_CONFLICT,
             "the answer was lost, and what is there now is not what was asked: it has "
             "another name or contact, or is inactive; find it, then decide");
}

static void remain_unknown(leat_call *call, const leat_error *why) {
  leat__error_add(&call->outcome.error, "; finding it did not tell either (%s)",
                  leat_kind_name(why->kind));
  give_up(call);
}

static void after_look(leat_call *call, leat_moment now) {
  leat_call *look = call->look;
  const leat_error *error = leat_call_error(look);
  call->look = NULL;
  call->outcome.error.attempts += error->attempts;
  call->deadline += look->line_ms;
  switch (look_at(call, look)) {
    case LEAT_RECOVERED: recover(call, look); break;
    case LEAT_CONTRADICTED: contradict(call); break;
    case LEAT_VANISHED: end_as(call, error); break;
    case LEAT_LOOK:
      if (call->look_tries < LEAT_LOOK_TRIES &&
          now.monotonic_ms + LEAT_LOOK_APART_MS < call->deadline)
        wait_before(call, now, LEAT_LOOK_APART_MS, true);
      else remain_unknown(call, error);
      break;
    case LEAT_TRY_AGAIN:
      if (call->sends < call->max_attempts) call->state = LEAT__READY;
      else give_up(call);
      break;
    case LEAT_GIVE_UP: remain_unknown(call, error); break;
  }
  leat_call_free(look);
}

/* ---- what came of an exchange ---------------------------------------------------- */

static bool pay(leat_call *call) {
  int cost =
      call->outcome.error.kind == LEAT_TIMEOUT ? LEAT_TIMEOUT_COST : LEAT_RETRY_COST;
  if (call->client->quota < cost) return false;
  call->client->quota -= cost;
  call->cost += cost;
  return true;
}

/* When the service asks to wait, all calls of the client do. */
static void pause_client(leat_call *call, leat_moment now, int64_t delay) {
  leat_client *client = call->client;
  int64_t until = now.monotonic_ms + delay;
  if (until > client->paused_until) client->paused_until = until;
  call->state = LEAT__READY;
}

static void try_again(leat_call *call, leat_moment now, bool look) {
  const leat_error *error = &call->outcome.error;
  bool throttled = error->kind == LEAT_RATE_LIMITED || error->kind == LEAT_MAINTENANCE;
  int64_t delay =
      leat__retry_delay(&call->client->retry, call->sends, throttled, now.random);
  if (error->retry_after_ms > delay) delay = error->retry_after_ms;
  bool too_long = delay > LEAT_LONGEST_WAIT_MS ||
                  (!throttled && now.monotonic_ms + delay >= call->deadline);
  /* a pause is for all calls alike, which is brake enough: it costs no quota */
  if ((!look && call->sends >= call->max_attempts) || too_long ||
      (!throttled && !pay(call))) {
    give_up(call);
    return;
  }
  if (error->outcome_unknown) call->in_doubt = true;
  if (error->status == 503) call->suspected = true;
  if (throttled) pause_client(call, now, delay);
  else wait_before(call, now, delay, look);
}

/* A token that the service refuses is renewed, once: nothing was done with it. */
static bool may_renew(const leat_call *call) {
  return call->outcome.error.kind == LEAT_UNAUTHORIZED &&
         !call->outcome.error.outcome_unknown && !call->renewed &&
         (call->client->asks_token || call->client->fetches_token) &&
         !leat__call_is_elsewhere(call);
}

static void settle(leat_call *call, leat_moment now) {
  leat_error *error = &call->outcome.error;
  if (error->kind == LEAT_OK) {
    succeed(call);
    return;
  }
  if (may_renew(call)) {
    leat__token_refused(call->client, call->token_number);
    call->renewed = true;
    call->sends--;
    call->state = LEAT__READY;
    return;
  }
  leat_verdict verdict = leat__retry_verdict(call->op->when_unknown, error,
                                             call->in_doubt || call->suspected);
  if (call->max_attempts == 1) verdict = LEAT_GIVE_UP;
  switch (verdict) {
    case LEAT_TRY_AGAIN: try_again(call, now, false); break;
    case LEAT_LOOK: try_again(call, now, true); break;
    case LEAT_RECOVERED: recover(call, NULL); break;
    default: give_up(call);
  }
}

/* ---- asking and telling ---------------------------------------------------------- */

static bool end_wait(leat_call *call, leat_moment now) {
  if (now.monotonic_ms < call->until &&
      !(call->in_line && call->epoch != call->client->epoch))
    return false;
  /* what it waited in line, its driver's too, is not its time */
  int64_t waited = now.monotonic_ms - (call->in_line ? call->wait_began : call->until);
  if (call->deadline) call->deadline += waited;
  call->line_ms += waited;
  call->state = LEAT__READY;
  if (!call->in_line && call->then_look) look(call, now);
  return true;
}

/* The call inside it that is under way. */
static leat_call *inside(const leat_call *call) {
  if (call->state != LEAT__INSIDE) return NULL;
  return call->fetch ? call->fetch : call->look;
}

static leat_step next(leat_call *call, leat_moment now) {
  leat_step step;
  while (call) {
    switch (call->state) {
      case LEAT__NEW: begin(call); break;
      case LEAT__READY: get_ready(call, now); break;
      case LEAT__WAITING:
        if (!end_wait(call, now)) return LEAT_WAIT;
        break;
      case LEAT__ASKING:
        if (!leat__token_is_there(call->client, now)) return LEAT_TOKEN;
        call->state = LEAT__READY;
        break;
      case LEAT__STANDING:
        call->until = leat__call_patience(call, now.monotonic_ms);
        return LEAT_SLOT;
      case LEAT__SENDING: return LEAT_SEND;
      case LEAT__INSIDE:
        if ((step = next(inside(call), now)) != LEAT_DONE) return step;
        if (call->fetch) after_fetch(call, now);
        else after_look(call, now);
        break;
      case LEAT__DONE: return LEAT_DONE;
    }
  }
  return LEAT_DONE;
}

leat_step leat_call_next(leat_call *call, leat_moment now) {
  leat_step step = next(call, now);
  int64_t wait = step == LEAT_WAIT ? leat_call_until(call) - now.monotonic_ms : 0;
  if (call) leat__attempt_tell(call, step == LEAT_DONE ? -1 : wait);
  return step;
}

/* Whoever asks for the request is about to send it, with the token of now. */
const leat_request *leat_call_request(leat_call *call) {
  if (call && inside(call)) return leat_call_request(inside(call));
  if (call == NULL || call->state != LEAT__SENDING) return NULL;
  call->token_number = call->client->token_number;
  return &call->request;
}

/* The one that is at it: it may be inside of one that is inside. */
static leat_call *innermost(leat_call *call) {
  while (call && inside(call))
    call = inside(call);
  return call;
}

void leat_call_fetch(leat_call *call, leat_moment now) {
  call = innermost(call);
  if (call && call->state == LEAT__ASKING && call->client->fetches_token)
    fetch_token(call, now);
}

/* The lease stays its own meanwhile. */
void leat_call_await(leat_call *call, leat_moment now, int64_t until_ms) {
  call = innermost(call);
  if (call && call->state == LEAT__ASKING) wait_in_line(call, now, until_ms, false);
}

void leat_call_take_slot(leat_call *call, int64_t slot_us) {
  call = innermost(call);
  if (call == NULL || call->state != LEAT__STANDING) return;
  call->slot_us = slot_us;
  call->state = LEAT__READY;
}

/* A look may need a token too. */
leat_purpose leat_call_purpose(const leat_call *call) {
  leat_purpose purpose = LEAT_TO_CALL;
  for (; call; call = inside(call)) {
    bool leads = call->client && call->client->lease == call;
    if (call->state == LEAT__ASKING || call->fetch || leads) return LEAT_TO_GET_TOKEN;
    if (inside(call)) purpose = LEAT_TO_LOOK;
  }
  return purpose;
}

int64_t leat_call_until(const leat_call *call) {
  if (call == NULL) return 0;
  return inside(call) ? leat_call_until(inside(call)) : call->until;
}

static leat_secrets secrets_of(const leat_call *call) {
  if (call->client == NULL) return LEAT_NO_SECRETS;
  leat_secrets secrets = leat__client_secrets(call->client);
  secrets.hide = leat__call_is_elsewhere(call);
  return secrets;
}

static void note_rate(leat_call *call, const leat_answer *answer) {
  call->rate_limit = leat__rate(answer, "x-ratelimit-limit");
  call->rate_remaining = leat__rate(answer, "x-ratelimit-remaining");
  if (call->rate_remaining < 0) return;
  call->client->rate_limit = call->rate_limit;
  call->client->rate_remaining = call->rate_remaining;
}

void leat_call_set_reused(leat_call *call) {
  if (call && inside(call)) leat_call_set_reused(inside(call));
  else if (call) call->reused = true;
}

/* What became of an exchange of the call inside is noted as one of this. */
static void adopt_note(leat_call *call) {
  leat__attempt_adopt(call, inside(call), call->fetch ? LEAT_TO_GET_TOKEN : LEAT_TO_LOOK);
}

void leat_call_answer(leat_call *call, leat_moment now, const leat_answer *answer) {
  if (call && inside(call)) {
    leat_call_answer(inside(call), now, answer);
    adopt_note(call);
  }
  if (call == NULL || call->state != LEAT__SENDING) return;
  leat_wanted wanted = {call->op, leat__argument_text(call, 0), call->request.origin,
                        secrets_of(call)};
  call->outcome.error.sent = LEAT_SENT_MAYBE;
  leat__judge(&call->outcome, &wanted, answer);
  if (call->outcome.error.kind != LEAT_OK)
    call->outcome.error.retry_after_ms =
        leat__retry_after(leat_answer_header(answer, "retry-after"), now.unix_s);
  note_rate(call, answer);
  leat__attempt_note(call, now);
  settle(call, now);
}

static void set_failure(leat_call *call, leat_kind kind, leat_sent sent,
                        const char *detail) {
  char text[320];
  leat_secrets secrets = secrets_of(call);
  if (secrets.hide && kind == LEAT_PROTOCOL) detail = "the answer is malformed";
  secrets.hide = false; /* the rest is the driver's own text */
  leat__clean(text, sizeof text, leat_s(detail), secrets);
  leat__error_set(&call->outcome.error, kind, "%s", text);
  call->outcome.error.sent = sent;
  call->outcome.error.outcome_unknown = call->op->writes && sent == LEAT_SENT_MAYBE;
}

static void fail(leat_call *call, leat_moment now, leat_kind kind, leat_sent sent,
                 const char *detail) {
  bool sending = call->state == LEAT__SENDING;
  leat_call *inner = inside(call);
  if (inner && leat_call_request(inner)) {
    fail(inner, now, kind, sent, detail);
    adopt_note(call);
    if (kind != LEAT_CANCELED) return;
  }
  if (inner) call->outcome.error.attempts += leat_call_error(inner)->attempts;
  set_failure(call, kind, sending ? sent : LEAT_SENT_NO, detail);
  if (sending) {
    leat__attempt_note(call, now);
    settle(call, now);
  } else {
    give_up(call);
  }
}

void leat_call_fail(leat_call *call, leat_moment now, leat_kind kind, leat_sent sent,
                    const char *detail) {
  if (call == NULL || call->state == LEAT__DONE) return;
  if (call->state == LEAT__NEW && call->outcome.error.kind != LEAT_OK) {
    call->state = LEAT__DONE;
    return;
  }
  if (kind <= LEAT_OK || kind >= LEAT_KINDS) kind = LEAT_MISUSE;
  fail(call, now, kind, sent, detail);
  if (call->state == LEAT__DONE) leat__attempt_tell(call, -1);
}

/* ---- results --------------------------------------------------------------------- */

static const leat_error out_of_memory = {
    .kind = LEAT_NO_MEMORY, .retry_after_ms = -1, .message = "out of memory"};

bool leat_call_is_done(const leat_call *call) {
  return call == NULL || call->state == LEAT__DONE;
}

const leat_error *leat_call_error(const leat_call *call) {
  return call ? &call->outcome.error : &out_of_memory;
}

static bool succeeded(const leat_call *call) {
  return leat_call_is_done(call) && leat_call_error(call)->kind == LEAT_OK;
}

const leat_json *leat_call_data(const leat_call *call) {
  if (!succeeded(call)) return NULL;
  const leat_json *data = leat__get(call->outcome.document, "data");
  return data == NULL && call->raw ? call->outcome.document : data;
}

const leat_json *leat_call_meta(const leat_call *call) {
  return succeeded(call) ? leat__get(call->outcome.document, "meta") : NULL;
}

leat_info leat_call_info(const leat_call *call) {
  const leat_error *error = leat_call_error(call);
  return (leat_info){error->status, error->attempts, call && call->recovered,
                     call ? call->rate_limit : -1, call ? call->rate_remaining : -1};
}

bool leat_call_field(const leat_call *call, size_t index, leat_field *field) {
  static const leat_outcome none;
  return leat__field(call ? &call->outcome : &none, index, field);
}

bool leat_json_contact_identifier(const leat_json *value, leat_contact_identifier *card) {
  const leat_json *contact = leat__get(value, "contact");
  const leat_json *active = leat__get(value, "active");
  memset(card, 0, sizeof *card);
  card->active = -1;
  if (leat_json_type(leat__get(value, "value")) != LEAT_STRING) return false;
  card->value = leat_json_string(leat__get(value, "value"));
  card->name = leat_json_string(leat__get(value, "name"));
  card->contact_uuid = leat_json_string(leat__get(contact, "uuid"));
  card->contact_email = leat_json_string(leat__get(contact, "email"));
  if (leat_json_type(active) == LEAT_BOOLEAN) card->active = leat_json_boolean(active);
  return true;
}

bool leat_call_contact_identifier(const leat_call *call, leat_contact_identifier *card) {
  const leat_json *data = leat_call_data(call);
  bool is_card = data && call->op->result == LEAT_RESULT_CARD;
  return leat_json_contact_identifier(is_card ? data : NULL, card);
}
