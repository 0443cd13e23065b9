#!/usr/bin/env bash
# Runs everything: the gate's checks on all Luas, with both compilers and in full, and the checks
# that are too slow for the gate. It must run as root, on Debian 12.
#   bash spec/support/nightly.sh           all parts, one after the other
#   bash spec/support/nightly.sh PART...   only those
# A part is skipped if no tracked file that it depends on has changed since it passed.
set -euo pipefail
cd "$(dirname "$0")/../.."
parts="static luas fresh hosts sanitizers valgrind memory random mutants bench"
luas="lua5.1 lua5.2 lua5.3 lua5.4 luajit"

# shellcheck disable=SC2086 # a list of words
[ $# != 0 ] || set -- $parts
if [ $# != 1 ]; then # each part runs in a process of its own
  failed='' summary=''
  for part; do
    printf '\n######## %s\n' "$part"
    began=$SECONDS result=passed
    bash "$0" "$part" || result=FAILED failed="$failed $part"
    summary+=$(printf '%7d  %-12s %s' $((SECONDS - began)) "$part" "$result")$'\n'
  done
  printf '\nseconds  part\n%s' "$summary"
  [ -z "$failed" ] || echo "nightly: failed:$failed"
  [ -z "$failed" ]
  exit
fi
part=$1
case " $parts " in *" $part "*) ;; *)
  echo "nightly: there is no part $part, only: $parts"
  exit 2
  ;;
esac

code="Makefile core lua spec examples rockspec"
texts="docs README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md .busted .clang-format .clang-tidy .luacheckrc"
# depends_on PATH...: exits if none of them has changed
depends_on() {
  inputs=$(git ls-files -z -- "$@" | xargs -0 sha256sum | sha256sum)
  passed=build/nightly/$part
  if [ "$inputs" = "$(cat "$passed" 2>/dev/null)" ]; then
    echo "nightly: $part: passed before, and nothing has changed since"
    exit
  fi
}
clang() { echo "CC=clang" "CXX=clang++" "BUILD=build/clang"; }

export CFLAGS="-O2 -g -Werror" LUA=lua5.4 STEP_LIMIT=2700
# shellcheck disable=SC2086 # lists of words
case $part in
  static | luas | fresh | sanitizers | valgrind | mutants) depends_on $code $texts ;;
  *) depends_on $code ;;
esac
# shellcheck disable=SC1091 # the sourced file is checked separately
. spec/support/steps.sh
# shellcheck disable=SC2086
first tools sh rockspec/deps.sh install build sandbox test hosts nginx bench doc rock ci $luas
first build make -j2 lua tests libraries

# shellcheck disable=SC2046 # words
case $part in
  static)
    step lint          make lint JOBS=1
    step analyze       make analyze
    step proofs        make purity exports
    step doc           make doc
    step headers       make test-headers test-c-examples
    step headers-clang make test-headers test-c-examples $(clang)
    ;;
  luas)
    first build-clang  make -j2 lua tests $(clang)
    for lua in $luas; do
      step "$lua"       make test-lua LUA="$lua"
      step "$lua-clang" make test-lua LUA="$lua" $(clang)
    done
    step core          make test-core
    step core-clang    make test-core $(clang)
    step poll          make test-poll
    alone demo         sh examples/demo.sh
    alone test         sh spec/test.sh
    alone canary       make canary
    ;;
  fresh)
    step bookworm      sh spec/support/fresh.sh bookworm
    step trixie        sh spec/support/fresh.sh trixie
    for lua in $luas; do step "rock-$lua" sh spec/support/rock.sh "$lua"; done
    ;;
  hosts)
    for lua in $luas; do alone "hosts-$lua" make test-hosts LUA="$lua"; done
    alone nginx        make test-nginx
    alone soak-nginx   make soak-nginx SOAK_NGINX_N=100000
    alone soak         make soak
    alone soak-luajit  make soak LUA=luajit
    ;;
  sanitizers)
    first build-asan   make -j2 asan-build tsan-build
    step asan          make asan
    step asan-clang    make asan CC=clang BUILD=build/clang
    step tsan          make tsan
    for lua in $luas; do step "asan-$lua" make asan-lua LUA="$lua"; done
    ;;
  valgrind)
    step specs         make valgrind-lua LUA=lua5.1
    step core          make valgrind JOBS=1
    for lua in $luas; do
      step "teardown-$lua" make valgrind-lua LUA="$lua" BUSTED_FLAGS=spec/teardown_spec.lua
    done
    ;;
  memory) first torture make torture ;;
  random)
    first build-fuzz   make -j2 fuzz-build
    step fuzz          make fuzz FUZZ_SECONDS=600
    step model         make model MODEL_N=5000000
    ;;
  mutants)
    step even          sh spec/support/mutants.sh --slice 0/2
    step odd           sh spec/support/mutants.sh --slice 1/2
    ;;
  bench)
    alone bench        make bench BENCH_N=2000 BENCH_ROUNDS=1 BENCH_COUNTED=250 BENCH_IN_FLIGHT="1 100"
    alone bench-nginx  make bench-nginx BENCH_N=2000 BENCH_ROUNDS=1
    alone coverage     make coverage
    ;;
esac
finish
mkdir -p build/nightly
echo "$inputs" >"$passed"
echo "nightly: $part: passed"
