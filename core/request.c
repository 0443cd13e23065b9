/*
** request.c - sets and checks the parameters of a call, and makes its request from them.
*/
#include "internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- parameters ------------------------------------------------------------------ */

static bool may_be_set(const leat_call *call) {
  return call && call->outcome.error.kind == LEAT_OK && call->state == LEAT__NEW;
}

/* Returns the argument to set. Returns NULL if none may be set now, or after recording
** misuse: there is no such parameter, or it has another type. */
static leat_argument *find_argument(leat_call *call, const char *name, leat_type type) {
  if (!may_be_set(call)) return NULL;
  if (name == NULL) name = "NULL";
  for (size_t i = 0; i < call->op->parameter_count; i++) {
    if (strcmp(call->op->parameters[i].name, name) != 0) continue;
    if (call->op->parameters[i].type == type) return &call->arguments[i];
    leat__misuse(call, type == LEAT_STRING ? " must be a boolean" : " must be a string",
                 name);
    return NULL;
  }
  leat__misuse(call, " is not a parameter of this operation", name);
  return NULL;
}

static bool is_dots(leat_string value) {
  return leat__equal(value, leat_s(".")) || leat__equal(value, leat_s(".."));
}

static const char *check_text(leat_string value) {
  if (value.data == NULL || value.length == 0) return " is empty";
  if (value.length > LEAT_MAX_VALUE) return " is too long";
  if (memchr(value.data, '\0', value.length)) return " contains a NUL byte";
  if (!leat__utf8(value)) return " is not UTF-8";
  return NULL;
}

void leat_call_set(leat_call *call, const char *name, leat_string value) {
  leat_argument *argument = find_argument(call, name, LEAT_STRING);
  if (argument == NULL) return;
  const char *wrong = check_text(value);
  if (call->op->parameters[argument - call->arguments].in_path && is_dots(value))
    wrong = " would change the path";
  if (wrong) {
    leat__misuse(call, wrong, name);
    return;
  }
  free(argument->text);
  argument->text = leat__copy(value.data, value.length);
  argument->length = (uint32_t)value.length;
  argument->set = true;
  if (argument->text == NULL) leat__no_memory(&call->outcome.error);
}

void leat_call_set_bool(leat_call *call, const char *name, bool value) {
  leat_argument *argument = find_argument(call, name, LEAT_BOOLEAN);
  if (argument == NULL) return;
  argument->boolean = value;
  argument->set = true;
}

void leat_call_expect(leat_call *call, leat_string contact_uuid) {
  if (!may_be_set(call)) return;
  bool given = contact_uuid.data || contact_uuid.length > 0;
  const char *wrong = given ? check_text(contact_uuid) : NULL;
  if (!call->op->takes_expect) wrong = " is for unlink, update and delete";
  if (wrong) {
    leat__misuse(call, wrong, "expect");
    return;
  }
  free(call->owner.text);
  call->owner = (leat_argument){.set = true};
  if (contact_uuid.data == NULL) return;
  call->owner.text = leat__copy(contact_uuid.data, contact_uuid.length);
  call->owner.length = (uint32_t)contact_uuid.length;
  if (call->owner.text == NULL) leat__no_memory(&call->outcome.error);
}

/* ---- raw calls ------------------------------------------------------------------- */

static const char *check_raw(const char *method, const char *path) {
  if (method == NULL || strlen(method) > LEAT_MAX_METHOD ||
      !leat__is_token(leat_s(method)))
    return "the method is not valid";
  if (path == NULL || path[0] != '/')
    return "the path must begin with a slash: it is appended to the path of base_url";
  if (!leat__is_path(leat_s(path)))
    return "the path contains an empty segment, a dot segment, or a character that must "
           "be encoded (pass a query separately)";
  return NULL;
}

leat_call *leat_call_new_request(leat_client *client, const char *method,
                                 const char *path) {
  const char *wrong = check_raw(method, path);
  leat_raw *r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  if (!wrong) memcpy(r->method, method, strlen(method));
  r->separator = "?";
  r->op = (leat_op){.resource = "client",
                    .name = "request",
                    .method = r->method,
                    .path = "",
                    .result = LEAT_RESULT_ANY};
  r->op.writes = strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0;
  if (r->op.writes) r->op.recovery = LEAT_NO_RETRY;
  leat_call *call = leat_call_new(client, &r->op);
  if (call == NULL) {
    free(r);
    return NULL;
  }
  call->raw = r;
  if (wrong) leat__misuse(call, wrong, "");
  if (!may_be_set(call)) return call;
  leat__append_s(&call->target, client->url.path);
  leat__append_s(&call->target, path);
  return call;
}

leat_call *leat__call_to_origin(leat_client *client, const leat_op *op,
                                const leat_url *url) {
  static const char form[] = "application/x-www-form-urlencoded";
  leat_raw *r = calloc(1, sizeof *r);
  leat_call *call = r ? leat_call_new(client, op) : NULL;
  if (call == NULL ||
      !leat__headers_add(&call->headers, leat_s("Content-Type"), leat_s(form))) {
    free(r);
    leat_call_free(call);
    return NULL;
  }
  r->url = url;
  r->separator = "?";
  call->raw = r;
  leat__append_s(&call->target, url->path[0] ? url->path : "/");
  return call;
}

bool leat__call_is_to_other_origin(const leat_call *call) {
  return call->raw && call->raw->url;
}

/* Returns whether the call is raw and may still be changed. For another call that is
** misuse, which is recorded. */
static bool is_raw(leat_call *call, const char *what) {
  if (!may_be_set(call)) return false;
  if (call->raw == NULL)
    leat__misuse(call, " is for calls of leat_call_new_request", what);
  return call->raw != NULL;
}

void leat_call_add_query(leat_call *call, const char *name, leat_string value) {
  if (!is_raw(call, "a query")) return;
  const char *wrong = value.length > 0 ? check_text(value) : NULL;
  if (name == NULL) name = "";
  if (name[0] == '\0' || !leat__utf8(leat_s(name))) wrong = " is not a valid name";
  if (wrong) {
    leat__misuse(call, wrong, name[0] ? name : "\"\"");
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
  if (leat__is_missing(body)) leat__misuse(call, "the body is NULL", "");
  else leat__append(&call->body, body.data, body.length);
}

void leat_call_add_header(leat_call *call, const char *name, leat_string value) {
  if (!may_be_set(call)) return;
  if (name == NULL) name = "";
  leat_header header = {leat_s(name), value};
  const char *wrong = leat__check_header(header, call->raw != NULL);
  if (call->headers.count == LEAT_MAX_EXTRA_HEADERS) wrong = "exceeds the limit";
  if (wrong) {
    leat__misuse(call, wrong, "");
    leat__error_set(&call->outcome.error, LEAT_MISUSE, "header %.64s %s", name, wrong);
  } else if (!leat__headers_add(&call->headers, header.name, value)) {
    leat__no_memory(&call->outcome.error);
  }
}

/* ---- settings of a call ---------------------------------------------------------- */

static void set_ms(leat_call *call, int *place, int ms, const char *name) {
  if (!may_be_set(call)) return;
  if (ms > 0 && ms <= LEAT_MAX_TIMEOUT_MS) *place = ms;
  else leat__misuse(call, " must be between 0 and a day", name);
}

void leat_call_set_timeout_ms(leat_call *call, int ms) {
  if (call) set_ms(call, &call->timeout_ms, ms, "timeout");
}

void leat_call_set_max_attempts(leat_call *call, int attempts) {
  if (!may_be_set(call)) return;
  if (attempts == LEAT_UNLIMITED) call->max_attempts = INT_MAX;
  else if (attempts > 0 && attempts <= LEAT_MAX_MAX_ATTEMPTS)
    call->max_attempts = attempts;
  else leat__misuse(call, "max_attempts must be between 1 and 100, or be unlimited", "");
}

void leat_call_set_maybe_applied(leat_call *call) {
  if (may_be_set(call) && call->op->writes) call->maybe_applied = true;
}

void leat_call_set_connect_timeout_ms(leat_call *call, int ms) {
  if (call) set_ms(call, &call->request.connect_timeout_ms, ms, "connect_timeout");
}

void leat_call_set_queue_timeout_ms(leat_call *call, int ms) {
  if (call) set_ms(call, &call->queue_timeout_ms, ms, "queue_timeout");
}

/* ---- the request ----------------------------------------------------------------- */

/* Appends the operation's path, with the parameter's value in place of its {name}. */
static void append_path(leat_call *call) {
  const char *path = call->op->path, *brace = strchr(path, '{');
  if (brace == NULL) {
    leat__append_s(&call->target, path);
    return;
  }
  leat__append(&call->target, path, (size_t)(brace - path));
  for (size_t i = 0; i < call->op->parameter_count; i++)
    if (call->op->parameters[i].in_path)
      leat__append_encoded(&call->target, leat__argument_text(call, i));
  leat__append_s(&call->target, strchr(brace, '}') + 1);
}

static void make_target(leat_call *call) {
  const char *separator = "?";
  if (call->raw) return; /* built as the query was added */
  leat__append_s(&call->target, call->client->url.path);
  append_path(call);
  if (call->target.length == 0) leat__append_s(&call->target, "/");
  if (!(call->op->locations & LEAT_IN_QUERY)) return;
  for (size_t i = 0; i < call->op->parameter_count; i++) {
    if (!call->arguments[i].set) continue;
    leat__append_s(&call->target, separator);
    leat__append_s(&call->target, call->op->parameters[i].name);
    leat__append_s(&call->target, "=");
    leat__append_encoded(&call->target, leat__argument_text(call, i));
    separator = "&";
  }
}

static void append_argument(leat_call *call, size_t i) {
  leat_string text = leat__argument_text(call, i);
  leat__append_json(&call->body, leat_s(call->op->parameters[i].name));
  leat__append_s(&call->body, ":");
  if (call->arguments[i].text) leat__append_json(&call->body, text);
  else leat__append(&call->body, text.data, text.length);
}

static void make_body(leat_call *call) {
  const char *separator = "";
  if (!(call->op->locations & LEAT_IN_BODY)) return;
  leat__append_s(&call->body, "{");
  for (size_t i = 0; i < call->op->parameter_count; i++) {
    if (!call->arguments[i].set) continue;
    leat__append_s(&call->body, separator);
    append_argument(call, i);
    separator = ",";
  }
  leat__append_s(&call->body, "}");
}

static bool has_content_type(const leat_headers *headers) {
  for (size_t i = 0; i < headers->count; i++)
    if (leat__equal_nocase(headers->list[i].name, "content-type")) return true;
  return false;
}

static bool add_all(leat_headers *to, const leat_header *from, size_t count) {
  bool good = true;
  for (size_t i = 0; i < count && good; i++)
    good = leat__headers_add(to, from[i].name, from[i].value);
  return good;
}

/* Joins the client's headers and the call's own. The client's first header,
** Authorization, is not sent to another origin; its last, Content-Type, is only sent with
** a body, and if the call has none of its own. Returns false out of memory. */
static bool join_headers(leat_call *call) {
  const leat_headers *shared = &call->client->headers, *own = &call->headers;
  leat_headers *all = &call->all_headers;
  size_t first = leat__call_is_to_other_origin(call) ? 1 : 0, count = shared->count;
  if (call->body.length == 0 || has_content_type(own)) count--;
  leat__headers_free(all);
  if (!add_all(all, shared->list + first, count - first) ||
      !add_all(all, own->list, own->count))
    return false;
  call->request.headers = all->list;
  call->request.header_count = all->count;
  return true;
}

bool leat__make_headers(leat_call *call) {
  const leat_headers *shared = &call->client->headers;
  if (call->headers.count > 0) return join_headers(call);
  call->request.headers = shared->list;
  call->request.header_count = shared->count - (call->body.length == 0 ? 1 : 0);
  return true;
}

bool leat__renew_authorization(leat_call *call) {
  leat_header old = {{NULL, 0}, {NULL, 0}}, current = call->client->headers.list[0];
  bool has_copy = call->headers.count > 0 && !leat__call_is_to_other_origin(call);
  bool good = !has_copy ||
              leat__headers_put(&call->all_headers, &old, current.name, current.value);
  leat__header_wipe(&old);
  return good;
}

static void fill_request(leat_call *call) {
  leat_request *request = &call->request;
  const leat_client *client = call->client;
  const leat_url *url = call->raw && call->raw->url ? call->raw->url : &client->url;
  make_target(call);
  make_body(call);
  request->method = leat_s(call->op->method);
  request->origin = leat_s(url->origin);
  request->host = leat_s(url->host);
  request->port = url->port;
  request->tls = url->tls;
  request->loopback = url->loopback;
  request->target = (leat_string){call->target.data, call->target.length};
  request->body = (leat_string){call->body.data, call->body.length};
  request->max_body = client->max_body;
}

/* Returns whether the call is an update without any change, which the service would
** accept and report as a success. */
static bool changes_nothing(const leat_call *call) {
  if (strcmp(call->op->name, "update") != 0) return false;
  for (size_t i = 0; i < call->op->parameter_count; i++)
    if (!call->op->parameters[i].required && call->arguments[i].set) return false;
  return true;
}

void leat_call_check(leat_call *call) {
  if (!may_be_set(call)) return;
  for (size_t i = 0; i < call->op->parameter_count; i++)
    if (call->op->parameters[i].required && !call->arguments[i].set)
      leat__misuse(call, " is missing", call->op->parameters[i].name);
  if (changes_nothing(call))
    leat__misuse(call, "there is nothing to change: set a name, or whether it is active",
                 "");
}

void leat__make_request(leat_call *call) {
  leat_error *error = &call->outcome.error;
  fill_request(call);
  leat_kind failed = call->target.failed ? call->target.failed : call->body.failed;
  if (failed == LEAT_TOO_LARGE)
    leat__error_set(error, failed, "the request is larger than %d bytes",
                    LEAT_MAX_REQUEST);
  else if (failed) leat__error_set(error, failed, "out of memory");
}
