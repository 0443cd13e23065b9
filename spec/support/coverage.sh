#!/bin/sh
# Summarizes which lines and branches of each C file, and which lines of each Lua file, the tests ran.
# gcov's listings stay in BUILD/gcov. `make coverage` runs the tests and calls this.
#   BUILD=build/coverage sh spec/support/coverage.sh LUA
set -eu
cd "$(dirname "$0")/../.."
mkdir -p "$BUILD/gcov"
ln -sfn "$PWD/core" "$BUILD/gcov/core"
ln -sfn "$PWD/lua" "$BUILD/gcov/lua"
for file in core/*.c core/*/*.c lua/*.c; do
  case $file in lua/*) folder=$BUILD/$1 ;; *) folder=$BUILD/$(dirname "$file") ;; esac
  name=$(basename "$file" .c)
  [ -e "$folder/$name.gcda" ] || continue
  cp "$folder/$name.gcda" "$folder/$name.gcno" "$BUILD/gcov"
  (cd "$BUILD/gcov" && gcov -b -r -o . "$name.c" 2>/dev/null) |
    awk -v file="$file" '
      /^File/ { mine = index($2, "/" file "\047") || $2 == "\047" file "\047" }
      mine && /^Lines executed/ { split($2, l, /[:%]/); lines = l[2]; of = $4 }
      mine && /^Taken at least/ { split($4, t, /[:%]/); taken = t[2]; branches = $6 }
      END { printf "%-34s %6.1f %% of %4d lines  %6.1f %% of %4d branches\n", file, lines, of, taken, branches }'
done
awk 'FNR == 1 { print "" } { print }' "$BUILD/lua.txt"
