/*
** internal.h - shared by the files of core/: limits, buffers, JSON, URLs, structs.
*/
#ifndef LEAT_INTERNAL_H
#define LEAT_INTERNAL_H

#include "leat_driver.h"

#include <string.h>

/* ---- limits ---------------------------------------------------------------------- */

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
  LEAT_LEAST_DELAY_MS = 50,  /* the shortest delay before a retry */
  LEAT_MAX_VERIFY_FINDS = 5, /* finds to verify one attempt at a change */
  LEAT_VERIFY_INTERVAL_MS = 1000,
  LEAT_LONGEST_WAIT_MS = 60 * 1000,       /* in a longer pause, calls fail at once */
  LEAT_LONGEST_PAUSE_MS = 15 * 60 * 1000, /* even if the service asks for more */
  LEAT_LONGEST_RETRY_AFTER_S = 10 * 365 * 24 * 60 * 60, /* longer ones are capped */
  LEAT_DEFAULT_RETRY_BUDGET = 100,                      /* per client */
  LEAT_RETRY_COST = 5,
  LEAT_TIMEOUT_COST = 10,
  LEAT_MAX_URL = 8 * 1024,    /* a base URL's length */
  LEAT_MAX_TOKEN = 16 * 1024, /* a token's length, for example an API key's */
  LEAT_MAX_USER_AGENT = 1024,
  LEAT_MAX_VALUE = 64 * 1024,     /* a string parameter's length */
  LEAT_MAX_REQUEST = 1024 * 1024, /* length of a request's target, or of its body */
  LEAT_MAX_JSON_DEPTH = 32,
  LEAT_FEW_MEMBERS = 8,          /* objects with up to this many members are not sorted */
  LEAT_MAX_PARAMETERS = 3,       /* per operation */
  LEAT_COUNTED_OPERATIONS = 9,   /* those of the table, and all other requests as one */
  LEAT_MAX_ATTEMPTS_KEPT = 1024, /* per client, until they are read */
  LEAT_MAX_FIELDS = 32,          /* validation messages that are kept */
  LEAT_MAX_FIELD_TEXT = 8 * 1024, /* all validation messages together */
  LEAT_MAX_EXTRA_HEADERS = 16,    /* per client, and per call */
  LEAT_MAX_METHOD = 16,
  LEAT_MAX_HEADER = 8 * 1024, /* name and value of a header from the caller */
  LEAT_MAX_EXCERPT = 80,      /* length of what a message quotes of a response */
  LEAT_MIN_SECRET = 4,        /* shorter tokens are not masked */
  LEAT_MIN_SECRET_PIECE = 8,  /* shorter pieces of a token are not masked */
  LEAT_MAX_RESPONSE_HEADERS = 128,
  LEAT_MAX_RESPONSE_LINE = 16 * 1024, /* status line, header, chunk size */
  LEAT_MAX_RESPONSE_HEAD = 64 * 1024, /* all header lines, with interim responses */
  LEAT_MAX_INTERIM_RESPONSES = 16,    /* 1xx responses before the final one */
  LEAT_RECEIVE_ROOM = 16 * 1024       /* offered to one receive at most */
};

/* ---- times ----------------------------------------------------------------------- */

/* Clamps a time, since a driver's clock may return anything. Within these limits neither
** adding a duration nor converting to microseconds overflows. */
static inline int64_t leat__limit_time(int64_t time) {
  const int64_t limit = INT64_C(1) << 52;
  return time > limit ? limit : time < -limit ? -limit : time;
}

static inline leat_moment leat__limit_moment(leat_moment now) {
  now.monotonic_ms = leat__limit_time(now.monotonic_ms);
  now.unix_s = leat__limit_time(now.unix_s);
  return now;
}

/* Returns the sum, clamped to the limits of its type. */
static inline int64_t leat__add_ms(int64_t a, int64_t b) {
  if (b > 0 && a > INT64_MAX - b) return INT64_MAX;
  if (b < 0 && a < INT64_MIN - b) return INT64_MIN;
  return a + b;
}

/* ---- strings and buffers (buffer.c) ---------------------------------------------- */

static inline bool leat__equal(leat_string a, leat_string b) {
  return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}
static inline bool leat__is_digit(char c) {
  return c >= '0' && c <= '9';
}
/* Returns the value of a hexadecimal digit; -1 if the character is none. */
static inline int leat__hex_digit(char c) {
  if (leat__is_digit(c)) return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
/* Returns whether a string has a length, but no data. */
static inline bool leat__is_missing(leat_string text) {
  return text.data == NULL && text.length > 0;
}
/* Returns whether two texts of the same length are equal but for the case of ASCII
** letters. */
bool leat__same_letters(const char *a, const char *b, size_t length);
/* Inline, so that the compiler computes the length of a literal. */
static inline bool leat__equal_nocase(leat_string a, const char *b) {
  return strlen(b) == a.length && leat__same_letters(a.data, b, a.length);
}
/* Returns the text without leading and trailing blanks, as the service stores it. */
leat_string leat__trimmed(leat_string text);
/* Returns the length of the text's first character; 0 if it is not UTF-8 (RFC 3629,
** strictly). The text must not be empty. */
size_t leat__utf8_character(leat_string text);
bool leat__utf8(leat_string text);
/* Returns a NUL-terminated copy, to be freed with free(); NULL if memory runs out. */
char *leat__copy(const char *data, size_t length);
/* Wipes and frees a NUL-terminated string, which may be NULL. */
void leat__wipe_free(char *secret);

/* A buffer grows up to its limit. Its first failure is sticky. Its memory is wiped before
** it is freed, since requests and responses may contain secrets. */
typedef struct leat_buffer {
  char *data;
  size_t length, capacity, limit;
  leat_kind failed; /* LEAT_OK, LEAT_NO_MEMORY or LEAT_TOO_LARGE */
} leat_buffer;

void leat__buffer_init(leat_buffer *buffer, size_t limit);
void leat__buffer_free(leat_buffer *buffer);
/* Returns room for `length` bytes after the end; NULL on failure. Does not change the
** length. */
char *leat__reserve(leat_buffer *buffer, size_t length);
void leat__append(leat_buffer *buffer, const char *data, size_t length);
void leat__append_s(leat_buffer *buffer, const char *text);

/* ---- errors (error.c) ------------------------------------------------------------ */

void leat__error_clear(leat_error *error);
/* Sets the kind and the message, and keeps the other fields. `error` may be NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void leat__error_set(leat_error *error, leat_kind kind, const char *format, ...);
/* Sets the kind to LEAT_NO_MEMORY. Returns false. */
bool leat__no_memory(leat_error *error);
/* Appends to the message, which is truncated between characters. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void leat__error_add(leat_error *error, const char *format, ...);
/* The secrets that no message may contain. */
typedef struct leat_secrets {
  leat_string token, previous; /* previous: the token that `token` replaced */
  bool hide;                   /* hide all foreign text, since it may be a token itself */
} leat_secrets;

#define LEAT_NO_SECRETS ((leat_secrets){{NULL, 0}, {NULL, 0}, false})

/* Copies foreign text to `out` for use in a message: invisible and control characters
** become spaces, and pieces of a secret are masked. Truncates to `size`. */
void leat__clean(char *out, size_t size, leat_string text, leat_secrets secrets);

/* ---- JSON (json.c) --------------------------------------------------------------- */

#define LEAT_BYTE_ORDER_MARK "\xEF\xBB\xBF" /* U+FEFF in UTF-8 */

/* Decodes a document strictly; it must be an object or an array. On failure returns NULL
** and describes in `why` what is wrong and at which byte, without quoting the text. An
** empty `why` means out of memory. */
leat_json *leat__json_parse(leat_string text, char *why, size_t why_size);
/* Wipes the document before it is freed, since it may contain a token. */
void leat__json_free(leat_json *document);
/* Returns whether any of the names occurs more than once in the object. NULL ends the
** list of names. */
bool leat__json_repeats(const leat_json *object, const char *const *names);
const leat_json *leat__json_member(const leat_json *object, leat_string name);
/* Like leat_json_get. Inline, so that the compiler computes the length of a literal. */
static inline const leat_json *leat__get(const leat_json *object, const char *name) {
  return leat__json_member(object, (leat_string){name, strlen(name)});
}

/* Appends any text as a JSON string. Bytes that are not UTF-8 become U+FFFD. */
void leat__append_json(leat_buffer *buffer, leat_string text);
/* Does the same into a buffer of that size, as leat_json_write does. */
size_t leat__json_quote(leat_string text, char *buffer, size_t size);

/* ---- URLs (url.c) ---------------------------------------------------------------- */

typedef struct leat_url {
  char *origin; /* "https://api.piggy.eu", with the port if it is not the default */
  char *host;   /* without brackets */
  char *path;   /* without a trailing slash */
  int port;
  bool tls;
  bool loopback; /* the host is this machine */
} leat_url;

/* Parses a base URL. Returns false on failure and describes it in `error`, with the name
** of the setting. The URL must be freed in either case. */
bool leat__url_parse(leat_url *url, const char *text, const char *name,
                     leat_error *error);
void leat__url_free(leat_url *url);
/* Returns whether the host is "localhost", "::1", or an address in 127.0.0.0/8. */
bool leat__loopback(const char *host);
/* Returns whether the text is a path: empty, or segments of valid characters and percent
** escapes. No segment may be empty, "." or "..", encoded or not. */
bool leat__is_path(leat_string text);
/* Appends the text percent-encoded: all but letters, digits and -._~ becomes %XX. */
void leat__append_encoded(leat_buffer *buffer, leat_string text);

/* ---- headers (headers.c) --------------------------------------------------------- */

/* HTTP's grammar. A token is, for example, a method or the name of a header. */
bool leat__is_token(leat_string text);
/* Returns the length of the token that the text begins with; 0 if there is none. */
size_t leat__token_length(leat_string text);
/* Returns whether the text has no control characters other than tabs. */
bool leat__is_field_value(leat_string text);
/* Returns whether the text is ASCII without control characters and spaces. */
bool leat__is_visible(leat_string text);

typedef struct leat_headers { /* initialize with { 0 } */
  leat_header *list;
  size_t count;
} leat_headers;

/* Appends a copy. Returns false if memory runs out. */
bool leat__headers_add(leat_headers *headers, leat_string name, leat_string value);
/* Replaces the first header, or appends it to an empty list. The replaced header moves to
** `previous`, whose old content is wiped. Returns false if memory runs out. */
bool leat__headers_put(leat_headers *headers, leat_header *previous, leat_string name,
                       leat_string value);
void leat__header_wipe(leat_header *header);
/* Wipes the headers before they are freed, since one contains the token. */
void leat__headers_free(leat_headers *headers);
/* Returns what is wrong with a header from the caller; NULL if nothing is. Content-Type
** is allowed only with `content_type_too`. */
const char *leat__check_header(leat_header header, bool content_type_too);

/* ---- retries (retry.c) ----------------------------------------------------------- */

typedef struct leat_retry {
  int max_attempts, base_ms, cap_ms;
} leat_retry;

typedef enum leat_decision {
  LEAT_UNDECIDED = 0,
  LEAT_GIVE_UP,
  LEAT_SEND_AGAIN,   /* send the operation once more */
  LEAT_VERIFY,       /* find the card, to verify the outcome */
  LEAT_INCONCLUSIVE, /* the find does not show the outcome */
  LEAT_RECOVERED,    /* the state is as requested */
  LEAT_CONTRADICTED, /* the card exists, but not as requested */
  LEAT_MISSING       /* the card does not exist */
} leat_decision;

/* The state that a call requested, for verification. Data NULL: not requested. */
typedef struct leat_desired {
  leat_string value, name, contact_uuid;
  bool owner_known;  /* the card's owner before the change is known, or was required */
  leat_string owner; /* the contact's uuid; data NULL: none */
} leat_desired;

/* Returns whether the service asked to wait: a 429 or a 503. */
bool leat__retry_throttled(leat_kind kind);
/* Decides what follows a failed exchange of the operation itself. */
leat_decision leat__retry_decide(leat_recovery recovery, const leat_error *error,
                                 bool maybe_applied);
/* Returns whether an error proves that earlier attempts were not applied either. */
bool leat__retry_settles(leat_kind kind);
/* Decides what one find shows of a change. Anything but LEAT_RECOVERED may be stale, and
** counts only when a second find shows the same. */
leat_decision leat__verify_found(leat_recovery recovery, const leat_desired *desired,
                                 const leat_contact_identifier *card);
/* Decides what a find that failed with that kind shows of a change. */
leat_decision leat__verify_failed(leat_recovery recovery, leat_kind kind,
                                  bool owner_known);
/* Returns whether the card belongs to the contact, or to none if data is NULL. */
bool leat__is_owner(leat_string owner, const leat_contact_identifier *card);
/* Returns the delay before the next attempt in milliseconds, after `attempt` attempts. */
int64_t leat__retry_delay(const leat_retry *retry, int attempt, bool throttled,
                          uint64_t random);
/* Returns the milliseconds that a Retry-After header asks for, in seconds or as a date;
** -1 if it is neither. A date is relative to `date`, the response's Date header, or to
** the local clock without one. */
int64_t leat__retry_after(leat_string text, leat_string date, int64_t unix_s);

/* ---- attempts (attempts.c) -------------------------------------------------------- */

typedef struct leat__attempt {
  struct leat__attempt *next;
  char *text; /* the card's value, owned; or NULL */
  leat_attempt shown;
} leat__attempt;

typedef struct leat__attempts { /* initialize with { 0 } */
  leat__attempt *first, *last;
  leat__attempt *taken; /* returned last; its value is borrowed */
  int count;
} leat__attempts;

/* Returns a record; NULL if memory runs out. */
leat__attempt *leat__attempt_new(const leat_attempt *shown);
void leat__attempt_free(leat__attempt *attempt);
/* Adds a record, which the queue then owns, with the time that its call waits now and the
** card's value (data NULL: not shown). Drops the oldest record if there are too many. */
void leat__attempt_report(leat__attempts *queue, leat__attempt *attempt, int64_t wait_ms,
                          leat_string value);
void leat__attempts_free(leat__attempts *queue);

/* ---- counts (counts.c) ------------------------------------------------------------ */

typedef struct leat__tally {
  uint64_t calls, attempts[LEAT_PURPOSES];
} leat__tally;

typedef struct leat__counts { /* initialize with { 0 }, but for the health */
  leat__tally ends[LEAT_COUNTED_OPERATIONS]
                  [LEAT_KINDS]; /* by operation, and kind of end */
  int64_t queue_ms[LEAT_QUEUES];
  leat_health health;
} leat__counts;

/* Returns the row of the counts to which calls of the operation belong. */
uint8_t leat__counted_as(const leat_op *op);
/* Counts an exchange that ended. */
void leat__count_exchange(leat__counts *counts, uint8_t row, leat_purpose purpose,
                          leat_kind kind);
/* Counts a wait in a queue that ended. */
void leat__count_wait(leat__counts *counts, leat_queue queue, int64_t ms);
/* Counts a call that is done. */
void leat__count_call(leat__counts *counts, uint8_t row, const leat_error *error,
                      leat_moment now);

/* ---- the rate limit (slots.c) ----------------------------------------------------- */

typedef struct leat_slot { /* initialize with { 0 } */
  int64_t at_us;
  struct leat_slot *next, *prev;
  int32_t late_us; /* how much later it may be used */
  bool held;
} leat_slot;

typedef struct leat_slots {
  int64_t free_us;         /* the next free slot */
  int64_t length_us;       /* 0: no rate limit */
  leat_slot *first, *last; /* the slots that are held, in order */
} leat_slots;

/* Returns whether a slot is held, and gives one up that was missed. */
bool leat__slot_is_held(leat_slots *slots, leat_slot *slot, leat_moment now);
/* Takes the next free slot. */
void leat__slot_take(leat_slots *slots, leat_slot *slot, leat_moment now);
/* Ends the use of a slot, because its exchange begins or because it was missed. */
void leat__slot_use(leat_slots *slots, leat_slot *slot);
/* Gives back a slot in which nothing was sent: each later one moves up. Returns whether
** there was a later one. */
bool leat__slot_return(leat_slots *slots, leat_slot *slot);

/* ---- structs --------------------------------------------------------------------- */

struct leat_client {
  int references; /* one for the owner, and one for each call */
  leat_url url;
  leat_headers headers; /* for every request: Authorization first, Content-Type last */
  leat_header previous_authorization; /* the Authorization before the last renewal */
  int timeout_ms, connect_timeout_ms, queue_timeout_ms;
  size_t max_body;
  leat_retry retry;
  uint64_t epoch;
  bool token_from_caller, fetches_token; /* neither: the token is fixed */
  bool shared;                           /* the token is shared with other processes */
  bool slots_from_caller; /* the slots of its rate are: the driver reserves them */
  leat_url token_url;
  char *client_id, *client_secret;
  int64_t token_until;   /* INT64_MIN: there is no token, or it was refused */
  unsigned token_number; /* counts the tokens */
  bool token_shared;     /* from a store; may be older than the token that it replaced */
  const void *lease;     /* the call that obtains a token, or NULL */
  int64_t lease_until;   /* how long other calls wait for it */
  int retry_budget, retry_budget_limit; /* limit -1: no budget */
  int rate_limit, rate_remaining;       /* as the service last said; -1: unknown */
  leat_pause pause;                     /* the last one; it may be over */
  const void *probe;   /* the one call that is sent after a long pause, or NULL */
  int64_t probe_until; /* how long other calls wait for it */
  leat_slots slots;
  leat_observe observe;
  leat__attempts attempts;
  leat__counts counts;
};

void leat__client_hold(leat_client *client);
void leat__client_release(leat_client *client);
/* Starts a pause, or merges it into the current one: the later end and the stricter
** flags apply. */
void leat__client_pause(leat_client *client, leat_moment now, const leat_pause *pause);

/* ---- tokens (token.c) ------------------------------------------------------------ */

leat_secrets leat__client_secrets(const leat_client *client);
/* Replaces the client's token. Returns false if memory runs out. */
bool leat__token_set(leat_client *client, leat_string token);
/* Returns whether the client has a token that has neither expired nor been refused. */
bool leat__token_is_there(const leat_client *client, leat_moment now);
/* Records that the service refused the token with that number. */
void leat__token_refused(leat_client *client, unsigned number);
/* Takes or extends the lease: the right to obtain a token. Returns false if another call
** has it; the caller then waits until lease_until. */
bool leat__token_lease(leat_client *client, const void *holder, leat_moment now);
/* Gives the lease back if `holder` has it. */
void leat__token_release(leat_client *client, const void *holder);
/* Appends the body of a request for a token, with the client's credentials. */
void leat__token_form(const leat_client *client, leat_buffer *form);
/* Takes the token from the response to that request, which ended with the error `fetched`
** (LEAT_OK if it succeeded). Returns false on failure and describes it in `error`. */
bool leat__token_take(leat_client *client, const leat_error *fetched,
                      const leat_json *data, leat_moment now, leat_error *error);

/* ---- responses (response.c) ------------------------------------------------------ */

/* A classified response. */
typedef struct leat_outcome {
  leat_error error; /* LEAT_OK if the response proves success */
  leat_json *document;
  leat_buffer fields; /* name NUL message NUL, repeated */
} leat_outcome;

/* What a call expects of its response, for classifying it. */
typedef struct leat_expected {
  const leat_op *op;
  leat_string value; /* the contact identifier's; for a list, the contact's uuid */
  leat_string origin;
  leat_secrets secrets;
  size_t max_body;
} leat_expected;

/* Classifies a response: sets kind, code, status, message and outcome_unknown of the
** error, the document and the fields. */
void leat__classify(leat_outcome *outcome, const leat_expected *expected,
                    const leat_response *response);
/* Returns the number in a header, of up to nine digits; -1 if there is none. */
int leat__rate(const leat_response *response, const char *name);
/* Implements leat_call_field. */
bool leat__field(const leat_outcome *outcome, size_t index, leat_field *field);
void leat__outcome_free(leat_outcome *outcome);

/* ---- calls (call.c, request.c, machine.c) ---------------------------------------- */

typedef enum leat__state {
  LEAT__NEW,
  LEAT__READY,        /* to be sent unless it must wait */
  LEAT__QUEUED,       /* waits for a token, a slot or the end of a pause; then READY */
  LEAT__BACKOFF,      /* waits before a retry; then READY */
  LEAT__VERIFY_LATER, /* waits before a find; then VERIFYING */
  LEAT__WAIT_TOKEN,   /* waits for a token from the caller or a store */
  LEAT__WAIT_SLOT,    /* waits for the driver to reserve a slot */
  LEAT__SENDING,      /* the driver performs the exchange */
  /* In the next three states the inner call is the one under way. */
  LEAT__FETCHING,  /* it fetches a token */
  LEAT__COMPARING, /* it finds the card, to compare its owner before a change is sent */
  LEAT__VERIFYING, /* it finds the card, to verify the outcome of a change */
  LEAT__DONE
} leat__state;

typedef struct leat_argument {
  char *text; /* NULL: not set, or a boolean */
  uint32_t length;
  bool set, boolean;
} leat_argument;

/* What only the calls of leat_call_new_request, and those to another origin, have. */
typedef struct leat_raw {
  leat_op op;
  char method[LEAT_MAX_METHOD + 1];
  const leat_url *url; /* another origin; NULL: the client's */
  const char *separator;
} leat_raw;

struct leat_call {
  int references; /* one for the owner, and one for a driver that works on it */
  leat__state state;
  leat_client *client;
  const leat_op *op;
  void *user;
  const void *driver; /* the driver that works on it, or NULL */
  void *job;          /* the driver's own pointer */

  leat_raw *raw; /* for a call of leat_call_new_request or to another origin, or NULL */
  leat_argument arguments[LEAT_MAX_PARAMETERS];
  /* The contact that must own the card before each attempt: the one that the caller
  ** expects, or else the one that the first verifying find returned; text NULL: none. */
  leat_argument owner;
  int timeout_ms, queue_timeout_ms, max_attempts;
  unsigned token_number; /* identifies the token that it was sent with */
  leat_request request;  /* filled when the call begins, but for connect_timeout_ms */
  leat_buffer target, body;
  leat_headers headers;     /* the call's own */
  leat_headers all_headers; /* the client's and the call's own, as they are sent; empty if
                            ** it has none of its own */

  int64_t deadline;  /* for the whole call; 0: nothing was sent yet */
  int64_t until;     /* the end of a wait */
  int64_t queued_at; /* when the current wait in a queue began */
  int64_t queued_ms; /* all waits in queues together; they are not part of the timeout */
  leat_slot slot;    /* its slot of the client's rate limit */
  uint64_t epoch;
  int sends;            /* how often the operation itself was sent */
  int cost;             /* what its retries took from the client's retry budget */
  leat_decision seen;   /* what the last find to verify its last attempt showed */
  uint8_t verify_count; /* these finds */
  uint8_t counted_as;   /* the row of the client's counts: its outer call's */
  uint8_t purpose;      /* what its exchanges are for: a leat_purpose */
  uint8_t queue;        /* the one that it waits in, or waited in last: a leat_queue */
  int64_t began;        /* when the exchange began */
  leat__attempt *unreported; /* the record of an exchange that is not reported yet */
  bool recovered, renewed, reused;
  bool compared;      /* the card's owner was just found to be `owner` */
  bool maybe_applied; /* a response was lost, perhaps before this call began: the change
                      ** may have been made */
  bool token_shared;  /* the token came from a store */
  bool counted;       /* it is done, and was counted */
  leat_call *inner;   /* a call that this one makes by itself, or NULL */

  leat_outcome outcome;
  int rate_limit, rate_remaining;
};

/* call.c */
/* Gives back what the call holds of its client: the token lease, its slot, the probe. */
void leat__call_leave_client(leat_call *call);
void leat__call_end_probe(leat_call *call);
/* Records misuse, unless the call has an error already. `what` follows `which` in the
** message. */
void leat__misuse(leat_call *call, const char *what, const char *which);
/* Returns a parameter as text; "true" or "false" if it is not a string. */
leat_string leat__argument_text(const leat_call *call, size_t i);

/* request.c */
/* Returns a new call to another origin, with a form as its body and without the client's
** token; NULL if memory runs out. */
leat_call *leat__call_to_origin(leat_client *client, const leat_op *op,
                                const leat_url *url);
bool leat__call_is_to_other_origin(const leat_call *call);
/* Builds the request from the parameters. On failure sets the call's error. */
void leat__make_request(leat_call *call);
/* Builds its headers with the current token. Returns false if memory runs out. */
bool leat__make_headers(leat_call *call);
/* Puts the current token into headers that leat__make_headers built. Returns false if
** memory runs out: they then have the token of before. */
bool leat__renew_authorization(leat_call *call);

#endif
