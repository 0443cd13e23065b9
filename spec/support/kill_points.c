/*
** kill_points.c - kills the program that loads it with LD_PRELOAD, at each point in turn where
** its death could leave something half done, and keeps what a power failure would leave of its
** journal.
**
** An event is a statement of SQLite, a write of a file that SQLite does, an fsync, a rename, or
** a call that sends or receives on a socket. There is a point before and a point after each.
**
**   LEAT_KILL=N        kills the program with SIGKILL at the n-th point: an odd one is before,
**                      an even one after an event
**   LEAT_POINTS=F      is a file to which the number of points is written at exit
**   LEAT_IMAGES=D      is a folder; LEAT_JOURNAL=P is the path of a journal. Each file of the
**                      journal is copied to the folder when it is synced, and its copy is
**                      removed with it.
*/
#define _GNU_SOURCE /* for RTLD_NEXT */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC visibility push(default) /* The functions below replace others. */

struct sqlite3;
struct sqlite3_stmt;
typedef int row_callback(void *, int, char **, char **);

int sqlite3_step(struct sqlite3_stmt *statement);
int sqlite3_exec(struct sqlite3 *db, const char *sql, row_callback *callback,
                 void *context, char **problem);

static atomic_long points;
static long last_point;

__attribute__((constructor)) static void begin(void) {
  const char *text = getenv("LEAT_KILL");
  last_point = text ? strtol(text, NULL, 10) : 0;
}

__attribute__((destructor)) static void end(void) {
  const char *path = getenv("LEAT_POINTS");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%ld\n", atomic_load(&points));
  fclose(file);
}

static void pass_point(void) {
  if (atomic_fetch_add(&points, 1) + 1 == last_point) kill(getpid(), SIGKILL);
}

static bool is_socket(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode);
}

/* Calls the function of the system, with the points around it if `counts`. */
#define AROUND(counts, type, call)                                                       \
  do {                                                                                   \
    bool counted = (counts);                                                             \
    if (counted) pass_point();                                                           \
    type result = (call);                                                                \
    if (counted) pass_point();                                                           \
    return result;                                                                       \
  } while (0)

/* ---- SQLite ---------------------------------------------------------------------- */

/* The library is loaded by a module, so that it is not among the program's own. */
static void *in_sqlite(const char *name) {
  static void *library;
  if (!library) library = dlopen("libsqlite3.so.0", RTLD_LAZY | RTLD_NOLOAD);
  return library ? dlsym(library, name) : NULL;
}

int sqlite3_step(struct sqlite3_stmt *statement) {
  static int (*real)(struct sqlite3_stmt *);
  if (!real) *(void **)&real = in_sqlite("sqlite3_step");
  AROUND(true, int, real(statement));
}

int sqlite3_exec(struct sqlite3 *db, const char *sql, row_callback *callback,
                 void *context, char **problem) {
  static int (*real)(struct sqlite3 *, const char *, row_callback *, void *, char **);
  if (!real) *(void **)&real = in_sqlite("sqlite3_exec");
  AROUND(true, int, real(db, sql, callback, context, problem));
}

/* ---- the images of a journal ----------------------------------------------------- */

/* Returns false if the path is not that of a file of the journal. */
static bool find_image(const char *path, char image[static PATH_MAX]) {
  const char *folder = getenv("LEAT_IMAGES"), *journal = getenv("LEAT_JOURNAL");
  if (!folder || !journal || strncmp(path, journal, strlen(journal)) != 0) return false;
  int length = snprintf(image, PATH_MAX, "%s/image%s", folder, path + strlen(journal));
  return length > 0 && length < PATH_MAX;
}

static void copy(int from, int to) {
  char part[65536];
  off_t offset = 0;
  ssize_t got;
  while ((got = pread(from, part, sizeof part, offset)) > 0) {
    if (syscall(SYS_write, to, part, (size_t)got) != got) abort();
    offset += got;
  }
}

static void keep_image(int fd) {
  char link[64], path[PATH_MAX], image[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = '\0';
  if (!find_image(path, image)) return;
  int to = open(image, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (to < 0) abort();
  copy(fd, to);
  close(to);
}

static int sync_file(long number, int fd) {
  pass_point();
  int result = (int)syscall(number, fd);
  if (result == 0) keep_image(fd);
  pass_point();
  return result;
}

int fsync(int fd) {
  return sync_file(SYS_fsync, fd);
}

int fdatasync(int fd) {
  return sync_file(SYS_fdatasync, fd);
}

int unlink(const char *path) {
  char image[PATH_MAX];
  if (find_image(path, image)) unlinkat(AT_FDCWD, image, 0);
  return unlinkat(AT_FDCWD, path, 0);
}

/* ---- files ----------------------------------------------------------------------- */

int rename(const char *from, const char *to) {
  AROUND(true, int, renameat(AT_FDCWD, from, AT_FDCWD, to));
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  AROUND(true, ssize_t, syscall(SYS_pwrite64, fd, data, length, offset));
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  return pwrite64(fd, data, length, offset);
}

/* ---- sockets --------------------------------------------------------------------- */

ssize_t sendto(int fd, const void *data, size_t length, int flags,
               __CONST_SOCKADDR_ARG to, socklen_t to_length) {
  AROUND(true, ssize_t,
         syscall(SYS_sendto, fd, data, length, flags, to.__sockaddr__, to_length));
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
  return sendto(fd, data, length, flags, (const struct sockaddr *)NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  AROUND(true, ssize_t, syscall(SYS_sendmsg, fd, message, flags));
}

ssize_t write(int fd, const void *data, size_t length) {
  AROUND(is_socket(fd), ssize_t, syscall(SYS_write, fd, data, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  AROUND(is_socket(fd), ssize_t, syscall(SYS_writev, fd, parts, count));
}

ssize_t recvfrom(int fd, void *data, size_t length, int flags, __SOCKADDR_ARG from,
                 socklen_t *from_length) {
  AROUND(true, ssize_t,
         syscall(SYS_recvfrom, fd, data, length, flags, from.__sockaddr__, from_length));
}

ssize_t recv(int fd, void *data, size_t length, int flags) {
  return recvfrom(fd, data, length, flags, (struct sockaddr *)NULL, NULL);
}

ssize_t read(int fd, void *data, size_t length) {
  AROUND(is_socket(fd), ssize_t, syscall(SYS_read, fd, data, length));
}
