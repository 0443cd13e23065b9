#!/bin/sh
# Proves the README's two commands on a Debian that has nothing but a shell: makes one with
# debootstrap, and runs them in it, in this order and in the other. As root.
#   sh spec/support/fresh.sh [bookworm]
set -eu
cd "$(dirname "$0")/../.."
suite=${1:-bookworm}
for tool in debootstrap git; do
  command -v $tool >/dev/null || {
    echo "fresh: $tool is missing: sh rockspec/deps.sh install ci" >&2
    exit 1
  }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
log=$dir/log

debootstrap --variant=minbase "$suite" "$dir/bare" >"$log" 2>&1 || {
  tail -n 20 "$log"
  exit 1
}
# How apt reaches its mirror is this machine's matter.
cp -a /etc/apt/apt.conf.d/. "$dir/bare/etc/apt/apt.conf.d/"
cp /etc/resolv.conf /etc/hosts "$dir/bare/etc/"
mkdir "$dir/bare/leat"
git archive HEAD | tar -x -C "$dir/bare/leat"

in_order() { # in_order COMMAND COMMAND
  cp -a "$dir/bare" "$dir/tree"
  for command in "$@"; do
    if chroot "$dir/tree" env LC_ALL=C sh -c "cd /leat && $command" >"$log" 2>&1; then
      echo "fresh $suite: $command: $(tail -n 1 "$log")"
    else
      tail -n 40 "$log"
      echo "fresh $suite: $command: failed"
      exit 1
    fi
  done
  rm -rf "$dir/tree"
}
in_order "sh examples/demo.sh" "sh spec/test.sh"
in_order "sh spec/test.sh" "sh examples/demo.sh"
