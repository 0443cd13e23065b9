#!/usr/bin/env bash
# Runs everything: the gate's checks on all Luas, with both compilers and in full, and the checks
# that are too slow for the gate. It must run as root, on Debian 12.
#   bash spec/support/nightly.sh           all parts, one after the other
#   bash spec/support/nightly.sh PART...   only those
# spec/support/parts.sh has the steps of each part. A part is skipped if it has passed with the same
# contents of the files that it depends on; build/nightly/PART has their checksum and the result.
set -euo pipefail
cd "$(dirname "$0")/../.."
parts="static platforms luas fresh hosts sanitizers valgrind memory kills storms random mutants-even mutants-odd bench"
# shellcheck disable=SC2086 # a list of words
[ $# != 0 ] || set -- $parts
for part; do
  case " $parts " in *" $part "*) ;; *)
    echo "nightly: there is no part $part, only: $parts"
    exit 2
    ;;
  esac
done

inputs() { # inputs PART: the checksum of the tracked files that the part reads
  case $1 in
    platforms | memory | kills | storms | random) git ls-files -z -- Makefile core lua spec rockspec ;;
    *) git ls-files -z ;;
  esac | xargs -0 sha256sum | sha256sum
}

# Adds up what the tests of a part have counted. C programs and scripts end with "NAME: N passed,
# N failed", busted with "N successes / N failures / N errors / N pending". A line without a name
# is the sum of those before it in the same log.
counts() {
  awk '
    function end_log() { passed += good; failed += bad; good = bad = 0 }
    FNR == 1 { end_log() }
    /^[0-9]+ passed, [0-9]+ failed$/ { good = $1; bad = $3 }
    / [0-9]+ passed, [0-9]+ failed$/ { good += $(NF - 3); bad += $(NF - 1) }
    / successes? \/ [0-9]+ failures? \/ [0-9]+ errors? \/ [0-9]+ pending/ { good += $1; bad += $4 + $7 + $10 }
    END { end_log(); printf "%d passed, %d failed\n", passed, failed }' /dev/null build/steps/*.log
}

mkdir -p build/nightly
failed='' summary=''
for part; do
  record=build/nightly/$part sum=$(inputs "$part") status=0
  printf '\n######## %s\n' "$part"
  if [ "$sum" = "$(head -n 1 "$record" 2>/dev/null)" ]; then
    echo "nightly: $part: passed before, and nothing has changed since"
    result="skipped; before: $(tail -n 1 "$record")"
  else
    began=$SECONDS
    bash spec/support/parts.sh "$part" || status=$?
    [ "$status" != 130 ] || exit 130 # Ctrl-C
    result="$((SECONDS - began)) s, $(counts)"
    if [ "$status" = 0 ]; then printf '%s\n' "$sum" "$result" >"$record"; else
      result="FAILED after $result" failed="$failed $part"
    fi
  fi
  summary+=$(printf '%-13s %s' "$part" "$result")$'\n'
done
printf '\n%s' "$summary"
[ -z "$failed" ] || {
  echo "nightly: failed:$failed"
  exit 1
}
