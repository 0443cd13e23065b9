/*
** fork.h - forks while the threads of the tests' servers sleep. A fork copies the locks that
** other threads hold, and AddressSanitizer in gcc 12 does not release its allocator's locks
** in the child: a thread that allocates at that moment would block the child for ever.
*/
#ifndef LEAT_TEST_FORK_H
#define LEAT_TEST_FORK_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static inline bool fork_sleeps(const char *thread) {
  char path[300], line[256] = "";
  snprintf(path, sizeof path, "/proc/self/task/%s/stat", thread);
  FILE *file = fopen(path, "r");
  if (!file) return true; /* the thread has ended */
  const char *name_end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
  fclose(file);
  return name_end && name_end[1] == ' ' && name_end[2] == 'S';
}

static inline bool fork_all_sleep(void) {
  bool asleep = true;
  DIR *threads = opendir("/proc/self/task");
  for (struct dirent *d; asleep && threads && (d = readdir(threads));)
    asleep = d->d_name[0] == '.' || atoi(d->d_name) == getpid() || fork_sleeps(d->d_name);
  if (threads) closedir(threads);
  return asleep;
}

/* Call this in the main thread. It checks twice, because a thread can wake meanwhile. */
static inline pid_t fork_quietly(void) {
  fflush(stdout);
  for (int quiet = 0, tries = 0; quiet < 2 && tries < 5000; tries++) {
    quiet = fork_all_sleep() ? quiet + 1 : 0;
    if (quiet == 0) usleep(1000);
  }
  return fork();
}

/* Ends a child. It calls exec, so that the leak checker does not report the memory of the
** parent, which the child does not free. */
static inline void fork_end(bool good) {
  fflush(stdout);
  execlp(good ? "true" : "false", "", (char *)NULL);
  _exit(2);
}

/* Waits for a child. Returns true if it ended well. */
static inline bool fork_wait(pid_t child) {
  int status = 1;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

#endif
