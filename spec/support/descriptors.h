/*
** descriptors.h - counts the open file descriptors of the program, and limits them.
*/
#ifndef LEAT_TEST_DESCRIPTORS_H
#define LEAT_TEST_DESCRIPTORS_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

static inline int descriptors_lowest_free(void) {
  int fd = dup(0);
  close(fd);
  return fd;
}

/* Allows only descriptors below `limit`, or the usual ones if it is -1. */
static inline void descriptors_limit(int limit) {
  static struct rlimit usual;
  if (usual.rlim_cur == 0) getrlimit(RLIMIT_NOFILE, &usual);
  struct rlimit wanted = usual;
  if (limit >= 0) wanted.rlim_cur = (rlim_t)limit;
  setrlimit(RLIMIT_NOFILE, &wanted);
}

/* Counts the open ones, or those of them that a program started by exec inherits. */
static inline int descriptors_count(bool inherited) {
  int n = 0;
  for (int fd = 0; fd < 256; fd++) {
    int flags = fcntl(fd, F_GETFD);
    n += flags >= 0 && !(inherited && flags & FD_CLOEXEC);
  }
  return n;
}

#endif
