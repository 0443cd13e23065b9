/*
** push.h - pushes values of the core to Lua, for the C modules of leat.
**
** The functions named set_x set field `key` of the table on top of the stack. Those that
** push JSON are for functions with the upvalues of binding.h.
*/
#ifndef LEAT_PUSH_H
#define LEAT_PUSH_H

#include "binding.h"

void leat__push_string(lua_State *L, leat_string text);
/* Never rounds: where Lua has no integers, one beyond 2^53 becomes a string of digits. */
void leat__push_integer(lua_State *L, int64_t value);
/* Pushes a JSON value. In objects nulls are omitted; otherwise they are light userdata
** NULL, which is leat.null. */
void leat__push_json(lua_State *L, const leat_json *value);
/* Pushes the text that leat_json_write writes of the value. */
void leat__push_json_text(lua_State *L, const leat_json *value);
/* Pushes { [name] = value }. */
void leat__push_headers(lua_State *L, const leat_header *headers, size_t count);
/* Pushes { limit =, remaining = }; a negative limit is unknown. */
void leat__push_rate(lua_State *L, int limit, int remaining);

void leat__set_text(lua_State *L, const char *key, const char *text);
void leat__set_string(lua_State *L, const char *key, leat_string text);
void leat__set_boolean(lua_State *L, const char *key, bool value);
void leat__set_integer(lua_State *L, const char *key, int64_t value);
void leat__set_positive(lua_State *L, const char *key, int64_t value); /* omits others */
void leat__set_seconds(lua_State *L, const char *key, int64_t ms);
void leat__set_sent(lua_State *L, leat_sent sent);

/* Push the outcome of a call that is done. The metatables are at absolute indices. */
void leat__push_error(lua_State *L, const leat_call *call, int metatable,
                      int card_metatable);
/* Pushes a card, an object, with the metatable at an absolute index. Omits members that
** would hide a method. */
void leat__push_card(lua_State *L, const leat_json *card, int metatable);
/* Never pushes nil. */
void leat__push_result(lua_State *L, const leat_call *call, int card_metatable);
/* With `json`, the response's data is in the field of that name, as text. */
void leat__push_info(lua_State *L, const leat_call *call, bool json);

#endif
