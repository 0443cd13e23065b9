/*
** sandbox_internal.h - the declarations that the sandbox's files share.
**
** It is structured like the client: only sandbox.c speaks HTTP and knows sockets, threads
** and clocks. The other files implement the API without I/O: they receive a request and
** the time, and return a response. Each file calls only those below it:
**
**   sandbox.c     the HTTP server, and the public functions
**   api.c         processing of a request, from its arrival to its response
**   record.c      the record of received requests
**   faults.c      injected faults
**   operations.c  the routes and their operations
**   input.c       parameters of query, body and path, and their validation
**   state.c       contacts and cards, with the recent history of the cards
**
** All but sandbox.c run under the sandbox's lock.
*/
#ifndef LEAT_SANDBOX_INTERNAL_H
#define LEAT_SANDBOX_INTERNAL_H

#include "internal.h"
#include "leat_sandbox.h"

/* Values of the core are immutable; jansson's are built, shared and changed. Functions of
** jansson that take a new value accept NULL, so that one check covers several calls. */
#include <jansson.h>

#define SANDBOX_BASE "/api/v3/oauth/clients"

enum { /* all limits of the sandbox */
       SANDBOX_MAX_BODY = 1024 * 1024,
       SANDBOX_MAX_RESPONSE = 16 * 1024 * 1024, /* room for a list of many cards */
       SANDBOX_MAX_HEAD = 64 * 1024,            /* response headers */
       SANDBOX_MAX_RECORDS = 100000,
       SANDBOX_MAX_LAG_MS = 60 * 1000,
       SANDBOX_STATED_RATE_LIMIT = 5000,
       SANDBOX_RATE_WINDOW_MS = 60 * 1000,
       SANDBOX_TOKEN_LIFETIME_MS = 60 * 60 * 1000,
       SANDBOX_CONNECTION_MEMORY = 512 * 1024, /* fits a query of 200 kB */
       SANDBOX_CONNECTIONS = 1000,
       SANDBOX_BACKLOG = 511
};

typedef struct sandbox_api sandbox_api;
typedef struct exchange exchange;

/* ---- routes and their parameters ------------------------------------------------- */

typedef enum rule_type {
  IS_TEXT,
  IS_TEXT_OR_NUMBER, /* a JSON integer stands for its digits */
  IS_BOOLEAN
} rule_type;

typedef struct rule { /* the rule for a parameter */
  const char *field;
  rule_type type;
  bool required;
} rule;

/* Where the API accepts parameters. */
enum { IN_QUERY = 1, IN_BODY = 2, IN_ANY = IN_QUERY | IN_BODY };

typedef struct route {
  const char *name, *method;
  const char *path; /* {contact_uuid} marks a parameter in the path */
  int locations;
  bool reads; /* a fault may show it a past state */
  void (*handle)(sandbox_api *api, exchange *x);
  const rule *rules[4];
} route;

/* ---- a request being processed --------------------------------------------------- */

struct exchange {
  /* the request, borrowed from the server; the target ends with a NUL */
  leat_string method, target, body;
  const leat_header *headers;
  size_t header_count;
  bool too_large; /* the body was too large, and is truncated */
  int64_t received_ms;
  leat_moment now;

  /* how the request was understood */
  const route *route; /* NULL: no route matches */
  bool path_known;    /* the path exists, perhaps for another method */
  leat_string in_path;
  bool has_types; /* the input was JSON; forms have only strings */
  json_t *input;  /* the parameters */
  json_t *errors; /* validation errors by field, or NULL */
  json_t *cards;  /* the cards visible to it, by value */

  /* the intended changes, applied unless a fault prevents it */
  bool changes;    /* it changes a card */
  json_t *card;    /* the card's new state; NULL: deleted */
  json_t *contact; /* a new contact, or NULL */

  /* the response */
  int status;
  json_t *response;
  leat_string raw;      /* sent instead of `response` unless data is NULL; borrowed */
  const char *location; /* redirect target; NULL: the login page */
  int retry_after_s;    /* 0: no Retry-After header */
  int remaining;        /* X-RateLimit-Remaining */
  leat_buffer head;     /* name NUL value NUL, and so on */
  leat_buffer text;     /* the body */
  int delay_ms;
  leat_sandbox_close close;
};

/* ---- the state ------------------------------------------------------------------- */

/* Cards are replaced, never modified, so that the history can keep their old values. */
typedef struct sandbox_change {
  int64_t at_ms;
  char *value;
  json_t *old; /* the card before the change; NULL: it did not exist */
} sandbox_change;

typedef struct sandbox_pending { /* a change that is applied later */
  int64_t due_ms;
  const route *route;
  json_t *input;
  size_t record; /* index of the request in the record */
} sandbox_pending;

#define BEARER "Bearer "

typedef struct sandbox_token {
  char authorization[64]; /* "Bearer TOKEN" */
  int64_t expires_ms;
} sandbox_token;

typedef struct sandbox_record {
  leat_sandbox_request request;
  leat_header headers[]; /* followed by the memory of all strings */
} sandbox_record;

typedef struct sandbox_fault {
  const route *route; /* NULL: any */
  char *value;        /* NULL: any */
  int nth;            /* 0: queued, and skipped while an earlier fault matches */
  int times;          /* or LEAT_SANDBOX_ALWAYS */
  int seen;
  bool disabled;
  bool fails, apply;
  int status, code; /* 0: not overridden */
  char *body;       /* owned; NULL: none */
  leat_string raw;  /* data NULL: the default for the status and code */
  leat_buffer head; /* name NUL value NUL, and so on */
  int retry_after_s, delay_ms, apply_after_ms, lag_ms;
  json_t *past; /* the cards that find and list return; NULL: the current ones */
  leat_sandbox_close close;
} sandbox_fault;

struct sandbox_api {
  char *authorization; /* "Bearer KEY" */
  char *client_id, *client_secret;
  json_t *meta; /* NULL: absent */
  int token_lifetime_ms, rate_limit, rate_window_ms;
  bool limited; /* rate_limit is enforced */
  bool idempotent_unlink;

  json_t *contacts; /* by uuid, in the API's format */
  json_t *cards;    /* by value, in the API's format */
  json_t *first_contacts, *first_cards;
  sandbox_change *history; /* oldest first */
  size_t history_count;
  sandbox_pending *pending;
  size_t pending_count;

  sandbox_token *tokens;
  size_t token_count;
  uint64_t seed; /* for tokens and uuids */
  int used;      /* requests in the current rate window */
  int64_t window_end_ms;

  sandbox_fault *faults;
  size_t fault_count, first_faults;
  sandbox_record **records;
  size_t record_count;
  leat_json *borrowed; /* what find_card or all_cards returned last */
};

/* ---- state.c --------------------------------------------------------------------- */

/* Makes room for one more item. Returns the array, which may have moved, or NULL if out
** of memory. Call it before each item is added: it allocates when `count` is 0 or a power
** of 2. */
void *leat__sandbox_grow(void *items, size_t count, size_t size);
/* Appends the value as compact text. */
void leat__sandbox_write(const json_t *value, leat_buffer *out);
/* Add a contact or a card of the configuration. Return false on failure, and describe it
** in `error`. */
bool leat__sandbox_add_contact(sandbox_api *api, const leat_sandbox_contact *contact,
                               leat_error *error);
bool leat__sandbox_add_card(sandbox_api *api, const leat_sandbox_card *card,
                            leat_error *error);
/* Return a contact or a card that is not yet in the state; NULL: out of memory. The email
** may be NULL. Without a name, the card has its value as its name, as in the service;
** without a contact, it is not linked. */
json_t *leat__sandbox_new_contact(const char *uuid, const char *email);
json_t *leat__sandbox_new_card(const char *value, const char *name, json_t *contact);
/* Store a contact or a card; NULL deletes the card. Return false if out of memory. */
bool leat__sandbox_put_contact(sandbox_api *api, json_t *contact);
bool leat__sandbox_put_card(sandbox_api *api, const char *value, json_t *card,
                            int64_t at_ms);
/* Returns all cards as they were at that time; the caller frees the result. */
json_t *leat__sandbox_cards_at(const sandbox_api *api, int64_t at_ms);
void leat__sandbox_clear_history(sandbox_api *api);

/* ---- input.c --------------------------------------------------------------------- */

/* Returns the value of the first header with that name, ignoring case; empty if there is
** none. */
leat_string leat__sandbox_header(const exchange *x, const char *name);
/* Reads and validates the parameters of the route. Returns false if out of memory;
** validation errors are in x->errors. */
bool leat__sandbox_read_input(exchange *x);
/* Returns a parameter's text, which ends with a NUL; NULL if it is absent or no
** string. */
const char *leat__sandbox_input(const exchange *x, const char *name);
/* Returns a pointer to the first occurrence of `piece` in `text`, or NULL. */
const char *leat__sandbox_search(leat_string text, leat_string piece);

/* ---- operations.c ---------------------------------------------------------------- */

void leat__sandbox_find_route(exchange *x);
const route *leat__sandbox_route_named(const char *name); /* NULL: no such route */
bool leat__sandbox_is_token(const route *r);
void leat__sandbox_respond(exchange *x, int status, const char *message);
void leat__sandbox_respond_code(exchange *x, int code); /* HTTP 400 and its message */
bool leat__sandbox_authorized(const sandbox_api *api, const exchange *x);

/* ---- faults.c -------------------------------------------------------------------- */

bool leat__sandbox_add_fault(sandbox_api *api, const leat_sandbox_fault *from,
                             leat_error *error);
/* Frees all faults but the first ones, and resets those. */
void leat__sandbox_reset_faults(sandbox_api *api, size_t kept);
/* Returns the fault that matches this request, or NULL. Counts the request for each
** applicable fault; one without nth counts it only if no earlier fault matches. */
sandbox_fault *leat__sandbox_match_fault(sandbox_api *api, const exchange *x);
/* Applies the fault to the response. */
void leat__sandbox_apply_fault(exchange *x, const sandbox_fault *f);

/* ---- record.c -------------------------------------------------------------------- */

/* Records the request and its response. `fault` is the number of the fault that matched
** it, or 0. Returns false if out of memory. */
bool leat__sandbox_record(sandbox_api *api, const exchange *x, int fault);
void leat__sandbox_free_records(sandbox_api *api);

/* ---- api.c ----------------------------------------------------------------------- */

/* Initializes `api`, which must be all zero. Close it even if this returns false. */
bool leat__sandbox_open(sandbox_api *api, const leat_sandbox_config *config,
                        leat_error *error);
void leat__sandbox_close(sandbox_api *api);
void leat__sandbox_reset(sandbox_api *api);
/* Processes a request. Afterwards only status, head, text, delay_ms and close are valid.
** Returns false if out of memory. Call leat__sandbox_response_free in either case. */
bool leat__sandbox_process(sandbox_api *api, exchange *x);
void leat__sandbox_response_free(exchange *x);
/* Applies all pending changes that are due at `now`. */
void leat__sandbox_apply_due(sandbox_api *api, leat_moment now);

#endif
