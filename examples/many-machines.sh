#!/bin/sh
# Imports a file with three processes, on a bare Debian: installs what is missing, builds the
# library, and starts a database of its own and a sandbox. One process is killed. The report of the
# job is then compared with what the sandbox received and holds. Only the packages and the folder
# build are left behind.
set -eu
cd "$(dirname "$0")/.."
LUA=${LUA:-lua5.4}
sh rockspec/deps.sh install build sandbox cli jobs postgres "$LUA"
make -s -j2 LUA="$LUA"
eval "$(make -s env LUA="$LUA")"

# PostgreSQL refuses to run as root. Debian's package has made the user postgres.
as=
[ "$(id -u)" != 0 ] || as='setpriv --reuid=postgres --regid=postgres --init-groups'
for bin in /usr/lib/postgresql/*/bin; do :; done # the newest one
[ -e "$bin/initdb" ] || bin=$(dirname "$(command -v initdb)")
folder=$(mktemp -d /tmp/leat.XXXXXX) # only its owner may enter it, and so reach the database
[ -z "$as" ] || chown postgres "$folder"

database() { # database COMMAND...: runs a command of PostgreSQL
  tool=$bin/$1
  shift
  (cd / && exec $as "$tool" "$@" >>"$folder/log" 2>&1) || {
    cat "$folder/log" >&2
    return 1
  }
}
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  [ ! -e "$folder/data/postmaster.pid" ] || database pg_ctl -D "$folder/data" -m immediate -w stop || true
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

: >"$folder/log"
[ -z "$as" ] || chown postgres "$folder/log"
database initdb -D "$folder/data" -U leat -A trust -E UTF8 --locale=C -N
database pg_ctl -D "$folder/data" -l "$folder/server.log" -w -o "-k $folder -c listen_addresses=''" start
database createdb -h "$folder" -U leat cards
export LEAT_DB="postgres:///cards?host=$folder&user=leat"
"$LUA" examples/many-machines.lua "$folder" "build/$LUA/bin/leat"
