/*
** internal.h - what the files of core/ share: limits, buffers, JSON, URLs, structs.
*/
#ifndef LEAT_INTERNAL_H
#define LEAT_INTERNAL_H

#include "leat.h"

#include <string.h>

/* ---- every limit of the house ---------------------------------------------------- */

enum {
  LEAT_DEFAULT_TIMEOUT_MS = 30000,
  LEAT_DEFAULT_CONNECT_TIMEOUT_MS = 5000,
  LEAT_DEFAULT_MAX_BODY = 1024 * 1024,
  LEAT_MAX_MAX_BODY = 1024 * 1024 * 1024,
  LEAT_MAX_TIMEOUT_MS = 24 * 60 * 60 * 1000,
  LEAT_DEFAULT_MAX_ATTEMPTS = 3,
  LEAT_MAX_MAX_ATTEMPTS = 100,
  LEAT_DEFAULT_RETRY_BASE_MS = 500,
  LEAT_DEFAULT_RETRY_CAP_MS = 20 * 1000,
  LEAT_LEAST_DELAY_MS = 50,  /* before another try */
  LEAT_MAX_VERIFY_FINDS = 5, /* finds to learn what became of one sending of a change */
  LEAT_VERIFY_INTERVAL_MS = 1000,
  LEAT_LONGEST_WAIT_MS = 60 * 1000,       /* calls fail at once in a longer pause */
  LEAT_LONGEST_PAUSE_MS = 15 * 60 * 1000, /* of a client, whatever the service asks for */
  LEAT_LONGEST_RETRY_AFTER_S = 10 * 365 * 24 * 60 * 60, /* a larger one is as good */
  LEAT_DEFAULT_RETRY_BUDGET = 100, /* of a client; a retry takes, a success gives */
  LEAT_RETRY_COST = 5,
  LEAT_TIMEOUT_COST = 10,
  LEAT_MAX_URL = 8 * 1024,    /* a base URL */
  LEAT_MAX_TOKEN = 16 * 1024, /* an API key */
  LEAT_MAX_USER_AGENT = 1024,
  LEAT_MAX_VALUE = 64 * 1024,     /* a parameter's text */
  LEAT_MAX_REQUEST = 1024 * 1024, /* target or body of a request */
  LEAT_MAX_JSON_DEPTH = 32,
  LEAT_FEW_MEMBERS = 8,           /* of an object: fewer are not sorted */
  LEAT_MAX_PARAMETERS = 3,        /* of an operation */
  LEAT_MAX_ATTEMPTS_KEPT = 1024,  /* for who observes a client */
  LEAT_MAX_FIELDS = 32,           /* messages of validation that are kept */
  LEAT_MAX_FIELD_TEXT = 8 * 1024, /* all of them together */
  LEAT_MAX_EXTRA_HEADERS = 16,    /* of a client, and of a call */
  LEAT_MAX_METHOD = 16,
  LEAT_MAX_HEADER = 8 * 1024, /* one that a user gave */
  LEAT_MAX_EXCERPT = 80,      /* of a response, in a message */
  LEAT_MIN_SECRET = 4,        /* a shorter token is none */
  LEAT_MIN_SECRET_PIECE = 8,  /* so many bytes of a token are still a secret */
  LEAT_MAX_RESPONSE_HEADERS = 128,
  LEAT_MAX_RESPONSE_LINE = 16 * 1024, /* status line, header, chunk size */
  LEAT_MAX_RESPONSE_HEAD = 64 * 1024, /* all lines of a response, interim ones included */
  LEAT_MAX_INTERIM_RESPONSES = 16,    /* 1xx before the response */
  LEAT_RECEIVE_ROOM = 16 * 1024,      /* offered to one receive */
  LEAT_DEFAULT_MAX_CONNECTIONS = 16,
  LEAT_MAX_CONNECTIONS = 100000,
  LEAT_MAX_IDLE_MS = 60 * 1000, /* an unused connection is closed after that */
  LEAT_MAX_SEND = 16 * 1024     /* bytes given to libcurl at once */
};

/* ---- times ----------------------------------------------------------------------- */

/* A driver's clocks may show anything. Between these limits a moment is far from
** overflowing, in microseconds too, when a duration is added to it. */
static inline int64_t leat__limit_time(int64_t time) {
  const int64_t limit = INT64_C(1) << 52;
  return time > limit ? limit : time < -limit ? -limit : time;
}

static inline leat_moment leat__limit_moment(leat_moment now) {
  now.monotonic_ms = leat__limit_time(now.monotonic_ms);
  now.unix_s = leat__limit_time(now.unix_s);
  return now;
}

/* A sum that stays at the limits of its type instead of overflowing. */
static inline int64_t leat__add_ms(int64_t a, int64_t b) {
  if (b > 0 && a > INT64_MAX - b) return INT64_MAX;
  if (b < 0 && a < INT64_MIN - b) return INT64_MIN;
  return a + b;
}

/* ---- strings and buffers (buffer.c) ---------------------------------------------- */

static inline bool leat__equal(leat_string a, leat_string b) {
  return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}
/* A pointer is missing, of a text that claims to have a length. */
static inline bool leat__is_missing(leat_string text) {
  return text.data == NULL && text.length > 0;
}
/* ASCII; of the same length. */
bool leat__same_letters(const char *a, const char *b, size_t length);
/* Within the header, so that the length of a literal is known beforehand. */
static inline bool leat__equal_nocase(leat_string a, const char *b) {
  return strlen(b) == a.length && leat__same_letters(a.data, b, a.length);
}
/* Without the blanks at its ends, as the service stores text. */
leat_string leat__trimmed(leat_string text);
/* How long the character is that a text of at least one byte begins with; 0: it is not
** UTF-8 (RFC 3629, strictly). */
size_t leat__utf8_character(leat_string text);
bool leat__utf8(leat_string text);
char *leat__copy(const char *data, size_t length); /* NUL-terminated; free() */
void leat__wipe_free(char *secret);                /* NUL-terminated, or NULL */

/* Grows up to its limit; the first failure sticks. Requests and answers may hold a secret,
** so what a buffer gives back is wiped. */
typedef struct leat_buffer {
  char *data;
  size_t length, capacity, limit;
  leat_kind failed; /* LEAT_OK, LEAT_NO_MEMORY or LEAT_TOO_LARGE */
} leat_buffer;

void leat__buffer_init(leat_buffer *buffer, size_t limit);
void leat__buffer_free(leat_buffer *buffer);
char *leat__reserve(leat_buffer *buffer,
                    size_t length); /* room behind the end, or NULL */
void leat__append(leat_buffer *buffer, const char *data, size_t length);
void leat__append_s(leat_buffer *buffer, const char *text);

/* ---- errors (error.c) ------------------------------------------------------------ */

void leat__error_clear(leat_error *error);
/* Keeps what is there besides kind and message; `error` may be NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void leat__error_set(leat_error *error, leat_kind kind, const char *format, ...);
/* Adds to the message. What is cut is cut between characters. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void leat__error_add(leat_error *error, const char *format, ...);
/* What must not be seen in a message. */
typedef struct leat_secrets {
  leat_string token, previous; /* previous: the one that it took the place of */
  bool hide;                   /* all foreign text, for it may be a token itself */
} leat_secrets;

#define LEAT_NO_SECRETS ((leat_secrets){{NULL, 0}, {NULL, 0}, false})

/* Foreign text made fit for a message: without control characters or others that are not
** seen, cut to `size`, and without any piece of a secret. */
void leat__clean(char *out, size_t size, leat_string text, leat_secrets secrets);

/* ---- JSON (json.c) --------------------------------------------------------------- */

#define LEAT_BYTE_ORDER_MARK "\xEF\xBB\xBF" /* in UTF-8 */

/* A document, an object or an array, decoded strictly. NULL: `why` says what is wrong, and
** at which byte, without quoting it; an empty `why` means out of memory. */
leat_json *leat__json_parse(leat_string text, char *why, size_t why_size);
/* Wipes it, for it may hold a token. */
void leat__json_free(leat_json *document);
/* Whether one of the names, which NULL ends, occurs more than once in the object. */
bool leat__json_repeats(const leat_json *object, const char *const *names);
const leat_json *leat__json_member(const leat_json *object, leat_string name);
/* As leat_json_get; the length of a literal is known beforehand. */
static inline const leat_json *leat__get(const leat_json *object, const char *name) {
  return leat__json_member(object, (leat_string){name, strlen(name)});
}

/* As a string of JSON. The text is UTF-8, without NUL. */
void leat__append_json(leat_buffer *buffer, leat_string text);

/* ---- URLs (url.c) ---------------------------------------------------------------- */

typedef struct leat_url {
  char *origin; /* "https://api.piggy.eu", with the port where it is not the usual */
  char *host;   /* without brackets */
  char *path;   /* without a slash at its end */
  int port;
  bool tls;
  bool loopback; /* this very machine */
} leat_url;

/* False: `error` says why, by that name of the setting. Free it in either case. */
bool leat__url_parse(leat_url *url, const char *text, const char *name,
                     leat_error *error);
void leat__url_free(leat_url *url);
/* "localhost", "::1", or an address of 127.0.0.0/8. */
bool leat__loopback(const char *host);
/* "", or segments that are not empty, "." or "..", encoded or not, of characters that need no
** encoding. */
bool leat__is_path(leat_string text);
/* Everything but letters, digits and -._~ becomes %XX. */
void leat__append_encoded(leat_buffer *buffer, leat_string text);

/* ---- headers (headers.c) --------------------------------------------------------- */

typedef struct leat_headers { /* begins as { 0 } */
  leat_header *list;
  size_t count;
} leat_headers;

/* Adds a copy. False: out of memory. */
bool leat__headers_add(leat_headers *headers, leat_string name, leat_string value);
/* Puts one in the place of the first, which is kept in `before`, and wipes what was there.
** False: out of memory. */
bool leat__headers_put(leat_headers *headers, leat_header *before, leat_string name,
                       leat_string value);
void leat__header_wipe(leat_header *header);
/* Wipes them, for one holds the token. */
void leat__headers_free(leat_headers *headers);
/* What is wrong with a header that a user gave; NULL: nothing. */
const char *leat__check_header(leat_header header, bool content_type_too);
/* By HTTP's grammar (http1.c): a name; a value, without control characters. */
bool leat__is_token(leat_string text);
bool leat__is_field_value(leat_string text);

/* ---- retries (retry.c) ----------------------------------------------------------- */

typedef struct leat_retry {
  int max_attempts, base_ms, cap_ms;
} leat_retry;

typedef enum leat_decision {
  LEAT_GIVE_UP,
  LEAT_SEND_AGAIN,   /* send the operation once more */
  LEAT_VERIFY,       /* find the card, to learn what became of it */
  LEAT_INCONCLUSIVE, /* the find did not show what became of it */
  LEAT_RECOVERED,    /* it is as asked */
  LEAT_CONTRADICTED, /* it is there, but not as asked */
  LEAT_MISSING       /* there is no such card */
} leat_decision;

/* What a call asked for, as far as a look must know it; data NULL: not asked. */
typedef struct leat_desired {
  leat_string value, name, contact_uuid;
  bool owner_known;  /* whose card it was, or had to be, before the change: */
  leat_string owner; /* this contact's; data NULL: nobody's */
} leat_desired;

bool leat__retry_throttled(leat_kind kind);
leat_decision leat__retry_decide(leat_recovery row, const leat_error *error,
                                 bool maybe_applied);
bool leat__retry_settles(leat_kind kind);
/* What one find shows of a change. Anything but LEAT_RECOVERED may be old: it counts only
** when a second find shows the same. */
leat_decision leat__verify_found(leat_recovery row, const leat_desired *asked,
                                 const leat_contact_identifier *card);
leat_decision leat__verify_failed(leat_recovery row, leat_kind kind, bool owner_known);
bool leat__is_owner(leat_string owner, const leat_contact_identifier *card);
int64_t leat__retry_delay(const leat_retry *retry, int attempt, bool throttled,
                          uint64_t random);
/* Milliseconds that a Retry-After asks for, as seconds or as a date; -1: it is neither. A
** date is relative to `date`, the response's Date header; without one, to our clock. */
int64_t leat__retry_after(leat_string text, leat_string date, int64_t unix_s);

/* ---- attempts (attempts.c) -------------------------------------------------------- */

typedef struct leat__attempt leat__attempt;

typedef struct leat__attempts { /* begins as { 0 } */
  leat__attempt *first, *last;
  leat__attempt *taken; /* the last one told, whose value is borrowed */
  int count;
} leat__attempts;

void leat__attempts_free(leat__attempts *queue);
void leat__attempt_free(leat__attempt *attempt);
/* The exchange of the call ended, with the error that is there now. */
void leat__attempt_record(leat_call *call, leat_moment now);
/* It was that of a call inside this one. */
void leat__attempt_take_inner(leat_call *call, leat_call *inside, leat_purpose purpose);
/* What comes after it is known, so it is told. */
void leat__attempt_report(leat_call *call, int64_t wait_ms);

/* ---- structs --------------------------------------------------------------------- */

struct leat_client {
  int references; /* the owner's, and one for each call */
  leat_url url;
  leat_headers headers; /* of every request: Authorization first, Content-Type last */
  leat_header
      previous_authorization; /* the Authorization that the first one took the place of */
  int timeout_ms, connect_timeout_ms, queue_timeout_ms;
  size_t max_body;
  leat_retry retry;
  uint64_t epoch;
  bool token_from_caller, fetches_token; /* neither: it has one for good */
  bool shared;                           /* its token and rate are other processes' too */
  leat_url token_url;
  char *client_id, *client_secret;
  int64_t token_until; /* INT64_MIN: there is none, or it was refused */
  unsigned token_number;
  bool token_shared; /* it came from a store, and may be older than the one it replaced */
  const leat_call *lease;               /* who gets one, */
  int64_t lease_until;                  /* and how long the others wait for it */
  int retry_budget, retry_budget_limit; /* the limit -1: no budget */
  int rate_limit, rate_remaining;       /* as the service said last; -1: it did not */
  leat_pause pause;                     /* the last one; it may be over */
  const leat_call *probe;            /* the one call that is sent after a long pause, */
  int64_t probe_until;               /* and how long the others wait for it */
  int64_t slot_us;                   /* the next free slot of the rate, in microseconds */
  int64_t slot_length_us;            /* 0: no rate */
  leat_call *first_slot, *last_slot; /* calls that hold a slot, in its order */
  leat_observe observe;
  leat__attempts attempts;
};

void leat__client_hold(leat_client *client);
void leat__client_release(leat_client *client);
/* Lengthens the pause, and keeps what is stricter. */
void leat__client_pause(leat_client *client, leat_moment now, const leat_pause *pause);

/* ---- tokens (token.c) ------------------------------------------------------------ */

leat_secrets leat__client_secrets(const leat_client *client);
/* Makes it the client's. False: out of memory. */
bool leat__token_set(leat_client *client, leat_string token);
bool leat__token_is_there(const leat_client *client, leat_moment now);
/* The service refused the token of that number. */
void leat__token_refused(leat_client *client, unsigned number);
/* Whether this call is the one to get a token; if not, it waits until lease_until. */
bool leat__token_lease(leat_client *client, const leat_call *call, leat_moment now);
void leat__token_release(const leat_call *call);
/* The call that fetches one, and what it fetched; false: `error` says why there is none. */
leat_call *leat__token_call(leat_client *client);
bool leat__token_take(leat_client *client, const leat_call *call, leat_moment now,
                      leat_error *error);

/* For drivers, which outlive what a collector frees: leat_call_free lets go again. */
void leat__call_hold(leat_call *call);
bool leat__call_is_shared(const leat_call *call);
uint64_t leat__call_epoch(const leat_call *call); /* of its client */
/* How long it stands in a driver's line, beginning at `now`, before it is told that it took
** too long: LEAT_TIMEOUT, LEAT_QUEUE_TIMEOUT. INT64_MAX: for ever. */
int64_t leat__call_queue_deadline(const leat_call *call, int64_t now);
/* It did, for so long. */
void leat__call_add_queue_time(leat_call *call, int64_t ms);
#define LEAT_QUEUE_TIMEOUT                                                               \
  "queue_timeout is too short for the line before this call (for a connection, a "       \
  "token, or the rate)"
#define LEAT_QUEUE_TIMEOUT_IN_PAUSE "the service asked to wait, longer than queue_timeout"

/* What a response came to (response.c). */
typedef struct leat_outcome {
  leat_error error; /* LEAT_OK: the value is there */
  leat_json *document;
  leat_buffer fields; /* name NUL message NUL, and so on */
} leat_outcome;

/* What a call wanted, as far as judging a response needs it. */
typedef struct leat_expected {
  const leat_op *op;
  leat_string value; /* of the contact identifier */
  leat_string origin;
  leat_secrets secrets;
  size_t max_body;
} leat_expected;

/* Fills kind, code, status, message and outcome_unknown of the error, and the rest. */
void leat__classify(leat_outcome *outcome, const leat_expected *wanted,
                    const leat_response *answer);
/* A small number that a header tells; -1: none. */
int leat__rate(const leat_response *answer, const char *name);
bool leat__field(const leat_outcome *outcome, size_t index, leat_field *field);
void leat__outcome_free(leat_outcome *outcome);

/* ---- calls (call.c, request.c) --------------------------------------------------- */

typedef enum leat__state {
  LEAT__NEW,
  LEAT__READY,        /* to be sent, if nothing is in the way */
  LEAT__QUEUED,       /* for a pause to end, a token or a slot; then ready */
  LEAT__BACKOFF,      /* before another try; then ready */
  LEAT__VERIFY_LATER, /* before a find that tells what happened; then looking */
  LEAT__WAIT_TOKEN,   /* the user, or a store, for a token */
  LEAT__WAIT_SLOT,    /* in line: which slot is the next? */
  LEAT__SENDING,      /* the driver has it */
  /* In the last three the call inside it is the one under way. */
  LEAT__FETCHING,  /* a token */
  LEAT__COMPARING, /* whose card it is with whose it must be, before a change is sent */
  LEAT__VERIFYING, /* what became of a change */
  LEAT__DONE
} leat__state;

typedef struct leat_argument {
  char *text; /* NULL: not set, or a boolean */
  size_t length;
  bool set, boolean;
} leat_argument;

typedef struct leat_raw leat_raw;

struct leat_call {
  int references; /* the owner's, and a driver's while it works on it */
  leat_client *client;
  const leat_op *op;
  void *user;
  void *job; /* the driver's, while it works on it */

  leat_raw *raw; /* NULL: a call of a row */
  leat_argument arguments[LEAT_MAX_PARAMETERS];
  leat_argument owner; /* whose card it must be before each sending, as given or as first
                          seen by a find that verified; text NULL: nobody's */
  int timeout_ms, connect_timeout_ms, max_attempts;
  leat_request request;
  leat_buffer target, body;

  leat__state state;
  int64_t deadline;  /* of the whole call; 0: nothing was sent yet */
  int64_t until;     /* of a wait */
  int64_t queued_at; /* in line: a wait that is not call time */
  int64_t queued_ms; /* all such waits together */
  int64_t slot_us;   /* of the client's rate, if it has one */
  leat_call *slot_next, *slot_prev;
  uint64_t epoch;
  int sends;                 /* of the operation itself */
  int cost;                  /* what its retries took of the client's retry budget */
  int verify_count;          /* finds to learn what became of its last sending, */
  leat_decision seen;        /* and what the last of them showed */
  int64_t began;             /* of the exchange */
  leat__attempt *unreported; /* what became of it, not told yet */
  bool recovered, renewed, reused, has_slot;
  bool compared;         /* the owner of the card was just compared with `owner` */
  bool maybe_applied;    /* a response was lost: the change may have been made */
  unsigned token_number; /* that it was sent with, */
  bool token_shared;     /* and whether a store had it */
  leat_call *inner;      /* a call of its own inside it, or NULL */

  leat_outcome outcome;
  int rate_limit, rate_remaining;
};

void leat__misuse(leat_call *call, const char *what, const char *which);
leat_string leat__argument_text(const leat_call *call, size_t i);
void leat__raw_free(leat_raw *raw);
/* A call of another origin, with a form for a body, and without the client's token. */
leat_call *leat__call_to_origin(leat_client *client, const leat_op *op,
                                const leat_url *url);
bool leat__call_is_to_other_origin(const leat_call *call);
/* Makes the request of what was set; else the call's error says why not. */
void leat__make_request(leat_call *call);
/* Its headers, with the token of now. False: out of memory. */
bool leat__make_headers(leat_call *call);

#endif
