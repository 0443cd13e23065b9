#!/bin/sh
# Proves that each library exports what its public headers declare, and nothing else; that
# each of the given Lua modules exports only the function that opens it; and that all names in
# the static libraries have our prefix, because they share one name space with the program's.
#   BUILD=build sh spec/support/exports.sh MODULE...
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

declared() { # declared HEADER...: prints the names that are declared with LEAT_API
  cat "$@" | awk 'BEGIN { RS = ";" } match($0, /\nLEAT_API [^(]*\(/) {
    name = substr($0, RSTART, RLENGTH - 1)
    sub(/.*[ *\n]/, "", name)
    print name
  }' | sort
}
exported() { nm -D --defined-only "$1" | awk '{ print $3 }' | sort; }

check() { # check WHAT: compares the files wanted and got
  if diff "$dir/wanted" "$dir/got" && [ -s "$dir/wanted" ]; then
    passed=$((passed + 1))
  else
    echo "exports: $1: not as it should be (<: missing, >: too much)"
    failed=$((failed + 1))
  fi
}
library() { # library NAME HEADER...
  name=$1
  [ -e "$BUILD/$name.so.0" ] || return 0
  shift
  declared "$@" >"$dir/wanted"
  exported "$BUILD/$name.so.0" >"$dir/got"
  check "$name.so"
  nm -g --defined-only "$BUILD/$name.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort >"$dir/got"
  grep -E '^leat_' "$dir/got" >"$dir/wanted"
  check "$name.a"
}

library libleat core/leat.h core/leat_json.h core/leat_observe.h core/leat_driver.h core/curl/leat_curl.h
library libleat_sandbox core/sandbox/leat_sandbox.h
for module in "$@"; do
  path=${module#"$BUILD"/*/}
  echo "luaopen_${path%.so}" | tr / _ >"$dir/wanted"
  exported "$module" >"$dir/got"
  check "$module"
done
echo "exports: $passed passed, $failed failed"
[ $failed = 0 ]
