#!/bin/sh
# Generates a new API key and client secret for the tests, including tests that fail on purpose and
# print everything they can. Then searches everything that was printed, and all new files, for the
# secrets and for any eight bytes of them in any encoding.
#   LUA=lua5.4 sh spec/support/canary.sh       runs all tests with new secrets, then searches
#   LUA=lua5.4 sh spec/support/canary.sh few   runs a few tests that show the most of what leat has
#   eval "$(sh spec/support/canary.sh draw)"   generates secrets for later tests
#   sh spec/support/canary.sh provoke          prints the output of failing tests
#   sh spec/support/canary.sh search PATH...   searches the paths, and ends what draw began
set -eu
cd "$(dirname "$0")/../.."
LUA=${LUA:-lua5.4}

fail() {
  echo "canary: $*" >&2
  echo "canary: 0 passed, 1 failed"
  exit 1
}

# Prints a random secret, with characters that JSON, URLs and base64 encode differently.
random() {
  LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 24 | sed 's/.\{6\}/&|\&/; s/.\{14\}/&+\//; s/.\{20\}/&=%/'
}
# LEAT_CANARY holds the pieces to search for, the start time, the log of nginx, and files of tests.
draw() {
  LEAT_CANARY=$(mktemp -d)
  LEAT_TEST_KEY=$(random)
  LEAT_TEST_SECRET=$(random)
  # The keys of the golden requests and of the sandbox's raw requests are fixed. No piece of them is a common word,
  # which a fuzzer would make up.
  "$LUA" spec/support/canary.lua "$LEAT_TEST_KEY" "$LEAT_TEST_SECRET" \
    '1|golden-5d07' '1|fixed-canary-8e21' >"$LEAT_CANARY/pieces"
  touch "$LEAT_CANARY/start"
  for name in LEAT_CANARY LEAT_TEST_KEY LEAT_TEST_SECRET; do
    eval "echo \"export $name='\$$name'\""
  done
  echo "export LEAT_TEST_LOGS='$LEAT_CANARY/nginx'"
}

provoke() {
  build/test/policy_test spec/cases messages || true
  make -s LUA="$LUA" test-lua BUSTED_FLAGS="--pattern=failing_case spec/support" || true
}

# Prints the names of the files that contain a piece of a secret.
leaks() {
  find "$@" -type f -exec grep -laFf "$LEAT_CANARY/pieces" {} + 2>/dev/null || true
}
# Checks that the search finds pieces that canary.lua has not encoded itself.
plant() {
  printf 'x: %s.\n' "$2" >"$LEAT_CANARY/planted"
  [ -n "$(leaks "$LEAT_CANARY/planted")" ] || fail "the search does not see the key $1"
}
plant_all() {
  hex=$(printf %s "$LEAT_TEST_KEY" | od -An -v -tx1 | tr -d '\n')
  plant "as it is" "$(printf %s "$LEAT_TEST_KEY" | cut -c 3-10)"
  plant "in hexadecimal" "$(echo "$hex" | tr -d ' ')"
  plant "percent-encoded" "$(echo "$hex" | tr ' ' '%')"
  plant "as JSON escapes it" "$(printf %s "$LEAT_TEST_KEY" | sed 's,/,\\/,')"
  for before in '' x xx; do
    plant "in base64" "$(printf %s "$before$LEAT_TEST_KEY" | base64 | tr -d '\n')"
  done
}

search() {
  plant_all
  grep -q 'worker process' "$LEAT_TEST_LOGS" || fail "nobody said anything in nginx"
  for said in '^policy: [0-9]* combinations' '\[token\]' '[1-9][0-9]* failures\{0,1\} / ' 'leat, its arguments: '; do
    grep -rq "$said" "$@" || fail "nobody said $said: a part did not run"
  done
  found=$(leaks "$LEAT_TEST_LOGS" "$@"
    leaks . /tmp -xdev -newer "$LEAT_CANARY/start" ! -path "$LEAT_CANARY/*" ! -path './.git/*')
  if [ -n "$found" ]; then
    grep -rhaFf "$LEAT_CANARY/pieces" "$LEAT_TEST_LOGS" "$@" | cut -c 1-200 | head -n 5 >&2 || true
    fail "a piece of a secret stands in" "$found"
  fi
  echo "canary: $(find "$LEAT_TEST_LOGS" "$@" -type f -exec cat {} + | wc -c) bytes of output"
  rm -rf "$LEAT_CANARY"
}

# Runs the tests, all or a few.
run_tests() {
  if [ "$1" = all ]; then
    make -s -k LUA="$LUA" test-core test-lua || echo "canary: the tests failed"
    make -s LUA="$LUA" test-nginx || echo "canary: the tests failed"
  else
    make -s LUA="$LUA" test-lua BUSTED_FLAGS="spec/secrets_spec.lua spec/sandbox_spec.lua spec/cli_secrets_spec.lua" || true
    make -s LUA="$LUA" test-nginx NGINX_SPECS=spec/nginx/calls_nginx.lua || true
  fi
}

run() {
  make -s LUA="$LUA" tests lua
  eval "$(draw)"
  trap 'rm -rf "$LEAT_CANARY"' EXIT
  mkdir "$LEAT_CANARY/tmp"
  {
    TMPDIR="$LEAT_CANARY/tmp" run_tests "$1"
    provoke
  } >"$LEAT_CANARY/output" 2>&1
  grep -B 40 '^canary: the tests failed' "$LEAT_CANARY/output" >&2 || true
  failed=$(grep -c '^canary: the tests failed' "$LEAT_CANARY/output" || true)
  search "$LEAT_CANARY/output" "$LEAT_CANARY/tmp"
  [ "$failed" = 0 ] || fail "the tests failed"
  echo "canary: 1 passed, 0 failed"
}

case ${1:-all} in
  all | few) run "${1:-all}" ;;
  draw) draw ;;
  provoke) provoke ;;
  search)
    shift
    search "$@"
    echo "canary: 1 passed, 0 failed"
    ;;
  *) fail "what is $1?" ;;
esac
