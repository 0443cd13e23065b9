#!/bin/sh
# Serves nginx.conf in a folder of its own, on a port that the system picks, until Ctrl-C.
#
#   sh examples/openresty/run.sh                     against a sandbox
#   LEAT_API_KEY=... sh examples/openresty/run.sh    against the real service, or LEAT_BASE_URL
set -eu
cd "$(dirname "$0")/../.."
here=$(pwd)/examples/openresty
PATH=$PATH:/usr/sbin:/usr/local/openresty/bin
sh rockspec/deps.sh install build sandbox nginx luajit
make -s LUA=luajit lua
eval "$(make -s env LUA=luajit)"

nginx=nginx not_needed='^$'
if command -v openresty >/dev/null; then
  nginx=openresty not_needed='^load_module'
fi
as=''
[ "$(id -u)" != 0 ] || as='user root;' # otherwise workers run as nobody, which can't read this folder

dir=$(mktemp -d)
server='' sandbox=''
end() { # end PID: the process is a child of this script; PID may be empty
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || true
  wait "$1" || true
}
trap 'end "$server"; end "$sandbox"; rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "${LEAT_API_KEY:-}" ]; then
  export LEAT_API_KEY=sandbox
  mkfifo "$dir/said"
  luajit "$here/sandbox.lua" >"$dir/said" &
  sandbox=$!
  read -r LEAT_BASE_URL <"$dir/said"
  export LEAT_BASE_URL
fi

free_port() {
  luajit -e 'print((require("leat.sandbox").start().url:match(":(%d+)")))'
}
resolver=$(sed -n 's/^nameserver *\([^ ]*\).*/\1/p' /etc/resolv.conf | head -n 1)
case $resolver in *:*) resolver="[$resolver]" ;; esac

# Fails if another process took the port meanwhile, or if nginx lacks something.
start() {
  port=$(free_port)
  sed -e "/$not_needed/d" -e "s/127.0.0.1:8080/127.0.0.1:$port/" -e "s/127\.0\.0\.53/${resolver:-127.0.0.53}/" \
    "$here/nginx.conf" >"$dir/nginx.conf"
  $nginx -p "$dir" -e error.log -c nginx.conf -g "$as" &
  server=$!
  until [ -s "$dir/nginx.pid" ]; do # nginx writes it once it listens
    kill -0 "$server" 2>/dev/null || return 1
    sleep 0.1
  done
}
ln -s "$here" "$dir/lua"
for try in 1 2 3; do
  start && break
  end "$server"
  server=
done
[ -n "$server" ] || {
  echo "run.sh: nginx did not start, in $try tries: see above" >&2
  exit 1
}

at=http://127.0.0.1:$port
cat <<TEXT
Try, in another shell:
  curl -i $at/card/0042
  curl -i $at/card/none
  curl -i -H 'X-Card: 0042' $at/members/
  curl -i '$at/members/?card=0043'
Errors are told in $dir/error.log. Ctrl-C ends it.
TEXT
wait "$server"
