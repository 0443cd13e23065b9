/*
** Many finds in your own loop around poll(2), for a program that also watches other
** descriptors.   cc poll.c $(pkg-config --cflags --libs leat) -o poll
**   LEAT_API_KEY=... LEAT_BASE_URL=... ./poll VALUE...
*/
#include <leat.h>
#include <leat_curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static int finish(leat_call *call) {
  char line[1024];
  const leat_error *error = leat_call_error(call);
  const char *value = leat_call_user(call);
  if (error->kind == LEAT_OK) printf("%s: found\n", value);
  else printf("%s: %s\n", value, leat_error_text(error, line, sizeof line));
  leat_call_free(call);
  return 1;
}

static int start(leat_curl *curl, leat_client *client, char *value) {
  leat_call *call = leat_call_new(client, leat_operation("contact_identifiers", "find"));
  leat_call_set(call, "contact_identifier_value", leat_s(value));
  leat_call_set_user(call, value); /* to recognize the call later */
  if (leat_curl_start(curl, call)) return 1;
  finish(call); /* refused; its error says why */
  return 0;
}

int main(int argc, char **argv) {
  leat_config config = {.api_key = getenv("LEAT_API_KEY"),
                        .base_url = getenv("LEAT_BASE_URL")};
  leat_error error = {.kind = LEAT_OK};
  leat_client *client = leat_client_new(&config, &error);
  leat_curl *curl = client ? leat_curl_new(NULL, &error) : NULL;
  int under_way = 0;
  if (curl == NULL) {
    fprintf(stderr, "%s\n", error.message);
    return 2;
  }
  for (int i = 1; i < argc; i++)
    under_way += start(curl, client, argv[i]);
  while (under_way > 0) {
    struct pollfd fds[] = {{leat_curl_fd(curl), POLLIN, 0} /* , and your own */};
    leat_call *call;
    poll(fds, 1, leat_curl_timeout_ms(curl));
    leat_curl_step(curl);
    while ((call = leat_curl_done(curl)) != NULL)
      under_way -= finish(call);
  }
  leat_curl_free(curl);
  leat_client_free(client);
}
