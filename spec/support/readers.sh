#!/bin/sh
# Checks what rockspec/manual.lua prints with the programs that read it. spec/cli_install_spec.lua completes
# in bash, which every system has.
#   LUA=lua5.4 sh spec/support/readers.sh
set -eu
cd "$(dirname "$0")/../.."
LUA=${LUA:-lua5.4}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export HOME="$dir" # where fish keeps its settings
failed=0
fail() {
  echo "readers: $*"
  failed=$((failed + 1))
}
for kind in man bash zsh fish; do "$LUA" rockspec/manual.lua $kind 1.2.3 >"$dir/$kind"; done

groff -man -Tutf8 -ww -z "$dir/man" 2>&1 | tee "$dir/said"
[ ! -s "$dir/said" ] || fail "groff finds mistakes in the manual page"
for shell in bash zsh fish; do $shell -n "$dir/$shell" || fail "$shell finds mistakes in its completion script"; done

completed() { # completed LINE WORD...: checks what fish offers for the last word of the line
  line=$1
  shift
  got=$(fish -c "source $dir/fish; complete -C '$line'" | cut -f 1 | tr '\n' ' ')
  [ "$got" = "$*${1:+ }" ] || fail "fish completes '$line' with: $got"
}
completed 'leat fi' find
completed 'leat --json update 0042 --dr' --dry-run
completed 'leat completion ' bash fish zsh
completed 'leat help del' delete
completed 'leat create --name '
completed "leat --ca-file $PWD/Makef" "$PWD/Makefile"

echo "readers: $failed failed"
[ $failed = 0 ]
