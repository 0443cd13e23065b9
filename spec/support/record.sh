#!/bin/bash
# Records responses of real servers, byte for byte, into spec/cases/recorded: nginx, Apache,
# Node and Python. Each one is started on a loopback port of this machine, and stopped again.
#   bash spec/support/record.sh
set -eu
cd "$(dirname "$0")/../cases/recorded"
out=$PWD
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
body='{"data":{"value":"1","name":null},"meta":{}}'

# ask PORT NAME REQUEST: sends it, and stores what arrives within a second
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf '%b' "$3" >&3
  timeout 1 cat <&3 >"$out/$2.http" || true
  exec 3>&-
}
host='Host: api.example\r\n'

node_port=$(free_port)
cat >"$dir/server.js" <<JS
const body = '$body';
require('http').createServer((q, r) => {
  const json = { 'Content-Type': 'application/json' };
  if (q.url === '/json') r.writeHead(200, { ...json, 'Content-Length': ${#body} }).end(body);
  else if (q.url === '/chunked') { r.writeHead(200, json); r.write(body.slice(0, 9)); setTimeout(() => r.end(body.slice(9)), 50); }
  else if (q.url === '/trailers') { r.writeHead(200, { ...json, Trailer: 'X-Sum' }); r.write(body); r.addTrailers({ 'X-Sum': '1' }); r.end(); }
  else if (q.url === '/early') r.writeEarlyHints({ link: '</x>; rel=preload' }, () => r.writeHead(200, { ...json, 'Content-Length': ${#body} }).end(body));
  else if (q.url === '/204') r.writeHead(204).end();
  else if (q.url === '/304') r.writeHead(304, { ETag: '"1"' }).end();
  else r.writeHead(404).end();
}).listen($node_port, '127.0.0.1');
JS
node "$dir/server.js" &

nginx_port=$(free_port)
mkdir -p "$dir/nginx/logs" "$dir/www/folder"
printf '%s' "$body" >"$dir/www/json"
cat >"$dir/nginx.conf" <<CONF
daemon off; pid $dir/nginx/pid; error_log $dir/nginx/logs/error.log;
events { worker_connections 64; }
http {
  access_log off; default_type application/json; client_max_body_size 1k; server_tokens off;
  client_body_temp_path $dir/nginx/b; proxy_temp_path $dir/nginx/p; fastcgi_temp_path $dir/nginx/f;
  uwsgi_temp_path $dir/nginx/u; scgi_temp_path $dir/nginx/s;
  server {
    listen 127.0.0.1:$nginx_port; root $dir/www;
    location /204 { return 204; }
    location /chunked { proxy_pass http://127.0.0.1:$node_port; proxy_http_version 1.1; }
    location /502 { proxy_pass http://127.0.0.1:1; }
  }
}
CONF
nginx -p "$dir/nginx" -c "$dir/nginx.conf" 2>/dev/null &

apache_port=$(free_port)
cat >"$dir/apache.conf" <<CONF
ServerName api.example
ServerTokens Prod
ServerSignature Off
PidFile $dir/apache.pid
ErrorLog $dir/apache.log
Listen 127.0.0.1:$apache_port
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /dev/null
DocumentRoot $dir/www
User nobody
Group nogroup
<Directory $dir/www>
  Require all granted
  ForceType application/json
</Directory>
CONF
chmod -R a+rX "$dir"
apache2 -f "$dir/apache.conf" -DFOREGROUND &

python_port=$(free_port)
(cd "$dir/www" && exec python3 -m http.server --bind 127.0.0.1 --protocol HTTP/1.1 "$python_port") >/dev/null 2>&1 &
old_python_port=$(free_port)
(cd "$dir/www" && exec python3 -m http.server --bind 127.0.0.1 "$old_python_port") >/dev/null 2>&1 &
sleep 2

for server in "$nginx_port nginx" "$apache_port apache" "$node_port node" "$python_port python"; do
  read -r port name <<<"$server"
  ask "$port" "$name-json" "GET /json HTTP/1.1\r\n$host\r\n"
  ask "$port" "$name-head" "HEAD /json HTTP/1.1\r\n$host\r\n"
done
for server in "$nginx_port nginx" "$apache_port apache"; do
  read -r port name <<<"$server"
  etag=$(sed -n 's/^ETag: \(.*\)\r$/\1/p' "$out/$name-json.http")
  ask "$port" "$name-304" "GET /json HTTP/1.1\r\n${host}If-None-Match: $etag\r\n\r\n"
  ask "$port" "$name-404" "GET /nothing HTTP/1.1\r\n$host\r\n"
  ask "$port" "$name-400" "GET /json HTTP/1.1\r\n\r\n"
done
ask "$nginx_port" nginx-204 "GET /204 HTTP/1.1\r\n$host\r\n"
ask "$nginx_port" nginx-chunked "GET /chunked HTTP/1.1\r\n$host\r\n"
ask "$nginx_port" nginx-502 "GET /502 HTTP/1.1\r\n$host\r\n"
ask "$nginx_port" nginx-413 "POST /json HTTP/1.1\r\n${host}Content-Length: 9999\r\n\r\n"
ask "$nginx_port" nginx-close "GET /json HTTP/1.1\r\n${host}Connection: close\r\n\r\n"
ask "$nginx_port" nginx-http10 "GET /json HTTP/1.0\r\n\r\n"
ask "$apache_port" apache-http10 "GET /json HTTP/1.0\r\n\r\n"
ask "$apache_port" apache-redirect "GET /folder HTTP/1.1\r\n$host\r\n"
for path in chunked trailers early 204 304; do
  ask "$node_port" "node-$path" "GET /$path HTTP/1.1\r\n$host\r\n"
done
ask "$node_port" node-400 "GET  /json HTTP/1.1\r\n\r\n"
ask "$node_port" node-http10 "GET /chunked HTTP/1.0\r\n\r\n"
ask "$python_port" python-404 "GET /nothing HTTP/1.1\r\n$host\r\n"
ask "$python_port" python-501 "FROB /json HTTP/1.1\r\n$host\r\n"
ask "$old_python_port" python-http10 "GET /json HTTP/1.0\r\n\r\n"
