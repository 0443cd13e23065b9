#!/bin/sh
# Makes the rockspecs of a release from those in this folder, and writes them to FOLDER.
# VERSION must be the one in core/leat.h, and CHANGELOG.md must have an entry for it, with a date.
#   sh rockspec/release.sh VERSION FOLDER
set -eu
[ $# = 2 ] || {
  echo "usage: sh rockspec/release.sh VERSION FOLDER" >&2
  exit 2
}
version=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
refuse() {
  echo "release: $*" >&2
  exit 1
}
grep -q "^#define LEAT_VERSION *\"$version\"\$" core/leat.h ||
  refuse "core/leat.h has another version than $version"
grep -Eq "^## $version, [0-9]{4}-[0-9]{2}-[0-9]{2}\$" CHANGELOG.md ||
  refuse "CHANGELOG.md has no line '## $version, YEAR-MONTH-DAY'"
for name in leat leat-cli leat-jobs leat-postgres leat-sandbox; do
  rockspec=$folder/$name-$version-1.rockspec
  sed -e "s/^version = \"scm-1\"/version = \"$version-1\"/" \
    -e "s/^\( *\)url = .*/&\n\1tag = \"v$version\",/" \
    -e "s/^  \"leat\",/  \"leat == $version\",/" rockspec/$name-scm-1.rockspec >"$rockspec"
  echo "$rockspec"
done
