/*
** stopwatch.c - runs a program and prints how many seconds it took: elapsed time and CPU
** time. Prints nothing if the program failed.
**
**   stopwatch PROGRAM [ARGUMENT]...
**
** All programs are timed in the same way from outside: Lua has no clock that is precise
** enough, and a program's own measurement would have to be trusted.
*/
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double wall(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t) {
  return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* Sends the program's output to stderr, so that it is not taken for the result. */
static void become(char **command) {
  dup2(STDERR_FILENO, STDOUT_FILENO);
  execvp(command[0], command);
  perror(command[0]);
  _exit(127);
}

int main(int argc, char **argv) {
  int status;
  struct rusage used;
  double begun = wall();
  pid_t child = argc > 1 ? fork() : -1;
  if (child == 0) become(argv + 1);
  if (child < 0 || wait4(child, &status, 0, &used) != child || status != 0) return 1;
  double ended = wall();
  printf("%.6f %.6f\n", ended - begun, seconds(used.ru_utime) + seconds(used.ru_stime));
  return 0;
}
