/*
** The contract between a call and its driver, for authors of drivers, and the table of
** operations, for authors of bindings. A program that only makes calls needs leat.h alone.
** examples/driver.c is a complete driver; leat_curl.h is another.
**
** A driver calls leat_call_next until it returns LEAT_DONE, and acts on each step:
**
** - LEAT_SEND: perform the HTTP exchange that leat_call_request describes. Then report its
**   result: leat_call_respond with the response, or leat_call_fail with the kind of failure
**   and whether the request may have been sent. The exchange may be the operation, a find
**   that verifies it or a token request, even to another origin; a driver treats all of
**   them alike.
** - LEAT_WAIT: nothing to do until leat_call_until, or until the client's epoch changes.
** - LEAT_TOKEN: the client was created with token_from_caller and needs a token. Call
**   leat_client_set_token, then leat_call_next again; or leat_call_fail.
** - LEAT_DONE: the result is available.
**
** For a client that is `shared`, processes share a token and the slots of a rate limit,
** which are points in time for one request each. The driver keeps them in a store: memory,
** a file or a server that all of the processes use. A client with `slots_from_caller`
** shares only the slots. Two steps then differ:
**
** - LEAT_TOKEN: if the store has a token, pass it to leat_client_share_token. If not,
**   obtain one, by leat_call_fetch if the client has credentials, and store it. While
**   another process does so, call leat_call_await.
** - LEAT_SLOT: reserve the next slot of the rate that no other process has reserved, and
**   pass it to leat_call_take_slot. If it is later than leat_call_until, do not reserve it,
**   but pass it all the same: the call then fails with a queue timeout. The store may
**   take time to respond: the step stays the same until then. If it cannot respond, use
**   leat_call_fail.
**
** Rules:
**
** - Deadlines: before a driver fails a call because its deadline has passed, it reads
**   everything that has arrived, for all calls.
** - Sent: LEAT_SENT_MAYBE begins with the first attempt to write a byte of the request,
**   even if that attempt fails.
** - Reuse: a connection is reused only after a complete response, if leat_http1_reusable
**   allows it and a receive through its TLS layer shows that nothing more has arrived.
** - Queues: time in queues does not count towards a call's timeout, which begins with its
**   first LEAT_SEND. A driver therefore calls leat_call_next only when it is able to send,
**   and keeps the calls that have to wait for a connection in a queue of its own, until
**   leat_call_queue_deadline.
*/
#ifndef LEAT_DRIVER_H
#define LEAT_DRIVER_H

#include "leat_observe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- steps and exchanges ---------------------------------------------------------- */

/* What the driver of a call has to do next; see above. */
typedef enum leat_step {
  LEAT_SEND,  /* perform an exchange */
  LEAT_WAIT,  /* wait */
  LEAT_TOKEN, /* supply a token */
  LEAT_DONE,  /* nothing: there is a result */
  LEAT_SLOT   /* reserve a slot */
} leat_step;

/* An HTTP request to send. */
typedef struct leat_request {
  leat_string method; /* "GET", "POST", ... */
  leat_string origin; /* "https://api.piggy.eu", with the port if it is not the default */
  leat_string host;   /* the origin's, without brackets or port; NUL-terminated */
  int port;           /* the port to connect to */
  bool tls;           /* whether the URL is https */
  bool loopback;      /* the host is this machine: connect to it without a proxy */
  leat_string target; /* "/api/v3/...?..."; the URL is origin + target */
  const leat_header *headers; /* without Host and Content-Length, which the codec adds */
  size_t header_count;        /* the number of headers */
  leat_string body;           /* empty if there is none */
  int64_t deadline_ms;        /* on the clock of leat_moment.monotonic_ms */
  int connect_timeout_ms;     /* for one connection, within the deadline */
  size_t max_body;            /* the limit of the response's body */
} leat_request;

/* How the end of a response's body was found. LEAT_CLOSE_DELIMITED does not prove that
** the body is complete; the others do. */
typedef enum leat_framing {
  LEAT_NO_BODY,        /* HEAD, 204, 304 */
  LEAT_LENGTH,         /* by Content-Length */
  LEAT_CHUNKED,        /* by the last chunk */
  LEAT_CLOSE_DELIMITED /* by the end of the connection */
} leat_framing;

/* An HTTP response. */
typedef struct leat_response {
  int status;                 /* the HTTP status */
  const leat_header *headers; /* all of them, in the order in which they were received */
  size_t header_count;        /* the number of headers */
  leat_string body;           /* decoded, if it came in chunks */
  leat_framing framing;       /* how its end was found */
} leat_response;

/* Runs the call as far as it gets without I/O, and returns its next step. */
LEAT_API leat_step leat_call_next(leat_call *call, leat_moment now);
/* After LEAT_SEND: returns the request, with the current token; NULL at any other step.
** Call it right before sending. Borrowed until the result is reported or the call is
** freed; its headers only until the next function that changes a client or a call. */
LEAT_API const leat_request *leat_call_request(leat_call *call);
/* Returns the purpose of the call's current exchange, or of its next one. At
** LEAT_TO_GET_TOKEN other calls may be waiting for the token. */
LEAT_API leat_purpose leat_call_purpose(const leat_call *call);
/* Returns a time on the clock of leat_moment.monotonic_ms. After LEAT_WAIT: when to call
** leat_call_next again. After LEAT_SLOT: the latest slot that the call can use. */
LEAT_API int64_t leat_call_until(const leat_call *call);
/* After LEAT_TOKEN: makes the call fetch a token with the client's credentials. Without
** credentials it has no effect. */
LEAT_API void leat_call_fetch(leat_call *call, leat_moment now);
/* After LEAT_TOKEN or LEAT_SLOT: makes the call wait until then, or until its client's
** epoch changes. If there is still no token, or slot, the step is then the same again. */
LEAT_API void leat_call_await(leat_call *call, leat_moment now, int64_t until_ms);
/* After LEAT_SLOT: gives the call a slot, as a time in microseconds on the clock of
** leat_moment.monotonic_ms. If the call can use it only more than `late_us` later, which
** should be leat_client_slot_length_us at most, the slot is lost and the next step is
** LEAT_SLOT again. */
LEAT_API void leat_call_take_slot(leat_call *call, int64_t slot_us, int64_t late_us);
/* Returns the call's timeout, or 0 for NULL: how long a driver may let it wait for a store
** that does not respond. */
LEAT_API int leat_call_timeout_ms(const leat_call *call);
/* Returns whether the call's step is LEAT_SLOT, and it was given no slot yet. */
LEAT_API bool leat_call_awaits_slot(const leat_call *call);
/* Reports that the connection is established and the first byte is about to be sent.
** Optional. A change that may be retried or verified gets half of the time that is left
** of the call's timeout; this recomputes its deadline, so that connecting does not count.
** Returns the new deadline, which leat_call_request shows too. */
LEAT_API int64_t leat_call_connected(leat_call *call, leat_moment now);
/* Reports a response, with all its headers in the order in which they were received. It
** is borrowed for the duration of this call only. */
LEAT_API void leat_call_respond(leat_call *call, leat_moment now,
                                const leat_response *response);
/* Reports that the current exchange uses a connection that was used before. */
LEAT_API void leat_call_set_reused(leat_call *call);
/* After LEAT_SEND: reports that there is no response, and why; the call may then be
** retried. LEAT_CANCELED always ends it. At any other step, the call ends with that kind,
** and `sent` has no effect; but an error of its setters is kept. `detail` is a short line
** for people, and is copied. */
LEAT_API void leat_call_fail(leat_call *call, leat_moment now, leat_kind kind,
                             leat_sent sent, const char *detail);

/* Returns the value of the first header with that name, in any case; data NULL if there
** is none. Borrowed from the response. */
LEAT_API leat_string leat_response_header(const leat_response *response,
                                          const char *name);

/* ---- the driver of a call -------------------------------------------------------- */

/* Returns whether a driver works on the call. No other may then begin to. */
LEAT_API bool leat_call_is_attached(const leat_call *call);
/* Makes `driver` the driver of the call, and keeps `job`, a pointer of the driver's own.
** The call then survives its owner until leat_call_detach. Returns false if the call is
** NULL or has a driver already. */
LEAT_API bool leat_call_attach(leat_call *call, const void *driver, void *job);
/* Returns the job that was given to leat_call_attach; NULL if the call is NULL, or
** `driver` is not its driver. */
LEAT_API void *leat_call_job(const leat_call *call, const void *driver);
/* Drops the reference that leat_call_attach took. Returns the call; NULL if its owner had
** freed it already, so that it does not exist any more. */
LEAT_API leat_call *leat_call_detach(leat_call *call);

/* Returns the latest time at which a call that enters the driver's queue at `now_ms` must
** leave it, on the same clock; INT64_MAX if it may wait for ever. */
LEAT_API int64_t leat_call_queue_deadline(const leat_call *call, int64_t now_ms);
/* Reports how long the call waited in a driver's queue before its first leat_call_next.
** The call measures later waits itself: then this has no effect. */
LEAT_API void leat_call_add_queue_time(leat_call *call, int64_t ms);
/* Fails a call whose queue deadline has passed, with LEAT_TIMEOUT. */
LEAT_API void leat_call_fail_queue_timeout(leat_call *call, leat_moment now);

/* ---- what calls share through their client ----------------------------------------- */

/* Returns a number that changes whenever calls that wait may be able to continue, so that
** leat_call_next should be called for them again. */
LEAT_API uint64_t leat_client_epoch(const leat_client *client);
/* Returns the client's token, for a store that processes share, and sets `until_ms` to
** the time when it is to be renewed, on the clock of leat_moment.monotonic_ms. Data is
** NULL if it has no valid token. Borrowed until the next call into the library. */
LEAT_API leat_string leat_client_token(const leat_client *client, leat_moment now,
                                       int64_t *until_ms);
/* Gives the client a token that another process obtained; copies it. Returns false if it
** is invalid, has expired or equals the token to be renewed, or if memory runs out. */
LEAT_API bool leat_client_share_token(leat_client *client, leat_moment now,
                                      leat_string token, int64_t until_ms);
/* Returns the interval between two slots of the client's rate, in microseconds; 0 if the
** client has no rate limit. */
LEAT_API int64_t leat_client_slot_length_us(const leat_client *client);
/* A pause: the service asked the client to wait, with a 429 or a 503. The client's calls
** are queued until it ends, as long as queue_timeout allows. Calls with one attempt do
** not wait: they fail at once if the service asked for the pause (`asked`: by a 429, or
** by a Retry-After), and are sent otherwise. If the service asked to wait for more than a
** minute (`too_long`), every call fails at once, unsent, with the pause's kind and the
** remaining time as retry_after. A pause lasts 15 minutes at most. After one that was too
** long a single call is sent as a probe, and the others wait for its result. */
typedef struct leat_pause {
  int64_t until_ms; /* its end, on the clock of leat_moment.monotonic_ms */
  leat_kind kind;   /* LEAT_RATE_LIMITED or LEAT_MAINTENANCE */
  bool asked;       /* the service asked for it */
  bool too_long;    /* calls do not wait for its end */
} leat_pause;

/* Returns whether the client is in a pause now. Fills `pause` in any case. */
LEAT_API bool leat_client_pause(const leat_client *client, leat_moment now,
                                leat_pause *pause);
/* Informs the client of a pause that the service requested from another process. */
LEAT_API void leat_client_share_pause(leat_client *client, leat_moment now,
                                      const leat_pause *pause);
/* Copies text of the service to `out`, made safe for one line of a message: invisible and
** control characters become spaces, and every piece of the client's token is masked.
** Truncates to `size`. Returns `out`. */
LEAT_API const char *leat_client_clean(const leat_client *client, leat_string text,
                                       char *out, size_t size);

/* ---- the HTTP/1.1 codec, for authors of drivers ---------------------------------- */
/*
** Encodes requests and decodes responses, without I/O. A codec serves one connection, one
** exchange at a time:
**
**     state = leat_http1_begin(http, request);
**     while ((out = leat_http1_output(http)).length > 0) {
**       if ((n = send(socket, out.data, out.length, MSG_NOSIGNAL)) < 0) goto broken;
**       leat_http1_sent(http, (size_t)n);
**     }
**     while (state == LEAT_HTTP1_MORE && (space = leat_http1_space(http, &room)) != NULL) {
**       if ((n = recv(socket, space, room, 0)) < 0) goto broken;
**       state = n > 0 ? leat_http1_received(http, (size_t)n) : leat_http1_closed(http);
**     }
**
** It is strict: it refuses everything that two parsers could understand differently.
*/
typedef struct leat_http1 leat_http1;

/* How far an exchange is. */
typedef enum leat_http1_state {
  LEAT_HTTP1_MORE,     /* the response is incomplete */
  LEAT_HTTP1_RESPONSE, /* leat_http1_response returns it */
  LEAT_HTTP1_FAILED    /* leat_http1_failure returns the reason */
} leat_http1_state;

/* Creates a codec. Returns NULL if memory runs out. */
LEAT_API leat_http1 *leat_http1_new(void);
/* Frees a codec, which may be NULL. */
LEAT_API void leat_http1_free(leat_http1 *http);

/* Starts an exchange. Copies the request. */
LEAT_API leat_http1_state leat_http1_begin(leat_http1 *http, const leat_request *request);
/* Returns the bytes that remain to be sent. They stay where they are, unchanged, until
** leat_http1_sent. */
LEAT_API leat_string leat_http1_output(const leat_http1 *http);
/* Reports that the first `length` bytes of the output were sent. */
LEAT_API void leat_http1_sent(leat_http1 *http, size_t length);

/* Returns where to receive to, and sets `room` to how many bytes fit there. Returns NULL,
** with a room of 0, if memory runs out and after the end of the exchange. Valid until the
** next call with `http`. */
LEAT_API char *leat_http1_space(leat_http1 *http, size_t *room);
/* Decodes `length` bytes that were received into that space. */
LEAT_API leat_http1_state leat_http1_received(leat_http1 *http, size_t length);
/* Reports that the server closed the connection in an orderly way. Do not call it for a
** connection that broke: that proves no end of a response. */
LEAT_API leat_http1_state leat_http1_closed(leat_http1 *http);

/* Returns the complete response; NULL if there is none. Borrowed until the next
** leat_http1_begin. */
LEAT_API const leat_response *leat_http1_response(const leat_http1 *http);
/* Returns why the exchange failed, LEAT_OK if it did not, and sets `detail` (which may be
** NULL) to a line for people. Borrowed until the next leat_http1_begin. */
LEAT_API leat_kind leat_http1_failure(const leat_http1 *http, const char **detail);
/* Returns whether the next exchange may use the same connection. */
LEAT_API bool leat_http1_reusable(const leat_http1 *http);

/* ---- the table of operations ------------------------------------------------------- */

/* A parameter of an operation. */
typedef struct leat_parameter {
  const char *name;  /* the service's name: "contact_identifier_value" */
  const char *alias; /* a short name: "value" */
  leat_type type;    /* LEAT_STRING or LEAT_BOOLEAN */
  bool required;     /* a call without it is misuse */
  bool in_path;      /* replaces {name} in the path */
} leat_parameter;

/* Where parameters go, for leat_op.locations: one of them, or both. */
enum {
  LEAT_IN_QUERY = 1, /* into the query */
  LEAT_IN_BODY = 2   /* into the body */
};

/* What the response to an operation holds. */
typedef enum leat_result {
  LEAT_RESULT_CARD,    /* a contact identifier */
  LEAT_RESULT_NOTHING, /* no data, only success */
  LEAT_RESULT_CARDS,   /* an array of contact identifiers */
  LEAT_RESULT_DATA,    /* an object */
  LEAT_RESULT_ANY      /* any response: leat_call_new_request */
} leat_result;

/* How to recover when the response to a change was lost, so that the change may or may
** not have been made. */
typedef enum leat_recovery {
  LEAT_RETRY,           /* retry it: the operation is idempotent */
  LEAT_VERIFY_CREATED,  /* find the card, and check that it is as requested */
  LEAT_VERIFY_LINKED,   /* find the card, and check that it is linked as requested */
  LEAT_VERIFY_UNLINKED, /* find the card, and check that it is no longer linked */
  LEAT_VERIFY_DELETED,  /* find the card, and check that it no longer exists */
  LEAT_NO_RETRY         /* fail; the caller must decide */
} leat_recovery;

/* A row of the table of operations. */
struct leat_op {
  const char *resource; /* "contact_identifiers" */
  const char *name;     /* "find" */
  const char *method;   /* "GET" */
  const char *path;     /* appended to the base URL's path; {name} marks a parameter */
  int locations;        /* where the other parameters go: LEAT_IN_QUERY, LEAT_IN_BODY */
  bool writes;          /* it changes data */
  leat_result result;   /* what its response holds */
  const leat_parameter *parameters; /* the card's value first, then by `required` */
  size_t parameter_count;           /* the number of parameters */
  leat_recovery recovery;           /* what to do after a lost response */
  bool takes_expect;                /* leat_call_expect may be used */
};

/* Returns the operation that the call was created with; NULL if there was none. */
LEAT_API const leat_op *leat_call_op(const leat_call *call);
/* Returns the row at `index`, counted from 0; NULL after the last one. */
LEAT_API const leat_op *leat_operation_at(size_t index);

#ifdef __cplusplus
}
#endif
#endif
