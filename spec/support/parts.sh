#!/usr/bin/env bash
# Runs one part of what runs at night, even if it has passed before: spec/support/nightly.sh has a
# list of the parts.
#   bash spec/support/parts.sh PART
set -euo pipefail
cd "$(dirname "$0")/../.."
luas="lua5.1 lua5.2 lua5.3 lua5.4 luajit"
clang() { echo "CC=clang" "CXX=clang++" "BUILD=build/clang"; }

export CFLAGS="-O2 -g -Werror" LUA=lua5.4 STEP_LIMIT=2700
# shellcheck disable=SC1091 # the sourced file is checked separately
. spec/support/steps.sh
# shellcheck disable=SC2086 # a list of words
first tools sh rockspec/deps.sh install build sandbox cli jobs postgres test hosts nginx fleet bench doc rock ci $luas
first build make -j2 lua tests libraries

# shellcheck disable=SC2046 # words
case $1 in
  static)
    step lint          make lint JOBS=1
    step analyze       make analyze
    step proofs        make purity exports
    step doc           make doc
    step headers       make test-headers test-c-examples
    step headers-clang make test-headers test-c-examples $(clang)
    ;;
  platforms)
    first cross        sh rockspec/deps.sh install cross
    for platform in s390x armhf arm64 musl; do
      step "$platform" make test-platforms PLATFORMS="$platform" JOBS=1
    done
    ;;
  luas)
    first build-clang  make -j2 lua tests $(clang)
    for lua in $luas; do
      step "$lua"       make test-lua LUA="$lua"
      step "$lua-clang" make test-lua LUA="$lua" $(clang)
    done
    step core          make test-core JOBS=1
    step core-clang    make test-core JOBS=1 $(clang)
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
    alone nginx        make test-nginx LEAT_FLEET_SECONDS=30
    alone soak-nginx   make soak-nginx SOAK_NGINX_N=100000
    alone test-jobs    make test-jobs
    alone test-postgres make test-postgres
    alone soak         make soak
    alone soak-luajit  make soak LUA=luajit
    ;;
  sanitizers)
    first build-asan   make -j2 asan-build tsan-build
    step asan          make asan JOBS=1
    step asan-clang    make asan JOBS=1 CC=clang BUILD=build/clang
    step tsan          make tsan
    for lua in $luas; do step "asan-$lua" make asan-lua LUA="$lua"; done
    step asan-postgres make asan-postgres LUA=lua5.4
    ;;
  valgrind)
    step specs         make valgrind-lua LUA=lua5.1
    step core          make valgrind JOBS=1
    for lua in $luas; do
      step "teardown-$lua" make valgrind-lua LUA="$lua" BUSTED_FLAGS=spec/teardown_spec.lua
    done
    ;;
  memory)
    first build-asan   make -j2 asan-build
    for of in lua5.4 luajit core; do step "torture-$of" make torture TORTURE=$of; done
    ;;
  kills)
    alone soak-jobs    make soak-jobs
    ;;
  storms)
    alone soak-postgres make soak-postgres STORM_N=8000
    ;;
  random)
    first build-fuzz   make -j2 fuzz-build
    for target in spec/fuzz/*_fuzz.c; do
      name=$(basename "$target" .c)
      step "$name"     make fuzz FUZZ_SECONDS=300 FUZZERS="build/fuzz/$name"
    done
    step model         make model MODEL_N=5000000
    ;;
  mutants-even)
    step slice-0       sh spec/support/mutants.sh --slice 0/4
    step slice-2       sh spec/support/mutants.sh --slice 2/4
    ;;
  mutants-odd)
    step slice-1       sh spec/support/mutants.sh --slice 1/4
    step slice-3       sh spec/support/mutants.sh --slice 3/4
    ;;
  bench)
    alone bench        make bench BENCH_N=2000 BENCH_ROUNDS=1 BENCH_COUNTED=250 BENCH_IN_FLIGHT="1 100"
    alone bench-nginx  make bench-nginx BENCH_N=2000 BENCH_ROUNDS=1
    alone bench-jobs   make bench-jobs BENCH_ROWS=20000 BENCH_CARDS=2000 BENCH_ROUNDS=1
    alone coverage     make coverage
    ;;
esac
finish
