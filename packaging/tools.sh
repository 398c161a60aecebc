#!/bin/sh
# Installs what the tests and the demo need and the machine lacks. Says nothing where nothing is missing.
set -eu

missing=
want() { command -v "$1" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }

want cc gcc
want nginx nginx-light
want openssl openssl
want strace strace
want bindfs bindfs
want faketime faketime
want mkfs.ext4 e2fsprogs
want perl perl-base
# The slower proofs: ACME clients, an authority for them, and rsync. certbot comes without its timer.
want pebble pebble
want dehydrated dehydrated
want lego lego
want rsync rsync
[ -d /usr/lib/python3/dist-packages/certbot ] || want certbot python3-certbot

# nginx's servers that are none of HTTP.
for module in stream mail; do
    [ -e /usr/lib/nginx/modules/ngx_${module}_module.so ] || missing="$missing libnginx-mod-$module"
done

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "missing:$missing; install them, or run this as root on a Debian machine" >&2
    exit 1
fi
echo "installing:$missing" >&2
# A package's own service is not wanted: the tests start their own servers on ports of their own.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.certhook
chmod 755 /usr/sbin/policy-rc.d.certhook
[ -e /usr/sbin/policy-rc.d ] || { mv /usr/sbin/policy-rc.d.certhook /usr/sbin/policy-rc.d; ours=yes; }
trap 'rm -f /usr/sbin/policy-rc.d.certhook; [ "${ours-no}" = no ] || rm -f /usr/sbin/policy-rc.d' EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
