#!/bin/sh
# Builds the rock into a fresh tree for each Lua, and runs the demo out of that tree, away
# from the sources.
#   sh spec/support/rock.sh [lua5.1 lua5.2 lua5.3 lua5.4 luajit]
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/source"
git archive HEAD | tar -x -C "$dir/source"
luarocks lint rockspec/leat-scm-1.rockspec
export LUAROCKS_CONFIG="$dir/config.lua"

build() ( # build NUMBER
  cd "$dir/source" && make -s clean &&
    luarocks --lua-version "$1" --tree "$tree" make rockspec/leat-scm-1.rockspec
)
run() ( # run LUA NUMBER
  cd "$dir" && eval "$(luarocks --lua-version "$2" --tree "$tree" path)" &&
    "$1" "$root/examples/demo.lua"
)
rock() { # rock LUA NUMBER
  tree=$dir/$1
  cp "$root/rockspec/luarocks-config.lua" "$LUAROCKS_CONFIG"
  if [ "$1" = luajit ]; then # which LuaRocks takes for another 5.1
    cat >>"$LUAROCKS_CONFIG" <<CONFIG
lua_interpreter = "luajit"
variables = { LUA_INCDIR = "$(pkg-config --variable=includedir luajit)", LUA = "$(command -v luajit)" }
CONFIG
  fi
  if build "$2" >"$dir/log" 2>&1 && run "$1" "$2" >>"$dir/log" 2>&1; then
    echo "rock, $1: $(tail -n 1 "$dir/log")"
  else
    tail -n 40 "$dir/log"
    echo "rock, $1: failed"
    exit 1
  fi
}

for lua in "${@:-lua5.4}"; do
  case $lua in luajit) rock luajit 5.1 ;; *) rock "$lua" "${lua#lua}" ;; esac
done
