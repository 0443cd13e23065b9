/*
** easy_loop.c - a reference: finds with libcurl's easy interface, one after another on
** one handle and so over one connection. The responses are collected, but not decoded.
**
**   easy_loop N          a URL for each find
**   easy_loop N tuned    see finds.h
*/
#include "finds.h"

int main(int argc, char **argv) {
  finds all = {0};
  find f = {0};
  bool good = true;
  long left = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
  finds_begin(&all, argc > 2 && strcmp(argv[2], "tuned") == 0);
  find_begin(&f, &all);
  while (good && left-- > 0) {
    find_next(&f, &all);
    good = find_good(&f, &all, curl_easy_perform(f.easy));
  }
  curl_easy_cleanup(f.easy);
  finds_end(&all);
  return good ? 0 : 1;
}
