#include "proxy_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void record(proxy_server *p, proxy_record *r, const void *data, size_t size) {
  pthread_mutex_lock(&p->lock);
  size_t room = sizeof r->bytes - r->length;
  memcpy(r->bytes + r->length, data, size < room ? size : room);
  r->length += size < room ? size : room;
  pthread_mutex_unlock(&p->lock);
}

/* Reads exactly `size` bytes, because the bytes behind them belong to the tunnel. */
static bool read_bytes(proxy_server *p, int fd, void *data, size_t size) {
  char *to = data;
  for (size_t got = 0; got < size;) {
    ssize_t n = listener_wait_for(&p->at, fd) ? recv(fd, to + got, size - got, 0) : 0;
    if (n <= 0) return false;
    record(p, &p->heard, to + got, (size_t)n);
    got += (size_t)n;
  }
  return true;
}

static void relay(proxy_server *p, int client, int target) {
  char data[8192];
  p->tunnels++;
  for (;;) {
    struct pollfd fds[3] = {{client, POLLIN, 0}, {target, POLLIN, 0}};
    if (!listener_wait(&p->at, fds, 2)) return;
    for (int i = 0; i < 2; i++) {
      if (fds[i].revents == 0) continue;
      ssize_t n = recv(fds[i].fd, data, sizeof data, 0);
      if (n <= 0 || !listener_send(fds[1 - i].fd, data, (size_t)n)) return;
      if (i == 0) record(p, &p->carried, data, (size_t)n);
    }
  }
}

/* ---- HTTP ------------------------------------------------------------------------ */

static bool read_head(proxy_server *p, int fd, char *head, size_t size) {
  for (size_t n = 0; n + 1 < size && read_bytes(p, fd, head + n, 1); n++) {
    head[n + 1] = '\0';
    if (n >= 3 && strcmp(head + n - 3, "\r\n\r\n") == 0) return true;
  }
  return false;
}

static void base64(const char *text, char *out) {
  static const char digits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0, n = strlen(text); i < n; i += 3) {
    unsigned long three = 0;
    for (size_t k = 0; k < 3; k++)
      three = three << 8 | (i + k < n ? (unsigned char)text[i + k] : 0);
    for (size_t k = 0; k < 4; k++)
      *out++ = i + k > n ? '=' : digits[three >> (18 - 6 * k) & 63];
  }
  *out = '\0';
}

static bool knows_user(const proxy_server *p, const char *head) {
  char line[256] = "Proxy-Authorization: Basic ";
  if (p->options.user == NULL) return true;
  base64(p->options.user, line + strlen(line));
  const char *found = strstr(head, line);
  return found && strncmp(found + strlen(line), "\r\n", 2) == 0;
}

/* Returns the port of a CONNECT request; 0 if it is no CONNECT. */
static int connect_port(const char *head) {
  int port = 0;
  return sscanf(head, "CONNECT %*[^: ]:%d HTTP/1.1\r\n", &port) == 1 ? port : 0;
}

static int open_http_tunnel(proxy_server *p, int fd) {
  static const char made[] = "HTTP/1.1 200 Connection established\r\n\r\n";
  char head[4096];
  while (read_head(p, fd, head, sizeof head)) {
    if (!knows_user(p, head)) {
      if (!listener_send(fd, p->options.challenge, strlen(p->options.challenge))) break;
      continue;
    }
    int target = listener_connect(connect_port(head));
    if (target >= 0) listener_send(fd, made, sizeof made - 1);
    return target;
  }
  return -1;
}

/* ---- SOCKS5 (RFC 1928, RFC 1929) ------------------------------------------------- */

/* Reads a length and as many bytes, and adds a NUL. Returns the length, or -1 if the
** connection ended. */
static int read_text(proxy_server *p, int fd, char text[256]) {
  unsigned char length;
  if (!read_bytes(p, fd, &length, 1) || !read_bytes(p, fd, text, length)) return -1;
  text[length] = '\0';
  return length;
}

static bool log_in(proxy_server *p, int fd) {
  char methods[256], user[256], password[256], both[520];
  unsigned char version, wanted = p->options.user ? 2 : 0, response[2] = {5, 0xFF};
  int count = read_bytes(p, fd, &version, 1) ? read_text(p, fd, methods) : -1;
  if (count > 0 && memchr(methods, wanted, (size_t)count)) response[1] = wanted;
  if (count < 0 || !listener_send(fd, response, 2) || response[1] == 0xFF) return false;
  if (p->options.user == NULL) return true;
  if (!read_bytes(p, fd, &version, 1) || read_text(p, fd, user) < 0 ||
      read_text(p, fd, password) < 0)
    return false;
  snprintf(both, sizeof both, "%s:%s", user, password);
  response[0] = 1;
  response[1] = strcmp(both, p->options.user) != 0;
  return listener_send(fd, response, 2) && response[1] == 0;
}

static int open_socks_tunnel(proxy_server *p, int fd) {
  unsigned char request[4], place[6];
  unsigned char response[10] = {5, p->options.refusal, 0, 1, 127, 0, 0, 1};
  char name[256];
  if (!log_in(p, fd) || !read_bytes(p, fd, request, 4)) return -1;
  bool named = request[3] == 3;
  if (named && read_text(p, fd, name) < 0) return -1;
  if (!read_bytes(p, fd, place, named ? 2 : 6)) return -1;
  const unsigned char *port = place + (named ? 0 : 4);
  int target = p->options.refusal ? -1 : listener_connect(port[0] << 8 | port[1]);
  if (target < 0 && p->options.refusal == 0) response[1] = 5; /* connection refused */
  listener_send(fd, response, sizeof response);
  return target;
}

/* ---- starting and stopping ------------------------------------------------------- */

static void send_response(proxy_server *p, int fd) {
  char head[4096];
  if (!p->options.socks && !read_head(p, fd, head, sizeof head)) return;
  if (p->options.socks && !read_bytes(p, fd, head, 3)) return;
  setsockopt(fd, IPPROTO_TCP, TCP_CORK, &p->options.at_once, sizeof p->options.at_once);
  listener_send(fd, p->options.response, strlen(p->options.response));
  if (p->options.then == RESET) listener_reset(fd);
  if (p->options.then == STAY) read_bytes(p, fd, head, sizeof head);
}

static void visit(listener *at, int fd) {
  proxy_server *p = (proxy_server *)(void *)at;
  char rest[1024];
  if (p->options.hangs) {
    while (read_bytes(p, fd, rest, sizeof rest)) /* a ClientHello may be long */
      continue;
  } else if (p->options.response) {
    send_response(p, fd);
  } else {
    int target = p->options.socks ? open_socks_tunnel(p, fd) : open_http_tunnel(p, fd);
    if (target < 0) return;
    relay(p, fd, target);
    close(target);
  }
}

bool proxy_start(proxy_server *p, const proxy_options *options) {
  memset(p, 0, sizeof *p);
  p->options = *options;
  if (p->options.challenge == NULL)
    p->options.challenge = "HTTP/1.1 407 Proxy Authentication Required\r\n"
                           "Proxy-Authenticate: Basic realm=\"tests\"\r\n"
                           "Content-Length: 0\r\n\r\n";
  pthread_mutex_init(&p->lock, NULL);
  return listener_start(&p->at, visit);
}

void proxy_stop(proxy_server *p) {
  listener_stop(&p->at);
  pthread_mutex_destroy(&p->lock);
}

bool proxy_has(proxy_server *p, const proxy_record *r, const char *text) {
  pthread_mutex_lock(&p->lock);
  size_t length = strlen(text);
  bool found = false;
  for (size_t i = 0; i + length <= r->length && !found; i++)
    found = memcmp(r->bytes + i, text, length) == 0;
  pthread_mutex_unlock(&p->lock);
  return found;
}
