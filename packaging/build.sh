#!/bin/sh
# Builds certhook for every distribution since glibc 2.28 (RHEL 8, Debian 10, Ubuntu 20.04), the same each time, and
# prints where it is. CERTHOOK_PACKAGE_PROFILE=quick is for tests: no long optimisation.
set -eu
cd "$(dirname "$0")/.."

glibc=2.28
profile=${CERTHOOK_PACKAGE_PROFILE:-release}
tools=${CERTHOOK_TOOLS:-/var/cache/certhook-tools}
target=${CARGO_TARGET_DIR:-$PWD/target}
triple=x86_64-unknown-linux-gnu

# The linker and C compiler for an older glibc. zig 0.13 is the one this was proved with.
if [ ! -x "$tools/zig/bin/python" ] || ! "$tools/zig/bin/python" -c 'import ziglang' 2>/dev/null; then
    echo "installing zig into $tools" >&2
    mkdir -p "$tools" 2>/dev/null || { echo "$tools cannot be made; name a folder with CERTHOOK_TOOLS" >&2; exit 1; }
    python3 -m venv "$tools/zig" >&2 || { echo "python3 has no venv; install python3-venv" >&2; exit 1; }
    "$tools/zig/bin/pip" install --quiet --disable-pip-version-check 'ziglang==0.13.*' >&2
fi
if [ ! -x "$tools/bin/cargo-zigbuild" ]; then
    echo "installing cargo-zigbuild into $tools (some minutes)" >&2
    cargo install --quiet --locked --root "$tools" cargo-zigbuild >&2
fi

# The same commit gives the same bytes: no time but the commit's, no folder of this machine's.
SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
registry=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
export SOURCE_DATE_EPOCH
# A panic ends the program with its message: nothing unwinds, and without names there is no way to show.
export RUSTFLAGS="-Cforce-unwind-tables=no --remap-path-prefix=$PWD=/certhook --remap-path-prefix=$registry=/cargo --remap-path-prefix=$sysroot=/rust"
export CFLAGS="-fno-asynchronous-unwind-tables -fno-unwind-tables -ffile-prefix-map=$PWD=/certhook -ffile-prefix-map=$registry=/cargo -ffile-prefix-map=$target=/target"
export CARGO_ZIGBUILD_PYTHON_PATH="$tools/zig/bin/python" ZIG_GLOBAL_CACHE_DIR="$tools/zig-cache"
export PATH="$tools/bin:$tools/zig/bin:$PATH"
cargo zigbuild --quiet --locked --profile "$profile" --target "$triple.$glibc" --bin certhook >&2

folder=$profile
[ "$profile" != dev ] || folder=debug
program=$target/$triple/$folder/certhook
newest=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
if [ "$(printf '%s\n%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" != "$glibc" ]; then
    echo "$program wants glibc $newest, and $glibc is what packages promise; see objdump -T for the symbol" >&2
    exit 1
fi
echo "$program"
