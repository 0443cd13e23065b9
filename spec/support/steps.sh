#!/usr/bin/env bash
# Runs a list of steps, some of them at once. The output of a step goes to build/steps/NAME.log,
# and is printed as a whole when the step ends. Source this file:
#
#   . spec/support/steps.sh
#   first NAME COMMAND...   runs alone; if it fails, nothing else is started
#   step  NAME COMMAND...   runs beside other steps
#   alone NAME COMMAND...   runs while nothing else does, for steps that measure time
#   finish                  waits for all, prints the time of each, and exits with 1 if one failed
#
# STEPS_AT_ONCE: how many steps run at once.
# STEP_LIMIT: the seconds after which a step is stopped, and counts as failed.
set -u -m # job control: each step is a process group, so that Ctrl-C reaches its children
unset MAKEFLAGS MFLAGS MAKELEVEL

STEPS_AT_ONCE=${STEPS_AT_ONCE:-2} STEP_LIMIT=${STEP_LIMIT:-1200}
steps=$PWD/build/steps
rm -rf "$steps"
mkdir -p "$steps"
mkfifo "$steps/ended"
exec 9<>"$steps/ended"
declare -A running=()
failed=() table=''

stop_all() {
  for pid in "${running[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# Runs as a background job. Stopping a step also ends the processes that it started.
run_step() { # run_step NAME COMMAND...
  local name=$1 status=0 TIMEFORMAT='%0R %0U %0S'
  shift
  { time timeout --foreground "$STEP_LIMIT" "$@" >"$steps/$name.log" 2>&1 9>&-; } 2>"$steps/$name.time" ||
    status=$?
  [ "$status" != 124 ] || echo "stopped after $STEP_LIMIT s" >>"$steps/$name.log"
  echo "$name $status" >&9
  if [ "$status" = 124 ]; then
    trap '' TERM
    kill -TERM 0
  fi
}

begin_step() {
  run_step "$@" </dev/null &
  running[$1]=$!
}

end_step() { # waits until a step ends, and prints its output
  local name status wall user system result=passed
  read -r -t $((STEP_LIMIT + 60)) name status <&9 || {
    echo "a step was killed: ${!running[*]}"
    exit 1
  }
  unset "running[$name]"
  # If the command was killed, a line above says so.
  read -r wall user system < <(tail -n 1 "$steps/$name.time")
  if [ "$status" != 0 ]; then
    result=FAILED
    failed+=("$name")
  fi
  printf '\n==== %s: %s\n' "$name" "$result"
  cat "$steps/$name.log"
  table+=$(printf '%7d %7d  %-16s %s' "$wall" $((user + system)) "$name" "$result")$'\n'
}

wait_until() { # wait_until N: waits until at most N steps are running
  while [ "${#running[@]}" -gt "$1" ]; do end_step; done
}

step() {
  wait_until $((STEPS_AT_ONCE - 1))
  begin_step "$@"
}

alone() {
  wait_until 0
  begin_step "$@"
  wait_until 0
}

first() {
  alone "$@"
  [ "${#failed[@]}" = 0 ] || finish
}

finish() {
  wait_until 0
  for name in "${failed[@]}"; do
    printf '\n==== %s failed:\n' "$name"
    tail -n 40 "$steps/$name.log"
  done
  printf '\nseconds CPU-sec  step\n%s%7d          in all\n' "$table" "$SECONDS"
  [ "${#failed[@]}" = 0 ] || {
    echo "failed: ${failed[*]}"
    exit 1
  }
}
