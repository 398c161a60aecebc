#!/bin/sh
# The packages' lives in booted Debians: builds two versions of them, quickly, and runs tests/boxes.rs. Arguments go to
# the tests. As root. Trees and packages that are there already are used again.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "only root may boot boxes; sudo make lifecycle" >&2; exit 1; }

packaging/tools.sh packages
packaging/tools.sh boxes
for suite in bullseye bookworm bookworm-certbot trixie; do packaging/box/tree.sh $suite >/dev/null; done

CERTHOOK_PACKAGE_PROFILE=${CERTHOOK_PACKAGE_PROFILE:-quick}
CERTHOOK_PROGRAM=${CERTHOOK_PROGRAM:-$(CERTHOOK_PACKAGE_PROFILE=$CERTHOOK_PACKAGE_PROFILE packaging/build.sh)}
CERTHOOK_PACKAGE_EFFORT=1
CERTHOOK_PACKAGES=$(readlink -m "${CARGO_TARGET_DIR:-target}/lifecycle")
export CERTHOOK_PROGRAM CERTHOOK_PACKAGE_EFFORT CERTHOOK_PACKAGES

made_of=$({ cat "$CERTHOOK_PROGRAM"; find packaging hooks ./*.md -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
if [ "$(cat "$CERTHOOK_PACKAGES/made-of" 2>/dev/null)" != "$made_of" ]; then
    rm -rf "$CERTHOOK_PACKAGES"
    # Only the newer has to please lintian and rpmlint.
    CERTHOOK_PACKAGE_LINT=no CERTHOOK_PACKAGE_VERSION=0.0.9 packaging/package.sh all "$CERTHOOK_PACKAGES/old" 2>/dev/null
    CERTHOOK_PACKAGE_LINT=${CERTHOOK_PACKAGE_LINT-yes} packaging/package.sh all "$CERTHOOK_PACKAGES/new" >/dev/null
    echo "$made_of" >"$CERTHOOK_PACKAGES/made-of"
fi

# Boxes wait more than they work.
exec cargo test --quiet -p certhook-test-support --test boxes -- --test-threads=6 "$@"
