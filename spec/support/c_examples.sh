#!/bin/sh
# Installs the C library into a folder of its own, compiles the examples against only that
# and pkg-config, shared and static, and runs them against the sandbox. Then it does the same
# without the sandbox's dependencies, because the library must not need them. Each time it
# checks that `make uninstall` leaves nothing behind.
#   LUA=lua5.4 sh spec/support/c_examples.sh
set -eu
cd "$(dirname "$0")/../.."
LUA=${LUA:-lua5.4} CC=${CC:-cc} BUILD=${BUILD:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
fail() {
  echo "c_examples: $*"
  echo "c_examples: $passed passed, 1 failed"
  exit 1
}
leat() { make -s BUILD="$BUILD" LUA="$LUA" CC="$CC" "$@" >/dev/null; }
compile() { # compile PROGRAM SOURCE FLAGS...
  program=$1 source=$2
  shift 2
  "$CC" -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Werror "$source" "$@" -o "$program"
}
nothing_left() { # nothing_left FOLDER
  left=$(find "$1" ! -type d -o -name 'leat*')
  [ -z "$left" ] || fail "uninstall leaves $left"
  passed=$((passed + 1))
}

leat lua
leat install PREFIX="$dir/usr"
export PKG_CONFIG_PATH="$dir/usr/lib/pkgconfig"

# Systems provide libcurl as a shared library only.
shared=$(pkg-config --cflags --libs leat)
static="-Wl,-Bstatic $shared -Wl,-Bdynamic $(pkg-config --libs libcurl)"
for name in six poll driver; do
  # shellcheck disable=SC2086 # flags are words
  compile "$dir/$name-shared" examples/$name.c $shared
  # shellcheck disable=SC2086
  compile "$dir/$name-static" examples/$name.c $static
done
needs() { readelf -d "$1" | grep -q "NEEDED.*$2"; }
needs "$dir/six-shared" 'libleat\.so\.0' || fail "the shared one is not named libleat.so.0"
needs "$dir/six-static" libleat && fail "the static one needs libleat"
needs "$dir/six-shared" libcurl && fail "who uses leat is linked with libcurl too"
case $(pkg-config --static --libs leat) in
  *-lleat*-lcurl*) passed=$((passed + 1)) ;;
  *) fail "leat.pc does not say what a static program needs" ;;
esac

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
a: found
c: leat: contact_identifiers.find: not_found (60003, HTTP 400): Contact identifier not found.
TEXT
eval "$(make -s env BUILD="$BUILD" LUA="$LUA")"
for how in shared static; do
  LD_LIBRARY_PATH="$dir/usr/lib" "$LUA" - "$dir" $how >"$dir/got" <<'LUA'
local server = assert(require("leat.sandbox").start {
  contacts = { { uuid = "u-1" } }, cards = { { value = "a" }, { value = "b" } },
})
io.stdout:setvbuf("no")
local function run(command)
  os.execute(("LEAT_API_KEY=%s LEAT_BASE_URL=%s %s/%s"):format(server.api_key, server.url, arg[1], command))
end
run("six-" .. arg[2] .. " 0042 u-1")
run("poll-" .. arg[2] .. " a b c | sort")
run("driver-" .. arg[2] .. " " .. server.url .. " a c")
server:stop()
LUA
  diff "$dir/wanted" "$dir/got" || fail "the examples, $how"
  passed=$((passed + 3))
done

# Runs the guide's programs. Each is a block of source, followed by a block with its output.
LD_LIBRARY_PATH="$dir/usr/lib" "$LUA" - "$dir" "$CC" >"$dir/got" <<'LUA' || fail "docs/c.md"
local server = assert(require("leat.sandbox").start { cards = { { value = "0042" }, { value = "0043" } } })
local blocks, programs = dofile("spec/support/markdown.lua").blocks("docs/c.md"), 0
local function run(command, ...)
  local fine = os.execute(command:format(...))
  assert(fine == true or fine == 0, command)
end
local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end
for i, block in ipairs(blocks) do
  if block.language == "c" then
    programs = programs + 1
    local path = ("%s/guide%d"):format(arg[1], programs)
    write(path .. ".c", block.text)
    write(path .. ".wanted", blocks[i + 1].text)
    run("%s -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Werror %s.c $(pkg-config --cflags --libs leat) -o %s",
      arg[2], path, path)
    run("LEAT_API_KEY=%s LEAT_BASE_URL=%s %s >%s.got && diff %s.wanted %s.got", server.api_key, server.url,
      path, path, path, path)
  end
end
server:stop()
assert(programs == 2)
LUA
passed=$((passed + 2))

# Uses the sandbox in a program that also reads its state.
cat >"$dir/sandbox.c" <<'C'
#include "leat_sandbox.h"
int main(void) {
  leat_sandbox *sandbox = leat_sandbox_new(NULL, NULL);
  size_t cards = leat_json_size(leat_sandbox_all_cards(sandbox));
  leat_sandbox_free(sandbox);
  return sandbox == NULL || cards != 0;
}
C
shared=$(pkg-config --cflags --libs leat-sandbox)
# shellcheck disable=SC2086
compile "$dir/sandbox-shared" "$dir/sandbox.c" $shared
# shellcheck disable=SC2086,SC2046
compile "$dir/sandbox-static" "$dir/sandbox.c" -Wl,-Bstatic $shared -Wl,-Bdynamic \
  $(pkg-config --libs libcurl libmicrohttpd jansson) -lpthread
LD_LIBRARY_PATH="$dir/usr/lib" "$dir/sandbox-shared" || fail "the sandbox, shared"
"$dir/sandbox-static" || fail "the sandbox, static"
passed=$((passed + 2))

leat uninstall PREFIX="$dir/usr"
nothing_left "$dir/usr"

# Installs into a package's folder, whose path must not appear in the installed files.
leat install PREFIX=/usr DESTDIR="$dir/package"
[ -e "$dir/package/usr/lib/libleat.so.0" ] || fail "DESTDIR is not where things went"
grep -rIl "$dir" "$dir/package" && fail "DESTDIR stands in a file"
leat uninstall PREFIX=/usr DESTDIR="$dir/package"
nothing_left "$dir/package"

mkdir "$dir/without"
echo '#error missing' >"$dir/without/jansson.h"
BUILD=$dir/build
leat CPPFLAGS="-I$dir/without" PREFIX="$dir/bare" install
PKG_CONFIG_PATH=$dir/bare/lib/pkgconfig
# shellcheck disable=SC2046
compile "$dir/six" examples/six.c $(pkg-config --cflags --libs leat)
find "$dir/bare" -path "*/cli" -prune -o -print | grep sandbox && fail "a sandbox without jansson" # the command has a part for it
leat CPPFLAGS="-I$dir/without" PREFIX="$dir/bare" uninstall
nothing_left "$dir/bare"
echo "c_examples: $passed passed, 0 failed"
