#!/bin/sh
# Installs what the machine lacks of what is needed for: tools.sh [tests|packages|boxes]
# Tests are the demo's too. Says nothing where nothing is missing.
set -eu

missing=
want() { command -v "$1" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }

case ${1-tests} in
tests)
    want cc gcc
    want nginx nginx-light
    want openssl openssl
    want strace strace
    want bindfs bindfs
    want faketime faketime
    want mkfs.ext4 e2fsprogs
    want perl perl-base
    want ip iproute2
    # The slower proofs: ACME clients, an authority for them, and rsync. certbot comes without its timer.
    want pebble pebble
    want dehydrated dehydrated
    want lego lego
    want rsync rsync
    [ -d /usr/lib/python3/dist-packages/certbot ] || want certbot python3-certbot
    # Who knows better what a manual page and a shell script should be.
    want mandoc mandoc
    want shellcheck shellcheck

    # nginx's servers that are none of HTTP.
    for module in stream mail; do
        [ -e /usr/lib/nginx/modules/ngx_${module}_module.so ] || missing="$missing libnginx-mod-$module"
    done
    ;;
packages)
    want cc gcc
    want objdump binutils
    want dpkg-deb dpkg
    want lintian lintian
    want rpmbuild rpm
    want rpmlint rpmlint
    want xz xz-utils
    # zig comes from PyPI: see build.sh.
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
    ;;
boxes)
    want nginx nginx-light
    want mmdebstrap mmdebstrap
    want tar2sqfs squashfs-tools-ng
    want nsenter util-linux
    ;;
*)
    echo "usage: tools.sh [tests|packages|boxes]" >&2
    exit 2
    ;;
esac

# Of Prometheus only the program that judges metrics and rules: the rest of its package is a server.
promtool=
[ "${1-tests}" != tests ] || command -v promtool >/dev/null 2>&1 || promtool=" promtool"

[ -n "$missing$promtool" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "missing:$missing$promtool; install them, or run this as root on a Debian machine" >&2
    exit 1
fi
echo "installing:$missing$promtool" >&2
# A package's own service is not wanted: the tests start their own servers on ports of their own.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.certhook
chmod 755 /usr/sbin/policy-rc.d.certhook
[ -e /usr/sbin/policy-rc.d ] || { mv /usr/sbin/policy-rc.d.certhook /usr/sbin/policy-rc.d; ours=yes; }
trap 'rm -f /usr/sbin/policy-rc.d.certhook; [ "${ours-no}" = no ] || rm -f /usr/sbin/policy-rc.d' EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing >/dev/null
if [ -n "$promtool" ]; then
    folder=$(mktemp -d)
    # apt's own user is to write into it.
    chmod 755 "$folder"
    (cd "$folder" && apt-get download -qq prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb . &&
        install -m 755 usr/bin/promtool /usr/local/bin/promtool)
    rm -rf "$folder"
fi
