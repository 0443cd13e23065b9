#!/bin/sh
# Installs the C library into a folder of its own, compiles the examples against nothing
# but that and pkg-config, and runs them against the sandbox. Then once more without what
# the sandbox needs, for the library is whole without it.
#   LUA=lua5.4 sh spec/support/c_examples.sh
set -eu
cd "$(dirname "$0")/../.."
LUA=${LUA:-lua5.4} CC=${CC:-cc}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
make -s install-core PREFIX="$dir"
make -s LUA="$LUA" lua
export PKG_CONFIG_PATH="$dir/lib/pkgconfig"
for name in six poll; do
  # shellcheck disable=SC2046 # flags are words
  "$CC" -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Werror "examples/$name.c" \
    $(pkg-config --cflags --libs leat) -o "$dir/$name"
done
eval "$(make -s env LUA="$LUA")"
cat >"$dir/wanted" <<'TEXT'
create: 0042, contact none
link: 0042, contact u-1
find: 0042, contact u-1
unlink: 0042, contact none
update: 0042, contact none
delete: done
a: found
b: found
c: leat: contact_identifiers.find: not_found (60003, HTTP 400): Contact identifier not found.
TEXT
"$LUA" - "$dir" >"$dir/got" <<'LUA'
local server = assert(require("leat.sandbox").start {
  contacts = { { uuid = "u-1" } }, cards = { { value = "a" }, { value = "b" } },
})
io.stdout:setvbuf("no")
local function run(command)
  os.execute(("LEAT_API_KEY=%s LEAT_BASE_URL=%s %s/%s"):format(server.api_key, server.url, arg[1], command))
end
run("six 0042 u-1")
run("poll a b c | sort")
server:stop()
LUA
diff "$dir/wanted" "$dir/got"

mkdir "$dir/without"
echo '#error missing' >"$dir/without/jansson.h"
make -s BUILD="$dir/build" CPPFLAGS="-I$dir/without" LUA="$LUA" CC="$CC" PREFIX="$dir/bare" install >/dev/null
PKG_CONFIG_PATH=$dir/bare/lib/pkgconfig
# shellcheck disable=SC2046
"$CC" -std=c11 examples/six.c $(pkg-config --cflags --libs leat) -o "$dir/six"
if find "$dir/bare" | grep sandbox; then
  echo "c_examples: a sandbox without jansson"
  exit 1
fi
echo "c_examples: 3 passed, 0 failed"
