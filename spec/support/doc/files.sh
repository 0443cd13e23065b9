#!/bin/sh
# Prints, as Graphviz's input, which object files use symbols of which others. Uses of the files
# that nearly all others use are left out.
#    sh spec/support/doc/files.sh OBJECT...
set -eu
everywhere='^(buffer|error)$'

echo 'digraph "files of core/" {'
echo '  node [shape=box fontname="monospace" fontsize=11 height=0.3]; edge [arrowsize=0.6]; ranksep=0.35;'
symbols=$(nm -A -g --defined-only "$@" && nm -A -u "$@")
printf '%s\n' "$symbols" | awk -v everywhere="$everywhere" '
  { object = $1; sub(/:.*/, "", object); sub(/.*\//, "", object); sub(/\.o$/, "", object); symbol = $NF }
  $(NF - 1) !~ /^[Uvw]$/ { owner[symbol] = object; next }
  { user[++uses] = object; used[uses] = symbol }
  END {
    for (i = 1; i <= uses; i++) {
      to = owner[used[i]]
      if (to != "" && to != user[i] && to !~ everywhere) print "  \"" user[i] ".c\" -> \"" to ".c\";"
    }
  }' | LC_ALL=C sort -u
echo '}'
