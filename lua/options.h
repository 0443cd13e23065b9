/*
** options.h - reads the fields of a table of options, for the C modules of leat.
**
** The Lua side has checked names and types, and passes plain tables without metatables.
** Strings are borrowed from the table.
*/
#ifndef LEAT_OPTIONS_H
#define LEAT_OPTIONS_H

#include "compat.h"
#include "leat.h"

/* Returns the string in field `key` of the table at `index`; data is NULL if it is not a
** string. */
leat_string leat__option_string(lua_State *L, int index, const char *key);
/* The same for a C string. Raises an error for a string with a NUL byte, because C would
** see only the part before it. */
const char *leat__option_text(lua_State *L, int index, const char *key);
/* Copies a string field to `out`, truncated to `size`, with NULs replaced by spaces. */
void leat__option_copy(lua_State *L, int index, const char *key, char *out, size_t size);
/* Absent fields are false and 0. */
bool leat__option_boolean(lua_State *L, int index, const char *key);
lua_Number leat__option_number(lua_State *L, int index, const char *key);
int leat__option_int(lua_State *L, int index, const char *key);
int leat__option_ms(lua_State *L, int index, const char *key); /* from seconds */

/* Truncates a number to an int. A number beyond the range becomes INT_MAX or INT_MIN, and
** NaN becomes INT_MIN, so that the core refuses it. */
int leat__to_int(lua_Number number);
/* Converts seconds to milliseconds, rounded up, with the same limits. Returns INT_MIN if
** they are negative. */
int leat__to_ms(lua_Number seconds);

/* Converts a list { name, value, ... } to headers. Pushes the userdata that holds them.
** Their text is borrowed from the list. */
leat_header *leat__to_headers(lua_State *L, int list, size_t *count);

#endif
