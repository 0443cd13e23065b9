/*
** leat.h - contact identifiers of the Leat loyalty service (formerly Piggy).
**
** A *contact identifier* is a loyalty card, or any other unique value that identifies a
** customer. This library finds, creates, links, unlinks, updates and deletes them.
**
** A call is a state machine without I/O. leat_call_next returns the next step; a *driver*
** performs it and reports the result. leat_curl.h is a driver based on libcurl:
**
**   leat_error   error;
**   leat_client *client = leat_client_new(&(leat_config){ .api_key = key }, &error);
**   leat_curl   *curl   = leat_curl_new(NULL, &error);
**   leat_call   *call   = leat_call_new(client,
**                                       leat_operation("contact_identifiers", "find"));
**   leat_call_set(call, "contact_identifier_value", leat_s("ABCDE12356-90"));
**   leat_curl_perform(curl, call);
**   leat_contact_identifier card;
**   if (leat_call_contact_identifier(call, &card))
**     printf("%.*s\n", (int)card.value.length, card.value.data);
**   else
**     fprintf(stderr, "%s\n", leat_error_text(leat_call_error(call), text, sizeof text));
**   leat_call_free(call);  leat_curl_free(curl);  leat_client_free(client);
**
** Conventions
**   Ownership  leat_x_new creates an object, leat_x_free frees it; freeing NULL does
**              nothing. The library copies the strings it is given. The strings and
**              values it returns are borrowed; each declaration states for how long.
**   Errors     are sticky: after the first error the setters of a call do nothing, and
**              leat_call_next returns LEAT_DONE. A NULL call means out of memory; every
**              function that takes a call accepts it.
**   Text       is UTF-8 without NUL, as bytes and a length (leat_string).
**   Time       is in milliseconds where a name ends in _ms, in microseconds where it
**              ends in _us, and in seconds where it ends in _s.
**   Threads    A client, its calls and their driver belong to one thread.
**   Free order Any. A client is kept until its last call is freed. A call that a driver
**              works on is kept until it is done, and is then dropped silently.
*/
#ifndef LEAT_H
#define LEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LEAT_VERSION    "0.1.0"
#define LEAT_BASE_URL   "https://api.piggy.eu/api/v3/oauth/clients"
#define LEAT_TOKEN_PATH "/oauth/token" /* on the origin of the base URL */

enum { LEAT_UNLIMITED = -1 }; /* for max_attempts and retry_budget */

#if defined(__GNUC__)
#define LEAT_API __attribute__((visibility("default")))
#else
#define LEAT_API
#endif

/* ---- strings --------------------------------------------------------------------- */

typedef struct leat_string {
  const char *data; /* not NUL-terminated unless the declaration says so */
  size_t length;
} leat_string;

/* Returns a C string as a leat_string that borrows `text`. NULL gives an empty string. */
LEAT_API leat_string leat_s(const char *text);

/* Returns whether two values name the same contact identifier. The service trims values
** and ignores their case, so blanks at either end and the case of ASCII letters make no
** difference. Returns false if either string has data NULL. */
LEAT_API bool leat_same_value(leat_string a, leat_string b);

/* ---- errors ---------------------------------------------------------------------- */

/* The kinds of errors, for programs to branch on. Messages are for people, and may
** change. */
typedef enum leat_kind {
  LEAT_OK = 0,
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
  LEAT_API_ERROR,         /* "api": an error code that this library does not know */
  LEAT_CONFLICT,          /* the state of the card contradicts the request */
  LEAT_CONNECTION,        /* connecting failed, or the connection broke */
  LEAT_TLS,               /* the server's certificate or the encryption failed */
  LEAT_TIMEOUT,           /* no response in time */
  LEAT_PROTOCOL,          /* the response is malformed, or not one of this API */
  LEAT_TOO_LARGE,         /* a response or a request exceeds a limit */
  LEAT_REDIRECT,          /* the server redirects; redirects are never followed */
  LEAT_CANCELED,          /* the caller canceled the call */
  LEAT_CONFIG,            /* a setting is wrong: base URL, CA file, proxy, ... */
  LEAT_LOCAL,             /* this machine ran out of a resource (descriptors, ...) */
  LEAT_NO_MEMORY,
  LEAT_MISUSE, /* the program called this library wrongly: a bug to fix */
  LEAT_KINDS   /* the number of kinds */
} leat_kind;

/* Whether the server may have received the request: NO until the first attempt to write
** a byte of it, MAYBE from then on. */
typedef enum leat_sent { LEAT_SENT_NO = 0, LEAT_SENT_MAYBE } leat_sent;

typedef struct leat_error {
  leat_kind kind;
  int code;             /* the API's error code; 0 if it gave none */
  int status;           /* the HTTP status; 0 if no response was received */
  int attempts;         /* HTTP exchanges begun */
  leat_sent sent;       /* the last exchange's; MAYBE if an earlier one may be applied */
  bool outcome_unknown; /* the change may have been made: find the card, then decide */
  int64_t retry_after_ms; /* how long the service asked to wait; -1 if it did not */
  char operation[48];     /* "contact_identifiers.find", or "" */
  char message[368];      /* what happened and what to do: one line without secrets */
} leat_error;

/* Returns the name of a kind, such as "not_found" for LEAT_NOT_FOUND. Never freed. */
LEAT_API const char *leat_kind_name(leat_kind kind);

/* Writes the whole error as one line to `text`, truncated to `size`, and returns `text`:
** leat: contact_identifiers.find: not_found (60003, HTTP 400): Contact identifier... */
LEAT_API const char *leat_error_text(const leat_error *error, char *text, size_t size);

/* ---- JSON values: responses of the service, decoded strictly --------------------- */

typedef struct leat_json leat_json; /* borrowed from the call that holds it */

typedef enum leat_type {
  LEAT_ABSENT = 0, /* the type of a NULL pointer */
  LEAT_NULL,
  LEAT_BOOLEAN,
  LEAT_INTEGER,
  LEAT_REAL,
  LEAT_STRING,
  LEAT_ARRAY,
  LEAT_OBJECT
} leat_type;

typedef struct leat_member { /* a member of an object; initialize with { 0 } */
  leat_string name;
  const leat_json *value;
  void *position; /* private to the library */
} leat_member;

LEAT_API leat_type leat_json_type(const leat_json *value);
LEAT_API bool leat_json_boolean(const leat_json *value);    /* other types: false */
LEAT_API int64_t leat_json_integer(const leat_json *value); /* other types: 0 */
LEAT_API double leat_json_real(const leat_json *value);     /* other types: 0 */
/* Returns the text of a number that fits neither an int64_t nor a double, such as 1e400.
** The type of such a number is LEAT_REAL, and its real value is the nearest double or an
** infinity. For anything else, data is NULL. */
LEAT_API leat_string leat_json_digits(const leat_json *value);
/* Returns a string, NUL-terminated and without a NUL in it. Other types: data NULL. */
LEAT_API leat_string leat_json_string(const leat_json *value);
/* Returns the number of items of an array, or of members of an object; otherwise 0. */
LEAT_API size_t leat_json_size(const leat_json *value);
/* Returns the item at `index`, counted from 0; NULL if there is none. */
LEAT_API const leat_json *leat_json_at(const leat_json *array, size_t index);
/* Returns the member with that name, the last one if the name is repeated; NULL if there
** is none. */
LEAT_API const leat_json *leat_json_get(const leat_json *object, const char *name);
/* Advances `member` to the next member, in the order of the response. Returns false after
** the last one. */
LEAT_API bool leat_json_next(const leat_json *object, leat_member *member);

/* ---- operations: a table with a row for each ------------------------------------- */

typedef struct leat_parameter {
  const char *name;  /* the service's name: "contact_identifier_value" */
  const char *alias; /* a short name: "value" */
  leat_type type;    /* LEAT_STRING or LEAT_BOOLEAN */
  bool required;
  bool in_path; /* replaces {name} in the path; in Lua it is always an option */
} leat_parameter;

enum { LEAT_IN_QUERY = 1, LEAT_IN_BODY = 2 }; /* leat_op.places: one of them, or both */

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

typedef struct leat_op {
  const char *resource; /* "contact_identifiers" */
  const char *name;     /* "find" */
  const char *method;   /* "GET" */
  const char *path;     /* appended to the base URL's path; {name} marks a parameter */
  int places;           /* where the other parameters go: LEAT_IN_QUERY, LEAT_IN_BODY */
  bool writes;          /* it changes data */
  leat_result result;
  const leat_parameter *parameters; /* required ones first */
  size_t parameter_count;
  leat_recovery recovery;
  bool takes_expect; /* leat_call_expect may be used */
} leat_op;

/* Returns the row of an operation; NULL if there is none. Never freed. */
LEAT_API const leat_op *leat_operation(const char *resource, const char *name);
/* Returns the row at `index`, counted from 0; NULL after the last one. */
LEAT_API const leat_op *leat_operation_at(size_t index);

/* ---- time ------------------------------------------------------------------------ */

/* The library has no clock and no source of randomness: the caller supplies both. */
typedef struct leat_moment {
  int64_t monotonic_ms; /* a clock with any origin that never goes back */
  int64_t unix_s;       /* the wall clock */
  uint64_t random;      /* fresh random bits */
} leat_moment;

/* ---- clients --------------------------------------------------------------------- */

typedef struct leat_header {
  leat_string name;
  leat_string value;
} leat_header;

typedef struct leat_client leat_client;

/* What a client records of each HTTP exchange, for leat_client_attempt to return. */
typedef enum leat_observe {
  LEAT_OBSERVE_NOTHING = 0,
  LEAT_OBSERVE_ATTEMPTS, /* everything but card values */
  LEAT_OBSERVE_VALUES    /* card values too; they may be personal data */
} leat_observe;

/* The settings of a client. Zero or NULL means the default, which a comment states first.
** Durations may be up to a day. */
typedef struct leat_config {
  /* Exactly one of these four is needed: api_key, access_token, client_id with its
  ** client_secret, or token_from_caller. */
  const char *api_key;       /* the API key, sent as the token */
  const char *access_token;  /* an OAuth access token */
  const char *client_id;     /* tokens are fetched with these credentials, and renewed */
  bool token_from_caller;    /* LEAT_TOKEN requests them: leat_client_set_token */
  const char *client_secret; /* belongs to client_id */
  /* LEAT_TOKEN_PATH on the origin of base_url: where tokens are fetched. By default the
  ** client_secret is therefore sent to that origin only. */
  const char *token_url;
  const char *base_url;   /* LEAT_BASE_URL: an https URL with its path */
  const char *user_agent; /* "leat/" LEAT_VERSION */
  bool allow_http;        /* permit cleartext HTTP to hosts other than this machine */
  int timeout_ms;         /* 30000: for a whole call, from its first exchange on */
  int connect_timeout_ms; /* 5000: for DNS, TCP and TLS of one connection */
  size_t max_body;        /* 1 MiB: a larger response body is LEAT_TOO_LARGE */
  /* Headers to add to every request, 16 at most. Headers that the library writes itself
  ** are refused. */
  const leat_header *headers;
  size_t header_count;
  /* 3: how often an operation is sent at most, up to 100. With 1 it is not retried, and
  ** does not wait for the end of a pause. With LEAT_UNLIMITED it is retried until its
  ** timeout, which then includes the pauses after its first exchange. */
  int max_attempts;
  /* 100, or LEAT_UNLIMITED for no budget. All calls of the client share the budget, so
  ** that a service that is down does not receive a multiple of its usual load. A retry
  ** takes 5 of it, or 10 after a timeout; waiting for the end of a pause takes nothing. A
  ** call that succeeds returns what its retries took, or 1 if it needed none. When too
  ** little is left, calls fail instead of retrying. */
  int retry_budget;
  /* The delay before a retry is random (full jitter). Its upper limit is retry_base_ms
  ** before the first retry and doubles with each further one, up to retry_cap_ms. */
  int retry_base_ms; /* 500 */
  int retry_cap_ms;  /* 20000 */
  /* 0, no limit: how long a call may wait in queues, for a connection, a token, the rate
  ** limiter, or the end of a pause. */
  int queue_timeout_ms;
  int rate_per_minute;  /* 0, no limit: how many requests the client sends per minute */
  leat_observe observe; /* what leat_client_attempt returns */
  bool shared; /* token and rate are shared with other processes: see LEAT_SLOT */
} leat_config;

/* Creates a client, without I/O. Returns NULL on failure and sets `error` (which may be
** NULL) to LEAT_CONFIG or LEAT_NO_MEMORY. */
LEAT_API leat_client *leat_client_new(const leat_config *config, leat_error *error);
/* Frees a client. Its copies of the tokens are wiped when its last call is freed. */
LEAT_API void leat_client_free(leat_client *client);
/* Supplies the token that LEAT_TOKEN requested; copies it. The token is renewed shortly
** before `lifetime_s` is over; with 0, when the service refuses it. Returns false if it
** is not a valid token, or if memory runs out. */
LEAT_API bool leat_client_set_token(leat_client *client, leat_moment now,
                                    leat_string token, int lifetime_s);
/* Returns the client's token, for a store that processes share, and sets `until_ms` to
** the time when it is to be renewed, on the clock of leat_moment.monotonic_ms. Data is
** NULL if it has no valid token. Borrowed until the next call into the library. */
LEAT_API leat_string leat_client_token(const leat_client *client, leat_moment now,
                                       int64_t *until_ms);
/* Gives the client a token that another process obtained; copies it. Returns false if it
** is not a valid token, has expired, or equals the token to be renewed, or if memory runs
** out. */
LEAT_API bool leat_client_share_token(leat_client *client, leat_moment now,
                                      leat_string token, int64_t until_ms);
/* Returns the interval between two slots of the client's rate, in microseconds; 0 if the
** client has no rate limit. */
LEAT_API int64_t leat_client_slot_length_us(const leat_client *client);
/* A pause: the service asked the client to wait, with a 429 or a 503. The client's calls
** are queued until it ends, as long as queue_timeout allows. Calls with one attempt do
** not wait: they fail at once if the service said how long to wait (`asked`), and are
** sent if it did not. If the service asked to wait for more than a minute (`too_long`),
** every call fails at once, unsent, with the pause's kind and the remaining time as
** retry_after. A pause lasts 15 minutes at most. After one that was too long a single
** call is sent as a probe, and the others wait for its result. */
typedef struct leat_pause {
  int64_t until_ms; /* its end, on the clock of leat_moment.monotonic_ms */
  leat_kind kind;   /* LEAT_RATE_LIMITED or LEAT_MAINTENANCE */
  bool asked;       /* the response was a 429, or had a Retry-After */
  bool too_long;    /* calls do not wait for its end */
} leat_pause;

/* Returns whether the client is in a pause now. Fills `pause` in any case. */
LEAT_API bool leat_client_pause(const leat_client *client, leat_moment now,
                                leat_pause *pause);
/* Informs the client of a pause that the service requested from another process. */
LEAT_API void leat_client_share_pause(leat_client *client, leat_moment now,
                                      const leat_pause *pause);
/* Reports the rate limit that the service last stated: the number of requests that it
** allows, and how many of them remain. Each is -1 if unknown. */
LEAT_API void leat_client_rate(const leat_client *client, int *limit, int *remaining);
/* Copies text of the service to `out`, made safe for one line of a message: invisible and
** control characters become spaces, and every piece of the client's token is masked.
** Truncates to `size`. Returns `out`. */
LEAT_API const char *leat_client_clean(const leat_client *client, leat_string text,
                                       char *out, size_t size);
/* Returns a number that changes whenever calls that wait may be able to continue, so that
** leat_call_next should be called for them again. */
LEAT_API uint64_t leat_client_epoch(const leat_client *client);

/* The purpose of an exchange. */
typedef enum leat_purpose {
  LEAT_TO_CALL = 0, /* the operation itself */
  LEAT_TO_VERIFY,   /* a find, to verify the outcome of a change or the card's owner */
  LEAT_TO_GET_TOKEN
} leat_purpose;

/* The result of one exchange. It contains no token. */
typedef struct leat_attempt {
  char operation[48];   /* the call's: "contact_identifiers.create" */
  leat_purpose purpose; /* this exchange's */
  int attempt;          /* 1 for the call's first exchange, 2 for its second, ... */
  leat_kind kind;       /* LEAT_OK if it succeeded */
  int code, status;     /* as in leat_error */
  leat_sent sent;
  bool reused;     /* it used an existing connection; false if the driver does not say */
  int64_t ms;      /* its duration, connecting included */
  int64_t wait_ms; /* until the next exchange, as far as known; -1 if none follows */
  leat_string value; /* the card's, NUL-terminated; data NULL unless observed */
  void *user;        /* leat_call_user of the call */
} leat_attempt;

/* Removes the oldest recorded exchange of any call of the client and copies it to
** `attempt`. Returns false if there is none. `value` is borrowed until the next call of
** this function. The client keeps the latest 1024 exchanges; when memory runs out, some
** are not recorded. */
LEAT_API bool leat_client_attempt(leat_client *client, leat_attempt *attempt);

/* ---- calls ----------------------------------------------------------------------- */

typedef struct leat_call leat_call;

/* Creates a call. A client or `op` of NULL is misuse. Returns NULL if memory runs out. */
LEAT_API leat_call *leat_call_new(leat_client *client, const leat_op *op);
LEAT_API void leat_call_free(leat_call *call);

/* Set a parameter by the service's name for it; copies the value. It is misuse if the
** operation has no such parameter, or one of another type, and if a string is empty,
** contains a NUL or is not UTF-8. A parameter that is never set is not sent. These
** functions have no effect after the first leat_call_next. */
LEAT_API void leat_call_set(leat_call *call, const char *name, leat_string value);
LEAT_API void leat_call_set_bool(leat_call *call, const char *name, bool value);

/* Checks the parameters now, rather than in the first leat_call_next: it is misuse if a
** required one is missing, or if an update sets neither a name nor an active state. */
LEAT_API void leat_call_check(leat_call *call);

/* Creates a call to any other endpoint of the API. `path` begins with a slash and is
** appended to the base URL's path. leat_call_data then returns the response's "data", or
** the whole response if it has none. */
LEAT_API leat_call *leat_call_new_request(leat_client *client, const char *method,
                                          const char *path);
/* For calls of leat_call_new_request only; each copies its arguments. A body is JSON
** unless a Content-Type header says otherwise. */
LEAT_API void leat_call_add_query(leat_call *call, const char *name, leat_string value);
LEAT_API void leat_call_set_body(leat_call *call, leat_string body);
LEAT_API void leat_call_add_header(leat_call *call, const char *name, leat_string value);

/* For unlink, update and delete only: requires that the card belongs to that contact, or
** to none if data is NULL. Each time before the change is sent, the card is found and its
** owner compared. If the owner differs, nothing is sent, and the call ends with
** LEAT_CONFLICT. */
LEAT_API void leat_call_expect(leat_call *call, leat_string contact_uuid);

/* Override the client's settings for this call. */
LEAT_API void leat_call_set_timeout_ms(leat_call *call, int ms);
LEAT_API void leat_call_set_connect_timeout_ms(leat_call *call, int ms);
LEAT_API void leat_call_set_max_attempts(leat_call *call, int attempts);

/* Returns the operation that the call was created with; NULL if there was none. */
LEAT_API const leat_op *leat_call_op(const leat_call *call);

/* Returns the call's client, which is kept as long as the call. */
LEAT_API leat_client *leat_call_client(const leat_call *call);

/* A pointer of the caller's own, by which to recognize a call. */
LEAT_API void leat_call_set_user(leat_call *call, void *user);
LEAT_API void *leat_call_user(const leat_call *call);

/* The results, borrowed until the call is freed. */
LEAT_API bool leat_call_is_done(const leat_call *call);
LEAT_API const leat_error *leat_call_error(const leat_call *call); /* never NULL */
LEAT_API const leat_json *leat_call_data(const leat_call *call);   /* NULL if none */
LEAT_API const leat_json *leat_call_meta(const leat_call *call);   /* NULL if none */

typedef struct leat_info {
  int status;         /* the last response's; 0 if none was received */
  int attempts;       /* HTTP exchanges begun */
  bool recovered;     /* the response was lost, but the state is as requested */
  int rate_limit;     /* requests that the service allows; -1 if it did not say */
  int rate_remaining; /* how many of them remain; -1 if it did not say */
} leat_info;

/* Returns information about a call that is done, whether it succeeded or failed. */
LEAT_API leat_info leat_call_info(const leat_call *call);

/* A message of the service's validation. Both strings are NUL-terminated. */
typedef struct leat_field {
  leat_string name; /* the parameter that was refused; "" if the message names none */
  leat_string message;
} leat_field;

/* Fills `field` with the validation message at `index`, counted from 0. Returns false
** after the last one. */
LEAT_API bool leat_call_field(const leat_call *call, size_t index, leat_field *field);

/* The typed view of a contact identifier. Strings are NUL-terminated; those that the
** service omitted, or sent as null, have data NULL. */
typedef struct leat_contact_identifier {
  leat_string value;
  leat_string name;
  int active; /* 1 or 0; -1 if unknown */
  leat_string contact_uuid;
  leat_string contact_email;
} leat_contact_identifier;

/* Fills `card` with the call's result. Returns false and clears `card` if the result is
** not a contact identifier. Borrowed until the call is freed. */
LEAT_API bool leat_call_contact_identifier(const leat_call *call,
                                           leat_contact_identifier *card);
/* Fills `card` with the card that contradicts the request, if the call found one and
** ended with LEAT_CONFLICT. Otherwise returns false and clears `card`. */
LEAT_API bool leat_call_conflicting(const leat_call *call, leat_contact_identifier *card);
/* Returns the same card as the service sent it; NULL if there is none. */
LEAT_API const leat_json *leat_call_conflicting_data(const leat_call *call);
/* Fills `card` from a JSON value, such as leat_json_at(leat_call_data(list), i). Returns
** false and clears `card` if the value is not a contact identifier. */
LEAT_API bool leat_json_contact_identifier(const leat_json *value,
                                           leat_contact_identifier *card);

/* ---- the contract between a call and its driver ---------------------------------- */
/*
** A driver calls leat_call_next until it returns LEAT_DONE, and acts on each step:
**
**   LEAT_SEND   Perform the HTTP exchange that leat_call_request describes. Then report
**               its result: leat_call_respond with the response, or leat_call_fail with
**               the kind of failure and whether the request may have been sent. An
**               exchange may be any that the call needs, and may go to another origin; a
**               driver treats all of them alike.
**   LEAT_WAIT   Nothing to do until leat_call_until, or until the client's epoch changes.
**   LEAT_TOKEN  The client was created with token_from_caller and needs a token. Call
**               leat_client_set_token, then leat_call_next again; or leat_call_fail.
**   LEAT_DONE   The result is available.
**
** For a client that is `shared`, which needs a driver with a store, two steps differ:
**
**   LEAT_TOKEN  If the store has a token, pass it to leat_client_share_token. If not,
**               obtain one, by leat_call_fetch if the client has credentials, and store
**               it. While another process does so, call leat_call_await.
**   LEAT_SLOT   Reserve the next slot of the rate that no other process has reserved, and
**               pass it to leat_call_take_slot. The call can wait until leat_call_until.
**               Do not reserve a later slot, but pass it too: the call then fails with
**               a queue timeout.
**
** Time in queues does not count towards a call's timeout, which begins with its first
** LEAT_SEND. A driver therefore calls leat_call_next only when it is able to send.
** leat_call_fail at any step but LEAT_SEND ends the call with the given kind.
*/

typedef enum leat_step {
  LEAT_SEND,
  LEAT_WAIT,
  LEAT_TOKEN,
  LEAT_DONE,
  LEAT_SLOT
} leat_step;

typedef struct leat_request {
  leat_string method;
  leat_string origin; /* "https://api.piggy.eu", with the port if it is not the default */
  leat_string host;   /* the origin's, without brackets or port; NUL-terminated */
  int port;
  bool tls;
  leat_string target;         /* "/api/v3/...?..."; the URL is origin + target */
  const leat_header *headers; /* without Host and Content-Length, which the codec adds */
  size_t header_count;
  leat_string body;
  int64_t deadline_ms;    /* on the clock of leat_moment.monotonic_ms */
  int connect_timeout_ms; /* for one connection, within the deadline */
  size_t max_body;        /* the limit of the response's body */
} leat_request;

/* How the end of a response's body was found. LEAT_TO_CLOSE does not prove that the body
** is complete; the others do. */
typedef enum leat_framing {
  LEAT_NO_BODY, /* HEAD, 204, 304 */
  LEAT_LENGTH,  /* by Content-Length */
  LEAT_CHUNKED, /* by the last chunk */
  LEAT_TO_CLOSE /* by the end of the connection */
} leat_framing;

typedef struct leat_response {
  int status;
  const leat_header *headers;
  size_t header_count;
  leat_string body;
  leat_framing framing;
} leat_response;

/* Runs the call as far as it gets without I/O, and returns its next step. */
LEAT_API leat_step leat_call_next(leat_call *call, leat_moment now);
/* After LEAT_SEND: returns the request, with the current token; NULL at any other step.
** Call it right before sending. Borrowed until the result is reported or the call is
** freed; its headers only until the next call into the library. */
LEAT_API const leat_request *leat_call_request(leat_call *call);
/* Returns the purpose of the call's current exchange. At LEAT_TO_GET_TOKEN other calls
** may be waiting for the token. */
LEAT_API leat_purpose leat_call_purpose(const leat_call *call);
/* After LEAT_WAIT and LEAT_SLOT: returns the end of the wait, on the clock of
** leat_moment.monotonic_ms. */
LEAT_API int64_t leat_call_until(const leat_call *call);
/* After LEAT_TOKEN: makes the call fetch a token with the client's credentials. */
LEAT_API void leat_call_fetch(leat_call *call, leat_moment now);
/* After LEAT_TOKEN: makes the call wait until then, or until its client gets a token. */
LEAT_API void leat_call_await(leat_call *call, leat_moment now, int64_t until_ms);
/* After LEAT_SLOT: gives the call a slot, as a time in microseconds on the clock of
** leat_moment.monotonic_ms. */
LEAT_API void leat_call_take_slot(leat_call *call, int64_t slot_us);
/* Reports that the connection is established and the first byte is about to be sent. Time
** spent on connecting then does not count towards this exchange's share of the timeout.
** Returns the exchange's new deadline, which leat_call_request shows too. Optional. */
LEAT_API int64_t leat_call_connected(leat_call *call, leat_moment now);
/* Reports a response, which is borrowed for the duration of this call only. */
LEAT_API void leat_call_respond(leat_call *call, leat_moment now,
                                const leat_response *answer);
/* Reports that the current exchange uses a connection that was used before. */
LEAT_API void leat_call_set_reused(leat_call *call);
/* Reports that there is no response, and why. `detail` is a short line for people, and is
** copied. */
LEAT_API void leat_call_fail(leat_call *call, leat_moment now, leat_kind kind,
                             leat_sent sent, const char *detail);

/* Returns the value of the first header with that name, in any case; data NULL if there
** is none. Borrowed from the response. */
LEAT_API leat_string leat_response_header(const leat_response *answer, const char *name);

/* ---- the HTTP/1.1 codec, for authors of drivers ---------------------------------- */
/*
** Encodes requests and decodes responses, without I/O. A codec serves one connection, one
** exchange at a time:
**
**   state = leat_http1_begin(http, request);
**   while ((out = leat_http1_output(http)).length > 0) {
**     if ((n = send(socket, out.data, out.length, MSG_NOSIGNAL)) < 0) goto broken;
**     leat_http1_sent(http, (size_t)n);
**   }
**   while (state == LEAT_HTTP1_MORE && (space = leat_http1_space(http, &room)) != NULL) {
**     if ((n = recv(socket, space, room, 0)) < 0) goto broken;
**     state = n > 0 ? leat_http1_received(http, (size_t)n) : leat_http1_closed(http);
**   }
**
** It is strict: it refuses everything that two parsers could understand differently.
*/
typedef struct leat_http1 leat_http1;

typedef enum leat_http1_state {
  LEAT_HTTP1_MORE,     /* the response is incomplete */
  LEAT_HTTP1_RESPONSE, /* leat_http1_response returns it */
  LEAT_HTTP1_FAILED    /* leat_http1_failure returns the reason */
} leat_http1_state;

LEAT_API leat_http1 *leat_http1_new(void); /* NULL: out of memory */
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

#ifdef __cplusplus
}
#endif
#endif
