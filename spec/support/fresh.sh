#!/bin/sh
# Tests the README's two commands on a minimal Debian, which mmdebstrap makes: in both orders, and
# as a user who may not install packages. Such a user first gets a list of what is missing; once
# it is installed, the commands work. Then, as that user, it tests the C examples against an
# installed library, the packed rocks, and the command `leat`, installed for all and for that user.
# Then it installs as the README says, and at last runs examples/many-machines.sh as root and as that
# user.
# It must run as root.
#   sh spec/support/fresh.sh [--orders] [bookworm | trixie]...     --orders: only the two orders
set -eu
cd "$(dirname "$0")/../.."
what=all
if [ "${1:-}" = --orders ]; then
  what=orders
  shift
fi
for tool in mmdebstrap git; do
  command -v $tool >/dev/null || {
    echo "fresh: $tool is missing: sh rockspec/deps.sh install ci" >&2
    exit 1
  }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM # otherwise a Debian stays behind when the step is stopped
log=$dir/log

bare() { # bare SUITE: makes a minimal Debian
  rm -rf "$dir/bare"
  # It need not survive a power failure, so nothing is synced.
  mmdebstrap --mode=root --variant=minbase --dpkgopt=force-unsafe-io "$1" "$dir/bare" >"$log" 2>&1 || {
    tail -n 20 "$log"
    exit 1
  }
  # The settings for apt's mirror are this machine's.
  cp -a /etc/apt/apt.conf.d/. "$dir/bare/etc/apt/apt.conf.d/"
  cp /etc/resolv.conf /etc/hosts "$dir/bare/etc/"
  mkdir "$dir/bare/leat"
  git ls-files -z | tar --null -T - -c | tar -x -C "$dir/bare/leat"
  chroot "$dir/bare" useradd -m somebody
}

failed() { # failed WHAT
  grep -E ' failed|^not ok|^Fail|^Err' "$log" | grep -v ', 0 failed' | head -n 20
  tail -n 20 "$log"
  echo "fresh $suite: $*: failed"
  exit 1
}
# Runs a command in the tree. /proc and pseudo-terminals are mounted as in a booted Debian, until the command
# ends; some containers do not allow that.
in_tree() { # in_tree USER COMMAND
  # shellcheck disable=SC2016 # the inner shell expands them
  run='exec chroot --userspec="$2" "$1" env LC_ALL=C HOME=/tmp sh -c "$3"'
  if unshare --mount true 2>/dev/null; then
    # shellcheck disable=SC2016
    mounts='mount -t proc proc "$1/proc"; mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"'
    unshare --mount sh -ec "$mounts; $run" in_tree "$dir/tree" "$@"
  else
    sh -c "$run" in_tree "$dir/tree" "$@"
  fi
}
try() { # try USER COMMAND: limits descriptors as in a user's shell
  in_tree "$1" "ulimit -S -n 1024; cd /leat && $2" >"$log" 2>&1
}
in_order() { # in_order COMMAND COMMAND
  cp -a "$dir/bare" "$dir/tree"
  for command in "$@"; do
    try root "$command" || failed "$command"
    echo "fresh $suite: $command: $(tail -n 1 "$log")"
  done
}
installed_for_all() { # checks that `make install` gives every user a working command
  command="lua5.4 spec/support/try_command.lua /usr/local/bin/leat"
  try root "make -s install" || failed "make install"
  try somebody "$command" || failed "$command, as a user"
  echo "fresh $suite: make install: leat works for a user"
}
again_as_somebody() {
  chroot "$dir/tree" sh -c "rm -rf /leat/build && chown -R somebody /leat"
  for command in "$@"; do
    try somebody "$command" || failed "$command, as a user"
    echo "fresh $suite: $command, as a user: $(tail -n 1 "$log")"
  done
}
refused_to_somebody() { # checks that the missing packages are listed, and nothing is built
  cp -a "$dir/bare" "$dir/tree"
  for command in "$@"; do
    ! try somebody "$command" || failed "$command, as a user who may install nothing"
    for said in "apt-get install .*libcurl4-openssl-dev" "^You are not root"; do
      grep -q "$said" "$log" || failed "$command, as a user: what to do"
    done
    echo "fresh $suite: $command, as a user: $(tail -n 1 "$log")"
  done
  rm -rf "$dir/tree"
}

packed_by_somebody() { # checks what needs no root once the packages are installed
  cp -a "$dir/bare" "$dir/tree"
  try root "sh rockspec/deps.sh install build sandbox cli jobs test rock luajit lua5.4" || failed "deps.sh"
  chroot "$dir/tree" sh -c "chown -R somebody /leat"
  for command in "$@"; do
    try somebody "$command" || failed "$command, as a user"
    echo "fresh $suite: $command, as a user: $(tail -n 1 "$log")"
  done
  ! try somebody "make -s install" || failed "make install, as a user"
  grep -q "^to write there: sudo" "$log" || failed "make install, as a user: what to do"
  rm -rf "$dir/tree"
}

commands() { # commands HEADING: the commands below that heading of the README
  awk -v heading="### $1" '/^#/ { inside = $0 == heading } /^```/ { code = inside && $0 == "```sh"; next } code' README.md
}
as_in_the_readme() { # installs with the README's commands, each way on a bare Debian
  cp -a "$dir/bare" "$dir/tree"
  try root "sudo() { \"\$@\"; }; set -e; $(commands "On Debian and Ubuntu")" || failed "the README, on Debian"
  try somebody "trap 'kill \$!' EXIT; $(commands "A key, or the sandbox")" || failed "the README's sandbox, as a user"
  grep -q "^0042: linked: active, contact ann" "$log" || failed "the README's sandbox, as a user"
  rm -rf "$dir/tree"
  cp -a "$dir/bare" "$dir/tree"
  commands "As a rock" >"$dir/rock"
  try root "$(head -n 1 "$dir/rock")" || failed "the README, as a rock: packages"
  chroot "$dir/tree" sh -c "chown -R somebody /leat"
  try somebody "set -e; export LUAROCKS_CONFIG=rockspec/luarocks-config.lua; $(sed 1d "$dir/rock")
    lua5.4 -e 'print(require(\"leat\")._VERSION)'" || failed "the README, as a rock"
  echo "fresh $suite: the README: $(tail -n 1 "$log")"
  rm -rf "$dir/tree"
}

demo="sh examples/demo.sh" test="sh spec/test.sh" machines="sh examples/many-machines.sh"
paths="LUA_PATH='/tmp/own/share/lua/5.4/?.lua;;' LUA_CPATH='/tmp/own/lib/lua/5.4/?.so;;'"
own="make -s install PREFIX=/tmp/own && $paths lua5.4 spec/support/try_command.lua /tmp/own/bin/leat && echo leat works"
for suite in "${@:-bookworm}"; do
  bare "$suite"
  in_order "$demo" "$test"
  if [ $what = all ]; then again_as_somebody "$demo" "$test"; fi
  rm -rf "$dir/tree"
  in_order "$test" "$demo"
  installed_for_all
  rm -rf "$dir/tree"
  if [ $what = all ]; then
    refused_to_somebody "$demo" "$test"
    packed_by_somebody "sh spec/support/c_examples.sh" "sh spec/support/rock.sh lua5.4" "$own"
    as_in_the_readme
    in_order "$machines"
    again_as_somebody "$machines"
    rm -rf "$dir/tree"
  fi
done
