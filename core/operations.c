/*
** operations.c - the operations of the API, one row each. Methods, requests and the
** classification of responses are derived from these rows.
*/
#include "internal.h"

#include <string.h>

#define CARDS "contact_identifiers"
/* clang-format off */
#define VALUE    { "contact_identifier_value", "value", LEAT_STRING, true, false }
#define NAME     { "contact_identifier_name", "name", LEAT_STRING, false, false }
#define ACTIVE   { "contact_identifier_active", "active", LEAT_BOOLEAN, false, false }
#define CONTACT(required, in_path) \
                 { "contact_uuid", "contact_uuid", LEAT_STRING, required, in_path }
/* clang-format on */

static const leat_parameter value_only[] = {VALUE};
static const leat_parameter to_create[] = {VALUE, CONTACT(false, false), NAME};
static const leat_parameter to_link[] = {VALUE, CONTACT(true, false)};
static const leat_parameter to_update[] = {VALUE, NAME, ACTIVE};
static const leat_parameter to_list[] = {CONTACT(true, true)};

#define TAKES(parameters) (parameters), sizeof(parameters) / sizeof(parameters)[0]

/* clang-format off */
static const leat_op rows[] = {
  /* resource, name, method, path,
  ** locations of parameters, writes, result, parameters, recovery, takes_expect */
  { CARDS, "find",   "GET",    "/contact-identifiers/find",
    LEAT_IN_QUERY, false, LEAT_RESULT_CARD, TAKES(value_only), LEAT_RETRY, false },
  { CARDS, "create", "POST",   "/contact-identifiers",
    LEAT_IN_BODY,  true,  LEAT_RESULT_CARD, TAKES(to_create), LEAT_VERIFY_CREATED, false },
  { CARDS, "link",   "PUT",    "/contact-identifiers/link",
    LEAT_IN_BODY,  true,  LEAT_RESULT_CARD, TAKES(to_link), LEAT_VERIFY_LINKED, false },
  { CARDS, "unlink", "PUT",    "/contact-identifiers/unlink",
    LEAT_IN_BODY,  true,  LEAT_RESULT_CARD, TAKES(value_only), LEAT_VERIFY_UNLINKED, true },
  { CARDS, "update", "PUT",    "/contact-identifiers",
    LEAT_IN_BODY,  true,  LEAT_RESULT_CARD, TAKES(to_update), LEAT_RETRY, true },
  /* The documentation puts the value in the body, the vendor's own client puts it in the
  ** query: both are sent. */
  { CARDS, "delete", "DELETE", "/contact-identifiers",
    LEAT_IN_QUERY | LEAT_IN_BODY, true, LEAT_RESULT_NOTHING, TAKES(value_only),
    LEAT_VERIFY_DELETED, true },
  { CARDS, "list",   "GET",    "/contacts/{contact_uuid}/contact-identifiers",
    0,             false, LEAT_RESULT_CARDS, TAKES(to_list), LEAT_RETRY, false },
  /* Returns the account that the key belongs to. */
  { "client", "check", "GET",  "",
    0,             false, LEAT_RESULT_DATA, NULL, 0, LEAT_RETRY, false },
};
/* clang-format on */
_Static_assert(sizeof rows / sizeof rows[0] + 1 == LEAT_COUNTED_OPERATIONS,
               "LEAT_COUNTED_OPERATIONS is one more than there are rows");

const leat_op *leat_operation_at(size_t index) {
  return index < sizeof rows / sizeof rows[0] ? &rows[index] : NULL;
}

const leat_op *leat_operation(const char *resource, const char *name) {
  const leat_op *op;
  if (resource == NULL || name == NULL) return NULL;
  for (size_t i = 0; (op = leat_operation_at(i)) != NULL; i++)
    if (strcmp(op->resource, resource) == 0 && strcmp(op->name, name) == 0) return op;
  return NULL;
}
