/*
** What a client does, for logs, metrics and health checks: each of its exchanges, what it
** counts, what its calls wait for, and when they last worked. A program that only makes
** calls needs leat.h alone.
*/
#ifndef LEAT_OBSERVE_H
#define LEAT_OBSERVE_H

#include "leat.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- exchanges ------------------------------------------------------------------- */

/* The purpose of an exchange. */
typedef enum leat_purpose {
  LEAT_TO_CALL = 0,  /* the operation itself */
  LEAT_TO_VERIFY,    /* a find, to verify the outcome of a change or the card's owner */
  LEAT_TO_GET_TOKEN, /* a request for a token */
  LEAT_PURPOSES      /* the number of purposes */
} leat_purpose;

/* The result of one exchange. It contains no token. */
typedef struct leat_attempt {
  char operation[48];   /* the call's: "contact_identifiers.create" */
  leat_purpose purpose; /* this exchange's */
  int attempt;          /* 1 for the call's first exchange, 2 for its second, ... */
  leat_kind kind;       /* LEAT_OK if it succeeded */
  int code;             /* as in leat_error */
  int status;           /* as in leat_error */
  leat_sent sent;       /* as in leat_error */
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

/* ---- what a client counts -------------------------------------------------------- */

/* How many calls, and exchanges, of one operation ended in one way. Every exchange belongs
** to the operation of the program's call. */
typedef struct leat_count {
  char
      operation[48]; /* "contact_identifiers.find"; "client.request" for other requests */
  leat_kind kind;    /* how they ended: LEAT_OK if they succeeded */
  uint64_t calls;    /* calls that ended so */
  uint64_t attempts[LEAT_PURPOSES]; /* exchanges that ended so, by their leat_purpose */
} leat_count;

/* Fills `count` with the counts at `index`, from 0: one row for each pair of an operation
** and a kind, most of them 0. Returns false after the last ones. */
LEAT_API bool leat_client_count(const leat_client *client, size_t index,
                                leat_count *count);

/* What calls wait for before they are sent. */
typedef enum leat_queue {
  LEAT_FOR_CONNECTION = 0, /* a free connection of the driver */
  LEAT_FOR_TOKEN,          /* a token that another call, or another process, is getting */
  LEAT_FOR_SLOT,           /* a slot of the rate limit */
  LEAT_FOR_PAUSE,          /* the end of a pause, or of the probe that follows it */
  LEAT_QUEUES              /* the number of queues */
} leat_queue;

/* Returns how long all calls together waited in a queue, in ms. A wait is added when it
** ends; a pause that counts towards the timeout, when it begins. */
LEAT_API int64_t leat_client_queue_ms(const leat_client *client, leat_queue queue);

/* ---- whether it works ------------------------------------------------------------- */

/* When calls last ended, on the clock of leat_moment.monotonic_ms; INT64_MIN: none did.
** If both happen within a millisecond, the later one gets a later time. */
typedef struct leat_health {
  int64_t success_ms; /* the service responded as it does when it works, to any effect:
                      ** LEAT_NOT_FOUND, for example, is such a response */
  int64_t failure_ms; /* it did not, or the call was not sent at all */
  leat_kind failure;  /* the kind of that failure; LEAT_OK if there was none */
} leat_health;

/* Returns when calls of the client last worked, and failed. Calls that were canceled, or
** that failed because of a mistake of the program, are left out. */
LEAT_API leat_health leat_client_health(const leat_client *client);

/* Reports the rate limit that the service last stated: the number of requests that it
** allows, and how many of them remain. Each is -1 if unknown. */
LEAT_API void leat_client_rate(const leat_client *client, int *limit, int *remaining);

#ifdef __cplusplus
}
#endif
#endif
