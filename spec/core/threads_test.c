/*
** threads_test.c - several threads, each with its own client, calls and driver. Run it
** under ThreadSanitizer with make tsan.
*/
#include "calls.h"
#include "leat_curl.h"
#include "leat_sandbox.h"
#include "test.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 25 };

typedef struct worker {
  const char *url, *ca_file;
  int number, good;
  pthread_t thread;
} worker;

static bool succeeds(leat_client *client, leat_curl *curl, const char *operation,
                     const char *value) {
  leat_call *call = complete_call(bare_call(client, operation), value);
  leat_curl_perform(curl, call);
  bool good = leat_call_error(call)->kind == LEAT_OK;
  leat_call_free(call);
  return good;
}

static void *work(void *argument) {
  worker *w = argument;
  char value[32];
  for (int i = 0; i < ROUNDS; i++) {
    leat_config config = {.api_key = "sandbox", .base_url = w->url};
    leat_curl_config settings = {.ca_file = w->ca_file};
    leat_client *client = leat_client_new(&config, NULL);
    leat_curl *curl = leat_curl_new(&settings, NULL);
    snprintf(value, sizeof value, "%d-%d", w->number, i);
    w->good += succeeds(client, curl, "create", value) &&
               succeeds(client, curl, "find", value) &&
               succeeds(client, curl, "delete", value);
    leat_curl_free(curl);
    leat_client_free(client);
  }
  return NULL;
}

static void run(bool tls) {
  leat_sandbox *sandbox = leat_sandbox_new(&(leat_sandbox_config){.tls = tls}, NULL);
  leat_sandbox_request request;
  worker workers[THREADS];
  TEST(tls ? "threads, over HTTPS" : "threads, over HTTP");
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.url = leat_sandbox_url(sandbox),
                          .ca_file = leat_sandbox_ca_file(sandbox),
                          .number = i};
    CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    CHECK(workers[i].good == ROUNDS);
  }
  size_t count = 0;
  while (leat_sandbox_request_at(sandbox, count, &request))
    count++;
  CHECK(count == THREADS * ROUNDS * 3);
  leat_sandbox_free(sandbox);
}

int main(void) {
  run(false);
  run(true);
  return test_summary("threads");
}
