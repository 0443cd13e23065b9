/*
** A server inside the process that behaves like the API, and fails on
** request: for tests and for experiments. It listens on 127.0.0.1 only.
**
** It follows the API's documentation and does not depend on the client in leat.h. Other
** clients can use it too: parameters may be sent as JSON, urlencoded, as multipart, or in
** the query. Like the service, it names a card after its value unless it is given another
** name, and it redirects a request that does not accept JSON if its authentication or
** validation fails. It also finds and creates contacts, as far as cards need them.
**
**     leat_sandbox *sandbox = leat_sandbox_new(NULL, &error);
**     leat_config settings = { .api_key = "sandbox",
**                              .base_url = leat_sandbox_url(sandbox) };
**     ... a client with these settings works as with the service. For example,
**     the next create is applied, but its response is lost:
**     leat_sandbox_add_fault(sandbox, &(leat_sandbox_fault){
**       .operation = "create", .apply = true,
**       .close = LEAT_SANDBOX_CLOSE_BEFORE }, &error);
**     ... compare what the client reports with what the server holds:
**     leat_sandbox_find_card(sandbox, leat_s("0042"))
**     leat_sandbox_free(sandbox);
**
** Conventions:
**
** - Structs: zero or NULL in a field means its default.
** - Strings that are passed in are copied. What is returned is borrowed; each declaration
**   states for how long.
** - Errors: `error` may be NULL. A function that fails describes in it what is wrong:
**   LEAT_MISUSE, an invalid fault; LEAT_CONFIG, an invalid setting, contact or card;
**   LEAT_LOCAL, no port or file; LEAT_NO_MEMORY.
** - Time is in milliseconds where a name ends in `_ms`, and in seconds where it ends in
**   `_s`.
** - Threads: the sandbox serves each connection in a thread of its own, in which all
**   signals are blocked. Every function may be called from any thread, except
**   leat_sandbox_free while others use the sandbox. What is borrowed "until the next call"
**   must be read by the thread that makes these calls.
** - Processes: a forked child may call leat_sandbox_free, which has no effect there, and
**   nothing else.
*/
#ifndef LEAT_SANDBOX_H
#define LEAT_SANDBOX_H

#include "leat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A running sandbox. */
typedef struct leat_sandbox leat_sandbox;

/* ---- faults ---------------------------------------------------------------------- */

/* Values without an end, for `times` and `delay_ms` of a fault. */
enum {
  LEAT_SANDBOX_ALWAYS = -1, /* every request from then on */
  LEAT_SANDBOX_FOREVER = -1 /* no response at all */
};

/* When the server closes the connection instead of completing its response. */
typedef enum leat_sandbox_close {
  LEAT_SANDBOX_KEEP = 0,     /* it does not */
  LEAT_SANDBOX_CLOSE_BEFORE, /* before the first byte of the response */
  LEAT_SANDBOX_CLOSE_WITHIN  /* after all headers and half of the body */
} leat_sandbox_close;

/*
** A fault, as data: which requests it matches, and what happens to them. Where a comment
** begins with a value, that is the default.
**
** A request fits a fault if its operation and its contact identifier are those of the
** fault. A fault without `nth` matches the next requests that fit it and that no earlier
** fault matches, so several faults for one operation form a queue. A fault with `nth`
** counts every request that fits it, from the time it was added. If several faults match
** the same request, the one that was added first is applied.
**
** With `kind`, `code`, `status` or `close` the request fails, and changes nothing unless
** `apply` or `apply_after_ms` is set. Without any of them the request is performed as
** usual, and only its response is late or different.
**
** `kind` is the kind of error that a client reports; the response is the API's:
**
** - "not_found", "inactive", "already_exists", "already_linked", "not_linked",
**   "contact_not_found", "invalid_input", "quota_reached": 400, with the error's code
** - "unauthorized": 401; "forbidden": 403; "server": 500
** - "rate_limited": 429, with X-RateLimit-Reset and Retry-After (default: 1)
** - "maintenance": 503, an HTML page
** - "redirect": 302 to a login page
** - "protocol": 200 with an HTML page, as from a captive portal or a proxy
** - "connection": the connection is closed before the response
** - "timeout": no response until the client disconnects or the sandbox is freed
**
** Other fields that are set override what the kind stands for.
*/
typedef struct leat_sandbox_fault {
  const char *operation; /* any: an operation's name, see leat_sandbox_request */
  const char *value;     /* any: a contact identifier */
  int nth;               /* 0, queued: match from the nth fitting request on, see above */
  int times;             /* 1: how many requests to match, or LEAT_SANDBOX_ALWAYS */
  const char *kind;      /* none: the kind of error, see above */
  int code;   /* none: an error code of the API, sent as HTTP 400 with its message */
  int status; /* none: an HTTP status, 200 to 599, with the body that the API sends */
  /* none: headers to add to the usual ones, or to replace them; Content-Length and
  ** Transfer-Encoding are refused. */
  const leat_header *headers;
  size_t header_count; /* 0: the number of headers */
  /* the API's: replaces the response's body. It is sent as HTML if it begins with "<",
  ** otherwise as JSON. */
  leat_string body;
  int retry_after_s;        /* none: adds a Retry-After header */
  int delay_ms;             /* 0: delays the response, or LEAT_SANDBOX_FOREVER */
  leat_sandbox_close close; /* LEAT_SANDBOX_KEEP: closes the connection early */
  bool apply;               /* false: apply the request's change nevertheless, at once */
  int apply_after_ms; /* none: apply it after this time, and show no effect before */
  int lag_ms;         /* 0: a find or list sees the state of this long ago; up to 60000 */
  bool stale;         /* false: a find or list sees the state when this fault was added */
} leat_sandbox_fault;

/* ---- starting and stopping ------------------------------------------------------- */

/* A contact that exists from the start. */
typedef struct leat_sandbox_contact {
  const char *uuid;  /* required, unique */
  const char *email; /* NULL: null */
  /* NULL, or a JSON object: further members that the contact shows, such as
  ** {"credit_balance":{"balance":12}}. */
  const char *more;
} leat_sandbox_contact;

/* A contact identifier that exists from the start. */
typedef struct leat_sandbox_card {
  const char *value;        /* required, unique */
  const char *name;         /* NULL: the value, as in the service */
  const char *contact_uuid; /* a contact of the configuration; NULL: not linked */
  bool inactive;            /* it is not active */
} leat_sandbox_card;

/* The settings of a sandbox. Where a comment begins with a value, that is the default. */
typedef struct leat_sandbox_config {
  const char *api_key;                  /* "sandbox": the token that is accepted */
  const leat_sandbox_contact *contacts; /* none: those that exist from the start */
  size_t contact_count;                 /* 0: their number */
  const leat_sandbox_card *cards;       /* none: those that exist from the start */
  size_t card_count;                    /* 0: their number */
  bool tls; /* false: HTTPS, with a certificate for localhost, 127.0.0.1 and ::1 */
  int port; /* 0: any free port */
  const leat_sandbox_fault *faults; /* none: those of the start */
  size_t fault_count;               /* 0: their number */
  /* "sandbox-client": accepted by the token endpoint. The service's own client ids are
  ** numbers, and may be sent as numbers in JSON. */
  const char *client_id;
  const char *client_secret; /* "sandbox-secret": its secret */
  int token_lifetime_ms; /* 3600000: of issued tokens; reported in seconds, rounded up */
  const char *meta; /* "[]": the JSON value of "meta" in responses; "absent": no meta */
  /* no limit, though the headers state 5000: how many requests each window allows; further
  ** ones get a 429 with Retry-After. */
  int rate_limit;
  int rate_window_ms; /* 60000: the length of a window, which its first request begins */
  bool idempotent_unlink; /* false: unlinking succeeds if the card is not linked */
} leat_sandbox_config;

/* Starts a sandbox. `config` may be NULL. Returns NULL on failure. The caller frees the
** sandbox. */
LEAT_API leat_sandbox *leat_sandbox_new(const leat_sandbox_config *config,
                                        leat_error *error);
/* Stops a sandbox at once, even while clients wait for responses, and frees everything
** that was borrowed from it. `sandbox` may be NULL. */
LEAT_API void leat_sandbox_free(leat_sandbox *sandbox);

/* Returns the base URL for clients, "http://127.0.0.1:PORT/api/v3/oauth/clients".
** Borrowed until leat_sandbox_free. */
LEAT_API const char *leat_sandbox_url(const leat_sandbox *sandbox);
/* Returns the URL that exchanges client credentials for a token,
** "http://.../oauth/token". Borrowed until leat_sandbox_free. */
LEAT_API const char *leat_sandbox_token_url(const leat_sandbox *sandbox);
/* Returns the path of the certificate's file, for the setting ca_file; NULL without TLS.
** Borrowed until leat_sandbox_free, which removes the file. */
LEAT_API const char *leat_sandbox_ca_file(const leat_sandbox *sandbox);

/* ---- while it runs --------------------------------------------------------------- */

/* Adds a fault. Returns its number, counted from 1 and including the faults of the
** configuration; 0 on failure. */
LEAT_API int leat_sandbox_add_fault(leat_sandbox *sandbox,
                                    const leat_sandbox_fault *fault, leat_error *error);
/* Disables all faults. Their numbers are not used again until leat_sandbox_reset. */
LEAT_API void leat_sandbox_clear_faults(leat_sandbox *sandbox);
/* Expires every token that the token endpoint issued, but not api_key. */
LEAT_API void leat_sandbox_expire_tokens(leat_sandbox *sandbox);
/* Restores the state at the start: cards, contacts and faults of the configuration, no
** issued tokens, no recorded requests, no pending changes. */
LEAT_API void leat_sandbox_reset(leat_sandbox *sandbox);

/* Returns the contact identifier with that value as an object, as the API would show it;
** NULL if there is none. Borrowed until the next call of this function or of
** leat_sandbox_all_cards, or until leat_sandbox_free. */
LEAT_API const leat_json *leat_sandbox_find_card(leat_sandbox *sandbox,
                                                 leat_string value);
/* Returns all contact identifiers as an array, the oldest first; NULL if out of memory.
** Borrowed like the above. */
LEAT_API const leat_json *leat_sandbox_all_cards(leat_sandbox *sandbox);

/* A request that was received, and its result. Strings end with a NUL. */
typedef struct leat_sandbox_request {
  leat_string method;         /* the HTTP method */
  leat_string target;         /* path and query, as received */
  const leat_header *headers; /* with "[token]" as the value of Authorization */
  size_t header_count;        /* the number of headers */
  leat_string body; /* a token request's is a form, with "[secret]" as the secret */
  int status;       /* the response's; 0 if none was sent */
  /* "find", "create", "link", "unlink", "update", "delete", "list", "check", "token",
  ** "contacts.get", "contacts.find_one_by", "contacts.find_or_create",
  ** "contacts.create_anonymous"; "" for any other request. */
  leat_string operation;
  int64_t time_ms; /* when it was received, since the sandbox started */
  int fault;       /* the number of the fault that matched it, or 0 */
  bool changed;    /* it changed the state, whatever the response was */
} leat_sandbox_request;

/* Fills `request` with the request at `index`, counted from 0 in the order in which they
** were processed. Returns false after the last one. The first 100000 requests are
** recorded. Borrowed until leat_sandbox_reset or leat_sandbox_free. */
LEAT_API bool leat_sandbox_request_at(leat_sandbox *sandbox, size_t index,
                                      leat_sandbox_request *request);
/* Returns the name of the operation at `index`, counted from 0; NULL after the last one.
** Never freed. */
LEAT_API const char *leat_sandbox_operation_at(size_t index);

#ifdef __cplusplus
}
#endif
#endif
