#!/bin/sh
# Runs each fuzz target for SECONDS; targets that read responses start from the cases as seeds.
#   sh spec/fuzz/run.sh SECONDS TARGET...
set -eu
seconds=$1
shift
for target in "$@"; do
  name=$(basename "$target")
  corpus=$(dirname "$target")/corpus-$name
  log=$(dirname "$target")/$name.log
  case $name in json_fuzz) dict=json ;; *) dict=http ;; esac
  mkdir -p "$corpus"
  if ! LEAT_SEEDS=$corpus "$target" -max_total_time="$seconds" -max_len=16384 -timeout=10 \
    -rss_limit_mb=1024 -dict=spec/fuzz/$dict.dict -print_final_stats=1 \
    -artifact_prefix="$(dirname "$target")/" "$corpus" >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "$name: 0 passed, 1 failed"
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  echo "$name: $runs inputs in $seconds s, $edges edges"
  echo "$name: 1 passed, 0 failed"
done
