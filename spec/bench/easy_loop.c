/*
** easy_loop.c - the yardstick: finds as a good C programmer writes them with libcurl's
** easy interface, one after the other. The answers are collected, and not decoded.
**
**   easy_loop N          one handle, so one connection; a URL for each find
**   easy_loop N tuned    the least that libcurl's own HTTP can cost: the URL is parsed
**                        once, a find changes its target only; no proxy is looked for
**
** The requests are those of leat, but for its Accept-Encoding. LEAT_BASE_URL and
** LEAT_API_KEY say where and as whom, BENCH_VALUE what to find, and BENCH_SIZE how long
** the answer has to be.
*/
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct loop {
  CURL *easy;
  CURLU *url; /* of the tuned form */
  struct curl_slist *headers;
  CURLoption varies;  /* what each find sets: the URL, or the target in it */
  const char *prefix; /* what that begins with */
  char *path;         /* the prefix of the tuned form */
  size_t expected, length;
  char body[4096];
} loop;

static const char *setting(const char *name) {
  const char *value = getenv(name);
  if (value) return value;
  fprintf(stderr, "easy_loop: %s is not set: run it by spec/bench/run.sh\n", name);
  exit(2);
}

static size_t collect(char *data, size_t size, size_t count, void *user) {
  loop *l = user;
  size *= count;
  if (size > sizeof l->body - l->length) return 0;
  memcpy(l->body + l->length, data, size);
  l->length += size;
  return size;
}

static void set_headers(loop *l) {
  char authorization[1024];
  snprintf(authorization, sizeof authorization, "Authorization: Bearer %s",
           setting("LEAT_API_KEY"));
  l->headers = curl_slist_append(l->headers, authorization);
  l->headers = curl_slist_append(l->headers, "Accept: application/json");
  curl_easy_setopt(l->easy, CURLOPT_HTTPHEADER, l->headers);
  curl_easy_setopt(l->easy, CURLOPT_USERAGENT, "leat/0.1.0");
}

static void tune(loop *l) {
  l->url = curl_url();
  curl_url_set(l->url, CURLUPART_URL, l->prefix, 0);
  curl_url_get(l->url, CURLUPART_PATH, &l->path, 0);
  curl_easy_setopt(l->easy, CURLOPT_CURLU, l->url);
  curl_easy_setopt(l->easy, CURLOPT_PROXY, "");
  l->varies = CURLOPT_REQUEST_TARGET;
  l->prefix = l->path;
}

static void begin(loop *l) {
  l->easy = curl_easy_init();
  l->varies = CURLOPT_URL;
  l->prefix = setting("LEAT_BASE_URL");
  l->expected = strtoul(setting("BENCH_SIZE"), NULL, 10);
  curl_easy_setopt(l->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(l->easy, CURLOPT_WRITEFUNCTION, collect);
  curl_easy_setopt(l->easy, CURLOPT_WRITEDATA, l);
  set_headers(l);
}

static void end(loop *l) {
  curl_easy_cleanup(l->easy);
  curl_url_cleanup(l->url);
  curl_slist_free_all(l->headers);
  curl_free(l->path);
}

static bool find(loop *l, const char *value) {
  char text[1024];
  long status = 0;
  snprintf(text, sizeof text, "%s/contact-identifiers/find?contact_identifier_value=%s",
           l->prefix, value);
  curl_easy_setopt(l->easy, l->varies, text);
  l->length = 0;
  CURLcode result = curl_easy_perform(l->easy);
  curl_easy_getinfo(l->easy, CURLINFO_RESPONSE_CODE, &status);
  if (result == CURLE_OK && status == 200 && l->length == l->expected) return true;
  fprintf(stderr, "easy_loop: %s, HTTP %ld, %zu bytes\n", curl_easy_strerror(result),
          status, l->length);
  return false;
}

int main(int argc, char **argv) {
  loop l = {0};
  bool good = true;
  long left = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
  const char *value = setting("BENCH_VALUE");
  curl_global_init(CURL_GLOBAL_DEFAULT);
  begin(&l);
  if (argc > 2 && strcmp(argv[2], "tuned") == 0) tune(&l);
  while (good && left-- > 0)
    good = find(&l, value);
  end(&l);
  curl_global_cleanup();
  return good ? 0 : 1;
}
