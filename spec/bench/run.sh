#!/bin/sh
# Starts an nginx that answers every find alike, runs the benches against it, and ends it.
#
#   make bench                      half a minute
#   make bench BENCH_N=2000 BENCH_ROUNDS=1 BENCH_COUNTED=250
#                                   some seconds, as for CI: that it works, and instructions
#
#   BENCH_N=10000        finds in a round
#   BENCH_ROUNDS=5
#   BENCH_COUNTED=1000   finds whose instructions are counted
#
# It fails if an answer is wrong or a program does; never because the machine is slow.
# The Makefile sets LUA and its paths, and BENCH_TOOLS: where the C programs are.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin # nginx is there, and not everybody looks there
: "${LUA:?make bench sets it}" "${BENCH_TOOLS:?make bench sets it}"
: "${BENCH_N:=10000}" "${BENCH_ROUNDS:=5}" "${BENCH_COUNTED:=1000}"
export LUA BENCH_TOOLS BENCH_N BENCH_ROUNDS BENCH_COUNTED

for tool in nginx valgrind; do
  command -v "$tool" >/dev/null && continue
  echo "bench: $tool is missing: sh rockspec/deps.sh install ci" >&2
  exit 1
done

export BENCH_VALUE=ABCDE12356-90
body='{"data":{"value":"'$BENCH_VALUE'","name":"Krabby Membership","active":true,"contact":{"uuid":"8b1a6c0e-2f6b-4c60-9d1c-4a7d0a4a5d11","email":"ann@example.org"}},"meta":[]}'
export BENCH_SIZE=${#body}
export LEAT_API_KEY=bench-0123456789abcdef0123456789abcdef
path=/api/v3/oauth/clients
unset http_proxy all_proxy ALL_PROXY # the server is on this machine

# One core for the server and one for the clients, where there are two.
on_server_core='' on_client_core='' cores='on any core'
if taskset -c 0 true 2>/dev/null && taskset -c 1 true 2>/dev/null; then
  on_server_core='taskset -c 0' on_client_core='taskset -c 1' cores='on a core each'
fi

dir=$(mktemp -d)
server='' client=''
end() { # end PID: it is ours, if there is one
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || true
  wait "$1" || true
}
trap 'end "$client"; end "$server"; rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

configure() { # configure PORT
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
    location = $path/contact-identifiers/find { return 200 '$body'; }
  }
}
CONF
}

# The system picks the port: the sandbox asks it for one, and gives it back.
free_port() { "$LUA" -e 'print(require("leat.sandbox").start().url:match(":(%d+)"))'; }

# False: somebody took the port meanwhile, or nginx can't do what it should.
start_server() {
  port=$(free_port) || return 1
  export LEAT_BASE_URL="http://127.0.0.1:$port$path"
  configure "$port"
  # shellcheck disable=SC2086 # words, or none
  $on_server_core nginx -p "$dir" -c "$dir/nginx.conf" >"$dir/said" 2>&1 &
  server=$!
  until [ -s "$dir/nginx.pid" ]; do # written once it listens
    kill -0 "$server" 2>/dev/null || return 1
    sleep 0.1
  done
  "$BENCH_TOOLS/easy_loop" 1 2>>"$dir/said"
}

for try in 1 2 3; do
  start_server && break
  end "$server"
  server=
done
if [ -z "$server" ]; then
  echo "bench: no answer from nginx, in $try tries:" >&2
  cat "$dir/said" >&2
  exit 1
fi

"$LUA" -e 'print(os.getenv("LUA") .. ", " .. require("leat.curl").version():match("%S+ %S+"))'
echo "$(nginx -v 2>&1 | sed 's/.*: //') and the clients $cores"
for bench in spec/bench/*_bench.lua; do
  # shellcheck disable=SC2086 # words, or none
  $on_client_core "$LUA" "$bench" &
  client=$! # in the background, so that a signal is heard at once
  wait "$client"
  client=
done
