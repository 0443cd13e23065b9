/*
** call.c - a call as an object: creates and frees it, and returns its results. request.c
** sets its parameters, and machine.c runs it.
*/
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* For 1024 bytes or more, glibc's malloc first consolidates its small free chunks. */
_Static_assert(sizeof(leat_call) <= 1000, "a call has grown too large to be cheap");

/* ---- creating and freeing -------------------------------------------------------- */

/* Writes "contact_identifiers.find". snprintf would take longer than the rest of
** leat_call_new. */
static void name_operation(leat_error *error, const leat_op *op) {
  char *out = error->operation, *end = out + sizeof error->operation - 1;
  for (const char *from = op->resource; *from && out < end;)
    *out++ = *from++;
  if (out < end) *out++ = '.';
  for (const char *from = op->name; *from && out < end;)
    *out++ = *from++;
  *out = '\0';
}

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
  call->counted_as = leat__counted_as(op);
  if (client) {
    leat__client_hold(client);
    call->timeout_ms = client->timeout_ms;
    call->queue_timeout_ms = client->queue_timeout_ms;
    call->request.connect_timeout_ms = client->connect_timeout_ms;
    call->max_attempts = client->retry.max_attempts;
  }
  if (op) name_operation(&call->outcome.error, op);
  if (client == NULL || op == NULL)
    leat__misuse(call, "no client, or no such operation", "");
  return call;
}

void leat__call_end_probe(leat_call *call) {
  leat_client *client = call->client;
  if (client == NULL || client->probe != call) return;
  client->probe = NULL;
  client->epoch++;
}

void leat__call_leave_client(leat_call *call) {
  leat_client *client = call->client;
  if (client == NULL) return;
  leat__token_release(client, call);
  if (leat__slot_return(&client->slots, &call->slot)) client->epoch++;
  leat__call_end_probe(call);
}

void leat_call_free(leat_call *call) {
  if (call == NULL || --call->references > 0) return;
  leat__call_leave_client(call);
  free(call->raw);
  leat_call_free(call->inner);
  leat__attempt_free(call->unreported);
  for (size_t i = 0; i < LEAT_MAX_PARAMETERS; i++)
    free(call->arguments[i].text);
  free(call->owner.text);
  leat__buffer_free(&call->target);
  leat__buffer_free(&call->body);
  leat__headers_free(&call->headers);
  leat__headers_free(&call->all_headers);
  leat__outcome_free(&call->outcome);
  if (call->client) leat__client_release(call->client);
  free(call);
}

bool leat_call_is_attached(const leat_call *call) {
  return call && call->driver;
}

bool leat_call_attach(leat_call *call, const void *driver, void *job) {
  if (call == NULL || leat_call_is_attached(call)) return false;
  call->references++;
  call->driver = driver;
  call->job = job;
  return true;
}

void *leat_call_job(const leat_call *call, const void *driver) {
  return call && driver && call->driver == driver ? call->job : NULL;
}

leat_call *leat_call_detach(leat_call *call) {
  leat_call *kept = call->references > 1 ? call : NULL;
  call->driver = call->job = NULL;
  leat_call_free(call);
  return kept;
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

/* ---- misuse and parameters ------------------------------------------------------- */

void leat__misuse(leat_call *call, const char *what, const char *which) {
  if (call->outcome.error.kind != LEAT_OK) return;
  leat__error_set(&call->outcome.error, LEAT_MISUSE, "%s%s", which, what);
}

leat_string leat__argument_text(const leat_call *call, size_t i) {
  const leat_argument *a = &call->arguments[i];
  if (a->text) return (leat_string){a->text, a->length};
  return leat_s(a->boolean ? "true" : "false");
}

leat_string leat_call_value(const leat_call *call) {
  const leat_op *op = leat_call_op(call);
  bool about_card = op && op->parameter_count > 0 && !op->parameters[0].in_path;
  bool is_set = about_card && call->arguments[0].text;
  return is_set ? leat__argument_text(call, 0) : (leat_string){NULL, 0};
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

const leat_json *leat_call_conflicting_data(const leat_call *call) {
  bool conflicts =
      leat_call_is_done(call) && leat_call_error(call)->kind == LEAT_CONFLICT;
  leat_contact_identifier card;
  const leat_json *data = conflicts ? leat__get(call->outcome.document, "data") : NULL;
  return leat_json_contact_identifier(data, &card) ? data : NULL;
}

bool leat_call_conflicting(const leat_call *call, leat_contact_identifier *card) {
  return leat_json_contact_identifier(leat_call_conflicting_data(call), card);
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
