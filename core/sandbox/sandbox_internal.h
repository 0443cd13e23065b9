/*
** sandbox_internal.h - what the files of the sandbox share.
**
** It has the shape of the house: sandbox.c speaks HTTP, and is the only one to know
** sockets, threads and clocks. Behind it stands the API as a machine without I/O: a
** request and the time go in, a response comes out.
**
**   sandbox.c             the HTTP server, and the public functions
**   sandbox_api.c         what becomes of a request, from its arrival to its response
**   sandbox_input.c       its parameters: of query, body and path; validation
**   sandbox_operations.c  the routes and what they do
**   sandbox_state.c       contacts and cards, as they are and as they were
**   sandbox_faults.c      what goes wrong
**   sandbox_record.c      what was received
**   sandbox_json.c        JSON values to build and to change
**
** All but sandbox.c run under its lock.
*/
#ifndef LEAT_SANDBOX_INTERNAL_H
#define LEAT_SANDBOX_INTERNAL_H

#include "internal.h"
#include "leat_sandbox.h"

#define SANDBOX_BASE "/api/v3/oauth/clients"

enum { /* every limit of the sandbox */
       SANDBOX_MAX_BODY = 1024 * 1024,
       SANDBOX_MAX_ANSWER = 16 * 1024 * 1024, /* the list of a contact with many cards */
       SANDBOX_MAX_HEAD = 64 * 1024,          /* headers of a response */
       SANDBOX_MAX_RECORDS = 100000,
       SANDBOX_MAX_LAG_MS = 60 * 1000,
       SANDBOX_TOLD_RATE_LIMIT = 5000,
       SANDBOX_RATE_WINDOW_MS = 60 * 1000,
       SANDBOX_TOKEN_LIFETIME_MS = 60 * 60 * 1000,
       SANDBOX_CONNECTION_MEMORY = 512 * 1024, /* a query of 200 kB has room */
       SANDBOX_CONNECTIONS = 1000,
       SANDBOX_BACKLOG = 511
};

typedef struct sandbox_api sandbox_api;
typedef struct exchange exchange;
typedef struct sjson sjson; /* a JSON value, of sandbox_json.c */

/* ---- routes and their parameters ------------------------------------------------- */

typedef struct rule {        /* of a parameter */
  const char *field, *label; /* the label as the service spells it in messages */
  leat_type type;
  bool required;
  bool number; /* a number is as good as its digits in a string */
} rule;

/* Where the API reads parameters from. */
enum { IN_QUERY = 1, IN_BODY = 2, IN_ANY = IN_QUERY | IN_BODY };

typedef struct route {
  const char *name, *method;
  const char *path; /* with {contact_uuid} for one that stands in it */
  int places;
  bool reads; /* a fault may show it the past */
  void (*handle)(sandbox_api *api, exchange *x);
  const rule *rules[4];
} route;

/* ---- a request under way --------------------------------------------------------- */

struct exchange {
  /* the request, borrowed from the server; the target ends with a NUL */
  leat_string method, target, body;
  const leat_header *headers;
  size_t header_count;
  bool too_large; /* the body, which is cut */
  int64_t came_ms;
  leat_moment now;

  /* what was found out about it */
  const route *route; /* NULL: none */
  bool path_known;    /* by another method */
  leat_string in_path;
  bool has_types; /* as JSON has, and forms have not */
  sjson *input;   /* the parameters */
  sjson *errors;  /* of validation, by field */
  sjson *cards;   /* those that it sees, by value */

  /* what it changes, if that is carried out */
  bool changes;   /* a card */
  sjson *card;    /* what becomes of it; NULL: it is deleted */
  sjson *contact; /* a new one, or NULL */

  /* the response */
  int status;
  sjson *reply;
  leat_string page;     /* instead of the reply, if it has data; borrowed from a fault */
  const char *location; /* of a redirect; NULL: the login page */
  int retry_after_s;    /* 0: not told */
  int remaining;        /* of the rate limit; -1: not told */
  leat_buffer head;     /* name NUL value NUL, and so on */
  leat_buffer text;     /* the body */
  int delay_ms;
  leat_sandbox_close close;
};

/* The value of that header of the request, in any case; empty if there is none. */
leat_string leat__sandbox_header(const exchange *x, const char *name);

/* ---- state ----------------------------------------------------------------------- */

/* Cards are never changed but replaced, so that history can hold what they were. */
typedef struct sandbox_change {
  int64_t at_ms;
  char *value;
  sjson *before; /* NULL: it was not there */
} sandbox_change;

typedef struct sandbox_pending { /* what is to be carried out later */
  int64_t due_ms;
  const route *route;
  sjson *input;
  size_t record; /* the index of its request */
} sandbox_pending;

typedef struct sandbox_token {
  char text[64];
  int64_t expires_ms;
} sandbox_token;

typedef struct sandbox_record {
  leat_sandbox_request request;
  leat_header headers[]; /* and all its strings behind them */
} sandbox_record;

typedef struct sandbox_fault {
  const route *route; /* NULL: any */
  char *value;        /* NULL: any */
  int nth;            /* 0: it waits while a fault given before it matches */
  int times;          /* or LEAT_SANDBOX_ALWAYS */
  int seen;
  bool off;
  bool fails, apply;
  int status, code; /* 0: as they would be */
  char *body;       /* its own, or NULL */
  leat_string page; /* data NULL: what the status and code have */
  leat_buffer head; /* name NUL value NUL, and so on */
  int retry_after_s, delay_ms, apply_after_ms, lag_ms;
  sjson *past; /* the cards that finds and lists see; NULL: those of now */
  leat_sandbox_close close;
} sandbox_fault;

struct sandbox_api {
  char *authorization; /* "Bearer KEY" */
  char *client_id, *client_secret;
  sjson *meta; /* NULL: absent */
  int token_lifetime_ms, rate_limit, rate_window_ms;
  bool limited; /* by rate_limit */
  bool idempotent_unlink;

  sjson *contacts; /* by uuid, as the API would show them */
  sjson *cards;    /* by value, likewise */
  sjson *first_contacts, *first_cards;
  sandbox_change *history; /* oldest first */
  size_t history_count;
  sandbox_pending *pending;
  size_t pending_count;

  sandbox_token *tokens;
  size_t token_count;
  uint64_t seed; /* of tokens and uuids */
  int used;      /* of the rate limit, in the window that ends then */
  int64_t window_end_ms;

  sandbox_fault *faults;
  size_t fault_count, first_faults;
  sandbox_record **records;
  size_t record_count;
  leat_json *lent; /* to the caller of leat_sandbox_find_card */
};

/* ---- sandbox_api.c --------------------------------------------------------------- */

/* Fills an api that is all zero; free it in either case. */
bool leat__sandbox_open(sandbox_api *api, const leat_sandbox_config *config,
                        leat_error *error);
void leat__sandbox_close(sandbox_api *api);
void leat__sandbox_restart(sandbox_api *api);
/* Takes a request to its response, of which only status, head, text, delay_ms and close are
** left then. False: out of memory. */
bool leat__sandbox_serve(sandbox_api *api, exchange *x);
void leat__sandbox_answer_free(exchange *x);
/* Carries out what is due by then. */
void leat__sandbox_catch_up(sandbox_api *api, leat_moment now);

/* ---- sandbox_input.c ------------------------------------------------------------- */

/* Reads the parameters that the route takes. False: out of memory. */
bool leat__sandbox_read_input(exchange *x);
/* A parameter's text, or NULL; ends with a NUL. */
const char *leat__sandbox_input(const exchange *x, const char *name);
/* Where `piece` first occurs in the text, or NULL. */
const char *leat__sandbox_search(leat_string text, leat_string piece);

/* ---- sandbox_operations.c -------------------------------------------------------- */

void leat__sandbox_find_route(exchange *x);
const route *leat__sandbox_route_named(const char *name); /* NULL: none */
bool leat__sandbox_is_token(const route *r);
void leat__sandbox_reply(exchange *x, int status, const char *message);
void leat__sandbox_reply_code(exchange *x, int code); /* HTTP 400, and its message */
bool leat__sandbox_authorized(const sandbox_api *api, const exchange *x);

/* ---- sandbox_state.c ------------------------------------------------------------- */

/* Makes room for one more: returns where the items are now, or NULL. Items are only
** added at the end, or taken away. */
void *leat__sandbox_room(void *items, size_t count, size_t size);
sjson *leat__sandbox_copy(const sjson *object); /* with the same members */
sjson *leat__sandbox_text(const char *text);    /* or null */
bool leat__sandbox_add_contact(sandbox_api *api, const leat_sandbox_contact *contact,
                               leat_error *error);
bool leat__sandbox_add_card(sandbox_api *api, const leat_sandbox_card *card,
                            leat_error *error);
/* A card that is nowhere yet; NULL out of memory. The contact must be there, or NULL. */
sjson *leat__sandbox_new_card(const sandbox_api *api, const leat_sandbox_card *from);
/* The same card with a member changed; takes `value`. */
sjson *leat__sandbox_with(const sjson *card, const char *name, sjson *value);
/* The contact to show in a card; null for NULL. */
sjson *leat__sandbox_contact(const sandbox_api *api, const char *uuid);
/* A contact that is nowhere yet; NULL: out of memory. The email may be NULL. */
sjson *leat__sandbox_new_contact(const char *uuid, const char *email);
bool leat__sandbox_put_contact(sandbox_api *api, const sjson *contact);
bool leat__sandbox_put(sandbox_api *api, const char *value, const sjson *card,
                       int64_t at_ms);
/* All cards as they were then, to be freed. */
sjson *leat__sandbox_cards_at(const sandbox_api *api, int64_t at_ms);
void leat__sandbox_forget(sandbox_api *api); /* history and what is pending */

/* ---- sandbox_faults.c ------------------------------------------------------------ */

bool leat__sandbox_add_fault(sandbox_api *api, const leat_sandbox_fault *from,
                             leat_error *error);
void leat__sandbox_free_faults(sandbox_api *api, size_t but); /* but the first so many */
/* The fault that hits this request, or NULL; each that it concerns counts it. */
sandbox_fault *leat__sandbox_hit(sandbox_api *api, const exchange *x);
/* Makes the response what the fault wants it to be. */
void leat__sandbox_spoil(exchange *x, const sandbox_fault *f);

/* ---- sandbox_json.c -------------------------------------------------------------- */

/* The core's own values never change, and are only read out of a text: these are counted,
** shared and changed. What leaves the sandbox is written, and read by the core. */
sjson *leat__sjson_parse(leat_string text); /* NULL: no JSON, or out of memory */
void leat__sjson_free(sjson *value);

typedef struct sjson_member { /* as a leat_member */
  leat_string name;
  const sjson *value;
  void *position;
} sjson_member;

leat_type leat__sjson_type(const sjson *value);
bool leat__sjson_is_true(const sjson *value);
leat_string leat__sjson_string(const sjson *value);
size_t leat__sjson_size(const sjson *array);
const sjson *leat__sjson_get(const sjson *object, const char *name);
bool leat__sjson_next(const sjson *object, sjson_member *member);

/* NULL means out of memory, and is passed on: set and append free `value` then, and return
** false. The text must be UTF-8. */
sjson *leat__sjson_null(void);
sjson *leat__sjson_boolean(bool value);
sjson *leat__sjson_integer(int64_t value);
sjson *leat__sjson_text(leat_string text);
sjson *leat__sjson_object(void);
sjson *leat__sjson_array(void);
bool leat__sjson_set(sjson *object, const char *name, sjson *value);
bool leat__sjson_append(sjson *array, sjson *value);
bool leat__sjson_remove(sjson *object, const char *name); /* false: was not there */
/* The same value once more, to be given away; not for two threads. */
sjson *leat__sjson_share(const sjson *value);
void leat__sjson_write(const sjson *value, leat_buffer *out); /* compact */

/* ---- sandbox_record.c ------------------------------------------------------------ */

bool leat__sandbox_keep(sandbox_api *api, const exchange *x, int fault);
void leat__sandbox_free_records(sandbox_api *api);

#endif
