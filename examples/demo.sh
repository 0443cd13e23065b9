#!/bin/sh
# Runs a demonstration on a bare Debian: installs what is missing, builds the library, and runs the
# six operations and some failures against a local sandbox.
set -eu
cd "$(dirname "$0")/.."
LUA=${LUA:-lua5.4}
sh rockspec/deps.sh install build sandbox "$LUA"
make -s -j2 LUA="$LUA"
eval "$(make -s env LUA="$LUA")"
exec "$LUA" examples/demo.lua
