/*
** Contact identifiers of the Leat loyalty service (formerly Piggy).
**
** A *contact identifier* is a loyalty card, or any other unique value that identifies a
** customer; for short, it is called a card below. This library finds, creates, links,
** unlinks, updates and deletes cards.
**
** A call is a state machine without I/O, and a *driver* performs its I/O. leat_curl.h is
** a driver based on libcurl; leat_driver.h tells how to write another one. leat_observe.h
** is for logs, metrics and health checks.
**
**     leat_error   error;  char text[512];
**     leat_client *client = leat_client_new(&(leat_config){ .api_key = key }, &error);
**     leat_curl   *curl   = leat_curl_new(NULL, &error);
**     leat_call   *call   = leat_call_new(client,
**                                         leat_operation("contact_identifiers", "find"));
**     leat_call_set(call, "contact_identifier_value", leat_s("ABCDE12356-90"));
**     leat_curl_perform(curl, call);
**     leat_contact_identifier card;
**     if (leat_call_contact_identifier(call, &card))
**       printf("%.*s\n", (int)card.value.length, card.value.data);
**     else
**       fprintf(stderr, "%s\n", leat_error_text(leat_call_error(call), text, sizeof text));
**     leat_call_free(call);  leat_curl_free(curl);  leat_client_free(client);
**
** Conventions:
**
** - Ownership: leat_x_new creates an object, leat_x_free frees it; freeing NULL does
**   nothing. Objects may be freed in any order: a client is kept until its last call is
**   freed. The library copies the strings it is given. The strings and values it returns
**   are borrowed; each declaration states for how long.
** - Errors are sticky: after a call's first error its setters do nothing, and starting the
**   call completes it at once with that error. A NULL call means out of memory; every
**   function that takes a call accepts it.
** - Pauses: after a 429 or 503, all calls of the client wait until the time that the
**   service named, or fail at once if that is more than a minute away.
** - Text is UTF-8 without embedded NULs, as bytes and a length (leat_string).
** - Time: names end in `_ms` (milliseconds), `_us` (microseconds) or `_s` (seconds).
** - Threads: a client, its calls and their driver must be used by one thread only.
** - Versions: public structs may change between versions. Nothing but the SOVERSION of the
**   shared library protects a program that was compiled with older headers.
*/
#ifndef LEAT_H
#define LEAT_H

#include "leat_json.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. */
#define LEAT_VERSION "0.1.0"
/* The base URL of the service. */
#define LEAT_BASE_URL "https://api.piggy.eu/api/v3/oauth/clients"
/* The path at which tokens are fetched, on the origin of the base URL. */
#define LEAT_TOKEN_PATH "/oauth/token"

/* Values of settings. */
enum { LEAT_UNLIMITED = -1 /* no limit, as max_attempts or retry_budget */ };

/* ---- errors ---------------------------------------------------------------------- */

/* The kinds of errors, for programs to branch on. Messages are for people. */
typedef enum leat_kind {
  LEAT_OK = 0,            /* no error */
  LEAT_NOT_FOUND,         /* no such contact identifier */
  LEAT_INACTIVE,          /* the contact identifier is not active */
  LEAT_ALREADY_EXISTS,    /* create: the value is taken */
  LEAT_ALREADY_LINKED,    /* link: the card already belongs to a contact */
  LEAT_NOT_LINKED,        /* unlink: the card belongs to no contact */
  LEAT_CONTACT_NOT_FOUND, /* no contact has this uuid */
  LEAT_INVALID_INPUT,     /* validation failed: see leat_call_field */
  LEAT_UNAUTHORIZED,      /* the API key is wrong or has expired */
  LEAT_FORBIDDEN,         /* the API key has no permission for this */
  LEAT_QUOTA_REACHED,     /* the quota of the account's plan is used up */
  LEAT_RATE_LIMITED,      /* too many requests at present (429) */
  LEAT_MAINTENANCE,       /* the service is temporarily down (503) */
  LEAT_SERVER,            /* the service, or a gateway before it, failed (5xx) */
  LEAT_API_ERROR,         /* an error code that this library does not know */
  LEAT_CONFLICT,          /* the state of the card contradicts the request */
  LEAT_CONNECTION,        /* connecting failed, or the connection broke */
  LEAT_TLS,               /* the server's certificate or the encryption failed */
  LEAT_TIMEOUT,           /* the timeout, or the queue timeout, has passed */
  LEAT_PROTOCOL,          /* the response is malformed, or not one of this API */
  LEAT_TOO_LARGE,         /* a response or a request exceeds a limit */
  LEAT_REDIRECT,          /* the server redirects; redirects are never followed */
  LEAT_CANCELED,          /* the caller canceled the call */
  LEAT_CONFIG,            /* a setting is wrong: base URL, CA file, proxy, ... */
  LEAT_LOCAL,             /* this machine ran out of a resource (descriptors, ...) */
  LEAT_NO_MEMORY,         /* memory ran out */
  LEAT_MISUSE,            /* the program called this library wrongly: a bug to fix */
  LEAT_KINDS              /* the number of kinds */
} leat_kind;

/* Whether the server may have received the request: MAYBE from the first attempt to write
** a byte on. */
typedef enum leat_sent {
  LEAT_SENT_NO = 0, /* it was never sent */
  LEAT_SENT_MAYBE   /* it may have been received */
} leat_sent;

/* What went wrong, with everything that a program can branch on. */
typedef struct leat_error {
  leat_kind kind;       /* for programs to branch on */
  int code;             /* the API's error code; 0 if it gave none */
  int status;           /* the last exchange's HTTP status; 0 if it had no response */
  int attempts;         /* all HTTP exchanges begun, not only those max_attempts counts */
  leat_sent sent;       /* the last exchange's; MAYBE if a change may be applied */
  bool outcome_unknown; /* the change may have been made: find the card, then decide */
  int64_t retry_after_ms; /* how long to wait before trying again; -1 if unknown */
  char operation[48];     /* "contact_identifiers.find", or "" */
  char message[368];      /* what happened and what to do: one line without secrets */
} leat_error;

/* Returns the name of a kind, such as "not_found" for LEAT_NOT_FOUND. Never freed. */
LEAT_API const char *leat_kind_name(leat_kind kind);

/* Writes the whole error as one line to `text`, truncated to `size`, and returns `text`:
** leat: contact_identifiers.find: not_found (60003, HTTP 400): Contact identifier... */
LEAT_API const char *leat_error_text(const leat_error *error, char *text, size_t size);

/* ---- clients --------------------------------------------------------------------- */

/* The library has no clock and no randomness: the caller supplies both, anew each time. */
typedef struct leat_moment {
  int64_t monotonic_ms; /* a clock with any origin that never goes back */
  int64_t unix_s;       /* the wall clock, for dates in Retry-After */
  uint64_t random;      /* fresh random bits */
} leat_moment;

/* The settings, token and limits that calls share. */
typedef struct leat_client leat_client;

/* What is recorded of each HTTP exchange, for leat_observe.h. */
typedef enum leat_observe {
  LEAT_OBSERVE_NOTHING = 0, /* no exchange is recorded */
  LEAT_OBSERVE_ATTEMPTS,    /* everything but card values */
  LEAT_OBSERVE_VALUES       /* card values too; they may be personal data */
} leat_observe;

/* The settings of a client. Zero or NULL means the default, which a comment states first.
** Durations may be up to a day; any other value out of range is LEAT_CONFIG. Exactly one
** credential is needed: api_key, access_token, client_id with client_secret, or
** token_from_caller. */
typedef struct leat_config {
  const char *api_key;       /* none: the API key, sent as the token */
  const char *access_token;  /* none: an OAuth access token */
  const char *client_id;     /* none: with these credentials tokens are fetched */
  const char *client_secret; /* none: the secret of client_id, sent to token_url only */
  bool token_from_caller; /* false: if true, the driver asks for leat_client_set_token */
  const char *token_url;  /* LEAT_TOKEN_PATH on base_url's origin: fetches tokens */
  const char *base_url;   /* LEAT_BASE_URL: an https URL with its path */
  const char *user_agent; /* "leat/" LEAT_VERSION: the header User-Agent */
  bool allow_http; /* false: if true, cleartext HTTP to other machines is permitted */
  /* 30000: for a whole call, from its first exchange on, without its time in queues: with a
  ** queue_timeout_ms a call takes at most the sum of both, and the time that the program
  ** takes to supply a token. One exchange may use all of it, and then nothing is retried; a
  ** change that may be retried or verified uses half of what is left. */
  int timeout_ms;
  int connect_timeout_ms; /* 5000: for DNS, TCP and TLS of one connection */
  size_t max_body;        /* 1 MiB: a larger response body is LEAT_TOO_LARGE */
  /* none: added to every request, 16 at most; none that the library writes itself. */
  const leat_header *headers;
  size_t header_count; /* 0: the number of headers */
  /* 3: how often an operation is sent at most, up to 100; finds to verify it, token
  ** requests and requests whose token was refused do not count, unlike in
  ** leat_error.attempts. With 1 it is not retried, and does not wait for a pause. With
  ** LEAT_UNLIMITED it is retried until its timeout, which then includes the pauses after
  ** its first exchange. */
  int max_attempts;
  /* 100: a token bucket that all calls of the client share, so that a service that is
  ** down does not receive a multiple of its usual load. A retry, or verifying one
  ** attempt, takes 5, or 10 after a timeout, and none after a pause. A call that succeeds
  ** returns what its retries took, or 1 if it needed none. When too little is left, calls
  ** fail instead of retrying. */
  int retry_budget;
  /* 500: the limit of the first backoff. The delay before a retry is random (full jitter),
  ** up to a limit that doubles with each further retry, up to retry_cap_ms. */
  int retry_base_ms;
  int retry_cap_ms; /* 20000: the largest limit of a backoff */
  /* 0, no limit: how long a call may wait in queues altogether, for a connection, a token,
  ** the rate limiter, or the end of a pause. It comes on top of timeout_ms. */
  int queue_timeout_ms;
  int rate_per_minute;  /* 0, no limit: requests per minute, evenly spaced */
  leat_observe observe; /* LEAT_OBSERVE_NOTHING: what is recorded of exchanges */
  bool shared; /* false: if true, processes share token and rate: leat_driver.h */
  bool slots_from_caller; /* false: if true, they share only the rate */
} leat_config;

/* Creates a client, without I/O. Returns NULL on failure and sets `error` (which may be
** NULL) to LEAT_CONFIG or LEAT_NO_MEMORY. */
LEAT_API leat_client *leat_client_new(const leat_config *config, leat_error *error);
/* Frees a client. Its copies of the tokens are wiped when its last call is freed. */
LEAT_API void leat_client_free(leat_client *client);
/* Supplies the token of a client with token_from_caller, when the driver asks for it or at
** any other time; copies it. The token is renewed shortly before `lifetime_s` is over;
** with 0, when the service refuses it. Returns false if it is not a valid token, or if
** memory runs out. */
LEAT_API bool leat_client_set_token(leat_client *client, leat_moment now,
                                    leat_string token, int lifetime_s);

/* ---- calls ----------------------------------------------------------------------- */

/* An operation, such as "find"; leat_driver.h describes the struct. */
typedef struct leat_op leat_op;

/* Returns the row of an operation; NULL if there is none. Never freed. */
LEAT_API const leat_op *leat_operation(const char *resource, const char *name);

/* One use of an operation, from its start to its result or error. */
typedef struct leat_call leat_call;

/* Creates a call. A client or `op` of NULL is misuse. Returns NULL if memory runs out. */
LEAT_API leat_call *leat_call_new(leat_client *client, const leat_op *op);
/* Frees a call. One that a driver works on continues, and may still make its change,
** unless it is canceled in the driver first. */
LEAT_API void leat_call_free(leat_call *call);

/* Sets a parameter by the service's name for it; copies the value. It is misuse if the
** operation has no such parameter, or one of another type, and if a string is empty,
** contains a NUL or is not UTF-8. A parameter that is never set is not sent. Setters have
** no effect once the call was started. */
LEAT_API void leat_call_set(leat_call *call, const char *name, leat_string value);
/* Sets a parameter that is a boolean. */
LEAT_API void leat_call_set_bool(leat_call *call, const char *name, bool value);

/* Checks the parameters now, rather than when the call is started: it is misuse if a
** required one is missing, or if an update sets neither a name nor an active state.
** leat_call_error has the result. */
LEAT_API void leat_call_check(leat_call *call);

/* Creates a call to any other endpoint of the API. `path` begins with a slash and is
** appended to the base URL's path. leat_call_data then returns the response's "data", or
** the whole response if it has none. If it is neither a GET nor a HEAD, it is not retried
** when its response is lost. Returns NULL if memory runs out. */
LEAT_API leat_call *leat_call_new_request(leat_client *client, const char *method,
                                          const char *path);
/* Adds a parameter to the query of a call of leat_call_new_request; copies it. This and
** leat_call_set_body are misuse for other calls. */
LEAT_API void leat_call_add_query(leat_call *call, const char *name, leat_string value);
/* Sets the body of a call of leat_call_new_request; copies it. It is JSON unless a
** Content-Type header says otherwise. */
LEAT_API void leat_call_set_body(leat_call *call, leat_string body);
/* Adds a header to the call's requests, 16 at most, and to those of the finds that verify
** it, but not to token requests; copies it. It is misuse to add one that the library
** writes itself; only calls of leat_call_new_request may have a Content-Type. */
LEAT_API void leat_call_add_header(leat_call *call, const char *name, leat_string value);

/* For unlink, update and delete only (misuse for others): requires that the card belongs
** to that contact, or to none if data is NULL (leat_s(NULL)). Each time before the change
** is sent, the card is found and its owner compared. If the owner differs, nothing is
** sent, and the call ends with LEAT_CONFLICT. */
LEAT_API void leat_call_expect(leat_call *call, leat_string contact_uuid);

/* Declares that the same change may have been applied before, by an attempt whose result
** is not known: for example, the process that sent it died. Create, link, unlink and
** delete then find the card before they are first sent, also if max_attempts is 1. If it
** is as requested, the call succeeds, and is `recovered`; if two finds show that the
** change was not applied, it is sent; otherwise nothing is sent, and the call ends with
** LEAT_CONFLICT or with the find's error. An error that the earlier attempt would
** explain, such as LEAT_ALREADY_EXISTS of create, is verified likewise. Set
** leat_call_expect to the card's owner as of before that attempt, so that unlink and
** delete spare the card of another one. An update, or a call of leat_call_new_request, is
** not verified. Errors of all of them have outcome_unknown, unless they prove that the
** change was never applied. No effect on calls that change nothing. */
LEAT_API void leat_call_set_maybe_applied(leat_call *call);

/* Overrides the client's timeout_ms for this call; values out of range are misuse. */
LEAT_API void leat_call_set_timeout_ms(leat_call *call, int ms);
/* Overrides the client's connect_timeout_ms for this call. */
LEAT_API void leat_call_set_connect_timeout_ms(leat_call *call, int ms);
/* Overrides the client's queue_timeout_ms for this call. */
LEAT_API void leat_call_set_queue_timeout_ms(leat_call *call, int ms);
/* Overrides the client's max_attempts for this call. */
LEAT_API void leat_call_set_max_attempts(leat_call *call, int attempts);

/* Returns the call's client, which is kept as long as the call. */
LEAT_API leat_client *leat_call_client(const leat_call *call);
/* Returns the call's contact_identifier_value; data NULL if it was not set, or if the
** operation has none. Borrowed until the call is freed. */
LEAT_API leat_string leat_call_value(const leat_call *call);
/* Keeps a pointer of the caller's own, by which to recognize a call. */
LEAT_API void leat_call_set_user(leat_call *call, void *user);
/* Returns the pointer that leat_call_set_user kept; NULL if there is none. */
LEAT_API void *leat_call_user(const leat_call *call);

/* Returns whether the call has its result, which is borrowed until the call is freed.
** Before that, only an error that its setters or leat_call_check recorded is meaningful. */
LEAT_API bool leat_call_is_done(const leat_call *call);
/* Returns the error, whose kind is LEAT_OK if there is none; never NULL. */
LEAT_API const leat_error *leat_call_error(const leat_call *call);
/* Returns the response's "data"; NULL if there is none. */
LEAT_API const leat_json *leat_call_data(const leat_call *call);
/* Returns the response's "meta"; NULL if there is none. */
LEAT_API const leat_json *leat_call_meta(const leat_call *call);

/* What is known about a call besides its result. */
typedef struct leat_info {
  int status;         /* the last exchange's; 0 if it had no response */
  int attempts;       /* HTTP exchanges begun */
  bool recovered;     /* the response was lost, but the state is as requested */
  int rate_limit;     /* requests that the service allows; -1 if it did not say */
  int rate_remaining; /* how many of them remain; -1 if it did not say */
} leat_info;

/* Returns information about a call that succeeded or failed. */
LEAT_API leat_info leat_call_info(const leat_call *call);

/* A message of the service's validation. Both strings are NUL-terminated. */
typedef struct leat_field {
  leat_string name;    /* the parameter that was refused; "" if the message names none */
  leat_string message; /* the service's, for people */
} leat_field;

/* Fills `field` with the message at `index`, from 0. Returns false after the last one. */
LEAT_API bool leat_call_field(const leat_call *call, size_t index, leat_field *field);

/* The typed view of a contact identifier. Strings are NUL-terminated; those that the
** service omitted, or sent as null, have data NULL. */
typedef struct leat_contact_identifier {
  leat_string value;         /* what identifies the card */
  leat_string name;          /* what people call it; by default, the value */
  int active;                /* 1 or 0; -1 if unknown */
  leat_string contact_uuid;  /* the contact that it is linked to */
  leat_string contact_email; /* the contact's e-mail address */
} leat_contact_identifier;

/* Fills `card` with the call's result. Returns false and clears `card` if the result is
** not a contact identifier. Borrowed until the call is freed. */
LEAT_API bool leat_call_contact_identifier(const leat_call *call,
                                           leat_contact_identifier *card);
/* Fills `card` with the card that contradicts the request, if the call found one and
** ended with LEAT_CONFLICT. Otherwise returns false and clears `card`. */
LEAT_API bool leat_call_conflicting(const leat_call *call, leat_contact_identifier *card);
/* Returns that card as JSON; NULL if there is none. */
LEAT_API const leat_json *leat_call_conflicting_data(const leat_call *call);
/* Fills `card` from a JSON value, such as leat_json_at(leat_call_data(list), i). Returns
** false and clears `card` if the value is not a contact identifier. */
LEAT_API bool leat_json_contact_identifier(const leat_json *value,
                                           leat_contact_identifier *card);

#ifdef __cplusplus
}
#endif
#endif
