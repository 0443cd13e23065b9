/*
** test.h - the test harness of the C tests. A failed check is counted, and the test
** continues.
**
**   int main(void) {
**     TEST("buffers stop at their limit");
**     CHECK(buffer.failed == LEAT_TOO_LARGE);
**     CHECK_STR(text, "abc");
**     return test_summary("buffer");
**   }
*/
#ifndef LEAT_TEST_H
#define LEAT_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int test_passed, test_failed;
static const char *test_name = "";

#define TEST(name)             (test_name = (name))
#define CHECK(condition)       test_check((condition), #condition, __FILE__, __LINE__)
#define CHECK_STR(got, wanted) test_check_str((got), (wanted), #got, __FILE__, __LINE__)

static inline bool test_check(bool good, const char *what, const char *file, int line) {
  good ? test_passed++ : test_failed++;
  if (!good) printf("%s:%d: %s: failed: %s\n", file, line, test_name, what);
  return good;
}

static inline bool test_check_str(const char *got, const char *wanted, const char *what,
                                  const char *file, int line) {
  bool good = got && strcmp(got, wanted) == 0;
  if (!test_check(good, what, file, line))
    printf("  got    \"%s\"\n  wanted \"%s\"\n", got ? got : "(null)", wanted);
  return good;
}

/* By how much tests that measure time extend their limits: what runs under sanitizers or
** valgrind takes longer. */
static inline int test_slowness(void) {
  const char *factor = getenv("LEAT_SLOWNESS");
  return factor ? atoi(factor) : 1;
}

/* Returns the monotonic time in ms. */
static inline int64_t test_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t test_seed = 1; /* never 0 */

static inline uint64_t test_random(void) {
  test_seed ^= test_seed << 13;
  test_seed ^= test_seed >> 7;
  test_seed ^= test_seed << 17;
  return test_seed;
}

/* Returns a random number from 0 to below - 1. */
static inline int test_draw(int below) {
  return (int)(test_random() % (uint64_t)below);
}

/* The program's last words, and its exit status. */
static inline int test_summary(const char *program) {
  printf("%s: %d passed, %d failed\n", program, test_passed, test_failed);
  return test_failed > 0 || test_passed == 0;
}

#endif
