/*
** failing.h - makes memory run out at a given allocation: only there, or from there on.
** Include it once in a program, and link that with --wrap for malloc and its relatives,
** clock_gettime and leat_call_next.
**
** Only the calling thread is affected, not the threads of the sandbox.
*/
#ifndef LEAT_TORTURE_FAILING_H
#define LEAT_TORTURE_FAILING_H

#include "leat_driver.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- sources of allocations ------------------------------------------------------ */

typedef enum source {
  OURS,
  TLS,
  LUA,
  SOURCES
} source; /* OURS includes jansson's and libcurl's */

static _Thread_local struct {
  bool watched, sticky, failed;
  source from;          /* the source that fails; only its allocations count */
  long at, count;       /* at 0: never */
  long blocks[SOURCES]; /* live blocks that were allocated while watched */
} memory;

static bool fails(source from) {
  if (!memory.watched || from != memory.from) return false;
  memory.count++;
  bool now = memory.at &&
             (memory.sticky ? memory.count >= memory.at : memory.count == memory.at);
  if (now) memory.failed = true;
  return now;
}

static void note_block(source from, int change) {
  if (memory.watched) memory.blocks[from] += change;
}

/* From now on allocation `at` fails; 0: none does. */
static void watch_memory(source from, long at, bool sticky) {
  memory.from = from;
  memory.at = at;
  memory.sticky = sticky;
  memory.count = 0;
  memory.failed = false;
  memory.watched = true;
}

/* Ends that. Returns true if an allocation failed. */
static bool end_watch(void) {
  memory.watched = false;
  return memory.failed;
}

/* ---- the allocators -------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *block);

static void *unreported(source from, void *block) {
  if (block) note_block(from, 1);
  return block;
}

static void *resize(source from, void *old, size_t size) {
  void *block = fails(from) ? NULL : __real_realloc(old, size);
  return old ? block : unreported(from, block);
}

static void give_back(source from, void *block) {
  if (block) note_block(from, -1);
  __real_free(block);
}

void *__wrap_malloc(size_t size) {
  return fails(OURS) ? NULL : unreported(OURS, __real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails(OURS) ? NULL : unreported(OURS, __real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size) {
  return resize(OURS, old, size);
}

void __wrap_free(void *block) {
  give_back(OURS, block);
}

static char *copy_text(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = __wrap_malloc(size);
  return copy ? memcpy(copy, text, size) : NULL;
}

static void *tls_malloc(size_t size, const char *file, int line) {
  (void)file, (void)line;
  return fails(TLS) ? NULL : unreported(TLS, __real_malloc(size));
}

static void *tls_realloc(void *old, size_t size, const char *file, int line) {
  (void)file, (void)line;
  return resize(TLS, old, size);
}

static void tls_free(void *block, const char *file, int line) {
  (void)file, (void)line;
  give_back(TLS, block);
}

/* Must be called before everything else. Returns false if libcurl does not use OpenSSL,
** or if OpenSSL has already allocated memory. */
static bool take_over_memory(void) {
  int (*set)(void *(*)(size_t, const char *, int),
             void *(*)(void *, size_t, const char *, int),
             void (*)(void *, const char *, int));
  *(void **)&set =
      dlsym(RTLD_DEFAULT, "CRYPTO_set_mem_functions"); /* avoids its header */
  json_set_alloc_funcs(__wrap_malloc, __wrap_free);
  return set && set(tls_malloc, tls_realloc, tls_free) == 1 &&
         curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, __wrap_free,
                              __wrap_realloc, copy_text, __wrap_calloc) == CURLE_OK;
}

/* ---- time ------------------------------------------------------------------------ */

/* Waiting takes no time: the clock jumps to the time that a call waits for. */
static _Atomic int64_t leapt_ms;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
leat_step __real_leat_call_next(leat_call *call, leat_moment now);
leat_step __wrap_leat_call_next(leat_call *call, leat_moment now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now) {
  int64_t leapt = leapt_ms;
  int result = __real_clock_gettime(clock, now);
  now->tv_sec += (time_t)(leapt / 1000);
  now->tv_nsec += (long)(leapt % 1000) * 1000000;
  if (now->tv_nsec >= 1000000000) now->tv_sec++, now->tv_nsec -= 1000000000;
  return result;
}

leat_step __wrap_leat_call_next(leat_call *call, leat_moment now) {
  leat_step step = __real_leat_call_next(call, now);
  int64_t wait = leat_call_until(call) - now.monotonic_ms;
  if (step == LEAT_WAIT && wait > 0) leapt_ms += wait;
  return step;
}

/* ---- descriptors ----------------------------------------------------------------- */

static int port_of(const char *url) {
  return atoi(strrchr(url, ':') + 1);
}

/* Counts open descriptors except those of the sandbox, which it closes at its own
** time. */
static int count_descriptors(int port_of_sandbox) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) {
    struct sockaddr_in own = {0};
    socklen_t size = sizeof own;
    if (fcntl(fd, F_GETFD) < 0) continue;
    if (getsockname(fd, (struct sockaddr *)(void *)&own, &size) == 0 &&
        own.sin_family == AF_INET && ntohs(own.sin_port) == port_of_sandbox)
      continue;
    count++;
  }
  return count;
}

/* Waits for the number, because a resolver thread of libcurl may hold some for a
** moment. */
static bool has_descriptors(int port_of_sandbox, int wanted) {
  for (int i = 0; i < 2000; i++) {
    if (count_descriptors(port_of_sandbox) == wanted) return true;
    usleep(1000);
  }
  return false;
}

#endif
