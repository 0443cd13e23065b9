#!/bin/sh
# Proves that the given objects of the core do no I/O and hold no state: their imports are listed
# here, they have no writable data, and only the file that wraps a library includes its
# header, which the C files of the Lua modules are checked for too.
set -eu

allowed='^(leat_.*|leat__.*|mem[a-z]+|__mem[a-z_]+|explicit_bzero|__explicit_bzero_chk'
allowed="$allowed"'|str[a-z]+|__str[a-z_]+|malloc|calloc|realloc|free|qsort|v?snprintf|__v?snprintf_chk'
allowed="$allowed"'|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__asan_.*|__ubsan_.*)$'
status=0

imports=$(nm -u "$@" | awk 'NF == 2 { print $2 }' | sort -u | grep -vE "$allowed" || true)
if [ -n "$imports" ]; then
  echo "purity: the core imports what it must not:" "$imports"
  status=1
fi

writable=$(size -A "$@" | awk '/:$/ { file = $1 } ($1 ~ /^\.(data|bss|tdata|tbss)/ && $1 !~ /^\.data\.rel\.ro/ && $2 > 0) { print file, $1, $2 }')
if [ -n "$writable" ]; then
  echo "purity: the core has writable data: $writable"
  status=1
fi

only() { # only FILES PATTERN: no other files include it; both are extended expressions
  others=$(grep -lE "#include <$2" core/*.[ch] core/*/*.[ch] lua/*.[ch] | grep -vE "^($1)\$" || true)
  if [ -n "$others" ]; then
    echo "purity: only $1 may include $2:" "$others"
    status=1
  fi
}
only 'core/curl/(curl.c|diagnose.[ch])' 'curl/'
only core/sandbox/sandbox.c 'microhttpd'
only core/sandbox/sandbox_internal.h 'jansson'
only lua/leat_sqlite.c 'sqlite3'
only lua/leat_postgres.c 'libpq'
only 'lua/.*' 'l(ua|auxlib|ualib)'

private=$(grep -l 'internal\.h"' core/curl/*.[ch] || true)
if [ -n "$private" ]; then
  echo "purity: the driver on libcurl must use public headers only:" "$private"
  status=1
fi

[ $status = 0 ] && echo "purity: $# objects, no I/O, no state"
exit $status
