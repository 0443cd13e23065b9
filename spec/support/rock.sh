#!/bin/sh
# Tests the rocks as users get them, for each Lua: built in a checkout; and released, packed as
# source rocks and installed from those into an empty tree. There the demo, the command and the first
# specs run without the sources. leat itself is built as on a system that has libcurl only.
#   sh spec/support/rock.sh [lua5.1 lua5.2 lua5.3 lua5.4 luajit]
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LUAROCKS_CONFIG="$dir/config.lua"
version=$(sed -n 's/^#define LEAT_VERSION *"\(.*\)"/\1/p' core/leat.h)
passed=0
fail() {
  tail -n 40 "$dir/log" 2>/dev/null || true
  echo "rock: $*: failed"
  exit 1
}

cp rockspec/luarocks-config.lua "$LUAROCKS_CONFIG"

# Makes a release of the tracked files, with a date. A release without a date is refused, and so is one
# of another version.
mkdir "$dir/leat" "$dir/without" "$dir/without/gnutls"
if [ -e .git ]; then git ls-files -z | tar --null -T - -c; else tar -c --exclude=./build .; fi | tar -x -C "$dir/leat"
! sh "$dir/leat/rockspec/release.sh" 9.9.9 "$dir/never" 2>"$dir/log" || fail "a release of another version"
sed -i "s/^## $version, .*/## $version, not yet/" "$dir/leat/CHANGELOG.md"
! sh "$dir/leat/rockspec/release.sh" "$version" "$dir/never" 2>"$dir/log" || fail "a release without a date"
sed -i "s/^## $version, .*/## $version, 2026-01-31/" "$dir/leat/CHANGELOG.md"
sh "$dir/leat/rockspec/release.sh" "$version" "$dir/release" >"$dir/log" || fail "a release"
for name in leat leat-cli leat-jobs leat-postgres leat-sandbox; do
  luarocks lint "rockspec/$name-scm-1.rockspec"
  rockspec=$dir/release/$name-$version-1.rockspec
  luarocks lint "$rockspec"
  grep -q "^  tag = \"v$version\",\$" "$rockspec" || fail "a release without a tag"
  sed -i "s|^  url = .*|  url = \"file://$dir/leat.tar.gz\",|; /^  tag = /d" "$rockspec"
done
tar -cz -f "$dir/leat.tar.gz" -C "$dir" leat

for header in microhttpd.h jansson.h sqlite3.h gnutls/gnutls.h; do
  echo '#error not for leat' >"$dir/without/$header"
done

rocks() { luarocks --lua-version "$number" --tree "$tree" "$@"; }
in_checkout() (
  cd "$dir/leat" && make -s clean &&
    rocks make rockspec/leat-scm-1.rockspec && rocks make rockspec/leat-sandbox-scm-1.rockspec && demo &&
    rocks make rockspec/leat-jobs-scm-1.rockspec && journal &&
    rocks make rockspec/leat-cli-scm-1.rockspec && try_command
)
installed() (
  cd "$dir/release" &&
    for name in leat leat-cli leat-jobs leat-sandbox; do rocks pack "$name-$version-1.rockspec" || return; done &&
    CPATH="$dir/without" rocks install "./leat-$version-1.src.rock" && alone && documented &&
    CPATH="$dir/without" rocks install "./leat-cli-$version-1.src.rock" && names_sandbox &&
    rocks install "./leat-jobs-$version-1.src.rock" && journal &&
    rocks install "./leat-sandbox-$version-1.src.rock" && demo && try_command && tests
)
alone() { # checks that libcurl is the only library, and that a client can be made
  ! find "$tree" -name '*.so' -exec readelf -d {} + | grep -E 'NEEDED.*(jansson|microhttpd|gnutls|sqlite|libpq)' &&
    (eval "$(rocks path)" && "$lua" -e 'require("leat").new { api_key = "1|key" }')
}
documented() { # checks that luarocks doc opens the guides' index, and that all guides are installed
  folder=$(rocks show --rock-dir leat) &&
    rocks doc leat | grep -F "Opening $folder/docs/index.md" &&
    diff -r "$dir/leat/docs" "$folder/docs" && diff "$dir/leat/README.md" "$folder/README.md"
}
names_sandbox() { # checks that the command says which rock `leat sandbox` needs
  status=0
  "$tree/bin/leat" sandbox >"$dir/said" 2>&1 || status=$?
  [ $status = 2 ] && grep "^leat: .*leat\.sandbox is missing.*: luarocks install leat-sandbox" "$dir/said"
}
journal() ( # checks that a journal can be made
  eval "$(rocks path)" &&
    "$lua" -e 'assert(require("leat.jobs").open_temporary()):close()'
)
try_command() (eval "$(rocks path)" && "$lua" "$root/spec/support/try_command.lua" "$tree/bin/leat")
demo() (cd "$dir" && eval "$(rocks path)" && "$lua" "$root/examples/demo.lua")
tests() (
  cd "$dir/leat" && eval "$(rocks path)" &&
    rocks test rockspec/leat-scm-1.rockspec -- spec/client_spec.lua
)
rock() { # rock LUA NUMBER
  lua=$1 number=$2
  cp "$root/rockspec/luarocks-config.lua" "$LUAROCKS_CONFIG"
  echo 'web_browser = "true"' >>"$LUAROCKS_CONFIG"
  if [ "$1" = luajit ]; then # LuaRocks treats LuaJIT as a Lua 5.1
    cat >>"$LUAROCKS_CONFIG" <<CONFIG
lua_interpreter = "luajit"
variables = { LUA_INCDIR = "$(pkg-config --variable=includedir luajit)", LUA = "$(command -v luajit)" }
CONFIG
  fi
  tree=$dir/checkout-$lua
  in_checkout >"$dir/log" 2>&1 || fail "$lua, made in a checkout"
  tree=$dir/installed-$lua
  installed >"$dir/log" 2>&1 || fail "$lua, installed from source rocks"
  echo "rock, $lua: $(grep ' successes ' "$dir/log")"
  passed=$((passed + 2))
}

for lua in "${@:-lua5.4}"; do
  case $lua in luajit) rock luajit 5.1 ;; *) rock "$lua" "${lua#lua}" ;; esac
done
echo "rock: $passed passed, 0 failed"
