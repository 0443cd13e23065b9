/*
** trouble.c - troubles the program that loads it with LD_PRELOAD, through functions of the C
** library.
**
**   LEAT_SPACE=N      is the number of bytes that the disk has room for
**   LEAT_READ_ONLY=P  is the beginning of paths on a file system that is read-only
**   LEAT_CLOCK=1      the wall clock jumps ten times a second, by up to a year
**   LEAT_SHIFT=N      the wall clock is N seconds ahead
*/
#define _GNU_SOURCE /* for RTLD_NEXT */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#pragma GCC visibility push(default) /* The functions below replace others. */

/* ---- a full disk ----------------------------------------------------------------- */

static long long space = -1;

/* Takes room from the disk; returns whether there was enough. */
static bool take_space(int fd, size_t bytes) {
  struct stat found;
  const char *text = getenv("LEAT_SPACE");
  if (!text || fd <= STDERR_FILENO || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode))
    return true;
  if (space < 0) space = strtoll(text, NULL, 10);
  if (space < (long long)bytes) {
    errno = ENOSPC;
    return false;
  }
  space -= (long long)bytes;
  return true;
}

ssize_t write(int fd, const void *data, size_t length) {
  return take_space(fd, length) ? syscall(SYS_write, fd, data, length) : -1;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  return take_space(fd, length) ? syscall(SYS_pwrite64, fd, data, length, offset) : -1;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  return pwrite64(fd, data, length, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  return take_space(fd, (size_t)length)
             ? (int)syscall(SYS_fallocate, fd, mode, offset, length)
             : -1;
}

/* ---- a read-only file system ---------------------------------------------------- */

static bool is_refused(const char *path, int flags) {
  const char *prefix = getenv("LEAT_READ_ONLY");
  bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
  if (!prefix || !writes || strncmp(path, prefix, strlen(prefix)) != 0) return false;
  errno = (flags & O_EXCL) && access(path, F_OK) == 0 ? EEXIST : EROFS;
  return true;
}

int open64(const char *path, int flags, ...) {
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  return is_refused(path, flags) ? -1
                                 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open64(path, flags, mode);
}

/* ---- a wall clock that is wrong -------------------------------------------------- */

static time_t jump(void) {
  static const time_t jumps[] = {0, -86400, 60, 31536000, -3600, -31536000, 1};
  struct timespec steady;
  const char *shift = getenv("LEAT_SHIFT");
  if (shift) return strtol(shift, NULL, 10);
  if (!getenv("LEAT_CLOCK")) return 0;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
  long tenth = steady.tv_sec * 10 + steady.tv_nsec / 100000000;
  return jumps[(size_t)tenth % (sizeof jumps / sizeof *jumps)];
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += jump();
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *result) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (result) *result = exact.tv_sec;
  return exact.tv_sec;
}
