/*
** multi_loop.c - a reference: finds with libcurl's multi interface, IN_FLIGHT at a time,
** each slot with its own handle. The responses are collected, but not decoded.
**
**   multi_loop N IN_FLIGHT          a URL for each find
**   multi_loop N IN_FLIGHT tuned    see finds.h
*/
#include "finds.h"

typedef struct loop {
  finds all;
  CURLM *multi;
  long left, in_flight;
  bool good;
} loop;

static void begin_find(loop *l, find *f) {
  l->left--;
  l->in_flight++;
  find_next(f, &l->all);
  curl_multi_add_handle(l->multi, f->easy);
}

static void take_done(loop *l) {
  CURLMsg *message;
  find *f = NULL;
  int more;
  while ((message = curl_multi_info_read(l->multi, &more))) {
    CURLcode result = message->data.result;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&f);
    curl_multi_remove_handle(l->multi, f->easy);
    l->in_flight--;
    l->good = l->good && find_good(f, &l->all, result);
    if (l->good && l->left > 0) begin_find(l, f);
  }
}

static void run(loop *l) {
  int running;
  while (l->good && l->in_flight > 0) {
    curl_multi_perform(l->multi, &running);
    take_done(l);
    if (running > 0) curl_multi_poll(l->multi, NULL, 0, 1000, NULL);
  }
}

int main(int argc, char **argv) {
  long count = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
  find *slots = calloc((size_t)count + 1, sizeof *slots);
  loop l = {.good = slots && count > 0, .left = argc > 1 ? strtol(argv[1], NULL, 10) : 0};
  if (!l.good) return 2;
  finds_begin(&l.all, argc > 3 && strcmp(argv[3], "tuned") == 0);
  l.multi = curl_multi_init();
  for (long i = 0; i < count; i++) {
    find_begin(&slots[i], &l.all);
    if (l.left > 0) begin_find(&l, &slots[i]);
  }
  run(&l);
  for (long i = 0; i < count; i++)
    curl_easy_cleanup(slots[i].easy);
  curl_multi_cleanup(l.multi);
  finds_end(&l.all);
  free(slots);
  return l.good ? 0 : 1;
}
