#!/bin/sh
# Starts an nginx that sends every find the same response, runs the benches against it, and stops it.
#
#   make bench                      takes some minutes
#   make bench BENCH="many start"   only these: see the loop at the end
#   make bench BENCH_N=2000 BENCH_ROUNDS=1 BENCH_COUNTED=250
#                                   as in CI: checks that it works, and counts instructions
#
#   make bench-nginx                in nginx: a handler that finds a card, compared with a handwritten one
#
#   BENCH_N=10000        finds in a round; five times as many when many are in flight
#   BENCH_ROUNDS=5
#   BENCH_COUNTED=1000   finds whose instructions are counted
#   BENCH_IN_FLIGHT="1 100 10000"   for memory, descriptors and idle polls
#
# It fails if a response is wrong or if a program fails, but never because the machine is slow.
# The Makefile sets LUA and its paths, and BENCH_TOOLS, the folder of the C programs.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin # nginx is in one of these, which a user's PATH may lack
: "${LUA:?make bench sets it}" "${BENCH_TOOLS:?make bench sets it}"
: "${BENCH_N:=10000}" "${BENCH_ROUNDS:=5}" "${BENCH_COUNTED:=1000}"
: "${BENCH_IN_FLIGHT:=1 100 10000}" "${BENCH:=find many instructions memory idle start}"
export LUA BENCH_TOOLS BENCH_N BENCH_ROUNDS BENCH_COUNTED BENCH_IN_FLIGHT

for tool in nginx valgrind openssl; do
  command -v "$tool" >/dev/null && continue
  echo "bench: $tool is missing: sh rockspec/deps.sh install bench" >&2
  exit 1
done

export BENCH_VALUE=ABCDE12356-90
body='{"data":{"value":"'$BENCH_VALUE'","name":"Krabby Membership","active":true,"contact":{"uuid":"8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11","email":"ann@example.org"}},"meta":[]}'
export BENCH_BODY="$body" BENCH_SIZE=${#body}
export LEAT_API_KEY=bench-0123456789abcdef0123456789abcdef
path=/api/v3/oauth/clients

# The server and the clients get a core each, if there are two.
on_server_core='' on_client_core='' cores='on any core'
if taskset -c 0 true 2>/dev/null && taskset -c 1 true 2>/dev/null; then
  on_server_core='taskset -c 0' on_client_core='taskset -c 1' cores='on a core each'
fi

# npm, if there is one, installs undici once, below build/.
node_modules=$BENCH_TOOLS/node_modules
if [ "$BENCH" != nginx ] && command -v node >/dev/null && command -v npm >/dev/null && ! [ -d "$node_modules/undici" ]; then
  npm install --silent --no-audit --no-fund --no-save --prefix "$BENCH_TOOLS" undici@7 >&2 || true
fi
NODE_PATH=$(pwd)/$node_modules
export NODE_PATH
unset http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY # the server is on this machine
export BENCH_ON_SERVER_CORE="$on_server_core"

dir=$(mktemp -d)
server='' client=''
end() { # end PID: the process is a child of this script; PID may be empty
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || true
  wait "$1" || true
}
trap 'end "$client"; end "$server"; rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# All clients trust the certificate in this file.
make_certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$dir/key.pem" -out "$dir/ca.pem" 2>"$dir/said" || {
    cat "$dir/said" >&2
    return 1
  }
}

configure() { # configure PORT TLS-PORT
  cat >"$dir/nginx.conf" <<CONF
daemon off; master_process off; pid nginx.pid; error_log error.log;
events { worker_connections 256; }
http {
  access_log off; default_type application/json;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen 127.0.0.1:$1;
    listen 127.0.0.1:$2 ssl;
    ssl_certificate ca.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location = $path/contact-identifiers/find { return 200 '$body'; }
  }
}
CONF
}

# The system picks the ports: a sandbox listens on them for a moment, and closes them again.
free_ports() {
  "$LUA" -e 'local start = require("leat.sandbox").start
    local one, other = start(), start()
    print(one.url:match(":(%d+)") .. " " .. other.url:match(":(%d+)"))'
}

# Fails if another process took the port meanwhile, or if nginx lacks something.
start_server() {
  ports=$(free_ports) || return 1
  export LEAT_BASE_URL="http://127.0.0.1:${ports% *}$path" BENCH_HTTPS_URL="https://127.0.0.1:${ports#* }$path"
  configure "${ports% *}" "${ports#* }"
  # shellcheck disable=SC2086 # words, or none
  $on_server_core nginx -p "$dir" -c "$dir/nginx.conf" >"$dir/said" 2>&1 &
  server=$!
  until [ -s "$dir/nginx.pid" ]; do # nginx writes it once it listens
    kill -0 "$server" 2>/dev/null || return 1
    sleep 0.1
  done
  export BENCH_SERVER="$server"
  "$BENCH_TOOLS/easy_loop" 1 2>>"$dir/said" && LEAT_BASE_URL=$BENCH_HTTPS_URL "$BENCH_TOOLS/easy_loop" 1 2>>"$dir/said"
}

make_certificate
export BENCH_CA="$dir/ca.pem"
for try in 1 2 3; do
  start_server && break
  end "$server"
  server=
done
if [ -z "$server" ]; then
  echo "bench: no response from nginx, in $try tries:" >&2
  cat "$dir/said" >&2
  exit 1
fi

"$LUA" -e 'print(os.getenv("LUA") .. ", " .. require("leat.curl").version():match("%S+ %S+"))'
echo "$(nginx -v 2>&1 | sed 's/.*: //') and the clients $cores"
for bench in $BENCH; do
  # shellcheck disable=SC2086 # words, or none
  $on_client_core "$LUA" "spec/bench/${bench}_bench.lua" &
  client=$! # runs in the background, so that the shell handles a signal at once
  wait "$client"
  client=
done
