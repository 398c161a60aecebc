#!/bin/sh
# Installs what the machine lacks to build and test for Windows: the compiler for C, wine, and zip. Says what is missing
# where it cannot.
set -eu
missing=
[ -x "$(command -v x86_64-w64-mingw32-gcc)" ] || missing="$missing gcc-mingw-w64-x86-64-posix"
[ -x /usr/lib/wine/wine64 ] || missing="$missing wine64"
[ -x "$(command -v zip)" ] || missing="$missing zip"
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "missing:$missing; install them, or run this as root on a Debian machine" >&2
    exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
