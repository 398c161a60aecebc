#!/bin/sh
# A Debian userland with systemd, as a squashfs that is made once: tree.sh SUITE prints where it is.
# Suites: bullseye, bookworm, trixie; with -certbot at the end also certbot and an authority for it. As root; CERTHOOK_BOXES is another folder than /var/cache/certhook-boxes.
set -eu

suite=${1:?usage: tree.sh SUITE}
cache=${CERTHOOK_BOXES:-/var/cache/certhook-boxes}
# What a web host has. rpm is a guest on Debian: its scriptlets run all the same.
packages=systemd,systemd-sysv,dbus,nginx-light,openssl,ca-certificates,adduser,rpm,procps
case $suite in
    *-certbot) packages=$packages,certbot,pebble,curl ;;
esac
# Another list is another tree.
tree=$cache/$suite-$(echo "$packages" | cksum | cut -d ' ' -f 1).squashfs

[ ! -e "$tree" ] || { echo "$tree"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "only root may make $tree" >&2; exit 1; }
mkdir -p "$cache"

# One maker at a time; the others find it made.
exec 9>"$tree.lock"
flock 9
[ ! -e "$tree" ] || { echo "$tree"; exit 0; }

echo "making a $suite tree in $cache (a minute)" >&2
# In memory where there is room: dpkg writes small files by the thousand.
work=$(TMPDIR=/dev/shm mktemp -d 2>/dev/null || mktemp -d)
trap 'rm -rf "$work" "$tree.new"' EXIT
trap 'exit 1' INT TERM HUP
# The options that made it small must not meet the packages that are installed later, hence the hook.
TMPDIR=$work mmdebstrap --quiet --variant=minbase --format=squashfs \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
    --include="$packages" "${suite%-certbot}" "$tree.new" "deb http://deb.debian.org/debian ${suite%-certbot} main" </dev/null >&2
mv "$tree.new" "$tree"
echo "$tree"
