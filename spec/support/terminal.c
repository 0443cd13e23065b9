/*
** terminal.c - runs a command for a spec, on a pseudo-terminal or not, and tells how it ended.
**   terminal [-t FDS] [-p] [-c FDS] [-i SIGNAL] COMMAND ARGUMENT...
**     -t FDS      a pseudo-terminal is the command's descriptors FDS, such as 02
**     -p          a pipe is its standard input
**     -c FDS      its descriptors FDS are closed
**     -i SIGNAL   it ignores this signal, given as a number, as under nohup
** The command inherits the other ones of the descriptors 0, 1 and 2.
**
** The helper's descriptor 3 gives it instructions, one per line:
**     type BYTE...    types these bytes, given as numbers, on the terminal or into the pipe
**     end             closes the pipe, or hangs up the terminal
**     signal NUMBER   sends a signal to the command
**     wait            there are no more instructions; without it, their end kills the command
** Descriptor 4 gets what the terminal shows. Descriptor 5 gets "pid NUMBER" when the command
** starts; when it has ended, "memory KILOBYTES", the most that it used, and "exit STATUS" or
** "signal NUMBER".
*/
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { CONTROL = 3, SCREEN = 4, STATUS = 5, LONGEST = 4096 };
enum { TURN_MS = 10, MOST_SECONDS = 120 };

static const char *on_terminal = "", *closed = "";
static int ignored;   /* signal, or 0 */
static int input[2];  /* the pipe that is the standard input, if there is one */
static int has_input; /* a pipe */
static int master = -1;
static pid_t child;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "terminal: %s: %s\n", what, strerror(errno));
  exit(99);
}

/* ---- the child ---------------------------------------------------------------------- */

static void attach_terminal(void) {
  if (setsid() < 0) fail("setsid");
  int slave = open(ptsname(master), O_RDWR); /* it becomes the controlling one */
  if (slave < 0) fail("open");
  struct winsize size = {.ws_row = 24, .ws_col = 80};
  ioctl(slave, TIOCSWINSZ, &size);
  for (const char *fd = on_terminal; *fd; fd++)
    dup2(slave, *fd - '0');
  close(slave);
}

/* The process that runs the specs, or its parent, may ignore signals. */
static void reset_signals(void) {
  static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    signal(numbers[i], numbers[i] == ignored ? SIG_IGN : SIG_DFL);
}

static _Noreturn void run(char **command) {
  if (*on_terminal) attach_terminal();
  if (has_input) dup2(input[0], 0);
  reset_signals();
  for (int fd = CONTROL; fd < 16; fd++)
    close(fd);
  for (const char *fd = closed; *fd; fd++)
    close(*fd - '0');
  execvp(command[0], command);
  _exit(127);
}

static void start(char **command) {
  if (*on_terminal) {
    master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) fail("terminal");
  }
  if (has_input && pipe(input) != 0) fail("pipe");
  child = fork();
  if (child < 0) fail("fork");
  if (child == 0) run(command);
  if (has_input) close(input[0]);
  dprintf(STATUS, "pid %ld\n", (long)child);
}

/* ---- instructions ------------------------------------------------------------------- */

static void type(const char *numbers) {
  char *rest, byte;
  long number = strtol(numbers, &rest, 10);
  for (; rest != numbers; number = strtol(numbers, &rest, 10)) {
    byte = (char)number;
    if (write(has_input ? input[1] : master, &byte, 1) != 1) return; /* nobody reads */
    numbers = rest;
  }
}

static void end_input(void) {
  if (has_input) {
    close(input[1]);
    input[1] = -1;
  } else {
    close(master);
    master = -1;
  }
}

/* Returns 0 if there are no more instructions. */
static int obey(const char *line) {
  if (strncmp(line, "type ", 5) == 0) type(line + 5);
  else if (strncmp(line, "signal ", 7) == 0) kill(child, atoi(line + 7));
  else if (strcmp(line, "end") == 0) end_input();
  else return 0;
  return 1;
}

/* Reads instructions, and obeys those that are complete. Returns 0 after the last one. */
static int take_instructions(void) {
  static char text[LONGEST];
  static size_t length;
  ssize_t count = read(CONTROL, text + length, sizeof text - 1 - length);
  if (count <= 0) {
    kill(child, SIGKILL);
    return 0;
  }
  length += (size_t)count;
  text[length] = '\0';
  char *line = text, *end;
  int more = 1;
  for (; more && (end = strchr(line, '\n')) != NULL; line = end + 1) {
    *end = '\0';
    more = obey(line);
  }
  length = (size_t)(text + length - line);
  memmove(text, line, length);
  return more;
}

/* ---- what it shows ------------------------------------------------------------------ */

/* Returns 0 if nothing can be shown any more, because the command has ended. */
static int show(void) {
  char text[LONGEST];
  ssize_t count = read(master, text, sizeof text);
  return count > 0 && write(SCREEN, text, (size_t)count) == count;
}

static int can_read(int fd) {
  struct pollfd one = {.fd = fd, .events = POLLIN};
  return fd >= 0 && poll(&one, 1, 0) > 0 && (one.revents & POLLIN);
}

static void watch(void) {
  int status, obeys = 1;
  struct rusage used;
  time_t due = time(NULL) + MOST_SECONDS;
  while (wait4(child, &status, WNOHANG, &used) == 0) {
    struct pollfd both[] = {{.fd = obeys ? CONTROL : -1, .events = POLLIN},
                            {.fd = master, .events = POLLIN}};
    poll(both, 2, TURN_MS);
    if (both[1].revents & POLLIN) show();
    else if (both[1].revents) poll(NULL, 0, 1); /* the command has closed the terminal */
    if (both[0].revents) obeys = take_instructions();
    if (time(NULL) > due) kill(child, SIGKILL);
  }
  int more = can_read(master);
  while (more)
    more = show() && can_read(master);
  dprintf(STATUS, "memory %ld\n", used.ru_maxrss);
  if (WIFSIGNALED(status)) dprintf(STATUS, "signal %d\n", WTERMSIG(status));
  else dprintf(STATUS, "exit %d\n", WEXITSTATUS(status));
}

/* The spec may still write instructions, which are too late; it would get SIGPIPE. */
static void await_end_of_instructions(void) {
  char text[LONGEST];
  while (read(CONTROL, text, sizeof text) > 0)
    continue;
}

int main(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "+t:pc:i:")) != -1) {
    if (option == 't') on_terminal = optarg;
    else if (option == 'p') has_input = 1;
    else if (option == 'c') closed = optarg;
    else if (option == 'i') ignored = atoi(optarg);
    else return 99;
  }
  signal(SIGPIPE, SIG_IGN);
  start(argv + optind);
  watch();
  await_end_of_instructions();
  return 0;
}
