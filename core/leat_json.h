/*
** Strings, and the JSON values of responses. leat.h includes this header.
*/
#ifndef LEAT_JSON_H
#define LEAT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LEAT_API __attribute__((visibility("default")))
#else
#define LEAT_API
#endif

/* ---- strings --------------------------------------------------------------------- */

/* A text, as bytes and a length. */
typedef struct leat_string {
  const char *data; /* not NUL-terminated unless the declaration says so */
  size_t length;    /* the number of bytes */
} leat_string;

/* Returns a C string as a leat_string that borrows `text`. NULL gives { NULL, 0 }. */
LEAT_API leat_string leat_s(const char *text);

/* Returns whether two values name the same contact identifier. The service trims values
** and ignores their case, so blanks at either end and the case of ASCII letters make no
** difference. Returns false if either string has data NULL. */
LEAT_API bool leat_same_value(leat_string a, leat_string b);
/* Writes a form of the value that all values have in common which leat_same_value equates:
** for keys. Writes at most `size` bytes, without a NUL, and returns the length, which is at
** most that of the value. */
LEAT_API size_t leat_normal_value(leat_string value, char *out, size_t size);

/* A header of a request or a response. */
typedef struct leat_header {
  leat_string name;  /* in any case */
  leat_string value; /* without blanks at its ends */
} leat_header;

/* ---- JSON values: responses of the service, decoded strictly --------------------- */

/* A JSON value, borrowed from the call that holds it. */
typedef struct leat_json leat_json;

/* The type of a value. */
typedef enum leat_type {
  LEAT_ABSENT = 0, /* the type of a NULL pointer */
  LEAT_NULL,       /* JSON's null */
  LEAT_BOOLEAN,    /* true or false */
  LEAT_INTEGER,    /* a number that fits an int64_t */
  LEAT_REAL,       /* any other number */
  LEAT_STRING,     /* a string */
  LEAT_ARRAY,      /* an array */
  LEAT_OBJECT      /* an object */
} leat_type;

/* A member of an object; initialize it with { 0 }. */
typedef struct leat_member {
  leat_string name;       /* its name, NUL-terminated */
  const leat_json *value; /* its value */
  void *position;         /* private to the library */
} leat_member;

/* Returns the type of a value. Like the functions below it accepts NULL, whose type is
** LEAT_ABSENT. */
LEAT_API leat_type leat_json_type(const leat_json *value);
/* Returns a boolean. Other types: false. */
LEAT_API bool leat_json_boolean(const leat_json *value);
/* Returns an integer. Other types: 0. */
LEAT_API int64_t leat_json_integer(const leat_json *value);
/* Returns the value of a LEAT_REAL or a LEAT_INTEGER. Other types: 0. */
LEAT_API double leat_json_real(const leat_json *value);
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

/* Writes a value as JSON text without blanks, which decodes to an equal value: members keep
** their order, numbers their type and all digits, and an empty array remains an array.
** Returns the length of the whole text, like snprintf. `buffer` receives the part of it that
** fits into `size` bytes together with a NUL; it may be NULL if `size` is 0. The text of NULL
** is empty. */
LEAT_API size_t leat_json_write(const leat_json *value, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
