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

/* What a call of no row has of its own. */
typedef struct raw {
  leat_op op;
  char method[LEAT_MAX_METHOD + 1];
  leat_headers headers;
  leat_header *all; /* the client's and its own, made with the request */
  const char *separator;
} raw;

struct leat_call {
  int references; /* the owner's, and a driver's while it works on it */
  leat_client *client;
  const leat_op *op;
  void *user;
  state state;
  int timeout_ms, connect_timeout_ms;
  raw *raw; /* NULL: a call of a row */
  argument arguments[LEAT_MAX_PARAMETERS];
  leat_request request;
  leat_buffer target, body;
  leat_outcome outcome;
  int rate_limit, rate_remaining;
};

/* From 1024 bytes on, malloc first tidies up all that is small. */
_Static_assert(sizeof(leat_call) <= 1000, "a call has grown too large to be cheap");

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
  call->rate_limit = call->rate_remaining = -1;
  call->client = client;
  call->op = op;
  if (client) {
    leat__client_hold(client);
    call->timeout_ms = client->timeout_ms;
    call->connect_timeout_ms = client->connect_timeout_ms;
  }
  if (op)
    snprintf(call->outcome.error.operation, sizeof call->outcome.error.operation, "%s.%s",
             op->resource, op->name);
  if (client == NULL || op == NULL) misuse(call, "no client, or no such operation", "");
  return call;
}

static void free_raw(raw *r) {
  if (r == NULL) return;
  leat__headers_free(&r->headers);
  free(r->all);
  free(r);
}

void leat_call_free(leat_call *call) {
  if (call == NULL || --call->references > 0) return;
  free_raw(call->raw);
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

static bool may_be_set(const leat_call *call) {
  return call && call->outcome.error.kind == LEAT_OK && call->state == NEW;
}

/* The place of a parameter that may be set now; NULL: misuse, already noted. */
static argument *find_argument(leat_call *call, const char *name, leat_type type) {
  if (!may_be_set(call)) return NULL;
  for (size_t i = 0; i < call->op->parameter_count; i++) {
    if (strcmp(call->op->parameters[i].name, name) != 0) continue;
    if (call->op->parameters[i].type == type) return &call->arguments[i];
    misuse(call, type == LEAT_STRING ? " must be a boolean" : " must be a string", name);
    return NULL;
  }
  misuse(call, " is not a parameter of this operation", name);
  return NULL;
}

static bool is_dots(leat_string value) {
  return leat__equal(value, leat_s(".")) || leat__equal(value, leat_s(".."));
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
  if (call->op->parameters[place - call->arguments].in_path && is_dots(value))
    wrong = " would be another path";
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

/* ---- calls of no row ------------------------------------------------------------- */

static const char *check_raw(const char *method, const char *path) {
  if (method == NULL || strlen(method) > LEAT_MAX_METHOD ||
      !leat__is_token(leat_s(method)))
    return "the method is none";
  if (path == NULL || path[0] != '/')
    return "the path must begin with a slash: it goes behind that of base_url";
  if (!leat__is_path(leat_s(path)))
    return "the path holds an empty segment, a dot segment, or what must be encoded (a "
           "query is given apart)";
  return NULL;
}

leat_call *leat_call_new_request(leat_client *client, const char *method,
                                 const char *path) {
  const char *wrong = check_raw(method, path);
  raw *r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  if (!wrong) strcpy(r->method, method);
  r->separator = "?";
  r->op =
      (leat_op){"client", "request", r->method, "", 0, true, LEAT_RESULT_ANY, NULL, 0};
  r->op.writes = strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0;
  leat_call *call = leat_call_new(client, &r->op);
  if (call == NULL) {
    free(r);
    return NULL;
  }
  call->raw = r;
  if (wrong) misuse(call, wrong, "");
  if (!may_be_set(call)) return call;
  leat__append_s(&call->target, client->url.path);
  leat__append_s(&call->target, path);
  return call;
}

/* Whether it is a call of no row, and may be changed; else that is misuse. */
static bool is_raw(leat_call *call, const char *what) {
  if (!may_be_set(call)) return false;
  if (call->raw == NULL) misuse(call, " is for calls of leat_call_new_request", what);
  return call->raw != NULL;
}

void leat_call_add_query(leat_call *call, const char *name, leat_string value) {
  if (!is_raw(call, "a query")) return;
  const char *wrong = value.length > 0 ? check_text(value) : NULL;
  if (name[0] == '\0' || !leat__utf8(leat_s(name))) wrong = " is no name";
  if (wrong) {
    misuse(call, wrong, name);
    return;
  }
  leat__append_s(&call->target, call->raw->separator);
  leat__append_encoded(&call->target, leat_s(name));
  leat__append_s(&call->target, "=");
  leat__append_encoded(&call->target, value);
  call->raw->separator = "&";
}

void leat_call_set_body(leat_call *call, leat_string body) {
  if (!is_raw(call, "a body")) return;
  call->body.length = 0;
  leat__append(&call->body, body.data, body.length);
}

void leat_call_add_header(leat_call *call, const char *name, leat_string value) {
  if (!is_raw(call, "a header")) return;
  leat_header header = {leat_s(name), value};
  const char *wrong = leat__check_header(header, true);
  if (call->raw->headers.count == LEAT_MAX_EXTRA_HEADERS) wrong = "is one too many";
  if (wrong) {
    misuse(call, wrong, "");
    leat__error_set(&call->outcome.error, LEAT_MISUSE, "header %.64s %s", name, wrong);
  } else if (!leat__headers_add(&call->raw->headers, header.name, value)) {
    leat__error_set(&call->outcome.error, LEAT_NO_MEMORY, "out of memory");
  }
}

/* ---- settings of a call ---------------------------------------------------------- */

static void set_ms(leat_call *call, int *place, int ms, const char *name) {
  if (!may_be_set(call)) return;
  if (ms > 0 && ms <= LEAT_MAX_TIMEOUT_MS) *place = ms;
  else misuse(call, " must lie between 0 and a day", name);
}

void leat_call_set_timeout_ms(leat_call *call, int ms) {
  if (call) set_ms(call, &call->timeout_ms, ms, "timeout");
}

void leat_call_set_connect_timeout_ms(leat_call *call, int ms) {
  if (call) set_ms(call, &call->connect_timeout_ms, ms, "connect_timeout");
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

/* The row's path, the parameter that it names in braces put in. */
static void append_path(leat_call *call) {
  const char *path = call->op->path, *brace = strchr(path, '{');
  if (brace == NULL) {
    leat__append_s(&call->target, path);
    return;
  }
  leat__append(&call->target, path, (size_t)(brace - path));
  for (size_t i = 0; i < call->op->parameter_count; i++)
    if (call->op->parameters[i].in_path)
      leat__append_encoded(&call->target, argument_text(call, i));
  leat__append_s(&call->target, strchr(brace, '}') + 1);
}

static void make_target(leat_call *call) {
  const char *separator = "?";
  if (call->raw) return; /* made as it was filled */
  leat__append_s(&call->target, call->client->url.path);
  append_path(call);
  if (call->target.length == 0) leat__append_s(&call->target, "/");
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

static bool has_content_type(const leat_headers *headers) {
  for (size_t i = 0; i < headers->count; i++)
    if (leat__equal_nocase(headers->list[i].name, "content-type")) return true;
  return false;
}

/* The client's headers and the call's own. Content-Type stands last: it is left out where
** there is no body, or another one. */
static void make_headers(leat_call *call) {
  const leat_headers *shared = &call->client->headers;
  raw *r = call->raw;
  leat_request *request = &call->request;
  request->headers = shared->list;
  request->header_count = shared->count - (request->body.length == 0 ? 1 : 0);
  if (r == NULL || r->headers.count == 0) return;
  size_t count = request->header_count;
  if (request->body.length > 0 && has_content_type(&r->headers)) count--;
  r->all = malloc((shared->count + r->headers.count) * sizeof *r->all);
  if (r->all == NULL) {
    call->target.failed = LEAT_NO_MEMORY;
    return;
  }
  memcpy(r->all, shared->list, count * sizeof *r->all);
  memcpy(r->all + count, r->headers.list, r->headers.count * sizeof *r->all);
  request->headers = r->all;
  request->header_count = count + r->headers.count;
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
  request->connect_timeout_ms = call->connect_timeout_ms;
  request->max_body = client->max_body;
  make_headers(call);
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
  call->request.deadline_ms = now.monotonic_ms + call->timeout_ms;
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
  call->rate_limit = leat__rate(answer, "x-ratelimit-limit");
  call->rate_remaining = leat__rate(answer, "x-ratelimit-remaining");
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
  if (!succeeded(call)) return NULL;
  const leat_json *data = leat_json_get(call->outcome.document, "data");
  return data == NULL && call->raw ? call->outcome.document : data;
}

const leat_json *leat_call_meta(const leat_call *call) {
  return succeeded(call) ? leat_json_get(call->outcome.document, "meta") : NULL;
}

leat_info leat_call_info(const leat_call *call) {
  const leat_error *error = leat_call_error(call);
  return (leat_info){error->status, error->attempts, false, call ? call->rate_limit : -1,
                     call ? call->rate_remaining : -1};
}

bool leat_call_field(const leat_call *call, size_t index, leat_field *field) {
  static const leat_outcome none;
  return leat__field(call ? &call->outcome : &none, index, field);
}

bool leat_json_contact_identifier(const leat_json *value, leat_contact_identifier *card) {
  const leat_json *contact = leat_json_get(value, "contact");
  const leat_json *active = leat_json_get(value, "active");
  memset(card, 0, sizeof *card);
  card->active = -1;
  if (leat_json_type(leat_json_get(value, "value")) != LEAT_STRING) return false;
  card->value = leat_json_string(leat_json_get(value, "value"));
  card->name = leat_json_string(leat_json_get(value, "name"));
  card->contact_uuid = leat_json_string(leat_json_get(contact, "uuid"));
  card->contact_email = leat_json_string(leat_json_get(contact, "email"));
  if (leat_json_type(active) == LEAT_BOOLEAN) card->active = leat_json_boolean(active);
  return true;
}

bool leat_call_contact_identifier(const leat_call *call, leat_contact_identifier *card) {
  const leat_json *data = leat_call_data(call);
  bool is_card = data && call->op->result == LEAT_RESULT_CARD;
  return leat_json_contact_identifier(is_card ? data : NULL, card);
}
