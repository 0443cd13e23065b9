#!/bin/sh
# Runs a program against a server of its own, which responds MS milliseconds after IN_FLIGHT finds
# are waiting. This guarantees that all of them are in flight at once.
#   sh spec/bench/held.sh IN_FLIGHT MS PROGRAM [ARGUMENT]...
set -eu
: "${BENCH_BODY:?run.sh sets it}" "${BENCH_ON_SERVER_CORE?run.sh sets it}" "${LEAT_TOOLS:?make bench sets it}"
in_flight=$1 ms=$2
shift 2
dir=$(mktemp -d)
mkfifo "$dir/open" "$dir/port"
$BENCH_ON_SERVER_CORE "$LEAT_TOOLS/slow_server" "$ms" "$in_flight" "$BENCH_BODY" <"$dir/open" >"$dir/port" &
exec 9>"$dir/open" # the server runs until this is closed
trap 'exec 9>&-; rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
read -r port <"$dir/port"
LEAT_BASE_URL=http://127.0.0.1:$port "$@" 9>&-
