/*
** leat.h - contact identifiers of the Leat loyalty service (formerly Piggy).
**
** A *contact identifier* is a loyalty card, or anything unique that stands for a
** customer. This library finds, creates, links, unlinks, updates and deletes them.
**
** A call is a state machine without I/O. It says what it wants next; a *driver* does
** it and tells the call what came of it. leat_curl.h is such a driver, on libcurl:
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
**   Ownership  leat_x_new makes, leat_x_free frees and takes NULL. Strings given to the
**              library are copied. Strings and values that it hands out are borrowed:
**              each declaration says for how long.
**   Errors     stick to a call: after the first, everything is a no-op until LEAT_DONE.
**              A NULL call is one that memory ran out for; every function takes it.
**   Text       is bytes with a length (leat_string), UTF-8, without NUL.
**   Time       is in milliseconds where a name ends in _ms, in seconds where in _s.
**   Threads    a client, its calls and their driver belong to one thread.
**   Free order any. A client lives until its last call is freed; a call that a driver
**              works on lives until that is done, and then nobody hears of it.
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
  const char *data; /* not terminated by a NUL unless the declaration says so */
  size_t length;
} leat_string;

/* The string of a C string; NULL gives the empty string. Borrows `text`. */
LEAT_API leat_string leat_s(const char *text);

/* Whether two values name the same contact identifier. The service trims what it is given
** and ignores case, so blanks at the ends and the case of ASCII letters make no difference.
** A string whose data is NULL is the same as none. */
LEAT_API bool leat_same_value(leat_string a, leat_string b);

/* ---- errors ---------------------------------------------------------------------- */

/* What went wrong, to branch on. Messages are for people and may change. */
typedef enum leat_kind {
  LEAT_OK = 0,
  LEAT_NOT_FOUND,         /* no such contact identifier */
  LEAT_INACTIVE,          /* the contact identifier is not active */
  LEAT_ALREADY_EXISTS,    /* create: the value is taken */
  LEAT_ALREADY_LINKED,    /* link: it belongs to a contact already */
  LEAT_NOT_LINKED,        /* unlink: it belongs to no contact */
  LEAT_CONTACT_NOT_FOUND, /* no contact has this uuid */
  LEAT_INVALID_INPUT,     /* refused by validation: see leat_call_field */
  LEAT_UNAUTHORIZED,      /* the API key is wrong or has expired */
  LEAT_FORBIDDEN,         /* the API key may not do this */
  LEAT_QUOTA_REACHED,     /* the account's plan allows no more */
  LEAT_RATE_LIMITED,      /* too many calls for now */
  LEAT_MAINTENANCE,       /* the service is down for now (503) */
  LEAT_SERVER,            /* the service, or a gateway before it, failed (5xx) */
  LEAT_API_ERROR,         /* "api": an error code that this library does not know */
  LEAT_CONFLICT,          /* the state contradicts what was asked */
  LEAT_CONNECTION,        /* no connection, or it broke */
  LEAT_TLS,               /* the server's identity or the encryption failed */
  LEAT_TIMEOUT,           /* no answer in time */
  LEAT_PROTOCOL,          /* a response that is not what the API answers */
  LEAT_TOO_LARGE,         /* a response, or a request, beyond a limit */
  LEAT_REDIRECT,          /* a response that points elsewhere: never followed */
  LEAT_CANCELED,          /* given up by the caller */
  LEAT_CONFIG,            /* a setting is wrong: base URL, CA file, proxy, ... */
  LEAT_LOCAL,             /* this machine ran out of something (descriptors, ...) */
  LEAT_NO_MEMORY,
  LEAT_MISUSE, /* this library was called wrongly: mend the program */
  LEAT_KINDS   /* how many there are */
} leat_kind;

/* Whether the request left: from the first attempt to write a byte of it on, MAYBE. */
typedef enum leat_sent { LEAT_SENT_NO = 0, LEAT_SENT_MAYBE } leat_sent;

typedef struct leat_error {
  leat_kind kind;
  int code;               /* the API's number, 0 if it gave none */
  int status;             /* of HTTP, 0 if no response came */
  int attempts;           /* exchanges begun */
  leat_sent sent;         /* of the last exchange */
  bool outcome_unknown;   /* a change may or may not have happened: find, then decide */
  int64_t retry_after_ms; /* the service asked to wait so long; -1 if it did not */
  char operation[48];     /* "contact_identifiers.find", or "" */
  char message[368];      /* what happened and what to do; one line, no secrets */
} leat_error;

/* "not_found" for LEAT_NOT_FOUND and so on. Lives for ever. */
LEAT_API const char *leat_kind_name(leat_kind kind);

/* The whole error as one line, cut to `size`; returns `text`:
** leat: contact_identifiers.find: not_found (60003, HTTP 400): Contact identifier... */
LEAT_API const char *leat_error_text(const leat_error *error, char *text, size_t size);

/* ---- JSON values: what the service answered, decoded strictly -------------------- */

typedef struct leat_json leat_json; /* borrowed from the call that holds it */

typedef enum leat_type {
  LEAT_ABSENT = 0, /* the type of NULL */
  LEAT_NULL,
  LEAT_BOOLEAN,
  LEAT_INTEGER,
  LEAT_REAL,
  LEAT_STRING,
  LEAT_ARRAY,
  LEAT_OBJECT
} leat_type;

typedef struct leat_member { /* of an object; begin with { 0 } */
  leat_string name;
  const leat_json *value;
  void *position; /* the library's own */
} leat_member;

LEAT_API leat_type leat_json_type(const leat_json *value);
LEAT_API bool leat_json_boolean(const leat_json *value);    /* other types: false */
LEAT_API int64_t leat_json_integer(const leat_json *value); /* other types: 0 */
LEAT_API double leat_json_real(const leat_json *value);     /* other types: 0 */
/* The text of a number that fits neither an int64_t nor a double, such as 1e400; its type is
** LEAT_REAL, its real the nearest double or an infinity. Of anything else: data NULL. */
LEAT_API leat_string leat_json_digits(const leat_json *value);
/* Holds no NUL, and is terminated by one. Other types: data NULL. */
LEAT_API leat_string leat_json_string(const leat_json *value);
LEAT_API size_t leat_json_size(const leat_json *value); /* array, object; or 0 */
LEAT_API const leat_json *leat_json_at(const leat_json *array, size_t index);
/* Of a name that occurs more than once, the last one. */
LEAT_API const leat_json *leat_json_get(const leat_json *object, const char *name);
/* The next member, in the order of the response; false after the last. */
LEAT_API bool leat_json_next(const leat_json *object, leat_member *member);

/* ---- operations: one row each ---------------------------------------------------- */

typedef struct leat_parameter {
  const char *name;  /* as the service calls it: "contact_identifier_value" */
  const char *alias; /* as people call it: "value" */
  leat_type type;    /* LEAT_STRING or LEAT_BOOLEAN */
  bool required;
  bool in_path; /* stands in the path, for {name}; of Lua's options it is one */
} leat_parameter;

enum { LEAT_IN_QUERY = 1, LEAT_IN_BODY = 2 }; /* leat_op.places, or both */

typedef enum leat_result {
  LEAT_RESULT_CARD,    /* a contact identifier */
  LEAT_RESULT_NOTHING, /* done is done */
  LEAT_RESULT_CARDS,   /* an array of contact identifiers */
  LEAT_RESULT_DATA,    /* an object */
  LEAT_RESULT_ANY      /* whatever there is: leat_call_new_request */
} leat_result;

/* What to do when the answer to a change was lost, for it may have happened or not. */
typedef enum leat_recovery {
  LEAT_RETRY,           /* the same result, however often it is sent */
  LEAT_VERIFY_CREATED,  /* find it: is it as asked? */
  LEAT_VERIFY_LINKED,   /* find it: is it linked as asked? */
  LEAT_VERIFY_UNLINKED, /* find it: is it linked no more? */
  LEAT_VERIFY_DELETED,  /* find it: is it gone? */
  LEAT_NO_RETRY         /* the caller must decide */
} leat_recovery;

typedef struct leat_op {
  const char *resource; /* "contact_identifiers" */
  const char *name;     /* "find" */
  const char *method;   /* "GET" */
  const char *path;     /* behind the base URL's path; {name}: a parameter */
  int places;           /* where the other parameters go */
  bool writes;          /* changes something */
  leat_result result;
  const leat_parameter *parameters; /* required ones first */
  size_t parameter_count;
  leat_recovery recovery;
  bool takes_expect; /* leat_call_expect is for it */
} leat_op;

/* The row of that name, NULL if there is none. Lives for ever. */
LEAT_API const leat_op *leat_operation(const char *resource, const char *name);
/* All rows by index; NULL behind the last. */
LEAT_API const leat_op *leat_operation_at(size_t index);

/* ---- time ------------------------------------------------------------------------ */

/* The library has no clock and no dice: whoever calls it has. */
typedef struct leat_moment {
  int64_t monotonic_ms; /* of any origin, never goes back */
  int64_t unix_s;       /* the wall clock */
  uint64_t random;      /* fresh random bits */
} leat_moment;

/* ---- clients --------------------------------------------------------------------- */

typedef struct leat_header {
  leat_string name;
  leat_string value;
} leat_header;

typedef struct leat_client leat_client;

typedef enum leat_observe {
  LEAT_OBSERVE_NOTHING = 0,
  LEAT_OBSERVE_ATTEMPTS,
  LEAT_OBSERVE_VALUES /* the cards' values too, which may be nobody's to log */
} leat_observe;

typedef struct leat_config {  /* zero or NULL means the default */
  const char *api_key;        /* the token; this, or one of the next three, is needed */
  const char *access_token;   /* an OAuth access token */
  const char *client_id;      /* with client_secret: tokens are fetched, and renewed */
  bool token_from_caller;     /* LEAT_TOKEN asks for one: leat_client_set_token */
  const char *client_secret;  /* of client_id */
  const char *token_url;      /* where they are fetched: LEAT_TOKEN_PATH on the origin of
                                 base_url, which alone gets the secret then */
  const char *base_url;       /* LEAT_BASE_URL; https, with its path */
  const char *user_agent;     /* "leat/" LEAT_VERSION */
  bool allow_http;            /* cleartext to other hosts than this one */
  int timeout_ms;             /* 30000: a whole call, from its first exchange on */
  int connect_timeout_ms;     /* 5000: name, TCP and TLS of one connection */
  size_t max_body;            /* 1 MiB: a larger answer is LEAT_TOO_LARGE */
  const leat_header *headers; /* of every request, 16 at most; not those that the library
                                 writes itself */
  size_t header_count;
  int max_attempts;  /* 3: how often an operation is sent at most; 1: it is not retried,
                           and waits for no pause; LEAT_UNLIMITED: until its timeout,
                           which pauses after its first exchange count towards then */
  int retry_budget;  /* 100; LEAT_UNLIMITED: none. A retry takes 5 of it, after a timeout
                           10; a call that succeeds gives back what its retries took, or 1.
                           What is left is all that calls of this client may retry, so that
                           a service that is down is not asked three times as often.
                           Waiting out a pause takes nothing */
  int retry_base_ms; /* 500: the wait before the second try is random, up to this; */
  int retry_cap_ms;  /* 20000: it doubles with each try, up to that */
  int queue_timeout_ms; /* 0, for ever: in line for the rate, or for the end of a pause */
  int rate_per_minute;  /* 0: no limit of our own */
  leat_observe observe; /* what leat_client_attempt tells */
  bool shared;          /* other processes have the same token and rate: see LEAT_SLOT */
} leat_config;

/* No I/O. NULL: `error` (which may be NULL) says why, LEAT_CONFIG or LEAT_NO_MEMORY. */
LEAT_API leat_client *leat_client_new(const leat_config *config, leat_error *error);
/* Wipes its copy of the token once the last call is freed. */
LEAT_API void leat_client_free(leat_client *client);
/* Gives the token that LEAT_TOKEN asked for; copies. `lifetime_s`: it is renewed before that
** is over; 0: when the service refuses it. False: it is none, or out of memory. */
LEAT_API bool leat_client_set_token(leat_client *client, leat_moment now,
                                    leat_string token, int lifetime_s);
/* For a store that processes share. The token that the client has, and until when, on the
** clock of leat_moment.monotonic_ms; data NULL: none that is good. Borrowed until the next
** call into the library. */
LEAT_API leat_string leat_client_token(const leat_client *client, leat_moment now,
                                       int64_t *until_ms);
/* Gives it the one that another process has; copies. False: it is none, no longer good, or
** the very one that is to be renewed; or out of memory. */
LEAT_API bool leat_client_share_token(leat_client *client, leat_moment now,
                                      leat_string token, int64_t until_ms);
/* How far the slots of its rate are apart; 0: it has none. */
LEAT_API int64_t leat_client_slot_length_us(const leat_client *client);
/* The service asked this client to wait: a 429, or a 503. Until then its calls wait, as far as
** queue_timeout allows. Calls with one attempt wait for nothing: they fail at once if the
** service said how long (`asked`), and are sent if it did not. If it asked for more than a
** minute (`too_long`), every call fails at once, unsent, with that kind and retry_after; a
** pause ends after 15 minutes at most, and then one call is sent to learn how things are. */
typedef struct leat_pause {
  int64_t until_ms; /* on the clock of leat_moment.monotonic_ms */
  leat_kind kind;   /* LEAT_RATE_LIMITED or LEAT_MAINTENANCE */
  bool asked;       /* by a 429, or a Retry-After */
  bool too_long;
} leat_pause;

/* False: there is no pause now. */
LEAT_API bool leat_client_pause(const leat_client *client, leat_moment now,
                                leat_pause *pause);
/* Lets this client know of a pause that another process was asked for. */
LEAT_API void leat_client_share_pause(leat_client *client, leat_moment now,
                                      const leat_pause *pause);
/* What the service said last of its rate: calls that it allows, and how many are left of
** them; -1: it did not say. */
LEAT_API void leat_client_rate(const leat_client *client, int *limit, int *remaining);
/* Text of the service made fit for one line of a message: without characters that are not
** seen, and without any piece of the client's token; cut to `size`. Returns `out`. */
LEAT_API const char *leat_client_clean(const leat_client *client, leat_string text,
                                       char *out, size_t size);
/* Changes whenever calls that wait should be asked again. */
LEAT_API uint64_t leat_client_epoch(const leat_client *client);

typedef enum leat_purpose {
  LEAT_TO_CALL = 0, /* the operation itself */
  LEAT_TO_VERIFY,   /* a find that tells what became of it */
  LEAT_TO_GET_TOKEN
} leat_purpose;

/* What became of one exchange. Holds no token. */
typedef struct leat_attempt {
  char operation[48];   /* of the call: "contact_identifiers.create" */
  leat_purpose purpose; /* of the exchange */
  int attempt;          /* the call's first, second, ... */
  leat_kind kind;       /* LEAT_OK: it went well */
  int code, status;     /* as in leat_error */
  leat_sent sent;
  bool reused;       /* over a connection that was there; false if nobody said */
  int64_t ms;        /* that it took, connecting included */
  int64_t wait_ms;   /* until the next one, as far as is known; -1: there is none */
  leat_string value; /* of the card, terminated by a NUL; data NULL unless observed */
  void *user;        /* leat_call_user */
} leat_attempt;

/* The oldest that was not told yet, of any call; false: there is none. `value` lives until
** the next one is asked for. Of more than 1024 the oldest are forgotten, and out of memory
** some are never told. */
LEAT_API bool leat_client_attempt(leat_client *client, leat_attempt *attempt);

/* ---- calls ----------------------------------------------------------------------- */

typedef struct leat_call leat_call;

/* An `op` of NULL is misuse. Returns NULL out of memory. */
LEAT_API leat_call *leat_call_new(leat_client *client, const leat_op *op);
LEAT_API void leat_call_free(leat_call *call);

/* Sets a parameter by the service's name for it; copies. Not UTF-8, empty, with a NUL,
** unknown or of another type: misuse, which sticks. A parameter never set is not sent.
** After the first leat_call_next it is too late, and nothing changes. */
LEAT_API void leat_call_set(leat_call *call, const char *name, leat_string value);
LEAT_API void leat_call_set_bool(leat_call *call, const char *name, bool value);

/* Notes as misuse what is missing: a parameter that is required, or in an update a name or
** whether it is active. Else that is unreported once the call is asked for its first step. */
LEAT_API void leat_call_check(leat_call *call);

/* For every other endpoint of the API: any method, and a path behind the base URL's.
** leat_call_data is the response's "data", or all of it if it has none. */
LEAT_API leat_call *leat_call_new_request(leat_client *client, const char *method,
                                          const char *path);
/* Only for such a call; each copies. A body is JSON, unless a Content-Type says else. */
LEAT_API void leat_call_add_query(leat_call *call, const char *name, leat_string value);
LEAT_API void leat_call_set_body(leat_call *call, leat_string body);
LEAT_API void leat_call_add_header(leat_call *call, const char *name, leat_string value);

/* Only for unlink, update and delete: the card must belong to that contact; data NULL: to
** none. It is found and compared before the change is sent, each time; if it belongs to
** another, nothing is sent, and the call ends as LEAT_CONFLICT. */
LEAT_API void leat_call_expect(leat_call *call, leat_string contact_uuid);

/* For this call instead of the client's. */
LEAT_API void leat_call_set_timeout_ms(leat_call *call, int ms);
LEAT_API void leat_call_set_connect_timeout_ms(leat_call *call, int ms);
LEAT_API void leat_call_set_max_attempts(leat_call *call, int attempts);

/* The row that it was made from; NULL if there was none. */
LEAT_API const leat_op *leat_call_op(const leat_call *call);

/* The client that it is of; lives as long as the call. */
LEAT_API leat_client *leat_call_client(const leat_call *call);

/* A pointer of the caller's own, to know a call again by. */
LEAT_API void leat_call_set_user(leat_call *call, void *user);
LEAT_API void *leat_call_user(const leat_call *call);

/* The results; borrowed until the call is freed. */
LEAT_API bool leat_call_is_done(const leat_call *call);
LEAT_API const leat_error *leat_call_error(const leat_call *call); /* never NULL */
LEAT_API const leat_json *leat_call_data(const leat_call *call);   /* NULL if none */
LEAT_API const leat_json *leat_call_meta(const leat_call *call);   /* NULL if none */

typedef struct leat_info {
  int status;         /* of the last response, 0 if none came */
  int attempts;       /* exchanges begun */
  bool recovered;     /* it is as asked, but the response that said so was lost */
  int rate_limit;     /* calls that the service allows, and how many are left of them; */
  int rate_remaining; /* -1: it did not say */
} leat_info;

/* Of a call that is done, whichever way. */
LEAT_API leat_info leat_call_info(const leat_call *call);

/* What validation refused: message `index` and its field, "" if it names none; both
** terminated by a NUL. False behind the last. */
typedef struct leat_field {
  leat_string name;
  leat_string message;
} leat_field;

/* The one of that index. */
LEAT_API bool leat_call_field(const leat_call *call, size_t index, leat_field *field);

/* The typed view of a contact identifier. What the service left out, or sent as null,
** has data NULL; what it sent is terminated by a NUL. */
typedef struct leat_contact_identifier {
  leat_string value;
  leat_string name;
  int active; /* 1, 0, or -1: not said */
  leat_string contact_uuid;
  leat_string contact_email;
} leat_contact_identifier;

/* False, and everything empty, if the call did not end in a contact identifier. */
LEAT_API bool leat_call_contact_identifier(const leat_call *call,
                                           leat_contact_identifier *card);
/* The card that contradicts what was asked, if the call found one and ended as
** LEAT_CONFLICT. False, and everything empty: there is none. */
LEAT_API bool leat_call_conflicting(const leat_call *call, leat_contact_identifier *card);
/* The same, as the service sent it; NULL if there is none. */
LEAT_API const leat_json *leat_call_conflicting_data(const leat_call *call);
/* The same of a value, such as leat_json_at(leat_call_data(list), i). */
LEAT_API bool leat_json_contact_identifier(const leat_json *value,
                                           leat_contact_identifier *card);

/* ---- the contract between a call and its driver ---------------------------------- */
/*
** Ask leat_call_next until it says LEAT_DONE, and do what it says:
**
**   LEAT_SEND   one HTTP exchange, described by leat_call_request. Then tell what came
**               of it: leat_call_respond, or leat_call_fail with what is known of whether
**               it was sent. It may be any exchange that the call needs, with an origin
**               of its own; a driver knows no difference.
**   LEAT_WAIT   nothing to do until leat_call_until, or until the client's epoch changes.
**   LEAT_TOKEN  the client, made with token_from_caller, needs a token before this call can go on:
**               leat_client_set_token, then ask again; or leat_call_fail.
**   LEAT_DONE   the result is there.
**
** Of a client that is `shared`, which drivers support that have a store for it:
**
**   LEAT_TOKEN  the store may have one: leat_client_share_token. If not, get one, or have
**               it fetched, leat_call_fetch, and put it there; while another process does
**               so, leat_call_await.
**   LEAT_SLOT   a slot of the rate is to be taken, of those that no other process has:
**               leat_call_take_slot. The call can wait for it until leat_call_until; one
**               that is later is not to be taken, only told.
**
** Time in line is not call time: a call's timeout runs from its first LEAT_SEND, so a
** driver asks only when it can serve. leat_call_fail before any LEAT_SEND gives the call
** up, with the kind that it names.
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
  leat_string origin; /* "https://api.piggy.eu"; its port where it is not the usual */
  leat_string host;   /* of the origin, without brackets or port; NUL-terminated */
  int port;
  bool tls;
  leat_string target;         /* "/api/v3/...?..."; the URL is origin + target */
  const leat_header *headers; /* without Host and Content-Length: the codec's */
  size_t header_count;
  leat_string body;
  int64_t deadline_ms;    /* on the clock of leat_moment.monotonic_ms */
  int connect_timeout_ms; /* of one connection, within the deadline */
  size_t max_body;
} leat_request;

/* How a response's body ended. Only the first three prove that it is whole. */
typedef enum leat_framing {
  LEAT_NO_BODY, /* HEAD, 204, 304 */
  LEAT_LENGTH,  /* Content-Length */
  LEAT_CHUNKED, /* the last chunk came */
  LEAT_TO_CLOSE /* the connection closed */
} leat_framing;

typedef struct leat_response {
  int status;
  const leat_header *headers;
  size_t header_count;
  leat_string body;
  leat_framing framing;
} leat_response;

LEAT_API leat_step leat_call_next(leat_call *call, leat_moment now);
/* After LEAT_SEND, when it is about to be sent; borrowed until the call is told, or freed,
** but its headers only until the next call into the library. */
LEAT_API const leat_request *leat_call_request(leat_call *call);
/* What the exchange is for that it is at; LEAT_TO_GET_TOKEN: others may wait for it. */
LEAT_API leat_purpose leat_call_purpose(const leat_call *call);
/* After LEAT_WAIT, and after LEAT_SLOT. */
LEAT_API int64_t leat_call_until(const leat_call *call);
/* After LEAT_TOKEN: fetch it, of a client with credentials; or ask again then. */
LEAT_API void leat_call_fetch(leat_call *call, leat_moment now);
LEAT_API void leat_call_await(leat_call *call, leat_moment now, int64_t until_ms);
/* After LEAT_SLOT: the slot's moment, in microseconds. */
LEAT_API void leat_call_take_slot(leat_call *call, int64_t slot_us);
/* The connection is there, and the first byte is about to be sent: what was spent on
** connecting does not count towards the share of the timeout that this exchange has. Returns
** its deadline, which leat_call_request then shows too. A driver may leave it out. */
LEAT_API int64_t leat_call_connected(leat_call *call, leat_moment now);
/* A response came. It is only borrowed. */
LEAT_API void leat_call_respond(leat_call *call, leat_moment now,
                                const leat_response *answer);
/* The exchange under way goes over a connection that was used before. */
LEAT_API void leat_call_set_reused(leat_call *call);
/* None came. `detail` is a short line for people, copied. */
LEAT_API void leat_call_fail(leat_call *call, leat_moment now, leat_kind kind,
                             leat_sent sent, const char *detail);

/* The value of the first header of that name (any case); data NULL if there is none. */
LEAT_API leat_string leat_response_header(const leat_response *answer, const char *name);

/* ---- the HTTP/1.1 codec: for those who write drivers ----------------------------- */
/*
** Request in, bytes out; bytes in, answer out. One codec serves one connection, an
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
** It is strict: whatever could make two readers see two answers is refused.
*/
typedef struct leat_http1 leat_http1;

typedef enum leat_http1_state {
  LEAT_HTTP1_MORE,     /* not whole yet */
  LEAT_HTTP1_RESPONSE, /* leat_http1_response has it */
  LEAT_HTTP1_FAILED    /* leat_http1_failure says what was seen */
} leat_http1_state;

LEAT_API leat_http1 *leat_http1_new(void); /* NULL: out of memory */
LEAT_API void leat_http1_free(leat_http1 *http);

/* Starts an exchange: copies the request's bytes. */
LEAT_API leat_http1_state leat_http1_begin(leat_http1 *http, const leat_request *request);
/* What is left to send. Neither moves nor shrinks from its end until leat_http1_sent. */
LEAT_API leat_string leat_http1_output(const leat_http1 *http);
LEAT_API void leat_http1_sent(leat_http1 *http, size_t length);

/* Where to receive to, and how much at most; NULL (room 0) out of memory or after the
** end. Valid until the next call on `http`. */
LEAT_API char *leat_http1_space(leat_http1 *http, size_t *room);
LEAT_API leat_http1_state leat_http1_received(leat_http1 *http, size_t length);
/* The connection ended in an orderly way. One that broke is nobody's answer. */
LEAT_API leat_http1_state leat_http1_closed(leat_http1 *http);

/* Borrowed until the next leat_http1_begin. */
LEAT_API const leat_response *leat_http1_response(const leat_http1 *http);
LEAT_API leat_kind leat_http1_failure(const leat_http1 *http, const char **detail);
/* Whether the next exchange may use the same connection. */
LEAT_API bool leat_http1_reusable(const leat_http1 *http);

#ifdef __cplusplus
}
#endif
#endif
