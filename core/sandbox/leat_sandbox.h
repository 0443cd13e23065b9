/*
** leat_sandbox.h - a server in your process that behaves like the API, and fails when you
** ask it to: for tests, and for trying things out. It listens on 127.0.0.1 only.
**
** It is made from the API's documentation and knows nothing of the client in leat.h. Other
** clients can use it too: parameters may come as JSON, urlencoded or multipart, or in the
** query. As with the service, a create without a name gives the card its value as its name,
** and a request that does not accept JSON is redirected if it fails in authentication or
** validation. It also finds and creates contacts, as far as cards need them.
**
**   leat_sandbox *sandbox = leat_sandbox_new(NULL, &error);
**   leat_config settings = { .api_key = "sandbox", .base_url = leat_sandbox_url(sandbox) };
**   ... a client with these settings works as with the service; and then, as an example:
**   the next create happens, but its response is lost
**   leat_sandbox_add_fault(sandbox, &(leat_sandbox_fault){
**     .operation = "create", .apply = true, .close = LEAT_SANDBOX_CLOSE_BEFORE }, &error);
**   ... what the client reports is to be compared with what the server holds:
**   leat_sandbox_find_card(sandbox, leat_s("0042"))
**   leat_sandbox_free(sandbox);
**
** Each connection is served by a thread of the sandbox's own. Every function here may be
** called from any thread; but what one hands out until "the next call" is for one thread.
*/
#ifndef LEAT_SANDBOX_H
#define LEAT_SANDBOX_H

#include "leat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct leat_sandbox leat_sandbox;

/* ---- faults ---------------------------------------------------------------------- */

enum { LEAT_SANDBOX_ALWAYS = -1, LEAT_SANDBOX_FOREVER = -1 };

typedef enum leat_sandbox_close { /* of the connection, without a word */
                                  LEAT_SANDBOX_KEEP = 0,
                                  LEAT_SANDBOX_CLOSE_BEFORE, /* before the first byte of the response */
                                  LEAT_SANDBOX_CLOSE_WITHIN /* after the whole head and half of the body */
} leat_sandbox_close;

/*
** What goes wrong, as data: which requests a fault hits, and what becomes of them.
**
** A fault without `nth` matches the next requests that concern it and that no fault given
** before it matches: several for one operation form a queue. With `nth` it counts every
** request that concerns it, from the moment it was given; where several faults would match
** the same request, the one given first does.
**
** With `kind`, `code`, `status` or `close` the request fails: nothing is carried out,
** unless `apply` or `apply_after_ms` says so. Without any of them the request is carried
** out as ever, and only its response comes late, or looks otherwise.
**
**   kind           what a client will call it; each is answered as the API would:
**     "not_found" "inactive" "already_exists" "already_linked" "not_linked"
**     "contact_not_found" "invalid_input" "quota_reached"     400, with the code of it
**     "unauthorized" 401   "forbidden" 403   "server" 500
**     "rate_limited" 429, with Retry-After: 1 unless told else, and X-RateLimit-Reset
**     "maintenance"  503, an HTML page
**     "redirect"     302 to a login page
**     "protocol"     200 with an HTML page, as somebody in between would
**     "connection"   closed before the response
**     "timeout"      no response, until the client goes or the sandbox is freed
**
** What else is set wins over what the kind stands for.
*/
typedef struct leat_sandbox_fault { /* zero or NULL means the default */
  const char *operation;            /* only of this name; NULL: every request */
  const char *value;                /* only about this contact identifier; NULL: any */
  int nth;                          /* from the nth of them on; 0: queued, see above */
  int times;                        /* 1: so many of them, or LEAT_SANDBOX_ALWAYS */
  const char *kind;
  int code;   /* of the API: HTTP 400, with the message that goes with it */
  int status; /* of HTTP, 200 to 599; with the body that the API sends with it, or none */
  const leat_header *headers; /* besides the usual ones, or instead of them; but not
                                 Content-Length or Transfer-Encoding */
  size_t header_count;
  leat_string body;  /* instead; data NULL: not. JSON, or HTML if it begins with "<" */
  int retry_after_s; /* a Retry-After header */
  int delay_ms;      /* the response comes so much later, or LEAT_SANDBOX_FOREVER */
  leat_sandbox_close close;
  bool apply;         /* carry it out nevertheless, at once */
  int apply_after_ms; /* or so much later: until then nobody sees it */
  int lag_ms;         /* a find or list sees the state of so long ago; 60000 at most */
  bool stale;         /* a find or list sees the state when this fault was given */
} leat_sandbox_fault;

/* ---- starting and stopping ------------------------------------------------------- */

typedef struct leat_sandbox_contact { /* each uuid once */
  const char *uuid;
  const char *email; /* may be NULL */
  const char *more;  /* NULL, or a JSON object: what else it shows, such as
                        {"credit_balance":{"balance":12}} */
} leat_sandbox_contact;

typedef struct leat_sandbox_card { /* each value once */
  const char *value;
  const char *name;         /* may be NULL */
  const char *contact_uuid; /* may be NULL: not linked */
  bool inactive;
} leat_sandbox_card;

typedef struct leat_sandbox_config { /* zero or NULL means the default */
  const char *api_key;               /* "sandbox": the token that it accepts */
  const leat_sandbox_contact *contacts;
  size_t contact_count;
  const leat_sandbox_card *cards;
  size_t card_count;
  bool tls; /* HTTPS, with a certificate of its own for localhost, 127.0.0.1 and ::1 */
  int port; /* 0: any */
  const leat_sandbox_fault *faults;
  size_t fault_count;
  const char *client_id;     /* "sandbox-client": of the token endpoint; the service's own
                                are numbers, and may be sent as such in JSON */
  const char *client_secret; /* "sandbox-secret" */
  int token_lifetime_ms;     /* 3600000; told in whole seconds, rounded up */
  const char *meta;          /* "[]": JSON that responses carry as meta; "absent": none */
  int rate_limit;            /* so many requests in each window, then 429 with
                                Retry-After; 0: no limit, but 5000 in the headers */
  int rate_window_ms;        /* 60000: from the first request in it on */
  bool idempotent_unlink; /* unlinking a card that is not linked succeeds; false: 60011 */
} leat_sandbox_config;

/* Starts it. NULL: `error` (which may be NULL) says why; LEAT_MISUSE: a fault is none. */
LEAT_API leat_sandbox *leat_sandbox_new(const leat_sandbox_config *config,
                                        leat_error *error);
/* Stops it at once, whoever waits for a response, and frees what it handed out. */
LEAT_API void leat_sandbox_free(leat_sandbox *sandbox);

/* The base URL to give to a client: "http://127.0.0.1:PORT/api/v3/oauth/clients". */
LEAT_API const char *leat_sandbox_url(const leat_sandbox *sandbox);
/* Where client credentials are exchanged for a token: "http://.../oauth/token". */
LEAT_API const char *leat_sandbox_token_url(const leat_sandbox *sandbox);
/* The file that holds the certificate, to give as ca_file; NULL without tls. It is
** removed by leat_sandbox_free. */
LEAT_API const char *leat_sandbox_ca_file(const leat_sandbox *sandbox);

/* ---- while it runs --------------------------------------------------------------- */

/* Adds a fault; copies it. Returns its number, counted from 1 and with those of the
** configuration; or 0, and `error` (which may be NULL) says what is wrong with it. */
LEAT_API int leat_sandbox_add_fault(leat_sandbox *sandbox,
                                    const leat_sandbox_fault *fault, leat_error *error);
/* From now on nothing goes wrong. */
LEAT_API void leat_sandbox_clear_faults(leat_sandbox *sandbox);
/* Every token that the token endpoint gave is expired; api_key is not. */
LEAT_API void leat_sandbox_expire_tokens(leat_sandbox *sandbox);
/* As it was when it started: its cards, its faults, no tokens, an empty record. */
LEAT_API void leat_sandbox_reset(leat_sandbox *sandbox);

/* The contact identifier of that value, as the API would show it; NULL: there is none.
** Borrowed until the next call of this or the next function, or leat_sandbox_free. */
LEAT_API const leat_json *leat_sandbox_find_card(leat_sandbox *sandbox,
                                                 leat_string value);
/* All of them, an array; lent likewise. */
LEAT_API const leat_json *leat_sandbox_all_cards(leat_sandbox *sandbox);

/* A request that was received, and what became of it. */
typedef struct leat_sandbox_request {
  leat_string method;
  leat_string target;         /* path and query, as received */
  const leat_header *headers; /* with "[token]" for Authorization's value */
  size_t header_count;
  leat_string body; /* of a token request: as a form, with "[secret]" for the secret */
  int status;       /* that it is answered with; 0: closed before the response */
  leat_string
      operation;   /* "find", "create", "link", "unlink", "update", "delete", "list",
                            "check", "token", "contacts.get", "contacts.find_one_by",
                            "contacts.find_or_create", "contacts.create_anonymous"; or "":
                            none of them */
  int64_t time_ms; /* when it came, since the sandbox started */
  int fault;       /* the number of the fault that hit it, or 0 */
  bool changed;    /* it changed the state, whatever it was answered */
} leat_sandbox_request;

/* Request `index`, counted from 0; false behind the last. The first 100000 are kept.
** Borrowed until leat_sandbox_reset or leat_sandbox_free. */
LEAT_API bool leat_sandbox_request_at(leat_sandbox *sandbox, size_t index,
                                      leat_sandbox_request *request);
/* The names of operations by index; NULL behind the last. Live for ever. */
LEAT_API const char *leat_sandbox_operation_at(size_t index);

#ifdef __cplusplus
}
#endif
#endif
