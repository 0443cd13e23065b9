#!/bin/sh
# Runs the soak against a server of its own. The Makefile sets LUA, its paths and LEAT_TOOLS.
#   sh spec/soak/run.sh N
set -eu
dir=$(mktemp -d)
mkfifo "$dir/open" "$dir/port"
"$LEAT_TOOLS/slow_server" 0 <"$dir/open" >"$dir/port" &
exec 9>"$dir/open" # the server runs until this is closed
trap 'exec 9>&-; rm -rf "$dir"' EXIT
read -r port <"$dir/port"
LEAT_BASE_URL=http://127.0.0.1:$port "$LUA" spec/soak/each.lua "$1"
