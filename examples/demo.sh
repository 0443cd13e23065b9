#!/bin/sh
# From a bare Debian to the library at work: installs what is missing, builds, and runs the
# six operations and some failures against a server of its own.
set -eu
cd "$(dirname "$0")/.."
LUA=${LUA:-lua5.4}
sh rockspec/deps.sh install build sandbox "$LUA"
make -s -j2 LUA="$LUA"
eval "$(make -s env LUA="$LUA")"
exec "$LUA" examples/demo.lua
