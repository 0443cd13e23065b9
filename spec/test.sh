#!/bin/sh
# Tests this project on a new machine: installs what is missing, builds, and runs the C tests and
# the specs. The last line is a summary.
#   LUA=lua5.3 sh spec/test.sh       under another Lua
set -u
cd "$(dirname "$0")/.." || exit 1
LUA=${LUA:-lua5.4}
sh rockspec/deps.sh install build sandbox cli jobs test "$LUA" || exit 1

log=$(mktemp) specs=$(mktemp) command=$(mktemp) || exit 1
trap 'rm -f "$log" "$specs" "$command"' EXIT
status=0
make -s -j2 LUA="$LUA" lua tests tools >"$log" 2>&1 || status=1
# The C tests and the specs mostly wait, so they run at the same time; those of the command apart, which take as long as
# the others.
make -s LUA="$LUA" test-lua BUSTED_FLAGS=--exclude-pattern=cli_ >"$specs" 2>&1 &
rest=$!
make -s LUA="$LUA" test-lua BUSTED_FLAGS='--pattern=cli_[%w_]*spec spec' >"$command" 2>&1 &
make -s LUA="$LUA" test-core JOBS=1 >>"$log" 2>&1 || status=1
wait $! || status=1
wait $rest || status=1
echo "the specs, on $LUA:" >>"$log"
cat "$specs" "$command" >>"$log"
cat "$log"

# C programs end with "NAME: N passed, N failed", busted with
# "N successes / N failures / N errors / N pending". A pending test has not passed.
awk -v status=$status '
  $2 ~ /^[0-9]+$/ && / passed, [0-9]+ failed$/ { core++; passed += $2; failed += $4 }
  / successes? \/ [0-9]+ failures? \/ [0-9]+ errors? \/ [0-9]+ pending/ {
    specs++; passed += $1; failed += $4 + $7 + $10
  }
  END {
    if (core < 1 || specs < 2) { print "a part of the tests did not run"; failed++ }
    if (status && !failed) { print "the tests did not end well"; failed++ }
    printf "%d passed, %d failed\n", passed, failed
    exit failed > 0
  }' "$log"
