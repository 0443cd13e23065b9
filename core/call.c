/*
** call.c - the state machine of a call. It opens no socket, reads no clock, draws no
** random number and calls nobody back: it is asked, and told.
*/
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum state { NEW, SENDING, DONE } state;

typedef struct argument {
  char *text; /* NULL: not set, or a boolean */
  size_t length;
  bool set, boolean;
} argument;

struct leat_call {
  int references; /* the owner's, and a driver's while it works on it */
  leat_client *client;
  const leat_op *op;
  void *user;
  state state;
  argument arguments[LEAT_MAX_PARAMETERS];
  leat_request request;
  leat_buffer target, body;
  leat_outcome outcome;
};

/* ---- making and filling ---------------------------------------------------------- */

static void misuse(leat_call *call, const char *what, const char *which) {
  if (call->outcome.error.kind != LEAT_OK) return;
  leat__error_set(&call->outcome.error, LEAT_MISUSE, "%s%s", which, what);
}

leat_call *leat_call_new(leat_client *client, const leat_op *op) {
  leat_call *call = calloc(1, sizeof *call);
  if (call == NULL) return NULL;
  call->outcome.error.retry_after_ms = -1;
  leat__buffer_init(&call->target, LEAT_MAX_REQUEST);
  leat__buffer_init(&call->body, LEAT_MAX_REQUEST);
  call->references = 1;
  call->client = client;
  call->op = op;
  if (client) leat__client_hold(client);
  if (op)
    snprintf(call->outcome.error.operation, sizeof call->outcome.error.operation, "%s.%s",
             op->resource, op->name);
  if (client == NULL || op == NULL) misuse(call, "no client, or no such operation", "");
  return call;
}

void leat_call_free(leat_call *call) {
  if (call == NULL || --call->references > 0) return;
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

bool leat__call_is_shared(const leat_call *call) {
  return call->references > 1;
}

/* The place of a parameter that may be set now; NULL: misuse, already noted. */
static argument *find_argument(leat_call *call, const char *name, leat_type type) {
  if (call == NULL || call->outcome.error.kind != LEAT_OK || call->state != NEW)
    return NULL;
  for (size_t i = 0; i < call->op->parameter_count; i++) {
    if (strcmp(call->op->parameters[i].name, name) != 0) continue;
    if (call->op->parameters[i].type == type) return &call->arguments[i];
    misuse(call, type == LEAT_STRING ? " must be a boolean" : " must be a string", name);
    return NULL;
  }
  misuse(call, " is not a parameter of this operation", name);
  return NULL;
}

static const char *check_text(leat_string value) {
  if (value.length == 0) return " is empty";
  if (value.length > LEAT_MAX_VALUE) return " is too long";
  if (memchr(value.data, '\0', value.length)) return " holds a NUL byte";
  if (!leat__utf8(value)) return " is not UTF-8";
  return NULL;
}

void leat_call_set(leat_call *call, const char *name, leat_string value) {
  argument *place = find_argument(call, name, LEAT_STRING);
  if (place == NULL) return;
  const char *wrong = check_text(value);
  if (wrong) {
    misuse(call, wrong, name);
    return;
  }
  free(place->text);
  place->text = leat__copy(value.data, value.length);
  place->length = value.length;
  place->set = true;
  if (place->text == NULL)
    leat__error_set(&call->outcome.error, LEAT_NO_MEMORY, "out of memory");
}

void leat_call_set_bool(leat_call *call, const char *name, bool value) {
  argument *place = find_argument(call, name, LEAT_BOOLEAN);
  if (place == NULL) return;
  place->boolean = value;
  place->set = true;
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

/* ---- the request ----------------------------------------------------------------- */

static leat_string argument_text(const leat_call *call, size_t i) {
  const argument *a = &call->arguments[i];
  if (a->text) return (leat_string){a->text, a->length};
  return leat_s(a->boolean ? "true" : "false");
}

static void make_target(leat_call *call) {
  const char *separator = "?";
  leat__append_s(&call->target, call->client->url.path);
  leat__append_s(&call->target, call->op->path);
  if (!(call->op->places & LEAT_IN_QUERY)) return;
  for (size_t i = 0; i < call->op->parameter_count; i++) {
    if (!call->arguments[i].set) continue;
    leat__append_s(&call->target, separator);
    leat__append_s(&call->target, call->op->parameters[i].name);
    leat__append_s(&call->target, "=");
    leat__append_encoded(&call->target, argument_text(call, i));
    separator = "&";
  }
}

static leat_json *argument_json(const leat_call *call, size_t i) {
  const argument *a = &call->arguments[i];
  return a->text ? leat__json_text(argument_text(call, i))
                 : leat__json_boolean(a->boolean);
}

static void make_body(leat_call *call) {
  if (!(call->op->places & LEAT_IN_BODY)) return;
  leat_json *object = leat__json_object();
  bool good = object != NULL;
  for (size_t i = 0; i < call->op->parameter_count && good; i++)
    if (call->arguments[i].set)
      good = leat__json_set(object, call->op->parameters[i].name, argument_json(call, i));
  if (good) leat__json_write(object, &call->body);
  else call->body.failed = LEAT_NO_MEMORY;
  leat__json_free(object);
}

static void make_request(leat_call *call) {
  leat_request *request = &call->request;
  const leat_client *client = call->client;
  make_target(call);
  make_body(call);
  request->method = leat_s(call->op->method);
  request->origin = leat_s(client->url.origin);
  request->host = leat_s(client->url.host);
  request->port = client->url.port;
  request->tls = client->url.tls;
  request->target = (leat_string){call->target.data, call->target.length};
  request->body = (leat_string){call->body.data, call->body.length};
  request->connect_timeout_ms = client->connect_timeout_ms;
  request->max_body = client->max_body;
  request->headers = client->headers;
  request->header_count = client->header_count;
  if (request->body.length == 0) request->header_count--; /* Content-Type stands last */
}

/* ---- asking and telling ---------------------------------------------------------- */

static const char *missing_argument(const leat_call *call) {
  for (size_t i = 0; i < call->op->parameter_count; i++)
    if (call->op->parameters[i].required && !call->arguments[i].set)
      return call->op->parameters[i].name;
  return NULL;
}

static void begin(leat_call *call, leat_moment now) {
  const char *missing = missing_argument(call);
  if (missing) {
    misuse(call, " is missing", missing);
    return;
  }
  make_request(call);
  leat_kind failed = call->target.failed ? call->target.failed : call->body.failed;
  if (failed) {
    leat__error_set(&call->outcome.error, failed,
                    failed == LEAT_TOO_LARGE ? "the request is larger than %d bytes"
                                             : "out of memory",
                    LEAT_MAX_REQUEST);
    return;
  }
  call->request.deadline_ms = now.monotonic_ms + call->client->timeout_ms;
  call->outcome.error.attempts++;
  call->state = SENDING;
}

leat_step leat_call_next(leat_call *call, leat_moment now) {
  if (call == NULL) return LEAT_DONE;
  if (call->state == NEW && call->outcome.error.kind == LEAT_OK) begin(call, now);
  if (call->outcome.error.kind != LEAT_OK) call->state = DONE;
  return call->state == DONE ? LEAT_DONE : LEAT_SEND;
}

const leat_request *leat_call_request(const leat_call *call) {
  return call && call->state == SENDING ? &call->request : NULL;
}

int64_t leat_call_until(const leat_call *call) {
  (void)call; /* no call waits yet */
  return 0;
}

void leat_call_answer(leat_call *call, leat_moment now, const leat_answer *answer) {
  (void)now;
  if (call == NULL || call->state != SENDING) return;
  leat_wanted wanted = {call->op, argument_text(call, 0), call->request.origin,
                        leat__client_token(call->client)};
  call->outcome.error.sent = LEAT_SENT_MAYBE;
  leat__judge(&call->outcome, &wanted, answer);
  call->state = DONE;
}

void leat_call_fail(leat_call *call, leat_moment now, leat_kind kind, leat_sent sent,
                    const char *detail) {
  char text[384];
  (void)now;
  if (call == NULL || call->state == DONE || call->outcome.error.kind != LEAT_OK) return;
  if (kind <= LEAT_OK || kind >= LEAT_KINDS) kind = LEAT_MISUSE;
  leat__clean(text, sizeof text, leat_s(detail),
              call->client ? leat__client_token(call->client) : leat_s(NULL));
  leat__error_set(&call->outcome.error, kind, "%s", text);
  call->outcome.error.sent = sent;
  call->outcome.error.outcome_unknown = call->op->writes && sent == LEAT_SENT_MAYBE;
  call->state = DONE;
}

/* ---- results --------------------------------------------------------------------- */

static const leat_error out_of_memory = {
    .kind = LEAT_NO_MEMORY, .retry_after_ms = -1, .message = "out of memory"};

bool leat_call_is_done(const leat_call *call) {
  return call == NULL || call->state == DONE;
}

const leat_error *leat_call_error(const leat_call *call) {
  return call ? &call->outcome.error : &out_of_memory;
}

static bool succeeded(const leat_call *call) {
  return leat_call_is_done(call) && leat_call_error(call)->kind == LEAT_OK;
}

const leat_json *leat_call_data(const leat_call *call) {
  return succeeded(call) ? leat_json_get(call->outcome.document, "data") : NULL;
}

const leat_json *leat_call_meta(const leat_call *call) {
  return succeeded(call) ? leat_json_get(call->outcome.document, "meta") : NULL;
}

leat_info leat_call_info(const leat_call *call) {
  const leat_error *error = leat_call_error(call);
  return (leat_info){error->status, error->attempts, false};
}

bool leat_call_field(const leat_call *call, size_t index, leat_field *field) {
  static const leat_outcome none;
  return leat__field(call ? &call->outcome : &none, index, field);
}

bool leat_call_contact_identifier(const leat_call *call, leat_contact_identifier *card) {
  const leat_json *data = leat_call_data(call);
  const leat_json *contact = leat_json_get(data, "contact");
  const leat_json *active = leat_json_get(data, "active");
  memset(card, 0, sizeof *card);
  card->active = -1;
  if (data == NULL || call->op->result != LEAT_RESULT_CARD) return false;
  card->value = leat_json_string(leat_json_get(data, "value"));
  card->name = leat_json_string(leat_json_get(data, "name"));
  card->contact_uuid = leat_json_string(leat_json_get(contact, "uuid"));
  card->contact_email = leat_json_string(leat_json_get(contact, "email"));
  if (leat_json_type(active) == LEAT_BOOLEAN) card->active = leat_json_boolean(active);
  return true;
}
