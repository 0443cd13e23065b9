/*
** curl.c - the driver for scripts and event loops. It connects with libcurl, and pools and
** polls the connections itself. Only this file calls libcurl.
**
** libcurl connects (CURLOPT_CONNECT_ONLY: DNS, proxy, TCP, TLS, verification). After
** that the codec's bytes go through curl_easy_send and curl_easy_recv or, where there is
** no TLS and certainly no proxy, straight through the socket. A connection is *pinned* by
** one receive right after connecting: from then on libcurl counts it as in use and never
** closes it by itself.
**
** A job is a call that the driver works on. It is queued until fewer than max_connections
** jobs are working. Then the driver runs the call step by step, until it is done or has to
** wait.
*/
#include "diagnose.h"
#include "leat_curl.h"
#include "leat_driver.h"
#include "poller.h"
#include "queue.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  DEFAULT_MAX_CONNECTIONS = 16,
  MAX_CONNECTIONS = 100000,
  MAX_IDLE_MS = 60 * 1000, /* connections idle for longer are not reused */
  MAX_SEND = 16 * 1024,    /* bytes passed to libcurl in one send */
  MAX_EXCERPT = 80,        /* length of what a message quotes of a response */
  EVENTS_AT_ONCE = 64,
  CONNECTS_AT_ONCE = 16,
  STEP_MS = 2, /* events that are left after this time wait for the next step */
  CONNECT_TRIES = 3,
  UNWATCHED_POLL_MS = 20
};

static const int64_t NEVER = INT64_MAX;

typedef enum job_state {
  JOB_QUEUED,      /* waits for a connection, and never had one */
  JOB_REQUEUED,    /* waits for one again; goes first, because its call has begun */
  JOB_WAITING,     /* after LEAT_WAIT */
  JOB_NEEDS_TOKEN, /* after LEAT_TOKEN, not yet returned by leat_curl_token */
  JOB_NEEDS_SLOT,  /* after LEAT_SLOT, not yet returned by leat_curl_slot */
  JOB_AWAITING,    /* after either, returned */
  JOB_WORKING,     /* it has, or may make, one of max_connections */
  JOB_FINISHED     /* its call is done, and not yet returned by leat_curl_done */
} job_state;

typedef struct job {
  leat__link link;   /* in the list of jobs with the same state */
  leat__timer timer; /* deadline of its exchange, end of its wait, or queue deadline */
  leat_call *call;
  struct connection *connection;
  job_state state;
  leat_sent sent;
  int reconnects;       /* before the first byte of its exchange was sent */
  int64_t queued_since; /* when it entered the queue, in ms */
  leat_step awaits;     /* while it is awaiting: LEAT_TOKEN or LEAT_SLOT */
  uint64_t epoch;       /* the client's epoch when the call began to wait for a token */
} job;

typedef struct connection {
  leat__link link; /* in `busy` or `idle`; the most recently used one is last */
  CURL *easy;
  curl_socket_t fd; /* CURL_SOCKET_BAD while libcurl connects */
  char *origin;
  leat_http1 *http;
  job *job; /* NULL: idle */
  int64_t idle_since;
  bool wants_write;
  curl_socket_t polled_fd; /* the last socket that libcurl watched while connecting */
  bool awaits_peer; /* while connecting: libcurl waits only to read from the peer */
  int watched;      /* number of sockets that libcurl watches while connecting */
  int os_error;     /* errno of the socket() that failed; 0: none failed */
  int port;         /* the server's */
  bool proxied;
  bool responded; /* at least one response was received */
  bool bare;      /* neither TLS nor a proxy: the socket is used directly */
  int limit_ms;   /* TCP_USER_TIMEOUT; 0: the system's */
  char peer[INET6_ADDRSTRLEN + 16]; /* last address libcurl used: 127.0.0.1:443 */
  char message[CURL_ERROR_SIZE];
} connection;

struct leat_curl {
  int max_connections;
  int count, connecting; /* the connections there are; those that are being established */
  int working_count;
  char *ca_file, *proxy;
  unsigned fork_generation; /* fork generation that the connections belong to */
  CURLM *multi;
  CURLSH *share;
  connection **by_fd; /* by descriptor; NULL: libcurl's own, or unused */
  size_t by_fd_size;
  int unwatched;      /* connections that are connecting without a watched socket */
  int connects_begun; /* connections begun since libcurl was last driven */
  bool unresolved;    /* a name was not resolved, which libcurl caches from 8.16 on */
  bool stale;         /* multi may have cached CA certificates that failed to decode */
  bool broken; /* multi had no memory to watch a socket, and gets no more handles */
  leat__link busy, idle; /* all connections */
  leat__link queued, requeued, waiting, needs_token, needs_slot, awaiting, working,
      finished;      /* jobs */
  leat__heap timers; /* all jobs have one; a finished job is never due */
  uint64_t started;  /* number of jobs so far */
  bool wake_pending; /* a client's epoch changed: waiting jobs must run again */
  bool unread;       /* input may be left that this step has not handled */
  leat__poller *poller;
  int64_t now; /* time of the event that is being handled */
  int64_t curl_due, sweep_due;
  uint64_t random;
};

static void run_call(leat_curl *curl, job *j);
static void fail_connect(leat_curl *curl, connection *c, CURLcode result);

/* ---- time and randomness --------------------------------------------------------- */

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads the clock once per event: a single call needs the time about ten times. */
static int64_t read_clock(leat_curl *curl) {
  return curl->now = now_ms();
}

static leat_moment moment(leat_curl *curl) {
  leat_moment now = {curl->now, time(NULL), 0};
  curl->random ^= curl->random << 13; /* xorshift */
  curl->random ^= curl->random >> 7;
  curl->random ^= curl->random << 17;
  now.random = curl->random;
  return now;
}

static void seed(leat_curl *curl) {
  if (getrandom(&curl->random, sizeof curl->random, GRND_NONBLOCK) < 0 || !curl->random)
    curl->random = (uint64_t)now_ms() * 2654435761u + (uint64_t)getpid() + 1;
}

/* ---- fork detection -------------------------------------------------------------- */

#ifdef __linux__

/* Counts forks in the child as they happen, because a getpid() for each check would
** cost half as much as a receive. A handler that is registered twice, by two threads,
** does no harm: any change of the count means a fork. */
static atomic_uint fork_count;
static atomic_bool handler_registered;

static void on_fork_child(void) {
  atomic_fetch_add(&fork_count, 1);
}

/* Returns false if there was no memory for the handler. The C libraries of Linux
** unregister it when this library is unloaded. */
static bool watch_forks(void) {
  if (!handler_registered)
    handler_registered = pthread_atfork(NULL, NULL, on_fork_child) == 0;
  return handler_registered;
}

static unsigned fork_generation(void) {
  return fork_count;
}

#else

static bool watch_forks(void) {
  return true;
}

static unsigned fork_generation(void) {
  return (unsigned)getpid();
}

#endif

/* ---- jobs ------------------------------------------------------------------------ */

static leat__link *list_of(leat_curl *curl, job_state to) {
  switch (to) {
    case JOB_QUEUED: return &curl->queued;
    case JOB_REQUEUED: return &curl->requeued;
    case JOB_WAITING: return &curl->waiting;
    case JOB_NEEDS_TOKEN: return &curl->needs_token;
    case JOB_NEEDS_SLOT: return &curl->needs_slot;
    case JOB_AWAITING: return &curl->awaiting;
    case JOB_WORKING: return &curl->working;
    case JOB_FINISHED: break;
  }
  return &curl->finished;
}

/* Moves a job to the list of its new state and sets its timer. */
static void move(leat_curl *curl, job *j, job_state to, int64_t due) {
  curl->working_count += (to == JOB_WORKING) - (j->state == JOB_WORKING);
  j->state = to;
  leat__list_leave(&j->link);
  leat__list_put(list_of(curl, to), &j->link);
  leat__heap_set(&curl->timers, &j->timer, due);
}

static job *job_at(leat__link *link) {
  return LEAT_OWNER(job, link, link);
}

/* Returns NULL if the list is empty. */
static job *first_of(leat__link *list) {
  return leat__list_is_empty(list) ? NULL : job_at(list->next);
}

/* Changes whenever waiting calls of the same client may be able to continue. */
static uint64_t epoch_of(const job *j) {
  return leat_client_epoch(leat_call_client(j->call));
}

/* Returns a NUL-terminated copy; NULL if memory runs out. */
static char *copy_text(leat_string text) {
  char *copy = malloc(text.length + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, text.data, text.length);
  copy[text.length] = '\0';
  return copy;
}

/* ---- errors of leat_curl_new ----------------------------------------------------- */

static void set_error(leat_error *error, leat_kind kind, const char *why) {
  if (error == NULL) return;
  *error = (leat_error){.kind = kind, .retry_after_ms = -1};
  snprintf(error->message, sizeof error->message, "%s", why);
}

/* ---- descriptors ----------------------------------------------------------------- */

/* Whether an operation has just failed for lack of descriptors without reporting it.
** By now libcurl has closed its own, a socket and two that it resolves names with, so
** up to three free descriptors prove nothing: four must be available. */
static bool lacks_descriptors(void) {
  enum { FEW = 4 };
  int fds[FEW], count = 0, error = 0;
  while (count < FEW && (fds[count] = open("/", O_RDONLY | O_CLOEXEC)) >= 0)
    count++;
  if (count < FEW) error = errno;
  while (count > 0)
    close(fds[--count]);
  return error == EMFILE || error == ENFILE;
}

/* ---- watching -------------------------------------------------------------------- */

static connection *connection_at_fd(const leat_curl *curl, int fd) {
  return (size_t)fd < curl->by_fd_size ? curl->by_fd[fd] : NULL;
}

static bool set_owner(leat_curl *curl, int fd, connection *c) {
  size_t needed = (size_t)fd + 1;
  if (needed > curl->by_fd_size) {
    size_t size = needed * 2;
    connection **grown = realloc(curl->by_fd, size * sizeof *grown);
    if (grown == NULL) return false;
    memset(grown + curl->by_fd_size, 0, (size - curl->by_fd_size) * sizeof *grown);
    curl->by_fd = grown;
    curl->by_fd_size = size;
  }
  curl->by_fd[fd] = c;
  return true;
}

static connection *connection_of(CURL *easy) {
  connection *c = NULL; /* stays NULL for a handle of libcurl's own */
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&c);
  return c;
}

static void count_watched(leat_curl *curl, connection *c, int change) {
  if (c == NULL) return;
  bool before = c->watched > 0;
  c->watched += change;
  if (c->fd == CURL_SOCKET_BAD) curl->unwatched += before - (c->watched > 0);
}

/* While libcurl connects, it calls this when the events that it waits for on a socket
** change. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *assigned) {
  leat_curl *curl = user;
  connection *c = connection_of(easy);
  if (what == CURL_POLL_REMOVE) {
    if (assigned) count_watched(curl, c, -1);
    if (connection_at_fd(curl, fd) == NULL) leat__poller_unset(curl->poller, fd);
    return 0;
  }
  if (assigned == NULL) count_watched(curl, c, 1);
  if (c) c->awaits_peer = what == CURL_POLL_IN;
  if (c) c->polled_fd = fd;
  curl_multi_assign(curl->multi, fd, curl);
  /* libcurl closes and reopens descriptors at will, so this number may be watched
  ** already */
  leat__poller_set(curl->poller, fd,
                   (what & CURL_POLL_IN ? LEAT_READ : 0) |
                       (what & CURL_POLL_OUT ? LEAT_WRITE : 0));
  return 0;
}

static int on_timer(CURLM *multi, long ms, void *user) {
  leat_curl *curl = user;
  (void)multi;
  curl->curl_due = ms < 0 ? NEVER : now_ms() + ms;
  return 0;
}

/* libcurl 7.88 does not report whether it uses a proxy that is named by the
** environment. A port that differs from the server's shows it. */
static void record_peer(connection *c, const struct curl_sockaddr *a) {
  char host[INET6_ADDRSTRLEN] = "";
  const struct sockaddr_in *v4 = (const void *)&a->addr;
  const struct sockaddr_in6 *v6 = (const void *)&a->addr;
  bool six = a->family == AF_INET6;
  const void *address = six ? (const void *)&v6->sin6_addr : &v4->sin_addr;
  int port = ntohs(six ? v6->sin6_port : v4->sin_port);
  if (inet_ntop(a->family, address, host, sizeof host) == NULL) return;
  snprintf(c->peer, sizeof c->peer, six ? "[%s]:%d" : "%s:%d", host, port);
  if (port != c->port) c->proxied = true;
}

/* While the network is away the system tries for minutes to deliver what was sent, even
** when the socket is closed or its process has ended. A request must not arrive that late:
** others may have found out that it was not received, and sent it again. With `at_once`
** the system forgets what was not delivered when the socket is closed. */
static void set_linger(int fd, bool at_once) {
  struct linger linger = {at_once, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* Sockets are close-on-exec, so that programs started by this process do not inherit
** them. */
static curl_socket_t on_open(void *user, curlsocktype purpose, struct curl_sockaddr *a) {
  connection *c = user;
  int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
  (void)purpose;
  record_peer(c, a);
  if (fd < 0) c->os_error = errno;
  else set_linger(fd, true);
  return fd;
}

static CURLM *new_multi(leat_curl *curl) {
  CURLM *multi = curl_multi_init();
  if (multi == NULL) return NULL;
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, curl);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, curl);
  curl_multi_setopt(multi, (CURLMoption)21, 1L); /* QUICK_EXIT, since 8.20 */
  return multi;
}

/* libcurl keeps only the first of its errors. In verbose mode it reports the others
** here, and one of them may be the alert that the server sent before it closed the
** connection. */
static int on_debug(CURL *easy, curl_infotype type, char *data, size_t size, void *user) {
  connection *c = user;
  char text[CURL_ERROR_SIZE];
  (void)easy;
  if (type != CURLINFO_TEXT) return 0;
  snprintf(text, sizeof text, "%.*s", (int)(size < sizeof text ? size : sizeof text),
           data);
  text[strcspn(text, "\r\n")] = '\0';
  if (leat__is_alert(text)) memcpy(c->message, text, sizeof text);
  return 0;
}

static void capture_alerts(connection *c) {
  curl_easy_setopt(c->easy, CURLOPT_VERBOSE, 1L);
}

static size_t discard(char *data, size_t size, size_t count, void *user) {
  (void)data;
  (void)user;
  return size * count;
}

/* ---- connections ----------------------------------------------------------------- */

static connection *connection_at(leat__link *link) {
  return LEAT_OWNER(connection, link, link);
}

static void free_connection(connection *c) {
  curl_easy_cleanup(c->easy);
  leat_http1_free(c->http);
  free(c->origin);
  free(c);
}

static void end_connecting(leat_curl *curl, const connection *c) {
  curl->connecting--;
  if (c->watched == 0) curl->unwatched--;
}

/* libcurl frees the connection when its handle is removed, so the poller must let go of
** the socket before that, and the handle is cleaned up after it. The connection is freed;
** the caller clears its job's pointer to it. */
static void close_connection(leat_curl *curl, connection *c) {
  if (c->fd != CURL_SOCKET_BAD) {
    leat__poller_unset(curl->poller, c->fd);
    set_owner(curl, c->fd, NULL);
    if (c->job == NULL) set_linger(c->fd, false);
  }
  curl_multi_remove_handle(curl->multi, c->easy);
  if (c->fd == CURL_SOCKET_BAD) end_connecting(curl, c);
  leat__list_leave(&c->link);
  curl->count--;
  free_connection(c);
}

static void close_all(leat_curl *curl) {
  while (!leat__list_is_empty(&curl->busy))
    close_connection(curl, connection_at(curl->busy.next));
  while (!leat__list_is_empty(&curl->idle))
    close_connection(curl, connection_at(curl->idle.next));
}

static connection *new_connection(leat_curl *curl, const leat_request *request) {
  connection *c = calloc(1, sizeof *c);
  if (c == NULL) return NULL;
  leat__list_init(&c->link);
  c->fd = c->polled_fd = CURL_SOCKET_BAD;
  c->easy = curl_easy_init();
  c->http = leat_http1_new();
  c->origin = copy_text(request->origin);
  c->port = request->port;
  if (c->easy == NULL || c->http == NULL || c->origin == NULL) {
    free_connection(c);
    return NULL;
  }
  curl->count++;
  curl->connecting++;
  curl->unwatched++;
  return c;
}

/* The following functions return 0 if curl_easy_setopt accepted every option, and
** otherwise the bits of its error codes. If any option fails, the connection must not
** be made. */
static unsigned set_ca_file(CURL *easy, const leat_curl *curl) {
  unsigned bad = 0;
  const char *ca_file = curl->ca_file;
  if (ca_file == NULL) ca_file = curl_version_info(CURLVERSION_NOW)->cainfo;
  if (ca_file == NULL) return 0;
  bad |= curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
  bad |= curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, ca_file);
  /* A path in addition to the file would keep libcurl from caching the parsed
  ** certificates. */
  curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
  curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
  return bad;
}

static unsigned set_security(CURL *easy, const leat_curl *curl) {
  unsigned bad = 0;
  bad |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  bad |= curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  bad |= curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
  bad |= curl_easy_setopt(easy, CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
  bad |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_NETRC,
                   (long)CURL_NETRC_IGNORED); /* may fail: netrc may not be built in */
  return bad | set_ca_file(easy, curl);
}

static unsigned set_proxy(connection *c, const leat_curl *curl,
                          const leat_request *request) {
  const char *proxy = curl->proxy;
  unsigned bad = 0;
  if (request->loopback) proxy = "";
  c->bare = !request->tls && proxy && proxy[0] == '\0';
  /* Without a tunnel the proxy could read a cleartext request. */
  bad |= curl_easy_setopt(c->easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
  if (proxy == NULL) return bad;
  c->proxied = proxy[0] != '\0';
  bad |= curl_easy_setopt(c->easy, CURLOPT_PROXY, proxy);
  bad |= curl_easy_setopt(c->easy, CURLOPT_NOPROXY, "");
  return bad;
}

static unsigned set_functions(leat_curl *curl, connection *c) {
  unsigned bad = 0;
  bad |= curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
  bad |= curl_easy_setopt(c->easy, CURLOPT_SHARE, curl->share);
  bad |= curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->message);
  bad |= curl_easy_setopt(c->easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
  bad |= curl_easy_setopt(c->easy, CURLOPT_OPENSOCKETDATA, c);
  bad |= curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, discard);
  bad |= curl_easy_setopt(c->easy, CURLOPT_DEBUGFUNCTION, on_debug);
  bad |= curl_easy_setopt(c->easy, CURLOPT_DEBUGDATA, c);
  return bad;
}

static unsigned set_options(leat_curl *curl, connection *c, const leat_request *request) {
  CURL *easy = c->easy;
  unsigned bad = 0;
  int64_t left = request->deadline_ms - curl->now;
  if (left > request->connect_timeout_ms) left = request->connect_timeout_ms;
  bad |= curl_easy_setopt(easy, CURLOPT_URL, c->origin);
  bad |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, request->tls ? "https" : "http");
  bad |= curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
  /* Without it libcurl searches all its connections. */
  bad |= curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
  bad |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(left > 1 ? left : 1));
  bad |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  bad |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  bad |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* no wait for its resolver */
  if (curl->unresolved) bad |= curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
  return bad | set_functions(curl, c) | set_security(easy, curl) |
         set_proxy(c, curl, request);
}

/* ---- bytes ----------------------------------------------------------------------- */

/* curl_easy_send and curl_easy_recv search all of libcurl's connections each time.
** Without encryption they do little else, so the following functions do it directly,
** with the same results and messages. */
static CURLcode bare_result(connection *c, ssize_t length, size_t *n, CURLcode failed) {
  char why[128] = "";
  *n = length > 0 ? (size_t)length : 0;
  if (length >= 0) return CURLE_OK;
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return CURLE_AGAIN;
  int error = errno;
  if (strerror_r(error, why, sizeof why) != 0) snprintf(why, sizeof why, "%d", error);
  snprintf(c->message, sizeof c->message, "%s failure: %s",
           failed == CURLE_SEND_ERROR ? "Send" : "Recv", why);
  return failed;
}

static CURLcode receive_bytes(connection *c, char *space, size_t room, size_t *n) {
  if (!c->bare) return curl_easy_recv(c->easy, space, room, n);
  return bare_result(c, recv(c->fd, space, room, 0), n, CURLE_RECV_ERROR);
}

static CURLcode send_bytes(connection *c, const char *bytes, size_t length, size_t *n) {
  if (!c->bare) return curl_easy_send(c->easy, bytes, length, n);
  return bare_result(c, send(c->fd, bytes, length, MSG_NOSIGNAL), n, CURLE_SEND_ERROR);
}

/* ---- reuse ----------------------------------------------------------------------- */

static bool is_text(leat_string a, const char *b) {
  return a.length == strlen(b) && memcmp(a.data, b, a.length) == 0;
}

/* Returns the connection to this origin that was used most recently, or NULL if none
** is idle. */
static connection *find_idle(leat_curl *curl, const leat_request *request) {
  for (leat__link *l = curl->idle.prev; l != &curl->idle; l = l->prev)
    if (is_text(request->origin, connection_at(l)->origin)) return connection_at(l);
  return NULL;
}

static void close_oldest_idle(leat_curl *curl) {
  if (!leat__list_is_empty(&curl->idle))
    close_connection(curl, connection_at(curl->idle.next));
}

/* Whether an idle connection can be reused: it has nothing to read, and has not ended.
** Only a receive through all of its layers shows that: the socket may be readable
** because of TLS itself (a session ticket), and is not when OpenSSL has already
** decrypted what arrived. */
static bool is_quiet(connection *c) {
  char byte;
  size_t n = 0;
  return receive_bytes(c, &byte, 1, &n) == CURLE_AGAIN;
}

static connection *reuse(leat_curl *curl, const leat_request *request) {
  connection *c;
  while ((c = find_idle(curl, request)) != NULL) {
    if (curl->now - c->idle_since < MAX_IDLE_MS && is_quiet(c)) return c;
    close_connection(curl, c);
  }
  return NULL;
}

static void make_idle(leat_curl *curl, connection *c) {
  c->job = NULL;
  c->idle_since = curl->now;
  leat__list_leave(&c->link);
  leat__list_put(&curl->idle, &c->link);
}

/* ---- the end of an exchange ------------------------------------------------------ */

/* A response or failure of one call may concern others of its client: a changed epoch
** wakes those that wait. */
static void wake_waiters(leat_curl *curl, const job *j, uint64_t epoch) {
  if (epoch_of(j) != epoch) curl->wake_pending = true;
}

/* Closes the job's connection, reports to the call that no response came, and runs the
** call again, which may retry. */
static void fail(leat_curl *curl, job *j, leat_kind kind, const char *detail) {
  uint64_t epoch = epoch_of(j);
  if (j->connection) close_connection(curl, j->connection);
  j->connection = NULL;
  j->reconnects = 0;
  /* This has no effect if the call has begun. */
  leat_call_add_queue_time(j->call, curl->now - j->queued_since);
  leat_call_fail(j->call, moment(curl), kind, j->sent, detail);
  run_call(curl, j);
  wake_waiters(curl, j, epoch);
}

static void complete(leat_curl *curl, connection *c) {
  job *j = c->job;
  uint64_t epoch = epoch_of(j);
  leat_call_respond(j->call, moment(curl), leat_http1_response(c->http));
  j->connection = NULL;
  j->reconnects = 0;
  c->responded = true;
  make_idle(curl, c);
  if (!leat_http1_reusable(c->http)) close_connection(curl, c);
  run_call(curl, j);
  wake_waiters(curl, j, epoch);
}

static void fail_codec(leat_curl *curl, connection *c) {
  const char *detail;
  leat_kind kind = leat_http1_failure(c->http, &detail);
  char text[256];
  /* Closing the connection frees the codec and its text. */
  snprintf(text, sizeof text, "%s", detail);
  fail(curl, c->job, kind, text);
}

/* With TLS 1.3 a server may refuse the client after the client has completed its
** handshake, and perhaps has sent a request. */
static bool is_refused(const connection *c) {
  return !c->responded && leat__is_alert(c->message);
}

static void fail_io(leat_curl *curl, connection *c, CURLcode result, const char *what) {
  char text[CURL_ERROR_SIZE + 64];
  if (is_refused(c)) {
    fail_connect(curl, c, CURLE_SSL_CONNECT_ERROR);
    return;
  }
  const char *why = c->message[0] ? c->message : curl_easy_strerror(result);
  snprintf(text, sizeof text, "the connection broke while %s: %s", what, why);
  fail(curl, c->job, result == CURLE_OUT_OF_MEMORY ? LEAT_NO_MEMORY : LEAT_CONNECTION,
       text);
}

/* ---- sending and receiving ------------------------------------------------------- */

static void want_write(leat_curl *curl, connection *c, bool wanted) {
  if (c->wants_write == wanted) return;
  c->wants_write = wanted;
  leat__poller_set(curl->poller, c->fd, LEAT_READ | (wanted ? LEAT_WRITE : 0));
}

/* Returns true if the exchange continues; if not, the connection may be freed. */
static bool receive(leat_curl *curl, connection *c) {
  leat_http1_state state = LEAT_HTTP1_MORE;
  while (state == LEAT_HTTP1_MORE) {
    size_t room, n = 0;
    char *space = leat_http1_space(c->http, &room);
    if (space == NULL) break;
    CURLcode result = receive_bytes(c, space, room, &n);
    if (result == CURLE_AGAIN) return true;
    if (result != CURLE_OK) {
      fail_io(curl, c, result, "receiving");
      return false;
    }
    state = n > 0 ? leat_http1_received(c->http, n) : leat_http1_closed(c->http);
  }
  if (state == LEAT_HTTP1_RESPONSE) complete(curl, c);
  else fail_codec(curl, c);
  return false;
}

/* After a partial write, TLS requires the same bytes to be offered again, at the same
** address and with the same length. The codec's output does not move, so it satisfies
** that. */
static void transmit(leat_curl *curl, connection *c) {
  leat_string out;
  while ((out = leat_http1_output(c->http)).length > 0) {
    size_t n = 0;
    c->job->sent = LEAT_SENT_MAYBE;
    CURLcode result =
        send_bytes(c, out.data, out.length < MAX_SEND ? out.length : MAX_SEND, &n);
    if (result == CURLE_AGAIN) {
      want_write(curl, c, true);
      return;
    }
    if (result != CURLE_OK) { /* an early response, or an alert, may be there to read */
      capture_alerts(c);
      if (receive(curl, c)) fail_io(curl, c, result, "sending");
      return;
    }
    leat_http1_sent(c->http, n);
  }
  want_write(curl, c, false);
}

static void on_ready(leat_curl *curl, connection *c, int events) {
  if (c->job == NULL) {
    if (!is_quiet(c)) close_connection(curl, c);
    return;
  }
  if ((events & ~LEAT_WRITE) && !receive(curl, c)) return;
  if (events & LEAT_WRITE) transmit(curl, c);
}

/* ---- exchanges ------------------------------------------------------------------- */

/* The system gives up the delivery of a request at its deadline, also if the process is
** stopped: see set_linger. */
static void limit_delivery(const leat_curl *curl, connection *c, int64_t deadline_ms) {
#ifdef TCP_USER_TIMEOUT
  int64_t left = deadline_ms > curl->now ? deadline_ms - curl->now : 0;
  int ms = left < INT_MAX / 2 ? ((int)left / 100 + 1) * 100 : 0;
  if (ms == c->limit_ms) return;
  setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
  c->limit_ms = ms;
#else
  (void)curl, (void)c, (void)deadline_ms;
#endif
}

static void begin_exchange(leat_curl *curl, connection *c) {
  const leat_request *request = leat_call_request(c->job->call);
  if (request) limit_delivery(curl, c, request->deadline_ms);
  if (request == NULL) fail(curl, c->job, LEAT_CANCELED, "the call ended meanwhile");
  else if (leat_http1_begin(c->http, request) == LEAT_HTTP1_FAILED) fail_codec(curl, c);
  else transmit(curl, c);
}

/* Assigns the connection to the job until the exchange ends. */
static void assign(leat_curl *curl, job *j, connection *c, const leat_request *request) {
  leat__list_leave(&c->link);
  leat__list_put(&curl->busy, &c->link);
  c->job = j;
  j->connection = c;
  leat__heap_set(&curl->timers, &j->timer, request->deadline_ms);
}

/* Replaces the multi, once none of its connections is in use, if it is broken or
** stale. libcurl 7.88 divides by zero when it sees the number of a socket again that
** it had no memory to watch, and it keeps CA certificates that OpenSSL had no memory
** to decode. Returns false if the multi must not be used now. */
static bool renew_multi(leat_curl *curl) {
  if (!curl->broken && !curl->stale) return true;
  if (!leat__list_is_empty(&curl->busy)) return !curl->broken;
  CURLM *multi = new_multi(curl);
  if (multi == NULL) return false;
  close_all(curl);
  curl_multi_cleanup(curl->multi);
  curl->multi = multi;
  curl->broken = curl->stale = false;
  return true;
}

static void connect_to(leat_curl *curl, job *j, const leat_request *request) {
  connection *c;
  if (curl->count >= curl->max_connections) close_oldest_idle(curl);
  if (!renew_multi(curl) || (c = new_connection(curl, request)) == NULL) {
    fail(curl, j, LEAT_NO_MEMORY, "out of memory while connecting");
    return;
  }
  assign(curl, j, c, request);
  curl->connects_begun++;
  if (set_options(curl, c, request) != 0 ||
      curl_multi_add_handle(curl->multi, c->easy) != CURLM_OK)
    fail(curl, j, LEAT_NO_MEMORY, "libcurl could not begin to connect: out of memory?");
}

static void exchange(leat_curl *curl, job *j) {
  const leat_request *request = leat_call_request(j->call);
  connection *c = reuse(curl, request);
  j->sent = LEAT_SENT_NO;
  if (c == NULL) {
    connect_to(curl, j, request);
    return;
  }
  assign(curl, j, c, request);
  leat_call_set_reused(j->call);
  begin_exchange(curl, c);
}

/* Calls leat_call_next and acts on its step. The job is working, or its call is done. */
static void run_call(leat_curl *curl, job *j) {
  uint64_t epoch = epoch_of(j);
  leat_step step = leat_call_next(j->call, moment(curl));
  wake_waiters(curl, j, epoch);
  switch (step) {
    case LEAT_SEND: exchange(curl, j); break;
    case LEAT_WAIT: move(curl, j, JOB_WAITING, leat_call_until(j->call)); break;
    case LEAT_TOKEN:
    case LEAT_SLOT:
      j->awaits = step;
      j->epoch = epoch_of(j);
      move(curl, j, step == LEAT_TOKEN ? JOB_NEEDS_TOKEN : JOB_NEEDS_SLOT, NEVER);
      break;
    case LEAT_DONE: move(curl, j, JOB_FINISHED, NEVER); break;
  }
}

/* Only a few connections are begun in each step, so that a step does not block the
** program for long. */
static bool can_dispatch(const leat_curl *curl) {
  bool any = !leat__list_is_empty(&curl->queued) || !leat__list_is_empty(&curl->requeued);
  return any && curl->working_count < curl->max_connections &&
         curl->connects_begun < CONNECTS_AT_ONCE;
}

/* Whether the job's call must be run again: it is done or has its slot, or its client's
** epoch changed. */
static bool can_continue(const job *j) {
  if (j->awaits == LEAT_SLOT) return !leat_call_awaits_slot(j->call);
  return leat_call_is_done(j->call) || epoch_of(j) != j->epoch;
}

static bool is_awaiting(const job *j) {
  return j->state == JOB_NEEDS_TOKEN || j->state == JOB_NEEDS_SLOT ||
         j->state == JOB_AWAITING;
}

static bool one_can_continue(const leat__link *jobs) {
  for (leat__link *l = jobs->next; l != jobs; l = l->next)
    if (can_continue(job_at(l))) return true;
  return false;
}

static bool any_can_continue(const leat_curl *curl) {
  return one_can_continue(&curl->needs_token) || one_can_continue(&curl->needs_slot) ||
         one_can_continue(&curl->awaiting);
}

static void enqueue_job(leat_curl *curl, job *j, job_state to) {
  j->queued_since = curl->now;
  move(curl, j, to, leat_call_queue_deadline(j->call, j->queued_since));
}

/* Queues again the jobs that can continue, and wakes those that wait for the same token. */
static void requeue(leat_curl *curl, const leat__link *jobs) {
  for (leat__link *l = jobs->next, *next; l != jobs; l = next) {
    next = l->next;
    job *j = job_at(l);
    if (!can_continue(j)) continue;
    enqueue_job(curl, j, JOB_REQUEUED);
    if (j->awaits == LEAT_TOKEN) curl->wake_pending = true;
  }
}

static void requeue_awaiting(leat_curl *curl) {
  requeue(curl, &curl->needs_token);
  requeue(curl, &curl->needs_slot);
  requeue(curl, &curl->awaiting);
}

static bool has_step_to_report(const leat_curl *curl) {
  return !leat__list_is_empty(&curl->needs_token) ||
         !leat__list_is_empty(&curl->needs_slot);
}

/* Runs queued jobs, in order and requeued ones first, while connections are free. */
static void dispatch(leat_curl *curl) {
  while (can_dispatch(curl)) {
    job *j = first_of(&curl->requeued);
    if (j == NULL) j = first_of(&curl->queued);
    leat_call_add_queue_time(j->call, curl->now - j->queued_since);
    move(curl, j, JOB_WORKING, NEVER);
    run_call(curl, j);
  }
}

/* ---- connecting: results and failures -------------------------------------------- */

/* Returns whether this error may come from a lack of descriptors: libcurl had to open
** files, or sockets to resolve a name. */
static bool needs_descriptors(CURLcode result) {
  return result == CURLE_SSL_CACERT_BADFILE || result == CURLE_COULDNT_RESOLVE_HOST ||
         result == CURLE_COULDNT_RESOLVE_PROXY;
}

/* Returns whether the connection was waiting for the other end in the TLS handshake.
** libcurl 8 does not report that. */
static bool awaits_handshake(const leat_curl *curl, const connection *c) {
  const char *other_end = c->proxied ? curl->proxy : c->origin;
  return c->awaits_peer && other_end && strncasecmp(other_end, "https:", 6) == 0;
}

static void fail_connect(leat_curl *curl, connection *c, CURLcode result) {
  char text[CURL_ERROR_SIZE + 512];
  long status = 0, socks = CURLPX_OK;
  curl_easy_getinfo(c->easy, CURLINFO_HTTP_CONNECTCODE, &status);
  curl_easy_getinfo(c->easy, CURLINFO_PROXY_ERROR, &socks);
  leat__connect_failure failure = {
      .result = result,
      .message = c->message[0] ? c->message : curl_easy_strerror(result),
      .http_status = status,
      .socks = (CURLproxycode)socks,
      .lacks_descriptors = c->os_error == EMFILE || c->os_error == ENFILE ||
                           (needs_descriptors(result) && lacks_descriptors()),
      .awaited_handshake = awaits_handshake(curl, c),
      .origin = c->origin,
      .proxy = c->proxied ? c->peer : "",
      .proxy_from_environment = curl->proxy == NULL,
      .unix_s = time(NULL)};
  leat_kind kind = leat__diagnose(&failure, text, sizeof text);
  if (kind == LEAT_TLS) curl->stale = true;
  fail(curl, c->job, kind, text);
}

/* Connects again, which is safe because nothing was sent. Returns false after
** CONNECT_TRIES. */
static bool connect_again(leat_curl *curl, connection *c) {
  job *j = c->job;
  if (++j->reconnects >= CONNECT_TRIES) return false;
  close_connection(curl, c);
  j->connection = NULL;
  run_call(curl, j); /* the call repeats the same request */
  return true;
}

/* Handles a new connection that the server closed, or sent data on, before any
** request. */
static void reject_connection(leat_curl *curl, connection *c, const char *seen,
                              size_t length) {
  char text[160], excerpt[MAX_EXCERPT + 1];
  job *j = c->job;
  if (length > 0) {
    leat_client_clean(leat_call_client(j->call), (leat_string){seen, length}, excerpt,
                      sizeof excerpt);
    snprintf(
        text, sizeof text,
        "the server sent data before the request, so it does not speak HTTP%s: \"%s\"",
        seen[0] ? "" : "/1.1", excerpt); /* HTTP/2 begins with a zero byte */
    fail(curl, j, LEAT_PROTOCOL, text);
  } else if (is_refused(c)) {
    fail_connect(curl, c, CURLE_SSL_CONNECT_ERROR);
  } else if (!connect_again(curl, c)) {
    fail(curl, j, LEAT_CONNECTION,
         "the server closes connections as soon as they are made");
  }
}

static void on_connected(leat_curl *curl, connection *c) {
  char seen[MAX_EXCERPT];
  curl_socket_t fd = CURL_SOCKET_BAD;
  size_t n = 0;
  curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
  if (c->message[0]) capture_alerts(c);
  CURLcode result = curl_easy_recv(c->easy, seen, sizeof seen, &n);
  if (result != CURLE_AGAIN || fd == CURL_SOCKET_BAD) {
    reject_connection(curl, c, seen, result == CURLE_OK ? n : 0);
    return;
  }
  if (!leat__poller_set(curl->poller, fd, LEAT_READ) || !set_owner(curl, fd, c)) {
    fail(curl, c->job, LEAT_NO_MEMORY, "out of memory while watching the connection");
    return;
  }
  end_connecting(curl, c);
  c->fd = fd;
  leat__heap_set(&curl->timers, &c->job->timer,
                 leat_call_connected(c->job->call, moment(curl)));
  begin_exchange(curl, c);
}

/* The ready descriptors of one step. */
typedef struct events {
  leat__ready ready[EVENTS_AT_ONCE];
  int count;
} events;

/* Whether libcurl reported a timeout although data had arrived in time, while the
** program was busy: libcurl compares the clock before it reads. */
static bool was_overlooked(const leat_curl *curl, const connection *c, CURLcode result,
                           const events *seen) {
  bool ready = curl->unread;
  for (int i = 0; i < seen->count && !ready; i++)
    ready = seen->ready[i].fd == c->polled_fd;
  return result == CURLE_OPERATION_TIMEDOUT && ready && curl->now < c->job->timer.due;
}

static void not_connected(leat_curl *curl, connection *c, CURLcode result,
                          const events *seen) {
  if (was_overlooked(curl, c, result, seen) && connect_again(curl, c)) return;
  fail_connect(curl, c, result);
}

static void handle_messages(leat_curl *curl, const events *seen) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(curl->multi, &left)) != NULL) {
    connection *c = connection_of(message->easy_handle);
    CURLcode result = message->data.result;
    if (message->msg != CURLMSG_DONE || c == NULL || c->job == NULL) continue;
    if (result == CURLE_COULDNT_RESOLVE_HOST || result == CURLE_COULDNT_RESOLVE_PROXY)
      curl->unresolved = true;
    if (result == CURLE_OK) on_connected(curl, c);
    else not_connected(curl, c, result, seen);
  }
}

/* ---- time ------------------------------------------------------------------------ */

/* Fails all connections that are connecting after libcurl ran out of memory, because
** libcurl does not report which of them it concerns. */
static void check_multi(leat_curl *curl, CURLMcode result) {
  if (result != CURLM_OUT_OF_MEMORY) return;
  curl->broken = true;
  for (leat__link *l = curl->busy.next, *next; l != &curl->busy; l = next) {
    next = l->next;
    if (connection_at(l)->fd != CURL_SOCKET_BAD) continue;
    fail(curl, connection_at(l)->job, LEAT_NO_MEMORY, "out of memory while connecting");
    next = curl->busy.next; /* failing a job may have changed the list */
  }
}

/* Between two addresses of one name libcurl 7.88 watches no socket and reports
** nothing, so it must check all of its sockets. */
static void sweep(leat_curl *curl, int64_t now) {
  int running;
  curl->sweep_due = now + UNWATCHED_POLL_MS;
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif
  CURLMcode result = curl_multi_socket_all(curl->multi, &running);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
  check_multi(curl, result);
}

static void drive_connecting(leat_curl *curl, int64_t now) {
  int running;
  curl->connects_begun = 0;
  if (curl->connecting == 0) return;
  if (now >= curl->curl_due) {
    curl->curl_due = NEVER;
    check_multi(curl,
                curl_multi_socket_action(curl->multi, CURL_SOCKET_TIMEOUT, 0, &running));
  }
  if (curl->unwatched > 0 && now >= curl->sweep_due) sweep(curl, now);
}

/* Handles the deadline of an exchange. A response that has arrived counts, however
** late it is read. */
static void on_deadline(leat_curl *curl, connection *c) {
  char text[128];
  if (c->fd == CURL_SOCKET_BAD) {
    fail_connect(curl, c, CURLE_OPERATION_TIMEDOUT);
    return;
  }
  if (!receive(curl, c)) return;
  snprintf(text, sizeof text, "no response from %s in time", c->origin);
  fail(curl, c->job, LEAT_TIMEOUT, text);
}

/* Handles the queue deadline of a job. A job is not failed while a connection is
** free: it gets it now or, if more connections are to be begun than one step allows, in
** one of the next steps. */
static void on_queue_deadline(leat_curl *curl, job *j, int64_t now) {
  dispatch(curl);
  if ((j->state != JOB_QUEUED && j->state != JOB_REQUEUED) || j->timer.due > now) return;
  if (curl->working_count < curl->max_connections) {
    leat__heap_set(&curl->timers, &j->timer, now + 1);
    return;
  }
  uint64_t epoch = epoch_of(j);
  leat_call_add_queue_time(j->call, curl->now - j->queued_since);
  leat_call_fail_queue_timeout(j->call, moment(curl));
  run_call(curl, j);
  wake_waiters(curl, j, epoch);
}

/* Handles a job whose timer is due. */
static void on_due(leat_curl *curl, job *j, int64_t now) {
  switch (j->state) {
    case JOB_WORKING: on_deadline(curl, j->connection); break;
    case JOB_WAITING: enqueue_job(curl, j, JOB_REQUEUED); break;
    case JOB_QUEUED:
    case JOB_REQUEUED: on_queue_deadline(curl, j, now); break;
    case JOB_NEEDS_TOKEN:
    case JOB_NEEDS_SLOT:
    case JOB_AWAITING:
    case JOB_FINISHED: break; /* never due */
  }
}

/* Reads what has arrived for all jobs, because responses free the connections, and bring
** the tokens, that other jobs wait for. */
static void read_all(leat_curl *curl) {
  curl->unread = false;
  for (leat__link *l = curl->busy.next, *next; l != &curl->busy; l = next) {
    next = l->next;
    if (connection_at(l)->fd != CURL_SOCKET_BAD) receive(curl, connection_at(l));
  }
}

/* Returns NULL if no timer is due. */
static job *first_due(const leat_curl *curl, int64_t now) {
  leat__timer *timer = leat__heap_first(&curl->timers);
  return timer && timer->due <= now ? LEAT_OWNER(job, timer, timer) : NULL;
}

/* Handles the timers that are due, and requeues waiting jobs after a wake-up. Input
** that has arrived is read first. */
static void handle_timers(leat_curl *curl, int64_t now) {
  if (curl->unread && first_due(curl, now)) read_all(curl);
  for (job *j; (j = first_due(curl, now)) != NULL;)
    on_due(curl, j, now);
  if (!curl->wake_pending) return;
  curl->wake_pending = false;
  for (job *j; (j = first_of(&curl->waiting)) != NULL;)
    enqueue_job(curl, j, JOB_REQUEUED);
}

/* Returns the time of the next work; 0: now, NEVER: nothing is scheduled. */
static int64_t work_due(const leat_curl *curl) {
  const leat__timer *first = leat__heap_first(&curl->timers);
  int64_t due = first ? first->due : NEVER;
  if (curl->wake_pending || can_dispatch(curl) || any_can_continue(curl)) return 0;
  if (curl->connecting == 0) return due;
  if (curl->curl_due < due) due = curl->curl_due;
  if (curl->unwatched > 0 && curl->sweep_due < due) due = curl->sweep_due;
  return due;
}

/* Like work_due, but 0 also if there is something to report: a call that is done, or
** needs a token or a slot. */
static int64_t next_due(const leat_curl *curl) {
  return !leat__list_is_empty(&curl->finished) || has_step_to_report(curl)
             ? 0
             : work_due(curl);
}

static int ms_until(int64_t due) {
  if (due == NEVER) return -1;
  int64_t now = due ? now_ms() : 0;
  if (due <= now) return 0;
  return due - now < INT_MAX ? (int)(due - now) : INT_MAX;
}

int leat_curl_timeout_ms(leat_curl *curl) {
  return ms_until(next_due(curl));
}

/* Sets the timer behind the descriptor, so that a program that watches only the
** descriptor wakes in time. */
static void arm_timer(leat_curl *curl) {
  leat__poller_alarm(curl->poller, next_due(curl));
}

/* ---- stepping -------------------------------------------------------------------- */

static void handle_event(leat_curl *curl, const leat__ready *ready) {
  int running, flags = 0;
  connection *c = connection_at_fd(curl, ready->fd);
  if (c) {
    on_ready(curl, c, ready->events);
    return;
  }
  if (ready->events & LEAT_READ) flags |= CURL_CSELECT_IN;
  if (ready->events & LEAT_WRITE) flags |= CURL_CSELECT_OUT;
  if (ready->events & LEAT_BROKEN) flags |= CURL_CSELECT_ERR;
  check_multi(curl, curl_multi_socket_action(curl->multi, ready->fd, flags, &running));
}

static void handle_events(leat_curl *curl, const events *seen) {
  int64_t begun = read_clock(curl), now = begun;
  int i = 0;
  for (; i < seen->count && now - begun < STEP_MS; i++) {
    handle_event(curl, &seen->ready[i]);
    now = read_clock(curl);
  }
  /* a full batch, of which the poller's own timer may have taken one place */
  curl->unread = i < seen->count || seen->count >= EVENTS_AT_ONCE - 1;
}

static void step(leat_curl *curl, int ms) {
  events seen;
  seen.count = leat__poller_wait(curl->poller, seen.ready, EVENTS_AT_ONCE, ms);
  handle_events(curl, &seen);
  drive_connecting(curl, curl->now);
  /* Time may have passed: libcurl may have read certificates, or resolved a name. */
  int64_t now = read_clock(curl);
  handle_messages(curl, &seen);
  requeue_awaiting(curl);
  handle_timers(curl, now);
  dispatch(curl);
  arm_timer(curl);
}

/* ---- construction and teardown --------------------------------------------------- */

static bool open_multi(leat_curl *curl) {
  curl->multi = new_multi(curl);
  curl->share = curl_share_init();
  if (curl->multi == NULL || curl->share == NULL) return false;
  curl_share_setopt(curl->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  curl_share_setopt(curl->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
  return true;
}

static void close_context(leat_curl *curl) {
  close_all(curl);
  curl_multi_cleanup(curl->multi);
  curl_share_cleanup(curl->share);
  curl->multi = NULL;
  curl->share = NULL;
  leat__poller_free(curl->poller);
  curl->poller = NULL;
}

static bool open_context(leat_curl *curl, leat_error *error) {
  curl->fork_generation = fork_generation();
  curl->curl_due = NEVER;
  curl->sweep_due = 0;
  seed(curl);
  curl->poller = leat__poller_new();
  if (curl->poller && open_multi(curl)) return true;
  if ((curl->poller == NULL && errno != ENOMEM) || lacks_descriptors())
    set_error(error, LEAT_LOCAL, "no more descriptors");
  else set_error(error, LEAT_NO_MEMORY, "out of memory");
  close_context(curl);
  return false;
}

static void cancel_all(leat_curl *curl, const char *why) {
  static const job_state all[] = {JOB_QUEUED,      JOB_REQUEUED,   JOB_WAITING,
                                  JOB_NEEDS_TOKEN, JOB_NEEDS_SLOT, JOB_AWAITING,
                                  JOB_WORKING};
  read_clock(curl);
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    for (job *j; (j = first_of(list_of(curl, all[i]))) != NULL;)
      fail(curl, j, LEAT_CANCELED, why);
}

static void abandon(leat__link *connections) {
  for (leat__link *l = connections->next; l != connections; l = l->next) {
    connection *c = connection_at(l);
    if (c->fd != CURL_SOCKET_BAD) close(c->fd);
    if (c->job) c->job->connection = NULL;
  }
  leat__list_init(connections);
}

/* In a child process, calls and connections belong to the parent. libcurl must not
** close them, because TLS would send a close_notify in the parent's name: the child's
** copies of the descriptors are closed, and libcurl's memory is leaked deliberately. */
static void abandon_context(leat_curl *curl) {
  static const char why[] = "the process forked while the call was under way";
  int connections = curl->max_connections;
  curl->max_connections = 0; /* no call is dispatched meanwhile */
  abandon(&curl->busy);
  abandon(&curl->idle);
  cancel_all(curl, why);
  curl->max_connections = connections;
  curl->multi = NULL;
  curl->share = NULL;
  curl->count = curl->connecting = curl->unwatched = curl->connects_begun = 0;
  curl->broken = curl->stale = false;
  if (curl->by_fd) memset(curl->by_fd, 0, curl->by_fd_size * sizeof *curl->by_fd);
  leat__poller_free(curl->poller);
  curl->poller = NULL;
}

/* Returns whether there is a context. After a fork, cancels all calls of the parent process
** and opens a new context; if that fails, later calls try again. */
static bool ensure_context(leat_curl *curl) {
  bool same = curl->fork_generation == fork_generation();
  if (!same) abandon_context(curl);
  return (same && curl->multi) || open_context(curl, NULL);
}

static bool is_proxy(const char *url) {
  static const char *const schemes[] = {"http",    "https",  "socks4",
                                        "socks4a", "socks5", "socks5h"};
  CURLU *parts = curl_url();
  char *scheme = NULL;
  bool good = false;
  if (parts && curl_url_set(parts, CURLUPART_URL, url,
                            CURLU_NON_SUPPORT_SCHEME | CURLU_DEFAULT_SCHEME) == CURLUE_OK)
    curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
  for (size_t i = 0; scheme && i < sizeof schemes / sizeof schemes[0]; i++)
    good = good || strcmp(scheme, schemes[i]) == 0;
  curl_free(scheme);
  curl_url_cleanup(parts);
  return good;
}

static const char *check_config(const leat_curl_config *config) {
  if (config->max_connections < 0 || config->max_connections > MAX_CONNECTIONS)
    return "max_connections must be between 1 and 100000";
  if (config->proxy && config->proxy[0] != '\0' && !is_proxy(config->proxy))
    return "proxy must be a URL: http://host:port, https://... or socks5h://...";
  return NULL;
}

static bool copy_config(leat_curl *curl, const leat_curl_config *config) {
  curl->max_connections = config->max_connections;
  if (curl->max_connections == 0) curl->max_connections = DEFAULT_MAX_CONNECTIONS;
  if (config->ca_file) curl->ca_file = copy_text(leat_s(config->ca_file));
  if (config->proxy) curl->proxy = copy_text(leat_s(config->proxy));
  return (curl->ca_file || !config->ca_file) && (curl->proxy || !config->proxy);
}

leat_curl *leat_curl_new(const leat_curl_config *config, leat_error *error) {
  static const leat_curl_config none = {0};
  if (config == NULL) config = &none;
  set_error(error, LEAT_OK, "");
  const char *wrong = check_config(config);
  if (wrong) {
    set_error(error, LEAT_CONFIG, wrong);
    return NULL;
  }
  leat_curl *curl = calloc(1, sizeof *curl);
  if (curl == NULL || !watch_forks() ||
      curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    set_error(error, LEAT_NO_MEMORY, "out of memory while setting up libcurl");
    free(curl);
    return NULL;
  }
  leat__link *lists[] = {&curl->busy,       &curl->idle,     &curl->queued,
                         &curl->requeued,   &curl->waiting,  &curl->needs_token,
                         &curl->needs_slot, &curl->awaiting, &curl->working,
                         &curl->finished};
  for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
    leat__list_init(lists[i]);
  if (!copy_config(curl, config)) set_error(error, LEAT_NO_MEMORY, "out of memory");
  else if (open_context(curl, error)) return curl;
  leat_curl_free(curl);
  return NULL;
}

/* Frees a finished job. Returns its call, or NULL if the driver held the last
** reference to it. */
static leat_call *release(leat_curl *curl, job *j) {
  leat_call *call = leat_call_detach(j->call);
  leat__list_leave(&j->link);
  leat__heap_remove(&curl->timers, &j->timer);
  free(j);
  return call;
}

static void release_finished(leat_curl *curl) {
  for (job *j; (j = first_of(&curl->finished)) != NULL;)
    release(curl, j);
}

void leat_curl_free(leat_curl *curl) {
  if (curl == NULL) return;
  if (curl->fork_generation != fork_generation()) abandon_context(curl);
  curl->max_connections = 0; /* no call is dispatched any more */
  cancel_all(curl, "the driver was freed");
  release_finished(curl);
  close_context(curl);
  leat__heap_free(&curl->timers);
  free(curl->by_fd);
  free(curl->ca_file);
  free(curl->proxy);
  free(curl);
}

/* ---- public functions ------------------------------------------------------------ */

static job *new_job(leat_curl *curl, leat_call *call) {
  job *j = calloc(1, sizeof *j);
  if (j == NULL || !leat__heap_add(&curl->timers, &j->timer)) {
    free(j);
    return NULL;
  }
  leat__list_init(&j->link);
  j->timer.order = ++curl->started;
  j->call = call;
  leat_call_attach(call, curl, j);
  return j;
}

bool leat_curl_start(leat_curl *curl, leat_call *call) {
  if (call == NULL || leat_call_is_attached(call)) return false;
  read_clock(curl);
  bool has_context = ensure_context(curl);
  job *j = has_context ? new_job(curl, call) : NULL;
  if (j == NULL) {
    leat_call_fail(call, moment(curl), has_context ? LEAT_NO_MEMORY : LEAT_LOCAL,
                   LEAT_SENT_NO, "no more descriptors, or no more memory");
    return false;
  }
  enqueue_job(curl, j, JOB_QUEUED);
  dispatch(curl);
  arm_timer(curl);
  return true;
}

void leat_curl_step(leat_curl *curl) {
  if (ensure_context(curl)) step(curl, 0);
}

void leat_curl_wait(leat_curl *curl, int ms) {
  if (!ensure_context(curl)) return;
  int due = leat_curl_timeout_ms(curl);
  if (due >= 0 && due < ms) ms = due;
  step(curl, ms > 0 ? ms : 0);
}

leat_call *leat_curl_done(leat_curl *curl) {
  leat_call *call = NULL;
  job *j;
  while (call == NULL && (j = first_of(&curl->finished)) != NULL)
    call = release(curl, j);
  return call;
}

static leat_call *report(leat_curl *curl, leat__link *jobs) {
  job *j = first_of(jobs);
  if (j == NULL) return NULL;
  move(curl, j, JOB_AWAITING, NEVER);
  return j->call;
}

leat_call *leat_curl_token(leat_curl *curl) {
  return report(curl, &curl->needs_token);
}

leat_call *leat_curl_slot(leat_curl *curl) {
  return report(curl, &curl->needs_slot);
}

void leat_curl_cancel(leat_curl *curl, leat_call *call) {
  bool usable = ensure_context(curl);
  job *j = leat_call_job(call, curl);
  read_clock(curl);
  if (j == NULL) return;
  if (is_awaiting(j) && can_continue(j))
    curl->wake_pending = true; /* others wait for the same token */
  if (j->state != JOB_FINISHED) fail(curl, j, LEAT_CANCELED, "canceled");
  release(curl, j);
  if (!usable) return;
  dispatch(curl);
  arm_timer(curl);
}

/* Fails a call that needs a token or a slot from the program, which waits in
** leat_curl_perform. */
static void fail_awaiting(leat_curl *curl, const job *j) {
  bool slot = j->awaits == LEAT_SLOT;
  leat_call_fail(j->call, moment(curl), slot ? LEAT_MISUSE : LEAT_CONFIG, LEAT_SENT_NO,
                 slot ? "leat_curl_perform shares no rate with other processes"
                      : "the client has no token function");
}

/* Runs until this call is done. Other calls progress too, but their results, and their need
** for tokens and slots, stay available to leat_curl_done, leat_curl_token and
** leat_curl_slot. */
void leat_curl_perform(leat_curl *curl, leat_call *call) {
  if (!leat_curl_start(curl, call)) return;
  while (!leat_call_is_done(call)) {
    const job *j = leat_call_job(call, curl);
    if (j && is_awaiting(j) && !can_continue(j)) fail_awaiting(curl, j);
    if (ensure_context(curl)) step(curl, ms_until(work_due(curl)));
  }
  job *j = leat_call_job(call, curl);
  if (j) release(curl, j);
}

leat_moment leat_curl_moment(leat_curl *curl) {
  read_clock(curl);
  return moment(curl);
}

int leat_curl_fd(leat_curl *curl) {
  ensure_context(curl);
  int fd = curl->poller ? leat__poller_fd(curl->poller) : -1;
  if (fd >= 0) arm_timer(curl);
  return fd;
}

/* libcurl ignores the events of a descriptor that it does not know: see handle_event. */
bool leat_curl_watch(leat_curl *curl, int fd) {
  return fd >= 0 && ensure_context(curl) && leat__poller_set(curl->poller, fd, LEAT_READ);
}

const char *leat_curl_version(void) {
  return curl_version();
}
