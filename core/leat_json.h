/*
** leat_json.h - strings, and the JSON values of responses. leat.h includes it.
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

typedef struct leat_string {
  const char *data; /* not NUL-terminated unless the declaration says so */
  size_t length;
} leat_string;

/* Returns a C string as a leat_string that borrows `text`. NULL gives { NULL, 0 }. */
LEAT_API leat_string leat_s(const char *text);

/* Returns whether two values name the same contact identifier. The service trims values
** and ignores their case, so blanks at either end and the case of ASCII letters make no
** difference. Returns false if either string has data NULL. */
LEAT_API bool leat_same_value(leat_string a, leat_string b);

typedef struct leat_header {
  leat_string name, value;
} leat_header;

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

/* Each of these functions accepts NULL, whose type is LEAT_ABSENT. */
LEAT_API leat_type leat_json_type(const leat_json *value);
LEAT_API bool leat_json_boolean(const leat_json *value);    /* other types: false */
LEAT_API int64_t leat_json_integer(const leat_json *value); /* other types: 0 */
LEAT_API double leat_json_real(const leat_json *value);     /* LEAT_INTEGER, too: 0 */
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
