#!/bin/sh
# Fails if object files use each other's symbols in a cycle, and prints each use that is part of one.
#    sh spec/support/cycles.sh OBJECT...
set -eu

symbols=$(nm -A -g --defined-only "$@" && nm -A -u "$@")
printf '%s\n' "$symbols" | awk '
  { object = $1; sub(/:.*/, "", object); type = $(NF - 1); symbol = $NF }
  type !~ /^[Uvw]$/ { owner[symbol] = object; next }
  { user[++uses] = object; used[uses] = symbol }
  function name(path) { sub(/.*\//, "", path); return path }
  END {
    for (i = 1; i <= uses; i++) {
      from = user[i]; to = owner[used[i]]
      if (to == "" || to == from) continue
      objects[from]; objects[to]
      edges[from, to] = edges[from, to] " " used[i]
      reaches[from, to]
    }
    for (via in objects) for (from in objects) if ((from, via) in reaches)
      for (to in objects) if ((via, to) in reaches) reaches[from, to]
    for (edge in edges) {
      split(edge, end, SUBSEP)
      if (!((end[2], end[1]) in reaches)) continue
      print "cycles: " name(end[1]) " uses " name(end[2]) ":" edges[edge]
      found = 1
    }
    exit found
  }'
echo "cycles: $# objects, no cycle"
