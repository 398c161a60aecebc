#!/bin/sh
# The one time that packages know: that of the commit, or of the changelog where there is no repository.
set -eu
cd "$(dirname "$0")/.."
[ -z "${SOURCE_DATE_EPOCH-}" ] || { echo "$SOURCE_DATE_EPOCH"; exit 0; }
git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md
