#!/bin/sh
# Prints the path of an nginx of Debian's newest suite, for what older ones do not do: a program in a folder of
# its own with the libraries it was built for. Downloads it when it is not there; else it is quick and quiet.
set -eu

cache=${CERTHOOK_NEW_NGINX:-/var/cache/certhook-new-nginx}
program=$cache/nginx
# Tests ask for it side by side: one makes it, the others wait.
mkdir -p "$(dirname "$cache")"
exec 9>"$cache.lock"
flock 9
if [ ! -x "$program" ]; then
    if [ -n "$(find "$cache.failed" -mmin -10 2>/dev/null)" ]; then
        echo "it could not be had a few minutes ago" >&2
        exit 1
    fi
    : >"$cache.failed"
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "this is no Debian machine" >&2; exit 1; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    [ "$(id -u)" != 0 ] || chown _apt "$work" 2>/dev/null || true
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/\?$' | head -n 1)
    cat >"$work/sid.sources" <<EOF
Types: deb
URIs: ${mirror:-http://deb.debian.org/debian}
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
    apt() {
        apt-get -qq -o Dir::Etc::SourceList="$work/sid.sources" -o Dir::Etc::SourceParts=/dev/null \
            -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Languages=none \
            -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@" >&2
    }
    apt update
    (cd "$work" && apt download nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 zlib1g libzstd1 patchelf libstdc++6 libgcc-s1)
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
    mkdir -p "$work/new/lib"
    find "$work/root" \( -name '*.so.*' -o -name 'ld-linux*' \) -exec cp -L {} "$work/new/lib/" \; 2>/dev/null
    loader=$(cd "$work/new/lib" && ls ld-linux* | head -n 1)
    cp "$work/root/usr/sbin/nginx" "$work/new/nginx"
    "$work/new/lib/$loader" --library-path "$work/new/lib" "$work/root/usr/bin/patchelf" \
        --set-interpreter "$cache/lib/$loader" --force-rpath --set-rpath "$cache/lib" "$work/new/nginx"
    chmod -R go+rX "$work/new"
    rm -rf "$cache"
    mv "$work/new" "$cache"
    rm -f "$cache.failed"
fi
"$program" -v 2>/dev/null || { echo "$program does not run" >&2; exit 1; }
echo "$program"
