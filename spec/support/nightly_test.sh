#!/usr/bin/env bash
# Tests when spec/support/nightly.sh runs a part and when it skips it, with parts of a few lines.
#   bash spec/support/nightly_test.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/spec/support" "$dir/core" "$dir/docs"
cp spec/support/nightly.sh "$dir/spec/support/"
cd "$dir"
# It fails if core/broken is not empty.
cat >spec/support/parts.sh <<'PART'
mkdir -p build/steps
printf '%s\n' "one: 20 passed, 0 failed" "12 successes / 0 failures / 1 error / 2 pending : 0.1 seconds" >build/steps/a.log
printf '%s\n' "two: 4 passed, 0 failed" "5 successes / 0 failures / 0 errors / 0 pending" "9 passed, 0 failed" >build/steps/b.log
! test -s core/broken
PART
echo "int main(void);" >core/main.c
echo "A guide" >docs/guide.md
touch core/broken README.md
git init -q
git add .
passed=0

# expect RESULT WHEN PART...: running these parts must print this line
expect() {
  local result=$1 when=$2
  shift 2
  bash spec/support/nightly.sh "$@" >log || true
  if ! grep -qE "^$result\$" log; then
    cat log
    echo "nightly: $when: failed"
    exit 1
  fi
  passed=$((passed + 1))
}
count="[0-9]+ s, 41 passed, 3 failed"

expect "memory +$count" "the first time" memory
expect "memory +skipped; before: $count" "nothing has changed" memory
touch -d 2001-01-01 core/main.c
expect "memory +skipped; before: $count" "only a time has changed" memory
expect "static +$count" "another part" memory static
echo "A new guide" >docs/guide.md
expect "memory +skipped; before: $count" "a file that the part does not read has changed" memory
expect "static +$count" "a file that the part reads has changed" static
echo "int main(int, char **);" >core/main.c
expect "memory +$count" "code has changed" memory
git mv core/main.c core/start.c
expect "memory +$count" "a file has a new name" memory
git rm -qf --cached core/start.c
expect "memory +$count" "a file is not tracked any more" memory
echo broken >core/broken
expect "nightly: failed: memory static" "the part fails" memory static
expect "memory +FAILED after $count" "the part has failed before" memory
: >core/broken
expect "memory +skipped; before: $count" "the files are again as when it passed" memory
expect "nightly: there is no part nothing, only: .*" "a wrong name" nothing
echo "nightly: $passed passed, 0 failed"
