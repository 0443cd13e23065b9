#!/bin/sh
# Runs the tests with an API key and a client secret drawn afresh, those too that fail on
# purpose and print all they can; then looks for the secrets, and for any eight bytes of them
# however encoded, in all that was printed and in all files that are new.
#   LUA=lua5.4 sh spec/support/canary.sh
set -eu
cd "$(dirname "$0")/../.."
LUA=${LUA:-lua5.4}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/tmp"
export TMPDIR="$dir/tmp"

# Random, with characters in it that are encoded differently here and there.
draw() {
  LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 24 | sed 's/.\{6\}/&|\&/; s/.\{14\}/&+\//; s/.\{20\}/&=%/'
}
LEAT_TEST_KEY=$(draw)
LEAT_TEST_SECRET=$(draw)
export LEAT_TEST_KEY LEAT_TEST_SECRET
# Those of the golden requests and of the sandbox's raw ones are fixed.
"$LUA" spec/support/canary.lua "$LEAT_TEST_KEY" "$LEAT_TEST_SECRET" \
  '1|example-key' '1|fixed-canary-8e21' >"$dir/pieces"

# Names of the files that show one.
leaks() {
  find "$@" -type f -exec grep -laFf "$dir/pieces" {} + 2>/dev/null || true
}

fail() {
  echo "canary: $*" >&2
  echo "canary: 0 passed, 1 failed"
  exit 1
}

# The search finds what there is: written by others than canary.lua.
plant() {
  printf 'x: %s.\n' "$2" >"$dir/tmp/planted"
  [ -n "$(leaks "$dir/tmp")" ] || fail "the search does not see the key $1"
}
hex=$(printf %s "$LEAT_TEST_KEY" | od -An -v -tx1 | tr -d '\n')
plant "as it is" "$(printf %s "$LEAT_TEST_KEY" | cut -c 3-10)"
plant "in hexadecimal" "$(echo "$hex" | tr -d ' ')"
plant "percent-encoded" "$(echo "$hex" | tr ' ' '%')"
plant "as JSON escapes it" "$(printf %s "$LEAT_TEST_KEY" | sed 's,/,\\/,')"
for before in '' x xx; do
  plant "in base64" "$(printf %s "$before$LEAT_TEST_KEY" | base64 | tr -d '\n')"
done
rm "$dir/tmp/planted"

make -s LUA="$LUA" tests lua
touch "$dir/start"
{
  make -s LUA="$LUA" test-core test-lua || echo "canary: the tests failed"
  LEAT_TEST_LOGS="$dir/nginx" make -s LUA="$LUA" test-nginx || echo "canary: the tests failed"
  build/test/policy_test spec/cases messages || true
  make -s LUA="$LUA" test-lua BUSTED_FLAGS="--pattern=failing_case spec/support" || true
} >"$dir/output" 2>&1

grep -q '^canary: the tests failed' "$dir/output" && tail -n 30 "$dir/output" >&2
grep -q 'worker process' "$dir/nginx" || fail "nobody said anything in nginx"
for said in '^policy: [0-9]* combinations' '\[token\]' '[1-9][0-9]* failures\{0,1\} / '; do
  grep -q "$said" "$dir/output" || fail "nobody said $said: a part did not run"
done
found=$(leaks "$dir/output" "$dir/nginx" "$dir/tmp"
  leaks . /tmp -xdev -newer "$dir/start" ! -path "$dir/*" ! -path './.git/*')
if [ -n "$found" ]; then
  grep -haFf "$dir/pieces" "$dir/output" "$dir/nginx" | cut -c 1-200 | head -n 5 >&2 || true
  fail "a piece of a secret stands in" "$found"
fi
grep -q '^canary: the tests failed' "$dir/output" && fail "the tests failed"
echo "canary: $(wc -c <"$dir/output") bytes of output"
echo "canary: 1 passed, 0 failed"
