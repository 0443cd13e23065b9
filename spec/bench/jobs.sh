#!/bin/sh
# Measures jobs: loading a file of cards, beside sqlite3 and a loop of inserts; what the journal costs a run; and how
# many rows it can process, beside a loop with libpq.
#
#   make bench-jobs                 takes some minutes
#   make bench-jobs BENCH_ROWS=20000 BENCH_CARDS=2000 BENCH_ROUNDS=1
#                                   as in CI: checks that it works
#
#   BENCH_ROWS=1000000   rows of the file; its memory is compared with that for 10,000 rows
#   BENCH_CARDS=10000    cards that a run creates
#   BENCH_RATE=833       and how many in a second: 50,000 a minute
#   BENCH_ROUNDS=3
#   BENCH_JOBS=load      only this part: load, run or turns
#
# It fails if a program fails, but never because the machine is slow. The Makefile sets LUA and its paths, LEAT, the
# command, and BENCH_TOOLS, the folder of the C programs.
set -eu
cd "$(dirname "$0")/../.."
: "${LUA:?make bench-jobs sets it}" "${LEAT:?make bench-jobs sets it}" "${BENCH_TOOLS:?make bench-jobs sets it}"
: "${BENCH_ROWS:=1000000}" "${BENCH_CARDS:=10000}" "${BENCH_RATE:=833}" "${BENCH_ROUNDS:=3}" "${BENCH_JOBS:=load run}"
export BENCH_TOOLS BENCH_ROWS BENCH_CARDS BENCH_RATE BENCH_ROUNDS BENCH_JOBS
command -v sqlite3 >/dev/null || {
  echo "bench-jobs: sqlite3 is missing: sh rockspec/deps.sh install bench" >&2
  exit 1
}

BENCH_FOLDER=$(mktemp -d)
server=''
end() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$BENCH_FOLDER"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export BENCH_FOLDER XDG_STATE_HOME="$BENCH_FOLDER"

# The sandbox is a process of its own, so that its work is not counted as the client's.
"$LUA" -e 'local sandbox = require("leat.sandbox").start()
  print(sandbox.url, sandbox.api_key)
  io.stdout:flush()
  sandbox:serve()' >"$BENCH_FOLDER/server" &
server=$!
until [ -s "$BENCH_FOLDER/server" ]; do
  kill -0 "$server" || exit 1
  sleep 0.1
done
read -r LEAT_BASE_URL LEAT_API_KEY <"$BENCH_FOLDER/server"
export LEAT_BASE_URL LEAT_API_KEY BENCH_SERVER="$server"

"$LUA" spec/bench/jobs_bench.lua
