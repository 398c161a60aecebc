#!/bin/bash
# Rust's standard library for x86_64-pc-windows-gnu, built from Debian's sources of the very compiler that is installed:
# for machines that reach Debian and crates.io, but not the place where rustup gets its targets from. Made once, kept in
# the cache, and printed as the environment to build and test with:  eval "$(packaging/windows/std.sh)"
set -euo pipefail
target=x86_64-pc-windows-gnu
version=$(rustc --version | cut -d ' ' -f 2)
cache=${CERTHOOK_WINDOWS_CACHE:-/var/cache/certhook-windows}
if ! mkdir -p "$cache" 2>/dev/null || [ ! -w "$cache" ]; then
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/certhook-windows
    mkdir -p "$cache"
fi

# Debian's backports hold a few versions at a time, and each only for a while.
sources() {
    local apt=$1/apt mirror package options
    mkdir -p "$apt"/{parts,lists/partial,cache/archives/partial}
    : >"$apt/status"
    mirror=$(grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1 | tr -d ' ' || true)
    for suite in trixie-backports unstable testing; do
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
            "${mirror:-http://deb.debian.org/debian}" "$suite" >"$apt/parts/$suite.sources"
    done
    options=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/parts" -o "Dir::State::Lists=$apt/lists"
        -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" -o Acquire::Check-Valid-Until=false
        -o Acquire::Languages=none -o APT::Sandbox::User=root)
    apt-get "${options[@]}" -qq update
    package=$(apt-cache "${options[@]}" madison rust-src | cut -d '|' -f 2 | tr -d ' ' | grep -m 1 "^$version+" || true)
    # A superseded version stays in the pool for some time.
    (cd "$apt" && apt-get "${options[@]}" -qq download "rust-src=${package:-$version+dfsg1-2~bpo13+1}")
    dpkg-deb --fsys-tarfile "$apt"/rust-src_"$version"*.deb | tar x -C "$1" "./usr/src/rustc-$version/library"
    rm -rf "$apt"
}

build() {
    cd "$1/usr/src/rustc-$version/library"
    RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_DEBUG=0 __CARGO_DEFAULT_LIB_METADATA=certhook CARGO_TARGET_DIR="$1/build" \
        RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes --remap-path-prefix=$1/usr/src/rustc-$version=/rustc" \
        cargo build --quiet --release --locked --target $target -p sysroot --features 'backtrace panic-unwind'
}

sysroot=$cache/std-$version
if [ ! -e "$sysroot/whole" ]; then
    {
        echo "building Rust's library $version for Windows into $sysroot (a minute)"
        work=$(mktemp -d -p "$cache")
        trap 'rm -rf "$work"' EXIT
        sources "$work"
        build "$work"
        rm -rf "$sysroot"
        mkdir -p "$sysroot/lib/rustlib/$target/lib"
        cp "$work/build/$target/release/deps/"*.rlib "$sysroot/lib/rustlib/$target/lib/"
        touch "$sysroot/whole"
    } >&2
fi
echo "export CARGO_BUILD_TARGET=$target CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS=--sysroot=$sysroot"
echo "export CERTHOOK_WINDOWS_CACHE=$cache"
