#!/bin/sh
# Builds the rock into a tree of its own, and runs the demo out of that tree, away from
# the sources.
#   LUA=lua5.4 sh spec/support/rock.sh
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
LUA=${LUA:-lua5.4}
number=${LUA#lua}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
export LUAROCKS_CONFIG="$root/rockspec/luarocks-config.lua"
git archive HEAD | (mkdir "$tree/source" && tar -x -C "$tree/source")
cd "$tree/source"
luarocks lint rockspec/leat-scm-1.rockspec
luarocks --lua-version "$number" --tree "$tree/tree" make rockspec/leat-scm-1.rockspec \
  >"$tree/log" 2>&1 || {
  tail -n 40 "$tree/log"
  exit 1
}
cd "$tree"
eval "$(luarocks --lua-version "$number" --tree "$tree/tree" path)"
"$LUA" "$root/examples/demo.lua" >"$tree/log" || {
  cat "$tree/log"
  exit 1
}
echo "rock, $LUA: $(tail -n 1 "$tree/log")"
