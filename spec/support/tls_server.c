#include "tls_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct visitor {
  gnutls_session_t session;
  int fd, target;
  size_t left; /* bytes left of the flight */
} visitor;

static ssize_t push(gnutls_transport_ptr_t to, const void *data, size_t size) {
  visitor *v = to;
  size_t part = size < v->left ? size : v->left;
  ssize_t n = part > 0 ? send(v->fd, data, part, MSG_NOSIGNAL) : 0;
  if (n > 0 && v->left != SIZE_MAX) v->left -= (size_t)n;
  if (n > 0 || part == size) return n;
  errno = EPIPE;
  return -1;
}

static bool handshake(tls_server *s, visitor *v) {
  const tls_options *o = &s->options;
  gnutls_datum_t alpn = {(unsigned char *)(uintptr_t)o->alpn, 0};
  int result;
  usleep((useconds_t)o->begin_ms * 1000);
  v->left = o->flight ? o->flight : SIZE_MAX;
  gnutls_priority_set_direct(v->session, o->priority ? o->priority : "NORMAL", NULL);
  gnutls_credentials_set(v->session, GNUTLS_CRD_CERTIFICATE, s->credentials);
  if (o->wants_certificate)
    gnutls_certificate_server_set_request(v->session, GNUTLS_CERT_REQUIRE);
  gnutls_session_ticket_enable_server(v->session, &s->ticket_key);
  gnutls_transport_set_push_function(v->session, push);
  gnutls_transport_set_ptr2(v->session, (gnutls_transport_ptr_t)(intptr_t)v->fd, v);
  if (o->alpn) {
    alpn.size = (unsigned)strlen(o->alpn);
    gnutls_alpn_set_protocols(v->session, &alpn, 1, GNUTLS_ALPN_MANDATORY);
  }
  do
    result = gnutls_handshake(v->session);
  while (result < 0 && !gnutls_error_is_fatal(result));
  if (o->alert || result < 0) usleep((useconds_t)o->refuse_after_ms * 1000);
  if (result == 0 && o->alert)
    result = gnutls_alert_send(v->session, GNUTLS_AL_FATAL, o->alert) - 1;
  else if (result < 0 && !o->flight) gnutls_alert_send_appropriate(v->session, result);
  return result == 0;
}

/* Returns true if all of it was sent. */
static bool send_record(const visitor *v, const void *data, size_t size) {
  ssize_t n;
  do
    n = gnutls_record_send(v->session, data, size);
  while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
  return n == (ssize_t)size; /* tests send at most one record at a time */
}

/* Performs one order. Returns false if the connection is to be closed. */
static bool obey_order(tls_server *s, const visitor *v) {
  unsigned char order;
  if (read(s->orders[0], &order, 1) != 1) return false;
  if (order == TLS_TICKETS) gnutls_session_ticket_send(v->session, 2, 0);
  if (order == TLS_NEW_KEYS) gnutls_session_key_update(v->session, GNUTLS_KU_PEER);
  if (order == TLS_GOODBYE) gnutls_bye(v->session, GNUTLS_SHUT_WR);
  if (order == TLS_ALERT)
    gnutls_alert_send(v->session, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR);
  s->obeyed++;
  return order != TLS_GOODBYE && order != TLS_ALERT;
}

/* Forwards the available data in either direction. Returns false if a side has ended. */
static bool forward(tls_server *s, const visitor *v) {
  char data[16384]; /* the size of a record */
  struct pollfd fds[4] = {
      {v->fd, POLLIN, 0}, {v->target, POLLIN, 0}, {s->orders[0], POLLIN, 0}};
  if (gnutls_record_check_pending(v->session) > 0) fds[0].revents = POLLIN;
  else if (!listener_wait(&s->at, fds, 3)) return false;
  if (fds[0].revents) {
    ssize_t n = gnutls_record_recv(v->session, data, sizeof data);
    if (n == 0 || (n < 0 && gnutls_error_is_fatal((int)n))) return false;
    if (n > 0 && !listener_send(v->target, data, (size_t)n)) return false;
  }
  if (fds[1].revents) {
    ssize_t n = recv(v->target, data, sizeof data, 0);
    if (n <= 0 || !send_record(v, data, (size_t)n)) return false;
  }
  return fds[2].revents == 0 || obey_order(s, v);
}

static void serve(tls_server *s, visitor *v) {
  const tls_options *o = &s->options;
  s->handshakes++;
  s->resumed += gnutls_session_is_resumed(v->session) != 0;
  if ((v->target = listener_connect(s->target)) < 0) return;
  usleep((useconds_t)o->rest_ms * 1000);
  fcntl(v->fd, F_SETFL, O_NONBLOCK); /* a record may contain no data */
  if (o->hello == NULL || send_record(v, o->hello, o->hello_length))
    while (forward(s, v))
      continue;
  if (!o->cut) gnutls_bye(v->session, GNUTLS_SHUT_WR);
  close(v->target);
}

static void visit(listener *at, int fd) {
  tls_server *s = (tls_server *)(void *)at;
  visitor v = {.fd = fd};
  char rest[512];
  bool at_once = s->options.alert && s->options.refuse_after_ms == 0;
  gnutls_init(&v.session, GNUTLS_SERVER | (at_once ? GNUTLS_ENABLE_EARLY_START : 0));
  if (handshake(s, &v)) serve(s, &v);
  else if (s->options.flight && s->options.then == RESET) listener_reset(fd);
  else if (s->options.flight && s->options.then == STAY)
    while (listener_wait_for(at, fd) && recv(fd, rest, sizeof rest, 0) > 0)
      continue;
  gnutls_deinit(v.session);
}

/* Reduces packets and buffers, so that little data is buffered between client and
** server. */
static void make_narrow(int fd) {
  int packet = 536, buffer = 16384;
  setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &packet, sizeof packet);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
}

bool tls_start(tls_server *s, const tls_options *options, int target) {
  memset(s, 0, sizeof *s);
  s->options = *options;
  s->target = target;
  gnutls_certificate_allocate_credentials(&s->credentials);
  gnutls_session_ticket_key_generate(&s->ticket_key);
  tls_identity own = *options->identity;
  if (gnutls_certificate_set_x509_key(s->credentials, &own.certificate, 1, own.key) !=
          0 ||
      pipe(s->orders) != 0 || !listener_start(&s->at, visit))
    return false;
  if (options->rest_ms) make_narrow(s->at.fd);
  return true;
}

void tls_stop(tls_server *s) {
  listener_stop(&s->at);
  close(s->orders[0]);
  close(s->orders[1]);
  gnutls_certificate_free_credentials(s->credentials);
  gnutls_free(s->ticket_key.data);
}

bool tls_give_order(tls_server *s, tls_order what) {
  unsigned char order = (unsigned char)what;
  int before = s->obeyed;
  if (write(s->orders[1], &order, 1) != 1) return false;
  for (int i = 0; i < 5000 && s->obeyed == before; i++)
    usleep(1000);
  return s->obeyed > before;
}
