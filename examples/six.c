/* The six operations:  cc six.c $(pkg-config --cflags --libs leat) -o six
**   LEAT_API_KEY=... LEAT_BASE_URL=... ./six VALUE CONTACT_UUID */
#include <leat_curl.h>
#include <stdio.h>
#include <stdlib.h>

/* Performs one operation, with another parameter if `name` is not NULL. */
static void run(leat_curl *curl, leat_client *client, const char *operation, char *value,
                const char *name, const char *text) {
  const leat_op *op = leat_operation("contact_identifiers", operation);
  leat_call *call = leat_call_new(client, op);
  leat_contact_identifier card;
  char line[1024];
  leat_call_set(call, "contact_identifier_value", leat_s(value));
  if (name) leat_call_set(call, name, leat_s(text));
  leat_curl_perform(curl, call);
  if (leat_call_error(call)->kind != LEAT_OK)
    puts(leat_error_text(leat_call_error(call), line, sizeof line));
  else if (leat_call_contact_identifier(call, &card))
    printf("%s: %s, contact %s\n", operation, card.value.data,
           card.contact_uuid.data ? card.contact_uuid.data : "none");
  else printf("%s: done\n", operation);
  leat_call_free(call);
}

int main(int argc, char **argv) {
  leat_config config = {.api_key = getenv("LEAT_API_KEY"),
                        .base_url = getenv("LEAT_BASE_URL")};
  leat_client *client = leat_client_new(&config, NULL);
  leat_curl *curl = leat_curl_new(NULL, NULL);
  if (argc != 3 || client == NULL || curl == NULL) {
    fputs("usage: LEAT_API_KEY=... six VALUE CONTACT_UUID\n", stderr);
    return 2;
  }
  run(curl, client, "create", argv[1], "contact_identifier_name", "Krabby Membership");
  run(curl, client, "link", argv[1], "contact_uuid", argv[2]);
  run(curl, client, "find", argv[1], NULL, NULL);
  run(curl, client, "unlink", argv[1], NULL, NULL);
  run(curl, client, "update", argv[1], "contact_identifier_name", "Krabby Gold");
  run(curl, client, "delete", argv[1], NULL, NULL);
  leat_curl_free(curl), leat_client_free(client);
}
