/*
** sandbox.c - the sandbox's HTTP server and its public functions. Only this file includes
** libmicrohttpd. leat__sandbox_process computes the responses.
**
** Each connection has its own thread, so that it can be delayed or hang without blocking
** the others. The threads share the state, which one lock protects.
*/
#define _GNU_SOURCE /* for POLLRDHUP */
#include "sandbox_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
** The certificate for HTTPS. Its key is no secret: it is valid only for localhost,
** 127.0.0.1 and ::1, and clients trust it only if they set it as ca_file. Made by
**   openssl ecparam -name prime256v1 -genkey -noout -out key.pem
**   openssl req -new -key key.pem -subj "/CN=leat sandbox" -out request.csr
**   openssl ca -selfsign -keyfile key.pem -in request.csr \
**     -startdate 20200101000000Z -enddate 21200101000000Z ...
** with subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 and basicConstraints=CA:TRUE.
*/
static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBjjCCATWgAwIBAgIBATAKBggqhkjOPQQDAjAXMRUwEwYDVQQDDAxsZWF0IHNh\n"
    "bmRib3gwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBcxFTATBgNV\n"
    "BAMMDGxlYXQgc2FuZGJveDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPU0PHu3\n"
    "G/+qU8GA7BIHErpnL8eimeGFmAffrdf3DfT4cXGOsi5K/HjXlbay8oRYt/HICU+F\n"
    "o2cSZV2Dvcu/b+ijcDBuMCwGA1UdEQQlMCOCCWxvY2FsaG9zdIcEfwAAAYcQAAAA\n"
    "AAAAAAAAAAAAAAAAATAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIChDAd\n"
    "BgNVHQ4EFgQUWAegxqDg6TyT5CbpQ45UZgLdVKIwCgYIKoZIzj0EAwIDRwAwRAIg\n"
    "InKc+K/TBfU2VJlB+YLVi++ZGXOkk0kDUWC4k3e5ShsCIAL8IdIHGbtJJfDx6OUj\n"
    "W0Qct7T26jUmPlomR1iRgeI1\n"
    "-----END CERTIFICATE-----\n";
static const char certificate_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/VP/GP1adEIExf0c\n"
    "mxKsfGoT3nq0Xuvmho2QgVPc2b+hRANCAAT1NDx7txv/qlPBgOwSBxK6Zy/Hopnh\n"
    "hZgH363X9w30+HFxjrIuSvx415W2svKEWLfxyAlPhaNnEmVdg73Lv2/o\n"
    "-----END PRIVATE KEY-----\n";

struct leat_sandbox {
  pid_t process;
  char url[64], token_url[64];
  char ca_file[64]; /* "" without TLS */
  int64_t started_ms;
  struct MHD_Daemon *daemon;
  pthread_mutex_t lock; /* protects the fields below */
  sandbox_api api;
};

static int64_t monotonic_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static leat_moment now(void) {
  return (leat_moment){monotonic_ms(), time(NULL), 0};
}

/* ---- responding ------------------------------------------------------------------ */

/* One request on a connection, and what it borrows. */
typedef struct incoming {
  leat_sandbox *sandbox;
  struct MHD_Connection *connection;
  char *target;
  leat_buffer body;
  leat_header *headers; /* NULL until they were read; the body follows */
  exchange x;
} incoming;

/* Waits for `ms` milliseconds, or without limit if it is negative. Returns false if the
** client closed the connection, or if libmicrohttpd shut it down because the sandbox is
** being stopped. */
static bool wait_for(const incoming *in, int ms) {
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(in->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  struct pollfd end = {info ? info->connect_fd : -1, POLLRDHUP, 0};
  return ms == 0 || poll(&end, 1, ms) == 0;
}

/* Supplies libmicrohttpd with half of the body, then makes it break the connection. */
static ssize_t read_half(void *user, uint64_t position, char *to, size_t room) {
  const leat_buffer *text = user;
  size_t half = text->length / 2;
  if (position >= half) return MHD_CONTENT_READER_END_WITH_ERROR;
  size_t length = half - (size_t)position < room ? half - (size_t)position : room;
  memcpy(to, text->data + position, length);
  return (ssize_t)length;
}

static struct MHD_Response *make_response(exchange *x) {
  leat_buffer *text = &x->text;
  if (x->close == LEAT_SANDBOX_CLOSE_WITHIN)
    return MHD_create_response_from_callback(text->length ? text->length : 1, 4096,
                                             read_half, text, NULL);
  return MHD_create_response_from_buffer(text->length, text->length ? text->data : "",
                                         MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result send_response(incoming *in) {
  exchange *x = &in->x;
  struct MHD_Response *response = make_response(x);
  const char *end = x->head.data + x->head.length;
  if (response == NULL) return MHD_NO;
  for (const char *name = x->head.data; name < end;) {
    const char *value = name + strlen(name) + 1;
    MHD_add_response_header(response, name, value);
    name = value + strlen(value) + 1;
  }
  enum MHD_Result queued =
      MHD_queue_response(in->connection, (unsigned)x->status, response);
  MHD_destroy_response(response);
  return queued;
}

static enum MHD_Result process(incoming *in, const char *method) {
  leat_sandbox *sandbox = in->sandbox;
  exchange *x = &in->x;
  x->method = leat_s(method);
  x->body = (leat_string){in->body.data, in->body.length};
  x->too_large = in->body.failed == LEAT_TOO_LARGE;
  pthread_mutex_lock(&sandbox->lock);
  x->now = now();
  bool good = leat__sandbox_process(&sandbox->api, x);
  pthread_mutex_unlock(&sandbox->lock);
  if (!good || !wait_for(in, x->delay_ms)) return MHD_NO; /* closes without a response */
  return x->close == LEAT_SANDBOX_CLOSE_BEFORE ? MHD_NO : send_response(in);
}

/* ---- receiving ------------------------------------------------------------------- */

/* libmicrohttpd calls this with the target before it is decoded. The returned value
** becomes the request's state. */
static void *on_target(void *user, const char *target,
                       struct MHD_Connection *connection) {
  incoming *in = calloc(1, sizeof *in);
  if (in == NULL) return NULL;
  in->sandbox = user;
  in->connection = connection;
  in->target = leat__copy(target, strlen(target));
  in->x.target = leat_s(in->target);
  in->x.received_ms = monotonic_ms() - in->sandbox->started_ms;
  leat__buffer_init(&in->body, SANDBOX_MAX_BODY);
  return in;
}

static enum MHD_Result on_header(void *user, enum MHD_ValueKind kind, const char *name,
                                 const char *value) {
  incoming *in = user;
  (void)kind;
  in->headers[in->x.header_count++] = (leat_header){leat_s(name), leat_s(value)};
  return MHD_YES;
}

static enum MHD_Result read_headers(incoming *in) {
  int count = MHD_get_connection_values(in->connection, MHD_HEADER_KIND, NULL, NULL);
  in->headers = calloc((size_t)count + 1, sizeof *in->headers);
  if (in->headers == NULL) return MHD_NO;
  in->x.headers = in->headers;
  MHD_get_connection_values(in->connection, MHD_HEADER_KIND, on_header, in);
  return MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *data, size_t *size,
                                  void **state) {
  incoming *in = *state;
  (void)user, (void)connection, (void)url, (void)version;
  if (in == NULL || in->target == NULL) return MHD_NO;
  if (in->headers == NULL) return read_headers(in);
  if (*size == 0) return process(in, method);
  leat__append(&in->body, data, *size);
  *size = 0;
  return MHD_YES;
}

static void on_end(void *user, struct MHD_Connection *connection, void **state,
                   enum MHD_RequestTerminationCode why) {
  incoming *in = *state;
  (void)user, (void)connection, (void)why;
  if (in == NULL) return;
  leat__sandbox_response_free(&in->x);
  leat__buffer_free(&in->body);
  free(in->headers);
  free(in->target);
  free(in);
}

/* ---- starting and stopping ------------------------------------------------------- */

static bool fail(leat_error *error, leat_kind kind, const char *what) {
  leat__error_set(error, kind, "the sandbox can't %s%s%s", what, errno ? ": " : "",
                  errno ? strerror(errno) : "");
  return false;
}

static bool write_certificate(leat_sandbox *sandbox, leat_error *error) {
  const char *folder = getenv("TMPDIR");
  size_t length = sizeof certificate - 1;
  if (folder == NULL || strlen(folder) > 30) folder = "/tmp";
  snprintf(sandbox->ca_file, sizeof sandbox->ca_file, "%s/leat-sandbox-XXXXXX", folder);
  int fd = mkstemp(sandbox->ca_file);
  if (fd < 0) {
    sandbox->ca_file[0] = '\0';
    return fail(error, LEAT_LOCAL, "write its certificate");
  }
  bool written = write(fd, certificate, length) == (ssize_t)length;
  close(fd);
  return written || fail(error, LEAT_LOCAL, "write its certificate");
}

static struct sockaddr_in local_address(int port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/* Sets errno to the reason why the port cannot be bound, if there is one. libmicrohttpd 1.0
** overwrites it when it closes its socket. */
static void find_out_why(int port) {
  struct sockaddr_in address = local_address(port);
  int fd = socket(AF_INET, SOCK_STREAM, 0), before = errno;
  if (fd < 0) return;
  bool bound = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
  int why = bound ? before : errno;
  close(fd);
  errno = why;
}

/* Blocks all signals in the sandbox's threads, so that they are delivered to the
** program's own threads. */
static struct MHD_Daemon *start_daemon(leat_sandbox *sandbox,
                                       const leat_sandbox_config *config) {
  sigset_t all, before;
  struct sockaddr_in address = local_address(config->port);
  const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                         MHD_USE_AUTO | MHD_USE_ITC;
  struct MHD_OptionItem secure[] = {
      {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)certificate},
      {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)certificate_key},
      {MHD_OPTION_HTTPS_PRIORITIES, 0,
       (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
      {MHD_OPTION_END, 0, NULL}};
  struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  struct MHD_Daemon *daemon = MHD_start_daemon(
      config->tls ? flags | MHD_USE_TLS : flags, 0, NULL, NULL, on_request, sandbox,
      MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_LISTEN_BACKLOG_SIZE,
      (unsigned)SANDBOX_BACKLOG, MHD_OPTION_URI_LOG_CALLBACK, on_target, sandbox,
      MHD_OPTION_NOTIFY_COMPLETED, on_end, sandbox, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      (size_t)SANDBOX_CONNECTION_MEMORY, MHD_OPTION_CONNECTION_LIMIT,
      (unsigned)SANDBOX_CONNECTIONS, MHD_OPTION_ARRAY, config->tls ? secure : plain,
      MHD_OPTION_END);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return daemon;
}

static void set_urls(leat_sandbox *sandbox, const leat_sandbox_config *config) {
  const char *scheme = config->tls ? "https" : "http";
  const union MHD_DaemonInfo *info =
      MHD_get_daemon_info(sandbox->daemon, MHD_DAEMON_INFO_BIND_PORT);
  int port = info ? info->port : config->port;
  snprintf(sandbox->url, sizeof sandbox->url, "%s://127.0.0.1:%d" SANDBOX_BASE, scheme,
           port);
  snprintf(sandbox->token_url, sizeof sandbox->token_url, "%s://127.0.0.1:%d/oauth/token",
           scheme, port);
}

static bool start(leat_sandbox *sandbox, const leat_sandbox_config *config,
                  leat_error *error) {
  if (config->tls && !write_certificate(sandbox, error)) return false;
  errno = 0;
  sandbox->daemon = start_daemon(sandbox, config);
  if (sandbox->daemon == NULL) {
    find_out_why(config->port);
    return fail(error, LEAT_LOCAL, config->tls ? "listen with TLS" : "listen");
  }
  set_urls(sandbox, config);
  return true;
}

static bool open_api(leat_sandbox *sandbox, const leat_sandbox_config *config,
                     leat_error *error) {
  if (config->port < 0 || config->port > 65535) {
    leat__error_set(error, LEAT_CONFIG, "port must be from 0 to 65535");
    return false;
  }
  if (getentropy(&sandbox->api.seed, sizeof sandbox->api.seed) != 0)
    return fail(error, LEAT_LOCAL, "get random bits");
  return leat__sandbox_open(&sandbox->api, config, error);
}

leat_sandbox *leat_sandbox_new(const leat_sandbox_config *config, leat_error *error) {
  static const leat_sandbox_config none = {0};
  leat_sandbox *sandbox = calloc(1, sizeof *sandbox);
  if (config == NULL) config = &none;
  if (error) leat__error_clear(error);
  if (sandbox == NULL) {
    leat__no_memory(error);
    return NULL;
  }
  sandbox->process = getpid();
  sandbox->started_ms = monotonic_ms();
  pthread_mutex_init(&sandbox->lock, NULL);
  if (open_api(sandbox, config, error) && start(sandbox, config, error)) return sandbox;
  leat_sandbox_free(sandbox);
  return NULL;
}

/* In a forked child it frees nothing: the threads and the certificate file belong to the
** parent. */
void leat_sandbox_free(leat_sandbox *sandbox) {
  if (sandbox == NULL || sandbox->process != getpid()) return;
  if (sandbox->daemon) MHD_stop_daemon(sandbox->daemon);
  if (sandbox->ca_file[0]) unlink(sandbox->ca_file);
  leat__sandbox_close(&sandbox->api);
  pthread_mutex_destroy(&sandbox->lock);
  free(sandbox);
}

const char *leat_sandbox_url(const leat_sandbox *sandbox) {
  return sandbox->url;
}

const char *leat_sandbox_token_url(const leat_sandbox *sandbox) {
  return sandbox->token_url;
}

const char *leat_sandbox_ca_file(const leat_sandbox *sandbox) {
  return sandbox->ca_file[0] ? sandbox->ca_file : NULL;
}

/* ---- while it runs --------------------------------------------------------------- */

int leat_sandbox_add_fault(leat_sandbox *sandbox, const leat_sandbox_fault *fault,
                           leat_error *error) {
  if (error) leat__error_clear(error);
  pthread_mutex_lock(&sandbox->lock);
  bool added = leat__sandbox_add_fault(&sandbox->api, fault, error);
  int number = added ? (int)sandbox->api.fault_count : 0;
  pthread_mutex_unlock(&sandbox->lock);
  return number;
}

void leat_sandbox_clear_faults(leat_sandbox *sandbox) {
  pthread_mutex_lock(&sandbox->lock);
  for (size_t i = 0; i < sandbox->api.fault_count; i++)
    sandbox->api.faults[i].disabled = true;
  pthread_mutex_unlock(&sandbox->lock);
}

void leat_sandbox_expire_tokens(leat_sandbox *sandbox) {
  pthread_mutex_lock(&sandbox->lock);
  sandbox->api.token_count = 0;
  pthread_mutex_unlock(&sandbox->lock);
}

void leat_sandbox_reset(leat_sandbox *sandbox) {
  pthread_mutex_lock(&sandbox->lock);
  leat__sandbox_reset(&sandbox->api);
  pthread_mutex_unlock(&sandbox->lock);
}

/* Returns a copy that the core can read, since other threads may change the state.
** Returns NULL if `value` is NULL, or out of memory. */
static const leat_json *lend(sandbox_api *api, const json_t *value) {
  char why[160];
  leat_buffer text;
  leat__json_free(api->borrowed);
  leat__buffer_init(&text, SANDBOX_MAX_RESPONSE);
  if (value) leat__sandbox_write(value, &text);
  api->borrowed =
      text.length == 0 || text.failed
          ? NULL
          : leat__json_parse((leat_string){text.data, text.length}, why, sizeof why);
  leat__buffer_free(&text);
  return api->borrowed;
}

/* Locks the state, after all changes that are due. */
static sandbox_api *lock(leat_sandbox *sandbox) {
  pthread_mutex_lock(&sandbox->lock);
  leat__sandbox_apply_due(&sandbox->api, now());
  return &sandbox->api;
}

static void unlock(leat_sandbox *sandbox) {
  pthread_mutex_unlock(&sandbox->lock);
}

const leat_json *leat_sandbox_find_card(leat_sandbox *sandbox, leat_string value) {
  sandbox_api *api = lock(sandbox);
  const leat_json *card =
      lend(api, json_object_getn(api->cards, value.data, value.length));
  unlock(sandbox);
  return card;
}

const leat_json *leat_sandbox_all_cards(leat_sandbox *sandbox) {
  const char *value;
  json_t *card, *all = json_array();
  sandbox_api *api = lock(sandbox);
  json_object_foreach(api->cards, value, card) {
    json_array_append(all, card);
  }
  const leat_json *cards = lend(api, all);
  json_decref(all);
  unlock(sandbox);
  return cards;
}

bool leat_sandbox_request_at(leat_sandbox *sandbox, size_t index,
                             leat_sandbox_request *request) {
  const sandbox_api *api = lock(sandbox);
  bool found = index < api->record_count;
  if (found) *request = api->records[index]->request;
  unlock(sandbox);
  return found;
}
