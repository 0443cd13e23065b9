/*
** finds.h - what the yardsticks on libcurl share: a find as a good C programmer writes it.
** The requests are those of leat, but for its Accept-Encoding.
**
** A tuned find is the least that libcurl's own HTTP can cost: the URL is parsed once, a find
** changes its target only; no proxy is looked for.
**
** LEAT_BASE_URL, LEAT_API_KEY and BENCH_CA say where, as whom, and whom to trust; BENCH_VALUE
** what to find, and BENCH_SIZE how long the response has to be.
*/
#ifndef LEAT_BENCH_FINDS_H
#define LEAT_BENCH_FINDS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What all finds of a program have in common. */
typedef struct finds {
  const char *base, *value;
  size_t expected;
  struct curl_slist *headers;
  CURLU *url; /* the tuned form's */
  char *path; /* in it */
} finds;

/* One after the other on the same handle. */
typedef struct find {
  CURL *easy;
  size_t length;
  char body[512];
} find;

static inline const char *setting(const char *name) {
  const char *value = getenv(name);
  if (value) return value;
  fprintf(stderr, "%s is not set: run this by spec/bench/run.sh\n", name);
  exit(2);
}

static inline void finds_begin(finds *all, bool tuned) {
  char authorization[1024];
  curl_global_init(CURL_GLOBAL_DEFAULT);
  all->base = setting("LEAT_BASE_URL");
  all->value = setting("BENCH_VALUE");
  all->expected = strtoul(setting("BENCH_SIZE"), NULL, 10);
  snprintf(authorization, sizeof authorization, "Authorization: Bearer %s",
           setting("LEAT_API_KEY"));
  all->headers = curl_slist_append(NULL, authorization);
  all->headers = curl_slist_append(all->headers, "Accept: application/json");
  if (!tuned) return;
  all->url = curl_url();
  curl_url_set(all->url, CURLUPART_URL, all->base, 0);
  curl_url_get(all->url, CURLUPART_PATH, &all->path, 0);
}

static inline void finds_end(finds *all) {
  curl_url_cleanup(all->url);
  curl_slist_free_all(all->headers);
  curl_free(all->path);
  curl_global_cleanup();
}

static inline size_t find_collect(char *data, size_t size, size_t count, void *user) {
  find *f = user;
  size *= count;
  if (size > sizeof f->body - f->length) return 0;
  memcpy(f->body + f->length, data, size);
  f->length += size;
  return size;
}

static inline void find_begin(find *f, const finds *all) {
  f->easy = curl_easy_init();
  curl_easy_setopt(f->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(f->easy, CURLOPT_PRIVATE, f);
  curl_easy_setopt(f->easy, CURLOPT_CAINFO, getenv("BENCH_CA"));
  curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, find_collect);
  curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
  curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, all->headers);
  curl_easy_setopt(f->easy, CURLOPT_USERAGENT, "leat/0.1.0");
  if (!all->url) return;
  curl_easy_setopt(f->easy, CURLOPT_CURLU, all->url);
  curl_easy_setopt(f->easy, CURLOPT_PROXY, "");
}

static inline void find_next(find *f, const finds *all) {
  char text[1024];
  snprintf(text, sizeof text, "%s/contact-identifiers/find?contact_identifier_value=%s",
           all->path ? all->path : all->base, all->value);
  curl_easy_setopt(f->easy, all->path ? CURLOPT_REQUEST_TARGET : CURLOPT_URL, text);
  f->length = 0;
}

static inline bool find_good(find *f, const finds *all, CURLcode result) {
  long status = 0;
  curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
  if (result == CURLE_OK && status == 200 && f->length == all->expected) return true;
  fprintf(stderr, "%s, HTTP %ld, %zu bytes\n", curl_easy_strerror(result), status,
          f->length);
  return false;
}

#endif
