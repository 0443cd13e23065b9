/*
** leat_cli.c - the module leat.cli.core: what the command needs of the system and Lua lacks.
**
**   core.read(fd)             Returns what can be read, "" at the end; or nil and a message.
**                             Blocks if nothing can be read yet.
**   core.write(fd, text)      Writes all of the text. Returns true; or nil, a message and
**                             whether nobody reads any more (EPIPE).
**   core.is_readable(fd)      Returns whether read would not block.
**   core.discard_typed(fd)    Discards what was typed on the terminal and not read yet.
**   core.is_terminal(fd)
**   core.columns(fd)          Returns the width of the terminal, or nil.
**   core.catch_signals()      From now on signals that end a program are only recorded. A
**                             second signal ends it at once.
**   core.signal()             Returns the number of the signal that was recorded, or nil.
**   core.die(signal)          Ends the process by the signal. A shell sees 128 + signal.
*/
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "binding.h"
#include "compat.h"

static volatile sig_atomic_t
    received; /* the program has one set of signals, not each state */

static void set_handler(int number, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, NULL);
}

static void on_signal(int number) {
  if (received) {
    set_handler(number, SIG_DFL);
    raise(number); /* takes effect when this handler returns */
  }
  received = number;
}

/* A signal that was ignored when the program started stays ignored, as under nohup. */
static int cli_catch_signals(lua_State *L) {
  static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
  (void)L;
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    struct sigaction old;
    if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
      set_handler(numbers[i], on_signal);
  }
  return 0;
}

static int cli_signal(lua_State *L) {
  if (received) lua_pushinteger(L, received);
  else lua_pushnil(L);
  return 1;
}

static int cli_die(lua_State *L) {
  int number = (int)luaL_checkinteger(L, 1);
  sigset_t set;
  set_handler(number, SIG_DFL);
  sigemptyset(&set);
  sigaddset(&set, number);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  raise(number);
  _exit(128 + number);
}

static int push_failure(lua_State *L) {
  int error = errno;
  lua_pushnil(L);
  lua_pushstring(L, strerror(error));
  lua_pushboolean(L, error == EPIPE);
  return 3;
}

static int cli_read(lua_State *L) {
  int fd = (int)luaL_checkinteger(L, 1);
  char buffer[16384];
  ssize_t count = read(fd, buffer, sizeof buffer);
  if (count < 0) return push_failure(L);
  lua_pushlstring(L, buffer, (size_t)count);
  return 1;
}

/* Waits where the descriptor does not block, such as a terminal that it shares with others. */
static int cli_write(lua_State *L) {
  int fd = (int)luaL_checkinteger(L, 1);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  while (length > 0) {
    ssize_t count = write(fd, text, length);
    if (count >= 0) {
      text += count;
      length -= (size_t)count;
    } else if (errno == EAGAIN) {
      poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 100);
    } else if (errno != EINTR) {
      return push_failure(L);
    }
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int cli_is_readable(lua_State *L) {
  struct pollfd one = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};
  lua_pushboolean(L, poll(&one, 1, 0) > 0);
  return 1;
}

static int cli_discard_typed(lua_State *L) {
  tcflush((int)luaL_checkinteger(L, 1), TCIFLUSH);
  return 0;
}

static int cli_is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

static int cli_columns(lua_State *L) {
  struct winsize size;
  if (ioctl((int)luaL_checkinteger(L, 1), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    lua_pushinteger(L, size.ws_col);
  else lua_pushnil(L);
  return 1;
}

/* A standard descriptor that is closed would become that of a connection, which would then
** receive what the program prints. So closed ones get a descriptor that fails instead. */
static void reserve_standard_descriptors(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) != -1) continue;
    int opened = open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
    if (opened != fd && opened != -1) close(opened);
  }
}

LEAT_API int luaopen_leat_cli_core(lua_State *L);

LEAT_API int luaopen_leat_cli_core(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"read", cli_read},
      {"write", cli_write},
      {"is_readable", cli_is_readable},
      {"discard_typed", cli_discard_typed},
      {"is_terminal", cli_is_terminal},
      {"columns", cli_columns},
      {"catch_signals", cli_catch_signals},
      {"signal", cli_signal},
      {"die", cli_die},
      {NULL, NULL},
  };
  reserve_standard_descriptors();
  luaL_newlib(L, functions);
  return 1;
}
