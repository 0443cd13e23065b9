/*
** idle_multi.c - a reference: the time of a curl_multi_perform that finds nothing to do
** while IN_FLIGHT finds are in flight. Prints seconds; idle.lua explains the method.
**
**   idle_multi IN_FLIGHT
*/
#include <time.h>

#include "finds.h"

enum { TENTHS = 600 };

static long tenths_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long)t.tv_sec * 10 + t.tv_nsec / 100000000;
}

static void start(CURLM *multi, const finds *all, find *slots, long count) {
  for (long i = 0; i < count; i++) {
    find_begin(&slots[i], all);
    find_next(&slots[i], all);
    curl_multi_add_handle(multi, slots[i].easy);
  }
}

/* Returns how many polls fit into half a second before the first response. */
static long count_polls(CURLM *multi) {
  static long polls[TENTHS];
  long begun = tenths_now(), tenth, count = 0;
  int running, left;
  do {
    tenth = tenths_now() - begun;
    if (tenth >= TENTHS) return 0;
    polls[tenth]++;
    curl_multi_perform(multi, &running);
  } while (!curl_multi_info_read(multi, &left));
  for (long i = tenth - 6; i <= tenth - 2; i++)
    count += i < 0 ? 0 : polls[i];
  return count;
}

int main(int argc, char **argv) {
  long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0, polls;
  find *slots = calloc((size_t)count + 1, sizeof *slots);
  finds all = {0};
  if (!slots || count < 1) return 2;
  finds_begin(&all, false);
  CURLM *multi = curl_multi_init();
  start(multi, &all, slots, count);
  polls = count_polls(multi);
  for (long i = 0; i < count; i++) {
    curl_multi_remove_handle(multi, slots[i].easy);
    curl_easy_cleanup(slots[i].easy);
  }
  curl_multi_cleanup(multi);
  finds_end(&all);
  free(slots);
  if (polls > 0) printf("%.9f\n", 0.5 / (double)polls);
  return polls > 0 ? 0 : 1;
}
