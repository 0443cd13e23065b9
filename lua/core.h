/*
** core.h - shared by the files of the module leat.core, one for each type of userdata.
**
** leat__open_x creates the type x and adds its functions to the module, the table on top
** of the stack.
*/
#ifndef LEAT_CORE_H
#define LEAT_CORE_H

#include "binding.h"

#define CLIENT_TYPE "leat.client " LEAT_VERSION

void leat__open_client(lua_State *L);
void leat__open_call(lua_State *L);
void leat__open_http1(lua_State *L);
void leat__open_json(lua_State *L);
void leat__open_digest(lua_State *L);
void leat__open_poller(lua_State *L);

/* The methods of calls that drivers in Lua use. */
extern const luaL_Reg leat__driver_methods[];

/* For functions whose OWN is the metatable of clients. */
leat_client *leat__check_client(lua_State *L, int index);

/* Sets a call's parameters: the required ones are at `index` and after it, followed by a
** table of the others. Returns 0; or pushes nil and a message, and returns 2. */
int leat__set_arguments(lua_State *L, leat_call *call, int index);

/* Pushes nil and the message "WHAT IS_WRONG". Returns 2, the number of values. */
int leat__push_misuse(lua_State *L, const char *what, const char *is_wrong);

#define CONTAINS_NUL "contains a NUL byte"

/* Returns whether the value is a string with a NUL byte: C would see only a part of it. */
bool leat__contains_nul(lua_State *L, int index);

/* Returns a time in ms from any number, limited to 4e15 in both directions. Such a time is
** as good as never, and adding a duration to it does not overflow. */
int64_t leat__check_time(lua_State *L, int index);
/* Returns a moment of the monotonic time at `index`. */
leat_moment leat__check_monotonic(lua_State *L, int index);
/* Returns a moment from the two arguments after the call at `index`: the driver's clocks.
** The random bits are those of the last call:next. */
leat_moment leat__check_moment(lua_State *L, int index);

/* Returns LEAT_KINDS for an unknown name. */
leat_kind leat__kind_by_name(const char *name);

int leat__core_operations(lua_State *L);

/* Pushes { seconds =, kind =, asked =, too_long = } while the client pauses, and returns
** 1; otherwise returns 0. */
int leat__push_pause(lua_State *L, const leat_client *client, leat_moment now);

#endif
