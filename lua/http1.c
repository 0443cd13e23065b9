/*
** http1.c - the HTTP/1.1 codec, for drivers in Lua that have a byte stream.
**
**   core.http1()                 Returns a codec, for one exchange at a time.
**   http:begin(call)             Begins the exchange after "send". Returns "more" or
**                                "failed".
**   http:output()                Returns the next bytes to send, at most 16 KiB; nothing
**                                if there are none.
**   http:sent(length)            Records that so many were sent. Returns the next.
**   http:received(bytes)         Returns "more", "response" or "failed".
**   http:closed()                The connection ended in an orderly way. Returns the same
**                                as http:received.
**   http:report(call, ms, unix)  Gives the call its response, or the failure. Returns
**                                whether the connection may be reused.
**   http:close()
*/
#include "core.h"
#include "push.h"

#include <string.h>

#define HTTP1_TYPE "leat.http1 " LEAT_VERSION

enum { LARGEST_PIECE = 16 * 1024 }; /* bytes to send that http:output returns at once */

typedef struct http1_box { /* `http` is NULL until it is created, and once closed */
  leat_http1 *http;
  bool begun;
  leat_http1_state state;
  leat_sent sent;
  bool surplus; /* bytes followed the response */
} http1_box;

/* ---- creating and closing -------------------------------------------------------- */

static int core_http1(lua_State *L) {
  http1_box *box = lua_newuserdata(L, sizeof *box);
  memset(box, 0, sizeof *box);
  luaL_setmetatable(L, HTTP1_TYPE);
  box->http = leat_http1_new();
  return box->http ? 1 : luaL_error(L, "not enough memory");
}

static int http1_close(lua_State *L) {
  http1_box *box = check_box(L, 1, OWN, HTTP1_TYPE);
  leat_http1_free(box->http);
  box->http = NULL;
  return 0;
}

static http1_box *check_open(lua_State *L) {
  http1_box *box = check_box(L, 1, OWN, HTTP1_TYPE);
  luaL_argcheck(L, box->http != NULL, 1, "codec is closed");
  return box;
}

static http1_box *check_begun(lua_State *L) {
  http1_box *box = check_open(L);
  luaL_argcheck(L, box->begun, 1, "no exchange was begun");
  return box;
}

/* ---- an exchange ----------------------------------------------------------------- */

static int push_state(lua_State *L, http1_box *box, leat_http1_state state) {
  static const char *const states[] = {[LEAT_HTTP1_MORE] = "more",
                                       [LEAT_HTTP1_RESPONSE] = "response",
                                       [LEAT_HTTP1_FAILED] = "failed"};
  box->state = state;
  lua_pushstring(L, states[state]);
  return 1;
}

static int http1_begin(lua_State *L) {
  http1_box *box = check_open(L);
  leat_call *call = check_call(L, 2);
  const leat_request *request = leat_call_request(call);
  luaL_argcheck(L, request != NULL, 2, "the call has nothing to send");
  box->begun = true;
  box->sent = LEAT_SENT_NO;
  box->surplus = false;
  return push_state(L, box, leat_http1_begin(box->http, request));
}

/* Pushes the next bytes to send. From then on they may have been sent. */
static int push_output(lua_State *L, http1_box *box) {
  leat_string out = leat_http1_output(box->http);
  if (out.length == 0) return 0;
  box->sent = LEAT_SENT_MAYBE;
  if (out.length > LARGEST_PIECE) out.length = LARGEST_PIECE;
  leat__push_string(L, out);
  return 1;
}

static int http1_output(lua_State *L) {
  return push_output(L, check_begun(L));
}

static int http1_sent(lua_State *L) {
  http1_box *box = check_begun(L);
  lua_Integer length = luaL_checkinteger(L, 2);
  size_t left = leat_http1_output(box->http).length;
  luaL_argcheck(L, length >= 0 && (size_t)length <= left, 2,
                "more than there was to send");
  leat_http1_sent(box->http, (size_t)length);
  return push_output(L, box);
}

static int http1_received(lua_State *L) {
  http1_box *box = check_begun(L);
  size_t left, room;
  const char *bytes = luaL_checklstring(L, 2, &left);
  leat_http1_state state = box->state;
  while (left > 0 && state == LEAT_HTTP1_MORE) {
    char *space = leat_http1_space(box->http, &room);
    if (room > left) room = left;
    if (space) memcpy(space, bytes, room);
    state = space ? leat_http1_received(box->http, room) : LEAT_HTTP1_FAILED;
    bytes += room;
    left -= room;
  }
  if (left > 0) box->surplus = true;
  return push_state(L, box, state);
}

static int http1_closed(lua_State *L) {
  http1_box *box = check_begun(L);
  return push_state(L, box, leat_http1_closed(box->http));
}

/* http:report(call, ms, unix) */
static int http1_report(lua_State *L) {
  const http1_box *box = check_begun(L);
  leat_call *call = check_call(L, 2);
  leat_moment now = leat__check_moment(L, 2);
  const char *detail;
  luaL_argcheck(L, box->state != LEAT_HTTP1_MORE, 1, "the exchange is not at its end");
  if (box->state == LEAT_HTTP1_RESPONSE) {
    leat_call_respond(call, now, leat_http1_response(box->http));
  } else {
    leat_kind kind = leat_http1_failure(box->http, &detail);
    leat_call_fail(call, now, kind, box->sent, detail);
  }
  lua_pushboolean(L, !box->surplus && leat_http1_reusable(box->http));
  return 1;
}

/* ---- the type -------------------------------------------------------------------- */

void leat__open_http1(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"begin", http1_begin},   {"output", http1_output},
      {"sent", http1_sent},     {"received", http1_received},
      {"closed", http1_closed}, {"report", http1_report},
      {"close", http1_close},   {NULL, NULL}};
  static const luaL_Reg functions[] = {{"http1", core_http1}, {NULL, NULL}};
  leat__new_type(L, HTTP1_TYPE, http1_close, methods);
  leat__set_functions(L, HTTP1_TYPE, functions);
}
